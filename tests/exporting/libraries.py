"""Libraries for C that tests load, by the modules of Python that are exported beside them."""

import importlib.util
import subprocess
from itertools import count

import numpy as np

_numbers = count()


def module_of(f, folder, name="step", **options):
    """Export a program as a library with a module, and import that."""
    f.export(folder / f"{name}.so", wrappers=["python"], **options)
    path = folder / f"{name}_ctypes.py"
    spec = importlib.util.spec_from_file_location(f"{name}_{next(_numbers)}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def poison(program):
    """Fill the memory that runs work in."""
    for arena in program._memory.values():
        arena[:] = 0xA5


def built(folder, source, *objects, name="main", options=("-Wall", "-Wextra", "-Werror")):
    """The program that a text in C is, linked with objects."""
    (folder / f"{name}.c").write_text(source)
    command = ["cc", "-std=gnu11", *options, f"{name}.c", *objects, "-lm", "-lpthread", "-o", name]
    subprocess.run(command, cwd=folder, check=True)
    return folder / name


def gpt(layers=1, width=16, times=6, letters=11, heads=2):
    """The graph of a training step of a small GPT, and a maker of feeds for so many rows."""
    import staticgrad as sg

    sg.nn.manual_seed(3)
    table, places = sg.nn.Embedding(letters, width), sg.nn.Embedding(times, width)
    blocks = [sg.nn.TransformerBlock(width, heads, causal=True) for _ in range(layers)]
    head = sg.nn.Sequential(*blocks, sg.nn.Linear(width, letters))
    x = sg.input("tokens", ("batch", times), "int64")
    y = sg.input("next", ("batch", times), "int64")
    logits = head(table(x) + places(np.arange(times)))
    loss = sg.nn.cross_entropy(logits.reshape(-1, letters), y.reshape(-1))
    params = [p for layer in (table, places, head) for p in layer.parameters()]
    graph = sg.Graph({"loss": loss}, updates=sg.optim.Adam(1e-2).updates(loss, params))

    def feeds(batch, seed=0):
        text = np.random.default_rng(seed).integers(0, letters, (batch, times + 1))
        return {"tokens": text[:, :-1].copy(), "next": text[:, 1:].copy()}

    return graph, feeds


#: A program that trains: ``main SIZE STEPS FROM TO``. It reads the inputs of all steps one behind
#: the other and writes the results of each; parameters are those of a file, "-" for the first ones,
#: and are saved. All arrays are of the bytes that the table says, in memory of their own.
DRIVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "step.h"

static int stop(int code) {
    if (code) fprintf(stderr, "%s\n", step_message(code));
    return code;
}

int main(int count, char **words) {
    void *arrays[step_ARRAYS], *arena;
    step_inputs inputs;
    step_params params;
    step_outputs outputs;
    SIZES
    if (count < 5 || step_interface() != step_INTERFACE) return 1;
    for (int n = 0; n < step_ARRAYS; n++) {
        const int64_t bytes = step_shape(GIVEN n, NULL);
        if (bytes < 0) return stop((int)bytes) != 0;
        arrays[n] = malloc((size_t)bytes ? (size_t)bytes : 1);
    }
    memcpy(&inputs, arrays, sizeof inputs);
    memcpy(&params, arrays + step_INPUTS, sizeof params);
    memcpy(&outputs, arrays + step_INPUTS + step_PARAMS, sizeof outputs);
    arena = aligned_alloc(64, (step_arena_bytes(ONLY) + 63) / 64 * 64);
    step_initial(&params);
    if (strcmp(words[3], "-") && stop(step_load(words[3], &params))) return 2;
    for (int step = 0; step < atoi(words[2]); step++) {
        for (int n = 0; n < step_INPUTS; n++) {
            const size_t bytes = (size_t)step_shape(GIVEN n, NULL);
            if (fread(arrays[n], 1, bytes, stdin) != bytes) return 3;
        }
        if (stop(step_run(GIVEN &inputs, &params, &outputs, arena, NULL))) return 4;
        for (int n = step_INPUTS + step_PARAMS; n < step_ARRAYS; n++)
            fwrite(arrays[n], 1, (size_t)step_shape(GIVEN n, NULL), stdout);
    }
    if (stop(step_save(words[4], &params))) return 5;
    for (int n = 0; n < step_ARRAYS; n++) free(arrays[n]);
    free(arena);
    return 0;
}
"""


def driver(folder, sized):
    """The program of ``DRIVER`` beside ``step.so``; ``sized``: its first word is the only size."""
    texts = {"SIZES": "const int64_t size = atoll(words[1]);", "GIVEN ": "size, ", "ONLY": "size"}
    text = DRIVER
    for word, value in texts.items():
        text = text.replace(word, value if sized else "")
    return built(folder, text, "./step.so", "-Wl,-rpath,.")


def run_training(command, folder, feeds, *words):
    """Run a driver with the feeds of steps; the losses of them, in float32 or float64."""
    content = b"".join(array.tobytes() for step_feeds in feeds for array in step_feeds.values())
    ran = subprocess.run([*command, *words], cwd=folder, input=content, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout

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
    params = [p for each in (table, places, head) for p in each.parameters()]
    graph = sg.Graph({"loss": loss}, updates=sg.optim.Adam(1e-2).updates(loss, params))

    def feeds(batch, seed=0):
        text = np.random.default_rng(seed).integers(0, letters, (batch, times + 1))
        return {"tokens": text[:, :-1].copy(), "next": text[:, 1:].copy()}

    return graph, feeds

"""Training steps of nine networks in bfloat16 and float32, beside PyTorch.

    python -m benchmarks training [--only mlp gpt2] [--threads 1] [--seconds 3] [--turns 6]

Milliseconds of a step, the least of many, and the bytes of our arena. Each network is written once;
a step is the loss, its gradients, and SGD (of ``bert_base``: AdamW). Libraries run in processes of
their own, which take turns, so that all see the same machine; the time is the processor's on one
thread, and the clock's on several. A process whose step is not near that of PyTorch in float64
shows no time: the norm of the error of all gradients, over the norm of all gradients.

``bfloat16``: ours by ``narrow{products=True}``, PyTorch's by ``autocast``. Images of PyTorch are
``channels_last`` if that is faster. ``without AMX``: PyTorch limited to AVX-512, where oneDNN
multiplies by tiles of AMX otherwise, which add in another order than our bfloat16 is defined by.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

import staticgrad as sg
from benchmarks.harness.builders import Builders, of_workloads
from benchmarks.harness.implementation import Program, Settings
from benchmarks.harness.machine import describe
from benchmarks.harness.turns import (
    Figures,
    Worker,
    answer_turns,
    least_times,
    measure_in_turns,
)
from benchmarks.harness.workload import Adam, Arrays, Data, Make, Workload
from benchmarks.implementations.with_staticgrad import StaticgradProgram, feeds_of, open_sizes
from benchmarks.implementations.with_torch import TorchProgram
from benchmarks.peers.families import zoo
from benchmarks.workloads import all_workloads
from benchmarks.workloads.models import classifier, classifier_loss

#: Precision -> the largest error of a step, relative to the norm of all gradients.
PRECISIONS: Final = {"float32": 1e-3, "bfloat16": 1e-1}
PIPELINE: Final = "O1,narrow{products=True}"
WIDE, NARROW = "ours, float32", "ours, bfloat16"
#: Column -> the library, the precision, and the environment of its process.
SIDES: Final[Mapping[str, tuple[str, str, Mapping[str, str]]]] = {
    WIDE: ("staticgrad", "float32", {}),
    NARROW: ("staticgrad", "bfloat16", {}),
    "torch, float32": ("torch", "float32", {}),
    "torch, autocast": ("torch", "bfloat16", {}),
    "torch, autocast without AMX": (
        "torch", "bfloat16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    ),
}  # fmt: skip
#: Columns whose time is divided by that of our bfloat16.
BESIDE: Final = tuple(side for side in SIDES if side != NARROW)
#: Networks of other benchmarks.
MODELS: Final = ("vit", "vae", "gpt2", "resnet18", "lstm_text")
Call = Callable[[], Any]


# -- networks -------------------------------------------------------------------------------------


def block(width: int, heads: int, time: int, batch: int) -> Make:
    """A transformer block, and what its results are to be."""

    def make(random: np.random.Generator) -> Data:
        squares = dict.fromkeys(("q", "k", "v", "out"), (width, width))
        shapes = {**squares, "up": (width, 4 * width), "down": (4 * width, width)}
        weights = {n: random.normal(size=s) * s[0] ** -0.5 for n, s in shapes.items()}
        weights |= {n: np.ones(width) for n in ("g0", "g1")}
        weights |= {n: np.zeros(width) for n in ("b0", "b1")}
        feeds = {name: random.normal(size=(batch, time, width)) for name in "xy"}
        return Data(weights, feeds, sizes={"width": width, "heads": heads, "time": time})

    return make


def block_loss(
    ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """Return the mean square of what the block computes beside y."""
    width, heads, time = sizes["width"], sizes["heads"], sizes["time"]
    size, h = width // heads, ops.layer_norm(v["x"], v["g0"], v["b0"])

    def part(name: str) -> Any:
        return ops.transpose(ops.reshape(h @ v[name], (-1, time, heads, size)), (0, 2, 1, 3))

    mixed = ops.causal_attention(*map(part, "qkv"), time, size)
    x = v["x"] + ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, time, width)) @ v["out"]
    x = x + ops.gelu(ops.layer_norm(x, v["g1"], v["b1"]) @ v["up"]) @ v["down"]
    return ops.mean((x - v["y"]) * (x - v["y"])), {}


def convolutions(side: int, widths: tuple[int, ...], batch: int) -> Make:
    """Images, and filters of 3 x 3 of two stages, which halve the image."""

    def make(random: np.random.Generator) -> Data:
        weights: Arrays = {}
        for k, (inner, outer) in enumerate(zip((3, *widths), widths, strict=False)):
            scale = (inner * 9) ** -0.5
            weights[f"w{k}"] = random.normal(size=(outer, inner, 3, 3)) * scale
            weights[f"b{k}"] = random.normal(size=outer) * 0.1
        weights["head"] = random.normal(size=(widths[-1], 10)) * widths[-1] ** -0.5
        feeds: Arrays = {"x": random.normal(size=(batch, 3, side, side))}
        feeds["y"] = random.integers(0, 10, batch)
        return Data(weights, feeds, sizes={"side": side, "widths": widths})

    return make


def convolution_loss(
    ops: Any, v: Mapping[str, Any], sizes: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the cross entropy of pairs of convolutions, each before a maximum of 2 x 2 windows."""
    h, side, inner = v["x"], sizes["side"], 3
    for k, outer in enumerate(sizes["widths"]):
        h = ops.relu(ops.conv2d(h, v[f"w{k}"], v[f"b{k}"], (inner, outer), side))
        inner = outer
        if k % 2:
            h, side = ops.max_pool(h, outer, side), side // 2
    return ops.cross_entropy(ops.mean(h, axis=(2, 3)) @ v["head"], v["y"]), {}


def networks() -> dict[str, Workload]:
    """Return the networks by name."""
    workloads = (
        Workload(
            "mlp", "sgd", classifier_loss, classifier((*(1024,) * 5, 10), 256),
            classifier((6, 5, 5, 3), 4), 2e-4, "4 dense layers of 1024, batch 256",
        ),
        Workload(
            "block", "sgd", block_loss, block(512, 8, 128, 8), block(8, 2, 5, 2), 2e-4,
            "transformer block of 512, 8 x 128 tokens",
        ),
        Workload(
            "convnet", "sgd", convolution_loss, convolutions(32, (64, 64, 128, 128), 32),
            convolutions(8, (3, 4), 2), 2e-4, "four convolutions of 3 x 3, 32 images of 32 x 32",
        ),
    )  # fmt: skip
    models = all_workloads("models")
    chosen = (*workloads, zoo()["bert_base"], *(models[name] for name in MODELS))
    return {workload.name: workload for workload in chosen}


# -- libraries ------------------------------------------------------------------------------------


class NarrowProgram(StaticgradProgram):
    """Ours with products in bfloat16."""

    def compile(self) -> None:
        self.compiled = sg.compile(self.graph, threads=self.settings.threads, pipeline=PIPELINE)
        run, feeds = self.compiled.run, feeds_of(self.workload, self.data)
        self.step = lambda: run(feeds)


class ImageProgram(TorchProgram):
    """PyTorch's with images and filters in ``channels_last``."""

    def _tensors(self, arrays: Arrays) -> dict[str, Any]:
        last = self.torch.channels_last
        return {
            name: t.contiguous(memory_format=last) if t.ndim == 4 else t
            for name, t in super()._tensors(arrays).items()
        }


def _autocast(program: type[TorchProgram]) -> type[TorchProgram]:
    """Return the program with its loss in ``autocast``."""

    class Autocast(program):  # type: ignore[valid-type,misc]
        def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                with self.torch.autocast("cpu", self.torch.bfloat16):
                    return function(*arguments)

            return call

    return Autocast


def programs(library: str, precision: str) -> list[type[Program]]:
    """Return the forms of a library's program, of which the fastest counts."""
    is_narrow = precision == "bfloat16"
    if library == "staticgrad":
        return [NarrowProgram if is_narrow else StaticgradProgram]
    forms = [TorchProgram, ImageProgram]
    return [_autocast(form) if is_narrow else form for form in forms]


def build(
    library: str, precision: str, workload: Workload, data: Data, threads: int = 1
) -> tuple[list[Call], int, float]:
    """Return the steps of a library's programs, planned bytes, and the largest of their errors."""
    if library == "torch":
        import_module("torch").set_num_threads(threads)
    truth = gradients(workload, data)
    calls, planned, errors = list[Call](), 0, [0.0]
    has_images = any(a.ndim == 4 for a in data.feeds.values())
    for form in programs(library, precision)[: 2 if has_images else 1]:
        program = form(workload, data, Settings(threads, ""))
        program.build()
        program.compile()
        program.step()
        errors.append(error_of_step(program, truth))
        program.tune()
        calls.append(program.step)
        if isinstance(program, StaticgradProgram):
            planned = program.compiled.plan(**open_sizes(data)).peak_bytes
    return calls, planned, max(errors)


def gradients(workload: Workload, data: Data) -> Arrays:
    """Return the gradients that PyTorch computes in float64."""
    wide = replace(workload, dtype="float64", kind="gradient")
    program = TorchProgram(wide, data.astype("float64"), Settings(1, ""))
    program.build()
    results = program.results(program.step())
    return {name: results[f"gradient:{name}"] for name in data.variables}


def error_of_step(program: Program, truth: Arrays) -> float:
    """Return the norm of the error of the gradients that a first step used, over their norm."""
    old, moments, new = program.data.variables, program.moments(), program.parameters()
    away = total = 0.0
    for name, gradient in truth.items():
        if moments:
            used = moments[name][0].astype("float64") / (1 - Adam.BETAS[0])
        else:
            used = (old[name].astype("float64") - new[name]) / program.workload.rate
        away += float(((used - gradient) ** 2).sum())
        total += float((gradient**2).sum())
    return float((away / total) ** 0.5)


# -- the page -------------------------------------------------------------------------------------


def _work(column: str, name: str, threads: int) -> None:
    """Build a network, and measure it in turns."""
    library, precision, _ = SIDES[column]
    workload = networks()[name]
    calls, planned, error = build(library, precision, workload, workload.make(), threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    by_number = {str(number): call for number, call in enumerate(calls)}
    times = least_times(by_number, 1.0, clock)
    fastest = by_number[min(times, key=lambda number: times[number])]
    answer_turns(fastest, {"planned": planned, "error": error}, clock)


def write_row(name: str, results: Mapping[str, Figures | str]) -> str:
    """Return the row of a network: times by side, planned megabytes, and our bfloat16's ratios."""
    times = {side: f["seconds"] for side, f in results.items() if not isinstance(f, str)}
    cells = [name]
    for side in SIDES:
        shown = results.get(side, "-")
        cells.append(shown if isinstance(shown, str) else f"{shown['seconds'] * 1e3:.4g}")
    planned = (results[side] for side in (WIDE, NARROW))
    cells.append(
        " -> ".join("-" if isinstance(f, str) else f"{f['planned'] / 1e6:.1f}" for f in planned)
    )
    for side in BESIDE:
        are_timed = side in times and NARROW in times
        cells.append(f"{times[side] / times[NARROW]:.2f}" if are_timed else "-")
    return f"| {' | '.join(cells)} |"


def builders() -> Builders:
    """Return what builds the networks."""
    return of_workloads(networks())


def main() -> int:
    """Print the table of Markdown; with ``--worker`` be one of its processes."""
    if sys.argv[1:2] == ["--worker"]:
        column, name, threads = sys.argv[2:]
        _work(column, name, int(threads))
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks training", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--only", nargs="+", choices=[*networks()], default=[*networks()], help="networks")
    add("--threads", type=int, default=1, help="of each library")
    add("--seconds", type=float, default=3.0, help="measuring time of each cell")
    add("--turns", type=int, default=6, help="turns of each process")
    options = parser.parse_args()
    machine = describe()
    print(f"{machine.processor}, {machine.cores} cores, threads: {options.threads}.\n")
    for name in options.only:
        print(f"- {name}: {networks()[name].about}")
    ratios = [f"{side} / {NARROW}" for side in BESIDE]
    heads = ("network", *SIDES, "planned MB, float32 -> bfloat16", *ratios)
    print(f"\n| {' | '.join(heads)} |\n|---|{'--:|' * (len(heads) - 1)}")
    threads = str(options.threads)
    for name in options.only:
        workers = {
            side: Worker(
                ("-m", "benchmarks", "training", "--worker", side, name, threads),
                {**environment, "STATICGRAD_THREADS": threads},
            )
            for side, (library, _, environment) in SIDES.items()
            if find_spec(library)
        }
        results = measure_in_turns(
            workers, lambda side: PRECISIONS[SIDES[side][1]], options.turns, options.seconds
        )
        print(write_row(name, results), flush=True)
    return 0

"""Grids of deep convolutions and of wide products, beside PyTorch and JAX.

    python -m benchmarks grids convolutions --threads 1 --into found.json [--only TEXT]
    python -m benchmarks grids products --threads 2 --into found.json [--seconds 0.2]
    python -m benchmarks grids convolutions --report found.json [--before earlier.json]

``convolutions``: small images of many channels, with the result, the gradients by image and filter,
and the gradient by the filter with the step of AdamW that reads it. ``products``: products as wide
as a vocabulary with both gradients, attention, and products that memory bounds. All are float32;
results are compared with float64 before a time is taken. Libraries take turns in one process, and
the least time counts: processor time on one thread, the clock's on several.

The limit of a cell is the larger of its operations by the rate of a square product and its bytes,
each operand and result once, by the rate of a copy; both rates are PyTorch's, measured in turns
with the cells. The share is that of the limit in the time of the call, above 1 for operands that
stay in a cache.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from itertools import product
from math import exp, log, prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe, use_one_core
from benchmarks.harness.turns import least_times
from benchmarks.peers import convolutions
from benchmarks.peers.convolutions import PARTS, Kind, calls as convolution_calls, check
from staticgrad.support.records import dataclass

Arrays = dict[str, Any]
Call = Callable[[], Any]
LIBRARIES: Final = ("staticgrad", "torch", "jax")
RATE: Final = 1e-3  # of AdamW
DECAY: Final = 1e-2
#: The largest error, of the largest element; of a step, of the rate of learning.
NEAR: Final = 1e-4
NEAR_STEP: Final = 1e-2
SIDE: Final = 1536
COPIED: Final = 1 << 25  # elements
#: Rows and columns that are compared of a large product.
COMPARED: Final = 64


@dataclass(frozen=True)
class Part:
    """Calls of each library that are timed, with their operations and elements in memory."""

    calls: dict[str, Call]
    operations: float
    elements: float

    def limit(self, peak: float, bandwidth: float) -> float:
        """Return the least seconds of a call by the rates of the machine."""
        return max(self.operations / peak, 4 * self.elements / bandwidth)


# -- convolutions ---------------------------------------------------------------------------------

CHANNELS: Final = (256, 512, 1024, 2048)
IMAGES: Final = (1, 2, 4, 8)
BATCHES: Final = (1, 8, 32)
FILTERS: Final = ((3, 1), (3, 2), (1, 1), (1, 2))


def kinds() -> Iterator[Kind]:
    """Yield convolutions of small images with many channels; 3x3 filters have up to 1,024."""
    for channels, image, batch, (taps, stride) in product(CHANNELS, IMAGES, BATCHES, FILTERS):
        if stride <= image and channels * taps <= 3 * 1024:
            sizes = (image, image), (taps, taps), stride, taps // 2
            yield Kind(batch, (channels, channels), *sizes)


def convolution(kind: Kind, threads: int) -> dict[str, Part]:
    """Return the parts of a convolution, whose results have been compared."""
    all_runs: dict[str, dict[str, Call]] = {}
    for library in LIBRARIES:
        operands, runs = convolution_calls(library, kind, threads)
        check(kind, operands, {part: np.asarray(call()) for part, call in runs.items()})
        all_runs[library] = runs | {"update": _steps(library, kind, operands, runs, threads)}
    sizes = {name: operands[name].size for name in "xwg"}
    terms = operands["g"].size * prod(kind.taps) * kind.channels[0]
    elements = dict.fromkeys(PARTS, sum(sizes.values()))
    elements["update"] = sizes["x"] + sizes["g"] + 6 * sizes["w"]  # w and two moments, both ways
    return {
        part: Part({name: runs[part] for name, runs in all_runs.items()}, 2 * terms, count)
        for part, count in elements.items()
    }


def _steps(
    library: str, kind: Kind, operands: Arrays, runs: Mapping[str, Call], threads: int
) -> Call:
    """Return a call that steps a filter by AdamW, compared with one step in float64."""
    make = {"staticgrad": _own_step, "torch": _torch_step, "jax": _jax_step}[library]
    step, read = make(kind, operands, threads)
    old = read().astype("float64")
    step()
    gradient = np.asarray(runs["filter"]()).astype("float64")
    expected = old - RATE * (gradient / (np.abs(gradient) + 1e-8) + DECAY * old)
    apart = np.abs(read() - expected)[np.abs(gradient) > NEAR * np.abs(gradient).max()].max()
    if not apart < NEAR_STEP * RATE:
        raise RuntimeError(
            f"{library}, {kind}: a step of AdamW is off by {apart / RATE} of the rate"
        )
    return step


def _step_graph(kind: Kind, first: Any) -> tuple[Any, Any]:
    """Return the graph of a step of AdamW of a filter, and the filter."""
    import staticgrad as sg

    x = sg.input("x", (kind.batch, kind.channels[0], *kind.image), "float32")
    w = sg.parameter("w", first)
    y = sg.nn.conv(x, w, stride=kind.stride, padding=kind.padding)
    g = sg.input("g", y.shape, "float32")
    optimizer = sg.optim.AdamW(RATE, weight_decay=DECAY)
    return sg.Graph(updates=optimizer.updates((y * g).sum(), [w])), w


def _own_step(kind: Kind, operands: Arrays, threads: int) -> tuple[Call, Call]:
    import staticgrad as sg

    graph, w = _step_graph(kind, operands["w"])
    program = sg.compile(graph, threads=threads)
    feeds = {name: operands[name] for name in "xg"}
    return partial(program.run, feeds), lambda: np.array(w.value)


def _torch_step(kind: Kind, operands: Arrays, threads: int) -> tuple[Call, Call]:
    torch = import_module("torch")
    x, w, g = (torch.from_numpy(operands[name].copy()) for name in "xwg")
    w.requires_grad_()
    optimizer = torch.optim.AdamW([w], RATE, weight_decay=DECAY, fused=True)
    backward, zeros = torch.ops.aten.convolution_backward, [0] * len(kind.taps)
    strides, pads, ones = ([n] * len(kind.taps) for n in (kind.stride, kind.padding, 1))

    def step() -> None:
        with torch.no_grad():
            how = strides, pads, ones, False, zeros, 1
            w.grad = backward(g, x, w, None, *how, [False, True, False])[1]
        optimizer.step()

    return step, lambda: w.detach().numpy().copy()


def _jax_step(kind: Kind, operands: Arrays, threads: int) -> tuple[Call, Call]:
    jax = import_module("jax")
    x, w, g = (jax.numpy.asarray(operands[name]) for name in "xwg")

    def convolve(w: Any, x: Any) -> Any:
        pads = [(kind.padding, kind.padding)] * len(kind.taps)
        return jax.lax.conv_general_dilated(x, w, [kind.stride] * len(kind.taps), pads)

    def step(state: Any, x: Any, g: Any) -> Any:
        w, m, v, count = state
        (gradient,) = jax.vjp(lambda w: convolve(w, x), w)[1](g)
        m, v, count = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2, count + 1
        size = jax.numpy.sqrt(v / (1 - 0.999**count)) + 1e-8
        return w - RATE * (m / (1 - 0.9**count) / size + DECAY * w), m, v, count

    compiled = jax.jit(step, donate_argnums=0)
    state = [(w, w * 0, w * 0, jax.numpy.float32(0))]

    def call() -> None:
        state[0] = jax.block_until_ready(compiled(state[0], x, g))

    return call, lambda: np.array(state[0][0])


# -- products -------------------------------------------------------------------------------------

ROWS: Final = (64, 512)
TERMS: Final = (64, 256, 768)
COLUMNS: Final = (10_000, 50_257)


@dataclass(frozen=True)
class Formula:
    """An expression of arrays, written once for all libraries, and for NumPy in float64."""

    name: str
    part: str
    shapes: tuple[tuple[int, ...], ...]
    value: Callable[..., Any]
    operations: float
    elements: float

    def __str__(self) -> str:
        return self.name


def formulas() -> Iterator[Formula]:
    """Yield products as wide as a vocabulary, attention, and products that memory bounds."""
    for m, k, n in product(ROWS, TERMS, COLUMNS):
        name, work, count = f"{m} x {k} x {n}", 2.0 * m * k * n, m * k + k * n + m * n
        rows, table, wide = (m, k), (n, k), (m, n)
        yield Formula(name, "h @ w.T", (rows, table), lambda _, h, w: h @ w.T, work, count)
        yield Formula(name, "g @ w", (wide, table), lambda _, g, w: g @ w, work, count)
        yield Formula(name, "g.T @ h", (wide, rows), lambda _, g, h: g.T @ h, work, count)
        yield Formula(name, "h @ v", (rows, (k, n)), lambda _, h, v: h @ v, work, count)
        yield Formula(name, "g @ v.T", (wide, (k, n)), lambda _, g, v: g @ v.T, work, count)
        yield Formula(name, "h.T @ g", (rows, wide), lambda _, h, g: h.T @ g, work, count)
    for tokens, causal in product((1024, 2048, 4096), (False, True)):
        shape = (1, 4, tokens, 64)  # of three axes PyTorch would take its slow path
        value = partial(_attention, causal)
        terms = 4.0 * 4 * tokens * tokens * 64 / (2 if causal else 1)
        name = f"4 heads, {tokens} tokens{', causal' * causal}"
        yield Formula(name, "attention", (shape,) * 3, value, terms, 4 * 4 * tokens * 64)
    n, few = 200_000, 8
    tall: list[tuple[str, int, Any, float, int]] = [
        ("tanh(x @ w + b)", few, lambda lib, x, w, b: lib.tanh(x @ w + b), 2.0 * few, 2 * few),
        ("x @ w", few, lambda lib, x, w, b: x @ w, 2.0 * few, 2 * few),
        ("x.T @ x", few, lambda lib, x, w, b: x.T @ x, 2.0 * few, few),
        ("x.T @ x", 64, lambda lib, x, w, b: x.T @ x, 2.0 * 64, 64),
        ("sum(x * x, 0)", few, lambda lib, x, w, b: (x * x).sum(0), 2.0, few),
        ("sum(x * x, 0)", 64, lambda lib, x, w, b: (x * x).sum(0), 2.0, 64),
    ]
    for text, width, value, work_each, touched in tall:
        shapes = (n, width), (width, width), (width,)
        yield Formula(f"{n} x {width}", text, shapes, value, work_each * n * width, touched * n)
    for order in (100, 400, 1000):
        system, solved = ((order, order), (order, 1)), 2.0 / 3 * order**3
        yield Formula(f"{order} x {order}", "solve", system, _solve, solved, order * order)


def _solve(lib: Any, a: Any, b: Any) -> Any:
    return lib.linalg.solve(a, b)


def _attention(causal: bool, lib: Any, q: Any, k: Any, v: Any) -> Any:
    if lib.__name__ == "staticgrad":
        return lib.nn.attention(q, k, v, causal=causal)
    if lib.__name__ == "torch":
        return lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    if lib.__name__ == "jax.numpy":
        heads = [import_module("jax").numpy.swapaxes(x, 1, 2) for x in (q, k, v)]
        attended = import_module("jax").nn.dot_product_attention(*heads, is_causal=causal)
        return lib.swapaxes(attended, 1, 2)
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True) @ v


def formula(cell: Formula, threads: int) -> dict[str, Part]:
    """Return the part of a formula, whose results have been compared."""
    random = np.random.default_rng(0)
    operands = [random.normal(size=shape).astype("float32") for shape in cell.shapes]
    makers = {"staticgrad": _own_call, "torch": _torch_call, "jax": _jax_call}
    calls = {name: make(cell, operands, threads) for name, make in makers.items()}
    expected = cell.value(np, *[array.astype("float64") for array in operands])
    for name, call in calls.items():
        error = np.abs(np.asarray(call()) - expected).max() / np.abs(expected).max()
        if not error < NEAR * (100 if cell.part == "solve" else 1):
            raise RuntimeError(f"{name}, {cell}: {cell.part} is off by {error}")
    return {cell.part: Part(calls, cell.operations, cell.elements)}


def _formula_graph(cell: Formula) -> Any:
    """Return the graph of a formula."""
    import staticgrad as sg

    inputs = [sg.input(f"x{n}", shape, "float32") for n, shape in enumerate(cell.shapes)]
    return sg.Graph({"o": cell.value(sg, *inputs)})


def builders() -> Builders:
    """Return what builds the convolutions of the fewest channels, with a step, and all formulas."""

    def build_kind(kind: Kind) -> object:
        first = np.zeros(kind.filters, "float32")
        return convolutions.build_kind(kind), _step_graph(kind, first)

    few = [kind for kind in kinds() if kind.channels[0] == CHANNELS[0]]
    return {
        **{str(kind): partial(build_kind, kind) for kind in few},
        **{f"{cell}, {cell.part}": partial(_formula_graph, cell) for cell in formulas()},
    }


def _own_call(cell: Formula, operands: list[Any], threads: int) -> Call:
    import staticgrad as sg

    program = sg.compile(_formula_graph(cell), threads=threads)
    feeds = {f"x{n}": array for n, array in enumerate(operands)}
    feeds = {name: array for name, array in feeds.items() if name in program.inputs}
    return lambda: program.run(feeds)["o"]


def _torch_call(cell: Formula, operands: list[Any], threads: int) -> Call:
    torch = import_module("torch")
    tensors = [torch.from_numpy(array) for array in operands]
    return lambda: cell.value(torch, *tensors).numpy()


def _jax_call(cell: Formula, operands: list[Any], threads: int) -> Call:
    jax = import_module("jax")
    arrays = [jax.numpy.asarray(array) for array in operands]
    compiled = jax.jit(partial(cell.value, jax.numpy))
    return lambda: compiled(*arrays).block_until_ready()


# -- the run --------------------------------------------------------------------------------------


def limits(threads: int) -> dict[str, Call]:
    """Return a square product and a copy beyond the caches, by PyTorch."""
    torch = import_module("torch")
    torch.set_num_threads(threads)
    square, source = torch.ones(SIDE, SIDE), torch.ones(COPIED)
    result, target = torch.empty_like(square), torch.empty_like(source)
    return {
        "product": lambda: torch.mm(square, square, out=result),
        "copy": lambda: target.copy_(source),
    }


def measure(
    cells: Sequence[tuple[str, Callable[[int], dict[str, Part]]]],
    threads: int,
    seconds: float,
    file: Path,
) -> None:
    """Measure cells into a file, which keeps the lesser times of an earlier run."""
    clock = time.process_time if threads == 1 else time.perf_counter
    document = json.loads(file.read_text()) if file.exists() else {}
    document["machine"] = asdict(describe())
    run = document.setdefault(str(threads), {"limits": {}, "cells": {}})
    bounds = limits(threads)
    for name, make in cells:
        _keep(run["limits"], least_times(bounds, seconds, clock))
        for part, timed in make(threads).items():
            row = run["cells"].setdefault(f"{name} | {part}", {"times": {}})
            row |= {"operations": timed.operations, "elements": timed.elements}
            _keep(row["times"], least_times(timed.calls, seconds, clock))
            print(_line(f"{name} | {part}", row, run["limits"]), flush=True)
        file.write_text(json.dumps(document, indent=1) + "\n")


def _keep(earlier: dict[str, float], now: Mapping[str, float]) -> None:
    for name, seconds in now.items():
        earlier[name] = min(seconds, earlier.get(name, seconds))


def _share(row: Mapping[str, Any], bounds: Mapping[str, float], library: str) -> float:
    """Return the share of the machine's limit that a library reaches."""
    peak, bandwidth = 2 * SIDE**3 / bounds["product"], 8 * COPIED / bounds["copy"]
    limit = Part({}, row["operations"], row["elements"]).limit(peak, bandwidth)
    return float(limit / row["times"][library])


def _ratio(row: Mapping[str, Any]) -> float:
    """Return the time of the fastest peer over ours."""
    times = row["times"]
    return float(min(times[name] for name in LIBRARIES[1:]) / times[LIBRARIES[0]])


def _line(name: str, row: Mapping[str, Any], bounds: Mapping[str, float]) -> str:
    ours = row["times"][LIBRARIES[0]]
    shares = " | ".join(f"{_share(row, bounds, library):.2f}" for library in LIBRARIES)
    rate = f"{row['operations'] / ours / 1e9:.1f}"
    return f"| {name} | {ours * 1e3:.3f} | {rate} | {shares} | {_ratio(row):.2f} |"


def _mean(numbers: Sequence[float]) -> float:
    return exp(sum(map(log, numbers)) / len(numbers))


def report(document: Mapping[str, Any], earlier_run: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the lines of a page: means by part, then all cells."""
    for threads, run in document.items():
        if threads == "machine":
            continue
        earlier = earlier_run.get(threads) if earlier_run else None
        bounds = run["limits"]
        rates = 2e-9 * SIDE**3 / bounds["product"], 8e-9 * COPIED / bounds["copy"]
        yield f"\n## Threads: {threads}\n"
        yield "The limits: {:.0f} GFLOP/s and {:.1f} GB/s.\n".format(*rates)
        head = "share | PyTorch | JAX | fastest peer / ours: mean, least | behind"
        yield f"| part | cells | {head}{' | mean before | behind before' if earlier else ''} |"
        yield "|---" * (9 if earlier else 7) + "|"
        for part in dict.fromkeys(name.rsplit(" | ", 1)[1] for name in run["cells"]):
            names = [name for name in run["cells"] if name.endswith(f" | {part}")]
            rows = [run["cells"][name] for name in names]
            shares = (
                f"{_mean([_share(row, bounds, library) for row in rows]):.2f}"
                for library in LIBRARIES
            )
            ratios = [_ratio(row) for row in rows]
            slower = sum(ratio < 1 for ratio in ratios)
            text = f"| {part} | {len(rows)} | {' | '.join(shares)} |"
            text += f" {_mean(ratios):.2f}, {min(ratios):.2f} | {slower} |"
            if earlier:
                old = [_ratio(earlier["cells"][n]) for n in names if n in earlier["cells"]]
                text += f" {_mean(old):.2f} | {sum(ratio < 1 for ratio in old)} |"
            yield text
        yield "\n| cell | part | ms | GFLOP/s | share | PyTorch | JAX | fastest peer / ours |"
        yield f"|---|---|{'--:|' * 6}"
        for name, row in run["cells"].items():
            cell, part = name.rsplit(" | ", 1)
            yield _line(f"{cell.replace(' | ', ', ')} | {part}", row, bounds)


def main() -> int:
    """Measure a grid, or print the page of a file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks grids", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("grid", choices=("convolutions", "products"))
    add("--threads", type=int, default=1)
    add("--seconds", type=float, default=0.1, help="of each library and part")
    add("--only", nargs="*", default=[], help="cells whose name has one of these texts")
    add("--thin", type=int, default=1, help="every so many of the cells")
    add("--into", type=Path, help="a file of times, which keeps the lesser ones")
    add("--report", type=Path, help="a file of times of which the page is printed")
    add("--before", type=Path, help="an earlier file, beside it")
    options = parser.parse_args()
    if options.report:
        earlier = json.loads(options.before.read_text()) if options.before else None
        print("\n".join(report(json.loads(options.report.read_text()), earlier)))
        return 0
    if not options.into:
        parser.error("--into or --report says what to do")
    if options.threads == 1:
        use_one_core()
    cells: list[tuple[str, Callable[[int], dict[str, Part]]]]
    if options.grid == "convolutions":
        cells = [(str(kind), partial(convolution, kind)) for kind in kinds()]
    else:
        cells = [(f"{cell} | {cell.part}", partial(formula, cell)) for cell in formulas()]
    only = options.only or [""]
    chosen = [(n, make) for n, make in cells if any(text in n for text in only)][:: options.thin]
    if options.grid == "products":
        chosen = [(name.rsplit(" | ", 1)[0], make) for name, make in chosen]
    measure(chosen, options.threads, options.seconds, options.into)
    return 0

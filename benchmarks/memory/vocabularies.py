"""Losses of wide products: bytes and time of a loss with its gradients, beside PyTorch and JAX.

    python -m benchmarks vocabularies --threads 2 --into found.json [--only TEXT]
    python -m benchmarks vocabularies --report found.json

A row is a loss of logits (tokens x vocabulary) or of a matrix of similarities or distances (points
x points). The columns: staticgrad, staticgrad without the passes that compute such a product in
chunks of rows (``stored``), staticgrad within a memory budget of a sixteenth of the bytes of one
product, or the nearest to it that has a plan (``budget``), PyTorch as users write it, PyTorch in a
loop over chunks of rows that calls ``backward`` for each as Liger-Kernel's losses do (``chunks``),
``jax.jit``, and JAX with ``lax.map`` over chunks of rows that ``jax.checkpoint`` computes again
(``map``).

The loss is compared with NumPy in float64, and the gradients with a central difference of it. Bytes
are those of the arena, of the tensors that PyTorch's profiler sees, and of the temporaries that XLA
plans, without operands and gradients that are returned. Libraries take turns in one process; the
least processor time of all threads counts, so that a busy machine matters less.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import describe, use_one_core
from benchmarks.harness.turns import least_times
from benchmarks.memory.peak_bytes import profiled_bytes
from staticgrad.support.records import dataclass

Arrays = dict[str, Any]
#: The largest error of the loss, and of a gradient in a random direction.
NEAR: Final = 1e-4
NEAR_GRADIENT: Final = 2e-3
CHUNK: Final = 256  # rows
TEMPERATURE: Final = 2.0
#: The part of the bytes of a product that the column ``budget`` has; if none has, the fewest.
BUDGET: Final = 16
COLUMNS: Final = ("staticgrad", "stored", "budget", "torch", "chunks", "jax", "map")


# -- the losses, by the functions of each library -------------------------------------------------


@dataclass(frozen=True)
class Functions:
    """The functions that NumPy, PyTorch, JAX and staticgrad spell differently."""

    library: Any
    logsumexp: Callable[[Any, int], Any]
    softmax: Callable[[Any], Any]
    pick: Callable[[Any, Any], Any]
    least: Callable[[Any], Any]


def _cross_entropy(of: Functions, v: Arrays) -> Any:
    logits = v["h"] @ v["w"].T
    return of.logsumexp(logits, 1) - of.pick(logits, v["y"])


def _label_smoothing(of: Functions, v: Arrays) -> Any:
    logits = v["h"] @ v["w"].T
    return of.logsumexp(logits, 1) - 0.9 * of.pick(logits, v["y"]) - 0.1 * logits.mean(1)


def _distillation(of: Functions, v: Arrays) -> Any:
    student, teacher = (v[x] @ v[w].T / TEMPERATURE for x, w in (("h", "w"), ("t", "u")))
    return of.logsumexp(student, 1) - (of.softmax(teacher) * student).sum(1)


def _both_axes(of: Functions, v: Arrays) -> Any:
    scores = v["h"] @ v["w"].T
    return of.logsumexp(scores, 1) + of.logsumexp(scores, 0) - 2.0 * of.pick(scores, v["y"])


def _squares(v: Arrays) -> Any:
    h, w = v["h"], v["w"]
    return (h * h).sum(1)[:, None] - 2.0 * (h @ w.T) + (w * w).sum(1)


def _nearest(of: Functions, v: Arrays) -> Any:
    return of.least(_squares(v))


def _kernel_sums(of: Functions, v: Arrays) -> Any:
    return (of.library.exp(-0.5 * _squares(v)) @ v["k"]) ** 2


Loss = Callable[[Functions, Arrays], Any]
LOSSES: Final[Mapping[str, Loss]] = {
    "cross entropy": _cross_entropy,
    "label smoothing": _label_smoothing,
    "distillation": _distillation,
    "InfoNCE, both axes": _both_axes,
    "nearest neighbours": _nearest,
    "kernel sums": _kernel_sums,
}
#: Operands of which each row of the loss reads its own.
BY_ROWS: Final = ("h", "t", "y")


@dataclass(frozen=True)
class Row:
    """A loss of so many rows, columns and terms of the product."""

    loss: str
    rows: int
    columns: int
    terms: int

    def __str__(self) -> str:
        return f"{self.loss} | {self.rows:,} x {self.terms} x {self.columns:,}"

    def operands(self) -> Arrays:
        """Return the arrays: two factors, and what the loss reads besides."""
        random = np.random.default_rng(0)
        scale = self.terms**-0.25

        def draw(*shape: int) -> Any:
            return (random.normal(size=shape) * scale).astype("float32")

        arrays = {"h": draw(self.rows, self.terms), "w": draw(self.columns, self.terms)}
        if self.loss == "distillation":
            arrays |= {"t": draw(self.rows, self.terms), "u": draw(self.columns, self.terms)}
        if self.loss == "kernel sums":
            arrays["k"] = draw(self.columns)
        if self.loss in ("cross entropy", "label smoothing"):
            arrays["y"] = random.integers(0, self.columns, self.rows)
        if self.loss == "InfoNCE, both axes":
            arrays["y"] = np.arange(self.rows)
        return arrays


def rows() -> Iterator[Row]:
    """Yield the rows of the page."""
    tables = (64, 10_000, 256), (2048, 10_000, 256), (1024, 32_000, 256), (512, 50_257, 768)
    for sizes in (*tables, (512, 100_000, 256)):
        yield Row("cross entropy", *sizes)
    for loss in ("label smoothing", "distillation"):
        yield Row(loss, 1024, 32_000, 256)
        yield Row(loss, 512, 100_000, 256)
    for loss, terms in (("InfoNCE, both axes", (64, 256)), ("nearest neighbours", (16, 64))):
        yield from (Row(loss, 8192, 8192, count) for count in terms)
    yield Row("kernel sums", 8192, 8192, 16)


# -- libraries: a call that returns the loss and the gradients of h and w, and its bytes ----------

Call = Callable[[], tuple[Any, Any, Any]]


def _numpy_value(row: Row, arrays: Arrays) -> float:
    """Compute the loss in float64."""
    of = Functions(np, _logsumexp_of_numpy, _softmax_of_numpy, _pick, lambda z: z.min(1))
    of_all = {name: _to_float64(array) for name, array in arrays.items()}
    if row.loss == "InfoNCE, both axes":
        return float(LOSSES[row.loss](of, of_all).mean())
    total = 0.0
    for begin in range(0, row.rows, CHUNK):
        part = {n: a[begin : begin + CHUNK] if n in BY_ROWS else a for n, a in of_all.items()}
        total += float(LOSSES[row.loss](of, part).sum())
    return total / row.rows


def _to_float64(array: Any) -> Any:
    return array.astype("float64") if array.dtype.kind == "f" else array


def _logsumexp_of_numpy(z: Any, axis: int) -> Any:
    largest = z.max(axis, keepdims=True)
    return np.log(np.exp(z - largest).sum(axis)) + largest.squeeze(axis)


def _softmax_of_numpy(z: Any) -> Any:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _pick(z: Any, y: Any) -> Any:
    return np.take_along_axis(z, y[:, None], 1)[:, 0]


def _own_graph(row: Row, arrays: Arrays) -> Any:
    """Return the graph of a loss with its gradients."""
    import staticgrad as sg

    of = Functions(
        sg, sg.nn.logsumexp, sg.nn.softmax,
        lambda z, y: sg.take_along_axis(z, y[:, None], 1)[:, 0], lambda z: z.min(1),
    )  # fmt: skip
    values = {name: sg.input(name, a.shape, a.dtype.name) for name, a in arrays.items()}
    loss = LOSSES[row.loss](of, values).mean()
    dh, dw = sg.grad(loss, [values["h"], values["w"]])
    return sg.Graph({"loss": loss, "dh": dh, "dw": dw})


def builders() -> Builders:
    """Return what builds the losses, of few rows and columns."""

    def build(loss: str) -> object:
        row = Row(loss, 4, 4, 2)
        return _own_graph(row, row.operands())

    return {loss: partial(build, loss) for loss in LOSSES}


def _own(
    row: Row, arrays: Arrays, threads: int, disable: tuple[str, ...] = (), budget: int | None = None
) -> tuple[Call, int]:
    import staticgrad as sg

    compile_within = partial(sg.compile, _own_graph(row, arrays), threads=threads, disable=disable)
    try:
        program = compile_within(memory_budget=budget)
    except sg.errors.BudgetInfeasible as error:
        program = compile_within(memory_budget=error.smallest_peak)

    def call() -> tuple[Any, Any, Any]:
        results = program.run(arrays)
        return results["loss"], results["dh"], results["dw"]

    return call, program.plan().peak_bytes


def _torch(row: Row, arrays: Arrays, threads: int, chunk: int = 0) -> tuple[Call, int]:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    of = Functions(
        torch, torch.logsumexp, lambda z: z.softmax(1),
        lambda z, y: z.gather(1, y[:, None])[:, 0], lambda z: z.min(1).values,
    )  # fmt: skip
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def call() -> tuple[Any, Any, Any]:
        w = tensors["w"].detach().requires_grad_()
        total, gradients = 0.0, []
        for begin in range(0, row.rows, chunk or row.rows):
            end = begin + (chunk or row.rows)
            part = {n: t[begin:end] if n in BY_ROWS else t for n, t in tensors.items()}
            h = part["h"].detach().requires_grad_()
            loss = LOSSES[row.loss](of, part | {"h": h, "w": w}).sum() / row.rows
            loss.backward()
            total += loss.detach()
            gradients.append(h.grad)
        return total, torch.cat(gradients), w.grad

    return call, profiled_bytes(call)


def _jax(row: Row, arrays: Arrays, threads: int, chunk: int = 0) -> tuple[Call, int]:
    jax = import_module("jax")
    of = Functions(
        jax.numpy, lambda z, axis: jax.nn.logsumexp(z, axis=axis), jax.nn.softmax,
        lambda z, y: jax.numpy.take_along_axis(z, y[:, None], 1)[:, 0], lambda z: z.min(1),
    )  # fmt: skip

    def loss(h: Any, w: Any, others: Arrays) -> Any:
        values = others | {"h": h, "w": w}
        if not chunk:
            return LOSSES[row.loss](of, values).mean()
        shared = {n: a for n, a in values.items() if n not in BY_ROWS}
        parts = {n: a.reshape(-1, chunk, *a.shape[1:]) for n, a in values.items() if n in BY_ROWS}
        of_part = jax.checkpoint(lambda part: LOSSES[row.loss](of, shared | part).sum())
        return jax.lax.map(of_part, parts).sum() / row.rows

    others = {n: jax.numpy.asarray(a) for n, a in arrays.items() if n not in "hw"}
    h, w = (jax.numpy.asarray(arrays[name]) for name in "hw")
    compiled = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(h, w, others).compile()

    def call() -> tuple[Any, Any, Any]:
        value, (dh, dw) = jax.block_until_ready(compiled(h, w, others))
        return value, dh, dw

    return call, int(compiled.memory_analysis().temp_size_in_bytes)


def check(row: Row, arrays: Arrays, calls: Mapping[str, Call]) -> None:
    """Compare the loss of each library with float64, and its gradients with a difference."""
    random = np.random.default_rng(1)
    step = 1e-6
    ways = {name: random.normal(size=arrays[name].shape) for name in "hw"}
    value = _numpy_value(row, arrays)
    ends = [
        _numpy_value(row, arrays | {n: arrays[n] + sign * step * way for n, way in ways.items()})
        for sign in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    for library, call in calls.items():
        loss, dh, dw = (np.asarray(result, "float64") for result in call())
        terms = [(gradient * ways[name]) for name, gradient in zip("hw", (dh, dw), strict=True)]
        size = sum(float(np.sqrt((term**2).sum())) for term in terms)
        error = abs(float(loss) - value) / max(abs(value), 1.0)
        slope_error = abs(sum(float(term.sum()) for term in terms) - slope) / max(abs(slope), size)
        if not (error < NEAR and slope_error < NEAR_GRADIENT):
            raise RuntimeError(f"{library}, {row}: off by {error} and {slope_error}")


def measure(row: Row, threads: int, seconds: float) -> dict[str, Any]:
    """Return bytes and seconds of each library for one row, once the results are compared."""
    arrays = row.operands()
    off = ("row-chunks", "recomputed-products")
    makers: dict[str, Callable[..., tuple[Call, int]]] = {
        "staticgrad": _own, "stored": partial(_own, disable=off),
        "budget": partial(_own, budget=row.rows * row.columns * 4 // BUDGET),
        "torch": _torch, "jax": _jax,
    }  # fmt: skip
    if row.loss != "InfoNCE, both axes":  # its rows need all others: no loop over rows does it
        makers |= {"chunks": partial(_torch, chunk=CHUNK)}
        if row.rows % CHUNK == 0:
            makers |= {"map": partial(_jax, chunk=CHUNK)}
    prepared = {name: make(row, arrays, threads) for name, make in makers.items()}
    calls = {name: call for name, (call, _) in prepared.items()}
    check(row, arrays, calls)
    times = least_times(calls, seconds, time.process_time)
    return {"bytes": {name: nbytes for name, (_, nbytes) in prepared.items()}, "times": times}


def report(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the tables of a page."""
    for threads, figures in document.items():
        if threads == "machine":
            continue
        for what, unit, size in (("bytes", "MB", 1e-6), ("times", "ms", 1e3)):
            yield f"\n## Threads: {threads}, {what} in {unit}\n"
            yield "| loss | sizes | " + " | ".join(COLUMNS) + " |"
            yield f"|---|---|{'--:|' * len(COLUMNS)}"
            for name, row in figures.items():
                cells = [row[what].get(column) for column in COLUMNS]
                texts = ["" if cell is None else f"{cell * size:,.0f}" for cell in cells]
                yield f"| {name} | {' | '.join(texts)} |"


def main() -> int:
    """Measure the rows into a file, or print the page of one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks vocabularies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--threads", type=int, default=2)
    add("--seconds", type=float, default=1.0, help="of each library and row")
    add("--only", nargs="*", default=[""], help="rows whose text has one of these")
    add("--into", type=Path, help="a file of the figures")
    add("--report", type=Path, help="a file of which the page is printed")
    options = parser.parse_args()
    if options.report:
        print("\n".join(report(json.loads(options.report.read_text()))))
        return 0
    if not options.into:
        parser.error("--into or --report says what to do")
    if options.threads == 1:
        use_one_core()
    document = json.loads(options.into.read_text()) if options.into.exists() else {}
    document["machine"] = asdict(describe())
    figures = document.setdefault(str(options.threads), {})
    for row in rows():
        if any(text in str(row) for text in options.only):
            figures[str(row)] = measure(row, options.threads, options.seconds)
            print(row, figures[str(row)], flush=True)
            options.into.write_text(json.dumps(document, indent=1) + "\n")
    return 0

"""Products of matrices over a map of shapes, beside OpenBLAS (NumPy) and MKL or oneDNN (PyTorch).

    python -m benchmarks gemm_map --threads 1 --into map.json [--seconds 15] [--again 1]
    python -m benchmarks gemm_map --report map.json [--picture map.png]

Every cell is M by N by K in one of four forms (a @ b, a @ b.T, a.T @ b, a.T @ b.T), float32 or
float64: GFLOP/s of a call as a user makes it, with an array for the result, least of several rounds
in which all libraries take turns. Each result is compared with float64 first, in all elements
or, where that would take long, in some. All libraries use the same number of threads. With
``--seconds`` a run stops then; the next one goes on with the cells that the file lacks. On several
threads each library needs a process of its own (``--library``): threads of others spin a while.
``--again`` visits all cells once more in an order of its own and keeps each library's best: a
processor that other work takes for some milliseconds spoils all rounds of a visit.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from itertools import product
from math import exp, log
from pathlib import Path
from typing import Any, Final

from benchmarks.harness.builders import Builders
from benchmarks.harness.machine import AVX2

SIZES: Final = (1, 8, 64, 256, 1024, 4096)
FORMS: Final = ("nn", "nt", "tn", "tt")
LIBRARIES: Final = ("staticgrad", "numpy", "torch")
DTYPES: Final = ("float32", "float64")
#: Cells beyond so many operations are left out: they say what the largest of the others say.
MOST: Final = 2**32
#: The least M, N and K of what several threads are measured on: smaller ones are not shared.
SHARED: Final = 64
ROUNDS: Final = 5
SECONDS: Final = 2e-3
#: Calls before the first round, in so many seconds at most: threads wake, caches fill, and programs
#: of ours that may share their work have tried both ways by then (``native/table/pool_code.py``).
EARLY: Final = 24
EARLY_SECONDS: Final = 0.25
#: Seconds before those calls: threads of the product that results are compared with spin a while.
REST: Final = 0.05
#: Products of so many terms are compared in all elements, larger ones in some rows and columns.
COMPARED: Final = 2**18
COMPARED_ROWS: Final = 16
Key = tuple[str, str, int, int, int]


def cells() -> Iterator[Key]:
    """dtype, form, m, n and k of every cell."""
    for dtype, form, m, n, k in product(DTYPES, FORMS, SIZES, SIZES, SIZES):
        if 2 * m * n * k <= MOST:
            yield dtype, form, m, n, k


def measure(
    keys: list[Key], threads: int, allowed: float, library: str
) -> dict[str, dict[str, float]]:
    """GFLOP/s by cell and library, of as many cells as ``allowed`` seconds are enough for."""
    import numpy as np

    calls = {"staticgrad": _own(threads), "numpy": _numpy, **_torch(threads)}
    calls = {name: make for name, make in calls.items() if name in library.split(",")}
    table = {}
    drawn: dict[str, Any] = {}
    start = time.perf_counter()
    for dtype, form, m, n, k in keys:
        if time.perf_counter() - start > allowed:
            break
        if dtype not in drawn:
            drawn[dtype] = np.random.default_rng(0).normal(size=SIZES[-1] ** 2).astype(dtype)
        a, b = drawn[dtype][: m * k].copy(), drawn[dtype][::-1][: k * n].copy()
        a = a.reshape((m, k) if form[0] == "n" else (k, m))
        b = b.reshape((k, n) if form[1] == "n" else (n, k))
        results = {name: np.zeros((m, n), dtype) for name in calls}
        ready = {name: make(form, a, b, results[name]) for name, make in calls.items()}
        best = dict.fromkeys(ready, float("inf"))
        for name, call in ready.items():
            call()
            _check(name, form, a, b, results[name])
        repeats = {}
        time.sleep(REST if threads > 1 else 0)
        for name, call in ready.items():
            _begin(call)
            repeats[name] = _repeats(call)
        for _, (name, call) in product(range(ROUNDS), ready.items()):
            best[name] = min(best[name], _seconds(call, repeats[name]))
        rates = {name: round(2e-9 * m * n * k / s, 3) for name, s in best.items()}
        table[_name((dtype, form, m, n, k), threads)] = rates
    return table


def _name(key: Key, threads: int) -> str:
    """Return the name of a cell in the file."""
    return " ".join(map(str, (*key, threads)))


def _graph(form: str, a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> Any:
    """Return the graph of a product of operands of these shapes."""
    import staticgrad as sg

    left, right = sg.input("a", a, dtype), sg.input("b", b, dtype)
    c = (left if form[0] == "n" else left.T) @ (right if form[1] == "n" else right.T)
    return sg.Graph({"c": c})


def builders() -> Builders:
    """Return what builds each form and dtype."""
    forms = product(FORMS, DTYPES)
    return {
        f"{form} {dtype}": partial(_graph, form, (2, 2), (2, 2), dtype) for form, dtype in forms
    }


def _own(threads: int) -> Callable[..., Callable[[], object]]:
    """Calls of compiled programs."""
    import staticgrad as sg

    def make(form: str, a: Any, b: Any, out: Any) -> Callable[[], object]:
        graph = _graph(form, a.shape, b.shape, str(a.dtype))
        return sg.compile(graph, threads=threads).bind({"a": a, "b": b}, out={"c": out})

    return make


def _numpy(form: str, a: Any, b: Any, out: Any) -> Callable[[], object]:
    import numpy as np

    left, right = a if form[0] == "n" else a.T, b if form[1] == "n" else b.T
    return lambda: np.matmul(left, right, out=out)


def _torch(threads: int) -> dict[str, Callable[..., Callable[[], object]]]:
    """PyTorch, where it is installed."""
    try:
        torch = import_module("torch")
    except ImportError:
        return {}
    torch.set_num_threads(threads)

    def make(form: str, a: Any, b: Any, out: Any) -> Callable[[], object]:
        left, right, result = (torch.from_numpy(array) for array in (a, b, out))
        left, right = left if form[0] == "n" else left.T, right if form[1] == "n" else right.T
        return lambda: torch.mm(left, right, out=result)

    return {"torch": make}


def _check(name: str, form: str, a: Any, b: Any, result: Any) -> None:
    """Stops the run where a result is wrong."""
    import numpy as np

    left, right = a if form[0] == "n" else a.T, b if form[1] == "n" else b.T
    rows, columns = (
        slice(
            0, None, 1 if left.shape[0] * right.size <= COMPARED else max(1, size // COMPARED_ROWS)
        )
        for size in result.shape
    )
    wide = left[rows].astype("f8"), right[:, columns].astype("f8")
    scale = np.maximum(np.abs(wide[0]) @ np.abs(wide[1]), 1e-300)
    off = float((np.abs(result[rows, columns] - wide[0] @ wide[1]) / scale).max(initial=0))
    if not off < (1e-5 if a.dtype == "float32" else 1e-13):
        raise SystemExit(f"{name} is wrong: {form} {left.shape} @ {right.shape}, off by {off}")


def _begin(call: Callable[[], object]) -> None:
    """The calls before the first round."""
    end = time.perf_counter() + EARLY_SECONDS
    for _ in range(EARLY):
        call()
        if time.perf_counter() > end:
            return


def _repeats(call: Callable[[], object]) -> int:
    """Return the number of calls that take the time of a round."""
    count = 1
    while (spent := _seconds(call, count) * count) < SECONDS / 4:
        count *= 4
    return max(1, int(count * SECONDS / spent))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


# -- the report -----------------------------------------------------------------------------------


def ratios(rates_by_cell: dict[str, dict[str, float]]) -> dict[Key, dict[int, float]]:
    """Our rate over the best peer's, by cell and threads."""
    table: dict[Key, dict[int, float]] = {}
    for text, rates in rates_by_cell.items():
        dtype, form, m, n, k, threads = text.split()
        if rates.keys() < set(LIBRARIES):
            continue
        peer = max(rate for name, rate in rates.items() if name != "staticgrad")
        key = dtype, form, int(m), int(n), int(k)
        table.setdefault(key, {})[int(threads)] = rates["staticgrad"] / peer
    return table


def report(rates_by_cell: dict[str, dict[str, float]]) -> str:
    """A table of the ratios by dtype, form and threads, and the cells that fall short."""
    table = ratios(rates_by_cell)
    counts = sorted({count for by_threads in table.values() for count in by_threads})
    head = "| dtype | form | threads | from 64 up: geometric mean | least | below 0.9 |"
    lines = [head + " smaller: geometric mean | least | below 0.7 |", "|" + "---|" * 9]
    short = []
    for dtype, form, threads in product(DTYPES, FORMS, counts):
        chosen = {
            key: by_threads[threads]
            for key, by_threads in table.items()
            if key[:2] == (dtype, form) and threads in by_threads
        }
        cell = [f"| {dtype} | {form} | {threads} "]
        for least, limit in ((True, 0.9), (False, 0.7)):
            part = {key: r for key, r in chosen.items() if (min(key[2:]) >= 64) == least}
            if not part:
                cell.append("| | | ")
                continue
            mean = exp(sum(map(log, part.values())) / len(part))
            below = {key: r for key, r in part.items() if r < limit}
            cell.append(f"| {mean:.2f} | {min(part.values()):.2f} | {len(below)} of {len(part)} ")
            short += [(r / limit, threads, key, r) for key, r in below.items()]
        lines.append("".join(cell) + "|")
    lines += ["", f"{len(short)} cells fall short; the farthest:", ""]
    for _, threads, (dtype, form, m, n, k), ratio in sorted(short)[:40]:
        lines.append(f"- {dtype} {form} {m} x {n} x {k}, {threads} threads: {ratio:.2f}")
    return "\n".join(lines)


def picture(rates_by_cell: dict[str, dict[str, float]]) -> bytes:
    """A PNG: for each form and K a square of M by N, coloured by our rate over the best peer's."""
    matplotlib, figures = import_module("matplotlib"), import_module("matplotlib.figure")
    table = ratios(rates_by_cell)
    counts = sorted({count for by_threads in table.values() for count in by_threads})
    rows = list(product(DTYPES, counts, FORMS))
    with matplotlib.rc_context({"font.size": 8}):
        figure = figures.Figure((2 * len(SIZES), 1.9 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), len(SIZES), squeeze=False, sharex=True, sharey=True)
        for k, top in zip(SIZES, axes[0], strict=True):
            top.set_title(f"K = {k}")
        for (dtype, threads, form), line in zip(rows, axes, strict=True):
            line[0].set_ylabel(f"{dtype} {form}, {threads} thread{'s' * (threads > 1)}\nM")
            for k, place in zip(SIZES, line, strict=True):
                square = [
                    [
                        table.get((dtype, form, m, n, k), {}).get(threads, float("nan"))
                        for n in SIZES
                    ]
                    for m in SIZES
                ]
                drawn = place.imshow(square, vmin=0, vmax=2, cmap="RdYlGn", origin="lower")
                place.set_xticks(range(len(SIZES)), SIZES, rotation=90)
                place.set_yticks(range(len(SIZES)), SIZES)
                for y, x in product(range(len(SIZES)), repeat=2):
                    rate = square[y][x]
                    if rate == rate:
                        ink = "white" if abs(rate - 1) > 0.7 else "black"
                        place.text(x, y, f"{rate:.1f}", ha="center", va="center", size=6, color=ink)
        figure.supxlabel("N")
        figure.colorbar(drawn, ax=axes, label="rate over the best peer's", shrink=0.3)
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=90, metadata={"Software": None})
    return target.getvalue()


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    reader.add_argument("--threads", type=int, default=1)
    reader.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    reader.add_argument("--library", default=",".join(LIBRARIES), help="some of them")
    reader.add_argument("--avx2", action="store_true", help="no library uses wider instructions")
    reader.add_argument("--again", type=int, default=0, help="the number of this other visit")
    reader.add_argument("--into", type=Path, help="the JSON file that cells are added to")
    reader.add_argument("--report", type=Path, help="print the table of a JSON file")
    reader.add_argument("--picture", type=Path, help="draw the map of the reported file")
    options = reader.parse_args()
    if options.report:
        rates_by_cell = json.loads(options.report.read_text())
        print(report(rates_by_cell))
        if options.picture:
            options.picture.write_bytes(picture(rates_by_cell))
        return
    settings = {
        "OPENBLAS_NUM_THREADS": str(options.threads),
        "OMP_NUM_THREADS": str(options.threads),
    }
    settings |= AVX2 if options.avx2 else {}
    pinned = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} - settings.keys()
    if any(os.environ.get(k) != v for k, v in settings.items()) or any(
        p in os.environ for p in pinned
    ):
        inherited = {name: value for name, value in os.environ.items() if name not in pinned}
        command = [sys.executable, "-m", "benchmarks", "gemm_map", *sys.argv[1:]]
        os.execve(sys.executable, command, {**inherited, **settings})
    earlier = json.loads(options.into.read_text()) if options.into and options.into.exists() else {}
    wanted_cells = (key for key in cells() if options.threads == 1 or min(key[2:]) >= SHARED)
    libraries = set(options.library.split(","))
    waiting = [
        key
        for key in wanted_cells
        if options.again or not libraries <= earlier.get(_name(key, options.threads), {}).keys()
    ]
    random.Random(options.again).shuffle(waiting)  # what is there at any time is a sample of all
    results = measure(waiting, options.threads, options.seconds, options.library)
    for name, rates in earlier.items():
        fresh = results.get(name, {})
        least = rates if options.again else {}
        best = {library: max(rate, least.get(library, 0.0)) for library, rate in fresh.items()}
        results[name] = {**rates, **best}
    lines = (f"{json.dumps(name)}: {json.dumps(rates)}" for name, rates in sorted(results.items()))
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if options.into is None:
        print(text, end="")
        return
    options.into.write_text(text)
    print(f"there were {len(waiting)} cells left")

"""Times of every case: each library in turn, results first compared with those of the definition.

A point is a case at one dtype, layout and size, forward or backward. Points are measured one after
the other; in each, the libraries take turns, and the least time of each counts.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isqrt
from typing import Any, Final

import numpy as np

from benchmarks.harness.builders import Builders
from benchmarks.peers.every_op.cases import CASES, LAYOUTS, Array, Case, Layout
from benchmarks.peers.every_op.libraries import (
    AGAIN,
    IN_ORDER,
    LIBRARIES,
    UNORDERED,
    Library,
    Own,
    Step,
)

SIZES: Final = (10, 1_000, 100_000, 1_000_000, 10_000_000)
#: At which layouts other than the contiguous one are measured.
OTHER_LAYOUTS: Final = (1_000_000,)
SAMPLE: Final = 100e-6  # seconds
ROUNDS: Final = 7
#: Calls of a library until the caches are its own: results of 8 MB take three.
BEFORE: Final = 4
#: Seconds before a library's turn, where libraries have several threads: those of the one before it
#: still spin, and take a processor each, for some milliseconds behind their last call.
REST: Final = 0.01
LONGEST: Final = 0.2  # seconds, after which two rounds are enough
#: Seconds of a library's first call from which on there is no other: compiling takes less.
ONCE: Final = 3.0
#: Our time over the least of the others from which on a point is measured once more.
DOUBTED: Final = 1.2
#: Relative to the largest element; a few operations of each result.
TOLERANCE: Final = {"float32": 2e-5, "float64": 1e-11}


@dataclass(frozen=True)
class Point:
    """A measured point, by names."""

    label: str
    dtype: str
    layout: Layout
    size: int
    backward: bool


@dataclass
class Found:
    """Seconds by library; why there are none."""

    point: Point
    seconds: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    wrong: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def points(
    chosen: Sequence[Case] = CASES, sizes: Sequence[int] = SIZES
) -> Iterator[tuple[Case, Point]]:
    """Every point, an op after the other."""
    for case in chosen:
        for dtype in case.dtypes:
            for backward in (False, True)[: 1 + (case.smooth and dtype.startswith("float"))]:
                for size in sizes:
                    for layout in LAYOUTS:
                        usual = layout == "contiguous" or size in OTHER_LAYOUTS
                        if usual and layout in case.only:
                            yield case, Point(case.label, dtype, layout, size, backward)


def shape_of(size: int) -> tuple[int, int]:
    """Rows and columns: as many of each as a power of two allows, or one row of few."""
    columns = 10 if size < 100 else min(1000, isqrt(size) // 2 * 2)
    return max(1, size // columns), columns


def operands(case: Case, point: Point) -> tuple[list[Array], int]:
    """Return the arrays that are fed, and the number of rows of an operand."""
    random = np.random.default_rng(zlib.crc32(repr(point).encode()))
    rows, columns = shape_of(point.size)
    fed = []
    for number, draw in enumerate(case.operands):
        array = draw(random, (rows, columns), point.dtype)
        moves = array.ndim == 2 and number not in case.as_drawn
        fed.append(_laid_out(array, point.layout) if moves else array)
    return fed, rows


def _laid_out(array: Array, layout: Layout) -> Array:
    """The array of which the layout's view is, or could be, ``whole``."""
    if layout == "transposed":
        return np.ascontiguousarray(array.T)
    if layout == "strided":
        return np.repeat(array, 2, axis=1)
    return array[:1].copy() if layout == "broadcast" else array


def builders() -> Builders:
    """Return what builds each op by our library, forward and backward, in each layout."""
    ours = Own(threads=1)

    def build(case: Case, point: Point) -> object:
        fed, rows = operands(case, point)
        ct = _cotangent(ours, case, point, fed, rows) if point.backward else None
        return ours.graph(case, fed, point.layout, rows, ct)

    return {str(point): partial(build, case, point) for case, point in points(sizes=SIZES[:1])}


def measure(
    case: Case, point: Point, libraries: Sequence[Library], quick: bool, threads: int = 1
) -> Found:
    """One point, of libraries that have so many threads."""
    measurement, pause = Found(point), REST if threads > 1 else 0.0
    fed, rows = operands(case, point)
    ours = next(library for library in libraries if isinstance(library, Own))
    ct = _cotangent(ours, case, point, fed, rows) if point.backward else None
    steps: dict[str, Step] = {}
    once: dict[str, float] = {}
    for library in libraries:
        if library.name in case.missing:
            measurement.missing[library.name] = "no such function"
            continue
        try:
            step = library.step(case, fed, point.layout, rows, ct)
            begin = time.perf_counter()
            step()
            spent = time.perf_counter() - begin
            if spent < ONCE or library is ours:
                steps[library.name] = step
            else:
                once[library.name] = spent
        except (NotImplementedError, AttributeError, TypeError, RuntimeError) as error:
            if isinstance(library, Own):
                raise RuntimeError(f"staticgrad fails at {point}") from error
            measurement.missing[library.name] = str(error).partition("\n")[0][:90]
    measurement.wrong = _wrong(ours, case, point, fed, rows, ct, steps[ours.name])
    alone = {**steps}
    if point.layout == "transposed":
        steps |= {f"{n}{IN_ORDER}": in_order(s) for n, s in steps.items() if n in UNORDERED}
    measurement.seconds = time_steps(steps, 1 if quick else ROUNDS, pause=pause) | once
    others = [s for name, s in measurement.seconds.items() if name != ours.name]
    if not quick and others and measurement.seconds[ours.name] > DOUBTED * min(others):
        again = time_steps(steps, ROUNDS, pause=pause)
        measurement.seconds |= {
            name: min(measurement.seconds[name], s) for name, s in again.items()
        }
        after_others = time_steps(alone, ROUNDS, behind_others=True, pause=pause)
        measurement.seconds |= {f"{name}{AGAIN}": s for name, s in after_others.items()}
    return measurement


def in_order(step: Step) -> Step:
    """The call, and a copy of its result in C order where it lies in another."""

    def run_in_order() -> Any:
        result = step()
        return (
            result.contiguous() if hasattr(result, "contiguous") else np.ascontiguousarray(result)
        )

    return run_in_order


def _cotangent(ours: Own, case: Case, point: Point, fed: Sequence[Array], rows: int) -> Array:
    graph, _ = ours.graph(case, fed, point.layout, rows, None)
    (out,) = graph.outputs.values()
    random = np.random.default_rng(1)
    return np.asarray(random.standard_normal(out.shape)).astype(out.dtype.numpy)


def _wrong(
    ours: Own, case: Case, point: Point, fed: Sequence[Array], rows: int, ct: Any, step: Step
) -> str:
    """Describe the distance of the result from that of the definition, if it is too large."""
    if point.size > 1_000_000:
        return ""
    graph, feeds = ours.graph(case, fed, point.layout, rows, ct)
    (expected,) = ours.space.library.evaluate(graph, feeds).values()
    returned = step()
    actual = np.asarray(next(iter(returned.values())) if isinstance(returned, dict) else returned)
    expected = np.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"{actual.shape} {actual.dtype} in the place of {expected.shape} {expected.dtype}"
    if expected.dtype.kind != "f":
        return "" if np.array_equal(actual, expected) else "other elements"
    scale = max(1.0, float(np.nanmax(np.abs(expected), initial=0.0, where=np.isfinite(expected))))
    most = TOLERANCE[expected.dtype.name] * scale
    return "" if np.allclose(actual, expected, rtol=0, atol=most, equal_nan=True) else "too far off"


def time_steps(
    steps: dict[str, Step],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    behind_others: bool = False,
    pause: float = 0.0,
) -> dict[str, float]:
    """The least seconds of a call, of each library in turns.

    ``behind_others``: each turn begins with calls that do not count, so that the caches are as the
    library leaves them, not as the one before it does. So it is after a ``pause`` in seconds, too:
    a library's own threads sleep by then.
    """
    calls: dict[str, int] = {}
    least: dict[str, float] = {}
    for name, step in steps.items():
        begin = clock()
        step()
        calls[name] = max(1, min(1000, int(SAMPLE / max(clock() - begin, 1e-7))))
    end = clock() + LONGEST
    for turn in range(rounds):
        if turn > 1 and clock() > end:
            break
        for name, step in steps.items():
            count = range(calls[name])
            if pause:
                time.sleep(pause)
            for _ in range(BEFORE if behind_others or pause else 0):
                step()
            begin = clock()
            for _ in count:
                step()
            spent = (clock() - begin) / len(count)
            least[name] = min(spent, least.get(name, spent))
    return least


def available(threads: int) -> list[Library]:
    """The libraries that are installed."""
    installed: list[Library] = []
    for library in LIBRARIES:
        try:
            installed.append(library(threads))
        except ImportError:
            continue
    return installed

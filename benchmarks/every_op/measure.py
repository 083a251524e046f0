"""Times of every case: each library in turn, results first compared with those of the definition.

A point is a case at one dtype, layout and size, forward or backward. Points are measured one after
the other; in each, the libraries take turns, and the least time of each counts.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isqrt
from typing import Any, Final

import numpy as np

from benchmarks.every_op.cases import CASES, LAYOUTS, Array, Case, Layout
from benchmarks.every_op.libraries import (
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
    """What is measured, by names."""

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
    """What is fed, and how many rows an operand has."""
    random = np.random.default_rng(zlib.crc32(repr(point).encode()))
    rows, columns = shape_of(point.size)
    fed = []
    for number, draw in enumerate(case.operands):
        whole = draw(random, (rows, columns), point.dtype)
        moves = whole.ndim == 2 and number not in case.as_drawn
        fed.append(_laid_out(whole, point.layout) if moves else whole)
    return fed, rows


def _laid_out(whole: Array, layout: Layout) -> Array:
    """The array of which the layout's view is, or could be, ``whole``."""
    if layout == "transposed":
        return np.ascontiguousarray(whole.T)
    if layout == "strided":
        return np.repeat(whole, 2, axis=1)
    return whole[:1].copy() if layout == "broadcast" else whole


def measure(
    case: Case, point: Point, libraries: Sequence[Library], quick: bool, threads: int = 1
) -> Found:
    """One point, of libraries that have so many threads."""
    found, rest = Found(point), REST if threads > 1 else 0.0
    fed, rows = operands(case, point)
    own = next(each for each in libraries if isinstance(each, Own))
    ct = _cotangent(own, case, point, fed, rows) if point.backward else None
    steps: dict[str, Step] = {}
    once: dict[str, float] = {}
    for library in libraries:
        if library.name in case.missing:
            found.missing[library.name] = "no such function"
            continue
        try:
            step = library.step(case, fed, point.layout, rows, ct)
            begin = time.perf_counter()
            step()
            spent = time.perf_counter() - begin
            if spent < ONCE or library is own:
                steps[library.name] = step
            else:
                once[library.name] = spent
        except (NotImplementedError, AttributeError, TypeError, RuntimeError) as error:
            if isinstance(library, Own):
                raise RuntimeError(f"staticgrad fails at {point}") from error
            found.missing[library.name] = str(error).partition("\n")[0][:90]
    found.wrong = _wrong(own, case, point, fed, rows, ct, steps[own.name])
    alone = {**steps}
    if point.layout == "transposed":
        steps |= {f"{n}{IN_ORDER}": in_order(s) for n, s in steps.items() if n in UNORDERED}
    found.seconds = timed(steps, 1 if quick else ROUNDS, rest=rest) | once
    others = [s for name, s in found.seconds.items() if name != own.name]
    if not quick and others and found.seconds[own.name] > DOUBTED * min(others):
        again = timed(steps, ROUNDS, rest=rest)
        found.seconds |= {name: min(found.seconds[name], s) for name, s in again.items()}
        behind = timed(alone, ROUNDS, behind_others=True, rest=rest)
        found.seconds |= {f"{name}{AGAIN}": s for name, s in behind.items()}
    return found


def in_order(step: Step) -> Step:
    """The call, and a copy of its result in C order where it lies in another."""

    def ordered() -> Any:
        found = step()
        return found.contiguous() if hasattr(found, "contiguous") else np.ascontiguousarray(found)

    return ordered


def _cotangent(own: Own, case: Case, point: Point, fed: Sequence[Array], rows: int) -> Array:
    graph, _ = own.graph(case, fed, point.layout, rows, None)
    (out,) = graph.outputs.values()
    random = np.random.default_rng(1)
    return np.asarray(random.standard_normal(out.shape)).astype(out.dtype.numpy)


def _wrong(
    own: Own, case: Case, point: Point, fed: Sequence[Array], rows: int, ct: Any, step: Step
) -> str:
    """How far the result is from that of the definition, where that is too far."""
    if point.size > 1_000_000:
        return ""
    graph, feeds = own.graph(case, fed, point.layout, rows, ct)
    (wanted,) = own.space.library.evaluate(graph, feeds).values()
    returned = step()
    found = np.asarray(next(iter(returned.values())) if isinstance(returned, dict) else returned)
    wanted = np.asarray(wanted)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.shape} {found.dtype} in the place of {wanted.shape} {wanted.dtype}"
    if wanted.dtype.kind != "f":
        return "" if np.array_equal(found, wanted) else "other elements"
    scale = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0, where=np.isfinite(wanted))))
    most = TOLERANCE[wanted.dtype.name] * scale
    return "" if np.allclose(found, wanted, rtol=0, atol=most, equal_nan=True) else "too far off"


def timed(
    steps: dict[str, Step],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    behind_others: bool = False,
    rest: float = 0.0,
) -> dict[str, float]:
    """The least seconds of a call, of each library in turns.

    ``behind_others``: each turn begins with calls that do not count, so that the caches are as the
    library leaves them, not as the one before it does. So it is behind a ``rest`` in seconds, too:
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
            if rest:
                time.sleep(rest)
            for _ in range(BEFORE if behind_others or rest else 0):
                step()
            begin = clock()
            for _ in count:
                step()
            spent = (clock() - begin) / len(count)
            least[name] = min(spent, least.get(name, spent))
    return least


def available(threads: int) -> list[Library]:
    """The libraries that are installed."""
    found: list[Library] = []
    for library in LIBRARIES:
        try:
            found.append(library(threads))
        except ImportError:
            continue
    return found

"""Steps one behind the other that a worker may run through alone, for rows of its own.

Where the rows of a batch have nothing to do with each other from one product to the next (layers of
a forward pass, iterations of a recurrence that is written out), a worker that keeps its rows waits
for nobody and finds in its cache what it wrote. Otherwise workers wait for each other at each step,
and half of what a product reads is in the cache of another processor.

Rows are cut into parts, one for each worker, or, where they are many, several. A chain is proved by
the bytes that the rows of each part touch, of each access from the first to the last: what one part
writes, in whatever step, no other one touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.analysis.barriers import BufferSpans, ByteRange, ByteSet, StepBytes
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.reach import LoopPart, Reach, reaches
from staticgrad.ir.kernels.stages import LANES, Gemm
from staticgrad.ir.plan import Plan
from staticgrad.records import NamedTuple
from staticgrad.runtime.row_ranges import LONGEST, RowRange, call_of, ranges_of, row_loop
from staticgrad.runtime.shares import rows_of

#: Predicted seconds of a chain, at least.
LEAST_SECONDS: Final = 15e-6
#: Products of a chain, at least: of a single one, nothing is found again.
FEWEST: Final = 2
#: Rows of a part, at least, where a worker has several: who is faster takes more of them.
SHARE: Final = 128
#: Parts of a worker, at most.
MOST: Final = 4
#: Rows of a part, at least, whose product turns its second factor: each part turns all of it.
TRANSPOSED: Final = 16
#: Bytes of second factors that a processor's second cache holds, and rows of a part, at least, that
#: read more than that: each part reads all of it.
CACHE: Final = 1 << 21
MANY: Final = 32


class Chain(NamedTuple):
    """Positions ``first`` to ``behind`` (exclusive) of a plan, and the rows of each part."""

    first: int
    behind: int
    ranges: tuple[RowRange, ...]
    seconds: float


class _Link(NamedTuple):
    """A step whose rows may be cut; of a product, ``ranges`` are its parts, and ``factor`` is the
    buffer that each of them reads as a whole."""

    kernel: Kernel
    arguments: tuple[int, ...]
    ranges: tuple[RowRange, ...]
    factor: str
    seconds: float


def chains(plan: Plan) -> dict[int, Chain]:
    """The chains of a plan by their first positions; none goes on behind the commit."""
    found: dict[int, Chain] = {}
    if plan.workers == 1:
        return found
    links, spans, sizes = _links(plan), BufferSpans(plan), dict(plan.buffer_bytes)
    for first, last, ranges in _runs(links, plan.commit):
        while first < last:
            behind = _apart(plan, links, spans, (first, last), ranges)
            span = [link for link in links[first:behind] if link]
            near = sum(sizes[name] for name in {link.factor for link in span if link.factor})
            seconds = sum(link.seconds for link in span)
            pays = seconds >= LEAST_SECONDS and (near <= CACHE or ranges[0].behind >= MANY)
            if _products(span) >= FEWEST and pays:
                found[first] = Chain(first, behind, ranges, seconds)
            first = max(behind, first + 1)
    return found


def _links(plan: Plan) -> list[_Link | None]:
    """The steps of a plan; None for one that workers cannot share by rows."""
    found: list[_Link | None] = []
    for planned in plan.steps:
        step, link = plan.schedule.steps[planned.step], None
        call = call_of(step, planned)
        if call is not None and isinstance(kernel := call.kernel, Kernel):
            seconds, first = call_seconds(call, FASTEST), kernel.stages[0]
            if kernel.outer == "tiles" and isinstance(first, Gemm):
                ranges = _parts(kernel, first, call.arguments, plan.workers)
                operands = zip(kernel.operands, step.accesses(), strict=True)
                (factor,) = (a.buffer for o, a in operands if o.name == first.b.operand)
                link = _Link(kernel, call.arguments, ranges, factor, seconds) if ranges else None
            elif row_loop(kernel)[0] is not None:
                link = _Link(kernel, call.arguments, (), "", seconds)
        found.append(link)
    return found


def _parts(
    kernel: Kernel, stage: Gemm, arguments: tuple[int, ...], workers: int
) -> tuple[RowRange, ...]:
    """The parts of a product's rows; none where they cannot be cut, or are too few."""
    number = rows_of(kernel)
    if number is None:
        return ()
    several = max(1, min(MOST, arguments[number] // (workers * SHARE)))
    ranges = ranges_of(kernel, arguments, workers * several)
    transposed = stage.b.stride(LANES) != 1
    return () if transposed and ranges and ranges[0].behind < TRANSPOSED else ranges


def _products(links: Sequence[_Link | None]) -> int:
    return sum(link is not None and bool(link.ranges) for link in links)


def _runs(
    links: Sequence[_Link | None], commit: int
) -> Iterator[tuple[int, int, tuple[RowRange, ...]]]:
    """The first position and the last (exclusive) of steps whose products, enough for a chain, have
    the same parts."""
    first, seconds = 0, 0.0
    ranges: tuple[RowRange, ...] = ()
    for position, link in enumerate((*links, None)):
        own = link.ranges if link else ()
        seconds += link.seconds if link else 0.0
        ends = link is None or position == commit or seconds > LONGEST
        if ends or (own and ranges and own != ranges):
            if _products(links[first:position]) >= FEWEST:
                yield first, position, ranges
            first, seconds = position + (link is None), link.seconds if link else 0.0
            ranges = ()
        ranges = own or ranges


def _apart(
    plan: Plan,
    links: Sequence[_Link | None],
    spans: BufferSpans,
    positions: tuple[int, int],
    ranges: tuple[RowRange, ...],
) -> int:
    """Where steps end, from the first position on, of which no part touches what another writes."""
    rows = RowsApart(len(ranges))
    for position in range(*positions):
        link, planned = links[position], plan.steps[position]
        accesses = plan.schedule.steps[planned.step].accesses()
        wholes = [spans.whole(access.buffer, position) for access in accesses]
        touched: list[StepBytes] = []
        for reached in _reached(link, ranges) if link else ():
            reads: dict[ByteRange, None] = {}
            writes: dict[ByteRange, None] = {}
            each = zip(accesses, wholes, planned.offsets, reached, strict=True)
            for access, whole, begin, reach in each:
                if not access.is_own:
                    (reads if access.mode == "in" else writes)[whole.part(begin, reach)] = None
            touched.append(StepBytes((*reads,), (*writes,)))
        own = [whole for access, whole in zip(accesses, wholes, strict=True) if access.is_own]
        if not touched or not rows.take(touched, own):
            return position
    return positions[1]


class RowsApart:
    """What the rows of each part have touched, and written, since a chain began; and the scratch of
    its steps, where a worker may be while another one is in another step."""

    def __init__(self, parts: int) -> None:
        self.touched = [ByteSet() for _ in range(parts)]
        self.written = [ByteSet() for _ in range(parts)]
        self.scratch, self.places = ByteSet(), set[ByteRange]()

    def take(self, step: Sequence[StepBytes], scratch: Sequence[ByteRange]) -> bool:
        """Whether rows are apart with a step, by what it touches for each part, and its scratch."""
        others = [place for place in scratch if place not in self.places]
        if self.scratch.meet(others) or any(rows.meet(others) for rows in self.touched):
            return False
        self.scratch.add(others)
        self.places.update(others)
        for own, part in enumerate(step):
            self.touched[own].add((*part.reads, *part.writes))
            self.written[own].add(part.writes)
        return not any(
            self.scratch.meet((*part.reads, *part.writes))
            or self.touched[other].meet(part.writes)
            or self.written[other].meet(part.reads)
            for own, part in enumerate(step)
            for other in range(len(step))
            if other != own
        )


def _reached(link: _Link, ranges: tuple[RowRange, ...]) -> list[tuple[Reach, ...]]:
    """What the rows of each part reach, operand by operand; nothing if they are not cut so."""
    row, extent = row_loop(link.kernel)
    number = link.kernel.arguments.index(extent) if isinstance(extent, str) else None
    total = extent if isinstance(extent, int) else link.arguments[number or 0]
    if row is None or any(part.first * total % part.rows for part in ranges):
        return []
    cuts = [LoopPart(row, *part.iterations(total)) for part in ranges]
    return [reaches(link.kernel, link.arguments, cut) for cut in cuts]

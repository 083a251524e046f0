"""Steps one behind the other that a worker may run through alone, for rows of its own.

Where the rows of a batch have nothing to do with each other from one product to the next (layers of
a forward pass, iterations of a recurrence that is written out), a worker that keeps its rows waits
for nobody and finds in its cache what it wrote. Otherwise workers wait for each other at each step,
and half of what a product reads is in the cache of another processor.

Rows are cut into parts, one for each worker, or, where they are many, several. A chain is proved by
the bytes that the rows of each part touch, of each access from the first to the last: what one part
writes, in whatever step, no other one touches.

Which rows of a step a worker keeps where it runs several steps alone, and how rows are cut.

Which loops a worker may run through alone, for rows of its own: without a wait in any iteration.

Where the rows of a recurrence have nothing to do with each other, in no step of an iteration and in
none of what they carry, the only thing that workers wait for is the end of the loop. Handing over
takes some microseconds on processors that share no cache, twice or more in each iteration.

A loop is proved to be one, or left to workers that share each step: every buffer that iterations
write is as many runs of bytes as there are rows, every step touches for a row that row's run alone,
and buffers of a body that share bytes have the same runs. What no iteration writes may be read
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from staticgrad.analysis.barriers import BufferSpans, ByteRange, ByteSet, StepBytes
from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.bodies import LoopPart, Reach, accesses, elements, reaches
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import LANES, Axis, Gemm, Map
from staticgrad.ir.plan import Plan, PlannedStep
from staticgrad.ir.schedule import Call, Control, Step, StepBody, Touch
from staticgrad.kept import cached_property
from staticgrad.records import NamedTuple, dataclass
from staticgrad.runtime.shares import ROWS, rows_of, shares

#: Predicted seconds of what returns at its end alone: signals wait for that.
LONGEST: Final = 0.01


class RowRange(NamedTuple):
    """Rows from ``first`` to ``behind``, of ``rows``: the part of this ``number``, of ``parts``."""

    number: int
    parts: int
    first: int
    behind: int
    rows: int

    def iterations(self, total: int) -> tuple[int, int]:
        """Return the first and last iterations of a map over all rows, of ``total`` iterations."""
        return self.first * total // self.rows, self.behind * total // self.rows


def call_of(step: Step, planned: PlannedStep) -> Call | None:
    """The kernel of a step, if it is one that notes nothing."""
    if planned.bodies or planned.fails or step.checks():
        return None
    (call,) = step.calls(planned.arguments)
    return call if isinstance(call.kernel, Kernel) else None


def ranges_of(kernel: Kernel, arguments: tuple[int, ...], parts: int) -> tuple[RowRange, ...]:
    """The rows of each part of a product, cut as ``shares`` are; none where it has no shares."""
    number, first, ranges = rows_of(kernel), 0, list[RowRange]()
    for part in shares(kernel, arguments, parts):
        assert number is not None
        behind = first + part.arguments[number]
        ranges.append(RowRange(len(ranges), parts, first, behind, arguments[number]))
        first = behind
    return tuple(ranges)


@lru_cache(maxsize=1024)
def row_loop(kernel: Kernel) -> tuple[str | None, int | str]:
    """The loop whose positions are rows, and its extent: of a product that over rows, else the
    outermost one, or all elements of a map as one run; None where rows cannot be cut apart."""
    if kernel.serial or kernel.grouped or kernel.listed is not None or kernel.in_lanes:
        return None, 0
    if kernel.outer == "tiles":
        (stage,) = kernel.stages
        assert isinstance(stage, Gemm)
        return ROWS, stage.i[0].extent
    if kernel.outer == "lanes":
        stage = kernel.stages[0]
        return (LANES, stage.axis.extent) if isinstance(stage, Map) else (None, 0)
    if kernel.in_tiles or not kernel.axes:
        return None, 0
    return kernel.axes[0].name, kernel.axes[0].extent


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
    """Return where steps end, from the first position on, whose parts are independent."""
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
    """The bytes that each part's rows have touched and written since a chain began; and the scratch
    of its steps, because workers may be in different steps at the same time."""

    def __init__(self, parts: int) -> None:
        self.touched = [ByteSet() for _ in range(parts)]
        self.written = [ByteSet() for _ in range(parts)]
        self.scratch, self.places = ByteSet(), set[ByteRange]()

    def take(self, step: Sequence[StepBytes], scratch: Sequence[ByteRange]) -> bool:
        """Add a step; return whether its rows are independent, by the bytes of each part."""
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
    """Return the reach of each part's rows, by operand; empty if they cannot be divided."""
    row, extent = row_loop(link.kernel)
    number = link.kernel.arguments.index(extent) if isinstance(extent, str) else None
    total = extent if isinstance(extent, int) else link.arguments[number or 0]
    if row is None or any(part.first * total % part.rows for part in ranges):
        return []
    cuts = [LoopPart(row, *part.iterations(total)) for part in ranges]
    return [reaches(link.kernel, link.arguments, cut) for cut in cuts]


def row_ranges(
    plan: Plan, body: StepBody, control: Control, iterations: int, workers: int
) -> tuple[tuple[RowRange, ...], float]:
    """Return the rows of each worker, and the predicted seconds of the loop; none if it cannot be
    divided by rows."""
    calls, seconds = [], 0.0
    for planned in plan.steps:
        call = call_of(plan.schedule.steps[planned.step], planned)
        if call is None:
            return (), 0.0
        calls.append(call)
        seconds += iterations * call_seconds(call, FASTEST)
    if workers == 1 or control.kind != "loop" or seconds > LONGEST:
        return (), 0.0
    found = {
        ranges_of(kernel, arguments, workers)
        for kernel, arguments, *_ in calls
        if isinstance(kernel, Kernel) and kernel.outer == "tiles"
    }
    ranges = found.pop() if len(found) == 1 else ()
    if not ranges or not _BuffersOfIterations(plan, body, ranges[0].rows).are_apart(calls):
        return (), 0.0
    return ranges, seconds


@dataclass(frozen=True)
class _BuffersOfIterations:
    """The buffers of a body whose products have so many rows."""

    plan: Plan
    body: StepBody
    rows: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The bytes of each buffer; of rows and carried values, those of an iteration."""
        return dict(self.plan.buffer_bytes)

    def are_apart(self, calls: Sequence[Call]) -> bool:
        """Return whether no row touches what another one writes."""
        steps = [(self.plan.schedule.steps[p.step], p) for p in self.plan.steps]
        written = {name for name, _ in self.body.carried}
        written.update(name for step, _ in steps for name in step.writes())
        if not self._placements_agree():
            return False
        return all(
            access.is_own or access.buffer not in written or self._is_of_rows(call, n, access, at)
            for call, (step, planned) in zip(calls, steps, strict=True)
            for n, (access, at) in enumerate(zip(step.accesses(), planned.offsets, strict=True))
        )

    def _placements_agree(self) -> bool:
        """Return whether buffers that share bytes of the arena are the same runs of them."""
        own = {scratch.buffer for step in self.plan.schedule.steps for scratch in step.scratch()}
        places = sorted(self.plan.placements, key=lambda place: place.offset)
        for number, one in enumerate(places):
            for other in places[number + 1 :]:
                if other.offset >= one.offset + one.nbytes:
                    break
                same = (
                    one.offset == other.offset
                    and self.sizes[one.buffer] == self.sizes[other.buffer]
                )
                if not same or one.buffer in own or other.buffer in own:
                    return False
        return True

    def _is_of_rows(self, call: Call, operand: int, access: Touch, begin: int) -> bool:
        """Return whether a call touches for each row only that row's run of a buffer."""
        size, kernel = self.sizes[access.buffer], call.kernel
        assert isinstance(kernel, Kernel)
        values = dict(zip(kernel.arguments, call.arguments, strict=True))
        name, width = kernel.operands[operand].name, size // self.rows
        row, extent = row_loop(kernel)
        if size % self.rows or row is None:
            return False
        total = extent if isinstance(extent, int) else values[extent]
        if total != self.rows:  # all elements of a map as one run
            lies = all(a.strides == ((LANES, 1),) and not a.positions for a, _ in _of(kernel, name))
            whole = begin == 0 and total * access.dtype.itemsize == size
            return row == LANES and lies and whole and total % self.rows == 0
        for each, loops in _of(kernel, name):
            step = each.stride(row)
            moved = (step if isinstance(step, int) else values[step]) * access.dtype.itemsize
            if moved != width or any(place.step(row) != 0 for place in each.positions):
                return False
            inside = [Axis(a.name, 1) if a.name == row else a for a in loops]
            ends = elements(each, inside, values)
            if ends is None or each.gather:
                return False
            first, last = (begin + end * access.dtype.itemsize for end in ends)
            if first < 0 or last + access.dtype.itemsize > width:
                return False
        return True


def _of(kernel: Kernel, operand: str) -> list[tuple[Access, tuple[Axis, ...]]]:
    """The accesses to an operand, with the loops around each."""
    return [pair for pair in accesses(kernel) if pair[0].operand == operand]

"""The barriers of a plan, derived from the bytes that its steps touch.

The workers walk the plan's steps together and claim groups of outer iterations
(``PlannedStep.total`` in groups of ``grain``: cut by shape, never by the number of workers). Steps
between two barriers may run at the same time, so none of them may write bytes that another one
touches. Nothing is stored in the plan: a rewritten plan has the barriers its placements need, and
the driver's table says where they are.

::

    step 0    writes a
    step 1    reads a, writes b     barrier before it
    step 2    reads a, writes c     may run at the same time as step 1
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from types import MappingProxyType

from staticgrad.language.ir.plan import Placement, Plan
from staticgrad.support.records import NamedTuple

ARENA = ""


class ByteRange(NamedTuple):
    """Bytes [start, stop) of a memory: the arena (``ARENA``), or a buffer outside it by name."""

    memory: str
    start: int
    stop: int

    def part(self, begin: int, reach: tuple[int, int] | None) -> ByteRange:
        """Return the bytes that an access reaches, which begins ``begin`` bytes into the span."""
        if reach is None:
            return self
        first, last = self.start + begin + reach[0], self.start + begin + reach[1]
        return ByteRange(self.memory, max(first, self.start), min(last, self.stop))


class StepBytes(NamedTuple):
    """The bytes that one step reads and writes: of each access from the first to the last."""

    reads: tuple[ByteRange, ...]
    writes: tuple[ByteRange, ...]


def barriers(plan: Plan) -> tuple[int, ...]:
    """Return the steps of a plan before which all earlier steps must be finished, ascending.

    One stands wherever a step conflicts with one since the last barrier (a byte written on one side
    and touched on the other), and before ``plan.commit``: the checks are read there.
    """
    positions: list[int] = []
    since, written = ByteSet(), ByteSet()  # touched since the last barrier, and written
    for position, touched in enumerate(touched_bytes(plan)):
        waits = position == plan.commit and position > 0
        if waits or since.meet(touched.writes) or written.meet(touched.reads):
            positions.append(position)
            since, written = ByteSet(), ByteSet()
        since.add((*touched.reads, *touched.writes))
        written.add(touched.writes)
    return tuple(positions)


class ByteSet:
    """A set of bytes: of each memory, spans that share none, in order."""

    def __init__(self) -> None:
        self._starts: dict[str, list[int]] = {}
        self._stops: dict[str, list[int]] = {}

    def meet(self, spans: Iterable[ByteRange]) -> bool:
        """Return True if a byte of the spans is in the set of byte ranges."""
        for span in spans:
            starts, stops = self._starts.get(span.memory, []), self._stops.get(span.memory, [])
            first = bisect_right(stops, span.start)
            if first < len(starts) and starts[first] < span.stop and span.start < span.stop:
                return True
        return False

    def add(self, spans: Iterable[ByteRange]) -> None:
        """Add byte spans to the set; adjacent spans become one."""
        for span in spans:
            if span.start >= span.stop:
                continue
            starts = self._starts.setdefault(span.memory, [])
            stops = self._stops.setdefault(span.memory, [])
            first, last = bisect_left(stops, span.start), bisect_right(starts, span.stop)
            start, stop = span.start, span.stop
            if first < last:
                start, stop = min(start, starts[first]), max(stop, stops[last - 1])
            starts[first:last], stops[first:last] = [start], [stop]


def touched_bytes(plan: Plan) -> Iterator[StepBytes]:
    """Yield the arena bytes that each step of a plan reads and writes, in order."""
    spans = BufferSpans(plan)
    for position, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        reads: dict[ByteRange, None] = {}
        writes: dict[ByteRange, None] = {}
        reaches = step.reaches(planned.arguments) if planned.total else ()
        for access, begin, reach in zip(step.accesses(), planned.offsets, reaches, strict=False):
            span = spans.all_bytes(access.buffer, position).part(begin, reach)
            if access.mode in ("in", "inout"):
                reads[span] = None
            if access.mode != "in":
                writes[span] = None
        yield StepBytes(tuple(reads), tuple(writes))


class BufferSpans:
    """The bytes of a plan's buffers, at a position; ``memories``: by other names where they are
    outside of the arena. What is written over an input is in its memory."""

    def __init__(self, plan: Plan, memories: Mapping[str, str] = MappingProxyType({})) -> None:
        over = {buffer.name: buffer.over for buffer in plan.schedule.buffers if buffer.over}
        self._memories = {**over, **memories}
        self._places: dict[str, list[Placement]] = {}
        for placement in sorted(plan.placements, key=attrgetter("first")):
            self._places.setdefault(placement.buffer, []).append(placement)
        self._sizes = dict(plan.buffer_bytes)

    def all_bytes(self, buffer: str, position: int) -> ByteRange:
        """Return all arena bytes of a buffer at a step, including each worker's part."""
        lives = self._places.get(buffer, [])
        number = bisect_right(lives, position, key=attrgetter("first")) - 1
        if number >= 0:
            place = lives[number]
            if position <= place.last:
                return ByteRange(ARENA, place.offset, place.offset + place.nbytes)
        return ByteRange(self._memories.get(buffer, buffer), 0, self._sizes[buffer])

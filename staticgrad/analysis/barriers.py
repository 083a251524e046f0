"""Where workers must wait for each other: a plan's barriers, derived from the bytes it touches.

The workers walk the plan's steps together and claim groups of outer iterations
(``PlannedStep.total`` in groups of ``grain``: cut by shape, never by the number of workers). Steps
between two barriers may run at the same time, so none of them may write bytes that another one
touches. Nothing is stored in the plan: a rewritten plan has the barriers its placements need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from staticgrad.ir.plan import Placement, Plan
from staticgrad.records import dataclass

ARENA = ""


@dataclass(frozen=True)
class Span:
    """Bytes [start, stop) of a memory: the arena (``ARENA``), or a buffer outside it by name."""

    memory: str
    start: int
    stop: int

    def meets(self, other: Span) -> bool:
        """Whether the two share a byte."""
        return self.memory == other.memory and self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class Touched:
    """The bytes that one step reads and writes, whole buffers at a time."""

    reads: tuple[Span, ...]
    writes: tuple[Span, ...]


def barriers(plan: Plan) -> tuple[int, ...]:
    """Positions of the steps before which every earlier step must be finished, ascending.

    One stands wherever a step conflicts with one since the last barrier (a byte written on one side
    and touched on the other), and before ``plan.commit``: the checks are read there.
    """
    found: list[int] = []
    reads: list[Span] = []
    writes: list[Span] = []
    for position, touched in enumerate(touched_bytes(plan)):
        waits = position == plan.commit and position > 0
        if waits or _meet(touched.writes, reads + writes) or _meet(touched.reads, writes):
            found.append(position)
            reads, writes = [], []
        reads += touched.reads
        writes += touched.writes
    return tuple(found)


def touched_bytes(plan: Plan) -> Iterator[Touched]:
    """What each step of the plan touches, in order."""
    places: dict[str, list[Placement]] = {}
    for placement in plan.placements:
        places.setdefault(placement.buffer, []).append(placement)
    sizes = dict(plan.buffer_bytes)
    for position, planned in enumerate(plan.steps):
        step = plan.schedule.steps[planned.step]
        reads, writes = (
            tuple(_span(name, position, places, sizes) for name in dict.fromkeys(names))
            for names in (step.reads(), step.writes())
        )
        yield Touched(reads, writes)


def _span(
    buffer: str, position: int, places: dict[str, list[Placement]], sizes: dict[str, int]
) -> Span:
    for place in places.get(buffer, ()):
        if place.first <= position <= place.last:
            return Span(ARENA, place.offset, place.offset + place.nbytes)
    return Span(buffer, 0, sizes[buffer])


def _meet(some: Iterable[Span], others: list[Span]) -> bool:
    return any(one.meets(other) for one in some for other in others)

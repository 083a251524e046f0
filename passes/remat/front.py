"""The front: plans of one schedule and one set of sizes, from the cheapest to the smallest.

A budget takes the cheapest plan of the front that meets it, so that predicted cost never grows with
the budget. The front depends on the schedule and the sizes alone: what policies propose and what
the search finds fills it, with an effort that is counted, and what is both dearer and larger than
another is left out. Offsets are sought when a budget asks for them.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from passes.remat.base import Policy, Problem
from passes.remat.proposals import proposed
from passes.remat.recompute import Recompute
from passes.timeline import Placed
from staticgrad.records import dataclass

if TYPE_CHECKING:
    from passes.remat.search import Found

_PLACING: Final = 100_000_000  # effort to place one sequence of a front, half a second at most
_CHOOSING: Final = 10_000_000  # effort to place each of several of which one is taken


@dataclass(frozen=True)
class Point:
    """A plan of the front: a sequence, where its lives are, its arena and its predicted seconds.

    Nothing else of the search is kept: a program has a front for each set of sizes. ``offsets`` has
    the offset of each life of ``Flow.lives``, in that order.
    """

    sequence: array[int]
    offsets: array[int]
    height: int
    seconds: float

    @classmethod
    def of(cls, placed: Placed, seconds: float) -> Point:
        """The point of a layout."""
        sequence, offsets = placed.layout.timeline.sequence, placed.offsets
        by_life = [offsets[block] for block in placed.layout.blocks]
        return cls(array("i", sequence), array("q", by_life), placed.height, seconds)

    @property
    def held_bytes(self) -> int:
        """About how many bytes the point takes."""
        return 350 + 4 * len(self.sequence) + 8 * len(self.offsets)


def lowest(problem: Problem, policy: Policy) -> Point:
    """Of what a policy proposes, the sequence of the lowest arena; of equals the cheapest, then the
    first.

    Raises:
        PolicyError: it proposes no valid sequence.
    """
    best: Point | None = None
    layouts = [problem.layout(sequence) for sequence in proposed(policy, problem)]
    for layout in sorted(layouts, key=lambda candidate: candidate.load):
        if best is not None and layout.load > best.height:
            break
        found = Point.of(layout.placed(_CHOOSING), problem.cost(layout.timeline.sequence))
        if best is None or (found.height, found.seconds) < (best.height, best.seconds):
            best = found
    assert best is not None
    return best


class Front:
    """Sequences of one schedule at one set of sizes by rising cost and falling load, and where
    those that a budget asked for have their lives."""

    def __init__(self, problem: Problem, bound: int) -> None:
        """Find the sequences.

        Args:
            problem: the schedule at concrete sizes; not kept.
            bound: bytes that no plan can do without; the search aims no lower.
        """
        found = _found(problem, bound)
        self._costs = [problem.cost(each.ops) for each in found]
        self._loads = [each.load for each in found]
        self._sequences = [array("i", each.ops) for each in found]
        self._points: dict[int, Point | None] = {}  # None: the schedule forbids the sequence

    @property
    def held_bytes(self) -> int:
        """About how many bytes the front takes."""
        placed = sum(point.held_bytes for point in self._points.values() if point is not None)
        return placed + sum(200 + 4 * len(sequence) for sequence in self._sequences)

    def within(self, problem: Problem, limit: int) -> Point | None:
        """The cheapest plan of at most so many bytes."""
        for at, load in enumerate(self._loads):
            point = self._point(problem, at) if load <= limit else None
            if point is not None and point.height <= limit:
                return point
        return None

    def smallest(self, problem: Problem) -> Point:
        """The plan of the fewest bytes, of equals the cheapest."""
        best: Point | None = None
        for at in reversed(range(len(self._loads))):
            if best is not None and self._loads[at] > best.height:
                break
            point = self._point(problem, at)
            if point is None:
                continue
            if best is None or (point.height, point.seconds) <= (best.height, best.seconds):
                best = point
        assert best is not None  # orders are valid
        return best

    def points(self, problem: Problem) -> tuple[Point, ...]:
        """All plans that none equals or beats in both arena and cost, the cheapest first."""
        kept: list[Point] = []
        for at in range(len(self._loads)):
            point = self._point(problem, at)
            if point is not None and (not kept or point.height < kept[-1].height):
                kept.append(point)
        return tuple(kept)

    def _point(self, problem: Problem, at: int) -> Point | None:
        """A sequence with offsets; what they are does not depend on who asked first."""
        if at not in self._points:
            sequence = tuple(self._sequences[at])
            point = None
            if problem.repeats.is_valid(sequence):
                placed = problem.layout(sequence).placed(_PLACING)
                point = Point.of(placed, self._costs[at])
            self._points[at] = point
        return self._points[at]


def _found(problem: Problem, bound: int) -> list[Found]:
    """Sequences of steps by rising cost and falling load."""
    # a program without a budget starts without the search
    from passes.remat.abstract import abstracted
    from passes.remat.search import BudgetSearch, Found

    abstract = abstracted(problem)
    search = BudgetSearch(abstract.net, bound)
    for order in problem.orders:
        search.begin_with(abstract.ops(order))
    for sequence in proposed(Recompute(), problem):
        search.add(abstract.ops(sequence))
    found = [replace(each, ops=tuple(abstract.steps(each.ops))) for each in search.found()]
    order = tuple(problem.order)  # of equal orders the search keeps any; they differ in checks
    return [Found(problem.layout(order).load, problem.cost(order), order), *found]

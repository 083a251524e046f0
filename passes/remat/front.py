"""The front: plans of one schedule and one set of sizes, from the cheapest to the smallest.

A budget takes the cheapest plan of the front that meets it, so that predicted cost never grows with
the budget. Sequences are found at canonical sizes (``passes.remat.base``): those that policies
propose, and those that the search finds with a counted effort. At each set of sizes near those,
costs and bytes are recounted; offsets are computed when a budget needs them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final

from passes.remat.base import Policy, Problem, Steps, propose_sequences
from passes.remat.recompute import MOST_POSITIONS, Recompute
from staticgrad.analysis.plan_report import ArenaLayout, Placed
from staticgrad.analysis.repeats import Repeats
from staticgrad.support.records import NamedTuple, dataclass

if TYPE_CHECKING:
    from passes.remat.search import Candidate

_PLACING: Final = 100_000_000  # effort to place one sequence of a front, half a second at most
_SLACK: Final = 100  # part of its load that an arena may exceed it by where the budget has room
_CHOOSING: Final = 10_000_000  # effort to place each of several of which one is taken
#: Share of its own time by which the next plan of a list is dearer, before offsets of one are
#: sought further.
_FINE: Final = 0.005
#: Share of the time without a budget by which sequences of other sizes may be dearer than there.
_FURTHER: Final = 0.02
#: Steps up to which offsets of a list are sought further.
_SHORT: Final = 200
#: Bounds on segments by which the search of a long schedule is given sequences, at least.
_LEAST_TRIES: Final = 8


@dataclass(frozen=True)
class Point:
    """A plan with recomputation: a sequence, its buffers' lives, arena and predicted seconds.

    Nothing else of the search is kept: a program has a front for each set of sizes. ``offsets`` has
    the offset of each life of ``Flow.lives``, in that order.
    """

    sequence: array[int]
    offsets: array[int]
    height: int
    seconds: float

    @classmethod
    def of(cls, placement: Placed, seconds: float) -> Point:
        """Return the point of a layout."""
        sequence, offsets = placement.layout.timeline.sequence, placement.offsets
        by_life = [offsets[block] for block in placement.layout.blocks]
        return cls(array("i", sequence), array("q", by_life), placement.height, seconds)

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the point takes."""
        return 350 + 4 * len(self.sequence) + 8 * len(self.offsets)


def lowest(problem: Problem, policy: Policy) -> Point:
    """Return a recomputation policy's sequence of the lowest arena; the cheapest if equal."""
    best: Point | None = None
    layouts = [problem.layout(sequence) for sequence in propose_sequences(policy, problem)]
    for layout in sorted(layouts, key=lambda candidate: candidate.load):
        if best is not None and layout.load > best.height:
            break
        point = Point.of(layout.place_blocks(_CHOOSING), problem.cost(layout.timeline.sequence))
        if best is None or (point.height, point.seconds) < (best.height, best.seconds):
            best = point
    assert best is not None
    return best


class Sequences:
    """Sequences of steps with recomputation, by falling load and rising cost, of one schedule."""

    def __init__(self, problem: Problem, bound: int) -> None:
        """Find them."""
        candidates = _search_sequences(problem, bound)
        self.step_arrays = tuple(array("i", candidate.ops) for candidate in candidates)
        self._loads = tuple(candidate.load for candidate in candidates)
        self._costs = tuple(candidate.cost for candidate in candidates)
        #: The repeated steps of each sequence, once for each repetition.
        self.again = tuple(array("i", _again(sequence)) for sequence in self.step_arrays)
        self._valid: dict[int, bool] = {}
        #: Number, and whether offsets are optimized fully -> offsets by life.
        self._offsets: dict[tuple[int, bool], array[int]] = {}

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the sequences take."""
        arrays = (*self.step_arrays, *self.again, *self._offsets.values())
        return sum(200 + numbers.itemsize * len(numbers) for numbers in arrays)

    def overhead(self, share: float) -> float:
        """Return the relative extra time of the cheapest sequence within a share of memory.

        The share is of the bytes without a budget, at the sizes of the search; infinity if there is
        none.
        """
        limit = share * self._loads[0]
        fitting = (
            cost for load, cost in zip(self._loads, self._costs, strict=True) if load <= limit
        )
        cost = next(fitting, inf)
        return cost / self._costs[0] - 1.0 if self._costs[0] else 0.0

    def is_valid(self, number: int, repeats: Repeats) -> bool:
        """Return whether a sequence is valid; the search checks most rules."""
        if number not in self._valid:
            self._valid[number] = repeats.is_valid(self.step_arrays[number])
        return self._valid[number]

    def place_sequence(self, number: int, layouts: Layouts, *, tight: bool) -> Placed:
        """Assign arena offsets to the buffers of a sequence of the front.

        Where first fit is not near its load, blocks are tried in the order that they have in the
        arena at the sizes that sequences were sought at: a search there serves all sizes near them.
        """
        layout = layouts.current(tuple(self.step_arrays[number]))
        search_layout, slack = layouts.search, 0 if tight else layout.load // _SLACK
        if search_layout is None:
            return layout.place_blocks(_PLACING, slack)
        return layout.place_blocks(
            _PLACING, slack, lambda: self._order(number, layout, search_layout, tight)
        )

    def _order(
        self, number: int, layout: ArenaLayout, search_layout: Layout, tight: bool
    ) -> Sequence[int]:
        """Return the blocks in the order of the offsets that were found at other sizes.

        Other in-place results may share bytes there: a block has the offset of its first life.
        """
        if (number, tight) not in self._offsets:
            sought = search_layout(tuple(self.step_arrays[number]))
            placement = sought.place_blocks(_PLACING, 0 if tight else sought.load // _SLACK)
            by_life = [placement.offsets[block] for block in sought.blocks]
            self._offsets[number, tight] = array("q", by_life)
        at: dict[int, int] = {}
        for block, offset in zip(layout.blocks, self._offsets[number, tight], strict=True):
            at.setdefault(block, offset)
        return sorted(at, key=at.__getitem__)


Layout = Callable[[Steps], ArenaLayout]


class Layouts(NamedTuple):
    """Layouts of recomputing sequences at a front's sizes, and at those of their search."""

    current: Layout
    search: Layout | None = None


class Front:
    """Plans with recomputation for all budgets at one set of sizes, by rising cost."""

    def __init__(self, problem: Problem, sequences: Sequences) -> None:
        """Compute costs; drop a sequence if a later one, which needs fewer bytes, is cheaper."""
        self.sequences = sequences
        self._numbers: list[int] = []  # of those that count here
        self._costs: list[float] = []
        for number in reversed(range(len(sequences.step_arrays))):
            cost = problem.cost_with(sequences.again[number])
            if not self._costs or cost <= self._costs[-1]:
                self._numbers.append(number)
                self._costs.append(cost)
        self._numbers.reverse()
        self._costs.reverse()
        self._loads: dict[int, int] = {}
        #: By number, and whether offsets were sought to the last; None: a forbidden sequence.
        self._points: dict[tuple[int, bool], Point | None] = {}

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the front takes, besides its sequences."""
        point_bytes = sum(point.held_bytes for point in self._points.values() if point is not None)
        return point_bytes + 100 * len(self._numbers) + 150 * len(self._loads)

    def within(self, problem: Problem, limit: int, layouts: Layouts) -> Point | None:
        """Return the cheapest plan, by recomputed steps, of at most ``limit`` bytes, or None.

        Loads fall, or nearly so, from sequence to sequence: a binary search computes few of them.
        """

        def fits(at: int) -> bool:
            return self._load(at, layouts.current) <= limit

        count = len(self._numbers)
        first = bisect_left(range(count), True, key=fits)
        for at in range(first, count):
            for tight in (False, True) if fits(at) else ():
                point = self._point(problem, at, layouts, tight=tight)
                if point is not None and point.height <= limit:
                    return point
        return None

    def is_as_cheap(self, point: Point, limit: int, layout: Layout) -> bool:
        """Return whether a plan within ``limit`` has about the extra cost (relative) that the same
        share of bytes has at the sizes of the search."""
        extra = point.seconds - self._costs[0]
        search_overhead = self.sequences.overhead(limit / max(1, self._load(0, layout)))
        return extra <= (search_overhead + _FURTHER) * self._costs[0]

    def smallest(self, problem: Problem, layouts: Layouts) -> Point:
        """Return the recomputation plan with the fewest bytes; if equal the cheapest."""
        best: Point | None = None
        for at in reversed(range(len(self._numbers))):
            if best is not None and self._load(at, layouts.current) > best.height:
                break
            point = self._point(problem, at, layouts, tight=True)
            if point is None:
                continue
            if best is None or (point.height, point.seconds) <= (best.height, best.seconds):
                best = point
        assert best is not None  # orders are valid
        return best

    def points(self, problem: Problem, layouts: Layouts) -> tuple[Point, ...]:
        """Return the Pareto-optimal recomputation plans by memory and time, the cheapest first.

        Offsets are optimized further if the next plan is much dearer, and fully for the smallest
        plan. Elsewhere a slightly cheaper plan than the listed one may meet a budget.
        """
        order = problem.layout(problem.order).place_blocks(_PLACING)
        # At canonical sizes another order may be the cheapest.
        points = [Point.of(order, problem.cost(problem.order))]
        for point in (*self._points_by_cost(problem, layouts), self.smallest(problem, layouts)):
            if point.height < points[-1].height:
                points.append(point)
        return tuple(points)

    def _points_by_cost(self, problem: Problem, layouts: Layouts) -> Iterator[Point]:
        """Yield the plans of the front's sequences by rising cost."""
        candidates = (
            self._point(problem, at, layouts, tight=False) for at in range(len(self._costs))
        )
        points = [point for point in candidates if point is not None]
        short = len(problem.flow.schedule.steps) <= _SHORT
        next_costs = [point.seconds for point in points[1:]] + [inf]
        lowest = inf
        for point, following in zip(points, next_costs, strict=True):
            layout = layouts.current(tuple(point.sequence))
            if layout.load >= lowest:
                continue
            if short and point.height > layout.load and following > (1.0 + _FINE) * point.seconds:
                tight = Point.of(layout.place_blocks(_CHOOSING), point.seconds)
                point = min(point, tight, key=lambda candidate: candidate.height)
            lowest = min(lowest, point.height)
            yield point

    def _load(self, at: int, layout: Layout) -> int:
        """Return the load of a sequence."""
        if at not in self._loads:
            self._loads[at] = layout(self._sequence(at)).load
        return self._loads[at]

    def _sequence(self, at: int) -> Steps:
        return self.sequences.step_arrays[self._numbers[at]]

    def _point(self, problem: Problem, at: int, layouts: Layouts, *, tight: bool) -> Point | None:
        """Return a sequence of the front as a plan with offsets, cached.

        They do not depend on the order of calls.
        """
        if (at, tight) not in self._points:
            point, number = None, self._numbers[at]
            if self.sequences.is_valid(number, problem.repeats):
                placement = self.sequences.place_sequence(number, layouts, tight=tight)
                point = Point.of(placement, self._costs[at])
            self._points[at, tight] = point
        return self._points[at, tight]


def _again(sequence: Steps) -> Iterator[int]:
    """Yield the steps of a sequence that have already run."""
    seen: set[int] = set()
    for step in sequence:
        if step in seen:
            yield step
        seen.add(step)


def _search_sequences(problem: Problem, bound: int) -> list[Candidate]:
    """Search orders that recompute steps to save bytes, by rising cost and falling load."""
    # a program without a budget starts without the search
    from passes.remat.abstract import translate_problem
    from passes.remat.search import BudgetSearch, Candidate

    abstract = translate_problem(problem)
    search = BudgetSearch(abstract.net, bound)
    for order in problem.orders:
        search.begin_with(abstract.ops(order))
    tries = min(Recompute.tries, max(_LEAST_TRIES, MOST_POSITIONS // len(problem.order)))
    for sequence in Recompute(tries).sequences(problem):
        search.add(abstract.ops(sequence))
    candidates = [
        replace(candidate, ops=tuple(abstract.steps(candidate.ops))) for candidate in search.run()
    ]
    order = tuple(problem.order)  # of equal orders the search keeps any; they differ in checks
    return [Candidate(problem.layout(order).load, problem.cost(order), order), *candidates]

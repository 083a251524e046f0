"""The front: plans of one schedule and one set of sizes, from the cheapest to the smallest.

A budget takes the cheapest plan of the front that meets it, so that predicted cost never grows with
the budget. Sequences are found at canonical sizes (``passes.remat.base``): those that policies
propose, and those that the search finds with a counted effort. At each set of sizes near those,
costs and bytes are recounted; offsets are computed when a budget needs them.

Between two neighbours of very different costs there are more sequences. They are found at canonical
sizes; a sequence that just meets a budget there may just miss it at sizes nearby. Descents at the
given sizes, from the cheaper neighbour down, find sequences in between. In a long schedule, the
bytes of neighbours differ by some percent: the sequence of fewer bytes is trimmed to goals between
the two.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final

from passes.remat.abstract import Abstract, abstracted
from passes.remat.base import Policy, Problem, Steps, proposed
from passes.remat.recompute import Recompute
from passes.remat.search import Cheapest, Found
from staticgrad.analysis.plan_report import ArenaLayout, Placed
from staticgrad.analysis.repeats import Repeats
from staticgrad.planning.descents import SLOPES, Descents
from staticgrad.records import NamedTuple, dataclass

if TYPE_CHECKING:
    from passes.remat.search import Found


_GOALS: Final = 4  # between the bytes of the two, those of the dearer one included
#: Effort of a descent and of a trim, in about five nanoseconds.
_DESCENDING: Final = 400_000
_TRIMMING: Final = 200_000
_TRIMMED: Final = 4  # goals of a long schedule between the bytes of the two
_STEP: Final = 20_000  # effort of such a trim for each step


def between(problem: Problem, upper: Steps, lower: Steps) -> list[tuple[float, array[int]]]:
    """Costs and sequences by rising cost and falling load, of which each needs fewer bytes than
    ``upper``, and is cheaper than ``lower``.
    """
    abstract = abstracted(problem)
    net, descents, random = abstract.net, Descents(abstract.net), Random(1)
    begin, end = abstract.ops(upper), abstract.ops(lower)
    cheapest = Cheapest()

    def kept(ops: list[int]) -> int:
        """Return the load of what was found last."""
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
        return descents.peak

    top, low = (kept(descents.laid_out(ops)) for ops in (begin, end))
    for part in range(_GOALS):
        goal = low + (top - low) * part // _GOALS
        kept(descents.trimmed(end, goal, random, 0.0, _TRIMMING))
        for slope in SLOPES:
            ops = descents.descended(begin, int(goal * slope.share), slope, random, _DESCENDING)
            if descents.peak <= goal:
                kept(descents.trimmed(ops, goal, random, 0.0, _TRIMMING))
    return _inside(problem, abstract, cheapest, upper, lower)


def trimmed_between(problem: Problem, upper: Steps, lower: Steps) -> list[tuple[float, array[int]]]:
    """Return sequences like ``between``, but only by trims: a trim of ten thousand steps takes some
    hundredths of a second."""
    abstract = abstracted(problem)
    net, descents, random = abstract.net, Descents(abstract.net), Random(1)
    top, low = (problem.layout(each).load for each in (upper, lower))
    ops, cheapest = abstract.ops(lower), Cheapest()
    for part in range(1, _TRIMMED + 1):
        goal = low + (top - low) * part // (_TRIMMED + 1)
        ops = descents.trimmed(ops, goal, random, 0.0, _STEP * len(net.ops))
        cheapest.add(Found(descents.peak, net.cost(ops), tuple(ops)))
    return _inside(problem, abstract, cheapest, upper, lower)


def _inside(
    problem: Problem, abstract: Abstract, cheapest: Cheapest, upper: Steps, lower: Steps
) -> list[tuple[float, array[int]]]:
    """Costs and sequences of those that need fewer bytes than one and are cheaper than another."""
    first, last, top = problem.cost(upper), problem.cost(lower), problem.layout(upper).load
    inside = [each for each in reversed(cheapest.found) if each.load < top]
    found = [array("i", abstract.steps(each.ops)) for each in inside]
    costs = [(problem.cost(sequence), sequence) for sequence in found]
    return [each for each in costs if first <= each[0] < last]


_PLACING: Final = 100_000_000  # effort to place one sequence of a front, half a second at most
_SLACK: Final = 100  # part of its load that an arena may exceed it by where the budget has room
_CHOOSING: Final = 10_000_000  # effort to place each of several of which one is taken
#: Share of the time without a budget by which a sequence may be dearer than the one before it,
#: before what is between the two is looked for at the very sizes, of schedules that are descended.
_GAP: Final = 0.02
#: The same of schedules of more steps than these, which are sought level by level; a list, which
#: would place what is in each gap, goes without.
_LONG_GAP, _LEVELLED = 0.002, 600
#: Share of its own time by which the next plan of a list is dearer, before offsets of one are
#: sought further.
_FINE: Final = 0.005
#: Share of the time without a budget by which sequences of other sizes may be dearer than there.
_FURTHER: Final = 0.02
#: Steps up to which what is between two plans of a front is sought by descents.
_DESCENDED: Final = 200


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
        """Return the point of a layout."""
        sequence, offsets = placed.layout.timeline.sequence, placed.offsets
        by_life = [offsets[block] for block in placed.layout.blocks]
        return cls(array("i", sequence), array("q", by_life), placed.height, seconds)

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the point takes."""
        return 350 + 4 * len(self.sequence) + 8 * len(self.offsets)


def lowest(problem: Problem, policy: Policy) -> Point:
    """Return the sequence of the lowest arena that a policy proposes; if equal the cheapest, then
    the first.
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


class Sequences:
    """Sequences of one schedule by falling load and rising cost at the sizes of the problem, and
    data derived from them."""

    def __init__(self, problem: Problem, bound: int) -> None:
        """Find them."""
        found = _found(problem, bound)
        self.found = tuple(array("i", each.ops) for each in found)
        self._loads = tuple(each.load for each in found)
        self._costs = tuple(each.cost for each in found)
        #: The repeated steps of each sequence, once for each repetition.
        self.again = tuple(array("i", _again(sequence)) for sequence in self.found)
        self._valid: dict[int, bool] = {}
        #: Number, and whether offsets are optimized fully -> offsets by life.
        self._offsets: dict[tuple[int, bool], array[int]] = {}

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the sequences take."""
        each = (*self.found, *self.again, *self._offsets.values())
        return sum(200 + numbers.itemsize * len(numbers) for numbers in each)

    def overhead(self, share: float) -> float:
        """Return the relative extra cost of the cheapest sequence within a share of the bytes
        without a budget, at the sizes of the search; infinity if there is none."""
        limit = share * self._loads[0]
        fitting = (
            cost for load, cost in zip(self._loads, self._costs, strict=True) if load <= limit
        )
        cost = next(fitting, inf)
        return cost / self._costs[0] - 1.0 if self._costs[0] else 0.0

    def is_valid(self, number: int, repeats: Repeats) -> bool:
        """Return whether a sequence is valid; the search checks most rules."""
        if number not in self._valid:
            self._valid[number] = repeats.is_valid(self.found[number])
        return self._valid[number]

    def placed(self, number: int, layouts: Layouts, *, tight: bool) -> Placed:
        """Return a sequence with offsets.

        Where first fit is not near its load, blocks are tried in the order that they have in the
        arena at the sizes that sequences were sought at: a search there serves all sizes near them.
        """
        made = layouts.here(tuple(self.found[number]))
        there, slack = layouts.there, 0 if tight else made.load // _SLACK
        if there is None:
            return made.placed(_PLACING, slack)
        return made.placed(_PLACING, slack, lambda: self._order(number, made, there, tight))

    def _order(self, number: int, made: ArenaLayout, there: Layout, tight: bool) -> Sequence[int]:
        """The blocks of a layout by the offsets that their first lives have where it was sought,
        where other in-place results may share bytes."""
        if (number, tight) not in self._offsets:
            sought = there(tuple(self.found[number]))
            placed = sought.placed(_PLACING, 0 if tight else sought.load // _SLACK)
            by_life = [placed.offsets[block] for block in sought.blocks]
            self._offsets[number, tight] = array("q", by_life)
        at: dict[int, int] = {}
        for block, offset in zip(made.blocks, self._offsets[number, tight], strict=True):
            at.setdefault(block, offset)
        return sorted(at, key=at.__getitem__)


Layout = Callable[[Steps], ArenaLayout]


class Layouts(NamedTuple):
    """Layouts of sequences at the sizes of a front, and at those that its sequences were sought at
    where these are others."""

    here: Layout
    there: Layout | None = None


class Front:
    """The plans for budgets at one set of sizes: sequences by rising cost, and the offsets of
    those that a budget used."""

    def __init__(self, problem: Problem, sequences: Sequences) -> None:
        """Compute costs; drop a sequence if a later one, which needs fewer bytes, is cheaper."""
        self.sequences = sequences
        self._numbers: list[int] = []  # of those that count here
        self._costs: list[float] = []
        for number in reversed(range(len(sequences.found))):
            cost = problem.cost_with(sequences.again[number])
            if not self._costs or cost <= self._costs[-1]:
                self._numbers.append(number)
                self._costs.append(cost)
        self._numbers.reverse()
        self._costs.reverse()
        self._loads: dict[int, int] = {}
        #: By number, what lies between a sequence and the cheaper one before it.
        self._between: dict[int, list[tuple[float, array[int]]]] = {}
        #: By number, and whether offsets were sought to the last; None: a forbidden sequence.
        self._points: dict[tuple[int, bool], Point | None] = {}

    @property
    def held_bytes(self) -> int:
        """The approximate bytes that the front takes, besides its sequences."""
        placed = sum(point.held_bytes for point in self._points.values() if point is not None)
        placed += sum(100 + 4 * len(each) for gap in self._between.values() for _, each in gap)
        return placed + 100 * len(self._numbers) + 150 * len(self._loads)

    def within(self, problem: Problem, limit: int, layouts: Layouts) -> Point | None:
        """Return the cheapest plan of at most ``limit`` bytes, or None.

        Loads fall, or nearly so, from sequence to sequence: a binary search computes few of them.
        """

        def fits(at: int) -> bool:
            return self._load(at, layouts.here) <= limit

        count = len(self._numbers)
        first = bisect_left(range(count), True, key=fits)
        if (point := self._within_gap(problem, first, limit, layouts.here)) is not None:
            return point
        for at in range(first, count):
            for tight in (False, True) if fits(at) else ():
                point = self._point(problem, at, layouts, tight=tight)
                if point is not None and point.height <= limit:
                    return point
        return None

    def _within_gap(self, problem: Problem, at: int, limit: int, layout: Layout) -> Point | None:
        """Return the cheapest plan within ``limit`` between a sequence and the one before it."""
        for cost, sequence in self._gap(problem, at):
            made = layout(sequence)
            if made.load <= limit and problem.repeats.is_valid(sequence):
                for slack in (made.load // _SLACK, 0):
                    point = Point.of(made.placed(_PLACING, slack), cost)
                    if point.height <= limit:
                        return point
        return None

    def _gap(self, problem: Problem, at: int) -> Sequence[tuple[float, array[int]]]:
        """Return costs and sequences between a sequence and the one before it, by rising cost, if
        their costs are far apart; they do not depend on a budget."""
        steps = len(problem.flow.schedule.steps)
        if not 0 < at < len(self._numbers) or _DESCENDED < steps <= _LEVELLED:
            return ()
        share = _GAP if steps <= _DESCENDED else _LONG_GAP
        if self._costs[at] - self._costs[at - 1] <= share * self._costs[0]:
            return ()
        if at not in self._between:
            seek = between if steps <= _DESCENDED else trimmed_between
            upper, lower = (tuple(self._sequence(n)) for n in (at - 1, at))
            self._between[at] = seek(problem, upper, lower)
        return self._between[at]

    def is_as_cheap(self, point: Point, limit: int, layout: Layout) -> bool:
        """Return whether a plan within ``limit`` has about the extra cost (relative) that the same
        share of bytes has at the sizes of the search."""
        extra = point.seconds - self._costs[0]
        there = self.sequences.overhead(limit / max(1, self._load(0, layout)))
        return extra <= (there + _FURTHER) * self._costs[0]

    def smallest(self, problem: Problem, layouts: Layouts) -> Point:
        """Return the plan of the fewest bytes; if equal the cheapest."""
        best: Point | None = None
        for at in reversed(range(len(self._numbers))):
            if best is not None and self._load(at, layouts.here) > best.height:
                break
            point = self._point(problem, at, layouts, tight=True)
            if point is None:
                continue
            if best is None or (point.height, point.seconds) <= (best.height, best.seconds):
                best = point
        assert best is not None  # orders are valid
        return best

    def points(self, problem: Problem, layouts: Layouts) -> tuple[Point, ...]:
        """Return the Pareto-optimal plans by arena and cost, the cheapest first.

        Offsets are optimized further if the next plan is much dearer, and fully for the smallest
        plan. Elsewhere a slightly cheaper plan than the listed one may meet a budget.
        """
        order = problem.layout(problem.order).placed(_PLACING)
        # At canonical sizes another order may be the cheapest.
        kept = [Point.of(order, problem.cost(problem.order))]
        for point in (*self._listed(problem, layouts), self.smallest(problem, layouts)):
            if point.height < kept[-1].height:
                kept.append(point)
        return tuple(kept)

    def _listed(self, problem: Problem, layouts: Layouts) -> Iterator[Point]:
        """Yield plans by rising cost: those of the sequences, and those found between two distant
        sequences."""
        found: list[tuple[float, array[int], Point | None]] = []
        short = len(problem.flow.schedule.steps) <= _DESCENDED
        for at, cost in enumerate(self._costs):
            found += [(*each, None) for each in self._gap(problem, at)] if short else ()
            if (point := self._point(problem, at, layouts, tight=False)) is not None:
                found.append((cost, point.sequence, point))
        behind = [cost for cost, _, _ in found[1:]] + [inf]
        lowest = inf
        for (cost, sequence, point), following in zip(found, behind, strict=True):
            if point is None and not problem.repeats.is_valid(sequence):
                continue
            made = layouts.here(tuple(sequence))
            if made.load >= lowest:
                continue
            point = point or Point.of(made.placed(_PLACING, made.load // _SLACK), cost)
            if short and point.height > made.load and following > (1.0 + _FINE) * cost:
                tight = Point.of(made.placed(_CHOOSING), cost)
                point = min(point, tight, key=lambda each: each.height)
            lowest = min(lowest, point.height)
            yield point

    def _load(self, at: int, layout: Layout) -> int:
        """Return the load of a sequence."""
        if at not in self._loads:
            self._loads[at] = layout(self._sequence(at)).load
        return self._loads[at]

    def _sequence(self, at: int) -> Steps:
        return self.sequences.found[self._numbers[at]]

    def _point(self, problem: Problem, at: int, layouts: Layouts, *, tight: bool) -> Point | None:
        """Return a sequence with offsets; they do not depend on the order of calls."""
        if (at, tight) not in self._points:
            point, number = None, self._numbers[at]
            if self.sequences.is_valid(number, problem.repeats):
                placed = self.sequences.placed(number, layouts, tight=tight)
                point = Point.of(placed, self._costs[at])
            self._points[at, tight] = point
        return self._points[at, tight]


def _again(sequence: Steps) -> Iterator[int]:
    """Yield the steps of a sequence that have already run."""
    seen: set[int] = set()
    for step in sequence:
        if step in seen:
            yield step
        seen.add(step)


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

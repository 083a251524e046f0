"""The choice of the loops of a graph that run in segments, by a policy or a budget.

The schedules are tried in this order: the loops unchanged, values stacked for sums over time in
segments, segments that run again, segments of segments; then the same with the rows of products
inside the loops (``rows_inside``). A budget takes the fastest that meets it;
the search ends at the first that meets it without recomputed kernels beside its segments. Each
level runs loops once more, so for as many iterations as the budget has room for, segments are a
level less deep. A policy, which is there to save bytes, takes segments if they need fewer. Symbolic
sizes have their hints; if the plan for others exceeds the budget, ``Divisions`` tries all.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence, Set as AbstractSet
from typing import TYPE_CHECKING, Final

from passes.remat.base import Policy
from passes.remat.recompute import StoreAll
from staticgrad.analysis.budgets import Limit
from staticgrad.analysis.cost import plan_seconds
from staticgrad.compiler.memory.planner import Planner
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import hint_value, typical_value
from staticgrad.support.errors import BudgetInfeasible
from staticgrad.support.records import NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

#: How deep segments are divided, at most: a level that runs loops once more spares less and less.
MOST_LEVELS: Final = 3
#: Percentages of a loop's iterations that do not run again, beside all and none, where plans are
#: listed.
KEPT: Final = (75, 50, 25)
#: Parts of the iterations of a loop that may be a level less deep, at most, and how many are tried.
PARTS: Final = 1024
MOST_TRIES: Final = 4


class Divided(NamedTuple):
    """A graph with its loops as they are, or in segments; its schedule and its plans."""

    graph: Graph
    schedule: Schedule
    planner: Planner


class Divisions:
    """Plans of a program within a budget, at any sizes, by the first division that has one.

    The chosen division is the first; if none of its plans meets the budget, the unchanged loops
    follow, then segments, level after level. These are built only when they are needed.
    """

    def __init__(self, chosen: Planner, others: Callable[[], Iterator[Divided]]) -> None:
        """``others``: all divisions of the program's graph, in order."""
        self.chosen = chosen
        self._others = others
        self._waiting: Iterator[Divided] | None = None
        self._made: list[Divided] = []

    def plan(self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()) -> Plan:
        """The plan for these sizes, by ``Planner.plan``."""
        try:
            return self.chosen.plan(sizes, staged=staged)
        except BudgetInfeasible as error:
            refused = [error]
        for each in self._each():
            smallest = min(error.smallest_peak for error in refused)
            if each.planner.bound(sizes, staged=staged) >= smallest:
                continue  # it has no plan within the budget, and none that needs fewer bytes
            try:
                return each.planner.plan(sizes, staged=staged)
            except BudgetInfeasible as error:
                refused.append(error)
        raise min(refused, key=lambda error: error.smallest_peak)

    def graph(self, schedule: Schedule) -> Graph | None:
        """The graph of another division's schedule; None for that of the one that was chosen."""
        return next((each.graph for each in self._made if each.schedule is schedule), None)

    def _each(self) -> Iterator[Divided]:
        """The other divisions: those that are made, then more."""
        yield from self._made
        if self._waiting is None:
            self._waiting = self._others()
        wanted = _interface(self.chosen.schedule)
        for each in self._waiting:
            if _interface(each.schedule) == wanted:
                self._made.append(each)
                yield each


def _interface(schedule: Schedule) -> object:
    """Return the outside of a schedule: results, outer buffers, and those read and written."""
    roles = ("input", "output", "parameter")
    outside = {b.name: (b.role, b.label) for b in schedule.buffers if b.role in roles}
    read = outside.keys() & {name for step in schedule.steps for name in step.reads()}
    written = outside.keys() & {name for step in schedule.steps for name in step.writes()}
    return schedule.outputs, outside, read, written


def _has_pairs(graph: Graph) -> bool:
    """Return whether there are pairs of loops, which could be divided."""
    from staticgrad.compiler.memory.loop_pairs import pairs_of  # few programs need it

    return bool(pairs_of(graph))


def divisions(
    graph: Graph,
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | Limit | None, int, float],
) -> Iterator[Divided]:
    """Yield each division of a graph; nothing if there is no pair of loops.

    First those into whole levels, then those of one level that do not run part of the iterations
    again: where segments are few, such a one may need the fewest bytes of all.
    """
    if not _has_pairs(graph):
        return
    from fractions import Fraction

    from staticgrad.compiler.memory.segments import with_segments

    def made(found: Graph) -> Divided:
        scheduled = schedule(found)
        return Divided(found, scheduled, Planner(scheduled, *limits))

    wholes = [*_wholes(graph)]
    for whole in wholes:
        found = whole
        yield made(whole)
        for levels in range(MOST_LEVELS + 1):
            last, found = found, with_segments(whole, levels)
            if found is not last:
                yield made(found)
    for whole in wholes:
        segments = with_segments(whole, 1)
        for percent in KEPT:
            found = with_segments(whole, 1, Fraction(percent, 100))
            if found is not whole and found is not segments:
                yield made(found)


def _wholes(graph: Graph) -> Iterator[Graph]:
    """Yield a graph with its loops as they are, and with products inside of them if it has any."""
    from staticgrad.compiler.memory.rows_inside import with_rows_inside

    yield graph
    inside = with_rows_inside(graph)
    if inside is not graph:
        yield inside


class _Tried(NamedTuple):
    """The cost of a plan of a divided graph: of the smallest plan if none meets the budget.

    ``stored``: the bytes if no kernel beside its segments runs again.
    """

    divided: Divided
    peak: int
    seconds: float
    stored: int


def divided(
    graph: Graph,
    sizes: Mapping[str, int],
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | Limit | None, int, float],
) -> Divided:
    """The graph with its loops as they are, or in segments."""
    policy, wanted, *_ = limits
    open_sizes = {name: typical_value(size) for name, size in graph.sizes.items()}
    at = open_sizes | dict(sizes)

    def made(found: Graph) -> Divided:
        scheduled = schedule(found)
        return Divided(found, scheduled, Planner(scheduled, *limits))

    first = made(graph)
    if (wanted is None and policy == StoreAll()) or not _has_pairs(graph):
        return first
    from staticgrad.compiler.memory.segments import with_segments

    budget = first.planner.budget_at(at)
    if budget is None:
        segments = made(with_segments(graph))
        return min(_tried(first, at), _tried(segments, at), key=lambda tried: tried.peak).divided
    best = _tried(first, at)
    for whole in _wholes(graph):
        above = best if whole is graph else _tried(made(whole), at)
        best = min(best, above, key=lambda tried: _rank(tried, budget))
        for levels in range(MOST_LEVELS + 1):
            if best.stored <= budget:
                break
            found = with_segments(whole, levels)
            if found is above.divided.graph:
                continue
            tried = _tried(made(found), at, max(best.peak, budget + 1))
            if levels and tried.peak <= budget:

                def less_deep(kept: Fraction, whole: Graph = whole, levels: int = levels) -> _Tried:
                    return _tried(made(with_segments(whole, levels, kept)), at)

                filled = _filled(tried, above.stored, budget, _parts(whole), less_deep)
                best = min(best, filled, key=lambda tried: _rank(tried, budget))
                break
            above = tried
            best = min(best, tried, key=lambda tried: _rank(tried, budget))
        if best.peak <= budget:
            break
    return best.divided


def _rank(tried: _Tried, budget: int) -> tuple[float, float]:
    """Return a sort key: the bytes beyond the budget, then the time."""
    return max(tried.peak - budget, 0), tried.seconds


def _parts(graph: Graph) -> list[Fraction]:
    """Parts of the iterations with which a pair of loops keeps some iterations more."""
    from fractions import Fraction

    from staticgrad.compiler.memory.loop_pairs import pairs_of

    parts: set[Fraction] = set()
    for pair in pairs_of(graph):
        iterations = hint_value(pair.iterations)
        step = -(-iterations // (PARTS * pair.unit)) * pair.unit
        parts.update(Fraction(kept, iterations) for kept in range(step, iterations, step))
    return sorted(parts)


def _filled(
    deep: _Tried,
    above: int,
    budget: int,
    parts: Sequence[Fraction],
    less_deep: Callable[[Fraction], _Tried],
) -> _Tried:
    """The quickest within a budget, as many iterations as possible a level less deep."""
    best, (low, fewest), (high, most) = deep, (0.0, deep.stored), (1.0, above)
    for _ in range(MOST_TRIES):
        left = [part for part in parts if low < part < high]
        if not left:
            break
        room = max(budget - fewest, 0) / max(most - fewest, 1)
        part = left[max(bisect_right(left, low + (high - low) * room) - 1, 0)]
        found = less_deep(part)
        best = min(best, found, key=lambda tried: _rank(tried, budget))
        if found.stored > budget:
            high, most = float(part), found.stored
        else:
            low, fewest = float(part), found.stored
    return best


def _tried(candidate: Divided, sizes: Mapping[str, int], refused: int | None = None) -> _Tried:
    """A candidate with its plan's bytes and predicted seconds; where it cannot need fewer bytes
    than were ``refused``, with its bound, and nothing is sought."""
    planner = candidate.planner
    stored = planner.stored(sizes)
    if refused is not None and (bound := planner.bound(sizes)) >= refused:
        return _Tried(candidate, bound, math.inf, stored)
    try:
        plan = planner.plan(sizes)
    except BudgetInfeasible as error:
        return _Tried(candidate, error.smallest_peak, math.inf, stored)
    return _Tried(candidate, plan.peak_bytes, plan_seconds(plan), stored)

"""Choose the loops of a graph that run in segments, by a policy or a budget.

The schedules are tried in this order: the loops unchanged, values stacked for sums over time in
segments, recomputed segments, segments of segments; then the same with products moved into the
loops (``rows_inside``), and with wide products that several loops over their rows compute again
(``passes.late.chunks``). A budget takes the fastest that meets it; the search ends at the first
that meets it without recomputed kernels besides its segments. Each level runs loops once more, so
for as many iterations as the budget allows, segments are a level less deep. A policy, whose purpose
is to save bytes, takes segments if they need fewer. Symbolic sizes have their hints; if the plan
for other sizes exceeds the budget, ``Divisions`` tries all.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final

from passes.failures import attempt
from passes.remat.base import Policy
from passes.remat.recompute import StoreAll
from staticgrad.analysis.budgets import Limit
from staticgrad.analysis.cost import plan_seconds
from staticgrad.analysis.pass_report import Report
from staticgrad.compiler.memory.planner import Planner
from staticgrad.errors import BudgetInfeasible
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Schedule
from staticgrad.language.types.arrays import hint_value, typical_value
from staticgrad.support import fuses
from staticgrad.support.records import NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

#: The only pass here that changes bits: it adds the rows of each chunk to sums over all rows.
AGAIN: Final = "recomputed-products"
_OTHER_DIGITS: Final = f"""\
results differ in the last digits from those without memory_budget= and checkpoint=;
disable=[{AGAIN!r}] keeps their bits, and may need more bytes"""
#: Percentages of a loop's iterations that are not recomputed, besides all and none, in lists of
#: plans.
KEPT: Final = (75, 50, 25)
#: Parts of the iterations of a loop that may be a level less deep, at most.
PARTS: Final = 1024


class Divided(NamedTuple):
    """A graph with its loops unchanged or in segments, with its schedule and planner.

    ``reports``: what the passes did that divided it.
    """

    graph: Graph
    schedule: Schedule
    planner: Planner
    reports: tuple[Report, ...] = ()


class Divisions:
    """Plans of a program within a budget, at any sizes, by the first division that has one.

    The chosen division is the first; if none of its plans meets the budget, the unchanged loops
    follow, then segments, level after level. These are built only when they are needed.
    """

    def __init__(self, chosen: Planner, others: Callable[[], Iterator[Divided]]) -> None:
        """``others``: all divisions of the program's graph, in order."""
        self.chosen = chosen
        self._make_others = others
        self._remaining: Iterator[Divided] | None = None
        self._built: list[Divided] = []

    def plan(self, sizes: Mapping[str, int], *, staged: AbstractSet[str] = frozenset()) -> Plan:
        """Return the memory plan at these sizes with the loops in segments that meet the budget."""
        try:
            return self.chosen.plan(sizes, staged=staged)
        except BudgetInfeasible as error:
            refused = [error]
        for division in self._other_divisions():
            smallest = min(error.smallest_peak for error in refused)
            if division.planner.peak_bound(sizes, staged=staged) >= smallest:
                continue  # it has no plan within the budget, and none that needs fewer bytes
            try:
                return division.planner.plan(sizes, staged=staged)
            except BudgetInfeasible as error:
                refused.append(error)
        raise min(refused, key=lambda error: error.smallest_peak)

    def graph(self, schedule: Schedule) -> Graph | None:
        """Return the graph of another division with this schedule; None for the chosen one."""
        return next(
            (division.graph for division in self._built if division.schedule is schedule), None
        )

    def reports(self, schedule: Schedule) -> tuple[Report, ...] | None:
        """Return the reports of another division with this schedule; None for the chosen one."""
        built = (division for division in self._built if division.schedule is schedule)
        return next((division.reports for division in built), None)

    def _other_divisions(self) -> Iterator[Divided]:
        """Yield the other divisions of a graph's loops in segments: cached ones, then new ones."""
        yield from self._built
        if self._remaining is None:
            self._remaining = self._make_others()
        interface = _interface(self.chosen.schedule)
        for division in self._remaining:
            if _interface(division.schedule) == interface:
                self._built.append(division)
                yield division


def _interface(schedule: Schedule) -> object:
    """Return the interface of a schedule: results, outer buffers, and those read and written."""
    roles = ("input", "output", "parameter")
    outside = {b.name: (b.role, b.label) for b in schedule.buffers if b.role in roles}
    read = outside.keys() & {name for step in schedule.steps for name in step.reads()}
    written = outside.keys() & {name for step in schedule.steps for name in step.writes()}
    return schedule.outputs, outside, read, written


def _has_pairs(graph: Graph) -> bool:
    """Return whether there are pairs of loops, which could be divided."""
    from passes.loops.loop_pairs import pairs_of  # few programs need it

    return bool(pairs_of(graph))


def all_divisions(
    graph: Graph,
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | Limit | None, int, float],
    disable: Collection[str] = (),
) -> Iterator[Divided]:
    """Yield each division of a graph's loops into segments; nothing without a pair of loops.

    ``disable``: names of passes that are not tried.

    First those of full levels, then those of one level that do not recompute a part of the
    iterations: with few segments, one of these may need the fewest bytes of all.
    """
    wholes = _undivided_graphs(graph, disable)
    if not _has_choice(graph, wholes, disable):
        return
    from fractions import Fraction

    def make_division(divided_graph: Graph, undivided: Graph) -> Divided:
        scheduled = schedule(divided_graph)
        reports = _report_division(graph, wholes[undivided], undivided, divided_graph)
        return Divided(divided_graph, scheduled, Planner(scheduled, *limits), reports)

    for undivided in wholes:
        segmented = undivided
        yield make_division(undivided, undivided)
        for levels in range(fuses.SEGMENT_LEVELS + 1) if "segments" not in disable else ():
            last, segmented = segmented, _divide_loops(undivided, levels)
            if segmented is not last:
                yield make_division(segmented, undivided)
    for undivided in wholes if "segments" not in disable else ():
        segments = _divide_loops(undivided, 1)
        for percent in KEPT:
            segmented = _divide_loops(undivided, 1, Fraction(percent, 100))
            if segmented is not undivided and segmented is not segments:
                yield make_division(segmented, undivided)


def _report_division(
    graph: Graph, name: str, undivided: Graph, divided: Graph
) -> tuple[Report, ...]:
    """Return what the passes did; ``undivided``: what ``name`` made, and was divided."""
    stages = ((name, graph, undivided), ("segments", undivided, divided))
    return tuple(
        [
            Report(*stage, note=_OTHER_DIGITS if stage[0] == AGAIN else "")
            for stage in stages
            if stage[1] is not stage[2]
        ]
    )


def _divide_loops(graph: Graph, *options: Any) -> Graph:
    """Return a graph whose loops run in segments (``run_in_segments``), or the graph itself."""
    from passes.loops.segments import run_in_segments

    return attempt("segments", lambda: run_in_segments(graph, *options), graph)


def _undivided_graphs(graph: Graph, disable: Collection[str]) -> dict[Graph, str]:
    """Return the graph itself, and what passes make of it -> the name of the pass.

    They move products into its loops, and compute products again that are stored otherwise.
    """
    graphs = {graph: ""}
    if "products-in-loops" not in disable and _has_pairs(graph):
        from passes.loops.rows_inside import move_products_into_loops

        name = "products-in-loops"
        graphs.setdefault(attempt(name, lambda: move_products_into_loops(graph), graph), name)
    if AGAIN not in disable:
        from passes.late.chunks import compute_products_again

        graphs.setdefault(attempt(AGAIN, lambda: compute_products_again(graph), graph), AGAIN)
    return graphs


def _has_choice(graph: Graph, wholes: Mapping[Graph, str], disable: Collection[str]) -> bool:
    """Return whether there is more than the graph itself to plan."""
    return len(wholes) > 1 or ("segments" not in disable and _has_pairs(graph))


class _DivisionCost(NamedTuple):
    """The cost of a plan of a divided graph: of the smallest plan if none meets the budget.

    ``stored``: the bytes if no kernel besides its segments is recomputed.
    """

    divided: Divided
    peak: int
    seconds: float
    stored: int


def choose_division(
    graph: Graph,
    sizes: Mapping[str, int],
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | Limit | None, int, float],
    disable: Collection[str] = (),
) -> Divided:
    """Choose whether a graph's loops run in recomputed segments, by a policy or a memory budget.

    ``disable``: names of passes that are not tried.
    """
    policy, budget_option, *_ = limits
    open_sizes = {name: typical_value(size) for name, size in graph.sizes.items()}
    at = open_sizes | dict(sizes)

    def make_division(divided_graph: Graph, undivided: Graph) -> Divided:
        scheduled = schedule(divided_graph)
        reports = _report_division(graph, wholes[undivided], undivided, divided_graph)
        return Divided(divided_graph, scheduled, Planner(scheduled, *limits), reports)

    wholes = {graph: ""}
    first = make_division(graph, graph)
    if budget_option is None and policy == StoreAll():
        return first
    wholes = _undivided_graphs(graph, disable)
    if not _has_choice(graph, wholes, disable):
        return first
    may_divide = "segments" not in disable
    budget = first.planner.budget_at(at)
    if budget is None:
        candidates = [first]
        if may_divide:
            candidates.append(make_division(_divide_loops(graph), graph))
        again = [undivided for undivided, name in wholes.items() if name == AGAIN]
        candidates += [make_division(undivided, undivided) for undivided in again]
        tried_all = [_try_division(candidate, at) for candidate in candidates]
        return min(tried_all, key=lambda tried: tried.peak).divided
    best = _try_division(first, at)
    for undivided in wholes:
        above = (
            best if undivided is graph else _try_division(make_division(undivided, undivided), at)
        )
        best = min(best, above, key=lambda tried: _rank(tried, budget))
        for levels in range(fuses.SEGMENT_LEVELS + 1) if may_divide else ():
            if best.stored <= budget:
                break
            segmented = _divide_loops(undivided, levels)
            if segmented is above.divided.graph:
                continue
            tried = _try_division(
                make_division(segmented, undivided), at, max(best.peak, budget + 1)
            )
            if levels and tried.peak <= budget:

                def try_part(
                    part: Fraction, undivided: Graph = undivided, levels: int = levels
                ) -> _DivisionCost:
                    return _try_division(
                        make_division(_divide_loops(undivided, levels, part), undivided), at
                    )

                filled = _search_part(tried, above.stored, budget, _kept_parts(undivided), try_part)
                best = min(best, filled, key=lambda tried: _rank(tried, budget))
                break
            above = tried
            best = min(best, tried, key=lambda tried: _rank(tried, budget))
        if best.peak <= budget:
            break
    return best.divided


def _rank(tried: _DivisionCost, budget: int) -> tuple[float, float]:
    """Return a sort key: the bytes beyond the budget, then the time."""
    return max(tried.peak - budget, 0), tried.seconds


def _kept_parts(graph: Graph) -> list[Fraction]:
    """Return the shares of iterations that may be checkpointed a level less deep, by loops."""
    from fractions import Fraction

    from passes.loops.loop_pairs import pairs_of

    parts: set[Fraction] = set()
    for pair in pairs_of(graph):
        iterations = hint_value(pair.iterations)
        step = -(-iterations // (PARTS * pair.unit)) * pair.unit
        parts.update(
            Fraction(iterations_kept, iterations)
            for iterations_kept in range(step, iterations, step)
        )
    return sorted(parts)


def _search_part(
    deep: _DivisionCost,
    above: int,
    budget: int,
    parts: Sequence[Fraction],
    try_part: Callable[[Fraction], _DivisionCost],
) -> _DivisionCost:
    """Search the fastest division of loops within a budget: the largest part a level less deep."""
    best, (low, fewest), (high, most) = deep, (0.0, deep.stored), (1.0, above)
    for _ in range(fuses.PART_TRIES):
        left = [part for part in parts if low < part < high]
        if not left:
            break
        room = max(budget - fewest, 0) / max(most - fewest, 1)
        part = left[max(bisect_right(left, low + (high - low) * room) - 1, 0)]
        tried = try_part(part)
        best = min(best, tried, key=lambda tried: _rank(tried, budget))
        if tried.stored > budget:
            high, most = float(part), tried.stored
        else:
            low, fewest = float(part), tried.stored
    return best


def _try_division(
    candidate: Divided, sizes: Mapping[str, int], refused: int | None = None
) -> _DivisionCost:
    """Plan a division of loops; return it with the bytes and predicted seconds of its plan.

    If a lower bound proves that it needs no fewer bytes than ``refused``, nothing is searched.
    """
    planner = candidate.planner
    stored = planner.stored_peak(sizes)
    if refused is not None and (bound := planner.peak_bound(sizes)) >= refused:
        return _DivisionCost(candidate, bound, math.inf, stored)
    try:
        plan = planner.plan(sizes)
    except BudgetInfeasible as error:
        return _DivisionCost(candidate, error.smallest_peak, math.inf, stored)
    return _DivisionCost(candidate, plan.peak_bytes, plan_seconds(plan), stored)

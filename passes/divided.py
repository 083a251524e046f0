"""Which of a graph's loops run in segments: what a policy or a budget asks for, among schedules.

A budget takes the first that meets it: the loops as they are, then what is stacked for sums over
time in segments, then segments that run again, segments of segments. Each level runs loops once
more. A policy, which is there to need few bytes, takes segments where
they need fewer. Sizes that are open stand at their hints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

from passes.loop_pairs import pairs_of
from passes.memory import Planner
from passes.remat.base import Policy
from passes.remat.store_all import StoreAll
from passes.segments import with_segments
from staticgrad.errors import BudgetInfeasible
from staticgrad.ir.graph import Graph
from staticgrad.ir.schedule import Schedule
from staticgrad.types.tensor import typical_value

#: How deep segments are divided, at most: a level that runs loops once more spares less and less.
MOST_LEVELS: Final = 3


class Divided(NamedTuple):
    """A graph with its loops as they are, or in segments; its schedule and its plans."""

    graph: Graph
    schedule: Schedule
    planner: Planner


def divided(
    graph: Graph,
    sizes: Mapping[str, int],
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | None, int, float],
) -> Divided:
    """The graph with its loops as they are, or in segments.

    Args:
        graph: what is to be computed.
        sizes: the values of named sizes, as far as they are known.
        schedule: makes the schedule of a graph.
        limits: what ``Planner`` takes beside one: policy, budget, workers, the least time shared.
    """
    policy, budget, *_ = limits
    candidates = _candidates(graph, schedule, limits, range(budget is None, MOST_LEVELS + 1))
    first = next(candidates)
    if (budget is None and policy == StoreAll()) or not pairs_of(graph):
        return first
    at = {name: typical_value(size) for name, size in graph.sizes.items()} | dict(sizes)
    best, least = first, _peak(first, at)
    for candidate in candidates:
        if budget is not None and least <= budget:
            break
        peak = _peak(candidate, at)
        best, least = (candidate, peak) if peak < least else (best, least)
        if budget is None:
            break
    return best


def _candidates(
    graph: Graph,
    schedule: Callable[[Graph], Schedule],
    limits: tuple[Policy, int | None, int, float],
    levels: Iterable[int],
) -> Iterator[Divided]:
    """The graph as it is, then with its loops in segments, of one level after the other."""
    before = None
    for found in chain((graph,), (with_segments(graph, each) for each in levels)):
        if found is not before:
            made = schedule(found)
            yield Divided(found, made, Planner(made, *limits))
        before = found


def _peak(candidate: Divided, sizes: Mapping[str, int]) -> int:
    """The bytes of a plan, of the smallest there is where none meets the budget."""
    try:
        return candidate.planner.plan(sizes).peak_bytes
    except BudgetInfeasible as error:
        return error.smallest_peak

"""Sequences that fit a budget, by dropping values across gaps, and cheaper ones by trimming.

A *gap* of a value lies between two of its events, of which the later is a read. To drop the value
across it, steps that make it anew are put before that read. A descent drops the gap with the most
bytes times steps beyond the goal for each unit of cost, until nothing is beyond. This is the
eviction rule of dynamic tensor rematerialization (Kirisame et al., arXiv 2006.09616: bytes times
staleness over cost), decided with the whole sequence in sight. To go below the budget and to trim
back to it replaces a dear run by several cheap ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise
from random import Random
from typing import Final

from staticgrad.planning.problem import Net
from staticgrad.planning.runs import Change, Runs
from staticgrad.records import dataclass

_REFUSED: Final = 30  # gaps that may be of no use before a descent ends


@dataclass(frozen=True)
class Slope:
    """How a descent weighs gaps: ``noise`` changes gains at random, ``power`` weighs the excess of
    a step (0 counts steps), ``share`` of the budget is the goal."""

    noise: float = 0.0
    power: float = 0.0
    share: float = 1.0


#: Descents that differ find different sequences; most budgets are met by the first.
SLOPES: Final = (
    Slope(),
    Slope(power=1.0),
    Slope(share=0.93),
    Slope(power=0.5, share=0.97),
    Slope(noise=0.7, share=0.97),
    Slope(noise=0.7, power=1.0, share=0.9),
    Slope(share=0.85),
)


def descend(runs: Runs, goal: int, slope: Slope, random: Random, limit: int) -> bool:
    """Drop values until the load is at most ``goal``; whether it is.

    Args:
        runs: the sequence to begin with, which is changed.
        goal: bytes.
        slope: how gaps are weighed.
        random: where noise comes from.
        limit: effort after which it ends.
    """
    stop = runs.effort + limit
    refused: set[tuple[int, int]] = set()
    excess = runs.excess(goal)
    while excess and runs.effort < stop and len(refused) < _REFUSED:
        found = _best_gap(runs, goal, slope, random, refused)
        if found is None:
            break
        value, t, steps = found
        change = runs.changed(t, t, steps)
        if change is not None and _helps(runs, change, goal, excess):
            runs.take(change)
            excess = runs.excess(goal)
            refused.clear()
        else:
            refused.add((value, t))
    return not excess


def _helps(runs: Runs, change: Change, goal: int, excess: int) -> bool:
    """Whether a change lowers the excess, at the latest when idle runs are gone."""
    if runs.excess_of(change, goal) < 0:
        return True
    new = (*runs.sequence[: change.lo], *change.steps, *runs.sequence[change.hi :])
    tried = Runs(runs.net, new)
    runs.effort += tried.effort
    return tried.excess(goal) < excess


def gaps(runs: Runs) -> Iterator[tuple[int, int, int]]:
    """(value, begin, end): nothing reads or makes the value between these steps; then one does."""
    net, length = runs.net, len(runs.sequence)
    for value, events in enumerate(runs.events):
        if not net.sizes[value] or not events or net.limits[net.producer[value]] < 2:
            continue
        for before, event in pairwise(events):
            if not event & 1 and (event >> 1) - (before >> 1) > 1:
                yield value, before >> 1, event >> 1
        if net.kept[value] and length - (events[-1] >> 1) > 1:
            yield value, events[-1] >> 1, length


def _best_gap(
    runs: Runs, goal: int, slope: Slope, random: Random, refused: set[tuple[int, int]]
) -> tuple[int, int, list[int]] | None:
    """The gap of most gain for each unit of cost: its value, its end and the steps to put there.

    A gap is weighed with the cost of its own step first, then, from the best one on, with that of
    all steps that it needs; those that cannot win any more are not looked at.
    """
    net = runs.net
    weights = ((load - goal) / max(goal, 1) if load > goal else 0.0 for load in runs.loads)
    sums = [0.0, *accumulate(weight**slope.power if weight else 0.0 for weight in weights)]
    least = _least_cost(net)
    ranked = []
    for value, begin, end in gaps(runs):
        gain = net.sizes[value] * (sums[end] - sums[begin + 1])
        if gain > 0.0 and (value, end) not in refused:
            if slope.noise:
                gain *= 1.0 + slope.noise * (random.random() - 0.5)
            ranked.append((-gain / (net.costs[net.producer[value]] + least), gain, value, end))
    runs.effort += len(ranked) + len(runs.loads)
    ranked.sort()
    best, found = 0.0, None
    for bound, gain, value, end in ranked:
        if -bound <= best:
            break
        steps = runs.closure(value, end)
        if steps is None:
            continue
        rate = gain / (net.cost(steps) + least)
        if rate > best:
            best, found = rate, (value, end, steps)
    return found


def _least_cost(net: Net) -> float:
    """What a step without cost counts: a hundredth of the cheapest that has one."""
    return 0.01 * min((cost for cost in net.costs if cost > 0), default=1.0)


def trim(runs: Runs, budget: int, random: Random, noise: float, limit: int) -> None:
    """Take out repeated runs that the budget does not need, the most expensive first."""
    stop = runs.effort + limit
    failed: set[tuple[int, int]] = set()
    while runs.effort < stop:
        change = _next_without(runs, budget, random, noise, failed)
        if change is None:
            return
        runs.take(change)


def _next_without(
    runs: Runs, budget: int, random: Random, noise: float, failed: set[tuple[int, int]]
) -> Change | None:
    """The change that takes out the dearest run that may go and was not tried before."""
    net = runs.net
    seen: dict[int, int] = {}
    ranked = []
    for t, step in enumerate(runs.sequence):
        turn = seen[step] = seen.get(step, 0) + 1
        if runs.counts[step] > 1 and (step, turn) not in failed:
            factor = 1.0 + noise * (random.random() - 0.5)
            ranked.append((-net.costs[step] * factor, t, turn))
    runs.effort += len(ranked)
    for _, t, turn in sorted(ranked):
        change = runs.changed(t, t + 1, ())
        if change is not None and runs.excess_of(change, budget) <= 0:
            return change
        failed.add((runs.sequence[t], turn))
    return None

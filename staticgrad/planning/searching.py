"""Cheaper sequences within a budget: ruin and rebuild, then annealing over changes of windows.

Ruin and rebuild (Schrimpf et al., Record breaking optimization results using the ruin and recreate
principle, 2000) takes a random share of the repeated runs out and descends and trims anew.
Annealing (Kirkpatrick et al., 1983) drops values across gaps, takes runs out, moves and swaps runs;
bytes beyond the budget have a price that rises while there are any and falls while there are none,
as in the search over sequences of FastSA ("A fast heuristic to optimize time-space tradeoff for
large models"). Effort is counted in events; there is no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from random import Random
from typing import Final

from staticgrad.planning.descents import Descents, Slope
from staticgrad.planning.problem import Net
from staticgrad.planning.runs import Change, Runs

_WORSE: Final = 0.03  # share of the overhead that a rebuilt sequence may be dearer by
_ROUND: Final = 15_000  # effort of what a rebuild does beside descending and trimming


def rebuilt(
    descents: Descents, start: Sequence[int], budget: int, random: Random, limit: int
) -> list[int]:
    """The cheapest sequence within the budget that ruin and rebuild finds from one within it."""
    net = descents.net
    best = current = list(start)
    cost = least = net.cost(best)
    stop = descents.effort + limit
    while descents.effort < stop:
        descents.effort += _ROUND
        share = 1.0 - 0.25 * random.random() ** 2 if random.random() < 0.7 else 1.0
        flat = float(random.random() < 0.6)
        slope = Slope(noise=1.2 * random.random(), flat=flat, steep=1.0 - flat)
        left = ruined(current, random)
        found = descents.descended(left, int(budget * share), slope, random, limit // 4)
        if descents.peak > budget:
            continue
        noise = float(random.random() < 0.5)
        found = descents.trimmed(found, budget, random, noise, limit // 4)
        price = net.cost(found)
        if price <= cost + (cost - net.total) * _WORSE * random.random() ** 3:
            current, cost = found, price
        if price < least:
            best, least = found, price
    return best


def ruined(sequence: Sequence[int], random: Random) -> list[int]:
    """Without a random share of its repeated runs: everywhere, or in a window."""
    length, share = len(sequence), random.random() ** 2
    lo = int(random.random() * length) if random.random() < 0.5 else 0
    hi = lo + 5 + length // 4 if lo else length
    seen: set[int] = set()
    left = []
    for t, step in enumerate(sequence):
        if step in seen and lo <= t < hi and random.random() < share:
            continue
        seen.add(step)
        left.append(step)
    return left


class Annealing:
    """A walk over sequences; ``best`` is the cheapest within the budget that it met, if any."""

    def __init__(
        self, net: Net, start: Sequence[int], budget: int, random: Random, heat: float
    ) -> None:
        self.runs = Runs(net, start)
        self.budget = budget
        self.random = random
        self.heat = heat
        self.price = 0.3
        self.excess = self.runs.excess(budget)
        self.best: list[int] | None = None if self.excess else self.runs.sequence
        self.least = self.runs.cost if self.best else float("inf")

    def walk(self, limit: int) -> None:
        """Make changes until so much effort is spent; the heat falls to a twentieth meanwhile."""
        runs, begin, tries, hot = self.runs, self.runs.effort, 0, self.heat
        while runs.effort - begin < limit and runs.sequence:
            tries += 1
            runs.effort += 1
            if not tries % 64:
                self.heat = hot * 0.05 ** ((runs.effort - begin) / limit)
                rise = 1.08 if self.excess else 0.96
                self.price = min(max(self.price * rise, 1e-4), 1e4)
            change = self._proposed()
            if change is not None and self._accepts(change):
                self._take(change)

    def _accepts(self, change: Change) -> bool:
        runs, net = self.runs, self.runs.net
        old = runs.sequence[change.lo : change.hi]
        dearer = (net.cost(change.steps) - net.cost(old)) / net.total if net.total else 0.0
        beyond = runs.excess_of(change, self.budget) * 4.0 / (max(self.budget, 1) * len(net.ops))
        worse = dearer + self.price * beyond
        return worse <= 0 or self.random.random() < exp(-min(worse / self.heat, 700.0))

    def _take(self, change: Change) -> None:
        runs = self.runs
        runs.take(change)
        self.excess = runs.excess(self.budget)
        if not self.excess and runs.cost < self.least:
            self.best, self.least = runs.sequence, runs.cost

    def _proposed(self) -> Change | None:
        kind = self.random.random()
        if kind < 0.35:
            return self._dropped()
        if kind < 0.6:
            return self._without()
        return self._moved() if kind < 0.9 else self._swapped()

    def _dropped(self) -> Change | None:
        """A value dropped across the gap before one of its readers."""
        runs, net = self.runs, self.runs.net
        t = self.random.randrange(len(runs.sequence))
        reads = net.reads[runs.sequence[t]]
        if not reads:
            return None
        value = self.random.choice(reads)
        if not net.sizes[value]:
            return None
        steps = runs.closure(value, t)
        return None if steps is None else runs.changed(t, t, steps)

    def _without(self) -> Change | None:
        """A repeated run taken out."""
        runs = self.runs
        if len(runs.sequence) == len(runs.net.ops):
            return None
        repeated = [t for t, step in enumerate(runs.sequence) if runs.counts[step] > 1]
        t = self.random.choice(repeated)
        return runs.changed(t, t + 1, ())

    def _moved(self) -> Change | None:
        """A run, or a block of up to five, a little earlier or later, or to its first reader."""
        runs, random = self.runs, self.random
        length = len(runs.sequence)
        block = 1 if random.random() < 0.7 else random.randint(2, 5)
        lo = random.randrange(length)
        hi = lo + block
        if hi > length:
            return None
        if random.random() < 0.5:
            to = lo + int((random.random() - 0.5) * 2 * (2 + 30 * random.random() ** 3))
        else:
            to = self._first_reader(hi - 1) - block
        if to == lo or to < 0 or to + block > length:
            return None
        moved = runs.sequence[lo:hi]
        if to < lo:
            return runs.changed(to, hi, [*moved, *runs.sequence[to:lo]])
        return runs.changed(lo, to + block, [*runs.sequence[hi : to + block], *moved])

    def _first_reader(self, t: int) -> int:
        """The step that first reads what step t makes."""
        runs = self.runs
        events = (runs.events[value] for value in runs.net.makes[runs.sequence[t]])
        later = [e >> 1 for found in events for e in found if e > 2 * t + 1]
        return min(later, default=len(runs.sequence))

    def _swapped(self) -> Change | None:
        """Two neighbouring runs in the other order, or two a little apart."""
        runs = self.runs
        lo = self.random.randrange(len(runs.sequence))
        hi = lo + (1 if self.random.random() < 0.7 else self.random.randint(2, 12))
        if hi >= len(runs.sequence):
            return None
        between = runs.sequence[lo + 1 : hi]
        return runs.changed(lo, hi + 1, [runs.sequence[hi], *between, runs.sequence[lo]])

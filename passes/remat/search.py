"""Sequences with repeats for many budgets at once, by the planner of abstract problems.

Descents go down from each start through levels of bytes and leave a sequence at each. From the
cheapest of each level, and from those of other descents, repeated runs are taken out at random, and
others found in their place; then, by turns, runs of each sequence are exchanged for others
(``passes.remat.exchanges``), and sequences, and orders, are walked from (``passes.remat.walks``).
Effort is counted, not timed, and grows with the schedule: a problem always gives the same
sequences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final

from passes.remat.exchanges import exchange
from passes.remat.pareto import Cheapest, Found, Place
from passes.remat.walks import walk, walk_hot
from staticgrad.planning.descents import SLOPES, Descents, Slope
from staticgrad.planning.problem import Net

_LEVELS: Final = 20  # of equal bytes, from the lowest order down
_PARTS: Final = 2  # of the way from one level to the next, in a long schedule
_LOWER: Final = 0.87  # ratio of levels where those would be further apart
#: Effort of a search, in about five nanoseconds: for each op, and at most; but for each op of the
#: longest at least.
EFFORT = (900_000, 400_000_000, 80_000)
_DESCENDING: Final = 0.4  # share of it for descents, where sequences are rebuilt after them
_REBUILT: Final = 600  # ops up to which sequences are taken apart and built again
_FURTHER: Final = 450_000  # effort of such a search for each op beyond those that are improved
#: Effort of exchanges and walks after that, as a share of that before, and at most.
_IMPROVING: Final = (1.1, 160_000_000)
#: Effort of hot walks beside that, as a share of that before, and at most.
_HOT: Final = (0.9, 26_000_000)
_ROUNDS: Final = 2  # of exchanges, then walks
_EXCHANGING: Final = 0.5  # share of a round for exchanges
_ANEW_SHARE: Final = 0.5  # of the effort of exchanges and walks, where hot walks found something
#: Ops up to which there are any: beyond, they find little, and each point more is to be placed.
_IMPROVED: Final = 150
_STARTS: Final = 6  # sequences with repeats that descents begin with
_ANEW: Final = 5  # levels after which a long schedule's descent begins anew
_BEATEN: Final = 0.1  # share of the cost of all ops by which a descent may be dearer than others
_CALL: Final = 10_000  # effort of what stands around each descent
_WORSE: Final = 0.03  # share of the overhead that a rebuilt sequence may be dearer by


class BudgetSearch:
    """A search for sequences of falling load and rising cost; it keeps the best of all it is given.

    ``floor`` are bytes that no plan can do without.
    """

    def __init__(self, net: Net, floor: int) -> None:
        self.net, self.floor = net, floor
        self.descents = Descents(net)
        self.cheapest = Cheapest()
        self.random = Random(1)
        self.orders: list[Found] = []
        self.levels: list[int] = []
        each, most, least = EFFORT
        count = len(net.ops)
        self.rebuilds = count <= _REBUILT
        if self.rebuilds:
            more = max(0, count - _IMPROVED)
            self.effort = each * (count - more) + _FURTHER * more
        else:
            self.effort = max(min(each * count, most), least * count)

    def begin_with(self, order: Sequence[int]) -> None:
        """Add a valid order without repeats; at least one is required."""
        self.orders.append(self.add(order))

    def add(self, sequence: Sequence[int]) -> Found:
        """Add a valid sequence; it without idle runs."""
        return self._kept(self.descents.laid_out(sequence))

    def found(self) -> list[Found]:
        """Return the cheapest of each load, from the cheapest to the smallest."""
        self.descents.effort = 0
        self.orders.sort(key=lambda found: found.load)
        self.levels = [*_levels(self.orders[0].load, self.floor)]
        limit = int(self.effort * (_DESCENDING if self.rebuilds else 1.0))
        if not self.rebuilds:
            self._up()
        for start, slope in self._descents():
            if self.descents.effort >= limit:
                break
            self._down(start, slope)
        if self.rebuilds:
            self._rebuild()
            if len(self.net.ops) <= _IMPROVED:
                self._improve()
        return self.cheapest.found[::-1]

    def _kept(self, ops: list[int]) -> Found:
        """Add the result of the last descent to the front and return it."""
        self.descents.effort += _CALL + 5 * len(ops)
        found = Found(self.descents.peak, self.net.cost(ops), tuple(ops))
        self.cheapest.add(found)
        return found

    def _descents(self) -> Iterator[tuple[Found, Slope]]:
        """Starts and slopes, in the order in which they are tried: the orders, and some of the
        sequences with repeats, the lowest among them, which comes first in a long schedule."""
        repeated = [each for each in self.cheapest.found if len(each.ops) > len(self.net.ops)]
        repeated = repeated[:: max(1, len(repeated) // _STARTS)]
        first = 0 if self.rebuilds else 1
        starts = [*repeated[:first], *self.orders, *repeated[first:]]
        for slope in SLOPES:
            for start in starts:
                yield start, slope

    def _up(self) -> None:
        """Leave a sequence at each level above the smallest, and some below each, on the way up: a
        long schedule has too many runs to take out to begin with the smallest each time."""
        found = self.cheapest.found[0]
        pairs = pairwise((self.orders[0].load, *self.levels))
        goals = {low + (top - low) * k // _PARTS for top, low in pairs for k in range(_PARTS)}
        for goal in sorted(goals):
            if goal > found.load and len(found.ops) > len(self.net.ops):
                found = self._trim(found.ops, goal, 0.0)

    def _down(self, start: Found, slope: Slope) -> None:
        """Leave a sequence at each level on the way down. That of a long schedule, of which a step
        drops many values, begins with the order again now and then: it finds others, as long as it
        finds any."""
        ops, anew = start.ops, not self.rebuilds and len(start.ops) == len(self.net.ops)
        for place, goal in enumerate(self.levels, 1):
            if not self.rebuilds and start.load <= goal:
                continue
            if anew and place % _ANEW == 0:
                other, anew = self._level(start.ops, goal, slope, self.effort // 10)
                if anew:
                    ops = other
                    continue
            ops, kept = self._level(ops, goal, slope, self.effort // 4)
            if not kept:
                break

    def _level(
        self, ops: Sequence[int], goal: int, slope: Slope, limit: int
    ) -> tuple[tuple[int, ...], bool]:
        """Go down to a level; where that ends, and whether the level is kept. What is much dearer
        than another sequence of a long schedule is not trimmed."""
        goal_here = int(goal * slope.share)
        ops = self.descents.descended(ops, goal_here, slope, self.random, limit)
        found = self._kept(ops)
        best = self.cheapest.within(max(goal, found.load))
        much = _BEATEN * self.net.total
        if self.rebuilds or best is None or best.cost > found.cost - much:
            self._trim(ops, max(goal, found.load), 0.0)
        return found.ops, found.load <= goal

    def _trim(self, ops: Sequence[int], goal: int, noise: float) -> Found:
        """Return the trimmed sequence: runs that the goal does not need are removed."""
        limit = self.effort // (20 if self.rebuilds else 40)
        return self._kept(self.descents.trimmed(ops, goal, self.random, noise, limit))

    def _rebuild(self) -> None:
        """Take runs of the cheapest sequence of each level out, at random, and go down again: to
        the level, to somewhere above it, and below all that was reached."""
        near: dict[int, Found] = {}
        spread = 0.0
        while self.descents.effort < self.effort:
            before = self.descents.effort
            for number, (above, level) in enumerate(pairwise((self.orders[0].load, *self.levels))):
                self._rebuild_cheapest(near, number, level + int((above - level) * spread))
            self._lower()
            spread = max(0.0, self.random.random() - 0.25)
            if self.descents.effort == before:
                break

    def _rebuild_cheapest(self, near: dict[int, Found], number: int, goal: int) -> None:
        """Rebuild what was made last of the cheapest sequence of a level; ``near`` has that."""
        best = self.cheapest.within(goal)
        if best is not None and len(best.ops) > len(self.net.ops):
            start = near.get(number, best)
            near[number] = self._rebuilt(start if start.load <= goal else best, best, goal)

    def _improve(self) -> None:
        """Look for what is cheaper than the sequences that are there, or between them. Hot walks
        find what others do not, but these find more without them, so that both begin at the same
        sequences; then what they found together is improved again."""
        share, most = _HOT
        limit = min(int(self.effort * share), most)
        apart = walk_hot(self.descents, self.cheapest.found, self.orders, limit)
        self._exchange_and_walk(1.0)
        before = self.cheapest.found
        for found in apart:
            self.cheapest.add(found)
        if self.cheapest.found is not before:
            self._exchange_and_walk(_ANEW_SHARE)

    def _exchange_and_walk(self, part: float) -> None:
        """Alternate exchanges and walks; each begins with the results of the other."""
        share, most = _IMPROVING
        descents, exchanged = self.descents, dict[Place, int]()
        stop = descents.effort + int(part * min(self.effort * share, most))
        for left in range(_ROUNDS, 0, -1):
            end = descents.effort + (stop - descents.effort) // left
            limit = int((end - descents.effort) * _EXCHANGING)
            exchange(descents, self.cheapest, limit, exchanged)
            walk(descents, self.cheapest, self.floor, self.random, end - descents.effort)

    def _lower(self) -> None:
        """Look for a sequence below the smallest."""
        least = self.cheapest.found[0]
        if least.load > self.floor and len(least.ops) > len(self.net.ops):
            goal = max(self.floor, int(least.load * (1.0 - 0.1 * self.random.random())))
            self._rebuilt(least, least, goal)

    def _rebuilt(self, start: Found, best: Found, goal: int) -> Found:
        """Return the sequence of one round, or ``best`` if it costs much more."""
        descents, random = self.descents, self.random
        share = 1.0 - 0.25 * random.random() ** 2 if random.random() < 0.7 else 1.0
        flat = float(random.random() < 0.6)
        slope = Slope(noise=1.2 * random.random(), flat=flat, steep=1.0 - flat)
        left = ruined(start.ops, random)
        descents.effort += _CALL + 20 * len(left)
        ops = descents.descended(left, int(goal * share), slope, random, self.effort // 20)
        if descents.peak > goal:
            return start
        found = self._trim(ops, goal, float(random.random() < 0.5))
        bar = best.cost + (best.cost - self.net.total) * _WORSE * random.random() ** 3
        return found if found.cost <= bar else best


def _levels(top: int, floor: int) -> Iterator[int]:
    """Goals below the load of the best order, down to what no plan can do without."""
    goal = top
    while True:
        goal = min(goal - 1, max(goal - top // _LEVELS, int(goal * _LOWER)))
        if goal <= floor:
            break
        yield goal
    yield floor


def ruined(sequence: Sequence[int], random: Random) -> list[int]:
    """Leave out a random share of a sequence's repeated runs: everywhere, or in a window.

    Schrimpf et al., Record breaking optimization results using the ruin and recreate principle,
    2000.
    """
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

"""Sequences with repeats for many budgets at once, by the planner of abstract problems.

Descents go down from each start through levels of bytes and leave a sequence at each. From the
cheapest of each level, and from those of other descents, repeated runs are taken out at random, and
others found in their place; then, by turns, runs of each sequence are exchanged for others,
and sequences, and orders, are walked from.
Effort is counted, not timed, and grows with the schedule: a problem always gives the same
sequences.

The sequences form a Pareto front: none has both a higher load and a higher cost than another.

Exchanges: a recomputed value is kept, and others are recomputed in its place.

A descent drops the values that save most bytes for their seconds, one by one. So it does not find
that one large value could be kept if several small ones of a chain are recomputed together. An
*exchange* removes one repeated run from a sequence; its values then live on from the run before. A
descent that must not drop those values finds others to drop, and runs that are not needed are
trimmed: an ejection chain (Glover, 1996) around one choice. Exchanges begin at existing sequences
and add only sequences that no other dominates, so that a front only improves.

Walks from sequences that are there, which move runs as well as drop and make again.

A large value may have to wait only because what runs again stands in the wrong order. Walks
(``staticgrad.analysis.planning.walks``) find other orders; each begins where the next cheaper
sequence is far away, or at the smallest, and what it finds is kept where none is as good.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from random import Random
from typing import Final

from staticgrad.analysis.planning.descents import SLOPES, Descents, Slope
from staticgrad.analysis.planning.problem import Net
from staticgrad.analysis.planning.sequences import BEYOND_ALL
from staticgrad.support.records import dataclass

_BELOW: Final = 8  # sequences of fewer bytes that are looked at for one budget


@dataclass(frozen=True)
class Candidate:
    """A sequence of steps with recomputation, with its load and its cost."""

    load: int
    cost: float
    ops: tuple[int, ...]


#: A sequence, and the load that it is brought to.
Place = tuple[tuple[int, ...], int]


class Cheapest:
    """A Pareto front of recomputing sequences by load and cost."""

    def __init__(self) -> None:
        self.members: list[Candidate] = []  # by rising load and falling cost

    def add(self, new: Candidate) -> None:
        """Add a sequence to the front, unless one with at most its load and cost is present."""
        at = bisect_right(self.members, new.load, key=lambda member: member.load)
        if at and self.members[at - 1].cost <= new.cost:
            return
        left = [
            member for member in self.members if member.load < new.load or member.cost < new.cost
        ]
        insort(left, new, key=lambda member: member.load)
        self.members = left

    def within(self, load: int) -> Candidate | None:
        """Return the cheapest sequence with at most this load, or None."""
        at = bisect_right(self.members, load, key=lambda member: member.load)
        return self.members[at - 1] if at else None

    def widest(self, tried: Mapping[Place, int], most: int) -> Place | None:
        """Return where the front has the largest cost difference: a sequence and a goal.

        Goals: the load of the dearer one, for both; just below the load of the other, for the
        dearer one and some of fewer bytes. The difference is divided by 1 + the number of tries of
        the place. None if all places were tried ``most`` times.
        """
        best: Place | None = None
        highest = 0.0
        for at, (lower, upper) in enumerate(pairwise(self.members)):
            difference = lower.cost - upper.cost
            if difference <= highest:
                continue
            for place in self._places_near(at):
                times = tried.get(place, 0)
                if difference / (1 + times) > highest and times < most:
                    best, highest = place, difference / (1 + times)
        return best

    def _places_near(self, at: int) -> Iterator[Place]:
        """Yield the places of a sequence and the next cheaper one."""
        lower, upper = self.members[at : at + 2]
        yield lower.ops, lower.load
        yield upper.ops, lower.load
        for member in self.members[max(0, at + 1 - _BELOW) : at + 1][::-1]:
            yield member.ops, upper.load - 1


_SLOPES: Final = SLOPES[:2]
#: Effort of a descent, of a trim and of what stands around each, in about five nanoseconds.
_DESCENT: Final = 400_000
_TRIMMING: Final = 200_000
_CALL: Final = 10_000


def exchange(
    descents: Descents, cheapest: Cheapest, limit: int, done: dict[Place, int] | None = None
) -> None:
    """Improve sequences by recomputing other steps; those far from neighbours first."""
    stop = descents.effort + limit
    done = {} if done is None else done
    while descents.effort < stop and (place := cheapest.widest(done, 1)) is not None:
        done[place] = 1
        for candidate in _exchange_runs(descents, *place, stop):
            cheapest.add(candidate)


def _exchange_runs(
    descents: Descents, ops: tuple[int, ...], goal: int, stop: int
) -> list[Candidate]:
    """Yield sequences that recompute other steps than a given one, within an effort."""
    net, random, results = descents.net, Random(1), list[Candidate]()
    for (step, left), slope in product(_without_one(ops), _SLOPES):
        if descents.effort >= stop:
            break
        with descents.holding(net.makes[step]):
            below = int(goal * slope.share)
            sequence = descents.descend(left, below, slope, random, _DESCENT)
        if descents.peak <= goal:
            sequence = descents.trim(sequence, goal, random, 0.0, _TRIMMING)
        descents.effort += _CALL + 5 * len(sequence)
        if descents.peak < BEYOND_ALL:
            results.append(Candidate(descents.peak, net.cost(sequence), tuple(sequence)))
    return results


def _without_one(ops: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield the step of each repeated run, and the sequence without that run."""
    seen: set[int] = set()
    for at, step in enumerate(ops):
        if step in seen:
            yield step, [*ops[:at], *ops[at + 1 :]]
        seen.add(step)


#: How much dearer a change may be at first, of all ops: how hot is best depends on the problem.
_HEATS: Final = (0.003, 0.02, 0.01, 0.001, 0.05, 0.005, 0.15, 0.002)
#: Effort of a walk for each op.
_WALKING: Final = 15_000
_MOST: Final = 100  # walks from one sequence to one goal
_DOWN: Final = 4  # of so many walks one goes below the smallest sequence
_LOWER_LOAD: Final = 0.1  # by so much of its load at most


def walk(descents: Descents, cheapest: Cheapest, floor: int, random: Random, limit: int) -> None:
    """Anneal recomputing sequences far from cheaper ones, and below the smallest, repeatedly."""
    net, stop = descents.net, descents.effort + limit
    tried: Counter[Place] = Counter()
    turn = 0
    while descents.effort < stop:
        least = cheapest.members[0]
        place = cheapest.widest(tried, _MOST)
        if turn % _DOWN == _DOWN - 1 or place is None:
            lower = int(least.load * (1.0 - _LOWER_LOAD * random.random() ** 2))
            place = least.ops, max(floor, min(lower, least.load - 1))
        ops, goal = place
        tried[place] += 1
        heat = _HEATS[turn % len(_HEATS)]
        turn += 1
        sequence = descents.walk(ops, goal, heat, random, _WALKING * len(net.ops))
        if descents.peak <= goal:
            sequence = descents.trim(sequence, goal, random, 0.0, _TRIMMING)
        descents.effort += _CALL + 5 * len(sequence)
        if descents.peak < BEYOND_ALL:
            cheapest.add(Candidate(descents.peak, net.cost(sequence), tuple(sequence)))


_LEVELS: Final = 20  # of equal bytes, from the lowest order down
_PARTS: Final = 2  # of the way from one level to the next, in a long schedule
_LOWER: Final = 0.87  # ratio of levels where those would be further apart
#: Effort of a search, in about five nanoseconds: for each op, and at most; but for each op of the
#: longest at least.
EFFORT = (900_000, 250_000_000, 20_000)
_DESCENDING: Final = 0.4  # share of it for descents, where sequences are rebuilt after them
_REBUILT: Final = 600  # ops up to which sequences are taken apart and built again
_FURTHER: Final = 450_000  # effort of such a search for each op beyond those that are improved
#: Effort of exchanges and walks after that, as a share of that before, and at most.
_IMPROVING: Final = (1.1, 160_000_000)
_ROUNDS: Final = 2  # of exchanges, then walks
_EXCHANGING: Final = 0.5  # share of a round for exchanges
#: Ops up to which there are any: beyond, they find little, and each point more is to be placed.
_IMPROVED: Final = 150
_STARTS: Final = 6  # sequences with repeats that descents begin with
_ANEW: Final = 5  # levels after which a long schedule's descent begins anew
_BEATEN: Final = 0.1  # share of the cost of all ops by which a descent may be dearer than others
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
        self.orders: list[Candidate] = []
        self.levels: list[int] = []
        per_op, most, least = EFFORT
        count = len(net.ops)
        self.rebuilds = count <= _REBUILT
        if self.rebuilds:
            more = max(0, count - _IMPROVED)
            self.effort = per_op * (count - more) + _FURTHER * more
        else:
            self.effort = max(min(per_op * count, most), least * count)

    def begin_with(self, order: Sequence[int]) -> None:
        """Add a valid order without repeats; at least one is required."""
        self.orders.append(self.add(order))

    def add(self, sequence: Sequence[int]) -> Candidate:
        """Add a valid sequence; it without idle runs."""
        return self._record(self.descents.laid_out(sequence))

    def run(self) -> list[Candidate]:
        """Search sequences for all budgets: return the cheapest of each load, by cost."""
        self.descents.effort = 0
        self.orders.sort(key=lambda order: order.load)
        self.levels = [*_memory_goals(self.orders[0].load, self.floor)]
        limit = int(self.effort * (_DESCENDING if self.rebuilds else 1.0))
        if not self.rebuilds:
            self._ascend()
        for start, slope in self._descents():
            if self.descents.effort >= limit:
                break
            self._descend(start, slope)
        if self.rebuilds:
            self._rebuild()
            if len(self.net.ops) <= _IMPROVED:
                self._improve()
        return self.cheapest.members[::-1]

    def _record(self, ops: list[int]) -> Candidate:
        """Add the result of the last descent to the front and return it."""
        self.descents.effort += _CALL + 5 * len(ops)
        candidate = Candidate(self.descents.peak, self.net.cost(ops), tuple(ops))
        self.cheapest.add(candidate)
        return candidate

    def _descents(self) -> Iterator[tuple[Candidate, Slope]]:
        """Yield the starts and gap weightings of descents, in the order in which to try them.

        The orders, and some of the sequences with repeats, the lowest among them, which comes first
        in a long schedule.
        """
        repeated = [
            member for member in self.cheapest.members if len(member.ops) > len(self.net.ops)
        ]
        repeated = repeated[:: max(1, len(repeated) // _STARTS)]
        first = 0 if self.rebuilds else 1
        starts = [*repeated[:first], *self.orders, *repeated[first:]]
        for slope in SLOPES:
            for start in starts:
                yield start, slope

    def _ascend(self) -> None:
        """Recompute less at rising budgets: trim the smallest sequence for each level.

        Some levels are in between: a long schedule has too many runs to take out to begin with the
        smallest each time.
        """
        candidate = self.cheapest.members[0]
        pairs = pairwise((self.orders[0].load, *self.levels))
        goals = {low + (top - low) * k // _PARTS for top, low in pairs for k in range(_PARTS)}
        for goal in sorted(goals):
            if goal > candidate.load and len(candidate.ops) > len(self.net.ops):
                candidate = self._trim(candidate.ops, goal, 0.0)

    def _descend(self, start: Candidate, slope: Slope) -> None:
        """Recompute more at falling budgets: drop values of a sequence for each memory level.

        That of a long schedule, of which a step drops many values, begins with the order again now
        and then: it finds others, as long as it finds any.
        """
        ops, anew = start.ops, not self.rebuilds and len(start.ops) == len(self.net.ops)
        for place, goal in enumerate(self.levels, 1):
            if not self.rebuilds and start.load <= goal:
                continue
            if anew and place % _ANEW == 0:
                from_start, anew = self._level(start.ops, goal, slope, self.effort // 10)
                if anew:
                    ops = from_start
                    continue
            ops, reached = self._level(ops, goal, slope, self.effort // 4)
            if not reached:
                break

    def _level(
        self, ops: Sequence[int], goal: int, slope: Slope, limit: int
    ) -> tuple[tuple[int, ...], bool]:
        """Recompute down to a memory level; return the sequence, and True if the level is met.

        A sequence of a long schedule that is much dearer than another is not trimmed.
        """
        goal_here = int(goal * slope.share)
        ops = self.descents.descend(ops, goal_here, slope, self.random, limit)
        candidate = self._record(ops)
        best = self.cheapest.within(max(goal, candidate.load))
        much = _BEATEN * self.net.total
        if self.rebuilds or best is None or best.cost > candidate.cost - much:
            self._trim(ops, max(goal, candidate.load), 0.0)
        return candidate.ops, candidate.load <= goal

    def _trim(self, ops: Sequence[int], goal: int, noise: float) -> Candidate:
        """Return a recomputing sequence without the repeated steps that the goal does not need."""
        limit = self.effort // (20 if self.rebuilds else 40)
        return self._record(self.descents.trim(ops, goal, self.random, noise, limit))

    def _rebuild(self) -> None:
        """Remove random recomputations of each level's cheapest sequence and descend again.

        To the level, to somewhere above it, and below all that was reached (ruin and recreate).
        """
        near: dict[int, Candidate] = {}
        spread = 0.0
        while self.descents.effort < self.effort:
            effort_before = self.descents.effort
            for number, (above, level) in enumerate(pairwise((self.orders[0].load, *self.levels))):
                goal = level + int((above - level) * spread)
                # what was made last of the cheapest sequence of a level, which is in ``near``
                best = self.cheapest.within(goal)
                if best is not None and len(best.ops) > len(self.net.ops):
                    start = near.get(number, best)
                    near[number] = self._rebuild_sequence(
                        start if start.load <= goal else best, best, goal
                    )
            self._lower()
            # a quarter of the rounds at the levels themselves, the others somewhere above
            spread = max(0.0, self.random.random() - 0.25)
            # no level has a sequence with recomputations to remove
            if self.descents.effort == effort_before:
                break

    def _improve(self) -> None:
        """Alternate exchanges and annealing walks over the front's sequences.

        Each begins with the results of the other.
        """
        share, most = _IMPROVING
        descents, exchanged = self.descents, dict[Place, int]()
        stop = descents.effort + int(min(self.effort * share, most))
        for left in range(_ROUNDS, 0, -1):
            end = descents.effort + (stop - descents.effort) // left
            limit = int((end - descents.effort) * _EXCHANGING)
            exchange(descents, self.cheapest, limit, exchanged)
            walk(descents, self.cheapest, self.floor, self.random, end - descents.effort)

    def _lower(self) -> None:
        """Look for recomputations with a load below the smallest."""
        least = self.cheapest.members[0]
        if least.load > self.floor and len(least.ops) > len(self.net.ops):
            # up to a tenth below the smallest
            goal = max(self.floor, int(least.load * (1.0 - 0.1 * self.random.random())))
            self._rebuild_sequence(least, least, goal)

    def _rebuild_sequence(self, start: Candidate, best: Candidate, goal: int) -> Candidate:
        """Return a sequence ruined and recreated once, or ``best`` if it costs much more."""
        descents, random = self.descents, self.random
        share = 1.0 - 0.25 * random.random() ** 2 if random.random() < 0.7 else 1.0
        flat = float(random.random() < 0.6)
        slope = Slope(noise=1.2 * random.random(), flat=flat, steep=1.0 - flat)
        left = ruin(start.ops, random)
        descents.effort += _CALL + 20 * len(left)
        ops = descents.descend(left, int(goal * share), slope, random, self.effort // 20)
        if descents.peak > goal:
            return start
        candidate = self._trim(ops, goal, float(random.random() < 0.5))
        # Mostly close to the best; now and then a much dearer sequence is taken, to leave a local
        # minimum.
        bar = best.cost + (best.cost - self.net.total) * _WORSE * random.random() ** 3
        return candidate if candidate.cost <= bar else best


def _memory_goals(top: int, floor: int) -> Iterator[int]:
    """Yield memory goals from below the best order's load down to the lower bound."""
    goal = top
    while True:
        goal = min(goal - 1, max(goal - top // _LEVELS, int(goal * _LOWER)))
        if goal <= floor:
            break
        yield goal
    yield floor


def ruin(sequence: Sequence[int], random: Random) -> list[int]:
    """Remove a random share of a sequence's recomputed steps: everywhere, or in a window.

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

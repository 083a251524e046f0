"""A sequence of steps with repeats, the bytes at each, and what a change of a window would do.

``across[t]`` are bytes alive between the steps t - 1 and t, ``loads[t]`` those while step t runs,
with its workspace and without what it writes in place. A change replaces the steps of a window; all
values that others need behind it are needed as before, so only the window is walked, backwards,
and values that it needs from before live longer, or less long, from their last event on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from staticgrad.planning.problem import Net
from staticgrad.records import dataclass

_LONGEST = 200  # ops of a closure


@dataclass(frozen=True)
class Change:
    """Steps instead of those in [lo, hi), with the loads from ``left`` to the end of the window."""

    lo: int
    hi: int
    steps: tuple[int, ...]
    left: int
    loads: tuple[int, ...]


class Runs:
    """A valid sequence laid out. ``effort`` counts the events that were looked at."""

    def __init__(self, net: Net, sequence: Iterable[int]) -> None:
        self.net = net
        self.effort = 0
        self.become(sequence)

    def become(self, sequence: Iterable[int]) -> None:
        """Lay out another sequence, which is valid; runs that nobody needs are left out."""
        self.sequence = without_idle(self.net, list(sequence))
        self._find_events()
        self._find_loads()
        self.effort += 3 * len(self.sequence) + 2 * sum(map(len, self.events))

    def _find_events(self) -> None:
        """By value, ``2 * t`` for each step that reads it and ``2 * t + 1`` that makes it."""
        net = self.net
        self.events: list[list[int]] = [[] for _ in net.sizes]
        for t, step in enumerate(self.sequence):
            for value in net.reads[step]:
                self.events[value].append(2 * t)
            for value in net.makes[step]:
                self.events[value].append(2 * t + 1)
        self.counts = Counter(self.sequence)
        self.first_run: dict[int, int] = {}
        for t, step in enumerate(self.sequence):
            self.first_run.setdefault(step, t)

    def _find_loads(self) -> None:
        walk = _LoadWalk(self.net, self.net.kept)
        end = sum(size for size, kept in zip(self.net.sizes, self.net.kept, strict=True) if kept)
        self.loads, self.across = walk.backwards(self.sequence, end)

    def needed(self, value: int, t: int) -> bool:
        """Whether the value is held from before step t for a step from t on, or to the end."""
        events = self.events[value]
        i = bisect_left(events, 2 * t)
        return i > 0 and (not events[i] & 1 if i < len(events) else self.net.kept[value])

    def excess(self, budget: int) -> int:
        """Bytes beyond the budget, added up over the steps."""
        return sum(load - budget for load in self.loads if load > budget)

    @property
    def peak(self) -> int:
        """The largest load."""
        return max(self.loads, default=0)

    @property
    def cost(self) -> float:
        """What the sequence costs."""
        return self.net.cost(self.sequence)

    def changed(self, lo: int, hi: int, steps: Sequence[int]) -> Change | None:
        """The loads with ``steps`` instead of those in [lo, hi); None where they cannot run."""
        net, old = self.net, self.sequence[lo:hi]
        if not self._allowed(lo, old, steps):
            return None
        values = {
            value
            for step in (*old, *steps)
            for value in (*net.reads[step], *net.makes[step], *net.ends[step])
        }
        self.effort += 2 * len(values) + len(steps)
        after = {value: self._after(value, hi) for value in values}
        walk = _LoadWalk(net, after)
        end = self.across[hi] if hi < len(self.across) else 0
        loads, _ = walk.backwards(steps, end)
        if walk.broken:
            return None
        left, moved = lo, []
        for value in values:
            needs, needed = walk.need[value], self.needed(value, lo)
            if needs == needed:
                continue
            i = bisect_left(self.events[value], 2 * lo)
            if not i or (needs and self._is_ended(value, self.events[value][i - 1], lo)):
                return None
            moved.append((self.events[value][i - 1] >> 1, value, needs))
            left = min(left, moved[-1][0])
        before = self.loads[left:lo]
        for at, value, needs in moved:
            size = net.sizes[value] if needs else -net.sizes[value]
            if size:
                before[at + 1 - left :] = [load + size for load in before[at + 1 - left :]]
        for at in {at for at, _, _ in moved}:
            before[at - left] += self._saved_before(at, moved)
        return Change(lo, hi, tuple(steps), left, (*before, *loads))

    def _is_ended(self, value: int, event: int, lo: int) -> bool:
        """Whether a step from an event of the value on ends it before step ``lo``."""
        enders = self.net.enders.get(value)
        if enders is None:
            return False
        return not enders.isdisjoint(self.sequence[(event >> 1) + (event & 1) : lo])

    def _allowed(self, lo: int, old: Sequence[int], steps: Sequence[int]) -> bool:
        """Whether updates stay behind those who read what they write, and limits of runs hold."""
        net = self.net
        gone, seen = set(old), set()
        for step in steps:
            for writer in net.after[step]:
                before = writer not in gone and self.first_run.get(writer, lo) < lo
                if before or writer in seen:
                    return False
            seen.add(step)
        new = Counter(steps)
        return all(
            net.limits[step] >= 1 << 60
            or self.counts[step] - old.count(step) + count <= net.limits[step]
            for step, count in new.items()
        )

    def _after(self, value: int, hi: int) -> bool:
        """Whether someone from step ``hi`` on needs what was there before it."""
        events = self.events[value]
        i = bisect_left(events, 2 * hi)
        return not events[i] & 1 if i < len(events) else self.net.kept[value]

    def _saved_before(self, at: int, moved: Sequence[tuple[int, int, bool]]) -> int:
        """How the load of a step before the window changes, because what it writes over dies
        there now, or does no longer."""
        net, step = self.net, self.sequence[at]
        if not net.overwrites[step]:
            return 0
        held = {value: needs for where, value, needs in moved if where == at}

        def lives(value: int) -> bool:
            return self.needed(value, at + 1)

        before = _saved(net, step, lives)
        return before - _saved(net, step, lambda v: held.get(v, lives(v)))

    def excess_of(self, change: Change, budget: int) -> int:
        """The excess after a change, by the loads that it touches."""
        old = self.loads[change.left : change.hi]
        self.effort += len(old) // 8
        gone = sum(load - budget for load in old if load > budget)
        return sum(load - budget for load in change.loads if load > budget) - gone

    def take(self, change: Change) -> None:
        """Make a change."""
        self.become((*self.sequence[: change.lo], *change.steps, *self.sequence[change.hi :]))

    def closure(self, value: int, t: int) -> list[int] | None:
        """Steps that make a value anew before step t, with what they need and is not there.

        None where a step of them may not run again, or where they are too many.
        """
        net, found = self.net, []
        first = net.producer[value]
        marked = {first}
        stack = [(first, iter(net.reads[first]))]
        while stack:
            step, inputs = stack[-1]
            if self.counts[step] >= net.limits[step] or len(marked) > _LONGEST:
                self.effort += 10 * len(marked)
                return None
            for needed in inputs:
                maker = net.producer[needed]
                if maker not in marked and not self.needed(needed, t):
                    marked.add(maker)
                    stack.append((maker, iter(net.reads[maker])))
                    break
            else:
                found.append(step)
                stack.pop()
        self.effort += 4 * len(found)
        return found


class _LoadWalk:
    """Steps walked backwards: ``need`` says of a value whether a later step needs it."""

    def __init__(self, net: Net, need: Sequence[bool] | dict[int, bool]) -> None:
        self.net = net
        self.need = dict(enumerate(need)) if not isinstance(need, dict) else dict(need)
        self.broken = False  # whether a later step needs what one before it has ended

    def backwards(self, steps: Sequence[int], alive: int) -> tuple[list[int], list[int]]:
        """Loads of the steps, and bytes alive before each and after the last."""
        net, need = self.net, self.need
        sizes = net.sizes
        loads, across = [], [alive]
        for step in reversed(steps):
            load = alive + net.workspace[step]
            if net.ends[step] and any(need[value] for value in net.ends[step]):
                self.broken = True
            if net.overwrites[step]:
                load -= _saved(net, step, need.__getitem__)
            for value in net.makes[step]:
                if need[value]:
                    alive -= sizes[value]
                    need[value] = False
                else:
                    load += sizes[value]
            for value in net.reads[step]:
                if not need[value]:
                    alive += sizes[value]
                    load += sizes[value]
                    need[value] = True
            loads.append(load)
            across.append(alive)
        return loads[::-1], across[::-1]


def _saved(net: Net, step: int, lives: Callable[[int], bool]) -> int:
    """Bytes that a step writes over what dies there; ``lives(value)`` is asked of inputs."""
    return sum(net.sizes[given] for _, given in written_over(net, step, lives))


def written_over(net: Net, step: int, lives: Callable[[int], bool]) -> list[tuple[int, int]]:
    """The pairs (input, output) of a step that share bytes: each value once."""
    found: list[tuple[int, int]] = []
    used: set[int] = set()
    for taken, given in net.overwrites[step]:
        if taken not in used and given not in used and not lives(taken):
            used |= {taken, given}
            found.append((taken, given))
    return found


def without_idle(net: Net, sequence: Sequence[int]) -> list[int]:
    """The sequence without runs whose results nobody reads; of each step one run stays."""
    counts = Counter(sequence)
    need = list(net.kept)
    left = []
    for step in reversed(sequence):
        if counts[step] > 1 and not any(need[value] for value in net.makes[step]):
            counts[step] -= 1
            continue
        for value in net.makes[step]:
            need[value] = False
        for value in net.reads[step]:
            need[value] = True
        left.append(step)
    return left[::-1]


def is_valid(net: Net, sequence: Sequence[int]) -> bool:
    """Whether every step has its inputs, none reads what was overwritten, and limits hold."""
    made: set[int] = set()
    ran: Counter[int] = Counter()
    for step in sequence:
        ran[step] += 1
        if not made.issuperset(net.reads[step]) or ran[step] > net.limits[step]:
            return False
        if any(writer in ran for writer in net.after[step]):
            return False
        made.difference_update(net.ends[step])
        made.update(net.makes[step])
    return len(ran) == len(net.ops)

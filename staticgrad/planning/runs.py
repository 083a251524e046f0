"""A sequence of steps with repeats, and the bytes at each.

``across[t]`` are bytes alive between the steps t - 1 and t, ``loads[t]`` those while step t runs,
with its workspace and without what it writes in place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from staticgrad.planning.problem import Net


class Runs:
    """A valid sequence laid out, without runs that nobody needs."""

    def __init__(self, net: Net, sequence: Iterable[int]) -> None:
        self.net = net
        self.sequence = without_idle(net, list(sequence))
        #: By value, ``2 * t`` for each step that reads it and ``2 * t + 1`` that makes it.
        self.events: list[list[int]] = [[] for _ in net.sizes]
        for t, step in enumerate(self.sequence):
            for value in net.reads[step]:
                self.events[value].append(2 * t)
            for value in net.makes[step]:
                self.events[value].append(2 * t + 1)
        self.loads, self.across = _loads(net, self.sequence)

    def needed(self, value: int, t: int) -> bool:
        """Whether the value is held from before step t for a step from t on, or to the end."""
        events = self.events[value]
        i = bisect_left(events, 2 * t)
        return i > 0 and (not events[i] & 1 if i < len(events) else self.net.kept[value])

    @property
    def peak(self) -> int:
        """The largest load."""
        return max(self.loads, default=0)

    @property
    def cost(self) -> float:
        """What the sequence costs."""
        return self.net.cost(self.sequence)


def _loads(net: Net, steps: Sequence[int]) -> tuple[list[int], list[int]]:
    """Loads of the steps, and bytes alive before each and after the last."""
    sizes = net.sizes
    need = [*net.kept]  # by value, whether a later step needs it
    alive = sum(size for size, kept in zip(sizes, need, strict=True) if kept)
    loads, across = [], [alive]
    for step in reversed(steps):
        load = alive + net.workspace[step]
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

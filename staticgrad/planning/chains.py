"""The dynamic program over a chain of blocks of forward steps.

Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova, Optimal checkpointing for heterogeneous chains
(arXiv 1911.13214): the cheapest way to run blocks s to t forward and backward in m bytes either
keeps all that block s leaves, or runs up to some block and keeps only what goes into that one.
Bytes are counted in slots, without gradients and workspace, so the caller measures the sequences
for several m.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from staticgrad.planning.problem import Net
from staticgrad.records import dataclass

_SLOTS = 150
_MOST_BLOCKS = 72
_SHARES = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)  # of the budget


@dataclass(frozen=True)
class Blocks:
    """Forward steps in blocks between which one value goes, and the backward steps of each.

    ``passed[i]`` are the bytes that block i hands on, ``left[i]`` those that its backward steps
    read of it.
    """

    forward: tuple[tuple[int, ...], ...]
    backward: tuple[tuple[int, ...], ...]
    cost: tuple[float, ...]
    passed: tuple[int, ...]
    left: tuple[int, ...]


def blocks_of(net: Net, forward: int) -> Blocks:
    """Return the blocks of the given order, whose first ``forward`` steps are forward."""
    borders = _borders(net, forward)
    block_of = {}
    for number, (begin, end) in enumerate(zip((0, *borders), (*borders, forward), strict=True)):
        block_of.update(dict.fromkeys(range(begin, end), number))
    count = len(borders) + 1
    ahead: list[list[int]] = [[] for _ in range(count)]
    for step, number in block_of.items():
        ahead[number].append(step)
    behind: list[list[int]] = [[] for _ in range(count)]
    left, passed = [0] * count, [0] * count
    read: set[int] = set()
    now = count - 1
    for step in range(forward, len(net.ops)):
        values = [v for v in net.reads[step] if net.producer[v] < forward]
        now = max((block_of[net.producer[v]] for v in values), default=now)
        behind[now].append(step)
        for value in values:
            if value not in read:
                read.add(value)
                left[block_of[net.producer[value]]] += net.sizes[value]
    for step in range(forward):
        for value in net.reads[step]:
            maker = block_of[net.producer[value]]
            if maker != block_of[step]:
                passed[maker] = net.sizes[value]
    cost = tuple(sum(net.costs[step] for step in steps) for steps in ahead)
    forwards, backwards = (tuple(map(tuple, steps)) for steps in (ahead, behind))
    return Blocks(forwards, backwards, cost, tuple(passed), tuple(map(max, left, passed)))


def _borders(net: Net, forward: int) -> list[int]:
    """Places between forward steps over which at most one value goes to a later one."""
    last: dict[int, int] = {}
    for step in range(forward):
        for value in net.reads[step]:
            if net.sizes[value]:
                last[value] = step
    change = [0] * (forward + 1)
    for value, end in last.items():
        change[net.producer[value] + 1] += 1
        change[end + 1] -= 1
    found, crossing = [], 0
    for place in range(forward):
        crossing += change[place]
        if place and crossing <= 1:
            found.append(place)
    some = max(1, -(-len(found) // _MOST_BLOCKS))
    return found[some - 1 :: some]


def chain_sequences(net: Net, forward: int, goal: int) -> Iterator[list[int]]:
    """Sequences for several shares of the budget."""
    blocks = blocks_of(net, forward)
    if len(blocks.forward) < 3:
        return
    program = _ChainProgram(blocks, goal)
    for share in _SHARES:
        sequence = program.sequence(int(share * _SLOTS))
        if sequence:
            yield sequence


class _ChainProgram:
    """Costs of all stretches of blocks, for all numbers of slots."""

    def __init__(self, blocks: Blocks, goal: int) -> None:
        self.blocks = blocks
        count = len(blocks.forward)
        unit = max(goal, 1) / _SLOTS
        self.passed = [min(_SLOTS + 1, -int(-size // unit)) for size in blocks.passed]
        self.left = [min(_SLOTS + 1, -int(-size // unit)) for size in blocks.left]
        self.cost = np.full((count + 1, count + 1, _SLOTS + 1), np.inf)
        self.choice = np.full((count + 1, count + 1, _SLOTS + 1), -1, np.int32)
        ahead = np.concatenate(([0.0], np.cumsum(blocks.cost)))
        for s in range(count):
            self.cost[s, s, self.left[s] :] = blocks.cost[s]
            self.choice[s, s, self.left[s] :] = s
        for width in range(1, count):
            for s in range(count - width):
                self._stretch(s, s + width, ahead)

    def _stretch(self, s: int, t: int, ahead: np.ndarray) -> None:
        best, choice = self.cost[s, t], self.choice[s, t]
        self._offer(best, choice, s, self.blocks.cost[s] + _less(self.cost[s + 1, t], self.left[s]))
        for k in range(s + 1, t + 1):
            there = _less(self.cost[k, t], self.passed[k - 1]) + self.cost[s, k - 1]
            self._offer(best, choice, k, ahead[k] - ahead[s] + there)

    def _offer(self, best: np.ndarray, choice: np.ndarray, k: int, costs: np.ndarray) -> None:
        better = costs < best
        best[better] = costs[better]
        choice[better] = k

    def sequence(self, slots: int) -> list[int]:
        """Return the cheapest sequence for so many slots, or an empty list."""
        last = len(self.blocks.forward) - 1
        if not np.isfinite(self.cost[0, last, slots]):
            return []
        found: list[int] = []
        self._write(0, last, slots, found)
        return found

    def _write(self, s: int, t: int, slots: int, found: list[int]) -> None:
        blocks, k = self.blocks, int(self.choice[s, t, slots])
        if k == s:
            found += blocks.forward[s]
            if s < t:
                self._write(s + 1, t, slots - self.left[s], found)
            found += blocks.backward[s]
            return
        for block in range(s, k):
            found += blocks.forward[block]
        self._write(k, t, slots - self.passed[k - 1], found)
        self._write(s, k - 1, slots, found)


def _less(costs: np.ndarray, slots: int) -> np.ndarray:
    """Costs where so many slots are taken already."""
    moved = np.full_like(costs, np.inf)
    if slots < len(costs):
        moved[slots:] = costs[: len(costs) - slots]
    return moved

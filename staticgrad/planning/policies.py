"""Published policies, by name: sequences for a budget, as baselines and as starts of the search.

The *forward* steps are those up to the first output, or to the largest load, of the given order;
the steps behind them read their values. A policy decides which forward values are stored until
then, and in which pieces the others are recomputed; the sequence determines the live ranges.

- ``sqrt``: segments of equally many forward steps (Chen et al., Training deep nets with sublinear
  memory cost, arXiv 1604.06174, the plain form).
- ``chen``: segments of equally many bytes (the same, algorithm 3).
- ``chain``: the dynamic program over a chain of blocks (Beaumont et al., Optimal checkpointing for
  heterogeneous chains, arXiv 1911.13214).
- ``milp``, ``rounded``: Checkmate's model (Jain et al., arXiv 1910.02653) for the given order,
  solved, and relaxed with what is held rounded (``staticgrad.planning.exact``).
- ``min_cut``: the fewest bytes between forward and backward steps, for thresholds of what may be
  made again (as PyTorch's partitioner of joint graphs).

All sequences of a policy are returned; the caller takes the cheapest that meets the budget.

The dynamic program (Beaumont, Eyraud-Dubois, Herrmann, Joly and Shilova): the cheapest way to run
blocks s to t forward and backward in m bytes either keeps all that block s leaves, or runs up to
some block and keeps only what goes into that one. Bytes are counted in slots, without gradients and
workspace, so the caller measures the sequences for several m.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isqrt
from typing import Final

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from staticgrad.planning import exact
from staticgrad.planning.descents import Descents
from staticgrad.planning.placed import Runs, is_valid
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


SECONDS: Final = 60.0  # of a solver
_SEGMENTS: Final = 48  # segmentations that are tried


def turning_points(net: Net) -> list[int]:
    """Return the numbers of forward steps of the given order: up to the first step that makes an
    output or updates something, and up to the largest load."""
    runs = Runs(net, range(len(net.ops)))
    ends = [runs.loads.index(runs.peak) + 1] if runs.loads else [0]
    for step, op in enumerate(net.ops):
        if op.mutates or any(net.kept[value] for value in net.makes[step]):
            ends.append(step + 1)
            break
    return sorted({*ends})


def in_segments(net: Net, forward: int, borders: Sequence[int]) -> list[int]:
    """The sequence in which the forward steps between two borders run again, as one block, before
    the first later step that reads what they make; those behind the last border do not."""
    segment_of = {}
    for number, (begin, end) in enumerate(zip((0, *borders), borders, strict=False)):
        segment_of.update(dict.fromkeys(range(begin, end), number))
    kept = _crossing(net, forward, segment_of)
    starts = (0, *borders)
    done: set[int] = set()
    found = list(range(forward))
    for step in range(forward, len(net.ops)):
        wanted = {
            segment_of[net.producer[value]]
            for value in net.reads[step]
            if net.producer[value] in segment_of and value not in kept
        }
        for segment in sorted(wanted - done):
            done.add(segment)
            again = range(starts[segment], starts[segment + 1])
            found += [each for each in again if net.limits[each] > 1]
        found.append(step)
    return found


def _crossing(net: Net, forward: int, segment_of: dict[int, int]) -> set[int]:
    """Values that a later segment reads: they are kept."""
    found = set()
    for step in range(forward):
        here = segment_of.get(step, -1)
        for value in net.reads[step]:
            if segment_of.get(net.producer[value], here) != here:
                found.add(value)
    return found


def equal_steps(net: Net, goal: int) -> Iterator[list[int]]:
    """Segmentations into 2, 3, ... segments of equally many forward steps."""
    for forward in turning_points(net):
        for count in _counts(forward):
            borders = sorted({forward * k // count for k in range(1, count)})
            yield in_segments(net, forward, borders)


def equal_bytes(net: Net, goal: int) -> Iterator[list[int]]:
    """The same with equally many bytes of forward values each."""
    for forward in turning_points(net):
        made = [sum(net.sizes[value] for value in net.makes[step]) for step in range(forward)]
        for count in _counts(forward):
            borders, filled = [], 0
            for step, size in enumerate(made):
                filled += size
                if filled * count > sum(made):
                    borders.append(step + 1)
                    filled = 0
            yield in_segments(net, forward, [border for border in borders if border < forward])


def _counts(forward: int) -> list[int]:
    """Return the numbers of segments to try: few one by one, the square root among them."""
    top = max(forward, 2)
    wide = {int(2 * (top / 2) ** (k / _SEGMENTS)) for k in range(_SEGMENTS + 1)}
    return sorted({*wide, isqrt(top)} - {0, 1})


def kept_only(net: Net, forward: int, kept: Iterable[int]) -> list[int]:
    """Return the sequence whose later steps find only ``kept`` of the forward values: the others
    are recomputed, with their inputs, before the first later step that reads them."""
    there = {*kept, *(v for v, step in enumerate(net.producer) if step >= forward)}
    found = list(range(forward))
    for step in range(forward, len(net.ops)):
        for value in net.reads[step]:
            if value not in there:
                found += _made_again(net, value, there)
        found.append(step)
    return found


def _made_again(net: Net, value: int, there: set[int]) -> list[int]:
    """Return steps that make a value from those in ``there``, and add theirs to ``there``."""
    found: list[int] = []
    stack = [(net.producer[value], iter(net.reads[net.producer[value]]))]
    marked = {net.producer[value]}
    while stack:
        step, inputs = stack[-1]
        needed = next((v for v in inputs if v not in there and net.producer[v] not in marked), None)
        if needed is None:
            found.append(step)
            there.update(net.makes[step])
            stack.pop()
        else:
            marked.add(net.producer[needed])
            stack.append((net.producer[needed], iter(net.reads[net.producer[needed]])))
    return found


def min_cut(net: Net, goal: int) -> Iterator[list[int]]:
    """The fewest bytes that cross from forward to backward steps, where steps that cost more than a
    threshold are not made again."""
    forward = turning_points(net)[0]
    costs = sorted({net.costs[step] for step in range(forward)})
    for k in range(8):
        most = costs[min(len(costs) - 1, len(costs) * (8 - k) // 8)] if costs else 0.0
        yield kept_only(net, forward, _cut(net, forward, most))


def _cut(net: Net, forward: int, most: float) -> list[int]:
    """The values of a smallest cut, where steps that cost more than ``most`` run once."""
    values = [v for v, step in enumerate(net.producer) if step < forward]
    wanted = {v for step in range(forward, len(net.ops)) for v in net.reads[step]}
    unit = max(1, sum(net.sizes) // (1 << 28))
    far = (1 << 30) - 1
    source, sink = 2 * len(net.sizes), 2 * len(net.sizes) + 1
    edges = {(2 * v, 2 * v + 1): 1 + net.sizes[v] // unit for v in values}
    for v in values:
        step = net.producer[v]
        inputs = [u for u in net.reads[step] if net.producer[u] < forward]
        if not inputs or net.limits[step] < 2 or net.costs[step] > most:
            edges[source, 2 * v] = far
        edges.update(((2 * u + 1, 2 * v), far) for u in inputs)
        if v in wanted:
            edges[2 * v + 1, sink] = far
    rows, columns = zip(*edges, strict=True)
    capacity = np.array([*edges.values()], dtype=np.int32)
    graph = csr_array((capacity, (rows, columns)), shape=(sink + 1, sink + 1))
    left = graph - maximum_flow(graph, source, sink).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = {*breadth_first_order(left, source, return_predecessors=False).tolist()}
    return [v for v in values if 2 * v in reached and 2 * v + 1 not in reached]


def _chain(net: Net, goal: int) -> Iterator[list[int]]:
    for forward in turning_points(net):
        yield from chain_sequences(net, forward, goal)


def _milp(net: Net, goal: int) -> Iterator[list[int]]:
    found = exact.solved(net, range(len(net.ops)), goal, SECONDS)
    if found.sequence is not None:
        yield list(found.sequence)


def _rounded(net: Net, goal: int) -> Iterator[list[int]]:
    for share in (1.0, 0.9, 0.8, 0.7):
        yield from exact.rounded(net, range(len(net.ops)), int(goal * share), SECONDS)


#: Sequences of a policy for a budget of bytes, by the policy's name.
POLICIES: Final[dict[str, Callable[[Net, int], Iterator[list[int]]]]] = {
    "sqrt": equal_steps,
    "chen": equal_bytes,
    "chain": _chain,
    "min_cut": min_cut,
    "milp": _milp,
    "rounded": _rounded,
}


def proposed(descents: Descents, policy: str, goal: int) -> list[tuple[int, float, list[int]]]:
    """Loads, costs and sequences of a policy, without idle runs."""
    net = descents.net
    found = []
    for sequence in POLICIES[policy](net, goal):
        if is_valid(net, sequence):
            sequence = descents.laid_out(sequence)
            found.append((descents.peak, net.cost(sequence), sequence))
    return found

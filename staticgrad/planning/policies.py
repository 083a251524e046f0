"""Published policies, by name: sequences for a budget, as baselines and as starts of the search.

The *forward* steps are those up to the first output, or to the largest load, of the given order;
the steps behind them read their values. A policy decides which forward values are stored until
then, and in which pieces the others are recomputed; the sequence determines the live ranges.

- ``sqrt``: segments of equally many forward steps (Chen et al., Training deep nets with sublinear
  memory cost, arXiv 1604.06174, the plain form).
- ``chen``: segments of equally many bytes (the same, algorithm 3).
- ``chain``: the dynamic program over a chain of blocks (Beaumont et al., Optimal checkpointing for
  heterogeneous chains, arXiv 1911.13214), in ``staticgrad.planning.chains``.
- ``milp``, ``rounded``: Checkmate's model (Jain et al., arXiv 1910.02653) for the given order,
  solved, and relaxed with what is held rounded (``staticgrad.planning.exact``).
- ``min_cut``: the fewest bytes between forward and backward steps, for thresholds of what may be
  made again (as PyTorch's partitioner of joint graphs).

All sequences of a policy are returned; the caller takes the cheapest that meets the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isqrt
from typing import Final

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from staticgrad.planning import exact
from staticgrad.planning.chains import chain_sequences
from staticgrad.planning.descents import Descents
from staticgrad.planning.placed import Runs, is_valid
from staticgrad.planning.problem import Net

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

"""Bytes that no plan of a problem can do without.

While a step runs, its inputs, its outputs and its workspace are there, but for what it may write in
place. What may be made only once, by an ancestor of the step, and is read by a descendant of it, is
there during the first run of the step as well: no descendant runs before it. So are such values
that are outputs of the problem. At the end, all outputs are there.
"""

from __future__ import annotations

from staticgrad.planning.problem import Net


def lower_bound(net: Net) -> int:
    """Bytes that the arena of every plan needs."""
    held = _held(net)
    final = sum(size for size, kept in zip(net.sizes, net.kept, strict=True) if kept)
    return max([final, *(_footprint(net, step, held[step]) for step in range(len(net.ops)))])


def _footprint(net: Net, step: int, held: set[int]) -> int:
    there = held.union(net.reads[step], net.makes[step])
    total = sum(net.sizes[value] for value in there) + net.workspace[step]
    pairs = net.ops[step].inplace
    # each output once, over whatever input may die: at least what any plan saves
    saved = {given for taken, given in pairs if net.numbers.get(taken, -1) not in held}
    return total - sum(net.sizes[net.numbers[given]] for given in saved)


def _held(net: Net) -> list[set[int]]:
    """Return, by step, the values that are live during its first run in every plan."""
    ancestors = [0] * len(net.ops)  # bits by step
    for step, reads in enumerate(net.reads):
        for value in reads:
            maker = net.producer[value]
            ancestors[step] |= ancestors[maker] | 1 << maker
    readers: dict[int, list[int]] = {}
    for step, reads in enumerate(net.reads):
        for value in reads:
            readers.setdefault(value, []).append(step)
    held: list[set[int]] = [set() for _ in net.ops]
    for value, maker in enumerate(net.producer):
        once = net.ops[maker].mutates or net.ops[maker].max_runs == 1
        if not once or not net.sizes[value]:
            continue
        later = 0
        for reader in readers.get(value, ()):
            later |= ancestors[reader]
        for step in range(maker + 1, len(net.ops)):
            if ancestors[step] >> maker & 1 and (net.kept[value] or later >> step & 1):
                held[step].add(value)
    return held

"""The vertices of least weight that part one set of vertices from another.

By the maximum flow through split vertices (L. R. Ford and D. R. Fulkerson 1956, along shortest
paths: J. Edmonds and R. M. Karp 1972). For graphs of some hundred vertices.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import pairwise

Network = list[dict[int, int]]  # capacity that is left, by both ends of an edge


def vertex_cut(
    weights: Sequence[int],
    edges: Iterable[tuple[int, int]],
    sources: Iterable[int],
    sinks: Iterable[int],
) -> set[int]:
    """A set of vertices that every path from a source to a sink passes, of least total weight.

    Of several such sets it is the one nearest to the sinks. Sources and sinks may be in it; a
    vertex of weight 0 is, where a path from it leads to a sink.

    >>> sorted(vertex_cut([8, 4, 4, 4], [(0, 1), (0, 2), (0, 3)], [0], [1, 2, 3]))
    [0]
    >>> sorted(vertex_cut([8, 4, 4], [(0, 1), (0, 2)], [0], [1, 2]))
    [1, 2]
    """
    count = len(weights)
    start, end, enough = 2 * count, 2 * count + 1, sum(weights) + 1
    network: Network = [{} for _ in range(2 * count + 2)]

    def link(tail: int, head: int, capacity: int) -> None:
        network[tail][head] = network[tail].get(head, 0) + capacity
        network[head].setdefault(tail, 0)

    for vertex, weight in enumerate(weights):
        link(2 * vertex, 2 * vertex + 1, weight)
    for before, after in edges:
        link(2 * before + 1, 2 * after, enough)
    for vertex in sources:
        link(start, 2 * vertex, enough)
    for vertex in sinks:
        link(2 * vertex + 1, end, enough)
    while path := _path(network, start, end):
        steps = list(pairwise(path))
        room = min(network[tail][head] for tail, head in steps)
        for tail, head in steps:
            network[tail][head] -= room
            network[head][tail] += room
    reaching = _reaching(network, end)
    return {v for v in range(count) if 2 * v + 1 in reaching and 2 * v not in reaching}


def _path(network: Network, start: int, end: int) -> list[int]:
    """A shortest path with capacity left, or nothing."""
    came = {start: start}
    waiting = deque([start])
    while waiting and end not in came:
        tail = waiting.popleft()
        for head, capacity in network[tail].items():
            if capacity > 0 and head not in came:
                came[head] = tail
                waiting.append(head)
    if end not in came:
        return []
    path = [end]
    while path[-1] != start:
        path.append(came[path[-1]])
    return path[::-1]


def _reaching(network: Network, end: int) -> set[int]:
    """The vertices from which capacity leads to ``end``."""
    found, waiting = {end}, [end]
    while waiting:
        head = waiting.pop()
        for tail in network[head]:
            if network[tail][head] > 0 and tail not in found:
                found.add(tail)
                waiting.append(tail)
    return found

"""The vertices of least weight that part one set of vertices from another.

By the maximum flow through split vertices (L. R. Ford and D. R. Fulkerson 1956), along all shortest
paths at a time (E. A. Dinic 1970): what crosses a border of a step parts into places that have
little to do with each other, whose paths are then filled together, in a few rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count

from staticgrad.support.traversal import reach


def vertex_cut(
    weights: Sequence[int],
    edges: Iterable[tuple[int, int]],
    sources: Iterable[int],
    sinks: Iterable[int],
    most_rounds: int | None = None,
    costs: Sequence[int] = (),
) -> set[int] | None:
    """Return a minimum vertex cut: the lightest vertices on all paths from source to sink.

    Of several such sets it is the one nearest to the sinks. Sources and sinks may be in it; a
    vertex of weight 0 is, where a path from it leads to a sink. None where that would take more
    than ``most_rounds``, each of which is linear in the edges but for very tangled graphs.

    With ``costs``, one for each vertex, those between the set and the sinks have a price as well:
    the total of the weights of the set and of the costs of those is least.

    >>> sorted(vertex_cut([8, 4, 4, 4], [(0, 1), (0, 2), (0, 3)], [0], [1, 2, 3]))
    [0]
    >>> sorted(vertex_cut([8, 4, 4], [(0, 1), (0, 2)], [0], [1, 2]))
    [1, 2]
    >>> sorted(vertex_cut([4, 4, 4], [(0, 1), (0, 2)], [0], [1, 2], costs=[0, 1, 5]))
    [1, 2]
    >>> edges = [(0, 1), (0, 2), (0, 3)]
    >>> sorted(vertex_cut([4, 4, 4, 4], edges, [0], [1, 2, 3], costs=[0, 1, 1, 5]))
    [0, 3]
    """
    # Vertex v is an edge from 2v to 2v + 1 whose capacity is its weight. The other edges have room
    # for more than all weights, so that a minimum cut consists of vertices.
    size = len(weights)
    start, end, enough = 2 * size, 2 * size + 1, sum(weights) + sum(costs) + 1
    network = _Network(2 * size + 2)
    for vertex, weight in enumerate(weights):
        network.link(2 * vertex, 2 * vertex + 1, weight)
    for tail, head in edges:
        network.link(2 * tail + 1, 2 * head, enough)
    for vertex, cost in enumerate(costs):
        if cost:
            # It is cut where the vertex lies on the side of the sinks.
            network.link(start, 2 * vertex, cost)
    for vertex in sources:
        network.link(start, 2 * vertex, enough)
    for vertex in sinks:
        network.link(2 * vertex + 1, end, enough)
    if not network.fill(start, end, most_rounds):
        return None
    reaching = network.reaching(end)
    # Its end reaches the sink and its begin does not: the edge is full.
    return {v for v in range(size) if 2 * v + 1 in reaching and 2 * v not in reaching}


class _Network:
    """Edges by number, each beside its reverse (number ^ 1), with the capacity that is left."""

    def __init__(self, size: int) -> None:
        self._heads: list[int] = []
        self._room: list[int] = []
        self._edges: list[list[int]] = [[] for _ in range(size)]  # by tail

    def link(self, tail: int, head: int, capacity: int) -> None:
        """Add an edge."""
        for begin, to, room in ((tail, head, capacity), (head, tail, 0)):
            self._edges[begin].append(len(self._heads))
            self._heads.append(to)
            self._room.append(room)

    def fill(self, start: int, end: int, most_rounds: int | None) -> bool:
        """Send the maximum flow (Dinic's algorithm); False if it takes more rounds."""
        # Each round makes the shortest path longer, so that there are fewer rounds than vertices.
        for done in count():
            level = self._distance_levels(start, end)
            if level[end] < 0:
                return True
            if done == most_rounds:
                return False
            self._fill_shortest(start, end, level)
        return False

    def _distance_levels(self, start: int, end: int) -> list[int]:
        """Return each vertex's distance from the start over unsaturated edges; -1 if unreached."""
        level = [-1] * len(self._edges)
        level[start] = 0
        reached = [start]
        for tail in reached:
            if level[end] >= 0:
                break
            for edge in self._edges[tail]:
                head = self._heads[edge]
                if self._room[edge] and level[head] < 0:
                    level[head] = level[tail] + 1
                    reached.append(head)
        return level

    def _fill_shortest(self, start: int, end: int, level: list[int]) -> None:
        """Send a blocking flow along shortest paths; an edge is skipped once it is exhausted."""
        heads, room, tried = self._heads, self._room, [0] * len(level)
        path, tail = list[int](), start  # edges from the start to the tail
        while True:
            edges = self._edges[tail]
            if tail == end:
                amount = min([room[edge] for edge in path])
                for edge in path:
                    room[edge] -= amount
                    room[edge ^ 1] += amount
                # What leads up to the first full edge is still open: go on from there.
                full = next(place for place, edge in enumerate(path) if not room[edge])
                tail = heads[path[full] ^ 1]
                del path[full:]
            elif tried[tail] == len(edges):
                if not path:
                    return
                tail = heads[path.pop() ^ 1]
                tried[tail] += 1
            else:
                edge = edges[tried[tail]]
                if room[edge] and level[heads[edge]] == level[tail] + 1:
                    path.append(edge)
                    tail = heads[edge]
                else:
                    tried[tail] += 1

    def reaching(self, end: int) -> set[int]:
        """Return the vertices from which unsaturated edges lead to ``end``."""
        return {*reach([end], self._unsaturated_tails)}

    def _unsaturated_tails(self, head: int) -> list[int]:
        # edge ^ 1 leads from there to here
        return [self._heads[edge] for edge in self._edges[head] if self._room[edge ^ 1]]

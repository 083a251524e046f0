"""Pairs of loops of which the second runs backwards over what the first stacks, and what follows.

Such a pair can run in segments (``passes/segments.py``). What stands behind it and adds up products
of both loops' values, block of trips by block, is a loop over blocks of their stacks: it follows
the pair, and segments of whole blocks go through it one after the other, in its order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import lcm
from typing import NamedTuple

from staticgrad.analysis.users import ValueKey, users_of
from staticgrad.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.ops.loops import Loop
from staticgrad.ops.movement import Reshape


class Follower(NamedTuple):
    """A loop over blocks of ``length`` trips that only carries; its slices are those of arrays.

    ``sources``: of each slice the array of a row per trip, of which the operand is a reshape.
    """

    node: Node
    length: int
    sources: tuple[Symbolic, ...]

    @property
    def first(self) -> tuple[Symbolic, ...]:
        """The first carries."""
        return self.node.args[: loop_of(self.node).carries]

    @property
    def fixed(self) -> tuple[Symbolic, ...]:
        """The invariants."""
        op = loop_of(self.node)
        return self.node.args[op.carries + op.slices :]

    @property
    def others(self) -> tuple[Symbolic, ...]:
        """All that it reads, arrays of a row per trip for its slices."""
        return (*self.first, *self.sources, *self.fixed)


class LoopPair(NamedTuple):
    """A loop, the loop that runs the other way, and the stacks that nobody else reads.

    ``stacks``: of each result of the first, by its place behind the carries, the places among the
    operands of the second at which that is read (none: followers alone read it). ``followers`` run
    the way of the second; they alone read what that stacks at the places ``passed``.
    """

    first: Node
    second: Node
    stacks: Mapping[int, tuple[int, ...]]
    followers: tuple[Follower, ...] = ()
    passed: frozenset[int] = frozenset()

    @property
    def trips(self) -> int:
        """How many trips each makes."""
        return int(loop_of(self.first).trips)  # a pair has so many whatever sizes are

    @property
    def unit(self) -> int:
        """What lengths of segments are multiples of: the blocks of the followers."""
        return lcm(*(each.length for each in self.followers))


def loop_of(node: Node) -> Loop:
    """The loop of a node that has one."""
    assert isinstance(node.op, Loop)
    return node.op


def pairs_of(graph: Graph, followed: bool = True) -> list[LoopPair]:
    """The pairs of a graph whose trips are a literal number, as they stand in it.

    Args:
        graph: where they stand.
        followed: with the loops that follow them; else their stacks count as read elsewhere.
    """
    found = []
    readers = _Readers(graph, followed)
    for node in graph.nodes:
        if isinstance(node.op, Loop) and isinstance(node.op.trips, int):
            pair = readers.pair(node)
            if pair is not None:
                found.append(pair)
    return found


class _Readers:
    """Who reads what in a graph, and which loops may follow a pair."""

    def __init__(self, graph: Graph, followed: bool) -> None:
        self.users: Mapping[ValueKey, Sequence[Node]] = users_of(graph)
        self.roots = {value.key for value in graph.roots}
        self.place = {node: place for place, node in enumerate(graph.nodes)}
        nodes = graph.nodes if followed else ()
        self.behind = [each for node in nodes if (each := _follower(node)) is not None]

    def pair(self, node: Node) -> LoopPair | None:
        """The pair of which the node is the first loop."""
        second = self._second(node)
        if second is None:
            return None
        followers = [each for each in self.behind if self._follows(each, node, second)]
        stacks: dict[int, tuple[int, ...]] = {}
        for place in self._own(node, followers, second):
            key = (node, loop_of(node).carries + place)
            stacks[place] = tuple(n for n, arg in enumerate(second.args) if arg.key == key)
        if not any(stacks.values()):
            return None
        passed = frozenset(self._own(second, followers, None))
        return LoopPair(node, second, stacks, tuple(followers), passed)

    def _second(self, node: Node) -> Node | None:
        """The loop that runs the other way over something that the node stacks."""
        op = loop_of(node)
        for index in range(op.carries, len(node.types)):
            for reader in self.users[node, index]:
                if _runs_back(op, reader) and self._reads_rows(reader, (node, index)):
                    return reader
        return None

    def _reads_rows(self, reader: Node, key: ValueKey) -> bool:
        """Whether a loop reads a value as slices and not otherwise."""
        op = loop_of(reader)
        read = [n for n, arg in enumerate(reader.args) if arg.key == key]
        return all(op.carries <= n < op.carries + op.slices for n in read)

    def _follows(self, each: Follower, first: Node, second: Node) -> bool:
        """Whether a loop reads what a pair stacks, and nothing that is made later."""
        op, back = loop_of(each.node), loop_of(second)
        if op.reverse != back.reverse or op.trips * each.length != back.trips:
            return False
        pair = (first, second)
        if each.node in pair or not any(source.node in pair for source in each.sources):
            return False
        others = [value for value in each.others if value.node not in pair]
        past = {value: set(ancestors([value])) for value in others}
        return all(
            second not in before and (first not in before or self._is_earlier(value, second))
            for value, before in past.items()
        ) and all(
            source.index >= loop_of(source.node).carries
            for source in each.sources
            if source.node in pair
        )

    def _is_earlier(self, value: Symbolic, node: Node) -> bool:
        return self.place[value.node] < self.place[node]

    def _own(self, node: Node, followers: Iterable[Follower], second: Node | None) -> Iterable[int]:
        """The places of a loop's stacks that followers alone read, and ``second`` as slices."""
        nodes = {each.node for each in followers}
        op = loop_of(node)
        for place in range(len(node.types) - op.carries):
            key = (node, op.carries + place)
            readers = self.users[key]
            if key in self.roots or not readers:
                continue
            if all(
                self._reads_rows(each, key) if each is second else self._feeds(each, nodes)
                for each in readers
            ):
                yield place

    def _feeds(self, node: Node, followers: Collection[Node]) -> bool:
        """Whether a node hands what it reads to followers and to nobody else."""
        value = node.values[0]
        return (
            isinstance(node.op, Reshape)
            and value.key not in self.roots
            and all(reader in followers for reader in self.users[value.key])
        )


def _runs_back(op: Loop, reader: Node) -> bool:
    other = reader.op
    return isinstance(other, Loop) and other.trips == op.trips and other.reverse != op.reverse


def _follower(node: Node) -> Follower | None:
    """The node as one that may follow a pair."""
    op = node.op
    if not isinstance(op, Loop) or not isinstance(op.trips, int):
        return None
    if len(node.types) != op.carries or not op.slices:
        return None
    lengths, sources = set(), []
    for arg in node.args[op.carries : op.carries + op.slices]:
        length = arg.shape[1] if arg.ndim > 1 else 0
        if not isinstance(arg.node.op, Reshape) or not isinstance(length, int) or length < 1:
            return None
        (source,) = arg.node.args
        if not source.shape or source.shape[0] != op.trips * length:
            return None
        lengths.add(length)
        sources.append(source)
    return Follower(node, lengths.pop(), tuple(sources)) if len(lengths) == 1 else None

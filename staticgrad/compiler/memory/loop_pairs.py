"""Pairs of loops, whose second one runs backwards over the first one's stacks, and followers.

Such a pair can run in segments (``segments.py``). A follower is a loop over blocks of their stacks
that adds up products of both loops' values, block of iterations by block. Segments of whole blocks
go through it one after the other, in its order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import lcm

from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic, ancestors
from staticgrad.language.ops.indexing import Slice
from staticgrad.language.ops.loops import Loop
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.dim import Size
from staticgrad.support.records import NamedTuple


class Follower(NamedTuple):
    """A loop over blocks of ``length`` iterations that only carries; its slices are those of
    arrays.

    ``sources``: for each slice the array with a row per iteration; the operand is a reshape of it.
    The operand leaves out the rows that do not fill a block: the last ones that the pair
    makes.
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
        """All that it reads, arrays of a row per iteration for its slices."""
        return (*self.first, *self.sources, *self.fixed)


class LoopPair(NamedTuple):
    """A loop, the loop that runs the other way, and the stacks that only these read.

    ``stacks``: of each result of the first, by its place behind the carries, the places among the
    operands of the second at which that is read (none: followers alone read it). ``followers`` run
    the way of the second; they alone read what that stacks at the places ``passed``, but for
    ``ends``: nodes behind the pair that cut rows out of stacks which fill no block of a follower.
    """

    first: Node
    second: Node
    stacks: Mapping[int, tuple[int, ...]]
    followers: tuple[Follower, ...] = ()
    passed: frozenset[int] = frozenset()
    ends: frozenset[Node] = frozenset()

    @property
    def iterations(self) -> Size:
        """The number of iterations of each loop."""
        return loop_of(self.first).iterations

    @property
    def unit(self) -> int:
        """The unit of segment lengths: a common multiple of the followers' blocks."""
        return lcm(*(each.length for each in self.followers))


def loop_of(node: Node) -> Loop:
    """The loop of a node that has one."""
    assert isinstance(node.op, Loop)
    return node.op


def pairs_of(graph: Graph, followed: bool = True, again: bool = True) -> list[LoopPair]:
    """Return the pairs of a graph."""
    found = []
    readers = _Readers(graph, followed)
    for node in graph.nodes:
        if isinstance(node.op, Loop):
            pair = readers.pair(node, again)
            if pair is not None:
                found.append(pair)
    return found


class _Readers:
    """The readers of values in a graph, and the loops that may follow a pair."""

    def __init__(self, graph: Graph, followed: bool) -> None:
        self.users: Mapping[ValueKey, Sequence[Node]] = users_of(graph)
        self.roots = {value.key for value in graph.roots}
        self.place = {node: place for place, node in enumerate(graph.nodes)}
        nodes = graph.nodes if followed else ()
        self.behind = [node for node in nodes if _only_carries(node)]

    def pair(self, node: Node, again: bool) -> LoopPair | None:
        """Return the pair whose first loop is the node, or None."""
        second = self._second(node)
        if second is None:
            return None
        found = (_follower(each, loop_of(second)) for each in self.behind)
        followers = [each for each in found if each and self._follows(each, node, second)]
        stacks: dict[int, tuple[int, ...]] = {}
        for place in self._own(node, followers, second, (second,)) if again else ():
            key = (node, loop_of(node).carries + place)
            stacks[place] = tuple(n for n, arg in enumerate(second.args) if arg.key == key)
        passed = frozenset(self._own(second, followers, second, ()))
        if not stacks and not passed:
            return None
        ends = self._ends(node, stacks, followers, second)
        ends |= self._ends(second, passed, followers, second)
        return LoopPair(node, second, stacks, tuple(followers), passed, ends)

    def _second(self, node: Node) -> Node | None:
        """The loop that runs the other way over something that the node stacks."""
        op = loop_of(node)
        for index in range(op.carries, len(node.types)):
            for reader in self.users[node, index]:
                if _runs_back(op, reader) and self._reads_rows(reader, (node, index)):
                    return reader
        return None

    def _reads_rows(self, reader: Node, key: ValueKey) -> bool:
        """Return whether a loop reads a value only as slices."""
        op = loop_of(reader)
        read = [n for n, arg in enumerate(reader.args) if arg.key == key]
        return all(op.carries <= n < op.carries + op.slices for n in read)

    def _follows(self, each: Follower, first: Node, second: Node) -> bool:
        """Return whether a loop reads stacks of a pair, and nothing that is computed later."""
        pair = (first, second)
        if each.node in pair or not any(source.node in pair for source in each.sources):
            return False
        if self.place[each.node] < self.place[second]:
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

    def _own(
        self, node: Node, followers: Collection[Follower], second: Node, direct: Collection[Node]
    ) -> Iterable[int]:
        """The places of a loop's stacks that followers alone read, and ``direct`` as slices."""
        op = loop_of(node)
        for place in range(len(node.types) - op.carries):
            key = (node, op.carries + place)
            readers = self.users[key]
            if key in self.roots or not readers:
                continue
            if all(
                self._reads_rows(each, key)
                if each in direct
                else self._feeds(each, followers) or self._is_end(each, followers, second)
                for each in readers
            ):
                yield place

    def _feeds(self, node: Node, followers: Collection[Follower]) -> bool:
        """Return whether only followers read the results of a node."""
        nodes = {each.node for each in followers}
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if node in nodes:
                continue
            if not isinstance(node.op, Reshape | Slice) or node.values[0].key in self.roots:
                return False
            if not self.users[node, 0]:
                return False
            waiting += self.users[node, 0]
        return True

    def _is_end(self, node: Node, followers: Iterable[Follower], second: Node) -> bool:
        """Return whether a node behind the pair slices rows that fill no block of a follower."""
        op = node.op
        if not isinstance(op, Slice) or op.lengths[1:] != node.args[0].shape[1:]:
            return False
        if self.place[node] < self.place[second]:
            return False
        begin, count, iterations = op.starts[0], op.lengths[0], node.args[0].shape[0]
        for each in followers:
            rest = iterations - loop_of(each.node).iterations * each.length
            first = 0 if loop_of(each.node).reverse else iterations - rest
            if op.steps[0] == 1 and count != 0 and (begin, count) == (first, rest):
                return True
        return False

    def _ends(
        self, node: Node, places: Iterable[int], followers: Collection[Follower], second: Node
    ) -> frozenset[Node]:
        keys = [(node, loop_of(node).carries + place) for place in places]
        readers = [reader for key in keys for reader in self.users[key]]
        ends = (reader for reader in readers if self._is_end(reader, followers, second))
        return frozenset(each for each in ends if not self._feeds(each, followers))


def _runs_back(op: Loop, reader: Node) -> bool:
    other = reader.op
    return (
        isinstance(other, Loop)
        and other.iterations == op.iterations
        and other.reverse != op.reverse
    )


def _only_carries(node: Node) -> bool:
    """Return whether a node is a loop over slices whose only results are its last carries."""
    op = node.op
    if not isinstance(op, Loop):
        return False
    return op.slices > 0 and len(node.types) == op.carries


def _follower(node: Node, second: Loop) -> Follower | None:
    """A loop as one that runs the way of another over blocks of its iterations."""
    op, iterations = loop_of(node), second.iterations
    slices = node.args[op.carries : op.carries + op.slices]
    lengths = {arg.shape[1] if arg.ndim > 1 else 0 for arg in slices}
    length = lengths.pop()
    if lengths or op.reverse != second.reverse or not isinstance(length, int) or length < 1:
        return None
    rest = iterations - op.iterations * length
    if rest != iterations % length:
        return None
    begin = rest if op.reverse else 0
    sources = [_source(arg, iterations, begin, iterations - rest) for arg in slices]
    found = tuple(source for source in sources if source is not None)
    return Follower(node, length, found) if len(found) == len(sources) else None


def _source(blocks: Symbolic, iterations: Size, begin: Size, count: Size) -> Symbolic | None:
    """Return the array whose ``count`` rows from ``begin`` on are the blocks, or None."""
    if not isinstance(blocks.node.op, Reshape):
        return None
    (array,) = blocks.node.args
    op = array.node.op
    if count != iterations:
        whole = (begin, *(0 for _ in array.shape[1:]))
        if not isinstance(op, Slice) or op.starts != whole or {*op.steps} != {1}:
            return None
        cut, (array,) = array, array.node.args
        if cut.shape[0] != count or cut.shape[1:] != array.shape[1:]:
            return None
    return array if array.shape and array.shape[0] == iterations else None

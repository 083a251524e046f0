"""Find pairs of loops, of which the second runs backwards over stacks of the first; and followers.

Such a pair can run in segments (``segments.py``). A follower is a loop over blocks of their stacks
that adds up products of both loops' values, one block of iterations after the other. Segments of
full blocks run through it one after the other, in its order.
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
from staticgrad.support.traversal import reach


class Follower(NamedTuple):
    """A loop over blocks of ``length`` iterations of a pair, whose results are carries only.

    ``sources``: for each slice operand the array with a row per iteration, of which the operand is
    a reshape. It does not contain the rows that do not fill a block: the last ones that the pair
    computes.
    """

    node: Node
    length: int
    sources: tuple[Symbolic, ...]

    @property
    def first_carries(self) -> tuple[Symbolic, ...]:
        """The first carries."""
        return self.node.args[: loop_of(self.node).carries]

    @property
    def invariants(self) -> tuple[Symbolic, ...]:
        """The invariants."""
        op = loop_of(self.node)
        return self.node.args[op.carries + op.slices :]

    @property
    def operands(self) -> tuple[Symbolic, ...]:
        """All operands; for slices the arrays with a row per iteration."""
        return (*self.first_carries, *self.sources, *self.invariants)


class LoopPair(NamedTuple):
    """A loop node, the loop that runs in the other direction, and the stacks that only these read.

    ``stacks``: for each stack of the first loop, by its index behind the carries, the indices of
    the operands of the second that are this stack (empty: only followers read it). ``followers``
    run in the direction of the second loop. ``followed``: the indices of stacks of the second that
    only followers read, except ``ends``: nodes behind the pair that slice the rows of stacks which
    do not fill a block of a follower.
    """

    first: Node
    second: Node
    stacks: Mapping[int, tuple[int, ...]]
    followers: tuple[Follower, ...] = ()
    followed: frozenset[int] = frozenset()
    ends: frozenset[Node] = frozenset()

    @property
    def iterations(self) -> Size:
        """The number of iterations of each loop."""
        return loop_of(self.first).iterations

    @property
    def unit(self) -> int:
        """The unit of segment lengths: a common multiple of the followers' blocks."""
        return lcm(*(follower.length for follower in self.followers))


def loop_of(node: Node) -> Loop:
    """Return the loop op of a node, which must be one."""
    assert isinstance(node.op, Loop)
    return node.op


def pairs_of(graph: Graph, followed: bool = True, recomputes: bool = True) -> list[LoopPair]:
    """Find a graph's pairs of a forward loop and the backward loop over its stacks."""
    pairs = []
    readers = _Readers(graph, followed)
    for node in graph.nodes:
        if isinstance(node.op, Loop):
            pair = readers.pair(node, recomputes)
            if pair is not None:
                pairs.append(pair)
    return pairs


class _Readers:
    """The readers of values in a graph, and the loops that may follow a pair."""

    def __init__(self, graph: Graph, followed: bool) -> None:
        self.users: Mapping[ValueKey, Sequence[Node]] = users_of(graph)
        self.roots = {value.key for value in graph.roots}
        self.position = {node: index for index, node in enumerate(graph.nodes)}
        nodes = graph.nodes if followed else ()
        self.candidates = [node for node in nodes if _only_carries(node)]

    def pair(self, node: Node, recomputes: bool) -> LoopPair | None:
        """Return the pair of a forward and a backward loop that begins with the node, or None."""
        second = self._find_second(node)
        if second is None:
            return None
        candidates = (_as_follower(loop, loop_of(second)) for loop in self.candidates)
        followers = [
            candidate
            for candidate in candidates
            if candidate and self._follows(candidate, node, second)
        ]
        stacks: dict[int, tuple[int, ...]] = {}
        for index in self._private_stacks(node, followers, second, (second,)) if recomputes else ():
            key = (node, loop_of(node).carries + index)
            stacks[index] = tuple(n for n, arg in enumerate(second.args) if arg.key == key)
        passed = frozenset(self._private_stacks(second, followers, second, ()))
        if not stacks and not passed:
            return None
        ends = self._find_ends(node, stacks, followers, second)
        ends |= self._find_ends(second, passed, followers, second)
        return LoopPair(node, second, stacks, tuple(followers), passed, ends)

    def _find_second(self, node: Node) -> Node | None:
        """Find the loop that runs backwards over a stack of a loop, or return None."""
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

    def _follows(self, follower: Follower, first: Node, second: Node) -> bool:
        """Return True if a loop reads stacks of a loop pair, and nothing computed after it."""
        pair = (first, second)
        if follower.node in pair or not any(source.node in pair for source in follower.sources):
            return False
        if self.position[follower.node] < self.position[second]:
            return False
        others = [value for value in follower.operands if value.node not in pair]
        past = {value: set(ancestors([value])) for value in others}
        return all(
            second not in past_nodes
            and (first not in past_nodes or (self.position[value.node] < self.position[second]))
            for value, past_nodes in past.items()
        ) and all(
            source.index >= loop_of(source.node).carries
            for source in follower.sources
            if source.node in pair
        )

    def _private_stacks(
        self, node: Node, followers: Collection[Follower], second: Node, direct: Collection[Node]
    ) -> Iterable[int]:
        """Yield the stacks of a loop that only its followers read.

        Nodes ``direct`` read them as slices.
        """
        op = loop_of(node)
        for index in range(len(node.types) - op.carries):
            key = (node, op.carries + index)
            readers = self.users[key]
            if key in self.roots or not readers:
                continue
            if all(
                self._reads_rows(reader, key)
                if reader in direct
                else self._feeds(reader, followers) or self._is_end(reader, followers, second)
                for reader in readers
            ):
                yield index

    def _feeds(self, node: Node, followers: Collection[Follower]) -> bool:
        """Return True if only followers of a loop pair read the results of a node."""
        nodes = {follower.node for follower in followers}
        return all(
            isinstance(view.op, Reshape | Slice)
            and view.values[0].key not in self.roots
            and self.users[view, 0]
            for view in reach([node], lambda view: self.users[view, 0] if view not in nodes else ())
            if view not in nodes
        )

    def _is_end(self, node: Node, followers: Iterable[Follower], second: Node) -> bool:
        """Return True if a node slices a stack's rows that fill no block of the followers."""
        op = node.op
        if not isinstance(op, Slice) or op.lengths[1:] != node.args[0].shape[1:]:
            return False
        if self.position[node] < self.position[second]:
            return False
        begin, count, iterations = op.starts[0], op.lengths[0], node.args[0].shape[0]
        for follower in followers:
            unfilled = iterations - loop_of(follower.node).iterations * follower.length
            first = 0 if loop_of(follower.node).reverse else iterations - unfilled
            if op.steps[0] == 1 and count != 0 and (begin, count) == (first, unfilled):
                return True
        return False

    def _find_ends(
        self, node: Node, indices: Iterable[int], followers: Collection[Follower], second: Node
    ) -> frozenset[Node]:
        keys = [(node, loop_of(node).carries + index) for index in indices]
        readers = [reader for key in keys for reader in self.users[key]]
        ends = (reader for reader in readers if self._is_end(reader, followers, second))
        return frozenset(end for end in ends if not self._feeds(end, followers))


def _runs_back(op: Loop, reader: Node) -> bool:
    reader_op = reader.op
    return (
        isinstance(reader_op, Loop)
        and reader_op.iterations == op.iterations
        and reader_op.reverse != op.reverse
    )


def _only_carries(node: Node) -> bool:
    """Return whether a node is a loop over slices whose only results are its last carries."""
    op = node.op
    if not isinstance(op, Loop):
        return False
    return op.slices > 0 and len(node.types) == op.carries


def _as_follower(node: Node, second: Loop) -> Follower | None:
    """Return a loop as the follower of another, over blocks of its iterations, or None."""
    op, iterations = loop_of(node), second.iterations
    slices = node.args[op.carries : op.carries + op.slices]
    lengths = {arg.shape[1] if arg.ndim > 1 else 0 for arg in slices}
    length = lengths.pop()
    if lengths or op.reverse != second.reverse or not isinstance(length, int) or length < 1:
        return None
    unfilled = iterations - op.iterations * length
    if unfilled != iterations % length:
        return None
    begin = unfilled if op.reverse else 0
    sources = [_source_of_blocks(arg, iterations, begin, iterations - unfilled) for arg in slices]
    arrays = tuple(source for source in sources if source is not None)
    return Follower(node, length, arrays) if len(arrays) == len(sources) else None


def _source_of_blocks(
    blocks: Symbolic, iterations: Size, begin: Size, count: Size
) -> Symbolic | None:
    """Return the stack whose ``count`` rows from ``begin`` on a loop reads in blocks, or None."""
    if not isinstance(blocks.node.op, Reshape):
        return None
    (array,) = blocks.node.args
    op = array.node.op
    if count != iterations:
        starts = (begin, *(0 for _ in array.shape[1:]))
        if not isinstance(op, Slice) or op.starts != starts or {*op.steps} != {1}:
            return None
        cut, (array,) = array, array.node.args
        if cut.shape[0] != count or cut.shape[1:] != array.shape[1:]:
            return None
    return array if array.shape and array.shape[0] == iterations else None

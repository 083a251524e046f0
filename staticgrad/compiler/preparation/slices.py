"""Slices of padded arrays, as pads of slices: a kernel reads what was padded, and stores no pad.

A stencil is often written as a sum of slices of a padded array, and its gradient is a slice of a
sum of pads. Each slice of a pad is a pad itself: the zeros that it contains, around the part of
the array that it reads. It is computed where it is read, and what lies beyond the slices is not
computed at all. Elements are moved alone, so that bits stay.

What a stencil reads shifted is often an array times a number, as in gradients: products and sums by
numbers are computed where slices are read, so that nothing is stored for them.

Slices move below elementwise nodes that nobody else reads. A pad that several slices read stays an
array unless each of them is read elementwise: a product reads the slices of an array in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.arithmetic import Add, Mul, Neg, Sub
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Broadcast
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within

#: Slices of a pad, at most: of more, reading one array takes less than finding all ends.
_MOST_SLICES: Final = 32
#: Elementwise nodes between a slice and a pad, at most.
_MOST_BETWEEN: Final = 64
#: What is computed again for each slice that reads it, and how many of these after each other.
_CHEAP: Final = (Add, Sub, Mul, Neg)
_MOST_CHEAP: Final = 2


def with_sliced_pads(graph: Graph) -> Graph:
    """Return the graph with slices of pads as pads of slices."""
    if not graph.has((Pad, Concat)):
        return graph
    moving = _Moving(graph)
    if not moving.slices and not moving.joins:
        return graph
    return graph.replace_nodes(moving.rewritten).without_dead_nodes()


class _Moving:
    """The slices of a graph that move, and the operands of the nodes that are rebuilt."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._args: dict[Node, tuple[Symbolic, ...]] = {}
        #: The nodes through which a slice moves, by how many are between it and a pad.
        self._between: dict[Node, int] = {}
        self.slices: set[Node] = set()
        self.joins: set[Node] = set()
        for node in graph.nodes:
            if isinstance(node.op, Pad):
                if _is_plain(node.op, node.op.shape, node.args[0].shape) and self._is_sliced(node):
                    self._between[node] = 0
            elif isinstance(node.op, Elementwise):
                self._reach(node)
            elif isinstance(node.op, Slice) and node.args[0].node in self._between:
                plain = _is_plain(node.op, node.args[0].shape, node.op.lengths)
                self.slices |= {node} if plain else set()
            elif isinstance(node.op, Slice) and self._is_cheap_part(node):
                self.slices.add(node)
            elif isinstance(node.op, Concat) and self._is_cheap_join(node):
                self.joins.add(node)

    def _alone(self, node: Node) -> bool:
        """Return whether one node reads the only result of a node, which is no root."""
        (value,) = node.values
        return value.key not in self._roots and len(self._users[value.key]) == 1

    def _is_sliced(self, pad: Node) -> bool:
        """Return whether what reads a pad is one node, or slices that are read elementwise."""
        (value,) = pad.values
        users = self._users[value.key]
        if value.key in self._roots or len(users) > _MOST_SLICES:
            return False
        return len(users) == 1 or all(self._is_read_elementwise(user) for user in users)

    def _is_read_elementwise(self, node: Node) -> bool:
        return isinstance(node.op, Slice) and self._has_elementwise(node)

    def _is_cheap_part(self, node: Node) -> bool:
        """Return whether only pads that are read elementwise read a slice of what is cheap."""
        (value,) = node.values
        users = self._users[value.key]
        return (
            _is_cheap(node.args[0].node)
            and value.key not in self._roots
            and all(isinstance(u.op, Pad) and self._has_elementwise(u) for u in users)
        )

    def _is_cheap_join(self, node: Node) -> bool:
        """Return whether a join that is read elementwise has slices of one array that is cheap."""
        sliced = [arg.node.args[0].key for arg in node.args if isinstance(arg.node.op, Slice)]
        same = len(sliced) == len(node.args) and len({*sliced}) == 1
        return same and _is_cheap(node.args[0].node.args[0].node) and self._has_elementwise(node)

    def _has_elementwise(self, node: Node) -> bool:
        (value,) = node.values
        users = self._users[value.key]
        return value.key not in self._roots and all(isinstance(u.op, Elementwise) for u in users)

    def _reach(self, node: Node) -> None:
        far = [self._between[a.node] for a in node.args if a.node in self._between]
        shape = node.types[0].shape
        same = all(arg.ndim == 0 or arg.shape == shape for arg in node.args)
        if far and same and max(far) < _MOST_BETWEEN and len(node.types) == 1 and self._alone(node):
            self._between[node] = max(far) + 1

    def rewritten(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Return the result of a slice that moves; None for other nodes."""
        if node in self._between:
            self._args[node] = args
        if node in self.joins:
            with within(node.origin, node.order):
                return (_behind(cast(Concat, node.op), args),)
        if node not in self.slices:
            return None
        with within(node.origin, node.order):
            return (self._part(node.args[0], args[0], cast(Slice, node.op)),)

    def _part(self, value: Symbolic, new: Symbolic, cut: Slice) -> Symbolic:
        """Return a slice of a value that is rebuilt as ``new``."""
        node = value.node
        if node in self._between and isinstance(node.op, Pad):
            return self._part_of_pad(node, self._args[node][0], cut)
        if node in self._between:
            args = zip(node.args, self._args[node], strict=True)
            return cast(Symbolic, node.op(*[self._part(old, arg, cut) for old, arg in args]))
        return self._slice(value, new, cut)

    def _slice(self, value: Symbolic, new: Symbolic, cut: Slice, below: int = 0) -> Symbolic:
        """Return a slice of a value without pads, computed where it is read if that is cheap."""
        node = value.node
        if cut.lengths == new.shape:
            return new
        if _is_number(new):
            return _number(new, cut.lengths)
        if below < _MOST_CHEAP and _is_cheap(node):
            args = zip(node.args, new.node.args, strict=True)
            parts = [self._slice(old, arg, cut, below + 1) for old, arg in args]
            return cast(Symbolic, node.op(*parts))
        return cast(Symbolic, cut(new))

    def _part_of_pad(self, node: Node, x: Symbolic, cut: Slice) -> Symbolic:
        """Return a slice of a pad of what is now ``x``: the part of ``x`` in it, padded."""
        pad = cast(Pad, node.op)
        firsts: list[Size] = []
        lengths: list[Size] = []
        starts: list[Size] = []
        for axis, (begin, length) in enumerate(zip(cut.starts, cut.lengths, strict=True)):
            start, size = pad.starts[axis], x.shape[axis]
            low, high = begin, begin + length
            if length == pad.shape[axis]:
                low, high = start, start + size
            elif size != pad.shape[axis]:
                low, high = max(begin, start), min(begin + length, start + size)
                if high <= low:
                    return cast(Symbolic, zeros_like_type(x.type.with_shape(cut.lengths), x))
            firsts.append(low - start)
            lengths.append(high - low)
            starts.append(low - begin)
        own = Slice(tuple(firsts), tuple(lengths), cut.steps)
        part = self._slice(node.args[0], x, own)
        if own.lengths == cut.lengths:
            return part
        return cast(Symbolic, Pad(cut.lengths, tuple(starts), cut.steps)(part))


def _is_plain(op: Pad | Slice, whole: Shape, part: Shape) -> bool:
    """Return whether elements stay neighbours, at places that are known on all axes that it cuts
    or pads."""
    return all(
        step == 1 and ((start == 0 and small == size) or _are_known(start, small))
        for step, start, size, small in zip(op.steps, op.starts, whole, part, strict=True)
    )


def _are_known(*sizes: Size) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _behind(join: Concat, parts: Sequence[Symbolic], below: int = 0) -> Symbolic:
    """Return a join of slices of what is cheap, computed behind the join of its array's slices."""
    whole = parts[0].node.args[0].node
    if below == _MOST_CHEAP or not _is_cheap(whole):
        return cast(Symbolic, join(*parts))
    (x,) = [arg for arg in whole.args if not _is_number(arg)]
    joined = _behind(join, [cast(Symbolic, part.node.op(x)) for part in parts], below + 1)
    args = [_number(arg, joined.shape) if _is_number(arg) else joined for arg in whole.args]
    return cast(Symbolic, whole.op(*args))


def _is_cheap(node: Node) -> bool:
    """Return whether a node computes of one array and numbers what may be computed again."""
    if node.is_leaf or not isinstance(node.op, _CHEAP):
        return False
    return sum(not _is_number(arg) for arg in node.args) == 1


def _is_number(value: Symbolic) -> bool:
    """Return whether a value is one number throughout."""
    node = value.node
    return value.ndim == 0 or (
        not node.is_leaf and isinstance(node.op, Broadcast) and not node.op.axes
    )


def _number(value: Symbolic, shape: Shape) -> Symbolic:
    """Return what is one number throughout, for elements of a shape."""
    if value.ndim == 0:
        return value
    return cast(Symbolic, Broadcast(shape, ())(value.node.args[0]))

"""Rewrite slices of padded arrays as pads of slices: kernels read the array, and no pad is stored.

A stencil is often written as a sum of slices of a padded array, and its gradient is a slice of a
sum of pads. Each slice of a pad is a pad itself: a part of the array, with the zeros that the slice
contains around it. It is recomputed in its readers, and elements outside the slices are not
computed at all. Elements are only moved, so results stay bitwise identical.

For ``x`` of n elements, with one zero in front and one behind::

    pad(x, (1, 1))[0:n]     ->     pad(x[0:n - 1], (1, 0))

A stencil often reads an array times a number, as in gradients: sums and products with numbers are
recomputed in the readers of slices, too, and not stored.

Slices move to the operands of elementwise nodes that have no other reader. A pad that several
slices read stays an array unless each of them is read elementwise: a product reads the slices of an
array in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic, replace_traced
from staticgrad.language.ops.arithmetic import Add, Mul, Neg, Sub
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Broadcast
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size
from staticgrad.support import fuses
from staticgrad.support.building import within

#: Slices of a pad, at most. Each tests whether it is in the border, which predictions do not price.
#: In float64 a sum of 5 slices of 512 x 512 takes 1.03 times as long if the pad is stored, of 9
#: and 13 0.7, of 16 0.3; of a vector 1.4 of 7, 1.2 of 12 and 0.3 of 16 (Zen 4, 2026-12).
_MOST_SLICES: Final = 8
#: Ops that are recomputed for each slice that reads them.
_CHEAP: Final = (Add, Sub, Mul, Neg)


@late_pass("slices-of-pads", priced=True)
def slice_pads(graph: Graph) -> Graph:
    """Rewrite slices of padded arrays as pads of slices, which no kernel stores."""
    if not graph.has((Pad, Concat)):
        return graph
    moving = _SliceMover(graph)
    if not moving.slices and not moving.concatenations:
        return graph
    return replace_traced(graph, moving.rewrite).without_dead_nodes()


class _SliceMover:
    """A rewrite of slices in a graph: those that move, and the operands of rebuilt nodes."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._args: dict[Node, tuple[Symbolic, ...]] = {}
        #: The nodes through which a slice moves to a pad.
        self._padded: set[Node] = set()
        self.slices: set[Node] = set()
        self.concatenations: set[Node] = set()
        for node in graph.nodes:
            if isinstance(node.op, Pad):
                if _is_plain(node.op, node.op.shape, node.args[0].shape) and self._is_sliced(node):
                    self._padded.add(node)
            elif isinstance(node.op, Elementwise):
                shape = node.types[0].shape
                same = all(arg.ndim == 0 or arg.shape == shape for arg in node.args)
                is_padded = same and any(arg.node in self._padded for arg in node.args)
                if is_padded and len(node.types) == 1 and self._has_one_reader(node):
                    self._padded.add(node)
            elif isinstance(node.op, Slice) and node.args[0].node in self._padded:
                plain = _is_plain(node.op, node.args[0].shape, node.op.lengths)
                self.slices |= {node} if plain else set()
            elif isinstance(node.op, Slice) and self._is_cheap_part(node):
                self.slices.add(node)
            elif isinstance(node.op, Concat) and self._is_cheap_concatenation(node):
                self.concatenations.add(node)

    def _has_one_reader(self, node: Node) -> bool:
        """Return whether the only result of a node has one reader and is not a root."""
        (value,) = node.values
        return value.key not in self._roots and len(self._users[value.key]) == 1

    def _is_sliced(self, pad: Node) -> bool:
        """Return whether a pad is read by one node only, or by slices that are read elementwise."""
        (value,) = pad.values
        users = self._users[value.key]
        if value.key in self._roots or len(users) > _MOST_SLICES:
            return False
        return len(users) == 1 or all(
            isinstance(user.op, Slice) and self._has_elementwise(user) for user in users
        )

    def _is_cheap_part(self, node: Node) -> bool:
        """Return True if a slice of a cheap node is read only by pads in elementwise work."""
        (value,) = node.values
        users = self._users[value.key]
        return (
            _is_cheap(node.args[0].node)
            and value.key not in self._roots
            and all(isinstance(u.op, Pad) and self._has_elementwise(u) for u in users)
        )

    def _is_cheap_concatenation(self, node: Node) -> bool:
        """Return whether a concatenation of slices of one cheap node is read elementwise."""
        sliced = [arg.node.args[0].key for arg in node.args if isinstance(arg.node.op, Slice)]
        same = len(sliced) == len(node.args) and len({*sliced}) == 1
        return same and _is_cheap(node.args[0].node.args[0].node) and self._has_elementwise(node)

    def _has_elementwise(self, node: Node) -> bool:
        (value,) = node.values
        users = self._users[value.key]
        return value.key not in self._roots and all(isinstance(u.op, Elementwise) for u in users)

    def rewrite(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a slice as one below a pad, and return its result; None for other nodes."""
        if node in self._padded:
            self._args[node] = args
        if node in self.concatenations:
            with within(node.origin, node.order):
                return (_concatenate_below(cast(Concat, node.op), args),)
        if node not in self.slices:
            return None
        with within(node.origin, node.order):
            return (self._slice_through(node.args[0], args[0], cast(Slice, node.op)),)

    def _slice_through(self, value: Symbolic, new: Symbolic, cut: Slice) -> Symbolic:
        """Rewrite a slice of elementwise nodes and pads as slices of their operands."""
        node = value.node
        if node in self._padded and isinstance(node.op, Pad):
            return self._part_of_pad(node, self._args[node][0], cut)
        if node in self._padded:
            args = zip(node.args, self._args[node], strict=True)
            return cast(
                Symbolic, node.op(*[self._slice_through(old, arg, cut) for old, arg in args])
            )
        return self._slice_value(value, new, cut)

    def _slice_value(self, value: Symbolic, new: Symbolic, cut: Slice, below: int = 0) -> Symbolic:
        """Build a slice of a value; if its node is cheap, rewrite it as slices of the operands."""
        node = value.node
        if cut.lengths == new.shape:
            return new
        if _is_number(new):
            return _number(new, cut.lengths)
        if below < fuses.SLICED_NODES and _is_cheap(node):
            args = zip(node.args, new.node.args, strict=True)
            parts = [self._slice_value(old, arg, cut, below + 1) for old, arg in args]
            return cast(Symbolic, node.op(*parts))
        return cast(Symbolic, cut(new))

    def _part_of_pad(self, node: Node, x: Symbolic, cut: Slice) -> Symbolic:
        """Rewrite a slice of a pad as a pad of a slice of ``x``, the pad's new operand."""
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
        part_slice = Slice(tuple(firsts), tuple(lengths), cut.steps)
        part = self._slice_value(node.args[0], x, part_slice)
        if part_slice.lengths == cut.lengths:
            return part
        return cast(Symbolic, Pad(cut.lengths, tuple(starts), cut.steps)(part))


def _is_plain(op: Pad | Slice, shape: Shape, part: Shape) -> bool:
    """Return whether a pad or slice has no steps, and constant offsets where it changes an axis."""
    return all(
        step == 1 and ((start == 0 and small == size) or _are_constant(start, small))
        for step, start, size, small in zip(op.steps, op.starts, shape, part, strict=True)
    )


def _are_constant(*sizes: Size) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _concatenate_below(concat: Concat, parts: Sequence[Symbolic], below: int = 0) -> Symbolic:
    """Rewrite a concatenation of slices of a cheap node as the node of a concatenation."""
    cheap_node = parts[0].node.args[0].node
    if below == fuses.SLICED_NODES or not _is_cheap(cheap_node):
        return cast(Symbolic, concat(*parts))
    (x,) = [arg for arg in cheap_node.args if not _is_number(arg)]
    concatenated = _concatenate_below(
        concat, [cast(Symbolic, part.node.op(x)) for part in parts], below + 1
    )
    args = [
        _number(arg, concatenated.shape) if _is_number(arg) else concatenated
        for arg in cheap_node.args
    ]
    return cast(Symbolic, cheap_node.op(*args))


def _is_cheap(node: Node) -> bool:
    """Return whether a node is cheap to recompute: of one array, of its shape, and numbers."""
    if node.is_leaf or not isinstance(node.op, _CHEAP):
        return False
    shapes = [arg.shape for arg in node.args if not _is_number(arg)]
    return shapes == [node.types[0].shape]


def _is_number(value: Symbolic) -> bool:
    """Return whether a value has one number for all elements."""
    node = value.node
    return value.ndim == 0 or (
        not node.is_leaf and isinstance(node.op, Broadcast) and not node.op.axes
    )


def _number(value: Symbolic, shape: Shape) -> Symbolic:
    """Build a value with one number for all elements, in another shape."""
    if value.ndim == 0:
        return value
    return cast(Symbolic, Broadcast(shape, ())(value.node.args[0]))

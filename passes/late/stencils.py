"""Recompute the stages of a stencil at neighbouring indices, so that one kernel computes them all.

A stage of a Runge-Kutta method on a grid reads the stage before at neighbouring indices. Such a
value is a pad or a concatenation of slices, and its kernel needs the stage before in memory. But a
stage is a cheap formula of arrays: the formula of the same arrays at shifted indices takes fewer
cycles than storing each stage and reading it again::

    a = f(x, concat(1, y[:-1]))              a  = f(x, where(i < 1, 1, y[i - 1]))
    b = f(x, concat(1, (y + a)[:-1]))   ->   a' = f(x[i - 1], where(i < 2, 1, y[i - 2]))
                                             b  = f(x, where(i < 1, 1, y[i - 1] + a'))

Each element is computed by the same operations of the same operands, so results stay bitwise
identical. Arrays are read with zeros beyond their ends, and no element that is selected depends on
these zeros. Compare overlapped tiling (Krishnamoorthy et al., 2007), here with tiles of one vector.

Stages that are shifted along several axes, as those of a Laplacian of matrices, are stored: reads
beyond the ends of two axes took 2.2 to 5.3 times as long where both arrays fit in a cache, and no
predicted time says so yet. Along one axis of a matrix the second-order method takes .5 and the
fourth-order one .1 to .3 of the time (Emerald Rapids, 2026-12).

A *frame* is the shape of the pad or concatenation that is rewritten. A value *at a shift* has the
frame's shape; its element i is element i + shift of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, Final, cast

import numpy as np

from passes.late.base import late_pass
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.forms import Pointwise, Reduce
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, replace_traced
from staticgrad.language.ops.convert import SizeValue
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Broadcast
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size, is_never_negative, maximum, minimum
from staticgrad.language.types.dtype import I64
from staticgrad.support.building import within

#: Operations per element that are computed again for each stage, at most: storing and reading a
#: stage takes about as long.
_MOST_FLOPS: Final = 24
#: Operations of a selection between two parts of a value.
_SELECTION: Final = 2

#: The index into a value, less that of the frame, along each axis.
Shift = tuple[Size, ...]


@late_pass("recomputed-stages", priced=True)
def recompute_stages(graph: Graph) -> Graph:
    """Rewrite pads and concatenations of shifted formulas as formulas of shifted arrays."""
    if not graph.has((Pad, Concat)):
        return graph
    stages = _Stages(graph)
    if not stages.chosen:
        return graph
    return replace_traced(graph, stages.rewrite).without_dead_nodes()


class _Stages:
    """The pads and concatenations of a graph that are rewritten, and the nodes that this builds."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._formulas: dict[Node, bool] = {}
        self._numbers: dict[ValueKey, bool] = {}
        self._args: dict[Node, tuple[Symbolic, ...]] = {}
        self._built: dict[tuple[ValueKey, Shift, Shape, int], Symbolic] = {}
        #: The pads and concatenations that formulas may take the place of.
        self._cheap: set[Node] = set()
        self.chosen: set[Node] = set()
        for node in graph.nodes:
            stages = self._find_stages(node) if isinstance(node.op, Pad | Concat) else None
            if stages is not None:
                self._cheap.add(node)
                self.chosen |= stages

    # -- which values are computed again ---------------------------------------------------------

    def _find_stages(self, node: Node) -> set[Node] | None:
        """Find the pads and concatenations that are computed again for one of them, it included.

        None if this takes too many operations; none if it computes no formula again.
        """
        if not _is_plain(node) or not self._is_read_by_elements(node):
            return None
        frame = self._frame_of(node)
        visited: set[tuple[ValueKey, Shift]] = set()
        shifted: set[int] = set()  # axes
        stages, formulas, flops = {node}, 0, 0
        pending = [(arg, arg.shape, at) for arg, at in _parts_at(node, (0,) * len(frame))]
        while pending:
            value, shape, shift = pending.pop()
            if (value.key, shift) in visited or _is_whole(shape, shift, frame):
                continue
            if self._is_number(value):
                continue
            visited.add((value.key, shift))
            shifted.update([axis for axis, at in enumerate(shift) if at != 0])
            member = value.node
            if member in self._cheap:
                stages.add(member)
                flops += _SELECTION
                pending += [(arg, arg.shape, at) for arg, at in _parts_at(member, shift)]
            elif isinstance(member.op, Slice) and _is_plain(member):
                pending += [(arg, arg.shape, at) for arg, at in _parts_at(member, shift)]
            elif self._is_formula(value):
                formulas += 1
                flops += max(cast(Elementwise, member.op).flops, 1)
                pending += [(arg, shape, shift) for arg in member.args]
            if flops > _MOST_FLOPS * len(stages) or len(shifted) > 1:
                return None
        return stages if formulas else set()

    def _is_number(self, value: Symbolic) -> bool:
        if value.key not in self._numbers:
            self._numbers[value.key] = _is_number(value)
        return self._numbers[value.key]

    def _is_formula(self, value: Symbolic) -> bool:
        if value.node not in self._formulas:
            self._formulas[value.node] = _is_formula(value)
        return self._formulas[value.node]

    def _frame_of(self, node: Node) -> Shape:
        """Return the shape of a node's result as its elementwise readers write it."""
        # Of a named size n, a concatenation of 1 and n - 1 elements has max(n - 1, 0) + 1.
        (value,) = node.values
        readers = self._users[value.key]
        shapes = [*{r.types[0].shape for r in readers if isinstance(r.form, Pointwise)}]
        is_read_whole = len(shapes) == 1 and _has_shape(value, shapes[0])
        return shapes[0] if is_read_whole else value.shape

    def _is_read_by_elements(self, node: Node) -> bool:
        (value,) = node.values
        readers = self._users[value.key]
        return value.key not in self._roots and all(
            isinstance(r.form, Pointwise | Reduce) or isinstance(r.op, Slice | Pad | Concat)
            for r in readers
        )

    # -- what is built ---------------------------------------------------------------------------

    def rewrite(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Return a chosen pad or concatenation as a formula of shifted arrays; None for others."""
        self._args[node] = args
        if node not in self.chosen:
            return None
        frame = self._frame_of(node)
        with within(node.origin, node.order):
            return (self._assemble(node, (0,) * len(frame), frame, node.order),)

    def _value_at(
        self,
        value: Symbolic,
        new: Symbolic,
        shape: Shape,
        shift: Shift,
        frame: Shape,
        order: int,
    ) -> Symbolic:
        """Build a value at a shift; ``new`` is the value in the rewritten graph.

        ``shape``: that of the value, or of what is computed of it element by element.
        """
        if _is_number(value):
            return _fill(new, frame)
        if _is_whole(shape, shift, frame):
            return new
        key = value.key, shift, frame, order
        if key not in self._built:
            self._built[key] = self._build(value, new, shape, shift, frame, order)
        return self._built[key]

    def _build(
        self,
        value: Symbolic,
        new: Symbolic,
        shape: Shape,
        shift: Shift,
        frame: Shape,
        order: int,
    ) -> Symbolic:
        node = value.node
        if node in self._cheap:
            return self._assemble(node, shift, frame, order)
        if isinstance(node.op, Slice) and _is_plain(node):
            ((arg, at),) = _parts_at(node, shift)
            return self._value_at(arg, self._args[node][0], arg.shape, at, frame, order)
        if self._is_formula(value):
            pairs = zip(node.args, self._args[node], strict=True)
            operands = [
                self._value_at(arg, arg_new, shape, shift, frame, order) for arg, arg_new in pairs
            ]
            return cast(Symbolic, cast(Any, node.op)(*operands))
        return _window(new, shape, shift, frame)

    def _assemble(self, node: Node, shift: Shift, frame: Shape, order: int) -> Symbolic:
        """Build a pad or concatenation at a shift: a selection of its parts by index."""
        parts = [
            self._value_at(arg, new, arg.shape, at, frame, order)
            for (arg, at), new in zip(_parts_at(node, shift), self._args[node], strict=True)
        ]
        if isinstance(node.op, Pad):
            inside = _inside_test(node.op, node.args[0].shape, shift, frame)
            (part,) = parts
            zero = False if part.dtype.is_bool else 0.0
            return part if inside is None else cast(Symbolic, where(inside, part, zero))
        axis = cast(Concat, node.op).axis
        ends = [*cast(Concat, node.op).starts([arg.type for arg in node.args])[1:]]
        selected = parts[-1]
        for part, end in reversed([*zip(parts[:-1], ends, strict=True)]):
            test = _index_test(frame, axis, end - shift[axis], is_below=True)
            if test is True:
                selected = part
            elif test is not False:
                selected = cast(Symbolic, where(test, part, selected))
        return selected


def _is_plain(node: Node) -> bool:
    """Return True if a slice, pad or concatenation has steps of 1, of floats or bools."""
    kind = node.types[0].dtype
    steps = node.op.steps if isinstance(node.op, Slice | Pad) else ()
    return (kind.is_float or kind.is_bool) and all(step == 1 for step in steps)


def _is_formula(value: Symbolic) -> bool:
    """Return True if a value is elementwise in operands of its shape, or numbers."""
    node, form = value.node, value.node.form
    # Integers are left out: an integer divided by a zero beyond the end of an array has no value.
    return (
        isinstance(node.op, Elementwise)
        and isinstance(form, Pointwise)
        and not form.indexed
        and not form.sizes
        and len(node.types) == 1
        and bool(node.args)
        and (value.dtype.is_float or value.dtype.is_bool)
        and all(_has_shape(arg, value.shape) or _is_number(arg) for arg in node.args)
        and all(arg.dtype.is_float or arg.dtype.is_bool for arg in node.args)
    )


def _is_number(value: Symbolic) -> bool:
    """Return True if a value has one number for all elements."""
    if value.ndim == 0:
        return True
    op = value.node.op
    if isinstance(op, Constant):
        return np.asarray(op.data.array).size == 1
    return isinstance(op, Broadcast) and not op.axes


def _fill(value: Symbolic, frame: Shape) -> Symbolic:
    """Build a value with one number for all elements, in the shape of a frame."""
    if value.ndim == 0:
        return value
    op = value.node.op
    if isinstance(op, Constant):
        number = Symbolic.lift(np.asarray(op.data.array).reshape(-1)[0].item(), value.dtype)
    else:
        (number,) = value.node.args
    return cast(Symbolic, Broadcast(frame, ())(number))


def _has_shape(value: Symbolic, shape: Shape) -> bool:
    """Return True if an operand is not broadcast to the shape of an elementwise result."""
    return value.ndim == len(shape) and all(
        size != 1 or total == 1 for size, total in zip(value.shape, shape, strict=True)
    )


def _is_whole(shape: Shape, shift: Shift, frame: Shape) -> bool:
    """Return True if a value at a shift is the value itself."""
    return shape == frame and all(start == 0 for start in shift)


def _parts_at(node: Node, shift: Shift) -> list[tuple[Symbolic, Shift]]:
    """Return what a slice, pad or concatenation at a shift reads, each operand with its shift."""
    op = node.op
    if isinstance(op, Concat):
        starts = op.starts([arg.type for arg in node.args])
        return [
            (arg, tuple(at - start if k == op.axis else at for k, at in enumerate(shift)))
            for arg, start in zip(node.args, starts, strict=True)
        ]
    assert isinstance(op, Slice | Pad)
    sign = 1 if isinstance(op, Slice) else -1
    (arg,) = node.args
    return [(arg, tuple(at + sign * start for at, start in zip(shift, op.starts, strict=True)))]


def _find_inside(shape: Shape, shift: Shift, frame: Shape) -> list[tuple[Size, Size]]:
    """Find along each axis where a value is inside of a frame: the first index, and how many."""
    inside = []
    for size, start, total in zip(shape, shift, frame, strict=True):
        first = maximum(0, -start)
        inside.append((first, maximum(minimum(total, size - start) - first, 0)))
    return inside


def _window(value: Symbolic, shape: Shape, shift: Shift, frame: Shape) -> Symbolic:
    """Build an array at a shift, with zeros outside: a pad of a slice, which no kernel stores."""
    inside = _find_inside(shape, shift, frame)
    lengths = tuple(length for _, length in inside)
    if any(length == 0 for length in lengths):
        return cast(Symbolic, zeros_like_type(value.type.with_shape(frame), value))
    firsts = tuple(first for first, _ in inside)
    ones = (1,) * len(frame)
    starts = tuple(first + at for first, at in zip(firsts, shift, strict=True))
    part = value if lengths == shape else cast(Symbolic, Slice(starts, lengths, ones)(value))
    return part if lengths == frame else cast(Symbolic, Pad(frame, firsts, ones)(part))


def _index_test(frame: Shape, axis: int, limit: Size, *, is_below: bool) -> Any:
    """Build the test of an index against a limit; True or False where all indices agree."""
    if is_never_negative(-limit):
        return not is_below
    if is_never_negative(limit - frame[axis]):
        return is_below
    index, number = Iota(frame, axis, I64)(), SizeValue(limit, I64)()
    return index < number if is_below else index >= number


def _inside_test(pad: Pad, part: Shape, shift: Shift, frame: Shape) -> Any:
    """Build the test that an index is inside of a pad's operand; None if all are."""
    tests = []
    for axis, (start, size, at) in enumerate(zip(pad.starts, part, shift, strict=True)):
        tests.append(_index_test(frame, axis, start - at, is_below=False))
        tests.append(_index_test(frame, axis, start + size - at, is_below=True))
    symbolic = [test for test in tests if test is not True]
    return reduce(lambda a, b: a & b, symbolic) if symbolic else None

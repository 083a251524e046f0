"""Algebra of movement: chains of reshapes, transposes, broadcasts, slices and joins. All exact.

Chains become one step or none, and elementwise work moves below the broadcast that repeats its
operands, so that it is done once per element instead of once per copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Final, cast

from passes.rewrite import Match, Rule, holes, number_of, rule, some
from staticgrad.analysis.layout import Strided, collapse
from staticgrad.language.ir.forms import View
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ir.summation import decompose
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, Slice
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose, last_exchanged
from staticgrad.language.ops.reduce import Reduction, Sum
from staticgrad.language.types.arrays import TensorType, product as sizes_product
from staticgrad.language.types.dim import Size, is_at_least

x, y = holes("x y")
#: Ops whose result may be the bytes of their operand.
_VIEWS: Final = (Transpose, Broadcast, Slice, Reshape)


def _keeps_type(match: Match) -> bool:
    return match.x.type == match.root.type


# -- reshape, transpose, broadcast ----------------------------------------------------------------


def _moves_nothing(match: Match) -> bool:
    return bool(match.op("outer").perm == tuple(range(match.x.ndim)))


def _transposes(match: Match) -> Any:
    inner, outer = match.op("inner").perm, match.op("outer").perm
    return Transpose(tuple(inner[axis] for axis in outer))(match.x)


def _broadcasts(match: Match) -> Any:
    inner, outer = match.op("inner"), match.op("outer")
    return Broadcast(outer.shape, tuple(outer.axes[axis] for axis in inner.axes))(match.x)


def _transposed_broadcast(match: Match) -> Any:
    """Rewrite a transposed broadcast to a broadcast of the smaller transposed operand."""
    inner, outer = match.op("inner"), match.op("outer")
    place = {axis: k for k, axis in enumerate(outer.perm)}  # axis of the broadcast -> of the result
    places = [place[axis] for axis in inner.axes]
    order = tuple(sorted(range(len(places)), key=places.__getitem__))
    transposed = match.x if order == tuple(range(len(order))) else Transpose(order)(match.x)
    return Broadcast(match.root.shape, tuple(sorted(places)))(transposed)


def _reshaped_number(match: Match) -> Any:
    """A reshape or transpose of a value that is one number throughout: broadcast it anew."""
    inner = match.op("inner")
    return Broadcast(match.root.shape, ())(match.x) if not inner.axes else None


def _below_broadcast(match: Match) -> Any:
    """Rewrite f(broadcast(a), broadcast(b)) to broadcast(f(a, b)); numbers may take part."""
    root = match.root
    spread = [arg.node.op for arg in root.node.args if isinstance(arg.node.op, Broadcast)]
    if not spread or any(op != spread[0] for op in spread) or spread[0].shape != root.shape:
        return None
    below, sources = [], []
    for arg in root.node.args:
        if isinstance(arg.node.op, Broadcast):
            sources.append(arg.node.args[0])
            below.append(sources[-1])
        elif (number := _alone(arg)) is not None:
            below.append(number)
        else:
            return None
    if any(source.shape != sources[0].shape for source in sources):
        return None
    return spread[0](root.node.op(*below))


def _over_numbers(match: Match) -> Any:
    """Rewrite an op over operands of one element to the op over numbers.

    Numbers are operands of other ops without a view, so that all work on them is one kernel.
    """
    root, args = match.root, match.root.node.args
    numbers = [Reshape(())(arg) if _is_of_one_element(arg.type) else arg for arg in args]
    result = root.node.op(*numbers)
    return Reshape(root.shape)(result) if result.ndim != root.ndim else result


def _is_of_one_element(kind: TensorType) -> bool:
    """Return whether arrays of a type have one element, and axes."""
    return bool(kind.shape) and all(extent == 1 for extent in kind.shape)


def _reduced_below(match: Match) -> Any:
    """Rewrite a reduction of a broadcast to a broadcast of the reduction.

    No new or stretched axis is reduced.

    A sum keeps its order of additions only where the same axes of the operand are its last ones.
    """
    spread, root, source = match.op("inner"), match.root, match.x
    op = cast(Reduction, root.node.op)
    axes = op.axes
    below = tuple(k for k, axis in enumerate(spread.axes) if axis in axes)
    if len(below) < len(axes) or any(
        source.shape[k] != spread.shape[spread.axes[k]] for k in below
    ):
        return None  # new axes, or stretched ones
    if isinstance(op, Sum) and root.dtype.is_float:
        parts = decompose(source.ndim, below)
        result_parts = tuple(tuple(spread.axes[k] for k in part) for part in parts)
        if result_parts != decompose(match.inner.ndim, axes):
            return None
    remaining = [axis for axis in range(match.inner.ndim) if axis not in axes]
    places = tuple(remaining.index(axis) for axis in spread.axes if axis not in axes)
    return Broadcast(root.shape, places)(replace(op, axes=below)(source))


def _reduced_once(match: Match) -> Any:
    """Rewrite a reduction of a broadcast to reduce the repeated rows once, and broadcast.

    A named size that must be equal to the size of the result is not repeated.
    """
    spread, root, source = match.op("inner"), match.root, match.x
    op = cast(Reduction, root.node.op)
    source_extents = {axis: source.shape[k] for k, axis in enumerate(spread.axes)}
    once = {
        axis
        for axis, extent in enumerate(spread.shape)
        if axis not in op.axes and extent != 1 and source_extents.get(axis, 1) == 1
    }
    if not once:
        return None
    shape = tuple(1 if axis in once else extent for axis, extent in enumerate(spread.shape))
    reduced = op(Broadcast(shape, spread.axes)(source))
    return Broadcast(root.shape, tuple(range(root.ndim)))(reduced)


def _alone(value: Symbolic) -> Symbolic | None:
    """The 0-d constant that ``value`` repeats, if it is one."""
    while not value.node.is_leaf and isinstance(value.node.op, Broadcast | Reshape | Transpose):
        value = value.node.args[0]
    return value if value.ndim == 0 and number_of(value) is not None else None


# -- slices and joins -----------------------------------------------------------------------------


def _is_whole(match: Match) -> bool:
    cut = match.op("outer")
    plain = all(start == 0 for start in cut.starts) and all(step == 1 for step in cut.steps)
    return plain and bool(cut.lengths == match.x.shape)


def _slices(match: Match) -> Any:
    inner, outer = match.op("inner"), match.op("outer")
    starts = tuple(
        a + s * b for a, s, b in zip(inner.starts, inner.steps, outer.starts, strict=True)
    )
    steps = tuple(a * b for a, b in zip(inner.steps, outer.steps, strict=True))
    return Slice(starts, outer.lengths, steps)(match.x)


def _part_of_join(match: Match) -> Any:
    """Rewrite a slice of a concatenation to a slice of the operand that it is inside of."""
    cut, axis = match.op("outer"), match.op("inner").axis
    start, length, step = cut.starts[axis], cut.lengths[axis], cut.steps[axis]
    parts = match.inner.node.args
    sizes = [part.shape[axis] for part in parts]
    begins = list(accumulate(sizes[:-1], initial=0))
    for part, begin, size in zip(parts, begins, sizes, strict=True):
        if _is_inside_operand(start, length, step, begin, size):
            starts = (*cut.starts[:axis], start - begin, *cut.starts[axis + 1 :])
            return Slice(starts, cut.lengths, cut.steps)(part)
    return None


def _is_inside_operand(start: Size, length: Size, step: int, begin: Size, size: Size) -> bool:
    """Return True if a slice is inside of one operand of a concatenation."""
    first = start - begin
    if step == 1 and first == 0 and length == size:
        return True
    if not (isinstance(first, int) and isinstance(length, int) and isinstance(size, int)):
        return False
    last = first + step * (length - 1)
    return length > 0 and min(first, last) >= 0 and max(first, last) < size


def _join_neighbours(match: Match) -> Any:
    """Rewrite a concatenation of adjacent slices of one value to one slice."""
    axis = match.op("outer").axis
    parts: list[Symbolic] = []
    for part in match.root.node.args:
        joined = _merge_adjacent_slices(parts[-1], part, axis) if parts else None
        if joined is not None:
            parts[-1] = joined
        else:
            parts.append(part)
    if len(parts) == len(match.root.node.args):
        return None
    return parts[0] if len(parts) == 1 else Concat(axis)(*parts)


def _joins_of_parts(match: Match) -> Any:
    """Rewrite a concatenation of concatenations along another axis with exchanged axes.

    Each has a new last axis: so parts that lie between each other, as those of complex numbers,
    are written where they stay.
    """
    axis, args = match.op("outer").axis, match.root.node.args
    parts = [
        arg.node.args[0].node if isinstance(arg.node.op, Reshape) else arg.node for arg in args
    ]
    first = parts[0]
    if not isinstance(first.op, Concat) or axis != match.root.ndim - 1 or first is parts[-1]:
        return None
    sizes = [value.shape for value in first.args]
    for arg, part in zip(args, parts, strict=True):
        is_last = part.op == first.op and arg.shape == (*part.types[0].shape, 1)
        if not is_last or [value.shape for value in part.args] != sizes:
            return None
    columns = [
        Concat(axis)(*[Reshape((*value.shape, 1))(value) for value in values])
        for values in zip(*(part.args for part in parts), strict=True)
    ]
    return first.op(*columns)


def _merge_adjacent_slices(left: Symbolic, right: Symbolic, axis: int) -> Symbolic | None:
    """Return two adjacent slices of one value as one slice, or None."""
    first, second = left.node.op, right.node.op
    if not (isinstance(first, Slice) and isinstance(second, Slice)):
        return None
    (source,), (second_source,) = left.node.args, right.node.args
    follows = second.starts[axis] == first.starts[axis] + first.steps[axis] * first.lengths[axis]
    others = _drop_axis(first.starts, axis) == _drop_axis(second.starts, axis)
    if source.key != second_source.key or first.steps != second.steps or not (follows and others):
        return None
    lengths = list(first.lengths)
    lengths[axis] = first.lengths[axis] + second.lengths[axis]
    return cast(Symbolic, Slice(first.starts, tuple(lengths), first.steps)(source))


def _drop_axis(sizes: Sequence[Size], axis: int) -> list[Size]:
    return [size for k, size in enumerate(sizes) if k != axis]


def _adds_nothing(match: Match) -> bool:
    return _keeps_type(match) and all(step == 1 for step in match.op("outer").steps)


# -- matrix products ------------------------------------------------------------------------------


def _transposed_operand(match: Match) -> Any:
    """Fold a transpose of the last two axes into a matrix product's flags."""
    product = match.op("outer")
    flags = [product.transpose_a, product.transpose_b]
    args = list(match.root.node.args)
    for k, arg in enumerate(args):
        op = arg.node.op
        if isinstance(op, Transpose) and op.perm == last_exchanged(arg.ndim):
            args[k], flags[k] = arg.node.args[0], not flags[k]
    if flags == [product.transpose_a, product.transpose_b]:
        return None
    return MatMul(flags[0], flags[1], product.down)(*args)


def _rows_of_batch(match: Match) -> Any:
    """Rewrite a reshaped batch times a matrix to the product of the batch itself.

    The rows of a batch are those of one matrix (``matmul`` makes it so), and its results a batch
    again. What follows then reads elements of the product, not of a reshape of it, and shares its
    kernel, which takes all rows of the batch as one matrix all the same.
    """
    product, shape = match.op("inner"), match.root.shape
    a, b = match.inner.node.args
    inner = a.shape[-1]
    if product.transpose_a or product.down or (a.ndim, b.ndim) != (2, 2) or len(shape) < 3:
        return None
    if shape[-1] != b.shape[-2 if product.transpose_b else -1] or 1 in (*shape[-2:], inner):
        return None  # another matrix, or a product with a vector
    if sizes_product(shape[:-1]) != a.shape[0] and not is_at_least(shape[-1], 1):
        return None  # rows without elements may be any number of them
    rows = a.node.args[0] if isinstance(a.node.op, Reshape) else a
    batch = cast(Symbolic, Reshape((*shape[:-1], inner))(rows))
    if match.readers("inner") > 1 or not _lies_in_rows(batch):
        return None
    return MatMul(False, product.transpose_b)(batch, b)


def _lies_in_rows(batch: Symbolic) -> bool:
    """Return True if all rows of a batch have one constant stride in memory."""
    chain = [batch]
    while isinstance(chain[-1].node.op, _VIEWS):
        chain.append(chain[-1].node.args[0])
    layout = Strided.contiguous(chain.pop().shape)
    for value in reversed(chain):
        form, (source,) = value.node.form, value.node.args
        if isinstance(form, View):
            layout = layout.apply_view(form, value.ndim)
        else:  # what takes a copy lies in order
            reshaped = layout.reshape(source.shape, value.shape)
            layout = reshaped or Strided.contiguous(value.shape)
    extents, _ = collapse(batch.shape[:-1], [layout.strides[:-1]])
    return len(extents) <= 1


# -- examples -------------------------------------------------------------------------------------


def _spread(value: Any) -> Any:
    return Broadcast((3, *value.shape), tuple(range(1, value.ndim + 1)))(value)


def _five(like: Any) -> Any:
    return Broadcast((5,), ())(like.sum())


def _beside(*parts: Any) -> Any:
    return Concat(parts[0].ndim)(*[Reshape((*part.shape, 1))(part) for part in parts])


RULES: Final[tuple[Rule, ...]] = (
    rule("reshape-to-itself", some(Reshape, x), x, where=_keeps_type,
         examples=(lambda x: Reshape(x.shape)(x),)),
    rule("reshape-twice", some(Reshape, some(Reshape, x), name="outer"),
         lambda m: Reshape(m.op("outer").shape)(m.x),
         examples=(lambda x: x.reshape(-1, 1).reshape(1, -1),)),
    rule("transpose-to-itself", some(Transpose, x, name="outer"), x, where=_moves_nothing,
         examples=(lambda x: Transpose(tuple(range(x.ndim)))(x),)),
    rule("transpose-twice", some(Transpose, some(Transpose, x, name="inner"), name="outer"),
         _transposes, examples=(lambda x: x.reshape(-1, 1, 1).transpose(2, 0, 1).T,)),
    rule("broadcast-to-itself", some(Broadcast, x), x, where=_keeps_type,
         examples=(lambda x: Broadcast(x.shape, tuple(range(x.ndim)))(x),)),
    rule("broadcast-twice", some(Broadcast, some(Broadcast, x, name="inner"), name="outer"),
         _broadcasts,
         examples=(lambda x: Broadcast((3, *x.shape, 2), tuple(range(1, x.ndim + 1)))(
             Broadcast(x.shape, tuple(range(x.ndim)))(x)),)),
    rule("transpose-below-broadcast",
         some(Transpose, some(Broadcast, x, name="inner"), name="outer"), _transposed_broadcast,
         examples=(lambda x: Broadcast((3, *x.shape, 2), tuple(range(1, x.ndim + 1)))(x).T,)),
    rule("reshape-of-repeated-number", some(Reshape, some(Broadcast, x, name="inner")),
         _reshaped_number, examples=(lambda x: Broadcast((4, 3), ())(x.sum()).reshape(2, 6),)),
    rule("elementwise-below-broadcast", some(Elementwise, ..., over=Broadcast), _below_broadcast,
         examples=(lambda x: -Broadcast((3, *x.shape), tuple(range(1, x.ndim + 1)))(x),
                   lambda x, y: _spread(x + y) * _spread(x - y) + 1.0)),
    rule("elementwise-of-numbers", some(Elementwise, ...), _over_numbers,
         reads=_is_of_one_element,
         examples=(lambda x: Reshape((1, 1))(x.sum()) * Reshape((1,))(x.max()) + 1.0,
                   lambda x: x.reshape(-1) - Reshape((1,))(x.max()))),
    rule("reduction-below-broadcast", some(Reduction, some(Broadcast, x, name="inner")),
         _reduced_below,
         examples=(lambda x: _spread(x.reshape(-1)).sum(1), lambda x: _spread(x).sum(),
                   lambda x: _spread(x.reshape(1, -1)).max(1),
                   lambda x: Broadcast((x.size, 3), (0,))(x.reshape(-1)).sum(0),
                   lambda x: Broadcast((3, x.size), (0, 1))(x.reshape(1, -1)).sum(0))),
    rule("reduction-of-repeated-columns", some(Reduction, some(Broadcast, x, name="inner")),
         _reduced_once,
         examples=(lambda x: Broadcast((5, 3), ())(x.sum()).sum(0),
                   lambda x: Broadcast((3, x.size, 4), (1, 2))(x.reshape(-1, 1)).max(1),
                   lambda x: Broadcast((x.size, 40), (0,))(x.reshape(-1)).sum(0))),
    rule("slice-of-everything", some(Slice, x, name="outer"), x, where=_is_whole,
         examples=(lambda x: Slice((0,) * x.ndim, x.shape, (1,) * x.ndim)(x),)),
    rule("slice-of-slice", some(Slice, some(Slice, x, name="inner"), name="outer"), _slices,
         examples=(lambda x: x.reshape(-1)[::-1][1:][::2],)),
    rule("slice-of-join", some(Slice, some(Concat, ..., name="inner"), name="outer"),
         _part_of_join,
         examples=(lambda x: Concat(0)(x.reshape(-1), _five(x), x.reshape(-1))[x.size + 5 :],
                   lambda x: Concat(0)(_five(x), x.reshape(-1))[3:0:-1])),
    rule("join-of-neighbours", some(Concat, ..., name="outer", over=Slice), _join_neighbours,
         examples=(lambda x: Concat(0)(x[:1], x[1:]), lambda x: Concat(0)(x[:1], x[1:], x))),
    rule("join-of-joins", some(Concat, ..., name="outer", over=Reshape), _joins_of_parts,
         examples=(lambda x: _beside(Concat(0)(x.reshape(-1), _five(x)),
                                     Concat(0)(-x.reshape(-1), _five(-x))),)),
    rule("join-of-one", some(Concat, x), x, examples=(lambda x: Concat(0)(x.reshape(-1)),)),
    rule("pad-with-nothing", some(Pad, x, name="outer"), x, where=_adds_nothing,
         examples=(lambda x: Pad(x.shape, (0,) * x.ndim, (1,) * x.ndim)(x),)),
    rule("transpose-into-product", some(MatMul, ..., name="outer", over=Transpose),
         _transposed_operand,
         examples=(lambda x: x.reshape(-1, 1).T @ x.reshape(-1, 1),)),
    rule("product-of-batch", some(Reshape, some(MatMul, ..., name="inner")),
         _rows_of_batch,
         examples=(lambda x: Reshape((x.size, 4, 3))(
             Concat(0)(*[x.reshape(-1)] * 8).reshape(-1, 2) @ Broadcast((2, 3), ())(x.sum())),)),
)  # fmt: skip

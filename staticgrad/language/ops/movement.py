"""Ops that move elements without computing: another shape, order of axes, part, or place.

Three canonical ops (reshape, transpose, broadcast), each with its transpose as derivative; NumPy's
many spellings (squeeze, ravel, moveaxis, ...) are functions over them. Taking a part and putting
parts together stand in ``slices.py``, indexing with ``[]`` in ``subscript.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.forms import AxisMap, Form, ReshapeForm, View
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import basic
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.elementwise import ArrayLike, broadcast
from staticgrad.language.ops.operands import (
    Axes,
    LinearOp,
    as_value,
    as_values,
    axis_of,
    describe_operands,
    distinct_axes,
    is_only_axis_of_scalar,
    reduction_axes,
    shape_of,
    shape_text,
    size_of,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType, product
from staticgrad.language.types.dim import Dim, Size


class Reshape(LinearOp, name="reshape"):
    """The elements of x, in C order, under another shape."""

    reads_part = "all"
    positive = "kept"
    copies = True
    exact = True
    flops = 0
    shape: tuple[Size, ...]

    def infer(self, x: TensorType) -> TensorType:
        """Infer a reshape's type; a guard where the counts agree only for some sizes."""
        elements, count = x.size, product(self.shape)
        if elements != count:
            text = f"reshape: {elements} elements do not fill the shape {shape_text(self.shape)}"
            if not dims.equal(elements, count, text):
                raise ShapeError(text, details=[f"that takes {count}"] if self.shape else [])
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        return x.reshape(self.shape)

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return reshape(ct, x.shape)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Reshape((size, *self.shape))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return ReshapeForm()


class Transpose(LinearOp, name="transpose"):
    """Axis i of the result is axis ``perm[i]`` of x."""

    reads_part = "all"
    positive = "kept"
    copies = True
    exact = True
    flops = 0
    perm: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if sorted(self.perm) != list(range(x.rank)):
            raise AxisError(f"transpose: {self.perm} is not a permutation of the axes of {x}")
        return x.with_shape(tuple(x.shape[axis] for axis in self.perm))

    def reference(self, x: Array) -> Any:
        return x.transpose(self.perm)

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Transpose(self.inverse)(ct)

    @property
    def inverse(self) -> tuple[int, ...]:
        """The permutation that undoes this one."""
        return tuple(self.perm.index(axis) for axis in range(len(self.perm)))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Transpose((0, *(axis + 1 for axis in self.perm)))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return View(tuple(AxisMap(axis) for axis in self.inverse))


class Broadcast(LinearOp, name="broadcast"):
    """x repeated to ``shape``: its axis i becomes axis ``axes[i]``, the other axes are new.

    ``axes`` ascends. An axis of literal size 1 stretches to any size; others keep theirs.
    """

    positive = "kept"
    copies = True
    exact = True
    flops = 0
    shape: tuple[Size, ...]
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """Infer a broadcast's type; a guard where sizes agree only for some names."""
        ascending = list(self.axes) == sorted(set(self.axes))
        inside = all(0 <= axis < len(self.shape) for axis in self.axes)
        if len(self.axes) != x.rank or not ascending or not inside:
            raise AxisError(f"broadcast: {self.axes} does not place the axes of {x} in order")
        for axis, size in zip(self.axes, x.shape, strict=True):
            text = f"broadcast: {shape_text(x.shape)} does not fit {shape_text(self.shape)}"
            if size != 1 and not dims.equal(size, self.shape[axis], text):
                raise ShapeError(
                    text,
                    details=[f"axis {axis} has size {self.shape[axis]}, the operand's is {size}"],
                    hint="only an axis of literal size 1 stretches",
                )
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        between = [1] * len(self.shape)
        for axis, size in zip(self.axes, x.shape, strict=True):
            between[axis] = size
        return np.broadcast_to(x.reshape(between), self.shape)  # type: ignore[arg-type]

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        single = dict(zip(self.axes, x.shape, strict=True))
        repeated = (k for k, size in enumerate(self.shape) if single.get(k, 1) == 1 and size != 1)
        added = (k for k in range(len(self.shape)) if k not in single)
        axes = tuple(sorted({*repeated, *added}))
        return reshape(sum_over(ct, axes), x.shape)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Broadcast((size, *self.shape), (0, *(axis + 1 for axis in self.axes)))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return the view of a broadcast: a repeated axis reads element 0."""
        (x,) = types
        axis_sizes = zip(self.axes, x.shape, strict=True)
        return View(
            tuple(
                AxisMap(None if size == 1 and self.shape[axis] != 1 else axis)
                for axis, size in axis_sizes
            )
        )


def reshape(
    x: ArrayLike[AnyValue],
    shape: Size | Sequence[Size],
    order: str | None = "C",
    *,
    copy: bool | None = None,
) -> AnyValue:
    """Return the elements of x under another shape; one size may be -1 and is inferred.

    Args:
        shape: one size or a tuple of sizes; named sizes and expressions of them too.
        order: ``"C"``, the last axis fastest; ``"F"``, the first; ``"A"`` is ``"C"`` here.
        copy: has no effect: a value never changes.

    Raises:
        ArgumentError: an entry that is not a size; an unknown order.

    >>> sg.evaluate(sg.reshape([1, 2, 3, 4], (2, -1)))
    array([[1, 2],
           [3, 4]])
    """
    value = as_value(x)
    listed: Any = shape
    is_sequence = isinstance(shape, list | tuple) or (isinstance(shape, np.ndarray) and shape.ndim)
    entries: Any = tuple(listed) if is_sequence else (shape,)
    if _is_fortran(order, "CFA"):
        return transpose(reshape(transpose(value), entries[::-1]))
    free = [i for i, entry in enumerate(entries) if not isinstance(entry, Dim) and entry == -1]
    if len(free) > 1:
        raise ShapeError("reshape: only one size can be -1", related=describe_operands(value))
    if free:
        entries = _infer_size(value, entries, free[0])
    target = shape_of(entries, value)
    return basic.reshape(value, target)


def _infer_size(x: Value, entries: tuple[Any, ...], free: int) -> Shape:
    """Compute the size that reshape's -1 stands for."""
    sizes = tuple(size_of(entry, x) for i, entry in enumerate(entries) if i != free)
    count = product(sizes)
    if count == 0:
        raise ShapeError(
            f"reshape: any size fits in place of -1 in {shape_text(entries)}",
            related=describe_operands(x),
        )
    return (*sizes[:free], dims.floordiv(x.size, count), *sizes[free:])


def transpose(x: ArrayLike[AnyValue], axes: Any = None) -> AnyValue:
    """Axis i of the result is axis ``axes[i]`` of x; all axes reversed by default.

    Args:
        axes: a permutation of its axes; None reverses them.

    >>> sg.transpose(sg.input("x", ("n", 2, 3)), (0, 2, 1)).shape
    (n, 3, 2)
    """
    value = as_value(x)
    if axes is None:
        return _permute(value, tuple(reversed(range(value.ndim))))
    entries = axes if isinstance(axes, list | tuple) else (axes,)
    perm = distinct_axes(entries, value)
    if len(perm) != value.ndim:
        raise AxisError(
            f"transpose: {tuple(entries)} names {len(perm)} of the {value.ndim} axes"
            f" of {value.type}",
            hint="x.swapaxes(axis, other) exchanges two axes" if len(perm) == 2 else "",
            related=describe_operands(value),
        )
    return _permute(value, tuple(perm))


def _permute(x: AnyValue, perm: tuple[int, ...]) -> AnyValue:
    return x if perm == tuple(range(x.ndim)) else Transpose(perm)(x)


def swapaxes(x: ArrayLike[AnyValue], axis1: int, axis2: int) -> AnyValue:
    """x with two axes exchanged.

    Args:
        axis1, axis2: which.

    >>> sg.swapaxes(sg.input("x", ("n", 2, 3)), 0, 2).shape
    (3, 2, n)
    """
    value = as_value(x)
    first, second = axis_of(axis1, value), axis_of(axis2, value)
    perm = list(range(value.ndim))
    perm[first], perm[second] = second, first
    return _permute(value, tuple(perm))


def last_exchanged(rank: int) -> tuple[int, ...]:
    """Return the permutation of axes that exchanges the last two."""
    return (*range(rank - 2), rank - 1, rank - 2)


def transpose_matrices(x: Any) -> Any:
    """Exchange the last two axes of a symbolic value; twice is the value itself."""
    perm = last_exchanged(x.ndim)
    if isinstance(x.node.op, Transpose) and x.node.op.perm == perm:
        return x.node.args[0]
    return Transpose(perm)(x)


def moveaxis(x: ArrayLike[AnyValue], source: Axes, destination: Axes) -> AnyValue:
    """x with the axes ``source`` moved to the places ``destination``; the others keep their order.

    Args:
        source, destination: one place or several of the same number.

    Returns:
        The same elements; axes that are not named stay in their order.

    >>> sg.moveaxis(sg.input("x", ("n", 2, 3)), 0, -1).shape
    (2, 3, n)
    """
    value = as_value(x)
    sources = distinct_axes(_list_axes(source), value)
    places = distinct_axes(_list_axes(destination), value)
    if len(sources) != len(places):
        raise ArgumentError(
            f"moveaxis: {len(sources)} axes cannot move to {len(places)} places",
            related=describe_operands(value),
        )
    perm = [axis for axis in range(value.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        perm.insert(place, axis)
    return _permute(value, tuple(perm))


def _list_axes(axes: Axes) -> list[Any]:
    return list(axes) if isinstance(axes, list | tuple) else [axes]


def expand_dims(x: ArrayLike[AnyValue], axis: Axes) -> AnyValue:
    """x with axes of size 1 inserted, so that they are the axes ``axis`` of the result.

    Args:
        axis: one place or several, counted in the result.

    >>> sg.expand_dims(sg.input("x", ("n", 3)), 1).shape
    (n, 1, 3)
    """
    value = as_value(x)
    axes = _list_axes(axis)
    rank = value.ndim + len(axes)
    new = distinct_axes(axes, value, rank)
    sizes = iter(value.shape)
    return reshape(value, tuple(1 if k in new else next(sizes) for k in range(rank)))


def with_axis(x: AnyValue, axis: int | None) -> tuple[AnyValue, int]:
    """Normalize an ``axis=`` argument: flatten for None; a 0-d value has one axis of size 1.

    NumPy's running sums and ``argsort`` take axes by this rule.
    """
    if axis is None or is_only_axis_of_scalar(axis, x):
        return ravel(x), 0
    return x, axis_of(axis, x)


def squeeze(x: ArrayLike[AnyValue], axis: Axes = None) -> AnyValue:
    """x without the axes ``axis``, which must have literal size 1; without all such by default.

    Args:
        axis: one axis or several of size 1; None for all such.

    >>> sg.squeeze(sg.input("x", ("n", 1, 3))).shape
    (n, 3)
    """
    value = as_value(x)
    if axis is None:
        return reshape(value, tuple(size for size in value.shape if size != 1))
    dropped = reduction_axes(axis, value)
    for k in dropped:
        if value.shape[k] != 1:
            raise ShapeError(
                f"squeeze: axis {k} has size {value.shape[k]}, not 1",
                hint="take one index of it: x[..., 0]",
                related=describe_operands(value),
            )
    return reshape(value, tuple(size for k, size in enumerate(value.shape) if k not in dropped))


def ravel(x: ArrayLike[AnyValue], order: str | None = "C") -> AnyValue:
    """Flatten x to one axis: the last axis varies fastest, for ``"F"`` the first one.

    Args:
        order: "C" or "F"; ``"A"`` and ``"K"``, the order in memory, are ``"C"`` here.

    >>> sg.ravel([[1.0, 2.0], [3.0, 4.0]])
    array([1., 2., 3., 4.])
    """
    value = as_value(x)
    if _is_fortran(order, "CFAK"):
        value = transpose(value)
    return reshape(value, value.size)


#: PyTorch's ``flatten`` takes the first axis to join.
_HINT_OF_ORDER: Final = "from an axis on: x.flatten(axis)"


def _is_fortran(order: str | None, orders: str) -> bool:
    """Return whether ``order=`` asks for Fortran order: the first axis varies fastest."""
    if order == "C" or order is None:
        return False
    if order not in [*orders]:
        raise ArgumentError(
            f"{called_name()}: order={quote(order)}",
            hint=f"one of {', '.join(orders)}; {_HINT_OF_ORDER}",
        )
    return order == "F"


def broadcast_to(x: ArrayLike[AnyValue], shape: Any) -> AnyValue:
    """x repeated to ``shape`` by NumPy's rule: axes align at the right, literal size 1 stretches.

    Args:
        shape: one size or a tuple of sizes.

    >>> sg.evaluate(sg.broadcast_to([1, 2], (2, 2)))
    array([[1, 2],
           [1, 2]])
    """
    value = as_value(x)
    target = shape_of(shape, value)
    if len(target) < value.ndim:
        raise ShapeError(
            f"broadcast_to: {shape_text(value.shape)} has more axes than {shape_text(target)}",
            related=describe_operands(value),
        )
    return basic.broadcast_to(value, target)


def broadcast_arrays(*values: ArrayLike[AnyValue]) -> list[AnyValue]:
    """Broadcast values to their common shape; dtypes are unchanged.

    >>> sg.broadcast_arrays([1.0, 2.0], [[3.0], [4.0]])[1]
    array([[3., 3.],
           [4., 4.]])
    """
    if not values:
        return []
    operands = as_values(*values)
    shape = broadcast("broadcast_arrays", [value.shape for value in operands])
    return [broadcast_to(value, shape) for value in operands]


def with_size(x: AnyValue, axis: int, size: Size) -> AnyValue:
    """x, its axis of a size that may equal ``size`` taken to be so; a run checks it."""
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return x if shape == x.shape else Broadcast(shape, tuple(range(x.ndim)))(x)


NUMPY_NAMES.update(permute_dims="transpose")

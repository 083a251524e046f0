"""Taking a part of a value, and putting parts together: slice, pad, concatenation.

``slice`` and ``pad`` are each other's transpose, and regular: a start and a step per axis, every
size possibly named. Reading Python's indexing syntax is the business of ``subscript.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from operator import or_
from typing import Any, overload

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, DTypeError, RankError, ShapeError
from staticgrad.ir.forms import Assemble, AxisMap, Form, Region, View
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array, Op
from staticgrad.ir.ranges import EMPTY, Range, RangeOf
from staticgrad.ir.value import Value
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.cotangent import zeros_like_type
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import expand_dims
from staticgrad.ops.operands import (
    Axes,
    LinearOp,
    as_value,
    axes_of,
    axis_of,
    dtype_of,
    promoted_values,
    related,
    shape_text,
)
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.tensor import Shape, TensorType


class Slice(LinearOp, name="slice"):
    """Index i along axis k of the result is index ``starts[k] + steps[k] * i`` along that of x.

    ``lengths`` is the result's shape. Every index must lie inside x; an axis of length 0 may start
    anywhere. Steps may be negative, never 0.
    """

    exact = True
    flops = 0
    starts: tuple[Size, ...]
    lengths: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """The dtype of x with shape ``lengths``; a guard where a named size may be too small."""
        if not len(self.starts) == len(self.lengths) == len(self.steps) == x.rank:
            raise RankError(f"slice: one start, length and step per axis of {x} are needed")
        if 0 in self.steps:
            raise ArgumentError("slice: a step of 0 leads nowhere")
        parts = zip(self.starts, self.lengths, self.steps, strict=True)
        for axis, (start, length, step) in enumerate(parts):
            _check_range(axis, x.shape[axis], start, length, step)
        return x.with_shape(self.lengths)

    def reference(self, x: Array) -> Any:
        return x[_positions(self.starts, self.lengths, self.steps)]

    def eager(self, x: Array) -> Any:
        """A view, instead of a gathered copy."""
        return x[_slices(self.starts, self.lengths, self.steps)]

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Pad(x.shape, self.starts, self.steps)(ct)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Slice((0, *self.starts), (size, *self.lengths), (1, *self.steps))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        parts = zip(self.starts, self.steps, strict=True)
        return View(tuple(AxisMap(axis, start, step) for axis, (start, step) in enumerate(parts)))


def _check_range(axis: int, size: Size, start: Size, length: Size, step: int) -> None:
    """Refuse a slice that leaves its axis, or note the guard under which it does not."""
    if length == 0:
        return
    inner = _if_any(length)
    first, last = (start, start + step * (inner - 1))[:: 1 if step > 0 else -1]
    for low, high in ((0, first), (last + 1, size)):
        if dims.is_at_least(high, low):
            continue
        # Multiplied by the length: an empty part may start anywhere.
        if not dims.at_least(high * length, low * length, _range_text(axis, size, start, length)):
            raise ShapeError(
                _range_text(axis, size, start, length),
                hint=f"its indices go from 0 to {size - 1}" if size != 0 else "it has no elements",
            )


def _if_any(length: Size) -> Size:
    """``length`` where it is not 0: e for max(e, 0)."""
    sizes = [size for size in dims.maximum_of(length) if size != 0]
    return sizes[0] if len(sizes) == 1 else length


def _range_text(axis: int, size: Size, start: Size, length: Size) -> str:
    from_end = start - size
    shown = from_end if isinstance(start, Dim) and isinstance(from_end, int) else start
    if length == 1:
        return f"index {shown} is out of range for axis {axis} of size {size}"
    return f"{length} elements from index {shown} are not inside axis {axis} of size {size}"


def _positions(starts: Any, lengths: Any, steps: tuple[int, ...]) -> tuple[Array, ...]:
    """The indices of a slice with integers for sizes, as NumPy takes them."""
    parts = zip(starts, lengths, steps, strict=True)
    return np.ix_(*(start + step * np.arange(length) for start, length, step in parts))


def _slices(starts: Any, lengths: Any, steps: tuple[int, ...]) -> tuple[slice, ...]:
    """The same as Python's slices."""
    found = []
    for start, length, step in zip(starts, lengths, steps, strict=True):
        stop = start + step * length if length else start
        found.append(slice(start, None if stop < 0 else stop, step))
    return tuple(found)


class Pad(LinearOp, name="pad"):
    """``slice`` transposed: zeros of ``shape``, x at ``starts[k] + steps[k] * i`` along axis k.

    Every element must land inside; an axis of length 0 may start anywhere. Steps are not 0.
    """

    exact = True
    flops = 0
    shape: tuple[Size, ...]
    starts: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if not len(self.shape) == len(self.starts) == len(self.steps) == x.rank:
            raise RankError(f"pad: one size, start and step per axis of {x} are needed")
        Slice(self.starts, x.shape, self.steps).infer(x.with_shape(self.shape))
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        out = np.zeros(self.shape, x.dtype)
        out[_positions(self.starts, x.shape, self.steps)] = x
        return out

    def eager(self, x: Array) -> Any:
        """Written through a view, instead of element by element."""
        out = np.zeros(self.shape, x.dtype)
        out[_slices(self.starts, x.shape, self.steps)] = x
        return out

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Slice(self.starts, x.shape, self.steps)(ct)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Pad((size, *self.shape), (0, *self.starts), (1, *self.steps))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Assemble((Region(self.starts, self.steps),), fill=0)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x) | EMPTY


class Concat(Op, name="concat"):
    """The operands one after the other along ``axis``; all other sizes are equal."""

    exact = True
    flops = 0
    axis: int

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return promoted_values("concat", args)

    def infer(self, *types: TensorType) -> TensorType:
        first = types[0]
        for position, other in enumerate(types[1:], 2):
            if other.rank != first.rank:
                raise RankError(f"concat: operand 1 is {first}, operand {position} is {other}")
            if other.dtype is not first.dtype:
                raise DTypeError(f"concat: dtypes {first.dtype.numpy} and {other.dtype.numpy}")
            for k, (one, two) in enumerate(zip(first.shape, other.shape, strict=True)):
                text = f"concat: sizes {one} and {two} of axis {k} differ"
                if k != self.axis and not dims.equal(one, two, text):
                    details = [f"operand 1 is {first}, operand {position} is {other}"]
                    raise ShapeError(
                        text, details=details, hint=f"only axis {self.axis} may differ"
                    )
        if not 0 <= self.axis < first.rank:
            raise AxisError(f"concat: no axis {self.axis} in {first}")
        total = dims.sum_of((1, each.shape[self.axis]) for each in types)
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def reference(self, *arrays: Array) -> Any:
        return np.concatenate(arrays, self.axis)

    def vjp(self, ct: Any, out: Any, *args: Any) -> tuple[Any, ...]:
        """Each operand's part of the cotangent."""
        return Concat.cotangents(self, ct, out, args, (True,) * len(args))

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        if not out.dtype.is_float:
            return (None,) * len(args)
        starts = self.starts([arg.type for arg in args])
        return tuple(
            part(ct, self.axis, start, arg.shape[self.axis]) if want else None
            for start, arg, want in zip(starts, args, needed, strict=True)
        )

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """The tangents one after the other, zeros where there is none."""
        if not out.dtype.is_float or all(tangent is None for tangent in tangents):
            return None
        pairs = zip(tangents, args, strict=True)
        return self(*(zeros_like_type(x.type, x) if t is None else t for t, x in pairs))

    def starts(self, types: Sequence[TensorType]) -> list[Size]:
        """Return where each operand begins along the axis."""
        sizes: list[Size] = [t.shape[self.axis] for t in types]
        return list(accumulate(sizes[:-1], initial=0))

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Concat(self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        steps = (1,) * out.rank
        return Assemble(
            tuple(
                Region(tuple(start if k == self.axis else 0 for k in range(out.rank)), steps)
                for start in self.starts(types)
            )
        )

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return reduce(or_, map(of, args))


def part(x: AnyValue, axis: int, start: Size, length: Size) -> AnyValue:
    """``length`` elements of x from ``start`` along ``axis``, the other axes whole."""
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    lengths = tuple(length if k == axis else size for k, size in enumerate(x.shape))
    return sliced(x, starts, lengths, (1,) * x.ndim)


def sliced(x: AnyValue, starts: Shape, lengths: Shape, steps: tuple[int, ...]) -> AnyValue:
    """The slice of x, or x itself where that is all of it."""
    if lengths == x.shape and all(step == 1 for step in steps) and all(s == 0 for s in starts):
        return x
    return Slice(starts, lengths, steps)(x)


def flip(x: Operand[AnyValue], axis: Axes = None) -> AnyValue:
    """x with its elements in reverse order along ``axis`` (all axes by default).

    Args:
        x: a value.
        axis: one axis or several; None for all.

    Returns:
        The elements in reverse order along the axes.

    >>> sg.evaluate(sg.flip([1, 2, 3]))
    array([3, 2, 1])
    """
    value = as_value("flip", x)
    axes = axes_of("flip", axis, value)
    starts = tuple(size - 1 if k in axes else 0 for k, size in enumerate(value.shape))
    steps = tuple(-1 if k in axes else 1 for k in range(value.ndim))
    return sliced(value, starts, value.shape, steps)


@overload
def concatenate(
    values: Sequence[AnyValue], axis: int | None = ..., *, dtype: Any = ...
) -> AnyValue: ...
@overload
def concatenate(values: Sequence[Any], axis: int | None = ..., *, dtype: Any = ...) -> Any: ...
def concatenate(
    values: Sequence[Operand[AnyValue]], axis: int | None = 0, *, dtype: Any = None
) -> AnyValue:
    """The values one after the other along ``axis``; flattened first if it is None.

    In ``dtype`` if one is given, else in the one in which they meet.

    Args:
        values: two or more values, or one.
        axis: along which; None flattens them first.
        dtype: convert to it.

    Returns:
        One value, as long along the axis as all together.

    >>> sg.evaluate(sg.concatenate([[1, 2], [3]]))
    array([1, 2, 3])
    """
    operands = _joined("concatenate", values, axis, dtype)
    if axis is None:
        operands = tuple(functions.ravel(value) for value in operands)
        axis = 0
    if operands[0].ndim == 0:
        raise RankError("concatenate: 0-d values have no axis to join", hint="use sg.stack")
    place = axis_of("concatenate", axis, operands[0])
    return operands[0] if len(operands) == 1 else Concat(place)(*operands)


@overload
def stack(values: Sequence[AnyValue], axis: int = ..., *, dtype: Any = ...) -> AnyValue: ...
@overload
def stack(values: Sequence[Any], axis: int = ..., *, dtype: Any = ...) -> Any: ...
def stack(values: Sequence[Operand[AnyValue]], axis: int = 0, *, dtype: Any = None) -> AnyValue:
    """The values, all of one shape, side by side along a new axis ``axis`` of the result.

    In ``dtype`` if one is given, else in the one in which they meet.

    Args:
        values: values of one shape.
        axis: the place of the new axis.
        dtype: convert to it.

    Returns:
        One value with one more axis, as long as there are values.

    >>> sg.evaluate(sg.stack([[1, 2], [3, 4]], axis=1))
    array([[1, 3],
           [2, 4]])
    """
    operands = _joined("stack", values, axis, dtype)
    place = axis_of("stack", axis, operands[0], operands[0].ndim + 1)
    first = operands[0].shape
    for value in operands[1:]:
        text = f"stack: {shape_text(first)} and {shape_text(value.shape)} differ"
        if value.ndim != len(first):
            raise RankError(text, related=related(operands[0], value))
        if not all(dims.equal(a, b, text) for a, b in zip(first, value.shape, strict=True)):
            raise ShapeError(text, hint="sg.concatenate joins", related=related(operands[0], value))
    return concatenate([expand_dims(value, place) for value in operands], place)


def several(op: str, values: Any, parts: bool = True) -> list[Any]:
    """Values in a list; ``parts``: or those of one value along its first axis."""
    if parts and isinstance(values, Value) and values.ndim:
        return list(values)  # type: ignore[call-overload]
    if not isinstance(values, Sequence | np.ndarray):
        raise ArgumentError(
            f"{op}: takes a list or tuple of values, not {values!r}", hint=f"sg.{op}([a, b])"
        )
    if not len(values):
        raise ArgumentError(f"{op}: no values to join")
    return list(values)


def _joined(op: str, values: Any, axis: Any, dtype: Any) -> tuple[Any, ...]:
    """What is to be joined: values in a list, or the parts of one value along its first axis."""
    operands = promoted_values(op, several(op, values, not isinstance(axis, Value)))
    if dtype is None:
        return operands
    wanted = dtype_of(op, dtype)
    if not np.can_cast(operands[0].dtype.numpy, wanted.numpy, "same_kind"):
        raise DTypeError(
            f"{op}: {operands[0].dtype.numpy} is not converted to dtype={wanted.numpy} unasked",
            hint="convert the operands: x.astype(dtype)",
            related=related(*operands),
        )
    return tuple(functions.astype(value, wanted) for value in operands)


def with_zeros(x: AnyValue, pairs: Sequence[tuple[Size, Size]]) -> AnyValue:
    """x with so many zeros before and after it, along each axis."""
    shape = tuple(size + a + b for size, (a, b) in zip(x.shape, pairs, strict=True))
    if shape == x.shape:
        return x
    return Pad(shape, tuple(before for before, _ in pairs), (1,) * x.ndim)(x)


NUMPY_NAMES.update(concat="concatenate")

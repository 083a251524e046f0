"""Running totals along one axis: sum, product, and the linear recurrence that their gradients need.

The elements of the axis are combined from the first to the last, one after the other, as NumPy's
``accumulate`` does; a kernel runs through them in order, several rows or a vector of them at a
time. No rule divides, so a product's gradient is right where elements are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final, Literal

import numpy as np

from staticgrad.errors import AxisError, DTypeError, RankError, ShapeError
from staticgrad.language.ir.forms import Form, Scan
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.basic import full
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike, quiet
from staticgrad.language.ops.indexing import concatenate, flip, part, with_zeros
from staticgrad.language.ops.movement import broadcast_arrays, with_axis
from staticgrad.language.ops.operands import (
    as_value,
    axis_of,
    counting_dtype,
    promoted_values,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size

Kind = Literal["sum", "prod", "linear"]
_UFUNCS: Final = {"sum": np.add, "prod": np.multiply}


class _Scan(Op):
    """Elements combined from the first to each along ``axis``: the dtype and shape of x."""

    exact = True
    kind: ClassVar[Kind]
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        """Infer a running total's type: that of its operands."""
        first = types[0]
        if any(t.dtype is not first.dtype for t in types) or first.dtype.is_bool:
            dtypes = ", ".join(str(t.dtype.numpy) for t in types)
            raise DTypeError(f"{self.name}: takes numbers of one dtype, got {dtypes}")
        if not 0 <= self.axis < first.rank:
            raise AxisError(f"{self.name}: no axis {self.axis} in {first}")
        for operand in types[1:]:
            text = f"{self.name}: operands of shapes {first} and {operand}"
            if operand.rank != first.rank:
                raise RankError(text)
            if not all(
                dims.equal(a, b, text) for a, b in zip(first.shape, operand.shape, strict=True)
            ):
                raise ShapeError(text)
        return first

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scan(self.kind, self.axis)


class _Accumulation(_Scan):
    """The elements themselves combined, by a NumPy function of two."""

    @quiet
    def reference(self, x: Array) -> Any:
        return _UFUNCS[self.kind].accumulate(x, self.axis, dtype=x.dtype)


class CumSum(_Accumulation, name="cumsum"):
    """out[i] = x[0] + ... + x[i] along ``axis``. Integers wrap."""

    kind = "sum"

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Return for every element the sum of the cotangents from its index on."""
        return (_backwards(self, ct) if out.dtype.is_float else None,)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """The running sum of the tangents."""
        return self(tangents[0]) if tangents[0] is not None and out.dtype.is_float else None

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).sum()


class CumProd(_Accumulation, name="cumprod"):
    """out[i] = x[0] * ... * x[i] along ``axis``. Integers wrap."""

    kind = "prod"

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """before[k] * s[k], with s[k] = ct[k] + x[k + 1] * s[k + 1]: no division."""
        if not out.dtype.is_float:
            return (None,)
        total = _backwards(LinearScan(self.axis), _following(x, self.axis), ct)
        return (_preceding(out, self.axis, 1) * total,)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """t[i] = x[i] * t[i - 1] + dx[i] * before[i]."""
        if tangents[0] is None or not out.dtype.is_float:
            return None
        return LinearScan(self.axis)(x, tangents[0] * _preceding(out, self.axis, 1))


class LinearScan(_Scan, name="linear_scan"):
    """out[0] = b[0]; then out[i] = a[i] * out[i - 1] + b[i] along ``axis``. a[0] is not read."""

    flops = 2
    kind = "linear"

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return promoted_values(args)

    @quiet
    def reference(self, a: Array, b: Array) -> Any:
        out = np.moveaxis(np.array(b), self.axis, 0)
        factors = np.moveaxis(a, self.axis, 0)
        for i in range(1, len(out)):
            out[i] += factors[i] * out[i - 1]
        return np.moveaxis(out, 0, self.axis)

    def vjp(self, ct: Any, out: Any, a: Any, b: Any) -> tuple[Any, ...]:
        """s[i] = ct[i] + a[i + 1] * s[i + 1] for b; s[i] * out[i - 1] for a."""
        if not out.dtype.is_float:
            return None, None
        total = _backwards(self, _following(a, self.axis), ct)
        return total * _preceding(out, self.axis, 0), total

    def jvp(self, tangents: Sequence[Any], out: Any, a: Any, b: Any) -> Any:
        """Push tangents through a recurrence: t[i] = a[i] t[i-1] + (da[i] out[i-1] + db[i])."""
        by_a, by_b = tangents
        if not out.dtype.is_float or (by_a is None and by_b is None):
            return None
        pushed = by_b
        if by_a is not None:
            by_factor = by_a * _preceding(out, self.axis, 0)
            pushed = by_factor if by_b is None else by_factor + by_b
        return self(a, pushed)


def _backwards(op: _Scan, *values: AnyValue) -> AnyValue:
    """The scan from the last element to the first."""
    return flip(op(*(flip(value, op.axis) for value in values)), op.axis)


def _preceding(x: AnyValue, axis: int, first: int) -> AnyValue:
    """x one place later along ``axis``, with the number ``first`` in front."""
    shape = tuple(1 if k == axis else size for k, size in enumerate(x.shape))
    front = full(shape, np.full((), first, x.dtype.numpy), x)
    return part(concatenate([front, x], axis), axis, 0, x.shape[axis])


def _following(x: AnyValue, axis: int) -> AnyValue:
    """x one place earlier along ``axis``, with 0 at the end."""
    width = [(0, 1 if k == axis else 0) for k in range(x.ndim)]
    return part(with_zeros(x, width), axis, 1, x.shape[axis])


def cumsum(x: ArrayLike[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """The running sum along ``axis``; of x flattened if it is None.

    Added from the first element on. Bools and integers below 64 bits are added as int64 (unsigned:
    uint64), as NumPy does.

    Args:
        axis: along which; None flattens x first.
        dtype: convert to it before adding.

    >>> sg.evaluate(sg.cumsum([1.0, 2.0, 3.0]))
    array([1., 3., 6.])
    """
    return _running(CumSum, x, axis, dtype)


def cumprod(x: ArrayLike[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """The running product along ``axis``; of x flattened if it is None. Otherwise as ``cumsum``.

    Its gradient is right where elements are 0.

    Args:
        axis: along which; None flattens x first.
        dtype: convert to it before multiplying.

    >>> sg.cumprod([1.0, 2.0, 3.0])
    array([1., 2., 6.])
    """
    return _running(CumProd, x, axis, dtype)


def linear_scan(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], axis: int = -1) -> AnyValue:
    """out[0] = b[0]; then out[i] = a[i] * out[i - 1] + b[i] along ``axis``; a and b broadcast.

    The recurrence of moving averages and of linear state spaces. A kernel runs through the axis in
    order, through several rows at a time.

    Args:
        a, b: values.
        axis: one axis.

    >>> sg.linear_scan([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])
    array([1.  , 1.5 , 1.75])
    """
    left, right = promoted_values((a, b))
    total = broadcast_arrays(left, right)
    return LinearScan(axis_of(axis, total[1]))(*total)


def _running(kind: type[_Scan], x: ArrayLike[AnyValue], axis: int | None, dtype: Any) -> AnyValue:
    value = as_value(x)
    value = astype(value, counting_dtype(value.dtype, dtype))
    value, place = with_axis(value, axis)
    return kind(place)(value)

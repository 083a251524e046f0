"""Functions over axes: NumPy's sum, mean, max, argmax and their kin, made of the three reductions.

Here axes are counted from either end, ``keepdims`` becomes a reshape, and integers widen before
they are added. The functions have NumPy's names, so this file does without the builtins they hide.
"""

from __future__ import annotations

from math import prod
from typing import Any

from staticgrad.ir.dtype import BOOL, F64, I64, U64, DType
from staticgrad.ir.value import FUNCTIONS, NUMPY_NAMES, Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import reshape
from staticgrad.ops.operands import Axes, as_value, axes_of, axis_of, dtype_of
from staticgrad.ops.powers import flat_root
from staticgrad.ops.reduce import Extreme, Max, Min, Reduction, Sum


def sum(x: Operand, axis: Axes = None, *, dtype: Any = None, keepdims: bool = False) -> Value:
    """The sum over ``axis``: an int, a tuple, or None for all axes; 0 of no elements.

    Bools and integers below 64 bits are added as int64 (unsigned: uint64), as NumPy does; floats in
    their own dtype, along a fixed tree (the same bits on every run and every machine).

    Args:
        x: a value.
        axis: which axes; negative ones count from the end.
        dtype: convert to it before adding.
        keepdims: keep the reduced axes, with size 1.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("sum", x)
    axes = axes_of("sum", axis, value)
    wanted = dtype_of("sum", dtype) if dtype is not None else _sum_dtype(value.dtype)
    return _reduced(Sum, FUNCTIONS["astype"](value, wanted), axes, keepdims)


def max(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The largest element over ``axis`` (all axes by default). NaN wins.

    Equal elements share the gradient equally. A named size that is 0 in a run is an error of that
    run; arguments as for ``sum``.

    Raises:
        EmptyReductionError: there are no elements.
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("max", x)
    return _reduced(Max, value, axes_of("max", axis, value), keepdims)


def min(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The smallest element over ``axis`` (all axes by default). NaN wins. Otherwise as ``max``.

    Raises:
        EmptyReductionError: there are no elements.
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("min", x)
    return _reduced(Min, value, axes_of("min", axis, value), keepdims)


def mean(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The mean over ``axis`` (all axes by default); NaN of no elements. Of integers in float64.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("mean", x)
    axes = axes_of("mean", axis, value)
    if not value.dtype.is_float:
        value = FUNCTIONS["astype"](value, F64)
    total = _reduced(Sum, value, axes, keepdims)
    return total / _count(value, axes) if axes else total


def var(x: Operand, axis: Axes = None, *, ddof: int = 0, keepdims: bool = False) -> Value:
    """The squared distances from the mean, summed over ``axis``, by their number minus ``ddof``.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    return _variance("var", x, axis, ddof, keepdims)


def _variance(op: str, x: Operand, axis: Axes, ddof: int, keepdims: bool) -> Value:
    value = as_value(op, x)
    axes = axes_of(op, axis, value)
    if not value.dtype.is_float:
        value = FUNCTIONS["astype"](value, F64)
    away = value - mean(value, axes, keepdims=True)
    return sum(away * away, axes, keepdims=keepdims) / _count(value, axes, ddof)  # type: ignore[no-any-return]


def std(x: Operand, axis: Axes = None, *, ddof: int = 0, keepdims: bool = False) -> Value:
    """The square root of ``var``; its derivative is 0 where all elements are equal.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    return flat_root(_variance("std", x, axis, ddof, keepdims))


def any(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """Whether an element over ``axis`` is true (not zero); False of no elements.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("any", x)
    axes = axes_of("any", axis, value)
    return sum(FUNCTIONS["astype"](value, BOOL), axes, keepdims=keepdims) > 0  # type: ignore[no-any-return]


def all(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """Whether every element over ``axis`` is true (not zero); True of no elements.

    Raises:
        AxisError: there is no such axis, or one is named twice.
    """
    value = as_value("all", x)
    axes = axes_of("all", axis, value)
    false = FUNCTIONS["logical_not"](FUNCTIONS["astype"](value, BOOL))
    return sum(false, axes, keepdims=keepdims) == 0  # type: ignore[no-any-return]


def argmax(x: Operand, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """The position (int64) of the largest element along ``axis``, in C order over all by default.

    The first of equal ones; the first NaN if there is one.

    Raises:
        EmptyReductionError: there are no elements.
        AxisError: there is no such axis.
    """
    return _position("argmax", Max, x, axis, keepdims)


def argmin(x: Operand, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """The position (int64) of the smallest element along ``axis``. Otherwise as ``argmax``.

    Raises:
        EmptyReductionError: there are no elements.
        AxisError: there is no such axis.
    """
    return _position("argmin", Min, x, axis, keepdims)


def _position(op: str, kind: type[Extreme], x: Operand, axis: int | None, keepdims: bool) -> Value:
    value = as_value(op, x)
    shape = value.shape
    if axis is None:
        value, place = reshape(value, value.size), 0
    else:
        place = axis_of(op, axis, value)
    best = _reduced(kind, value, (place,), keepdims=True)
    hit = FUNCTIONS["equal"](value, best)
    if value.dtype.is_float:
        hit = FUNCTIONS["logical_or"](hit, FUNCTIONS["not_equal"](value, value))
    count = FUNCTIONS["size_value"](value.shape[place], I64)
    positions = FUNCTIONS["iota"](value.shape, place, like=value)
    found = _reduced(Min, FUNCTIONS["where"](hit, positions, count), (place,), keepdims)
    return reshape(found, (1,) * len(shape)) if axis is None and keepdims else found


def _reduced(kind: type[Reduction], x: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """The reduction over ``axes``; x itself over none."""
    if not axes:
        return x
    out: Value = kind(axes)(x)
    if not keepdims:
        return out
    return reshape(out, tuple(1 if k in axes else size for k, size in enumerate(x.shape)))


def _sum_dtype(dtype: DType) -> DType:
    """The dtype that NumPy adds in."""
    if dtype.is_float:
        return dtype
    return U64 if dtype.kind == "u" else I64


def _count(x: Value, axes: tuple[int, ...], ddof: int = 0) -> Any:
    """How many elements a reduction of x combines, less ``ddof``, in the dtype of x."""
    count = prod(x.shape[axis] for axis in axes) - ddof
    # A literal count is a Python number: it takes the dtype of x.
    return float(count) if isinstance(count, int) else FUNCTIONS["size_value"](count, x.dtype)


FUNCTIONS.update(
    {
        f.__name__: f
        for f in (sum, max, min, mean, var, std, any, all, argmax, argmin)
    }
)  # fmt: skip
NUMPY_NAMES.update(amax="max", amin="min")

"""Reductions that ignore NaN: a NaN counts as missing and takes no gradient.

Integers and bools have no NaN: for them each function equals the one that it is named after.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions import aggregate as of
from staticgrad.functions.masking import Mask, correction_of, fill_outside_mask, mask_of
from staticgrad.functions.statistics import prod
from staticgrad.functions.variants import variant
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import flat_root, isnan
from staticgrad.language.ops.complex_readings import abs_squared
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.operands import Axes, as_value, dtype_of, floating, reduction_axes
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.scans import cumprod, cumsum
from staticgrad.language.ops.selection import where


@variant(of.sum)
def nansum(x: Any, *args: Any, **options: Any) -> Any:
    """Sum over ``axis``, ignoring NaN; 0 where all are NaN. NaN elements take no gradient.

    >>> sg.nansum([3.0, float("nan"), 5.0])
    np.float64(8.0)
    """
    return of.sum(_replace_nan(x, 0.0), *args, **options)


@variant(prod)
def nanprod(x: Any, *args: Any, **options: Any) -> Any:
    """Product over ``axis``, ignoring NaN; 1 where all are NaN. NaN elements take no gradient.

    >>> sg.nanprod([3.0, float("nan"), 5.0])
    np.float64(15.0)
    """
    return prod(_replace_nan(x, 1.0), *args, **options)


@variant(cumsum)
def nancumsum(x: Any, *args: Any, **options: Any) -> Any:
    """Running sum along ``axis`` in which NaN counts as 0.

    >>> sg.nancumsum([2.0, float("nan"), 3.0])
    array([2., 2., 5.])
    """
    return cumsum(_replace_nan(x, 0.0), *args, **options)


@variant(cumprod)
def nancumprod(x: Any, *args: Any, **options: Any) -> Any:
    """Running product along ``axis`` in which NaN counts as 1.

    >>> sg.nancumprod([2.0, float("nan"), 3.0])
    array([2., 2., 6.])
    """
    return cumprod(_replace_nan(x, 1.0), *args, **options)


@variant(of.argmax)
def nanargmax(x: Any, *args: Any, **options: Any) -> Any:
    """Index (int64) of the largest element along ``axis``, ignoring NaN; 0 where all are NaN.

    The first of equal elements. NumPy raises where all are NaN, which only a run can find.

    >>> sg.nanargmax([3.0, float("nan"), 5.0])
    np.int64(2)
    """
    return of.argmax(_replace_nan(x, -math.inf), *args, **options)


@variant(of.argmin)
def nanargmin(x: Any, *args: Any, **options: Any) -> Any:
    """Index (int64) of the smallest element along ``axis``, ignoring NaN; 0 where all are NaN.

    The first of equal elements. NumPy raises where all are NaN, which only a run can find.

    >>> sg.nanargmin([3.0, float("nan"), 5.0])
    np.int64(0)
    """
    return of.argmin(_replace_nan(x, math.inf), *args, **options)


@variant(of.mean)
@rounded_once
def nanmean(
    x: Any, axis: Axes = None, dtype: Any = None, *, keepdims: bool = False, where: Mask = None
) -> Any:
    """Mean over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.nanmean([3.0, float("nan"), 5.0])
    np.float64(4.0)
    """
    value = _fill_with_nan(x, dtype, where)
    return nansum(value, axis, keepdims=keepdims) / _present(value, axis, keepdims)


@variant(of.var)
def nanvar(x: Any, *args: Any, **options: Any) -> Any:
    """Variance over ``axis``, ignoring NaN; NaN where at most ``ddof`` numbers remain.

    >>> sg.nanvar([3.0, float("nan"), 5.0])
    np.float64(1.0)
    """
    return _variance(x, *args, **options)


@variant(of.std)
def nanstd(x: Any, *args: Any, **options: Any) -> Any:
    """Square root of ``nanvar``; the derivative is 0 where all elements are equal.

    >>> sg.nanstd([3.0, float("nan"), 5.0])
    np.float64(1.0)
    """
    return _variance(x, *args, **options, root=True)


@variant(of.max)
def nanmax(x: Any, *args: Any, **options: Any) -> Any:
    """Largest element over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.nanmax([3.0, float("nan"), 5.0])
    np.float64(5.0)
    """
    largest = of.max(_replace_nan(x, -math.inf), *args, **options)
    return _nan_where_empty(largest, x, *args, **options)


@variant(of.min)
def nanmin(x: Any, *args: Any, **options: Any) -> Any:
    """Smallest element over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.nanmin([3.0, float("nan"), 5.0])
    np.float64(3.0)
    """
    smallest = of.min(_replace_nan(x, math.inf), *args, **options)
    return _nan_where_empty(smallest, x, *args, **options)


def _fill_with_nan(x: ArrayLike[AnyValue], dtype: Any, where: Mask) -> AnyValue:
    """Convert x to a float dtype, with NaN where ``where=`` excludes an element."""
    if dtype is not None and not dtype_of(dtype).is_float:
        raise DTypeError(f"{called_name()}: dtype={dtype!r} is not floating")
    value = floating(x)
    if dtype is not None:
        value = astype(value, dtype)
    mask = mask_of(where, value)
    return fill_outside_mask(value, mask, np.full((), np.nan, value.dtype.numpy))


@rounded_once
def _variance(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Mask = None,
    mean: Any = None,
    correction: float | None = None,
    root: bool = False,
) -> Any:
    """Compute the variance that ignores NaN, or its ``root`` (nanvar, nanstd)."""
    value = _fill_with_nan(x, dtype, where)
    dof_correction = correction_of(ddof, correction)
    axes = reduction_axes(axis, value)
    deviation = value - (nanmean(value, axes, keepdims=True) if mean is None else mean)
    present = equal(value, value)
    # Missing elements do not deviate; inf - inf is NaN and counts.
    deviation = selection.where(present, deviation, 0.0)
    count = _present(value, axes, keepdims) - float(dof_correction)
    mean_square = of.sum(abs_squared(deviation), axes, keepdims=keepdims) / count
    variance = selection.where(count > 0.0, mean_square, np.full((), np.nan, value.dtype.numpy))
    return flat_root(variance) if root else variance


def _present(x: AnyValue, axis: Axes, keepdims: bool) -> AnyValue:
    """Count the elements over ``axis`` that are not NaN, in the dtype of x."""
    indicator = astype(equal(x, x), x.dtype)
    return of.sum(indicator, axis, keepdims=keepdims)


def _replace_nan(x: ArrayLike[AnyValue], instead: float) -> AnyValue:
    value = as_value(x)
    return where(value != value, instead, value) if value.dtype.is_float else value


def _nan_where_empty(
    result: Any,
    x: Any,
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Mask = None,
) -> Any:
    """Set a reduction's result to NaN where all elements are missing."""
    value = as_value(x)
    if initial is not None or not value.dtype.is_float:
        return result
    nothing = of.all(isnan(value), axis, keepdims=keepdims)
    return selection.where(nothing, np.full((), np.nan, value.dtype.numpy), result)

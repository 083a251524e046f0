"""Reductions that ignore NaN: a NaN counts as missing and takes no gradient.

Integers and bools have no NaN: for them each function equals the one that it is named after.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.families import like
from staticgrad.functions import aggregate as of
from staticgrad.functions.masking import Mask, correction_of, counted, mask_of
from staticgrad.functions.statistics import prod
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.arithmetic import flat_root
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import Axes, as_value, axes_of, dtype_of, floating
from staticgrad.ops.scans import cumprod, cumsum
from staticgrad.ops.selection import where


@like(of.sum)
def nansum(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Sum over ``axis``, ignoring NaN; 0 where all are NaN. NaN elements take no gradient.

    >>> sg.evaluate(sg.nansum([1.0, sg.nan, 3.0]))
    array(4.)
    """
    value = _without_nan("nansum", x, 0.0)
    return of.sum(value, axis, dtype, keepdims=keepdims, initial=initial, where=where)


@like(prod)
def nanprod(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Product over ``axis``, ignoring NaN; 1 where all are NaN.

    >>> sg.evaluate(sg.nanprod([1.0, sg.nan, 3.0]))
    array(3.)
    """
    value = _without_nan("nanprod", x, 1.0)
    return prod(value, axis, dtype, keepdims=keepdims, initial=initial, where=where)


def nancumsum(x: Operand[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """Running sum along ``axis`` in which NaN counts as 0.

    Args:
        x: a value.
        axis: one axis; None for all elements, flattened.
        dtype: of the sum; by default that of ``sum``.

    >>> sg.evaluate(sg.nancumsum([1.0, float("nan"), 2.0]))
    array([1., 1., 3.])
    """
    return cumsum(_without_nan("nancumsum", x, 0.0), axis, dtype)


@like(nancumsum)
def nancumprod(x: Operand[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """Running product along ``axis`` in which NaN counts as 1.

    Args:
        dtype: of the product; by default that of ``prod``.

    >>> sg.evaluate(sg.nancumprod([2.0, float("nan"), 3.0]))
    array([2., 2., 6.])
    """
    return cumprod(_without_nan("nancumprod", x, 1.0), axis, dtype)


@like(of.mean)
def nanmean(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Mask = None,
) -> AnyValue:
    """Mean over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.evaluate(sg.nanmean([1.0, sg.nan, 3.0]))
    array(2.)
    """
    value = _counted("nanmean", x, dtype, where)
    return nansum(value, axis, keepdims=keepdims) / _present(value, axis, keepdims)


def _counted(op: str, x: Operand[AnyValue], dtype: Any, where: Mask) -> AnyValue:
    if dtype is not None and not dtype_of(op, dtype).is_float:
        raise DTypeError(f"{op}: dtype={dtype!r} is not floating")
    value = floating(op, x)
    if dtype is not None:
        value = functions.astype(value, dtype)
    mask = mask_of(op, where, value)
    return counted(value, mask, np.full((), np.nan, value.dtype.numpy))


@like(of.var)
def nanvar(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Mask = None,
    mean: Operand[AnyValue] | None = None,
    correction: float | None = None,
) -> AnyValue:
    """Variance over ``axis``, ignoring NaN; NaN where at most ``ddof`` numbers remain.

    >>> sg.evaluate(sg.nanvar([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _counted("nanvar", x, dtype, where)
    less = correction_of("nanvar", ddof, correction)
    return _variance("nanvar", value, axis, less, keepdims, mean)


@like(of.std)
def nanstd(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Mask = None,
    mean: Operand[AnyValue] | None = None,
    correction: float | None = None,
) -> AnyValue:
    """Square root of ``nanvar``; the derivative is 0 where all elements are equal.

    >>> sg.evaluate(sg.nanstd([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _counted("nanstd", x, dtype, where)
    less = correction_of("nanstd", ddof, correction)
    return flat_root(_variance("nanstd", value, axis, less, keepdims, mean))


@like(of.max)
def nanmax(
    x: Operand[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Largest element over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.evaluate(sg.nanmax([1.0, sg.nan, 3.0]))
    array(3.)
    """
    value = _without_nan("nanmax", x, -math.inf)
    found = of.max(value, axis, keepdims=keepdims, initial=initial, where=where)
    return found if initial is not None else _or_nan(as_value("nanmax", x), found, axis, keepdims)


@like(of.min)
def nanmin(
    x: Operand[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Smallest element over ``axis``, ignoring NaN; NaN where all are NaN.

    >>> sg.evaluate(sg.nanmin([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _without_nan("nanmin", x, math.inf)
    found = of.min(value, axis, keepdims=keepdims, initial=initial, where=where)
    return found if initial is not None else _or_nan(as_value("nanmin", x), found, axis, keepdims)


@like(of.argmax)
def nanargmax(x: Operand[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """Index (int64) of the largest element along ``axis``, ignoring NaN; 0 where all are NaN.

    The first of equal elements. NumPy raises where all are NaN, which is not known before the run.

    >>> sg.evaluate(sg.nanargmax([1.0, sg.nan, 3.0]))
    array(2)
    """
    value = _without_nan("nanargmax", x, -math.inf)
    return of.argmax(value, axis, keepdims=keepdims)


@like(of.argmin)
def nanargmin(x: Operand[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """Index (int64) of the smallest element along ``axis``, ignoring NaN; 0 where all are NaN.

    The first of equal elements. NumPy raises where all are NaN, which is not known before the run.

    >>> sg.evaluate(sg.nanargmin([sg.nan, 1.0, 3.0]))
    array(1)
    """
    value = _without_nan("nanargmin", x, math.inf)
    return of.argmin(value, axis, keepdims=keepdims)


def _variance(
    op: str,
    value: AnyValue,
    axis: Axes,
    less: float,
    keepdims: bool,
    middle: Operand[AnyValue] | None,
) -> AnyValue:
    axes = axes_of(op, axis, value)
    away = value - (nanmean(value, axes, keepdims=True) if middle is None else middle)
    away = where(value == value, away, 0.0)  # of what is missing; inf - inf is NaN and counts
    count = _present(value, axes, keepdims) - float(less)
    spread = of.sum(away * away, axes, keepdims=keepdims) / count
    return where(count > 0.0, spread, np.full((), np.nan, value.dtype.numpy))


def _present(x: AnyValue, axis: Axes, keepdims: bool) -> AnyValue:
    there = functions.astype(functions.equal(x, x), x.dtype)
    return of.sum(there, axis, keepdims=keepdims)


def _without_nan(op: str, x: Operand[AnyValue], instead: float) -> AnyValue:
    value = as_value(op, x)
    return where(value != value, instead, value) if value.dtype.is_float else value


def _or_nan(x: AnyValue, found: AnyValue, axis: Axes, keepdims: bool) -> AnyValue:
    if not x.dtype.is_float:
        return found
    nothing = of.all(functions.isnan(x), axis, keepdims=keepdims)
    return where(nothing, np.full((), np.nan, x.dtype.numpy), found)

"""Totals over axes that overlook NaN: what is missing counts as nothing and takes no gradient.

Made of ``aggregate.py``, ``totals.py`` and ``scans.py``; nothing here is an op. Of integers and
bools, which have no NaN, each is the function that it is named after.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.families import like
from staticgrad.functions import aggregate as of
from staticgrad.functions.masking import Mask, correction_of, counted, mask_of
from staticgrad.functions.totals import prod
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.arithmetic import flat_root
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import Axes, as_value, axes_of, dtype_of, floating
from staticgrad.ops.scans import cumprod, cumsum
from staticgrad.ops.selection import where


def nansum(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """The sum over ``axis`` of what is no NaN; 0 of nothing. NaN elements take no gradient.

    Other arguments, and errors, as for ``sum``.

    Args:
        x: a value.
        axis, dtype, keepdims, initial, where: as for ``sum``.

    Returns:
        The sums: x without the axes that were reduced.

    >>> sg.evaluate(sg.nansum([1.0, sg.nan, 3.0]))
    array(4.)
    """
    value = _without_nan("nansum", x, 0.0)
    return of.sum(value, axis, dtype, keepdims=keepdims, initial=initial, where=where)


def nanprod(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """The product over ``axis`` of what is no NaN; 1 of nothing.

    Other arguments, and errors, as for ``prod``.

    Args:
        x: a value.
        axis, dtype, keepdims, initial, where: as for ``sum``.

    Returns:
        The products: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanprod([1.0, sg.nan, 3.0]))
    array(3.)
    """
    value = _without_nan("nanprod", x, 1.0)
    return prod(value, axis, dtype, keepdims=keepdims, initial=initial, where=where)


def nancumsum(x: Operand[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """The running sum along ``axis`` in which NaN counts as 0.

    Args:
        x: a value.
        axis: one axis; None for all elements, flattened.
        dtype: of the sum; by default that of ``sum``.

    Returns:
        A value of the shape of x, or flattened.

    >>> sg.evaluate(sg.nancumsum([1.0, float("nan"), 2.0]))
    array([1., 1., 3.])
    """
    return cumsum(_without_nan("nancumsum", x, 0.0), axis, dtype)


@like(nancumsum)
def nancumprod(x: Operand[AnyValue], axis: int | None = None, dtype: Any = None) -> AnyValue:
    """The running product along ``axis`` in which NaN counts as 1.

    Args:
        dtype: of the product; by default that of ``prod``.

    >>> sg.evaluate(sg.nancumprod([2.0, float("nan"), 3.0]))
    array([2., 2., 6.])
    """
    return cumprod(_without_nan("nancumprod", x, 1.0), axis, dtype)


def nanmean(
    x: Operand[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Mask = None,
) -> AnyValue:
    """The mean over ``axis`` of what is no NaN; NaN of nothing. Arguments as for ``mean``.

    Args:
        x: a value.
        axis, dtype, keepdims, where: as for ``mean``.

    Returns:
        The means: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanmean([1.0, sg.nan, 3.0]))
    array(2.)
    """
    value = _counted("nanmean", x, dtype, where)
    return nansum(value, axis, keepdims=keepdims) / _present(value, axis, keepdims)


def _counted(op: str, x: Operand[AnyValue], dtype: Any, where: Mask) -> AnyValue:
    """x as a floating value of ``dtype``, NaN where it does not count."""
    if dtype is not None and not dtype_of(op, dtype).is_float:
        raise DTypeError(f"{op}: dtype={dtype!r} is not floating")
    value = floating(op, x)
    if dtype is not None:
        value = functions.astype(value, dtype)
    mask = mask_of(op, where, value)
    return counted(value, mask, np.full((), np.nan, value.dtype.numpy))


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
    """The squared distances from the mean of what is no NaN, summed, by their number less ``ddof``.

    NaN where no more than ``ddof`` elements are left. Arguments, and errors, as for ``var``.

    Args:
        x: a value.
        axis, dtype, ddof, keepdims, where, mean, correction: as for ``var``.

    Returns:
        The variances: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanvar([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _counted("nanvar", x, dtype, where)
    less = correction_of("nanvar", ddof, correction)
    return _variance("nanvar", value, axis, less, keepdims, mean)


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
    """The square root of ``nanvar``; its derivative is 0 where all elements are equal.

    Arguments, and errors, as for ``var``.

    Args:
        x: a value.
        axis, dtype, ddof, keepdims, where, mean, correction: as for ``var``.

    Returns:
        The standard deviations: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanstd([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _counted("nanstd", x, dtype, where)
    less = correction_of("nanstd", ddof, correction)
    return flat_root(_variance("nanstd", value, axis, less, keepdims, mean))


def nanmax(
    x: Operand[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """The largest element over ``axis`` that is no NaN; NaN where all are.

    Arguments, and errors, as for ``max``.

    Args:
        x: a value.
        axis, keepdims, initial, where: as for ``max``.

    Returns:
        The largest elements: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanmax([1.0, sg.nan, 3.0]))
    array(3.)
    """
    value = _without_nan("nanmax", x, -math.inf)
    found = of.max(value, axis, keepdims=keepdims, initial=initial, where=where)
    return found if initial is not None else _or_nan(as_value("nanmax", x), found, axis, keepdims)


def nanmin(
    x: Operand[AnyValue],
    axis: Axes = None,
    *,
    keepdims: bool = False,
    initial: Operand[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """The smallest element over ``axis`` that is no NaN; NaN where all are.

    Arguments, and errors, as for ``min``.

    Args:
        x: a value.
        axis, keepdims, initial, where: as for ``max``.

    Returns:
        The smallest elements: x without the axes that were reduced.

    >>> sg.evaluate(sg.nanmin([1.0, sg.nan, 3.0]))
    array(1.)
    """
    value = _without_nan("nanmin", x, math.inf)
    found = of.min(value, axis, keepdims=keepdims, initial=initial, where=where)
    return found if initial is not None else _or_nan(as_value("nanmin", x), found, axis, keepdims)


@like(of.argmax)
def nanargmax(x: Operand[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """The position (int64) of the largest element along ``axis`` that is no NaN; 0 where all are.

    The first of equal ones. NumPy raises where all are NaN, which only a run knows.

    >>> sg.evaluate(sg.nanargmax([1.0, sg.nan, 3.0]))
    array(2)
    """
    value = _without_nan("nanargmax", x, -math.inf)
    return of.argmax(value, axis, keepdims=keepdims)


@like(of.argmin)
def nanargmin(x: Operand[AnyValue], axis: int | None = None, *, keepdims: bool = False) -> AnyValue:
    """The position (int64) of the smallest element along ``axis`` that is no NaN; 0 where all are.

    The first of equal ones. NumPy raises where all are NaN, which only a run knows.

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
    """How many elements over ``axis`` are no NaN, in the dtype of x."""
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

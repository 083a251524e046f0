"""Totals over axes that overlook NaN: what is missing counts as nothing and takes no gradient.

Made of ``aggregate.py``, ``totals.py`` and ``scans.py``; nothing here is an op. Of integers and
bools, which have no NaN, each is the function that it is named after.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops import aggregate as of
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import Axes, as_value, axes_of, floating
from staticgrad.ops.powers import flat_root
from staticgrad.ops.scans import cumprod, cumsum
from staticgrad.ops.selection import where
from staticgrad.ops.totals import prod


def nansum(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The sum over ``axis`` of what is no NaN; 0 of nothing. NaN elements take no gradient.

    Raises:
        AxisError: there is no such axis.
    """
    return of.sum(_without_nan("nansum", x, 0.0), axis, keepdims=keepdims)


def nanprod(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The product over ``axis`` of what is no NaN; 1 of nothing.

    Raises:
        AxisError: there is no such axis.
    """
    return prod(_without_nan("nanprod", x, 1.0), axis, keepdims=keepdims)


def nancumsum(x: Operand, axis: int | None = None) -> Value:
    """The running sum along ``axis`` in which NaN counts as 0; of x flattened if it is None.

    Raises:
        AxisError: there is no such axis.
    """
    return cumsum(_without_nan("nancumsum", x, 0.0), axis)


def nancumprod(x: Operand, axis: int | None = None) -> Value:
    """The running product along ``axis`` in which NaN counts as 1; of x flattened if it is None.

    Raises:
        AxisError: there is no such axis.
    """
    return cumprod(_without_nan("nancumprod", x, 1.0), axis)


def nanmean(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The mean over ``axis`` of what is no NaN; NaN of nothing.

    Raises:
        AxisError: there is no such axis.
    """
    value = floating("nanmean", x)
    return nansum(value, axis, keepdims=keepdims) / _present(value, axis, keepdims)  # type: ignore[no-any-return]


def nanvar(x: Operand, axis: Axes = None, *, ddof: int = 0, keepdims: bool = False) -> Value:
    """The squared distances from the mean of what is no NaN, summed, by their number less ``ddof``.

    NaN where no more than ``ddof`` elements are left.

    Raises:
        AxisError: there is no such axis.
    """
    return _variance("nanvar", x, axis, ddof, keepdims)


def nanstd(x: Operand, axis: Axes = None, *, ddof: int = 0, keepdims: bool = False) -> Value:
    """The square root of ``nanvar``; its derivative is 0 where all elements are equal.

    Raises:
        AxisError: there is no such axis.
    """
    return flat_root(_variance("nanstd", x, axis, ddof, keepdims))


def nanmax(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The largest element over ``axis`` that is no NaN; NaN where all are. Raises as ``max``."""
    found = of.max(_without_nan("nanmax", x, -math.inf), axis, keepdims=keepdims)
    return _or_nan(as_value("nanmax", x), found, axis, keepdims)


def nanmin(x: Operand, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """The smallest element over ``axis`` that is no NaN; NaN where all are. Raises as ``max``."""
    found = of.min(_without_nan("nanmin", x, math.inf), axis, keepdims=keepdims)
    return _or_nan(as_value("nanmin", x), found, axis, keepdims)


def _variance(op: str, x: Operand, axis: Axes, ddof: int, keepdims: bool) -> Value:
    value = floating(op, x)
    axes = axes_of(op, axis, value)
    away = value - nanmean(value, axes, keepdims=True)
    count = _present(value, axes, keepdims) - float(ddof)
    spread = nansum(away * away, axes, keepdims=keepdims) / count
    return where(count > 0.0, spread, np.full((), np.nan, value.dtype.numpy))


def _present(x: Value, axis: Axes, keepdims: bool) -> Value:
    """How many elements over ``axis`` are no NaN, in the dtype of x."""
    there = FUNCTIONS["astype"](FUNCTIONS["equal"](x, x), x.dtype)
    return of.sum(there, axis, keepdims=keepdims)


def _without_nan(op: str, x: Operand, instead: float) -> Value:
    value = as_value(op, x)
    return where(value != value, instead, value) if value.dtype.is_float else value


def _or_nan(x: Value, found: Value, axis: Axes, keepdims: bool) -> Value:
    if not x.dtype.is_float:
        return found
    nothing = of.all(FUNCTIONS["isnan"](x), axis, keepdims=keepdims)
    return where(nothing, np.full((), np.nan, x.dtype.numpy), found)


def _listed() -> dict[str, Any]:
    functions = (
        nansum, nanprod, nancumsum, nancumprod, nanmean, nanvar, nanstd, nanmax, nanmin,
    )  # fmt: skip
    return {f.__name__: f for f in functions}


FUNCTIONS.update(_listed())

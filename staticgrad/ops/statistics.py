"""Weighted means, covariance and correlation, as NumPy's. Nothing here is an op."""

from __future__ import annotations

from staticgrad.errors import RankError
from staticgrad.ir.value import FUNCTIONS, Value
from staticgrad.ops import aggregate as of
from staticgrad.ops.contract import matmul
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.joining import atleast_2d
from staticgrad.ops.movement import reshape, transpose
from staticgrad.ops.operands import Axes, axis_of, floating, promoted_values, related
from staticgrad.ops.slices import concatenate


def average(x: Operand, axis: Axes = None, weights: Operand | None = None) -> Value:
    """The mean over ``axis``, each element counted by its weight; weights have the shape of x.

    Raises:
        ShapeError: weights that do not broadcast with x.
        AxisError: there is no such axis.
    """
    if weights is None:
        return of.mean(x, axis)
    value, weight = (floating("average", v) for v in promoted_values("average", (x, weights)))
    if weight.ndim == 1 and value.ndim > 1 and isinstance(axis, int):
        place = axis_of("average", axis, value)
        weight = reshape(
            weight, tuple(weight.shape[0] if k == place else 1 for k in range(value.ndim))
        )
    value, weight = FUNCTIONS["broadcast_arrays"](value, weight)
    return of.sum(value * weight, axis) / of.sum(weight, axis)  # type: ignore[no-any-return]


def cov(
    m: Operand,
    y: Operand | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
) -> Value:
    """The covariance matrix of variables, which are the rows of m (columns if not ``rowvar``).

    Args:
        m: variables by observations [v, n]; a vector is one variable, and gives a 0-d result.
        y: more variables, seen at the same observations.
        rowvar: whether variables are rows.
        bias: divide by n instead of n - 1.
        ddof: divide by n - ddof, whatever ``bias`` says.

    Raises:
        RankError: more than two axes.
        ShapeError: another number of observations in y.
    """
    rows = _variables("cov", m, rowvar)
    if y is not None:
        rows = concatenate(list(promoted_values("cov", (rows, _variables("cov", y, rowvar)))), 0)
    less = ddof if ddof is not None else 0 if bias else 1
    away = rows - of.mean(rows, 1, keepdims=True)
    count = FUNCTIONS["size_value"](rows.shape[1] - less, rows.dtype)
    found = matmul(away, transpose(away)) / count
    return reshape(found, ()) if found.shape == (1, 1) else found


def corrcoef(x: Operand, y: Operand | None = None, rowvar: bool = True) -> Value:
    """The correlation coefficients of variables: ``cov`` over the standard deviations of both.

    Held between -1 and 1. Raises as ``cov``.
    """
    found = cov(x, y, rowvar)
    if not found.ndim:
        return found / found  # type: ignore[no-any-return]
    deviation = FUNCTIONS["sqrt"](FUNCTIONS["diagonal"](found))
    scaled = found / FUNCTIONS["expand_dims"](deviation, 1) / deviation
    return FUNCTIONS["clip"](scaled, -1.0, 1.0)  # type: ignore[no-any-return]


def _variables(op: str, x: Operand, rowvar: bool) -> Value:
    value = floating(op, x)
    if value.ndim > 2:
        raise RankError(f"{op}: takes at most two axes, got {value.type}", related=related(value))
    wide = atleast_2d(value)
    return transpose(wide) if not rowvar and value.ndim == 2 and wide.shape[0] != 1 else wide


FUNCTIONS.update(average=average, cov=cov, corrcoef=corrcoef)

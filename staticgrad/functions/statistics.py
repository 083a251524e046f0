"""Weighted means, covariance and correlation, as NumPy's."""

from __future__ import annotations

from typing import Any, Literal, overload

from staticgrad.errors import DTypeError, RankError, ShapeError
from staticgrad.families import like
from staticgrad.functions import aggregate as of
from staticgrad.functions.joining import with_two_axes
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.contract import matmul
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import reshape, transpose
from staticgrad.ops.operands import (
    Axes,
    as_value,
    as_values,
    axes_of,
    distinct_axes,
    dtype_of,
    floating,
    integer,
    promoted_values,
    related,
)
from staticgrad.ops.slices import concatenate
from staticgrad.types.dim import Size, maximum
from staticgrad.types.tensor import product


@overload
def average(
    x: Operand[AnyValue],
    axis: Axes = ...,
    weights: Operand[AnyValue] | None = ...,
    returned: Literal[False] = ...,
    *,
    keepdims: bool = ...,
) -> AnyValue: ...
@overload
def average(
    x: Operand[AnyValue],
    axis: Axes = ...,
    weights: Operand[AnyValue] | None = ...,
    *,
    returned: Literal[True],
    keepdims: bool = ...,
) -> tuple[AnyValue, AnyValue]: ...
def average(
    x: Operand[Any],
    axis: Axes = None,
    weights: Operand[Any] | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The mean over ``axis``, each element counted by its weight.

    Args:
        x: a value.
        axis: which axes; all by default.
        weights: one per element, or, where axes are named, one per place along these.
        returned: also return the sum of the weights, in the shape of the mean.
        keepdims: keep the reduced axes, with size 1.

    Returns:
        The mean, a floating value; with ``returned`` the pair of it and the sum of weights.

    >>> sg.evaluate(sg.average([1.0, 2.0, 6.0], weights=[1.0, 1.0, 2.0]))
    array(3.75)
    """
    if weights is None:
        value = as_value("average", x)
        found = of.mean(value, axis, keepdims=keepdims)
        if not returned:
            return found
        axes = axes_of("average", axis, value)
        many = functions.size_value(product(value.shape[k] for k in axes), found.dtype)
        return found, functions.full(found.shape, many, like=value)
    value, weight = (floating("average", v) for v in promoted_values("average", (x, weights)))
    if axis is not None and weight.shape != value.shape:
        weight = _along(weight, axis, value)
    value, weight = functions.broadcast_arrays(value, weight)
    total = of.sum(weight, axis, keepdims=keepdims)
    found = of.sum(value * weight, axis, keepdims=keepdims) / total
    return (found, total) if returned else found


def _along(weight: AnyValue, axis: Axes, x: AnyValue) -> AnyValue:
    """Weights of the places along ``axis``, with axes of size 1 for the others of x."""
    given = axis if isinstance(axis, list | tuple) else (axis,)
    places = distinct_axes("average", given, x)
    if weight.ndim != len(places):
        raise ShapeError(
            f"average: weights {weight.type} for {len(places)} axes of {x.type}",
            hint="one weight per element of x, or per place along the axes",
            related=related(x, weight),
        )
    ordered = transpose(weight, sorted(range(len(places)), key=places.__getitem__))
    sizes = iter(ordered.shape)
    return reshape(ordered, tuple(next(sizes) if k in places else 1 for k in range(x.ndim)))


def cov(
    m: Operand[AnyValue],
    y: Operand[AnyValue] | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Operand[AnyValue] | None = None,
    aweights: Operand[AnyValue] | None = None,
    *,
    dtype: Any = None,
) -> AnyValue:
    """The covariance matrix of variables, which are the rows of m (columns if not ``rowvar``).

    Args:
        m: variables by observations [v, n]; a vector is one variable, and gives a 0-d result.
        y: more variables, seen at the same observations.
        rowvar: whether variables are rows.
        bias: divide by n instead of n - 1.
        ddof: divide by n - ddof, whatever ``bias`` says.
        fweights: how often each observation was made: integers [n].
        aweights: how much each observation counts: numbers [n] that are not negative.
        dtype: a floating dtype to convert to first.

    Returns:
        A symmetric matrix, of the covariance of each pair.

    >>> sg.evaluate(sg.cov([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    if y is not None:
        m, y = as_values("cov", m, y)
    rows = _variables("cov", m, rowvar, dtype)
    if y is not None:
        more = _variables("cov", y, rowvar, dtype)
        rows = concatenate(list(promoted_values("cov", (rows, more))), 0)
    less = integer("cov", "ddof", ddof) if ddof is not None else 0 if bias else 1
    weights = _weights(rows, fweights, aweights)
    if weights is None:
        away = rows - of.mean(rows, 1, keepdims=True)
        left, count = away, _size(maximum(rows.shape[1] - less, 0), rows)
    else:
        total = of.sum(weights)
        away = rows - of.sum(rows * weights, 1, keepdims=True) / total
        left, count = away * weights, total - float(less)
        if aweights is not None:
            squares = of.sum(weights * as_values("cov", rows, aweights)[1]) / total
            count = total - float(less) * squares
        count = functions.maximum(count, 0.0)
    found = matmul(left, transpose(away)) / count
    return reshape(found, ()) if found.shape == (1, 1) else found


def _weights(
    rows: AnyValue, often: Operand[AnyValue] | None, much: Operand[AnyValue] | None
) -> AnyValue | None:
    """The weight of each observation, in the dtype of the variables."""
    found: AnyValue | None = None
    for name, given in (("fweights", often), ("aweights", much)):
        if given is None:
            continue
        weight = as_values("cov", rows, given)[1]
        if name == "fweights" and not weight.dtype.is_integer:
            text = f"cov: fweights are integers, not {weight.dtype.numpy}"
            raise DTypeError(text, hint="aweights may be any numbers", related=related(weight))
        if weight.ndim != 1:
            raise RankError(f"cov: {name} {weight.type} are no vector", related=related(weight))
        weight = functions.astype(weight, rows.dtype)
        found = weight if found is None else found * weight
    return found


def _size(size: Size, like: Value) -> Any:
    return float(size) if isinstance(size, int) else functions.size_value(size, like.dtype)


@like(cov)
def corrcoef(
    x: Operand[AnyValue],
    y: Operand[AnyValue] | None = None,
    rowvar: bool = True,
    *,
    dtype: Any = None,
) -> AnyValue:
    """The correlation coefficients of variables: ``cov`` over the standard deviations of both.

    Returns:
        A symmetric matrix of numbers, held between -1 and 1.

    >>> sg.evaluate(sg.corrcoef([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])).round(6)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    found = cov(x, y, rowvar, dtype=dtype)
    if not found.ndim:
        return found / found
    deviation = functions.sqrt(functions.diagonal(found))
    scaled = found / functions.expand_dims(deviation, 1) / deviation
    return functions.clip(scaled, -1.0, 1.0)


def _variables(op: str, x: Operand[AnyValue], rowvar: bool, dtype: Any) -> AnyValue:
    value = floating(op, x)
    if dtype is not None:
        wanted = dtype_of(op, dtype)
        if not wanted.is_float:
            raise DTypeError(f"{op}: dtype={wanted.numpy} is not floating", related=related(value))
        value = functions.astype(value, wanted)
    if value.ndim > 2:
        raise RankError(f"{op}: takes at most two axes, got {value.type}", related=related(value))
    wide = with_two_axes(value)
    return transpose(wide) if not rowvar and value.ndim == 2 and wide.shape[0] != 1 else wide

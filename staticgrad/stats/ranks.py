"""Ranks of data, with the name and arguments of ``scipy.stats``."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from staticgrad.extend import ArrayLike, Value, as_value, present, public
from staticgrad.extend.functions import any as some
from staticgrad.extend.ops import (
    argsort,
    astype,
    concatenate,
    cumsum,
    flip,
    greater_equal,
    isnan,
    linear_scan,
    moveaxis,
    not_equal,
    ravel,
    take_along_axis,
    where,
)

Method = Literal["average", "min", "max", "dense", "ordinal"]


@partial(public, operands=present)
def rankdata(a: ArrayLike, method: Method = "average", *, axis: int | None = None) -> Value:
    """Return the ranks of elements, from 1, as ``scipy.stats.rankdata``.

    Args:
        a: real numbers.
        method: the rank of equal elements: the mean of the ranks that they share, the least or the
            greatest of them; "dense", the number of different elements up to it; or "ordinal",
            in the order of ``a``.
        axis: along which to rank; by default all elements, as a vector.

    Returns:
        The ranks, float64 of "average" and int64 of the others. With a NaN along the axis ranks of
        "average" are NaN; for the other methods NaN is greater than all numbers. Ranks have no
        gradient.

    >>> sg.stats.rankdata([3.0, 1.0, 1.0, 2.0])
    array([4. , 1.5, 1.5, 3. ])
    """
    data = as_value(a)
    value = ravel(data) if axis is None else moveaxis(data, axis, -1)
    order = argsort(value, -1)
    ordered = take_along_axis(value, order, -1)
    edge = greater_equal(order[..., :1], 0)  # True, of the kind of the operand
    begins = concatenate([edge, not_equal(ordered[..., 1:], ordered[..., :-1])], -1)
    number = cumsum(0 * order + 1, -1)
    if method == "ordinal":
        ranks = number
    elif method == "dense":
        ranks = cumsum(astype(begins, "int64"), -1)
    else:
        least = _hold_number(begins, number)
        ends = concatenate([begins[..., 1:], edge], -1)
        greatest = flip(_hold_number(flip(ends, -1), flip(number, -1)), -1)
        ranks = {"min": least, "max": greatest}.get(method, (least + greatest) / 2.0)
    ranks = take_along_axis(ranks, argsort(order, -1), -1)
    if method == "average" and value.dtype.is_float:
        ranks = where(some(isnan(value), axis=-1, keepdims=True), float("nan"), ranks)
    return ranks if axis is None else moveaxis(ranks, -1, axis)


def _hold_number(begins: Any, number: Any) -> Any:
    """Return the number at the last place up to each one where ``begins`` is True."""
    return linear_scan(where(begins, 0, 1), where(begins, number, 0), axis=-1)

"""Running maxima, minima and logarithms of sums: what ``cumsum`` is to ``sum``, as loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgrad.families import like
from staticgrad.functions.loops.loops import scan
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, axis_of, floating


def cummax(x: Operand[AnyValue], axis: int | None = None, reverse: bool = False) -> AnyValue:
    """Compute the largest element so far along ``axis``; None flattens x.

    After a NaN all results are NaN. Gradients are those of ``maximum``, along the axis.

    Args:
        x: a value; along the axis of any size.
        axis: along which; None flattens x first.
        reverse: from the last element to the first.

    Returns:
        The shape of x; flattened if axis is None.

    >>> sg.evaluate(sg.cummax([1.0, 3.0, 2.0, 5.0]))
    array([1., 3., 3., 5.])
    """
    return _running("cummax", functions.maximum, as_value("cummax", x), axis, reverse)


@like(cummax)
def cummin(x: Operand[AnyValue], axis: int | None = None, reverse: bool = False) -> AnyValue:
    """The smallest element so far along ``axis``; otherwise as ``cummax``.

    >>> sg.evaluate(sg.cummin([3.0, 1.0, 2.0, 0.0], reverse=True))
    array([0., 0., 0., 0.])
    """
    return _running("cummin", functions.minimum, as_value("cummin", x), axis, reverse)


@like(cummax)
def cumlogsumexp(x: Operand[AnyValue], axis: int | None = None, reverse: bool = False) -> AnyValue:
    """``log(cumsum(exp(x)))`` that does not overflow, by ``logaddexp`` from element to element.

    Args:
        x: floating; integers become float64.

    >>> sg.evaluate(sg.cumlogsumexp([1000.0, 1000.0, -1000.0])).round(4)
    array([1000.    , 1000.6931, 1000.6931])
    """
    return _running("cumlogsumexp", functions.logaddexp, floating("cumlogsumexp", x), axis, reverse)


def _running(
    op: str, combine: Callable[[Any, Any], Any], x: AnyValue, axis: int | None, reverse: bool
) -> AnyValue:
    value: Any = functions.ravel(x) if axis is None else x
    place = axis_of(op, 0 if axis is None else axis, value)
    rows = functions.moveaxis(value, place, 0)
    iterations = functions.arange(rows.shape[0], like=rows)
    if reverse:
        iterations = functions.flip(
            iterations, 0
        )  # elements are numbered in the order of their iterations
    before = functions.zeros(
        rows.shape[1:], dtype=rows.dtype, like=rows
    )  # read by no first iteration

    def further(so_far: Any, each: tuple[Any, Any]) -> tuple[Any, Any]:
        row, number = each
        found = functions.where(number > 0, combine(so_far, row), row)
        return found, found

    _, found = scan(further, before, (rows, iterations), reverse=reverse)
    return functions.moveaxis(found, 0, place)

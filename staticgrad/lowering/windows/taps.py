"""The sum, the maximum and its place over the elements of a window, taps in C order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr
from staticgrad.types.dtype import DType


def sum_of(values: Iterable[Expr]) -> Expr:
    """Return the sum of the taps."""
    return reduce(lambda one, other: one + other, values)


def largest_of(values: Iterable[Expr]) -> Expr:
    """Return the first of the largest taps; NaN wins. ``place_of`` returns its number."""
    return reduce(_larger, values)


def place_of(
    values: Sequence[Expr], dtype: DType, inside: Sequence[Expr | None] | None = None
) -> Expr:
    """Return the number of the first of the largest taps, in ``dtype``; NaN wins.

    ``inside``: whether each tap lies in the image, None if it always does. A tap in the border is
    never chosen; if all taps are in the border, the place is 0.
    """
    tests = [None] * len(values) if inside is None else inside
    (best, *rest), (met, *others) = values, tests
    at = ex.literal(0, dtype)
    for number, (value, lies) in enumerate(zip(rest, others, strict=True), 1):
        better = _is_better(value, best)
        if met is not None:
            first = ~met if lies is None else lies & ~met
            better = better | first
            met = None if lies is None else met | lies
        at = ex.select(better, ex.literal(number, dtype), at)
        best = ex.select(better, value, best)
    return at


def _larger(best: Expr, value: Expr) -> Expr:
    if not value.dtype.is_float:
        return best.maximum(value)
    return ex.select(_is_better(value, best), value, best)


def _is_better(value: Expr, best: Expr) -> Expr:
    if not value.dtype.is_float:
        return value > best
    return ~(value <= best) & best.eq(best)

"""What is made of the elements of a window, taps in C order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Expr
from staticgrad.types.dtype import DType


def sum_of(values: Iterable[Expr]) -> Expr:
    """The sum of the taps."""
    return reduce(lambda one, other: one + other, values)


def largest_of(values: Iterable[Expr]) -> Expr:
    """The largest of the taps: NaN wins."""
    return reduce(lambda one, other: one.maximum(other), values)


def place_of(
    values: Sequence[Expr], dtype: DType, inside: Sequence[Expr | None] | None = None
) -> Expr:
    """Which tap is the first of the largest, as a number of ``dtype``; NaN wins.

    ``inside``: whether each lies in the image, None where it is known to. One of the border is
    never chosen, unless all are; then the place is 0.
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


def place_beside_largest(values: Sequence[Expr], dtype: DType) -> Expr:
    """``place_of`` where ``largest_of`` is computed, too: it compares the largest so far."""
    best, *rest = values
    at = ex.literal(0, dtype)
    for number, value in enumerate(rest, 1):
        found = ex.literal(number, dtype)
        if value.dtype.is_float:  # two choices by a comparison each: none is stored as bytes
            at = ex.select(value <= best, at, ex.select(best.eq(best), found, at))
        else:
            at = ex.select(value > best, found, at)
        best = best.maximum(value)
    return at


def _is_better(value: Expr, best: Expr) -> Expr:
    """Whether an element is larger, or the first NaN; two comparisons, not three."""
    if not value.dtype.is_float:
        return value > best
    return ~(value <= best) & best.eq(best)

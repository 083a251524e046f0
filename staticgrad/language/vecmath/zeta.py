"""Hurwitz' zeta function for s > 1 and q > 0, by Euler's and Maclaurin's sum.

Terms are added until q + k is past 9, the rest is an integral and twelve Bernoulli numbers (the
scheme of Cephes' zeta, Moshier 1989). Where the terms vanish before, as for large s, the sum is
all; for large q the first three parts of the rest are. f32 goes through f64.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.ir.scalar_loop import iterate
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import at_most, choose
from staticgrad.language.vecmath.power import pow_

#: The first argument from which on the rest of the sum is taken at once, and terms until there.
FAR: Final = 9.0
TERMS: Final = 10
#: Bernoulli numbers over factorials, B(2j) / (2j)!.
BERNOULLI: Final = (
    0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07,
    2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
    8.586062056277845e-15, -2.174868698558062e-16, 5.5090028283602295e-18, -1.3954464685812522e-19,
)  # fmt: skip
#: From here on the integral, half a term and the first number are all.
LARGE: Final = 1e8
#: Whole s from here on are for positive q alone: powers of a fraction overflow long before.
MOST: Final = 1100.0
#: A term that is less than this fraction of the sum changes it no more.
SMALLEST: Final[dict[DType, float]] = {F32: 2.0**-30, F64: 2.0**-55}


def zeta(s: Expr, q: Expr) -> Expr:
    """Compute Hurwitz' zeta: sum of (q + k)**-s; inf at s = 1 and at integers q <= 0.

    NaN for s below 1, and for other negative q unless s is whole. With r the fraction of such a q,
    it is zeta(s, r) + (-1)**s (zeta(s, 1 - r) - zeta(s, 1 - q)): the terms below 0, counted from
    the other side.
    """
    wide_s, wide_q, least = s.cast(F64), q.cast(F64), SMALLEST[s.dtype]
    small = (wide_q > -math.inf) & (wide_s > 1.0) & (wide_s < MOST)
    negative = (wide_q < 0.0) & small & wide_s.rint().eq(wide_s)
    half, below, zero = wide_s * 0.5, wide_q.floor(), literal(0.0, F64)
    fraction = wide_q - below
    left = select(fraction.eq(0.0), literal(1.0, F64), (below + 1.0) - wide_q)  # exact
    sign = choose(half.rint().eq(half), 1.0, -1.0, F64)

    def step(part: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        first, second = part < 1.0, part < 2.0
        at = select(first, fraction, select(second, left, 1.0 - wide_q))
        weight = select(first, literal(1.0, F64), select(second, sign, -sign))
        value = _zeta(wide_s, select(negative, at, wide_q), least)
        return first | (negative & (part < 3.0)), (part + 1.0, total + value * weight)

    return iterate(3, (zero, zero), step, usual=1)[1].cast(s.dtype)


def _zeta(s: Expr, q: Expr, least: float) -> Expr:
    """Compute Hurwitz' zeta for s > 1, q > 0: first terms, then Euler-Maclaurin."""
    first = pow_(q, -s)
    proper = (q > 0.0) & (s > 1.0)

    def step(a: Expr, term: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        near = (a <= FAR) | (a < q + FAR)
        following = pow_(a + 1.0, -s)
        going = proper & near & (term > total * least)
        return going, (a + 1.0, following, total + following)

    a, term, total = iterate(2 * TERMS, (q, first, first), step, usual=TERMS)
    inverse = 1.0 / a
    tail = term * a / (s - 1.0) - term * 0.5
    factor = term * s * inverse
    for place, number in enumerate(BERNOULLI):
        tail = tail + factor * number
        if place < len(BERNOULLI) - 1:
            once, twice = s + (2.0 * place + 1.0), s + (2.0 * place + 2.0)
            factor = factor * (once * inverse) * (twice * inverse)
    usual = select(term > total * least, total + tail, total)
    small = 1.0 / q
    large = pow_(q, 1.0 - s) * (
        1.0 / (s - 1.0) + small * (at_most(s, MOST) * small * BERNOULLI[0] + 0.5)
    )
    (value,) = rarely(q > LARGE, [large], [usual])
    nowhere = literal(math.nan, F64)
    pole = literal(math.inf, F64)
    borders = select((q <= 0.0) & (s > 1.0) & q.floor().eq(q), pole, nowhere)
    borders = select(s.eq(1.0) & q.eq(q), pole, borders)
    return select(proper, value, borders)

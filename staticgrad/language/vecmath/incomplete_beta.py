"""The incomplete beta function, regularized, and the logarithm of the complete one.

The continued fraction by Steed's algorithm, on the side of the mean where it converges fast; times
x**a (1 - x)**b / (a B(a, b)), whose exponents are kept in two parts. f32 goes through f64.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.ir.scalar_loop import iterate
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.exponential import exp
from staticgrad.language.vecmath.gamma import (
    ROOT_TAU,
    Parts,
    add_parts,
    exp_of,
    gamma_star,
    log_of_ratio,
    multiple,
    two_sum,
)
from staticgrad.language.vecmath.layout import at_most
from staticgrad.language.vecmath.logarithm import log, log1p

#: As many as parameters of some millions take.
ITERATIONS: Final = 3000
#: To here the power series serves beyond the mean for b to 1: the other tail is nearly 1 there.
SERIES: Final = 0.9
#: A change that is less than this fraction of the sum is the last one.
SMALLEST: Final[dict[DType, float]] = {F32: 2.0**-30, F64: 2.0**-56}


def betainc(a: Expr, b: Expr, x: Expr) -> Expr:
    """I(x; a, b): 0 at x = 0, 1 at 1, NaN outside and for parameters that are negative;
    for a parameter that is 0 or infinite the limit, NaN where there is none."""
    wide = a.cast(F64), b.cast(F64), x.cast(F64)
    return _betainc(*wide, SMALLEST[x.dtype]).cast(x.dtype)


def _betainc(a: Expr, b: Expr, x: Expr, least: float) -> Expr:
    """Compute the regularized incomplete beta function by a series or a continued fraction."""
    upper = x > (a + 1.0) / (a + b + 2.0)
    complement = two_sum(literal(1.0, F64) + x * 0.0, -x)
    zero = x * 0.0
    p, q = select(upper, b, a), select(upper, a, b)
    near: Parts = select(upper, complement[0], x), select(upper, complement[1], zero)
    far: Parts = select(upper, x, complement[0]), select(upper, zero, complement[1])
    proper = (a > 0.0) & (b > 0.0) & (x > 0.0) & (x < 1.0) & (a < math.inf) & (b < math.inf)
    high, low = _product(near, two_sum(p, q))
    mean = add_parts((p, zero), (-high, -low))
    total, ended = _fraction(p, q, near, mean[0] + mean[1], proper, least)
    density = _density(p, q, near, far)
    tail = density * total
    tail = select(ended, tail, literal(math.nan, F64))
    value = select(upper, 1.0 - tail, tail)
    small = proper & upper & (b <= 1.0) & (x <= SERIES)
    power = exp(b * log1p(-x))
    series = density * _series(a, b, x, small, least) / power
    (value,) = rarely(small, [series], [value])
    inside = (x >= 0.0) & (x <= 1.0)
    no_mass, all_ = literal(0.0, F64), literal(1.0, F64)
    at_zero, at_one = a.eq(0.0) | b.eq(math.inf), b.eq(0.0) | a.eq(math.inf)  # all of the mass
    low = x.eq(0.0) | (at_one & (x < 1.0))
    outside = select(inside, select(low, no_mass, all_), literal(math.nan, F64))
    defined = (a >= 0.0) & (b >= 0.0) & ~(at_zero & at_one)
    outside = select(defined, outside, literal(math.nan, F64))
    return select(proper, at_most(value, 1.0), outside)


def _series(a: Expr, b: Expr, x: Expr, active: Expr, least: float) -> Expr:
    """Sum the series of I(x; a, b) over x**a / B(a, b) (TOMS 708, bpser)."""
    unit = literal(1.0, F64)

    def step(n: Expr, term: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        following = term * ((n - b) / n * x)
        going = active & (term > total * least)
        return going, (n + 1.0, following, total + following / (a + n))

    return iterate(ITERATIONS, (unit, unit, unit / a), step, usual=60)[2]


def _density(a: Expr, b: Expr, x: Parts, y: Parts) -> Expr:
    """Compute x**a y**b / B(a, b), the factor of the incomplete beta function."""
    n = two_sum(a, b)
    logs = [log_of_ratio(_product(part, n), of) for part, of in ((x, a), (y, b))]
    high, low = add_parts(multiple(a, logs[0]), multiple(b, logs[1]))
    # beside a parameter from 1e16 on the other's ratio is 1: its logarithm is all in the low part
    exponent = two_sum(high, select(abs(high) < math.inf, low, literal(0.0, F64)))
    gammas = gamma_star(n[0]) / (gamma_star(a) * gamma_star(b))
    return exp_of(exponent) * (gammas * (a / n[0] * b).sqrt() * (1.0 / ROOT_TAU))


def _product(a: Parts, b: Parts) -> Parts:
    product = a[0] * b[0]
    return product, a[0].fma(b[0], -product) + (a[0] * b[1] + a[1] * b[0])


def _fraction(
    a: Expr, b: Expr, x: Parts, gap: Expr, active: Expr, least: float
) -> tuple[Expr, Expr]:
    """Evaluate the continued fraction of the incomplete beta function about its mean.

    It is the even part of DLMF 8.17.22, as Didonato and Morris have it (TOMS 708, 1992); ``gap`` is
    a - (a + b) x.
    """
    unit = literal(1.0, F64)
    scale = unit / (a + 1.0)
    first = unit / ((gap + 1.0) * a * scale)

    def step(
        n: Expr, scale: Expr, d: Expr, change: Expr, total: Expr
    ) -> tuple[Expr, tuple[Expr, ...]]:
        going = active & (abs(change) > abs(total) * least)
        following = unit / (a + (n + n) + 1.0)
        previous = n - 1.0
        weight = n * (b - n) * x[0] * scale
        above = (a + previous) * scale * (a + b + previous) * weight * x[0]
        below = n + weight + (a + n) * following * (gap + 1.0 + n * (2.0 - x[0]))
        reached = unit / (below + above * d)
        more = change * (-above * d * reached)
        return going, (n + 1.0, following, reached, more, total + more)

    initial = (unit, scale, first, first, first)
    _, _, _, change, total = iterate(ITERATIONS, initial, step, usual=20)
    return total, abs(change) <= abs(total) * least


def betaln(a: Expr, b: Expr) -> Expr:
    """Compute log B(a, b): inf if one is 0, NaN below, -inf if one is inf."""
    wide_a, wide_b = a.cast(F64), b.cast(F64)
    first = wide_a < wide_b
    p, q = select(first, wide_a, wide_b), select(first, wide_b, wide_a)
    n = p + q
    ratio = p / n
    gammas = gamma_star(p) * gamma_star(q) / gamma_star(n)
    logarithm = select(ratio < 1e-280, log(p) - log(n), log(ratio))
    powers = p * logarithm + q * log1p(-ratio)
    value = log(gammas * ROOT_TAU) - log(p) * 0.5 - log(q / n) * 0.5 + powers
    border = select(p.eq(0.0) & q.eq(q), literal(math.inf, F64), literal(math.nan, F64))
    border = select((p > 0.0) & q.eq(math.inf), literal(-math.inf, F64), border)
    inside = (p > 0.0) & (q < math.inf)
    return select(inside, value, border).cast(a.dtype)

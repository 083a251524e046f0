"""exp, expm1, exp2, sinh, cosh and tanh: reduction by ln 2, one polynomial, exact scaling.

x = n ln2 + r with |r| <= ln2 / 2 (Cody & Waite 1980; with fma the first product needs no spare
bits), e**r - 1 = r + r**2 q(r), and 2**n by exponent bits. The polynomials q are weighted
least-maximum fits (Lawson's iteration in 60 digits, coefficients rounded one by one with refits):
2**-28 (f32) and 2**-57 (f64) for exp, 2**-31 and 2**-61 for expm1. exp2 needs no constant to take
the integer part away: powers of two are exact.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import (
    at_most,
    clamp,
    even_odd,
    flip_sign,
    layout_of,
    power_of_two,
    round_scaled,
    scale_gradually,
    sign_bit,
)
from staticgrad.support.records import dataclass

LOG2_E: Final = 1.4426950408889634


@dataclass(frozen=True)
class Exponential:
    """Constants of one format: ln2 in two parts, the polynomials, and where the functions saturate.

    ``exp_q`` minimises the error relative to e**r, ``expm1_q`` that relative to e**r - 1.
    """

    ln2: tuple[float, float]
    exp_q: tuple[float, ...]
    expm1_q: tuple[float, ...]
    overflow: float
    vanish: float
    minus_one: float
    identity: float
    saturate: float


CONSTANTS: Final[dict[DType, Exponential]] = {
    F32: Exponential(
        ln2=(0.693147182464599609375, -1.904654299957767878541e-9),
        exp_q=(
            0.5, 0.166665181517601, 0.04166645556688309, 0.008368968032300472,
            0.0013935815077275038,
        ),
        expm1_q=(
            0.5, 0.1666666716337204, 0.041666485369205475, 0.008333195000886917,
            0.0013933023437857628, 0.00019955997413489968,
        ),
        overflow=89.0,
        vanish=-176.4,
        minus_one=-18.0,
        identity=2.0**-26,
        saturate=9.02,
    ),
    F64: Exponential(
        ln2=(0.693147180559945286226764, 2.319046813846299615494855e-17),
        exp_q=(
            0.5000000000000013, 0.16666666666666685, 0.04166666666651123, 0.00833333333331542,
            0.0013888888948015118, 0.00019841269900519902, 2.480148897103852e-05,
            2.7557230787759654e-06, 2.763161170221854e-07, 2.5113411770681507e-08,
        ),
        expm1_q=(
            0.5, 0.16666666666666677, 0.04166666666666668, 0.008333333333321426,
            0.0013888888888877067, 0.0001984126988663753, 2.480158734192623e-05,
            2.7557243695415902e-06, 2.7557257745524294e-07, 2.5109216952878508e-08,
            2.092002842507029e-09,
        ),
        overflow=710.0,
        vanish=-1418.5,
        minus_one=-38.5,
        identity=2.0**-55,
        saturate=19.1,
    ),
}  # fmt: skip


def reduce_by_ln2(x: Expr, bias: int) -> tuple[Expr, Expr, Expr]:
    """Reduce x by multiples of ln 2: r + d = x - n ln2, and a float with n + bias in low bits.

    r is exact: with fma, n times the leading part of ln2 loses nothing to the subtraction.
    """
    high, low = CONSTANTS[x.dtype].ln2
    n, low_bits = round_scaled(x, LOG2_E, bias)
    return n.fma(-high, x), n * -low, low_bits


def exp_reduced(r: Expr) -> Expr:
    """e**r for |r| <= ln2 / 2, as 1 + r (1 + r q): least rounding in the smaller term."""
    return r.fma(r.fma(even_odd(r, r * r, CONSTANTS[r.dtype].exp_q), 1.0), 1.0)


def exp_in_two(r: Expr) -> tuple[Expr, Expr]:
    """The same, and what its last rounding takes away."""
    inner = r.fma(even_odd(r, r * r, CONSTANTS[r.dtype].exp_q), 1.0)
    power = r.fma(inner, 1.0)
    return power, r.fma(inner, 1.0 - power)


def expm1_reduced(r: Expr, d: Expr) -> Expr:
    """Compute e**(r + d) - 1 for |r + d| <= ln2 / 2, as r + (d + (r + d)**2 q).

    Accurate relative to itself, as d is small and r exact.
    """
    near = r + d
    squared = near * near
    return squared.fma(even_odd(near, squared, CONSTANTS[r.dtype].expm1_q), d) + r


def exp(x: Expr) -> Expr:
    """e**x. Overflow to inf, gradual underflow to 0, NaN stays."""
    c = CONSTANTS[x.dtype]
    r, d, low_bits = reduce_by_ln2(clamp(x, c.vanish, c.overflow), 2 * layout_of(x).bias)
    return scale_gradually(exp_reduced(r + d), low_bits)


def expm1(x: Expr) -> Expr:
    """Compute e**x - 1 with small relative error, also near 0. -0 stays -0.

    With s = 2**(n - 1): 2 (s (e**r - 1) + (s - 1/2)), which cannot overflow before its last step.
    """
    c = CONSTANTS[x.dtype]
    r, d, low_bits = reduce_by_ln2(clamp(x, c.minus_one, c.overflow), layout_of(x).bias - 1)
    s = power_of_two(low_bits)
    half = expm1_reduced(r, d).fma(s, s - 0.5)
    return select(abs(x) < c.identity, x, half + half)


def exp2(x: Expr) -> Expr:
    """2**x, exact for integers. Overflow to inf, gradual underflow to 0, NaN stays."""
    bias = layout_of(x).bias
    inside = clamp(x, -2.0 * bias, bias + 2.0)
    n, low_bits = round_scaled(inside, 1.0, 2 * bias)
    return scale_gradually(exp_reduced((inside - n) * CONSTANTS[x.dtype].ln2[0]), low_bits)


def sinh(x: Expr) -> Expr:
    """Compute sinh from a quarter of e**|x| - 1, finite where the result is. -0 stays -0."""
    c = CONSTANTS[x.dtype]
    magnitude = abs(x)
    r, d, low_bits = reduce_by_ln2(at_most(magnitude, c.overflow + 0.6), layout_of(x).bias - 2)
    s = power_of_two(low_bits)
    quarter = expm1_reduced(r, d).fma(s, s - 0.25)
    less_one = quarter * 4.0
    size = (quarter + quarter / (less_one + 1.0)) * 2.0
    return flip_sign(select(magnitude < c.identity, magnitude, size), sign_bit(x))


def cosh(x: Expr) -> Expr:
    """Compute cosh from a quarter of e**|x|, finite where the result is."""
    c = CONSTANTS[x.dtype]
    inside = at_most(abs(x), c.overflow + 0.6)
    r, d, low_bits = reduce_by_ln2(inside, layout_of(x).bias - 2)
    quarter = exp_reduced(r + d) * power_of_two(low_bits)
    return (quarter + literal(0.0625, x.dtype) / quarter) * 2.0


def tanh(x: Expr) -> Expr:
    """(e**2x - 1) / (e**2x + 1) of |x|, with the sign of x. -0 stays -0."""
    magnitude = at_most(abs(x), CONSTANTS[x.dtype].saturate)
    r, d, low_bits = reduce_by_ln2(magnitude + magnitude, layout_of(x).bias)
    s = power_of_two(low_bits)
    e = expm1_reduced(r, d).fma(s, s - 1.0)
    return flip_sign(e / (e + 2.0), sign_bit(x))

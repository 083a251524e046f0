"""atan, atan2, asin and acos: one reduction with one quotient or root, one odd polynomial.

atan reduces |x| to at most 1/2 by the difference formula at 0, pi/4 or pi/2, where x - 1 is exact;
asin and acos use asin(x) = pi/2 - 2 asin(sqrt((1 - x)/2)) beyond 1/2 (both as in fdlibm, Sun 1993,
whose rational functions are replaced by polynomials: t + t**3 P(t**2), weighted least-maximum fits
in 50 digits, 2**-31 for f32, 2**-57 for f64 or closer). atan2 takes its two operands into that
quotient, so only one division is rounded.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import choose, flip_sign, horner, layout_of, sign_bit

#: pi/2 in two parts.
HALF_PI: Final[dict[DType, tuple[float, float]]] = {
    F32: (1.5707963705062866, -4.371138828673793e-08),
    F64: (1.5707963267948966, 6.123233995736766e-17),
}
#: pi/4 in two parts, the first short enough that three of it are exact.
QUARTER_PI: Final[dict[DType, tuple[float, float]]] = {
    F32: (0.785398006439209, 1.5695823663008923e-07),
    F64: (0.7853981633974483, 3.061616997868383e-17),
}
ATAN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        -0.333333283662796, 0.19999556243419647, -0.1427314728498459, 0.10948784649372101,
        -0.0801052525639534, 0.03906216844916344,
    ),
    F64: (
        -0.33333333333333176, 0.1999999999993758, -0.14285714278700415, 0.11111110740908176,
        -0.09090897952881787, 0.07692096946670447, -0.06664017045327197, 0.058595423356189655,
        -0.05126982337914559, 0.041991955095889474, -0.027621584735488706, 0.010237296079372224,
    ),
}  # fmt: skip
ASIN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.16666659712791443, 0.0750051811337471, 0.04451458901166916, 0.031825657933950424,
        0.014376047067344189, 0.037598300725221634,
    ),
    F64: (
        0.16666666666666763, 0.07499999999970183, 0.04464285717517362, 0.0303819426817423,
        0.02237221570060012, 0.017351599528784487, 0.013980966769963786, 0.011397741410576265,
        0.010786683761137117, 0.0036825750123617505, 0.021764404327534813, -0.021078304572083744,
        0.03267738269763014,
    ),
}  # fmt: skip


def atan(x: Expr) -> Expr:
    """Compute the angle in [-pi/2, pi/2] whose tangent is x. -0 stays -0."""
    high, low = HALF_PI[x.dtype]
    magnitude, dtype = abs(x), x.dtype
    tilted, steep = magnitude > 0.5, magnitude > 2.0
    above = select(tilted, magnitude - 1.0, magnitude)
    below = select(tilted, magnitude + 1.0, literal(1.0, dtype))
    t = select(steep, literal(-1.0, dtype), above) / select(steep, magnitude, below)
    z = t * t
    tail = (t * z).fma(horner(z, ATAN[dtype]), _offset(tilted, steep, low, dtype))
    return flip_sign(_offset(tilted, steep, high, dtype) + (t + tail), sign_bit(x))


def _offset(tilted: Expr, steep: Expr, half_pi: float, dtype: DType) -> Expr:
    """A part of the angle that the reduction took away: 0, pi/4 or pi/2."""
    return select(steep, literal(half_pi, dtype), choose(tilted, half_pi / 2, 0.0, dtype))


def atan2(y: Expr, x: Expr) -> Expr:
    """The angle of the point (x, y) in [-pi, pi], signs of zeros counted; 0 or pi at the origin.

    The angle is m pi/4 + atan t or m pi/4 - atan t for a whole m up to 4.
    """
    dtype, unit = x.dtype, literal(1.0, x.dtype)
    across, up = abs(x), abs(y)
    steep, larger, smaller = up > across, across.maximum(up), across.minimum(up)
    infinite = smaller.eq(math.inf)
    scale = choose(larger > 2.0 ** (layout_of(x).bias - 1), 0.25, 1.0, dtype)  # sums stay finite
    a, b = select(infinite, unit, smaller * scale), select(infinite, unit, larger * scale)
    tilted = a > b * 0.5
    ratio = select(tilted, a - b, a) / select(tilted, a + b, b)
    side = flip_sign(unit, sign_bit(x))
    base = select(steep, literal(2.0, dtype), side.fma(-2.0, 2.0))
    side = select(steep, -side, side)
    eighths = side.fma(choose(tilted, 1.0, 0.0, dtype), base)
    t = select(b.eq(0.0), b, ratio) * side
    high, low = QUARTER_PI[dtype]
    z = t * t
    tail = (t * z).fma(horner(z, ATAN[dtype]), eighths * low)
    return flip_sign(eighths.fma(high, t + tail), sign_bit(y))


def _reduce(x: Expr) -> tuple[Expr, Expr, Expr]:
    """Return |x| > 1/2, s, and asin(s) - s, for s = |x| or sqrt((1 - |x|)/2)."""
    magnitude = abs(x)
    far = magnitude > 0.5
    z = select(far, (1.0 - magnitude) * 0.5, magnitude * magnitude)
    s = select(far, z.sqrt(), magnitude)
    return far, s, s * z * horner(z, ASIN[x.dtype])


def asin(x: Expr) -> Expr:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1. -0 stays -0."""
    high, low = HALF_PI[x.dtype]
    far, s, tail = _reduce(x)
    beyond = high - ((s + s) + ((tail + tail) - low))
    return flip_sign(select(far, beyond, s + tail), sign_bit(x))


def acos(x: Expr) -> Expr:
    """Compute the angle in [0, pi] whose cosine is x; NaN beyond 1."""
    high, low = HALF_PI[x.dtype]
    far, s, tail = _reduce(x)
    sign = sign_bit(x)
    near = high - (flip_sign(s, sign) + (flip_sign(tail, sign) - low))
    double = (s + s) + (tail + tail)
    beyond = select(x < 0.0, (high + high) - (double - (low + low)), double)
    return select(far, beyond, near)

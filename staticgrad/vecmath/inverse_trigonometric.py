"""atan, asin and acos: one reduction with one quotient or root, one odd polynomial.

atan reduces |x| to at most tan(pi/8) by the difference formula at 0, pi/4 or pi/2; asin and acos
use asin(x) = pi/2 - 2 asin(sqrt((1 - x)/2)) beyond 1/2 (both as in fdlibm, Sun 1993, whose rational
functions are replaced by polynomials: t + t**3 P(t**2), weighted least-maximum fits in 50 digits,
2**-30 for f32, 2**-59 for f64).
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.layout import choose, flip_sign, horner, sign_bit

#: pi/2 in two parts.
HALF_PI: Final[dict[DType, tuple[float, float]]] = {
    F32: (1.5707963705062866, -4.371138828673793e-08),
    F64: (1.5707963267948966, 6.123233995736766e-17),
}
TAN_EIGHTH: Final = math.tan(math.pi / 8)
ATAN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        -0.33333316445350647, 0.1999853104352951, -0.1424446403980255, 0.1059972494840622,
        -0.06091390550136566,
    ),
    F64: (
        -0.333333333333332, 0.19999999999953763, -0.14285714280211478, 0.11111110784102474,
        -0.09090897773711862, 0.07692060458898223, -0.0666310638387038, 0.05847903168405773,
        -0.050393533983540996, 0.03806545787740824, -0.01790783155993064,
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
    """The angle in [-pi/2, pi/2] whose tangent is x. -0 stays -0."""
    high, low = HALF_PI[x.dtype]
    magnitude, dtype = abs(x), x.dtype
    tilted, steep = magnitude > TAN_EIGHTH, magnitude > 1.0 / TAN_EIGHTH
    above = select(tilted, magnitude - 1.0, magnitude)
    below = select(tilted, magnitude + 1.0, literal(1.0, dtype))
    t = select(steep, literal(-1.0, dtype), above) / select(steep, magnitude, below)
    z = t * t
    tail = (t * z).fma(horner(z, ATAN[dtype]), _offset(tilted, steep, low, dtype))
    return flip_sign(_offset(tilted, steep, high, dtype) + (t + tail), sign_bit(x))


def _offset(tilted: Expr, steep: Expr, half_pi: float, dtype: DType) -> Expr:
    """A part of the angle that the reduction took away: 0, pi/4 or pi/2."""
    return select(steep, literal(half_pi, dtype), choose(tilted, half_pi / 2, 0.0, dtype))


def _reduced(x: Expr) -> tuple[Expr, Expr, Expr]:
    """Whether |x| > 1/2, s, and asin(s) - s, for s = |x| or sqrt((1 - |x|)/2)."""
    magnitude = abs(x)
    far = magnitude > 0.5
    z = select(far, (1.0 - magnitude) * 0.5, magnitude * magnitude)
    s = select(far, z.sqrt(), magnitude)
    return far, s, s * z * horner(z, ASIN[x.dtype])


def asin(x: Expr) -> Expr:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1. -0 stays -0."""
    high, low = HALF_PI[x.dtype]
    far, s, tail = _reduced(x)
    beyond = high - ((s + s) + ((tail + tail) - low))
    return flip_sign(select(far, beyond, s + tail), sign_bit(x))


def acos(x: Expr) -> Expr:
    """The angle in [0, pi] whose cosine is x; NaN beyond 1."""
    high, low = HALF_PI[x.dtype]
    far, s, tail = _reduced(x)
    sign = sign_bit(x)
    near = high - (flip_sign(s, sign) + (flip_sign(tail, sign) - low))
    double = (s + s) + (tail + tail)
    beyond = select(x < 0.0, (high + high) - (double - (low + low)), double)
    return select(far, beyond, near)

"""sin, cos and tan: the quarter turn, the rest of it, two polynomials, one selected.

|x| = n pi/2 + r with |r| <= pi/4; sin r = r + r z S(z) and cos r = 1 - z/2 + z**2 C(z), z = r**2
(Cody & Waite 1980; fits by Lawson's iteration in 60 digits, coefficients rounded one by one with
refits). f32 finds r in f64 for every finite x; f64 in two parts, of large x by ``large_angles``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import Expr, literal, rarely, select
from staticgrad.records import dataclass
from staticgrad.types.dtype import F32, F64, U32, DType
from staticgrad.vecmath.large_angles import SMALLEST, quarter_turns
from staticgrad.vecmath.layout import bits, flip_sign, horner, layout_of, round_scaled, sign_bit

HALF_PI: Final = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
TWO_OVER_PI: Final = 0.6366197723675814
#: From |x| on: two factors that turn x into quarter turns, whole circles left out (see below).
TURNS: Final = (
    (0.0, 0.6366197723675814, -3.935735335036497e-17),
    (2.0**49, 2.568255326690366e-08, -5.434184107743751e-25),
    (2.0**75, 2.93709554037182e-16, 1.018166438749971e-32),
    (2.0**102, -5.43418410774375e-25, -5.297650908280439e-41),
)
SIN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (-0.1666664481163025, 0.008331594057381153, -0.00019444628560449928),
    F64: (
        -0.16666666666666607, 0.008333333333316303, -0.00019841269824933012, 2.755731201217231e-06,
        -2.505049763742401e-08, 1.5881877117696425e-10,
    ),
}  # fmt: skip
COS: Final[dict[DType, tuple[float, ...]]] = {
    F32: (0.041666630655527115, -0.0013886626111343503, 2.4359129383810796e-05),
    F64: (
        0.04166666666666655, -0.001388888888886605, 2.4801587284423043e-05, -2.755731289347426e-07,
        2.087552610141278e-09, -1.134952760455447e-11,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Reduced:
    """|x| = n pi/2 + r + low; the low bits of the word ``quarter`` hold n plus the asked shift."""

    r: Expr
    low: Expr | None
    quarter: Expr


def _reduce_f32(magnitude: Expr, shift: int) -> Reduced:
    """Every finite f32, through f64.

    x = k 2**w with an integer k < 2**50 may lose whole circles from its factor: x 2/pi is, but for
    multiples of 4, k ((2**w 2/pi) mod 4), that number in two parts. Each of four w serves a range
    of x. Only the first part chooses n, so r reaches 0.87 instead of pi/4 at the end of a range.
    """
    x = magnitude.cast(F64)
    high, low = (literal(part, F64) for part in TURNS[0][1:])
    for border, first, second in TURNS[1:]:
        beyond = magnitude >= border
        high = select(beyond, literal(first, F64), high)
        low = select(beyond, literal(second, F64), low)
    magic = layout_of(x).rounder + shift
    low_bits = x.fma(high, magic)
    r = x.fma(low, x.fma(high, magic - low_bits)) * HALF_PI[0]
    return Reduced(r.cast(F32), None, bits(low_bits).cast(U32))


def _reduce_f64(x: Expr, shift: int) -> Reduced:
    """Every finite f64 x >= 0, its size asked for once per vector.

    Below SMALLEST: pi/2 in three parts; the second product and difference keep their errors.
    """
    n, low_bits = round_scaled(x, TWO_OVER_PI, shift)
    first = n.fma(-HALF_PI[0], x)
    product = n * HALF_PI[1]
    product_low = n.fma(HALF_PI[1], -product)
    difference = first - product
    taken = difference - first
    lost = (first - (difference - taken)) - (product + taken)
    rest = n.fma(-HALF_PI[2], lost - product_low)
    r = difference + rest
    usual = r, rest - (r - difference), bits(low_bits)
    turns, far, far_low = quarter_turns(x)
    r, low, quarter = rarely(x >= SMALLEST, (far, far_low, turns + shift), usual)
    return Reduced(r, low, quarter)


def _waves(reduced: Reduced) -> tuple[Expr, Expr]:
    """sin and cos of r + low, |r| <= pi/4 (fdlibm's k_sin.c and k_cos.c, Sun 1993)."""
    r, low = reduced.r, reduced.low
    z = r * r
    sin_tail, cos_tail = horner(z, SIN[r.dtype]), horner(z, COS[r.dtype])
    if low is None:
        return (r * z).fma(sin_tail, r), (z * z).fma(cos_tail, z.fma(-0.5, 1.0))
    half = z * 0.5
    base = 1.0 - half
    cosine = base + (((1.0 - base) - half) + (z * z).fma(cos_tail, -(r * low)))
    return r + (r * z).fma(sin_tail, low * base), cosine


_REDUCTIONS: Final = {F32: _reduce_f32, F64: _reduce_f64}


def _reduce(x: Expr, shift: int) -> Reduced:
    return _REDUCTIONS[x.dtype](abs(x), shift)


def _quadrant(x: Expr, shift: int) -> tuple[Expr, Expr]:
    """sin(|x| + shift pi/2) without its sign, and its sign bit."""
    reduced = _reduce(x, shift)
    sine, cosine = _waves(reduced)
    sign = (reduced.quarter << (x.dtype.bits - 2)) & layout_of(x).sign_mask
    return select(_is_odd(reduced), cosine, sine), sign


def _is_odd(reduced: Reduced) -> Expr:
    return (reduced.quarter & 1).ne(0)


def sin(x: Expr) -> Expr:
    """sin x; NaN at inf. -0 stays -0."""
    wave, sign = _quadrant(x, 0)
    return flip_sign(wave, sign ^ sign_bit(x))


def cos(x: Expr) -> Expr:
    """cos x; NaN at inf."""
    return flip_sign(*_quadrant(x, 1))


def tan(x: Expr) -> Expr:
    """tan x; NaN at inf. -0 stays -0. No float is a pole: the largest f64 result is about 2e18."""
    reduced = _reduce(x, 0)
    sine, cosine = _waves(reduced)
    odd = _is_odd(reduced)
    ratio = select(odd, cosine, sine) / select(odd, sine, cosine)
    word = reduced.quarter << (x.dtype.bits - 1)
    return flip_sign(ratio, word ^ sign_bit(x))

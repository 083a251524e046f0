"""sin, cos and tan: the quarter turn, the rest of it, a polynomial of each wave.

|x| = n pi/2 + r with |r| <= pi/4; sin r = r + r z S(z) and cos r = 1 - z/2 + z**2 C(z), z = r**2
(Cody & Waite 1980; fits by Lawson's iteration in 60 digits, coefficients rounded one by one with
refits). f32 finds r in f64 for every finite x; f64 in two parts. tan r = r + r z T(z) needs no
quotient of two rounded waves, which is off by more than 3 units of the last place in f32; in odd
quarters it is -1 / tan r. f32 sums its T in f64, which costs less than the second part of r.

For f64 x = k 2**w from 2**49 on, k < 2**53 whole, 2/pi is needed to as many bits as w asks for. Of
2**w 2/pi the bits above 2**1 only add whole circles, and those below 2**-170 are far below the
distance of x from a multiple of pi/2, which is 2**-62 of a quarter turn or more (Payne and Hanek
1983, Ng 1992). So 208 bits of 2/pi, chosen by w, times k modulo 4 are the quarter turn and the rest
of it, in exact products.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select, window
from staticgrad.language.types.dtype import F32, F64, U32, DType
from staticgrad.language.vecmath.layout import (
    bits,
    even_odd,
    flip_sign,
    horner,
    layout_of,
    round_scaled,
    sign_bit,
)
from staticgrad.support.records import dataclass

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
#: For |r| <= 0.875 (f32, to 2**-29.8) and |r| <= pi/4 (f64, to 2**-59.1 of the tangent).
TAN: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        0.33333319814000945, 0.13333883737234015, 0.05389196442920094, 0.02237699938254814,
        0.007020317484655883, 0.007397872947335356, -0.002881507734203724, 0.002921043805852869,
    ),
    F64: (
        0.3333333333333338, 0.13333333333325273, 0.053968253972988475, 0.02186948839600851,
        0.008863237986743917, 0.003592100132883541, 0.001456051227226231, 0.0005888349832481103,
        0.000243859815563967, 8.327494527715931e-05, 6.774589684723989e-05,
        -2.630134777599329e-05, 4.9194395902271195e-05, -2.4549876424516753e-05,
        9.860048584308477e-06,
    ),
}  # fmt: skip
#: From here on ``quarter_turns`` holds.
SMALLEST: Final = 2.0**49
#: 2/pi after five zero bits, the first of weight 2**4, most significant word first.
TWO_OVER_PI_BITS: Final = (
    0x0517CC1B727220A9, 0x4FE13ABE8FA9A6EE, 0x06DB14ACC9E21C82, 0x0FF28B1D5EF5DE2B,
    0x0DB92371D2126E97, 0x00324977504E8C90, 0xE7F0EF58E5894D39, 0xF74411AFA975DA24,
    0x274CE38135A2FBF2, 0x09CC8EB1CC1A99CF, 0xA4E422FC5DEFC941, 0xD8FFC4BFFEF02CC0,
    0x7F79788C5AD05368, 0xFB69B3F6793E584D, 0xBA7A31FB34F2FF51, 0x6BA93DD63F5F2F8B,
    0xD9E839CFBC529497, 0x535FDAFD88FC6AE8, 0x42B0198237E3DB5D,
)  # fmt: skip
#: The exponent field of SMALLEST = 2**52 * 2**-3.
_FIRST: Final = 1072


@dataclass(frozen=True)
class Reduced:
    """|x| = n pi/2 + r + low; the low bits of the word ``quarter`` hold n plus the asked shift."""

    r: Expr
    low: Expr | None
    quarter: Expr


def _reduce_f32(magnitude: Expr, shift: int) -> Reduced:
    """Reduce every finite f32."""
    r, quarter = _reduced_in_f64(magnitude, shift)
    return Reduced(r.cast(F32), None, quarter)


def _reduced_in_f64(magnitude: Expr, shift: int) -> tuple[Expr, Expr]:
    """Reduce a finite f32 angle in f64; return r and the quadrant.

    x = k 2**w with an integer k < 2**50 may lose whole circles from its factor: x 2/pi is, but for
    multiples of 4, k ((2**w 2/pi) mod 4), that number in two parts. Each of four w serves a range
    of x. Only the first part chooses n, so r reaches 0.87 instead of pi/4 at the end of a range.
    """
    x = magnitude.cast(F64)
    high, low = (literal(part, F64) for part in TURNS[0][1:])
    usual = _rest_of_turns(x, high, low, shift)
    for border, first, second in TURNS[1:]:
        beyond = magnitude >= border
        high = select(beyond, literal(first, F64), high)
        low = select(beyond, literal(second, F64), low)
    far = _rest_of_turns(x, high, low, shift)
    r, quarter = rarely(magnitude >= TURNS[1][0], far, usual)
    return r, quarter


def _rest_of_turns(x: Expr, high: Expr, low: Expr, shift: int) -> tuple[Expr, Expr]:
    """x (high + low) less a whole n, times pi/2, and a word whose low bits hold n + shift."""
    magic = layout_of(x).rounder + shift
    low_bits = x.fma(high, magic)
    r = x.fma(low, x.fma(high, magic - low_bits)) * HALF_PI[0]
    return r, bits(low_bits).cast(U32)


def _reduce_f64(x: Expr, shift: int) -> Reduced:
    """Reduce a finite f64 angle x >= 0 by multiples of pi/2; large ones by 206 bits of 2/pi.

    Below SMALLEST: pi/2 in three parts; the second product and difference keep their errors.
    """
    n, low_bits = round_scaled(x, TWO_OVER_PI, shift)
    first = n.fma(-HALF_PI[0], x)
    product = n * HALF_PI[1]
    product_low = n.fma(HALF_PI[1], -product)
    difference = first - product
    change = difference - first
    lost = (first - (difference - change)) - (product + change)
    correction = n.fma(-HALF_PI[2], lost - product_low)
    r = difference + correction
    usual = r, correction - (r - difference), bits(low_bits)
    turns, far, far_low = quarter_turns(x)
    r, low, quarter = rarely(x >= SMALLEST, (far, far_low, turns + shift), usual)
    return Reduced(r, low, quarter)


def quarter_turns(x: Expr) -> tuple[Expr, Expr, Expr]:
    """Reduce an angle: x = n pi/2 + r + low modulo 2 pi, |r| <= pi/4, for x >= SMALLEST.

    The low bits of the word n hold the quarter; r is rounded from r + low, which is right to
    2**-60 of itself. An infinite x makes r NaN; smaller x make all three meaningless.
    """
    k, parts = _integer_mantissa(x), _window(x)
    first = k * parts[0]
    first_low = k.fma(parts[0], -first)
    second = k * parts[1]
    second_low = k.fma(parts[1], -second)
    third = k * parts[2]
    third_low = k.fma(parts[2], -third)
    modulo_four = (first * 0.25).rint().fma(-4.0, first) + first_low
    near, lost = _two_sum(modulo_four, second)
    low_bits = near + layout_of(x).rounder
    n = low_bits - layout_of(x).rounder
    small, small_low = _two_sum(lost + second_low, third)
    r, low = _two_sum(near - n, small)
    low = low + (small_low + k.fma(parts[3], third_low))
    product = r * HALF_PI[0]
    tail = r.fma(HALF_PI[0], -product) + r.fma(HALF_PI[1], low * HALF_PI[0])
    total = product + tail
    return bits(low_bits), total + (x - x), tail - (total - product)


def _integer_mantissa(x: Expr) -> Expr:
    """k in [2**52, 2**53), as a float."""
    layout = layout_of(x)
    return ((bits(x) & layout.fraction_mask) | layout.bits_of(2.0**52)).bitcast(F64)


def _window(x: Expr) -> list[Expr]:
    """Return 2**w 2/pi modulo 4 in four floats of 52 bits, to reduce large angles.

    Bits that stand below 2**(j + 1) become a float by standing in the fraction of 2**(j + 1).
    """
    layout = layout_of(x)
    start = (bits(x) >> layout.fraction) - _FIRST
    parts: list[Expr] = []
    for i in range(4):
        leading = 2.0 ** (2 - 52 * i)
        pattern = window(start + 52 * i, TWO_OVER_PI_BITS) | layout.bits_of(leading)
        parts.append(pattern.bitcast(F64) - leading)
    return parts


def _two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b and what its rounding lost (Knuth)."""
    total = a + b
    added_part = total - a
    return total, (a - (total - added_part)) + (b - added_part)


def _waves(reduced: Reduced) -> tuple[Expr, Expr]:
    """Compute sin and cos of a reduced angle r + low (fdlibm's k_sin.c and k_cos.c, Sun 1993)."""
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
    return select(_is_odd(reduced.quarter), cosine, sine), sign


def _is_odd(quarter: Expr) -> Expr:
    return (quarter & 1).ne(0)


def sin(x: Expr) -> Expr:
    """sin x; NaN at inf. -0 stays -0."""
    wave, sign = _quadrant(x, 0)
    return flip_sign(wave, sign ^ sign_bit(x))


def cos(x: Expr) -> Expr:
    """cos x; NaN at inf."""
    return flip_sign(*_quadrant(x, 1))


def tan(x: Expr) -> Expr:
    """tan x; NaN at inf. -0 stays -0. No float is a pole: the largest f64 result is about 2e18."""
    tangent, quarter = _TANGENTS[x.dtype](abs(x))
    odd, unit = _is_odd(quarter), literal(1.0, x.dtype)
    ratio = select(odd, unit, tangent) / select(odd, tangent, unit)
    return flip_sign(ratio, (quarter << (x.dtype.bits - 1)) ^ sign_bit(x))


def _tangent_f32(magnitude: Expr) -> tuple[Expr, Expr]:
    """tan r and the quarter."""
    r, quarter = _reduced_in_f64(magnitude, 0)
    z = r * r
    return (r * z).fma(even_odd(z, z * z, TAN[F32]), r).cast(F32), quarter


def _tangent_f64(magnitude: Expr) -> tuple[Expr, Expr]:
    """Compute the tangent of a reduced f64 angle, and its quadrant."""
    reduced = _reduce_f64(magnitude, 0)
    r, low = reduced.r, reduced.low
    assert low is not None
    z = r * r
    cubic, tail = r * z, even_odd(z, z * z, TAN[F64])
    near = cubic.fma(tail, r)
    return r + cubic.fma(tail, near.fma(near, 1.0) * low), reduced.quarter


_TANGENTS: Final = {F32: _tangent_f32, F64: _tangent_f64}

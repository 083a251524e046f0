"""Quarter turns of large f64 angles: 2/pi to as many bits as the exponent asks for.

x = k 2**w with an integer k < 2**53. Of 2**w 2/pi the bits above 2**1 only add whole circles, and
those below 2**-170 are far below the distance of x from a multiple of pi/2, which is 2**-62 of a
quarter turn or more (Payne and Hanek 1983, Ng 1992). So 208 bits of 2/pi, chosen by w, times k
modulo 4 are the quarter turn and the rest of it, in exact products.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import Expr, window
from staticgrad.types.dtype import F64
from staticgrad.vecmath.layout import bits, layout_of

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
HALF_PI: Final = (1.5707963267948966, 6.123233995736766e-17)
#: The exponent field of SMALLEST = 2**52 * 2**-3.
_FIRST: Final = 1072


def quarter_turns(x: Expr) -> tuple[Expr, Expr, Expr]:
    """n, r and low with x = n pi/2 + r + low modulo 2 pi, |r| <= pi/4, for finite x >= SMALLEST.

    The low bits of the word n hold the quarter; r is rounded from r + low, which is right to
    2**-60 of itself. An infinite x makes r NaN; smaller x make all three meaningless.
    """
    k, parts = _whole(x), _window(x)
    first = k * parts[0]
    first_low = k.fma(parts[0], -first)
    second = k * parts[1]
    second_low = k.fma(parts[1], -second)
    third = k * parts[2]
    third_low = k.fma(parts[2], -third)
    turned = (first * 0.25).rint().fma(-4.0, first) + first_low
    near, lost = _two_sum(turned, second)
    low_bits = near + layout_of(x).rounder
    n = low_bits - layout_of(x).rounder
    small, small_low = _two_sum(lost + second_low, third)
    r, rest = _two_sum(near - n, small)
    rest = rest + (small_low + k.fma(parts[3], third_low))
    product = r * HALF_PI[0]
    tail = r.fma(HALF_PI[0], -product) + r.fma(HALF_PI[1], rest * HALF_PI[0])
    total = product + tail
    return bits(low_bits), total + (x - x), tail - (total - product)


def _whole(x: Expr) -> Expr:
    """k in [2**52, 2**53), as a float."""
    layout = layout_of(x)
    return ((bits(x) & layout.fraction_mask) | layout.bits_of(2.0**52)).bitcast(F64)


def _window(x: Expr) -> list[Expr]:
    """2**w 2/pi modulo 4 in four floats of 52 bits: 206 bits of fraction.

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
    taken = total - a
    return total, (a - (total - taken)) + (b - taken)

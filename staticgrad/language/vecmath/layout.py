"""IEEE formats as integers: the bit work that the vector-math blocks share.

Small functions over ``Expr``: clamping, signs, rounding to an integer by a magic addend, powers of
two by shifting exponents, taking a number apart into exponent and mantissa, polynomials. All
branch-free, in a format's own width, without conversions between float and integer (those are slow
on some targets). Knows formats; does not know any function's algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from staticgrad.language.ir.expr import Expr, Number, apply, literal, rarely, select
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Layout:
    """A binary floating format: the unsigned integer as wide, and where its fields are."""

    dtype: DType

    @property
    def word(self) -> DType:
        return self.dtype.unsigned

    @property
    def fraction(self) -> int:
        return self.dtype.digits - 1

    @property
    def bias(self) -> int:
        return self.dtype.bias

    @property
    def sign_mask(self) -> int:
        return 1 << (self.dtype.bits - 1)

    @property
    def fraction_mask(self) -> int:
        return (1 << self.fraction) - 1

    @property
    def smallest_normal(self) -> float:
        return self.dtype.smallest_normal

    @property
    def rounder(self) -> float:
        """Adding this to |v| < 2**(fraction - 2) leaves the nearest integer in the low bits."""
        return 1.5 * 2.0**self.fraction

    def bits_of(self, value: float) -> int:
        """The pattern of ``value`` in this format."""
        return int(np.asarray(value, self.dtype.numpy).view(self.word.numpy))


def layout_of(x: Expr) -> Layout:
    """The format of a floating expression."""
    return Layout(x.dtype)


def bits(x: Expr) -> Expr:
    """The pattern of x as an unsigned integer."""
    return x.bitcast(layout_of(x).word)


def clamp(x: Expr, low: float, high: float) -> Expr:
    """x between two bounds; a NaN passes through (comparisons are ordered so that it falls out)."""
    return at_least(at_most(x, high), low)


def at_most(x: Expr, high: float) -> Expr:
    """The smaller of x and a bound; a NaN stays."""
    return select(x > high, literal(high, x.dtype), x)


def at_least(x: Expr, low: float) -> Expr:
    """The larger of x and a bound; a NaN stays."""
    return select(x < low, literal(low, x.dtype), x)


def choose(condition: Expr, a: Number, b: Number, dtype: DType) -> Expr:
    """Select one of two constants."""
    return select(condition, literal(a, dtype), literal(b, dtype))


def sign_bit(x: Expr) -> Expr:
    """The sign bit of x in place, all other bits zero."""
    return bits(x) & layout_of(x).sign_mask


def flip_sign(magnitude: Expr, sign: Expr) -> Expr:
    """``magnitude`` negated where the word ``sign``, otherwise zero, has its sign bit set."""
    return (bits(magnitude) ^ sign).bitcast(magnitude.dtype)


def round_scaled(x: Expr, factor: float, bias: int = 0) -> tuple[Expr, Expr]:
    """Round x * factor to an integer n, as a float and in a float whose low bits hold n + bias.

    Needs |x * factor| + |bias| < 2**(fraction - 2). The product is rounded once, in the same fma
    that rounds to the integer.
    """
    magic = layout_of(x).rounder + bias
    low_bits = x.fma(factor, magic)
    return low_bits - magic, low_bits


def power_of_two(low_bits: Expr) -> Expr:
    """2**n of a float whose low bits hold n + bias of the format (see ``round_scaled``)."""
    return (bits(low_bits) << layout_of(low_bits).fraction).bitcast(low_bits.dtype)


def scale_gradually(p: Expr, low_bits: Expr) -> Expr:
    """p * 2**n, rounded once, so that denormal results are right; p is from 0 to 2.

    ``low_bits`` holds n + 2 * bias. Serves -2 * bias <= n <= 2 * bias + 1.
    """
    return apply("scale", p, low_bits)


def scaled_by(low_bits: Expr) -> Expr:
    """The n of ``scale_gradually``, as a float."""
    layout = layout_of(low_bits)
    return low_bits - (layout.rounder + 2 * layout.bias)


def scaled_in_steps(p: Expr, low_bits: Expr) -> Expr:
    """Scale p by 2**n in two exact steps, of which the first rounds nothing.

    Towards the lower end of n both become exact zeros.
    """
    layout = layout_of(p)
    exponent = bits(low_bits)
    half = exponent >> 1
    first = (half << layout.fraction).bitcast(p.dtype)
    second = ((exponent - half) << layout.fraction).bitcast(p.dtype)
    return p * first * second


@dataclass(frozen=True)
class Split:
    """x = 2**exponent * mantissa, mantissa in [sqrt(1/2), sqrt(2)).

    ``field`` is the word that holds exponent + bias + 1 in the place of an exponent, else zeros.
    """

    exponent: Expr
    mantissa: Expr
    field: Expr


def split(x: Expr, denormals: bool, seldom: bool = False) -> Split:
    """Split a positive float into exponent and mantissa; other x give garbage, never a trap.

    With ``denormals`` those are first scaled into the normal range, ``seldom`` where that is not
    done for vectors that have none; without, they are meaningless too. Splitting at sqrt(2) by one
    integer subtraction is musl's; the conversion through the low bits of 2**fraction needs no
    integer-to-float instruction.
    """
    layout = layout_of(x)
    lift, two_to_fraction = layout.bias + 1, 2.0**layout.fraction
    origin, offset = layout.bits_of(np.sqrt(0.5)), literal(two_to_fraction + lift, x.dtype)
    if denormals:
        tiny, usual = x < layout.smallest_normal, (x, offset)
        unusual = x * two_to_fraction, literal(two_to_fraction + lift + layout.fraction, x.dtype)
        if seldom:
            x, offset = rarely(tiny, unusual, usual)
        else:
            x, offset = (select(tiny, a, b) for a, b in zip(unusual, usual, strict=True))
    shifted = bits(x) - (origin - (lift << layout.fraction))
    as_float = ((shifted >> layout.fraction) | layout.bits_of(two_to_fraction)).bitcast(x.dtype)
    mantissa = ((shifted & layout.fraction_mask) + origin).bitcast(x.dtype)
    return Split(as_float - offset, mantissa, shifted & ~layout.fraction_mask)


def horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    """c0 + c1 x + c2 x**2 + ..., one fma per step."""
    total = literal(coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        total = total.fma(x, c)
    return total


def even_odd(x: Expr, squared: Expr, coefficients: Sequence[float]) -> Expr:
    """The same polynomial as two Horner chains in x**2: half the latency, no extra operation."""
    return horner(squared, coefficients[1::2]).fma(x, horner(squared, coefficients[0::2]))

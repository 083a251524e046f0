"""pow, int_pow and cbrt: powers by any exponent, of integers, and by a third.

pow is exp(y log|x|) with a logarithm accurate beyond the format, and the border rules of C99. f32
goes through f64: log2 to 2**-36 and exp2 to 2**-29 leave a correctly rounded result but for
rare halfway cases. f64 carries log|x| as an unevaluated sum of two numbers (double-double; Dekker
1971, with fma for exact products): 2 atanh(s) with s = (m - 1)/(m + 1), where the terms up to s**3
are kept in two parts and the rest, below 2**-12 of the sum, in one.

cbrt takes the exponent by three, an inverse cube root by polynomial, Newton, one exact residual:
x = 2**(3n) m with m in [0.35, 2.83]. y is m**(-1/3) to 17 bits (to 33 after one Newton step in
f64), c = m y**2 the root to as many, and c + (m - c**3) y**2 / 3 the result, its residual m - c**3
computed with fma so that next to nothing of it is lost. The fit has 50 digits.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.ir.scalar_loop import iterate
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.exponential import CONSTANTS, exp_reduced
from staticgrad.language.vecmath.layout import (
    Split,
    bits,
    clamp,
    even_odd,
    flip_sign,
    horner,
    layout_of,
    power_of_two,
    round_scaled,
    scale_gradually,
    sign_bit,
    split,
)

#: log2((1 + s)/(1 - s)) / s in s**2; relative error 2**-36.
LOG2: Final = (
    2.885390081790142, 0.9617966732826506, 0.5770835946569907, 0.41167220885754874,
    0.34073851603769817,
)  # fmt: skip
#: 2**r for |r| <= 1/2; relative error 2**-29.
EXP2: Final = (
    0.9999999999229898, 0.6931472067418465, 0.24022651476856358, 0.05550327146893427,
    0.009617997669608816, 0.001340045913737704, 0.0001547715795594411,
)  # fmt: skip
#: ((2 atanh(s)/s - 2)/s**2 - 2/3)/s**2 in s**2; relative to the logarithm 2**-66.
ATANH_TAIL: Final = (
    0.3999999999999998, 0.2857142857144384, 0.22222222217789744, 0.18181818843990447,
    0.15384558428860254, 0.1333626448078013, 0.11675781190460502, 0.11981748635286325,
)  # fmt: skip
TWO_THIRDS: Final = (0.6666666666666666, 3.700743415417188e-17)
#: The first part has 42 bits: its product with an exponent is exact.
LN2: Final = (0.6931471805598903, 5.497923018708371e-14)
#: m**(-1/3) over [sqrt(1/2), sqrt(2)], relative error 2**-17.4; every number fits f32.
INVERSE: Final = (
    1.9990266561508179, -2.4850831031799316, 2.7903361320495605, -1.896097183227539,
    0.6996638178825378, -0.10784245282411575,
)  # fmt: skip
THIRD: Final = 1.0 / 3.0
#: Bits of an exponent of integers, as a rule.
_USUAL_BITS: Final = 6
#: Newton's steps that the inverse cube root takes.
NEWTON: Final[dict[DType, int]] = {F32: 0, F64: 1}


def pow_(x: Expr, y: Expr) -> Expr:
    """x**y with the special values of C99 Annex F (NumPy's): 1**y and x**0 are 1, even for NaN."""
    return _POWERS[x.dtype](x, y)


def _with_signs(x: Expr, y: Expr, power: Expr) -> Expr:
    """Compute x**y from |x|**y: the sign of odd integer powers, NaN for others of x < 0."""
    is_whole = y.rint().eq(y)
    half = y * 0.5
    odd = is_whole & half.rint().ne(half)
    zero = literal(0, layout_of(x).word)
    signed = flip_sign(power, select(odd, sign_bit(x), zero))
    undefined = (x < 0.0) & (abs(x) < math.inf) & ~is_whole
    result = select(undefined, literal(math.nan, x.dtype), signed)
    return select(x.eq(1.0) | y.eq(0.0), literal(1.0, x.dtype), result)


def _with_infinite_ends(magnitude: Expr, logarithm: Expr) -> Expr:
    """-inf at 0, inf at inf, NaN at NaN, else the logarithm."""
    low = literal(-math.inf, magnitude.dtype)
    return select(magnitude < math.inf, select(magnitude.eq(0.0), low, logarithm), magnitude)


def _out_of(x: Expr, smallest: float) -> Expr:
    """Return whether x is not in [smallest, inf), by one unsigned comparison."""
    first, end = (layout_of(x).bits_of(v) for v in (smallest, math.inf))
    return (bits(x) - first) >= end - first


def _power_f32(x: Expr, y: Expr) -> Expr:
    """Compute x**y of f32 in f64, where f32's denormals and overflow are ordinary numbers.

    The rare way round clamps y to a size where every power but that of 1 has overflown or vanished.
    """
    magnitude = abs(x).cast(F64)
    log2 = _log2(magnitude)
    product = y.cast(F64) * log2
    ends = clamp(y, -(2.0**100), 2.0**100).cast(F64) * _with_infinite_ends(magnitude, log2)
    seldom = _out_of(x, 2.0**-149) | ~(abs(product) <= 160.0)
    unusual = _with_signs(x, y, _exp2(clamp(ends, -160.0, 160.0)))
    return rarely(seldom, [unusual], [_exp2(product)])[0]


def _log2(x: Expr) -> Expr:
    """log2 of a normal f64 to 2**-36."""
    parts = split(x, denormals=False)
    s = (parts.mantissa - 1.0) / (parts.mantissa + 1.0)
    return s.fma(horner(s * s, LOG2), parts.exponent)


def _exp2(exponent: Expr) -> Expr:
    """2**exponent as f32, for |exponent| <= 160."""
    n, low_bits = round_scaled(exponent, 1.0)
    r = exponent - n
    return _scale(even_odd(r, r * r, EXP2), low_bits).cast(F32)


def _scale(p: Expr, low_bits: Expr) -> Expr:
    """p * 2**n by the exponent's bits, where neither end is reached."""
    return (bits(p) + (bits(low_bits) << layout_of(p).fraction)).bitcast(p.dtype)


def _power_f64(x: Expr, y: Expr) -> Expr:
    """Compute x**y in f64 as the exponential of y times a two-part logarithm.

    The rare way round: x not positive and normal, or a result that may over- or underflow.
    """
    smallest, largest = layout_of(x).smallest_normal, 708.0
    logarithm = log_in_two_parts(split(abs(x), denormals=False))
    high, low = logarithm
    product = y * high
    low_product = y.fma(low, y.fma(high, -product))
    p, low_bits = exponential(product, low_product, 0)
    seldom = _out_of(x, smallest) | ~(abs(product) <= largest)
    unusual = _unusual_power_f64(x, y, logarithm)
    return rarely(seldom, [unusual], [_scale(p, low_bits)])[0]


def _unusual_power_f64(x: Expr, y: Expr, logarithm: tuple[Expr, Expr]) -> Expr:
    """Compute x**y in f64 for zeros, denormals, infinities and overflow."""
    magnitude = abs(x)
    tiny = magnitude < layout_of(x).smallest_normal
    high, low = rarely(tiny, log_in_two_parts(split(magnitude, denormals=True)), logarithm)
    high = _with_infinite_ends(magnitude, high)
    y = clamp(y, -(2.0**1000), 2.0**1000)
    product = y * high
    low_product = y.fma(low, y.fma(high, -product))
    low_product = select(abs(product) < 2000.0, low_product, literal(0.0, F64))
    inside = clamp(product, CONSTANTS[F64].vanish, 1000.0)
    p, low_bits = exponential(inside, low_product, 2 * layout_of(y).bias)
    return _with_signs(x, y, scale_gradually(p, low_bits))


def exponential(x: Expr, low: Expr, bias: int) -> tuple[Expr, Expr]:
    """e**(x + rest) / 2**n, and a float whose low bits hold n + bias."""
    ln2_high, ln2_low = CONSTANTS[F64].ln2
    n, low_bits = round_scaled(x, math.log2(math.e), bias)
    r = n.fma(-ln2_high, x) + n.fma(-ln2_low, low)
    return exp_reduced(r), low_bits


def fast_two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b and what its rounding lost, for |a| >= |b| or a = 0 (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def log_in_two_parts(parts: Split) -> tuple[Expr, Expr]:
    """Compute the logarithm of split parts as high + low, relative error about 2**-65."""
    m = parts.mantissa
    f = m - 1.0
    divisor = m + 1.0
    divisor_low = m - (divisor - 1.0)
    reciprocal = literal(1.0, F64) / divisor
    s = f * reciprocal
    s_low = (-s).fma(divisor_low, (-s).fma(divisor, f)) * reciprocal
    double = s + s
    z = s * s
    z_low = double.fma(s_low, s.fma(s, -z))
    cube = s * z
    cube_low = s.fma(z_low, s_low.fma(z, s.fma(z, -cube)))
    tail = even_odd(z, z * z, ATANH_TAIL)
    factor = z.fma(tail, TWO_THIRDS[0])
    factor_low = z.fma(tail, TWO_THIRDS[0] - factor) + TWO_THIRDS[1]
    term = cube * factor
    rest_low = cube.fma(factor_low, cube_low.fma(factor, cube.fma(factor, -term)))
    atanh, atanh_low = fast_two_sum(double, term)
    high, high_low = fast_two_sum(parts.exponent * LN2[0], atanh)
    low = atanh_low + s_low.fma(2.0, rest_low)
    return high, high_low + parts.exponent.fma(LN2[1], low)


def int_pow(x: Expr, y: Expr) -> Expr:
    """Compute x ** y of integers, wrapping, by repeated squaring over the bits of y.

    1 for a y below 0, whose powers are no integers.
    """

    def step(power: Expr, base: Expr, exponent: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        grown = select((exponent & 1).ne(0), power * base, power)
        return exponent > 0, (grown, base * base, exponent >> 1)

    initial = (literal(1, x.dtype), x, y)
    return iterate(x.dtype.bits, initial, step, usual=_USUAL_BITS)[0]


_POWERS: Final = {F32: _power_f32, F64: _power_f64}


def cbrt(x: Expr) -> Expr:
    """Compute the real cube root. -0 stays -0, infinities and NaN themselves."""
    magnitude, dtype = abs(x), x.dtype
    parts = split(magnitude, denormals=True)
    n, low_bits = round_scaled(parts.exponent, THIRD, layout_of(x).bias)
    remainder = n.fma(-3.0, parts.exponent)  # -1, 0 or 1

    def by_rest(base: float) -> Expr:
        low, unit, high = (literal(base**k, dtype) for k in (-1, 0, 1))
        return select(remainder > 0.0, high, select(remainder < 0.0, low, unit))

    m = parts.mantissa * by_rest(2.0)
    y = horner(parts.mantissa, INVERSE) * by_rest(2.0**-THIRD)
    for _ in range(NEWTON[dtype]):
        y = (y * THIRD).fma(1.0 - m * y * (y * y), y)
    squared = y * y
    c = m * squared
    square = c * c
    residual = (-c).fma(square, m) - c * c.fma(c, -square)
    root = (squared * THIRD).fma(residual, c) * power_of_two(low_bits)
    proper = (magnitude > 0.0) & (magnitude < math.inf)
    return select(proper, flip_sign(root, sign_bit(x)), x)

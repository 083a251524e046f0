"""pow: exp(y log|x|) with a logarithm accurate beyond the format, and the border rules of C99.

f32 goes through f64: log2 to 2**-36 and exp2 to 2**-29 leave a correctly rounded result but for
rare halfway cases. f64 carries log|x| as an unevaluated sum of two numbers (double-double; Dekker
1971, with fma for exact products): 2 atanh(s) with s = (m - 1)/(m + 1), where the terms up to s**3
are kept in two parts and the rest, below 2**-12 of the sum, in one. Knows no renderer.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.ir.dtype import F32, F64
from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.vecmath.exponential import CONSTANTS, exp_reduced
from staticgrad.ir.vecmath.layout import (
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


def pow_(x: Expr, y: Expr) -> Expr:
    """x**y with the special values of C99 Annex F (NumPy's): 1**y and x**0 are 1, even for NaN."""
    magnitude = abs(x)
    power = _power_through_f64(magnitude, y) if x.dtype == F32 else _power_f64(magnitude, y)
    whole = y.rint().eq(y)
    half = y * 0.5
    odd = whole & half.rint().ne(half)
    zero = literal(0, layout_of(x).word)
    signed = flip_sign(power, select(odd, sign_bit(x), zero))
    undefined = (x < 0.0) & (magnitude < math.inf) & ~whole
    result = select(undefined, literal(math.nan, x.dtype), signed)
    return select(x.eq(1.0) | y.eq(0.0), literal(1.0, x.dtype), result)


def _with_infinite_ends(magnitude: Expr, logarithm: Expr) -> Expr:
    """-inf at 0, inf at inf, NaN at NaN, else the logarithm."""
    low = literal(-math.inf, magnitude.dtype)
    return select(magnitude < math.inf, select(magnitude.eq(0.0), low, logarithm), magnitude)


def _power_through_f64(magnitude: Expr, y: Expr) -> Expr:
    """magnitude**y in f32; neither its denormals nor its overflow are special in f64.

    y is clamped to a size where every power but that of 1 has long overflown or vanished.
    """
    x = magnitude.cast(F64)
    parts = split(x, denormals=False)
    s = (parts.mantissa - 1.0) / (parts.mantissa + 1.0)
    log2 = _with_infinite_ends(x, s.fma(horner(s * s, LOG2), parts.exponent))
    exponent = clamp(clamp(y, -(2.0**100), 2.0**100).cast(F64) * log2, -160.0, 160.0)
    n, low_bits = round_scaled(exponent, 1.0, layout_of(x).bias)
    r = exponent - n
    return (even_odd(r, r * r, EXP2) * power_of_two(low_bits)).cast(F32)


def _power_f64(magnitude: Expr, y: Expr) -> Expr:
    """magnitude**y in f64: y times the logarithm in two parts, and its exponential."""
    high, low = _log_in_two_parts(magnitude)
    high = _with_infinite_ends(magnitude, high)
    y = clamp(y, -(2.0**1000), 2.0**1000)
    product = y * high
    rest = y.fma(low, y.fma(high, -product))
    rest = select(abs(product) < 2000.0, rest, literal(0.0, F64))
    inside = clamp(product, CONSTANTS[F64].vanish, 1000.0)
    ln2_high, ln2_low = CONSTANTS[F64].ln2
    n, low_bits = round_scaled(inside, math.log2(math.e), 2 * layout_of(y).bias)
    r = n.fma(-ln2_high, inside) + n.fma(-ln2_low, rest)
    return scale_gradually(exp_reduced(r), low_bits)


def _fast_two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """a + b and what its rounding lost, for |a| >= |b| or a = 0 (Dekker 1971)."""
    total = a + b
    return total, b - (total - a)


def _product(a: Expr, a_low: Expr, b: Expr, b_low: Expr) -> tuple[Expr, Expr]:
    """(a + a_low)(b + b_low) in two parts, to about 2**-100."""
    leading = a * b
    return leading, a.fma(b, -leading) + a.fma(b_low, a_low * b)


def _log_in_two_parts(x: Expr) -> tuple[Expr, Expr]:
    """log(x) as high + low for positive x, relative error about 2**-65."""
    parts = split(x, denormals=True)
    m = parts.mantissa
    f = m - 1.0
    divisor = m + 1.0
    divisor_low = m - (divisor - 1.0)
    reciprocal = literal(1.0, F64) / divisor
    s = f * reciprocal
    s_low = (-s).fma(divisor_low, (-s).fma(divisor, f)) * reciprocal
    z, z_low = _product(s, s_low, s, s_low)
    factor, factor_low = _fast_two_sum(literal(TWO_THIRDS[0], F64), z * horner(z, ATANH_TAIL))
    w, w_low = _product(z, z_low, factor, factor_low + TWO_THIRDS[1])
    cubic, cubic_low = _product(s, s_low, w, w_low)
    atanh, atanh_low = _fast_two_sum(s + s, cubic)
    high, high_low = _fast_two_sum(parts.exponent * LN2[0], atanh)
    return high, high_low + parts.exponent.fma(LN2[1], atanh_low + (s_low + s_low + cubic_low))

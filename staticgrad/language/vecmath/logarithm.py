"""log, log1p, log2, log10 and logit: exponent and mantissa apart, one polynomial or one quotient.

x = 2**e m with m in [sqrt(1/2), sqrt(2)), f = m - 1. f32: log(1 + f) = f + f**2 q(f). f64: with s =
f / (2 + f) and z = s**2, log(1 + f) = f - s (f - z R(z)) (fdlibm's e_log.c, Sun 1993). The fits are
weighted least-maximum (Lawson's iteration in 60 digits, coefficients rounded one by one with
refits). Zero, negative and non-finite inputs are looked at last, and like denormal ones only in
vectors that have some.

log2 and log10 carry mantissa and base in two parts (Dekker 1971, exact products by fma), so that
only the last sum rounds by more than a hair; log2 needs no constant to put the exponent back.

logit divides once: for p / (1 - p) = 2**e t / u, log(t / u) is 2 artanh(s), s = (t - u)/(t + u),
which is 2 p - 1, and exact, where e is 0.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import bits, choose, even_odd, horner, layout_of, split
from staticgrad.support.records import dataclass

#: ln2 in two parts; the first has few enough bits that its product with an exponent is exact.
LN2: Final[dict[DType, tuple[float, float]]] = {
    F32: (0.693145751953125, 1.428606765330187e-06),
    F64: (0.6931471803691238, 1.9082149292705877e-10),
}
Q32: Final = (
    -0.49999988079071045, 0.33333316445350647, -0.2500159442424774, 0.2000260204076767,
    -0.16609424352645874, 0.14169996976852417, -0.1322784125804901, 0.12971989810466766,
    -0.0774034783244133,
)  # fmt: skip
R64: Final = (
    0.6666666666666734, 0.3999999999941682, 0.2857142874196969, 0.22222198612087116,
    0.18183562456926236, 0.15314095309223175, 0.14795527020963326,
)  # fmt: skip
#: 2 artanh(s) - 2 s over s**3, by s**2: in float32 a few terms of the series are enough.
ARTANH: Final = {F32: tuple(2 / k for k in (3, 5, 7, 9)), F64: R64}


@dataclass(frozen=True)
class Base:
    """1/log(base) and log(2)/log(base), two parts each; integers times ``octave[0]`` are exact."""

    scale: tuple[float, float]
    octave: tuple[float, float]


TWO: Final[dict[DType, Base]] = {
    F32: Base((1.4426950216293335, 1.925963033500011e-08), (1.0, 0.0)),
    F64: Base((1.4426950408889634, 2.0355273740931033e-17), (1.0, 0.0)),
}
TEN: Final[dict[DType, Base]] = {
    F32: Base(
        (0.4342944920063019, -1.0103049952192578e-08), (0.301025390625, 4.605039066518657e-06)
    ),
    F64: Base(
        (0.4342944819032518, 1.098319650216765e-17), (0.3010299956658855, -1.9043128467164274e-12)
    ),
}


def exponent_and_reduced(exponent: Expr, f: Expr) -> Expr:
    """exponent * ln2 + log(1 + f) for 1 + f in [sqrt(1/2), sqrt(2))."""
    return _SUMS[f.dtype](exponent, f, *LN2[f.dtype])


def _sum_f32(exponent: Expr, f: Expr, high: float, low: float) -> Expr:
    squared = f * f
    reduced = squared.fma(even_odd(f, squared, Q32), f)
    return exponent.fma(high, exponent.fma(low, reduced))


def _sum_f64(exponent: Expr, f: Expr, high: float, low: float) -> Expr:
    s = f / (f + 2.0)
    z = s * s
    leading = exponent * high
    total = leading + f
    lost = f - (total - leading)
    return total + s.fma(z.fma(horner(z, R64), -f), exponent.fma(low, lost))


_SUMS: Final = {F32: _sum_f32, F64: _sum_f64}


def with_borders(x: Expr, distance: Expr, finite: Expr) -> Expr:
    """Set a logarithm at its borders: -inf at 0, NaN below; x if inf or NaN.

    ``distance`` is inf or NaN where x is.
    """
    outside = choose(distance.eq(0.0), -math.inf, math.nan, x.dtype)
    border = select(x < math.inf, outside, x)
    at_border = bits(distance) - 1 >= layout_of(x).bits_of(math.inf) - 1
    return rarely(at_border, [border], [finite])[0]


def log(x: Expr) -> Expr:
    """The natural logarithm. -inf at both zeros, NaN below, inf at inf."""
    parts = split(x, denormals=True, seldom=True)
    return with_borders(x, x, exponent_and_reduced(parts.exponent, parts.mantissa - 1.0))


def log1p(x: Expr) -> Expr:
    """Compute log(1 + x) with small relative error, also near 0; -inf at -1, NaN below.

    1 + x, rounded, only chooses e; the reduced argument f = 2**-e x + (2**-e - 1) is one fma of
    exact terms (the scheme of SLEEF's log1p). 2**-e can be denormal, so it is built four times as
    large and x is scaled down by four instead.
    """
    layout = layout_of(x)
    one_plus = x + 1.0
    parts = split(one_plus, denormals=False)
    exponent_of_one = (2 * layout.bias + 3) << layout.fraction
    scale = (literal(exponent_of_one, layout.word) - parts.field).bitcast(x.dtype)
    f = (x * 0.25).fma(scale, scale * 0.25 - 1.0)
    general = exponent_and_reduced(parts.exponent, f)
    tiny = 2.0 ** -(layout.fraction + 3)
    return select(abs(x) < tiny, x, with_borders(x, one_plus, general))


def logit(p: Expr) -> Expr:
    """Compute log(p / (1 - p)): -inf at 0, inf at 1, NaN beyond."""
    layout = layout_of(p)
    complement = 1.0 - p
    lost = (1.0 - complement) - p  # what rounding took from it
    above, below = split(p, denormals=True, seldom=True), split(complement, denormals=False)
    exponent_of_one = (2 * layout.bias + 1) << layout.fraction
    scale = (literal(exponent_of_one, layout.word) - below.field).bitcast(p.dtype)
    t, u, exponent = above.mantissa, below.mantissa, above.exponent - below.exponent
    far, near = t > u * math.sqrt(2.0), u > t * math.sqrt(2.0)
    exponent = select(far, exponent + 1.0, select(near, exponent - 1.0, exponent))
    t, u = select(near, t * 2.0, t), select(far, u * 2.0, u)
    difference = (t - u) - lost * select(far, scale * 2.0, scale)
    s = difference / (t + u)
    squared, twice = s * s, s * 2.0
    high, low = LN2[p.dtype]
    leading = exponent * high
    total = leading + twice
    left = exponent.fma(low, twice - (total - leading))
    finite = total + (s * squared).fma(horner(squared, ARTANH[p.dtype]), left)
    outside = choose(p.eq(0.0), -math.inf, math.nan, p.dtype)
    border = select(p.eq(1.0), literal(math.inf, p.dtype), outside)
    return rarely(~((p > 0.0) & (p < 1.0)), [border], [finite])[0]


def log2(x: Expr) -> Expr:
    """The logarithm to base 2, exact for powers of two. -inf at both zeros, NaN below."""
    return _logarithm(x, TWO[x.dtype])


def log10(x: Expr) -> Expr:
    """The logarithm to base 10. -inf at both zeros, NaN below."""
    return _logarithm(x, TEN[x.dtype])


def _logarithm(x: Expr, base: Base) -> Expr:
    """Compute the logarithm of a base from exponent and mantissa, with a correction term."""
    parts = split(x, denormals=True, seldom=True)
    f = parts.mantissa - 1.0
    curved = _CURVED[x.dtype](f)
    product = f * base.scale[0]
    product_low = f.fma(base.scale[0], -product)
    leading = parts.exponent * base.octave[0]
    total = leading + product
    lost = product - (total - leading)
    low = curved.fma(base.scale[0], f.fma(base.scale[1], product_low))
    return with_borders(x, x, total + (lost + parts.exponent.fma(base.octave[1], low)))


def _curved_f32(f: Expr) -> Expr:
    """log(1 + f) - f."""
    squared = f * f
    return squared * even_odd(f, squared, Q32)


def _curved_f64(f: Expr) -> Expr:
    """log(1 + f) - f."""
    s = f / (f + 2.0)
    z = s * s
    return s * z.fma(horner(z, R64), -f)


_CURVED: Final = {F32: _curved_f32, F64: _curved_f64}

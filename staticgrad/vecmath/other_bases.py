"""exp2, log2 and log10: the exponential and logarithm in bases whose exponents come out exactly.

exp2 needs no constant to take the integer part away, log2 none to put it back: powers of two are
exact. The logarithms carry mantissa and base in two parts (Dekker 1971, exact products by fma), so
that only the last sum rounds by more than a hair.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import Expr
from staticgrad.records import dataclass
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.exponential import CONSTANTS, exp_reduced
from staticgrad.vecmath.layout import (
    clamp,
    even_odd,
    horner,
    layout_of,
    round_scaled,
    scale_gradually,
    split,
)
from staticgrad.vecmath.logarithm import Q32, R64, with_borders


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


def exp2(x: Expr) -> Expr:
    """2**x, exact for integers. Overflow to inf, gradual underflow to 0, NaN stays."""
    bias = layout_of(x).bias
    inside = clamp(x, -2.0 * bias, bias + 2.0)
    n, low_bits = round_scaled(inside, 1.0, 2 * bias)
    return scale_gradually(exp_reduced((inside - n) * CONSTANTS[x.dtype].ln2[0]), low_bits)


def log2(x: Expr) -> Expr:
    """The logarithm to base 2, exact for powers of two. -inf at both zeros, NaN below."""
    return _logarithm(x, TWO[x.dtype])


def log10(x: Expr) -> Expr:
    """The logarithm to base 10. -inf at both zeros, NaN below."""
    return _logarithm(x, TEN[x.dtype])


def _logarithm(x: Expr, base: Base) -> Expr:
    parts = split(x, denormals=True)
    f = parts.mantissa - 1.0
    curved = _CURVED[x.dtype](f)
    product = f * base.scale[0]
    product_low = f.fma(base.scale[0], -product)
    leading = parts.exponent * base.octave[0]
    total = leading + product
    lost = product - (total - leading)
    rest = curved.fma(base.scale[0], f.fma(base.scale[1], product_low))
    return with_borders(x, x, total + (lost + parts.exponent.fma(base.octave[1], rest)))


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

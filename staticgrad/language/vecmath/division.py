"""fmod and the rounded-down quotient of floats, exact as NumPy's, without a loop where that can be.

With b = |y| and q the integer part of |x| / b as rounded, |x| - q b is one fma without rounding,
and q is right or one too large: the remainder of q - 1 is b more. That holds while q is an integer
of the format; beyond, f32 takes 50 bits of the quotient at a time in f64, and f64 asks the C
library.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.expr import Expr, apply, rarely, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import flip_sign, sign_bit

#: Quotients below are found exactly by one division.
QUOTIENTS: Final[dict[DType, float]] = {F32: 2.0**22, F64: 2.0**51}
#: ``npy_divmod`` rounds below so little that it finds the exact one too.
FLOORS: Final[dict[DType, float]] = {F32: 2.0**20, F64: 2.0**49}
#: Bits of the quotient per step, and steps for all of f32's: 2**128 / 2**-149.
STEP, STEPS = 50, 6


def fmod(x: Expr, y: Expr) -> Expr:
    """The remainder with the sign of x (C99's fmod): NaN for an infinite x or y = 0."""
    a, b = abs(x), abs(y)
    ratio = a / b
    left = _reduce(a, b, ratio)
    usual = flip_sign(select(a < b, a, left), sign_bit(x))
    return rarely(ratio >= QUOTIENTS[x.dtype], [_whole_fmod(x, y)], [usual])[0]


def floor_quotient(x: Expr, y: Expr) -> Expr:
    """Compute x / y rounded down as NumPy's ``npy_divmod``; x / y itself for y = 0."""
    ratio = x / y
    floor = ratio.floor()
    left = select(ratio.eq(0.0), x, (-floor).fma(y, x))
    below = (left < 0.0) & (y > 0.0) | (left > 0.0) & (y < 0.0)
    usual = select(below, floor - 1.0, floor)
    seldom = select(y.eq(0.0), ratio, _divide(x, y, ratio))
    return rarely(abs(ratio) >= FLOORS[x.dtype], [seldom], [usual])[0]


def _reduce(a: Expr, b: Expr, ratio: Expr) -> Expr:
    """a less so many b that it stands in [0, b), for a ``ratio`` that holds its integer part."""
    left = (-ratio.trunc()).fma(b, a)
    return select(left < 0.0, left + b, left)


def _whole_fmod(x: Expr, y: Expr) -> Expr:
    """Compute fmod for quotients of any size."""
    return _WHOLE_FMOD[x.dtype](x, y)


def _fmod_f64(x: Expr, y: Expr) -> Expr:
    return apply("c_fmod", x, y)


def _fmod_f32(x: Expr, y: Expr) -> Expr:
    left, divisor = abs(x).cast(F64), abs(y).cast(F64)
    for step in reversed(range(STEPS)):
        scaled = divisor * 2.0 ** (STEP * step)
        left = _reduce(left, scaled, left / scaled)
    return flip_sign(left.cast(F32), sign_bit(x))


def _divide(x: Expr, y: Expr, ratio: Expr) -> Expr:
    """Compute ``npy_divmod`` step by step, with its roundings of large quotients."""
    left = _whole_fmod(x, y)
    quotient = (x - left) / y
    opposite = ((sign_bit(y) ^ sign_bit(left)).ne(0)) & left.ne(0.0)
    quotient = select(opposite, quotient - 1.0, quotient)
    floor = quotient.floor()
    floor = select(quotient - floor > 0.5, floor + 1.0, floor)
    zero = sign_bit(ratio).bitcast(x.dtype)
    return select(quotient.ne(0.0), floor, zero)


_WHOLE_FMOD: Final = {F32: _fmod_f32, F64: _fmod_f64}

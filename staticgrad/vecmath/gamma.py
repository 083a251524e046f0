"""Gamma itself, by powers in two parts where Stirling's series serves, else by a polynomial.

Below 8 the recurrence leads to [1, 2). From there on the power is the square of one of half the
exponent, so that neither it nor its reciprocal leaves the range before the result does. Below 0 it
is the reflection by sin(pi x), whose x is reduced exactly. f32 goes through f64.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.ir.expr import Expr, literal, rarely, select
from staticgrad.types.dtype import F64
from staticgrad.vecmath.gamma_factor import (
    FAR,
    ROOT_TAU,
    added,
    exp_of,
    multiple,
    near_gamma,
)
from staticgrad.vecmath.gamma_function import SINE, STIRLING
from staticgrad.vecmath.layout import at_least, at_most, horner, split
from staticgrad.vecmath.power import log_in_two_parts

#: Beyond it the results are inf above 0, and 0 below it.
LAST: Final = 190.0


def gamma(x: Expr) -> Expr:
    """Gamma(x): inf at 0, -inf at -0, NaN at the negative whole numbers and at -inf."""
    wide = x.cast(F64)
    y = abs(wide)
    near, inverse = _small(at_most(y, FAR))
    root = _root_of_large(at_most(at_least(y, FAR), LAST))
    small = y < FAR
    positive = select(small, near, root * root * ROOT_TAU)
    (found,) = rarely(~(wide > 0.0), [_reflected(wide, y, small, inverse, root)], [positive])
    return found.cast(x.dtype)


def _small(y: Expr) -> tuple[Expr, Expr]:
    """Gamma(y), and 1 / (y Gamma(y)), for y from 0 to 8."""
    low, product, reciprocal = near_gamma(y, literal(1.0, F64) + y * 0.0)
    found = product / reciprocal
    return select(low, found / y, found), select(low, reciprocal, reciprocal / (product * y))


def _root_of_large(y: Expr) -> Expr:
    """The square root of Gamma(y) / sqrt(2 pi), for y from 8 on."""
    inverse = literal(1.0, F64) / y
    remainder = horner(inverse * inverse, STIRLING[F64]) * inverse
    high, low = multiple(y - 0.5, log_in_two_parts(split(y, denormals=False)))
    exponent = added(added((high, low), (-y, literal(0.0, F64) * y)), (remainder, remainder * 0.0))
    return exp_of((exponent[0] * 0.5, exponent[1] * 0.5))


def _reflected(x: Expr, y: Expr, small: Expr, inverse: Expr, root: Expr) -> Expr:
    """-pi / (y sin(pi y) Gamma(y)), and what is not below 0 and finite."""
    whole = y.rint()
    turned = y - whole
    odd = (whole * 0.5).rint() * 2.0
    sign = select(odd.eq(whole), literal(-1.0, F64), literal(1.0, F64))
    sine = sign * turned * horner(turned * turned, SINE[F64])
    far = literal(1.0, F64) / root / (y * sine) / root / ROOT_TAU
    found = select(small, inverse / sine, far)
    found = select(turned.eq(0.0), literal(math.nan, F64), found)
    return select(x.eq(0.0), literal(1.0, F64) / x, found)

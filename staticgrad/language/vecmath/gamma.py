"""Gamma, and its factors in the incomplete functions, to the last digits, in f64.

Exponents of some hundreds are kept in two parts, as e would amplify their rounding by their size.
``gamma_star`` is Gamma over Stirling's first approximation, sqrt(2 pi / z) (z / e)**z: near 1, so
that products of powers and Gammas lose nothing to magnitudes that cancel.

Gamma itself is Stirling's series from 8 on, its power the square of one of half the exponent, so
that neither it nor its reciprocal leaves the range before the result does. Below 8 the recurrence
leads to [1, 2), where it is a polynomial; below 0 it is the reflection by sin(pi x), whose x is
reduced exactly.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.types.dtype import F64
from staticgrad.language.vecmath.exponential import CONSTANTS
from staticgrad.language.vecmath.gamma_function import SINE, STIRLING
from staticgrad.language.vecmath.layout import (
    at_least,
    at_most,
    clamp,
    horner,
    layout_of,
    scale_gradually,
    split,
)
from staticgrad.language.vecmath.power import exponential, log_in_two_parts

#: 1 / Gamma(z) in z - 3/2, for z from 1 to 2.
RECIPROCAL: Final = (
    1.1283791670955126, -0.0411745264452831, -0.5266544355255445, 0.17510202604393435,
    0.050966860247706136, -0.04215516936852384, 0.006612897826820958, 0.0021207314422774662,
    -0.0011107302545151887, 0.00015235762470316286, 2.535520386106474e-05, -1.3896835437533617e-05,
    2.1562113294434155e-06, 5.8070298070884785e-08, -8.917014541433564e-08, 1.6813402437575466e-08,
    -8.521820446681207e-10,
)  # fmt: skip
ROOT_TAU: Final = math.sqrt(2.0 * math.pi)
LARGEST: Final = 1e300
#: Between these, the border from which on Stirling's series serves.
FAR: Final = 8.0

Parts = tuple[Expr, Expr]


def two_sum(a: Expr, b: Expr) -> Parts:
    """a + b and what its rounding lost (Knuth)."""
    total = a + b
    added_part = total - a
    return total, (a - (total - added_part)) + (b - added_part)


def add_parts(a: Parts, b: Parts) -> Parts:
    """The sum of two numbers in two parts each."""
    total, lost = two_sum(a[0], b[0])
    return total, lost + (a[1] + b[1])


def multiple(factor: Expr, of: Parts) -> Parts:
    """factor times a number in two parts."""
    product = factor * of[0]
    return product, factor.fma(of[1], factor.fma(of[0], -product))


def log_of_ratio(above: Parts, below: Expr) -> Parts:
    """The logarithm of a quotient of positive numbers."""
    ratio = at_most(above[0] / below, LARGEST)
    error = ((-ratio).fma(below, above[0]) + above[1]) / above[0]
    error = select(abs(error) < 2.0**-50, error, literal(0.0, F64))
    high, low = log_in_two_parts(split(ratio, denormals=True))
    return high, low + error


def exp_of(exponent: Parts) -> Expr:
    """e to a number in two parts: underflows gradually, overflows to inf."""
    c = CONSTANTS[F64]
    low = select(abs(exponent[0]) < 2000.0, exponent[1], literal(0.0, F64))
    inside = clamp(exponent[0], c.vanish, c.overflow)
    p, low_bits = exponential(inside, low, 2 * layout_of(inside).bias)
    return scale_gradually(p, low_bits)


def gamma_star(z: Expr) -> Expr:
    """Gamma(z) / (sqrt(2 pi / z) (z / e)**z) for z > 0."""
    inverse = literal(1.0, F64) / z
    remainder = horner(inverse * inverse, STIRLING[F64]) * inverse
    usual = exp_of((remainder, literal(0.0, F64) * z))
    return rarely(z < FAR, [_small_gamma_star(z)], [usual])[0]


def near_gamma(y: Expr, unit: Expr) -> tuple[Expr, Expr, Expr]:
    """Return the factors of Gamma(y) for y from 0 to 8: see the returned values.

    Args:
        y: the argument.
        unit: the number 1 that factors are multiplied to; a NaN in it reaches the product.

    Returns:
        Whether y is below 1; the product of factors that lead from [1, 2) to y; and the reciprocal
        of Gamma there, of y + 1 where y is below 1.
    """
    w, product = y, unit
    for _ in range(7):
        large = w >= 2.0
        w = select(large, w - 1.0, w)
        product = select(large, product * w, product)
    low = w < 1.0
    return low, product, horner(select(low, w + 1.0, w) - 1.5, RECIPROCAL)


def _small_gamma_star(z: Expr) -> Expr:
    """Compute Gamma(z) over Stirling's approximation (gamma star) for small z."""
    low, product, reciprocal = near_gamma(at_most(z, FAR), literal(1.0, F64) + z * 0.0)
    root = z.sqrt()
    root = select(low, 1.0 / root, root)
    positive = at_least(z, 1.0 / LARGEST)
    high, low_product = multiple(positive, log_in_two_parts(split(positive, denormals=False)))
    power = exp_of(add_parts((positive, literal(0.0, F64) * z), (-high, -low_product)))
    return product / reciprocal * power * (root * (1.0 / ROOT_TAU))


#: Beyond it the results are inf above 0, and 0 below it.
LAST: Final = 190.0


def gamma(x: Expr) -> Expr:
    """Compute Gamma(x): inf at 0, -inf at -0, NaN at negative integers and -inf."""
    wide = x.cast(F64)
    y = abs(wide)
    near, inverse = _small(at_most(y, FAR))
    root = _root_of_large(at_most(at_least(y, FAR), LAST))
    small = y < FAR
    positive = select(small, near, root * root * ROOT_TAU)
    (result,) = rarely(~(wide > 0.0), [_reflect(wide, y, small, inverse, root)], [positive])
    return result.cast(x.dtype)


def _small(y: Expr) -> tuple[Expr, Expr]:
    """Gamma(y), and 1 / (y Gamma(y)), for y from 0 to 8."""
    low, product, reciprocal = near_gamma(y, literal(1.0, F64) + y * 0.0)
    value = product / reciprocal
    return select(low, value / y, value), select(low, reciprocal, reciprocal / (product * y))


def _root_of_large(y: Expr) -> Expr:
    """Compute sqrt(Gamma(y) / sqrt(2 pi)) for y >= 8."""
    inverse = literal(1.0, F64) / y
    remainder = horner(inverse * inverse, STIRLING[F64]) * inverse
    high, low = multiple(y - 0.5, log_in_two_parts(split(y, denormals=False)))
    exponent = add_parts(
        add_parts((high, low), (-y, literal(0.0, F64) * y)), (remainder, remainder * 0.0)
    )
    return exp_of((exponent[0] * 0.5, exponent[1] * 0.5))


def _reflect(x: Expr, y: Expr, small: Expr, inverse: Expr, root: Expr) -> Expr:
    """Reflect Gamma: -pi / (y sin(pi y) Gamma(y)) for negative x."""
    nearest = y.rint()
    turned = y - nearest
    odd = (nearest * 0.5).rint() * 2.0
    sign = select(odd.eq(nearest), literal(-1.0, F64), literal(1.0, F64))
    sine = sign * turned * horner(turned * turned, SINE[F64])
    far = literal(1.0, F64) / root / (y * sine) / root / ROOT_TAU
    result = select(small, inverse / sine, far)
    result = select(turned.eq(0.0), literal(math.nan, F64), result)
    return select(x.eq(0.0), literal(1.0, F64) / x, result)

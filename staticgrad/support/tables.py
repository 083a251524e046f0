"""Tables of constants with the same bits on every machine.

A cosine, a logarithm or an eigenvalue of NumPy comes from the C library, LAPACK or the vector
instructions of a machine, and its last bit is theirs. What a program contains as a constant is
computed here instead: in decimal numbers of ``_DIGITS`` digits, or, where there are many, in pairs
of float64 (double-double) by sums, products and quotients, which IEEE 754 defines to the bit.

    >>> roots_of_unity([0, 1, 2], 4)[:, 0] + 0.0
    array([ 1.,  0., -1.])
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: The sum of both, unevaluated: twice the digits of one.
Pair = tuple[Floats, Floats]

_DIGITS: Final = 50
#: A step of Newton's method that no longer changes a float64.
_SMALL_STEP: Final = Decimal(10) ** -40
#: pi / 4 to 106 bits.
_EIGHTH: Final = 0.7853981633974483, 3.061616997868383e-17
#: Terms of a Taylor series up to pi / 4 that 106 bits have, and those that are pairs: of a later
#: one, 53 bits are enough.
_TERMS: Final = 14
_PAIRS: Final = 7
#: Splits 53 bits into two halves (Dekker).
_SPLIT: Final = 2.0**27 + 1.0


# -- sums, products and quotients of pairs ---------------------------------------------------------


def _normalize(high: Any, low: Any) -> Pair:
    """Return a pair with the same sum whose first number is the nearest float64."""
    total = high + low
    return total, low - (total - high)


def _multiply_exactly(a: Any, b: Any) -> Pair:
    """Return the product of two float64, and its rounding error."""
    a_high, b_high = (_SPLIT * x - (_SPLIT * x - x) for x in (a, b))
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _multiply(a: Pair, b: Pair) -> Pair:
    product, error = _multiply_exactly(a[0], b[0])
    return _normalize(product, error + (a[0] * b[1] + a[1] * b[0]))


def _add(a: Pair, b: Pair) -> Pair:
    total = a[0] + b[0]
    shown = total - a[0]
    error = (a[0] - (total - shown)) + (b[0] - shown)
    return _normalize(total, error + (a[1] + b[1]))


def _divide(a: Pair, divisor: float) -> Pair:
    quotient = a[0] / divisor
    product, error = _multiply_exactly(quotient, divisor)
    return _normalize(quotient, (((a[0] - product) - error) + a[1]) / divisor)


def _pair(numerator: int, denominator: int) -> tuple[Any, Any]:
    """Return a fraction as a pair."""
    high = numerator / denominator
    with localcontext(Context(prec=_DIGITS)):
        low = float(Decimal(numerator) / Decimal(denominator) - Decimal(high))
    return np.float64(high), np.float64(low)


def _evaluate_series(square: Pair, first: int) -> Pair:
    """Return the sum of (-square)**k / (2k + first)! over k."""
    coefficients = [_pair((-1) ** k, math.factorial(2 * k + first)) for k in range(_TERMS)]
    later = np.zeros_like(square[0])
    for coefficient, _ in reversed(coefficients[_PAIRS:]):
        later = coefficient + later * square[0]
    total: Pair = later, np.zeros_like(later)
    for pair in reversed(coefficients[:_PAIRS]):
        total = _add(pair, _multiply(total, square))
    return total


# -- tables ----------------------------------------------------------------------------------------


@lru_cache(maxsize=4)  # the passes of a transform ask for the same one
def _octant(size: int) -> tuple[Floats, Floats]:
    """Return cosines and sines of pi / 4 * k / size for k = 0, step, ..., size."""
    numbers = np.arange(0, size + 1, math.gcd(8, size)).astype(np.float64)
    high, low = _multiply_exactly(numbers, _EIGHTH[0])
    angle = _divide(_normalize(high, low + numbers * _EIGHTH[1]), float(size))
    square = _multiply(angle, angle)
    cosine = _evaluate_series(square, 0)[0]
    sine = _multiply(angle, _evaluate_series(square, 1))[0]
    return cosine, sine


def roots_of_unity(numbers: npt.ArrayLike, size: int) -> Floats:
    """Return the cosine and the sine of 2 pi k / size for whole numbers k, in a last axis."""
    octants, remainder = np.divmod(8 * (np.asarray(numbers, np.int64) % size), size)
    odd = octants % 2 == 1
    cosines, sines = _octant(size)
    at = np.where(odd, size - remainder, remainder) // math.gcd(8, size)
    cosine, sine = cosines[at], np.where(odd, -sines[at], sines[at])
    turns = (octants + 1) // 2 % 4
    real = np.choose(turns, [cosine, -sine, -cosine, sine])
    imaginary = np.choose(turns, [sine, cosine, -sine, -cosine])
    return np.stack([real, imaginary], -1)


def reciprocal_root(number: int) -> float:
    """Return 1 / sqrt(number)."""
    with localcontext(Context(prec=_DIGITS)):
        return float(1 / Decimal(number).sqrt())


@cache
def gauss_legendre(count: int) -> tuple[Floats, Floats]:
    """Return the nodes in [-1, 1], which rise, and the weights of Gauss-Legendre quadrature."""
    nodes, weights = np.zeros(count), np.zeros(count)
    with localcontext(Context(prec=_DIGITS)):
        for k in range((count + 1) // 2):
            x = Decimal(0)
            if 2 * k + 1 < count:  # near enough for Newton's method: its last step decides
                x = Decimal(-math.cos(math.pi * (k + 0.75) / (count + 0.5)))
            step, slope = Decimal(1), Decimal(1)
            while abs(step) > _SMALL_STEP:
                lower, value = Decimal(0), Decimal(1)  # Legendre polynomials at x
                for degree in range(count):
                    higher = ((2 * degree + 1) * x * value - degree * lower) / (degree + 1)
                    lower, value = value, higher
                slope = count * (x * value - lower) / (x * x - 1)
                step = value / slope if 2 * k + 1 < count else Decimal(0)
                x -= step
            nodes[-1 - k], nodes[k] = -float(x), float(x)
            weights[k] = weights[-1 - k] = float(2 / ((1 - x * x) * slope * slope))
    return nodes, weights

"""The incomplete gamma functions P and Q, regularized.

Below max(a, 1) the power series of P, beyond the continued fraction of Q by Steed's algorithm, for
large a and x near it Temme's uniform expansion; for small a and x the series of Q (the ranges of
Cephes' igam and of Temme 1979, Gil et al. 2012). What is found is the smaller tail or near it, the
other is 1 minus that. f32 goes through f64.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.ir.scalar_loop import iterate
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.exponential import expm1
from staticgrad.language.vecmath.gamma import (
    ROOT_TAU,
    Parts,
    add_parts,
    exp_of,
    gamma_star,
    log_of_ratio,
    multiple,
    two_sum,
)
from staticgrad.language.vecmath.gamma_function import GAMMALN
from staticgrad.language.vecmath.layout import at_least, at_most, even_odd, horner
from staticgrad.language.vecmath.logarithm import log
from staticgrad.language.vecmath.scaled_error_function import scaled_erfc
from staticgrad.support.records import dataclass

#: Temme's coefficients c(k, n) of eta**n / a**k (DLMF 8.12.10).
TEMME: Final = (
    (
        -0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073,
        0.0003527336860670194, -0.0001787551440329218, 3.919263178522438e-05,
        -2.185448510679992e-06, -1.85406221071516e-06, 8.296711340953087e-07,
        -1.7665952736826078e-07, 6.707853543401498e-09, 1.0261809784240309e-08,
        -4.382036018453353e-09, 9.14769958223679e-10, -2.5514193994946248e-11,
        -5.830772132550426e-11,
    ),
    (
        -0.001851851851851852, -0.003472222222222222, 0.0026455026455026454, -0.0009902263374485596,
        0.00020576131687242798, -4.018775720164609e-07, -1.8098550334489977e-05,
        7.64916091608111e-06, -1.6120900894563446e-06, 4.647127802807434e-09, 1.378633446915721e-07,
        -5.752545603517705e-08, 1.1951628599778148e-08, -1.7543241719747647e-11,
        -1.0091543710600413e-09,
    ),
    (
        0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049, 2.0093878600823047e-06,
        -0.0001073665322636516, 5.2923448829120125e-05, -1.2760635188618728e-05,
        3.423578734096138e-08, 1.3721957309062934e-06, -6.298992138380055e-07,
        1.4280614206064242e-07, -2.0477098421990866e-10, -1.409252991086752e-08,
    ),
    (
        0.0006494341563786008, 0.00022947209362139917, -0.0004691894943952557,
        0.00026772063206283885, -7.561801671883977e-05, -2.396505113867297e-07,
        1.1082654115347302e-05, -5.6749528269915965e-06, 1.4230900732435883e-06,
        -2.7861080291528143e-11, -1.6958404091930278e-07,
    ),
    (
        -0.0008618882909167117, 0.0007840392217200666, -0.0002990724803031902,
        -1.4638452578843418e-06, 6.641498215465122e-05, -3.968365047179435e-05,
        1.1375726970678419e-05, 2.507497226237533e-10, -1.6954149536558305e-06,
    ),
    (
        -0.00033679855336635813, -6.972813758365857e-05, 0.0002772753244959392,
        -0.00019932570516188847, 6.797780477937208e-05, 1.419062920643967e-07,
        -1.3594048189768693e-05,
    ),
    (
        0.0005313079364639922, -0.0005921664373536939, 0.0002708782096718045, 7.902353232660328e-07,
        -8.153969367561969e-05,
    ),
    (
        0.00034436760689237765, 5.171790908260592e-05, -0.00033493161081142234,
    ),
)  # fmt: skip
#: From here on the expansion serves, for |x - a| below this fraction of a.
LARGE: Final = 200.0
NEAR: Final = 0.3
#: To here the series of Q serves, where P is not small.
SMALL: Final = 1.1
ITERATIONS: Final = 600
#: A term that is less than this fraction of the sum changes it no more.
SMALLEST: Final[dict[DType, float]] = {F32: 2.0**-30, F64: 2.0**-56}


@dataclass(frozen=True)
class Tail:
    """One tail of the distribution; a flag selects the lower one."""

    value: Expr
    lower: Expr


def gammainc(a: Expr, x: Expr) -> Expr:
    """P(a, x), the integral of t**(a - 1) e**-t from 0 to x over Gamma(a); NaN below 0."""
    wide_a, wide_x = a.cast(F64), x.cast(F64)
    tail = _tail(wide_a, wide_x, SMALLEST[x.dtype])
    value = select(tail.lower, tail.value, 1.0 - tail.value)
    return _with_borders(wide_a, wide_x, value, 0.0, 1.0).cast(x.dtype)


def gammaincc(a: Expr, x: Expr) -> Expr:
    """Compute Q(a, x) = 1 - P(a, x), accurate where it vanishes."""
    wide_a, wide_x, least = a.cast(F64), x.cast(F64), SMALLEST[x.dtype]
    tail = _tail(wide_a, wide_x, least)
    value = select(tail.lower, 1.0 - tail.value, tail.value)
    near_1 = (wide_a < wide_x * SMALL) | (-wide_a * log(wide_x) < 0.4)
    small = tail.lower & (wide_x <= SMALL) & (wide_a <= SMALL) & (wide_a > 0.0) & near_1
    (value,) = rarely(small, [_series_of_upper(wide_a, wide_x, small, least)], [value])
    return _with_borders(wide_a, wide_x, value, 1.0, 0.0).cast(x.dtype)


def _with_borders(a: Expr, x: Expr, value: Expr, at_0: float, at_inf: float) -> Expr:
    """Set an incomplete gamma function at 0, infinity and outside of its domain."""
    low, high = literal(at_0, F64), literal(at_inf, F64)
    outside = select(x.eq(0.0) & (a > 0.0), low, literal(math.nan, F64))
    outside = select(a.eq(math.inf) & (x < math.inf) & (x >= 0.0), low, outside)
    outside = select(x.eq(math.inf) & (a >= 0.0) & (a < math.inf), high, outside)
    outside = select(a.eq(0.0) & (x > 0.0), high, outside)
    inside = (a > 0.0) & (a < math.inf) & (x > 0.0) & (x < math.inf)
    return select(inside, at_most(value, 1.0), outside)


def _tail(a: Expr, x: Expr, least: float) -> Tail:
    """Compute the smaller of P(a, x) and Q(a, x) by series, fraction or expansion."""
    zero = a * 0.0
    gap = two_sum(x, -a)
    high, low = multiple(a, log_of_ratio((x, zero), a))
    exponent = add_parts((high, low), (-gap[0], -gap[1]))
    density = exp_of(exponent)
    large = (a > LARGE) & (abs(gap[0]) < a * NEAR)
    lower = (x <= a) | ((x <= 1.0) & ~large)
    proper = (a > 0.0) & (x > 0.0) & (x < math.inf) & (a < math.inf) & ~large
    total = _series(a, x, proper & lower, least)
    fraction = _fraction(a, x, proper & ~lower, least) * a
    usual = density * select(lower, total, fraction) / (a.sqrt() * ROOT_TAU * gamma_star(a))
    (value,) = rarely(large, [_expansion(a, lower, exponent, density)], [usual])
    return Tail(value, lower)


def _series(a: Expr, x: Expr, active: Expr, least: float) -> Expr:
    """Sum the incomplete gamma function's series x**n / ((a + 1) ... (a + n))."""
    unit = literal(1.0, F64)

    def step(at: Expr, term: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        following = term * (x / at)
        return active & (term > total * least), (at + 1.0, following, total + following)

    return iterate(ITERATIONS, (a + 1.0, unit, unit), step, usual=30)[2]


def _fraction(a: Expr, x: Expr, active: Expr, least: float) -> Expr:
    """Evaluate Q's continued fraction 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...))."""
    first = literal(1.0, F64) / (x + 1.0 - a)

    def step(i: Expr, b: Expr, d: Expr, change: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        numerator = i * (i - a)
        following = literal(1.0, F64) / (b - numerator * d)
        more = change * (numerator * d * following)
        going = active & (abs(change) > abs(total) * least)
        return going, (i + 1.0, b + 2.0, following, more, total + more)

    unit = literal(1.0, F64)
    return iterate(ITERATIONS, (unit, x + 3.0 - a, first, first, first), step, usual=30)[4]


def _expansion(a: Expr, lower: Expr, exponent: Parts, density: Expr) -> Expr:
    """Compute an incomplete gamma function's tail by Temme's uniform expansion."""
    inverse = literal(1.0, F64) / a
    size = at_least(-(exponent[0] + exponent[1]) * inverse * 2.0, 0.0).sqrt()
    eta = select(lower, -size, size)
    total = literal(0.0, F64)
    for coefficients in reversed(TEMME):
        total = total * inverse + horner(eta, coefficients)
    part = total / (a.sqrt() * ROOT_TAU)
    half = scaled_erfc(size * (a * 0.5).sqrt()) * 0.5
    return density * (half + select(lower, -part, part))


def _series_of_upper(a: Expr, x: Expr, active: Expr, least: float) -> Expr:
    """Compute Q for small a and x: 1 - x**a / Gamma(a + 1), and an alternating series."""
    z = a + 1.0
    t = (z - 2.0) / (z + 2.0)
    exponent = a * log(x) - a * (z - 2.0) * even_odd(t, t * t, GAMMALN[F64])
    less = expm1(exponent)

    def step(n: Expr, factor: Expr, total: Expr) -> tuple[Expr, tuple[Expr, ...]]:
        following = factor * (-x / n)
        going = active & (abs(factor) > least)
        return going, (n + 1.0, following, total + following / (a + n))

    unit = literal(1.0, F64)
    total = iterate(ITERATIONS, (unit, unit, literal(0.0, F64)), step)[2]
    return -less - (less + 1.0) * a * total

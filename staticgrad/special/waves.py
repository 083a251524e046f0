"""Parabolic cylinder, Mathieu and spheroidal wave functions, by the names of ``scipy.special``.

Each gives a value and its derivative by the last operand; both are differentiable by that one, the
derivative by the function's differential equation. SciPy's radial functions of the second kind have
few digits, those of oblate spheroids sometimes none. Arguments beyond the fixed arrays of its
library give NaN (``support/buffer_bounds.py``). Sources: DLMF 12.2 (parabolic cylinder),
28.2 and 28.20 (Mathieu), 30.2 and 30.11 (spheroidal).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.extend.ops import cos, cosh, sin, square
from staticgrad.functions.complex_numbers import complex
from staticgrad.language.ops.special import refuse_by
from staticgrad.language.ops.special_functions import Rule, call, declare
from staticgrad.special.values import (
    scipy_function,
    scipy_function_and_slope,
    special_value,
)

_DEGREE: Final = math.pi / 180.0
_EIGHTH: Final = math.sqrt(0.5 / math.pi)  # cos(pi / 4) / sqrt(pi)


def _parabolic(value: Any, slope: Any, order: Any, x: Any) -> Any:
    """w'' = (x**2 / 4 - order - 1/2) w."""
    return (0.25 * square(x) + (-order - 0.5)) * value


def _parabolic_w(value: Any, slope: Any, a: Any, x: Any) -> Any:
    """w'' = (a - x**2 / 4) w."""
    return (a - 0.25 * square(x)) * value


def _mathieu(characteristic: str) -> Callable[..., Any]:
    """w'' = -(a - 2 q cos(2 x)) w, x in degrees."""

    def second(value: Any, slope: Any, m: Any, q: Any, x: Any) -> Any:
        difference = call(characteristic, m, q) - 2.0 * q * cos(2.0 * _DEGREE * x)
        return -_DEGREE * difference * value

    return second


def _modified_mathieu(characteristic: str) -> Callable[..., Any]:
    """w'' = (a - 2 q cosh(2 x)) w."""

    def second(value: Any, slope: Any, m: Any, q: Any, x: Any) -> Any:
        return (call(characteristic, m, q) - 2.0 * q * cosh(2.0 * x)) * value

    return second


def _spheroidal(oblate: bool = False, radial: bool = False) -> Callable[..., Any]:
    """The second derivative from ((1 - x**2) w')' + (cv - c**2 x**2 - m**2 / (1 - x**2)) w = 0.

    In oblate coordinates c**2 has the other sign, of radial functions x**2, too (DLMF 30.2.1).
    """

    def second(value: Any, slope: Any, m: Any, n: Any, c: Any, *operands: Any) -> Any:
        *characteristic, x = operands
        cv = (
            characteristic[0] if characteristic else call("obl_cv" if oblate else "pro_cv", m, n, c)
        )
        squares = square(x)
        if radial and oblate:  # x -> i x, c -> -i c
            grown = 1.0 + squares
            middle = cv - square(c) * squares - square(m) / grown
            return (middle * value - 2.0 * x * slope) / grown
        grown = 1.0 - squares
        middle = cv + square(c) * squares * (1.0 if oblate else -1.0) - square(m) / grown
        return (2.0 * x * slope - middle * value) / grown

    return second


def _refuse_derivative(function: str, operand: str) -> Rule:
    """No derivative at all."""
    return lambda out, *args: refuse_by(function, operand, True)


@scipy_function_and_slope(_parabolic)
def pbdv(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function D of order v, and its derivative; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pbdv(1.5, 0.5)]
    [-0.062, 1.22]
    """


@scipy_function_and_slope(_parabolic)
def pbvv(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function V of order v, and its derivative; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pbvv(1.5, 0.5)]
    [-0.65, -0.085]
    """


@scipy_function_and_slope(_parabolic_w)
def pbwa(a: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function W of parameter a, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.pbwa(1.5, 0.5)]
    [0.366, -0.403]
    """


declare("modfresnelp_fr", "x", lambda out, x: -cos(square(x)))
declare("modfresnelp_fi", "x", lambda out, x: -sin(square(x)))
declare("modfresnelp_kr", "x", lambda out, x: 2.0 * x * call("modfresnelp_ki", x) - _EIGHTH)
declare("modfresnelp_ki", "x", lambda out, x: _EIGHTH - 2.0 * x * call("modfresnelp_kr", x))


def modfresnelp(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Fresnel integral of exp(1j t**2) from x on, and exp(-1j (x**2 + pi / 4)) / sqrt(pi) times it.

    Two complex values.

    >>> [each.round(3) for each in sg.special.modfresnelp(0.5)]
    [np.complex128(0.13+0.585j), np.complex128(0.321+0.105j)]
    """
    return _modified_fresnel(x, 1.0)


def modfresnelm(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Fresnel integral of exp(-1j t**2) from x on, and exp(1j (x**2 + pi / 4)) / sqrt(pi) times it.

    Two complex values.

    >>> [each.round(3) for each in sg.special.modfresnelm(0.5)]
    [np.complex128(0.13-0.585j), np.complex128(0.321-0.105j)]
    """
    return _modified_fresnel(x, -1.0)


@scipy_function(_refuse_derivative("mathieu_a", "q"), by="q")
def mathieu_a(m: ArrayLike[AnyValue], q: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of even Mathieu functions of whole order m; no derivatives.

    >>> sg.special.mathieu_a(2, [0.5, 2.0]).round(3)
    array([4.101, 5.173])
    """


@scipy_function(_refuse_derivative("mathieu_b", "q"), by="q")
def mathieu_b(m: ArrayLike[AnyValue], q: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of odd Mathieu functions of whole order m; no derivatives.

    >>> sg.special.mathieu_b(2, [0.5, 2.0]).round(3)
    array([3.979, 3.672])
    """


@scipy_function_and_slope(_mathieu("mathieu_a"), unit=_DEGREE)
def mathieu_cem(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even Mathieu function of order m at x degrees, and that derived by x in radians.

    Differentiable by x, per degree.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_cem(2, 0.5, 30.0)]
    [0.632, -1.562]
    """


@scipy_function_and_slope(_mathieu("mathieu_b"), unit=_DEGREE)
def mathieu_sem(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd Mathieu function of order m at x degrees, and that derived by x in radians.

    Differentiable by x, per degree.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_sem(2, 0.5, 30.0)]
    [0.829, 1.078]
    """


@scipy_function_and_slope(_modified_mathieu("mathieu_a"))
def mathieu_modcem1(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even modified Mathieu function of the first kind, and its derivative by x.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modcem1(2, 0.5, 0.3)]
    [0.151, 0.126]
    """


@scipy_function_and_slope(_modified_mathieu("mathieu_a"))
def mathieu_modcem2(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even modified Mathieu function of the second kind, and its derivative by x.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modcem2(2, 0.5, 0.3)]
    [-1.774, 2.729]
    """


@scipy_function_and_slope(_modified_mathieu("mathieu_b"))
def mathieu_modsem1(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd modified Mathieu function of the first kind, and its derivative by x.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modsem1(2, 0.5, 0.3)]
    [0.072, 0.261]
    """


@scipy_function_and_slope(_modified_mathieu("mathieu_b"))
def mathieu_modsem2(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd modified Mathieu function of the second kind, and its derivative by x.

    NaN if q is above about 2000 or m above about 450: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modsem2(2, 0.5, 0.3)]
    [-1.726, 2.579]
    """


@scipy_function(_refuse_derivative("pro_cv", "c"), by="c")
def pro_cv(m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of prolate spheroidal wave functions; no derivatives.

    NaN if (n - m) / 2 + c is 291 or more: SciPy's arrays have no room.

    >>> sg.special.pro_cv(1, 2, [0.5, 2.0]).round(3)
    array([6.107, 7.653])
    """


@scipy_function_and_slope(_spheroidal())
def pro_ang1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal angular function of the first kind, and its derivative by x.

    NaN if (n - m) / 2 + c is 175 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_ang1(1, 2, 0.5, 0.3)]
    [0.857, 2.565]
    """


@scipy_function_and_slope(_spheroidal())
def pro_ang1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_ang1`` of a characteristic value that is computed before; differentiable by x.

    NaN if (n - m) / 2 + c is 175 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_ang1_cv(1, 2, 0.5, 6.1, 0.3)]
    [0.857, 2.565]
    """


@scipy_function_and_slope(_spheroidal(radial=True))
def pro_rad1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal radial function of the first kind, and its derivative by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_rad1(1, 2, 0.5, 1.3)]
    [0.018, 0.046]
    """


@scipy_function_and_slope(_spheroidal(radial=True))
def pro_rad1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_rad1`` of a characteristic value that is computed before; differentiable by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_rad1_cv(1, 2, 0.5, 6.1, 1.3)]
    [0.018, 0.046]
    """


@scipy_function_and_slope(_spheroidal(radial=True))
def pro_rad2(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal radial function of the second kind, and its derivative by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_rad2(1, 2, 0.5, 1.3)]
    [-24.799, 99.58]
    """


@scipy_function_and_slope(_spheroidal(radial=True))
def pro_rad2_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_rad2`` of a characteristic value that is computed before; differentiable by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.pro_rad2_cv(1, 2, 0.5, 6.1, 1.3)]
    [-24.771, 99.465]
    """


@scipy_function(_refuse_derivative("obl_cv", "c"), by="c")
def obl_cv(m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of oblate spheroidal wave functions; no derivatives.

    NaN if (n - m) / 2 + c is 291 or more: SciPy's arrays have no room.

    >>> sg.special.obl_cv(1, 2, [0.5, 2.0]).round(3)
    array([5.893, 4.223])
    """


@scipy_function_and_slope(_spheroidal(oblate=True))
def obl_ang1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal angular function of the first kind, and its derivative by x.

    NaN if (n - m) / 2 + c is 175 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_ang1(1, 2, 0.5, 0.3)]
    [0.86, 2.592]
    """


@scipy_function_and_slope(_spheroidal(oblate=True))
def obl_ang1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_ang1`` of a characteristic value that is computed before; differentiable by x.

    NaN if (n - m) / 2 + c is 175 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_ang1_cv(1, 2, 0.5, 5.9, 0.3)]
    [0.86, 2.592]
    """


@scipy_function_and_slope(_spheroidal(oblate=True, radial=True))
def obl_rad1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal radial function of the first kind, and its derivative by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_rad1(1, 2, 0.5, 1.3)]
    [0.034, 0.041]
    """


@scipy_function_and_slope(_spheroidal(oblate=True, radial=True))
def obl_rad1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_rad1`` of a characteristic value that is computed before; differentiable by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_rad1_cv(1, 2, 0.5, 5.9, 1.3)]
    [0.034, 0.041]
    """


@scipy_function_and_slope(_spheroidal(oblate=True, radial=True))
def obl_rad2(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal radial function of the second kind, and its derivative by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_rad2(1, 2, 0.5, 1.3)]
    [-5.027, -536.316]
    """


@scipy_function_and_slope(_spheroidal(oblate=True, radial=True))
def obl_rad2_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_rad2`` of a characteristic value that is computed before; differentiable by x.

    NaN if n + 2 c is about 202 or more: SciPy's arrays have no room.

    >>> [round(float(each), 3) for each in sg.special.obl_rad2_cv(1, 2, 0.5, 5.9, 1.3)]
    [-4.724, -535.179]
    """


def _modified_fresnel(x: Any, sign: float) -> tuple[Any, ...]:
    """Return both modified Fresnel integrals; for sign -1 their conjugates."""
    parts = [special_value(f"modfresnelp_{suffix}", x) for suffix in ("fr", "fi", "kr", "ki")]
    return complex(parts[0], parts[1] * sign), complex(parts[2], parts[3] * sign)

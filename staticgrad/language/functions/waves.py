"""Parabolic cylinder, Mathieu and spheroidal wave functions, by the names of ``scipy.special``.

Each gives a value and its derivative by the last operand; both are differentiable by that one, the
derivative by the function's differential equation. SciPy's radial functions of the second kind have
few digits, those of oblate spheroids sometimes none.
"""

from __future__ import annotations

from typing import Any

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.language.functions.complex_numbers import complex
from staticgrad.language.functions.special_values import special_value
from staticgrad.language.ops import wave_functions as wave_functions


def pbdv(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function D of order v, and its derivative; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pbdv(1.5, 0.5)]
    [-0.062, 1.22]
    """
    return _value_and_slope("pbdv", v, x)


def pbvv(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function V of order v, and its derivative; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pbvv(1.5, 0.5)]
    [-0.65, -0.085]
    """
    return _value_and_slope("pbvv", v, x)


def pbwa(a: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Parabolic cylinder function W of parameter a, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.pbwa(1.5, 0.5)]
    [0.366, -0.403]
    """
    return _value_and_slope("pbwa", a, x)


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


def mathieu_a(m: ArrayLike[AnyValue], q: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of even Mathieu functions of whole order m; no derivatives.

    >>> sg.special.mathieu_a(2, [0.5, 2.0]).round(3)
    array([4.101, 5.173])
    """
    return special_value("mathieu_a", m, q)


def mathieu_b(m: ArrayLike[AnyValue], q: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of odd Mathieu functions of whole order m; no derivatives.

    >>> sg.special.mathieu_b(2, [0.5, 2.0]).round(3)
    array([3.979, 3.672])
    """
    return special_value("mathieu_b", m, q)


def mathieu_cem(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even Mathieu function of order m at x degrees, and that derived by x in radians.

    Differentiable by x, per degree.

    >>> [round(float(each), 3) for each in sg.special.mathieu_cem(2, 0.5, 30.0)]
    [0.632, -1.562]
    """
    return _value_and_slope("mathieu_cem", m, q, x)


def mathieu_sem(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd Mathieu function of order m at x degrees, and that derived by x in radians.

    Differentiable by x, per degree.

    >>> [round(float(each), 3) for each in sg.special.mathieu_sem(2, 0.5, 30.0)]
    [0.829, 1.078]
    """
    return _value_and_slope("mathieu_sem", m, q, x)


def mathieu_modcem1(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even modified Mathieu function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modcem1(2, 0.5, 0.3)]
    [0.151, 0.126]
    """
    return _value_and_slope("mathieu_modcem1", m, q, x)


def mathieu_modcem2(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Even modified Mathieu function of the second kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modcem2(2, 0.5, 0.3)]
    [-1.774, 2.729]
    """
    return _value_and_slope("mathieu_modcem2", m, q, x)


def mathieu_modsem1(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd modified Mathieu function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modsem1(2, 0.5, 0.3)]
    [0.072, 0.261]
    """
    return _value_and_slope("mathieu_modsem1", m, q, x)


def mathieu_modsem2(
    m: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Odd modified Mathieu function of the second kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.mathieu_modsem2(2, 0.5, 0.3)]
    [-1.726, 2.579]
    """
    return _value_and_slope("mathieu_modsem2", m, q, x)


def pro_cv(m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of prolate spheroidal wave functions; no derivatives.

    >>> sg.special.pro_cv(1, 2, [0.5, 2.0]).round(3)
    array([6.107, 7.653])
    """
    return special_value("pro_cv", m, n, c)


def pro_ang1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal angular function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.pro_ang1(1, 2, 0.5, 0.3)]
    [0.857, 2.565]
    """
    return _value_and_slope("pro_ang1", m, n, c, x)


def pro_ang1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_ang1`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pro_ang1_cv(1, 2, 0.5, 6.1, 0.3)]
    [0.857, 2.565]
    """
    return _value_and_slope("pro_ang1_cv", m, n, c, cv, x)


def pro_rad1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal radial function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.pro_rad1(1, 2, 0.5, 1.3)]
    [0.018, 0.046]
    """
    return _value_and_slope("pro_rad1", m, n, c, x)


def pro_rad1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_rad1`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pro_rad1_cv(1, 2, 0.5, 6.1, 1.3)]
    [0.018, 0.046]
    """
    return _value_and_slope("pro_rad1_cv", m, n, c, cv, x)


def pro_rad2(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Prolate spheroidal radial function of the second kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.pro_rad2(1, 2, 0.5, 1.3)]
    [-24.799, 99.58]
    """
    return _value_and_slope("pro_rad2", m, n, c, x)


def pro_rad2_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``pro_rad2`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.pro_rad2_cv(1, 2, 0.5, 6.1, 1.3)]
    [-24.771, 99.465]
    """
    return _value_and_slope("pro_rad2_cv", m, n, c, cv, x)


def obl_cv(m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue]) -> AnyValue:
    """Characteristic value of oblate spheroidal wave functions; no derivatives.

    >>> sg.special.obl_cv(1, 2, [0.5, 2.0]).round(3)
    array([5.893, 4.223])
    """
    return special_value("obl_cv", m, n, c)


def obl_ang1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal angular function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.obl_ang1(1, 2, 0.5, 0.3)]
    [0.86, 2.592]
    """
    return _value_and_slope("obl_ang1", m, n, c, x)


def obl_ang1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_ang1`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.obl_ang1_cv(1, 2, 0.5, 5.9, 0.3)]
    [0.86, 2.592]
    """
    return _value_and_slope("obl_ang1_cv", m, n, c, cv, x)


def obl_rad1(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal radial function of the first kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.obl_rad1(1, 2, 0.5, 1.3)]
    [0.034, 0.041]
    """
    return _value_and_slope("obl_rad1", m, n, c, x)


def obl_rad1_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_rad1`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.obl_rad1_cv(1, 2, 0.5, 5.9, 1.3)]
    [0.034, 0.041]
    """
    return _value_and_slope("obl_rad1_cv", m, n, c, cv, x)


def obl_rad2(
    m: ArrayLike[AnyValue], n: ArrayLike[AnyValue], c: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> tuple[AnyValue, ...]:
    """Oblate spheroidal radial function of the second kind, and its derivative by x.

    >>> [round(float(each), 3) for each in sg.special.obl_rad2(1, 2, 0.5, 1.3)]
    [-5.027, -536.316]
    """
    return _value_and_slope("obl_rad2", m, n, c, x)


def obl_rad2_cv(
    m: ArrayLike[AnyValue],
    n: ArrayLike[AnyValue],
    c: ArrayLike[AnyValue],
    cv: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> tuple[AnyValue, ...]:
    """``obl_rad2`` of a characteristic value that is computed before; differentiable by x.

    >>> [round(float(each), 3) for each in sg.special.obl_rad2_cv(1, 2, 0.5, 5.9, 1.3)]
    [-4.724, -535.179]
    """
    return _value_and_slope("obl_rad2_cv", m, n, c, cv, x)


def _value_and_slope(name: str, *operands: Any) -> tuple[Any, ...]:
    return special_value(name, *operands), special_value(f"{name}_slope", *operands)


def _modified_fresnel(x: Any, sign: float) -> tuple[Any, ...]:
    """Return both modified Fresnel integrals; for sign -1 their conjugates."""
    parts = [special_value(f"modfresnelp_{suffix}", x) for suffix in ("fr", "fi", "kr", "ki")]
    return complex(parts[0], parts[1] * sign), complex(parts[2], parts[3] * sign)

"""Kelvin and Wright functions, and integrals of Bessel, Airy and Struve functions.

Sources of derivatives: DLMF 10.22, 10.43, 10.61 (Kelvin), 11.4 (Struve), 10.46 (Wright).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad.extend import AnyValue, ArrayLike, as_value
from staticgrad.extend.ops import absolute, exp, power, square, where
from staticgrad.functions.complex_numbers import complex
from staticgrad.language.ops.special import i0
from staticgrad.language.ops.special_functions import Rule, call, declare
from staticgrad.special.values import scipy_function, special_value

_ROOT_PI: Final = math.sqrt(math.pi)


def _over(function: Callable[..., Any], x: Any, at_zero: float) -> Any:
    """function(x) / x, a constant at 0."""
    zero = x == 0.0
    at = where(zero, 1.0, x)
    return where(zero, at_zero, function(at) / at)


def _missing_from_1(x: Any, sign: float) -> Any:
    """(1 - J0(x)) / x, of the other sign (I0(x) - 1) / x; near 0 by the series."""
    near = absolute(x) < 1.0
    some = where(near, x, 0.0)
    quarter = square(some) * (0.25 * sign)
    total: Any = 1.0
    for k in range(9, 1, -1):
        total = 1.0 - quarter / (k * k) * total
    at = where(near, 1.0, x)
    far = (1.0 - call("j0", at)) if sign > 0 else i0(at) - 1.0
    return where(near, 0.25 * some * total, far / at)


def _modified_struve(out: Any, v: Any, x: Any) -> Any:
    """DLMF 11.4.24 and 11.4.25."""
    scale = power(0.5 * x, v) * call("rgamma", v + 1.5) / _ROOT_PI
    return 0.5 * (call("modstruve", v - 1.0, x) + call("modstruve", v + 1.0, x) + scale)


def _second_kelvin(partner: str, sign: float, at_zero: float) -> Rule:
    """w'' = i w - w' / x of w = ber + i bei, and of ker + i kei."""

    def rule(out: Any, x: Any) -> Any:
        zero = x == 0.0
        quotient = where(zero, at_zero, out / where(zero, 1.0, x))
        return sign * call(partner, x) - quotient

    return rule


def _wright(out: Any, a: Any, b: Any, x: Any) -> Any:
    return call("wright_bessel", a, a + b, x)


def _log_wright(out: Any, a: Any, b: Any, x: Any) -> Any:
    return exp(call("log_wright_bessel", a, a + b, x) - out)


def _bessel_moment(out: Any, lmb: Any, nu: Any, a: Any) -> Any:
    """The integral of x**lmb J(nu, 2 a x) from 0 to 1, by a."""
    higher = lmb + 1.0
    return call("besselpoly_by_a", higher, nu - 1.0, a) - call(
        "besselpoly_by_a", higher, nu + 1.0, a
    )


@scipy_function(lambda out, x: call("berp", x))
def ber(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function ber: the real part of J0(x exp(3j pi / 4)). Derivative: ``berp``.

    >>> sg.special.ber([0.5, 2.0]).round(3)
    array([0.999, 0.752])
    """


@scipy_function(lambda out, x: call("beip", x))
def bei(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function bei: the imaginary part of J0(x exp(3j pi / 4)). Derivative: ``beip``.

    >>> sg.special.bei([0.5, 2.0]).round(3)
    array([0.062, 0.972])
    """


@scipy_function(lambda out, x: call("kerp", x))
def ker(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function ker: the real part of K0(x exp(1j pi / 4)). Derivative: ``kerp``.

    >>> sg.special.ker([0.5, 2.0]).round(3)
    array([ 0.856, -0.042])
    """


@scipy_function(lambda out, x: call("keip", x))
def kei(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function kei: the imaginary part of K0(x exp(1j pi / 4)). Derivative: ``keip``.

    >>> sg.special.kei([0.5, 2.0]).round(3)
    array([-0.672, -0.202])
    """


@scipy_function(_second_kelvin("bei", -1.0, 0.0))
def berp(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``ber``; differentiable by x.

    >>> sg.special.berp([0.5, 2.0]).round(3)
    array([-0.008, -0.493])
    """


@scipy_function(_second_kelvin("ber", 1.0, 0.5))
def beip(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``bei``; differentiable by x.

    >>> sg.special.beip([0.5, 2.0]).round(3)
    array([0.25 , 0.917])
    """


@scipy_function(_second_kelvin("kei", -1.0, math.inf))
def kerp(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``ker``; differentiable by x.

    >>> sg.special.kerp([0.5, 2.0]).round(3)
    array([-1.82 , -0.107])
    """


@scipy_function(_second_kelvin("ker", 1.0, math.inf))
def keip(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``kei``; differentiable by x.

    >>> sg.special.keip([0.5, 2.0]).round(3)
    array([0.333, 0.22 ])
    """


def kelvin(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Kelvin functions ber + 1j bei and ker + 1j kei, and their derivatives: four complex values.

    >>> sg.special.kelvin(1.5)[0].round(3)
    np.complex128(0.921+0.558j)
    """
    value = as_value(x)
    names = (("ber", "bei"), ("ker", "kei"), ("berp", "beip"), ("kerp", "keip"))
    return tuple(
        complex(special_value(real_name, value), special_value(imag_name, value))
        for real_name, imag_name in names
    )


declare("itairy_ai", "x", lambda out, x: call("airy_ai", x))
declare("itairy_bi", "x", lambda out, x: call("airy_bi", x))
declare("itairy_ai_below", "x", lambda out, x: call("airy_ai", -x))
declare("itairy_bi_below", "x", lambda out, x: call("airy_bi", -x))


def itairy(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of Ai(t), Bi(t), Ai(-t) and Bi(-t): a tuple of four values.

    >>> [round(float(each), 3) for each in sg.special.itairy(1.0)]
    [0.236, 0.873, 0.466, 0.373]
    """
    names = ("ai", "bi", "ai_below", "bi_below")
    return tuple(special_value(f"itairy_{suffix}", x) for suffix in names)


declare("itj0y0_j", "x", lambda out, x: call("j0", x))
declare("itj0y0_y", "x", lambda out, x: call("y0", x))


def itj0y0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of j0 and y0: two values.

    >>> [round(float(each), 3) for each in sg.special.itj0y0(1.5)]
    [1.241, -0.512]
    """
    return special_value("itj0y0_j", x), special_value("itj0y0_y", x)


declare("it2j0y0_j", "x", lambda out, x: _missing_from_1(x, 1.0))
declare("it2j0y0_y", "x", lambda out, x: -call("y0", x) / x)


def it2j0y0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals of (1 - j0(t)) / t from 0 to x, and of y0(t) / t from x on: two values.

    >>> [round(float(each), 3) for each in sg.special.it2j0y0(1.5)]
    [0.262, 0.298]
    """
    return special_value("it2j0y0_j", x), special_value("it2j0y0_y", x)


declare("iti0k0_i", "x", lambda out, x: i0(x))
declare("iti0k0_k", "x", lambda out, x: call("k0", x))


def iti0k0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of i0 and k0: two values.

    >>> [round(float(each), 3) for each in sg.special.iti0k0(1.5)]
    [1.806, 1.395]
    """
    return special_value("iti0k0_i", x), special_value("iti0k0_k", x)


declare("it2i0k0_i", "x", lambda out, x: _missing_from_1(x, -1.0))
declare("it2i0k0_k", "x", lambda out, x: -call("k0", x) / x)


def it2i0k0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals of (i0(t) - 1) / t from 0 to x, and of k0(t) / t from x on: two values.

    >>> [round(float(each), 3) for each in sg.special.it2i0k0(1.5)]
    [0.302, 0.082]
    """
    return special_value("it2i0k0_i", x), special_value("it2i0k0_k", x)


@scipy_function(lambda out, x: call("struve", 0.0, x))
def itstruve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of struve(0, t) from 0 to x.

    >>> sg.special.itstruve0([0.5, 2.0]).round(3)
    array([0.078, 1.019])
    """


@scipy_function(lambda out, x: -_over(lambda at: call("struve", 0.0, at), x, 2.0 / math.pi))
def it2struve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of struve(0, t) / t from x on.

    >>> sg.special.it2struve0([0.5, 2.0]).round(3)
    array([1.255, 0.469])
    """


@scipy_function(lambda out, x: call("modstruve", 0.0, x))
def itmodstruve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of modstruve(0, t) from 0 to x.

    >>> sg.special.itmodstruve0([0.5, 2.0]).round(3)
    array([0.081, 1.588])
    """


@scipy_function(_modified_struve, by="x")
def modstruve(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Struve function L of real order v; differentiable by x.

    >>> sg.special.modstruve(1.0, [0.5, 2.0]).round(3)
    array([0.054, 1.103])
    """


declare("besselpoly_by_a", "lmb nu a", _bessel_moment, by="a")


def besselpoly(
    a: ArrayLike[AnyValue], lmb: ArrayLike[AnyValue], nu: ArrayLike[AnyValue]
) -> AnyValue:
    """Integral of x ** lmb * jv(nu, 2 a x) from 0 to 1; differentiable by a.

    >>> sg.special.besselpoly([0.5, 1.0], 1.0, 2.0).round(3)
    array([0.03, 0.1 ])
    """
    return special_value("besselpoly_by_a", lmb, nu, a)


@scipy_function(_wright, by="x")
def wright_bessel(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Wright's generalized Bessel function, the sum of x**k / (k! gamma(a k + b)).

    Differentiable by x.

    >>> sg.special.wright_bessel(0.5, 1.5, [0.5, 2.0]).round(3)
    array([1.734, 5.553])
    """


@scipy_function(_log_wright, by="x")
def log_wright_bessel(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """log(wright_bessel(a, b, x)), which does not overflow; differentiable by x.

    >>> sg.special.log_wright_bessel(0.5, 1.5, [0.5, 2.0]).round(3)
    array([0.55 , 1.714])
    """

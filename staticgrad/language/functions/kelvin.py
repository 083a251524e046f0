"""Kelvin and Wright functions, and integrals of Bessel, Airy and Struve functions."""

from __future__ import annotations

from staticgrad.extend import AnyValue, ArrayLike, as_value
from staticgrad.language.functions.complex_numbers import complex
from staticgrad.language.functions.special_values import special_value
from staticgrad.language.ops import wave_functions as wave_functions


def ber(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function ber: the real part of J0(x exp(3j pi / 4)). Derivative: ``berp``.

    >>> sg.special.ber([0.5, 2.0]).round(3)
    array([0.999, 0.752])
    """
    return special_value("ber", x)


def bei(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function bei: the imaginary part of J0(x exp(3j pi / 4)). Derivative: ``beip``.

    >>> sg.special.bei([0.5, 2.0]).round(3)
    array([0.062, 0.972])
    """
    return special_value("bei", x)


def ker(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function ker: the real part of K0(x exp(1j pi / 4)). Derivative: ``kerp``.

    >>> sg.special.ker([0.5, 2.0]).round(3)
    array([ 0.856, -0.042])
    """
    return special_value("ker", x)


def kei(x: ArrayLike[AnyValue]) -> AnyValue:
    """Kelvin function kei: the imaginary part of K0(x exp(1j pi / 4)). Derivative: ``keip``.

    >>> sg.special.kei([0.5, 2.0]).round(3)
    array([-0.672, -0.202])
    """
    return special_value("kei", x)


def berp(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``ber``; differentiable by x.

    >>> sg.special.berp([0.5, 2.0]).round(3)
    array([-0.008, -0.493])
    """
    return special_value("berp", x)


def beip(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``bei``; differentiable by x.

    >>> sg.special.beip([0.5, 2.0]).round(3)
    array([0.25 , 0.917])
    """
    return special_value("beip", x)


def kerp(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``ker``; differentiable by x.

    >>> sg.special.kerp([0.5, 2.0]).round(3)
    array([-1.82 , -0.107])
    """
    return special_value("kerp", x)


def keip(x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of ``kei``; differentiable by x.

    >>> sg.special.keip([0.5, 2.0]).round(3)
    array([0.333, 0.22 ])
    """
    return special_value("keip", x)


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


def itairy(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of Ai(t), Bi(t), Ai(-t) and Bi(-t): a tuple of four values.

    >>> [round(float(each), 3) for each in sg.special.itairy(1.0)]
    [0.236, 0.873, 0.466, 0.373]
    """
    names = ("ai", "bi", "ai_below", "bi_below")
    return tuple(special_value(f"itairy_{suffix}", x) for suffix in names)


def itj0y0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of j0 and y0: two values.

    >>> [round(float(each), 3) for each in sg.special.itj0y0(1.5)]
    [1.241, -0.512]
    """
    return special_value("itj0y0_j", x), special_value("itj0y0_y", x)


def it2j0y0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals of (1 - j0(t)) / t from 0 to x, and of y0(t) / t from x on: two values.

    >>> [round(float(each), 3) for each in sg.special.it2j0y0(1.5)]
    [0.262, 0.298]
    """
    return special_value("it2j0y0_j", x), special_value("it2j0y0_y", x)


def iti0k0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals from 0 to x of i0 and k0: two values.

    >>> [round(float(each), 3) for each in sg.special.iti0k0(1.5)]
    [1.806, 1.395]
    """
    return special_value("iti0k0_i", x), special_value("iti0k0_k", x)


def it2i0k0(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Integrals of (i0(t) - 1) / t from 0 to x, and of k0(t) / t from x on: two values.

    >>> [round(float(each), 3) for each in sg.special.it2i0k0(1.5)]
    [0.302, 0.082]
    """
    return special_value("it2i0k0_i", x), special_value("it2i0k0_k", x)


def itstruve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of struve(0, t) from 0 to x.

    >>> sg.special.itstruve0([0.5, 2.0]).round(3)
    array([0.078, 1.019])
    """
    return special_value("itstruve0", x)


def it2struve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of struve(0, t) / t from x on.

    >>> sg.special.it2struve0([0.5, 2.0]).round(3)
    array([1.255, 0.469])
    """
    return special_value("it2struve0", x)


def itmodstruve0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Integral of modstruve(0, t) from 0 to x.

    >>> sg.special.itmodstruve0([0.5, 2.0]).round(3)
    array([0.081, 1.588])
    """
    return special_value("itmodstruve0", x)


def modstruve(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Struve function L of real order v; differentiable by x.

    >>> sg.special.modstruve(1.0, [0.5, 2.0]).round(3)
    array([0.054, 1.103])
    """
    return special_value("modstruve", v, x)


def besselpoly(
    a: ArrayLike[AnyValue], lmb: ArrayLike[AnyValue], nu: ArrayLike[AnyValue]
) -> AnyValue:
    """Integral of x ** lmb * jv(nu, 2 a x) from 0 to 1; differentiable by a.

    >>> sg.special.besselpoly([0.5, 1.0], 1.0, 2.0).round(3)
    array([0.03, 0.1 ])
    """
    return special_value("besselpoly_by_a", lmb, nu, a)


def wright_bessel(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Wright's generalized Bessel function, the sum of x**k / (k! gamma(a k + b)).

    Differentiable by x.

    >>> sg.special.wright_bessel(0.5, 1.5, [0.5, 2.0]).round(3)
    array([1.734, 5.553])
    """
    return special_value("wright_bessel", a, b, x)


def log_wright_bessel(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """log(wright_bessel(a, b, x)), which does not overflow; differentiable by x.

    >>> sg.special.log_wright_bessel(0.5, 1.5, [0.5, 2.0]).round(3)
    array([0.55 , 1.714])
    """
    return special_value("log_wright_bessel", a, b, x)

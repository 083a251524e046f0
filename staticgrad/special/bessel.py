"""Bessel, Airy and Struve functions, by the names of ``scipy.special``: real arguments.

Derivatives are by the argument, not by the order; they are recurrences (DLMF 10.6, 10.29, 10.51, 9,
11.4).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import AnyValue, ArrayLike, Integer
from staticgrad.extend.ops import maximum, power, sign, sqrt, where
from staticgrad.functions.complex_numbers import complex
from staticgrad.language.ops.special_functions import Rule, call, declare
from staticgrad.special.values import in_float64, scipy_function, special_value

_ROOT_PI: Final = math.sqrt(math.pi)


def _mean_of_orders(function: str, left: float, right: float) -> Rule:
    """Return the mean of a function of both neighbouring orders, each with a sign."""

    def rule(out: Any, order: Any, x: Any) -> Any:
        below, above = call(function, order - 1.0, x), call(function, order + 1.0, x)
        return 0.5 * (below * left + above * right)

    return rule


def _mean_of_degrees(function: str, first: float, second: float) -> Rule:
    """Do the same for spherical functions, weighted by n and n + 1 (DLMF 10.51.2, 10.51.5)."""

    def rule(out: Any, n: Any, x: Any) -> Any:
        below, above = call(function, maximum(n - 1.0, 0.0), x), call(function, n + 1.0, x)
        return (n * below * first + (n + 1.0) * above * second) / (2.0 * n + 1.0)

    return rule


def _struve_slope(out: Any, v: Any, x: Any) -> Any:
    """DLMF 11.4.23 and 11.4.24."""
    scale = power(0.5 * x, v) * call("rgamma", v + 1.5) / _ROOT_PI
    return 0.5 * (call("struve", v - 1.0, x) - call("struve", v + 1.0, x) + scale)


def _scaled_airy(partner: str, factor: float) -> Rule:
    """The derivative of Ai or Bi times exp(factor * 2 / 3 * z ** 1.5), given the other one."""

    def rule(out: Any, z: Any) -> Any:
        product = call(f"airye_{partner}", z) * (z if partner in ("ai", "bi") else 1.0)
        root = where(z > 0.0, sqrt(where(z > 0.0, z, 1.0)), 0.0)
        return product + out * root * factor

    return rule


@scipy_function(lambda out, x: -call("j1", x))
def j0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the first kind of order 0. Derivative: -j1(x).

    >>> sg.special.j0([0.0, 1.0]).round(3)
    array([1.   , 0.765])
    """


@scipy_function(lambda out, x: 0.5 * (call("j0", x) - call("jv", 2.0, x)))
def j1(x: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the first kind of order 1. Derivative: (j0(x) - jv(2, x)) / 2.

    >>> sg.special.j1([0.0, 1.0]).round(3)
    array([0.  , 0.44])
    """


@scipy_function(_mean_of_orders("jv", 1.0, -1.0), by="z")
def jv(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the first kind of real order v; NaN for z < 0 unless v is whole.

    Derivative by z: (jv(v - 1, z) - jv(v + 1, z)) / 2; none by v.

    >>> sg.special.jn(1.5, [0.5, 2.0]).round(3)
    array([0.092, 0.491])
    """


@scipy_function(lambda out, x: -call("y1", x))
def y0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the second kind of order 0; -inf at 0, NaN below. Derivative: -y1(x).

    >>> sg.special.y0([0.5, 2.0]).round(3)
    array([-0.445,  0.51 ])
    """


@scipy_function(lambda out, x: 0.5 * (call("y0", x) - call("yv", 2.0, x)))
def y1(x: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the second kind of order 1; -inf at 0, NaN below.

    Derivative: (y0(x) - yv(2, x)) / 2.

    >>> sg.special.y1([0.5, 2.0]).round(3)
    array([-1.471, -0.107])
    """


@scipy_function(_mean_of_orders("yn", 1.0, -1.0), by="x")
def yn(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the second kind of whole order n, as ``yv``; NaN of other orders.

    >>> sg.special.yn(2, [0.5, 2.0]).round(3)
    array([-5.441, -0.617])
    """


@scipy_function(_mean_of_orders("yv", 1.0, -1.0), by="z")
def yv(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Bessel function of the second kind of real order v; -inf at 0, NaN below.

    Derivative by z: (yv(v - 1, z) - yv(v + 1, z)) / 2; none by v.

    >>> sg.special.yv(1.5, [0.5, 2.0]).round(3)
    array([-2.521, -0.396])
    """


@scipy_function(_mean_of_orders("iv", 1.0, 1.0), by="z")
def iv(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Bessel function of the first kind of real order v.

    Derivative by z: (iv(v - 1, z) + iv(v + 1, z)) / 2; none by v.

    >>> sg.special.iv(1.5, [0.5, 2.0]).round(3)
    array([0.096, 1.099])
    """


@scipy_function(
    lambda out, v, z: _mean_of_orders("ive", 1.0, 1.0)(out, v, z) - sign(z) * out, by="z"
)
def ive(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """exp(-abs(z)) * iv(v, z), which does not overflow; differentiable by z.

    >>> sg.special.ive(1.5, [0.5, 2.0]).round(3)
    array([0.058, 0.149])
    """


@scipy_function(lambda out, x: -call("k1", x))
def k0(x: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Bessel function of the second kind of order 0; inf at 0. Derivative: -k1(x).

    >>> sg.special.k0([0.5, 2.0]).round(3)
    array([0.924, 0.114])
    """


@scipy_function(lambda out, x: out - call("k1e", x))
def k0e(x: ArrayLike[AnyValue]) -> AnyValue:
    """exp(x) * k0(x), which does not underflow. Derivative: k0e(x) - k1e(x).

    >>> sg.special.k0e([0.5, 2.0]).round(3)
    array([1.524, 0.842])
    """


@scipy_function(lambda out, x: -0.5 * (call("k0", x) + call("kv", 2.0, x)))
def k1(x: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Bessel function of the second kind of order 1; inf at 0.

    Derivative: -(k0(x) + kv(2, x)) / 2.

    >>> sg.special.k1([0.5, 2.0]).round(3)
    array([1.656, 0.14 ])
    """


@scipy_function(lambda out, x: out - 0.5 * (call("k0e", x) + call("kve", 2.0, x)))
def k1e(x: ArrayLike[AnyValue]) -> AnyValue:
    """exp(x) * k1(x), which does not underflow.

    >>> sg.special.k1e([0.5, 2.0]).round(3)
    array([2.731, 1.033])
    """


@scipy_function(_mean_of_orders("kv", -1.0, -1.0), by="z")
def kv(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Bessel function of the second kind of real order v; inf at 0, NaN below.

    Derivative by z: -(kv(v - 1, z) + kv(v + 1, z)) / 2; none by v.

    >>> sg.special.kv(1.5, [0.5, 2.0]).round(3)
    array([3.225, 0.18 ])
    """


@scipy_function(lambda out, v, z: out + _mean_of_orders("kve", -1.0, -1.0)(out, v, z), by="z")
def kve(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """exp(z) * kv(v, z), which does not underflow; differentiable by z.

    >>> sg.special.kve(1.5, [0.5, 2.0]).round(3)
    array([5.317, 1.329])
    """


@scipy_function(_struve_slope, by="x")
def struve(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Struve function H of real order v; differentiable by x.

    >>> sg.special.struve(1.0, [0.5, 2.0]).round(3)
    array([0.052, 0.647])
    """


declare("airy_ai", "z", lambda out, z: call("airy_aip", z))
declare("airy_aip", "z", lambda out, z: z * call("airy_ai", z))
declare("airy_bi", "z", lambda out, z: call("airy_bip", z))
declare("airy_bip", "z", lambda out, z: z * call("airy_bi", z))


def airy(z: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Airy functions of real z: Ai, Ai', Bi and Bi', a tuple of four values.

    Derivatives: Ai'' = z * Ai(z), and the same of Bi.

    >>> [round(float(sg.evaluate(each)), 4) for each in sg.special.airy(0.0)]
    [0.355, -0.2588, 0.6149, 0.4483]
    """
    return tuple(special_value(f"airy_{suffix}", z) for suffix in ("ai", "aip", "bi", "bip"))


declare("spherical_in", "n z", _mean_of_degrees("spherical_in", 1.0, 1.0), by="z")
declare("spherical_jn", "n z", _mean_of_degrees("spherical_jn", 1.0, -1.0), by="z")
declare("spherical_kn", "n z", _mean_of_degrees("spherical_kn", -1.0, -1.0), by="z")
declare("spherical_yn", "n z", _mean_of_degrees("spherical_yn", 1.0, -1.0), by="z")


def spherical_jn(
    n: ArrayLike[AnyValue], z: ArrayLike[AnyValue], derivative: bool = False
) -> AnyValue:
    """Spherical Bessel function of the first kind of whole order n; its derivative if asked for.

    sqrt(pi / (2 z)) * jv(n + 1/2, z), by recurrences; NaN of other orders.

    >>> sg.special.spherical_jn(1, [0.5, 2.0]).round(3)
    array([0.163, 0.435])
    """
    return _spherical("spherical_jn", n, z, derivative)


def spherical_yn(
    n: ArrayLike[AnyValue], z: ArrayLike[AnyValue], derivative: bool = False
) -> AnyValue:
    """Spherical Bessel function of the second kind, as ``spherical_jn``.

    >>> sg.special.spherical_yn(1, [0.5, 2.0]).round(3)
    array([-4.469, -0.351])
    """
    return _spherical("spherical_yn", n, z, derivative)


def spherical_in(
    n: ArrayLike[AnyValue], z: ArrayLike[AnyValue], derivative: bool = False
) -> AnyValue:
    """Modified spherical Bessel function of the first kind, as ``spherical_jn``.

    >>> sg.special.spherical_in(1, [0.5, 2.0]).round(3)
    array([0.171, 0.974])
    """
    return _spherical("spherical_in", n, z, derivative)


def spherical_kn(
    n: ArrayLike[AnyValue], z: ArrayLike[AnyValue], derivative: bool = False
) -> AnyValue:
    """Modified spherical Bessel function of the second kind, as ``spherical_jn``.

    >>> sg.special.spherical_kn(1, [0.5, 2.0]).round(3)
    array([5.716, 0.159])
    """
    return _spherical("spherical_kn", n, z, derivative)


@scipy_function(_mean_of_orders("kn", -1.0, -1.0), by="x")
def kn(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Modified Bessel function of the second kind of whole order n, as ``kv``; NaN of other orders.

    >>> sg.special.kn(2, [0.5, 2.0]).round(3)
    array([7.55 , 0.254])
    """


def jve(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """jv(v, z): the factor exp(-abs(z.imag)) is 1 for real z.

    >>> sg.special.jve(1.5, [0.5, 2.0]).round(3)
    array([0.092, 0.491])
    """
    return special_value("jv", v, z)


def yve(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """yv(v, z): the factor exp(-abs(z.imag)) is 1 for real z.

    >>> sg.special.yve(1.5, [0.5, 2.0]).round(3)
    array([-2.521, -0.396])
    """
    return special_value("yv", v, z)


def hankel1(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Hankel function of the first kind of real z, jv(v, z) + 1j * yv(v, z); NaN below 0.

    >>> sg.special.hankel1(1.5, [0.5, 2.0]).round(3)
    array([0.092-2.521j, 0.491-0.396j])
    """
    return _hankel(v, z, 1.0)


def hankel2(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Hankel function of the second kind of real z, jv(v, z) - 1j * yv(v, z); NaN below 0.

    >>> sg.special.hankel2(1.5, [0.5, 2.0]).round(3)
    array([0.092+2.521j, 0.491+0.396j])
    """
    return _hankel(v, z, -1.0)


def hankel1e(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """exp(-1j * z) * hankel1(v, z), which does not oscillate; NaN below 0.

    >>> sg.special.hankel1e(1.5, [0.5, 2.0]).round(3)
    array([-1.128-2.257j, -0.564-0.282j])
    """
    return _scaled_hankel(v, z, 1.0)


def hankel2e(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """exp(1j * z) * hankel2(v, z), which does not oscillate; NaN below 0.

    >>> sg.special.hankel2e(1.5, [0.5, 2.0]).round(3)
    array([-1.128+2.257j, -0.564+0.282j])
    """
    return _scaled_hankel(v, z, -1.0)


declare("airye_ai", "z", _scaled_airy("aip", 1.0))
declare("airye_aip", "z", _scaled_airy("ai", 1.0))
declare("airye_bi", "z", _scaled_airy("bip", -1.0))
declare("airye_bip", "z", _scaled_airy("bi", -1.0))


def airye(z: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Airy functions with factors against overflow: a tuple of four values.

    Ai and Ai' times exp(2 / 3 * z ** 1.5), NaN for z < 0; Bi and Bi' times the reciprocal, or 1 for
    z < 0.

    >>> [round(float(each), 3) for each in sg.special.airye(1.0)]
    [0.264, -0.31, 0.62, 0.479]
    """
    return tuple(special_value(f"airye_{suffix}", z) for suffix in ("ai", "aip", "bi", "bip"))


def jvp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``jv`` by z, from neighbouring orders; differentiable by z.

    >>> sg.special.jvp(1.5, [0.5, 2.0], 2).round(3)
    array([ 0.202, -0.287])
    """
    return _nth_derivative("jvp", v, z, n)


def yvp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``yv`` by z, from neighbouring orders; differentiable by z.

    >>> sg.special.yvp(1.5, [0.5, 2.0], 2).round(3)
    array([-33.32 ,  -0.093])
    """
    return _nth_derivative("yvp", v, z, n)


def ivp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``iv`` by z, from neighbouring orders; differentiable by z.

    >>> sg.special.ivp(1.5, [0.5, 2.0], 2).round(3)
    array([0.366, 1.107])
    """
    return _nth_derivative("ivp", v, z, n)


def kvp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``kv`` by z, from neighbouring orders; differentiable by z.

    >>> sg.special.kvp(1.5, [0.5, 2.0], 2).round(3)
    array([53.752,  0.409])
    """
    return _nth_derivative("kvp", v, z, n)


def h1vp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``hankel1`` by z, complex; NaN below 0.

    >>> sg.special.h1vp(1.5, [0.5, 2.0]).round(3)
    array([0.266+6.574j, 0.145+0.532j])
    """
    return complex(_nth_derivative("jvp", v, z, n), _nth_derivative("yvp", v, z, n) * 1.0)


def h2vp(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue], n: Integer = 1) -> AnyValue:
    """Derivative of order n of ``hankel2`` by z, complex; NaN below 0.

    >>> sg.special.h2vp(1.5, [0.5, 2.0]).round(3)
    array([0.266-6.574j, 0.145-0.532j])
    """
    return complex(_nth_derivative("jvp", v, z, n), _nth_derivative("yvp", v, z, n) * -1.0)


def _spherical(function: str, n: Any, z: Any, derivative: bool) -> Any:
    """Compute the function, or its derivative (DLMF 10.51.2, 10.51.5)."""
    if not derivative:
        return special_value(function, n, z)
    below = special_value(function, np.maximum(np.subtract(n, 1), 0), z)
    above = special_value(function, np.add(n, 1), z)
    first, second = {"j": (1, -1), "y": (1, -1), "i": (1, 1), "k": (-1, -1)}[function[10]]
    return (below * n * first + above * np.add(n, 1) * second) / (np.multiply(n, 2) + 1)


def _hankel(v: Any, z: Any, sign: float) -> Any:
    return complex(special_value("jv", v, z), special_value("yv", v, z) * sign)


def _scaled_hankel(v: Any, z: Any, sign: float) -> Any:
    """Return exp(-1j * z) * (jv + 1j * yv), or its conjugate where ``sign`` is -1."""

    def part(of: Any) -> Any:
        def formula(v: Any, z: Any) -> Any:
            return of(call("jv", v, z), call("yv", v, z), np.cos(z), np.sin(z))

        return in_float64("hankel1e", formula, v, z)

    real = part(lambda first, second, cosine, sine: first * cosine + second * sine)
    return complex(real, part(lambda j, y, cosine, sine: (y * cosine - j * sine) * sign))


def _nth_derivative(name: str, v: Any, z: Any, n: int) -> Any:
    """Sum over orders v - n to v + n (DLMF 10.6.7, 10.29.5)."""
    if n < 0:
        raise ArgumentError(f"{name}: n={n} is not at least 0")
    of, every = name[:-1], {"jvp": -1.0, "yvp": -1.0}.get(name, 1.0)
    sign = (-1.0) ** n if name == "kvp" else 1.0

    def formula(v: Any, z: Any) -> Any:
        terms = [
            call(of, v + (2.0 * k - n), z) * (sign * every**k * math.comb(n, k) / 2.0**n)
            for k in range(n + 1)
        ]
        return sum(terms[1:], terms[0])

    return in_float64(name, formula, v, z)

"""Integrals, hypergeometric functions and others, as in ``scipy.special``.

Those with a body are composed of other ops; the others are SciPy's (``ops/special_functions.py``).
Sources of derivatives: DLMF 6 (exponential integrals), 7 (error functions), 13 and 15
(hypergeometric).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import AnyValue, ArrayLike, Integer, as_value
from staticgrad.extend.functions import imag, real
from staticgrad.extend.ops import (
    absolute,
    cos,
    cosh,
    erf,
    exp,
    floor,
    log,
    maximum,
    power,
    sin,
    sinh,
    square,
    where,
)
from staticgrad.functions.complex_numbers import complex
from staticgrad.language.ops.special import Digamma, Gamma, Zeta, gammaln
from staticgrad.language.ops.special_functions import Rule, call, declare
from staticgrad.special.values import in_float64, scipy_function, special_value

_DEGREE: Final = math.pi / 180.0
_ROOT_PI: Final = math.sqrt(math.pi)
_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)
#: From here on the derivative of ``dawsn`` is its asymptotic series of so many terms.
_FAR: Final = 10.0
_TERMS: Final = 14
#: To here a derivative whose terms cancel at 0 is a hypergeometric function.
_NEAR: Final = 0.5


def _inside(x: Any, limit: float, is_inside: Any) -> Any:
    return where(is_inside, x, limit)


def _dawson_slope(out: Any, x: Any) -> Any:
    """1 - 2 x D(x), by its asymptotic series where those terms cancel (DLMF 7.12.1)."""
    far = absolute(x) > _FAR
    inverse = 0.5 / square(_inside(x, _FAR, far))
    total: Any = 1.0
    for odd in range(2 * _TERMS - 1, 1, -2):
        total = 1.0 + inverse * odd * total
    return where(far, -inverse * total, 1.0 - 2.0 * x * out)


def _over(function: Callable[..., Any], x: Any) -> Any:
    """function(x) / x, 1 at 0."""
    zero = x == 0.0
    at = where(zero, 1.0, x)
    return where(zero, 1.0, function(at) / at)


def _faddeeva(part: str) -> Rule:
    def rule(out: Any, x: Any, y: Any) -> tuple[Any, ...]:
        real, imag = _faddeeva_slope(x, y)
        return (real, -imag) if part == "real" else (imag, real)

    return rule


def _faddeeva_slope(x: Any, y: Any) -> tuple[Any, Any]:
    """Both parts of w'(z) = 2i / sqrt(pi) - 2 z w(z) (DLMF 7.10.2)."""
    a, b = call("wofz_real", x, y), call("wofz_imag", x, y)
    return -2.0 * (x * a - y * b), 2.0 / _ROOT_PI - 2.0 * (x * b + y * a)


def _voigt(out: Any, x: Any, sigma: Any, gamma: Any) -> tuple[Any, ...]:
    """V = Re w(z) / (sigma sqrt(2 pi)) of z = (x + i gamma) / (sigma sqrt(2)) (DLMF 7.19)."""
    scale = sigma * math.sqrt(2.0)
    real, imag = _faddeeva_slope(x / scale, gamma / scale)
    factor = 1.0 / (scale * sigma * _ROOT_TAU)
    by_x, by_gamma = real * factor, -imag * factor
    return by_x, -(out + x * by_x + gamma * by_gamma) / sigma, by_gamma


def _rgamma(out: Any, x: Any) -> Any:
    pole = (x <= 0.0) & (floor(x) == x)
    integer = where(pole, x, 0.0)
    sign = 1.0 - 2.0 * absolute(integer - 2.0 * floor(0.5 * integer))
    usual = -Digamma()(where(pole, 1.0, x)) * out
    return where(pole, sign * Gamma()(1.0 - integer), usual)


def _expn(out: Any, n: Any, x: Any) -> Any:
    first = -exp(-x) * (1.0 + 1.0 / x) / x
    return where(n == 0.0, first, -call("expn", maximum(n - 1.0, 0.0), x))


def _spence(out: Any, z: Any) -> Any:
    """log(z) / (1 - z), near 1 as a hypergeometric function (DLMF 15.4.1)."""
    near = absolute(z - 1.0) < _NEAR
    series = -call("hyp2f1", 1.0, 1.0, 2.0, 1.0 - _inside(z, 1.0, near))
    at = _inside(z, 2.0, ~near)
    return where(near, series, log(at) / (1.0 - at))


def _lambertw(out: Any, x: Any) -> Any:
    return exp(-out) / (1.0 + out)


def _owens_t(out: Any, h: Any, a: Any) -> tuple[Any, ...]:
    grown = 1.0 + square(a)
    by_h = exp(-0.5 * square(h)) * erf(a * h * math.sqrt(0.5)) / (-2.0 * _ROOT_TAU)
    return by_h, exp(-0.5 * square(h) * grown) / (2.0 * math.pi * grown)


def _powm1(out: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return y * power(x, y - 1.0), (out + 1.0) * log(x)


@scipy_function(lambda out, x: -exp(-x) / x)
def exp1(x: ArrayLike[AnyValue]) -> AnyValue:
    """Exponential integral, of exp(-t) / t from x to inf. Derivative: -exp(-x) / x.

    >>> sg.special.exp1([0.5, 2.0]).round(3)
    array([0.56 , 0.049])
    """


@scipy_function(lambda out, x: exp(x) / x)
def expi(x: ArrayLike[AnyValue]) -> AnyValue:
    """Exponential integral, the principal value of exp(t) / t from -inf to x.

    Derivative: exp(x) / x.

    >>> sg.special.expi([0.5, 2.0]).round(3)
    array([0.454, 4.954])
    """


@scipy_function(_expn, by="x")
def expn(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Exponential integral of whole order n >= 0, of exp(-x t) / t ** n from 1 to inf.

    Derivative by x: -expn(n - 1, x); none by n. NaN for x < 0 and of other orders.

    >>> sg.special.expn(2, [0.5, 2.0]).round(3)
    array([0.327, 0.038])
    """


declare("sine_integral", "x", lambda out, x: _over(sin, x))
declare("cosine_integral", "x", lambda out, x: cos(x) / x)


def sici(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Sine integral, and cosine integral of abs(x): two values.

    Derivatives: sin(x) / x and cos(x) / x.

    >>> si, ci = sg.special.sici([0.5, 2.0])
    >>> si.round(3)
    array([0.493, 1.605])
    """
    return special_value("sine_integral", x), special_value("cosine_integral", x)


declare("hyperbolic_sine_integral", "x", lambda out, x: _over(sinh, x))
declare("hyperbolic_cosine_integral", "x", lambda out, x: cosh(x) / x)


def shichi(x: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Hyperbolic sine and cosine integral: two values. Derivatives: sinh(x) / x, cosh(x) / x.

    >>> shi, chi = sg.special.shichi([0.5, 2.0])
    >>> shi.round(3)
    array([0.507, 2.502])
    """
    return (
        special_value("hyperbolic_sine_integral", x),
        special_value("hyperbolic_cosine_integral", x),
    )


declare("fresnel_s", "z", lambda out, z: sin(math.pi / 2.0 * square(z)))
declare("fresnel_c", "z", lambda out, z: cos(math.pi / 2.0 * square(z)))


def fresnel(z: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Fresnel's integrals S and C, of sin(pi t**2 / 2) and cos(pi t**2 / 2) from 0 to z.

    >>> [round(float(sg.evaluate(each)), 4) for each in sg.special.fresnel(1.0)]
    [0.4383, 0.7799]
    """
    return special_value("fresnel_s", z), special_value("fresnel_c", z)


@scipy_function(_dawson_slope)
def dawsn(x: ArrayLike[AnyValue]) -> AnyValue:
    """Dawson's integral, exp(-x**2) times that of exp(t**2) from 0 to x.

    Derivative: 1 - 2 * x * dawsn(x), and its asymptotic series from 10 on.

    >>> sg.special.dawsn([0.5, 2.0]).round(3)
    array([0.424, 0.301])
    """


@scipy_function(lambda out, z: 2.0 / _ROOT_PI * exp(square(z)))
def erfi(z: ArrayLike[AnyValue]) -> AnyValue:
    """Imaginary error function, -1j * erf(1j * z). Derivative: 2 / sqrt(pi) * exp(z**2).

    >>> sg.special.erfi([0.5, 1.0]).round(3)
    array([0.615, 1.65 ])
    """


@scipy_function(lambda out, y: -_ROOT_PI / 2.0 * exp(square(out)))
def erfcinv(y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``erfc``: inf at 0, -inf at 2, NaN beyond.

    Derivative: -sqrt(pi) / 2 * exp(out**2).

    >>> sg.special.erfcinv([0.2, 1.5]).round(3)
    array([ 0.906, -0.477])
    """


@scipy_function(lambda out, y: _ROOT_TAU * exp(y + 0.5 * square(out)))
def ndtri_exp(y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``log_ndtr``: x whose log_ndtr(x) is y <= 0.

    Derivative: sqrt(2 pi) * exp(y + out**2 / 2).

    >>> sg.special.ndtri_exp([-100.0, -1.0]).round(3)
    array([-13.888,  -0.337])
    """


declare("wofz_real", "x y", _faddeeva("real"))
declare("wofz_imag", "x y", _faddeeva("imag"))


def wofz(z: ArrayLike[AnyValue]) -> AnyValue:
    """Faddeeva function, exp(-z**2) * erfc(-1j * z): complex, also of real z.

    Derivative: 2j / sqrt(pi) - 2 * z * wofz(z), whose terms cancel for large z: its relative error
    is about 1e-16 * abs(z)**2.

    >>> sg.special.wofz([0.5, 1j]).round(3)
    array([0.779+0.479j, 0.428+0.j   ])
    """
    value = as_value(z)
    x, y = real(value), imag(value)
    return complex(special_value("wofz_real", x, y), special_value("wofz_imag", x, y))


@scipy_function(_voigt)
def voigt_profile(
    x: ArrayLike[AnyValue], sigma: ArrayLike[AnyValue], gamma: ArrayLike[AnyValue]
) -> AnyValue:
    """Voigt profile: the convolution of a normal density with deviation sigma and a Cauchy density.

    Differentiable by all three, as ``wofz``; by sigma at 0 it is NaN.

    >>> sg.special.voigt_profile([0.0, 1.0], 1.0, 0.5).round(3)
    array([0.279, 0.2  ])
    """


declare("lambertw_lower", "z", _lambertw)
declare("lambertw_upper", "z", _lambertw)


def lambertw(z: ArrayLike[AnyValue], k: Integer = 0) -> AnyValue:
    """Lambert W of real z: w with w * exp(w) = z. Branch k is 0, or -1 for -1/e <= z < 0.

    Real, NaN where SciPy's result is complex. Derivative: exp(-w) / (1 + w), inf at -1/e.

    Raises:
        ArgumentError: another branch, which is complex.

    >>> sg.special.lambertw([1.0, 2.0]).round(3)
    array([0.567, 0.853])
    """
    if k not in (0, -1):
        raise ArgumentError(f"lambertw: k={k} is a complex branch", hint="k=0, k=-1")
    return special_value("lambertw_lower" if k else "lambertw_upper", z)


@scipy_function(lambda out, z: out / (1.0 + out))
def wrightomega(z: ArrayLike[AnyValue]) -> AnyValue:
    """Wright omega function of real z: w with w + log(w) = z. Derivative: w / (1 + w).

    >>> sg.special.wrightomega([0.0, 1.0]).round(3)
    array([0.567, 1.   ])
    """


@scipy_function(lambda out, v, z: call("hyp0f1", v + 1.0, z) / v, by="z")
def hyp0f1(v: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Hypergeometric function 0F1(; v; z). Derivative: hyp0f1(v + 1, z) / v by z.

    >>> sg.special.hyp0f1(1.5, [0.5, 2.0]).round(3)
    array([1.368, 2.98 ])
    """


@scipy_function(lambda out, a, b, x: a / b * call("hyp1f1", a + 1.0, b + 1.0, x), by="x")
def hyp1f1(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Kummer's confluent hypergeometric function 1F1(a; b; x).

    Derivative by x: a / b * hyp1f1(a + 1, b + 1, x); none by a and b.

    >>> sg.special.hyp1f1(1.0, 2.0, [0.5, 2.0]).round(3)
    array([1.297, 3.195])
    """


@scipy_function(
    lambda out, a, b, c, z: a * b / c * call("hyp2f1", a + 1.0, b + 1.0, c + 1.0, z), by="z"
)
def hyp2f1(
    a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], c: ArrayLike[AnyValue], z: ArrayLike[AnyValue]
) -> AnyValue:
    """Gauss' hypergeometric function 2F1(a, b; c; z).

    Derivative by z: a * b / c * hyp2f1(a + 1, b + 1, c + 1, z); none by a, b and c.

    >>> sg.special.hyp2f1(1.0, 2.0, 3.0, [0.2, 0.5]).round(3)
    array([1.157, 1.545])
    """


@scipy_function(lambda out, a, b, x: -a * call("hyperu", a + 1.0, b + 1.0, x), by="x")
def hyperu(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Tricomi's function U(a, b, x). Derivative: -a * hyperu(a + 1, b + 1, x) by x.

    >>> sg.special.hyperu(1.0, 2.0, [0.5, 2.0]).round(3)
    array([2. , 0.5])
    """


@scipy_function(_owens_t)
def owens_t(h: ArrayLike[AnyValue], a: ArrayLike[AnyValue]) -> AnyValue:
    """Owen's T: the probability that X > h and 0 < Y < a X of independent standard normals.

    >>> sg.special.owens_t(1.0, [0.5, 2.0]).round(3)
    array([0.043, 0.078])
    """


@scipy_function(_spence)
def spence(z: ArrayLike[AnyValue]) -> AnyValue:
    """Spence's function, the integral of log(t) / (1 - t) from 1 to z; NaN below 0.

    >>> sg.special.spence([0.5, 2.0]).round(3)
    array([ 0.582, -0.822])
    """


@scipy_function(_rgamma)
def rgamma(z: ArrayLike[AnyValue]) -> AnyValue:
    """1 / gamma(z): 0 at 0 and at negative whole numbers.

    >>> sg.special.rgamma([0.0, 3.0]).round(3)
    array([0. , 0.5])
    """


def loggamma(z: ArrayLike[AnyValue]) -> AnyValue:
    """``gammaln`` of real z >= 0, NaN below, where SciPy's of complex numbers is not real.

    >>> sg.special.loggamma([0.5, 4.0]).round(3)
    array([0.572, 1.792])
    """
    return in_float64("loggamma", lambda z: where(z < 0.0, math.nan, gammaln(z)), z)


@scipy_function(lambda out, x: 0.5 * call("hyp1f1", 2.0, 3.0, x))
def exprel(x: ArrayLike[AnyValue]) -> AnyValue:
    """(exp(x) - 1) / x, 1 at 0. Derivative: hyp1f1(2, 3, x) / 2.

    >>> sg.special.exprel([0.0, 1.0]).round(3)
    array([1.   , 1.718])
    """


def cosm1(x: ArrayLike[AnyValue]) -> AnyValue:
    """cos(x) - 1, accurate near 0.

    >>> sg.special.cosm1([1e-4, 1.0])
    array([-5.00000000e-09, -4.59697694e-01])
    """
    return in_float64("cosm1", lambda x: -2.0 * np.square(np.sin(x * 0.5)), x)


def exp10(x: ArrayLike[AnyValue]) -> AnyValue:
    """10 ** x.

    >>> sg.special.exp10([0.5, 2.0]).round(3)
    array([  3.162, 100.   ])
    """
    return in_float64("exp10", lambda x: power(10.0, x), x)


def huber(delta: ArrayLike[AnyValue], r: ArrayLike[AnyValue]) -> AnyValue:
    """r**2 / 2 where abs(r) <= delta, delta * (abs(r) - delta / 2) beyond; inf for delta < 0.

    >>> sg.special.huber(1.0, [0.5, 3.0]).round(3)
    array([0.125, 2.5  ])
    """

    def loss(delta: Any, r: Any) -> Any:
        size = abs(r)
        linear_part = delta * (size - delta * 0.5)
        return where(delta < 0.0, math.inf, where(size <= delta, r * r * 0.5, linear_part))

    return in_float64("huber", loss, delta, r)


def pseudo_huber(delta: ArrayLike[AnyValue], r: ArrayLike[AnyValue]) -> AnyValue:
    """delta**2 * (sqrt(1 + (r / delta)**2) - 1), 0 where either is 0; inf for delta < 0.

    >>> sg.special.pseudo_huber(1.0, [0.5, 3.0]).round(3)
    array([0.118, 2.162])
    """

    def loss(delta: Any, r: Any) -> Any:
        squares = np.square(r / where(delta == 0.0, 1.0, delta))
        value = delta * delta * (squares / (np.sqrt(squares + 1.0) + 1.0))
        return where(delta < 0.0, math.inf, value)

    return in_float64("pseudo_huber", loss, delta, r)


def boxcox(x: ArrayLike[AnyValue], lmbda: ArrayLike[AnyValue]) -> AnyValue:
    """(x ** lmbda - 1) / lmbda, log(x) where lmbda is 0; differentiable by both, there, too.

    -1 / lmbda at x = 0 for lmbda > 0, -inf for others; NaN below.

    >>> sg.special.boxcox([1.0, 4.0], 0.5).round(3)
    array([0., 2.])
    """

    def transform(x: Any, lmbda: Any) -> Any:
        logs = np.log(where(x > 0.0, x, 1.0))
        outside = where(x == 0.0, _boxcox_at_zero(lmbda), math.nan)
        return where(x > 0.0, logs * call("exprel", logs * lmbda), outside)

    return in_float64("boxcox", transform, x, lmbda)


def _boxcox_at_zero(lmbda: Any) -> Any:
    """Return boxcox(0, lmbda): NaN for NaN."""
    return where(lmbda <= 0.0, -math.inf, -1.0 / where(lmbda <= 0.0, 1.0, lmbda))


def boxcox1p(x: ArrayLike[AnyValue], lmbda: ArrayLike[AnyValue]) -> AnyValue:
    """boxcox(1 + x, lmbda), accurate for small x.

    >>> sg.special.boxcox1p([0.0, 3.0], 0.5).round(3)
    array([0., 2.])
    """

    def transform(x: Any, lmbda: Any) -> Any:
        logs = np.log1p(where(x > -1.0, x, 0.0))
        outside = where(x == -1.0, _boxcox_at_zero(lmbda), math.nan)
        return where(x > -1.0, logs * call("exprel", logs * lmbda), outside)

    return in_float64("boxcox1p", transform, x, lmbda)


def inv_boxcox(x: ArrayLike[AnyValue], lmbda: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``boxcox``: (1 + x * lmbda) ** (1 / lmbda), exp(x) where lmbda is 0.

    >>> sg.special.inv_boxcox([0.0, 2.0], 0.5).round(3)
    array([1., 4.])
    """
    return in_float64("inv_boxcox", lambda x, lmbda: np.exp(x * _log1p_over(x * lmbda)), x, lmbda)


def inv_boxcox1p(x: ArrayLike[AnyValue], lmbda: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``boxcox1p``.

    >>> sg.special.inv_boxcox1p([0.0, 2.0], 0.5).round(3)
    array([0., 3.])
    """
    return in_float64(
        "inv_boxcox1p", lambda x, lmbda: np.expm1(x * _log1p_over(x * lmbda)), x, lmbda
    )


def diric(x: ArrayLike[AnyValue], n: Integer) -> AnyValue:
    """Dirichlet's kernel sin(n x / 2) / (n sin(x / 2)) of a whole number n >= 1.

    >>> sg.special.diric([0.5, 2.0], 5).round(3)
    array([ 0.767, -0.228])
    """
    if n < 1:
        raise ArgumentError(f"diric: n={n} is not at least 1")

    def kernel(x: Any) -> Any:
        half = x * 0.5
        sine = np.sin(half)
        is_near_pole = abs(sine) < 1e-9
        half_turns = np.rint(half / math.pi) * (n - 1)
        sign = where(np.rint(half_turns * 0.5) * 2.0 == half_turns, 1.0, -1.0)
        return where(is_near_pole, sign, np.sin(half * n) / (where(is_near_pole, 1.0, sine) * n))

    return in_float64("diric", kernel, x)


@scipy_function(lambda out, x: _DEGREE * call("cosdg", x))
def sindg(x: ArrayLike[AnyValue]) -> AnyValue:
    """Sine of x degrees, exact at multiples of 30.

    >>> sg.special.sindg([30.0, 45.0]).round(3)
    array([0.5  , 0.707])
    """


@scipy_function(lambda out, x: -_DEGREE * call("sindg", x))
def cosdg(x: ArrayLike[AnyValue]) -> AnyValue:
    """Cosine of x degrees, exact at multiples of 60 and 90.

    >>> sg.special.cosdg([60.0, 45.0]).round(3)
    array([0.5  , 0.707])
    """


@scipy_function(lambda out, x: _DEGREE * (1.0 + out * out))
def tandg(x: ArrayLike[AnyValue]) -> AnyValue:
    """Tangent of x degrees.

    >>> sg.special.tandg([45.0, 60.0]).round(3)
    array([1.   , 1.732])
    """


@scipy_function(lambda out, x: -_DEGREE * (1.0 + out * out))
def cotdg(x: ArrayLike[AnyValue]) -> AnyValue:
    """Cotangent of x degrees.

    >>> sg.special.cotdg([45.0, 60.0]).round(3)
    array([1.   , 0.577])
    """


@scipy_function(_powm1)
def powm1(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """x ** y - 1, accurate where that is small.

    >>> sg.special.powm1([0.5, 2.0], 0.3).round(3)
    array([-0.188,  0.231])
    """


@scipy_function(lambda out, x: None)
def gammasgn(x: ArrayLike[AnyValue]) -> AnyValue:
    """Sign of ``gamma``: NaN at negative whole numbers. Its derivative is 0.

    >>> sg.special.gammasgn([-1.5, 2.0]).round(3)
    array([1., 1.])
    """


def radian(d: ArrayLike[AnyValue], m: ArrayLike[AnyValue], s: ArrayLike[AnyValue]) -> AnyValue:
    """Degrees, minutes and seconds as an angle in radians.

    >>> sg.special.radian(30.0, 15.0, [0.0, 30.0]).round(3)
    array([0.528, 0.528])
    """
    return in_float64(
        "radian", lambda d, m, s: (d + (m + s / 60.0) / 60.0) * (math.pi / 180.0), d, m, s
    )


def zetac(x: ArrayLike[AnyValue]) -> AnyValue:
    """zeta(x) - 1, accurate for large x; NaN for x < 1. It has no derivative.

    >>> sg.special.zetac([2.0, 30.0]).round(3)
    array([0.645, 0.   ])
    """
    return in_float64("zetac", lambda x: where(x == math.inf, 0.0, Zeta()(x, 2.0)), x)


def _log1p_over(x: Any) -> Any:
    """log1p(x) / x, near 0 as a hypergeometric function (DLMF 15.4.1)."""
    is_small = abs(x) < 0.5
    series = call("hyp2f1", 1.0, 1.0, 2.0, where(is_small, -x, 0.0))
    return where(is_small, series, np.log1p(x) / where(is_small, 1.0, x))

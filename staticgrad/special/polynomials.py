"""Orthogonal polynomials and Legendre functions, by the names of ``scipy.special``.

Derivatives are by x, not by degrees and parameters (DLMF 18.9, 14.10).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.extend.ops import cos, maximum, sin, square, where
from staticgrad.functions.complex_numbers import complex
from staticgrad.language.ops.special_functions import Rule, call, declare_with_slope
from staticgrad.special.values import in_float64, scipy_function, special_value


def _lower(function: str, factor: Callable[..., Any], *more: float) -> Rule:
    """A factor times a polynomial of degree n - 1, with further parameters; 0 for degree 0."""

    def rule(out: Any, n: Any, *operands: Any) -> Any:
        *parameters, x = operands
        raised = [parameter + 1.0 for parameter in parameters] or [*more]
        slope = factor(n, *parameters) * call(function, maximum(n - 1.0, 0.0), *raised, x)
        return where(n == 0.0, 0.0, slope)

    return rule


def _lpmv(out: Any, m: Any, v: Any, x: Any) -> Any:
    """DLMF 14.10.5; P of degree -1 is that of degree 0."""
    below = call("lpmv", m, maximum(v - 1.0, 0.0), x)
    below = where((v == 0.0) & (m > 0.0), 0.0, below)
    return (v * x * out - (v + m) * below) / (square(x) - 1.0)


def _legendre_second(value: Any, slope: Any, n: Any, m: Any, x: Any) -> Any:
    """P'' of (1 - x**2) P'' = 2 x P' - (n (n + 1) - m**2 / (1 - x**2)) P (DLMF 14.2.2)."""
    weight = 1.0 - square(x)
    middle = n * (n + 1.0) - square(m) / weight
    return (2.0 * x * slope - middle * value) / weight


def _spherical_second(value: Any, slope: Any, n: Any, m: Any, theta: Any) -> Any:
    """The same of x = cos(theta)."""
    sine = sin(theta)
    middle = n * (n + 1.0) - square(m) / square(sine)
    return -slope * cos(theta) / sine - middle * value


@scipy_function(_lower("eval_gegenbauer", lambda n: 1.0, 1.5), by="x")
def eval_legendre(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Legendre polynomial of degree n at x; differentiable by x.

    Whole degrees are computed by recurrences. Other degrees are Legendre functions, by
    hypergeometric functions, for x in (-1, 1].

    >>> sg.evaluate(sg.special.eval_legendre([0, 1, 2], 0.5))
    array([ 1.   ,  0.5  , -0.125])
    """


@scipy_function(_lower("eval_chebyu", lambda n: n), by="x")
def eval_chebyt(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial of the first kind, cos(n * arccos(x)); differentiable by x.

    >>> sg.special.eval_chebyt(3, [0.5, 1.0]).round(3)
    array([-1.,  1.])
    """


@scipy_function(_lower("eval_gegenbauer", lambda n: 2.0, 2.0), by="x")
def eval_chebyu(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial of the second kind of degree n at x; differentiable by x.

    >>> sg.special.eval_chebyu(3, [0.5, 1.0]).round(3)
    array([-1.,  4.])
    """


@scipy_function(_lower("eval_gegenbauer", lambda n, alpha: 2.0 * alpha), by="x")
def eval_gegenbauer(
    n: ArrayLike[AnyValue], alpha: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Gegenbauer polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_gegenbauer(3, 0.5, [0.5, 1.0]).round(3)
    array([-0.437,  1.   ])
    """


@scipy_function(
    _lower("eval_jacobi", lambda n, alpha, beta: 0.5 * (n + alpha + beta + 1.0)), by="x"
)
def eval_jacobi(
    n: ArrayLike[AnyValue],
    alpha: ArrayLike[AnyValue],
    beta: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
) -> AnyValue:
    """Jacobi polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_jacobi(3, 0.5, 1.0, [0.5, 1.0]).round(3)
    array([-0.616,  2.188])
    """


@scipy_function(_lower("eval_hermite", lambda n: 2.0 * n), by="x")
def eval_hermite(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Hermite polynomial of the physicists, of whole degree n; NaN of other degrees.

    Derivative by x: 2 * n * eval_hermite(n - 1, x).

    >>> sg.special.eval_hermite(3, [0.5, 1.0]).round(3)
    array([-5., -4.])
    """


@scipy_function(_lower("eval_hermitenorm", lambda n: n), by="x")
def eval_hermitenorm(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Hermite polynomial of the probabilists, of whole degree n; NaN of other degrees.

    Derivative by x: n * eval_hermitenorm(n - 1, x).

    >>> sg.special.eval_hermitenorm(3, [0.5, 1.0]).round(3)
    array([-1.375, -2.   ])
    """


@scipy_function(_lower("eval_genlaguerre", lambda n: -1.0, 1.0), by="x")
def eval_laguerre(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Laguerre polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_laguerre(3, [0.5, 1.0]).round(3)
    array([-0.146, -0.667])
    """


@scipy_function(_lower("eval_genlaguerre", lambda n, alpha: -1.0), by="x")
def eval_genlaguerre(
    n: ArrayLike[AnyValue], alpha: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Generalized Laguerre polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_genlaguerre(3, 0.5, [0.5, 1.0]).round(3)
    array([ 0.417, -0.604])
    """


@scipy_function(_lpmv, by="x")
def lpmv(m: ArrayLike[AnyValue], v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Associated Legendre function of whole order m and degree v at x in [-1, 1].

    Derivative by x: (v * x * lpmv(m, v, x) - (v + m) * lpmv(m, v - 1, x)) / (x**2 - 1), NaN at -1
    and 1.

    >>> sg.special.lpmv(1, 2, [0.0, 0.5]).round(3)
    array([ 0.   , -1.299])
    """


def eval_sh_legendre(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Shifted Legendre polynomial, eval_legendre(n, 2 x - 1).

    >>> sg.special.eval_sh_legendre(3, [0.2, 0.7]).round(3)
    array([ 0.36, -0.44])
    """
    return in_float64(
        "eval_sh_legendre", lambda n, x: call("eval_legendre", n, 2.0 * x - 1.0), n, x
    )


def eval_sh_chebyt(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Shifted Chebyshev polynomial of the first kind, eval_chebyt(n, 2 x - 1).

    >>> sg.special.eval_sh_chebyt(3, [0.2, 0.7]).round(3)
    array([ 0.936, -0.944])
    """
    return in_float64("eval_sh_chebyt", lambda n, x: call("eval_chebyt", n, 2.0 * x - 1.0), n, x)


def eval_sh_chebyu(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Shifted Chebyshev polynomial of the second kind, eval_chebyu(n, 2 x - 1).

    >>> sg.special.eval_sh_chebyu(3, [0.2, 0.7]).round(3)
    array([ 0.672, -1.088])
    """
    return in_float64("eval_sh_chebyu", lambda n, x: call("eval_chebyu", n, 2.0 * x - 1.0), n, x)


def eval_chebyc(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial C on [-2, 2], 2 * eval_chebyt(n, x / 2); differentiable by x.

    >>> sg.special.eval_chebyc(3, [0.5, 1.0]).round(3)
    array([-1.375, -2.   ])
    """
    return in_float64("eval_chebyc", lambda n, x: 2.0 * call("eval_chebyt", n, 0.5 * x), n, x)


def eval_chebys(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial S on [-2, 2], eval_chebyu(n, x / 2); differentiable by x.

    >>> sg.special.eval_chebys(3, [0.5, 1.0]).round(3)
    array([-0.875, -1.   ])
    """
    return in_float64("eval_chebys", lambda n, x: call("eval_chebyu", n, 0.5 * x), n, x)


def eval_sh_jacobi(
    n: ArrayLike[AnyValue], p: ArrayLike[AnyValue], q: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Shifted Jacobi polynomial G, eval_jacobi(n, p - q, q - 1, 2 x - 1) / binom(2 n + p - 1, n).

    >>> sg.special.eval_sh_jacobi(3, 2.0, 1.5, [0.2, 0.7]).round(3)
    array([ 0.01 , -0.017])
    """

    def formula(n: Any, p: Any, q: Any, x: Any) -> Any:
        scale = call("binom", 2.0 * n + p - 1.0, n)
        return call("eval_jacobi", n, p - q, q - 1.0, 2.0 * x - 1.0) / scale

    return in_float64("eval_sh_jacobi", formula, n, p, q, x)


def assoc_laguerre(
    x: ArrayLike[AnyValue], n: ArrayLike[AnyValue], k: ArrayLike[AnyValue] = 0.0
) -> AnyValue:
    """Associated Laguerre polynomial: ``eval_genlaguerre`` with another order of arguments.

    >>> sg.special.assoc_laguerre([0.5, 2.0], 3, 1.0).round(3)
    array([ 1.479, -1.333])
    """
    return special_value("eval_genlaguerre", n, k, x)


def legendre_p(n: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Legendre polynomial of degree n, as ``eval_legendre``.

    >>> sg.special.legendre_p(3, [0.2, 0.7]).round(3)
    array([-0.28 , -0.193])
    """
    return special_value("eval_legendre", n, z)


declare_with_slope("assoc_legendre", "n m x", _legendre_second)
declare_with_slope("assoc_legendre_unit", "n m x", _legendre_second)


def assoc_legendre_p(
    n: ArrayLike[AnyValue], m: ArrayLike[AnyValue], z: ArrayLike[AnyValue], norm: bool = False
) -> AnyValue:
    """Associated Legendre function of degree n and whole order m, orthonormal with norm=True.

    Differentiable by z; NaN beyond [-1, 1].

    >>> sg.special.assoc_legendre_p(3, 1, [0.2, 0.7]).round(3)
    array([ 1.176, -1.553])
    """
    name = "assoc_legendre_unit" if norm else "assoc_legendre"
    return special_value(name, n, m, z)


declare_with_slope("sph_legendre", "n m theta", _spherical_second)


def sph_legendre_p(
    n: ArrayLike[AnyValue], m: ArrayLike[AnyValue], theta: ArrayLike[AnyValue]
) -> AnyValue:
    """Spherical Legendre function of degree n and order m at an angle theta from the pole.

    Orthonormal on the sphere; differentiable by theta.

    >>> sg.special.sph_legendre_p(3, 1, [0.2, 0.7]).round(3)
    array([-0.244, -0.401])
    """
    return special_value("sph_legendre", n, m, theta)


def sph_harm_y(
    n: ArrayLike[AnyValue],
    m: ArrayLike[AnyValue],
    theta: ArrayLike[AnyValue],
    phi: ArrayLike[AnyValue],
) -> AnyValue:
    """Spherical harmonic of degree n and order m, complex.

    sph_legendre_p(n, m, theta) * exp(1j m phi), of the angle theta from the pole; differentiable by
    both angles.

    >>> sg.special.sph_harm_y(3, 1, [0.2, 0.7], 0.5).round(3)
    array([-0.214-0.117j, -0.352-0.192j])
    """

    def part(of: Any) -> Any:
        def formula(n: Any, m: Any, theta: Any, phi: Any) -> Any:
            return call("sph_legendre", n, m, theta) * of(m * phi)

        return in_float64("sph_harm_y", formula, n, m, theta, phi)

    return complex(part(np.cos), part(np.sin))

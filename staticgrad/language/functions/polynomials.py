"""Orthogonal polynomials and Legendre functions, by the names of ``scipy.special``.

Derivatives are by x, not by degrees and parameters (DLMF 18.9, 14.10).
"""

from __future__ import annotations

from staticgrad.language.functions.special_values import special_value
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops.elementwise import ArrayLike


def eval_legendre(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Legendre polynomial of degree n at x; differentiable by x.

    Whole degrees are computed by recurrences. Other degrees are Legendre functions, by
    hypergeometric functions, for x in (-1, 1].

    >>> sg.evaluate(sg.special.eval_legendre([0, 1, 2], 0.5))
    array([ 1.   ,  0.5  , -0.125])
    """
    return special_value("eval_legendre", n, x)


def eval_chebyt(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial of the first kind, cos(n * arccos(x)); differentiable by x.

    >>> sg.special.eval_chebyt(3, [0.5, 1.0]).round(3)
    array([-1.,  1.])
    """
    return special_value("eval_chebyt", n, x)


def eval_chebyu(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chebyshev polynomial of the second kind of degree n at x; differentiable by x.

    >>> sg.special.eval_chebyu(3, [0.5, 1.0]).round(3)
    array([-1.,  4.])
    """
    return special_value("eval_chebyu", n, x)


def eval_gegenbauer(
    n: ArrayLike[AnyValue], alpha: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Gegenbauer polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_gegenbauer(3, 0.5, [0.5, 1.0]).round(3)
    array([-0.437,  1.   ])
    """
    return special_value("eval_gegenbauer", n, alpha, x)


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
    return special_value("eval_jacobi", n, alpha, beta, x)


def eval_hermite(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Hermite polynomial of the physicists, of whole degree n; NaN of other degrees.

    Derivative by x: 2 * n * eval_hermite(n - 1, x).

    >>> sg.special.eval_hermite(3, [0.5, 1.0]).round(3)
    array([-5., -4.])
    """
    return special_value("eval_hermite", n, x)


def eval_hermitenorm(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Hermite polynomial of the probabilists, of whole degree n; NaN of other degrees.

    Derivative by x: n * eval_hermitenorm(n - 1, x).

    >>> sg.special.eval_hermitenorm(3, [0.5, 1.0]).round(3)
    array([-1.375, -2.   ])
    """
    return special_value("eval_hermitenorm", n, x)


def eval_laguerre(n: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Laguerre polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_laguerre(3, [0.5, 1.0]).round(3)
    array([-0.146, -0.667])
    """
    return special_value("eval_laguerre", n, x)


def eval_genlaguerre(
    n: ArrayLike[AnyValue], alpha: ArrayLike[AnyValue], x: ArrayLike[AnyValue]
) -> AnyValue:
    """Generalized Laguerre polynomial of degree n at x; differentiable by x.

    >>> sg.special.eval_genlaguerre(3, 0.5, [0.5, 1.0]).round(3)
    array([ 0.417, -0.604])
    """
    return special_value("eval_genlaguerre", n, alpha, x)


def lpmv(m: ArrayLike[AnyValue], v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Associated Legendre function of whole order m and degree v at x in [-1, 1].

    Derivative by x: (v * x * lpmv(m, v, x) - (v + m) * lpmv(m, v - 1, x)) / (x**2 - 1), NaN at -1
    and 1.

    >>> sg.special.lpmv(1, 2, [0.0, 0.5]).round(3)
    array([ 0.   , -1.299])
    """
    return special_value("lpmv", m, v, x)

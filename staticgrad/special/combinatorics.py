"""Factorials, binomial coefficients and what is counted with them, in floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import AnyValue, ArrayLike, Integer
from staticgrad.extend.ops import exp, floor, maximum, where
from staticgrad.language.ops.special import Digamma, gamma, gammaln
from staticgrad.language.ops.special_functions import call
from staticgrad.special.values import in_float64, scipy_function


def _binom(out: Any, n: Any, k: Any) -> tuple[Any, ...]:
    digamma_of_difference = Digamma()(n - k + 1.0)
    return out * (Digamma()(n + 1.0) - digamma_of_difference), out * (
        digamma_of_difference - Digamma()(k + 1.0)
    )


def _poch(out: Any, z: Any, m: Any) -> tuple[Any, ...]:
    end = Digamma()(z + m)
    return out * (end - Digamma()(z)), out * end


@scipy_function(_poch)
def poch(z: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Rising factorial, gamma(z + m) / gamma(z).

    Differentiable by both but where gamma has poles.

    >>> sg.special.poch(2.0, [1.0, 3.0]).round(3)
    array([ 2., 24.])
    """


@scipy_function(_binom)
def binom(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Binomial coefficient of real numbers, 1 / ((x + 1) * beta(1 + x - y, 1 + y)).

    Differentiable by both but where gamma has poles: NaN where a result is 0 because of one.

    >>> sg.evaluate(sg.special.binom(5.0, [0.0, 2.0, 2.5])).round(4)
    array([ 1.   , 10.   , 10.865])
    """


def comb(
    N: ArrayLike[AnyValue], k: ArrayLike[AnyValue], exact: bool = False, repetition: bool = False
) -> AnyValue:
    """Number of ways to choose k of N things, 0 for k > N and negative numbers; in floats.

    Differentiable as ``binom``.

    Args:
        N: how many things there are.
        k: how many are chosen.
        exact: must be False: Python's ``math.comb`` counts exactly.
        repetition: count choices in which things may occur twice, binom(N + k - 1, k).

    >>> sg.special.comb(5, [0, 2]).round(3)
    array([ 1., 10.])
    """
    _in_floats("comb", exact)

    def count_choices(n: Any, k: Any) -> Any:
        inside = (n >= 0.0) & (k >= 0.0)
        if repetition:
            return where(inside, call("binom", n + k - 1.0, k), 0.0)
        return where(inside & (k <= n), call("binom", n, k), 0.0)

    return in_float64("comb", count_choices, N, k)


def perm(N: ArrayLike[AnyValue], k: ArrayLike[AnyValue], exact: bool = False) -> AnyValue:
    """Number of ordered choices of k of N things, 0 for k > N and negative numbers; in floats.

    Differentiable as ``poch``.

    >>> sg.special.perm(5, [1, 2]).round(3)
    array([ 5., 20.])
    """
    _in_floats("perm", exact)

    def count_choices(n: Any, k: Any) -> Any:
        inside = (n >= 0.0) & (k >= 0.0) & (k <= n)
        return where(inside, call("poch", n - k + 1.0, k), 0.0)

    return in_float64("perm", count_choices, N, k)


def factorial(n: ArrayLike[AnyValue], exact: bool = False) -> AnyValue:
    """gamma(n + 1), and 0 for n < 0; in floats.

    >>> sg.special.factorial([0, 3, 5]).round(3)
    array([  1.,   6., 120.])
    """
    _in_floats("factorial", exact)
    return in_float64("factorial", lambda n: where(n < 0.0, 0.0, gamma(n + 1.0)), n)


def factorial2(n: ArrayLike[AnyValue], exact: bool = False) -> AnyValue:
    """Product n (n - 2) (n - 4) ... of whole n, 1 at 0 and -1, 0 below; in floats.

    >>> sg.special.factorial2([5, 6]).round(3)
    array([15., 48.])
    """
    _in_floats("factorial2", exact)

    def product(n: Any) -> Any:
        half, clipped = n * 0.5, where(n < -1.0, 0.0, n)
        root = where(np.rint(half) == half, 1.0, math.sqrt(2.0 / math.pi))
        estimate = np.exp2(clipped * 0.5) * gamma(clipped * 0.5 + 1.0) * root
        return where(n < -1.0, 0.0, np.rint(estimate))

    return in_float64("factorial2", product, n)


def factorialk(n: ArrayLike[AnyValue], k: Integer) -> AnyValue:
    """Product n (n - k) (n - 2 k) ... of whole n and k, in floats; 0 for n < 0.

    >>> sg.special.factorialk([5, 8], 3).round(3)
    array([10., 80.])
    """

    def product(n: Any) -> Any:
        steps = floor(maximum(n - 1.0, 0.0) / k)
        last = n - steps * k
        estimate = last * exp(gammaln(n / k + 1.0) - gammaln(last / k + 1.0) + steps * math.log(k))
        return where(n < 1.0, where(n == 0.0, 1.0, 0.0), np.rint(estimate))

    if k < 1:
        raise ArgumentError(f"factorialk: k={k} is not at least 1")
    return in_float64("factorialk", product, n)


def _in_floats(function: str, exact: bool) -> None:
    if exact:
        hint = {"comb": "math.comb(n, k)", "perm": "math.perm(n, k)"}.get(
            function, "math.factorial(n)"
        )
        raise ArgumentError(f"{function}: counts in floats, exact=True is not supported", hint=hint)

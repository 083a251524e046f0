"""Gamma, beta, zeta and logistic functions by ops of ours, and softmax by SciPy's arguments."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Axes,
    Integer,
    floating,
    like,
    reduction_axes,
    rounded_once,
)
from staticgrad.extend.functions import (
    constant_shift,
    log_of_sum,
    sum as total,
)
from staticgrad.extend.ops import exp, squeeze, where
from staticgrad.language.ops.special import (
    BetaInc,
    BetaLn,
    Digamma,
    GammaInc,
    GammaIncC,
    Logit,
    Ndtri,
    Polygamma,
    Zeta,
)
from staticgrad.nn.functional import basics as nn


def ndtri(p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``ndtr``: infinite at 0 and 1, NaN beyond. Near 1 it is as exact as p.

    >>> sg.special.ndtri([0.025, 0.5]).round(3)
    array([-1.96,  0.  ])
    """
    return Ndtri()(p)


def logit(p: ArrayLike[AnyValue]) -> AnyValue:
    """log(p / (1 - p)), the inverse of ``expit``: infinite at 0 and 1, NaN beyond.

    >>> sg.special.logit([0.1, 0.5]).round(3)
    array([-2.197,  0.   ])
    """
    return Logit()(p)


def log_expit(x: ArrayLike[AnyValue]) -> AnyValue:
    """log(expit(x)) without overflow: x far below 0.

    >>> sg.special.log_expit([-50.0, 0.0]).round(3)
    array([-50.   ,  -0.693])
    """
    value: Any = floating(x)
    return -nn.softplus(-value)


def polygamma(n: Integer, x: ArrayLike[AnyValue]) -> AnyValue:
    """Derivative of order ``n`` of ``digamma``; inf at 0 and at negative whole numbers.

    ``n`` is a whole number known at build; 0 is ``digamma`` itself.

    >>> sg.special.polygamma(1, [1.0, 2.0]).round(3)
    array([1.645, 0.645])
    """
    if not 0 <= n <= 170:
        raise ArgumentError(f"polygamma: n={n} is not from 0 to 170")
    return Polygamma(n)(x) if n else Digamma()(x)


def gammainc(a: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Regularized lower incomplete gamma function: 0 at x = 0, 1 at inf; NaN below 0.

    >>> sg.special.gammainc(2.0, [0.5, 3.0]).round(3)
    array([0.09 , 0.801])
    """
    return GammaInc()(a, x)


def gammaincc(a: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """1 - gammainc(a, x), accurate where that is small.

    >>> sg.special.gammaincc(2.0, [0.5, 3.0]).round(3)
    array([0.91 , 0.199])
    """
    return GammaIncC()(a, x)


@rounded_once
def beta(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """gamma(a) * gamma(b) / gamma(a + b) for positive a and b; NaN below 0.

    It is exp(betaln(a, b)), so its relative error grows with abs(betaln(a, b)).

    >>> sg.special.beta(2.0, [1.0, 3.0]).round(3)
    array([0.5  , 0.083])
    """
    return exp(BetaLn()(a, b))


def betaln(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """log(beta(a, b)) for positive a and b; inf where one is 0, NaN below.

    >>> sg.special.betaln(2.0, [1.0, 3.0]).round(3)
    array([-0.693, -2.485])
    """
    return BetaLn()(a, b)


def betainc(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Regularized incomplete beta function: 0 at x = 0, 1 at 1, NaN outside; a and b positive.

    By a and b its derivatives are integrals, to 1e-10 of their size (from 1e-5 for parameters of
    0.01 on). Above (a + 1) / (a + b + 2) it is 1 minus the other
    tail, so the error is relative to 1 there. NaN for parameters above some millions, where the
    continued fraction does not converge.

    >>> sg.special.betainc(2.0, 3.0, [0.2, 0.5]).round(3)
    array([0.181, 0.688])
    """
    return BetaInc()(a, b, x)


def zeta(x: ArrayLike[AnyValue], q: ArrayLike[AnyValue] = 1.0) -> AnyValue:
    """Hurwitz zeta function, the sum of (q + k) ** -x over k = 0, 1, ...; for q = 1 Riemann's.

    inf at x = 1 and at whole q <= 0; NaN for x below 1 and other negative q. It is differentiable
    by q, not by x.

    >>> sg.special.zeta([2.0, 4.0]).round(3)
    array([1.645, 1.082])
    """
    return Zeta()(x, q)


@rounded_once
def logsumexp(
    a: ArrayLike[AnyValue],
    axis: Axes = None,
    b: ArrayLike[AnyValue] | None = None,
    keepdims: bool = False,
) -> AnyValue:
    """log(sum(b * exp(a))) over ``axis``, without overflow; NaN where that sum is negative.

    -inf where all elements are -inf, have the factor 0, or there are none; the derivatives are 0
    there.

    Args:
        a: a value; integers and bools become float64.
        axis: one axis or several; None, the default here as in SciPy, for all. ``sg.nn.logsumexp``
            takes the last.
        b: factors, which broadcast with ``a``; 1 by default.

    >>> round(float(sg.evaluate(sg.special.logsumexp([1000.0, 1000.0]))), 4)
    1000.6931
    >>> round(float(sg.evaluate(sg.special.logsumexp([0.0, 0.0], b=[3.0, -1.0]))), 4)
    0.6931
    """
    if b is None:
        return nn.logsumexp(a, axis, keepdims=keepdims)
    logs = where(np.equal(cast(Any, b), 0), -math.inf, a)
    axes = reduction_axes(axis, logs)
    shift = constant_shift(logs, axes)
    out = log_of_sum(total(exp(logs - shift) * b, axes, keepdims=True)) + shift
    return out if keepdims else squeeze(out, axes)


def softmax(x: ArrayLike[AnyValue], axis: Axes = None) -> AnyValue:
    """exp(x) / sum(exp(x)) over ``axis``, without overflow.

    Args:
        axis: one axis or several; None, the default here as in SciPy, for all. ``sg.nn.softmax``
            takes the last.

    >>> sg.evaluate(sg.special.softmax([[0.0, 0.0], [0.0, 0.0]]))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return nn.softmax(x, axis)


@like(softmax)
def log_softmax(x: ArrayLike[AnyValue], axis: Axes = None) -> AnyValue:
    """The logarithm of ``softmax``: x less its ``logsumexp`` over ``axis``, without overflow.

    >>> sg.evaluate(sg.special.log_softmax([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return nn.log_softmax(x, axis)

"""Gamma, beta and zeta functions, their derivatives and incomplete forms, for ``sg.special``."""

from __future__ import annotations

import math

from staticgrad.errors import ArgumentError
from staticgrad.families import like
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops import (
    gamma as gammas,
    incomplete,
)
from staticgrad.ops.bessel import i0 as i0
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import MOST_PARTS, as_value, floating, integer
from staticgrad.ops.special import erfc as erfc, xlogy as xlogy
from staticgrad.ops.transcendental import Exp, erf as erf


def gamma(x: Operand[AnyValue]) -> AnyValue:
    """The gamma function; inf at 0, -inf at -0, NaN at negative whole numbers.

    Beyond 171.6 (float32: 35) it overflows, where ``gammaln`` does not.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The values, of x's shape.

    >>> sg.evaluate(sg.special.gamma([1.0, 5.0]))
    array([ 1., 24.])
    """
    return gammas.Gamma()(x)


@like(gamma)
def gammaln(x: Operand[AnyValue]) -> AnyValue:
    """log(abs(gamma(x))); inf at 0 and at negative whole numbers.

    Derivatives of every order are ``digamma`` and ``polygamma``. Next to a zero below 0 the error
    is one of the terms that cancel there, not of the result; the same goes for ``digamma``.

    >>> sg.evaluate(sg.special.gammaln([1.0, 100.0]))
    array([  0.        , 359.13420537])
    """
    return gammas.GammaLn()(x)


def multigammaln(a: Operand[AnyValue], d: int) -> AnyValue:
    """The logarithm of the multivariate gamma function of dimension ``d``; NaN where undefined.

    d * (d - 1) / 4 * log(pi) plus ``gammaln(a - k / 2)`` over k from 0 to d - 1, for
    a > (d - 1) / 2.

    Args:
        a: a value; integers become float64.
        d: a whole number known at build, from 1 on.

    Raises:
        ArgumentError: ``d`` is below 1, or above a million.

    >>> sg.evaluate(sg.special.multigammaln([2.5, 10.0], 2)).round(6)
    array([ 0.857048, 25.063526])
    """
    count = integer("multigammaln", "d", d)
    if not 1 <= count <= MOST_PARTS:
        raise ArgumentError(f"multigammaln: d={count} is not between 1 and {MOST_PARTS:,}")
    value = floating("multigammaln", as_value("multigammaln", a))
    parts = [gammas.GammaLn()(value - k / 2) for k in range(count)]
    total = sum(parts[1:], parts[0]) + count * (count - 1) / 4 * math.log(math.pi)
    return functions.where(value > (count - 1) / 2, total, math.nan)


@like(gamma)
def digamma(x: Operand[AnyValue]) -> AnyValue:
    """The derivative of ``gammaln``; -inf at 0, NaN at negative whole numbers.

    >>> sg.evaluate(sg.special.digamma([1.0, 2.0]))
    array([-0.57721566,  0.42278434])
    """
    return gammas.Digamma()(x)


def polygamma(n: int, x: Operand[AnyValue]) -> AnyValue:
    """The derivative of order ``n`` of ``digamma``; inf at 0 and at negative whole numbers.

    Args:
        n: a whole number known at build; 0 is ``digamma`` itself.
        x: a value; integers become float64.

    Raises:
        ArgumentError: ``n`` is negative, or above 170.

    >>> sg.evaluate(sg.special.polygamma(1, [1.0, 2.0])).round(6)
    array([1.644934, 0.644934])
    """
    order = integer("polygamma", "n", n)
    if not 0 <= order <= 170:
        raise ArgumentError(f"polygamma: n={order} is not from 0 to 170")
    return gammas.Polygamma(order)(x) if order else gammas.Digamma()(x)


def gammainc(a: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """The lower incomplete gamma function, regularized: 0 at x = 0, 1 at inf; NaN below 0.

    Derivatives go by x and by a.

    >>> sg.evaluate(sg.special.gammainc(1.0, [0.0, 1.0]))
    array([0.        , 0.63212056])
    """
    return incomplete.GammaInc()(a, x)


@like(gammainc)
def gammaincc(a: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """1 - gammainc(a, x), accurate where that vanishes.

    Derivatives go by x and by a.

    >>> sg.evaluate(sg.special.gammaincc(1.0, [0.0, 1.0]))
    array([1.        , 0.36787944])
    """
    return incomplete.GammaIncC()(a, x)


def beta(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """gamma(a) * gamma(b) / gamma(a + b) for positive a and b; NaN below 0.

    It is exp(betaln(a, b)), so that its relative error grows with the size of that.

    >>> sg.evaluate(sg.special.beta(2.0, 3.0))
    array(0.08333333)
    """
    return Exp()(incomplete.BetaLn()(a, b))


@like(beta)
def betaln(a: Operand[AnyValue], b: Operand[AnyValue]) -> AnyValue:
    """log(beta(a, b)) for positive a and b; inf where one is 0, NaN below.

    >>> sg.evaluate(sg.special.betaln(2.0, 3.0))
    array(-2.48490665)
    """
    return incomplete.BetaLn()(a, b)


def betainc(a: Operand[AnyValue], b: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """The incomplete beta function, regularized: 0 at x = 0, 1 at 1, NaN outside.

    There is a derivative by x, none by a and b. Beyond (a + 1) / (a + b + 2) it is 1 minus the
    other tail, so that its error is relative to 1 there. NaN where parameters are so large (from
    some millions on) that the fraction does not converge.

    Args:
        a, b: positive parameters, which broadcast with x.
        x: a value in [0, 1].

    >>> sg.evaluate(sg.special.betainc(2.0, 3.0, [0.0, 0.5, 1.0])).round(6)
    array([0.    , 0.6875, 1.    ])
    """
    return incomplete.BetaInc()(a, b, x)


def zeta(x: Operand[AnyValue], q: Operand[AnyValue] = 1.0) -> AnyValue:
    """Hurwitz' zeta function, the sum of (q + k) ** -x over k = 0, 1, ...; of q = 1 Riemann's.

    inf at x = 1 and at whole q from 0 down; NaN for x below 1 and other negative q. There is a
    derivative by q, none by x.

    Args:
        x: a value; integers become float64.
        q: a value that broadcasts with x.

    >>> sg.evaluate(sg.special.zeta([2.0, 4.0])).round(6)
    array([1.644934, 1.082323])
    """
    return gammas.Zeta()(x, q)

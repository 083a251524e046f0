"""Special functions in the names of ``scipy.special``, elementwise and broadcast.

Kernels compute them by blocks of their own, float32 and float64, within the errors of
``vecmath.blocks.ULP``; integers and bools become float64. SciPy's ufuncs of these names take values
of a graph, too. Public as ``sg.special``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import numpy as np

from staticgrad.errors.elsewhere import no_such_name
from staticgrad.errors.tracebacks import boundary
from staticgrad.families import like
from staticgrad.functions import nn
from staticgrad.functions.aggregate import sum as total
from staticgrad.functions.gamma_functions import (
    beta as beta,
    betainc as betainc,
    betaln as betaln,
    digamma as digamma,
    gamma as gamma,
    gammainc as gammainc,
    gammaincc as gammaincc,
    gammaln as gammaln,
    multigammaln as multigammaln,
    polygamma as polygamma,
    zeta as zeta,
)
from staticgrad.functions.normalization import constant_shift
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import SPECIAL, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops import (
    bessel,
    entropy,
    normal_distribution as normal,
)
from staticgrad.ops.bessel import i0 as i0
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import Axes, as_value, axes_of, floating
from staticgrad.ops.selection import where
from staticgrad.ops.special import erfc as erfc, xlogy as xlogy
from staticgrad.ops.transcendental import Sigmoid, erf as erf, exp, log

__all__ = [
    "beta",
    "betainc",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "lambertw",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "rel_entr",
    "softmax",
    "xlog1py",
    "xlogy",
    "zeta",
]


def __dir__() -> list[str]:
    return sorted(__all__)


_MINUS_ROOT_HALF: Final = -math.sqrt(0.5)


def erfcx(x: Operand[AnyValue]) -> AnyValue:
    """exp(x ** 2) * erfc(x), which falls as 1 / (x * sqrt(pi)); inf far below 0.

    >>> sg.evaluate(sg.special.erfcx([0.0, 10.0]))
    array([1.        , 0.05614099])
    """
    return normal.Erfcx()(x)


@like(erfcx)
def erfinv(x: Operand[AnyValue]) -> AnyValue:
    """Where ``erf`` is x; infinite at -1 and 1, NaN beyond.

    >>> sg.evaluate(sg.special.erfinv([0.0, 0.5]))
    array([0.        , 0.47693628])
    """
    return normal.ErfInv()(x)


@like(erfcx)
def erfcinv(x: Operand[AnyValue]) -> AnyValue:
    """Where ``erfc`` is x, accurate next to 0; inf at 0, -inf at 2, NaN beyond.

    >>> sg.evaluate(sg.special.erfcinv([1.0, 0.5]))
    array([-0.        ,  0.47693628])
    """
    value = floating("erfcinv", as_value("erfcinv", x))
    return normal.Ndtri()(value * 0.5) * _MINUS_ROOT_HALF


@like(erfcx)
def ndtr(x: Operand[AnyValue]) -> AnyValue:
    """The fraction of the standard normal distribution below x, accurate where it vanishes.

    >>> sg.evaluate(sg.special.ndtr([0.0, 1.0]))
    array([0.5       , 0.84134475])
    """
    return normal.Ndtr()(x)


@like(erfcx)
def log_ndtr(x: Operand[AnyValue]) -> AnyValue:
    """log(ndtr(x)), without underflow far below 0 and accurate far above.

    >>> sg.evaluate(sg.special.log_ndtr([0.0, -40.0]))
    array([-6.93147181e-01, -8.04608442e+02])
    """
    return normal.LogNdtr()(x)


def ndtri(p: Operand[AnyValue]) -> AnyValue:
    """Where ``ndtr`` is p; infinite at 0 and 1, NaN beyond. As exact as p is next to 1.

    Args:
        p: numbers between 0 and 1.

    >>> sg.evaluate(sg.special.ndtri([0.5, 0.975]))
    array([0.        , 1.95996398])
    """
    return normal.Ndtri()(p)


@like(erfcx)
def i1(x: Operand[AnyValue]) -> AnyValue:
    """The modified Bessel function of the first kind of order 1.

    At 0 derivatives of orders above the second are given as 0.

    >>> sg.evaluate(sg.special.i1([0.0, 1.0]))
    array([0.       , 0.5651591])
    """
    return bessel.I1()(x)


@like(erfcx)
def i0e(x: Operand[AnyValue]) -> AnyValue:
    """exp(-abs(x)) * i0(x), which does not overflow. Its derivative at 0 is given as 0.

    >>> sg.evaluate(sg.special.i0e([0.0, 1.0]))
    array([1.        , 0.46575961])
    """
    return bessel.I0e()(x)


@like(erfcx)
def i1e(x: Operand[AnyValue]) -> AnyValue:
    """exp(-abs(x)) * i1(x), which does not overflow.

    Its derivative at 0 is 1/2; those of higher orders are given as 0.

    >>> sg.evaluate(sg.special.i1e([0.0, 1.0]))
    array([0.        , 0.20791042])
    """
    return bessel.I1e()(x)


def xlog1py(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log1p(y), and 0 where x is 0 (unless y is NaN); its derivatives there are 0 too.

    Args:
        x, y: values that broadcast; integers become float64.

    >>> sg.evaluate(sg.special.xlog1py([0.0, 2.0], [-1.0, 1.0])).round(4)
    array([0.    , 1.3863])
    """
    return entropy.XLog1PY()(x, y)


@like(ndtri)
def logit(p: Operand[AnyValue]) -> AnyValue:
    """log(p / (1 - p)), the inverse of ``expit``; infinite at 0 and 1, NaN beyond.

    >>> sg.evaluate(sg.special.logit([0.5, 0.9]))
    array([0.        , 2.19722458])
    """
    return entropy.Logit()(p)


def expit(x: Operand[AnyValue]) -> AnyValue:
    """1 / (1 + exp(-x)), right at both ends; ``sg.sigmoid``.

    Args:
        x: a value; integers and bools become float64.

    >>> sg.evaluate(sg.special.expit([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return Sigmoid()(x)


@like(erfcx)
def entr(x: Operand[AnyValue]) -> AnyValue:
    """-x * log(x): 0 at 0, -inf below.

    >>> sg.evaluate(sg.special.entr([0.0, 1.0]))
    array([ 0., -0.])
    """
    return entropy.Entr()(x)


@like(xlog1py)
def rel_entr(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log(x / y) for positive x and y; 0 at x = 0 for y >= 0, inf elsewhere.

    >>> sg.evaluate(sg.special.rel_entr([0.0, 1.0, -1.0], 2.0)).round(4)
    array([ 0.    , -0.6931,     inf])
    """
    return entropy.RelEntr()(x, y)


def kl_div(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * log(x / y) - x + y for positive x and y; y at x = 0 for y >= 0, inf elsewhere.

    >>> sg.evaluate(sg.special.kl_div(0.5, [0.5, 0.25]))
    array([0.        , 0.09657359])
    """
    return entropy.KlDiv()(x, y)


@like(erfcx)
def lambertw(x: Operand[AnyValue]) -> AnyValue:
    """The real solution w >= -1 of w * exp(w) = x: the principal branch; NaN below -1/e.

    SciPy's gives complex numbers, and other branches.

    >>> sg.evaluate(sg.special.lambertw([0.0, 1.0]))
    array([0.        , 0.56714329])
    """
    return entropy.LambertW()(x)


def logsumexp(
    a: Operand[AnyValue],
    axis: Axes = None,
    b: Operand[AnyValue] | None = None,
    keepdims: bool = False,
) -> AnyValue:
    """log(sum(b * exp(a))) over ``axis``, without overflow; NaN where that sum is negative.

    -inf where all elements are -inf, have the factor 0, or there are none.

    Args:
        a: a value; integers and bools become float64.
        axis: one axis or several; None, the default here as in SciPy, for all. ``sg.nn.logsumexp``
            takes the last.
        b: factors, which broadcast with ``a``; 1 by default.
        keepdims: keep the reduced axes, with size 1.

    Returns:
        A floating value without these axes.

    >>> round(float(sg.evaluate(sg.special.logsumexp([1000.0, 1000.0]))), 4)
    1000.6931
    >>> round(float(sg.evaluate(sg.special.logsumexp([0.0, 0.0], b=[3.0, -1.0]))), 4)
    0.6931
    """
    if b is None:
        return nn.logsumexp(a, axis, keepdims=keepdims)
    logs = where(np.equal(cast(Any, b), 0), -math.inf, a)
    axes = axes_of("logsumexp", axis, logs)
    shift = constant_shift(logs, axes)
    out = log(total(exp(logs - shift) * b, axes, keepdims=True)) + shift
    return out if keepdims else functions.squeeze(out, axes)


def softmax(x: Operand[AnyValue], axis: Axes = None) -> AnyValue:
    """exp(x) / sum(exp(x)) over ``axis``, without overflow.

    Args:
        x: a value; integers and bools become float64.
        axis: one axis or several; None, the default here as in SciPy, for all. ``sg.nn.softmax``
            takes the last.

    Returns:
        A floating value of its shape; it adds up to 1 over ``axis``.

    >>> sg.evaluate(sg.special.softmax([[0.0, 0.0], [0.0, 0.0]]))
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    return nn.softmax(x, axis)


@like(softmax)
def log_softmax(x: Operand[AnyValue], axis: Axes = None) -> AnyValue:
    """The logarithm of ``softmax``: x less its ``logsumexp`` over ``axis``, without overflow.

    >>> sg.evaluate(sg.special.log_softmax([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return nn.log_softmax(x, axis)


publish(globals(), __name__, __all__)
SPECIAL.update({name: globals()[name] for name in __all__}, psi=globals()["digamma"])

if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.special", name, __all__)

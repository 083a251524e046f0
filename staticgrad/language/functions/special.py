"""Special functions with the names of ``scipy.special``, elementwise and broadcast.

Kernels compute the functions of gamma, beta and error functions, i0 and i1 by blocks of their own,
in float32 and float64, within the errors of ``vecmath.blocks.ULP``. The others (``bessel.py``,
``integrals.py``, ``polynomials.py``) are SciPy's: a step calls them in float64, and rounds the
results of float32 once. Beside mpmath, values and derivatives have relative errors below 1e-13
where tests compare them (``tests/ops/test_special_functions.py``), but near zeros of the result,
and for ``hyperu``: 1e-10, its derivative 1e-8. They are not exported to files. Orders, degrees and
parameters carry no gradient: asking for it is an error.

Integers and bools become float64. SciPy's ufuncs of these names take values of a graph, too. Public
as ``sg.special``.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from staticgrad.language.functions import nn
from staticgrad.language.functions.aggregate import sum as total
from staticgrad.language.functions.bessel import (
    airy as airy,
    iv as iv,
    ive as ive,
    j0 as j0,
    j1 as j1,
    jv as jn,
    jv as jv,
    k0 as k0,
    k0e as k0e,
    k1 as k1,
    k1e as k1e,
    kv as kv,
    kve as kve,
    spherical_in as spherical_in,
    spherical_jn as spherical_jn,
    spherical_kn as spherical_kn,
    spherical_yn as spherical_yn,
    struve as struve,
    y0 as y0,
    y1 as y1,
    yn as yn,
    yv as yv,
)
from staticgrad.language.functions.elementwise import sinc as sinc
from staticgrad.language.functions.integrals import (
    agm as agm,
    binom as binom,
    boxcox as boxcox,
    boxcox1p as boxcox1p,
    comb as comb,
    cosm1 as cosm1,
    dawsn as dawsn,
    diric as diric,
    ellipe as ellipe,
    ellipeinc as ellipeinc,
    ellipj as ellipj,
    ellipk as ellipk,
    ellipkinc as ellipkinc,
    ellipkm1 as ellipkm1,
    erfcinv as erfcinv,
    erfi as erfi,
    exp1 as exp1,
    exp10 as exp10,
    expi as expi,
    expn as expn,
    exprel as exprel,
    factorial as factorial,
    factorial2 as factorial2,
    fresnel as fresnel,
    huber as huber,
    hyp0f1 as hyp0f1,
    hyp1f1 as hyp1f1,
    hyp2f1 as hyp2f1,
    hyperu as hyperu,
    inv_boxcox as inv_boxcox,
    inv_boxcox1p as inv_boxcox1p,
    lambertw as lambertw,
    loggamma as loggamma,
    ndtri_exp as ndtri_exp,
    owens_t as owens_t,
    perm as perm,
    poch as poch,
    pseudo_huber as pseudo_huber,
    rgamma as rgamma,
    shichi as shichi,
    sici as sici,
    spence as spence,
    voigt_profile as voigt_profile,
    wofz as wofz,
    wrightomega as wrightomega,
)
from staticgrad.language.functions.nn import softplus as softplus
from staticgrad.language.functions.normalization import constant_shift, log_of_sum
from staticgrad.language.functions.polynomials import (
    eval_chebyt as eval_chebyt,
    eval_chebyu as eval_chebyu,
    eval_gegenbauer as eval_gegenbauer,
    eval_genlaguerre as eval_genlaguerre,
    eval_hermite as eval_hermite,
    eval_hermitenorm as eval_hermitenorm,
    eval_jacobi as eval_jacobi,
    eval_laguerre as eval_laguerre,
    eval_legendre as eval_legendre,
    lpmv as lpmv,
)
from staticgrad.language.functions.quantiles import (
    betaincc as betaincc,
    betainccinv as betainccinv,
    betaincinv as betaincinv,
    gammainccinv as gammainccinv,
    gammaincinv as gammaincinv,
    multigammaln as multigammaln,
    stdtr as stdtr,
    stdtrit as stdtrit,
)
from staticgrad.language.functions.rounding import rounded_once
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.execution import present
from staticgrad.language.ir.functional import SPECIAL
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.movement import squeeze
from staticgrad.language.ops.operands import Axes, Integer, axes_of, floating
from staticgrad.language.ops.selection import where
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
    digamma as digamma,
    digamma as psi,
    entr as entr,
    erfcx as erfcx,
    erfinv as erfinv,
    gamma as gamma,
    gammaln as gammaln,
    i0 as i0,
    i0e as i0e,
    i1 as i1,
    i1e as i1e,
    kl_div as kl_div,
    log_ndtr as log_ndtr,
    ndtr as ndtr,
    rel_entr as rel_entr,
    xlog1py as xlog1py,
)
from staticgrad.language.ops.transcendental import (
    cbrt as cbrt,
    erf as erf,
    erfc as erfc,
    exp,
    exp2 as exp2,
    expit as expit,
    expm1 as expm1,
    log1p as log1p,
    xlogy as xlogy,
)
from staticgrad.support.docstrings import like
from staticgrad.support.errors import ArgumentError

__all__ = [
    "agm", "airy", "beta", "betainc", "betaincc", "betainccinv", "betaincinv", "betaln",
    "binom", "boxcox", "boxcox1p", "cbrt", "comb", "cosm1", "dawsn", "digamma", "diric",
    "ellipe", "ellipeinc", "ellipj", "ellipk", "ellipkinc", "ellipkm1", "entr", "erf", "erfc",
    "erfcinv", "erfcx", "erfi", "erfinv", "eval_chebyt", "eval_chebyu", "eval_gegenbauer",
    "eval_genlaguerre", "eval_hermite", "eval_hermitenorm", "eval_jacobi", "eval_laguerre",
    "eval_legendre", "exp1", "exp10", "exp2", "expi", "expit", "expm1", "expn", "exprel",
    "factorial", "factorial2", "fresnel", "gamma", "gammainc", "gammaincc", "gammainccinv",
    "gammaincinv", "gammaln", "huber", "hyp0f1", "hyp1f1", "hyp2f1", "hyperu", "i0", "i0e",
    "i1", "i1e", "inv_boxcox", "inv_boxcox1p", "iv", "ive", "j0", "j1", "jn", "jv", "k0", "k0e",
    "k1", "k1e", "kl_div", "kv", "kve", "lambertw", "log1p", "log_expit", "log_ndtr",
    "log_softmax", "loggamma", "logit", "logsumexp", "lpmv", "multigammaln", "ndtr", "ndtri",
    "ndtri_exp", "owens_t", "perm", "poch", "polygamma", "pseudo_huber", "psi", "rel_entr",
    "rgamma", "shichi", "sici", "sinc", "softmax", "softplus", "spence", "spherical_in",
    "spherical_jn", "spherical_kn", "spherical_yn", "stdtr", "stdtrit", "struve",
    "voigt_profile", "wofz", "wrightomega", "xlog1py", "xlogy", "y0", "y1", "yn", "yv", "zeta",
]  # fmt: skip


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
    axes = axes_of(axis, logs)
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


namespace(globals(), operands=present)
SPECIAL.update({name: globals()[name] for name in __all__})

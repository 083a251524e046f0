"""Special functions with the names of ``scipy.special``, elementwise and broadcast.

Kernels compute the functions of gamma, beta and error functions, i0 and i1 by blocks of their own,
in float32 and float64, within the errors of ``vecmath.blocks.ULP``. The others (``bessel.py``,
``integrals.py``, ``polynomials.py``, ``waves.py`` and others) are SciPy's: a step calls them in
float64, and rounds the results of float32 once; those of ``cumulative.py`` are of both kinds, and
those of ``quadratures.py`` and ``special_constants.py`` take numbers alone. The page on accuracy
states the errors of values and derivatives. SciPy's are not exported to files. Orders, degrees and
parameters mostly carry no gradient: asking for it is an error.

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
    airye as airye,
    h1vp as h1vp,
    h2vp as h2vp,
    hankel1 as hankel1,
    hankel1e as hankel1e,
    hankel2 as hankel2,
    hankel2e as hankel2e,
    iv as iv,
    ive as ive,
    ivp as ivp,
    j0 as j0,
    j1 as j1,
    jv as jn,
    jv as jv,
    jve as jve,
    jvp as jvp,
    k0 as k0,
    k0e as k0e,
    k1 as k1,
    k1e as k1e,
    kn as kn,
    kv as kv,
    kve as kve,
    kvp as kvp,
    spherical_in as spherical_in,
    spherical_jn as spherical_jn,
    spherical_kn as spherical_kn,
    spherical_yn as spherical_yn,
    struve as struve,
    y0 as y0,
    y1 as y1,
    yn as yn,
    yv as yv,
    yve as yve,
    yvp as yvp,
)
from staticgrad.language.functions.combinatorics import (
    binom as binom,
    comb as comb,
    factorial as factorial,
    factorial2 as factorial2,
    factorialk as factorialk,
    perm as perm,
    poch as poch,
)
from staticgrad.language.functions.cumulative import (
    bdtr as bdtr,
    bdtrc as bdtrc,
    bdtri as bdtri,
    bdtrik as bdtrik,
    bdtrin as bdtrin,
    btdtria as btdtria,
    btdtrib as btdtrib,
    chdtr as chdtr,
    chdtrc as chdtrc,
    chdtri as chdtri,
    chdtriv as chdtriv,
    fdtr as fdtr,
    fdtrc as fdtrc,
    fdtri as fdtri,
    fdtridfd as fdtridfd,
    gdtr as gdtr,
    gdtrc as gdtrc,
    gdtria as gdtria,
    gdtrib as gdtrib,
    gdtrix as gdtrix,
    kolmogi as kolmogi,
    kolmogorov as kolmogorov,
    nbdtr as nbdtr,
    nbdtrc as nbdtrc,
    nbdtri as nbdtri,
    nbdtrik as nbdtrik,
    nbdtrin as nbdtrin,
    nrdtrimn as nrdtrimn,
    nrdtrisd as nrdtrisd,
    pdtr as pdtr,
    pdtrc as pdtrc,
    pdtri as pdtri,
    pdtrik as pdtrik,
    smirnov as smirnov,
    smirnovi as smirnovi,
    stdtridf as stdtridf,
    tklmbda as tklmbda,
)
from staticgrad.language.functions.elementwise import sinc as sinc
from staticgrad.language.functions.elliptic import (
    agm as agm,
    ellipe as ellipe,
    ellipeinc as ellipeinc,
    ellipj as ellipj,
    ellipk as ellipk,
    ellipkinc as ellipkinc,
    ellipkm1 as ellipkm1,
    elliprc as elliprc,
    elliprd as elliprd,
    elliprf as elliprf,
    elliprg as elliprg,
    elliprj as elliprj,
)
from staticgrad.language.functions.integrals import (
    boxcox as boxcox,
    boxcox1p as boxcox1p,
    cosdg as cosdg,
    cosm1 as cosm1,
    cotdg as cotdg,
    dawsn as dawsn,
    diric as diric,
    erfcinv as erfcinv,
    erfi as erfi,
    exp1 as exp1,
    exp10 as exp10,
    expi as expi,
    expn as expn,
    exprel as exprel,
    fresnel as fresnel,
    gammasgn as gammasgn,
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
    powm1 as powm1,
    pseudo_huber as pseudo_huber,
    radian as radian,
    rgamma as rgamma,
    shichi as shichi,
    sici as sici,
    sindg as sindg,
    spence as spence,
    tandg as tandg,
    voigt_profile as voigt_profile,
    wofz as wofz,
    wrightomega as wrightomega,
    zetac as zetac,
)
from staticgrad.language.functions.kelvin import (
    bei as bei,
    beip as beip,
    ber as ber,
    berp as berp,
    besselpoly as besselpoly,
    it2i0k0 as it2i0k0,
    it2j0y0 as it2j0y0,
    it2struve0 as it2struve0,
    itairy as itairy,
    iti0k0 as iti0k0,
    itj0y0 as itj0y0,
    itmodstruve0 as itmodstruve0,
    itstruve0 as itstruve0,
    kei as kei,
    keip as keip,
    kelvin as kelvin,
    ker as ker,
    kerp as kerp,
    log_wright_bessel as log_wright_bessel,
    modstruve as modstruve,
    wright_bessel as wright_bessel,
)
from staticgrad.language.functions.nn import softplus as softplus
from staticgrad.language.functions.noncentral import (
    chndtr as chndtr,
    chndtrinc as chndtrinc,
    chndtrix as chndtrix,
    ncfdtr as ncfdtr,
    ncfdtri as ncfdtri,
    ncfdtrinc as ncfdtrinc,
    nctdtr as nctdtr,
    nctdtrinc as nctdtrinc,
    nctdtrit as nctdtrit,
)
from staticgrad.language.functions.normalization import constant_shift, log_of_sum
from staticgrad.language.functions.polynomials import (
    assoc_laguerre as assoc_laguerre,
    assoc_legendre_p as assoc_legendre_p,
    eval_chebyc as eval_chebyc,
    eval_chebys as eval_chebys,
    eval_chebyt as eval_chebyt,
    eval_chebyu as eval_chebyu,
    eval_gegenbauer as eval_gegenbauer,
    eval_genlaguerre as eval_genlaguerre,
    eval_hermite as eval_hermite,
    eval_hermitenorm as eval_hermitenorm,
    eval_jacobi as eval_jacobi,
    eval_laguerre as eval_laguerre,
    eval_legendre as eval_legendre,
    eval_sh_chebyt as eval_sh_chebyt,
    eval_sh_chebyu as eval_sh_chebyu,
    eval_sh_jacobi as eval_sh_jacobi,
    eval_sh_legendre as eval_sh_legendre,
    legendre_p as legendre_p,
    lpmv as lpmv,
    sph_harm_y as sph_harm_y,
    sph_legendre_p as sph_legendre_p,
)
from staticgrad.language.functions.quadratures import (
    c_roots as c_roots,
    cg_roots as cg_roots,
    h_roots as h_roots,
    he_roots as he_roots,
    j_roots as j_roots,
    js_roots as js_roots,
    l_roots as l_roots,
    la_roots as la_roots,
    p_roots as p_roots,
    ps_roots as ps_roots,
    roots_chebyc as roots_chebyc,
    roots_chebys as roots_chebys,
    roots_chebyt as roots_chebyt,
    roots_chebyu as roots_chebyu,
    roots_gegenbauer as roots_gegenbauer,
    roots_genlaguerre as roots_genlaguerre,
    roots_hermite as roots_hermite,
    roots_hermitenorm as roots_hermitenorm,
    roots_jacobi as roots_jacobi,
    roots_laguerre as roots_laguerre,
    roots_legendre as roots_legendre,
    roots_sh_chebyt as roots_sh_chebyt,
    roots_sh_chebyu as roots_sh_chebyu,
    roots_sh_jacobi as roots_sh_jacobi,
    roots_sh_legendre as roots_sh_legendre,
    s_roots as s_roots,
    t_roots as t_roots,
    ts_roots as ts_roots,
    u_roots as u_roots,
    us_roots as us_roots,
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
from staticgrad.language.functions.special_constants import (
    ai_zeros as ai_zeros,
    bei_zeros as bei_zeros,
    beip_zeros as beip_zeros,
    ber_zeros as ber_zeros,
    bernoulli as bernoulli,
    berp_zeros as berp_zeros,
    bi_zeros as bi_zeros,
    erf_zeros as erf_zeros,
    euler as euler,
    fresnel_zeros as fresnel_zeros,
    fresnelc_zeros as fresnelc_zeros,
    fresnels_zeros as fresnels_zeros,
    jn_zeros as jn_zeros,
    jnjnp_zeros as jnjnp_zeros,
    jnp_zeros as jnp_zeros,
    jnyn_zeros as jnyn_zeros,
    kei_zeros as kei_zeros,
    keip_zeros as keip_zeros,
    kelvin_zeros as kelvin_zeros,
    ker_zeros as ker_zeros,
    kerp_zeros as kerp_zeros,
    mathieu_even_coef as mathieu_even_coef,
    mathieu_odd_coef as mathieu_odd_coef,
    obl_cv_seq as obl_cv_seq,
    pro_cv_seq as pro_cv_seq,
    stirling2 as stirling2,
    y0_zeros as y0_zeros,
    y1_zeros as y1_zeros,
    y1p_zeros as y1p_zeros,
    yn_zeros as yn_zeros,
    ynp_zeros as ynp_zeros,
)
from staticgrad.language.functions.waves import (
    mathieu_a as mathieu_a,
    mathieu_b as mathieu_b,
    mathieu_cem as mathieu_cem,
    mathieu_modcem1 as mathieu_modcem1,
    mathieu_modcem2 as mathieu_modcem2,
    mathieu_modsem1 as mathieu_modsem1,
    mathieu_modsem2 as mathieu_modsem2,
    mathieu_sem as mathieu_sem,
    modfresnelm as modfresnelm,
    modfresnelp as modfresnelp,
    obl_ang1 as obl_ang1,
    obl_ang1_cv as obl_ang1_cv,
    obl_cv as obl_cv,
    obl_rad1 as obl_rad1,
    obl_rad1_cv as obl_rad1_cv,
    obl_rad2 as obl_rad2,
    obl_rad2_cv as obl_rad2_cv,
    pbdv as pbdv,
    pbvv as pbvv,
    pbwa as pbwa,
    pro_ang1 as pro_ang1,
    pro_ang1_cv as pro_ang1_cv,
    pro_cv as pro_cv,
    pro_rad1 as pro_rad1,
    pro_rad1_cv as pro_rad1_cv,
    pro_rad2 as pro_rad2,
    pro_rad2_cv as pro_rad2_cv,
)
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.execution import present
from staticgrad.language.ir.functional import SPECIAL
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.movement import squeeze
from staticgrad.language.ops.operands import Axes, Integer, floating, reduction_axes
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
    "agm", "ai_zeros", "airy", "airye", "assoc_laguerre", "assoc_legendre_p", "bdtr", "bdtrc",
    "bdtri", "bdtrik", "bdtrin", "bei", "bei_zeros", "beip", "beip_zeros", "ber", "ber_zeros",
    "bernoulli", "berp", "berp_zeros", "besselpoly", "beta", "betainc", "betaincc",
    "betainccinv", "betaincinv", "betaln", "bi_zeros", "binom", "boxcox", "boxcox1p", "btdtria",
    "btdtrib", "c_roots", "cbrt", "cg_roots", "chdtr", "chdtrc", "chdtri", "chdtriv", "chndtr",
    "chndtrinc", "chndtrix", "comb", "cosdg", "cosm1", "cotdg", "dawsn", "digamma", "diric",
    "ellipe", "ellipeinc", "ellipj", "ellipk", "ellipkinc", "ellipkm1",
    "elliprc", "elliprd", "elliprf", "elliprg", "elliprj", "entr", "erf", "erf_zeros", "erfc",
    "erfcinv", "erfcx", "erfi", "erfinv", "euler", "eval_chebyc", "eval_chebys", "eval_chebyt",
    "eval_chebyu", "eval_gegenbauer", "eval_genlaguerre", "eval_hermite", "eval_hermitenorm",
    "eval_jacobi", "eval_laguerre", "eval_legendre", "eval_sh_chebyt", "eval_sh_chebyu",
    "eval_sh_jacobi", "eval_sh_legendre", "exp1", "exp10", "exp2", "expi", "expit", "expm1",
    "expn", "exprel", "factorial", "factorial2", "factorialk", "fdtr", "fdtrc", "fdtri",
    "fdtridfd", "fresnel", "fresnel_zeros", "fresnelc_zeros", "fresnels_zeros", "gamma",
    "gammainc", "gammaincc", "gammainccinv", "gammaincinv", "gammaln", "gammasgn", "gdtr",
    "gdtrc", "gdtria", "gdtrib", "gdtrix", "h1vp", "h2vp", "h_roots", "hankel1", "hankel1e",
    "hankel2", "hankel2e", "he_roots", "huber", "hyp0f1", "hyp1f1", "hyp2f1", "hyperu", "i0",
    "i0e", "i1", "i1e", "inv_boxcox", "inv_boxcox1p", "it2i0k0", "it2j0y0", "it2struve0",
    "itairy", "iti0k0", "itj0y0", "itmodstruve0", "itstruve0", "iv", "ive", "ivp", "j0", "j1",
    "j_roots", "jn", "jn_zeros", "jnjnp_zeros", "jnp_zeros", "jnyn_zeros", "js_roots", "jv",
    "jve", "jvp", "k0", "k0e", "k1", "k1e", "kei", "kei_zeros", "keip", "keip_zeros", "kelvin",
    "kelvin_zeros", "ker", "ker_zeros", "kerp", "kerp_zeros", "kl_div", "kn", "kolmogi",
    "kolmogorov", "kv", "kve", "kvp", "l_roots", "la_roots", "lambertw", "legendre_p", "log1p",
    "log_expit", "log_ndtr", "log_softmax", "log_wright_bessel", "loggamma", "logit",
    "logsumexp", "lpmv", "mathieu_a", "mathieu_b", "mathieu_cem", "mathieu_even_coef",
    "mathieu_modcem1", "mathieu_modcem2", "mathieu_modsem1", "mathieu_modsem2",
    "mathieu_odd_coef", "mathieu_sem", "modfresnelm", "modfresnelp", "modstruve",
    "multigammaln", "nbdtr", "nbdtrc", "nbdtri", "nbdtrik", "nbdtrin", "ncfdtr", "ncfdtri",
    "ncfdtrinc", "nctdtr", "nctdtrinc", "nctdtrit", "ndtr", "ndtri", "ndtri_exp", "nrdtrimn",
    "nrdtrisd", "obl_ang1", "obl_ang1_cv", "obl_cv", "obl_cv_seq", "obl_rad1", "obl_rad1_cv",
    "obl_rad2", "obl_rad2_cv", "owens_t", "p_roots", "pbdv", "pbvv", "pbwa", "pdtr", "pdtrc",
    "pdtri", "pdtrik", "perm", "poch", "polygamma", "powm1", "pro_ang1", "pro_ang1_cv",
    "pro_cv", "pro_cv_seq", "pro_rad1", "pro_rad1_cv", "pro_rad2", "pro_rad2_cv", "ps_roots",
    "pseudo_huber", "psi", "radian", "rel_entr", "rgamma", "roots_chebyc", "roots_chebys",
    "roots_chebyt", "roots_chebyu", "roots_gegenbauer", "roots_genlaguerre", "roots_hermite",
    "roots_hermitenorm", "roots_jacobi", "roots_laguerre", "roots_legendre", "roots_sh_chebyt",
    "roots_sh_chebyu", "roots_sh_jacobi", "roots_sh_legendre", "s_roots", "shichi", "sici",
    "sinc", "sindg", "smirnov", "smirnovi", "softmax", "softplus", "spence", "sph_harm_y",
    "sph_legendre_p", "spherical_in", "spherical_jn", "spherical_kn", "spherical_yn", "stdtr",
    "stdtridf", "stdtrit", "stirling2", "struve", "t_roots", "tandg", "tklmbda", "ts_roots",
    "u_roots", "us_roots", "voigt_profile", "wofz", "wright_bessel", "wrightomega", "xlog1py",
    "xlogy", "y0", "y0_zeros", "y1", "y1_zeros", "y1p_zeros", "yn", "yn_zeros", "ynp_zeros",
    "yv", "yve", "yvp", "zeta", "zetac",
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


namespace(globals(), operands=present)
SPECIAL.update({name: globals()[name] for name in __all__})

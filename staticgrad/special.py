"""``sg.special``: the module ``staticgrad.language.functions.special``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import special as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.special import (
        agm as agm, airy as airy, beta as beta, betainc as betainc, betaincc as betaincc,
        betainccinv as betainccinv, betaincinv as betaincinv, betaln as betaln, binom as binom,
        boxcox as boxcox, boxcox1p as boxcox1p, cbrt as cbrt, comb as comb, cosm1 as cosm1, dawsn as
        dawsn, digamma as digamma, diric as diric, ellipe as ellipe, ellipeinc as ellipeinc, ellipj
        as ellipj, ellipk as ellipk, ellipkinc as ellipkinc, ellipkm1 as ellipkm1, entr as entr, erf
        as erf, erfc as erfc, erfcinv as erfcinv, erfcx as erfcx, erfi as erfi, erfinv as erfinv,
        eval_chebyt as eval_chebyt, eval_chebyu as eval_chebyu, eval_gegenbauer as eval_gegenbauer,
        eval_genlaguerre as eval_genlaguerre, eval_hermite as eval_hermite, eval_hermitenorm as
        eval_hermitenorm, eval_jacobi as eval_jacobi, eval_laguerre as eval_laguerre, eval_legendre
        as eval_legendre, exp1 as exp1, exp10 as exp10, exp2 as exp2, expi as expi, expit as expit,
        expm1 as expm1, expn as expn, exprel as exprel, factorial as factorial, factorial2 as
        factorial2, fresnel as fresnel, gamma as gamma, gammainc as gammainc, gammaincc as
        gammaincc, gammainccinv as gammainccinv, gammaincinv as gammaincinv, gammaln as gammaln,
        huber as huber, hyp0f1 as hyp0f1, hyp1f1 as hyp1f1, hyp2f1 as hyp2f1, hyperu as hyperu, i0
        as i0, i0e as i0e, i1 as i1, i1e as i1e, inv_boxcox as inv_boxcox, inv_boxcox1p as
        inv_boxcox1p, iv as iv, ive as ive, j0 as j0, j1 as j1, jn as jn, jv as jv, k0 as k0, k0e as
        k0e, k1 as k1, k1e as k1e, kl_div as kl_div, kv as kv, kve as kve, lambertw as lambertw,
        log1p as log1p, log_expit as log_expit, log_ndtr as log_ndtr, log_softmax as log_softmax,
        loggamma as loggamma, logit as logit, logsumexp as logsumexp, lpmv as lpmv, multigammaln as
        multigammaln, ndtr as ndtr, ndtri as ndtri, ndtri_exp as ndtri_exp, owens_t as owens_t, perm
        as perm, poch as poch, polygamma as polygamma, pseudo_huber as pseudo_huber, psi as psi,
        rel_entr as rel_entr, rgamma as rgamma, shichi as shichi, sici as sici, sinc as sinc,
        softmax as softmax, softplus as softplus, spence as spence, spherical_in as spherical_in,
        spherical_jn as spherical_jn, spherical_kn as spherical_kn, spherical_yn as spherical_yn,
        stdtr as stdtr, stdtrit as stdtrit, struve as struve, voigt_profile as voigt_profile, wofz
        as wofz, wrightomega as wrightomega, xlog1py as xlog1py, xlogy as xlogy, y0 as y0, y1 as y1,
        yn as yn, yv as yv, zeta as zeta
    )

sys.modules[__name__] = _module

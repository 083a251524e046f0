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
        agm as agm, ai_zeros as ai_zeros, airy as airy, airye as airye, assoc_laguerre as
        assoc_laguerre, assoc_legendre_p as assoc_legendre_p, bdtr as bdtr, bdtrc as bdtrc, bdtri as
        bdtri, bdtrik as bdtrik, bdtrin as bdtrin, bei as bei, bei_zeros as bei_zeros, beip as beip,
        beip_zeros as beip_zeros, ber as ber, ber_zeros as ber_zeros, bernoulli as bernoulli, berp
        as berp, berp_zeros as berp_zeros, besselpoly as besselpoly, beta as beta, betainc as
        betainc, betaincc as betaincc, betainccinv as betainccinv, betaincinv as betaincinv, betaln
        as betaln, bi_zeros as bi_zeros, binom as binom, boxcox as boxcox, boxcox1p as boxcox1p,
        btdtria as btdtria, btdtrib as btdtrib, c_roots as c_roots, cbrt as cbrt, cg_roots as
        cg_roots, chdtr as chdtr, chdtrc as chdtrc, chdtri as chdtri, chdtriv as chdtriv, chndtr as
        chndtr, chndtrinc as chndtrinc, chndtrix as chndtrix, comb as comb, cosdg as cosdg, cosm1 as
        cosm1, cotdg as cotdg, dawsn as dawsn, digamma as digamma, diric as diric, ellipe as ellipe,
        ellipeinc as ellipeinc, ellipj as ellipj, ellipk as ellipk, ellipkinc as ellipkinc, ellipkm1
        as ellipkm1, elliprc as elliprc, elliprd as elliprd, elliprf as elliprf, elliprg as elliprg,
        elliprj as elliprj, entr as entr, erf as erf, erf_zeros as erf_zeros, erfc as erfc, erfcinv
        as erfcinv, erfcx as erfcx, erfi as erfi, erfinv as erfinv, euler as euler, eval_chebyc as
        eval_chebyc, eval_chebys as eval_chebys, eval_chebyt as eval_chebyt, eval_chebyu as
        eval_chebyu, eval_gegenbauer as eval_gegenbauer, eval_genlaguerre as eval_genlaguerre,
        eval_hermite as eval_hermite, eval_hermitenorm as eval_hermitenorm, eval_jacobi as
        eval_jacobi, eval_laguerre as eval_laguerre, eval_legendre as eval_legendre, eval_sh_chebyt
        as eval_sh_chebyt, eval_sh_chebyu as eval_sh_chebyu, eval_sh_jacobi as eval_sh_jacobi,
        eval_sh_legendre as eval_sh_legendre, exp1 as exp1, exp10 as exp10, exp2 as exp2, expi as
        expi, expit as expit, expm1 as expm1, expn as expn, exprel as exprel, factorial as
        factorial, factorial2 as factorial2, factorialk as factorialk, fdtr as fdtr, fdtrc as fdtrc,
        fdtri as fdtri, fdtridfd as fdtridfd, fresnel as fresnel, fresnel_zeros as fresnel_zeros,
        fresnelc_zeros as fresnelc_zeros, fresnels_zeros as fresnels_zeros, gamma as gamma, gammainc
        as gammainc, gammaincc as gammaincc, gammainccinv as gammainccinv, gammaincinv as
        gammaincinv, gammaln as gammaln, gammasgn as gammasgn, gdtr as gdtr, gdtrc as gdtrc, gdtria
        as gdtria, gdtrib as gdtrib, gdtrix as gdtrix, h1vp as h1vp, h2vp as h2vp, h_roots as
        h_roots, hankel1 as hankel1, hankel1e as hankel1e, hankel2 as hankel2, hankel2e as hankel2e,
        he_roots as he_roots, huber as huber, hyp0f1 as hyp0f1, hyp1f1 as hyp1f1, hyp2f1 as hyp2f1,
        hyperu as hyperu, i0 as i0, i0e as i0e, i1 as i1, i1e as i1e, inv_boxcox as inv_boxcox,
        inv_boxcox1p as inv_boxcox1p, it2i0k0 as it2i0k0, it2j0y0 as it2j0y0, it2struve0 as
        it2struve0, itairy as itairy, iti0k0 as iti0k0, itj0y0 as itj0y0, itmodstruve0 as
        itmodstruve0, itstruve0 as itstruve0, iv as iv, ive as ive, ivp as ivp, j0 as j0, j1 as j1,
        j_roots as j_roots, jn as jn, jn_zeros as jn_zeros, jnjnp_zeros as jnjnp_zeros, jnp_zeros as
        jnp_zeros, jnyn_zeros as jnyn_zeros, js_roots as js_roots, jv as jv, jve as jve, jvp as jvp,
        k0 as k0, k0e as k0e, k1 as k1, k1e as k1e, kei as kei, kei_zeros as kei_zeros, keip as
        keip, keip_zeros as keip_zeros, kelvin as kelvin, kelvin_zeros as kelvin_zeros, ker as ker,
        ker_zeros as ker_zeros, kerp as kerp, kerp_zeros as kerp_zeros, kl_div as kl_div, kn as kn,
        kolmogi as kolmogi, kolmogorov as kolmogorov, kv as kv, kve as kve, kvp as kvp, l_roots as
        l_roots, la_roots as la_roots, lambertw as lambertw, legendre_p as legendre_p, log1p as
        log1p, log_expit as log_expit, log_ndtr as log_ndtr, log_softmax as log_softmax,
        log_wright_bessel as log_wright_bessel, loggamma as loggamma, logit as logit, logsumexp as
        logsumexp, lpmv as lpmv, mathieu_a as mathieu_a, mathieu_b as mathieu_b, mathieu_cem as
        mathieu_cem, mathieu_even_coef as mathieu_even_coef, mathieu_modcem1 as mathieu_modcem1,
        mathieu_modcem2 as mathieu_modcem2, mathieu_modsem1 as mathieu_modsem1, mathieu_modsem2 as
        mathieu_modsem2, mathieu_odd_coef as mathieu_odd_coef, mathieu_sem as mathieu_sem,
        modfresnelm as modfresnelm, modfresnelp as modfresnelp, modstruve as modstruve, multigammaln
        as multigammaln, nbdtr as nbdtr, nbdtrc as nbdtrc, nbdtri as nbdtri, nbdtrik as nbdtrik,
        nbdtrin as nbdtrin, ncfdtr as ncfdtr, ncfdtri as ncfdtri, ncfdtrinc as ncfdtrinc, nctdtr as
        nctdtr, nctdtrinc as nctdtrinc, nctdtrit as nctdtrit, ndtr as ndtr, ndtri as ndtri,
        ndtri_exp as ndtri_exp, nrdtrimn as nrdtrimn, nrdtrisd as nrdtrisd, obl_ang1 as obl_ang1,
        obl_ang1_cv as obl_ang1_cv, obl_cv as obl_cv, obl_cv_seq as obl_cv_seq, obl_rad1 as
        obl_rad1, obl_rad1_cv as obl_rad1_cv, obl_rad2 as obl_rad2, obl_rad2_cv as obl_rad2_cv,
        owens_t as owens_t, p_roots as p_roots, pbdv as pbdv, pbvv as pbvv, pbwa as pbwa, pdtr as
        pdtr, pdtrc as pdtrc, pdtri as pdtri, pdtrik as pdtrik, perm as perm, poch as poch,
        polygamma as polygamma, powm1 as powm1, pro_ang1 as pro_ang1, pro_ang1_cv as pro_ang1_cv,
        pro_cv as pro_cv, pro_cv_seq as pro_cv_seq, pro_rad1 as pro_rad1, pro_rad1_cv as
        pro_rad1_cv, pro_rad2 as pro_rad2, pro_rad2_cv as pro_rad2_cv, ps_roots as ps_roots,
        pseudo_huber as pseudo_huber, psi as psi, radian as radian, rel_entr as rel_entr, rgamma as
        rgamma, roots_chebyc as roots_chebyc, roots_chebys as roots_chebys, roots_chebyt as
        roots_chebyt, roots_chebyu as roots_chebyu, roots_gegenbauer as roots_gegenbauer,
        roots_genlaguerre as roots_genlaguerre, roots_hermite as roots_hermite, roots_hermitenorm as
        roots_hermitenorm, roots_jacobi as roots_jacobi, roots_laguerre as roots_laguerre,
        roots_legendre as roots_legendre, roots_sh_chebyt as roots_sh_chebyt, roots_sh_chebyu as
        roots_sh_chebyu, roots_sh_jacobi as roots_sh_jacobi, roots_sh_legendre as roots_sh_legendre,
        s_roots as s_roots, shichi as shichi, sici as sici, sinc as sinc, sindg as sindg, smirnov as
        smirnov, smirnovi as smirnovi, softmax as softmax, softplus as softplus, spence as spence,
        sph_harm_y as sph_harm_y, sph_legendre_p as sph_legendre_p, spherical_in as spherical_in,
        spherical_jn as spherical_jn, spherical_kn as spherical_kn, spherical_yn as spherical_yn,
        stdtr as stdtr, stdtridf as stdtridf, stdtrit as stdtrit, stirling2 as stirling2, struve as
        struve, t_roots as t_roots, tandg as tandg, tklmbda as tklmbda, ts_roots as ts_roots,
        u_roots as u_roots, us_roots as us_roots, voigt_profile as voigt_profile, wofz as wofz,
        wright_bessel as wright_bessel, wrightomega as wrightomega, xlog1py as xlog1py, xlogy as
        xlogy, y0 as y0, y0_zeros as y0_zeros, y1 as y1, y1_zeros as y1_zeros, y1p_zeros as
        y1p_zeros, yn as yn, yn_zeros as yn_zeros, ynp_zeros as ynp_zeros, yv as yv, yve as yve, yvp
        as yvp, zeta as zeta, zetac as zetac
    )

sys.modules[__name__] = _module

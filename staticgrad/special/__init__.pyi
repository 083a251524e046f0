"""Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."""

from staticgrad.functions.elementwise import (
    sinc
)
from staticgrad.language.ops.special import (
    digamma, entr, erfcx, erfinv, gamma, gammaln, i0, i0e, i1, i1e, kl_div, log_ndtr, ndtr,
    digamma as psi, rel_entr, xlog1py
)
from staticgrad.language.ops.transcendental import (
    cbrt, erf, erfc, exp2, expit, expm1, log1p, xlogy
)
from staticgrad.nn.functional.basics import (
    softplus
)
from staticgrad.special.bessel import (
    airy, airye, h1vp, h2vp, hankel1, hankel1e, hankel2, hankel2e, iv, ive, ivp, j0, j1, jv as
    jn, jv, jve, jvp, k0, k0e, k1, k1e, kn, kv, kve, kvp, spherical_in, spherical_jn,
    spherical_kn, spherical_yn, struve, y0, y1, yn, yv, yve, yvp
)
from staticgrad.special.combinatorics import (
    binom, comb, factorial2, factorial, factorialk, perm, poch
)
from staticgrad.special.constants import (
    ai_zeros, bei_zeros, beip_zeros, ber_zeros, bernoulli, berp_zeros, bi_zeros, erf_zeros,
    euler, fresnel_zeros, fresnelc_zeros, fresnels_zeros, jn_zeros, jnjnp_zeros, jnp_zeros,
    jnyn_zeros, kei_zeros, keip_zeros, kelvin_zeros, ker_zeros, kerp_zeros, mathieu_even_coef,
    mathieu_odd_coef, obl_cv_seq, pro_cv_seq, stirling2, y0_zeros, y1_zeros, y1p_zeros,
    yn_zeros, ynp_zeros
)
from staticgrad.special.cumulative import (
    bdtr, bdtrc, bdtri, bdtrik, bdtrin, btdtria, btdtrib, chdtr, chdtrc, chdtri, chdtriv, fdtr,
    fdtrc, fdtri, fdtridfd, gdtr, gdtrc, gdtria, gdtrib, gdtrix, kolmogi, kolmogorov, nbdtr,
    nbdtrc, nbdtri, nbdtrik, nbdtrin, nrdtrimn, nrdtrisd, pdtr, pdtrc, pdtri, pdtrik, smirnov,
    smirnovi, stdtridf, tklmbda
)
from staticgrad.special.elliptic import (
    agm, ellipe, ellipeinc, ellipj, ellipk, ellipkinc, ellipkm1, elliprc, elliprd, elliprf,
    elliprg, elliprj
)
from staticgrad.special.gamma_functions import (
    beta, betainc, betaln, gammainc, gammaincc, log_expit, log_softmax, logit, logsumexp, ndtri,
    polygamma, softmax, zeta
)
from staticgrad.special.integrals import (
    boxcox1p, boxcox, cosdg, cosm1, cotdg, dawsn, diric, erfcinv, erfi, exp10, exp1, expi, expn,
    exprel, fresnel, gammasgn, huber, hyp0f1, hyp1f1, hyp2f1, hyperu, inv_boxcox1p, inv_boxcox,
    lambertw, loggamma, ndtri_exp, owens_t, powm1, pseudo_huber, radian, rgamma, shichi, sici,
    sindg, spence, tandg, voigt_profile, wofz, wrightomega, zetac
)
from staticgrad.special.kelvin import (
    bei, beip, ber, berp, besselpoly, it2i0k0, it2j0y0, it2struve0, itairy, iti0k0, itj0y0,
    itmodstruve0, itstruve0, kei, keip, kelvin, ker, kerp, log_wright_bessel, modstruve,
    wright_bessel
)
from staticgrad.special.noncentral import (
    chndtr, chndtrinc, chndtrix, ncfdtr, ncfdtri, ncfdtrinc, nctdtr, nctdtrinc, nctdtrit
)
from staticgrad.special.polynomials import (
    assoc_laguerre, assoc_legendre_p, eval_chebyc, eval_chebys, eval_chebyt, eval_chebyu,
    eval_gegenbauer, eval_genlaguerre, eval_hermite, eval_hermitenorm, eval_jacobi,
    eval_laguerre, eval_legendre, eval_sh_chebyt, eval_sh_chebyu, eval_sh_jacobi,
    eval_sh_legendre, legendre_p, lpmv, sph_harm_y, sph_legendre_p
)
from staticgrad.special.quadratures import (
    c_roots, cg_roots, h_roots, he_roots, j_roots, js_roots, l_roots, la_roots, p_roots,
    ps_roots, roots_chebyc, roots_chebys, roots_chebyt, roots_chebyu, roots_gegenbauer,
    roots_genlaguerre, roots_hermite, roots_hermitenorm, roots_jacobi, roots_laguerre,
    roots_legendre, roots_sh_chebyt, roots_sh_chebyu, roots_sh_jacobi, roots_sh_legendre,
    s_roots, t_roots, ts_roots, u_roots, us_roots
)
from staticgrad.special.quantiles import (
    betaincc, betainccinv, betaincinv, gammainccinv, gammaincinv, multigammaln, stdtr, stdtrit
)
from staticgrad.special.waves import (
    mathieu_a, mathieu_b, mathieu_cem, mathieu_modcem1, mathieu_modcem2, mathieu_modsem1,
    mathieu_modsem2, mathieu_sem, modfresnelm, modfresnelp, obl_ang1, obl_ang1_cv, obl_cv,
    obl_rad1, obl_rad1_cv, obl_rad2, obl_rad2_cv, pbdv, pbvv, pbwa, pro_ang1, pro_ang1_cv,
    pro_cv, pro_rad1, pro_rad1_cv, pro_rad2, pro_rad2_cv
)

__all__ = [
    "agm", "ai_zeros", "airy", "airye", "assoc_laguerre", "assoc_legendre_p", "bdtr", "bdtrc",
    "bdtri", "bdtrik", "bdtrin", "bei", "bei_zeros", "beip", "beip_zeros", "ber", "ber_zeros",
    "bernoulli", "berp", "berp_zeros", "besselpoly", "beta", "betainc", "betaincc",
    "betainccinv", "betaincinv", "betaln", "bi_zeros", "binom", "boxcox", "boxcox1p", "btdtria",
    "btdtrib", "c_roots", "cbrt", "cg_roots", "chdtr", "chdtrc", "chdtri", "chdtriv", "chndtr",
    "chndtrinc", "chndtrix", "comb", "cosdg", "cosm1", "cotdg", "dawsn", "digamma", "diric",
    "ellipe", "ellipeinc", "ellipj", "ellipk", "ellipkinc", "ellipkm1", "elliprc", "elliprd",
    "elliprf", "elliprg", "elliprj", "entr", "erf", "erf_zeros", "erfc", "erfcinv", "erfcx",
    "erfi", "erfinv", "euler", "eval_chebyc", "eval_chebys", "eval_chebyt", "eval_chebyu",
    "eval_gegenbauer", "eval_genlaguerre", "eval_hermite", "eval_hermitenorm", "eval_jacobi",
    "eval_laguerre", "eval_legendre", "eval_sh_chebyt", "eval_sh_chebyu", "eval_sh_jacobi",
    "eval_sh_legendre", "exp1", "exp10", "exp2", "expi", "expit", "expm1", "expn", "exprel",
    "factorial", "factorial2", "factorialk", "fdtr", "fdtrc", "fdtri", "fdtridfd", "fresnel",
    "fresnel_zeros", "fresnelc_zeros", "fresnels_zeros", "gamma", "gammainc", "gammaincc",
    "gammainccinv", "gammaincinv", "gammaln", "gammasgn", "gdtr", "gdtrc", "gdtria", "gdtrib",
    "gdtrix", "h1vp", "h2vp", "h_roots", "hankel1", "hankel1e", "hankel2", "hankel2e",
    "he_roots", "huber", "hyp0f1", "hyp1f1", "hyp2f1", "hyperu", "i0", "i0e", "i1", "i1e",
    "inv_boxcox", "inv_boxcox1p", "it2i0k0", "it2j0y0", "it2struve0", "itairy", "iti0k0",
    "itj0y0", "itmodstruve0", "itstruve0", "iv", "ive", "ivp", "j0", "j1", "j_roots", "jn",
    "jn_zeros", "jnjnp_zeros", "jnp_zeros", "jnyn_zeros", "js_roots", "jv", "jve", "jvp", "k0",
    "k0e", "k1", "k1e", "kei", "kei_zeros", "keip", "keip_zeros", "kelvin", "kelvin_zeros",
    "ker", "ker_zeros", "kerp", "kerp_zeros", "kl_div", "kn", "kolmogi", "kolmogorov", "kv",
    "kve", "kvp", "l_roots", "la_roots", "lambertw", "legendre_p", "log1p", "log_expit",
    "log_ndtr", "log_softmax", "log_wright_bessel", "loggamma", "logit", "logsumexp", "lpmv",
    "mathieu_a", "mathieu_b", "mathieu_cem", "mathieu_even_coef", "mathieu_modcem1",
    "mathieu_modcem2", "mathieu_modsem1", "mathieu_modsem2", "mathieu_odd_coef", "mathieu_sem",
    "modfresnelm", "modfresnelp", "modstruve", "multigammaln", "nbdtr", "nbdtrc", "nbdtri",
    "nbdtrik", "nbdtrin", "ncfdtr", "ncfdtri", "ncfdtrinc", "nctdtr", "nctdtrinc", "nctdtrit",
    "ndtr", "ndtri", "ndtri_exp", "nrdtrimn", "nrdtrisd", "obl_ang1", "obl_ang1_cv", "obl_cv",
    "obl_cv_seq", "obl_rad1", "obl_rad1_cv", "obl_rad2", "obl_rad2_cv", "owens_t", "p_roots",
    "pbdv", "pbvv", "pbwa", "pdtr", "pdtrc", "pdtri", "pdtrik", "perm", "poch", "polygamma",
    "powm1", "pro_ang1", "pro_ang1_cv", "pro_cv", "pro_cv_seq", "pro_rad1", "pro_rad1_cv",
    "pro_rad2", "pro_rad2_cv", "ps_roots", "pseudo_huber", "psi", "radian", "rel_entr",
    "rgamma", "roots_chebyc", "roots_chebys", "roots_chebyt", "roots_chebyu",
    "roots_gegenbauer", "roots_genlaguerre", "roots_hermite", "roots_hermitenorm",
    "roots_jacobi", "roots_laguerre", "roots_legendre", "roots_sh_chebyt", "roots_sh_chebyu",
    "roots_sh_jacobi", "roots_sh_legendre", "s_roots", "shichi", "sici", "sinc", "sindg",
    "smirnov", "smirnovi", "softmax", "softplus", "spence", "sph_harm_y", "sph_legendre_p",
    "spherical_in", "spherical_jn", "spherical_kn", "spherical_yn", "stdtr", "stdtridf",
    "stdtrit", "stirling2", "struve", "t_roots", "tandg", "tklmbda", "ts_roots", "u_roots",
    "us_roots", "voigt_profile", "wofz", "wright_bessel", "wrightomega", "xlog1py", "xlogy",
    "y0", "y0_zeros", "y1", "y1_zeros", "y1p_zeros", "yn", "yn_zeros", "ynp_zeros", "yv", "yve",
    "yvp", "zeta", "zetac"
]

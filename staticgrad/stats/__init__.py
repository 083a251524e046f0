"""Distributions with the names and arguments of ``scipy.stats``. Public as ``sg.stats``.

Every distribution is an object with the methods ``logpdf`` (of counts ``logpmf``), ``pdf``,
``cdf``, ``sf``, ``logcdf``, ``logsf``, ``ppf``, ``isf``, ``rvs``, ``mean``, ``var`` and others.
They take the parameters behind the point; ``norm(mu, sigma)`` is an object that has them already.
Of arrays and numbers alone they compute at once and give arrays.

    >>> import numpy as np, staticgrad as sg
    >>> round(float(sg.stats.norm.logpdf(1.0, loc=0.0, scale=2.0)), 4)
    -1.7371
    >>> float(sg.stats.gamma(2.0, scale=3.0).mean())
    6.0
    >>> mu = sg.parameter("mu", 0.0)
    >>> sg.grad(sg.stats.norm.logpdf(np.ones(3), mu, 2.0).sum(), mu).shape
    ()
"""

from __future__ import annotations

from staticgrad.extend import namespace
from staticgrad.stats import transforms
from staticgrad.stats.compound import hurdle, mixture, truncated, zero_inflated
from staticgrad.stats.continuous import (
    beta,
    cauchy,
    chi2,
    expon,
    gamma,
    gumbel_r,
    halfcauchy,
    halfnorm,
    invgamma,
    laplace,
    logistic,
    lognorm,
    norm,
    pareto,
    rayleigh,
    t,
    truncnorm,
    uniform,
    vonmises,
    weibull_min,
)
from staticgrad.stats.discrete import (
    bernoulli,
    betabinom,
    binom,
    geom,
    nbinom,
    poisson,
    randint,
)
from staticgrad.stats.joint import (
    categorical,
    dirichlet,
    invwishart,
    lkj,
    lkj_cholesky,
    multinomial,
    multivariate_normal,
    multivariate_t,
    wishart,
)
from staticgrad.stats.ranks import rankdata
from staticgrad.stats.sampling import Samples, ess, hmc, nuts, rhat

__all__ = [
    "bernoulli", "beta", "betabinom", "binom", "categorical", "cauchy", "chi2", "dirichlet", "ess",
    "expon", "gamma", "geom", "gumbel_r", "halfcauchy", "halfnorm", "hmc", "hurdle", "invgamma",
    "invwishart", "laplace", "lkj", "lkj_cholesky", "logistic", "lognorm", "mixture",
    "multinomial", "multivariate_normal", "multivariate_t", "nbinom", "norm", "nuts", "pareto",
    "poisson", "randint", "rankdata", "rayleigh", "rhat", "Samples", "t", "transforms", "truncated",
    "truncnorm", "uniform", "vonmises", "weibull_min", "wishart", "zero_inflated",
]  # fmt: skip

#: Names of other libraries -> what to write here.
_ELSEWHERE = {
    "normal": "sg.stats.norm",
    "Normal": "sg.stats.norm(loc, scale)",
    "exponential": "sg.stats.expon(scale=1 / rate)",
    "Exponential": "sg.stats.expon(scale=1 / rate)",
    "dirac": "sg.where(x == c, 0.0, -np.inf)",
}

namespace(globals(), instead=_ELSEWHERE)

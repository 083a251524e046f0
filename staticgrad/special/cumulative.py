"""Distribution functions and their inverses, by the names of ``scipy.special``.

The binomial, chi-squared, F, gamma, negative binomial and Poisson distributions are composed of the
incomplete gamma and beta functions. Inverses by parameters are SciPy's: their derivatives are those
of the distribution function over the one by that parameter. Of the beta distribution all are in
units of the density of log-odds, so that they do not underflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.extend.ops import exp, floor, log, log1p, maximum, where
from staticgrad.language.ops.special import (
    BetaInc,
    GammaInc,
    GammaIncC,
    GammaLn,
    Ndtri,
    beta_density,
    beta_slope,
    log_quantile_slope,
)
from staticgrad.language.ops.special_functions import call, declare, no_further
from staticgrad.special.quantiles import (
    apply_on_unit_interval,
    beta_odds,
    beta_quantile,
    gamma_quantile,
)
from staticgrad.special.values import in_float64, scipy_function


def _beta_parts(a: Any, b: Any, v: Any) -> tuple[Any, Any, Any]:
    """The derivatives of I by a, b and log-odds v over the density of v, and that density."""
    return -beta_slope(a, b, v), beta_slope(b, a, -v), exp(beta_density(a, b, v))


def _log_odds(x: Any) -> Any:
    return log(x) - log1p(-x)


def _by_gamma(a: Any, x: Any) -> tuple[Any, Any]:
    """The derivative of P(a, x) by a over that by log(x), and that one."""
    u = log(x)
    return -log_quantile_slope(a, u), exp(a * u - x - GammaLn()(a))


def _btdtria(out: Any, p: Any, b: Any, x: Any) -> tuple[Any, ...]:
    by_a, by_b, density = _beta_parts(out, b, _log_odds(x))
    return 1.0 / (density * by_a), -by_b / by_a, -1.0 / (x * (1.0 - x) * by_a)


def _btdtrib(out: Any, a: Any, p: Any, x: Any) -> tuple[Any, ...]:
    by_a, by_b, density = _beta_parts(a, out, _log_odds(x))
    return -by_a / by_b, 1.0 / (density * by_b), -1.0 / (x * (1.0 - x) * by_b)


def _bdtrik(out: Any, y: Any, n: Any, p: Any) -> tuple[Any, ...]:
    """y = I(1 - p; n - k, k + 1)."""
    by_a, by_b, density = _beta_parts(n - out, out + 1.0, -_log_odds(p))
    by_k = by_b - by_a
    return 1.0 / (density * by_k), -by_a / by_k, 1.0 / (p * (1.0 - p) * by_k)


def _bdtrin(out: Any, k: Any, y: Any, p: Any) -> tuple[Any, ...]:
    by_a, by_b, density = _beta_parts(out - k, k + 1.0, -_log_odds(p))
    return (by_a - by_b) / by_a, 1.0 / (density * by_a), 1.0 / (p * (1.0 - p) * by_a)


def _nbdtrik(out: Any, y: Any, n: Any, p: Any) -> tuple[Any, ...]:
    """y = I(p; n, k + 1)."""
    by_a, by_b, density = _beta_parts(n, out + 1.0, _log_odds(p))
    return 1.0 / (density * by_b), -by_a / by_b, -1.0 / (p * (1.0 - p) * by_b)


def _nbdtrin(out: Any, k: Any, y: Any, p: Any) -> tuple[Any, ...]:
    by_a, by_b, density = _beta_parts(out, k + 1.0, _log_odds(p))
    return -by_b / by_a, 1.0 / (density * by_a), -1.0 / (p * (1.0 - p) * by_a)


def _fdtridfd(out: Any, dfn: Any, p: Any, x: Any) -> tuple[Any, ...]:
    """p = I(u; dfn / 2, dfd / 2) of log-odds log(dfn x / dfd)."""
    v = log(dfn * x) - log(out)
    by_a, by_b, density = _beta_parts(dfn * 0.5, out * 0.5, v)
    by_dfd = by_b * 0.5 - 1.0 / out
    return (
        -(by_a * 0.5 + 1.0 / dfn) / by_dfd,
        1.0 / (density * by_dfd),
        -1.0 / (x * by_dfd),
    )


def _chdtriv(out: Any, p: Any, x: Any) -> tuple[Any, ...]:
    """p = P(v / 2, x / 2)."""
    by_a, density = _by_gamma(out * 0.5, x * 0.5)
    return 2.0 / (density * by_a), -2.0 / (x * by_a)


def _gdtrib(out: Any, a: Any, p: Any, x: Any) -> tuple[Any, ...]:
    """p = P(b, a x)."""
    by_b, density = _by_gamma(out, a * x)
    return -1.0 / (a * by_b), 1.0 / (density * by_b), -1.0 / (x * by_b)


def _pdtrik(out: Any, p: Any, m: Any) -> tuple[Any, ...]:
    """p = 1 - P(k + 1, m)."""
    by_k, density = _by_gamma(out + 1.0, m)
    return -1.0 / (density * by_k), -1.0 / (m * by_k)


def _stdtridf(out: Any, p: Any, t: Any) -> tuple[Any, ...]:
    """p = I(x; df / 2, 1 / 2) / 2 of log-odds log(df / t**2), for t < 0; else 1 minus that."""
    half = out * 0.0 + 0.5
    v = log(out) - 2.0 * log(where(t < 0.0, -t, t))
    by_a, _, density = _beta_parts(out * 0.5, half, v)
    by_df = by_a * 0.5 + 1.0 / out
    side = where(t < 0.0, 1.0, -1.0)
    return side * 2.0 / (density * by_df), 2.0 / (t * by_df)


def _tukey(out: Any, x: Any, lmbda: Any) -> tuple[Any, ...]:
    """The inverse of (p**l - (1 - p)**l) / l, whose derivative by l is taken without a quotient."""
    inside = (out > 0.0) & (out < 1.0)
    p = where(inside, out, 0.5)
    first, last = log(p), log1p(-p)

    def by_l(logarithm: Any) -> Any:
        return 0.5 * logarithm * logarithm * call("hyp1f1", 2.0, 3.0, lmbda * logarithm)

    density = 1.0 / (exp((lmbda - 1.0) * first) + exp((lmbda - 1.0) * last))
    density = where(inside, density, 0.0)
    return density, -density * (by_l(first) - by_l(last))


def bdtr(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Binomial distribution function: the probability of at most floor(k) of n successes.

    NaN for k < 0, n < floor(k) and p outside [0, 1]. Differentiable by n and p.

    >>> sg.special.bdtr([1.0, 2.0], 4.0, 0.3).round(3)
    array([0.652, 0.916])
    """

    def formula(k: Any, n: Any, p: Any) -> Any:
        k_floor = floor(k)
        valid = (k_floor >= 0.0) & (n >= k_floor) & (p >= 0.0) & (p <= 1.0)
        return _evaluate_inside(
            lambda a, b: BetaInc()(b, a, 1.0 - p), k_floor + 1.0, n - k_floor, valid, 1.0
        )

    return in_float64("bdtr", formula, k, n, p)


def bdtrc(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """1 - bdtr(k, n, p), accurate where that is small; 1 for k < 0.

    >>> sg.special.bdtrc([1.0, 2.0], 4.0, 0.3).round(3)
    array([0.348, 0.084])
    """

    def formula(k: Any, n: Any, p: Any) -> Any:
        k_floor = floor(k)
        valid = (n >= k_floor) & (p >= 0.0) & (p <= 1.0)
        clipped = maximum(k_floor, 0.0)
        value = _evaluate_inside(
            lambda a, b: BetaInc()(a, b, p), clipped + 1.0, n - clipped, valid, 0.0
        )
        return where(valid & (k_floor < 0.0), 1.0, value)

    return in_float64("bdtrc", formula, k, n, p)


def bdtri(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``bdtr`` by p: differentiable by n and y.

    >>> sg.special.bdtri([1.0, 2.0], 4.0, 0.3).round(3)
    array([0.508, 0.728])
    """

    def formula(k: Any, n: Any, y: Any) -> Any:
        k_floor = floor(k)
        valid = (k_floor >= 0.0) & (n > k_floor)
        return _quantile(_inverse_beta_upper, y, valid, k_floor + 1.0, n - k_floor)

    return in_float64("bdtri", formula, k, n, y)


@scipy_function(_bdtrik)
def bdtrik(y: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``bdtr`` by k, real; differentiable by all operands.

    >>> sg.special.bdtrik([0.2, 0.7], 10.0, 0.3).round(3)
    array([1.256, 3.212])
    """


@scipy_function(_bdtrin)
def bdtrin(k: ArrayLike[AnyValue], y: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``bdtr`` by n, real; differentiable by all operands.

    >>> sg.special.bdtrin([2.0, 3.0], 0.4, 0.3).round(3)
    array([ 9.774, 13.304])
    """


@scipy_function(_btdtria)
def btdtria(p: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``betainc`` by a: a with betainc(a, b, x) = p.

    >>> sg.special.btdtria([0.2, 0.7], 3.0, 0.4).round(3)
    array([3.815, 1.317])
    """


@scipy_function(_btdtrib)
def btdtrib(a: ArrayLike[AnyValue], p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``betainc`` by b: b with betainc(a, b, x) = p.

    >>> sg.special.btdtrib(2.0, [0.2, 0.7], 0.4).round(3)
    array([1.209, 4.322])
    """


def chdtr(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Chi-squared distribution function with v degrees of freedom, gammainc(v / 2, x / 2).

    >>> sg.special.chdtr(3.0, [1.0, 4.0]).round(3)
    array([0.199, 0.739])
    """
    return in_float64("chdtr", lambda v, x: GammaInc()(v * 0.5, x * 0.5), v, x)


def chdtrc(v: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """1 - chdtr(v, x), accurate where that is small; 1 for x < 0.

    >>> sg.special.chdtrc(3.0, [1.0, 4.0]).round(3)
    array([0.801, 0.261])
    """

    def formula(v: Any, x: Any) -> Any:
        is_below = (x < 0.0) & (v == v)  # NaN for a v of NaN
        return where(is_below, 1.0, GammaIncC()(v * 0.5, maximum(x, 0.0) * 0.5))

    return in_float64("chdtrc", formula, v, x)


def chdtri(v: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chdtrc`` by x: 2 gammainccinv(v / 2, p).

    >>> sg.special.chdtri(3.0, [0.1, 0.6]).round(3)
    array([6.251, 1.869])
    """

    def formula(v: Any, p: Any) -> Any:
        return _quantile(
            lambda a, p: 2.0 * gamma_quantile(a, 1.0 - p, p), p, True, v * 0.5, ends=(math.inf, 0.0)
        )

    return in_float64("chdtri", formula, v, p)


@scipy_function(_chdtriv)
def chdtriv(p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chdtr`` by v; differentiable by both.

    >>> sg.special.chdtriv([0.2, 0.7], 3.0).round(3)
    array([5.905, 2.466])
    """


def fdtr(dfn: ArrayLike[AnyValue], dfd: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """F distribution function with dfn and dfd degrees of freedom; NaN for x < 0.

    >>> sg.special.fdtr(3.0, 5.0, [0.5, 2.0]).round(3)
    array([0.302, 0.767])
    """
    return in_float64("fdtr", lambda dfn, dfd, x: _f_tail(dfn, dfd, x, True), dfn, dfd, x)


def fdtrc(dfn: ArrayLike[AnyValue], dfd: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """1 - fdtr(dfn, dfd, x), accurate where that is small.

    >>> sg.special.fdtrc(3.0, 5.0, [0.5, 2.0]).round(3)
    array([0.698, 0.233])
    """
    return in_float64("fdtrc", lambda dfn, dfd, x: _f_tail(dfn, dfd, x, False), dfn, dfd, x)


def fdtri(dfn: ArrayLike[AnyValue], dfd: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``fdtr`` by x.

    >>> sg.special.fdtri(3.0, 5.0, [0.1, 0.6]).round(3)
    array([0.188, 1.198])
    """

    def formula(dfn: Any, dfd: Any, p: Any) -> Any:
        def quantile(a: Any, b: Any, p: Any) -> Any:
            return beta_odds(a, b, p, 1.0 - p) * (b / a)

        return _quantile(quantile, p, True, dfn * 0.5, dfd * 0.5, ends=(0.0, math.inf))

    return in_float64("fdtri", formula, dfn, dfd, p)


@scipy_function(_fdtridfd)
def fdtridfd(dfn: ArrayLike[AnyValue], p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``fdtr`` by dfd; differentiable by all operands.

    >>> sg.special.fdtridfd(3.0, [0.6, 0.7], 1.5).round(3)
    array([2.405, 6.601])
    """


def gdtr(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Gamma distribution function of rate a and shape b, gammainc(b, a x).

    >>> sg.special.gdtr(2.0, 3.0, [0.5, 2.0]).round(3)
    array([0.08 , 0.762])
    """
    return in_float64("gdtr", lambda a, b, x: GammaInc()(b, a * x), a, b, x)


def gdtrc(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """1 - gdtr(a, b, x), accurate where that is small.

    >>> sg.special.gdtrc(2.0, 3.0, [0.5, 2.0]).round(3)
    array([0.92 , 0.238])
    """
    return in_float64("gdtrc", lambda a, b, x: GammaIncC()(b, a * x), a, b, x)


def gdtria(p: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``gdtr`` by a.

    >>> sg.special.gdtria([0.2, 0.7], 3.0, 2.0).round(3)
    array([0.768, 1.808])
    """

    def formula(p: Any, b: Any, x: Any) -> Any:
        return (
            _quantile(lambda b, p: gamma_quantile(b, p, 1.0 - p), p, True, b, ends=(0.0, math.inf))
            / x
        )

    return in_float64("gdtria", formula, p, b, x)


@scipy_function(_gdtrib)
def gdtrib(a: ArrayLike[AnyValue], p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``gdtr`` by b; differentiable by all operands.

    >>> sg.special.gdtrib(2.0, [0.2, 0.7], 1.5).round(3)
    array([4.889, 2.473])
    """


def gdtrix(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``gdtr`` by x.

    >>> sg.special.gdtrix(2.0, 3.0, [0.2, 0.7]).round(3)
    array([0.768, 1.808])
    """

    def formula(a: Any, b: Any, p: Any) -> Any:
        return (
            _quantile(lambda b, p: gamma_quantile(b, p, 1.0 - p), p, True, b, ends=(0.0, math.inf))
            / a
        )

    return in_float64("gdtrix", formula, a, b, p)


declare("kolmogorov_slope", "y", no_further("kolmogorov"))


@scipy_function(lambda out, y: call("kolmogorov_slope", y))
def kolmogorov(y: ArrayLike[AnyValue]) -> AnyValue:
    """Limit of the two-sided Kolmogorov-Smirnov statistic: the probability of more than y.

    Differentiable once.

    >>> sg.special.kolmogorov([0.5, 1.0]).round(3)
    array([0.964, 0.27 ])
    """


@scipy_function(lambda out, p: 1.0 / call("kolmogorov_slope", out))
def kolmogi(p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``kolmogorov``; differentiable once.

    >>> sg.special.kolmogi([0.2, 0.7]).round(3)
    array([1.073, 0.707])
    """


def nbdtr(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Negative binomial distribution function: at most floor(k) failures before n successes.

    >>> sg.special.nbdtr([1.0, 4.0], 3.0, 0.4).round(3)
    array([0.179, 0.58 ])
    """

    def formula(k: Any, n: Any, p: Any) -> Any:
        valid = (k >= 0.0) & (p >= 0.0) & (p <= 1.0)
        return _evaluate_inside(lambda a, b: BetaInc()(a, b, p), n, floor(k) + 1.0, valid, math.nan)

    return in_float64("nbdtr", formula, k, n, p)


def nbdtrc(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """1 - nbdtr(k, n, p), accurate where that is small.

    >>> sg.special.nbdtrc([1.0, 4.0], 3.0, 0.4).round(3)
    array([0.821, 0.42 ])
    """

    def formula(k: Any, n: Any, p: Any) -> Any:
        valid = (k >= 0.0) & (p >= 0.0) & (p <= 1.0)
        return _evaluate_inside(
            lambda a, b: BetaInc()(b, a, 1.0 - p), n, floor(k) + 1.0, valid, math.nan
        )

    return in_float64("nbdtrc", formula, k, n, p)


def nbdtri(k: ArrayLike[AnyValue], n: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nbdtr`` by p.

    >>> sg.special.nbdtri([1.0, 4.0], 3.0, 0.4).round(3)
    array([0.555, 0.321])
    """

    def formula(k: Any, n: Any, y: Any) -> Any:
        return _quantile(_inverse_beta, y, k >= 0.0, n, floor(k) + 1.0)

    return in_float64("nbdtri", formula, k, n, y)


@scipy_function(_nbdtrik)
def nbdtrik(y: ArrayLike[AnyValue], n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nbdtr`` by k, real; differentiable by all operands.

    >>> sg.special.nbdtrik([0.2, 0.7], 3.0, 0.4).round(3)
    array([1.156, 5.167])
    """


@scipy_function(_nbdtrin)
def nbdtrin(k: ArrayLike[AnyValue], y: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nbdtr`` by n, real; differentiable by all operands.

    >>> sg.special.nbdtrin(3.0, [0.2, 0.7], 0.4).round(3)
    array([4.734, 1.83 ])
    """


def nrdtrimn(p: ArrayLike[AnyValue], std: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Mean of a normal variable of deviation std that is at most x with probability p.

    >>> sg.special.nrdtrimn([0.2, 0.7], 2.0, 1.0).round(3)
    array([ 2.683, -0.049])
    """
    return in_float64("nrdtrimn", lambda p, std, x: x - std * Ndtri()(p), p, std, x)


def nrdtrisd(mn: ArrayLike[AnyValue], p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """Deviation of a normal variable of mean mn that is at most x with probability p.

    >>> sg.special.nrdtrisd(3.0, [0.2, 0.4], 1.0).round(3)
    array([2.376, 7.894])
    """
    return in_float64("nrdtrisd", lambda mn, p, x: (x - mn) / Ndtri()(p), mn, p, x)


def pdtr(k: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Poisson distribution function: the probability of at most floor(k), of mean m; NaN for k < 0.

    >>> sg.special.pdtr([1.0, 4.0], 2.5).round(3)
    array([0.287, 0.891])
    """

    def formula(k: Any, m: Any) -> Any:
        return where(k >= 0.0, GammaIncC()(maximum(floor(k), 0.0) + 1.0, m), math.nan)

    return in_float64("pdtr", formula, k, m)


def pdtrc(k: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """1 - pdtr(k, m), accurate where that is small.

    >>> sg.special.pdtrc([1.0, 4.0], 2.5).round(3)
    array([0.713, 0.109])
    """

    def formula(k: Any, m: Any) -> Any:
        return where(k >= 0.0, GammaInc()(maximum(floor(k), 0.0) + 1.0, m), math.nan)

    return in_float64("pdtrc", formula, k, m)


def pdtri(k: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``pdtr`` by m.

    >>> sg.special.pdtri([1.0, 4.0], 0.3).round(3)
    array([2.439, 5.89 ])
    """

    def formula(k: Any, y: Any) -> Any:
        return _quantile(
            lambda a, y: gamma_quantile(a, 1.0 - y, y),
            y,
            k >= 0.0,
            floor(k) + 1.0,
            ends=(math.inf, 0.0),
        )

    return in_float64("pdtri", formula, k, y)


@scipy_function(_pdtrik)
def pdtrik(p: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``pdtr`` by k, real; differentiable by both.

    >>> sg.special.pdtrik([0.4, 0.7], 2.5).round(3)
    array([1.439, 2.693])
    """


declare("smirnov_slope", "n d", no_further("smirnov"), by="d")


@scipy_function(lambda out, n, d: call("smirnov_slope", n, d), by="d")
def smirnov(n: ArrayLike[AnyValue], d: ArrayLike[AnyValue]) -> AnyValue:
    """One-sided Kolmogorov-Smirnov statistic of n samples: the probability of more than d.

    Differentiable by d, once.

    >>> sg.special.smirnov(5, [0.2, 0.4]).round(3)
    array([0.585, 0.155])
    """


@scipy_function(lambda out, n, p: 1.0 / call("smirnov_slope", n, out), by="p")
def smirnovi(n: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``smirnov`` by d; differentiable by p, once.

    >>> sg.special.smirnovi(5, [0.2, 0.7]).round(3)
    array([0.37 , 0.164])
    """


@scipy_function(_stdtridf)
def stdtridf(p: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``stdtr`` by df; differentiable by both.

    >>> sg.special.stdtridf([0.1, 0.2], -1.5).round(3)
    array([4.516, 0.866])
    """


@scipy_function(_tukey)
def tklmbda(x: ArrayLike[AnyValue], lmbda: ArrayLike[AnyValue]) -> AnyValue:
    """Tukey's lambda distribution function; differentiable by both.

    >>> sg.special.tklmbda([-0.5, 1.0], 0.3).round(3)
    array([0.349, 0.785])
    """


def _quantile(
    of: Callable[..., Any],
    p: Any,
    valid: Any,
    *shapes: Any,
    ends: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """``of`` shapes and p in (0, 1), constants at its ends; NaN where arguments are not valid."""
    quantile = apply_on_unit_interval(p, lambda p, *shapes: of(*shapes, p), *ends, *shapes)
    return quantile if valid is True else where(valid, quantile, math.nan)


def _evaluate_inside(of: Callable[..., Any], a: Any, b: Any, valid: Any, at_zero: float) -> Any:
    """Return ``of(a, b)`` where both are positive, a constant where b is 0."""
    inside = valid & (a > 0.0) & (b > 0.0)
    value = of(where(inside, a, 1.0), where(inside, b, 1.0))
    return where(inside, value, where(valid & (b == 0.0), at_zero, math.nan))


def _inverse_beta(a: Any, b: Any, y: Any) -> Any:
    return beta_quantile(a, b, y, 1.0 - y)


def _inverse_beta_upper(a: Any, b: Any, y: Any) -> Any:
    return beta_quantile(a, b, 1.0 - y, y)


def _f_tail(dfn: Any, dfd: Any, x: Any, lower: bool) -> Any:
    """The share dfn x / (dfd + dfn x) is a beta variable of dfn / 2 and dfd / 2."""
    odds = maximum(x, 0.0) * (dfn / dfd)
    large = odds > 1.0
    small_odds = where(large, 1.0, odds)
    inverse = 1.0 / where(large, odds, 1.0)
    share = where(large, 1.0 / (1.0 + inverse), small_odds / (1.0 + small_odds))
    complement = where(large, inverse / (1.0 + inverse), 1.0 / (1.0 + small_odds))
    a, b = 0.5 * dfn, 0.5 * dfd
    tail = BetaInc()(a, b, share) if lower else BetaInc()(b, a, complement)
    return where((x >= 0.0) & (dfn > 0.0) & (dfd > 0.0), tail, math.nan)

"""Rows of the table of special functions: distribution functions and what inverts them.

An inverse by a parameter is SciPy's; its derivatives are those of the distribution function over
the one by that parameter. Of the beta distribution all are in units of the density of log-odds, so
that they do not underflow. Carlson's elliptic integrals (DLMF 19.18) stand here, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import Pow
from staticgrad.language.ops.special import (
    GammaLn,
    beta_density,
    beta_slope,
    log_quantile_slope,
)
from staticgrad.language.ops.special_functions import call, declare, no_further
from staticgrad.language.ops.transcendental import Log, exp, log, log1p, sqrt

_DEGREE: Final = math.pi / 180.0


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
    v = log(out) - 2.0 * log(selection.where(t < 0.0, -t, t))
    by_a, _, density = _beta_parts(out * 0.5, half, v)
    by_df = by_a * 0.5 + 1.0 / out
    side = selection.where(t < 0.0, 1.0, -1.0)
    return side * 2.0 / (density * by_df), 2.0 / (t * by_df)


def _chi2_density(x: Any, df: Any, nc: Any) -> Any:
    return call("ncx2_density", x, df, nc)


def _density_slopes(out: Any, x: Any, df: Any, nc: Any) -> tuple[Any, ...]:
    """Return the slopes of the noncentral chi-squared density by x and nc."""
    return 0.5 * (_below(x, df, nc) - out), 0.5 * (_chi2_density(x, df + 2.0, nc) - out)


def _below(x: Any, df: Any, nc: Any) -> Any:
    """f(x; df - 2, nc), by the recurrence of Bessel functions, which holds for any df:
    nc f(x; df + 4) = x f(x; df) - df f(x; df + 2)."""
    return (nc * _chi2_density(x, df + 2.0, nc) + (df - 2.0) * _chi2_density(x, df, nc)) / x


def _chndtr(out: Any, x: Any, df: Any, nc: Any) -> tuple[Any, ...]:
    return _chi2_density(x, df, nc), -_chi2_density(x, df + 2.0, nc)


def _chndtrix(out: Any, p: Any, df: Any, nc: Any) -> tuple[Any, ...]:
    density = _chi2_density(out, df, nc)
    return 1.0 / density, _chi2_density(out, df + 2.0, nc) / density


def _chndtrinc(out: Any, x: Any, df: Any, p: Any) -> tuple[Any, ...]:
    by_nc = -_chi2_density(x, df + 2.0, out)
    return -_chi2_density(x, df, out) / by_nc, 1.0 / by_nc


def _f_by_nc(dfn: Any, dfd: Any, nc: Any, f: Any, below: Any) -> Any:
    """Half of F with two more degrees of freedom, at the same share, less F."""
    more = dfn + 2.0
    return 0.5 * (call("ncfdtr", more, dfd, nc, f * dfn / more) - below)


def _ncfdtr(out: Any, dfn: Any, dfd: Any, nc: Any, f: Any) -> tuple[Any, ...]:
    return _f_by_nc(dfn, dfd, nc, f, out), call("ncf_density", dfn, dfd, nc, f)


def _ncfdtri(out: Any, dfn: Any, dfd: Any, nc: Any, p: Any) -> tuple[Any, ...]:
    density = call("ncf_density", dfn, dfd, nc, out)
    return -_f_by_nc(dfn, dfd, nc, out, p) / density, 1.0 / density


def _ncfdtrinc(out: Any, dfn: Any, dfd: Any, p: Any, f: Any) -> tuple[Any, ...]:
    by_nc = _f_by_nc(dfn, dfd, out, f, p)
    return 1.0 / by_nc, -call("ncf_density", dfn, dfd, out, f) / by_nc


def _t_by_nc(df: Any, nc: Any, t: Any) -> Any:
    """For df > 1: minus the density of df - 1 degrees of freedom, scaled."""
    less = df - 1.0
    log_ratio = GammaLn()(0.5 * less) - GammaLn()(0.5 * df) + 0.5 * log(0.5 * less)
    return -exp(log_ratio) * call("nct_density", less, nc, t * sqrt(less / df))


def _t_density_by_t(out: Any, df: Any, nc: Any, t: Any) -> Any:
    """From t f = df (F(df + 2; t sqrt(1 + 2 / df)) - F(df; t)): NaN at t = 0."""
    grown = sqrt(1.0 + 2.0 / df)
    return (df * grown * call("nct_density", df + 2.0, nc, t * grown) - (df + 1.0) * out) / t


def _t_density(out: Any, df: Any, nc: Any, t: Any) -> tuple[Any, ...]:
    less = df - 1.0
    share = sqrt(less / df)
    ratio = exp(GammaLn()(0.5 * less) - GammaLn()(0.5 * df) + 0.5 * log(0.5 * less))
    below = call("nct_density", less, nc, t * share)
    by_nc = -ratio * share * _t_density_by_t(below, less, nc, t * share)
    return by_nc, _t_density_by_t(out, df, nc, t)


def _nctdtr(out: Any, df: Any, nc: Any, t: Any) -> tuple[Any, ...]:
    return _t_by_nc(df, nc, t), call("nct_density", df, nc, t)


def _nctdtrit(out: Any, df: Any, nc: Any, p: Any) -> tuple[Any, ...]:
    density = call("nct_density", df, nc, out)
    return -_t_by_nc(df, nc, out) / density, 1.0 / density


def _nctdtrinc(out: Any, df: Any, p: Any, t: Any) -> tuple[Any, ...]:
    by_nc = _t_by_nc(df, out, t)
    return 1.0 / by_nc, -call("nct_density", df, out, t) / by_nc


def _tukey(out: Any, x: Any, lmbda: Any) -> tuple[Any, ...]:
    """The inverse of (p**l - (1 - p)**l) / l, whose derivative by l is taken without a quotient."""
    inside = (out > 0.0) & (out < 1.0)
    p = selection.where(inside, out, 0.5)
    first, last = log(p), log1p(-p)

    def by_l(logarithm: Any) -> Any:
        return 0.5 * logarithm * logarithm * call("hyp1f1", 2.0, 3.0, lmbda * logarithm)

    density = 1.0 / (exp((lmbda - 1.0) * first) + exp((lmbda - 1.0) * last))
    density = selection.where(inside, density, 0.0)
    return density, -density * (by_l(first) - by_l(last))


def _powm1(out: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return y * Pow()(x, y - 1.0), (out + 1.0) * Log()(x)


def _tangent_of_degrees(out: Any, x: Any) -> tuple[Any, ...]:
    return (_DEGREE * (1.0 + out * out),)


def _elliprf(out: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    """Each -R_D / 6 of the others and itself."""
    return tuple(
        call("elliprd", left, right, by) / -6.0
        for left, right, by in ((y, z, x), (x, z, y), (x, y, z))
    )


def _elliprd(out: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    """By x and y differences over x - z (DLMF 19.18.8), by z from the homogeneity."""

    def by(variable: Any, second: Any) -> Any:
        return 0.5 * (call("elliprd", second, z, variable) - out) / (variable - z)

    by_x, by_y = by(x, y), by(y, x)
    return by_x, by_y, (-1.5 * out - x * by_x - y * by_y) / z


def _elliprg(out: Any, x: Any, y: Any, z: Any) -> tuple[Any, ...]:
    first = 0.25 * call("elliprf", x, y, z)
    return tuple(
        first - by * call("elliprd", left, right, by) / 12.0
        for left, right, by in ((y, z, x), (x, z, y), (x, y, z))
    )


def _elliprj(out: Any, x: Any, y: Any, z: Any, p: Any) -> tuple[Any, ...]:
    by = [
        0.5 * (out - call("elliprd", left, right, variable)) / (p - variable)
        for left, right, variable in ((y, z, x), (x, z, y), (x, y, z))
    ]
    return (*by, (-1.5 * out - x * by[0] - y * by[1] - z * by[2]) / p)


def _elliprc(out: Any, x: Any, y: Any) -> tuple[Any, ...]:
    """R_F(x, y, y), for y < 0 by the closed derivative."""
    below = y < 0.0
    some = selection.where(below, 1.0, y)
    usual = call("elliprd", some, some, x) / -6.0
    turned = (out - 1.0 / sqrt(x)) / (2.0 * (selection.where(below, y, x + 1.0) - x))
    by_x = selection.where(below, turned, usual)
    return by_x, (-0.5 * out - x * by_x) / y


_PLAIN: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "bdtrik": ("y n p", _bdtrik),
    "bdtrin": ("k y p", _bdtrin),
    "btdtria": ("p b x", _btdtria),
    "btdtrib": ("a p x", _btdtrib),
    "chdtriv": ("p x", _chdtriv),
    "cosdg": ("x", lambda out, x: (-_DEGREE * call("sindg", x),)),
    "cotdg": ("x", lambda out, x: (-_DEGREE * (1.0 + out * out),)),
    "elliprc": ("x y", _elliprc),
    "elliprd": ("x y z", _elliprd),
    "elliprf": ("x y z", _elliprf),
    "elliprg": ("x y z", _elliprg),
    "elliprj": ("x y z p", _elliprj),
    "fdtridfd": ("dfn p x", _fdtridfd),
    "gammasgn": ("x", lambda out, x: (None,)),
    "gdtrib": ("a p x", _gdtrib),
    "kolmogi": ("p", lambda out, p: (1.0 / call("kolmogorov_slope", out),)),
    "kolmogorov": ("y", lambda out, y: (call("kolmogorov_slope", y),)),
    "kolmogorov_slope": ("y", no_further("kolmogorov")),
    "nbdtrik": ("y n p", _nbdtrik),
    "nbdtrin": ("k y p", _nbdtrin),
    "pdtrik": ("p m", _pdtrik),
    "powm1": ("x y", _powm1),
    "sindg": ("x", lambda out, x: (_DEGREE * call("cosdg", x),)),
    "stdtridf": ("p t", _stdtridf),
    "tandg": ("x", _tangent_of_degrees),
    "tklmbda": ("x lmbda", _tukey),
}
_OF_ORDER: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "chndtr": ("x* df nc*", _chndtr),
    "chndtrinc": ("x* df p*", _chndtrinc),
    "chndtrix": ("p* df nc*", _chndtrix),
    "ncx2_density": ("x* df nc*", _density_slopes),
    "ncfdtr": ("dfn dfd nc* f*", _ncfdtr),
    "ncfdtri": ("dfn dfd nc* p*", _ncfdtri),
    "ncfdtrinc": ("dfn dfd p* f*", _ncfdtrinc),
    "ncf_density": ("dfn dfd nc* f*", no_further("ncfdtr")),
    "nctdtr": ("df nc* t*", _nctdtr),
    "nctdtrinc": ("df p* t*", _nctdtrinc),
    "nctdtrit": ("df nc* p*", _nctdtrit),
    "nct_density": ("df nc* t*", _t_density),
    "smirnov": ("n d", lambda out, n, d: call("smirnov_slope", n, d)),
    "smirnov_slope": ("n d", no_further("smirnov")),
    "smirnovi": ("n p", lambda out, n, p: 1.0 / call("smirnov_slope", n, out)),
}
declare(_PLAIN, _OF_ORDER)

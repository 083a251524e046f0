"""Noncentral chi-squared, F and t distribution functions and their inverses: SciPy's."""

from __future__ import annotations

from typing import Any

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.extend.ops import exp, log, sqrt
from staticgrad.language.ops.special import GammaLn
from staticgrad.language.ops.special_functions import call, declare, no_further
from staticgrad.special.values import scipy_function


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


declare("ncx2_density", "x df nc", _density_slopes, by="x nc")
declare("ncf_density", "dfn dfd nc f", no_further("ncfdtr"), by="nc f")
declare("nct_density", "df nc t", _t_density, by="nc t")


@scipy_function(_chndtr, by="x nc")
def chndtr(x: ArrayLike[AnyValue], df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue]) -> AnyValue:
    """Noncentral chi-squared distribution function; differentiable by x and nc.

    >>> sg.special.chndtr([1.0, 4.0], 3.0, 0.5).round(3)
    array([0.162, 0.668])
    """


@scipy_function(_chndtrix, by="p nc")
def chndtrix(p: ArrayLike[AnyValue], df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chndtr`` by x; differentiable by p and nc.

    >>> sg.special.chndtrix([0.2, 0.7], 3.0, 0.5).round(3)
    array([1.184, 4.286])
    """


@scipy_function(_chndtrinc, by="x p")
def chndtrinc(x: ArrayLike[AnyValue], df: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chndtr`` by nc; differentiable by x and p.

    >>> sg.special.chndtrinc(4.0, 3.0, [0.2, 0.5]).round(3)
    array([5.588, 1.854])
    """


@scipy_function(_ncfdtr, by="nc f")
def ncfdtr(
    dfn: ArrayLike[AnyValue],
    dfd: ArrayLike[AnyValue],
    nc: ArrayLike[AnyValue],
    f: ArrayLike[AnyValue],
) -> AnyValue:
    """Noncentral F distribution function; differentiable by nc and f, once.

    >>> sg.special.ncfdtr(3.0, 5.0, 0.5, [0.5, 2.0]).round(3)
    array([0.256, 0.721])
    """


@scipy_function(_ncfdtri, by="nc p")
def ncfdtri(
    dfn: ArrayLike[AnyValue],
    dfd: ArrayLike[AnyValue],
    nc: ArrayLike[AnyValue],
    p: ArrayLike[AnyValue],
) -> AnyValue:
    """Inverse of ``ncfdtr`` by f; differentiable by nc and p, once.

    >>> sg.special.ncfdtri(3.0, 5.0, 0.5, [0.2, 0.7]).round(3)
    array([0.397, 1.876])
    """


@scipy_function(_ncfdtrinc, by="p f")
def ncfdtrinc(
    dfn: ArrayLike[AnyValue],
    dfd: ArrayLike[AnyValue],
    p: ArrayLike[AnyValue],
    f: ArrayLike[AnyValue],
) -> AnyValue:
    """Inverse of ``ncfdtr`` by nc; differentiable by p and f, once.

    >>> sg.special.ncfdtrinc(3.0, 5.0, [0.2, 0.5], 2.0).round(3)
    array([9.092, 3.186])
    """


@scipy_function(_nctdtr, by="nc t")
def nctdtr(df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Noncentral t distribution function; differentiable by nc, for df > 1, and by t.

    >>> sg.special.nctdtr(3.0, 0.5, [0.5, 2.0]).round(3)
    array([0.484, 0.856])
    """


@scipy_function(_nctdtrit, by="nc p")
def nctdtrit(df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nctdtr`` by t; differentiable as that.

    >>> sg.special.nctdtrit(3.0, 0.5, [0.2, 0.7]).round(3)
    array([-0.381,  1.173])
    """


@scipy_function(_nctdtrinc, by="p t")
def nctdtrinc(df: ArrayLike[AnyValue], p: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nctdtr`` by nc; differentiable by p and t, for df > 1.

    >>> sg.special.nctdtrinc(3.0, [0.2, 0.5], 2.0).round(3)
    array([2.902, 1.818])
    """

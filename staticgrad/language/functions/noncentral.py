"""Noncentral chi-squared, F and t distribution functions and their inverses: SciPy's."""

from __future__ import annotations

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.language.functions.special_values import special_value
from staticgrad.language.ops import distribution_functions as distribution_functions


def chndtr(x: ArrayLike[AnyValue], df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue]) -> AnyValue:
    """Noncentral chi-squared distribution function; differentiable by x and nc.

    >>> sg.special.chndtr([1.0, 4.0], 3.0, 0.5).round(3)
    array([0.162, 0.668])
    """
    return special_value("chndtr", x, df, nc)


def chndtrix(p: ArrayLike[AnyValue], df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chndtr`` by x; differentiable by p and nc.

    >>> sg.special.chndtrix([0.2, 0.7], 3.0, 0.5).round(3)
    array([1.184, 4.286])
    """
    return special_value("chndtrix", p, df, nc)


def chndtrinc(x: ArrayLike[AnyValue], df: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``chndtr`` by nc; differentiable by x and p.

    >>> sg.special.chndtrinc(4.0, 3.0, [0.2, 0.5]).round(3)
    array([5.588, 1.854])
    """
    return special_value("chndtrinc", x, df, p)


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
    return special_value("ncfdtr", dfn, dfd, nc, f)


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
    return special_value("ncfdtri", dfn, dfd, nc, p)


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
    return special_value("ncfdtrinc", dfn, dfd, p, f)


def nctdtr(df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Noncentral t distribution function; differentiable by nc, for df > 1, and by t.

    >>> sg.special.nctdtr(3.0, 0.5, [0.5, 2.0]).round(3)
    array([0.484, 0.856])
    """
    return special_value("nctdtr", df, nc, t)


def nctdtrit(df: ArrayLike[AnyValue], nc: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nctdtr`` by t; differentiable as that.

    >>> sg.special.nctdtrit(3.0, 0.5, [0.2, 0.7]).round(3)
    array([-0.381,  1.173])
    """
    return special_value("nctdtrit", df, nc, p)


def nctdtrinc(df: ArrayLike[AnyValue], p: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``nctdtr`` by nc; differentiable by p and t, for df > 1.

    >>> sg.special.nctdtrinc(3.0, [0.2, 0.5], 2.0).round(3)
    array([2.902, 1.818])
    """
    return special_value("nctdtrinc", df, p, t)

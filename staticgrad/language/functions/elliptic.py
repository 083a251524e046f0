"""Elliptic integrals of Legendre and Carlson, and Jacobi's elliptic functions."""

from __future__ import annotations

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.language.functions.special_values import special_value
from staticgrad.language.ops import distribution_functions as distribution_functions


def ellipk(m: ArrayLike[AnyValue]) -> AnyValue:
    """Complete elliptic integral of the first kind of m = k**2; inf at 1, NaN beyond.

    Derivative: (ellipe(m) / (1 - m) - ellipk(m)) / (2 m), and a hypergeometric function near 0.

    >>> sg.special.ellipk([0.0, 0.5]).round(3)
    array([1.571, 1.854])
    """
    return special_value("ellipk", m)


def ellipkm1(p: ArrayLike[AnyValue]) -> AnyValue:
    """ellipk(1 - p), accurate where p is small.

    >>> sg.special.ellipkm1([1e-10, 0.5]).round(3)
    array([12.899,  1.854])
    """
    return special_value("ellipkm1", p)


def ellipe(m: ArrayLike[AnyValue]) -> AnyValue:
    """Complete elliptic integral of the second kind; NaN for m > 1.

    Derivative: (ellipe(m) - ellipk(m)) / (2 m), and a hypergeometric function near 0.

    >>> sg.special.ellipe([0.0, 0.5]).round(3)
    array([1.571, 1.351])
    """
    return special_value("ellipe", m)


def ellipkinc(phi: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Incomplete elliptic integral of the first kind; differentiable by both.

    The second derivative by m has a quotient by m: NaN at 0.

    >>> sg.special.ellipkinc(1.0, [0.0, 0.5]).round(3)
    array([1.   , 1.083])
    """
    return special_value("ellipkinc", phi, m)


def ellipeinc(phi: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Incomplete elliptic integral of the second kind; differentiable by both, as ``ellipkinc``.

    >>> sg.special.ellipeinc(1.0, [0.0, 0.5]).round(3)
    array([1.   , 0.927])
    """
    return special_value("ellipeinc", phi, m)


def ellipj(u: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Jacobian elliptic functions sn, cn, dn and the amplitude: a tuple of four values.

    Differentiable by both for m in [0, 1), NaN by m at 1.

    >>> sn, cn, dn, ph = sg.special.ellipj([0.5, 1.0], 0.3)
    >>> sn.round(3)
    array([0.474, 0.819])
    """
    return tuple(special_value(f"ellipj_{suffix}", u, m) for suffix in ("sn", "cn", "dn", "ph"))


def agm(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """Arithmetic-geometric mean of numbers of one sign; differentiable by both.

    >>> sg.special.agm(1.0, [2.0, 4.0]).round(3)
    array([1.457, 2.243])
    """
    return special_value("agm", a, b)


def elliprc(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's degenerate elliptic integral, elliprf(x, y, y); a principal value for y < 0.

    >>> sg.special.elliprc(1.0, [0.5, 2.0]).round(3)
    array([1.246, 0.785])
    """
    return special_value("elliprc", x, y)


def elliprd(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's elliptic integral of the second kind, elliprj(x, y, z, z).

    By x and y its terms cancel where these are near z; NaN where they are equal to it.

    >>> sg.special.elliprd(1.0, 3.0, [0.5, 2.0]).round(3)
    array([1.215, 0.375])
    """
    return special_value("elliprd", x, y, z)


def elliprf(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's completely symmetric elliptic integral of the first kind.

    >>> sg.special.elliprf(1.0, 3.0, [0.5, 2.0]).round(3)
    array([0.886, 0.727])
    """
    return special_value("elliprf", x, y, z)


def elliprg(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's completely symmetric elliptic integral of the second kind.

    >>> sg.special.elliprg(1.0, 3.0, [0.5, 2.0]).round(3)
    array([1.193, 1.402])
    """
    return special_value("elliprg", x, y, z)


def elliprj(
    x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue], p: ArrayLike[AnyValue]
) -> AnyValue:
    """Carlson's elliptic integral of the third kind.

    Its derivatives are NaN where p equals another operand.

    >>> sg.special.elliprj(1.0, 3.0, [0.5, 2.0], 1.5).round(3)
    array([0.646, 0.445])
    """
    return special_value("elliprj", x, y, z, p)

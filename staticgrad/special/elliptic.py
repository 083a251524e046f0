"""Elliptic integrals of Legendre and Carlson, and Jacobi's elliptic functions (DLMF 19, 22)."""

from __future__ import annotations

import math
from typing import Any, Final

from staticgrad.extend import AnyValue, ArrayLike
from staticgrad.extend.ops import absolute, cos, sin, sqrt, square, where
from staticgrad.language.ops.special_functions import Rule, call, declare
from staticgrad.special.values import scipy_function, special_value

#: To here a derivative whose terms cancel at 0 is a hypergeometric function.
_NEAR: Final = 0.5


def _inside(x: Any, limit: float, is_inside: Any) -> Any:
    return where(is_inside, x, limit)


def _elliptic_slope(m: Any, complement: Any) -> Any:
    """The derivative of K, given m and 1 - m; near 0 a hypergeometric function (DLMF 19.4.1)."""
    near = absolute(m) < _NEAR
    series = call("hyp2f1", 1.5, 1.5, 2.0, _inside(m, 0.0, near)) * (math.pi / 8.0)
    at = _inside(m, _NEAR, ~near)
    at_complement = _inside(complement, 1.0 - _NEAR, ~near)
    far = (call("ellipe", at) / at_complement - call("ellipkm1", at_complement)) / (2.0 * at)
    return where(near, series, far)


def _second_kind_slope(out: Any, m: Any) -> Any:
    near = absolute(m) < _NEAR
    series = call("hyp2f1", 0.5, 1.5, 2.0, _inside(m, 0.0, near)) * (-math.pi / 8.0)
    at = _inside(m, _NEAR, ~near)
    return where(near, series, (out - call("ellipk", at)) / (2.0 * at))


def _delta(phi: Any, m: Any) -> Any:
    return sqrt(1.0 - m * square(sin(phi)))


def _first_kind_by_m(phi: Any, m: Any) -> Any:
    """The derivative of F(phi, m) by m, without a quotient by m (DLMF 19.4.6)."""
    difference = call("ellipkinc", phi, m) - call("ellipdinc", phi, m)
    return (difference - sin(phi) * cos(phi) / _delta(phi, m)) / (2.0 * (1.0 - m))


def _ellipj(which: str) -> Rule:
    """The derivatives of the Jacobian functions: of the amplitude times those by it."""

    def rule(out: Any, u: Any, m: Any) -> tuple[Any, ...]:
        sn, cn, dn, ph = (call(f"ellipj_{kind}", u, m) for kind in ("sn", "cn", "dn", "ph"))
        by_amplitude = {"sn": cn, "cn": -sn, "dn": -m * sn * cn / dn, "ph": 1.0}[which]
        by_m = by_amplitude * (-dn * _first_kind_by_m(ph, m))
        return by_amplitude * dn, by_m - square(sn) / (2.0 * dn) if which == "dn" else by_m

    return rule


def _agm(out: Any, a: Any, b: Any) -> tuple[Any, ...]:
    """M = pi / 4 (a + b) / K(1 - p) of p = 4 a b / (a + b)**2 (DLMF 19.8.5)."""
    total = a + b
    p = 4.0 * a * b / square(total)
    slope = _elliptic_slope(1.0 - p, p) / call("ellipkm1", p)

    def by(first: Any, second: Any) -> Any:
        # dp/da = 4 b (b - a) / (a + b)**3, and K(1 - p) has minus the derivative of K.
        return out * (
            1.0 / total + slope * 4.0 * second * (second - first) / (square(total) * total)
        )

    return by(a, b), by(b, a)


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
    some = where(below, 1.0, y)
    usual = call("elliprd", some, some, x) / -6.0
    turned = (out - 1.0 / sqrt(x)) / (2.0 * (where(below, y, x + 1.0) - x))
    by_x = where(below, turned, usual)
    return by_x, (-0.5 * out - x * by_x) / y


@scipy_function(lambda out, m: _elliptic_slope(m, 1.0 - m))
def ellipk(m: ArrayLike[AnyValue]) -> AnyValue:
    """Complete elliptic integral of the first kind of m = k**2; inf at 1, NaN beyond.

    Derivative: (ellipe(m) / (1 - m) - ellipk(m)) / (2 m), and a hypergeometric function near 0.

    >>> sg.special.ellipk([0.0, 0.5]).round(3)
    array([1.571, 1.854])
    """


@scipy_function(lambda out, p: -_elliptic_slope(1.0 - p, p))
def ellipkm1(p: ArrayLike[AnyValue]) -> AnyValue:
    """ellipk(1 - p), accurate where p is small.

    >>> sg.special.ellipkm1([1e-10, 0.5]).round(3)
    array([12.899,  1.854])
    """


@scipy_function(_second_kind_slope)
def ellipe(m: ArrayLike[AnyValue]) -> AnyValue:
    """Complete elliptic integral of the second kind; NaN for m > 1.

    Derivative: (ellipe(m) - ellipk(m)) / (2 m), and a hypergeometric function near 0.

    >>> sg.special.ellipe([0.0, 0.5]).round(3)
    array([1.571, 1.351])
    """


@scipy_function(lambda out, phi, m: (1.0 / _delta(phi, m), _first_kind_by_m(phi, m)))
def ellipkinc(phi: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Incomplete elliptic integral of the first kind; differentiable by both.

    The second derivative by m has a quotient by m: NaN at 0.

    >>> sg.special.ellipkinc(1.0, [0.0, 0.5]).round(3)
    array([1.   , 1.083])
    """


@scipy_function(lambda out, phi, m: (_delta(phi, m), -0.5 * call("ellipdinc", phi, m)))
def ellipeinc(phi: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> AnyValue:
    """Incomplete elliptic integral of the second kind; differentiable by both, as ``ellipkinc``.

    >>> sg.special.ellipeinc(1.0, [0.0, 0.5]).round(3)
    array([1.   , 0.927])
    """


declare("ellipj_sn", "u m", _ellipj("sn"))
declare("ellipj_cn", "u m", _ellipj("cn"))
declare("ellipj_dn", "u m", _ellipj("dn"))
declare("ellipj_ph", "u m", _ellipj("ph"))


def ellipj(u: ArrayLike[AnyValue], m: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Jacobian elliptic functions sn, cn, dn and the amplitude: a tuple of four values.

    Differentiable by both for m in [0, 1), NaN by m at 1.

    >>> sn, cn, dn, ph = sg.special.ellipj([0.5, 1.0], 0.3)
    >>> sn.round(3)
    array([0.474, 0.819])
    """
    return tuple(special_value(f"ellipj_{suffix}", u, m) for suffix in ("sn", "cn", "dn", "ph"))


# The integral of sin(t)**2 / sqrt(1 - m sin(t)**2), of which derivatives of the others consist.
declare(
    "ellipdinc",
    "phi m",
    lambda out, phi, m: (
        square(sin(phi)) / _delta(phi, m),
        (_first_kind_by_m(phi, m) - 0.5 * out) / m,
    ),
)


@scipy_function(_agm)
def agm(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue]) -> AnyValue:
    """Arithmetic-geometric mean of numbers of one sign; differentiable by both.

    >>> sg.special.agm(1.0, [2.0, 4.0]).round(3)
    array([1.457, 2.243])
    """


@scipy_function(_elliprc)
def elliprc(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's degenerate elliptic integral, elliprf(x, y, y); a principal value for y < 0.

    >>> sg.special.elliprc(1.0, [0.5, 2.0]).round(3)
    array([1.246, 0.785])
    """


@scipy_function(_elliprd)
def elliprd(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's elliptic integral of the second kind, elliprj(x, y, z, z).

    By x and y its terms cancel where these are near z; NaN where they are equal to it.

    >>> sg.special.elliprd(1.0, 3.0, [0.5, 2.0]).round(3)
    array([1.215, 0.375])
    """


@scipy_function(_elliprf)
def elliprf(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's completely symmetric elliptic integral of the first kind.

    >>> sg.special.elliprf(1.0, 3.0, [0.5, 2.0]).round(3)
    array([0.886, 0.727])
    """


@scipy_function(_elliprg)
def elliprg(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue]) -> AnyValue:
    """Carlson's completely symmetric elliptic integral of the second kind.

    >>> sg.special.elliprg(1.0, 3.0, [0.5, 2.0]).round(3)
    array([1.193, 1.402])
    """


@scipy_function(_elliprj)
def elliprj(
    x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], z: ArrayLike[AnyValue], p: ArrayLike[AnyValue]
) -> AnyValue:
    """Carlson's elliptic integral of the third kind.

    Its derivatives are NaN where p equals another operand.

    >>> sg.special.elliprj(1.0, 3.0, [0.5, 2.0], 1.5).round(3)
    array([0.646, 0.445])
    """

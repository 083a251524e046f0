"""Rows of the table of special functions: integrals of Bessel functions, and wave functions.

Wave functions are those of Kelvin and Mathieu, of parabolic cylinders and of spheroids.

Second derivatives of the latter follow from their differential equations. Sources: DLMF 10.22,
10.43, 10.61 (Kelvin), 11.4 (Struve), 12.2 (parabolic cylinder), 14.2 (Legendre), 28.2 and 28.20
(Mathieu), 30.2 and 30.11 (spheroidal), 10.46 (Wright).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad.language.ops import arithmetic, selection
from staticgrad.language.ops.arithmetic import absolute, square
from staticgrad.language.ops.special import i0, refuse_by
from staticgrad.language.ops.special_functions import call, declare, half
from staticgrad.language.ops.transcendental import cos, cosh, exp, sin, sqrt

_ROOT_PI: Final = math.sqrt(math.pi)
_DEGREE: Final = math.pi / 180.0
_EIGHTH: Final = math.sqrt(0.5 / math.pi)  # cos(pi / 4) / sqrt(pi)


def _over(function: Callable[..., Any], x: Any, at_zero: float) -> Any:
    """function(x) / x, a constant at 0."""
    zero = x == 0.0
    at = selection.where(zero, 1.0, x)
    return selection.where(zero, at_zero, function(at) / at)


def _missing_from_1(x: Any, sign: float) -> Any:
    """(1 - J0(x)) / x, of the other sign (I0(x) - 1) / x; near 0 by the series."""
    near = absolute(x) < 1.0
    some = selection.where(near, x, 0.0)
    quarter = square(some) * (0.25 * sign)
    total: Any = 1.0
    for k in range(9, 1, -1):
        total = 1.0 - quarter / (k * k) * total
    at = selection.where(near, 1.0, x)
    far = (1.0 - call("j0", at)) if sign > 0 else i0(at) - 1.0
    return selection.where(near, 0.25 * some * total, far / at)


def _modified_struve(out: Any, v: Any, x: Any) -> Any:
    """DLMF 11.4.24 and 11.4.25."""
    power = arithmetic.Pow()(0.5 * x, v) * call("rgamma", v + 1.5) / _ROOT_PI
    return 0.5 * (call("modstruve", v - 1.0, x) + call("modstruve", v + 1.0, x) + power)


def _scaled_airy(partner: str, factor: float) -> Callable[..., Any]:
    """The derivative of Ai or Bi times exp(factor * 2 / 3 * z ** 1.5), given the other one."""

    def rule(out: Any, z: Any) -> tuple[Any, ...]:
        product = call(f"airye_{partner}", z) * (z if partner in ("ai", "bi") else 1.0)
        root = selection.where(z > 0.0, sqrt(selection.where(z > 0.0, z, 1.0)), 0.0)
        return (product + out * root * factor,)

    return rule


def _second_kelvin(partner: str, sign: float, at_zero: float) -> Callable[..., Any]:
    """w'' = i w - w' / x of w = ber + i bei, and of ker + i kei."""

    def rule(out: Any, x: Any) -> tuple[Any, ...]:
        zero = x == 0.0
        quotient = selection.where(zero, at_zero, out / selection.where(zero, 1.0, x))
        return (sign * call(partner, x) - quotient,)

    return rule


def _slope_of(derivative: str) -> Callable[..., Any]:
    """The derivative is another function of the same operands."""
    return lambda out, *args: call(derivative, *args)


def _parabolic(value: str, plus: float, minus: float) -> Callable[..., Any]:
    """w'' = (plus * x**2 / 4 + minus * order - 1/2 ...) w, of the derivative of ``value``."""

    def rule(out: Any, order: Any, x: Any) -> Any:
        constant = -order - 0.5 if minus == 0.0 else minus * order
        return (0.25 * plus * square(x) + constant) * call(value, order, x)

    return rule


def _mathieu(value: str, kind: str) -> Callable[..., Any]:
    """w'' = -(a - 2 q cos(2 x)) w, x in degrees; modified w'' = (a - 2 q cosh(2 x)) w."""

    def rule(out: Any, m: Any, q: Any, x: Any) -> Any:
        a = call(f"mathieu_{kind}", m, q)
        if "mod" in value:
            return (a - 2.0 * q * cosh(2.0 * x)) * call(value, m, q, x)
        turned = a - 2.0 * q * cos(2.0 * _DEGREE * x)
        return -_DEGREE * turned * call(value, m, q, x)

    return rule


def _spheroidal(value: str, oblate: bool, has_eigenvalue: bool) -> Callable[..., Any]:
    """The second derivative from ((1 - x**2) w')' + (cv - c**2 x**2 - m**2 / (1 - x**2)) w = 0.

    In oblate coordinates c**2 has the other sign, of radial functions x**2, too (DLMF 30.2.1).
    """
    radial = "rad" in value

    def rule(out: Any, m: Any, n: Any, c: Any, *operands: Any) -> Any:
        x = operands[-1]
        cv = operands[0] if has_eigenvalue else call("obl_cv" if oblate else "pro_cv", m, n, c)
        squares = square(x)
        if radial and oblate:  # x -> i x, c -> -i c
            grown = 1.0 + squares
            middle = cv - square(c) * squares - square(m) / grown
            return (middle * call(value, m, n, c, *operands) - 2.0 * x * out) / grown
        grown = 1.0 - squares
        middle = cv + square(c) * squares * (1.0 if oblate else -1.0) - square(m) / grown
        return (2.0 * x * out - middle * call(value, m, n, c, *operands)) / grown

    return rule


def _wright(out: Any, a: Any, b: Any, x: Any) -> Any:
    return call("wright_bessel", a, a + b, x)


def _log_wright(out: Any, a: Any, b: Any, x: Any) -> Any:
    return exp(call("log_wright_bessel", a, a + b, x) - out)


def _bessel_moment(out: Any, lmb: Any, nu: Any, a: Any) -> Any:
    """The integral of x**lmb J(nu, 2 a x) from 0 to 1, by a."""
    higher = lmb + 1.0
    return call("besselpoly_by_a", higher, nu - 1.0, a) - call(
        "besselpoly_by_a", higher, nu + 1.0, a
    )


def _legendre_second(value: str) -> Callable[..., Any]:
    """P'' of (1 - x**2) P'' = 2 x P' - (n (n + 1) - m**2 / (1 - x**2)) P (DLMF 14.2.2)."""

    def rule(out: Any, n: Any, m: Any, x: Any) -> Any:
        weight = 1.0 - square(x)
        middle = n * (n + 1.0) - square(m) / weight
        return (2.0 * x * out - middle * call(value, n, m, x)) / weight

    return rule


def _spherical_second(out: Any, n: Any, m: Any, theta: Any) -> Any:
    """The same of x = cos(theta)."""
    sine = sin(theta)
    middle = n * (n + 1.0) - square(m) / square(sine)
    return -out * cos(theta) / sine - middle * call("sph_legendre", n, m, theta)


def _refuse_derivative(function: str, operand: str) -> Callable[..., Any]:
    """No derivative at all."""
    return lambda out, *args: refuse_by(function, operand, True)


_PLAIN: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "airye_ai": ("z", _scaled_airy("aip", 1.0)),
    "airye_aip": ("z", _scaled_airy("ai", 1.0)),
    "airye_bi": ("z", _scaled_airy("bip", -1.0)),
    "airye_bip": ("z", _scaled_airy("bi", -1.0)),
    "itairy_ai": ("x", lambda out, x: (call("airy_ai", x),)),
    "itairy_bi": ("x", lambda out, x: (call("airy_bi", x),)),
    "itairy_ai_below": ("x", lambda out, x: (call("airy_ai", -x),)),
    "itairy_bi_below": ("x", lambda out, x: (call("airy_bi", -x),)),
    "itj0y0_j": ("x", lambda out, x: (call("j0", x),)),
    "itj0y0_y": ("x", lambda out, x: (call("y0", x),)),
    "it2j0y0_j": ("x", lambda out, x: (_missing_from_1(x, 1.0),)),
    "it2j0y0_y": ("x", lambda out, x: (-call("y0", x) / x,)),
    "iti0k0_i": ("x", lambda out, x: (i0(x),)),
    "iti0k0_k": ("x", lambda out, x: (call("k0", x),)),
    "it2i0k0_i": ("x", lambda out, x: (_missing_from_1(x, -1.0),)),
    "it2i0k0_k": ("x", lambda out, x: (-call("k0", x) / x,)),
    "itstruve0": ("x", lambda out, x: (call("struve", 0.0, x),)),
    "it2struve0": (
        "x",
        lambda out, x: (-_over(lambda at: call("struve", 0.0, at), x, 2.0 / math.pi),),
    ),
    "itmodstruve0": ("x", lambda out, x: (call("modstruve", 0.0, x),)),
    "modfresnelp_fr": ("x", lambda out, x: (-cos(square(x)),)),
    "modfresnelp_fi": ("x", lambda out, x: (-sin(square(x)),)),
    "modfresnelp_kr": (
        "x",
        lambda out, x: (2.0 * x * call("modfresnelp_ki", x) - _EIGHTH,),
    ),
    "modfresnelp_ki": (
        "x",
        lambda out, x: (_EIGHTH - 2.0 * x * call("modfresnelp_kr", x),),
    ),
    "ber": ("x", lambda out, x: (call("berp", x),)),
    "bei": ("x", lambda out, x: (call("beip", x),)),
    "ker": ("x", lambda out, x: (call("kerp", x),)),
    "kei": ("x", lambda out, x: (call("keip", x),)),
    "berp": ("x", _second_kelvin("bei", -1.0, 0.0)),
    "beip": ("x", _second_kelvin("ber", 1.0, 0.5)),
    "kerp": ("x", _second_kelvin("kei", -1.0, math.inf)),
    "keip": ("x", _second_kelvin("ker", 1.0, math.inf)),
}
_OF_ORDER: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "kn": ("n x", half("kn", -1.0, -1.0)),
    "modstruve": ("v x", _modified_struve),
    "besselpoly_by_a": ("lmb nu a", _bessel_moment),
    "wright_bessel": ("a b x", _wright),
    "log_wright_bessel": ("a b x", _log_wright),
    "pbdv": ("v x", _slope_of("pbdv_slope")),
    "pbdv_slope": ("v x", _parabolic("pbdv", 1.0, 0.0)),
    "pbvv": ("v x", _slope_of("pbvv_slope")),
    "pbvv_slope": ("v x", _parabolic("pbvv", 1.0, 0.0)),
    "pbwa": ("a x", _slope_of("pbwa_slope")),
    "pbwa_slope": ("a x", _parabolic("pbwa", -1.0, 1.0)),
    "mathieu_a": ("m q", _refuse_derivative("mathieu_a", "q")),
    "mathieu_b": ("m q", _refuse_derivative("mathieu_b", "q")),
    "pro_cv": ("m n c", _refuse_derivative("pro_cv", "c")),
    "obl_cv": ("m n c", _refuse_derivative("obl_cv", "c")),
    "assoc_legendre": ("n m x", _slope_of("assoc_legendre_slope")),
    "assoc_legendre_slope": ("n m x", _legendre_second("assoc_legendre")),
    "assoc_legendre_unit": ("n m x", _slope_of("assoc_legendre_unit_slope")),
    "assoc_legendre_unit_slope": ("n m x", _legendre_second("assoc_legendre_unit")),
    "sph_legendre": ("n m theta", _slope_of("sph_legendre_slope")),
    "sph_legendre_slope": ("n m theta", _spherical_second),
}


for _kind, _letter in (("cem", "a"), ("sem", "b")):
    _OF_ORDER[f"mathieu_{_kind}"] = (
        "m q x",
        lambda out, m, q, x, of=f"mathieu_{_kind}_slope": _DEGREE * call(of, m, q, x),
    )
    _OF_ORDER[f"mathieu_{_kind}_slope"] = ("m q x", _mathieu(f"mathieu_{_kind}", _letter))
    for _which in "12":
        _name = f"mathieu_mod{_kind}{_which}"
        _OF_ORDER[_name] = ("m q x", _slope_of(f"{_name}_slope"))
        _OF_ORDER[f"{_name}_slope"] = ("m q x", _mathieu(_name, _letter))
for _oblate, _shape in ((False, "pro"), (True, "obl")):
    for _part in ("ang1", "rad1", "rad2"):
        for _has_eigenvalue, _operands, _end in (
            (False, "m n c x", ""),
            (True, "m n c cv x", "_cv"),
        ):
            _name = f"{_shape}_{_part}{_end}"
            _OF_ORDER[_name] = (_operands, _slope_of(f"{_name}_slope"))
            _OF_ORDER[f"{_name}_slope"] = (_operands, _spheroidal(_name, _oblate, _has_eigenvalue))
declare(_PLAIN, _OF_ORDER)

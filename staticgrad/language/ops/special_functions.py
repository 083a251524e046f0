"""Special functions that SciPy computes: two ops, and a table of their derivatives.

A step calls the function for whole arrays (``native/libraries/special_functions.py``); the
reference is the same function, so both are bitwise identical. Operands and results are float64. A
row of ``RULES`` gives the partial derivatives; those by orders and parameters are refused.

Sources: DLMF 6 (exponential integrals), 7 (error functions), 9 (Airy), 10 (Bessel), 11 (Struve),
13 and 15 (hypergeometric), 18.9 (polynomials), 19 and 22 (elliptic).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.functional import load_functions
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops import arithmetic, selection
from staticgrad.language.ops.arithmetic import Floor, absolute, square
from staticgrad.language.ops.cotangent import Cotangent, Partial, times
from staticgrad.language.ops.elementwise import Elementwise, broadcast
from staticgrad.language.ops.selection import maximum
from staticgrad.language.ops.special import Digamma, Gamma, refuse_by
from staticgrad.language.ops.transcendental import Log, cos, cosh, erf, exp, sin, sinh, sqrt
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dtype import F64, DType
from staticgrad.support.errors import ArgumentError, GradientError

#: From the result and the operands, a partial derivative for each operand.
Rule = Callable[..., tuple[Any, ...]]
_ROOT_PI: Final = math.sqrt(math.pi)
_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)
#: From here on a derivative is its asymptotic series of so many terms.
_FAR: Final = 10.0
_TERMS: Final = 14
#: To here a derivative whose terms cancel at 0 is a hypergeometric function.
_NEAR: Final = 0.5


class SpecialFunction(Elementwise, name="special"):
    """A function of ``scipy.special`` in float64, by its row of ``RULES``."""

    elementwise = False  # no kernel computes it
    exact = True
    kinds = "f"
    has_poles = True
    flops = 300
    kink = "at poles and where domains end derivatives are infinite or NaN"
    function: str

    def operand_dtype(self, common: DType) -> DType:
        return F64

    def infer(self, *types: TensorType) -> TensorType:
        operands = operands_of(self.function)
        if len(types) != len(operands):
            raise ArgumentError(
                f"{self.function}: takes {len(operands)} operands, got {len(types)}"
            )
        self.met_dtype(*types)
        return TensorType(F64, broadcast(self.function, [kind.shape for kind in types]))

    def met_dtype(self, *types: TensorType) -> DType:
        for kind in types:
            if kind.dtype is not F64:
                raise self.refuse(kind.dtype)
        return F64

    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries.special_functions import write_function

        out = np.empty(np.broadcast_shapes(*(array.shape for array in arrays)))
        write_function(self.function, [*arrays], out)
        return out

    def form(self, out: TensorType, *types: TensorType) -> Form:
        kinds = (*types, out)
        name = ".".join(["special:" + self.function, *(str(kind.rank) for kind in kinds)])
        sizes = tuple(size for kind in kinds for size in kind.shape)
        return CallForm(name, sizes, checks=True, flops=self.flops * product(out.shape), alone=True)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return None

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        return row(self.function)[1](out, *args)


class SpecialOfOrder(SpecialFunction, name="special_of_order"):
    """The same by some operands, mostly the last: orders and degrees carry no gradient."""

    kink = "at poles and where domains end derivatives are infinite or NaN"
    function: str

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, *args: Any
    ) -> tuple[Cotangent | None, ...]:
        self._refuse(needed)
        partials = self.partials(out, *args) if any(needed) else (None,) * len(args)
        return tuple(
            times(ct, partial) if want and partial is not None else None
            for partial, want in zip(partials, needed, strict=True)
        )

    def pushforward(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        self._refuse([tangent is not None for tangent in tangents])
        return super().pushforward(tangents, out, *args)

    def _refuse(self, asked: Sequence[bool]) -> None:
        names, free = operands_of(self.function), _is_free(self.function)
        for operand, is_asked, has_derivative in zip(names, asked, free, strict=True):
            public = self.function.removesuffix("_slope").removesuffix("_by_a")
            refuse_by(public, operand, is_asked and not has_derivative)

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        partials = row(self.function)[1](out, *args)
        computed_partials = iter(partials if isinstance(partials, tuple) else (partials,))
        return tuple(
            [next(computed_partials) if free else None for free in _is_free(self.function)]
        )


def row(function: str) -> tuple[str, Callable[..., Any]]:
    """Return the operands and the derivatives of a function."""
    if function not in RULES:
        load_functions()  # and with them the files that declare rows
    return RULES[function]


def operands_of(function: str) -> list[str]:
    """Return the names of a function's operands."""
    return row(function)[0].replace("*", "").split()


def _is_free(function: str) -> list[bool]:
    """Return which operands have derivatives: those with a star, else the last one."""
    words = row(function)[0].split()
    starred = [word.endswith("*") for word in words]
    return starred if any(starred) else [*(False for _ in words[:-1]), True]


def call(function: str, *operands: Any) -> Any:
    """Return a function of ``RULES`` of operands, in float64."""
    row(function)
    return (SpecialOfOrder if function in OF_ORDER else SpecialFunction)(function)(*operands)


def declare(free: Mapping[str, Any], of_order: Mapping[str, Any]) -> None:
    """Add rows: of functions with derivatives by all operands, and by some of them."""
    RULES.update(free)
    RULES.update(of_order)
    OF_ORDER.update(of_order)


def no_further(of: str) -> Callable[..., Any]:
    """Return the rule of a derivative that is not differentiated again, of a public function."""

    def rule(out: Any, *args: Any) -> Any:
        raise GradientError(
            f"{of}: there is no second derivative here",
            hint="sg.stop_gradient(slope) where it is not to be differentiated",
        )

    return rule


def half(function: str, left: float, right: float) -> Callable[..., Any]:
    """Return the mean of a function of both neighbouring orders, each with a sign."""

    def rule(out: Any, order: Any, x: Any) -> Any:
        below, above = call(function, order - 1.0, x), call(function, order + 1.0, x)
        return 0.5 * (below * left + above * right)

    return rule


def _spherical(function: str, first: float, second: float) -> Callable[..., Any]:
    """The same for spherical functions, weighted by n and n + 1 (DLMF 10.51.2, 10.51.5)."""

    def rule(out: Any, n: Any, x: Any) -> Any:
        below, above = call(function, maximum(n - 1.0, 0.0), x), call(function, n + 1.0, x)
        return (n * below * first + (n + 1.0) * above * second) / (2.0 * n + 1.0)

    return rule


def _lower(function: str, factor: Callable[..., Any], *more: float) -> Callable[..., Any]:
    """A factor times a polynomial of degree n - 1, with further parameters; 0 for degree 0."""

    def rule(out: Any, n: Any, *operands: Any) -> Any:
        *parameters, x = operands
        raised = [parameter + 1.0 for parameter in parameters] or [*more]
        slope = factor(n, *parameters) * call(function, maximum(n - 1.0, 0.0), *raised, x)
        return selection.where(n == 0.0, 0.0, slope)

    return rule


def _inside(x: Any, limit: float, is_inside: Any) -> Any:
    return selection.where(is_inside, x, limit)


def _dawson_slope(out: Any, x: Any) -> Any:
    """1 - 2 x D(x), by its asymptotic series where those terms cancel (DLMF 7.12.1)."""
    far = absolute(x) > _FAR
    inverse = 0.5 / square(_inside(x, _FAR, far))
    total: Any = 1.0
    for odd in range(2 * _TERMS - 1, 1, -2):
        total = 1.0 + inverse * odd * total
    return selection.where(far, -inverse * total, 1.0 - 2.0 * x * out)


def _elliptic_slope(m: Any, complement: Any) -> Any:
    """The derivative of K, given m and 1 - m; near 0 a hypergeometric function (DLMF 19.4.1)."""
    near = absolute(m) < _NEAR
    series = call("hyp2f1", 1.5, 1.5, 2.0, _inside(m, 0.0, near)) * (math.pi / 8.0)
    at = _inside(m, _NEAR, ~near)
    at_complement = _inside(complement, 1.0 - _NEAR, ~near)
    far = (call("ellipe", at) / at_complement - call("ellipkm1", at_complement)) / (2.0 * at)
    return selection.where(near, series, far)


def _second_kind_slope(out: Any, m: Any) -> Any:
    near = absolute(m) < _NEAR
    series = call("hyp2f1", 0.5, 1.5, 2.0, _inside(m, 0.0, near)) * (-math.pi / 8.0)
    at = _inside(m, _NEAR, ~near)
    return selection.where(near, series, (out - call("ellipk", at)) / (2.0 * at))


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


def _over(function: Callable[..., Any], x: Any) -> Any:
    """function(x) / x, 1 at 0."""
    zero = x == 0.0
    at = selection.where(zero, 1.0, x)
    return selection.where(zero, 1.0, function(at) / at)


def _faddeeva(part: str) -> Rule:
    def rule(out: Any, x: Any, y: Any) -> tuple[Any, ...]:
        real, imag = faddeeva_slope(x, y)
        return (real, -imag) if part == "real" else (imag, real)

    return rule


def faddeeva_slope(x: Any, y: Any) -> tuple[Any, Any]:
    """Both parts of w'(z) = 2i / sqrt(pi) - 2 z w(z) (DLMF 7.10.2)."""
    a, b = call("wofz_real", x, y), call("wofz_imag", x, y)
    return -2.0 * (x * a - y * b), 2.0 / _ROOT_PI - 2.0 * (x * b + y * a)


def _voigt(out: Any, x: Any, sigma: Any, gamma: Any) -> tuple[Any, ...]:
    """V = Re w(z) / (sigma sqrt(2 pi)) of z = (x + i gamma) / (sigma sqrt(2)) (DLMF 7.19)."""
    scale = sigma * math.sqrt(2.0)
    real, imag = faddeeva_slope(x / scale, gamma / scale)
    factor = 1.0 / (scale * sigma * _ROOT_TAU)
    by_x, by_gamma = real * factor, -imag * factor
    return by_x, -(out + x * by_x + gamma * by_gamma) / sigma, by_gamma


def _rgamma(out: Any, x: Any) -> tuple[Any, ...]:
    pole = (x <= 0.0) & (Floor()(x) == x)
    integer = selection.where(pole, x, 0.0)
    sign = 1.0 - 2.0 * absolute(integer - 2.0 * Floor()(0.5 * integer))
    usual = -Digamma()(selection.where(pole, 1.0, x)) * out
    return (selection.where(pole, sign * Gamma()(1.0 - integer), usual),)


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


def _binom(out: Any, n: Any, k: Any) -> tuple[Any, ...]:
    digamma_of_difference = Digamma()(n - k + 1.0)
    return out * (Digamma()(n + 1.0) - digamma_of_difference), out * (
        digamma_of_difference - Digamma()(k + 1.0)
    )


def _poch(out: Any, z: Any, m: Any) -> tuple[Any, ...]:
    end = Digamma()(z + m)
    return out * (end - Digamma()(z)), out * end


def _expn(out: Any, n: Any, x: Any) -> Any:
    first = -exp(-x) * (1.0 + 1.0 / x) / x
    return selection.where(n == 0.0, first, -call("expn", maximum(n - 1.0, 0.0), x))


def _struve(out: Any, v: Any, x: Any) -> Any:
    """DLMF 11.4.23 and 11.4.24."""
    power = arithmetic.Pow()(0.5 * x, v) * call("rgamma", v + 1.5) / _ROOT_PI
    return 0.5 * (call("struve", v - 1.0, x) - call("struve", v + 1.0, x) + power)


def _spence(out: Any, z: Any) -> tuple[Any, ...]:
    """log(z) / (1 - z), near 1 as a hypergeometric function (DLMF 15.4.1)."""
    near = absolute(z - 1.0) < _NEAR
    series = -call("hyp2f1", 1.0, 1.0, 2.0, 1.0 - _inside(z, 1.0, near))
    at = _inside(z, 2.0, ~near)
    return (selection.where(near, series, Log()(at) / (1.0 - at)),)


def _lambertw(out: Any, x: Any) -> tuple[Any, ...]:
    return (exp(-out) / (1.0 + out),)


def _lpmv(out: Any, m: Any, v: Any, x: Any) -> Any:
    """DLMF 14.10.5; P of degree -1 is that of degree 0."""
    below = call("lpmv", m, maximum(v - 1.0, 0.0), x)
    below = selection.where((v == 0.0) & (m > 0.0), 0.0, below)
    return (v * x * out - (v + m) * below) / (square(x) - 1.0)


def _owens_t(out: Any, h: Any, a: Any) -> tuple[Any, ...]:
    grown = 1.0 + square(a)
    by_h = exp(-0.5 * square(h)) * erf(a * h * math.sqrt(0.5)) / (-2.0 * _ROOT_TAU)
    return by_h, exp(-0.5 * square(h) * grown) / (2.0 * math.pi * grown)


#: Function -> its operands, and its partial derivatives from the result and the operands.
_FREE: Final[dict[str, tuple[str, Rule]]] = {
    "agm": ("a b", _agm),
    "airy_ai": ("z", lambda out, z: (call("airy_aip", z),)),
    "airy_aip": ("z", lambda out, z: (z * call("airy_ai", z),)),
    "airy_bi": ("z", lambda out, z: (call("airy_bip", z),)),
    "airy_bip": ("z", lambda out, z: (z * call("airy_bi", z),)),
    "binom": ("x y", _binom),
    "cosine_integral": ("x", lambda out, x: (cos(x) / x,)),
    "dawsn": ("x", lambda out, x: (_dawson_slope(out, x),)),
    "ellipe": ("m", lambda out, m: (_second_kind_slope(out, m),)),
    "ellipeinc": (
        "phi m",
        lambda out, phi, m: (_delta(phi, m), -0.5 * call("ellipdinc", phi, m)),
    ),
    "ellipdinc": (
        "phi m",
        lambda out, phi, m: (
            square(sin(phi)) / _delta(phi, m),
            (_first_kind_by_m(phi, m) - 0.5 * out) / m,
        ),
    ),
    "ellipj_cn": ("u m", _ellipj("cn")),
    "ellipj_dn": ("u m", _ellipj("dn")),
    "ellipj_ph": ("u m", _ellipj("ph")),
    "ellipj_sn": ("u m", _ellipj("sn")),
    "ellipk": ("m", lambda out, m: (_elliptic_slope(m, 1.0 - m),)),
    "ellipkinc": (
        "phi m",
        lambda out, phi, m: (1.0 / _delta(phi, m), _first_kind_by_m(phi, m)),
    ),
    "ellipkm1": ("p", lambda out, p: (-_elliptic_slope(1.0 - p, p),)),
    "erfcinv": ("y", lambda out, y: (-_ROOT_PI / 2.0 * exp(square(out)),)),
    "erfi": ("z", lambda out, z: (2.0 / _ROOT_PI * exp(square(z)),)),
    "exp1": ("x", lambda out, x: (-exp(-x) / x,)),
    "expi": ("x", lambda out, x: (exp(x) / x,)),
    "exprel": ("x", lambda out, x: (0.5 * call("hyp1f1", 2.0, 3.0, x),)),
    "fresnel_c": ("z", lambda out, z: (cos(math.pi / 2.0 * square(z)),)),
    "fresnel_s": ("z", lambda out, z: (sin(math.pi / 2.0 * square(z)),)),
    "hyperbolic_cosine_integral": ("x", lambda out, x: (cosh(x) / x,)),
    "hyperbolic_sine_integral": ("x", lambda out, x: (_over(sinh, x),)),
    "j0": ("x", lambda out, x: (-call("j1", x),)),
    "j1": ("x", lambda out, x: (0.5 * (call("j0", x) - call("jv", 2.0, x)),)),
    "k0": ("x", lambda out, x: (-call("k1", x),)),
    "k0e": ("x", lambda out, x: (out - call("k1e", x),)),
    "k1": ("x", lambda out, x: (-0.5 * (call("k0", x) + call("kv", 2.0, x)),)),
    "k1e": ("x", lambda out, x: (out - 0.5 * (call("k0e", x) + call("kve", 2.0, x)),)),
    "lambertw_lower": ("z", _lambertw),
    "lambertw_upper": ("z", _lambertw),
    "ndtri_exp": ("y", lambda out, y: (_ROOT_TAU * exp(y + 0.5 * square(out)),)),
    "owens_t": ("h a", _owens_t),
    "poch": ("z m", _poch),
    "rgamma": ("z", _rgamma),
    "sine_integral": ("x", lambda out, x: (_over(sin, x),)),
    "spence": ("z", _spence),
    "voigt_profile": ("x sigma gamma", _voigt),
    "wofz_imag": ("x y", _faddeeva("imag")),
    "wofz_real": ("x y", _faddeeva("real")),
    "wrightomega": ("z", lambda out, z: (out / (1.0 + out),)),
    "y0": ("x", lambda out, x: (-call("y1", x),)),
    "y1": ("x", lambda out, x: (0.5 * (call("y0", x) - call("yv", 2.0, x)),)),
}
#: The same of functions that are differentiated by the last operand alone.
_OF_ORDER: Final[dict[str, tuple[str, Callable[..., Any]]]] = {
    "eval_chebyt": ("n x", _lower("eval_chebyu", lambda n: n)),
    "eval_chebyu": ("n x", _lower("eval_gegenbauer", lambda n: 2.0, 2.0)),
    "eval_gegenbauer": ("n alpha x", _lower("eval_gegenbauer", lambda n, alpha: 2.0 * alpha)),
    "eval_genlaguerre": ("n alpha x", _lower("eval_genlaguerre", lambda n, alpha: -1.0)),
    "eval_hermite": ("n x", _lower("eval_hermite", lambda n: 2.0 * n)),
    "eval_hermitenorm": ("n x", _lower("eval_hermitenorm", lambda n: n)),
    "eval_jacobi": (
        "n alpha beta x",
        _lower("eval_jacobi", lambda n, alpha, beta: 0.5 * (n + alpha + beta + 1.0)),
    ),
    "eval_laguerre": ("n x", _lower("eval_genlaguerre", lambda n: -1.0, 1.0)),
    "eval_legendre": ("n x", _lower("eval_gegenbauer", lambda n: 1.0, 1.5)),
    "expn": ("n x", _expn),
    "hyp0f1": ("v z", lambda out, v, z: call("hyp0f1", v + 1.0, z) / v),
    "hyp1f1": ("a b x", lambda out, a, b, x: a / b * call("hyp1f1", a + 1.0, b + 1.0, x)),
    "hyp2f1": (
        "a b c z",
        lambda out, a, b, c, z: a * b / c * call("hyp2f1", a + 1.0, b + 1.0, c + 1.0, z),
    ),
    "hyperu": ("a b x", lambda out, a, b, x: -a * call("hyperu", a + 1.0, b + 1.0, x)),
    "iv": ("v z", half("iv", 1.0, 1.0)),
    "ive": (
        "v z",
        lambda out, v, z: half("ive", 1.0, 1.0)(out, v, z) - arithmetic.sign(z) * out,
    ),
    "jv": ("v z", half("jv", 1.0, -1.0)),
    "kv": ("v z", half("kv", -1.0, -1.0)),
    "kve": ("v z", lambda out, v, z: out + half("kve", -1.0, -1.0)(out, v, z)),
    "lpmv": ("m v x", _lpmv),
    "spherical_in": ("n z", _spherical("spherical_in", 1.0, 1.0)),
    "spherical_jn": ("n z", _spherical("spherical_jn", 1.0, -1.0)),
    "spherical_kn": ("n z", _spherical("spherical_kn", -1.0, -1.0)),
    "spherical_yn": ("n z", _spherical("spherical_yn", 1.0, -1.0)),
    "struve": ("v x", _struve),
    "yn": ("n x", half("yn", 1.0, -1.0)),
    "yv": ("v z", half("yv", 1.0, -1.0)),
}
OF_ORDER: Final = {*_OF_ORDER}
RULES: Final[dict[str, tuple[str, Callable[..., Any]]]] = {**_FREE, **_OF_ORDER}

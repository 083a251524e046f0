"""Products with logarithms and their kin: entropies, divergences, log-odds, Lambert's function.

A few operations round a block, and Lambert's function, which is one. A product with a logarithm is
0 where its factor is. Integers and bools are converted to float64.
"""

from __future__ import annotations

import math
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array
from staticgrad.ops.cotangent import ZERO, Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import binary, unary
from staticgrad.ops.special import polynomial
from staticgrad.ops.transcendental import Log, Log1p
from staticgrad.types.dtype import F64
from staticgrad.vecmath.lambert import BORDER, CENTRE, NEAR

#: 1/e in two parts.
_INVERSE_E: Final = (0.36787944117144233, -1.2428753672788363e-17)
#: To here the series serves, and as many terms as float64 needs there.
_NEAR: Final = 0.2
_TERMS: Final = 12


class XLog1PY(Floating, name="xlog1py"):
    """x * log1p(y), and 0 where x is 0 unless y is NaN.

    Derivatives: log1p(y), but 0 where x is 0 and y at most -1; x / (1 + y), 0 where x is 0.
    """

    kink = "the derivatives where x is 0 are 0, by x only where y is at most -1"
    flops = 25

    def reference(self, x: Array, y: Array) -> Any:
        zero = np.zeros((), x.dtype)
        return np.where((x == 0) & (y == y), zero, x * np.log1p(y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(x.eq(0.0) & y.eq(y), literal(0.0, x.dtype), x * y.log1p())

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where = functions.where
        nothing = x == 0.0
        undefined = functions.logical_and(nothing, y <= -1.0)
        return where(undefined, ZERO, Log1p()(y)), where(nothing, ZERO, x / (y + 1.0))


class Entr(Floating, name="entr"):
    """-x * log(x): 0 at 0 and -inf below. Derivative: -log(x) - 1, inf at 0."""

    kink = "the derivative at 0 is inf"
    flops = 25

    def reference(self, x: Array) -> Any:
        zero, low = np.zeros((), x.dtype), np.asarray(-inf, x.dtype)
        return np.where(x < 0, low, np.where(x == 0, zero, -x * np.log(x)))

    def scalar(self, x: Expr) -> Expr:
        zero, low = literal(0.0, x.dtype), literal(-inf, x.dtype)
        return select(x < 0.0, low, select(x.eq(0.0), zero, -x * x.log()))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-1.0 - Log()(x),)


class RelEntr(Floating, name="rel_entr"):
    """x * log(x / y) for positive x and y, 0 at x = 0 for y >= 0, else inf.

    Derivatives: log(x / y) + 1 and -x / y.
    """

    kink = "the derivative by x at 0 is -inf"
    flops = 35

    def reference(self, x: Array, y: Array) -> Any:
        return self._chosen(x, y, x * _log_ratio(x, y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return chosen(x, y, x * log_ratio(x, y), literal(0.0, x.dtype))

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return Log()(x / y) + 1.0, -x / y

    @staticmethod
    def _chosen(x: Array, y: Array, inside: Array) -> Array:
        return _chosen(x, y, inside, np.zeros((), x.dtype))


class KlDiv(Floating, name="kl_div"):
    """x * log(x / y) - x + y for positive x and y, y at x = 0 for y >= 0, else inf.

    Derivatives: log(x / y) and 1 - x / y.
    """

    kink = "the derivative by x at 0 is -inf"
    flops = 35

    def reference(self, x: Array, y: Array) -> Any:
        share = (x - y) / (x + y)
        near = np.asarray(_kl_near(x, y, share), x.dtype)
        far = x * _log_ratio(x, y) - x + y
        return _chosen(x, y, np.where(np.abs(share) < _NEAR, near, far), y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        share = (x - y) / (x + y)
        far = x * log_ratio(x, y) - x + y
        return chosen(x, y, select(abs(share) < _NEAR, _kl_near(x, y, share), far), y)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return Log()(x / y), 1.0 - x / y


def _kl_near(x: Any, y: Any, s: Any) -> Any:
    """x * log(x / y) - x + y for s = (x - y) / (x + y) near 0, where its terms cancel.

    It is (x + y) ((1 + s) atanh(s) - s), by the power series of atanh; of Expr and arrays alike.
    """
    z = s * s
    total = z * 0.0 + 1.0 / (2 * _TERMS + 3)
    for k in reversed(range(_TERMS)):
        total = total * z + 1.0 / (2 * k + 3)
    return (x + y) * (z * ((z + s) * total + 1.0))


def log_ratio(x: Expr, y: Expr) -> Expr:
    """log(x / y) of positive numbers, log(x) - log(y) where the ratio over- or underflows."""
    ratio = x / y
    far = (ratio < x.dtype.smallest_normal) | ~(ratio < inf)
    return select(far, x.log() - y.log(), ratio.log())


def chosen(x: Expr, y: Expr, inside: Expr, border: Expr) -> Expr:
    """``inside`` for positive x and y, ``border`` at x = 0 for y >= 0, inf beyond, NaN of NaN."""
    outside = select(x.eq(0.0) & (y >= 0.0), border, literal(inf, x.dtype))
    defined = x.eq(x) & y.eq(y) & ~((x > 0.0) & (y > 0.0))
    return select(defined, outside, inside)


def _log_ratio(x: Array, y: Array) -> Array:
    ratio = x / y
    far = (ratio < np.finfo(np.float32 if x.dtype == np.float32 else np.float64).tiny) | ~(
        ratio < inf
    )
    return np.where(far, np.log(x) - np.log(y), np.log(ratio))


def _chosen(x: Array, y: Array, inside: Array, border: Array) -> Array:
    outside = np.where((x == 0) & (y >= 0), border, np.asarray(inf, x.dtype))
    defined = (x == x) & (y == y) & ~((x > 0) & (y > 0))
    return np.where(defined, outside, inside)


class Logit(Floating, name="logit"):
    """log(p / (1 - p)): infinite at 0 and 1, NaN beyond. Derivative: 1 / (p * (1 - p))."""

    primitive = "logit"
    flops = 50

    def reference(self, p: Array) -> Any:
        middle = np.log1p((2 * p - 1) / (1 - p))
        return np.where(np.abs(p - 0.5) < 0.25, middle, np.log(p / (1 - p)))

    def partials(self, out: Any, p: Any) -> tuple[Partial, ...]:
        return (1.0 / (p * (1.0 - p)),)


class LambertW(Floating, name="lambertw"):
    """Lambert's W, principal branch: the real w >= -1 with w * exp(w) = x; NaN below -1/e.

    SciPy's function gives complex numbers and other branches. Derivative: exp(-w) / (1 + w), inf at
    -1/e.
    """

    primitive = "lambertw"
    flops = 200

    def reference(self, x: Array) -> Any:
        from scipy.special import lambertw

        wide = np.asarray(x, np.float64)
        # SciPy rounds e * x + 1, which is 0 at the branch point. The kernel's series does not.
        p = np.sqrt(2 * math.e * ((wide + _INVERSE_E[0]) + _INVERSE_E[1]))
        near = wide * polynomial(p - CENTRE, NEAR[F64])
        found = np.where(p > BORDER, lambertw(np.maximum(wide, 0)).real, near)
        return np.asarray(found).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (functions.exp(-out) / (out + 1.0),)


xlog1py = binary(
    XLog1PY,
    "xlog1py",
    "sg.special.xlog1py([0.0, 2.0], [-1.0, 1.0])).round(4",
    "array([0.    , 1.3863])",
)
entr = unary(Entr, "entr", "sg.special.entr([0.0, 1.0])", "array([ 0., -0.])")
rel_entr = binary(
    RelEntr,
    "rel_entr",
    "sg.special.rel_entr([0.0, 1.0, -1.0], 2.0)).round(4",
    "array([ 0.    , -0.6931,     inf])",
)
kl_div = binary(
    KlDiv, "kl_div", "sg.special.kl_div(0.5, [0.5, 0.25])", "array([0.        , 0.09657359])"
)
lambertw = unary(
    LambertW, "lambertw", "sg.special.lambertw([0.0, 1.0])", "array([0.        , 0.56714329])"
)

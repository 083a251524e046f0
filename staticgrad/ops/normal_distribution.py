"""The normal distribution and the error function's kin: ndtr, its logarithm, quantiles, erfcx.

Kernels have blocks for them (``vecmath.scaled_error_function``, ``vecmath.normal_quantile``), the
reference asks SciPy. Integers and bools are converted to float64.
"""

from __future__ import annotations

import math
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, apply, select
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import unary
from staticgrad.ops.special import gaussian, scaled_erfc
from staticgrad.ops.transcendental import Exp
from staticgrad.types.dtype import F32, F64

_ROOT_TAU: Final = math.sqrt(2.0 * math.pi)
_ROOT_PI: Final = math.sqrt(math.pi)
_ROOT_HALF: Final = math.sqrt(0.5)
_HALF_ROOT_PI: Final = _ROOT_PI / 2.0
#: From where on the derivative of erfcx is its series of so many terms, exact to the last digits.
_FAR: Final = {F32: 5.0, F64: 10.0}
_TERMS: Final = 14
#: Where the density is 0 in every dtype.
_NOTHING: Final = 1e3


class Ndtri(Floating, name="ndtri"):
    """Inverse of ``ndtr``: infinite at 0 and 1, NaN beyond.

    Derivative: sqrt(2 pi) * exp(out ** 2 / 2), the reciprocal of the density.
    """

    scipy = "ndtri"
    primitive = "ndtri"
    flops = 40

    def partials(self, out: Any, p: Any) -> tuple[Partial, ...]:
        return (_ROOT_TAU * Exp()(out * out * 0.5),)


class ErfInv(Floating, name="erfinv"):
    """Inverse of ``erf``: infinite at -1 and 1, NaN beyond.

    Derivative: sqrt(pi) / 2 * exp(out ** 2).
    """

    scipy = "erfinv"
    primitive = "erfinv"
    flops = 40

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_HALF_ROOT_PI * Exp()(out * out),)


class Erfcx(Floating, name="erfcx"):
    """exp(x ** 2) * erfc(x), which falls as 1 / (x sqrt(pi)); inf far below 0.

    Derivative: 2 * (x * erfcx(x) - 1 / sqrt(pi)), and its asymptotic series (DLMF 7.12.1) where
    those terms cancel.
    """

    primitive = "erfcx"
    interval = Range(0.0, inf, Zero.NEVER)
    flops = 60

    def reference(self, x: Array) -> Any:
        wide = np.asarray(x, np.float64)
        scaled = scaled_erfc(np.abs(wide))
        below = 2 * gaussian(np.clip(wide, -27, 0), 1.0) - scaled
        return np.where(wide < 0, below, scaled).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        far = _FAR[x.dtype.compute]
        series = _erfcx_slope(functions.where(x > far, x, far))
        return (functions.where(x > far, series, 2.0 * (x * out) - 2.0 / _ROOT_PI),)


def _erfcx_slope(x: Any) -> Any:
    """2 * (x * erfcx(x) - 1 / sqrt(pi)) for large x: sums of (2k - 1)!! / (-2 x ** 2) ** k."""
    inverse = 1.0 / x
    square, total = inverse * inverse * -0.5, 1.0
    for odd in range(2 * _TERMS - 1, 1, -2):
        total = 1.0 + (square * odd) * total
    return (2.0 / _ROOT_PI) * (square * total)


class Ndtr(Floating, name="ndtr"):
    """Cumulative distribution function of the standard normal, accurate in the lower tail.

    Derivative: exp(-x * x / 2) / sqrt(2 pi).
    """

    primitive = "ndtr"
    interval = Range(0.0, 1.0, Zero.NEVER)
    flops = 60

    def reference(self, x: Array) -> Any:
        from scipy.special import ndtr

        wide = np.asarray(x, np.float64)
        tail = (wide < -1) & (wide > -38.5)
        inside = np.where(tail, wide, -1.0)
        scaled = gaussian(inside, -0.5) * (scaled_erfc(-inside * _ROOT_HALF) / 2)
        return np.asarray(np.where(tail, scaled, ndtr(wide))).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Exp()(x * x * -0.5) / _ROOT_TAU,)


class LogNdtr(Floating, name="log_ndtr"):
    """log(ndtr(x)) without underflow: -x ** 2 / 2 - log(-x) - ... far below 0.

    Derivative: sqrt(2 / pi) / erfcx(-x / sqrt(2)) below 0, where numbers are large; above, where
    they vanish, the density over ndtr(x), as exp(-x ** 2 / 2 - out).
    """

    interval = Range(-inf, 0.0)
    flops = 200

    def reference(self, x: Array) -> Any:
        wide = np.asarray(x, np.float64)
        low = wide < -1
        scaled = np.log(scaled_erfc(np.where(low, -wide, 1.0) * _ROOT_HALF) / 2)
        below = np.where(wide < -1e100, -inf, scaled) - wide * wide / 2
        above = np.log1p(-Ndtr().reference(-wide))
        return np.asarray(np.where(low, below, above)).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        scaled = x * _ROOT_HALF
        square = (x * -0.5) * x
        below = select(x < -1e18, square, (apply("erfcx", -scaled) * 0.5).log() + square)
        return select(x < -1.0, below, (-apply("ndtr", -x)).log1p())

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        below = functions.where(x < 0.0, x, 0.0)
        low = (_ROOT_TAU / math.pi) / Erfcx()(below * -_ROOT_HALF)
        # Past the border nothing is left, and further derivatives would multiply it by infinities.
        above = functions.where(x < 0.0, 0.0, functions.where(x > _NOTHING, _NOTHING, x))
        log_of = functions.where(x < 0.0, 0.0, out)
        high = Exp()(above * above * -0.5 - log_of) / _ROOT_TAU
        return (functions.where(x < 0.0, low, high),)


erfcx = unary(Erfcx, "erfcx", "sg.special.erfcx([0.0, 10.0])", "array([1.        , 0.05614099])")
erfinv = unary(ErfInv, "erfinv", "sg.special.erfinv([0.0, 0.5])", "array([0.        , 0.47693628])")
ndtr = unary(Ndtr, "ndtr", "sg.special.ndtr([0.0, 1.0])", "array([0.5       , 0.84134475])")
log_ndtr = unary(
    LogNdtr,
    "log_ndtr",
    "sg.special.log_ndtr([0.0, -40.0])",
    "array([-6.93147181e-01, -8.04608442e+02])",
)

"""Hyperbolic functions and their inverses.

Sine and cosine are vector-math blocks. The inverses call log1p, with formulas in which nothing
cancels near 0 and nothing overflows early; they choose its operand and not its result, because a
lane computes both sides of a choice. The tangent stands in ``transcendental.py``. Integers and
bools are converted to float64.
"""

from __future__ import annotations

import math
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import unary
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.layout import flip_sign, sign_bit

#: From here on 1 is nothing beside the square of x.
_HUGE: Final[dict[DType, float]] = {F32: 2.0**13, F64: 2.0**28}
_LN2: Final = math.log(2.0)


class Sinh(Floating, name="sinh"):
    """Hyperbolic sine, accurate near 0. Derivative: cosh(x)."""

    numpy = np.sinh
    primitive = "sinh"
    flops = 32

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cosh()(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Cosh(Floating, name="cosh"):
    """Hyperbolic cosine. Derivative: sinh(x)."""

    numpy = np.cosh
    primitive = "cosh"
    positive = "always"
    interval = Range(1.0, inf, Zero.NEVER)
    flops = 28

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Sinh()(x),)


class Asinh(Floating, name="asinh"):
    """Inverse of sinh. Derivative: 1 / sqrt(x ** 2 + 1)."""

    numpy = np.arcsinh
    flops = 40

    def scalar(self, x: Expr) -> Expr:
        magnitude = abs(x)
        squared, near = magnitude * magnitude, magnitude < _HUGE[x.dtype]
        less_one = magnitude + squared / ((squared + 1.0).sqrt() + 1.0)
        log = select(near, less_one, magnitude - 1.0).log1p()
        return flip_sign(select(near, log, log + _LN2), sign_bit(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / functions.hypot(x, 1.0),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Acosh(Floating, name="acosh"):
    """Inverse of cosh, at least 0; NaN below 1.

    Derivative: 1 / sqrt((x - 1)(x + 1)), inf at 1.
    """

    numpy = np.arccosh
    kink = "the derivative at 1 is inf"
    flops = 36

    def scalar(self, x: Expr) -> Expr:
        above, near = x - 1.0, x < _HUGE[x.dtype]
        less_one = above + (above + above + above * above).sqrt()
        log = select(near, less_one, above).log1p()
        return select(x < 1.0, literal(math.nan, x.dtype), select(near, log, log + _LN2))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (functions.sqrt(x - 1.0) * functions.sqrt(x + 1.0)),)


class Atanh(Floating, name="atanh"):
    """Inverse of tanh; infinite at -1 and 1, NaN beyond. Derivative: 1 / ((1 - x)(1 + x))."""

    numpy = np.arctanh
    flops = 36

    def scalar(self, x: Expr) -> Expr:
        magnitude = abs(x)
        double = magnitude + magnitude
        grown = double + double * magnitude / (1.0 - magnitude)
        angle = select(magnitude > 1.0, literal(math.nan, x.dtype), grown.log1p() * 0.5)
        return flip_sign(angle, sign_bit(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / ((1.0 - x) * (1.0 + x)),)


# -- public functions -----------------------------------------------------------------------------


sinh = unary(Sinh, "sinh", "sg.sinh([0.0, 1.0])", "array([0.        , 1.17520119])")
cosh = unary(Cosh, "cosh", "sg.cosh([0.0, 1.0])", "array([1.        , 1.54308063])")
arcsinh = unary(Asinh, "arcsinh", "sg.arcsinh([0.0, 1.0])", "array([0.        , 0.88137359])")
arccosh = unary(Acosh, "arccosh", "sg.arccosh([1.0, 2.0])", "array([0.       , 1.3169579])")
arctanh = unary(Atanh, "arctanh", "sg.arctanh([0.0, 0.5])", "array([0.        , 0.54930614])")


NUMPY_NAMES.update(asinh="arcsinh", acosh="arccosh", atanh="arctanh")

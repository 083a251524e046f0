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

from staticgrad.ir.expr import Expr, apply, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating, Operand, quiet
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.layout import flip_sign, sign_bit

#: From here on 1 is nothing beside the square of x.
_HUGE: Final[dict[DType, float]] = {F32: 2.0**13, F64: 2.0**28}
_LN2: Final = math.log(2.0)


class Sinh(Floating, name="sinh"):
    """Hyperbolic sine, accurate near 0. Derivative: cosh(x)."""

    flops = 32

    @quiet
    def reference(self, x: Array) -> Any:
        return np.sinh(x)

    def scalar(self, x: Expr) -> Expr:
        return apply("sinh", x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cosh()(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Cosh(Floating, name="cosh"):
    """Hyperbolic cosine. Derivative: sinh(x)."""

    positive = "always"
    interval = Range(1.0, inf, Zero.NEVER)
    flops = 28

    @quiet
    def reference(self, x: Array) -> Any:
        return np.cosh(x)

    def scalar(self, x: Expr) -> Expr:
        return apply("cosh", x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Sinh()(x),)


class Asinh(Floating, name="asinh"):
    """The inverse of sinh. Derivative: 1 / sqrt(x ** 2 + 1)."""

    flops = 40

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arcsinh(x)

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
    """The inverse of cosh, at least 0; NaN below 1.

    Derivative: 1 / sqrt((x - 1)(x + 1)), inf at 1.
    """

    kink = "the derivative at 1 is inf"
    flops = 36

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arccosh(x)

    def scalar(self, x: Expr) -> Expr:
        above, near = x - 1.0, x < _HUGE[x.dtype]
        less_one = above + (above + above + above * above).sqrt()
        log = select(near, less_one, above).log1p()
        return select(x < 1.0, literal(math.nan, x.dtype), select(near, log, log + _LN2))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (functions.sqrt(x - 1.0) * functions.sqrt(x + 1.0)),)


class Atanh(Floating, name="atanh"):
    """The inverse of tanh; infinite at -1 and 1, NaN beyond. Derivative: 1 / ((1 - x)(1 + x))."""

    flops = 36

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arctanh(x)

    def scalar(self, x: Expr) -> Expr:
        magnitude = abs(x)
        double = magnitude + magnitude
        grown = double + double * magnitude / (1.0 - magnitude)
        angle = select(magnitude > 1.0, literal(math.nan, x.dtype), grown.log1p() * 0.5)
        return flip_sign(angle, sign_bit(x))

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / ((1.0 - x) * (1.0 + x)),)


# -- public functions -----------------------------------------------------------------------------


def sinh(x: Operand[AnyValue]) -> AnyValue:
    """Hyperbolic sine, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Numbers of x's shape.

    >>> sg.evaluate(sg.sinh([0.0, 1.0]))
    array([0.        , 1.17520119])
    """
    return Sinh()(x)


def cosh(x: Operand[AnyValue]) -> AnyValue:
    """Hyperbolic cosine, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Numbers from 1 on, of x's shape.

    >>> sg.evaluate(sg.cosh([0.0, 1.0]))
    array([1.        , 1.54308063])
    """
    return Cosh()(x)


def arcsinh(x: Operand[AnyValue]) -> AnyValue:
    """The inverse of sinh, elementwise; integers and bools become float64.

    >>> sg.evaluate(sg.arcsinh([0.0, 1.0]))
    array([0.        , 0.88137359])
    """
    return Asinh()(x)


def arccosh(x: Operand[AnyValue]) -> AnyValue:
    """The inverse of cosh, elementwise; NaN below 1. Its derivative at 1 is inf.

    Args:
        x: numbers from 1 on; integers and bools are converted to float64.

    >>> sg.evaluate(sg.arccosh([1.0, 2.0]))
    array([0.       , 1.3169579])
    """
    return Acosh()(x)


def arctanh(x: Operand[AnyValue]) -> AnyValue:
    """The inverse of tanh, elementwise; infinite at -1 and 1, NaN beyond.

    Args:
        x: numbers between -1 and 1; integers and bools are converted to float64.

    >>> sg.evaluate(sg.arctanh([0.0, 0.5]))
    array([0.        , 0.54930614])
    """
    return Atanh()(x)


NUMPY_NAMES.update(asinh="arcsinh", acosh="arccosh", atanh="arctanh")

"""Angles: the tangent, the inverse functions, the angle and length of a vector.

The inverse functions are vector-math blocks in kernels; ``tan``, ``arctan2`` and ``hypot`` are a
few operations round them, within 4 units in the last place. Sine and cosine stand in
``transcendental.py``. Integers and bools are converted to float64.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import ZERO, Partial
from staticgrad.ops.elementwise import Floating, Operand, quiet


class Tan(Floating, name="tan"):
    """Tangent of x in radians. Derivative: 1 + tan(x) ** 2."""

    flops = 50

    @quiet
    def reference(self, x: Array) -> Any:
        return np.tan(x)

    def scalar(self, x: Expr) -> Expr:
        return x.tan()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 + out * out,)


class Asin(Floating, name="asin"):
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1.

    Derivative: 1 / sqrt((1 - x)(1 + x)), inf at the ends.
    """

    kink = "the derivative at -1 and 1 is inf"
    flops = 30

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arcsin(x)

    def scalar(self, x: Expr) -> Expr:
        return x.asin()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / functions.sqrt((1.0 - x) * (1.0 + x)),)


class Acos(Floating, name="acos"):
    """The angle in [0, pi] whose cosine is x; NaN beyond 1.

    Derivative: -1 / sqrt((1 - x)(1 + x)), -inf at the ends.
    """

    kink = "the derivative at -1 and 1 is -inf"
    flops = 30

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arccos(x)

    def scalar(self, x: Expr) -> Expr:
        return x.acos()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-1.0 / functions.sqrt((1.0 - x) * (1.0 + x)),)


class Atan(Floating, name="atan"):
    """The angle in [-pi/2, pi/2] whose tangent is x. Derivative: 1 / (1 + x ** 2)."""

    flops = 26

    @quiet
    def reference(self, x: Array) -> Any:
        return np.arctan(x)

    def scalar(self, x: Expr) -> Expr:
        return x.atan()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (1.0 + x * x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Atan2(Floating, name="atan2"):
    """The angle of the point (x, y) in [-pi, pi], signs of zeros counted; 0, -0, pi or -pi at the
    origin.

    Derivatives: x / (x ** 2 + y ** 2) by y and -y / (x ** 2 + y ** 2) by x, NaN at the origin.
    """

    kink = "the derivatives at the origin are NaN"
    flops = 40

    @quiet
    def reference(self, y: Array, x: Array) -> Any:
        return np.arctan2(y, x)

    def scalar(self, y: Expr, x: Expr) -> Expr:
        return y.atan2(x)

    def partials(self, out: Any, y: Any, x: Any) -> tuple[Partial, ...]:
        squared = x * x + y * y
        return x / squared, -(y / squared)


class Hypot(Floating, name="hypot"):
    """sqrt(x ** 2 + y ** 2) without overflow or underflow; inf where either is infinite.

    Derivatives: x / out and y / out; 0 at the origin.
    """

    interval = Range(0.0, inf, Zero.REACHED)
    kink = "the derivatives at the origin are 0"
    flops = 20

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.hypot(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        across, up = abs(x), abs(y)
        larger = across.maximum(up)
        ratio = across.minimum(up) / larger
        length = select(larger.eq(0.0), larger, larger * (ratio * ratio + 1.0).sqrt())
        infinite = across.eq(inf) | up.eq(inf)
        return select(infinite, literal(inf, x.dtype), length)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where, origin = functions.where, out == 0.0
        return where(origin, ZERO, x / out), where(origin, ZERO, y / out)


# -- public functions -----------------------------------------------------------------------------


def tan(x: Operand[AnyValue]) -> AnyValue:
    """Tangent of x in radians, elementwise; integers and bools become float64.

    Every finite x is reduced exactly, however large.

    Args:
        x: angles in radians; integers and bools are converted to float64.

    Returns:
        The tangents, of x's shape.

    >>> sg.evaluate(sg.tan([0.0, 1.0]))
    array([0.        , 1.55740772])
    """
    return Tan()(x)


def arcsin(x: Operand[AnyValue]) -> AnyValue:
    """The angle in [-pi/2, pi/2] whose sine is x, elementwise; NaN beyond 1.

    Its derivative at -1 and 1 is inf.

    Args:
        x: numbers between -1 and 1; integers and bools are converted to float64.

    Returns:
        Angles in radians, of x's shape.

    >>> sg.evaluate(sg.arcsin([0.0, 1.0]))
    array([0.        , 1.57079633])
    """
    return Asin()(x)


def arccos(x: Operand[AnyValue]) -> AnyValue:
    """The angle in [0, pi] whose cosine is x, elementwise; NaN beyond 1.

    Its derivative at -1 and 1 is -inf.

    Args:
        x: numbers between -1 and 1; integers and bools are converted to float64.

    Returns:
        Angles in radians, of x's shape.

    >>> sg.evaluate(sg.arccos([1.0, -1.0]))
    array([0.        , 3.14159265])
    """
    return Acos()(x)


def arctan(x: Operand[AnyValue]) -> AnyValue:
    """The angle in [-pi/2, pi/2] whose tangent is x, elementwise; integers become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Angles in radians, of x's shape.

    >>> sg.evaluate(sg.arctan([0.0, 1.0]))
    array([0.        , 0.78539816])
    """
    return Atan()(x)


def arctan2(y: Operand[AnyValue], x: Operand[AnyValue]) -> AnyValue:
    """The angle in [-pi, pi] of the point (x, y), y first, broadcast; always floating.

    Its derivatives at the origin are NaN.

    Args:
        y, x: numbers, which broadcast; integers and bools are converted to float64.

    Returns:
        Angles in radians.

    >>> sg.evaluate(sg.arctan2(1.0, [1.0, -1.0]))
    array([0.78539816, 2.35619449])
    """
    return Atan2()(y, x)


def hypot(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """sqrt(x ** 2 + y ** 2) without overflow, broadcast; always floating.

    Its derivatives at the origin are 0.

    Args:
        x, y: numbers, which broadcast; integers and bools are converted to float64.

    >>> sg.evaluate(sg.hypot(3.0, [4.0, 0.0]))
    array([5., 3.])
    """
    return Hypot()(x, y)


NUMPY_NAMES.update(
    asin="arcsin", acos="arccos", atan="arctan", atan2="arctan2",
    radians="deg2rad", degrees="rad2deg",
)  # fmt: skip

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
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import ZERO, Partial
from staticgrad.ops.elementwise import Floating, Operand
from staticgrad.ops.public import binary, unary


class Tan(Floating, name="tan"):
    """Tangent of x in radians; every finite x is reduced exactly. Derivative: 1 + tan(x) ** 2."""

    numpy = np.tan
    primitive = "tan"
    flops = 50

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 + out * out,)


class Asin(Floating, name="asin"):
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond 1.

    Derivative: 1 / sqrt((1 - x)(1 + x)), inf at the ends.
    """

    numpy = np.arcsin
    primitive = "asin"
    kink = "the derivative at -1 and 1 is inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / functions.sqrt((1.0 - x) * (1.0 + x)),)


class Acos(Floating, name="acos"):
    """The angle in [0, pi] whose cosine is x; NaN beyond 1.

    Derivative: -1 / sqrt((1 - x)(1 + x)), -inf at the ends.
    """

    numpy = np.arccos
    primitive = "acos"
    kink = "the derivative at -1 and 1 is -inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-1.0 / functions.sqrt((1.0 - x) * (1.0 + x)),)


class Atan(Floating, name="atan"):
    """The angle in [-pi/2, pi/2] whose tangent is x. Derivative: 1 / (1 + x ** 2)."""

    numpy = np.arctan
    primitive = "atan"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (1.0 + x * x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Atan2(Floating, name="atan2"):
    """The angle of the point (x, y) in [-pi, pi], signs of zeros counted; 0, -0, pi or -pi at the
    origin.

    Derivatives: x / (x ** 2 + y ** 2) by y and -y / (x ** 2 + y ** 2) by x, NaN at the origin.
    """

    numpy = np.arctan2
    primitive = "atan2"
    kink = "the derivatives at the origin are NaN"
    flops = 40

    def partials(self, out: Any, y: Any, x: Any) -> tuple[Partial, ...]:
        squared = x * x + y * y
        return x / squared, -(y / squared)


class Hypot(Floating, name="hypot"):
    """sqrt(x ** 2 + y ** 2) without overflow or underflow; inf where either is infinite.

    Derivatives: x / out and y / out; 0 at the origin.
    """

    numpy = np.hypot
    interval = Range(0.0, inf, Zero.REACHED)
    kink = "the derivatives at the origin are 0"
    flops = 20

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


tan = unary(Tan, "tan", "sg.tan([0.0, 1.0])", "array([0.        , 1.55740772])")
arcsin = unary(Asin, "arcsin", "sg.arcsin([0.0, 1.0])", "array([0.        , 1.57079633])")
arccos = unary(Acos, "arccos", "sg.arccos([1.0, -1.0])", "array([0.        , 3.14159265])")
arctan = unary(Atan, "arctan", "sg.arctan([0.0, 1.0])", "array([0.        , 0.78539816])")


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


hypot = binary(Hypot, "hypot", "sg.hypot(3.0, [4.0, 0.0])", "array([5., 3.])")


NUMPY_NAMES.update(
    asin="arcsin", acos="arccos", atan="arctan", atan2="arctan2",
    radians="deg2rad", degrees="rad2deg",
)  # fmt: skip

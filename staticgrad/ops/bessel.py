"""Modified Bessel functions of the first kind, of order 0 and 1, and those times exp(-abs(x)).

Kernels have blocks for the latter (``vecmath.bessel``), and the reference evaluates their series.
Integers and bools are converted to float64.
"""

from __future__ import annotations

from math import factorial, inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, apply, select
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import unary
from staticgrad.ops.special import polynomial
from staticgrad.ops.transcendental import Exp
from staticgrad.types.dtype import F64
from staticgrad.vecmath import bessel

#: Where the power series ends, and its coefficients: exact to the last digits, in the next few
#: derivatives too.
_NEAR: Final = 2.0
_SLOPES: Final = [(2 * k + 1) / (2 * factorial(k) * factorial(k + 1)) for k in range(15)]


class I0e(Floating, name="i0e"):
    """exp(-abs(x)) * i0(x), which does not overflow.

    Derivative: i1e(x) - sign(x) * i0e(x), 0 at 0.
    """

    primitive = "i0e"
    interval = Range(0.0, 1.0, Zero.NEVER)
    kink = "the derivative at 0 is 0"
    flops = 100

    def reference(self, x: Array) -> Any:
        return _i0e(x.astype(np.float64)).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1e()(x) - functions.sign(x) * out,)


class I1e(Floating, name="i1e"):
    """exp(-abs(x)) * i1(x), which does not overflow.

    Derivative: exp(-abs(x)) * i1'(x) - sign(x) * i1e(x); 1/2 at 0, and 0 for higher orders.
    """

    primitive = "i1e"
    interval = Range(-0.25, 0.25)
    kink = "at 0 the derivatives are those of i1, without the kinks of abs(x)"
    flops = 100

    def reference(self, x: Array) -> Any:
        return _i1e(x.astype(np.float64)).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        near = Exp()(-functions.abs(x)) * _slope_near_0(x)
        far = I0e()(x) - out / functions.where(_is_near(x), _NEAR, x)
        return (functions.where(_is_near(x), near, far) - functions.sign(x) * out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class I0(Floating, name="i0"):
    """Modified Bessel function of the first kind of order 0. Derivative: i1(x)."""

    interval = Range(1.0, inf, Zero.NEVER)
    flops = 130

    def reference(self, x: Array) -> Any:
        wide = x.astype(np.float64)
        half = np.exp(np.abs(wide) / 2)
        finite = _i0e(wide) * half * half
        return np.where(np.isinf(wide), np.abs(wide), finite).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        y = abs(x)
        half = (y * 0.5).exp()
        return select(y.eq(inf), y, (apply("i0e", x) * half) * half)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1()(x),)


class I1(Floating, name="i1"):
    """Modified Bessel function of the first kind of order 1.

    Derivative: i0(x) - i1(x) / x, and the power series (DLMF 10.25.2) near 0, where those terms
    cancel in further derivatives. At 0, derivatives of orders above the second are 0.
    """

    flops = 130

    def reference(self, x: Array) -> Any:
        wide = x.astype(np.float64)
        half = np.exp(np.abs(wide) / 2)
        return np.where(np.isinf(wide), wide, _i1e(wide) * half * half).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        y = abs(x)
        half = (y * 0.5).exp()
        return select(y.eq(inf), x, (apply("i1e", x) * half) * half)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        far = I0()(x) - out / functions.where(_is_near(x), _NEAR, x)
        return (functions.where(_is_near(x), _slope_near_0(x), far),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


def _i0e(x: Array) -> Array:
    """The kernel's series for float64."""
    y = np.abs(x)
    small = polynomial(np.minimum(y, 8) / 4 - 1, bessel.SMALL_0[F64])
    inverse = 1 / np.maximum(y, 8)
    large = polynomial(16 * inverse - 1, bessel.LARGE_0[F64]) * np.sqrt(inverse)
    return np.where(y > 8, large, small)


def _i1e(x: Array) -> Array:
    """The kernel's series for float64."""
    y = np.abs(x)
    small = y / (y + 1) * polynomial(np.minimum(y, 8) / 4 - 1, bessel.SMALL_1[F64])
    inverse = 1 / np.maximum(y, 8)
    large = polynomial(16 * inverse - 1, bessel.LARGE_1[F64]) * np.sqrt(inverse)
    return np.copysign(np.where(y > 8, large, small), x)


def _is_near(x: Any) -> Any:
    return functions.abs(x) < _NEAR


def _slope_near_0(x: Any) -> Any:
    """The derivative of i1: the sum of (2k + 1) / (2 k! (k + 1)!) * (x / 2) ** (2k)."""
    near = functions.where(_is_near(x), x, 0.0)
    quarter, total = near * near * 0.25, _SLOPES[-1]
    for number in _SLOPES[-2::-1]:
        total = total * quarter + number
    return total


i0 = unary(I0, "i0", "sg.i0([0.0, 1.0])", "array([1.        , 1.26606588])")


i1 = unary(I1, "i1", "sg.special.i1([0.0, 1.0])", "array([0.       , 0.5651591])")
i0e = unary(I0e, "i0e", "sg.special.i0e([0.0, 1.0])", "array([1.        , 0.46575961])")
i1e = unary(I1e, "i1e", "sg.special.i1e([0.0, 1.0])", "array([0.        , 0.20791042])")

"""Modified Bessel functions of the first kind, of order 0 and 1, and those times exp(-abs(x)).

Kernels have blocks for the latter (``vecmath.bessel``), the reference asks SciPy. Integers and
bools are converted to float64.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from staticgrad.ir.expr import Expr, apply
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating, Operand, quiet


class I0e(Floating, name="i0e"):
    """exp(-abs(x)) * I0(x). Derivative: i1e(x) - sign(x) * i0e(x)."""

    interval = Range(0.0, 1.0, Zero.NEVER)
    kink = "the derivative at 0 is 0"
    flops = 100

    @quiet
    def reference(self, x: Array) -> Any:
        from scipy.special import i0e  # building a graph must not load scipy

        return np.asarray(i0e(np.asarray(x, np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return apply("i0e", x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1e()(x) - functions.sign(x) * out,)


class I1e(Floating, name="i1e"):
    """exp(-abs(x)) * I1(x). Derivative: i0e(x) - (sign(x) + 1 / x) * i1e(x), 1/2 at 0."""

    interval = Range(-0.25, 0.25)
    kink = "the derivative at 0 is 1/2, those of higher orders 0"
    flops = 100

    @quiet
    def reference(self, x: Array) -> Any:
        from scipy.special import i1e

        return _odd(i1e, x)

    def scalar(self, x: Expr) -> Expr:
        return apply("i1e", x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I0e()(x) - functions.sign(x) * out - ratio(out, x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class I0(Floating, name="i0"):
    """The modified Bessel function of the first kind of order 0. Derivative: i1(x)."""

    interval = Range(1.0, inf, Zero.NEVER)
    flops = 130

    @quiet
    def reference(self, x: Array) -> Any:
        from scipy.special import i0

        return np.asarray(i0(np.asarray(x, np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        half = (abs(x) * 0.5).exp()
        return (apply("i0e", x) * half) * half

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I1()(x),)


class I1(Floating, name="i1"):
    """The modified Bessel function of the first kind of order 1.

    Derivative: i0(x) - i1(x) / x, 1/2 at 0.
    """

    kink = "derivatives of orders above the second are 0 at 0"
    flops = 130

    @quiet
    def reference(self, x: Array) -> Any:
        from scipy.special import i1

        return _odd(i1, x)

    def scalar(self, x: Expr) -> Expr:
        half = (abs(x) * 0.5).exp()
        return (apply("i1e", x) * half) * half

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (I0()(x) - ratio(out, x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


def _odd(function: Callable[[Array], Array], x: Array) -> Array:
    """SciPy's function in float64; x / 2 of tiny x, which SciPy's rounds twice."""
    found = function(np.asarray(x, np.float64)).astype(x.dtype)
    return np.where(np.abs(x) < 1e-30, x * x.dtype.type(0.5), found)


def ratio(out: Any, x: Any) -> Any:
    """out / x, and 1/2 at 0."""
    return functions.where(x == 0.0, 0.5, out / x)


def i0(x: Operand[AnyValue]) -> AnyValue:
    """The modified Bessel function of the first kind of order 0, elementwise.

    Integers and bools become float64.
    """
    return I0()(x)

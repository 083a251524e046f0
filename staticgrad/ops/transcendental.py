"""Exponentials, logarithms, roots, circles and sigmoids: floating ops behind a polynomial.

Only ``sqrt`` is exact; the others are vector-math blocks in kernels, and NumPy's functions in the
reference. Integers and bools are converted to float64.
"""

from __future__ import annotations

import math
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import NUMPY_NAMES
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import unary

_TWO_OVER_ROOT_PI: Final = 2.0 / math.sqrt(math.pi)


class Exp(Floating, name="exp"):
    """e ** x. Derivative: exp(x)."""

    numpy = np.exp
    primitive = "exp"
    positive = "always"
    flops = 20

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, 1.0 if of(x).high <= 0 else inf, Zero.NEVER)


class Expm1(Floating, name="expm1"):
    """e ** x - 1, accurate near 0. Derivative: exp(x) = expm1(x) + 1."""

    numpy = np.expm1
    primitive = "expm1"
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out + 1.0,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Log(Floating, name="log"):
    """Natural logarithm; -inf at 0, NaN below. Derivative: 1 / x."""

    numpy = np.log
    primitive = "log"
    flops = 22

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / x,)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / x,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf)


class Log1p(Floating, name="log1p"):
    """log(1 + x), accurate near 0; -inf at -1, NaN below. Derivative: 1 / (1 + x)."""

    numpy = np.log1p
    primitive = "log1p"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (x + 1.0),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / (x + 1.0),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Sqrt(Floating, name="sqrt"):
    """Square root, rounded correctly; NaN below 0. Derivative: 0.5 / sqrt(x), inf at 0."""

    numpy = np.sqrt
    primitive = "sqrt"
    exact = True
    flops = 5
    kink = "the derivative at 0 is inf"

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (0.5 / out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0, inf, a.zero if a.low >= 0 else Zero.MAYBE)


class Sin(Floating, name="sin"):
    """Sine of x in radians; every finite x is reduced exactly. Derivative: cos(x)."""

    numpy = np.sin
    primitive = "sin"
    interval = Range(-1.0, 1.0)
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cos()(x),)


class Cos(Floating, name="cos"):
    """Cosine of x in radians; every finite x is reduced exactly. Derivative: -sin(x)."""

    numpy = np.cos
    primitive = "cos"
    interval = Range(-1.0, 1.0)
    flops = 24

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-Sin()(x),)


class Tanh(Floating, name="tanh"):
    """Hyperbolic tangent. Derivative: 1 - tanh(x) ** 2."""

    numpy = np.tanh
    primitive = "tanh"
    interval = Range(-1.0, 1.0)
    flops = 28

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 - out * out,)


class Sigmoid(Floating, name="sigmoid"):
    """Logistic sigmoid, 1 / (1 + exp(-x)), accurate at both ends. Derivative: s * (1 - s)."""

    interval = Range(0.0, 1.0, Zero.NEVER)
    positive = "always"
    flops = 28

    def reference(self, x: Array) -> Any:
        e = np.exp(-np.absolute(x))
        return np.where(x >= 0, 1, e) / (1 + e)

    def eager(self, x: Array) -> Any:
        """The same numbers without a branch per element."""
        return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.absolute(x)))

    def scalar(self, x: Expr) -> Expr:
        e = (-abs(x)).exp()
        return select(x >= 0, literal(1, x.dtype), e) / (1 + e)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out * (1.0 - out),)


class Erf(Floating, name="erf"):
    """Error function, 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x.

    Derivative: 2 / sqrt(pi) * exp(-x * x).
    """

    scipy = "erf"
    primitive = "erf"
    interval = Range(-1.0, 1.0)
    flops = 36

    def eager(self, x: Array) -> Any:
        """In the dtype of x throughout: half the time in float32."""
        from scipy.special import erf

        return erf(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)


# -- public functions -----------------------------------------------------------------------------


exp = unary(Exp, "exp", "sg.exp([0.0, 1.0])", "array([1.        , 2.71828183])")
expm1 = unary(Expm1, "expm1", "sg.expm1([0.0, 1e-12])", "array([0.e+00, 1.e-12])")
log = unary(Log, "log", "sg.log([1.0, 0.0])", "array([  0., -inf])")
log1p = unary(Log1p, "log1p", "sg.log1p([0.0, 1e-12])", "array([0.e+00, 1.e-12])")
sqrt = unary(Sqrt, "sqrt", "sg.sqrt([4.0, 2.0])", "array([2.        , 1.41421356])")
sin = unary(Sin, "sin", "sg.sin([0.0, sg.pi / 2])", "array([0., 1.])")
cos = unary(Cos, "cos", "sg.cos([0.0, sg.pi])", "array([ 1., -1.])")
tanh = unary(Tanh, "tanh", "sg.tanh([0.0, 1.0])", "array([0.        , 0.76159416])")
sigmoid = unary(Sigmoid, "sigmoid", "sg.sigmoid([0.0, -1000.0])", "array([0.5, 0. ])")
expit = unary(
    Sigmoid, "expit", "sg.special.expit([-1000.0, 0.0, 1000.0])", "array([0. , 0.5, 1. ])"
)
erf = unary(Erf, "erf", "sg.erf([0.0, 1.0])", "array([0.        , 0.84270079])")


NUMPY_NAMES["expit"] = "sigmoid"  # a ufunc of scipy.special

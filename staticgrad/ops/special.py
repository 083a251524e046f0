"""Other bases, the cube root, sums in the log domain, and erfc.

Each is a vector-math block in kernels (``logaddexp`` and ``xlogy`` are a few operations round one)
and NumPy's function in the reference. Integers and bools are converted to float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import functions
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import ZERO, Partial
from staticgrad.ops.elementwise import Floating
from staticgrad.ops.public import binary, unary
from staticgrad.ops.transcendental import Exp, Log, Sigmoid
from staticgrad.types.dtype import F64
from staticgrad.vecmath.scaled_error_function import ERFCX

_LN2: Final = math.log(2.0)
_LN10: Final = math.log(10.0)
_MINUS_TWO_OVER_ROOT_PI: Final = -2.0 / math.sqrt(math.pi)


class Exp2(Floating, name="exp2"):
    """2 ** x, exact for whole x. Derivative: 2 ** x * log(2)."""

    numpy = np.exp2
    primitive = "exp2"
    positive = "always"
    flops = 20

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out * _LN2,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, 1.0 if of(x).high <= 0 else inf, Zero.NEVER)


class Log2(Floating, name="log2"):
    """Logarithm to base 2, exact for powers of two; -inf at 0, NaN below.

    Derivative: 1 / (x log(2)).
    """

    numpy = np.log2
    primitive = "log2"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (x * _LN2),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / (x * _LN2),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf)


class Log10(Floating, name="log10"):
    """Logarithm to base 10; -inf at 0, NaN below. Derivative: 1 / (x log(10))."""

    numpy = np.log10
    primitive = "log10"
    flops = 26

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (x * _LN10),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / (x * _LN10),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf)


class Cbrt(Floating, name="cbrt"):
    """Real cube root, also of negative x. Derivative: 1 / (3 cbrt(x) ** 2), inf at 0."""

    numpy = np.cbrt
    primitive = "cbrt"
    kink = "the derivative at 0 is inf"
    flops = 30

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (3.0 * (out * out)),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class LogAddExp(Floating, name="logaddexp"):
    """log(exp(x) + exp(y)) without overflow.

    Derivatives: sigmoid(x - y) and sigmoid(y - x); 1/2 each where x and y are the same infinity.
    """

    numpy = np.logaddexp
    flops = 50

    def scalar(self, x: Expr, y: Expr) -> Expr:
        apart = x.maximum(y) + (-abs(x - y)).exp().log1p()
        return select(x.eq(y), x + _LN2, apart)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        same = functions.logical_and(x == y, functions.isinf(x))  # x - y is NaN there
        return tuple(Sigmoid()(functions.where(same, ZERO, apart)) for apart in (x - y, y - x))


class XLogY(Floating, name="xlogy"):
    """x * log(y), and 0 where x is 0 unless y is NaN.

    Derivatives: log(y), but 0 where x is 0 and y at most 0; and x / y, 0 where x is 0.
    """

    kink = "the derivatives where x is 0 are 0, by x only where y is at most 0"
    flops = 25

    def reference(self, x: Array, y: Array) -> Any:
        zero = np.zeros((), x.dtype)
        return np.where((x == 0) & (y == y), zero, x * np.log(y))

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(x.eq(0.0) & y.eq(y), literal(0.0, x.dtype), x * y.log())

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        where = functions.where
        nothing = x == 0.0
        undefined = functions.logical_and(nothing, y <= 0.0)
        return where(undefined, ZERO, Log()(y)), where(nothing, ZERO, x / y)


def gaussian(x: Array, factor: float) -> Array:
    """exp(factor * x ** 2) for a whole power of two, of moderate float64 x, to the last digits."""
    short = x.astype(np.float32).astype(np.float64)  # an exact square
    return np.asarray(np.exp(factor * short * short) * np.exp(factor * (x - short) * (x + short)))


def polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    """c0 + c1 x + c2 x**2 + ..."""
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def scaled_erfc(a: Array) -> Array:
    """exp(a ** 2) * erfc(a) for float64 a >= 0, by the kernel's series."""
    inside = np.minimum(a, 1e300)
    return polynomial((inside - 4) / (inside + 4), ERFCX[F64]) / (a + 4)


class Erfc(Floating, name="erfc"):
    """1 - erf(x), accurate where that vanishes. Derivative: -2 / sqrt(pi) * exp(-x * x)."""

    primitive = "erfc"
    interval = Range(0.0, 2.0, Zero.NEVER)
    flops = 60

    def reference(self, x: Array) -> Any:
        from scipy.special import erfc  # building a graph must not load scipy

        wide = np.asarray(x, np.float64)
        # In the tail SciPy's erfc has 1e-13 of error, for it rounds x * x before exp(-x * x).
        tail = (wide > 0.5) & (wide < 27)
        inside = np.where(tail, wide, 0.5)
        scaled = gaussian(inside, -1.0) * scaled_erfc(inside)
        return np.asarray(np.where(tail, scaled, erfc(wide))).astype(x.dtype)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_MINUS_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)


# -- public functions -----------------------------------------------------------------------------


exp2 = unary(Exp2, "exp2", "sg.exp2([3.0, -1.0])", "array([8. , 0.5])")
log2 = unary(Log2, "log2", "sg.log2([0.5, 1.0, 8.0])", "array([-1.,  0.,  3.])")
log10 = unary(Log10, "log10", "sg.log10([1.0, 1000.0])", "array([0., 3.])")
cbrt = unary(Cbrt, "cbrt", "sg.cbrt([8.0, -1.0])", "array([ 2., -1.])")
logaddexp = binary(
    LogAddExp,
    "logaddexp",
    "sg.logaddexp([0.0, 1000.0], 0.0)",
    "array([6.93147181e-01, 1.00000000e+03])",
)
xlogy = binary(XLogY, "xlogy", "sg.xlogy([0.0, 2.0], [0.0, 1.0])", "array([0., 0.])")
erfc = unary(Erfc, "erfc", "sg.erfc([0.0, 10.0])", "array([1.00000000e+00, 2.08848758e-45])")

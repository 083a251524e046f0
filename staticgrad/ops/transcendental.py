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
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.cotangent import Partial
from staticgrad.ops.elementwise import Floating, Operand, quiet

_TWO_OVER_ROOT_PI: Final = 2.0 / math.sqrt(math.pi)


class Exp(Floating, name="exp"):
    """e ** x. Derivative: exp(x)."""

    positive = "always"
    flops = 20

    @quiet
    def reference(self, x: Array) -> Any:
        return np.exp(x)

    def scalar(self, x: Expr) -> Expr:
        return x.exp()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, 1.0 if of(x).high <= 0 else inf, Zero.NEVER)


class Expm1(Floating, name="expm1"):
    """e ** x - 1, accurate near 0. Derivative: exp(x) = expm1(x) + 1."""

    flops = 24

    @quiet
    def reference(self, x: Array) -> Any:
        return np.expm1(x)

    def scalar(self, x: Expr) -> Expr:
        return x.expm1()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (out + 1.0,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Log(Floating, name="log"):
    """Natural logarithm; -inf at 0, NaN below. Derivative: 1 / x."""

    flops = 22

    @quiet
    def reference(self, x: Array) -> Any:
        return np.log(x)

    def scalar(self, x: Expr) -> Expr:
        return x.log()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / x,)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / x,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0 if a.low >= 1 else -inf, 0.0 if a.high <= 1 else inf)


class Log1p(Floating, name="log1p"):
    """log(1 + x), accurate near 0; -inf at -1, NaN below. Derivative: 1 / (1 + x)."""

    flops = 26

    @quiet
    def reference(self, x: Array) -> Any:
        return np.log1p(x)

    def scalar(self, x: Expr) -> Expr:
        return x.log1p()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 / (x + 1.0),)

    def pullback(self, ct: Any, needed: Any, out: Any, x: Any) -> tuple[Any, ...]:
        return (ct / (x + 1.0),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).signs()


class Sqrt(Floating, name="sqrt"):
    """Square root, rounded correctly; NaN below 0. Derivative: 0.5 / sqrt(x), inf at 0."""

    exact = True
    flops = 5
    kink = "the derivative at 0 is inf"

    @quiet
    def reference(self, x: Array) -> Any:
        return np.sqrt(x)

    def scalar(self, x: Expr) -> Expr:
        return x.sqrt()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (0.5 / out,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(0.0, inf, a.zero if a.low >= 0 else Zero.MAYBE)


class Sin(Floating, name="sin"):
    """Sine of x in radians. Derivative: cos(x)."""

    interval = Range(-1.0, 1.0)
    flops = 24

    @quiet
    def reference(self, x: Array) -> Any:
        return np.sin(x)

    def scalar(self, x: Expr) -> Expr:
        return x.sin()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (Cos()(x),)


class Cos(Floating, name="cos"):
    """Cosine of x in radians. Derivative: -sin(x)."""

    interval = Range(-1.0, 1.0)
    flops = 24

    @quiet
    def reference(self, x: Array) -> Any:
        return np.cos(x)

    def scalar(self, x: Expr) -> Expr:
        return x.cos()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (-Sin()(x),)


class Tanh(Floating, name="tanh"):
    """Hyperbolic tangent. Derivative: 1 - tanh(x) ** 2."""

    interval = Range(-1.0, 1.0)
    flops = 28

    @quiet
    def reference(self, x: Array) -> Any:
        return np.tanh(x)

    def scalar(self, x: Expr) -> Expr:
        return x.tanh()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (1.0 - out * out,)


class Sigmoid(Floating, name="sigmoid"):
    """1 / (1 + exp(-x)), from e = exp(-abs(x)) so that neither end overflows or cancels.

    At x >= 0 it is 1 / (1 + e), below it is e / (1 + e). Derivative: s * (1 - s).
    """

    interval = Range(0.0, 1.0, Zero.NEVER)
    positive = "always"
    flops = 28

    @quiet
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
    """The error function, 2 / sqrt(pi) * integral of exp(-t * t) from 0 to x.

    Derivative: 2 / sqrt(pi) * exp(-x * x).
    """

    interval = Range(-1.0, 1.0)
    flops = 36

    @quiet
    def reference(self, x: Array) -> Any:
        from scipy.special import erf  # building a graph must not load scipy

        return np.asarray(erf(np.asarray(x, np.float64))).astype(x.dtype)

    def eager(self, x: Array) -> Any:
        """In the dtype of x throughout: half the time in float32."""
        from scipy.special import erf

        return erf(x)

    def scalar(self, x: Expr) -> Expr:
        return x.erf()

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (_TWO_OVER_ROOT_PI * Exp()(-(x * x)),)


# -- public functions -----------------------------------------------------------------------------


def exp(x: Operand[AnyValue]) -> AnyValue:
    """e ** x, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The powers, of x's shape.

    >>> sg.evaluate(sg.exp([0.0, 1.0]))
    array([1.        , 2.71828183])
    """
    return Exp()(x)


def expm1(x: Operand[AnyValue]) -> AnyValue:
    """e ** x - 1, accurate near 0, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        exp(x) - 1, of x's shape.

    >>> sg.evaluate(sg.expm1([0.0, 1e-12]))
    array([0.e+00, 1.e-12])
    """
    return Expm1()(x)


def log(x: Operand[AnyValue]) -> AnyValue:
    """Natural logarithm, elementwise; -inf at 0, NaN below; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The logarithms, of x's shape.

    >>> sg.evaluate(sg.log([1.0, 0.0]))
    array([  0., -inf])
    """
    return Log()(x)


def log1p(x: Operand[AnyValue]) -> AnyValue:
    """log(1 + x), accurate near 0, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        log(1 + x), of x's shape.

    >>> sg.evaluate(sg.log1p([0.0, 1e-12]))
    array([0.e+00, 1.e-12])
    """
    return Log1p()(x)


def sqrt(x: Operand[AnyValue]) -> AnyValue:
    """Square root, elementwise; NaN below 0; integers and bools become float64.

    Its derivative at 0 is inf.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        The roots, of x's shape.

    >>> sg.evaluate(sg.sqrt([4.0, 2.0]))
    array([2.        , 1.41421356])
    """
    return Sqrt()(x)


def sin(x: Operand[AnyValue]) -> AnyValue:
    """Sine of x in radians, elementwise; integers and bools become float64.

    Every finite x is reduced exactly, however large.

    Args:
        x: angles in radians; integers and bools are converted to float64.

    Returns:
        Numbers between -1 and 1, of x's shape.

    >>> sg.evaluate(sg.sin([0.0, sg.pi / 2]))
    array([0., 1.])
    """
    return Sin()(x)


def cos(x: Operand[AnyValue]) -> AnyValue:
    """Cosine of x in radians, elementwise; integers and bools become float64.

    Every finite x is reduced exactly, however large.

    Args:
        x: angles in radians; integers and bools are converted to float64.

    Returns:
        Numbers between -1 and 1, of x's shape.

    >>> sg.evaluate(sg.cos([0.0, sg.pi]))
    array([ 1., -1.])
    """
    return Cos()(x)


def tanh(x: Operand[AnyValue]) -> AnyValue:
    """Hyperbolic tangent, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Numbers between -1 and 1, of x's shape.

    >>> sg.evaluate(sg.tanh([0.0, 1.0]))
    array([0.        , 0.76159416])
    """
    return Tanh()(x)


def sigmoid(x: Operand[AnyValue]) -> AnyValue:
    """1 / (1 + exp(-x)), elementwise, right at both ends; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Numbers between 0 and 1, of x's shape.

    >>> sg.evaluate(sg.sigmoid([0.0, -1000.0]))
    array([0.5, 0. ])
    """
    return Sigmoid()(x)


def erf(x: Operand[AnyValue]) -> AnyValue:
    """The error function, elementwise; integers and bools become float64.

    Args:
        x: a value; integers and bools are converted to float64.

    Returns:
        Numbers between -1 and 1, of x's shape.

    >>> sg.evaluate(sg.erf([0.0, 1.0]))
    array([0.        , 0.84270079])
    """
    return Erf()(x)


NUMPY_NAMES["expit"] = "sigmoid"  # a ufunc of scipy.special

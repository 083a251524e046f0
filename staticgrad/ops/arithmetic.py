"""Sums, products, quotients, and the signs and steps of a number: the exact arithmetic.

Integers wrap as in NumPy; on bools a sum is *or* and a product is *and*. A sign bit is read from
the bits, so that those of zeros and NaN count. Powers stand in ``powers.py``, choices between two
operands in ``selection.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero, peeled
from staticgrad.ops.cotangent import MINUS_ONE, ONE, Cotangent, Partial
from staticgrad.ops.elementwise import Elementwise, Floating, Operand, quiet
from staticgrad.ops.operands import as_value
from staticgrad.ops.reduce import Max, Min
from staticgrad.types.dtype import BOOL, DType
from staticgrad.vecmath.layout import sign_bit


class Add(Elementwise, name="add"):
    """x + y. Integers wrap; on bools, or."""

    positive = "kept"
    exact = True
    commutative = True

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.add(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | y if x.dtype is BOOL else x + y

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        return ONE, ONE

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, *args: Any
    ) -> tuple[Cotangent | None, ...]:
        return ct, ct

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        a, b = of(x), of(y)
        both = a.low >= 0 and b.low >= 0
        zero = min(a.zero, b.zero) if both else Zero.MAYBE
        return Range(a.low + b.low, a.high + b.high, zero)


class Sub(Elementwise, name="sub"):
    """x - y. Integers wrap."""

    exact = True
    kinds = "iuf"
    hint = "for bools use x ^ y (differ), or convert with astype"

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.subtract(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        return ONE, MINUS_ONE

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        if x.key == y.key:
            return Range(0.0, 0.0, Zero.REACHED)
        left, right = peeled(x).node, peeled(y).node
        if isinstance(right.op, Max) and peeled(right.args[0]).node is left:
            return Range(-inf, 0.0, Zero.REACHED)
        if isinstance(right.op, Min):
            source = peeled(right.args[0]).node
            largest = isinstance(left.op, Max) and peeled(left.args[0]).node is source
            if left is source or largest:
                return Range(0.0, inf, Zero.REACHED)
        a, b = of(x), of(y)
        return Range(a.low - b.high, a.high - b.low)


class Mul(Elementwise, name="mul"):
    """x * y. Integers wrap; bools are combined by logical and."""

    positive = "kept"
    exact = True
    commutative = True

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.multiply(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y if x.dtype is BOOL else x * y

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return y, x

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        return of(x).squared() if x.key == y.key else of(x) * of(y)


class Div(Floating, name="div"):
    """x / y, always floating: 1/0 is inf, 0/0 is NaN.

    Its rule divides the cotangent once, g = ct / y, and gives (g, -g * out).
    """

    positive = "kept"
    exact = True
    flops = 4

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.true_divide(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x / y

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return 1.0 / y, -out / y

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any, y: Any
    ) -> tuple[Cotangent | None, ...]:
        share = ct / y
        return share, -(share * out) if needed[1] else None

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        a, b = of(x), of(y)
        return Range(zero=a.zero) if b.low < 0 else a.signs()


class Neg(Elementwise, name="neg"):
    """-x. Integers wrap: -INT_MIN is INT_MIN."""

    exact = True
    kinds = "iuf"
    hint = "for bools use ~x"

    @quiet
    def reference(self, x: Array) -> Any:
        return np.negative(x)

    def scalar(self, x: Expr) -> Expr:
        return -x

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (MINUS_ONE,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(-a.high, -a.low, a.zero)


class Abs(Elementwise, name="abs"):
    """abs(x) = x if x > 0 else -x. Integers wrap: abs(INT_MIN) is INT_MIN. abs'(0) = 0."""

    exact = True
    kink = "the derivative at 0 is 0"

    @quiet
    def reference(self, x: Array) -> Any:
        return np.absolute(x)

    def scalar(self, x: Expr) -> Expr:
        return x if x.dtype.kind in "bu" else abs(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (functions.sign(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).magnitude()


class Sign(Elementwise, name="sign"):
    """-1, 0 or 1 as x is below, at or above 0; NaN of NaN, +0 of -0. Carries no gradient."""

    interval = Range(-1.0, 1.0)
    exact = True
    differentiable = False
    kinds = "iuf"

    @quiet
    def reference(self, x: Array) -> Any:
        return np.sign(x)

    def scalar(self, x: Expr) -> Expr:
        zero, one = literal(0, x.dtype), literal(1, x.dtype)
        if x.dtype.kind == "u":
            return select(x > zero, one, zero)
        below = select(x < zero, literal(-1, x.dtype), select(x.eq(zero), zero, x))
        return select(x > zero, one, below)


# -- public functions -----------------------------------------------------------------------------


def add(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x + y, broadcast; dtypes promote. Integers wrap; on bools, or.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        The sums, in the dtype in which they meet.

    >>> sg.evaluate(sg.add([1, 2], 0.5))
    array([1.5, 2.5])
    """
    return Add()(x, y)


def subtract(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x - y, broadcast; dtypes promote. Integers wrap.

    Args:
        x, y: numbers, which broadcast.

    Returns:
        The differences, in the dtype in which they meet.

    >>> sg.evaluate(sg.subtract([1, 2], [[1], [2]]))
    array([[ 0,  1],
           [-1,  0]])
    """
    return Sub()(x, y)


def multiply(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x * y, broadcast; dtypes promote. Integers wrap; bools are combined by logical and.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        The products, in the dtype in which they meet.

    >>> sg.evaluate(sg.multiply([1.0, 2.0], 3))
    array([3., 6.])
    """
    return Mul()(x, y)


def divide(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x / y, broadcast, always floating: two integers or bools give float64.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        The quotients, in a floating dtype.

    >>> sg.evaluate(sg.divide([1, 2], 4))
    array([0.25, 0.5 ])
    """
    return Div()(x, y)


def negative(x: Operand[AnyValue]) -> AnyValue:
    """-x, in the dtype of x. Integers wrap.

    Args:
        x: numbers.

    Returns:
        -x, of x's shape and dtype.

    >>> sg.evaluate(sg.negative([-2, 3]))
    array([ 2, -3])
    """
    return Neg()(x)


def positive(x: Operand[AnyValue]) -> AnyValue:
    """x itself.

    Args:
        x: a value of any dtype but bool.

    >>> sg.evaluate(sg.positive([1, -2]))
    array([ 1, -2])
    """
    (value,) = Neg().prepare(x)
    if value.dtype.is_bool:
        raise Neg().refuse(value.dtype)
    return value


def absolute(x: Operand[AnyValue]) -> AnyValue:
    """The magnitude of x, in its dtype; the derivative at 0 is 0.

    Args:
        x: numbers or bools.

    Returns:
        The magnitudes, of x's shape and dtype.

    >>> sg.evaluate(sg.abs([-2, 3]))
    array([2, 3])
    """
    return Abs()(x)


def sign(x: Operand[AnyValue]) -> AnyValue:
    """-1, 0 or 1, in the dtype of x; NaN of NaN. Carries no gradient.

    Args:
        x: numbers.

    Returns:
        -1, 0 or 1 for each element, in x's dtype.

    >>> sg.evaluate(sg.sign([-2.0, 0.0, 3.0]))
    array([-1.,  0.,  1.])
    """
    return Sign()(x)


NUMPY_NAMES.update({"true_divide": "divide", "abs": "absolute", "fix": "trunc"})


class Signbit(Floating, name="signbit"):
    """Whether the sign bit is set: of -0 and of a NaN with it, too. Carries no gradient."""

    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL

    def reference(self, x: Array) -> Any:
        return np.signbit(x)

    def scalar(self, x: Expr) -> Expr:
        return sign_bit(x).ne(0)


# -- public functions -----------------------------------------------------------------------------


def signbit(x: Operand[AnyValue]) -> AnyValue:
    """Whether the sign bit of x is set: of -0 too. Of integers: whether x is negative.

    Args:
        x: a value of any dtype.

    >>> sg.evaluate(sg.signbit([-1.0, -0.0, 0.0]))
    array([ True,  True, False])
    """
    value = as_value("signbit", x)
    if value.dtype.is_float:
        return Signbit()(value)
    return functions.less(value, np.zeros((), value.dtype.numpy))

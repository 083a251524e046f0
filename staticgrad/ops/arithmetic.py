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
from staticgrad.ir.ranges import Range, RangeOf, Zero, peeled
from staticgrad.ops.cotangent import MINUS_ONE, ONE, Cotangent, Partial
from staticgrad.ops.elementwise import Elementwise, Floating, Operand
from staticgrad.ops.operands import as_value
from staticgrad.ops.public import binary, unary
from staticgrad.ops.reduce import Max, Min
from staticgrad.types.dtype import BOOL, DType
from staticgrad.vecmath.layout import sign_bit


class Add(Elementwise, name="add"):
    """x + y. Integers wrap; on bools, or."""

    numpy = np.add
    positive = "kept"
    exact = True
    commutative = True

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

    numpy = np.subtract
    exact = True
    kinds = "iuf"
    hint = "for bools use x ^ y (differ), or convert with astype"

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

    numpy = np.multiply
    positive = "kept"
    exact = True
    commutative = True

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y if x.dtype is BOOL else x * y

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return y, x

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        return of(x).squared() if x.key == y.key else of(x) * of(y)


class Div(Floating, name="div"):
    """x / y, always floating: 1/0 is inf, 0/0 is NaN."""

    numpy = np.true_divide
    positive = "kept"
    exact = True
    flops = 4

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

    numpy = np.negative
    exact = True
    kinds = "iuf"
    hint = "for bools use ~x"

    def scalar(self, x: Expr) -> Expr:
        return -x

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (MINUS_ONE,)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a = of(x)
        return Range(-a.high, -a.low, a.zero)


class Abs(Elementwise, name="abs"):
    """Absolute value. Integers wrap: abs(INT_MIN) is INT_MIN. The derivative at 0 is 0."""

    numpy = np.absolute
    exact = True
    kink = "the derivative at 0 is 0"

    def scalar(self, x: Expr) -> Expr:
        return x if x.dtype.kind in "bu" else abs(x)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (functions.sign(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x).magnitude()


class Sign(Elementwise, name="sign"):
    """-1, 0 or 1 for x below, at or above 0; NaN of NaN, +0 of -0. Carries no gradient."""

    numpy = np.sign
    interval = Range(-1.0, 1.0)
    exact = True
    differentiable = False
    kinds = "iuf"

    def scalar(self, x: Expr) -> Expr:
        zero, one = literal(0, x.dtype), literal(1, x.dtype)
        if x.dtype.kind == "u":
            return select(x > zero, one, zero)
        below = select(x < zero, literal(-1, x.dtype), select(x.eq(zero), zero, x))
        return select(x > zero, one, below)


# -- public functions -----------------------------------------------------------------------------


add = binary(Add, "add", "sg.add([1, 2], 0.5)", "array([1.5, 2.5])")
subtract = binary(
    Sub, "subtract", "sg.subtract([1, 2], [[1], [2]])", "array([[ 0,  1],\n       [-1,  0]])"
)
multiply = binary(Mul, "multiply", "sg.multiply([1.0, 2.0], 3)", "array([3., 6.])")
divide = binary(Div, "divide", "sg.divide([1, 2], 4)", "array([0.25, 0.5 ])")
negative = unary(Neg, "negative", "sg.negative([-2, 3])", "array([ 2, -3])")


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


absolute = unary(Abs, "absolute", "sg.abs([-2, 3])", "array([2, 3])")
sign = unary(Sign, "sign", "sg.sign([-2.0, 0.0, 3.0])", "array([-1.,  0.,  1.])")


NUMPY_NAMES.update({"true_divide": "divide", "abs": "absolute", "fix": "trunc"})


class Signbit(Floating, name="signbit"):
    """Whether the sign bit is set: of -0 and of a NaN with it, too. Carries no gradient."""

    numpy = np.signbit
    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL

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

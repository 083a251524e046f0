"""Quotients rounded down, remainders, and shifts: what NumPy gives for whole numbers.

Integers never trap: a zero divisor gives 0, INT_MIN by -1 wraps, a shift by the width or more (or
by a negative count) leaves 0 or the sign. Floats follow NumPy's ``divmod``, zeros and infinities
included.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ops.cotangent import ONE, Partial
from staticgrad.ops.elementwise import Elementwise, Operand, quiet
from staticgrad.vecmath.layout import sign_bit


class FloorDivide(Elementwise, name="floor_divide"):
    """x / y rounded down. Integers: 0 for a zero divisor, INT_MIN / -1 wraps. No gradient."""

    exact = True
    differentiable = False
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.floor_divide(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        if x.dtype.is_integer:
            return x.floor_divide(y)
        return x.floor_quotient(y)


class Remainder(Elementwise, name="remainder"):
    """x - y * floor(x / y), with the sign of y. Integers: 0 for a zero divisor.

    Derivatives: 1 and -floor(x / y).
    """

    kink = "the derivatives at the jumps are 1 and -floor(x / y)"
    exact = True
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.remainder(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        if x.dtype.is_integer:
            return x.remainder(y)
        left = x.fmod(y)
        opposite = (sign_bit(y) ^ sign_bit(left)).ne(0)
        zero = sign_bit(y).bitcast(y.dtype)
        return select(left.eq(0.0), zero, select(opposite, left + y, left))

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return ONE, -FloorDivide()(x, y)


class Fmod(Elementwise, name="fmod"):
    """x - y * trunc(x / y), with the sign of x (C's). Integers: 0 for a zero divisor.

    Derivatives: 1 and -trunc(x / y).
    """

    kink = "the derivatives at the jumps are 1 and -trunc(x / y)"
    exact = True
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.fmod(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        if x.dtype.is_float:
            return x.fmod(y)
        left = x.remainder(y)
        if x.dtype.kind == "u":
            return left
        zero = literal(0, x.dtype)
        opposite = left.ne(zero) & ((left ^ x) < zero)
        return select(opposite, left - y, left)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return ONE, -functions.rint((x - out) / y)


class _Shift(Elementwise):
    """The bits of an integer moved; carries no gradient."""

    exact = True
    differentiable = False
    kinds = "iu"
    hint = "shifts take integers; convert with astype('int64')"


class LeftShift(_Shift, name="left_shift"):
    """x << y: 0 where y is negative or at least the width."""

    def reference(self, x: Array, y: Array) -> Any:
        return np.left_shift(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x << y


class RightShift(_Shift, name="right_shift"):
    """x >> y, filled with the sign; only that is left where y is negative or at least the width."""

    def reference(self, x: Array, y: Array) -> Any:
        return np.right_shift(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x >> y


# -- public functions -----------------------------------------------------------------------------


def floor_divide(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x // y, rounded down, broadcast; dtypes promote. Carries no gradient.

    Integers divided by zero give 0; floats what NumPy gives (infinite, or NaN of 0 // 0).

    Args:
        x, y: numbers, which broadcast.

    Returns:
        Whole quotients, rounded down, in the dtype in which they meet.

    >>> sg.evaluate(sg.floor_divide([5, -5], 3))
    array([ 1, -2])
    """
    return FloorDivide()(x, y)


def remainder(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x % y with the sign of y, broadcast; dtypes promote. Modulo zero: 0 of integers, else NaN.

    Derivatives: 1 by x and -floor(x / y) by y, at the jumps too.

    Args:
        x, y: numbers, which broadcast.

    Returns:
        What is left, with the sign of y.

    >>> sg.evaluate(sg.remainder([5, -5], 3))
    array([2, 1])
    """
    return Remainder()(x, y)


def fmod(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The remainder with the sign of x (C's), broadcast. Modulo zero: 0 of integers, else NaN.

    Derivatives: 1 by x and -trunc(x / y) by y, at the jumps too.

    >>> sg.evaluate(sg.fmod([5, -5], 3))
    array([ 2, -2])
    """
    return Fmod()(x, y)


def left_shift(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x << y on integers, broadcast; 0 where y is negative or at least the width.

    Args:
        x, y: integers, which broadcast.

    >>> sg.evaluate(sg.bitwise_left_shift([1, 2], 3))
    array([ 8, 16])
    """
    return LeftShift()(x, y)


def right_shift(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x >> y on integers, broadcast; for a negative y, or one of the width or more, the sign alone.

    Args:
        x, y: integers, which broadcast.

    >>> sg.evaluate(sg.bitwise_right_shift([16, -16], 2))
    array([ 4, -4])
    """
    return RightShift()(x, y)


NUMPY_NAMES.update(
    mod="remainder", bitwise_left_shift="left_shift", bitwise_right_shift="right_shift"
)

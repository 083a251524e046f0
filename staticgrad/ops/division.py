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
from staticgrad.ops.cotangent import ONE, Partial
from staticgrad.ops.elementwise import Elementwise
from staticgrad.ops.public import binary
from staticgrad.vecmath.layout import sign_bit


class FloorDivide(Elementwise, name="floor_divide"):
    """x / y rounded down. Integers: 0 for a zero divisor, INT_MIN / -1 wraps. No gradient."""

    numpy = np.floor_divide
    exact = True
    differentiable = False
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

    def scalar(self, x: Expr, y: Expr) -> Expr:
        if x.dtype.is_integer:
            return x.floor_divide(y)
        return x.floor_quotient(y)


class Remainder(Elementwise, name="remainder"):
    """x - y * floor(x / y), with the sign of y. Integers: 0 for a zero divisor.

    Derivatives: 1 and -floor(x / y), at the jumps too.
    """

    numpy = np.remainder
    kink = "the derivatives at the jumps are 1 and -floor(x / y)"
    exact = True
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

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
    """x - y * trunc(x / y), with the sign of x, as in C. Integers: 0 for a zero divisor.

    Derivatives: 1 and -trunc(x / y), at the jumps too.
    """

    numpy = np.fmod
    kink = "the derivatives at the jumps are 1 and -trunc(x / y)"
    exact = True
    kinds = "iuf"
    flops = 30
    hint = "convert bools with astype('int64')"

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
    """x << y: 0 where y is negative or at least the number of bits."""

    numpy = np.left_shift

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x << y


class RightShift(_Shift, name="right_shift"):
    """x >> y, filled with the sign: 0 or -1 where y is negative or at least the number of bits."""

    numpy = np.right_shift

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x >> y


# -- public functions -----------------------------------------------------------------------------


floor_divide = binary(FloorDivide, "floor_divide", "sg.floor_divide([5, -5], 3)", "array([ 1, -2])")
remainder = binary(Remainder, "remainder", "sg.remainder([5, -5], 3)", "array([2, 1])")
fmod = binary(Fmod, "fmod", "sg.fmod([5, -5], 3)", "array([ 2, -2])")
left_shift = binary(LeftShift, "left_shift", "sg.bitwise_left_shift([1, 2], 3)", "array([ 8, 16])")
right_shift = binary(
    RightShift, "right_shift", "sg.bitwise_right_shift([16, -16], 2)", "array([ 4, -4])"
)


NUMPY_NAMES.update(
    mod="remainder", bitwise_left_shift="left_shift", bitwise_right_shift="right_shift"
)

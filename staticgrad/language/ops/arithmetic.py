"""Arithmetic: sums, products, quotients, powers, remainders, shifts, signs, rounding.

Integers wrap and never trap: a zero divisor gives 0, a shift by the width or more 0 or the sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from math import inf
from operator import mul, truediv
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.errors.wording import quote
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.expr import Expr, apply, literal, select
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.pairs import Complex, pair, parts_of
from staticgrad.language.ir.python_numbers import PythonNumber
from staticgrad.language.ir.ranges import POSITIVE, Range, RangeOf, Zero, skip_moves
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.basic import log, sqrt, where
from staticgrad.language.ops.cotangent import MINUS_ONE, ONE, ZERO, Cotangent, Partial, times
from staticgrad.language.ops.elementwise import (
    ArrayLike,
    Elementwise,
    Floating,
    binary,
    check_range,
    common_dtype,
    lift_operand,
    unary,
)
from staticgrad.language.ops.logic import equal, less, logical_and, not_equal
from staticgrad.language.ops.operands import as_value
from staticgrad.language.ops.reduce import Max, Min
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Dim
from staticgrad.language.types.dtype import BOOL, DType
from staticgrad.language.vecmath.layout import sign_bit
from staticgrad.support.primitives import fma


class Add(Elementwise, name="add"):
    """x + y. Integers wrap; on bools, or."""

    numpy = np.add
    rounds_once = True
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
        are_nonnegative = a.low >= 0 and b.low >= 0
        zero = min(a.zero, b.zero) if are_nonnegative else Zero.MAYBE
        return Range(a.low + b.low, a.high + b.high, zero)


class Sub(Elementwise, name="sub"):
    """x - y. Integers wrap."""

    numpy = np.subtract
    rounds_once = True
    exact = True
    kinds = "iuf"
    hint = "for bools use x ^ y (differ), or convert with astype"

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        return ONE, MINUS_ONE

    def value_range(self, of: RangeOf, x: Any, y: Any) -> Range | None:
        """Bound the difference x - y: at most 0 for x minus its max, at least 0 for max - min."""
        if x.key == y.key:
            return Range(0.0, 0.0, Zero.REACHED)
        left, right = skip_moves(x).node, skip_moves(y).node
        if isinstance(right.op, Max) and skip_moves(right.args[0]).node is left:
            return Range(-inf, 0.0, Zero.REACHED)
        if isinstance(right.op, Min):
            source = skip_moves(right.args[0]).node
            largest = isinstance(left.op, Max) and skip_moves(left.args[0]).node is source
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
        return of(x).square() if x.key == y.key else of(x) * of(y)


class MultiplyAdd(Elementwise, name="multiply_add"):
    """x * y + z, rounded once: a step of the sum of a matrix product's element."""

    kinds = "f"
    hint = "convert other numbers with astype('float64')"
    primitive = "fma"
    exact = True
    flops = 2

    def reference(self, x: Any, y: Any, z: Any) -> Any:
        return fma(x, y, z)

    def partials(self, out: Any, x: Any, y: Any, z: Any) -> tuple[Partial, ...]:
        return y, x, ONE


class Div(Floating, name="div"):
    """x / y, always floating: 1/0 is inf, 0/0 is NaN."""

    has_poles = True
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
    rounds_once = True
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
        return (sign(x),)

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
        zero, positive = literal(0, x.dtype), literal(1, x.dtype)
        if x.dtype.kind == "u":
            return select(x > zero, positive, zero)
        below = select(x < zero, literal(-1, x.dtype), select(x.eq(zero), zero, x))
        return select(x > zero, positive, below)


add = binary(Add, "sg.add([1, 2], 0.5)", "array([1.5, 2.5])")
subtract = binary(
    Sub, "sg.subtract([1, 2], [[1], [2]])", "array([[ 0,  1],\n       [-1,  0]])", name="subtract"
)
multiply = binary(Mul, "sg.multiply([1.0, 2.0], 3)", "array([3., 6.])", name="multiply")
divide = binary(Div, "sg.divide([1, 2], 4)", "array([0.25, 0.5 ])", name="divide")
negative = unary(Neg, "sg.negative([-2, 3])", "array([ 2, -3])", name="negative")


def positive(x: ArrayLike[AnyValue]) -> AnyValue:
    """x itself.

    Args:
        x: a value of any dtype but bool.

    >>> sg.positive([1.0, -2.0])
    array([ 1., -2.])
    """
    (value,) = Neg().prepare(x)
    if value.dtype.is_bool:
        raise Neg().refuse(value.dtype)
    return value


absolute = unary(Abs, "sg.abs([-2, 3])", "array([2, 3])", name="absolute")
sign = unary(Sign, "sg.sign([-2.0, 0.0, 3.0])", "array([-1.,  0.,  1.])")


NUMPY_NAMES.update({"true_divide": "divide", "abs": "absolute"})


class Signbit(Floating, name="signbit"):
    """True if the sign bit is set: also for -0 and for NaN. Carries no gradient."""

    numpy = np.signbit
    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL

    def scalar(self, x: Expr) -> Expr:
        return sign_bit(x).ne(0)


def signbit(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return whether the sign bit of x is set: of -0 too. Of integers: whether x is negative.

    Args:
        x: a value of any dtype.

    >>> sg.signbit([-0.0, 1.0])
    array([ True, False])
    """
    value = as_value(x)
    if value.dtype.is_float:
        return Signbit()(value)
    return less(value, np.zeros((), value.dtype.numpy))


#: Floating powers up to here are multiplied out, within 63 half-ULPs of the true power.
_MAX_EXPONENT: Final = 64


def integer_power(x: Any, exponent: int) -> Any:
    """Compute x ** exponent for exponent >= 1 by repeated squaring from the highest bit."""
    result = x
    for bit in bin(exponent)[3:]:
        result = result * result
        if bit == "1":
            result = result * x
    return result


class IntegerPow(Elementwise, name="integer_pow"):
    """x ** exponent for an integer literal: repeated multiplication, 1 / that if negative.

    x ** 0 is 1, of NaN too. Integers wrap and take no negative exponent.
    d/dx = exponent * x ** (exponent - 1).
    """

    has_poles = True
    exact = True
    kinds = "iuf"
    hint = "for bools use x & y"
    flops = 3
    exponent: int

    def met_dtype(self, *types: TensorType) -> DType:
        """Return the dtype of an integer power: that of its operand."""
        if self.exponent < 0 and not types[0].dtype.is_float:
            raise DTypeError(
                f"integers have no negative powers: {types[0].dtype.numpy} ** {self.exponent}",
                hint="convert the base first: x.astype('float64')",
            )
        return super().met_dtype(*types)

    def reference(self, x: Array) -> Any:
        if self.exponent == 0:
            return np.ones_like(x)
        power = integer_power(x, abs(self.exponent))
        return power if self.exponent > 0 else 1 / power

    def scalar(self, x: Expr) -> Expr:
        if self.exponent == 0:
            return literal(1, x.dtype)
        power: Expr = integer_power(x, abs(self.exponent))
        return power if self.exponent > 0 else 1 / power

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        """Differentiate x ** n for a literal n: n * x ** (n - 1)."""
        if self.exponent in (0, 1):
            return (float(self.exponent),)
        if self.exponent == -1:
            return (-(out * out),)
        if self.exponent == 2:
            return (2.0 * x,)
        return (float(self.exponent) * IntegerPow(self.exponent - 1)(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        """Bound x ** n for a literal n: at least 0 for an even n."""
        a, even = of(x), self.exponent % 2 == 0
        if self.exponent > 0 and even:
            squared = a.square()
            return squared if self.exponent == 2 else Range(0.0, inf, squared.zero)
        if a.positive or (self.exponent < 0 and even):
            return POSITIVE
        return Range(0.0, inf, a.zero) if a.low >= 0 and self.exponent > 0 else None


class Pow(Floating, name="pow"):
    """x ** y for floating x and y: 1 at y = 0, NaN for negative x and a fraction y.

    d/dx = y * x ** (y - 1), 0 at (0, 0). d/dy = out * log(x), 0 at x = 0 for y >= 0.
    """

    has_poles = True
    numpy = np.power
    primitive = "pow"
    flops = 60
    kink = "d/dx is 0 at (0, 0); d/dy is 0 at x = 0 for y >= 0"

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return _by_base(x, y), _by_exponent(out, x, y)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any, y: Any
    ) -> tuple[Cotangent | None, ...]:
        by_base = times(ct, _by_base(x, y)) if needed[0] else None
        return by_base, times(ct, _by_exponent(out, x, y)) if needed[1] else None


class IntPow(Elementwise, name="int_pow"):
    """x ** y for integers, wrapping. Where y < 0, 1 / x ** -y without its fraction; 0 of x = 0.

    So it is 0 but for the bases 1 and -1. Integers never trap: NumPy refuses the whole array.
    """

    exact = True
    differentiable = False
    kinds = "iu"
    hint = "for bools use x & y"
    flops = 128

    def reference(self, x: Array, y: Array) -> Any:
        power = np.power(x, np.maximum(y, 0))
        if x.dtype.kind == "u":
            return power
        sign = np.where(y & 1, x, x * x)
        unit = (x == 1) | (x == -1)
        return np.where(y < 0, np.where(unit, sign, 0), power).astype(x.dtype)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        power = apply("int_pow", x, y)
        if x.dtype.kind == "u":
            return power
        sign = select((y & 1).ne(0), x, x * x)
        unit = x.eq(1) | x.eq(-1)
        return select(y < 0, select(unit, sign, literal(0, x.dtype)), power)


def _by_base(x: Any, y: Any) -> Value:
    zeros = logical_and(x == 0.0, y == 0.0)
    return where(zeros, ZERO, y * Pow()(x, y - ONE))


def _by_exponent(out: Any, x: Any, y: Any) -> Value:
    zeros = logical_and(x == 0.0, y >= 0.0)
    return where(zeros, ZERO, out * log(x))


def power(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """x ** y, broadcast; dtypes promote.

    A whole-number literal y up to 64 means repeated multiplication, and 0.5 means sqrt(x); over an
    integer x any literal y >= 0 does. Everything else is floating arithmetic, but of integers to an
    array of integers, which wraps; where an exponent turns out negative in a run, the result is
    1 / x ** -y without its fraction: 0, but for the bases 1 and -1.

    Args:
        x, y: numbers, which broadcast.

    >>> sg.pow([2.0, 3.0], 2.0)
    array([4., 9.])
    """
    if type(y) is PythonNumber:  # a literal decides how the power is computed
        raise y.refusal("an exponent of an array")
    common = common_dtype("pow", (x, y))
    exponent = _literal(y)
    if exponent is None or (common.is_float and not _is_multiplied(exponent)):
        if common.is_float:
            return Pow()(x, y)
        if not isinstance(y, Value | Dim) and np.any(np.asarray(y) < 0):
            raise DTypeError(
                f"integers have no negative powers: {common.numpy} ** {quote(y)}",
                hint="convert the base first: x.astype('float64')",
            )
        return IntPow()(x, y)
    if common.is_integer:
        check_range("pow", int(exponent), common)
    base = lift_operand("pow", binding_kind((x,)), x, common)
    if exponent == 0.5:
        return sqrt(base)
    return base if exponent == 1 else IntegerPow(int(exponent))(base)


def square(x: ArrayLike[AnyValue]) -> AnyValue:
    """x * x, in the dtype of x; bools are combined by logical and.

    Args:
        x: numbers or bools.

    >>> sg.square([2.0, -3.0])
    array([4., 9.])
    """
    (value,) = Mul().prepare(x)
    return value if value.dtype.is_bool else IntegerPow(2)(value)


def reciprocal(x: ArrayLike[AnyValue]) -> AnyValue:
    """1 / x, always floating: integers and bools are converted to float64.

    Args:
        x: numbers.

    >>> sg.reciprocal([2.0, 4.0])
    array([0.5 , 0.25])
    """
    (value,) = Div().prepare(x)
    return IntegerPow(-1)(value)


class FlatPower(Floating, name="flat_power"):
    """x ** exponent for x >= 0, a sum of squares or of other powers; the exponent is a fraction.

    At 0 it is 0 for every exponent above -1, else NaN. So the slope of a length at 0 is 0 although
    its true one depends on the direction, and the slope of that slope is NaN.
    """

    kink = "the derivative at 0 is 0; one that does not exist from any direction is NaN"
    flops = 10
    exponent: float

    @property
    def _halves(self) -> int | None:
        """Twice the exponent, if that is a whole number, small enough to be multiplied out."""
        halves = 2.0 * self.exponent
        return int(halves) if halves.is_integer() and abs(halves) <= 2 * _MAX_EXPONENT else None

    def _power(self, x: Any, root: Callable[[Any], Any], power: Callable[..., Any]) -> Any:
        halves = self._halves
        if halves is None:
            return power(x)
        exponent, half = divmod(abs(halves), 2)
        parts = ([integer_power(x, exponent)] if exponent else []) + ([root(x)] if half else [])
        return reduce(mul, parts) if halves > 0 else reduce(truediv, parts, 1)

    def reference(self, x: Array) -> Any:
        exponent = x.dtype.type(self.exponent)
        power = self._power(x, np.sqrt, lambda x: np.power(x, exponent))
        at_zero = x.dtype.type(0 if self.exponent > -1 else math.nan)
        return power if self.exponent > 0 else np.where(x == 0, at_zero, power)

    def scalar(self, x: Expr) -> Expr:
        exponent = literal(self.exponent, x.dtype)
        power: Expr = self._power(x, lambda x: x.sqrt(), lambda x: apply("pow", x, exponent))
        if self.exponent > 0:
            return power
        at_zero = literal(0.0 if self.exponent > -1 else math.nan, x.dtype)
        return select(x.eq(0.0), at_zero, power)

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        return (self.exponent * FlatPower(self.exponent - 1.0)(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return Range(0.0, inf, of(x).zero if self.exponent > 0 else Zero.MAYBE)


def flat_root(x: AnyValue, p: float = 2.0) -> AnyValue:
    """x ** (1 / p) for x >= 0 and p > 0, whose derivative where x is 0 is 0.

    What lengths and deviations end with. Below p = 1 it is smooth, an ordinary power.
    """
    return FlatPower(1.0 / p)(x) if p > 1 else power(x, 1.0 / p)


def _literal(y: object) -> int | float | None:
    """A number known where the expression is written, or None."""
    number = y.item() if isinstance(y, np.generic) else y
    return number if isinstance(number, int | float) else None


def _is_multiplied(exponent: int | float) -> bool:
    """Return whether a floating base to this literal is a product or a square root."""
    is_whole_number = abs(exponent) <= _MAX_EXPONENT and float(exponent).is_integer()
    return is_whole_number or exponent == 0.5


NUMPY_NAMES.update(pow="power")


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
        """Compute the C remainder of one element, with the sign of x."""
        if x.dtype.is_float:
            return x.fmod(y)
        left = x.remainder(y)
        if x.dtype.kind == "u":
            return left
        zero = literal(0, x.dtype)
        opposite = left.ne(zero) & ((left ^ x) < zero)
        return select(opposite, left - y, left)

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return ONE, -rint((x - out) / y)


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


floor_divide = binary(FloorDivide, "sg.floor_divide([5, -5], 3)", "array([ 1, -2])")
remainder = binary(Remainder, "sg.remainder([5, -5], 3)", "array([2, 1])")
fmod = binary(Fmod, "sg.fmod([5, -5], 3)", "array([ 2, -2])")
left_shift = binary(LeftShift, "sg.bitwise_left_shift([1, 2], 3)", "array([ 8, 16])")
right_shift = binary(RightShift, "sg.bitwise_right_shift([16, -16], 2)", "array([ 4, -4])")


NUMPY_NAMES.update(bitwise_left_shift="left_shift", bitwise_right_shift="right_shift")


class _Rounding(Elementwise):
    """A step function to whole numbers; integers and bools pass through. Carries no gradient."""

    exact = True
    differentiable = False
    primitive: ClassVar[str] = ""

    def reference(self, x: Array) -> Any:
        return getattr(np, self.primitive)(x) if x.dtype.kind == "f" else x

    def scalar(self, x: Expr) -> Expr:
        return apply(self.primitive, x) if x.dtype.is_float else x

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        """Return the range of nearby integers; small values may become 0."""
        a = of(x)
        low = a.low if math.isinf(a.low) else math.floor(a.low)
        high = a.high if math.isinf(a.high) else math.ceil(a.high)
        return Range(low, high, max(a.zero, Zero.CHOSEN))


class Floor(_Rounding, name="floor"):
    """Round down to a whole number. Carries no gradient."""

    primitive = "floor"


class Ceil(_Rounding, name="ceil"):
    """Round up to a whole number. Carries no gradient."""

    primitive = "ceil"


class Trunc(_Rounding, name="trunc"):
    """Round towards 0 to a whole number. Carries no gradient."""

    primitive = "trunc"


class Rint(_Rounding, name="rint"):
    """Round to the nearest whole number, ties to even. Carries no gradient."""

    primitive = "rint"


floor = unary(Floor, "sg.floor([-1.5, 1.5])", "array([-2.,  1.])")
ceil = unary(Ceil, "sg.ceil([-1.5, 1.5])", "array([-1.,  2.])")
trunc = unary(Trunc, "sg.trunc([-1.5, 1.5])", "array([-1.,  1.])")
rint = unary(Rint, "sg.rint([0.5, 1.5])", "array([0., 2.])")


def isnan(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where x is NaN.

    >>> sg.isnan([1.0, float("nan")])
    array([False,  True])
    """
    value = as_value(x)
    return not_equal(value, value)


def isinf(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where x is infinite.

    >>> sg.isinf([1.0, float("inf")])
    array([False,  True])
    """
    value = as_value(x)
    if not value.dtype.is_float:
        return not_equal(value, value)
    return equal(absolute(value), inf)


def isfinite(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where x is neither infinite nor NaN.

    >>> sg.evaluate(sg.isfinite([0.0, sg.inf]))
    array([ True, False])
    """
    value = as_value(x)
    if not value.dtype.is_float:
        return equal(value, value)
    return less(absolute(value), inf)


def conj(x: ArrayLike[AnyValue]) -> AnyValue:
    """Compute the complex conjugate: of a real value itself.

    >>> sg.evaluate(sg.conj([1.0 + 2.0j]))
    array([1.-2.j])
    """
    value: Any = as_value(x)
    if not isinstance(value, Complex):
        return value
    re, im = parts_of(value)
    result: AnyValue = pair(re, None if im is None else -im)
    return result

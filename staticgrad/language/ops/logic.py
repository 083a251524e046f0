"""Comparisons, logic on bools, and bitwise logic on integers.

Results carry no gradient. Operands promote before they are compared: an int64 array with a uint64
array in float64, a float32 array with an integer array in float32.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.expr import Expr
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Constant
from staticgrad.language.ir.ranges import Range, Zero
from staticgrad.language.ops.elementwise import ArrayLike, Elementwise, binary, common_dtype, unary
from staticgrad.language.types.dtype import BOOL, DType
from staticgrad.support.docstrings import like


class Truth(Elementwise):
    """The result is bool and carries no gradient."""

    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL


class Relation(Truth):
    """True where x has a relation to y.

    Class attributes:
        allows: whether it holds where x is less than, equal to, and greater than y.
    """

    allows: ClassVar[tuple[bool, bool, bool]] = (False, False, False)

    def refine(self, operand_range: Range, number: float, holds: bool = True) -> Range:
        """Narrow a range of values where its comparison with ``number`` gives ``holds``."""
        less, equal, greater = (allowed is holds for allowed in self.allows)
        if not less and not greater:
            return Range(number, number, Zero.NEVER if number else Zero.CHOSEN)
        low = operand_range.low if less else max(operand_range.low, number)
        high = operand_range.high if greater else min(operand_range.high, number)
        beside = low > 0 or high < 0 or (number == 0 and not equal)
        return Range(low, high, Zero.NEVER if beside else operand_range.zero)

    def operand_masks(self, mask: Any, out: Any, x: Any, y: Any) -> tuple[Any, ...]:
        """Exclude x == x and x < inf, which only test for finite x, from masks of operands."""
        infinite = any(
            isinstance(op := arg.node.op, Constant)
            and op.data.array.ndim == 0
            and bool(np.isinf(op.data.array))
            for arg in (x, y)
        )
        if x.key == y.key or infinite:
            return False, False
        return super().operand_masks(mask, out, x, y)


class Eq(Relation, name="eq"):
    """x == y; False where either is NaN."""

    numpy = np.equal
    primitive = "eq"
    allows = (False, True, False)
    commutative = True


class Ne(Relation, name="ne"):
    """x != y; True where either is NaN."""

    numpy = np.not_equal
    primitive = "ne"
    allows = (True, False, True)
    commutative = True


class Lt(Relation, name="lt"):
    """x < y; False where either is NaN."""

    numpy = np.less
    allows = (True, False, False)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ~x & y if x.dtype is BOOL else x < y


class Le(Relation, name="le"):
    """x <= y; False where either is NaN."""

    numpy = np.less_equal
    allows = (True, True, False)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ~x | y if x.dtype is BOOL else x <= y


class Gt(Relation, name="gt"):
    """x > y; False where either is NaN."""

    numpy = np.greater
    allows = (False, False, True)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & ~y if x.dtype is BOOL else x > y


class Ge(Relation, name="ge"):
    """x >= y; False where either is NaN."""

    numpy = np.greater_equal
    allows = (False, True, True)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | ~y if x.dtype is BOOL else x >= y


equal = binary(Eq, "sg.equal([1, 2], 2)", "array([False,  True])", name="equal")
not_equal = binary(Ne, "sg.not_equal([1, 2], 2)", "array([ True, False])", name="not_equal")
less = binary(Lt, "sg.less([1, 2], 2)", "array([ True, False])", name="less")
less_equal = binary(Le, "sg.less_equal([1, 2], 2)", "array([ True,  True])", name="less_equal")
greater = binary(Gt, "sg.greater([1, 2], 1)", "array([False,  True])", name="greater")
greater_equal = binary(
    Ge, "sg.greater_equal([1, 2], 2)", "array([False,  True])", name="greater_equal"
)


class _Logical(Truth):
    """Operands are converted to bool, x != 0 (so NaN is true)."""

    kinds = "b"
    hint = "compare with 0 first: x != 0"

    def operand_dtype(self, common: DType) -> DType:
        return BOOL


class _Bitwise(Elementwise):
    """Logic bit by bit, on integers; carries no gradient."""

    exact = True
    differentiable = False
    kinds = "iu"
    hint = (
        "bitwise logic takes bools or integers; compare first, in parentheses:"
        " (x > 0) & (x < 1)\nor convert with astype"
    )


class _And:
    """One function of bools and of the bits of integers."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return x & y

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y


class _Or:
    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return x | y

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | y


class _Xor:
    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return x ^ y

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x ^ y


class _Not:
    def reference(self, x: Array) -> Any:
        return ~x

    def scalar(self, x: Expr) -> Expr:
        return ~x


class LogicalAnd(_And, _Logical, name="logical_and"):
    """True where both operands are true (not 0)."""


class LogicalOr(_Or, _Logical, name="logical_or"):
    """True where at least one operand is true (not 0)."""


class LogicalXor(_Xor, _Logical, name="logical_xor"):
    """True where exactly one operand is true (not 0)."""


class LogicalNot(_Not, _Logical, name="logical_not"):
    """True where x is False or 0."""


class BitAnd(_And, _Bitwise, name="bit_and"):
    """x & y on integers."""


class BitOr(_Or, _Bitwise, name="bit_or"):
    """x | y on integers."""


class BitXor(_Xor, _Bitwise, name="bit_xor"):
    """x ^ y on integers."""


class BitNot(_Not, _Bitwise, name="bit_not"):
    """~x on integers: every bit flipped."""


logical_and = binary(LogicalAnd, "sg.logical_and([True, False], True)", "array([ True, False])")
logical_or = binary(LogicalOr, "sg.logical_or([True, False], False)", "array([ True, False])")
logical_xor = binary(LogicalXor, "sg.logical_xor([True, False], True)", "array([False,  True])")
logical_not = unary(LogicalNot, "sg.logical_not([True, False])", "array([False,  True])")


def bitwise_and(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """x & y: logical on bools, bit by bit on integers; broadcast. Raises ShapeError, DTypeError.

    Args:
        x, y: bools or integers, which broadcast.

    >>> sg.bitwise_and([12, 10], 6)
    array([4, 2])
    """
    return _bitwise(LogicalAnd(), BitAnd(), x, y)


@like(bitwise_and)
def bitwise_or(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """x | y: logical on bools, bit by bit on integers; broadcast.

    >>> sg.bitwise_or([12, 10], 6)
    array([14, 14])
    """
    return _bitwise(LogicalOr(), BitOr(), x, y)


@like(bitwise_and)
def bitwise_xor(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """x ^ y: logical on bools, bit by bit on integers; broadcast.

    >>> sg.bitwise_xor([12, 10], 6)
    array([10, 12])
    """
    return _bitwise(LogicalXor(), BitXor(), x, y)


def invert(x: ArrayLike[AnyValue]) -> AnyValue:
    """~x: logical not on bools, every bit flipped on integers.

    Args:
        x: bools or integers.

    >>> sg.bitwise_invert([0, 5])
    array([-1, -6])
    """
    return _bitwise(LogicalNot(), BitNot(), x)


def _bitwise(
    on_bools: Elementwise, on_integers: Elementwise, *args: ArrayLike[AnyValue]
) -> AnyValue:
    op = on_bools if common_dtype(on_integers.name, args).is_bool else on_integers
    return op(*args)


NUMPY_NAMES.update(bitwise_not="invert", bitwise_invert="invert")

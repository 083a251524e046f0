"""Comparisons, logic on truth values, and bitwise logic on integers.

Results carry no gradient. Operands promote before they are compared: an int64 array meets a uint64
array in float64, and a float32 array meets an integer array in float32.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from staticgrad.ir.expr import Expr
from staticgrad.ir.functional import NUMPY_NAMES
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array, Constant
from staticgrad.ir.ranges import Range, Zero
from staticgrad.ops.elementwise import Elementwise, Operand, common_dtype, quiet
from staticgrad.types.dtype import BOOL, DType


class _Truth(Elementwise):
    """The result is bool and carries no gradient."""

    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL


class Relation(_Truth):
    """Whether x stands in a relation to y.

    Class attributes:
        allows: whether it holds where x is less than, equal to, and greater than y.
    """

    allows: ClassVar[tuple[bool, bool, bool]] = (False, False, False)

    def refined(self, kept: Range, number: float, holds: bool = True) -> Range:
        """``kept``, where its elements compared with ``number`` give ``holds``."""
        less, equal, greater = (allowed is holds for allowed in self.allows)
        if not less and not greater:
            return Range(number, number, Zero.NEVER if number else Zero.CHOSEN)
        low = kept.low if less else max(kept.low, number)
        high = kept.high if greater else min(kept.high, number)
        beside = low > 0 or high < 0 or (number == 0 and not equal)
        return Range(low, high, Zero.NEVER if beside else kept.zero)

    def counted(self, mask: Any, out: Any, x: Any, y: Any) -> tuple[Any, ...]:
        """Nothing counts of x == x and x < inf, which ask whether an element is finite."""
        infinite = any(
            isinstance(op := arg.node.op, Constant)
            and op.data.array.ndim == 0
            and bool(np.isinf(op.data.array))
            for arg in (x, y)
        )
        if x.key == y.key or infinite:
            return False, False
        return super().counted(mask, out, x, y)


class Eq(Relation, name="eq"):
    """x == y; False where either is NaN."""

    allows = (False, True, False)
    commutative = True

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x.eq(y)


class Ne(Relation, name="ne"):
    """x != y; True where either is NaN."""

    allows = (True, False, True)
    commutative = True

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.not_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x.ne(y)


class Lt(Relation, name="lt"):
    """x < y; False where either is NaN."""

    allows = (True, False, False)

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.less(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ~x & y if x.dtype is BOOL else x < y


class Le(Relation, name="le"):
    """x <= y; False where either is NaN."""

    allows = (True, True, False)

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.less_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ~x | y if x.dtype is BOOL else x <= y


class Gt(Relation, name="gt"):
    """x > y; False where either is NaN."""

    allows = (False, False, True)

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.greater(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & ~y if x.dtype is BOOL else x > y


class Ge(Relation, name="ge"):
    """x >= y; False where either is NaN."""

    allows = (False, True, True)

    @quiet
    def reference(self, x: Array, y: Array) -> Any:
        return np.greater_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | ~y if x.dtype is BOOL else x >= y


class _Logical(_Truth):
    """Operands count as their truth, x != 0 (so NaN is true); inside, they are bool."""

    kinds = "b"
    hint = "compare with 0 first: x != 0"

    def operand_dtype(self, common: DType) -> DType:
        return BOOL


class LogicalAnd(_Logical, name="logical_and"):
    """Both are true."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.logical_and(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y


class LogicalOr(_Logical, name="logical_or"):
    """At least one is true."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.logical_or(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | y


class LogicalXor(_Logical, name="logical_xor"):
    """Exactly one is true."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.logical_xor(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x ^ y


class LogicalNot(_Logical, name="logical_not"):
    """It is false."""

    def reference(self, x: Array) -> Any:
        return np.logical_not(x)

    def scalar(self, x: Expr) -> Expr:
        return ~x


class _Bitwise(Elementwise):
    """Logic bit by bit, on integers; carries no gradient."""

    exact = True
    differentiable = False
    kinds = "iu"
    hint = (
        "bitwise logic takes bools or integers; compare first, in parentheses:"
        " (x > 0) & (x < 1)\nor convert with astype"
    )


class BitAnd(_Bitwise, name="bit_and"):
    """x & y on integers."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.bitwise_and(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x & y


class BitOr(_Bitwise, name="bit_or"):
    """x | y on integers."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.bitwise_or(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x | y


class BitXor(_Bitwise, name="bit_xor"):
    """x ^ y on integers."""

    commutative = True

    def reference(self, x: Array, y: Array) -> Any:
        return np.bitwise_xor(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x ^ y


class BitNot(_Bitwise, name="bit_not"):
    """~x on integers: every bit flipped."""

    def reference(self, x: Array) -> Any:
        return np.invert(x)

    def scalar(self, x: Expr) -> Expr:
        return ~x


# -- public functions -----------------------------------------------------------------------------


def equal(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x == y as bool, broadcast; dtypes promote first. False where either is NaN.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: a Python integer that the other operand's dtype cannot hold.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.equal([1, 2], 2))
    array([False,  True])
    """
    return Eq()(x, y)


def not_equal(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x != y as bool, broadcast; dtypes promote first. True with a NaN. Errors: see equal.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.not_equal([1, 2], 2))
    array([ True, False])
    """
    return Ne()(x, y)


def less(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x < y as bool, broadcast; dtypes promote first. False with a NaN. Errors: see equal.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.less([1, 2], 2))
    array([ True, False])
    """
    return Lt()(x, y)


def less_equal(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x <= y as bool, broadcast; dtypes promote first. False with a NaN. Errors: see equal.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.less_equal([1, 2], 2))
    array([ True,  True])
    """
    return Le()(x, y)


def greater(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x > y as bool, broadcast; dtypes promote first. False with a NaN. Errors: see equal.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.greater([1, 2], 1))
    array([False,  True])
    """
    return Gt()(x, y)


def greater_equal(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x >= y as bool, broadcast; dtypes promote first. False with a NaN. Errors: see equal.

    Args:
        x, y: numbers or bools, which broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.greater_equal([1, 2], 2))
    array([False,  True])
    """
    return Ge()(x, y)


def logical_and(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """Both are true (not zero), as bool, broadcast. Raises ShapeError.

    Args:
        x, y: bools, or numbers, which are true where they are not zero; they broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.logical_and([True, False], True))
    array([ True, False])
    """
    return LogicalAnd()(x, y)


def logical_or(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """At least one is true (not zero), as bool, broadcast. Raises ShapeError.

    Args:
        x, y: bools, or numbers, which are true where they are not zero; they broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.logical_or([True, False], False))
    array([ True, False])
    """
    return LogicalOr()(x, y)


def logical_xor(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """Exactly one is true (not zero), as bool, broadcast. Raises ShapeError.

    Args:
        x, y: bools, or numbers, which are true where they are not zero; they broadcast.

    Returns:
        Bools, of the shape in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.logical_xor([True, False], True))
    array([False,  True])
    """
    return LogicalXor()(x, y)


def logical_not(x: Operand[AnyValue]) -> AnyValue:
    """It is false (zero), as bool.

    Args:
        x: bools, or numbers, which are true where they are not zero.

    Returns:
        Bools, of x's shape.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.logical_not([True, False]))
    array([False,  True])
    """
    return LogicalNot()(x)


def bitwise_and(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x & y: logical on bools, bit by bit on integers; broadcast. Raises ShapeError, DTypeError.

    Args:
        x, y: bools or integers, which broadcast.

    Returns:
        Bools or integers, in the dtype in which they meet.

    Raises:
        ShapeError: the shapes do not broadcast. DTypeError: floats.

    >>> import staticgrad as sg
    >>> sg.evaluate(sg.bitwise_and([5, 3], 1))
    array([1, 1])
    """
    return _bitwise(LogicalAnd(), BitAnd(), x, y)


def bitwise_or(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x | y: logical on bools, bit by bit on integers; broadcast. Raises ShapeError, DTypeError."""
    return _bitwise(LogicalOr(), BitOr(), x, y)


def bitwise_xor(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x ^ y: logical on bools, bit by bit on integers; broadcast. Raises ShapeError, DTypeError."""
    return _bitwise(LogicalXor(), BitXor(), x, y)


def invert(x: Operand[AnyValue]) -> AnyValue:
    """~x: logical not on bools, every bit flipped on integers. Raises DTypeError on floats."""
    return _bitwise(LogicalNot(), BitNot(), x)


def _bitwise(on_bools: Elementwise, on_integers: Elementwise, *args: Operand[AnyValue]) -> AnyValue:
    op = on_bools if common_dtype(on_integers.name, args).is_bool else on_integers
    return op(*args)


NUMPY_NAMES.update(bitwise_not="invert", bitwise_invert="invert")

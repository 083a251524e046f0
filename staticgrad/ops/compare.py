"""Comparisons, logic on truth values, and bitwise logic on integers.

Results carry no gradient. Operands promote before they are compared: an int64 array meets a uint64
array in float64, and a float32 array meets an integer array in float32.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from staticgrad.ir.expr import Expr
from staticgrad.ir.op import Constant
from staticgrad.ir.ranges import Range, Zero
from staticgrad.ops.elementwise import Elementwise
from staticgrad.ops.public import binary
from staticgrad.types.dtype import BOOL, DType


class Truth(Elementwise):
    """The result is bool and carries no gradient."""

    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL


class Relation(Truth):
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


# -- public functions -----------------------------------------------------------------------------


equal = binary(Eq, "equal", "sg.equal([1, 2], 2)", "array([False,  True])")
not_equal = binary(Ne, "not_equal", "sg.not_equal([1, 2], 2)", "array([ True, False])")
less = binary(Lt, "less", "sg.less([1, 2], 2)", "array([ True, False])")
less_equal = binary(Le, "less_equal", "sg.less_equal([1, 2], 2)", "array([ True,  True])")
greater = binary(Gt, "greater", "sg.greater([1, 2], 1)", "array([False,  True])")
greater_equal = binary(Ge, "greater_equal", "sg.greater_equal([1, 2], 2)", "array([False,  True])")

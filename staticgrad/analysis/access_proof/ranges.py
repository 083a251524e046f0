"""Ranges of the integers that a kernel computes, at all positions of its loops at once.

A range is two arrays over the loops around an expression. Positions of loops, sizes and what
follows from them are exact: both ends are one array. An integer that is read from memory can have
any value of its element type, unless the memory is a constant of the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from staticgrad.language.ir.expr import Expr, postorder
from staticgrad.language.types.dtype import DType

Array = NDArray[Any]
#: Integers beyond it count as unbounded, so that no product of two of them overflows.
UNBOUNDED: Final = 1 << 31


class IntegerRange(NamedTuple):
    """Integers from ``low`` to ``high``, both included; one array if they are known exactly."""

    low: Array
    high: Array

    @property
    def is_exact(self) -> bool:
        """True if the integers are known."""
        return self.low is self.high


class Leaves(Protocol):
    """The ranges of what an expression reads; None where nothing is known."""

    def index(self, axis: str) -> Array:
        """Return the positions along a loop."""

    def size(self, argument: str) -> int:
        """Return the value of an integer argument."""

    def result(self, name: str) -> IntegerRange | None:
        """Return the range of what an earlier statement gave."""

    def load(self, expr: Expr) -> IntegerRange | None:
        """Return the range of the elements that a load reads."""


def exact(values: Any) -> IntegerRange:
    """Return the range of integers that are known."""
    array = np.asarray(values, np.int64)
    return IntegerRange(array, array)


def dtype_range(dtype: DType) -> IntegerRange:
    """Return the range of all values of an integer type."""
    if dtype.is_bool:
        return IntegerRange(np.asarray(0), np.asarray(1))
    bits = min(dtype.bits - (dtype.kind == "i"), 31)
    low = -(1 << bits) if dtype.kind == "i" else 0
    return IntegerRange(np.asarray(low), np.asarray(1 << bits))


def range_of(root: Expr, leaves: Leaves, ranges: dict[int, IntegerRange | None]) -> IntegerRange:
    """Return the range of an integer or bool expression; ``ranges`` holds those of its parts."""
    for expr in postorder([root], ranges):
        ranges[id(expr)] = _compute_range(expr, leaves, ranges) if _is_integer(expr) else None
    computed = ranges[id(root)]
    return dtype_range(root.dtype) if computed is None else computed


def _is_integer(expr: Expr) -> bool:
    return expr.dtype.is_bool or expr.dtype.kind in "iu"


def _compute_range(
    expr: Expr, leaves: Leaves, ranges: dict[int, IntegerRange | None]
) -> IntegerRange | None:
    """Return the range of one expression from those of its operands."""
    match expr.op:
        case "literal":
            return _clip(int(expr.attribute))  # type: ignore[arg-type]
        case "index":
            return exact(leaves.index(str(expr.attribute)))
        case "size":
            return _clip(leaves.size(str(expr.attribute)))
        case "ref":
            return leaves.result(str(expr.attribute))
        case "load":
            return leaves.load(expr)
    operands = [ranges[id(arg)] for arg in expr.args]
    if expr.op in ("select", "rarely"):
        return _choose(*operands)
    if any(operand is None for operand in operands):
        return None
    known_operands = [operand for operand in operands if operand is not None]
    if expr.op == "not" and expr.dtype.is_bool:
        (operand,) = known_operands
        return (
            exact(1 - operand.low)
            if operand.is_exact
            else IntegerRange(1 - operand.high, 1 - operand.low)
        )
    if expr.op == "cast":
        return _cast(known_operands[0], expr.dtype)
    if all(operand.is_exact for operand in known_operands) and expr.op in _EXACT:
        values = _EXACT[expr.op](*[operand.low for operand in known_operands])
        return _clip(np.asarray(values, np.int64))
    return _RANGES[expr.op](*known_operands) if expr.op in _RANGES else None


def _clip(values: Any) -> IntegerRange:
    """Return exact integers as a range, or a range without a bound if one is too large."""
    array = np.asarray(values)
    if array.size and max(abs(int(array.min())), abs(int(array.max()))) > UNBOUNDED:
        return IntegerRange(np.asarray(-UNBOUNDED), np.asarray(UNBOUNDED))
    return exact(array)


def _bound_range(low: Array, high: Array) -> IntegerRange:
    return IntegerRange(np.clip(low, -UNBOUNDED, UNBOUNDED), np.clip(high, -UNBOUNDED, UNBOUNDED))


def _cast(operand: IntegerRange, dtype: DType) -> IntegerRange | None:
    """Return the range of integers as another integer type; None where some do not fit."""
    limits = dtype_range(dtype)
    if dtype.is_bool:
        return exact(operand.low != 0) if operand.is_exact else None
    if dtype.bits >= 64:
        return operand
    fits = operand.low.size == 0 or (
        operand.low.min() >= limits.low and operand.high.max() <= limits.high
    )
    return operand if fits else None


def _choose(
    condition: IntegerRange | None, first: IntegerRange | None, second: IntegerRange | None
) -> IntegerRange | None:
    """Return the range of a selection: one of two where the condition is known, else both."""
    if first is None or second is None:
        return None
    if condition is not None and condition.is_exact:
        low = np.where(condition.low, first.low, second.low)
        if first.is_exact and second.is_exact:
            return IntegerRange(low, low)
        return IntegerRange(low, np.where(condition.low, first.high, second.high))
    return IntegerRange(np.minimum(first.low, second.low), np.maximum(first.high, second.high))


def _multiply(a: IntegerRange, b: IntegerRange) -> IntegerRange:
    products = [x * y for x in a for y in b]
    return _bound_range(np.minimum.reduce(np.broadcast_arrays(*products)),
                    np.maximum.reduce(np.broadcast_arrays(*products)))  # fmt: skip


def _divide(a: IntegerRange, b: IntegerRange) -> IntegerRange | None:
    """Return the range of quotients that are rounded down, of positive divisors."""
    if b.low.size == 0 or b.low.min() <= 0:
        return None
    quotients = np.broadcast_arrays(*[x // y for x in a for y in b])
    return IntegerRange(np.minimum.reduce(quotients), np.maximum.reduce(quotients))


def _take_remainder(a: IntegerRange, b: IntegerRange) -> IntegerRange | None:
    """Return the range of remainders of positive divisors."""
    return (
        IntegerRange(np.zeros_like(b.high), b.high - 1) if b.low.size and b.low.min() > 0 else None
    )


def _compare(
    a: IntegerRange,
    b: IntegerRange,
    holds: Callable[[IntegerRange, IntegerRange], Array],
    never: Any,
) -> IntegerRange:
    return IntegerRange(np.asarray(holds(a, b), np.int64), np.asarray(~never(a, b), np.int64))


def _less(a: IntegerRange, b: IntegerRange) -> IntegerRange:
    return _compare(a, b, lambda a, b: a.high < b.low, lambda a, b: a.low >= b.high)


def _at_most(a: IntegerRange, b: IntegerRange) -> IntegerRange:
    return _compare(a, b, lambda a, b: a.high <= b.low, lambda a, b: a.low > b.high)


def _floor_divide(a: Array, b: Array) -> Array:
    return np.where(b == 0, 0, a // np.where(b == 0, 1, b))


def _remainder(a: Array, b: Array) -> Array:
    return np.where(b == 0, 0, a % np.where(b == 0, 1, b))


#: What a primitive does to integers that are known.
_EXACT: Final[dict[str, Callable[..., Array]]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "abs": np.abs,
    "maximum": np.maximum, "minimum": np.minimum, "floor_divide": _floor_divide,
    "remainder": _remainder, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal,
}  # fmt: skip
#: What it does to ranges.
_RANGES: Final[dict[str, Callable[..., IntegerRange | None]]] = {
    "add": lambda a, b: _bound_range(a.low + b.low, a.high + b.high),
    "sub": lambda a, b: _bound_range(a.low - b.high, a.high - b.low),
    "neg": lambda a: IntegerRange(-a.high, -a.low),
    "mul": _multiply,
    "maximum": lambda a, b: IntegerRange(np.maximum(a.low, b.low), np.maximum(a.high, b.high)),
    "minimum": lambda a, b: IntegerRange(np.minimum(a.low, b.low), np.minimum(a.high, b.high)),
    "floor_divide": _divide,
    "remainder": _take_remainder,
    "lt": _less, "le": _at_most, "gt": lambda a, b: _less(b, a), "ge": lambda a, b: _at_most(b, a),
}  # fmt: skip

"""Ranges of values: an interval of real numbers, and whether zero is in it.

An op says in which range its results lie, given those of its operands (``Op.value_range``).
Intervals speak of real numbers: an exponential is positive although it can round to 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, TypeVar

from staticgrad.support.records import dataclass

V = TypeVar("V")
_INF: Final = math.inf


class Zero(IntEnum):
    """The ways in which a value can be zero.

    ``CHOSEN``: it is zero where a choice put a zero, through which no gradient flows.
    ``REACHED``: the formula reaches zero smoothly, for ordinary operands: ``x * x`` at 0.
    """

    NEVER = 0
    MAYBE = 1
    CHOSEN = 2
    REACHED = 3


@dataclass(frozen=True)
class Range:
    """``low <= value <= high`` for every element; ``zero`` says whether one can be 0."""

    low: float = -_INF
    high: float = _INF
    zero: Zero = Zero.MAYBE

    @property
    def positive(self) -> bool:
        """At least 0, and never 0."""
        return self.low >= 0 and self.zero is Zero.NEVER

    @property
    def number(self) -> float | None:
        """The one number that every element is, if it is known."""
        return self.low if self.low == self.high else None

    def __or__(self, other: Range) -> Range:
        """The smallest range around both."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Range(low, high, max(self.zero, other.zero))

    def __mul__(self, other: Range) -> Range:
        """Products of an element of each, which have nothing to do with each other."""
        never = self.zero and other.zero
        zero = max(self.zero, other.zero) if never else self.zero or other.zero
        corners = [_times(p, q) for p in (self.low, self.high) for q in (other.low, other.high)]
        return Range(min(corners), max(corners), Zero(zero))

    def square(self) -> Range:
        """Products of an element with itself."""
        ends = (_times(self.low, self.low), _times(self.high, self.high))
        low = 0.0 if self.low <= 0 <= self.high else min(ends)
        return Range(low, max(ends), self._smoothly())

    def magnitude(self) -> Range:
        """Absolute values."""
        ends = (abs(self.low), abs(self.high))
        low = 0.0 if self.low <= 0 <= self.high else min(ends)
        return Range(low, max(ends), self._smoothly())

    def _smoothly(self) -> Zero:
        return Zero.REACHED if self.zero is Zero.MAYBE else self.zero

    def sum(self) -> Range:
        """Return the range of a sum of any number of elements, at least one."""
        one_sign = self.low >= 0 or self.high <= 0
        return Range(
            self.low if self.low >= 0 else -_INF,
            0.0 if self.high <= 0 else _INF,
            self.zero if one_sign else Zero.MAYBE,
        )

    def signs(self) -> Range:
        """The range of an odd increasing function that is 0 at 0 only."""
        return Range(0.0 if self.low >= 0 else -_INF, 0.0 if self.high <= 0 else _INF, self.zero)


def _times(p: float, q: float) -> float:
    return 0.0 if p == 0 or q == 0 else p * q


#: The range of a value that may be any number.
ANY: Final = Range()
POSITIVE: Final = Range(0.0, _INF, Zero.NEVER)
#: Zeros that stand where no operand's element does.
EMPTY: Final = Range(0.0, 0.0, Zero.CHOSEN)
#: The range of an operand.
RangeOf = Callable[[Any], Range]


def skip_moves(value: V) -> V:
    """Return the source of views and moves: the value whose elements ``value`` passes on."""
    inner: Any = value
    for _ in range(16):
        source = inner.node.op.source(*inner.node.args)
        if source is None:
            break
        inner = source
    result: V = inner
    return result

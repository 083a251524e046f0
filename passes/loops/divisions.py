"""The division of a loop's iterations: a remainder, segments of equal length, undivided ones.

The loop that runs first has them in this order, the other one in reverse order.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from staticgrad.language.ir.graph import Symbolic, constant
from staticgrad.language.ops.convert import SizeValue
from staticgrad.language.ops.indexing import Concat, Slice
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64
from staticgrad.support.records import NamedTuple


def segment_length(iterations: int, target: int | None = None, unit: int = 1) -> int | None:
    """Return a checkpointed segment's iterations, a multiple of ``unit``; None if two do not fit.

    It is the divisor of ``iterations`` next to ``wanted`` (by default the square root). If all
    divisors differ from it by more than a factor of 2, other lengths are used; iterations are left.
    """
    target = max(2, target or isqrt(iterations))
    lengths = [n for n in range(unit, iterations // 2 + 1, unit) if n > 1]
    divisors = [n for n in lengths if iterations % n == 0 and target / 2 <= n <= target * 2]
    return min(divisors or lengths, key=lambda n: (abs(n - target), n), default=None)


class Division(NamedTuple):
    """Iterations in the order of the loop that runs first: a remainder, segments, ``stored`` ones.

    The second loop runs the remainder last, and first the iterations whose stacks are all stored.
    """

    iterations: Size
    length: int
    reverse: bool  # whether the second loop runs backwards
    stored: int = 0

    @property
    def parts(self) -> Size:
        """The number of segments."""
        return (self.iterations - self.stored) // self.length

    @property
    def remainder(self) -> Size:
        """The number of iterations that fill no segment."""
        return (self.iterations - self.stored) % self.length

    @property
    def begin(self) -> Size:
        """The first iteration of all segments."""
        return self.remainder if self.reverse else self.stored

    @property
    def remainder_begin(self) -> Size:
        """The first iteration of the remainder."""
        return 0 if self.reverse else self.iterations - self.remainder

    @property
    def stored_begin(self) -> Size:
        """The first of the stored iterations."""
        return self.iterations - self.stored if self.reverse else 0

    @property
    def has_pieces(self) -> bool:
        """True if there are iterations outside of segments."""
        return self.remainder != 0 or self.stored != 0

    def segments(self, array: Symbolic) -> Any:
        """Build the reshape of an array with a row per iteration to segments of rows."""
        rows = part(array, self.begin, self.parts * self.length)
        return Reshape((self.parts, self.length, *array.shape[1:]))(rows)

    def remainder_rows(self, array: Symbolic) -> Any:
        """Build the slice of an array with the rows of the remainder."""
        return part(array, self.remainder_begin, self.remainder)

    def stored_rows(self, array: Symbolic) -> Any:
        """Build the slice of an array with the rows of the stored iterations."""
        return part(array, self.stored_begin, self.stored)

    def join(
        self,
        segments: Symbolic,
        remainder: Symbolic | None = None,
        undivided: Symbolic | None = None,
    ) -> Any:
        """Join the stacks of a loop's segments, remainder and undivided iterations."""
        rows: Any = Reshape((self.parts * self.length, *segments.shape[2:]))(segments)
        pieces = [piece for piece in (remainder, rows, undivided) if piece is not None]
        if len(pieces) == 1:
            return rows
        return Concat(0)(*(pieces if self.reverse else pieces[::-1]))


class SegmentStart(NamedTuple):
    """The first iteration of a segment: ``first``, plus ``number * length`` in a loop over
    segments."""

    first: Size
    number: Any = None
    length: int = 0

    def value(self, unit: int = 1, skipped: Size = 0) -> Any:
        """Return the number of blocks of ``unit`` iterations after the first ``before`` ones."""
        first = (self.first - skipped) // unit
        offset: Any = constant(first, I64) if isinstance(first, int) else SizeValue(first, I64)()
        return offset if self.number is None else self.number * (self.length // unit) + offset


def part(array: Symbolic, begin: Size, count: Size) -> Any:
    """Return ``count`` rows of an array from ``begin`` on."""
    if count == array.shape[0]:
        return array
    starts = (begin, *(0 for _ in array.shape[1:]))
    return Slice(starts, (count, *array.shape[1:]), (1,) * array.ndim)(array)

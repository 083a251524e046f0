"""How the iterations of a loop are divided: a rest, segments of a length, and what is not divided.

The loop that runs first makes them in this order, the other one backwards.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from staticgrad.ir.graph import Symbolic, constant
from staticgrad.ops.convert import SizeValue
from staticgrad.ops.indexing import Concat, Slice
from staticgrad.ops.movement import Reshape
from staticgrad.records import NamedTuple
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64


def segment_length(iterations: int, wanted: int | None = None, unit: int = 1) -> int | None:
    """How many iterations a segment has, a multiple of ``unit``; None: there are not two segments.

    The divisor of ``iterations`` next to ``wanted`` (by default its root), unless none is less than
    twice as long or half as long: then other iterations are left.
    """
    wanted = max(2, wanted or isqrt(iterations))
    lengths = [n for n in range(unit, iterations // 2 + 1, unit) if n > 1]
    divisors = [n for n in lengths if iterations % n == 0 and wanted / 2 <= n <= wanted * 2]
    return min(divisors or lengths, key=lambda n: (abs(n - wanted), n), default=None)


class Division(NamedTuple):
    """Iterations in the order of the loop that runs first: a rest, segments of a length, ``kept``
    ones.

    The second loop makes the rest last, and those first of which all stacks are kept.
    """

    iterations: Size
    length: int
    reverse: bool  # which way the second loop runs
    kept: int = 0

    @property
    def parts(self) -> Size:
        """How many segments there are."""
        return (self.iterations - self.kept) // self.length

    @property
    def rest(self) -> Size:
        """The iterations that fill none."""
        return (self.iterations - self.kept) % self.length

    @property
    def begin(self) -> Size:
        """The first iteration of all segments."""
        return self.rest if self.reverse else self.kept

    @property
    def rest_begin(self) -> Size:
        """The first iteration of the rest."""
        return 0 if self.reverse else self.iterations - self.rest

    @property
    def kept_begin(self) -> Size:
        """The first iteration of those that are kept."""
        return self.iterations - self.kept if self.reverse else 0

    @property
    def has_pieces(self) -> bool:
        """Whether there is more than segments."""
        return self.rest != 0 or self.kept != 0

    def segments(self, array: Symbolic) -> Any:
        """An array of a row per iteration as one of so many rows per segment."""
        rows = part(array, self.begin, self.parts * self.length)
        return Reshape((self.parts, self.length, *array.shape[1:]))(rows)

    def of_rest(self, array: Symbolic) -> Any:
        """The rows of the rest."""
        return part(array, self.rest_begin, self.rest)

    def of_kept(self, array: Symbolic) -> Any:
        """The rows of the iterations that are kept."""
        return part(array, self.kept_begin, self.kept)

    def whole(
        self, segments: Symbolic, rest: Symbolic | None = None, kept: Symbolic | None = None
    ) -> Any:
        """The array of a row per iteration whose rows these are."""
        rows: Any = Reshape((self.parts * self.length, *segments.shape[2:]))(segments)
        pieces = [each for each in (rest, rows, kept) if each is not None]
        if len(pieces) == 1:
            return rows
        return Concat(0)(*(pieces if self.reverse else pieces[::-1]))


class Begin(NamedTuple):
    """The iteration with which a segment begins: ``first``, and for a loop over segments,
    further."""

    first: Size
    number: Any = None
    length: int = 0

    def value(self, unit: int = 1, before: Size = 0) -> Any:
        """As a number, of blocks of so many iterations behind the first few."""
        first = (self.first - before) // unit
        known: Any = constant(first, I64) if isinstance(first, int) else SizeValue(first, I64)()
        return known if self.number is None else self.number * (self.length // unit) + known


def part(array: Symbolic, begin: Size, count: Size) -> Any:
    """Some rows of an array."""
    if count == array.shape[0]:
        return array
    starts = (begin, *(0 for _ in array.shape[1:]))
    return Slice(starts, (count, *array.shape[1:]), (1,) * array.ndim)(array)

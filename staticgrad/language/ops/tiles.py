"""Taps of tiles (Winograd): F(2, 3) along an axis, of pieces of two or three taps.

A tile of two results needs four elements of an image, of which four combinations are made. A piece
of three taps has a product with each, a piece of two taps with three of them: its other combined
tap is zero. Pieces share the combinations of the image, and their products are summed before
results are made of them: five taps take seven products for two results, instead of ten.

Without strides a piece reads tiles that lie behind those of the piece before it. With strides a
piece reads, or computes, elements of one remainder: each remainder has two or three taps.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

from staticgrad.language.ir.forms import WindowAxis
from staticgrad.language.ir.op import Array
from staticgrad.language.types.dim import Size
from staticgrad.support.records import dataclass

#: Combinations of a tile along an axis.
SIDE: Final = 4
#: The four combinations of three taps, and the taps of four combinations.
_COMBINED: Final = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_TAPS: Final = ((1, 0, 0, 0), (0, 1, -1, 0), (0, 0, 0, 1))


@dataclass(frozen=True)
class Piece:
    """Two or three taps, in the order of what they read; ``first``: the place of the first one."""

    taps: tuple[int, ...]
    first: int = 0

    @property
    def combinations(self) -> range:
        """The combinations of a tile that it has a product with."""
        return range(self.first, self.first + len(self.taps) + 1)


@dataclass(frozen=True)
class TileTaps:
    """Taps along an axis in pieces; combined taps are stored by combination, then by piece."""

    taps: int
    pieces: tuple[Piece, ...]

    def having(self, combination: int) -> range:
        """The pieces with a product with this combination."""
        return _indices(self.pieces, combination)

    def index(self, combination: int) -> int:
        """The first combined tap of a combination."""
        return sum(len(self.having(n)) for n in range(combination))

    @property
    def combined_taps(self) -> int:
        """The number of combined taps."""
        return self.index(SIDE)

    @property
    def alike(self) -> list[list[int]]:
        """The pieces one after the other that have equally many taps."""
        groups = itertools.groupby(range(len(self.pieces)), lambda n: len(self.pieces[n].taps))
        return [[*numbers] for _, numbers in groups]

    def combinations(self) -> Array:
        """Return the factors [combined, taps] of the taps in combined taps."""
        return self._factors(_COMBINED, transposed=False)

    def separations(self) -> Array:
        """Return the factors [taps, combined] of combined taps in the taps."""
        return self._factors(_TAPS, transposed=True)

    def _factors(self, table: Sequence[Sequence[float]], transposed: bool) -> Array:
        """Return the matrix between an axis' taps and the combined taps of Winograd tiles."""
        of = np.array(table, np.float64)
        by_place = of.T if transposed else of
        factors = np.zeros((self.combined_taps, self.taps))
        for n in range(SIDE):
            for row, number in enumerate(self.having(n), self.index(n)):
                piece = self.pieces[number]
                for place, tap in enumerate(piece.taps, piece.first):
                    factors[row, tap] = by_place[n, place]
        return factors.T if transposed else factors


def _indices(pieces: Sequence[Piece], combination: int) -> range:
    numbers = [n for n, piece in enumerate(pieces) if combination in piece.combinations]
    return range(numbers[0], numbers[-1] + 1) if numbers else range(0)


def combined_taps(combined: Size, step: int) -> Size:
    """Return how many taps have so many combined taps."""
    if step > 1 or not isinstance(combined, int):
        return combined - step
    return combined // 3 * 2 + combined % 3


def tile_taps(axis: WindowAxis, over_windows: bool) -> TileTaps | None:
    """Split an axis' taps into pieces for Winograd tiles; None if they do not fit."""
    taps, step = axis.taps, axis.step
    if not isinstance(taps, int) or (axis.dilation > 1 and (step > 1 or taps != SIDE - 1)):
        return None
    if step == 1:
        pieces = _blocks(taps if over_windows else -taps)
    elif not 2 * step <= taps <= 3 * step:
        return None
    elif over_windows:
        pieces = tuple(Piece(tuple(range(n, taps, step))) for n in range(step))
    elif isinstance(axis.before, int):
        pieces = _remainders(taps, step, axis.before)
    else:
        return None
    # what has a combination must be next to each other
    gaps = any(
        n not in piece.combinations
        for n in range(SIDE)
        for piece in (pieces[k] for k in _indices(pieces, n))
    )
    return TileTaps(taps, pieces) if pieces and not gaps else None


def _blocks(taps: int) -> tuple[Piece, ...]:
    """Pieces of adjacent taps, in descending order if there are -``taps``."""
    order = list(range(taps) if taps > 0 else range(-taps - 1, -1, -1))
    ends = [*range(2, len(order) - 1, 2), len(order)]
    return tuple(Piece(tuple(order[at:end])) for at, end in zip([0, *ends], ends, strict=False))


def _remainders(taps: int, step: int, padding: int) -> tuple[Piece, ...]:
    """Split a strided axis by remainders of ``step`` for Winograd; empty if tiles differ."""
    start = -((taps - 1 - padding) // step)  # the first window over element 0
    pieces = []
    for element in range(step):
        of = range((element + padding) % step, taps, step)[::-1]
        first = (element + padding - of[0]) // step - start
        if not 0 <= first <= SIDE - 1 - len(of):
            return ()
        pieces.append(Piece(tuple(of), first))
    return tuple(pieces)

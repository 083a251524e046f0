"""Placements of many blocks below a height: a search where first fit exceeds it, else first fit.

Most steps of a long schedule have room to spare. What is alive where first fit exceeds the height
is placed by a search, in *windows* of time that do not touch; first fit then puts the other blocks
around it. Where one of these exceeds the height, its life is a window, too. To construct, to find
trouble and to put it first is squeaky wheel optimization (Joslin and Clements, 1999).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from staticgrad.planning.offset_arrays import PLACED, OffsetSearch
from staticgrad.planning.offset_fits import Fit
from staticgrad.planning.offset_restarts import Restarts
from staticgrad.planning.offsets import Spans

#: Blocks, and sections that they live in together, up to which there is a search.
MOST_BLOCKS: Final = 2_000
MOST_MEMBERS: Final = 1_000_000
_ROUNDS: Final = 12
_MOST_SHARE: Final = 75  # hundredths of all blocks up to which a window is searched by itself
_EACH: Final = 6_000  # effort of the first search of a window, for each of its blocks

Placed = tuple[list[int], int]


class PlacedWindows:
    """Placements of blocks by windows; ``effort`` is what their searches took together.

    ``fit`` and ``search`` are ``offset_fits.fit`` and ``offset_search.search`` as machine code.
    """

    def __init__(
        self,
        spans: Spans,
        sizes: Sequence[int],
        fit: Callable[[Fit], int],
        search: Callable[[OffsetSearch], int],
    ) -> None:
        self.spans, self.sizes = spans, sizes
        self.effort = 0
        self._fit, self._search = fit, search
        self._by_size = sorted(filter(sizes.__getitem__, range(len(sizes))), key=self._largest)
        empty = [array("q", bytes(8 * len(sizes))) for _ in range(3)]
        lives = (array("q", values) for values in (spans.first, spans.last, sizes))
        self._record = Fit(array("q", [len(self._by_size)]), empty[0], *lives, *empty[1:])

    def _largest(self, block: int) -> tuple[int, int]:
        return -self.sizes[block], block

    def lowered(self, height: int, effort: int, best: Placed) -> Placed:
        """The lowest of a placement and of those met on the way to one below the height."""
        windows: list[tuple[int, int]] = []
        known: dict[tuple[int, ...], list[int]] = {}
        failed: dict[tuple[int, ...], int] = {}
        stop = self.effort + effort
        found = self._fitted({})
        for _ in range(_ROUNDS):
            best = min(best, found, key=_height)
            if found[1] <= height or self.effort >= stop:
                break
            before = len(windows), self.effort
            windows = _merged([*windows, *self._exceeding(found[0], height)])
            fixed: dict[int, int] = {}
            for group in self._groups(windows):
                if group not in known:
                    limit = min(_EACH * len(group) << failed.get(group, 0), stop - self.effort)
                    if (offsets := self._searched(group, height, limit)) is None:
                        failed[group] = failed.get(group, 0) + 2
                        continue
                    known[group] = offsets
                fixed.update(zip(group, known[group], strict=True))
            if (len(windows), self.effort) == before:
                break  # what is left is not searched by windows
            found = self._fitted(fixed)
        return best

    def _exceeding(self, offsets: Sequence[int], height: int) -> list[tuple[int, int]]:
        """The lives of the blocks that end above the height."""
        spans = self.spans
        ends = zip(offsets, self.sizes, spans.first, spans.last, strict=True)
        return [(first, last) for offset, size, first, last in ends if offset + size > height]

    def _groups(self, windows: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
        """The blocks that are alive in windows, those together that chains of such blocks join."""
        spans = self.spans
        begins = [first for first, _ in windows]

        def is_hot(block: int) -> bool:
            window = bisect_right(begins, spans.last[block]) - 1  # the last that begins so early
            return window >= 0 and windows[window][1] >= spans.first[block]

        hot = filter(is_hot, self._by_size)
        return [*map(tuple, spans.groups(hot))]

    def _searched(self, group: Sequence[int], height: int, effort: int) -> list[int] | None:
        """Offsets of the blocks of a group below the height, if the search finds some."""
        most = min(MOST_BLOCKS, _MOST_SHARE * len(self._by_size) // 100)
        if len(group) > most or effort <= 0:
            return None
        sizes = [self.sizes[b] for b in group]
        searched = Restarts(self.spans.of(group), sizes, self._search)
        if searched.members > MOST_MEMBERS:
            return None
        state = searched.tried(height, effort)
        self.effort += searched.effort
        return searched.placed()[0] if state == PLACED else None

    def _fitted(self, fixed: dict[int, int]) -> Placed:
        """First fit of the blocks whose offsets are known, from the lowest on, so that none ends
        higher than there, then of the others, the largest first."""
        record = self._record
        others = (b for b in self._by_size if b not in fixed)
        order = [*sorted(fixed, key=fixed.__getitem__), *others]
        record.order[: len(order)] = array("q", order)
        height = self._fit(record)
        return record.base.tolist(), height


def _merged(windows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Windows that share a step as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(windows):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def _height(placed: Placed) -> int:
    return placed[1]

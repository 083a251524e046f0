"""Placements closer to the load than first fit: placement by ejections below one height.

Where first fit misses the bound, ejections place the blocks at the bound, and then by halves
between what they miss and the best: as machine code if there is a compiler, else for a millisecond.

A block goes into the lowest gap below the height. Without a gap it goes where the blocks in its way
have failed least often so far, and these are placed next (guided ejection search: Nagata and
Bräysy, A powerful route minimization heuristic for the vehicle routing problem with time windows,
2009). If few steps are as full as the height, blocks of the fullest steps come first; if many are,
blocks come as they begin. A change moves only blocks that live together with the moved ones, so ten
thousand blocks take no longer for each than a hundred. Its functions keep to what
``staticgrad.native.words`` compiles.

Effort is counted in blocks looked at, so what is found depends on the blocks alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd
from operator import add
from typing import Final

import numpy as np

from staticgrad.analysis.planning.offsets import (
    Spans,
    best_fit,
    first_fit,
    fit,
    place,
    place_by_sweeps,
)
from staticgrad.analysis.planning.problem import machine_code
from staticgrad.support.records import dataclass

PRIME: Final = 2147483647  # 2**31 - 1: modulus of the minimal standard random generator
_PARTS: Final = (4, 1)  # parts of what is left of the effort: of blocks by load, and as they begin
#: Pairs of blocks alive together up to which there is a search: 32 megabytes.
MOST_PAIRS: Final = 2_000_000

Placed = tuple[list[int], int]


@dataclass
class EjectionSearch:
    """Arrays of a search.

    ``others[start[b] : start[b + 1]]`` are the blocks alive at some step of block b, ``base`` the
    offsets, or -1; ``waiting`` the blocks without one, the next one last; ``failures`` counts how
    often a block fitted nowhere. ``low``, ``high`` and ``beside`` are the ranges of the placed
    blocks that live together with one, and these blocks, by offset. ``count`` is how many wait.
    """

    start: array[int]
    others: array[int]
    size: array[int]
    base: array[int]
    waiting: array[int]
    failures: array[int]
    low: array[int]
    high: array[int]
    beside: array[int]
    height: int = 0
    effort: int = 0  # what is left of it
    count: int = 0
    random: int = 0


def placed_by_ejections(s: EjectionSearch) -> int:
    """Place blocks in the arena until all are placed or the effort is spent.

    Return how many are left.
    """
    while s.count > 0 and s.effort > 0:
        s.count = s.count - 1
        b = s.waiting[s.count]
        count = _list_overlapping(s, b)
        offset = _find_gap(s, b, count)
        if offset < 0:
            s.failures[b] = s.failures[b] + 1
            offset = _least_blamed(s, b, count)
            top = offset + s.size[b]
            for i in range(0, count):
                if s.low[i] < top and s.high[i] > offset:
                    x = s.beside[i]
                    s.base[x] = -1
                    s.waiting[s.count] = x
                    s.count = s.count + 1
        s.base[b] = offset
    return s.count


def _list_overlapping(s: EjectionSearch, b: int) -> int:
    """List the placed blocks whose live ranges overlap a block's; return how many."""
    low = s.low
    count = 0
    begin = s.start[b]
    end = s.start[b + 1]
    for i in range(begin, end):
        x = s.others[i]
        at = s.base[x]
        if at >= 0:
            j = count
            while j > 0:
                # neighbours come by number: an insertion sort by offset, as there are few
                if low[j - 1] <= at:
                    break
                low[j] = low[j - 1]
                s.high[j] = s.high[j - 1]
                s.beside[j] = s.beside[j - 1]
                j = j - 1
            low[j] = at
            s.high[j] = at + s.size[x]
            s.beside[j] = x
            count = count + 1
    s.effort = s.effort - (end - begin) - count * count // 8 - 1
    return count


def _find_gap(s: EjectionSearch, b: int, count: int) -> int:
    """Return the lowest free offset for a block below the arena's height, or -1."""
    size = s.size[b]
    end = 0
    for i in range(0, count):
        if s.low[i] - end >= size:
            return end
        if s.high[i] > end:
            end = s.high[i]
    if s.height - end >= size:
        return end
    return -1


def _least_blamed(s: EjectionSearch, b: int, count: int) -> int:
    """Return the offset for a block where the blocks to eject have failed least often.

    It is level with an end of another block or of the height; one at random of equal ones.
    """
    size = s.size[b]
    highest = s.height - size
    best_offset = 0
    least = _sum_blame(s, 0, size, count)
    equal = 1
    # above each neighbour, below each, and right under the height
    for i in range(0, 2 * count + 1):
        offset = highest
        if i < count:
            offset = s.high[i]
        elif i < 2 * count:
            offset = s.low[i - count] - size
        if offset >= 0 and offset <= highest:
            blamed = _sum_blame(s, offset, offset + size, count)
            if blamed < least:
                least = blamed
                best_offset = offset
                equal = 1
            elif blamed == least:
                equal = equal + 1
                s.random = s.random * 48271 % PRIME
                # reservoir sampling: each of the equal ones is as likely
                if s.random // 256 % equal == 0:
                    best_offset = offset
    s.effort = s.effort - count * count // 2
    return best_offset


def _sum_blame(s: EjectionSearch, offset: int, top: int, count: int) -> int:
    """Sum the placement failures of the blocks between ``offset`` and ``top``, and their count."""
    blame = 0
    for i in range(0, count):
        if s.low[i] >= top:
            break
        if s.high[i] > offset:
            blame = blame + s.failures[s.beside[i]] + 1
    return blame


class Ejections:
    """Searches for offsets of some blocks; ``run`` is ``placed_by_ejections``, or its machine code.
    ``effort`` is their total effort. Later ones reuse the failure counts of earlier ones."""

    def __init__(
        self, spans: Spans, sizes: Sequence[int], run: Callable[[EjectionSearch], int]
    ) -> None:
        self.effort, self._random = 0, 1
        self._run, self._sizes = run, sizes
        self._unit = gcd(*sizes) or 1
        sized = [block for block, size in enumerate(sizes) if size]
        self._latest_first = (
            sorted(sized, key=_fullest(spans, sizes).__getitem__),
            sorted(sized, key=spans.first.__getitem__, reverse=True),
        )
        base, waiting, failures, *beside = (array("q", bytes(8 * len(sizes))) for _ in range(6))
        lives = *_alive_together(spans, sizes), array("q", sizes)
        search = EjectionSearch(*lives, base, waiting, failures, beside[0], beside[1], beside[2])
        self._searches = search, replace(search, failures=search.failures[:])

    def lower(self, height: int, effort: int) -> Placed | None:
        """Search for arena offsets at most ``height`` high; None if the effort runs out."""
        height -= height % self._unit  # blocks hang from it, so offsets are aligned as sizes are
        stop = self.effort + effort
        for part, order, s in zip(_PARTS, self._latest_first, self._searches, strict=True):
            left = (stop - self.effort) // part
            for block in order:
                s.base[block] = -1
            s.waiting[: len(order)] = array("q", order)
            s.height, s.effort, s.count, s.random = height, left, len(order), self._random
            waiting, self._random = self._run(s), s.random
            self.effort += left - s.effort
            if not waiting:
                offsets = s.base.tolist()
                return offsets, max(map(add, offsets, self._sizes))
        return None


def _fullest(spans: Spans, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return for each block the highest load during its live range, and the range's length.

    Only steps at which a block begins are examined, so the number of steps does not matter.
    """
    begins = sorted(set(spans.first))
    first = tuple(bisect_left(begins, at) for at in spans.first)
    last = tuple(bisect_right(begins, at) - 1 for at in spans.last)
    loads = Spans(first, last, len(begins)).load(sizes)
    lives = zip(first, last, spans.first, spans.last, strict=True)
    return [(max(loads[low : high + 1]), end - begin) for low, high, begin, end in lives]


def _alive_together(spans: Spans, sizes: Sequence[int]) -> tuple[array[int], array[int]]:
    """Return by block the blocks whose live ranges overlap its own, as ``start`` and ``others``."""
    sized = np.flatnonzero(np.array(sizes, np.int64))
    first, last = (
        np.array(ends_of_lives, np.int64)[sized] for ends_of_lives in (spans.first, spans.last)
    )
    order = np.argsort(first, kind="stable")
    begins, places = first[order], np.arange(len(order))
    later = np.searchsorted(begins, last[order], side="right") - places - 1
    left = np.repeat(places, later)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(later) - later, later)
    blocks = sized[order]
    block_ids, neighbour_ids = (
        blocks[np.concatenate(ends)] for ends in ((left, right), (right, left))
    )
    start = np.searchsorted(np.sort(block_ids), np.arange(len(sizes) + 1))
    others = neighbour_ids[np.argsort(block_ids, kind="stable")]
    return array("q", start.astype(np.int64).tobytes()), array("q", others.tobytes())


#: Effort of ejections that take about a tenth of a second.
BRIEF: Final = 30_000_000
_UNCOMPILED: Final = 5_000  # effort of ejections that Python runs in a millisecond or two
_FINE: Final = 200  # heights between which no other is tried differ by this part of the bound
_EACH: Final = 30_000  # the most effort for each block
_FEW: Final = 200  # blocks up to which first fit takes no time
_MOST_TRIED: Final = 3_000  # blocks up to which it takes less time than a sweep
_MOST_FITTED: Final = 30_000  # blocks up to which first fit, quadratic, tries all orders


def place_tightly(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    effort: int = BRIEF,
    order: Callable[[], Sequence[int]] | None = None,
) -> Placed:
    """Return arena offsets and height, by first fit and, if that is high, by ejections.

    Offsets are by block number, as ``place`` gives them, but lower where that misses the bound and
    ejections find a better placement.
    """
    best = _first_fit(spans, sizes, bound, order)
    if effort <= 0:
        return best
    run = machine_code(placed_by_ejections)
    if run is None:
        return lowered_briefly(spans, sizes, bound, best)
    return _lower_by_ejections(spans, sizes, bound, min(effort, _EACH * len(sizes)), best, run)


def lowered_briefly(spans: Spans, sizes: Sequence[int], bound: int, best: Placed) -> Placed:
    """Return the lower one of a placement of few blocks and the result of ejections for a
    millisecond, for which nothing is compiled."""
    if len(sizes) > _FEW:
        return best
    return _lower_by_ejections(spans, sizes, bound, _UNCOMPILED, best, placed_by_ejections)


def _lower_by_ejections(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    effort: int,
    best: Placed,
    run: Callable[[EjectionSearch], int],
) -> Placed:
    """Search lower arenas by ejections: at the bound, then by bisection of heights."""
    if best[1] <= bound or spans.pairs > MOST_PAIRS:
        return best
    ejections = Ejections(spans, sizes, run)
    low = height = bound
    while ejections.effort < effort and best[1] > bound:
        placement = ejections.lower(height, (effort - ejections.effort + 1) // 2)
        best = placement or best
        low = height if placement is None else low
        height = (low + best[1]) // 2 if (best[1] - low) * _FINE > bound else bound
    return best


def _first_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    order: Callable[[], Sequence[int]] | None,
) -> Placed:
    """Place blocks by first fit in several orders; machine code if there are many blocks."""
    run = machine_code(fit) if _FEW < len(sizes) <= _MOST_FITTED else None
    if run is None:
        best = place(spans, sizes, bound)
        if best[1] > bound and order is not None:
            best = min(best, first_fit(order(), spans, sizes), key=_height)
        return best
    many = len(sizes) > _MOST_TRIED
    best = best_fit(
        spans, sizes, bound, _place_by_sweep(spans, sizes) if many else ([], -1), run, order
    )
    if best[1] > bound and not many:
        best = min(best, _place_by_sweep(spans, sizes), key=_height)
    return best


def _place_by_sweep(spans: Spans, sizes: Sequence[int]) -> Placed:
    return min(place_by_sweeps(spans, sizes), key=_height)


def _height(placement: Placed) -> int:
    return placement[1]

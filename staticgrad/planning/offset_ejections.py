"""Placements below a height by ejections: a block that fits nowhere takes the place of others.

A block goes into the lowest gap below the height. One that finds none goes where the blocks in its
way have failed least often so far, and these are placed next (guided ejection search: Nagata and
Bräysy, A powerful route minimization heuristic for the vehicle routing problem with time windows,
2009). Where few steps are as full as the height, blocks of the fullest steps come first; where many
are, blocks come as they begin. A change moves only blocks that live together with what moved, so
ten thousand blocks take no longer for each than a hundred.

Functions are such as ``staticgrad.planning.offset_search`` has.
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

from staticgrad.planning.offset_arrays import PRIME
from staticgrad.planning.offsets import Spans
from staticgrad.records import dataclass

# the numbers that a search keeps, by their places in ``words``
_HEIGHT: Final = 0
_EFFORT: Final = 1  # what is left of it
_WAITING: Final = 2  # how many blocks have no place
_RANDOM: Final = 3

_PARTS: Final = (4, 1)  # parts of what is left of the effort: of blocks by load, and as they begin
#: Pairs of blocks alive together up to which there is a search: 32 megabytes.
MOST_PAIRS: Final = 2_000_000

Placed = tuple[list[int], int]


@dataclass(frozen=True)
class EjectionSearch:
    """Arrays of a search.

    ``others[start[b] : start[b + 1]]`` are the blocks alive at some step of block b, ``base`` the
    offsets, or -1; ``waiting`` the blocks without one, the next one last; ``failures`` counts how
    often a block fitted nowhere. ``low``, ``high`` and ``beside`` are the ranges of the placed
    blocks that live together with one, and these blocks, by offset.
    """

    words: array[int]
    start: array[int]
    others: array[int]
    size: array[int]
    base: array[int]
    waiting: array[int]
    failures: array[int]
    low: array[int]
    high: array[int]
    beside: array[int]


def placed_by_ejections(s: EjectionSearch) -> int:
    """Place blocks until none waits or the effort is spent; how many wait."""
    words = s.words
    while words[_WAITING] > 0 and words[_EFFORT] > 0:
        words[_WAITING] = words[_WAITING] - 1
        b = s.waiting[words[_WAITING]]
        count = _beside(s, b)
        offset = _gap(s, b, count)
        if offset < 0:
            s.failures[b] = s.failures[b] + 1
            offset = _least_blamed(s, b, count)
            top = offset + s.size[b]
            for i in range(0, count):
                if s.low[i] < top and s.high[i] > offset:
                    x = s.beside[i]
                    s.base[x] = -1
                    s.waiting[words[_WAITING]] = x
                    words[_WAITING] = words[_WAITING] + 1
        s.base[b] = offset
    return words[_WAITING]


def _beside(s: EjectionSearch, b: int) -> int:
    """List the placed blocks that live together with a block; how many there are."""
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
    s.words[_EFFORT] = s.words[_EFFORT] - (end - begin) - count * count // 8 - 1
    return count


def _gap(s: EjectionSearch, b: int, count: int) -> int:
    """The lowest offset of a block that nothing covers below the height, or -1."""
    size = s.size[b]
    end = 0
    for i in range(0, count):
        if s.low[i] - end >= size:
            return end
        if s.high[i] > end:
            end = s.high[i]
    if s.words[_HEIGHT] - end >= size:
        return end
    return -1


def _least_blamed(s: EjectionSearch, b: int, count: int) -> int:
    """The offset, level with an end of another block or of the height, where the blocks in the way
    have failed least often; one at random of equal ones."""
    words = s.words
    size = s.size[b]
    highest = words[_HEIGHT] - size
    found = 0
    least = _blamed(s, 0, size, count)
    equal = 1
    for i in range(0, 2 * count + 1):
        offset = highest
        if i < count:
            offset = s.high[i]
        elif i < 2 * count:
            offset = s.low[i - count] - size
        if offset >= 0 and offset <= highest:
            blamed = _blamed(s, offset, offset + size, count)
            if blamed < least:
                least = blamed
                found = offset
                equal = 1
            elif blamed == least:
                equal = equal + 1
                words[_RANDOM] = words[_RANDOM] * 48271 % PRIME
                if words[_RANDOM] // 256 % equal == 0:
                    found = offset
    words[_EFFORT] = words[_EFFORT] - count * count // 2
    return found


def _blamed(s: EjectionSearch, offset: int, top: int, count: int) -> int:
    """How often the blocks between an offset and a top have failed, and once for each."""
    found = 0
    for i in range(0, count):
        if s.low[i] >= top:
            break
        if s.high[i] > offset:
            found = found + s.failures[s.beside[i]] + 1
    return found


class Ejections:
    """Searches for offsets of some blocks; ``run`` is ``placed_by_ejections``, or its machine code.
    ``effort`` is what they took together. Later ones know what failed in those before them."""

    def __init__(
        self, spans: Spans, sizes: Sequence[int], run: Callable[[EjectionSearch], int]
    ) -> None:
        self.effort = 0
        self._run, self._sizes = run, sizes
        self._unit = gcd(*sizes) or 1
        sized = [block for block, size in enumerate(sizes) if size]
        self._latest_first = (
            sorted(sized, key=_fullest(spans, sizes).__getitem__),
            sorted(sized, key=spans.first.__getitem__, reverse=True),
        )
        empty = (array("q", bytes(8 * len(sizes))) for _ in range(6))
        words, size = array("q", [0, 0, 0, 1]), array("q", sizes)
        search = EjectionSearch(words, *_alive_together(spans, sizes), size, *empty)
        self._searches = search, replace(search, failures=search.failures[:])

    def lowered(self, height: int, effort: int) -> Placed | None:
        """A placement that is no higher than a height, if the effort finds one."""
        height -= height % self._unit  # blocks hang from it, so offsets are aligned as sizes are
        stop = self.effort + effort
        for part, order, s in zip(_PARTS, self._latest_first, self._searches, strict=True):
            left = (stop - self.effort) // part
            for block in order:
                s.base[block] = -1
            s.waiting[: len(order)] = array("q", order)
            s.words[:_RANDOM] = array("q", [height, left, len(order)])
            waiting = self._run(s)
            self.effort += left - s.words[_EFFORT]
            if not waiting:
                offsets = s.base.tolist()
                return offsets, max(map(add, offsets, self._sizes))
        return None


def _fullest(spans: Spans, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Of each block the load of its fullest step, one where a block begins, and how long it lives:
    steps at which none does are left out, however many there are."""
    begins = sorted(set(spans.first))
    first = tuple(bisect_left(begins, at) for at in spans.first)
    last = tuple(bisect_right(begins, at) - 1 for at in spans.last)
    loads = Spans(first, last, len(begins)).load(sizes)
    lives = zip(first, last, spans.first, spans.last, strict=True)
    return [(max(loads[low : high + 1]), end - begin) for low, high, begin, end in lives]


def _alive_together(spans: Spans, sizes: Sequence[int]) -> tuple[array[int], array[int]]:
    """``start`` and ``others`` of blocks, of those that have bytes."""
    sized = np.flatnonzero(np.array(sizes, np.int64))
    first, last = (np.array(each, np.int64)[sized] for each in (spans.first, spans.last))
    order = np.argsort(first, kind="stable")
    begins, places = first[order], np.arange(len(order))
    later = np.searchsorted(begins, last[order], side="right") - places - 1
    left = np.repeat(places, later)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(later) - later, later)
    blocks = sized[order]
    each, other = (blocks[np.concatenate(ends)] for ends in ((left, right), (right, left)))
    start = np.searchsorted(np.sort(each), np.arange(len(sizes) + 1))
    others = other[np.argsort(each, kind="stable")]
    return array("q", start.astype(np.int64).tobytes()), array("q", others.tobytes())

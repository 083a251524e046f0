"""The search for offsets below one height, over arrays of integers.

Every placement can be pushed down until each block stands on the ground or on another, and its
blocks can be placed by rising offset; only such *canonical* placements are tried (Moffitt,
MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning, ASPLOS
2023). What has been tried at an offset *sleeps* while the next block of that offset is tried,
until something lifts it, so that no placement is met twice (sleep sets: Godefroid, 1996); what
lifts it ends no lower than any block that is left, so a section whose lowest blocks all sleep
is as full as if they lay there. Blocks that no section connects any more are *parts*, each
searched by itself and, as in MiniMalloc, in its own order: by the rest of its sections when it
was made. The rest of a part, with the lowest offsets that its blocks may have, is *known* once
it failed. A block that lifts no other has no alternative.

Functions take the arrays of one ``OffsetSearch`` and keep to whole numbers, names, items, tests and
loops, so that the same text runs as machine code (``staticgrad.native.words``).

Which blocks a search for offsets tries next, in which order.

The functions are such as ``staticgrad.planning.offset_search`` has.

Placements below a height by ejections: a block that fits nowhere takes the place of others.

A block goes into the lowest gap below the height. Without a gap it goes where the blocks in its
way have failed least often so far, and these are placed next (guided ejection search: Nagata and
Bräysy, A powerful route minimization heuristic for the vehicle routing problem with time windows,
2009). If few steps are as full as the height, blocks of the fullest steps come first; if many are,
blocks come as they begin. A change moves only blocks that live together with the moved ones, so
ten thousand blocks take no longer for each than a hundred.

Functions are such as ``staticgrad.planning.offset_search`` has.

Orders of blocks for the search for offsets, and restarts that put first what was to blame.

How long a search takes depends on the order in which blocks are tried, by factors of thousands, so
many orders get short limits (Luby, Sinclair and Zuckerman, 1993): first plain ones, then random
ones, in which blocks of the sections that failed come sooner. A limit is a number of tries for each
block: to descend to the last one takes one for each, however many blocks live together. Effort is
counted in blocks looked at, so what is found depends on the blocks alone.

Placements of many blocks below a height: a search where first fit exceeds it, else first fit.

Most steps of a long schedule have room to spare. What is alive where first fit exceeds the height
is placed by a search, in *windows* of time that do not touch; first fit then puts the other blocks
around it. Where one of these exceeds the height, its life is a window, too. To construct, to find
trouble and to put it first is squeaky wheel optimization (Joslin and Clements, 1999).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, count as count_from
from math import exp, gcd
from operator import add
from random import Random
from typing import Final

import numpy as np

from staticgrad.kept import cached_property
from staticgrad.planning import offsets
from staticgrad.planning.offsets import (
    BLOCKS,
    CUT,
    EFFORT,
    ENTER,
    FAR,
    FLUSH,
    GOING,
    HEIGHT,
    HIGH,
    IMPOSSIBLE,
    KEY,
    KNOWN,
    LEFT,
    LEVEL,
    LIFT,
    LIFTS,
    LOW,
    LOWEST,
    OFFSET,
    PARENT,
    PART,
    PARTS,
    PLACED,
    POOL,
    PRIME,
    REST,
    SECTIONS,
    SPENT,
    TIGHT,
    TRAIL,
    TRIES,
    WIDE_PRIME,
    Fit,
    OffsetSearch,
    Spans,
    divided,
    most_left,
    packed,
)
from staticgrad.records import dataclass


def listed(s: OffsetSearch, part: int, begin: int) -> int:
    """Write the blocks that may be next, in the order of trying; the end of the list."""
    words = s.words
    candidates = s.candidates
    score = s.score
    base = s.base
    offset = words[OFFSET]
    lowest = words[LOWEST]
    end = begin
    for i in range(s.part_begin[part], s.part_end[part]):
        b = s.pool[i]
        at = base[b]
        if s.placed[b] == 0 and at < lowest and at >= offset:
            fresh = at > offset or s.asleep[b] != at
            equal = s.equal[b]
            if equal >= 0:
                fresh = fresh and s.placed[equal] == 1
            if fresh:
                rank = _rank(s, part, i)
                score[b] = rank
                j = end
                while j > begin:
                    before = candidates[j - 1]
                    if base[before] < at or (base[before] == at and score[before] <= rank):
                        break
                    candidates[j] = before
                    j = j - 1
                candidates[j] = b
                end = end + 1
    return end


def _rank(s: OffsetSearch, part: int, i: int) -> int:
    """Return the rank of a pool entry among the blocks of its offset; the lowest is tried first."""
    words = s.words
    b = s.pool[i]
    rank = b
    if words[FLUSH] > 0:
        rank = b - words[FLUSH] * _level_sides(s, part, b)
    if words[TIGHT] == 1:
        rank = rank - 4 * words[BLOCKS] * most_left(s, b)
    if words[TIGHT] == 2:
        rank = rank - 4 * words[BLOCKS] * s.fullest[i]
    return rank


def _level_sides(s: OffsetSearch, part: int, b: int) -> int:
    """Return on how many of its two sides a block would end level with the neighbour."""
    offset = s.words[OFFSET]
    top = s.base[b] + s.size[b]
    sides = 0
    if s.low[b] == s.part_low[part]:
        sides = sides + 1
    else:
        beside = s.floor[s.low[b] - 1]
        if beside == top or (beside < offset and offset == top):
            sides = sides + 1
    if s.high[b] == s.part_high[part]:
        sides = sides + 1
    else:
        beside = s.floor[s.high[b]]
        if beside == top or (beside < offset and offset == top):
            sides = sides + 1
    return sides


def search(s: OffsetSearch) -> int:
    """Find offsets in ``base`` (PLACED), or prove that none exist, or end with SPENT effort."""
    _begin(s)
    words = s.words
    state = GOING
    while state == GOING:
        if words[ENTER] == 1:
            state = _enter(s)
        else:
            state = _next(s)
    return state


def _begin(s: OffsetSearch) -> int:
    words = s.words
    blocks = words[BLOCKS]
    sections = words[SECTIONS]
    low = s.low
    high = s.high
    size = s.size
    start = s.start
    total = s.total
    joins = s.joins
    floor = s.floor
    for section in range(0, sections + 1):
        start[section] = 0
        total[section] = 0
        joins[section] = 0
        floor[section] = 0
    for b in range(0, blocks):
        s.base[b] = 0
        s.placed[b] = 0
        s.asleep[b] = -1
        s.pool[b] = b
        for section in range(low[b], high[b]):
            start[section + 1] = start[section + 1] + 1
            total[section] = total[section] + size[b]
            if section + 1 < high[b]:
                joins[section] = joins[section] + 1
    for section in range(0, sections):
        start[section + 1] = start[section + 1] + start[section]
    for b in range(0, blocks):
        for section in range(low[b], high[b]):
            s.members[start[section]] = b
            start[section] = start[section] + 1
    for b in range(0, blocks):
        s.fullest[b] = most_left(s, b)
    for k in range(0, sections):
        section = sections - k
        start[section] = start[section - 1]
    start[0] = 0
    s.part_begin[0] = 0
    s.part_end[0] = blocks
    s.part_low[0] = 0
    s.part_high[0] = sections
    words[PART] = 0
    words[OFFSET] = 0
    words[PARENT] = -1
    words[REST] = -1
    words[LEVEL] = -1
    words[TRAIL] = 0
    words[PARTS] = 1
    words[POOL] = blocks
    words[ENTER] = 1
    return 0


def _enter(s: OffsetSearch) -> int:
    """Go into the part that is next, at a level of its own."""
    words = s.words
    part = words[PART]
    _survey(s, s.part_begin[part], s.part_end[part], words[OFFSET])
    count = s.part_end[part] - s.part_begin[part]
    words[EFFORT] = words[EFFORT] - count
    if words[LEFT] == 0:
        rest = words[REST]
        if rest < 0:
            return PLACED
        words[PART] = rest
        words[OFFSET] = s.part_offset[rest]
        words[PARENT] = s.part_parent[rest]
        words[REST] = s.part_rest[rest]
        return GOING
    level = words[LEVEL] + 1
    begin = 0
    if level > 0:
        begin = s.level_end[level - 1]
    room = 4 * words[BLOCKS]
    if words[EFFORT] < 0 or words[TRIES] < 0 or words[PARTS] + 2 > room:
        return SPENT
    if words[POOL] + words[LEFT] > 16 * room or begin + words[LEFT] > 16 * room:
        return SPENT
    words[LEVEL] = level
    s.level_parts[level] = words[PARTS]
    s.level_pool[level] = words[POOL]
    if 2 * words[LEFT] < count and count > 16:
        part = packed(s, part)
    s.level_block[level] = -1
    s.level_begin[level] = begin
    s.level_next[level] = begin
    s.level_end[level] = begin
    s.level_part[level] = part
    s.level_parent[level] = words[PARENT]
    s.level_rest[level] = words[REST]
    s.level_trail[level] = words[TRAIL]
    s.level_key[level] = words[KEY]
    s.level_forced[level] = 0
    s.level_lift[level] = words[LIFT]
    s.level_offset[level] = words[OFFSET]
    words[ENTER] = 0
    if s.known[words[KEY] % KNOWN] != words[KEY]:
        s.level_end[level] = listed(s, part, begin)
    return GOING


def _survey(s: OffsetSearch, begin: int, end: int, offset: int) -> int:
    """Return the number of unplaced blocks of a part, their lowest end and a key for them."""
    pool = s.pool
    base = s.base
    left = 0
    lowest = FAR
    lift = FAR
    key = 0
    for i in range(begin, end):
        b = pool[i]
        if s.placed[b] == 0:
            left = left + 1
            at = base[b]
            if at + s.size[b] < lowest:
                lowest = at + s.size[b]
            if at < offset or (at == offset and s.asleep[b] == at):
                at = offset + 1
            if at + s.size[b] < lift:
                lift = at + s.size[b]
            key = key + s.weight[b] * ((at * 40503 + 977) % PRIME) % WIDE_PRIME
    words = s.words
    words[LEFT] = left
    words[LOWEST] = lowest
    words[LIFT] = lift
    words[KEY] = key
    return 0


def _next(s: OffsetSearch) -> int:
    """Try the next block of a level."""
    words = s.words
    level = words[LEVEL]
    at = s.level_next[level]
    if s.level_forced[level] == 1 or at == s.level_end[level]:
        return _retreat(s, level)
    s.level_next[level] = at + 1
    b = s.candidates[at]
    part = s.level_part[level]
    count = s.part_end[part] - s.part_begin[part]
    words[EFFORT] = words[EFFORT] - count
    words[TRIES] = words[TRIES] - 1
    words[OFFSET] = s.base[b]
    room = words[TRAIL] + 2 * (s.part_high[part] - s.part_low[part]) + 2 * count + 64
    if room > s.start[words[SECTIONS]] * 8 + 64 * (words[BLOCKS] + words[SECTIONS]) + 4096:
        return SPENT
    words[LIFT] = s.level_lift[level]
    if _let_sleep(s, level, at) == 0:
        return _retreat(s, level)
    _put(s, part, b)
    if words[LIFTS] == 0:
        s.level_forced[level] = 1
    if _fits(s, part, s.base[b], s.base[b] + s.size[b]) == 0:
        _take(s, level, b)
        return GOING
    s.level_block[level] = b
    words[PART] = part
    words[PARENT] = level
    words[REST] = s.level_rest[level]
    words[ENTER] = 1
    _unjoin(s, b)
    if words[CUT] == 1 or level == 0:
        return divided(s, part)
    return GOING


def _let_sleep(s: OffsetSearch, level: int, at: int) -> int:
    """The candidates of this offset that were tried before sleep."""
    words = s.words
    offset = words[OFFSET]
    i = at - 1
    while i >= s.level_begin[level]:
        b = s.candidates[i]
        if s.base[b] != offset:
            break
        if s.asleep[b] != offset:
            mark = words[TRAIL]
            s.trail_of[mark] = words[BLOCKS] + b
            s.trail[mark] = s.asleep[b]
            words[TRAIL] = mark + 1
            s.asleep[b] = offset
        i = i - 1
    if i + 1 < at:
        b = s.candidates[at - 1]
        for section in range(s.low[b], s.high[b]):
            if s.total[section] > 0 and _awake(s, section) == 0:
                s.blame[section] = s.blame[section] + 1
                return 0
    return 1


def _awake(s: OffsetSearch, section: int) -> int:
    """Return whether a section still fits when its sleeping blocks must be lifted."""
    words = s.words
    offset = words[OFFSET]
    lift = words[LIFT]
    lowest = FAR
    for i in range(s.start[section], s.start[section + 1]):
        x = s.members[i]
        if s.placed[x] == 0:
            at = _begins(s, x, offset, lift)
            if at < lowest:
                lowest = at
    if lowest + s.total[section] > words[HEIGHT]:
        return 0
    return 1


def _begins(s: OffsetSearch, x: int, offset: int, lift: int) -> int:
    """Return the lowest offset of a block; blocks that sleep or lie lower are lifted."""
    at = s.base[x]
    if at < lift and (at < offset or (at == offset and s.asleep[x] == at)):
        return lift
    return at


def _put(s: OffsetSearch, part: int, b: int) -> int:
    """Place a block at its offset and lift the blocks that are alive at the same time."""
    words = s.words
    base = s.base
    low = s.low
    high = s.high
    trail_of = s.trail_of
    trail = s.trail
    mark = words[TRAIL]
    begin = low[b]
    end = high[b]
    size = s.size[b]
    top = base[b] + size
    s.placed[b] = 1
    for section in range(begin, end):
        s.total[section] = s.total[section] - size
        trail_of[mark] = 0 - section - 1
        trail[mark] = s.floor[section]
        mark = mark + 1
        s.floor[section] = top
    from_ = begin
    to = end
    lifts = 0
    offset = words[OFFSET]
    lift = FAR
    for i in range(s.part_begin[part], s.part_end[part]):
        x = s.pool[i]
        if low[x] < end and high[x] > begin and s.placed[x] == 0 and base[x] < top:
            trail_of[mark] = x
            trail[mark] = base[x]
            mark = mark + 1
            base[x] = top
            lifts = lifts + 1
            if low[x] < from_:
                from_ = low[x]
            if high[x] > to:
                to = high[x]
        if s.placed[x] == 0:
            at = base[x]
            if at < offset or (at == offset and s.asleep[x] == at):
                at = offset + 1
            if at + s.size[x] < lift:
                lift = at + s.size[x]
    words[LIFT] = lift
    words[TRAIL] = mark
    words[LIFTS] = lifts
    words[LOW] = from_
    words[HIGH] = to
    return 0


def _fits(s: OffsetSearch, part: int, offset: int, top: int) -> int:
    """Return whether the unplaced blocks of each section fit above the placed ones."""
    words = s.words
    height = words[HEIGHT]
    for section in range(s.part_low[part], s.part_high[part]):
        ground = s.floor[section]
        if ground < offset:
            ground = offset
        if ground + s.total[section] > height:
            s.blame[section] = s.blame[section] + 1
            return 0
    begin = words[LOW]
    end = words[HIGH]
    if offset > s.level_offset[words[LEVEL]]:
        begin = s.part_low[part]
        end = s.part_high[part]
    words[EFFORT] = words[EFFORT] - s.start[end] + s.start[begin]
    for section in range(begin, end):
        if s.total[section] > 0 and _raised(s, section, top) == 0:
            s.blame[section] = s.blame[section] + 1
            return 0
    return 1


def _raised(s: OffsetSearch, section: int, top: int) -> int:
    """Raise the floor of a section to the lowest of its blocks that are left; whether they fit."""
    words = s.words
    height = words[HEIGHT]
    offset = words[OFFSET]
    lift = words[LIFT]
    lowest = FAR
    above = 0
    for i in range(s.start[section], s.start[section + 1]):
        x = s.members[i]
        if s.placed[x] == 0:
            at = _begins(s, x, offset, lift)
            if at < lowest:
                lowest = at
            if at >= top:
                above = above + s.size[x]
    if above > 0 and top + above > height:
        return 0
    if lowest > s.floor[section]:
        mark = words[TRAIL]
        s.trail_of[mark] = 0 - section - 1
        s.trail[mark] = s.floor[section]
        words[TRAIL] = mark + 1
        s.floor[section] = lowest
        if lowest + s.total[section] > height:
            return 0
    return 1


def _take(s: OffsetSearch, level: int, b: int) -> int:
    """Undo the placement of a block of a level."""
    words = s.words
    blocks = words[BLOCKS]
    mark = words[TRAIL]
    while mark > s.level_trail[level]:
        mark = mark - 1
        x = s.trail_of[mark]
        if x >= blocks:
            s.asleep[x - blocks] = s.trail[mark]
        elif x >= 0:
            s.base[x] = s.trail[mark]
        else:
            s.floor[0 - x - 1] = s.trail[mark]
    words[TRAIL] = mark
    s.placed[b] = 0
    for section in range(s.low[b], s.high[b]):
        s.total[section] = s.total[section] + s.size[b]
    return 0


def _retreat(s: OffsetSearch, level: int) -> int:
    """Leave a part that cannot be placed, back to the level that it comes from."""
    words = s.words
    key = s.level_key[level]
    s.known[key % KNOWN] = key
    parent = s.level_parent[level]
    if parent < 0:
        return IMPOSSIBLE
    at = level
    while at > parent:
        at = at - 1
        b = s.level_block[at]
        _take(s, at, b)
        for section in range(s.low[b], s.high[b] - 1):
            s.joins[section] = s.joins[section] + 1
    words[LEVEL] = parent
    words[PARTS] = s.level_parts[parent]
    words[POOL] = s.level_pool[parent]
    part = s.level_part[parent]
    if part >= words[PARTS]:
        words[PARTS] = part + 1
        words[POOL] = s.part_end[part]
    return GOING


def _unjoin(s: OffsetSearch, b: int) -> int:
    """A placed block joins its sections no more; whether two are now apart."""
    words = s.words
    words[CUT] = 0
    for section in range(s.low[b], s.high[b] - 1):
        s.joins[section] = s.joins[section] - 1
        if s.joins[section] == 0:
            words[CUT] = 1
    return 0


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
    """Place blocks until all are placed or the effort is spent; return how many are left."""
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
    """Sum the failures of the blocks between ``offset`` and ``top``, plus one for each block."""
    found = 0
    for i in range(0, count):
        if s.low[i] >= top:
            break
        if s.high[i] > offset:
            found = found + s.failures[s.beside[i]] + 1
    return found


class Ejections:
    """Searches for offsets of some blocks; ``run`` is ``placed_by_ejections``, or its machine code.
    ``effort`` is their total effort. Later ones reuse the failure counts of earlier ones."""

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
        """Return a placement that is at most ``height`` high, or None if the effort runs out."""
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
    """Return for each block the highest load during its life, and the length of its life.
    Only steps at which a block begins are examined, so the number of steps does not matter."""
    begins = sorted(set(spans.first))
    first = tuple(bisect_left(begins, at) for at in spans.first)
    last = tuple(bisect_right(begins, at) - 1 for at in spans.last)
    loads = Spans(first, last, len(begins)).load(sizes)
    lives = zip(first, last, spans.first, spans.last, strict=True)
    return [(max(loads[low : high + 1]), end - begin) for low, high, begin, end in lives]


def _alive_together(spans: Spans, sizes: Sequence[int]) -> tuple[array[int], array[int]]:
    """Return ``start`` and ``others`` for the blocks that are not empty."""
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


#: (least tries for each block, runs) of the cycles of restarts.
_CYCLES: Final = ((6, 511), (24, 127))
_TRIES: Final = 2  # for each block, of the plain orders at first
#: How the plain orders are tried, before they get more tries: level ends first, tight blocks first.
_WAYS: Final = ((0, 2), (0, 1), (1, 1))
_BARE: Final = 4  # plain orders that do not begin with the tightest sections: the last ones

#: An order, its limit, how much it likes level ends, whether the tightest sections come first.
_Turn = tuple[list[int], int, int, int]


class Restarts:
    """Searches for offsets of some blocks; ``run`` is ``offset_search.search``, or its machine
    code. ``effort`` is what they took together."""

    def __init__(
        self, spans: Spans, sizes: Sequence[int], run: Callable[[OffsetSearch], int]
    ) -> None:
        self.run = run
        self.count = len(sizes)
        self.blocks = [b for b in range(len(sizes)) if sizes[b]]
        self.sizes = [sizes[b] for b in self.blocks]
        self.length = [spans.last[b] - spans.first[b] + 1 for b in self.blocks]
        self.low, self.high, self.sections = _sections(spans, self.blocks)
        self.load = _loads(self.low, self.high, self.sizes, self.sections)
        self.members = sum(self.high) - sum(self.low)
        self.search = OffsetSearch.of(len(self.blocks), self.sections, self.members)
        kinds: dict[tuple[int, int, int], int] = {}
        shapes = zip(self.low, self.high, self.sizes, strict=True)
        self.kind = [kinds.setdefault(shape, len(kinds)) for shape in shapes]
        random = Random(5)
        self.weight = [random.randrange(1, 1 << 31) for _ in self.blocks]
        self.height = -1
        self.effort = self.last = 0
        self.order: Sequence[int] = ()
        self.turns: dict[int, Iterator[_Turn]] = {}

    def tried(self, height: int, effort: int) -> int:
        """PLACED (``placed`` tells where), IMPOSSIBLE, or SPENT when the effort is spent. What was
        tried for a height before is not tried again."""
        if max(self.load, default=0) > height:
            return IMPOSSIBLE
        if height != self.height:
            if self.effort:
                known = self.search.known
                known[:] = array("q", [0]) * len(known)
            self.height = height
        turns = self.turns.setdefault(height, self._turns())
        stop = self.effort + effort
        while self.effort < stop:
            order, tries, flush, tight = next(turns)
            state = self.searched(order, stop - self.effort, tries, flush, tight)
            if state != SPENT:
                self.order = order
                return state
        return SPENT

    def searched(self, order: Sequence[int], limit: int, tries: int, flush: int, tight: int) -> int:
        """One search for the height, of blocks in an order, with so much effort and so many tries;
        ``flush`` is how much sooner a level end comes, ``tight`` whether tight sections do."""
        s = self.search
        count = len(order)
        for into, given in (
            (s.low, self.low),
            (s.high, self.high),
            (s.size, self.sizes),
            (s.weight, self.weight),
        ):
            into[:count] = array("q", map(given.__getitem__, order))
        seen: dict[int, int] = {}
        for rank, kind in enumerate(map(self.kind.__getitem__, order)):
            s.equal[rank] = seen.get(kind, -1)
            seen[kind] = rank
        words = s.words
        words[offsets.BLOCKS] = len(self.blocks)
        words[offsets.SECTIONS] = self.sections
        words[offsets.HEIGHT] = self.height
        words[offsets.EFFORT] = limit
        words[offsets.TRIES] = tries
        words[offsets.FLUSH] = flush
        words[offsets.TIGHT] = tight
        state = self.run(s)
        self.last = limit - words[offsets.EFFORT] + 1
        self.effort += self.last
        return state

    def placed(self) -> tuple[list[int], int]:
        """Offsets by block number, and their height, of the last that was PLACED."""
        found = [0] * self.count
        height = 0
        for rank, block in enumerate(self.order):
            base = self.search.base[rank]
            found[self.blocks[block]] = base
            height = max(height, base + self.sizes[block])
        return found, height

    def _turns(self) -> Iterator[_Turn]:
        """Yield the trials: plain orders in one mode, as many restarts, then the next mode."""
        random = Random(0)
        count = len(self.blocks)
        plain, keys = self._plain, self._keys
        cycle = 0
        restarts: Iterator[_Turn] = iter(())
        for turn in count_from(0):
            used = 0
            flush, tight = _WAYS[turn % len(_WAYS)]
            tries = _TRIES * count << 2 * (turn // len(_WAYS))
            for order in plain[-_BARE:] if tight else plain:
                yield order, tries, flush * count, tight
                used += self.last
            while used > 0:
                found = next(restarts, None)
                if found is None:
                    restarts = self._cycle(*_CYCLES[cycle % 2], keys, random)
                    cycle += 1
                    found = next(restarts)
                yield found
                used -= self.last

    def _cycle(
        self, unit: int, runs: int, keys: Sequence[Sequence[float]], random: Random
    ) -> Iterator[_Turn]:
        """Random orders; sections that fail grow hot, and hot blocks come sooner."""
        count = len(self.blocks)
        heat = [0.0] * self.sections
        blame, nothing = self.search.blame, array("q", bytes(8 * self.sections))
        for k in range(1, runs + 1):
            top = max(1.0, *heat)
            hot = [max(heat[a:b]) / top for a, b in zip(self.low, self.high, strict=True)]
            key = random.choice(keys)
            noisy = [value * exp(0.3 * random.gauss(0.0, 1.0)) for value in key]
            if random.random() < 0.5:
                rank = [(-round(hot[b], 1), -noisy[b], b) for b in range(count)]
            else:
                rank = [(-noisy[b] * (0.05 + hot[b]), 0.0, b) for b in range(count)]
            blame[: self.sections] = nothing
            yield (
                [entry[2] for entry in sorted(rank)],
                unit * count * _luby(k),
                k % 2 * count,
                int(k % 8 > 1),
            )
            total = max(1, sum(blame[: self.sections]))
            new = blame[: self.sections]
            heat = [0.9 * each + count / total for each, count in zip(heat, new, strict=True)]

    @cached_property
    def _keys(self) -> list[list[float]]:
        area = [float(s * n) for s, n in zip(self.sizes, self.length, strict=True)]
        width = [float(b - a) for a, b in zip(self.low, self.high, strict=True)]
        return [area, width, [float(s) for s in self.sizes], [a**0.5 for a in area]]

    @cached_property
    def _plain(self) -> list[list[int]]:
        """Blocks by the load of their worst section, width, area, length or size."""
        worst = [max(self.load[a:b]) for a, b in zip(self.low, self.high, strict=True)]
        width = [b - a for a, b in zip(self.low, self.high, strict=True)]
        area = [s * n for s, n in zip(self.sizes, self.length, strict=True)]
        size, length = self.sizes, self.length
        orders = (
            (worst, area, width),
            (worst, width, area),
            (worst, length, size),
            (worst, size, length),
            (width, area, worst),
            (area,),
            (length, size),
            (size, length),
        )
        found = []
        for keys in orders:
            rank = [(*(-key[b] for key in keys), b) for b in range(len(self.blocks))]
            found.append([entry[-1] for entry in sorted(rank)])
        return found


def _luby(k: int) -> int:
    """The k-th number of 1, 1, 2, 1, 1, 2, 4, ..."""
    while k & (k + 1):
        k -= (1 << (k.bit_length() - 1)) - 1
    return (k + 1) // 2


def _sections(spans: Spans, blocks: Sequence[int]) -> tuple[list[int], list[int], int]:
    """The largest sets of blocks alive together, in time: of each block the first, the one behind
    its last; and how many there are."""
    begins = sorted(spans.first[b] for b in blocks)
    kept: list[int] = []
    behind = 0
    for end in sorted({spans.last[b] for b in blocks}):
        begun = bisect_left(begins, end + 1)
        if begun > behind:
            kept.append(end)
        behind = begun
    low = [bisect_left(kept, spans.first[b]) for b in blocks]
    high = [bisect_left(kept, spans.last[b] + 1) for b in blocks]
    return low, high, len(kept)


def _loads(
    low: Sequence[int], high: Sequence[int], sizes: Sequence[int], sections: int
) -> list[int]:
    found = [0] * (sections + 1)
    for begin, end, size in zip(low, high, sizes, strict=True):
        found[begin] += size
        found[end] -= size
    return list(accumulate(found[:sections]))


#: Blocks, and sections that they live in together, up to which there is a search.
MOST_BLOCKS: Final = 2_000
MOST_MEMBERS: Final = 1_000_000
_ROUNDS: Final = 12
_MOST_SHARE: Final = 75  # hundredths of all blocks up to which a window is searched by itself
_EACH: Final = 6_000  # effort of the first search of a window, for each of its blocks


class PlacedWindows:
    """Placements of blocks by windows; ``effort`` is the sum of their searches' efforts.

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
        """Return a first fit of the blocks with known offsets, from the lowest on, so that each
        ends no higher than there, then of the others, the largest first."""
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

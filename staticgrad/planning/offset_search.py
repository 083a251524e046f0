"""Placements closer to the load than first fit: searches for offsets below one height.

Where first fit misses the bound, ejections place the blocks as machine code, if there is a
compiler: at the bound, and then by halves between what they miss and the best. Where these miss it,
too, a canonical search of a few milliseconds tries the bound. Groups of blocks that never live
together are searched apart.

*The canonical search.* Every placement can be pushed down until each block stands on the ground or
on another, and its blocks can be placed by rising offset; only such *canonical* placements are
tried (Moffitt, MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine
Learning, ASPLOS 2023). What has been tried at an offset *sleeps* while the next block of that
offset is tried, until something lifts it, so that no placement is met twice (sleep sets: Godefroid,
1996); what lifts it ends no lower than any block that is left, so a section whose lowest blocks all
sleep is as full as if they lay there. Blocks that no section connects any more are *parts*, each
searched by itself and, as in MiniMalloc, in its own order: by the rest of its sections when it was
made. The rest of a part, with the lowest offsets that its blocks may have, is *known* once it
failed. A block that lifts no other has no alternative.

How long it takes depends on the order in which blocks are tried, by factors of thousands, so many
orders get short limits (Luby, Sinclair and Zuckerman, 1993): first plain ones, then random ones, in
which blocks of the sections that failed come sooner. A limit is a number of tries for each block:
to descend to the last one takes one for each, however many blocks live together.

*Placement by ejections.* A block goes into the lowest gap below the height. Without a gap it goes
where the blocks in its way have failed least often so far, and these are placed next (guided
ejection search: Nagata and Bräysy, A powerful route minimization heuristic for the vehicle routing
problem with time windows, 2009). If few steps are as full as the height, blocks of the fullest
steps come first; if many are, blocks come as they begin. A change moves only blocks that live
together with the moved ones, so ten thousand blocks take no longer for each than a hundred. Its
functions keep to what ``staticgrad.native.words`` compiles.

Effort is counted in blocks looked at, so what is found depends on the blocks alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, compress, count as count_from
from math import exp, gcd
from operator import add
from random import Random
from typing import Final

import numpy as np

from staticgrad.kept import cached_property
from staticgrad.planning.offsets import Spans, best_fit, first_fit, fit, place, swept
from staticgrad.planning.problem import machine_code
from staticgrad.records import dataclass

PLACED: Final = 1
IMPOSSIBLE: Final = 0
SPENT: Final = -1
GOING: Final = 2
FAR: Final = 1 << 60
PRIME: Final = 2147483647
WIDE_PRIME: Final = 4503599627370449


class _Part:
    """Blocks that sections join, and those sections, from and to.

    ``fullest``: the most bytes that were left in a section of each block when the part was made.
    It is searched from ``offset`` on; ``parent`` is the level that made it, ``rest`` the next part.
    """

    def __init__(self, offset: int, parent: int, rest: _Part | None, sections: int) -> None:
        self.offset, self.parent, self.rest = offset, parent, rest
        self.low, self.high = sections, 0
        self.blocks: list[int] = []
        self.fullest: list[int] = []


class _Level:
    """The candidates for the next block of a part, and what to return to."""

    block = -1
    next = 0
    is_forced = False  # a block that lifts no other has no alternative
    candidates: Sequence[int] = ()

    def __init__(self, search: _Search, part: _Part, key: int) -> None:
        self.part, self.key = part, key
        self.parent, self.rest = search.parent, search.rest
        self.offset, self.lift, self.trail = search.offset, search.lift, len(search.trail)


class _Search:
    """One search; blocks are numbered in the order in which they are tried.

    ``low[b]`` and ``high[b]`` are the sections of a block, from and to; ``equal[b]`` is an equal
    block before it, or -1. ``blame[s]`` counts the failures that section s was the reason of.
    ``effort`` and ``tries`` are what is left of them; ``flush`` is how much sooner a block is tried
    that ends level with what is beside it. ``tight``: whether blocks of the sections with the most
    bytes left are tried first, 1 for what is left now, 2 for what was left when the part was made.
    What lies lower than ``lift`` and sleeps is lifted to that or more.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int, int]],
        equal: Sequence[int],
        weight: Sequence[int],
        sections: int,
        height: int,
    ) -> None:
        self.low, self.high, self.size = ([*each] for each in zip(*shapes, strict=True))
        self.equal, self.weight, self.height = equal, weight, height
        blocks = len(shapes)
        self.base, self.asleep, self.placed = [0] * blocks, [-1] * blocks, [False] * blocks
        self.total, self.joins, self.floor = [0] * sections, [0] * sections, [0] * sections
        self.members: list[list[int]] = [[] for _ in range(sections)]
        for b, (low, high, size) in enumerate(shapes):
            for section in range(low, high):
                self.members[section].append(b)
                self.total[section] += size
                self.joins[section] += section + 1 < high
        self.blame = [0] * sections
        self.trail: list[tuple[list[int], int, int]] = []
        self.levels: list[_Level] = []
        self.part = _Part(0, -1, None, 0)
        self.part.high = sections
        self.part.blocks = [*range(blocks)]
        self.part.fullest = [*map(self._most_left, range(blocks))]
        self.offset, self.parent, self.lift, self.lowest = 0, -1, FAR, FAR
        self.rest: _Part | None = None
        self.enters = True

    def run(self, known: set[int], effort: int, tries: int, flush: int, tight: int) -> int:
        """Find offsets in ``base`` (PLACED), or prove that none exist, or end with SPENT effort."""
        self.known, self.effort, self.tries, self.flush, self.tight = (
            known, effort, tries, flush, tight,
        )  # fmt: skip
        state = GOING
        while state == GOING:
            state = self._enter() if self.enters else self._next()
        return state

    def _most_left(self, b: int) -> int:
        """The most bytes that are left to place in a section of a block."""
        return max(self.total[self.low[b] : self.high[b]])

    def _set(self, values: list[int], at: int, value: int) -> None:
        self.trail.append((values, at, values[at]))
        values[at] = value

    def _enter(self) -> int:
        """Go into the part that is next, at a level of its own."""
        part, base, size = self.part, self.base, self.size
        left = [b for b in part.blocks if not self.placed[b]]
        self.lowest = min((base[b] + size[b] for b in left), default=FAR)
        self.lift, key = FAR, 0
        for b in left:
            at = self._awake_at(b)
            self.lift = min(self.lift, at + size[b])
            key += self.weight[b] * ((at * 40503 + 977) % PRIME) % WIDE_PRIME
        self.effort -= len(part.blocks)
        if not left:
            rest = self.rest
            if rest is None:
                return PLACED
            self.part, self.offset, self.parent, self.rest = (
                rest, rest.offset, rest.parent, rest.rest,
            )  # fmt: skip
            return GOING
        if self.effort < 0 or self.tries < 0:
            return SPENT
        if 2 * len(left) < len(part.blocks) and len(part.blocks) > 16:
            packed = _Part(part.offset, part.parent, part.rest, 0)
            packed.low, packed.high, packed.blocks = part.low, part.high, left
            pairs = zip(part.blocks, part.fullest, strict=True)
            packed.fullest = [most for b, most in pairs if not self.placed[b]]
            part = packed
        level = _Level(self, part, key)
        self.levels.append(level)
        self.enters = False
        if key not in self.known:
            level.candidates = self._listed(part)
        return GOING

    def _awake_at(self, b: int) -> int:
        """The lowest offset of a block; more than this offset where it sleeps or lies lower."""
        at = self.base[b]
        lies = at < self.offset or (at == self.offset and self.asleep[b] == at)
        return self.offset + 1 if lies else at

    def _listed(self, part: _Part) -> list[int]:
        """The blocks that may be next, in the order of trying."""
        base, found = self.base, []
        for b, fullest in zip(part.blocks, part.fullest, strict=True):
            at, equal = base[b], self.equal[b]
            if self.placed[b] or not self.offset <= at < self.lowest:
                continue
            is_fresh = at > self.offset or self.asleep[b] != at
            if is_fresh and (equal < 0 or self.placed[equal]):
                rank = b - self.flush * self._level_sides(part, b) if self.flush else b
                if self.tight:
                    most = self._most_left(b) if self.tight == 1 else fullest
                    rank -= 4 * len(base) * most
                found.append((at, rank, b))
        return [b for _, _, b in sorted(found)]

    def _level_sides(self, part: _Part, b: int) -> int:
        """Return on how many of its two sides a block would end level with the neighbour."""
        offset, top = self.offset, self.base[b] + self.size[b]

        def is_level(edge: bool, section: int) -> bool:
            if edge:
                return True
            beside = self.floor[section]
            return beside == top or (beside < offset and offset == top)

        low, high = self.low[b], self.high[b]
        return is_level(low == part.low, low - 1) + is_level(high == part.high, high)

    def _next(self) -> int:
        """Try the next block of a level."""
        level = self.levels[-1]
        if level.is_forced or level.next == len(level.candidates):
            return self._retreat()
        b, part = level.candidates[level.next], level.part
        level.next += 1
        self.effort -= len(part.blocks)
        self.tries -= 1
        self.offset, self.lift = self.base[b], level.lift
        if not self._let_sleep(level):
            return self._retreat()
        lifted = self._put(part, b)
        level.is_forced |= lifted is None
        if not self._fits(part, b, lifted):
            self._take(level, b)
            return GOING
        level.block = b
        self.part, self.parent, self.rest, self.enters = (
            part, len(self.levels) - 1, level.rest, True,
        )  # fmt: skip
        is_cut = False
        for section in range(self.low[b], self.high[b] - 1):
            self.joins[section] -= 1
            is_cut |= not self.joins[section]
        if is_cut or len(self.levels) == 1:
            self._divide(part)
        return GOING

    def _let_sleep(self, level: _Level) -> bool:
        """The candidates of this offset that were tried before sleep; whether sections still fit
        where the last of them was."""
        before = level.candidates[: level.next - 1]
        tried = 0
        for b in reversed(before):
            if self.base[b] != self.offset:
                break
            if self.asleep[b] != self.offset:
                self._set(self.asleep, b, self.offset)
            tried += 1
        b = before[-1] if tried else 0
        for section in range(self.low[b], self.high[b]) if tried else ():
            if self.total[section]:
                lowest = min(self._begins(x) for x in self.members[section] if not self.placed[x])
                if lowest + self.total[section] > self.height:
                    self.blame[section] += 1
                    return False
        return True

    def _begins(self, x: int) -> int:
        """Return the lowest offset of a block; blocks that sleep or lie lower are lifted."""
        at = self.base[x]
        lies = at < self.offset or (at == self.offset and self.asleep[x] == at)
        return self.lift if lies and at < self.lift else at

    def _put(self, part: _Part, b: int) -> tuple[int, int] | None:
        """Place a block at its offset and lift the blocks that are alive at the same time; their
        sections, from and to, with its own."""
        low, high, base = self.low, self.high, self.base
        begin, end, size = low[b], high[b], self.size[b]
        top = base[b] + size
        self.placed[b] = True
        for section in range(begin, end):
            self.total[section] -= size
            self._set(self.floor, section, top)
        lifted, self.lift = [], FAR
        for x in part.blocks:
            if not self.placed[x]:
                if low[x] < end and high[x] > begin and base[x] < top:
                    self._set(base, x, top)
                    lifted.append(x)
                self.lift = min(self.lift, self._awake_at(x) + self.size[x])
        if not lifted:
            return None
        return min(begin, *map(low.__getitem__, lifted)), max(end, *map(high.__getitem__, lifted))

    def _fits(self, part: _Part, b: int, lifted: tuple[int, int] | None) -> bool:
        """Return whether the unplaced blocks of each section fit above the placed ones."""
        offset, top = self.offset, self.base[b] + self.size[b]
        for section in range(part.low, part.high):
            if max(self.floor[section], offset) + self.total[section] > self.height:
                self.blame[section] += 1
                return False
        begin, end = lifted or (self.low[b], self.high[b])
        if offset > self.levels[-1].offset:
            begin, end = part.low, part.high
        self.effort -= sum(map(len, self.members[begin:end]))
        for section in range(begin, end):
            if self.total[section] and not self._raise(section, top):
                self.blame[section] += 1
                return False
        return True

    def _raise(self, section: int, top: int) -> bool:
        """Raise the floor of a section to the lowest of its blocks that are left; whether they
        fit."""
        lowest, above = FAR, 0
        for x in self.members[section]:
            if not self.placed[x]:
                at = self._begins(x)
                lowest = min(lowest, at)
                above += self.size[x] if at >= top else 0
        if above and top + above > self.height:
            return False
        if lowest > self.floor[section]:
            self._set(self.floor, section, lowest)
            return lowest + self.total[section] <= self.height
        return True

    def _take(self, level: _Level, b: int) -> None:
        """Undo the placement of a block of a level."""
        while len(self.trail) > level.trail:
            values, at, value = self.trail.pop()
            values[at] = value
        self.placed[b] = False
        for section in range(self.low[b], self.high[b]):
            self.total[section] += self.size[b]

    def _retreat(self) -> int:
        """Leave a part that cannot be placed, back to the level that it comes from."""
        level = self.levels[-1]
        self.known.add(level.key)
        if level.parent < 0:
            return IMPOSSIBLE
        while len(self.levels) - 1 > level.parent:
            self.levels.pop()
            below = self.levels[-1]
            self._take(below, below.block)
            for section in range(self.low[below.block], self.high[below.block] - 1):
                self.joins[section] += 1
        return GOING

    def _divide(self, part: _Part) -> None:
        """Divide the rest of a part into parts, and enter the one with the least room."""
        segment_of, slack = [0] * len(self.total), [FAR]
        for section in range(part.low, part.high):
            segment_of[section] = len(slack) - 1
            if self.total[section]:
                ground = max(self.floor[section], self.offset)
                slack[-1] = min(slack[-1], self.height - self.total[section] - ground)
            if not self.joins[section] and section + 1 < part.high:
                slack.append(FAR)
        inside: dict[int, list[int]] = {}
        for b in part.blocks:
            if not self.placed[b]:
                inside.setdefault(segment_of[self.low[b]], []).append(b)
        rest = self.rest
        for segment in sorted(sorted(inside), key=lambda each: -slack[each]):
            rest = _Part(self.offset, self.parent, rest, 0)
            rest.blocks = inside[segment]
            rest.low = min(self.low[b] for b in rest.blocks)
            rest.high = max(self.high[b] for b in rest.blocks)
            rest.fullest = [*map(self._most_left, rest.blocks)]
        if rest is not None and inside:
            self.part, self.rest = rest, rest.rest


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
    """Place blocks until all are placed or the effort is spent; return how many are left."""
    while s.count > 0 and s.effort > 0:
        s.count = s.count - 1
        b = s.waiting[s.count]
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
                    s.waiting[s.count] = x
                    s.count = s.count + 1
        s.base[b] = offset
    return s.count


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
    s.effort = s.effort - (end - begin) - count * count // 8 - 1
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
    if s.height - end >= size:
        return end
    return -1


def _least_blamed(s: EjectionSearch, b: int, count: int) -> int:
    """The offset, level with an end of another block or of the height, where the blocks in the way
    have failed least often; one at random of equal ones."""
    size = s.size[b]
    highest = s.height - size
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
                s.random = s.random * 48271 % PRIME
                if s.random // 256 % equal == 0:
                    found = offset
    s.effort = s.effort - count * count // 2
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

    def lowered(self, height: int, effort: int) -> Placed | None:
        """Return a placement that is at most ``height`` high, or None if the effort runs out."""
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


#: Blocks, and sections that they live in together, up to which there is a search.
MOST_BLOCKS: Final = 2_000
MOST_MEMBERS: Final = 1_000_000
#: (least tries for each block, runs) of the cycles of restarts.
_CYCLES: Final = ((6, 511), (24, 127))
_TRIES: Final = 2  # for each block, of the plain orders at first
#: How the plain orders are tried, before they get more tries: level ends first, tight blocks first.
_WAYS: Final = ((0, 2), (0, 1), (1, 1))
_BARE: Final = 4  # plain orders that do not begin with the tightest sections: the last ones

#: An order, its limit, how much it likes level ends, whether the tightest sections come first.
_Turn = tuple[list[int], int, int, int]


class Restarts:
    """A search for offsets of some blocks below ``height``."""

    def __init__(self, spans: Spans, sizes: Sequence[int], height: int) -> None:
        self.height = height
        self.count = len(sizes)
        self.blocks = [b for b in range(len(sizes)) if sizes[b]]
        self.sizes = [sizes[b] for b in self.blocks]
        self.length = [spans.last[b] - spans.first[b] + 1 for b in self.blocks]
        self.low, self.high, self.sections = _sections(spans, self.blocks)
        self.load = _loads(self.low, self.high, self.sizes, self.sections)
        self.members = sum(self.high) - sum(self.low)
        random = Random(5)
        self.weight = [random.randrange(1, 1 << 31) for _ in self.blocks]
        self.effort = self.last = 0
        self.order: Sequence[int] = ()
        self.base: Sequence[int] = ()
        self.blame: Sequence[int] = ()
        self.known: set[int] = set()

    def tried(self, effort: int) -> int:
        """PLACED (``placed`` tells where), IMPOSSIBLE, or SPENT when the effort is spent."""
        if max(self.load, default=0) > self.height:
            return IMPOSSIBLE
        turns = self._turns()
        while self.effort < effort:
            order, tries, flush, tight = next(turns)
            state = self.searched(order, effort - self.effort, tries, flush, tight)
            if state != SPENT:
                self.order = order
                return state
        return SPENT

    def searched(self, order: Sequence[int], limit: int, tries: int, flush: int, tight: int) -> int:
        """One search for the height, of blocks in an order, with so much effort and so many tries;
        ``flush`` is how much sooner a level end comes, ``tight`` whether tight sections do."""
        shapes = [*zip(self.low, self.high, self.sizes, strict=True)]
        seen: dict[tuple[int, int, int], int] = {}
        equal = []
        for rank, block in enumerate(order):
            equal.append(seen.get(shapes[block], -1))
            seen[shapes[block]] = rank
        found = _Search(
            [shapes[block] for block in order],
            equal,
            [self.weight[block] for block in order],
            self.sections,
            self.height,
        )
        state = found.run(self.known, limit, tries, flush, tight)
        self.base, self.blame = found.base, found.blame
        self.last = limit - found.effort + 1
        self.effort += self.last
        return state

    def placed(self) -> tuple[list[int], int]:
        """Offsets by block number, and their height, of the last that was PLACED."""
        found = [0] * self.count
        height = 0
        for rank, block in enumerate(self.order):
            base = self.base[rank]
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
        for k in range(1, runs + 1):
            top = max(1.0, *heat)
            hot = [max(heat[a:b]) / top for a, b in zip(self.low, self.high, strict=True)]
            key = random.choice(keys)
            noisy = [value * exp(0.3 * random.gauss(0.0, 1.0)) for value in key]
            if random.random() < 0.5:
                rank = [(-round(hot[b], 1), -noisy[b], b) for b in range(count)]
            else:
                rank = [(-noisy[b] * (0.05 + hot[b]), 0.0, b) for b in range(count)]
            yield (
                [entry[2] for entry in sorted(rank)],
                unit * count * _luby(k),
                k % 2 * count,
                int(k % 8 > 1),
            )
            total = max(1, sum(self.blame))
            heat = [0.9 * each + new / total for each, new in zip(heat, self.blame, strict=True)]

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


#: Effort of ejections that take about a tenth of a second.
BRIEF: Final = 30_000_000
_MILLISECOND: Final = 5_000  # effort of a search that takes about one
_SEARCHED: Final = 100_000  # and of the longest one
_FINE: Final = 200  # heights between which no other is tried differ by this part of the bound
_EJECTING: Final = 2  # part of the effort that placement by ejections takes
_EJECTED: Final = 30_000  # and the most, for each block: beyond, few are placed by a search sooner
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
    """Offsets by block number and the height of the arena, as ``place`` gives them, but lower where
    that misses the bound and a search finds a better placement.
    """
    best = _first_fit(spans, sizes, bound, order)
    if best[1] <= bound or effort <= 0:
        return best
    if effort > _SEARCHED:
        share = min(effort // _EJECTING, _EJECTED * len(sizes))
        best = _by_ejections(spans, sizes, bound, share, best)
        if best[1] <= bound:
            return best
    return _searched_apart(spans, sizes, bound, effort, best)


def lowered_briefly(spans: Spans, sizes: Sequence[int], bound: int, best: Placed) -> Placed:
    """Return the lower one of a placement of few blocks and the result of a millisecond's search,
    for which nothing is compiled."""
    if best[1] <= bound or len(sizes) > _FEW:
        return best
    return _searched_apart(spans, sizes, bound, _MILLISECOND, best)


def _searched_apart(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: Placed
) -> Placed:
    """Return the lower one of a placement and the results of separate searches of its groups."""
    groups = spans.groups(compress(range(len(sizes)), sizes))
    if len(groups) < 2:
        return _searched(spans, sizes, bound, effort, best)
    offsets, height = best[0], bound
    heights = [max(offsets[b] + sizes[b] for b in group) for group in groups]
    share = effort // sum(each > bound for each in heights)
    for group, high in zip(groups, heights, strict=True):
        if high > height:
            start = [offsets[b] for b in group], high
            own = [sizes[b] for b in group]
            found, high = _searched(spans.of(group), own, height, share, start)
            for b, offset in zip(group, found, strict=True):
                offsets[b] = offset
        height = max(height, high)
    return offsets, max(map(add, offsets, sizes))


def _by_ejections(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: Placed
) -> Placed:
    """The lowest of a placement and of those by ejections, at the bound and then by halves between
    what they miss and the best."""
    run = machine_code(placed_by_ejections)
    if run is None or spans.pairs > MOST_PAIRS:
        return best
    ejections = Ejections(spans, sizes, run)
    low = height = bound
    while ejections.effort < effort and (best[1] - low) * _FINE > bound:
        found = ejections.lowered(height, (effort - ejections.effort + 1) // 2)
        best = found or best
        low = height if found is None else low
        height = (low + best[1]) // 2
    return best


def _searched(spans: Spans, sizes: Sequence[int], bound: int, effort: int, best: Placed) -> Placed:
    """Return the lower one of a placement and the result of a search of one group."""
    if len(sizes) > MOST_BLOCKS:
        return best
    search = Restarts(spans, sizes, bound)
    if search.members > MOST_MEMBERS:
        return best
    return search.placed() if search.tried(min(effort, _SEARCHED)) == PLACED else best


def _first_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    order: Callable[[], Sequence[int]] | None,
) -> Placed:
    """Place as ``place`` does, and in one more order; machine code places many blocks, so that all
    orders are tried."""
    run = machine_code(fit) if _FEW < len(sizes) <= _MOST_FITTED else None
    if run is None:
        best = place(spans, sizes, bound)
        if best[1] > bound and order is not None:
            best = min(best, first_fit(order(), spans, sizes), key=_height)
        return best
    many = len(sizes) > _MOST_TRIED
    best = best_fit(spans, sizes, bound, _swept(spans, sizes) if many else ([], -1), run, order)
    if best[1] > bound and not many:
        best = min(best, _swept(spans, sizes), key=_height)
    return best


def _swept(spans: Spans, sizes: Sequence[int]) -> Placed:
    return min(swept(spans, sizes), key=_height)


def _height(placed: Placed) -> int:
    return placed[1]

"""The offsets of blocks of memory in one arena, by their live ranges and sizes.

First fit over several orders; the first that reaches the maximum load, a lower bound for any
placement, ends the search, else the lowest arena wins. If too many blocks live together for that,
blocks are placed as they begin, in near-linear time. Sizes are aligned, so offsets are aligned
too.

First fit of three blocks of 64 bytes: c may reuse the bytes of a, which is dead by then::

    a    live in steps 0 to 2    offset 0
    b    live in steps 1 to 3    offset 64
    c    live in steps 3 to 4    offset 0         the arena has 128 bytes

First fit of many blocks is machine code over arrays of integers (``staticgrad.native.words``).
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, count
from typing import Any, Final

import numpy as np

from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass

Array = np.ndarray[Any, np.dtype[np.int64]]
#: Pairs of blocks alive together up to which every order is tried: about a second of work.
MOST_PAIRS: Final = 500_000
#: Pairs for each block from which on arrays are faster: 0.12 s in the place of 0.35 at 268.
_MANY: Final = 64
#: More bytes than processors address; loads, sums of several blocks, are counted in 64 bits.
MOST_BYTES: Final = 1 << 48


@dataclass(frozen=True)
class Spans:
    """Lifetimes of blocks: positions of the first and last step, inclusive, by block number."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    steps: int

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """By block, the blocks whose live ranges overlap its own, at any sizes."""
        order = sorted(range(len(self.first)), key=self.first.__getitem__)
        begins = [self.first[block] for block in order]
        ends = sorted(order, key=self.last.__getitem__, reverse=True)
        neighbours: list[tuple[int, ...]] = [()] * len(order)
        alive: dict[int, None] = {}
        for place, block in enumerate(order):
            while self.last[ends[-1]] < self.first[block]:
                del alive[ends.pop()]
            later = order[place + 1 : bisect_right(begins, self.last[block])]
            neighbours[block] = (*alive, *later)
            alive[block] = None
        return tuple(neighbours)

    @cached_property
    def neighbour_arrays(self) -> tuple[Array, ...]:
        """The same as arrays, with the number behind the last block at the end of each."""
        none = len(self.first)
        return tuple([np.array((*blocks, none), np.int64) for blocks in self.neighbours])

    @cached_property
    def pairs(self) -> int:
        """The number of pairs of blocks that are alive at the same step."""
        ends = sorted(self.last)
        begins = enumerate(sorted(self.first))
        return sum(blocks_begun - bisect_left(ends, first) for blocks_begun, first in begins)

    @property
    def held_bytes(self) -> int:
        """The approximate bytes of the spans, with the neighbours if these were computed."""
        asked, arrays = (name in self.__dict__ for name in ("neighbours", "neighbour_arrays"))
        return (80 + 56 * asked + 120 * arrays) * len(self.first) + 16 * (
            asked + arrays
        ) * self.pairs

    def in_reverse(self) -> Spans:
        """The same lives with time running backwards."""
        end = self.steps - 1
        first, last = (tuple(end - at for at in ends) for ends in (self.last, self.first))
        return Spans(first, last, self.steps)

    def load(self, sizes: Sequence[int]) -> list[int]:
        """Sum the live bytes at each step."""
        begins, ends = self._borders
        change, nbytes = np.zeros(self.steps + 1, np.int64), np.array(sizes, np.int64)
        np.add.at(change, begins, nbytes)
        np.subtract.at(change, ends, nbytes)
        loads: list[int] = np.cumsum(change)[:-1].tolist()
        return loads

    @cached_property
    def _borders(self) -> tuple[Array, Array]:
        """Per block, where it begins, and the step behind its last."""
        return np.array(self.first, np.int64), np.array(self.last, np.int64) + 1


#: Sort keys of a block by (size, first, last); the order of a try, most successful first.
ORDERS: Final[tuple[Callable[[int, int, int], tuple[int, ...]], ...]] = (
    lambda size, first, last: (-size, first, last),
    lambda size, first, last: (first - last, -size, first),
    lambda size, first, last: (-size * (last - first + 1), first, last),
    lambda size, first, last: (first, -last, -size),
    lambda size, first, last: (-last, first, -size),
)


def place(spans: Spans, sizes: Sequence[int], bound: int) -> tuple[list[int], int]:
    """Assign arena offsets to blocks; return them with the arena's height, at least ``bound``."""
    if spans.pairs > MOST_PAIRS:
        return min(place_by_sweeps(spans, sizes), key=lambda placement: placement[1])
    best: tuple[list[int], int] = ([], -1)
    for key in ORDERS:
        ranked = [
            (*key(*block), i)
            for i, block in enumerate(zip(sizes, spans.first, spans.last, strict=True))
        ]
        offsets, height = first_fit([entry[-1] for entry in sorted(ranked)], spans, sizes)
        if best[1] < 0 or height < best[1]:
            best = offsets, height
        if height <= bound:
            break
    return best


def place_by_sweeps(spans: Spans, sizes: Sequence[int]) -> tuple[tuple[list[int], int], ...]:
    """Blocks placed as they begin, and as they begin where time runs backwards."""
    return as_they_begin(spans, sizes), as_they_begin(spans.in_reverse(), sizes)


def first_fit(order: Sequence[int], spans: Spans, sizes: Sequence[int]) -> tuple[list[int], int]:
    """Place blocks in order, each in the lowest gap among overlapping live ranges."""
    if spans.pairs > _MANY * len(sizes):
        return _first_fit_of_many(order, spans, sizes)
    offsets = [-1] * len(sizes)
    ranges: list[tuple[int, int] | None] = [None] * len(sizes)
    height = 0
    for block in order:
        size = sizes[block]
        if not size:
            offsets[block] = 0
            continue
        ranges_taken = [byte_range for i in spans.neighbours[block] if (byte_range := ranges[i])]
        # in ascending order, so that the first gap of enough bytes is the lowest
        ranges_taken.sort()
        end = 0
        for begin, range_end in ranges_taken:
            if begin - end >= size:
                break
            if range_end > end:
                end = range_end
        offsets[block] = end
        ranges[block] = (end, end + size)
        height = max(height, end + size)
    return offsets, height


def _first_fit_of_many(
    order: Sequence[int], spans: Spans, sizes: Sequence[int]
) -> tuple[list[int], int]:
    """Place blocks as ``first_fit`` does, by arrays of the ranges of each block's neighbours."""
    offsets = [-1] * len(sizes)
    # a block without a range, and none at the end, lie behind all gaps
    begins = np.full(len(sizes) + 1, MOST_BYTES, np.int64)
    ends = np.zeros(len(sizes) + 1, np.int64)
    height = 0
    for block in order:
        size, offset = sizes[block], 0
        if size:
            near = spans.neighbour_arrays[block]
            near_begins = begins[near]
            ascending = near_begins.argsort()
            near_begins = near_begins[ascending]
            if near_begins[0] < size:
                reached = np.maximum.accumulate(ends[near[ascending]])
                is_gap = near_begins[1:] - reached[:-1] >= size
                offset = int(reached[is_gap.argmax()])
            begins[block], ends[block] = offset, offset + size
            height = max(height, offset + size)
        offsets[block] = offset
    return offsets, height


def as_they_begin(spans: Spans, sizes: Sequence[int]) -> tuple[list[int], int]:
    """Place blocks in time order, as an allocator does: lowest gap, freed at the end."""
    offsets = [0] * len(sizes)
    gaps = _Gaps()
    alive: list[tuple[int, int]] = []
    sized = (block for block, size in enumerate(sizes) if size)
    # Of blocks that begin together the one that lives longest comes first, and lies lowest.
    for block in sorted(sized, key=lambda b: (spans.first[b], -spans.last[b], -sizes[b], b)):
        while alive and alive[0][0] < spans.first[block]:
            _, ended = heapq.heappop(alive)
            gaps.give_back(offsets[ended], offsets[ended] + sizes[ended])
        offsets[block] = gaps.take(sizes[block])
        heapq.heappush(alive, (spans.last[block], block))
    return offsets, gaps.height


class _Gaps:
    """Free bytes below ``top``, as disjoint stretches in ascending order; all above is free."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.rooms: list[int] = []
        self.top = self.height = 0

    def take(self, size: int) -> int:
        """Allocate ``size`` free bytes at the lowest offset that has them."""
        wide_enough = map(size.__le__, self.rooms)  # no frame for each of many gaps
        at = next(compress(count(), wide_enough), None)
        if at is None:
            offset = self.top
            self.top += size
            self.height = max(self.height, self.top)
            return offset
        offset = self.starts[at]
        if self.rooms[at] == size:
            del self.starts[at], self.rooms[at]
        else:
            self.starts[at] += size
            self.rooms[at] -= size
        return offset

    def give_back(self, start: int, end: int) -> None:
        """Free the bytes [start, end), merged with the free bytes on both sides."""
        at = bisect_right(self.starts, start)
        if at < len(self.starts) and self.starts[at] == end:
            end += self.rooms[at]
            del self.starts[at], self.rooms[at]
        if at and self.starts[at - 1] + self.rooms[at - 1] == start:
            at -= 1
            start = self.starts[at]
            del self.starts[at], self.rooms[at]
        if end == self.top:
            self.top = start
        else:
            self.starts.insert(at, start)
            self.rooms.insert(at, end - start)


@dataclass
class Fit:
    """Arrays of one first fit; ``order`` has the blocks as they are placed, ``above`` those that
    are, by offset."""

    order: array[int]
    first: array[int]
    last: array[int]
    size: array[int]
    base: array[int]
    above: array[int]
    count: int


def fit(s: Fit) -> int:
    """Place each block by first fit among those before it; return the arena's height."""
    first = s.first
    last = s.last
    base = s.base
    above = s.above
    height = 0
    for k in range(0, s.count):
        b = s.order[k]
        size = s.size[b]
        end = 0
        for i in range(0, k):
            x = above[i]
            # the others are dead meanwhile, and their bytes are free
            if first[x] <= last[b] and last[x] >= first[b]:
                if base[x] - end >= size:
                    break
                if base[x] + s.size[x] > end:
                    end = base[x] + s.size[x]
        base[b] = end
        if end + size > height:
            height = end + size
        i = k
        while i > 0:
            # insert it: ``above`` stays in ascending order of offsets
            if base[above[i - 1]] <= end:
                break
            above[i] = above[i - 1]
            i = i - 1
        above[i] = b
    return height


def best_fit(
    spans: Spans,
    sizes: Sequence[int],
    bound: int,
    best: tuple[list[int], int],
    run: Callable[[Fit], int],
    more: Callable[[], Sequence[int]] | None = None,
) -> tuple[list[int], int]:
    """Return the lowest arena of first fits in all orders, until one reaches the bound.

    A placement may be given already; ``more`` gives an order that is tried behind the first of
    them.
    """
    order, base, above = (array("q", bytes(8 * len(sizes))) for _ in range(3))
    first, last, size = (array("q", values) for values in (spans.first, spans.last, sizes))
    count = sum(map(bool, sizes))
    record = Fit(order, first, last, size, base, above, count)
    if 0 <= best[1] <= bound:
        return best
    for blocks in _orders(spans, sizes, more):
        order[:count] = array("q", blocks)
        height = run(record)
        if best[1] < 0 or height < best[1]:
            best = record.base.tolist(), height
        if height <= bound:
            break
    return best


def _orders(
    spans: Spans, sizes: Sequence[int], more: Callable[[], Sequence[int]] | None
) -> Iterator[list[int]]:
    """Yield the orders in which first fit places blocks: by size, begin, length, ..."""
    sized = [b for b in range(len(sizes)) if sizes[b]]
    for number, key in enumerate(ORDERS):
        keys = [*map(key, sizes, spans.first, spans.last)]
        yield sorted(sized, key=keys.__getitem__)
        if number == 0 and more is not None:
            yield [b for b in more() if sizes[b]]

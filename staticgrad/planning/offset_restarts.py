"""Orders of blocks for the search for offsets, and restarts that put first what was to blame.

How long a search takes depends on the order in which blocks are tried, by factors of thousands, so
many orders get short limits (Luby, Sinclair and Zuckerman, 1993): first plain ones, then random
ones, in which blocks of the sections that failed come sooner. A limit is a number of tries for each
block: to descend to the last one takes one for each, however many blocks live together. Effort is
counted in blocks looked at, so what is found depends on the blocks alone.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count as count_from
from math import exp
from random import Random
from typing import Final

from staticgrad.kept import cached_property
from staticgrad.planning import offset_arrays
from staticgrad.planning.offset_arrays import IMPOSSIBLE, SPENT, OffsetSearch
from staticgrad.planning.offsets import Spans

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
        words[offset_arrays.BLOCKS] = len(self.blocks)
        words[offset_arrays.SECTIONS] = self.sections
        words[offset_arrays.HEIGHT] = self.height
        words[offset_arrays.EFFORT] = limit
        words[offset_arrays.TRIES] = tries
        words[offset_arrays.FLUSH] = flush
        words[offset_arrays.TIGHT] = tight
        state = self.run(s)
        self.last = limit - words[offset_arrays.EFFORT] + 1
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
        """What to try: the plain orders in one way, then as much of restarts, then the next way."""
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

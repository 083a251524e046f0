"""Where blocks of memory go in one arena: offsets for intervals of time and sizes.

First fit over several orders; the first that reaches the maximum load, a lower bound for any
placement, ends the search, else the lowest arena wins. Sizes come in aligned, so offsets leave
aligned. This file knows neither schedules nor buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final


@dataclass(frozen=True)
class Spans:
    """Lifetimes of blocks: positions of the first and last step, inclusive, by block number."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    steps: int

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """Per block, the blocks alive at some step of its life; it does not depend on sizes."""
        found: list[list[int]] = [[] for _ in self.first]
        alive: list[int] = []
        for block in sorted(range(len(self.first)), key=lambda b: self.first[b]):
            alive = [other for other in alive if self.last[other] >= self.first[block]]
            for other in alive:
                found[other].append(block)
                found[block].append(other)
            alive.append(block)
        return tuple(map(tuple, found))

    def load(self, sizes: Sequence[int]) -> list[int]:
        """Bytes alive at each step."""
        change = [0] * (self.steps + 1)
        for first, last, size in zip(self.first, self.last, sizes, strict=True):
            change[first] += size
            change[last + 1] -= size
        total = 0
        for at, step in enumerate(change):
            total += step
            change[at] = total
        return change[:-1]


#: Sort keys of a block by (size, first, last); the order of a try, most successful first.
_KEYS: Final[tuple[Callable[[int, int, int], tuple[int, ...]], ...]] = (
    lambda size, first, last: (-size, first, last),
    lambda size, first, last: (first - last, -size, first),
    lambda size, first, last: (-size * (last - first + 1), first, last),
    lambda size, first, last: (first, -last, -size),
    lambda size, first, last: (-last, first, -size),
)


def place(spans: Spans, sizes: Sequence[int], bound: int) -> tuple[list[int], int]:
    """Offsets by block number, and the height of the arena, at least ``bound`` (the maximum load).

    Args:
        spans: lifetimes.
        sizes: bytes of each block, multiples of the alignment.
        bound: the maximum load; a placement that reaches it is taken at once.
    """
    best: tuple[list[int], int] = ([], -1)
    for key in _KEYS:
        ranked = [
            (*key(*block), i)
            for i, block in enumerate(zip(sizes, spans.first, spans.last, strict=True))
        ]
        offsets, height = _first_fit([entry[-1] for entry in sorted(ranked)], spans, sizes)
        if best[1] < 0 or height < best[1]:
            best = offsets, height
        if height <= bound:
            break
    return best


def _first_fit(order: Sequence[int], spans: Spans, sizes: Sequence[int]) -> tuple[list[int], int]:
    """Place blocks one by one into the lowest gap that no block alive at the same time covers."""
    offsets = [-1] * len(sizes)
    height = 0
    for block in order:
        size = sizes[block]
        if not size:
            offsets[block] = 0
            continue
        placed = [
            (offsets[other], sizes[other])
            for other in spans.neighbours[block]
            if offsets[other] >= 0 and sizes[other]
        ]
        placed.sort()
        end = 0
        for offset, length in placed:
            if offset - end >= size:
                break
            end = max(end, offset + length)
        offsets[block] = end
        height = max(height, end + size)
    return offsets, height

"""Placements closer to the load than first fit: a canonical search, then perturbed orders.

Every placement can be pushed down until each block stands on the ground or on another, and its
blocks can be placed by rising offset; the search makes these *canonical* placements only, and
leaves a branch where the blocks that are left cannot fit above what stands already (Moffitt,
MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning, ASPLOS 2023).
Effort is counted in blocks that were looked at, so results depend on the blocks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from staticgrad.planning.offsets import MOST_PAIRS, Spans, first_fit, place

#: Blocks up to which the search runs: it has a frame for each.
MOST_BLOCKS: Final = 400
_EFFORT: Final = 400_000
_SHARES: Final = (1.0, 1.005, 1.02)  # of the bound: heights that are tried


def place_tightly(
    spans: Spans, sizes: Sequence[int], bound: int, effort: int = _EFFORT
) -> tuple[list[int], int]:
    """Offsets by block number and the height of the arena, as ``place`` gives them, but lower where
    that misses the bound and more effort finds a better one.

    Args:
        spans: lifetimes.
        sizes: bytes of each block.
        bound: a height that is low enough, the maximum load or more.
        effort: about how many blocks are looked at.
    """
    best = place(spans, sizes, bound)
    if best[1] <= bound or spans.pairs > MOST_PAIRS:
        return best
    if len(sizes) <= MOST_BLOCKS:
        for share in _SHARES:
            height = int(bound * share)
            if height >= best[1]:
                break
            found = _within(spans, sizes, height, effort // 4)
            if found is not None:
                return found, _height(found, sizes)
    return _perturbed(spans, sizes, bound, best, effort // 4)


def _within(spans: Spans, sizes: Sequence[int], height: int, effort: int) -> list[int] | None:
    """Offsets below a height that the search finds from one of several orders of the blocks, which
    decide what is tried first; the limit of each rises fourfold from turn to turn."""
    load = spans.load(sizes)
    blocks = [b for b in range(len(sizes)) if sizes[b]]
    worst = {b: max(load[spans.first[b] : spans.last[b] + 1]) for b in blocks}
    length = {b: spans.last[b] - spans.first[b] + 1 for b in blocks}
    area = {b: sizes[b] * length[b] for b in blocks}
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda b: (-worst[b], -area[b], -length[b], b),
        lambda b: (-length[b], -area[b], -worst[b], b),
        lambda b: (-worst[b], -length[b], -area[b], b),
        lambda b: (-area[b], b),
        lambda b: (-worst[b], -length[b], -sizes[b], b),
        lambda b: (-length[b], -sizes[b], b),
        lambda b: (-sizes[b], -length[b], b),
        lambda b: (-worst[b], -sizes[b], -length[b], b),
    )
    searches = [_Canonical(spans, sizes, height, sorted(blocks, key=key)) for key in keys]
    limit = 100 * len(blocks)
    while effort > 0:
        for search in searches:
            found = search.run(min(limit, effort))
            if found is not None or search.effort >= 0:
                return found
            effort -= limit
            if effort <= 0:
                break
        limit *= 4
    return None


def _height(offsets: Sequence[int], sizes: Sequence[int]) -> int:
    return max((at + size for at, size in zip(offsets, sizes, strict=True)), default=0)


def _perturbed(
    spans: Spans, sizes: Sequence[int], bound: int, best: tuple[list[int], int], effort: int
) -> tuple[list[int], int]:
    """Hill climbing on the order of first fit: a block that reaches the top, or one that lives
    together with it, is taken earlier."""
    random = Random(1)
    order = sorted((b for b in range(len(sizes)) if sizes[b]), key=lambda b: (best[0][b], b))
    idle = [block for block in range(len(sizes)) if not sizes[block]]
    while effort > 0 and best[1] > bound:
        offsets = best[0]
        top = [b for b in order if offsets[b] + sizes[b] == best[1]]
        block = random.choice(top)
        if random.random() < 0.5:
            around = [b for b in spans.neighbours[block] if sizes[b]]
            block = random.choice(around or top)
        new = list(order)
        new.remove(block)
        place_at = random.randrange(len(new) + 1)
        new.insert(place_at, block)
        placed = first_fit([*new, *idle], spans, sizes)
        effort -= 2 * spans.pairs + len(order)
        if placed[1] <= best[1]:
            best, order = placed, new
    return best


class _Canonical:
    """The search for offsets below one height."""

    def __init__(
        self, spans: Spans, sizes: Sequence[int], height: int, order: Sequence[int]
    ) -> None:
        rank = {block: i for i, block in enumerate(order)}
        self.blocks = order
        self.count = len(sizes)
        self.height = height
        self.sizes = [sizes[b] for b in order]
        self.near = [[rank[n] for n in spans.neighbours[b] if n in rank] for b in order]
        self.sections = _sections(spans, order)
        self.at: list[list[int]] = [[] for _ in order]  # the sections of a block
        for section, members in enumerate(self.sections):
            for block in members:
                self.at[block].append(section)
        self.effort = 0
        self.left: list[int] = []
        self.base: list[int] = []
        self.placed: list[bool] = []

    def run(self, effort: int) -> list[int] | None:
        """Offsets below the height, or None: there are none, or the effort is spent."""
        self.effort = effort
        self.left = [sum(self.sizes[b] for b in members) for members in self.sections]
        self.base = [0] * len(self.blocks)
        self.placed = [False] * len(self.blocks)
        if max(self.left, default=0) > self.height or not self._place(0, -1, len(self.blocks)):
            return None
        offsets = [0] * self.count
        for block, base in zip(self.blocks, self.base, strict=True):
            offsets[block] = base
        return offsets

    def _place(self, floor: int, last: int, left: int) -> bool:
        """Place the blocks that are left at ``floor`` or above; of one offset by their numbers."""
        if not left:
            return True
        waiting = [b for b in range(len(self.blocks)) if not self.placed[b]]
        self.effort -= len(waiting)
        # a block that starts above the end of another could be preceded by that one
        lowest = min(self.base[b] + self.sizes[b] for b in waiting)
        could = sorted((self.base[b], b) for b in waiting if self.base[b] < lowest)
        for base, block in could:
            if (base, block) <= (floor, last):
                continue
            raised = self._put(block, base + self.sizes[block])
            at = {*self.at[block]}.union(*(self.at[other] for other, _ in raised))
            if self._fits(at, base) and self._place(base, block, left - 1):
                return True
            self._take(block, raised)
            if self.effort < 0:
                return False
        return False

    def _put(self, block: int, end: int) -> list[tuple[int, int]]:
        """Place a block where it is; what it lifts, with the offsets before."""
        self.placed[block] = True
        for section in self.at[block]:
            self.left[section] -= self.sizes[block]
        raised = []
        for other in self.near[block]:
            if not self.placed[other] and self.base[other] < end:
                raised.append((other, self.base[other]))
                self.base[other] = end
        self.effort -= len(self.near[block])
        return raised

    def _take(self, block: int, raised: list[tuple[int, int]]) -> None:
        self.placed[block] = False
        for section in self.at[block]:
            self.left[section] += self.sizes[block]
        for other, base in raised:
            self.base[other] = base

    def _fits(self, sections: Iterable[int], floor: int) -> bool:
        """Whether what is left of each section fits above what stands in it."""
        for section in sections:
            waiting = [b for b in self.sections[section] if not self.placed[b]]
            self.effort -= len(waiting)
            if waiting:
                low = max(floor, min(self.base[b] for b in waiting))
                if low + self.left[section] > self.height:
                    return False
        return True


def _sections(spans: Spans, blocks: Sequence[int]) -> list[list[int]]:
    """Largest sets of blocks that are alive together, as positions in ``blocks``."""
    first = [spans.first[b] for b in blocks]
    last = [spans.last[b] for b in blocks]
    found: list[list[int]] = []
    for end in sorted({*last}):
        members = [i for i in range(len(blocks)) if first[i] <= end <= last[i]]
        if not found or not set(members) <= set(found[-1]):
            found.append(members)
    return found

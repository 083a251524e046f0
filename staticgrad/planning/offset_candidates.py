"""Which blocks a search for offsets tries next, in which order.

The functions are such as ``staticgrad.planning.offset_search`` has.
"""

from __future__ import annotations

from staticgrad.planning.offset_arrays import BLOCKS, FLUSH, LOWEST, OFFSET, TIGHT, OffsetSearch
from staticgrad.planning.offset_parts import most_left


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
    """When the block at a place of the pool is tried among those of its offset: the least first."""
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
    """On how many of its two sides a block would end level with what stands there."""
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

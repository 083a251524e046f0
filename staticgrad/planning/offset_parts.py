"""Parts of a search for offsets: blocks that no section joins with others are placed apart.

The functions are such as ``staticgrad.planning.offset_search`` has.
"""

from __future__ import annotations

from staticgrad.planning.offset_arrays import (
    BLOCKS,
    FAR,
    GOING,
    HEIGHT,
    OFFSET,
    PARENT,
    PART,
    PARTS,
    POOL,
    REST,
    SECTIONS,
    SPENT,
    OffsetSearch,
)


def packed(s: OffsetSearch, part: int) -> int:
    """The part without the blocks that are placed."""
    words = s.words
    pool = s.pool
    new = words[PARTS]
    words[PARTS] = new + 1
    end = words[POOL]
    s.part_begin[new] = end
    for i in range(s.part_begin[part], s.part_end[part]):
        b = pool[i]
        if s.placed[b] == 0:
            pool[end] = b
            s.fullest[end] = s.fullest[i]
            end = end + 1
    s.part_end[new] = end
    words[POOL] = end
    s.part_low[new] = s.part_low[part]
    s.part_high[new] = s.part_high[part]
    return new


def divided(s: OffsetSearch, part: int) -> int:
    """Make parts of what is left of a part, and go into the one with the least room."""
    words = s.words
    segments = _segments(s, part)
    left = 0
    for i in range(s.part_begin[part], s.part_end[part]):
        b = s.pool[i]
        if s.placed[b] == 0:
            segment = s.segment[s.low[b]]
            s.segment_count[segment] = s.segment_count[segment] + 1
            left = left + 1
    found = _by_slack(s, segments)
    if found == 0:
        return GOING
    room = 4 * words[BLOCKS]
    if words[PARTS] + found + 2 > room or words[POOL] + left > 16 * room:
        return SPENT
    first = words[PARTS]
    end = words[POOL]
    rest = words[REST]
    for k in range(0, found):
        segment = s.segment_order[k]
        new = first + k
        s.part_begin[new] = end
        s.part_end[new] = end
        end = end + s.segment_count[segment]
        s.part_offset[new] = words[OFFSET]
        s.part_parent[new] = words[PARENT]
        s.part_rest[new] = rest
        s.part_low[new] = words[SECTIONS]
        s.part_high[new] = 0
        rest = new
        s.segment_count[segment] = new
    words[PARTS] = first + found
    words[POOL] = end
    for i in range(s.part_begin[part], s.part_end[part]):
        b = s.pool[i]
        if s.placed[b] == 0:
            new = s.segment_count[s.segment[s.low[b]]]
            s.pool[s.part_end[new]] = b
            s.fullest[s.part_end[new]] = most_left(s, b)
            s.part_end[new] = s.part_end[new] + 1
            if s.low[b] < s.part_low[new]:
                s.part_low[new] = s.low[b]
            if s.high[b] > s.part_high[new]:
                s.part_high[new] = s.high[b]
    words[PART] = rest
    words[REST] = s.part_rest[rest]
    return GOING


def _segments(s: OffsetSearch, part: int) -> int:
    """Number the stretches of sections that blocks join, with the least room of each."""
    words = s.words
    offset = words[OFFSET]
    segment = 0
    s.segment_count[0] = 0
    s.segment_slack[0] = FAR
    end = s.part_high[part]
    for section in range(s.part_low[part], end):
        s.segment[section] = segment
        total = s.total[section]
        if total > 0:
            ground = s.floor[section]
            if ground < offset:
                ground = offset
            slack = words[HEIGHT] - total - ground
            if slack < s.segment_slack[segment]:
                s.segment_slack[segment] = slack
        if s.joins[section] == 0 and section + 1 < end:
            segment = segment + 1
            s.segment_count[segment] = 0
            s.segment_slack[segment] = FAR
    return segment + 1


def _by_slack(s: OffsetSearch, segments: int) -> int:
    """Segments with blocks, the one with the most room first: the last is tried first."""
    found = 0
    order = s.segment_order
    for segment in range(0, segments):
        if s.segment_count[segment] > 0:
            j = found
            while j > 0:
                if s.segment_slack[order[j - 1]] >= s.segment_slack[segment]:
                    break
                order[j] = order[j - 1]
                j = j - 1
            order[j] = segment
            found = found + 1
    return found


def most_left(s: OffsetSearch, b: int) -> int:
    """The most bytes that are left to place in a section of a block."""
    most = 0
    for section in range(s.low[b], s.high[b]):
        if s.total[section] > most:
            most = s.total[section]
    return most

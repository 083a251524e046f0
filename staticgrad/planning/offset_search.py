"""The search for offsets below one height, over arrays of integers.

Every placement can be pushed down until each block stands on the ground or on another, and its
blocks can be placed by rising offset; only such *canonical* placements are tried (Moffitt,
MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated Machine Learning, ASPLOS
2023). What has been tried at an offset *sleeps* while the next block of that offset is tried,
until something lifts it, so that no placement is met twice (sleep sets: Godefroid, 1996); what
lifts it ends no lower than any block that is left, so a section whose lowest blocks all sleep
is as full as if they lay there. Blocks that no section joins any more are *parts*, each
searched by itself, and as in MiniMalloc in an order of its own: by what was left of its
sections when it was made. What is left of a part, with the offsets from which on its blocks may
lie, is *known* once it failed. A block that lifts no other has no alternative.

Functions take the arrays of one ``OffsetSearch`` and keep to whole numbers, names, items, tests and
loops, so that the same text runs as machine code (``staticgrad.native.words``).
"""

from __future__ import annotations

from staticgrad.planning.offset_arrays import (
    BLOCKS,
    CUT,
    EFFORT,
    ENTER,
    FAR,
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
    TRAIL,
    TRIES,
    WIDE_PRIME,
    OffsetSearch,
)
from staticgrad.planning.offset_candidates import listed
from staticgrad.planning.offset_parts import divided, most_left, packed


def search(s: OffsetSearch) -> int:
    """Offsets in ``base`` (PLACED), the proof that there are none, or that the effort is SPENT."""
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
    """What is left of a part: how many blocks, the lowest end of one, and their key."""
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
    """Whether a section fits although what sleeps in it must be lifted."""
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
    """Where a block may lie from on: what sleeps, or lies lower, is lifted."""
    at = s.base[x]
    if at < lift and (at < offset or (at == offset and s.asleep[x] == at)):
        return lift
    return at


def _put(s: OffsetSearch, part: int, b: int) -> int:
    """Place a block where it is, and lift those that live with it."""
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
    """Whether what is left of each section fits above what stands in it."""
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
    """Undo what placing a block of a level did."""
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

"""The arrays of a search for offsets, and the names of the numbers that it keeps."""

from __future__ import annotations

from array import array
from typing import Final

from staticgrad.records import dataclass

PLACED: Final = 1
IMPOSSIBLE: Final = 0
SPENT: Final = -1
GOING: Final = 2
FAR: Final = 1 << 60
PRIME: Final = 2147483647
WIDE_PRIME: Final = 4503599627370449

# the numbers that a search keeps, by their places in ``words``
BLOCKS: Final = 0
SECTIONS: Final = 1
HEIGHT: Final = 2
EFFORT: Final = 3  # what is left of it
FLUSH: Final = 4  # how much sooner a block is tried that ends level with what is beside it
PART: Final = 5
OFFSET: Final = 6
PARENT: Final = 7
REST: Final = 8
LEVEL: Final = 9
TRAIL: Final = 10
PARTS: Final = 11
POOL: Final = 12
ENTER: Final = 13
LEFT: Final = 14
LOWEST: Final = 15
KEY: Final = 16
LIFTS: Final = 17
LOW: Final = 18
HIGH: Final = 19
CUT: Final = 20
LIFT: Final = 21  # what lies lower and sleeps is lifted to this or more
TIGHT: Final = 22  # whether blocks of the sections with the most bytes left are tried first: 1 for
# what is left now, 2 for what was left when the part was made
TRIES: Final = 23  # how many more blocks may be tried
WORDS: Final = 24
KNOWN: Final = 1 << 18  # places for what is known


@dataclass(frozen=True)
class OffsetSearch:
    """Arrays of a search; blocks are numbered in the order in which they are tried.

    ``low[b]`` and ``high[b]`` are the sections of a block, from and to; ``equal[b]`` is an equal
    block before it, or -1. ``blame[s]`` counts the failures that section s was the reason of.
    Parts are slices of ``pool``; ``fullest[i]`` are the most bytes that were left in a section of
    the block ``pool[i]`` when its part was made.
    """

    words: array[int]
    low: array[int]
    high: array[int]
    size: array[int]
    equal: array[int]
    weight: array[int]
    blame: array[int]
    known: array[int]
    start: array[int]
    members: array[int]
    floor: array[int]
    total: array[int]
    joins: array[int]
    base: array[int]
    placed: array[int]
    asleep: array[int]
    score: array[int]
    trail_of: array[int]
    trail: array[int]
    candidates: array[int]
    pool: array[int]
    fullest: array[int]
    level_block: array[int]
    level_trail: array[int]
    level_begin: array[int]
    level_next: array[int]
    level_end: array[int]
    level_part: array[int]
    level_parent: array[int]
    level_rest: array[int]
    level_parts: array[int]
    level_pool: array[int]
    level_key: array[int]
    level_forced: array[int]
    level_lift: array[int]
    level_offset: array[int]
    part_begin: array[int]
    part_end: array[int]
    part_low: array[int]
    part_high: array[int]
    part_offset: array[int]
    part_parent: array[int]
    part_rest: array[int]
    segment: array[int]
    segment_count: array[int]
    segment_slack: array[int]
    segment_order: array[int]

    @classmethod
    def of(cls, blocks: int, sections: int, width: int) -> OffsetSearch:
        """Room for so many blocks in sections, which have ``width`` members together."""
        lengths = {
            "words": WORDS,
            "known": KNOWN,
            "members": width,
            "trail_of": (more := 8 * width + 64 * (blocks + sections) + 4096),
            "trail": more,
            "candidates": 64 * blocks + 4096,
            "pool": 64 * blocks + 4096,
            "fullest": 64 * blocks + 4096,
        }
        by_section = {"blame", "floor", "total", "joins", "start"}
        found = {}
        for name in cls.__annotations__:
            length = lengths.get(name)
            if length is None:
                one = sections if name in by_section or name.startswith("segment") else blocks
                one = 4 * blocks if name.startswith("part_") else one
                length = one + 64
            found[name] = array("q", [0]) * length
        return cls(**found)

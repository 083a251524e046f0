"""The number of vectors per loop iteration, shared by estimates and kernels."""

from __future__ import annotations

from typing import Final

#: Vectors side by side, at most. Beyond, what spills of registers costs more than waiting.
MOST: Final = 4
#: The same in registers of 512 bits where no more than ``FEW_ALIVE`` values of each are alive.
MOST_OF_CHAINS: Final = 8
FEW_ALIVE: Final = 4
#: Lines of the body for whole vectors: each takes about a twentieth of a millisecond to compile.
_ROOM: Final = 1100
#: The same of two vectors: a longer body is half as fast where it waits for each alone.
_ROOM_OF_TWO: Final = 4400
#: The same of a chain, whose lines take half as long, and which waits the most.
_ROOM_OF_CHAINS: Final = 4400


def whole_vectors(lines: float, most: int, room: int = _ROOM) -> int:
    """Return how many whole vectors a body of so many lines is written for, beside a masked one.

    Powers of two up to ``most``; none where that would take too long to compile.
    """
    count = most
    while count and count * lines > (max(room, _ROOM_OF_TWO) if count == 2 else room):
        count //= 2
    return count


def vectors_together(lines: float, is_chain: bool, vector_bits: int) -> int:
    """The same for a body whose vectors may stand side by side; chains may have more of them."""
    if is_chain:
        most = max(MOST, MOST_OF_CHAINS * vector_bits // 512)
        return whole_vectors(lines, most, _ROOM_OF_CHAINS)
    return whole_vectors(lines, MOST)

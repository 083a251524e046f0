"""The sizes that sequences are searched at, for all sizes near them.

What runs again, and when, is decided at canonical sizes: each named size rounded to the nearest
power of two, by ratio. Sizes nearby take over the sequences and count bytes and seconds anew. So do
sizes further away, of the sequences that a planner has, where these cost no more there than where
they were searched (``Front.is_as_cheap``): a search takes a second, and its results would hardly
differ. What a planner plans first thus follows from the schedule, the sizes and the budget alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import compress
from math import log
from typing import Final

from staticgrad.analysis.liveness import SizeNumbers

#: How much more the bytes of one buffer may change from the sizes to the canonical ones than those
#: of another: where the batch changes by a factor, weights do not, and scores change by its square.
NEAR: Final = 2.0
#: The same where sequences are there already, and what they cost is compared.
FAR: Final = 8.0


def canonical_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Each size rounded to the nearest power of two, by ratio."""
    return {name: _rounded(size) for name, size in sizes.items()}


def _rounded(size: int) -> int:
    """The power of two nearest to a size by ratio; sizes below one stay."""
    if size < 1:
        return size
    below = 1 << (size.bit_length() - 1)
    return below if size * size < 2 * below * below else 2 * below


def nearest(sizes: Mapping[str, int], known: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """Of some sizes, one at least, those of which none is far from these by ratio; of equals the
    first."""

    def distance(other: Mapping[str, int]) -> float:
        return max(
            (abs(log((1 + other[name]) / (1 + size))) for name, size in sizes.items()), default=0.0
        )

    return min(known, key=distance)


def are_alike(
    numbers: SizeNumbers, canonical: SizeNumbers, arena: tuple[bool, ...], spread: float = NEAR
) -> bool:
    """Whether sequences of canonical sizes serve these: no buffer of the arena has bytes at the one
    and none at the other, and none changes by more than ``spread`` times what others do."""
    pairs = {
        *compress(zip(numbers.all_aligned, canonical.all_aligned, strict=True), arena),
        (1, 1),
    } - {(0, 0)}
    if any(here <= 0 or there <= 0 for here, there in pairs):
        return False
    ratios = [there / here for here, there in pairs]
    return max(ratios) <= spread * min(ratios)

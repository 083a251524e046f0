"""A Pareto front of sequences: none has both a higher load and a higher cost than another."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from staticgrad.records import dataclass

_BELOW: Final = 8  # sequences of fewer bytes that are looked at for one budget


@dataclass(frozen=True)
class Found:
    """A sequence of ops with its load and its cost."""

    load: int
    cost: float
    ops: tuple[int, ...]


#: A sequence, and the load that it is brought to.
Place = tuple[tuple[int, ...], int]


class Cheapest:
    """A Pareto front of sequences by load and cost."""

    def __init__(self) -> None:
        self.found: list[Found] = []  # by rising load and falling cost

    def add(self, new: Found) -> None:
        """Add a sequence unless one with at most its load and cost is present."""
        at = bisect_right(self.found, new.load, key=lambda each: each.load)
        if at and self.found[at - 1].cost <= new.cost:
            return
        left = [each for each in self.found if each.load < new.load or each.cost < new.cost]
        insort(left, new, key=lambda each: each.load)
        self.found = left

    def within(self, load: int) -> Found | None:
        """Return the cheapest sequence with at most this load, or None."""
        at = bisect_right(self.found, load, key=lambda each: each.load)
        return self.found[at - 1] if at else None

    def widest(self, tried: Mapping[Place, int], most: int) -> Place | None:
        """Return the place (sequence and goal) at the largest cost difference of two neighbours.

        Goals: the load of the dearer one, for both; just below the load of the other, for the
        dearer one and some of fewer bytes. The difference is divided by 1 + the number of tries of
        the place. None if all places were tried ``most`` times."""
        best: Place | None = None
        highest = 0.0
        for at, (lower, upper) in enumerate(pairwise(self.found)):
            difference = lower.cost - upper.cost
            if difference <= highest:
                continue
            for place in self._around(at):
                times = tried.get(place, 0)
                if difference / (1 + times) > highest and times < most:
                    best, highest = place, difference / (1 + times)
        return best

    def _around(self, at: int) -> Iterator[Place]:
        """Yield the places of a sequence and the next cheaper one."""
        lower, upper = self.found[at : at + 2]
        yield lower.ops, lower.load
        yield upper.ops, lower.load
        for each in self.found[max(0, at + 1 - _BELOW) : at + 1][::-1]:
            yield each.ops, upper.load - 1

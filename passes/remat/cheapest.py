"""Sequences of which none has both a higher load and a higher cost than another."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping
from itertools import pairwise

from staticgrad.records import dataclass


@dataclass(frozen=True)
class Found:
    """A sequence of ops with its load and its cost."""

    load: int
    cost: float
    ops: tuple[int, ...]


#: A sequence, and the load that it is brought to.
Place = tuple[tuple[int, ...], int]


class Cheapest:
    """Sequences of which none has both a higher load and a higher cost than another."""

    def __init__(self) -> None:
        self.found: list[Found] = []  # by rising load and falling cost

    def add(self, new: Found) -> None:
        """Keep a sequence if none is as good."""
        at = bisect_right(self.found, new.load, key=lambda each: each.load)
        if at and self.found[at - 1].cost <= new.cost:
            return
        left = [each for each in self.found if each.load < new.load or each.cost < new.cost]
        insort(left, new, key=lambda each: each.load)
        self.found = left

    def within(self, load: int) -> Found | None:
        """The cheapest with at most this load."""
        at = bisect_right(self.found, load, key=lambda each: each.load)
        return self.found[at - 1] if at else None

    def widest(self, tried: Mapping[Place, int], most: int) -> Place | None:
        """Where much may be gained: the sequence that is dearest beside the next cheaper one, with
        its own load as goal, or one just below the load of that; the difference counts for less
        with each time that it was tried. None where all were tried ``most`` times."""
        best: Place | None = None
        highest = 0.0
        for lower, upper in pairwise(self.found):
            for goal in (lower.load, upper.load - 1):
                times = tried.get((lower.ops, goal), 0)
                gain = (lower.cost - upper.cost) / (1 + times)
                if gain > highest and times < most:
                    best, highest = (lower.ops, goal), gain
        return best

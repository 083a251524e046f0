"""Which groups come before which while some of them become one: an order that is kept up to date.

Two groups may become one if no path leads from one to the other by way of a third. Such a path runs
between their places in a topological order, so only what stands there is looked at; a merge moves
what follows the first of the two behind it. (D. J. Pearce and P. H. J. Kelly, A dynamic topological
sort algorithm for directed acyclic graphs, 2006.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Key

#: Groups between two that are looked at, at most; two with more between them stay apart.
_FARTHEST: Final = 4096
_MOST_VISITS: Final = 512


class Precedence:
    """A directed acyclic graph of numbers, kept in a topological order while some are merged."""

    def __init__(
        self,
        numbers: Iterable[int],
        edges: Iterable[tuple[int, int]],
        priority: Callable[[int], int],
    ) -> None:
        self._after: dict[int, set[int]] = {number: set() for number in numbers}
        self._before: dict[int, set[int]] = {number: set() for number in self._after}
        for earlier, later in edges:
            self._after[earlier].add(later)
            self._before[later].add(earlier)
        #: All numbers in the first order.
        self.as_given = self._sorted(priority)
        self._order: list[int | None] = [*self.as_given]
        self._place = {number: place for place, number in enumerate(self.as_given)}

    def _sorted(self, priority: Callable[[int], int]) -> tuple[int, ...]:
        waits = {number: len(before) for number, before in self._before.items()}
        ready = [(priority(number), number) for number, count in waits.items() if not count]
        heapify(ready)
        found = []
        while ready:
            _, number = heappop(ready)
            found.append(number)
            for later in self._after[number]:
                waits[later] -= 1
                if not waits[later]:
                    heappush(ready, (priority(later), later))
        return tuple(found)

    def place(self, number: int) -> int:
        """Where a number stands in the order."""
        return self._place[number]

    def before(self, number: int) -> Set[int]:
        """Those that have an edge to it."""
        return self._before[number]

    def all(self) -> list[int]:
        """All that are left, in order."""
        return [number for number in self._order if number is not None]

    def may_merge(self, one: int, other: int) -> bool:
        """Whether two may become one: False also where finding that out would take long."""
        return self._following(one, other) is not None

    def closed(self, numbers: Iterable[int]) -> bool:
        """Whether no path leads out of a set and back, which is then merged in its order.

        False also where finding that out would take long.
        """
        inside = {*numbers}
        end = max(self._place[number] for number in inside)
        waiting = [later for number in inside for later in self._after[number] - inside]
        found: set[int] = set()
        while waiting:
            number = waiting.pop()
            if number in found or self._place[number] > end:
                continue
            if number in inside:
                return False
            found.add(number)
            waiting += self._after[number]
            if len(found) > _MOST_VISITS:
                return False
        return True

    def merge(self, one: int, other: int) -> None:
        """Make two that may be merged one, which is called ``one``."""
        self._bring_together(one, other, [one, None])
        del self._place[other]
        for near, back in ((self._after, self._before), (self._before, self._after)):
            for each in near.pop(other):
                back[each].discard(other)
                if each != one:
                    near[one].add(each)
                    back[each].add(one)
            near[one].discard(other)

    def hand_over(self, one: int, other: int) -> None:
        """Of two that may be merged: what came before ``other`` comes before ``one`` instead, and
        ``one`` before ``other``."""
        self._bring_together(one, other, [one, other])
        for each in self._before[other] - {one}:
            self._after[each].discard(other)
            self._after[each].add(one)
            self._before[one].add(each)
        self._before[other] = {one}
        self._after[one].add(other)

    def _bring_together(self, one: int, other: int, pair: list[int | None]) -> None:
        """Put two next to each other, what follows the first of them behind both."""
        following = self._following(one, other)
        assert following is not None
        low, high = sorted([self._place[one], self._place[other]])
        between = [n for n in self._order[low : high + 1] if n not in (one, other)]
        ahead = [n for n in between if n not in following]
        behind = [n for n in between if n in following]
        moved = [*ahead, *pair, *behind]
        self._order[low : high + 1] = moved
        self._place.update({n: low + k for k, n in enumerate(moved) if n is not None})

    def _following(self, one: int, other: int) -> set[int] | None:
        """What stands between the two and follows the first; None if the second is behind that."""
        low, high = sorted([one, other], key=self._place.__getitem__)
        end = self._place[high]
        if end - self._place[low] > _FARTHEST:
            return None
        found: set[int] = set()
        waiting = [low]
        while waiting:
            number = waiting.pop()
            for later in self._after[number]:
                if later == high:
                    if number != low:
                        return None
                elif later not in found and self._place[later] < end:
                    found.add(later)
                    waiting.append(later)
            if len(found) > _MOST_VISITS:
                return None
        return found


def writes_in_order(present: Iterable[Group], before: Groups) -> Iterator[tuple[int, int]]:
    """Pairs of groups of which the second writes over a part of what the first has written.

    ``before`` has the group that computes each buffer; its level tells when it writes. Who reads
    the buffer waits for that group alone, so it writes last among those of its level, too.
    """
    targets: dict[Key, list[Group]] = {}
    for each in present:
        if each.transfer is not None:
            targets.setdefault(each.transfer.target, []).append(each)
        for key in each.targets:
            targets.setdefault(key, []).append(each)
    for key, several in targets.items():
        owner = before.home(key)
        last = None if owner is None else owner.number
        if owner is not None and all(each.number != last for each in several):
            several.append(owner)
        several.sort(key=lambda each: (each.level, each.number == last, each.number))
        yield from ((a.number, b.number) for a, b in pairwise(several))

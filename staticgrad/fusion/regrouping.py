"""Groups while some of them become parts of others: who is in which, and who waits for whom.

Two groups may become one if no path leads from one to the other by way of a third. Such a path runs
between their places in a topological order, so only what stands there is looked at; a merge moves
what follows the first of the two behind it. (D. J. Pearce and P. H. J. Kelly, A dynamic topological
sort algorithm for directed acyclic graphs, 2006.)
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence, Set
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, Final

from staticgrad.fusion.groups import Group, Groups, Key, Read, stored_bytes
from staticgrad.ir.graph import Node
from staticgrad.kept import cached_property
from staticgrad.records import replace

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
        """Return the index of a number in the order."""
        return self._place[number]

    def before(self, number: int) -> Set[int]:
        """Return the predecessors of a number."""
        return self._before[number]

    def all(self) -> list[int]:
        """All that are left, in order."""
        return [number for number in self._order if number is not None]

    def may_merge(self, one: int, other: int) -> bool:
        """Return whether two nodes may be merged; False also if finding out would take long."""
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


class Regrouping:
    """The groups as they are now; the values that they came in stay as they are."""

    def __init__(self, groups: Groups) -> None:
        self._before = groups
        self._groups: dict[int, Group] = dict(groups.by_number)
        self._owners: dict[Key, int] = dict(groups.owners)
        self._into: dict[int, int] = {}  # the number of a group -> of that which it is part of
        self._position = {node: k for k, node in enumerate(groups.graph.nodes)}

    @cached_property
    def _reads(self) -> dict[int, Sequence[Read]]:
        return {each.number: self._before.reads(each) for each in self._before.all}

    @cached_property
    def _readers(self) -> dict[Key, set[int]]:
        found: dict[Key, set[int]] = {}
        for number, reads in self._reads.items():
            for read in reads:
                found.setdefault(read.source.base, set()).add(number)
        return found

    @cached_property
    def _roots(self) -> set[Key]:
        return {self._before.sources[key].base for key in self._before.roots}

    @cached_property
    def _order(self) -> Precedence:
        return Precedence(self._groups, self._edges(), self._place)

    def _is_inner(self, key: Key) -> bool:
        return key not in self._roots and key not in self._before.kept

    def _is_needed(self, key: Key, inside: Container[int]) -> bool:
        """Return whether a value must be in memory for a reader outside these groups."""
        readers = self._readers.get(key, ())
        return not self._is_inner(key) or any(self._final(each) not in inside for each in readers)

    def _weighed(self, one: Group, other: Group) -> tuple[int, int]:
        """Return the bytes that one kernel of two groups does not store, and those that a memory
        policy would keep for the later of two phases."""
        inside = (one.number, other.number)
        stored = [key for key in (*one.stored, *other.stored) if self._is_inner(key)]
        less = [key for key in stored if not self._is_needed(key, inside)]
        later = max(one, other, key=lambda each: each.phase)
        more = [key for key in later.stored if key in stored and key not in less]
        return stored_bytes(self._before, less), stored_bytes(self._before, more)

    def _in_order(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        return tuple(sorted(nodes, key=self._position.__getitem__))

    def _in_one(self, base: Group, parts: Sequence[Group], **changes: Any) -> Group:
        """Return ``base`` with all that these groups compute, which it may be one of."""
        whole: dict[str, Any] = {
            "nodes": self._in_order(node for each in parts for node in each.nodes),
            "row": max(each.row for each in parts),
            "reductions": {key: r for each in parts for key, r in each.reductions.items()},
            "columns": {key: r for each in parts for key, r in each.columns.items()},
            "regions": {key: at for each in parts for key, at in each.regions.items()},
            "indexed": any(each.indexed for each in parts),
            "windowed": any(each.windowed for each in parts),
            "checked": any(each.checked for each in parts),
            "instructions": sum(each.instructions for each in parts),
            "stored": tuple(dict.fromkeys([key for each in parts for key in each.stored])),
        }
        return replace(base, **{**whole, **changes})

    def _merge(self, one: int, other: int, **changes: Any) -> None:
        """Make two groups that may be merged one, which stores what others need of both."""
        parts = [self._groups[one], self._groups[other]]
        stored = dict.fromkeys([key for each in parts for key in each.stored])
        needed = tuple([key for key in stored if self._is_needed(key, (one, other))])
        self._order.merge(one, other)
        self._groups[one] = self._in_one(parts[0], parts, **{"stored": needed, **changes})
        self._put(other, one)

    def _put(self, number: int, into: int) -> None:
        self._into[number] = into
        del self._groups[number]

    def _result(self, **changes: Any) -> Groups:
        if not self._into:
            return self._before
        owners = {key: self._final(number) for key, number in self._owners.items()}
        changes = {"by_number": self._groups, "owners": owners, **changes}
        return replace(self._before, **changes)

    def _final(self, number: int) -> int:
        into, last = self._into, number
        while last in into:
            last = into[last]
        while number != last:
            into[number], number = last, into[number]
        return last

    def _owner(self, key: Key) -> int | None:
        number = self._owners.get(key)
        return number if number is None or number not in self._into else self._final(number)

    def _place(self, number: int) -> int:
        group, position = self._groups[number], self._position
        if group.transfers or group.image is not None:
            return max([position[node] for node in group.members], default=0)
        results = [position[key.node] for key in (*group.reductions, *group.columns)]
        last = [position[node] for node in group.nodes[-1:]]  # they are in the order of the graph
        return max([*results, *last], default=0)

    def _edges(self) -> Iterator[tuple[int, int]]:
        """Pairs of groups of which the second reads, or writes over, what the first writes."""
        for number, each in self._reads.items():
            reader = self._final(number)
            for base in dict.fromkeys([read.source.base for read in each]):
                writer = self._owner(base)
                if writer is not None and writer != reader:
                    yield writer, reader
        yield from self._writes_in_order()

    def _writes_in_order(self) -> Iterator[tuple[int, int]]:
        # The second of two writes over a part of what the first has written. Who reads a buffer
        # waits for the group that computes it alone, so that writes last among those of its level.
        writers: dict[Key, dict[int, Group]] = {}
        for number, each in self._groups.items():
            for key in each.targets:
                writers.setdefault(key, {})[number] = each
        for key, several in writers.items():
            last = self._owner(key)
            if last is not None:
                several[last] = self._groups[last]
            order = sorted(several, key=lambda n: (several[n].level, n == last, n))
            yield from pairwise(order)

    def _with_levels(
        self, phase: Callable[[Group, Sequence[Group]], int] = lambda group, before: group.phase
    ) -> dict[int, Group]:
        # ``phase``: that of a group, given those before it.
        order = Precedence(self._groups, self._edges(), self._place)
        found: dict[int, Group] = {}
        for number in order.as_given:
            group, before = self._groups[number], [found[each] for each in order.before(number)]
            level = max([group.level, *[each.level + 1 for each in before]])
            if (level, phase(group, before)) != (group.level, group.phase):
                group = replace(group, level=level, phase=phase(group, before))
            found[number] = group
        return dict(sorted(found.items()))

"""A worklist of groups and moves: merge groups, split one, compute a value where it is read.

A *move* is a function of the engine and a group. If it is legal and pays, it changes the engine and
returns the numbers of the changed groups; ``merging.MOVES`` is the table of all moves.

Two groups may be merged if no path leads from one to the other by way of a third. Such a path runs
between their places in a topological order, so only what stands there is looked at; a merge moves
what follows the first of the two behind it. (D. J. Pearce and P. H. J. Kelly, A dynamic topological
sort algorithm for directed acyclic graphs, 2006.)
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set,
)  # fmt: skip
from heapq import heapify, heappop, heappush
from itertools import islice, pairwise
from typing import Any, Final, cast

from staticgrad.compiler.fusion.groups import Group, Groups, Home, Key, stored_bytes
from staticgrad.compiler.fusion.legality import RowRules
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.caches import cached_property
from staticgrad.support.records import replace

#: Groups between two that are looked at, at most; two with more between them stay apart.
_FARTHEST: Final = 4096
_MOST_VISITS: Final = 512
#: The largest number of groups with the same operand that are tried for a merge.
_NEAREST: Final = 8


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
        numbers = self._sorted(priority)
        self._order: list[int | None] = [*numbers]
        self._place = {number: place for place, number in enumerate(numbers)}
        #: Places from which on all predecessors of a number come before.
        self._ready = {number: self._ready_at(self._before[number]) for number in numbers}
        #: Whether the order is the one that ``_sorted`` gives.
        self.is_sorted = True

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

    def _ready_at(self, before: Collection[int]) -> int:
        """Return the place from which on all these numbers come before."""
        return max([self._place[each] for each in before], default=-1) + 1

    def change(
        self,
        before: Mapping[int, set[int]],
        removed: Collection[int],
        priority: Callable[[int], int],
    ) -> None:
        """Give numbers other predecessors and priorities, and leave some numbers out.

        The order is the one that a new ``Precedence`` has: from the first place at which one of
        these numbers is ready, before or now, it is sorted again, until what is left is the same.
        """
        start = min(self._ready[each] for each in (*before, *removed))
        start = min(start, *[self._ready_at(each) for each in before.values()])
        for number in (*before, *removed):
            for each in self._before[number]:
                self._after[each].discard(number)
        for number, earlier in before.items():
            self._before[number] = earlier
            for each in earlier:
                self._after[each].add(number)
        for number in removed:
            del self._before[number], self._after[number]
        found, end = self._sorted_from(start, {*before}, {*removed}, priority)
        gone = [None] * (end - start - len(found))
        self._order[start:end] = [*found, *gone]
        for number in removed:
            del self._place[number], self._ready[number]
        self._place.update({number: start + k for k, number in enumerate(found)})
        for number in {*found, *(later for each in found for later in self._after[each])}:
            self._ready[number] = self._ready_at(self._before[number])

    def _sorted_from(
        self, start: int, changed: set[int], removed: set[int], priority: Callable[[int], int]
    ) -> tuple[list[int], int]:
        """Return the numbers in order from a place on, and the place at which they end."""
        place, ready_at = self._place, self._ready
        ready = [
            (priority(each), each)
            for each in self._order[start:]
            if each is not None and each not in removed and each not in changed
            and ready_at[each] <= start
        ]  # fmt: skip
        waits: dict[int, int] = {}
        for each in changed:
            waits[each] = sum(place[earlier] >= start for earlier in self._before[each])
            if not waits[each]:
                ready.append((priority(each), each))
        heapify(ready)
        found: list[int] = []
        done: set[int] = set()
        apart: set[int] = set()  # in one of both orders up to here
        waiting, end = {*changed, *removed}, start
        while ready:
            _, number = heappop(ready)
            found.append(number)
            done.add(number)
            apart ^= {number}
            while end < len(self._order):  # the old order by as many
                old = self._order[end]
                end += 1
                if old is not None and old in removed:
                    waiting.discard(old)
                elif old is not None:
                    apart ^= {old}
                    break
            for later in self._after[number]:
                if later in waits:
                    waits[later] -= 1
                else:
                    before = self._before[later]
                    waits[later] = sum(place[e] >= start and e not in done for e in before)
                if not waits[later]:
                    heappush(ready, (priority(later), later))
            waiting.discard(number)
            if not apart and not waiting:
                return found, end
        return found, len(self._order)

    def place(self, number: int) -> int:
        """Return the index of a number in the order."""
        return self._place[number]

    def before(self, number: int) -> Set[int]:
        """Return the predecessors of a number."""
        return self._before[number]

    def after(self, number: int) -> Set[int]:
        """Return the successors of a number."""
        return self._after[number]

    def all(self) -> list[int]:
        """All that are left, in order."""
        return [number for number in self._order if number is not None]

    def may_merge(self, one: int, other: int) -> bool:
        """Return whether two nodes may be merged; False also if finding out would take long."""
        return self._following(one, other) is not None

    def closed(self, numbers: Iterable[int]) -> bool:
        """Return whether no path leads out of a set and back, which is then merged in its order.

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
        self.is_sorted = False
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
        self.is_sorted = False
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


def keys_of(group: Group) -> Iterator[Key]:
    """Yield the buffers that a group writes."""
    yield from (Home(node, result) for node in group.nodes for result in range(len(node.types)))
    yield from (*group.reductions, *group.columns, *group.targets)


class Engine:
    """The groups of a graph while moves change them.

    ``now`` is their current state, a value whose tables the engine writes.
    """

    def __init__(self, groups: Groups) -> None:
        self._given = groups
        self.now = replace(
            groups,
            by_number=dict(groups.by_number),
            owners=dict(groups.owners),
            types=dict(groups.types),
            known_reads=dict(groups.known_reads),
        )
        self.groups = cast(dict[int, Group], self.now.by_number)
        self.owners = cast(dict[Key, int], self.now.owners)
        self.types = cast(dict[Key, TensorType], self.now.types)
        #: The nodes that several groups compute.
        self.again: set[Node] = set()
        #: The groups that were joined into one of rows, as they were before.
        self.parts: dict[int, Sequence[Group]] = {}
        self.position = {node: k for k, node in enumerate(groups.graph.nodes)}
        #: The new value of each parameter that changes, and the nodes that compute those.
        self.written = {p.node: groups.source(value).base for p, value in groups.graph.updates}
        self.updated = {value.node for _, value in groups.graph.updates}
        self._roots = {groups.sources[key].base for key in groups.roots}
        self._visited: dict[object, dict[int, None]] = {}
        self._free = max(groups.by_number, default=-1) + 1
        self._changed = False
        #: The groups that write buffers with several writers.
        self._writing: set[int] = set()

    def run(self, moves: Sequence[Move]) -> Groups:
        """Apply moves while one applies, and return the groups.

        The first move with groups to look at is next, and of these the first group. A group that
        was changed is looked at again by this move and by later ones.
        """
        first = sorted((self._place(number), number) for number in self.groups)
        waiting = [[*first] for _ in moves]
        for move, heap in enumerate(waiting):
            seen: dict[int, Group] = {}
            while heap:
                _, number = heappop(heap)
                group = self.groups.get(number)
                if group is None or seen.get(number) is group:
                    continue
                seen[number] = group
                for changed in moves[move](self, group):
                    entry = self._place(changed), changed
                    for later in waiting[move:]:
                        heappush(later, entry)
        return self.result()

    def result(self) -> Groups:
        """Return the groups as they are now, with a level for each."""
        if not self._changed:
            return self._given
        found: dict[int, Group] = {}
        reads = {}
        for number in self.order.all():
            group, before = self.groups[number], self.order.before(number)
            level = max([group.level, *[found[each].level + 1 for each in before]])
            found[number] = group if level == group.level else replace(group, level=level)
            if group in self.now.known_reads:
                reads[found[number]] = self.now.known_reads[group]
        return replace(self.now, by_number=dict(sorted(found.items())), known_reads=reads)

    # -- what the groups read and write -----------------------------------------------------------

    def number(self) -> int:
        """Return the number of a new group."""
        self._free += 1
        return self._free - 1

    @cached_property
    def rules(self) -> RowRules:
        """The rules of groups of rows, which look at a group once."""
        return RowRules(self.now)

    @cached_property
    def readers(self) -> dict[Key, set[int]]:
        """The groups that read each buffer."""
        found: dict[Key, set[int]] = {}
        for number, group in self.groups.items():
            for read in self.now.reads(group):
                found.setdefault(read.source.base, set()).add(number)
        return found

    @cached_property
    def order(self) -> Precedence:
        """The groups in an order in which they may run."""
        return Precedence(self.groups, self._edges(), self._place)

    def beside(self, group: Group, keys: Iterable[object]) -> list[Group]:
        """Return the groups visited last with one of these keys, latest first, and add this one."""
        found: dict[int, None] = {}
        for key in keys:
            visited = self._visited.setdefault(key, {})
            for number in [*islice(reversed(visited), _NEAREST)]:
                if number not in self.groups:
                    del visited[number]
                elif number != group.number:
                    found[number] = None
            visited[group.number] = None
        return [self.groups[number] for number in sorted(found, key=self._place, reverse=True)]

    def is_inner(self, key: Key) -> bool:
        """Return whether a value is neither a root nor kept for the user."""
        return key not in self._roots and key not in self.now.kept

    def is_needed(self, key: Key, inside: Container[int]) -> bool:
        """Return whether a value must be in memory for a reader outside these groups."""
        readers = self.readers.get(key, ())
        return not self.is_inner(key) or any(each not in inside for each in readers)

    def weighed(self, one: Group, other: Group) -> tuple[int, int]:
        """Return the bytes that one kernel of two groups does not store, and those that a memory
        policy would keep for the later of two phases."""
        inside = (one.number, other.number)
        stored = [key for key in (*one.stored, *other.stored) if self.is_inner(key)]
        less = [key for key in stored if not self.is_needed(key, inside)]
        later = max(one, other, key=lambda each: each.phase)
        more = [key for key in later.stored if key in stored and key not in less]
        return stored_bytes(self.now, less), stored_bytes(self.now, more)

    def in_order(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """Return nodes in the order of the graph, each once."""
        return tuple(sorted({*nodes}, key=self.position.__getitem__))

    # -- changes ----------------------------------------------------------------------------------

    def in_one(self, parts: Sequence[Group], inside: Collection[int] = (), **changes: Any) -> Group:
        """Return one group of these, with the number of the first.

        ``inside``: the groups whose reads need no memory then; the parts if empty.
        """
        inside = inside or {each.number for each in parts}
        stored = dict.fromkeys([key for each in parts for key in each.stored])
        whole: dict[str, Any] = {
            "nodes": self.in_order(node for each in parts for node in each.nodes),
            "level": max(each.level for each in parts),
            "phase": min(each.phase for each in parts),
            "row": max(each.row for each in parts),
            "reductions": {key: r for each in parts for key, r in each.reductions.items()},
            "columns": {key: r for each in parts for key, r in each.columns.items()},
            "regions": {key: at for each in parts for key, at in each.regions.items()},
            "indexed": any(each.indexed for each in parts),
            "windowed": any(each.windowed for each in parts),
            "checked": any(each.checked for each in parts),
            "instructions": sum(each.instructions for each in parts),
            "stored": tuple([key for key in stored if self.is_needed(key, inside)]),
        }
        return replace(parts[0], **{**whole, **changes})

    def merge(self, parts: Sequence[Group], whole: Group) -> tuple[int, ...]:
        """Put one group, which has the number of a part, in the place of its parts."""
        one, *later = sorted([each.number for each in parts], key=self.order.place)
        for each in later:  # in their order: no path leads from one to the next by way of a third
            one, other = (each, one) if each == whole.number else (one, each)
            self.order.merge(one, other)
        if len(whole.nodes) == sum(len(each.nodes) for each in parts):
            reads = [read for each in parts for read in self.now.reads(each)]
            self.now.known_reads[whole] = reads
        return self.change(parts, [whole], ordered=True)

    def change(
        self, old: Sequence[Group], new: Sequence[Group], ordered: bool = False
    ) -> tuple[int, ...]:
        """Put groups in the place of others; return the numbers of the new ones.

        ``ordered``: the order is right already.
        """
        readers, self._changed = self.readers, True
        numbers = {each.number for each in old}
        moved: list[Key] = []
        for each in old:
            del self.groups[each.number]
            for read in self.now.reads(each):
                readers[read.source.base].discard(each.number)
        for each in new:
            self.groups[each.number] = each
            for key in keys_of(each):
                owner = self.owners.get(key)
                if owner in numbers or owner is None:
                    self.owners[key] = each.number
                    if owner != each.number:
                        moved.append(key)
        for each in new:
            for read in self.now.reads(each):
                readers.setdefault(read.source.base, set()).add(each.number)
        order: Precedence | None = self.__dict__.get("order")
        if order is not None and ordered:
            order.is_sorted = False
        elif order is not None and not self._ordered_again(order, old, new, moved):
            del self.__dict__["order"]
        return tuple([each.number for each in new])

    # -- the order --------------------------------------------------------------------------------

    def _place(self, number: int) -> int:
        group, position = self.groups[number], self.position
        if group.transfers or group.image is not None:
            return max([position[node] for node in group.members], default=0)
        last = position[group.nodes[-1]] if group.nodes else 0  # they are in the graph's order
        if group.reductions or group.columns:
            return max(last, *[position[key.node] for key in (*group.reductions, *group.columns)])
        return last

    def _ordered_again(
        self, order: Precedence, old: Sequence[Group], new: Sequence[Group], moved: Sequence[Key]
    ) -> bool:
        """Change the order as groups changed, and buffers moved between them.

        Return False if that cannot be done: the order must be made anew.
        """
        removed = {each.number for each in old} - {each.number for each in new}
        changed = {each.number for each in new}
        changed.update(*[self.readers.get(key, ()) for key in moved])
        several = any(each.targets for each in (*old, *new))
        if not order.is_sorted or several or changed & self._writing:
            return False
        if not {each.number for each in new} <= {each.number for each in old}:
            return False
        order.change({number: self._writers(number) for number in changed}, removed, self._place)
        return True

    def _writers(self, number: int) -> set[int]:
        """Return the groups that compute what a group reads."""
        bases = {read.source.base for read in self.now.reads(self.groups[number])}
        found = {self.owners.get(base) for base in bases}
        return {each for each in found if each is not None and each != number}

    def _edges(self) -> Iterator[tuple[int, int]]:
        """Pairs of groups of which the second reads, or writes over, what the first writes."""
        for number in self.groups:
            for writer in self._writers(number):
                yield writer, number
        yield from self._writes_in_order()

    def _writes_in_order(self) -> Iterator[tuple[int, int]]:
        # The second of two writes over a part of what the first has written. Who reads a buffer
        # waits for the group that computes it alone, so that writes last among those of its level.
        writers: dict[Key, dict[int, Group]] = {}
        self._writing.clear()
        for number, each in self.groups.items():
            for key in each.targets:
                writers.setdefault(key, {})[number] = each
        for key, several in writers.items():
            last = self.owners.get(key)
            if last is not None:
                several[last] = self.groups[last]
            order = sorted(several, key=lambda n: (several[n].level, n == last, n))
            self._writing.update(order)
            yield from pairwise(order)


#: A move changes a group, and perhaps others: it returns the numbers of those that it changed.
Move = Callable[[Engine, Group], tuple[int, ...]]

"""A worklist of groups and moves: merge groups, split one, recompute a value in its reader.

A *move* is a function of the engine and a group. If it is legal and pays, it changes the engine and
returns the numbers of the changed groups; ``merging.MOVES`` is the table of all moves.

Two groups may be merged if no path leads from one to the other by way of a third. Such a path runs
between their indices in a topological order, so only groups in that interval are visited; a merge
moves those that depend on the first of the two behind it. (D. J. Pearce and P. H. J. Kelly, A
dynamic topological sort algorithm for directed acyclic graphs, 2006.)
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
from typing import Any, cast

from staticgrad.compiler.fusion.groups import Group, Groups, Key, Read, ResultBuffer, stored_bytes
from staticgrad.compiler.fusion.legality import RowRules
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import TensorType
from staticgrad.support import fuses
from staticgrad.support.caches import cached_property
from staticgrad.support.records import replace


class Precedence:
    """A directed acyclic graph of numbers, kept in topological order while some are merged."""

    def __init__(
        self,
        numbers: Iterable[int],
        edges: Iterable[tuple[int, int]],
        priority: Callable[[int], int],
    ) -> None:
        self._successors: dict[int, set[int]] = {number: set() for number in numbers}
        self._predecessors: dict[int, set[int]] = {number: set() for number in self._successors}
        for earlier, later in edges:
            self._successors[earlier].add(later)
            self._predecessors[later].add(earlier)
        numbers = self._sort_topologically(priority)
        self._order: list[int | None] = [*numbers]
        self._indices = {number: index for index, number in enumerate(numbers)}
        #: For each number, the first index behind all of its predecessors.
        self._ready = {number: self._ready_at(self._predecessors[number]) for number in numbers}
        #: Whether the order is the one that ``_sort_topologically`` returns.
        self.is_sorted = True

    def _sort_topologically(self, priority: Callable[[int], int]) -> tuple[int, ...]:
        """Sort the groups topologically, those of the least priority first (Kahn's algorithm)."""
        waits = {number: len(predecessors) for number, predecessors in self._predecessors.items()}
        ready = [(priority(number), number) for number, count in waits.items() if not count]
        heapify(ready)
        order = []
        while ready:
            _, number = heappop(ready)
            order.append(number)
            for later in self._successors[number]:
                waits[later] -= 1
                if not waits[later]:
                    heappush(ready, (priority(later), later))
        assert len(order) == len(waits), "groups wait for each other"
        return tuple(order)

    def _ready_at(self, predecessors: Collection[int]) -> int:
        """Return the first index behind all these numbers."""
        return max([self._indices[number] for number in predecessors], default=-1) + 1

    def change(
        self,
        predecessors: Mapping[int, set[int]],
        removed: Collection[int],
        priority: Callable[[int], int],
    ) -> None:
        """Change predecessors and priorities of groups in the order, and remove some groups.

        The order is the one that a new ``Precedence`` would have. It is sorted again from the first
        index at which one of these numbers stands, in the old or the new order, until both orders
        are equal, and again from where another one stands.
        """
        pending = {*predecessors, *removed}
        for number in pending:
            for neighbour in self._predecessors[number]:
                self._successors[neighbour].discard(number)
        for number, earlier in predecessors.items():
            self._predecessors[number] = earlier
            for neighbour in earlier:
                self._successors[neighbour].add(number)
        for number in removed:
            del self._predecessors[number], self._successors[number]
        while pending:
            # Before this index both orders are the same: none of these numbers is in either.
            changed = pending.difference(removed)
            start = min(self._indices[number] for number in pending)
            start = min([start, *(self._find_index(n, pending, priority) for n in changed)])
            reordered, end = self._sort_from(start, pending, changed, priority)
            removed_entries = [None] * (end - start - len(reordered))
            self._order[start:end] = [*reordered, *removed_entries]
            self._indices.update({number: start + k for k, number in enumerate(reordered)})
            for number in {
                *reordered,
                *(later for earlier in reordered for later in self._successors[earlier]),
            }:
                self._ready[number] = self._ready_at(self._predecessors[number])
        for number in removed:
            del self._indices[number], self._ready[number]

    def _find_index(self, number: int, pending: set[int], priority: Callable[[int], int]) -> int:
        """Return the index of a changed number in the new order, or a pending one before it."""
        entry = priority(number), number
        for index in range(self._ready_at(self._predecessors[number]), self._indices[number]):
            earlier = self._order[index]
            if earlier is not None and (earlier in pending or entry < (priority(earlier), earlier)):
                return index
        return self._indices[number]

    def _sort_from(
        self,
        start: int,
        pending: set[int],
        changed: set[int],
        priority: Callable[[int], int],
    ) -> tuple[list[int], int]:
        """Sort the groups again from an index on, until the old order is valid for some numbers.

        ``pending``: the changed and the removed numbers that are not sorted; those that are sorted
        now are taken out of it.
        """
        index, ready_at, removed = self._indices, self._ready, pending - changed
        moving, unread = frozenset(pending), start
        ready: list[tuple[int, int]] = []

        def add_ready() -> None:
            """Add what was ready at the start, as far as it may be next.

            It stands in the old order behind all that had a lower priority, so that none behind a
            number of a higher one is next.
            """
            nonlocal unread
            for number in islice(self._order, unread, None):
                if number is not None and number not in moving:
                    entry = priority(number), number
                    if ready and ready[0] < entry:
                        break
                    if ready_at[number] <= start:
                        heappush(ready, entry)
                unread += 1

        waits: dict[int, int] = {}
        for changed_number in changed:
            waits[changed_number] = sum(
                index[earlier] >= start for earlier in self._predecessors[changed_number]
            )
            if not waits[changed_number]:
                ready.append((priority(changed_number), changed_number))
        heapify(ready)
        add_ready()
        order: list[int] = []
        done: set[int] = set()
        # Both orders are followed in step. Once they have the same numbers, and no pending one is
        # next in either, what follows is the same in both until one is.
        only_in_one: set[int] = set()  # in one of both orders so far
        end = start
        while ready:
            _, number = heappop(ready)
            order.append(number)
            done.add(number)
            only_in_one ^= {number}
            while end < len(self._order):  # advance in the old order by one number, too
                old = self._order[end]
                end += 1
                if old is not None and old in removed:
                    pending.discard(old)
                elif old is not None:
                    only_in_one ^= {old}
                    break
            for later in self._successors[number]:
                if later in waits:
                    waits[later] -= 1
                else:
                    predecessors = self._predecessors[later]
                    waits[later] = sum(index[e] >= start and e not in done for e in predecessors)
                if not waits[later]:
                    heappush(ready, (priority(later), later))
            add_ready()
            pending.discard(number)
            if not only_in_one and not self._is_next(end, pending, waits, priority):
                return order, end
        pending.clear()
        return order, len(self._order)

    def _is_next(
        self,
        index: int,
        pending: set[int],
        waits: Mapping[int, int],
        priority: Callable[[int], int],
    ) -> bool:
        """Return whether a pending number is next at an index of the old or of the new order."""
        if not pending:
            return False
        tail = map(self._order.__getitem__, range(index, len(self._order)))
        following = next((number for number in tail if number is not None), None)
        if following is None or following in pending:
            return True
        entry = priority(following), following
        return any((priority(n), n) < entry for n in pending if waits.get(n) == 0)

    def index_of(self, number: int) -> int:
        """Return the index of a number in the order."""
        return self._indices[number]

    def predecessors(self, number: int) -> Set[int]:
        """Return the predecessors of a number."""
        return self._predecessors[number]

    def successors(self, number: int) -> Set[int]:
        """Return the successors of a number."""
        return self._successors[number]

    def all(self) -> list[int]:
        """Return all numbers in order."""
        return [number for number in self._order if number is not None]

    def may_merge(self, first: int, second: int) -> bool:
        """Return whether two numbers may be merged; False also if the search would take long."""
        return self._reachable_between(first, second) is not None

    def is_convex(self, numbers: Iterable[int]) -> bool:
        """Return True if merging groups makes no cycle: no path leaves the set and comes back.

        A convex set may be merged, in its order. False also if the search would take long.
        """
        inside = {*numbers}
        # What stands behind the last of them in the order leads to none of them.
        end = max(self._indices[number] for number in inside)
        pending = [later for number in inside for later in self._successors[number] - inside]
        visited: set[int] = set()
        while pending:
            number = pending.pop()
            if number in visited or self._indices[number] > end:
                continue
            if number in inside:
                return False
            visited.add(number)
            pending += self._successors[number]
            if len(visited) > fuses.VISITED_GROUPS:
                return False
        return True

    def merge(self, kept_number: int, merged_number: int) -> None:
        """Merge one fusion group into another in the order; ``may_merge`` must hold."""
        self.is_sorted = False
        self._make_adjacent(kept_number, merged_number, [kept_number, None])
        del self._indices[merged_number]
        for forward, backward in (
            (self._successors, self._predecessors),
            (self._predecessors, self._successors),
        ):
            for neighbour in forward.pop(merged_number):
                backward[neighbour].discard(merged_number)
                if neighbour != kept_number:
                    forward[kept_number].add(neighbour)
                    backward[neighbour].add(kept_number)
            forward[kept_number].discard(merged_number)

    def move_predecessors(self, first: int, second: int) -> None:
        """Make group ``first`` the only predecessor of ``second``, and move the others to it.

        ``may_merge`` must hold for the two.
        """
        self.is_sorted = False
        self._make_adjacent(first, second, [first, second])
        for earlier in self._predecessors[second] - {first}:
            self._successors[earlier].discard(second)
            self._successors[earlier].add(first)
            self._predecessors[first].add(earlier)
        self._predecessors[second] = {first}
        self._successors[first].add(second)

    def _make_adjacent(self, first: int, second: int, pair: list[int | None]) -> None:
        """Move two groups side by side in the order, what depends on the first behind them."""
        following = self._reachable_between(first, second)
        assert following is not None
        low, high = sorted([self._indices[first], self._indices[second]])
        between = [n for n in self._order[low : high + 1] if n not in (first, second)]
        # Only the order between the two changes (D. J. Pearce and P. H. J. Kelly, A dynamic
        # topological sort algorithm for directed acyclic graphs, 2006).
        unreachable = [n for n in between if n not in following]
        reachable = [n for n in between if n in following]
        reordered = [*unreachable, *pair, *reachable]
        self._order[low : high + 1] = reordered
        self._indices.update({n: low + k for k, n in enumerate(reordered) if n is not None})

    def _reachable_between(self, first: int, second: int) -> set[int] | None:
        """Return the groups on paths from the first of two, or None if one leads to the second."""
        # All groups of a path from one to the other stand between them in the order.
        low, high = sorted([first, second], key=self._indices.__getitem__)
        end = self._indices[high]
        if end - self._indices[low] > fuses.GROUP_DISTANCE:
            return None
        reachable: set[int] = set()
        waiting = [low]
        while waiting:
            number = waiting.pop()
            for later in self._successors[number]:
                if later == high:
                    if number != low:
                        return None
                elif later not in reachable and self._indices[later] < end:
                    reachable.add(later)
                    waiting.append(later)
            if len(reachable) > fuses.VISITED_GROUPS:
                return None
        return reachable


def keys_of(group: Group) -> Iterator[Key]:
    """Yield the buffers that a group writes."""
    yield from (
        ResultBuffer(node, result) for node in group.nodes for result in range(len(node.types))
    )
    yield from (*group.reductions, *group.columns, *group.targets)


class Engine:
    """The groups of a graph while moves change them.

    ``state`` holds the current groups, whose tables the engine changes in place.
    """

    def __init__(self, groups: Groups) -> None:
        self._initial = groups
        self.state = replace(
            groups,
            by_number=dict(groups.by_number),
            owners=dict(groups.owners),
            types=dict(groups.types),
            cached_reads=dict(groups.cached_reads),
        )
        self.groups = cast(dict[int, Group], self.state.by_number)
        self.owners = cast(dict[Key, int], self.state.owners)
        self.types = cast(dict[Key, TensorType], self.state.types)
        #: Nodes that several groups compute.
        self.recomputed: set[Node] = set()
        #: For each group of rows, the groups that were merged into it, unchanged.
        self.parts: dict[int, Sequence[Group]] = {}
        self.position = {node: k for k, node in enumerate(groups.graph.nodes)}
        #: The buffer of the new value of each updated parameter, and the nodes that compute them.
        self.new_values = {p.node: groups.source(value).base for p, value in groups.graph.updates}
        self.update_nodes = {value.node for _, value in groups.graph.updates}
        self._roots = {groups.sources[key].base for key in groups.roots}
        self._visited: dict[object, dict[int, None]] = {}
        self._next_number = max(groups.by_number, default=-1) + 1
        self._changed = False
        #: The groups that write each buffer with several writers, in the order in which they run.
        self._writers_of: dict[Key, list[int]] = self._find_writers()
        #: The buffers with several writers that each group writes.
        self._written: dict[int, set[Key]] = {}
        for key, numbers in self._writers_of.items():
            for number in numbers:
                self._written.setdefault(number, set()).add(key)

    def run(self, moves: Sequence[Move]) -> Groups:
        """Apply fusion moves until none applies, and return the groups.

        The first move with groups to look at is next, and of these the first group. A group that
        was changed is looked at again by this move and by later ones.
        """
        first = sorted((self._last_position(number), number) for number in self.groups)
        again: list[tuple[int, int]] = []  # what earlier moves have changed
        for move in moves:
            waiting = sorted([*first, *again], reverse=True)
            heap: list[tuple[int, int]] = []  # what this move has changed
            seen: dict[int, Group] = {}
            while waiting or heap:
                is_again = heap and not (waiting and waiting[-1] <= heap[0])
                _, number = heappop(heap) if is_again else waiting.pop()
                group = self.groups.get(number)
                if group is None or seen.get(number) is group:
                    continue
                seen[number] = group
                for changed in move(self, group):
                    entry = self._last_position(changed), changed
                    again.append(entry)
                    heappush(heap, entry)
        return self.result()

    def result(self) -> Groups:
        """Return the current fusion groups, with a level (longest path from inputs) for each."""
        if not self._changed:
            return self._initial
        by_number: dict[int, Group] = {}
        reads = {}
        for number in self.order.all():
            group, predecessors = self.groups[number], self.order.predecessors(number)
            level = max([group.level, *[by_number[earlier].level + 1 for earlier in predecessors]])
            by_number[number] = group if level == group.level else replace(group, level=level)
            if group in self.state.cached_reads:
                reads[by_number[number]] = self.state.cached_reads[group]
        return replace(self.state, by_number=dict(sorted(by_number.items())), cached_reads=reads)

    # -- what the groups read and write -----------------------------------------------------------

    def new_number(self) -> int:
        """Return the number of a new group."""
        self._next_number += 1
        return self._next_number - 1

    @cached_property
    def rules(self) -> RowRules:
        """The rules of groups of rows, which look at a group once."""
        return RowRules(self.state)

    @cached_property
    def readers(self) -> dict[Key, set[int]]:
        """The numbers of the groups that read each buffer."""
        readers: dict[Key, set[int]] = {}
        for number, group in self.groups.items():
            for read in self.state.reads(group):
                readers.setdefault(read.source.base, set()).add(number)
        return readers

    @cached_property
    def order(self) -> Precedence:
        """The groups in an order in which they may run."""
        return Precedence(self.groups, self._edges(), self._last_position)

    def find_visited(self, group: Group, keys: Iterable[object]) -> list[Group]:
        """Return groups visited last with one of these keys, latest first, and record this one."""
        matches: dict[int, None] = {}
        for key in keys:
            visited = self._visited.setdefault(key, {})
            for number in [*islice(reversed(visited), fuses.MERGE_CANDIDATES)]:
                if number not in self.groups:
                    del visited[number]
                elif number != group.number:
                    matches[number] = None
            visited[group.number] = None
        return [
            self.groups[number] for number in sorted(matches, key=self._last_position, reverse=True)
        ]

    def reads_between(self, writer: Group, reader: Group) -> list[Read]:
        """Return the reads of a group whose values another group computes."""
        if writer.number not in self.order.predecessors(reader.number):
            return []
        reads = self.state.reads(reader)
        return [read for read in reads if self.owners.get(read.source.base) == writer.number]

    def are_dependent(self, first: Group, second: Group) -> bool:
        """Return whether one of two groups reads what the other one computes."""
        return bool(self.reads_between(first, second) or self.reads_between(second, first))

    def is_inner(self, key: Key) -> bool:
        """Return whether a value is neither a root nor kept for the user."""
        return key not in self._roots and key not in self.state.retained

    def is_needed(self, key: Key, inside: Container[int]) -> bool:
        """Return whether a value must be in memory for a reader outside these groups."""
        readers = self.readers.get(key, ())
        return not self.is_inner(key) or any(reader not in inside for reader in readers)

    def compare_storage(self, first: Group, second: Group) -> tuple[int, int]:
        """Return the bytes that merging two fusion groups spares and adds.

        Spared: values that one kernel need not store. Added: values of the later phase that a
        memory policy would then save between the phases.
        """
        inside = (first.number, second.number)
        stored = [key for key in (*first.stored, *second.stored) if self.is_inner(key)]
        spared = [key for key in stored if not self.is_needed(key, inside)]
        later = max(first, second, key=lambda group: group.phase)
        added = [key for key in later.stored if key in stored and key not in spared]
        return stored_bytes(self.state, spared), stored_bytes(self.state, added)

    def sort_nodes(self, nodes: Iterable[Node]) -> tuple[Node, ...]:
        """Return nodes in the order of the graph, each once."""
        return tuple(sorted({*nodes}, key=self.position.__getitem__))

    # -- changes ----------------------------------------------------------------------------------

    def combine_groups(
        self, parts: Sequence[Group], inside: Collection[int] = (), **changes: Any
    ) -> Group:
        """Combine several fusion groups into one with the number of the first.

        ``inside``: the groups that can then read values from registers; the parts if empty.
        """
        inside = inside or {part.number for part in parts}
        stored = dict.fromkeys([key for part in parts for key in part.stored])
        combined: dict[str, Any] = {
            "nodes": self.sort_nodes(node for part in parts for node in part.nodes),
            "level": max(part.level for part in parts),
            "phase": min(part.phase for part in parts),
            "row": max(part.row for part in parts),
            "reductions": {key: r for part in parts for key, r in part.reductions.items()},
            "columns": {key: r for part in parts for key, r in part.columns.items()},
            "regions": {key: at for part in parts for key, at in part.regions.items()},
            "indexed": any(part.indexed for part in parts),
            "windowed": any(part.windowed for part in parts),
            "checked": any(part.checked for part in parts),
            "instructions": sum(part.instructions for part in parts),
            "stored": tuple([key for key in stored if self.is_needed(key, inside)]),
        }
        return replace(parts[0], **{**combined, **changes})

    def merge(self, parts: Sequence[Group], merged: Group) -> tuple[int, ...]:
        """Replace fusion groups by one, which has the number of one of them."""
        first, *later = sorted([part.number for part in parts], key=self.order.index_of)
        for number in later:  # in their order: no path leads from one to the next by way of a third
            first, second = (number, first) if number == merged.number else (first, number)
            self.order.merge(first, second)
        if len(merged.nodes) == sum(len(part.nodes) for part in parts):
            reads = [read for part in parts for read in self.state.reads(part)]
            self.state.cached_reads[merged] = reads
        return self.change(parts, [merged], ordered=True)

    def change(
        self, old: Sequence[Group], new: Sequence[Group], ordered: bool = False
    ) -> tuple[int, ...]:
        """Replace fusion groups by others; return the numbers of the new ones.

        ``ordered``: the order is up to date already.
        """
        readers, self._changed = self.readers, True
        numbers = {group.number for group in old}
        moved_keys: list[Key] = []
        for group in old:
            del self.groups[group.number]
            for read in self.state.reads(group):
                readers[read.source.base].discard(group.number)
        for group in new:
            self.groups[group.number] = group
            for key in keys_of(group):
                owner = self.owners.get(key)
                if owner in numbers or owner is None:
                    self.owners[key] = group.number
                    if owner != group.number:
                        moved_keys.append(key)
        for group in new:
            for read in self.state.reads(group):
                readers.setdefault(read.source.base, set()).add(group.number)
        self._replace_writers(old, new)
        order: Precedence | None = self.__dict__.get("order")
        if order is not None and ordered:
            order.is_sorted = False
        elif order is not None and not self._update_order(order, old, new, moved_keys):
            del self.__dict__["order"]
        return tuple([group.number for group in new])

    # -- the order --------------------------------------------------------------------------------

    def _last_position(self, number: int) -> int:
        """Return the position in the graph of the last node that a group computes."""
        group, position = self.groups[number], self.position
        if group.transfers or group.image is not None:
            return max([position[node] for node in group.members], default=0)
        last = position[group.nodes[-1]] if group.nodes else 0  # they are in the graph's order
        if group.reductions or group.columns:
            return max(last, *[position[key.node] for key in (*group.reductions, *group.columns)])
        return last

    def _update_order(
        self,
        order: Precedence,
        old: Sequence[Group],
        new: Sequence[Group],
        moved_keys: Sequence[Key],
    ) -> bool:
        """Update the groups' topological order after a move replaced some of them.

        Return False if that is not possible: the order must then be computed again.
        """
        removed = {group.number for group in old} - {group.number for group in new}
        changed = {group.number for group in new}
        changed.update(*[self.readers.get(key, ()) for key in moved_keys])
        has_targets = any(group.targets for group in (*old, *new))
        if not order.is_sorted or has_targets or not self._written.keys().isdisjoint(changed):
            return False
        if not {group.number for group in new} <= {group.number for group in old}:
            return False
        order.change(
            {number: self._writers(number) for number in changed}, removed, self._last_position
        )
        return True

    def _writers(self, number: int) -> set[int]:
        """Return the groups that compute what a group reads."""
        bases = {read.source.base for read in self.state.reads(self.groups[number])}
        writers = {self.owners.get(base) for base in bases}
        return {writer for writer in writers if writer is not None and writer != number}

    def _edges(self) -> Iterator[tuple[int, int]]:
        """Yield pairs of groups: the second reads, or overwrites, what the first writes."""
        for number in self.groups:
            for writer in self._writers(number):
                yield writer, number
        for numbers in self._writers_of.values():
            yield from pairwise(numbers)

    def _find_writers(self) -> dict[Key, list[int]]:
        """Return the groups that write each buffer with several writers, in their order."""
        # The second of two may overwrite a part of what the first has written. A reader of a buffer
        # depends on its owner alone, so the owner writes last among the groups of its level.
        writers: dict[Key, set[int]] = {}
        for number, group in self.groups.items():
            for key in group.targets:
                writers.setdefault(key, set()).add(number)
        ordered = {}
        for key, numbers in writers.items():
            owner = self.owners.get(key)
            if owner is not None:
                numbers.add(owner)
            order = [(self.groups[n].level, n == owner, n) for n in numbers]
            ordered[key] = [number for *_, number in sorted(order)]
        return ordered

    def _replace_writers(self, old: Sequence[Group], new: Sequence[Group]) -> None:
        """Put new groups in the places of old ones among the writers of buffers.

        A group that is merged with a later one still writes where it did: the level of a group says
        nothing of the order any more.
        """
        keys = {key for group in old for key in self._written.pop(group.number, ())}
        numbers = {group.number for group in old}
        for key in keys:
            writers = self._writers_of[key]
            place = max(k for k, number in enumerate(writers) if number in numbers)
            earlier = [number for number in writers[:place] if number not in numbers]
            owner = self.owners.get(key)
            writing = [g.number for g in new if key in g.targets or g.number == owner]
            self._writers_of[key] = [*earlier, *writing, *writers[place + 1 :]]
            for number in writing:
                self._written.setdefault(number, set()).add(key)


#: A move changes a group, and perhaps others: it returns the numbers of those that it changed.
Move = Callable[[Engine, Group], tuple[int, ...]]

"""Groups that read each other's results row by row, as one group that takes a row at a time.

What a reduction along a row gives is known at the end of the row, and what reads it for the same
row need not wait for other rows. So a softmax, a norm, or their gradients are one kernel: it reads
a row from memory once, and finds it in the cache for every further stage. Two groups become one of
kind
``rows`` if all that one reads of the other lies in its own row, if no path leads from one out and
back, and if what a row takes fits into the cache (``row_rules``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from passes.fusion.groups import Group, Groups, Home, Key, Read
from passes.fusion.precedence import Precedence
from passes.fusion.row_rules import RowRules
from staticgrad.types.tensor import Shape


def joined(groups: Groups) -> Groups:
    """The groups, those of one phase that share rows as one."""
    if not groups.fused or not any(each.row for each in groups.all):
        return groups
    return _Joining(groups).result()


class _Joining:
    """Groups while some of them are joined; the values that they came in stay as they are."""

    def __init__(self, groups: Groups) -> None:
        self._before = groups
        self._rules = RowRules(groups)
        self._groups = dict(groups.by_number)
        self._into: dict[int, int] = {}  # the number of a group -> of that which it was joined to
        self._parts: dict[int, list[Group]] = {each.number: [each] for each in groups.all}
        self._position = {node: k for k, node in enumerate(groups.graph.nodes)}
        self._reads = {each.number: [*groups.reads(each)] for each in groups.all}
        self._readers: dict[Key, set[int]] = {}
        for number, reads in self._reads.items():
            for read in reads:
                self._readers.setdefault(read.source.base, set()).add(number)
        self._roots = {groups.sources[key].base for key in groups.roots}
        self._order = Precedence(self._groups, self._edges(), self._place)

    def result(self) -> Groups:
        """The groups after all have joined that may."""
        for number in self._order.as_given:
            self._join_forerunners(number)
        if not self._into:
            return self._before
        for number in [*self._groups]:
            self._take_out(number)
        owners = {key: self._final(number) for key, number in self._before.owners.items()}
        return replace(self._before, by_number=dict(sorted(self._levelled())), owners=owners)

    # -- who comes before whom --------------------------------------------------------------------

    def _place(self, number: int) -> int:
        members = self._groups[number].members
        return max([self._position[node] for node in members], default=0)

    def _edges(self) -> Iterator[tuple[int, int]]:
        """Pairs of groups of which the second reads, or writes over, what the first writes."""
        for number, reads in self._reads.items():
            for read in reads:
                writer = self._owner(read.source.base)
                if writer is not None and writer != self._final(number):
                    yield writer, self._final(number)
        targets: dict[Key, list[Group]] = {}
        for each in self._groups.values():
            if each.transfer is not None:
                targets.setdefault(each.transfer.target, []).append(each)
        for key, several in targets.items():
            owner = self._before.home(key)
            if owner is not None and owner not in several:
                several.append(owner)
            several.sort(key=lambda each: each.level)
            yield from ((a.number, b.number) for a, b in pairwise(several))

    def _final(self, number: int) -> int:
        while number in self._into:
            number = self._into[number]
        return number

    def _owner(self, key: Key) -> int | None:
        number = self._before.owners.get(key)
        return None if number is None else self._final(number)

    def _levelled(self) -> Iterator[tuple[int, Group]]:
        """The groups, each of a higher level than all that come before it."""
        order = Precedence(self._groups, self._edges(), self._place)
        levels: dict[int, int] = {}
        for number in order.as_given:
            group = self._groups[number]
            below = max([levels[each] for each in order.before(number)], default=0)
            level = levels[number] = max(group.level, below + 1)
            yield number, group if level == group.level else replace(group, level=level)

    # -- joining ----------------------------------------------------------------------------------

    def _join_forerunners(self, number: int) -> None:
        """Join a group to those that it reads, the latest first, and to what those read."""
        refused: set[int] = set()
        while True:
            near = [each for each in self._order.before(number) if each not in refused]
            found = max(near, key=self._order.place, default=None)
            if found is None:
                return
            if self._may_join(self._groups[found], self._groups[number]):
                self._join(found, number)
                number = found
                refused.clear()
            else:
                refused.add(found)

    def _all_reads(self, number: int) -> list[Read]:
        return [read for part in self._parts[number] for read in self._reads[part.number]]

    def _may_join(self, earlier: Group, later: Group) -> bool:
        shared = self._rules.shared(earlier, later)
        if shared is None or earlier.phase != later.phase:
            return False
        reads = self._all_reads(later.number)
        between = [r for r in reads if self._owner(r.source.base) == earlier.number]
        if not all(self._rules.in_row(read, *shared) for read in between):
            return False
        every = [*self._all_reads(earlier.number), *reads]
        apart = self._rules.apart(earlier, later, every, *shared)
        return apart is None and self._order.may_merge(earlier.number, later.number)

    def _join(self, earlier: int, later: int) -> None:
        first, second = self._groups[earlier], self._groups.pop(later)
        shared = self._rules.shared(first, second)
        assert shared is not None
        self._into[later] = earlier
        self._order.merge(earlier, later)
        self._parts[earlier] += self._parts.pop(later)
        self._groups[earlier] = self._in_one(self._parts[earlier], *shared)

    def _in_one(self, parts: Sequence[Group], domain: Shape, row: int) -> Group:
        """One group of rows of several, which stores what others need."""
        first = parts[0]
        stored = dict.fromkeys([key for part in parts for key in part.stored])
        nodes = [node for part in parts for node in part.nodes]
        return replace(
            first,
            kind="rows",
            domain=domain,
            row=row,
            level=max([part.level for part in parts]),
            nodes=tuple(sorted(nodes, key=self._position.__getitem__)),
            reductions={key: each for part in parts for key, each in part.reductions.items()},
            indexed=any(part.indexed for part in parts),
            instructions=sum([part.instructions for part in parts]),
            stored=tuple([key for key in stored if self._is_needed(key, first.number)]),
        )

    def _is_needed(self, key: Key, number: int) -> bool:
        """Whether somebody outside a group needs a value of it in memory."""
        if key in self._roots or key in self._before.kept:
            return True
        return any(self._final(each) != number for each in self._readers.get(key, ()))

    # -- what had better stay apart ---------------------------------------------------------------

    def _take_out(self, number: int) -> None:
        """Take out of a group of rows what is computed per row there for nothing in the row."""
        group, parts = self._groups[number], self._parts[number]
        out = []
        for part in reversed(parts[1:]):
            if self._rules.takes_vector(part, group) and not self._is_read_by_others(part, parts):
                parts.remove(part)
                out.append(part)
        for part in out:
            self._parts[part.number], self._groups[part.number] = [part], part
            del self._into[part.number]
        if out:
            several = len(parts) > 1
            self._groups[number] = (
                self._in_one(parts, group.domain, group.row) if several else parts[0]
            )

    def _is_read_by_others(self, part: Group, parts: Sequence[Group]) -> bool:
        homes = {Home(node) for node in part.nodes}
        others = [each for each in parts if each is not part]
        return any(
            read.source.base in homes for each in others for read in self._reads[each.number]
        )

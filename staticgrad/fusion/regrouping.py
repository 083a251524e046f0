"""Groups while some of them become parts of others: who is in which, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from staticgrad.fusion.groups import Group, Groups, Key, Read
from staticgrad.fusion.precedence import Precedence, writes_in_order
from staticgrad.records import replace


class Regrouping:
    """The groups as they are now; the values that they came in stay as they are."""

    def __init__(self, groups: Groups) -> None:
        self._before = groups
        self._groups: dict[int, Group] = dict(groups.by_number)
        self._owners: dict[Key, int] = dict(groups.owners)
        self._into: dict[int, int] = {}  # the number of a group -> of that which it is part of
        self._position = {node: k for k, node in enumerate(groups.graph.nodes)}

    def _final(self, number: int) -> int:
        """The number of the group that a group is part of now; the way there is cut short."""
        into, last = self._into, number
        while last in into:
            last = into[last]
        while number != last:
            into[number], number = last, into[number]
        return last

    def _owner(self, key: Key) -> int | None:
        """The number of the group that computes a buffer now."""
        number = self._owners.get(key)
        return number if number is None or number not in self._into else self._final(number)

    def _place(self, number: int) -> int:
        """Where the last node of a group stands in the graph."""
        group, position = self._groups[number], self._position
        if group.transfer is not None or group.image is not None:
            return max([position[node] for node in group.members], default=0)
        results = [position[key.node] for key in (*group.reductions, *group.columns)]
        last = [position[node] for node in group.nodes[-1:]]  # they are in the order of the graph
        return max([*results, *last], default=0)

    def _edges(self, reads: Mapping[int, Sequence[Read]]) -> Iterator[tuple[int, int]]:
        """Pairs of groups of which the second reads, or writes over, what the first writes.

        ``reads``: what each group reads, by the number that it came with.
        """
        for number, each in reads.items():
            reader = self._final(number)
            for base in dict.fromkeys([read.source.base for read in each]):
                writer = self._owner(base)
                if writer is not None and writer != reader:
                    yield writer, reader
        yield from writes_in_order(self._groups.values(), self._before)

    def _with_levels(
        self,
        reads: Mapping[int, Sequence[Read]],
        phase: Callable[[Group, Sequence[Group]], int] = lambda group, before: group.phase,
    ) -> dict[int, Group]:
        """The groups by number, each of a higher level than all that come before it.

        ``reads``: as of ``_edges``. ``phase``: that of a group, given those before it.
        """
        order = Precedence(self._groups, self._edges(reads), self._place)
        found: dict[int, Group] = {}
        for number in order.as_given:
            group, before = self._groups[number], [found[each] for each in order.before(number)]
            level = max([group.level, *[each.level + 1 for each in before]])
            if (level, phase(group, before)) != (group.level, group.phase):
                group = replace(group, level=level, phase=phase(group, before))
            found[number] = group
        return dict(sorted(found.items()))

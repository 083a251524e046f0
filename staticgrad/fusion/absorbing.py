"""Elementwise groups that one other group alone reads by elements, as parts of it.

The walk over the graph gives each node a place as it meets it: a group of elementwise nodes joins
the later group that reads it where nobody else could still read it. Two nodes of a later group that
share what they are made of (the factors of a derivative, both functions of one stored value) are
each somebody else's reader then, so the group stood apart and stored what they read. Once all have
their places, nobody but the later group reads it, which computes it, and nothing is stored.

Groups while some of them become parts of others: who is in which, and who waits for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.liveness import ValueKey
from staticgrad.fusion.drafts import ANCHORED, kept_apart
from staticgrad.fusion.groups import Group, Groups, Home, Key, Read, meets_elements
from staticgrad.fusion.reasons import Precedence, writes_in_order
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
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


#: Groups that compute elements, whatever else they do.
_INTO: Final = ("map", *ANCHORED)


def absorbed(groups: Groups) -> Groups:
    """The groups, those that one other alone reads by elements as parts of it."""
    return _Absorbing(groups).result() if groups.fused else groups


class _Absorbing(Regrouping):
    """Groups while some of them become parts of later ones, which keep their levels."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        self._homes = {node: each.number for each in groups.all for node in each.nodes}

    def result(self) -> Groups:
        """The groups in the end: later ones first, so that chains of groups follow each other."""
        for number in reversed([*self._before.by_number]):
            group = self._groups[number]
            reader = self._only_reader(group) if _is_plain(group) else None
            if reader is not None:
                self._absorb(group, reader)
        if not self._into:
            return self._before
        owners = {key: self._final(number) for key, number in self._owners.items()}
        return replace(self._before, by_number=self._groups, owners=owners)

    def _only_reader(self, group: Group) -> Group | None:
        found: Group | None = None
        inside = {*group.nodes}
        for node in group.nodes:
            for user in self._before.users[node, 0]:
                if user in inside:
                    continue
                reader = self._reader(group, (node, 0), user)
                if reader is None or reader is not (found or reader):
                    return None
                found = reader
        return found

    def _reader(self, group: Group, key: ValueKey, user: Node) -> Group | None:
        number = self._homes.get(user)
        if number is None or not isinstance(user.form, Pointwise):
            return None
        reader = self._groups[self._final(number)]
        fits = reader.kind in _INTO and reader.domain == group.domain
        if not fits or reader.phase != group.phase or reader.level <= group.level:
            return None
        read = [self._before.source(arg) for arg in user.args]
        own = [each for each in read if each.base == Home(*key)]
        if not (own and all(meets_elements(each, reader.domain) for each in own)):
            return None
        return reader if kept_apart(group, reader) is None else None

    def _absorb(self, group: Group, reader: Group) -> None:
        groups = self._before
        nodes = sorted([*reader.nodes, *group.nodes], key=self._position.__getitem__)
        kept = [key for key in group.stored if key in groups.roots or key in groups.kept]
        self._groups[reader.number] = replace(
            reader,
            nodes=tuple(nodes),
            indexed=reader.indexed or group.indexed,
            stored=tuple(dict.fromkeys([*kept, *reader.stored])),
            instructions=reader.instructions + group.instructions,
        )
        self._into[group.number] = reader.number
        del self._groups[group.number]


def _is_plain(group: Group) -> bool:
    """Whether a group does nothing but compute elements."""
    bound = group.reductions or group.checked or group.regions or group.transfer is not None
    return group.kind == "map" and not (bound or group.columns or group.windowed)

"""Elementwise groups that one other group alone reads by elements, as parts of it.

The walk over the graph gives each node a place as it meets it: a group of elementwise nodes joins
the later group that reads it where nobody else could still read it. Two nodes of a later group that
share what they are made of (the factors of a derivative, both functions of one stored value) are
each somebody else's reader then, so the group stood apart and stored what they read. Once all have
their places, nobody but the later group reads it, which computes it, and nothing is stored.
"""

from __future__ import annotations

from typing import Final

from staticgrad.analysis.users import ValueKey
from staticgrad.fusion.groups import Group, Groups, Home, meets_elements
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.sharing import ANCHORED, kept_apart
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
from staticgrad.records import replace

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
        """The one group whose elementwise nodes alone read what the group computes."""
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
        """The group in whose kernel a reader meets the element that the group computes there."""
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

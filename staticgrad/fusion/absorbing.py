"""Elementwise groups that one other group alone reads by elements, as parts of it.

The walk over the graph gives each node a place as it meets it: a group of elementwise nodes joins
the later group that reads it where nobody else could still read it. Two nodes of a later group that
share what they are made of (the factors of a derivative, both functions of one stored value) are
each somebody else's reader then, so the group stood apart and stored what they read. Once all have
their places, nobody but the later group reads it, which computes it, and nothing is stored.

Groups while some of them become parts of others: who is in which, and who waits for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, Final

from staticgrad.analysis.liveness import ValueKey
from staticgrad.fusion.drafts import ANCHORED, kept_apart
from staticgrad.fusion.groups import Group, Groups, Home, Key, Read, meets_elements
from staticgrad.fusion.reasons import Precedence, writes_in_order
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
from staticgrad.kept import cached_property
from staticgrad.records import replace


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
        yield from writes_in_order(self._groups.values(), self._before)

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


#: Groups that compute elements, whatever else they do.
_INTO: Final = ("map", *ANCHORED)


def absorbed(groups: Groups) -> Groups:
    """The groups, those that one other alone reads by elements as parts of it."""
    return _Absorbing(groups).result() if groups.fused else groups


class _Absorbing(Regrouping):
    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        self._homes = {node: each.number for each in groups.all for node in each.nodes}

    def result(self) -> Groups:
        """The groups in the end: later ones first, so that chains of groups follow each other."""
        groups = self._before
        for number in reversed([*groups.by_number]):
            group = self._groups[number]
            reader = self._only_reader(group) if _is_plain(group) else None
            if reader is not None:
                kept = [key for key in group.stored if key in groups.roots or key in groups.kept]
                stored = tuple(dict.fromkeys([*kept, *reader.stored]))
                both = self._in_one(reader, [reader, group], stored=stored)
                self._groups[reader.number] = both
                self._put(number, reader.number)
        return self._result()

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


def _is_plain(group: Group) -> bool:
    """Whether a group does nothing but compute elements."""
    bound = group.reductions or group.checked or group.regions or group.transfers
    return group.kind == "map" and not (bound or group.columns or group.windowed)

"""Groups of two phases as one, where what crosses the border between them then needs no memory.

No kernel straddles the border between forward and backward, for what a policy runs again should be
the forward part alone. But where a backward group reads nothing but what a forward group computes
element by element (as behind a loss that is a sum of elements), one kernel of both stores fewer
bytes, reads fewer, and leaves no value for which a step would run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.fusion.absorbing import absorbed
from staticgrad.fusion.blocks import blocked
from staticgrad.fusion.cutting import cut
from staticgrad.fusion.grouping import group
from staticgrad.fusion.groups import Group, Groups, Home, Key, meets_elements, stored_bytes
from staticgrad.fusion.long_rows import in_pieces
from staticgrad.fusion.pools import with_pools
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.rows import joined
from staticgrad.fusion.sharing import kept_apart
from staticgrad.fusion.siblings import read_together
from staticgrad.fusion.sinking import sunk
from staticgrad.fusion.totals import with_totals_apart
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Graph, Node
from staticgrad.records import replace

#: The name under which a graph has its groups.
_NOTE: Final = "groups"


def fused(graph: Graph, merge: bool = True) -> Groups:
    """The groups of a graph in the end; with ``merge`` off one for every node that computes."""
    found = with_totals_apart(read_together(absorbed(group(graph, merge))))
    if not merge:
        return found
    whole = cut(sunk(joined(blocked(merged(joined(found))), across=True)))
    return with_pools(in_pieces(whole))


def leave(graph: Graph, groups: Groups) -> None:
    """Keep the groups of a graph with it, for whoever takes them.

    They hold the graph in turn, so that the two live until they are taken or collected.
    """
    graph.found[_NOTE] = groups


def taken(graph: Graph, merge: bool = True) -> Groups:
    """The groups of a graph: those that were left with it, if any. They are not kept."""
    found = graph.found.pop(_NOTE, None)
    return found if merge and isinstance(found, Groups) else fused(graph, merge)


def merged(groups: Groups) -> Groups:
    """The groups, later ones in earlier ones where that stores less."""
    if all(each.phase == 0 for each in groups.all):
        return groups
    return _Merging(groups).result()


class _Merging(Regrouping):
    """Groups while some of them are merged."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        self._updated = {value.node for _, value in groups.graph.updates}
        self._writers: dict[Key, list[int]] = {}  # of a value: the groups that store parts of it
        for each in groups.all:
            whole = [] if each.transfer is None else [each.transfer.target]
            for key in (*each.targets, *whole):
                self._writers.setdefault(key, []).append(each.number)

    def result(self) -> Groups:
        """The groups after all merges."""
        for number in self._before.by_number:
            later = self._groups[number]
            if later.phase and later.kind == "map" and self._updated.isdisjoint(later.nodes):
                self._merge_if_spared(later)
        if not self._into:
            return self._before
        owners = {key: self._final(number) for key, number in self._owners.items()}
        return replace(self._before, by_number=self._groups, owners=owners)

    def _merge_if_spared(self, later: Group) -> None:
        earlier = self._forerunner(later)
        if earlier is None:
            return
        groups = self._before
        less = spared(groups, earlier, later)
        more = stored_bytes(groups, added(groups, later))
        if not less or more > stored_bytes(groups, less):
            return
        if kept_apart(earlier, later) is None and self._stays_last(earlier, later):
            self._groups[earlier.number] = self._together(earlier, later, set(less))
            self._into[later.number] = earlier.number
            del self._groups[later.number]

    def _stays_last(self, earlier: Group, later: Group) -> bool:
        """Whether ``later``, moved to the level of ``earlier``, still ends the values that it ends.

        Who reads a value of several parts waits for the last of those that store one.
        """
        ended = [key for key in later.targets if self._home(key) == later]
        others = [self._groups[self._final(n)] for key in ended for n in self._writers[key]]
        return all(each.level < earlier.level for each in others if each.number != later.number)

    def _together(self, earlier: Group, later: Group, less: set[Key]) -> Group:
        nodes = sorted([*earlier.nodes, *later.nodes], key=self._position.__getitem__)
        stored = dict.fromkeys([*earlier.stored, *later.stored])
        return replace(
            earlier,
            nodes=tuple(nodes),
            reductions={**earlier.reductions, **later.reductions},
            row=max(earlier.row, later.row),
            indexed=earlier.indexed or later.indexed,
            windowed=earlier.windowed or later.windowed,
            checked=earlier.checked or later.checked,
            instructions=earlier.instructions + later.instructions,
            stored=tuple(key for key in stored if key not in less),
            regions={**earlier.regions, **later.regions},
        )

    def _home(self, key: Key) -> Group | None:
        number = self._owner(key)
        return None if number is None else self._groups[number]

    def _forerunner(self, later: Group) -> Group | None:
        """The one group of an earlier phase that could compute the nodes of ``later`` as well."""
        able: set[Group] = set()
        others: set[Group] = set()  # what they compute must lie in memory
        for _, source, elementwise in self._before.reads(later):
            home = self._home(source.base)
            if home is None or home is later:
                continue
            aligned = elementwise and meets_elements(source, later.domain)
            parts = home.reductions.keys() | home.targets  # whole only when the group has ended
            computes = aligned and source.base not in parts
            fits = computes and home.kind == "map" and home.phase < later.phase
            (able if fits else others).add(home)
        found = max(able, key=lambda each: each.level, default=None)
        if found is None:
            return None
        others |= able - {found}
        return found if all(each.level < found.level for each in others) else None


def spared(groups: Groups, earlier: Group, later: Group) -> Sequence[Key]:
    """What ``earlier`` stores for nobody but itself and ``later``."""
    inside = {*_element_readers(earlier), *_element_readers(later)}
    return [
        key
        for key in earlier.stored
        if isinstance(key, Home)
        and key not in groups.roots
        and key not in groups.kept
        and key not in earlier.reductions
        and all(user in inside for user in groups.users[key])
    ]


def added(groups: Groups, later: Group) -> Sequence[Key]:
    """What a group stores that is no output or update."""
    return [key for key in later.stored if key not in groups.roots]


def _element_readers(group: Group) -> Iterator[Node]:
    yield from (node for node in group.nodes if isinstance(node.form, Pointwise))
    yield from (key.node for key in group.reductions)

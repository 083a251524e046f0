"""Groups of two phases as one, where what crosses the border between them then needs no memory.

No kernel straddles the border between forward and backward, for what a policy runs again should be
the forward part alone. But where a backward group reads nothing but what a forward group computes
element by element (as behind a loss that is a sum of elements), one kernel of both stores fewer
bytes, reads fewer, and leaves nothing to run again for. ``grouping`` calls this at the end of its
walk; what its groups are it says there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
from staticgrad.types.size_hints import hint_value

if TYPE_CHECKING:
    from passes.fusion.grouping import Group, Grouping, Key, Source

#: Nodes of a group that was two: what need not be stored pays for what no longer fits registers.
MOST_NODES: Final = 96


def merge_across_phases(grouping: Grouping) -> None:
    """Merge later groups into earlier ones while that stores less."""
    updated = {value.node for _, value in grouping.graph.updates}
    for group in grouping.groups:
        if group.phase == 0 or group.kind != "map" or not updated.isdisjoint(group.nodes):
            continue
        earlier = _forerunner(grouping, group)
        if earlier is None:
            continue
        spared = _spared(grouping, earlier, group)
        added = [key for key in group.stored if key not in grouping.roots]
        if spared and _bytes(grouping, added) <= _bytes(grouping, spared):
            merged = grouping.merge(earlier, group, MOST_NODES)
            if merged is not None:
                for key in spared:
                    del merged.stored[key]


def _forerunner(grouping: Grouping, group: Group) -> Group | None:
    """The one group of an earlier phase that could compute the nodes of ``group`` as well."""
    able: set[Group] = set()
    others: set[Group] = set()  # what they compute must lie in memory
    for source, elementwise in _reads(grouping, group):
        home = grouping.home(source.base)
        if home is None or home is group:
            continue
        aligned = elementwise and grouping.aligned_home(source, group.domain) is home
        fits = aligned and home.kind == "map" and home.phase < group.phase
        (able if fits else others).add(home)
    found = max(able, key=lambda each: each.level, default=None)
    if found is None:
        return None
    others |= able - {found}
    return found if all(each.level < found.level for each in others) else None


def _reads(grouping: Grouping, group: Group) -> Iterator[tuple[Source, bool]]:
    """What a group reads, and whether it reads the element at its own position."""
    waiting = [
        (grouping.source(arg), isinstance(node.form, Pointwise))
        for node in group.nodes
        for arg in node.args
    ]
    waiting += [(reduction.source, True) for reduction in group.reductions.values()]
    while waiting:
        source, elementwise = waiting.pop()
        if source.inline:
            waiting += [(grouping.source(arg), False) for arg in source.base[0].args]
        else:
            yield source, elementwise


def _spared(grouping: Grouping, earlier: Group, later: Group) -> list[Key]:
    """What ``earlier`` stores for nobody but itself and ``later``."""
    inside = {*_element_readers(earlier), *_element_readers(later)}
    return [
        key
        for key in earlier.stored
        if key not in grouping.roots
        and key not in grouping.kept
        and key not in earlier.reductions
        and all(user in inside for user in grouping.readers(key))
    ]


def _element_readers(group: Group) -> Iterator[Node]:
    yield from (node for node in group.nodes if isinstance(node.form, Pointwise))
    yield from (node for node, _ in group.reductions)


def _bytes(grouping: Grouping, keys: Iterable[Key]) -> int:
    return sum(hint_value(grouping.value_type(key).nbytes) for key in keys)

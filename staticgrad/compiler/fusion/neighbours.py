"""Why two neighbouring groups are two kernels, by the rules by which groups are merged.

Nothing is noted while groups change. The first reason that applies is given, from what lies in the
computation itself (other loops, a reduction that is not finished) to what was weighed (a limit).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Final

from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Group,
    Groups,
    Home,
    Key,
    Read,
    meets_elements,
)
from staticgrad.compiler.fusion.legality import elements_apart, kept_apart, reduced_axes
from staticgrad.compiler.fusion.reasons import Reason, Why
from staticgrad.compiler.fusion.walks import walk_of
from staticgrad.language.ir.forms import Gather, GatherAlong, SearchForm
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import hint_product
from staticgrad.support.records import dataclass, replace


@dataclass(frozen=True)
class KernelPair:
    """``reader`` of group ``read_in`` reads what ``node`` of group ``computed_in`` computes."""

    computed_in: int
    read_in: int
    node: Node
    reader: Node
    reason: Reason


def neighbours(groups: Groups, updates: Mapping[int, str] | None = None) -> list[KernelPair]:
    """Return every pair of groups in which one reads a buffer of the other, by the reader.

    ``updates``: of the groups that copy a new value to its parameter, the parameter's name.
    """
    return [*Legality(groups, updates or {}).pairs()]


_LOOKUPS: Final = (Gather, GatherAlong, SearchForm)


class Legality:
    """The groups before any was cut, and why one that reads another is not a part of it."""

    def __init__(self, groups: Groups, updates: Mapping[int, str]) -> None:
        self._before = groups
        whole = {number: each.whole.number for number, each in groups.by_number.items()}
        self._engine = Engine(
            replace(
                groups,
                by_number={each.whole.number: each.whole for each in groups.all},
                owners={key: whole[number] for key, number in groups.owners.items()},
                known_reads={},
            )
        )
        self._updates = updates
        self._parameters = {value.node: p.name for p, value in groups.graph.updates}

    def pairs(self) -> Iterator[KernelPair]:
        writers: dict[Key, dict[int, None]] = {}
        for number, each in self._before.by_number.items():
            for key in each.targets:
                writers.setdefault(key, {})[number] = None
        for key, number in self._before.owners.items():
            writers.setdefault(key, {})[number] = None
        edges: dict[tuple[int, int], tuple[Key, Node]] = {}
        between: dict[tuple[Group, Group], list[Read]] = {}
        for number, each in self._before.by_number.items():
            for key, read in self._buffers_read(each):
                for writer in writers.get(key, ()):
                    if writer != number:
                        edges.setdefault((number, writer), (key, read.reader))
                        pair = self._before.by_number[writer].whole, each.whole
                        between.setdefault(pair, []).append(read)
        for (reader, computer), (key, node) in sorted(edges.items(), key=itemgetter(0)):
            one, other = (self._before.by_number[n].whole for n in (computer, reader))
            reason = self.may_join(one, other, between[one, other])
            assert reason, f"nothing keeps {one.members} and {other.members} apart"
            yield KernelPair(computer, reader, key.node, node, reason)

    def _buffers_read(self, group: Group) -> Iterator[tuple[Key, Read]]:
        groups = self._before
        for read in groups.reads(group):
            walk = walk_of(group, read.source) if group.copied and read.elementwise else None
            yield read.source.base if walk is None else walk.base, read
        for node in group.nodes:  # which look up in memory what else is computed where it is read
            if isinstance(node.form, _LOOKUPS):
                for source in map(groups.source, node.args):
                    if source.inline and groups.stores(source.base):
                        yield source.base, Read(node, source, False)
        if group.kind == "scatter":  # it adds to what a fill wrote
            (node,) = group.nodes
            yield Home(node), Read(node, groups.sources[node, 0], False)

    def may_join(self, one: Group, other: Group, reads: Sequence[Read]) -> Reason | None:
        """Why a group is no part of another one that has these reads of it; None if it may be."""
        if not self._before.fused:
            return Why.FusionOff()
        if one is other:
            parts = self._before.by_number[one.number].parts
            assert parts is not None
            if parts.long_row:
                return Why.SingleRow(parts.long_row)
            if parts.copies:
                return Why.Copies(parts.copies)
            return Why.LongChain(parts.together, parts.apart)
        if other.number in self._updates:
            return Why.UpdateOrder(self._updates[other.number])
        for each in (one, other):
            if each.kind in ("copy", "sort", "scan", "scatter", "block", "call", "body"):
                return Why.KernelOfItsOwn(each.kind)
        return (
            self._of_rows(one, other, reads)
            or elements_apart(one, other, reads)
            or self._of_columns(one, other)
            or self._of_phases(one, other)
            or kept_apart(one, other)
            or self._of_levels(one, other)
            or self._other_readers(one, other)
            or self._between(one, other, 0)
        )

    def _of_rows(self, one: Group, other: Group, reads: Sequence[Read]) -> Reason | None:
        """Two that lie in the same rows, but for their cost or for what stands between them."""
        shared = self._engine.rules.shared(one, other)
        if shared is None or not all(self._engine.rules.in_row(read, *shared) for read in reads):
            return None
        every = [*self._before.reads(one), *self._before.reads(other)]
        reason = self._weighed_apart(one, other) or self._engine.rules.apart(
            one, other, every, *shared
        )
        if reason is not None:
            return reason
        if self._engine.rules.takes_vector(other, one):
            length = hint_product(one.domain[len(one.domain) - one.row :])
            return Why.OncePerRow(other.nodes[-1].op.name, length)
        return self._between(one, other, one.level)

    def _weighed_apart(self, one: Group, other: Group) -> Reason | None:
        """What may run again is the earlier part alone, unless one kernel stores less."""
        if one.phase == other.phase:
            return None
        spared, added = self._engine.weighed(one, other)
        if not spared:
            return Why.PhaseBorder(one.phase, other.phase)
        return Why.StoresMore(added, spared) if added > spared else None

    def _of_columns(self, one: Group, other: Group) -> Reason | None:
        if other.kind != "columns":
            return None
        if one.kind in ANCHORED:
            return Why.ReductionInProduct()
        if one.reductions:
            return Why.OtherRows(reduced_axes(one), other.summed)
        if one.checked:
            return Why.LookupInColumns()
        return self._other_readers(one, other) if one.phase == other.phase else None

    def _of_phases(self, one: Group, other: Group) -> Reason | None:
        if one.phase == other.phase:
            return None
        if not one.kind == other.kind == "map":
            return Why.PhaseBorder(one.phase, other.phase)
        for node in other.nodes:
            if node in self._parameters:
                return Why.UpdateOrder(self._parameters[node])
        return self._weighed_apart(one, other)

    def _of_levels(self, one: Group, other: Group) -> Reason | None:
        for read in self._before.reads(other):
            home = self._engine.now.home(read.source.base)
            if home is None or home in (one, other) or home.level != one.level:
                continue
            if meets_elements(read.source, other.domain) and (reason := kept_apart(one, home)):
                return reason
        return self._between(one, other, one.level)

    def _between(self, one: Group, other: Group, least: int) -> Reason | None:
        """The last that the reader also needs, of those that may have to run after the other."""
        found = {
            read.source.base.node: home.level
            for read in self._before.reads(other)
            if (home := self._engine.now.home(read.source.base)) is not None and home is not other
            if home.level >= least and (home is not one or not least)
        }
        last = max(found, key=found.__getitem__, default=None)
        return None if last is None else Why.Between(last.op.name, found[last], one.level)

    def _other_readers(self, one: Group, other: Group) -> Reason | None:
        found = {n for key in one.stored for n in self._engine.readers.get(key, ())}
        kernels = len(found - {one.number, other.number})
        results = sum((node, 0) in self._before.roots for node in one.members)
        return Why.OtherReaders(kernels, results) if kernels or results else None

"""Every pair of neighbouring groups, one that computes and one that reads, and why they are two.

Nothing is noted while groups grow: the reason follows from the groups as they are in the end, by
the same rules, and only where somebody asks. The first that applies is given, from what lies in the
computation itself (other loops, a reduction that is not finished) to what was weighed (a limit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.fusion import reasons
from staticgrad.fusion.drafts import ANCHORED, kept_apart, reduced_axes
from staticgrad.fusion.groups import Group, Groups, Home, Key, Read, meets_elements, stored_bytes
from staticgrad.fusion.merging import added, spared
from staticgrad.fusion.rows import RowRules
from staticgrad.fusion.walks import walk_of
from staticgrad.ir.forms import Gather, GatherAlong, SearchForm
from staticgrad.ir.graph import Node
from staticgrad.records import dataclass
from staticgrad.types.arrays import Shape, hint_product


@dataclass(frozen=True)
class KernelPair:
    """``reader`` of group ``read_in`` reads what ``node`` of group ``computed_in`` computes."""

    computed_in: int
    read_in: int
    node: Node
    reader: Node
    reason: reasons.Reason


def neighbours(groups: Groups, updates: Mapping[int, str] | None = None) -> list[KernelPair]:
    """Return every pair of groups in which one reads a buffer of the other, by the reader.

    ``updates``: of the groups that copy a new value to its parameter, the parameter's name.
    """
    return [*_Neighbours(groups, updates or {}).pairs()]


_LOOKUPS: Final = (Gather, GatherAlong, SearchForm)
#: A place where one group reads what another writes: the buffer, and how it is read.
_Edge = tuple[Key, Read]


class _Neighbours:
    """The groups, with the writers and readers of each buffer."""

    def __init__(self, groups: Groups, updates: Mapping[int, str]) -> None:
        self.groups = groups
        self._rules = RowRules(groups)
        self._updates = updates
        self._writers: dict[Key, list[int]] = {}
        for number, each in groups.by_number.items():
            for key in each.targets:
                self._writers.setdefault(key, []).append(number)
        for key, number in groups.owners.items():
            several = self._writers.setdefault(key, [])
            if number not in several:
                several.append(number)
        self._edges = {each.number: self._edges_to(each) for each in groups.all}
        self._readers: dict[int, set[int]] = {}  # of groups before any was cut
        self._reads: dict[tuple[int, int], list[Read]] = {}
        for reader, computers in self._edges.items():
            for computer, edges in computers.items():
                pair = self._whole(computer).number, self._whole(reader).number
                self._readers.setdefault(pair[0], set()).add(pair[1])
                self._reads.setdefault(pair, []).extend(read for _, read in edges)
        self._parameters = {value.node: p.name for p, value in groups.graph.updates}

    def pairs(self) -> Iterator[KernelPair]:
        for reader, computers in self._edges.items():
            for computer, edges in sorted(computers.items()):
                key, read = edges[0]
                reason = self._reason(self._whole(computer), self._whole(reader))
                yield KernelPair(computer, reader, key.node, read.reader, reason)

    def _whole(self, number: int) -> Group:
        return self.groups.by_number[number].whole

    def _edges_to(self, group: Group) -> dict[int, list[_Edge]]:
        found: dict[int, list[_Edge]] = {}
        for key, read in self._buffers_read(group):
            for number in self._writers.get(key, ()):
                if number != group.number:
                    found.setdefault(number, []).append((key, read))
        return found

    def _buffers_read(self, group: Group) -> Iterator[_Edge]:
        for read in self.groups.reads(group):
            walk = walk_of(group, read.source) if group.copied and read.elementwise else None
            yield read.source.base if walk is None else walk.base, read
        for node in group.nodes:  # which look up in memory what else is computed where it is read
            if isinstance(node.form, _LOOKUPS):
                for source in map(self.groups.source, node.args):
                    if source.inline and self.groups.stores(source.base):
                        yield source.base, Read(node, source, False)
        if group.kind == "scatter":  # it adds to what a fill wrote
            (node,) = group.nodes
            yield Home(node), Read(node, self.groups.sources[node, 0], False)

    def _reason(self, one: Group, other: Group) -> reasons.Reason:
        if not self.groups.fused:
            return reasons.FusionOff()
        if one is other:
            parts = self.groups.by_number[one.number].parts
            assert parts is not None
            if parts.long_row:
                return reasons.SingleRow(parts.long_row)
            if parts.copies:
                return reasons.Copies(parts.copies)
            return reasons.LongChain(parts.together, parts.apart)
        reads = self._reads[one.number, other.number]
        for rule in _RULES:
            reason = rule(self, one, other, reads)
            if reason is not None:
                return reason
        raise AssertionError(f"nothing keeps {one.members} and {other.members} apart")

    # -- rules, in the order in which they are asked ----------------------------------------------

    def of_kinds(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        if other.number in self._updates:
            return reasons.UpdateOrder(self._updates[other.number])
        for each in (one, other):
            if each.kind in ("copy", "sort", "scan", "scatter", "block", "call", "body"):
                return reasons.KernelOfItsOwn(each.kind)
        return None

    def of_operands(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        for read in reads:
            source = read.source
            if source.base in one.reductions:
                return reasons.Unfinished(_terms(one))
            if source.base in one.columns:
                return reasons.Unfinished(tuple(one.domain[axis] for axis in one.summed))
            if source.base in one.targets:
                return reasons.OtherSpace(one.domain, other.domain)
            if not read.elementwise:
                return reasons.WholeOperand(read.reader.op.name, source.type.shape)
            if not source.direct:
                return reasons.OtherElements(source.type.shape, source.layout.strides)
            if source.type.shape != other.domain:
                return reasons.OtherSpace(source.type.shape, other.domain)
        if one.image is not None and one.domain != other.domain:
            return reasons.OtherSpace(one.domain, other.domain)
        return None

    def of_rows(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        """Two that lie in the same rows, but for their cost or for what stands between them."""
        shared = self._rules.shared(one, other)
        if shared is None or not all(self._rules.in_row(read, *shared) for read in reads):
            return None
        if one.phase != other.phase:
            reason = self._across(one, other)
            if reason is not None:
                return reason
        every = [*self.groups.reads(one), *self.groups.reads(other)]
        reason = self._rules.apart(one, other, every, *shared)
        if reason is not None:
            return reason
        if self._rules.takes_vector(other, one):
            length = hint_product(one.domain[len(one.domain) - one.row :])
            return reasons.OncePerRow(other.nodes[-1].op.name, length)
        return self._between(one, other)

    def _across(self, one: Group, other: Group) -> reasons.Reason | None:
        """One of rows of two phases would not store less."""
        inside = {one.number, other.number}
        groups, outside = self.groups, set(self.groups.kept)
        outside |= {groups.sources[key].base for key in groups.roots}
        for number, computers in self._edges.items():
            for edges in computers.values() if number not in inside else ():
                outside |= {key for key, _ in edges}
        less = [key for key in (*one.stored, *other.stored) if key not in outside]
        later = max(one, other, key=lambda each: each.phase)
        more = [key for key in later.stored if key not in less and key not in groups.roots]
        found, wanted = stored_bytes(groups, less), stored_bytes(groups, more)
        if not found:
            return reasons.PhaseBorder(one.phase, other.phase)
        return reasons.StoresMore(wanted, found) if wanted > found else None

    def _between(self, one: Group, other: Group) -> reasons.Reason | None:
        """The reader also needs a group that may have to run after the other."""
        found: dict[Node, int] = {}
        for read in self.groups.reads(other):
            home = self.groups.home(read.source.base)
            if home is not None and home.whole not in (one, other) and home.level >= one.level:
                found[read.source.base.node] = home.level
        last = max(found, key=found.__getitem__, default=None)
        return None if last is None else reasons.Between(one.level, found[last], last.op.name)

    def of_columns(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        if other.kind != "columns":
            return None
        if one.kind in ANCHORED:
            return reasons.ReductionInProduct()
        if one.reductions:
            return reasons.OtherRows(reduced_axes(one), other.summed)
        if one.checked:
            return reasons.LookupInColumns()
        return self._other_readers(one, other) if one.phase == other.phase else None

    def of_phases(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        """What may run again is the earlier part alone, unless one kernel stores less."""
        if one.phase == other.phase:
            return None
        if one.kind == other.kind == "map":
            for node in other.nodes:
                if node in self._parameters:
                    return reasons.UpdateOrder(self._parameters[node])
            groups = self.groups
            less = stored_bytes(groups, spared(groups, one, other))
            more = stored_bytes(groups, added(groups, other))
            if less and more <= less:
                return kept_apart(one, other) or self.of_levels(one, other, reads)
            if less:
                return reasons.StoresMore(more, less)
        return reasons.PhaseBorder(one.phase, other.phase)

    def of_forms(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        """Return the reason that no kernel can combine them, or that it would be too large."""
        return kept_apart(one, other)

    def of_levels(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        """Another kernel that the reader needs may need the first of the two."""
        for read in self.groups.reads(other):
            number = self.groups.owners.get(read.source.base)
            home = None if number is None else self._whole(number)
            if home is None or home in (one, other) or home.level < one.level:
                continue
            if home.level == one.level and meets_elements(read.source, other.domain):
                reason = kept_apart(one, home)
                if reason is not None:
                    return reason
            return reasons.Between(one.level, home.level, read.source.base.node.op.name)
        return None

    def of_growth(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        homes = {
            home.whole.number: read.source.base.node
            for read in self.groups.reads(other)
            if (home := self.groups.home(read.source.base)) is not None
        }
        levels = {n: self.groups.by_number[n].level for n in homes if n != other.number}
        last = max(levels, key=levels.__getitem__)
        return reasons.Between(one.level, levels[last], homes[last].op.name)

    def of_readers(self, one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
        return self._other_readers(one, other)

    def _other_readers(self, one: Group, other: Group) -> reasons.Reason | None:
        kernels = len(self._readers[one.number] - {other.number})
        results = sum((node, 0) in self.groups.roots for node in one.members)
        return reasons.OtherReaders(kernels, results) if kernels or results else None


_Rule = Callable[[_Neighbours, Group, Group, Sequence[Read]], reasons.Reason | None]
_RULES: Final[tuple[_Rule, ...]] = (
    _Neighbours.of_kinds,
    _Neighbours.of_rows,
    _Neighbours.of_operands,
    _Neighbours.of_columns,
    _Neighbours.of_phases,
    _Neighbours.of_forms,
    _Neighbours.of_levels,
    _Neighbours.of_readers,
    _Neighbours.of_growth,
)


def _terms(group: Group) -> Shape:
    axes = group.summed if group.kind == "columns" else reduced_axes(group)
    return tuple(group.domain[axis] for axis in axes)

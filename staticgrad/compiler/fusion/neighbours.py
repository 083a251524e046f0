"""Find the reason why two neighbouring groups are two kernels, by the rules of merging.

No reasons are recorded while groups change. The first reason that applies is given: first those of
the computation itself (other loops, an unfinished reduction), last those of costs (a limit).
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
    Key,
    Read,
    ResultBuffer,
    meets_elements,
)
from staticgrad.compiler.fusion.legality import find_form_conflict, find_read_conflict, reduced_axes
from staticgrad.compiler.fusion.reasons import Reason, ReasonKind
from staticgrad.compiler.fusion.walks import walk_of
from staticgrad.language.ir.forms import Gather, GatherAlong, ScatterOnto, SearchForm
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


def neighbours(groups: Groups, updates: Mapping[int, Reason] | None = None) -> list[KernelPair]:
    """Return all_reads pair of groups in which one reads a buffer of the other, by the reader.

    ``updates``: of the groups that copy a new value to its parameter, the reason.
    """
    return [*Legality(groups, updates or {}).pairs()]


_LOOKUPS: Final = (Gather, GatherAlong, SearchForm)


class Legality:
    """The groups before any was cut, and the rules by which a consumer and a producer are two."""

    def __init__(self, groups: Groups, updates: Mapping[int, Reason]) -> None:
        self._groups = groups
        uncut_numbers = {
            number: group.uncut_group.number for number, group in groups.by_number.items()
        }
        self._engine = Engine(
            replace(
                groups,
                by_number={group.uncut_group.number: group.uncut_group for group in groups.all},
                owners={key: uncut_numbers[number] for key, number in groups.owners.items()},
                cached_reads={},
            )
        )
        self._updates = updates
        self._parameters = {value.node: p.name for p, value in groups.graph.updates}

    def pairs(self) -> Iterator[KernelPair]:
        """Yield each pair of groups in which one reads the other, with why they are not fused."""
        writers: dict[Key, dict[int, None]] = {}
        for number, group in self._groups.by_number.items():
            for key in group.targets:
                writers.setdefault(key, {})[number] = None
        for key, number in self._groups.owners.items():
            writers.setdefault(key, {})[number] = None
        edges: dict[tuple[int, int], tuple[Key, Node]] = {}
        between: dict[tuple[Group, Group], list[Read]] = {}
        for number, group in self._groups.by_number.items():
            for key, read in self._buffers_read(group):
                for writer in writers.get(key, ()):
                    if writer != number:
                        edges.setdefault((number, writer), (key, read.reader))
                        pair = self._groups.by_number[writer].uncut_group, group.uncut_group
                        between.setdefault(pair, []).append(read)
        for (reader, computer), (key, node) in sorted(edges.items(), key=itemgetter(0)):
            producer, consumer = (self._groups.by_number[n].uncut_group for n in (computer, reader))
            reason = self.find_reason(producer, consumer, between[producer, consumer])
            assert reason, f"nothing keeps {producer.members} and {consumer.members} apart"
            yield KernelPair(computer, reader, key.node, node, reason)

    def _buffers_read(self, group: Group) -> Iterator[tuple[Key, Read]]:
        """Yield the buffers that a group reads, with inline values that look-ups read."""
        groups = self._groups
        for read in groups.reads(group):
            walk = walk_of(group, read.source) if group.copied and read.elementwise else None
            yield read.source.base if walk is None else walk.base, read
        for node in group.nodes:  # look-ups read inline values in memory, too
            if isinstance(node.form, _LOOKUPS):
                for source in map(groups.source, node.args):
                    if source.inline and groups.stores(source.base):
                        yield source.base, Read(node, source, False)
        for node in group.nodes if group.kind == "scatter" else ():
            if isinstance(node.form, ScatterOnto):  # of others a fill wrote the buffer
                continue
            yield ResultBuffer(node), Read(node, groups.sources[node, 0], False)

    def find_reason(self, producer: Group, consumer: Group, reads: Sequence[Read]) -> Reason | None:
        """Return why a consumer is not fused with a producer; None if it may be.

        ``reads``: its reads of the producer.
        """
        if not self._groups.fused:
            return ReasonKind.FusionOff()
        if producer is consumer:
            cut = self._groups.by_number[producer.number].cut
            assert cut is not None
            if cut.long_row:
                return ReasonKind.SingleRow(cut.long_row)
            if cut.copies:
                return ReasonKind.Copies(cut.copies)
            return ReasonKind.LongChain(cut.fused_cycles, cut.split_cycles)
        if consumer.number in self._updates:
            return self._updates[consumer.number]
        for group in (producer, consumer):
            if group.kind in ("copy", "sort", "scan", "scatter", "block", "call", "body"):
                default = ReasonKind.KernelOfItsOwn(group.kind)
                return self._find_row_reason(producer, consumer, reads) or default
        return (
            self._find_row_reason(producer, consumer, reads)
            or find_read_conflict(producer, consumer, reads)
            or self._find_column_reason(producer, consumer)
            or self._find_border_reason(producer, consumer)
            or find_form_conflict(producer, consumer)
            or self._find_level_reason(producer, consumer)
            or self._find_other_readers(producer, consumer)
            or self._find_barrier(producer, consumer, 0)
        )

    def _find_row_reason(
        self, producer: Group, consumer: Group, reads: Sequence[Read]
    ) -> Reason | None:
        """Return why two groups that share rows are not fused: cost, or a group between them."""
        shared = self._engine.rules.find_shared_rows(producer, consumer)
        if shared is None or not all(
            self._engine.rules.reads_own_row(read, *shared) for read in reads
        ):
            return None
        all_reads = [*self._groups.reads(producer), *self._groups.reads(consumer)]
        reason = self._find_phase_reason(producer, consumer) or self._engine.rules.find_conflict(
            producer, consumer, all_reads, *shared
        )
        if reason is not None:
            return reason
        if self._engine.rules.is_faster_alone(consumer, producer):
            length = hint_product(producer.domain[len(producer.domain) - producer.row :])
            return ReasonKind.OncePerRow(consumer.nodes[-1].op.name, length)
        return self._find_barrier(producer, consumer, producer.level)

    def _find_phase_reason(self, producer: Group, consumer: Group) -> Reason | None:
        """Return why groups of two phases are not fused: only the earlier may be recomputed."""
        if producer.phase == consumer.phase:
            return None
        spared, added = self._engine.compare_storage(producer, consumer)
        if not spared:
            return ReasonKind.PhaseBorder(producer.phase, consumer.phase)
        return ReasonKind.StoresMore(added, spared) if added > spared else None

    def _find_column_reason(self, producer: Group, consumer: Group) -> Reason | None:
        """Return why a producer is not fused with a reduction over rows, or None."""
        if consumer.kind != "columns":
            return None
        if producer.kind in ANCHORED:
            return ReasonKind.ReductionInProduct()
        if producer.reductions:
            return ReasonKind.OtherRows(reduced_axes(producer), consumer.summed)
        if producer.checked:
            return ReasonKind.LookupInColumns()
        return (
            self._find_other_readers(producer, consumer)
            if producer.phase == consumer.phase
            else None
        )

    def _find_border_reason(self, producer: Group, consumer: Group) -> Reason | None:
        """Return why two groups of different phases are not fused, or None."""
        if producer.phase == consumer.phase:
            return None
        if not producer.kind == consumer.kind == "map":
            return ReasonKind.PhaseBorder(producer.phase, consumer.phase)
        for node in consumer.nodes:
            if node in self._parameters:
                return ReasonKind.UpdateOrder(self._parameters[node])
        return self._find_phase_reason(producer, consumer)

    def _find_level_reason(self, producer: Group, consumer: Group) -> Reason | None:
        """Return the other operand, or its form, that keeps a consumer and producer apart."""
        for read in self._groups.reads(consumer):
            home = self._engine.state.home(read.source.base)
            if home is None or home in (producer, consumer) or home.level != producer.level:
                continue
            if meets_elements(read.source, consumer.domain) and (
                reason := find_form_conflict(producer, home)
            ):
                return reason
        return self._find_barrier(producer, consumer, producer.level)

    def _find_barrier(self, producer: Group, consumer: Group, least: int) -> Reason | None:
        """Return another operand of a consumer that may have to run after its fusion producer."""
        levels = {
            read.source.base.node: home.level
            for read in self._groups.reads(consumer)
            if (home := self._engine.state.home(read.source.base)) is not None
            and home is not consumer
            if home.level >= least and (home is not producer or not least)
        }
        last = max(levels, key=levels.__getitem__, default=None)
        return (
            None if last is None else ReasonKind.Between(last.op.name, levels[last], producer.level)
        )

    def _find_other_readers(self, producer: Group, consumer: Group) -> Reason | None:
        readers = {n for key in producer.stored for n in self._engine.readers.get(key, ())}
        kernels = len(readers - {producer.number, consumer.number})
        results = sum((node, 0) in self._groups.roots for node in producer.members)
        return ReasonKind.OtherReaders(kernels, results) if kernels or results else None

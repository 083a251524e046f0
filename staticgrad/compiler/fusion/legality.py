"""Decide which groups may be merged into one kernel, and give the reason if they may not.

``find_form_conflict`` and ``find_read_conflict`` compare two groups over one domain, ``RowRules``
two that would be a group of rows. After fusion, ``neighbours`` gives the reason for each pair of
groups, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from staticgrad.analysis.cycles import instructions
from staticgrad.analysis.layout import is_one_run
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Cluster,
    Group,
    Groups,
    Key,
    PartialBuffer,
    Read,
    Walk,
    meets_elements,
    most_instructions,
)
from staticgrad.compiler.fusion.reasons import Reason, ReasonKind
from staticgrad.compiler.fusion.walks import (
    MOST_WRITTEN_OUT,
    fewest_lanes,
    has_short_rows,
    has_short_scan,
    is_per_row,
    may_be_short,
    may_compute_again,
    meets_rows,
    outer_shape,
    row_walk,
    scans_rows,
    selects_of_row,
    sums_across,
)
from staticgrad.language.ir.forms import (
    INDEXED,
    GatherAlong,
    Pointwise,
    Scan,
    ScatterAlong,
    SearchForm,
)
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import Shape, c_strides, hint_product
from staticgrad.support import fuses


def find_form_conflict(first: Cluster | Group, second: Cluster | Group) -> Reason | None:
    """Return why the forms or sizes of two groups over one domain forbid fusing them, or None."""
    gemms = (first.kind in ANCHORED) + (second.kind in ANCHORED)
    rows = {group.row for group in (first, second) if group.reductions}
    if gemms == 2:
        return ReasonKind.TwoProducts()
    if gemms and rows:
        return ReasonKind.ReductionInProduct()
    if gemms and (first.checked or second.checked):
        return ReasonKind.LookupInProduct()
    if "windows" in (first.kind, second.kind) and (first.keeps_axes or second.keeps_axes):
        return ReasonKind.PositionsInWindows()
    if len(rows) > 1:
        return ReasonKind.OtherRows(reduced_axes(first), reduced_axes(second))
    if any(row > 1 for row in rows) and (first.keeps_axes or second.keeps_axes):
        return ReasonKind.PositionsInRow(max(rows))
    if any(breaks_rows(first, row) or breaks_rows(second, row) for row in rows):
        return ReasonKind.BrokenRow(max(rows))
    most = min(most_instructions(first), most_instructions(second))
    if first.instructions + second.instructions > most:
        return ReasonKind.TooLarge(first.instructions + second.instructions, most)
    return None


def find_read_conflict(producer: Group, consumer: Group, reads: Sequence[Read]) -> Reason | None:
    """Return why a consumer cannot compute its producer's elements in one kernel, or None.

    ``reads``: its reads of the producer.
    """
    for read in reads:
        source = read.source
        if source.base in producer.reductions:
            return ReasonKind.Unfinished(
                tuple(producer.domain[axis] for axis in reduced_axes(producer))
            )
        if source.base in producer.columns:
            return ReasonKind.Unfinished(tuple(producer.domain[axis] for axis in producer.summed))
        if source.base in producer.targets:  # complete only after the last iteration of the group
            return ReasonKind.OtherSpace(producer.domain, consumer.domain)
        if not read.elementwise:
            return ReasonKind.WholeOperand(read.reader.op.name, source.type.shape)
        if not source.direct:
            return ReasonKind.OtherElements(source.type.shape, source.layout.strides)
        if source.type.shape != consumer.domain:
            return ReasonKind.OtherSpace(source.type.shape, consumer.domain)
    if producer.image is not None and producer.domain != consumer.domain:
        return ReasonKind.OtherSpace(producer.domain, consumer.domain)
    return None


def breaks_rows(group: Cluster | Group, row: int) -> bool:
    """Return whether stored parts are several runs of memory along the last ``row`` axes.

    A reduction of them, which has one result for a row, would then have one for each run.
    """
    regions = chain.from_iterable(group.regions.values())
    return not all(is_one_run(region.layout.strides, group.domain, row) for region in regions)


def reduced_axes(group: Cluster | Group) -> tuple[int, ...]:
    """Return the axes that a group reduces: the trailing ones of its row, or those of columns."""
    if group.kind == "columns":
        return group.summed
    rank = len(group.domain)
    return tuple(range(rank - group.row, rank))


#: Rows from here on are enough for all workers; of fewer, only few elements are worth one kernel.
FEWEST_ROWS: Final = 16
FEW_ELEMENTS: Final = 1 << 15
#: Rows from which on partial sums of columns cost less than reading everything again.
FEWEST_TERMS: Final = 64
#: Operations of an op that is expensive for a single element, and the row length from which on that
#: cost is negligible.
LONG_OPERATION: Final = 16
LONG_ENOUGH: Final = 512


def only_combines_partials(group: Group) -> bool:
    """Return whether a group only combines partial results."""
    return any(
        isinstance(reduction.source.base, PartialBuffer) for reduction in group.reductions.values()
    )


def _stays_in_row(node: Node) -> bool:
    looks_up = isinstance(node.form, INDEXED | SearchForm)
    return not looks_up or isinstance(node.form, ScatterAlong) or selects_of_row(node)


def _find_rows_of_maps(first: Group, second: Group) -> tuple[Shape, int] | None:
    """Return the domain and row axes over which two maps could be one row kernel, or None."""
    if "columns" in (first.kind, second.kind):
        return None
    if first.domain == second.domain:
        return (first.domain, 1) if first.checked != second.checked and first.domain else None
    for domain, shape in ((first.domain, second.domain), (second.domain, first.domain)):
        for row in range(1, len(domain) + 1):
            if is_per_row(shape, domain, row):
                return domain, row
    return None


def _keeps_out_of_lanes(group: Group) -> bool:
    """Return whether a group sums columns, or scans: kernels with a row per lane cannot do that."""
    return group.kind == "columns" or bool(group.columns) or scans_rows(group)


def _scans_along_row(group: Group) -> bool:
    """Return whether a group is a scan along the last axis, of rows that are not unrolled."""
    if group.kind != "scan" or group.indexed or len(group.domain) < 2:
        return False
    (node,) = group.nodes
    assert isinstance(node.form, Scan)
    return node.form.axis == len(group.domain) - 1 and not has_short_scan(node)


class RowRules:
    """The rules for groups of rows of one graph; facts about a group are cached."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._update_nodes = {value.node for _, value in groups.graph.updates}
        self._can_join: dict[Group, bool] = {}
        self._short: dict[Group, bool] = {}
        self._work: dict[Group, int] = {}

    def find_shared_rows(self, first: Group, second: Group) -> tuple[Shape, int] | None:
        """Return the domain and number of row axes that two fusion groups could share, or None."""
        if not (self.can_join_rows(first) and self.can_join_rows(second)):
            return None
        reducing = next((group for group in (first, second) if group.row), None)
        scanning = next((group for group in (first, second) if group.kind == "scan"), None)
        form: tuple[Shape, int] | None
        if reducing is not None:
            form = reducing.domain, reducing.row
        elif scanning is not None:
            form = scanning.domain, 1
        else:
            form = _find_rows_of_maps(first, second)
        if form is None:
            return None
        domain, row = form
        if all(extent == 1 for extent in domain[len(domain) - row :]):
            return None
        if scanning is not None and (row > 1 or scanning.domain != domain):
            return None
        for group in (first, second):
            elements = group.domain == domain and group.row in (0, row)
            per_row = not group.row and is_per_row(group.domain, domain, row)
            if not elements and (group.summed or not per_row):  # sums over rows are of elements
                return None
            if group.checked and len(group.domain) != len(domain):  # looks up along an outer axis
                return None
        if row > 1 and (first.checked or second.checked):
            return None
        summed = {group.summed for group in (first, second) if group.summed}
        if len(summed) > 1 or any(axis >= len(domain) - row for axes in summed for axis in axes):
            return None
        return domain, row

    def can_join_rows(self, group: Group) -> bool:
        """Return True if a group's form allows it in a group that is computed row by row."""
        can_join = self._can_join.get(group)
        if can_join is None:
            across = bool(group.row and group.reductions) and sums_across(self._groups, group)
            can_join = self._can_join[group] = (
                (group.kind in ("map", "rows", "columns") or _scans_along_row(group))
                and not (group.checked and not all(map(_stays_in_row, group.nodes)))
                and not (group.windowed or group.copied or group.regions)
                and not (group.kind == "columns" and only_combines_partials(group))
                and not (across and not self.has_short_rows(group))
                and self._update_nodes.isdisjoint(group.nodes)
            )
        return can_join

    def _work_of(self, group: Group) -> int:
        work = self._work.get(group)
        if work is None:
            work = self._work[group] = sum(map(instructions, group.nodes))
        return work

    def has_short_rows(self, group: Group) -> bool:
        """Return whether its kernel has one row per lane of a vector."""
        is_short = self._short.get(group)
        if is_short is None:
            is_short = self._short[group] = has_short_rows(self._groups, group)
        return is_short

    def reads_own_row(self, read: Read, domain: Shape, row: int) -> bool:
        """Return True if a read of another fusion group reads only the reader's own row."""
        source, reader = read.source, read.reader
        if isinstance(reader.form, GatherAlong) and not source.inline:
            if source.base == self._groups.source(reader.args[0]).base:
                recomputable = may_compute_again(reader.args[0], domain)
                return recomputable and meets_elements(source, domain)
            return meets_rows(row_walk(source, reader.types[0].shape, domain, row), domain, row)
        scattered = isinstance(reader.form, ScatterAlong)
        if source.inline or not (read.elementwise or scattered):
            return False
        shape = read.reader.types[0].shape if isinstance(read.reader.form, Pointwise) else domain
        if self._groups.value_type(source.base).shape == domain:
            return shape == domain and meets_elements(source, domain)
        walk = row_walk(source, shape, domain, row)
        return meets_rows(walk, domain, row)

    @staticmethod
    def find_size_conflict(first: Group, second: Group) -> Reason | None:
        """Return the reason if two groups together are too large for one."""
        size = first.instructions + second.instructions
        return (
            ReasonKind.TooLarge(size, fuses.ROW_INSTRUCTIONS)
            if size > fuses.ROW_INSTRUCTIONS
            else None
        )

    def find_conflict(
        self, first: Group, second: Group, reads: Sequence[Read], domain: Shape, row: int
    ) -> Reason | None:
        """Return why two groups that could share rows may not be fused, or None.

        ``reads``: the reads of both.
        """
        groups = (first, second)
        indexed = row > 1 and (first.indexed or second.indexed)
        if indexed or any(g.domain != domain and self._reads_positions(g) for g in groups):
            return ReasonKind.PositionsInRow(row)
        if large := self.find_size_conflict(first, second):
            return large
        in_lanes = self.has_short_rows(first) or self.has_short_rows(second)
        if in_lanes and not self._may_leave_lanes(first, second, domain, row):
            # One row per lane: the elements of a row of both groups must be unrolled.
            reductions = [*first.reductions.values(), *second.reductions.values()]
            work = self._work_of(first) + self._work_of(second)
            length = hint_product(domain[len(domain) - row :])
            if _keeps_out_of_lanes(first) or _keeps_out_of_lanes(second):
                return ReasonKind.RowsInLanes(length)
            if may_be_short(domain, row, reductions, work):
                return None
            return ReasonKind.TooLarge(length * work, MOST_WRITTEN_OUT)
        row_shape = domain[len(domain) - row :]
        rows, length = map(hint_product, (outer_shape(domain, row), row_shape))
        few = all(isinstance(size, int) for size in row_shape) and rows * length <= FEW_ELEMENTS
        if rows < FEWEST_ROWS and not few and first.domain == second.domain:
            return ReasonKind.FewRows(rows, row_shape)
        sums = {first.kind, second.kind} & {"columns"}
        terms = hint_product([domain[a] for a in (*first.summed, *second.summed)])
        if sums and terms < FEWEST_TERMS:
            return ReasonKind.FewTerms(terms, rows * length)
        if row == 1:
            return None
        moving = self._moving_walks((*first.stored, *second.stored), reads, domain, row)
        if not all(is_one_run(walk.strides, domain, row) for walk in moving):
            return ReasonKind.BrokenRow(row)
        return None

    @staticmethod
    def _may_leave_lanes(first: Group, second: Group, domain: Shape, row: int) -> bool:
        """Return whether rows fill vectors, if the two groups cannot have one row per lane."""
        if not _keeps_out_of_lanes(first) and not _keeps_out_of_lanes(second):
            return False
        reductions = [*first.reductions.values(), *second.reductions.values()]
        return hint_product(domain[len(domain) - row :]) >= fewest_lanes(reductions)

    def _reads_positions(self, group: Group) -> bool:
        """Return True if a group's nodes use loop indices as values (iota, index arithmetic)."""
        for node in group.nodes if group.indexed else ():
            form = node.form
            if isinstance(form, Pointwise) and form.indexed:
                return True
            sources = map(self._groups.source, node.args)
            if any(source.inline and not source.uniform for source in sources):
                return True
        return False

    def is_faster_alone(self, part: Group, group: Group) -> bool:
        """Return True if a part of a row group is faster as a kernel that vectorizes over rows.

        It computes one element per row, by expensive operations.
        """
        length = hint_product(group.domain[len(group.domain) - group.row :])
        if part.domain == group.domain or length >= LONG_ENOUGH or self.has_short_rows(group):
            return False
        return any(map(self.is_expensive, part.nodes))

    @staticmethod
    def is_expensive(node: Node) -> bool:
        """Return whether a node is expensive for a single element."""
        return node.op.flops >= LONG_OPERATION

    def _moving_walks(
        self, stored: Iterable[Key], reads: Iterable[Read], domain: Shape, row: int
    ) -> list[Walk]:
        """Return the access paths that a row's loop advances: reads and stored results."""
        walks: dict[Walk, None] = {}
        for read in reads:
            pointwise = isinstance(read.reader.form, Pointwise)
            shape = read.reader.types[0].shape if pointwise else domain
            if len(read.source.type.shape) <= len(shape):
                walks[row_walk(read.source, shape, domain, row)] = None
        first = len(domain) - row
        moving = [walk for walk in walks if any(step != 0 for step in walk.strides[first:])]
        results = [key for key in stored if self._groups.value_type(key).shape == domain]
        return [*moving, *(Walk(key, 0, c_strides(domain)) for key in results)]

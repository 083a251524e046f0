"""Decide which groups may be one kernel, and why two neighbouring groups are two.

``kept_apart`` and ``elements_apart``: by their forms, over one domain. ``RowRules``: as one group
of rows. ``neighbours`` gives the reason for each pair of groups in the end, by the same rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from staticgrad.analysis.cost import instructions
from staticgrad.analysis.layout import is_one_run
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Draft,
    Group,
    Groups,
    Key,
    Partial,
    Read,
    Walk,
    meets_elements,
    most_instructions,
)
from staticgrad.compiler.fusion.reasons import Reason, Why
from staticgrad.compiler.fusion.walks import (
    MOST_WRITTEN_OUT,
    fewest_lanes,
    has_short_rows,
    is_per_row,
    may_be_short,
    may_compute_again,
    meets_rows,
    outer_shape,
    picks_of_row,
    row_walk,
    sums_across,
)
from staticgrad.language.ir.forms import (
    INDEXED,
    GatherAlong,
    Pointwise,
    ScatterAlong,
    SearchForm,
)
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import Shape, c_strides, hint_product
from staticgrad.language.types.dtype import ALL_DTYPES


def kept_apart(group: Draft | Group, other: Draft | Group) -> Reason | None:
    """Why two groups over one domain cannot be one kernel by their forms, or for their size."""
    gemms = (group.kind in ANCHORED) + (other.kind in ANCHORED)
    rows = {each.row for each in (group, other) if each.reductions}
    if gemms == 2:
        return Why.TwoProducts()
    if gemms and rows:
        return Why.ReductionInProduct()
    if gemms and (group.checked or other.checked):
        return Why.LookupInProduct()
    if "windows" in (group.kind, other.kind) and (group.keeps_axes or other.keeps_axes):
        return Why.PositionsInWindows()
    if len(rows) > 1:
        return Why.OtherRows(reduced_axes(group), reduced_axes(other))
    if any(row > 1 for row in rows) and (group.keeps_axes or other.keeps_axes):
        return Why.PositionsInRow(max(rows))
    if any(breaks_rows(each, row) for row in rows for each in (group, other)):
        return Why.BrokenRow(max(rows))
    most = min(most_instructions(group), most_instructions(other))
    if group.instructions + other.instructions > most:
        return Why.TooLarge(group.instructions + other.instructions, most)
    return None


def elements_apart(one: Group, other: Group, reads: Sequence[Read]) -> Reason | None:
    """Why a group cannot compute the elements of another one that it reads; ``reads``: of those."""
    for read in reads:
        source = read.source
        if source.base in one.reductions:
            return Why.Unfinished(tuple(one.domain[axis] for axis in reduced_axes(one)))
        if source.base in one.columns:
            return Why.Unfinished(tuple(one.domain[axis] for axis in one.summed))
        if source.base in one.targets:  # whole only when the group has ended
            return Why.OtherSpace(one.domain, other.domain)
        if not read.elementwise:
            return Why.WholeOperand(read.reader.op.name, source.type.shape)
        if not source.direct:
            return Why.OtherElements(source.type.shape, source.layout.strides)
        if source.type.shape != other.domain:
            return Why.OtherSpace(source.type.shape, other.domain)
    if one.image is not None and one.domain != other.domain:
        return Why.OtherSpace(one.domain, other.domain)
    return None


def breaks_rows(group: Draft | Group, row: int) -> bool:
    """Return whether stored parts are several runs of memory along the last ``row`` axes.

    A reduction of them, which has one result for a row, would then have one for each run.
    """
    regions = (each for several in group.regions.values() for each in several)
    return not all(is_one_run(each.layout.strides, group.domain, row) for each in regions)


def reduced_axes(group: Draft | Group) -> tuple[int, ...]:
    """The axes that the group reduces: the trailing ones, as its row, or those of columns."""
    if group.kind == "columns":
        return group.summed
    rank = len(group.domain)
    return tuple(range(rank - group.row, rank))


#: Instructions of a group of rows, at most: its stages are written for several rows side by side.
LARGEST_ROWS: Final = 640
#: Bytes that one row of all operands takes, at most, so that later stages find it in the cache.
LONGEST_ROW: Final = 1 << 19
#: Bytes of the widest element.
_WIDEST: Final = max(dtype.itemsize for dtype in ALL_DTYPES)
#: Rows from here on are enough to share them out; of fewer, only few elements are worth it.
FEWEST_ROWS: Final = 16
FEW_ELEMENTS: Final = 1 << 15
#: Rows and elements from which on partial sums of columns cost less than reading everything again.
FEWEST_TERMS: Final = 64
FEWEST_SUMMED: Final = 4096
#: Operations of an op that takes long for a single element, and elements of a row beside which
#: that does not matter.
LONG_OPERATION: Final = 16
LONG_ENOUGH: Final = 512


def combines(group: Group) -> bool:
    """Return whether all that a group does is to combine partial results."""
    return any(isinstance(each.source.base, Partial) for each in group.reductions.values())


def _stays_in_row(node: Node) -> bool:
    looks_up = isinstance(node.form, INDEXED | SearchForm)
    return not looks_up or isinstance(node.form, ScatterAlong) or picks_of_row(node)


def _without_reductions(one: Group, other: Group) -> tuple[Shape, int] | None:
    if "columns" in (one.kind, other.kind):
        return None
    if one.domain == other.domain:
        return (one.domain, 1) if one.checked != other.checked and one.domain else None
    for domain, shape in ((one.domain, other.domain), (other.domain, one.domain)):
        for row in range(1, len(domain) + 1):
            if is_per_row(shape, domain, row):
                return domain, row
    return None


def _keeps_out_of_lanes(group: Group) -> bool:
    """Return whether a group has what lanes of rows cannot: sums of columns."""
    return group.kind == "columns" or bool(group.columns)


class RowRules:
    """What holds for groups of one graph; a group is looked at once."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._updated = {value.node for _, value in groups.graph.updates}
        self._fits: dict[Group, bool] = {}
        self._short: dict[Group, bool] = {}
        self._work: dict[Group, int] = {}

    def shared(self, one: Group, other: Group) -> tuple[Shape, int] | None:
        """The domain and the number of row axes that two groups could share as one of rows."""
        if not (self.fits(one) and self.fits(other)):
            return None
        reducing = next((each for each in (one, other) if each.row), None)
        if reducing is None:
            form = _without_reductions(one, other)
        else:
            form = reducing.domain, reducing.row
        if form is None:
            return None
        domain, row = form
        if all(extent == 1 for extent in domain[len(domain) - row :]):
            return None
        for group in (one, other):
            elements = group.domain == domain and group.row in (0, row)
            per_row = not group.row and is_per_row(group.domain, domain, row)
            if not elements and (group.summed or not per_row):  # sums over rows are of elements
                return None
            if group.checked and len(group.domain) != len(domain):  # picks along an axis around
                return None
        if row > 1 and (one.checked or other.checked):
            return None
        summed = {each.summed for each in (one, other) if each.summed}
        if len(summed) > 1 or any(axis >= len(domain) - row for axes in summed for axis in axes):
            return None
        return domain, row

    def fits(self, group: Group) -> bool:
        """Return whether a group could be a part of one of rows, by its form alone."""
        found = self._fits.get(group)
        if found is None:
            across = bool(group.row and group.reductions) and sums_across(self._groups, group)
            found = self._fits[group] = (
                group.kind in ("map", "rows", "columns")
                and not (group.checked and not all(map(_stays_in_row, group.nodes)))
                and not (group.windowed or group.copied or group.regions)
                and not (group.kind == "columns" and combines(group))
                and not (across and not self.has_short_rows(group))
                and self._updated.isdisjoint(group.nodes)
            )
        return found

    def _work_of(self, group: Group) -> int:
        found = self._work.get(group)
        if found is None:
            found = self._work[group] = sum(map(instructions, group.nodes))
        return found

    def has_short_rows(self, group: Group) -> bool:
        """Return whether a row of it lies in each lane of vectors."""
        found = self._short.get(group)
        if found is None:
            found = self._short[group] = has_short_rows(self._groups, group)
        return found

    def in_row(self, read: Read, domain: Shape, row: int) -> bool:
        """Return whether what a group reads there of another is of the row that it is in."""
        source, reader = read.source, read.reader
        if isinstance(reader.form, GatherAlong) and not source.inline:
            if source.base == self._groups.source(reader.args[0]).base:
                again = may_compute_again(reader.args[0], domain)
                return again and meets_elements(source, domain)
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
    def too_large(one: Group, other: Group) -> Reason | None:
        """Why two groups are too long for one, if they are."""
        size = one.instructions + other.instructions
        return Why.TooLarge(size, LARGEST_ROWS) if size > LARGEST_ROWS else None

    def apart(
        self, one: Group, other: Group, reads: Sequence[Read], domain: Shape, row: int
    ) -> Reason | None:
        """Why two groups that could share rows do not; ``reads``: what both read."""
        several = row > 1 and (one.indexed or other.indexed)
        if several or any(g.domain != domain and self._asks(g) for g in (one, other)):
            return Why.PositionsInRow(row)
        if large := self.too_large(one, other):
            return large
        in_lanes = self.has_short_rows(one) or self.has_short_rows(other)
        if in_lanes and not self._leave_lanes(one, other, domain, row):
            # Rows lie in lanes: both together must be written out.
            reductions = [*one.reductions.values(), *other.reductions.values()]
            work = self._work_of(one) + self._work_of(other)
            length = hint_product(domain[len(domain) - row :])
            if _keeps_out_of_lanes(one) or _keeps_out_of_lanes(other):
                return Why.RowsInLanes(length)
            if may_be_short(domain, row, reductions, work):
                return None
            return Why.TooLarge(length * work, MOST_WRITTEN_OUT)
        of_row = domain[len(domain) - row :]
        rows, length = map(hint_product, (outer_shape(domain, row), of_row))
        few = all(isinstance(size, int) for size in of_row) and rows * length <= FEW_ELEMENTS
        if rows < FEWEST_ROWS and not few and one.domain == other.domain:
            return Why.FewRows(rows, of_row)
        sums = {one.kind, other.kind} & {"columns"}
        terms = hint_product([domain[a] for a in (*one.summed, *other.summed)])
        if sums and (terms < FEWEST_TERMS or rows * length < FEWEST_SUMMED):
            return Why.FewTerms(terms, rows * length)
        stored = (*one.stored, *other.stored)
        most = _WIDEST * (len({read.source.base for read in reads}) + len(stored))
        if row == 1 and most * length <= LONGEST_ROW:
            return None
        moving = self._moving(stored, reads, domain, row)
        if row > 1 and not all(is_one_run(walk.strides, domain, row) for walk in moving):
            return Why.BrokenRow(row)
        bases = dict.fromkeys([walk.base for walk in moving])
        width = sum(self._groups.value_type(base).dtype.itemsize for base in bases)
        if width * length > LONGEST_ROW:
            return Why.LongRow(width * length, LONGEST_ROW)
        return None

    @staticmethod
    def _leave_lanes(one: Group, other: Group, domain: Shape, row: int) -> bool:
        """Return whether rows in lanes fill vectors, where both groups together cannot."""
        if not _keeps_out_of_lanes(one) and not _keeps_out_of_lanes(other):
            return False
        reductions = [*one.reductions.values(), *other.reductions.values()]
        return hint_product(domain[len(domain) - row :]) >= fewest_lanes(reductions)

    def _asks(self, group: Group) -> bool:
        for node in group.nodes if group.indexed else ():
            form = node.form
            if isinstance(form, Pointwise) and form.indexed:
                return True
            sources = map(self._groups.source, node.args)
            if any(source.inline and not source.uniform for source in sources):
                return True
        return False

    def takes_vector(self, part: Group, group: Group) -> bool:
        """Return whether part of a group of short rows is faster alone, a vector of rows at a time.

        That has one element per row, and long operations for it.
        """
        length = hint_product(group.domain[len(group.domain) - group.row :])
        if part.domain == group.domain or length >= LONG_ENOUGH or self.has_short_rows(group):
            return False
        return any(map(self.takes_long, part.nodes))

    @staticmethod
    def takes_long(node: Node) -> bool:
        """Return whether a node takes long for a single element."""
        return node.op.flops >= LONG_OPERATION

    def _moving(
        self, stored: Iterable[Key], reads: Iterable[Read], domain: Shape, row: int
    ) -> list[Walk]:
        walks: dict[Walk, None] = {}
        for read in reads:
            pointwise = isinstance(read.reader.form, Pointwise)
            shape = read.reader.types[0].shape if pointwise else domain
            if len(read.source.type.shape) <= len(shape):
                walks[row_walk(read.source, shape, domain, row)] = None
        first = len(domain) - row
        found = [walk for walk in walks if any(step != 0 for step in walk.strides[first:])]
        whole = [key for key in stored if self._groups.value_type(key).shape == domain]
        return [*found, *(Walk(key, 0, c_strides(domain)) for key in whole)]

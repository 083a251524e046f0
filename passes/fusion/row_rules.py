"""Which groups may be one group of rows, by what they read of each other, and by what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod
from typing import Final

from passes.fusion.cost import instructions
from passes.fusion.groups import Group, Groups, Partial, Read, Walk, meets_elements
from passes.fusion.reasons import (
    BrokenRow,
    FewRows,
    FewTerms,
    LongRow,
    PositionsInRow,
    Reason,
    RowsInLanes,
    TooLarge,
)
from passes.fusion.row_values import is_per_row, meets_rows, outer_shape, row_walk
from passes.fusion.walks import MOST_WRITTEN_OUT, has_short_rows, may_be_short, sums_across
from passes.layout import collapse
from staticgrad.ir.forms import Pointwise
from staticgrad.types.tensor import Shape, c_strides, hint_value, product

#: Instructions of a group of rows, at most: its stages are written for several rows side by side.
LARGEST_ROWS: Final = 640
#: Bytes that one row of all operands takes, at most, so that later stages find it in the cache.
LONGEST_ROW: Final = 1 << 19
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
    """Whether all that a group does is to combine partial results."""
    return any(isinstance(each.source.base, Partial) for each in group.reductions.values())


class RowRules:
    """What holds for groups of one graph; a group is looked at once."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._updated = {value.node for _, value in groups.graph.updates}
        self._fits: dict[Group, bool] = {}

    def shared(self, one: Group, other: Group) -> tuple[Shape, int] | None:
        """The domain and the number of row axes that two groups could share as one of rows."""
        if not (self._fit(one) and self._fit(other)):
            return None
        reducing = next((each for each in (one, other) if each.row), None)
        if reducing is None:
            return None
        domain, row = reducing.domain, reducing.row
        if prod(domain[len(domain) - row :], start=1) == 1:
            return None
        for group in (one, other):
            elements = group.domain == domain and group.row in (0, row)
            if not elements and (group.row or not is_per_row(group.domain, domain, row)):
                return None
        summed = {each.summed for each in (one, other) if each.summed}
        if len(summed) > 1 or any(axis >= len(domain) - row for axes in summed for axis in axes):
            return None
        return domain, row

    def _fit(self, group: Group) -> bool:
        """Whether a group could be a part of one of rows, by its form alone."""
        if group not in self._fits:
            self._fits[group] = self._asked(group)
        return self._fits[group]

    def _asked(self, group: Group) -> bool:
        if group.kind not in ("map", "rows", "columns") or group.checked:
            return False
        if group.windowed or group.copied or (group.kind == "columns" and combines(group)):
            return False
        across = bool(group.row and group.reductions) and sums_across(self._groups, group)
        across &= not has_short_rows(group)
        return not across and self._updated.isdisjoint(group.nodes)

    def in_row(self, read: Read, domain: Shape, row: int) -> bool:
        """Whether what a group reads there of another is of the row that it is in."""
        source = read.source
        if not read.elementwise or source.inline:
            return False
        shape = read.reader.types[0].shape if isinstance(read.reader.form, Pointwise) else domain
        if self._groups.value_type(source.base).shape == domain:
            return shape == domain and meets_elements(source, domain)
        walk = row_walk(source, shape, domain, row)
        return meets_rows(walk, domain, row)

    def apart(
        self, one: Group, other: Group, reads: Sequence[Read], domain: Shape, row: int
    ) -> Reason | None:
        """Why two groups that could share rows do not; ``reads``: what both read."""
        indexed = one.indexed or other.indexed
        if indexed and (row > 1 or any(g.indexed and g.domain != domain for g in (one, other))):
            return PositionsInRow(row)
        size = one.instructions + other.instructions
        if size > LARGEST_ROWS:
            return TooLarge(size, LARGEST_ROWS)
        if has_short_rows(one) or has_short_rows(other):
            return self._short_apart(one, other, domain, row)
        size_of_row = product(domain[len(domain) - row :])
        rows, length = (hint_value(n) for n in (product(outer_shape(domain, row)), size_of_row))
        few = isinstance(size_of_row, int) and rows * length <= FEW_ELEMENTS
        if rows < FEWEST_ROWS and not few and one.domain == other.domain:
            return FewRows(rows, domain[len(domain) - row :])
        sums = {one.kind, other.kind} & {"columns"}
        terms = hint_value(product(tuple(domain[a] for a in (*one.summed, *other.summed))))
        if sums and (terms < FEWEST_TERMS or rows * length < FEWEST_SUMMED):
            return FewTerms(terms, rows * length)
        moving = self._moving(one, other, reads, domain, row)
        if row > 1 and not all(_is_one_run(walk, domain, row) for walk in moving):
            return BrokenRow(row)
        bases = dict.fromkeys([walk.base for walk in moving])
        width = sum(self._groups.value_type(base).dtype.itemsize for base in bases)
        if width * length > LONGEST_ROW:
            return LongRow(width * length, LONGEST_ROW)
        return None

    def _short_apart(self, one: Group, other: Group, domain: Shape, row: int) -> Reason | None:
        """The same where rows lie in lanes: both together must be written out, too."""
        reductions = [*one.reductions.values(), *other.reductions.values()]
        work = sum(map(instructions, (*one.nodes, *other.nodes)))
        length = hint_value(product(domain[len(domain) - row :]))
        if "columns" in (one.kind, other.kind) or one.columns or other.columns:
            return RowsInLanes(length)
        if may_be_short(domain, row, reductions, work):
            return None
        return TooLarge(length * work, MOST_WRITTEN_OUT)

    def takes_vector(self, part: Group, group: Group) -> bool:
        """Whether part of a group of short rows is quicker by itself, a vector of rows at a time.

        That has one element per row, and long operations for it.
        """
        length = hint_value(product(group.domain[len(group.domain) - group.row :]))
        if part.domain == group.domain or length >= LONG_ENOUGH or has_short_rows(group):
            return False
        return any(node.op.flops >= LONG_OPERATION for node in part.nodes)

    def _moving(
        self, one: Group, other: Group, reads: Iterable[Read], domain: Shape, row: int
    ) -> list[Walk]:
        """The walks that move along the row, of what two groups read and store."""
        walks: dict[Walk, None] = {}
        for read in reads:
            pointwise = isinstance(read.reader.form, Pointwise)
            shape = read.reader.types[0].shape if pointwise else domain
            if len(read.source.type.shape) <= len(shape):
                walks[row_walk(read.source, shape, domain, row)] = None
        first = len(domain) - row
        found = [walk for walk in walks if any(step != 0 for step in walk.strides[first:])]
        stored = chain(one.stored, other.stored)
        whole = [key for key in stored if self._groups.value_type(key).shape == domain]
        return [*found, *(Walk(key, 0, c_strides(domain)) for key in whole)]


def _is_one_run(walk: Walk, domain: Shape, row: int) -> bool:
    axes = range(len(domain) - row, len(domain))
    extents, _ = collapse([domain[a] for a in axes], [[walk.strides[a] for a in axes]])
    return len(extents) <= 1

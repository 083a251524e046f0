"""Which groups may be one kernel by their forms, and how large a kernel may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from staticgrad.analysis.kernel_costs import LARGEST, LARGEST_EPILOGUE
from staticgrad.analysis.layout import is_one_run
from staticgrad.fusion.groups import GroupKind, GroupReduction, Key, TargetRegion
from staticgrad.fusion.reasons import (
    BrokenRow,
    LookupInProduct,
    OtherRows,
    PositionsInRow,
    PositionsInWindows,
    Reason,
    ReductionInProduct,
    TooLarge,
    TwoProducts,
)
from staticgrad.types.tensor import Shape

#: Kinds of groups that begin with a product or with windows, whose operands lie in memory; what
#: follows is computed for each element of its result.
ANCHORED: Final = ("gemm", "windows")


class Outline(Protocol):
    """What the form of a group's kernel follows from, while the group grows and afterwards."""

    @property
    def kind(self) -> GroupKind: ...
    @property
    def domain(self) -> Shape: ...
    @property
    def instructions(self) -> int: ...
    @property
    def row(self) -> int: ...
    @property
    def reductions(self) -> Mapping[Key, GroupReduction]: ...
    @property
    def regions(self) -> Mapping[Key, Sequence[TargetRegion]]: ...
    @property
    def keeps_axes(self) -> bool: ...
    @property
    def checked(self) -> bool: ...


def most_instructions(group: Outline) -> int:
    """How many instructions the kernel of a group may hold."""
    return LARGEST_EPILOGUE if group.kind in ANCHORED else LARGEST


def kept_apart(group: Outline, other: Outline) -> Reason | None:
    """Why two groups over one domain cannot be one kernel by their forms, or for their size."""
    gemms = (group.kind in ANCHORED) + (other.kind in ANCHORED)
    rows = {each.row for each in (group, other) if each.reductions}
    if gemms == 2:
        return TwoProducts()
    if gemms and rows:
        return ReductionInProduct()
    if gemms and (group.checked or other.checked):
        return LookupInProduct()
    if "windows" in (group.kind, other.kind) and (group.keeps_axes or other.keeps_axes):
        return PositionsInWindows()
    if len(rows) > 1:
        return OtherRows(reduced_axes(group), reduced_axes(other))
    if any(row > 1 for row in rows) and (group.keeps_axes or other.keeps_axes):
        return PositionsInRow(max(rows))
    if any(breaks_rows(each, row) for row in rows for each in (group, other)):
        return BrokenRow(max(rows))
    most = min(most_instructions(group), most_instructions(other))
    if group.instructions + other.instructions > most:
        return TooLarge(group.instructions + other.instructions, most)
    return None


def breaks_rows(group: Outline, row: int) -> bool:
    """Whether parts that a group stores are several runs of memory along its last ``row`` axes.

    A reduction of them, which has one result for a row, would then have one for each run.
    """
    regions = (each for several in group.regions.values() for each in several)
    return not all(is_one_run(each.layout.strides, group.domain, row) for each in regions)


def reduced_axes(group: Outline) -> tuple[int, ...]:
    """The trailing axes that the group reduces as its row."""
    rank = len(group.domain)
    return tuple(range(rank - group.row, rank))

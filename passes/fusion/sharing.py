"""Which groups may be one kernel by their forms, and how large a kernel may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from passes.fusion.buffers import Key
from passes.fusion.groups import GroupKind, Reduction
from passes.fusion.reasons import (
    LookupInProduct,
    OtherRows,
    PositionsInRow,
    Reason,
    ReductionInProduct,
    TooLarge,
    TwoProducts,
)
from staticgrad.ir.graph import Node
from staticgrad.types.tensor import Shape

#: A group stops growing here: registers, and the time a kernel takes to compile, are limited.
MAX_NODES: Final = 48
#: Nodes of a group that was two: what need not be stored pays for what no longer fits registers.
MOST_NODES: Final = 96


class Outline(Protocol):
    """What the form of a group's kernel follows from, while the group grows and afterwards."""

    @property
    def kind(self) -> GroupKind: ...
    @property
    def domain(self) -> Shape: ...
    @property
    def nodes(self) -> Sequence[Node]: ...
    @property
    def row(self) -> int: ...
    @property
    def reductions(self) -> Mapping[Key, Reduction]: ...
    @property
    def indexed(self) -> bool: ...
    @property
    def checked(self) -> bool: ...


def kept_apart(group: Outline, other: Outline, most: int) -> Reason | None:
    """Why two groups over one domain cannot be one kernel of ``most`` nodes by their forms."""
    gemms = (group.kind == "gemm") + (other.kind == "gemm")
    rows = {each.row for each in (group, other) if each.reductions}
    if gemms == 2:
        return TwoProducts()
    if gemms and rows:
        return ReductionInProduct()
    if gemms and (group.checked or other.checked):
        return LookupInProduct()
    if len(rows) > 1:
        return OtherRows(reduced_axes(group), reduced_axes(other))
    if any(row > 1 for row in rows) and (group.indexed or other.indexed):
        return PositionsInRow(max(rows))
    if len(group.nodes) + len(other.nodes) >= most:
        return TooLarge(len(group.nodes) + len(other.nodes), most)
    return None


def reduced_axes(group: Outline) -> tuple[int, ...]:
    """The trailing axes that the group reduces as its row."""
    rank = len(group.domain)
    return tuple(range(rank - group.row, rank))

"""Which groups may be one kernel by their forms, and how large a kernel may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from passes.fusion.buffers import Key
from passes.fusion.groups import GroupKind, Reduction
from staticgrad.ir.graph import Node

#: A group stops growing here: registers, and the time a kernel takes to compile, are limited.
MAX_NODES: Final = 48
#: Nodes of a group that was two: what need not be stored pays for what no longer fits registers.
MOST_NODES: Final = 96


class Outline(Protocol):
    """What the form of a group's kernel follows from, while the group grows and afterwards."""

    @property
    def kind(self) -> GroupKind: ...
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


def may_share(group: Outline, other: Outline, most: int) -> bool:
    """Whether the forms of two groups over one domain allow one kernel of ``most`` nodes."""
    gemms = (group.kind == "gemm") + (other.kind == "gemm")
    rows = {each.row for each in (group, other) if each.reductions}
    lost = any(row > 1 for row in rows) and (group.indexed or other.indexed)
    crowded = len(group.nodes) + len(other.nodes) >= most
    checked = gemms == 1 and (group.checked or other.checked)
    return not (gemms == 2 or len(rows) > 1 or (gemms and rows) or lost or crowded or checked)

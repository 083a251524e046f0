"""A group of nodes while it grows.

Which groups may be one kernel by their forms, and how large a kernel may become.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Final

from staticgrad.analysis.cost import LARGEST, LARGEST_EPILOGUE, instructions
from staticgrad.analysis.layout import Strided, is_one_run
from staticgrad.fusion import reasons
from staticgrad.fusion.groups import (
    Group,
    GroupKind,
    GroupReduction,
    Home,
    Key,
    Read,
    Source,
    TargetRegion,
    Transfer,
)
from staticgrad.ir.graph import Node
from staticgrad.records import dataclass
from staticgrad.types.arrays import Shape, product

#: Kinds of groups that begin with a product or with windows, whose operands lie in memory; what
#: follows is computed for each element of its result.
ANCHORED: Final = ("gemm", "windows")


def most_instructions(group: Draft | Group) -> int:
    """Return the largest number of instructions of a group's kernel."""
    return LARGEST_EPILOGUE if group.kind in ANCHORED else LARGEST


def kept_apart(group: Draft | Group, other: Draft | Group) -> reasons.Reason | None:
    """Why two groups over one domain cannot be one kernel by their forms, or for their size."""
    gemms = (group.kind in ANCHORED) + (other.kind in ANCHORED)
    rows = {each.row for each in (group, other) if each.reductions}
    if gemms == 2:
        return reasons.TwoProducts()
    if gemms and rows:
        return reasons.ReductionInProduct()
    if gemms and (group.checked or other.checked):
        return reasons.LookupInProduct()
    if "windows" in (group.kind, other.kind) and (group.keeps_axes or other.keeps_axes):
        return reasons.PositionsInWindows()
    if len(rows) > 1:
        return reasons.OtherRows(reduced_axes(group), reduced_axes(other))
    if any(row > 1 for row in rows) and (group.keeps_axes or other.keeps_axes):
        return reasons.PositionsInRow(max(rows))
    if any(breaks_rows(each, row) for row in rows for each in (group, other)):
        return reasons.BrokenRow(max(rows))
    most = min(most_instructions(group), most_instructions(other))
    if group.instructions + other.instructions > most:
        return reasons.TooLarge(group.instructions + other.instructions, most)
    return None


def elements_apart(one: Group, other: Group, reads: Sequence[Read]) -> reasons.Reason | None:
    """Why a group cannot compute the elements of another one that it reads; ``reads``: of those."""
    for read in reads:
        source = read.source
        if source.base in one.reductions:
            return reasons.Unfinished(tuple(one.domain[axis] for axis in reduced_axes(one)))
        if source.base in one.columns:
            return reasons.Unfinished(tuple(one.domain[axis] for axis in one.summed))
        if source.base in one.targets:  # whole only when the group has ended
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


@dataclass(eq=False)
class Draft:
    """A group while it grows; its fields are those of ``Group``, the nodes in any order."""

    number: int
    kind: GroupKind
    domain: Shape
    level: int
    phase: int
    nodes: list[Node] = field(default_factory=list)
    row: int = 0
    summed: tuple[int, ...] = ()
    reductions: dict[Key, GroupReduction] = field(default_factory=dict)
    indexed: bool = False
    windowed: bool = False
    checked: bool = False
    stored: dict[Key, None] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    regions: dict[Key, list[TargetRegion]] = field(default_factory=dict)
    instructions: int = 0
    merged_into: Draft | None = None
    open: dict[Node, None] = field(default_factory=dict)  # those that others may read

    @property
    def keeps_axes(self) -> bool:
        """True if some axis must have a loop of its own."""
        return self.indexed or self.windowed

    @property
    def last(self) -> tuple[int, int]:
        """The order of drafts that store parts of one value."""
        return self.level, self.number

    def targets(self) -> Iterator[Key]:
        """Yield the values whose parts the draft stores."""
        found = {region.target: None for several in self.regions.values() for region in several}
        yield from found
        if self.transfers and self.transfers[0].target not in found:
            yield self.transfers[0].target

    def add(self, node: Node) -> None:
        """Take in a node."""
        self.nodes.append(node)
        self.open[node] = None
        self.instructions += instructions(node)

    def accepts(self, phase: int, domain: Shape) -> bool:
        """Return whether a pointwise node may join, regardless of levels."""
        return (
            self.kind in ("map", *ANCHORED)
            and self.domain == domain
            and self.phase == phase
            and self.instructions < most_instructions(self)
        )

    def may_store(self, source: Source, layout: Strided, phase: int) -> bool:
        """Return whether a source is a whole value of the draft, storable under a layout too."""
        base = source.base
        if source.inline or not isinstance(base, Home) or base in self.reductions:
            return False
        if self.stores_parts_of(base):
            return False
        shape = base.node.types[base.result].shape
        whole = source.layout.is_contiguous(source.type.shape)
        if not whole or product(shape) != source.type.size or self.domain != shape:
            return False
        if self.kind not in ("map", "gemm") or self.phase != phase:
            return False
        found = layout.reshaped(source.type.shape, shape)
        return found is not None and is_one_run(found.strides, shape, self.row)

    def store_part(self, base: Key, shape: Shape, region: TargetRegion) -> None:
        """Store a value, which has some shape there, as a part of another one."""
        layout = region.layout.reshaped(shape, self.domain) or region.layout
        # An axis of one element may be the one that vectors run along, which must move.
        pairs = zip(layout.strides, self.domain, strict=True)
        moving = Strided(layout.offset, tuple([1 if n == 1 else step for step, n in pairs]))
        self.regions.setdefault(base, []).append(TargetRegion(region.target, moving))

    def stores_parts_of(self, key: Key) -> bool:
        """Return whether the draft stores parts of a value, or all of them."""
        if not self.regions:
            return False
        return any(each.target == key for several in self.regions.values() for each in several)

    def frozen(self, position: Mapping[Node, int]) -> Group:
        """The group that it is in the end; ``position``: where each node stands in the graph."""
        return Group(
            self.number,
            self.kind,
            self.domain,
            self.level,
            self.phase,
            tuple(sorted(self.nodes, key=position.__getitem__)),
            self.row,
            self.summed,
            self.reductions,
            self.indexed,
            self.windowed,
            self.checked,
            tuple(self.stored),
            tuple(self.transfers),
            {key: tuple(regions) for key, regions in self.regions.items()},
            instructions=self.instructions,
        )

    def absorb(self, other: Draft) -> None:
        """Take in all of another draft, which ends."""
        # The smaller join the larger: else a chain of drafts would take a square of its length.
        if len(self.nodes) < len(other.nodes):
            self.nodes, other.nodes = other.nodes, self.nodes
        if len(self.open) < len(other.open):
            self.open, other.open = other.open, self.open
        self.nodes += other.nodes
        self.open |= other.open
        self.instructions += other.instructions
        self.reductions |= other.reductions
        self.row = max(self.row, other.row)
        self.indexed |= other.indexed
        self.windowed |= other.windowed
        self.checked |= other.checked
        self.stored |= other.stored
        self.regions |= other.regions
        other.merged_into = self


def root_of(draft: Draft) -> Draft:
    """The draft into which one was merged in the end."""
    root = draft
    while root.merged_into is not None:
        root = root.merged_into
    while draft.merged_into is not None and draft.merged_into is not root:
        draft.merged_into, draft = root, draft.merged_into
    return root

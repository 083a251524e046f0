"""A group of nodes while it grows.

Who reads what drafts compute, of those that have a place so far and of all.

Which groups may be one kernel by their forms, and how large a kernel may become.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Final, Protocol

from staticgrad.analysis.cost import LARGEST, LARGEST_EPILOGUE, instructions
from staticgrad.analysis.layout import Strided, is_one_run
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.fusion.groups import (
    Group,
    GroupKind,
    GroupReduction,
    Home,
    Key,
    Source,
    TargetRegion,
    Transfer,
)
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
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Graph, Node
from staticgrad.records import dataclass
from staticgrad.types.arrays import Shape, product

#: Kinds of groups that begin with a product or with windows, whose operands lie in memory; what
#: follows is computed for each element of its result.
ANCHORED: Final = ("gemm", "windows")


class Outline(Protocol):
    """The properties of a group that determine the form of its kernel."""

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
    """Return the largest number of instructions of a group's kernel."""
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
    """Return whether stored parts are several runs of memory along the last ``row`` axes.

    A reduction of them, which has one result for a row, would then have one for each run.
    """
    regions = (each for several in group.regions.values() for each in several)
    return not all(is_one_run(each.layout.strides, group.domain, row) for each in regions)


def reduced_axes(group: Outline) -> tuple[int, ...]:
    """The trailing axes that the group reduces as its row."""
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
    transfer: Transfer | None = None
    regions: dict[Key, list[TargetRegion]] = field(default_factory=dict)
    instructions: int = 0
    merged_into: Draft | None = None
    open: dict[Node, None] = field(default_factory=dict)  # those that others may read
    beside: list[Transfer] = field(default_factory=list)
    waits: bool = False  # comes later than it could: behind numbers that its nodes read

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
        if self.transfer is not None and self.transfer.target not in found:
            yield self.transfer.target

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
            self.transfer,
            {key: tuple(regions) for key, regions in self.regions.items()},
            instructions=self.instructions,
            beside=tuple(self.beside),
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


def let_the_last_own(drafts: Iterable[Draft], homes: dict[Key, Draft]) -> None:
    """Make the last draft that stores parts of a value the home of that value.

    Of equal levels that is the one of the highest number, so that drafts which store parts of
    several values come in one order for all of them.
    """
    writers: dict[Key, list[Draft]] = {}
    for draft in drafts:
        for target in draft.targets():
            writers.setdefault(target, []).append(draft)
    for target, several in writers.items():
        home, last = root_of(homes[target]), max(several, key=lambda each: each.last)
        if home in several and home is not last:
            if target in home.stored:
                del home.stored[target]
                last.stored[target] = None
            homes[target] = last


class DraftReaders:
    """The nodes of a graph, their sources, and the drafts that compute them."""

    def __init__(self, graph: Graph) -> None:
        self._sources: dict[ValueKey, Source] = {}
        self._homes: dict[Key, Draft] = {}
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}

    def _home(self, key: Key) -> Draft | None:
        draft = self._homes.get(key)
        if draft is not None and draft.merged_into is not None:
            draft = self._homes[key] = root_of(draft)
        return draft

    def _read_only_by(
        self, draft: Draft, reader: Node, other: Draft | None = None, roots: bool = False
    ) -> bool:
        """Return whether only ``reader`` and the nodes of ``other`` read a pointwise draft.

        With ``roots`` its values may be outputs and updates besides: a later kernel stores them.
        """
        if not _is_unbound(draft, "map"):
            return False
        closed, elsewhere = [], None
        for node in reversed(draft.open):
            if self._is_read_by(node, draft, None, None):
                closed.append(node)  # for good: nobody leaves a draft
            elif not self._is_read_by(node, draft, reader, other, roots):
                elsewhere = node
                break
        for node in closed:
            del draft.open[node]
        if elsewhere is not None:  # asked first the next time: most often it still is
            draft.open[elsewhere] = draft.open.pop(elsewhere)
        return elsewhere is None

    def _is_read_by(
        self,
        node: Node,
        draft: Draft,
        reader: Node | None,
        other: Draft | None,
        roots: bool = False,
    ) -> bool:
        """Return whether only ``reader`` and the nodes of two drafts read a node's value."""
        return (roots or (node, 0) not in self._roots) and all(
            user is reader or self._computes(user, draft, other) for user in self._users[node, 0]
        )

    def _computes(self, node: Node, draft: Draft, other: Draft | None) -> bool:
        key = Home(node)
        home = self._home(key)
        return home is not None and home in (draft, other) and key not in home.reductions

    def _comes_with(self, other: Draft, node: Node, best: Draft) -> bool:
        """Return whether a draft of a lower level may be computed in ``best``, beside ``node``."""
        if self._read_only_by(other, node, best, roots=True):
            return True
        if not best.waits:
            return False
        users = [user for each in other.nodes for user in self._users[each, 0]]
        alike = all(
            isinstance(user.form, Pointwise) and user.types[0].shape == other.domain
            for user in users
        )
        return alike and other.kind == "map" and self._is_unread(other, best)

    def _is_unread(self, draft: Draft, other: Draft | None = None) -> bool:
        """Whether nobody with a place, but for the nodes of two drafts, reads one without one."""
        return _is_unbound(draft, "map", "gemm") and all(
            (user, 0) not in self._sources or self._home(Home(user)) in (draft, other or draft)
            for node in draft.nodes
            for user in self._users[node, 0]
        )


def _is_unbound(draft: Draft, *kinds: GroupKind) -> bool:
    bound = draft.reductions or draft.stored or draft.checked or draft.regions
    return draft.kind in kinds and not bound

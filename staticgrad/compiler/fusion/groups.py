"""Fusion groups: which nodes share a kernel, which group computes each buffer, what is stored.

Buffers have no names or bytes yet: a key names the node and the purpose of its buffer. Most values
have one buffer, their home. A reduction in two steps has another for its partial results, a checked
look-up one for the index that failed, and a value that is needed elsewhere or in another order has
copies.

``Groups`` is a frozen value: ``grouping.group`` builds it from a graph, ``engine.Engine.run`` and
``copies.add_copies`` rewrite it, and ``lowering.fuse`` lowers it to a Schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import field
from typing import Any, Final, Literal

from staticgrad.analysis.cycles import LARGEST, LARGEST_EPILOGUE, instructions
from staticgrad.analysis.layout import Strided, is_one_run
from staticgrad.analysis.liveness import ValueKey
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.types.arrays import Shape, TensorType, hint_bytes, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import NamedTuple, dataclass, replace
from staticgrad.support.source import Location

GroupKind = Literal[
    "map", "rows", "columns", "gemm", "windows", "scatter", "scan", "sort", "copy", "block",
    "call", "body"
]  # fmt: skip

# -- the buffers that belong to a node ------------------------------------------------------------


class ResultBuffer(NamedTuple):
    """The buffer of a result of a node; equal to the value's key."""

    node: Node
    result: int = 0


@dataclass(frozen=True, slots=True)
class PartialBuffer:
    """The rows of a reduction that combines its other axes in a second step."""

    node: Node


@dataclass(frozen=True, slots=True)
class ChunkBuffer:
    """The results of the chunks of a long row; ``partial``: of the first of a node's two steps."""

    node: Node
    partial: bool


@dataclass(frozen=True, slots=True)
class CheckBuffer:
    """The check words of a node that looks up indices; ``inside``: of a node in its body."""

    node: Node
    inside: str = ""
    origin: Location | None = None


@dataclass(frozen=True, slots=True)
class ScratchBuffer:
    """A scratch buffer of the kernel of a node; one of several."""

    node: Node
    number: int = 0


@dataclass(frozen=True, slots=True)
class CopyBuffer:
    """Copy ``number`` of something that a node computes; all copies of a graph count as one row."""

    node: Node
    number: int


Key = ResultBuffer | PartialBuffer | ChunkBuffer | CheckBuffer | ScratchBuffer | CopyBuffer


# -- what groups read -----------------------------------------------------------------------------


class Source(NamedTuple):
    """The source of a read: ``layout`` over the buffer ``base``, or inline at ``depth`` > 0.

    An inline value is recomputed in each reader. ``direct``: it is the base itself, not a view of
    it, so its own group reads it from registers. ``uniform``: an inline value with the same number
    everywhere, so that a view of it is the same.
    """

    base: Key
    type: TensorType
    layout: Strided
    direct: bool = True
    depth: int = 0
    uniform: bool = False

    @property
    def inline(self) -> bool:
        return self.depth > 0


class Read(NamedTuple):
    """A read of a group: node ``reader`` reads ``source``.

    ``elementwise``: at each index it reads one element, that of the same index if the shapes agree.
    """

    reader: Node
    source: Source
    elementwise: bool


#: Builds a ``Read`` of a tuple, in half of the time of a call of the class: there are thousands.
_read: Final = tuple.__new__


class Walk(NamedTuple):
    """The offset and strides of an operand over the axes of a domain, in elements."""

    base: Key
    offset: Size
    strides: Shape


#: Rows of a tile, and of one whose columns end with its rows: half of the last ones are zeros. They
#: divide a block of a sum. Half as many took up to 1.2 of the time: every tile reads a factor of
#: each of its products whole, and the sums that go on from tile to tile twice.
TILE, CUT_TILE = 64, 32


# -- groups ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupReduction:
    """One reduction of a group: ``source`` combined over the group's row (or columns)."""

    source: Source
    kind: str


@dataclass(frozen=True)
class Transfer:
    """``source`` (None: the number ``fill``) written to elements of ``dtype`` in ``target``.

    ``layout``: of the source's axes in the buffer ``target``.
    """

    target: Key
    dtype: DType
    layout: Strided
    source: Source | None
    fill: bool | int | float = 0


class TargetRegion(NamedTuple):
    """A part of the buffer ``target`` that a group stores a value to, besides its own buffer.

    ``layout``: of the value's axes in ``target``.
    """

    target: Key
    layout: Strided


class Slot(NamedTuple):
    """A part of the scratch, named after a node; ``all_tiles``: it holds the rows of all tiles."""

    node: Node
    all_tiles: bool


class RowStage(NamedTuple):
    """One loop over a row: ordered nodes, its reductions, and values that later stages read.

    ``available``: the reductions whose results it may read. ``ends``: it ends where its tile does.
    """

    nodes: tuple[Node, ...]
    reductions: tuple[Key, ...]
    live_out: tuple[Key, ...]
    available: tuple[Key, ...]
    ends: bool


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of a block.

    ``inside``: all values that it computes. ``epilogues``: for each product of queries and keys,
    the nodes that its kernel computes with it. ``elementwise``: all nodes other than products.
    ``reach``: a mask allows columns up to row + reach and forbids all further ones. ``short``:
    products that skip the masked columns. ``mask_values``: for each reduction that skips them, the
    number that masked elements have. ``masked_reads``: values whose masked elements are read.
    ``carried``: sums over columns continue from tile to tile, since the scratch for all rows would
    be too large.
    """

    scores: tuple[Node, ...]
    over_rows: tuple[Node, ...]
    over_columns: tuple[Node, ...]
    elementwise: tuple[Node, ...]
    wide: frozenset[Key]
    per_row: frozenset[Key]
    inside: frozenset[Key]
    epilogues: Mapping[Node, tuple[Node, ...]]
    stages: tuple[RowStage, ...]
    row_nodes: tuple[Node, ...]
    slots: Mapping[Key, Slot]
    reach: int
    short: frozenset[Node]
    mask_values: Mapping[Key, bool | int | float]
    masked_reads: frozenset[Key]
    carried: bool

    @property
    def tile(self) -> int:
        """Rows of a tile."""
        return CUT_TILE if self.mask_values or self.short else TILE

    @property
    def tile_end(self) -> int:
        """The first column, counted from the first row of a tile, that no product reads."""
        return self.tile * ((self.tile - 1 + self.reach) // self.tile + 1)

    @property
    def products(self) -> tuple[Node, ...]:
        """All products."""
        return (*self.scores, *self.over_rows, *self.over_columns)


@dataclass(frozen=True, eq=False)
class GroupCut:
    """The reason why a group was cut, which is the group ``uncut_group``.

    ``fused_cycles``, ``split_cycles``: estimates per vector for one kernel, and for all parts.
    ``long_row``: the elements of a row that is reduced by a kernel of its own, or in chunks.
    ``copies``: how many operands one kernel would need to copy for contiguous rows.
    """

    uncut_group: Group
    fused_cycles: int
    split_cycles: int
    long_row: int = 0
    copies: int = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes that one kernel computes over ``domain``, in the order of the graph.

    ``number``: its index in the order in which groups were begun. ``level``: one more than the
    highest level that it read when it was begun. ``phase``: the highest derivative order that it
    depends on, its own nodes included. ``row``: how many trailing axes its reductions combine; in
    a group of kind ``rows``, nodes read their results for the same row, and may have one element
    per row themselves (``walks``). ``summed``: the axes of a columns group.

    ``indexed``: some node reads its index, so axes must not be merged. ``windowed``: some node
    reads parts only where an index is inside them, so the axes along which parts end must not be
    merged. ``checked``: some node looks up indices, or searches, which only a map supports.

    ``stored``: its values that other groups read. ``transfers``: the copies of a copy group; if
    several write the same rows, each part has ``row`` axes. ``copied``: operands that are read
    through a contiguous copy over the domain; in a group of kind ``call`` or ``body``, the operands
    that are not in C order. ``regions``: its values that are parts of other buffers, and where they
    are stored there. ``streamed``: its values written by streaming stores.

    ``instructions``: an estimate for one vector of elements. ``cut``: why and of which group it
    is a part; the instructions are those of the uncut group. ``columns``: reductions of a group of
    rows over ``summed``, its rows, into partial results. ``chunk``: if not 0, its reductions give
    one result per chunk of so many elements, not per row. ``image``: the group that computes the
    elements that its windows read, over a domain of its own; ``stored`` lists its stored values,
    too. ``roles``: the parts of a block. ``in_place``: a result of a map over several axes will
    probably be stored over an operand that is read here for the last time.
    """

    number: int
    kind: GroupKind
    domain: Shape
    level: int
    phase: int
    nodes: tuple[Node, ...] = ()
    row: int = 0
    summed: tuple[int, ...] = ()
    reductions: Mapping[Key, GroupReduction] = field(default_factory=dict)
    indexed: bool = False
    windowed: bool = False
    checked: bool = False
    stored: tuple[Key, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    regions: Mapping[Key, tuple[TargetRegion, ...]] = field(default_factory=dict)
    copied: Mapping[Walk | Source, Key] = field(default_factory=dict)
    instructions: int = 0
    cut: GroupCut | None = None
    columns: Mapping[Key, GroupReduction] = field(default_factory=dict)
    chunk: int = 0
    streamed: tuple[Key, ...] = ()
    image: Group | None = None
    roles: Roles | None = None
    in_place: bool = False

    @property
    def targets(self) -> Sequence[Key]:
        """The values whose parts the group stores."""
        targets = [region.target for regions in self.regions.values() for region in regions]
        return [*dict.fromkeys([*targets, *(transfer.target for transfer in self.transfers)])]

    @property
    def keeps_axes(self) -> bool:
        """True if some axis must have a loop of its own."""
        return self.indexed or self.windowed

    @property
    def uncut_group(self) -> Group:
        """The group before cutting, or the group itself."""
        return self if self.cut is None else self.cut.uncut_group

    @property
    def members(self) -> tuple[Node, ...]:
        """All nodes that it computes values for, each once."""
        if self.transfers:
            return (self.transfers[0].target.node,)
        results = [key.node for key in (*self.reductions, *self.columns)]
        image_members = () if self.image is None else self.image.members
        return tuple(dict.fromkeys([*image_members, *self.nodes, *results]))


@dataclass(frozen=True, eq=False)
class GroupValues:
    """The sources and owners of all values, which lowering needs besides a group.

    ``owners``: the number of the group that computes each buffer; leaves and inline values have
    none. ``types``: types of buffers that are not a result of a node.
    """

    owners: Mapping[Key, int]
    sources: Mapping[ValueKey, Source]
    types: Mapping[Key, TensorType]

    def source(self, value: Symbolic) -> Source:
        """Return the source that ``value`` is read from."""
        return self.sources[value.key]

    def expand_inline(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield sources in memory; an inline source is replaced by the ones it is computed from."""
        for source in sources:
            if source.inline:
                yield from self.expand_inline(
                    self.sources[arg.key] for arg in source.base.node.args
                )
            else:
                yield source

    def operand_locations(self, group: Group) -> list[tuple[Key, Size]]:
        """Return the buffer and offset of each operand of a call group, in C order."""
        (node,) = group.nodes
        sources = [self.source(arg) for arg in node.args]
        return [
            (group.copied[source], 0)
            if source in group.copied
            else (source.base, source.layout.offset)
            for source in sources
        ]

    def value_type(self, key: Key) -> TensorType:
        """Return the element type and shape of a buffer."""
        return key.node.types[key.result] if isinstance(key, ResultBuffer) else self.types[key]

    def computes(self, group: Group, key: Key) -> bool:
        """Return whether a group computes a buffer."""
        return self.owners.get(key) == group.number


@dataclass(frozen=True, eq=False)
class Groups(GroupValues):
    """The groups of a graph by number, and how every value of it is read.

    ``retained``: values that the user wants in memory until their last use. ``fused`` False: every
    node has a group of its own. ``cached_reads``: the cache of ``reads``, valid for all groups over
    ``sources``.
    """

    graph: Graph
    by_number: Mapping[int, Group]
    retained: AbstractSet[Key]
    phases: Mapping[Node, int]
    users: Mapping[ValueKey, Sequence[Node]]
    roots: AbstractSet[ValueKey]
    fused: bool
    cached_reads: dict[Group, Sequence[Read]] = field(default_factory=dict)

    @property
    def all(self) -> Sequence[Group]:
        """The groups, in the order in which they were begun."""
        return [*self.by_number.values()]

    def __len__(self) -> int:
        return len(self.by_number)

    def home(self, key: Key) -> Group | None:
        """Return the group that computes a buffer; None for leaves and inline values."""
        number = self.owners.get(key)
        return None if number is None else self.by_number[number]

    def stores(self, key: Key) -> bool:
        """Return whether a kernel stores the value for other groups."""
        home = self.home(key)
        return home is not None and key in home.stored

    def reads(self, group: Group) -> Sequence[Read]:
        """Return the reads of a group, including its own values and the operands of inline ones."""
        reads = self.cached_reads.get(group)
        if reads is None:
            reads = self.cached_reads[group] = self._list_reads(group)
        return reads

    def _list_reads(self, group: Group) -> list[Read]:
        """List each read of a buffer by a group's nodes, reductions and copies."""
        reads = [] if group.image is None else self._list_reads(group.image)
        sources = self.sources
        pending = [
            _read(Read, (node, sources[arg.node, arg.index], elementwise))
            for node in group.nodes
            for elementwise in [isinstance(node.form, Pointwise)]
            for arg in node.args
        ]
        pending += [Read(key.node, r.source, True) for key, r in group.reductions.items()]
        pending += [Read(key.node, r.source, True) for key, r in group.columns.items()]
        for transfer in group.transfers:
            if transfer.source is not None:
                pending.append(Read(transfer.target.node, transfer.source, False))
        while pending:
            read = pending.pop()
            if read.source.depth:  # inline: its operands are read
                args = read.source.base.node.args
                pending += [Read(read.reader, sources[arg.key], False) for arg in args]
            else:
                reads.append(read)
        return reads


def split_results(group: Group, **changes: Any) -> Group:
    """Return the reductions of a group as a group of their own, which reads its terms in memory."""
    stored = tuple([key for key in group.stored if key in group.reductions])
    return replace(group, **{"nodes": (), "stored": stored, "instructions": 1, **changes})


def meets_elements(source: Source, domain: Shape) -> bool:
    """Return whether a reader over ``domain`` reads the element at its own index."""
    return source.direct and source.depth == 0 and source.type.shape == domain


def needs_home(source: Source) -> bool:
    """Return whether an inline value must be computed before it can be read from a buffer."""
    return source.inline and not isinstance(source.base.node.op, Constant)


def stored_bytes(groups: Groups, keys: Iterable[Key]) -> int:
    """Return the bytes of these buffers, sizes at their hints."""
    return sum(hint_bytes(groups.value_type(key)) for key in keys)


# -- groups while they grow -----------------------------------------------------------------------

#: Kinds of groups that begin with a product or with windows, whose operands must be in memory; the
#: nodes after it are its epilogue, computed for each element of its result.
ANCHORED: Final = ("gemm", "windows")


def most_instructions(group: Cluster | Group) -> int:
    """Return the largest number of instructions of a group's kernel."""
    return LARGEST_EPILOGUE if group.kind in ANCHORED else LARGEST


@dataclass(eq=False)
class Cluster:
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
    merged_into: Cluster | None = None

    @property
    def keeps_axes(self) -> bool:
        """True if some axis must have a loop of its own."""
        return self.indexed or self.windowed

    @property
    def write_order(self) -> tuple[int, int]:
        """The order of clusters that store parts of one value."""
        return self.level, self.number

    def targets(self) -> Iterator[Key]:
        """Yield the values whose parts the cluster stores."""
        targets = {region.target: None for regions in self.regions.values() for region in regions}
        yield from targets
        if self.transfers and self.transfers[0].target not in targets:
            yield self.transfers[0].target

    def add(self, node: Node) -> None:
        """Add a node."""
        self.nodes.append(node)
        self.instructions += instructions(node)

    def accepts(self, phase: int, domain: Shape) -> bool:
        """Return True if a pointwise node of this phase and shape may join the cluster."""
        return (
            self.kind in ("map", *ANCHORED)
            and self.domain == domain
            and self.phase == phase
            and self.instructions < most_instructions(self)
        )

    def may_store(self, source: Source, layout: Strided, phase: int) -> bool:
        """Return True if a cluster can store a whole value of it with a given layout."""
        base = source.base
        if source.inline or not isinstance(base, ResultBuffer) or base in self.reductions:
            return False
        if self.stores_parts_of(base):
            return False
        shape = base.node.types[base.result].shape
        is_contiguous = source.layout.is_contiguous(source.type.shape)
        if not is_contiguous or product(shape) != source.type.size or self.domain != shape:
            return False
        if self.kind not in ("map", "gemm") or self.phase != phase:
            return False
        relayout = layout.reshape(source.type.shape, shape)
        return relayout is not None and is_one_run(relayout.strides, shape, self.row)

    def store_part(self, base: Key, shape: Shape, region: TargetRegion) -> None:
        """Store a value, viewed with this shape, as a part of another one."""
        layout = region.layout.reshape(shape, self.domain) or region.layout
        # An axis of one element may be the one that is vectorized, which must have a stride.
        pairs = zip(layout.strides, self.domain, strict=True)
        moving = Strided(layout.offset, tuple([1 if n == 1 else step for step, n in pairs]))
        self.regions.setdefault(base, []).append(TargetRegion(region.target, moving))

    def stores_parts_of(self, key: Key) -> bool:
        """Return whether the cluster stores parts of a value."""
        if not self.regions:
            return False
        return any(region.target == key for regions in self.regions.values() for region in regions)

    def freeze(self, position: Mapping[Node, int]) -> Group:
        """Return the finished fusion group of a cluster; ``position``: each node's graph index."""
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

    def absorb(self, cluster: Cluster) -> None:
        """Move the nodes, reductions and results of another cluster into this one."""
        self.nodes += cluster.nodes
        self.instructions += cluster.instructions
        self.reductions |= cluster.reductions
        self.row = max(self.row, cluster.row)
        self.indexed |= cluster.indexed
        self.windowed |= cluster.windowed
        self.checked |= cluster.checked
        self.stored |= cluster.stored
        self.regions |= cluster.regions
        cluster.merged_into = self


def root_of(cluster: Cluster) -> Cluster:
    """Return the cluster into which one was merged in the end (union-find, compressing paths)."""
    root = cluster
    while root.merged_into is not None:
        root = root.merged_into
    while cluster.merged_into is not None and cluster.merged_into is not root:
        cluster.merged_into, cluster = root, cluster.merged_into
    return root

"""Fusion groups: which nodes share a kernel, which group owns each buffer, and what is stored.

Buffers have no names and bytes yet: a key says what a node needs one for. Most values have one,
their home. A reduction in two steps has one for its partial results, a checked look-up one for the
position that failed, and a value that must lie elsewhere, or in another order, has copies.
``Groups`` is a frozen value. ``grouping.group`` makes one of a graph, ``engine.Engine.run`` and
``copies.with_copies`` make another of it, and ``lowering.fuse`` makes a Schedule of the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import field
from typing import Any, Final, Literal

from staticgrad.analysis.cost import LARGEST, LARGEST_EPILOGUE, instructions
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


class Home(NamedTuple):
    """The buffer of a result of a node; equal to the value's key."""

    node: Node
    result: int = 0


@dataclass(frozen=True, slots=True)
class Partial:
    """The rows of a reduction that combines its other axes in a second step."""

    node: Node


@dataclass(frozen=True, slots=True)
class Pieces:
    """The results of the pieces of a long row; ``partial``: of the first of a node's two steps."""

    node: Node
    partial: bool


@dataclass(frozen=True, slots=True)
class CheckBuffer:
    """The check words of a node that looks up places; of one in a body of the node, ``inside``."""

    node: Node
    inside: str = ""
    origin: Location | None = None


@dataclass(frozen=True, slots=True)
class ScratchBuffer:
    """A scratch buffer of the kernel of a node; one of several."""

    node: Node
    number: int = 0


@dataclass(frozen=True, slots=True)
class Copied:
    """Copy ``number`` of something that a node computes; all copies of a graph count as one row."""

    node: Node
    number: int


Key = Home | Partial | Pieces | CheckBuffer | ScratchBuffer | Copied


# -- what groups read -----------------------------------------------------------------------------


class Source(NamedTuple):
    """A value as it is read: ``layout`` over the buffer ``base``, or inline at ``depth`` > 0.

    An inline value is rebuilt in each reader. ``direct``: it is the base itself, not a view of it,
    so its own group reads it from registers. ``uniform``: an inline value with the same number
    everywhere, so a view of it is the same.
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
    """What a group reads: ``reader`` reads ``source``.

    ``elementwise``: at each position it reads one element, that of the same position if the shapes
    agree.
    """

    reader: Node
    source: Source
    elementwise: bool


#: What makes one of a tuple, in half of the time of a call of ``Read``: there are thousands.
_read: Final = tuple.__new__


class Walk(NamedTuple):
    """The offset and strides of an operand over the axes of a domain, in elements."""

    base: Key
    offset: Size
    strides: Shape


#: Rows of a tile, and of one whose columns end with its rows: half of the last ones are zeros.
TILE, CUT_TILE = 32, 16


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
    """Where in the buffer ``target`` a group stores a value, besides its own buffer if it has one.

    ``layout``: of the value's axes.
    """

    target: Key
    layout: Strided


class Slot(NamedTuple):
    """A part of the scratch, called after a node; ``whole``: it holds the rows of all tiles."""

    node: Node
    whole: bool


class RowStage(NamedTuple):
    """One loop over a row: ordered nodes, its reductions, and values kept for later stages.

    ``known`` are the reductions whose results it may read. ``ends``: it ends where its tile does.
    """

    nodes: tuple[Node, ...]
    reductions: tuple[Key, ...]
    kept: tuple[Key, ...]
    known: tuple[Key, ...]
    ends: bool


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of a block.

    ``inside``: all that it computes. ``epilogues``: of each product of queries and keys the nodes
    that its kernel computes with it. ``elementwise``: all nodes that are no products. ``reach``:
    how far behind a row columns may lie that masks allow, where all further ones are forbidden.
    ``short``: products that leave those out; ``beyond``: of reductions that do, the number there.
    ``wanted``: values that somebody reads there, whoever computes them. ``carried``: sums over
    columns go on from tile to tile, since the scratch for all rows is too large.
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
    beyond: Mapping[Key, bool | int | float]
    wanted: frozenset[Key]
    carried: bool

    @property
    def tile(self) -> int:
        """Rows of a tile."""
        return CUT_TILE if self.beyond or self.short else TILE

    @property
    def tile_end(self) -> int:
        """The first column, counted from the first row of a tile, that no product reads of it."""
        return self.tile * ((self.tile - 1 + self.reach) // self.tile + 1)

    @property
    def products(self) -> tuple[Node, ...]:
        """All products."""
        return (*self.scores, *self.over_rows, *self.over_columns)


@dataclass(frozen=True, eq=False)
class Parts:
    """Into what a group was cut: estimates of cycles per vector as one kernel, and in parts.

    ``long_row``: how many elements a row has that is reduced apart from them, or in pieces.
    ``copies``: how many operands one kernel would need as rows that are one run of memory.
    """

    whole: Group
    together: int
    apart: int
    long_row: int = 0
    copies: int = 0


@dataclass(frozen=True, eq=False)
class Group:
    """Nodes that one kernel computes over ``domain``, in the order of the graph.

    ``number``: its place in the order in which groups were begun. ``level``: one more than the
    highest level that it read when it was begun. ``phase``: the highest derivative order that it
    depends on, its own nodes included. ``row``: how many trailing axes its reductions combine;
    in a group of kind ``rows`` nodes read their results for the same row, and may have one element
    per row themselves (``walks``). ``summed``: the axes of a columns group. ``indexed``: some
    node asks for its position, so axes keep their identity. ``windowed``: some node reads parts
    where a position lies in them, so the axes along which they have ends do. ``checked``: some node
    looks up indices, or searches, which only a map can. ``stored``: its values that somebody
    outside reads. ``transfers``: what a copy group does; of several into the same rows a part has
    ``row`` axes. ``copied``: operands that are read through a
    contiguous copy over the domain. ``instructions``: an estimate for one vector of elements.
    In a group of kind ``call`` or ``body``, ``copied`` has the operands that do not lie in C order.
    ``parts``: of which cut group it is a part; the instructions are those of the whole.
    ``columns``: what a group of rows combines over ``summed``, its rows, into partial results.
    ``regions``: its values that are parts of others, and where they lie in those.
    ``pieces``: of so many elements its reductions give a result each, not of a row.
    ``streamed``: its values written by streaming stores. ``image``: what computes the elements
    that its windows are read of, over a domain of its own; what is stored of those stands in
    ``stored``, too.
    ``roles``: of a block, what its nodes are to it. ``in_place``: a result of a map over several
    axes will probably be stored over an operand that is read last here.
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
    parts: Parts | None = None
    columns: Mapping[Key, GroupReduction] = field(default_factory=dict)
    pieces: int = 0
    streamed: tuple[Key, ...] = ()
    image: Group | None = None
    roles: Roles | None = None
    in_place: bool = False

    @property
    def targets(self) -> Sequence[Key]:
        """The values whose parts the group stores."""
        found = [region.target for several in self.regions.values() for region in several]
        return [*dict.fromkeys([*found, *(each.target for each in self.transfers)])]

    @property
    def keeps_axes(self) -> bool:
        """True if some axis must have a loop of its own."""
        return self.indexed or self.windowed

    @property
    def whole(self) -> Group:
        """The group before cutting, or the group itself."""
        return self if self.parts is None else self.parts.whole

    @property
    def members(self) -> tuple[Node, ...]:
        """All nodes that it computes values for, each once."""
        if self.transfers:
            return (self.transfers[0].target.node,)
        results = [key.node for key in (*self.reductions, *self.columns)]
        before = () if self.image is None else self.image.members
        return tuple(dict.fromkeys([*before, *self.nodes, *results]))


@dataclass(frozen=True, eq=False)
class GroupValues:
    """How values are read, and which group computes each: what lowering sees beside a group.

    ``owners``: the number of the group that computes each buffer; leaves and inline values have
    none. ``types``: of buffers that are no result of a node.
    """

    owners: Mapping[Key, int]
    sources: Mapping[ValueKey, Source]
    types: Mapping[Key, TensorType]

    def source(self, value: Symbolic) -> Source:
        """Return the source that ``value`` is read from."""
        return self.sources[value.key]

    def behind(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Yield what is read in memory: of an inline source what it is rebuilt of."""
        for source in sources:
            if source.inline:
                yield from self.behind(self.sources[arg.key] for arg in source.base.node.args)
            else:
                yield source

    def places_of_operands(self, group: Group) -> list[tuple[Key, Size]]:
        """Where operands of a group's only node lie in C order: a buffer, an element of it."""
        (node,) = group.nodes
        sources = [self.source(arg) for arg in node.args]
        return [
            (group.copied[each], 0) if each in group.copied else (each.base, each.layout.offset)
            for each in sources
        ]

    def value_type(self, key: Key) -> TensorType:
        """Element type and shape of a buffer."""
        return key.node.types[key.result] if isinstance(key, Home) else self.types[key]

    def computes(self, group: Group, key: Key) -> bool:
        """Return whether a group computes a buffer."""
        return self.owners.get(key) == group.number


@dataclass(frozen=True, eq=False)
class Groups(GroupValues):
    """The groups of a graph by number, and how every value of it is read.

    ``kept``: values that the user wants in memory until their last use. ``fused`` False: every node
    has a group of its own. ``known_reads``: what groups read, as far as it was asked; good for all
    groups over ``sources``.
    """

    graph: Graph
    by_number: Mapping[int, Group]
    kept: AbstractSet[Key]
    phases: Mapping[Node, int]
    users: Mapping[ValueKey, Sequence[Node]]
    roots: AbstractSet[ValueKey]
    fused: bool
    known_reads: dict[Group, Sequence[Read]] = field(default_factory=dict)

    @property
    def all(self) -> Sequence[Group]:
        """The groups, in the order in which they were begun."""
        return [*self.by_number.values()]

    def __len__(self) -> int:
        return len(self.by_number)

    def home(self, key: Key) -> Group | None:
        """The group that computes a buffer; None for leaves and inline values."""
        number = self.owners.get(key)
        return None if number is None else self.by_number[number]

    def stores(self, key: Key) -> bool:
        """Return whether a kernel stores the value for other groups."""
        home = self.home(key)
        return home is not None and key in home.stored

    def reads(self, group: Group) -> Sequence[Read]:
        """Return the reads of a group, of its own values and behind inline values too."""
        found = self.known_reads.get(group)
        if found is None:
            found = self.known_reads[group] = [*self._reads(group)]
        return found

    def _reads(self, group: Group) -> Iterator[Read]:
        if group.image is not None:
            yield from self._reads(group.image)
        sources = self.sources
        waiting = [
            _read(Read, (node, sources[arg.node, arg.index], elementwise))
            for node in group.nodes
            for elementwise in [isinstance(node.form, Pointwise)]
            for arg in node.args
        ]
        waiting += [Read(key.node, r.source, True) for key, r in group.reductions.items()]
        waiting += [Read(key.node, r.source, True) for key, r in group.columns.items()]
        for each in group.transfers:
            if each.source is not None:
                waiting.append(Read(each.target.node, each.source, False))
        while waiting:
            read = waiting.pop()
            if read.source.inline:
                args = read.source.base.node.args
                waiting += [Read(read.reader, sources[arg.key], False) for arg in args]
            else:
                yield read


def results_apart(group: Group, **changes: Any) -> Group:
    """Return the reductions of a group as a group of their own, of what lies in memory."""
    stored = tuple([key for key in group.stored if key in group.reductions])
    return replace(group, **{"nodes": (), "stored": stored, "instructions": 1, **changes})


def meets_elements(source: Source, domain: Shape) -> bool:
    """Return whether a reader over ``domain`` reads the element at its own index."""
    return source.direct and source.depth == 0 and source.type.shape == domain


def needs_home(source: Source) -> bool:
    """Return whether an inline value must be computed before it can be read from a buffer."""
    return source.inline and not isinstance(source.base.node.op, Constant)


def stored_bytes(groups: Groups, keys: Iterable[Key]) -> int:
    """Bytes of these buffers, sizes at their hints."""
    return sum(hint_bytes(groups.value_type(key)) for key in keys)


# -- groups while they grow -----------------------------------------------------------------------

#: Kinds of groups that begin with a product or with windows, whose operands lie in memory; what
#: follows is computed for each element of its result.
ANCHORED: Final = ("gemm", "windows")


def most_instructions(group: Draft | Group) -> int:
    """Return the largest number of instructions of a group's kernel."""
    return LARGEST_EPILOGUE if group.kind in ANCHORED else LARGEST


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
        self.nodes += other.nodes
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

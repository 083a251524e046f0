"""Which nodes share a kernel: one walk over the graph that grows groups, near-linear.

A group is a set of nodes over one iteration domain. A value is either *inline* (a literal, a size,
a position: rebuilt in each reader) or has a *home*, the group that computes it, and is stored only
if somebody outside that group reads it. Views share the bytes of their base.

Why groups never form a cycle: a group has a level, one more than the highest level it reads. A
node joins a group only if all it reads from elsewhere has a lower level, so no path can leave a
group and come back. A group holds nodes of one *phase* (0 forward, 1 what needs a gradient), so
that the memory policy may run forward kernels again; ``merging`` then joins a backward
group to a forward one where that stores fewer bytes.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from passes.fusion.merging import merge_across_phases
from passes.layout import Layout
from staticgrad.analysis.users import phases_of, users_of
from staticgrad.ir.forms import (
    Assemble,
    Contract,
    Gather,
    GatherAlong,
    Leaf,
    Pointwise,
    Reduce,
    Region,
    Reshape,
    Same,
    Scan,
    ScatterAdd,
    ScatterAlong,
    Search,
    Sort,
    View,
)  # fmt: skip
from staticgrad.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.ir.summation import decompose
from staticgrad.types.tensor import Shape, TensorType

#: A group stops growing here: registers, and the time a kernel takes to compile, are limited.
MAX_NODES: Final = 48
#: Scalars of scalars stay inline up to this depth; deeper ones get a kernel.
MAX_INLINE_DEPTH: Final = 3

#: A node's result by its index. Negative indices are further buffers that belong to a node: the
#: partial result of a two-step reduction, its check words, scratch, and copies, numbered downwards.
Key = tuple[Node, int]
PARTIAL: Final = -1
CHECK: Final = -2
SCRATCH: Final = -3
FIRST_COPY: Final = -4
GroupKind = Literal["map", "columns", "gemm", "scatter", "scan", "sort", "copy"]


class Source(NamedTuple):
    """A value as it is read: ``layout`` over the buffer of ``base``, or inline at ``depth`` > 0.

    ``direct``: it is the base itself, not a view of it, so its own group reads it from registers.
    ``uniform``: an inline value with the same number everywhere, so a view of it is the same.
    """

    base: Key
    type: TensorType
    layout: Layout
    direct: bool = True
    depth: int = 0
    uniform: bool = False

    @property
    def inline(self) -> bool:
        return self.depth > 0


@dataclass(frozen=True)
class Reduction:
    """One reduction of a group: ``source`` combined over the group's row (or columns)."""

    source: Source
    kind: str


@dataclass(frozen=True)
class Copy:
    """``source`` (None: the number ``fill``) written to ``region`` of the buffer of ``target``."""

    target: Key
    target_type: TensorType
    source: Source | None
    region: Region | None = None
    fill: bool | int | float = 0


@dataclass(eq=False)
class Group:
    """Nodes that one kernel computes over ``domain``.

    ``phase``: the highest derivative order that it depends on, its own nodes included.
    ``row``: how many trailing axes its reductions combine. ``summed``: the axes of a columns group.
    ``stored``: its values that somebody outside reads. ``copy`` groups do one Copy each.
    """

    kind: GroupKind
    domain: Shape
    level: int
    phase: int
    nodes: list[Node] = field(default_factory=list)
    row: int = 0
    summed: tuple[int, ...] = ()
    reductions: dict[Key, Reduction] = field(default_factory=dict)
    indexed: bool = False  # some node asks for its position, so axes keep their identity
    stored: dict[Key, None] = field(default_factory=dict)
    copy: Copy | None = None
    merged_into: Group | None = None

    def accepts(self, phase: int, domain: Shape) -> bool:
        """Whether a pointwise node of ``phase`` over ``domain`` may join, levels aside."""
        return (
            self.kind in ("map", "gemm")
            and self.domain == domain
            and self.phase == phase
            and len(self.nodes) < MAX_NODES
        )

    @property
    def checks(self) -> bool:
        """Whether it looks up indices that are checked, or searches, which only a map can."""
        return any(isinstance(node.form, Gather | GatherAlong | Search) for node in self.nodes)


class Grouping:
    """The walk and its result: ``groups``, and how every value is read (``source``).

    With ``fuse`` off every node that computes something gets a group of its own.
    """

    def __init__(self, graph: Graph, fuse: bool = True) -> None:
        self.graph = graph
        #: Where each node stands. Creation order is another one where passes have rebuilt nodes.
        self.position = {node: k for k, node in enumerate(graph.nodes)}
        self.fuse = fuse
        self._groups: list[Group] = []
        self._sources: dict[Key, Source] = {}
        self._homes: dict[Key, Group] = {}
        self._partials: dict[Key, TensorType] = {}
        self.kept: set[Key] = set()  # values that the user wants kept until their last use
        self._users = users_of(graph)
        self.roots = {value.key for value in graph.roots}
        self._phases = phases_of(graph, self._users)
        for node in graph.nodes:
            self._place(node)
        if fuse:
            merge_across_phases(self)

    @property
    def groups(self) -> list[Group]:
        """The groups that were not merged into another, in order of creation."""
        return [g for g in self._groups if g.merged_into is None]

    def source(self, value: Symbolic) -> Source:
        """How ``value`` is read."""
        return self._sources[value.key]

    def value_type(self, key: Key) -> TensorType:
        """Element type and shape of the buffer behind a value."""
        return self._partials.get(key) or key[0].types[key[1]]

    def readers(self, key: Key) -> Sequence[Node]:
        """The nodes that read a value."""
        return self._users[key]

    def adopt(self, key: Key, group: Group) -> None:
        """Record that ``group`` computes the value ``key``."""
        self._homes[key] = group

    def home(self, key: Key) -> Group | None:
        """The group that computes a value; None for leaves."""
        group = self._homes.get(key)
        while group is not None and group.merged_into is not None:
            group = group.merged_into
        return group

    def in_memory(self, source: Source) -> Source:
        """The same value, readable from a buffer: its home will store it."""
        if (
            source.inline
            and not isinstance(source.base[0].op, Constant)
            and self.home(source.base) is None
        ):
            self._give_home(source.base)
        group = self.home(source.base)
        if group is not None:
            group.stored[source.base] = None
        return Source(source.base, source.type, source.layout, source.direct)

    def copied(
        self,
        source: Source,
        target: Key,
        target_type: TensorType,
        phase: int,
        region: Region | None = None,
    ) -> Group:
        """A new group that copies a value into the buffer of ``target``, or into a region of it."""
        if not source.uniform:
            source = self.in_memory(source)
        group = self._new("copy", source.type.shape, phase, [source])
        group.copy = Copy(target, target_type, source, region)
        return group

    # -- the walk ---------------------------------------------------------------------------------

    def phase(self, node: Node) -> int:
        """The part of the step that a node belongs to; see ``analysis.phases``."""
        return self._phases[node]

    def _place(self, node: Node) -> None:
        form = node.form
        args = [self._sources[arg.node, arg.index] for arg in node.args]
        match form:
            case Leaf():
                inline = isinstance(node.op, Constant) and node.types[0].rank == 0
                self._own(node, None, depth=1 if inline else 0, uniform=inline)
            case Pointwise():
                self._place_pointwise(node, form, args)
            case View() | Same() | Reshape():
                self._place_movement(node, form, args[0])
            case Reduce():
                self._place_reduce(node, form, args[0])
            case Contract():
                self._anchor("gemm", node, node.types[0].shape, args)
            case Gather() | GatherAlong() | Search():
                group = self._anchor("map", node, node.types[0].shape, args)
                group.indexed = not isinstance(form, Search)  # a failing index tells its position
            case Sort():
                self._anchor("sort", node, args[0].type.shape, args)
            case ScatterAdd() | ScatterAlong() | Scan():
                self._place_in_order(node, args)
            case Assemble():
                self._place_assemble(node, form, args)

    def _own(self, node: Node, group: Group | None, depth: int = 0, uniform: bool = False) -> None:
        """Every result of ``node`` is a value of its own, computed by ``group``."""
        for index, kind in enumerate(node.types):
            key, layout = (node, index), Layout.contiguous(kind.shape)
            self._sources[key] = Source(key, kind, layout, True, depth, uniform)
            if group is not None:
                self._homes[key] = group

    def _new(self, kind: GroupKind, domain: Shape, phase: int, reads: Sequence[Source]) -> Group:
        level = 1 + max([self._level(s) for s in reads], default=0)
        group = Group(kind, domain, level, phase)
        self._groups.append(group)
        return group

    def _level(self, source: Source) -> int:
        group = None if source.inline else self.home(source.base)
        return 0 if group is None else group.level

    def _anchor(self, kind: GroupKind, node: Node, domain: Shape, args: Sequence[Source]) -> Group:
        """A group that starts with a node whose operands must lie in memory."""
        group = self._new(kind, domain, self.phase(node), [self.in_memory(a) for a in args])
        group.nodes.append(node)
        self._own(node, group)
        return group

    def _alias(self, node: Node, arg: Source, layout: Layout) -> None:
        """A movement op: the same bytes under another layout."""
        source = arg if arg.uniform else self.in_memory(arg)
        self._sources[(node, 0)] = Source(
            source.base, node.types[0], layout, False, source.depth, source.uniform
        )

    def _place_movement(self, node: Node, form: View | Same | Reshape, arg: Source) -> None:
        if isinstance(form, Same):  # the operand itself, not a view: it still fuses with readers
            self._sources[(node, 0)] = arg
            if form.kept:
                self.kept.add(arg.base)
            return
        if isinstance(form, View):
            self._alias(node, arg, arg.layout.viewed(form, node.types[0].rank))
            return
        layout = arg.layout.reshaped(arg.type.shape, node.types[0].shape)
        if layout is not None:
            self._alias(node, arg, layout)
        else:
            self._own(node, self.copied(arg, (node, 0), arg.type, self.phase(node)))

    def _place_pointwise(self, node: Node, form: Pointwise, args: Sequence[Source]) -> None:
        depth, uniform, indexed = 1, not form.indexed, form.indexed
        for arg in args:
            depth = max(depth, arg.depth + 1)
            uniform &= arg.uniform
            indexed |= arg.depth > 0 and not arg.uniform
        if (uniform or not args) and depth <= MAX_INLINE_DEPTH:
            self._own(node, None, depth, uniform)
            return
        domain = node.types[0].shape
        group = self._joinable(node, domain, args)
        if group is None or (indexed and group.row > 1):
            group = self._new("map", domain, self.phase(node), args)
            self._take_in(group, node, args)
        for arg in args:
            if not arg.inline and self.aligned_home(arg, domain) is not group:
                self.in_memory(arg)
        group.nodes.append(node)
        group.indexed |= indexed
        self._own(node, group)

    def _take_in(self, group: Group, reader: Node, args: Sequence[Source]) -> None:
        """Into a new group, those of lower levels that compute something for ``reader`` alone."""
        for arg in args if self.fuse else ():
            home = self.aligned_home(arg, group.domain)
            if (
                home is not None
                and home is not group
                and home.accepts(group.phase, group.domain)
                and self._only_readers(home, {*home.nodes, reader})
            ):
                self.merge(group, home)

    def _joinable(self, node: Node, domain: Shape, args: Sequence[Source]) -> Group | None:
        """The group that ``node`` may join: the highest of its operands', if no cycle arises."""
        homes = dict.fromkeys([self.aligned_home(a, domain) for a in args])
        open_groups = [g for g in homes if g is not None and g.accepts(self.phase(node), domain)]
        if any(g.kind == "gemm" for g in open_groups) and self._only_sums_read(node):
            # A tile cannot sum: it would have to store them.
            open_groups = [g for g in open_groups if g.kind != "gemm"]
        if not (self.fuse and open_groups):
            return None
        best = max(open_groups, key=lambda g: g.level)
        for other in open_groups:
            rival = other is not best and other.level == best.level
            if rival or (other.level < best.level and self._read_only_by(other, best, node)):
                best = self.merge(best, other) or best
        outside = [a for a in args if self.aligned_home(a, domain) is not best]
        return best if all(self._level(a) < best.level for a in outside) else None

    def _only_sums_read(self, node: Node) -> bool:
        users = self._users[(node, 0)]
        return (node, 0) not in self.roots and all(isinstance(u.form, Reduce) for u in users)

    def aligned_home(self, source: Source, domain: Shape) -> Group | None:
        """The value's home, if a reader over ``domain`` meets exactly the element it computes."""
        if not source.direct or source.depth > 0 or source.type.shape != domain:
            return None
        home = self.home(source.base)
        return None if home is None or source.base in home.reductions else home

    def merge(self, group: Group, other: Group, most: int = MAX_NODES) -> Group | None:
        """Put two groups together if their forms allow; no path may lead from one out and back."""
        gemms = (group.kind == "gemm") + (other.kind == "gemm")
        rows = {g.row for g in (group, other) if g.reductions}
        lost = any(row > 1 for row in rows) and (group.indexed or other.indexed)
        crowded = len(group.nodes) + len(other.nodes) >= most
        checked = gemms == 1 and (group.checks or other.checks)
        if gemms == 2 or len(rows) > 1 or (gemms and rows) or lost or crowded or checked:
            return None
        if other.kind == "gemm":
            group, other = other, group
        group.nodes = sorted([*group.nodes, *other.nodes], key=self.position.__getitem__)
        group.reductions |= other.reductions
        group.row = max(group.row, other.row)
        group.indexed |= other.indexed
        group.stored |= other.stored
        other.merged_into = group
        return group

    def _place_reduce(self, node: Node, form: Reduce, arg: Source) -> None:
        rank = arg.type.rank
        row_axes, rest_axes = decompose(rank, form.axes)
        if not row_axes:
            self._place_columns(node, form, arg, rest_axes)
        elif not rest_axes:
            self._reduce_rows(node, (node, 0), form.kind, arg, len(row_axes))
            self._own(node, self.home((node, 0)))
        else:
            self._place_two_steps(node, form, arg, (row_axes, rest_axes))

    def _reduce_rows(self, node: Node, target: Key, kind: str, arg: Source, row: int) -> None:
        """Reduce the trailing ``row`` axes of ``arg``, in its own group where that is free."""
        positions = arg.inline and not arg.uniform
        if positions and row > 1:  # the row's axes may merge, and then nobody knows positions
            arg, positions = self.in_memory(arg), False
        group = self.aligned_home(arg, arg.type.shape)
        joins = (
            self.fuse
            and group is not None
            and group.kind == "map"
            and group.phase == self.phase(node)
            and group.domain == arg.type.shape
            and group.row in (0, row)
            and not (group.indexed and row > 1)
        )
        if group is None or not joins:
            group = self._new(
                "map",
                arg.type.shape,
                self.phase(node),
                [arg if arg.inline else self.in_memory(arg)],
            )
        group.row = row
        group.indexed |= positions
        group.reductions[target] = Reduction(arg, kind)
        self._homes[target] = group

    def _place_two_steps(
        self, node: Node, form: Reduce, arg: Source, axes: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> None:
        """Rows first, into a partial result; then the remaining axes of that, as rows."""
        row_axes, rest_axes = axes
        outer = arg.type.shape[: arg.type.rank - len(row_axes)]
        partial: Key = (node, PARTIAL)
        self._partials[partial] = TensorType(node.types[0].dtype, outer)
        self._reduce_rows(node, partial, form.kind, arg, len(row_axes))
        kept = [a for a in range(len(outer)) if a not in rest_axes]
        shape = tuple(outer[a] for a in (*kept, *rest_axes))
        walk = Layout.contiguous(outer)
        layout = Layout(0, tuple(walk.strides[a] for a in (*kept, *rest_axes)))
        source = Source(partial, TensorType(node.types[0].dtype, shape), layout, direct=False)
        self._reduce_rows(node, (node, 0), form.kind, self.in_memory(source), len(rest_axes))
        self._own(node, self.home((node, 0)))

    def _place_columns(self, node: Node, form: Reduce, arg: Source, axes: tuple[int, ...]) -> None:
        group = self.aligned_home(arg, arg.type.shape)
        if group is not None and self._feeds_only(group, node):
            group.kind = "columns"
        else:
            reads = arg if arg.inline else self.in_memory(arg)
            group = self._new("columns", arg.type.shape, self.phase(node), [reads])
        group.summed = axes
        group.indexed |= arg.inline and not arg.uniform
        group.reductions[(node, 0)] = Reduction(arg, form.kind)
        self._own(node, group)

    def _feeds_only(self, group: Group, reader: Node) -> bool:
        """Whether nobody but ``reader`` needs anything of a pointwise group."""
        return (
            self.fuse
            and group.phase == self.phase(reader)
            and self._only_readers(group, {*group.nodes, reader})
        )

    def _read_only_by(self, group: Group, other: Group, reader: Node) -> bool:
        """Whether nobody but ``other`` and ``reader`` needs anything of a pointwise group."""
        return self._only_readers(group, {*group.nodes, *other.nodes, reader})

    def _only_readers(self, group: Group, readers: Set[Node]) -> bool:
        if group.kind != "map" or group.reductions or group.stored or group.checks:
            return False
        values = ((node, i) for node in group.nodes for i in range(len(node.types)))
        users = self._users
        return all(v not in self.roots and all(u in readers for u in users[v]) for v in values)

    def _place_in_order(self, node: Node, args: Sequence[Source]) -> None:
        """A step of its own that reads, and adds to, what it wrote before."""
        self._homes[(node, 0)] = self._cleared((node, 0), node.types[0], self.phase(node), 0)
        reads = [a if a.uniform else self.in_memory(a) for a in args[:1]]
        reads += [self.in_memory(a) for a in args[1:]]
        kind: GroupKind = "scan" if isinstance(node.form, Scan) else "scatter"
        reads.append(self._plain((node, 0)))
        group = self._new(kind, args[0].type.shape, self.phase(node), reads)
        group.nodes.append(node)
        group.stored[(node, 0)] = None
        self._own(node, group)

    def _place_assemble(self, node: Node, form: Assemble, args: Sequence[Source]) -> None:
        target: Key = (node, 0)
        writers: list[Group] = []
        if form.fill is not None:
            writers.append(self._cleared(target, node.types[0], self.phase(node), form.fill))
        for arg, region in zip(args, form.regions, strict=True):
            writers.append(self.copied(arg, target, node.types[0], self.phase(node), region))
        for before, after in pairwise(writers):
            after.level = max(after.level, before.level + 1)
        self._own(node, writers[-1])

    def _cleared(self, target: Key, target_type: TensorType, phase: int, fill: float) -> Group:
        """A new group that fills the buffer of ``target`` with one number."""
        group = self._new("copy", target_type.shape, phase, [])
        group.copy = Copy(target, target_type, None, fill=fill)
        return group

    def _plain(self, key: Key) -> Source:
        return Source(key, key[0].types[key[1]], Layout.contiguous(key[0].types[key[1]].shape))

    def _give_home(self, key: Key) -> None:
        """An inline value that somebody must read from memory gets a kernel of its own."""
        node = key[0]
        group = self._new("map", node.types[0].shape, self.phase(node), [])
        group.nodes.append(node)
        group.indexed = not self._sources[(node, 0)].uniform
        self._homes[key] = group

"""One group to one kernel and its step: loops, accesses, expressions.

Every operand is first a *walk*: a start and a stride per axis of the group's domain. Axes that all
walks take as one are collapsed; then names are given (operands ``p0...``, integer arguments
``n0...``, loops ``i0...`` and ``j``), so that equal computations over other shapes give equal
kernels. Which buffer a value lives in is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from passes.grouping import CHECK, Group, Grouping, Key, Source
from passes.layout import Layout, collapse
from staticgrad.ir import expr as ex
from staticgrad.ir.dim import Size, hint_value
from staticgrad.ir.dtype import I64, DType
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.forms import Contract, Gather, GatherAlong, Pointwise, ScatterAdd
from staticgrad.ir.graph import Constant, Node
from staticgrad.ir.kernel import (
    GEMM_COLUMNS, GEMM_ROWS, Accumulate, Axis, Check, Columns, Extent, Gemm, Kernel, Map, Operand, Scalar, Stage, Store,
)  # fmt: skip
from staticgrad.ir.schedule import Binding, Step
from staticgrad.ir.types import Shape, c_strides

#: Elements that one group of outer iterations covers, so that claiming a group costs nothing.
GRAIN_ELEMENTS = 16384
VECTOR = "j"


@dataclass(frozen=True)
class Walk:
    """How an operand moves over the axes of a domain, in elements of its buffer."""

    base: Key
    offset: Size
    strides: Shape


@dataclass
class Loops:
    """The loops of a kernel after collapsing: per segment of the domain, axes and extents."""

    names: list[list[str]]
    extents: list[list[Size]]
    strides: dict[Walk, tuple[tuple[str, Size], ...]]

    def flat(self, segment: int) -> list[tuple[str, Size]]:
        return list(zip(self.names[segment], self.extents[segment], strict=True))


def loops_over(domain: Shape, segments: Sequence[Sequence[int]], walks: Iterable[Walk], merge: bool) -> Loops:
    """Collapse each segment of the domain's axes over all walks, and name what is left.

    Args:
        domain: extents of the axes.
        segments: axes by role, each in order (outer axes; the row).
        walks: every operand that moves.
        merge: False keeps every axis (somebody asks for positions).
    """
    walks = list(dict.fromkeys(walks))
    strides: dict[Walk, list[tuple[str, Size]]] = {w: [] for w in walks}
    names: list[list[str]] = []
    extents: list[list[Size]] = []
    count = 0
    for axes in segments:
        kept = [domain[a] for a in axes]
        moves: list[list[Size]] = [[w.strides[a] for a in axes] for w in walks]
        if merge:
            kept, moves = collapse(kept, moves)
        labels = [f"i{count + n}" for n in range(len(kept))]
        count += len(kept)
        names.append(labels)
        extents.append(kept)
        for walk, move in zip(walks, moves, strict=True):
            strides[walk] += [(n, s) for n, s in zip(labels, move, strict=True) if s != 0]
    return Loops(names, extents, {w: tuple(s) for w, s in strides.items()})


@dataclass
class Lowering:
    """The state of lowering one group; ``step()`` is the result."""

    grouping: Grouping
    group: Group
    buffer_of: Callable[[Key], str]
    new_buffer: Callable[[str, DType, Size], str]
    loops: Loops = field(init=False)
    rename: dict[str, str] = field(default_factory=dict)
    operands: list[Operand] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)
    sizes: dict[Size, str] = field(default_factory=dict)
    memo: dict[object, Expr] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    reads: dict[Key, None] = field(default_factory=dict)
    writes: dict[Key, None] = field(default_factory=dict)
    copied: dict[Walk, Key] = field(default_factory=dict)  # operands read through a contiguous copy

    # -- operands and arguments -------------------------------------------------------------------

    def argument(self, value: Size) -> Extent:
        """The integer argument that holds ``value``; 0 and 1 stay literal."""
        if isinstance(value, int) and value in (0, 1):
            return value
        return self.extent(value)

    def extent(self, value: Size) -> Extent:
        """The integer argument of a loop extent: always an argument, so that kernels serve all shapes."""
        return self.sizes.setdefault(value, f"n{len(self.sizes)}")

    def operand(self, buffer: str, offset: Size, dtype: DType, mode: str) -> str:
        """The kernel operand for a buffer from ``offset`` on, added if it is new."""
        binding = Binding(buffer, offset)
        for known, bound in zip(self.operands, self.bindings, strict=True):
            if bound == binding and known.mode == mode:
                return known.name
        name = f"p{len(self.operands)}"
        self.operands.append(Operand(name, dtype, mode))  # type: ignore[arg-type]
        self.bindings.append(binding)
        return name

    def access(self, walk: Walk, dtype: DType, mode: str = "in", gather: Sequence[Size] = ()) -> Access:
        """An access along ``walk`` after collapsing."""
        name = self.operand(self.buffer_of(walk.base), walk.offset, dtype, mode)
        (self.reads if mode == "in" else self.writes)[walk.base] = None
        strides = tuple((self.rename.get(a, a), self.argument(s)) for a, s in self.loops.strides[walk])
        return Access(name, strides, tuple(self.argument(s) for s in gather))

    def finish(self, stages: Sequence[Stage], axes: Sequence[Axis], total: Size, inner: Size, serial: bool = False) -> Step:
        """The step over the kernel made of these stages."""
        kernel = Kernel(tuple(self.operands), tuple(self.sizes.values()), tuple(axes), tuple(stages), serial)
        grain = GRAIN_ELEMENTS if kernel.outer == "lanes" else max(1, GRAIN_ELEMENTS // max(1, hint_value(inner)))
        nodes = members(self.group)
        return Step(
            kernel=kernel,
            operands=tuple(self.bindings),
            arguments=tuple(self.sizes),
            total=total,
            grain=1 if kernel.outer == "tiles" else grain,
            order=self.group.order,
            label=", ".join(dict.fromkeys(n.op.name for n in nodes)),
            origins=tuple(dict.fromkeys(n.origin for n in nodes)),
        )

    # -- expressions ------------------------------------------------------------------------------

    def walk(self, source: Source) -> Walk:
        """How a source moves over the group's domain."""
        strides = source.layout.broadcast(source.type.shape, self.group.domain)
        walk = Walk(source.base, source.layout.offset, strides)
        if walk in self.copied:
            return Walk(self.copied[walk], 0, c_strides(self.group.domain))
        return walk

    def store_walk(self, key: Key, shape: Shape) -> Walk:
        """A contiguous buffer over the leading axes of the domain (``shape``), unmoved by the rest."""
        rest = len(self.group.domain) - len(shape)
        return Walk(key, 0, (*c_strides(shape), *(0,) * rest))

    def inside(self, source: Source) -> bool:
        """Whether the group itself computes the source, element by element."""
        return (
            source.direct
            and source.base not in self.group.reductions
            and source.type.shape == self.group.domain
            and self.grouping.home(source.base) is self.group
            and source.base[0] in self.member_set
        )

    @property
    def member_set(self) -> set[Node]:
        found: set[Node] | None = self.__dict__.get("_members")
        if found is None:
            found = self.__dict__["_members"] = set(self.group.nodes)
        return found

    def value(self, source: Source) -> Expr:
        """The element of a source at the current position."""
        if source.inline:
            return self.inline(source)
        if self.inside(source):
            return self.memo[source.base]
        walk = self.walk(source)
        if walk not in self.memo:
            self.memo[walk] = ex.load(self.access(walk, source.type.dtype), source.type.dtype)
        return self.memo[walk]

    def inline(self, source: Source) -> Expr:
        """A literal, size or position, rebuilt here."""
        node = source.base[0]
        if isinstance(node.op, Constant):
            return ex.literal(node.op.data.array[()].item(), node.op.data.dtype)
        if node not in self.memo:
            self.memo[node] = self.scalar(node)
        return self.memo[node]

    def scalar(self, node: Node) -> Expr:
        """One element of a pointwise node."""
        form = node.op.form(*node.types, *(a.type for a in node.args))
        assert isinstance(form, Pointwise)
        args = [self.value(self.grouping.source(a)) for a in node.args]
        sizes = [self.size(s) for s in form.sizes]
        positions = self.positions(node.types[0].shape) if form.indexed else []
        return form.scalar(*args, *sizes, *positions)

    def size(self, value: Size) -> Expr:
        """A size as an i64 expression."""
        argument = self.argument(value)
        return ex.literal(argument, I64) if isinstance(argument, int) else ex.size(argument)

    def positions(self, shape: Shape) -> list[Expr]:
        """The position along each axis of a value that broadcasts to the domain."""
        names = [self.rename.get(n, n) for segment in self.loops.names for n in segment]
        trailing = list(zip(names, self.group.domain, strict=True))[len(names) - len(shape) :]
        return [
            ex.literal(0, I64) if extent == 1 and wanted != 1 else ex.index(name)
            for extent, (name, wanted) in zip(shape, trailing, strict=True)
        ]

    # -- gathers ----------------------------------------------------------------------------------

    def checked(self, node: Node, index: Expr, extent: Size, position: Expr) -> Expr:
        """An index that is wrapped, clamped and, if it fails, noted."""
        buffer = self.buffer_of((node, CHECK))
        name = f"c{len(self.checks)}"
        operand = self.operand(buffer, 0, I64, "check")
        wide = index.cast(I64)
        self.checks.append(Check(name, wide, self.extent(extent), position, operand))
        return ex.ref(name, I64)

    def position(self, shape: Shape, positions: Sequence[Expr]) -> Expr:
        """The flat C-order position of a multi-index."""
        flat: Expr = ex.literal(0, I64)
        for extent, at in zip(shape, positions, strict=True):
            flat = flat * self.size(extent) + at
        return flat


def members(group: Group) -> list[Node]:
    """The nodes whose values a group computes, for labels and lines."""
    if group.copy is not None:
        return [group.copy.target[0]]
    return [*group.nodes, *(key[0] for key in group.reductions if key[0] not in group.nodes)]


def gather_walks(group: Group, grouping: Grouping, node: Node) -> tuple[Walk, Walk, Size]:
    """For a gather: the walk of the data (unmoved by the index), that of the indices, the index's stride.

    For a scatter the data is the result, laid out contiguously.
    """
    form = node.op.form(*node.types, *(a.type for a in node.args))
    assert isinstance(form, Gather | GatherAlong) or hasattr(form, "axis")
    axis: int = form.axis
    indices = grouping.source(node.args[1])
    if isinstance(form, Gather | GatherAlong):
        data = grouping.source(node.args[0])
        base, layout = data.base, data.layout
    else:
        base, layout = (node, 0), Layout.contiguous(node.types[0].shape)
    before, stride, after = layout.strides[:axis], layout.strides[axis], layout.strides[axis + 1 :]
    if isinstance(form, Gather | ScatterAdd):
        rank = indices.type.rank
        moves = (*before, *(0,) * rank, *after)
        index_moves = (*(0,) * axis, *indices.layout.strides, *(0,) * len(after))
    else:
        moves = (*before, 0, *after)
        index_moves = indices.layout.strides
    return Walk(base, layout.offset, moves), Walk(indices.base, indices.layout.offset, index_moves), stride


# -- the kinds of groups --------------------------------------------------------------------------


@dataclass(frozen=True)
class Lowered:
    """A step and the values it reads and writes."""

    step: Step
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]


def lower_group(
    grouping: Grouping,
    group: Group,
    buffer_of: Callable[[Key], str],
    new_buffer: Callable[[str, DType, Size], str],
    copied: dict[Walk, Key],
) -> Lowered:
    """The step that computes ``group``.

    Args:
        grouping: where the group comes from.
        group: what to compute.
        buffer_of: the buffer of a value; key (node, CHECK) asks for the check words of a node.
        new_buffer: makes a scratch buffer of (role, dtype, size).
        copied: operands that are to be read through a contiguous copy over the domain.

    Raises:
        RowNotContiguous: some operands' rows need such copies; nothing was made.
    """
    low = Lowering(grouping, group, buffer_of, new_buffer, copied=copied)
    step = _LOWERINGS[group.kind](low)
    return Lowered(step, tuple(low.reads), tuple(low.writes))


def _lower_copy(low: Lowering) -> Step:
    copy = low.group.copy
    assert copy is not None
    layout = Layout.contiguous(copy.target_type.shape)
    if copy.region is not None:
        layout = layout.region(copy.region)
    target = Walk(copy.target, layout.offset, layout.strides)
    source = copy.source
    walks = [target] if source is None or source.inline else [low.walk(source), target]
    low.loops = loops_over(low.group.domain, [range(len(low.group.domain))], walks, merge=True)
    axes, vector = _vector(low, 0)
    dtype = copy.target_type.dtype
    value = ex.literal(copy.fill, dtype) if source is None else low.value(source)
    stage = Map(vector, (Store(low.access(target, dtype, "out"), value),))
    return _finish_map(low, (stage,), axes)


def _vector(low: Lowering, segment: int) -> tuple[list[Axis], Axis]:
    """Outer axes and the vector axis, made of the last axis of a segment (extent 1 if it is empty)."""
    flat = low.loops.flat(segment)
    outer = [pair for n in range(segment) for pair in low.loops.flat(n)] + flat[:-1]
    if flat:
        low.rename[flat[-1][0]] = VECTOR
    axes = [Axis(name, low.extent(extent)) for name, extent in outer]
    return axes, Axis(VECTOR, low.extent(flat[-1][1]) if flat else 1)


def _finish_map(low: Lowering, stages: Sequence[Stage], axes: Sequence[Axis]) -> Step:
    values = {name: size for size, name in low.sizes.items()}
    first = stages[0]
    assert isinstance(first, Map)
    inner: Size = values[first.axis.extent] if isinstance(first.axis.extent, str) else 1
    total = prod((values[str(a.extent)] for a in axes), start=1)
    cut_lanes = not axes and len(stages) == 1
    return low.finish(stages, axes, inner if cut_lanes else total, inner)


def _node_walks(low: Lowering) -> list[Walk]:
    """The walks of everything the group's nodes read from memory."""
    walks: list[Walk] = []
    grouping, group = low.grouping, low.group
    for node in group.nodes:
        form = node.op.form(*node.types, *(a.type for a in node.args))
        if isinstance(form, Gather | GatherAlong):
            walks += gather_walks(group, grouping, node)[:2]
        elif not isinstance(form, Contract):
            walks += _source_walks(low, [grouping.source(a) for a in node.args])
    walks += _source_walks(low, [r.source for r in group.reductions.values()])
    return walks


def _source_walks(low: Lowering, sources: Iterable[Source]) -> list[Walk]:
    found: list[Walk] = []
    for source in sources:
        if source.inline:
            found += _source_walks(low, [low.grouping.source(a) for a in source.base[0].args])
        elif not low.inside(source):
            found.append(low.walk(source))
    return found


def _evaluate_nodes(low: Lowering) -> None:
    """Give every node of the group its expression, in order."""
    for node in low.group.nodes:
        form = node.op.form(*node.types, *(a.type for a in node.args))
        if isinstance(form, Gather | GatherAlong):
            low.memo[(node, 0)] = _gathered(low, node)
        elif isinstance(form, Pointwise):
            low.memo[(node, 0)] = low.scalar(node)


def _gathered(low: Lowering, node: Node) -> Expr:
    data, indices, stride = gather_walks(low.group, low.grouping, node)
    form = node.op.form(*node.types, *(a.type for a in node.args))
    axis: int = form.axis  # type: ignore[union-attr]
    index = low.checked(node, _index_load(low, node, indices), node.args[0].type.shape[axis], _index_position(low, node))
    dtype = node.types[0].dtype
    return ex.load(low.access(data, dtype, gather=(stride,)), dtype, index)


def _index_load(low: Lowering, node: Node, walk: Walk) -> Expr:
    dtype = node.args[1].type.dtype
    return ex.load(low.access(walk, dtype), dtype)


def _index_position(low: Lowering, node: Node) -> Expr:
    form = node.op.form(*node.types, *(a.type for a in node.args))
    shape = node.args[1].type.shape
    start = form.axis if isinstance(form, Gather | ScatterAdd) else 0  # type: ignore[union-attr]
    names = [low.rename.get(n, n) for segment in low.loops.names for n in segment]
    return low.position(shape, [ex.index(n) for n in names[start : start + len(shape)]])


def _stores(low: Lowering, shape_of: Callable[[Key], Shape]) -> list[tuple[Key, Walk]]:
    return [(key, low.store_walk(key, shape_of(key))) for key in low.group.stored if key not in low.group.reductions]


def _lower_map(low: Lowering) -> Step:
    group = low.group
    rank = len(group.domain)
    outer_shape = group.domain[: rank - group.row]
    stores = _stores(low, lambda key: key[0].types[key[1]].shape)
    results = [(key, low.store_walk(key, outer_shape)) for key in group.reductions]
    segments = [range(rank)] if not group.reductions else [range(rank - group.row), range(rank - group.row, rank)]
    walks = [*_node_walks(low), *(w for _, w in (*stores, *results))]
    low.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
    axes, vector = _vector(low, len(segments) - 1)
    if group.reductions and len(low.loops.names[1]) > 1:
        raise RowNotContiguous([w for w in walks if not _one_run(w, group)])
    _evaluate_nodes(low)
    body: list[Store | Accumulate | Check] = list(low.checks)
    body += [Store(low.access(w, key[0].types[key[1]].dtype, "out"), low.memo[key]) for key, w in stores]
    names = {key: f"r{n}" for n, key in enumerate(group.reductions)}
    body += [Accumulate(names[k], r.kind, low.value(r.source)) for k, r in group.reductions.items()]
    stages: list[Stage] = [Map(vector, tuple(body))]
    if group.reductions:
        dtype = {k: r.source.type.dtype for k, r in group.reductions.items()}
        finals = (Store(low.access(w, dtype[k], "out"), ex.ref(names[k], dtype[k])) for k, w in results)
        stages.append(Scalar(tuple(finals)))
    return _finish_map(low, stages, axes)


class RowNotContiguous(Exception):  # noqa: N818 - a signal to the caller, never shown
    """The rows of a reduction are several runs in these operands: they need contiguous copies."""

    def __init__(self, walks: list[Walk]) -> None:
        super().__init__("rows are not contiguous")
        self.walks = walks


def _one_run(walk: Walk, group: Group) -> bool:
    row = range(len(group.domain) - group.row, len(group.domain))
    extents, _ = collapse([group.domain[a] for a in row], [[walk.strides[a] for a in row]])
    return len(extents) <= 1


def _lower_columns(low: Lowering) -> Step:
    group = low.group
    kept = [a for a in range(len(group.domain)) if a not in group.summed]
    shape = tuple(group.domain[a] for a in kept)
    (key, reduction), *_ = group.reductions.items()
    strides: list[Size] = [0] * len(group.domain)
    for axis, stride in zip(kept, c_strides(shape), strict=True):
        strides[axis] = stride
    target = Walk(key, 0, tuple(strides))
    merge = not group.indexed
    low.loops = loops_over(group.domain, [kept, group.summed], [*_node_walks(low), target], merge)
    flat = low.loops.flat(0)
    if flat:
        low.rename[flat[-1][0]] = VECTOR
    axes = [Axis(name, low.extent(extent)) for name, extent in flat[:-1]]
    vector = Axis(VECTOR, low.extent(flat[-1][1]) if flat else 1)
    rows = tuple(Axis(name, low.extent(extent)) for name, extent in low.loops.flat(1))
    _evaluate_nodes(low)
    dtype = reduction.source.type.dtype
    total = Accumulate("r0", reduction.kind, low.value(reduction.source))
    store = Store(low.access(target, dtype, "out"), ex.ref("r0", dtype))
    inner: Size = flat[-1][1] if flat else 1
    count = prod((extent for _, extent in flat[:-1]), start=1)
    return low.finish([Columns(vector, rows, (total,), (store,))], axes, inner if not axes else count, inner)


def _lower_gemm(low: Lowering) -> Step:
    group = low.group
    anchor = next(n for n in group.nodes if isinstance(n.op.form(*n.types, *(a.type for a in n.args)), Contract))
    form = anchor.op.form(*anchor.types, *(a.type for a in anchor.args))
    assert isinstance(form, Contract)
    rank = len(group.domain)
    a, b = (low.grouping.source(arg) for arg in anchor.args)
    a_walk, a_rows, a_inner = _matrix(low, a, form.transpose_a)
    b_walk, b_inner, b_columns = _matrix(low, b, form.transpose_b)
    inner = a.type.shape[-2 if form.transpose_a else -1]
    stores = _stores(low, lambda key: key[0].types[key[1]].shape)
    walks = [a_walk, b_walk, *_node_walks(low), *(w for _, w in stores)]
    segments = [list(range(rank - 2)), [rank - 2], [rank - 1]]
    low.loops = loops_over(group.domain, segments[:1], walks, merge=not group.indexed)
    _keep_matrix_axes(low, walks, rank)
    batch = low.loops.flat(0)
    axes = [Axis(name, low.extent(extent)) for name, extent in batch]
    i, j, k = (Axis(n, low.extent(e)) for n, e in (("i", group.domain[-2]), ("j", group.domain[-1]), ("k", inner)))
    dtype = anchor.types[0].dtype
    a_access = low.access(a_walk, dtype)
    a_access = Access(a_access.operand, (*a_access.strides, ("i", low.argument(a_rows)), ("k", low.argument(a_inner))))
    b_access = low.access(b_walk, dtype)
    b_access = Access(b_access.operand, (*b_access.strides, ("k", low.argument(b_inner)), ("j", low.argument(b_columns))))
    columns = GEMM_COLUMNS.get(dtype.bits, 32)
    pack = None
    if b_columns != 1:
        pack = low.operand(low.new_buffer("scratch", dtype, inner * columns), 0, dtype, "scratch")
    low.memo[(anchor, 0)] = ex.ref("acc", dtype)
    _evaluate_nodes(low)
    body = tuple(Store(low.access(w, key[0].types[key[1]].dtype, "out"), low.memo[key]) for key, w in stores)
    rows, width = group.domain[-2], group.domain[-1]
    total = prod((extent for _, extent in batch), start=1) * ((rows + (GEMM_ROWS - 1)) // GEMM_ROWS)
    total = total * ((width + (columns - 1)) // columns)
    return low.finish([Gemm(i, j, k, a_access, b_access, body, pack)], axes, total, 1)


def _matrix(low: Lowering, source: Source, transposed: bool) -> tuple[Walk, Size, Size]:
    """The walk of a matrix operand over the batch axes, and its strides over (row, column)."""
    rank = len(low.group.domain)
    batch = Layout(0, source.layout.strides[:-2]).broadcast(source.type.shape[:-2], low.group.domain[: rank - 2])
    rows, columns = source.layout.strides[-2:]
    if transposed:
        rows, columns = columns, rows
    return Walk(source.base, source.layout.offset, (*batch, 0, 0)), rows, columns


def _keep_matrix_axes(low: Lowering, walks: Sequence[Walk], rank: int) -> None:
    """Add the two matrix axes, uncollapsed, to the loops."""
    low.loops.names += [["i"], ["j"]]
    low.loops.extents += [[low.group.domain[-2]], [low.group.domain[-1]]]
    for walk in walks:
        moves = [(n, walk.strides[a]) for n, a in (("i", rank - 2), ("j", rank - 1)) if walk.strides[a] != 0]
        low.loops.strides[walk] = (*low.loops.strides[walk], *moves)


def _lower_scatter(low: Lowering) -> Step:
    group = low.group
    node = group.nodes[0]
    form = node.op.form(*node.types, *(a.type for a in node.args))
    axis: int = form.axis  # type: ignore[union-attr]
    rank = len(group.domain)
    target, indices, stride = gather_walks(group, low.grouping, node)
    update = low.grouping.source(node.args[0])
    walks = [target, indices, *_source_walks(low, [update])]
    # The last axis is the vector axis unless lanes could meet in one element: then it is serial too.
    conflict = indices.strides[-1] != 0 or (isinstance(form, ScatterAdd) and axis + node.args[1].type.rank == rank)
    low.loops = loops_over(group.domain, [range(rank)], walks, merge=False)
    flat = low.loops.flat(0)
    if conflict or not flat:
        axes, vector = [Axis(n, low.extent(e)) for n, e in flat], Axis(VECTOR, 1)
    else:
        axes, vector = _vector(low, 0)
    index = low.checked(node, _index_load(low, node, indices), node.types[0].shape[axis], _index_position(low, node))
    dtype = node.types[0].dtype
    value = low.value(update)
    store = Store(low.access(target, dtype, "inout", gather=(stride,)), value, (index,), add=True)
    total = prod((extent for _, extent in (flat if conflict else flat[:-1])), start=1)
    return low.finish([Map(vector, (*low.checks, store))], axes, total, 1, serial=True)


_LOWERINGS = {
    "copy": _lower_copy,
    "map": _lower_map,
    "columns": _lower_columns,
    "gemm": _lower_gemm,
    "scatter": _lower_scatter,
}

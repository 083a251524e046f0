"""The state of lowering one group: loops (also of products), operands, arguments, expressions.

Every operand is first a *walk*: a start and a stride per axis of the group's domain. Axes that all
walks can merge are collapsed; then names are assigned (operands ``p0...``, integer arguments
``n0...``, loops ``i0...`` and ``j``), so that equal computations over other shapes give equal
kernels. ``stages`` has the stages for each kind of group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import chain, product
from operator import itemgetter
from typing import Final, TypeVar

from staticgrad.analysis.layout import Strided, collapse
from staticgrad.compiler.fusion.groups import (
    CheckBuffer,
    Group,
    GroupValues,
    Key,
    ScratchBuffer,
    Source,
    Walk,
)
from staticgrad.compiler.fusion.walks import (
    computes,
    gather_walks,
    looks_up_positions,
    store_walk,
    walk_of,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import (
    INDEXED,
    Gather,
    GatherAlong,
    Pointwise,
    Scatter,
    ScatterAlong,
    ScatterOnto,
)
from staticgrad.language.ir.graph import Constant, Node, Symbolic
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Directives,
    Interleave,
    Prefetch,
    StageDirective,
    Stream,
    of_stages,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import legal_ones
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Check,
    Extent,
    Mode,
    Operand,
    Search,
    Stage,
    Store,
    operands_read,
)
from staticgrad.language.ir.kernels.width import SHORT_STRIDE, along_memory_last
from staticgrad.language.ir.rounded import element
from staticgrad.language.types.arrays import Shape, hint_value
from staticgrad.language.types.dim import Size, maximum, sum_of
from staticgrad.language.types.dtype import BOOL, I64, U64, DType
from staticgrad.support.records import dataclass, replace

S = TypeVar("S", bound=Stage)
VECTOR = "j"
#: Elements of an axis, at least, so that vectors may run along it instead of along the last one.
_FEWEST_ACROSS: Final = 32
#: Strides along vectors, at most, of interleaved walks: they are literals.
_MOST_STRIDE: Final = 16
#: Instructions of a square tile, at most, so that a reorder buffer holds the stores of several.
_SHORT_TILE: Final = 128
#: Strided loads that take as long as one strided store after a longer tile.
_STRIDED_STORE_COST: Final = 3


@dataclass
class Loops:
    """The loops of a kernel after collapsing, with their extents, by segment.

    ``axes``: the loop of each axis of the domain, in segments without merged axes.
    """

    segments: list[list[tuple[str, Size]]]
    strides: dict[Walk, tuple[tuple[str, Size], ...]]
    axes: dict[int, str]

    @property
    def next(self) -> str:
        """The name of a further loop."""
        return f"i{sum(map(len, self.segments))}"

    def iterations(self, segment: int) -> Iterator[dict[str, int]]:
        """Yield every iteration of a segment whose loops are unrolled, by loop."""
        names = [name for name, _ in self.segments[segment]]
        for iteration in product(*(range(int(extent)) for _, extent in self.segments[segment])):
            yield dict(zip(names, iteration, strict=True))


def loops_over(
    domain: Shape,
    segments: Sequence[Sequence[int]],
    walks: Iterable[Walk],
    merge: bool | Sequence[bool],
    count: int = 0,
) -> Loops:
    """Collapse each segment of the domain's axes over all walks, and name the remaining loops.

    ``segments``: axes by role (outer axes; the row). ``merge``: False keeps every axis (an op needs
    positions); one flag, or one for each segment. ``count``: the number of loops around these.
    """
    walks = list(dict.fromkeys(walks))
    strides: dict[Walk, list[tuple[str, Size]]] = {w: [] for w in walks}
    loops = Loops([], {}, {})
    merges = [merge] * len(segments) if isinstance(merge, bool) else merge
    for axes, merged in zip(segments, merges, strict=True):
        extents = [domain[a] for a in axes]
        moves: list[list[Size]] = [[w.strides[a] for a in axes] for w in walks]
        if merged:
            extents, moves = collapse(extents, moves)
        labels = [f"i{count + n}" for n in range(len(extents))]
        count += len(extents)
        loops.segments.append(list(zip(labels, extents, strict=True)))
        loops.axes |= {} if merged else dict(zip(axes, labels, strict=True))
        for walk, move in zip(walks, moves, strict=True):
            strides[walk] += [(n, s) for n, s in zip(labels, move, strict=True) if s != 0]
    loops.strides = {walk: tuple(moves) for walk, moves in strides.items()}
    return loops


@dataclass(frozen=True)
class LoweredStep:
    """The kernel of a group, with the values of its operands and arguments.

    Operand n is the buffer of a value, starting at an element: ``operands[n]``. ``touched``: all
    values that lowering added as operands, in order, with the mode. ``scratch``: the values without
    contents before and after the kernel, with their numbers of elements.
    """

    kernel: Kernel
    operands: tuple[tuple[Key, Size], ...]
    arguments: tuple[Size, ...]
    touched: tuple[tuple[Key, Mode], ...]
    scratch: tuple[tuple[Key, DType, Size], ...] = ()

    @property
    def reads(self) -> tuple[Key, ...]:
        """The values that the kernel reads."""
        return tuple(dict.fromkeys(key for key, mode in self.touched if mode == "in"))

    @property
    def writes(self) -> tuple[Key, ...]:
        """The values that it writes."""
        written = ("out", "inout")
        return tuple(dict.fromkeys(key for key, mode in self.touched if mode in written))


@dataclass
class Lowering:
    """The state of lowering one group; ``finish`` returns the result.

    Values are identified by their keys; the caller assigns their buffers.
    """

    groups: GroupValues
    group: Group
    loops: Loops = field(init=False)
    rename: dict[str, str] = field(default_factory=dict)
    operands: dict[tuple[Key, Size, str], Operand] = field(default_factory=dict)
    scratch: dict[Key, str] = field(default_factory=dict)
    sizes: dict[Size, str] = field(default_factory=dict)
    arguments: dict[str, Size] = field(default_factory=dict)
    memo: dict[object, Expr] = field(default_factory=dict)
    unrolled: Mapping[str, int] = field(default_factory=dict)  # the iteration of unrolled loops
    shape: Shape = field(init=False)  # of the node that is being lowered
    panels_before: dict[str, Expr] = field(
        default_factory=dict
    )  # columns of panels before this one
    loads: dict[object, Expr] = field(default_factory=dict)
    checks: list[Check | Search] = field(default_factory=list)
    indices: dict[Node, Expr] = field(default_factory=dict)  # indices that are checked already
    streamed: set[str] = field(default_factory=set)  # operands of streaming stores
    of_stages: list[StageDirective] = field(default_factory=list)  # directives of stages
    #: Of interleaved walks: the offset of the first of them, and the distance from there.
    interleaved: dict[Walk, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shape = self.group.domain

    # -- operands and arguments -------------------------------------------------------------------

    def argument(self, value: Size, liked: Extent = 0) -> Extent:
        """Return the argument for ``value``, preferably ``liked``; 0 and 1 are literals."""
        if isinstance(value, int) and value in (0, 1):
            return value
        is_it = isinstance(liked, str) and self.arguments[liked] == value
        return liked if is_it else self.extent(value)

    def stride(self, loop: str, value: Size) -> Extent:
        """Return the stride of an access along a loop; short strides along vectors are literals."""
        if loop == VECTOR and isinstance(value, int) and abs(value) <= SHORT_STRIDE:
            return value
        return self.argument(value)

    def extent(self, value: Size) -> Extent:
        """Return the argument for a loop extent, never a literal: kernels serve all shapes."""
        name = self.sizes.get(value)
        return self.add_argument(value) if name is None else name

    def add_argument(self, value: Size) -> str:
        """Return a separate argument for a size, not shared with equal sizes."""
        name = self.sizes[value] = f"n{len(self.arguments)}"
        self.arguments[name] = value
        return name

    def operand(self, key: Key, offset: Size, dtype: DType, mode: Mode) -> str:
        """Return the operand for a value's buffer starting at ``offset``; add it if it is new."""
        place = (key, offset, mode)
        if place not in self.operands:
            self.operands[place] = Operand(f"p{len(self.operands)}", dtype, mode)
        return self.operands[place].name

    def scratch_operand(self, node: Node, dtype: DType = I64, number: int = 0) -> str:
        """Return the operand for a scratch that belongs to a node of the group."""
        key = ScratchBuffer(node, number)
        self.scratch[key] = self.operand(key, 0, dtype, "scratch")
        return self.scratch[key]

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return a kernel's access along ``walk``, collapsed, in this unrolled iteration."""
        offset, start = self.interleaved.get(walk, (walk.offset, 0))
        name = self.operand(walk.base, offset, dtype, mode)
        moves = [m for m in self.loops.strides[walk] if m[0] not in self.unrolled]
        fixed = [(self.unrolled[a], s) for a, s in self.loops.strides[walk] if a in self.unrolled]
        strides = [(loop, self.stride(loop, s)) for loop, s in self._rename_moves(moves)]
        positions = [
            Position((), index, self.argument(s))
            for index, s in fixed
            if index and not isinstance(s, int)
        ]
        start += sum(index * s for index, s in fixed if isinstance(s, int))
        step = dict(self._rename_moves(moves)).get(VECTOR, 0)
        if (fixed or walk in self.interleaved) and isinstance(step, int) and step > 1:
            positions.insert(0, Position(((VECTOR, step),), start))
            strides = [(a, s) for a, s in strides if a != VECTOR]
        elif start:
            positions.insert(0, Position((), start))
        along = tuple(self.argument(s) for s in gather)
        return Access(name, tuple(strides), along, tuple(positions))

    def _rename_moves(self, moves: Iterable[tuple[str, Size]]) -> list[tuple[str, Size]]:
        return [(self.rename.get(axis, axis), stride) for axis, stride in moves]

    def store_element(self, access: Access, value: Expr, streamed: bool) -> Store:
        """Return a store of elements; with ``streamed`` it bypasses the caches if contiguous."""
        if streamed and access.strides[-1:] == ((VECTOR, 1),):
            self.streamed.add(access.operand)
        return Store(access, value)

    def annotate(self, directive: Interleave | Prefetch, stage: S) -> S:
        """Attach a directive to a stage of the kernel, and return the stage."""
        self.of_stages.append((stage, directive))
        return stage

    def load_key(self, walk: Walk) -> tuple[Walk, tuple[int, ...]]:
        """Return a walk with its iteration of the unrolled loops that move it."""
        moves = (a for a, s in self.loops.strides[walk] if s != 0)
        return walk, tuple(self.unrolled[a] for a in moves if a in self.unrolled)

    def finish(
        self,
        stages: Sequence[Stage],
        axes: Sequence[Axis],
        serial: bool = False,
        grouped: int = 0,
        directives: Sequence[Directive] = (),
    ) -> LoweredStep:
        """Return the kernel with these stages, without unread operands.

        An op need not read all of its operands: x ** 0 is 1. ``directives``: directives of the
        kernel in addition to those of stages (``annotate``) and streaming stores.
        """
        read = operands_read(stages)
        used = {p: o for p, o in self.operands.items() if o.mode != "in" or o.name in read}
        names, sizes = tuple(self.arguments), tuple(self.arguments.values())
        operands = tuple(used.values())
        if not serial and not grouped:
            axes = along_memory_last(axes, stages)
        chosen = (*directives, *of_stages(stages, self.of_stages))
        kernel = Kernel(
            operands, names, tuple(axes), tuple(stages), serial, grouped, directives=chosen
        )
        if streams := legal_ones(kernel, map(Stream, sorted(self.streamed))):
            kernel = replace(kernel, directives=(*chosen, *streams))
        room = kernel.room(sizes) if self.scratch else {}
        return LoweredStep(
            kernel,
            tuple((key, offset) for key, offset, _ in used),
            sizes,
            tuple([(key, operand.mode) for (key, *_), operand in self.operands.items()]),
            scratch=tuple((k, kernel.operand(p).dtype, room[p]) for k, p in self.scratch.items()),
        )

    def whole_walks(self, keys: Iterable[Key]) -> list[tuple[Key, Walk]]:
        """Return each value with the walk over its buffer."""
        return [(key, self.store_walk(key, self.groups.value_type(key).shape)) for key in keys]

    def store_value(self, key: Key, walk: Walk, streamed: bool = False) -> Store:
        """Return the store of the current element of a value of the group."""
        access = self.access(walk, self.groups.value_type(key).dtype, "out")
        return self.store_element(access, self.memo[key], streamed)

    # -- expressions ------------------------------------------------------------------------------

    def walk(self, source: Source) -> Walk:
        """Return the walk of a source over the group's domain."""
        return walk_of(self.group, source, self.shape)

    def get_element(self, key: Key) -> Expr:
        """Return the element of a value that the group computes."""
        return self.memo[key]

    def store_walk(self, key: Key, shape: Shape) -> Walk:
        """Return the walk of a contiguous buffer over the domain's leading axes (``shape``)."""
        return store_walk(self.group, key, shape)

    def value(self, source: Source) -> Expr:
        """Return a source's element at the current iteration, as an expression of the kernel."""
        if source.inline:
            return self.inline(source)
        if computes(self.groups, self.group, source):
            return self.get_element(source.base)
        walk = self.walk(source)
        key = self.load_key(walk)
        if key not in self.loads:
            self.loads[key] = ex.load(self.access(walk, source.type.dtype), source.type.dtype)
        return self.loads[key]

    def inline(self, source: Source) -> Expr:
        """Return a literal, size or position as an expression instead of a load."""
        node = source.base.node
        if isinstance(node.op, Constant):
            return ex.literal(node.op.data.array[()].item(), node.op.data.dtype)
        if node not in self.memo:
            self.memo[node] = self.scalar(node)
        return self.memo[node]

    def scalar(self, node: Node) -> Expr:
        """Return the expression of one element of a pointwise node."""
        form = node.form
        assert isinstance(form, Pointwise)
        args = [self.wide_value(self.groups.source(a)) for a in node.args]
        sizes = [self.size(s) for s in form.sizes]
        positions = self.positions(node.types[0].shape) if form.indexed else []
        return element(form.scalar, node.types[0].dtype, *args, *sizes, *positions)

    def wide_value(self, source: Source) -> Expr:
        """Return the element of a source in the dtype in which it is computed."""
        return self.widen_value(self.value(source))

    def widen_value(self, value: Expr) -> Expr:
        """Return a value in its compute dtype."""
        if not value.dtype.is_storage:
            return value
        if ("widened", value) not in self.memo:
            self.memo["widened", value] = value.cast(value.dtype.compute)
        return self.memo["widened", value]

    def size(self, value: Size) -> Expr:
        """Return a size as an i64 expression."""
        argument = self.argument(value)
        return ex.literal(argument, I64) if isinstance(argument, int) else ex.size(argument)

    def axis_names(self) -> list[str]:
        """Return the loop of every axis of the domain that was not merged, in its order."""
        names = [self.loops.axes[axis] for axis in range(len(self.loops.axes))]
        return [self.rename.get(name, name) for name in names]

    def positions(self, shape: Shape) -> list[Expr]:
        """Return the loop index along each axis of a value that broadcasts to the domain."""
        names = self.axis_names()
        trailing = list(zip(names, self.group.domain, strict=True))[len(names) - len(shape) :]
        return [
            ex.literal(0, I64) if extent == 1 and size != 1 else self.index(name)
            for extent, (name, size) in zip(shape, trailing, strict=True)
        ]

    def as_axes(self, loops: Iterable[tuple[str, Size]]) -> list[Axis]:
        """Return loops of the kernel with their extents."""
        return [Axis(self.rename.get(name, name), self.extent(extent)) for name, extent in loops]

    def index(self, name: str) -> Expr:
        """Return the position along a loop."""
        unrolled = name in self.unrolled
        position = ex.literal(self.unrolled[name], I64) if unrolled else ex.index(name)
        return self.panels_before[name] + position if name in self.panels_before else position

    def position_terms(self, loop: str, step: int) -> tuple[tuple[str, Extent], ...]:
        """Return the terms of a position that moves along a loop by a step."""
        return ((loop, step),)

    # -- gathers ----------------------------------------------------------------------------------

    def emit_node(self, node: Node) -> Expr:
        """Return the expression of a node's element (pointwise, gather, ...) at this iteration."""
        index = self.indices.get(node)
        match node.form:
            case Gather() | GatherAlong():
                return self.gather_element(node, self.load_index(node) if index is None else index)
            case ScatterAlong():  # zeros but for one place, where a number was added to zero
                index = self.check_row_index(node) if index is None else index
                value = self.wide_value(self.groups.source(node.args[0]))
                zero = ex.literal(0, value.dtype)
                position = self.positions(node.types[0].shape)[-1]
                return ex.select(position.eq(index), zero + value, zero).cast(node.types[0].dtype)
        return self.scalar(node)

    def load_index(self, node: Node) -> Expr:
        """Return the checked index of a node, read from memory."""
        walk, dtype = gather_walks(self.groups, node)[1], node.args[1].type.dtype
        return self.check_index(node, ex.load(self.access(walk, dtype), dtype))

    def check_row_index(self, node: Node) -> Expr:
        """Return the checked index of a row, which depends only on outer axes."""
        return self.check_index(node, self.value(self.groups.source(node.args[1])))

    def gather_element(self, node: Node, index: Expr) -> Expr:
        """Return the element that a node gathers from memory, or a formula's value at the index."""
        data = self.groups.source(node.args[0])
        if looks_up_positions(node, data):
            form = data.base.node.form
            assert isinstance(form, Pointwise)
            sizes = [self.size(size) for size in form.sizes]
            return element(form.scalar, data.type.dtype, *sizes, index)
        walk, _, stride = gather_walks(self.groups, node)
        dtype = node.types[0].dtype
        return ex.load(self.access(walk, dtype, gather=(stride,)), dtype, index)

    def check_index(self, node: Node, index: Expr) -> Expr:
        """Emit the bounds check of a node's index, and return the index, wrapped and clamped.

        An index out of bounds is written to the check buffer. One that is known to be inside of the
        axis is only converted.
        """
        form, shape = node.form, node.args[1].shape
        assert isinstance(form, INDEXED)
        if form.inside:
            return index.cast(I64)
        data = node.args[0] if isinstance(form, Gather | GatherAlong) else node.values[0]
        first = form.axis if isinstance(form, Gather | Scatter | ScatterOnto) else 0
        names = self.axis_names()[first : first + len(shape)]
        strides = self.groups.source(node.args[1]).layout.strides
        position: Expr = ex.literal(0, I64)  # of the index, in C order
        for name, size, stride in zip(names, shape, strides, strict=True):
            position_along = ex.literal(0, I64) if size == 1 or stride == 0 else self.index(name)
            position = position * self.size(size) + position_along
        name = f"c{len(self.checks)}"
        operand = self.operand(CheckBuffer(node), 0, I64, "check")
        if index.dtype is U64:  # an index beyond i64 must not become a negative one
            index = index.minimum(ex.literal(2**63 - 1, U64))
        wide = index.cast(I64)
        missing = self._missing(node.args[1])
        if missing != 0:
            wide = ex.select(self.size(missing).eq(ex.literal(0, I64)), wide, ex.literal(0, I64))
        along = form.target if isinstance(form, Scatter) else form.axis
        extent = self.extent(data.shape[along] + missing)
        self.checks.append(Check(name, wide, extent, position, operand, form.wrap))
        return ex.ref(name, I64)

    def _missing(self, indices: Symbolic) -> Size:
        # If an index is broadcast along an empty axis, its check is outside the loop over that axis
        # and would read indices that nobody uses: they become 0, and the extent becomes >= 1.
        source = self.groups.source(indices)
        repeated = zip(source.type.shape, source.layout.strides, strict=True)
        extents = dict.fromkeys(extent for extent, stride in repeated if stride == 0)
        return sum_of((1, maximum(1 - extent, 0)) for extent in extents)


def note_neighbours(low: Lowering, walks: Iterable[Walk]) -> None:
    """Let interleaved walks along vectors share an operand: each starts at an offset from it.

    Walks are interleaved if they have the same stride and start less than a stride apart, for
    example x[::2] and x[1::2].
    """
    along = next((loop for loop, name in low.rename.items() if name == VECTOR), None)
    walks_by_stride: dict[
        tuple[Key, tuple[tuple[str, Size], ...], int], list[tuple[int, Walk]]
    ] = {}
    for walk in dict.fromkeys(walks):
        moves = low.loops.strides[walk]
        step = dict(moves).get(along, 0) if along is not None else 0
        if isinstance(walk.offset, int) and isinstance(step, int) and 1 < step <= _MOST_STRIDE:
            walks_by_stride.setdefault((walk.base, moves, step), []).append((walk.offset, walk))
    for (_, _, step), sources in walks_by_stride.items():
        walks_left = sorted(sources, key=itemgetter(0))
        while walks_left:
            first = walks_left[0][0]
            interleaved = [pair for pair in walks_left if pair[0] < first + step]
            if len(interleaved) > 1:
                low.interleaved |= {walk: (first, offset - first) for offset, walk in interleaved}
            walks_left = walks_left[len(interleaved) :]


def axis_order(low: Lowering, loads: Iterable[Walk], stores: Iterable[Walk]) -> Sequence[int]:
    """Choose the order of a map's axes: last the one along which vectors run.

    It is the domain's last axis, or another one with fewer strided operands. Strided stores count
    more if a tile takes long to compute: their cache lines are then written one after the other.
    """
    domain, read, written = low.group.domain, dict.fromkeys(loads), dict.fromkeys(stores)
    axes = range(len(domain))
    wide = [axis for axis in axes[:-1] if hint_value(domain[axis]) >= _FEWEST_ACROSS]
    if not wide:
        return axes
    types = [low.groups.value_type(walk.base).dtype for walk in (*read, *written)]
    lanes = max((dtype.lanes for dtype in types if not dtype.is_bool), default=BOOL.lanes)
    store_cost = 1 if low.group.instructions * lanes <= _SHORT_TILE else _STRIDED_STORE_COST

    def cost(axis: int) -> int:
        loaded, stored = ([_is_across(walk, axis) for walk in walks] for walks in (read, written))
        return sum(loaded) + store_cost * sum(stored)

    best = min((axes[-1], *wide), key=cost)
    return [*(axis for axis in axes if axis != best), best]


def _is_across(walk: Walk, axis: int) -> bool:
    """Return True if a walk has a long stride along an axis and stride 1 along another one."""
    stride = walk.strides[axis]
    is_short = isinstance(stride, int) and abs(stride) <= SHORT_STRIDE
    return not is_short and any(step == 1 for step in walk.strides)


def vector_axis(low: Lowering, segment: int) -> tuple[list[Axis], Axis]:
    """Return the outer axes, and a segment's last axis as the vector axis (extent 1 if empty)."""
    *outer, along = low.loops.segments[: segment + 1]
    if along:
        low.rename[along[-1][0]] = VECTOR
    axes = low.as_axes([*chain(*outer), *along[:-1]])
    return axes, Axis(VECTOR, low.extent(along[-1][1]) if along else 1)


def map_axes(low: Lowering) -> tuple[list[Axis], Axis]:
    """Return the outer loops and the vector loop of a map whose axes are not merged.

    The vector loop is the last one with more than one element; axes with one have no loop.
    """
    flat = low.loops.segments[0]
    loops = [loop for loop in flat if loop[1] != 1]
    if low.group.windowed or not loops or flat[-1] == loops[-1]:
        return vector_axis(low, 0)
    low.unrolled = {name: 0 for name, extent in flat if extent == 1}
    *outer, (name, extent) = loops
    low.rename[name] = VECTOR
    return low.as_axes(outer), Axis(VECTOR, low.extent(extent))


def interleaving(rows: int) -> Directives:
    """Return the directive that interleaves this many rows."""
    return (Interleave("o", rows),) if rows > 1 else ()


def matrix(
    low: Lowering, source: Source, transposed: bool = False, panels: bool = False
) -> tuple[Walk, Size, Size]:
    """Return the walk of a matrix operand over the batch axes, and its (row, column) strides."""
    rank, first = len(low.group.domain), -3 if panels else -2
    batch = Strided(0, source.layout.strides[:first]).broadcast(
        source.type.shape[:first], low.group.domain[: rank - 2]
    )
    rows, columns = source.layout.strides[-2:]
    if transposed:
        rows, columns = columns, rows
    return Walk(source.base, source.layout.offset, (*batch, 0, 0)), rows, columns


def keep_matrix_axes(low: Lowering, rows: Size, moves: Mapping[Walk, Size]) -> None:
    """Add the two matrix axes, uncollapsed, to the loops; ``moves``: each walk's stride per row."""
    rank = len(low.group.domain)
    low.loops.axes |= {rank - 2: "i", rank - 1: VECTOR}
    low.loops.segments += [[("i", rows)], [(VECTOR, low.group.domain[-1])]]
    for walk, move in moves.items():
        steps = [(n, s) for n, s in (("i", move), (VECTOR, walk.strides[-1])) if s != 0]
        low.loops.strides[walk] = (*low.loops.strides[walk], *steps)


def add_panels(low: Lowering, walk: Walk, b: Source) -> Size:
    """Add the loop over panels of b around the product; return the columns of a panel (loop j)."""
    (count, _, columns), loops = b.type.shape, low.loops
    name = "i0"
    loops.segments.append([(name, count)])
    for other_walk, moves in loops.strides.items():
        step = b.layout.strides[0] if other_walk is walk else other_walk.strides[-1] * columns
        loops.strides[other_walk] = (*((name, step),) * (step != 0), *moves)
    if low.group.indexed:
        low.panels_before[VECTOR] = ex.index(name) * low.size(columns)
    return columns

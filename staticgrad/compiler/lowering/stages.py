"""Lower a group to a kernel: the stages for each kind of group, and maps over short rows.

``operands`` has the addressing of operands and the expressions.

**Short rows.** Vectors of elementwise groups over short inner axes span several rows. If all
operands of a group have the layout of its domain, its axes are collapsed. An operand that is
broadcast, along rows or across them, prevents this for the last two axes, and rows shorter than a
vector leave most of its lanes empty. In that case operands with another layout are first expanded
into scratch, about a hundred rows at a time: once for a few rows if all rows are the same, else for
each row. Then the rows are contiguous elements of one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from staticgrad.compiler.fusion.groups import (
    ChunkBuffer,
    Group,
    GroupReduction,
    GroupValues,
    Key,
    ResultBuffer,
    ScratchBuffer,
    Source,
    Walk,
)
from staticgrad.compiler.fusion.sinking import is_large
from staticgrad.compiler.fusion.walks import (
    collapse_batch_rows,
    gather_walks,
    has_short_rows,
    may_fold,
    operand_walks,
    source_walks,
    store_walk,
    sums_across,
    walk_of,
)
from staticgrad.compiler.lowering.blocks import BlockLowering
from staticgrad.compiler.lowering.copies import lower_copies
from staticgrad.compiler.lowering.operands import (
    VECTOR,
    Loops,
    LoweredStep,
    Lowering,
    add_panels,
    axis_order,
    interleaving,
    keep_matrix_axes,
    loops_over,
    map_axes,
    matrix,
    note_neighbours,
    vector_axis,
)
from staticgrad.compiler.lowering.rows import (
    RowLowering,
    choose_prefetch,
    count_interleaved_rows,
)
from staticgrad.language.ir import expr as ex, forms
from staticgrad.language.ir.expr import Access, Expr, Position, load
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Columns,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Mode,
    Order,
    Pick,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
)
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.arrays import Shape, c_strides, hint_product, hint_value, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType
from staticgrad.native.machine import current
from staticgrad.support.config import limits
from staticgrad.support.records import replace

#: Rows of an iteration, at most, and of an inner loop: as many as a vector has lanes.
_ROWS: Final = 128
_RUN_ROWS: Final = 16
#: Operands that are expanded, at most.
MOST_SPREAD: Final = 4
#: Instructions for each short row in addition to its body: if masks are vectors that are built each
#: time, and if they have registers; and instructions to expand a vector of an operand.
_OVERHEAD: Final = (20, 6)
_SPREADING: Final = 11
#: The same for a row that is stored in place: its loads wait for the previous row's stores.
_WAITING: Final = 40
#: The minimum gain, as a part of a row's time.
_LEAST_GAIN: Final = 0.05


def lower_folded(groups: GroupValues, group: Group) -> LoweredStep | None:
    """Return the kernel of a group whose short inner axis folds into the previous one, or None."""
    return None if group.keeps_axes else _Folding(groups, group).lower()


class _Folding(Lowering):
    """The state of lowering a group with short rows.

    Attributes:
        row, inner: the folded loops, with extents ``rows`` and ``length``.
        chunk, run, within: loops over chunks of rows, over runs of a chunk, over rows of either.
        expanded: the scratch of each expanded operand.
    """

    def lower(self) -> LoweredStep | None:
        """Lower a map over short rows as one flat loop over several rows, or return None."""
        group = self.group
        stores = self.whole_walks(group.stored)
        walks = [*operand_walks(self.groups, group), *(walk for _, walk in stores)]
        self.loops = loops_over(group.domain, [range(len(group.domain))], walks, merge=True)
        loops = self.loops.segments[0]
        if len(loops) < 2 or not isinstance(length := loops[-1][1], int):
            return None
        self.length, ((self.row, self.rows), (self.inner, _)) = length, loops[-2:]
        if not self._is_worth_it([walk for _, walk in stores]):
            return None
        self.chunk, self.run, self.within = (f"i{len(loops) + n}" for n in range(3))
        self.height = min(_ROWS, -(-hint_value(self.rows) // _RUN_ROWS) * _RUN_ROWS)
        self.expanded = {
            walk: ScratchBuffer(group.nodes[0], number)
            for number, walk in enumerate(w for w in self.loops.strides if self._is_expanded(w))
        }
        for node in group.nodes:
            self.memo[ResultBuffer(node)] = self.scalar(node)
        body = tuple([self.store_value(key, walk) for key, walk in stores])
        axes = self.as_axes(loops[:-2])
        count = (self.rows + (self.height - 1)) // self.height
        # The last chunk may have fewer rows: accesses are bounded by the number of all elements.
        axes.append(Axis(self.chunk, self.extent(count)))
        runs = Axis(self.run, self.height // _RUN_ROWS)
        flat = Map(Axis(VECTOR, _RUN_ROWS * self.length), body, (runs,))
        return self.finish([*self._expand_operands(), flat], axes)

    # -- layouts of operands ---------------------------------------------------------------------

    @property
    def lanes(self) -> int:
        dtypes = [self._dtype(walk) for walk in self.loops.strides]
        return max((d.lanes for d in dtypes if not d.is_bool), default=1)

    def _steps(self, walk: Walk) -> tuple[Size, Size]:
        moves = dict(self.loops.strides[walk])
        return moves.get(self.row, 0), moves.get(self.inner, 0)

    def _is_flat(self, walk: Walk) -> bool:
        return self._steps(walk) == (self.length, 1)

    def _is_expanded(self, walk: Walk) -> bool:
        return not self._is_flat(walk) and self._steps(walk) != (0, 0)

    def _is_worth_it(self, stored: Sequence[Walk]) -> bool:
        """Return True if flattening short rows costs less than a remainder loop in each row."""
        walks = [*self.loops.strides]
        if not all(map(self._is_flat, stored)):
            return False
        lanes = self.lanes
        expanded = [walk for walk in walks if self._is_expanded(walk)]
        rows = hint_value(self.rows)
        few = rows < 2 * _RUN_ROWS or rows * self.length < limits().folded_elements
        # full vectors gain nothing, and runs have to be whole vectors
        if few or len(expanded) > MOST_SPREAD or _RUN_ROWS % lanes or self.length % lanes == 0:
            return False
        # Unfolded, a row takes whole vectors, of which the last is partly empty; folded, it takes
        # its part of full vectors, and expanding its operands.
        vectors = -(-self.length // lanes)
        waits = self.group.in_place
        if vectors > 1 and not waits:
            return False
        work = len(walks) + self.group.instructions
        reads_per_row = sum(self._steps(walk)[0] != 0 for walk in expanded)
        row = vectors * work + (_WAITING if waits else _OVERHEAD[current().has_mask_registers])
        return (
            _SPREADING * reads_per_row * vectors + work * self.length / lanes
            < (1 - _LEAST_GAIN) * row
        )

    # -- expanding operands ----------------------------------------------------------------------

    def _expand_operands(self) -> list[Stage]:
        """Return the maps that copy broadcast operands to scratch, repeated for flattened rows."""
        same_rows = [walk for walk in self.expanded if self._steps(walk)[0] == 0]
        row_scalars = [walk for walk in self.expanded if self._steps(walk)[1] == 0]
        varying = [walk for walk in self.expanded if walk not in (*same_rows, *row_scalars)]
        padded_length = (
            -(-self.length // self.lanes) * self.lanes
        )  # the next row overwrites the padding
        stages: list[Stage] = []
        for walks, height, length in (
            (same_rows, _RUN_ROWS, self.length),
            (row_scalars, self.height, padded_length),
            (varying, self.height, self.length),
        ):
            if walks:
                row = ((self.within, self.length), (VECTOR, 1))
                body = tuple(
                    Store(Access(self._scratch_operand(walk), row), self._load_operand(walk))
                    for walk in walks
                )
                rows = (Axis(self.within, height),)
                stages.append(Map(Axis(VECTOR, length), body, rows))
        return stages

    def _dtype(self, walk: Walk) -> DType:
        return self.groups.value_type(walk.base).dtype

    def _scratch_operand(self, walk: Walk) -> str:
        key = self.expanded[walk]
        self.scratch[key] = self.operand(key, 0, self._dtype(walk), "scratch")
        return self.scratch[key]

    def _load_operand(self, walk: Walk) -> Expr:
        """Load an operand of flattened rows that is broadcast along rows or elements."""
        name = self.operand(walk.base, walk.offset, self._dtype(walk), "in")
        row_stride, element_stride = self._steps(walk)
        strides = self._outer_strides(walk)
        if element_stride != 0:
            strides = (*strides, (VECTOR, self.argument(element_stride)))
        positions: tuple[Position, ...] = ()
        if row_stride != 0:
            terms = ((self.chunk, self.height), (self.within, 1))
            stride, rows = self.argument(row_stride), self.extent(self.rows)
            positions = (Position(terms, 0, stride, rows),)
        return load(Access(name, strides, (), positions), self._dtype(walk))

    def _outer_strides(self, walk: Walk) -> tuple[tuple[str, str | int], ...]:
        moves = self.loops.strides[walk]
        folded = (self.row, self.inner)
        return tuple((axis, self.argument(step)) for axis, step in moves if axis not in folded)

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return the access along flattened rows, or to the copy of an expanded operand."""
        if walk in self.expanded:
            same_rows = self._steps(walk)[0] == 0
            runs = () if same_rows else ((self.run, _RUN_ROWS * self.length),)
            return Access(self._scratch_operand(walk), (*runs, (VECTOR, 1)))
        name = self.operand(walk.base, walk.offset, dtype, mode)
        if not self._is_flat(walk):
            return Access(name, self._outer_strides(walk))
        size = self.length
        terms = ((self.chunk, self.height * size), (self.run, _RUN_ROWS * size), (VECTOR, 1))
        position = Position(terms, 0, 1, self.extent(self.rows * size))
        return Access(name, self._outer_strides(walk), (), (position,))


#: Elements of a row, at least, so that many rows are interleaved.
_FEWEST_ELEMENTS: Final = 64
#: Elements, at least, so that interleaving pays for rows that share an operand.
_FEWEST_SHARED: Final = 1 << 12


def lower_group(groups: GroupValues, group: Group) -> LoweredStep:
    """Return the kernel of a fusion group, lowered by its kind (map, rows, GEMM, scan, ...).

    The modules for rare kinds of groups are imported with the first such group.
    """
    if group.kind == "block":
        return BlockLowering(groups, group).lower()
    if group.chunk:
        return _lower_map(_PieceLowering(groups, group))
    if group.kind == "windows":
        from staticgrad.compiler.lowering.windows.groups import lower_windows

        return lower_windows(groups, group)
    if has_short_rows(groups, group):
        from staticgrad.compiler.lowering.short_rows import ShortRows

        return ShortRows(groups, group).lower(group.row)
    if group.kind == "rows":
        return RowLowering(groups, group).lower()
    if group.kind == "scatter":
        return _lower_scatter(_ScatterLowering(groups, group))
    cannot_fold = group.reductions or group.checked or group.regions
    if group.kind == "map" and may_fold(group) and not cannot_fold:
        short = _lower_short_or_folded(groups, group)
        if short is not None:
            return short
    return _LOWERINGS[group.kind](Lowering(groups, group))


def _lower_short_or_folded(groups: GroupValues, group: Group) -> LoweredStep | None:
    """Lower a map over short rows: flattened rows, or one row in each lane."""
    # With 256-bit registers, rows of three to eight elements take two to three times as long with a
    # row in each lane as folded (Zen 3): a vector there is two registers.
    from staticgrad.compiler.lowering.short_rows import lower_short_map

    folds_first = not current().has_mask_registers and group.domain[-1] != 2
    folded = lower_folded(groups, group) if folds_first else None
    return (
        folded
        or lower_short_map(groups, group, unroll_shared=False)
        or (None if folds_first else lower_folded(groups, group))
        or lower_short_map(groups, group, unroll_shared=True)
    )


def _walks(low: Lowering) -> list[Walk]:
    return operand_walks(low.groups, low.group)


def _evaluate_nodes(low: Lowering) -> None:
    """Compute the expressions of a map's nodes in order: searches, assemblies, elementwise ops."""
    for node in low.group.nodes:
        if isinstance(node.form, forms.SearchForm):
            row, value = map(low.groups.source, node.args)
            operand = low.operand(row.base, row.layout.offset, row.type.dtype, "in")
            (stride,), (size,) = row.layout.strides, row.type.shape
            name = f"c{len(low.checks)}"
            low.checks.append(
                Search(
                    name,
                    low.value(value),
                    operand,
                    low.argument(stride),
                    low.extent(size),
                    node.form.right,
                )
            )
            low.memo[ResultBuffer(node)] = ex.ref(name, I64)
        elif isinstance(node.form, forms.Assemble):
            from staticgrad.compiler.lowering.windows.parts import emit_assembly

            low.memo[ResultBuffer(node)] = emit_assembly(low, node)
        elif not isinstance(node.form, forms.Contract):
            low.memo[ResultBuffer(node)] = low.emit_node(node)


def _result_walks(low: Lowering) -> list[tuple[Key, Walk]]:
    """Return the values that a kernel stores, or only the regions of them that are read."""
    # Where a group stores only regions of a value, only these regions are its results.
    group = low.group
    nodes = {*group.nodes}
    stored_keys = [k for k in group.stored if k.node in nodes and k not in group.reductions]
    stores = low.whole_walks(stored_keys)
    for key, regions in group.regions.items():
        walks = [Walk(target, layout.offset, layout.strides) for target, layout in regions]
        stores += [(key, walk) for walk in walks]
    return stores


def _lower_map(low: Lowering) -> LoweredStep:
    """Lower an elementwise group, with reductions along its last axes if it has any, to a map."""
    group = low.group
    split = len(group.domain) - group.row
    outer, row = range(split), range(split, len(group.domain))
    if not group.chunk and sums_across(low.groups, group):
        return _columns_step(low, outer, row, in_lanes=True)
    stores = _result_walks(low)
    results = [(key, low.store_walk(key, group.domain[:split])) for key in group.reductions]
    loads, stored = _walks(low), [walk for _, walk in stores]
    walks = [*loads, *stored, *(walk for _, walk in results)]
    segments: list[Sequence[int]] = [outer, row]
    if not group.reductions:
        axes_in_order = (*outer, *row)
        segments = [axes_in_order if group.keeps_axes else axis_order(low, loads, stored)]
    low.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
    keeps_axes = group.keeps_axes and not group.reductions
    axes, vector = map_axes(low) if keeps_axes else vector_axis(low, len(segments) - 1)
    if not group.chunk:
        note_neighbours(low, loads)
        note_neighbours(low, stored)
    _evaluate_nodes(low)
    body: list[Statement] = list(low.checks)
    body += [low.store_value(key, walk, walk.base in group.streamed) for key, walk in stores]
    names = {key: f"r{n}" for n, key in enumerate(group.reductions)}
    body += [_accumulate(low, names[key], reduction) for key, reduction in group.reductions.items()]
    if not group.reductions:
        return low.finish([Map(vector, tuple(body))], axes)
    finals = Scalar(tuple([_store_reduction(low, k, w, names[k]) for k, w in results]))
    if isinstance(low, _PieceLowering):
        return low.finish([*low.piece_stages(f"r{len(names)}", body), finals], [*axes, low.pieces])
    # An operand that all rows share, for example the vector of a matrix-vector product.
    moves = [[stride != 0 for stride in walk.strides] for walk in loads]
    shared = any(any(axes_moved[split:]) and not any(axes_moved[:split]) for axes_moved in moves)
    interleaved = _interleaves_rows(group, shared) and bool(axes)
    row_count = count_interleaved_rows(low, shared) if interleaved else 1
    stage = Map(vector, tuple(body))
    if interleaved:
        stage = low.annotate(choose_prefetch(low, axes, row_count), stage)
    return low.finish([stage, finals], axes, directives=interleaving(row_count))


class _PieceLowering(Lowering):
    """The state of lowering a split reduction: an iteration for each piece of a long row.

    The last piece may be shorter.
    """

    @property
    def piece(self) -> str:
        return self.loops.next

    @property
    def pieces(self) -> Axis:
        *_, count = self.groups.value_type(next(iter(self.group.reductions))).shape
        return Axis(self.piece, self.extent(count))

    def piece_stages(self, left: str, body: Sequence[Statement]) -> tuple[Scalar, Map]:
        """Return the stages of a chunk of a split reduction; ``left``: the name of its length."""
        length = ex.size(str(self.extent(self.group.domain[-1])))
        remaining = length - ex.index(self.piece) * self.group.chunk
        return (
            Scalar((Keep(left, remaining),)),
            Map(Axis(VECTOR, self.group.chunk, past=left), tuple(body)),
        )

    def store_walk(self, key: Key, shape: Shape) -> Walk:
        if key not in self.group.reductions:
            return super().store_walk(key, shape)
        *outer, _ = c_strides(self.groups.value_type(key).shape)
        return Walk(key, 0, (*outer, 0))

    def index(self, name: str) -> Expr:
        position = super().index(name)
        return ex.index(self.piece) * self.group.chunk + position if name == VECTOR else position

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return the access inside of a chunk of a split reduction: offset by the chunk's start."""
        access = super().access(walk, dtype, mode, gather)
        if walk.base in self.group.reductions:
            return replace(access, strides=(*access.strides, (self.piece, 1)))
        step = dict(access.strides).get(VECTOR, 0)
        if step == 0:
            return access
        strides = tuple([move for move in access.strides if move[0] != VECTOR])
        length = self.extent(self.group.domain[-1])
        position = Position(self.position_terms(VECTOR, 1), 0, step, length, within=True)
        return replace(access, strides=strides, positions=(*access.positions, position))

    def position_terms(self, loop: str, step: int) -> tuple[tuple[str, Extent], ...]:
        far = [(self.piece, step * self.group.chunk)] if loop == VECTOR else []
        return (*far, (loop, step))


def _interleaves_rows(group: Group, shared: bool) -> bool:
    """Return True if interleaving the rows of a reduction pays."""
    # A single sum per row gains nothing: the processor overlaps it with the next row. It gains if
    # rows share an operand, which interleaved rows load once.
    if group.keeps_axes or group.checked or group.regions:
        return False
    if len(group.reductions) < 2 and not shared:
        return False
    length = hint_product(group.domain[len(group.domain) - group.row :])
    return _FEWEST_ELEMENTS <= length <= BLOCK and is_large(
        group.domain, _FEWEST_SHARED if shared else None
    )


def _accumulate(low: Lowering, name: str, reduction: GroupReduction) -> Accumulate:
    value = low.wide_value(reduction.source)
    ordered = forms.COMBINERS[reduction.kind].is_ordered(value.dtype)
    in_pieces = isinstance(reduction.source.base, ChunkBuffer)
    return Accumulate(name, reduction.kind, value, in_pieces and ordered)


def _store_reduction(low: Lowering, key: Key, target: Walk, name: str) -> Store:
    dtype = low.groups.value_type(key).dtype
    return Store(low.access(target, dtype, "out"), ex.ref(name, dtype.compute).cast(dtype))


def _lower_columns(low: Lowering) -> LoweredStep:
    group = low.group
    result_axes = [a for a in range(len(group.domain)) if a not in group.summed]
    return _columns_step(low, result_axes, group.summed, in_lanes=False)


def _columns_step(
    low: Lowering, result_axes: Sequence[int], summed: Sequence[int], in_lanes: bool
) -> LoweredStep:
    """Lower sums across rows (over the axes ``summed``), a vector of results at a time."""
    group = low.group
    shape = tuple(group.domain[a] for a in result_axes)
    strides: list[Size] = [0] * len(group.domain)
    for axis, stride in zip(result_axes, c_strides(shape), strict=True):
        strides[axis] = stride
    results = [(key, Walk(key, 0, tuple(strides))) for key in group.reductions]
    walks = [*_walks(low), *(walk for _, walk in results)]
    low.loops = loops_over(group.domain, [result_axes, summed], walks, merge=not group.indexed)
    axes, vector = vector_axis(low, 0)
    rows = tuple(low.as_axes(low.loops.segments[1]))
    _evaluate_nodes(low)
    reductions = group.reductions.values()
    # Only ordered reductions need the lane order; others give the same result in any order.
    in_lanes &= all(forms.COMBINERS[r.kind].is_ordered(r.source.type.dtype) for r in reductions)
    totals = tuple(
        Accumulate(f"r{n}", reduction.kind, low.wide_value(reduction.source))
        for n, reduction in enumerate(reductions)
    )
    stores = tuple(_store_reduction(low, *result, f"r{n}") for n, result in enumerate(results))
    return low.finish([Columns(vector, rows, totals, stores, in_lanes)], axes)


def _lower_gemm(low: Lowering) -> LoweredStep:
    """Lower a matrix product with its elementwise prologue and epilogue to a Gemm stage."""
    group = low.group
    anchor = next(n for n in group.nodes if isinstance(n.form, forms.Contract))
    form = anchor.form
    assert isinstance(form, forms.Contract)
    rank = len(group.domain)
    a, b = (low.groups.source(arg) for arg in anchor.args)
    a_walk, a_rows, a_inner = matrix(low, a, form.transpose_a)
    b_walk, b_inner, b_columns = matrix(low, b, form.transpose_b, form.panels)
    inner = a.type.shape[-2 if form.transpose_a else -1]
    stores = _result_walks(low)
    walks = [a_walk, b_walk, *_walks(low), *(w for _, w in stores)]
    keeps_row_axis = group.indexed or form.panels
    merged_rows = None if keeps_row_axis else collapse_batch_rows(group.domain, walks, a_rows)
    if merged_rows is None:
        segments = [list(range(rank - 2)), [rank - 2], [rank - 1]]
        low.loops = loops_over(group.domain, segments[:1], walks, merge=not group.indexed)
        rows = group.domain[-2]
        moves = {walk: walk.strides[-2] for walk in walks}
    else:
        low.loops = Loops([[]], dict.fromkeys(walks, ()), {})
        rows, moves = merged_rows
        a_rows, moves[a_walk] = moves[a_walk], 0
    keep_matrix_axes(low, rows, moves)
    dtype, sizes = anchor.types[0].dtype, {"k": inner, "i": rows, "j": group.domain[-1]}
    if form.panels:
        sizes["j"] = add_panels(low, b_walk, b)
    axes = low.as_axes(low.loops.segments[-1 if form.panels else 0])
    # In this order, so that a row stride equal to the result's columns has the name of these.
    k, i, j = (Axis(name, low.add_argument(size)) for name, size in sizes.items())

    def strided_access(walk: Walk, source: Source, *moves: tuple[Axis, Size, Axis]) -> Access:
        """Return a GEMM operand's access; a stride equal to the other loop's extent has its name.

        So one kernel serves products of any sizes, although two sizes may be equal.
        """
        access = low.access(walk, source.type.dtype)
        steps = [(loop.name, low.argument(step, row.extent)) for loop, step, row in moves]
        return Access(access.operand, (*access.strides, *steps))

    a_access = strided_access(a_walk, a, (i, a_rows, k), (k, a_inner, i))
    b_access = strided_access(b_walk, b, (k, b_inner, j), (j, b_columns, k))
    low.memo[ResultBuffer(anchor)] = ex.ref("acc", dtype.compute).cast(dtype)
    _evaluate_nodes(low)
    body = tuple([low.store_value(key, walk) for key, walk in stores])
    product = Gemm((i,), (j,), (k,), a_access, b_access, body, factors=form.factors)
    return low.finish([product], axes)


def _lower_scatter(low: _ScatterLowering) -> LoweredStep:
    """Lower scatters of one index to loops over their updates, vectors if no lanes conflict."""
    nodes = low.group.nodes
    node = nodes[0]
    form = node.form
    assert isinstance(form, forms.INDEXED)
    rank = len(low.group.domain)
    stages: list[Stage] = []
    if onto := isinstance(form, forms.ScatterOnto):
        stages.append(_copy_base(low, node, form.axis))
    targets = [gather_walks(low.groups, scatter)[0] for scatter in nodes]
    _, indices, stride = gather_walks(low.groups, node)
    updates = [low.groups.source(scatter.args[0]) for scatter in nodes]
    walks = [*targets, indices, *source_walks(low.groups, low.group, updates)]
    # Two iterations of the axes before the scattered one never store to the same element: these
    # axes are outer loops, which run in any order. Axes after those of the indices are collapsed
    # into a row, because no op reads positions along them.
    along = isinstance(form, forms.ScatterAlong)
    first_row_axis = rank if along else form.axis + node.args[1].type.rank
    segments = [range(form.axis), range(form.axis, first_row_axis), range(first_row_axis, rank)]
    low.loops = loops_over(low.group.domain, segments, walks, [False, False, True])
    # The last axis is the vector axis unless several lanes could store to the same element.
    outer_loops, *inside = low.loops.segments
    inner = [*chain(*inside)]
    name = inner[-1][0] if inner else ""
    moves = [dict(low.loops.strides[walk]).get(name, 0) for walk in (targets[0], indices)]
    conflict = moves[0] == 0 or moves[1] != 0
    vector = Axis(VECTOR, 1)
    if not conflict:
        name, extent = inner.pop()
        low.rename[name] = VECTOR
        vector = Axis(VECTOR, low.extent(extent))
    axes, loops = low.as_axes(outer_loops), low.as_axes(inner)
    if low.parts > 1:
        keep, part, loops[0] = low.split_loop(*inner[0], targets)
        axes.append(part)
        stages.append(Scalar((keep,)))
    index = low.load_index(node)
    values = [low.value(update) for update in updates]
    stores = []
    for scatter, target, value in zip(nodes, targets, values, strict=True):
        mode: Mode = "out" if onto else "inout"
        kind = scatter.form.kind if isinstance(scatter.form, forms.Scatter) else "sum"
        access = low.access(target, scatter.types[0].dtype, mode, gather=(stride,))
        stores.append(Store(access, value, (index,), combine="" if onto else kind))
    body = (*low.checks, *stores)
    serial = not axes and not onto
    if serial:
        axes, loops = loops, []
    stage: Stage = Map(vector, body)
    if conflict:  # scalar: vectors with one element would wait for memory
        stage = Scalar(body)
        if serial and len(axes) > 1:  # a loop computes its index without a division
            loops.append(axes.pop())
    for axis in reversed(loops):
        stage = Loop(axis, (), (stage,), ())
    return low.finish([*stages, stage], axes, serial)


def _copy_base(low: Lowering, node: Node, axis: int) -> Stage:
    """Copy the array into which a scatter stores, for each iteration of the axes before its own."""
    shape, base = node.types[0].shape, low.groups.source(node.args[2])
    of_result = replace(low.group, domain=shape)
    target = store_walk(of_result, ResultBuffer(node), shape)
    walks = [target] if base.inline else [walk_of(of_result, base), target]
    group, low.group = low.group, of_result
    low.loops = loops_over(shape, [range(axis), range(axis, len(shape))], walks, [False, True])
    loops = low.loops.segments[1]
    low.rename = {loops[-1][0]: VECTOR} if loops else {}
    access = low.access(target, node.types[0].dtype, "out")
    body = (Store(access, low.value(base)),)
    stage: Stage = Scalar(body)  # of one element
    if loops:
        stage = Map(Axis(VECTOR, low.extent(loops[-1][1])), body, tuple(low.as_axes(loops[:-1])))
    low.group, low.rename, low.loads = group, {}, {}
    return stage


class _ScatterLowering(Lowering):
    """The state of lowering a scatter; in parts it has an outer iteration for each part.

    The last parts may be shorter.
    """

    @property
    def parts(self) -> int:
        form = self.group.nodes[0].form
        return form.parts if isinstance(form, forms.Scatter) else 1

    def split_loop(
        self, loop: str, count: Size, targets: Sequence[Walk]
    ) -> tuple[Keep, Axis, Axis]:
        """Split the loop of a scatter into parts, each with its copy of the targets, for workers.

        Return the statement that stores the number of iterations of a part, the loop over parts,
        and the loop over the iterations of a part.
        """
        node = self.group.nodes[0]
        assert isinstance(node.form, forms.Scatter)
        self.loop, self.part, self.count = loop, self.loops.next, count
        self.length = (count + (self.parts - 1)) // self.parts
        self.panels_before[loop] = ex.index(self.part) * self.size(self.length)
        left = Keep("r0", self.size(count) - self.panels_before[loop])
        size = product(node.types[0].shape[node.form.target :])
        for target in targets:
            self.loops.strides[target] = ((self.part, size), *self.loops.strides[target])
        inner_axis = Axis(loop, self.extent(self.length), past=left.name)
        return left, Axis(self.part, self.extent(self.parts)), inner_axis

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return the access inside of one part of a split scatter."""
        access = super().access(walk, dtype, mode, gather)
        step = dict(self.loops.strides[walk]).get(self.loop, 0) if self.parts > 1 else 0
        if step == 0:
            return access
        strides = tuple([move for move in access.strides if move[0] != self.loop])
        terms = ((self.part, self.extent(self.length)), (self.loop, 1))
        position = Position(terms, 0, self.argument(step), self.extent(self.count), within=True)
        return replace(access, strides=strides, positions=(*access.positions, position))


def _lower_sort(low: Lowering) -> LoweredStep:
    """Lower a sort or argsort of rows along one axis; only results that are read are stored."""
    (node,) = low.group.nodes
    form, domain = node.form, low.group.domain
    assert isinstance(form, forms.SortForm)
    others = [axis for axis in range(len(domain)) if axis != form.axis]
    row = low.walk(low.groups.source(node.args[0]))
    if form.picks and domain[form.axis] == 1:  # one element, which has no loop, at each index
        domain = (*domain[: form.axis], form.keep, *domain[form.axis + 1 :])
        still = tuple(0 if k == form.axis else step for k, step in enumerate(row.strides))
        row = Walk(row.base, row.offset, still)
    strides = tuple(0 if k == form.axis else step for k, step in enumerate(row.strides))
    chosen = Walk(row.base, row.offset, strides)
    shape = node.types[0].shape
    stored = [key for key in low.group.stored if isinstance(key, ResultBuffer)]
    results = {key: low.store_walk(key, shape) for key in stored}
    asked = [low.walk(low.groups.source(node.args[1]))] if form.picks else []
    walks = [row, chosen, *results.values(), *asked]
    low.loops = loops_over(domain, [others, [form.axis]], walks, True)
    axes, along = vector_axis(low, 1)
    key = form.key(ex.load(low.access(row, node.args[0].type.dtype), node.args[0].type.dtype))
    order = Order("at", key, low.scratch_operand(node))
    index = ex.ref(order.name, I64)
    values: list[Expr] = [index, index]
    if ResultBuffer(node) in results:
        dtype = node.types[0].dtype
        values[0] = ex.load(
            low.access(chosen, dtype, gather=(row.strides[form.axis],)), dtype, index
        )
    stores = tuple(
        Store(low.access(walk, node.types[key.result].dtype, "out"), values[key.result])
        for key, walk in results.items()
    )
    single = along.extent == 1  # an axis of size 1 has no loop
    result_axis = Axis(VECTOR, low.argument(form.keep) if single else low.extent(form.keep))
    places = [ex.load(low.access(walk, I64), I64) for walk in asked]
    if asked and node.args[0].shape[form.axis] == 1:
        places = [ex.literal(0, I64)]
    picks = tuple([Pick(place) for place in places])
    return low.finish([Sort(along, result_axis, order, stores, picks)], axes)


def _lower_scan(low: Lowering) -> LoweredStep:
    from staticgrad.compiler.lowering.scans import lower_scan

    return lower_scan(low)


_LOWERINGS = {
    "copy": lower_copies,
    "map": _lower_map,
    "columns": _lower_columns,
    "gemm": _lower_gemm,
    "scan": _lower_scan,
    "sort": _lower_sort,
}

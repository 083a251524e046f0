"""One group to one kernel: the stages for each kind of group, and maps over short rows.

``operands`` has the addressing of operands and the expressions.

**Short rows.** Vectors of elementwise groups over short inner axes run over several rows. If all
operands of a group have the layout of its domain, its axes are collapsed. An operand that is
broadcast, along rows or across them, prevents this for the last two axes, and rows shorter than a
vector leave most of its lanes empty. Here operands with another layout are first expanded into
scratch, some hundred rows at a time: once for a few rows if all rows are the same, else for each
row. Then the rows are one run of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from staticgrad.compiler.fusion.groups import (
    Group,
    GroupReduction,
    GroupValues,
    Home,
    Key,
    Pieces,
    ScratchBuffer,
    Source,
    Walk,
)
from staticgrad.compiler.fusion.sinking import LARGE, is_large
from staticgrad.compiler.fusion.walks import (
    gather_walks,
    has_short_rows,
    may_fold,
    operand_walks,
    rows_together,
    source_walks,
    sums_across,
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
    keep_matrix_axes,
    loops_over,
    map_axes,
    matrix,
    note_neighbours,
    vector_axis,
)
from staticgrad.compiler.lowering.rows import (
    RowLowering,
    interleaving,
    memory_ahead,
    rows_jammed,
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
from staticgrad.support.records import replace

#: Rows of an iteration, at most, and of one run of vectors: as many as a vector has lanes.
_ROWS: Final = 128
_RUN: Final = 16
#: Operands that are spread out, at most.
MOST_SPREAD: Final = 4
#: Instructions beside those of a body, for each short row, where masks are vectors that are made
#: anew, and where they have registers; and for one that is spread out.
_OVERHEAD: Final = (20, 6)
_SPREADING: Final = 11
#: The same for a row that waits for the end of the one before, which is stored over its operand.
_WAITING: Final = 40
#: Vectors of a row up to which that takes a large part of its time.
_LONGEST_WAITING: Final = 3
#: What is gained is this part of a row's time, at least.
_WORTH_IT: Final = 0.05
#: Elements from which on there is something to gain.
_FEWEST: Final = 1 << 10


def lower_folded(groups: GroupValues, group: Group) -> LoweredStep | None:
    """Return the kernel of a group whose short inner axis folds into the one before; else None."""
    return None if group.keeps_axes else _Folding(groups, group).lowered()


class _Folding(Lowering):
    """The state of lowering a group with short rows.

    Attributes:
        row, inner: the loops that are folded, and their extents ``rows`` and ``length``.
        chunk, run, within: loops over chunks of rows, over runs of a chunk, over rows of either.
        spread: by what is spread out, its scratch.
    """

    def lowered(self) -> LoweredStep | None:
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
        self.height = min(_ROWS, -(-hint_value(self.rows) // _RUN) * _RUN)
        self.spread = {
            walk: ScratchBuffer(group.nodes[0], number)
            for number, walk in enumerate(w for w in self.loops.strides if self._is_spread(w))
        }
        for node in group.nodes:
            self.memo[Home(node)] = self.scalar(node)
        body = tuple([self.put(key, walk) for key, walk in stores])
        axes = self.as_axes(loops[:-2])
        count = (self.rows + (self.height - 1)) // self.height
        axes.append(Axis(self.chunk, self.extent(count)))
        runs = Axis(self.run, self.height // _RUN)
        flat = Map(Axis(VECTOR, _RUN * self.length), body, (runs,))
        return self.finish([*self._spreading(), flat], axes)

    # -- what an operand is ----------------------------------------------------------------------

    @property
    def lanes(self) -> int:
        dtypes = [self._dtype(walk) for walk in self.loops.strides]
        return max((d.lanes for d in dtypes if not d.is_bool), default=1)

    def _steps(self, walk: Walk) -> tuple[Size, Size]:
        moves = dict(self.loops.strides[walk])
        return moves.get(self.row, 0), moves.get(self.inner, 0)

    def _is_flat(self, walk: Walk) -> bool:
        return self._steps(walk) == (self.length, 1)

    def _is_spread(self, walk: Walk) -> bool:
        return not self._is_flat(walk) and self._steps(walk) != (0, 0)

    def _is_worth_it(self, stored: Sequence[Walk]) -> bool:
        walks = [*self.loops.strides]
        if not all(map(self._is_flat, stored)):
            return False
        lanes = self.lanes
        spread = [walk for walk in walks if self._is_spread(walk)]
        rows = hint_value(self.rows)
        few = rows < 2 * _RUN or rows * self.length < _FEWEST
        if few or len(spread) > MOST_SPREAD or _RUN % lanes or self.length % lanes == 0:
            return False
        vectors = -(-self.length // lanes)
        waits = self.group.in_place
        if vectors > (_LONGEST_WAITING if waits else 1):
            return False
        work = len(walks) + self.group.instructions
        each = sum(self._steps(walk)[0] != 0 for walk in spread)
        row = vectors * work + (_WAITING if waits else _OVERHEAD[current().has_mask_registers])
        return _SPREADING * each * vectors + work * self.length / lanes < (1 - _WORTH_IT) * row

    # -- spreading out ---------------------------------------------------------------------------

    def _spreading(self) -> list[Stage]:
        alike = [walk for walk in self.spread if self._steps(walk)[0] == 0]
        numbers = [walk for walk in self.spread if self._steps(walk)[1] == 0]
        each = [walk for walk in self.spread if walk not in (*alike, *numbers)]
        whole = -(-self.length // self.lanes) * self.lanes  # the next row is written over the rest
        stages: list[Stage] = []
        for walks, height, length in (
            (alike, _RUN, self.length),
            (numbers, self.height, whole),
            (each, self.height, self.length),
        ):
            if walks:
                row = ((self.within, self.length), (VECTOR, 1))
                body = tuple(
                    Store(Access(self._room(walk), row), self._origin(walk)) for walk in walks
                )
                rows = (Axis(self.within, height),)
                stages.append(Map(Axis(VECTOR, length), body, rows))
        return stages

    def _dtype(self, walk: Walk) -> DType:
        return self.groups.value_type(walk.base).dtype

    def _room(self, walk: Walk) -> str:
        key = self.spread[walk]
        self.scratch[key] = self.operand(key, 0, self._dtype(walk), "scratch")
        return self.scratch[key]

    def _origin(self, walk: Walk) -> Expr:
        name = self.operand(walk.base, walk.offset, self._dtype(walk), "in")
        along, across = self._steps(walk)
        strides = self._outer(walk)
        if across != 0:
            strides = (*strides, (VECTOR, self.argument(across)))
        positions: tuple[Position, ...] = ()
        if along != 0:
            terms = ((self.chunk, self.height), (self.within, 1))
            stride, rows = self.argument(along), self.extent(self.rows)
            positions = (Position(terms, 0, stride, rows),)
        return load(Access(name, strides, (), positions), self._dtype(walk))

    def _outer(self, walk: Walk) -> tuple[tuple[str, str | int], ...]:
        moves = self.loops.strides[walk]
        folded = (self.row, self.inner)
        return tuple((axis, self.argument(step)) for axis, step in moves if axis not in folded)

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        if walk in self.spread:
            alike = self._steps(walk)[0] == 0
            runs = () if alike else ((self.run, _RUN * self.length),)
            return Access(self._room(walk), (*runs, (VECTOR, 1)))
        name = self.operand(walk.base, walk.offset, dtype, mode)
        if not self._is_flat(walk):
            return Access(name, self._outer(walk))
        size = self.length
        terms = ((self.chunk, self.height * size), (self.run, _RUN * size), (VECTOR, 1))
        place = Position(terms, 0, 1, self.extent(self.rows * size))
        return Access(name, self._outer(walk), (), (place,))


#: Elements of a row from which on rows are taken side by side where there are many.
_SHORTEST: Final = 64
#: Elements from which on that pays for rows that share what they read.
_SHARED: Final = 1 << 12


def lower_group(groups: GroupValues, group: Group) -> LoweredStep:
    """Return the kernel that computes ``group``, one of ``groups``.

    What writes kinds of groups that few programs have is loaded with the first of them.
    """
    if group.kind == "block":
        return BlockLowering(groups, group).lowered()
    if group.pieces:
        return _lower_map(_Pieces(groups, group))
    if group.kind == "windows":
        from staticgrad.compiler.lowering.windows.groups import lower_windows

        return lower_windows(groups, group)
    if has_short_rows(groups, group):
        from staticgrad.compiler.lowering.short_rows import ShortRows

        return ShortRows(groups, group).lowered(group.row)
    if group.kind == "rows":
        return RowLowering(groups, group).lowered()
    if group.kind == "scatter":
        return _lower_scatter(_Scattered(groups, group))
    apart = group.reductions or group.checked or group.regions
    if group.kind == "map" and may_fold(group) and not apart:
        short = _short_or_folded(groups, group)
        if short is not None:
            return short
    return _LOWERINGS[group.kind](Lowering(groups, group))


def _short_or_folded(groups: GroupValues, group: Group) -> LoweredStep | None:
    # Rows of three to eight elements that are dealt out to lanes take two to three times as long as
    # folded ones in registers of 256 bits, of which a vector has two (Zen 3).
    from staticgrad.compiler.lowering.short_rows import lower_short_map

    folds_first = not current().has_mask_registers and group.domain[-1] != 2
    folded = lower_folded(groups, group) if folds_first else None
    return (
        folded
        or lower_short_map(groups, group, alike=False)
        or (None if folds_first else lower_folded(groups, group))
        or lower_short_map(groups, group, alike=True)
    )


def _walks(low: Lowering) -> list[Walk]:
    return operand_walks(low.groups, low.group)


def _evaluate_nodes(low: Lowering) -> None:
    for node in low.group.nodes:
        if isinstance(node.form, forms.SearchForm):
            low.memo[Home(node)] = _searched(low, node, node.form.right)
        elif isinstance(node.form, forms.Assemble):
            from staticgrad.compiler.lowering.windows.parts import windowed

            low.memo[Home(node)] = windowed(low, node)
        elif not isinstance(node.form, forms.Contract):
            low.memo[Home(node)] = low.computed(node)


def _searched(low: Lowering, node: Node, right: bool) -> Expr:
    row, value = map(low.groups.source, node.args)
    operand = low.operand(row.base, row.layout.offset, row.type.dtype, "in")
    (stride,), (size,) = row.layout.strides, row.type.shape
    name = f"c{len(low.checks)}"
    low.checks.append(
        Search(name, low.value(value), operand, low.argument(stride), low.extent(size), right)
    )
    return ex.ref(name, I64)


def _stores(low: Lowering) -> list[tuple[Key, Walk]]:
    # Of a value that it stores parts of only the parts are its own.
    group = low.group
    nodes = {*group.nodes}
    whole = [k for k in group.stored if k.node in nodes and k not in group.reductions]
    found = low.whole_walks(whole)
    for key, regions in group.regions.items():
        walks = [Walk(target, layout.offset, layout.strides) for target, layout in regions]
        found += [(key, walk) for walk in walks]
    return found


def _lower_map(low: Lowering) -> LoweredStep:
    group = low.group
    split = len(group.domain) - group.row
    around, row = range(split), range(split, len(group.domain))
    if not group.pieces and sums_across(low.groups, group):
        return _columns_step(low, around, row, in_lanes=True)
    stores = _stores(low)
    results = [(key, low.store_walk(key, group.domain[:split])) for key in group.reductions]
    loads, stored = _walks(low), [walk for _, walk in stores]
    walks = [*loads, *stored, *(walk for _, walk in results)]
    segments: list[Sequence[int]] = [around, row]
    if not group.reductions:
        every = (*around, *row)
        segments = [every if group.keeps_axes else axis_order(low, loads, stored)]
    low.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
    kept = group.keeps_axes and not group.reductions
    axes, vector = map_axes(low) if kept else vector_axis(low, len(segments) - 1)
    if not group.pieces:
        note_neighbours(low, loads)
        note_neighbours(low, stored)
    _evaluate_nodes(low)
    body: list[Statement] = list(low.checks)
    body += [low.put(key, walk, walk.base in group.streamed) for key, walk in stores]
    names = {key: f"r{n}" for n, key in enumerate(group.reductions)}
    body += [_accumulated(low, names[key], each) for key, each in group.reductions.items()]
    if not group.reductions:
        return low.finish([Map(vector, tuple(body))], axes)
    finals = Scalar(tuple([_reduced(low, k, w, names[k]) for k, w in results]))
    if isinstance(low, _Pieces):
        return low.finish([*low.of_piece(f"r{len(names)}", body), finals], [*axes, low.pieces])
    # Do all rows read one, as in a matrix and a vector?
    moves = [[stride != 0 for stride in walk.strides] for walk in loads]
    shared = any(any(each[split:]) and not any(each[:split]) for each in moves)
    several = _waits_for_rows(group, shared) and bool(axes)
    jammed = rows_jammed(low, shared) if several else 1
    stage = Map(vector, tuple(body))
    if several:
        stage = low.under(memory_ahead(low, axes, jammed), stage)
    return low.finish([stage, finals], axes, directives=interleaving(jammed))


class _Pieces(Lowering):
    """Pieces of long rows: an iteration for each; the last one is shorter."""

    @property
    def piece(self) -> str:
        return self.loops.next

    @property
    def pieces(self) -> Axis:
        *_, count = self.groups.value_type(next(iter(self.group.reductions))).shape
        return Axis(self.piece, self.extent(count))

    def of_piece(self, left: str, body: Sequence[Statement]) -> tuple[Scalar, Map]:
        """Return the stages of a piece; ``left``: the name of the number of its elements."""
        whole = ex.size(str(self.extent(self.group.domain[-1])))
        rest = whole - ex.index(self.piece) * self.group.pieces
        return (
            Scalar((Keep(left, rest),)),
            Map(Axis(VECTOR, self.group.pieces, past=left), tuple(body)),
        )

    def store_walk(self, key: Key, shape: Shape) -> Walk:
        if key not in self.group.reductions:
            return super().store_walk(key, shape)
        *outer, _ = c_strides(self.groups.value_type(key).shape)
        return Walk(key, 0, (*outer, 0))

    def index(self, name: str) -> Expr:
        found = super().index(name)
        return ex.index(self.piece) * self.group.pieces + found if name == VECTOR else found

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        access = super().access(walk, dtype, mode, gather)
        if walk.base in self.group.reductions:
            return replace(access, strides=(*access.strides, (self.piece, 1)))
        step = dict(access.strides).get(VECTOR, 0)
        if step == 0:
            return access
        strides = tuple([move for move in access.strides if move[0] != VECTOR])
        length = self.extent(self.group.domain[-1])
        place = Position(self.position_terms(VECTOR, 1), 0, step, length, within=True)
        return replace(access, strides=strides, positions=(*access.positions, place))

    def position_terms(self, loop: str, step: int) -> tuple[tuple[str, Extent], ...]:
        far = [(self.piece, step * self.group.pieces)] if loop == VECTOR else []
        return (*far, (loop, step))


def _waits_for_rows(group: Group, shared: bool) -> bool:
    # One sum of a row is as fast by itself, where the processor is at the next row meanwhile; not
    # where rows share what they read: side by side they load it once.
    if group.keeps_axes or group.checked or group.regions:
        return False
    if len(group.reductions) < 2 and not shared:
        return False
    length = hint_product(group.domain[len(group.domain) - group.row :])
    return _SHORTEST <= length <= BLOCK and is_large(group.domain, _SHARED if shared else LARGE)


def _accumulated(low: Lowering, name: str, reduction: GroupReduction) -> Accumulate:
    value = low.widened(reduction.source)
    ordered = forms.COMBINERS[reduction.kind].is_ordered(value.dtype)
    in_pieces = isinstance(reduction.source.base, Pieces)
    return Accumulate(name, reduction.kind, value, in_pieces and ordered)


def _reduced(low: Lowering, key: Key, target: Walk, name: str) -> Store:
    dtype = low.groups.value_type(key).dtype
    return Store(low.access(target, dtype, "out"), ex.ref(name, dtype.compute).cast(dtype))


def _lower_columns(low: Lowering) -> LoweredStep:
    group = low.group
    kept = [a for a in range(len(group.domain)) if a not in group.summed]
    return _columns_step(low, kept, group.summed, in_lanes=False)


def _columns_step(
    low: Lowering, kept: Sequence[int], summed: Sequence[int], in_lanes: bool
) -> LoweredStep:
    """Return the reductions of a group over the axes ``summed``, a vector of results at a time."""
    group = low.group
    shape = tuple(group.domain[a] for a in kept)
    strides: list[Size] = [0] * len(group.domain)
    for axis, stride in zip(kept, c_strides(shape), strict=True):
        strides[axis] = stride
    results = [(key, Walk(key, 0, tuple(strides))) for key in group.reductions]
    walks = [*_walks(low), *(walk for _, walk in results)]
    low.loops = loops_over(group.domain, [kept, summed], walks, merge=not group.indexed)
    axes, vector = vector_axis(low, 0)
    rows = tuple(low.as_axes(low.loops.segments[1]))
    _evaluate_nodes(low)
    found = group.reductions.values()
    # The rest comes out alike in any order.
    in_lanes &= all(forms.COMBINERS[r.kind].is_ordered(r.source.type.dtype) for r in found)
    totals = tuple(
        Accumulate(f"r{n}", each.kind, low.widened(each.source)) for n, each in enumerate(found)
    )
    stores = tuple(_reduced(low, *result, f"r{n}") for n, result in enumerate(results))
    return low.finish([Columns(vector, rows, totals, stores, in_lanes)], axes)


def _lower_gemm(low: Lowering) -> LoweredStep:
    group = low.group
    anchor = next(n for n in group.nodes if isinstance(n.form, forms.Contract))
    form = anchor.form
    assert isinstance(form, forms.Contract)
    rank = len(group.domain)
    a, b = (low.groups.source(arg) for arg in anchor.args)
    a_walk, a_rows, a_inner = matrix(low, a, form.transpose_a)
    b_walk, b_inner, b_columns = matrix(low, b, form.transpose_b, form.panels)
    inner = a.type.shape[-2 if form.transpose_a else -1]
    stores = _stores(low)
    walks = [a_walk, b_walk, *_walks(low), *(w for _, w in stores)]
    apart = group.indexed or form.panels
    together = None if apart else rows_together(group.domain, walks, a_rows)
    if together is None:
        segments = [list(range(rank - 2)), [rank - 2], [rank - 1]]
        low.loops = loops_over(group.domain, segments[:1], walks, merge=not group.indexed)
        rows = group.domain[-2]
        moves = {walk: walk.strides[-2] for walk in walks}
    else:
        low.loops = Loops([[]], dict.fromkeys(walks, ()), {})
        rows, moves = together
        a_rows, moves[a_walk] = moves[a_walk], 0
    keep_matrix_axes(low, rows, moves)
    dtype, sizes = anchor.types[0].dtype, {"k": inner, "i": rows, "j": group.domain[-1]}
    if form.panels:
        sizes["j"] = add_panels(low, b_walk, b)
    axes = low.as_axes(low.loops.segments[-1 if form.panels else 0])
    # In this order, so that what is as wide as the result has the name of its columns.
    k, i, j = (Axis(name, low.sized(size)) for name, size in sizes.items())

    def over(walk: Walk, source: Source, *moves: tuple[Axis, Size, Axis]) -> Access:
        """An access that loops move, by the length of a row of the other loop where it is that.

        So one kernel serves products of any sizes, although two of them may be equal.
        """
        access = low.access(walk, source.type.dtype)
        steps = [(loop.name, low.argument(step, row.extent)) for loop, step, row in moves]
        return Access(access.operand, (*access.strides, *steps))

    a_access = over(a_walk, a, (i, a_rows, k), (k, a_inner, i))
    b_access = over(b_walk, b, (k, b_inner, j), (j, b_columns, k))
    low.memo[Home(anchor)] = ex.ref("acc", dtype.compute).cast(dtype)
    _evaluate_nodes(low)
    body = tuple([low.put(key, walk) for key, walk in stores])
    return low.finish([Gemm((i,), (j,), (k,), a_access, b_access, body)], axes)


def _lower_scatter(low: _Scattered) -> LoweredStep:
    group = low.group
    node = group.nodes[0]
    form = node.form
    assert isinstance(form, forms.INDEXED)
    rank = len(group.domain)
    target, indices, stride = gather_walks(low.groups, node)
    update = low.groups.source(node.args[0])
    walks = [target, indices, *source_walks(low.groups, low.group, [update])]
    # No two places of the axes in front of the scattered one store to one element: they are outer
    # loops, which run in any order. Axes behind those of the indices are one row, whose positions
    # nobody asks for.
    along = isinstance(form, forms.ScatterAlong)
    behind = rank if along else form.axis + node.args[1].type.rank
    segments = [range(form.axis), range(form.axis, behind), range(behind, rank)]
    low.loops = loops_over(group.domain, segments, walks, [False, False, True])
    # The last axis is the vector axis unless lanes could meet in one element.
    before, *inside = low.loops.segments
    inner = [*chain(*inside)]
    name = inner[-1][0] if inner else ""
    moves = [dict(low.loops.strides[walk]).get(name, 0) for walk in (target, indices)]
    conflict = moves[0] == 0 or moves[1] != 0
    vector = Axis(VECTOR, 1)
    if not conflict:
        name, extent = inner.pop()
        low.rename[name] = VECTOR
        vector = Axis(VECTOR, low.extent(extent))
    axes, loops = low.as_axes(before), low.as_axes(inner)
    stages: list[Stage] = []
    if low.parts > 1:
        keep, part, loops[0] = low.cut(*inner[0], target)
        axes.append(part)
        stages.append(Scalar((keep,)))
    index = low.loaded_index(node)
    dtype = node.types[0].dtype
    value = low.value(update)
    kind = form.kind if isinstance(form, forms.Scatter) else "sum"
    place = low.access(target, dtype, "inout", gather=(stride,))
    store = Store(place, value, (index,), combine=kind)
    body = (*low.checks, store)
    serial = not axes
    if serial:
        axes, loops = loops, []
    stage: Stage = Map(vector, body)
    if conflict:  # one element after the other: vectors of one would wait for memory
        stage = Scalar(body)
        if serial and len(axes) > 1:  # a loop finds its place without a division
            loops.append(axes.pop())
    for axis in reversed(loops):
        stage = Loop(axis, (), (stage,), ())
    return low.finish([*stages, stage], axes, serial)


class _Scattered(Lowering):
    """A scatter; one in parts has an outer iteration for each, of which the last are shorter."""

    @property
    def parts(self) -> int:
        form = self.group.nodes[0].form
        return form.parts if isinstance(form, forms.Scatter) else 1

    def cut(self, loop: str, count: Size, target: Walk) -> tuple[Keep, Axis, Axis]:
        """Cut a loop of so many iterations into parts, whose targets lie one behind the other.

        Return what keeps the number of iterations of a part, the loop over parts, and that of one.
        """
        (node,) = self.group.nodes
        assert isinstance(node.form, forms.Scatter)
        self.loop, self.part, self.count = loop, self.loops.next, count
        self.length = (count + (self.parts - 1)) // self.parts
        self.panels_before[loop] = ex.index(self.part) * self.size(self.length)
        left = Keep("r0", self.size(count) - self.panels_before[loop])
        size = product(node.types[0].shape[node.form.target :])
        self.loops.strides[target] = ((self.part, size), *self.loops.strides[target])
        each = Axis(loop, self.extent(self.length), past=left.name)
        return left, Axis(self.part, self.extent(self.parts)), each

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        access = super().access(walk, dtype, mode, gather)
        step = dict(self.loops.strides[walk]).get(self.loop, 0) if self.parts > 1 else 0
        if step == 0:
            return access
        strides = tuple([move for move in access.strides if move[0] != self.loop])
        terms = ((self.part, self.extent(self.length)), (self.loop, 1))
        place = Position(terms, 0, self.argument(step), self.extent(self.count), within=True)
        return replace(access, strides=strides, positions=(*access.positions, place))


def _lower_sort(low: Lowering) -> LoweredStep:
    """Lower a sort of rows along one axis; only results that are read are stored."""
    (node,) = low.group.nodes
    form, domain = node.form, low.group.domain
    assert isinstance(form, forms.SortForm)
    others = [axis for axis in range(len(domain)) if axis != form.axis]
    row = low.walk(low.groups.source(node.args[0]))
    strides = tuple(0 if k == form.axis else step for k, step in enumerate(row.strides))
    chosen = Walk(row.base, row.offset, strides)
    shape = node.types[0].shape
    stored = [key for key in low.group.stored if isinstance(key, Home)]
    results = {key: low.store_walk(key, shape) for key in stored}
    low.loops = loops_over(domain, [others, [form.axis]], [row, chosen, *results.values()], True)
    axes, along = vector_axis(low, 1)
    key = form.key(ex.load(low.access(row, node.args[0].type.dtype), node.args[0].type.dtype))
    order = Order("at", key, low.scratch_operand(node))
    place = ex.ref(order.name, I64)
    values: list[Expr] = [place, place]
    if Home(node) in results:
        dtype = node.types[0].dtype
        values[0] = ex.load(
            low.access(chosen, dtype, gather=(row.strides[form.axis],)), dtype, place
        )
    stores = tuple(
        Store(low.access(walk, node.types[key.result].dtype, "out"), values[key.result])
        for key, walk in results.items()
    )
    single = along.extent == 1  # an axis of size 1 has no loop
    kept = Axis(VECTOR, low.argument(form.keep) if single else low.extent(form.keep))
    return low.finish([Sort(along, kept, order, stores)], axes)


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

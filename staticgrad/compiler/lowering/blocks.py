"""Lower a block to one kernel: products over queries and keys, and the row operations between them.

An outer iteration computes one matrix of each operand, for example a head of attention. A loop over
tiles of rows has three stages: products into scratch, row operations (several rows interleaved),
and products of the results. Products that sum over rows of several tiles run after the loop. If
that needs too much scratch (``Roles.carried``), they run inside it, and their partial sums are
carried from tile to tile. A value that a later stage reads is in scratch; scratch of dead values is
reused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.compiler.fusion.groups import Key, ResultBuffer, Roles, Source, Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over, matrix
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import COMBINERS, Contract
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import Interleave, Prefetch
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.stages import (
    HALF_LINE,
    Accumulate,
    Axis,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Mode,
    Scalar,
    Stage,
    Statement,
    Store,
)
from staticgrad.language.types.arrays import Shape, c_strides
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support.records import replace

#: Rows of a tile that are interleaved.
_JAMMED: Final = 4
#: Numbers of the scratch buffers: sums carried from tile to tile, and sums of earlier blocks.
CHAINS: Final = 1
BLOCKS: Final = 2


class BlockLowering(Lowering):
    """The state of lowering a block.

    ``row``: the loop over the tile's rows in the current stage. ``shape``: the shape of the node
    that is being lowered.
    """

    row: str

    # -- the kernel -------------------------------------------------------------------------------

    def lower(self) -> LoweredStep:
        """Lower a block (attention: products around row operations) to loops over tiles."""
        assert self.group.roles is not None
        self.roles: Roles = self.group.roles
        self.height, self.domain, self.count = self.roles.tile, self.group.domain, 0
        rank = len(self.domain)
        self.loops = loops_over(self.domain, [range(rank - 2)], self._walks(), merge=True)
        axes = self.as_axes(self.loops.segments[0])
        self.tile, self.iteration = f"i{len(axes)}", f"i{len(axes) + 1}"
        self.block = f"i{len(axes) + 2}" if self._has_blocks(self.domain[-2]) else ""
        self.last, self.end = self._new_name(), self._new_name()
        later = (*self.roles.over_rows, *self.roles.over_columns)
        short = [node for node in later if node in self.roles.short]
        zeros = _fuse_loops(map(self._zeros, short))
        inside: list[Stage] = [Scalar(tuple(self._limits()))]
        inside += [self._score_product(node) for node in self.roles.scores]
        iterations = Axis(self.iteration, self.height, self.last)
        rows = Loop(iterations, (), tuple(self._row_stages()), ())
        inside.append(self.annotate(Interleave(self.iteration, _JAMMED), rows))
        inside += [self._product_over_rows(node) for node in self.roles.over_rows]
        if not self.roles.carried:
            loop = Loop(self._tiles(self.domain[-2]), (), tuple(inside), ())
            column_products = map(self._product_over_columns, self.roles.over_columns)
            return self.finish([*zeros, loop, *column_products], axes)
        inside += [self._accumulate_tile(node) for node in self.roles.over_columns]
        begins = [self._initialize_sums(node, 0.0, CHAINS) for node in self.roles.over_columns]
        if self.block:
            begins = [self._initialize_sums(node, -0.0, BLOCKS) for node in self.roles.over_columns]
            loops = [self._blocks(inside)]
        else:
            loops = [Loop(self._tiles(self.domain[-2]), (), tuple(inside), ())]
        self.block = ""
        ends = map(self._store_carried, self.roles.over_columns)
        return self.finish([*zeros, *begins, *loops, *ends], axes)

    def _tiles(self, rows: Size) -> Axis:
        return Axis(self.tile, self.extent(self._tiles_of(rows)))

    def _new_name(self) -> str:
        self.count += 1
        return f"r{len(self.group.reductions) + self.count - 1}"

    def _limits(self) -> Iterator[Keep]:
        yield Keep(self.last, self._rows_left(self.domain[-2]))
        if self.roles.mask_values or self.roles.short:
            end = self._first_row + self.roles.tile_end
            yield Keep(self.end, end.minimum(self.size(self.domain[-1])))

    @property
    def _terms(self) -> tuple[tuple[str, int], ...]:
        """The terms that the loops around a tile add to the index of its rows."""
        tile = (self.tile, self.height)
        return ((self.block, GEMM_BLOCK), tile) if self.block else (tile,)

    @property
    def _first_row(self) -> Expr:
        first = ex.index(self.tile) * self.height
        return ex.index(self.block) * GEMM_BLOCK + first if self.block else first

    def _rows_left(self, rows: Size) -> Expr:
        left = self.size(rows) - self._first_row
        return left.minimum(ex.literal(self.height, I64))

    def _columns(self, short: bool, name: str = VECTOR) -> Axis:
        """Return the loop over columns; with ``short`` it ends at the tile's last column."""
        return Axis(name, self.extent(self.domain[-1]), self.end if short else "")

    # -- terms that short loops skip ---------------------------------------------------------------

    def _zeros(self, node: Node) -> Loop:
        """Return the loop that stores 0.0 times the terms that a product over a triangle skips."""
        # The skipped terms are products with 0.0: a zero of either sign, or NaN if the other factor
        # is NaN or infinite. Skipped terms after a chain of additions count: their sum is -0.0 if
        # all of them are -0.0. Skipped terms before a chain do not count, except where they fill a
        # block of the sum, whose partial sum is 0.0.
        second, rows = self.groups.source(node.args[1]), node in self.roles.over_rows
        dtype = second.type.dtype
        walk, row_stride, column_stride = self._second_factor(node)
        size = self.domain[-1] if rows else self.domain[-2]
        width, extent = self.argument(node.types[0].shape[-1]), self.extent(size)
        loop, step = self.iteration, -1 if rows else 1
        start = self.argument(size - 1) if rows else 0
        base = self.access(walk, dtype)
        moves = ((VECTOR, self.argument(column_stride)),) if column_stride != 0 else ()
        load_position = Position(
            ((loop, step),), start, self.argument(row_stride), extent, within=True
        )
        value = ex.load(Access(base.operand, (*base.strides, *moves), (), (load_position,)), dtype)
        name = self.scratch_operand(node, dtype.compute)
        first = extent if rows else -1
        earlier = Position(((loop, step),), first, width, extent)
        nothing = ex.literal(-0.0, dtype.compute)
        previous = ex.load(
            Access(name, ((VECTOR, 1),), (), (earlier,)), dtype.compute, fill=nothing
        )
        wide = value.cast(dtype.compute)
        zero = wide * 0.0 if rows else abs(wide) * -0.0
        store_position = Position(((loop, step),), start, width, extent, within=True)
        total = previous + zero
        if not (isinstance(size, int) and size <= GEMM_BLOCK):
            # 0.0 where a block of the sum begins at or ends before the iteration, which the terms
            # that the triangle skips would add; else -0.0, which changes no number
            iteration = ex.index(loop)
            distance = self.size(size) - iteration - 1 if rows else iteration + 1
            is_full = (
                (distance & (GEMM_BLOCK - 1)).eq(0) & (distance > 0)
                if rows
                else distance >= GEMM_BLOCK
            )
            total = total + ex.select(
                is_full, ex.literal(0.0, dtype.compute), ex.literal(-0.0, dtype.compute)
            )
        store = Store(Access(name, ((VECTOR, 1),), (), (store_position,)), total)
        columns = Axis(VECTOR, self.extent(node.types[0].shape[-1]))
        return Loop(Axis(loop, extent), (), (Map(columns, (store,)),), ())

    def _with_zeros(self, node: Node, value: Expr, start: int) -> Expr:
        """Add to a product's element the zeros of the terms that its triangle skips."""
        if node not in self.roles.short:
            return value
        rows = node in self.roles.over_rows
        size = self.extent(self.domain[-1] if rows else self.domain[-2])
        width = self.argument(node.types[0].shape[-1])
        position = Position(self._terms, start, width, size)
        access = Access(self.scratch_operand(node, value.dtype), ((VECTOR, 1),), (), (position,))
        return value + ex.load(access, value.dtype, fill=ex.literal(-0.0, value.dtype))

    def _second_factor(self, node: Node) -> tuple[Walk, Size, Size]:
        form = node.form
        assert isinstance(form, Contract)
        return matrix(self, self.groups.source(node.args[1]), form.transpose_b)

    def _walks(self) -> Iterator[Walk]:
        """Yield the access paths of all operands and results of a block, to collapse its loops."""
        for node in self.roles.products:
            first, second = map(self.groups.source, node.args)
            if first.base not in self.roles.wide:
                yield matrix(self, first)[0]
            yield matrix(self, second)[0]
        for node in self.roles.elementwise:
            yield from self._walks_of(map(self.groups.source, node.args), node.types[0].shape)
        for reduction in self.group.reductions.values():
            yield from self._walks_of([reduction.source], self.domain)
        for key in self.group.stored:
            yield self._target_walk(key)

    def _walks_of(self, sources: Iterable[Source], shape: Shape) -> Iterator[Walk]:
        for source in sources:
            if source.inline:
                args = source.base.node.args
                yield from self._walks_of(map(self.groups.source, args), shape)
            elif source.base not in self.roles.inside:
                yield self._read_walk(source, shape)

    def _read_walk(self, source: Source, shape: Shape) -> Walk:
        strides = source.layout.broadcast(source.type.shape, shape)
        if shape != self.domain:
            strides = (*strides[: len(self.domain) - 1], 0)
        return Walk(source.base, source.layout.offset, strides)

    def _target_walk(self, key: Key) -> Walk:
        """Return the walk that stores a result of a block, without strides inside of its tile."""
        rank, shape = len(self.domain), self.groups.value_type(key).shape
        strides = c_strides(shape)
        if key in self.roles.per_row:
            return Walk(key, 0, (*strides[: rank - 1], 0))
        if key in self.roles.wide:
            return Walk(key, 0, strides)
        return Walk(key, 0, (*strides[:-2], 0, 0))

    def _tile_position(self, stride: Size) -> tuple[Position, ...]:
        if stride == 0:
            return ()
        terms, rows = (*self._terms, (self.row, 1)), self.extent(self.domain[-2])
        return (Position(terms, 0, self.argument(stride), rows, within=True),)

    def _row_access(self, walk: Walk, dtype: DType, columns: str, mode: Mode = "in") -> Access:
        row_stride, column_stride = walk.strides[-2:]
        access = self.access(walk, dtype, mode)
        moves = ((columns, self.argument(column_stride)),) if column_stride != 0 else ()
        return Access(
            access.operand, (*access.strides, *moves), (), self._tile_position(row_stride)
        )

    # -- scratch ----------------------------------------------------------------------------------

    def _store_value(self, key: Key, value: Expr) -> Store:
        return Store(self._value_access(key, VECTOR), value)

    def _scratch_access(self, key: Key, columns: str) -> Access:
        """Return the access to a value in scratch memory: a tile's row, or a row of all tiles."""
        slot = self.roles.slots[key]
        dtype = self.groups.value_type(key).dtype
        name, pitch = self.scratch_operand(slot.node, dtype), self._pitch(dtype)
        moves = ((columns, 1),)
        if slot.all_tiles:
            return Access(name, moves, (), self._tile_position(pitch))
        return Access(name, ((self.row, self.argument(pitch)), *moves))

    def _pitch(self, dtype: DType) -> Size:
        """Return the elements from a row of scratch memory to the next: an odd number of lines.

        Rows a power of two apart would lie in the same few sets of the L1 and L2 caches.
        """
        line = 2 * HALF_LINE // dtype.itemsize
        return (self.domain[-1] + (line - 1)) // (2 * line) * (2 * line) + line

    def _value_access(self, key: Key, columns: str) -> Access:
        if key in self.group.stored:
            dtype = self.groups.value_type(key).dtype
            return self._row_access(self._target_walk(key), dtype, columns, "out")
        return self._scratch_access(key, columns)

    # -- products ---------------------------------------------------------------------------------

    def _factor(self, node: Node, of_tile: bool = False) -> Access:
        """Return the access to the second factor of a product, or to its rows in a tile."""
        walk, row_stride, column_stride = self._second_factor(node)
        access = self.access(walk, node.args[1].type.dtype)
        moves = () if of_tile else (("k", row_stride),)
        moves = (*moves, (VECTOR, column_stride))
        steps = tuple((axis, self.argument(step)) for axis, step in moves if step != 0)
        positions = self._tile_position(row_stride) if of_tile else ()
        return Access(access.operand, (*access.strides, *steps), (), positions)

    def _score_product(self, node: Node) -> Gemm:
        """Lower the product of a tile's queries with all keys, with its elementwise epilogue."""
        form, first = node.form, self.groups.source(node.args[0])
        assert isinstance(form, Contract)
        walk, down, inner = matrix(self, first, form.transpose_a)
        self._begin_stage("i")
        base = self.access(walk, first.type.dtype)
        steps = (("k", self.argument(inner)),) if inner != 0 else ()
        a = Access(base.operand, (*base.strides, *steps), (), self._tile_position(down))
        b = self._factor(node)
        depth = first.type.shape[-2 if form.transpose_a else -1]
        dtype = node.types[0].dtype
        self.memo[ResultBuffer(node)] = ex.ref("acc", dtype.compute).cast(dtype)
        chain = self.roles.epilogues[node]
        self._evaluate(chain)
        last = ResultBuffer(chain[-1] if chain else node)
        return Gemm(
            (Axis("i", self.height, self.last),),
            (self._columns(node in self.roles.short),),
            (Axis("k", self.extent(depth)),),
            a,
            b,
            (self._store_value(last, self.memo[last]),),
            factors=_factors_of(node),
        )

    def _product_over_rows(self, node: Node) -> Gemm:
        """Lower the product of a tile's scores with the values: one result row for each query."""
        self._begin_stage("i")
        a = self._value_access(self.groups.source(node.args[0]).base, "k")
        target = self._result_access(node)
        down = self._tile_position(node.types[0].shape[-1])
        store = Access(target.operand, (*target.strides, (VECTOR, 1)), (), down)
        i, k = Axis("i", self.height, self.last), self._columns(node in self.roles.short, "k")
        return self._product(node, a, store, i, k, self.roles.tile_end)

    def _product_over_columns(self, node: Node) -> Stage:
        """Lower a product that sums over all queries, such as a key's gradient, after the tiles."""
        first = self.groups.source(node.args[0])
        self._begin_stage("i")
        target, dtype = self._result_access(node), first.type.dtype
        short, is_stored = node in self.roles.short, first.base in self.group.stored
        pitch = self.argument(self.domain[-1] if is_stored else self._pitch(dtype))
        base = (
            self.access(self._target_walk(first.base), dtype, "out")
            if is_stored
            else Access(self._scratch_access(first.base, "i").operand)
        )
        depth, columns = node.types[0].shape[-1], self.extent(self.domain[-1])
        moves: list[tuple[tuple[str, Extent], ...]] = [(("i", 1),), (("i", self.argument(depth)),)]
        i, k = Axis("i", columns), Axis("k", self.extent(self.domain[-2]))
        positions: list[tuple[Position, ...]] = [(), ()]
        if short:
            terms = ((self.tile, self.height), ("i", 1))
            positions = [
                (Position(terms, 0, self.argument(stride), columns, within=True),)
                for stride in (1, depth)
            ]
            moves = [(), ()]
            left, begin = self._new_name(), self._new_name()
            i, k = Axis("i", self.height, left), Axis("k", k.extent, "", begin)
        a = Access(base.operand, (*base.strides, ("k", pitch), *moves[0]), (), positions[0])
        store = Access(target.operand, (*target.strides, *moves[1], (VECTOR, 1)), (), positions[1])
        product = self._product(node, a, store, i, k, -1 - self.roles.reach)
        if not short:
            return product
        begin_value = ex.index(self.tile) * self.height - self.roles.reach
        keeps = (Keep(left, self._rows_left(self.domain[-1])), Keep(begin, begin_value))
        return Loop(self._tiles(self.domain[-1]), (), (Scalar(keeps), product), ())

    # -- sums carried from tile to tile ------------------------------------------------------------

    def _has_blocks(self, rows: Size) -> bool:
        """Return True if sums over rows may have several blocks, which are added in order."""
        return self.roles.carried and not (isinstance(rows, int) and rows <= GEMM_BLOCK)

    def _blocks(self, inside: Sequence[Stage]) -> Loop:
        """Return an attention kernel's loop over blocks of rows: tiles, then the block's sums."""
        rows, tiles = self.domain[-2], self._new_name()
        tiles_per_block = GEMM_BLOCK // self.height
        left = self.size(self._tiles_of(rows)) - ex.index(self.block) * tiles_per_block
        loop = Loop(Axis(self.tile, tiles_per_block, tiles), (), tuple(inside), ())
        begins = [self._initialize_sums(node, 0.0, CHAINS) for node in self.roles.over_columns]
        adds = [self._add_block(node) for node in self.roles.over_columns]
        blocks = Axis(self.block, self.extent((rows + (GEMM_BLOCK - 1)) // GEMM_BLOCK))
        return Loop(blocks, (), (Scalar((Keep(tiles, left),)), *begins, loop, *adds), ())

    def _tiles_of(self, rows: Size) -> Size:
        return (rows + (self.height - 1)) // self.height

    def _sums_access(
        self, node: Node, part: int, row: str = ""
    ) -> tuple[Access, tuple[Axis, Axis]]:
        """Return an access to all sums of a product, and its loops; ``row`` names the first."""
        row, width = row or self.iteration, node.types[0].shape[-1]
        access = Access(
            self.scratch_operand(node, node.types[0].dtype.compute, part),
            ((row, self.argument(width)), (VECTOR, 1)),
        )
        return access, (Axis(row, self.extent(self.domain[-1])), Axis(VECTOR, self.extent(width)))

    def _initialize_sums(self, node: Node, number: float, part: int) -> Map:
        access, (rows, columns) = self._sums_access(node, part)
        value = ex.literal(number, node.types[0].dtype.compute)
        return Map(columns, (Store(access, value),), (rows,))

    def _add_block(self, node: Node) -> Map:
        dtype = node.types[0].dtype.compute
        (total, (rows, columns)), (block, _) = (
            self._sums_access(node, n) for n in (BLOCKS, CHAINS)
        )
        value = ex.load(total, dtype) + ex.load(block, dtype)
        return Map(columns, (Store(total, value),), (rows,))

    def _accumulate_tile(self, node: Node) -> Gemm:
        """Lower a product over queries by tiles: add a tile's terms to earlier tiles' sums."""
        short, dtype = node in self.roles.short, node.types[0].dtype.compute
        self._begin_stage("k")
        a = self._value_access(self.groups.source(node.args[0]).base, "i")
        sums, (rows, columns) = self._sums_access(node, CHAINS, "i")
        i = replace(rows, past=self.end) if short else rows
        k = Axis("k", self.height, self.last)
        store = Store(sums, ex.ref("acc", dtype))
        b, stores, factors = self._factor(node, of_tile=True), (store,), _factors_of(node)
        return Gemm((i,), (columns,), (k,), a, b, stores, (), sums, factors)

    def _store_carried(self, node: Node) -> Stage:
        """Return the stage that stores a block's product whose sums are in scratch."""
        dtype, compute = node.types[0].dtype, node.types[0].dtype.compute
        part = BLOCKS if self._has_blocks(self.domain[-2]) else CHAINS
        sums, (rows, columns) = self._sums_access(node, part)
        target, down = self._result_access(node), sums.strides[0][1]
        if node not in self.roles.short:
            to = Access(target.operand, (*target.strides, (rows.name, down), (VECTOR, 1)))
            store = Store(to, ex.load(sums, compute).cast(dtype))
            return Map(columns, (store,), (rows,))
        # The first tile with terms of a column begins this many rows before the column's own row.
        start, left = self.height - self.roles.tile_end - 1, self._new_name()
        terms = (*self._terms, (self.iteration, 1))
        positions = (Position(terms, 0, down, rows.extent, within=True),)
        value = ex.load(Access(sums.operand, ((VECTOR, 1),), (), positions), compute)
        to = Access(target.operand, (*target.strides, (VECTOR, 1)), (), positions)
        store = Store(to, self._with_zeros(node, value, start).cast(dtype))
        lines = Loop(Axis(self.iteration, self.height, left), (), (Map(columns, (store,)),), ())
        keep = Scalar((Keep(left, self._rows_left(self.domain[-1])),))
        return Loop(self._tiles(self.domain[-1]), (), (keep, lines), ())

    def _result_access(self, node: Node) -> Access:
        return self.access(self._target_walk(ResultBuffer(node)), node.types[0].dtype, "out")

    def _product(self, node: Node, a: Access, store: Access, i: Axis, k: Axis, start: int) -> Gemm:
        dtype = node.types[0].dtype
        b = self._factor(node)
        j = Axis(VECTOR, self.extent(node.types[0].shape[-1]))
        value = self._with_zeros(node, ex.ref("acc", dtype.compute), start).cast(dtype)
        return Gemm((i,), (j,), (k,), a, b, (Store(store, value),), factors=_factors_of(node))

    # -- rows -------------------------------------------------------------------------------------

    def _row_stages(self) -> Iterator[Stage]:
        """Yield the map of each row operation (softmax, its gradient) over the scores of a tile."""
        names = {key: f"r{number}" for number, key in enumerate(self.group.reductions)}
        for stage in self.roles.stages:
            self._begin_stage(self.iteration)
            self._name_results(names, stage.available)
            self._evaluate(stage.nodes)
            body: list[Statement] = [
                Accumulate(
                    names[key],
                    self.group.reductions[key].kind,
                    self.wide_value(self.group.reductions[key].source),
                )
                for key in stage.reductions
            ]
            body += [self._store_value(key, self.memo[key]) for key in stage.live_out]
            columns = Map(self._columns(stage.ends), tuple(body))
            yield self.annotate(Prefetch(self.iteration, _JAMMED), columns)
        stored = [key for key in self.group.stored if key in self.roles.per_row]
        if stored:
            self._begin_stage(self.iteration)
            self._name_results(names, self.group.reductions)
            self._evaluate(self.roles.row_nodes)
            yield Scalar(tuple([self._store_value(key, self.memo[key]) for key in stored]))

    def _name_results(self, names: Mapping[Key, str], results: Iterable[Key]) -> None:
        for key in results:
            dtype = self.groups.value_type(key).dtype
            value = ex.ref(names[key], dtype.compute)
            if key in self.roles.mask_values:
                # The row's loop ends at its causal end: the columns beyond have the mask's value.
                short = ex.ref(self.end, I64) < self.size(self.domain[-1])
                beyond = ex.literal(self.roles.mask_values[key], value.dtype)
                if self.group.reductions[key].kind == "sum":
                    value = value + ex.select(
                        short, beyond, ex.literal(-0.0 if value.dtype.is_float else 0, value.dtype)
                    )
                else:
                    kind = COMBINERS[self.group.reductions[key].kind].combine
                    combined = Expr(kind, value.dtype, (value, beyond))
                    value = ex.select(short, combined, value)
            self.memo[key] = value.cast(dtype)

    # -- expressions ------------------------------------------------------------------------------

    def positions(self, shape: Shape) -> list[Expr]:
        positions = [self._first_row + ex.index(self.row), ex.index(VECTOR)]
        positions = [*[ex.literal(0, I64)] * len(shape), *positions][-len(shape) :] if shape else []
        return [
            ex.literal(0, I64) if size == 1 else position
            for size, position in zip(shape, positions, strict=True)
        ]

    def _begin_stage(self, row: str) -> None:
        self.row, self.shape = row, self.domain
        self.memo.clear()

    def _evaluate(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.shape = node.types[0].shape
            self.memo[ResultBuffer(node)] = self.scalar(node)
        self.shape = self.domain

    def value(self, source: Source) -> Expr:
        """Return a source's element: computed in this block, or loaded from memory."""
        if source.inline:
            return self.inline(source)
        key = source.base
        if key in self.memo:
            return self.memo[key]
        dtype = source.type.dtype
        if key in self.roles.inside:
            self.memo[key] = ex.load(self._value_access(key, VECTOR), dtype)
            return self.memo[key]
        walk = self._read_walk(source, self.shape)
        if walk not in self.memo:
            self.memo[walk] = ex.load(self._row_access(walk, dtype, VECTOR), dtype)
        return self.memo[walk]


def _fuse_loops(loops: Iterable[Loop]) -> list[Loop]:
    """Fuse loops over the same iterations, so that their loop-carried latencies overlap."""
    fused: dict[Axis, Loop] = {}
    for loop in loops:
        earlier = fused.get(loop.axis)
        stages = (*earlier.stages, *loop.stages) if earlier else loop.stages
        fused[loop.axis] = replace(loop, stages=stages)
    return [*fused.values()]


def _factors_of(node: Node) -> DType | None:
    """Return the dtype to which the factors of a product are rounded, if they are."""
    assert isinstance(node.form, Contract)
    return node.form.factors

"""A block to one kernel: products over a square of queries and keys, and the rows between them.

An outer iteration is one matrix of each operand, like a head of attention. A loop over tiles of
rows has three stages: products into scratch, their rows (several interleaved), products of the
results. Products that sum over rows of several tiles run after the loop, or if that needs too much
scratch (``Roles.carried``), in it: their chains go on from tile to tile. A value that a later stage
reads is in scratch; scratch of dead values is reused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.compiler.fusion.groups import Home, Key, Roles, Source, Walk
from staticgrad.compiler.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over, matrix
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import COMBINERS, Contract
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import Interleave, Prefetch
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.stages import (
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

#: Rows of a tile that are taken side by side.
_JAMMED: Final = 4
#: Numbers of the scratch for sums that go on from tile to tile, and for those of earlier blocks.
CHAINS: Final = 1
BLOCKS: Final = 2


class BlockLowering(Lowering):
    """The state of lowering a block.

    ``row`` is the loop over a tile's rows in the stage that is written, ``shape`` that of the node
    that reads.
    """

    row: str

    # -- places -----------------------------------------------------------------------------------

    def lowered(self) -> LoweredStep:
        assert self.group.roles is not None
        self.roles: Roles = self.group.roles
        self.height, self.domain, self.count = self.roles.tile, self.group.domain, 0
        rank = len(self.domain)
        self.loops = loops_over(self.domain, [range(rank - 2)], self._walks(), merge=True)
        axes = self.as_axes(self.loops.segments[0])
        self.tile, self.iteration = f"i{len(axes)}", f"i{len(axes) + 1}"
        self.block = f"i{len(axes) + 2}" if self._has_blocks(self.domain[-2]) else ""
        self.last, self.end = self._fresh(), self._fresh()
        later = (*self.roles.over_rows, *self.roles.over_columns)
        short = [node for node in later if node in self.roles.short]
        zeros = _together(map(self._zeros, short))
        inside: list[Stage] = [Scalar(tuple(self._limits()))]
        inside += [self._scores(node) for node in self.roles.scores]
        iterations = Axis(self.iteration, self.height, self.last)
        rows = Loop(iterations, (), tuple(self._row_stages()), ())
        inside.append(self.under(Interleave(self.iteration, _JAMMED), rows))
        inside += [self._over_rows(node) for node in self.roles.over_rows]
        if not self.roles.carried:
            loop = Loop(self._tiles(self.domain[-2]), (), tuple(inside), ())
            after = map(self._over_columns, self.roles.over_columns)
            return self.finish([*zeros, loop, *after], axes)
        inside += [self._carried(node) for node in self.roles.over_columns]
        begins = [self._begun(node, 0.0, CHAINS) for node in self.roles.over_columns]
        if self.block:
            begins = [self._begun(node, -0.0, BLOCKS) for node in self.roles.over_columns]
            loops = [self._blocks(inside)]
        else:
            loops = [Loop(self._tiles(self.domain[-2]), (), tuple(inside), ())]
        self.block = ""
        ends = map(self._carried_result, self.roles.over_columns)
        return self.finish([*zeros, *begins, *loops, *ends], axes)

    def _tiles(self, rows: Size) -> Axis:
        return Axis(self.tile, self.extent(self._tiles_of(rows)))

    def _fresh(self) -> str:
        self.count += 1
        return f"r{len(self.group.reductions) + self.count - 1}"

    def _limits(self) -> Iterator[Keep]:
        yield Keep(self.last, self._left(self.domain[-2]))
        if self.roles.beyond or self.roles.short:
            end = self._first_row + self.roles.tile_end
            yield Keep(self.end, end.minimum(self.size(self.domain[-1])))

    @property
    def _terms(self) -> tuple[tuple[str, int], ...]:
        """What loops around a tile add to the place of its rows."""
        tile = (self.tile, self.height)
        return ((self.block, GEMM_BLOCK), tile) if self.block else (tile,)

    @property
    def _first_row(self) -> Expr:
        first = ex.index(self.tile) * self.height
        return ex.index(self.block) * GEMM_BLOCK + first if self.block else first

    def _left(self, rows: Size) -> Expr:
        left = self.size(rows) - self._first_row
        return left.minimum(ex.literal(self.height, I64))

    def _columns(self, short: bool, name: str = VECTOR) -> Axis:
        """Return the loop over columns, which may end where those of the tile do."""
        return Axis(name, self.extent(self.domain[-1]), self.end if short else "")

    # -- what is left out --------------------------------------------------------------------------

    def _zeros(self, node: Node) -> Loop:
        # They are products with 0.0: a zero of either sign, or NaN if the other factor is NaN or
        # infinite. The sum of zeros behind a chain counts, -0.0 where all of them are; before one
        # it does not, but for a block of the sum of its own, which is 0.0.
        second, rows = self.groups.source(node.args[1]), node in self.roles.over_rows
        dtype = second.type.dtype
        walk, deep, across = self._second(node)
        size = self.domain[-1] if rows else self.domain[-2]
        width, extent = self.argument(node.types[0].shape[-1]), self.extent(size)
        loop, step = self.iteration, -1 if rows else 1
        start = self.argument(size - 1) if rows else 0
        base = self.access(walk, dtype)
        moves = ((VECTOR, self.argument(across)),) if across != 0 else ()
        here = Position(((loop, step),), start, self.argument(deep), extent, within=True)
        value = ex.load(Access(base.operand, (*base.strides, *moves), (), (here,)), dtype)
        name = self.scratch_operand(node, dtype.compute)
        near = extent if rows else -1
        earlier = Position(((loop, step),), near, width, extent)
        nothing = ex.literal(-0.0, dtype.compute)
        before = ex.load(Access(name, ((VECTOR, 1),), (), (earlier,)), dtype.compute, fill=nothing)
        wide = value.cast(dtype.compute)
        zero = wide * 0.0 if rows else abs(wide) * -0.0
        kept = Position(((loop, step),), start, width, extent, within=True)
        total = before + zero
        if not (isinstance(size, int) and size <= GEMM_BLOCK):
            total = total + self._own_block(ex.index(loop), size, rows, dtype.compute)
        store = Store(Access(name, ((VECTOR, 1),), (), (kept,)), total)
        columns = Axis(VECTOR, self.extent(node.types[0].shape[-1]))
        return Loop(Axis(loop, extent), (), (Map(columns, (store,)),), ())

    def _own_block(self, iteration: Expr, size: Size, rows: bool, dtype: DType) -> Expr:
        """0.0 where a block of the sum begins there, or ends before, else -0.0."""
        place = self.size(size) - iteration - 1 if rows else iteration + 1
        whole = (place & (GEMM_BLOCK - 1)).eq(0) & (place > 0) if rows else place >= GEMM_BLOCK
        return ex.select(whole, ex.literal(0.0, dtype), ex.literal(-0.0, dtype))

    def _with_zeros(self, node: Node, value: Expr, start: int) -> Expr:
        if node not in self.roles.short:
            return value
        rows = node in self.roles.over_rows
        size = self.extent(self.domain[-1] if rows else self.domain[-2])
        width = self.argument(node.types[0].shape[-1])
        place = Position(self._terms, start, width, size)
        access = Access(self.scratch_operand(node, value.dtype), ((VECTOR, 1),), (), (place,))
        return value + ex.load(access, value.dtype, fill=ex.literal(-0.0, value.dtype))

    def _second(self, node: Node) -> tuple[Walk, Size, Size]:
        form = node.form
        assert isinstance(form, Contract)
        return matrix(self, self.groups.source(node.args[1]), form.transpose_b)

    def _walks(self) -> Iterator[Walk]:
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
            yield self._target(key)

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

    def _target(self, key: Key) -> Walk:
        rank, shape = len(self.domain), self.groups.value_type(key).shape
        strides = c_strides(shape)
        if key in self.roles.per_row:
            return Walk(key, 0, (*strides[: rank - 1], 0))
        if key in self.roles.wide:
            return Walk(key, 0, strides)
        return Walk(key, 0, (*strides[:-2], 0, 0))

    def _in_tile(self, stride: Size) -> tuple[Position, ...]:
        if stride == 0:
            return ()
        terms, rows = (*self._terms, (self.row, 1)), self.extent(self.domain[-2])
        return (Position(terms, 0, self.argument(stride), rows, within=True),)

    def _along(self, walk: Walk, dtype: DType, columns: str, mode: Mode = "in") -> Access:
        down, across = walk.strides[-2:]
        access = self.access(walk, dtype, mode)
        moves = ((columns, self.argument(across)),) if across != 0 else ()
        return Access(access.operand, (*access.strides, *moves), (), self._in_tile(down))

    # -- scratch ----------------------------------------------------------------------------------

    def _keep(self, key: Key, value: Expr) -> Store:
        return Store(self._kept(key, VECTOR), value)

    def _scratch(self, key: Key, columns: str) -> Access:
        slot = self.roles.slots[key]
        dtype, wide = self.groups.value_type(key).dtype, self.domain[-1]
        name = self.scratch_operand(slot.node, dtype)
        moves = ((columns, 1),)
        if slot.whole:
            return Access(name, moves, (), self._in_tile(wide))
        return Access(name, ((self.row, self.argument(wide)), *moves))

    def _kept(self, key: Key, columns: str) -> Access:
        if key in self.group.stored:
            dtype = self.groups.value_type(key).dtype
            return self._along(self._target(key), dtype, columns, "out")
        return self._scratch(key, columns)

    # -- products ---------------------------------------------------------------------------------

    def _factor(self, node: Node, of_tile: bool = False) -> Access:
        """Return the access to the second factor, or to the rows of a tile of it."""
        walk, deep, across = self._second(node)
        access = self.access(walk, node.args[1].type.dtype)
        moves = () if of_tile else (("k", deep),)
        moves = (*moves, (VECTOR, across))
        steps = tuple((axis, self.argument(step)) for axis, step in moves if step != 0)
        places = self._in_tile(deep) if of_tile else ()
        return Access(access.operand, (*access.strides, *steps), (), places)

    def _scores(self, node: Node) -> Gemm:
        form, first = node.form, self.groups.source(node.args[0])
        assert isinstance(form, Contract)
        walk, down, inner = matrix(self, first, form.transpose_a)
        self._begin("i")
        base = self.access(walk, first.type.dtype)
        steps = (("k", self.argument(inner)),) if inner != 0 else ()
        a = Access(base.operand, (*base.strides, *steps), (), self._in_tile(down))
        b = self._factor(node)
        depth = first.type.shape[-2 if form.transpose_a else -1]
        dtype = node.types[0].dtype
        self.memo[Home(node)] = ex.ref("acc", dtype.compute).cast(dtype)
        chain = self.roles.epilogues[node]
        self._evaluate(chain)
        last = Home(chain[-1] if chain else node)
        return Gemm(
            (Axis("i", self.height, self.last),),
            (self._columns(node in self.roles.short),),
            (Axis("k", self.extent(depth)),),
            a,
            b,
            (self._keep(last, self.memo[last]),),
        )

    def _over_rows(self, node: Node) -> Gemm:
        self._begin("i")
        a = self._kept(self.groups.source(node.args[0]).base, "k")
        target = self._result(node)
        down = self._in_tile(node.types[0].shape[-1])
        store = Access(target.operand, (*target.strides, (VECTOR, 1)), (), down)
        i, k = Axis("i", self.height, self.last), self._columns(node in self.roles.short, "k")
        return self._product(node, a, store, i, k, self.roles.tile_end)

    def _over_columns(self, node: Node) -> Stage:
        first = self.groups.source(node.args[0])
        self._begin("i")
        target, dtype = self._result(node), first.type.dtype
        wide, short = self.argument(self.domain[-1]), node in self.roles.short
        base = (
            Access(self._scratch(first.base, "i").operand)
            if (first.base not in self.group.stored)
            else self.access(self._target(first.base), dtype, "out")
        )
        depth, columns = node.types[0].shape[-1], self.extent(self.domain[-1])
        moves: list[tuple[tuple[str, Extent], ...]] = [(("i", 1),), (("i", self.argument(depth)),)]
        i, k = Axis("i", columns), Axis("k", self.extent(self.domain[-2]))
        places: list[tuple[Position, ...]] = [(), ()]
        if short:
            terms = ((self.tile, self.height), ("i", 1))
            places = [
                (Position(terms, 0, self.argument(stride), columns, within=True),)
                for stride in (1, depth)
            ]
            moves = [(), ()]
            left, begin = self._fresh(), self._fresh()
            i, k = Axis("i", self.height, left), Axis("k", k.extent, "", begin)
        a = Access(base.operand, (*base.strides, ("k", wide), *moves[0]), (), places[0])
        store = Access(target.operand, (*target.strides, *moves[1], (VECTOR, 1)), (), places[1])
        product = self._product(node, a, store, i, k, -1 - self.roles.reach)
        if not short:
            return product
        place = ex.index(self.tile) * self.height - self.roles.reach
        keeps = (Keep(left, self._left(self.domain[-1])), Keep(begin, place))
        return Loop(self._tiles(self.domain[-1]), (), (Scalar(keeps), product), ())

    # -- chains that go on from tile to tile -------------------------------------------------------

    def _has_blocks(self, rows: Size) -> bool:
        """Return whether sums over rows may have several blocks, which are added in their order."""
        return self.roles.carried and not (isinstance(rows, int) and rows <= GEMM_BLOCK)

    def _blocks(self, inside: Sequence[Stage]) -> Loop:
        """Return the loop over blocks of rows: the tiles of one, whose sums are added then."""
        rows, tiles = self.domain[-2], self._fresh()
        each = GEMM_BLOCK // self.height
        left = self.size(self._tiles_of(rows)) - ex.index(self.block) * each
        loop = Loop(Axis(self.tile, each, tiles), (), tuple(inside), ())
        begins = [self._begun(node, 0.0, CHAINS) for node in self.roles.over_columns]
        adds = [self._block_added(node) for node in self.roles.over_columns]
        blocks = Axis(self.block, self.extent((rows + (GEMM_BLOCK - 1)) // GEMM_BLOCK))
        return Loop(blocks, (), (Scalar((Keep(tiles, left),)), *begins, loop, *adds), ())

    def _tiles_of(self, rows: Size) -> Size:
        return (rows + (self.height - 1)) // self.height

    def _sums(self, node: Node, part: int) -> str:
        """Return the scratch for the sums of a product, ``CHAINS`` or ``BLOCKS``."""
        return self.scratch_operand(node, node.types[0].dtype.compute, part)

    def _whole(self, node: Node, part: int, row: str = "") -> tuple[Access, tuple[Axis, Axis]]:
        """Return an access to all sums of a product, and its loops; ``row`` names the first."""
        row, width = row or self.iteration, node.types[0].shape[-1]
        access = Access(self._sums(node, part), ((row, self.argument(width)), (VECTOR, 1)))
        return access, (Axis(row, self.extent(self.domain[-1])), Axis(VECTOR, self.extent(width)))

    def _begun(self, node: Node, number: float, part: int) -> Map:
        access, (rows, columns) = self._whole(node, part)
        value = ex.literal(number, node.types[0].dtype.compute)
        return Map(columns, (Store(access, value),), (rows,))

    def _block_added(self, node: Node) -> Map:
        dtype = node.types[0].dtype.compute
        (whole, (rows, columns)), (block, _) = (self._whole(node, n) for n in (BLOCKS, CHAINS))
        value = ex.load(whole, dtype) + ex.load(block, dtype)
        return Map(columns, (Store(whole, value),), (rows,))

    def _carried(self, node: Node) -> Gemm:
        """Return the terms of a tile, which go on from the sums of the tiles before."""
        short, dtype = node in self.roles.short, node.types[0].dtype.compute
        self._begin("k")
        a = self._kept(self.groups.source(node.args[0]).base, "i")
        sums, (rows, columns) = self._whole(node, CHAINS, "i")
        i = replace(rows, past=self.end) if short else rows
        k = Axis("k", self.height, self.last)
        store = Store(sums, ex.ref("acc", dtype))
        return Gemm((i,), (columns,), (k,), a, self._factor(node, of_tile=True), (store,), (), sums)

    def _carried_result(self, node: Node) -> Stage:
        """Return the stage that stores a product whose sums are in scratch."""
        dtype, compute = node.types[0].dtype, node.types[0].dtype.compute
        part = BLOCKS if self._has_blocks(self.domain[-2]) else CHAINS
        sums, (rows, columns) = self._whole(node, part)
        target, down = self._result(node), sums.strides[0][1]
        if node not in self.roles.short:
            to = Access(target.operand, (*target.strides, (rows.name, down), (VECTOR, 1)))
            store = Store(to, ex.load(sums, compute).cast(dtype))
            return Map(columns, (store,), (rows,))
        # The first tile that has terms of a column begins so many rows before the column's own.
        start, left = self.height - self.roles.tile_end - 1, self._fresh()
        terms = (*self._terms, (self.iteration, 1))
        place = (Position(terms, 0, down, rows.extent, within=True),)
        value = ex.load(Access(sums.operand, ((VECTOR, 1),), (), place), compute)
        to = Access(target.operand, (*target.strides, (VECTOR, 1)), (), place)
        store = Store(to, self._with_zeros(node, value, start).cast(dtype))
        lines = Loop(Axis(self.iteration, self.height, left), (), (Map(columns, (store,)),), ())
        keep = Scalar((Keep(left, self._left(self.domain[-1])),))
        return Loop(self._tiles(self.domain[-1]), (), (keep, lines), ())

    def _result(self, node: Node) -> Access:
        return self.access(self._target(Home(node)), node.types[0].dtype, "out")

    def _product(self, node: Node, a: Access, store: Access, i: Axis, k: Axis, start: int) -> Gemm:
        dtype = node.types[0].dtype
        b = self._factor(node)
        j = Axis(VECTOR, self.extent(node.types[0].shape[-1]))
        value = self._with_zeros(node, ex.ref("acc", dtype.compute), start).cast(dtype)
        return Gemm((i,), (j,), (k,), a, b, (Store(store, value),))

    # -- rows -------------------------------------------------------------------------------------

    def _row_stages(self) -> Iterator[Stage]:
        names = {key: f"r{number}" for number, key in enumerate(self.group.reductions)}
        for stage in self.roles.stages:
            self._begin(self.iteration)
            self._name_results(names, stage.known)
            self._evaluate(stage.nodes)
            body: list[Statement] = [
                Accumulate(
                    names[key],
                    self.group.reductions[key].kind,
                    self.widened(self.group.reductions[key].source),
                )
                for key in stage.reductions
            ]
            body += [self._keep(key, self.memo[key]) for key in stage.kept]
            columns = Map(self._columns(stage.ends), tuple(body))
            yield self.under(Prefetch(self.iteration, _JAMMED), columns)
        stored = [key for key in self.group.stored if key in self.roles.per_row]
        if stored:
            self._begin(self.iteration)
            self._name_results(names, self.group.reductions)
            self._evaluate(self.roles.row_nodes)
            yield Scalar(tuple([self._keep(key, self.memo[key]) for key in stored]))

    def _name_results(self, names: Mapping[Key, str], known: Iterable[Key]) -> None:
        for key in known:
            dtype = self.groups.value_type(key).dtype
            found = ex.ref(names[key], dtype.compute)
            if key in self.roles.beyond:
                found = self._joined(key, found)
            self.memo[key] = found.cast(dtype)

    def _joined(self, key: Key, found: Expr) -> Expr:
        short = ex.ref(self.end, I64) < self.size(self.domain[-1])
        rest = ex.literal(self.roles.beyond[key], found.dtype)
        if self.group.reductions[key].kind == "sum":
            return found + ex.select(
                short, rest, ex.literal(-0.0 if found.dtype.is_float else 0, found.dtype)
            )
        kind = COMBINERS[self.group.reductions[key].kind].combine
        both = Expr(kind, found.dtype, (found, rest))
        return ex.select(short, both, found)

    # -- expressions ------------------------------------------------------------------------------

    def positions(self, shape: Shape) -> list[Expr]:
        places = [self._first_row + ex.index(self.row), ex.index(VECTOR)]
        places = [*[ex.literal(0, I64)] * len(shape), *places][-len(shape) :] if shape else []
        return [
            ex.literal(0, I64) if size == 1 else place
            for size, place in zip(shape, places, strict=True)
        ]

    def _begin(self, row: str) -> None:
        self.row, self.shape = row, self.domain
        self.memo.clear()

    def _evaluate(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.shape = node.types[0].shape
            self.memo[Home(node)] = self.scalar(node)
        self.shape = self.domain

    def value(self, source: Source) -> Expr:
        if source.inline:
            return self.inline(source)
        key = source.base
        if key in self.memo:
            return self.memo[key]
        dtype = source.type.dtype
        if key in self.roles.inside:
            self.memo[key] = ex.load(self._kept(key, VECTOR), dtype)
            return self.memo[key]
        walk = self._read_walk(source, self.shape)
        if walk not in self.memo:
            self.memo[walk] = ex.load(self._along(walk, dtype, VECTOR), dtype)
        return self.memo[walk]


def _together(loops: Iterable[Loop]) -> list[Loop]:
    """Loops of the same iterations as one: an iteration waits for the one before in all of them at
    a time."""
    found: dict[Axis, Loop] = {}
    for loop in loops:
        before = found.get(loop.axis)
        stages = (*before.stages, *loop.stages) if before else loop.stages
        found[loop.axis] = replace(loop, stages=stages)
    return [*found.values()]

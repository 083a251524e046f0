"""Products of matrices to source: what is packed for register tiles, and the epilogue.

One outer iteration is a chunk of rows times a group of panels of columns (``gemm_iterations``).
Each element is one FMA chain in ascending k per block (``GEMM_BLOCK``), block results added in
order, whatever the tile: rows past the end are computed and not stored.

Rows that lie badly are packed a run of k at a time, once for all panels, those of the iterations
that follow in a call too; then each panel of b, a part of the run at a time, unless few tiles read
it. Rows that lie well stay, as many as a call has: a block of panels is packed at a time, and each
tile's rows go through all of them, from the nearest cache. Tiles are functions (``codegen.tiles``),
each of which brings its part of what is read next near. They add to the results where these belong,
if nothing follows; else each tile's rows go through the epilogue behind the last part of k.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, element, scaled, total
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.prefetching import FEW_WAYS, has_small_sets, touched_by_next_tile
from staticgrad.codegen.products.direct import is_direct, write_direct
from staticgrad.codegen.products.narrow import has_rows_for_lanes, write_rows_for_lanes
from staticgrad.codegen.products.packing import WAY, Packing, may_collide
from staticgrad.codegen.products.streams import (
    FEW_TERMS,
    WIDEST,
    write_few_rows,
    write_few_terms,
    write_one_step,
    write_streams,
)
from staticgrad.codegen.products.tiles import Tiles
from staticgrad.codegen.source_lines import write_iterations
from staticgrad.codegen.stages import base_text, scope_for, write_store
from staticgrad.codegen.vectors import SHORT, work
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.chain_parts import left_in, record_words
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.names import PRODUCT
from staticgrad.ir.kernels.product_iterations import (
    CHUNK,
    FEWEST,
    MANY_PANELS,
    PANELS,
    TALL,
    streamed_rows,
)
from staticgrad.ir.kernels.stages import Gemm, panel_columns, roots

#: Bytes of a vector of b times the inner indices that are packed at a time; and where a vector is
#: one register and rows stay where they lie (packed, they would take more memory than a panel), or
#: tiles add to results where these belong, which are far apart.
DEPTH_BYTES: Final = (8192, 16384)
#: Rows up to which a panel is read where it lies if all of b takes that part of the second cache.
SOME_ROWS: Final = 64
NEAR: Final = 1 / 2
#: Bytes of a row that are packed at a time: a chunk's, in the second cache, are read by all panels.
ROW_BYTES: Final = 2048
#: Elements of results in local memory, at most: packing an element of a row takes as long as
#: multiplying it by several vectors, so that all columns are to read it.
COVERED: Final = 57344
#: How many inner indices ahead the first tile brings a panel near that is read where it lies: each
#: takes 5 to 7 ns, a line from beyond the second-level cache 70 to 130.
AHEAD: Final = 24
#: Rows of c up to which a panel is read where it lies: two tiles read it.
FEW_ROWS: Final = 28
#: Panels that are packed before rows that stay where they lie go through all of them: packed parts
#: of these, and results of the rows of a chunk, are in the second cache.
BLOCK: Final = 8
#: Fewer rows go through each panel before the next is packed, which tiles bring near meanwhile, if
#: the second cache holds them: packing takes much of the time.
FEWER: Final = 240
_MATRIX = frozenset({"i", "j", "k"})


def write_gemm(kernel: Kernel, stage: Gemm, out: Lines, unit: Unit) -> None:
    """The body for one outer iteration ``o``."""
    product = PlainProduct(kernel, stage, unit)
    write = write_streams if product.only_streams else PlainProduct.write
    if has_rows_for_lanes(product):
        write = write_rows_for_lanes
    elif is_direct(product) and not product.in_panels:
        write = write_direct
    write(product, out)


def stored_as_is(kernel: Kernel, stage: Gemm) -> Access | None:
    """Where a product's results go as they are, by rows, if nothing else is done with them."""
    if len(stage.stores) != 1 or len(stage.i) != 1:
        return None
    (store,) = stage.stores
    to, value = store.access, store.value
    alone = to.operand not in {stage.a.operand, stage.b.operand}
    plain = value.op == "ref" and value.attribute == PRODUCT
    plain = plain and value.dtype == kernel.operand(to.operand).dtype
    simple = plain and not (store.indices or store.combine or to.bounded)
    lies = to.stride(VECTOR) == 1 and to.stride(stage.i[0].name) != 0
    return to if alone and simple and lies else None


class PlainProduct:
    """The lines of one product of matrices."""

    def __init__(self, kernel: Kernel, stage: Gemm, unit: Unit) -> None:
        self.kernel, self.stage, self.unit = kernel, stage, unit
        #: How the factors lie: those of a dtype for storage are widened while they are packed.
        self.a_stored, self.b_stored = (kernel.operand(f.operand).dtype for f in (stage.a, stage.b))
        self.is_narrow = self.a_stored.is_storage or self.b_stored.is_storage
        self.dtype = self.a_stored.compute
        self.lanes, self.element = self.dtype.lanes, element(self.dtype)
        self.columns = panel_columns(self.dtype)
        self.m, self.n, self.k = (axes[0].extent for axes in (stage.i, stage.j, stage.k))
        self.a, self.b = base_text(stage.a, _MATRIX), base_text(stage.b, _MATRIX)
        self.row, self.inner = stage.a.stride("i"), stage.a.stride("k")
        self.down, self.across = stage.b.stride("k"), stage.b.stride(VECTOR)
        wide = self.lanes * self.dtype.bits <= unit.vector_bits
        self.tiles = Tiles(self.element, self.lanes, self.dtype.is_float, wide)
        self.packing, self.panels = (
            Packing(self.element, self.lanes, element(each))
            for each in (self.a_stored, self.b_stored)
        )
        self.rows = "along" if self.inner == 1 else "across" if self.row == 1 else "any"
        self.transposed = self.down == 1 != self.across
        #: Inner indices of which rows are packed.
        self.long = ROW_BYTES // self.dtype.itemsize
        self.height = self.tiles.highest
        self.before = Lines()  # what the epilogue needs once for an iteration
        m, n, k = (unit.told(extent) for extent in (self.m, self.n, self.k))
        #: Rows up to which b is read as it lies; whether there are always, or never, so few.
        self.streamed = streamed_rows(stage)
        few = 0 < m.most <= self.streamed
        self.tall, self.deep, self.one_block = m.many, k.many or k.multiple > 1, k.short
        many = m.many and not few
        self.streams = (self.across == 1 or self.transposed) and not (self.is_narrow or many)
        self.only_streams = self.streams and few and self.deep and self.one_block
        whole = stored_as_is(kernel, stage)
        stays = whole is not None and self.one_block and self.tiles.wide
        self.packs_rows = self.rows == "across" or self.a_stored.is_storage
        part = DEPTH_BYTES[stays or (self.tiles.wide and not self.packs_rows)]
        self.depth = part // (self.lanes * self.dtype.itemsize)
        self.one_part = self.one_block and 0 < k.most <= self.depth
        few_panels = 0 < n.most < MANY_PANELS * self.columns
        #: Rows of an iteration, at most.
        self.chunk = CHUNK if 0 < m.most <= CHUNK or few_panels else TALL
        self.flat = k.multiple <= FEW_TERMS and not any(store.combine for store in stage.stores)
        #: Whether there may be two inner indices, of which results are written as they lie.
        self.two_terms = self.flat and self.across == 1 and k.multiple <= 2 and not k.many
        self.fills_panels = n.multiple % self.columns == 0
        self.most_rows, self.most_columns, self.most_terms = m.most, n.most, k.most
        #: Whether an outer axis goes over panels of b that lie one behind the other.
        self.in_panels = self._lies_in_panels()
        #: Where tiles store their results themselves, if nothing follows them.
        self.straight = whole if self.one_part or stays else None
        #: Whether results of several parts are kept in local memory.
        self.keeps = self.straight is None and not self.one_part
        self.one_run = not self.packs_rows or (self.one_block and 0 < k.most <= self.long)
        self.block_panels = self._panels_of_block()
        #: Whether a tile's rows may be packed, those that displace each other.
        self.packs_tiles = self._packs_tiles()
        self._find_room()

    def _find_room(self) -> None:
        """Panels of which rows that are packed are read, ``covered``, and what is kept of them."""
        blocks = 1 if self.one_block else 2
        self.covered = COVERED // (self.chunk * self.columns * blocks)
        kept = self.height * self.columns
        if self.keeps:
            panels = self.block_panels if self.one_run else self.covered
            kept = panels * self.chunk * self.columns
        #: Elements of the results that are in local memory, of a block; a stream's are, too.
        self.whole = max(kept, WIDEST * self.streams)
        self.room = blocks * self.whole

    @property
    def second_cache(self) -> int:
        """Elements that the second cache holds: two panels read as many of a across memory."""
        return self.unit.machine.l2 // self.dtype.itemsize

    # the iterations, as ``ir.product_iterations`` cuts them

    def write_cut(self, out: Lines) -> None:
        """What iterations are, before the loop over them."""
        self._write_first_and_past_k(out)
        m, columns = self.m, self.columns
        chunk = str(CHUNK)
        if self.chunk > CHUNK:
            out.add(f"chunk = {TALL} if {self.n} >= {MANY_PANELS * columns} else {CHUNK}")
            chunk = "chunk"
        out.add(f"chunks = ({m} + {chunk} - 1) // {chunk} if {m} > 0 else 1")
        out.add(f"chunk = (({m} + chunks - 1) // chunks + 7) // 8 * 8")
        out.add(f"panels = ({self.n} + {columns - 1}) // {columns}")
        self.least(out, "group", f"chunks * panels // {FEWEST}", "chunks")
        out.add(f"if group > {PANELS} or {m} <= {self.streamed}:")
        out.add(f"    group = {PANELS}")
        out.add("if group < 1:")
        out.add("    group = 1")
        out.add("groups = (panels + group - 1) // group")
        out.add(f"group = group * {columns}")
        if self.two_terms or not self.deep:
            out.add("reached = begin")

    def _write_first_and_past_k(self, out: Lines) -> None:
        """Read which inner indices and iterations a call computes, if k is split over calls."""
        if not self.streams or left_in(self.kernel) is None:
            return
        words = record_words(self.kernel)
        out.add("first_k = 0")
        out.add(f"past_k = {self.k}")
        out.add("if end < 0:")
        for number, name in enumerate(("first_k", "past_k", "begin", "end")):
            out.add(f"    {name} = t[{words + number}]")

    def _write_cover(self, out: Lines) -> None:
        """Merge the iterations that follow into this one.

        Those of the same rows, if rows are packed or results are kept in local memory: a run of
        inner indices is then packed once for all panels, as far as the tile has room for results.
        Else all columns of several chunks of rows, so that a panel is packed once for all of them.
        """
        out.add("if o < covered:")
        out.add("    continue")  # an earlier iteration went on here
        if self.packs_rows or self.keeps:
            room = f"o + {self.covered * self.columns} // group"
            few = f" if {self.k} <= {self.long} else {room}"
            few = few if self.keeps and not self.one_run else ""
            out.add(f"covered = end{few}")
            past = "(o // groups + 1) * groups"
            out.add(f"if covered > {past}:")
            out.add(f"    covered = {past}")
        else:
            out.add("chunks_on = (end - o) // groups if left == 0 else 1")
            out.add("if chunks_on > chunks - o // groups % chunks:")
            out.add("    chunks_on = chunks - o // groups % chunks")
            out.add("if chunks_on < 1:")
            out.add("    chunks_on = 1")
            self.least(out, "last_row", "first_row + chunks_on * chunk", str(self.m))
            out.add("count = last_row - first_row")
            out.add("covered = (o // groups + chunks_on) * groups")
        out.add("if covered > end:")
        out.add("    covered = end")
        self.least(out, "right", "left + (covered - o) * group", str(self.n))

    # an iteration

    def write(self, out: Lines) -> None:
        """A chunk of rows times a group of panels."""
        self.write_cut(self.unit.once)
        self._declare(self.unit.once)
        self.write_position(out)
        block, runs, few, rows, terms = Lines(), Lines(), Lines(), Lines(), Lines()
        self._write_runs(runs)
        if not self.deep:
            write_one_step(self, rows)
        if self.flat and self.across == 1:
            write_few_terms(self, terms)
        if self.streams:
            write_few_rows(self, few)
        out.extend(self.before)
        for lines, test in (
            (few, f"{self.m} <= {self.streamed} and {self.k} > 1"),
            (rows, f"{self.k} == 1"),
            (terms, f"{self.k} > 1 and {self.k} <= {FEW_TERMS}"),
        ):
            if lines.lines:
                out.add(f"if {test}:")
                out.extend(lines, 1)
                out.add("    continue")
        if not self.in_panels:
            self._write_cover(out)
        self._write_span_of_block(out)
        self._write_every(out)
        block.add("into = 0")
        if self.one_block:
            block.add(f"stop = {self.k}")
        else:
            self.least(block, "stop", f"block + {GEMM_BLOCK}", str(self.k))
            block.add("if block > 0:")
            block.add(f"    into = {self.whole}")
        block.extend(runs)
        blocks, all_blocks = ("0", f"{self.k} if {self.k} > 0 else 1", GEMM_BLOCK), Lines()
        write_iterations(all_blocks, "block", blocks, block, self.one_block)
        if self.packs_rows:
            out.extend(all_blocks)
        else:
            self._write_columns(out, all_blocks)

    def _write_columns(self, out: Lines, body: Lines) -> None:
        """``body`` for some panels of columns at a time."""
        block = Lines()
        self.least(block, "last_column", "first_column + span", "right")
        block.extend(body)
        write_iterations(out, "first_column", ("left", "right", "span"), block, False)

    def _write_runs(self, out: Lines) -> None:
        """The inner indices of a block: rows are packed a run of them at a time, panels a part."""
        part, parts, run = Lines(), Lines(), Lines()
        if self.one_part:
            part.add("past = stop")
            part.add("fresh = 1")
        else:
            self.least(part, "past", f"depth + {self.depth}", "end_run")
            part.add("fresh = 1 if depth == block else 0")
        self._write_panels(part)
        most = "end_run" if self.one_block else "end_run if end_run > 0 else 1"
        write_iterations(parts, "depth", ("run", most, self.depth), part, self.one_part)
        if self.one_run:
            run.add("end_run = stop")
        else:
            self.least(run, "end_run", f"run + {self.long}", "stop")
        if self.packs_rows:
            self._write_rows(run)
            self._write_columns(run, parts)
        else:
            run.extend(parts)
        runs = "block", "stop" if self.one_block else "stop if stop > 0 else 1", self.long
        write_iterations(out, "run", runs, run, self.one_run)

    def _declare(self, out: Lines) -> None:
        """Local memory, and what it is used for."""
        if self.reads_in_place and not self.in_panels:
            out.add(f"few = {FEW_ROWS}")
            out.add(f"if {self.k} * {self.down} <= {int(NEAR * self.second_cache)}:")
            out.add(f"    few = {SOME_ROWS}")
        self.declare_room(out)
        if self.rows == "across" and not self.a_stored.is_storage:
            out.add(f"readers = {'panels' if self.most_terms else 'chunks * panels'}")
            if 0 < self.most_columns <= 2 * self.columns and not self.most_terms:
                out.add(f"if {self.inner} * {self.k} <= {self.second_cache}:")
                out.add("    readers = panels")
        if self.packs_rows:
            rows = -(-self.chunk // self.height) * self.height  # the last tile may be whole
            room = rows * self.long
            if self.rows == "across":
                room = rows // self.height * self._packed_tile
            out.add(f"packed = local_{self.element}({room})")
        if self.packs_tiles:
            self._declare_packed_tile(out)
        if not self.in_panels:
            out.add("covered = begin")
        if self._widens_squares:
            out.add(f"square = local_{element(self.b_stored)}({self.lanes * self.lanes})")

    def declare_room(self, out: Lines) -> None:
        """Local memory for results, and for a panel."""
        out.add(f"tile = local_{self.element}({self.room})")
        panels = self.block_panels * self.depth + self.lanes
        out.add(f"panel = local_{self.element}({panels * self.columns})")

    def write_position(self, out: Lines) -> None:
        """The rows and columns of the iteration."""
        out.add("left = o % groups * group")
        out.add("rest = o // groups")
        out.add("first_row = rest % chunks * chunk")
        out.add("rest = rest // chunks")
        write_decode(out, "rest", self.kernel.axes)
        self.least(out, "last_row", "first_row + chunk", str(self.m))
        self.least(out, "right", "left + group", str(self.n))
        out.add("count = last_row - first_row")

    def least(self, out: Lines, name: str, value: str, most: str) -> None:
        out.add(f"{name} = {value}")
        out.add(f"if {name} > {most}:")
        out.add(f"    {name} = {most}")

    def repeated(self, place: str) -> str:
        """An element of a in every lane, as the tile has it."""
        one = self.packing.widened(f"load1({self.stage.a.operand}, {place})")
        return f"splat{self.lanes}({one})"

    def columns_at(self, place: str) -> str:
        """A vector of b under the mask ``m``, one column next to the other, as the tile has it."""
        return self.panels.widened(f"load({self.stage.b.operand}, {place}, m)")

    # the stores

    def write_stores(self, body: Lines) -> Scope:
        """A vector of the results, ``acc``, through the stores' expressions."""
        scope = scope_for(self.kernel, ["i", VECTOR], self.before, body, self.unit, self.lanes)
        scope.vector_refs = frozenset({"acc"})
        scope.expect(root for store in self.stage.stores for root in roots(store))
        for store in self.stage.stores:
            write_store(scope, store)
        return scope

    # rows of a

    def _write_rows(self, out: Lines) -> None:
        """The chunk's rows from ``run`` to ``end_run``, packed."""
        if self.rows == "across":
            self._write_packed_across(out)
        else:
            place = total(self.a, scaled("first_row", self.row), scaled("run", self.inner))
            passed = f"{place}, {self.row}, {self.inner}, count, end_run - run, {self.long}"
            pack = self.packing.lines(self.unit, self.inner == 1)
            out.add(f"{pack}({self.stage.a.operand}, packed, {passed})")

    def _write_packed_across(self, out: Lines) -> None:
        """Tiles of rows behind one another, of each the rows of one k behind those of another.

        Those that few panels read are read where they lie, but for a last tile that is not full:
        shallow ones, those of one chunk, and, if two panels do, what a second cache has.
        """
        out.add("lying = 0")
        if not self.a_stored.is_storage:
            out.add(f"if readers <= {PANELS}:")
            out.add(f"    lying = count // {self.height} * {self.height}")
        height = self.height
        width = -(-height // self.lanes) * self.lanes
        out.add("start = first_row + lying")
        out.add("masked = start")  # the first tile of which a vector reaches beyond all rows
        out.add(f"if start + {width} <= {self.m}:")
        out.add(f"    masked = start + (({self.m} - {width} - start) // {height} + 1) * {height}")
        out.add("if masked > last_row:")
        out.add("    masked = last_row")
        place = total(self.a, "first_row", scaled("run", self.inner))
        to = "lying, masked - first_row, count"
        pack = self.packing.rows(self.unit, height, self._packed_tile)
        passed = f"{place}, {self.inner}, end_run - run, {to}, {self.m} - first_row"
        out.add(f"{pack}({self.stage.a.operand}, packed, {passed})")

    @property
    def _packed_tile(self) -> int:
        """Elements from a packed tile to the next; a last store may reach beyond the last step."""
        pitch = self.packing.pitch(self.height)
        return self.long * pitch + (self.lanes if pitch % self.lanes else 0)

    # panels of b

    @property
    def reads_in_place(self) -> bool:
        """Whether tiles of few rows may read panels where they lie."""
        return self.across == 1 and not self.b_stored.is_storage

    @property
    def _widens_squares(self) -> bool:
        """Whether square blocks of b are transposed as they are stored, and widened then."""
        return self.transposed and self.b_stored.is_storage

    def _write_panels(self, out: Lines) -> None:
        """A part of the block's panels: packed and multiplied; behind the last one, stored."""
        self._write_ahead(out)
        if self.block_panels > 1:
            out.add(f"near_at = address({self.stage.b.operand})")
            out.add(f"hop = {self.hop}")
        if self.in_panels:
            self._write_in_place(out)
            self._write_tiles(out)
            return
        packed = Lines()
        self._write_pack(packed)
        packed.add("b_at = address(panel)")
        packed.add("down = 0")
        packed.add(f"step = {self.columns}")
        packed.add("line = ahead")
        packed.add("turn = 0")
        packed.add("leap = lower")
        if self.reads_in_place:
            in_place = Lines()
            self._write_in_place(in_place)
            out.add(f"if count <= few and {self.n} - first_column >= {self.columns}:")
            out.extend(in_place, 1)
            out.add("else:")
            out.extend(packed, 1)
        else:
            out.extend(packed)
        self._write_tiles(out)

    @property
    def lies(self) -> str:
        """How columns of b are to each other, as those who pack them call it."""
        return "transposed" if self.transposed else "along" if self.across == 1 else "strided"

    @property
    def hop(self) -> str:
        """From a line of b to the next one that tiles bring near."""
        return str(self.across if self.transposed else self.down)

    @property
    def leap(self) -> str:
        """From so many lines of b as there are lanes to the next ones."""
        return str(self.lanes) if self.transposed else scaled(str(self.lanes), self.hop)

    def _write_pack(self, out: Lines) -> None:
        """Inner indices ``depth`` to ``past`` of each panel of b, one behind the other."""
        pack = Lines()
        if self._widens_squares:
            self._write_squares(pack)
        else:
            place = total(self.b, scaled("depth", self.down), scaled("j0", self.across))
            name = self.panels.panel(self.unit, self.columns, self.lies)
            to = total(*self.slot, "0")
            passed = f"{place}, {self.down}, {self.across}, past - depth, {self.n} - j0, {to}"
            pack.add(f"{name}({self.stage.b.operand}, panel, {passed})")
        self.write_each_panel(out, pack)

    @property
    def slot(self) -> list[str]:
        """Where a panel of the block begins among those that are packed."""
        return [scaled("(j0 - first_column)", str(self.depth))] * (self.block_panels > 1)

    def write_each_panel(self, out: Lines, body: Lines) -> None:
        """``body`` for the columns from ``j0`` on, for all panels of the block."""
        columns = "first_column", "last_column", self.columns
        write_iterations(out, "j0", columns, body, self.block_panels == 1)

    def _lies_in_panels(self) -> bool:
        """Whether an outer axis goes over panels of b that lie one behind the other, and a stays.

        Then an iteration is one panel, whose rows follow each other, and nothing is packed.
        """
        a, b = self.stage.a, self.stage.b
        whole = self.fills_panels and 0 < self.most_columns <= self.columns
        lies = self.reads_in_place and self.down == self.n
        moved = [axis.name for axis in self.kernel.axes if b.stride(axis.name) != 0]
        return whole and lies and bool(moved) and all(a.stride(name) == 0 for name in moved)

    def _panels_of_block(self) -> int:
        """How many panels are packed before rows go through all of them, at most.

        Several, if rows lie along memory: others are packed, or come line by line. Tiles then bring
        near what they need of the next rows, not the panels of the next block.
        """
        stays = self.rows == "along" and not self.packs_rows
        if self.in_panels or not stays or 0 < self.most_rows <= FEW_ROWS:
            return 1
        most = -(-self.most_columns // self.columns)
        return min(most, BLOCK) if most > 0 else BLOCK

    def _write_span_of_block(self, out: Lines) -> None:
        """``span``: the columns of a block."""
        out.add(f"span = {self.block_panels * self.columns}")
        if self.block_panels == 1:
            return
        few = "count <= few or " if self.reads_in_place else ""
        near = self.second_cache
        out.add(f"if {few}(count < {FEWER} and count * {self.k} < {near}):")
        out.add(f"    span = {self.columns}")

    def _write_in_place(self, out: Lines) -> None:
        """Tiles read the panel where it lies."""
        out.add(f"b_at = address({self.stage.b.operand})")
        out.add(f"down = {total(self.b, scaled('depth', self.down), 'first_column')}")
        out.add(f"step = {self.down}")
        out.add(f"line = down + {AHEAD} * step + {self.lanes - 1}")
        out.add(f"leap = {self.leap}")
        out.add("turn = -1")

    def _write_ahead(self, out: Lines) -> None:
        """Set the addresses of the next panel, and of its second vector, which tiles prefetch.

        Behind the last panel it is the first one of the next iteration, if that has the same rows.
        The address is that of a vector's last lane: if lines begin within vectors, as in NumPy's
        larger arrays, the line of the first lane was loaded with the panel before.
        """
        if self.one_part and not self.in_panels:
            out.add("next_j = last_column")
            out.add("next_k = run")
        else:
            out.add("next_j = first_column")
            out.add("next_k = past")
        if not (self.one_part or self.in_panels):
            out.add(f"if past == {'end_run' if self.packs_rows else self.k}:")
            out.add("    next_j = last_column")
            out.add(f"    next_k = {'run' if self.packs_rows else '0'}")
        moved = (scaled("next_k", self.down), scaled("next_j", self.across))
        out.add(f"ahead = {total(self.b, *moved, str(self.lanes - 1))}")
        out.add(f"second = ahead + {scaled(str(self.lanes), self.across)}")

    def _write_every(self, out: Lines) -> None:
        """Set how the prefetches of the next panel are divided among tiles.

        ``every`` is the number of tiles that prefetch one vector of it, ``lower`` how far each of
        them gets in as many steps of k as there are lanes. If the first two tiles prefetched all,
        these would be more lines than arrive from beyond L2 meanwhile, and loads of rows would
        stall. The lines of a transposed vector are neighbours: one tile prefetches all of them.
        """
        out.add("every = 1")
        out.add(f"lower = {self.leap}")
        if not self.transposed:
            out.add(f"while every < {self.lanes} and count >= {4 * self.height} * every:")
            out.add("    every = every + every")
            out.add(f"    lower = {self.leap} // every")

    def _write_next_rows(self, out: Lines) -> None:
        """In the place of the next block's panels tiles of a row of tiles bring the next rows near.

        Each panel's has its part, of as many rows as there are lanes, then of the others.
        """
        sets = -(-self.height // self.lanes)
        out.add(f"if span > {self.columns}:")
        out.add(f"    near_at = address({self.stage.a.operand})")
        out.add(f"    hop = {self.row}")
        out.add(f"    every = (last_column - first_column) // {self.columns * sets}")
        out.add("    if every < 1:")
        out.add("        every = 1")
        out.add(f"    leap = {self.lanes} // every")
        start = "lies" if self.packs_tiles else "at"
        out.add(f"    line = {start} + {scaled('rows', self.row)}")
        out.add("    if under == count:")
        out.add(f"        line = {total(self.a, scaled('first_row', self.row), 'past')}")
        further = scaled(str(self.height - self.lanes), self.row) if sets > 1 else "0"
        out.add(f"    second = line + {further}")
        out.add("    turn = 0")

    def _write_next_lines(self, out: Lines) -> None:
        """Where the next tile goes on with what it brings near, and how far it gets, ``leap``."""
        out.add("turn = turn + 1")
        out.add(f"line = line + (past - depth) // {self.lanes} * leap")
        if self.reads_in_place:
            out.add("if turn == 0:")
            out.add("    line = ahead")
            out.add("    leap = lower")
        out.add("if turn == every:")
        out.add("    line = second")
        out.add("if turn == every + every:")
        out.add("    leap = 0")

    def _write_squares(self, out: Lines) -> None:
        """A panel of squares of b, transposed in registers as they are stored, and widened then."""
        b, lanes, columns = self.stage.b.operand, self.lanes, self.columns
        out.add(f"for half in range(0, {columns}, {lanes}):")
        out.add(f"    for k in range(depth, past, {lanes}):")
        at = total(self.b, "k", scaled("(j0 + half)", self.across))
        size = f"{self.across}, {self.n} - (j0 + half), past - k"
        out.add(f"        transpose{lanes}({b}, {at}, {size}, square, 0, {lanes})")
        out.add(f"        for row in range(0, {lanes}):")
        place = total(*self.slot, f"(k - depth + row) * {columns}", "half")
        row = self.panels.widened(f"load{lanes}(square, row * {lanes})")
        out.add(f"            store{lanes}(panel, {place}, {row})")

    # tiles of rows

    def _write_tiles(self, out: Lines) -> None:
        """The rows of the chunk, tile by tile, each with its epilogue behind the last part of k."""
        rows, tile = Lines(), Lines()
        self.tiles.write_rows(rows, self.most_rows, packed=self.rows == "across")
        rows.lines += [f"if rows > {self.height}:", f"    rows = {self.height}"]
        self.least(rows, "under", "top + rows", "count")
        self._write_row_place(rows)
        self._write_place(tile)
        if self.straight is not None:
            self._write_straight(tile, self.straight)
        vectors = max(self.tiles.heights)
        for part in range(0, self.columns, vectors * self.lanes):
            shift = ""
            if part:
                tile.add(f"if wide > {part}:")
                shift = "    "
            name = self.tiles.function(self.unit, vectors)
            tile.add(f"{shift}{name}({self._tile_arguments(part)})")
        if not self.one_block:
            tile.add("if past == stop and block > 0:")
            tile.add(
                f"    for cell in range(to, to + (under - top) * {self.columns}, {self.lanes}):"
            )
            both = f"load{self.lanes}(tile, cell - into) + load{self.lanes}(tile, cell)"
            tile.add(f"        store{self.lanes}(tile, cell - into, {both})")
        self._write_last_part(tile)
        if self.block_panels > 1:
            self._write_next_rows(rows)
            self._write_next_lines(tile)
        self.write_each_panel(rows, tile)
        if self.block_panels == 1:
            self._write_next_lines(rows)
        rows.add("top = top + rows")
        out.add("top = 0")
        out.add("while top < count:")
        out.extend(rows, 1)

    def _write_place(self, out: Lines) -> None:
        """Where the results of a tile are: until the last part of k all tiles' are kept."""
        out.add(f"wide = {self.n} - j0")
        if not self.keeps:
            out.add("to = 0")
            return
        out.add(f"to = into + top * {self.columns}")
        if not self.one_run:
            out.add(f"if {self.k} > {self.long}:")
            out.add("    to = to + (j0 - left) * chunk")
        elif self.block_panels > 1:
            out.add("to = to + (j0 - first_column) * chunk")

    def _write_row_place(self, out: Lines) -> None:
        """Where the tile's rows are: ``a_at``, ``at`` and their strides."""
        start = total(self.a, scaled("(first_row + top)", self.row), scaled("depth", self.inner))
        if self.rows == "across":
            out.add("if top < lying:")
            out.add(f"    a_at = address({self.stage.a.operand})")
            out.add(f"    at = {start}")
            out.add(f"    inner = {self.inner}")
            out.add("else:")
            out.add("    a_at = address(packed)")
            pitch, height = self.packing.pitch(self.height), self.height
            tile = f"top // {height} * {self._packed_tile}"
            out.add(f"    at = {tile} + (depth - run) * {pitch}")
            out.add(f"    inner = {pitch}")
        elif self.a_stored.is_storage:
            out.add(f"at = top * {self.long} + depth - run")
        else:
            out.add(f"at = {start}")
        if self.packs_tiles:
            self._write_packed_tile(out)

    def _packs_tiles(self) -> bool:
        """Whether rows of a tile may displace each other in the nearest cache.

        With 12 lines in a set, packing the 14 rows of a tile takes longer than it saves (measured).
        """
        apart = may_collide(self.unit, self.row, self.dtype.itemsize)
        return has_small_sets(self.unit) and apart and self.block_panels > 1

    @property
    def _tile_pitch(self) -> int:
        """Elements from a row of a packed tile to the next, which lie in other lines of a cache."""
        return self.depth + self.lanes

    def _declare_packed_tile(self, out: Lines) -> None:
        """Declare room for the rows of a tile, and whether they are packed: ``collide``.

        Even fewer rows than a set has lines map to the same L1 set if pages lie between them.
        Packing rows of neighbouring pages takes longer than it saves (measured).
        """
        out.add(f"packed = local_{self.element}({self.height * self._tile_pitch})")
        way = WAY // self.dtype.itemsize
        least = way if self.height > FEW_WAYS else 2 * way
        out.add(f"collide = 1 if {self.row} % {way} == 0 and {self.row} >= {least} else 0")

    def _write_packed_tile(self, out: Lines) -> None:
        """Rows that displace each other are packed once for all panels of a block."""
        out.add(f"a_at = address({self.stage.a.operand})")
        out.add("lies = at")
        out.add(f"pitch = {self.row}")
        out.add("if collide == 1:")
        pack, pitch = self.packing.lines(self.unit, True), self._tile_pitch
        passed = f"at, {self.row}, 1, under - top, past - depth, {pitch}"
        out.add(f"    {pack}({self.stage.a.operand}, packed, {passed})")
        out.add("    a_at = address(packed)")
        out.add("    at = 0")
        out.add(f"    pitch = {pitch}")

    def _tile_arguments(self, part: int) -> str:
        """What a tile is called with, for a part of the panel."""
        packed = self.a_stored.is_storage
        moved = self.rows == "across" or self.packs_tiles
        a = f"ptr_{self.element}(a_at)" if moved else self.stage.a.operand
        row = str(self.long if packed else "pitch" if self.packs_tiles else self.row)
        named = {
            "a": "packed" if packed and self.rows != "across" else a,
            "b": f"ptr_{self.element}(b_at)",
            "c": "tile",
            "near": self.stage.b.operand,
            "width": str(self.columns),
            "row": "1" if self.rows == "across" else row,
            "last": "rows - 1",
            "inner": "inner" if self.rows == "across" else "1" if packed else str(self.inner),
            "down": total("down", *self.slot, str(part)),
            "to": total("to", str(part)),
            "depth": "past - depth",
            "hop": self.hop,
            "ahead": "line",
        }
        if self.straight is not None and self.fills_panels:
            named |= {"c": self.straight.operand, "width": str(self.straight.stride("i"))}
        elif self.straight is not None:
            named |= {"c": f"ptr_{self.element}(c_at)", "width": "width"}
        if self.block_panels > 1:
            named |= {"near": f"ptr_{self.element}(near_at)", "hop": "hop"}
        return ", ".join(named.get(name, name) for name in self.tiles.arguments)

    # the epilogue of a tile

    def _write_straight(self, out: Lines, to: Access) -> None:
        """Where a tile's results go, and whether they are kept for the epilogue, ``keeps``.

        Those of a panel that is not full are: a tile would store more. What it adds to is copied
        before.
        """
        row = to.stride("i")
        base = base_text(to, frozenset({"i", VECTOR}))
        place = total(base, scaled("(first_row + top)", row), "j0")
        if self.fills_panels:
            out.add(f"to = {place}")
            return
        out.add(f"keeps = 1 if wide < {self.columns} else 0")
        out.add(f"c_at = address(tile) if keeps == 1 else address({to.operand})")
        out.add(f"to = to if keeps == 1 else {place}")
        out.add(f"width = {self.columns} if keeps == 1 else {row}")
        if self.one_part:
            return
        out.add("if keeps == 1 and fresh == 0:")
        out.add("    from_ = to")
        out.add("    for i in range(first_row + top, first_row + top + rows):")
        for half in range(0, self.columns, self.lanes):
            place = total(base, scaled("i", row), f"j0 + {half}")
            out.add(f"        m = mask{self.lanes}(wide - {half})")
            value = f"load({to.operand}, {place}, m)"
            out.add(f"        store{self.lanes}(tile, {total('from_', str(half))}, {value})")
        out.add(f"        from_ = from_ + {self.columns}")

    def _write_last_part(self, out: Lines) -> None:
        """The epilogue behind the last part of k, for results that tiles did not store."""
        lines, test = Lines(), ""
        if self.straight is not None:
            if self.fills_panels:
                return
            test = "keeps == 1"
        elif not self.one_part:
            test = f"past == {self.k}"
        self.write_epilogue(lines, rare=self.straight is not None)
        if test:
            out.add(f"if {test}:")
        out.extend(lines, int(bool(test)))

    def write_epilogue(self, out: Lines, rare: bool = False) -> None:
        """Each stored vector of the tile's rows through the stores' expressions.

        ``rare``: most tiles do without, so that less code is better than faster code.
        """
        body, lanes = Lines(), self.lanes
        scope = self.write_stores(body)
        rest = Lines()
        fills = self.fills_panels
        past = self.columns if fills else f"{self.columns} if wide > {lanes} else {lanes}"
        rest.add(f"for half in range(0, {past}, {lanes}):")
        rest.add(f"    {VECTOR} = j0 + half")
        rest.add(f"    m = mask{lanes}({lanes if fills else 'wide - half'})")
        one, long = Lines(), rare or work(body, self.unit) > SHORT
        one.add(f"acc = load{lanes}(tile, from_)")
        ahead = not rare
        if (
            long and ahead
        ):  # a line of a row, then one of the next: hardware finds no stream in that
            one.lines += touched_by_next_tile(self.stage.stores, scope, self.columns)
        one.extend(body)
        self._write_each_row(rest, one, "to - into + half", 1)
        if long:
            out.extend(rest)
            return
        whole, masked = Lines(), self.tiles.wide and not fills
        for half in range(0, self.columns, lanes):
            if masked:
                out.add(f"on{half} = mask{lanes}({f'wide - {half}' if half else 'wide'})")
                whole.add(f"m = on{half}")
            whole.add(f"{VECTOR} = {total('j0', str(half))}")
            whole.add(f"acc = load{lanes}(tile, {total('from_', str(half))})")
            if ahead:
                whole.lines += touched_by_next_tile(self.stage.stores, scope, self.columns)
            whole.extend(body)
        if masked:
            self._write_each_row(out, whole, "to - into", 0)
            return
        if fills:
            out.add(f"m = mask{lanes}({lanes})")
            self._write_each_row(out, whole, "to - into", 0)
            return
        out.add(f"if wide >= {self.columns}:")
        out.add(f"    m = mask{lanes}({lanes})")
        self._write_each_row(out, whole, "to - into", 1)
        out.add("else:")
        out.extend(rest, 1)

    def _write_each_row(self, out: Lines, body: Lines, start: str, deeper: int) -> None:
        """The body for every row of the tile, whose results begin at ``from_``."""
        rows = Lines()
        rows.add(f"from_ = {start}")
        if any("prefetch" in line for line in body.lines):
            block = self.block_panels > 1
            if block:
                rows.add("on = 0")
                rows.add("over = 1")
                rows.add(f"if j0 + {self.columns} >= last_column:")
            last = Lines()
            last.add("on = rows")
            last.add(f"over = {f'(first_column - j0) // {self.columns}' if block else '0'}")
            last.add("if under == count:")
            last.add("    on = -top")
            last.add("    over = 1")
            rows.extend(last, int(block))
        rows.add("for i in range(first_row + top, first_row + under):")
        rows.extend(body, 1)
        rows.add(f"    from_ = from_ + {self.columns}")
        out.extend(rows, deeper)

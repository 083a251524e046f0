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

from staticgrad.codegen.abreast import write_decode
from staticgrad.codegen.expressions import VECTOR, Lines, Scope, Unit, element, scaled, total
from staticgrad.codegen.products.cut import write_cover, write_cut
from staticgrad.codegen.products.direct import is_direct, write_direct
from staticgrad.codegen.products.epilogue import (
    stored_as_is,
)
from staticgrad.codegen.products.narrow import has_rows_for_lanes, write_rows_for_lanes
from staticgrad.codegen.products.packed_rows import packed_tile, write_packed_across
from staticgrad.codegen.products.packing import Packing, write_squares
from staticgrad.codegen.products.panel_places import (
    FEW_ROWS,
    lies_in_panels,
    panels_of_block,
    write_ahead,
    write_every,
    write_first_lines,
    write_in_place,
    write_span_of_block,
)
from staticgrad.codegen.products.row_tiles import (
    declare_packed_tile,
    packs_tiles,
    write_tiles,
)
from staticgrad.codegen.products.streams import (
    FEW_TERMS,
    WIDEST,
    write_few_rows,
    write_few_terms,
    write_one_step,
    write_streams,
)
from staticgrad.codegen.products.tiles import Tiles
from staticgrad.codegen.products.trips import write_trips
from staticgrad.codegen.stages import base_text, scope_for, write_store
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.product_iterations import CHUNK, MANY_PANELS, TALL, streamed_rows
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
        self.turned = self.down == 1 != self.across
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
        self.streams = (self.across == 1 or self.turned) and not (self.is_narrow or many)
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
        self.in_panels = lies_in_panels(self)
        #: Where tiles store their results themselves, if nothing follows them.
        self.straight = whole if self.one_part or stays else None
        #: Whether results of several parts are kept in local memory.
        self.keeps = self.straight is None and not self.one_part
        self.one_run = not self.packs_rows or (self.one_block and 0 < k.most <= self.long)
        self.panels_abreast = panels_of_block(self)
        #: Whether a tile's rows may be packed, those that displace each other.
        self.packs_tiles = packs_tiles(self)
        self._find_room()

    def _find_room(self) -> None:
        """Panels of which rows that are packed are read, ``covered``, and what is kept of them."""
        blocks = 1 if self.one_block else 2
        self.covered = COVERED // (self.chunk * self.columns * blocks)
        kept = self.height * self.columns
        if self.keeps:
            panels = self.panels_abreast if self.one_run else self.covered
            kept = panels * self.chunk * self.columns
        #: Elements of the results that are in local memory, of a block; a stream's are, too.
        self.whole = max(kept, WIDEST * self.streams)
        self.room = blocks * self.whole

    @property
    def second_cache(self) -> int:
        """Elements that the second cache holds: two panels read as many of a across memory."""
        return self.unit.machine.l2 // self.dtype.itemsize

    # the iteration

    def write(self, out: Lines) -> None:
        """A chunk of rows times a group of panels."""
        write_cut(self, self.unit.once)
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
            write_cover(self, out)
        write_span_of_block(self, out)
        write_every(self, out)
        block.add("into = 0")
        if self.one_block:
            block.add(f"stop = {self.k}")
        else:
            self.least(block, "stop", f"block + {GEMM_BLOCK}", str(self.k))
            block.add("if block > 0:")
            block.add(f"    into = {self.whole}")
        block.extend(runs)
        blocks, all_blocks = ("0", f"{self.k} if {self.k} > 0 else 1", GEMM_BLOCK), Lines()
        write_trips(all_blocks, "block", blocks, block, self.one_block)
        if self.packs_rows:
            out.extend(all_blocks)
        else:
            self._write_columns(out, all_blocks)

    def _write_columns(self, out: Lines, body: Lines) -> None:
        """``body`` for some panels of columns at a time."""
        block = Lines()
        self.least(block, "last_column", "first_column + span", "right")
        block.extend(body)
        write_trips(out, "first_column", ("left", "right", "span"), block, False)

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
        write_trips(parts, "depth", ("run", most, self.depth), part, self.one_part)
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
        write_trips(out, "run", runs, run, self.one_run)

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
                room = rows // self.height * packed_tile(self, self.height)
            out.add(f"packed = local_{self.element}({room})")
        if self.packs_tiles:
            declare_packed_tile(self, out)
        if not self.in_panels:
            out.add("covered = begin")
        if self._widens_squares:
            out.add(f"square = local_{element(self.b_stored)}({self.lanes * self.lanes})")

    def declare_room(self, out: Lines) -> None:
        """Local memory for results, and for a panel."""
        out.add(f"tile = local_{self.element}({self.room})")
        panels = self.panels_abreast * self.depth + self.lanes
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
            write_packed_across(self, out)
        else:
            place = total(self.a, scaled("first_row", self.row), scaled("run", self.inner))
            passed = f"{place}, {self.row}, {self.inner}, count, end_run - run, {self.long}"
            pack = self.packing.lines(self.unit, self.inner == 1)
            out.add(f"{pack}({self.stage.a.operand}, packed, {passed})")

    # panels of b

    @property
    def reads_in_place(self) -> bool:
        """Whether tiles of few rows may read panels where they lie."""
        return self.across == 1 and not self.b_stored.is_storage

    @property
    def _widens_squares(self) -> bool:
        """Whether square blocks of b are transposed as they are stored, and widened then."""
        return self.turned and self.b_stored.is_storage

    def _write_panels(self, out: Lines) -> None:
        """A part of the block's panels: packed and multiplied; behind the last one, stored."""
        write_ahead(self, out)
        if self.panels_abreast > 1:
            out.add(f"near_at = address({self.stage.b.operand})")
            out.add(f"hop = {self.hop}")
        if self.in_panels:
            write_in_place(self, out)
            write_tiles(self, out)
            return
        packed = Lines()
        self._write_pack(packed)
        packed.add("b_at = address(panel)")
        packed.add("down = 0")
        packed.add(f"step = {self.columns}")
        write_first_lines(self, packed)
        if self.reads_in_place:
            in_place = Lines()
            write_in_place(self, in_place)
            out.add(f"if count <= few and {self.n} - first_column >= {self.columns}:")
            out.extend(in_place, 1)
            out.add("else:")
            out.extend(packed, 1)
        else:
            out.extend(packed)
        write_tiles(self, out)

    @property
    def lies(self) -> str:
        """How columns of b are to each other, as those who pack them call it."""
        return "turned" if self.turned else "along" if self.across == 1 else "strided"

    @property
    def hop(self) -> str:
        """From a line of b to the next one that tiles bring near."""
        return str(self.across if self.turned else self.down)

    @property
    def leap(self) -> str:
        """From so many lines of b as there are lanes to the next ones."""
        return str(self.lanes) if self.turned else scaled(str(self.lanes), self.hop)

    def _write_pack(self, out: Lines) -> None:
        """Inner indices ``depth`` to ``past`` of each panel of b, one behind the other."""
        pack = Lines()
        if self._widens_squares:
            write_squares(self, pack)
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
        return [scaled("(j0 - first_column)", str(self.depth))] * (self.panels_abreast > 1)

    def write_each_panel(self, out: Lines, body: Lines) -> None:
        """``body`` for the columns from ``j0`` on, for all panels of the block."""
        columns = "first_column", "last_column", self.columns
        write_trips(out, "j0", columns, body, self.panels_abreast == 1)

"""Products of matrices to source: blocks in caches, register tiles, and the epilogue.

One outer iteration is a chunk of rows times a group of panels of columns (``gemm_iterations``).
Each element is one FMA chain in ascending k per block (``GEMM_BLOCK``), block results added in
order, whatever the tile: rows past the end are computed and not stored.

The loops are those of BLIS: a part of the inner indices, for which some panels of b are packed
into L2; then tile after tile of rows goes through all of them, packed before if the layout of the
rows is bad. Tiles are functions (``tiles``), which prefetch the next rows meanwhile. They
add to the results in place if nothing follows; else the epilogue goes along the rows of a tile
after the last part of k. No result depends on their sizes.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.block_functions import element
from staticgrad.codegen.lines import (
    FEW_WAYS,
    VECTOR,
    Lines,
    Unit,
    base_text,
    has_small_sets,
    scaled,
    total,
    write_decode,
    write_iterations,
)
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.chain_parts import left_in, record_words
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.stages import (
    CHUNK,
    FEWEST,
    PANELS,
    Gemm,
    panel_columns,
    streamed_rows,
)
from staticgrad.ir.kernels.text import PRODUCT
from staticgrad.nest.products.direct import FEW_TERMS, is_direct, write_direct, write_few_terms
from staticgrad.nest.products.narrow import has_rows_for_lanes, write_rows_for_lanes
from staticgrad.nest.products.packing import WAY, Packing, may_collide
from staticgrad.nest.products.streams import (
    WIDEST,
    write_few_rows,
    write_run,
    write_streams,
)
from staticgrad.nest.products.tiles import Tiles

#: Bytes of a vector of b times the inner indices of a part, and where rows lie across memory, of
#: which each inner index takes a line: a panel and the rows of a tile are in the first cache.
DEPTH_BYTES: Final = (16384, 8192)
#: Bytes of panels that are packed at a time, and of results that are kept between parts, at most:
#: both are on the stack, and in the second cache.
PANEL_BYTES: Final = 1 << 18
KEPT_BYTES: Final = 7 << 15
#: How many inner indices ahead the first tile brings a panel near that is read where it lies: each
#: takes 5 to 7 ns, a line from beyond the second-level cache 70 to 130.
AHEAD: Final = 24
#: Rows of c up to which a panel is read where it lies.
FEW_ROWS: Final = 32
#: Rows from which on those across memory are packed; fewer ones take a tenth less where they lie.
TALL_ROWS: Final = 112
#: Fewer rows go through each panel before the next is packed, in the first cache, if the second one
#: holds all of them.
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
    """Return where results are stored unchanged, by rows; None if more is done with them."""
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
        self.height = self.tiles.highest
        self.before = Lines()  # what the epilogue needs once for an iteration
        m, n, k = (unit.told(extent) for extent in (self.m, self.n, self.k))
        self.most_rows, self.most_columns, self.most_terms = m.most, n.most, k.most
        #: Rows up to which b is read as it lies; whether there are always, or never, so few.
        self.streamed = streamed_rows(stage)
        few = 0 < m.most <= self.streamed
        self.tall, self.deep, self.one_block = m.many, k.many or k.multiple > 1, k.short
        self.streams = self.across == 1 or self.transposed
        self.streams &= not (self.is_narrow or (m.many and not few))
        self.only_streams = self.streams and few and self.deep and self.one_block
        self.fills_panels = n.multiple % self.columns == 0
        #: Whether there may be few terms, of which b is read as it lies.
        self.flat = k.multiple <= FEW_TERMS and not k.most and self.across == 1
        self.flat &= not any(store.combine for store in stage.stores)
        #: Whether an outer axis goes over panels of b that lie one behind the other.
        self.in_panels = self._lies_in_panels()
        #: Where tiles store their results themselves, if nothing follows them.
        self.straight = stored_as_is(kernel, stage) if self.one_block else None
        size = self.dtype.itemsize
        self.depth = DEPTH_BYTES[self.rows == "across"] // (self.lanes * size)
        self.one_part = self.one_block and 0 < k.most <= self.depth
        keeps = self.straight is None and not self.one_part
        panels = PANEL_BYTES // (self.depth * self.columns * size)
        if keeps:
            panels = min(panels, KEPT_BYTES // (CHUNK * self.columns * size))
        panels = min(panels, -(-n.most // self.columns) or panels)
        #: Columns whose panels are packed together.
        self.packed = panels * self.columns
        #: Elements of the results that are in local memory, of a block; a stream's are, too.
        self.width = "span" if keeps and not self._one_panel else str(self.columns)
        kept = CHUNK * self.packed if keeps else self.height * self.columns
        self.whole = max(kept, (WIDEST + self.streamed * self.columns) * self.streams)
        self.room = self.whole * (1 if self.one_block else 2)
        #: Whether rows may be packed, tile by tile.
        self.packs_rows = (
            (self.rows == "across" and not 0 < m.most <= TALL_ROWS)
            or self.a_stored.is_storage
            or (
                has_small_sets(unit)
                and self.rows == "along"
                and may_collide(unit, self.row, self.dtype.itemsize)
            )
        )

    def _lies_in_panels(self) -> bool:
        """Return whether an outer axis goes over consecutive panels of b, and a does not move.

        Then an iteration is one panel with contiguous rows, and nothing is packed.
        """
        a, b = self.stage.a, self.stage.b
        whole = self.fills_panels and 0 < self.most_columns <= self.columns
        lies = self.reads_in_place and self.down == self.n
        moved = [axis.name for axis in self.kernel.axes if b.stride(axis.name) != 0]
        return whole and lies and bool(moved) and all(a.stride(name) == 0 for name in moved)

    @property
    def reads_in_place(self) -> bool:
        """True if tiles of few rows may read panels in place."""
        return self.across == 1 and not self.b_stored.is_storage

    @property
    def lies(self) -> str:
        """The layout of the columns of b, as the packing functions name it."""
        return "transposed" if self.transposed else "along" if self.across == 1 else "strided"

    # the iterations, as ``ir.product_iterations`` cuts them

    def write_cut(self, out: Lines) -> None:
        """Write the partition into iterations, before the loop over them."""
        self._write_first_and_past_k(out)
        m, columns = self.m, self.columns
        out.add(f"chunks = ({m} + {CHUNK} - 1) // {CHUNK} if {m} > 0 else 1")
        out.add(f"chunk = (({m} + chunks - 1) // chunks + 7) // 8 * 8")
        out.add(f"panels = ({self.n} + {columns - 1}) // {columns}")
        self.least(out, "group", f"chunks * panels // {FEWEST}", "chunks")
        out.add(f"if group > {PANELS} or {m} <= {self.streamed}:")
        out.add(f"    group = {PANELS}")
        out.add("if group < 1:")
        out.add("    group = 1")
        out.add("groups = (panels + group - 1) // group")
        out.add(f"group = group * {columns}")

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

    def _write_cover(self, out: Lines) -> None:
        """Merge the iterations that follow into this one: all columns of some chunks of rows.

        It is one chunk where its results are kept in local memory, or columns are left over.
        """
        out.add("if o < covered:")
        out.add("    continue")  # an earlier iteration went on here
        out.add("chunks_on = 1")
        if self.straight is not None or self.one_part:
            out.add("if left == 0 and end - o > groups:")
            self.least(
                out, "    chunks_on", "(end - o) // groups", "chunks - o // groups % chunks", 1
            )
            self.least(out, "last_row", "first_row + chunks_on * chunk", str(self.m))
            out.add("count = last_row - first_row")
        self.least(out, "covered", "(o // groups + chunks_on) * groups", "end")
        self.least(out, "right", "left + (covered - o) * group", str(self.n))

    # an iteration

    def write(self, out: Lines) -> None:
        """Some rows times some columns."""
        self.write_cut(self.unit.once)
        self._declare(self.unit.once)
        self.write_position(out)
        body, few, terms = Lines(), Lines(), Lines()
        self._write_columns(body)
        if self.streams:
            write_few_rows(self, few)
        if self.flat:
            write_few_terms(self, terms)
        out.extend(self.before)
        rows = f"{self.m} <= {self.streamed} and {self.k} > 1"
        tests = rows, f"{self.k} > 0 and {self.k} <= {FEW_TERMS}"
        for lines, test in zip((few, terms), tests, strict=True):
            if lines.lines:
                out.add(f"if {test}:")
                out.extend(lines, 1)
                out.add("    continue")
        if not self.in_panels:
            self._write_cover(out)
        out.extend(body)

    def _declare(self, out: Lines) -> None:
        """Write the declarations of local memory and of the variables that describe it."""
        self.declare_room(out)
        if self.packs_rows:
            pitch = self.packing.pitch(self.height)
            room = max(pitch * self.depth, self.height * (self.depth + self.lanes)) + self.lanes
            out.add(f"packed = local_{self.element}({room})")
            out.add(f"packs = {self._packs}")
        if not self.in_panels:
            out.add("covered = begin")
        if self._widens_squares:
            out.add(f"square = local_{element(self.b_stored)}({self.lanes * self.lanes})")

    def declare_room(self, out: Lines) -> None:
        """Local memory for results, and for panels."""
        out.add(f"tile = local_{self.element}({self.room})")
        panels = self.packed * self.depth + self.lanes * self.columns
        out.add(f"panel = local_{self.element}({panels})")

    @property
    def _second_cache(self) -> int:
        """Elements that the second cache holds."""
        return self.unit.machine.l2 // self.dtype.itemsize

    @property
    def _packs(self) -> str:
        """The condition for packing rows, as a word in source.

        Rows across memory are packed if many panels read them, rows along it if they evict each
        other from L1: even fewer rows than a set has lines map to the same set if pages lie
        between them. Packing rows of neighbouring pages takes longer than it saves.
        """
        if self.a_stored.is_storage:
            return "1"
        if self.rows == "across":
            readers = "panels" if self.most_terms else "chunks * panels"
            return f"1 if {readers} > {PANELS} and {self.m} > {TALL_ROWS} else 0"
        way = WAY // self.dtype.itemsize
        least = way if self.height > FEW_WAYS else 2 * way
        return f"1 if {self.row} % {way} == 0 and {self.row} >= {least} else 0"

    def _write_columns(self, out: Lines) -> None:
        """A block of panels at a time: blocks of inner indices, and their parts."""
        part, block, column = Lines(), Lines(), Lines()
        deepest = "0" if self.one_block else "1"  # of no inner indices sums are zeros
        self.least(part, "past", f"depth + {self.depth}", "stop")
        part.add("fresh = 1 if depth == block else 0")
        self._write_panels(part)
        self._write_tiles(part)
        self.least(block, "stop", f"block + {GEMM_BLOCK}", str(self.k))
        if not self.one_block:
            block.add(f"into = {self.whole} if block > 0 else 0")
        past = "stop" if self.one_block else f"stop if stop > {deepest} else {deepest}"
        write_iterations(block, "depth", ("block", past, self.depth), part, self.one_part)
        span = self.columns if self._one_panel else "span"
        self.least(column, "last_column", f"first_column + {span}", "right")
        most = f"{self.k} if {self.k} > 0 else 1"
        write_iterations(column, "block", ("0", most, GEMM_BLOCK), block, self.one_block)
        columns: str | int = self.packed
        if not self._one_panel:
            packs = "packs == 0 and " if self.packs_rows else ""
            small = f"count < {FEWER} and count * {self.k} < {self._second_cache}"
            out.add(f"span = {self.columns} if {packs}{small} else {columns}")
            out.add("every = 1")
            lines = self.lanes if self.transposed else scaled(str(self.lanes), self.down)
            out.add(f"next_leap = {lines}")
            if not self.transposed:
                out.add(f"while every < {self.lanes} and count >= {4 * self.height} * every:")
                out.add("    every = every + every")
                out.add("next_leap = next_leap // every")
            columns = "span"
        write_iterations(out, "first_column", ("left", "right", columns), column, self._one_panel)

    def least(self, out: Lines, name: str, value: str, most: str, deeper: int = 0) -> None:
        """The smaller of two numbers."""
        shift, name = "    " * deeper, name.strip()
        out.add(f"{shift}{name} = {value}")
        out.add(f"{shift}if {name} > {most}:")
        out.add(f"{shift}    {name} = {most}")

    def repeated(self, place: str) -> str:
        """An element of a in every lane, as the tile has it."""
        one = self.packing.widened(f"load1({self.stage.a.operand}, {place})")
        return f"splat{self.lanes}({one})"

    def columns_at(self, place: str) -> str:
        """A vector of b under the mask ``m``, one column next to the other, as the tile has it."""
        return self.panels.widened(f"load({self.stage.b.operand}, {place}, m)")

    # panels of b

    @property
    def _widens_squares(self) -> bool:
        """True if square blocks of b are transposed in their storage type, then widened."""
        return self.transposed and self.b_stored.is_storage

    @property
    def _slot(self) -> str:
        """The start of a panel among the packed ones."""
        return "0" if self._one_panel else scaled("(j0 - first_column)", str(self.depth))

    @property
    def _one_panel(self) -> bool:
        return self.packed == self.columns

    def _write_panels(self, out: Lines) -> None:
        """Write the packing of a part's panels, one behind the other, unless read in place."""
        start, pack = "first_column", Lines()
        if self.in_panels:
            return
        if self.reads_in_place:
            out.add("packed_from = first_column")
            out.add(f"if count <= {FEW_ROWS}:")
            lie = f"(last_column - first_column) // {self.columns} * {self.columns}"
            out.add(f"    packed_from = first_column + {lie}")
            start = "packed_from"
        if self._widens_squares:
            self._write_squares(pack)
        else:
            place = total(self.b, scaled("depth", self.down), scaled("j0", self.across))
            name = self.panels.panel(self.unit, self.columns, self.lies)
            passed = f"{place}, {self.down}, {self.across}, past - depth, {self.n} - j0"
            pack.add(f"{name}({self.stage.b.operand}, panel, {passed}, {self._slot})")
        out.add(f"for j0 in range({start}, last_column, {self.columns}):")
        out.extend(pack, 1)

    def _write_squares(self, out: Lines) -> None:
        """A panel of squares of b, transposed in registers as they are stored, and widened then."""
        b, lanes, columns = self.stage.b.operand, self.lanes, self.columns
        out.add(f"for half in range(0, {columns}, {lanes}):")
        out.add(f"    for k in range(depth, past, {lanes}):")
        at = total(self.b, "k", scaled("(j0 + half)", self.across))
        size = f"{self.across}, {self.n} - (j0 + half), past - k"
        out.add(f"        transpose{lanes}({b}, {at}, {size}, square, 0, {lanes})")
        out.add(f"        for row in range(0, {lanes}):")
        place = total(self._slot, f"(k - depth + row) * {columns}", "half")
        row = self.panels.widened(f"load{lanes}(square, row * {lanes})")
        out.add(f"            store{lanes}(panel, {place}, {row})")

    # tiles of rows

    def _write_tiles(self, out: Lines) -> None:
        """The rows, tile by tile, each through all panels, with its epilogue behind the last k."""
        rows, panel = Lines(), Lines()
        self.tiles.write_rows(rows, self.most_rows)
        self.least(rows, "under", "top + rows", "count")
        self._write_row_place(rows)
        self._write_panel_place(panel)
        name = self.tiles.function(self.unit, max(self.tiles.heights))
        for part in range(0, self.columns, max(self.tiles.heights) * self.lanes):
            if part:
                panel.add(f"if wide > {part}:")
            shift = "    " * bool(part)
            panel.add(f"{shift}{name}({self._tile_arguments(part)})")
        if self.straight is not None and not self.fills_panels:
            self._write_last_panel(panel, self.straight, stores=True)
        if self.straight is None:
            self._write_kept(panel)
        columns = "first_column", "last_column", self.columns
        write_iterations(rows, "j0", columns, panel, self._one_panel)
        rows.add("top = under")
        if not (self.in_panels or self._one_panel):
            out.add("next_k = past")
            out.add("next_j = first_column")
            out.add(f"if past == {self.k}:")
            out.add("    next_k = 0")
            out.add("    next_j = last_column")
            place = total(self.b, scaled("next_k", self.down), scaled("next_j", self.across))
            out.add(f"next_line = {total(place, '0' if self.transposed else str(self.lanes - 1))}")
            out.add("next_vector = next_line")
            last = scaled(f"(span - {self.lanes})", self.across)
            out.add(f"next_last = {total('next_line', last)}")
            out.add("turn = 0")
        out.add("top = 0")
        out.add("while top < count:")
        out.extend(rows, 1)

    def _write_row_place(self, out: Lines) -> None:
        """Write the addresses and strides of a tile's rows (``a_at``, ``at``) and of the prefetch.

        The last tile prefetches the first one of the next part.
        """
        a, row, inner = self.stage.a.operand, self.row, self.inner
        start = total(self.a, scaled("(first_row + top)", row), scaled("depth", inner))
        out.add(f"at = {start}")
        out.add(f"line = at + {scaled('rows', row)}")
        out.add("if under == count:")
        out.add(f"    line = {total(self.a, scaled('first_row', row), scaled('past', inner))}")
        if not self.packs_rows:
            return
        out.add(f"a_at = address({a})")
        out.add(f"row = {row}")
        out.add(f"inner = {inner}")
        out.add("if packs == 1:")
        if self.rows == "across":
            name, pitch = self.packing.rows(self.unit, self.height), self.packing.pitch(self.height)
            out.add(f"    {name}({a}, packed, at, inner, past - depth, {self.m} - first_row - top)")
            row, inner = 1, pitch
        else:
            name, row, inner = self.packing.lines(self.unit, inner == 1), self.depth + self.lanes, 1
            passed = f"at, row, inner, under - top, past - depth, {row}"
            out.add(f"    {name}({a}, packed, {passed})")
        for line in ("a_at = address(packed)", "at = 0", f"row = {row}", f"inner = {inner}"):
            out.add(f"    {line}")

    def _write_panel_place(self, out: Lines) -> None:
        """Write the addresses of the panel, of the results and of the tile's prefetch."""
        out.add(f"wide = {self.n} - j0")
        b, near = self.stage.b.operand, self.rows != "across"
        hop, leap = (self.row, self.inner) if near else (self.inner, self.inner)
        named = {"near_at": f"address({self.stage.a.operand})", "ahead": "line"}
        named |= {"hop": str(hop), "leap": scaled(str(self.lanes), leap)}
        lying = Lines()
        lying.add(f"b_at = address({b})")
        lying.add(f"down = {total(self.b, scaled('depth', self.down), 'j0')}")
        lying.add(f"step = {self.down}")
        lying.add("if top == 0:")
        lying.add("    near_at = b_at")
        lying.add(f"    ahead = down + {AHEAD} * step + {self.lanes - 1}")
        lying.add("    hop = step")
        lying.add(f"    leap = {self.lanes} * step")
        for name, value in named.items():
            out.add(f"{name} = {value}")
        if not (self.in_panels or self._one_panel):
            self._write_next(out)
        if not self.in_panels:
            out.add("b_at = address(panel)")
            out.add(f"down = {self._slot}")
            out.add(f"step = {self.columns}")
        if self.in_panels:
            lying.add("else:")  # what follows: the next part, or the next panel
            lying.add("    near_at = b_at")
            lying.add(f"    ahead = down + (past - depth) * step + {self.lanes - 1}")
            lying.add("    hop = step")
            lying.add(f"    leap = {self.lanes} * step")
            out.extend(lying)
        elif self.reads_in_place:
            out.add("if j0 < packed_from:")
            out.extend(lying, 1)
        if self.straight is None:
            into = "" if self.one_block else "into"
            place = "" if self.one_part else f"top * {self.width} + j0 - first_column"
            out.add(f"to = {total(*filter(None, (into, place)))}")
            return
        base = base_text(self.straight, frozenset({"i", VECTOR}))
        row = self.straight.stride("i")
        out.add(f"to = {total(base, scaled('(first_row + top)', row), 'j0')}")
        if not self.fills_panels:
            out.add(f"c_at = address({self.straight.operand})")
            out.add(f"width = {row}")
            self._write_last_panel(out, self.straight, stores=False)

    def _write_next(self, out: Lines) -> None:
        """Let tiles bring a vector of the next panels near, so many each; the first one the rows.

        One tile would bring more lines than arrive from beyond the second cache meanwhile. Those of
        a transposed vector are neighbours.
        """
        out.add(f"if j0 > first_column or span == {self.columns}:")
        out.add(f"    near_at = address({self.stage.b.operand})")
        out.add("    ahead = next_line")
        out.add(f"    hop = {self.across if self.transposed else self.down}")
        out.add("    leap = next_leap")
        out.add(f"    next_line = next_line + (past - depth) // {self.lanes} * next_leap")
        out.add("    turn = turn + 1")
        out.add("    if turn == every:")
        out.add("        turn = 0")
        out.add("        if next_vector < next_last:")
        out.add(f"            next_vector = next_vector + {scaled(str(self.lanes), self.across)}")
        out.add("        next_line = next_vector")

    def _write_last_panel(self, out: Lines, to: Access, stores: bool) -> None:
        """Results of a panel that is not full, of which tiles store more: in local memory."""
        out.add(f"if wide < {self.columns}:")
        shift = "    "
        if not stores:
            for line in ("c_at = address(tile)", f"width = {self.columns}", "go = to", "to = 0"):
                out.add(shift + line)
            if self.one_part:
                return
            out.add("    if fresh == 0:")
            shift += "    "
        out.add(f"{shift}for i in range(0, under - top):")
        for half in range(0, self.columns, self.lanes):
            out.add(f"{shift}    m = mask{self.lanes}(wide - {half})")
            here, there = f"i * {self.columns} + {half}", f"go + i * {to.stride('i')} + {half}"
            value = f"load({to.operand}, {there}, m)"
            line = f"store{self.lanes}(tile, {here}, {value})"
            if stores:
                line = f"store({to.operand}, {there}, load{self.lanes}(tile, {here}), m)"
            out.add(f"{shift}    {line}")

    def _tile_arguments(self, part: int) -> str:
        """Return the arguments of a tile, for a part of the panel."""
        to, packs = self.straight, self.packs_rows
        named = {
            "a": f"ptr_{self.element}(a_at)" if packs else self.stage.a.operand,
            "b": f"ptr_{self.element}(b_at)",
            "c": "tile",
            "near": f"ptr_{self.element}(near_at)",
            "row": "row" if packs else str(self.row),
            "inner": "inner" if packs else str(self.inner),
            "last": "under - top - 1",
            "down": total("down", str(part)),
            "to": total("to", str(part)),
            "width": self.width,
            "depth": "past - depth",
        }
        if to is not None and self.fills_panels:
            named |= {"c": to.operand, "width": str(to.stride("i"))}
        elif to is not None:
            named |= {"c": f"ptr_{self.element}(c_at)", "width": "width"}
        return ", ".join(named.get(name, name) for name in self.tiles.arguments)

    # the epilogue

    def _write_kept(self, out: Lines) -> None:
        """Write the code after the tiles of some rows, which adds their blocks and stores them."""
        if not self.one_block:
            back = f" - {self.whole}"
            out.add("if past == stop and block > 0:")
            out.add("    for i in range(0, under - top):")
            out.add(f"        cell = to + i * {self.width}")
            for half in range(0, self.columns, self.lanes):
                old, new = (f"load{self.lanes}(tile, cell + {half}{at})" for at in (back, ""))
                out.add(f"        store{self.lanes}(tile, cell + {half}{back}, {old} + {new})")
        lines = Lines()
        self.least(lines, "right_end", f"j0 + {self.columns}", "last_column")
        self.write_epilogue(lines, "to - into" if not self.one_block else "to", self.width)
        if not self.one_part:
            out.add(f"if past == {self.k}:")
        out.extend(lines, int(not self.one_part))

    def write_stores(self, body: Lines) -> None:
        """A vector of the results, ``acc``, through the stores' expressions."""
        wanted, inner = self.stage.stores, ["i", VECTOR]
        found = self.unit.write_vectors(wanted, inner, self.lanes, called={"acc": "acc"})
        self.before.lines += [f"{'    ' * self.before.indent}{line}" for line in found.before]
        body.lines += found.body

    def write_epilogue(self, out: Lines, place: str, width: str) -> None:
        """The stores of the rows from ``top`` to ``under``, whose results begin at ``place``."""
        body, row = Lines(), Lines()
        self.write_stores(body)
        one = Lines()
        one.add(f"acc = load{self.lanes}(tile, from_ + {VECTOR})")
        one.extend(body)
        row.add(f"{VECTOR} = j0")
        write_run(self, row, one, "right_end")
        out.add("if under == count:")
        out.add("    rows = 0")  # rows behind these may be another worker's, which writes them
        out.add(f"from_ = {place} - j0")
        out.add("for i in range(first_row + top, first_row + under):")
        out.extend(row, 1)
        out.add(f"    from_ = from_ + {width}")

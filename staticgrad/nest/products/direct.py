"""Products of few columns, or of few terms, stored directly from registers to the results.

For few columns or terms, packing and a tile in local memory cost as much as the multiplications.
Rows are interleaved over all terms of one vector of columns, which is read in place: with an
element of each row broadcast, every step is one instruction. A second factor is packed first if its
layout is bad, if its rows may map to the same cache lines, or, with registers of 256 bits, if more
than a few rows read it; a tile's rows across memory are packed too. Each element is the FMA chain
of all products (``codegen.gemm``).
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from staticgrad.codegen.lines import (
    VECTOR,
    Lines,
    of_row,
    scaled,
    total,
    work,
    write_vector_loop,
)
from staticgrad.ir.execution import BOUND
from staticgrad.ir.kernels.stages import LONE
from staticgrad.nest.products.packing import may_collide
from staticgrad.nest.products.plain import FEW_TERMS
from staticgrad.nest.products.streams import write_few_rows, write_span

if TYPE_CHECKING:
    from staticgrad.nest.products.plain import PlainProduct
    from staticgrad.nest.products.text_product import TextProduct

#: Rows side by side, and those of the last tiles, in which rows past the end repeat the last one:
#: as many chains as a processor adds to before the first one is done. The same where a vector is
#: two registers, each row two chains, and the tile fills the registers.
HEIGHTS: Final = (8, 4)
NARROW_HEIGHTS: Final = (6, 4)
#: Rows up to which so few of them are one tile, by rows of a usual one.
_HIGHEST: Final = {8: 10, 6: 6}
#: Tiles that pay for packing what they share.
_REPAID: Final = 3
#: Columns that are packed together.
SPAN: Final = 256
#: Terms up to which packing takes longer than tiles of more rows and two vectors save, which load
#: less for each multiplication. Tiles of a vector that is two registers are no wider.
FLAT: Final = 32
#: Lines of an epilogue up to which it is written for each row of a tile, its sums in registers.
_PLAIN: Final = 12


def is_direct(product: PlainProduct) -> bool:
    """Return whether columns or terms are known to be so few that hardly anything is packed.

    With registers of 256 bits a mask is a vector, which is computed again for every load.
    """
    if any(store.combine for store in product.stage.stores):
        return False
    if product.b_stored.is_storage and product.transposed:  # squares are widened apart
        return False
    if 0 < product.most_terms <= (FLAT if product.tiles.wide and not _pays(product) else BOUND):
        return True
    pairs = product.most_rows or (product.fills_panels and product.rows != "across")
    narrow = 0 < product.most_columns <= (product.columns if pairs else product.lanes)
    return narrow and product.one_block and product.across == 1 and product.tiles.wide


def _pays(product: PlainProduct) -> bool:
    """Return whether up to ``BOUND`` terms are few: two vectors are interleaved (``jammed``)."""
    fills = product.rows != "across" or product.lanes <= HEIGHTS[0]
    return product.straight is not None and product.fills_panels and fills


def write_direct(product: TextProduct, out: Lines) -> None:
    """The body for one outer iteration ``o``."""
    direct = _DirectProduct(product)
    product.write_cut(product.unit.once)
    product.write_position(out)
    tiles, few = Lines(), Lines()
    direct.write(tiles)
    if direct.streams:
        write_few_rows(product, few)
    out.extend(product.before)
    if few.lines:
        out.add(f"if {product.m} <= {LONE} and {product.k} > 1:")
        out.extend(few, 1)
        out.add("    continue")
    out.extend(tiles)


def write_few_terms(product: TextProduct, out: Lines) -> None:
    """The same where no more than that a product may have few terms is known, if it is simple."""
    direct = _DirectProduct(product)
    direct.streams = False
    if direct.in_registers and not direct.packs:
        direct.write(out)


def _heights(product: TextProduct) -> tuple[int, int]:
    """Rows of a tile, and of a last one; few rows, as far as they are known, are equal tiles."""
    highest, least = HEIGHTS if product.tiles.wide else NARROW_HEIGHTS
    most = _HIGHEST[highest]
    if 0 < product.most_rows <= 2 * most:
        highest = -(-product.most_rows // -(-product.most_rows // most))
    return highest, min(highest, least)


class _DirectProduct:
    """The lines of one product."""

    def __init__(self, product: TextProduct) -> None:
        self.product, self.lanes = product, product.lanes
        self.narrow = 0 < product.most_columns <= product.columns
        self.heights = _heights(product)
        few = 0 < product.most_rows <= _REPAID * self.heights[0]
        apart = may_collide(product.unit, product.down, product.dtype.itemsize)
        near = product.flat or product.most_columns > 0 or not apart
        reads = product.across == 1 and product.tiles.wide and near
        #: Whether panels of several vectors are packed before rows go through all of them.
        self.spans = not (self.narrow or few or reads)
        self.packs = self.spans or product.across != 1 or (self.narrow and not product.tiles.wide)
        self.packs_rows = product.rows == "across" and not (self.narrow or product.flat)
        self.packs_rows &= self.spans or not self.packs
        self.pitch = product.packing.pitch(self.heights[0])
        self.columns = product.columns  # of a panel
        if self.spans or 0 < product.most_columns <= self.lanes:
            self.columns = self.lanes
        lies = product.across == 1 or product.transposed
        #: Whether there may be so few rows that all columns are read in their order.
        self.streams = lies and not (self.narrow or product.tall or product.is_narrow)
        self.epilogue = Lines()
        product.write_stores(self.epilogue)
        self.in_registers = work(self.epilogue, product.unit) <= _PLAIN
        #: Vectors of columns side by side: two load less for each multiplication than one does.
        whole = product.fills_panels and product.tiles.wide and self.in_registers
        whole = whole and not 0 < product.most_terms <= FEW_TERMS  # which takes as long as stores
        self.jammed = 2 if whole else 1

    def write(self, out: Lines) -> None:
        """All rows and columns of the iteration."""
        p, local = self.product, f"local_{self.product.element}"
        if self.streams or not self.in_registers:
            room = p.room if self.streams else self.heights[0] * self.lanes
            p.unit.once.add(f"tile = {local}({room})")
        if self.packs or self.streams:
            steps = p.depth if self.streams else p.most_terms
            room = (steps + self.lanes) * p.columns
            if self.spans:
                room = max(room, (SPAN + self.lanes) * (p.most_terms + self.lanes))
            p.unit.once.add(f"panel = {local}({room})")
        if self.spans:
            self._write_span(out)
            return
        if not self.packs:
            if not self.narrow:
                write_span(p, out)
            self._declare_packed()
            self._write_columns(out, "left", "right")
            return
        panel = Lines()
        self._write_panel(panel, "0")
        p.least(panel, "past", f"j0 + {self.columns}", "right")
        self._write_columns(panel, "j0", "past")
        out.add(f"for j0 in range(left, right, {self.columns}):")
        out.extend(panel, 1)

    def _write_span(self, out: Lines) -> None:
        """Vectors of columns are packed one behind the other; rows then go through all of them.

        Read where they lie, those of one tile would be lines of as many pages, and of one set of
        the nearest cache, as there are terms. Results are written along rows.
        """
        p, panel = self.product, Lines()
        write_span(p, out, widest=SPAN)
        self._declare_packed()
        self._write_panel(panel, f"(j0 - left) * {p.k}")
        out.add(f"for j0 in range(left, right, {self.columns}):")
        out.extend(panel, 1)
        self._write_rows(out, "left", "right")

    def _declare_packed(self) -> None:
        """Room for the rows of a tile, if they are packed."""
        if self.packs_rows:
            room = self.product.most_terms * self.pitch + self.lanes
            self.product.unit.once.add(f"packed = local_{self.product.element}({room})")

    def _write_panel(self, out: Lines, to: str) -> None:
        """All terms of some columns from ``j0`` on."""
        p = self.product
        place = total(p.b, scaled("j0", p.across))
        pack = p.panels.panel(p.unit.helpers, self.columns, p.lies)
        passed = f"{place}, {p.down}, {p.across}, {p.k}, {p.n} - j0, {to}"
        out.add(f"{pack}({p.stage.b.operand}, panel, {passed})")

    def _write_columns(self, out: Lines, start: str, stop: str) -> None:
        """All rows for the columns from ``start`` to ``stop``, which are taken row by row.

        A panel, and few columns, are taken vector by vector: no tile computes what all share.
        """
        if self.packs or self.narrow:
            rows = Lines()
            self._write_rows(rows, "", "")
            if self.jammed > 1:
                self._write_pairs(out, start, stop, rows)
                return
            fills = not 0 < self.product.most_columns < self.lanes
            whole = fills and not self.product.tiles.wide
            write_vector_loop(out, start, stop, self.lanes, rows, whole)
        else:
            self._write_rows(out, start, stop)

    def _write_rows(self, out: Lines, start: str, stop: str) -> None:
        """Tiles of all rows, each with the columns from ``start`` to ``stop``, if given."""
        highest, least = self.heights
        out.add("top = first_row")
        for height, more, whole in (
            (highest, f"top + {highest} <= last_row", True),
            (least, "top < last_row", False),
        ):
            tile, rows = Lines(), Lines()
            if not whole:
                for row in range(1, height):
                    self.product.least(rows, of_row("line", row), f"top + {row}", "last_row - 1")
            if self.packs_rows:
                self._write_packed(rows)
            self._write_tile(tile, height, whole)
            if stop and self.jammed > 1:
                self._write_pairs(rows, start, stop, tile)
            elif stop:
                whole = not self.product.tiles.wide
                write_vector_loop(rows, start, stop, self.lanes, tile, whole)
            else:
                rows.extend(tile)
            rows.add(f"top = top + {height}")
            out.add(f"while {more}:")
            out.extend(rows, 1)

    def _write_pairs(self, out: Lines, start: str, stop: str, body: Lines) -> None:
        """``body`` for every two vectors of columns, which are whole."""
        out.add(f"for {VECTOR} in range({start}, {stop}, {2 * self.lanes}):")
        out.add(f"    m = mask{self.lanes}({self.lanes})")
        out.extend(body, 1)

    def _write_packed(self, out: Lines) -> None:
        """The rows of a tile, of each k behind those of another: they may displace each other."""
        p, highest = self.product, self.heights[0]
        pack = p.packing.rows(p.unit.helpers, highest)
        passed = f"{total(p.a, 'top')}, {p.inner}, {p.k}, {p.m} - top"
        out.add(f"{pack}({p.stage.a.operand}, packed, {passed})")

    def _write_tile(self, out: Lines, height: int, whole: bool) -> None:
        """Write the sums of some vectors of columns of rows from ``top`` on, and their stores."""
        names = [
            [of_row(f"sum{'_' * v}", row) for row in range(height)] for v in range(self.jammed)
        ]
        for name in chain(*names):
            out.add(f"{name} = {self.product.tiles.zero}")
        self._write_steps(out, names, whole)
        if self.in_registers:
            self._write_registers(out, names[0], whole)
            for each in names[1:]:
                out.add(f"{VECTOR} = {VECTOR} + {self.lanes}")
                self._write_registers(out, each, whole)
            if len(names) > 1:
                out.add(f"{VECTOR} = {VECTOR} - {(len(names) - 1) * self.lanes}")
        else:
            self._write_stored(out, names[0], whole)

    def _write_steps(self, out: Lines, names: list[list[str]], whole: bool) -> None:
        """The sums of all terms."""
        p, lanes = self.product, self.lanes
        out.add(f"for k in range(0, {p.k}):")
        for v in range(self.jammed):
            other = str(v * lanes)
            if self.packs:
                column = f"{VECTOR} - j0 + {other}"
                if self.spans:
                    column = f"({VECTOR} - left + {other}) * {p.k}"
                place = total(f"k * {self.columns}", column)
                out.add(f"    y{v} = load{lanes}(panel, {place})")
            else:
                place = total(p.b, scaled("k", p.down), VECTOR, other)
                out.add(f"    y{v} = {p.columns_at(place)}")
        for row in range(len(names[0])):
            line = (f"(top + {row})" if whole else of_row("line", row)) if row else "top"
            x = p.repeated(total(p.a, scaled(line, p.row), scaled("k", p.inner)))
            if self.packs_rows:
                x = f"splat{lanes}(load1(packed, {total(f'k * {self.pitch}', str(row))}))"
            if self.jammed > 1:
                out.add(f"    x = {x}")
                x = "x"
            for v, sums in enumerate(names):
                out.add(f"    {sums[row]} = {p.tiles.added(x, f'y{v}', sums[row])}")

    def _write_registers(self, out: Lines, names: list[str], whole: bool) -> None:
        """Write the epilogue of each row, only once: it may read elements that it overwrites."""
        for row, name in enumerate(names):
            if row and not whole:
                out.add(f"if top + {row} < last_row:")
            shift = int(bool(row and not whole))
            body = Lines()
            body.add(f"i = top + {row}")
            body.add(f"acc = {name}")
            body.extend(self.epilogue)
            out.extend(body, shift)

    def _write_stored(self, out: Lines, names: list[str], whole: bool) -> None:
        """The sums as they lie in local memory, and the epilogue in a loop over them."""
        for row, name in enumerate(names):
            out.add(f"store{self.lanes}(tile, {row * self.lanes}, {name})")
        past = f"top + {len(names)}"
        if not whole:
            self.product.least(out, "under", past, "last_row")
            past = "under"
        out.add(f"for i in range(top, {past}):")
        out.add(f"    acc = load{self.lanes}(tile, (i - top) * {self.lanes})")
        out.extend(self.epilogue, 1)

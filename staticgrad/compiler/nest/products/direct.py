"""Products of few columns, or of few terms, stored directly from registers to the results.

For few columns or terms, packing and a tile in local memory cost as much as the multiplications.
Rows are interleaved over all terms of one vector of columns, which is read in place: with an
element of each row broadcast, every step is one instruction. A second factor is packed first if its
layout is bad, if its rows may map to the same cache lines, or, with registers of 256 bits, if more
than a few rows read it; a tile's rows across memory are packed too. Each element is the FMA chain
of all products (``nest.products.gemm``).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

from staticgrad.compiler.nest.directives import work
from staticgrad.compiler.nest.products.gemm import MatrixProduct
from staticgrad.compiler.nest.products.packing import may_collide
from staticgrad.compiler.nest.products.plain import (
    FEW_TERMS,
    MATRIX,
    PANEL_BYTES,
    WIDEST,
    PlainProduct,
)
from staticgrad.compiler.nest.products.streams import spans, write_few_rows
from staticgrad.compiler.nest.records import Name, Word, copies_of, pick, place_at
from staticgrad.compiler.nest.values import Values
from staticgrad.language.ir.expr import Access, postorder
from staticgrad.language.ir.kernels.known import BOUND, Known
from staticgrad.language.ir.kernels.stages import LANES, LONE

#: Rows side by side, and those of the last tiles, in which rows past the end repeat the last one:
#: as many chains as a processor adds to before the first one is done. The same where a vector is
#: two registers, each row two chains, and the tile fills the registers.
HEIGHTS: Final = (8, 4)
NARROW_HEIGHTS: Final = (6, 4)
#: Rows up to which so few of them are one tile, by rows of a usual one.
_HIGHEST: Final = {8: 10, 6: 6}
#: Tiles that pay for packing what they share.
_REPAID: Final = 3
#: Columns that are packed together, at least and at most, and their bytes in L2. Longer ones make
#: longer runs of results that are written.
SPANS: Final = (256, 1024)
SPAN_BYTES: Final = PANEL_BYTES // 2
#: Terms up to which packing takes longer than tiles of more rows and two vectors save, which load
#: less for each multiplication. Tiles of a vector that is two registers are no wider.
FLAT: Final = 32
#: Operations of an epilogue up to which it is written for each row of a tile.
_PLAIN: Final = 12


def is_direct(product: PlainProduct) -> bool:
    """Return True if a matrix product has so few columns or terms that packing does not pay.

    With registers of 256 bits a mask is a vector, which is computed again for every load.
    """
    if any(store.combine for store in product.stage.stores):
        return False
    if product.stage.rounds:  # while they are packed
        return False
    if product.b_stored.is_storage and product.transposed:  # squares are widened apart
        return False
    if product.finishes_rows and product.most_terms > FEW_TERMS:
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


def write_direct(p: MatrixProduct) -> None:
    """Write an iteration of an unpacked matrix product: few rows stream b, others use tiles."""
    direct = DirectProduct(p)
    direct.declare()
    if not direct.streams:
        direct.write()
        return
    with p.b.branch("le", p.choose("gt", p.terms, 1, p.rows_of_c, LONE + 1), LONE):
        write_few_rows(p)
    with p.b.otherwise():
        direct.write()


class DirectProduct:
    """The tiles of one product."""

    def __init__(self, p: MatrixProduct) -> None:
        self.p, self.b, self.lanes = p, p.b, p.lanes
        self.narrow = 0 < p.most_columns <= p.columns
        #: Rows of a tile, and of a last one; few rows, as far as they are known, are equal tiles.
        highest, least = HEIGHTS if p.tiles.wide else NARROW_HEIGHTS
        most = _HIGHEST[highest]
        if 0 < p.most_rows <= 2 * most:
            highest = -(-p.most_rows // -(-p.most_rows // most))
        self.heights = highest, highest if p.most_rows % highest > least else min(highest, least)
        few = 0 < p.most_rows <= _REPAID * highest
        near = p.flat or p.most_columns > 0 or not may_collide(p.nest, p.down, p.dtype.itemsize)
        #: Whether panels of several vectors are packed before rows go through all of them.
        self.spans = not (self.narrow or few or (p.across == 1 and p.tiles.wide and near))
        fitting = SPAN_BYTES // (max(p.most_terms, 1) * p.dtype.itemsize)
        self.span = max(SPANS[0], min(SPANS[1], fitting))
        self.packs = self.spans or p.across != 1 or (self.narrow and not p.tiles.wide)
        self.packs_rows = p.rows == "across" and not (self.narrow or p.flat)
        self.packs_rows &= self.spans or not self.packs
        self.pitch = p.packing.pitch(highest)
        self.columns = p.columns  # of a panel
        if self.spans or 0 < p.most_columns <= self.lanes:
            self.columns = self.lanes
        is_contiguous = p.across == 1 or p.transposed
        #: Whether there may be so few rows that all columns are read in their order.
        self.streams = is_contiguous and not (self.narrow or p.tall or p.is_narrow)
        operations = sum(work(e) for e in postorder(p.stored_exprs))
        self.in_registers = operations + len(p.stage.stores) <= _PLAIN
        #: Whether rows of few columns are joined: each would be a vector with lanes to spare.
        few_columns = 0 < p.most_columns <= self.lanes // 2
        self.is_joined = few_columns and not self.in_registers and self._rows_are_joined()
        #: Vectors of columns side by side: two load less for each multiplication than one does.
        has_full_panels = p.fills_panels and p.tiles.wide and self.in_registers
        self.jammed = 2 if has_full_panels and not 0 < p.most_terms <= FEW_TERMS else 1

    def _rows_are_joined(self) -> bool:
        """Return True if an epilogue's operands have the result's layout or are loop-invariant."""
        p = self.p
        accesses = [store.access for store in p.stage.stores if not store.indices]
        if len(accesses) < len(p.stage.stores) or any(store.combine for store in p.stage.stores):
            return False
        for e in postorder(p.stored_exprs):
            if e.op == "index" and e.attribute in ("i", LANES):
                return False
            if isinstance(e.attribute, Access):
                accesses.append(e.attribute)
        strides = [(access.stride("i"), access.stride(LANES)) for access in accesses]
        simple = not any(access.gather or access.positions for access in accesses)
        return simple and all(pair in ((p.n, 1), (0, 0)) for pair in strides)

    @property
    def serves_few_terms(self) -> bool:
        """True if products that may have few terms, too, are simple enough for these tiles."""
        is_simple = self.p.flat and not self.p.stage.rounds
        return is_simple and self.in_registers and not self.packs

    def declare(self) -> None:
        """Declare the local memory of an unpacked matrix product."""
        p, lanes, tile, panel = self.p, self.lanes, 0, 0
        if self.streams or not self.in_registers:
            tile = p.room if self.streams else self.heights[0] * lanes
        if self.packs or self.streams:
            panel = ((p.depth if self.streams else p.most_terms) + lanes) * p.columns
            if self.spans:
                panel = max(panel, (self.span + lanes) * (p.most_terms + lanes))
        p.declare(tile, panel)
        if self.packs_rows:
            self.packed = self.b.define("packed", p.local, p.most_terms * self.pitch + lanes)

    def write(self) -> None:
        """Write all rows and columns of an iteration of an unpacked matrix product.

        A panel, and few columns, are taken vector by vector: no tile computes what all share. Of
        ``spans``, vectors of columns are packed one behind the other; rows then go through all of
        them. Read where they lie, those of one tile would be lines of as many pages, and of one set
        of the L1 cache, as there are terms. Results are written along rows.
        """
        p = self.p
        if self.spans:
            with spans(p, self.span):
                with p.loop(p.left, p.right, self.columns, "j") as j0:
                    self.pack(j0, (j0 - p.left) * p.terms)
                self.rows((p.left, p.right), p.left)
        elif self.packs:
            with p.loop(p.left, p.right, self.columns, "j") as j0:
                self.pack(j0, 0)
                past = self.b.least(j0 + self.columns, p.right)
                self.vectors(j0, past, lambda values: self.rows(None, j0, values))
        elif self.narrow:
            self.vectors(p.left, p.right, lambda values: self.rows(None, 0, values))
        else:
            with spans(p, WIDEST // LONE):
                self.rows((p.left, p.right), 0)

    def pack(self, j0: Name, to: Word) -> None:
        """All terms of some columns from ``j0`` on."""
        p = self.p
        name = p.panels.panel(p.nest.functions, self.columns, p.panel_layout)
        place = p.base_of(p.stage.b, MATRIX) + j0 * p.b_across
        size = p.b_down, p.b_across, p.terms, p.columns_of_c - j0, to
        p.b.do(name, p.pointer(p.stage.b), p.panel, place, *size, stores="panel")

    def vectors(self, start: Word, stop: Word, body: Any) -> None:
        """Write ``body`` for all vectors of columns of a product, or for two at a time."""
        p, nest = self.p, self.p.nest
        if self.jammed > 1:
            with p.loop(start, stop, 2 * self.lanes, "j") as j:
                nest.at[LANES] = j
                body(Values(nest, self.lanes, True, (0, self.lanes)))
            return
        masked = p.tiles.wide or 0 < p.most_columns < self.lanes
        nest.vectors(start, stop, self.lanes, 1, Known(""), masked, p.written, body)

    def rows(self, columns: tuple[Word, Word] | None, j0: Word, values: Any = None) -> None:
        """Write the loop over register tiles of rows, for some columns of a product."""
        p, (highest, least) = self.p, self.heights
        full_end = p.first_row + p.count // highest * highest
        for height, first, past in (
            (highest, p.first_row, full_end),
            (least, full_end, p.last_row),
        ):
            with p.loop(first, past, height, "top") as top:
                rows = lines = [top + row for row in range(height)]
                if past is not full_end:
                    lines = [top, *(self.b.least(row, p.last_row - 1) for row in rows[1:])]
                if self.packs_rows:
                    self.pack_rows(top)

                def tile(values: Values, rows: Any = rows, lines: Any = lines) -> None:
                    self.tile(values, rows, lines, j0)

                if columns is None:
                    tile(values)
                else:
                    self.vectors(*columns, tile)

    def pack_rows(self, top: Name) -> None:
        """Pack the rows of a tile by k: unpacked, they may evict each other from the cache."""
        p, a = self.p, self.p.stage.a
        name = p.packing.rows(p.nest.functions, self.heights[0], tiles=1)
        size = p.base_of(a, MATRIX) + top, p.a_inner, p.terms, p.rows_of_c - top, 0
        p.b.do(name, p.pointer(a), self.packed, *size, stores="packed")

    def tile(self, values: Values, rows: Sequence[Word], lines: Sequence[Word], j0: Word) -> None:
        """Write one register tile of a product: its FMA loop over k, and its stores.

        ``lines``: the rows that are read, past the end the last one. Stores are not written for it
        again: they may read what they overwrite.
        """
        p, b, nest = self.p, self.b, self.p.nest
        offsets, mask, last = values.offsets, values.mask, p.last_row
        zeros = p.tiles.zeros(b)
        sums = [[b.variable("s", "copy", zeros) for _ in offsets] for _ in rows]
        with b.loop(0, p.terms, prefix="k") as k:
            columns = [
                self.column(k, nest.at[LANES] + offset, j0, pick(mask, copy))
                for copy, offset in enumerate(offsets)
            ]
            for number, (line, row_sums) in enumerate(zip(lines, sums, strict=True)):
                x = self.element(k, line, number)
                for y, total in zip(columns, row_sums, strict=True):
                    b.assign(total, *p.tiles.fma(b, x, y, total))

        def store(row: Word, totals: Sequence[Name]) -> None:
            nest.at["i"] = row
            p.store(Values(nest, self.lanes, True, offsets, mask), copies_of(totals))

        if self.in_registers:
            for line, row, row_sums in zip(lines, rows, sums, strict=True):
                with nullcontext() if line is row else b.branch("lt", row, last):
                    store(row, row_sums)
            return
        past = rows[0] + len(rows) if lines is rows else b.least(rows[0] + len(rows), last)
        if self.is_joined:
            self.store_joined_rows(rows[0], past, sums)
            return
        for number, (row_sums,) in enumerate(sums):
            p.local_store("tile", p.tile, number * self.lanes, row_sums)
        with p.loop(rows[0], past) as i:
            store(i, [p.local_load("tile", p.tile, (i - rows[0]) * self.lanes)])

    def store_joined_rows(self, first: Word, past: Word, sums: Sequence[Sequence[Name]]) -> None:
        """Store short consecutive result rows of a product by whole vectors.

        Each row is written behind the one before, whose other lanes it overwrites.
        """
        p, nest = self.p, self.p.nest
        column, width = nest.at[LANES], p.columns_of_c
        for number, (row_sum,) in enumerate(sums):
            p.local_store("tile", p.tile, number * width, row_sum)
        nest.at["i"] = first

        def body(values: Values) -> None:
            at = [nest.at[LANES] + offset for offset in values.offsets]
            p.store(values, copies_of([p.local_load("tile", p.tile, position) for position in at]))

        facts = Known("")
        nest.vectors(0, (past - first) * width, self.lanes, 1, facts, True, p.written, body)
        nest.at[LANES] = column

    def column(self, k: Name, j: Word, j0: Word, mask: Name | None) -> Name:
        """Load a vector of matrix b, from memory or from its packed panel."""
        p, b = self.p, self.b
        if self.packs:
            column = (j - j0) * p.terms if self.spans else j - j0
            vector: Name = p.local_load("panel", p.panel, k * self.columns + column)
            return vector
        at = b.pointer(
            p.pointer(p.stage.b), place_at((p.base_of(p.stage.b, MATRIX), 1), (k, p.b_down), (j, 1))
        )
        word, masks = (f"load{self.lanes}", ()) if mask is None else ("load", (mask,))
        return p.panels.cast_to_element(b, b.load(p.stage.b.operand, word, *at, *masks))

    def element(self, k: Name, line: Word, number: int) -> Name:
        """Load an element of matrix a and broadcast it to all lanes."""
        p, b, a = self.p, self.b, self.p.stage.a
        if self.packs_rows:
            scalar = b.load(
                "packed", "load1", self.packed, place_at((k, self.pitch), constant=number)
            )
        else:
            place = place_at((p.base_of(a, MATRIX), 1), (line, p.a_row), (k, p.a_inner))
            scalar = p.packing.cast_to_element(
                b, b.load(a.operand, "load1", *b.pointer(p.pointer(a), place))
            )
        vector: Name = b.op(f"splat{self.lanes}", scalar)
        return vector

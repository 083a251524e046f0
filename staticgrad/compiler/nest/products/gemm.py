"""Products of matrices to nests: blocks in caches, register tiles, and the epilogue.

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

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.products.packing import WAY
from staticgrad.compiler.nest.products.plain import MATRIX, TALL_ROWS, PlainProduct
from staticgrad.compiler.nest.products.tiles import EVEN_TILE, MOST_EVEN
from staticgrad.compiler.nest.records import Apply, Name, Word, copies_of
from staticgrad.compiler.nest.values import Values
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import postorder
from staticgrad.language.ir.kernels.chain_parts import left_in, record_words
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import (
    LANES,
    PANELS,
    Gemm,
    chunk_count,
    group_panels,
    high_from,
    panel_count,
)

#: How many inner indices ahead the first tile brings a panel near that is read where it lies: each
#: takes 5 to 7 ns, a line from beyond the second-level cache 70 to 130.
AHEAD: Final = 24
#: Rows of c up to which a panel is read where it lies: by high tiles, by low ones, and by these
#: where its rows are a multiple of a quarter of a way apart (four sets of L1 hold 32 lines).
FEW_ROWS: Final = 32
FEW_LOW_ROWS: Final = 24
FEW_COLLIDING_ROWS: Final = 10
#: Fewer rows go through each panel before the next is packed, in the first cache, if the second one
#: holds all of them.
FEWER: Final = 240
#: Expressions of an epilogue up to which two vectors run side by side.
PLAIN: Final = 8
_COLUMN: Final = frozenset({"i", "j"})


class MatrixProduct(PlainProduct):
    """The loops of one product of matrices.

    Words are named as in the loops: rows of an iteration are ``first_row`` to ``last_row``, its
    columns ``left`` to ``right``; those of a block of panels ``first_column`` to ``last_column``;
    inner indices of a part ``depth`` to ``past``; a tile's rows ``top`` to ``under``.
    """

    panel: Any  # local memory for panels, or None
    covered: Name  # the first iteration behind those that were merged

    def __init__(self, nest: NestWriter, stage: Gemm) -> None:
        super().__init__(nest, stage)
        self.rows_of_c, self.columns_of_c, self.terms = map(nest.number, (self.m, self.n, self.k))
        self.a_row, self.a_inner = nest.number_of(self.row), nest.number_of(self.inner)
        self.b_down, self.b_across = nest.number_of(self.down), nest.number_of(self.across)
        self.local, self.local_factor = f"local_{self.element}", f"local_{self.tiles.factor}"

    # the iterations, as ``gemm_iterations`` counts them

    def partition(self, begin: Name, end: Name) -> None:
        """Compute how rows and columns of a GEMM are divided into iterations, before their loop."""
        b, m, columns, stage = self.b, self.rows_of_c, self.columns, self.stage
        self.begin, self.end = begin, end
        self.first_k: Word = 0
        self.past_k: Word = self.terms
        if self.streams and left_in(self.kernel) is not None:
            self._read_part()
        self.panels_of_c = panels = panel_count(self.columns_of_c, self.dtype)
        chunks = chunk_count(m, panels, high_from(stage), b.least, b.most)
        self.chunks = b.most(chunks, 1)  # there may be no rows
        rows_per_chunk = b.quotient(m + self.chunks - 1, self.chunks)
        self.chunk = (rows_per_chunk + 1) // 2 * 2
        group = group_panels(m, panels, self.chunks, self.dtype, self.streamed, b.least, b.most)
        self.groups = b.quotient(panels + group - 1, group)
        self.group = group * columns

    def _read_part(self) -> None:
        """Read which part of k and which iterations of a GEMM a call computes (split k)."""
        b, words = self.b, record_words(self.kernel)
        starts = {"first": 0, "past": self.terms, "begin": self.begin, "end": self.end}
        bounds = [b.variable(name, "copy", value) for name, value in starts.items()]
        with b.branch("lt", self.end, 0):
            for number, bound in enumerate(bounds):
                b.assign(bound, "getitem", self.nest.table, words + number)
        self.first_k, self.past_k, self.begin, self.end = (b.op("copy", bound) for bound in bounds)

    def position(self, turn: Name) -> None:
        """Compute the rows and columns of the current GEMM iteration."""
        b = self.b
        self.turn = self.nest.at["o"] = turn
        self.left = turn % self.groups * self.group
        quotient = turn // self.groups
        self.first_row = quotient % self.chunks * self.chunk
        self.nest.decode(self.kernel.axes, quotient // self.chunks)
        self.last_row = b.least(self.first_row + self.chunk, self.rows_of_c)
        self.right = b.least(self.left + self.group, self.columns_of_c)
        self.count = self.last_row - self.first_row

    def _cover_next_iterations(self) -> None:
        """Merge the next GEMM iterations into this one: all columns of some chunks of rows.

        It is one chunk where its results are kept in local memory, or columns are left over.
        """
        b, turn = self.b, self.turn
        chunks: Word = 1
        if self.straight is not None or self.one_part:
            on = b.variable("chunks", "copy", 1)
            with b.branch("eq", self.left, 0), b.branch("gt", self.end - turn, self.groups):
                chunks_left = self.chunks - turn // self.groups % self.chunks
                b.assign(on, "copy", b.least((self.end - turn) // self.groups, chunks_left))
            chunks = b.op("copy", on)
            self.last_row = b.least(self.first_row + chunks * self.chunk, self.rows_of_c)
            self.count = self.last_row - self.first_row
        past = b.least((turn // self.groups + chunks) * self.groups, self.end)
        b.assign(self.covered, "copy", past)
        self.right = b.least(self.left + (past - turn) * self.group, self.columns_of_c)

    # an iteration

    def write(self, begin: Name, end: Name, inside: Callable[[MatrixProduct], None]) -> None:
        """Write the loop over the iterations of a GEMM: some rows times some columns each."""
        b = self.b
        self.partition(begin, end)
        # No load is moved before this test: operands may be empty where there are no iterations.
        loop = self.loop(self.begin, self.end, 1, "o")
        with b.branch("lt", self.begin, self.end), loop as turn:
            self.position(turn)
            inside(self)

    def declare(self, tile: int, panel: int) -> None:
        """Local memory for results, and for panels."""
        self.tile = self.b.define("tile", self.local, tile) if tile else None
        self.panel = self.b.define("panel", self.local_factor, panel) if panel else None

    def _declare_packed(self) -> None:
        """Declare the local memory for packed rows and panels of a GEMM."""
        b = self.b
        self.packs: Word = 0
        if self.packs_rows:
            local = f"local_{self.row_element}" if self.splits_rows else self.local_factor
            self.packed_rows = b.define("packed", local, self.packed_elements)
            self.packs = self._packs()
        if self.widens_squares:
            stored = f"local_{element(self.b_stored)}"
            self.square = b.define("square", stored, self.lanes * self.lanes)

    def _packs(self) -> Word:
        """Return the condition under which a GEMM packs its rows, as a word.

        Rows across memory are packed if many panels read them, rows along it if they evict each
        other from L1: those of a tile and those that it prefetches are more than a set has lines.
        """
        choose, panels = self.choose, self.panels_of_c
        if self.converts_a or self.splits_rows:
            return 1
        if self.rows == "across":
            readers = panels if self.most_terms else self.chunks * panels
            tall = choose("gt", self.rows_of_c, TALL_ROWS, 1, 0)
            return choose("gt", readers, PANELS, tall, 0)  # type: ignore[no-any-return]
        # Rows a multiple of a way apart have their lines in the same set of L1, which has as many
        # lines as the cache has ways.
        way = WAY // self.dtype.itemsize
        far = choose("ge", self.a_row, way, 1, 0)
        return choose("eq", self.a_row % way, 0, far, 0)  # type: ignore[no-any-return]

    def blocks(self) -> None:
        """Write a GEMM's cache blocking: blocks of panels, blocks of k, and their parts."""
        b, columns, terms = self.b, self.columns, self.terms
        self._declare_packed()
        if not self.in_panels:
            self._cover_next_iterations()
        self.span: Word = columns
        if not self.is_one_panel:
            # Few rows go through each panel before the next is packed.
            holds = self.nest.machine.l2 // self.dtype.itemsize
            small = self.choose("lt", self.count * terms, holds, self.count, FEWER)
            if self.packs_rows:
                small = self.choose("eq", self.packs, 0, small, FEWER)
            self.span = self.choose("lt", small, FEWER, columns, self.packed)
            # Tiles prefetch the panels that follow: one vector, every so many tiles.
            lines = self.lanes if self.transposed else self.b_down * self.lanes
            self.every: Word = 1
            if not self.transposed:
                # The more rows a chunk has, the more tiles pass before the next panel is needed,
                # and the fewer prefetches each of them has to make.
                for tiles in (2**power for power in range(self.lanes.bit_length() - 1)):
                    most = 4 * self.height * tiles
                    self.every = self.choose("ge", self.count, most, 2 * tiles, self.every)
                lines = self.b.quotient(lines, self.every)
            self.next_leap: Word = lines
        self.width = self.span if self.keeps_blocks or self.finishes_rows else columns
        most = self.choose("gt", terms, 0, terms, 1)  # of no inner indices sums are zeros
        with self.iterations(
            self.left, self.right, self.span, self.is_one_panel, "column"
        ) as self.first_column:
            self.last_column = b.least(self.first_column + self.span, self.right)
            with self.iterations(0, most, GEMM_BLOCK, self.one_block, "block") as self.block:
                self.stop = b.least(self.block + GEMM_BLOCK, terms)
                self.into = (
                    0
                    if self.one_block
                    else self.choose("gt", self.block, 0, self.result_elements, 0)
                )
                past = (
                    self.stop if self.one_block else self.choose("gt", self.stop, 1, self.stop, 1)
                )
                with self.iterations(
                    self.block, past, self.depth, self.one_part, "depth"
                ) as self.depth_at:
                    self.past = b.least(self.depth_at + self.depth, self.stop)
                    self.fresh = self.choose("eq", self.depth_at, self.block, 1, 0)
                    self._pack_panels()
                    self._write_tiles()

    # panels of b

    def slot(self, j0: Word) -> Word:
        """The start of a panel among the packed ones."""
        return 0 if self.is_one_panel else (j0 - self.first_column) * self.words

    def _pack_panels(self) -> None:
        """Pack the panels of b for a part of k, unless a GEMM reads them in place."""
        b, start, columns = self.b, self.first_column, self.columns
        if self.in_panels:
            return
        if self.reads_in_place:
            full_columns = (self.last_column - self.first_column) // columns * columns
            few: Word = FEW_ROWS
            if not self.tiles.wide:
                part = WAY // 4 // self.dtype.itemsize
                few = self.choose("eq", self.b_down % part, 0, FEW_COLLIDING_ROWS, FEW_LOW_ROWS)
            full_columns = self.choose("le", self.count, few, full_columns, 0)
            start = self.packed_from = self.first_column + full_columns
        with self.loop(start, self.last_column, columns, "j") as j0:
            if self.widens_squares:
                self._pack_squares(j0)
                return
            place = (
                self.base_of(self.stage.b, MATRIX)
                + self.depth_at * self.b_down
                + j0 * self.b_across
            )
            name = self.panels.panel(self.nest.functions, self.strip, self.panel_layout)
            wide, steps = self.columns_of_c - j0, self.past - self.depth_at
            for strip in range(0, columns, self.strip):
                at = place + strip * self.b_across, self.b_down, self.b_across
                size = steps, wide - strip, self.slot(j0) + strip * self.words
                with b.branch("gt", wide, strip) if strip else nullcontext():
                    b.do(name, self.pointer(self.stage.b), self.panel, *at, *size, stores="panel")

    def _pack_squares(self, j0: Name) -> None:
        """Pack a panel of a transposed b by squares, transposed in registers and then widened."""
        b, lanes, columns = self.b, self.lanes, self.columns
        loop = self.loop(self.depth_at, self.past, lanes, "k")
        with self.loop(0, columns, lanes, "half") as half, loop as k:
            column = j0 + half
            place = self.base_of(self.stage.b, MATRIX) + k + column * self.b_across
            size = self.b_across, self.columns_of_c - column, self.past - k
            at = self.pointer(self.stage.b), self.nest.place_of(place)
            b.do(f"transpose{lanes}", *at, *size, self.square, 0, lanes, stores="square")
            with self.loop(0, lanes, 1, "row") as row:
                to = self.slot(j0) + (k - self.depth_at + row) * self.strip
                to = to + half * (1 if self.strip == columns else self.depth)
                value = self.local_load("square", self.square, row * lanes)
                self.local_store("panel", self.panel, to, self.panels.cast_to_element(b, value))

    # tiles of rows

    def _write_tiles(self) -> None:
        """Write the loop over a GEMM's row tiles, each through all panels, then its epilogue."""
        b = self.b
        if not (self.in_panels or self.is_one_panel):
            self._first_prefetch()
        over = b.variable("top", "copy", 0)
        with b.repeat(Apply("lt", (over, self.count)), self.written):
            self.top = b.op("copy", over)
            rows = self.count - self.top
            if self.tiles.wide and not 0 < self.most_rows <= EVEN_TILE:
                # Tiles of eight rows where they cover the rows exactly: higher ones would compute
                # rows that are not there.
                even = self.choose("eq", rows % EVEN_TILE, 0, rows, MOST_EVEN + 1)
                rows = self.choose("le", even, MOST_EVEN, EVEN_TILE, rows)
            self.tile_height = b.least(rows, self.height)
            self.under = b.least(self.top + self.tile_height, self.count)
            self._place_rows()
            with self.iterations(
                self.first_column, self.last_column, self.columns, self.is_one_panel, "j"
            ) as j0:
                self._write_panel(j0)
            if self.finishes_rows:
                begun = 0 if self.one_part else self.top * self.width
                self._finish_rows(self.first_column, self.into + begun, self.last_column)
            b.assign(over, "copy", self.under)

    def _first_prefetch(self) -> None:
        """Set the first prefetch of a GEMM's tiles: the panels' next part, or other panels."""
        b = self.b
        k = self.choose("eq", self.past, self.terms, 0, self.past)
        j = self.choose("eq", self.past, self.terms, self.last_column, self.first_column)
        line = self.base_of(self.stage.b, MATRIX) + k * self.b_down + j * self.b_across
        line = line + (0 if self.transposed else self.lanes - 1)
        self.next_last = line + (self.span - self.lanes) * self.b_across
        self.next_vector = b.variable("vector", "copy", line)
        self.next_line = b.variable("line", "copy", line)
        self.repeated = b.variable("turn", "copy", 0)

    def _place_rows(self) -> None:
        """Compute the address and strides of a GEMM tile's rows, packed or in place.

        The last tile prefetches the first one of the next part.
        """
        b, row, inner = self.b, self.a_row, self.a_inner
        base, a = self.base_of(self.stage.a, MATRIX), self.pointer(self.stage.a)
        at = base + (self.first_row + self.top) * row + self.depth_at * inner
        first = base + self.first_row * row + self.past * inner
        self.line = self.choose("eq", self.under, self.count, first, at + self.tile_height * row)
        if self.rows == "across":  # the line of the last row: others begin in the line before
            if self.low_tiles > 1:  # the same tile of those packed next
                together = self.low_tiles * self.height
                line = first + self.top % together
                line = self.choose("lt", self.top + together, self.count, at + together, line)
                self.line = self.choose("eq", self.packs, 1, line, self.line)
            self.line = self.line + (self.height - 1)
        self.tile_rows: dict[str, Any] = {"a": a, "at": at, "row": row, "inner": inner}
        if not self.packs_rows:
            return
        values = {"a": b.op("address", a), "at": at, "row": row, "inner": inner}
        variables = {name: b.variable(name, "copy", value) for name, value in values.items()}
        steps = self.past - self.depth_at
        with b.branch("eq", self.packs, 1):
            packed, functions = self.packed_rows, self.nest.functions
            place: Word = 0
            if self.rows == "across":
                place, row, inner = self._pack_rows(at), 1, self.packing.pitch(self.height)
            else:
                name, row = self.packing.lines(functions, inner == 1), self.words + self.lanes
                size = self.under - self.top, steps, row
                b.do(name, a, packed, at, self.a_row, inner, *size, stores="packed")
                inner = self.packing.numbers
                row = row * inner
            packed_values = {"a": b.op("address", packed), "at": place, "row": row, "inner": inner}
            for key, value in packed_values.items():
                b.assign(variables[key], "copy", value)
        self.tile_rows = {key: b.op("copy", variable) for key, variable in variables.items()}
        self.tile_rows["a"] = b.op(f"ptr_{self.tiles.factor}", self.tile_rows["a"])

    def _pack_rows(self, at: Word) -> Word:
        """Pack the rows of a tile, or of several, across memory; return where the tile begins."""
        b, height, tiles = self.b, self.height, self.low_tiles
        number: Word = self.top // height % tiles if tiles > 1 else 0
        with b.branch("eq", number, 0) if tiles > 1 else nullcontext():
            left = self.rows_of_c - self.first_row - self.top
            source = self.pointer(self.stage.a), self.packed_rows, at, self.a_inner
            size = self.past - self.depth_at, left, self.tile_room
            name = self.packing.rows(self.nest.functions, height, tiles)
            b.do(name, *source, *size, stores="packed")
        return number * self.tile_room

    def _write_panel(self, j0: Word) -> None:
        """Write a tile of rows times a panel, and the epilogue after the last k."""
        b = self.b
        wide = self.columns_of_c - j0
        common = {**self.tile_rows, **self._panel_place(j0)}
        depth = self.packing.words(self.past - self.depth_at)
        common |= {"last": self.under - self.top - 1, "depth": depth}
        common |= {"fresh": self.fresh, "wide": wide}
        to, c = self.straight, self.tile
        place, width = self.into, self.width
        if to is None and self.finishes_rows and self.one_part:
            place = place + (j0 - self.first_column)
        elif to is None and not self.one_part:
            place = place + self.top * self.width + (j0 - self.first_column)
        elif to is not None:
            c, width = self.pointer(to), self.nest.number_of(to.stride("i"))
            place = self.base_of(to, _COLUMN) + (self.first_row + self.top) * width + j0
        result = place
        if to is not None and not self.fills_panels:
            c, place, width = self._begin_last_panel(wide, c, place, width)
        memory = "tile" if to is None else to.operand
        self._prefetch_operands(j0)
        name = self.tiles.function(self.nest.functions, self.strip // self.lanes)
        for strip in range(0, self.columns, self.strip):
            arguments = common | {"c": c, "width": width}
            down = common["down"] + common["next"] * (strip // self.strip)
            arguments |= {"to": place + strip, "down": down}
            with b.branch("gt", wide, strip) if strip else nullcontext():
                b.do(name, *(arguments[name] for name in self.tiles.arguments), stores=memory)
        if to is None and not self.finishes_rows:
            end = b.least(j0 + self.columns, self.last_column)
            self._finish_rows(j0, place, end)
        elif to is not None and not self.fills_panels:
            with b.branch("lt", wide, self.columns):
                self._last_panel(wide, result, stores=True)

    def _panel_place(self, j0: Word) -> dict[str, Any]:
        """Return the address of a GEMM's panel, and what the tile prefetches."""
        b, near = self.b, self.rows != "across"
        pointer, address = f"ptr_{self.tiles.factor}", b.op("address", self.pointer(self.stage.b))
        values: dict[str, Any] = {
            "near": b.op("address", self.pointer(self.stage.a)),
            "ahead": self.line,
            "hop": self.a_row if near else self.a_inner,
            "leap": self.a_inner * self.lanes,
        }
        if not self.in_panels:
            values |= {
                "b": b.op("address", self.panel),
                "down": self.slot(j0),
                "step": self.strip,
                "next": self.strip * self.words,
            }
        down = self.base_of(self.stage.b, MATRIX) + self.depth_at * self.b_down + j0
        lying = {"b": address, "down": down, "step": self.b_down, "next": self.strip}
        ahead = {"near": address, "hop": self.b_down, "leap": self.b_down * self.lanes}
        first = ahead | {"ahead": down + self.b_down * AHEAD + (self.lanes - 1)}
        if self.in_panels:
            next_part = down + (self.past - self.depth_at) * self.b_down + (self.lanes - 1)
            values |= lying | ahead
            values["ahead"] = self.choose("eq", self.top, 0, first["ahead"], next_part)
        else:
            variables = {name: b.variable(name, "copy", value) for name, value in values.items()}
            if not self.is_one_panel:
                self._next_prefetch(j0, variables)
            if self.reads_in_place:
                with b.branch("lt", j0, self.packed_from):
                    for name, value in lying.items():
                        b.assign(variables[name], "copy", value)
                    with b.branch("eq", self.top, 0):
                        for name, value in first.items():
                            b.assign(variables[name], "copy", value)
            values = {name: b.op("copy", variable) for name, variable in variables.items()}
        values["b"], values["near"] = (b.op(pointer, values[name]) for name in ("b", "near"))
        return values

    def _next_prefetch(self, j0: Word, variables: dict[str, Name]) -> None:
        """Let a GEMM's tiles prefetch vectors of the next panels; the first one the next rows.

        One tile would bring more lines than arrive from beyond L2 meanwhile. Those of
        a transposed vector are neighbours.
        """
        b, steps = self.b, self.packing.words(self.past - self.depth_at)
        span = self.choose("gt", j0, self.first_column, self.columns, self.span)
        with b.branch("eq", span, self.columns):
            b.assign(variables["near"], "address", self.pointer(self.stage.b))
            b.assign(variables["ahead"], "copy", self.next_line)
            b.assign(variables["hop"], "copy", self.b_across if self.transposed else self.b_down)
            b.assign(variables["leap"], "copy", self.next_leap)
            b.assign(self.next_line, "add", self.next_line, steps // self.lanes * self.next_leap)
            b.assign(self.repeated, "add", self.repeated, 1)
            with b.branch("eq", self.repeated, self.every):
                b.assign(self.repeated, "copy", 0)
                with b.branch("lt", self.next_vector, self.next_last):
                    lanes = self.b_across * self.lanes
                    b.assign(self.next_vector, "add", self.next_vector, lanes)
                b.assign(self.next_line, "copy", self.next_vector)

    def _begin_last_panel(
        self, wide: Word, c: Name, place: Word, width: Word
    ) -> tuple[Name, Word, Word]:
        """Let the tiles of a GEMM's partial last panel store to local memory; return where.

        They store whole panels. Earlier results are loaded first.
        """
        b = self.b
        address = b.variable("c", "address", c)
        variables = [b.variable("to", "copy", value) for value in (place, width)]
        with b.branch("lt", wide, self.columns):
            b.assign(address, "address", self.tile)
            b.assign(variables[0], "copy", 0)
            b.assign(variables[1], "copy", self.columns)
            if not self.one_part:
                with b.branch("eq", self.fresh, 0):
                    self._last_panel(wide, place, stores=False)
        place, width = (b.op("copy", variable) for variable in variables)
        return b.op(f"ptr_{self.element}", address), place, width

    def _last_panel(self, wide: Word, target: Word, stores: bool) -> None:
        """Copy the results of a GEMM's partial last panel between local memory and ``target``."""
        b, to = self.b, self.straight
        assert to is not None
        c, stride = self.pointer(to), self.nest.number_of(to.stride("i"))
        with self.loop(0, self.under - self.top) as i:
            for half in range(0, self.columns, self.lanes):
                mask = b.op(f"mask{self.lanes}", wide - half)
                at = c, self.nest.place_of(target + i * stride + half)
                source = i * self.columns + half
                if stores:
                    value = self.local_load("tile", self.tile, source)
                    b.do("store", *at, value, mask, stores=to.operand)
                else:
                    self.local_store(
                        "tile", self.tile, source, b.load(to.operand, "load", *at, mask)
                    )

    # the epilogue

    def _prefetch_operands(self, j0: Word) -> None:
        """Prefetch an epilogue's operands before the tile's sums are computed.

        Its rows are far apart: the processor does not see in which order they are read. Where tiles
        store their results themselves, those of the next tile are brought, if L2 does not hold all.
        """
        nest, b, straight = self.nest, self.b, self.straight is not None
        lines = [*self.epilogue_operands.items()]
        l2_elements = nest.machine.l2 // self.dtype.itemsize
        if not lines or (straight and 0 < self.most_rows * self.most_columns <= l2_elements):
            return
        column, top = j0, self.first_row + self.top
        pays: AbstractContextManager[None] = nullcontext()
        if straight:
            pays = b.branch("gt", self.rows_of_c * self.columns_of_c, l2_elements)
            column, following, last = self.first_column, j0 + self.columns, self.last_column
            top = top + self.choose("lt", following, last, 0, self.tile_height)
            column = self.choose("lt", following, last, following, column)
        elif not self.one_part:
            pays = b.branch("eq", self.past, self.terms)
        with pays, self.loop(top, top + self.tile_height) as i:
            nest.at["i"], nest.at[LANES] = i, column
            values = Values(nest, self.lanes, True)
            for access, word in lines:
                place, pointer = values.place(access, (), 0), self.pointer(access)
                line = nest.machine.line // self.kernel.operand(access.operand).dtype.itemsize
                for first in range(0, self.columns, line):
                    b.do(word, *b.pointer(pointer, nest.shift_place(place, 0, first)))

    def _prefetch_next_row(self, values: Values, i: Name) -> None:
        """Prefetch what an epilogue reads of the next row, a vector at a time."""
        nest = self.nest
        nest.at["i"] = i + 1
        following = Values(nest, self.lanes, True, values.offsets)
        for access, word in self.epilogue_operands.items():
            if word == "prefetch":
                for copy in range(len(values.offsets)):
                    place = following.place(access, (), copy)
                    self.b.do(word, *self.b.pointer(self.pointer(access), place))
        nest.at["i"] = i

    def _finish_rows(self, j0: Word, to: Word, end: Word) -> None:
        """Add the sums of k blocks and store a GEMM's results, after the tiles of some rows."""
        b, block_distance = self.b, self.result_elements
        if not self.one_block:
            ends = self.choose("gt", self.block, 0, self.past, -1)
            with b.branch("eq", ends, self.stop), self.loop(0, self.under - self.top) as i:
                cell = to + i * self.width
                if self.finishes_rows:
                    with self.loop(0, end - j0, self.lanes, "half") as half:
                        self.add_block(cell + half - block_distance, cell + half)
                else:
                    for half in range(0, self.columns, self.lanes):
                        self.add_block(cell + (half - block_distance), cell + half)
        rows = self.first_row + self.top, self.first_row + self.under
        with nullcontext() if self.one_part else b.branch("eq", self.past, self.terms):
            self.epilogue(rows, (j0, end), to if self.one_part else to - self.into, self.width)

    def epilogue(
        self, rows: tuple[Word, Word], columns: tuple[Word, Word], place: Word, width: Word
    ) -> None:
        """Write the epilogue's stores of some rows and columns of a GEMM from local memory.

        The processor brings nothing near for masked loads, so whole vectors have no mask.
        """
        nest, (first, past), (j0, end) = self.nest, rows, columns
        with self.loop(first, past) as i:
            nest.at["i"] = i
            begun = place + (i - first) * width

            def body(values: Values) -> None:
                at = [begun + ((nest.at[LANES] + offset) - j0) for offset in values.offsets]
                if self.finishes_rows:
                    self._prefetch_next_row(values, i)
                vectors = [self.local_load("tile", self.tile, position) for position in at]
                self.store(values, copies_of(vectors))

            count = 2 if len([*postorder(self.stored_exprs)]) <= PLAIN else 1
            if self.fills_vectors:
                step = self.lanes * (count if self.fills_panels else 1)
                with self.loop(j0, end, step, "j") as j:
                    nest.at[LANES] = j
                    body(Values(nest, self.lanes, True, tuple(range(0, step, self.lanes))))
                return
            nest.vectors(j0, end, self.lanes, count, Known(""), count == 1, self.written, body)

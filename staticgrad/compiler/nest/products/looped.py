"""Products over several loops, or of windows, to nests; their operands are never copied out.

i, j and k are flattened. Each part of k goes through the register tiles that products of matrices
have (``nest.products.tiles``). Each element is one FMA chain in ascending k per block
(``GEMM_BLOCK``), block results added in order, as in ``nest.products.gemm``.

Rows of a are read in place: with one stride each along i and along the loops of k, or by tables of
words that contain the offset of each row, and of each run of the innermost k. Rows that have ends
are packed, a tile at a time. Panels of b are packed a part of k at a time, run by run of the
innermost j; if their columns are adjacent and few rows read them, whole panels are read in place.
Where no instruction multiplies pairs of bfloat16 numbers, both are split into float32 numbers as
they are packed.

Maps that write factors run at each position of the first loop of k, while the results of a chunk of
rows and a panel of columns stay. Each position is multiplied by itself, so that its parts and
tables begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from math import inf, prod
from typing import Any, Final

from staticgrad.compiler.nest.products.loops import ProductLoops
from staticgrad.compiler.nest.products.plain import stored_as_is
from staticgrad.compiler.nest.products.tiles import Tiles
from staticgrad.compiler.nest.records import Apply, Name, UnsupportedError, Word
from staticgrad.compiler.nest.values import Values
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import Access, Position, Stride, load
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.stages import (
    LANES,
    Axis,
    Extent,
    Gemm,
    gemm_chunk,
    nested_stages,
)

#: Elements of panels that are kept, at most: they stay in L2, and on the stack.
KEPT: Final = 1 << 15
#: Bytes of an inner index' part of a panel, times the inner indices packed at a time; inner indices
#: of a part where maps write factors, and where panels are read in place.
PANEL_BYTES: Final = 16384
FED_DEPTH: Final = 512
DEPTH: Final = 640
#: The same where rows of a are not placed: the lines of a panel of 64 columns of 32 bits, which lie
#: in a quarter of the sets of L1, stay there while tiles of rows go through it. With 640, attention
#: took 1.05 to 1.15 of the time (Zen 3). Placed rows look their places up in each part: there 128
#: takes up to 1.07 of the time of 640.
STRIDED_DEPTH: Final = 128


def write_product(nest: NestWriter, stage: Gemm) -> None:
    """Write one chunk of one panel for the iteration ``o``, or all of a product among stages."""
    if nest.copies > 1:
        raise UnsupportedError("products of rows side by side")
    LoopedProduct(nest, stage).write()


#: Tiles between the one that prefetches rows and the one that reads them (six convolutions of
#: 512 channels at 4x4, whose filters L2 does not hold, 0, 1 and 2: 10.6, 7.3, 6.9 ms; Emerald
#: Rapids, 2026-12).
_TILES_AHEAD: Final = 2


class LoopedProduct(ProductLoops):
    """One product; its local memory has names that begin with ``name``.

    Words are named as in the loops: rows of a chunk are ``first_row`` to ``last``, columns of a
    panel ``left`` to ``past``, inner indices of a part ``begun`` to ``end``; a tile's rows begin at
    ``top``, and have ``count``.
    """

    def __init__(self, nest: NestWriter, stage: Gemm) -> None:
        #: The loop of k whose positions are multiplied one after the other, and the others.
        self.first = stage.k[0] if stage.by_first else None
        self.remaining_axes = stage.k[1:] if self.first else stage.k
        super().__init__(nest, stage)
        self.name = nest.b.name("w", 0).text
        a, b = stage.a, stage.b
        self.chunk = gemm_chunk(stage)
        self.in_pairs = self.packing.is_paired
        self.inner = frozenset(axis.name for axis in stage.k)
        self.packs_rows = bool(a.bounded_positions) or self.converts_a or self.splits_rows
        places = not self.packs_rows and (len(stage.i) > 1 or self._step(0) is None)
        self.down = flat_step(self._steps(b), self.remaining_axes)
        self.tiles = Tiles(
            self.element,
            self.lanes,
            self.dtype.is_float,
            self.registers,
            indexed=places,
            arithmetic="flushing" if self.widens_panels else self.arithmetic,
        )
        looked = self.reads_panels_in_place and self.down is None
        self.unpacked_tiles = replace(self.tiles, looked=looked, far_rows=self.prefetches_rows)
        self.rows = self.unpacked_tiles.highest
        packed = PANEL_BYTES // (self.columns * self.dtype.itemsize) * (1 + self.in_pairs)
        self.depth = max(self.lanes, packed // self.widths)
        if self.first:
            self.depth = FED_DEPTH // self.widths
        elif self.reads_panels_in_place:
            self.depth = DEPTH if places else STRIDED_DEPTH
        #: Elements of a packed row or column in a part of k.
        self.packed_depth = self.depth // 2 if self.in_pairs else self.depth
        #: The loops of k that are a run of rows, with those around.
        count = next(n for n in range(len(self.remaining_axes)) if self._step(n) is not None)
        self.around, self.along = self.remaining_axes[:count], self.remaining_axes[count:]
        self.run = self.nest.positions(self.along)
        block = len(stage.k) == 1 and self.nest.facts_of(stage.k[0].extent).short
        #: Whether there is one block of k, one part of it.
        self.one_block, self.one_part = block, block and self.most(stage.k) <= self.depth
        #: Offsets of b by words: the steps along k of each table, and its memory.
        self.tables: dict[str, Mapping[str, Stride]] = {}
        self.packed_b = None
        in_place = self.reads_panels_in_place and self.fills_vectors
        if not (self.is_transposed or self.in_pairs or in_place):
            self.packed_b = self._packed_access()
        if self.unpacked_tiles.looked:
            self.tables["b"] = self._steps(b)
        self._declare()

    def _steps(self, access: Access) -> dict[str, Stride]:
        """The strides of an access along the loops of a position of k."""
        names = {axis.name for axis in self.remaining_axes}
        return {axis: stride for axis, stride in access.moves if axis in names}

    def _packs_pairs(self) -> bool:
        """Return whether functions pack both factors: rows, columns and k have one stride each."""
        a, b = self.stage.a, self.stage.b
        if self.first or len(self.stage.i) > 1 or len(self.stage.j) > 1:
            return False
        if a.bounded_positions or b.bounded_positions:
            return False
        return all(flat_step(self._steps(x), self.remaining_axes) is not None for x in (a, b))

    @cached_property
    def reads_panels_in_place(self) -> bool:
        """True if whole panels of b are read in place."""
        b, packs = self.stage.b, self.packs_rows or self.converts_b
        is_contiguous = (
            len(self.stage.j) == 1 and b.stride(LANES) == 1 and self.kernel.outer != "tiles"
        )
        return is_contiguous and not (self.first or b.bounded_positions or packs)

    @cached_property
    def prefetches_rows(self) -> bool:
        """True if tiles prefetch rows of a, which are a stride apart; words are places of b."""
        looked = self.reads_panels_in_place and self.down is None
        return looked and not (self.tiles.indexed or self.packs_rows)

    def _step(self, first: int) -> Stride | None:
        """The stride of rows along the loops of a position from a number on, if it is one."""
        names = {axis.name for axis in self.remaining_axes[first:]}
        steps = {name: step for name, step in self._steps(self.stage.a).items() if name in names}
        return flat_step(steps, self.remaining_axes[first:])

    @property
    def room(self) -> int:
        """The elements of the chunk's results, with those that tiles write beyond its last row."""
        return (self.chunk + self.rows) * self.columns

    def _declare(self) -> None:
        """Declare a windowed product's extents, local memory and offset tables."""
        self.m, self.n, self.deep = map(self._extent, (self.stage.i, self.stage.j, self.stage.k))
        self.begin: Word = self.nest.span(self.stage.k[0])[0]
        self.inner_depth = self.nest.positions(self.remaining_axes) if self.first else self.deep
        self.tile = None if self.stores_all else self._local("tile", self.element, 2 * self.room)
        if not (self.reads_panels_in_place and self.fills_vectors):
            room = self.packed_depth * self.columns * self.widths
            if self.keeps_panels:
                self.packed_until, self.of = (
                    self.before_all(f"{self.name}_kept", 0),
                    self.before_all(f"{self.name}_of", -1),
                )
                room = max(room, KEPT)
            room += self.lanes * self.columns
            self.panel = self._local("panel", self.tiles.factor, room)
            if self.widens_panels and self.is_transposed:
                self.narrow_panel = self._local("narrow", self.tiles.factor, room // self.widths)
        if self.packs_rows:
            rows = self.chunk + self.rows if self.keeps_rows else self.rows
            if self.rows_are_adjacent:
                rows = self.packing.pitch(self.rows)
            room = rows * self.packed_depth + self.lanes
            local = self.row_element if self.splits_rows else self.tiles.factor
            self.packed_rows = self._local("rows", local, room)
        if self.tiles.indexed:
            self.places = self._local("places", "i64", self.chunk)
            self.runs = self._local("runs", "i64", GEMM_BLOCK + 2)
        self.words = {name: self._local(f"{name}_t", "i64", GEMM_BLOCK) for name in self.tables}
        self.has_words = bool(self.tables) or self.tiles.indexed
        if self.has_words:
            self.tabled = self.before_all(f"{self.name}_tabled", -1)

    def _extent(self, axes: Sequence[Axis]) -> Word:
        """The positions of loops, of which the first may end early."""
        past: Word = self.nest.span(axes[0])[1] if axes[0].past else self.nest.positions(axes)
        return past

    def _local(self, name: str, code: str, count: int) -> Name:
        return self.b.define(f"{self.name}_{name}", f"local_{code}", count)

    @cached_property
    def widens_panels(self) -> bool:
        """True if words are split into float32 numbers as panels are packed, not in each tile."""
        return self.splits_rows and not self.keeps_panels

    @property
    def widths(self) -> int:
        """Vectors of a packed panel for each vector of the words that it is packed from."""
        return 2 if self.widens_panels else 1

    @cached_property
    def keeps_panels(self) -> bool:
        """True if the next iterations of a windowed product reuse packed panels.

        A product in a loop over tiles of rows multiplies by the same second factor in every
        iteration. Its panels are packed in the first iteration that needs them, one behind the
        other.
        """
        kernel, b = self.kernel, self.stage.b
        if not (self.is_transposed or self.in_pairs) or kernel.outer != "axes":
            return False
        if kernel.operand(b.operand).is_own or kernel.operand(b.operand).mode != "in":
            return False
        around = next(loops for stage, loops in nested_stages(kernel.stages) if stage is self.stage)
        names = {axis.name for axis in around}
        has_fixed_ends = not any(axis.limits for axis in self.stage.k)
        return bool(around) and has_fixed_ends and not any(axis in names for axis, _ in b.moves)

    @cached_property
    def keeps_rows(self) -> bool:
        """True if the rows of a chunk are packed once for all panels."""
        fits = self.one_part and not self.rows_are_adjacent
        return (self.in_pairs or self.splits_lines) and fits and self.kernel.outer != "tiles"

    @cached_property
    def splits_lines(self) -> bool:
        """True if a function splits the words of rows: rows and k have one stride each."""
        alone = len(self.stage.i) == 1 and not self.stage.a.bounded_positions
        return self.widens_panels and alone and self._step(0) is not None

    @cached_property
    def rows_are_adjacent(self) -> bool:
        """True if tiles of adjacent rows are packed in pairs of k."""
        return self.in_pairs and self.stage.a.stride("i") == 1 != self._step(0)

    @property
    def is_transposed(self) -> bool:
        """True if b is stored transposed: its panels are packed by squares."""
        b = self.stage.b
        transposed = len(self.stage.j) == 1 and b.stride("k") == 1 != b.stride(LANES)
        return transposed and not b.bounded_positions and not self.converts_b

    def most(self, axes: Iterable[Axis]) -> float:
        """The positions of loops, at most."""

        def positions(extent: Extent) -> float:
            return extent if isinstance(extent, int) else self.nest.facts_of(extent).most or inf

        return prod(positions(axis.extent) for axis in axes)

    @property
    def fills_vectors(self) -> bool:
        """True if columns are known to be whole vectors: the last panel may have one less."""
        (j, *more) = self.stage.j
        return not (more or j.past) and self.nest.facts_of(j.extent).multiple % self.lanes == 0

    def write(self) -> None:
        """Write the loops of a windowed product: chunks of rows, each panel by panel."""
        columns, chunk = self.columns, self.chunk
        if self.kernel.outer == "tiles":
            panels, quotient = (self.n + (columns - 1)) // columns, self.nest.at["o"]
            chunks = (self.m + (chunk - 1)) // chunk
            self.left, quotient = quotient % panels * columns, quotient // panels
            self.first_row = quotient % chunks * chunk
            self.nest.decode(self.kernel.axes, quotient // chunks)
            self._write_tile()
            return
        stage = self.stage
        has_columns = all(
            not axis.limits and self.nest.facts_of(axis.extent).short for axis in stage.j
        )
        once_panel = self.most(stage.j) <= columns and has_columns
        once_chunk = self.most(stage.i) <= chunk
        with (
            self.iterations(0, self.m, chunk, once_chunk, "row") as self.first_row,
            self.iterations(0, self.n, columns, once_panel, "left") as self.left,
        ):
            self._write_tile()

    def _write_tile(self) -> None:
        """Write a chunk of rows times a panel of columns of a windowed product."""
        b, nest, stage = self.b, self.nest, self.stage
        self.last = b.least(self.first_row + self.chunk, self.m)
        self.past = b.least(self.left + self.columns, self.n)
        self._choose_height()
        if self.tiles.indexed:
            self._write_places()
        if not self.one_block:
            self.into, self.fresh = b.variable("into", "copy", 0), b.variable("fresh", "copy", 1)
        self.origin = 0
        if self.first:
            with self.loop(
                0, self.deep if self.first.past else nest.number(self.first.extent)
            ) as at:
                nest.at[self.first.name] = at
                for fed in stage.fed:
                    nest.stage(fed)
                self.origin = at * self.inner_depth
                self._write_parts()
        else:
            if stage.onto is not None and not self.stores_all:
                self._go_on(stage.onto)
            self._write_parts()
        if not self.one_block:
            with b.branch("eq", self.fresh, 0), b.branch("gt", self.into, 0):
                self._add_block()
            with b.branch("gt", self.fresh, self.into):
                self._write_zeros()
        elif stage.k[0].limits and not self.one_part and stage.onto is None:
            with b.branch("le", self.deep, self.begin):
                self._write_zeros()
        if not self.stores_all:

            def results(row: Name, v: Name, mask: Name | None) -> None:
                place = (row - self.first_row) * self.columns + (v - self.left)
                values = Values(self.nest, self.lanes, True, mask=mask)
                self.store(values, self.local_load("tile", self.tile, place))

            self._each_vector(results)

    def _go_on(self, onto: Access) -> None:
        """Load the existing results that a windowed product accumulates onto, if tiles do not."""
        value = load(onto, self.dtype)

        def begin(row: Name, v: Name, mask: Name | None) -> None:
            """Load a vector of existing results into the local tile."""
            values = Values(self.nest, self.lanes, True, mask=mask)
            place = (row - self.first_row) * self.columns + (v - self.left)
            vector = values.vec(value)
            if mask is None:
                self.local_store("tile", self.tile, place, vector)
            else:
                self._store_masked(self.tile, "tile", place, vector, mask)

        self._each_vector(begin)

    # parts of the inner indices

    def _write_parts(self) -> None:
        """Write the parts of k of a windowed product, each within one block and one table."""
        b = self.b
        if self.one_part:
            self.begun, self.end = self.begin, self.inner_depth
            self._write_part(0)
            return
        depth = b.variable("depth", "copy", self.begin)
        with b.repeat(Apply("lt", (depth, self.inner_depth)), self.written):
            self.begun = b.op("copy", depth)
            self.end = b.least(self.begun + self.depth, self.inner_depth)
            at: Word = self.origin + self.begun
            stop = at // GEMM_BLOCK * GEMM_BLOCK + GEMM_BLOCK - self.origin
            if not self.one_block:
                self.end = b.least(self.end, stop)
            self._write_part(stop)
            b.assign(depth, "copy", self.end)

    def _write_part(self, stop: Word) -> None:
        """Write one part of k: pack, multiply the tiles, and add a block that ends at ``stop``."""
        b = self.b
        if self.has_words:
            self.base = self.begun // GEMM_BLOCK * GEMM_BLOCK
            if self.first:
                self.end = b.least(self.end, self.base + GEMM_BLOCK)
            self._write_tables()
        if not self.reads_panels_in_place:
            self._write_pack()
        elif not self.fills_vectors:
            with b.branch("lt", self.past - self.left, self.columns):
                self._write_pack()
        if self.keeps_rows:
            with b.branch("eq", self.left, 0):
                count = self.last - self.first_row
                self._pack_lines(self.first_row, count, self.packed_rows)
        with self.loop(self.first_row, self.last, self.tall, "top") as self.top:
            self._write_chains()
        if not self.one_block:
            b.assign(self.fresh, "copy", 0)
            with b.branch("eq", self.end, stop):
                with b.branch("gt", self.into, 0):
                    self._add_block()
                b.assign(self.into, "copy", self.room)
                b.assign(self.fresh, "copy", 1)

    def _add_block(self) -> None:
        """Add the results of a block to those of the blocks before."""
        with self.loop(0, self.chunk * self.columns, self.lanes, "at") as at:
            self.add_block(at, at + self.room)

    def _write_zeros(self) -> None:
        """Results without inner indices."""
        with self.loop(0, self.chunk * self.columns, self.lanes, "at") as at:
            self.local_store("tile", self.tile, at, self.tiles.zeros(self.b))

    # what loops add to a place

    def _along_k(self, label: str, steps: Mapping[str, Stride]) -> tuple[tuple[str, Extent], ...]:
        """Return how an access moves along the flattened k: by a stride, or an offset table."""
        flat = flat_step(steps, self.remaining_axes)
        if flat is not None:
            stride: Any = flat  # accesses of this product alone may move by products of two
            return ((f"{self.name}_at", stride),) if flat != 0 else ()
        self.tables[label] = steps
        return ((f"{self.name}_{label}", 1),)

    def _packed_access(self) -> Access:
        """Return the access that packs b, along the flattened k or by offset tables."""
        b, inside = self.stage.b, {axis.name for axis in self.remaining_axes}
        steps: dict[str, Stride] = {axis: step for axis, step in b.strides if axis in inside}
        positions = []
        for at, position in enumerate(b.positions):
            inner_terms = {axis: step for axis, step in position.terms if axis in inside}
            terms = tuple(term for term in position.terms if term[0] not in inside)
            if not position.has_ends:
                steps |= {axis: b.stride(axis) for axis in inner_terms}
            else:
                terms += self._along_k(f"q{at}", inner_terms)
            positions.append(Position(terms, position.start, position.stride, position.extent))
        outer = tuple(move for move in b.strides if move[0] not in inside)
        return Access(b.operand, outer + self._along_k("b", steps), (), tuple(positions))

    def _loop_offset(self, steps: Mapping[str, Stride], axes: Iterable[str]) -> Word:
        """Return the offset that loops add, by their strides."""
        offset: Word = 0
        for axis in axes:
            offset = offset + self.nest.at[axis] * self.nest.number_of(steps.get(axis, 0))
        return offset

    def _store_word(self, table: Name, at: Word, word: Word) -> None:
        self.b.do("store1", table, self.nest.place_of(at), self.b.op("i64x1", word))

    def _write_tables(self) -> None:
        """Write the tables of offsets of inner indices from ``base`` on, unless they exist."""
        b, nest, base = self.b, self.nest, self.base
        with b.branch("ne", self.tabled, base):
            b.assign(self.tabled, "copy", base)
            end = b.least(base + GEMM_BLOCK, self.nest.positions(self.remaining_axes))
            if self.tiles.indexed:
                steps, names = self._steps(self.stage.a), [axis.name for axis in self.around]
                first, last = (b.quotient(bound, self.run) for bound in (base, end))
                with self.loop(first, last + 1, 1, "run") as at:
                    nest.decode(self.around, at)
                    self._store_word(self.runs, at - first, self._loop_offset(steps, names))
            if not self.tables:
                return
            nest.decode(self.remaining_axes, base)
            positions = {
                axis.name: b.variable(axis.name, "copy", nest.at[axis.name])
                for axis in self.remaining_axes
            }
            with self.loop(base, end, 1, "at") as at:
                nest.at.update(positions)
                for table, moves in self.tables.items():
                    self._store_word(self.words[table], at - base, self._loop_offset(moves, moves))
                self._count_on(positions, self.remaining_axes)

    def _count_on(self, positions: Mapping[str, Name], axes: Sequence[Axis]) -> None:
        """Advance the indices of nested loops by one iteration, with carries as in an odometer."""
        b, (*around, last) = self.b, axes
        b.assign(positions[last.name], "add", positions[last.name], 1)
        if around:
            with b.branch("eq", positions[last.name], self.nest.number(last.extent)):
                b.assign(positions[last.name], "copy", 0)
                self._count_on(positions, around)

    def _write_places(self) -> None:
        """Write the table of the offsets of the chunk's rows from the first row of all."""
        names = {axis.name for axis in self.stage.i}
        steps = {axis: step for axis, step in self.stage.a.moves if axis in names}
        with self.loop(self.first_row, self.last, 1, "row") as row:
            self.nest.decode(self.stage.i, row)
            self._store_word(self.places, row - self.first_row, self._loop_offset(steps, steps))

    # packing

    def _write_pack(self) -> None:
        """Pack a part of k of a panel of b, unless an earlier iteration has packed it."""
        b, nest = self.b, self.nest
        self.slot: Word = 0
        pack_all = self._pack_pairs if self.in_pairs else self._pack_squares
        if self.keeps_panels:
            with b.branch("eq", self._find_kept_panel(), 1):
                pack_all()
            return
        if self.packed_b is None:
            pack_all()
            return
        value = self.factor(self.packed_b, self.b_stored)

        def pack(v: Name, mask: Name) -> None:
            """Pack a vector of columns of a panel for all inner indices of a part."""
            with self.loop(self.begun, self.end, 1, "at") as at:
                nest.at[f"{self.name}_at"] = at
                for table, words in self.words.items():
                    word = b.op("getitem", words, at - self.base)
                    nest.at[f"{self.name}_{table}"] = word
                values = Values(nest, self.lanes, True, mask=mask)
                place = (at - self.begun) * self.columns * self.widths + (v - self.left)
                vector = values.vec(value)
                for number, half in enumerate(self.halves):
                    part = self.tiles.read_half(b, vector, half)
                    self._store_masked(
                        self.panel, "panel", place + number * self.columns, part, mask
                    )

        self._column_runs(lambda first, end, shift: self._vectors(first, end, shift, pack))

    @property
    def halves(self) -> tuple[int | None, ...]:
        """The halves of words that are vectors of a panel of their own; None: whole words."""
        return (0, 1) if self.widens_panels else (None,)

    def _store_masked(self, memory: Name, name: str, place: Word, value: Any, mask: Name) -> None:
        self.b.do("store", memory, self.nest.place_of(place), value, mask, stores=name)

    def _find_kept_panel(self) -> Word:
        """Find the packed copy of the panel at ``left``; return 1 if it is still to be packed.

        A panel of more inner indices than ``depth`` is packed a part at a time in every iteration.
        """
        b, deep = self.b, self.packing.words(self.deep)
        size = deep * self.columns
        slot = b.variable("slot", "mul", self.left, deep)
        packs = b.variable("packs", "copy", 1)
        most = self.choose("gt", self.deep, self.depth, KEPT + 1, slot + size)
        with b.branch("gt", most, KEPT):
            b.assign(slot, "copy", 0)
            b.assign(self.packed_until, "copy", 0)
        with b.otherwise():
            packed_until = self.choose("eq", self.of, self.nest.index("o"), self.packed_until, 0)
            with b.branch("lt", self.left, packed_until):
                b.assign(packs, "copy", 0)
            with b.otherwise():
                b.assign(self.packed_until, "copy", self.left + self.columns)
                b.assign(self.of, "copy", self.nest.at["o"])
        self.slot = b.op("copy", slot)
        self.packs = b.op("copy", packs)
        return self.packs  # type: ignore[no-any-return]

    def _pack_squares(self) -> None:
        """Pack a panel of a transposed b by squares, transposed in registers."""
        b, nest, access = self.b, self.nest, self.stage.b
        pointer, step = self.pointer(access), nest.number_of(access.stride(LANES))
        # other iterations may have more columns
        columns = nest.number(self.stage.j[0].extent) if self.keeps_panels else self.n
        name = self.panels.panel(nest.functions, self.columns, "transposed")
        packed = self.narrow_panel if self.widens_panels else self.panel

        def squares(at: Word, run: Word) -> None:
            base = self.base_of(access, {LANES}) + self.left * step
            to = self.slot + (at - self.begun) * self.columns
            size = run, columns - self.left, to
            b.do(name, pointer, packed, base, 1, step, *size, stores="panel")

        self._inner_runs(squares)
        if self.widens_panels:
            self._widen_panel()

    def _widen_panel(self) -> None:
        """Split the words of a packed panel into the float32 numbers of another one."""
        b, lanes = self.b, self.lanes
        with self.loop(0, self.end - self.begun, 1, "at") as at:
            for strip in range(0, self.columns, lanes):
                words = self.local_load("panel", self.narrow_panel, at * self.columns + strip)
                for half in (0, 1):
                    place = (at * 2 + half) * self.columns + strip
                    self.local_store(
                        "panel", self.panel, place, self.tiles.read_half(b, words, half)
                    )

    def _pack_pairs(self) -> None:
        """Pack a part of k of a panel of b in pairs."""
        b, nest, access, down = self.b, self.nest, self.stage.b, self.down
        assert down is not None
        across = access.stride(LANES)
        layout = "along" if across == 1 else "transposed" if down == 1 else "strided"
        step, columns = nest.number_of(down), self.n
        if self.keeps_panels:  # other iterations may have more columns
            columns = nest.number(self.stage.j[0].extent)
        name = self.panels.panel(nest.functions, self.columns, layout)
        at = self.base_of(access, {LANES, *{axis.name for axis in self.remaining_axes}})
        at = at + self.left * nest.number_of(across) + self.begun * step
        size = self.end - self.begun, columns - self.left, self.slot
        b.do(
            name, self.pointer(access), self.panel, at, step, nest.number_of(across), *size,
            stores="panel",
        )  # fmt: skip

    def _pack_lines(self, top: Word, count: Word, to: Name) -> None:
        """Pack ``count`` rows of a from ``top`` on by a function, for a part of k."""
        b, nest, access = self.b, self.nest, self.stage.a
        step = nest.number_of(self._step(0) or 0)
        nest.decode(self.stage.i, top)
        at = self.base_of(access, {axis.name for axis in self.remaining_axes}) + self.begun * step
        steps, depth = self.end - self.begun, self.packed_depth
        pointer = self.pointer(access)
        if self.rows_are_adjacent:
            name = self.packing.rows(nest.functions, self.rows, tiles=1)
            b.do(name, pointer, to, at, step, steps, count, 0, stores="packed")
            return
        name = self.packing.lines(nest.functions, along=self._step(0) == 1)
        row = nest.number_of(access.stride("i"))
        b.do(name, pointer, to, at, row, step, count, steps, depth, stores="packed")

    def _pack_rows(self) -> None:
        """Pack the rows of a windowed product's tile, run by run of the innermost k."""
        b, nest, lanes = self.b, self.nest, self.lanes
        if self.in_pairs or self.splits_lines:
            self._pack_lines(self.top, self.count, self.packed_rows)
            return
        value = self.factor(along_vectors(self.stage.a), self.a_stored)

        def rows(at: Word, run: Word) -> None:
            """Pack a run of k of all rows of a tile, by masked vectors."""
            start = nest.at["k"]
            with self.loop(0, self.count, 1, "row") as row:
                nest.decode(self.stage.i, self.top + row)
                with self.loop(0, run, lanes, "v") as v:
                    nest.at[LANES] = start + v
                    mask = b.op(f"mask{lanes}", run - v)
                    values = Values(nest, lanes, True, mask=mask)
                    place = row * self.depth + (at + v - self.begun)
                    vector = values.vec(value)
                    if self.splits_rows:
                        vector = self.packing.split_halves(b, vector)
                    self._store_masked(self.packed_rows, "packed", place, vector, mask)

        self._inner_runs(rows)

    # loops

    def _column_runs(self, inside: Callable[[Word, Word, Word], None]) -> None:
        """Write the panel's columns by runs of the innermost j, each with its first and end.

        The third argument of ``inside`` is how much further positions along j are.
        """
        b, nest, j = self.b, self.nest, self.stage.j
        if len(j) == 1:
            inside(self.left, self.past, 0)
            return
        over = b.variable("c", "copy", self.left)
        with b.repeat(Apply("lt", (over, self.past)), self.written):
            first = b.op("copy", over)
            nest.decode(j, first)
            shift = nest.at[LANES] - first
            end = b.least(nest.number(j[-1].extent) - shift, self.past)
            inside(first, end, shift)
            b.assign(over, "copy", end)

    def _vectors(
        self, first: Word, end: Word, shift: Word, body: Callable[[Name, Name], None]
    ) -> None:
        """The vectors of a run of columns."""
        with self.loop(first, end, self.lanes, "v") as v:
            self.nest.at[LANES] = v + shift
            body(v, self.b.op(f"mask{self.lanes}", end - v))

    def _inner_runs(self, body: Callable[[Word, Word], None]) -> None:
        """Write a part of k by runs of the innermost k loop."""
        b, nest = self.b, self.nest
        if len(self.remaining_axes) == 1:
            nest.at[self.remaining_axes[0].name] = self.begun
            body(self.begun, self.end - self.begun)
            return
        over = b.variable("at", "copy", self.begun)
        with b.repeat(Apply("lt", (over, self.end)), self.written):
            at = b.op("copy", over)
            nest.decode(self.remaining_axes, at)
            last = self.remaining_axes[-1]
            run = b.least(nest.number(last.extent) - nest.at[last.name], self.end - at)
            body(at, run)
            b.assign(over, "copy", at + run)

    # tiles

    def _choose_height(self) -> None:
        """Choose the height of register tiles, equal ones if two suffice, and which store."""
        heights = self.unpacked_tiles.heights[max(self.unpacked_tiles.heights)]
        count = self.last - self.first_row
        self.tall: Word = self.rows
        if 2 * heights[1] > self.rows:
            low = self.choose("le", count, 2 * heights[1], heights[1], self.rows)
            self.tall = self.choose("gt", count, self.rows, low, self.rows)
        if self.straight is None:
            return
        # The end of the rows whose tiles store: they store no row beyond the last one.
        self.kept_rows: Word = self.last
        if not self.unpacked_tiles.is_exact:
            remainder = self.b.op("mod", count, self.tall)
            self.kept_rows = self.last - remainder
            for height in (0, *self.unpacked_tiles.covering):
                self.kept_rows = self.choose("eq", remainder, height, self.last, self.kept_rows)
        if not self.one_block:
            for test, bound in (("gt", GEMM_BLOCK), ("eq", 0)):
                first = self.first_row
                self.kept_rows = self.choose(test, self.deep, bound, first, self.kept_rows)

    @cached_property
    def straight(self) -> Access | None:
        """The access to which tiles store results without epilogue; None if they may not.

        Other threads do not see the results, and columns are whole vectors.
        """
        to = stored_as_is(self.kernel, self.stage)
        stage, onto = self.stage, self.stage.onto
        limited = onto is None and (stage.i[0].past or stage.k[0].limits)
        if to is None or limited or onto not in (None, to):
            return None
        if not (self.reads_panels_in_place and self.fills_vectors):
            return None
        return to if self.kernel.operand(to.operand).mode == "scratch" else None

    @cached_property
    def stores_all(self) -> bool:
        """True if tiles store all results where they belong."""
        return self.straight is not None and self.unpacked_tiles.is_exact and self.one_block

    def _write_chains(self) -> None:
        """Write the FMA chains of a row tile: its rows' address or packing, then its calls."""
        b = self.b
        self.count = b.least(self.last - self.top, self.tall)
        if self.packs_rows:
            if not self.keeps_rows:
                self._pack_rows()
        elif self.tiles.indexed:
            skip = {axis.name for axis in (*self.remaining_axes, *self.stage.i)}
            self.a_at = self.base_of(self.stage.a, skip)
        else:
            self.nest.decode(self.stage.i, self.top)
            base = self.base_of(self.stage.a, {axis.name for axis in self.remaining_axes})
            self.a_at = base + self.begun * self.nest.number_of(self._step(0) or 0)
        self.wide = self.past - self.left
        below = (self.top - self.first_row) * self.columns
        if self.one_block:
            self.to = below
            begins = self.choose("eq", self.begun, self.begin, 1, 0)
            self.first_part = 1 if self.one_part else begins
            if self.stage.onto is not None:
                self.first_part = 0
        else:
            self.to, self.first_part = self.into + below, b.op("copy", self.fresh)
        if self.reads_panels_in_place and not self.fills_vectors:
            with b.branch("eq", self.wide, self.columns):
                self._write_calls(packed=False)
            with b.otherwise():
                self._write_calls(packed=True)
        else:
            self._write_calls(packed=not self.reads_panels_in_place)

    def _write_calls(self, packed: bool) -> None:
        """Write the calls of a register tile's function for each part of a panel."""
        b, tiles, to = self.b, self.tiles if packed else self.unpacked_tiles, self.straight
        vectors = max(tiles.heights)
        name = tiles.function(self.nest.functions, vectors)
        for part in range(0, self.columns, vectors * self.lanes):
            with b.branch("gt", self.wide, part) if part else nullcontext():
                named = self._tile_arguments(part, packed)

                def call(named: Mapping[str, Any], memory: str) -> None:
                    b.do(name, *(named[argument] for argument in tiles.arguments), stores=memory)

                if to is None:
                    call(named, "tile")
                    continue
                place, width = self._stored_place(to, self.top, part)
                stored_result = {"c": self.pointer(to), "to": place, "width": width}
                if self.stores_all:
                    call(named | stored_result, to.operand)
                    continue
                with b.branch("lt", self.top, self.kept_rows):
                    call(named | stored_result, to.operand)
                with b.otherwise():
                    call(named, "tile")

    def _stored_place(self, to: Access, row: Word, part: int) -> tuple[Word, Word]:
        """Return where a row's part of a panel is stored by tiles, and how far rows are apart."""
        axis = self.stage.i[0].name
        width = self.nest.number_of(to.stride(axis))
        return self.base_of(to, {LANES, axis}) + row * width + self.left + part, width

    def _tile_arguments(self, part: int, packed: bool) -> dict[str, Any]:
        """Return the arguments of a register tile's function, for a part of the panel."""
        nest, access, packs = self.nest, self.stage.b, self.packs_rows
        numbers, rows = self.packing.numbers, self.packed_rows if packs else None
        if self.splits_rows:
            rows = self.b.op(f"ptr_{self.element}", self.b.op("address", self.packed_rows))
        named: dict[str, Any] = {
            "a": rows if packs else self.pointer(self.stage.a),
            "c": self.tile,
            "at": 0 if packs else self.a_at,
            "row": self.packed_depth * numbers
            if packs
            else nest.number_of(self.stage.a.stride("i")),
            "inner": numbers // self.widths
            if packs
            else nest.number_of(self._step(len(self.around)) or 0),
            "last": self.count - 1,
            "wide": self.wide,
            "to": self.to + part,
            "width": self.columns,
            "depth": self.packing.words(self.end - self.begun) * self.widths,
            "fresh": self.first_part,
        }
        if self.keeps_rows:
            named["at"] = (self.top - self.first_row) * self.packed_depth * numbers
        if self.rows_are_adjacent:
            named |= {"row": 1, "inner": self.packing.pitch(self.rows)}
        if self.tiles.indexed:
            named |= {"places": self.places, "top": self.top - self.first_row, "runs": self.runs}
            begun = self.b.quotient(self.base, self.run) * self.run
            named |= {"run": self.run, "went": self.begun - begun}
        if packed:
            named |= {"b": self.panel, "near": self.panel, "ahead": 0, "hop": 0, "leap": 0}
            named |= {"down": self.slot + part, "step": self.columns}
            if self.keeps_panels and not self.in_pairs:
                named |= self._prefetch_next_panel()
            return named
        pointer = self.pointer(access)
        named |= {"b": pointer, "near": pointer}
        base = self.base_of(access, {LANES, *self.inner}) + self.left + part
        if self.unpacked_tiles.looked:
            lead = self.begun - self.base
            named |= {"down": base, "reads": self.words["b"], "lead": lead}
            if not self.unpacked_tiles.far_rows:
                return named | {"ahead": 0, "hop": 0, "leap": 0}
            return named | self._prefetch_rows(named)
        down = nest.number_of(self.down or 0)
        first = base + self.begun * down
        named |= {"down": first, "step": down}
        to, hop, ahead = self.straight, down, first + self.columns  # the next panel's rows
        if to is not None and self.stage.onto is not None:
            # The sums of the next tile, which begin its chains: their rows are far apart.
            ahead, hop = self._stored_place(to, self.top + self.count, part)
            named["near"] = self.pointer(to)
        return named | {"hop": hop, "ahead": ahead, "leap": hop * self.lanes}

    def _prefetch_rows(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by which tiles prefetch the rows of the tile after the next one.

        The processor prefetches no rows so far apart: a line of each is prefetched, then the next
        ones. Behind the last tile of a chunk comes its first one, in the next part of k. If L2
        holds all rows, ``hop`` is 0, and nothing is prefetched.
        """
        row, inner = named["row"], named["inner"]
        next_part = (self.end - self.begun) * inner - (self.last - self.first_row) * row
        distance = _TILES_AHEAD * self.count
        is_last = ("ge", self.top + distance, self.last)
        ahead = self.a_at + distance * row + self.choose(*is_last, next_part, 0)
        most = self.nest.machine.l2 // 2 // self.dtype.itemsize
        hop = self.choose("gt", self.m * self.deep, most, row, 0)
        return {"near": named["a"], "ahead": ahead, "hop": hop, "leap": inner * self.lanes}

    def _prefetch_next_panel(self) -> dict[str, Any]:
        """Return the arguments by which tiles prefetch the panel that is packed next.

        The processor prefetches no rows so far apart. The first tile prefetches one half, and
        others the second one.
        """
        access = self.stage.b
        across = self.nest.number_of(access.stride(LANES))
        base = self.base_of(access, {LANES, *self.inner}) + self.begun
        second_half = self.choose("gt", self.top, self.first_row, across * self.lanes, 0)
        ahead = base + (self.left + self.columns) * across + second_half
        hop, leap = self.packs * across, self.packs * self.lanes
        return {"near": self.pointer(access), "ahead": ahead, "hop": hop, "leap": leap}

    def _each_vector(self, body: Callable[[Name, Name, Name | None], None]) -> None:
        """Write ``body`` for each vector of a chunk's results that is in local memory."""
        if self.fills_vectors and self.kernel.outer != "tiles":
            with self._each_row() as row, self.loop(self.left, self.past, self.lanes, "v") as v:
                self.nest.at[LANES] = v
                body(row, v, None)
            return

        def run(first: Word, end: Word, shift: Word) -> None:
            with self._each_row() as row:
                self._vectors(first, end, shift, lambda v, mask: body(row, v, mask))

        self._column_runs(run)

    @contextmanager
    def _each_row(self) -> Iterator[Name]:
        """The rows of the chunk whose results are not where they belong."""
        begin = self.first_row if self.straight is None else self.kept_rows
        with self.loop(begin, self.last, 1, "row") as row:
            self.nest.decode(self.stage.i, row)
            yield row


def flat_step(steps: Mapping[str, Stride], axes: Sequence[Axis]) -> Stride | None:
    """Return the one stride of loops flattened in C order, or None if it is not uniform."""
    if len(axes) == 1:
        return steps.get(axes[0].name, 0)
    if all(step == 0 for step in steps.values()):
        return 0
    inner = steps.get(axes[-1].name, 0)
    flat = inner
    for axis, around in zip(reversed(axes), reversed(axes[:-1]), strict=False):
        if not isinstance(flat, int) or not isinstance(axis.extent, int):
            return None
        flat = flat * axis.extent
        if steps.get(around.name, 0) != flat:
            return None
    return inner


def along_vectors(access: Access) -> Access:
    """Return the access with the innermost k as the vector loop."""
    names = {"k": LANES}
    strides = tuple((names.get(axis, axis), stride) for axis, stride in access.strides)
    positions = tuple(
        Position(
            tuple((names.get(axis, axis), step) for axis, step in p.terms),
            p.start,
            p.stride,
            p.extent,
            p.within,
        )
        for p in access.positions
    )
    return Access(access.operand, strides, (), positions)

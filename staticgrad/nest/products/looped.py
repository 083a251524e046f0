"""Products over several loops, or of windows, to source; their operands are never copied out.

i, j and k are flattened. Each part of k goes through the register tiles that products of matrices
have (``nest.products.tiles``). Each element is one FMA chain in ascending k per block
(``GEMM_BLOCK``), block results added in order, as in ``nest.products.gemm``.

Rows of a are read in place: with one stride each along i and along the loops of k, or by tables of
words that contain the offset of each row, and of each run of the innermost k. Rows that have ends
are packed, a tile at a time. Panels of b are packed a part of k at a time, run by run of the
innermost j; if their columns are adjacent and few rows read them, whole panels are read in place.

Maps that write factors run at each position of the first loop of k, while the results of a chunk of
rows and a panel of columns stay. Each position is multiplied by itself, so that its parts and
tables begin anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from math import inf, prod
from typing import Final

from staticgrad.codegen.block_functions import element
from staticgrad.codegen.lines import (
    VECTOR,
    Lines,
    Unit,
    base_text,
    limit,
    scaled,
    total,
    write_decode,
    write_iterations,
)
from staticgrad.ir.expr import Access, Position, load
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.stages import Axis, Extent, Gemm, gemm_chunk, nested, panel_columns
from staticgrad.ir.kernels.text import PRODUCT
from staticgrad.nest.products.gemm import stored_as_is
from staticgrad.nest.products.packing import Packing
from staticgrad.nest.products.tiles import Tiles

#: Elements of panels that are kept, at most: they stay in L2, and on the stack.
KEPT: Final = 1 << 15
#: Bytes of an inner index' part of a panel, times the inner indices packed at a time; inner indices
#: of a part where maps write factors, and where panels are read in place.
PANEL_BYTES: Final = 16384
FED_DEPTH: Final = 512
DEPTH: Final = 640


def write_product(kernel: Kernel, stage: Gemm, out: Lines, unit: Unit) -> None:
    """The product: one chunk of one panel for the iteration ``o``, or all of it among stages."""
    w = LoopedProduct(kernel, stage, unit)
    tile = Lines()
    w.write_tile(tile)
    w.declare(unit.once)
    w.write_limits(out)
    if kernel.outer == "tiles":
        out.add(f"{w}_left = o % {w}_panels * {w.columns}")
        out.add(f"rest = o // {w}_panels")
        out.add(f"{w}_first = rest % {w}_chunks * {w.chunk}")
        out.add(f"rest = rest // {w}_chunks")
        write_decode(out, "rest", kernel.axes)
        out.extend(tile)
        return
    chunk = Lines()
    once_panel = w.most(stage.j) <= w.columns and w.has_columns
    write_iterations(chunk, f"{w}_left", ("0", f"{w}_n", w.columns), tile, once_panel)
    once_chunk = w.most(stage.i) <= w.chunk
    write_iterations(out, f"{w}_first", ("0", f"{w}_m", w.chunk), chunk, once_chunk)


class LoopedProduct:
    """The lines of one product; all its names begin with ``name``."""

    def __init__(self, kernel: Kernel, stage: Gemm, unit: Unit) -> None:
        self.kernel, self.stage, self.unit, self.name = kernel, stage, unit, unit.fresh("w")
        a, b = stage.a, stage.b
        #: How the factors lie: those of a dtype for storage are widened as they are read.
        self.a_stored, self.b_stored = (kernel.operand(f.operand).dtype for f in (a, b))
        self.dtype = self.a_stored.compute
        self.lanes, self.element = self.dtype.lanes, element(self.dtype)
        self.chunk, self.columns = gemm_chunk(stage), panel_columns(self.dtype)
        #: The loop of k whose positions are multiplied one after the other, and the others.
        self.first = stage.k[0] if stage.by_first else None
        self.rest = stage.k[1:] if self.first else stage.k
        self.inner = frozenset(axis.name for axis in stage.k)
        self.packs_rows = bool(a.bounded) or self.a_stored.is_storage
        places = not self.packs_rows and (len(stage.i) > 1 or self._step(0) is None)
        self.down = flat_step(self._steps(b), self.rest)
        wide = self.lanes * self.dtype.bits <= unit.vector_bits
        self.tiles = Tiles(self.element, self.lanes, self.dtype.is_float, wide, placed=places)
        self.lying = replace(self.tiles, looked=self.lies and self.down is None)
        self.rows = self.lying.highest
        packed = PANEL_BYTES // (self.columns * self.dtype.itemsize)
        self.depth = FED_DEPTH if self.first else DEPTH if self.lies else max(self.lanes, packed)
        #: Offsets of b by words, and the loops of k that are a run of rows, with those around.
        self.tables: dict[str, dict[str, Extent]] = {}
        count = next(n for n in range(len(self.rest)) if self._step(n) is not None)
        self.around, self.along = self.rest[:count], self.rest[count:]
        self.run = f"({_product_of(self.along)})"
        block = len(stage.k) == 1 and unit.told(stage.k[0].extent).short
        #: Whether there is one block of k, one part of it.
        self.one_block, self.one_part = block, block and self.most(stage.k) <= self.depth

    def __str__(self) -> str:
        return self.name

    def _steps(self, access: Access) -> dict[str, Extent]:
        """The strides of an access along the loops of a position of k."""
        names = {axis.name for axis in self.rest}
        return {axis: stride for axis, stride in access.moves if axis in names}

    @cached_property
    def lies(self) -> bool:
        """True if whole panels of b are read in place."""
        b, packs = self.stage.b, self.packs_rows or self.b_stored.is_storage
        lies = len(self.stage.j) == 1 and b.stride(VECTOR) == 1 and self.kernel.outer != "tiles"
        return lies and not (self.first or b.bounded or packs)

    def _step(self, first: int) -> Extent | None:
        """The stride of rows along the loops of a position from a number on, if it is one."""
        names = {axis.name for axis in self.rest[first:]}
        steps = {name: step for name, step in self._steps(self.stage.a).items() if name in names}
        return flat_step(steps, self.rest[first:])

    @property
    def room(self) -> int:
        """The elements of the chunk's results, with those that tiles write beyond its last row."""
        return (self.chunk + self.rows) * self.columns

    def declare(self, out: Lines) -> None:
        """Extents, local memory and tables, before the loop over iterations."""
        w, local = self.name, f"local_{self.element}"
        for letter, axes in self._extents:
            if not axes[0].past:
                out.add(f"{w}_{letter} = {_product_of(axes)}")
        if self.first:
            out.add(f"{w}_each = {_product_of(self.rest)}")
        if self.kernel.outer == "tiles":
            out.add(f"{w}_panels = ({w}_n + {self.columns - 1}) // {self.columns}")
            out.add(f"{w}_chunks = ({w}_m + {self.chunk - 1}) // {self.chunk}")
        out.add(f"{w}_tile = {local}({2 * self.room})")
        if not (self.lies and self.fills_vectors):
            room = self.depth * self.columns
            if self.keeps_panels:
                out.add(f"{w}_kept = 0")
                out.add(f"{w}_of = -1")
                room = max(room, KEPT)
            out.add(f"{w}_panel = {local}({room + self.lanes * self.columns})")
        if self.packs_rows:
            out.add(f"{w}_rows = {local}({self.rows * self.depth})")
        if self.tiles.placed:
            out.add(f"{w}_places = local_i64({self.chunk})")
            out.add(f"{w}_runs = local_i64({GEMM_BLOCK + 2})")
        for table in self.tables:
            out.add(f"{w}_{table}_t = local_i64({GEMM_BLOCK})")
        if self.has_words:
            out.add(f"{w}_tabled = -1")

    @property
    def _extents(self) -> tuple[tuple[str, tuple[Axis, ...]], ...]:
        """The loops, with the letters of their flattened extents."""
        return (("m", self.stage.i), ("n", self.stage.j), ("deep", self.stage.k))

    @cached_property
    def keeps_panels(self) -> bool:
        """True if the next iterations reuse packed panels.

        A product in a loop over tiles of rows multiplies by the same second factor in every
        iteration. Its panels are packed in the first iteration that needs them, one behind the
        other.
        """
        kernel, b = self.kernel, self.stage.b
        if not self.is_transposed or kernel.outer != "axes" or kernel.listed is not None:
            return False
        if kernel.operand(b.operand).is_own or kernel.operand(b.operand).mode != "in":
            return False
        around = next(loops for each, loops in nested(kernel.stages) if each is self.stage)
        names = {axis.name for axis in around}
        whole = not any(axis.limits for axis in self.stage.k)
        return bool(around) and whole and not any(axis in names for axis, _ in b.moves)

    @property
    def is_transposed(self) -> bool:
        """True if b is stored transposed: its panels are packed by squares."""
        b = self.stage.b
        transposed = len(self.stage.j) == 1 and b.stride("k") == 1 != b.stride(VECTOR)
        return transposed and not b.bounded and not self.b_stored.is_storage

    @property
    def slot(self) -> str:
        """The start of the panel among the packed ones that are reused."""
        return f"{self}_slot" if self.keeps_panels else "0"

    def most(self, axes: Iterable[Axis]) -> float:
        """The positions of loops, at most."""

        def positions(extent: Extent) -> float:
            return extent if isinstance(extent, int) else self.unit.told(extent).most or inf

        return prod(positions(axis.extent) for axis in axes)

    @property
    def has_columns(self) -> bool:
        """True if there are columns, and always as many."""
        return all(not axis.limits and self.unit.told(axis.extent).short for axis in self.stage.j)

    @property
    def fills_vectors(self) -> bool:
        """True if columns are known to be whole vectors: the last panel may have one less."""
        (j, *more) = self.stage.j
        return not (more or j.past) and self.unit.told(j.extent).multiple % self.lanes == 0

    def write_limits(self, out: Lines) -> None:
        """Extents, and the beginning of k, that were kept: anew for each iteration."""
        w, k = self.name, self.stage.k[0]
        for letter, axes in self._extents:
            if axes[0].past:
                out.add(f"{w}_{letter} = {limit(out, self.unit, axes[0], axes[0].past)}")
        if k.first:
            out.add(f"{w}_from = {limit(out, self.unit, k, k.first)}")
            out.add(f"if {w}_from < 0:")
            out.add(f"    {w}_from = 0")

    def write_tile(self, out: Lines) -> None:
        """A chunk of rows from ``first`` on, a panel of columns from ``left`` on."""
        w, position = self.name, Lines()
        self.least(out, "last", f"{w}_first + {self.chunk}", f"{w}_m")
        self.least(out, "past", f"{w}_left + {self.columns}", f"{w}_n")
        self._write_tall(out)
        if self.tiles.placed:
            self._write_places(out)
        if not self.one_block:
            out.add(f"{w}_into = 0")
            out.add(f"{w}_fresh = 1")
        if self.first:
            position.add(f"{self.first.name} = {w}_position")
            for stage in self.stage.fed:
                position.lines += self.unit.write_map(stage)
            position.add(f"{w}_origin = {w}_position * {w}_each")
            self._write_parts(position)
            count = f"{w}_deep" if self.first.past else self.first.extent
            out.add(f"for {w}_position in range(0, {count}):")
            out.extend(position, 1)
        else:
            self._write_parts(out)
        if not self.one_block:
            out.add(f"if {w}_fresh == 0 and {w}_into > 0:")
            self._write_sums(out, 1)
        if not self.one_block:
            out.add(f"if {w}_fresh > {w}_into:")
            self._over_tile(out, 1, self.tiles.zero)
        elif self.stage.k[0].limits and not self.one_part:  # whose tiles write zeros then
            out.add(f"if {w}_deep <= {self._begin}:")
            self._over_tile(out, 1, self.tiles.zero)
        self._write_epilogue(out)

    # parts of the inner indices

    @property
    def has_words(self) -> bool:
        """True if words contain offsets along k."""
        return bool(self.tables) or self.tiles.placed

    @property
    def _begin(self) -> str:
        return f"{self}_from" if self.stage.k[0].first else "0"

    def _write_parts(self, out: Lines) -> None:
        """The parts of k, or of a position of its first loop: each in one block and one table."""
        w, part, pack, tiles = self.name, Lines(), Lines(), Lines()
        self._write_chains(tiles)
        if not self.lies:
            self._write_pack(pack)
        elif not self.fills_vectors:
            pack.add(f"if {w}_past - {w}_left < {self.columns}:")
            last = Lines()
            self._write_pack(last)
            pack.extend(last, 1)
        deep = f"{w}_each" if self.first else f"{w}_deep"
        if self.one_part:
            part.add(f"{w}_end = {deep}")
        else:
            self.least(part, "end", f"{w}_depth + {self.depth}", deep)
        at = f"{w}_origin + {w}_depth" if self.first else f"{w}_depth"
        block = f"({at}) // {GEMM_BLOCK} * {GEMM_BLOCK} + {GEMM_BLOCK}"
        if not self.one_block:
            part.add(f"{w}_stop = {block}{f' - {w}_origin' if self.first else ''}")
            self.limit(part, "end", f"{w}_stop")
        if self.has_words:
            part.add(f"{w}_base = {w}_depth // {GEMM_BLOCK} * {GEMM_BLOCK}")
            if self.first:
                self.limit(part, "end", f"{w}_base + {GEMM_BLOCK}")
            self._write_tables(part)
        part.extend(pack)
        part.add(f"for {w}_top in range({w}_first, {w}_last, {w}_tall):")
        part.extend(tiles, 1)
        if not self.one_block:
            part.add(f"{w}_fresh = 0")
            part.add(f"if {w}_end == {w}_stop:")
            part.add(f"    if {w}_into > 0:")
            self._write_sums(part, 2)
            part.add(f"    {w}_into = {self.room}")
            part.add(f"    {w}_fresh = 1")
        out.add(f"{w}_depth = {self._begin}")
        if self.one_part:
            out.extend(part)
            return
        part.add(f"{w}_depth = {w}_end")
        out.add(f"while {w}_depth < {deep}:")
        out.extend(part, 1)

    def _write_sums(self, out: Lines, deeper: int) -> None:
        """Add the results of a block to those of the blocks before."""
        old, new = (f"load{self.lanes}({self}_tile, at{m})" for m in ("", f" + {self.room}"))
        self._over_tile(out, deeper, f"{old} + {new}")

    def _over_tile(self, out: Lines, deeper: int, value: str) -> None:
        """Every vector of the chunk's results."""
        shift = "    " * deeper
        out.add(f"{shift}for at in range(0, {self.chunk * self.columns}, {self.lanes}):")
        out.add(f"{shift}    store{self.lanes}({self}_tile, at, {value})")

    # what loops add to a place

    def _along_k(self, label: str, steps: dict[str, Extent]) -> tuple[tuple[str, Extent], ...]:
        """A term over the flattened k, or over the words of a table, for steps along its loops."""
        flat = flat_step(steps, self.rest)
        if flat is not None:
            return ((f"{self}_at", flat),) if flat != 0 else ()
        self.tables[label] = steps
        return ((f"{self}_{label}", 1),)

    def _write_tables(self, out: Lines) -> None:
        """The words of the inner indices from ``base`` on, unless they are there."""
        w, inner, made = self.name, Lines(), Lines()
        made.add(f"{w}_tabled = {w}_base")
        self.least(made, "made", f"{w}_base + {GEMM_BLOCK}", _product_of(self.rest))
        out.add(f"if {w}_tabled != {w}_base:")
        if self.tiles.placed:
            run, steps = Lines(), self._steps(self.stage.a)
            moved = total(*(scaled(axis.name, steps.get(axis.name, 0)) for axis in self.around))
            write_decode(run, f"{w}_at", self.around)
            run.add(f"store1({w}_runs, {w}_at - {w}_base // {self.run}, i64x1({moved}))")
            made.add(f"for {w}_at in range({w}_base // {self.run}, {w}_made // {self.run} + 1):")
            made.extend(run, 1)
        if not self.tables:
            out.extend(made, 1)
            return
        for table, steps in self.tables.items():
            moved = total(*(scaled(axis, step) for axis, step in steps.items()))
            inner.add(f"store1({w}_{table}_t, {w}_at - {w}_base, i64x1({moved}))")
        inner.add("k = k + 1")
        for deeper, (axis, around) in enumerate(pairwise(reversed(self.rest))):
            inner.add("    " * deeper + f"if {axis.name} == {axis.extent}:")
            inner.add("    " * deeper + f"    {axis.name} = 0")
            inner.add("    " * deeper + f"    {around.name} = {around.name} + 1")
        write_decode(made, f"{w}_base", self.rest)
        made.add(f"for {w}_at in range({w}_base, {w}_made):")
        made.extend(inner, 1)
        out.extend(made, 1)

    def _look_up(self, out: Lines, wanted: Iterable[str]) -> None:
        """The words that the terms of an access need, for the inner index ``at``."""
        for name in wanted:
            if name.removeprefix(f"{self}_") in self.tables:
                out.add(f"{name} = {name}_t[{self}_at - {self}_base]")

    def _write_places(self, out: Lines) -> None:
        """Write the table of the offsets of the chunk's rows from the first row of all."""
        w, each = self.name, Lines()
        write_decode(each, f"{w}_row", self.stage.i)
        names = {axis.name for axis in self.stage.i}
        moves = [(axis, step) for axis, step in self.stage.a.moves if axis in names]
        moved = total(*(scaled(axis, step) for axis, step in moves))
        each.add(f"store1({w}_places, {w}_row - {w}_first, i64x1({moved}))")
        out.add(f"for {w}_row in range({w}_first, {w}_last):")
        out.extend(each, 1)

    # packing

    def _write_pack(self, out: Lines) -> None:
        """The inner indices from ``depth`` to ``end`` of the panel, one behind the other."""
        if self.keeps_panels:
            pack = Lines()
            self._write_transposed_pack(pack)
            self._write_kept_panel(out, pack)
            return
        if self.is_transposed:
            self._write_transposed_pack(out)
            return
        w, b, before, body = self.name, self.stage.b, Lines(), Lines()
        # The loops of a position of k add terms of their own.
        inside = {axis.name for axis in self.rest}
        steps = {axis: step for axis, step in b.strides if axis in inside}
        positions = []
        for at, position in enumerate(b.positions):
            own = {axis: step for axis, step in position.terms if axis in inside}
            terms = tuple(term for term in position.terms if term[0] not in inside)
            if not position.has_ends:
                steps |= {axis: b.stride(axis) for axis in own}
            else:
                terms += self._along_k(f"q{at}", own)
            positions.append(Position(terms, position.start, position.stride, position.extent))
        outer = tuple(move for move in b.strides if move[0] not in inside)
        access = Access(b.operand, outer + self._along_k("b", steps), (), tuple(positions))
        moves = [name for name, _ in access.moves if name.startswith(f"{w}_")]
        self._look_up(body, moves)
        value = load(access, self.b_stored).cast(self.dtype)
        made = self.unit.write_vectors([value], [VECTOR, *moves], self.lanes, f"{w}_on")
        before.lines += made.before
        body.lines += made.body
        place = total(f"({w}_at - {w}_depth) * {self.columns}", f"{w}_v - {w}_left")
        body.add(f"store({w}_panel, {place}, {made.names[0]}, {w}_on)")
        before.add(f"for {w}_at in range({w}_depth, {w}_end):")
        before.extend(body, 1)
        self._runs(out, lambda run: self._vectors(run, before))

    def _write_kept_panel(self, out: Lines, pack: Lines) -> None:
        """Find the panel of ``left``, or pack it; ``slot`` is where it begins.

        A panel of more inner indices than ``depth`` is packed a part at a time in every iteration.
        """
        w, columns = self.name, self.columns
        out.add(f"{w}_slot = {w}_left * {w}_deep")
        out.add(f"{w}_packs = 1")
        out.add(f"if {w}_deep > {self.depth} or {w}_slot + {columns} * {w}_deep > {KEPT}:")
        out.add(f"    {w}_slot = 0")
        out.add(f"    {w}_kept = 0")
        out.add(f"elif {w}_of == o and {w}_left < {w}_kept:")
        out.add(f"    {w}_packs = 0")
        out.add("else:")
        out.add(f"    {w}_kept = {w}_left + {columns}")
        out.add(f"    {w}_of = o")
        out.add(f"if {w}_packs == 1:")
        out.extend(pack, 1)

    def _write_transposed_pack(self, out: Lines) -> None:
        """The same where b lies the other way round: squares, transposed in registers."""
        w, b, lanes = self.name, self.stage.b, self.lanes
        step, square = b.stride(VECTOR), Lines()
        columns, halves = f"{w}_n", f"{w}_past - {w}_left"
        if self.keeps_panels:  # other iterations may have more columns
            columns, halves = str(self.stage.j[0].extent), str(self.columns)
        if len(self.stage.k) == 1:
            base = base_text(b, frozenset({VECTOR, *self.inner}))
            place = total(base, f"{w}_depth", scaled(f"{w}_left", step))
            packing = Packing(self.element, lanes, self.element)
            size = f"1, {step}, {w}_end - {w}_depth, {columns} - {w}_left, {self.slot}"
            name = packing.panel(self.unit, self.columns, "transposed")
            out.add(f"{name}({b.operand}, {w}_panel, {place}, {size})")
            return
        at = total(base_text(b), f"{w}_v", scaled(f"({w}_left + half)", step))
        size = f"{step}, {columns} - ({w}_left + half), {w}_run - {w}_v"
        place = total(self.slot, f"({w}_at + {w}_v - {w}_depth) * {self.columns}", "half")
        to = f"{w}_panel, {place}, {self.columns}"
        square.add(f"for half in range(0, {halves}, {lanes}):")
        square.add(f"    for {w}_v in range(0, {w}_run, {lanes}):")
        square.add(f"        transpose{lanes}({b.operand}, {at}, {size}, {to})")
        self._inner_runs(out, square)

    def _write_packed_rows(self, out: Lines) -> None:
        """The rows of a tile, run by run of the innermost k."""
        w, lanes, lines, run, each = self.name, self.lanes, Lines(), Lines(), Lines()
        value = load(along_vectors(self.stage.a), self.a_stored).cast(self.dtype)
        run.add(f"for {w}_v in range(0, {w}_run, {lanes}):")
        lines.add(f"{VECTOR} = k + {w}_v")
        lines.add(f"{w}_on = mask{lanes}({w}_run - {w}_v)")
        made = self.unit.write_vectors([value], [VECTOR], lanes, f"{w}_on")
        lines.lines += [*made.before, *made.body]
        place = f"{w}_row * {self.depth} + {w}_at + {w}_v - {w}_depth"
        lines.add(f"store({w}_rows, {place}, {made.names[0]}, {w}_on)")
        run.extend(lines, 1)
        each.add(f"{w}_here = {w}_top + {w}_row")
        write_decode(each, f"{w}_here", self.stage.i)
        each.extend(run)
        rows = Lines()
        rows.add(f"for {w}_row in range(0, {w}_count):")
        rows.extend(each, 1)
        self._inner_runs(out, rows)

    # loops

    def _runs(self, out: Lines, inside: Callable[[Lines], None]) -> None:
        """The panel's columns, run by run of the innermost j: from ``c`` to ``run_end``."""
        w, run = self.name, Lines()
        write_decode(run, f"{w}_c", self.stage.j)
        run.add(f"{w}_shift = {VECTOR} - {w}_c")
        self.least(run, "run_end", f"{self.stage.j[-1].extent} - {w}_shift", f"{w}_past")
        inside(run)
        run.add(f"{w}_c = {w}_run_end")
        out.add(f"{w}_c = {w}_left")
        out.add(f"while {w}_c < {w}_past:")
        out.extend(run, 1)

    def _vectors(self, out: Lines, body: Lines) -> None:
        """The vectors of a run of columns."""
        w = self.name
        out.add(f"for {w}_v in range({w}_c, {w}_run_end, {self.lanes}):")
        out.add(f"    {VECTOR} = {w}_v + {w}_shift")
        out.add(f"    {w}_on = mask{self.lanes}({w}_run_end - {w}_v)")
        out.extend(body, 1)

    def _inner_runs(self, out: Lines, body: Lines) -> None:
        """Inner indices from ``depth`` to ``end``, ``run`` of the innermost k at a time."""
        w, run = self.name, Lines()
        write_decode(run, f"{w}_at", self.rest)
        self.least(run, "run", f"{self.rest[-1].extent} - k", f"{w}_end - {w}_at")
        run.extend(body)
        run.add(f"{w}_at = {w}_at + {w}_run")
        out.add(f"{w}_at = {w}_depth")
        out.add(f"while {w}_at < {w}_end:")
        out.extend(run, 1)

    def least(self, out: Lines, name: str, value: str, most: str) -> None:
        out.add(f"{self}_{name} = {value}")
        self.limit(out, name, most)

    def limit(self, out: Lines, name: str, most: str) -> None:
        out.add(f"if {self}_{name} > {most}:")
        out.add(f"    {self}_{name} = {most}")

    # tiles

    def _write_tall(self, out: Lines) -> None:
        """Rows from tile to tile, equal heights if two tiles do, and which of the tiles store."""
        w, heights = self.name, self.lying.heights[max(self.lying.heights)]
        out.add(f"{w}_tall = {self.rows}")
        if 2 * heights[1] > self.rows:
            out.add(f"if {w}_last - {w}_first > {self.rows}:")
            out.add(f"    if {w}_last - {w}_first <= {2 * heights[1]}:")
            out.add(f"        {w}_tall = {heights[1]}")
        if self.straight is None:
            return
        # The end of the rows whose tiles store: they have no more rows than there are.
        out.add(f"{w}_rest = ({w}_last - {w}_first) % {w}_tall")
        out.add(f"{w}_kept = {w}_last")
        whole = " and ".join(f"{w}_rest != {height}" for height in (0, *self.lying.covering))
        out.add(f"if {whole}:")
        out.add(f"    {w}_kept = {w}_last - {w}_rest")
        if not self.one_block:
            for other in (f"> {GEMM_BLOCK}", "== 0"):
                out.add(f"if {w}_deep {other}:")
                out.add(f"    {w}_kept = {w}_first")

    @cached_property
    def straight(self) -> Access | None:
        """The access to which tiles store results without epilogue; None if they may not. Other
        threads do not see the results, and columns are whole vectors."""
        to = stored_as_is(self.kernel, self.stage)
        limited = self.stage.i[0].past or self.stage.k[0].limits
        if to is None or limited or not (self.lies and self.fills_vectors):
            return None
        return to if self.kernel.operand(to.operand).mode == "scratch" else None

    def _write_chains(self, out: Lines) -> None:
        """The FMA chains of a tile of rows, from ``depth`` to ``end``."""
        w, packed = self.name, not self.lies
        self.least(out, "count", f"{w}_last - {w}_top", f"{w}_tall")
        self._write_rows(out)
        if self.keeps_panels:
            # The panel that is packed next: the processor prefetches no rows so far apart. The
            # first tile prefetches one half, and others the second one.
            b = self.stage.b
            base = base_text(b, frozenset({VECTOR, *self.inner}))
            rows = scaled(f"({w}_left + {self.columns})", b.stride(VECTOR))
            out.add(f"{w}_ahead = {total(base, f'{w}_depth', rows)}")
            out.add(f"if {w}_top > {w}_first:")
            out.add(f"    {w}_ahead = {w}_ahead + {scaled(str(self.lanes), b.stride(VECTOR))}")
        out.add(f"{w}_wide = {w}_past - {w}_left")
        into = "0" if self.one_block else f"{w}_into"
        out.add(f"{w}_to = {total(into, f'({w}_top - {w}_first) * {self.columns}')}")
        if self.one_block:
            fresh = "1" if self.one_part else f"1 if {w}_depth == {self._begin} else 0"
            out.add(f"{w}_fresh = {fresh}")
        if self.lies and not self.fills_vectors:
            whole, last = Lines(), Lines()
            self._write_calls(whole, packed=False)
            self._write_calls(last, packed=True)
            out.add(f"if {w}_wide == {self.columns}:")
            out.extend(whole, 1)
            out.add("else:")
            out.extend(last, 1)
        else:
            self._write_calls(out, packed)

    def _write_rows(self, out: Lines) -> None:
        """The rows of a tile: where they begin, or packed."""
        w, a = self.name, self.stage.a
        if self.packs_rows:
            self._write_packed_rows(out)
            return
        skip = {axis.name for axis in self.rest}
        if self.tiles.placed:
            skip |= {axis.name for axis in self.stage.i}
            moved = "0"
        else:
            write_decode(out, f"{w}_top", self.stage.i)
            moved = scaled(f"{w}_depth", self._step(0) or 0)
        out.add(f"{w}_a = {total(base_text(a, frozenset(skip)), moved)}")

    def _write_calls(self, out: Lines, packed: bool) -> None:
        """The calls of tiles, for each part of the panel that one takes."""
        w, tiles, shift = self.name, self.tiles if packed else self.lying, ""
        vectors = max(tiles.heights)
        for part in range(0, self.columns, vectors * self.lanes):
            if part:
                out.add(f"if {w}_wide > {part}:")
                shift = "    "
            named = self._arguments(part, packed)
            name = tiles.function(self.unit, vectors)
            call = f"{name}({', '.join(named[n] for n in tiles.arguments)})"
            if self.straight is None:
                out.add(shift + call)
                continue
            to, axis = self.straight, self.stage.i[0].name
            around = base_text(to, frozenset({VECTOR, axis}))
            row = scaled(f"{w}_top", to.stride(axis))
            place = total(around, row, f"{w}_left", str(part))
            stored = named | {"c": to.operand, "to": place, "width": str(to.stride(axis))}
            out.add(f"{shift}if {w}_top < {w}_kept:")
            out.add(f"{shift}    {name}({', '.join(stored[n] for n in tiles.arguments)})")
            out.add(f"{shift}else:")
            out.add(f"{shift}    {call}")

    def _arguments(self, part: int, packed: bool) -> dict[str, str]:
        """Return the arguments of a tile, for a part of the panel."""
        w, b = self.name, self.stage.b
        named = {
            "a": f"{w}_rows" if self.packs_rows else self.stage.a.operand,
            "b": f"{w}_panel",
            "c": f"{w}_tile",
            "near": f"{w}_panel",
            "at": "0" if self.packs_rows else f"{w}_a",
            "row": str(self.depth if self.packs_rows else self.stage.a.stride("i")),
            "inner": str(1 if self.packs_rows else self._step(len(self.around))),
            "places": f"{w}_places",
            "top": f"{w}_top - {w}_first",
            "runs": f"{w}_runs",
            "run": self.run,
            "went": f"{w}_depth - {w}_base // {self.run} * {self.run}",
            "lead": f"{w}_depth - {w}_base",
            "last": f"{w}_count - 1",
            "wide": f"{w}_wide",
            "down": total(self.slot, str(part)),
            "step": str(self.columns),
            "to": total(f"{w}_to", str(part)),
            "width": str(self.columns),
            "depth": f"{w}_end - {w}_depth",
            "fresh": f"{w}_fresh",
            "ahead": "0",
            "hop": "0",
            "leap": "0",
        }
        if self.keeps_panels:
            across = b.stride(VECTOR)
            named |= {"near": b.operand, "ahead": f"{w}_ahead"}
            named |= {"hop": scaled(f"{w}_packs", across)}
            named |= {"leap": scaled(f"{w}_packs", self.lanes)}
        if packed:
            return named
        base = total(base_text(b, frozenset({VECTOR, *self.inner})), f"{w}_left", str(part))
        named |= {"b": b.operand, "near": b.operand}
        if self.lying.looked:
            self.tables["b"] = self._steps(b)
            return named | {"down": base, "reads": f"{w}_b_t"}
        down = self.down or 0
        first = total(base, scaled(f"{w}_depth", down))
        named |= {"down": first, "step": str(down), "hop": str(down)}  # and the next panel's rows
        return named | {
            "ahead": total(first, str(self.columns)),
            "leap": scaled(str(self.lanes), down),
        }

    def _write_epilogue(self, out: Lines) -> None:
        """Each stored vector of the chunk through the stores' expressions."""
        w, body = self.name, Lines()
        inner = [axis.name for axis in (*self.stage.i, *self.stage.j)]
        called = {PRODUCT: f"{w}_acc"}
        stores = self.unit.write_vectors(self.stage.stores, inner, self.lanes, f"{w}_on", called)
        place = f"({w}_row - {w}_first) * {self.columns} + {w}_v - {w}_left"
        body.add(f"{w}_acc = load({w}_tile, {place}, {w}_on)")
        body.lines += stores.body
        for line in stores.before:
            out.add(line)
        if not self.fills_vectors or self.kernel.outer == "tiles":
            self._runs(out, lambda run: self._each_row(run, lambda row: self._vectors(row, body)))
            return
        vectors = Lines()
        vectors.add(f"{w}_on = mask{self.lanes}({self.lanes})")
        vectors.add(f"for {w}_v in range({w}_left, {w}_past, {self.lanes}):")
        vectors.add(f"    {VECTOR} = {w}_v")
        vectors.extend(body, 1)
        self._each_row(out, lambda row: row.extend(vectors))

    def _each_row(self, out: Lines, inside: Callable[[Lines], None]) -> None:
        """The rows of the chunk whose results are not where they belong."""
        each = Lines()
        write_decode(each, f"{self}_row", self.stage.i)
        inside(each)
        begin = f"{self}_first" if self.straight is None else f"{self}_kept"
        out.add(f"for {self}_row in range({begin}, {self}_last):")
        out.extend(each, 1)


def _product_of(axes: Iterable[Axis]) -> str:
    """The positions of loops, as text."""
    return " * ".join(str(axis.extent) for axis in axes)


def flat_step(steps: Mapping[str, Extent], axes: Sequence[Axis]) -> Extent | None:
    """Return the one stride along loops flattened in C order, or None if that is not known."""
    if len(axes) == 1:
        return steps.get(axes[0].name, 0)
    if all(step == 0 for step in steps.values()):
        return 0
    inner = steps.get(axes[-1].name, 0)
    wanted = inner
    for axis, around in zip(reversed(axes), reversed(axes[:-1]), strict=False):
        if not isinstance(wanted, int) or not isinstance(axis.extent, int):
            return None
        wanted = wanted * axis.extent
        if steps.get(around.name, 0) != wanted:
            return None
    return inner


def along_vectors(access: Access) -> Access:
    """The access with the innermost k as the loop over lanes."""
    names = {"k": VECTOR}
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

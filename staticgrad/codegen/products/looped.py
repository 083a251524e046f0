"""Products over several loops, or of windows, to source; their operands are never copied out.

i, j and k are flattened. Rows past the end are computed on the last row and not stored, and each
element is one FMA chain in ascending k per block (``GEMM_BLOCK``), block results added in order, as
in ``codegen.gemm``, which writes products of matrices. A panel of b is packed a part of k at a
time, run by run of the innermost j; so are the rows of a tile if a reads a window with ends.
The offset that the loops of k add is read from a table of words, made once, unless it is a
multiple of the flattened k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from itertools import pairwise
from math import inf, prod
from typing import Final

from staticgrad.codegen.block_functions import write_iterations
from staticgrad.codegen.expressions import VECTOR, Lines, Unit, element, number, scaled, total
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.products.packing import Packing
from staticgrad.codegen.stages import base_text, limit, scope_for, write_store
from staticgrad.ir.expr import Access, Position, load
from staticgrad.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernels.stages import Axis, Extent, Gemm, gemm_tile, nested, small
from staticgrad.ir.kernels.text import PRODUCT
from staticgrad.records import dataclass
from staticgrad.types.dtype import DType

#: Elements of panels that are kept, at most: they stay in L2, and on the stack.
KEPT: Final = 1 << 15
#: Bytes of an inner index' part of a panel, times the inner indices packed at a time.
PANEL_BYTES: Final = 16384
#: Lines of an epilogue among stages that is written for whole panels as well.
FEW_LINES: Final = 8
#: Rows of a register tile of one vector, where a vector takes two registers.
NARROW_ROWS: Final = 4


@dataclass(frozen=True)
class Once:
    """The loops of a product that are known to have one iteration.

    Those over chunks of rows, over panels of columns, over blocks of the inner indices (one has no
    iteration where they end before they begin), and over the parts that are packed at a time.
    """

    chunk: bool
    panel: bool
    block: bool
    part: bool


@dataclass
class LoopedProduct:
    """The lines of one product; all its names begin with ``name``."""

    kernel: Kernel
    stage: Gemm
    unit: Unit
    name: str
    tables: dict[str, Mapping[str, Extent]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        factors = self.stage.a, self.stage.b
        #: How the factors lie: those of a dtype for storage are widened as they are read.
        self.a_stored, self.b_stored = (self.kernel.operand(f.operand).dtype for f in factors)
        self.dtype: DType = self.a_stored.compute
        self.rows, self.chunk, self.columns = gemm_tile(self.stage, self.dtype)
        self.lanes, self.element = self.dtype.lanes, element(self.dtype)
        self.split = self.lanes * self.dtype.bits > self.unit.vector_bits  # into two registers
        if self.split and self.kernel.outer != "tiles" and not small(self.stage.i):
            self.rows, self.columns = NARROW_ROWS, self.lanes
        self.depth = max(self.lanes, PANEL_BYTES // (self.columns * self.dtype.itemsize))
        self.inner = {axis.name for axis in self.stage.k}
        self.packs_rows = bool(self.stage.a.bounded)

    def __str__(self) -> str:
        return self.name

    @property
    def room(self) -> int:
        """The elements of the chunk's results, with those that tiles write beyond its last row."""
        return self.chunk * self.columns

    @property
    def packed_count(self) -> str:
        """The number of packed rows of a tile, as text."""
        return str(self.rows)

    @property
    def tall(self) -> str:
        """Rows from one tile to the next."""
        return str(self.rows)

    @property
    def left_over(self) -> str:
        """The first row of the chunk whose results are not where they belong."""
        return f"{self}_first"

    def declare(self, out: Lines) -> None:
        """Extents, local memory and tables, before the loop over iterations."""
        w = self.name
        for letter, axes in self.extents:
            if not axes[0].past:
                out.add(f"{w}_{letter} = {' * '.join(str(axis.extent) for axis in axes)}")
        if self.kernel.outer == "tiles":
            out.add(f"{w}_panels = ({w}_n + {self.columns - 1}) // {self.columns}")
            out.add(f"{w}_chunks = ({w}_m + {self.chunk - 1}) // {self.chunk}")
        local = f"local_{self.element}"
        out.add(f"{w}_tile = {local}({2 * self.room})")
        if not self.reads_panel:
            room = self.depth * self.columns
            if self.keeps_panels:
                out.add(f"{w}_kept = 0")
                out.add(f"{w}_of = -1")
                room = max(room, KEPT)
            out.add(f"{w}_panel = {local}({room + self.lanes * self.columns})")
        if self.packs_rows:
            out.add(f"{w}_rows = {local}({self.rows * self.depth})")
        for table in self.tables:
            out.add(f"{w}_{table}_t = local_i64({GEMM_BLOCK})")
        if self.tables:
            out.add(f"{w}_tabled = -1")

    @property
    def is_transposed(self) -> bool:
        """True if b is stored transposed: its panels are packed by squares."""
        b = self.stage.b
        transposed = len(self.stage.j) == 1 and b.stride("k") == 1 != b.stride(VECTOR)
        return transposed and not b.bounded and not self.b_stored.is_storage

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
    def slot(self) -> str:
        """The start of the panel among the packed ones that are reused."""
        return f"{self}_slot" if self.keeps_panels else "0"

    @property
    def extents(self) -> tuple[tuple[str, tuple[Axis, ...]], ...]:
        """The loops, with the letters of their flattened extents."""
        return (("m", self.stage.i), ("n", self.stage.j), ("deep", self.stage.k))

    @cached_property
    def once(self) -> Once:
        """The loops that are known to have one iteration."""
        stage, alone = self.stage, self.kernel.outer != "tiles"
        chunk, panel = self._most(stage.i) <= self.chunk, self._most(stage.j) <= self.columns
        some = all(not axis.limits and self.unit.told(axis.extent).short for axis in stage.j)
        block = len(stage.k) == 1 and self.unit.told(stage.k[0].extent).short
        return Once(
            chunk=alone and chunk,
            panel=alone and panel and some,
            block=block,
            part=block and self._most(stage.k) <= self.depth,
        )

    def _most(self, axes: Iterable[Axis]) -> float:
        """The positions of loops, at most."""

        def positions(extent: Extent) -> float:
            return extent if isinstance(extent, int) else self.unit.told(extent).most or inf

        return prod(positions(axis.extent) for axis in axes)

    @property
    def fills_panels(self) -> bool:
        """True if columns are known to be whole panels."""
        return self._are_multiples_of(self.columns)

    @property
    def fills_vectors(self) -> bool:
        """True if columns are known to be whole vectors: the last panel may have one less."""
        return self._are_multiples_of(self.lanes)

    def _are_multiples_of(self, number: int) -> bool:
        (j, *more) = self.stage.j
        return not (more or j.past) and self.unit.told(j.extent).multiple % number == 0

    @property
    def begins(self) -> bool:
        """True if k begins at a stored number."""
        return bool(self.stage.k[0].first)

    def write_limits(self, out: Lines) -> None:
        """Extents, and the beginning of k, that were kept: anew for each iteration."""
        w, k = self.name, self.stage.k[0]
        for letter, axes in self.extents:
            if axes[0].past:
                out.add(f"{w}_{letter} = {limit(out, self.unit, axes[0], axes[0].past)}")
        if self.begins:
            out.add(f"{w}_from = {limit(out, self.unit, k, k.first)}")
            out.add(f"if {w}_from < 0:")
            out.add(f"    {w}_from = 0")
            if not self.once.block:
                out.add(f"{w}_block0 = {w}_from // {GEMM_BLOCK} * {GEMM_BLOCK}")

    def write_tile(self, out: Lines) -> None:
        """A chunk of rows from ``first`` on, a panel of columns from ``left`` on."""
        w, tile, pack = self.name, Lines(), Lines()
        self.write_chains(tile)
        if self.keeps_panels:
            transposed = Lines()
            self._write_pack(transposed)
            self._write_kept_panel(pack, transposed)
        elif not self.reads_panel:
            self._write_pack(pack)
        self.least(out, "last", f"{w}_first + {self.chunk}", f"{w}_m")
        if self.once.panel:
            out.add(f"{w}_past = {self.columns if self.fills_panels else f'{w}_n'}")
        else:
            self.least(out, "past", f"{w}_left + {self.columns}", f"{w}_n")
        self._write_blocks(out, pack, tile)
        self._write_epilogue(out)

    # blocks of the inner indices

    @property
    def first_of_block(self) -> str:
        """The first inner index of a block."""
        if self.begins:
            return f"{self}_from" if self.once.block else f"{self}_start"
        return f"{self}_block"

    @property
    def is_fresh(self) -> str:
        """The condition that a tile's part is the first of a block, as a word in source."""
        return "1" if self.once.part else f"1 if {self}_depth == {self.first_of_block} else 0"

    def _write_blocks(self, out: Lines, pack: Lines, tile: Lines) -> None:
        """Loop over blocks of the inner indices and their parts: ``pack``, then each ``tile``."""
        w, once, block = self.name, self.once, Lines()
        origin = f"{w}_block0" if self.begins and not once.block else "0"
        if once.block:
            block.add(f"{w}_stop = {w}_deep")
        else:
            self.least(block, "stop", f"{w}_block + {GEMM_BLOCK}", f"{w}_deep")
        self.write_tables(block)
        block.add(f"{w}_into = 0")
        if not once.block:
            block.add(f"if {w}_block > {origin}:")
            block.add(f"    {w}_into = {self.room}")
            if self.begins:
                block.add(f"{w}_start = {w}_block")
                block.add(f"if {w}_start < {w}_from:")
                block.add(f"    {w}_start = {w}_from")
        self._write_parts(block, pack, tile)
        if not once.block:
            block.add(f"if {w}_block > {origin}:")
            old, new = (f"load{self.lanes}({w}_tile, at{m})" for m in ("", f" + {self.room}"))
            self.over_tile(block, 1, f"{old} + {new}")
        blocks = origin, f"{w}_deep", GEMM_BLOCK
        write_iterations(out, f"{w}_block", blocks, block, once.block)
        nothing = "== 0"
        if self.stage.k[0].limits:
            nothing = f"<= {w}_from" if self.begins else "<= 0"
        elif once.block:
            return
        if not once.part:  # whose tiles write zeros then
            out.add(f"if {w}_deep {nothing}:")
            self.over_tile(out, 1, self.zero)

    def _write_parts(self, out: Lines, pack: Lines, tile: Lines) -> None:
        """The parts of a block."""
        w, part = self.name, Lines()
        if self.once.part:
            part.add(f"{w}_end = {w}_stop")
        else:
            self.least(part, "end", f"{w}_depth + {self.depth}", f"{w}_stop")
        part.extend(pack)
        part.add(f"for {w}_top in range({w}_first, {w}_last, {self.tall}):")
        part.extend(tile, 1)
        parts = self.first_of_block, f"{w}_stop", self.depth
        write_iterations(out, f"{w}_depth", parts, part, self.once.part)

    # what the loops of k add to a place

    def _along_k(self, label: str, steps: Mapping[str, Extent]) -> tuple[tuple[str, Extent], ...]:
        """A term over the flattened k, or over the words of a table, for steps along its loops."""
        flat = flat_step(steps, self.stage.k)
        if flat is not None:
            return ((f"{self}_at", flat),) if flat != 0 else ()
        self.tables[label] = steps
        return ((f"{self}_{label}", 1),)

    def write_tables(self, out: Lines) -> None:
        """The words of a block of k, unless they are there."""
        w, inner = self.name, Lines()
        if not self.tables:
            return
        for table, steps in self.tables.items():
            moved = total(*(scaled(axis, step) for axis, step in steps.items()))
            inner.add(f"store1({w}_{table}_t, {w}_at - {w}_block, i64x1({moved}))")
        inner.add("k = k + 1")
        for deeper, (axis, around) in enumerate(pairwise(reversed(self.stage.k))):
            inner.add("    " * deeper + f"if {axis.name} == {axis.extent}:")
            inner.add("    " * deeper + f"    {axis.name} = 0")
            inner.add("    " * deeper + f"    {around.name} = {around.name} + 1")
        out.add(f"if {w}_tabled != {w}_block:")
        made = Lines()
        made.add(f"{w}_tabled = {w}_block")
        write_decode(made, f"{w}_block", self.stage.k)
        made.add(f"for {w}_at in range({w}_block, {w}_stop):")
        made.extend(inner, 1)
        out.extend(made, 1)

    def _look_up(self, out: Lines, wanted: Sequence[tuple[str, Extent]]) -> None:
        """The words that the terms of an access need, for the inner index ``at``."""
        for name, _ in wanted:
            label = name.removeprefix(f"{self}_")
            if label in self.tables:
                out.add(f"{name} = {name}_t[{self}_at - {self}_block]")

    # packing

    def panel_access(self) -> Access:
        """Return the access to b along j and outer loops; the loops of k add their own terms."""
        b, inside = self.stage.b, self.inner
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
        kept = tuple(move for move in b.strides if move[0] not in inside)
        return Access(b.operand, kept + self._along_k("b", steps), (), tuple(positions))

    def _write_pack(self, out: Lines) -> None:
        """The inner indices from ``depth`` to ``end`` of the panel, one behind the other."""
        w = self.name
        if self.is_transposed:
            self._write_transposed_pack(out)
            return
        access, before, body = self.panel_access(), Lines(), Lines()
        moves = [move for move in access.moves if move[0].startswith(f"{w}_")]
        scope = scope_for(
            self.kernel, [VECTOR, *(name for name, _ in moves)], before, body, self.unit, self.lanes
        )
        scope.mask = f"{w}_on"
        self._look_up(body, moves)
        value = load(access, self.b_stored).cast(self.dtype)
        scope.emit([value])
        place = total(f"({w}_at - {w}_depth) * {self.columns}", f"{w}_v - {w}_left")
        body.add(f"store({w}_panel, {place}, {scope.vector(value)}, {w}_on)")
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
        at = total(base_text(b), f"{w}_v", scaled(f"({w}_left + half)", step))
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
        size = f"{step}, {columns} - ({w}_left + half), {w}_run - {w}_v"
        place = total(self.slot, f"({w}_at + {w}_v - {w}_depth) * {self.columns}", "half")
        to = f"{w}_panel, {place}, {self.columns}"
        square.add(f"for half in range(0, {halves}, {lanes}):")
        square.add(f"    for {w}_v in range(0, {w}_run, {lanes}):")
        square.add(f"        transpose{lanes}({b.operand}, {at}, {size}, {to})")
        self._inner_runs(out, square)

    def write_rows(self, out: Lines) -> None:
        """The rows of a tile: where each begins, or (of windows with ends) packed."""
        w, a, lanes = self.name, self.stage.a, self.lanes
        if not self.packs_rows:
            for row in range(self.rows):
                self._decode_row(out, str(row))
                out.add(f"{w}_a{row} = {base_text(a, frozenset(self.inner))}")
            return
        transposed, lines = along_vectors(a), Lines()
        scope = scope_for(self.kernel, [VECTOR], lines, lines, self.unit, lanes)
        scope.mask = f"{w}_on"
        value = load(transposed, self.a_stored).cast(self.dtype)
        run, each = Lines(), Lines()
        run.add(f"for {w}_v in range(0, {w}_run, {lanes}):")
        lines.add(f"{VECTOR} = k + {w}_v")
        lines.add(f"{w}_on = mask{lanes}({w}_run - {w}_v)")
        scope.emit([value])
        place = f"{w}_row * {self.depth} + {w}_at + {w}_v - {w}_depth"
        lines.add(f"store({w}_rows, {place}, {scope.vector(value)}, {w}_on)")
        run.extend(lines, 1)
        self._decode_row(each, f"{w}_row")
        each.extend(run)
        rows = Lines()
        rows.add(f"for {w}_row in range(0, {self.packed_count}):")
        rows.extend(each, 1)
        self._inner_runs(out, rows)

    def _decode_row(self, out: Lines, row: str) -> None:
        """The loops of i at a row of the tile, or at the last one."""
        self.least(out, "here", total(f"{self}_top", row), f"{self}_m - 1")
        write_decode(out, f"{self}_here", self.stage.i)

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
        write_decode(run, f"{w}_at", self.stage.k)
        self.least(run, "run", f"{self.stage.k[-1].extent} - k", f"{w}_end - {w}_at")
        run.extend(body)
        run.add(f"{w}_at = {w}_at + {w}_run")
        out.add(f"{w}_at = {w}_depth")
        out.add(f"while {w}_at < {w}_end:")
        out.extend(run, 1)

    def least(self, out: Lines, name: str, value: str, most: str) -> None:
        out.add(f"{self}_{name} = {value}")
        out.add(f"if {self}_{name} > {most}:")
        out.add(f"    {self}_{name} = {most}")

    def over_tile(self, out: Lines, deeper: int, value: str) -> None:
        """Every vector of the chunk's results."""
        shift = "    " * deeper
        out.add(f"{shift}for at in range(0, {self.chunk * self.columns}, {self.lanes}):")
        out.add(f"{shift}    store{self.lanes}({self}_tile, at, {value})")

    # arithmetic

    @property
    def zero(self) -> str:
        return f"{self.element}x{self.lanes}({number(0.0 if self.dtype.is_float else 0)})"

    def write_chains(self, out: Lines) -> None:
        """The FMA chains of a tile of rows, from ``depth`` to ``end``."""
        w, lanes, a = self.name, self.lanes, self.stage.a
        cells = [(r, v) for r in range(self.rows) for v in range(self.columns // lanes)]
        places = {(r, v): total(f"{w}_at0", str(r * self.columns + v * lanes)) for r, v in cells}
        steps = () if self.packs_rows else self._along_k("a", steps_of(a, self.inner))
        self.write_rows(out)
        out.add(f"{w}_at0 = {w}_into + ({w}_top - {w}_first) * {self.columns}")
        out.add(f"if {w}_depth == {self.first_of_block}:")
        for r, v in cells:
            out.add(f"    {w}_c{r}_{v} = {self.zero}")
        out.add("else:")
        for cell in cells:
            out.add(f"    {w}_c{cell[0]}_{cell[1]} = load{lanes}({w}_tile, {places[cell]})")
        chain = Lines()
        self._look_up(chain, steps)
        self._write_panel_loads(chain, out)
        moved = total(*(scaled(name, step) for name, step in steps))
        for r in range(self.rows):
            one = f"load1({a.operand}, {total(f'{w}_a{r}', moved)})"
            if self.a_stored.is_storage:
                one = f"cast_{self.element}({one})"
            if self.packs_rows:
                one = f"load1({w}_rows, {total(f'{w}_at - {w}_depth', str(r * self.depth))})"
            chain.add(f"{w}_x{r} = splat{lanes}({one})")
            for v in range(self.columns // lanes):
                x, b, c = f"{w}_x{r}", f"{w}_b{v}", f"{w}_c{r}_{v}"
                chain.add(
                    f"{c} = {f'fma({x}, {b}, {c})' if self.dtype.is_float else f'{c} + {x} * {b}'}"
                )
        out.add(f"for {w}_at in range({w}_depth, {w}_end):")
        out.extend(chain, 1)
        for cell in cells:
            out.add(f"store{lanes}({w}_tile, {places[cell]}, {w}_c{cell[0]}_{cell[1]})")

    @property
    def reads_panel(self) -> bool:
        """True if b is read in place: among stages rows are few, and so are its readers."""
        return self.lies and not self.split  # masks of two registers cost more than a copy

    @property
    def lies(self) -> bool:
        """True if b may be read in place."""
        plain = len(self.stage.j) == 1 and not self.stage.b.bounded and not self.b_stored.is_storage
        return plain and self.kernel.outer != "tiles" and self.stage.b.stride(VECTOR) == 1

    def _write_panel_loads(self, chain: Lines, before: Lines) -> None:
        """The vectors of b for an inner index."""
        w, lanes, access = self.name, self.lanes, self.panel_access()
        if self.reads_panel:
            self._look_up(chain, [move for move in access.moves if move[0].startswith(f"{w}_")])
        for v in range(self.columns // lanes):
            place = total(self.slot, f"({w}_at - {w}_depth) * {self.columns}", str(v * lanes))
            text = f"load{lanes}({w}_panel, {place})"
            if self.reads_panel:
                before.add(f"{w}_on{v} = mask{lanes}({w}_past - {w}_left - {v * lanes})")
                place = total(base_text(access), f"{w}_left", str(v * lanes))
                text = f"load({access.operand}, {place}, {w}_on{v})"
            chain.add(f"{w}_b{v} = {text}")

    def _write_epilogue(self, out: Lines) -> None:
        """Each stored vector of the chunk through the stores' expressions."""
        w, body = self.name, Lines()
        inner = [axis.name for axis in (*self.stage.i, *self.stage.j)]
        scope = scope_for(self.kernel, inner, Lines(), body, self.unit, self.lanes)
        scope.mask, scope.vector_refs = f"{w}_on", frozenset({PRODUCT})
        scope.called[PRODUCT] = f"{w}_acc"
        place = f"({w}_row - {w}_first) * {self.columns} + {w}_v - {w}_left"
        body.add(f"{w}_acc = load({w}_tile, {place}, {w}_on)")
        for store in self.stage.stores:
            write_store(scope, store)

        out.extend(scope.before)
        vector, part, shift = Lines(), Lines(), 0
        if len(self.stage.j) > 1 or self.kernel.outer == "tiles":
            self._runs(out, lambda run: self._each_row(run, lambda row: self._vectors(row, body)))
            return
        if len(body.lines) <= FEW_LINES and (self.fills_vectors or self.split):
            whole = Lines()
            whole.add(f"{w}_on = mask{self.lanes}({self.lanes})")
            self._each_row(whole, lambda row: self._each_vector(row, body))
            if self.fills_vectors:
                out.extend(whole)
                return
            out.add(f"if {w}_past - {w}_left == {self.columns}:")
            out.extend(whole, 1)
            out.add("else:")
            shift += 1
        vector.add(f"{w}_on = mask{self.lanes}({w}_past - {w}_v)")
        self._each_row(vector, lambda row: row.extend(body))
        self._each_vector(part, vector)
        out.extend(part, shift)

    def _each_row(self, out: Lines, inside: Callable[[Lines], None]) -> None:
        """The rows of the chunk."""
        each = Lines()
        write_decode(each, f"{self}_row", self.stage.i)
        inside(each)
        out.add(f"for {self}_row in range({self.left_over}, {self}_last):")
        out.extend(each, 1)

    def _each_vector(self, out: Lines, inside: Lines) -> None:
        """The vectors of the panel, if its columns are one run."""
        out.add(f"for {self}_v in range({self}_left, {self}_past, {self.lanes}):")
        out.add(f"    {VECTOR} = {self}_v")
        out.extend(inside, 1)


def steps_of(access: Access, inside: set[str]) -> dict[str, Extent]:
    """The strides of an access along some loops."""
    return {axis: stride for axis, stride in access.moves if axis in inside}


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

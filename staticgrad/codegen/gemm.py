"""The Gemm stage to source: a register tile with an unrolled body and a looped epilogue.

One outer iteration is a chunk of rows times a panel of two vectors of columns. Each element is one
FMA chain in ascending k per block (``GEMM_BLOCK``), block results added in order, whatever the
tile: rows past the end are computed on the last row and not stored.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.abreast import write_decode
from staticgrad.codegen.expressions import (
    VECTOR,
    Lines,
    Unit,
    element,
    number,
    scaled,
    total,
)
from staticgrad.codegen.stages import base_text, scope_for, write_store
from staticgrad.ir.kernel import GEMM_BLOCK, Kernel
from staticgrad.ir.kernel_stages import GEMM_ROWS, TILE_ROWS, Gemm, gemm_tile
from staticgrad.records import dataclass

#: Inner indices whose part of the panel is packed at a time: 16 KiB, which stay in the first cache.
DEPTH: Final = 128
_MATRIX = frozenset({"i", "j", "k"})


def write_gemm(kernel: Kernel, stage: Gemm, out: Lines, unit: Unit) -> None:
    """The body for one outer iteration ``o``."""
    stored = kernel.operand(stage.a.operand).dtype
    dtype = stored.compute
    *_, columns = gemm_tile(stage, dtype)
    depth, whole = DEPTH * 32 // dtype.bits, GEMM_ROWS * columns
    names = element(dtype), element(stored)
    tile = _Tile(stage, columns, columns // 2, depth, *names, dtype.is_float)
    _write_tile_position(kernel, stage, out, columns, tile.lanes)
    out.add(f"tile = local_{tile.element}({2 * whole})")
    out.add(f"panel = local_{tile.element}({depth * columns})")
    if tile.turns_rows or tile.widens_rows:
        out.add(f"turned = local_{tile.element}({depth * TILE_ROWS})")
    if tile.widens_blocks:
        out.add(f"square = local_{tile.stored}({tile.lanes * tile.lanes})")
    out.add(f"for block in range(0, {stage.k[0].extent}, {GEMM_BLOCK}):")
    block = Lines(out.indent + 1)
    block.add(f"stop = block + {GEMM_BLOCK}")
    block.add(f"if stop > {stage.k[0].extent}:")
    block.add(f"    stop = {stage.k[0].extent}")
    block.add("into = 0")
    block.add("if block > 0:")
    block.add(f"    into = {whole}")
    block.add(f"for depth in range(block, stop, {depth}):")
    deep = Lines(block.indent + 1)
    deep.add(f"past = depth + {depth}")
    deep.add("if past > stop:")
    deep.add("    past = stop")
    tile.write_pack(deep)
    deep.add(f"for i0_tile in range(first_row, last_row, {TILE_ROWS}):")
    inner = Lines(deep.indent + 1)
    tile.write_chains(inner)
    block.lines += [*deep.lines, *inner.lines]
    block.add("if block > 0:")
    block.add(f"    for at in range(0, {whole}, {tile.lanes}):")
    both = f"load{tile.lanes}(tile, at) + load{tile.lanes}(tile, at + {whole})"
    block.add(f"        store{tile.lanes}(tile, at, {both})")
    out.lines += block.lines
    out.add(f"if {stage.k[0].extent} == 0:")
    out.add(f"    for at in range(0, {whole}, {tile.lanes}):")
    out.add(f"        store{tile.lanes}(tile, at, {tile.zero})")
    _write_epilogue(out, kernel, stage, unit, columns, tile.lanes)


@dataclass(frozen=True)
class _Tile:
    """A chunk of rows times a panel of two vectors of columns."""

    stage: Gemm
    columns: int
    lanes: int
    depth: int
    element: str
    stored: str  # the element of the factors, which is widened where they are packed
    floating: bool

    @property
    def zero(self) -> str:
        return f"{self.element}x{self.lanes}({number(0.0 if self.floating else 0)})"

    def widened(self, text: str) -> str:
        """Elements of a factor as those of the tile."""
        return text if self.stored == self.element else f"cast_{self.element}({text})"

    @property
    def _turns_panel(self) -> bool:
        """Whether b lies the other way round."""
        return self.stage.b.stride("k") == 1 and self.stage.b.stride("j") != 1

    @property
    def widens_blocks(self) -> bool:
        """Whether square blocks of b are transposed as they are stored, and widened then."""
        return self._turns_panel and self.stored != self.element

    def write_pack(self, out: Lines) -> None:
        """Rows ``depth`` to ``past`` of the panel of b, one behind the other."""
        b, lanes = self.stage.b, self.lanes
        (down, across), base = (b.stride("k"), b.stride("j")), base_text(b, _MATRIX)
        if self._turns_panel:
            self._write_turned_pack(out, base)
            return
        out.add("for k in range(depth, past):")
        for half in (0, lanes):
            place = total(f"(k - depth) * {self.columns}", str(half))
            at = total(base, scaled("k", down), scaled(f"({total('j0', str(half))})", across))
            verb, extra = ("load", "") if across == 1 else ("load_strided", f"{across}, ")
            value = f"{verb}({b.operand}, {at}, {extra}m{half // lanes})"
            out.add(f"    store{lanes}(panel, {place}, {self.widened(value)})")

    def _write_turned_pack(self, out: Lines, base: str) -> None:
        """The same where b lies the other way round: square blocks, transposed in registers."""
        b, lanes = self.stage.b, self.lanes
        out.add(f"for half in range(0, {self.columns}, {lanes}):")
        out.add(f"    for k in range(depth, past, {lanes}):")
        at = total(base, "k", scaled("(j0 + half)", b.stride("j")))
        size = f"{b.stride('j')}, {self.stage.j[0].extent} - (j0 + half), past - k"
        to = f"panel, {total(f'(k - depth) * {self.columns}', 'half')}, {self.columns}"
        if not self.widens_blocks:
            out.add(f"        transpose{lanes}({b.operand}, {at}, {size}, {to})")
            return
        out.add(f"        transpose{lanes}({b.operand}, {at}, {size}, square, 0, {lanes})")
        out.add(f"        for row in range(0, {lanes}):")
        place = total(f"(k - depth + row) * {self.columns}", "half")
        row = self.widened(f"load{lanes}(square, row * {lanes})")
        out.add(f"            store{lanes}(panel, {place}, {row})")

    @property
    def turns_rows(self) -> bool:
        """Whether the rows of a lie across memory: then a tile of them is packed as well."""
        return self.stage.a.stride("i") == 1 and self.stage.a.stride("k") != 1

    def _write_rows(self, out: Lines) -> None:
        """Where the eight rows are: ``a0`` and on, or packed behind one another by their depth."""
        stage, base = self.stage, base_text(self.stage.a, _MATRIX)
        if self.turns_rows:
            out.add(f"rows = mask{TILE_ROWS}({stage.i[0].extent} - i0_tile)")
            out.add("for k in range(depth, past):")
            at = total(base, scaled("k", stage.a.stride("k")), "i0_tile")
            value = self.widened(f"load({stage.a.operand}, {at}, rows)")
            out.add(f"    store{TILE_ROWS}(turned, (k - depth) * {TILE_ROWS}, {value})")
            return
        for r in range(TILE_ROWS):
            out.add(f"row{r} = {total('i0_tile', str(r))}")
            out.add(f"if row{r} >= {stage.i[0].extent}:")
            out.add(f"    row{r} = {stage.i[0].extent} - 1")
            out.add(f"a{r} = {total(scaled(f'row{r}', stage.a.stride('i')), base)}")
        if self.widens_rows:
            self._widen_rows(out)

    @property
    def widens_rows(self) -> bool:
        """Whether a tile's rows, which lie along memory, are packed because they are widened."""
        along = not self.turns_rows and self.stage.a.stride("k") == 1
        return along and self.stored != self.element

    def _widen_rows(self, out: Lines) -> None:
        """The eight rows behind one another, each as long as the panel is deep."""
        lanes = self.lanes
        out.add(f"for k in range(depth, past, {lanes}):")
        out.add(f"    inside = mask{lanes}(past - k)")
        for r in range(TILE_ROWS):
            value = self.widened(f"load({self.stage.a.operand}, {total(f'a{r}', 'k')}, inside)")
            place = total("(k - depth)", str(r * self.depth))
            out.add(f"    store{lanes}(turned, {place}, {value})")

    def write_chains(self, out: Lines) -> None:
        """Eight rows of FMA chains, from ``depth`` to ``past``."""
        stage, lanes = self.stage, self.lanes
        cells = [(r, c) for r in range(TILE_ROWS) for c in range(2)]
        self._write_rows(out)
        out.add(f"first = into + (i0_tile - first_row) * {self.columns}")
        out.add("if depth == block:")
        for r, c in cells:
            out.add(f"    c{r}{c} = {self.zero}")
        out.add("else:")
        for r, c in cells:
            place = total("first", str(r * self.columns + c * lanes))
            out.add(f"    c{r}{c} = load{lanes}(tile, {place})")
        out.add("for k in range(depth, past):")
        for half in range(2):
            place = total(f"(k - depth) * {self.columns}", str(half * lanes))
            out.add(f"    b{half} = load{lanes}(panel, {place})")
        for r in range(TILE_ROWS):
            at = total(f"a{r}", scaled("k", stage.a.stride("k")))
            one = self.widened(f"load1({stage.a.operand}, {at})")
            if self.turns_rows:
                one = f"load1(turned, {total(f'(k - depth) * {TILE_ROWS}', str(r))})"
            elif self.widens_rows:
                one = f"load1(turned, {total('(k - depth)', str(r * self.depth))})"
            out.add(f"    x{r} = splat{lanes}({one})")
            for c in range(2):
                cell = f"c{r}{c}"
                fused = f"fma(x{r}, b{c}, {cell})"
                out.add(f"    {cell} = {fused if self.floating else f'{cell} + x{r} * b{c}'}")
        for r, c in cells:
            place = total("first", str(r * self.columns + c * lanes))
            out.add(f"store{lanes}(tile, {place}, c{r}{c})")


def _write_tile_position(kernel: Kernel, stage: Gemm, out: Lines, columns: int, lanes: int) -> None:
    out.add(f"panels = ({stage.j[0].extent} + {columns - 1}) // {columns}")
    out.add(f"chunks = ({stage.i[0].extent} + {GEMM_ROWS - 1}) // {GEMM_ROWS}")
    out.add(f"j0 = o % panels * {columns}")
    out.add("rest = o // panels")
    out.add(f"first_row = rest % chunks * {GEMM_ROWS}")
    out.add("rest = rest // chunks")
    write_decode(out, "rest", kernel.axes)
    out.add(f"last_row = first_row + {GEMM_ROWS}")
    out.add(f"if last_row > {stage.i[0].extent}:")
    out.add(f"    last_row = {stage.i[0].extent}")
    out.add(f"m0 = mask{lanes}({stage.j[0].extent} - j0)")
    out.add(f"m1 = mask{lanes}({stage.j[0].extent} - j0 - {lanes})")


def _write_epilogue(
    out: Lines, kernel: Kernel, stage: Gemm, unit: Unit, columns: int, lanes: int
) -> None:
    """Each stored vector of the tile through the stores' expressions."""
    body = Lines()
    scope = scope_for(kernel, ["i", VECTOR], Lines(), body, unit, lanes)
    scope.vector_refs = frozenset({"acc"})
    for store in stage.stores:
        write_store(scope, store)
    out.extend(scope.before)
    out.add("for i in range(first_row, last_row):")
    out.add(f"    for half in range(0, {columns}, {lanes}):")
    inner = Lines(out.indent + 2)
    inner.add(f"{VECTOR} = j0 + half")
    inner.add(f"m = mask{lanes}({stage.j[0].extent} - {VECTOR})")
    inner.add(f"acc = load{lanes}(tile, (i - first_row) * {columns} + half)")
    inner.extend(body)
    out.lines += inner.lines

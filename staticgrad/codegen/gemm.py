"""The Gemm stage to source: a register tile with an unrolled body and a looped epilogue.

One outer iteration is a chunk of rows times a panel of two vectors of columns. Each element is one
FMA chain in ascending k per block (``GEMM_BLOCK``), block results added in order, whatever the
tile: rows past the end are computed on the last row and not stored.
"""

from __future__ import annotations

from staticgrad.codegen.expressions import (
    VECTOR,
    Helpers,
    Lines,
    element,
    number,
    scaled,
    total,
)
from staticgrad.codegen.stages import base_text, scope_for, write_decode, write_store
from staticgrad.ir.kernel import GEMM_BLOCK, GEMM_COLUMNS, GEMM_ROWS, Gemm, Kernel

#: Rows of the register tile: 8 rows of 2 vectors fill 16 of 32 vector registers.
TILE_ROWS = 8
_MATRIX = frozenset({"i", "j", "k"})


def write_gemm(kernel: Kernel, stage: Gemm, out: Lines, helpers: Helpers) -> None:
    """The body for one outer iteration ``o``."""
    dtype = kernel.operand(stage.a.operand).dtype
    columns = GEMM_COLUMNS.get(dtype.bits, 32)
    lanes = columns // 2
    vector = f"{element(dtype)}x{lanes}"
    _write_tile_position(kernel, stage, out, columns, lanes)
    out.add(f"tile = local_{element(dtype)}({TILE_ROWS * columns})")
    if stage.pack is not None:
        _write_pack(stage, out, columns, lanes)
    out.add(f"for i0_tile in range(first_row, last_row, {TILE_ROWS}):")
    inner = Lines(out.indent + 1)
    for r in range(TILE_ROWS):
        inner.add(f"row{r} = {total('i0_tile', str(r))}")
        inner.add(f"if row{r} >= {stage.i.extent}:")
        inner.add(f"    row{r} = {stage.i.extent} - 1")
        row = scaled(f"row{r}", stage.a.stride("i"))
        inner.add(f"a{r} = {total(row, base_text(stage.a, _MATRIX))}")
    _write_chains(inner, stage, vector, lanes, columns, dtype.is_float)
    _write_epilogue(inner, kernel, stage, helpers, columns, lanes)
    out.lines += inner.lines


def _write_tile_position(kernel: Kernel, stage: Gemm, out: Lines, columns: int, lanes: int) -> None:
    out.add(f"panels = ({stage.j.extent} + {columns - 1}) // {columns}")
    out.add(f"chunks = ({stage.i.extent} + {GEMM_ROWS - 1}) // {GEMM_ROWS}")
    out.add(f"j0 = o % panels * {columns}")
    out.add("rest = o // panels")
    out.add(f"first_row = rest % chunks * {GEMM_ROWS}")
    out.add("rest = rest // chunks")
    write_decode(out, "rest", kernel.axes)
    out.add(f"last_row = first_row + {GEMM_ROWS}")
    out.add(f"if last_row > {stage.i.extent}:")
    out.add(f"    last_row = {stage.i.extent}")
    out.add(f"m0 = mask{lanes}({stage.j.extent} - j0)")
    out.add(f"m1 = mask{lanes}({stage.j.extent} - j0 - {lanes})")


def _write_pack(stage: Gemm, out: Lines, columns: int, lanes: int) -> None:
    """Copy the panel of b to [k, columns], so that its rows are contiguous."""
    step = stage.b.stride("j")
    base = base_text(stage.b, _MATRIX)
    out.add(f"for k in range(0, {stage.k.extent}):")
    for half in range(2):
        column = scaled(f"({total('j0', str(half * lanes))})", step)
        at = total(base, scaled("k", stage.b.stride("k")), column)
        value = f"load_strided({stage.b.operand}, {at}, {step}, m{half})"
        place = total(f"k * {columns}", str(half * lanes))
        out.add(f"    store{lanes}({stage.pack}, {place}, {value})")


def _write_chains(
    out: Lines, stage: Gemm, vector: str, lanes: int, columns: int, floating: bool
) -> None:
    """The sums over k, into ``tile``."""
    cells = [(r, c) for r in range(TILE_ROWS) for c in range(2)]
    zero = number(0.0 if floating else 0)
    for r, c in cells:
        out.add(f"s{r}{c} = {vector}({zero})")
    out.add(f"for block in range(0, {stage.k.extent}, {GEMM_BLOCK}):")
    block = Lines(out.indent + 1)
    block.add(f"stop = block + {GEMM_BLOCK}")
    block.add(f"if stop > {stage.k.extent}:")
    block.add(f"    stop = {stage.k.extent}")
    for r, c in cells:
        block.add(f"c{r}{c} = {vector}({zero})")
    block.add("for k in range(block, stop):")
    step = Lines(block.indent + 1)
    for half in range(2):
        step.add(f"b{half} = {_panel_load(stage, half, lanes, columns)}")
    for r in range(TILE_ROWS):
        at = total(f"a{r}", scaled("k", stage.a.stride("k")))
        step.add(f"x{r} = splat{lanes}(load1({stage.a.operand}, {at}))")
        for c in range(2):
            cell = f"c{r}{c}"
            step.add(
                f"{cell} = fma(x{r}, b{c}, {cell})"
                if floating
                else f"{cell} = {cell} + x{r} * b{c}"
            )
    block.lines += step.lines
    block.add("if block == 0:")
    for r, c in cells:
        block.add(f"    s{r}{c} = c{r}{c}")
    block.add("else:")
    for r, c in cells:
        block.add(f"    s{r}{c} = s{r}{c} + c{r}{c}")
    out.lines += block.lines
    for r, c in cells:
        out.add(f"store{lanes}(tile, {r * columns + c * lanes}, s{r}{c})")


def _panel_load(stage: Gemm, half: int, lanes: int, columns: int) -> str:
    if stage.pack is not None:
        return f"load{lanes}({stage.pack}, {total(f'k * {columns}', str(half * lanes))})"
    row = total(base_text(stage.b, _MATRIX), scaled("k", stage.b.stride("k")))
    return f"load({stage.b.operand}, {total(row, 'j0', str(half * lanes))}, m{half})"


def _write_epilogue(
    out: Lines, kernel: Kernel, stage: Gemm, helpers: Helpers, columns: int, lanes: int
) -> None:
    """Each stored vector of the tile through the stores' expressions."""
    body = Lines()
    scope = scope_for(kernel, ["i", VECTOR], Lines(), body, helpers, lanes)
    scope.vector_refs = frozenset({"acc"})
    for store in stage.stores:
        write_store(scope, store)
    out.extend(scope.before)
    out.add(f"tile_stop = i0_tile + {TILE_ROWS}")
    out.add("if tile_stop > last_row:")
    out.add("    tile_stop = last_row")
    out.add("for i in range(i0_tile, tile_stop):")
    out.add(f"    for half in range(0, {columns}, {lanes}):")
    inner = Lines(out.indent + 2)
    inner.add(f"{VECTOR} = j0 + half")
    inner.add(f"m = mask{lanes}({stage.j.extent} - {VECTOR})")
    inner.add(f"acc = load{lanes}(tile, (i - i0_tile) * {columns} + half)")
    inner.extend(body)
    out.lines += inner.lines

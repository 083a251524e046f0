"""What products of matrices do with the results of a tile: the stores' expressions, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import VECTOR, Lines, total
from staticgrad.codegen.prefetching import touched_by_next_tile
from staticgrad.codegen.vectors import SHORT, work

if TYPE_CHECKING:
    from staticgrad.codegen.gemm import PlainProduct


def write_epilogue(product: PlainProduct, out: Lines) -> None:
    """Each stored vector of the tile's rows through the stores' expressions."""
    body, lanes = Lines(), product.lanes
    scope = product.write_stores(body)
    rest = Lines()
    rest.add(f"for half in range(0, {product.columns} if wide > {lanes} else {lanes}, {lanes}):")
    rest.add(f"    {VECTOR} = j0 + half")
    rest.add(f"    m = mask{lanes}(wide - half)")
    one, long = Lines(), work(body, product.unit) > SHORT
    one.add(f"acc = load{lanes}(tile, from_)")
    if long:  # a line of a row, then one of the next row: hardware finds no stream in that
        one.lines += touched_by_next_tile(product.stage.stores, scope, product.columns)
    one.extend(body)
    _write_each_row(product, rest, one, "to - into + half", 1)
    if long:
        out.extend(rest)
        return
    whole, masked = Lines(), product.tiles.wide and not product.fills_panels
    for half in range(0, product.columns, lanes):
        if masked:
            out.add(f"on{half} = mask{lanes}({f'wide - {half}' if half else 'wide'})")
            whole.add(f"m = on{half}")
        whole.add(f"{VECTOR} = {total('j0', str(half))}")
        whole.add(f"acc = load{lanes}(tile, {total('from_', str(half))})")
        whole.lines += touched_by_next_tile(product.stage.stores, scope, product.columns)
        whole.extend(body)
    if masked:
        _write_each_row(product, out, whole, "to - into", 0)
        return
    if product.fills_panels:
        out.add(f"m = mask{lanes}({lanes})")
        _write_each_row(product, out, whole, "to - into", 0)
        return
    out.add(f"if wide >= {product.columns}:")
    out.add(f"    m = mask{lanes}({lanes})")
    _write_each_row(product, out, whole, "to - into", 1)
    out.add("else:")
    out.extend(rest, 1)


def _write_each_row(
    product: PlainProduct, out: Lines, body: Lines, start: str, deeper: int
) -> None:
    """The body for every row of the tile, whose results begin at ``from_``."""
    rows = Lines()
    rows.add(f"from_ = {start}")
    if any("prefetch" in line for line in body.lines):
        rows.add("on = rows")
        rows.add("over = 0")
        rows.add("if under == count:")
        rows.add("    on = -top")
        rows.add("    over = 1")
    rows.add("for i in range(first_row + top, first_row + under):")
    rows.extend(body, 1)
    rows.add(f"    from_ = from_ + {product.columns}")
    out.extend(rows, deeper)

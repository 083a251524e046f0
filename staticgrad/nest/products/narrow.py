"""Products of few columns whose first factor lies across memory: rows are the lanes of vectors.

Few columns fill a part of a vector. If the rows of a are adjacent in memory, vectors of rows are
used instead: the tiles of C' = B'A' (``tiles``) have the columns for rows, and vectors of a
are read in place. Each element is the same chain of multiplications. The result of a tile is
transposed in local memory before it goes through the epilogue, row by row. While vectors are
multiplied, the next ones of the same inner indices are prefetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.lines import Lines, scaled, total, write_iterations
from staticgrad.ir.kernels.stages import LONE
from staticgrad.nest.products.direct import FLAT

if TYPE_CHECKING:
    from staticgrad.nest.products.plain import PlainProduct
    from staticgrad.nest.products.text_product import TextProduct


def has_rows_for_lanes(product: PlainProduct) -> bool:
    """Return whether rows lie across memory, columns are known to be few, rows and terms many.

    With few terms, transposing the results takes as long as the multiplications.
    """
    few = 0 < product.most_columns <= product.lanes and not 0 < product.most_terms <= FLAT
    many = product.tall and not 0 < product.most_rows <= product.lanes
    many |= product.transposed and product.most_rows > LONE  # columns need not be transposed then
    plain = not product.is_narrow and not any(store.combine for store in product.stage.stores)
    return product.rows == "across" and few and many and product.one_block and plain


def write_rows_for_lanes(product: TextProduct, out: Lines) -> None:
    """The body for one outer iteration ``o``: a chunk of rows, some vectors of them at a time."""
    p, once, columns = product, product.unit.once, _width(product)
    local, body, part, tops = f"local_{p.element}", Lines(), Lines(), Lines()
    p.write_cut(once)
    once.add(f"tile = {local}({columns * p.columns})")
    once.add(f"sums = {local}({(p.most_columns + p.height) * columns})")
    once.add(f"panel = {local}({(p.depth + p.lanes) * columns})")
    p.write_position(out)
    if p.one_part:
        part.add(f"past = {p.k}")
        part.add("fresh = 1")
    else:
        p.least(part, "past", f"depth + {p.depth}", str(p.k))
        part.add("fresh = 1 if depth == 0 else 0")
    _write_vectors(p, part)
    vectors = max(p.tiles.heights)
    p.least(tops, "last", f"{p.n} - top - 1", str(p.height - 1))
    for start in range(0, columns, vectors * p.lanes):
        name = p.tiles.function(p.unit.helpers, vectors)
        tops.add(f"{name}({_arguments(p, start)})")
    part.add(f"for top in range(0, {p.n}, {p.height}):")
    part.extend(tops, 1)
    write_iterations(body, "depth", ("0", str(p.k), p.depth), part, p.one_part)
    turn = p.panels.panel(p.unit.helpers, p.columns, "transposed")
    body.add(f"{turn}(sums, tile, 0, 1, {columns}, {columns}, {p.n}, 0)")
    body.add("top = start - first_row")
    body.add(f"rows = {columns}")
    p.least(body, "under", f"top + {columns}", "count")
    p.write_epilogue(body, "0", str(p.columns))
    out.extend(p.before)
    out.add("j0 = 0")
    out.add(f"right_end = {p.n}")
    out.add(f"for start in range(first_row, last_row, {columns}):")
    out.extend(body, 1)


def _width(p: TextProduct) -> int:
    """Rows side by side: those of a vector, if there are never more."""
    return p.lanes if 0 < p.most_rows <= p.lanes else p.columns


def _write_vectors(p: TextProduct, out: Lines) -> None:
    """Write the address of row vectors from ``depth`` on; pack them if they exceed the rows."""
    a, columns = p.stage.a.operand, _width(p)
    place = total(p.a, "start", scaled("depth", p.inner))
    out.add(f"b_at = address({a})")
    out.add(f"down = {place}")
    out.add(f"step = {p.inner}")
    out.add(f"if start + {columns} > {p.m}:")
    pack = p.packing.panel(p.unit.helpers, columns, "along")
    passed = f"{place}, {p.inner}, 1, past - depth, {p.m} - start, 0"
    out.add(f"    {pack}({a}, panel, {passed})")
    out.add("    b_at = address(panel)")
    out.add("    down = 0")
    out.add(f"    step = {columns}")


def _arguments(p: TextProduct, start: int) -> str:
    """Return the arguments of a tile, for vectors from ``start`` on."""
    places, columns = (scaled("top", p.across), scaled("depth", p.down)), _width(p)
    named = {
        "a": p.stage.b.operand,
        "b": f"ptr_{p.element}(b_at)",
        "c": "sums",
        "near": p.stage.a.operand,
        "at": total(p.b, *places),
        "row": str(p.across),
        "inner": str(p.down),
        "last": "last",
        "wide": str(columns),
        "down": total("down", str(start)),
        "to": total(f"top * {columns}", str(start)),
        "width": str(columns),
        "depth": "past - depth",
        "ahead": total("down", str(columns + p.lanes - 1)),
        "hop": "step",
        "leap": scaled("step", p.lanes),
    }
    return ", ".join(named.get(name, name) for name in p.tiles.arguments)

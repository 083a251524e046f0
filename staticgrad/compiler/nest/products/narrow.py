"""Products of few columns with a column-major first factor: rows are the lanes of vectors.

Few columns fill a part of a vector. If the rows of a are adjacent in memory, vectors of rows are
used instead: the tiles of C' = B'A' (``tiles``) have the columns for rows, and vectors of a
are read in place. Each element is the same chain of multiplications. The result of a tile is
transposed in local memory before it goes through the epilogue, row by row. While vectors are
multiplied, the next ones of the same inner indices are prefetched.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from staticgrad.compiler.nest.products.gemm import MatrixProduct
from staticgrad.compiler.nest.products.plain import MATRIX, PlainProduct
from staticgrad.compiler.nest.records import Name, Word

#: Multiplications of vectors that take as long as packing one, and as transposing an element.
_PACKING: Final = 2
_TRANSPOSING: Final = 0.75


def has_rows_for_lanes(product: PlainProduct) -> bool:
    """Return True if a narrow product takes fewer vectors with rows in lanes than with columns.

    The results are transposed then, otherwise the columns if they lie across memory.
    """
    stage = product.stage
    plain = not product.is_narrow and not any(store.combine for store in stage.stores)
    plain = plain and stage.factors is None  # the tiles' factors are exchanged
    few = 0 < product.most_columns <= product.lanes
    if not (product.rows == "across" and product.tall and few and product.one_block and plain):
        return False
    lanes, width = product.lanes, _rows_together(product)
    rows = product.most_rows or width
    blocks, vectors, square = -(-rows // width), width // lanes, _TRANSPOSING * lanes**2
    least = _heights(product, vectors)[-1]
    columns = -(-product.most_columns // least) * least
    packing = vectors * _PACKING * (rows % width != 0)
    saved = rows + product.transposed * square / lanes - blocks * vectors * columns - packing
    results = blocks * vectors * (product.columns // lanes) * square
    return saved > 0 and saved * (product.most_terms or inf) > results


def _rows_together(product: PlainProduct) -> int:
    """Return the rows that are multiplied together: one vector of them, or as many as a panel."""
    return product.lanes if 0 < product.most_rows <= product.lanes else product.columns


def _heights(product: PlainProduct, vectors: int) -> tuple[int, ...]:
    """Return the columns of tiles of so many vectors of rows."""
    heights = product.tiles.heights
    return heights[min(vectors, max(heights))]


def write_rows_for_lanes(p: MatrixProduct) -> None:
    """Write a narrow product with rows in vector lanes: a chunk of rows in an iteration."""
    b, n = p.b, p.columns_of_c
    columns = _rows_together(p)
    p.declare(columns * p.columns, (p.depth + p.lanes) * columns)
    sums = b.define("sums", p.local, (p.most_columns + p.height) * columns)
    height = _heights(p, columns // p.lanes)[0]
    turn = p.panels.panel(p.nest.functions, p.columns, "transposed")
    with p.loop(p.first_row, p.last_row, columns, "start") as start:
        with p.iterations(0, p.terms, p.depth, p.one_part, "depth") as depth:
            past = b.least(depth + p.depth, p.terms)
            vectors = _vectors(p, start, (depth, past), columns)
            fresh = p.choose("eq", depth, 0, 1, 0)
            with p.loop(0, n, height, "top") as top:
                last = b.least(n - top - 1, height - 1)
                arguments = {
                    "c": sums,
                    "fresh": fresh,
                    "depth": past - depth,
                    "last": last,
                    **vectors,
                }
                _write_tile(p, top, depth, columns, arguments)
        b.do(turn, sums, p.tile, 0, 1, columns, columns, n, 0, stores="tile")
        past = b.least(start + columns, p.last_row)
        p.epilogue((start, past), (0, n), 0, p.columns)


def _vectors(
    p: MatrixProduct, start: Name, span: tuple[Word, Word], columns: int
) -> dict[str, Any]:
    """Return the address of vectors of rows, packed with padding if they exceed the rows."""
    b, a, (depth, past) = p.b, p.pointer(p.stage.a), span
    place = p.base_of(p.stage.a, MATRIX) + start + depth * p.a_inner
    variables = [
        b.variable("b", "address", a),
        b.variable("down", "copy", place),
        b.variable("step", "copy", p.a_inner),
    ]
    with b.branch("gt", start + columns, p.rows_of_c):
        pack = p.packing.panel(p.nest.functions, columns, "along")
        size = past - depth, p.rows_of_c - start, 0
        b.do(pack, a, p.panel, place, p.a_inner, 1, *size, stores="panel")
        b.assign(variables[0], "address", p.panel)
        b.assign(variables[1], "copy", 0)
        b.assign(variables[2], "copy", columns)
    address, down, step = (b.op("copy", variable) for variable in variables)
    return {"b": b.op(f"ptr_{p.element}", address), "down": down, "step": step}


def _write_tile(
    p: MatrixProduct, top: Name, depth: Word, columns: int, common: dict[str, Any]
) -> None:
    """Write the tile of some columns of a narrow product for all vectors of rows."""
    vectors, down = max(p.tiles.heights), common["down"]
    common |= {
        "a": p.pointer(p.stage.b),
        "near": p.pointer(p.stage.a),
        "at": p.base_of(p.stage.b, MATRIX) + top * p.b_across + depth * p.b_down,
        "row": p.b_across,
        "inner": p.b_down,
        "wide": columns,
        "width": columns,
        "ahead": down + (columns + p.lanes - 1),
        "hop": common["step"],
        "leap": common["step"] * p.lanes,
    }
    name = p.tiles.function(p.nest.functions, vectors)
    for start in range(0, columns, vectors * p.lanes):
        arguments = common | {"down": down + start, "to": top * columns + start}
        p.b.do(name, *(arguments[name] for name in p.tiles.arguments), stores="sums")

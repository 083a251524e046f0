"""The rows of a call tile by tile: where each finds its rows, and where its results are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import Lines, scaled, total
from staticgrad.codegen.prefetching import FEW_WAYS, has_small_sets
from staticgrad.codegen.products.epilogue import write_last_part, write_straight
from staticgrad.codegen.products.packed_rows import packed_tile
from staticgrad.codegen.products.packing import WAY, may_collide
from staticgrad.codegen.products.panel_places import write_next_lines, write_next_rows

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct


def write_tiles(product: PlainProduct, out: Lines) -> None:
    """The rows of the chunk, tile by tile, each with its epilogue behind the last part of k."""
    rows, tile = Lines(), Lines()
    product.tiles.write_rows(rows, product.most_rows, packed=product.rows == "across")
    rows.lines += [f"if rows > {product.height}:", f"    rows = {product.height}"]
    product.least(rows, "under", "top + rows", "count")
    _write_row_place(product, rows)
    _write_place(product, tile)
    if product.straight is not None:
        write_straight(product, tile, product.straight)
    vectors = max(product.tiles.heights)
    for part in range(0, product.columns, vectors * product.lanes):
        shift = ""
        if part:
            tile.add(f"if wide > {part}:")
            shift = "    "
        name = product.tiles.function(product.unit, vectors)
        tile.add(f"{shift}{name}({_arguments(product, part)})")
    if not product.one_block:
        tile.add("if past == stop and block > 0:")
        tile.add(
            f"    for cell in range(to, to + (under - top) * {product.columns}, {product.lanes}):"
        )
        both = f"load{product.lanes}(tile, cell - into) + load{product.lanes}(tile, cell)"
        tile.add(f"        store{product.lanes}(tile, cell - into, {both})")
    write_last_part(product, tile)
    if product.panels_abreast > 1:
        write_next_rows(product, rows)
        write_next_lines(product, tile)
    product.write_each_panel(rows, tile)
    if product.panels_abreast == 1:
        write_next_lines(product, rows)
    rows.add("top = top + rows")
    out.add("top = 0")
    out.add("while top < count:")
    out.extend(rows, 1)


def _write_place(product: PlainProduct, out: Lines) -> None:
    """Where the results of a tile are: until the last part of k all tiles' are kept."""
    out.add(f"wide = {product.n} - j0")
    if not product.keeps:
        out.add("to = 0")
        return
    out.add(f"to = into + top * {product.columns}")
    if not product.one_run:
        out.add(f"if {product.k} > {product.long}:")
        out.add("    to = to + (j0 - left) * chunk")
    elif product.panels_abreast > 1:
        out.add("to = to + (j0 - first_column) * chunk")


def _write_row_place(product: PlainProduct, out: Lines) -> None:
    """Where the tile's rows are: ``a_at``, ``at`` and their strides."""
    start = total(
        product.a, scaled("(first_row + top)", product.row), scaled("depth", product.inner)
    )
    if product.rows == "across":
        out.add("if top < lying:")
        out.add(f"    a_at = address({product.stage.a.operand})")
        out.add(f"    at = {start}")
        out.add(f"    inner = {product.inner}")
        out.add("else:")
        out.add("    a_at = address(packed)")
        pitch, height = product.packing.pitch(product.height), product.height
        tile = f"top // {height} * {packed_tile(product, height)}"
        out.add(f"    at = {tile} + (depth - run) * {pitch}")
        out.add(f"    inner = {pitch}")
    elif product.a_stored.is_storage:
        out.add(f"at = top * {product.long} + depth - run")
    else:
        out.add(f"at = {start}")
    if product.packs_tiles:
        _write_packed_tile(product, out)


def packs_tiles(product: PlainProduct) -> bool:
    """Whether rows of a tile may displace each other in the nearest cache.

    With 12 lines in a set, packing the 14 rows of a tile takes longer than it saves (measured).
    """
    apart = may_collide(product.unit, product.row, product.dtype.itemsize)
    return has_small_sets(product.unit) and apart and product.panels_abreast > 1


def _pitch(product: PlainProduct) -> int:
    """Elements from a row of a packed tile to the next, which lie in other lines of a cache."""
    return product.depth + product.lanes


def declare_packed_tile(product: PlainProduct, out: Lines) -> None:
    """Room for the rows of a tile, and whether they need it: ``collide``.

    Fewer rows than a set has lines displace each other, too, where pages lie between them; packing
    those of neighbouring pages takes longer than it saves (measured).
    """
    out.add(f"packed = local_{product.element}({product.height * _pitch(product)})")
    way = WAY // product.dtype.itemsize
    least = way if product.height > FEW_WAYS else 2 * way
    out.add(f"collide = 1 if {product.row} % {way} == 0 and {product.row} >= {least} else 0")


def _write_packed_tile(product: PlainProduct, out: Lines) -> None:
    """Rows that displace each other are packed once for all panels of a block."""
    out.add(f"a_at = address({product.stage.a.operand})")
    out.add("lies = at")
    out.add(f"pitch = {product.row}")
    out.add("if collide == 1:")
    pack, pitch = product.packing.lines(product.unit, True), _pitch(product)
    passed = f"at, {product.row}, 1, under - top, past - depth, {pitch}"
    out.add(f"    {pack}({product.stage.a.operand}, packed, {passed})")
    out.add("    a_at = address(packed)")
    out.add("    at = 0")
    out.add(f"    pitch = {pitch}")


def _arguments(product: PlainProduct, part: int) -> str:
    """What a tile is called with, for a part of the panel."""
    packed = product.a_stored.is_storage
    moved = product.rows == "across" or product.packs_tiles
    a = f"ptr_{product.element}(a_at)" if moved else product.stage.a.operand
    row = str(product.long if packed else "pitch" if product.packs_tiles else product.row)
    named = {
        "a": "packed" if packed and product.rows != "across" else a,
        "b": f"ptr_{product.element}(b_at)",
        "c": "tile",
        "near": product.stage.b.operand,
        "width": str(product.columns),
        "row": "1" if product.rows == "across" else row,
        "last": "rows - 1",
        "inner": "inner" if product.rows == "across" else "1" if packed else str(product.inner),
        "down": total("down", *product.slot, str(part)),
        "to": total("to", str(part)),
        "depth": "past - depth",
        "hop": product.hop,
        "ahead": "line",
    }
    if product.straight is not None and product.fills_panels:
        named |= {"c": product.straight.operand, "width": str(product.straight.stride("i"))}
    elif product.straight is not None:
        named |= {"c": f"ptr_{product.element}(c_at)", "width": "width"}
    if product.panels_abreast > 1:
        named |= {"near": f"ptr_{product.element}(near_at)", "hop": "hop"}
    return ", ".join(named.get(name, name) for name in product.tiles.arguments)

"""Products of few rows: their operand is streamed from memory.

Iterations are partitioned as for tiles, but one continues over those that follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from staticgrad.codegen.lines import (
    VECTOR,
    Lines,
    base_text,
    scaled,
    total,
    write_vector_loop,
)
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.chain_parts import left_in
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.stages import LONE
from staticgrad.nest.products.packing import WAY
from staticgrad.nest.products.plain import WIDEST

if TYPE_CHECKING:
    from staticgrad.nest.products.text_product import TextProduct

#: Rows of which as long parts are taken again as there is room for.
SOME: Final = 4


def write_streams(product: TextProduct, out: Lines) -> None:
    """The body for one outer iteration ``o`` of a product that always has few rows."""
    few = Lines()
    product.write_cut(product.unit.once)
    product.declare_room(product.unit.once)
    product.write_position(out)
    write_few_rows(product, few)
    out.extend(product.before)
    out.extend(few)


def _write_moves(product: TextProduct, out: Lines, to: Access, stores: bool) -> None:
    """The chains of all rows and columns from where they were left, or to there."""
    move, row = Lines(), Lines()
    base = base_text(to, frozenset({"i", VECTOR}))
    place = total(base, scaled("i", to.stride("i")), VECTOR)
    tile = f"(i - first_row) * width + {VECTOR} - left"
    if stores:
        move.add(f"store({to.operand}, {place}, load{product.lanes}(tile, {tile}), m)")
    else:
        move.add(f"store{product.lanes}(tile, {tile}, load({to.operand}, {place}, m))")
    write_vector_loop(row, "left", "right", product.lanes, move)
    out.add("for i in range(first_row, last_row):")
    out.extend(row, 1)


def write_few_rows(product: TextProduct, out: Lines) -> None:
    """All columns of the iterations that follow: b is read in the order in which it lies."""
    left = left_in(product.kernel)
    start, past = ("0", str(product.k)) if left is None else ("first_k", "past_k")
    block, row, body, lanes = Lines(), Lines(), Lines(), product.lanes
    widest: int | str = WIDEST // LONE
    if product.streamed > LONE:  # there is room for so many rows at most, and fewer longer ones
        some = f"{WIDEST // SOME} if {product.m} <= {SOME} else {WIDEST // product.streamed}"
        out.add(f"widest = {widest} if {product.m} <= {LONE} else {some}")
        widest = "widest"
    write_span(product, out, widest)
    columns = product.columns
    out.add(f"width = (right - left + {columns - 1}) // {columns} * {columns}")
    out.add(f"if width % {WAY // product.dtype.itemsize} == 0:")
    out.add(f"    width = width + {columns}")  # rows a page apart displace each other
    product.least(block, "stop", f"block + {GEMM_BLOCK}", past)
    block.add("into = 0")
    block.add(f"if block > {start}:")
    block.add(f"    into = {product.whole}")
    place = total(product.a, scaled("first_row", product.row), scaled("block", product.inner))
    named = {
        "a": product.stage.a.operand,
        "b": product.stage.b.operand,
        "c": "tile",
        "at": place,
        "row": str(product.row),
        "inner": str(product.inner),
        "last": "count - 1",
        "wide": "right - left",
        "down": total(product.b, scaled("block", product.down), scaled("left", product.across)),
        "step": str(product.across if product.transposed else product.down),
        "to": "into",
        "depth": "stop - block",
        "fresh": "1" if left is None else "anew",
        "width": "width",
    }
    passed = [named[name] for name in product.tiles.stream_arguments]
    if product.transposed:
        stream = product.tiles.few_transposed_rows(product.unit.helpers)
        passed.append("panel")
    else:
        stream = product.tiles.few_rows(product.unit.helpers, product.unit.machine.l2)
    block.add(f"{stream}({', '.join(passed)})")
    block.add(f"if block > {start}:")
    block.add(f"    for at in range(0, count * width, {lanes}):")
    both = f"load{lanes}(tile, at) + load{lanes}(tile, into + at)"
    block.add(f"        store{lanes}(tile, at, {both})")
    if left is not None:
        moves = Lines()
        _write_moves(product, moves, left, stores=False)
        out.add("anew = 1")
        out.add("if first_k > 0:")
        out.add("    anew = 0")
        out.extend(moves, 1)
    out.add(f"for block in range({start}, {past}, {GEMM_BLOCK}):")
    out.extend(block, 1)
    if left is not None:
        moves = Lines()
        _write_moves(product, moves, left, stores=True)
        out.add(f"if past_k < {product.k}:")
        out.extend(moves, 1)
        out.add("    continue")
    body.add(f"acc = load{lanes}(tile, (i - first_row) * width + {VECTOR} - left)")
    product.write_stores(body)
    write_vector_loop(row, "left", "right", lanes, body)
    out.add("for i in range(first_row, last_row):")
    out.extend(row, 1)


def write_span(product: TextProduct, out: Lines, widest: int | str = WIDEST // LONE) -> None:
    """Extend an iteration over the following ones, up to the next multiple of ``widest`` columns.

    ``widest`` is rounded down to whole iterations, so that no other begins within one.
    """
    out.add(f"span = {widest} // group * group")
    out.add("if left % span > 0 and o > begin:")
    out.add("    continue")  # an earlier iteration went on here
    out.add("right = left + (end - o) * group")
    for most in ("(left // span + 1) * span", str(product.n)):
        out.add(f"if right > {most}:")
        out.add(f"    right = {most}")

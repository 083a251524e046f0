"""Rows of a product that lie across memory, one inner index behind the other: packed as tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import Lines, scaled, total
from staticgrad.ir.kernels.product_iterations import PANELS

if TYPE_CHECKING:
    from staticgrad.codegen.products.gemm import PlainProduct


def write_packed_across(product: PlainProduct, out: Lines) -> None:
    """Tiles of rows behind one another, of each the rows of one k behind those of another.

    Those that few panels read are read where they lie, but for a last tile that is not full:
    shallow ones, those of one chunk, and, if two panels do, what a second cache has.
    """
    out.add("lying = 0")
    if not product.a_stored.is_storage:
        out.add(f"if readers <= {PANELS}:")
        out.add(f"    lying = count // {product.height} * {product.height}")
    height = product.height
    width = -(-height // product.lanes) * product.lanes
    out.add("start = first_row + lying")
    out.add("masked = start")  # the first tile of which a vector reaches beyond all rows
    out.add(f"if start + {width} <= {product.m}:")
    out.add(f"    masked = start + (({product.m} - {width} - start) // {height} + 1) * {height}")
    out.add("if masked > last_row:")
    out.add("    masked = last_row")
    place = total(product.a, "first_row", scaled("run", product.inner))
    to = "lying, masked - first_row, count"
    pack = product.packing.rows(product.unit, height, packed_tile(product, height))
    passed = f"{place}, {product.inner}, end_run - run, {to}, {product.m} - first_row"
    out.add(f"{pack}({product.stage.a.operand}, packed, {passed})")


def packed_tile(product: PlainProduct, height: int) -> int:
    """Elements from a packed tile to the next; a last store may reach beyond the last step."""
    pitch = product.packing.pitch(height)
    return product.long * pitch + (product.lanes if pitch % product.lanes else 0)

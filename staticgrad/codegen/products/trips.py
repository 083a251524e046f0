"""Loops of products, of which those that are known to have one trip are none.

What a loop costs LLVM, blocks, joins and tests, is as much as ten lines of arithmetic. A product
among stages has five loops around each other, of which short rows take one or two.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, prod
from typing import TYPE_CHECKING

from staticgrad.codegen.expressions import Lines, Unit
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.stages import Axis, Extent
from staticgrad.records import dataclass

if TYPE_CHECKING:
    from staticgrad.codegen.products.looped import LoopedProduct


@dataclass(frozen=True)
class Once:
    """Which loops of a product are known to have one trip.

    Those over chunks of rows, over panels of columns, over blocks of the inner indices (one has no
    trip where they end before they begin), and over the parts that are packed at a time.
    """

    chunk: bool
    panel: bool
    block: bool
    part: bool

    @classmethod
    def of(cls, product: LoopedProduct) -> Once:
        """What is known of a product's loops."""
        unit, stage, alone = product.unit, product.stage, product.kernel.outer != "tiles"
        chunk, panel = (
            _most(unit, stage.i) <= product.chunk,
            _most(unit, stage.j) <= product.columns,
        )
        block = len(stage.k) == 1 and unit.told(stage.k[0].extent).short
        return cls(
            chunk=alone and chunk,
            panel=alone and panel and _has_some(unit, stage.j),
            block=block,
            part=block and _most(unit, stage.k) <= product.depth,
        )


def _most(unit: Unit, axes: Iterable[Axis]) -> float:
    """The positions of loops, at most."""

    def positions(extent: Extent) -> float:
        return extent if isinstance(extent, int) else unit.told(extent).most or inf

    return prod(positions(axis.extent) for axis in axes)


def _has_some(unit: Unit, axes: Iterable[Axis]) -> bool:
    """Whether loops are known to have a position."""
    return all(not axis.limits and unit.told(axis.extent).short for axis in axes)


def write_trips(
    out: Lines, name: str, span: tuple[str, str, int | str], body: Lines, once: bool
) -> None:
    """``body`` for ``name`` from the first of ``span`` up to the second, by the third, or once."""
    start, stop, step = span
    if once:
        out.add(f"{name} = {start}")
    else:
        out.add(f"for {name} in range({start}, {stop}, {step}):")
    out.extend(body, int(not once))


def first_of_block(product: LoopedProduct) -> str:
    """The first inner index of a block."""
    if product.begins:
        return f"{product}_from" if product.once.block else f"{product}_start"
    return f"{product}_block"


def is_fresh(product: LoopedProduct) -> str:
    """Whether a tile's part is the first of a block, as a word in source."""
    return "1" if product.once.part else f"1 if {product}_depth == {first_of_block(product)} else 0"


def write_blocks(product: LoopedProduct, out: Lines, pack: Lines, tile: Lines) -> None:
    """The inner indices, a block and a part of it at a time: what it ``pack``s, and each tile."""
    w, once, block = product.name, product.once, Lines()
    origin = f"{w}_block0" if product.begins and not once.block else "0"
    if once.block:
        block.add(f"{w}_stop = {w}_deep")
    else:
        product.least(block, "stop", f"{w}_block + {GEMM_BLOCK}", f"{w}_deep")
    product.write_tables(block)
    block.add(f"{w}_into = 0")
    if not once.block:
        block.add(f"if {w}_block > {origin}:")
        block.add(f"    {w}_into = {product.room}")
        if product.begins:
            block.add(f"{w}_start = {w}_block")
            block.add(f"if {w}_start < {w}_from:")
            block.add(f"    {w}_start = {w}_from")
    _write_parts(product, block, pack, tile)
    if not once.block:
        block.add(f"if {w}_block > {origin}:")
        old, new = (f"load{product.lanes}({w}_tile, at{m})" for m in ("", f" + {product.room}"))
        product.over_tile(block, 1, f"{old} + {new}")
    blocks = origin, f"{w}_deep", GEMM_BLOCK
    write_trips(out, f"{w}_block", blocks, block, once.block)
    nothing = "== 0"
    if product.stage.k[0].limits:
        nothing = f"<= {w}_from" if product.begins else "<= 0"
    elif once.block:
        return
    if not once.part:  # whose tiles write zeros then
        out.add(f"if {w}_deep {nothing}:")
        product.over_tile(out, 1, product.zero)


def _write_parts(product: LoopedProduct, out: Lines, pack: Lines, tile: Lines) -> None:
    """The parts of a block."""
    w, part = product.name, Lines()
    if product.once.part:
        part.add(f"{w}_end = {w}_stop")
    else:
        product.least(part, "end", f"{w}_depth + {product.depth}", f"{w}_stop")
    part.extend(pack)
    part.add(f"for {w}_top in range({w}_first, {w}_last, {product.tall}):")
    part.extend(tile, 1)
    parts = first_of_block(product), f"{w}_stop", product.depth
    write_trips(out, f"{w}_depth", parts, part, product.once.part)

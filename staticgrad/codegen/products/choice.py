"""The choice of how products over several loops, or of windows, are written."""

from __future__ import annotations

from staticgrad.codegen.block_functions import write_iterations
from staticgrad.codegen.expressions import Lines, Unit
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.products.looped import LoopedProduct
from staticgrad.codegen.products.tiled import TiledProduct, WholePanels
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Gemm, small


def write_product(kernel: Kernel, stage: Gemm, out: Lines, unit: Unit) -> None:
    """The product: one chunk of one panel for the iteration ``o``, or all of it among stages."""
    w = _chosen(kernel, stage, unit)
    tile = Lines()
    w.write_tile(tile)
    w.declare(unit.once)
    w.write_limits(out)
    if kernel.outer == "tiles":
        out.add(f"{w}_left = o % {w}_panels * {w.columns}")
        out.add(f"rest = o // {w}_panels")
        out.add(f"{w}_first = rest % {w}_chunks * {w.chunk}")
        out.add(f"rest = rest // {w}_chunks")
        write_decode(out, "rest", kernel.axes)
        out.extend(tile)
        return
    chunk = Lines()
    write_iterations(chunk, f"{w}_left", ("0", f"{w}_n", w.columns), tile, w.once.panel)
    write_iterations(out, f"{w}_first", ("0", f"{w}_m", w.chunk), chunk, w.once.chunk)


def _chosen(kernel: Kernel, stage: Gemm, unit: Unit) -> LoopedProduct:
    """The product in the form that suits it; few rows have their chains in the kernel."""
    name = unit.fresh("w")
    plain = LoopedProduct(kernel, stage, unit, name)
    if stage.by_first:
        from staticgrad.codegen.products.fed import FedProduct  # of windows

        return FedProduct(kernel, stage, unit, name)
    if small(stage.i):
        return plain
    if plain.lies:
        whole = WholePanels(kernel, stage, unit, name)
        if whole.is_possible:
            return whole
        from staticgrad.codegen.products.placed import LyingProduct

        lying = LyingProduct(kernel, stage, unit, name)
        if lying.is_looked_up:
            return lying
        if plain.reads_panel:
            return plain
    tiled = TiledProduct(kernel, stage, unit, name)
    return tiled if tiled.takes_rows else plain

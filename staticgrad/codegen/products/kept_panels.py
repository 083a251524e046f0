"""Panels of a product among stages that stay packed while its kernel works on one iteration.

A product in a loop over tiles of rows meets the same second factor in every trip. Where that has to
be turned to be read by vectors, its panels are packed in the first trip that needs them, one behind
the other, and the next trips find them there.
"""

from __future__ import annotations

from typing import Final

from staticgrad.codegen.expressions import Lines
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Axis, Gemm, nested

#: Elements of panels that are kept, at most: they stay in the second cache, and on the stack.
ROOM: Final = 1 << 15


def are_kept(kernel: Kernel, stage: Gemm) -> bool:
    """Whether a product runs several times over one second factor of an outer iteration."""
    if (
        kernel.outer != "axes"
        or kernel.listed is not None
        or kernel.operand(stage.b.operand).is_own
    ):
        return False
    around = next(loops for each, loops in nested(kernel.stages) if each is stage)
    written = kernel.operand(stage.b.operand).mode != "in"
    whole = not any(axis.limits for axis in stage.k)
    return bool(around) and whole and not written and not _moves(stage.b, around)


def _moves(access: Access, loops: tuple[Axis, ...]) -> bool:
    names = {axis.name for axis in loops}
    return any(axis in names for axis, _ in access.moves)


def declare(out: Lines, w: str) -> None:
    """Lines before all iterations: nothing is packed."""
    out.add(f"{w}_kept = 0")
    out.add(f"{w}_of = -1")


def write_packed(out: Lines, w: str, columns: int, depth: int, pack: Lines) -> None:
    """Lines that find the panel of ``left``, or pack it; ``slot`` is where it begins.

    A panel of more inner indices than ``depth`` is packed a part at a time, again and again.
    """
    out.add(f"{w}_slot = {w}_left * {w}_deep")
    out.add(f"{w}_packs = 1")
    out.add(f"if {w}_deep > {depth} or {w}_slot + {columns} * {w}_deep > {ROOM}:")
    out.add(f"    {w}_slot = 0")
    out.add(f"    {w}_kept = 0")
    out.add(f"elif {w}_of == o and {w}_left < {w}_kept:")
    out.add(f"    {w}_packs = 0")
    out.add("else:")
    out.add(f"    {w}_kept = {w}_left + {columns}")
    out.add(f"    {w}_of = o")
    out.add(f"if {w}_packs == 1:")
    out.extend(pack, 1)

"""Products whose chains may be computed in parts: inner indices up to one, then those behind it.

An element of a product is one chain in ascending k. What the chain has come to is exact in its own
dtype, so one worker may leave it in memory and another may go on from there: the bits are those of
one worker. It is left where the result belongs, which nobody reads before.

A call with ``end`` = ``PART`` computes a part: behind its record's other words is a ``ChainPart``.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.expr import Access
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.stages import LANES, Gemm, streamed_rows
from staticgrad.support.caches import cached_on_first
from staticgrad.support.records import NamedTuple

#: What ``end`` is in a call of a part.
PART: Final = -1


class ChainPart(NamedTuple):
    """Inner indices from ``first`` to ``past``, in iterations from ``begin`` to ``end``."""

    first: int
    past: int
    begin: int
    end: int


def record_words(kernel: Kernel) -> int:
    """Words of a record: pointers that workers share, and arguments."""
    return sum(not operand.is_own for operand in kernel.operands) + len(kernel.arguments)


@cached_on_first(1)
def left_in(kernel: Kernel) -> Access | None:
    """Return the access where a split GEMM keeps partial sums between parts of k; None if not
    split.

    The second factor is read unpacked, and a result of the chains' own dtype is stored by rows.
    """
    if kernel.outer != "tiles" or kernel.axes:
        return None
    (stage,) = kernel.stages
    if not isinstance(stage, Gemm) or not stage.plain or stage.b.stride(LANES) != 1:
        return None
    if stage.factors is not None:
        return None
    extents = [axes[0].extent for axes in (stage.i, stage.j, stage.k)]
    facts = {fact.name: fact for fact in kernel.facts}
    rows, *others = (facts.get(str(extent), Known("")) for extent in extents)
    if not all(isinstance(extent, str) for extent in extents) or any(n.most for n in others):
        return None  # so few columns or terms have other code
    if rows.many and not 0 < rows.most <= streamed_rows(stage):
        return None
    operands = {operand.name: operand for operand in kernel.operands}
    dtype = operands[stage.b.operand].dtype
    if operands[stage.a.operand].dtype != dtype or dtype.is_storage or not dtype.is_float:
        return None
    for store in stage.stores:
        to, operand = store.access, operands[store.access.operand]
        simple = not (
            store.indices or store.combine or to.bounded_positions or to.positions or to.gather
        )
        by_rows = to.stride(LANES) == 1 and to.stride(stage.i[0].name) != 0
        if simple and by_rows and operand.mode == "out" and operand.dtype == dtype:
            return to
    return None

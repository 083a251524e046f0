"""Split long scatters into parts, which several threads add up at the same time.

A scatter adds one element after the other, since indices may be equal. If there are many more
elements than targets, equal parts of them get targets of their own, and a sum across the parts
follows. The number of parts depends on the sizes alone (``ScatterIntoAxis.parts_of``), so results
do not depend on the number of threads. Elements of a symbolic size are added in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from passes.late.base import late_pass
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.indexing import ScatterIntoAxis
from staticgrad.language.ops.movement import Reshape
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import hint_product
from staticgrad.support.records import replace


@late_pass("split-scatters", keeps="close")
def split_long_scatters(graph: Graph) -> Graph:
    """Rewrite long scatter-adds into few targets as sums of parts, one per thread."""

    def split_scatter(
        node: Node, op: ScatterIntoAxis, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a long scatter-add as a sum of partial ones, or return None."""
        x, indices = args
        parts = op.parts_of(x.shape, indices.shape, op.size) if op.parts == 1 else 1
        if parts == 1:
            return None
        count, trailing = hint_product(indices.shape), x.shape[indices.ndim :]
        sums = replace(op, parts=parts)(Reshape((count, *trailing))(x), Reshape((count,))(indices))
        return (cast(Symbolic, Sum((0,))(sums)),)

    return graph.replace_ops(ScatterIntoAxis, split_scatter)

"""What accumulates in memory does so in the compute dtype: running totals and scattered sums.

Their kernels add to elements of the result that they wrote before. Of a storage dtype each of those
would be rounded on its way, so the total is a value of the compute dtype, and rounded to the result
once it is whole. ``fuse`` does this first, at every level; reductions and products of matrices
accumulate in registers, and are widened where they are lowered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from staticgrad.building import within
from staticgrad.ir.forms import Scan, ScatterAdd, ScatterAlong
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ops.convert import astype

_IN_MEMORY = Scan | ScatterAdd | ScatterAlong


def widen_accumulation(graph: Graph) -> Graph:
    """The graph with its totals of storage dtypes computed in their compute dtypes."""

    def widened(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.form, _IN_MEMORY) or not node.types[0].dtype.is_storage:
            return None
        with within(node.origin, node.order):
            total = node.op(*[wide(arg) for arg in args])
            return (cast(Symbolic, astype(total, node.types[0].dtype)),)

    if not any(t.dtype.is_storage for node in graph.nodes for t in node.types):
        return graph
    return graph.replace_nodes(widened)


def wide(value: Symbolic) -> Symbolic:
    """A value of a storage dtype in its compute dtype; another one as it is."""
    dtype = value.dtype
    return cast(Symbolic, astype(value, dtype.compute)) if dtype.is_storage else value

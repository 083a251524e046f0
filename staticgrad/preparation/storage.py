"""Values of storage dtypes: totals in memory are computed wide, products read what is narrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from staticgrad.building import within
from staticgrad.ir.forms import Identity, ReshapeForm, Scan, Scatter, ScatterAlong, View
from staticgrad.ir.graph import Graph, Node, Symbolic, rebuild
from staticgrad.ops.convert import Cast, astype

_IN_MEMORY = Scan | Scatter | ScatterAlong


def widen_accumulation(graph: Graph) -> Graph:
    """The graph with its totals of storage dtypes computed in their compute dtypes.

    Their kernels add to elements of the result that they wrote before. Of a storage dtype each of
    those would be rounded on its way, so the total is a value of the compute dtype, and rounded to
    the result once it is whole. Reductions and products of matrices accumulate in registers, and
    are widened where they are lowered.
    """

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


def is_wide_copy(value: Symbolic) -> bool:
    """Whether a value is a narrow one widened, or a view of that."""
    node = value.node
    if isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        return is_wide_copy(node.args[0])
    return (
        isinstance(node.op, Cast)
        and value.dtype is not (stored := node.args[0].dtype)
        and (value.dtype is stored.compute)
    )


def narrowest(value: Symbolic) -> Symbolic:
    """The narrow value of which one is a wide copy, or the same view of it; another one itself."""
    if not is_wide_copy(value):
        return value
    node = value.node
    (copied,) = node.args
    if isinstance(node.op, Cast):
        return copied
    return rebuild(node, (narrowest(copied),)).values[0]

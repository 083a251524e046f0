"""Count what a graph executes: operations, bytes of their results, FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from staticgrad.analysis.binding import concrete_shape
from staticgrad.language.ir.forms import Contract, Identity, Reduce, ReshapeForm, View
from staticgrad.language.ir.graph import Node
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class GraphWork:
    """Operations, bytes of their results (views have none), FLOPs."""

    operations: int
    nbytes: int
    flops: int


def work_of(nodes: Iterable[Node], sizes: Mapping[str, int]) -> GraphWork:
    """Count the work of some nodes at these named sizes. Bodies of loops count as nothing."""
    computed = [node for node in nodes if not node.is_leaf]
    moving_nodes = [n for n in computed if not isinstance(n.form, View | ReshapeForm | Identity)]
    return GraphWork(
        len(computed),
        sum(_elements(t, sizes) * t.dtype.itemsize for node in moving_nodes for t in node.types),
        sum(_count_flops(node, sizes) for node in moving_nodes),
    )


def _count_flops(node: Node, sizes: Mapping[str, int]) -> int:
    """Return the floating-point operations of a graph's node at these sizes."""
    form = node.form
    if isinstance(form, Contract):
        left = concrete_shape(node.args[0].type.shape, sizes)
        inner = left[-2 if form.transpose_a else -1]
        return 2 * inner * _elements(node.types[0], sizes)
    counted = node.args[0].type if isinstance(form, Reduce) else node.types[0]
    return node.op.flops * _elements(counted, sizes)


def _elements(kind: TensorType, sizes: Mapping[str, int]) -> int:
    return prod(concrete_shape(kind.shape, sizes))

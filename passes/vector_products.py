"""Matrix products that are no matrix-matrix product become what they are: products and their sums.

A product with one column, one row, or one inner index moves far more bytes than a tile of registers
can reuse. As a multiplication that a sum reads it streams through its matrix once, and shares a
kernel with what stands before and behind it. ``fuse`` does this first, at every level. The sum
follows the lane rule of ``ir/summation.py`` along the inner axis, however its operands lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from passes.wide_accumulation import wide
from staticgrad.building import within
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.value import Value
from staticgrad.ops.arithmetic import Mul
from staticgrad.ops.contract import MatMul
from staticgrad.ops.convert import astype
from staticgrad.ops.movement import Reshape, swapaxes
from staticgrad.ops.reduce import Sum


def expand_vector_products(graph: Graph) -> Graph:
    """The graph with its vector products as multiplications and sums."""

    def expanded(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        product = node.op
        if not isinstance(product, MatMul):
            return None
        *_, rows, columns = node.types[0].shape
        inner = args[0].shape[-2 if product.transpose_a else -1]
        if 1 not in (rows, columns, inner):
            return None
        with within(node.origin, node.order):
            left, right = map(wide, args)  # as [..., rows, inner] and [..., columns, inner]
            a = swapaxes(left, -1, -2) if product.transpose_a else left
            b = right if product.transpose_b else swapaxes(right, -1, -2)
            if 1 not in (rows, columns):  # one inner index: nothing to add up
                return (_as(Mul()(a, swapaxes(b, -1, -2)), node),)
            terms = Mul()(a, b)
            total = Sum((terms.ndim - 1,))(terms)
            return (_as(Reshape(node.types[0].shape)(total), node),)

    return graph.replace_nodes(expanded)


def _as(value: Value, node: Node) -> Symbolic:
    """A value in the dtype of a node's result, rounded once."""
    return cast(Symbolic, astype(value, node.types[0].dtype))

"""Products with a vector as multiplications and their sums, before nodes are grouped.

Products that are only read transposed become those of the factors the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Final, cast

from staticgrad.building import within
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.value import Value
from staticgrad.ops.arithmetic import Mul
from staticgrad.ops.contract import MatMul
from staticgrad.ops.convert import astype
from staticgrad.ops.movement import Reshape, Transpose, swapaxes
from staticgrad.ops.reduce import Sum
from staticgrad.preparation.storage import narrowest, wide
from staticgrad.types.tensor import hint_value

#: Rows, and columns, from which on products are no slower the other way round.
_WIDE: Final = 64


def expand_vector_products(graph: Graph) -> Graph:
    """The graph with its vector products as multiplications and sums.

    A product with one column, one row, or one inner index moves far more bytes than a tile of
    registers can reuse. As a multiplication that a sum reads it streams through its matrix once,
    and shares a kernel with what stands before and behind it. The sum follows the lane rule of
    ``ir/summation.py`` along the inner axis, or (``MatMul.down``) the column rule, however its
    operands lie. Where columns times rows are only read transposed, rows times columns are
    computed: their reader walks along memory.
    """
    expanding = _Expanding(graph)
    found = graph.replace_nodes(expanding.expanded)
    return found.without_dead_nodes() if expanding.spared else found  # what nobody reads


class _Expanding:
    """A graph while its products are expanded; ``spared``: whether values lost their readers."""

    def __init__(self, graph: Graph) -> None:
        self.spared = False
        self._graph = graph
        self._outer: dict[Node, tuple[Value, Value]] = {}  # columns times rows, by what they became

    def expanded(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """What stands in the place of a node, given what its operands became."""
        if isinstance(node.op, Transpose):
            return self._transposed(node, args[0])
        if not isinstance(node.op, MatMul):
            return None
        product = node.op
        *_, rows, columns = node.types[0].shape
        inner = args[0].shape[-2 if product.transpose_a else -1]
        lying = args[1].shape[-1 if product.transpose_b else -2]  # a name is 1 by a check alone
        if 1 not in (rows, columns) and (inner, lying) != (1, 1):
            return None
        with within(node.origin, node.order):
            # As [..., rows, inner] and [..., columns, inner], widened behind the views: those of a
            # wide copy would keep it in memory.
            left, right = factors = [*map(narrowest, args)]
            self.spared |= any(x is not arg for x, arg in zip(factors, args, strict=True))
            a = swapaxes(left, -1, -2) if product.transpose_a else left
            b = right if product.transpose_b else swapaxes(right, -1, -2)
            if 1 not in (rows, columns):  # one inner index: nothing to add up
                pair = (a, swapaxes(b, -1, -2))
                found = _as(_multiplied(*pair), node)
                self._outer[found.node] = pair
                return (found,)
            down = product.down and (rows, columns) != (1, 1)
            pair = (swapaxes(a, -1, -2), swapaxes(b, -1, -2)) if down else (a, b)
            terms = _multiplied(*pair)
            total = Sum((terms.ndim - (2 if down else 1),))(terms)
            return (_as(Reshape(node.types[0].shape)(total), node),)

    def _transposed(self, node: Node, product: Symbolic) -> Sequence[Symbolic] | None:
        """A product that only this transpose reads, with its last axes exchanged.

        Factors of which neither lies across memory would both do so.
        """
        (read,), op = node.args, product.node.op
        last = (*range(read.ndim - 2), read.ndim - 1, read.ndim - 2)
        if cast(Transpose, node.op).perm != last or self._reads[read.key] > 1:
            return None
        found: Value | None = None
        with within(read.node.origin, node.order):
            if product.node in self._outer:
                transposed = [swapaxes(factor, -1, -2) for factor in self._outer[product.node]]
                found = _as(_multiplied(*transposed), node)
            elif isinstance(op, MatMul) and (op.transpose_a or op.transpose_b) and _is_wide(read):
                product_of = MatMul(not op.transpose_b, not op.transpose_a, op.down)
                found = cast(Symbolic, product_of(*product.node.args[::-1]))
        self.spared |= found is not None
        return None if found is None else (cast(Symbolic, found),)

    @cached_property
    def _reads(self) -> Counter[tuple[Node, int]]:
        """How often values are read, by nodes and as results."""
        found = Counter(value.key for value in self._graph.roots)
        found.update(arg.key for node in self._graph.nodes for arg in node.args)
        return found


def _is_wide(product: Symbolic) -> bool:
    """Whether rows and columns of a product both fill its tiles."""
    return min(map(hint_value, product.shape[-2:])) >= _WIDE


def _multiplied(a: Value, b: Value) -> Value:
    return Mul()(wide(cast(Symbolic, a)), wide(cast(Symbolic, b)))


def _as(value: Value, node: Node) -> Symbolic:
    """A value in the dtype of a node's result, rounded once."""
    return cast(Symbolic, astype(value, node.types[0].dtype))

"""One product in place of a batch of thin ones that share a matrix, and of a sum over a batch.

A product computes whole vectors of columns, so a batch of matrices of one to five columns takes as
long as one of eight. If all of them are multiplied by one matrix, their columns are the rows of one
product::

    a[m, k] @ b[i, k, n]     ->     transpose(reshape(transpose(b), [i*n, k]) @ a.T)

The gradient by the shared matrix is a sum over the batch, whose products have few terms. It is one
product with the terms of all::

    sum(g[i, m, n] @ b[i, k, n].T, axis=0)  ->  reshape(g.T, [i*n, m]).T @ reshape(b.T, [i*n, k])

An element of the first form has the same bits, but for one column, whose sum is that of a product
with a vector otherwise. The second adds up the same terms in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.movement import Reshape, transpose_matrices
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import hint_product, hint_value, product
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within

#: Bytes of a row of a thin matrix, at most: five eighths of a vector of 512 bits. 28 products of
#: [1000, 88] and [88, n] take in float64 2.1 times as long as one product of all for n = 3, 1.5
#: for 4, 1.3 for 5, 1.1 for 6 and 1.0 for 7; in float32 3.3 for 4, 1.2 for 10, 1.0 for 12
#: (Zen 4, 2026-12).
_THIN_BYTES: Final = 40
#: Terms of a product, and rows, from which on it takes longer than the copies of its transposed
#: factor and result: of 3 or 8 terms it takes half the time of one product, of 16 1.5 times.
_MANY: Final = 16
#: Rows of one product, at least: it reads the shared matrix once for a few rows.
_FEW_ROWS: Final = 4
#: Terms of a product of a batch, at most, whose sum is one product: with 3 terms it is 6.3 times as
#: fast, with 8 2.4 times, with 32 and more not.
_FEW_TERMS: Final = 16
#: Multiplications, at least: of fewer, both forms take about a microsecond.
_LEAST_WORK: Final = 1 << 15


@late_pass("thin-batches", keeps="close")
def multiply_batches_at_once(graph: Graph) -> Graph:
    """Rewrite batches of thin products with one matrix, and sums over batches, as one product."""
    if not graph.has(MatMul):
        return graph
    users, roots = users_of(graph), {value.key for value in graph.roots}

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        op = node.op
        if isinstance(op, MatMul):
            with within(node.origin, node.order):
                return _multiply_columns_at_once(node, op, args)
        if isinstance(op, Sum):
            read = node.args[0]
            is_read_once = len(users[read.key]) == 1 and read.key not in roots
            if is_read_once and isinstance(read.node.op, MatMul):
                with within(node.origin, node.order):
                    return _sum_products_at_once(node, args[0].node)
        return None

    rewritten = graph.replace_nodes(rewrite)
    return graph if rewritten is graph else rewritten.without_dead_nodes()


def _multiply_columns_at_once(
    node: Node, op: MatMul, args: tuple[Symbolic, ...]
) -> Sequence[Symbolic] | None:
    """Rewrite products of one matrix with thin ones as the rows of one product."""
    shared, thin = args
    if shared.ndim != 2 or thin.ndim < 3 or op.factors is not None:
        return None
    *batch, rows, columns = node.types[0].shape
    inner = shared.shape[0 if op.transpose_a else 1]
    number = hint_product((*batch, columns))
    if hint_value(columns) * thin.dtype.itemsize > _THIN_BYTES or number < _FEW_ROWS:
        return None
    if min(hint_value(inner), hint_value(rows)) < _MANY or not _is_work(node, inner):
        return None
    columns_first = thin if op.transpose_b else transpose_matrices(thin)
    matrix = Reshape((product((*batch, columns)), inner))(columns_first)
    result = MatMul(transpose_b=not op.transpose_a)(matrix, shared)
    return (transpose_matrices(cast(Symbolic, Reshape((*batch, columns, rows))(result))),)


def _sum_products_at_once(node: Node, batched: Node) -> Sequence[Symbolic] | None:
    """Rewrite the sum of the products of a batch as one product of all their terms."""
    op, (a, b) = batched.op, batched.args
    assert isinstance(op, MatMul)
    assert isinstance(node.op, Sum)
    *batch, rows, columns = batched.types[0].shape
    inner = a.shape[-2 if op.transpose_a else -1]
    is_whole_batch = node.op.axes == tuple(range(len(batch))) and bool(batch)
    if not is_whole_batch or list(a.shape[:-2]) != batch or list(b.shape[:-2]) != batch:
        return None
    if op.factors is not None or hint_value(inner) > _FEW_TERMS or not _is_work(batched, inner):
        return None
    terms = product((*batch, inner))
    left = Reshape((terms, rows))(a if op.transpose_a else transpose_matrices(a))
    right = Reshape((terms, columns))(transpose_matrices(b) if op.transpose_b else b)
    return (cast(Symbolic, MatMul(transpose_a=True)(left, right)),)


def _is_work(node: Node, inner: Size) -> bool:
    """Return whether a product has many multiplications."""
    return hint_product((*node.types[0].shape, inner)) >= _LEAST_WORK

"""Products of few rows and columns over many terms as sums of those of blocks of terms.

Such a product is one iteration, which is the work of one thread. Each block of ``GEMM_BLOCK`` terms
is a chain of its own, and blocks are added one after the other: so a product for each block, of
which a sum adds up the first ``GROUPS`` in that order, has the same bits. The terms behind the last
whole block are added last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.stages import panel_columns
from staticgrad.ir.summation import GROUPS
from staticgrad.ops.contract import MatMul
from staticgrad.ops.movement import Reshape, swapaxes
from staticgrad.ops.reduce import Sum
from staticgrad.preparation.storage import narrowest
from staticgrad.types.tensor import hint_value

#: Blocks that a product should have, at least, and bytes of a column of the result, at most: more
#: are slower on one thread.
_FEWEST: Final = 2
_MOST_BYTES: Final = 256


def with_product_parts(graph: Graph) -> Graph:
    """The graph whose products of few rows and columns over many terms are sums of products."""

    def rewritten(node: Node, op: MatMul, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_long(node, op, args):
            return None
        left, right = args
        a = left if op.transpose_a else swapaxes(left, 0, 1)
        b = swapaxes(right, 0, 1) if op.transpose_b else right
        return (_added_up(a, b),)

    return graph.replace_ops(MatMul, rewritten)


def _is_long(node: Node, op: MatMul, args: tuple[Symbolic, ...]) -> bool:
    """Whether a product is one iteration, of several blocks of terms that a sum adds in order."""
    if node.types[0].rank != 2:
        return False
    kind = node.types[0]
    terms = args[0].shape[0 if op.transpose_a else 1]
    plain = kind.dtype.is_float and not kind.dtype.is_storage
    if not (plain and isinstance(terms, int)):
        return False
    rows, columns = map(hint_value, kind.shape)
    one = rows * kind.dtype.itemsize <= _MOST_BYTES and columns <= panel_columns(kind.dtype)
    several = _FEWEST <= terms // GEMM_BLOCK <= GROUPS
    return one and several and all(narrowest(arg) is arg for arg in args)


def _added_up(a: Any, b: Any) -> Symbolic:
    """The product of factors whose first axes are the terms."""
    terms = a.shape[0]
    assert isinstance(terms, int)
    blocks = terms // GEMM_BLOCK
    whole = blocks * GEMM_BLOCK
    found: Any = Sum((0,))(_product(*(_in_blocks(factor[:whole], blocks) for factor in (a, b))))
    if whole < terms:
        found = found + _product(a[whole:], b[whole:])
    result: Symbolic = found
    return result


def _in_blocks(factor: Any, blocks: int) -> Any:
    return Reshape((blocks, GEMM_BLOCK, factor.shape[1]))(factor)


def _product(a: Any, b: Any) -> Any:
    return MatMul(transpose_a=True)(a, b)

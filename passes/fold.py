"""Constant folding: what depends on constants alone is computed now, by the op's reference.

Only exact ops are folded, whose kernel gives the bytes of the reference on every input; the rest
of a constant subgraph runs once, at plan time, through the compiled kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from passes.base import Pass
from staticgrad.errors import StaticgradError
from staticgrad.ir.constant import ArrayData
from staticgrad.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.source import attribute_to


class Fold(Pass, name="fold"):
    """Replace exact ops over constants by their results.

    A result of more than one element is folded only where it has no more elements than the
    operands together, and at most ``limit``: a broadcast scalar is cheaper as a scalar than as an
    array in memory. An op that raises on its constants is left to raise when it runs.
    """

    limit: int = 65536

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its foldable nodes as constants."""

        def folded(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            if not self.folds(node, args):
                return None
            arrays = _computed(node, args)
            return None if arrays is None else [_constant(node, array) for array in arrays]

        return graph.replace_nodes(folded)

    def folds(self, node: Node, args: tuple[Symbolic, ...]) -> bool:
        """Whether ``node`` over ``args`` is exact, constant and small enough."""
        if node.is_leaf or not node.op.exact:
            return False
        if any(True for _ in node.op.sizes()):
            return False  # only the feeds tell its value, also where the result is empty anyway
        operands = [arg.node.op for arg in args]
        read = sum(op.data.array.size for op in operands if isinstance(op, Constant))
        room = max(1, min(self.limit, read))
        return all(isinstance(op, Constant) for op in operands) and all(
            isinstance(result.size, int) and result.size <= room for result in node.types
        )


def _computed(node: Node, args: tuple[Symbolic, ...]) -> tuple[Any, ...] | None:
    """The results as arrays of the inferred types; None where the op raises or a size is open."""
    arrays = [arg.node.op.data.array for arg in args if isinstance(arg.node.op, Constant)]
    try:
        with attribute_to(node.origin), np.errstate(all="ignore"):
            found = node.op.reference(*arrays)
    except StaticgradError:
        return None
    return found if isinstance(found, tuple) else (found,)


def _constant(node: Node, array: Any) -> Symbolic:
    """A constant at the line and order of the node that it replaces."""
    data = ArrayData(array)
    return Symbolic(Node(Constant(data), (), (data.type,), node.origin, node.order))

"""Constant folding: what depends on constants alone is computed now, by the op's reference.

Only exact ops are folded, whose kernel gives the bytes of the reference on every input; the rest
of a constant subgraph (``staticgrad.compiler.compiling.constant_part``) runs once, through the
compiled kernels, when the program is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from passes.base import Pass, Watch
from staticgrad.errors import StaticgradError
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.nodes import leaf_node
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.types.arrays import ArrayData
from staticgrad.support.building import within


class Fold(Pass, name="fold"):
    """Replace exact ops over constants by their results.

    A result of more than one element is folded only where it has no more elements than the
    operands together, and at most ``limit``: a broadcast scalar is cheaper as a scalar than as an
    array in memory. An op that raises on its constants is left to raise when it runs.
    """

    may_fail = True
    limit: int = 65536

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Fold constants: return the graph, and the number of folded nodes."""
        if not any(self.folds(node, node.args) for node in program.nodes):
            return program, {}
        count = 0

        def fold_node(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            nonlocal count
            arrays = _evaluate(node, args) if self.folds(node, args) else None
            if arrays is None:
                return None
            count += 1
            return [_constant(node, array) for array in arrays]

        graph = program.replace_nodes(fold_node)
        return graph, {self.name: count} if count else {}

    def folds(self, node: Node, args: tuple[Symbolic, ...]) -> bool:
        """Return True if a node is exact, depends on constants alone, and has a small result."""
        read = 0
        for arg in args:  # most nodes read something else
            if not isinstance(arg.node.op, Constant):
                return False
            read += arg.node.op.data.array.size
        if not node.op.exact or node.is_leaf:
            return False
        if [*node.op.sizes()]:
            return False  # only the feeds tell its value, also where the result is empty anyway
        room = max(1, min(self.limit, read))
        return all(isinstance(t.size, int) and t.size <= room for t in node.types)


class Constants:
    """Constants equal to values that depend on constants alone, each computed once.

    They are computed by references of exact ops, and of ops over integers, whose sums are exact.
    """

    def __init__(self) -> None:
        self._results: dict[Node, Sequence[Symbolic] | None] = {}

    def of(self, value: Symbolic) -> Symbolic | None:
        """Return the constant equal to a value, or None."""
        results, waiting = self._results, [value.node]
        while waiting:
            node = waiting[-1]
            operands = None if node in results else self._operands(node)
            if operands is None:
                results.setdefault(node, None)
            elif node not in results:
                unknown = next((arg.node for arg in operands if arg.node not in results), None)
                if unknown is not None:
                    waiting.append(unknown)
                    continue
                results[node] = self._compute(node)
            waiting.pop()
        constants = results[value.node]
        return None if constants is None else constants[value.index]

    def _operands(self, node: Node) -> Sequence[Symbolic] | None:
        """Return what a node is computed of, or None if it is not computed here."""
        if isinstance(node.op, Constant):
            return ()
        if node.is_leaf or node.op.rule_is_foreign or [*node.op.sizes()]:
            return None
        types = [*node.types, *(arg.type for arg in node.args)]
        if not (node.op.exact or all(kind.dtype.is_integer for kind in types)):
            return None
        if not all(isinstance(kind.size, int) for kind in node.types):
            return None
        refused = (
            arg.node in self._results and self._results[arg.node] is None for arg in node.args
        )
        return None if any(refused) else node.args

    def _compute(self, node: Node) -> Sequence[Symbolic] | None:
        if isinstance(node.op, Constant):
            return node.values
        args = []
        for arg in node.args:
            constants = self._results[arg.node]
            if constants is None:
                return None
            args.append(constants[arg.index])
        arrays = _evaluate(node, tuple(args))
        return None if arrays is None else [_constant(node, array) for array in arrays]


def _evaluate(node: Node, args: tuple[Symbolic, ...]) -> tuple[Any, ...] | None:
    """Evaluate a constant node by its op's reference; None on errors or open sizes."""
    arrays = [arg.node.op.data.array for arg in args if isinstance(arg.node.op, Constant)]
    try:
        with within(node.origin), np.errstate(all="ignore"):
            types = [arg.type for arg in args]
            results = round_results(node.op.reference, node.op, types, node.types)(*arrays)
    except Exception as error:
        if isinstance(error, StaticgradError) or node.op.rule_is_foreign:
            return None  # a user's function may raise anything, in a branch that is not taken
        raise
    return results if isinstance(results, tuple) else (results,)


def _constant(node: Node, array: Any) -> Symbolic:
    """Return a constant at the line and order of the node that it replaces."""
    return Symbolic(leaf_node(Constant(ArrayData(array)), node.origin, node.order))

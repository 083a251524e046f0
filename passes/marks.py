"""Marks that matter to derivatives alone leave the graph, just before kernels are made of it.

``stop_gradient`` and the markers of ``custom_vjp`` stand in every graph that a pass gives, so that
it has the derivatives of the one that it was made of. No kernel needs them: each is its first
operand, and what only the rule of a marker would read is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence

from passes.dce import DeadNodes
from staticgrad.ir.forms import Identity
from staticgrad.ir.graph import Graph, Node, Symbolic


def is_mark(node: Node) -> bool:
    """Whether the node is its first operand, for all that a kernel can tell."""
    form = node.form
    return isinstance(form, Identity) and not form.kept


def without_marks(graph: Graph) -> Graph:
    """The graph with the operands of marks in their place, and without what only marks read."""

    def unmarked(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        return args[:1] if is_mark(node) else None

    if not any(map(is_mark, graph.nodes)):
        return graph
    return DeadNodes()(graph.replace_nodes(unmarked))

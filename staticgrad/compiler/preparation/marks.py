"""Removal of marks, which matter only to derivatives, before kernels are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.language.ir.forms import Identity
from staticgrad.language.ir.graph import Graph, Node, Symbolic, reads_any, rebuild

#: The key under which a graph stores itself without marks.
_NOTE: Final = "unmarked"


def is_mark(node: Node) -> bool:
    """Return whether a kernel can replace the node by its first operand."""
    form = node.form
    return isinstance(form, Identity) and not form.kept


def without_marks(graph: Graph) -> Graph:
    """Return the graph with marks replaced by their operands, without nodes that only marks read.

    ``stop_gradient`` and the markers of ``custom_vjp`` stay in every graph that a pass returns, so
    that its derivatives stay the same. Kernels do not need them: the value of each is its first
    operand, and values that only the rule of a marker would read are not computed.
    """

    found = graph.found.get(_NOTE)
    return found if isinstance(found, Graph) else unmarked(graph)[0]


def leave_unmarked(graph: Graph, without: Graph) -> None:
    """Store the result of ``without_marks`` with the graph; they share most nodes."""
    if without is not graph:
        graph.found[_NOTE] = without


def unmarked(graph: Graph) -> tuple[Graph, Mapping[Node, Sequence[Symbolic]]]:
    """Return the graph without marks, and the new results of nodes that changed."""
    new: dict[Node, Sequence[Symbolic]] = {}
    if not any(map(is_mark, graph.nodes)):
        return graph, new
    kept: list[Node] = []

    def there(value: Symbolic) -> Symbolic:
        return new[value.node][value.index] if value.node in new else value

    for node in graph.nodes:
        if is_mark(node):
            new[node] = (there(node.args[0]),)
        elif reads_any(node, new):
            kept.append(rebuild(node, tuple(map(there, node.args))))
            new[node] = kept[-1].values
        else:
            kept.append(node)
    roots = {value.key: there(value) for value in graph.roots}
    return graph.with_nodes(kept, roots).without_dead_nodes(), new

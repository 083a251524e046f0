"""Marks that matter to derivatives alone leave a graph before kernels are made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.ir.forms import Identity
from staticgrad.ir.graph import Graph, Node, Symbolic, reads_any, rebuild

#: The name under which a graph has itself without marks.
_NOTE: Final = "unmarked"


def is_mark(node: Node) -> bool:
    """Whether the node is its first operand, for all that a kernel can tell."""
    form = node.form
    return isinstance(form, Identity) and not form.kept


def without_marks(graph: Graph) -> Graph:
    """The graph with the operands of marks in their place, and without what only marks read.

    ``stop_gradient`` and the markers of ``custom_vjp`` stand in every graph that a pass gives, so
    that it has the derivatives of the one that it was made of. No kernel needs them: each is its
    first operand, and what only the rule of a marker would read is not computed.
    """

    found = graph.found.get(_NOTE)
    return found if isinstance(found, Graph) else unmarked(graph)[0]


def leave_unmarked(graph: Graph, without: Graph) -> None:
    """Keep what ``without_marks`` gives with the graph: most of its nodes are the graph's own."""
    if without is not graph:
        graph.found[_NOTE] = without


def unmarked(graph: Graph) -> tuple[Graph, Mapping[Node, Sequence[Symbolic]]]:
    """The graph without marks, and the results there of nodes that have other ones in it."""
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

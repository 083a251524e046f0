"""Remove marks, which matter only to derivatives, before kernels are made.

The rule of a mark may be the only reader of a carry of a loop, or of a copy. Once marks are gone,
loops are pruned and formulas simplified again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from passes.late.base import late_pass
from passes.loops.pruning import prune_bodies
from passes.simplify import Simplify
from staticgrad.language.ir.bodies import map_bodies
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Identity
from staticgrad.language.ir.graph import BodyOp, Graph, Node, Symbolic, reads_any

#: The key under which a graph stores itself without marks.
_NOTE: Final = "unmarked"


def is_mark(node: Node) -> bool:
    """Return whether a node is a mark: this pass replaces it by its first operand."""
    form = node.form
    return isinstance(form, Identity) and not form.materialized


@late_pass("marks", required="no kernel computes what only derivatives read")
def remove_marks(graph: Graph) -> Graph:
    """Return the graph without its marks (checkpoint, name), which kernels do not compute.

    ``stop_gradient`` and the markers of ``custom_vjp`` stay in every graph that a pass returns, so
    that its derivatives stay the same. Kernels do not need them: the value of each is its first
    operand, and values that only the rule of a marker would read are not computed.
    """

    without = graph.analyses.get(_NOTE)
    if not isinstance(without, Graph):
        without = strip_marks(graph)[0]
        attach_stripped(graph, without)
    return without


def attach_stripped(graph: Graph, without: Graph) -> None:
    """Store the result of ``remove_marks`` with the graph; they share most nodes."""
    if without is not graph:
        graph.analyses[_NOTE] = without


def strip_marks(graph: Graph) -> tuple[Graph, Mapping[Node, Sequence[Symbolic]]]:
    """Rewrite the graph without marks; return it and the new results of nodes."""
    new: dict[Node, Sequence[Symbolic]] = {}
    if not any(map(is_mark, graph.nodes)):
        return graph, new
    nodes: list[Node] = []

    def replacement_of(value: Symbolic) -> Symbolic:
        return new[value.node][value.index] if value.node in new else value

    for node in graph.nodes:
        if is_mark(node):
            new[node] = (replacement_of(node.args[0]),)
        elif reads_any(node, new):
            nodes.append(rebuild(node, tuple(map(replacement_of, node.args))))
            new[node] = nodes[-1].values
        else:
            nodes.append(node)
    roots = {value.key: replacement_of(value) for value in graph.roots}
    return graph.with_nodes(nodes, roots).without_dead_nodes(), new


@late_pass("unmarked-loops")
def prune_unmarked(graph: Graph) -> Graph:
    """Prune and simplify loops and branches, and what surrounds them, without marks in bodies.

    Bodies that have no marks were pruned by the pipeline before.
    """
    if not any(isinstance(node.op, BodyOp) for node in graph.nodes):
        return graph
    graph = map_bodies(graph, lambda body: _prune(strip_marks(body)[0]))
    return _prune(graph)


def _prune(graph: Graph) -> Graph:
    simpler = Simplify()(prune_bodies(graph)[0])
    pruned = prune_bodies(simpler)[0]
    return graph if pruned is graph else pruned.without_dead_nodes()

"""Who reads a value, and in which phase: user lists, last uses, and phases of a graph.

Values are keyed by (node, index); lists are in node order. Nothing is stored on a node: after a
rewrite one asks again. Phase 0 is the forward part, phase 1 what needs a gradient of it, and so on;
a value of one phase that a later one reads is a residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticgrad.ir.forms import Form, Identity, Pointwise, WindowReduce
from staticgrad.ir.graph import Graph, Node

ValueKey = tuple[Node, int]


def users_of(graph: Graph) -> dict[ValueKey, list[Node]]:
    """For every value of the graph, the nodes that read it, each once, in order; maybe none."""
    found: dict[ValueKey, list[Node]] = {
        (node, index): [] for node in graph.nodes for index in range(len(node.types))
    }
    for node in graph.nodes:
        for arg in node.args:
            users = found[arg.node, arg.index]
            if not users or users[-1] is not node:  # x * x reads x twice
                users.append(node)
    return found


def last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """For every node, the nodes whose results nobody reads after it; roots are never among them.

    A node that nothing reads is listed at itself.
    """
    last = {node: node for node in graph.nodes}
    for node in graph.nodes:
        for arg in node.args:
            last[arg.node] = node
    kept = {root.node for root in graph.roots}
    dying: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
    for node, reader in last.items():
        if node not in kept:
            dying[reader].append(node)
    return dying


def phases_of(graph: Graph, users: Mapping[ValueKey, Sequence[Node]]) -> dict[Node, int]:
    """The highest derivative order among each node and all it depends on.

    A pointwise node, or a mark, that only later phases read belongs to the first of them: computed
    there, with its readers, it need not be stored across the border. What rounds a value to be
    stored stays, and a mask: they may be stored in the place of what they read. Places of maxima
    belong to the phase of what they are found in: they are a small part of its bytes.
    """
    roots = {value.key for value in graph.roots}
    phases: dict[Node, int] = {}
    for node in graph.nodes:
        order = 0 if _is_place(node.form) else node.order
        phases[node] = max([order, *[phases[arg.node] for arg in node.args]])
    for node in reversed(graph.nodes):
        first = min([phases[user] for user in users[node, 0]], default=0)
        if first > phases[node] and _runs_anywhere(node) and (node, 0) not in roots:
            phases[node] = first
    return phases


def _is_place(form: Form) -> bool:
    """Whether a node of this form says where in windows something stands."""
    return isinstance(form, WindowReduce) and form.kind == "place"


def _runs_anywhere(node: Node) -> bool:
    """Whether a node costs its readers nothing that they would not do themselves."""
    if isinstance(node.form, Identity):
        return not node.form.kept
    return isinstance(node.form, Pointwise) and not _is_rounded(node) and not _is_mask(node)


def _is_mask(node: Node) -> bool:
    """Whether a node tests numbers: a byte for each where an operand takes more."""
    full = [arg for arg in node.args if arg.shape == node.types[0].shape]
    return node.types[0].dtype.is_bool and any(not arg.dtype.is_bool for arg in full)


def _is_rounded(node: Node) -> bool:
    """Whether a node gives its operand in a dtype that is for storage."""
    stored = node.types[0].dtype
    return len(node.args) == 1 and stored.is_storage and node.args[0].dtype is stored.compute

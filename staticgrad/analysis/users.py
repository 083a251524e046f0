"""Who reads a value: user lists and last uses, as plain functions of a graph.

Values are keyed by (node, index); lists are in node order. Nothing is stored on a node: after a
rewrite one asks again.
"""

from __future__ import annotations

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

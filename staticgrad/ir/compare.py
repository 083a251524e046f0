"""Structural equality of graphs, and where two of them first differ.

Two graphs are the same when they have the same nodes in the same order: equal inputs, parameters
(by name and type), sizes with their promises, ops, operands, types, outputs and updates. The name,
source lines, derivative orders, hints and where leaves stand do not count.
"""

from __future__ import annotations

from itertools import zip_longest

from staticgrad.ir.document import size_line
from staticgrad.ir.graph import Graph, Node
from staticgrad.ir.printer import leaf_name, node_text, root_lines, sizes_of, value_names


def same_graph(left: Graph, right: Graph) -> bool:
    """Whether two graphs are structurally equal."""
    return first_difference(left, right) is None


def first_difference(left: Graph, right: Graph) -> str | None:
    """Two lines that show the first difference, ``left``, then ``right``; None if there is none."""
    if left is right:
        return None
    for one, other in zip_longest(_lines(left), _lines(right), fillvalue="(nothing)"):
        if one != other:
            return f"left:  {one}\nright: {other}"
    return None


def _lines(graph: Graph) -> list[str]:
    names = value_names(graph)
    leaves = [value.node for value in (*graph.inputs, *graph.parameters)]
    header = set(leaves)
    lines = [
        size_line(named, hint=False) for named in sorted(sizes_of(graph), key=lambda n: n.name)
    ]
    lines += [_leaf_line(node) for node in leaves]
    lines += [node_text(node, names, orders=False) for node in graph.nodes if node not in header]
    return lines + [line.strip() for line in root_lines(graph, names)]


def _leaf_line(node: Node) -> str:
    return f"{leaf_name(node)}: {node.types[0]}"

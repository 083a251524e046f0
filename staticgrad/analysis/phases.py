"""Phases: which part of a step a node belongs to, 0 forward, 1 what needs a gradient, and so on.

Derived from the orders of nodes, never stored. Kernels hold nodes of one phase; a value of one
phase that a later one reads is a residual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from staticgrad.analysis.users import ValueKey
from staticgrad.ir.forms import Form, Pointwise, Same
from staticgrad.ir.graph import Graph, Node


def phases_of(graph: Graph, users: Mapping[ValueKey, Sequence[Node]]) -> dict[Node, int]:
    """The highest derivative order among each node and all it depends on.

    A pointwise node, or a mark, that only later phases read belongs to the first of them: computed
    there, with its readers, it need not be stored across the border.
    """
    roots = {value.key for value in graph.roots}
    phases: dict[Node, int] = {}
    for node in graph.nodes:
        phases[node] = max([node.order, *[phases[arg.node] for arg in node.args]])
    for node in reversed(graph.nodes):
        first = min([phases[user] for user in users[node, 0]], default=0)
        if first > phases[node] and _runs_anywhere(node.form) and (node, 0) not in roots:
            phases[node] = first
    return phases


def _runs_anywhere(form: Form) -> bool:
    """Whether a node of this form costs its readers nothing that they would not do themselves."""
    return isinstance(form, Pointwise) or (isinstance(form, Same) and not form.kept)

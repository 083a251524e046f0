"""Common subexpressions: compute equal expressions once."""

from __future__ import annotations

from collections.abc import Mapping

from passes.base import Pass, Watch
from passes.equals import duplicates
from staticgrad.language.ir.graph import Graph, Node, Symbolic, reads_any, rebuild
from staticgrad.support.source import Location, merged


class CommonSubexpressions(Pass, name="cse"):
    """Merge nodes of equal op and identical operands into the first of them.

    The kept node keeps its order, and has the lines of all that it stands for. Constants of equal
    bytes merge; inputs and parameters are what they are. With ``border`` only nodes of one
    derivative order merge: sharing across the border between forward and backward makes a
    residual, which is a memory decision.
    """

    border: bool = False

    def traced(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Return the graph, and the number of nodes merged into others."""
        same = duplicates(program.nodes, border=self.border)
        if not same:
            return program, {}
        origins = _origins(same)
        new: dict[Node, Node] = {}  # node that went -> what stands for it
        nodes = []
        for node in program.nodes:
            kept = same.get(node)
            if kept is not None:
                new[node] = new.get(kept, kept)
                continue
            if node in origins or reads_any(node, new):
                args = [Symbolic(new.get(arg.node, arg.node), arg.index) for arg in node.args]
                new[node] = rebuild(node, tuple(args), origins.get(node))
            nodes.append(new.get(node, node))
        roots = {v.key: Symbolic(new[v.node], v.index) for v in program.roots if v.node in new}
        return program.with_nodes(nodes, roots), {self.name: len(same)}


def _origins(same: Mapping[Node, Node]) -> dict[Node, Location]:
    """Return the origin of each node that replaces others; a constant keeps its own."""
    lines: dict[Node, list[Location]] = {}
    for node, kept in same.items():
        if not node.is_leaf and node.origin != kept.origin:
            lines.setdefault(kept, [kept.origin]).append(node.origin)
    found = {kept: merged(each) for kept, each in lines.items()}
    return {kept: origin for kept, origin in found.items() if origin != kept.origin}

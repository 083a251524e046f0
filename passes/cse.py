"""Common subexpressions: compute equal expressions once, and what another op computes too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from passes.base import Pass, Watch
from passes.equals import duplicates
from staticgrad.language.ir.graph import Graph, Node, Symbolic, reads_any, rebuild
from staticgrad.language.ir.op import Op
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


class PartsOfOthers(Pass, name="parts"):
    """Take results from ops that have them among others: eigenvalues from ``eigh``.

    The derivative of eigenvalues needs eigenvectors, which come with the values. Which op has the
    results of another is declared by ``Op.contained_in``. The values are equal but for rounding, so
    that the pass is in every level, and before those that find more equal operands.
    """

    keeps = "close"

    def traced(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Return the graph, and the number of nodes whose result another one has."""
        if all(kind.contained_in is Op.contained_in for kind in program.kinds):
            return program, {}
        wholes = {n: found for n in program.nodes if (found := n.op.contained_in())}
        if not wholes:
            return program, {}
        same = duplicates(program.nodes)

        def key(op: Op, node: Node) -> Any:
            return op.key, *[(same.get(arg.node, arg.node), arg.index) for arg in node.args]

        last = {key(node.op, node): node for node in program.nodes if node not in wholes}
        of: dict[Node, tuple[Any, Node, int]] = {}  # node -> the op that has its result, and which
        for node, found in wholes.items():
            for op, index in found:
                if (own := key(op, node)) in last:
                    of[node] = own, last[own], index
                    break
        if not of:
            return program, {}
        lines: dict[Any, list[Location]] = {}
        for node, (own, whole, _) in of.items():
            lines.setdefault(own, [whole.origin]).append(node.origin)
        of |= {whole: (own, whole, -1) for own, whole, _ in of.values()}
        made: dict[Any, Node] = {}

        def from_whole(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            if node not in of:
                return None
            own, whole, index = of[node]
            if own not in made:
                made[own] = Node(whole.op, args, whole.types, merged(lines[own]), node.order)
            values = made[own].values
            return values if index < 0 else (values[index],)

        return program.replace_nodes(from_whole), {self.name: len(of) - len(made)}


def _origins(same: Mapping[Node, Node]) -> dict[Node, Location]:
    """Return the origin of each node that replaces others; a constant keeps its own."""
    lines: dict[Node, list[Location]] = {}
    for node, kept in same.items():
        if not node.is_leaf and node.origin != kept.origin:
            lines.setdefault(kept, [kept.origin]).append(node.origin)
    found = {kept: merged(each) for kept, each in lines.items()}
    return {kept: origin for kept, origin in found.items() if origin != kept.origin}

"""Common subexpressions: compute equal expressions once, and what another op computes too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from passes.base import Pass, Watch
from passes.equals import duplicates
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.graph import Graph, Node, Symbolic, reads_any
from staticgrad.language.ir.op import Op
from staticgrad.support.source import Location, merge_locations


class CommonSubexpressions(Pass, name="cse"):
    """Merge nodes of equal op and identical operands into the first of them.

    The kept node keeps its order, and has the lines of all that it stands for. Constants of equal
    bytes merge; inputs and parameters are what they are. With ``border`` only nodes of one
    derivative order merge: sharing across the border between forward and backward makes a
    residual, which is a memory decision.
    """

    may_fail = True
    border: bool = False

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Eliminate common subexpressions: return the graph, and the number of merged nodes."""
        same = duplicates(program.nodes, border=self.border)
        if not same:
            return program, {}
        origins = _origins(same)
        new: dict[Node, Node] = {}  # node that went -> what stands for it
        nodes = []
        for node in program.nodes:
            leader = same.get(node)
            if leader is not None:
                new[node] = new.get(leader, leader)
                continue
            if node in origins or reads_any(node, new):
                args = [Symbolic(new.get(arg.node, arg.node), arg.index) for arg in node.args]
                new[node] = rebuild(node, tuple(args), origin=origins.get(node))
            nodes.append(new.get(node, node))
        # nodes are in topological order: operands have been replaced before their readers
        roots = {v.key: Symbolic(new[v.node], v.index) for v in program.roots if v.node in new}
        return program.with_nodes(nodes, roots), {self.name: len(same)}


class PartsOfOthers(Pass, name="parts"):
    """Take results from ops that have them among others: eigenvalues from ``eigh``.

    The derivative of eigenvalues needs eigenvectors, which come with the values. Which op has the
    results of another is declared by ``Op.contained_in``. The values are equal but for rounding, so
    that the pass is in every level, and before those that find more equal operands.
    """

    may_fail = True
    keeps = "close"

    def apply(self, program: Graph, watch: Watch | None = None) -> tuple[Graph, Mapping[str, int]]:
        """Take results from ops that contain them (eigenvalues of ``eigh``); count them."""
        if all(kind.contained_in is Op.contained_in for kind in program.kinds):
            return program, {}
        containers_of = {
            n: containers for n in program.nodes if (containers := n.op.contained_in())
        }
        if not containers_of:
            return program, {}
        same = duplicates(program.nodes)

        def key(op: Op, node: Node) -> Any:
            return op.key, *[(same.get(arg.node, arg.node), arg.index) for arg in node.args]

        last = {key(node.op, node): node for node in program.nodes if node not in containers_of}
        of: dict[Node, tuple[Any, Node, int]] = {}  # node -> the op that has its result, and which
        for node, containers in containers_of.items():
            for op, index in containers:
                if (op_key := key(op, node)) in last:
                    of[node] = op_key, last[op_key], index
                    break
        if not of:
            return program, {}
        lines: dict[Any, list[Location]] = {}
        for node, (op_key, container, _) in of.items():
            lines.setdefault(op_key, [container.origin]).append(node.origin)
        of |= {container: (op_key, container, -1) for op_key, container, _ in of.values()}
        merged_nodes: dict[Any, Node] = {}

        def from_container(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            """Return a node's results from an op that contains them, built once."""
            if node not in of:
                return None
            op_key, container, index = of[node]
            if op_key not in merged_nodes:
                merged_nodes[op_key] = Node(
                    container.op, args, container.types, merge_locations(lines[op_key]), node.order
                )
            values = merged_nodes[op_key].values
            return values if index < 0 else (values[index],)

        return program.replace_nodes(from_container), {self.name: len(of) - len(merged_nodes)}


def _origins(same: Mapping[Node, Node]) -> dict[Node, Location]:
    """Return the source location of each node that replaces equal ones; a constant's is its own."""
    lines: dict[Node, list[Location]] = {}
    for node, leader in same.items():
        if not node.is_leaf and node.origin != leader.origin:
            lines.setdefault(leader, [leader.origin]).append(node.origin)
    origins = {leader: merge_locations(locations) for leader, locations in lines.items()}
    return {leader: origin for leader, origin in origins.items() if origin != leader.origin}

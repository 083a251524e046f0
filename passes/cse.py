"""Common subexpressions: compute equal expressions once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from passes.base import Pass
from staticgrad.ir.graph import Graph, Input, Node, ParameterLeaf, Symbolic, rebuild


class CommonSubexpressions(Pass, name="cse"):
    """Merge nodes of equal op and identical operands into the first of them.

    The kept node keeps its line and its order. Constants of equal bytes merge; inputs and
    parameters are what they are. With ``border`` only nodes of one derivative order merge: sharing
    across the border between forward and backward makes a residual, which is a memory decision.
    """

    border: bool = False

    def __call__(self, graph: Graph) -> Graph:
        """The graph with each expression once."""
        seen: dict[Any, Node] = {}

        def merged(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
            if isinstance(node.op, Input | ParameterLeaf):
                return None
            key = (node.op.key, _operands(node, args), node.order if self.border else None)
            found = seen.get(key)
            if found is None:
                found = seen[key] = _over(node, args)
            return None if found is node else found.values

        return graph.replace_nodes(merged)


def _operands(node: Node, args: tuple[Symbolic, ...]) -> tuple[Any, ...]:
    """The identity of the operands; in order of creation where the op commutes bit for bit."""
    if node.op.commutative:
        args = tuple(sorted(args, key=lambda arg: (arg.node.serial, arg.index)))
    return tuple(arg.key for arg in args)


def _over(node: Node, args: tuple[Symbolic, ...]) -> Node:
    """``node`` itself if it reads ``args`` already, else rebuilt over them."""
    same = all(new.key == old.key for new, old in zip(args, node.args, strict=True))
    return node if same else rebuild(node, args)

"""Copies of nodes over other operands: values built once more over what replaces others.

Nodes never change, so what depends on a replaced value is copied, operands first: the same ops at
the same lines, in the same derivative orders. What does not depend on one is shared with the
original, so a random draw keeps its key and its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from staticgrad.language.ir.nodes import Node, Symbolic
from staticgrad.language.types.arrays import TensorType
from staticgrad.support.source import Location
from staticgrad.support.traversal import reach

#: A value: its node, and which of the node's results it is.
Key = tuple[Node, int]


class NodeCopies:
    """Copies of the nodes that depend on replaced values. Updates of modules are not copied."""

    def __init__(self, new: Mapping[Key, Symbolic]) -> None:
        """``new`` has what takes the place of each replaced value."""
        self._new = dict(new)

    def apply(self, roots: Sequence[Symbolic]) -> list[Symbolic]:
        """Return the values over what replaces the others."""
        for node in self._collect_nodes(roots):
            self._copy_node(node)
        return [self.value(root) for root in roots]

    def value(self, value: Symbolic) -> Symbolic:
        """Return what stands for a value of the original."""
        return self._new.get(value.key, value)

    def _collect_nodes(self, roots: Sequence[Symbolic]) -> list[Node]:
        """Return the nodes behind values, up to replaced ones, operands first."""

        def copied(values: Iterable[Symbolic]) -> list[Node]:
            return [value.node for value in values if value.key not in self._new]

        nodes = reach(copied(roots), lambda n: copied((*n.args, *self._further_roots(n))))
        return sorted(nodes, key=lambda node: node.serial)

    def _further_roots(self, node: Node) -> Sequence[Symbolic]:
        """Return values that are copied with a node, and that it does not read."""
        return ()

    def _copy_node(self, node: Node) -> None:
        """Copy a node if it reads what changed."""
        args = self._operands(node)
        if not same_values(args, node.args):
            self._add_copy(node, rebuild(node, args))

    def _operands(self, node: Node) -> tuple[Symbolic, ...]:
        """Return what stands for the operands of a node."""
        return tuple([self.value(arg) for arg in node.args])

    def _add_copy(self, node: Node, copy: Node) -> None:
        """Let the results of a copy stand for those of a node that nothing else stands for."""
        for value in copy.values:
            self._new.setdefault((node, value.index), value)


def rebuild(node: Node, args: tuple[Symbolic, ...], origin: Location | None = None) -> Node:
    """Copy a node: the same op over other operands, at the same user's line unless given."""
    place = origin or node.origin
    for new, old in zip(args, node.args, strict=True):
        new_type, old_type = new.node.types[new.index], old.node.types[old.index]
        if new_type is not old_type and new_type != old_type:
            inferred = node.op.infer(*[arg.type for arg in args])
            types = (inferred,) if isinstance(inferred, TensorType) else inferred
            rebuilt = Node(node.op, args, types, place, node.order)
            rebuilt.verified = bool(types)
            return rebuilt
    rebuilt = Node(node.op, args, node.types, place, node.order)
    rebuilt.verified = node.verified
    rebuilt.share_form(node)
    return rebuilt


def same_values(left: Sequence[Symbolic], right: Sequence[Symbolic]) -> bool:
    """Return whether two sequences have the same values."""
    return all(
        a is b or (a.node is b.node and a.index == b.index)
        for a, b in zip(left, right, strict=True)
    )

"""Copies of nodes over other operands: values built once more over what replaces others.

Nodes never change, so what depends on a replaced value is copied, operands first: the same ops at
the same lines, in the same derivative orders. What does not depend on one is shared with the
original, so a random draw keeps its key and its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from staticgrad.language.ir.nodes import Node, Symbolic
from staticgrad.language.ir.op import Op
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

        def select_copied(values: Iterable[Symbolic]) -> list[Node]:
            return [value.node for value in values if value.key not in self._new]

        nodes = reach(
            select_copied(roots), lambda n: select_copied((*n.args, *self._further_roots(n)))
        )
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


def rebuild(
    node: Node,
    args: tuple[Symbolic, ...],
    *,
    op: Op | None = None,
    types: tuple[TensorType, ...] | None = None,
    origin: Location | None = None,
    order: int | None = None,
) -> Node:
    """Copy a node over other operands, at its line and in its derivative order unless given.

    A copy of the same op keeps that it is verified, and its form. Its types are inferred if the
    types of its operands differ. With another ``op`` or with ``types`` nothing is inferred, and
    the copy is to be verified.
    """
    origin = origin or node.origin
    order = node.order if order is None else order
    if op is not None or types is not None:
        return Node(op or node.op, args, node.types if types is None else types, origin, order)
    if not same_types(args, node.args):
        inferred = node.op.infer(*[arg.type for arg in args])
        types = (inferred,) if isinstance(inferred, TensorType) else inferred
        copy = Node(node.op, args, types, origin, order)
        copy.verified = bool(types)
        return copy
    copy = Node(node.op, args, node.types, origin, order)
    copy.verified = node.verified
    copy.share_form(node)
    return copy


def rebuild_all(
    nodes: Iterable[Node],
    new: dict[Key, Symbolic],
    ops: Mapping[Node, Op] = MappingProxyType({}),
    order: int | None = None,
) -> None:
    """Copy nodes, operands first, over the values in ``new``, and add the copies to it.

    ``ops`` replaces the ops of some nodes, ``order`` the derivative order of all.
    """
    for node in nodes:
        args = tuple([new.get(arg.key, arg) for arg in node.args])
        copy = rebuild(node, args, op=ops.get(node), order=order)
        new.update(((node, value.index), value) for value in copy.values)


def same_types(left: Sequence[Symbolic], right: Sequence[Symbolic]) -> bool:
    """Return whether the values of two sequences have the same types."""
    for a, b in zip(left, right, strict=True):
        kind, old_kind = a.node.types[a.index], b.node.types[b.index]
        if kind is not old_kind and kind != old_kind:
            return False
    return True


def same_values(left: Sequence[Symbolic], right: Sequence[Symbolic]) -> bool:
    """Return whether two sequences have the same values."""
    return all(
        a is b or (a.node is b.node and a.index == b.index)
        for a, b in zip(left, right, strict=True)
    )

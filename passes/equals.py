"""Find nodes that compute the same value: for ``cse``, and for gradients of repeated lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from staticgrad.language.ir.graph import Input, Node, ParameterLeaf


def duplicates(nodes: Iterable[Node], *, border: bool = False) -> dict[Node, Node]:
    """Find nodes that compute the same as an earlier one (value numbering), operands first."""
    first: dict[Any, Node] = {}
    same: dict[Node, Node] = {}
    for node in nodes:
        if isinstance(node.op, Input | ParameterLeaf):
            continue
        args = [(same.get(arg.node, arg.node).serial, arg.index) for arg in node.args]
        types = None
        if node.op.commutative and len(args) > 1:
            args.sort()
            types = node.types  # a size has the name that it has in the first operand
        key = (node.op.key, node.order if border else None, types, *args)
        leader = first.setdefault(key, node)
        if leader is not node:
            same[node] = leader
    return same

"""The conditions on named sizes under which a graph holds, each with the node that needs it.

Derived, never stored: inference notes them again when it is asked again. What a guard says, and how
it is checked on feeds, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from staticgrad.types.dim import Guard, collecting_guards
from staticgrad.types.tensor import TensorType

if TYPE_CHECKING:
    from staticgrad.ir.graph import Node


def guards_of(nodes: Iterable[Node]) -> Iterator[tuple[Guard, Node]]:
    """Every guard that the inference of these nodes notes, in their order."""
    for node in nodes:
        if node.is_leaf or not any(map(_has_names, (*node.types, *(a.type for a in node.args)))):
            continue
        with collecting_guards() as guards:
            node.op.infer(*[arg.type for arg in node.args])
        for guard in guards:
            yield guard, node


def _has_names(tensor_type: TensorType) -> bool:
    return any(not isinstance(extent, int) for extent in tensor_type.shape)

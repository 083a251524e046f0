"""Edges: where gradients arrive. A tensor that needs one has an edge, apart from its array.

The tape holds edges, not tensors: an operation keeps only those arrays that its rule reads, and the
others die with the last tensor that has them, as they would without a tape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from staticgrad.types.tensor import TensorType

if TYPE_CHECKING:
    from staticgrad.eager.tape import Node
    from staticgrad.eager.tensor import Tensor

Hook = Callable[[Any], Any]


class Edge:
    """Result ``number`` of ``node``; a leaf if there is no node.

    ``owner`` is the tensor whose ``grad`` is written, held weakly: that of a leaf, and of another
    one after ``retain_grad``. ``hooks`` see the gradient on its way.
    """

    __slots__ = ("__weakref__", "hooks", "node", "number", "owner", "type")

    def __init__(self, type: TensorType, node: Node | None = None, number: int = 0) -> None:
        self.type, self.node, self.number = type, node, number
        self.hooks: dict[object, Hook] | None = None
        self.owner: ref[Tensor] | None = None

    def tensor(self) -> Tensor | None:
        """The tensor whose ``grad`` is written, if it is still there."""
        return None if self.owner is None else self.owner()

    def owned_by(self, tensor: Tensor) -> Edge:
        """This edge; ``tensor`` keeps the gradient that arrives."""
        self.owner = ref(tensor)
        return self

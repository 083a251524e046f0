"""Edges: where gradients arrive. A tensor that needs one has an edge, apart from its array.

The tape holds edges, not tensors: an operation keeps only those arrays that its rule reads, and the
others die with the last tensor that has them, as they would without a tape. Hooks are functions
that see the gradient at an edge on its way, and may replace it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from staticgrad.ops.elementwise import strong_dtype
from staticgrad.types.tensor import TensorType

if TYPE_CHECKING:
    from staticgrad.eager.tape import TapeNode
    from staticgrad.eager.tensor import Tensor

if TYPE_CHECKING:
    from staticgrad.eager.tensor import Tensor

Hook = Callable[[Any], Any]


class Edge:
    """Result ``number`` of ``node``; a leaf if there is no node.

    ``owner`` is the tensor whose ``grad`` is written, held weakly: that of a leaf, and of another
    one after ``retain_grad``. ``hooks`` see the gradient on its way.
    """

    __slots__ = ("__weakref__", "hooks", "node", "number", "owner", "type")

    def __init__(self, type: TensorType, node: TapeNode | None = None, number: int = 0) -> None:
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


class Handle:
    """A registered hook, to be taken off again."""

    def __init__(self, hooks: dict[object, Hook], hook: Hook) -> None:
        self._hooks = hooks
        hooks[self] = hook

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)


def hooked(edge: Edge, ct: Any, kind: type[Tensor]) -> Any:
    """The cotangent of a tensor after its hooks have seen it, in the order of registration.

    Raises:
        DTypeError: a hook gives no array of numbers.
        OpDefinitionError: a hook gives something of another shape.
    """
    for hook in list((edge.hooks or {}).values()):
        replaced = hook(ct)
        if replaced is not None:
            strong_dtype("hook", replaced)
            ct = kind.fitting(edge.type, kind.lift(replaced, edge.type.dtype), "hook")
    return ct

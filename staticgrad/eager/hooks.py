"""Hooks: functions that see the gradient of one tensor on its way, and may replace it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from staticgrad.eager.edge import Edge, Hook
from staticgrad.ops.elementwise import strong_dtype

if TYPE_CHECKING:
    from staticgrad.eager.tensor import Tensor


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

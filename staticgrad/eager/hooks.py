"""Hooks: functions that see the gradient of one tensor on its way, and may replace it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from staticgrad.eager.tensor import Tensor

Hook = Callable[[Any], Any]


class Handle:
    """A registered hook, to be taken off again."""

    def __init__(self, hooks: dict[object, Hook], hook: Hook) -> None:
        self._hooks = hooks
        hooks[self] = hook

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)


def hooked(tensor: Tensor, ct: Any) -> Any:
    """The cotangent of ``tensor`` after its hooks have seen it, in the order of registration.

    Raises:
        OpDefinitionError: a hook gives something of another shape.
    """
    for hook in list((tensor.hooks or {}).values()):
        replaced = hook(ct)
        if replaced is not None:
            ct = tensor.fitting(tensor.lift(replaced, tensor.dtype), "hook")
    return ct

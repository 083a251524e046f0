"""Steps of tensors of ``staticgrad.eager``, by the rules that write graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from staticgrad.eager.modes import no_grad
from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.optim.state import states_made_by


class TensorSteps:
    """An optimizer with the tensors that it steps; ``optimizer.on(tensors)`` makes it.

    Tensors without a gradient stay. What the optimizer keeps from step to step is kept here.
    """

    def __init__(self, rule: Any, params: Iterable[Any]) -> None:
        """A rule of ``sg.optim`` over tensors.

        Raises:
            ArgumentError: no tensors, or something else among them.
        """
        self.rule = rule
        self.params: list[Any] = list(params)
        self._states: dict[Any, Tensor] = {}
        if not self.params:
            raise ArgumentError(f"{type(rule).__name__}: there are no parameters")
        for each in self.params:
            if not isinstance(each, Tensor):
                what = f"{type(rule).__name__}.on takes tensors of staticgrad.eager"
                raise ArgumentError(
                    f"{what}, not {shown(each)}",
                    hint="updates(loss, params) steps the parameters of a graph",
                )

    def step(self) -> None:
        """Change every tensor by its gradient, in place."""
        self.apply({p: Tensor.of(p.grad) for p in self.params if p.grad is not None})

    def apply(self, grads: dict[Tensor, Tensor]) -> None:
        """Change these tensors by these gradients, in place."""
        if not grads:
            return
        with no_grad(), np.errstate(all="ignore"), states_made_by(self._state):
            for tensor, value in self.rule.advanced(grads).items():
                np.copyto(tensor.array, np.asarray(value))

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.params:
            tensor.zero_grad()

    def _state(self, owner: Tensor | None, name: str, shape: Any, dtype: Any) -> Tensor:
        key = (owner, name)
        if key not in self._states:
            self._states[key] = Tensor.of(np.zeros(shape, dtype))
        return self._states[key]

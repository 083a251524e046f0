"""Optimizers: they write into the arrays of parameters. The arithmetic is that of ``sg.optim``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from staticgrad.eager.tensor import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.ir.calls import Constructed
from staticgrad.ir.op import Array


class Optimizer(metaclass=Constructed):
    """Parameters, and how a gradient changes one. Parameters without a gradient stay.

    Raises:
        ArgumentError: no parameters, or a negative learning rate.
    """

    def __init__(self, params: Iterable[Tensor], learning_rate: float) -> None:
        self.params, self.learning_rate = list(params), learning_rate
        if not self.params:
            raise ArgumentError(f"{type(self).__name__}: there are no parameters")
        if learning_rate < 0:
            raise ArgumentError(f"{type(self).__name__}: learning_rate is {learning_rate}")

    def step(self) -> None:
        """Change every parameter by its gradient, in place."""
        with np.errstate(all="ignore"):
            for number, tensor in enumerate(self.params):
                if tensor.grad is not None:
                    tensor.array -= self.learning_rate * self.direction(number, tensor.grad)

    def direction(self, number: int, g: Array) -> Any:
        """What to subtract from parameter ``number``, learning rate apart."""
        raise ArgumentError(f"{type(self).__name__} does not say how it steps")

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for tensor in self.params:
            tensor.zero_grad()


class SGD(Optimizer):
    """v' = momentum * v + g; p' = p - learning_rate * v' (Sutskever et al., ICML 2013)."""

    def __init__(
        self, params: Iterable[Tensor], learning_rate: float, momentum: float = 0.0
    ) -> None:
        super().__init__(params, learning_rate)
        self.momentum = momentum
        self._velocities: dict[int, Array] = {}

    def direction(self, number: int, g: Array) -> Any:
        if not self.momentum:
            return g
        before = self._velocities.get(number)
        self._velocities[number] = v = g if before is None else self.momentum * before + g
        return v


class Adam(Optimizer):
    """Kingma and Ba (ICLR 2015), algorithm 1, as ``sg.optim.Adam``."""

    def __init__(
        self,
        params: Iterable[Tensor],
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(params, learning_rate)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self._steps = 0
        self._first: dict[int, Array] = {}
        self._second: dict[int, Array] = {}

    def step(self) -> None:
        """Change every parameter by its gradient, in place."""
        self._steps += 1
        super().step()

    def direction(self, number: int, g: Array) -> Any:
        zeros = np.zeros_like(g)
        m = self.beta1 * self._first.get(number, zeros) + (1.0 - self.beta1) * g
        v = self.beta2 * self._second.get(number, zeros) + (1.0 - self.beta2) * (g * g)
        self._first[number], self._second[number] = m, v
        number_type, correction = g.dtype.type, 1.0 - self.beta1**self._steps
        scale = number_type(correction / np.sqrt(1.0 - self.beta2**self._steps))
        return m / (np.sqrt(v) * scale + number_type(correction * self.epsilon))

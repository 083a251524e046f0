"""Adam, and Adam with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import moving_average
from staticgrad.optim.hyperparameters import require_decays, require_not_negative
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class Adam(Optimizer):
    """Adam: Kingma and Ba (ICLR 2015), algorithm 1.

    With g the gradient, t the runs so far (``adam.step``, from 1), c1 = 1 - beta1**t, c2 = 1 -
    beta2**t, and the slots ``<parameter>.first_moment`` m and ``<parameter>.second_moment`` v:

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * (g * g)
        p' = p - learning_rate * (m' / (sqrt(v') * (c1 / sqrt(c2)) + c1 * epsilon))

    The quotient is (m' / c1) / (sqrt(v' / c2) + epsilon) by one division. c1 / sqrt(c2)
    and c1 * epsilon are computed in float64, once per step, then take the moments' dtype.

    Args:
        learning_rate: a number, or a 0-d floating value.
        beta1, beta2: decay of the moments, in [0, 1); epsilon: added to the root, outside it.

    >>> import numpy as np, staticgrad as sg
    >>> w, opt = sg.parameter("w", np.array([1.0, -2.0])), sg.optim.Adam(0.1)
    >>> @sg.function
    ... def step(x):
    ...     loss = ((w - x) ** 2).sum()
    ...     opt.minimize(loss)
    ...     return loss
    >>> step(np.zeros(2)), w.value.round(4)
    (np.float64(5.0), array([ 0.9, -1.9]))
    """

    learning_rate: Any = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_decays(self.beta1, self.beta2)
        require_not_negative(epsilon=self.epsilon)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and step counter."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        correction = 1.0 - functions.power(self.beta1, t)
        scale = correction / functions.sqrt(1.0 - functions.power(self.beta2, t))
        least = correction * self.epsilon
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            m, v = self.moments(p, g, updates)
            spread = functions.sqrt(v) * scale.astype(m.dtype)
            updates[p] = self.moved(p, m / (spread + least.astype(m.dtype)))
        return updates

    def moments(self, p: Parameter, g: Any, updates: Updates) -> tuple[Any, Any]:
        """The next first and second moment of a parameter, which go into ``updates``."""
        m, v = slot(p, "first_moment"), slot(p, "second_moment")
        updates[m] = moving_average(m, g, self.beta1)
        updates[v] = moving_average(v, g * g, self.beta2)
        return updates[m], updates[v]

    def moved(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step of the learning rate along ``-direction``."""
        return p - rate_for(self.learning_rate, p) * direction


@dataclass(frozen=True, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter (ICLR 2019), algorithm 2.

    As Adam, but ``p' = p - learning_rate * (direction + weight_decay * p)``. The decay is scaled by
    the learning rate, as frameworks have it (the paper scales it by the schedule alone).

    Args:
        learning_rate, beta1, beta2, epsilon: as in Adam.
        weight_decay: the factor of p.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = AdamW(0.1, weight_decay=0.5).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.85, -1.8 ], dtype=float32)
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        require_not_negative(weight_decay=self.weight_decay)

    def moved(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step along ``-direction`` and towards zero."""
        return super().moved(p, direction + self.weight_decay * p)

"""RMSProp."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import moving_average, with_decay
from staticgrad.optim.hyperparameters import require_between, require_flag, require_not_negative
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class RMSProp(Optimizer):
    """RMSProp: Tieleman and Hinton (Coursera, lecture 6e, 2012); centred as in Graves (2013).

    With g the gradient (plus ``weight_decay * p``) and the slots ``<parameter>.second_moment`` v,
    ``.first_moment`` m (if centered) and ``.momentum`` b (with momentum):

        v' = decay * v + (1 - decay) * (g * g)
        m' = decay * m + (1 - decay) * g
        d  = g / (sqrt(v') + epsilon)                  (plain)
        d  = g / (sqrt(max(v' - m' * m', 0)) + epsilon)   (centered)
        b' = momentum * b + d
        p' = p - learning_rate * b'

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        decay: of the moments, in [0, 1); epsilon: added to the root, outside it.
        momentum: 0 (no slot) up to, not including, 1; centered: divide by the deviation.
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = RMSProp(0.1).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0., -1.], dtype=float32)
    """

    learning_rate: Any = 1e-2
    decay: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_between(self.decay, "decay", 0, 1, "in [0, 1)")
        require_not_negative(epsilon=self.epsilon, weight_decay=self.weight_decay)
        require_between(self.momentum, "momentum", 0, 1, "in [0, 1)")
        require_flag(self.centered, "centered")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and momenta."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            v = slot(p, "second_moment")
            updates[v] = spread = moving_average(v, g * g, self.decay)
            if self.centered:
                m = slot(p, "first_moment")
                updates[m] = mean = moving_average(m, g, self.decay)
                spread = functions.maximum(spread - mean * mean, 0.0)  # rounding goes below
            direction = g / (functions.sqrt(spread) + self.epsilon)
            if self.momentum:
                b = slot(p, "momentum")
                updates[b] = direction = self.momentum * b + direction
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates

"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import moving_average, with_decay
from staticgrad.optim.hyperparameters import require_between, require_not_negative
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class Adadelta(Optimizer):
    """Adadelta: Zeiler (arXiv 1212.5701, 2012), algorithm 1, times a learning rate.

    With g the gradient (plus ``weight_decay * p``) and the slots ``<parameter>.second_moment`` v
    and ``<parameter>.squared_steps`` u:

        v' = decay * v + (1 - decay) * (g * g)
        d  = sqrt(u + epsilon) / sqrt(v' + epsilon) * g
        u' = decay * u + (1 - decay) * (d * d)
        p' = p - learning_rate * d

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule; 1 is the paper's.
        decay: of both means, in [0, 1); epsilon: added to both, under the roots.
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = Adadelta(epsilon=1e-2).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.6877, -1.6848], dtype=float32)
    """

    learning_rate: Any = 1.0
    decay: float = 0.9
    epsilon: float = 1e-6
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_between(self.decay, "decay", 0, 1, "in [0, 1)")
        require_not_negative(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters and means."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            v, u = slot(p, "second_moment"), slot(p, "squared_steps")
            updates[v] = moving_average(v, g * g, self.decay)
            length = functions.sqrt(u + self.epsilon)
            direction = length / functions.sqrt(updates[v] + self.epsilon) * g
            updates[u] = moving_average(u, direction * direction, self.decay)
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates

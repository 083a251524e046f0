"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import with_decay
from staticgrad.optim.hyperparameters import require_not_negative
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class Adagrad(Optimizer):
    """Adagrad: Duchi, Hazan and Singer (JMLR 2011), with diagonal matrices.

    With g the gradient (plus ``weight_decay * p``) and the slot ``<parameter>.squares`` s:

        s' = s + g * g
        p' = p - learning_rate * g / (sqrt(s') + epsilon)

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        epsilon: added to the root, outside it.
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = Adagrad(0.5).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.5, -1.5], dtype=float32)
    """

    learning_rate: Any = 1e-2
    epsilon: float = 1e-10
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_not_negative(epsilon=self.epsilon, weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters and sums of squares."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            squares = slot(p, "squares")
            updates[squares] = total = squares + g * g
            direction = g / (functions.sqrt(total) + self.epsilon)
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates

"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import moving_average, with_decay
from staticgrad.optim.hyperparameters import require_decays, require_not_negative
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class Lion(Optimizer):
    """Lion: Chen et al. (NeurIPS 2023), program 1.

    With g the gradient and the slot ``<parameter>.momentum`` m:

        p' = p - learning_rate * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m' = beta2 * m + (1 - beta2) * g

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule; a third to a tenth of Adam's.
        beta1, beta2: in [0, 1). weight_decay: decoupled, three to ten times AdamW's.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = Lion(0.25).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.tolist()
    [0.75, -1.75]
    """

    learning_rate: Any = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_decays(self.beta1, self.beta2)
        require_not_negative(weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters and momenta."""
        updates: Updates = {}
        for p, g in grads.items():
            m = slot(p, "momentum")
            direction = functions.sign(moving_average(m, g, self.beta1))
            direction = with_decay(direction, self.weight_decay, p)
            updates[m] = moving_average(m, g, self.beta2)
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates

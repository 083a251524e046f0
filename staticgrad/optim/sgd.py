"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import with_decay
from staticgrad.optim.hyperparameters import (
    require,
    require_between,
    require_flag,
    require_not_negative,
)
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in Sutskever et al. (ICML 2013), eqs. 1 to 4.

    With g the gradient (plus ``weight_decay * p``), v the slot ``<parameter>.momentum``:

        v' = momentum * v + g
        p' = p - learning_rate * v'                     (momentum)
        p' = p - learning_rate * (g + momentum * v')    (nesterov)

    The learning rate stands outside v, so that a changing rate does not act on past gradients.

    Args:
        learning_rate: a number, or a 0-d floating value (an input, a parameter, a schedule).
        momentum: 0 (no slots) up to, not including, 1.
        nesterov: look ahead; needs momentum.
        weight_decay: the L2 penalty's factor.

    >>> import staticgrad as sg
    >>> w = sg.parameter("w", [1.0, 2.0])
    >>> opt = sg.optim.SGD(0.1, momentum=0.9)
    >>> opt.updates((w * w).sum(), [w])[w].shape
    (2,)
    """

    learning_rate: Any
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_between(self.momentum, "momentum", 0, 1, "in [0, 1)")
        require_not_negative(weight_decay=self.weight_decay)
        require_flag(self.nesterov, "nesterov")
        require(self.momentum > 0 or not self.nesterov, "nesterov", "False without momentum")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters and momenta."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            if self.momentum:
                velocity = slot(p, "momentum")
                updates[velocity] = moved = self.momentum * velocity + g
                g = g + self.momentum * moved if self.nesterov else moved
            updates[p] = p - rate_for(self.learning_rate, p) * g
        return updates

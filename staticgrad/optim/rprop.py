"""Resilient backpropagation: steps by the signs of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.hyperparameters import require_between, require_positive
from staticgrad.optim.optimizer import Optimizer, Updates
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot


@dataclass(frozen=True, eq=False)
class Rprop(Optimizer):
    """Rprop: Riedmiller and Braun (ICNN 1993), without weight backtracking, as PyTorch has it.

    Each element has a step of its own, ``learning_rate`` at first. It is for gradients of all data,
    not of batches. With g the gradient and the slots ``<parameter>.step_size`` s and
    ``<parameter>.gradient`` h, that of the step before:

        s' = clip(s * (grow, shrink or 1 where g * h is above, below or 0), least, most)
        h' = 0 where g * h < 0, else g
        p' = p - s' * sign(h')

    Args:
        learning_rate: the first step of each element: a number, a 0-d floating value or a schedule,
            which is read in the first run.
        shrink: in (0, 1); grow: 1 or more.
        least, most: between these steps stay.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = Rprop(0.25).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.tolist()
    [0.75, -1.75]
    """

    learning_rate: Any = 1e-2
    shrink: float = 0.5
    grow: float = 1.2
    least: float = 1e-6
    most: float = 50.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_rate(self.learning_rate)
        require_positive(self.shrink, "shrink")
        require_between(self.shrink, "shrink", 0, 1, "in (0, 1)")
        require_between(self.grow, "grow", 1, inf, "1 or more")
        require_positive(self.least, "least")
        require_between(self.most, "most", self.least, inf, "least or more")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, step sizes and what is kept of gradients."""
        updates: Updates = {}
        for p, g in grads.items():
            s, h = slot(p, "step_size"), slot(p, "gradient")
            before = functions.where(s > 0.0, s, rate_for(self.learning_rate, s))
            turned = functions.sign(g) * functions.sign(h)
            factor = functions.where(
                turned > 0.0, self.grow, functions.where(turned < 0.0, self.shrink, 1.0)
            )
            updates[s] = functions.clip(before * factor.astype(s.dtype), self.least, self.most)
            updates[h] = functions.where(turned < 0.0, 0.0, g)
            direction = updates[s] * functions.sign(updates[h])
            updates[p] = p - direction
        return updates

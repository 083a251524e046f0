"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.families import like
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.adam import Adam
from staticgrad.optim.arithmetic import moving_average, with_decay
from staticgrad.optim.hyperparameters import require_not_negative
from staticgrad.optim.optimizer import Updates
from staticgrad.optim.state import slot


@like(Adam)
@dataclass(frozen=True, eq=False)
class Adamax(Adam):
    """Adamax: Kingma and Ba (ICLR 2015), algorithm 2, with epsilon where PyTorch has it.

    With g the gradient (plus ``weight_decay * p``), t the runs so far (``adamax.step``, from 1),
    and the slots ``<parameter>.first_moment`` m and ``<parameter>.largest`` u:

        m' = beta1 * m + (1 - beta1) * g
        u' = max(beta2 * u, abs(g) + epsilon)
        p' = p - learning_rate / (1 - beta1**t) * m' / u'

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        beta1, beta2: decay of the slots, in [0, 1); epsilon: added to each size of a gradient.
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = Adamax(0.1).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.9, -1.9], dtype=float32)
    """

    learning_rate: Any = 2e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        require_not_negative(weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and step counter."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        scale = 1.0 / (1.0 - functions.power(self.beta1, t))
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            m, u = slot(p, "first_moment"), slot(p, "largest")
            updates[m] = moving_average(m, g, self.beta1)
            updates[u] = functions.maximum(self.beta2 * u, functions.abs(g) + self.epsilon)
            direction = updates[m] * scale.astype(m.dtype) / updates[u]
            updates[p] = self.moved(p, direction)
        return updates

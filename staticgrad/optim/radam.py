"""RAdam: Adam that takes plain steps until its second moment can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.families import like
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.adam import Adam
from staticgrad.optim.arithmetic import with_decay
from staticgrad.optim.hyperparameters import require_not_negative
from staticgrad.optim.optimizer import Updates


@like(Adam)
@dataclass(frozen=True, eq=False)
class RAdam(Adam):
    """RAdam: Liu et al. (ICLR 2020), algorithm 2, with epsilon where PyTorch has it.

    With g the gradient (plus ``weight_decay * p``), t the runs so far (``radam.step``, from 1),
    and the slots ``<parameter>.first_moment`` m and ``<parameter>.second_moment`` v:

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * (g * g)
        s  = 2 / (1 - beta2) - 1
        q  = s - 2 * t * beta2**t / (1 - beta2**t)
        r  = sqrt((q - 4) * (q - 2) * s / ((s - 4) * (s - 2) * q))
        d  = m' / (1 - beta1**t), if q > 5 times r * sqrt(1 - beta2**t) / (sqrt(v') + epsilon)
        p' = p - learning_rate * d

    Args:
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = RAdam(0.1).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.8, -1.6], dtype=float32)
    """

    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        require_not_negative(weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and step counter."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        trusted, scale = self._rectification(t)
        of_moment = 1.0 / (1.0 - functions.power(self.beta1, t))
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            m, v = self.moments(p, g, updates)
            share = scale.astype(m.dtype) / (functions.sqrt(v) + self.epsilon)
            direction = m * of_moment.astype(m.dtype) * functions.where(trusted, share, 1.0)
            updates[p] = self.moved(p, direction)
        return updates

    def _rectification(self, t: Any) -> tuple[Any, Any]:
        """Whether the second moment of step ``t`` is trusted, and the factor of its root if so."""
        power = functions.power(self.beta2, t)
        limit = 2.0 / (1.0 - self.beta2) - 1.0
        freedom = limit - 2.0 * t * power / (1.0 - power)
        trusted = freedom > 5.0
        if limit <= 5.0:  # so is no step's freedom above 5, and the factor may divide by 0
            return trusted, functions.sqrt(1.0 - power)
        kept = functions.where(trusted, freedom, limit)
        ratio = (kept - 4.0) * (kept - 2.0) / kept * (limit / ((limit - 4.0) * (limit - 2.0)))
        return trusted, functions.sqrt(ratio * (1.0 - power))

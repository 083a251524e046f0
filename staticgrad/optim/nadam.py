"""NAdam: Adam with Nesterov's momentum."""

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
class NAdam(Adam):
    """NAdam: Dozat (ICLR workshop 2016), algorithm 2, with the schedule of momenta of PyTorch.

    With g the gradient (plus ``weight_decay * p``), t the runs so far (``nadam.step``, from 1),
    a(t) = beta1 * (1 - 0.96**(t * momentum_decay) / 2), P the product of a(1) ... a(t)
    (``nadam.decayed`` keeps 1 - P), and the slots ``<parameter>.first_moment`` m and
    ``<parameter>.second_moment`` v:

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * (g * g)
        d  = a(t+1) / (1 - P * a(t+1)) * m' + (1 - a(t)) / (1 - P) * g
        p' = p - learning_rate * d / (sqrt(v' / (1 - beta2**t)) + epsilon)

    Args:
        momentum_decay: how fast a(t) comes near beta1; 0: it is beta1 / 2 throughout.
        weight_decay: the L2 penalty's factor.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = NAdam(0.1).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.8944, -1.8944], dtype=float32)
    """

    learning_rate: Any = 2e-3
    momentum_decay: float = 4e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        require_not_negative(momentum_decay=self.momentum_decay, weight_decay=self.weight_decay)

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments, product of momenta and step counter."""
        count, decayed = self.state("step"), self.state("decayed", "float64")
        t = (count + 1).astype("float64")
        now, following = self._momentum(t), self._momentum(t + 1.0)
        product = (1.0 - decayed) * now
        of_gradient = (1.0 - now) / (1.0 - product)
        of_moment = following / (1.0 - product * following)
        root = functions.sqrt(1.0 - functions.power(self.beta2, t))
        updates: Updates = {count: count + 1, decayed: 1.0 - product}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            m, v = self.moments(p, g, updates)
            spread = functions.sqrt(v) / root.astype(m.dtype) + self.epsilon
            ahead = of_moment.astype(m.dtype) * m + of_gradient.astype(m.dtype) * g
            updates[p] = self.moved(p, ahead / spread)
        return updates

    def _momentum(self, t: Any) -> Any:
        """The momentum of step ``t``."""
        return self.beta1 * (1.0 - 0.5 * functions.power(0.96, t * self.momentum_decay))

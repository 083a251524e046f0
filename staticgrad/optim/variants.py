"""Rules that vary Adam's moments: Adamax, NAdam, RAdam, LAMB, Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from staticgrad.extend import Fraction, NonNegativeFloat, Parameter, like
from staticgrad.extend.ops import absolute, exp, log, maximum, power, sqrt, where
from staticgrad.functions import norm
from staticgrad.optim.optimizer import Optimizer, Updates, rule
from staticgrad.optim.rules import Adam, moving_average, with_decay
from staticgrad.optim.schedules import Rate, rate_for
from staticgrad.optim.state import slot


@rule
class Adadelta(Optimizer):
    """Adadelta: Zeiler (arXiv 1212.5701), algorithm 1, with a learning rate as in PyTorch.

    With g the gradient (plus ``weight_decay * p``) and the slots ``<parameter>.second_moment`` v
    and ``<parameter>.moves`` u:

        v' = decay * v + (1 - decay) * (g * g)
        d  = g * sqrt(u + eps) / sqrt(v' + eps)
        u' = decay * u + (1 - decay) * (d * d)
        p' = p - learning_rate * d

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        decay: of both averages, in [0, 1); eps: added inside of the roots.
        weight_decay: the L2 penalty's factor.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.Adadelta(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    3
    """

    learning_rate: Rate = 1.0
    decay: Fraction = 0.9
    eps: NonNegativeFloat = 1e-6
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Adadelta: the ratio of root mean squares of updates and gradients."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            v, u = slot(p, "second_moment"), slot(p, "moves")
            updates[v] = spread = moving_average(v, g * g, self.decay)
            move = g * (sqrt(u + self.eps) / sqrt(spread + self.eps))
            updates[u] = moving_average(u, move * move, self.decay)
            updates[p] = p - rate_for(self.learning_rate, p) * move
        return updates


@rule
class Adamax(Optimizer):
    """Adamax: Kingma and Ba (ICLR 2015), algorithm 2.

    With g the gradient (plus ``weight_decay * p``), t the runs so far (``adamax.step``, from 1),
    and the slots ``<parameter>.first_moment`` m and ``<parameter>.largest`` u:

        m' = beta1 * m + (1 - beta1) * g
        u' = max(beta2 * u, abs(g) + eps)
        p' = p - learning_rate / (1 - beta1**t) * m' / u'

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        beta1, beta2: in [0, 1); eps: added to the gradient's size.
        weight_decay: the L2 penalty's factor.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.Adamax(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    4
    """

    learning_rate: Rate = 2e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: NonNegativeFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Adamax: the gradient's moment over its largest decayed magnitude."""
        count = self.state("step")
        correction = 1.0 - power(self.beta1, (count + 1).astype("float64"))
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            m, u = slot(p, "first_moment"), slot(p, "largest")
            updates[m] = mean = moving_average(m, g, self.beta1)
            updates[u] = size = maximum(self.beta2 * u, absolute(g) + self.eps)
            direction = mean / (size * correction.astype(mean.dtype))
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates


@like(Adam)
@rule
class NAdam(Adam):
    """Adam with Nesterov's momentum: Dozat (ICLR workshop 2016), as in PyTorch.

    With g the gradient (plus ``weight_decay * p``), t the runs so far (``nadam.step``, from 1), m'
    and v' as Adam's, and mu(t) = beta1 * (1 - 0.96**(t * momentum_decay) / 2), whose products up to
    t are P(t) (``nadam.log_product`` is the logarithm):

        s  = sqrt(v' / (1 - beta2**t)) + eps
        d  = (1 - mu(t)) / (1 - P(t)) * g + mu(t + 1) / (1 - P(t + 1)) * m'
        p' = p - learning_rate * d / s

    Args:
        momentum_decay: how fast mu grows to beta1.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.NAdam(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    5
    """

    learning_rate: Rate = 2e-3
    momentum_decay: NonNegativeFloat = 4e-3

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by NAdam: Adam with Nesterov's momentum schedule."""
        count, logs = self.state("step"), self.state("log_product", "float64")
        t = (count + 1).astype("float64")
        now, ahead = self._momentum(t), self._momentum(t + 1.0)
        so_far = logs + log(now)
        product = exp(so_far)
        of_gradient = (1.0 - now) / (1.0 - product)
        of_mean = ahead / (1.0 - product * ahead)
        scale = 1.0 / sqrt(1.0 - power(self.beta2, t))
        updates: Updates = {count: count + 1, logs: so_far}
        for p, g in grads.items():
            g = self.add_penalty(g, p)
            m, v = self.moments(p, g, updates)
            direction = of_gradient.astype(m.dtype) * g + of_mean.astype(m.dtype) * m
            spread = sqrt(v) * scale.astype(m.dtype) + self.eps
            updates[p] = self.move(p, direction / spread)
        return updates

    def _momentum(self, t: Any) -> Any:
        return self.beta1 * (1.0 - 0.5 * power(0.96, t * self.momentum_decay))


@like(Adam)
@rule
class RAdam(Adam):
    """Rectified Adam: Liu et al. (ICLR 2020), algorithm 2.

    As Adam, with rho(t) = r - 2 t beta2**t / (1 - beta2**t) and r = 2 / (1 - beta2) - 1: the
    direction is m' / c1 while rho(t) <= 5, then Adam's times
    sqrt((rho - 4) (rho - 2) r / ((r - 4) (r - 2) rho)).

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.RAdam(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    4
    """

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by RAdam: Adam with a rectified adaptive rate."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        correction, second = 1.0 - power(self.beta1, t), 1.0 - power(self.beta2, t)
        most = 2.0 / (1.0 - self.beta2) - 1.0
        length = most - 2.0 * t * power(self.beta2, t) / second
        is_long = length > 5.0
        clamped_length = where(is_long, length, 5.0)
        share = (
            (clamped_length - 4.0)
            * (clamped_length - 2.0)
            * most
            / ((most - 4.0) * (most - 2.0) * clamped_length)
        )
        factor = sqrt(share * second)
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            g = self.add_penalty(g, p)
            m, v = self.moments(p, g, updates)
            adapted = factor.astype(m.dtype) / (sqrt(v) + self.eps)
            direction = m / correction.astype(m.dtype)
            updates[p] = self.move(p, direction * where(is_long, adapted, 1.0))
        return updates


@like(Adam)
@rule
class LAMB(Adam):
    """LAMB: You et al. (ICLR 2020), algorithm 2, for large batches.

    With d Adam's direction plus ``weight_decay * p``, over each parameter as a whole:

        p' = p - learning_rate * norm(p) / norm(d) * d     (1 in place of the quotient if it is 0)

    Args:
        weight_decay: decoupled, the factor of p.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.LAMB(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    4
    """

    weight_decay: NonNegativeFloat = 1e-2

    def add_penalty(self, g: Any, p: Parameter) -> Any:
        """The gradient: the decay is part of the direction."""
        return g

    def move(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step that is as long as it is itself."""
        direction = with_decay(direction, self.weight_decay, p)
        parameter_norm, length = norm(p.astype(direction.dtype)), norm(direction)
        counts = (parameter_norm > 0) & (length > 0)
        share = where(counts, parameter_norm / where(counts, length, 1.0), 1.0)
        return super().move(p, (share * direction).astype(direction.dtype))

"""Rules of optimizers: each is its hyperparameters, with bounds, and the formula of a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from staticgrad.extend import (
    Fraction,
    NonNegativeFloat,
    Parameter,
    PositiveFloat,
    PositiveInt,
    deprecated_attribute,
    like,
)
from staticgrad.extend.ops import expand_dims, maximum, minimum, power, sign, sqrt, transpose, where
from staticgrad.optim.gradients import require
from staticgrad.optim.optimizer import Optimizer, Updates, in_compute_dtype, rule
from staticgrad.optim.schedules import Rate, rate_for
from staticgrad.optim.state import slot, state_of


def moving_average(old: Any, new: Any, decay: float) -> Any:
    """``decay * old + (1 - decay) * new``: an exponential moving average after one more value."""
    return decay * old + (1.0 - decay) * new


def with_decay(direction: Any, weight_decay: float, p: Parameter) -> Any:
    """Return ``direction + weight_decay * p``; without a decay no operation is added.

    Added to a gradient it is the L2 penalty; added to the scaled direction, decoupled decay.
    """
    return direction + weight_decay * p if weight_decay else direction


@rule
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as in Sutskever et al. (ICML 2013), eqs. 1 to 4.

    With g the gradient (plus ``weight_decay * p``), v the slot ``<parameter>.momentum``:

        v' = momentum * v + g
        p' = p - learning_rate * v'                     (momentum)
        p' = p - learning_rate * (g + momentum * v')    (nesterov)

    The learning rate is not part of v, so that a changing rate does not act on past gradients. With
    ``dampening`` d, v' = momentum * v + (1 - d) * g from the second step on (``sgd.step`` counts),
    as in PyTorch.

    Args:
        learning_rate: a number, or a 0-d floating value (an input, a parameter, a schedule).
        momentum: 0 (no slots) up to, not including, 1.
        nesterov: look ahead; needs momentum, and no dampening.
        weight_decay: the L2 penalty's factor.
        dampening: the share of gradients that momentum leaves out, in [0, 1).

    >>> w = sg.parameter("w", [1.0, 2.0])
    >>> opt = sg.optim.SGD(0.1, momentum=0.9)
    >>> opt.updates((w * w).sum(), [w])[w].shape
    (2,)
    """

    if TYPE_CHECKING:  # a call may name it ``lr``
        learning_rate: Rate = 0.0
    else:
        learning_rate: Rate
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0
    dampening: Fraction = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.momentum > 0 or not self.nesterov, "nesterov", "False without momentum")
        require(not (self.nesterov and self.dampening), "nesterov", "False with dampening")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by SGD: momentum, Nesterov's variant, dampening."""
        updates: Updates = {}
        share: Any = None
        if self.momentum and self.dampening:
            count = self.state("step")
            updates[count] = step = count + 1
            share = where(step > 1, 1.0 - self.dampening, 1.0)
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            if self.momentum:
                velocity = slot(p, "momentum")
                new = g if share is None else share.astype(g.dtype) * g
                updates[velocity] = new_velocity = self.momentum * velocity + new
                g = g + self.momentum * new_velocity if self.nesterov else new_velocity
            updates[p] = p - rate_for(self.learning_rate, p) * g
        return updates


@rule
class Adam(Optimizer):
    """Adam: Kingma and Ba (ICLR 2015), algorithm 1.

    With g the gradient, t the runs so far (``adam.step``, from 1), c1 = 1 - beta1**t, c2 = 1 -
    beta2**t, and the slots ``<parameter>.first_moment`` m and ``<parameter>.second_moment`` v:

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * (g * g)
        p' = p - learning_rate * (m' / (sqrt(v') * (c1 / sqrt(c2)) + c1 * eps))

    The quotient is (m' / c1) / (sqrt(v' / c2) + eps) by one division. c1 / sqrt(c2)
    and c1 * eps are computed in float64, once per step, then take the moments' dtype.

    Args:
        learning_rate: a number, or a 0-d floating value.
        beta1, beta2: decay of the moments, in [0, 1); eps: added to the root, outside it.
        weight_decay: the L2 penalty's factor: ``weight_decay * p`` is added to g.
        amsgrad: divide by the largest v' so far, the slot ``<parameter>.largest_moment`` (Reddi,
            Kale and Kumar, ICLR 2018).

    >>> w, opt = sg.parameter("w", np.array([1.0, -2.0])), sg.optim.Adam(0.1)
    >>> @sg.function
    ... def step(x):
    ...     loss = ((w - x) ** 2).sum()
    ...     opt.minimize(loss)
    ...     return loss
    >>> step(np.zeros(2)), w.value.round(4)
    (np.float64(5.0), array([ 0.9, -1.9]))
    """

    learning_rate: Rate = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: NonNegativeFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    amsgrad: bool = False

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Adam: bias-corrected first and second moments."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        correction = 1.0 - power(self.beta1, t)
        scale = correction / sqrt(1.0 - power(self.beta2, t))
        least = correction * self.eps
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            m, v = self.moments(p, self.add_penalty(g, p), updates)
            spread = sqrt(v) * scale.astype(m.dtype)
            updates[p] = self.move(p, m / (spread + least.astype(m.dtype)))
        return updates

    penalised = deprecated_attribute("0.2", "add_penalty")
    moved = deprecated_attribute("0.2", "move")

    def add_penalty(self, g: Any, p: Parameter) -> Any:
        """The gradient of the loss with the L2 penalty."""
        return with_decay(g, self.weight_decay, p)

    def moments(self, p: Parameter, g: Any, updates: Updates) -> tuple[Any, Any]:
        """Update Adam's first and second moments of a parameter; with amsgrad also the largest.

        With ``amsgrad`` the largest second moment, too, in the place of the second.
        """
        m, v = slot(p, "first_moment"), slot(p, "second_moment")
        updates[m] = moving_average(m, g, self.beta1)
        updates[v] = moving_average(v, g * g, self.beta2)
        if not self.amsgrad:
            return updates[m], updates[v]
        largest = slot(p, "largest_moment")
        updates[largest] = maximum(largest, updates[v])
        return updates[m], updates[largest]

    def move(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step of the learning rate along ``-direction``."""
        return p - rate_for(self.learning_rate, p) * direction


@rule
class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter (ICLR 2019), algorithm 2.

    As Adam, but ``p' = p - learning_rate * (direction + weight_decay * p)``. The decay is scaled by
    the learning rate, as frameworks have it (the paper scales it by the schedule alone).

    Args:
        learning_rate, beta1, beta2, eps: as in Adam.
        weight_decay: the factor of p.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> steps = AdamW(0.1, weight_decay=0.5).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 0.85, -1.8 ], dtype=float32)
    """

    weight_decay: NonNegativeFloat = 1e-2

    def add_penalty(self, g: Any, p: Parameter) -> Any:
        """The gradient: the decay is decoupled."""
        return g

    def move(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step along ``-direction`` and towards zero."""
        return super().move(p, direction + self.weight_decay * p)


#: Coefficients of x, x**3 and x**5, which take singular values near 1 in five rounds: Jordan's.
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)


@rule
class Muon(AdamW):
    """Muon: Jordan et al. (2024), as ``torch.optim.Muon``; AdamW for all but matrices.

    A parameter of two axes has, with g its gradient, the slot ``<parameter>.momentum`` m:

        m' = momentum * m + (1 - momentum) * g
        d  = momentum * m' + (1 - momentum) * g   (nesterov; else m')
        p' = p - learning_rate * (s * orthogonal(d) + weight_decay * p)

    ``orthogonal(d)`` is d / max(norm(d), 1e-7) after ``rounds`` of the iteration of Newton and
    Schulz x -> 3.4445 x - 4.7750 (x x^T) x + 2.0315 (x x^T)^2 x, which brings all singular values
    near 1: in the dtype of the gradient, where PyTorch rounds to bfloat16. Any other parameter (a
    bias, a filter) takes the step of AdamW with ``beta1``, ``beta2`` and ``eps``, the same rate
    and the same decay. Embeddings and last layers are matrices that Jordan leaves to AdamW:
    ``sg.optim.ParameterGroups`` does that.

    Args:
        learning_rate, beta1, beta2, eps, weight_decay: as in AdamW.
        momentum: in [0, 1); nesterov: look ahead; rounds: of the iteration.
        adjust: s of a matrix [a, b]. "original": sqrt(max(1, a / b)); "match_rms_adamw": 0.2 *
            sqrt(max(a, b)), with which AdamW's rates and decays serve (Liu et al., 2025).

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor(np.eye(2, dtype="float32"), requires_grad=True)
    >>> steps = Muon(0.1, weight_decay=0.0).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(2)
    array([[0.89, 0.  ],
           [0.  , 0.89]], dtype=float32)
    """

    weight_decay: NonNegativeFloat = 0.1
    momentum: Fraction = 0.95
    nesterov: bool = True
    rounds: PositiveInt = 5
    adjust: Literal["original", "match_rms_adamw"] = "original"

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Muon: orthogonalized momentum for matrices, AdamW for other parameters."""
        others = {p: g for p, g in grads.items() if p.ndim != 2}
        updates: Updates = super().step(others) if others else {}
        for p, g in grads.items():
            if p.ndim != 2:
                continue
            m = slot(p, "momentum")
            updates[m] = d = moving_average(m, g, self.momentum)
            if self.nesterov:
                d = moving_average(d, g, self.momentum)
            direction = self._factor(p) * orthogonal(d, self.rounds)
            updates[p] = self.move(p, direction)
        return updates

    def _factor(self, p: Parameter) -> float:
        rows, columns = (int(size) for size in p.shape)
        if self.adjust == "original":
            return math.sqrt(max(1.0, rows / columns)) if columns else 1.0
        return 0.2 * math.sqrt(max(rows, columns))


def orthogonal(matrix: Any, rounds: int) -> Any:
    """Orthogonalize a matrix by Newton-Schulz iterations: singular values near 1.

    The smaller of both products with the transpose is taken.
    """
    rows, columns = matrix.shape
    tall = int(rows) > int(columns)
    x = transpose(matrix) if tall else matrix
    x = x / maximum(sqrt((x * x).sum()), 1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(rounds):
        gram = x @ transpose(x)
        x = first * x + (third * gram + fifth * (gram @ gram)) @ x
    return transpose(x) if tall else x


@rule
class Lion(Optimizer):
    """Lion: Chen et al. (NeurIPS 2023), program 1.

    With g the gradient and the slot ``<parameter>.momentum`` m:

        p' = p - learning_rate * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m' = beta2 * m + (1 - beta2) * g

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule; a third to a tenth of Adam's.
        beta1, beta2: in [0, 1). weight_decay: decoupled, three to ten times AdamW's.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.Lion(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    2
    """

    learning_rate: Rate = 1e-4
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Lion: the sign of an interpolated momentum."""
        updates: Updates = {}
        for p, g in grads.items():
            m = slot(p, "momentum")
            direction = sign(moving_average(m, g, self.beta1))
            direction = with_decay(direction, self.weight_decay, p)
            updates[m] = moving_average(m, g, self.beta2)
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates


@rule
class RMSProp(Optimizer):
    """RMSProp: Tieleman and Hinton (Coursera, lecture 6e, 2012); centred as in Graves (2013).

    With g the gradient (plus ``weight_decay * p``) and the slots ``<parameter>.second_moment`` v,
    ``.first_moment`` m (if centered) and ``.momentum`` b (with momentum):

        v' = decay * v + (1 - decay) * (g * g)
        m' = decay * m + (1 - decay) * g
        d  = g / (sqrt(v') + eps)                  (plain)
        d  = g / (sqrt(max(v' - m' * m', 0)) + eps)   (centered)
        b' = momentum * b + d
        p' = p - learning_rate * b'

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule.
        decay: of the moments, in [0, 1); eps: added to the root, outside it.
        momentum: 0 (no slot) up to, not including, 1; centered: divide by the deviation.
        weight_decay: the L2 penalty's factor.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.RMSProp(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    2
    """

    learning_rate: Rate = 1e-2
    decay: Fraction = 0.99
    eps: NonNegativeFloat = 1e-8
    momentum: Fraction = 0.0
    centered: bool = False
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by RMSProp: the gradient over the root of its mean square."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            v = slot(p, "second_moment")
            updates[v] = spread = moving_average(v, g * g, self.decay)
            if self.centered:
                m = slot(p, "first_moment")
                updates[m] = mean = moving_average(m, g, self.decay)
                spread = maximum(spread - mean * mean, 0.0)  # rounding goes below
            direction = g / (sqrt(spread) + self.eps)
            if self.momentum:
                b = slot(p, "momentum")
                updates[b] = direction = self.momentum * b + direction
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates


@like(RMSProp)
@rule
class Adagrad(Optimizer):
    """Adagrad: Duchi, Hazan and Singer (JMLR 2011), with diagonal matrices.

    With g the gradient (plus ``weight_decay * p``) and the slot ``<parameter>.squares`` s:

        s' = s + g * g
        p' = p - learning_rate * g / (sqrt(s') + eps)

    Args:
        eps: added to the root, outside it.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.Adagrad(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    2
    """

    learning_rate: Rate = 1e-2
    eps: NonNegativeFloat = 1e-10
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Adagrad: the gradient over the root of its sum of squares."""
        updates: Updates = {}
        for p, g in grads.items():
            g = with_decay(g, self.weight_decay, p)
            squares = slot(p, "squares")
            updates[squares] = total = squares + g * g
            direction = g / (sqrt(total) + self.eps)
            updates[p] = p - rate_for(self.learning_rate, p) * direction
        return updates


@rule
class Adafactor(Optimizer):
    """Adafactor: Shazeer and Stern (ICML 2018), algorithms 4 and 5.

    With g the gradient, t the runs so far (``adafactor.step``, from 1), b = 1 - t**-decay, and over
    the last two axes of a parameter with two or more the slots ``<parameter>.rows`` r (without the
    last axis) and ``.columns`` c (without the one before); else the slot ``.second_moment`` v:

        s  = g * g + eps
        r' = b * r + (1 - b) * mean(s, last axis);   c' likewise along the other
        u  = g / sqrt(r' * c' / mean(r'))            (or g / sqrt(v'))
        u' = u / max(1, rms(u) / threshold)
        p' = p - a * (u' + weight_decay * p)

    where a is the learning rate, times max(least_scale, rms(p)) if ``relative``.

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule; None: min(0.01, 1 / sqrt(t)).
        decay: in (0, 1]; eps: added to squares; threshold: of the clipping of updates.
        relative: scale steps with the parameter; least_scale: its scale at least.
        weight_decay: decoupled, scaled by a.

    >>> w = sg.parameter("w", np.zeros(2))
    >>> opt = sg.optim.Adafactor(learning_rate=0.1)
    >>> loss = sg.sum((w - 1.0) ** 2)
    >>> step = sg.Graph({"loss": loss}, opt.updates(loss, [w]))
    >>> len(step.updates)
    3
    """

    learning_rate: Rate | None = None
    decay: PositiveFloat = 0.8
    eps: NonNegativeFloat = 1e-30
    threshold: PositiveFloat = 1.0
    relative: bool = True
    least_scale: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Step by Adafactor: factored second moments, relative step sizes."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        keep = 1.0 - power(t, -self.decay)
        rate = self.learning_rate
        if rate is None:
            rate = minimum(1e-2, 1.0 / sqrt(t))
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            direction = self._direction(p, g, keep, updates)
            share = _rms(direction) / self.threshold
            direction = direction / maximum(share, 1.0)
            direction = with_decay(direction, self.weight_decay, p)
            length = rate_for(rate, p)
            if self.relative:
                length = length * maximum(_rms(in_compute_dtype(p, p)), self.least_scale)
            updates[p] = p - length * direction
        return updates

    def _direction(self, p: Parameter, g: Any, keep: Any, updates: Updates) -> Any:
        """Divide a gradient by the root of Adafactor's second moment, by rows and columns."""
        squares = g * g + self.eps
        decay = keep.astype(squares.dtype)
        if p.ndim < 2:
            v = slot(p, "second_moment")
            updates[v] = decay * v + (1.0 - decay) * squares
            return g / sqrt(updates[v])
        rows = state_of(p, "rows", p.shape[:-1], p.dtype.compute.numpy)
        columns = state_of(p, "columns", (*p.shape[:-2], p.shape[-1]), p.dtype.compute.numpy)
        updates[rows] = r = decay * rows + (1.0 - decay) * squares.mean(-1)
        updates[columns] = c = decay * columns + (1.0 - decay) * squares.mean(-2)
        r = r / expand_dims(r.mean(-1), -1)
        by_row = expand_dims(sqrt(r), -1)
        return g / (by_row * expand_dims(sqrt(c), -2))


def _rms(x: Any) -> Any:
    return sqrt((x * x).mean())

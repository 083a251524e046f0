"""Adafactor: second moments of matrices in as much memory as a row and a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.arithmetic import with_decay
from staticgrad.optim.hyperparameters import (
    require_flag,
    require_not_negative,
    require_positive,
)
from staticgrad.optim.optimizer import Optimizer, Updates, in_compute_dtype
from staticgrad.optim.rates import check_rate, rate_for
from staticgrad.optim.state import slot, state_of


@dataclass(frozen=True, eq=False)
class Adafactor(Optimizer):
    """Adafactor: Shazeer and Stern (ICML 2018), algorithms 4 and 5.

    With g the gradient, t the runs so far (``adafactor.step``, from 1), b = 1 - t**-decay, and over
    the last two axes of a parameter with two or more the slots ``<parameter>.rows`` r (without the
    last axis) and ``.columns`` c (without the one before); else the slot ``.second_moment`` v:

        s  = g * g + epsilon
        r' = b * r + (1 - b) * mean(s, last axis);   c' likewise along the other
        u  = g / sqrt(r' * c' / mean(r'))            (or g / sqrt(v'))
        u' = u / max(1, rms(u) / threshold)
        p' = p - a * (u' + weight_decay * p)

    where a is the learning rate, times max(least_scale, rms(p)) if ``relative``.

    Args:
        learning_rate: a number, a 0-d floating value, or a schedule; None: min(0.01, 1 / sqrt(t)).
        decay: in (0, 1]; epsilon: added to squares; threshold: of the clipping of updates.
        relative: scale steps with the parameter; least_scale: its scale at least.
        weight_decay: decoupled, scaled by a.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([[1.0, -2.0]], requires_grad=True)
    >>> steps = Adafactor().on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([[ 0.9842, -1.9842]], dtype=float32)
    """

    learning_rate: Any = None
    decay: float = 0.8
    epsilon: float = 1e-30
    threshold: float = 1.0
    relative: bool = True
    least_scale: float = 1e-3
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        if self.learning_rate is not None:
            check_rate(self.learning_rate)
        require_positive(self.decay, "decay")
        require_not_negative(epsilon=self.epsilon, weight_decay=self.weight_decay)
        require_positive(self.threshold, "threshold")
        require_flag(self.relative, "relative")
        require_positive(self.least_scale, "least_scale")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, moments and step counter."""
        count = self.state("step")
        t = (count + 1).astype("float64")
        keep = 1.0 - functions.power(t, -self.decay)
        rate = self.learning_rate
        if rate is None:
            rate = functions.minimum(1e-2, 1.0 / functions.sqrt(t))
        updates: Updates = {count: count + 1}
        for p, g in grads.items():
            direction = self._direction(p, g, keep, updates)
            share = _rms(direction) / self.threshold
            direction = direction / functions.maximum(share, 1.0)
            direction = with_decay(direction, self.weight_decay, p)
            length = rate_for(rate, p)
            if self.relative:
                length = length * functions.maximum(_rms(in_compute_dtype(p, p)), self.least_scale)
            updates[p] = p - length * direction
        return updates

    def _direction(self, p: Parameter, g: Any, keep: Any, updates: Updates) -> Any:
        """The gradient over the root of its second moment, which goes into ``updates``."""
        squares = g * g + self.epsilon
        kept = keep.astype(squares.dtype)
        if p.ndim < 2:
            v = slot(p, "second_moment")
            updates[v] = kept * v + (1.0 - kept) * squares
            return g / functions.sqrt(updates[v])
        rows = state_of(p, "rows", p.shape[:-1], p.dtype.compute.numpy)
        columns = state_of(p, "columns", (*p.shape[:-2], p.shape[-1]), p.dtype.compute.numpy)
        updates[rows] = r = kept * rows + (1.0 - kept) * squares.mean(-1)
        updates[columns] = c = kept * columns + (1.0 - kept) * squares.mean(-2)
        r = r / functions.expand_dims(r.mean(-1), -1)
        by_row = functions.expand_dims(functions.sqrt(r), -1)
        return g / (by_row * functions.expand_dims(functions.sqrt(c), -2))


def _rms(x: Any) -> Any:
    """The root of the mean square."""
    return functions.sqrt((x * x).mean())

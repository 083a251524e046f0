"""LAMB: Adam whose steps are as long as a share of each parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from staticgrad.families import like
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.adam import AdamW
from staticgrad.optim.arithmetic import with_decay
from staticgrad.optim.optimizer import in_compute_dtype
from staticgrad.optim.rates import rate_for


@like(AdamW)
@dataclass(frozen=True, eq=False)
class LAMB(AdamW):
    """LAMB: You et al. (ICLR 2020), algorithm 2, for large batches.

    As AdamW until the direction d of a parameter, its weight decay included, is known; then, with
    the lengths of the whole parameter and of its whole direction:

        p' = p - learning_rate * norm(p) / norm(d) * d

    Where either length is 0 the ratio is 1, as in optax.

    Args:
        epsilon: as in Adam; larger than its.

    >>> from staticgrad.eager import Tensor
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> steps = LAMB(0.1).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(4)
    array([ 2.6464, -3.6464], dtype=float32)
    """

    epsilon: float = 1e-6
    weight_decay: float = 0.0

    def moved(self, p: Parameter, direction: Any) -> Any:
        """The parameter after a step along ``-direction`` and towards zero, of its own length."""
        direction = with_decay(direction, self.weight_decay, p)
        wide = in_compute_dtype(p, p)
        length = functions.sqrt((wide * wide).sum())
        least = functions.sqrt((direction * direction).sum())
        both = functions.logical_and(length > 0.0, least > 0.0)
        ratio = functions.where(both, length / functions.where(both, least, 1.0), 1.0)
        return p - rate_for(self.learning_rate, p) * ratio * direction

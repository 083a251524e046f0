"""Muon: momentum of matrices, made orthogonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Final, Literal

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.ir.functional import functions
from staticgrad.ir.graph import Parameter
from staticgrad.optim.adam import AdamW
from staticgrad.optim.arithmetic import moving_average
from staticgrad.optim.hyperparameters import require_between, require_count, require_flag
from staticgrad.optim.optimizer import Updates
from staticgrad.optim.state import slot

#: Coefficients of x, x**3 and x**5, which take singular values near 1 in five rounds: Jordan's.
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)


@dataclass(frozen=True, eq=False)
class Muon(AdamW):
    """Muon: Jordan et al. (2024), as ``torch.optim.Muon``; AdamW for what is no matrix.

    A parameter of two axes has, with g its gradient, the slot ``<parameter>.momentum`` m:

        m' = momentum * m + (1 - momentum) * g
        d  = momentum * m' + (1 - momentum) * g   (nesterov; else m')
        p' = p - learning_rate * (s * orthogonal(d) + weight_decay * p)

    ``orthogonal(d)`` is d / max(norm(d), 1e-7) after ``rounds`` of the iteration of Newton and
    Schulz x -> 3.4445 x - 4.7750 (x x^T) x + 2.0315 (x x^T)^2 x, which brings all singular values
    near 1: in the dtype of the gradient, where PyTorch rounds to bfloat16. Any other parameter (a
    bias, a filter) takes the step of AdamW with ``beta1``, ``beta2`` and ``epsilon``, the same rate
    and the same decay. Embeddings and last layers are matrices that Jordan leaves to AdamW:
    ``sg.optim.ParameterGroups`` does that.

    Args:
        learning_rate, beta1, beta2, epsilon, weight_decay: as in AdamW.
        momentum: in [0, 1); nesterov: look ahead; rounds: of the iteration.
        adjust: s of a matrix [a, b]. "original": sqrt(max(1, a / b)); "match_rms_adamw": 0.2 *
            sqrt(max(a, b)), with which AdamW's rates and decays serve (Liu et al., 2025).

    Raises:
        ArgumentError: a hyperparameter outside its range, or an ``adjust`` that there is not.

    >>> import numpy as np
    >>> from staticgrad.eager import Tensor
    >>> w = Tensor(np.eye(2, dtype="float32"), requires_grad=True)
    >>> steps = Muon(0.1, weight_decay=0.0).on([w])
    >>> (w * w).sum().backward()
    >>> steps.step()
    >>> w.data.round(2)
    array([[0.89, 0.  ],
           [0.  , 0.89]], dtype=float32)
    """

    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    rounds: int = 5
    adjust: Literal["original", "match_rms_adamw"] = "original"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        require_between(self.momentum, "momentum", 0, 1, "in [0, 1)")
        require_flag(self.nesterov, "nesterov")
        require_count(self.rounds, "rounds")
        if self.adjust not in ("original", "match_rms_adamw"):
            known = 'is "original" or "match_rms_adamw"'
            raise ArgumentError(f"adjust {known}, not {shown(self.adjust)}")

    def step(self, grads: Mapping[Parameter, Any]) -> Updates:
        """Next parameters, momenta, moments and step counter."""
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
            updates[p] = self.moved(p, direction)
        return updates

    def _factor(self, p: Parameter) -> float:
        rows, columns = (int(size) for size in p.shape)
        if self.adjust == "original":
            return sqrt(max(1.0, rows / columns)) if columns else 1.0
        return 0.2 * sqrt(max(rows, columns))


def orthogonal(matrix: Any, rounds: int) -> Any:
    """The matrix with singular values near 1: Newton and Schulz' iteration, of degree 5.

    The smaller of both products with the transpose is taken.
    """
    rows, columns = matrix.shape
    tall = int(rows) > int(columns)
    x = functions.transpose(matrix) if tall else matrix
    x = x / functions.maximum(functions.sqrt((x * x).sum()), 1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(rounds):
        gram = x @ functions.transpose(x)
        x = first * x + (third * gram + fifth * (gram @ gram)) @ x
    return functions.transpose(x) if tall else x

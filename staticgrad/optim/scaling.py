"""Loss scales: powers of two by which float16 gradients are kept from vanishing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, Final

from staticgrad.errors.tracebacks import bounded
from staticgrad.ir.calls import Constructed
from staticgrad.ir.functional import functions
from staticgrad.optim.hyperparameters import require, require_count, require_positive

#: Beyond it a scale grows no further; the scale is never below 1.
_MOST_DOUBLINGS: Final = 60


@bounded
@dataclass(frozen=True, eq=False)
class LossScale(metaclass=Constructed):
    """A loss scale that finds itself: Micikevicius et al. (ICLR 2018), section 3.2.

    It is halved, and the step skipped, where a gradient is not finite; it is doubled after
    ``every`` finite steps in a row. Its state, how often it was doubled and how many steps were
    finite since, is that of the optimizer: ``sgd.doublings``, ``sgd.finite_steps``.

    Args:
        initial: the first scale, a power of two from 1 on.
        every: the number of finite steps after which it is doubled.

    Raises:
        ArgumentError: a number that is neither.

    >>> import staticgrad as sg
    >>> sg.optim.SGD(0.1, loss_scale=sg.optim.LossScale(initial=2.0**10, every=100)).loss_scale
    LossScale(initial=1024.0, every=100)
    """

    initial: float = 65536.0
    every: int = 2000

    def __post_init__(self) -> None:
        """Check both."""
        require_positive(self.initial, "initial")
        require(self.initial >= 1 and log2(self.initial).is_integer(), "initial", "a power of two")
        require_count(self.every, "every")

    def scale(self, state: Callable[[str], Any]) -> Any:
        """The scale of this step in float32; a power of two, hence exact in every dtype."""
        doublings = state("doublings").astype("float64") + log2(self.initial)
        return functions.power(2.0, doublings).astype("float32")

    def adjusted(self, state: Callable[[str], Any], finite: Any) -> dict[Any, Any]:
        """Its state after a step whose gradients were ``finite``, or not."""
        doublings, steps = state("doublings"), state("finite_steps")
        due = functions.equal(steps + 1, self.every)
        least = -int(log2(self.initial))
        more = functions.minimum(doublings + due.astype("int64"), _MOST_DOUBLINGS)
        fewer = functions.maximum(doublings - 1, least)
        return {
            doublings: functions.where(finite, more, fewer),
            steps: functions.where(functions.logical_and(finite, ~due), steps + 1, 0),
        }


def are_finite(grads: Sequence[Any]) -> Any:
    """Whether every element of every gradient is finite: a 0-d bool."""
    found: Any = functions.all(functions.isfinite(grads[0]))
    for g in grads[1:]:
        found = functions.logical_and(found, functions.all(functions.isfinite(g)))
    return found

"""Clip gradients, and scale losses so that float16 gradients do not underflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import log2
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.extend import (
    PositiveFloat,
    PositiveInt,
    Settings,
    as_value,
    check_fields,
    dataclass,
    deprecated_attribute,
    functions,
    make_boundaries,
)
from staticgrad.extend.gradients import leaves
from staticgrad.extend.ops import (
    clip,
    equal,
    isfinite,
    logical_and,
    maximum,
    minimum,
    power,
    sqrt,
    where,
)
from staticgrad.extend.trees import map_leaves


def require(holds: bool, name: str, what: str) -> None:
    """Raise an ArgumentError, ``<name> must be <what>``, unless ``holds``."""
    if not holds:
        raise ArgumentError(f"{name} must be {what}")


_TAKES: Final = "clipping takes gradients, values of a graph or arrays"


def _lift_arrays(grads: Any) -> Any:
    """Return ``grads`` with constants in place of arrays and numbers."""
    plain = (np.ndarray, np.generic, float)
    return map_leaves(lambda g: as_value(g) if isinstance(g, plain) else g, grads)


def global_norm(grads: Any) -> Any:
    """The Euclidean norm of all gradients, in a list, tuple or dict, as one vector.

    >>> x = sg.input("x", (2,))
    >>> norm = sg.optim.global_norm([sg.grad(sg.sum(x ** 2), x)])
    >>> sg.evaluate(norm, {x: [1.5, 2.0]})
    array(5., dtype=float32)
    """
    return _norm(leaves(_lift_arrays(grads), _TAKES))


def clip_by_global_norm(grads: Any, max_norm: PositiveFloat) -> Any:
    """The gradients, scaled together so that their global norm is at most ``max_norm``.

    ``g * (max_norm / max(norm, max_norm))``: Pascanu et al. (ICML 2013), algorithm 1. A NaN among
    them makes all of them NaN.

    Args:
        grads: values in a list, tuple or dict.
        max_norm: a positive number.

    >>> clipped = clip_by_global_norm({"w": sg.constant([3.0, 4.0])}, 1.0)
    >>> sg.evaluate(clipped["w"])
    array([0.6, 0.8])
    """
    grads = _lift_arrays(grads)
    scale = _scale(leaves(grads, _TAKES), max_norm)
    return map_leaves(lambda g: g * scale.astype(g.dtype), grads)


def clip_by_value(grads: Any, max_value: PositiveFloat) -> Any:
    """The gradients, each element at most ``max_value`` away from zero; NaN stays NaN.

    They are values in a list, tuple or dict; ``max_value`` is positive.

    >>> x = sg.input("x", (2,))
    >>> (slope,) = sg.optim.clip_by_value([sg.grad(sg.sum(x ** 2), x)], 1.0)
    >>> sg.evaluate(slope, {x: [3.0, 0.25]})
    array([1. , 0.5], dtype=float32)
    """
    grads = _lift_arrays(grads)
    leaves(grads, _TAKES)
    return map_leaves(lambda g: clip(g, -max_value, max_value), grads)


def clip_to_norm(grads: Sequence[Any], max_norm: float) -> list[Any]:
    """Clip as ``clip_by_global_norm``, for values of any kind, tensors included; without checks."""
    scale = _scale(grads, max_norm)
    return [g * scale.astype(g.dtype) for g in grads]


def _scale(grads: Sequence[Any], max_norm: float) -> Any:
    return max_norm / maximum(_norm(grads), max_norm)


def _norm(grads: Sequence[Any]) -> Any:
    """Compute the Euclidean norm of all gradients together."""
    if not grads:
        raise ArgumentError("the norm of no gradients")
    total: Any = (grads[0] * grads[0]).sum()
    for g in grads[1:]:
        total = total + (g * g).sum()
    over = _over_ranks.get()
    return sqrt(total if over is None else over(total))


#: The sum over the ranks, where each of them has a part of the gradients.
_over_ranks: Final[ContextVar[Callable[[Any], Any] | None]] = ContextVar("over", default=None)


@contextmanager
def of_parts(over: Callable[[Any], Any]) -> Iterator[None]:
    """Inside of this context gradients are parts; ``over`` sums a number over all ranks."""
    token = _over_ranks.set(over)
    try:
        yield
    finally:
        _over_ranks.reset(token)


#: Beyond it a scale grows no further; the scale is never below 1.
_MOST_DOUBLINGS: Final = 60


@make_boundaries
@dataclass(frozen=True, eq=False)
class LossScale(Settings):
    """A loss scale that finds itself: Micikevicius et al. (ICLR 2018), section 3.2.

    It is halved, and the step skipped, where a gradient is not finite; it is doubled after
    ``every`` finite steps in a row. Its state, how often it was doubled and how many steps were
    finite since, is that of the optimizer: ``sgd.doublings``, ``sgd.finite_steps``.

    Args:
        initial: the first scale, a power of two from 1 on.
        every: the number of finite steps after which it is doubled.

    >>> sg.optim.SGD(0.1, loss_scale=sg.optim.LossScale(initial=2.0**10, every=100)).loss_scale
    LossScale(initial=1024.0, every=100)
    """

    initial: PositiveFloat = 65536.0
    every: PositiveInt = 2000

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.initial >= 1 and log2(self.initial).is_integer(), "initial", "a power of two")

    def scale(self, state: Callable[[str], Any]) -> Any:
        """The scale of this step in float32; a power of two, hence exact in every dtype."""
        doublings = state("doublings").astype("float64") + log2(self.initial)
        return power(2.0, doublings).astype("float32")

    adjusted = deprecated_attribute("0.2", "adjust")

    def adjust(self, state: Callable[[str], Any], finite: Any) -> dict[Any, Any]:
        """Halve the dynamic loss scale after nonfinite gradients, double it after many steps."""
        doublings, steps = state("doublings"), state("finite_steps")
        due = equal(steps + 1, self.every)
        least = -int(log2(self.initial))
        more = minimum(doublings + due.astype("int64"), _MOST_DOUBLINGS)
        fewer = maximum(doublings - 1, least)
        return {
            doublings: where(finite, more, fewer),
            steps: where(logical_and(finite, ~due), steps + 1, 0),
        }


def are_finite(grads: Sequence[Any]) -> Any:
    """Return whether every element of every gradient is finite: a 0-d bool."""
    finite: Any = functions.all(isfinite(grads[0]))
    for g in grads[1:]:
        finite = logical_and(finite, functions.all(isfinite(g)))
    over = _over_ranks.get()
    return finite if over is None else equal(over((~finite).astype("float32")), 0.0)

"""Gradients that are bounded, by their common norm or element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from staticgrad.autodiff.structure import leaves, mapped
from staticgrad.errors import ArgumentError
from staticgrad.ir.calls import public
from staticgrad.ir.functional import functions
from staticgrad.optim.hyperparameters import require_positive

_TAKES: Final = "clipping takes gradients, values of a graph"


@public
def global_norm(grads: Any) -> Any:
    """The Euclidean norm of all gradients as one vector.

    Args:
        grads: values in a list, tuple or dict; their squares are added in that order.

    Returns:
        A 0-d value.

    Raises:
        ArgumentError: there are none.

    >>> import staticgrad as sg
    >>> sg.evaluate(global_norm([sg.constant([3.0]), sg.constant([0.0, 4.0])]))
    array(5.)
    """
    return _norm(leaves(grads, _TAKES))


@public
def clip_by_global_norm(grads: Any, max_norm: float) -> Any:
    """The gradients, scaled together so that their global norm is at most ``max_norm``.

    ``g * (max_norm / max(norm, max_norm))``: Pascanu et al. (ICML 2013), algorithm 1. A NaN among
    them makes all of them NaN.

    Args:
        grads: values in a list, tuple or dict.
        max_norm: a positive number.

    Returns:
        Values in the containers of ``grads``.

    Raises:
        ArgumentError: no gradients, or a ``max_norm`` that is not positive.

    >>> import staticgrad as sg
    >>> clipped = clip_by_global_norm({"w": sg.constant([3.0, 4.0])}, 1.0)
    >>> sg.evaluate(clipped["w"])
    array([0.6, 0.8])
    """
    require_positive(max_norm, "max_norm")
    scale = _scale(leaves(grads, _TAKES), max_norm)
    return mapped(grads, lambda g: g * scale.astype(g.dtype))


@public
def clip_by_value(grads: Any, max_value: float) -> Any:
    """The gradients, each element at most ``max_value`` away from zero; NaN stays NaN.

    Args:
        grads: values in a list, tuple or dict.
        max_value: a positive number.

    Returns:
        Values in the containers of ``grads``.

    Raises:
        ArgumentError: a ``max_value`` that is not positive.

    >>> import staticgrad as sg
    >>> clipped = clip_by_value({"w": sg.constant([0.5, -4.0])}, 1.0)
    >>> sg.evaluate(clipped["w"])
    array([ 0.5, -1. ])
    """
    require_positive(max_value, "max_value")
    leaves(grads, _TAKES)
    return mapped(grads, lambda g: functions.clip(g, -max_value, max_value))


def clipped(grads: Sequence[Any], max_norm: float) -> list[Any]:
    """As ``clip_by_global_norm``, for values of any kind, tensors included; nothing is checked."""
    scale = _scale(grads, max_norm)
    return [g * scale.astype(g.dtype) for g in grads]


def _scale(grads: Sequence[Any], max_norm: float) -> Any:
    return max_norm / functions.maximum(_norm(grads), max_norm)


def _norm(grads: Sequence[Any]) -> Any:
    if not grads:
        raise ArgumentError("the norm of no gradients")
    total: Any = (grads[0] * grads[0]).sum()
    for g in grads[1:]:
        total = total + (g * g).sum()
    return functions.sqrt(total)

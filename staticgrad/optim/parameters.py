"""Which parameters an optimizer updates, and by which gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from staticgrad.autodiff.structure import leaves
from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.errors.wording import kind_of
from staticgrad.ir.graph import Parameter
from staticgrad.ops.operands import related, shape_text

_TAKES: Final = "an optimizer updates parameters, in a list, tuple or dict"


def listed_parameters(params: Any) -> list[Parameter]:
    """The parameters in ``params``, each once.

    Args:
        params: a list, tuple or dict of parameters, nested as one likes; or what has a method
            ``parameters()``, as modules have.

    Raises:
        ArgumentError: something among them is no parameter, or one stands there twice.
    """
    own = getattr(params, "parameters", None)
    found: list[Any] = list(own()) if callable(own) else list(leaves(params, _TAKES))
    for value in found:
        if not isinstance(value, Parameter):
            raise ArgumentError(
                f"an optimizer updates parameters; {value!r} is none",
                hint="sg.parameter(name, array) makes one",
                related=related(value),
            )
    _require_distinct(found)
    return found


def _require_distinct(params: Iterable[Parameter]) -> None:
    seen = set()
    for p in params:
        if p.node in seen:
            raise ArgumentError(f"parameter {p.name!r} is listed twice")
        seen.add(p.node)


def check_gradients(name: str, grads: Any) -> None:
    """Refuse what is no gradient by parameter.

    Args:
        name: of the method that was given it.

    Raises:
        ArgumentError: no mapping, or something that is no parameter. ShapeError: a gradient that is
            not of its parameter's shape.
    """
    if not isinstance(grads, Mapping):
        raise ArgumentError(
            f"{name} takes gradients by parameter, not {kind_of(grads)}",
            hint=f"{name}(dict(zip(params, sg.grad(loss, params))))",
        )
    for p, gradient in zip(listed_parameters(list(grads)), grads.values(), strict=True):
        if np.shape(gradient) != p.shape:
            raise ShapeError(
                f"the gradient of {p.name!r} is {shape_text(np.shape(gradient))}, the parameter"
                f" {shape_text(p.shape)}",
                related=related(p, gradient),
            )

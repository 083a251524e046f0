"""Which parameters an optimizer updates, and by which gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from staticgrad.autodiff.structure import leaves
from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.ir.graph import Parameter
from staticgrad.ir.value import Value
from staticgrad.ops.operands import related

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


def check_gradient(p: Parameter, gradient: Any) -> None:
    """Refuse a gradient that does not fit.

    Raises:
        ShapeError: it is not of its parameter's shape.
    """
    if isinstance(gradient, Value) and gradient.shape != p.shape:
        raise ShapeError(
            f"the gradient of {p.name!r} is {gradient.type}, the parameter {p.type}",
            related=related(p, gradient),
        )

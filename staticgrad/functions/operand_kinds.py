"""The kind in which a function that calls functions computes: that of all operands.

Operands are its arguments, also those in containers, and what the functions that it is given close
over. Where one is a tensor the others, arrays and parameters, are taken as tensors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from staticgrad.functions.streams import Draws
from staticgrad.language.calls.execution import computing, computing_kind, holding, is_holding
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.value import Value
from staticgrad.language.trees import flatten

P = ParamSpec("P")
R = TypeVar("R")


class TensorMet(BaseException):
    """Raised when a trace reads a tensor. A user's ``except Exception`` does not catch it."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind


def _meet(tensor: Any) -> Any:
    raise TensorMet(tensor.kind)


def tensors_met() -> AbstractContextManager[None]:
    """Raise ``TensorMet`` inside of this context when a trace reads a tensor."""
    return nullcontext() if is_holding() else holding(_meet)


def by_all_operands(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that takes functions, so that all operands decide its kind.

    Where no argument is a value, the functions are tried on values of a graph. If one of them reads
    a tensor, the call begins again and computes at once.
    """

    @functools.wraps(function)
    def decide_kind(*args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function in the kind of its operands: tensors, arrays or graph values."""
        leaves, _ = flatten([*args, *kwargs.values()])
        values = [v for v in leaves if isinstance(v, Value) and not v.is_stored]
        if not values and computing_kind() is None and not is_holding():
            draws = Draws()
            try:
                with tensors_met():
                    return function(*args, **kwargs)
            except TensorMet as signal:
                kind = signal.kind
            draws.restore()
        elif values and len(values) < len(leaves) and all(v.computes for v in values):
            kind = binding_kind(tuple(values))
        else:
            return function(*args, **kwargs)
        with computing(kind):
            return function(*args, **kwargs)

    return decide_kind

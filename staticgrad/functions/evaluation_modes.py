"""Modules that are trained in evaluation mode: their dropout and batch statistics are off.

A module that no other one calls reports each call, with its parameters. A step of these parameters
warns where all calls since the last step were in evaluation mode. Layers in evaluation mode inside
of a module in training mode are frozen on purpose, and raise no warning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from staticgrad.errors import EvaluationModeWarning, warn
from staticgrad.language.ir.nodes import running_session


@dataclass(frozen=True)
class _Call:
    """The last call of a module with a parameter.

    Attributes:
        session: the trace or run that it was part of; None outside of functions.
        evaluated: the module and its layers that depend on the mode, as a message names them;
            empty if one of the calls since the last step was in training mode.
    """

    session: ref[Any] | None
    evaluated: str


#: What holds a parameter's array -> the last call since its last step.
_CALLS: Final[WeakKeyDictionary[Any, _Call]] = WeakKeyDictionary()


def note_module_call(stores: Iterable[Any], evaluated: str) -> None:
    """Remember a call of a module that no other one calls.

    Args:
        stores: what holds its parameters' arrays.
        evaluated: names the module and those of its layers that evaluation mode changes; empty
            in training mode.
    """
    session = running_session()
    reference = None if session is None else ref(session)
    for store in stores:
        last = _CALLS.get(store)
        if last is None or last.session != reference or last.evaluated:
            _CALLS[store] = _Call(reference, evaluated)


def warn_of_evaluation(step: str, stores: Iterable[Any], session: Any) -> None:
    """Warn if a step changes parameters of modules that were called in evaluation mode alone.

    Args:
        step: names the optimizer.
        stores: what holds the arrays of the parameters that it changes.
        session: the trace or run that the step is part of; None outside of functions.
    """
    reference = None if session is None else ref(session)
    calls = [_CALLS.pop(store, None) for store in stores] if _CALLS else []
    names = {call.evaluated: None for call in calls if call and call.session == reference}
    if text := "; ".join(filter(None, names)):
        warn(
            EvaluationModeWarning,
            f"{step} trains {text} in evaluation mode: model.train() comes before the step; to"
            " freeze some layers alone, model.train() and layer.eval()",
        )

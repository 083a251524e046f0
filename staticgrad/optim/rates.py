"""Learning rates: what may be one, and what it is in a step."""

from __future__ import annotations

from math import inf
from typing import Any

from staticgrad.errors import ArgumentError
from staticgrad.ir.value import Value
from staticgrad.ops.operands import related
from staticgrad.optim.hyperparameters import require_between
from staticgrad.optim.schedules import RateSchedule


def check_rate(rate: Any) -> None:
    """Refuse what is no learning rate.

    Raises:
        ArgumentError: neither a number from 0 on, nor a 0-d floating value, nor a schedule.
    """
    if isinstance(rate, RateSchedule):
        return
    if isinstance(rate, Value):
        if rate.shape or not rate.dtype.is_float:
            raise ArgumentError(
                f"learning_rate is {rate.type}, not a 0-d floating value", related=related(rate)
            )
        return
    require_between(rate, "learning_rate", 0, inf, "0 or more")


def rate_for(rate: Any, p: Any) -> Any:
    """The learning rate in the dtype of a step of ``p``; a number is weak as it is."""
    return rate.astype(p.dtype.compute) if isinstance(rate, Value) else rate

"""Hyperparameters: which numbers they may be."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.ops.operands import is_number


def require_number(number: Any, holds: bool, name: str, what: str) -> None:
    """Refuse what is no number, and a number for which ``holds`` is False.

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    if not is_number(number):
        by_steps = "a rate by the number of steps: sg.optim.RateSchedule(lambda t: 0.1 / (1.0 + t))"
        raise ArgumentError(
            f"{name} is {shown(number)}, not a number", hint=by_steps if callable(number) else ""
        )
    require(holds, name, f"{what}, not {number}")


def require_between(number: Any, name: str, low: float, high: float, what: str) -> None:
    """Refuse numbers outside of [low, high).

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    require_number(number, is_number(number) and low <= number < high, name, what)


def require_decays(beta1: Any, beta2: Any) -> None:
    """Refuse decays of moments outside of [0, 1).

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    for name, number in (("beta1", beta1), ("beta2", beta2)):
        require_between(number, name, 0, 1, "in [0, 1)")


def require_not_negative(**numbers: Any) -> None:
    """Refuse what is below 0 or not finite.

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    for name, number in numbers.items():
        require_between(number, name, 0, inf, "0 or more")


def require_positive(number: Any, name: str) -> None:
    """Refuse what is not above 0 and finite.

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    require_number(number, is_number(number) and 0 < number < inf, name, "positive")


def require_count(number: Any, name: str, least: int = 1) -> None:
    """Refuse what is no whole number from ``least`` on.

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    what = f"{least} or more"
    require(type(number) is int, name, f"a whole number, {what}")
    require(number >= least, name, what)


def require_flag(flag: Any, name: str) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ArgumentError: with the hyperparameter's name.
    """
    require(type(flag) in (bool, np.bool_), name, "True or False")


def require(holds: bool, name: str, what: str) -> None:
    """Refuse a hyperparameter unless ``holds``.

    Raises:
        ArgumentError: it must be ``what``.
    """
    if not holds:
        raise ArgumentError(f"{name} must be {what}")

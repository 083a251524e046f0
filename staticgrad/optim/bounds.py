"""Bounds of hyperparameters, as types of fields: ``beta1: Decay = 0.9``.

The frame checks every field that is declared with one of them when an optimizer is made. In a
subclass the bound of a field holds until the field is declared with another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Annotated, Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import shown
from staticgrad.ops.operands import is_number
from staticgrad.records import NamedTuple


def require(holds: bool, name: str, what: str) -> None:
    """Raise an ArgumentError, ``<name> must be <what>``, unless ``holds``."""
    if not holds:
        raise ArgumentError(f"{name} must be {what}")


def require_between(number: Any, name: str, low: float, high: float, what: str) -> None:
    """Raise an ArgumentError unless ``number`` is a number in [low, high)."""
    _require_number(number, name)
    require(low <= number < high, name, f"{what}, not {number}")


def require_positive(number: Any, name: str) -> None:
    """Raise an ArgumentError unless ``number`` is a finite number above 0."""
    _require_number(number, name)
    require(0 < number < inf, name, f"positive, not {number}")


def require_not_negative(number: Any, name: str) -> None:
    """Raise an ArgumentError unless ``number`` is a finite number from 0 on."""
    require_between(number, name, 0, inf, "0 or more")


def require_decay(number: Any, name: str) -> None:
    """Raise an ArgumentError unless ``number`` is in [0, 1)."""
    require_between(number, name, 0, 1, "in [0, 1)")


def require_share(number: Any, name: str) -> None:
    """Raise an ArgumentError unless ``number`` is in (0, 1)."""
    require_positive(number, name)
    require(number < 1, name, f"in (0, 1), not {number}")


def require_count(number: Any, name: str, least: int = 1) -> None:
    """Raise an ArgumentError unless ``number`` is an int from ``least`` on."""
    what = f"{least} or more"
    require(type(number) is int, name, f"a whole number, {what}")
    require(number >= least, name, what)


def require_flag(flag: Any, name: str) -> None:
    """Raise an ArgumentError unless ``flag`` is True or False."""
    require(type(flag) in (bool, np.bool_), name, "True or False")


def _require_number(number: Any, name: str) -> None:
    if not is_number(number):
        by_steps = "a rate by the number of steps: sg.optim.RateSchedule(lambda t: 0.1 / (1.0 + t))"
        raise ArgumentError(
            f"{name} is {shown(number)}, not a number", hint=by_steps if callable(number) else ""
        )


class Requirement(NamedTuple):
    """The check of a field: it is given the value and the field's name, and raises."""

    check: Callable[[Any, str], None]


Decay = Annotated[float, Requirement(require_decay)]
Share = Annotated[float, Requirement(require_share)]
NotNegative = Annotated[float, Requirement(require_not_negative)]
Positive = Annotated[float, Requirement(require_positive)]
Count = Annotated[int, Requirement(require_count)]
Flag = Annotated[bool, Requirement(require_flag)]


def check_fields(record: Any) -> None:
    """Check the fields of a dataclass that are declared with bounds; None passes where it may."""
    cls: Any = type(record)
    for name, (check, is_optional) in _bounds(cls).items():
        value = getattr(record, name)
        if value is not None or not is_optional:
            check(value, name)


@cache
def _bounds(cls: Any) -> dict[str, tuple[Callable[[Any, str], None], bool]]:
    """The fields of a class, bases first, that are declared with a bound."""
    found = {}
    inherited: set[int] = set()  # the same Field object stands in a base and its subclasses
    for base in reversed(cls.__mro__):
        for name, field in vars(base).get("__dataclass_fields__", {}).items():
            if id(field) not in inherited:
                inherited.add(id(field))
                for bound in _bound_in(base, field.type):
                    found[name] = (bound.check, str(field.type).endswith("| None"))
    return found


def _bound_in(owner: type[Any], annotation: Any) -> list[Requirement]:
    """The bounds in an annotation, which may be text: a name of the module, or that or None."""
    if isinstance(annotation, str):
        names = vars(sys.modules.get(owner.__module__, sys))
        annotation = names.get(annotation.removesuffix(" | None"))
    return [
        each for each in getattr(annotation, "__metadata__", ()) if isinstance(each, Requirement)
    ]

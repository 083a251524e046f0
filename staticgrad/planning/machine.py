"""Functions over arrays of integers as machine code, where there is a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from staticgrad import config
from staticgrad.errors import StaticgradError

_Record = TypeVar("_Record")
_COMPILED: Final[set[Any]] = set()  # functions whose code this process has


def machine_code(function: Callable[[_Record], int]) -> Callable[[_Record], int] | None:
    """A function compiled; None where the jit is off, or nothing can be compiled."""
    if not config.current().jit:
        return None
    from staticgrad.native import words

    try:
        code = words.compiled(function)
    except (StaticgradError, OSError):
        return None
    _COMPILED.add(function)
    return code


def code_at_hand(function: Callable[[_Record], int]) -> Callable[[_Record], int]:
    """A function as machine code if this process has compiled it, else as it is written: both give
    the same."""
    return (machine_code(function) if function in _COMPILED else None) or function

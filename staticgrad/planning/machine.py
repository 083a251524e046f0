"""Functions over arrays of integers as machine code, where there is a compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from staticgrad import config
from staticgrad.errors import StaticgradError

_Record = TypeVar("_Record")


def machine_code(function: Callable[[_Record], int]) -> Callable[[_Record], int] | None:
    """A function compiled; None where the jit is off, or nothing can be compiled."""
    from staticgrad.native import words

    try:
        return words.compiled(function) if config.current().jit else None
    except (StaticgradError, OSError):
        return None

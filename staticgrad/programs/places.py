"""What ``sg.grad`` and its kin are given: a value or a function, and the place of an argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from staticgrad.autodiff.structure import Structure
from staticgrad.ir.graph import Graph
from staticgrad.ir.value import Value

AnyFunction = Callable[..., Any]
#: By what a function is differentiated: places of arguments, or parameters that it reads.
Wrt = int | tuple[int, ...] | Value | Structure


def is_function(y: Any) -> bool:
    """Whether what is to be differentiated is a function, not what one gives."""
    if isinstance(y, Value | Graph | type) or not callable(y):
        return False
    return not hasattr(type(y), "run")  # a compiled program


class _First(int):
    """The place of the first argument, where nothing else is said."""


FIRST: Final = _First(0)


def given(wrt: Any, *others: Any) -> tuple[Any, ...]:
    """The arguments behind a value; where it is not said by what, who needs it says so."""
    return () if wrt is FIRST else (wrt, *others)

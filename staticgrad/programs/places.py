"""Operands of ``sg.grad`` and related functions: a value, or a function and argnums."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from staticgrad.autodiff.structure import Structure
from staticgrad.errors import ArgumentError
from staticgrad.errors.calls import carries
from staticgrad.errors.wording import shown
from staticgrad.ir.graph import Graph
from staticgrad.ir.value import Value

AnyFunction = Callable[..., Any]
#: By what a function is differentiated: places of arguments, or parameters that it reads.
Wrt = int | tuple[int, ...] | Value | Structure


def is_function(y: Any) -> bool:
    """Return whether a function itself is to be differentiated, not its result."""
    if isinstance(y, Value | Graph | type) or not callable(y):
        return False
    return not hasattr(type(y), "run")  # a compiled program


class _First(int):
    """The place of the first argument, where nothing else is said."""


FIRST: Final = _First(0)


def takes_argnums(word: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a derivative whose second argument is ``argnums`` of functions, ``word`` of values.

    A call with a function and ``word`` by name is refused: of a function there is one spelling.
    """

    def decorated(derivative: Callable[..., Any]) -> Callable[..., Any]:
        @carries
        @functools.wraps(derivative)
        def called(*args: Any, **kwargs: Any) -> Any:
            if word in kwargs and is_function(args[0] if args else kwargs.get("y")):
                raise ArgumentError(
                    f"{derivative.__name__}: a function has no {word}; arguments are chosen by"
                    " argnums",
                    hint=f"argnums={shown(kwargs[word])}",
                )
            return derivative(*args, **kwargs)

        return called

    return decorated


def chosen(word: str, by: Any, argnums: Any) -> Any:
    """Return the second argument of a derivative of a function, given by position or by name."""
    if by is not FIRST and argnums is not None:
        raise ArgumentError(f"{word} and argnums are one argument, given twice")
    return by if argnums is None else argnums


def check_value(name: str, argnums: Any, has_aux: bool = False) -> None:
    """Refuse options of functions where a value is differentiated."""
    if argnums is not None or has_aux:
        word = "has_aux" if argnums is None else "argnums"
        raise ArgumentError(
            f"{name}: {word} belongs to functions, and this is a value",
            hint="sg.grad(loss, w) names what a value is differentiated by",
        )


def given(wrt: Any, *others: Any) -> tuple[Any, ...]:
    """The arguments behind a value; where it is not said by what, who needs it says so."""
    return () if wrt is FIRST else (wrt, *others)

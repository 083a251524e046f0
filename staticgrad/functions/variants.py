"""Functions with the signature of another one."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar

from staticgrad.support.docstrings import like

Base = TypeVar("Base", bound=Callable[..., Any])


def variant(base: Base) -> Callable[[Callable[..., Any]], Base]:
    """Give a function ``f(*args, **options)`` the signature of ``base``, as type checkers see, too.

    Its docstring says what differs; ``like`` adds the rest.
    """

    def with_signature(function: Any) -> Any:
        function.__signature__ = signature(base)
        function.__annotations__ = base.__annotations__
        return like(base)(function)

    return with_signature


def name_function(function: Callable[..., Any], name: str, doc: str) -> Any:
    """Give a function that a factory made its own name, as tracebacks show, too, and docstring."""
    function.__code__ = function.__code__.replace(co_name=name, co_qualname=name)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function

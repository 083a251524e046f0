"""Properties that are computed once: the standard library's, without its lock.

Up to Python 3.11 ``functools.cached_property`` holds one lock per class while it computes. A child
that is forked meanwhile would wait for it for ever. Here two threads may compute the same value
twice, which does no harm: what is cached is a function of the object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 - it stands in for the one of that name
    """``@cached_property``: the method's result, kept in the instance's ``__dict__``."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        if instance is None:
            return self
        found = instance.__dict__[self._name] = self._compute(instance)
        return found

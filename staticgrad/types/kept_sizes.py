"""Results kept by the sizes that they were computed of, and by the hints of those.

Sizes are equal whatever the hints of their names, but what is computed of them carries hints on:
kept by equality alone, costs of one program would follow the hints of another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

from staticgrad.types.dim import Dim, named_sizes

P = ParamSpec("P")
T = TypeVar("T")


def kept_by_sizes(function: Callable[P, T]) -> Callable[P, T]:
    """Keep results of a function of sizes, shapes and what else hashes, all given by place."""

    @lru_cache(maxsize=1024, typed=True)
    def computed(_: tuple[object, ...], *given: Any) -> Any:
        return function(*given)  # type: ignore[call-arg]

    @wraps(function)
    def found(*given: Any) -> Any:
        return computed(tuple(map(_hints, given)), *given)

    return found  # type: ignore[return-value]


def _hints(given: object) -> object:
    if isinstance(given, Dim):
        if given.hints is None:
            given.hints = tuple([named.hint for named in named_sizes(given)])
        return given.hints
    return tuple(map(_hints, given)) if isinstance(given, tuple) else None

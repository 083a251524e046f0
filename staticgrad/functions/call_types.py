"""Types for type checkers: the results of transformed functions for values and for arrays.

A function is written over values, ``def loss(w: sg.Value, x: sg.Value) -> sg.Value``. What
``sg.function``, ``sg.grad`` and others make of it takes values, too, and arrays: of these it
gives arrays where the function gives values. The classes here say so; nothing of them runs.
"""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Never,
    ParamSpec,
    TypeAlias,
    TypeVar,
    overload,
)

import numpy as np

from staticgrad.language.ir.op import Array
from staticgrad.language.ir.value import Value

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
K = TypeVar("K")

#: An argument that is an array, or that is static.
Fed: TypeAlias = "np.ndarray[Any, Any] | np.generic | complex | str | None"


class OfArrays(Generic[P, R]):
    """A function with arguments ``P`` and results ``R``, also of arrays."""

    if TYPE_CHECKING:

        @overload  # of results of any type nothing is said
        def __call__(self: OfArrays[..., Never], *args: Any, **kwargs: Any) -> Any: ...
        @overload
        def __call__(self: OfArrays[..., Value], *args: Fed, **kwargs: Fed) -> Array: ...
        @overload
        def __call__(
            self: OfArrays[..., list[Value]], *args: Fed, **kwargs: Fed
        ) -> list[Array]: ...
        @overload
        def __call__(
            self: OfArrays[..., dict[K, Value]], *args: Fed, **kwargs: Fed
        ) -> dict[K, Array]: ...
        @overload
        def __call__(
            self: OfArrays[..., tuple[Value, Value]], *args: Fed, **kwargs: Fed
        ) -> tuple[Array, Array]: ...
        @overload
        def __call__(
            self: OfArrays[..., tuple[Value, Value, Value]], *args: Fed, **kwargs: Fed
        ) -> tuple[Array, Array, Array]: ...
        @overload
        def __call__(
            self: OfArrays[..., tuple[Value, Value, Value, Value]], *args: Fed, **kwargs: Fed
        ) -> tuple[Array, Array, Array, Array]: ...
        @overload
        def __call__(
            self: OfArrays[..., tuple[Value, tuple[Value, Value]]], *args: Fed, **kwargs: Fed
        ) -> tuple[Array, tuple[Array, Array]]: ...
        @overload
        def __call__(self, *args: Fed, **kwargs: Fed) -> Any: ...
        @overload
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
        @overload
        def __call__(self: OfArrays[..., Value], *args: Any, **kwargs: Any) -> Array: ...
        @overload
        def __call__(
            self: OfArrays[..., dict[K, Value]], *args: Any, **kwargs: Any
        ) -> dict[K, Array]: ...
        @overload
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Gradient(Generic[P]):
    """A derivative by the first of the arguments ``P``, of its type."""

    if TYPE_CHECKING:

        @overload
        def __call__(
            self: Gradient[Concatenate[Value, ...]], *args: Fed, **kwargs: Fed
        ) -> Array: ...
        @overload
        def __call__(self, *args: Fed, **kwargs: Fed) -> Any: ...
        @overload
        def __call__(
            self: Gradient[Concatenate[T, Q]], x: T, /, *args: Q.args, **kwargs: Q.kwargs
        ) -> T: ...
        @overload
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # type: ignore[misc]


class ValueAndGradient(Generic[P, R]):
    """The result ``R`` with a derivative by the first of the arguments ``P``, of its type."""

    if TYPE_CHECKING:

        @overload
        def __call__(
            self: ValueAndGradient[Concatenate[Value, ...], Value], *args: Fed, **kwargs: Fed
        ) -> tuple[Array, Array]: ...
        @overload
        def __call__(self, *args: Fed, **kwargs: Fed) -> Any: ...
        @overload
        def __call__(
            self: ValueAndGradient[Concatenate[T, Q], R],
            x: T,
            /,
            *args: Q.args,
            **kwargs: Q.kwargs,
        ) -> tuple[R, T]: ...
        @overload
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # type: ignore[misc]


class OfValue(Generic[P]):
    """A matrix of derivatives by the first of the arguments ``P``, if that is a value."""

    if TYPE_CHECKING:

        @overload
        def __call__(
            self: OfValue[Concatenate[Value, ...]], *args: Fed, **kwargs: Fed
        ) -> Array: ...
        @overload
        def __call__(self, *args: Fed, **kwargs: Fed) -> Any: ...
        @overload
        def __call__(
            self: OfValue[Concatenate[Value, Q]], x: Value, /, *args: Q.args, **kwargs: Q.kwargs
        ) -> Value: ...
        @overload
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...  # type: ignore[misc]

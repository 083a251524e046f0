"""What loops and branches are given: functions, numbers of iterations, slices, bounds,
conditions."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.errors.wording import kind_of, shown
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.operands import as_value, known_integer
from staticgrad.types.dim import Dim, Size
from staticgrad.types.dtype import I64
from staticgrad.types.tensor import BEYOND, MOST_SIZE


def check_function(name: str, what: str, function: Any, *given: str) -> None:
    """Refuse what is no function, or one that does not take what it is given.

    Args:
        name: the public function that was called.
        what: the argument of it that this is.
        function: what was passed.
        given: what it will be called with, by name, in order.

    Raises:
        ArgumentError: with what it takes and what it is given.
    """
    is_value = isinstance(function, Value)
    if is_value or not callable(function):
        raise ArgumentError(
            f"{name}: {what} is {'a value' if is_value else kind_of(function)}, not a function",
            hint=f"def {what}({', '.join(given)}): ..., or a lambda",
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function of C, which says nothing
        return
    try:
        signature.bind(*given)
    except TypeError:
        raise ArgumentError(
            f"{name}: {shown(function)} takes {signature}, and is called with ({', '.join(given)})",
            hint=f"def {what}({', '.join(given)}): ..., whether it reads all of them or not",
        ) from None


def iterations_of(name: str, number: Any) -> Size:
    """A number of iterations, or a bound of them.

    Raises:
        ArgumentError: it is no integer and no named size, or 2**63 or more.
    """
    if isinstance(number, Dim):
        return number
    found = None if isinstance(number, bool) else known_integer(number)
    if found is not None:
        if found > MOST_SIZE:
            raise ArgumentError(f"{name}: {shown(found)} iterations: {BEYOND}")
        return found
    raise ArgumentError(
        f"{name}: {shown(number)} is {kind_of(number)}, not an integer or a named size",
        hint="a number that only a run knows: sg.while_loop, or sg.fori_loop(0, value, ...)",
    )


def bounded_iterations(name: str, most: Any) -> Size:
    """A bound on the number of iterations.

    Raises:
        ArgumentError: as ``iterations_of``; or it is negative.
    """
    bound = iterations_of(name, most)
    if not isinstance(bound, Dim) and bound < 0:
        raise ArgumentError(f"{name}: max_steps must be >= 0, got {bound}")
    return bound


def iterations_over(name: str, values: Sequence[Any], length: Any) -> Size:
    """The number of slices, which ``length`` confirms, or else says.

    Raises:
        RankError: a value without slices.
        ArgumentError: no slices and no length, or one that is negative.
        ShapeError: first axes that differ. Of named ones the op has a guard.
    """
    for value in values:
        if not value.shape:
            hint = "a list is a tree of values: np.array([1.0, 2.0]) and sg.stack([a, b]) are one"
            raise RankError(f"{name}: {value!r} has no axis of slices", hint=hint)
    if length is None and not values:
        raise ArgumentError(
            f"{name}: neither slices nor a length say how many iterations there are",
            hint="length=100 makes so many; xs= gives each iteration its row of an array",
        )
    iterations = values[0].shape[0] if length is None else iterations_of(name, length)
    if isinstance(iterations, int) and iterations < 0:
        raise ArgumentError(f"{name}: length={iterations}: it is 0 or more")
    for value in values:
        count = value.shape[0]
        if isinstance(count, int) and isinstance(iterations, int) and count != iterations:
            wanted = (
                f"{values[0]!r} has {iterations}" if length is None else f"length is {iterations}"
            )
            hint = "an iteration takes a row of each: all have as many, x[:n] has the first n"
            raise ShapeError(f"{name}: {value!r} has {count} slices, {wanted}", hint=hint)
    return iterations


def bound_of(name: str, number: Any, kind: type[Any]) -> Any:
    """A bound that only a run knows, as int64 of a kind.

    Raises:
        DTypeError: no integers. ArgumentError: several.
    """
    value = as_value(name, number, kind)
    if not value.dtype.is_integer:
        raise DTypeError(f"{name}: the bound {shown(number)} is {value.type}, not an integer")
    if value.shape:
        raise ArgumentError(f"{name}: the bound {shown(number)} is {value.type}, not one element")
    return functions.astype(value, I64)


def check_one(name: str, what: str, value: Any) -> None:
    """Refuse a condition or an index of several elements.

    Raises:
        ArgumentError: with how to choose by element.
    """
    if value.shape:
        raise ArgumentError(
            f"{name}: {what} is {value.type}, not one element",
            hint="sg.where(condition, a, b) chooses by element; .any() and .all() make one of many",
        )

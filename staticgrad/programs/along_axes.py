"""Functions of vectors and of axes, applied along several: NumPy's ``apply_along_axis``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from staticgrad.errors import ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.movement import expand_dims, moveaxis, reshape
from staticgrad.language.ops.operands import as_value, axis_of, describe_operands
from staticgrad.programs.transformed import vmap


def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: ArrayLike[AnyValue], *args: Any, **kwargs: Any
) -> AnyValue:
    """Apply a function of vectors to each vector along an axis; its results stand in its place.

    Args:
        func1d: takes a vector and returns a value of any shape.
        axis: along which.
        arr: the vectors.
        args, kwargs: what the function gets besides.

    >>> sg.apply_along_axis(lambda row: row - row.mean(), 1, np.array([[1.0, 3.0], [2.0, 6.0]]))
    array([[-1.,  1.],
           [-2.,  2.]])
    """
    value: Any = as_value(arr)
    place = axis_of(axis, value)
    rows = moveaxis(value, place, -1)
    around: Any = rows.shape[:-1]
    mapped = vmap(lambda row: as_value(func1d(row, *args, **kwargs)))
    results: Any = mapped(reshape(rows, (prod(around), rows.shape[-1])))
    results = reshape(results, (*around, *results.shape[1:]))
    count = results.ndim - len(around)
    last = range(len(around), results.ndim)
    return moveaxis(results, tuple(last), tuple(range(place, place + count)))  # type: ignore[no-any-return]


def apply_over_axes(
    func: Callable[[Any, int], Any], a: ArrayLike[AnyValue], axes: int | Sequence[int]
) -> AnyValue:
    """Apply ``func(a, axis)`` over several axes, one after the other; axes stay, with size 1.

    Raises:
        ShapeError: the function gives neither as many axes nor one less.

    >>> sg.apply_over_axes(sg.sum, np.ones((2, 3, 4)), [0, 2]).shape
    (1, 3, 1)
    """
    value: Any = as_value(a)
    for axis in [axes] if isinstance(axes, int) else axes:
        place = axis_of(axis, value)
        result: Any = as_value(func(value, place))
        if result.ndim == value.ndim - 1:
            result = expand_dims(result, place)
        if result.ndim != value.ndim:
            raise ShapeError(
                f"{called_name()}: the function gives {result.type} of {value.type}",
                related=describe_operands(value),
            )
        value = result
    return value  # type: ignore[no-any-return]

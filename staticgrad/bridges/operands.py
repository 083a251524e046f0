"""Operands of rows: values, and what is known while a program is built.

An array of NumPy is known: a constant, or integers that are computed of shapes, of element type
``object`` if some of them are named sizes. Numbers, named sizes, slices and None are known, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import staticgrad.functions as sg
from staticgrad.errors import ArgumentError, ExportError
from staticgrad.extend import (
    Dim,
    PythonNumber,
    Size,
    Value,
    as_value,
    names_messages,
)
from staticgrad.extend.dtypes import F64, I64


class ForeignType(NamedTuple):
    """The element type and shape of a value in another library; unknown sizes are None."""

    dtype: str
    shape: tuple[int | None, ...]


class UnknownSizeError(ExportError):
    """Integers must be known while a program is built, and only a run computes them.

    Attributes:
        value: the integers.
    """

    def __init__(self, what: str, value: Value) -> None:
        super().__init__(
            f"{what}: only a run computes it",
            hint="sizes of inputs are named; make it one of those, or a constant, or run the"
            " program in a mode of the library, which computes it before",
        )
        self.value = value


class UncountedResultError(UnknownSizeError):
    """A run computes how many elements a result has; a row that has the number computes it.

    Attributes:
        value: the number.
    """


class SizeComparison:
    """A comparison of sizes, ``left < right``, that their names do not decide."""

    def __init__(self, left: Size, right: Size) -> None:
        self.left, self.right = left, right


def is_known(x: Any) -> bool:
    """Return whether an operand is known while the program is built."""
    return not isinstance(x, Value)


def value(x: Any, dtype: str | None = None) -> Value:
    """Return an operand as a value, in an element type."""
    if not isinstance(x, Value):
        array = np.asarray(x)
        if array.dtype == object:
            elements = [_element(element) for element in array.ravel().tolist()]
            x = sg.reshape(sg.stack(elements), array.shape) if array.ndim else elements[0]
        else:
            x = sg.constant(array if dtype is None else array.astype(dtype))
    result: Value = x if dtype is None else cast(x, dtype)
    return result


def _element(x: Any) -> Any:
    if isinstance(x, SizeComparison):
        return sg.less(as_value(x.left), as_value(x.right))
    return sg.size_value(x, "int64") if isinstance(x, Dim) else as_value(x)


def as_operand(x: Any) -> Any:
    """Return an operand as a value: arrays become constants, sizes become values.

    Lists (sequences) have values, and what is no array (None, text, functions) stays.
    """
    if isinstance(x, list):
        return [*map(as_operand, x)]
    return value(x) if isinstance(x, np.ndarray) else x


def cast(x: Any, dtype: str) -> Any:
    """Return a value in an element type; what is no value stays."""
    if not isinstance(x, Value) or x.dtype.name == dtype:
        return x
    return sg.astype(x, dtype)


def dtype_of(x: Any) -> str:
    """Return the name of an operand's element type; that of sizes is int64."""
    if isinstance(x, Value):
        return x.dtype.name
    dtype = np.asarray(x).dtype
    return "int64" if dtype.kind == "O" else dtype.name


def common_dtype(operands: Sequence[Any]) -> str:
    """Return the element type that operands have together, as NumPy promotes them."""
    return np.result_type(*map(dtype_of, operands)).name


def shape_of(x: Any) -> tuple[Size, ...]:
    """Return the shape of an operand."""
    return tuple(x.shape) if isinstance(x, Value) else np.shape(x)


def fits_shape(shape: Sequence[Size], foreign: Sequence[int | None]) -> bool:
    """Return whether a shape may be one of another library; named sizes fit every number."""
    return len(shape) == len(foreign) and all(
        theirs is None or not isinstance(size, int) or size == theirs
        for size, theirs in zip(shape, foreign, strict=True)
    )


def value_of_argument(x: Any) -> Any:
    """Return an argument or a result as a value; a number that each call gives is an input."""
    if type(x) is PythonNumber:
        return x.arithmetic.input_of(x, F64 if type(x.sample) is float else I64)
    return as_value(x)


@names_messages
def fit_argument(
    name: str,
    argument: Any,
    kind: ForeignType,
    library: str,
    accepts: Callable[[str, str], bool] | None = None,
    hint: str = "",
) -> Value:
    """Return an argument of a program, an array or a number, as a value of the input's type.

    Args:
        name: the function's and the input's, with which errors begin.
        argument: what is given.
        kind: the type of the input.
        library: where the program is from, for errors.
        accepts: returns whether an element type is cast to that of the input; by default every one
            is but floats to integers and complex numbers to real ones.
        hint: what to write instead, for the error.

    Raises:
        ArgumentError: the argument has another shape, or an element type that is not accepted.
        DTypeError: it is no array.
    """
    x = value_of_argument(argument)
    is_accepted = x.dtype.name == kind.dtype or (accepts or _keeps_numbers)(
        x.dtype.name, kind.dtype
    )
    if not is_accepted or not fits_shape(x.shape, kind.shape):
        extents = ", ".join("?" if n is None else str(n) for n in kind.shape)
        raise ArgumentError(
            f"{name} is {x.type}, the input of {library} is {kind.dtype}[{extents}]", hint=hint
        )
    fitting: Value = cast(x, kind.dtype)
    return fitting


def _keeps_numbers(dtype: str, expected: str) -> bool:
    """Return whether a cast loses neither fractions nor imaginary parts."""
    if dtype.startswith("complex"):
        return expected.startswith("complex")
    return not dtype.startswith(("float", "bfloat")) or expected.startswith(
        ("float", "bfloat", "complex")
    )


def size(x: Any, what: str) -> Size:
    """Return an operand as an integer or a named size.

    Raises:
        UnknownSizeError: only a run computes it.
    """
    (number,) = sizes(np.reshape(x, 1) if not isinstance(x, Value) and np.size(x) == 1 else x, what)
    return number


def sizes(x: Any, what: str) -> tuple[Size, ...]:
    """Return the elements of an operand as integers and named sizes.

    Raises:
        UnknownSizeError: only a run computes them.
    """
    if isinstance(x, Value):
        raise UnknownSizeError(what, x)
    return tuple([
        element if isinstance(element, Dim) else int(element) for element in np.ravel(x).tolist()
    ])  # fmt: skip

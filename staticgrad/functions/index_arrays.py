"""Arrays of indices, and numbers of elements in C order, by the names of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import floor_divide, remainder
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import OutOfBounds, take, within
from staticgrad.language.ops.movement import broadcast_to, reshape
from staticgrad.language.ops.operands import (
    Integer,
    array_size,
    as_value,
    as_values,
    describe_operands,
    promoted_values,
)
from staticgrad.language.types.dim import Dim
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.docstrings import like


def row_numbers(x: Any, axis: int, index: Any) -> Any:
    """Return the numbers of whole rows of x that an index along ``axis`` names, or None.

    An index of each element names rows if it is expanded along all other axes of x.
    """
    k = axis % x.ndim
    node = getattr(index, "node", None)
    if x.ndim == 1 or node is None or node.op.name != "broadcast":
        return None
    (row,) = node.args
    is_row = all(n == 1 or a == k for n, a in zip(row.shape, node.op.axes, strict=True))
    if not is_row or any(index.shape[a] != x.shape[a] for a in range(x.ndim) if a != k):
        return None
    return broadcast_to(reshape(row, (-1,)), (index.shape[k],))


def tril_indices(n: Integer, k: Integer = 0, m: int | None = None) -> tuple[Value, ...]:
    """Return the indices of the elements of an n x m matrix on and below its diagonal k.

    >>> x = sg.input("x", (2, 2), "float64")
    >>> sg.evaluate(x[sg.tril_indices(2)], {"x": [[1.0, 2.0], [3.0, 4.0]]})
    array([1., 3., 4.])
    """
    return _constants(np.tril_indices(array_size(n), k, None if m is None else array_size(m)))


@like(tril_indices)
def triu_indices(n: Integer, k: Integer = 0, m: int | None = None) -> tuple[Value, ...]:
    """Return the indices of the elements of an n x m matrix on and above its diagonal k.

    >>> sg.triu_indices(2)
    (array([0, 0, 1]), array([0, 1, 1]))
    """
    return _constants(np.triu_indices(array_size(n), k, None if m is None else array_size(m)))


@like(tril_indices)
def tril_indices_from(arr: ArrayLike[AnyValue], k: Integer = 0) -> tuple[AnyValue, ...]:
    """Return the indices of the elements of a matrix on and below its diagonal k.

    >>> sg.tril_indices_from(np.ones((2, 2)))
    (array([0, 1, 1]), array([0, 0, 1]))
    """
    return _indices_of_matrix(np.tril_indices, arr, k)


@like(tril_indices)
def triu_indices_from(arr: ArrayLike[AnyValue], k: Integer = 0) -> tuple[AnyValue, ...]:
    """Return the indices of the elements of a matrix on and above its diagonal k.

    >>> sg.triu_indices_from(np.ones((2, 2)))
    (array([0, 0, 1]), array([0, 1, 1]))
    """
    return _indices_of_matrix(np.triu_indices, arr, k)


def diag_indices(n: Integer, ndim: Integer = 2) -> tuple[Value, ...]:
    """Return the indices of the diagonal of an array with ``ndim`` axes of size n.

    >>> sg.diag_indices(2)
    (array([0, 1]), array([0, 1]))
    """
    return _constants(np.diag_indices(array_size(n), array_size(ndim)))


def mask_indices(
    n: Integer, mask_func: Callable[[Any, int], Any], k: Integer = 0
) -> tuple[Value, ...]:
    """Return the indices of an n x n matrix of ones that ``mask_func(matrix, k)`` leaves.

    >>> sg.mask_indices(2, np.triu, 1)
    (array([0]), array([1]))
    """
    mask = mask_func(np.ones((array_size(n), n), np.int64), k)
    return _constants(np.nonzero(np.asarray(mask)))


def indices(dimensions: Sequence[int], dtype: Any = int, sparse: bool = False) -> Any:
    """Return the index of each element of a grid: one array for each axis, stacked in front.

    Args:
        dimensions: the sizes of the grid, numbers.
        dtype: of the indices.
        sparse: a tuple of arrays that broadcast to the grid, in place of a stack.

    >>> sg.indices((2, 2))
    array([[[0, 0],
            [1, 1]],
    <BLANKLINE>
           [[0, 1],
            [0, 1]]])
    """
    grid: Any = np.indices  # whose overloads take literals
    arrays = grid(tuple(map(array_size, dimensions)), dtype, sparse)
    return _constants(arrays) if sparse else as_value(arrays)


def fromfunction(
    function: Callable[..., Any], shape: Sequence[int], *, dtype: Any = float, **kwargs: Any
) -> Any:
    """Return ``function(i, j, ...)`` of the indices of a grid of this shape, each an array.

    >>> sg.fromfunction(lambda i, j: i + 10 * j, (2, 2), dtype=int)
    array([[ 0, 10],
           [ 1, 11]])
    """
    grid = np.indices(tuple(map(array_size, shape)), dtype)
    return as_value(function(*grid, **kwargs))


def ix_(*args: ArrayLike[AnyValue]) -> tuple[AnyValue, ...]:
    """Return vectors of indices that broadcast to a grid: ``x[sg.ix_([0, 2], [1, 3])]``.

    Args:
        args: vectors of integers; also of bools, whose numbers are known.

    Raises:
        RankError: no vector.

    >>> rows, columns = sg.ix_([0, 2], [1, 3])
    >>> rows.shape, columns.shape
    ((2, 1), (1, 2))
    """
    vectors = []
    for place, arg in enumerate(args):
        value: Any = as_value(arg)
        if value.dtype is BOOL:
            if not value.computes and isinstance(arg, Value):
                raise ArgumentError(
                    f"{called_name()}: a mask has as many indices as a run decides",
                    hint="sg.nonzero(mask, size=n)[0]",
                    related=describe_operands(value),
                )
            value = as_value(np.nonzero(np.asarray(arg))[0])
        if value.ndim != 1:
            raise RankError(
                f"{called_name()}: {value.type} is not a vector", related=describe_operands(value)
            )
        if value.shape[0] == 0:
            value = astype(value, I64)
        trailing = len(args) - place - 1
        vectors.append(reshape(value, (*(1,) * place, *value.shape, *(1,) * trailing)))
    return tuple(vectors)


def unravel_index(
    indices: ArrayLike[AnyValue], shape: Sequence[int], order: Literal["C", "F"] = "C"
) -> tuple[AnyValue, ...]:
    """Return the index along each axis of elements that are numbered in C order.

    Raises:
        IndexOutOfRange: in a run, a number that the shape does not have.

    >>> x = np.array([[1.0, 7.0, 2.0], [3.0, 0.0, 5.0]])
    >>> sg.evaluate(sg.unravel_index(sg.argmax(x), x.shape))
    (array(0), array(1))
    """
    sizes = _sizes(shape, order)
    value: Any = as_value(indices)
    # Reading the numbers checks them.
    left = take(np.arange(prod(sizes)), value)
    coordinates = []
    for size in reversed(sizes[1:]):
        coordinates.append(remainder(left, size))
        left = floor_divide(left, size)
    coordinates.append(left)
    ordered = coordinates[::-1] if order == "C" else coordinates
    return tuple(ordered[: len(sizes)])


def ravel_multi_index(
    multi_index: Sequence[ArrayLike[AnyValue]],
    dims: Sequence[int],
    mode: OutOfBounds | tuple[OutOfBounds, ...] = "raise",
    order: Literal["C", "F"] = "C",
) -> AnyValue:
    """Return the numbers, in C order, of elements at an index along each axis.

    Args:
        multi_index: integers, an array for each axis.
        dims: the sizes of the axes, numbers.
        mode: what an index outside does: "raise", "wrap" or "clip"; one for all or one for each.
        order: "C", the last axis counts fastest, or "F", the first one.

    Raises:
        IndexOutOfRange: in a run, an index outside of its axis.

    >>> sg.evaluate(sg.ravel_multi_index(([0, 1], [2, 0]), (2, 3)))
    array([2, 3])
    """
    sizes = _sizes(dims, "C")
    modes = (mode,) * len(sizes) if isinstance(mode, str) else tuple(mode)
    parts = promoted_values(tuple(multi_index))
    if not len(parts) == len(sizes) == len(modes):
        raise ShapeError(
            f"{called_name()}: {len(parts)} indices and {len(modes)} modes for {len(sizes)} axes",
            related=describe_operands(*parts),
        )
    triples = list(zip(parts, sizes, modes, strict=True))
    total: Any = None
    for value, size, how in triples if order == "C" else triples[::-1]:
        axis_index = take(np.arange(size), within(value, size, how)) if size else value
        total = axis_index if total is None else total * size + axis_index
    return total


def _indices_of_matrix(function: Any, arr: Any, k: int) -> Any:
    """Return triangle indices for the sizes of a matrix (tril_indices_from)."""
    value: Any = as_value(arr)
    if value.ndim != 2 or any(isinstance(size, Dim) for size in value.shape):
        raise RankError(
            f"{called_name()}: {value.type} is not a matrix of known sizes",
            related=describe_operands(value),
        )
    rows, columns = value.shape
    return tuple(as_values(value, *function(rows, k, columns))[1:])


def _sizes(shape: Any, order: str) -> tuple[int, ...]:
    sizes = tuple(map(array_size, shape if isinstance(shape, Sequence) else (shape,)))
    array_size(prod(sizes))
    return sizes if order == "C" else sizes[::-1]


def _constants(arrays: Sequence[Any]) -> Any:
    return tuple(map(as_value, arrays))

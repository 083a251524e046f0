"""Arrays put together from one array, or taken apart: roll, split, repeat, tile, diagonals, grids.

Everything is made of slices, reshapes, broadcasts and index lookups, so that gradients follow from
theirs. Ops that move elements stand in ``movement.py`` and ``slices.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand, broadcast
from staticgrad.ops.movement import broadcast_to, expand_dims, moveaxis, ravel, reshape, with_size
from staticgrad.ops.operands import (
    Axes,
    as_value,
    as_values,
    axis_of,
    integer,
    number_of_parts,
    related,
    shape_of,
)
from staticgrad.ops.positions import iota
from staticgrad.ops.slices import concatenate, flip, part, sliced, with_zeros
from staticgrad.types import dim as dims
from staticgrad.types.arrays import array_of
from staticgrad.types.dim import Dim, Size
from staticgrad.types.dtype import I64


def roll(x: Operand[AnyValue], shift: Any, axis: Axes = None) -> AnyValue:
    """x with its elements moved ``shift`` places along ``axis``, round the end.

    Args:
        x: a value.
        shift: an integer, or one per axis.
        axis: one axis or several; x flattened and rolled if None.

    Returns:
        The elements, moved along the axes; what falls off one end comes back at the other.

    >>> sg.evaluate(sg.roll([1, 2, 3], 1))
    array([3, 1, 2])
    """
    value = as_value("roll", x)
    if axis is None:
        return reshape(roll(ravel(value), shift, 0), value.shape)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    shifts = list(shift) if isinstance(shift, list | tuple) else [shift] * len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for places, number in zip(shifts, axes, strict=True):
        steps = integer("roll", "shift", places, value)
        value = _rolled(value, steps, axis_of("roll", number, value))
    return value


def _rolled(x: AnyValue, shift: int, axis: int) -> AnyValue:
    size = x.shape[axis]
    if isinstance(size, Dim):  # the shift may be longer than the axis: only a run can tell
        length = functions.size_value(size, I64)
        return functions.take(x, (iota((size,)) - shift) % length, axis)
    moved = shift % size if size else 0
    if not moved:
        return x
    tail, head = part(x, axis, size - moved, moved), part(x, axis, 0, size - moved)
    return concatenate([tail, head], axis)


def split(x: Operand[AnyValue], indices_or_sections: Any, axis: int = 0) -> list[AnyValue]:
    """x in consecutive parts along ``axis``: so many of equal size, or cut at the given positions.

    Args:
        x: a value.
        indices_or_sections: how many parts of equal size; or a list of places to cut at.
        axis: along which.

    Returns:
        A list of parts.

    >>> sg.evaluate(sg.split([1, 2, 3, 4], 2))
    [array([1, 2]), array([3, 4])]
    """
    value = as_value("split", x)
    place = axis_of("split", axis, value)
    if isinstance(indices_or_sections, list | tuple | np.ndarray):
        return _cut(value, list(indices_or_sections), place)
    count = number_of_parts("split", indices_or_sections, value)
    size = value.shape[place]
    each = dims.floordiv(size, count)
    text = f"split: an axis of size {size} is not {count} equal parts"
    if not dims.equal(each * count, size, text):
        raise ShapeError(text, hint="use sg.array_split", related=related(value))
    value = with_size(value, place, each * count)
    return [part(value, place, each * k, each) for k in range(count)]


def array_split(x: Operand[AnyValue], indices_or_sections: Any, axis: int = 0) -> list[AnyValue]:
    """As ``split``, but the first parts are one longer where the size does not divide evenly.

    Args:
        x: a value.
        indices_or_sections: how many parts, or the positions at which parts end.
        axis: one axis.

    >>> sg.evaluate(sg.array_split([1, 2, 3, 4, 5], 2))
    [array([1, 2, 3]), array([4, 5])]
    """
    value = as_value("array_split", x)
    place = axis_of("array_split", axis, value)
    if isinstance(indices_or_sections, list | tuple | np.ndarray):
        return _cut(value, list(indices_or_sections), place)
    count = number_of_parts("array_split", indices_or_sections, value)
    size = value.shape[place]
    lengths = [dims.floordiv(size + (count - 1 - k), count) for k in range(count)]
    starts = accumulate(lengths[:-1], initial=0)
    return [part(value, place, s, n) for s, n in zip(starts, lengths, strict=True)]


def _cut(x: AnyValue, at: Sequence[Any], axis: int) -> list[AnyValue]:
    """The parts between positions, clipped as slices are."""
    before = (slice(None),) * axis
    ends = [*at, None]
    return [x[(*before, slice(a, b))] for a, b in zip([0, *at], ends, strict=True)]


def repeat(x: Operand[AnyValue], repeats: Any, axis: int | None = None) -> AnyValue:
    """Each element of x ``repeats`` times along ``axis``; of x flattened if it is None.

    Args:
        x: a value.
        repeats: one number (or size) for all, or integers known now, one per place of the axis.
        axis: which axis.

    Returns:
        The elements, longer along the axis.

    >>> sg.evaluate(sg.repeat([1, 2], 2))
    array([1, 1, 2, 2])
    """
    value = as_value("repeat", x)
    if axis is None:
        value, axis = ravel(value), 0
    place = axis_of("repeat", axis, value)
    if isinstance(repeats, Value) and repeats.computes:  # a tensor: its numbers are known
        repeats = np.asarray(repeats)
    if isinstance(repeats, list | tuple | np.ndarray) and np.ndim(repeats) > 0:
        counts = array_of(repeats, "repeat: repeats")
        text = f"repeat: {counts.size} numbers for an axis of size {value.shape[place]}"
        if not dims.equal(value.shape[place], counts.size, text):
            raise ShapeError(text, related=related(value))
        value = with_size(value, place, counts.size)
        return functions.take(value, np.repeat(np.arange(counts.size), counts), place)
    (times,) = shape_of("repeat", (repeats,), value)
    shape = value.shape
    wide = expand_dims(value, place + 1)
    wide = broadcast_to(wide, (*shape[: place + 1], times, *shape[place + 1 :]))
    return reshape(wide, (*shape[:place], shape[place] * times, *shape[place + 1 :]))


def tile(x: Operand[AnyValue], reps: Any) -> AnyValue:
    """x laid side by side, ``reps`` times along each axis; missing axes come first.

    Args:
        x: a value.
        reps: a number for the last axis, or one for each of the last axes.

    Returns:
        x beside itself, so many times along each axis.

    >>> sg.evaluate(sg.tile([1, 2], 2))
    array([1, 2, 1, 2])
    """
    value = as_value("tile", x)
    times = shape_of("tile", reps, value)
    rank = max(len(times), value.ndim)
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - value.ndim) + value.shape
    between = reshape(value, tuple(size for pair in shape for size in (1, pair)))
    wide = broadcast_to(between, tuple(s for pair in zip(times, shape, strict=True) for s in pair))
    return reshape(wide, tuple(n * size for n, size in zip(times, shape, strict=True)))


# -- diagonals ------------------------------------------------------------------------------------


def diagonal(x: Operand[AnyValue], offset: int = 0, axis1: int = 0, axis2: int = 1) -> AnyValue:
    """The elements x[.., i, .., i + offset, ..] of two axes, along a new last axis.

    Args:
        x: a value with two axes or more.
        offset: which diagonal; above the main one it is positive.
        axis1, axis2: of which axes.

    Returns:
        The diagonals, along a new last axis.

    >>> sg.evaluate(sg.diagonal([[1, 2], [3, 4]]))
    array([1, 4])
    """
    value = as_value("diagonal", x)
    if value.ndim < 2:
        raise RankError(f"diagonal: {value.type} has no two axes", related=related(value))
    moved = moveaxis(value, [axis1, axis2], [-2, -1])
    k = integer("diagonal", "offset", offset, value)
    rows, columns = moved.shape[-2:]
    first_row, first_column = max(-k, 0), max(k, 0)
    length = _at_least_0(_smaller(rows - first_row, columns - first_column))
    flat = reshape(moved, (*moved.shape[:-2], rows * columns))
    if isinstance(columns, Dim):
        step = functions.size_value(columns + 1, I64)
        start = functions.size_value(columns * first_row + first_column, I64)
        return functions.take(flat, iota((length,)) * step + start, flat.ndim - 1)
    rank = flat.ndim - 1
    starts = (0,) * rank + (columns * first_row + first_column if length != 0 else 0,)
    return sliced(flat, starts, (*flat.shape[:-1], length), (*(1,) * rank, columns + 1))


def _smaller(a: Size, b: Size) -> Size:
    return a + b - dims.maximum(a, b)


def _at_least_0(size: Size) -> Size:
    return dims.maximum(size, 0)


def diag(x: Operand[AnyValue], k: int = 0) -> AnyValue:
    """The k-th diagonal of a matrix; of a vector, the matrix that has it there and 0 elsewhere.

    Args:
        x: a vector or a matrix.
        k: which diagonal; above the main one it is positive.

    Returns:
        A vector of a matrix, a matrix of a vector.

    >>> sg.evaluate(sg.diag([1, 2]))
    array([[1, 0],
           [0, 2]])
    """
    value = as_value("diag", x)
    if value.ndim == 2:
        return diagonal(value, k)
    if value.ndim != 1:
        raise RankError(f"diag: {value.type} is no vector or matrix", related=related(value))
    shift = integer("diag", "k", k, value)
    size = value.shape[0] + abs(shift)
    across = with_zeros(
        value, [(max(shift, 0), max(-shift, 0))]
    )  # out[i, j] holds the one of column j
    hit = functions.equal(
        iota((size, size), 0, like=value) + shift, iota((size, size), 1, like=value)
    )
    return functions.where(hit, across, np.zeros((), value.dtype.numpy))


def diagflat(x: Operand[AnyValue], k: int = 0) -> AnyValue:
    """A matrix with the elements of x, in C order, on diagonal k, zeros elsewhere.

    Args:
        x: a value of any axes.
        k: which diagonal; above the main one where positive.

    Returns:
        A square matrix with a row for each element, and ``abs(k)`` more.

    >>> sg.evaluate(sg.diagflat([[1, 2]]))
    array([[1, 0],
           [0, 2]])
    """
    return diag(reshape(as_value("diagflat", x), (-1,)), k)


def trace(
    x: Operand[AnyValue], offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> AnyValue:
    """The sum of a diagonal, in ``dtype`` if one is given. Raises as ``diagonal``.

    Args:
        x: a value with two axes or more.
        offset, axis1, axis2: as for ``diagonal``.
        dtype: convert to it before adding.

    Returns:
        The sums.

    >>> sg.evaluate(sg.trace([[1, 2], [3, 4]]))
    array(5)
    """
    return functions.sum(diagonal(x, offset, axis1, axis2), -1, dtype)


# -- several arrays -------------------------------------------------------------------------------


def broadcast_arrays(*values: Operand[AnyValue]) -> list[AnyValue]:
    """The values, each repeated to the shape in which they meet; dtypes stay.

    Args:
        values: what is to meet.

    Returns:
        A list of values of one shape.

    >>> [each.shape for each in sg.broadcast_arrays(sg.zeros((2, 1)), sg.zeros(3))]
    [(2, 3), (2, 3)]
    """
    operands = as_values("broadcast_arrays", *values)
    shape = broadcast("broadcast_arrays", [value.shape for value in operands])
    return [broadcast_to(value, shape) for value in operands]


def meshgrid(
    *values: Operand[AnyValue], indexing: str = "xy", sparse: bool = False
) -> list[AnyValue]:
    """Coordinate grids from vectors: one array per vector, each varying along one axis.

    Args:
        values: vectors; what has other axes is flattened.
        indexing: ``"ij"`` puts the first vector along axis 0, ``"xy"`` along axis 1.
        sparse: leave the other axes at size 1.

    Returns:
        As many values as vectors, in a list; as many axes as vectors.

    >>> sg.evaluate(sg.meshgrid([1, 2], [3, 4, 5]))
    [array([[1, 2],
           [1, 2],
           [1, 2]]), array([[3, 3],
           [4, 4],
           [5, 5]])]
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    vectors = [functions.ravel(v) for v in as_values("meshgrid", *values)]
    rank = len(vectors)
    places = list(range(rank))
    if indexing == "xy" and rank > 1:
        places[:2] = [1, 0]
    grids = [
        reshape(vector, tuple(vector.shape[0] if k == place else 1 for k in range(rank)))
        for vector, place in zip(vectors, places, strict=True)
    ]
    return grids if sparse or not grids else broadcast_arrays(*grids)


def rot90(x: Operand[AnyValue], k: int = 1, axes: tuple[int, int] = (0, 1)) -> AnyValue:
    """x turned by 90 degrees, ``k`` times, in the plane of two axes, from the first to the second.

    Args:
        x: a value with two axes or more.
        k: how often.
        axes: the plane.

    Returns:
        The same elements, turned.

    >>> sg.evaluate(sg.rot90([[1, 2], [3, 4]]))
    array([[2, 4],
           [1, 3]])
    """
    value = as_value("rot90", x)
    first, second = (axis_of("rot90", axis, value) for axis in axes)
    match integer("rot90", "k", k, value) % 4:
        case 0:
            return value
        case 1:
            return functions.swapaxes(flip(value, second), first, second)
        case 2:
            return flip(value, (first, second))
        case _:
            return flip(functions.swapaxes(value, first, second), second)

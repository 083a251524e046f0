"""Rearranged elements: repeat, tile, roll, split, diagonals, grids, padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import copysign
from types import SimpleNamespace
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.functions import aggregate
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import remainder
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import concatenate, diagonal, flip, part, take, with_zeros
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.movement import (
    broadcast_arrays,
    broadcast_to,
    expand_dims,
    ravel,
    reshape,
    swapaxes,
    with_size,
)
from staticgrad.language.ops.operands import (
    Axes,
    Integer,
    as_value,
    as_values,
    axis_of,
    check_equal,
    describe_operands,
    distinct_axes,
    integer,
    is_number,
    number_of_parts,
    shape_of,
    size_of,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.selection import maximum, minimum, where
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import array_of
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import I64
from staticgrad.support.docstrings import like


def roll(x: ArrayLike[AnyValue], shift: Any, axis: Axes = None) -> AnyValue:
    """x with its elements moved ``shift`` places along ``axis``, round the end.

    ``axis`` is one or several, ``shift`` one integer or one per axis; None rolls x flattened.

    >>> sg.roll([1.0, 2.0, 3.0], 1)
    array([3., 1., 2.])
    """
    value = as_value(x)
    if axis is None:
        return reshape(roll(ravel(value), shift, 0), value.shape)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    shifts = list(shift) if isinstance(shift, list | tuple) else [shift] * len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for places, number in zip(shifts, axes, strict=True):
        steps = integer("shift", places, value)
        value = _roll_axis(value, steps, axis_of(number, value))
    return value


def _roll_axis(x: AnyValue, shift: int, axis: int) -> AnyValue:
    """Roll an axis by an amount: two slices, or an index for named sizes."""
    size = x.shape[axis]
    if isinstance(size, Dim):  # the shift may be longer than the axis: only a run can tell
        length = size_value(size, I64)
        return take(x, (iota((size,)) - shift) % length, axis)
    offset = shift % size if size else 0
    if not offset:
        return x
    tail, head = part(x, axis, size - offset, offset), part(x, axis, 0, size - offset)
    return concatenate([tail, head], axis)


def split(x: ArrayLike[AnyValue], indices_or_sections: Any, axis: int = 0) -> list[AnyValue]:
    """Split x along ``axis`` into a number of equal parts, or at the given indices.

    Args:
        indices_or_sections: the number of equal parts; or a list of indices to split at.
        axis: the axis to split.

    >>> sg.evaluate(sg.split([1, 2, 3, 4], 2))
    [array([1, 2]), array([3, 4])]
    """
    value = as_value(x)
    place = axis_of(axis, value)
    if isinstance(indices_or_sections, list | tuple | np.ndarray):
        return _split_at(value, list(indices_or_sections), place)
    count = number_of_parts(indices_or_sections, value)
    size = value.shape[place]
    part_size = dims.floordiv(size, count)
    text = f"split: an axis of size {size} is not {count} equal parts"
    check_equal(text, part_size * count, size, value, hint="sg.split(x, [2, 5]) takes the places")
    value = with_size(value, place, part_size * count)
    return [part(value, place, part_size * k, part_size) for k in range(count)]


def _split_at(x: AnyValue, indices: Sequence[Any], axis: int) -> list[AnyValue]:
    leading = (slice(None),) * axis
    ends = [*indices, None]
    return [x[(*leading, slice(a, b))] for a, b in zip([0, *indices], ends, strict=True)]


def array_split(x: ArrayLike[AnyValue], indices_or_sections: Any, axis: int = 0) -> list[AnyValue]:
    """Split x as ``split``, but the first parts are one longer if the size does not divide evenly.

    Args:
        indices_or_sections: the number of parts; or a list of indices to split at.

    >>> sg.evaluate(sg.array_split([1, 2, 3], 2))
    [array([1, 2]), array([3])]
    """
    value = as_value(x)
    place = axis_of(axis, value)
    if isinstance(indices_or_sections, list | tuple | np.ndarray):
        return _split_at(value, list(indices_or_sections), place)
    count = number_of_parts(indices_or_sections, value)
    size = value.shape[place]
    lengths = [dims.floordiv(size + (count - 1 - k), count) for k in range(count)]
    starts = accumulate(lengths[:-1], initial=0)
    return [part(value, place, s, n) for s, n in zip(starts, lengths, strict=True)]


def hsplit(x: ArrayLike[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """Split x as ``split`` along axis 1, a vector along its only axis.

    Args:
        indices_or_sections: the number of equal parts; or a list of indices to split at.

    >>> sg.evaluate(sg.hsplit([1, 2, 3, 4], 2))
    [array([1, 2]), array([3, 4])]
    """
    value = _check_rank(x, 1)
    return split(value, indices_or_sections, 0 if value.ndim == 1 else 1)


@like(hsplit)
def vsplit(x: ArrayLike[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """Split x, which has two axes or more, as ``split`` along axis 0.

    >>> sg.evaluate(sg.vsplit([[1, 2], [3, 4]], 2))
    [array([[1, 2]]), array([[3, 4]])]
    """
    return split(_check_rank(x, 2), indices_or_sections, 0)


@like(hsplit)
def dsplit(x: ArrayLike[AnyValue], indices_or_sections: Any) -> list[AnyValue]:
    """Split x, which has three axes or more, as ``split`` along axis 2.

    >>> [part.shape for part in sg.dsplit(np.ones((1, 2, 4)), [1])]
    [(1, 2, 1), (1, 2, 3)]
    """
    return split(_check_rank(x, 3), indices_or_sections, 2)


def _check_rank(x: ArrayLike[AnyValue], least: int) -> AnyValue:
    value = as_value(x)
    if value.ndim < least:
        text = f"{called_name()}: expected {least} axes or more, got {value.type}"
        raise RankError(text, related=describe_operands(value))
    return value


def rot90(x: ArrayLike[AnyValue], k: Integer = 1, axes: tuple[int, int] = (0, 1)) -> AnyValue:
    """Turn x by 90 degrees in the plane of two axes, from the first to the second, ``k`` times.

    Args:
        k: how often.
        axes: the plane.

    >>> sg.evaluate(sg.rot90([[1, 2], [3, 4]]))
    array([[2, 4],
           [1, 3]])
    """
    value = as_value(x)
    first, second = distinct_axes(axes, value)
    match k % 4:
        case 0:
            return value
        case 1:
            return swapaxes(flip(value, second), first, second)
        case 2:
            return flip(value, (first, second))
        case _:
            return flip(swapaxes(value, first, second), second)


def repeat(x: ArrayLike[AnyValue], repeats: Any, axis: int | None = None) -> AnyValue:
    """Repeat each element of x ``repeats`` times along ``axis``; None flattens x.

    Args:
        repeats: one number (or size) for all, or integers known now, one per index of the axis;
            a list of one number is for all.
        axis: which axis.

    >>> sg.evaluate(sg.repeat([1, 2], 2))
    array([1, 1, 2, 2])
    """
    value = as_value(x)
    if axis is None:
        value, axis = ravel(value), 0
    place = axis_of(axis, value)
    if isinstance(repeats, Value) and repeats.computes:  # a tensor: its numbers are known
        repeats = np.asarray(repeats)
    if isinstance(repeats, list | tuple | np.ndarray) and np.ndim(repeats) > 0:
        counts = array_of(repeats, "repeat: repeats")
        if counts.size == 1:  # one number for all
            return repeat(value, counts.item(), axis)
        text = f"repeat: {counts.size} numbers for an axis of size {value.shape[place]}"
        check_equal(text, value.shape[place], counts.size, value)
        value = with_size(value, place, counts.size)
        sizes = [int(size) for size in shape_of(tuple(counts.tolist()), value)]
        try:
            places = np.repeat(np.arange(counts.size), sizes)
        except (MemoryError, ValueError):
            raise ShapeError(f"repeat: {sum(sizes)} elements do not fit into memory") from None
        return take(value, places, place)
    (times,) = shape_of((repeats,), value)
    shape = value.shape
    expanded = expand_dims(value, place + 1)
    expanded = broadcast_to(expanded, (*shape[: place + 1], times, *shape[place + 1 :]))
    return reshape(expanded, (*shape[:place], shape[place] * times, *shape[place + 1 :]))


def tile(x: ArrayLike[AnyValue], reps: Any) -> AnyValue:
    """Repeat x ``reps`` times along each axis: one number for the last axis, or one for each.

    >>> sg.tile([1.0, 2.0], 2)
    array([1., 2., 1., 2.])
    """
    value = as_value(x)
    times = shape_of(reps, value)
    rank = max(len(times), value.ndim)
    times = (1,) * (rank - len(times)) + times
    shape = (1,) * (rank - value.ndim) + value.shape
    between = reshape(value, tuple(size for pair in shape for size in (1, pair)))
    wide = broadcast_to(between, tuple(s for pair in zip(times, shape, strict=True) for s in pair))
    return reshape(wide, tuple(n * size for n, size in zip(times, shape, strict=True)))


# -- diagonals ------------------------------------------------------------------------------------


def diag(x: ArrayLike[AnyValue], k: int = 0) -> AnyValue:
    """The k-th diagonal of a matrix; of a vector, the matrix that has it there and 0 elsewhere.

    >>> sg.diag([1.0, 2.0])
    array([[1., 0.],
           [0., 2.]])
    """
    value = as_value(x)
    if value.ndim == 2:
        return diagonal(value, k)
    if value.ndim != 1:
        raise RankError(
            f"diag: {value.type} is not a vector or matrix", related=describe_operands(value)
        )
    shift = integer("k", k, value)
    size = value.shape[0] + abs(shift)
    with_zero_columns = with_zeros(
        value, [(max(shift, 0), max(-shift, 0))]
    )  # out[i, j] holds the one of column j
    hit = equal(iota((size, size), 0, like=value) + shift, iota((size, size), 1, like=value))
    return where(hit, with_zero_columns, np.zeros((), value.dtype.numpy))


def diagflat(x: ArrayLike[AnyValue], k: int = 0) -> AnyValue:
    """Return the matrix with the elements of x, flattened, on diagonal k, zeros elsewhere.

    >>> sg.evaluate(sg.diagflat([[1, 2]], 1))
    array([[0, 1, 0],
           [0, 0, 2],
           [0, 0, 0]])
    """
    return diag(ravel(as_value(x)), k)


def trace(
    x: ArrayLike[AnyValue], offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> AnyValue:
    """The sum of a ``diagonal``, in ``dtype`` if one is given.

    >>> sg.evaluate(sg.trace([[1, 2], [3, 4]]))
    array(5)
    """
    return aggregate.sum(diagonal(x, offset, axis1, axis2), -1, dtype)


# -- several arrays -------------------------------------------------------------------------------


def meshgrid(
    *values: ArrayLike[AnyValue], indexing: Literal["xy", "ij"] = "xy", sparse: bool = False
) -> list[AnyValue]:
    """Return coordinate grids: one array per vector, each varying along one axis.

    Args:
        values: vectors; values of other ranks are flattened.
        indexing: ``"ij"`` puts the first vector along axis 0, ``"xy"`` along axis 1.
        sparse: leave the other axes at size 1.

    Returns:
        A list of one value per vector, each with one axis per vector.

    >>> sg.evaluate(sg.meshgrid([1, 2], [3, 4, 5]))
    [array([[1, 2],
           [1, 2],
           [1, 2]]), array([[3, 3],
           [4, 4],
           [5, 5]])]
    """
    vectors = [ravel(v) for v in as_values(*values)]
    rank = len(vectors)
    places = list(range(rank))
    if indexing == "xy" and rank > 1:
        places[:2] = [1, 0]
    grids = [
        reshape(vector, tuple(vector.shape[0] if k == place else 1 for k in range(rank)))
        for vector, place in zip(vectors, places, strict=True)
    ]
    return grids if sparse or not grids else broadcast_arrays(*grids)


PadMode = Literal["constant", "edge", "reflect", "symmetric", "wrap"]
Pairs = list[tuple[Any, Any]]


def pad(
    x: ArrayLike[AnyValue], pad_width: Any, mode: PadMode = "constant", *, constant_values: Any = 0
) -> AnyValue:
    """x with elements around it: zeros by default.

    Args:
        pad_width: how many before and after: one size for all, (before, after) for all axes, one
            such pair per axis, or a dict from axis to either. Sizes may be named.
        mode: ``"constant"``; ``"edge"``, the outermost element; ``"reflect"`` and ``"symmetric"``,
            mirrored without and with the outermost one; ``"wrap"``, from the other end.
        constant_values: numbers or 0-d values, one or in pairs as ``pad_width``.

    >>> sg.evaluate(sg.pad([1, 2, 3], (1, 2), "edge"))
    array([1, 1, 2, 3, 3, 3])
    """
    value = as_value(x)
    if isinstance(pad_width, dict):
        pairs_by_axis = {axis_of(axis, value): pair for axis, pair in pad_width.items()}
        pad_width = [pairs_by_axis.get(axis, (0, 0)) for axis in range(value.ndim)]
        pad_width = [tuple(e) if isinstance(e, list | tuple) else (e, e) for e in pad_width]
    pairs = [
        (size_of(a, value), size_of(b, value))
        for a, b in _read_pairs(value, pad_width, "pad_width")
    ]
    is_zero = is_number(constant_values) and constant_values == 0
    if mode == "constant":
        if is_zero and copysign(1.0, constant_values) > 0:
            return with_zeros(value, pairs)
        return _pad_constants(value, pairs, constant_values)
    if not is_zero:
        raise ArgumentError(
            f"pad: constant_values={quote(constant_values)} says nothing in mode={mode!r}",
            hint="it belongs to mode='constant'",
        )
    for axis, (pad_before, pad_after) in enumerate(pairs):
        if pad_before == 0 and pad_after == 0:
            continue
        size = value.shape[axis]
        if size == 0:
            raise ShapeError(
                f"pad: axis {axis} of {value.type} has no elements to repeat",
                related=describe_operands(value),
            )
        total = size + pad_before + pad_after
        if isinstance(total, Dim) or isinstance(size, Dim) or isinstance(pad_before, Dim):
            places = iota((total,), like=value) - size_value(pad_before, I64)
            value = take(value, padding_index(places, size_value(size, I64), mode), axis)
        else:
            value = take(value, padding_index(np.arange(total) - pad_before, size, mode, np), axis)
    return value


def _read_pairs(x: Value, data: Any, what: str) -> Pairs:
    """Read ``pad``'s widths or values: a pair (before, after) for each axis."""
    if isinstance(data, np.ndarray):
        data = data.tolist()
    if not isinstance(data, list | tuple):
        data = (data, data)
    if len(data) == 2 and not any(isinstance(entry, list | tuple) for entry in data):
        data = [data] * x.ndim
    if len(data) == 1:
        data = [data[0]] * x.ndim
    pairs = [entry if isinstance(entry, list | tuple) else (entry, entry) for entry in data]
    pairs = [pair * 2 if len(pair) == 1 else pair for pair in pairs]
    if len(pairs) != x.ndim or any(len(pair) != 2 for pair in pairs):
        expected = "one (before, after) for each of"
        if what != "pad_width":
            expected = f"{what} {expected}"
        raise ArgumentError(
            f"pad: {data!r} is not {expected} the {x.ndim} axes", related=describe_operands(x)
        )
    return [(low, high) for low, high in pairs]


def _pad_constants(x: AnyValue, widths: list[tuple[Size, Size]], constants: Any) -> AnyValue:
    """Pad an array with constants before and after each axis."""
    pairs = _read_pairs(x, constants, "constant_values")
    for axis, (sides, values) in enumerate(zip(widths, pairs, strict=True)):
        parts: list[list[AnyValue]] = []
        for side, data in zip(sides, values, strict=True):
            value = as_value(data, getattr(x, "kind", type(x)))
            if value.ndim:
                raise ArgumentError(
                    f"pad: constant_values {value.type} is not a number",
                    related=describe_operands(value),
                )
            shape = tuple(side if k == axis else size for k, size in enumerate(x.shape))
            slab = broadcast_to(astype(value, x.dtype), shape)
            parts.append([slab] if side != 0 else [])
        x = concatenate([*parts[0], x, *parts[1]], axis)
    return x


#: What ``_source`` computes with: our functions of these names, or NumPy's module.
_OURS: Final = SimpleNamespace(maximum=maximum, minimum=minimum, remainder=remainder, where=where)


def padding_index(places: Any, size: Any, mode: str, of: Any = _OURS) -> Any:
    """Return the index that each padded position reads, relative to the array (reflect, wrap).

    ``of`` has the functions: ours, or NumPy's module.
    """
    if mode == "edge":
        return of.maximum(of.minimum(places, size - 1), 0)
    if mode == "wrap":
        return of.remainder(places, size)
    if mode == "symmetric":
        double_size = of.remainder(places, 2 * size)
        return of.where(double_size < size, double_size, 2 * size - 1 - double_size)
    period = of.maximum(2 * size - 2, 1)
    double_size = of.remainder(places, period)
    return of.where(double_size < size, double_size, period - double_size)

"""Results whose size depends on values, in arrays of a size that the caller gives.

``nonzero``, ``compress``, ``unique``, sets and their relatives of NumPy. Of arrays and tensors the
size is known. Of a value of a graph ``size=`` says it, an integer or a named size, as in
``jax.numpy``: what is beyond is left out, and places without a result have ``fill_value``. Slices
at a place that a run gives, and reductions of segments, have sizes that are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions.creation import full, ones
from staticgrad.functions.indexing import At, counted_from_zero
from staticgrad.functions.statistics import isin
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import floor_divide, isnan, remainder, subtract
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike, lift_operand
from staticgrad.language.ops.indexing import (
    IndexCopy,
    ScatterExtreme,
    concatenate,
    part,
    scatter_add,
    stack,
    take,
)
from staticgrad.language.ops.logic import logical_and, logical_not, logical_or, not_equal
from staticgrad.language.ops.movement import ravel, reshape
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    axis_of,
    describe_operands,
    integer,
    promoted_values,
    shape_text,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.scans import cumsum
from staticgrad.language.ops.selection import maximum, minimum, where
from staticgrad.language.ops.sorting import argsort
from staticgrad.language.types.arrays import product as sizes_product
from staticgrad.language.types.dim import Dim, Size, at_least, bounds
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.docstrings import like


def nonzero(
    x: ArrayLike[AnyValue], *, size: Size | None = None, fill_value: int = 0
) -> tuple[AnyValue, ...]:
    """Return the indices of the elements that are not zero, a vector for each axis.

    Args:
        x: at least one axis.
        size: how many indices to return, also as a named size; needed of a value of a graph.
            Further ones are left out.
        fill_value: the index in places for which there is no element.

    Raises:
        ArgumentError: no size, and a run decides how many elements there are.

    >>> x = sg.input("x", (4,), "float64")
    >>> sg.evaluate(sg.nonzero(x, size=3, fill_value=-1), {"x": np.array([0.0, 5.0, 0.0, 7.0])})
    (array([ 1,  3, -1]),)
    >>> sg.nonzero([[0, 5], [7, 0]])
    (array([0, 1]), array([1, 0]))
    """
    value = as_value(x)
    if value.ndim == 0:
        raise RankError(f"{called_name()}: {value.type} has no axes", hint="sg.atleast_1d(x)")
    count = number_of_results(size, x, _how_many)
    flat, filled = _first_indices(_as_mask(ravel(value)), count)
    indices, left = [], flat
    for extent in reversed(value.shape[1:]):
        length = size_value(extent, I64)
        indices.append(remainder(left, length))
        left = floor_divide(left, length)
    indices.append(left)
    return tuple([where(filled, index, fill_value) for index in reversed(indices)])


@like(nonzero)
def flatnonzero(
    x: ArrayLike[AnyValue], *, size: Size | None = None, fill_value: int = 0
) -> AnyValue:
    """Return the indices of the elements of x, flattened, that are not zero.

    >>> sg.flatnonzero([0.0, 5.0, 7.0])
    array([1, 2])
    """
    count = number_of_results(size, x, _how_many)
    flat, filled = _first_indices(_as_mask(ravel(as_value(x))), count)
    return where(filled, flat, fill_value)


@like(nonzero)
def argwhere(x: ArrayLike[AnyValue], *, size: Size | None = None, fill_value: int = 0) -> AnyValue:
    """Return the indices of the elements that are not zero, a row for each.

    >>> sg.argwhere([[0, 5], [7, 0]])
    array([[0, 1],
           [1, 0]])
    """
    return stack(nonzero(x, size=size, fill_value=fill_value), 1)


def compress(
    condition: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
    axis: int | None = None,
    *,
    size: Size | None = None,
    fill_value: complex = 0,
) -> AnyValue:
    """Return the entries of x along ``axis`` where a condition holds: ``x[mask]`` of a given size.

    Gradients go to the entries that were chosen.

    Args:
        condition: a vector, as long as the axis.
        x: what to choose from.
        axis: which axis; None flattens x.
        size: how many entries to return, needed of a value of a graph. Further ones are left out.
        fill_value: the elements of entries for which the condition holds nowhere.

    Raises:
        ArgumentError: no size, and a run decides how often the condition holds.
        ShapeError: another size than that of the axis.

    >>> x = sg.input("x", (4,), "float64")
    >>> sg.evaluate(sg.compress(x > 2.0, x, size=3), {"x": np.array([1.0, 5.0, 2.0, 7.0])})
    array([5., 7., 0.])
    """
    mask, value = as_values(condition, x)
    if axis is None:
        value, axis = ravel(value), 0
    place = axis_of(axis, value)
    if mask.ndim != 1 or mask.shape[0] != value.shape[place]:
        raise ShapeError(
            f"{called_name()}: a condition {shape_text(mask.shape)} for axis {place} of"
            f" {shape_text(value.shape)}",
            hint="one element for each entry; of all elements: sg.extract(mask, x, size=n)",
            related=describe_operands(mask, value),
        )
    count = number_of_results(size, condition, _how_many)
    flat, filled = _first_indices(_as_mask(mask), count)
    chosen = take(_pad_if_empty(value, place), flat, place)
    filled = reshape(filled, (count, *(1,) * (value.ndim - place - 1)))
    return where(filled, chosen, _cast_like(fill_value, value))


@like(compress)
def extract(
    condition: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue],
    *,
    size: Size | None = None,
    fill_value: complex = 0,
) -> AnyValue:
    """Return the elements of x where a condition of the same shape holds, as a vector.

    >>> sg.extract([[True, False], [True, True]], [[1.0, 2.0], [3.0, 4.0]])
    array([1., 3., 4.])
    """
    count = number_of_results(size, condition, _how_many)
    mask, value = as_values(condition, x)
    return compress(ravel(mask), ravel(value), size=count, fill_value=fill_value)


def unique(
    x: ArrayLike[AnyValue],
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: None = None,
    *,
    equal_nan: bool = True,
    size: Size | None = None,
    fill_value: complex | None = None,
) -> AnyValue | tuple[AnyValue, ...]:
    """Return the sorted elements of x, each once, and on request where and how often they occur.

    Args:
        x: of any shape; it is flattened.
        return_index: return the index of the first of each, too.
        return_inverse: return where each element of x is in the result, in the shape of x.
        return_counts: return how often each occurs.
        axis: None.
        equal_nan: count all NaN as one.
        size: how many elements to return, needed of a value of a graph. Further ones are left out.
        fill_value: the elements beyond, whose count is 0; by default the smallest one.

    Returns:
        The elements, or a tuple of these and what is requested, in the order of the arguments.

    Raises:
        ArgumentError: no size, and a run decides how many there are; an axis.

    >>> x = sg.input("x", (5,), "int64")
    >>> found = sg.unique(x, return_counts=True, size=4)
    >>> sg.evaluate(found, {"x": np.array([3, 1, 3, 2, 1])})
    (array([1, 2, 3, 1]), array([2, 1, 2, 0]))
    """
    if axis is not None:
        raise ArgumentError(
            f"unique: axis={axis} is not taken: x is flattened", hint="sg.unique(x)"
        )
    count = number_of_results(
        size, x, lambda array: int(np.unique(array, equal_nan=equal_nan).size)
    )
    value = as_value(x)
    flat = ravel(value)
    order = argsort(flat)
    row = take(flat, order)
    place = iota(row.shape, like=row)
    previous = take(row, maximum(place - 1, 0))
    differs = not_equal(row, previous)
    if equal_nan and value.dtype.is_float:
        differs = logical_and(differs, logical_not(logical_and(isnan(row), isnan(previous))))
    begins = logical_or(place < 1, differs)
    group = subtract(cumsum(astype(begins, I64)), 1)
    firsts, filled = _first_indices(begins, count)
    values = take(_pad_if_empty(row, 0), firsts)
    if fill_value is not None:
        values = where(filled, values, _cast_like(fill_value, value))
    results = [values]
    if return_index:
        results.append(take(_pad_if_empty(order, 0), firsts))
    if return_inverse:
        results.append(reshape(scatter_add(group, order, row.shape[0]), value.shape))
    if return_counts:
        once = ones(group.shape, I64, like=group)
        results.append(part(scatter_add(once, minimum(group, count), count + 1), 0, 0, count))
    return results[0] if len(results) == 1 else tuple(results)


def union1d(
    ar1: ArrayLike[AnyValue],
    ar2: ArrayLike[AnyValue],
    *,
    size: Size | None = None,
    fill_value: complex | None = None,
) -> AnyValue:
    """Return the sorted elements of two arrays, each once.

    Args:
        ar1, ar2: of any shapes; they are flattened.
        size: how many elements to return, needed of values of a graph. Further ones are left out.
        fill_value: the elements beyond; by default the smallest one.

    Raises:
        ArgumentError: no size, and a run decides how many there are.

    >>> sg.union1d([3, 1], [2, 3])
    array([1, 2, 3])
    """
    left, right = _rows(ar1, ar2)
    count = _size_of_two(size, ar1, ar2, np.union1d)
    return unique(concatenate([left, right], 0), size=count, fill_value=fill_value)  # type: ignore[return-value]


@like(union1d)
def intersect1d(
    ar1: ArrayLike[AnyValue],
    ar2: ArrayLike[AnyValue],
    assume_unique: bool = False,
    *,
    size: Size | None = None,
    fill_value: complex = 0,
) -> AnyValue:
    """Return the sorted elements that are in both of two arrays, each once.

    Args:
        assume_unique: the elements of each array differ; of ``setdiff1d`` they keep their order.
        fill_value: the elements beyond.

    >>> sg.intersect1d([3, 1, 2], [2, 3, 7], size=2)
    array([2, 3])
    """
    left, right = _rows(ar1, ar2)
    count = _size_of_two(size, ar1, ar2, np.intersect1d)
    return _select_sorted(left, isin(left, right), count, fill_value)


@like(intersect1d)
def setdiff1d(
    ar1: ArrayLike[AnyValue],
    ar2: ArrayLike[AnyValue],
    assume_unique: bool = False,
    *,
    size: Size | None = None,
    fill_value: complex = 0,
) -> AnyValue:
    """Return the sorted elements of the first array that are not in the second, each once.

    >>> sg.setdiff1d([3, 1, 2], [2, 7], size=2)
    array([1, 3])
    """
    left, right = _rows(ar1, ar2)
    count = _size_of_two(size, ar1, ar2, lambda a, b: np.setdiff1d(a, b, assume_unique))
    if assume_unique:
        return compress(logical_not(isin(left, right)), left, size=count, fill_value=fill_value)
    return _select_sorted(left, logical_not(isin(left, right)), count, fill_value)


@like(intersect1d)
def setxor1d(
    ar1: ArrayLike[AnyValue],
    ar2: ArrayLike[AnyValue],
    assume_unique: bool = False,
    *,
    size: Size | None = None,
    fill_value: complex = 0,
) -> AnyValue:
    """Return the sorted elements that are in one of two arrays alone, each once.

    >>> sg.setxor1d([1, 2], [2, 7], size=2)
    array([1, 7])
    """
    left, right = _rows(ar1, ar2)
    count = _size_of_two(size, ar1, ar2, np.setxor1d)
    is_alone = [logical_not(isin(left, right)), logical_not(isin(right, left))]
    return _select_sorted(
        concatenate([left, right], 0), concatenate(is_alone, 0), count, fill_value
    )


def _rows(ar1: Any, ar2: Any) -> list[Any]:
    return [ravel(array) for array in promoted_values((ar1, ar2))]


def _size_of_two(size: Any, ar1: Any, ar2: Any, of_known: Callable[[Any, Any], Any]) -> Size:
    """Return the size of a set operation's result; in graphs the caller gives it."""
    unknown = isinstance(ar1, Value) and not ar1.computes

    def how_many(_: Any) -> int:
        return int(of_known(np.asarray(ar1), np.asarray(ar2)).size)

    return number_of_results(size, ar1 if unknown else ar2, how_many)


def _select_sorted(row: Any, is_chosen: Any, size: Size, fill_value: complex) -> Any:
    """Return the first ``size`` distinct chosen elements, sorted (unique, intersect1d)."""
    order = argsort(row)
    row, is_chosen = take(row, order), take(is_chosen, order)
    place = iota(row.shape, like=row)
    if row.shape[0] != 0:
        previous = take(row, maximum(place - 1, 0))
        is_chosen = logical_and(is_chosen, logical_or(place < 1, not_equal(row, previous)))
    return compress(is_chosen, row, size=size, fill_value=fill_value)


def dynamic_slice(x: ArrayLike[AnyValue], starts: Sequence[Any], sizes: Sequence[int]) -> AnyValue:
    """Return a block of x of known sizes at a place that a run gives, as ``jax.lax`` does.

    Args:
        x: what to read.
        starts: an integer for each axis; negative ones count from the end. Where the block would
            leave x it is moved inside; ``x[i : i + k]`` raises an error there.
        sizes: how many entries of each axis, numbers.

    >>> i = sg.input("i", (), "int64")
    >>> sg.evaluate(sg.dynamic_slice(np.arange(5.0), [i], [2]), {"i": 1})
    array([1., 2.])
    """
    value = as_value(x)
    _check_axes(value, starts, "starts")
    _check_axes(value, sizes, "sizes")
    for axis, (start, extent) in enumerate(zip(starts, sizes, strict=True)):
        if value.shape[axis] != extent:
            count = integer("size", extent, value, least=0)
            value = take(value, _window(value, start, value.shape[axis], count), axis)
    return value


def dynamic_update_slice(
    x: ArrayLike[AnyValue], update: ArrayLike[AnyValue], starts: Sequence[Any]
) -> AnyValue:
    """Return x with a block replaced at a place that a run gives, as ``jax.lax`` does.

    Args:
        x: what to change.
        update: the block, of known sizes, in the dtype of x.
        starts: as of ``dynamic_slice``.

    >>> i = sg.input("i", (), "int64")
    >>> sg.evaluate(sg.dynamic_update_slice(np.zeros(4), [1.0, 2.0], [i]), {"i": 1})
    array([0., 1., 2., 0.])
    """
    value, new = as_values(x, update)
    _check_axes(value, starts, "starts")
    _check_axes(value, new.shape, "sizes of update")
    new = astype(new, value.dtype)
    if 0 in new.shape:
        return value
    first = last = -1  # of the axes along which the block is a part
    for axis, size in enumerate(value.shape):
        extent = new.shape[axis]
        if extent == size:
            continue
        text = f"dynamic_update_slice: {extent} entries do not fit axis {axis} of size {size}"
        if not at_least(size, extent, text):
            raise ShapeError(text, related=describe_operands(value, new))
        first, last = (axis if first < 0 else first), axis
    if first < 0:
        return new
    places: Any = None
    for axis in range(first, last + 1):
        window = _window(value, starts[axis], value.shape[axis], new.shape[axis])
        grid = reshape(window, (new.shape[axis], *(1,) * (last - axis)))
        length = size_value(value.shape[axis], I64)
        places = grid if places is None else places * length + grid
    count = sizes_product(value.shape[first : last + 1])
    rows = reshape(value, (*value.shape[:first], count, *value.shape[last + 1 :]))
    written = IndexCopy(first, inside=True, distinct=True)(new, places, rows)
    return reshape(written, value.shape)


def _check_axes(value: Value, entries: Sequence[Any], what: str) -> None:
    if len(entries) != value.ndim:
        raise RankError(
            f"{called_name()}: {len(entries)} {what} for {value.type}",
            related=describe_operands(value),
        )


def _window(value: Any, start: Any, size: Size, count: Size) -> Any:
    """Return ``count`` places of an axis of ``size`` from ``start``, which is brought inside."""
    first = astype(as_value(start, type(value)), I64)
    length, extent = size_value(size, I64), size_value(count, I64)
    first = where(first < 0, first + length, first)
    return maximum(minimum(first, length - extent), 0) + iota((count,), like=value)


def segment_sum(
    data: ArrayLike[AnyValue], segment_ids: ArrayLike[AnyValue], num_segments: Size | None = None
) -> AnyValue:
    """Return the sums of the entries of ``data`` along axis 0 that have the same number.

    Args:
        data: entries along axis 0.
        segment_ids: the number of the segment of each entry, an integer from 0.
        num_segments: how many segments there are, needed of a value of a graph.

    Raises:
        ArgumentError: no number of segments, and a run decides it.
        IndexOutOfRange: in a run, a segment that is not there.

    >>> sg.segment_sum([1.0, 2.0, 4.0], [0, 2, 0], 3)
    array([5., 0., 2.])
    """
    values, places, count = _check_segments(data, segment_ids, num_segments)
    return scatter_add(values, places, count)


@like(segment_sum)
def segment_max(
    data: ArrayLike[AnyValue], segment_ids: ArrayLike[AnyValue], num_segments: Size | None = None
) -> AnyValue:
    """Return the largest entries of each segment; of an empty one -inf or the smallest integer.

    >>> sg.segment_max([1.0, 5.0, 2.0, 7.0], [0, 0, 1, 1], 2)
    array([5., 7.])
    """
    values, places, count = _check_segments(data, segment_ids, num_segments)
    return ScatterExtreme("max", 0, count)(values, places)


@like(segment_sum)
def segment_min(
    data: ArrayLike[AnyValue], segment_ids: ArrayLike[AnyValue], num_segments: Size | None = None
) -> AnyValue:
    """Return the smallest entries of each segment; of an empty one inf or the largest integer.

    >>> sg.segment_min([1.0, 5.0, 2.0, 7.0], [0, 0, 1, 1], 2)
    array([1., 2.])
    """
    values, places, count = _check_segments(data, segment_ids, num_segments)
    return ScatterExtreme("min", 0, count)(values, places)


@like(segment_sum)
def segment_prod(
    data: ArrayLike[AnyValue], segment_ids: ArrayLike[AnyValue], num_segments: Size | None = None
) -> AnyValue:
    """Return the products of the entries of each segment; of an empty one 1.

    >>> sg.segment_prod([1.0, 5.0, 2.0, 7.0], [0, 0, 1, 1], 2)
    array([ 5., 14.])
    """
    values, places, count = _check_segments(data, segment_ids, num_segments)
    start = ones((count, *values.shape[1:]), values.dtype, like=values)
    return At(start)[places].multiply(values)  # type: ignore[return-value]


def _check_segments(data: Any, segment_ids: Any, num_segments: Any) -> tuple[Any, Any, Size]:
    """Check the segment numbers of a segment reduction; return values and counts."""
    values, places = as_values(data, segment_ids)
    if places.ndim != 1 or values.ndim == 0:
        raise RankError(
            f"{called_name()}: segments {places.type} of {values.type}: a number for each entry"
            " along axis 0",
            related=describe_operands(values, places),
        )
    count = number_of_results(
        num_segments, segment_ids, lambda ids: int(ids.max(initial=-1)) + 1, "num_segments"
    )
    return values, counted_from_zero(places, count), count


def number_of_results(
    size: Any, x: Any, of_known: Callable[[Any], int], word: str = "size"
) -> Size:
    """Return the number of results: as given, or that of an array or tensor."""
    if isinstance(size, Dim):
        return size
    if size is not None:
        return integer(word, size, least=0)
    if isinstance(x, Value) and not x.computes:
        raise ArgumentError(
            f"{called_name()}: how many results there are is only known in a run",
            hint=f"{word}=n says how many to return; of fewer the last ones are filled",
            related=describe_operands(x),
        )
    return of_known(np.asarray(x))


def _how_many(array: Any) -> int:
    return int(np.count_nonzero(array))


def _as_mask(x: Any) -> Any:
    return x if x.dtype is BOOL else not_equal(x, 0)


def _first_indices(mask: Any, size: Size) -> tuple[Any, Any]:
    """Return the first ``size`` indices where a mask holds, 0 after, and which are filled."""
    number = cumsum(astype(mask, I64))
    target = where(logical_and(mask, number <= size), number - 1, size)
    everywhere = ScatterExtreme("max", 0, size + 1)(iota(mask.shape, like=mask), target)
    indices = part(everywhere, 0, 0, size)
    filled = indices >= 0  # where nothing was sent there is the smallest integer
    return where(filled, indices, 0), filled


def _pad_if_empty(value: Any, axis: int) -> Any:
    """Return a value with a further entry of zeros along an axis which may be empty."""
    size = value.shape[axis]
    if bounds(size)[0]:
        return value
    shape = (*value.shape[:axis], 1, *value.shape[axis + 1 :])
    return concatenate([value, full(shape, 0, value.dtype, like=value)], axis)


def _cast_like(number: Any, of: Any) -> Any:
    return astype(lift_operand(called_name(), type(of), number, of.dtype), of.dtype)

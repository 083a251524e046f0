"""Statistics: averages, covariances, histograms, quantiles; products, norms, ranges and counts."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, overload

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    EmptyReductionError,
    RankError,
    ShapeError,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.functions import aggregate, aggregate as of
from staticgrad.functions.complex_numbers import abs_square, real
from staticgrad.functions.creation import full
from staticgrad.functions.curves import diff
from staticgrad.functions.indexing import counted_from_zero, with_two_axes
from staticgrad.functions.masking import Mask, fill_outside_mask, mask_of, start_of
from staticgrad.functions.variants import variant
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.value import Value
from staticgrad.language.ops import selection
from staticgrad.language.ops.arithmetic import absolute, ceil, conj, flat_root, floor, power, rint
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import (
    TakeAlong,
    concatenate,
    diagonal,
    list_values,
    part,
    scatter_add,
    stack,
    take,
    take_along_axis,
)
from staticgrad.language.ops.linalg import SVDVals
from staticgrad.language.ops.logic import equal
from staticgrad.language.ops.movement import (
    broadcast_arrays,
    broadcast_to,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    transpose,
)
from staticgrad.language.ops.operands import (
    Axes,
    Integer,
    as_value,
    as_values,
    axes_of,
    axis_of,
    counting_dtype,
    describe_operands,
    distinct_axes,
    dtype_of,
    floating,
    integer,
    promoted_values,
    reduction_axes,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.rounding import rounded_as_first, rounded_once
from staticgrad.language.ops.scans import CumProd
from staticgrad.language.ops.selection import clip, minimum, where
from staticgrad.language.ops.sorting import (
    MOST_SELECTED,
    argsort,
    searchsorted,
    select_in_order,
    sort,
    sorted_along,
)
from staticgrad.language.ops.transcendental import sqrt
from staticgrad.language.types.arrays import Shape, array_of
from staticgrad.language.types.dim import Dim, Size, bounds, floordiv, maximum
from staticgrad.language.types.dtype import BOOL, F64, I64
from staticgrad.support.docstrings import like


@overload
def average(
    x: ArrayLike[AnyValue],
    axis: Axes = ...,
    weights: ArrayLike[AnyValue] | None = ...,
    returned: Literal[False] = ...,
    *,
    keepdims: bool = ...,
) -> AnyValue: ...
@overload
def average(
    x: ArrayLike[AnyValue],
    axis: Axes = ...,
    weights: ArrayLike[AnyValue] | None = ...,
    *,
    returned: Literal[True],
    keepdims: bool = ...,
) -> tuple[AnyValue, AnyValue]: ...
@rounded_once
def average(
    x: ArrayLike[Any],
    axis: Axes = None,
    weights: ArrayLike[Any] | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The mean over ``axis``, each element counted by its weight.

    Args:
        weights: one per element, or, where axes are named, one per place along these.
        returned: also return the sum of the weights, in the shape of the mean.

    >>> sg.evaluate(sg.average([1.0, 2.0, 6.0], weights=[1.0, 1.0, 2.0]))
    array(3.75)
    """
    if weights is None:
        value = as_value(x)
        result = of.mean(value, axis, keepdims=keepdims)
        if not returned:
            return result
        axes = axes_of(axis, value)
        weight_sum = size_value(math.prod(value.shape[k] for k in axes), result.dtype)
        return result, full(result.shape, weight_sum, like=value)
    value, weight = (floating(v) for v in promoted_values((x, weights)))
    if axis is not None and weight.shape != value.shape:
        places = distinct_axes(axis if isinstance(axis, list | tuple) else (axis,), value)
        if weight.ndim != len(places):
            raise ShapeError(
                f"average: weights {weight.type} for {len(places)} axes of {value.type}",
                hint="one weight per element of x, or per place along the axes",
                related=describe_operands(value, weight),
            )
        ordered = transpose(weight, sorted(range(len(places)), key=places.__getitem__))
        sizes = iter(ordered.shape)
        weight = reshape(
            ordered, tuple(next(sizes) if k in places else 1 for k in range(value.ndim))
        )
    value, weight = broadcast_arrays(value, weight)
    total = of.sum(weight, axis, keepdims=keepdims)
    result = of.sum(value * weight, axis, keepdims=keepdims) / total
    return (result, total) if returned else result


@rounded_once
def cov(
    m: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue] | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Integer | None = None,
    fweights: ArrayLike[AnyValue] | None = None,
    aweights: ArrayLike[AnyValue] | None = None,
    *,
    dtype: Any = None,
) -> AnyValue:
    """The covariance matrix of variables, which are the rows of m (columns if not ``rowvar``).

    Args:
        m: variables by observations [v, n]; a vector is one variable. One variable gives a 0-d
            result; a named number of variables always gives a matrix.
        y: more variables, seen at the same observations.
        rowvar: whether variables are rows.
        bias: divide by n instead of n - 1.
        ddof: divide by n - ddof, whatever ``bias`` says.
        fweights: how often each observation was made: integers [n].
        aweights: how much each observation counts: numbers [n] that are not negative.
        dtype: a floating dtype to convert to first.

    >>> sg.cov([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    if y is not None:
        m, y = as_values(m, y)
    rows = _read_variables(m, rowvar, dtype)
    if y is not None:
        other_rows = _read_variables(y, rowvar, dtype)
        rows = concatenate(list(promoted_values((rows, other_rows))), 0)
    correction = ddof if ddof is not None else 0 if bias else 1
    weights = _observation_weights(rows, fweights, aweights)
    if weights is None:
        deviation = rows - of.mean(rows, 1, keepdims=True)
        left, count = deviation, _size(maximum(rows.shape[1] - correction, 0), rows)
    else:
        total = of.sum(weights)
        deviation = rows - of.sum(rows * weights, 1, keepdims=True) / total
        left, count = deviation * weights, total - float(correction)
        if aweights is not None:
            squares = of.sum(weights * as_values(rows, aweights)[1]) / total
            count = total - float(correction) * squares
        count = where(count > 0.0, count, 0.0)
    covariance = matmul(left, conj(transpose(deviation))) / count
    return reshape(covariance, ()) if covariance.shape == (1, 1) else covariance


def _observation_weights(
    rows: AnyValue, fweights: ArrayLike[AnyValue] | None, aweights: ArrayLike[AnyValue] | None
) -> AnyValue | None:
    """Return each observation's weight in ``cov``, from fweights and aweights."""
    combined: AnyValue | None = None
    for name, argument in (("fweights", fweights), ("aweights", aweights)):
        if argument is None:
            continue
        weight = as_values(rows, argument)[1]
        if name == "fweights" and not weight.dtype.is_integer:
            text = f"cov: fweights are integers, not {weight.dtype.numpy}"
            raise DTypeError(
                text, hint="aweights may be any numbers", related=describe_operands(weight)
            )
        if weight.shape != rows.shape[1:]:
            text = f"cov: {name} {weight.type} for observations {rows.type}"
            raise ShapeError(text, related=describe_operands(rows, weight))
        weight = astype(weight, real(rows).dtype)
        combined = weight if combined is None else combined * weight
    return combined


def _size(size: Size, like: Value) -> Any:
    return float(size) if isinstance(size, int) else size_value(size, like.dtype)


@like(cov)
@rounded_once
def corrcoef(
    x: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue] | None = None,
    rowvar: bool = True,
    *,
    dtype: Any = None,
) -> AnyValue:
    """The correlation coefficients of variables: ``cov`` over the standard deviations of both.

    A symmetric matrix of numbers, held between -1 and 1.

    >>> sg.corrcoef([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    covariance = cov(x, y, rowvar, dtype=dtype)
    if not covariance.ndim:
        return covariance / covariance
    deviation = sqrt(diagonal(covariance))
    scaled = covariance / expand_dims(deviation, 1) / deviation
    return clip(scaled, -1.0, 1.0)


def _read_variables(x: ArrayLike[AnyValue], rowvar: bool, dtype: Any) -> AnyValue:
    """Read the variables of ``cov`` or ``corrcoef`` as rows of floats."""
    value = floating(x)
    if dtype is not None:
        target = dtype_of(dtype)
        if not target.is_float:
            raise DTypeError(
                f"{called_name()}: dtype={target.numpy} is not floating",
                related=describe_operands(value),
            )
        value = astype(value, target)
    if value.ndim > 2:
        raise RankError(
            f"{called_name()}: takes at most two axes, got {value.type}",
            related=describe_operands(value),
        )
    wide = with_two_axes(value)
    return transpose(wide) if not rowvar and value.ndim == 2 else wide


Range = tuple[float, float] | None


def isin(
    element: ArrayLike[AnyValue], test_elements: ArrayLike[AnyValue], *, invert: bool = False
) -> AnyValue:
    """Return True for each element that is among the others; NaN never is. ``invert``: is not.

    The others are put in order and searched: n log m operations for n elements and m others.

    >>> sg.isin([1, 2, 3], [2, 5])
    array([False,  True, False])
    """
    elements, others = promoted_values((element, test_elements))
    row = ravel(others)
    if row.size == 0:
        return full(elements.shape, np.bool_(invert), like=elements)
    row = sort(row)
    last = size_value(row.shape[0] - 1, I64)
    places = minimum(searchsorted(row, elements), last)
    nearest = take(row, places, 0)
    return nearest != elements if invert else nearest == elements


def digitize(x: ArrayLike[AnyValue], bins: ArrayLike[AnyValue], right: bool = False) -> AnyValue:
    """Return the number of the bin that contains each element of x; 0 is below the first edge.

    Args:
        bins: a vector of edges, which ascend or descend.
        right: an element that equals an edge is in the bin on its left.

    >>> sg.evaluate(sg.digitize([-1.0, 0.5, 2.0], [0.0, 1.0, 2.0]))
    array([0, 1, 3])
    """
    side: Literal["left", "right"] = "left" if right else "right"
    if isinstance(bins, Value):
        ascending = searchsorted(bins, x, side)
        below = bins.size - searchsorted(bins[::-1], x, side)
        return where(aggregate.any(bins[:-1] > bins[1:]), below, ascending)
    edges = array_of(bins, "digitize: bins")
    if edges.ndim != 1:
        raise RankError(f"digitize: the edges have {edges.ndim} axes; they are a vector")
    if np.all(edges[:-1] <= edges[1:]):
        return searchsorted(edges, x, side)
    if not np.all(edges[:-1] >= edges[1:]):
        raise ArgumentError("digitize: the edges neither ascend nor descend")
    return edges.size - searchsorted(edges[::-1], x, side)


def partition(x: ArrayLike[AnyValue], kth: Any, axis: int | None = -1) -> AnyValue:
    """Sort x along ``axis``: one of the orders that NumPy's ``partition`` may give.

    Where a compiled program reads a few of its elements, as ``[..., k]`` or ``[..., :k]``, no row
    is sorted.

    Args:
        kth: not looked at: every position holds what a sort puts there.
        axis: one axis; None for all elements, flattened.

    >>> sg.evaluate(sg.partition([3, 1, 2], 1))
    array([1, 2, 3])
    """
    return sorted_along(x, axis, (None, None, None), False)[0]


@like(partition)
def argpartition(x: ArrayLike[AnyValue], kth: Any, axis: int | None = -1) -> AnyValue:
    """Return the positions (int64) that sort x along ``axis``; see ``partition``.

    >>> sg.evaluate(sg.argpartition([3, 1, 2], 1))
    array([1, 2, 0])
    """
    return sorted_along(x, axis, (None, None, None), False)[1]


def lexsort(keys: Any, axis: int = -1) -> Value:
    """Return the positions (int64) along ``axis`` that sort several keys, the last key first.

    Where elements of the last key are equal the one before it decides, and so on.

    Args:
        keys: a list or tuple of values of one shape, or one value with the keys along axis 0.

    >>> sg.evaluate(sg.lexsort([[2, 1, 0], [0, 1, 0]]))
    array([2, 0, 1])
    """
    values = as_values(*list_values(keys))
    if not values:
        raise ArgumentError("lexsort: there are no keys")
    first = values[0]
    for value in values[1:]:
        if value.shape != first.shape:
            text = f"lexsort: keys {first.type} and {value.type} have different shapes"
            raise ShapeError(text, related=describe_operands(first, value))
    place = axis_of(axis, first)
    positions = argsort(first, place)
    for value in values[1:]:
        order = argsort(take_along_axis(value, positions, place), place)
        positions = take_along_axis(positions, order, place)
    return positions


def bincount(
    x: ArrayLike[AnyValue], weights: ArrayLike[AnyValue] | None = None, minlength: int | None = None
) -> AnyValue:
    """Count how often each of the numbers 0 to ``minlength`` - 1 occurs in a vector of integers.

    Args:
        x: a vector of integers.
        weights: a value of the shape of x, added up in place of counts; its gradient passes.
        minlength: the size of the result, known at build, because it may not depend on values.

    Raises:
        IndexOutOfRange: in a run, an integer below 0 or not below ``minlength``.

    >>> sg.evaluate(sg.bincount([0, 2, 2], minlength=4))
    array([1, 0, 2, 0])
    """
    row = as_value(x)
    if minlength is None:
        raise ArgumentError(
            "bincount: the size of the result must be known when the graph is built",
            hint="sg.bincount(x, minlength=10) counts the numbers 0 to 9",
            related=describe_operands(row),
        )
    count = integer("minlength", minlength, row, least=0)
    if row.ndim != 1:
        raise RankError(f"bincount: {row.type} is not a vector", related=describe_operands(row))
    places = counted_from_zero(row, count)
    if weights is None:
        added = full(row.shape, 1, I64, like=row)
    else:
        added = floating(as_values(row, weights)[1])
        if added.shape != row.shape:
            text = f"bincount: weights {added.type} for elements {row.type}"
            raise ShapeError(text, related=describe_operands(row, added))
    return scatter_add(added, places, count)


def histogram(
    x: ArrayLike[AnyValue],
    bins: ArrayLike[AnyValue] | int = 10,
    range: Range = None,
    density: bool | None = None,
    weights: ArrayLike[AnyValue] | None = None,
) -> tuple[AnyValue, AnyValue]:
    """Count the elements of x in each bin; return the counts and the bins' edges.

    A bin holds what is not below its left and below its right edge, the last one also its right
    edge. What lies outside the edges, and NaN, is not counted.

    Args:
        bins: how many bins of one width, or a vector of ascending edges.
        range: where the first and last of ``bins`` bins end; by default the smallest and the
            largest element (a named size must not be 0 then).
        density: divide by the total and the bins' widths.
        weights: a value of the shape of x, added up in place of counts; its gradient passes.

    Returns:
        Counts (int64; the dtype of the weights; float64 for densities of counts) and edges.

    >>> counts, edges = sg.histogram([0.0, 1.0, 1.5, 4.0], bins=2)
    >>> sg.evaluate([counts, edges])
    [array([3, 1]), array([0., 2., 4.])]
    """
    row = as_value(x)
    edges = histogram_bin_edges(row, bins, range)
    elements, place, _ = _sort_into_bins(row, edges)
    if weights is None:
        added = full(elements.shape, 1, I64, like=elements)
    else:
        added = ravel(broadcast_to(as_values(row, weights)[1], row.shape))
    return (_densities if density else _counts)(added, place, edges), edges


def _sort_into_bins(row: AnyValue, edges: AnyValue) -> tuple[AnyValue, Any, Any]:
    """Return a histogram's elements, the bin of each, and the number of bins.

    That number is also the bin of elements outside of the edges.
    """
    elements, ends = promoted_values((ravel(row), edges))
    count = ends.shape[0] - 1
    last = part(ends, 0, count, 1)
    place = searchsorted(ends, elements, "right") - 1
    overflow = size_value(count, I64)
    place = where(elements == last, overflow - 1, place)
    return elements, where((place < 0) | (place >= overflow), overflow, place), overflow


def histogram2d(
    x: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue],
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike[AnyValue] | None = None,
) -> tuple[AnyValue, AnyValue, AnyValue]:
    """Count the points (x, y) in each bin of a grid; return the counts and the edges of both.

    Args:
        x, y: vectors of one size.
        bins: a number of bins or a vector of edges, for both; or a list of one for each.
        range: the ends of the first and last bins, a pair for each.
        density: divide by the total and the bins' areas.
        weights: of the points, added up in place of counts; their gradient passes.

    >>> counts, _, _ = sg.histogram2d([0.0, 1.0, 1.0], [0.0, 1.0, 1.0], 2)
    >>> sg.evaluate(counts)
    array([[1., 0.],
           [0., 2.]])
    """
    xs, ys = as_values(x, y)
    is_list = isinstance(bins, list | tuple) and len(bins) == 2
    bins_per_axis = bins if is_list else [bins, bins]
    counts, edges = _histogram_of_points([xs, ys], bins_per_axis, range, density, weights)
    return counts, edges[0], edges[1]


@like(histogram2d)
def histogramdd(
    sample: ArrayLike[AnyValue] | Sequence[ArrayLike[AnyValue]],
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike[AnyValue] | None = None,
) -> tuple[AnyValue, tuple[AnyValue, ...]]:
    """Count points in each bin of a grid; return the counts and a tuple of the axes' edges.

    Args:
        sample: points [n, d], or a sequence of d vectors.

    >>> counts, edges = sg.histogramdd(np.array([[0.1, 0.2], [0.9, 0.8], [0.8, 0.1]]), bins=2)
    >>> counts
    array([[1., 0.],
           [1., 1.]])
    """
    if isinstance(sample, list | tuple):
        columns: Any = as_values(*sample)
    else:
        points: Any = as_value(sample)
        points = reshape(points, (-1, 1)) if points.ndim == 1 else points
        if points.ndim != 2:
            raise RankError(
                f"{called_name()}: {points.type} has no rows of points",
                related=describe_operands(points),
            )
        columns = [points[:, axis] for axis in builtins.range(points.shape[1])]
    bins_per_axis = bins if isinstance(bins, list | tuple) else [bins] * len(columns)
    return _histogram_of_points(columns, bins_per_axis, range, density, weights)


def _histogram_of_points(
    columns: Sequence[Any], bins: Sequence[Any], range: Any, density: Any, weights: Any
) -> tuple[Any, tuple[Any, ...]]:
    """Count points in a grid of bins (histogram2d, histogramdd)."""
    ranges = [None] * len(columns) if range is None else range
    if not len(columns) == len(bins) == len(ranges):
        raise ShapeError(
            f"{called_name()}: {len(bins)} bins and {len(ranges)} ranges for {len(columns)} axes",
            related=describe_operands(*columns),
        )
    edges = tuple(
        histogram_bin_edges(column, axis_bins, limits)
        for column, axis_bins, limits in zip(columns, bins, ranges, strict=True)
    )
    outside: Any = None
    place: Any = None
    for column, ends in zip(columns, edges, strict=True):
        _, axis_place, overflow = _sort_into_bins(column, ends)
        misses = axis_place == overflow
        outside = misses if outside is None else outside | misses
        place = axis_place if place is None else place * overflow + axis_place
    shape = [ends.shape[0] - 1 for ends in edges]
    count = math.prod(shape)
    place = where(outside, size_value(count, I64), place)
    added = full(place.shape, 1.0, F64, like=place)
    if weights is not None:
        added = as_values(columns[0], weights)[1]
        added = added if added.dtype.is_float else astype(added, F64)
    counts: Any = reshape(part(scatter_add(added, place, count + 1), 0, 0, count), shape)
    if not density:
        return counts, edges
    total = of.sum(counts)
    for axis, ends in enumerate(edges):
        counts = counts / reshape(diff(ends), (*(1,) * axis, -1, *(1,) * (len(shape) - axis - 1)))
    return counts / total, edges


def _counts(added: AnyValue, place: AnyValue, edges: AnyValue) -> AnyValue:
    count = edges.shape[0] - 1
    return part(scatter_add(added, place, count + 1), 0, 0, count)


@rounded_once
def _densities(added: AnyValue, place: AnyValue, edges: AnyValue) -> AnyValue:
    counts = floating(_counts(added, place, edges))
    return counts / (of.sum(counts) * diff(edges))


@like(histogram)
def histogram_bin_edges(
    x: ArrayLike[AnyValue], bins: ArrayLike[AnyValue] | int = 10, range: Range = None
) -> AnyValue:
    """The edges that ``histogram`` would use.

    >>> sg.histogram_bin_edges([0.0, 1.0, 4.0], bins=4)
    array([0., 1., 2., 3., 4.])
    """
    value = as_value(x)
    if isinstance(bins, Value | np.ndarray | list | tuple):
        _, edges = as_values(value, bins)
        if edges.ndim != 1:
            raise RankError(
                f"histogram: edges {edges.type} are not a vector", related=describe_operands(edges)
            )
        return edges
    count = integer("bins", bins, value, least=1)
    floats = floating(value)
    if range is None and value.size != 0:
        return _spread(of.min(floats), of.max(floats), count)
    low, high = _ends(range or (0.0, 1.0))
    if not low <= high:
        raise ArgumentError(f"histogram: the range from {low} to {high} does not ascend")
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = np.linspace(low, high, count + 1, dtype=floats.dtype.numpy)
    return as_values(value, ends)[1]


def _ends(range: Any) -> tuple[float, float]:
    try:
        low, high = map(float, range)
    except (TypeError, ValueError):
        raise ArgumentError(f"histogram: range={quote(range)} is not a pair of numbers") from None
    return low, high


@rounded_once
def _spread(low: AnyValue, high: AnyValue, count: int) -> AnyValue:
    """``count`` equal steps from low to high; around them by a half where they are equal."""
    alone: Any = low == high
    low, high = where(alone, low - 0.5, low), where(alone, high + 0.5, high)
    place = astype(iota((count + 1,), like=low), low.dtype)
    step = (high - low) / float(count)
    return where(place == float(count), high, place * step + low)


Method = Literal["linear", "lower", "higher", "midpoint", "nearest"]


def median(x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """Compute the middle element over ``axis``, or the mean of the two middle ones.

    NaN if an element is NaN, or there are no elements.

    >>> sg.evaluate(sg.median([[1, 9, 2], [4, 6, 5]], axis=1))
    array([2., 5.])
    """
    rows = _Rows(x, axis, keepdims, nan_if_empty=True)
    count = rows.count
    left, right = rows.select([floordiv(count - 1, 2), floordiv(count, 2)])
    return rows.result(_middle(left, right, count - 2 * floordiv(count, 2)))


@like(median)
def nanmedian(x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """Compute the ``median``, ignoring NaN; NaN if all elements are NaN or there are none.

    >>> sg.nanmedian([3.0, float("nan"), 5.0])
    np.float64(4.0)
    """
    rows = _Rows(x, axis, keepdims, nan_if_empty=True, overlook=True)
    count = rows.numbers()
    left, right = rows.select([(count - 1) // 2, count // 2])
    return rows.result(_middle(left, right, count % 2))


def quantile(
    x: ArrayLike[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: Method = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """Compute the element below which a fraction ``q`` of the elements over ``axis`` lies.

    Of n sorted elements it is the one at index q * (n - 1); if this is not an integer, ``method``
    computes it from the two neighbours. NaN if an element is NaN.

    The dtype is that of x. Positions are computed in float64.

    Args:
        q: a number in [0, 1], or several, whose results are stacked along a new first axis.
        method: between two elements, ``"linear"`` interpolation, the ``"lower"``, the ``"higher"``,
            their ``"midpoint"`` or the ``"nearest"`` (halfway: the one of even number).

    Returns:
        The quantiles: x without the axes, behind the axes of q.

    Raises:
        ArgumentError: a q outside [0, 1] or only known in a run; an unknown method.
        EmptyReductionError: there are no elements.

    >>> sg.evaluate(sg.quantile([1.0, 2.0, 4.0], 0.5))
    array(2.)
    """
    return _quantiles(False, 1.0, x, q, axis, method=method, keepdims=keepdims)


@variant(quantile)
def nanquantile(*args: Any, **options: Any) -> Any:
    """Compute the ``quantile``, ignoring NaN; NaN if all elements are NaN.

    >>> sg.nanquantile([3.0, float("nan"), 5.0], 0.5)
    np.float64(4.0)
    """
    return _quantiles(True, 1.0, *args, **options)


@variant(quantile)
def percentile(*args: Any, **options: Any) -> Any:
    """``quantile``, with q in [0, 100]. Raises as ``quantile``.

    Args:
        q: parts in percent.

    >>> sg.percentile([1.0, 2.0, 3.0, 4.0], 25)
    np.float64(1.75)
    """
    return _quantiles(False, 100.0, *args, **options)


@variant(percentile)
def nanpercentile(*args: Any, **options: Any) -> Any:
    """Compute the ``percentile``, ignoring NaN; NaN if all elements are NaN.

    >>> sg.nanpercentile([3.0, float("nan"), 5.0], 50)
    np.float64(4.0)
    """
    return _quantiles(True, 100.0, *args, **options)


class _Rows(Generic[AnyValue]):
    """Floating elements along one axis, selected by their indices in order; the result's shape.

    ``overlook`` says that NaN does not make a result NaN.
    """

    def __init__(
        self,
        x: ArrayLike[AnyValue],
        axis: Axes,
        keepdims: bool,
        nan_if_empty: bool = False,
        overlook: bool = False,
    ) -> None:
        value = floating(x)
        axes = axes_of(axis, value)
        remaining = tuple(size for k, size in enumerate(value.shape) if k not in axes)
        ones = tuple(1 if k in axes else size for k, size in enumerate(value.shape))
        self.shape: Shape = ones if keepdims else remaining
        self.overlook: bool = overlook
        if len(axes) != 1:
            last = tuple(range(value.ndim - len(axes), value.ndim))
            count = math.prod(value.shape[k] for k in axes)
            value = reshape(moveaxis(value, axes, last), (*remaining, count))
            axes = (len(remaining),)
        (self.axis,) = axes
        self.count: Size = value.shape[self.axis]
        if self.count == 0 and not nan_if_empty:
            raise EmptyReductionError(
                f"{called_name()}: no elements in {value.type}", related=describe_operands(value)
            )
        if nan_if_empty and not bounds(self.count)[0]:  # a NaN behind what may be no elements
            shape = self._with_size(value.shape, 1)
            nan = full(shape, np.array(math.nan, value.dtype.numpy), like=value)
            value = concatenate([value, nan], self.axis)
        self.value: AnyValue = value
        self.last: AnyValue | None = None

    def _with_size(self, shape: Shape, size: Size) -> Shape:
        """Return a shape with another size along the axis."""
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])

    def select(self, places: Sequence[Any]) -> list[AnyValue]:
        """Return the elements at indices of the sorted rows: sizes, or values of the run."""
        keys: list[Any] = [*places]
        if not self.overlook:
            keys.append(self.count - 1)
        clamped: list[Any] = [key if isinstance(key, Value) else maximum(key, 0) for key in keys]
        distinct = list(dict.fromkeys(clamped))
        if len(distinct) > MOST_SELECTED:
            ordered = sort(self.value, self.axis)
            elements = [self._at(ordered, place) for place in distinct]
        else:
            chosen, _ = select_in_order(self.value, self.axis, distinct)
            elements = [part(chosen, self.axis, k, 1) for k in range(len(distinct))]
        by_place = dict(zip(distinct, elements, strict=True))
        if not self.overlook:
            self.last = by_place[clamped[-1]]
        return [by_place[key] for key in clamped[: len(places)]]

    def _at(self, ordered: AnyValue, place: Size | AnyValue) -> AnyValue:
        """Return the elements of sorted rows at an index."""
        if not isinstance(place, Value):
            return part(ordered, self.axis, place, 1)
        if place.ndim == 0:
            return take(ordered, reshape(place, (1,)), self.axis)
        return TakeAlong(self.axis)(ordered, place)

    def numbers(self) -> AnyValue:
        """Count the elements that are not NaN; 1 if there are none."""
        is_number = equal(self.value, self.value)
        return selection.maximum(of.sum(is_number, self.axis, keepdims=True), 1)

    def result(self, value: AnyValue) -> AnyValue:
        """Give a result its shape; NaN if a row has one that is not overlooked."""
        if self.last is not None:
            value = where(self.last != self.last, self.last, value)
        return reshape(value, self.shape)


@rounded_once
def _middle(left: AnyValue, right: AnyValue, odd: Any) -> AnyValue:
    if isinstance(odd, int):
        return left if odd else (left + right) * 0.5
    if isinstance(odd, Dim):
        odd = size_value(odd, I64)
    return where(odd == 1, left, (left + right) * 0.5)


def _quantiles(
    overlook: bool,
    scale: float,
    x: ArrayLike[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: Method = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """Compute quantiles for every number of q, stacked unless q is a single number."""
    rows = _Rows(x, axis, keepdims, overlook=overlook)
    parts = None if isinstance(q, Value) else array_of(q, f"{called_name()}: q")
    if parts is None or parts.dtype.kind not in "iuf":
        raise ArgumentError(
            f"{called_name()}: q={quote(q)} is not a number known when the graph is built"
        )
    if not np.all((parts >= 0) & (parts <= scale)):
        raise ArgumentError(f"{called_name()}: q={quote(q)} reaches outside [0, {scale:g}]")
    last: Any = None
    if overlook:
        last = astype(rows.numbers() - 1, F64)
    elif isinstance(rows.count, Dim):
        last = size_value(rows.count - 1, F64)
    neighbours = [
        _places_around(rows.count, last, float(number) / scale, method) for number in parts.ravel()
    ]
    if not neighbours:
        nothing = np.zeros((), rows.value.dtype.numpy)
        shape = (*parts.shape, *rows.shape)
        return full(shape, nothing, like=rows.value)
    elements = iter(rows.select([place for places, _ in neighbours for place in places]))
    results = []
    for places, weight in neighbours:
        left, *others = [next(elements) for _ in places]
        value = left if not others else _interpolate_neighbours(left, others[0], weight, method)
        results.append(rows.result(value))
    if parts.ndim == 0:
        return results[0]
    return reshape(stack(results), (*parts.shape, *rows.shape))


def _places_around(
    count: Size, last: AnyValue | None, q: float, method: str
) -> tuple[tuple[Any, ...], Any]:
    """Return the indices in sorted rows of one or two neighbours of a quantile, and its weight.

    ``last`` is the last index of a row where only a run determines it.
    """
    if last is None:
        assert isinstance(count, int)
        place: Any = q * (count - 1)
        if method == "nearest":
            below = round(place)
        else:
            below = math.ceil(place) if method == "higher" else math.floor(place)
        weight = 0.5 if method == "midpoint" and place != below else place - below
        if method not in ("linear", "midpoint") or weight == 0.0:
            return (below,), None
        return (below, below + 1), weight
    place = last * q
    rounding = {"nearest": rint, "higher": ceil}.get(method, floor)
    floored = rounding(place)
    if method not in ("linear", "midpoint"):
        return (astype(floored, I64),), None
    return (astype(floored, I64), astype(ceil(place), I64)), place - floored


def _interpolate_neighbours(left: AnyValue, right: AnyValue, weight: Any, method: str) -> AnyValue:
    """Interpolate between neighbours by a weight, which may be a value of the run."""
    if isinstance(weight, float):
        return _interpolate(left, right, weight)
    weight = astype(weight, left.dtype.compute)
    half = 0.5 if method == "midpoint" else weight
    return where(weight == 0.0, left, _interpolate(left, right, half))


@rounded_as_first
def _interpolate(left: AnyValue, right: AnyValue, weight: Any) -> AnyValue:
    """Interpolate from the nearer end, as NumPy: left + d * weight, or right - d * (1 - weight)."""
    # As NumPy: a weight of 1 gives the right element exactly, and the result is monotonic.
    step = right - left
    near_left, near_right = left + step * weight, right - step * (1.0 - weight)
    if isinstance(weight, float):
        return near_left if weight < 0.5 else near_right
    return where(weight < 0.5, near_left, near_right)


# -- places among edges, membership ---------------------------------------------------------------


@rounded_once
def norm_of_matrices(x: AnyValue, ord: Any, keepdims: bool) -> AnyValue:
    """The norms of floating matrices, the last two axes; 0 for matrices without elements."""
    initial = 0.0 if 0 in x.shape[-2:] else None  # as NumPy, which refuses the least of no sums

    def largest(values: Any, axis: int) -> Any:
        return of.max(values, axis, keepdims=True, initial=initial)

    def least(values: Any, axis: int) -> Any:
        return of.min(values, axis, keepdims=True)

    if ord is None or ord == "fro":
        return flat_root(of.sum(abs_square(x), (-2, -1), keepdims=keepdims))
    if ord in (1, -1, math.inf, -math.inf):
        sum_axis, other_axis = (-2, -1) if ord in (1, -1) else (-1, -2)
        sums = of.sum(absolute(x), sum_axis, keepdims=True)
        norms = (largest if ord > 0 else least)(sums, other_axis)
    elif ord in (2, -2, "nuc"):
        values: Any = SVDVals()(x)
        if ord == "nuc":
            joined = of.sum(values, -1, keepdims=True)
        else:
            joined = (largest if ord == 2 else least)(values, -1)
        norms = expand_dims(joined, -1)
    else:
        raise ArgumentError(
            f"{called_name()}: no norm {ord!r} of matrices",
            hint="'fro', 'nuc', 1, -1, 2, -2, inf, -inf",
            related=describe_operands(x),
        )
    return norms if keepdims else squeeze(norms, (-2, -1))


#: Longer axes are multiplied one element after the other.
_LONGEST_TREE: Final = 65536


@rounded_once
def prod(
    x: ArrayLike[AnyValue],
    axis: Axes = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike[AnyValue] | None = None,
    where: Mask = None,
) -> AnyValue:
    """Multiply the elements over ``axis`` (all by default); 1 if empty. Integers widen to 64 bits.

    A literal size is multiplied pairwise, half by half; a named one from the first element on, on
    one thread. No division: the gradient is right where elements are 0. ``initial`` is one factor
    more; the other arguments are as for ``sum``.

    >>> sg.evaluate(sg.prod([[1.0, 2.0], [3.0, 4.0]], axis=0))
    array([3., 8.])
    """
    value = as_value(x)
    axes = reduction_axes(axis, value)
    mask = mask_of(where, value)
    result_dtype = counting_dtype(value.dtype, dtype)
    product = _reduce_product(
        fill_outside_mask(astype(value, result_dtype), mask, 1), axes, keepdims
    )
    return product if initial is None else product * start_of(initial, product)


def _reduce_product(value: AnyValue, axes: tuple[int, ...], keepdims: bool) -> AnyValue:
    """Compute ``prod`` over axes by multiplying halves."""
    if not axes:
        return value
    reduced_shape = tuple(1 if k in axes else size for k, size in enumerate(value.shape))
    other_sizes = tuple(size for k, size in enumerate(value.shape) if k not in axes)
    rows = moveaxis(value, axes, tuple(range(value.ndim - len(axes), value.ndim)))
    count = math.prod(value.shape[k] for k in axes)
    rows = reshape(rows, (*other_sizes, count))
    if isinstance(count, Dim) or count > _LONGEST_TREE:
        last = part(CumProd(rows.ndim - 1)(_prepend_ones(rows)), rows.ndim - 1, count, 1)
    else:
        last = _multiply_halves(rows if count else _prepend_ones(rows))
    return reshape(last, reduced_shape if keepdims else other_sizes)


def _prepend_ones(rows: AnyValue) -> AnyValue:
    ones = full((*rows.shape[:-1], 1), np.ones((), rows.dtype.numpy), like=rows)
    return concatenate([ones, rows], rows.ndim - 1)


def _multiply_halves(rows: AnyValue) -> AnyValue:
    """Multiply along the last axis: first half times second, until one is left."""
    last = rows.ndim - 1
    while (count := rows.shape[last]) != 1:
        half = floordiv(count, 2)
        pairs = part(rows, last, 0, half) * part(rows, last, half, half)
        odd = count - 2 * half
        rows = concatenate([pairs, part(rows, last, 2 * half, odd)], last) if odd else pairs
    return rows


@rounded_once
def norm(
    x: ArrayLike[AnyValue],
    ord: float | str | None = None,
    axis: Axes = None,
    keepdims: bool = False,
) -> AnyValue:
    """The length of the vectors along ``axis``: of all elements by default, as ``np.linalg.norm``.

    The gradient of a vector of zeros is 0. Nothing is scaled: squares may overflow.

    Args:
        ord: None: the square root of the sum of squares. Along one axis also 2, 1, inf, -inf, 0 or
            another number p: of the magnitudes the sum, the largest, the smallest, the count that
            is not 0, the p-th root of the sum of p-th powers. Over two axes, rows and columns, what
            ``sg.linalg.matrix_norm`` takes: ``"fro"``, ``"nuc"``, 2, -2, 1, -1, inf, -inf.

    >>> sg.evaluate(sg.norm([3.0, 4.0]))
    array(5.)
    """
    value = floating(x)
    axes = axes_of(axis, value)
    if ord is None or (ord == "fro" and len(axes) == 2):
        return vector_norm_over(value, 2, axes, keepdims)
    if len(axes) == 2:
        ordered_axes = (
            axis if isinstance(axis, list | tuple) else axes
        )  # its order tells rows and columns
        places = distinct_axes(ordered_axes, value)
        norms = norm_of_matrices(moveaxis(value, places, (-2, -1)), ord, keepdims)
        return moveaxis(norms, (-2, -1), places) if keepdims else norms
    if len(axes) != 1 or isinstance(ord, str):
        raise ArgumentError(
            f"norm: no norm {ord!r} over {len(axes)} axes",
            hint="matrices have ord='fro', 'nuc', 1, 2, inf; vectors 1, 2, inf, 0 or a number",
            related=describe_operands(value),
        )
    return vector_norm_over(value, ord, axes, keepdims)


@rounded_once
def vector_norm_over(value: AnyValue, ord: Any, axis: Axes, keepdims: bool) -> AnyValue:
    """The norm of the vectors that are made of the elements along some axes."""
    axes = axes_of(axis, value)
    if ord == 2:
        return flat_root(of.sum(abs_square(value), axes, keepdims=keepdims))
    magnitude = absolute(value)
    if ord == math.inf:
        return of.max(magnitude, axes, keepdims=keepdims)
    if ord == -math.inf:
        return of.min(magnitude, axes, keepdims=keepdims)
    if ord == 0:
        some = astype(magnitude != 0.0, magnitude.dtype)
        return of.sum(some, axes, keepdims=keepdims)
    if ord == 1:
        return of.sum(magnitude, axes, keepdims=keepdims)
    powers = power(magnitude, ord)
    if ord < 1:
        powers = where(magnitude == 0.0, 0.0 if ord > 0 else math.inf, powers)
    total = of.sum(powers, axes, keepdims=keepdims)
    if ord > 0:
        return flat_root(total, ord)
    return where(total == math.inf, 0.0, power(total, 1.0 / ord))


@rounded_once
def ptp(x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """The largest less the smallest element over ``axis``. Raises as ``max``.

    >>> sg.ptp([3.0, 1.0, 7.0])
    np.float64(6.0)
    """
    value = as_value(x)
    return of.max(value, axis, keepdims=keepdims) - of.min(value, axis, keepdims=keepdims)


def count_nonzero(x: ArrayLike[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """Return how many elements over ``axis`` are not 0, as int64.

    >>> sg.count_nonzero([0.0, 1.0, 2.0])
    np.int64(2)
    """
    return of.sum(astype(as_value(x), BOOL), axis, keepdims=keepdims)

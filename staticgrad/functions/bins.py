"""Bins: which one an element falls into, how many fall into each; membership.

All of it is made of the sorts and searches of ``sorting``. The bin of an element is found by a
search among the edges, so that counts agree with the edges that are returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.functions import aggregate as of
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import scatter_add, take
from staticgrad.ops.movement import ravel
from staticgrad.ops.operands import (
    as_value,
    as_values,
    floating,
    integer,
    promoted_values,
    related,
)
from staticgrad.ops.positions import iota
from staticgrad.ops.selection import where
from staticgrad.ops.slices import part
from staticgrad.ops.sorting import searchsorted, sort
from staticgrad.types.arrays import array_of
from staticgrad.types.dtype import I64

Range = tuple[float, float] | None


def digitize(x: Operand[AnyValue], bins: Operand[AnyValue], right: bool = False) -> AnyValue:
    """The number of the bin that each element of x falls into: 0 below the first edge.

    Args:
        x: a value.
        bins: a vector of edges. An array may also descend; a value of the graph ascends.
        right: an element that equals an edge belongs to the bin on its left.

    Raises:
        ArgumentError: an array that neither ascends nor descends.

    >>> sg.evaluate(sg.digitize([-1.0, 0.5, 2.0], [0.0, 1.0, 2.0]))
    array([0, 1, 3])
    """
    side = "left" if right else "right"
    if isinstance(bins, Value):
        return searchsorted(bins, x, side)
    edges = array_of(bins, "digitize: bins")
    if edges.ndim != 1:
        raise RankError(f"digitize: the edges have {edges.ndim} axes; they are a vector")
    if np.all(edges[:-1] <= edges[1:]):
        return searchsorted(edges, x, side)
    if not np.all(edges[:-1] >= edges[1:]):
        raise ArgumentError("digitize: the edges neither ascend nor descend")
    return edges.size - searchsorted(edges[::-1], x, side)


def isin(
    element: Operand[AnyValue], test_elements: Operand[AnyValue], *, invert: bool = False
) -> AnyValue:
    """Whether each element is among the others. NaN is among none.

    The others are put in order and searched: n log m operations for n elements and m others.

    Args:
        element: a value.
        test_elements: the others, of any shape.
        invert: whether it is not.

    Returns:
        bool, in the shape of ``element``.

    >>> sg.evaluate(sg.isin([1, 2, 3], [3, 1]))
    array([ True, False,  True])
    """
    among, others = promoted_values("isin", (element, test_elements))
    row = ravel(others)
    if row.size == 0:
        return functions.full(among.shape, np.bool_(invert), like=among)
    row = sort(row)
    last = functions.size_value(row.shape[0] - 1, I64)
    places = functions.minimum(searchsorted(row, among), last)
    found = take(row, places, 0)
    return found != among if invert else found == among


def histogram(
    x: Operand[AnyValue],
    bins: Operand[AnyValue] | int = 10,
    range: Range = None,
    density: bool | None = None,
    weights: Operand[AnyValue] | None = None,
) -> tuple[AnyValue, AnyValue]:
    """The number of elements of x in each bin, and the bins' edges.

    A bin holds what is not below its left and below its right edge, the last one also its right
    edge. What lies outside the edges, and NaN, is not counted.

    Args:
        x: a value of any shape.
        bins: how many bins of one width, or a vector of ascending edges.
        range: where the first and last of ``bins`` bins end; by default the smallest and the
            largest element (a named size must not be 0 then).
        density: divide by the total and the bins' widths.
        weights: a value of the shape of x, added up in place of counts; its gradient passes.

    Returns:
        Counts (int64; the dtype of the weights; float64 for densities of counts) and edges.

    Raises:
        ArgumentError: no bins, or a range that does not ascend.

    >>> counts, edges = sg.histogram([0.0, 1.0, 1.5, 4.0], bins=2)
    >>> sg.evaluate([counts, edges])
    [array([3, 1]), array([0., 2., 4.])]
    """
    row = as_value("histogram", x)
    edges = histogram_bin_edges(row, bins, range)
    elements, ends = promoted_values("histogram", (ravel(row), edges))
    count = ends.shape[0] - 1
    last = part(ends, 0, count, 1)
    place = searchsorted(ends, elements, "right") - 1
    beyond = functions.size_value(count, I64)  # one bin more, for what lies outside
    place = where(elements == last, beyond - 1, place)
    place = where((place < 0) | (place >= beyond), beyond, place)
    if weights is None:
        added = functions.full(elements.shape, 1, I64, like=elements)
    else:
        added = ravel(functions.broadcast_to(as_values("histogram", row, weights)[1], row.shape))
    found = part(scatter_add(added, place, count + 1), 0, 0, count)
    if density:
        found = floating("histogram", found)
        found = found / (of.sum(found) * functions.diff(edges))
    return found, edges


@like(histogram)
def histogram_bin_edges(
    x: Operand[AnyValue], bins: Operand[AnyValue] | int = 10, range: Range = None
) -> AnyValue:
    """The edges that ``histogram`` would use.

    Returns:
        The edges, ascending: one more than there are bins.

    Raises:
        ArgumentError: no bins, or a range that does not ascend.

    >>> sg.evaluate(sg.histogram_bin_edges([0.0, 1.0, 4.0], bins=2))
    array([0., 2., 4.])
    """
    value = as_value("histogram", x)
    if isinstance(bins, Value | np.ndarray | list | tuple):
        _, edges = as_values("histogram", value, bins)
        if edges.ndim != 1:
            raise RankError(f"histogram: edges {edges.type} are no vector", related=related(edges))
        return edges
    count = integer("histogram", "bins", bins, value)
    if count < 1:
        raise ArgumentError(f"histogram: {count} bins", related=related(value))
    floats = floating("histogram", value)
    if range is None and value.size != 0:
        return _spread(of.min(floats), of.max(floats), count)
    low, high = _ends(range or (0.0, 1.0))
    if not low <= high:
        raise ArgumentError(f"histogram: the range from {low} to {high} does not ascend")
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = np.linspace(low, high, count + 1, dtype=floats.dtype.numpy)
    return as_values("histogram", value, ends)[1]


def _ends(range: Any) -> tuple[float, float]:
    """The two ends of a range as numbers."""
    try:
        low, high = map(float, range)
    except (TypeError, ValueError):
        raise ArgumentError(f"histogram: range={shown(range)} is no pair of numbers") from None
    return low, high


def _spread(low: AnyValue, high: AnyValue, count: int) -> AnyValue:
    """``count`` equal steps from low to high; around them by a half where they are equal."""
    alone: Any = low == high
    low, high = where(alone, low - 0.5, low), where(alone, high + 0.5, high)
    place = functions.astype(iota((count + 1,), like=low), low.dtype)
    step = (high - low) / float(count)
    return where(place == float(count), high, place * step + low)

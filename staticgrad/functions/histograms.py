"""How many elements fall into each of several bins, as NumPy counts them. Nothing here is an op.

An element's bin is found by a search among the edges, so that counts agree with the edges returned
wherever those come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError
from staticgrad.functions import aggregate as of
from staticgrad.ir.functional import functions
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import iota, scatter_add
from staticgrad.ops.movement import ravel
from staticgrad.ops.operands import (
    as_value,
    as_values,
    floating,
    integer,
    promoted_values,
    related,
)
from staticgrad.ops.selection import where
from staticgrad.ops.slices import part
from staticgrad.ops.sorting import searchsorted
from staticgrad.types.dtype import I64

Range = tuple[float, float] | None


def histogram(
    x: Operand,
    bins: Operand | int = 10,
    range: Range = None,
    density: bool | None = None,
    weights: Operand | None = None,
) -> tuple[Value, Value]:
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
        RankError: edges that are no vector.
        ShapeError: weights of another shape than x.
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


def histogram_bin_edges(x: Operand, bins: Operand | int = 10, range: Range = None) -> Value:
    """The edges that ``histogram`` would use, ascending; arguments and errors as there."""
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
    low, high = map(float, range or (0.0, 1.0))
    if not low <= high:
        raise ArgumentError(f"histogram: the range from {low} to {high} does not ascend")
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = np.linspace(low, high, count + 1, dtype=floats.dtype.numpy)
    return as_values("histogram", value, ends)[1]


def _spread(low: Value, high: Value, count: int) -> Value:
    """``count`` equal steps from low to high; around them by a half where they are equal."""
    alone: Any = low == high
    low, high = where(alone, low - 0.5, low), where(alone, high + 0.5, high)
    place = functions.astype(iota((count + 1,), like=low), low.dtype)
    step = (high - low) / float(count)
    return where(place == float(count), high, place * step + low)

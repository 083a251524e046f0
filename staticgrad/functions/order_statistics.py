"""Medians, quantiles, orders by several keys: what follows from elements put in order.

All of it is made of the sorts of ``sorting``; nothing here is an op. The gradient of a quantile
goes to the elements that it lies between. Probabilities are numbers known at build.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, Generic

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    EmptyReductionError,
    ShapeError,
)
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.functions import aggregate as of
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import TakeAlong, take
from staticgrad.ops.movement import moveaxis, reshape
from staticgrad.ops.operands import (
    Axes,
    as_value,
    axes_of,
    axis_of,
    floating,
    related,
    shape_text,
)
from staticgrad.ops.selection import where
from staticgrad.ops.slices import part, stack
from staticgrad.ops.sorting import argsort, sort, sorted_along
from staticgrad.types.arrays import array_of
from staticgrad.types.dim import Dim, Size, equal, floordiv
from staticgrad.types.dtype import F64, I64
from staticgrad.types.tensor import Shape

_METHODS: Final = ("linear", "lower", "higher", "midpoint", "nearest")


def median(x: Operand[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """The middle element over ``axis``, or the mean of the two middle ones; NaN where one is NaN.

    Args:
        x: a value; integers and bools become float64.
        axis: which axes; all by default.
        keepdims: keep the reduced axes, with size 1.

    Returns:
        A floating value without these axes.

    Raises:
        EmptyReductionError: there are no elements.

    >>> sg.evaluate(sg.median([[1, 9, 2], [4, 6, 5]], axis=1))
    array([2., 5.])
    """
    rows = _Rows("median", x, axis, keepdims)
    count = rows.count
    left, right = rows.part(floordiv(count - 1, 2)), rows.part(floordiv(count, 2))
    return rows.result(_middle(left, right, count - 2 * floordiv(count, 2)))


@like(median)
def nanmedian(x: Operand[AnyValue], axis: Axes = None, *, keepdims: bool = False) -> AnyValue:
    """``median`` of what is no NaN; NaN where all are.

    >>> sg.evaluate(sg.nanmedian([1.0, float("nan"), 3.0]))
    array(2.)
    """
    rows = _Rows("nanmedian", x, axis, keepdims)
    count = rows.numbers()
    left, right = rows.at((count - 1) // 2), rows.at(count // 2)
    return rows.result(_middle(left, right, count % 2), overlook=True)


def quantile(
    x: Operand[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """The element below which a part ``q`` of the elements over ``axis`` lies.

    Of n elements in order that is number q * (n - 1), counted from 0; where this is no whole
    number, the value between its neighbours. NaN where an element is NaN.

    The dtype is that of x. Positions are computed in float64.

    Args:
        x: a value; integers and bools become float64.
        q: a number in [0, 1], or several: then their results are stacked along a new first axis.
        axis: which axes; all by default.
        method: between two elements, ``"linear"`` interpolation, the ``"lower"``, the ``"higher"``,
            their ``"midpoint"`` or the ``"nearest"`` (halfway: the one of even number).
        keepdims: keep the reduced axes, with size 1.

    Returns:
        The quantiles: x without the axes, behind the axes of q.

    Raises:
        ArgumentError: a q outside [0, 1] or only known in a run; another method.
        EmptyReductionError: there are no elements.

    >>> sg.evaluate(sg.quantile([1.0, 2.0, 4.0], 0.5))
    array(2.)
    """
    rows = _Rows("quantile", x, axis, keepdims)
    return _each(rows, q, 1.0, method, _quantile)


@like(quantile)
def nanquantile(
    x: Operand[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """``quantile`` of what is no NaN; NaN where all are.

    >>> sg.evaluate(sg.nanquantile([1.0, float("nan"), 3.0], 0.25))
    array(1.5)
    """
    return _each(_Rows("nanquantile", x, axis, keepdims), q, 1.0, method, _nanquantile)


def percentile(
    x: Operand[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """``quantile``, with q in [0, 100]. Raises as ``quantile``.

    Args:
        x, axis, method, keepdims: as for ``quantile``.
        q: parts in percent.

    >>> sg.evaluate(sg.percentile([1.0, 2.0, 4.0], 50))
    array(2.)
    """
    return _each(_Rows("percentile", x, axis, keepdims), q, 100.0, method, _quantile)


@like(percentile)
def nanpercentile(
    x: Operand[AnyValue],
    q: Any,
    axis: Axes = None,
    *,
    method: str = "linear",
    keepdims: bool = False,
) -> AnyValue:
    """``percentile`` of what is no NaN; NaN where all are.

    >>> sg.evaluate(sg.nanpercentile([1.0, float("nan"), 3.0], 25))
    array(1.5)
    """
    return _each(_Rows("nanpercentile", x, axis, keepdims), q, 100.0, method, _nanquantile)


class _Rows(Generic[AnyValue]):
    """Floating elements in order along one axis, and how a result gets its shape."""

    def __init__(self, op: str, x: Operand[AnyValue], axis: Axes, keepdims: bool) -> None:
        value = floating(op, x)
        axes = axes_of(op, axis, value)
        kept = tuple(size for k, size in enumerate(value.shape) if k not in axes)
        ones = tuple(1 if k in axes else size for k, size in enumerate(value.shape))
        self.op: str = op
        self.shape: Shape = ones if keepdims else kept
        if len(axes) != 1:
            last = tuple(range(value.ndim - len(axes), value.ndim))
            count = math.prod(value.shape[k] for k in axes)
            value = reshape(moveaxis(value, axes, last), (*kept, count))
            axes = (len(kept),)
        (self.axis,) = axes
        self.count: Size = value.shape[self.axis]
        if self.count == 0:
            raise EmptyReductionError(f"{op}: no elements in {value.type}", related=related(value))
        self.sorted: AnyValue = sort(value, self.axis)

    def part(self, place: Size) -> AnyValue:
        """The elements at a place that is known at build, up to the size's name."""
        return part(self.sorted, self.axis, place, 1)

    def at(self, places: AnyValue) -> AnyValue:
        """The elements at places of a run: one for all rows, or one for each."""
        if places.ndim == 0:
            return take(self.sorted, reshape(places, (1,)), self.axis)
        return TakeAlong(self.axis)(self.sorted, places)

    def numbers(self) -> AnyValue:
        """How many elements of each row are no NaN, as int64; 1 where all are."""
        there = functions.equal(self.sorted, self.sorted)
        return functions.maximum(of.sum(there, self.axis, keepdims=True), 1)

    def result(self, found: AnyValue, overlook: bool = False) -> AnyValue:
        """``found``, NaN in rows that end with one (unless it is overlooked), in its shape."""
        if not overlook:
            last = self.part(self.count - 1)
            found = where(last != last, last, found)
        return reshape(found, self.shape)


def _middle(left: AnyValue, right: AnyValue, odd: Any) -> AnyValue:
    """The left element of an odd number, else the mean of both."""
    if isinstance(odd, int):
        return left if odd else (left + right) * 0.5
    if isinstance(odd, Dim):
        odd = functions.size_value(odd, I64)
    return where(odd == 1, left, (left + right) * 0.5)


def _each(
    rows: _Rows[AnyValue],
    q: Any,
    whole: float,
    method: str,
    one: Callable[[_Rows[AnyValue], float, str], AnyValue],
) -> AnyValue:
    """The quantile of every number of q, stacked where q is no single number."""
    if method not in _METHODS:
        known = ", ".join(map(repr, _METHODS))
        raise ArgumentError(f"{rows.op}: method={method!r}", hint=f"there are {known}")
    parts = None if isinstance(q, Value) else array_of(q, f"{rows.op}: q")
    if parts is None or parts.dtype.kind not in "iuf":
        raise ArgumentError(f"{rows.op}: q={shown(q)} is no number known when the graph is built")
    if not np.all((parts >= 0) & (parts <= whole)):
        raise ArgumentError(f"{rows.op}: q={shown(q)} reaches outside [0, {whole:g}]")
    found = [one(rows, float(number) / whole, method) for number in parts.ravel()]
    if parts.ndim == 0:
        return found[0]
    if not found:
        nothing = np.zeros((), rows.sorted.dtype.numpy)
        shape = (*parts.shape, *rows.shape)
        return functions.full(shape, nothing, like=rows.sorted)
    return reshape(stack(found), (*parts.shape, *rows.shape))


def _quantile(rows: _Rows[AnyValue], q: float, method: str) -> AnyValue:
    if isinstance(rows.count, Dim):
        last = functions.size_value(rows.count - 1, F64)
        return rows.result(_between_places(rows, last * q, method))
    place = q * (rows.count - 1)
    below = _rounded(place, method)
    left = rows.part(below)
    weight = 0.5 if method == "midpoint" and place != below else place - below
    if method not in ("linear", "midpoint") or weight == 0.0:
        return rows.result(left)
    return rows.result(_interpolated(left, rows.part(below + 1), weight))


def _nanquantile(rows: _Rows[AnyValue], q: float, method: str) -> AnyValue:
    last = functions.astype(rows.numbers() - 1, F64)
    return rows.result(_between_places(rows, last * q, method), overlook=True)


def _rounded(place: float, method: str) -> int:
    """The place of the element, or of the lower of two."""
    if method == "nearest":
        return round(place)
    return math.ceil(place) if method == "higher" else math.floor(place)


def _between_places(rows: _Rows[AnyValue], place: AnyValue, method: str) -> AnyValue:
    """The value at float64 places of a run."""
    rounding = {"nearest": functions.rint, "higher": functions.ceil}.get(method, functions.floor)
    below = rounding(place)
    left = rows.at(functions.astype(below, I64))
    if method not in ("linear", "midpoint"):
        return left
    right = rows.at(functions.astype(functions.ceil(place), I64))
    weight = functions.astype(place - below, rows.sorted.dtype)
    half = 0.5 if method == "midpoint" else weight
    return where(weight == 0.0, left, _interpolated(left, right, half))


def _interpolated(left: AnyValue, right: AnyValue, weight: Any) -> AnyValue:
    """From the nearer end, as NumPy does: left + d * weight, or right - d * (1 - weight)."""
    step = right - left
    near_left, near_right = left + step * weight, right - step * (1.0 - weight)
    if isinstance(weight, float):
        return near_left if weight < 0.5 else near_right
    return where(weight < 0.5, near_left, near_right)


# -- places among edges, membership ---------------------------------------------------------------


def partition(x: Operand[AnyValue], kth: Any, axis: int | None = -1) -> AnyValue:
    """x sorted along ``axis``, which is one of the orders that NumPy's ``partition`` may give.

    Args:
        x: a value.
        kth: not looked at: every position holds what a sort puts there.
        axis: one axis; None for all elements, flattened.

    Returns:
        A value of the shape of x, or flattened.

    >>> sg.evaluate(sg.partition([3, 1, 2], 1))
    array([1, 2, 3])
    """
    return sorted_along("partition", x, axis, (None, None, None), False)[0]


@like(partition)
def argpartition(x: Operand[AnyValue], kth: Any, axis: int | None = -1) -> AnyValue:
    """The positions that sort x along ``axis``; see ``partition``.

    Returns:
        Positions along ``axis``, int64.

    >>> sg.evaluate(sg.argpartition([3, 1, 2], 1))
    array([1, 2, 0])
    """
    return sorted_along("argpartition", x, axis, (None, None, None), False)[1]


def lexsort(keys: Any, axis: int = -1) -> Value:
    """The positions along ``axis`` that put several keys in order, the last of them first.

    Where elements of the last key are equal the one before it decides, and so on.

    Args:
        keys: a list or tuple of values of one shape, or one value with the keys along axis 0.
        axis: one axis of a key.

    Returns:
        Positions in the shape of a key, int64.

    >>> sg.evaluate(sg.lexsort([[2, 1, 0], [0, 1, 0]]))
    array([2, 0, 1])
    """
    if isinstance(keys, Value):
        keys = functions.unstack(keys)
    values = [as_value("lexsort", key) for key in keys]
    if not values:
        raise ArgumentError("lexsort: there are no keys")
    for value in values[1:]:
        text = (
            f"lexsort: keys of shapes {shape_text(values[0].shape)} and {shape_text(value.shape)}"
        )
        pairs = zip(values[0].shape, value.shape, strict=False)
        if value.ndim != values[0].ndim or not all(equal(a, b, text) for a, b in pairs):
            raise ShapeError(text, related=related(values[0], value))
    place = axis_of("lexsort", axis, values[0])
    found = argsort(values[0], place)
    for value in values[1:]:
        order = argsort(TakeAlong(place)(value, found), place)
        found = TakeAlong(place)(found, order)
    return found

"""Putting elements in order: sorts, the k largest, order statistics; values and positions at once.

An element's place is decided by an integer key: a float's bits with those below its sign flipped
where it is negative, so that kernels compare integers only and every NaN has one place, the last.
Positions carry no gradient; a value's cotangent goes to the element it came from. What is built on
these (medians, quantiles) stands in ``order_statistics``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, cast

import numpy as np

from staticgrad.errors import ArgumentError, AxisError, DTypeError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.ir.forms import Form, SearchForm, SortForm
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.cotangent import ZERO
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import (
    ScatterIntoAlong,
    TakeAlong,
    check_along,
    concatenate,
    take,
)
from staticgrad.language.ops.movement import broadcast_to, ravel, reshape
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    axis_of,
    describe_operands,
    integer,
    is_only_axis_of_scalar,
    promoted_values,
    size_of,
)
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I8, I32, I64, DType

#: Longer rows are refused: a position shares a word with a key of 32 bits.
_LONGEST: Final = 2**32 - 1
#: Elements of a row that are selected, at most: each takes a pass over the row. More are sorted.
#: Elements of a row that are selected, at most; for more of them it is sorted.
MOST_SELECTED: Final = 16
#: NumPy's names of algorithms. There is one here, which is stable.
Algorithm = Literal["quicksort", "mergesort", "heapsort", "stable"]


class _Ordered(Op):
    """Elements along ``axis`` in order and their positions: two results."""

    exact = True
    kink = "equal elements keep their order; the cotangent of a place goes to the one that took it"
    axis: int

    def result_size(self, size: Size) -> Size:
        """Return how many of ``size`` elements the results hold."""
        return size

    def sort_key(self) -> Callable[[Expr], Expr]:
        """Return the function from an element to the integer whose ascending order is wanted."""
        raise TypeError(f"op {self.name} does not say its order")

    def order(self, x: Array) -> Array:
        """Return the positions of all elements in order, by NumPy."""
        raise TypeError(f"op {self.name} does not say its order")

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        """Infer a sort's types: values and int64 positions."""
        if not 0 <= self.axis < x.rank:
            raise AxisError(f"{self.name}: no axis {self.axis} in {x}")
        size = x.shape[self.axis]
        if isinstance(size, int) and size > _LONGEST:
            raise ShapeError(f"{self.name}: axis {self.axis} of {x} is too long to be put in order")
        keep = self.result_size(size)
        text = f"{self.name}: k is {keep}, axis {self.axis} of {x} has size {size}"
        if not (dims.at_least(size, keep, text) and dims.at_least(keep, 0, text)):
            raise ShapeError(text)
        shape = (*x.shape[: self.axis], keep, *x.shape[self.axis + 1 :])
        return x.with_shape(shape), TensorType(I64, shape)

    def reference(self, x: Array) -> tuple[Array, Array]:
        places = self.order(x)
        keep = integer("k", self.result_size(x.shape[self.axis]))
        first = (slice(None),) * self.axis + (slice(keep),)
        places = places[first].astype(np.int64)
        return np.take_along_axis(x, places, self.axis), places

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*args)

    def form(self, *types: TensorType) -> Form:
        keep = types[0].shape[self.axis]
        return SortForm(self.axis, keep, self.sort_key())

    def vjp(self, ct: Any, out: Any, x: Any, *picked: Any) -> tuple[Any, ...]:
        """Differentiate a sort: scatter each value's cotangent to the position it came from."""
        _, places = out
        share, _ = ct
        no_shares = (None,) * len(picked)
        if not x.dtype.is_float:
            return (None, *no_shares)
        if isinstance(share, float):
            return (ZERO, *no_shares)
        return (ScatterIntoAlong(self.axis, x.shape[self.axis])(share, places), *no_shares)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, *picked: Any) -> tuple[Any, ...]:
        """The tangent, read at the positions."""
        if tangents[0] is None or not x.dtype.is_float:
            return None, None
        return TakeAlong(self.axis)(tangents[0], out[1]), None


class Sort(_Ordered, name="sort"):
    """x along ``axis`` from the smallest to the largest element, and where each stood.

    Equal elements (-0 and 0 are) keep their order; NaN comes last. With ``descending`` the largest
    comes first; NaN comes last and equal elements keep their order then, too, as in NumPy 2.5.
    """

    descending: bool = False

    def sort_key(self) -> Callable[[Expr], Expr]:
        return descending_key_nan_last if self.descending else ascending_key

    def order(self, x: Array) -> Array:
        if not self.descending:
            return np.argsort(x, self.axis, kind="stable")
        places = _descending_order(x, self.axis)
        numbers = np.take_along_axis(np.equal(x, x), places, self.axis)
        numbers_first = np.argsort(~numbers, self.axis, kind="stable")
        return np.take_along_axis(places, numbers_first, self.axis)


def _descending_order(x: Array, axis: int) -> Array:
    """Return the positions of a stable descending sort; NaN comes first."""
    mirrored = np.argsort(np.flip(x, axis), axis, kind="stable")
    return np.asarray(x.shape[axis] - 1 - np.flip(mirrored, axis))


class TopK(_Ordered, name="topk"):
    """The ``k`` largest elements (NaN first), or the ``smallest`` (NaN last), along ``axis``."""

    axis: int
    k: Size
    smallest: bool = False

    def result_size(self, size: Size) -> Size:
        return self.k

    def sort_key(self) -> Callable[[Expr], Expr]:
        return ascending_key if self.smallest else descending_key

    def order(self, x: Array) -> Array:
        if self.smallest:
            return np.argsort(x, self.axis, kind="stable")
        return _descending_order(x, self.axis)


class OrderStatistic(_Ordered, name="order_statistic"):
    """The elements that a sort along ``axis`` puts at ``places``, and where each stood.

    ``places`` (int64) has the shape of the results: that of x but for the axis. A place outside of
    the axis is the first or the last one. No row is sorted for a few places (selection).
    """

    def infer(  # type: ignore[override]
        self, x: TensorType, places: TensorType
    ) -> tuple[TensorType, TensorType]:
        check_along(x, places, self.axis)
        if places.dtype is not I64:
            raise DTypeError(f"{self.name}: places are int64, not {places}")
        types = super().infer(x)
        text = f"{self.name}: axis {self.axis} of {x} is empty"
        if not dims.at_least(x.shape[self.axis], 1, text):
            raise ShapeError(text)
        return types[0].with_shape(places.shape), TensorType(I64, places.shape)

    def reference(self, x: Array, places: Array) -> tuple[Array, Array]:  # type: ignore[override]
        order = np.argsort(x, self.axis, kind="stable").astype(np.int64)
        places = np.clip(places, 0, x.shape[self.axis] - 1)
        chosen = np.take_along_axis(order, places, self.axis)
        return np.take_along_axis(x, chosen, self.axis), chosen

    def form(self, *types: TensorType) -> Form:
        keep = types[0].shape[self.axis]
        return SortForm(self.axis, keep, ascending_key, picks=True)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))


class SearchSorted(Op, name="searchsorted"):
    """Number of elements of the ascending vector a below each of v (``right``: not above it).

    NaN is above all numbers. A binary search of one length for all: its way through an a that does
    not ascend is defined too.
    """

    exact = True
    differentiable = False
    right: bool = False

    def infer(self, a: TensorType, v: TensorType) -> TensorType:
        if a.rank != 1:
            raise RankError(f"searchsorted: {a} is not a vector")
        if a.dtype is not v.dtype or a.dtype.is_bool:
            raise DTypeError(f"searchsorted: numbers of one dtype, not {v} among {a}")
        return TensorType(I64, v.shape)

    def reference(self, a: Array, v: Array) -> Any:
        places, left = np.zeros(v.shape, np.int64), a.size
        while left > 1:
            half = left // 2
            places = np.where(self._before(a[places + (half - 1)], v), places + half, places)
            left -= half
        return places + self._before(a[places], v) if left else places

    def _before(self, element: Array, value: Array) -> Array:
        """Return whether an element comes before the place of a value."""
        nan = np.not_equal(value, value)
        if self.right:
            return np.asarray((element <= value) | nan)
        return np.asarray((element < value) | (nan & (element == element)))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Among one vector all at once; a vector each is searched in a loop."""
        return None if over[0] else self(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return SearchForm(self.right)


def ascending_key(x: Expr) -> Expr:
    """Map an element to an integer whose order is the sort's: NaN is the largest."""
    x = x.cast(x.dtype.compute)
    dtype = x.dtype
    if dtype.is_float:
        # The bits of a float order as those of an integer, except below the sign of negative
        # numbers, where they are flipped. Both zeros have the key 0.
        bits = x.bitcast(dtype.signed)
        largest = _largest(dtype.signed)
        key = bits ^ ((bits >> (dtype.signed.bits - 1)) & largest)
        return select(x.eq(x), select(x.eq(0.0), literal(0, dtype.signed), key), largest)
    if dtype.digits < I32.bits:
        return x.cast(I32)
    if dtype.kind == "u":
        return x.bitcast(dtype.signed) ^ -(1 << (dtype.bits - 1))
    return x


def descending_key(x: Expr) -> Expr:
    """Return the complement of ``ascending_key``: NaN is the smallest."""
    return ~ascending_key(x)


def descending_key_nan_last(x: Expr) -> Expr:
    """Return the complement of ``ascending_key`` for numbers; NaN is the largest."""
    x = x.cast(x.dtype.compute)
    if not x.dtype.is_float:
        return descending_key(x)
    return select(x.eq(x), descending_key(x), _largest(x.dtype.signed))


def _largest(signed: DType) -> Expr:
    return literal((1 << (signed.bits - 1)) - 1, signed)


def sort(
    x: ArrayLike[AnyValue],
    axis: int | None = -1,
    kind: Algorithm | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
    descending: bool | None = None,
) -> AnyValue:
    """Sort the elements of x along ``axis`` in ascending order; None flattens x.

    Always stable: equal elements (-0 and 0 are equal) stay in their order. NaN comes last.

    Args:
        x: a value of any dtype.
        axis: one axis; negative ones count from the end.
        kind, stable: accepted as NumPy does; there is one algorithm, a merge sort.
        order: there are no fields; None.
        descending: from the largest to the smallest; NaN comes last and equal elements stay in
            their order, too.

    Raises:
        ArgumentError: a ``kind`` that NumPy does not have, or an ``order``.

    >>> sg.evaluate(sg.sort([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    return sorted_along(x, axis, (kind, order, stable), descending)[0]


def argsort(
    x: ArrayLike[AnyValue],
    axis: int | None = -1,
    kind: Algorithm | None = None,
    order: None = None,
    *,
    stable: bool | None = None,
    descending: bool | None = None,
) -> AnyValue:
    """The positions (int64) along ``axis`` that put x in order; arguments as for ``sort``.

    Of equal elements the lowest position comes first. Raises as ``sort``.

    Args:
        x, axis, kind, order, stable, descending: as for ``sort``.

    Returns:
        int64 positions, of x's shape; flat where the axis is None.

    >>> sg.evaluate(sg.argsort([3.0, 1.0, 2.0]))
    array([1, 2, 0])
    """
    value = as_value(x)
    axis = None if is_only_axis_of_scalar(axis, value) else axis  # NumPy's sort refuses it
    return sorted_along(value, axis, (kind, order, stable), descending)[1]


def topk(
    x: ArrayLike[AnyValue], k: Size, axis: int = -1, *, largest: bool = True
) -> tuple[AnyValue, AnyValue]:
    """The ``k`` largest elements along ``axis``, largest first, and their positions (int64).

    Of equal elements the lowest position comes first. NaN counts as larger than every number, as
    it does in a sort. For a small k no row is sorted.

    Args:
        x: a value of any dtype, with an axis of n elements.
        k: a literal int, or a size; at most n, which is an error when the graph is built, and for
            named sizes in the run that finds otherwise.
        axis: one axis; negative ones count from the end.
        largest: False takes the smallest, smallest first; NaN then comes last.

    >>> sg.topk([3.0, 1.0, 7.0], 2)
    (array([7., 3.]), array([2, 0]))
    """
    value = as_value(x)
    place = axis_of(axis, value)
    count = size_of(k, value)
    results = TopK(place, count, not largest)(value)
    return results[0], results[1]


def searchsorted(
    a: ArrayLike[AnyValue],
    v: ArrayLike[AnyValue],
    side: Literal["left", "right"] = "left",
    sorter: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Return where each element of v would go into the vector a to keep it ascending, as int64.

    Among equal elements of a the first place (``"right"``: behind the last); n behind all. NaN is
    above all numbers. A binary search for every element; a that does not ascend is not noticed.

    Args:
        a: n numbers in ascending order.
        v: what to place, of any shape; both are converted to the dtype in which they meet.
        side: ``"left"`` or ``"right"``.
        sorter: positions that put a in order, as ``argsort`` gives them.

    Returns:
        int64 positions, of the shape of v.

    >>> sg.evaluate(sg.searchsorted([1.0, 3.0], [0.0, 2.0, 5.0]))
    array([0, 1, 2])
    """
    row, values = promoted_values((a, v))
    if sorter is not None:
        row = take(row, sorter, 0)
    if row.dtype.is_bool:
        row, values = (astype(x, I8) for x in (row, values))
    return SearchSorted(side == "right")(row, values)


def select_in_order(
    x: AnyValue, axis: int, indices: Sequence[Size | AnyValue]
) -> tuple[AnyValue, AnyValue]:
    """Return the elements at indices of x sorted along ``axis``, and their positions (int64).

    An index is a size, or an int64 value: a number, or of size 1 along ``axis``.
    """

    def shape_with(count: int, fill: int | None = None) -> Shape:
        """Return the shape of x with another size along the axis, and ``fill`` along the others."""
        return tuple(
            count if k == axis else size if fill is None else fill for k, size in enumerate(x.shape)
        )

    if all(isinstance(index, int) for index in indices):
        numbers = as_values(x, np.array(indices, np.int64))[1]
        places = broadcast_to(
            reshape(numbers, shape_with(len(indices), 1)), shape_with(len(indices))
        )
    else:
        columns: list[Any] = []
        for index in indices:
            value: Any = index if isinstance(index, Value) else size_value(index, I64)
            value = value if value.ndim else reshape(value, shape_with(1, 1))
            columns.append(broadcast_to(value, shape_with(1)))
        places = concatenate(columns, axis)
    chosen: Any = OrderStatistic(axis)(x, places)
    return chosen[0], chosen[1]


def sorted_along(
    x: ArrayLike[AnyValue], axis: int | None, unused: Sequence[Any], descending: bool | None
) -> tuple[AnyValue, AnyValue]:
    """Sort x along ``axis`` (None: flat) with positions; check NumPy's other options."""
    kind, order, stable = unused
    value = as_value(x)
    if kind is not None and stable is not None:
        raise ArgumentError(
            f"{called_name()}: kind={kind!r}, stable={stable!r}",
            hint="one of them at most",
            related=describe_operands(value),
        )
    if order is not None:
        raise ArgumentError(f"{called_name()}: order={order!r}: elements have no fields")
    if axis is None:
        value, axis = ravel(value), 0
    values, places = cast(Any, Sort(axis_of(axis, value), bool(descending))(value))
    return values, places

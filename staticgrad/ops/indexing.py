"""Indexing by arrays: take and scatter, along one axis or element by element.

The two directions are each other's transpose. The index is checked in the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, IndexOutOfRange, RankError, ShapeError
from staticgrad.errors.wording import Related, shown
from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.forms import Form, Gather, GatherAlong, Scatter, ScatterAlong
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array, Op
from staticgrad.ir.ranges import EMPTY, Range, RangeOf
from staticgrad.ops.batch_axis import in_front
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import broadcast_to, ravel
from staticgrad.ops.operands import (
    LinearOp,
    as_values,
    axis_of,
    integer,
    related,
    size_of,
)
from staticgrad.ops.positions import iota
from staticgrad.source import Location
from staticgrad.types import dim as dims
from staticgrad.types.arrays import convert_array
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, DType, as_dtype
from staticgrad.types.tensor import Shape, TensorType

#: Elements that are added at a time on tensors, at least.
_AT_ONCE: Final = 1024


class Take(LinearOp, name="take"):
    """x read at ``indices`` along ``axis``: out[p, i, q] = x[p, indices[i], q].

    The axes of the indices stand in place of the axis. Negative indices count from the end; others
    outside the axis raise.
    """

    exact = True
    flops = 0
    axis: int

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_indices(self.name, x, indices, self.axis)
        before, after = x.shape[: self.axis], x.shape[self.axis + 1 :]
        return x.with_shape((*before, *indices.shape, *after))

    def reference(self, x: Array, indices: Array) -> Any:
        return np.take(x, checked(indices, x.shape[self.axis]), self.axis)

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return ScatterIntoAxis(self.axis, x.shape[self.axis])(ct, *indices)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Of one x, or at one set of indices for all; else at a position per element."""
        x, indices = args
        if not over[1]:
            return Take(self.axis + 1)(x, indices)
        if not over[0]:
            return functions.moveaxis(Take(self.axis)(x, indices), self.axis, 0)
        before, after = x.shape[1 : self.axis + 1], x.shape[self.axis + 2 :]
        places = _along(indices, size, before, after)
        found = TakeAlong(self.axis + 1)(x, places)
        return functions.reshape(found, (size, *before, *indices.shape[1:], *after))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Gather(self.axis)


class ScatterIntoAxis(LinearOp, name="scatter_add"):
    """``take`` transposed: zeros; then out[p, indices[i], q] += x[p, i, q], i ascending.

    The axes of the indices, from ``axis`` of x on, become one axis of size ``size``.
    """

    exact = True
    axis: int
    size: Size

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_addends(self.name, x)
        return lands(self.name, x, indices, self.axis, self.size)

    def reference(self, x: Array, indices: Array) -> Any:
        return self._added(x, indices, x.size)

    def eager(self, x: Array, indices: Array) -> Any:
        """A few rows at a time, so that next to nothing is held beside the result."""
        return self._added(x, indices, max(_AT_ONCE, x.size // 64))

    def _added(self, x: Array, indices: Array, each: int) -> Any:
        """The sums, of about ``each`` elements of x at a time."""
        size = integer(self.name, "size", self.size)
        places = checked(indices, size).ravel()
        before, after = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*before, places.size, *after), self.axis, 0)
        out = np.zeros((size, *before, *after), x.dtype)
        with np.errstate(all="ignore"):
            step = max(each * len(rows) // max(rows.size, 1), 1)
            for turn in turns(places):  # within a turn no place occurs twice
                for part in (turn[k : k + step] for k in range(0, len(turn), step)):
                    out[places[part]] += rows[part]
        return np.moveaxis(out, 0, self.axis) if self.axis else out  # no view where it can be none

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Take(self.axis)(ct, *indices)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """At one set of indices for all; else at a position per element."""
        x, indices = args
        if not over[1]:
            return ScatterIntoAxis(self.axis + 1, self.size)(x, indices)
        (x,) = in_front(size, [x], [over[0]])
        last = self.axis + indices.ndim
        before, after = x.shape[1 : self.axis + 1], x.shape[last:]
        places = _along(indices, size, before, after)
        along = ScatterIntoAlong(self.axis + 1, self.size)
        return along(functions.reshape(x, places.shape), places)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scatter(self.axis)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Sums of the elements that go to one place; 0 where none does."""
        return of(x).summed() | EMPTY


class TakeAlong(LinearOp, name="take_along"):
    """x read at one position per element: out[p, i, q] = x[p, indices[p, i, q], q] along ``axis``.

    Negative indices count from the end, unless ``wrap`` is False; others outside the axis raise.
    """

    exact = True
    flops = 0
    axis: int
    wrap: bool = True

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_along(self.name, x, indices, self.axis)
        return x.with_shape(indices.shape)

    def reference(self, x: Array, indices: Array) -> Any:
        places = checked(indices, x.shape[self.axis], self.wrap)
        return np.take_along_axis(x, places, self.axis)

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return ScatterIntoAlong(self.axis, x.shape[self.axis], self.wrap)(ct, *indices)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return GatherAlong(self.axis, self.wrap)


class ScatterIntoAlong(LinearOp, name="scatter_along"):
    """``take_along`` transposed: zeros; then out[p, indices[p, i, q], q] += x[p, i, q] in order.

    The result has size ``size`` along ``axis``. For ``wrap`` see ``take_along``.
    """

    exact = True
    axis: int
    size: Size
    wrap: bool = True

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_addends(self.name, x)
        _check_along(self.name, x, indices, self.axis, whole=True)
        return x.with_shape((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]))

    def reference(self, x: Array, indices: Array) -> Any:
        size = integer(self.name, "size", self.size)
        places = np.moveaxis(checked(indices, size, self.wrap), self.axis, 0)
        rows = np.moveaxis(x, self.axis, 0)
        out = np.zeros((size, *rows.shape[1:]), x.dtype)
        others = np.indices(rows.shape[1:])
        with np.errstate(all="ignore"):
            for place, row in zip(places, rows, strict=True):
                out[(place, *others)] += row
        return np.moveaxis(out, 0, self.axis)

    def eager(self, x: Array, indices: Array) -> Any:
        """Written at once where there is one element per row, as of class labels."""
        if x.shape[self.axis] != 1:
            return self.reference(x, indices)
        size = integer(self.name, "size", self.size)
        shape = (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :])
        out = np.zeros(shape, x.dtype)
        np.put_along_axis(out, checked(indices, size, self.wrap), x, self.axis)
        return out

    def transposed(self, ct: Any, x: Any, *indices: Any) -> Any:
        return TakeAlong(self.axis, self.wrap)(ct, *indices)

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return ScatterAlong(self.axis, self.wrap)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Sums of the elements that go to one place; 0 where none does."""
        return of(x).summed() | EMPTY


def _along(indices: Any, size: Size, before: Shape, after: Shape) -> Any:
    """Indices of each element of a batch as one axis, repeated over the axes around theirs."""
    count = prod(indices.shape[1:])
    shape = (size, *(1,) * len(before), count, *(1,) * len(after))
    return functions.broadcast_to(functions.reshape(indices, shape), (size, *before, count, *after))


def lands(op: str, x: TensorType, indices: TensorType, axis: int, size: Size) -> TensorType:
    """The type of what x becomes where its rows go to ``indices``, along one axis of ``size``."""
    after = axis + indices.rank
    if not 0 <= axis <= after <= x.rank:
        raise RankError(f"{op}: {x} does not have the axes of {indices} at {axis}")
    out = x.with_shape((*x.shape[:axis], size, *x.shape[after:]))
    _check_indices(op, out, indices, axis)
    for own, of in zip(x.shape[axis:after], indices.shape, strict=True):
        text = f"{op}: {x} has size {own} where the indices {indices} have {of}"
        if not dims.equal(own, of, text):
            raise ShapeError(text)
    return out


def checked(indices: Array, size: int, wrap: bool = True) -> Array:
    """``indices`` as int64 in [0, size), negative ones counted from the end if ``wrap``."""
    wrong = indices >= size
    if indices.dtype.kind != "u":
        wrong |= indices < (-size if wrap else 0)
    if wrong.any():
        position = int(np.argmax(wrong.ravel()))
        raise out_of_range(int(indices.ravel()[position]), size, position, wrap)
    places = indices.astype(np.int64)
    return np.where(places < 0, places + size, places)


def out_of_range(
    found: int,
    size: int,
    position: int,
    wrap: bool = True,
    at: Location | None = None,
    related: Sequence[Related] = (),
) -> IndexOutOfRange:
    """The error about an index that a run met: in the same words whoever runs it.

    Args:
        found: the index, as it was given.
        size: that of the axis it should lie in.
        position: which of the indices it is, counted in C order.
        wrap: whether negative indices count from the end; labels of classes do not.
        at: the line to blame; by default the one that is running now.
        related: what the message lists: the feed that holds the index, the line of the run.
    """
    noun, plural = ("index", "indices") if wrap else ("label", "labels")
    outside = f"an axis of size {size}" if wrap else f"{size} classes"
    valid = f"{plural} from {-size if wrap else 0} to {size - 1} are valid"
    return IndexOutOfRange(
        f"{noun} {found} is out of range for {outside}",
        details=[f"it is element {position} of the {plural}, counted in C order"],
        hint=valid if size else "the axis is empty",
        at=at,
        related=related,
    )


def turns(places: Array) -> list[Array]:
    """Positions in ``places``, cut so that the k-th turn holds every place's k-th occurrence."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered, side="left")
    occurrence = np.arange(places.size) - first
    by_turn = order[np.argsort(occurrence, kind="stable")]
    return np.split(by_turn, np.cumsum(np.bincount(occurrence))[:-1]) if places.size else []


def _check_indices(op: str, x: TensorType, indices: TensorType, axis: int) -> None:
    if not indices.dtype.is_integer:
        raise _not_integers(op, indices.dtype)
    if not 0 <= axis < x.rank:
        raise RankError(f"{op}: no axis {axis} in {x}")


def _not_integers(op: str, dtype: DType) -> DTypeError:
    text = f"{op}: indices are integers, not {dtype.numpy}"
    return DTypeError(text, hint="convert: astype('int64')")


def _check_addends(op: str, x: TensorType) -> None:
    if x.dtype.is_bool:
        raise DTypeError(f"{op}: bools are counted as integers", hint="x.astype('int64')")


def _check_along(
    op: str, x: TensorType, indices: TensorType, axis: int, whole: bool = False
) -> None:
    _check_indices(op, x, indices, axis)
    if x.rank != indices.rank:
        raise RankError(f"{op}: {x} and the indices {indices} have different numbers of axes")
    for k, (own, of) in enumerate(zip(x.shape, indices.shape, strict=True)):
        text = f"{op}: axis {k} has size {own} in {x}, {of} in the indices {indices}"
        if (k != axis or whole) and not dims.equal(own, of, text):
            raise ShapeError(text)


def take(
    x: Operand[AnyValue],
    indices: Operand[AnyValue],
    axis: int | None = None,
    *,
    mode: str = "raise",
) -> AnyValue:
    """x read at ``indices`` (integers of any shape) along ``axis``; of x flattened if it is None.

    Args:
        x: a value.
        indices: integers; negative ones count from the end.
        axis: which axis.
        mode: of an index outside, ``"raise"`` in the run that meets it; ``"wrap"`` it round;
            ``"clip"`` it to the first or last place, negative ones to the first.

    Returns:
        Elements: the axis of x is replaced by those of the indices.

    >>> sg.evaluate(sg.take([[1, 2], [3, 4]], [1, 0], axis=1))
    array([[2, 1],
           [4, 3]])
    """
    value, places = as_values("take", x, indices)
    if not places.dtype.is_integer:  # said here, where x still has the user's shape
        raise _not_integers("take", places.dtype).with_related(related(value, places))
    if axis is None:
        value, axis = ravel(value), 0
    place = axis_of("take", axis, value)
    return Take(place)(value, within("take", places, value.shape[place], mode))


def within(op: str, indices: AnyValue, size: Size, mode: str) -> AnyValue:
    """``indices`` brought into an axis of ``size`` as NumPy's ``mode`` says."""
    if mode == "raise":
        return indices
    if mode not in ("wrap", "clip"):
        raise ArgumentError(f"{op}: mode={shown(mode)}", hint="'raise', 'wrap' or 'clip'")
    places = functions.astype(indices, I64)
    length = functions.size_value(size, I64)
    if mode == "wrap":
        return functions.remainder(places, length)
    return functions.maximum(functions.minimum(places, length - 1), 0)


def take_along_axis(
    x: Operand[AnyValue], indices: Operand[AnyValue], axis: int | None = -1
) -> AnyValue:
    """x read at one position per element along ``axis``: out[i, j] = x[i, indices[i, j]].

    x and the indices have as many axes, whose sizes are equal or broadcast, but along the axis.
    Negative indices count from the end. One outside raises, in the run that meets it.

    Args:
        x: a value.
        indices: integers.
        axis: which axis; None for x flattened, of which one axis of indices reads.

    Returns:
        The elements: along the axis as many as indices, along others as x and the indices meet.

    >>> sg.evaluate(sg.take_along_axis([[3, 1], [2, 4]], [[1], [0]], 1))
    array([[1],
           [2]])
    """
    value, places = as_values("take_along_axis", x, indices)
    if axis is None:
        return TakeAlong(0)(ravel(value), places)
    place = axis_of("take_along_axis", axis, value)
    if value.ndim == places.ndim:  # otherwise the op refuses them
        value, places = _stretched(value, places, place), _stretched(places, value, place)
    return TakeAlong(place)(value, places)


def _stretched(x: AnyValue, to: AnyValue, axis: int) -> AnyValue:
    """x with the sizes of ``to`` where its own are a literal 1, but along ``axis``."""
    sizes = list(x.shape)
    for k, (own, other) in enumerate(zip(x.shape, to.shape, strict=True)):
        if own == 1 and k != axis:
            sizes[k] = other
    return broadcast_to(x, tuple(sizes))


def scatter_add(
    x: Operand[AnyValue], indices: Operand[AnyValue], size: Size, axis: int = 0
) -> AnyValue:
    """Zeros with ``size`` places along ``axis``, to which x is added at ``indices``, in order.

    The transpose of ``take``: x has the axes of the indices, which become the axis ``axis`` of the
    result. Sums per group: ``scatter_add(values, group_of, groups)``.

    Args:
        x: what is added: numbers.
        indices: integers; below 0 they count from the end, outside they raise in the run.
        size: how many places there are.
        axis: where they are in the result.

    Returns:
        A value in the dtype of x.

    >>> sg.evaluate(sg.scatter_add([1.0, 2.0, 4.0], [0, 2, 0], 3))
    array([5., 0., 2.])
    """
    value, places = as_values("scatter_add", x, indices)
    place = axis_of("scatter_add", axis, value, value.ndim - places.ndim + 1)
    return ScatterIntoAxis(place, size_of("scatter_add", size, value))(value, places)


_UFUNCS: Final = {"max": np.maximum, "min": np.minimum}


class ScatterExtreme(Op, name="scatter_extreme"):
    """out[p, indices[i], q] is the largest of the x[p, i, q] sent there, or the smallest.

    The axes of the indices, from ``axis`` of x on, become one axis of size ``size``. Where none is
    sent stands what loses against all: -inf for ``kind`` max of floats. NaN wins, and -0 is below
    0. Negative indices count from the end; others outside the axis raise.
    """

    exact = True
    kink = "the last of the elements equal to a result has its cotangent; NaN equals NaN"
    kind: str
    axis: int
    size: Size

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        if self.kind not in _UFUNCS:
            raise ArgumentError(f"{self.name}: {self.kind!r} is no kind", hint="'max' or 'min'")
        return lands(self.name, x, indices, self.axis, self.size)

    def reference(self, x: Array, indices: Array) -> Any:
        out, rows, places = self._begun(x, indices)
        for turn in turns(places):  # within a turn no place occurs twice
            out[places[turn]] = _of_two(self.kind, out[places[turn]], rows[turn])
        return np.moveaxis(out, 0, self.axis)

    def eager(self, x: Array, indices: Array) -> Any:
        """By NumPy's loop, where it decides which of two zeros wins."""
        out, rows, places = self._begun(x, indices)
        _UFUNCS[self.kind].at(out, places, rows)
        return np.moveaxis(out, 0, self.axis)

    def _begun(self, x: Array, indices: Array) -> tuple[Array, Array, Array]:
        """Places to which nothing was sent, the rows of x, and where each goes."""
        size = integer(self.name, "size", self.size)
        places = checked(indices, size).ravel()
        before, after = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*before, places.size, *after), self.axis, 0)
        dtype = as_dtype(x.dtype)
        none = convert_array(np.asarray(COMBINERS[self.kind].empty(dtype)), dtype)
        return np.full((size, *before, *after), none, x.dtype), rows, places

    def batched(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """At one set of indices for all; else into as many places for each of the batch."""
        x, indices = args
        if not over[1]:
            return ScatterExtreme(self.kind, self.axis + 1, self.size)(x, indices)
        (x,) = in_front(size, [x], [over[0]])
        own = Take(0)(iota((self.size,), 0, like=indices), indices)  # none below 0, none outside
        first = iota(own.shape, 0, like=indices) * functions.size_value(self.size, I64)
        moved = functions.moveaxis(x, 0, self.axis)
        whole = ScatterExtreme(self.kind, self.axis, size * self.size)(moved, own + first)
        before, after = whole.shape[: self.axis], whole.shape[self.axis + 1 :]
        parted = functions.reshape(whole, (*before, size, self.size, *after))
        return functions.moveaxis(parted, self.axis, 0)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scatter(self.axis, kind=self.kind)

    def last(self, out: Any, x: Any, indices: Any) -> Any:
        """Return whether an element of x is the last of those that equal what its place has."""
        flat, entries = self._flat(x, indices)
        won = functions.equal(entries, Take(self.axis)(out, flat))
        won = functions.logical_or(won, entries != entries)
        number = iota(entries.shape, self.axis, like=x)
        numbers = functions.where(won, number, -1)
        latest = ScatterExtreme("max", self.axis, self.size)(numbers, flat)
        chosen = functions.equal(Take(self.axis)(latest, flat), number)
        return functions.reshape(chosen, x.shape)

    def vjp(self, ct: Any, out: Any, x: Any, indices: Any) -> tuple[Any, ...]:
        """The cotangent of a place for the last element that it equals."""
        if not out.dtype.is_float:
            return None, None
        share = Take(self.axis)(ct, indices)
        return functions.where(self.last(out, x, indices), share, 0.0), None

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, indices: Any) -> Any:
        """The tangent of the last element that a place equals; 0 where none was sent."""
        if not out.dtype.is_float or tangents[0] is None:
            return None
        kept = functions.where(self.last(out, x, indices), tangents[0], 0.0)
        return functions.scatter_add(kept, indices, self.size, self.axis)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Anything that its dtype holds, where nothing is sent."""
        return None

    def _flat(self, x: Any, indices: Any) -> tuple[Any, Any]:
        """The indices along one axis, and x with that axis in place of theirs."""
        before, after = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        count = prod(indices.shape)
        flat = functions.reshape(indices, (count,))
        return flat, functions.reshape(x, (*before, count, *after))


def _of_two(kind: str, a: Array, b: Array) -> Array:
    """The extreme of two elements, also of two zeros."""
    found = np.asarray(_UFUNCS[kind](a, b))
    if found.dtype.kind != "f":
        return found
    join = np.logical_and if kind == "max" else np.logical_or
    negative = join(np.signbit(a), np.signbit(b))
    zero = np.where(negative, found.dtype.type(-0.0), found.dtype.type(0.0))
    return np.where((a == 0) & (b == 0), zero, found)


def last_entries(flat: Any, size: Size) -> Any:
    """For each of ``size`` places the last entry of ``flat`` that names it; negative where none.

    Args:
        flat: a vector of places, integers; negative ones count from the end.
        size: how many places there are.
    """
    numbers = iota(flat.shape, 0, like=flat)
    return ScatterExtreme("max", 0, size)(numbers, flat)

"""Elements by index (take, scatter), and regular parts of values (slice, pad, concatenation).

``take`` and ``scatter`` are each other's transpose; indices are checked in the run. ``slice`` and
``pad`` are each other's transpose, with a start and a step per axis; every size may be named.
``functions/indexing.py`` reads Python's indexing syntax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import accumulate
from math import prod
from operator import or_
from typing import Any, Final, Literal, overload

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
)
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import Related
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.forms import (
    COMBINERS,
    Assemble,
    AxisMap,
    Form,
    Gather,
    GatherAlong,
    Region,
    Scatter,
    ScatterAlong,
    ScatterOnto,
    View,
)
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.ranges import EMPTY, Range, RangeOf
from staticgrad.language.ir.summation import tree_sum
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import remainder
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.logic import equal, logical_or
from staticgrad.language.ops.movement import broadcast_to, expand_dims, moveaxis, ravel, reshape
from staticgrad.language.ops.operands import (
    Axes,
    LinearOp,
    as_value,
    as_values,
    axes_of,
    axis_of,
    describe_operands,
    dtype_of,
    integer,
    promoted_values,
    shape_text,
    size_of,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.selection import maximum, minimum, where
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import (
    Shape,
    TensorType,
    convert_array,
    hint_product,
    hint_value,
)
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import I64, DType, as_dtype
from staticgrad.support.source import Location

#: Elements that are added at a time on tensors, at least.
_AT_ONCE: Final = 1024
#: Parts of a scatter at most: places are cleared and added up once for each.
_PARTS: Final = 16
#: Elements that each place of a part gets on average, at least: then clearing and adding places
#: takes about a tenth of the time.
_PER_PLACE: Final = 8
#: Elements from which on a scatter takes long enough to be cut, some 10 us.
_LEAST_CUT: Final = 1 << 14


class Take(LinearOp, name="take"):
    """x read at ``indices`` along ``axis``: out[p, i, q] = x[p, indices[i], q].

    The axes of the indices stand in place of the axis. Negative indices count from the end; others
    outside the axis raise. ``inside``: all are known to be from 0 on and inside of it.
    """

    reads_part = "some"
    exact = True
    flops = 0
    axis: int
    inside: bool = False

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_indices(x, indices, self.axis)
        leading, trailing = x.shape[: self.axis], x.shape[self.axis + 1 :]
        return x.with_shape((*leading, *indices.shape, *trailing))

    def reference(self, x: Array, indices: Array) -> Any:
        return np.take(x, normalize_indices(indices, x.shape[self.axis]), self.axis)

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return ScatterIntoAxis(self.axis, x.shape[self.axis])(ct, *indices)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a gather: one x or one set of indices for all, else one index per element."""
        x, indices = args
        if not over[1]:
            return Take(self.axis + 1)(x, indices)
        if not over[0]:
            return moveaxis(Take(self.axis)(x, indices), self.axis, 0)
        leading, trailing = x.shape[1 : self.axis + 1], x.shape[self.axis + 2 :]
        places = _along(indices, size, leading, trailing)
        elements = TakeAlong(self.axis + 1)(x, places)
        return reshape(elements, (size, *leading, *indices.shape[1:], *trailing))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Gather(self.axis, inside=self.inside)


class ScatterIntoAxis(LinearOp, name="scatter_add"):
    """``take`` transposed: zeros; then out[p, indices[i], q] += x[p, i, q], i ascending.

    The axes of the indices, from ``axis`` of x on, become one axis of size ``size``. In front of it
    there may be one of ``parts``: sums of equal parts of a vector of indices, but for the last
    ones. Of many elements for few places, those of ``parts_of`` are added up by ``tree_sum``.
    ``inside``: all indices are known to be from 0 on and below the size.
    """

    exact = True
    axis: int
    size: Size
    parts: int = 1
    inside: bool = False

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        """Infer a gather's type: the axis is replaced by the axes of the indices."""
        _check_addends(x)
        out = scattered_type(x, indices, self.axis, self.size)
        if self.parts == 1:
            return out
        if self.parts < 1 or indices.rank != 1:
            raise RankError(f"{called_name()}: {self.parts} parts of {indices}, not of a vector")
        return out.with_shape((*out.shape[: self.axis], self.parts, *out.shape[self.axis :]))

    def reference(self, x: Array, indices: Array) -> Any:
        """Compute a gather by NumPy, and check its indices."""
        size = integer("size", self.size)
        parts = self.parts_of(x.shape, indices.shape, size) if self.parts == 1 else 1
        if parts == 1:
            return self._sum_parts(x, indices, x.size)
        rows = x.reshape(indices.size, *x.shape[indices.ndim :])
        partial_sums = replace(self, size=size, parts=parts)._sum_parts(
            rows, indices.ravel(), x.size
        )
        return tree_sum(partial_sums, (0,))

    def parts_of(self, x: Shape, indices: Shape, size: Size) -> int:
        """Return into how many parts a scatter-add's sum is split, a power of two.

        They run at the same time, so no bit may depend on the number of threads.
        """
        if self.axis or not all(isinstance(length, int) for length in (*x, *indices, size)):
            return 1
        if hint_product(x) < _LEAST_CUT:
            return 1
        parts, most = 1, hint_product(indices) // (_PER_PLACE * max(1, hint_value(size)))
        while 2 * parts <= min(most, _PARTS):
            parts *= 2
        return parts

    def eager(self, x: Array, indices: Array) -> Any:
        """A few rows at a time, so that next to nothing is held beside the result."""
        return self._sum_parts(x, indices, max(_AT_ONCE, x.size // 64))

    def _sum_parts(self, x: Array, indices: Array, chunk: int) -> Any:
        """Scatter-add in parts: each part into an array of its own, then their sum."""
        if self.parts == 1:
            return self._sum_chunks(x, indices, chunk)
        count = -(-len(indices) // self.parts)
        starts = range(0, self.parts * count, count) if count else [0] * self.parts
        cuts = [slice(start, start + count) for start in starts]
        rows = np.moveaxis(x, self.axis, 0)
        sums = [
            self._sum_chunks(np.moveaxis(rows[c], 0, self.axis), indices[c], chunk) for c in cuts
        ]
        return np.stack(sums, self.axis)

    def _sum_chunks(self, x: Array, indices: Array, chunk: int) -> Any:
        """Scatter-add chunk by chunk of x, about ``chunk`` elements at a time."""
        size = integer("size", self.size)
        places = normalize_indices(indices, size).ravel()
        leading, trailing = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*leading, places.size, *trailing), self.axis, 0)
        out = np.zeros((size, *leading, *trailing), x.dtype)
        with np.errstate(all="ignore"):
            step = max(chunk * len(rows) // max(rows.size, 1), 1)
            for turn in turns(places):  # within a turn no place occurs twice
                for part in (turn[k : k + step] for k in range(0, len(turn), step)):
                    out[places[part]] += rows[part]
        return np.moveaxis(out, 0, self.axis) if self.axis else out  # no view where it can be none

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        if self.parts == 1:
            return Take(self.axis)(ct, *indices)
        leading, trailing = ct.shape[: self.axis], ct.shape[self.axis + 2 :]
        together = reshape(ct, (*leading, self.parts * self.size, *trailing))
        return Take(self.axis)(together, self._together(*indices))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a scatter-add: one set of indices for all, else one index per element."""
        x, indices = args
        if not over[1]:
            return replace(self, axis=self.axis + 1)(x, indices)
        if self.parts > 1:
            combined = ScatterIntoAxis(self.axis, self.parts * self.size)
            sums = combined.batching_rule(size, (x, self._together(indices)), over)
            leading, trailing = sums.shape[: self.axis + 1], sums.shape[self.axis + 2 :]
            return reshape(sums, (*leading, self.parts, self.size, *trailing))
        (x,) = in_front(size, [x], [over[0]])
        last = self.axis + indices.ndim
        leading, trailing = x.shape[1 : self.axis + 1], x.shape[last:]
        places = _along(indices, size, leading, trailing)
        along = ScatterIntoAlong(self.axis + 1, self.size)
        return along(reshape(x, places.shape), places)

    def _together(self, indices: Any) -> Any:
        """Shift the indices of each part, so that all parts of a scatter are one array."""
        along = indices.ndim - 1
        count = indices.shape[along]
        part = iota(indices.shape, along, I64, indices) // (
            (count + (self.parts - 1)) // self.parts
        )
        positions = Take(0)(
            iota((self.size,), 0, I64, indices), indices
        )  # none below 0, none outside
        return positions + part * size_value(self.size, I64)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scatter(self.axis, parts=self.parts, inside=self.inside)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Sums of the elements that go to one place; 0 where none does."""
        return of(x).sum() | EMPTY


class TakeAlong(LinearOp, name="take_along"):
    """x read at one position per element: out[p, i, q] = x[p, indices[p, i, q], q] along ``axis``.

    Negative indices count from the end, unless ``wrap`` is False; others outside the axis raise.
    ``inside``: all are known to be from 0 on and inside of it.
    """

    exact = True
    flops = 0
    axis: int
    wrap: bool = True
    inside: bool = False

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        check_along(x, indices, self.axis)
        return x.with_shape(indices.shape)

    def reference(self, x: Array, indices: Array) -> Any:
        places = normalize_indices(indices, x.shape[self.axis], self.wrap)
        return np.take_along_axis(x, places, self.axis)

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return ScatterIntoAlong(self.axis, x.shape[self.axis], self.wrap)(ct, *indices)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return GatherAlong(self.axis, self.wrap, self.inside)


class ScatterIntoAlong(LinearOp, name="scatter_along"):
    """``take_along`` transposed: zeros; then out[p, indices[p, i, q], q] += x[p, i, q] in order.

    The result has size ``size`` along ``axis``. For ``wrap`` and ``inside`` see ``take_along``.
    """

    exact = True
    axis: int
    size: Size
    wrap: bool = True
    inside: bool = False

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_addends(x)
        check_along(x, indices, self.axis, every_axis=True)
        return x.with_shape((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]))

    def reference(self, x: Array, indices: Array) -> Any:
        """Compute a scatter-add by NumPy in the defined order, and check its indices."""
        size = integer("size", self.size)
        places = np.moveaxis(normalize_indices(indices, size, self.wrap), self.axis, 0)
        rows = np.moveaxis(x, self.axis, 0)
        out = np.zeros((size, *rows.shape[1:]), x.dtype)
        others = np.indices(rows.shape[1:])
        with np.errstate(all="ignore"):
            for place, row in zip(places, rows, strict=True):
                out[(place, *others)] += row
        return np.moveaxis(out, 0, self.axis)

    def eager(self, x: Array, indices: Array) -> Any:
        """Scatter-add eagerly; one element per row (class labels) is written at once."""
        if x.shape[self.axis] != 1:
            return self.reference(x, indices)
        size = integer("size", self.size)
        shape = (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :])
        out = np.zeros(shape, x.dtype)
        np.put_along_axis(out, normalize_indices(indices, size, self.wrap), x, self.axis)
        return out

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return TakeAlong(self.axis, self.wrap)(ct, *indices)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return replace(self, axis=self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return ScatterAlong(self.axis, self.wrap, self.inside)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Sums of the elements that go to one place; 0 where none does."""
        return of(x).sum() | EMPTY


def _along(indices: Any, size: Size, leading: Shape, trailing: Shape) -> Any:
    """Indices of each element of a batch as one axis, repeated over the axes around theirs."""
    count = prod(indices.shape[1:])
    shape = (size, *(1,) * len(leading), count, *(1,) * len(trailing))
    return broadcast_to(reshape(indices, shape), (size, *leading, count, *trailing))


def scattered_type(x: TensorType, indices: TensorType, axis: int, size: Size) -> TensorType:
    """Return the type of x scattered to ``indices`` along an axis of ``size``."""
    end = axis + indices.rank
    if not 0 <= axis <= end <= x.rank:
        raise RankError(f"{called_name()}: {x} does not have the axes of {indices} at {axis}")
    out = x.with_shape((*x.shape[:axis], size, *x.shape[end:]))
    _check_indices(out, indices, axis)
    for x_size, index_size in zip(x.shape[axis:end], indices.shape, strict=True):
        if x_size != index_size:
            text = (
                f"{called_name()}: {x} has size {x_size}"
                f" where the indices {indices} have {index_size}"
            )
            if not dims.equal(x_size, index_size, text):
                raise ShapeError(text)
    return out


def normalize_indices(indices: Array, size: int, wrap: bool = True) -> Array:
    """Convert ``indices`` to int64 in [0, size); negative ones count from the end if ``wrap``."""
    wrong = indices >= size
    if indices.dtype.kind != "u":
        wrong |= indices < (-size if wrap else 0)
    if wrong.any():
        position = int(np.argmax(wrong.ravel()))
        raise out_of_range(int(indices.ravel()[position]), size, position, wrap)
    places = indices.astype(np.int64)
    return np.where(places < 0, places + size, places)


def out_of_range(
    index: int,
    size: int,
    position: int,
    wrap: bool = True,
    at: Location | None = None,
    related: Sequence[Related] = (),
) -> IndexOutOfRange:
    """Return the error for an index out of range that a run met, in one wording."""
    noun, plural = ("index", "indices") if wrap else ("label", "labels")
    outside = f"an axis of size {size}" if wrap else f"{size} classes"
    valid = f"{plural} from {-size if wrap else 0} to {size - 1} are valid"
    return IndexOutOfRange(
        f"{noun} {index} is out of range for {outside}",
        details=[f"it is element {position} of the {plural}, counted in C order"],
        hint=valid if size else "the axis is empty",
        at=at,
        related=related,
    )


def turns(places: Array) -> list[Array]:
    """Split scatter indices into turns without duplicates: the k-th has k-th occurrences."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered, side="left")
    occurrence = np.arange(places.size) - first
    by_turn = order[np.argsort(occurrence, kind="stable")]
    return np.split(by_turn, np.cumsum(np.bincount(occurrence))[:-1]) if places.size else []


def _check_indices(x: TensorType, indices: TensorType, axis: int) -> None:
    if not indices.dtype.is_integer:
        raise _not_integers(indices.dtype)
    if not 0 <= axis < x.rank:
        raise RankError(f"{called_name()}: no axis {axis} in {x}")


def _not_integers(dtype: DType) -> DTypeError:
    text = f"{called_name()}: indices are integers, not {dtype.numpy}"
    return DTypeError(text, hint="convert: astype('int64')")


def _check_addends(x: TensorType) -> None:
    if x.dtype.is_bool:
        raise DTypeError(
            f"{called_name()}: bools are counted as integers", hint="x.astype('int64')"
        )


def check_along(x: TensorType, indices: TensorType, axis: int, every_axis: bool = False) -> None:
    """Check the operands of a gather or scatter with one index per element along an axis."""
    _check_indices(x, indices, axis)
    if x.rank != indices.rank:
        raise RankError(
            f"{called_name()}: {x} and the indices {indices} have different numbers of axes"
        )
    for k, (x_size, index_size) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if x_size != index_size and (k != axis or every_axis):
            text = (
                f"{called_name()}: axis {k} has size {x_size} in {x},"
                f" {index_size} in the indices {indices}"
            )
            if not dims.equal(x_size, index_size, text):
                raise ShapeError(text)


#: What happens to an index outside of an axis.
OutOfBounds = Literal["raise", "wrap", "clip"]


def take(
    x: ArrayLike[AnyValue],
    indices: ArrayLike[AnyValue],
    axis: int | None = None,
    *,
    mode: OutOfBounds = "raise",
) -> AnyValue:
    """x read at ``indices`` (integers of any shape) along ``axis``; of x flattened if it is None.

    Args:
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
    value, places = as_values(x, indices)
    if not places.dtype.is_integer:  # said here, where x still has the user's shape
        raise _not_integers(places.dtype).with_related(describe_operands(value, places))
    if axis is None:
        value, axis = ravel(value), 0
    place = axis_of(axis, value)
    return Take(place)(value, within(places, value.shape[place], mode))


def within(indices: AnyValue, size: Size, mode: OutOfBounds) -> AnyValue:
    """Wrap, clip or check ``indices`` of an axis of ``size``, by NumPy's ``mode``."""
    if mode == "raise":
        return indices
    places = astype(indices, I64)
    length = size_value(size, I64)
    if mode == "wrap":
        return remainder(places, length)
    return maximum(minimum(places, length - 1), 0)


def take_along_axis(
    x: ArrayLike[AnyValue], indices: ArrayLike[AnyValue], axis: int | None = -1
) -> AnyValue:
    """Read x at one index per element along ``axis``: out[i, j] = x[i, indices[i, j]].

    x and the indices have as many axes, whose sizes are equal or broadcast, but along the axis.
    Negative indices count from the end. One outside raises, in the run that meets it.

    Args:
        indices: integers.
        axis: which axis; None for x flattened, of which one axis of indices reads.

    Returns:
        The elements: along the axis as many as indices, along others as x and the indices meet.

    >>> sg.evaluate(sg.take_along_axis([[3, 1], [2, 4]], [[1], [0]], 1))
    array([[1],
           [2]])
    """
    value, places = as_values(x, indices)
    if axis is None:
        return TakeAlong(0)(ravel(value), places)
    place = axis_of(axis, value)
    if value.ndim == places.ndim:  # otherwise the op refuses them
        value, places = (
            _broadcast_except(value, places, place),
            _broadcast_except(places, value, place),
        )
    return TakeAlong(place)(value, places)


def _broadcast_except(x: AnyValue, to: AnyValue, axis: int) -> AnyValue:
    """x with the sizes of ``to`` where its own are a literal 1, but along ``axis``."""
    sizes = list(x.shape)
    for k, (x_size, to_size) in enumerate(zip(x.shape, to.shape, strict=True)):
        if x_size == 1 and k != axis:
            sizes[k] = to_size
    return broadcast_to(x, tuple(sizes))


def scatter_add(
    x: ArrayLike[AnyValue], indices: ArrayLike[AnyValue], size: Size, axis: int = 0
) -> AnyValue:
    """Add x to zeros with ``size`` entries along ``axis`` at ``indices``, in order.

    The transpose of ``take``: x has the axes of the indices, which become the axis ``axis`` of the
    result. Sums per group: ``scatter_add(values, group_of, groups)``. Many elements of a literal
    number for few entries are added in up to 16 equal parts, which are added up then.

    Args:
        x: the numbers to add.
        indices: integers; below 0 they count from the end, outside they raise in the run.
        size: how many places there are.
        axis: the position of the new axis in the result.

    >>> sg.evaluate(sg.scatter_add([1.0, 2.0, 4.0], [0, 2, 0], 3))
    array([5., 0., 2.])
    """
    value, places = as_values(x, indices)
    place = axis_of(axis, value, value.ndim - places.ndim + 1)
    return ScatterIntoAxis(place, size_of(size, value))(value, places)


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
            raise ArgumentError(f"{self.name}: {self.kind!r} is not a kind", hint="'max' or 'min'")
        return scattered_type(x, indices, self.axis, self.size)

    def reference(self, x: Array, indices: Array) -> Any:
        out, rows, places = self._prepare_scatter(x, indices)
        for turn in turns(places):  # within a turn no place occurs twice
            a, b = out[places[turn]], rows[turn]
            extreme = np.asarray(_UFUNCS[self.kind](a, b))
            if extreme.dtype.kind != "f":
                out[places[turn]] = extreme
            else:
                # -0.0 is less than 0.0, which NumPy's ufuncs take as equal
                join = np.logical_and if self.kind == "max" else np.logical_or
                negative = join(np.signbit(a), np.signbit(b))
                zero = np.where(negative, extreme.dtype.type(-0.0), extreme.dtype.type(0.0))
                out[places[turn]] = np.where((a == 0) & (b == 0), zero, extreme)
        return np.moveaxis(out, 0, self.axis)

    def eager(self, x: Array, indices: Array) -> Any:
        """Run NumPy's loop only where it must decide which of two zeros wins."""
        out, rows, places = self._prepare_scatter(x, indices)
        _UFUNCS[self.kind].at(out, places, rows)
        return np.moveaxis(out, 0, self.axis)

    def _prepare_scatter(self, x: Array, indices: Array) -> tuple[Array, Array, Array]:
        """Prepare a scatter of maxima: empty places, rows of x, and where each row goes."""
        size = integer("size", self.size)
        places = normalize_indices(indices, size).ravel()
        leading, trailing = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*leading, places.size, *trailing), self.axis, 0)
        dtype = as_dtype(x.dtype)
        identity = convert_array(np.asarray(COMBINERS[self.kind].empty(dtype)), dtype)
        return np.full((size, *leading, *trailing), identity, x.dtype), rows, places

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a scatter of maxima: shared indices, or separate places for each of the batch."""
        x, indices = args
        if not over[1]:
            return ScatterExtreme(self.kind, self.axis + 1, self.size)(x, indices)
        (x,) = in_front(size, [x], [over[0]])
        positions = Take(0)(
            iota((self.size,), 0, like=indices), indices
        )  # none below 0, none outside
        first = iota(positions.shape, 0, like=indices) * size_value(self.size, I64)
        rows = moveaxis(x, 0, self.axis)
        combined = ScatterExtreme(self.kind, self.axis, size * self.size)(rows, positions + first)
        leading, trailing = combined.shape[: self.axis], combined.shape[self.axis + 1 :]
        parted = reshape(combined, (*leading, size, self.size, *trailing))
        return moveaxis(parted, self.axis, 0)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Scatter(self.axis, kind=self.kind)

    def last(self, out: Any, x: Any, indices: Any) -> Any:
        """Return whether an element of x is the last one equal to the maximum of its place."""
        flat, entries = self._flat(x, indices)
        won = equal(entries, Take(self.axis)(out, flat))
        won = logical_or(won, entries != entries)
        number = iota(entries.shape, self.axis, like=x)
        numbers = where(won, number, -1)
        latest = ScatterExtreme("max", self.axis, self.size)(numbers, flat)
        chosen = equal(Take(self.axis)(latest, flat), number)
        return reshape(chosen, x.shape)

    def vjp(self, ct: Any, out: Any, x: Any, indices: Any) -> tuple[Any, ...]:
        """The cotangent of a place for the last element that it equals."""
        if not out.dtype.is_float:
            return None, None
        share = Take(self.axis)(ct, indices)
        return where(self.last(out, x, indices), share, 0.0), None

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, indices: Any) -> Any:
        """The tangent of the last element that a place equals; 0 where none was sent."""
        if not out.dtype.is_float or tangents[0] is None:
            return None
        tangent = where(self.last(out, x, indices), tangents[0], 0.0)
        return scatter_add(tangent, indices, self.size, self.axis)

    def value_range(self, of: RangeOf, x: Any, indices: Any) -> Range | None:
        """Anything that its dtype holds, where nothing is sent."""
        return None

    def _flat(self, x: Any, indices: Any) -> tuple[Any, Any]:
        """The indices along one axis, and x with that axis in place of theirs."""
        leading, trailing = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        count = prod(indices.shape)
        flat = reshape(indices, (count,))
        return flat, reshape(x, (*leading, count, *trailing))


class IndexCopy(Op, name="index_copy"):
    """A third operand, ``base``, with some of its entries along ``axis`` replaced.

    out = base; then out[p, indices[i], q] = x[p, i, q], i ascending, so that the last one counts.
    The axes of the indices, from ``axis`` of x on, become one axis. Negative indices count from
    the end; others outside the axis raise. ``inside``: all are known to be from 0 on and inside of
    it; ``distinct``: no two of them are equal. Where nothing reads ``base`` afterwards, it is
    written in place.
    """

    exact = True
    flops = 0
    axis: int
    inside: bool = False
    distinct: bool = False

    def infer(self, x: TensorType, indices: TensorType, base: TensorType) -> TensorType:
        out = scattered_type(x, indices, self.axis, base.shape[self.axis])
        if out.dtype is not base.dtype or out.rank != base.rank:
            raise DTypeError(f"{called_name()}: {x} to be written into {base}")
        for axis, (new, old) in enumerate(zip(out.shape, base.shape, strict=True)):
            if new != old:
                text = f"{called_name()}: {x} has size {new} where {base} has {old} (axis {axis})"
                if not dims.equal(new, old, text):
                    raise ShapeError(text)
        return base

    def reference(self, x: Array, indices: Array, base: Array) -> Any:
        places = normalize_indices(indices, base.shape[self.axis]).ravel()
        leading, trailing = x.shape[: self.axis], x.shape[self.axis + indices.ndim :]
        rows = np.moveaxis(x.reshape(*leading, places.size, *trailing), self.axis, 0)
        out = base.copy()
        written = np.moveaxis(out, self.axis, 0)
        for turn in turns(places):  # in the order of occurrence: the last one stays
            written[places[turn]] = rows[turn]
        return out

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return ScatterOnto(self.axis, inside=self.inside)

    def vjp(self, ct: Any, out: Any, x: Any, indices: Any, base: Any) -> tuple[Any, ...]:
        """The cotangents of places: of x where its entry is the last, of base where none is."""
        if not (out.dtype.is_float or out.dtype.is_complex):
            return None, None, None
        of_x = Take(self.axis, self.inside)(ct, indices)
        if not self.has_distinct_places(indices):
            of_x = where(self._stays(x, indices, base), of_x, 0)
        return of_x, None, self(zeros_like_type(x.type, ct), indices, ct)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, indices: Any, base: Any) -> Any:
        """The tangents of base, with those of x written over them."""
        of_x, _, of_base = tangents
        if not (out.dtype.is_float or out.dtype.is_complex) or (of_x is None and of_base is None):
            return None
        of_x = zeros_like_type(x.type, of_base) if of_x is None else of_x
        return self(of_x, indices, zeros_like_type(base.type, of_x) if of_base is None else of_base)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a write: shared indices, or separate places for each of the batch."""
        x, indices, base = args
        x, base = in_front(size, [x, base], [over[0], over[2]])
        if not over[1]:
            return replace(self, axis=self.axis + 1)(x, indices, base)
        extent = base.shape[self.axis + 1]
        positions = Take(0)(iota((extent,), 0, like=indices), indices)  # checked
        first = iota(positions.shape, 0, like=indices) * size_value(extent, I64)
        joined = moveaxis(base, 0, self.axis)
        leading, trailing = joined.shape[: self.axis], joined.shape[self.axis + 2 :]
        flat = reshape(joined, (*leading, size * extent, *trailing))
        written = replace(self, inside=True)(moveaxis(x, 0, self.axis), positions + first, flat)
        return moveaxis(reshape(written, (*leading, size, extent, *trailing)), self.axis, 0)

    def value_range(self, of: RangeOf, x: Any, indices: Any, base: Any) -> Range | None:
        return of(x) | of(base)

    def has_distinct_places(self, indices: Any) -> bool:
        """Return whether no two indices are equal, whatever they are."""
        return self.distinct or dims.bounds(prod(indices.shape))[1] == 1

    def _stays(self, x: Any, indices: Any, base: Any) -> Any:
        """Return whether an entry of x is the last that is written to its place."""
        flat = reshape(indices, (prod(indices.shape),))
        last = last_entries(flat, base.shape[self.axis])
        number = iota(flat.shape, 0, like=flat)
        stays = reshape(equal(take(last, flat), number), indices.shape)
        trailing = x.ndim - self.axis - indices.ndim
        return reshape(stays, (*indices.shape, *(1,) * trailing))


def last_entries(flat: Any, size: Size) -> Any:
    """Return the last position in ``flat`` of each index below ``size``; negative if absent."""
    numbers = iota(flat.shape, 0, like=flat)
    return ScatterExtreme("max", 0, size)(numbers, flat)


class Slice(LinearOp, name="slice"):
    """Index i along axis k of the result is index ``starts[k] + steps[k] * i`` along that of x.

    ``lengths`` is the result's shape. Every index must lie inside x; an axis of length 0 may start
    anywhere. Steps may be negative, never 0.
    """

    reads_part = "some"
    exact = True
    flops = 0
    starts: tuple[Size, ...]
    lengths: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        """Infer a slice's type: ``lengths`` as shape; a guard for named sizes."""
        if not len(self.starts) == len(self.lengths) == len(self.steps) == x.rank:
            raise RankError(f"slice: one start, length and step per axis of {x} are needed")
        if 0 in self.steps:
            raise ArgumentError("slice: a step of 0 leads nowhere")
        parts = zip(self.starts, self.lengths, self.steps, strict=True)
        for axis, (start, length, step) in enumerate(parts):
            _check_range(axis, x.shape[axis], start, length, step)
        return x.with_shape(self.lengths)

    def reference(self, x: Array) -> Any:
        return x[_positions(self.starts, self.lengths, self.steps)]

    def eager(self, x: Array) -> Any:
        """A view, instead of a gathered copy."""
        return x[_slices(self.starts, self.lengths, self.steps)]

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Pad(x.shape, self.starts, self.steps)(ct)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Slice((0, *self.starts), (size, *self.lengths), (1, *self.steps))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        parts = zip(self.starts, self.steps, strict=True)
        return View(tuple(AxisMap(axis, start, step) for axis, (start, step) in enumerate(parts)))


def _check_range(axis: int, size: Size, start: Size, length: Size, step: int) -> None:
    """Refuse a slice that leaves its axis, or note the guard under which it fits."""
    if length == 0:
        return
    if (
        isinstance(start, int)
        and isinstance(length, int)
        and isinstance(size, int)
        and 0 <= start < size
        and 0 <= start + step * (length - 1) < size
    ):
        return
    # ``length`` is not 0 from here on: max(e, 0) is e
    sizes = [size for size in dims.maximum_of(length) if size != 0]
    inner = sizes[0] if len(sizes) == 1 else length
    first, last = (start, start + step * (inner - 1))[:: 1 if step > 0 else -1]
    for low, high in ((0, first), (last + 1, size)):
        if dims.is_at_least(high, low):
            continue
        # Multiplied by the length: an empty part may start anywhere.
        if not dims.at_least(high * length, low * length, _range_text(axis, size, start, length)):
            raise ShapeError(
                _range_text(axis, size, start, length),
                hint=f"its indices go from 0 to {size - 1}" if size != 0 else "it has no elements",
            )


def _range_text(axis: int, size: Size, start: Size, length: Size) -> str:
    from_end = start - size
    shown = from_end if isinstance(start, Dim) and isinstance(from_end, int) else start
    if length == 1:
        return f"index {shown} is out of range for axis {axis} of size {size}"
    return f"{length} elements from index {shown} are not inside axis {axis} of size {size}"


def _positions(starts: Any, lengths: Any, steps: tuple[int, ...]) -> tuple[Array, ...]:
    """The indices of a slice with integers for sizes, as NumPy takes them."""
    parts = zip(starts, lengths, steps, strict=True)
    return np.ix_(*(start + step * np.arange(length) for start, length, step in parts))


def _slices(starts: Any, lengths: Any, steps: tuple[int, ...]) -> tuple[slice, ...]:
    """The same as Python's slices."""
    slices = []
    for start, length, step in zip(starts, lengths, steps, strict=True):
        stop = start + step * length if length else start
        slices.append(slice(start, None if stop < 0 else stop, step))
    return tuple(slices)


class Pad(LinearOp, name="pad"):
    """``slice`` transposed: zeros of ``shape``, x at ``starts[k] + steps[k] * i`` along axis k.

    Every element must land inside; an axis of length 0 may start anywhere. Steps are not 0.
    """

    reads_part = "all"
    exact = True
    flops = 0
    shape: tuple[Size, ...]
    starts: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if not len(self.shape) == len(self.starts) == len(self.steps) == x.rank:
            raise RankError(f"pad: one size, start and step per axis of {x} are needed")
        Slice(self.starts, x.shape, self.steps).infer(x.with_shape(self.shape))
        return x.with_shape(self.shape)

    def reference(self, x: Array) -> Any:
        out = np.zeros(self.shape, x.dtype)
        out[_positions(self.starts, x.shape, self.steps)] = x
        return out

    def eager(self, x: Array) -> Any:
        """Written through a view, instead of element by element."""
        out = np.zeros(self.shape, x.dtype)
        out[_slices(self.starts, x.shape, self.steps)] = x
        return out

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return Slice(self.starts, x.shape, self.steps)(ct)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Pad((size, *self.shape), (0, *self.starts), (1, *self.steps))(*args)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return Assemble((Region(self.starts, self.steps),), fill=0)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        return of(x) | EMPTY


class Concat(Op, name="concat"):
    """The operands one after the other along ``axis``; all other sizes are equal."""

    reads_part = "all"
    exact = True
    flops = 0
    axis: int

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return promoted_values(args)

    def infer(self, *types: TensorType) -> TensorType:
        """Infer a concatenation's type: sizes add up along the axis."""
        first = types[0]
        for position, operand in enumerate(types[1:], 2):
            if operand.rank != first.rank:
                raise RankError(f"concat: operand 1 is {first}, operand {position} is {operand}")
            if operand.dtype is not first.dtype:
                raise DTypeError(f"concat: dtypes {first.dtype.numpy} and {operand.dtype.numpy}")
            for k, (first_size, size) in enumerate(zip(first.shape, operand.shape, strict=True)):
                text = f"concat: sizes {first_size} and {size} of axis {k} differ"
                if k != self.axis and not dims.equal(first_size, size, text):
                    details = [f"operand 1 is {first}, operand {position} is {operand}"]
                    raise ShapeError(
                        text, details=details, hint=f"only axis {self.axis} may differ"
                    )
        if not 0 <= self.axis < first.rank:
            raise AxisError(f"concat: no axis {self.axis} in {first}")
        total = dims.sum_of((1, operand.shape[self.axis]) for operand in types)
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def reference(self, *arrays: Array) -> Any:
        return np.concatenate(arrays, self.axis)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a concatenation: a slice of the cotangent for each operand."""
        if not out.dtype.is_float:
            return (None,) * len(args)
        starts = self.starts([arg.type for arg in args])
        return tuple(
            part(ct, self.axis, start, arg.shape[self.axis]) if want else None
            for start, arg, want in zip(starts, args, needed, strict=True)
        )

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """The tangents one after the other, zeros where there is none."""
        if not out.dtype.is_float or all(tangent is None for tangent in tangents):
            return None
        pairs = zip(tangents, args, strict=True)
        return self(*(zeros_like_type(x.type, x) if t is None else t for t, x in pairs))

    def starts(self, types: Sequence[TensorType]) -> list[Size]:
        """Return where each operand begins along the axis."""
        sizes: list[Size] = [t.shape[self.axis] for t in types]
        return list(accumulate(sizes[:-1], initial=0))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        return Concat(self.axis + 1)(*in_front(size, args, over))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        """Return the memory-access form of a concatenation: each operand at its offset."""
        steps = (1,) * out.rank
        return Assemble(
            tuple(
                Region(tuple(start if k == self.axis else 0 for k in range(out.rank)), steps)
                for start in self.starts(types)
            )
        )

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return reduce(or_, map(of, args))


def part(x: AnyValue, axis: int, start: Size, length: Size) -> AnyValue:
    """``length`` elements of x from ``start`` along ``axis``, the other axes whole."""
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    lengths = tuple(length if k == axis else size for k, size in enumerate(x.shape))
    return slice_value(x, starts, lengths, (1,) * x.ndim)


def slice_value(x: AnyValue, starts: Shape, lengths: Shape, steps: tuple[int, ...]) -> AnyValue:
    """The slice of x, or x itself where that is all of it."""
    if lengths == x.shape and all(step == 1 for step in steps) and all(s == 0 for s in starts):
        return x
    return Slice(starts, lengths, steps)(x)


def flip(x: ArrayLike[AnyValue], axis: Axes = None) -> AnyValue:
    """x with its elements in reverse order along ``axis`` (all axes by default).

    Args:
        axis: one axis or several; None for all.

    >>> sg.evaluate(sg.flip([1, 2, 3]))
    array([3, 2, 1])
    """
    value = as_value(x)
    axes = axes_of(axis, value)
    starts = tuple(size - 1 if k in axes else 0 for k, size in enumerate(value.shape))
    steps = tuple(-1 if k in axes else 1 for k in range(value.ndim))
    return slice_value(value, starts, value.shape, steps)


@overload
def concatenate(
    values: Sequence[AnyValue], axis: int | None = ..., *, dtype: Any = ...
) -> AnyValue: ...
@overload
def concatenate(values: Sequence[Any], axis: int | None = ..., *, dtype: Any = ...) -> Any: ...
def concatenate(
    values: Sequence[ArrayLike[AnyValue]], axis: int | None = 0, *, dtype: Any = None
) -> AnyValue:
    """The values one after the other along ``axis``; flattened first if it is None.

    In ``dtype`` if one is given, else in the one in which they meet.

    Args:
        values: two or more values, or one.
        axis: along which; None flattens them first.
        dtype: convert to it.

    >>> sg.evaluate(sg.concatenate([[1, 2], [3]]))
    array([1, 2, 3])
    """
    operands = _operands_to_join(values, axis, dtype)
    if axis is None:
        operands = tuple(ravel(value) for value in operands)
        axis = 0
    if operands[0].ndim == 0:
        raise RankError("concatenate: 0-d values have no axis to join", hint="use sg.stack")
    place = axis_of(axis, operands[0])
    return operands[0] if len(operands) == 1 else Concat(place)(*operands)


@overload
def stack(values: Sequence[AnyValue], axis: int = ..., *, dtype: Any = ...) -> AnyValue: ...
@overload
def stack(values: Sequence[Any], axis: int = ..., *, dtype: Any = ...) -> Any: ...
def stack(values: Sequence[ArrayLike[AnyValue]], axis: int = 0, *, dtype: Any = None) -> AnyValue:
    """The values, all of one shape, side by side along a new axis ``axis`` of the result.

    In ``dtype`` if one is given, else in the one in which they meet.

    Args:
        values: values of one shape.
        axis: the place of the new axis.
        dtype: convert to it.

    >>> sg.evaluate(sg.stack([[1, 2], [3, 4]], axis=1))
    array([[1, 3],
           [2, 4]])
    """
    operands = _operands_to_join(values, axis, dtype)
    place = axis_of(axis, operands[0], operands[0].ndim + 1)
    first = operands[0].shape
    for value in operands[1:]:
        if value.shape == first:
            continue
        text = f"stack: {shape_text(first)} and {shape_text(value.shape)} differ"
        if value.ndim != len(first):
            raise RankError(text, related=describe_operands(operands[0], value))
        if not all(dims.equal(a, b, text) for a, b in zip(first, value.shape, strict=True)):
            raise ShapeError(
                text, hint="sg.concatenate joins", related=describe_operands(operands[0], value)
            )
    return concatenate([expand_dims(value, place) for value in operands], place)


def list_values(values: Any, parts: bool = True) -> list[Any]:
    """Return values as a list: those of a sequence, or the parts of one value along axis 0."""
    if parts and isinstance(values, Value) and values.ndim:
        return list(values)  # type: ignore[call-overload]
    if values.__class__ is not list and not isinstance(values, Sequence | np.ndarray):
        raise ArgumentError(
            f"{called_name()}: takes a list or tuple of values, not {values!r}",
            hint=f"sg.{called_name()}([a, b])",
        )
    if not len(values):
        raise ArgumentError(f"{called_name()}: no values to join")
    return list(values)


def _operands_to_join(values: Any, axis: Any, dtype: Any) -> tuple[Any, ...]:
    """Return the values to concatenate: those of a list, or slices of one value."""
    operands = promoted_values(list_values(values, not isinstance(axis, Value)))
    if dtype is None:
        return operands
    target = dtype_of(dtype)
    if not np.can_cast(operands[0].dtype.numpy, target.numpy, "same_kind"):
        raise DTypeError(
            f"{called_name()}: {operands[0].dtype.numpy} is not converted to"
            f" dtype={target.numpy} unasked",
            hint="convert the operands: x.astype(dtype)",
            related=describe_operands(*operands),
        )
    return tuple(astype(value, target) for value in operands)


def diagonal(x: ArrayLike[AnyValue], offset: int = 0, axis1: int = 0, axis2: int = 1) -> AnyValue:
    """Return the elements x[.., i, .., i + offset, ..] of two axes, along a new last axis.

    ``offset`` says which diagonal; above the main one it is positive.

    >>> sg.diagonal([[1.0, 2.0], [3.0, 4.0]])
    array([1., 4.])
    """
    value = as_value(x)
    if value.ndim < 2:
        raise RankError(f"diagonal: {value.type} has no two axes", related=describe_operands(value))
    matrices = moveaxis(value, [axis1, axis2], [-2, -1])
    k = integer("offset", offset, value)
    rows, columns = matrices.shape[-2:]
    first_row, first_column = max(-k, 0), max(k, 0)
    a = rows - first_row
    b = columns - first_column
    length = dims.maximum(a + b - dims.maximum(a, b), 0)
    flat = reshape(matrices, (*matrices.shape[:-2], rows * columns))
    if isinstance(columns, Dim):
        step = size_value(columns + 1, I64)
        start = size_value(columns * first_row + first_column, I64)
        return take(flat, iota((length,)) * step + start, flat.ndim - 1)
    rank = flat.ndim - 1
    starts = (0,) * rank + (columns * first_row + first_column if length != 0 else 0,)
    return slice_value(flat, starts, (*flat.shape[:-1], length), (*(1,) * rank, columns + 1))


def with_zeros(x: AnyValue, pairs: Sequence[tuple[Size, Size]]) -> AnyValue:
    """x with so many zeros before and after it, along each axis."""
    shape = tuple(size + a + b for size, (a, b) in zip(x.shape, pairs, strict=True))
    if shape == x.shape:
        return x
    return Pad(shape, tuple(low for low, _ in pairs), (1,) * x.ndim)(x)


NUMPY_NAMES.update(concat="concatenate")

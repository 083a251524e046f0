"""Windows of images: unfold, fold, sums and maxima of each window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any, ClassVar, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.ir.forms import COMBINERS, Form, WindowAxis, WindowReduce, WindowSpread
from staticgrad.language.ir.op import Array, Op
from staticgrad.language.ir.ranges import EMPTY, Range, RangeOf
from staticgrad.language.ops.batch_axis import in_front
from staticgrad.language.ops.elementwise import quiet
from staticgrad.language.ops.movement import broadcast_to, moveaxis, reshape
from staticgrad.language.ops.operands import LinearOp
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import I8, I16, I32, DType, as_dtype

#: A tap, the slices of the image that it reads, and of the windows that read them.
Tap = tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]


def check_geometry(strides: Sequence[int], *others: Sequence[Any]) -> None:
    """Refuse window attributes of different ranks, and steps below 1."""
    if not strides or {*map(len, others)} != {len(strides)}:
        raise RankError(
            f"{called_name()}: a stride, a dilation and a size are needed for each axis"
        )
    if min(*strides, *others[0]) < 1:
        raise ArgumentError(f"{called_name()}: strides and dilations are 1 or more")


def window_axes(
    strides: Sequence[int],
    dilation: Sequence[int],
    padding_low: Sequence[Size],
    taps: Shape,
    image: Shape,
    windows: Shape,
) -> tuple[WindowAxis, ...]:
    """Return the window axes of an image: steps, dilation, padding and sizes by axis."""
    described = zip(strides, dilation, padding_low, taps, image, windows, strict=True)
    return tuple([WindowAxis(*fields) for fields in described])


def check_numbers(*types: TensorType) -> None:
    """Refuse operands of a window op with several dtypes or bools."""
    first = types[0]
    for kind in types:
        if kind.dtype is not first.dtype:
            dtypes = ", ".join(str(kind.dtype.numpy) for kind in types)
            raise DTypeError(f"{called_name()}: operands of {dtypes}")
    if first.dtype.is_bool:
        raise DTypeError(f"{called_name()}: takes numbers, not bools", hint="x.astype('float32')")


def check_windows(axes: Sequence[WindowAxis], first: int) -> None:
    """Refuse a negative number of windows; for named sizes add a guard.

    An image of no places may have no windows, and so may any whose named sizes are 0.
    """
    for number, axis in enumerate(axes, first):
        windows = axis.windows
        if windows.__class__ is axis.image.__class__ is int and windows >= 0:
            continue
        extent = axis.reach + 1
        text = f"{called_name()}: a window of {extent} over axis {number} of size {axis.image}"
        if not dims.at_least(windows, 0, text):
            raise ShapeError(text, hint="a window is at most as large as the image with its border")
        if isinstance(axis.image, Dim) and windows != axis.image:
            names = [(1, Dim({(name,): 1})) for name in {*dims.named_sizes(axis.image)}]
            some = axis.image * dims.sum_of(names)
            dims.at_least(windows * some, some, text)


def has_windows(windows: Size, image: Size, text: str) -> bool:
    """Return whether there may be a window over an image; one of no places may have none."""
    if windows.__class__ is int and image.__class__ is int:
        return windows >= (image > 0)
    return dims.at_least(windows, 0, text) and dims.at_least(windows * image, image, text)


def last(places: Sequence[slice] | Sequence[int]) -> Any:
    """Places along the last axes, as NumPy indexes them."""
    return (..., *places)


def each_tap(axes: Sequence[WindowAxis]) -> Iterator[Tap]:
    """Yield every tap that reads an element of the image, in C order. Sizes must be integers."""
    for parts in product(*(list(_along(axis)) for axis in axes)):
        taps, image, windows = zip(*parts, strict=True)
        yield taps, image, windows


def _along(axis: WindowAxis) -> Iterator[tuple[int, slice, slice]]:
    """Yield each tap of an axis with the slices of the image and of the windows that it links."""
    step, taps, padding_low = axis.step, int(axis.taps), int(axis.before)
    for tap in range(taps):
        shift = axis.dilation * tap - padding_low  # the image's index for window 0
        low = max(0, -(shift // step))
        high = min(int(axis.windows), (int(axis.image) - 1 - shift) // step + 1)
        if low < high:
            first, last = step * low + shift, step * (high - 1) + shift
            yield tap, slice(first, last + 1, step), slice(low, high)


#: What an op multiplies, in the order of its operands, by its result.
_OPERANDS: Final = {
    "windows": ("image", "filter"),
    "image": ("windows", "filter"),
    "filter": ("image", "windows"),
}
_JOINED: Final = {
    frozenset(("image", "windows")): "n",
    frozenset(("image", "filter")): "c",
    frozenset(("filter", "windows")): "o",
    frozenset(("image", "filter", "windows")): "g",
}
#: The first two axes of each of the three, as products of axes.
_AXES: Final = {"image": ("n", "gc"), "windows": ("n", "go"), "filter": ("go", "c")}


def batched_windows(op: Any, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
    """Batch a window op by merging the batch with an axis; None for named sizes as groups."""
    roles = [role for role, has in zip(_OPERANDS[op.result], over, strict=True) if has]
    axis = _JOINED[frozenset((*roles, op.result))]
    groups = op.groups
    if axis == "g":
        if not isinstance(size, int) or size == 0:
            return None
        groups *= size
    operands = [
        _merge_batch(arg, role, axis, size, op.groups) if has else arg
        for arg, role, has in zip(args, _OPERANDS[op.result], over, strict=True)
    ]
    y = replace(op, groups=groups)(*operands)
    place, (outer, inner) = _place(op.result, axis, op.groups)
    axis_size = _quotient(y.shape[place], size)
    parts = [op.groups, size, _quotient(axis_size, op.groups)] if outer else [size, axis_size]
    wide = reshape(y, (*y.shape[:place], *parts, *y.shape[place + 1 :]))
    reordered = moveaxis(wide, place + inner, 0)
    return reshape(reordered, (size, *y.shape[:place], axis_size, *y.shape[place + 1 :]))


def _merge_batch(x: Any, role: str, axis: str, size: Size, groups: int) -> Any:
    """Merge an operand's batch axis into another axis, as its slower part."""
    place, (outer, inner) = _place(role, axis, groups)
    sizes = list(x.shape[1:])
    if outer:
        sizes[place : place + 1] = [groups, _quotient(sizes[place], groups)]
    wide = reshape(x, (size, *sizes))
    at = place + inner
    reordered = moveaxis(wide, 0, at)
    shape = x.shape[1:]
    return reshape(reordered, (*shape[:place], size * shape[place], *shape[place + 1 :]))


def _place(role: str, axis: str, groups: int) -> tuple[int, tuple[bool, int]]:
    """Return which of the first two axes the batch joins, and whether it is behind the groups."""
    place = next(k for k, letters in enumerate(_AXES[role]) if axis in letters)
    inside = _AXES[role][place][0] != axis and groups > 1
    return place, (inside, int(inside))


def _quotient(size: Size, by: Size) -> Size:
    """Divide a size by a known factor."""
    if isinstance(size, int) and isinstance(by, int):
        return size // by if by else 0
    return dims.floordiv(size, by)


class _Windowed(Op):
    """Windows of ``taps``; ``extents`` are the last sizes of the result."""

    exact = True
    flops: ClassVar[int] = 8  # of a few taps
    kind: ClassVar[str]
    taps: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[Size, ...]
    extents: tuple[Size, ...]

    @property
    def count(self) -> int:
        """Axes that the windows have."""
        return len(self.taps)

    def check(self, x: TensorType, rank: int) -> None:
        """Refuse an operand that has not ``rank`` axes, at least, or elements that are bools."""
        check_numbers(x)
        others = (self.dilation, self.taps, self.before, self.extents)
        check_geometry(self.strides, *others)
        if x.rank < rank:
            raise RankError(f"{self.name}: {x} has no {rank} axes")

    def check_places(self, x: TensorType, places: TensorType) -> None:
        """Refuse positions of maxima whose shape is not that of the windows."""
        expected = place_dtype(self.taps)
        if places.dtype is not expected:
            raise DTypeError(
                f"{self.name}: places are {expected.numpy}, not {places.dtype.numpy}",
                hint="they are what window_place gives",
            )

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Further images: the windows are those of the last axes."""
        return self(*in_front(size, args, over))

    def axes(self, image: Shape, windows: Shape) -> tuple[WindowAxis, ...]:
        """The axes of the windows."""
        return window_axes(self.strides, self.dilation, self.before, self.taps, image, windows)

    def same_windows(self, kind: type[Any], extents: Shape) -> Any:
        """Another op over the same windows."""
        return kind(self.taps, self.strides, self.dilation, self.before, extents)


def place_dtype(taps: Sequence[int]) -> DType:
    """The dtype of places in windows of so many taps: the least that holds them."""
    return next(d for d in (I8, I16, I32) if prod(taps) <= 2 ** (d.bits - 1))


def _check_same_shape(left: Shape, right: Shape) -> None:
    """Refuse shapes that differ; for named sizes add a guard."""
    if left == right:
        return
    text = f"{called_name()}: operands of shapes {list(left)} and {list(right)}"
    if len(left) != len(right):
        raise RankError(text)
    if not all(dims.equal(a, b, text) for a, b in zip(left, right, strict=True)):
        raise ShapeError(text)


# -- from the image to the windows ----------------------------------------------------------------


class _Reduced(_Windowed):
    """Something of each window."""

    kind: ClassVar[Literal["sum", "max", "place", "take", "unfold"]]

    def infer(self, x: TensorType, *places: TensorType) -> TensorType:
        self.check_image(x)
        return x.with_shape((*x.shape[: x.rank - self.count], *self.extents))

    def check_image(self, x: TensorType) -> None:
        """Refuse an operand that has no windows."""
        self.check(x, self.count)
        first = x.rank - self.count
        check_windows(self.axes(x.shape[first:], self.extents), first)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        image = types[0].shape[types[0].rank - self.count :]
        return WindowReduce(self.kind, self.axes(image, self.extents))

    def elements(self, x: Array, fill: Any) -> Iterator[Array]:
        """Return the window elements of each tap in C order, ``fill`` outside of the image."""
        lead, image = x.shape[: x.ndim - self.count], x.shape[x.ndim - self.count :]
        extents = tuple(map(int, self.extents))
        read = {tap: (i, w) for tap, i, w in each_tap(self.axes(image, extents))}
        for tap in product(*map(range, self.taps)):
            elements = np.full((*lead, *extents), fill, x.dtype)
            if tap in read:
                inside, windows = read[tap]
                elements[last(windows)] = x[last(inside)]
            yield elements

    def image(self, x: Any) -> Shape:
        """The last sizes of x."""
        shape: Shape = x.shape[x.ndim - self.count :]
        return shape


class WindowSum(_Reduced, LinearOp, name="window_sum"):
    """The sum of each window, taps in C order; the border counts as zeros."""

    kind = "sum"

    @quiet
    def reference(self, x: Array) -> Any:
        first, *taps = self.elements(x, 0)
        for tap in taps:
            first = first + tap
        return first

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        lead = ct.shape[: ct.ndim - self.count]
        spread = reshape(ct, (*lead, *(1,) * self.count, *self.extents))
        repeated = broadcast_to(spread, (*lead, *self.taps, *self.extents))
        return self.same_windows(FoldWindows, self.image(x))(repeated)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return of(args[0]).sum() | EMPTY


class UnfoldWindows(_Reduced, LinearOp, name="unfold"):
    """The elements of all windows: [..., taps..., extents...]; zeros in the border."""

    kind = "unfold"
    flops = 0

    def infer(self, x: TensorType, *places: TensorType) -> TensorType:
        self.check_image(x)
        return x.with_shape((*x.shape[: x.rank - self.count], *self.taps, *self.extents))

    def reference(self, x: Array) -> Any:
        lead, extents = x.shape[: x.ndim - self.count], tuple(map(int, self.extents))
        stacked = np.stack([*self.elements(x, 0)], len(lead))
        return stacked.reshape(*lead, *self.taps, *extents)

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return self.same_windows(FoldWindows, self.image(x))(ct)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return of(args[0]) | EMPTY


class WindowMax(_Reduced, name="window_max"):
    """The first of the largest elements of each window: NaN wins; the border never does.

    The cotangent goes to that element. A window without elements of the image gives what loses
    against everything.
    """

    kind = "max"
    kink = "the first of equal maxima, taps in C order, has the whole cotangent"

    def reference(self, x: Array) -> Any:
        least = COMBINERS["max"].identity(as_dtype(x.dtype))
        first, *taps = self.elements(x, least)
        for tap in taps:
            # the tap where it is larger or NaN; the first NaN stays
            first = np.asarray(np.where(~(tap <= first) & (first == first), tap, first))
        return first

    def place(self, x: Any) -> Any:
        """Return the index of each maximum in its window."""
        return self.same_windows(WindowPlace, self.extents)(x)

    def vjp(self, ct: Any, out: Any, x: Any) -> tuple[Any, ...]:
        """Return the cotangent at the index of the maximum."""
        if not out.dtype.is_float:
            return (None,)
        return (self.same_windows(WindowPut, self.image(x))(ct, self.place(x)),)

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any) -> Any:
        """Return the tangent at the index of the maximum."""
        if tangents[0] is None or not out.dtype.is_float:
            return None
        return self.same_windows(WindowTake, self.extents)(tangents[0], self.place(x))


class WindowPlace(_Reduced, name="window_place"):
    """Index of the first maximum in each window: a number of taps in C order; NaN wins.

    The border is never chosen; where a window has no element of the image, the place is 0.
    """

    kind = "place"
    differentiable = False

    def infer(self, x: TensorType, *places: TensorType) -> TensorType:
        return super().infer(x).with_dtype(place_dtype(self.taps))

    def eager(self, x: Array) -> Any:
        """Find the position of each maximum tap by tap, without an array of all taps."""
        lead, image = x.shape[: x.ndim - self.count], x.shape[x.ndim - self.count :]
        shape = (*lead, *map(int, self.extents))
        largest = np.zeros(shape, x.dtype)
        has_element, places = np.zeros(shape, bool), np.zeros(shape, place_dtype(self.taps).numpy)
        for tap, inside, windows in each_tap(self.axes(image, shape[len(lead) :])):
            elements, best, seen = (
                x[last(inside)],
                largest[last(windows)],
                has_element[last(windows)],
            )
            wins = ~(elements <= best) & (best == best) | ~seen
            np.copyto(best, elements, where=wins)
            places[last(windows)][wins] = np.ravel_multi_index(tap, self.taps)
            seen[...] = True
        return places

    def reference(self, x: Array) -> Any:
        inside = np.stack([*self.elements(np.ones(x.shape, np.int8), 0)]) == 1
        least = COMBINERS["max"].identity(as_dtype(x.dtype))
        stacked = np.stack([*self.elements(x, least)])
        largest = stacked.max(0, initial=least)
        chosen = (stacked == largest) | np.isnan(stacked)
        return np.argmax(chosen & inside, 0).astype(place_dtype(self.taps).numpy)


class _Selecting(_Windowed):
    """Linear in the first operand; the second says one tap of each window."""

    def vjp(self, ct: Any, out: Any, x: Any, places: Any) -> tuple[Any, ...]:
        return (self.transpose_rule(ct, x, places) if out.dtype.is_float else None, None)

    def transpose_rule(self, ct: Any, x: Any, places: Any) -> Any:
        """The cotangent of the first operand."""
        raise self._missing_rule("its transpose", "transpose_rule(self, ct, x, places)")

    def jvp(self, tangents: Sequence[Any], out: Any, x: Any, places: Any) -> Any:
        if tangents[0] is None or not out.dtype.is_float:
            return None
        return self(tangents[0], places)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return of(args[0]) | EMPTY if self.kind == "take" else None


class WindowTake(_Selecting, _Reduced, name="window_take"):
    """The element of each window at the place that the second operand says; 0 in the border."""

    kind = "take"

    def infer(self, x: TensorType, *places: TensorType) -> TensorType:
        (chosen,), out = places, _Reduced.infer(self, x)
        self.check_places(x, chosen)
        _check_same_shape(out.shape, chosen.shape)
        return out

    def reference(self, x: Array, places: Array) -> Any:
        out = np.zeros(places.shape, x.dtype)
        for place, elements in enumerate(self.elements(x, 0)):
            out = np.where(places == place, elements, out)
        return out

    def transpose_rule(self, ct: Any, x: Any, places: Any) -> Any:
        return self.same_windows(WindowPut, self.image(x))(ct, places)


# -- from the windows to the image ----------------------------------------------------------------


class _Spread(_Windowed):
    """Sum of the contributions of all taps to each element of the image."""

    kind: ClassVar[Literal["fold", "put"]]

    def form(self, out: TensorType, *types: TensorType) -> Form:
        first = types[0].shape
        return WindowSpread(self.kind, self.axes(self.extents, first[len(first) - self.count :]))

    def sum_terms(self, lead: Shape, windows: Shape, dtype: Any, tap_values: Any) -> Array:
        """Sum over taps what the windows contribute: ``tap_values`` of each tap.

        Taps of one k // stride, along each axis, read places that are all different.
        """
        extents = tuple(map(int, self.extents))
        out = np.full((*lead, *extents), -0.0 if np.dtype(dtype).kind == "f" else 0, dtype)
        reads: dict[tuple[int, ...], list[Any]] = {}
        axes = self.axes(extents, windows)
        for tap in product(*map(range, self.taps)):
            reads.setdefault(_term(tap, axes), [])
        for tap, image, window_slices in each_tap(axes):
            reads[_term(tap, axes)].append((tap, image, window_slices))
        for parts in reads.values():
            term = np.zeros(out.shape, dtype)
            for tap, image, window_slices in parts:
                term[last(image)] = tap_values(tap)[last(window_slices)]
            out = out + term
        return out

    def sum_in_place(self, lead: Shape, windows: Shape, dtype: Any, tap_values: Any) -> Array:
        """Add in place, in the order of the taps, as ``sum_terms``."""
        extents = tuple(map(int, self.extents))
        out = np.zeros((*lead, *extents), dtype)
        for tap, image, window_slices in each_tap(self.axes(extents, windows)):
            out[last(image)] += tap_values(tap)[last(window_slices)]
        return out


def _term(tap: Sequence[int], axes: Sequence[WindowAxis]) -> tuple[int, ...]:
    """Return the index of the term in the sum over taps that contains ``tap``."""
    return tuple(k // axis.residues for k, axis in zip(tap, axes, strict=True))


class FoldWindows(_Spread, LinearOp, name="fold"):
    """The elements of all windows, added up where they overlap: ``unfold`` transposed."""

    kind = "fold"

    def infer(self, y: TensorType) -> TensorType:
        self.check(y, 2 * self.count)
        lead = y.rank - 2 * self.count
        _check_same_shape(y.shape[lead : lead + self.count], self.taps)
        return y.with_shape((*y.shape[:lead], *self.extents))

    @quiet
    def reference(self, y: Array) -> Any:
        return self._fold_with(y, self.sum_terms)

    def eager(self, y: Array) -> Any:
        """Added in place, in the order of the taps."""
        return self._fold_with(y, self.sum_in_place)

    def _fold_with(self, y: Array, accumulate: Callable[..., Array]) -> Array:
        lead = y.ndim - 2 * self.count
        by_tap = np.moveaxis(y, range(lead, lead + self.count), range(self.count))
        windows = y.shape[lead + self.count :]
        return accumulate(y.shape[:lead], windows, y.dtype, lambda tap: by_tap[tap])

    def transpose_rule(self, ct: Any, x: Any, *indices: Any) -> Any:
        return self.same_windows(UnfoldWindows, x.shape[x.ndim - self.count :])(ct)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return of(args[0]).sum() | EMPTY


class WindowPut(_Selecting, _Spread, name="window_put"):
    """Each element at the place of its window that the second operand says, added up.

    ``window_take`` transposed; places in the border are left out.
    """

    kind = "put"

    def infer(self, y: TensorType, places: TensorType) -> TensorType:
        self.check(y, self.count)
        self.check_places(y, places)
        _check_same_shape(y.shape, places.shape)
        return y.with_shape((*y.shape[: y.rank - self.count], *self.extents))

    @quiet
    def reference(self, y: Array, places: Array) -> Any:
        return self._put_with(y, places, self.sum_terms)

    def eager(self, y: Array, places: Array) -> Any:
        """Added in place, in the order of the taps."""
        return self._put_with(y, places, self.sum_in_place)

    def _put_with(self, y: Array, places: Array, accumulate: Callable[..., Array]) -> Array:
        """Put the windows' values into the image at the positions of their maxima."""
        lead = y.ndim - self.count

        def tap_values(tap: tuple[int, ...]) -> Array:
            place = int(np.ravel_multi_index(tap, self.taps))
            return np.asarray(np.where(places == place, y, y.dtype.type(0)))

        return accumulate(y.shape[:lead], y.shape[lead:], y.dtype, tap_values)

    def transpose_rule(self, ct: Any, x: Any, places: Any) -> Any:
        return self.same_windows(WindowTake, x.shape[x.ndim - self.count :])(ct, places)

"""Windows over the last axes of an image: their geometry, and which elements each tap reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from staticgrad.errors import ArgumentError, DTypeError, RankError, ShapeError
from staticgrad.ir.forms import WindowAxis
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.tensor import Shape, TensorType

#: A tap, the slices of the image that it reads, and of the windows that read them.
Tap = tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]


def check_geometry(op: str, strides: Sequence[int], *others: Sequence[Any]) -> None:
    """Refuse attributes of an op that do not say the same number of axes, and steps below 1."""
    if not strides or any(len(other) != len(strides) for other in others):
        raise RankError(f"{op}: a stride, a dilation and a size are needed for each axis")
    if min(*strides, *others[0]) < 1:
        raise ArgumentError(f"{op}: strides and dilations are 1 or more")


def window_axes(
    strides: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[Size],
    taps: Shape,
    image: Shape,
    windows: Shape,
) -> tuple[WindowAxis, ...]:
    """The axes of windows, of their attributes by axis."""
    described = zip(strides, dilation, before, taps, image, windows, strict=True)
    return tuple(WindowAxis(*each) for each in described)


def check_numbers(op: str, *types: TensorType) -> None:
    """Refuse operands of several dtypes, and bools."""
    first = types[0]
    if any(kind.dtype is not first.dtype for kind in types):
        met = ", ".join(str(kind.dtype.numpy) for kind in types)
        raise DTypeError(f"{op}: operands of {met}")
    if first.dtype.is_bool:
        raise DTypeError(f"{op}: takes numbers, not bools", hint="x.astype('float32')")


def check_windows(op: str, axes: Sequence[WindowAxis], first: int) -> None:
    """Refuse fewer windows than none; of named sizes, note the guard under which there is one.

    An image of no places may have no windows, and so may any whose named sizes are 0.
    """
    for number, axis in enumerate(axes, first):
        whole, windows = axis.reach + 1, axis.windows
        text = f"{op}: a window of {whole} over axis {number} of size {axis.image}"
        if not dims.at_least(windows, 0, text):
            raise ShapeError(text, hint="a window is no larger than the image and its border")
        if isinstance(axis.image, Dim) and windows != axis.image:
            names = [(1, Dim({(name,): 1})) for name in {*dims.named_sizes(axis.image)}]
            some = axis.image * dims.sum_of(names)
            dims.at_least(windows * some, some, text)


def has_windows(windows: Size, image: Size, text: str) -> bool:
    """Whether there may be a window over an image; one of no places may have none."""
    return dims.at_least(windows, 0, text) and dims.at_least(windows * image, image, text)


def last(places: Sequence[slice] | Sequence[int]) -> Any:
    """Places along the last axes, as NumPy indexes them."""
    return (..., *places)


def each_tap(axes: Sequence[WindowAxis]) -> Iterator[Tap]:
    """Every tap that reads an element of the image, in C order. Sizes must be integers."""
    for found in product(*(list(_along(axis)) for axis in axes)):
        taps, image, windows = zip(*found, strict=True)
        yield taps, image, windows


def _along(axis: WindowAxis) -> Iterator[tuple[int, slice, slice]]:
    step, taps, before = axis.step, int(axis.taps), int(axis.before)
    for tap in range(taps):
        shift = axis.dilation * tap - before  # the image's index for window 0
        low = max(0, -(shift // step))
        high = min(int(axis.windows), (int(axis.image) - 1 - shift) // step + 1)
        if low < high:
            first, last = step * low + shift, step * (high - 1) + shift
            yield tap, slice(first, last + 1, step), slice(low, high)

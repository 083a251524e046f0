"""The arguments of windows: strides, paddings and dilations by axis, and how many windows fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.ir.value import Value
from staticgrad.ops.operands import integer, related, shape_text, size_of
from staticgrad.ops.windows import has_windows
from staticgrad.records import dataclass
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.tensor import Shape

#: One for all axes, or one for each.
PerAxis = int | Sequence[int]
#: "valid", "same", or how many places before and after, in one number or a pair.
Padding = str | Size | Sequence[Size | tuple[Size, Size]]


@dataclass(frozen=True)
class Windows:
    """Windows by axis: ``extents`` of them over the image with its border of ``before``, ``after``.

    ``behind``: how far the last window reaches behind that border, for ``ceil_mode``.
    """

    taps: tuple[Any, ...]  # sizes; of pools integers
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: Shape
    after: Shape
    extents: Shape
    behind: Shape

    @property
    def inside(self) -> bool:
        """Return whether every window lies inside of the image."""
        return all(size == 0 for size in (*self.before, *self.after, *self.behind))


def windows_over(
    op: str,
    x: Value,
    taps: Shape,
    strides: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool = False,
) -> Windows:
    """The windows of ``taps`` over the last axes of x.

    With ``ceil_mode`` a last window may reach behind the border, if it begins before that.
    """
    count = len(taps)
    image = x.shape[x.ndim - count :]
    steps = per_axis(op, "stride", strides, count, x)
    apart = per_axis(op, "dilation", dilation, count, x)
    reaches = tuple(reach(k, d) for k, d in zip(taps, apart, strict=True))
    borders = _borders(op, padding, image, reaches, steps, x)
    extents, behind = [], []
    for axis, (size, (before, after), whole, step) in enumerate(
        zip(image, borders, reaches, steps, strict=True)
    ):
        text = (
            f"{op}: a window of {whole} over axis {x.ndim - count + axis} of size {size}"
            f" with a border of {before} and {after}"
        )
        room = size + before + after - whole
        found, over = room // step + 1, cast(Size, 0)
        if ceil_mode:
            found = dims.minimum((room + step - 1) // step + 1, (size + before + step - 1) // step)
            over = dims.maximum((found - 1) * step - room, 0)
        if padding != "same" and not has_windows(found, size, text):
            raise ShapeError(
                text,
                hint='padding="same", a smaller window, or less dilation',
                related=related(x),
            )
        extents.append(found)
        behind.append(over)
    befores, afters = zip(*borders, strict=True)
    return Windows(taps, steps, apart, befores, afters, tuple(extents), tuple(behind))


def reach(taps: Size, dilation: int) -> Size:
    """From the first to the last element of a window, both included."""
    return dilation * (taps - 1) + 1


def per_axis(op: str, what: str, given: PerAxis, count: int, *values: Value) -> tuple[int, ...]:
    """An argument as one positive int for each axis."""
    found = tuple(given) if isinstance(given, list | tuple) else (given,) * count
    if len(found) != count:
        raise RankError(
            f"{op}: {what}={shown(given)} for {count} ax{'i' if count == 1 else 'e'}s",
            hint="one number for all, or one for each axis of the image",
            related=related(*values),
        )
    numbers = tuple(integer(op, what, each, *values) for each in found)
    if any(number < 1 for number in numbers):
        raise ArgumentError(f"{op}: {what}={shown(given)}: it is 1 or more")
    return numbers


def _borders(
    op: str, padding: Padding, image: Shape, reaches: Shape, steps: tuple[int, ...], x: Value
) -> list[tuple[Size, Size]]:
    if padding == "valid":
        return [(0, 0)] * len(image)
    if padding == "same":
        return [_same(*each) for each in zip(image, reaches, steps, strict=True)]
    if isinstance(padding, str):
        raise ArgumentError(
            f"{op}: padding={shown(padding)}",
            hint='"valid", "same", a number, or one number or pair for each axis',
        )
    given: Sequence[Any] = padding if isinstance(padding, list | tuple) else [padding] * len(image)
    if len(given) != len(image):
        raise RankError(
            f"{op}: padding={shown(padding)} for {len(image)} axes of the image",
            hint="one number or (before, after) for each",
            related=related(x),
        )
    return [_pair(op, each, x) for each in given]


def _pair(op: str, given: Any, x: Value) -> tuple[Size, Size]:
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(pair) != 2:
        raise ArgumentError(f"{op}: padding={shown(given)} of an axis is no pair (before, after)")
    return size_of(op, pair[0], x), size_of(op, pair[1], x)


def _same(size: Size, whole: Size, step: int) -> tuple[Size, Size]:
    """A border with which there is a window for every ``step`` elements, the odd one after."""
    count = (size + step - 1) // step
    missing = dims.maximum((count - 1) * step + whole - size, 0)
    return missing // 2, missing - missing // 2


def spatial(op: str, x: Value, others: int, what: str = "the image") -> int:
    """Return how many axes an image has beside ``others`` in front."""
    if x.ndim <= others:
        raise RankError(
            f"{op}: {what} {shape_text(x.shape)} has no axis behind its first {others}",
            hint="[batch, channels, places...]",
            related=related(x),
        )
    return x.ndim - others


def literal_taps(op: str, window: PerAxis, count: int, x: Value) -> tuple[int, ...]:
    """A window's taps by axis."""
    if isinstance(window, Dim):
        raise ArgumentError(f"{op}: the window {window} is a named size, not an integer")
    return per_axis(op, "kernel_size", window, count, x)

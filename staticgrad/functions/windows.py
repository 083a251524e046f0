"""Windows over the last axes of an image: how many there are, with which border around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.language.calls.arguments import Argument
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.operands import (
    describe_operands,
    integer,
    shape_text,
    size_of,
)
from staticgrad.language.ops.windows import has_windows
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size
from staticgrad.support.records import dataclass


def _per_axis(what: str, argument: Any) -> Any:
    """Read an argument that is one positive int for all axes, or one for each."""
    if isinstance(argument, list | tuple):
        return tuple([integer(what, size, least=1) for size in argument])
    return integer(what, argument, least=1)


#: One number for all axes, or one for each.
PerAxis = Annotated[int | Sequence[int], Argument(_per_axis)]
#: "valid", "same", or how many places before and after, in one number or a pair.
Padding = str | Size | Sequence[Size | tuple[Size, Size]]


@dataclass(frozen=True)
class Windows:
    """Windows by axis: ``extents`` of them over the image with its border of ``before``, ``after``.

    ``overhangs``: how far the last window reaches beyond that border, for ``ceil_mode``.
    """

    taps: tuple[Any, ...]  # sizes; of pools integers
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    before: Shape
    after: Shape
    extents: Shape
    overhangs: Shape

    @property
    def inside(self) -> bool:
        """Return whether every window lies inside of the image."""
        return all(size == 0 for size in (*self.before, *self.after, *self.overhangs))


def windows_over(
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
    shape = x.shape
    rank, image = len(shape), shape[-count:]
    steps = per_axis("stride", strides, count, x)
    dilations = per_axis("dilation", dilation, count, x)
    reaches = tuple([reach(k, d) for k, d in zip(taps, dilations, strict=True)])
    borders = _read_padding(padding, image, reaches, steps, x)
    extents, overhangs = [], []
    for axis, (size, (pad_before, pad_after), span, step) in enumerate(
        zip(image, borders, reaches, steps, strict=True)
    ):
        room = size + pad_before + pad_after - span
        window_count, overhang = room // step + 1, cast(Size, 0)
        if ceil_mode:
            window_count = dims.minimum(
                (room + step - 1) // step + 1, (size + pad_before + step - 1) // step
            )
            overhang = dims.maximum((window_count - 1) * step - room, 0)
        if padding != "same" and not (
            window_count.__class__ is size.__class__ is int and window_count > 0
        ):
            text = (
                f"{called_name()}: a window of {span} over axis {rank - count + axis} of size"
                f" {size} with a border of {pad_before} and {pad_after}"
            )
            if not has_windows(window_count, size, text):
                raise ShapeError(
                    text,
                    hint='padding="same", a smaller window, or less dilation',
                    related=describe_operands(x),
                )
        extents.append(window_count)
        overhangs.append(overhang)
    befores, afters = zip(*borders, strict=True)
    return Windows(taps, steps, dilations, befores, afters, tuple(extents), tuple(overhangs))


def reach(taps: Size, dilation: int) -> Size:
    """Return the number of elements from the first to the last tap of a window, both included."""
    return dilation * (taps - 1) + 1


def per_axis(what: str, argument: Any, count: int, *values: Value) -> tuple[int, ...]:
    """A ``PerAxis`` argument as one int for each axis."""
    result = tuple(argument) if isinstance(argument, list | tuple) else (argument,) * count
    if len(result) != count:
        raise RankError(
            f"{called_name()}: {what}={quote(argument)} for {count}"
            f" ax{'i' if count == 1 else 'e'}s",
            hint="one number for all, or one for each axis of the image",
            related=describe_operands(*values),
        )
    return result


def _read_padding(
    padding: Padding, image: Shape, reaches: Shape, steps: tuple[int, ...], x: Value
) -> list[tuple[Size, Size]]:
    """Return an image's padding per axis: "valid", "same" or numbers."""
    if padding == "valid":
        return [(0, 0)] * len(image)
    if padding == "same":
        return [_same(*axis_sizes) for axis_sizes in zip(image, reaches, steps, strict=True)]
    if isinstance(padding, str):
        raise ArgumentError(
            f"{called_name()}: padding={quote(padding)}",
            hint='"valid", "same", a number, or one number or pair for each axis',
        )
    if not isinstance(padding, list | tuple):
        return [(size_of(padding, x),) * 2] * len(image)
    if len(padding) != len(image):
        raise RankError(
            f"{called_name()}: padding={quote(padding)} for {len(image)} axes of the image",
            hint="one number or (before, after) for each",
            related=describe_operands(x),
        )
    return [_pair(entry, x) for entry in padding]


def _pair(entry: Any, x: Value) -> tuple[Size, Size]:
    pair = tuple(entry) if isinstance(entry, list | tuple) else (entry, entry)
    if len(pair) != 2:
        raise ArgumentError(
            f"{called_name()}: padding={quote(entry)} of an axis is not a pair (before, after)"
        )
    return size_of(pair[0], x), size_of(pair[1], x)


def _same(size: Size, span: Size, step: int) -> tuple[Size, Size]:
    """Return the padding that gives a window for every ``step`` elements, the odd one after."""
    count = (size + step - 1) // step
    missing = dims.maximum((count - 1) * step + span - size, 0)
    return missing // 2, missing - missing // 2


def spatial(x: Value, others: int, what: str = "the image") -> int:
    """Return how many axes an image has beside ``others`` in front."""
    rank = x.ndim
    if rank <= others:
        raise RankError(
            f"{called_name()}: {what} {shape_text(x.shape)} has no axis behind its first {others}",
            hint="[batch, channels, places...]",
            related=describe_operands(x),
        )
    return rank - others


def literal_taps(window: PerAxis, count: int, x: Value) -> tuple[int, ...]:
    """A window's taps by axis."""
    return per_axis("kernel_size", window, count, x)

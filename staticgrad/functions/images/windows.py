"""Convolutions, and windows, over images [batch, channels, places...] of any number of axes.

Filters are [output channels, channels of a group, taps...], as PyTorch has them. Written with the
ops of ``ops/convolution.py`` and ``ops/windows.py``. Public as ``sg.nn``.
"""

from __future__ import annotations

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.functions.images.arguments import (
    Padding,
    PerAxis,
    literal_taps,
    per_axis,
    reach,
    spatial,
    windows_over,
)
from staticgrad.ir.calls import publish
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.convolution import Conv, ConvImage
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import broadcast_to, reshape
from staticgrad.ops.operands import (
    as_value,
    integer,
    promoted_values,
    related,
    shape_text,
)
from staticgrad.ops.windows import FoldWindows, UnfoldWindows
from staticgrad.types import dim as dims
from staticgrad.types.dim import Size
from staticgrad.types.tensor import Shape


def conv(
    x: Operand[AnyValue],
    w: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
) -> AnyValue:
    """The cross-correlation of images with filters: what networks call a convolution.

    Args:
        x: [n, c, image...], of one axis of places or more.
        w: [o, c / groups, taps...]; with ``groups`` c each channel has filters of its own.
        bias: [o], added.
        stride: places from one window to the next, for all axes or for each.
        padding: zeros around the image: "valid" none, "same" such that a stride of 1 keeps its size
            (of an odd number one more after), a number, or (before, after) for each axis.
        dilation: places from one tap to the next.
        groups: into which the channels fall; each is convolved apart.

    Returns:
        [n, o, windows...].

    Raises:
        ArgumentError: a stride or dilation below 1; groups that do not divide the channels.

    An image of no places gives none, unless a window is longer than its border and a stride.

    Three by three taps over many channels are computed in tiles of two by two results (Winograd's
    F(2x2, 3x3)), as exactly as others: there NaN and infinities reach all results of their tiles.
    What a tap reads of the border, and what strides leave out, may count as zero times the tap:
    NaN and infinities of filters and cotangents may reach results that only zeros belong to.

    >>> sg.evaluate(sg.nn.conv(np.arange(5.0).reshape(1, 1, 5), np.array([[[-1.0, 0.0, 1.0]]])))
    array([[[2., 2., 2.]]])
    """
    image, filters = promoted_values("conv", (x, w))
    _check_filters("conv", image, filters, groups)
    channels = image.shape[1]
    text = (
        f"conv: the image has {channels} channels, the filter takes"
        f" {groups * filters.shape[1]}{f' in {groups} groups' if groups > 1 else ''}"
    )
    if not dims.equal(channels, groups * filters.shape[1], text):
        raise ShapeError(
            text,
            details=[f"image {shape_text(image.shape)}, filter {shape_text(filters.shape)}"],
            hint="filters are [output channels, channels / groups, taps...], images [n, channels,"
            " places...]: x.transpose(0, 3, 1, 2) of [n, height, width, channels]",
            related=related(image, filters),
        )
    found = windows_over("conv", image, filters.shape[2:], stride, padding, dilation)
    op = Conv(found.strides, found.dilation, found.before, found.extents, groups)
    out = filters.shape[0]
    filters = _of_groups(filters, 0, groups * (out // groups), groups)
    image = _of_groups(image, 1, groups * filters.shape[1], groups)
    return _biased("conv", _of_groups(op(image, filters), 1, out, groups), bias)


def conv_transpose(
    x: Operand[AnyValue],
    w: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
    output_padding: int | tuple[int, ...] = 0,
) -> AnyValue:
    """``conv`` transposed: every element of x spreads over a window of the result.

    The gradient of ``conv`` by its image, as a function. Strides make the result larger.

    Args:
        x: [n, c, places...].
        w: [c, o / groups, taps...].
        bias: [o], added.
        stride, dilation, groups: those of the ``conv`` that is transposed.
        padding: its border, which the result does not have. With "same" the result has ``stride``
            times the places of x.
        output_padding: further places at the end of each axis, where several sizes have x as
            their result.

    Returns:
        [n, o, image...].

    >>> w = np.array([[[1.0, 2.0]]])
    >>> sg.evaluate(sg.nn.conv_transpose(np.array([[[1.0, 10.0]]]), w, stride=2))
    array([[[ 1.,  2., 10., 20.]]])
    """
    image, filters = promoted_values("conv_transpose", (x, w))
    _check_transposed(image, filters, groups)
    count, taps = filters.ndim - 2, filters.shape[2:]
    steps = per_axis("conv_transpose", "stride", stride, count, image)
    apart = per_axis("conv_transpose", "dilation", dilation, count, image)
    wholes = [reach(k, d) for k, d in zip(taps, apart, strict=True)]
    further = output_padding if isinstance(output_padding, tuple) else (output_padding,) * count
    if len(further) != count or any(
        integer("conv_transpose", "output_padding", m) < 0 for m in further
    ):
        raise ArgumentError(
            f"conv_transpose: output_padding={shown(output_padding)} for {count} axes: 0 or more"
        )
    spread = [
        (size - 1) * step + whole
        for size, step, whole in zip(image.shape[2:], steps, wholes, strict=True)
    ]
    before, extents = _cropped(image, padding, spread, steps, wholes, further)
    whole = groups * (filters.shape[0] // groups)
    filters, image = (
        _of_groups(filters, 0, whole, groups),
        _of_groups(image, 1, whole, groups),
    )
    return _biased(
        "conv_transpose",
        ConvImage(steps, apart, before, extents, groups)(image, filters),
        bias,
    )


def _check_transposed(image: AnyValue, filters: AnyValue, groups: int) -> None:
    _check_filters("conv_transpose", image, filters, groups)
    text = f"conv_transpose: x has {image.shape[1]} channels, the filter takes {filters.shape[0]}"
    if not dims.equal(image.shape[1], filters.shape[0], text):
        raise ShapeError(
            text,
            hint="filters are [channels of x, output channels / groups, taps...]",
            related=related(image, filters),
        )


def _further(output_padding: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    given = output_padding if isinstance(output_padding, tuple) else (output_padding,) * count
    found = tuple(integer("conv_transpose", "output_padding", each) for each in given)
    if len(found) != count or any(each < 0 for each in found):
        raise ArgumentError(
            f"conv_transpose: output_padding={shown(output_padding)} for {count} axes: 0 or more"
        )
    return found


def _cropped(
    x: AnyValue,
    padding: Padding,
    spread: list[Size],
    steps: tuple[int, ...],
    wholes: list[Size],
    more: tuple[int, ...],
) -> tuple[Shape, Shape]:
    """What a transposed convolution leaves out before each axis, and the sizes of its result."""
    if padding == "same":
        kept = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
        missing = [dims.maximum(w - s, 0) for w, s in zip(wholes, steps, strict=True)]
        extents = tuple(k + m for k, m in zip(kept, more, strict=True))
        return tuple(m // 2 for m in missing), extents
    if isinstance(padding, str) and padding != "valid":
        raise ArgumentError(f"conv_transpose: padding={shown(padding)}", hint='"valid" or "same"')
    pads = windows_over("conv_transpose", x, (1,) * len(spread), 1, padding, 1)
    sizes: list[Size] = []
    borders = zip(pads.before, pads.after, more, strict=True)
    for places, size, (low, high, further) in zip(x.shape[2:], spread, borders, strict=True):
        text = f"conv_transpose: a border of {low} and {high} leaves nothing of {size + further}"
        left = size + further - low - high
        if not dims.at_least(places * left, 0, text):
            raise ShapeError(text, related=related(x))
        sizes.append(dims.maximum(left, 0))  # less where there is no place to spread
    return pads.before, tuple(sizes)


def _check_filters(op: str, x: AnyValue, w: AnyValue, groups: int) -> None:
    spatial(op, x, 2)
    if x.ndim != w.ndim:
        raise RankError(
            f"{op}: an image {shape_text(x.shape)} and a filter {shape_text(w.shape)}",
            hint="both have as many axes: [n, c, places...] and [o, c / groups, taps...]"
            + ("\none image is a batch of one: x[None]" if x.ndim + 1 == w.ndim else ""),
            related=related(x, w),
        )
    if integer(op, "groups", groups, x) < 1:
        raise ArgumentError(f"{op}: groups={groups}: it is 1 or more")
    if any(size == 0 for size in w.shape[2:]):
        raise ShapeError(f"{op}: a filter {shape_text(w.shape)} without taps", related=related(w))
    if groups > 1 and isinstance(w.shape[0], int) and w.shape[0] % groups:
        raise ArgumentError(
            f"{op}: {groups} groups do not divide the {w.shape[0]} filters",
            hint="each group has as many",
            related=related(x, w),
        )


def _of_groups(x: AnyValue, axis: int, size: Size, groups: int) -> AnyValue:
    """x whose channels are ``size``, a multiple of the groups: noted where a run decides it."""
    if groups == 1 or x.shape[axis] == size:
        return x
    return reshape(x, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


def _biased(op: str, out: AnyValue, bias: Operand[AnyValue] | None) -> AnyValue:
    if bias is None:
        return out
    row = as_value(op, bias, type(out))
    text = f"{op}: a bias of {shape_text(row.shape)} for {out.shape[1]} channels"
    if row.ndim != 1 or not dims.equal(row.shape[0], out.shape[1], text):
        raise ShapeError(
            text, hint="a bias has one element per output channel", related=related(row)
        )
    added: AnyValue = out + reshape(row, (1, row.shape[0], *(1,) * (out.ndim - 2)))
    return added


# -- windows themselves ---------------------------------------------------------------------------


def unfold(
    x: Operand[AnyValue],
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """All windows of [n, c, places...], side by side; zeros in the border.

    Args:
        x: [n, c, places...].
        kernel_size: taps of a window, for all axes of places or for each.
        stride, padding, dilation: as ``conv``.

    Returns:
        [n, c, taps..., windows...].

    >>> sg.evaluate(sg.nn.unfold(np.arange(4.0).reshape(1, 1, 4), 2))
    array([[[[0., 1., 2.],
             [1., 2., 3.]]]])
    """
    value = as_value("unfold", x)
    taps = literal_taps("unfold", kernel_size, spatial("unfold", value, 2), value)
    found = windows_over("unfold", value, taps, stride, padding, dilation)
    return UnfoldWindows(taps, found.strides, found.dilation, found.before, found.extents)(value)


def fold(
    y: Operand[AnyValue],
    extents: Size | tuple[Size, ...],
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """``unfold`` transposed: [n, c, taps..., windows...] added up where they overlap.

    Args:
        y: as many axes of windows as of taps; the taps are integers.
        extents: the sizes of the image, for all axes or for each.
        stride, padding, dilation: those of the ``unfold`` that is transposed.

    Returns:
        [n, c, extents...].

    >>> windows = sg.nn.unfold(np.arange(4.0).reshape(1, 1, 4), 2)
    >>> sg.evaluate(sg.nn.fold(windows, 4))
    array([[[0., 2., 4., 3.]]])
    """
    value = as_value("fold", y)
    count = spatial("fold", value, 2, "the windows") // 2
    if value.ndim != 2 + 2 * count or not count:
        raise RankError(
            f"fold: {shape_text(value.shape)} is not [n, c, taps..., windows...]",
            related=related(value),
        )
    sizes = extents if isinstance(extents, tuple) else (extents,) * count
    taps = tuple(integer("fold", "taps", size, value) for size in value.shape[2 : 2 + count])
    image = broadcast_to(functions.zeros((), value.dtype, like=value), (1, 1, *sizes))
    found = windows_over("fold", image, taps, stride, padding, dilation)
    for size, wanted in zip(value.shape[2 + count :], found.extents, strict=True):
        text = f"fold: {size} windows, where an image of {shape_text(sizes)} has {wanted}"
        if not dims.equal(size, wanted, text):
            raise ShapeError(text, related=related(value))
    return FoldWindows(taps, found.strides, found.dilation, found.before, sizes)(value)


publish(globals(), __name__, ("conv", "conv_transpose", "fold", "unfold"))

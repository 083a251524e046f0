"""Convolutions, windows and pools over images [batch, channels, places...] of any number of axes.

Filters are [output channels, channels of a group, taps...], as PyTorch has them. Written with the
ops of ``ops/convolution.py`` and ``ops/windows.py``. Public as ``sg.nn``.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, Final

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    Dim,
    PositiveFloat,
    PositiveInt,
    Shape,
    Size,
    as_value,
    called_name,
    check_equal,
    check_vector,
    describe_operands,
    floating,
    integer,
    like,
    promoted_values,
    quote,
    rounded_once,
    shape_text,
    sizes as dims,
)
from staticgrad.extend.functions import mean
from staticgrad.extend.ops import (
    absolute,
    broadcast_to,
    flat_root,
    reshape,
    stack,
    take,
    where,
)
from staticgrad.extend.windows import (
    Padding,
    PerAxis,
    Windows,
    literal_taps,
    per_axis,
    reach,
    spatial,
    windows_over,
)
from staticgrad.functions import aggregate, creation
from staticgrad.language.ops import basic
from staticgrad.language.ops.convolution import Conv, ConvImage
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.windows import (
    FoldWindows,
    UnfoldWindows,
    WindowMax,
    WindowSum,
)


@rounded_once
def conv(
    x: ArrayLike[AnyValue],
    w: ArrayLike[AnyValue],
    bias: ArrayLike[AnyValue] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: PositiveInt = 1,
) -> AnyValue:
    """Compute the cross-correlation of images with filters, called convolution in networks.

    Args:
        x: [n, c, image...], of one axis of places or more.
        w: [o, c / groups, taps...]; with ``groups`` c each channel has filters of its own.
        bias: [o], added.
        stride: the offset from one window to the next, for all axes or for each.
        padding: zeros around the image: "valid" adds none, "same" keeps the size if the stride is 1
            (of an odd number one more after), a number, or (before, after) for each axis.
        dilation: places from one tap to the next.
        groups: into which the channels fall; each is convolved apart.

    Returns:
        [n, o, windows...].

    An empty image gives an empty result, unless a window is longer than its border plus a stride.

    Filters of 3x3 to 9x9 taps over many channels are computed in tiles of 2x2 results (Winograd's
    F(2x2, 3x3), of pieces of the taps), as exactly as others: there NaN and infinities reach all
    results of their tiles.
    What a tap reads of the border, and what strides leave out, may count as zero times the tap:
    NaN and infinities of filters and cotangents may reach results that only zeros belong to.

    >>> sg.evaluate(sg.nn.conv(np.arange(5.0).reshape(1, 1, 5), np.array([[[-1.0, 0.0, 1.0]]])))
    array([[[2., 2., 2.]]])
    """
    image, filters = promoted_values((x, w))
    _check_filters(image, filters, groups)
    channels, (out, group_channels, *taps) = image.shape[1], filters.shape
    if channels != groups * group_channels:
        text = (
            f"conv: the image has {channels} channels, the filter takes"
            f" {groups * group_channels}{f' in {groups} groups' if groups > 1 else ''}"
        )
        check_equal(
            text,
            channels,
            groups * group_channels,
            image,
            filters,
            details=[f"image {shape_text(image.shape)}, filter {shape_text(filters.shape)}"],
            hint="filters are [output channels, channels / groups, taps...], images [n, channels,"
            " places...]: x.transpose(0, 3, 1, 2) of [n, height, width, channels]",
        )
    windows = windows_over(image, tuple(taps), stride, padding, dilation)
    op = Conv(windows.strides, windows.dilation, windows.before, windows.extents, groups)
    if groups == 1:
        return _add_bias(op(image, filters), bias)
    filters = _resize_group_axis(filters, 0, groups * (out // groups))
    image = _resize_group_axis(image, 1, groups * group_channels)
    return _add_bias(_resize_group_axis(op(image, filters), 1, out), bias)


@rounded_once
def conv_transpose(
    x: ArrayLike[AnyValue],
    w: ArrayLike[AnyValue],
    bias: ArrayLike[AnyValue] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: PositiveInt = 1,
    output_padding: int | tuple[int, ...] = 0,
) -> AnyValue:
    """``conv`` transposed: every element of x spreads over a window of the result.

    The gradient of ``conv`` by its image, as a function. Strides make the result larger.

    Args:
        x, w, bias: [n, c, places...], [c, o / groups, taps...] and [o].
        stride, dilation, groups: those of the ``conv`` that is transposed.
        padding: its border, which the result does not have. With "same" the result has ``stride``
            times the places of x.
        output_padding: further places at the end of each axis, where several sizes have x as
            their result.

    Returns:
        [n, o, image...].

    >>> sg.nn.conv_transpose([[[1.0, 2.0]]], [[[1.0, 1.0, 1.0]]]).round(3)
    array([[[1., 3., 3., 2.]]])
    """
    image, filters = promoted_values((x, w))
    _check_filters(image, filters, groups)
    text = f"conv_transpose: x has {image.shape[1]} channels, the filter takes {filters.shape[0]}"
    hint = "filters are [channels of x, output channels / groups, taps...]"
    check_equal(text, image.shape[1], filters.shape[0], image, filters, hint=hint)
    count, taps = filters.ndim - 2, filters.shape[2:]
    steps = per_axis("stride", stride, count, image)
    dilations = per_axis("dilation", dilation, count, image)
    wholes = [reach(k, d) for k, d in zip(taps, dilations, strict=True)]
    paddings = output_padding if isinstance(output_padding, tuple) else (output_padding,) * count
    for extra in paddings:
        integer("output_padding", extra, least=0)
    if len(paddings) != count:
        raise ArgumentError(
            f"conv_transpose: output_padding={quote(output_padding)} for {count} axes"
        )
    spread_sizes = [
        (size - 1) * step + span
        for size, step, span in zip(image.shape[2:], steps, wholes, strict=True)
    ]
    cropped, extents = _crop_sizes(image, padding, spread_sizes, steps, wholes, paddings)
    if groups > 1:
        channels = groups * (filters.shape[0] // groups)
        filters, image = (
            _resize_group_axis(filters, 0, channels),
            _resize_group_axis(image, 1, channels),
        )
    return _add_bias(
        ConvImage(steps, dilations, cropped, extents, groups)(image, filters),
        bias,
    )


def _crop_sizes(
    x: AnyValue,
    padding: Padding,
    spread_sizes: list[Size],
    steps: tuple[int, ...],
    wholes: list[Size],
    output_paddings: tuple[int, ...],
) -> tuple[Shape, Shape]:
    """Return the crop before each axis and the result sizes of a transposed convolution."""
    if padding == "same":
        base_sizes = [size * step for size, step in zip(x.shape[2:], steps, strict=True)]
        missing = [dims.maximum(w - s, 0) for w, s in zip(wholes, steps, strict=True)]
        extents = tuple(k + m for k, m in zip(base_sizes, output_paddings, strict=True))
        return tuple(m // 2 for m in missing), extents
    if isinstance(padding, str) and padding != "valid":
        raise ArgumentError(f"conv_transpose: padding={quote(padding)}", hint='"valid" or "same"')
    pads = windows_over(x, (1,) * len(spread_sizes), 1, padding, 1)
    sizes: list[Size] = []
    borders = zip(pads.before, pads.after, output_paddings, strict=True)
    for places, size, (low, high, extra) in zip(x.shape[2:], spread_sizes, borders, strict=True):
        text = f"conv_transpose: a border of {low} and {high} leaves nothing of {size + extra}"
        left = size + extra - low - high
        if not dims.at_least(places * left, 0, text):
            raise ShapeError(text, related=describe_operands(x))
        sizes.append(dims.maximum(left, 0))  # less where there is no place to spread
    return pads.before, tuple(sizes)


def _check_filters(x: AnyValue, w: AnyValue, groups: int) -> None:
    """Check the filter of a convolution against the image and groups."""
    count, taps = spatial(x, 2), w.shape[2:]
    if len(taps) != count:
        raise RankError(
            f"{called_name()}: an image {shape_text(x.shape)} and a filter {shape_text(w.shape)}",
            hint="both have as many axes: [n, c, places...] and [o, c / groups, taps...]"
            + ("\none image is a batch of one: x[None]" if x.ndim + 1 == w.ndim else ""),
            related=describe_operands(x, w),
        )
    if 0 in taps:
        raise ShapeError(
            f"{called_name()}: a filter {shape_text(w.shape)} without taps",
            related=describe_operands(w),
        )
    if groups > 1 and isinstance(w.shape[0], int) and w.shape[0] % groups:
        raise ArgumentError(
            f"{called_name()}: {groups} groups do not divide the {w.shape[0]} filters",
            hint="each group has as many",
            related=describe_operands(x, w),
        )


def _resize_group_axis(x: AnyValue, axis: int, size: Size) -> AnyValue:
    if x.shape[axis] == size:
        return x
    return reshape(x, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


def _add_bias(out: AnyValue, bias: ArrayLike[AnyValue] | None) -> AnyValue:
    """Add a bias for each channel to a convolution's result."""
    if bias is None:
        return out
    row = as_value(bias, type(out))
    sizes, (_, channels, *places) = row.shape, out.shape
    if sizes != (channels,):
        text = f"{called_name()}: a bias of {shape_text(sizes)} for {channels} channels"
        hint = "a bias has one element per output channel"
        check_vector(text, row, channels, hint=hint)
    return out + basic.reshape(row, (1, *sizes, *[1] * len(places)))


# -- windows themselves ---------------------------------------------------------------------------


def unfold(
    x: ArrayLike[AnyValue],
    kernel_size: PerAxis,
    *,
    stride: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """Extract all windows of [n, c, spatial...] (im2col); the border is filled with zeros.

    ``kernel_size`` are the taps, for all axes or for each; the other arguments are as of ``conv``.

    Returns:
        [n, c, taps..., windows...].

    >>> sg.nn.unfold(np.arange(9.0).reshape(1, 1, 3, 3), 2).shape
    (1, 1, 2, 2, 2, 2)
    """
    value = as_value(x)
    taps = literal_taps(kernel_size, spatial(value, 2), value)
    windows = windows_over(value, taps, stride, padding, dilation)
    return UnfoldWindows(taps, windows.strides, windows.dilation, windows.before, windows.extents)(
        value
    )


def fold(
    y: ArrayLike[AnyValue],
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
    value = as_value(y)
    count = spatial(value, 2, "the windows") // 2
    if value.ndim != 2 + 2 * count or not count:
        raise RankError(
            f"fold: {shape_text(value.shape)} is not [n, c, taps..., windows...]",
            related=describe_operands(value),
        )
    sizes = extents if isinstance(extents, tuple) else (extents,) * count
    taps = tuple(integer("taps", size, value) for size in value.shape[2 : 2 + count])
    image = broadcast_to(creation.zeros((), value.dtype, like=value), (1, 1, *sizes))
    windows = windows_over(image, taps, stride, padding, dilation)
    for size, expected in zip(value.shape[2 + count :], windows.extents, strict=True):
        text = f"fold: {size} windows, where an image of {shape_text(sizes)} has {expected}"
        check_equal(text, size, expected, value)
    return FoldWindows(taps, windows.strides, windows.dilation, windows.before, sizes)(value)


#: Taps that one kernel takes at each place, at most: windows of more are taken axis by axis.
MOST_TAPS: Final = 64


def max_pool(
    x: ArrayLike[AnyValue],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> AnyValue:
    """Compute the largest element of each window of [n, c, spatial...]; NaN wins.

    Args:
        x: [n, c, places...].
        kernel_size: taps of a window, for all axes of places or for each.
        stride: places from one window to the next: by default as many as taps, so that windows do
            not overlap.
        padding: as ``conv``; padding elements are never the largest.
        dilation: places from one tap to the next.
        ceil_mode: whether a last window that begins inside of the image or its border counts
            although it reaches further; elements that are not there do not take part.

    Returns:
        [n, c, windows...]. If elements are equal, the first receives the gradient.

    >>> sg.evaluate(sg.nn.max_pool(np.arange(16.0).reshape(1, 1, 4, 4), 2))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    value = as_value(x)
    windows = _pool_windows(value, kernel_size, stride, padding, dilation, ceil_mode)
    return _pool_axes(WindowMax, value, windows)


@like(max_pool)
@rounded_once
def avg_pool(
    x: ArrayLike[AnyValue],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> AnyValue:
    """The mean of each window of [n, c, places...].

    Args:
        padding: as ``conv``.
        count_include_pad: whether zeros of the border count, as in ``torch``. What ``ceil_mode``
            adds behind the border never counts.

    Returns:
        [n, c, windows...], floating.

    >>> sg.nn.avg_pool([[[1.0, 3.0, 5.0, 7.0]]], 2).round(3)
    array([[[2., 6.]]])
    """
    value = floating(x)
    windows = _pool_windows(value, kernel_size, stride, padding, dilation, ceil_mode)
    total = _pool_axes(WindowSum, value, windows)
    extents = value.shape[2:]
    if count_include_pad:  # windows are counted over the image with its border
        borders = zip(extents, windows.before, windows.after, strict=True)
        extents = tuple(size + low + high for size, low, high in borders)
        zeros = (0,) * len(extents)
        windows = replace(windows, before=zeros, after=zeros)
    if windows.inside:
        return total * (1.0 / prod(windows.taps))
    return total / _counts(value, extents, windows)


def _counts(x: AnyValue, image: Shape, windows: Windows) -> Any:
    counts: Any = 1.0
    for axis, size in enumerate(image):
        ones = creation.ones((size,), x.dtype, like=x)
        shape = tuple(size if k == axis else 1 for k, size in enumerate(windows.extents))
        counts = reshape(_pool_axis(WindowSum, ones, windows, axis, 0), shape) * counts
    return counts


@like(max_pool)
@rounded_once
def lp_pool(
    x: ArrayLike[AnyValue],
    p: PositiveFloat,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> AnyValue:
    """Compute (sum of abs(x) ** p) ** (1 / p) over each window of [n, c, spatial...].

    The gradient of a window of zeros is 0, as for ``sg.norm``.

    Args:
        p: a positive number; ``max_pool`` of magnitudes is its limit.
        padding: as ``conv``; zeros.

    >>> sg.nn.lp_pool([[[3.0, 4.0, 0.0, 2.0]]], 2, 2).round(3)
    array([[[5., 2.]]])
    """
    value = floating(x)
    windows = _pool_windows(value, kernel_size, stride, padding, dilation, ceil_mode)
    powers = value * value if p == 2 else absolute(value)
    if p not in (1, 2):
        powers = powers**p if p > 1 else where(powers == 0.0, 0.0, powers**p)
    total = _pool_axes(WindowSum, powers, windows)
    return total if p == 1 else flat_root(total, p)


def adaptive_max_pool(x: ArrayLike[AnyValue], extents: PerAxis) -> AnyValue:
    """The largest elements of [n, c, places...] in ``extents`` parts of equal size, nearly.

    Part i of m over h places has those from floor(i h / m) to ceil((i + 1) h / m), as PyTorch has
    it; where m divides h they have equal size and do not overlap. ``extents`` is for all axes of
    places or for each.

    >>> sg.nn.adaptive_max_pool([[[1.0, 3.0, 5.0, 7.0]]], 2).round(3)
    array([[[3., 7.]]])
    """
    value = as_value(x)
    return _pool_adaptively("max", value, extents)


@rounded_once
def adaptive_avg_pool(x: ArrayLike[AnyValue], extents: PerAxis) -> AnyValue:
    """The means of [n, c, places...] in ``extents`` parts: as ``adaptive_max_pool``.

    >>> sg.nn.adaptive_avg_pool([[[1.0, 3.0, 5.0, 7.0]]], 2).round(3)
    array([[[2., 6.]]])
    """
    value = floating(x)
    return _pool_adaptively("mean", value, extents)


def _pool_adaptively(kind: str, x: AnyValue, extents: PerAxis) -> AnyValue:
    """Pool images adaptively to ``extents`` windows per axis."""
    count = spatial(x, 2)
    parts_per_axis = per_axis("extents", extents, count, x)
    combine = aggregate.max if kind == "max" else mean
    out = x
    for axis, parts in enumerate(parts_per_axis, 2):
        size = out.shape[axis]
        if isinstance(size, Dim):
            part_size = dims.divide_exactly(size, parts)
        else:
            part_size = size // parts if size and size % parts == 0 else None
        if part_size is not None:
            shape = (*out.shape[:axis], parts, part_size, *out.shape[axis + 1 :])
            out = combine(reshape(out, shape), axis + 1)
            continue
        if isinstance(size, Dim) or size == 0:
            raise ShapeError(
                f"{called_name()}: {parts} parts of axis {axis} of size {size}",
                hint="a named size must be a multiple of them: sg.dim(name, multiple_of=...)",
                related=describe_operands(x),
            )
        pieces = [
            combine(
                take(out, range(i * size // parts, -(-(i + 1) * size // parts)), axis),
                axis,
            )
            for i in range(parts)
        ]
        out = stack(pieces, axis)
    return out


def _pool_windows(
    x: AnyValue,
    kernel_size: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Windows:
    """Return the windows of a pool over images, with NumPy-like arguments checked."""
    taps = literal_taps(kernel_size, spatial(x, 2), x)
    steps = taps if stride is None else stride
    windows = windows_over(x, taps, steps, padding, dilation, ceil_mode)
    for size, low, high, k, d in zip(
        x.shape[2:], windows.before, windows.after, taps, windows.dilation, strict=True
    ):
        inside = all(isinstance(p, Dim) or p < reach(k, d) for p in (low, high))
        if not inside and size != 0:
            raise ShapeError(
                f"{called_name()}: a window of {k} taps lies wholly in a border of {low} and"
                f" {high}",
                hint="the border is smaller than a window",
                related=describe_operands(x),
            )
    return windows


def _pool_axes(kind: type[WindowMax | WindowSum], x: AnyValue, windows: Windows) -> AnyValue:
    """Pool windows at once, or axis by axis if a window has many elements."""
    if prod(windows.taps) <= MOST_TAPS:
        op = kind(windows.taps, windows.strides, windows.dilation, windows.before, windows.extents)
        return op(x)
    count = len(windows.taps)
    for axis in range(count):
        x = _pool_axis(kind, x, windows, axis, count - 1 - axis)
    return x


def _pool_axis(
    kind: type[WindowMax | WindowSum], x: AnyValue, windows: Windows, axis: int, trailing: int
) -> AnyValue:
    """Pool images along one axis, which has ``trailing`` axes after it."""
    trailing_sizes = x.shape[x.ndim - trailing :] if trailing else ()
    ones, zeros = (1,) * trailing, (0,) * trailing
    taps, strides = (windows.taps[axis], *ones), (windows.strides[axis], *ones)
    dilation, padding = (windows.dilation[axis], *ones), (windows.before[axis], *zeros)
    extents = (windows.extents[axis], *trailing_sizes)
    if windows.taps[axis] <= MOST_TAPS:
        return kind(taps, strides, dilation, padding, extents)(x)
    if kind is WindowMax and not windows.inside:
        return kind(taps, strides, dilation, padding, extents)(x)
    unfolded = UnfoldWindows(taps, strides, dilation, padding, extents)(x)
    place = unfolded.ndim - 2 * (trailing + 1)
    merged = reshape(
        unfolded, (*unfolded.shape[: place + 1], *unfolded.shape[place + 1 + trailing :])
    )
    return aggregate.max(merged, place) if kind is WindowMax else aggregate.sum(merged, place)

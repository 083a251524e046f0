"""Convolutions and pools over images [batch, channels, places...], of any number of places' axes.

Filters are [output channels, channels of a group, taps...], as PyTorch has them. Written with the
ops of ``ops/convolution.py`` and ``ops/windows.py``. Public as ``sg.nn``.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.functions.window_arguments import (
    Padding,
    PerAxis,
    Windows,
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
    floating,
    integer,
    is_number,
    promoted_values,
    related,
    shape_text,
)
from staticgrad.ops.windows import FoldWindows, UnfoldWindows, WindowMax, WindowSum
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.tensor import Shape

#: Taps that one kernel takes at each place, at most: windows of more are taken axis by axis.
MOST_TAPS: Final = 64


def conv(
    x: Operand[AnyValue],
    w: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
    *,
    strides: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
) -> AnyValue:
    """The cross-correlation of images with filters: what networks call a convolution.

    Args:
        x: [n, c, image...], of one axis of places or more.
        w: [o, c / groups, taps...]; with ``groups`` c each channel has filters of its own.
        bias: [o], added.
        strides: places from one window to the next, for all axes or for each.
        padding: zeros around the image: "valid" none, "same" such that strides of 1 keep its size
            (of an odd number one more after), a number, or (before, after) for each axis.
        dilation: places from one tap to the next.
        groups: into which the channels fall; each is convolved apart.

    Returns:
        [n, o, windows...].

    Raises:
        ShapeError: channels that do not fit the filter, an image smaller than a window.
        RankError: operands of other numbers of axes.
        ArgumentError: a stride or dilation below 1; groups that do not divide the channels.
        DTypeError: bools.
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
            hint="filters are [output channels, channels / groups, taps...]",
            related=related(image, filters),
        )
    found = windows_over("conv", image, filters.shape[2:], strides, padding, dilation)
    op = Conv(found.strides, found.dilation, found.before, found.extents, groups)
    return _biased("conv", op(image, filters), bias)


def conv_transpose(
    x: Operand[AnyValue],
    w: Operand[AnyValue],
    bias: Operand[AnyValue] | None = None,
    *,
    strides: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    groups: int = 1,
    more: int | tuple[int, ...] = 0,
) -> AnyValue:
    """``conv`` transposed: every element of x spreads over a window of the result.

    The gradient of ``conv`` with respect to its image, as a function. Strides make the result
    larger.

    Args:
        x: [n, c, places...].
        w: [c, o / groups, taps...].
        bias: [o], added.
        strides, dilation, groups: those of the ``conv`` that is transposed.
        padding: its border, which the result does not have. With "same" the result has ``strides``
            times the places of x.
        more: further places at the end of each axis, where several sizes have x as their result.

    Returns:
        [n, o, image...].

    Raises:
        ShapeError: channels that do not fit the filter, a border larger than the result.
        RankError, ArgumentError, DTypeError: as ``conv``.
    """
    image, filters = promoted_values("conv_transpose", (x, w))
    _check_filters("conv_transpose", image, filters, groups)
    text = f"conv_transpose: x has {image.shape[1]} channels, the filter takes {filters.shape[0]}"
    if not dims.equal(image.shape[1], filters.shape[0], text):
        raise ShapeError(
            text,
            hint="filters are [channels of x, output channels / groups, taps...]",
            related=related(image, filters),
        )
    count, taps = filters.ndim - 2, filters.shape[2:]
    steps = per_axis("conv_transpose", "strides", strides, count, image)
    apart = per_axis("conv_transpose", "dilation", dilation, count, image)
    wholes = [reach(k, d) for k, d in zip(taps, apart, strict=True)]
    further = more if isinstance(more, tuple) else (more,) * count
    if len(further) != count or any(integer("conv_transpose", "more", m) < 0 for m in further):
        raise ArgumentError(f"conv_transpose: more={shown(more)} for {count} axes: 0 or more each")
    spread = [
        (size - 1) * step + whole
        for size, step, whole in zip(image.shape[2:], steps, wholes, strict=True)
    ]
    before, extents = _cropped(image, padding, spread, steps, wholes, further)
    return _biased(
        "conv_transpose",
        ConvImage(steps, apart, before, extents, groups)(image, filters),
        bias,
    )


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
    for size, low, high, further in zip(spread, pads.before, pads.after, more, strict=True):
        text = f"conv_transpose: a border of {low} and {high} leaves nothing of {size + further}"
        if not dims.at_least(size + further, low + high, text):
            raise ShapeError(text, related=related(x))
        sizes.append(size + further - low - high)
    return pads.before, tuple(sizes)


def _check_filters(op: str, x: AnyValue, w: AnyValue, groups: int) -> None:
    spatial(op, x, 2)
    if x.ndim != w.ndim:
        raise RankError(
            f"{op}: an image {shape_text(x.shape)} and a filter {shape_text(w.shape)}",
            hint="both have as many axes: [n, c, places...] and [o, c / groups, taps...]",
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


# -- pools ----------------------------------------------------------------------------------------


def max_pool(
    x: Operand[AnyValue],
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """The largest element of each window of [n, c, places...]; NaN wins.

    Args:
        x: [n, c, places...].
        window: taps, for all axes of places or for each.
        strides: places from one window to the next: by default the window, so that none overlap.
        padding: as ``conv``; what is added never is the largest.
        dilation: places from one tap to the next.

    Returns:
        [n, c, windows...]. Of equal elements the first has the gradient.

    Raises:
        ShapeError: an image smaller than a window, a window inside of the border.
        RankError, ArgumentError, DTypeError: as ``conv``.
    """
    value = as_value("max_pool", x)
    found = _pool("max_pool", value, window, strides, padding, dilation)
    return _by_axes(WindowMax, value, found)


def avg_pool(
    x: Operand[AnyValue],
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "valid",
    count_padding: bool = False,
) -> AnyValue:
    """The mean of each window of [n, c, places...]; with ``count_padding`` zeros around count too.

    Other arguments and errors as ``max_pool``.
    """
    value = floating("avg_pool", x)
    found = _pool("avg_pool", value, window, strides, padding, 1)
    total = _by_axes(WindowSum, value, found)
    padded = any(size != 0 for size in (*found.before, *found.after))
    if count_padding or not padded:
        return total * (1.0 / prod(found.taps))
    return total / _counts(value, found)


def _counts(x: AnyValue, found: Windows) -> Any:
    """How many elements of the image each window has."""
    count = len(found.taps)
    counts: Any = 1.0
    for axis in range(count):
        ones = functions.ones((x.shape[x.ndim - count + axis],), x.dtype, like=x)
        shape = tuple(size if k == axis else 1 for k, size in enumerate(found.extents))
        counts = reshape(_along(WindowSum, ones, found, axis, 0), shape) * counts
    return counts


def lp_pool(
    x: Operand[AnyValue],
    p: float,
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: Padding = "valid",
) -> AnyValue:
    """(sum of abs(x) ** p) ** (1 / p) over each window of [n, c, places...].

    Other arguments and errors as ``max_pool``.

    Raises:
        ArgumentError: p that is no positive number.
    """
    if not is_number(p) or p <= 0:
        raise ArgumentError(f"lp_pool: p={shown(p)} is no positive number")
    value = floating("lp_pool", x)
    found = _pool("lp_pool", value, window, strides, padding, 1)
    if p == 1:
        return _by_axes(WindowSum, functions.absolute(value), found)
    powers = value * value if p == 2 else functions.absolute(value) ** p
    total = _by_axes(WindowSum, powers, found)
    return functions.sqrt(total) if p == 2 else total ** (1.0 / p)


def adaptive_max_pool(x: Operand[AnyValue], extents: int | tuple[int, ...]) -> AnyValue:
    """The largest elements of [n, c, places...] in ``extents`` parts of equal size, nearly.

    Part i of m over h places has those from floor(i h / m) to ceil((i + 1) h / m), as PyTorch has
    it; where m divides h they have equal size and do not overlap.

    Raises:
        ArgumentError: extents below 1.
        ShapeError: an axis without elements, or of a named size that they do not divide.
        RankError: not one for each axis of places.
    """
    value = as_value("adaptive_max_pool", x)
    return _adaptive("adaptive_max_pool", "max", value, extents)


def adaptive_avg_pool(x: Operand[AnyValue], extents: int | tuple[int, ...]) -> AnyValue:
    """The means of [n, c, places...] in ``extents`` parts: as ``adaptive_max_pool``."""
    value = floating("adaptive_avg_pool", x)
    return _adaptive("adaptive_avg_pool", "mean", value, extents)


def _adaptive(op: str, kind: str, x: AnyValue, extents: int | tuple[int, ...]) -> AnyValue:
    count = spatial(op, x, 2)
    wanted = per_axis(op, "extents", extents, count, x)
    combine = functions.max if kind == "max" else functions.mean
    out = x
    for axis, parts in enumerate(wanted, 2):
        size = out.shape[axis]
        whole = _divides(size, parts)
        if whole is not None:
            shape = (*out.shape[:axis], parts, whole, *out.shape[axis + 1 :])
            out = combine(reshape(out, shape), axis + 1)
            continue
        if isinstance(size, Dim) or size == 0:
            raise ShapeError(
                f"{op}: {parts} parts of axis {axis} of size {size}",
                hint="a named size must be a multiple of them: sg.dim(name, multiple_of=...)",
                related=related(x),
            )
        pieces = [
            combine(
                functions.take(out, range(i * size // parts, -(-(i + 1) * size // parts)), axis),
                axis,
            )
            for i in range(parts)
        ]
        out = functions.stack(pieces, axis)
    return out


def _divides(size: Size, parts: int) -> Size | None:
    if isinstance(size, Dim):
        return dims.divide_exactly(size, parts)
    return size // parts if size and size % parts == 0 else None


def _pool(
    op: str,
    x: AnyValue,
    window: PerAxis,
    strides: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
) -> Windows:
    taps = literal_taps(op, window, spatial(op, x, 2), x)
    found = windows_over(op, x, taps, taps if strides is None else strides, padding, dilation)
    for size, low, high, k, d in zip(
        x.shape[2:], found.before, found.after, taps, found.dilation, strict=True
    ):
        inside = all(isinstance(p, Dim) or p < reach(k, d) for p in (low, high))
        if not inside and size != 0:
            raise ShapeError(
                f"{op}: a window of {k} taps lies wholly in a border of {low} and {high}",
                hint="the border is smaller than a window",
                related=related(x),
            )
    return found


def _by_axes(kind: type[WindowMax | WindowSum], x: AnyValue, found: Windows) -> AnyValue:
    """A pool, axis by axis where windows are large."""
    if prod(found.taps) <= MOST_TAPS:
        op = kind(found.taps, found.strides, found.dilation, found.before, found.extents)
        return op(x)
    count = len(found.taps)
    for axis in range(count):
        x = _along(kind, x, found, axis, count - 1 - axis)
    return x


def _along(
    kind: type[WindowMax | WindowSum], x: AnyValue, found: Windows, axis: int, behind: int
) -> AnyValue:
    """A pool along one axis, which has so many axes behind it."""
    rest = x.shape[x.ndim - behind :] if behind else ()
    ones, zeros = (1,) * behind, (0,) * behind
    taps, strides = (found.taps[axis], *ones), (found.strides[axis], *ones)
    dilation, before = (found.dilation[axis], *ones), (found.before[axis], *zeros)
    extents = (found.extents[axis], *rest)
    if found.taps[axis] <= MOST_TAPS:
        return kind(taps, strides, dilation, before, extents)(x)
    if kind is WindowMax and any(size != 0 for size in (*found.before, *found.after)):
        return kind(taps, strides, dilation, before, extents)(x)
    whole = UnfoldWindows(taps, strides, dilation, before, extents)(x)
    place = whole.ndim - 2 * (behind + 1)
    kept = reshape(whole, (*whole.shape[: place + 1], *whole.shape[place + 1 + behind :]))
    return functions.max(kept, place) if kind is WindowMax else functions.sum(kept, place)


# -- windows themselves ---------------------------------------------------------------------------


def unfold(
    x: Operand[AnyValue],
    window: PerAxis,
    *,
    strides: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """All windows of [n, c, places...]: [n, c, taps..., windows...]; zeros in the border.

    Arguments and errors as ``max_pool``.
    """
    value = as_value("unfold", x)
    taps = literal_taps("unfold", window, spatial("unfold", value, 2), value)
    found = windows_over("unfold", value, taps, strides, padding, dilation)
    return UnfoldWindows(taps, found.strides, found.dilation, found.before, found.extents)(value)


def fold(
    y: Operand[AnyValue],
    extents: Size | tuple[Size, ...],
    *,
    strides: PerAxis = 1,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
) -> AnyValue:
    """``unfold`` transposed: [n, c, taps..., windows...] added up where they overlap.

    Args:
        y: as many axes of windows as of taps; the taps are integers.
        extents: the sizes of the image, for all axes or for each.
        strides, padding, dilation: those of the ``unfold`` that is transposed.

    Returns:
        [n, c, extents...].

    Raises:
        ShapeError: windows that are not those of such an image.
        RankError, ArgumentError, DTypeError: as ``max_pool``.
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
    found = windows_over("fold", image, taps, strides, padding, dilation)
    for size, wanted in zip(value.shape[2 + count :], found.extents, strict=True):
        text = f"fold: {size} windows, where an image of {shape_text(sizes)} has {wanted}"
        if not dims.equal(size, wanted, text):
            raise ShapeError(text, related=related(value))
    return FoldWindows(taps, found.strides, found.dilation, found.before, sizes)(value)


PUBLIC: Final = (
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "conv",
    "conv_transpose",
    "fold",
    "lp_pool",
    "max_pool",
    "unfold",
)
publish(globals(), __name__, PUBLIC)

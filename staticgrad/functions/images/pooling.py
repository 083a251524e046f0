"""Pools over images [batch, channels, places...], of any number of places' axes.

Written with the ops of ``ops/windows.py``. Public as ``sg.nn``.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod
from typing import Any, Final

from staticgrad.errors import ArgumentError, ShapeError
from staticgrad.errors.wording import shown
from staticgrad.families import like
from staticgrad.functions.images.arguments import (
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
from staticgrad.ops.arithmetic import flat_root
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.movement import reshape
from staticgrad.ops.operands import as_value, floating, is_number, related
from staticgrad.ops.selection import where
from staticgrad.ops.windows import UnfoldWindows, WindowMax, WindowSum
from staticgrad.types import dim as dims
from staticgrad.types.dim import Dim, Size
from staticgrad.types.tensor import Shape

#: Taps that one kernel takes at each place, at most: windows of more are taken axis by axis.
MOST_TAPS: Final = 64


def max_pool(
    x: Operand[AnyValue],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> AnyValue:
    """The largest element of each window of [n, c, places...]; NaN wins.

    Args:
        x: [n, c, places...].
        kernel_size: taps of a window, for all axes of places or for each.
        stride: places from one window to the next: by default as many as taps, so that windows do
            not overlap.
        padding: as ``conv``; what is added never is the largest.
        dilation: places from one tap to the next.
        ceil_mode: whether a last window that begins inside of the image or its border counts
            although it reaches further; elements that are not there do not take part.

    Returns:
        [n, c, windows...]. Of equal elements the first has the gradient.

    Raises:
        ShapeError: an image smaller than a window, a window inside of the border.
        RankError, ArgumentError, DTypeError: as ``conv``.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.max_pool(np.arange(16.0).reshape(1, 1, 4, 4), 2))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    value = as_value("max_pool", x)
    found = _pool("max_pool", value, kernel_size, stride, padding, dilation, ceil_mode)
    return _by_axes(WindowMax, value, found)


@like(max_pool)
def avg_pool(
    x: Operand[AnyValue],
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

    Raises:
        ShapeError: an image smaller than a window, a window inside of the border.
        RankError, ArgumentError: as ``conv``.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.avg_pool(np.arange(16.0).reshape(1, 1, 4, 4), 2))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    value = floating("avg_pool", x)
    found = _pool("avg_pool", value, kernel_size, stride, padding, dilation, ceil_mode)
    total = _by_axes(WindowSum, value, found)
    extents = value.shape[2:]
    if count_include_pad:  # windows are counted over the image with its border
        borders = zip(extents, found.before, found.after, strict=True)
        extents = tuple(size + before + after for size, before, after in borders)
        none = (0,) * len(extents)
        found = replace(found, before=none, after=none)
    if found.inside:
        return total * (1.0 / prod(found.taps))
    return total / _counts(value, extents, found)


def _counts(x: AnyValue, image: Shape, found: Windows) -> Any:
    """How many elements of an image of these extents each window has."""
    counts: Any = 1.0
    for axis, size in enumerate(image):
        ones = functions.ones((size,), x.dtype, like=x)
        shape = tuple(size if k == axis else 1 for k, size in enumerate(found.extents))
        counts = reshape(_along(WindowSum, ones, found, axis, 0), shape) * counts
    return counts


@like(max_pool)
def lp_pool(
    x: Operand[AnyValue],
    p: float,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = "valid",
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> AnyValue:
    """(sum of abs(x) ** p) ** (1 / p) over each window of [n, c, places...].

    The gradient of a window of zeros is 0, as that of ``sg.norm``.

    Args:
        p: a positive number; ``max_pool`` of magnitudes is its limit.
        padding: as ``conv``; zeros.

    Returns:
        [n, c, windows...].

    Raises:
        ArgumentError: p that is no positive, finite number.
        ShapeError, RankError: as ``avg_pool``.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.lp_pool(np.array([[[3.0, 4.0, 6.0, 8.0]]]), 2.0, 2))
    array([[[ 5., 10.]]])
    """
    if not is_number(p) or not 0 < p < inf:
        raise ArgumentError(f"lp_pool: p={shown(p)} is no positive, finite number")
    value = floating("lp_pool", x)
    found = _pool("lp_pool", value, kernel_size, stride, padding, dilation, ceil_mode)
    powers = value * value if p == 2 else functions.absolute(value)
    if p not in (1, 2):
        powers = where(powers == 0.0, 0.0, powers**p)
    total = _by_axes(WindowSum, powers, found)
    return total if p == 1 else flat_root(total, p)


def adaptive_max_pool(x: Operand[AnyValue], extents: int | tuple[int, ...]) -> AnyValue:
    """The largest elements of [n, c, places...] in ``extents`` parts of equal size, nearly.

    Part i of m over h places has those from floor(i h / m) to ceil((i + 1) h / m), as PyTorch has
    it; where m divides h they have equal size and do not overlap.

    Args:
        x: [n, c, places...].
        extents: how many parts, for all axes of places or for each.

    Returns:
        [n, c, extents...].

    Raises:
        ArgumentError: extents below 1.
        ShapeError: an axis without elements, or of a named size that they do not divide.
        RankError: not one for each axis of places.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.adaptive_max_pool(np.arange(6.0).reshape(1, 1, 6), 3))
    array([[[1., 3., 5.]]])
    """
    value = as_value("adaptive_max_pool", x)
    return _adaptive("adaptive_max_pool", "max", value, extents)


@like(adaptive_max_pool)
def adaptive_avg_pool(x: Operand[AnyValue], extents: int | tuple[int, ...]) -> AnyValue:
    """The means of [n, c, places...] in ``extents`` parts: as ``adaptive_max_pool``.

    >>> import numpy as np, staticgrad as sg
    >>> sg.evaluate(sg.nn.adaptive_avg_pool(np.arange(6.0).reshape(1, 1, 6), 3))
    array([[[0.5, 2.5, 4.5]]])
    """
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
    kernel_size: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Windows:
    taps = literal_taps(op, kernel_size, spatial(op, x, 2), x)
    steps = taps if stride is None else stride
    found = windows_over(op, x, taps, steps, padding, dilation, ceil_mode)
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
    if kind is WindowMax and not found.inside:
        return kind(taps, strides, dilation, before, extents)(x)
    whole = UnfoldWindows(taps, strides, dilation, before, extents)(x)
    place = whole.ndim - 2 * (behind + 1)
    kept = reshape(whole, (*whole.shape[: place + 1], *whole.shape[place + 1 + behind :]))
    return functions.max(kept, place) if kind is WindowMax else functions.sum(kept, place)


publish(
    globals(),
    __name__,
    ("adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "lp_pool", "max_pool"),
)

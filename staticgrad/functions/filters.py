"""Sequences filtered, looked through in windows, interpolated: NumPy's functions of these names.

Made of products over windows (``ops/convolution.py``), look-ups and selections; nothing here is an
op, and gradients are those of the parts.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.errors.wording import quote
from staticgrad.functions import complex_numbers
from staticgrad.functions.complex_numbers import imag, real
from staticgrad.functions.creation import zeros, zeros_like
from staticgrad.functions.windows import windows_over
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.pairs import Complex, check_real, is_complex_data
from staticgrad.language.ops.arithmetic import remainder
from staticgrad.language.ops.convert import size_value
from staticgrad.language.ops.convolution import Conv
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import concatenate, flip, take
from staticgrad.language.ops.logic import logical_and
from staticgrad.language.ops.movement import moveaxis, ravel, reshape
from staticgrad.language.ops.operands import (
    as_value,
    axis_of,
    describe_operands,
    floating,
    integer,
    is_number,
    promoted_values,
    shape_of,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.selection import clip, where
from staticgrad.language.ops.sorting import argsort, searchsorted
from staticgrad.language.types import dim as dims
from staticgrad.language.types.dim import Dim, Size
from staticgrad.language.types.dtype import I64

Mode = Literal["full", "same", "valid"]
NUMPY_NAMES["lib.stride_tricks.sliding_window_view"] = "sliding_window_view"


def convolve(a: ArrayLike[AnyValue], v: ArrayLike[AnyValue], mode: Mode = "full") -> AnyValue:
    """Compute the sums of a[k] * v[n - k] over k, for vectors a and v.

    Args:
        a, v: vectors. Where one size is known at build and the other one named, the shorter vector
            is that of the known size.
        mode: ``"full"``, every n at which they meet; ``"same"``, as many as the longer one has
            elements, in the middle of those; ``"valid"``, where the shorter one lies inside.

    Raises:
        SizeGuardError: in a run, a vector of a named size that has no elements, or (but for
            ``mode="full"``) fewer than a known size.

    >>> sg.convolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5])
    array([0. , 1. , 2.5, 4. , 1.5])
    """
    left, right = _check_vectors(a, v)
    if isinstance(left.shape[0], Dim) and isinstance(right.shape[0], Dim):
        return _correlate_named_sizes(left, flip(right), mode)
    longer, shorter, _ = _order_by_length(left, right)
    return _filter_vectors(longer, flip(shorter), mode)


def correlate(a: ArrayLike[AnyValue], v: ArrayLike[AnyValue], mode: Mode = "valid") -> AnyValue:
    """The sums of a[n + k] * v[k] over k, for vectors a and v; as ``convolve`` with v reversed.

    >>> sg.correlate([1.0, 2.0, 3.0], [0.0, 1.0, 0.5], mode="same")
    array([2. , 3.5, 3. ])
    """
    left, right = _check_vectors(a, v)
    if isinstance(left.shape[0], Dim) and isinstance(right.shape[0], Dim):
        return _correlate_named_sizes(left, right, mode, is_correlation=True)
    longer, shorter, swapped = _order_by_length(left, right)
    result = _filter_vectors(longer, shorter, mode, longer=swapped and mode == "same")
    return flip(result) if swapped else result


def _check_vectors(a: ArrayLike[AnyValue], v: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """Check the two vectors of ``convolve`` or ``correlate``."""
    left, right = promoted_values((a, v))
    left, right = (reshape(x, (1,)) if x.ndim == 0 else x for x in (left, right))
    for value in (left, right):
        if value.ndim != 1:
            raise RankError(
                f"{called_name()}: {value.type} is not a vector", related=describe_operands(value)
            )
        if value.shape[0] == 0:
            raise ShapeError(
                f"{called_name()}: {value.type} has no elements", related=describe_operands(value)
            )
    return left, right


def _order_by_length(left: AnyValue, right: AnyValue) -> tuple[AnyValue, AnyValue, bool]:
    """Order two vectors of a convolution by length; return if they were swapped.

    A named size counts as the longer one.
    """
    first, second = left.shape[0], right.shape[0]
    swapped = isinstance(second, Dim) or (not isinstance(first, Dim) and second > first)
    return (right, left, True) if swapped else (left, right, False)


def _filter_vectors(long: AnyValue, short: AnyValue, mode: str, longer: bool = False) -> AnyValue:
    """Correlate vectors, sum of long[n + k] * short[k], from the mode's begin.

    ``longer``: vectors of one length would have been in their other order, whose middle is another.
    """
    taps = integer("size", short.shape[0], short)
    pads = {"full": (taps - 1, taps - 1), "same": (taps // 2, taps - taps // 2 - 1)}
    size, least = long.shape[0], 1 if mode == "full" else taps + int(longer)
    # A named size must be as large: the reshape notes that, and gives an error in runs where not.
    image = reshape(long, (1, 1, dims.maximum(size, least)))
    sums = _correlate(image, short[None, None, :], pads.get(mode, (0, 0)))[0, 0]
    missing = sums.shape[0] - image.shape[2]
    return reshape(sums, (size + missing,))


@rounded_once
def _correlate(image: AnyValue, taps: AnyValue, border: tuple[Size, Size]) -> AnyValue:
    """Correlate an image [1, 1, n] with taps [1, 1, m], zeros around it."""
    image, taps = promoted_values((image, taps))
    windows = windows_over(image, taps.shape[2:], 1, [border], 1)
    op = Conv(windows.strides, windows.dilation, windows.before, windows.extents, 1)
    return op(image, taps)


def _correlate_named_sizes(
    left: AnyValue, right: AnyValue, mode: str, is_correlation: bool = False
) -> AnyValue:
    """Correlate vectors of named sizes: all sums, or from a begin the run computes."""
    n, m = left.shape[0], right.shape[0]
    # The reshapes note that there are elements.
    image = reshape(left, (1, 1, dims.maximum(n, 1)))
    taps = reshape(right, (1, 1, dims.maximum(m, 1)))
    sums = _correlate(image, taps, (m - 1, m - 1))[0, 0]
    all_sums = reshape(sums, (n + m - 1,))
    if mode == "full":
        return all_sums
    longer, shorter = dims.maximum(n, m), dims.minimum(n, m)
    start = size_value(shorter - 1, I64)
    if mode == "same":
        start = start // 2
        if is_correlation:  # NumPy exchanges them, and reverses the result
            exchanged = size_value(m, I64) > size_value(n, I64)
            start = where(exchanged, size_value(n // 2, I64), start)
    count = longer if mode == "same" else longer - shorter + 1
    return take(all_sums, iota((count,), like=all_sums) + start)


@rounded_once
def interp(
    x: ArrayLike[AnyValue],
    xp: ArrayLike[AnyValue],
    fp: ArrayLike[AnyValue],
    left: ArrayLike[AnyValue] | None = None,
    right: ArrayLike[AnyValue] | None = None,
    period: float | None = None,
) -> AnyValue:
    """The broken line through the points (xp, fp), at x.

    It is differentiable by x, xp and fp; at a point itself its slope is that of the piece to the
    right.

    Args:
        x: where, of any shape.
        xp: n places in ascending order (which is not checked), or in any order with ``period``.
        fp: n values, which may be complex.
        left, right: the value before the first place and behind the last; by default those there.
        period: what x and xp are taken modulo; ``left`` and ``right`` are then without effect.

    >>> sg.evaluate(sg.interp(0.5, [0.0, 1.0], [10.0, 20.0]))
    array(15.)
    """
    check_real(x, xp)
    ends: tuple[Any, ...] = (fp, left, right)
    if any(isinstance(end, Complex) or is_complex_data(end) for end in ends):
        parts: list[list[Any]] = [
            [None if end is None else part(end) for end in ends] for part in (real, imag)
        ]
        re, im = (interp(x, xp, f, low, high, period) for f, low, high in parts)
        return complex_numbers.complex(re, im)
    at, places, values = (floating(v) for v in promoted_values((x, xp, fp)))
    if places.ndim != 1 or values.ndim != 1:
        raise RankError(
            f"interp: points of {places.type} and {values.type} are not vectors",
            related=describe_operands(places, values),
        )
    if places.shape != values.shape or places.shape[0] == 0:
        raise ShapeError(
            f"interp: {places.shape[0]} places for {values.shape[0]} values",
            related=describe_operands(places, values),
        )
    if period is not None:
        at, places, values = _wrap_points(at, places, values, period)
        left = right = None
    interpolated = _interpolate_within(at, places, values)
    first = values[0] if left is None else left
    last = values[-1] if right is None else right
    interpolated = where(at < places[0], first, interpolated)
    return where(at > places[-1], last, interpolated)


def _interpolate_within(at: AnyValue, places: AnyValue, values: AnyValue) -> AnyValue:
    """Interpolate linearly between the nearest places; beyond the ends, constant."""
    if places.shape[0] == 1:
        # A constant, whose slope by x and xp is zero: they stand in the branch never taken.
        return where(False, at + places[0], values[0])
    count = size_value(places.shape[0], I64)
    interval = clip(searchsorted(places, at, "right") - 1, 0, count - 2)
    x0, x1 = take(places, interval), take(places, interval + 1)
    low, high = take(values, interval), take(values, interval + 1)
    # Beyond the ends this result is discarded: it must not make a gradient infinite.
    inside = logical_and(at >= places[0], at <= places[-1])
    slope = (high - low) / (x1 - x0)
    line = low + slope * (where(inside, at, x0) - x0)
    return where(at == x1, high, where(at == at, line, at))


def _wrap_points(
    at: AnyValue, places: AnyValue, values: AnyValue, period: Any
) -> tuple[AnyValue, AnyValue, AnyValue]:
    """Wrap the points and places of ``interp`` into one period, sorted."""
    if not is_number(period) or period == 0:
        raise ArgumentError(f"interp: period must be a non-zero number, got {quote(period)}")
    positive_period = abs(period)
    at, places = remainder(at, positive_period), remainder(places, positive_period)
    order = argsort(places)
    places, values = take(places, order), take(values, order)
    places = concatenate([places[-1:] - positive_period, places, places[:1] + positive_period])
    return at, places, concatenate([values[-1:], values, values[:1]])


@rounded_once
def polyval(p: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """The polynomial with coefficients p, that of the highest power first, at x: Horner's rule.

    Their number is known at build; of none the result is 0.

    >>> sg.polyval([1.0, 0.0, -1.0], [2.0, 3.0])
    array([3., 8.])
    """
    coefficients, at = promoted_values((p, x))
    if coefficients.ndim != 1:
        raise RankError(
            f"polyval: {coefficients.type} is not a vector", related=describe_operands(coefficients)
        )
    count = integer("number of coefficients", coefficients.shape[0], coefficients)
    total = zeros_like(at)
    for place in range(count):
        total = total * at + coefficients[place]
    return total


def sliding_window_view(
    x: ArrayLike[AnyValue],
    window_shape: int | tuple[int, ...],
    axis: int | tuple[int, ...] | None = None,
) -> AnyValue:
    """Return every window of x, with the elements of a window on new axes at the end.

    Args:
        window_shape: the window's size along each axis of ``axis``.
        axis: along which axes; all by default. An axis given twice has windows of windows.

    >>> sg.evaluate(sg.sliding_window_view([1, 2, 3], 2))
    array([[1, 2],
           [2, 3]])
    """
    value = as_value(x)
    window_sizes = (window_shape,) if isinstance(window_shape, int) else tuple(window_shape)
    sizes = [integer("window size", size, value) for size in window_sizes]
    places = range(value.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    axes = [axis_of(place, value) for place in places]
    if len(axes) != len(sizes):
        raise ArgumentError(
            f"sliding_window_view: {len(sizes)} window sizes for {len(axes)} axes",
            related=describe_operands(value),
        )
    for place, size in zip(axes, sizes, strict=True):
        if size < 0 or (isinstance(value.shape[place], int) and size > value.shape[place]):
            raise ShapeError(
                f"sliding_window_view: a window of {size} along axis {place} of {value.type}",
                related=describe_operands(value),
            )
        value = moveaxis(_windows(value, place, size), place + 1, -1)
    return value


def _windows(x: AnyValue, axis: int, size: int) -> AnyValue:
    count = dims.maximum(x.shape[axis] - size + 1, 0)
    inside = np.arange(size)
    if isinstance(count, int):
        return take(x, np.arange(count)[:, None] + inside, axis)
    return take(x, iota((count,), like=x)[:, None] + inside, axis)


def resize(a: ArrayLike[AnyValue], new_shape: int | tuple[int, ...]) -> AnyValue:
    """Repeat the elements of a, flattened, to fill another shape; ``sg.nn.resize`` is for images.

    Args:
        new_shape: sizes known at build.

    >>> sg.evaluate(sg.resize([1, 2, 3], (2, 4)))
    array([[1, 2, 3, 1],
           [2, 3, 1, 2]])
    """
    value = ravel(a)
    new_sizes = (new_shape,) if isinstance(new_shape, int) else tuple(new_shape)
    shape = tuple(integer("size", size, value) for size in shape_of(new_sizes))
    size, count = value.shape[0], prod(shape)
    if size == 0:
        return zeros(shape, value.dtype, like=value)
    length = size_value(dims.maximum(size, 1), I64)
    if isinstance(size, Dim):  # a run may have no elements
        value = concatenate([value, zeros((1,), value.dtype, like=value)])
    places = remainder(iota((count,), like=value), length)
    return reshape(take(value, places), shape)

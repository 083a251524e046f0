"""Interpolation by B-splines of order 0 to 5: coefficients, weights, and reads at coordinates.

M. Unser, A. Aldroubi and M. Eden, "Fast B-spline transforms for continuous image representation and
interpolation", IEEE Transactions on Pattern Analysis and Machine Intelligence 13, 1991. The
coefficients are two recurrences along each axis for each pole, exact at the borders that mirror,
reflect or repeat; those of SciPy's other borders are mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log, prod, sqrt
from typing import Any, Final, Literal

import numpy as np

from staticgrad.extend import AnyValue, Size, as_value, product
from staticgrad.extend.dtypes import F64, I64
from staticgrad.extend.ops import (
    astype,
    clip,
    exp,
    flip,
    floor,
    iota,
    linear_scan,
    logical_and,
    maximum,
    minimum,
    part,
    remainder,
    reshape,
    size_value,
    stack,
    take,
    trunc,
    where,
)
from staticgrad.extend.sizes import minimum as smaller_size
from staticgrad.functions.arrange import pad
from staticgrad.ndimage.borders import PAD_MODES, Mode

#: Order -> the poles of the filter that makes coefficients of values.
POLES: Final[dict[int, tuple[float, ...]]] = {
    0: (),
    1: (),
    2: (sqrt(8.0) - 3.0,),
    3: (sqrt(3.0) - 2.0,),
    4: (
        sqrt(664.0 - sqrt(438976.0)) + sqrt(304.0) - 19.0,
        sqrt(664.0 + sqrt(438976.0)) - sqrt(304.0) - 19.0,
    ),
    5: (
        sqrt(67.5 - sqrt(4436.25)) + sqrt(26.25) - 6.5,
        sqrt(67.5 + sqrt(4436.25)) - sqrt(26.25) - 6.5,
    ),
}
_Extension = Literal["mirror", "reflect", "repeat"]
#: Mode -> how coefficients go on beyond the ends. SciPy mirrors where a border has no spline.
_EXTENSIONS: Final[dict[Mode, _Extension]] = {
    "reflect": "reflect",
    "grid-mirror": "reflect",
    "nearest": "reflect",  # of an image with a margin
    "grid-wrap": "repeat",
    "mirror": "mirror",
    "constant": "mirror",
    "grid-constant": "mirror",
    "wrap": "mirror",
}
#: Mode -> the mode of its coefficients, where that is another.
_BORDERS: Final[dict[Mode, Mode]] = {"constant": "mirror", "wrap": "mirror"}
#: Elements that SciPy adds at each end of an axis before it computes coefficients.
_MARGIN: Final = 12
#: Reads of coefficients in one kernel, at most: those of a cubic spline over two axes are 16.
_MOST_READS: Final = 40
#: Powers of a pole below this do not count: none of float64's bits depends on them.
_NEGLIGIBLE: Final = 1e-40


def margin(mode: Mode, order: int, prefilter: bool) -> int:
    """Return how many elements are added at each end of an axis before coefficients."""
    return _MARGIN if prefilter and order > 1 and mode in ("nearest", "grid-constant") else 0


def add_margin(image: AnyValue, axes: Sequence[int], mode: Mode, cval: Any, count: int) -> AnyValue:
    """Return an image with a margin, of its outermost elements or of a constant."""
    widths = [(count, count) if axis in axes else (0, 0) for axis in range(image.ndim)]
    if mode == "nearest":
        return pad(image, widths, "edge")
    return pad(image, widths, constant_values=cval)


# -- coefficients ---------------------------------------------------------------------------------


def compute_coefficients(image: AnyValue, axes: Sequence[int], order: int, mode: Mode) -> AnyValue:
    """Return the B-spline coefficients of an image along axes."""
    poles = POLES[order]
    for axis in axes:
        size = image.shape[axis]
        if not poles or size == 1 or size == 0:
            continue
        filtered = image * prod((1.0 - pole) * (1.0 - 1.0 / pole) for pole in poles)
        for pole in poles:
            filtered = _filter_axis(filtered, axis, pole, _EXTENSIONS[mode])
        if not isinstance(size, int):  # an axis of one element has no neighbours
            filtered = where(size_value(size, I64) > 1, filtered, image)
        image = filtered
    return image


def _filter_axis(values: AnyValue, axis: int, pole: float, extension: _Extension) -> AnyValue:
    """Apply c[k] += pole c[k - 1] forwards and c[k] = pole (c[k + 1] - c[k]) backwards."""
    size = values.shape[axis]
    start, end = _ENDS[extension]
    # A recurrence is linear: it begins with its first element, and the difference decays.
    powers = _powers(pole, _positions(values, axis, size), values.dtype)
    first = part(values, axis, 0, 1)
    forwards = linear_scan(pole, values, axis) + powers * (start(values, axis, pole) - first)
    first = part(forwards, axis, size - 1, 1) * -pole
    backwards = flip(linear_scan(pole, flip(forwards * -pole, axis), axis), axis)
    return backwards + flip(powers, axis) * (end(forwards, axis, pole) - first)


def _start_mirrored(values: AnyValue, axis: int, pole: float) -> Any:
    """Return the sum of the powers of a pole times the mirrored values before the first one."""
    size = values.shape[axis]

    def weigh(at: Any, power: Callable[[Any], Any]) -> Any:
        last = _count(size) - 1
        inner = logical_and(at > 0, at < last)
        return power(at) + where(inner, power(2 * last - at), 0.0)

    return _weigh_start(values, axis, pole, weigh) / _one_minus(pole, 2 * _count(size) - 2)


def _end_mirrored(values: AnyValue, axis: int, pole: float) -> Any:
    size = values.shape[axis]
    neighbour = take(values, maximum(_count(size) - 2, 0), axis)
    last = part(values, axis, size - 1, 1)
    return (pole * reshape(neighbour, last.shape) + last) * (pole / (pole * pole - 1.0))


def _start_reflected(values: AnyValue, axis: int, pole: float) -> Any:
    """Return the sum of the powers of a pole times the reflected values before the first one."""
    size = values.shape[axis]

    def weigh(at: Any, power: Callable[[Any], Any]) -> Any:
        return power(at) + power(2 * _count(size) - 1 - at)

    reflected = _weigh_start(values, axis, pole, weigh)
    return part(values, axis, 0, 1) + reflected * pole / _one_minus(pole, 2 * _count(size))


def _end_reflected(values: AnyValue, axis: int, pole: float) -> Any:
    return part(values, axis, values.shape[axis] - 1, 1) * (pole / (pole - 1.0))


def _start_repeated(values: AnyValue, axis: int, pole: float) -> Any:
    """Return the sum of the powers of a pole times the repeated values before the first one."""
    size = values.shape[axis]
    count = _horizon(pole, size)
    backwards = flip(part(values, axis, size - count, count), axis)  # x[n - 1], x[n - 2], ...
    repeated = _weigh_start(backwards, axis, pole, lambda at, power: power(at + 1))
    # All of x[0] is in it once more where the horizon is the whole axis: power n, divided away.
    first = part(values, axis, 0, 1)
    if count == size or not isinstance(size, int):
        period = _powers(pole, reshape(_count(size), (1,) * values.ndim), values.dtype)
        repeated = repeated - where(_count(count) == _count(size), period * first, 0.0)
    return (first + repeated) / _one_minus(pole, _count(size))


def _end_repeated(values: AnyValue, axis: int, pole: float) -> Any:
    size = values.shape[axis]

    def weigh(at: Any, power: Callable[[Any], Any]) -> Any:
        return where(at < _count(size) - 1, power(at + 1), 0.0)

    last = part(values, axis, size - 1, 1)
    repeated = last + _weigh_start(values, axis, pole, weigh)
    return repeated * -pole / _one_minus(pole, _count(size))


_ENDS: Final[dict[_Extension, tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "mirror": (_start_mirrored, _end_mirrored),
    "reflect": (_start_reflected, _end_reflected),
    "repeat": (_start_repeated, _end_repeated),
}


def _weigh_start(
    values: AnyValue, axis: int, pole: float, weigh: Callable[[Any, Callable[[Any], Any]], Any]
) -> Any:
    """Return the sum of the first values of an axis with weights, as far as these count."""
    count = _horizon(pole, values.shape[axis])
    at = _positions(values, axis, count)
    weights = weigh(at, lambda exponent: _powers(pole, exponent, values.dtype))
    return (part(values, axis, 0, count) * weights).sum(axis, keepdims=True)


def _horizon(pole: float, size: Size) -> Size:
    """Return how many powers of a pole count, at most ``size``."""
    return smaller_size(int(log(_NEGLIGIBLE) / log(-pole)) + 1, size)


def _count(size: Size) -> Any:
    """Return a size as an int64."""
    return size_value(size, I64)


def _positions(values: AnyValue, axis: int, count: Size) -> Any:
    """Return 0, 1, ..., along one of the axes of values."""
    shape = [1] * values.ndim
    shape[axis] = -1
    return reshape(iota((count,), like=values), tuple(shape))


def _powers(pole: float, exponents: Any, dtype: Any) -> Any:
    """Return powers of a negative pole."""
    magnitudes = exp(astype(exponents, F64) * log(-pole))
    return astype(where(remainder(exponents, 2) == 0, magnitudes, -magnitudes), dtype)


def _one_minus(pole: float, exponent: Any) -> Any:
    """Return 1 - pole ** exponent, or 1 where that is 0: an axis of one element."""
    return where(exponent == 0, 1.0, 1.0 - _powers(pole, exponent, F64))


# -- reads at coordinates -------------------------------------------------------------------------


def spline_weights(order: int, x: Any) -> list[Any]:
    """Return the weights of the order + 1 coefficients around a coordinate.

    Args:
        order: of the B-spline.
        x: the distance from the middle one: from 0 to 1 of odd orders, -1/2 to 1/2 of even ones.
    """
    y, z = x, 1.0 - x
    if order == 0:
        return [x * 0.0 + 1.0]
    if order == 1:
        weights = [z]
    elif order == 2:
        weights = [0.5 * (0.5 - x) ** 2, 0.75 - x * x]
    elif order == 3:
        weights = [z * z * z / 6.0, *((t * t * (t - 2.0) * 3.0 + 4.0) / 6.0 for t in (y, z))]
    elif order == 4:
        square = x * x
        sides = [
            t * (t * (t * (5.0 - t) / 6.0 - 1.25) + 5.0 / 24.0) + 55.0 / 96.0
            for t in (1.0 + x, 1.0 - x)
        ]
        middle = square * (square * 0.25 - 0.625) + 115.0 / 192.0
        weights = [((0.5 - x) ** 2) ** 2 / 24.0, sides[0], middle, sides[1]]
    else:
        inner = [t * t * (t * t * (0.25 - t / 12.0) - 0.5) + 0.55 for t in (y, z)]
        outer = [
            t * (t * (t * (t * (t / 24.0 - 0.375) + 1.25) - 1.75) + 0.625) + 0.425
            for t in (y + 1.0, z + 1.0)
        ]
        weights = [z * (z * z) ** 2 / 120.0, outer[0], *inner, outer[1]]
    last = 1.0
    for weight in weights:
        last = last - weight
    return [*weights, last]


class AxisReads:
    """The coefficients that coordinates read along one axis, and their weights.

    Coordinates beyond the ends are folded into the image, so that the coefficients of a coordinate
    are neighbours in ``add_border(coefficients)``.

    Args:
        coordinates: floats of any shape.
        size: that of the axis of the image, without its margin.
        order, mode: of the spline.
        added: the margin.

    Attributes:
        order: of the spline.
        start: int64 [...], the first coefficient, counted in those with a border.
        weights: one array [...] of floats for each of order + 1 coefficients.
        inside: bools, or None where coordinates lie inside everywhere.
    """

    def __init__(self, coordinates: AnyValue, size: Size, order: int, mode: Mode, added: int):
        at: Any = coordinates
        end = astype(_count(size) - 1, at.dtype)
        self.order = order
        self.inside = logical_and(at >= 0, at <= end) if mode == "constant" else None
        at = _fold_coordinates(at, end, mode)
        below = floor(at if order % 2 else at + 0.5)
        # There are order + 1 coefficients beyond each end; all of what lies farther out is one
        # number, or does not count. The minimum is one that an int64 has.
        near = minimum(below, end + float(added + 2 * order + 2))
        start = astype(near, I64) + (added + order + 1 - order // 2)
        self.start: Any = clip(start, 0, _count(size + 2 * added) + (order + 1))
        self.weights: list[Any] = spline_weights(order, at - below)


def add_border(
    coefficients: AnyValue, axes: Sequence[int], order: int, mode: Mode, cval: Any
) -> Any:
    """Return coefficients with order + 1 further ones at each end of axes."""
    widths = [(order + 1,) * 2 if axis in axes else (0, 0) for axis in range(coefficients.ndim)]
    if mode == "grid-constant":
        return pad(coefficients, widths, constant_values=cval)
    return pad(coefficients, widths, PAD_MODES[_BORDERS.get(mode, mode)])


def _fold_coordinates(at: Any, end: Any, mode: Mode) -> Any:
    """Return coordinates of an image that have the values of ``at``; ``end`` is the last one.

    As in SciPy's ``map_coordinate``. Those inside stay as they are.
    """
    if mode in ("constant", "grid-constant", "nearest"):
        return at
    if mode == "wrap":
        return _wrap(at, end)
    if mode == "grid-wrap":
        return where(logical_and(at >= 0, at <= end), at, remainder(at, end + 1))
    # Mirrored on 0 and ``end``, or half an element beyond. Up to end + 1 the border is mirrored.
    beyond = 0.0 if mode == "mirror" else 0.5
    period = 2.0 * (end + 2.0 * beyond)
    along = remainder(at + beyond, where(period > 0, period, 1.0))
    folded = where(along > period / 2.0, period - along, along) - beyond
    return where(logical_and(at >= -beyond, at < end + 1), at, where(period > 0, folded, 0.0))


def _wrap(at: Any, end: Any) -> Any:
    """Return coordinates within 0 and ``end``, the period, as SciPy's mode ``"wrap"`` has them."""
    period = where(end > 0, end, 1.0)
    wrapped = where(
        at < 0,
        at + period * (trunc(-at / period) + 1.0),
        where(at > end, at - period * trunc(at / period), at),
    )
    return where(end > 0, wrapped, at * 0.0)


def read_scattered(
    coefficients: AnyValue, reads: Sequence[AxisReads], mode: Mode, cval: Any
) -> AnyValue:
    """Return a spline at coordinates, one array of them for each of its first axes.

    Args:
        coefficients: [sizes..., rest...].
        reads: for each of the sizes, of coordinates [...].

    Returns:
        Values [..., rest...].
    """
    count, order = len(reads), reads[0].order
    coefficients = add_border(coefficients, range(count), order, mode, cval)
    sizes, trailing = coefficients.shape[:count], coefficients.shape[count:]
    strides = [product(sizes[axis + 1 :]) for axis in range(count)]
    flat = reshape(coefficients, (product(sizes), *trailing))
    # All reads of a kernel share one index: they are takes from a view that begins at their own
    # offset. Axes before those have indices [order + 1, ...] of their own.
    unrolled = min(count, int(log(_MOST_READS) / log(order + 1)) if order else count)
    outer, index = count - unrolled, None
    outer_weight: Any = 1.0
    for axis, (read, stride) in enumerate(zip(reads, strides, strict=True)):
        start = read.start
        if axis < outer:
            shape = (*(-1 if k == axis else 1 for k in range(outer)), *[1] * start.ndim)
            start = start + reshape(as_value(np.arange(order + 1)), shape)
            weight = reshape(stack(read.weights, 0), (*shape[:outer], *read.start.shape))
            outer_weight = outer_weight * weight
        index = start * _count(stride) if index is None else index + start * _count(stride)

    def cast_weight(weight: Any) -> Any:
        weight = reshape(weight, (*weight.shape, *[1] * len(trailing)))
        return astype(weight, coefficients.dtype)

    def read_from(axis: int, offset: Size) -> Any:
        """Return the sum over the coefficients of an axis and of those behind it."""
        if axis == count:
            return take(part(flat, 0, offset, product(sizes) - offset), index, 0)
        total: Any = None
        for place, weight in enumerate(reads[axis].weights):
            term = cast_weight(weight) * read_from(axis + 1, offset + place * strides[axis])
            total = term if total is None else total + term
        return total

    total = read_from(outer, 0)
    if outer:
        total = (total * cast_weight(outer_weight)).sum(tuple(range(outer)))
    return _fill_outside(total, [read.inside for read in reads], len(trailing), cval)


def read_grid(
    coefficients: AnyValue, reads: Sequence[AxisReads], mode: Mode, cval: Any
) -> AnyValue:
    """Return a spline on a grid of coordinates, a vector of them for each axis."""
    order = reads[0].order
    coefficients = add_border(coefficients, range(len(reads)), order, mode, cval)
    rank = coefficients.ndim
    insides = []
    for axis, read in enumerate(reads):
        weights = stack(read.weights, 0)
        shape = (*[1] * axis, *weights.shape, *[1] * (rank - axis - 1))
        weight = astype(reshape(weights, shape), coefficients.dtype)
        indices = read.start + np.arange(order + 1)[:, None]
        coefficients = (take(coefficients, indices, axis) * weight).sum(axis)
        if read.inside is not None:
            insides.append(reshape(read.inside, (-1, *[1] * (rank - axis - 1))))
    return _fill_outside(coefficients, insides, 0, cval)


def _fill_outside(values: Any, insides: Sequence[Any], trailing: int, cval: Any) -> Any:
    """Return a constant where any of the coordinates lies outside."""
    inside: Any = None
    for along_axis in insides:
        if along_axis is not None:
            inside = along_axis if inside is None else logical_and(inside, along_axis)
    if inside is None:
        return values
    inside = reshape(inside, (*inside.shape, *[1] * trailing))
    return where(inside, values, astype(as_value(cval), values.dtype))

"""Filters of images: weighted sums of neighbours, along an axis or over several.

Weights along one axis go through a convolution of images [before, 1, axis, behind]: nothing is
transposed, and gradients are convolutions again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, RankError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Integer,
    NonNegativeInt,
    Size,
    as_value,
    axis_of,
    called_name,
    describe_operands,
    integer,
    is_number,
    product,
)
from staticgrad.extend.functions import imag, real
from staticgrad.extend.ops import astype, exp, flip, moveaxis, reshape
from staticgrad.functions import complex_numbers
from staticgrad.functions.arrange import pad
from staticgrad.ndimage.borders import (
    PAD_MODES,
    Mode,
    apply_to_image,
    cut_to_integers,
    expand_per_axis,
    read_axes,
)
from staticgrad.nn.functional.images.windows import conv

_Modes = Mode | Sequence[Mode]
#: A pass of a filter: along which axis, its weights, how far their middle is moved, the border.
_Pass = tuple[int, Any, int, Mode]


def correlate1d(
    input: ArrayLike[AnyValue],
    weights: ArrayLike[AnyValue],
    axis: Integer = -1,
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    origin: Integer = 0,
) -> AnyValue:
    """Compute the sums of neighbours along an axis times weights, the middle one at each element.

    Args:
        input: an image of any number of axes.
        weights: [k], known at build; differentiable.
        axis: along which axis.
        output: the dtype of the result; by default that of the image.
        mode: the values beyond the ends of an axis a b c d: ``"reflect"`` or ``"grid-mirror"``,
            d c b a | a b c d | d c b a; ``"mirror"``, d c b | a b c d | c b a; ``"nearest"``,
            a a | a b c d | d d; ``"wrap"`` or ``"grid-wrap"``, a b c d | a b c d | a b c d;
            ``"constant"`` or ``"grid-constant"``, ``cval``.
        cval: the constant beyond the ends.
        origin: how far the weights are moved to the left of the middle one.

    Returns:
        An image of that shape. Integers are computed in float64 and cut after each axis, as SciPy
        does; ``output=float`` keeps what is behind the point.

    Raises:
        ArgumentError: no such origin.
        RankError: weights that are no vector, an image without axes.

    >>> sg.ndimage.correlate1d([2.0, 8.0, 0.0], [1.0, 3.0])
    array([ 8., 26.,  8.])
    """
    return _filter_along_axes(input, [(axis, weights, origin, mode)], output, cval, conjugates=True)


def convolve1d(
    input: ArrayLike[AnyValue],
    weights: ArrayLike[AnyValue],
    axis: Integer = -1,
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    origin: Integer = 0,
) -> AnyValue:
    """Compute the convolution along an axis: ``correlate1d`` with the weights in reverse.

    >>> sg.ndimage.convolve1d([2.0, 8.0, 0.0], [1.0, 3.0])
    array([14., 24.,  0.])
    """
    reverse, origins = _reverse(as_value(weights), [origin])
    return _filter_along_axes(input, [(axis, reverse, origins[0], mode)], output, cval)


def correlate(
    input: ArrayLike[AnyValue],
    weights: ArrayLike[AnyValue],
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> AnyValue:
    """Compute the sums of neighbours times weights, the middle one at each element.

    Args:
        input: an image of any number of axes.
        weights: one axis for each of ``axes``, of sizes that are known at build; differentiable.
        output, mode, cval: as of ``correlate1d``.
        origin: how far the weights are moved, for all axes or for each.
        axes: along which axes of the image; by default all.

    >>> sg.ndimage.correlate([[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0, 1.0]], mode="constant")
    array([[3., 2.],
           [7., 4.]])
    """
    return _filter_image(input, as_value(weights), output, mode, cval, origin, axes, reverses=False)


def convolve(
    input: ArrayLike[AnyValue],
    weights: ArrayLike[AnyValue],
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> AnyValue:
    """Compute the convolution of an image: ``correlate`` with the weights in reverse.

    >>> sg.ndimage.convolve([[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0, 1.0]], mode="constant")
    array([[1., 3.],
           [3., 7.]])
    """
    return _filter_image(input, as_value(weights), output, mode, cval, origin, axes, reverses=True)


def gaussian_filter1d(
    input: ArrayLike[AnyValue],
    sigma: Any,
    axis: Integer = -1,
    order: NonNegativeInt = 0,
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    truncate: float = 4.0,
    *,
    radius: NonNegativeInt | None = None,
) -> AnyValue:
    """Convolve an image with a Gaussian function, or a derivative of it, along an axis.

    Args:
        input: an image of any number of axes.
        sigma: the standard deviation; a value, and differentiable, if ``radius`` is given.
        axis: along which axis.
        order: which derivative of the Gaussian; 0 is the function itself.
        output, mode, cval: as of ``correlate1d``.
        truncate: at how many standard deviations the weights end.
        radius: how many weights there are on each side, in the place of ``truncate``.

    >>> sg.ndimage.gaussian_filter1d([0.0, 0.0, 1.0, 0.0, 0.0], 0.5).round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ])
    """
    weights = _gaussian_weights(sigma, order, truncate, radius)
    return _filter_along_axes(input, [(axis, weights, 0, mode)], output, cval)


def gaussian_filter(
    input: ArrayLike[AnyValue],
    sigma: Any,
    order: Any = 0,
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
    truncate: float = 4.0,
    *,
    radius: Any = None,
    axes: Any = None,
) -> AnyValue:
    """Convolve an image with a Gaussian function, or a derivative of it, along several axes.

    Args:
        input: an image of any number of axes.
        sigma, order, mode, radius: as of ``gaussian_filter1d``, for all axes or for each.
        output, cval, truncate: as of ``gaussian_filter1d``.
        axes: along which axes; by default all.

    >>> sg.ndimage.gaussian_filter([[0.0, 0.0], [0.0, 1.0]], 0.5).round(3)
    array([[0.011, 0.096],
           [0.096, 0.797]])
    """
    image = as_value(input)
    passes: list[_Pass] = []
    places = read_axes(axes, image)
    for place, deviation, derivative, border, reach in zip(
        places,
        expand_per_axis("sigma", sigma, places),
        expand_per_axis("order", order, places),
        expand_per_axis("mode", mode, places),
        expand_per_axis("radius", radius, places),
        strict=True,
    ):
        if is_number(deviation) and not deviation > 1e-15:  # as SciPy: no filter
            continue
        weights = _gaussian_weights(deviation, derivative, truncate, reach)
        passes.append((place, weights, 0, border))
    return _filter_along_axes(image, passes, output, cval)


def uniform_filter1d(
    input: ArrayLike[AnyValue],
    size: Integer,
    axis: Integer = -1,
    output: Any = None,
    mode: Mode = "reflect",
    cval: Any = 0.0,
    origin: Integer = 0,
) -> AnyValue:
    """Compute the mean of ``size`` neighbours along an axis.

    >>> sg.ndimage.uniform_filter1d([2.0, 8.0, 0.0], 3).round(3)
    array([4.   , 3.333, 2.667])
    """
    return uniform_filter(input, size, output, mode, cval, origin, axes=axis)


def uniform_filter(
    input: ArrayLike[AnyValue],
    size: Any = 3,
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
    origin: Any = 0,
    *,
    axes: Any = None,
) -> AnyValue:
    """Compute the mean over a box of neighbours.

    Args:
        input: an image of any number of axes.
        size: how many neighbours, for all axes or for each.
        output, cval: as of ``correlate1d``.
        mode, origin: as of ``correlate1d``, for all axes or for each.
        axes: along which axes; by default all.

    >>> sg.ndimage.uniform_filter([[0.0, 0.0], [0.0, 9.0]], 3)
    array([[1., 2.],
           [2., 4.]])
    """
    image = as_value(input)
    places = read_axes(axes, image)
    arguments = [
        expand_per_axis(name, argument, places)
        for name, argument in (("size", size), ("origin", origin), ("mode", mode))
    ]
    passes: list[_Pass] = []
    divisors: list[float] = []
    for place, entry, move, border in zip(places, *arguments, strict=True):
        count = integer("size", entry, least=1)
        if count > 1:
            passes.append((place, np.ones(count), move, border))
            divisors.append(float(count))
    return _filter_along_axes(image, passes, output, cval, divisors=divisors)


def sobel(
    input: ArrayLike[AnyValue],
    axis: Integer = -1,
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
) -> AnyValue:
    """Compute Sobel's differences along an axis: [-1, 0, 1], and [1, 2, 1] along the others.

    Args:
        input: an image of any number of axes.
        axis: along which axis the differences are.
        output, cval: as of ``correlate1d``.
        mode: as of ``correlate1d``, for all axes or for each.

    >>> sg.ndimage.sobel([[0.0, 1.0], [0.0, 1.0]])
    array([[4., 4.],
           [4., 4.]])
    """
    return _difference_and_smooth(input, axis, output, mode, cval, [1, 2, 1])


def prewitt(
    input: ArrayLike[AnyValue],
    axis: Integer = -1,
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
) -> AnyValue:
    """Compute Prewitt's differences along an axis: [-1, 0, 1], and [1, 1, 1] along the others.

    Its arguments are those of ``sobel``.

    >>> sg.ndimage.prewitt([[0.0, 1.0], [0.0, 1.0]])
    array([[3., 3.],
           [3., 3.]])
    """
    return _difference_and_smooth(input, axis, output, mode, cval, [1, 1, 1])


def laplace(
    input: ArrayLike[AnyValue],
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
) -> AnyValue:
    """Compute the sum of second differences, [1, -2, 1] along each axis.

    Args:
        input: an image of any number of axes.
        output, cval: as of ``correlate1d``.
        mode: as of ``correlate1d``, for all axes or for each.
        axes: along which axes; by default all.

    >>> sg.ndimage.laplace([0.0, 0.0, 1.0, 0.0])
    array([ 0.,  1., -2.,  1.])
    """
    image = as_value(input)
    places = read_axes(axes, image)
    terms = [
        [(place, [1, -2, 1], 0, border)]
        for place, border in zip(places, expand_per_axis("mode", mode, places), strict=True)
    ]
    return _sum_filters(image, terms, output, cval)


def gaussian_laplace(
    input: ArrayLike[AnyValue],
    sigma: Any,
    output: Any = None,
    mode: _Modes = "reflect",
    cval: Any = 0.0,
    *,
    axes: Any = None,
    truncate: float = 4.0,
    radius: Any = None,
) -> AnyValue:
    """Compute the sum of second derivatives of a Gaussian filter, along each axis.

    Args:
        input: an image of any number of axes.
        sigma, radius: as of ``gaussian_filter1d``, for all axes or for each.
        output, cval, truncate: as of ``gaussian_filter1d``.
        mode: as of ``correlate1d``, for all axes or for each.
        axes: along which axes; by default all.

    >>> sg.ndimage.gaussian_laplace([0.0, 0.0, 1.0, 0.0, 0.0], 1.0).round(3)
    array([ 0.197,  0.002, -0.399,  0.002,  0.197])
    """
    image = as_value(input)
    places = read_axes(axes, image)
    sigmas, modes, radii = (
        expand_per_axis(name, argument, places)
        for name, argument in (("sigma", sigma), ("mode", mode), ("radius", radius))
    )
    terms = [
        [
            (
                place,
                _gaussian_weights(sigmas[k], 2 if k == differentiated else 0, truncate, radii[k]),
                0,
                # SciPy hands the mode of the differentiated axis on to all of them.
                modes[differentiated],
            )
            for k, place in enumerate(places)
        ]
        for differentiated in range(len(places))
    ]
    return _sum_filters(image, terms, output, cval)


# -- weighted sums --------------------------------------------------------------------------------


def _filter_along_axes(
    input: ArrayLike[AnyValue],
    passes: Sequence[_Pass],
    output: Any,
    cval: Any,
    *,
    divisors: Sequence[float] = (),
    conjugates: bool = False,
) -> AnyValue:
    """Filter an image along one axis after the other."""
    image: Any = as_value(input)
    if passes and any(as_value(weights).dtype.is_complex for _, weights, _, _ in passes):
        return _filter_complex(
            lambda x, weights, cval: _filter_along_axes(
                x, [(passes[0][0], weights, *passes[0][2:])], output, cval
            ),
            image,
            as_value(passes[0][1]),
            cval,
            conjugates,
        )

    def apply(x: AnyValue, cval: Any, settle: Callable[[AnyValue], AnyValue]) -> AnyValue:
        for number, (axis, weights, origin, mode) in enumerate(passes):
            x = _correlate_axis(x, weights, axis_of(axis, x), mode, cval, origin)
            x = settle(x / divisors[number] if divisors else x)
        return x

    return apply_to_image(apply, image, output, cval, cut_to_integers)


def _difference_and_smooth(
    input: ArrayLike[AnyValue], axis: int, output: Any, mode: _Modes, cval: Any, smoothing: Any
) -> AnyValue:
    """Take differences along one axis and weighted sums along the others."""
    image = as_value(input)
    modes = expand_per_axis("mode", mode, range(image.ndim))
    place = axis_of(axis, image)
    crossing = [k for k in range(image.ndim) if k != place]
    passes: list[_Pass] = [(place, [-1, 0, 1], 0, modes[place])]
    passes += [(k, smoothing, 0, modes[k]) for k in crossing]
    return _filter_along_axes(image, passes, output, cval)


def _sum_filters(
    image: AnyValue, terms: Sequence[Sequence[_Pass]], output: Any, cval: Any
) -> AnyValue:
    """Add up filters of one image; the image itself if there are none."""
    if not terms:
        return _filter_along_axes(image, [], output, cval)
    filtered: list[Any] = [_filter_along_axes(image, passes, output, cval) for passes in terms]
    return sum(filtered[1:], filtered[0])


def _correlate_axis(
    image: AnyValue, weights: Any, axis: int, mode: Mode, cval: Any, origin: int
) -> AnyValue:
    """Correlate an image along one axis."""
    vector = astype(as_value(weights), image.dtype)
    if vector.ndim != 1:
        raise RankError(
            f"{called_name()}: weights {vector.type} are no vector",
            related=describe_operands(vector),
        )
    extent = _extents(vector, 0, origin)
    padded = _extend_axes(image, {axis: extent}, mode, cval)
    outer, inner = product(image.shape[:axis]), product(image.shape[axis + 1 :])
    length = padded.shape[axis]
    lines: tuple[Size, ...]
    if inner == 1:
        lines, taps = (1, 1, outer, length), (1, 1, 1, -1)
    else:
        lines, taps = (outer, 1, length, inner), (1, 1, -1, 1)
    return reshape(conv(reshape(padded, lines), reshape(vector, taps)), image.shape)


def _filter_image(
    input: ArrayLike[AnyValue],
    weights: AnyValue,
    output: Any,
    mode: Mode,
    cval: Any,
    origin: Any,
    axes: Any,
    reverses: bool,
) -> AnyValue:
    """Correlate or convolve an image over several axes."""
    image: Any = as_value(input)
    if weights.dtype.is_complex:
        return _filter_complex(
            lambda x, part, cval: _filter_image(
                x, part, output, mode, cval, origin, axes, reverses
            ),
            image,
            weights,
            cval,
            conjugates=not reverses,
        )
    places = read_axes(axes, image)
    if weights.ndim != len(places):
        raise RankError(
            f"{called_name()}: weights {weights.type} for {len(places)} axes of {image.type}",
            related=describe_operands(image, weights),
        )
    origins = [integer("origin", entry) for entry in expand_per_axis("origin", origin, places)]
    if reverses:
        weights, origins = _reverse(weights, origins)

    def apply(x: AnyValue, cval: Any, _: Callable[[AnyValue], AnyValue]) -> AnyValue:
        if not places:
            return x
        extents = {place: _extents(weights, k, origins[k]) for k, place in enumerate(places)}
        padded = moveaxis(
            _extend_axes(x, extents, mode, cval), places, tuple(range(-len(places), 0))
        )
        batch_rank = padded.ndim - len(places)
        lines = (product(padded.shape[:batch_rank]), 1, *padded.shape[batch_rank:])
        filters = reshape(astype(weights, x.dtype), (1, 1, *weights.shape))
        sums = conv(reshape(padded, lines), filters)
        result = reshape(sums, (*padded.shape[:batch_rank], *sums.shape[2:]))
        return moveaxis(result, tuple(range(-len(places), 0)), places)

    return apply_to_image(apply, image, output, cval, cut_to_integers)


def _filter_complex(
    apply: Callable[..., Any], image: AnyValue, weights: AnyValue, cval: Any, conjugates: bool
) -> AnyValue:
    """Filter an image with complex weights: a sum for each part of both."""
    parts = real(weights), -imag(weights) if conjugates else imag(weights)
    by_real, by_imag = (apply(image, part, cval) for part in parts)
    return complex_numbers.complex(real(by_real) - imag(by_imag), imag(by_real) + real(by_imag))


def _extents(weights: AnyValue, axis: int, origin: int) -> tuple[int, int]:
    """Return how far weights reach before and after an element."""
    count = integer("number of weights", weights.shape[axis], weights)
    if not count:
        raise ArgumentError(f"{called_name()}: no weights", related=describe_operands(weights))
    if not -(count // 2) <= origin <= (count - 1) // 2:
        raise ArgumentError(
            f"{called_name()}: origin={origin} for {count} weights",
            hint=f"an integer from {-(count // 2)} to {(count - 1) // 2}",
        )
    left = count // 2 + origin
    return left, count - 1 - left


def _extend_axes(
    image: AnyValue, extents: dict[int, tuple[int, int]], mode: Mode, cval: Any
) -> AnyValue:
    """Return an image with values beyond its borders."""
    widths: list[tuple[Size, Size]] = [extents.get(axis, (0, 0)) for axis in range(image.ndim)]
    if PAD_MODES[mode] == "constant":
        return pad(image, widths, constant_values=cval)
    return pad(image, widths, PAD_MODES[mode])


def _reverse(weights: AnyValue, origins: Sequence[int]) -> tuple[AnyValue, list[int]]:
    """Return the weights of a convolution as those of a correlation, with their origins."""
    even = [not integer("number of weights", size, weights) % 2 for size in weights.shape]
    return flip(weights), [-move - is_even for move, is_even in zip(origins, even, strict=True)]


# -- Gaussian functions ---------------------------------------------------------------------------

#: Weights at which a sigma that is a value must be bounded.
_RADIUS_HINT: Final = "radius=8: how many weights there are on each side is known at build"


def _gaussian_weights(sigma: Any, order: Any, truncate: float, radius: Any) -> Any:
    """Return the weights of a Gaussian filter, in the order of a correlation."""
    derivative = integer("order", order, least=0)
    if radius is None:
        if not is_number(sigma):
            raise ArgumentError(
                f"{called_name()}: sigma is a value without radius=", hint=_RADIUS_HINT
            )
        radius = int(truncate * float(sigma) + 0.5)
    reach = integer("radius", radius, least=0)
    at = np.arange(-reach, reach + 1.0)
    squared = as_value(sigma) * sigma
    density: Any = exp(-0.5 / squared * at**2)
    density = density / density.sum()
    # A derivative of q(x) exp(-x^2 / (2 sigma^2)) is (q'(x) - q(x) x / sigma^2) times the same.
    coefficients: list[Any] = [1.0]
    for _ in range(derivative):
        slopes = [power * coefficients[power] for power in range(1, len(coefficients))]
        raised = [0.0, *[-coefficient / squared for coefficient in coefficients]]
        slopes += [0.0] * (len(raised) - len(slopes))
        coefficients = [slope + term for slope, term in zip(slopes, raised, strict=True)]
    polynomial = sum(coefficient * at**power for power, coefficient in enumerate(coefficients))
    return flip(polynomial * density)

"""Images read at other positions: grids, resizing, and pixels moved to channels and back."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import product
from math import prod
from operator import add
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    Dim,
    PositiveInt,
    Size,
    as_value,
    binding_kind,
    called_name,
    describe_operands,
    floating,
    integer,
    lift_operand,
    positive,
    promoted_values,
    rounded_once,
    shape_of,
)
from staticgrad.extend.dtypes import I64
from staticgrad.extend.ops import (
    absolute,
    clip,
    expand_dims,
    floor,
    iota,
    matmul,
    maximum,
    minimum,
    reshape,
    rint,
    size_value,
    swapaxes,
    take,
    take_along_axis,
    transpose,
    where,
)
from staticgrad.functions import aggregate
from staticgrad.language.ops.elementwise import ArrayLike

Border = Literal["zeros", "border", "reflection"]


@rounded_once
def grid_sample(
    x: ArrayLike[AnyValue],
    grid: ArrayLike[AnyValue],
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding_mode: Border = "zeros",
    align_corners: bool = False,
) -> AnyValue:
    """Sample images at the positions of a grid, as spatial transformers do.

    M. Jaderberg et al., arXiv 1506.02025. -1 and 1 are the ends of an axis.

    Args:
        x: images [batch, channels, *sizes] with one to three sizes, known at build.
        grid: for each element of the result a place in x [batch, *new sizes, axes], the last axis
            of x first: (column, row) of two.
        mode: "bilinear", linear between the neighbours along each axis; or "nearest".
        padding_mode: what lies outside: "zeros", the nearest element of the "border", or the image
            again, reflected at its ends.
        align_corners: whether -1 and 1 are the centres of the outermost elements, or their edges.

    Returns:
        The elements [batch, channels, *new sizes]. With "nearest" no gradient reaches the grid.

    >>> image = [[[[1.0, 2.0], [3.0, 4.0]]]]
    >>> sg.evaluate(sg.nn.grid_sample(image, [[[[0.0, 0.0], [-0.5, 0.5]]]])).ravel()
    array([2.5, 3. ])
    """
    image, places = (floating(v) for v in promoted_values((x, grid)))
    sizes = _grid_sizes(image, places)
    axes = len(sizes)
    batch, channels = image.shape[:2]
    flat = reshape(image, (batch, channels, prod(sizes)))
    points = reshape(places, (batch, -1, axes))
    weights_by_axis = [
        _read_axis(points[:, :, axes - 1 - axis], size, mode, padding_mode, align_corners)
        for axis, size in enumerate(sizes)
    ]
    read = sum(_corner(flat, sizes, ways) for ways in product(*weights_by_axis))
    return reshape(read, (batch, channels, *places.shape[1:-1]))


def _grid_sizes(image: Any, places: Any) -> list[int]:
    """Return the image sizes to which a sampling grid's points refer."""
    axes = image.ndim - 2
    if not 1 <= axes <= 3 or places.ndim != image.ndim:
        raise RankError(
            f"grid_sample: images {image.type} and a grid {places.type}",
            hint="x [batch, channels, height, width] and grid [batch, rows, columns, 2]",
            related=describe_operands(image, places),
        )
    if places.shape[-1] != axes:
        raise ShapeError(
            f"grid_sample: places of {places.shape[-1]} numbers in images of {axes} axes",
            related=describe_operands(image, places),
        )
    sizes = [integer("size", size, image) for size in image.shape[2:]]
    if 0 in sizes:
        raise ShapeError("grid_sample: images without elements", related=describe_operands(image))
    return sizes


def _read_axis(
    at: Any, size: int, mode: str, border: str, align_corners: bool
) -> list[tuple[Any, Any]]:
    """Return the pixels that each grid point reads along an axis, with weights."""
    at = (at + 1) * ((size - 1) / 2) if align_corners else ((at + 1) * size - 1) * 0.5
    if border == "reflection":
        at = _reflect(at, size, align_corners)
    if border != "zeros":
        at = minimum(maximum(at, 0.0), float(size - 1))
    if mode == "nearest":
        return [_element(rint(at), 1.0, size)]
    below = floor(at)
    above = at - below
    return [_element(below, 1.0 - above, size), _element(below + 1.0, above, size)]


def _element(at: Any, weight: Any, size: int) -> tuple[Any, Any]:
    inside = (at >= 0.0) & (at <= float(size - 1))
    index = clip(at, 0.0, float(size - 1)).astype("int64")
    return clip(index, 0, size - 1), where(inside, weight, 0.0)


def _reflect(at: Any, size: int, align_corners: bool) -> Any:
    """Reflect sampling positions at the borders of an image's axis."""
    low, span = (0.0, float(size - 1)) if align_corners else (-0.5, float(size))
    if span == 0:
        return at * 0.0
    distance = absolute(at - low)
    periods = floor(distance / span)
    offset = distance - periods * span
    # Every other copy of the image runs backwards.
    is_even = floor(periods * 0.5) * 2.0 == periods
    return where(is_even, offset, span - offset) + low


def _corner(flat: Any, sizes: Sequence[int], ways: Sequence[tuple[Any, Any]]) -> Any:
    index, weight = ways[0]
    for size, (next_index, share) in zip(sizes[1:], ways[1:], strict=True):
        index, weight = index * size + next_index, weight * share
    read = take_along_axis(flat, expand_dims(index, 1), axis=2)
    return read * expand_dims(weight.astype(flat.dtype), 1)


@rounded_once
def affine_grid(
    theta: ArrayLike[AnyValue], size: Sequence[int], align_corners: bool = False
) -> AnyValue:
    """The places that an affine map gives to the elements of an image: a grid for ``grid_sample``.

    Args:
        theta: a matrix for each image [batch, axes, axes + 1], the last axis of the image first.
        size: that of the result of ``grid_sample``, (batch, channels, *sizes), known at build.

    >>> sg.nn.affine_grid([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]], (1, 1, 2, 2))[0, 0]
    array([[-0.5, -0.5],
           [ 0.5, -0.5]])
    """
    maps = floating(as_value(theta))
    sizes = [integer("size", n, maps) for n in [*size][2:]]
    axes = len(sizes)
    if maps.ndim != 3 or tuple(maps.shape[1:]) != (axes, axes + 1) or not axes:
        raise ShapeError(
            f"affine_grid: theta {maps.type} for images of {axes} axes",
            hint="[batch, 2, 3] for size (batch, channels, height, width)",
            related=describe_operands(maps),
        )
    at = np.indices(sizes)
    ends = [max(n - 1, 1) if align_corners else n for n in sizes]
    lines = [
        (2 * at[axis] - (n - 1)) / end
        for axis, (n, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    places = np.stack([*lines[::-1], np.ones(sizes)], axis=-1)
    rows = places.reshape(-1, axes + 1).astype(maps.dtype.numpy)
    points = matmul(rows, swapaxes(maps, 1, 2))
    return reshape(points, (maps.shape[0], *sizes, axes))


def pixel_shuffle(x: ArrayLike[AnyValue], upscale_factor: PositiveInt) -> AnyValue:
    """Channels as places: [..., c * r * r, h, w] becomes [..., c, h * r, w * r].

    W. Shi et al., arXiv 1609.05158; r is ``upscale_factor``.

    >>> sg.nn.pixel_shuffle(np.arange(4.0).reshape(1, 4, 1, 1), 2).round(3)
    array([[[[0., 1.],
             [2., 3.]]]])
    """
    image, r = _check_image(x), upscale_factor
    *batch, channels, height, width = image.shape
    channel_count = integer("channels", channels, image)
    if channel_count % (r * r):
        raise ShapeError(
            f"pixel_shuffle: {channel_count} channels are not divisible by {r * r}",
            related=describe_operands(image),
        )
    blocks = reshape(image, (*batch, channel_count // (r * r), r, r, height, width))
    n = len(batch)
    transposed = transpose(blocks, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshape(transposed, (*batch, channel_count // (r * r), height * r, width * r))


def pixel_unshuffle(x: ArrayLike[AnyValue], downscale_factor: PositiveInt) -> AnyValue:
    """Places as channels, the inverse of ``pixel_shuffle``; r divides height and width.

    >>> sg.nn.pixel_unshuffle(np.arange(4.0).reshape(1, 1, 2, 2), 2).shape
    (1, 4, 1, 1)
    """
    image, r = _check_image(x), downscale_factor
    *batch, channels, height, width = image.shape
    rows, columns = (integer("size", s, image) for s in (height, width))
    if rows % r or columns % r:
        raise ShapeError(
            f"pixel_unshuffle: {rows} x {columns} is not divisible by {r}",
            related=describe_operands(image),
        )
    blocks = reshape(image, (*batch, channels, rows // r, r, columns // r, r))
    n = len(batch)
    transposed = transpose(blocks, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    shape = (*batch, channels * (r * r), rows // r, columns // r)
    return reshape(transposed, shape)


def _check_image(x: Any) -> Any:
    """Check an image [..., channels, height, width]."""
    image = as_value(x)
    if image.ndim < 3:
        raise RankError(
            f"{called_name()}: expected shape [..., channels, height, width], got {image.type}",
            related=describe_operands(image),
        )
    return image


#: Method -> what it is; PyTorch has a name for each number of axes.
_METHODS: Final = {
    **dict.fromkeys(("linear", "bilinear", "trilinear"), "linear"),
    **dict.fromkeys(("cubic", "bicubic"), "cubic"),
    "nearest": "nearest",
    "area": "area",
}
Method = Literal["linear", "bilinear", "trilinear", "cubic", "bicubic", "nearest", "area"]
Coordinates = Literal["half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
Rounding = Literal["round_prefer_ceil", "round_prefer_floor", "floor", "ceil"]
#: Elements up to which weights are applied element by element; more are summed along an axis.
_MOST_TERMS: Final = 8


class _Resizing(NamedTuple):
    method: str
    coordinates: str
    rounding: str
    cubic: float
    antialias: bool
    exclude_outside: bool


@rounded_once
def resize(
    x: ArrayLike[AnyValue],
    shape: Any = None,
    method: Method = "nearest",
    *,
    scale: float | tuple[float, ...] | None = None,
    coordinates: Coordinates = "half_pixel",
    rounding: Rounding = "round_prefer_ceil",
    cubic: float = -0.75,
    antialias: bool = False,
    exclude_outside: bool = False,
) -> AnyValue:
    """Resize images along as many of the last axes as ``shape`` or ``scale`` has entries.

    The words are those of ONNX's ``Resize``. PyTorch's ``interpolate`` has half pixels, too, but
    for its ``mode="nearest"``, which is ``coordinates="asymmetric", rounding="floor"``, and its
    ``align_corners=True``. With its ``antialias=True`` it excludes what lies outside, and ``cubic``
    is -0.5.

    Args:
        x: images.
        shape: the last sizes of the result; literal or named.
        method: ``"nearest"``, one element; ``"linear"``, between two of each axis; ``"cubic"``, by
            four of each axis (R. G. Keys 1981); ``"area"``, the mean of the elements that a new
            one covers. Beyond the outermost elements there are these again.
        scale: by which factors sizes grow, instead of ``shape``; rounded down. Positions are those
            of the factor, but for aligned corners and areas.
        coordinates: where element i of n lies among m: ``"half_pixel"``, at
            (i + 1/2) m / n - 1/2; ``"asymmetric"``, at i m / n; ``"align_corners"``, at
            i (m - 1) / (n - 1); ``"half_pixel_symmetric"``, as half pixels, in the middle of the
            image where ``scale`` does not give a whole size.
        rounding: which element is nearest: ``"floor"``, ``"ceil"``, or the nearer one, of two the
            latter (``"round_prefer_ceil"``) or the former (``"round_prefer_floor"``).
        cubic: the slope of the cubic at distance 1: -0.75, or -0.5 as in JAX and Pillow.
        antialias: whether linear and cubic methods average over what a smaller image leaves out.
        exclude_outside: whether elements beyond the outermost have no weight; those of the others
            grow.

    Returns:
        The images in that size; floating for all methods but ``"nearest"``.

    >>> sg.nn.resize([[[1.0, 2.0]]], (4,)).round(3)
    array([[[1., 1., 2., 2.]]])
    """
    value = as_value(x)
    options = _Resizing(_METHODS[method], coordinates, rounding, cubic, antialias, exclude_outside)
    if options.method != "nearest":
        value = floating(value)
    if (shape is None) == (scale is None):
        raise ArgumentError("resize: takes either shape or scale", related=describe_operands(value))
    # Scales as fractions: 0.6 is 3/5, also as a float32.
    scales = () if scale is None else scale if isinstance(scale, list | tuple) else (scale,)
    for factor in scales:
        positive("scale", factor)
    factors = tuple(Fraction(float(s)).limit_denominator(1_000_000) for s in scales)
    sizes = shape_of(shape, value) if scale is None else ()
    entries: tuple[Any, ...] = factors or sizes
    if len(entries) > value.ndim:
        count = len(entries)
        raise ArgumentError(
            f"resize: {count} sizes for {value.type}", related=describe_operands(value)
        )
    for axis, entry in enumerate(entries, start=value.ndim - len(entries)):
        old = value.shape[axis]
        new, ratio = entry, (old, entry)
        if isinstance(entry, Fraction):
            ratio = (entry.denominator, entry.numerator)
            new = old * entry.numerator // entry.denominator
        if any(isinstance(size, int) and size < 1 for size in (old, new)):
            raise ShapeError(
                f"resize: from {old} to {new} elements", related=describe_operands(value)
            )
        if ratio[0] != ratio[1]:
            value = _resize_axis(value, axis, new, ratio, options)
    return value


def _resize_axis(
    x: AnyValue, axis: int, new: Size, ratio: tuple[Size, Size], options: _Resizing
) -> AnyValue:
    """Resize one axis of an image to ``new`` pixels by interpolation."""
    old = x.shape[axis]
    named = isinstance(old, Dim)

    def number(size: Size) -> Any:
        return size_value(size, I64) if isinstance(size, Dim) else size

    at: Any = iota((new,), like=x) if isinstance(new, Dim) or named else np.arange(new)
    n, m, (q, p) = number(new), number(old), map(number, ratio)
    if options.method == "area":
        start, stop = at * m // n, -(-((at + 1) * m) // n)
        if isinstance(at, np.ndarray):
            reach = int((stop - start).max())
        else:  # m / n is below twice the ratio, since m * p // q is n
            reach = 2 * _kernel_width("area", 1, ratio, x) + 1
        places = [start + k for k in range(reach)]
        terms = [np.where(place < stop, 1.0, 0.0) / (stop - start) for place in places]
        return _weighted_sum(x, axis, places, terms, old)
    above, below = {  # the position is above / below
        "half_pixel": lambda: ((2 * at + 1) * q - p, 2 * p),
        "asymmetric": lambda: (at * q, p),
        "align_corners": lambda: (at * (m - 1), np.maximum(n - 1, 1)),
        "half_pixel_symmetric": lambda: ((2 * at + 1) * q - p + m * p - n * q, 2 * p),
    }[options.coordinates]()
    if options.method == "nearest":
        place = {
            "floor": lambda: above // below,
            "ceil": lambda: -(-above // below),
            "round_prefer_ceil": lambda: (2 * above + below) // (2 * below),
            "round_prefer_floor": lambda: -((below - 2 * above) // (2 * below)),
        }[options.rounding]()
        return take(x, np.clip(place, 0, m - 1), axis)
    radius, shrunk = {"linear": 1, "cubic": 2}[options.method], 1.0
    if options.antialias:
        reach = _kernel_width("antialias", radius, ratio, x)
        shrunk = min(1.0, p / q)
    else:
        reach = radius
    first, fraction = above // below, (above % below) / below
    offsets = range(1 - reach, reach + 1)
    places = [first + k for k in offsets]
    terms = [_evaluate_kernel((k - fraction) * shrunk, options) for k in offsets]
    if options.exclude_outside:
        terms = [
            np.where(np.logical_and(place >= 0, place < m), term, 0.0)
            for place, term in zip(places, terms, strict=True)
        ]
    if options.exclude_outside or options.antialias:
        total = reduce(add, terms)
        terms = [term / total for term in terms]
    return _weighted_sum(x, axis, places, terms, old)


def _kernel_width(what: str, radius: int, ratio: tuple[Size, Size], x: AnyValue) -> int:
    """Return how many pixels an interpolation kernel covers at a ratio."""
    q, p = ratio
    if isinstance(q, Dim) or isinstance(p, Dim):
        raise ArgumentError(
            f"resize: {what} from {q} to {p} elements: their ratio is only known in a run",
            hint="scale= gives it",
            related=describe_operands(x),
        )
    return max(radius, -(-radius * q // p))


def _evaluate_kernel(distance: Any, options: _Resizing) -> Any:
    """Evaluate the interpolation kernel of a resize: linear or cubic."""
    t = np.abs(distance)
    if options.method == "linear":
        return np.maximum(1.0 - t, 0.0)
    a = options.cubic
    inner_part = ((a + 2) * t - (a + 3)) * t * t + 1
    outer_part = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t <= 1, inner_part, np.where(t < 2, outer_part, 0.0))


def _weighted_sum(
    x: AnyValue, axis: int, places: list[Any], terms: list[Any], old: Size
) -> AnyValue:
    """Sum pixels at ``places``, clipped to the axis, by weights that add up to 1."""
    last: Any = size_value(old, I64) - 1 if isinstance(old, Dim) else old - 1
    trailing = (1,) * (x.ndim - 1 - axis)

    def weights(term: Any, shape: tuple[Size, ...]) -> Any:
        array = lift_operand("resize", binding_kind((x,)), term, x.dtype)
        return reshape(array, (*shape, *trailing))

    if len(places) > _MOST_TERMS:
        gathered = take(x, np.clip(np.stack(places, -1), 0, last), axis)
        count = (gathered.shape[axis], len(places))
        return aggregate.sum(gathered * weights(np.stack(terms, -1), count), axis + 1)
    first, *others = (take(x, np.clip(place, 0, last), axis) for place in places)
    size = (first.shape[axis],)
    total = first
    for neighbor, term in zip(others, terms[1:], strict=True):  # constants stay constants
        total = total + (neighbor - first) * weights(term, size)
    return total

"""Images at other places: coordinates, shifts, other sizes, rotations, affine maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, radians, sin
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Integer,
    Size,
    Value,
    as_value,
    axis_of,
    called_name,
    describe_operands,
    floating,
    integer,
    is_number,
    known_integer,
    promoted_values,
)
from staticgrad.extend.dtypes import F64, promote
from staticgrad.extend.ops import astype, iota, moveaxis, reshape, size_value, stack, where
from staticgrad.ndimage.borders import (
    Mode,
    apply_to_image,
    cut_to_integers,
    expand_per_axis,
    round_to_integers,
)
from staticgrad.ndimage.splines import (
    POLES,
    AxisReads,
    add_margin,
    compute_coefficients,
    margin,
    read_grid,
    read_scattered,
)
from staticgrad.special.integrals import cosdg, sindg


def map_coordinates(
    input: ArrayLike[AnyValue],
    coordinates: ArrayLike[AnyValue] | Sequence[ArrayLike[AnyValue]],
    output: Any = None,
    order: Integer = 3,
    mode: Mode = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
) -> AnyValue:
    """Read an image at coordinates, by a B-spline through its elements.

    It is differentiable by the image and, but for order 0, by the coordinates.

    Args:
        input: an image of any number of axes.
        coordinates: [axes, ...], in elements: 0 is the first one of an axis. A list has an array
            for each axis.
        output: the dtype of the result; by default that of the image.
        order: of the spline: 0 is the nearest element, 1 linear, 3 cubic, at most 5.
        mode: the values beyond the ends of an axis a b c d: ``"constant"``, ``cval`` for every
            coordinate outside; ``"grid-constant"``, elements ``cval``, interpolated with the
            outermost ones; ``"nearest"``, a a | a b c d | d d; ``"mirror"``, d c b | a b c d | c b
            a; ``"reflect"`` or ``"grid-mirror"``, d c b a | a b c d | d c b a; ``"grid-wrap"``,
            a b c d | a b c d | a b c d; ``"wrap"``, where d and the next a are one element.
        cval: the constant beyond the ends.
        prefilter: whether the image is one, and not the coefficients that ``spline_filter`` gives.

    Returns:
        The image at the coordinates [...]. Integers are computed in float64 and rounded.

    Raises:
        ArgumentError: no such order.
        RankError, ShapeError: not as many coordinates as axes.

    >>> image = [[0.0, 1.0], [2.0, 3.0]]
    >>> sg.ndimage.map_coordinates(image, [[0.5, 1.0], [0.5, 0.0]], order=1)
    array([1.5, 2. ])
    """
    image = as_value(input)
    if isinstance(coordinates, list | tuple):
        along_axes: list[Any] = [floating(axis) for axis in promoted_values(coordinates)]
        count: Any = len(along_axes)
        related: Any = along_axes[0] if along_axes else image
    else:
        related = floating(coordinates)
        if related.ndim == 0:
            raise RankError(
                f"{called_name()}: coordinates {related.type}",
                hint="coordinates [axes of the image, ...]",
                related=describe_operands(image, related),
            )
        count = integer("number of coordinates", related.shape[0], related)
        along_axes = [related[axis] for axis in range(count)]
    if count != image.ndim:
        raise ShapeError(
            f"{called_name()}: {count} coordinates for {image.type}",
            hint="coordinates [axes of the image, ...]",
            related=describe_operands(image, related),
        )

    def read(coefficients: AnyValue, added: int, cval: Any) -> AnyValue:
        reads = [
            AxisReads(
                astype(at, promote(at.dtype, coefficients.dtype)),
                image.shape[axis], order, mode, added,
            )
            for axis, at in enumerate(along_axes)
        ]  # fmt: skip
        return read_scattered(coefficients, reads, mode, cval)

    return _interpolate(image, output, order, mode, cval, prefilter, read)


def affine_transform(
    input: ArrayLike[AnyValue],
    matrix: ArrayLike[AnyValue],
    offset: Any = 0.0,
    output_shape: Sequence[Size] | None = None,
    output: Any = None,
    order: Integer = 3,
    mode: Mode = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
) -> AnyValue:
    """Read an image at the coordinates matrix @ o + offset, o being those of the result.

    It is differentiable by the image, the matrix and the offset.

    Args:
        input: an image of any number of axes.
        matrix: [axes, axes of the result]; [axes], a diagonal; or [axes, axes + 1] and
            [axes + 1, axes + 1], whose last column is the offset.
        offset: a number, or one for each axis of the image.
        output_shape: that of the result; by default that of the image.
        output, order, mode, cval, prefilter: as of ``map_coordinates``.

    Raises:
        RankError, ShapeError: no such matrix.

    >>> sg.ndimage.affine_transform([1.0, 2.0, 3.0, 4.0], [2.0], output_shape=(2,)).round(6)
    array([1., 3.])
    """
    image = as_value(input)
    rows: Any = floating(as_value(matrix))
    shape = image.shape if output_shape is None else tuple(output_shape)
    axes = image.ndim
    if rows.ndim == 2 and tuple(rows.shape) in ((axes, axes + 1), (axes + 1, axes + 1)):
        offset, rows = rows[:axes, axes], rows[:axes, :axes]
    if not 1 <= rows.ndim <= 2:
        raise RankError(
            f"{called_name()}: a matrix {rows.type}",
            hint="[axes, axes of the result], or [axes], a diagonal",
            related=describe_operands(image, rows),
        )
    if rows.shape[0] != axes or (rows.ndim == 2 and rows.shape[1] != len(shape)):
        raise ShapeError(
            f"{called_name()}: a matrix {rows.type} for {image.type} and a result of"
            f" {len(shape)} axes",
            hint="[axes, axes of the result], or [axes], a diagonal",
            related=describe_operands(image, rows),
        )
    if rows.ndim == 1 and len(shape) != axes:
        raise ShapeError(
            f"{called_name()}: a result of {len(shape)} axes by a diagonal for {image.type}",
            related=describe_operands(image, rows),
        )
    rows = astype(rows, F64)
    offsets = [_as_float64(entry) for entry in expand_per_axis("offset", offset, range(axes))]
    if rows.ndim == 1:
        # SciPy's order of operations, so that the same coordinates lie inside.
        lines = [
            (_positions(shape, axis, image, (-1,)) + offsets[axis] / rows[axis]) * rows[axis]
            for axis in range(axes)
        ]
        return _read_on_grid(image, lines, output, order, mode, cval, prefilter)
    return _read_affine(image, rows, offsets, shape, output, order, mode, cval, prefilter)


def shift(
    input: ArrayLike[AnyValue],
    shift: Any,
    output: Any = None,
    order: Integer = 3,
    mode: Mode = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
) -> AnyValue:
    """Move an image along its axes.

    It is differentiable by the image and the shift.

    Args:
        input: an image of any number of axes.
        shift: by how many elements, for all axes or for each.
        output, order, mode, cval, prefilter: as of ``map_coordinates``.

    >>> sg.ndimage.shift([1.0, 2.0, 3.0], 0.5, order=1)
    array([0. , 1.5, 2.5])
    """
    image = as_value(input)
    moves = expand_per_axis("shift", shift, range(image.ndim))
    lines = [
        _positions(image.shape, axis, image, (-1,)) - _as_float64(move)
        for axis, move in enumerate(moves)
    ]
    return _read_on_grid(image, lines, output, order, mode, cval, prefilter)


def zoom(
    input: ArrayLike[AnyValue],
    zoom: Any,
    output: Any = None,
    order: Integer = 3,
    mode: Mode = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
    *,
    grid_mode: bool = False,
) -> AnyValue:
    """Read an image at more or fewer places.

    Args:
        input: an image of any number of axes. A named size takes a whole number as its factor.
        zoom: the factor of the sizes, for all axes or for each; sizes are rounded.
        output, order, mode, cval, prefilter: as of ``map_coordinates``.
        grid_mode: whether elements have an extent: the first and the last places of the result are
            those of the image where not.

    >>> sg.ndimage.zoom([1.0, 2.0, 3.0], 2, order=1)
    array([1. , 1.4, 1.8, 2.2, 2.6, 3. ])
    """
    image = as_value(input)
    factors = expand_per_axis("zoom", zoom, range(image.ndim))
    sizes = [
        _zoom_size(size, factor, image) for size, factor in zip(image.shape, factors, strict=True)
    ]
    if (
        prefilter
        and all(size == old for size, old in zip(sizes, image.shape, strict=True))
        and all(factor == 1 for factor in factors)
    ):
        return apply_to_image(lambda x, cval, settle: x, image, output, cval, cut_to_integers)
    less = 0 if grid_mode else 1
    lines = []
    for axis, (old, new) in enumerate(zip(image.shape, sizes, strict=True)):
        at = _positions(tuple(sizes), axis, image, (-1,))
        ratio = _ratio(old - less, new - less)
        lines.append((at + 0.5) * ratio - 0.5 if grid_mode else at * ratio)
    return _read_on_grid(image, lines, output, order, mode, cval, prefilter)


def rotate(
    input: ArrayLike[AnyValue],
    angle: Any,
    axes: Sequence[int] = (1, 0),
    reshape: bool = True,
    output: Any = None,
    order: Integer = 3,
    mode: Mode = "constant",
    cval: Any = 0.0,
    prefilter: bool = True,
) -> AnyValue:
    """Rotate an image in the plane of two of its axes.

    Args:
        input: an image of two axes at least.
        angle: in degrees; a value, and differentiable, with ``reshape=False``.
        axes: the two axes.
        reshape: whether the result is as large as it must be to contain the whole image; the sizes
            of both axes are known at build then.
        output, order, mode, cval, prefilter: as of ``map_coordinates``.

    Raises:
        RankError: an image of one axis.
        ArgumentError: an angle that is a value, with ``reshape=True``.

    >>> sg.ndimage.rotate([[1.0, 2.0], [3.0, 4.0]], 90.0, order=1)
    array([[2., 4.],
           [1., 3.]])
    """
    image = as_value(input)
    if image.ndim < 2:
        raise RankError(
            f"{called_name()}: {image.type} has no plane", related=describe_operands(image)
        )
    plane = sorted(axis_of(axis, image) for axis in axes)
    if len(plane) != 2 or plane[0] == plane[1]:
        raise ArgumentError(f"{called_name()}: axes={tuple(axes)!r} are not two different axes")
    sizes = [image.shape[axis] for axis in plane]
    if reshape:
        if not is_number(angle):
            raise ArgumentError(
                f"{called_name()}: angle is a value, on which the size of the result depends",
                hint="reshape=False: the result has the size of the image",
            )
        new_sizes: list[Size] = _rotated_sizes([integer("size", n, image) for n in sizes], angle)
    else:
        new_sizes = sizes
    cosine, sine = (astype(as_value(f(angle)), F64) for f in (cosdg, sindg))
    rows = [[cosine, sine], [-sine, cosine]]
    centres = [_half(size) for size in new_sizes]
    offsets = [
        _half(sizes[k]) - (rows[k][0] * centres[0] + rows[k][1] * centres[1]) for k in range(2)
    ]
    plane_first = moveaxis(image, plane, (0, 1))
    rotated = _read_affine(
        plane_first, stack([stack(row) for row in rows]), offsets, tuple(new_sizes),
        output, order, mode, cval, prefilter,
    )  # fmt: skip
    return moveaxis(rotated, (0, 1), plane)


def spline_filter1d(
    input: ArrayLike[AnyValue],
    order: Integer = 3,
    axis: Integer = -1,
    output: Any = "float64",
    mode: Mode = "mirror",
) -> AnyValue:
    """Compute the coefficients of the B-spline through an image along an axis.

    Args:
        input: an image of any number of axes.
        order: of the spline, 0 to 5.
        axis: along which axis.
        output: the dtype of the result.
        mode: as of ``map_coordinates``.

    >>> sg.ndimage.spline_filter1d([0.0, 1.0, 0.0]).round(3)
    array([-1.,  2., -1.])
    """
    image = as_value(input)
    place = axis_of(axis, image)
    return _filter_image(image, (place,), order, output, mode)


def spline_filter(
    input: ArrayLike[AnyValue],
    order: Integer = 3,
    output: Any = "float64",
    mode: Mode = "mirror",
) -> AnyValue:
    """Compute the coefficients of the B-spline through an image, along all axes.

    Args:
        input: an image of any number of axes.
        order: of the spline, 2 to 5.
        output: the dtype of the result.
        mode: as of ``map_coordinates``.

    >>> sg.ndimage.spline_filter([[0.0, 1.0, 0.0]]).round(3)
    array([[-1.,  2., -1.]])
    """
    image = as_value(input)
    return _filter_image(image, range(image.ndim), order, output, mode)


# -- parts ----------------------------------------------------------------------------------------


def _filter_image(
    image: AnyValue, axes: Sequence[int], order: int, output: Any, mode: Mode
) -> AnyValue:
    """Compute coefficients along axes, in the dtype of the result."""
    _check_order(order)
    return apply_to_image(
        lambda x, cval, settle: compute_coefficients(x, axes, order, mode),
        image, output, 0.0, cut_to_integers,
    )  # fmt: skip


def _check_order(order: int) -> None:
    if order not in POLES:
        raise ArgumentError(
            f"{called_name()}: order={order}", hint="the order of a spline is 0, 1, 2, 3, 4 or 5"
        )


def _interpolate(
    image: AnyValue,
    output: Any,
    order: int,
    mode: Mode,
    cval: Any,
    prefilter: bool,
    read: Callable[[AnyValue, int, Any], AnyValue],
    axes: Sequence[int] | None = None,
) -> AnyValue:
    """Compute coefficients along axes, by default all, and read them."""
    _check_order(order)
    along = range(image.ndim) if axes is None else axes
    added = margin(mode, order, prefilter)

    def apply(x: AnyValue, cval: Any, settle: Callable[[AnyValue], AnyValue]) -> AnyValue:
        if added:
            x = add_margin(x, along, mode, cval, added)
        return read(compute_coefficients(x, along, order if prefilter else 1, mode), added, cval)

    return apply_to_image(apply, image, output, cval, round_to_integers)


def _read_on_grid(
    image: AnyValue,
    lines: Sequence[AnyValue],
    output: Any,
    order: int,
    mode: Mode,
    cval: Any,
    prefilter: bool,
) -> AnyValue:
    """Read an image where lines of coordinates along its axes cross."""

    def read(coefficients: AnyValue, added: int, cval: Any) -> AnyValue:
        reads = [
            AxisReads(line, image.shape[axis], order, mode, added)
            for axis, line in enumerate(lines)
        ]
        return read_grid(coefficients, reads, mode, cval)

    return _interpolate(image, output, order, mode, cval, prefilter, read)


def _read_affine(
    image: AnyValue,
    rows: Any,
    offsets: Sequence[Any],
    shape: tuple[Size, ...],
    output: Any,
    order: int,
    mode: Mode,
    cval: Any,
    prefilter: bool,
) -> AnyValue:
    """Read the first axes of an image at the coordinates rows @ o + offsets."""

    def read(coefficients: AnyValue, added: int, cval: Any) -> AnyValue:
        reads = []
        for axis, offset in enumerate(offsets):
            at: Any = 0.0
            for column in range(len(shape)):
                at = at + _positions(shape, column, image) * rows[axis, column]
            reads.append(AxisReads(at + offset, image.shape[axis], order, mode, added))
        return read_scattered(coefficients, reads, mode, cval)

    return _interpolate(image, output, order, mode, cval, prefilter, read, axes=range(len(offsets)))


def _positions(
    shape: Sequence[Size], axis: int, like: AnyValue, view: tuple[int, ...] | None = None
) -> Any:
    """Return the float64 positions along an axis of a shape: of its rank, or a vector."""
    line = astype(iota((shape[axis],), like=like), F64)
    if view is not None:
        return line
    return reshape(line, tuple(-1 if k == axis else 1 for k in range(len(shape))))


def _as_float64(x: Any) -> Any:
    return float(x) if is_number(x) else astype(as_value(x), F64)


def _half(size: Size) -> Any:
    """Return (size - 1) / 2."""
    return size_value(size - 1, F64) / 2.0


def _ratio(numerator: Size, denominator: Size) -> Any:
    """Return the quotient of two sizes, or 1 where the second one is 0."""
    if isinstance(denominator, int):
        return size_value(numerator, F64) / denominator if denominator else 1.0
    divisor = size_value(denominator, F64)
    return where(divisor == 0, 1.0, size_value(numerator, F64) / where(divisor == 0, 1.0, divisor))


def _zoom_size(size: Size, factor: Any, image: AnyValue) -> Size:
    """Return the size of a zoomed axis."""
    if isinstance(factor, Value):
        raise ArgumentError(
            f"{called_name()}: zoom is a value, on which the size of the result depends",
            hint="a number; affine_transform(image, matrix, output_shape=...) takes a value",
        )
    if isinstance(size, int):
        return round(size * float(factor))
    multiple = known_integer(factor)
    if multiple is None:
        raise ArgumentError(
            f"{called_name()}: zoom={factor} of the named size {size}",
            hint="a named size takes a whole number",
            related=describe_operands(image),
        )
    return size * multiple


def _rotated_sizes(sizes: Sequence[int], angle: Any) -> list[Size]:
    """Return the sizes of a rotated plane that contains all of it."""
    quarters = round(float(angle) / 90.0)
    remaining = radians(float(angle) - 90.0 * quarters)  # so that multiples of 90 degrees are exact
    turns = np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), quarters % 4)
    rotation = turns @ [[cos(remaining), sin(remaining)], [-sin(remaining), cos(remaining)]]
    rows, columns = sizes
    corners = rotation @ [[0, 0, rows, rows], [0, columns, 0, columns]]
    return [int(extent) for extent in np.ptp(corners, axis=1) + 0.5]

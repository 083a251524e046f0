"""Values on a grid whose points along each axis need not be equally spaced, read between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    Value,
    are_plain,
    as_value,
    computed_at_once,
    describe_operands,
    floating,
    integer,
    make_boundaries,
    product,
    promoted_values,
)
from staticgrad.extend.dtypes import I64
from staticgrad.extend.functions import (
    imag,
    ones_like,
    real,
    zeros_like,
)
from staticgrad.extend.ops import (
    astype,
    broadcast_arrays,
    broadcast_to,
    clip,
    concatenate,
    flip,
    iota,
    logical_and,
    logical_or,
    moveaxis,
    reached_end,
    reshape,
    searchsorted,
    size_value,
    stack,
    take,
    transpose,
    where,
)
from staticgrad.extend.trees import Contents, ObjectParts, parts
from staticgrad.functions import complex_numbers
from staticgrad.interpolate.curves import CubicSpline, PchipInterpolator
from staticgrad.linalg.matrices import solve

_Method = Literal["linear", "nearest", "slinear", "cubic", "quintic", "pchip"]
_Points = Sequence[ArrayLike[AnyValue]]
#: Method -> how many points an axis has at least.
_FEWEST: Final[dict[str, int]] = {
    "linear": 2, "nearest": 2, "slinear": 2, "cubic": 4, "quintic": 6, "pchip": 4
}  # fmt: skip
#: Methods that are splines, which have derivatives of any order.
_SPLINES: Final = ("slinear", "cubic", "quintic")
_NAME: Final = "RegularGridInterpolator"


@make_boundaries
class RegularGridInterpolator:
    """Values on a grid, interpolated between its points.

    It is differentiable by the values, the points and, but for ``"nearest"``, the places.

    Args:
        points: for each axis of the grid its points, ascending; arrays may descend. Their numbers
            are known at build.
        values: [points of the first axis, points of the second one, ..., more axes...].
        method: ``"linear"`` or ``"slinear"``; ``"nearest"``; ``"cubic"`` and ``"quintic"``,
            splines that have two and four continuous derivatives; ``"pchip"``, cubic pieces that
            rise and fall where values do.
        bounds_error: whether a place outside of the grid is an error, in the run that meets it.
        fill_value: the value outside, without ``bounds_error``; None extrapolates.

    Attributes:
        grid, values: as given, floating, with ascending points.

    Raises:
        RankError, ShapeError: points and values do not go together.
        ArgumentError: points that do not ascend; in a call, a place outside of the grid.

    >>> read = sg.interpolate.RegularGridInterpolator(([0.0, 1.0], [0.0, 2.0]), [[0, 1], [2, 3]])
    >>> read([[0.5, 1.0], [1.0, 2.0]])
    array([1.5, 3. ])
    """

    def __init__(
        self,
        points: _Points,
        values: ArrayLike[AnyValue],
        method: _Method = "linear",
        bounds_error: bool = True,
        fill_value: Any = np.nan,
    ) -> None:
        _check_method(method)
        self.method: _Method = method
        self.bounds_error: bool = bounds_error
        self.fill_value: Any = fill_value
        axes = [*points]
        descending = [axis for axis, line in enumerate(axes) if _descends(axis, line)]

        def read(operands: Any, _: Any) -> Any:
            *lines, array = (floating(operand) for operand in operands)
            _check_grid(lines, array)
            array = flip(array, tuple(descending)) if descending else array
            return [flip(line) if k in descending else line for k, line in enumerate(lines)], array

        operands = (*axes, values)
        compute = computed_at_once if are_plain(operands, {}) else lambda f, *call: f(*call)
        self.grid, self.values = compute(read, operands, {})
        self.grid = tuple(self.grid)

    def tree_contents(self) -> Contents:
        """The points and values as leaves."""
        static = {
            "method": self.method,
            "bounds_error": self.bounds_error,
            "fill_value": self.fill_value,
        }
        return Contents({"grid": self.grid, "values": self.values}, static)

    def __call__(
        self,
        xi: ArrayLike[AnyValue] | _Points,
        method: _Method | None = None,
        *,
        nu: Sequence[int] | None = None,
    ) -> Any:
        """Interpolate at places.

        Args:
            xi: places [..., axes of the grid], or a tuple with an array for each axis.
            method: as of the class, for this call.
            nu: which derivative along each axis, of the methods slinear, cubic and quintic.

        Returns:
            Values [..., more axes of the values]; one place [axes] gives [1, ...].
        """
        chosen = self.method if method is None else method
        _check_method(chosen)
        orders = [0] * len(self.grid) if nu is None else [integer("nu", k, least=0) for k in nu]
        if len(orders) != len(self.grid) or (nu is not None and chosen not in _SPLINES):
            raise ArgumentError(
                f"{_NAME}: nu={nu!r} of method {chosen!r} along {len(self.grid)} axes",
                hint=f"one order for each axis, of the methods {', '.join(_SPLINES)}",
            )
        places = tuple(xi) if isinstance(xi, tuple) else (xi,)
        operands = (*self.grid, self.values, *places)

        def read(operands: Any, _: Any) -> Any:
            count = len(self.grid)
            at = _read_places(operands[count + 1 :], count, isinstance(xi, tuple))
            return self._interpolate(
                operands[:count], as_value(operands[count]), at, chosen, orders
            )

        if are_plain(operands, {}):
            return computed_at_once(read, operands, {})
        return read(operands, {})

    def _interpolate(
        self, grid: Any, values: Any, at: Any, method: str, orders: Sequence[int]
    ) -> Any:
        """Interpolate real or complex values at places [..., axes]."""
        if values.dtype.is_complex:
            halves = [
                self._interpolate(grid, part(values), at, method, orders) for part in (real, imag)
            ]
            return complex_numbers.complex(*halves)
        *lines, array, at = promoted_values((*grid, values, at))
        for axis, line in enumerate(lines):
            if line.shape[0] < _FEWEST[method]:
                raise ShapeError(
                    f"{_NAME}: {line.shape[0]} points along axis {axis}, method {method!r} takes"
                    f" {_FEWEST[method]}",
                    related=describe_operands(line),
                )
        count = product(at.shape[:-1])
        along = [reshape(at[..., axis], (count,)) for axis in range(len(lines))]
        if self.bounds_error:
            along = [
                _check_bounds(x, line, axis)
                for axis, (x, line) in enumerate(zip(along, lines, strict=True))
            ]
        cells = [_Cell(x, line) for x, line in zip(along, lines, strict=True)]
        read = _READERS[method](lines, array, cells, along, orders)
        trailing = read.shape[1:]
        if not self.bounds_error and self.fill_value is not None:
            outside: Any = False
            is_number: Any = True  # of NaN there is NaN, outside too
            for x, line in zip(along, lines, strict=True):
                outside = logical_or(outside, logical_or(x < line[0], x > line[-1]))
                is_number = logical_and(is_number, x == x)
            outside = logical_and(outside, is_number)
            outside = reshape(outside, (count, *[1] * len(trailing)))
            read = where(outside, astype(as_value(self.fill_value), read.dtype), read)
        return reshape(read, (*at.shape[:-1], *trailing))


parts.register(
    RegularGridInterpolator, lambda grid: ObjectParts(lambda: grid.tree_contents().parts)
)


def interpn(
    points: _Points,
    values: ArrayLike[AnyValue],
    xi: ArrayLike[AnyValue] | _Points,
    method: _Method = "linear",
    bounds_error: bool = True,
    fill_value: Any = np.nan,
) -> Any:
    """Interpolate values on a grid at places: ``RegularGridInterpolator``, called once.

    >>> sg.interpolate.interpn(([0.0, 1.0], [0.0, 2.0]), [[0.0, 1.0], [2.0, 3.0]], [0.5, 1.0])
    array([1.5])
    """
    grid = RegularGridInterpolator(points, values, method, bounds_error, fill_value)
    return grid(xi)


class _Cell:
    """The cell of a grid's axis in which each place lies.

    Attributes:
        index: integers [n], of the point before.
        offset, width: the distance from that point, and to the next one.
    """

    def __init__(self, places: Any, line: Any) -> None:
        last = line.shape[0] - 2
        self.index: Any = clip(searchsorted(line, places, "right") - 1, 0, last)
        start = take(line, self.index)
        self.offset: Any = places - start
        self.width: Any = take(line, self.index + 1) - start


def _read_products(array: Any, axes: int, terms: Sequence[tuple[Any, Any]]) -> Any:
    """Return sums over products of one term along each axis: indices and weights [terms, n]."""
    index: Any = None
    weight: Any = None
    for axis, (indices, weights) in enumerate(terms):
        shape = (*[-1 if k == axis else 1 for k in range(axes)], indices.shape[1])
        along, share = reshape(indices, shape), reshape(weights, shape)
        size = size_value(array.shape[axis], I64)
        index = along if index is None else index * size + along
        weight = share if weight is None else weight * share
    trailing = array.shape[axes:]
    flat = reshape(array, (product(array.shape[:axes]), *trailing))
    weight = reshape(weight, (*weight.shape, *[1] * len(trailing)))
    return (take(flat, index, 0) * weight).sum(tuple(range(axes)))


def _read_linear(
    lines: Sequence[Any], array: Any, cells: Sequence[_Cell], _: Any, orders: Sequence[int]
) -> Any:
    terms = []
    for cell, order in zip(cells, orders, strict=True):
        share = cell.offset / cell.width
        slope = 1.0 / cell.width
        pairs = [(1.0 - share, share), (-slope, slope)]
        weights = pairs[order] if order < 2 else (share * 0.0, share * 0.0)
        terms.append((stack([cell.index, cell.index + 1], 0), stack(weights, 0)))
    return _read_products(array, len(lines), terms)


def _read_nearest(
    lines: Sequence[Any], array: Any, cells: Sequence[_Cell], _: Any, orders: Sequence[int]
) -> Any:
    terms = []
    for cell in cells:
        share = cell.offset / cell.width
        index = cell.index + astype(share > 0.5, I64)
        ones = where(share == share, ones_like(share), share)  # NaN stays
        terms.append((reshape(index, (1, -1)), reshape(ones, (1, -1))))
    return _read_products(array, len(lines), terms)


def _read_cubic(
    lines: Sequence[Any], array: Any, cells: Sequence[_Cell], _: Any, orders: Sequence[int]
) -> Any:
    """Read a tensor product of cubic splines: 4 coefficients a cell along each axis."""
    axes, trailing = len(lines), array.shape[len(lines) :]
    for axis, line in enumerate(lines):
        # [4, cells] of the axes before, the last one first, then the points of the others.
        array = as_value(CubicSpline(line, array, axis=2 * axis).c)
    places = [2 * (axes - 1 - axis) for axis in range(axes)]
    order = (*(k + 1 for k in places), *places, *range(2 * axes, array.ndim))
    array = transpose(array, order)  # [cells of each axis, 4 of each axis, trailing]
    sizes = array.shape[:axes]
    index: Any = cells[0].index
    for size, cell in zip(sizes[1:], cells[1:], strict=True):
        index = index * size_value(size, I64) + cell.index
    read = take(reshape(array, (product(sizes), *[4] * axes, *trailing)), index, 0)
    for cell, derivative in zip(cells, orders, strict=True):
        basis = stack([_power(cell.offset, power, derivative) for power in (3, 2, 1, 0)], -1)
        read = (read * reshape(basis, (*basis.shape, *[1] * (read.ndim - 2)))).sum(1)
    return read


def _power(x: Any, power: int, derivative: int) -> Any:
    """Return a derivative of a power of x."""
    factor = 1.0
    for k in range(derivative):
        factor *= power - k
    if power < derivative:
        return zeros_like(x)
    return factor * x ** (power - derivative) if power > derivative else factor * ones_like(x)


def _read_quintic(
    lines: Sequence[Any], array: Any, cells: Sequence[_Cell], along: Sequence[Any],
    orders: Sequence[int],
) -> Any:  # fmt: skip
    """Read a tensor product of splines of degree 5, by the coefficients of their B-splines."""
    terms = []
    for axis, (line, places, order) in enumerate(zip(lines, along, orders, strict=True)):
        knots = concatenate(
            [broadcast_to(line[:1], (6,)), line[3:-3], broadcast_to(line[-1:], (6,))]
        )
        count = line.shape[0]
        first, weights = _weigh_b_splines(knots, line)
        columns = iota((count,), like=line)
        matrix: Any = 0.0
        for place, weight in enumerate(weights):
            matrix = matrix + where(columns == first[:, None] + place, weight[:, None], 0.0)
        values = moveaxis(array, axis, 0)
        solved = solve(matrix, reshape(values, (count, -1)))
        array = moveaxis(reshape(solved, values.shape), 0, axis)
        first, weights = _weigh_b_splines(knots, places, order)
        terms.append((stack([first + k for k in range(6)], 0), stack(weights, 0)))
    return _read_products(array, len(lines), terms)


def _weigh_b_splines(knots: Any, x: Any, derivative: int = 0) -> tuple[Any, list[Any]]:
    """Return the first of the 6 B-splines of degree 5 that are not 0 at places, and their values.

    C. de Boor, A Practical Guide to Splines, Springer 1978, chapter X: the recurrence, and
    derivatives as differences of splines of a lower degree. Outside of the knots the last pieces
    go on.
    """
    # The first 6 knots are one place, and the last 6.
    span = clip(searchsorted(knots, x, "right") - 1, 5, knots.shape[0] - 7)

    def knot(place: int) -> Any:
        return take(knots, span + place)

    def weigh(degree: int, derivative: int) -> list[Any]:
        if derivative > degree:
            return [zeros_like(x)] * (degree + 1)
        if derivative:
            lower = weigh(degree - 1, derivative - 1)
            slopes = [
                weight * (degree / (knot(k + 1) - knot(k + 1 - degree)))
                for k, weight in enumerate(lower)
            ]
            return [
                (slopes[k - 1] if k else 0.0) - (slopes[k] if k < degree else 0.0)
                for k in range(degree + 1)
            ]
        weights = [where(x == x, ones_like(x), x)]  # NaN stays
        for order in range(1, degree + 1):
            raised = [zeros_like(x)]
            for k, weight in enumerate(weights):
                right, left = knot(k + 1), knot(k + 1 - order)
                share = weight / (right - left)
                raised[k] = raised[k] + (right - x) * share
                raised.append((x - left) * share)
            weights = raised
        return weights

    return span - 5, weigh(5, derivative)


def _read_pchip(
    lines: Sequence[Any], array: Any, cells: Sequence[_Cell], along: Sequence[Any], _: Any
) -> Any:
    """Read monotone pieces along the last axis, then along each other one of what these give."""
    last = len(lines) - 1
    read = as_value(PchipInterpolator(lines[last], array, axis=last)(along[last]))
    for axis in reversed(range(last)):
        # [..., points of the axis, places, trailing]: each place has a curve of its own.
        coefficients = moveaxis(
            as_value(PchipInterpolator(lines[axis], read, axis=axis).c), 2 + axis, 2
        )
        pieces, count = coefficients.shape[1:3]
        shape = (4, pieces * count, *coefficients.shape[3:])
        index = cells[axis].index * size_value(count, I64) + iota((count,), like=read)
        chosen = take(reshape(coefficients, shape), index, 1)
        offset = reshape(cells[axis].offset, (count, *[1] * (chosen.ndim - 2)))
        total = chosen[0]
        for power in range(1, 4):
            total = total * offset + chosen[power]
        read = moveaxis(total, 0, axis)
    return read


_READERS: Final = {
    "linear": _read_linear,
    "slinear": _read_linear,
    "nearest": _read_nearest,
    "cubic": _read_cubic,
    "quintic": _read_quintic,
    "pchip": _read_pchip,
}


# -- arguments ------------------------------------------------------------------------------------


def _check_method(method: Any) -> None:
    if method not in _READERS:
        raise ArgumentError(f"{_NAME}: method={method!r}", hint=f"one of {', '.join(_READERS)}")


def _descends(axis: int, line: Any) -> bool:
    """Return whether the points of an axis descend; refuse arrays that do neither."""
    if isinstance(line, Value):
        return False
    steps = np.diff(np.asarray(line))
    if np.all(steps > 0):
        return False
    if np.all(steps < 0):
        return True
    raise ArgumentError(f"{_NAME}: the points of axis {axis} neither ascend nor descend")


def _check_grid(lines: Sequence[Any], values: Any) -> None:
    """Refuse points and values that do not go together."""
    if not lines or len(lines) > values.ndim or any(line.ndim != 1 for line in lines):
        raise RankError(
            f"{_NAME}: values {values.type} on a grid of {len(lines)} axes",
            hint="points: a vector for each of the first axes of the values",
            related=describe_operands(values, *lines),
        )
    for axis, line in enumerate(lines):
        if integer("number of points", line.shape[0], line) != values.shape[axis]:
            raise ShapeError(
                f"{_NAME}: {line.shape[0]} points for {values.shape[axis]} values along axis"
                f" {axis}",
                related=describe_operands(line, values),
            )


def _read_places(places: Sequence[Any], axes: int, is_tuple: bool) -> Any:
    """Return places [..., axes]."""
    if is_tuple:
        at = stack(broadcast_arrays(*map(floating, places)), -1)
    else:
        at = floating(places[0])
        at = reshape(at, (-1, axes)) if at.ndim == 1 else at
    if at.ndim == 0 or at.shape[-1] != axes:
        raise ShapeError(
            f"{_NAME}: places {at.type} in a grid of {axes} axes",
            hint="[..., axes of the grid], or a tuple with an array for each axis",
            related=describe_operands(at),
        )
    return at


def _check_bounds(places: Any, line: Any, axis: int) -> Any:
    """Return places, checked to lie inside in the run."""
    inside = logical_and(places >= line[0], places <= line[-1])
    return where(reached_end(f"bounds.{_NAME}.{axis}", "", inside, places), places, np.nan)

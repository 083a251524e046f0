"""Piecewise polynomials through points along an axis: cubic splines and their relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final, Literal, TypeVar

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    AnyValue,
    ArrayLike,
    NonNegativeInt,
    PositiveInt,
    are_plain,
    as_value,
    axis_of,
    computed_at_once,
    describe_operands,
    floating,
    integer,
    make_boundaries,
    promoted_values,
    quote,
)
from staticgrad.extend.functions import ones_like, zeros_like
from staticgrad.extend.ops import (
    absolute,
    astype,
    broadcast_to,
    clip,
    concatenate,
    cumsum,
    expand_dims,
    floor_divide,
    logical_and,
    moveaxis,
    remainder,
    reshape,
    searchsorted,
    sign,
    stack,
    take,
    where,
    with_zeros,
)
from staticgrad.extend.trees import Contents, ObjectParts, parts
from staticgrad.functions.arrange import roll
from staticgrad.linalg.matrices import solve_tridiagonal

__all__ = [
    "Akima1DInterpolator", "CubicHermiteSpline", "CubicSpline", "PPoly", "PchipInterpolator",
]  # fmt: skip
_Extrapolate = bool | Literal["periodic"]
#: A condition at an end of a cubic spline: the order of a derivative, and what it is.
_End = tuple[Literal[1, 2], Any]
_Condition = Literal["not-a-knot", "clamped", "natural", "periodic"]
_Method = TypeVar("_Method", bound=Callable[..., Any])


def _compute_at_once(method: _Method) -> _Method:
    """Make a method of a curve compute at once if the curve and all operands are arrays."""

    @wraps(method)
    def compute(curve: Any, *args: Any, **kwargs: Any) -> Any:
        if not are_plain((*args, *curve.operands), kwargs):
            return method(curve, *args, **kwargs)
        return computed_at_once(lambda args, kwargs: method(curve, *args, **kwargs), args, kwargs)

    return compute  # type: ignore[return-value]


@make_boundaries
class PPoly:
    """Polynomials of equal degree, one between each pair of neighbouring breakpoints.

    Between x[i] and x[i + 1] the curve is the sum of c[k, i] * (at - x[i]) ** (degree - k).

    Args:
        c: coefficients [degree + 1, pieces, ...], that of the highest power first.
        x: breakpoints [pieces + 1] in ascending order, which is not checked.
        extrapolate: whether the first and last piece hold beyond the ends; otherwise there is NaN.
            ``"periodic"``: the curve is repeated.
        axis: where in results the axes of the places stand among those of the values.

    Attributes:
        c, x: as given, floating.

    Raises:
        RankError, ShapeError: no such coefficients or breakpoints.

    >>> sg.interpolate.PPoly([[1.0, 2.0], [0.0, 1.0]], [0.0, 1.0, 2.0])([0.5, 1.5])
    array([0.5, 2. ])
    """

    def __init__(
        self,
        c: ArrayLike[AnyValue],
        x: ArrayLike[AnyValue],
        extrapolate: _Extrapolate = True,
        axis: int = 0,
    ) -> None:
        coefficients, points = _apply(lambda *operands: operands, (c, x))
        self._set(coefficients, points, extrapolate, axis)

    def _set(self, c: Any, x: Any, extrapolate: _Extrapolate, axis: int) -> None:
        """Store coefficients and breakpoints, checked."""
        name = type(self).__name__
        if x.ndim != 1 or c.ndim < 2:
            raise RankError(
                f"{name}: c is {_describe(c)} and x is {_describe(x)}",
                hint="c [degree + 1, pieces, ...] and x [pieces + 1]",
                related=describe_operands(c, x),
            )
        if c.shape[0] == 0 or c.shape[1] + 1 != x.shape[0] or c.shape[1] == 0:
            raise ShapeError(
                f"{name}: {x.shape[0]} breakpoints for c, which is {_describe(c)}",
                hint="c [degree + 1, pieces, ...] and x [pieces + 1]",
                related=describe_operands(c, x),
            )
        self.c, self.x = c, x
        self.extrapolate, self.axis = _check_extrapolate(extrapolate, name), axis

    @property
    def operands(self) -> tuple[Any, Any]:
        """The coefficients and the breakpoints."""
        return self.c, self.x

    def tree_contents(self) -> Contents:
        """The coefficients and breakpoints as leaves."""
        static = {"extrapolate": self.extrapolate, "axis": self.axis}
        return Contents({"c": self.c, "x": self.x}, static)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_describe(self.c)}, {_describe(self.x)})"

    @_compute_at_once
    def __call__(
        self,
        x: ArrayLike[AnyValue],
        nu: NonNegativeInt = 0,
        extrapolate: _Extrapolate | None = None,
    ) -> Any:
        """Evaluate the curve or a derivative of it.

        Args:
            x: places, of any shape.
            nu: which derivative; 0 is the curve.
            extrapolate: as of the curve, for this call.

        Returns:
            Values: the axes of x in the place of axis ``axis`` of the values.
        """
        curve = self if integer("nu", nu, least=0) == 0 else self.derivative(nu)
        mode = (
            self.extrapolate
            if extrapolate is None
            else _check_extrapolate(extrapolate, type(self).__name__)
        )
        at, coefficients, knots = promoted_values((floating(x), curve.c, curve.x))
        result = _evaluate(coefficients, knots, at, mode)
        return _move_axes(result, at.ndim, self.axis)

    @_compute_at_once
    def derivative(self, nu: NonNegativeInt = 1) -> PPoly:
        """Return the curve of the derivative of order ``nu``."""
        coefficients = as_value(self.c)
        for _ in range(integer("nu", nu, least=0)):
            count = coefficients.shape[0]
            if count == 1:
                return self._of(coefficients * 0)
            powers = np.arange(count - 1.0, 0.0, -1.0).reshape((-1, *[1] * (coefficients.ndim - 1)))
            coefficients = coefficients[:-1] * astype(as_value(powers), coefficients.dtype)
        return self._of(coefficients)

    @_compute_at_once
    def antiderivative(self, nu: PositiveInt = 1) -> PPoly:
        """Return the curve whose derivative of order ``nu`` this is, 0 at the first breakpoint.

        Of a periodic curve it does not go beyond the ends.
        """
        coefficients, knots = as_value(self.c), as_value(self.x)
        for _ in range(integer("nu", nu, least=1)):
            count = coefficients.shape[0]
            powers = np.arange(float(count), 0.0, -1.0).reshape(
                (-1, *[1] * (coefficients.ndim - 1))
            )
            raised = coefficients / astype(as_value(powers), coefficients.dtype)
            widths = _trailing(knots[1:] - knots[:-1], raised.ndim - 2)
            integrals = _horner(raised, widths) * widths
            start = with_zeros(
                cumsum(integrals, 0)[:-1], [(1, 0), *[(0, 0)] * (integrals.ndim - 1)]
            )
            coefficients = concatenate([raised, expand_dims(start, 0)], 0)
        # It is not periodic: it grows by the integral of a period.
        return self._of(coefficients, False if self.extrapolate == "periodic" else None)

    @_compute_at_once
    def integrate(
        self,
        a: ArrayLike[AnyValue],
        b: ArrayLike[AnyValue],
        extrapolate: _Extrapolate | None = None,
    ) -> Any:
        """Integrate the curve from a to b, numbers or values without axes.

        Args:
            a, b: the ends.
            extrapolate: as of the curve. A periodic curve is integrated over all its repetitions.
        """
        mode = (
            self.extrapolate
            if extrapolate is None
            else _check_extrapolate(extrapolate, type(self).__name__)
        )
        coefficients, knots = self.antiderivative().operands
        ends = promoted_values((floating(a), floating(b), coefficients, knots))
        low, high, coefficients, knots = ends
        if mode != "periodic":
            values = [_evaluate(coefficients, knots, end, mode) for end in (low, high)]
        else:
            period = knots[-1] - knots[0]
            last = _evaluate(coefficients, knots, knots[-1], True)
            values = []
            for end in (low, high):
                turns = floor_divide(end - knots[0], period)
                within = end - turns * period
                values.append(turns * last + _evaluate(coefficients, knots, within, True))
        return values[1] - values[0]

    def _of(self, coefficients: Any, extrapolate: _Extrapolate | None = None) -> PPoly:
        """Return a curve of the same breakpoints."""
        curve = PPoly.__new__(PPoly)
        mode = self.extrapolate if extrapolate is None else extrapolate
        curve._set(coefficients, self.x, mode, self.axis)
        return curve


parts.register(PPoly, lambda curve: ObjectParts(lambda: curve.tree_contents().parts))


@make_boundaries
class CubicHermiteSpline(PPoly):
    """The cubic pieces that have given values and slopes at points.

    Args:
        x: points [n] in ascending order, which is not checked; n is known at build and at least 2.
        y: values, with n elements along ``axis``.
        dydx: slopes, of the shape of y.
        axis: which axis of y goes along x.
        extrapolate: as of ``PPoly``.

    Raises:
        RankError, ShapeError: the points, values and slopes do not go together.

    >>> sg.interpolate.CubicHermiteSpline([0.0, 1.0], [0.0, 1.0], [0.0, 0.0])([0.5])
    array([0.5])
    """

    def __init__(
        self,
        x: ArrayLike[AnyValue],
        y: ArrayLike[AnyValue],
        dydx: ArrayLike[AnyValue],
        axis: int = 0,
        extrapolate: _Extrapolate = True,
    ) -> None:
        self._fit(lambda points, values, slopes: slopes, (x, y, dydx), axis, extrapolate)

    def _fit(
        self,
        slopes_of: Callable[..., Any],
        operands: Sequence[ArrayLike[AnyValue]],
        axis: int,
        extrapolate: _Extrapolate,
    ) -> None:
        """Store the pieces through points, with slopes that a function gives."""
        name = type(self).__name__

        def compute(points: Any, values: Any, *others: Any) -> Any:
            _check_points(name, points, values, axis)
            place = axis_of(axis, values)
            along_first = [moveaxis(operand, place, 0) for operand in (values, *others)]
            slopes = slopes_of(points, *along_first)
            return _hermite_coefficients(points, along_first[0], slopes), points

        pieces, points = _apply(compute, operands)
        self._set(pieces, points, extrapolate, axis % (pieces.ndim - 1))


@make_boundaries
class CubicSpline(CubicHermiteSpline):
    """The cubic spline through points: its first and second derivative are continuous.

    C. de Boor, "A Practical Guide to Splines", 1978; conditions as of ``scipy.interpolate``.

    Args:
        x: points [n] in ascending order, which is not checked; n is known at build and at least 2.
        y: values, with n elements along ``axis``.
        axis: which axis of y goes along x.
        bc_type: what holds at both ends. ``"not-a-knot"``: the first two pieces are one cubic, and
            the last two. ``"clamped"``: the slopes are 0. ``"natural"``: the second derivatives
            are 0. ``"periodic"``: the ends go on into each other; the first and the last value
            must be equal, which is not checked. A pair has one for each end: one of these names
            or (1, slope), (2, second derivative).
        extrapolate: as of ``PPoly``; None is ``"periodic"`` for a periodic spline, else True.

    Raises:
        RankError, ShapeError: points and values do not go together.
        ArgumentError: no such condition.

    >>> sg.interpolate.CubicSpline([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], bc_type="natural")([0.5])
    array([0.6875])
    """

    def __init__(
        self,
        x: ArrayLike[AnyValue],
        y: ArrayLike[AnyValue],
        axis: int = 0,
        bc_type: _Condition | tuple[_Condition | _End, _Condition | _End] = "not-a-knot",
        extrapolate: _Extrapolate | None = None,
    ) -> None:
        ends = _read_conditions(bc_type)
        if extrapolate is None:
            extrapolate = "periodic" if ends is None else True
        slopes_of = _periodic_slopes if ends is None else lambda x, y: _spline_slopes(x, y, ends)
        self._fit(slopes_of, (x, y), axis, extrapolate)


@make_boundaries
class PchipInterpolator(CubicHermiteSpline):
    """Cubic pieces through points that rise and fall where the points do.

    F. N. Fritsch and J. Butland, "A method for constructing local monotone piecewise cubic
    interpolants", SIAM Journal on Scientific and Statistical Computing 5, 1984. The slope at a
    point is the weighted harmonic mean of those beside it, or 0 where their signs differ.

    Args:
        x: points [n] in ascending order, which is not checked; n is known at build and at least 2.
        y: values, with n elements along ``axis``.
        axis: which axis of y goes along x.
        extrapolate: as of ``PPoly``.

    Raises:
        RankError, ShapeError: points and values do not go together.

    >>> sg.interpolate.PchipInterpolator([0.0, 1.0, 2.0], [0.0, 1.0, 1.0])([0.5, 1.5])
    array([0.6875, 1.    ])
    """

    def __init__(
        self,
        x: ArrayLike[AnyValue],
        y: ArrayLike[AnyValue],
        axis: int = 0,
        extrapolate: _Extrapolate = True,
    ) -> None:
        self._fit(_monotone_slopes, (x, y), axis, extrapolate)


@make_boundaries
class Akima1DInterpolator(CubicHermiteSpline):
    """Cubic pieces through points that follow outliers less than a spline does.

    H. Akima, "A new method of interpolation and smooth curve fitting based on local procedures",
    Journal of the ACM 17, 1970: the slope at a point is the mean of the two beside it, each
    weighted by how little the two on the other side differ.

    Args:
        x: points [n] in ascending order, which is not checked; n is known at build and at least 2.
        y: values, with n elements along ``axis``.
        axis: which axis of y goes along x.
        method: ``"akima"``, or ``"makima"``, whose weights also count how large the slopes are, so
            that it overshoots less where the curve is flat.
        extrapolate: as of ``PPoly``; beyond the ends there is NaN by default.

    Raises:
        RankError, ShapeError: points and values do not go together.

    >>> sg.interpolate.Akima1DInterpolator([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])([1.5])
    array([2.25])
    """

    def __init__(
        self,
        x: ArrayLike[AnyValue],
        y: ArrayLike[AnyValue],
        axis: int = 0,
        method: Literal["akima", "makima"] = "akima",
        extrapolate: _Extrapolate = False,
    ) -> None:
        self._fit(lambda x, y: _akima_slopes(x, y, method), (x, y), axis, extrapolate)


# -- evaluation -----------------------------------------------------------------------------------


def _apply(function: Callable[..., Any], operands: Sequence[ArrayLike[AnyValue]]) -> Any:
    """Apply a function to operands as floating values of one element type.

    Of arrays alone it gives arrays.
    """

    def compute(operands: Any, _: Any) -> Any:
        return function(*promoted_values([floating(operand) for operand in operands]))

    if are_plain(tuple(operands), {}):
        return computed_at_once(compute, operands, {})
    return compute(operands, {})


def _evaluate(coefficients: Any, knots: Any, at: Any, extrapolate: _Extrapolate) -> Any:
    """Evaluate pieces at places: the axes of the places before those of the values."""
    first, last = knots[0], knots[-1]
    if extrapolate == "periodic":
        at = first + remainder(at - first, last - first)
    pieces = coefficients.shape[1]
    piece = clip(searchsorted(knots, at, "right") - 1, 0, pieces - 1)
    rank = coefficients.ndim - 2
    result = _horner(take(coefficients, piece, 1), _trailing(at - take(knots, piece), rank))
    result = where(_trailing(at == at, rank), result, _trailing(at, rank))  # NaN stays
    if extrapolate is False:
        inside = logical_and(at >= first, at <= last)
        result = where(_trailing(inside, rank), result, np.nan)
    return result


def _horner(coefficients: Any, x: Any) -> Any:
    """Evaluate polynomials whose coefficients stand along the first axis, highest power first."""
    total = coefficients[0]
    for power in range(1, coefficients.shape[0]):
        total = total * x + coefficients[power]
    return total


def _trailing(x: Any, count: int) -> Any:
    """Return x with further axes of one element at its end."""
    return reshape(x, (*x.shape, *[1] * count))


def _move_axes(x: Any, count: int, axis: int) -> Any:
    """Move the first axes, of places, behind ``axis`` axes of values."""
    if axis == 0 or count == 0:
        return x
    return moveaxis(x, tuple(range(count)), tuple(range(axis, axis + count)))


def _check_extrapolate(extrapolate: Any, name: str) -> _Extrapolate:
    if extrapolate == "periodic" or isinstance(extrapolate, bool | np.bool_):
        return extrapolate if extrapolate == "periodic" else bool(extrapolate)
    raise ArgumentError(
        f"{name}: extrapolate={quote(extrapolate)} is not True, False or 'periodic'"
    )


def _describe(x: Any) -> str:
    return str(getattr(x, "type", None) or f"{x.dtype}{list(x.shape)}")


# -- slopes at points -----------------------------------------------------------------------------


def _check_points(name: str, points: Any, values: Any, axis: int) -> None:
    """Refuse points and values that do not go together."""
    if points.ndim != 1 or values.ndim == 0:
        raise RankError(
            f"{name}: points {points.type} and values {values.type}",
            hint="x [n] and y with n elements along its axis",
            related=describe_operands(points, values),
        )
    place = axis_of(axis, values)
    if integer("number of points", points.shape[0], points) < 2:
        raise ShapeError(f"{name}: one point", related=describe_operands(points))
    if values.shape[place] != points.shape[0]:
        raise ShapeError(
            f"{name}: {values.shape[place]} values along axis {place} for {points.shape[0]} points",
            related=describe_operands(points, values),
        )


def _hermite_coefficients(points: Any, values: Any, slopes: Any) -> Any:
    """Return the coefficients [4, n - 1, ...] of cubic pieces with values and slopes at points."""
    widths, secants = _secants(points, values)
    bend = (slopes[:-1] + slopes[1:] - 2 * secants) / widths
    pieces = [bend / widths, (secants - slopes[:-1]) / widths - bend, slopes[:-1], values[:-1]]
    return stack(pieces, 0)


def _secants(points: Any, values: Any) -> tuple[Any, Any]:
    """Return the distances of neighbouring points, with axes of values, and slopes between them."""
    widths = _trailing(points[1:] - points[:-1], values.ndim - 1)
    return widths, (values[1:] - values[:-1]) / widths


def _read_conditions(bc_type: Any) -> tuple[Any, Any] | None:
    """Return the condition at each end of a spline, or None for a periodic one."""
    ends = (bc_type, bc_type) if isinstance(bc_type, str) else bc_type
    if isinstance(ends, tuple | list) and len(ends) == 2:
        conditions = [_NAMED_ENDS.get(e, None) if isinstance(e, str) else e for e in ends]
        if list(ends) == ["periodic", "periodic"]:
            return None
        if all(_is_condition(condition) for condition in conditions):
            return conditions[0], conditions[1]
    raise ArgumentError(
        f"CubicSpline: bc_type={quote(bc_type)} is no condition",
        hint="'not-a-knot', 'clamped', 'natural', 'periodic', or a pair such as ((1, 0.5),"
        " 'natural')",
    )


_NAMED_ENDS: Final[dict[str, Any]] = {
    "not-a-knot": "not-a-knot",
    "clamped": (1, 0.0),
    "natural": (2, 0.0),
}


def _is_condition(end: Any) -> bool:
    if isinstance(end, str):
        return True
    return isinstance(end, tuple | list) and len(end) == 2 and end[0] in (1, 2)


def _spline_slopes(points: Any, values: Any, ends: tuple[Any, Any]) -> Any:
    """Return the slopes of a cubic spline at its points: a tridiagonal system."""
    count = points.shape[0]
    widths, secants = _secants(points, values)
    first, last = ends
    if count == 2:  # a line, in the place of the cubic that two points do not determine
        first = (1, secants[0]) if first == "not-a-knot" else first
        last = (1, secants[0]) if last == "not-a-knot" else last
    if count == 3 and first == last == "not-a-knot":
        return _parabola_slopes(widths, secants)
    gaps = points[1:] - points[:-1]
    middle = 2 * (gaps[:-1] + gaps[1:])
    inner = 3 * (widths[1:] * secants[:-1] + widths[:-1] * secants[1:])
    low = _end_row(first, gaps, secants, -0.5)
    high = _end_row(last, gaps[::-1], secants[::-1], 0.5)
    below = concatenate([gaps[1:], expand_dims(high[1], 0)])
    above = concatenate([expand_dims(low[1], 0), gaps[:-1]])
    diagonal = concatenate([expand_dims(low[0], 0), middle, expand_dims(high[0], 0)])
    right = concatenate([expand_dims(low[2], 0), inner, expand_dims(high[2], 0)])
    columns = reshape(right, (count, -1))
    return reshape(solve_tridiagonal(below, diagonal, above, columns), values.shape)


def _end_row(condition: Any, gaps: Any, secants: Any, curvature: float) -> tuple[Any, Any, Any]:
    """Return a spline's equation at an end: the factors of the first two slopes, and the right.

    Gaps and secants begin there; ``curvature``: the factor of a second derivative.
    """
    if condition == "not-a-knot":
        span = gaps[0] + gaps[1]
        right = (gaps[0] + 2 * span) * gaps[1] * secants[0] + gaps[0] ** 2 * secants[1]
        return gaps[1], span, right / span
    order, derivative = condition
    derivative = broadcast_to(astype(as_value(derivative), secants.dtype), secants.shape[1:])
    if order == 1:
        return ones_like(gaps[0]), zeros_like(gaps[0]), derivative
    right = curvature * derivative * gaps[0] ** 2 + 3 * secants[0] * gaps[0]
    return 2 * gaps[0], gaps[0], right


def _parabola_slopes(widths: Any, secants: Any) -> Any:
    """Return the slopes of the parabola through three points, at them."""
    middle = (widths[0] * secants[1] + widths[1] * secants[0]) / (widths[0] + widths[1])
    return stack([2 * secants[0] - middle, middle, 2 * secants[1] - middle], 0)


def _periodic_slopes(points: Any, values: Any) -> Any:
    """Return the slopes of a periodic cubic spline: a cyclic tridiagonal system.

    It is solved by a rank-one correction of a tridiagonal one (J. Sherman and W. J. Morrison, The
    Annals of Mathematical Statistics 21, 1950).
    """
    count = points.shape[0] - 1
    widths, secants = _secants(points, values)
    if count == 1:
        return concatenate([secants, secants])
    if count == 2:
        slope = (secants / widths).sum(0) / (1 / widths).sum(0)
        return broadcast_to(slope, values.shape)
    gaps = points[1:] - points[:-1]
    left, left_widths = roll(gaps, 1, 0), roll(widths, 1, 0)
    diagonal = 2 * (left + gaps)
    right = 3 * (widths * roll(secants, 1, 0) + left_widths * secants)
    # Row i is gaps[i] s[i - 1] + diagonal[i] s[i] + left[i] s[i + 1], indices modulo count.
    pivot, corner, other_corner = -diagonal[0], gaps[0], left[-1]
    ends = [diagonal[:1] - pivot, diagonal[1:-1], diagonal[-1:] - corner * other_corner / pivot]
    column = concatenate([expand_dims(pivot, 0), 0 * gaps[1:-1], expand_dims(other_corner, 0)])
    columns = concatenate([reshape(right, (count, -1)), reshape(column, (count, 1))], 1)
    solved = solve_tridiagonal(gaps[1:], concatenate(ends), left[:-1], columns)
    seen = solved[0] + corner / pivot * solved[-1]
    slopes = solved[:, :-1] - solved[:, -1:] * (seen[:-1] / (1 + seen[-1]))
    slopes = reshape(slopes, right.shape)
    return concatenate([slopes, slopes[:1]])


def _monotone_slopes(points: Any, values: Any) -> Any:
    """Return the slopes of monotone cubic pieces."""
    widths, secants = _secants(points, values)
    if points.shape[0] == 2:
        return concatenate([secants, secants])
    left, right = secants[:-1], secants[1:]
    turns = left * right <= 0
    inverse_left, inverse_right = (1 / where(turns, 1.0, secant) for secant in (left, right))
    weight, other_weight = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    mean = (weight + other_weight) / (weight * inverse_left + other_weight * inverse_right)
    inner = where(turns, 0.0, mean)
    first = _monotone_end(widths[0], widths[1], secants[0], secants[1])
    last = _monotone_end(widths[-1], widths[-2], secants[-1], secants[-2])
    return concatenate([expand_dims(first, 0), inner, expand_dims(last, 0)])


def _monotone_end(width: Any, next_width: Any, secant: Any, next_secant: Any) -> Any:
    """Return the slope at an end: of the parabola through three points, kept monotone."""
    slope = ((2 * width + next_width) * secant - width * next_secant) / (width + next_width)
    steep = logical_and(sign(secant) != sign(next_secant), absolute(slope) > 3 * absolute(secant))
    slope = where(steep, 3 * secant, slope)
    return where(sign(slope) != sign(secant), 0.0, slope)


def _akima_slopes(points: Any, values: Any, method: str) -> Any:
    """Return Akima's slopes, of the secants and two more beyond each end."""
    secants = _secants(points, values)[1]
    if points.shape[0] == 2:
        return concatenate([secants, secants])
    first = 2 * secants[:1] - secants[1:2]
    last = 2 * secants[-1:] - secants[-2:-1]
    ends = 2 * first - secants[:1], 2 * last - secants[-1:]
    slopes = concatenate([ends[0], first, secants, last, ends[1]])
    changes = absolute(slopes[1:] - slopes[:-1])
    if method == "makima":
        changes = changes + 0.5 * absolute(slopes[1:] + slopes[:-1])
    weight, other_weight = changes[2:], changes[:-2]
    total = weight + other_weight
    differs = total > 1e-9 * total.max()
    weighted = (weight * slopes[1:-2] + other_weight * slopes[2:-1]) / where(differs, total, 1.0)
    return where(differs, weighted, 0.5 * (slopes[3:] + slopes[:-3]))

"""Elements along an axis as samples of a curve: differences, slopes, integrals, running totals.

NumPy's finite-difference and integration functions, made of slices and sums; nothing here is an op.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any, Literal

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions import aggregate as of
from staticgrad.functions.creation import full
from staticgrad.functions.loops import associative_scan
from staticgrad.functions.variants import variant
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.pairs import check_real
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import absolute, remainder
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.indexing import Pad, concatenate
from staticgrad.language.ops.logic import logical_and
from staticgrad.language.ops.movement import broadcast_to, ravel, reshape, with_axis
from staticgrad.language.ops.operands import (
    MOST_PARTS,
    Axes,
    NonNegativeInt,
    PositiveFloat,
    as_value,
    as_values,
    axis_of,
    describe_operands,
    distinct_axes,
    floating,
    promoted_values,
)
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.scans import cumprod, cumsum
from staticgrad.language.ops.selection import maximum, minimum, where
from staticgrad.language.ops.transcendental import logaddexp
from staticgrad.support.docstrings import like


@rounded_once
def diff(
    x: ArrayLike[AnyValue],
    n: NonNegativeInt = 1,
    axis: int = -1,
    prepend: ArrayLike[AnyValue] | None = None,
    append: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Compute the differences between neighbours along ``axis``, ``n`` times; 0 gives x.

    ``prepend`` and ``append`` stand before and after x first: of its shape on the other axes, or
    one number for all of them.

    >>> sg.evaluate(sg.diff([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    value = as_value(x)
    place = axis_of(axis, value)
    times = n
    if times == 0:
        return value
    if prepend is not None or append is not None:
        value = concatenate(
            [*_read_end(value, prepend, place), value, *_read_end(value, append, place)], place
        )
    size = value.shape[place]
    if isinstance(size, int):
        times = min(times, size)  # nothing is left then
    elif times > MOST_PARTS:
        raise ArgumentError(f"diff: taken {times} times", related=describe_operands(value))
    for _ in range(times):
        left, right = _slice_axis(value, place, None, -1), _slice_axis(value, place, 1, None)
        value = right != left if value.dtype.is_bool else right - left
    return value


def _read_end(x: AnyValue, data: ArrayLike[AnyValue] | None, axis: int) -> list[AnyValue]:
    """Return ``diff``'s prepend or append operand, broadcast to one slice."""
    if data is None:
        return []
    value = as_values(x, data)[1]
    if value.ndim:
        return [value]
    shape = tuple(1 if k == axis else size for k, size in enumerate(x.shape))
    return [broadcast_to(value, shape)]


def ediff1d(
    x: ArrayLike[AnyValue],
    to_end: ArrayLike[AnyValue] | None = None,
    to_begin: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Compute the differences between neighbours of x flattened, between two more values.

    Args:
        to_end, to_begin: what follows and precedes them: values, flattened, in the dtype of x.

    >>> sg.evaluate(sg.ediff1d([1, 4, 9], to_begin=1))
    array([1, 3, 5])
    """
    value = ravel(x)
    between = diff(value)
    ends = [None if e is None else as_values(value, e)[1] for e in (to_begin, to_end)]
    front, back = ([] if end is None else [astype(ravel(end), value.dtype)] for end in ends)
    return concatenate([*front, between, *back])


@rounded_once
def trapezoid(
    y: ArrayLike[AnyValue],
    x: ArrayLike[AnyValue] | None = None,
    dx: ArrayLike[AnyValue] = 1.0,
    axis: int = -1,
) -> AnyValue:
    """The integral of samples y along ``axis``, which goes, by the trapezoidal rule.

    Samples were taken at x, of the shape of y or a vector along ``axis``; or ``dx`` apart.

    >>> sg.trapezoid([1.0, 2.0, 3.0], dx=0.5)
    np.float64(2.0)
    """
    value = floating(y)
    place = axis_of(axis, value)
    steps = dx
    if x is not None:
        places = floating(as_values(value, x)[1])
        steps = _steps(places, value, place)
    pairs = _slice_axis(value, place, 1, None) + _slice_axis(value, place, None, -1)
    return of.sum(pairs * steps / 2.0, place)


def _steps(x: AnyValue, value: AnyValue, place: int) -> AnyValue:
    """Return the distances between samples for ``trapezoid``, along their axis."""
    if x.ndim == 1:
        return _column(diff(x), value.ndim, place)
    if x.ndim != value.ndim:
        raise RankError(
            f"{called_name()}: places of {x.type} for samples of {value.type}",
            related=describe_operands(x, value),
        )
    return diff(x, axis=place)


@rounded_once
def gradient(
    f: ArrayLike[AnyValue],
    *spacing: ArrayLike[AnyValue],
    axis: Axes = None,
    edge_order: Literal[1, 2] = 1,
) -> AnyValue | tuple[AnyValue, ...]:
    """The slopes of samples f by central differences, one-sided at both ends.

    (This differentiates data; ``sg.grad`` differentiates the graph.) Where the places are not
    equidistant, the formula of second order of NumPy's documentation.

    Args:
        f: samples; integers and bools become float64.
        spacing: nothing (distance 1), one number for all axes, or per axis a number or the places
            as a vector.
        edge_order: 1 or 2, the order of the formula at both ends.

    Returns:
        One value of the shape of f per axis; a single one is returned itself.

    >>> sg.evaluate(sg.gradient([0.0, 1.0, 4.0, 9.0], 1.0))
    array([1., 2., 4., 5.])
    """
    value = floating(f)
    axes = range(value.ndim) if axis is None else axis
    places = distinct_axes((axes,) if isinstance(axes, int) else axes, value)
    steps = list(spacing) or [1.0]
    if len(steps) == 1 and not (isinstance(steps[0], Value) and steps[0].ndim):
        steps *= len(places)
    if len(steps) != len(places):
        raise ArgumentError(
            f"gradient: {len(steps)} spacings for {len(places)} axes",
            hint="this one takes differences of data; sg.grad differentiates the graph",
            related=describe_operands(value),
        )
    slopes = [_slope(value, p, s, edge_order) for p, s in zip(places, steps, strict=True)]
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _slope(f: AnyValue, axis: int, spacing: ArrayLike[AnyValue], edge_order: int) -> AnyValue:
    """Compute ``gradient`` along one axis: central differences, one-sided at the edges."""
    size = f.shape[axis]
    if isinstance(size, int) and size <= edge_order:
        raise ShapeError(
            f"gradient: axis {axis} has {size} samples, {edge_order + 1} are needed",
            related=describe_operands(f),
        )
    value, step = promoted_values((f, spacing))
    if step.ndim > 1:
        raise RankError(f"gradient: places of {step.type}", related=describe_operands(step))
    if step.ndim:
        steps = _column(diff(step), value.ndim, axis)
        ends = _slice_axis(steps, axis, None, 2), _slice_axis(steps, axis, -2, None)
    else:
        steps, ends = step, None
    slopes = diff(value, axis=axis) / steps  # between neighbours
    if step.ndim:
        left, right = _slice_axis(slopes, axis, None, -1), _slice_axis(slopes, axis, 1, None)
        h_left, h_right = _slice_axis(steps, axis, None, -1), _slice_axis(steps, axis, 1, None)
        inner = (left * h_right + right * h_left) / (h_left + h_right)
    else:  # the sample between two has no part in their difference, however large it is
        inner = (_slice_axis(value, axis, 2, None) - _slice_axis(value, axis, None, -2)) / (
            2.0 * step
        )
    first, last = _slice_axis(slopes, axis, None, 1), _slice_axis(slopes, axis, -1, None)
    if edge_order == 2:
        second_slope, next_to_last_slope = (
            _slice_axis(slopes, axis, 1, 2),
            _slice_axis(slopes, axis, -2, -1),
        )
        first = first - (second_slope - first) * _share(ends[0] if ends else None, axis, 0)
        last = last + (last - next_to_last_slope) * _share(ends[1] if ends else None, axis, 1)
    return concatenate([first, inner, last], axis)


def _share(steps: Value | None, axis: int, side: int) -> Any:
    if steps is None:
        return 0.5
    outer = _slice_axis(steps, axis, side, side + 1)
    return outer / of.sum(steps, axis, keepdims=True)


@rounded_once
def unwrap(
    p: ArrayLike[AnyValue],
    discont: float | None = None,
    axis: int = -1,
    *,
    period: PositiveFloat = 2 * pi,
) -> AnyValue:
    """Remove jumps from angles: steps beyond ``discont`` (half a turn) lose whole turns.

    ``period`` is a whole turn; radians by default. Integers become float64.

    >>> sg.unwrap([0.0, 3.0, 6.5, 0.2]).round(3)
    array([0.   , 3.   , 0.217, 0.2  ])
    """
    half = period / 2
    value = floating(p)
    place = axis_of(axis, value)
    steps = diff(value, axis=place)
    wrapped = remainder(steps + half, period) - half
    up = logical_and(wrapped == -half, steps > 0.0)
    wrapped = where(up, half, wrapped)
    is_small = absolute(steps) < (half if discont is None else discont)
    correction = cumsum(where(is_small, 0.0, wrapped - steps), place)
    first = tuple(int(k == place) for k in range(value.ndim))
    return value + Pad(value.shape, first, (1,) * value.ndim)(correction)


def cumulative_sum(
    x: ArrayLike[AnyValue],
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> AnyValue:
    """Compute the running sum along ``axis``, which is optional for a vector or a number.

    ``dtype`` is by default that of ``sum``. With ``include_initial`` it begins with a 0, and is one
    longer.

    >>> sg.cumulative_sum([1.0, 2.0, 3.0], include_initial=True)
    array([0., 1., 3., 6.])
    """
    first = 0 if include_initial else None
    return _cumulative(cumsum, x, first, axis, dtype)


@variant(cumulative_sum)
def cumulative_prod(x: Any, /, *, include_initial: bool = False, **options: Any) -> Any:
    """The running product: as ``cumulative_sum``, with ``prod``; the initial one is 1.

    >>> sg.cumulative_prod([1.0, 2.0, 3.0])
    array([1., 2., 6.])
    """
    return _cumulative(cumprod, x, 1 if include_initial else None, **options)


def _cumulative(
    running: Any,
    x: ArrayLike[AnyValue],
    first: int | None,
    axis: int | None = None,
    dtype: Any = None,
) -> AnyValue:
    """Compute a running total (cumsum, cumprod), with a first element if given."""
    value = as_value(x)
    if axis is None and value.ndim > 1:
        raise ArgumentError(
            f"{called_name()}: which axis of {value.type}?", related=describe_operands(value)
        )
    value, place = with_axis(value, axis)
    total: AnyValue = running(value, place, dtype=dtype)
    if first is None:
        return total
    shape = tuple(1 if k == place else size for k, size in enumerate(total.shape))
    return concatenate([full(shape, first, total.dtype, like=total), total], place)


def cummax(x: ArrayLike[AnyValue], axis: int | None = None, reverse: bool = False) -> AnyValue:
    """Compute the largest element so far along ``axis``; after a NaN all results are NaN.

    Gradients are those of ``maximum``, along the axis.

    Args:
        axis: which axis; None flattens x.
        reverse: from the last element to the first.

    >>> sg.evaluate(sg.cummax([1, 3, 2, 5]))
    array([1, 3, 3, 5])
    """
    return _scan_axis(maximum, as_value(x), axis, reverse)


@like(cummax)
def cummin(x: ArrayLike[AnyValue], axis: int | None = None, reverse: bool = False) -> AnyValue:
    """Compute the smallest element so far along ``axis``; otherwise as ``cummax``.

    >>> sg.evaluate(sg.cummin([4, 3, 5, 1]))
    array([4, 3, 3, 1])
    """
    return _scan_axis(minimum, as_value(x), axis, reverse)


@like(cummax)
@rounded_once
def cumlogsumexp(
    x: ArrayLike[AnyValue], axis: int | None = None, reverse: bool = False
) -> AnyValue:
    """Compute ``log(cumsum(exp(x)))`` along ``axis`` without overflow, by ``logaddexp``.

    >>> sg.evaluate(sg.cumlogsumexp([0.0, 0.0]))
    array([0.        , 0.69314718])
    """
    return _scan_axis(logaddexp, floating(x), axis, reverse)


def _scan_axis(
    combine: Callable[[Any, Any], Any], x: AnyValue, axis: int | None, reverse: bool
) -> AnyValue:
    check_real(x)
    value, place = with_axis(x, axis)
    result: AnyValue = associative_scan(combine, value, reverse, place)
    return result


def _slice_axis(x: AnyValue, axis: int, start: int | None, stop: int | None) -> AnyValue:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _column(x: AnyValue, rank: int, axis: int) -> AnyValue:
    shape = tuple(x.shape[0] if k == axis else 1 for k in range(rank))
    return reshape(x, shape)

"""Elementwise functions composed of ops: rounding, tests, choices by conditions, divisors.

They are written with the ordinary operators and differentiate by their rules; rounding carries no
gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from staticgrad.errors.wording import kind_of
from staticgrad.functions import aggregate, complex_numbers
from staticgrad.functions.creation import full
from staticgrad.functions.indexing import unstack
from staticgrad.language.calls.functional import NUMPY_NAMES
from staticgrad.language.ir.kinds import AnyValue, binding_kind
from staticgrad.language.ir.pairs import check_real
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import (
    absolute,
    divide,
    floor_divide,
    isfinite,
    isnan,
    multiply,
    power,
    remainder,
    rint,
)
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike, Elementwise
from staticgrad.language.ops.indexing import OutOfBounds, TakeAlong, stack, within
from staticgrad.language.ops.logic import equal, logical_and, logical_or, not_equal
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import broadcast_arrays, expand_dims, reshape
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    describe_operands,
    floating,
    integer,
    promoted_values,
)
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.selection import Maximum, Minimum, where
from staticgrad.language.ops.transcendental import LogAddExp, Tan, sin
from staticgrad.language.types.dtype import BOOL, C128, F64, I64

_LN2: Final = math.log(2.0)


def round(x: ArrayLike[AnyValue], decimals: int = 0) -> AnyValue:
    """x to ``decimals`` places, ties to even: rint(x * 10 ** decimals) / 10 ** decimals.

    Values too large for the product, and integers, are returned unchanged; float16 and bfloat16
    are computed in float32. Carries no gradient.

    Args:
        decimals: how many places; negative ones are before the point.

    >>> sg.evaluate(sg.round([1.25, 1.75], 1))
    array([1.2, 1.8])
    """
    value = as_value(x)
    places = integer("decimals", decimals, value, most_bits=None)
    if not value.dtype.is_float:
        if places < 0:
            raise ArgumentError(
                "round: integers are not rounded to tens",
                hint="convert first: x.astype('float64')",
                related=describe_operands(value),
            )
        return value
    if places == 0:
        return rint(value)
    widened = astype(value, value.dtype.compute)
    return astype(_round_decimals(widened, places), value.dtype)


def _round_decimals(value: Any, places: int) -> Any:
    """Round float32 or float64 to decimal ``places``, where 10**places may overflow."""
    fixed = stop_gradient(value)
    if abs(places) > math.log10(np.finfo(value.dtype.numpy).max):
        return fixed if places > 0 else where(isfinite(fixed), fixed * 0.0, fixed)
    factor = 10.0 ** abs(places)
    if places < 0:
        return multiply(rint(divide(value, factor)), factor)
    shifted = multiply(value, factor)
    return where(isfinite(shifted), divide(rint(shifted), factor), fixed)


@rounded_once
def sinc(x: ArrayLike[AnyValue]) -> AnyValue:
    """sin(pi x) / (pi x), and 1 at 0, where its derivatives are 0 and -pi ** 2 / 3.

    It is exactly 0 at other whole numbers, where NumPy rounds pi x before the sine.

    >>> sg.sinc([0.0, 0.5]).round(3)
    array([1.   , 0.637])
    """
    value = floating(x)
    angle = value * math.pi
    is_small = absolute(angle) < 1e-4
    squared = angle * angle
    series = 1.0 + squared * (squared * (1.0 / 120.0) - 1.0 / 6.0)
    denominator = where(is_small, np.ones((), value.dtype.numpy), angle)
    nearest = rint(value)
    half = nearest * 0.5
    sine = sin((value - nearest) * math.pi)
    sine = where(half == rint(half), sine, -sine)
    return where(is_small, series, sine / denominator)


NUMPY_NAMES.update(around="round")


def fabs(x: ArrayLike[AnyValue]) -> AnyValue:
    """Compute the magnitude of x, always floating; the derivative at 0 is 0.

    >>> sg.evaluate(sg.fabs([-2, 3]))
    array([2., 3.])
    """
    check_real(x)
    return absolute(floating(x))


def heaviside(x: ArrayLike[AnyValue], h0: ArrayLike[AnyValue]) -> AnyValue:
    """Return 0 below 0, ``h0`` at 0, 1 above, NaN for NaN; always floating. No gradient by x.

    Args:
        h0: the result at 0; it broadcasts.

    >>> sg.evaluate(sg.heaviside([-1.5, 0.0, 2.0], 0.5))
    array([0. , 0.5, 1. ])
    """
    check_real(x, h0)
    left, right = (floating(v) for v in promoted_values((x, h0)))
    unit = np.ones((), left.dtype.numpy)
    step = where(left < 0.0, 0.0, where(left > 0.0, unit, right))
    return where(isnan(left), np.full((), np.nan, left.dtype.numpy), step)


@rounded_once
def logaddexp2(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Compute log2(2 ** x + 2 ** y) without overflow, broadcast; always floating.

    >>> sg.evaluate(sg.logaddexp2([3.0, 4.0], 3.0))
    array([4.       , 4.5849625])
    """
    left, right = LogAddExp().prepare(x, y)
    return LogAddExp()(left * _LN2, right * _LN2) * (1.0 / _LN2)


def fmax(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return the larger of x and y, the other one where one is NaN.

    Equal operands share the gradient.

    >>> sg.evaluate(sg.fmax([1.0, sg.nan], 0.0))
    array([1., 0.])
    """
    return _ignoring_nan(Maximum(), x, y)


def fmin(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return the smaller of x and y, the other one where one is NaN.

    Equal operands share the gradient.

    >>> sg.evaluate(sg.fmin([1.0, sg.nan], 0.0))
    array([0., 0.])
    """
    return _ignoring_nan(Minimum(), x, y)


def _ignoring_nan(choose: Elementwise, x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    check_real(x, y)
    left, right = promoted_values((x, y))
    if not left.dtype.is_float:
        return choose(left, right)
    chosen = where(isnan(right), left, choose(left, right))
    return where(isnan(left), right, chosen)


def float_power(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Compute x ** y in float64, complex operands in complex128, whatever their dtype is.

    >>> sg.evaluate(sg.float_power([2, 3], -1))
    array([0.5       , 0.33333333])
    """
    kind = binding_kind((x, y))

    def wide(operand: Any) -> Any:
        value = as_value(operand, kind)
        return astype(value, C128 if value.dtype.is_complex else F64)

    return power(
        *(
            float(operand) if isinstance(operand, int | float) else wide(operand)
            for operand in (x, y)
        )
    )


def copy(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return x, of a tensor a copy: a value of a graph never changes.

    >>> sg.evaluate(sg.copy([1, 2]))
    array([1, 2])
    """
    return as_value(x).copy()


def isposinf(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where x is inf.

    >>> sg.evaluate(sg.isposinf([sg.inf, -sg.inf, 0.0]))
    array([ True, False, False])
    """
    return _equals(x, math.inf)


def isneginf(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return True where x is -inf.

    >>> sg.evaluate(sg.isneginf([sg.inf, -sg.inf, 0.0]))
    array([False,  True, False])
    """
    return _equals(x, -math.inf)


def _equals(x: ArrayLike[AnyValue], number: float) -> AnyValue:
    check_real(x)
    value = as_value(x)
    if not value.dtype.is_float:
        return not_equal(value, value)
    return equal(value, number)


def nan_to_num(
    x: ArrayLike[AnyValue],
    copy: bool = True,
    nan: ArrayLike[AnyValue] = 0.0,
    posinf: ArrayLike[AnyValue] | None = None,
    neginf: ArrayLike[AnyValue] | None = None,
) -> AnyValue:
    """Replace NaN and infinities in x: by ``nan``, and by the ends of the dtype's range.

    Replaced elements have a gradient of 0.

    Args:
        copy: True alone.
        nan, posinf, neginf: the replacements; by default 0 and the ends of the range.

    >>> sg.nan_to_num([1.0, float("nan"), float("inf")], posinf=9.0)
    array([1., 0., 9.])
    """
    if not copy:
        raise ArgumentError(
            "nan_to_num: copy=False is not supported for values of a graph",
            hint="a value never changes: go on with the result",
        )
    value = as_value(x)
    if not value.dtype.is_float:
        return value
    if value.dtype.is_complex:
        re, im = (nan_to_num(part, copy, nan, posinf, neginf) for part in (value.real, value.imag))
        return complex_numbers.complex(re, im)
    high: Any = value.dtype.largest if posinf is None else posinf
    low: Any = -value.dtype.largest if neginf is None else neginf
    finite = where(equal(value, math.inf), high, where(equal(value, -math.inf), low, value))
    return where(isnan(value), nan, finite)


@rounded_once
def deg2rad(x: ArrayLike[AnyValue]) -> AnyValue:
    """Degrees as radians, x * (pi / 180), elementwise; integers and bools become float64.

    >>> sg.deg2rad([90.0, 180.0]).round(3)
    array([1.571, 3.142])
    """
    return _scale(x, math.pi / 180.0)


@rounded_once
def rad2deg(x: ArrayLike[AnyValue]) -> AnyValue:
    """Radians as degrees, x * (180 / pi), elementwise; integers and bools become float64.

    >>> sg.degrees([0.5, 1.0]).round(3)
    array([28.648, 57.296])
    """
    return _scale(x, 180.0 / math.pi)


def _scale(x: ArrayLike[AnyValue], factor: float) -> AnyValue:
    (value,) = Tan().prepare(x)
    return value * factor


def divmod(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """The pair (x // y, x % y). Raises as ``floor_divide``.

    >>> sg.divmod([7.0, -7.0], 3.0)
    (array([ 2., -3.]), array([1., 2.]))
    """
    return floor_divide(x, y), remainder(x, y)


@rounded_once
def isclose(
    x: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue],
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> AnyValue:
    """Return whether abs(x - y) <= atol + rtol * abs(y), or x == y; or both NaN (``equal_nan``).

    >>> sg.evaluate(sg.isclose([1.0, 1.1], 1.0))
    array([ True, False])
    """
    left, right = promoted_values((x, y))
    if not left.dtype.is_float:
        left, right = (astype(v, F64) for v in (left, right))
    and_ = logical_and
    is_near = and_(
        absolute(left - right) <= atol + rtol * absolute(right), absolute(right) < np.inf
    )
    close = logical_or(is_near, equal(left, right))
    if equal_nan:
        nan = and_(isnan(left), isnan(right))
        close = logical_or(close, nan)
    return close


def allclose(
    x: ArrayLike[AnyValue],
    y: ArrayLike[AnyValue],
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> AnyValue:
    """Return whether all elements are close, as a 0-d bool; see ``isclose``.

    >>> sg.evaluate(sg.allclose([1.0, 1.0], 1.0))
    array(True)
    """
    return aggregate.all(isclose(x, y, rtol, atol, equal_nan))


def array_equal(
    x: ArrayLike[AnyValue], y: ArrayLike[AnyValue], equal_nan: bool = False
) -> AnyValue:
    """Return whether x and y have the same shape and elements, as a 0-d bool.

    Shapes are compared where the graph is built: named sizes that may differ are different. With
    ``equal_nan`` NaN equals NaN.

    >>> sg.array_equal([1.0, 2.0], [1.0, 2.0])
    np.True_
    """
    left, right = promoted_values((x, y))
    if left.shape != right.shape:
        return full((), False, like=left)
    same = equal(left, right)
    if equal_nan and left.dtype.is_float:
        nan = logical_and(isnan(left), isnan(right))
        same = logical_or(same, nan)
    return aggregate.all(same)


def array_equiv(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return whether x and y, broadcast against each other, have the same elements, as a 0-d bool.

    Shapes that do not broadcast are different.

    >>> sg.evaluate(sg.array_equiv([[1, 1], [1, 1]], 1))
    array(True)
    """
    left, right = promoted_values((x, y))
    try:
        same = equal(left, right)
    except ShapeError:
        return full((), False, like=left)
    return aggregate.all(same)


def select(
    condlist: Sequence[ArrayLike[AnyValue]],
    choicelist: Sequence[ArrayLike[AnyValue]],
    default: ArrayLike[AnyValue] = 0,
) -> AnyValue:
    """Per element the choice of the first condition that holds, else ``default``; all broadcast.

    There is a choice for each condition.

    >>> first, second = np.array([True, False, False]), np.array([True, True, False])
    >>> sg.select([first, second], [1.0, 2.0], default=3.0)
    array([1., 2., 3.])
    """
    if not condlist or len(condlist) != len(choicelist):
        raise ArgumentError(f"select: {len(condlist)} conditions, {len(choicelist)} choices")
    choices = promoted_values([*choicelist, default])
    result: Any = choices[-1]
    for k in reversed(range(len(condlist))):
        result = where(condlist[k], choices[k], result)
    return result


def choose(
    a: ArrayLike[AnyValue],
    choices: Sequence[ArrayLike[AnyValue]] | AnyValue,
    *,
    mode: OutOfBounds = "raise",
) -> AnyValue:
    """Select the element of ``choices[a]`` for each element; all broadcast.

    Args:
        a: integers.
        choices: values, or one with the choices along its first axis.
        mode: for an index out of range, ``"raise"`` an error in the run; ``"wrap"``
            it round; ``"clip"`` it to the first or the last.

    >>> sg.evaluate(sg.choose([0, 1, 0], [[1, 2, 3], [10, 20, 30]]))
    array([ 1, 20,  3])
    """
    if not isinstance(choices, Value | Sequence | np.ndarray):
        raise ArgumentError(
            f"choose: the choices are {kind_of(choices)}, not a list or tuple of values",
            hint="sg.choose(a, [b, c])",
        )
    cases = unstack(choices) if isinstance(choices, Value) else choices
    if not len(cases):
        raise ArgumentError("choose: there is no choice")
    values = as_values(a, *cases)
    which, values = values[0], values[1:]
    if which.dtype.is_float:
        raise DTypeError(f"choose: a holds integers, not {which.dtype.numpy}")
    which = astype(which, I64) if which.dtype.is_bool else which
    which = within(which, len(values), mode)
    options = promoted_values(values)
    if mode == "raise":
        broadcast = broadcast_arrays(which, *options)
        which, together = broadcast[0], stack(broadcast[1:], -1)
        selected = TakeAlong(together.ndim - 1, wrap=False)(together, expand_dims(which, -1))
        return reshape(selected, which.shape)
    last = options[-1]
    for number in reversed(range(len(options) - 1)):
        last = where(which <= number, options[number], last)
    return last


def piecewise(
    x: ArrayLike[AnyValue],
    condlist: Sequence[ArrayLike[AnyValue]],
    funclist: Sequence[ArrayLike[AnyValue] | Callable[..., ArrayLike[AnyValue]]],
    *args: Any,
    **kw: Any,
) -> AnyValue:
    """Apply to each element the last function whose condition holds, in the dtype of x.

    Every function is applied to all of x; a number is a constant. One function more than conditions
    stands for where none holds, else that is 0.

    Args:
        condlist: conditions, which broadcast with x.
        funclist: functions of x, values or numbers.
        args, kw: handed to every function, after x.

    >>> x = np.array([-2.0, 3.0])
    >>> sg.evaluate(sg.piecewise(x, [x < 0], [lambda x: -x, lambda x: 10 * x]))
    array([ 2., 30.])
    """
    constants = [f for f in funclist if not callable(f)]
    value = as_values(x, *condlist, *constants)[0]
    if len(funclist) - len(condlist) not in (0, 1):
        raise ArgumentError(f"piecewise: {len(condlist)} conditions, {len(funclist)} functions")
    pieces = [f(value, *args, **kw) if callable(f) else f for f in funclist]
    otherwise = pieces.pop() if len(pieces) > len(condlist) else 0
    kind = value.dtype.numpy
    otherwise = astype(as_values(value, otherwise)[1], kind)
    result = broadcast_arrays(value, otherwise)[1]
    for condition, piece in zip(condlist, pieces, strict=True):
        _, condition, piece = as_values(value, condition, piece)
        is_true = astype(condition, BOOL)
        chosen = astype(piece, kind)
        result = where(is_true, chosen, result)
    return result

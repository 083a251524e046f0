"""Elementwise functions that are a line of arithmetic: rounding, tests for NaN, fmax, divmod.

They are written with the ordinary operators, so that they differentiate by their rules; rounding
carries no gradient. Tests for NaN and infinity are comparisons; of integers they are constants.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.arithmetic import divide, multiply, signbit
from staticgrad.ops.division import floor_divide, remainder
from staticgrad.ops.elementwise import Elementwise, Operand
from staticgrad.ops.operands import as_value, floating, integer, promoted_values, related
from staticgrad.ops.rounding import rint
from staticgrad.ops.selection import Maximum, Minimum, where
from staticgrad.ops.special import LogAddExp
from staticgrad.ops.trigonometric import Tan
from staticgrad.types.dtype import F64

_LN2: Final = math.log(2.0)


def round(x: Operand[AnyValue], decimals: int = 0) -> AnyValue:
    """x to ``decimals`` places, ties to even: rint(x * 10 ** decimals) / 10 ** decimals.

    What is too large for that product has no such places and stays as it is, as integers do;
    float16 and bfloat16 are computed in float32. Carries no gradient.

    Args:
        x: numbers.
        decimals: how many places; negative ones are before the point.

    Returns:
        The numbers, in x's dtype.

    >>> sg.evaluate(sg.round([1.25, 1.75], 1))
    array([1.2, 1.8])
    """
    value = as_value("round", x)
    places = integer("round", "decimals", decimals, value, most_bits=None)
    if not value.dtype.is_float:
        if places < 0:
            raise ArgumentError(
                "round: integers are not rounded to tens",
                hint="convert first: x.astype('float64')",
                related=related(value),
            )
        return value
    if places == 0:
        return rint(value)
    wide = functions.astype(value, value.dtype.compute)
    return functions.astype(_to_places(wide, places), value.dtype)


def _to_places(value: Any, places: int) -> Any:
    """Float32 or float64 to so many places, not 0, where the power of ten may be no such number."""
    kept = functions.stop_gradient(value)
    if abs(places) > math.log10(np.finfo(value.dtype.numpy).max):
        return kept if places > 0 else functions.where(isfinite(kept), kept * 0.0, kept)
    factor = 10.0 ** abs(places)
    if places < 0:
        return multiply(rint(divide(value, factor)), factor)
    moved = multiply(value, factor)
    return functions.where(isfinite(moved), divide(rint(moved), factor), kept)


def fabs(x: Operand[AnyValue]) -> AnyValue:
    """The magnitude of x, always floating; the derivative at 0 is 0.

    >>> sg.evaluate(sg.fabs([-2, 3]))
    array([2., 3.])
    """
    return functions.absolute(floating("fabs", x))


def sinc(x: Operand[AnyValue]) -> AnyValue:
    """sin(pi x) / (pi x), and 1 at 0, where its derivatives are 0 and -pi ** 2 / 3.

    It is exactly 0 at other whole numbers, where NumPy rounds pi x before the sine.

    >>> sg.evaluate(sg.sinc([0.0, 0.5]))
    array([1.        , 0.63661977])
    """
    value = floating("sinc", x)
    angle = value * math.pi
    near = functions.absolute(angle) < 1e-4
    squared = angle * angle
    series = 1.0 + squared * (squared * (1.0 / 120.0) - 1.0 / 6.0)
    away = where(near, np.ones((), value.dtype.numpy), angle)
    whole = functions.rint(value)
    half = whole * 0.5
    sine = functions.sin((value - whole) * math.pi)
    sine = where(half == functions.rint(half), sine, -sine)
    return where(near, series, sine / away)


def float_power(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x ** y in float64, whatever the operands are.

    >>> sg.evaluate(sg.float_power([2, 3], 2))
    array([4., 9.])
    """
    left, right = (_double("float_power", operand) for operand in (x, y))
    return functions.power(left, right)


def _double(op: str, x: Any) -> Any:
    return float(x) if isinstance(x, int | float) else functions.astype(as_value(op, x), F64)


NUMPY_NAMES.update(around="round")


def copysign(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The magnitude of x with the sign of y, broadcast; always floating.

    Derivative by x: 1 where the signs agree, else -1, at zero too; by y none.

    >>> sg.evaluate(sg.copysign([1.0, 2.0], -1.0))
    array([-1., -2.])
    """
    left, right = (floating("copysign", v) for v in promoted_values("copysign", (x, y)))
    kept = functions.equal(signbit(left), signbit(right))
    return functions.where(kept, left, -left)


def isnan(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is no number, as bool.

    Args:
        x: a value.

    Returns:
        Bools, of x's shape.

    >>> sg.evaluate(sg.isnan([0.0, sg.nan]))
    array([False,  True])
    """
    value = as_value("isnan", x)
    return functions.not_equal(value, value)


def isinf(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is infinite, as bool.

    Args:
        x: numbers.

    Returns:
        Bools, of x's shape.

    >>> sg.evaluate(sg.isinf([0.0, sg.inf]))
    array([False,  True])
    """
    value = as_value("isinf", x)
    if not value.dtype.is_float:
        return functions.not_equal(value, value)
    return functions.equal(functions.absolute(value), math.inf)


def isfinite(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is neither infinite nor NaN, as bool.

    Args:
        x: a value.

    Returns:
        Bools, of x's shape.

    >>> sg.evaluate(sg.isfinite([0.0, sg.inf]))
    array([ True, False])
    """
    value = as_value("isfinite", x)
    if not value.dtype.is_float:
        return functions.equal(value, value)
    return functions.less(functions.absolute(value), math.inf)


def nan_to_num(
    x: Operand[AnyValue],
    copy: bool = True,
    nan: Operand[AnyValue] = 0.0,
    posinf: Operand[AnyValue] | None = None,
    neginf: Operand[AnyValue] | None = None,
) -> AnyValue:
    """x with NaN and infinities replaced: by ``nan``, and by the ends of the dtype's range.

    What is replaced takes no gradient.

    Args:
        x: a value.
        copy: True alone.
        nan, posinf, neginf: what stands for each; by default 0 and the ends of the range.

    Returns:
        A value of the shape of x.

    Raises:
        ArgumentError: ``copy=False``: nothing is written into x.

    >>> sg.evaluate(sg.nan_to_num([1.0, float("nan"), float("inf")], posinf=9.0))
    array([1., 0., 9.])
    """
    if not copy:
        raise ArgumentError(
            "nan_to_num: copy=False is not supported for values of a graph",
            hint="a value never changes: go on with the result",
        )
    value = as_value("nan_to_num", x)
    if not value.dtype.is_float:
        return value
    high: Any = value.dtype.largest if posinf is None else posinf
    low: Any = -value.dtype.largest if neginf is None else neginf
    where, equal = functions.where, functions.equal
    finite = where(equal(value, math.inf), high, where(equal(value, -math.inf), low, value))
    return where(isnan(value), nan, finite)


def heaviside(x: Operand[AnyValue], at_zero: Operand[AnyValue]) -> AnyValue:
    """0 below 0, ``at_zero`` at 0, 1 above; NaN of NaN; always floating. No gradient by x.

    Args:
        x: numbers.
        at_zero: what stands for 0; it broadcasts.

    Returns:
        0, ``at_zero`` or 1, floating.

    >>> sg.evaluate(sg.heaviside([-1.0, 0.0, 2.0], 0.5))
    array([0. , 0.5, 1. ])
    """
    left, right = (floating("heaviside", v) for v in promoted_values("heaviside", (x, at_zero)))
    where, one = functions.where, np.ones((), left.dtype.numpy)
    step = where(left < 0.0, 0.0, where(left > 0.0, one, right))
    return where(isnan(left), np.full((), np.nan, left.dtype.numpy), step)


def logaddexp2(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """log2(2 ** x + 2 ** y) without overflow, broadcast; always floating.

    >>> sg.evaluate(sg.logaddexp2([0.0, 3.0], 3.0))
    array([3.169925, 4.      ])
    """
    left, right = LogAddExp().prepare(x, y)
    return LogAddExp()(left * _LN2, right * _LN2) * (1.0 / _LN2)


def deg2rad(x: Operand[AnyValue]) -> AnyValue:
    """Degrees as radians, x * (pi / 180), elementwise; integers and bools become float64.

    >>> sg.evaluate(sg.deg2rad([180.0]))
    array([3.14159265])
    """
    return _scaled(x, math.pi / 180.0)


def rad2deg(x: Operand[AnyValue]) -> AnyValue:
    """Radians as degrees, x * (180 / pi), elementwise; integers and bools become float64.

    >>> sg.evaluate(sg.rad2deg([sg.pi]))
    array([180.])
    """
    return _scaled(x, 180.0 / math.pi)


def _scaled(x: Operand[AnyValue], factor: float) -> AnyValue:
    (value,) = Tan().prepare(x)
    return value * factor


def fmax(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The larger of x and y, the other one where one is NaN; equal operands share the gradient.

    >>> sg.evaluate(sg.fmax([1.0, sg.nan], 0.0))
    array([1., 0.])
    """
    return _overlooking("fmax", Maximum(), x, y)


def fmin(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The smaller of x and y, the other one where one is NaN; equal operands share the gradient.

    >>> sg.evaluate(sg.fmin([1.0, sg.nan], 0.0))
    array([0., 0.])
    """
    return _overlooking("fmin", Minimum(), x, y)


def _overlooking(
    op: str, choose: Elementwise, x: Operand[AnyValue], y: Operand[AnyValue]
) -> AnyValue:
    left, right = promoted_values(op, (x, y))
    if not left.dtype.is_float:
        return choose(left, right)
    nan = functions.not_equal
    chosen = where(nan(right, right), left, choose(left, right))
    return where(nan(left, left), right, chosen)


def divmod(x: Operand[AnyValue], y: Operand[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """The pair (x // y, x % y). Raises as ``floor_divide``.

    Returns:
        Quotients and remainders.

    >>> sg.evaluate(list(sg.divmod([5, -5], 3)))
    [array([ 1, -2]), array([2, 1])]
    """
    return floor_divide(x, y), remainder(x, y)

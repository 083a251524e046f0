"""Rounding to decimals, and other elementwise functions that are a line of arithmetic.

No op stands here: every function is written with the ordinary operators, so that it differentiates
by their rules. Rounding itself carries no gradient.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.arithmetic import divide, multiply, rint
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import as_value, floating, integer, related
from staticgrad.ops.selection import where
from staticgrad.types.dtype import F64


def round(x: Operand[AnyValue], decimals: int = 0) -> AnyValue:
    """x to ``decimals`` places, ties to even: rint(x * 10 ** decimals) / 10 ** decimals.

    Integers stay as they are. Carries no gradient.

    Raises:
        ArgumentError: ``decimals`` is no integer, or negative for an integer x.
    """
    value = as_value("round", x)
    places = integer("round", "decimals", decimals, value)
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
    factor = 10.0 ** abs(places)
    if places > 0:
        return divide(rint(multiply(value, factor)), factor)
    return multiply(rint(divide(value, factor)), factor)


def fabs(x: Operand[AnyValue]) -> AnyValue:
    """The magnitude of x, always floating; the derivative at 0 is 0."""
    return functions.absolute(floating("fabs", x))


def sinc(x: Operand[AnyValue]) -> AnyValue:
    """sin(pi x) / (pi x), and 1 at 0, where its derivatives are 0 and -pi ** 2 / 3."""
    value = floating("sinc", x)
    angle = value * math.pi
    near = functions.absolute(angle) < 1e-4
    squared = angle * angle
    series = 1.0 - squared * (1.0 / 6.0) + squared * squared * (1.0 / 120.0)
    away = where(near, np.ones((), value.dtype.numpy), angle)
    return where(near, series, functions.sin(away) / away)


def float_power(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x ** y in float64, whatever the operands are.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    left, right = (_double("float_power", operand) for operand in (x, y))
    return functions.power(left, right)


def _double(op: str, x: Any) -> Any:
    return float(x) if isinstance(x, int | float) else functions.astype(as_value(op, x), F64)


NUMPY_NAMES.update(around="round")

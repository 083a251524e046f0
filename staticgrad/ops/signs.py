"""Signs, and what is no ordinary number: signbit, copysign, isnan and their kin.

Signs are read from the bits, so those of zeros and NaN count. The tests for NaN and infinity are
comparisons; of integers they are constants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError
from staticgrad.ir.expr import Expr
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ops.elementwise import Floating, Operand
from staticgrad.ops.operands import as_value, floating, promoted_values
from staticgrad.types.dtype import BOOL, DType
from staticgrad.vecmath.layout import sign_bit


class Signbit(Floating, name="signbit"):
    """Whether the sign bit is set: of -0 and of a NaN with it, too. Carries no gradient."""

    exact = True
    differentiable = False

    def result_dtype(self, operand: DType) -> DType:
        return BOOL

    def reference(self, x: Array) -> Any:
        return np.signbit(x)

    def scalar(self, x: Expr) -> Expr:
        return sign_bit(x).ne(0)


# -- public functions -----------------------------------------------------------------------------


def signbit(x: Operand[AnyValue]) -> AnyValue:
    """Whether the sign bit of x is set, as bool: of -0 too. Of integers: whether x is negative."""
    value = as_value("signbit", x)
    if value.dtype.is_float:
        return Signbit()(value)
    return functions.less(value, np.zeros((), value.dtype.numpy))


def copysign(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The magnitude of x with the sign of y, broadcast; always floating.

    Derivative by x: 1 where the signs agree, else -1, at zero too; by y none.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    left, right = (floating("copysign", v) for v in promoted_values("copysign", (x, y)))
    kept = functions.equal(signbit(left), signbit(right))
    return functions.where(kept, left, -left)


def isnan(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is no number, as bool."""
    value = as_value("isnan", x)
    return functions.not_equal(value, value)


def isinf(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is infinite, as bool."""
    value = as_value("isinf", x)
    if not value.dtype.is_float:
        return functions.not_equal(value, value)
    return functions.equal(functions.absolute(value), math.inf)


def isfinite(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is neither infinite nor NaN, as bool."""
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

    Raises:
        ArgumentError: ``copy=False``: nothing is written into x.
    """
    if not copy:
        raise ArgumentError(
            "nan_to_num: copy=False is not supported for values of a graph",
            hint="a value never changes: go on with the result",
        )
    value = as_value("nan_to_num", x)
    if not value.dtype.is_float:
        return value
    ends = np.finfo(value.dtype.numpy.name)
    high: Any = float(ends.max) if posinf is None else posinf
    low: Any = float(ends.min) if neginf is None else neginf
    where, equal = functions.where, functions.equal
    finite = where(equal(value, math.inf), high, where(equal(value, -math.inf), low, value))
    return where(isnan(value), nan, finite)


def heaviside(x: Operand[AnyValue], at_zero: Operand[AnyValue]) -> AnyValue:
    """0 below 0, ``at_zero`` at 0, 1 above; NaN of NaN; always floating. No gradient by x.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    left, right = (floating("heaviside", v) for v in promoted_values("heaviside", (x, at_zero)))
    where, one = functions.where, np.ones((), left.dtype.numpy)
    step = where(left < 0.0, 0.0, where(left > 0.0, one, right))
    return where(isnan(left), np.full((), np.nan, left.dtype.numpy), step)

"""Rounding to whole numbers: down, up, towards zero, and to the nearest."""

from __future__ import annotations

import math
from math import isinf
from typing import Any, ClassVar

import numpy as np

from staticgrad.ir.expr import Expr, apply
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.elementwise import Elementwise, Operand, quiet


class _Rounding(Elementwise):
    """A step function to whole numbers; integers and bools pass through. Carries no gradient."""

    exact = True
    differentiable = False
    primitive: ClassVar[str] = ""

    @quiet
    def reference(self, x: Array) -> Any:
        return getattr(np, self.primitive)(x) if x.dtype.kind == "f" else x

    def scalar(self, x: Expr) -> Expr:
        return apply(self.primitive, x) if x.dtype.is_float else x

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        """Whole numbers nearby: 0 in the place of what is small."""
        a = of(x)
        low = a.low if isinf(a.low) else math.floor(a.low)
        high = a.high if isinf(a.high) else math.ceil(a.high)
        return Range(low, high, max(a.zero, Zero.CHOSEN))


class Floor(_Rounding, name="floor"):
    """The largest whole number that is at most x. Carries no gradient."""

    primitive = "floor"


class Ceil(_Rounding, name="ceil"):
    """The smallest whole number that is at least x. Carries no gradient."""

    primitive = "ceil"


class Trunc(_Rounding, name="trunc"):
    """x without its fraction. Carries no gradient."""

    primitive = "trunc"


class Rint(_Rounding, name="rint"):
    """The nearest whole number, ties to even. Carries no gradient."""

    primitive = "rint"


def floor(x: Operand[AnyValue]) -> AnyValue:
    """The largest whole number at most x, in the dtype of x. Carries no gradient.

    Args:
        x: numbers.

    Returns:
        Whole numbers in x's dtype.

    >>> sg.evaluate(sg.floor([-1.5, 1.5]))
    array([-2.,  1.])
    """
    return Floor()(x)


def ceil(x: Operand[AnyValue]) -> AnyValue:
    """The smallest whole number at least x, in the dtype of x. Carries no gradient.

    Args:
        x: numbers.

    Returns:
        Whole numbers in x's dtype.

    >>> sg.evaluate(sg.ceil([-1.5, 1.5]))
    array([-1.,  2.])
    """
    return Ceil()(x)


def trunc(x: Operand[AnyValue]) -> AnyValue:
    """x without its fraction, in the dtype of x. Carries no gradient.

    >>> sg.evaluate(sg.trunc([-1.5, 1.5]))
    array([-1.,  1.])
    """
    return Trunc()(x)


def rint(x: Operand[AnyValue]) -> AnyValue:
    """The whole number nearest to x, ties to even, in the dtype of x. Carries no gradient.

    >>> sg.evaluate(sg.rint([0.5, 1.5]))
    array([0., 2.])
    """
    return Rint()(x)

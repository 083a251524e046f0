"""Rounding to whole numbers: down, up, towards zero, and to the nearest."""

from __future__ import annotations

import math
from math import isinf
from typing import Any, ClassVar

import numpy as np

from staticgrad.ir.expr import Expr, apply
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import Range, RangeOf, Zero
from staticgrad.ops.elementwise import Elementwise
from staticgrad.ops.public import unary


class _Rounding(Elementwise):
    """A step function to whole numbers; integers and bools pass through. Carries no gradient."""

    exact = True
    differentiable = False
    primitive: ClassVar[str] = ""

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
    """Round down to a whole number. Carries no gradient."""

    primitive = "floor"


class Ceil(_Rounding, name="ceil"):
    """Round up to a whole number. Carries no gradient."""

    primitive = "ceil"


class Trunc(_Rounding, name="trunc"):
    """Round towards 0 to a whole number. Carries no gradient."""

    primitive = "trunc"


class Rint(_Rounding, name="rint"):
    """Round to the nearest whole number, ties to even. Carries no gradient."""

    primitive = "rint"


floor = unary(Floor, "floor", "sg.floor([-1.5, 1.5])", "array([-2.,  1.])")
ceil = unary(Ceil, "ceil", "sg.ceil([-1.5, 1.5])", "array([-1.,  2.])")
trunc = unary(Trunc, "trunc", "sg.trunc([-1.5, 1.5])", "array([-1.,  1.])")
rint = unary(Rint, "rint", "sg.rint([0.5, 1.5])", "array([0., 2.])")

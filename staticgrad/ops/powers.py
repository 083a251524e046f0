"""Powers: by an integer literal a fixed tree of multiplications, else the general ``pow``.

``x ** 3`` *means* x * x * x: the compiled kernel and the reference multiply in the same order and
give the same bytes. A literal 0.5 means the square root. This file decides which op it becomes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.errors.wording import shown
from staticgrad.ir.expr import Expr, apply, literal, select
from staticgrad.ir.functional import NUMPY_NAMES, functions
from staticgrad.ir.kinds import AnyValue, binding_kind
from staticgrad.ir.op import Array
from staticgrad.ir.ranges import POSITIVE, Range, RangeOf
from staticgrad.ir.value import Value
from staticgrad.ops.arithmetic import Div, Mul
from staticgrad.ops.cotangent import ONE, ZERO, Cotangent, Partial, times
from staticgrad.ops.elementwise import (
    Elementwise,
    Floating,
    Operand,
    check_range,
    common_dtype,
    lifted,
)
from staticgrad.types.dim import Dim
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import TensorType

#: Floating powers up to here are multiplied out, within 63 half-ULPs of the true power.
_MAX_EXPONENT: Final = 64


def multiplied(x: Any, exponent: int) -> Any:
    """x ** exponent for exponent >= 1, squaring from the highest bit down."""
    result = x
    for bit in bin(exponent)[3:]:
        result = result * result
        if bit == "1":
            result = result * x
    return result


class IntegerPow(Elementwise, name="integer_pow"):
    """x ** exponent for an integer literal: repeated multiplication, 1 / that if negative.

    x ** 0 is 1, of NaN too. Integers wrap and take no negative exponent.
    d/dx = exponent * x ** (exponent - 1).
    """

    exact = True
    kinds = "iuf"
    hint = "for bools use x & y"
    flops = 3
    exponent: int

    def met_dtype(self, *types: TensorType) -> DType:
        """The operand's dtype."""
        if self.exponent < 0 and not types[0].dtype.is_float:
            raise DTypeError(
                f"integers have no negative powers: {types[0].dtype.numpy} ** {self.exponent}",
                hint="convert the base first: x.astype('float64')",
            )
        return super().met_dtype(*types)

    def reference(self, x: Array) -> Any:
        if self.exponent == 0:
            return np.ones_like(x)
        power = multiplied(x, abs(self.exponent))
        return power if self.exponent > 0 else 1 / power

    def scalar(self, x: Expr) -> Expr:
        if self.exponent == 0:
            return literal(1, x.dtype)
        power: Expr = multiplied(x, abs(self.exponent))
        return power if self.exponent > 0 else 1 / power

    def partials(self, out: Any, x: Any) -> tuple[Partial, ...]:
        if self.exponent in (0, 1):
            return (float(self.exponent),)
        if self.exponent == -1:
            return (-(out * out),)
        if self.exponent == 2:
            return (2.0 * x,)
        return (float(self.exponent) * IntegerPow(self.exponent - 1)(x),)

    def value_range(self, of: RangeOf, x: Any) -> Range | None:
        a, even = of(x), self.exponent % 2 == 0
        if self.exponent > 0 and even:
            squared = a.squared()
            return squared if self.exponent == 2 else Range(0.0, inf, squared.zero)
        if a.positive or (self.exponent < 0 and even):
            return POSITIVE
        return Range(0.0, inf, a.zero) if a.low >= 0 and self.exponent > 0 else None


class Pow(Floating, name="pow"):
    """x ** y for floating x and y: 1 at y = 0, NaN for negative x and a fraction y.

    d/dx = y * x ** (y - 1), 0 at (0, 0). d/dy = out * log(x), 0 at x = 0 for y >= 0.
    """

    numpy = np.power
    primitive = "pow"
    flops = 60
    kink = "d/dx is 0 at (0, 0); d/dy is 0 at x = 0 for y >= 0"

    def partials(self, out: Any, x: Any, y: Any) -> tuple[Partial, ...]:
        return _by_base(x, y), _by_exponent(out, x, y)

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, x: Any, y: Any
    ) -> tuple[Cotangent | None, ...]:
        by_base = times(ct, _by_base(x, y)) if needed[0] else None
        return by_base, times(ct, _by_exponent(out, x, y)) if needed[1] else None


class IntPow(Elementwise, name="int_pow"):
    """x ** y for integers, wrapping. Where y < 0, 1 / x ** -y without its fraction; 0 of x = 0.

    So it is 0 but for the bases 1 and -1. Integers never trap: NumPy refuses the whole array.
    """

    exact = True
    differentiable = False
    kinds = "iu"
    hint = "for bools use x & y"
    flops = 128

    def reference(self, x: Array, y: Array) -> Any:
        power = np.power(x, np.maximum(y, 0))
        if x.dtype.kind == "u":
            return power
        sign = np.where(y & 1, x, x * x)
        unit = (x == 1) | (x == -1)
        return np.where(y < 0, np.where(unit, sign, 0), power).astype(x.dtype)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        power = apply("int_pow", x, y)
        if x.dtype.kind == "u":
            return power
        sign = select((y & 1).ne(0), x, x * x)
        unit = x.eq(1) | x.eq(-1)
        return select(y < 0, select(unit, sign, literal(0, x.dtype)), power)


def _by_base(x: Any, y: Any) -> Value:
    zeros = functions.logical_and(x == 0.0, y == 0.0)
    return functions.where(zeros, ZERO, y * Pow()(x, y - ONE))


def _by_exponent(out: Any, x: Any, y: Any) -> Value:
    zeros = functions.logical_and(x == 0.0, y >= 0.0)
    return functions.where(zeros, ZERO, out * functions.log(x))


# -- public functions -----------------------------------------------------------------------------


def power(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """x ** y, broadcast; dtypes promote.

    A whole-number literal y up to 64 means repeated multiplication, and 0.5 means sqrt(x); over an
    integer x any literal y >= 0 does. Everything else is floating arithmetic, but of integers to an
    array of integers, which wraps; where an exponent turns out negative in a run, the result is
    1 / x ** -y without its fraction: 0, but for the bases 1 and -1.

    Args:
        x, y: numbers, which broadcast.

    Returns:
        The powers, in the dtype in which they meet.

    >>> sg.evaluate(sg.power([2.0, 3.0], 2))
    array([4., 9.])
    """
    common = common_dtype("pow", (x, y))
    exponent = _literal(y)
    if exponent is None or (common.is_float and not _is_multiplied(exponent)):
        if common.is_float:
            return Pow()(x, y)
        if not isinstance(y, Value | Dim) and np.any(np.asarray(y) < 0):
            raise DTypeError(
                f"integers have no negative powers: {common.numpy} ** {shown(y)}",
                hint="convert the base first: x.astype('float64')",
            )
        return IntPow()(x, y)
    if common.is_integer:
        check_range("pow", int(exponent), common)
    base = lifted("pow", binding_kind((x,)), x, common)
    if exponent == 0.5:
        return functions.sqrt(base)
    return base if exponent == 1 else IntegerPow(int(exponent))(base)


def square(x: Operand[AnyValue]) -> AnyValue:
    """x * x, in the dtype of x; bools are combined by logical and.

    Args:
        x: numbers or bools.

    Returns:
        x * x, of x's shape.

    >>> sg.evaluate(sg.square([2, -3]))
    array([4, 9])
    """
    (value,) = Mul().prepare(x)
    return value if value.dtype.is_bool else IntegerPow(2)(value)


def reciprocal(x: Operand[AnyValue]) -> AnyValue:
    """1 / x, always floating: integers and bools are converted to float64.

    Args:
        x: numbers.

    Returns:
        1 / x, of x's shape.

    >>> sg.evaluate(sg.reciprocal([2.0, 4.0]))
    array([0.5 , 0.25])
    """
    (value,) = Div().prepare(x)
    return IntegerPow(-1)(value)


def flat_root(x: AnyValue, p: float = 2.0) -> AnyValue:
    """x ** (1 / p) for x >= 0 and p > 0, with all derivatives 0 where x is 0.

    What lengths and deviations end with: their true slope there depends on the direction.
    """
    root = functions.sqrt(x) if p == 2.0 else functions.power(x, 1.0 / p)
    return functions.where(x == 0.0, 0.0, root)


def _literal(y: object) -> int | float | None:
    """A number known where the expression is written, or None."""
    number = y.item() if isinstance(y, np.generic) else y
    return number if isinstance(number, int | float) else None


def _is_multiplied(exponent: int | float) -> bool:
    """Whether a floating base to this literal is a product or a square root."""
    whole = abs(exponent) <= _MAX_EXPONENT and float(exponent).is_integer()
    return whole or exponent == 0.5


NUMPY_NAMES.update(pow="power")

"""Integers, exponents and neighbours of floats: NumPy's ``gcd``, ``ldexp``, ``nextafter``, others.

They are composed of exact operations. Factors that are powers of two are applied in an order in
which at most the last product is rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from staticgrad.errors import DTypeError
from staticgrad.errors.tracebacks import called_name
from staticgrad.functions import aggregate
from staticgrad.functions.creation import ones_like
from staticgrad.functions.loops import while_loop
from staticgrad.functions.standard import finfo
from staticgrad.language.ir.kinds import AnyValue
from staticgrad.language.ir.pairs import check_real
from staticgrad.language.ops.arithmetic import (
    absolute,
    add,
    floor,
    floor_divide,
    isfinite,
    isnan,
    remainder,
    subtract,
    trunc,
)
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.elementwise import ArrayLike
from staticgrad.language.ops.logic import logical_and, logical_or, not_equal
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import broadcast_arrays
from staticgrad.language.ops.operands import (
    as_value,
    as_values,
    describe_operands,
    floating,
    promoted_values,
)
from staticgrad.language.ops.rounding import rounded_once
from staticgrad.language.ops.selection import copysign, maximum, minimum, where
from staticgrad.language.ops.transcendental import exp2, log2
from staticgrad.language.types.dtype import I32, I64, U8, U64


def gcd(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return the greatest common divisor of each two integers; 0 of 0 and 0.

    >>> sg.evaluate(sg.gcd([12, 18, 0], 8))
    array([4, 2, 8])
    """
    left, right = _check_integers(x, y)

    def euclid_step(pair: Any) -> Any:
        larger, smaller = pair
        remaining = remainder(larger, where(smaller == 0, 1, smaller))
        return where(smaller == 0, larger, smaller), where(smaller == 0, 0, remaining)

    final: Any = while_loop(
        lambda pair: aggregate.any(not_equal(pair[1], 0)),
        euclid_step,
        (_magnitude(left), _magnitude(right)),
    )
    return astype(final[0], left.dtype)


def lcm(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return the least common multiple of each two integers; 0 where one is 0.

    >>> sg.evaluate(sg.lcm([12, 18, 0], 8))
    array([24, 72,  0])
    """
    left, right = _check_integers(x, y)
    divisor = _magnitude(gcd(left, right))
    multiple = floor_divide(_magnitude(left), where(divisor == 0, 1, divisor)) * _magnitude(right)
    return astype(multiple, left.dtype)


def _magnitude(x: Any) -> Any:
    """The absolute value of integers as uint64, which holds that of the least one, too."""
    return astype(absolute(x), U64) & np.uint64(2**x.dtype.bits - 1)


def _check_integers(x: Any, y: Any) -> Any:
    """Check that two operands are integers, broadcast and promoted."""
    left, right = broadcast_arrays(*promoted_values((x, y)))
    if not left.dtype.is_integer:
        raise DTypeError(
            f"{called_name()}: takes integers, got {left.type}",
            hint='x.astype("int64")',
            related=describe_operands(left, right),
        )
    return left, right


@rounded_once
def ldexp(x: ArrayLike[AnyValue], n: ArrayLike[AnyValue]) -> AnyValue:
    """Return x * 2**n for integers n, exact where the result is not subnormal.

    The derivative by x is 2**n; n has none.

    >>> sg.evaluate(sg.ldexp([0.75, 5.0], [3, -1]))
    array([6. , 2.5])
    """
    check_real(x, n)
    value, exponent = as_values(x, n)
    if exponent.dtype.is_float:
        raise DTypeError(
            f"{called_name()}: the exponent {exponent.type} is not of integers",
            hint="x * 2.0**n",
            related=describe_operands(value, exponent),
        )
    return _scale_by_exponent(floating(value), astype(exponent, I64))


def _scale_by_exponent(value: Any, exponent: Any) -> Any:
    """Compute value * 2**exponent (ldexp) by three powers in range, smallest first."""
    least, most = _exponents(value)
    parts: list[Any] = []
    remaining = exponent
    for _ in range(3):
        exponent_part = maximum(minimum(remaining, most), least)
        parts.append(exponent_part)
        remaining = remaining - exponent_part
    for exponent_part in reversed(parts):
        value = value * exp2(astype(exponent_part, value.dtype))
    return value


def _exponents(value: Any) -> tuple[int, int]:
    """Exponents of the smallest and the largest power of two that is normal."""
    facts = finfo(value.dtype)
    return int(facts.minexp), int(facts.maxexp) - 1


def frexp(x: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """Return m and e with x = m * 2**e, m in [0.5, 1) but for its sign, and e of int32.

    Of 0, infinities and NaN m is x, and e is 0. The derivative of m by x is 2**-e.

    >>> sg.evaluate(sg.frexp([6.0, -0.75, 0.0]))
    (array([ 0.75, -0.75,  0.  ]), array([3, 0, 0], dtype=int32))
    """
    check_real(x)
    value: Any = floating(as_value(x))
    is_unchanged = logical_or(value == 0.0, ~isfinite(value))
    least, _ = _exponents(value)
    size = absolute(stop_gradient(where(is_unchanged, ones_like(value), value)))
    # Subnormal numbers are scaled up to normal ones first, and the exponent is corrected below.
    tiny = size < 2.0**least
    digits = int(finfo(value.dtype).nmant) + 1
    size = where(tiny, size * 2.0**digits, size)
    exponent = astype(floor(log2(size)), I64) + 1
    # The logarithm may round to the next whole number.
    mantissa = _scale_by_exponent(size, -exponent)
    exponent = exponent + astype(mantissa >= 1.0, I64) - astype(mantissa < 0.5, I64)
    exponent = where(is_unchanged, 0, where(tiny, exponent - digits, exponent))
    return where(is_unchanged, value, _scale_by_exponent(value, -exponent)), astype(exponent, I32)


def modf(x: ArrayLike[AnyValue]) -> tuple[AnyValue, AnyValue]:
    """Return the fractional and the whole part of x, both with its sign.

    The derivative of the fractional part is 1.

    >>> sg.evaluate(sg.modf([2.75, -1.5]))
    (array([ 0.75, -0.5 ]), array([ 2., -1.]))
    """
    check_real(x)
    value: Any = floating(as_value(x))
    integral = trunc(value)
    infinite = ~logical_or(isfinite(value), isnan(value))
    fixed = stop_gradient(where(infinite, 0.0, value))
    fraction = copysign(subtract(fixed, trunc(fixed)), stop_gradient(value))
    # fixed - value is 0.0 and brings the slope; -0.0 - 0.0 is -0.0.
    return where(infinite, fraction, fraction - (fixed - value)), integral


def spacing(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return the distance to the next float beyond x, with the sign of x; no gradient.

    >>> sg.evaluate(sg.spacing(1.0)) == np.finfo("float64").eps
    np.True_
    """
    check_real(x)
    value: Any = stop_gradient(floating(as_value(x)))
    step = _step(value)
    step = where(absolute(value) == float(finfo(value.dtype).max), np.inf, step)
    return where(isfinite(value), where(value < 0.0, -step, step), np.nan)


def _step(value: Any) -> Any:
    facts = finfo(value.dtype)
    exponent = astype(frexp(value)[1], I64) - (int(facts.nmant) + 1)
    least = int(facts.minexp) - int(facts.nmant)
    exponent = where(value == 0.0, least, maximum(exponent, least))
    return _scale_by_exponent(ones_like(value), exponent)


def nextafter(x: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Return the float next to x in the direction of y; no gradient.

    >>> sg.evaluate(sg.nextafter(1.0, 2.0)) - 1.0 == np.finfo("float64").eps
    np.True_
    """
    check_real(x, y)
    value, target = (stop_gradient(floating(v)) for v in promoted_values((x, y)))
    value, target = broadcast_arrays(value, target)
    facts = finfo(value.dtype)
    largest, smallest = float(facts.max), float(facts.smallest_subnormal)
    finite = maximum(minimum(value, largest), -largest)
    rises = target > value
    grows = rises == (value > 0.0)
    step = _step(finite)
    mantissa = absolute(frexp(finite)[0])
    # Towards 0 from a power of two the step is half as long.
    below = where(logical_and(mantissa == 0.5, step > smallest), step * 0.5, step)
    step = where(grows, step, below)
    neighbor = where(rises, finite + step, finite - step)
    # the neighbours of 0 are the smallest subnormal numbers
    neighbor = where(finite == 0.0, copysign(smallest, target), neighbor)
    neighbor = where(logical_and(neighbor == 0.0, finite != 0.0), copysign(0.0, value), neighbor)
    # from an infinity to the largest number
    neighbor = where(isfinite(value), neighbor, finite)
    neighbor = where(value == target, target, neighbor)
    return where(logical_or(isnan(value), isnan(target)), add(value, target), neighbor)


def bitwise_count(x: ArrayLike[AnyValue]) -> AnyValue:
    """Return how many bits of the absolute value of each integer are 1, as uint8.

    >>> sg.evaluate(sg.bitwise_count([7, -8, 0]))
    array([3, 1, 0], dtype=uint8)
    """
    value: Any = as_value(x)
    if not value.dtype.is_integer:
        raise DTypeError(
            f"{called_name()}: takes integers, got {value.type}", related=describe_operands(value)
        )
    bits: Any = _magnitude(value)
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        bit_pattern = np.uint64(mask)
        bits = (bits & bit_pattern) + ((bits >> np.uint64(shift)) & bit_pattern)
    for shift in (8, 16, 32):
        bits = bits + (bits >> np.uint64(shift))
    return astype(bits & np.uint64(0x7F), U8)

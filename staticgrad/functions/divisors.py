"""Divisors and multiples of integers, by Euclid's algorithm over all elements at a time."""

from __future__ import annotations

from typing import Any

from staticgrad.errors import DTypeError
from staticgrad.families import like
from staticgrad.functions.loops.loops import while_loop
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.division import floor_divide, remainder
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import promoted_values
from staticgrad.ops.selection import where


def gcd(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The greatest common divisor of each two elements, 0 or more; of 0 and 0 it is 0.

    A loop that runs as long as the slowest of the elements does. Carries no gradient. If the
    divisor is minus the smallest integer, it wraps to that integer, as in NumPy.

    Args:
        x, y: integers; they broadcast.

    >>> sg.evaluate(sg.gcd([12, 0, -7], 18))
    array([ 6, 18,  1])
    """
    return _divisors("gcd", x, y)[0]


@like(gcd)
def lcm(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """The least common multiple of each two elements, 0 or more; 0 where one is 0.

    Integers wrap where the dtype cannot hold it. Carries no gradient.

    >>> sg.evaluate(sg.lcm([12, 0, -7], 18))
    array([ 36,   0, 126])
    """
    divisor, one, other = _divisors("lcm", x, y)
    return floor_divide(one, divisor) * other  # a division by 0 gives 0


def _divisors(name: str, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """The divisors, and the operands without their signs."""
    one, other = promoted_values(name, (x, y))
    if not one.dtype.is_integer:
        raise DTypeError(f"{name}: takes integers, not {one.dtype.numpy}", hint="x.astype('int64')")
    one, other = functions.broadcast_arrays(functions.abs(one), functions.abs(other))

    def going(pair: Any) -> Any:
        return functions.any(functions.not_equal(pair[1], 0))

    def step(pair: Any) -> Any:
        big, small = pair
        done = functions.equal(small, 0)
        return where(done, big, small), remainder(big, small)  # by 0 it is 0

    # abs of the smallest integer is negative, and a remainder has the sign of the divisor.
    divisor, _ = while_loop(going, step, (one, other))
    return functions.abs(divisor), one, other

"""Quotients by a number that a loop's vectors share, to source: the bits of a division, sooner.

A processor divides a vector in ten to sixteen cycles, and in that time does twenty other
operations. With r = 1/s rounded, q = x r and x - q s without rounding, q + (x - q s) r is the
rounded quotient, provided that nothing over- or underflows on the way (Markstein 1990; Brisebarre,
Muller and Raina 2004, "Accelerating correctly rounded floating-point division when the divisor is
known in advance"). Vectors in which something may, and divisors of unusual size, are divided.

A loop that has enough else to do for a vector while the processor divides is quicker without the
ten operations and the branch of each such quotient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from staticgrad.ir.expr import Expr
from staticgrad.types.dtype import F32, F64, DType

#: Powers of two between which a divisor, and then a dividend, lies for the short way. A dividend
#: is as far above the least normal number as a format has digits, and a quotient is normal.
DIVISORS: Final = {F32: 24, F64: 100}
DIVIDENDS: Final = {F32: 100, F64: 900}
#: Quotients of a vector, and other operations for each of them, from which on a processor divides
#: beside the rest. One quotient alone was measured as fast either way, and those of eight float64,
#: which take half as long again, by products.
_SEVERAL: Final = 2
_BESIDE: Final = 16


def quotient_name(dtype: DType) -> str:
    """The name of the function that divides."""
    return f"quotient_{dtype.code}"


def _fields(dtype: DType, most: int) -> tuple[int, int]:
    """The patterns of a format's powers of two to minus ``most`` and to ``most``, as integers."""
    powers = np.asarray([2.0**-most, 2.0**most], dtype.numpy).view(dtype.unsigned.numpy)
    return int(powers[0]), int(powers[1])


def quotient_text(dtype: DType) -> str:
    """``quotient(x, s, r, span)``: x / s, where r is 1 / s, and ``span`` what ``span_of`` gives."""
    first, _ = _fields(dtype, DIVIDENDS[dtype])
    return f"""\
def {quotient_name(dtype)}(x, s, r, span):
    q = x * r
    found = fma(fma(-q, s, x), r, q)
    field = bitcast_{dtype.unsigned.code}(x)
    size = (field & {(1 << (dtype.bits - 1)) - 1}) - {first}
    size = select(field == 0, like(field, 0), size)
    if some(size >= span):
        found = x / s
    return found"""


def span_of(divisor: str, dtype: DType) -> str:
    """How large dividends may be that a divisor of one lane takes the short way, as source.

    None are if it is of unusual size.
    """
    first, end = _fields(dtype, DIVIDENDS[dtype])
    most, code = DIVISORS[dtype], dtype.unsigned.code
    usual = f"(absolute({divisor}) >= {2.0**-most}) & (absolute({divisor}) <= {2.0**most})"
    return f"select({usual}, {code}x1({end - first}), {code}x1(0))"


def is_power_of_two(divisor: object) -> bool:
    """Whether a literal is one: compilers multiply by its inverse themselves."""
    return isinstance(divisor, float) and abs(math.frexp(divisor)[0]) == 0.5


def divides_beside(divisors: Sequence[Expr], work: int) -> bool:
    """Whether a loop leaves the processor time to divide a vector by each of ``divisors``.

    ``work``: the operations of a vector.
    """
    if len(divisors) < _SEVERAL or any(divisor.dtype != F32 for divisor in divisors):
        return False
    return work >= (_BESIDE + 1) * len(divisors)

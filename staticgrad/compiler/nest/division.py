"""Square roots, and quotients by a shared number, faster than the processor and with its bits.

A processor takes twenty-four cycles for the roots of eight float64, twelve for those of sixteen
float32, and in that time does thirty other operations. From an estimate of 1 / sqrt(x) to 14 bits,
Goldschmidt's iteration doubles the digits of g = sqrt(x) and h = 1 / (2 sqrt(x)) together; then
g + (x - g g) h, where x - g g has no rounding, is the rounded root (Markstein 1990; Cornea,
Harrison and Tang 1999, "Correctness proofs outline for Newton-Raphson based floating-point divide
and square root algorithms"). No root of a number lies in the middle of two numbers, and those that
come near to one are few. Vectors that have a negative number, one that is not finite or a very
small one go the processor's way.

A division takes ten to sixteen cycles. With r = 1/s rounded, q = x r and x - q s without rounding,
q + (x - q s) r is the rounded quotient, provided that nothing over- or underflows on the way
(Markstein 1990; Brisebarre, Muller and Raina 2004, "Accelerating correctly rounded floating-point
division when the divisor is known in advance"). Vectors in which something may, and divisors of
unusual size, are divided. A loop that has enough else to do for a vector while the processor
divides is quicker without the ten operations and the branch of each such quotient.

A quotient of which only the nearest integer is read needs no test of its dividend. Quotients of
the dividends that are too small for a product without rounding are between -1/2 and 1/2, with the
right sign. Nothing overflows where the divisor is 1 or more; a smaller one is multiplied by a power
of two, and so is the quotient. Infinite dividends make the residual NaN, for which the minimum puts
a number: their quotient stays infinite.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from staticgrad.language.ir.expr import Expr
from staticgrad.language.types.dtype import F32, F64, DType

#: Iterations that take 14 bits to more than a format has.
ITERATIONS: Final = {F32: 1, F64: 2}


#: Powers of two from which on no residual of a root is denormal.
LEAST: Final = {F32: -100, F64: -900}


#: Powers of two between which a divisor, and then a dividend, lies for the short way. A dividend
#: is as far above the least normal number as a format has digits, and a quotient is normal.
DIVISORS: Final = {F32: 24, F64: 100}


DIVIDENDS: Final = {F32: 100, F64: 900}


#: The largest powers of two of the formats.
LARGEST: Final = {F32: 127, F64: 1023}


def root_name(dtype: DType) -> str:
    """The name of the function that takes roots."""
    return f"root_{dtype.code}"


def root_text(dtype: DType) -> str:
    """Return the source of ``root(x)``: the correctly rounded square root in each lane."""
    ends = np.asarray([2.0 ** LEAST[dtype], np.inf], dtype.numpy)
    first, end = (int(pattern) for pattern in ends.view(dtype.unsigned.numpy))
    step = "    r = fma(-g, h, 0.5)\n    g = fma(g, r, g)\n    h = fma(h, r, h)\n"
    return f"""\
def {root_name(dtype)}(x):
    least = like(x, {2.0 ** LEAST[dtype]})
    y = estimated_inverse_root(select(x < least, least, x))
    g = x * y
    h = y * 0.5
{step * ITERATIONS[dtype]}    found = fma(fma(-g, g, x), h, g)
    usual = bitcast_{dtype.unsigned.code}(x) - {first} < {end - first}
    if some(~usual & (x != 0.0)):
        found = sqrt(x)
    return found"""


def quotient_name(dtype: DType) -> str:
    """The name of the function that divides."""
    return f"quotient_{dtype.code}"


def dividend_fields(dtype: DType, most: int) -> tuple[int, int]:
    """The patterns of a format's powers of two to minus ``most`` and to ``most``, as integers."""
    powers = np.asarray([2.0**-most, 2.0**most], dtype.numpy).view(dtype.unsigned.numpy)
    return int(powers[0]), int(powers[1])


def quotient_text(dtype: DType) -> str:
    """Return the source of ``quotient(x, s, r, span)``: x / s, correctly rounded.

    r is 1 / s, and ``span`` what ``span_of`` returns.
    """
    first, _ = dividend_fields(dtype, DIVIDENDS[dtype])
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


def rounded_quotient_name(dtype: DType) -> str:
    """The name of the function that divides for the nearest integer."""
    return f"rounded_quotient_{dtype.code}"


def rounded_quotient_text(dtype: DType) -> str:
    """Return the source of ``rounded_quotient(x, s, r, power)``, of which ``rint`` is read.

    It is that of x power / s, where s is 1 or more, and r is 1 / s.
    """
    largest = 2.0 ** LARGEST[dtype]
    return f"""\
def {rounded_quotient_name(dtype)}(x, s, r, power):
    q = x * r
    excess = fma(q, s, -x)
    most = like(x, {largest})
    excess = select(excess < most, excess, most)
    return fma(-excess, r, q) * power"""


def checked_quotient_name(dtype: DType) -> str:
    """The name of the function that divides by any number for the nearest integer."""
    return f"checked_quotient_{dtype.code}"


def checked_quotient_text(dtype: DType) -> str:
    """Return the source of a ``rounded_quotient`` by a number that may be unusual.

    ``divisor`` is that number, and ``is_usual`` a mask.
    """
    return f"""\
def {checked_quotient_name(dtype)}(x, s, r, power, divisor, is_usual):
    found = {rounded_quotient_name(dtype)}(x, s, r, power)
    if some(~is_usual):
        found = x / divisor
    return found"""


def rounded_quotients(exprs: Iterable[Expr], results: Iterable[Expr]) -> frozenset[Expr]:
    """Return the quotients of which the nearest integer alone is read.

    ``exprs`` are all expressions of a kernel, ``results`` those that it stores or reduces.
    """
    rounded, read = set[Expr](), set(results)
    for e in exprs:
        (rounded if e.op == "rint" else read).update(e.args)
    return frozenset(e for e in rounded - read if e.op == "div" and e.dtype in DIVISORS)


def is_power_of_two(divisor: object) -> bool:
    """Return whether a literal is a power of two: compilers multiply by its inverse."""
    return isinstance(divisor, float) and abs(math.frexp(divisor)[0]) == 0.5

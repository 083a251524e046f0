"""Square roots of vectors by products, to source: the bits of the processor's root, sooner.

A processor takes twenty-four cycles for the roots of eight float64, twelve for those of sixteen
float32, and in that time does thirty other operations. From an estimate of 1 / sqrt(x) to 14 bits,
Goldschmidt's iteration doubles the digits of g = sqrt(x) and h = 1 / (2 sqrt(x)) together; then
g + (x - g g) h, where x - g g has no rounding, is the rounded root (Markstein 1990; Cornea,
Harrison and Tang 1999, "Correctness proofs outline for Newton-Raphson based floating-point divide
and square root algorithms"). No root of a number lies in the middle of two numbers, and those that
come near to one are few. Vectors that have a negative number, one that is not finite or a very
small one go the processor's way.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from staticgrad.types.dtype import F32, F64, DType

#: Iterations that take 14 bits to more than a format has.
ITERATIONS: Final = {F32: 1, F64: 2}
#: Powers of two from which on no residual of a root is denormal.
LEAST: Final = {F32: -100, F64: -900}


def root_name(dtype: DType) -> str:
    """The name of the function that takes roots."""
    return f"root_{dtype.code}"


def root_text(dtype: DType) -> str:
    """``root(x)``: the rounded square root of the lanes of x."""
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

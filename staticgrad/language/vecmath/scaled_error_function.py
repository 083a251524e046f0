"""erfcx, the error function's complement without its vanishing factor, and the normal distribution.

For a >= 0 and q = (a - 4)/(a + 4), (a + 4) e**(a**2) erfc(a) is one polynomial in q, to infinity
(the substitution of Shepherd & Laframboise 1981). ndtr takes the same polynomial at |x|/sqrt(2),
which it hardly feels the rounding of, and e**(-x**2/2) with x**2 in two parts. The fit is a
Chebyshev series in 60 digits, rounded.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.error_function import CONSTANTS
from staticgrad.language.vecmath.exponential import exp_reduced, reduce_by_ln2
from staticgrad.language.vecmath.layout import at_most, even_odd, horner, layout_of, scale_gradually

#: (a + 4) e**(a**2) erfc(a) in q.
ERFCX: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.0959956645965576, -0.9765487313270569, 0.7732086777687073, -0.5408538579940796,
        0.33085206151008606, -0.17401070892810822, 0.07637856155633926, -0.026371408253908157,
        0.006120805628597736, -0.0002770428254734725, -0.00046877574641257524,
        0.00017095441580750048, 7.793736585881561e-06, -1.4424081200559158e-05,
    ),
    F64: (
        1.095995661000491, -0.976548729080882, 0.7732087022652371, -0.5408538313132345,
        0.3308515878780107, -0.1740109372399329, 0.07638151490940508, -0.026370053340693672,
        0.0061120556534863925, -0.0002809588591883079, -0.0004550526593817673,
        0.00017681276807153315, -3.635329756508496e-06, -1.8860655851650423e-05,
        4.695056181536189e-06, 1.423544943950122e-06, -8.478822846448528e-07,
        -7.440264267692018e-08, 1.269526620028216e-07, -2.753680956835059e-10,
        -1.8208760359519016e-08, 7.051218877756988e-10, 2.3248139490706373e-09,
        -7.64653997246155e-11, -1.8622648765726154e-10,
    ),
}  # fmt: skip
#: Below, 1/2 + erf(x / sqrt(2))/2 loses nothing to cancellation.
NEAR: Final = 0.6
#: From here on ndtr(-x) is below the smallest number of the format, erfcx(-x) above the largest.
VANISHED: Final[dict[DType, float]] = {F32: 14.6, F64: 38.8}
OVERFLOWN: Final[dict[DType, float]] = {F32: 9.5, F64: 26.8}
ROOT_HALF: Final = math.sqrt(0.5)


def scaled_erfc(a: Expr) -> Expr:
    """Compute e**(a**2) erfc(a) for finite a >= 0."""
    divisor = a + 4.0
    reciprocal = literal(1.0, a.dtype) / divisor
    rough = (a - 4.0) * reciprocal
    missed = (-rough).fma(a, (rough + 1.0).fma(-4.0, a))  # a - 4 - rough (a + 4)
    q = reciprocal.fma(missed, rough)
    # The two halves of an even-odd sum cancel where q is large: the largest terms are added last.
    first, second, third, fourth, *others = ERFCX[a.dtype]
    total = even_odd(q, q * q, others)
    for coefficient in (fourth, third, second, first):
        total = total.fma(q, coefficient)
    scaled = total * reciprocal
    missed = (-scaled).fma(divisor, total)
    return reciprocal.fma(missed, scaled)


def _gaussian(x: Expr, sign: float) -> Expr:
    """e**(sign x**2), the square taken in two parts; |sign| is a power of two."""
    square = x * x
    lost = x.fma(x, -square) * sign
    r, d, low_bits = reduce_by_ln2(square * sign, 2 * layout_of(x).bias)
    return scale_gradually(exp_reduced(r + (d + lost)), low_bits)


def erfcx(x: Expr) -> Expr:
    """e**(x**2) erfc(x): falls to 0 as 1 / (x sqrt(pi)), overflows to inf below."""
    a = abs(x)
    finite = scaled_erfc(at_most(a, x.dtype.largest))
    scaled = select(a.eq(math.inf), literal(0.0, x.dtype), finite)
    inside = at_most(a, OVERFLOWN[x.dtype])
    return rarely(x < 0.0, [_gaussian(inside, 1.0) * 2.0 - scaled], [scaled])[0]


def ndtr(x: Expr) -> Expr:
    """Compute the standard normal distribution function: 0 at -inf, 1 at inf."""
    a = at_most(abs(x), VANISHED[x.dtype])
    tail = _gaussian(a, -0.5) * (scaled_erfc(a * ROOT_HALF) * 0.5)
    scaled = x * ROOT_HALF
    series = horner(scaled * scaled, CONSTANTS[x.dtype].near)
    near = scaled.fma(0.5, (scaled * 0.5) * series) + 0.5
    return select(a < NEAR, near, select(x < 0.0, tail, 1.0 - tail))

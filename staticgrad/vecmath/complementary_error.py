"""erfc, relative to itself far into its tail: e**(-x**2) times a polynomial and a quotient.

For a = |x| and q = (a - 4)/(a + 4), e**(a**2) erfc(a) (a + 4) is smooth in q (the substitution of
Shepherd & Laframboise 1981): one polynomial serves all a up to where erfc vanishes. a**2 is kept in
two parts, as e would amplify its rounding by a**2. Near 0 it is 1 - erf(x). Fits in 50 digits,
2**-28 for f32 and 2**-54 for f64. Knows no renderer.
"""

from __future__ import annotations

from typing import Final

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.error_function import CONSTANTS as ERF
from staticgrad.vecmath.exponential import exp_reduced, reduce_by_ln2
from staticgrad.vecmath.layout import at_most, horner, layout_of, scale_gradually

#: Below, 1 - erf(x) loses nothing to cancellation.
NEAR: Final = 0.5
#: From here on erfc is below the smallest number of the format.
VANISHED: Final[dict[DType, float]] = {F32: 10.3, F64: 27.4}
SCALED: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.0959956645965576, -0.9765487313270569, 0.773208498954773, -0.5408534407615662,
        0.3308541476726532, -0.17401893436908722, 0.07636253535747528, -0.02631818689405918,
        0.006223222240805626, -0.00035794050199911, -0.0007412952254526317,
    ),
    F64: (
        1.095995661000491, -0.9765487290808822, 0.7732087022652494, -0.54085383131322,
        0.3308515878774507, -0.17401093724037484, 0.07638151491985577, -0.026370053332925306,
        0.006112055552182689, -0.00028095894297429266, -0.00045505209130006045,
        0.00017681332535038357, -3.6372494220593016e-06, -1.8862960332220226e-05,
        4.6988925302717746e-06, 1.4294647119225722e-06, -8.51837521130057e-07,
        -8.358962503181432e-08, 1.2761369389242093e-07, 7.642249204633748e-09,
        -1.5694727415269183e-08, -2.2659381959466773e-09, 4.575564177044891e-10,
    ),
}  # fmt: skip


def erfc(x: Expr) -> Expr:
    """1 - erf(x) without cancellation: 2 at -inf, 0 at inf, gradual underflow between."""
    a = at_most(abs(x), VANISHED[x.dtype])
    quotient = literal(1.0, x.dtype) / (a + 4.0)
    rough = (a - 4.0) * quotient
    missed = (-rough).fma(a, (rough + 1.0).fma(-4.0, a))  # a - 4 - rough (a + 4)
    q = quotient.fma(missed, rough)
    square = a * a
    lost = a.fma(a, -square)
    r, d, low_bits = reduce_by_ln2(-square, 2 * layout_of(x).bias)
    p = exp_reduced(r + (d - lost)) * (horner(q, SCALED[x.dtype]) * quotient)
    tail = scale_gradually(p, low_bits)
    near = (1.0 - x) - x * horner(square, ERF[x.dtype].near)
    return select(a < NEAR, near, select(x < 0.0, 2.0 - tail, tail))

"""cbrt: the exponent by three, an inverse cube root by polynomial, Newton, one exact residual.

x = 2**(3n) m with m in [0.35, 2.83]. y is m**(-1/3) to 17 bits (to 33 after one Newton step in
f64), c = m y**2 the root to as many, and c + (m - c**3) y**2 / 3 the result, its residual m - c**3
computed with fma so that next to nothing of it is lost. The fit has 50 digits.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.ir.expr import Expr, literal, select
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.layout import (
    flip_sign,
    horner,
    layout_of,
    power_of_two,
    round_scaled,
    sign_bit,
    split,
)

#: m**(-1/3) over [sqrt(1/2), sqrt(2)], relative error 2**-17.4; every number fits f32.
INVERSE: Final = (
    1.9990266561508179, -2.4850831031799316, 2.7903361320495605, -1.896097183227539,
    0.6996638178825378, -0.10784245282411575,
)  # fmt: skip
THIRD: Final = 1.0 / 3.0
#: Newton's steps that the inverse cube root takes.
NEWTON: Final[dict[DType, int]] = {F32: 0, F64: 1}


def cbrt(x: Expr) -> Expr:
    """The real cube root. -0 stays -0, infinities and NaN themselves."""
    magnitude, dtype = abs(x), x.dtype
    parts = split(magnitude, denormals=True)
    n, low_bits = round_scaled(parts.exponent, THIRD, layout_of(x).bias)
    rest = n.fma(-3.0, parts.exponent)  # -1, 0 or 1

    def by_rest(base: float) -> Expr:
        low, one, high = (literal(base**k, dtype) for k in (-1, 0, 1))
        return select(rest > 0.0, high, select(rest < 0.0, low, one))

    m = parts.mantissa * by_rest(2.0)
    y = horner(parts.mantissa, INVERSE) * by_rest(2.0**-THIRD)
    for _ in range(NEWTON[dtype]):
        y = (y * THIRD).fma(1.0 - m * y * (y * y), y)
    squared = y * y
    c = m * squared
    square = c * c
    residual = (-c).fma(square, m) - c * c.fma(c, -square)
    root = (squared * THIRD).fma(residual, c) * power_of_two(low_bits)
    proper = (magnitude > 0.0) & (magnitude < math.inf)
    return select(proper, flip_sign(root, sign_bit(x)), x)

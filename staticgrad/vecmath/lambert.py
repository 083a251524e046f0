"""lambertw, the real solution w >= -1 of w e**w = x.

With p = sqrt(2 (e x + 1)), which is 0 at the branch point, W(x)/x is smooth in p: one polynomial to
p = 3/2, for which e x + 1 is computed with e in two parts. Beyond, Winitzki's formula (2003) is
right to a hundredth, and each of Fritsch's steps (Comm. ACM 16, 1973) to the fourth power of that.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.ir.expr import Expr, rarely, select
from staticgrad.types.dtype import F32, F64, DType
from staticgrad.vecmath.layout import even_odd, split
from staticgrad.vecmath.logarithm import exponent_and_reduced

#: W(x)/x in p - 3/4, for p to 3/2.
NEAR: Final[dict[DType, tuple[float, ...]]] = {
    F32: (
        1.4782744646072388, -0.9898533225059509, 0.5469699501991272, -0.2827833890914917,
        0.14150062203407288, -0.06949511915445328, 0.033899374306201935, -0.01630861684679985,
        0.007180677726864815, -0.0034212812315672636, 0.0025999173521995544, -0.0012275298358872533,
    ),
    F64: (
        1.4782744540853454, -0.9898533477260848, 0.5469688210286533, -0.28278285019082594,
        0.14152411690076241, -0.06950616849588724, 0.03372442607751626, -0.016226325317962864,
        0.007759643342703045, -0.003693640361668456, 0.0017518654573982365, -0.0008285006204243138,
        0.00039087913341772897, -0.00018406178992037627, 8.660604721992009e-05,
        -4.065776867030021e-05, 1.885214568286957e-05, -8.830892120063307e-06,
        4.5267636650067104e-06, -2.1160397042499884e-06, 5.240193020775961e-07,
        -2.451385137958228e-07, 4.291327562701276e-07, -2.000270080207376e-07,
    ),
}  # fmt: skip
CENTRE: Final = 0.75
BORDER: Final = 1.5
#: e in two parts.
E: Final[dict[DType, tuple[float, float]]] = {
    F32: (2.7182817459106445, 8.254840366817007e-08),
    F64: (2.718281828459045, 1.4456468917292502e-16),
}
STEPS: Final[dict[DType, int]] = {F32: 1, F64: 2}


def lambertw(x: Expr) -> Expr:
    """The principal branch on the real line: -1 at -1/e, NaN below, inf at inf. -0 stays -0."""
    high, low = E[x.dtype]
    above = x.fma(low, x.fma(high, 1.0))
    p = (above + above).sqrt()
    s = p - CENTRE
    near = x * even_odd(s, s * s, NEAR[x.dtype])
    far = select(x < math.inf, _iterated(x), x)
    return rarely(p > BORDER, [far], [near])[0]


def _iterated(x: Expr) -> Expr:
    rough = _log(x + 1.0)
    w = rough - rough * (_log(rough + 1.0) / (rough + 2.0))
    for _ in range(STEPS[x.dtype]):
        z = _log(x / w) - w
        more = w + 1.0
        q = (more + more) * (more + z * (2.0 / 3.0))
        w = w.fma((z * (q - z)) / (more * (q - (z + z))), w)
    return w


def _log(x: Expr) -> Expr:
    """The logarithm of a positive normal number."""
    parts = split(x, denormals=False)
    return exponent_and_reduced(parts.exponent, parts.mantissa - 1.0)

"""The quantile of the standard normal distribution: where its integral from -inf reaches p.

With w = -log(4 p (1 - p)) it is (2 p - 1) times a smooth function of w (Giles, "Approximating the
erfinv function", 2011): one polynomial serves all but the ends, which are rare among p that are
drawn evenly. At the ends f32 takes a polynomial in 1 / sqrt(w), f64 Wichura's quotients in
sqrt(-log p) (algorithm AS 241, Applied Statistics 37, 1988). The polynomials are Chebyshev series,
found with 64-bit mantissas and rounded.
"""

from __future__ import annotations

import math
from typing import Final

from staticgrad.language.ir.expr import Expr, literal, rarely, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.layout import even_odd, flip_sign, horner, sign_bit, split
from staticgrad.language.vecmath.logarithm import exponent_and_reduced, log
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Middle:
    """z / (2 p - 1) in w - centre, for w <= 2 centre."""

    centre: float
    series: tuple[float, ...]


MIDDLE: Final[dict[DType, Middle]] = {
    F32: Middle(
        2.5,
        (
            2.1233134269714355, 0.34880203008651733, -0.005907721351832151, -0.0017716537695378065,
            0.0003087891673203558, -7.014136372163193e-06, -4.8979254643199965e-06,
            6.582156402146211e-07, 3.293115824476445e-08, -1.235998769999469e-08,
        ),
    ),
    F64: Middle(
        3.125,
        (
            2.338620710026593, 0.3396349587011389, -0.00853289917726744, -0.0010475115694856334,
            0.0002640820495410735, -1.9632852863650102e-05, -1.9310650283877596e-06,
            5.988894860706958e-07, -4.111174076945321e-08, -5.8161801292854545e-09,
            1.4866538749102739e-09, -7.656982711365146e-11, -1.8354626109975338e-11,
            3.7201308952607825e-12, -1.1419685547660414e-13, -5.6597599029957835e-14,
            9.229419975496425e-15, -5.563942363571105e-17, -1.7348601492547935e-16,
            2.1929565702424486e-17, 9.085321270045887e-19, -4.909769292485201e-19,
            2.6355409454532947e-20, 4.512580105166278e-21, -4.7554306380495955e-22,
        ),
    ),
}  # fmt: skip
#: f32 beyond: z / ((2 p - 1) sqrt(w)) in 1 / sqrt(w) - centre.
FAR_CENTRE: Final = 0.2721504807472229
FAR: Final = (
    1.3514248132705688, -0.27407306432724, 0.16571474075317383, 0.780146598815918, 0.58684241771698,
    15.680635452270508, 37.36022186279297, -207.6859130859375, -1113.4368896484375,
    1721.6322021484375, 9785.0859375, -5582.1103515625,
)  # fmt: skip
#: AS 241 (PPND16): numerator and denominator in r - 1.6 to r = 5, in r - 5 beyond.
NEAR_ENDS: Final = (
    (
        1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
        3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
        0.0227238449892691845833, 7.74545014278341407640e-4,
    ),
    (
        1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
        0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
        1.05075007164441684324e-9,
    ),
)  # fmt: skip
AT_ENDS: Final = (
    (
        6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
        0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
        2.71155556874348757815e-5, 2.01033439929228813265e-7,
    ),
    (
        1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
        7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
        2.04426310338993978564e-15,
    ),
)  # fmt: skip
ROOT_HALF: Final = math.sqrt(0.5)


def ndtri(p: Expr) -> Expr:
    """z with a fraction p of the standard normal distribution below it; -inf at 0, inf at 1.

    NaN outside [0, 1]. As exact as p is: next to 1 that is not much.
    """
    x = (p - 0.5) * 2.0
    return _quantile(x, (p * 4.0) * (1.0 - p), select(x > 0.0, 1.0 - p, p))


def erfinv(x: Expr) -> Expr:
    """Compute erfinv: the quantile at (1 + x)/2 over sqrt(2), accurate near 0 too.

    -inf at -1, inf at 1, NaN beyond. -0 stays -0.
    """
    complement = 1.0 - abs(x)
    return _quantile(x, complement * (abs(x) + 1.0), complement * 0.5) * ROOT_HALF


def _quantile(x: Expr, product: Expr, smaller: Expr) -> Expr:
    """Compute the normal quantile at (1 + x)/2, given 1 - x**2 and half of 1 - |x|."""
    middle = MIDDLE[x.dtype]
    parts = split(product, denormals=False)
    w = -exponent_and_reduced(parts.exponent, parts.mantissa - 1.0)
    at = w - middle.centre
    usual = x * even_odd(at, at * at, middle.series)
    end = _FAR[x.dtype](x, product, smaller)
    border = select(smaller.eq(0.0), x * math.inf, literal(math.nan, x.dtype))
    unusual = select(smaller > 0.0, end, border)
    return rarely(~(product > math.exp(-2.0 * middle.centre)), [unusual], [usual])[0]


def _far_f32(x: Expr, product: Expr, smaller: Expr) -> Expr:
    root = (-log(product)).sqrt()
    return (x * root) * horner(1.0 / root - FAR_CENTRE, FAR)


def _far_f64(x: Expr, product: Expr, smaller: Expr) -> Expr:
    """Compute the normal quantile in its tails, by rational functions of sqrt(-log p)."""
    r = (-log(smaller)).sqrt()
    near = r <= 5.0
    at = r - select(near, literal(1.6, F64), literal(5.0, F64))
    above, below = (
        select(near, horner(at, first), horner(at, second))
        for first, second in zip(NEAR_ENDS, AT_ENDS, strict=True)
    )
    return flip_sign(above / below, sign_bit(x))


_FAR: Final = {F32: _far_f32, F64: _far_f64}

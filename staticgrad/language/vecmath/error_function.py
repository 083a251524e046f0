"""erf: a polynomial near 0, and 1 - 2**t(|x|) beyond; erfc, relative to itself far into its tail.

Near 0, x + x P(x**2). Beyond, t is log2(erfc) as a polynomial in |x|: only the absolute error of
2**t counts there, so the fit is weighted by erfc and a low degree is enough, and no error of t is
amplified by more than erfc * ln2 < 0.2. There is no division. Fits by Lawson's iteration in 60
digits, coefficients rounded one by one with refits.

erfc is e**(-x**2) times a polynomial and a quotient: for a = |x| and q = (a - 4)/(a + 4), e**(a**2)
erfc(a) (a + 4) is smooth in q (the substitution of Shepherd & Laframboise 1981): one polynomial
serves all a up to where erfc vanishes. a**2 is kept in two parts, as e would amplify its rounding
by a**2. What rounding takes from q, from the two largest terms of the polynomial, from the division
and from the exponential is added to the last product, so that erfc is 1 at 0. Fits in 50 digits,
2**-28 for f32 and 2**-54 for f64.
"""

from __future__ import annotations

from typing import Final

from staticgrad.language.ir.expr import Expr, literal, select
from staticgrad.language.types.dtype import F32, F64, DType
from staticgrad.language.vecmath.exponential import exp_in_two, reduce_by_ln2
from staticgrad.language.vecmath.layout import (
    at_most,
    even_odd,
    flip_sign,
    horner,
    layout_of,
    power_of_two,
    round_scaled,
    scale_gradually,
    sign_bit,
)
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class ErrorFunction:
    """Polynomials of one format: ``near`` in x**2 below ``border``, ``log2_erfc`` in |x|, 2**r."""

    border: float
    saturate: float
    near: tuple[float, ...]
    log2_erfc: tuple[float, ...]
    exp2: tuple[float, ...]


CONSTANTS: Final[dict[DType, ErrorFunction]] = {
    F32: ErrorFunction(
        border=0.8,
        saturate=3.95,
        near=(
            0.12837916612625122, -0.37612611055374146, 0.11283208429813385, -0.02682449482381344,
            0.00509121036157012, -0.000657118100207299,
        ),
        log2_erfc=(
            -9.501846943749115e-05, -1.6276910305023193, -0.9178727865219116, -0.15119405090808868,
            0.03268678858876228, -0.0045499433763325214, 0.000299322564387694,
        ),
        exp2=(
            1.0000001192092896, 0.6931471824645996, 0.24021971225738525, 0.05550358071923256,
            0.009681304916739464, 0.0013391588581725955,
        ),
    ),
    F64: ErrorFunction(
        border=0.9,
        saturate=5.95,
        near=(
            0.1283791670955126, -0.37612638903184104, 0.11283791670971703, -0.026866170648205817,
            0.005223977654662608, -0.0008548328635201741, 0.00012055387827456975,
            -1.4926825165243308e-05, 1.6477619745216072e-06, -1.6480009110667248e-07,
            1.51019542448342e-08, -1.08373070187e-09,
        ),
        log2_erfc=(
            -3.62063038601797e-07, -1.6279031730557558, -0.9184672255290212, -0.14821175630542435,
            0.02747624515405224, 0.0004830637614062988, -0.00264968447114878,
            0.0010190792130933789, -0.00013595632309742, -5.8704968944156266e-05,
            4.454645617928838e-05, -1.6094680544710716e-05, 3.939715556932203e-06,
            -6.941078064087748e-07, 8.759195491781752e-08, -7.560227517820244e-09,
            4.01041954084499e-10, -9.875576526214279e-12,
        ),
        exp2=(
            1.0, 0.6931471805599453, 0.2402265069591012, 0.05550410866482261, 0.009618129107597653,
            0.0013333558146255491, 0.00015403530453556025, 1.525273394867691e-05,
            1.3215436762677528e-06, 1.0178021368058218e-07, 7.073564339283045e-09,
            4.460350109586523e-10,
        ),
    ),
}  # fmt: skip


def erf(x: Expr) -> Expr:
    """Compute the error function, at most 1 in magnitude; -0 stays -0."""
    c = CONSTANTS[x.dtype]
    magnitude = at_most(abs(x), c.saturate)
    squared = magnitude * magnitude
    near = magnitude.fma(horner(squared, c.near), magnitude)
    t = even_odd(magnitude, squared, c.log2_erfc)
    n, low_bits = round_scaled(t, 1.0, layout_of(x).bias)
    r = t - n
    far = (-even_odd(r, r * r, c.exp2)).fma(power_of_two(low_bits), 1.0)
    return flip_sign(select(magnitude < c.border, near, far), sign_bit(x))


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
    """Compute 1 - erf(x) without cancellation: 2 at -inf, 0 at inf, gradual underflow between."""
    a = at_most(abs(x), VANISHED[x.dtype])
    divisor = a + 4.0
    quotient = literal(1.0, x.dtype) / divisor
    below = a - 4.0
    below_left, divisor_left = a - (below + 4.0), a - (divisor - 4.0)
    rough = below * quotient
    missed = (-rough).fma(divisor, below) + (-rough).fma(divisor_left, below_left)
    q = quotient.fma(missed, rough)
    q_left = quotient.fma(missed, rough - q)
    first, second, *others = SCALED[x.dtype]
    inner, inner_left = _in_two(q, even_odd(q, q * q, others), second)
    total, left = _in_two(q, inner, first)
    # The derivative of the polynomial is near -inner**2 for all q.
    left = (inner * inner).fma(-q_left, q.fma(inner_left, left))
    scaled = total * quotient
    missed = (-scaled).fma(divisor, total) + (-scaled).fma(divisor_left, left)
    scaled_left = missed * quotient
    square = a * a
    lost = a.fma(a, -square)
    r, d, low_bits = reduce_by_ln2(-square, 2 * layout_of(x).bias)
    high, low = exp_in_two(r)
    low = high.fma(d - lost, low)
    tail = scale_gradually(high.fma(scaled, high.fma(scaled_left, low * scaled)), low_bits)
    return select(x < 0.0, 2.0 - tail, tail)


def _in_two(q: Expr, inner: Expr, constant: float) -> tuple[Expr, Expr]:
    """q * inner + constant, where the constant is no smaller than half of it, and what rounding
    takes away."""
    above = q * inner
    total = above + constant
    return total, q.fma(inner, -above) + (above - (total - constant))

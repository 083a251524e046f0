"""Inverses of the incomplete gamma and beta functions, and Student's t: in float64 inside.

The logarithm of a gamma variable and the log-odds of a beta variable have log-concave densities
f, so that log(F) and log(1 - F) are concave in them. Newton's method on the logarithm of the
smaller one then converges from wherever it starts: after its first step it stays on one side.

Derivatives follow from the distribution function: dx = (dp - dF) / f.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad.extend import AnyValue, ArrayLike, Integer
from staticgrad.extend.derivatives import custom_jvp
from staticgrad.extend.ops import (
    absolute,
    clip,
    exp,
    log,
    log1p,
    maximum,
    sigmoid,
    sqrt,
    stop_gradient,
    where,
)
from staticgrad.language.ops.special import (
    BetaInc,
    BetaLn,
    GammaInc,
    GammaIncC,
    GammaLn,
    Ndtr,
    Ndtri,
    beta_density,
    beta_slope,
    log_quantile_slope,
)
from staticgrad.special.values import in_float64

#: Steps of Newton's method, and the longest of them.
STEPS: Final = 40
LONGEST: Final = 8.0
#: Probabilities below it are 0 to the incomplete functions.
TINY: Final = 1e-305


def newton(u: Any, p: Any, q: Any, lower: Any, tail_at: Callable[..., Any]) -> Any:
    """Solve F(u) = p, of p + q = 1, by the tail that ``lower`` says.

    ``tail_at(u, lower)`` gives F or 1 - F, the logarithm of the density and its slope; where the
    tail underflows it is about the density over the slope.
    """
    from staticgrad.extend.loops import fori_loop

    log_target = log(where(lower, p, q))

    def step(_: Any, u: Any) -> Any:
        tail, log_density, slope = tail_at(u, lower)
        vanishes = tail < TINY
        # far out a tail is about its density over the slope of the density's logarithm
        log_tail_estimate = log_density - log(maximum(absolute(slope), 1e-3))
        tail = where(vanishes, log_tail_estimate, log(where(vanishes, 1.0, tail)))
        # Newton's step for log F(u) = log p: the slope of log F is the density over the tail.
        change = (log_target - tail) * exp(clip(tail - log_density, -700.0, 700.0))
        change = clip(where(lower, change, -change), -LONGEST, LONGEST)
        return u + where(change == change, change, 0.0)

    return fori_loop(0, STEPS, step, u)


@custom_jvp(name="staticgrad.log_gamma_quantile")
def _log_gamma_quantile(a: Any, p: Any, q: Any) -> Any:
    """log(x) where P(a, x) = p and Q(a, x) = q."""
    a, p, q = stop_gradient(a), stop_gradient(p), stop_gradient(q)
    log_gamma = GammaLn()(a)
    # P(a, x) <= x**a / gamma(a + 1), and Wilson and Hilferty's cube of a normal variable
    bound = (log(p) + log_gamma + log(a)) / a
    z = where(p <= q, Ndtri()(p), -Ndtri()(q))
    cube = 1.0 - 1.0 / (9.0 * a) + z / (3.0 * sqrt(a))
    usual = log(a) + 3.0 * log(maximum(cube, 1e-3))
    # Q(a, x) is about x**(a - 1) * exp(-x) / gamma(a) far out
    exponent = maximum(-log(q) - log_gamma, 1.0)
    tail = log(maximum(exponent + (a - 1.0) * log(exponent), 0.5))
    bound_or_tail = where((q < 0.1) & (bound > -2.0), tail, bound)
    start = where(
        (a > 1.0) & (cube > 0.1), usual, where((a > 1.0) & (q < 0.1), tail, bound_or_tail)
    )

    def tail_at(u: Any, lower: Any) -> tuple[Any, Any, Any]:
        x = exp(u)
        tail = where(lower, GammaInc()(a, x), GammaIncC()(a, x))
        return tail, a * u - x - log_gamma, a - x

    return where(bound < -700.0, bound, newton(start, p, q, p <= q, tail_at))


@_log_gamma_quantile.rule
def _gamma_tangent(tangents: Any, out: Any, a: Any, p: Any, q: Any) -> Any:
    by_a, by_p, by_q = tangents
    density = exp(a * out - exp(out) - GammaLn()(a))
    return log_quantile_slope(a, out) * by_a + (by_p - by_q) * 0.5 / density


@custom_jvp(name="staticgrad.log_odds_quantile")
def _log_odds_quantile(a: Any, b: Any, p: Any, q: Any) -> Any:
    """log(x / (1 - x)) where I(x; a, b) = p and 1 - p = q."""
    a, b, p, q = (stop_gradient(x) for x in (a, b, p, q))
    log_beta = BetaLn()(a, b)
    # the normal approximation of the log-odds; the tails have slopes a and -b
    deviation = sqrt(1.0 / a + 1.0 / b)
    z = where(p <= q, Ndtri()(p), -Ndtri()(q))
    usual = log(a) - log(b) + clip(z, -3.0, 3.0) * deviation
    low = (log(p) + log(a) + log_beta) / a
    high = -(log(q) + log(b) + log_beta) / b
    is_extreme = (a < 1.0) | (b < 1.0) | (absolute(z) > 3.0)
    is_low = where(-high + log(maximum(a, 1.0)) < -2.0, False, p <= q)
    is_low = where(low + log(maximum(b, 1.0)) < -2.0, True, is_low)
    start = where(is_extreme, where(is_low, low, high), usual)
    # the tail of the side on which x, or 1 - x, is small and exact
    lower = where(start < 0.0, p < 0.99, (p <= q) & (q >= 0.99))

    def tail_at(v: Any, lower: Any) -> tuple[Any, Any, Any]:
        x, complement = sigmoid(v), sigmoid(-v)
        tail = BetaInc()(where(lower, a, b), where(lower, b, a), where(lower, x, complement))
        return tail, beta_density(a, b, v), a * complement - b * x

    return newton(start, p, q, lower, tail_at)


@_log_odds_quantile.rule
def _beta_tangent(tangents: Any, out: Any, a: Any, b: Any, p: Any, q: Any) -> Any:
    by_a, by_b, by_p, by_q = tangents
    density = exp(beta_density(a, b, out))
    change = beta_slope(a, b, out) * by_a - beta_slope(b, a, -out) * by_b
    return change + (by_p - by_q) * 0.5 / density


def apply_on_unit_interval(
    p: Any, of: Callable[..., Any], at_zero: float, at_one: float, *shapes: Any
) -> Any:
    """``of`` p in (0, 1) and positive finite shapes; constants at the ends, NaN elsewhere."""
    valid: Any = (p >= 0.0) & (p <= 1.0)
    for shape in shapes:
        valid = valid & (shape > 0.0) & (shape < math.inf)
    inside = valid & (p > 0.0) & (p < 1.0)
    value = of(where(inside, p, 0.5), *[where(valid, shape, 1.0) for shape in shapes])
    ends = where(valid, where(p == 0.0, at_zero, at_one), math.nan)
    return where(inside, value, ends)


def gamma_quantile(a: Any, p: Any, q: Any) -> Any:
    """x of P(a, x) = p and Q(a, x) = q."""
    return exp(_log_gamma_quantile(a, p, q))


def beta_quantile(a: Any, b: Any, p: Any, q: Any) -> Any:
    """x of I(x; a, b) = p, of p + q = 1."""
    return sigmoid(_log_odds_quantile(a, b, p, q))


def beta_odds(a: Any, b: Any, p: Any, q: Any) -> Any:
    """x / (1 - x) of I(x; a, b) = p, of p + q = 1."""
    return exp(_log_odds_quantile(a, b, p, q))


def gammaincinv(a: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``gammainc``: x with gammainc(a, x) = y; NaN for y outside [0, 1]
    and for an a that is not positive.

    >>> sg.special.gammaincinv(2.0, [0.2, 0.5]).round(3)
    array([0.824, 1.678])
    """

    def formula(a: Any, y: Any) -> Any:
        return apply_on_unit_interval(
            y, lambda y, a: gamma_quantile(a, y, 1.0 - y), 0.0, math.inf, a
        )

    return in_float64("gammaincinv", formula, a, y)


def gammainccinv(a: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``gammaincc``: x with gammaincc(a, x) = y, accurate for small y.

    >>> sg.special.gammainccinv(2.0, [0.2, 0.5]).round(3)
    array([2.994, 1.678])
    """

    def formula(a: Any, y: Any) -> Any:
        return apply_on_unit_interval(
            y, lambda y, a: gamma_quantile(a, 1.0 - y, y), math.inf, 0.0, a
        )

    return in_float64("gammainccinv", formula, a, y)


def is_by_lower(b: Any, x: Any) -> Any:
    """Return where x is lost in 1 - x, and 1 less the lower tail is not small."""
    return (x < 1e-9) & (x * b < 1.0)


def betaincc(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], x: ArrayLike[AnyValue]) -> AnyValue:
    """1 - betainc(a, b, x), accurate where that is small.

    >>> sg.special.betaincc(2.0, 3.0, [0.2, 0.5]).round(3)
    array([0.819, 0.312])
    """

    def formula(a: Any, b: Any, x: Any) -> Any:
        lower = is_by_lower(b, x)
        first, last = where(lower, a, b), where(lower, b, a)
        tail = BetaInc()(first, last, where(lower, x, 1.0 - x))
        return where(lower, 1.0 - tail, tail)

    return in_float64("betaincc", formula, a, b, x)


def betaincinv(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``betainc``: x with betainc(a, b, x) = y; NaN for y outside [0, 1]
    and for parameters that are not positive.

    >>> sg.special.betaincinv(2.0, 3.0, [0.2, 0.5]).round(3)
    array([0.212, 0.386])
    """

    def formula(a: Any, b: Any, y: Any) -> Any:
        return apply_on_unit_interval(
            y, lambda y, a, b: beta_quantile(a, b, y, 1.0 - y), 0.0, 1.0, a, b
        )

    return in_float64("betaincinv", formula, a, b, y)


def betainccinv(a: ArrayLike[AnyValue], b: ArrayLike[AnyValue], y: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``betaincc``: x with betaincc(a, b, x) = y, accurate for small y.

    >>> sg.special.betainccinv(2.0, 3.0, [0.2, 0.5]).round(3)
    array([0.582, 0.386])
    """

    def formula(a: Any, b: Any, y: Any) -> Any:
        return apply_on_unit_interval(
            y, lambda y, a, b: beta_quantile(a, b, 1.0 - y, y), 1.0, 0.0, a, b
        )

    return in_float64("betainccinv", formula, a, b, y)


@custom_jvp(name="staticgrad.stdtr")
def _t_below(df: Any, t: Any) -> Any:
    """P(T <= t) for t <= 0, of finite df; near 0 from the median."""
    square = t * t
    is_near_zero = (square < 9.0) & (square < df)
    a, half = df * 0.5, df * 0.0 + 0.5
    first, last = where(is_near_zero, half, a), where(is_near_zero, a, half)
    tail = 0.5 * BetaInc()(first, last, where(is_near_zero, square, df) / (df + square))
    return where(is_near_zero, 0.5 - tail, tail)


@_t_below.rule
def _student_tangent(tangents: Any, out: Any, df: Any, t: Any) -> Any:
    by_df, by_t = tangents
    a, half = df * 0.5, df * 0.0 + 0.5
    density = exp(-(a + 0.5) * log1p(t * t / df) - BetaLn()(a, half)) / sqrt(df)
    in_range = (t < 0.0) & (t > -1e150)
    v = log(df) - 2.0 * log(where(in_range, -t, 1.0))
    # I(x; df / 2, 1/2) / 2, of log-odds that df moves too
    slope = exp(beta_density(a, half, v)) * (1.0 / df - 0.5 * beta_slope(a, half, v)) * 0.5
    return density * by_t + where(in_range, slope, 0.0) * by_df


def student_below(df: Any, t: Any) -> Any:
    """P(T <= t) of Student's t; of infinite df the normal distribution."""
    normal = df == math.inf
    valid = (df > 0.0) & (t == t)
    finite_df = where(valid & ~normal, df, 1.0)
    low = _t_below(finite_df, -absolute(where(t == t, t, 0.0)))
    probability = where(normal, Ndtr()(t), where(t <= 0.0, low, 1.0 - low))
    return where(valid, probability, math.nan)


def stdtr(df: ArrayLike[AnyValue], t: ArrayLike[AnyValue]) -> AnyValue:
    """Distribution function of Student's t with ``df`` degrees of freedom, accurate for t < 0.

    >>> sg.special.stdtr(3.0, [-1.0, 0.0]).round(3)
    array([0.196, 0.5  ])
    """
    return in_float64("stdtr", student_below, df, t)


def student_quantile(df: Any, p: Any, q: Any) -> Any:
    """t with P(T <= t) = p, of p + q = 1."""
    normal = df == math.inf
    finite_df = where((df > 0.0) & ~normal, df, 1.0)
    lower = p < q
    tail = where(lower, p, q)
    is_median = tail == 0.5
    safe = where(is_median | (tail <= 0.0), 0.25, tail)
    # x = df / (df + t**2) has log-odds log(df / t**2)
    v = _log_odds_quantile(finite_df * 0.5, finite_df * 0.0 + 0.5, 2.0 * safe, 1.0 - 2.0 * safe)
    size = sqrt(finite_df) * exp(-0.5 * v)
    # beside the median by the series: quantiles are the distance over the density
    centre = exp(-BetaLn()(finite_df * 0.5, finite_df * 0.0 + 0.5)) / sqrt(finite_df)
    series = (0.5 - tail) / centre
    size = where(is_median | (0.5 - tail < 1e-9), series, size)
    quantile = where(lower, -size, size)
    gauss = where(lower, Ndtri()(p), -Ndtri()(q))
    return where(df > 0.0, where(normal, gauss, quantile), math.nan)


def stdtrit(df: ArrayLike[AnyValue], p: ArrayLike[AnyValue]) -> AnyValue:
    """Inverse of ``stdtr`` by t: infinite at 0 and 1, NaN beyond.

    >>> sg.special.stdtrit(3.0, [0.025, 0.5]).round(3)
    array([-3.182,  0.   ])
    """

    def formula(df: Any, p: Any) -> Any:
        inside = (p > 0.0) & (p < 1.0)
        safe = where(inside, p, 0.5)
        quantile = student_quantile(df, safe, 1.0 - safe)
        valid = (p >= 0.0) & (p <= 1.0) & (df > 0.0)
        ends = where(valid, where(p == 0.0, -math.inf, math.inf), math.nan)
        return where(inside, quantile, ends)

    return in_float64("stdtrit", formula, df, p)


def multigammaln(a: ArrayLike[AnyValue], d: Integer) -> AnyValue:
    """Logarithm of the multivariate gamma function of dimension ``d``, a whole number.

    The sum of gammaln(a - k / 2) over k < d, plus d (d - 1) / 4 log(pi). NaN for a at most
    (d - 1) / 2.

    >>> sg.special.multigammaln([3.0, 4.0], 2).round(3)
    array([1.55 , 3.565])
    """

    def formula(a: Any) -> Any:
        valid = a > (d - 1) / 2.0
        safe = where(valid, a, (d + 1) / 2.0)
        total = sum(GammaLn()(safe - k / 2.0) for k in range(d))
        return where(valid, total + d * (d - 1) / 4.0 * math.log(math.pi), math.nan)

    return in_float64("multigammaln", formula, a)

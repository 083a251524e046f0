"""Logarithms of the incomplete gamma and beta functions, also where these underflow.

There a series of positive terms, or a continued fraction, gives the ratio of the tail to the
density. Derivatives are those of the tail over the tail, by logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from staticgrad import special
from staticgrad.extend import functions
from staticgrad.extend.derivatives import custom_jvp
from staticgrad.extend.loops import while_loop
from staticgrad.extend.ops import absolute, exp, log, log1p, where
from staticgrad.language.ops.special import (
    beta_density,
    beta_slope,
    log_quantile_slope,
)
from staticgrad.special.quantiles import is_by_lower, student_below
from staticgrad.special.values import in_float64
from staticgrad.stats.base import log_of

#: Below it tails are summed.
TINY: Final = 1e-280
#: Terms are summed until they are this fraction of the sum, and at most so many.
SMALL: Final = 1e-17
MOST: Final = 10_000


def _sum_series(ratio: Callable[[Any], Any], mask: Any) -> Any:
    """Sum 1 + r(1) + r(1) r(2) + ... where ``mask`` is True, for falling ratios below 1.

    The terms behind the last one are summed as a geometric series, since ratios change slowly where
    there are many terms.
    """

    def goes_on(state: tuple[Any, Any, Any]) -> Any:
        n, term, total = state
        return functions.any((term > total * SMALL) & (n < MOST))

    def step(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        n, term, total = state
        term = term * ratio(n + 1.0)
        return n + 1.0, term, total + term

    first_term = where(mask, 1.0, 0.0)
    n, term, total = while_loop(goes_on, step, (first_term * 0.0, first_term, first_term))
    last = where(mask, ratio(n + 1.0), 0.0)
    return total + term * last / (1.0 - last)


def _lower_gamma(a: Any, x: Any) -> Any:
    """Compute log(gammainc(a, x)), by a series where it underflows."""
    lower = special.gammainc(a, x)
    underflows = (lower < TINY) & (x > 0.0) & (x < a)
    at = where(underflows, x, 0.0)
    total = where(underflows, _sum_series(lambda n: at / (a + n), underflows), 1.0)
    some = where(underflows, x, 1.0)
    tail = a * log(some) - some - special.gammaln(a + 1.0) + log(total)
    return where(underflows, tail, log_of(where(underflows, 1.0, lower), special.gammaincc(a, x)))


def _upper_gamma(a: Any, x: Any) -> Any:
    """Compute log(gammaincc(a, x)) by DLMF 8.9.2's continued fraction where it underflows."""
    upper = special.gammaincc(a, x)
    underflows = (upper < TINY) & (x > a) & (x < math.inf)
    some = where(underflows, x, a + 10.0)

    def goes_on(state: tuple[Any, ...]) -> Any:
        return functions.any(underflows & (absolute(state[3] - 1.0) > 1e-16) & (state[0] < MOST))

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        """Compute the next convergent of the continued fraction."""
        n, c, d, _, h = state
        n = n + 1.0
        weight = n * (a - n)
        b = some - a + 1.0 + 2.0 * n
        d = 1.0 / (b + weight * d)
        c = b + weight / c
        change = c * d
        return n, c, d, change, h * change

    first = some - a + 1.0
    start = (first * 0.0, first * 0.0 + 1e300, 1.0 / first, first * 0.0, 1.0 / first)
    fraction = while_loop(goes_on, step, start)[4]
    tail = a * log(some) - some - special.gammaln(a) + log(fraction)
    return where(underflows, tail, log_of(where(underflows, 1.0, upper), special.gammainc(a, x)))


def _gamma_tail(name: str, of: Callable[[Any, Any], Any], sign: float) -> Any:
    """Define a log incomplete gamma function with its derivative by x and by a."""

    @custom_jvp(name=name)
    def logarithm(a: Any, x: Any) -> Any:
        return of(a, x)

    @logarithm.rule
    def tangent_rule(tangents: Any, out: Any, a: Any, x: Any) -> Any:
        by_a, by_x = tangents
        inside = (x > 0.0) & (x < math.inf)
        u = log(where(inside, x, 1.0))
        ratio = exp(a * u - exp(u) - special.gammaln(a) - out) * sign
        ratio = where(inside, ratio, 0.0)
        return ratio * exp(-u) * by_x - ratio * log_quantile_slope(a, u) * by_a

    return logarithm


_log_lower_gamma = _gamma_tail("staticgrad.log_gammainc", _lower_gamma, 1.0)
_log_upper_gamma = _gamma_tail("staticgrad.log_gammaincc", _upper_gamma, -1.0)


def log_lower_gamma(a: Any, x: Any) -> Any:
    """log(gammainc(a, x))."""
    return in_float64("gammainc", _log_lower_gamma, a, x)


def log_upper_gamma(a: Any, x: Any) -> Any:
    """log(gammaincc(a, x))."""
    return in_float64("gammaincc", _log_upper_gamma, a, x)


@custom_jvp(name="staticgrad.log_betainc")
def _log_beta(a: Any, b: Any, x: Any, complement: Any) -> Any:
    """Compute log(I(x; a, b)), by DLMF 8.17.22's series where it underflows."""
    lower = special.betainc(a, b, x)
    lower = where(is_by_lower(a, complement), 1.0 - special.betainc(b, a, complement), lower)
    underflows = (lower < TINY) & (x > 0.0) & (x * (a + b) < a)
    at = where(underflows, x, 0.0)
    total = _sum_series(lambda n: at * (a + b + (n - 1.0)) / (a + n), underflows)
    some, safe_complement = where(underflows, x, 0.5), where(underflows, complement, 0.5)
    tail = a * log(some) + b * log(safe_complement) - log(a) - special.betaln(a, b)
    tail = tail + log(where(underflows, total, 1.0))
    upper = where(is_by_lower(b, x), 1.0 - lower, special.betainc(b, a, complement))
    return where(underflows, tail, log_of(where(underflows, 1.0, lower), upper))


@_log_beta.rule
def _push_beta_tangents(tangents: Any, out: Any, a: Any, b: Any, x: Any, complement: Any) -> Any:
    """Push tangents forward through the log incomplete beta function."""
    by_a, by_b, by_x, by_rest = tangents
    inside = (x > 0.0) & (complement > 0.0)
    some, safe_complement = where(inside, x, 0.5), where(inside, complement, 0.5)
    v = log(some) - log(safe_complement)
    ratio = where(inside, exp(beta_density(a, b, v) - out), 0.0)
    tangent = beta_slope(b, a, -v) * by_b - beta_slope(a, b, v) * by_a
    return ratio * tangent + ratio / (some * safe_complement) * (by_x - by_rest) * 0.5


def log_lower_beta(a: Any, b: Any, x: Any) -> Any:
    """log(betainc(a, b, x))."""
    return in_float64("betainc", lambda a, b, x: _log_beta(a, b, x, 1.0 - x), a, b, x)


def log_upper_beta(a: Any, b: Any, x: Any) -> Any:
    """log(betaincc(a, b, x))."""
    return in_float64("betaincc", lambda a, b, x: _log_beta(b, a, 1.0 - x, x), a, b, x)


def log_student(df: Any, t: Any) -> Any:
    """Compute log(stdtr(df, t)), the log distribution function of Student's t."""

    def of(df: Any, t: Any) -> Any:
        """Compute log(stdtr) by the log incomplete beta function in the lower tail."""
        normal = df == math.inf
        some = where(normal, 1.0, df)
        low = t < -1.0
        far = where(low, t, -1.0)
        square = far * far
        a, half = some * 0.5, some * 0.0 + 0.5
        x = some / (some + square)
        # square / (some + square) is a quotient whose derivative cancels far out
        tail = _log_beta(a, half, x, 1.0 / (1.0 + some / square)) + math.log(0.5)
        near = student_below(some, where(low, 0.0, t))
        upper = student_below(some, where(low, 0.0, -t))
        middle = where(t > 0.0, log1p(-upper), log(near))
        return where(normal, special.log_ndtr(t), where(low, tail, middle))

    return in_float64("stdtr", of, df, t)

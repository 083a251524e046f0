"""Continuous distributions, with the names and parameters of ``scipy.stats``.

Formulas are those of NIST's Digital Library of Mathematical Functions (DLMF) and of Johnson, Kotz
and Balakrishnan, "Continuous Univariate Distributions" (1994, 1995), for location 0 and scale 1.
"""

from __future__ import annotations

import math
from typing import Any

from staticgrad import special
from staticgrad.extend import DType
from staticgrad.extend.dtypes import F64
from staticgrad.extend.ops import (
    absolute,
    arctan,
    arctan2,
    copysign,
    erf,
    erfc,
    exp,
    expm1,
    log,
    log1p,
    logaddexp,
    maximum,
    minimum,
    sigmoid,
    sin,
    sqrt,
    stop_gradient,
    tan,
    where,
)
from staticgrad.nn.functional.basics import softplus
from staticgrad.stats.base import (
    EULER,
    LOG_2,
    LOG_PI,
    LOG_ROOT_TAU,
    Continuous,
    log1mexp,
    log1mexp_of_log,
    log1p_square,
)
from staticgrad.stats.tails import (
    log_lower_beta,
    log_lower_gamma,
    log_student,
    log_upper_beta,
    log_upper_gamma,
)


class Normal(Continuous):
    """Normal: mean ``loc``, standard deviation ``scale``.

    >>> sg.stats.norm.pdf([0.0, 1.0]).round(3)
    array([0.399, 0.242])
    """

    typical = 0.0

    def log_density(self, z: Any) -> Any:
        return z * z * -0.5 - LOG_ROOT_TAU

    def below(self, z: Any) -> Any:
        return special.ndtr(z)

    def above(self, z: Any) -> Any:
        return special.ndtr(-z)

    def log_below(self, z: Any) -> Any:
        return special.log_ndtr(z)

    def log_above(self, z: Any) -> Any:
        return special.log_ndtr(-z)

    def quantile(self, q: Any) -> Any:
        return special.ndtri(q)

    def upper_quantile(self, q: Any) -> Any:
        return -special.ndtri(q)

    def moments(self) -> tuple[Any, Any]:
        return 0.0, 1.0

    def spread(self) -> Any:
        return 0.5 + LOG_ROOT_TAU

    def draw(self, rng: Any, shape: Any, dtype: DType) -> Any:
        return rng.normal(shape=shape, dtype=dtype)


class HalfNormal(Continuous):
    """The absolute value of a normal variable with mean 0, times ``scale``, from ``loc`` on.

    >>> sg.stats.halfnorm.pdf([0.0, 1.0]).round(3)
    array([0.798, 0.484])
    """

    low = 0.0

    def log_density(self, z: Any) -> Any:
        return z * z * -0.5 + (LOG_2 - LOG_ROOT_TAU)

    def below(self, z: Any) -> Any:
        return erf(z * math.sqrt(0.5))

    def above(self, z: Any) -> Any:
        return erfc(z * math.sqrt(0.5))

    def log_above(self, z: Any) -> Any:
        near = z < 0.5
        middle = log1p(-erf(where(near, z, 0.5) * math.sqrt(0.5)))
        return where(near, middle, special.log_ndtr(-where(near, 0.5, z)) + LOG_2)

    def quantile(self, q: Any) -> Any:
        return special.erfinv(q) * math.sqrt(2.0)

    def upper_quantile(self, q: Any) -> Any:
        return -special.ndtri(q * 0.5)

    def moments(self) -> tuple[Any, Any]:
        return math.sqrt(2.0 / math.pi), 1.0 - 2.0 / math.pi

    def spread(self) -> Any:
        return 0.5 * math.log(math.pi / 2.0) + 0.5

    def draw(self, rng: Any, shape: Any, dtype: DType) -> Any:
        return absolute(rng.normal(shape=shape, dtype=dtype))


class LogNormal(Continuous):
    """The exponential of a normal variable with standard deviation ``s``, times ``scale``.

    >>> sg.stats.lognorm.pdf([0.5, 1.0], 1.0).round(3)
    array([0.627, 0.399])
    """

    shapes = ("s",)
    low = 0.0
    closed = False
    typical = 1.0

    def log_density(self, z: Any, s: Any) -> Any:
        logarithm = log(z)
        return (logarithm / s) ** 2 * -0.5 - logarithm - log(s) - LOG_ROOT_TAU

    def below(self, z: Any, s: Any) -> Any:
        return special.ndtr(log(z) / s)

    def above(self, z: Any, s: Any) -> Any:
        return special.ndtr(-log(z) / s)

    def log_below(self, z: Any, s: Any) -> Any:
        return special.log_ndtr(log(z) / s)

    def log_above(self, z: Any, s: Any) -> Any:
        return special.log_ndtr(-log(z) / s)

    def quantile(self, q: Any, s: Any) -> Any:
        return exp(s * special.ndtri(q))

    def upper_quantile(self, q: Any, s: Any) -> Any:
        return exp(s * -special.ndtri(q))

    def moments(self, s: Any) -> tuple[Any, Any]:
        square = s * s
        return exp(square * 0.5), expm1(square) * exp(square)

    def spread(self, s: Any) -> Any:
        return log(s) + (0.5 + LOG_ROOT_TAU)

    def draw(self, rng: Any, shape: Any, dtype: DType, s: Any) -> Any:
        return exp(s * rng.normal(shape=shape, dtype=dtype))


class ExponentialDistribution(Continuous):
    """Exponential with mean ``scale``, from ``loc`` on.

    >>> sg.stats.expon.pdf([0.0, 1.0]).round(3)
    array([1.   , 0.368])
    """

    low = 0.0

    def log_density(self, z: Any) -> Any:
        return -z

    def below(self, z: Any) -> Any:
        return -expm1(-z)

    def above(self, z: Any) -> Any:
        return exp(-z)

    def log_below(self, z: Any) -> Any:
        return log1mexp(-z)

    def log_above(self, z: Any) -> Any:
        return -z

    def quantile(self, q: Any) -> Any:
        return -log1p(-q)

    def upper_quantile(self, q: Any) -> Any:
        return -log(q)

    def moments(self) -> tuple[Any, Any]:
        return 1.0, 1.0

    def spread(self) -> Any:
        return 1.0


class GammaDistribution(Continuous):
    """Gamma with the shape ``a``: z ** (a - 1) * exp(-z) / gamma(a).

    >>> sg.stats.gamma.pdf([1.0, 2.0], 2.0).round(3)
    array([0.368, 0.271])
    """

    shapes = ("a",)
    low = 0.0

    def log_density(self, z: Any, a: Any) -> Any:
        return special.xlogy(a - 1.0, z) - z - special.gammaln(a)

    def below(self, z: Any, a: Any) -> Any:
        return special.gammainc(a, z)

    def above(self, z: Any, a: Any) -> Any:
        return special.gammaincc(a, z)

    def log_below(self, z: Any, a: Any) -> Any:
        return log_lower_gamma(a, z)

    def log_above(self, z: Any, a: Any) -> Any:
        return log_upper_gamma(a, z)

    def quantile(self, q: Any, a: Any) -> Any:
        return special.gammaincinv(a, q)

    def upper_quantile(self, q: Any, a: Any) -> Any:
        return special.gammainccinv(a, q)

    def moments(self, a: Any) -> tuple[Any, Any]:
        return a, a

    def spread(self, a: Any) -> Any:
        return a + special.gammaln(a) + (1.0 - a) * special.digamma(a)

    def draw(self, rng: Any, shape: Any, dtype: DType, a: Any) -> Any:
        return rng.gamma(a, shape=shape, dtype=dtype)


class ChiSquared(GammaDistribution):
    """Chi-squared with ``df`` degrees of freedom: gamma of df / 2, times 2.

    >>> sg.stats.chi2.pdf([1.0, 2.0], 3.0).round(3)
    array([0.242, 0.208])
    """

    shapes = ("df",)

    def log_density(self, z: Any, df: Any) -> Any:
        return super().log_density(z * 0.5, df * 0.5) - LOG_2

    def below(self, z: Any, df: Any) -> Any:
        return super().below(z * 0.5, df * 0.5)

    def above(self, z: Any, df: Any) -> Any:
        return super().above(z * 0.5, df * 0.5)

    def log_below(self, z: Any, df: Any) -> Any:
        return super().log_below(z * 0.5, df * 0.5)

    def log_above(self, z: Any, df: Any) -> Any:
        return super().log_above(z * 0.5, df * 0.5)

    def quantile(self, q: Any, df: Any) -> Any:
        return super().quantile(q, df * 0.5) * 2.0

    def upper_quantile(self, q: Any, df: Any) -> Any:
        return super().upper_quantile(q, df * 0.5) * 2.0

    def moments(self, df: Any) -> tuple[Any, Any]:
        return df, 2.0 * df

    def spread(self, df: Any) -> Any:
        return super().spread(df * 0.5) + LOG_2

    def draw(self, rng: Any, shape: Any, dtype: DType, df: Any) -> Any:
        return super().draw(rng, shape, dtype, df * 0.5) * 2.0


class InverseGamma(Continuous):
    """The reciprocal of a gamma variable of shape ``a``: z ** (-a - 1) * exp(-1 / z) / gamma(a).

    >>> sg.stats.invgamma.pdf([0.5, 1.0], 2.0).round(3)
    array([1.083, 0.368])
    """

    shapes = ("a",)
    low = 0.0
    closed = False
    typical = 1.0

    def log_density(self, z: Any, a: Any) -> Any:
        return -(a + 1.0) * log(z) - special.gammaln(a) - 1.0 / z

    def below(self, z: Any, a: Any) -> Any:
        return special.gammaincc(a, 1.0 / z)

    def above(self, z: Any, a: Any) -> Any:
        return special.gammainc(a, 1.0 / z)

    def log_below(self, z: Any, a: Any) -> Any:
        return log_upper_gamma(a, 1.0 / z)

    def log_above(self, z: Any, a: Any) -> Any:
        return log_lower_gamma(a, 1.0 / z)

    def quantile(self, q: Any, a: Any) -> Any:
        return 1.0 / special.gammainccinv(a, q)

    def upper_quantile(self, q: Any, a: Any) -> Any:
        return 1.0 / special.gammaincinv(a, q)

    def moments(self, a: Any) -> tuple[Any, Any]:
        some = where(a > 2.0, a, 3.0)
        mean = where(a > 1.0, 1.0 / where(a > 1.0, a - 1.0, 1.0), math.inf)
        variance = 1.0 / ((some - 1.0) ** 2 * (some - 2.0))
        return mean, where(a > 2.0, variance, math.inf)

    def spread(self, a: Any) -> Any:
        return a + special.gammaln(a) - (1.0 + a) * special.digamma(a)

    def draw(self, rng: Any, shape: Any, dtype: DType, a: Any) -> Any:
        return 1.0 / rng.gamma(a, shape=shape, dtype=dtype)


class Beta(Continuous):
    """Beta on [0, 1]: z ** (a - 1) * (1 - z) ** (b - 1) / B(a, b).

    >>> sg.stats.beta.pdf([0.2, 0.5], 2.0, 3.0).round(3)
    array([1.536, 1.5  ])
    """

    shapes = ("a", "b")
    low = 0.0
    high = 1.0

    def log_density(self, z: Any, a: Any, b: Any) -> Any:
        return special.xlogy(a - 1.0, z) + special.xlog1py(b - 1.0, -z) - special.betaln(a, b)

    def below(self, z: Any, a: Any, b: Any) -> Any:
        return special.betainc(a, b, z)

    def above(self, z: Any, a: Any, b: Any) -> Any:
        return special.betaincc(a, b, z)

    def log_below(self, z: Any, a: Any, b: Any) -> Any:
        return log_lower_beta(a, b, z)

    def log_above(self, z: Any, a: Any, b: Any) -> Any:
        return log_upper_beta(a, b, z)

    def quantile(self, q: Any, a: Any, b: Any) -> Any:
        return special.betaincinv(a, b, q)

    def upper_quantile(self, q: Any, a: Any, b: Any) -> Any:
        return special.betainccinv(a, b, q)

    def moments(self, a: Any, b: Any) -> tuple[Any, Any]:
        concentration = a + b
        mean = a / concentration
        return mean, mean * (b / concentration) / (concentration + 1.0)

    def spread(self, a: Any, b: Any) -> Any:
        """Compute the entropy of the standard beta distribution."""
        digamma_term = (a + b - 2.0) * special.digamma(a + b)
        return (
            special.betaln(a, b)
            - (a - 1.0) * special.digamma(a)
            - (b - 1.0) * special.digamma(b)
            + digamma_term
        )

    def draw(self, rng: Any, shape: Any, dtype: DType, a: Any, b: Any) -> Any:
        return rng.beta(a, b, shape=shape, dtype=dtype)


class StudentT(Continuous):
    """Student's t with ``df`` degrees of freedom; infinite ones give the normal distribution.

    >>> sg.stats.t.pdf([0.0, 1.0], 3.0).round(3)
    array([0.368, 0.207])
    """

    shapes = ("df",)
    typical = 0.0

    def log_density(self, z: Any, df: Any) -> Any:
        normal = df == math.inf
        some = where(normal, 1.0, df)
        half = some * 0.5
        tail = (half + 0.5) * log1p_square(z / sqrt(some))
        log_student = -tail - 0.5 * log(some) - special.betaln(half, some * 0.0 + 0.5)
        return where(normal, z * z * -0.5 - LOG_ROOT_TAU, log_student)

    def below(self, z: Any, df: Any) -> Any:
        return special.stdtr(df, z)

    def above(self, z: Any, df: Any) -> Any:
        return special.stdtr(df, -z)

    def log_below(self, z: Any, df: Any) -> Any:
        return log_student(df, z)

    def log_above(self, z: Any, df: Any) -> Any:
        return log_student(df, -z)

    def quantile(self, q: Any, df: Any) -> Any:
        return special.stdtrit(df, q)

    def upper_quantile(self, q: Any, df: Any) -> Any:
        return -special.stdtrit(df, q)

    def moments(self, df: Any) -> tuple[Any, Any]:
        some = where((df > 2.0) & (df < math.inf), df, 3.0)
        variance = where(df == math.inf, 1.0, some / (some - 2.0))
        variance = where(df > 2.0, variance, where(df > 1.0, math.inf, math.nan))
        return where(df > 1.0, 0.0, math.inf), variance

    def spread(self, df: Any) -> Any:
        """Compute the entropy of Student's t; the normal one for infinitely many degrees."""
        normal = df == math.inf
        some = where(normal, 1.0, df)
        half, more = some * 0.5, some * 0.5 + 0.5
        entropy = more * (special.digamma(more) - special.digamma(half)) + special.betaln(
            half, some * 0.0 + 0.5
        )
        return where(normal, 0.5 + LOG_ROOT_TAU, entropy + 0.5 * log(some))

    def draw(self, rng: Any, shape: Any, dtype: DType, df: Any) -> Any:
        half = where(df == math.inf, 1.0, df) * 0.5
        spread = sqrt(half / rng.gamma(half, shape=shape, dtype=dtype))
        return rng.normal(shape=shape, dtype=dtype) * where(df == math.inf, 1.0, spread)


class Cauchy(Continuous):
    """Cauchy: 1 / (pi (1 + z ** 2)).

    >>> sg.stats.cauchy.pdf([0.0, 1.0]).round(3)
    array([0.318, 0.159])
    """

    typical = 0.0

    def log_density(self, z: Any) -> Any:
        return -log1p_square(z) - LOG_PI

    def below(self, z: Any) -> Any:
        return arctan2(z * 0.0 + 1.0, -z) * (1.0 / math.pi)

    def above(self, z: Any) -> Any:
        return arctan2(z * 0.0 + 1.0, z) * (1.0 / math.pi)

    def quantile(self, q: Any) -> Any:
        near = absolute(q - 0.5) < 0.25
        middle = tan((where(near, q, 0.5) - 0.5) * math.pi)
        low = where(q < 0.5, q, 1.0 - q)
        tail = copysign(1.0 / tan(where(near, 0.25, low) * math.pi), q - 0.5)
        return where(near, middle, tail)

    def upper_quantile(self, q: Any) -> Any:
        return -self.quantile(q)

    def moments(self) -> tuple[Any, Any]:
        return math.nan, math.nan

    def spread(self) -> Any:
        return math.log(4.0 * math.pi)


class HalfCauchy(Continuous):
    """The absolute value of a Cauchy variable, times ``scale``, from ``loc`` on.

    >>> sg.stats.halfcauchy.pdf([0.0, 1.0]).round(3)
    array([0.637, 0.318])
    """

    low = 0.0

    def log_density(self, z: Any) -> Any:
        return (LOG_2 - LOG_PI) - log1p_square(z)

    def below(self, z: Any) -> Any:
        return arctan(z) * (2.0 / math.pi)

    def above(self, z: Any) -> Any:
        return arctan2(z * 0.0 + 1.0, z) * (2.0 / math.pi)

    def quantile(self, q: Any) -> Any:
        lower = q < 0.5
        turned = tan(where(lower, q, 1.0 - q) * (math.pi / 2.0))
        return where(lower, turned, 1.0 / turned)

    def upper_quantile(self, q: Any) -> Any:
        return 1.0 / self.quantile(q)

    def moments(self) -> tuple[Any, Any]:
        return math.inf, math.inf

    def spread(self) -> Any:
        return math.log(2.0 * math.pi)


class Laplace(Continuous):
    """Laplace: exponential to both sides of ``loc``; the slope of the density is 0 there.

    >>> sg.stats.laplace.pdf([0.0, 1.0]).round(3)
    array([0.5  , 0.184])
    """

    typical = 0.0

    def log_density(self, z: Any) -> Any:
        return -absolute(z) - LOG_2

    def below(self, z: Any) -> Any:
        tail = exp(-absolute(z)) * 0.5
        return where(z < 0.0, tail, 1.0 - tail)

    def above(self, z: Any) -> Any:
        return self.below(-z)

    def log_below(self, z: Any) -> Any:
        return where(z < 0.0, z - LOG_2, log1p(exp(-absolute(z)) * -0.5))

    def log_above(self, z: Any) -> Any:
        return self.log_below(-z)

    def quantile(self, q: Any) -> Any:
        tail = log(2.0 * where(q < 0.5, q, 1.0 - q))
        return where(q < 0.5, tail, -tail)

    def upper_quantile(self, q: Any) -> Any:
        return -self.quantile(q)

    def moments(self) -> tuple[Any, Any]:
        return 0.0, 2.0

    def spread(self) -> Any:
        return 1.0 + LOG_2


class Logistic(Continuous):
    """Logistic: the distribution function is 1 / (1 + exp(-z)).

    >>> sg.stats.logistic.pdf([0.0, 1.0]).round(3)
    array([0.25 , 0.197])
    """

    typical = 0.0

    def log_density(self, z: Any) -> Any:
        return -softplus(z) - softplus(-z)

    def below(self, z: Any) -> Any:
        # 1 - smaller has a slope with digits: that of sigmoid, s * (1 - s), is 0 far above
        is_above = z > 0.0
        smaller = sigmoid(where(is_above, -z, z))
        return where(is_above, 1.0 - smaller, smaller)

    def above(self, z: Any) -> Any:
        return self.below(-z)

    def log_below(self, z: Any) -> Any:
        return -softplus(-z)

    def log_above(self, z: Any) -> Any:
        return -softplus(z)

    def quantile(self, q: Any) -> Any:
        return special.logit(q)

    def upper_quantile(self, q: Any) -> Any:
        return -special.logit(q)

    def moments(self) -> tuple[Any, Any]:
        return 0.0, math.pi**2 / 3.0

    def spread(self) -> Any:
        return 2.0


class Gumbel(Continuous):
    """Gumbel of the largest of many: the distribution function is exp(-exp(-z)).

    >>> sg.stats.gumbel_r.pdf([0.0, 1.0]).round(3)
    array([0.368, 0.255])
    """

    typical = 0.0

    def log_density(self, z: Any) -> Any:
        return -z - exp(-z)

    def below(self, z: Any) -> Any:
        return exp(-exp(-z))

    def above(self, z: Any) -> Any:
        return -expm1(-exp(-z))

    def log_below(self, z: Any) -> Any:
        return -exp(-z)

    def log_above(self, z: Any) -> Any:
        return log1mexp_of_log(-z)

    def quantile(self, q: Any) -> Any:
        return -log(-log(q))

    def upper_quantile(self, q: Any) -> Any:
        return -log(-log1p(-q))

    def moments(self) -> tuple[Any, Any]:
        return EULER, math.pi**2 / 6.0

    def spread(self) -> Any:
        return 1.0 + EULER


class Weibull(Continuous):
    """Weibull with the shape ``c``: the probability of more than z is exp(-z ** c).

    >>> sg.stats.weibull_min.pdf([0.5, 1.0], 2.0).round(3)
    array([0.779, 0.736])
    """

    shapes = ("c",)
    low = 0.0

    def log_density(self, z: Any, c: Any) -> Any:
        return log(c) + special.xlogy(c - 1.0, z) - z**c

    def below(self, z: Any, c: Any) -> Any:
        return -expm1(-(z**c))

    def above(self, z: Any, c: Any) -> Any:
        return exp(-(z**c))

    def log_below(self, z: Any, c: Any) -> Any:
        return log1mexp_of_log(c * log(z))

    def log_above(self, z: Any, c: Any) -> Any:
        return -(z**c)

    def quantile(self, q: Any, c: Any) -> Any:
        return (-log1p(-q)) ** (1.0 / c)

    def upper_quantile(self, q: Any, c: Any) -> Any:
        return (-log(q)) ** (1.0 / c)

    def moments(self, c: Any) -> tuple[Any, Any]:
        mean = exp(special.gammaln(1.0 + 1.0 / c))
        return mean, exp(special.gammaln(1.0 + 2.0 / c)) - mean * mean

    def spread(self, c: Any) -> Any:
        return EULER * (1.0 - 1.0 / c) - log(c) + 1.0


class Rayleigh(Continuous):
    """Rayleigh: the length of a vector of two normal variables.

    >>> sg.stats.rayleigh.pdf([0.5, 1.0]).round(3)
    array([0.441, 0.607])
    """

    low = 0.0

    def log_density(self, z: Any) -> Any:
        return log(z) - z * z * 0.5

    def below(self, z: Any) -> Any:
        return -expm1(z * z * -0.5)

    def above(self, z: Any) -> Any:
        return exp(z * z * -0.5)

    def log_below(self, z: Any) -> Any:
        return log1mexp_of_log(2.0 * log(z) - LOG_2)

    def log_above(self, z: Any) -> Any:
        return z * z * -0.5

    def quantile(self, q: Any) -> Any:
        return sqrt(-2.0 * log1p(-q))

    def upper_quantile(self, q: Any) -> Any:
        return sqrt(-2.0 * log(q))

    def moments(self) -> tuple[Any, Any]:
        return math.sqrt(math.pi / 2.0), 2.0 - math.pi / 2.0

    def spread(self) -> Any:
        return EULER / 2.0 + 1.0 - 0.5 * LOG_2


class Pareto(Continuous):
    """Pareto with the exponent ``b``, from 1 on: the probability of more than z is z ** -b.

    >>> sg.stats.pareto.pdf([1.0, 2.0], 2.0).round(3)
    array([2.  , 0.25])
    """

    shapes = ("b",)
    low = 1.0
    typical = 2.0

    def log_density(self, z: Any, b: Any) -> Any:
        return log(b) - (b + 1.0) * log(z)

    def below(self, z: Any, b: Any) -> Any:
        return -expm1(-b * log(z))

    def above(self, z: Any, b: Any) -> Any:
        return z**-b

    def log_below(self, z: Any, b: Any) -> Any:
        return log1mexp(-b * log(z))

    def log_above(self, z: Any, b: Any) -> Any:
        return -b * log(z)

    def quantile(self, q: Any, b: Any) -> Any:
        return exp(-log1p(-q) / b)

    def upper_quantile(self, q: Any, b: Any) -> Any:
        return q ** (-1.0 / b)

    def moments(self, b: Any) -> tuple[Any, Any]:
        excess, safe_b = where(b > 1.0, b - 1.0, 1.0), where(b > 2.0, b, 3.0)
        mean = where(b > 1.0, b / excess, math.inf)
        return mean, where(b > 2.0, safe_b / ((safe_b - 1.0) ** 2 * (safe_b - 2.0)), math.inf)

    def spread(self, b: Any) -> Any:
        return 1.0 + 1.0 / b - log(b)


class Uniform(Continuous):
    """Uniform on [loc, loc + scale], both ends included.

    >>> sg.stats.uniform.pdf([0.5, 2.0]).round(3)
    array([1., 0.])
    """

    low = 0.0
    high = 1.0

    def log_density(self, z: Any) -> Any:
        return z * 0.0

    def below(self, z: Any) -> Any:
        return z

    def log_above(self, z: Any) -> Any:
        return log1p(-z)

    def quantile(self, q: Any) -> Any:
        return q

    def moments(self) -> tuple[Any, Any]:
        return 0.5, 1.0 / 12.0

    def spread(self) -> Any:
        return 0.0

    def draw(self, rng: Any, shape: Any, dtype: DType) -> Any:
        return rng.uniform(shape=shape, dtype=dtype)


class VonMises(Continuous):
    """Von Mises on the circle, with the concentration ``kappa``; all angles x + 2 pi k are alike.

    exp(kappa cos(z)) / (2 pi I0(kappa)). It has a density, and no distribution function here.

    >>> sg.stats.vonmises.pdf([0.0, 1.0], 2.0).round(3)
    array([0.516, 0.206])
    """

    shapes = ("kappa",)
    typical = 0.0

    def valid(self, kappa: Any) -> Any:
        return kappa >= 0.0

    def log_density(self, z: Any, kappa: Any) -> Any:
        # cos(z) - 1 without cancellation
        return -2.0 * kappa * sin(z * 0.5) ** 2 - log(special.i0e(kappa)) - 2.0 * LOG_ROOT_TAU

    def moments(self, kappa: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def spread(self, kappa: Any) -> Any:
        ratio = special.i1e(kappa) / special.i0e(kappa)
        return kappa * (1.0 - ratio) + log(special.i0e(kappa)) + 2.0 * LOG_ROOT_TAU


def _normal_quantile_of_log(y: Any) -> Any:
    """Solve log(ndtr(z)) = y for y < -70, where ndtr(z) may underflow.

    Newton's method; it begins with two terms of the logarithm's asymptotic series.
    """
    z = -sqrt(-2.0 * (y + LOG_ROOT_TAU) - log(-2.0 * y))
    for last in (False, False, True, True):  # two for first and second derivatives
        z = z if last else stop_gradient(z)
        tail = special.log_ndtr(z)
        z = z - (tail - y) * exp(tail + z * z * 0.5 + LOG_ROOT_TAU)
    return z


class TruncatedNormal(Continuous):
    """Standard normal on [a, b], in units of ``scale`` about ``loc``.

    >>> sg.stats.truncnorm.pdf([0.0, 1.0], -1.0, 2.0).round(3)
    array([0.487, 0.296])
    """

    shapes = ("a", "b")

    def valid(self, a: Any, b: Any) -> Any:
        return a < b

    def low(self, a: Any, b: Any) -> Any:
        return a

    def high(self, a: Any, b: Any) -> Any:
        return b

    def typical(self, a: Any, b: Any) -> Any:
        return where(a > 0.0, a, where(b < 0.0, b, 0.0))

    def _mass(self, a: Any, b: Any) -> Any:
        """Compute log(ndtr(b) - ndtr(a)) of the truncated normal, in the nearer tail."""
        upper = a > 0.0
        first, last = where(upper, -b, a), where(upper, -a, b)
        high = special.log_ndtr(last)
        gone = first == -math.inf
        low = where(gone, high - 1.0, special.log_ndtr(where(gone, last - 1.0, first)))
        return high + where(gone, 0.0, log1mexp(low - high))

    def log_density(self, z: Any, a: Any, b: Any) -> Any:
        return z * z * -0.5 - LOG_ROOT_TAU - self._mass(a, b)

    def log_below(self, z: Any, a: Any, b: Any) -> Any:
        return self._log_share(self._mass(a, z), self._mass(z, b), self._mass(a, b))

    def log_above(self, z: Any, a: Any, b: Any) -> Any:
        return self._log_share(self._mass(z, b), self._mass(a, z), self._mass(a, b))

    def _log_share(self, part: Any, complement: Any, log_total: Any) -> Any:
        """Return ``part - log_total``, by the complement where the part is nearly all."""
        near = part - log_total > -LOG_2
        return where(near, log1mexp(where(near, complement - log_total, -1.0)), part - log_total)

    def below(self, z: Any, a: Any, b: Any) -> Any:
        return exp(self.log_below(z, a, b))

    def above(self, z: Any, a: Any, b: Any) -> Any:
        return exp(self.log_above(z, a, b))

    def quantile(self, q: Any, a: Any, b: Any) -> Any:
        """Compute quantiles of the truncated normal, by logarithms far in a tail."""
        upper = a > 0.0
        first, last = where(upper, -a, a), where(upper, -b, b)
        edge = -37.0 if q.dtype is F64 else -12.0  # from which on ndtr loses digits
        far = maximum(first, last) < edge
        below, until = special.ndtr(first), special.ndtr(last)
        z = special.ndtri(where(far, 0.5, below + (until - below) * q))
        below, until = (special.log_ndtr(where(far, bound, edge)) for bound in (first, last))
        share = logaddexp(below + log1p(-q), until + log(q))
        z = where(far, _normal_quantile_of_log(minimum(share, edge * edge * -0.49)), z)
        return where(upper, -z, z)

    def upper_quantile(self, q: Any, a: Any, b: Any) -> Any:
        return -self.quantile(q, -b, -a)

    def _boundary_density(self, z: Any, a: Any, b: Any) -> tuple[Any, Any]:
        """The density at an end, and z times it: 0 at an infinite one."""
        finite = absolute(z) < math.inf
        at = where(finite, z, 0.0)
        density = where(finite, exp(at * at * -0.5 - LOG_ROOT_TAU - self._mass(a, b)), 0.0)
        return density, at * density

    def moments(self, a: Any, b: Any) -> tuple[Any, Any]:
        (low, low_z), (high, high_z) = (
            self._boundary_density(a, a, b),
            self._boundary_density(b, a, b),
        )
        mean = low - high
        return mean, 1.0 + low_z - high_z - mean * mean

    def spread(self, a: Any, b: Any) -> Any:
        (_, low_z), (_, high_z) = self._boundary_density(a, a, b), self._boundary_density(b, a, b)
        return LOG_ROOT_TAU + 0.5 + self._mass(a, b) + (low_z - high_z) * 0.5


beta = Beta("beta")
cauchy = Cauchy("cauchy")
chi2 = ChiSquared("chi2")
expon = ExponentialDistribution("expon")
gamma = GammaDistribution("gamma")
gumbel_r = Gumbel("gumbel_r")
halfcauchy = HalfCauchy("halfcauchy")
halfnorm = HalfNormal("halfnorm")
invgamma = InverseGamma("invgamma")
laplace = Laplace("laplace")
logistic = Logistic("logistic")
lognorm = LogNormal("lognorm")
norm = Normal("norm")
pareto = Pareto("pareto")
rayleigh = Rayleigh("rayleigh")
t = StudentT("t")
truncnorm = TruncatedNormal("truncnorm")
uniform = Uniform("uniform")
vonmises = VonMises("vonmises")
weibull_min = Weibull("weibull_min")

"""Distributions of whole numbers, with the names and parameters of ``scipy.stats``.

Distribution functions are incomplete gamma and beta functions (Johnson, Kemp and Kotz, "Univariate
Discrete Distributions", 2005), and therefore differentiable by the parameters. Where counts are no
whole numbers of the support the probability is 0.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from staticgrad import special
from staticgrad.extend import DType
from staticgrad.extend.dtypes import F32, F64
from staticgrad.extend.ops import (
    astype,
    exp,
    expm1,
    floor,
    log,
    log1p,
    maximum,
    sigmoid,
    sqrt,
    where,
)
from staticgrad.nn.functional.basics import softplus
from staticgrad.stats.base import Discrete
from staticgrad.stats.tails import (
    log_lower_beta,
    log_lower_gamma,
    log_upper_beta,
    log_upper_gamma,
)


def is_probability(p: Any) -> Any:
    """Return where p is in [0, 1]."""
    return (p >= 0.0) & (p <= 1.0)


def is_count(n: Any) -> Any:
    """Return where n is a finite whole number from 0 on."""
    return (n >= 0.0) & (floor(n) == n) & (n < math.inf)


def log_choose(n: Any, k: Any) -> Any:
    """The logarithm of the number of subsets of size k."""
    return -special.betaln(n - k + 1.0, k + 1.0) - log(n + 1.0)


class Bernoulli(Discrete):
    """1 with probability ``p``, else 0; ``logits=`` in place of p is log(p / (1 - p)).

    >>> sg.stats.bernoulli.pmf([0, 1], 0.3).round(3)
    array([0.7, 0.3])
    """

    shapes = ("p",)
    high = 1.0

    @property
    def forms(self) -> dict[str, str]:  # type: ignore[override]
        """By logits."""
        return {"logits": "by_logits"}

    @property
    def by_logits(self) -> Any:
        """The family by the log-odds."""
        return _bernoulli_logits

    def valid(self, p: Any) -> Any:
        return is_probability(p)

    def log_mass(self, k: Any, p: Any) -> Any:
        return special.xlogy(k, p) + special.xlog1py(1.0 - k, -p)

    def below(self, k: Any, p: Any) -> Any:
        return 1.0 - p + 0.0 * k

    def above(self, k: Any, p: Any) -> Any:
        return p + 0.0 * k

    def quantile(self, q: Any, p: Any) -> Any:
        return where(q <= 1.0 - p, 0.0, 1.0 + 0.0 * q)

    def upper_quantile(self, q: Any, p: Any) -> Any:
        return where(q >= p, 0.0, 1.0 + 0.0 * q)

    def moments(self, p: Any) -> tuple[Any, Any]:
        return p, p * (1.0 - p)

    def _entropy(self, p: Any, loc: Any) -> Any:
        return where(is_probability(p), special.entr(p) + special.entr(1.0 - p), math.nan)

    def draw(self, rng: Any, shape: Any, dtype: DType, p: Any) -> Any:
        return astype(rng.bernoulli(p, shape=shape), F32)


class BernoulliByLogits(Bernoulli):
    """Bernoulli by log-odds."""

    shapes = ("logits",)
    forms: ClassVar[dict[str, str]] = {}

    def valid(self, logits: Any) -> Any:
        return logits == logits

    def log_mass(self, k: Any, logits: Any) -> Any:
        return -softplus(where(k > 0.5, -logits, logits))

    def below(self, k: Any, logits: Any) -> Any:
        return sigmoid(-logits) + 0.0 * k

    def above(self, k: Any, logits: Any) -> Any:
        return sigmoid(logits) + 0.0 * k

    def quantile(self, q: Any, logits: Any) -> Any:
        return super().quantile(q, sigmoid(logits))

    def upper_quantile(self, q: Any, logits: Any) -> Any:
        return super().upper_quantile(q, sigmoid(logits))

    def moments(self, logits: Any) -> tuple[Any, Any]:
        return sigmoid(logits), sigmoid(logits) * sigmoid(-logits)

    def _entropy(self, logits: Any, loc: Any) -> Any:
        return super()._entropy(sigmoid(logits), loc)

    def draw(self, rng: Any, shape: Any, dtype: DType, logits: Any) -> Any:
        return super().draw(rng, shape, dtype, sigmoid(logits))


class Binomial(Discrete):
    """Successes among ``n`` trials of probability ``p``; ``logits=`` in place of p are log-odds.

    >>> sg.stats.binom.pmf([0, 2], 4, 0.5).round(3)
    array([0.062, 0.375])
    """

    shapes = ("n", "p")

    @property
    def forms(self) -> dict[str, str]:  # type: ignore[override]
        """By logits."""
        return {"logits": "by_logits"}

    @property
    def by_logits(self) -> Any:
        """The family by the log-odds."""
        return _binomial_logits

    def high(self, n: Any, p: Any) -> Any:
        return n

    def valid(self, n: Any, p: Any) -> Any:
        return is_count(n) & is_probability(p)

    def safe(self, n: Any, p: Any) -> tuple[Any, Any]:
        return where(is_count(n), n, 1.0), where(is_probability(p), p, 0.5)

    def log_mass(self, k: Any, n: Any, p: Any) -> Any:
        inside = k <= n
        k = where(inside, k, 0.0)
        return log_choose(n, k) + special.xlogy(k, p) + special.xlog1py(n - k, -p)

    def below(self, k: Any, n: Any, p: Any) -> Any:
        k = where(k < n, k, 0.0 * n)
        return special.betaincc(k + 1.0, maximum(n - k, 0.5), p)

    def above(self, k: Any, n: Any, p: Any) -> Any:
        k = where(k < n, k, 0.0 * n)
        return special.betainc(k + 1.0, maximum(n - k, 0.5), p)

    def log_below(self, k: Any, n: Any, p: Any) -> Any:
        k = where(k < n, k, 0.0 * n)
        return log_upper_beta(k + 1.0, maximum(n - k, 0.5), p)

    def log_above(self, k: Any, n: Any, p: Any) -> Any:
        k = where(k < n, k, 0.0 * n)
        return log_lower_beta(k + 1.0, maximum(n - k, 0.5), p)

    def quantile(self, q: Any, n: Any, p: Any) -> Any:
        return self._bisect(lambda k: (k >= n) | (self.below(k, n, p) >= q), q, (n, p))

    def upper_quantile(self, q: Any, n: Any, p: Any) -> Any:
        return self._bisect(lambda k: (k >= n) | (self.above(k, n, p) <= q), q, (n, p))

    def moments(self, n: Any, p: Any) -> tuple[Any, Any]:
        return n * p, n * p * (1.0 - p)


class BinomialByLogits(Binomial):
    """Binomial by log-odds."""

    shapes = ("n", "logits")
    forms: ClassVar[dict[str, str]] = {}

    def valid(self, n: Any, logits: Any) -> Any:
        return is_count(n) & (logits == logits)

    def safe(self, n: Any, logits: Any) -> tuple[Any, Any]:
        return where(is_count(n), n, 1.0), logits

    def log_mass(self, k: Any, n: Any, logits: Any) -> Any:
        inside = k <= n
        k = where(inside, k, 0.0)
        return log_choose(n, k) - k * softplus(-logits) - (n - k) * softplus(logits)

    def below(self, k: Any, n: Any, logits: Any) -> Any:
        return super().below(k, n, sigmoid(logits))

    def above(self, k: Any, n: Any, logits: Any) -> Any:
        return super().above(k, n, sigmoid(logits))

    def log_below(self, k: Any, n: Any, logits: Any) -> Any:
        return super().log_below(k, n, sigmoid(logits))

    def log_above(self, k: Any, n: Any, logits: Any) -> Any:
        return super().log_above(k, n, sigmoid(logits))

    def moments(self, n: Any, logits: Any) -> tuple[Any, Any]:
        return super().moments(n, sigmoid(logits))


class Poisson(Discrete):
    """Poisson with mean ``mu``.

    >>> sg.stats.poisson.pmf([0, 2], 1.5).round(3)
    array([0.223, 0.251])
    """

    shapes = ("mu",)

    def valid(self, mu: Any) -> Any:
        return (mu >= 0.0) & (mu < math.inf)

    def safe(self, mu: Any) -> tuple[Any]:
        return (where(self.valid(mu), mu, 1.0),)

    def log_mass(self, k: Any, mu: Any) -> Any:
        return special.xlogy(k, mu) - mu - special.gammaln(k + 1.0)

    def below(self, k: Any, mu: Any) -> Any:
        return special.gammaincc(k + 1.0, mu)

    def above(self, k: Any, mu: Any) -> Any:
        return special.gammainc(k + 1.0, mu)

    def log_below(self, k: Any, mu: Any) -> Any:
        return log_upper_gamma(k + 1.0, mu)

    def log_above(self, k: Any, mu: Any) -> Any:
        return log_lower_gamma(k + 1.0, mu)

    def far(self, mu: Any) -> Any:
        return mu + 40.0 * sqrt(mu) + 1000.0

    def moments(self, mu: Any) -> tuple[Any, Any]:
        return mu, mu

    def draw(self, rng: Any, shape: Any, dtype: DType, mu: Any) -> Any:
        return astype(rng.poisson(mu, shape=shape), F64)


class Geometric(Discrete):
    """Trials until the first success, itself included, with probability ``p`` each.

    >>> sg.stats.geom.pmf([1, 2], 0.3).round(3)
    array([0.3 , 0.21])
    """

    shapes = ("p",)
    low = 1.0

    def valid(self, p: Any) -> Any:
        return (p > 0.0) & (p <= 1.0)

    def safe(self, p: Any) -> tuple[Any]:
        return (where(self.valid(p), p, 0.5),)

    def log_mass(self, k: Any, p: Any) -> Any:
        return special.xlog1py(k - 1.0, -p) + log(p)

    def below(self, k: Any, p: Any) -> Any:
        return -expm1(special.xlog1py(k, -p))

    def above(self, k: Any, p: Any) -> Any:
        return exp(special.xlog1py(k, -p))

    def log_above(self, k: Any, p: Any) -> Any:
        return special.xlog1py(k, -p)

    def far(self, p: Any) -> Any:
        return 1.0 + 750.0 / -log1p(-where(p < 1.0, p, 0.5))

    def moments(self, p: Any) -> tuple[Any, Any]:
        return 1.0 / p, (1.0 - p) / (p * p)


class NegativeBinomial(Discrete):
    """Failures before success number ``n``, a positive number, with probability ``p`` each.

    >>> sg.stats.nbinom.pmf([0, 2], 4, 0.5).round(3)
    array([0.062, 0.156])
    """

    shapes = ("n", "p")

    def valid(self, n: Any, p: Any) -> Any:
        return (n > 0.0) & (n < math.inf) & (p > 0.0) & (p <= 1.0)

    def safe(self, n: Any, p: Any) -> tuple[Any, Any]:
        valid = self.valid(n, p)
        return where(valid, n, 1.0), where(valid, p, 0.5)

    def log_mass(self, k: Any, n: Any, p: Any) -> Any:
        ways = -special.betaln(n, k + 1.0) - log(n + k)
        return ways + n * log(p) + special.xlog1py(k, -p)

    def below(self, k: Any, n: Any, p: Any) -> Any:
        return special.betainc(n, k + 1.0, p)

    def above(self, k: Any, n: Any, p: Any) -> Any:
        return special.betaincc(n, k + 1.0, p)

    def log_below(self, k: Any, n: Any, p: Any) -> Any:
        return log_lower_beta(n, k + 1.0, p)

    def log_above(self, k: Any, n: Any, p: Any) -> Any:
        return log_upper_beta(n, k + 1.0, p)

    def far(self, n: Any, p: Any) -> Any:
        mean = n * (1.0 - p) / p
        return mean + 40.0 * sqrt(mean / p) + 1000.0 / p

    def moments(self, n: Any, p: Any) -> tuple[Any, Any]:
        mean = n * (1.0 - p) / p
        return mean, mean / p

    def draw(self, rng: Any, shape: Any, dtype: DType, n: Any, p: Any) -> Any:
        rate = rng.gamma(n, shape=shape, dtype=F64) * ((1.0 - p) / p)
        return astype(rng.poisson(rate), F64)


class BetaBinomial(Discrete):
    """Successes among ``n`` trials whose probability has the beta distribution of ``a``, ``b``.

    >>> sg.stats.betabinom.pmf([0, 2], 4, 2.0, 3.0).round(3)
    array([0.214, 0.257])
    """

    shapes = ("n", "a", "b")

    def high(self, n: Any, a: Any, b: Any) -> Any:
        return n

    def valid(self, n: Any, a: Any, b: Any) -> Any:
        return is_count(n) & (a > 0.0) & (b > 0.0)

    def safe(self, n: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
        valid = self.valid(n, a, b)
        return where(valid, n, 1.0), where(valid, a, 1.0), where(valid, b, 1.0)

    def log_mass(self, k: Any, n: Any, a: Any, b: Any) -> Any:
        k = where(k <= n, k, 0.0)
        return log_choose(n, k) + special.betaln(k + a, n - k + b) - special.betaln(a, b)

    def moments(self, n: Any, a: Any, b: Any) -> tuple[Any, Any]:
        share = a / (a + b)
        return n * share, n * share * (1.0 - share) * (a + b + n) / (a + b + 1.0)

    def draw(self, rng: Any, shape: Any, dtype: DType, n: Any, a: Any, b: Any) -> Any:
        p = rng.beta(a, b, shape=shape, dtype=F64)
        unit, _ = rng._open_unit(shape, F64)
        return binom.quantile(unit, astype(n, F64) + 0.0 * p, p)


class UniformInteger(Discrete):
    """Whole numbers from ``low`` to ``high``, which is left out, all alike.

    >>> sg.stats.randint.pmf([0, 6], 0, 6).round(3)
    array([0.167, 0.   ])
    """

    shapes = ("low", "high")

    def low(self, low: Any, high: Any) -> Any:
        return low

    def high(self, low: Any, high: Any) -> Any:
        return high - 1.0

    def valid(self, low: Any, high: Any) -> Any:
        return (high > low) & (floor(low) == low) & (floor(high) == high)

    def log_mass(self, k: Any, low: Any, high: Any) -> Any:
        return -log(high - low) + 0.0 * k

    def below(self, k: Any, low: Any, high: Any) -> Any:
        return (k - low + 1.0) / (high - low)

    def above(self, k: Any, low: Any, high: Any) -> Any:
        return (high - 1.0 - k) / (high - low)

    def moments(self, low: Any, high: Any) -> tuple[Any, Any]:
        count = high - low
        return (low + high - 1.0) * 0.5, (count * count - 1.0) / 12.0

    def _entropy(self, low: Any, high: Any, loc: Any) -> Any:
        valid = self.valid(low, high)
        return where(valid, log(where(valid, high - low, 1.0)), math.nan)


_bernoulli_logits = BernoulliByLogits("bernoulli", "_bernoulli_logits")
_binomial_logits = BinomialByLogits("binom", "_binomial_logits")
bernoulli = Bernoulli("bernoulli")
betabinom = BetaBinomial("betabinom")
binom = Binomial("binom")
geom = Geometric("geom")
nbinom = NegativeBinomial("nbinom")
poisson = Poisson("poisson")
randint = UniformInteger("randint")

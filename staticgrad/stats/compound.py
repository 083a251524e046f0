"""Distributions made of others: mixtures, zero-inflated, hurdle and truncated ones.

They are made of distributions with parameters, ``sg.stats.poisson(3.0)``, and have their methods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from staticgrad import special
from staticgrad.eager import no_grad
from staticgrad.errors import ArgumentError
from staticgrad.extend import make_boundaries, public, quote
from staticgrad.extend.building import computing_kind
from staticgrad.extend.dtypes import F64, I64
from staticgrad.extend.functions import sum as total
from staticgrad.extend.ops import astype, exp, log, log1p, logaddexp, minimum, sqrt, stack, where
from staticgrad.extend.tensors import eager_mode
from staticgrad.nn.functional.basics import log_softmax
from staticgrad.random import Generator
from staticgrad.random.draws import drawn_shape
from staticgrad.stats.base import (
    Discrete,
    FrozenDistribution,
    NamedDistribution,
    as_arrays,
    compute_formula,
    is_plain,
    log1mexp,
)
from staticgrad.stats.continuous import norm, truncnorm


def is_discrete(law: Any) -> bool:
    """Return whether a distribution has ``logpmf``."""
    family = getattr(law, "family", law)
    return isinstance(family, Discrete) or (isinstance(family, Compound) and family.discrete)


def check_law(name: str, law: Any) -> Any:
    """Refuse a component of a mixture that is no distribution with its parameters."""
    if not isinstance(law, FrozenDistribution | Compound):
        raise ArgumentError(
            f"{name}: {quote(law)} is not a distribution with its parameters",
            hint="sg.stats.norm(loc, scale), sg.stats.poisson(mu)",
        )
    return law


@make_boundaries
class Compound(NamedDistribution):
    """A distribution made of others; ``logpmf`` and ``pmf`` are those of whole numbers."""

    discrete = False

    def __repr__(self) -> str:
        return f"sg.stats.{self.name}(...)"

    def logpdf(self, x: Any) -> Any:
        """Logarithm of the density at ``x``."""
        if self.discrete:
            return self.__getattr__("logpdf")
        return self._log_at(x)

    def pdf(self, x: Any) -> Any:
        """Density at ``x``."""
        return self._exp("pdf", self.logpdf(x))

    def logpmf(self, k: Any) -> Any:
        """Logarithm of the probability of ``k``."""
        if not self.discrete:
            return self.__getattr__("logpmf")
        return self._log_at(k)

    def pmf(self, k: Any) -> Any:
        """Probability of ``k``."""
        return self._exp("pmf", self.logpmf(k))

    def logcdf(self, x: Any) -> Any:
        """Logarithm of ``cdf``."""
        return compute_formula(f"{self.name}.logcdf", log, [self.cdf(x)])

    def logsf(self, x: Any) -> Any:
        """Logarithm of ``sf``."""
        return compute_formula(f"{self.name}.logsf", log, [self.sf(x)])

    def sf(self, x: Any) -> Any:
        """Probability of more than ``x``."""
        return compute_formula(f"{self.name}.sf", lambda below: 1.0 - below, [self.cdf(x)])

    def cdf(self, x: Any) -> Any:
        """Probability of at most ``x``."""
        raise NotImplementedError

    def _exp(self, method: str, logs: Any) -> Any:
        return compute_formula(f"{self.name}.{method}", exp, [logs])

    def _log_at(self, x: Any) -> Any:
        raise NotImplementedError

    def _parts(self) -> Sequence[Any]:
        """The parameters of all parts."""
        return ()

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Draw ``size`` random variates of a compound distribution."""
        if isinstance(random_state, Generator):
            return self._draw(random_state, () if size is None else drawn_shape(size))
        is_seed = isinstance(random_state, int) and not isinstance(random_state, bool)
        if not is_seed or computing_kind() is not None or not all(map(is_plain, self._parts())):
            raise ArgumentError(
                f"{self.name}.rvs: random_state={quote(random_state)} is not a generator, or a"
                " seed for arrays",
                hint="rng = sg.random.Generator(0), and random_state=rng",
            )
        with eager_mode(), no_grad():
            rng = Generator(random_state)
            return as_arrays(self._draw(rng, () if size is None else drawn_shape(size)))

    def _draw(self, rng: Any, shape: Any) -> Any:
        raise NotImplementedError


def _parameters(law: Any) -> Sequence[Any]:
    return law._parts() if isinstance(law, Compound) else [*law.parameters.values()]


def _logs(law: Any, x: Any) -> Any:
    return law.logpmf(x) if is_discrete(law) else law.logpdf(x)


class Mixture(Compound):
    """A mixture of ``components``; see ``mixture``."""

    def __init__(self, components: Any, weights: Any, logits: Any) -> None:
        self.name = "mixture"
        self.components, self.weights, self.logits = components, weights, logits
        first = components[0] if isinstance(components, tuple) else components
        self.discrete = is_discrete(first)

    def _parts(self) -> Sequence[Any]:
        laws = self.components if isinstance(self.components, tuple) else (self.components,)
        further = [parameter for law in laws for parameter in _parameters(law)]
        return [*further, *(array for array in (self.weights, self.logits) if array is not None)]

    def _each(self, method: str, x: Any) -> list[Any]:
        """Results of the components, in one array or several."""
        if isinstance(self.components, tuple):
            return [getattr(law, method)(x) for law in self.components]
        return [getattr(self.components, method)(x)]

    def _combine(self, method: str, of: Any, x: Any) -> Any:
        """Combine log weights and the components' results of a mixture along the last axis."""
        is_tuple = isinstance(self.components, tuple)
        if not is_tuple:
            x = np.asarray(x)[..., None] if is_plain(x) else x[..., None]
        raw_weights = self.weights if self.logits is None else self.logits

        def formula(weights: Any, *results: Any) -> Any:
            logs = log(weights) if self.logits is None else log_softmax(weights, -1)
            return of(logs, stack(results, -1) if is_tuple else results[0])

        return compute_formula(f"mixture.{method}", formula, [raw_weights, *self._each(method, x)])

    def _log_at(self, x: Any) -> Any:
        method = "logpmf" if self.discrete else "logpdf"
        return self._combine(method, lambda w, f: special.logsumexp(w + f, -1), x)

    def cdf(self, x: Any) -> Any:
        """Probability of at most ``x``."""
        return self._combine("cdf", lambda w, f: total(exp(w) * f, -1), x)

    def sf(self, x: Any) -> Any:
        """Probability of more than ``x``."""
        return self._combine("sf", lambda w, f: total(exp(w) * f, -1), x)

    def logcdf(self, x: Any) -> Any:
        """Logarithm of ``cdf``."""
        return self._combine("logcdf", lambda w, f: special.logsumexp(w + f, -1), x)

    def logsf(self, x: Any) -> Any:
        """Logarithm of ``sf``."""
        return self._combine("logsf", lambda w, f: special.logsumexp(w + f, -1), x)

    def _moments(self, of: Any) -> Any:
        """Compute moments of a mixture from means and variances of its components."""
        is_tuple = isinstance(self.components, tuple)
        laws = self.components if is_tuple else (self.components,)
        raw_weights = self.weights if self.logits is None else self.logits
        pairs = [moment for law in laws for moment in (law.mean(), law.var())]

        def formula(weights: Any, *moments: Any) -> Any:
            share = weights if self.logits is None else exp(log_softmax(weights, -1))
            mean, var = moments[::2], moments[1::2]
            means = stack(mean, -1) if is_tuple else mean[0]
            spreads = stack(var, -1) if is_tuple else var[0]
            return of(share, means, spreads)

        return compute_formula("mixture.mean", formula, [raw_weights, *pairs])

    def mean(self) -> Any:
        """Mean."""
        return self._moments(lambda w, mean, var: total(w * mean, -1))

    def var(self) -> Any:
        """Compute the variance of a mixture."""

        def of(w: Any, mean: Any, var: Any) -> Any:
            centre = total(w * mean, -1, keepdims=True)
            return total(w * (var + (mean - centre) ** 2), -1)

        return self._moments(of)

    def std(self) -> Any:
        """Standard deviation."""
        return compute_formula("mixture.std", sqrt, [self.var()])

    def _draw(self, rng: Any, shape: Any) -> Any:
        """Draw from a mixture: choose a component for each element, then its draw."""
        raw_weights = self.weights if self.logits is None else self.logits
        logs = special.xlogy(1.0, raw_weights) if self.logits is None else raw_weights
        chosen = rng.categorical(logs, shape=shape)
        if not isinstance(self.components, tuple):
            count = raw_weights.shape[-1]
            draws = self.components.rvs(size=(*shape, count), random_state=rng)
            draws = [draws[..., k] for k in range(count)]
        else:
            draws = [law.rvs(size=shape, random_state=rng) for law in self.components]
        selected = draws[0]
        for k, draw in enumerate(draws[1:], 1):
            selected = where(chosen == k, draw, selected)
        return selected


@public
def mixture(components: Any, weights: Any = None, logits: Any = None) -> Mixture:
    """Return a mixture of distributions.

    Args:
        components: a list of distributions with parameters, or one whose parameters have the
            components along the last axis: ``sg.stats.norm(means, scales)``.
        weights: the probabilities of the components along the last axis, which add up to 1.
        logits: their logarithms up to a constant, in place of weights.

    >>> import staticgrad as sg
    >>> two = sg.stats.mixture([sg.stats.norm(-1.0), sg.stats.norm(1.0)], [0.5, 0.5])
    >>> round(float(two.logpdf(0.0)), 4)
    -1.4189
    """
    if (weights is None) == (logits is None):
        raise ArgumentError("mixture: takes weights or logits, one of the two")
    if isinstance(components, list | tuple):
        if not components:
            raise ArgumentError("mixture: there are no components")
        laws = tuple([check_law("mixture", component) for component in components])
        if len({is_discrete(law) for law in laws}) > 1:
            raise ArgumentError("mixture: components are continuous and discrete")
        return Mixture(laws, weights, logits)
    return Mixture(check_law("mixture", components), weights, logits)


class AtZero(Compound):
    """Counts with a probability of their own at 0; see ``zero_inflated`` and ``hurdle``."""

    discrete = True

    def __init__(self, name: str, law: Any, p: Any, hurdle: bool) -> None:
        self.name, self.law, self.p, self._hurdle = name, law, p, hurdle

    def _parts(self) -> Sequence[Any]:
        return [*_parameters(self.law), self.p]

    def _log_at(self, k: Any) -> Any:
        """Compute the log mass of zero-inflated or hurdle counts."""

        def formula(k: Any, p: Any, at: Any, zero: Any) -> Any:
            """Compute log mass from probability of zero and the counts' own log mass."""
            valid = (p >= 0.0) & (p <= 1.0)
            some = where(valid, p, 0.5)
            log_q, log_p = special.xlog1py(1.0, -some), special.xlogy(1.0, some)
            if self._hurdle:
                below = where(zero < 0.0, zero, -1.0)
                logpmf = where(k == 0.0, log_p, log_q + at - log1mexp(below))
            else:
                logpmf = where(k == 0.0, self._log_mix(some, log_q, zero), log_q + at)
            return where(valid, logpmf, math.nan)

        arguments = [k, self.p, self.law.logpmf(k), self.law.logpmf(0.0)]
        return compute_formula(f"{self.name}.logpmf", formula, arguments)

    @staticmethod
    def _log_mix(p: Any, log_q: Any, zero: Any) -> Any:
        """Compute log(p + (1 - p) exp(zero)), with finite slopes where p is 0."""
        large = p > exp(zero)
        far = logaddexp(log(where(large, p, 1.0)), log_q + where(large, zero, 0.0))
        near, share = where(large, 0.0, zero), where(large | (p >= 1.0), 0.0, p)
        return where(
            large, far, log_q + near + log1p(share / (1.0 - share) * exp(minimum(-near, 700.0)))
        )

    def cdf(self, k: Any) -> Any:
        """Compute the cumulative probability of zero-inflated or hurdle counts."""

        def formula(k: Any, p: Any, below: Any, zero: Any) -> Any:
            law_cdf = (below - zero) / (1.0 - zero) if self._hurdle else below
            return where(k < 0.0, 0.0, p + (1.0 - p) * law_cdf)

        arguments = [k, self.p, self.law.cdf(k), self.law.pmf(0.0)]
        return compute_formula(f"{self.name}.cdf", formula, arguments)

    def mean(self) -> Any:
        """Compute the mean of zero-inflated or hurdle counts."""

        def formula(p: Any, mean: Any, zero: Any) -> Any:
            return (1.0 - p) * (mean / (1.0 - zero) if self._hurdle else mean)

        return compute_formula(
            f"{self.name}.mean", formula, [self.p, self.law.mean(), self.law.pmf(0.0)]
        )

    def _draw(self, rng: Any, shape: Any) -> Any:
        is_zero = rng.bernoulli(self.p, shape=shape)
        if not self._hurdle:
            return where(is_zero, 0, self.law.rvs(size=shape, random_state=rng))
        unit, _ = rng._open_unit(shape, F64)
        zero = self.law.pmf(0.0)
        return where(is_zero, 0, astype(self.law.ppf(zero + (1.0 - zero) * unit), I64))


@public
def zero_inflated(law: Any, p: Any) -> AtZero:
    """Return counts that are 0 with probability ``p``, and else those of ``law``.

    >>> import staticgrad as sg
    >>> round(float(sg.stats.zero_inflated(sg.stats.poisson(2.0), 0.3).pmf(0)), 4)
    0.3947
    """
    return AtZero("zero_inflated", _counts("zero_inflated", law), p, False)


@public
def hurdle(law: Any, p: Any) -> AtZero:
    """Return counts that are 0 with probability ``p``, and else those of ``law`` above 0.

    >>> sg.stats.hurdle(sg.stats.poisson(1.5), 0.3).pmf([0, 1]).round(3)
    array([0.3  , 0.302])
    """
    return AtZero("hurdle", _counts("hurdle", law), p, True)


def _counts(name: str, law: Any) -> Any:
    if not is_discrete(check_law(name, law)):
        raise ArgumentError(f"{name}: {law!r} is not a distribution of counts")
    return law


class Truncated(Compound):
    """A distribution on an interval; see ``truncated``."""

    def __init__(self, law: Any, low: Any, high: Any) -> None:
        self.name, self.law, self.low, self.high = "truncated", law, low, high
        self.discrete = is_discrete(law)

    def _parts(self) -> Sequence[Any]:
        return [*_parameters(self.law), self.low, self.high]

    def _tails(self) -> list[Any]:
        """Logarithms of both tails at both ends; of counts the lower end is included."""
        low = self.low
        if self.discrete:
            low = compute_formula("truncated", lambda low: low - 1.0, [low])
        law = self.law
        return [law.logcdf(low), law.logcdf(self.high), law.logsf(low), law.logsf(self.high)]

    @staticmethod
    def _mass(below: Any, until: Any, above: Any, beyond: Any) -> Any:
        """log(F(high) - F(low)), by the tails that are small."""
        upper = below > -0.6931471805599453
        large, small = where(upper, above, until), where(upper, beyond, below)
        proper = small > -math.inf
        log_ratio = where(proper, small - where(proper, large, 0.0), -1.0)
        return large + where(proper, log1mexp(where(log_ratio < 0.0, log_ratio, -1e-300)), 0.0)

    def _log_at(self, x: Any) -> Any:
        """Compute the log density of a truncated distribution."""

        def formula(x: Any, low: Any, high: Any, at: Any, *tails: Any) -> Any:
            """Subtract the interval's log mass from the log density; -inf outside of it."""
            inside = (x >= low) & (x <= high)
            log_density = where(inside, at, 0.0) - self._mass(*tails)
            return where(
                low < high if not self.discrete else low <= high,
                where(inside, log_density, where(x == x, -math.inf, math.nan)),
                math.nan,
            )

        arguments = [x, self.low, self.high, _logs(self.law, x), *self._tails()]
        return compute_formula("truncated.logpdf", formula, arguments)

    def cdf(self, x: Any) -> Any:
        """Compute the cumulative probability of a truncated distribution."""

        def formula(x: Any, low: Any, high: Any, at: Any, over: Any, *tails: Any) -> Any:
            below, _, above, _ = tails
            some = (x >= low) & (x < high)
            part = self._mass(below, where(some, at, tails[1]), above, where(some, over, tails[3]))
            probability = where(x >= high, 1.0, exp(part - self._mass(*tails)))
            return where(x < low if self.discrete else x <= low, 0.0, probability)

        arguments = [x, self.low, self.high, self.law.logcdf(x), self.law.logsf(x), *self._tails()]
        return compute_formula("truncated.cdf", formula, arguments)

    def ppf(self, q: Any) -> Any:
        """Compute quantiles of a truncated distribution from the better conditioned tail."""
        low = self.low
        if self.discrete:
            low = compute_formula("truncated", lambda low: low - 1.0, [low])
        ends = [
            self.law.cdf(low),
            self.law.cdf(self.high),
            self.law.sf(low),
            self.law.sf(self.high),
        ]

        def share(q: Any, below: Any, until: Any, above: Any, beyond: Any) -> Any:
            return below + (until - below) * q

        def upper(q: Any, below: Any, until: Any, above: Any, beyond: Any) -> Any:
            return above - (above - beyond) * q

        near = self.law.ppf(compute_formula("truncated.ppf", share, [q, *ends]))
        far = self.law.isf(compute_formula("truncated.ppf", upper, [q, *ends]))
        _, until, above, _ = ends
        arguments = [
            ends[0],
            until,
            above,
            near,
            far,
            self._normal_quantile(q),
            self.low,
            self.high,
        ]

        def select_quantile(
            below: Any,
            until: Any,
            above: Any,
            near: Any,
            far: Any,
            by_normal: Any,
            low: Any,
            high: Any,
        ) -> Any:
            """Choose the quantile by the lower or upper tail; the normal's in underflow."""
            upper = below > 0.5
            quantile = where(upper, far, near)
            least = 1e7 * float(np.finfo(below.dtype.numpy).tiny)
            quantile = where(where(upper, above, until) > least, quantile, by_normal)
            quantile = where(quantile < low, low, quantile)
            return where(quantile > high, high, quantile)

        return compute_formula("truncated.ppf", select_quantile, arguments)

    def _normal_quantile(self, q: Any) -> Any:
        """Compute the quantile of a truncated normal distribution; NaN for others."""
        if getattr(self.law, "family", None) is not norm:
            return math.nan
        loc, scale = self.law.parameters.values()

        def standard(x: Any, loc: Any, scale: Any) -> Any:
            return (x - loc) / scale

        ends = [
            compute_formula("truncated.ppf", standard, [x, loc, scale])
            for x in (self.low, self.high)
        ]
        return truncnorm.ppf(q, *ends, loc, scale)

    def _draw(self, rng: Any, shape: Any) -> Any:
        unit, _ = rng._open_unit(shape, F64)
        draws = self.ppf(unit)
        return astype(draws, I64) if self.discrete else draws


@public
def truncated(law: Any, low: Any = -math.inf, high: Any = math.inf) -> Truncated:
    """Return a distribution on [low, high]: ``law`` where its draws are in there.

    Quantiles and draws are NaN where the tail that has the interval underflows, below 2e-301 in
    float64, unless ``law`` is normal.

    >>> import staticgrad as sg
    >>> half = sg.stats.truncated(sg.stats.t(3.0), 0.0)
    >>> round(float(half.pdf(0.0) / sg.stats.t(3.0).pdf(0.0)), 4)
    2.0
    """
    return Truncated(check_law("truncated", law), low, high)

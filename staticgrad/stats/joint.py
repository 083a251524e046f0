"""Distributions of vectors and matrices, whose axes are the last ones; those in front are batches.

Names and parameters are those of ``scipy.stats``, where it has them. The density of correlation
matrices is that of Lewandowski, Kurowicka and Joe, "Generating random correlation matrices based on
vines and extended onion method" (2009), and of their Cholesky factors that of Stan's reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from staticgrad import special
from staticgrad.errors import RankError
from staticgrad.extend import DType
from staticgrad.extend.dtypes import F64, I64
from staticgrad.extend.functions import all as every, eye, sum as total
from staticgrad.extend.ops import (
    absolute,
    astype,
    broadcast_to,
    clip,
    diagonal,
    exp,
    expand_dims,
    floor,
    log,
    log1p,
    matmul,
    maximum,
    sqrt,
    squeeze,
    stack,
    swapaxes,
    take,
    take_along_axis,
    where,
)
from staticgrad.linalg import cholesky, inv, solve_triangular
from staticgrad.nn.functional.basics import log_softmax
from staticgrad.random.draws import drawn_shape
from staticgrad.stats.base import LOG_2, LOG_ROOT_TAU, Distribution
from staticgrad.stats.discrete import binom

#: By how much shares may miss a sum of 1.
NEARLY: Final = 1e-4


class Joint(Distribution):
    """A distribution of vectors or matrices with a density."""

    location_and_scale: ClassVar[Mapping[str, float]] = {}

    def logpdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of the density at ``x``."""
        return self._call("logpdf", (x, *args), kwargs)

    def pdf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Density at ``x``."""
        return self._call("pdf", (x, *args), kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """Mean."""
        return self._call("mean", args, kwargs)

    def entropy(self, *args: Any, **kwargs: Any) -> Any:
        """Differential entropy in nats."""
        return self._call("entropy", args, kwargs)

    def _pdf(self, *arguments: Any) -> Any:
        return exp(self._logpdf(*arguments))


class JointCounts(Distribution):
    """A distribution of classes or of vectors of counts."""

    location_and_scale: ClassVar[Mapping[str, float]] = {}

    def logpmf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Logarithm of the probability of ``x``."""
        return self._call("logpmf", (x, *args), kwargs)

    def pmf(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Probability of ``x``."""
        return self._call("pmf", (x, *args), kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        """Mean."""
        return self._call("mean", args, kwargs)

    def entropy(self, *args: Any, **kwargs: Any) -> Any:
        """Entropy in nats."""
        return self._call("entropy", args, kwargs)

    def _pmf(self, *arguments: Any) -> Any:
        return exp(self._logpmf(*arguments))


def has_axes(name: str, value: Any, count: int) -> Any:
    """Return a value that must have so many axes."""
    if value.ndim < count:
        what = "a vector" if count == 1 else "a matrix"
        raise RankError(f"{name}: needs {what} along the last axes, got {value.type}")
    return value


def log_diagonal(factor: Any) -> Any:
    """The sum of the logarithms of a triangular factor's diagonal."""
    return total(log(diagonal(factor, 0, -2, -1)), -1)


def whiten_vectors(factor: Any, x: Any) -> Any:
    """Solve factor @ z = x for vectors along the last axis."""
    if factor.ndim == 2 and x.ndim <= 2:
        return transpose_matrix(solve_triangular(factor, transpose_matrix(x), lower=True))
    batch = x.shape[:-1] if x.ndim > factor.ndim - 1 else factor.shape[:-2]
    many = broadcast_to(factor, (*batch, *factor.shape[-2:]))
    column = expand_dims(broadcast_to(x, (*batch, x.shape[-1])), -1)
    return squeeze(solve_triangular(many, column, lower=True), -1)


def transpose_matrix(x: Any) -> Any:
    """The transpose of a matrix; a vector itself."""
    return swapaxes(x, -1, -2) if x.ndim > 1 else x


class MultivariateNormal(Joint):
    """Normal vectors with ``mean`` and covariance ``cov``: a matrix, a diagonal or a number.

    ``cholesky=`` in place of ``cov`` is its lower Cholesky factor.

    >>> sg.stats.multivariate_normal.pdf([[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0], np.eye(2)).round(3)
    array([0.159, 0.059])
    """

    shapes = ("mean", "cov")
    defaults: ClassVar[Mapping[str, Any]] = {"mean": 0.0, "cov": 1.0}
    forms: ClassVar[Mapping[str, str]] = {"cholesky": "by_cholesky"}

    @property
    def by_cholesky(self) -> Any:
        """The family by the Cholesky factor."""
        return _normal_by_cholesky

    def _factor(self, cov: Any, size: Any) -> Any:
        if cov.ndim == 0:
            return sqrt(cov) * eye(size, dtype=cov.dtype)
        if cov.ndim == 1:
            return expand_dims(sqrt(cov), -1) * eye(cov.shape[0], dtype=cov.dtype)
        return cholesky(cov)

    def _logpdf(self, x: Any, mean: Any, cov: Any) -> Any:
        """Compute the log density of the multivariate normal by a Cholesky factor."""
        x = has_axes("multivariate_normal.logpdf", x, 1)
        factor = self._factor(cov, x.shape[-1])
        white = whiten_vectors(factor, x - mean)
        count = white.shape[-1]
        if isinstance(count, int):
            square = total(white * white, -1) * 0.5 + count * LOG_ROOT_TAU
        else:
            square = total(white * white * 0.5 + LOG_ROOT_TAU, -1)
        return -square - log_diagonal(factor)

    def _entropy(self, mean: Any, cov: Any) -> Any:
        factor = self._factor(cov, mean.shape[-1] if mean.ndim else 1)
        return log_diagonal(factor) + factor.shape[-1] * (LOG_ROOT_TAU + 0.5)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, mean: Any, cov: Any) -> Any:
        size = mean.shape[-1] if mean.ndim else cov.shape[-1] if cov.ndim else 1
        factor = self._factor(cov, size)
        z = rng.normal(shape=(*shape, size), dtype=dtype)
        return squeeze(matmul(factor, expand_dims(z, -1)), -1) + mean

    def _shape(self, size: Any, parameters: Any) -> Any:
        return () if size is None else drawn_shape(size)


class NormalByCholesky(MultivariateNormal):
    """Normal vectors by the lower Cholesky factor of the covariance."""

    shapes = ("mean", "cholesky")
    defaults: ClassVar[Mapping[str, Any]] = {"mean": 0.0, "cholesky": 1.0}
    forms: ClassVar[Mapping[str, str]] = {}

    def _factor(self, cov: Any, size: Any) -> Any:
        return has_axes("multivariate_normal", cov, 2)


class MultivariateT(MultivariateNormal):
    """Student's t of vectors about ``loc`` with the scale matrix ``shape`` and ``df``.

    >>> sg.stats.multivariate_t.pdf([[0.0, 0.0], [1.0, 1.0]], [0.0, 0.0], np.eye(2), 3.0).round(3)
    array([0.159, 0.044])
    """

    shapes = ("loc", "shape", "df")  # type: ignore[assignment]
    defaults: ClassVar[Mapping[str, Any]] = {"loc": 0.0, "shape": 1.0, "df": 1.0}
    forms: ClassVar[Mapping[str, str]] = {}

    def _logpdf(self, x: Any, loc: Any, shape: Any, df: Any) -> Any:  # type: ignore[override]
        """Compute the log density of the multivariate t by a Cholesky factor."""
        x = has_axes("multivariate_t.logpdf", x, 1)
        factor = self._factor(shape, x.shape[-1])
        white = whiten_vectors(factor, x - loc)
        half, count = df * 0.5, float(white.shape[-1]) * 0.5
        tail = (half + count) * log1p(total(white * white, -1) / df)
        front = special.gammaln(half + count) - special.gammaln(half) - count * log(df * math.pi)
        return front - tail - log_diagonal(factor)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, *parameters: Any) -> Any:
        loc, matrix, df = parameters
        draws = super()._rvs(rng, shape, dtype, loc * 0.0, matrix)
        spread = rng.gamma(df * 0.5, shape=shape, dtype=dtype) / (df * 0.5)
        return draws / expand_dims(sqrt(spread), -1) + loc

    _entropy = None  # type: ignore[assignment]


class Dirichlet(Joint):
    """Shares that add up to 1 along the last axis, with positive parameters ``alpha``.

    SciPy's takes batches of points along axis 1; here the last axis has the shares, as in draws.

    >>> sg.stats.dirichlet.pdf([0.2, 0.8], [2.0, 3.0]).round(3)
    np.float64(1.536)
    """

    shapes = ("alpha",)

    def _logpdf(self, x: Any, alpha: Any) -> Any:
        """Compute the log density of the Dirichlet distribution."""
        x = has_axes("dirichlet.logpdf", x, 1)
        inside = every(x >= 0.0, -1) & (absolute(total(x, -1) - 1.0) < NEARLY)
        at = where(x >= 0.0, x, 0.5)
        powers = total(special.xlogy(alpha - 1.0, at), -1)
        norm = total(special.gammaln(alpha), -1) - special.gammaln(total(alpha, -1))
        logpdf = where(inside, powers - norm, -math.inf)
        return where(every(alpha > 0.0, -1), logpdf, math.nan)

    def _mean(self, alpha: Any) -> Any:
        return alpha / total(alpha, -1, keepdims=True)

    def _entropy(self, alpha: Any) -> Any:
        concentration, count = total(alpha, -1), float(alpha.shape[-1])
        norm = total(special.gammaln(alpha), -1) - special.gammaln(concentration)
        slopes = total((alpha - 1.0) * special.digamma(alpha), -1)
        return norm + (concentration - count) * special.digamma(concentration) - slopes

    def _rvs(self, rng: Any, shape: Any, dtype: DType, alpha: Any) -> Any:
        return rng.dirichlet(alpha, shape=shape, dtype=dtype)

    def _shape(self, size: Any, parameters: Any) -> Any:
        return parameters[0].shape[:-1] if size is None else drawn_shape(size)


def log_det(matrix: Any) -> Any:
    """The logarithm of the determinant of a positive definite matrix."""
    return 2.0 * log_diagonal(cholesky(matrix))


class Wishart(Joint):
    """Wishart matrices with ``df`` degrees of freedom and the ``scale`` matrix.

    >>> sg.stats.wishart.pdf(np.diag([2.0, 1.0]), 3.0, np.eye(2)).round(3)
    np.float64(0.018)
    """

    shapes = ("df", "scale")

    def _logpdf(self, x: Any, df: Any, scale: Any) -> Any:
        """Compute the log density of the Wishart distribution."""
        x = has_axes("wishart.logpdf", x, 2)
        count = _literal(x)
        of_x, of_scale = cholesky(x), cholesky(scale)
        trace = _square(of_scale, of_x)
        logs = (df - (count + 1.0)) * log_diagonal(of_x) - df * log_diagonal(of_scale)
        constant = df * (0.5 * count * LOG_2) + special.multigammaln(df * 0.5, int(count))
        return logs - trace * 0.5 - constant

    def _mean(self, df: Any, scale: Any) -> Any:
        return df * has_axes(f"{self.name}.mean", scale, 2)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, df: Any, scale: Any) -> Any:
        """Draw from the Wishart distribution by Bartlett's factor."""
        size = int(_literal(has_axes(f"{self.name}.rvs", scale, 2)))
        below = np.tril(np.ones((size, size)), -1)
        normal = rng.normal(shape=(*shape, size, size), dtype=dtype) * below.astype(dtype.numpy)
        half = (expand_dims(df, -1) - np.arange(size).astype(dtype.numpy)) * 0.5
        chi = sqrt(2.0 * rng.gamma(half, shape=(*shape, size), dtype=dtype))
        factor = normal + expand_dims(chi, -1) * eye(size, dtype=dtype)
        lower = matmul(cholesky(scale), factor)
        return matmul(lower, swapaxes(lower, -1, -2))

    def _shape(self, size: Any, parameters: Any) -> Any:
        return () if size is None else drawn_shape(size)


class InverseWishart(Wishart):
    """Inverses of Wishart matrices with ``df`` degrees of freedom and the inverse ``scale``.

    >>> sg.stats.invwishart.pdf(np.diag([2.0, 1.0]), 3.0, np.eye(2)).round(3)
    np.float64(0.005)
    """

    def _logpdf(self, x: Any, df: Any, scale: Any) -> Any:
        """Compute the log density of the inverse Wishart distribution."""
        x = has_axes("invwishart.logpdf", x, 2)
        count = _literal(x)
        of_x, of_scale = cholesky(x), cholesky(scale)
        trace = _square(of_x, of_scale)
        logs = df * log_diagonal(of_scale) - (df + (count + 1.0)) * log_diagonal(of_x)
        constant = df * (0.5 * count * LOG_2) + special.multigammaln(df * 0.5, int(count))
        return logs - trace * 0.5 - constant

    def _mean(self, df: Any, scale: Any) -> Any:
        return scale / (df - _literal(has_axes(f"{self.name}.mean", scale, 2)) - 1.0)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, df: Any, scale: Any) -> Any:
        scale = has_axes(f"{self.name}.rvs", scale, 2)
        return inv(super()._rvs(rng, shape, dtype, df, inv(scale)))


def _literal(matrix: Any) -> float:
    """The size of square matrices, which has to be a number."""
    count = matrix.shape[-1]
    if not isinstance(count, int):
        raise RankError(f"the size {count} of the matrices has to be a number")
    return float(count)


def _square(factor_a: Any, factor_b: Any) -> Any:
    """The trace of inv(A) @ B, by their Cholesky factors."""
    white = solve_triangular(factor_a, factor_b, lower=True)
    return total(white * white, (-2, -1))


def _log_volume(count: int, eta: Any) -> Any:
    """Compute the logarithm of the LKJ distribution's normalizing constant."""
    log_volume: Any = eta * 0.0
    for k in range(1, count):
        remaining = count - k
        half = eta + (remaining - 1) * 0.5
        log_volume = (
            log_volume
            + (2.0 * eta - 2.0 + remaining) * (remaining * LOG_2)
            + remaining * special.betaln(half, half)
        )
    return log_volume


class LKJ(Joint):
    """Correlation matrices, with density proportional to det(x) ** (eta - 1).

    >>> sg.stats.lkj.logpdf([[1.0, 0.5], [0.5, 1.0]], 2.0).round(3)
    np.float64(-0.575)
    """

    shapes = ("eta",)

    def _logpdf(self, x: Any, eta: Any) -> Any:
        x = has_axes("lkj.logpdf", x, 2)
        count = int(_literal(x))
        return (eta - 1.0) * log_det(x) - _log_volume(count, eta)


class LKJCholesky(LKJ):
    """Lower Cholesky factors of correlation matrices of the distribution ``lkj``.

    >>> sg.stats.lkj_cholesky.logpdf([[1.0, 0.0], [0.6, 0.8]], 2.0).round(3)
    np.float64(-0.734)
    """

    def _logpdf(self, x: Any, eta: Any) -> Any:
        x = has_axes("lkj_cholesky.logpdf", x, 2)
        count = int(_literal(x))
        weights = (count - 1.0 - np.arange(count)).astype(x.dtype.numpy)
        logs = log(diagonal(x, 0, -2, -1))
        logs = logs[..., 1:] * (weights[1:] + 2.0 * expand_dims(eta, -1) - 2.0)
        return total(logs, -1) - _log_volume(count, eta)


class Multinomial(JointCounts):
    """Counts along the last axis of ``n`` draws with the probabilities ``p``.

    >>> sg.stats.multinomial.pmf([1, 2], 3, [0.4, 0.6]).round(3)
    np.float64(0.432)
    """

    shapes = ("n", "p")

    def _logpmf(self, x: Any, n: Any, p: Any) -> Any:
        """Compute the log mass of the multinomial distribution."""
        x = has_axes("multinomial.logpmf", x, 1)
        inside = every((x >= 0.0) & (floor(x) == x), -1) & (total(x, -1) == n)
        at = where(x >= 0.0, x, 0.0)
        logpmf = special.gammaln(n + 1.0) + total(
            special.xlogy(at, p) - special.gammaln(at + 1.0), -1
        )
        valid = every((p >= 0.0) & (p <= 1.0), -1) & (absolute(total(p, -1) - 1.0) < NEARLY)
        return where(valid, where(inside, logpmf, -math.inf), math.nan)

    def _mean(self, n: Any, p: Any) -> Any:
        return expand_dims(n, -1) * p

    def _rvs(self, rng: Any, shape: Any, dtype: DType, n: Any, p: Any) -> Any:
        """Draw multinomial counts by one binomial draw after another, of the remaining trials."""
        p, left = astype(p, F64), broadcast_to(astype(n, F64), shape)
        counts, left_probability = [], broadcast_to(p[..., 0] * 0.0 + 1.0, shape)
        for k in range(p.shape[-1] - 1):
            unit, _ = rng._open_unit(shape, F64)
            share = clip(p[..., k] / maximum(left_probability, 1e-300), 0.0, 1.0)
            count = binom.quantile(unit, left, share)
            counts.append(count)
            left, left_probability = left - count, left_probability - p[..., k]
        return astype(stack([*counts, left], -1), I64)

    def _shape(self, size: Any, parameters: Any) -> Any:
        return parameters[1].shape[:-1] if size is None else drawn_shape(size)


class Categorical(JointCounts):
    """A class from 0 on with the probabilities ``p`` along the last axis.

    ``logits=`` in place of p are their logarithms, up to a constant.

    >>> sg.stats.categorical.pmf([0, 1], [0.2, 0.8]).round(3)
    array([0.2, 0.8])
    """

    shapes = ("p",)
    forms: ClassVar[Mapping[str, str]] = {"logits": "by_logits"}

    @property
    def by_logits(self) -> Any:
        """The family by logarithms."""
        return _categorical_logits

    def _logs(self, p: Any) -> Any:
        return log(p)

    def _logpmf(self, k: Any, p: Any) -> Any:
        """Compute the log mass of the categorical distribution."""
        logs = self._logs(has_axes("categorical.logpmf", p, 1))
        last = float(logs.shape[-1]) - 1.0
        inside = (k >= 0.0) & (k <= last) & (floor(k) == k)
        at = astype(where(inside, k, 0.0), I64)
        if logs.ndim == 1:
            logpmf = take(logs, at)
        else:
            at = broadcast_to(at, logs.shape[:-1]) if at.ndim < logs.ndim - 1 else at
            many = broadcast_to(logs, (*at.shape, logs.shape[-1]))
            logpmf = squeeze(take_along_axis(many, expand_dims(at, -1), -1), -1)
        return where(inside, logpmf, -math.inf)

    def _entropy(self, p: Any) -> Any:
        return total(special.entr(exp(self._logs(p))), -1)

    def _rvs(self, rng: Any, shape: Any, dtype: DType, p: Any) -> Any:
        return rng.categorical(self._logs(p), shape=shape)

    def _shape(self, size: Any, parameters: Any) -> Any:
        return parameters[0].shape[:-1] if size is None else drawn_shape(size)


class CategoricalByLogits(Categorical):
    """A class by the logarithms of probabilities."""

    shapes = ("logits",)
    forms: ClassVar[Mapping[str, str]] = {}

    def _logs(self, p: Any) -> Any:
        return log_softmax(p, -1)


_normal_by_cholesky = NormalByCholesky("multivariate_normal", "_normal_by_cholesky")
_categorical_logits = CategoricalByLogits("categorical", "_categorical_logits")
categorical = Categorical("categorical")
dirichlet = Dirichlet("dirichlet")
invwishart = InverseWishart("invwishart")
lkj = LKJ("lkj")
lkj_cholesky = LKJCholesky("lkj_cholesky")
multinomial = Multinomial("multinomial")
multivariate_normal = MultivariateNormal("multivariate_normal")
multivariate_t = MultivariateT("multivariate_t")
wishart = Wishart("wishart")

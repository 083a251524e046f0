"""The Gaussian mixture of ADBench: log posterior with a Wishart prior, and its gradient.

F. Srajer, Z. Kukelova, A. Fitzgibbon, "A benchmark of selected algorithmic differentiation tools on
some problems in computer vision and machine learning" (2018); also the ``gmm`` of GradBench. An
inverse covariance is L^T L with the diagonal exp(q) and the strict lower triangle ``l``.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, pi
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload

_GAMMA, _M = 1.0, 0  # of the prior, as in ADBench's data


def mixture(points: int, dimensions: int, components: int) -> Make:
    """ADBench's distribution of inputs: normal points and means, small factors."""

    def make(random: np.random.Generator) -> Data:
        d, k = dimensions, components
        variables = {
            "alpha": random.normal(size=k),
            "mu": random.uniform(size=(k, d)),
            "q": random.normal(size=(k, d)) * 0.5,
            "l": random.normal(size=(k, d * (d - 1) // 2)) * 0.5,
        }
        feeds = {"x": random.normal(size=(points, d))}
        return Data(variables, feeds, sizes={"d": d, "k": k, "n": points})

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """The log posterior without the constants of the prior."""
    d, n = sizes["d"], sizes["n"]
    alpha, mu, q, factors = v["alpha"], v["mu"], v["q"], v["l"]
    diagonal, sums = ops.exp(q), ops.sum(q, axis=1)
    away = v["x"][None, :, :] - mu[:, None, :]  # [k, n, d]
    lower = ops.transpose(_triangles(ops, factors, d), (0, 2, 1))
    scaled = diagonal[:, None, :] * away + ops.matmul(away, lower)
    inner = (alpha + sums)[:, None] - 0.5 * ops.sum(scaled * scaled, axis=2)
    fit = ops.sum(ops.logsumexp(inner, axis=0)) - n * ops.logsumexp(alpha, axis=0)
    squares = ops.sum(diagonal * diagonal) + ops.sum(factors * factors)
    prior = 0.5 * _GAMMA**2 * squares - _M * ops.sum(sums)
    return fit - prior - n * d * 0.5 * log(2 * pi), {}


def _triangles(ops: Any, factors: Any, d: int) -> Any:
    """[k, d, d], strictly lower: column after column of ``factors``, zeros elsewhere."""
    places = np.zeros((d, d), "int64")
    columns, rows = np.triu_indices(d, 1)  # of the transpose: by columns
    places[rows, columns] = 1 + np.arange(len(rows))
    padded = ops.concatenate([factors[:, :1] * 0.0, factors], axis=1)
    return ops.take(padded, places, 1)


_GMM = Workload(
    "gmm", "gradient", loss, mixture(1000, 10, 25), mixture(5, 3, 2), 1e-4,
    "ADBench's Gaussian mixture, 1000 points, d 10, K 25, gradient",
)  # fmt: skip
WORKLOADS = (_GMM, _GMM.in_float64(1e-10))

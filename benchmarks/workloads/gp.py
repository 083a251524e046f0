"""A Gaussian process: the negative log likelihood of hyperparameters, and its gradient.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and equation
5.8: a kernel matrix of squared distances, each axis with a length of its own; its Cholesky factor;
a triangular solution; the logarithms of the factor's diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def readings(points: int, axes: int) -> Make:
    """Noisy readings of a smooth function, at normal points."""

    def make(random: np.random.Generator) -> Data:
        x = random.normal(size=(points, axes))
        y = np.sin(x.sum(axis=1)) + 0.1 * random.normal(size=points)
        variables = {
            "length": 0.3 + 0.1 * random.normal(size=axes),
            "height": np.array([0.1]),
            "noise": np.array([-1.0]),
        }
        return Data(variables, {"x": x, "y": y}, sizes={"points": points})

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """0.5 * y' K^-1 y + 0.5 * log det K, without the constant."""
    scaled = v["x"] * ops.exp(-v["length"])
    squares = ops.sum(scaled * scaled, axis=1)
    product = ops.matmul(scaled, ops.transpose(scaled, (1, 0)))
    distance = squares[:, None] + squares[None, :] - 2.0 * product
    identity = ops.identity(sizes["points"])
    covariance = ops.exp(2.0 * v["height"]) * ops.exp(-0.5 * distance)
    factor = ops.cholesky(covariance + ops.exp(2.0 * v["noise"]) * identity)
    white = ops.solve_lower(factor, v["y"])
    return 0.5 * ops.sum(white * white) + ops.sum(ops.log(ops.diagonal(factor))), {}


WORKLOADS = (
    Workload(
        "gp", "gradient", loss, readings(500, 5), readings(6, 2), 1e-7,
        "Gaussian process of 500 points, likelihood and its gradient", "float64",
    ),
)  # fmt: skip

"""A least squares fit of a polynomial to the sign function, and its gradient.

The ``llsq_obj`` of B. Bell's cmpad, also the ``llsq`` of GradBench: the powers of t are computed
in the measured program, as there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def polynomial(points: int, coefficients: int) -> Make:
    """Coefficients of a polynomial; t from -1 to 1."""

    def make(random: np.random.Generator) -> Data:
        feeds = {"t": np.linspace(-1, 1, points)}
        sizes = {"points": points, "coefficients": coefficients}
        return Data({"x": random.normal(size=coefficients)}, feeds, sizes=sizes)

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """0.5 * sum((sign(t) - sum_j x_j t^j)^2)."""
    t, shape = v["t"][:, None], (sizes["points"], sizes["coefficients"] - 1)
    powers = ops.cumprod(ops.broadcast_to(t, shape), axis=1)
    ones = powers[:, :1] * 0.0 + 1.0
    fit = ops.matmul(ops.concatenate([ones, powers], axis=1), v["x"])
    away = ops.sign(v["t"]) - fit
    return 0.5 * ops.sum(away * away), {}


WORKLOADS = (
    Workload(
        "llsq", "gradient", loss, polynomial(16384, 32), polynomial(8, 3), 1e-4,
        "polynomial of 32 coefficients at 16,384 points, gradient",
    ),
)  # fmt: skip

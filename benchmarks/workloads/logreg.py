"""Logistic regression: loss, gradient and a Hessian-vector product, as a Newton-CG step needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def samples(count: int, features: int) -> Make:
    """Normal features, labels +-1 by a noisy hyperplane, a direction to multiply with."""

    def make(random: np.random.Generator) -> Data:
        x = random.normal(size=(count, features))
        plane = random.normal(size=features)
        y = np.sign(x @ plane + random.normal(size=count))
        along = random.normal(size=features)
        w = random.normal(size=features) * 0.05
        return Data({"w": w}, {"x": x, "y": y}, {"w": along})

    return make


def loss(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """mean(log(1 + exp(-y * (x @ w)))) + 0.005 * |w|^2."""
    w = v["w"]
    margins = v["y"] * ops.matmul(v["x"], w)
    return ops.mean(ops.softplus(-margins)) + 0.005 * ops.sum(w * w), {}


WORKLOADS = (
    Workload(
        "logreg", "hvp", loss, samples(8192, 256), samples(6, 3), 1e-4,
        "logistic regression 8192x256: loss, gradient, Hessian-vector product",
    ),
)  # fmt: skip

"""Layer norm, GELU and the mean square of the result, with three gradients: one pass if fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def rows(count: int, width: int) -> Make:
    """Normal rows, gains round 1, small biases."""

    def make(random: np.random.Generator) -> Data:
        return Data({
            "x": random.normal(size=(count, width)),
            "gain": random.normal(1.0, 0.1, width),
            "bias": random.normal(0.0, 0.1, width),
        })  # fmt: skip

    return make


def loss(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """mean(gelu(layer_norm(x))^2)."""
    out = ops.gelu(ops.layer_norm(v["x"], v["gain"], v["bias"]))
    return ops.mean(out * out), {}


WORKLOADS = (
    Workload(
        "lnblock", "gradient", loss, rows(4096, 1024), rows(3, 5), 2e-5,
        "layer norm, GELU, mean square and 3 gradients at 4096x1024",
    ),
)  # fmt: skip

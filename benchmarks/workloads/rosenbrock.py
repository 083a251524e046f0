"""Rosenbrock's function (1960) in its chained form, and its gradient: small and large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def point(count: int) -> Make:
    """A point near the valley."""

    def make(random: np.random.Generator) -> Data:
        return Data({"x": random.normal(1.0, 0.3, count)})

    return make


def loss(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """sum(100 * (x[i+1] - x[i]^2)^2 + (1 - x[i])^2)."""
    head, tail = v["x"][:-1], v["x"][1:]
    steep, flat = tail - head * head, 1.0 - head
    return ops.sum(100.0 * (steep * steep) + flat * flat), {}


def _workload(name: str, count: int) -> Workload:
    about = f"Rosenbrock, value and gradient at {count:,}"
    return Workload(name, "gradient", loss, point(count), point(4), 1e-5, about)


WORKLOADS = (_workload("rosenbrock_200", 200), _workload("rosenbrock_1m", 1_000_000))

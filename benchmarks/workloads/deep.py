"""A perceptron of a hundred layers, one SGD step: many equal kernels in a row.

With tanh, not ReLU: among its 1.6 million activations some lie within a rounding of ReLU's kink,
where float32 and the float64 truth may rightly disagree about the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def layers(count: int, width: int, classes: int, batch: int) -> Make:
    """Weights after Glorot and Bengio (AISTATS 2010), small biases."""

    def make(random: np.random.Generator) -> Data:
        variables = {}
        for i in range(count):
            columns = width if i < count - 1 else classes
            variables[f"w{i}"] = random.normal(size=(width, columns)) * np.sqrt(1 / width)
            variables[f"b{i}"] = random.normal(size=columns) * 0.05
        feeds = {
            "x": random.normal(size=(batch, width)),
            "y": random.integers(0, classes, batch),
        }
        return Data(variables, feeds, batch={"x": 0, "y": 0}, sizes={"layers": count})

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """Cross entropy of the last layer's output."""
    h, last = v["x"], sizes["layers"] - 1
    for i in range(last):
        h = ops.tanh(ops.linear(h, v[f"w{i}"], v[f"b{i}"]))
    return ops.cross_entropy(ops.linear(h, v[f"w{last}"], v[f"b{last}"]), v["y"]), {}


WORKLOADS = (
    Workload(
        "deep100", "sgd", loss, layers(100, 256, 10, 64), layers(100, 32, 2, 4), 1e-4,
        "100 layers of 256 with tanh, batch 64, SGD step", rate=0.1,
    ),
)  # fmt: skip

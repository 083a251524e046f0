"""Multilayer perceptrons with ReLU and cross entropy, one SGD step: three sizes of one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload, open_axes


def perceptron(sizes: Sequence[int], batch: int) -> Make:
    """Weights after He et al. (arXiv 1502.01852), small biases, random images and labels."""

    def make(random: np.random.Generator) -> Data:
        variables = {}
        for i, (rows, columns) in enumerate(pairwise(sizes)):
            variables[f"w{i}"] = random.normal(size=(rows, columns)) * np.sqrt(2 / rows)
            variables[f"b{i}"] = random.normal(size=columns) * 0.1
        feeds = {
            "x": random.normal(size=(batch, sizes[0])),
            "y": random.integers(0, sizes[-1], batch),
        }
        layers = {"layers": len(sizes) - 1}
        return Data(variables, feeds, batch=open_axes(batch, x=0, y=0), sizes=layers)

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """Cross entropy of the last layer's output."""
    h, layers = v["x"], sizes["layers"]
    for i in range(layers):
        h = ops.linear(h, v[f"w{i}"], v[f"b{i}"])
        if i < layers - 1:
            h = ops.relu(h)
    return ops.cross_entropy(h, v["y"]), {}


def _workload(name: str, sizes: Sequence[int], batch: int, small: Sequence[int], about: str,
              rate: float = 0.01) -> Workload:  # fmt: skip
    return Workload(
        name, "sgd", loss, perceptron(sizes, batch), perceptron(small, 4), 1e-4, about, rate=rate
    )


_WIDE = (784, 512, 256, 128, 10)
_SMALL = (5, 6, 6, 6, 3)
_MLP = _workload("mlp", _WIDE, 64, _SMALL, "784-512-256-128-10, batch 64, SGD step")
WORKLOADS = (
    _MLP,
    _MLP.in_float64(),
    _workload("mlp_b1", _WIDE, 1, _SMALL, "784-512-256-128-10, batch 1, SGD step", 0.001),
    _workload("tiny", (4, 16, 16, 3), 8, (2, 4, 4, 2), "4-16-16-3, batch 8, SGD step", 0.001),
)

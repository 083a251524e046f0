"""Recurrent layers run along time by a loop of the library: one SGD step of a regression.

``lstm_scan`` is ``lstm`` as one loop instead of unrolled; ``gru_scan`` has two GRUs, one upon the
other (K. Cho et al. 2014, the reset gate behind the product, as in cuDNN), over 64 times.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness.operations import GATES
from benchmarks.harness.workload import Data, Make, Workload


def sequence(kind: str, layers: int, time: int, batch: int, inputs: int, hidden: int) -> Make:
    """Uniform weights within 1 / sqrt(hidden); targets in (-1, 1)."""

    def make(random: np.random.Generator) -> Data:
        bound, width = hidden**-0.5, GATES[kind] * hidden
        variables = {}
        for layer in range(layers):
            below = hidden if layer else inputs
            shapes = {"w": (below, width), "u": (hidden, width), "b": (width,)}
            for name, shape in shapes.items():
                variables[f"{name}{layer}"] = random.uniform(-bound, bound, shape)
        feeds = {
            "x": random.normal(size=(time, batch, inputs)),
            "y": random.uniform(-1, 1, (batch, hidden)),
        }
        sizes = {"layers": layers, "time": time, "hidden": hidden}
        return Data(variables, feeds, batch={"x": 1, "y": 0}, sizes=sizes)

    return make


def loss(
    kind: str, ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """Half the squared distance of the last layer's last state, per sequence."""
    weights = [tuple(v[f"{name}{k}"] for name in "wub") for k in range(sizes["layers"])]
    last = ops.recurrent(kind, v["x"], weights, sizes["time"], sizes["hidden"])
    away = last - v["y"]
    return 0.5 * ops.mean(ops.sum(away * away, axis=1)), {}


WORKLOADS = (
    Workload(
        "lstm_scan", "sgd", partial(loss, "lstm"),
        sequence("lstm", 1, 32, 32, 64, 128), sequence("lstm", 1, 3, 2, 3, 2), 1e-4,
        "LSTM by a loop, 32 steps, batch 32, 64 to 128, SGD step",
    ),
    Workload(
        "gru_scan", "sgd", partial(loss, "gru"),
        sequence("gru", 2, 64, 32, 64, 128), sequence("gru", 2, 3, 2, 3, 2), 1e-4,
        "two GRUs by loops, 64 steps, batch 32, 64 to 128, SGD step",
    ),
)  # fmt: skip

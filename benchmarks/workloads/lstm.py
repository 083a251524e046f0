"""An LSTM over 32 steps, batch 32, 64 inputs to 128 units: one SGD step of a regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload, open_axes


def sequence(time: int, batch: int, inputs: int, hidden: int) -> Make:
    """Uniform weights within 1 / sqrt(hidden); targets in (-1, 1)."""

    def make(random: np.random.Generator) -> Data:
        bound = hidden**-0.5
        variables = {
            "wx": random.uniform(-bound, bound, (inputs, 4 * hidden)),
            "wh": random.uniform(-bound, bound, (hidden, 4 * hidden)),
            "b": random.uniform(-bound, bound, 4 * hidden),
        }
        feeds = {
            "x": random.normal(size=(time, batch, inputs)),
            "y": random.uniform(-1, 1, (batch, hidden)),
        }
        sizes = {"time": time, "hidden": hidden}
        return Data(variables, feeds, batch=open_axes(batch, x=1, y=0), sizes=sizes)

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """Half the squared distance of the last hidden state, per sequence."""
    last = ops.lstm(v["x"], v["wx"], v["wh"], v["b"], sizes["time"], sizes["hidden"])
    away = last - v["y"]
    return 0.5 * ops.mean(ops.sum(away * away, axis=1)), {}


def _workload(name: str, batch: int) -> Workload:
    return Workload(
        name, "sgd", loss, sequence(32, batch, 64, 128), sequence(3, 2, 3, 2), 1e-4,
        f"LSTM, 32 steps, batch {batch}, 64 to 128, SGD step",
    )  # fmt: skip


WORKLOADS = (_workload("lstm", 32), _workload("lstm_b1", 1))

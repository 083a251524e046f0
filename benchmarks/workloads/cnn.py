"""A convolutional network on images of 28x28: 1-16-32 channels, 3x3, max pooling; an SGD step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload, open_axes


def network(channels: tuple[int, int, int], side: int, batch: int) -> Make:
    """Weights after He et al. (arXiv 1502.01852); 10 classes."""

    def make(random: np.random.Generator) -> Data:
        first, second, third = channels
        flat = third * (side // 4) ** 2
        variables = {
            "k0": random.normal(size=(second, first, 3, 3)) * np.sqrt(2 / (9 * first)),
            "b0": np.zeros(second),
            "k1": random.normal(size=(third, second, 3, 3)) * np.sqrt(2 / (9 * second)),
            "b1": np.zeros(third),
            "w": random.normal(size=(flat, 10)) * np.sqrt(2 / flat),
            "b": np.zeros(10),
        }
        feeds = {
            "x": random.normal(size=(batch, first, side, side)),
            "y": random.integers(0, 10, batch),
        }
        sizes = {"first": first, "second": second, "third": third, "side": side}
        return Data(variables, feeds, batch=open_axes(batch, x=0, y=0), sizes=sizes)

    return make


def loss(ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """Cross entropy of a linear layer on the pooled features."""
    first, second, third = sizes["first"], sizes["second"], sizes["third"]
    side = sizes["side"]
    h = ops.relu(ops.conv2d(v["x"], v["k0"], v["b0"], (first, second), side))
    h = ops.max_pool(h, second, side)
    h = ops.relu(ops.conv2d(h, v["k1"], v["b1"], (second, third), side // 2))
    h = ops.max_pool(h, third, side // 2)
    flat = ops.reshape(h, (-1, third * (side // 4) ** 2))
    return ops.cross_entropy(ops.linear(flat, v["w"], v["b"]), v["y"]), {}


def _workload(name: str, batch: int) -> Workload:
    return Workload(
        name, "sgd", loss, network((1, 16, 32), 28, batch), network((1, 2, 3), 8, 2), 1e-4,
        f"1-16-32 channels 3x3 and pooling on 28x28, batch {batch}, SGD step", rate=0.001,
    )  # fmt: skip


WORKLOADS = (_workload("cnn", 32), _workload("cnn_b1", 1))

"""Rows of a matrix: cross entropy, layer norm; attention, whose rows are scores. With gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload


def logits(count: int, classes: int) -> Make:
    """Normal logits, uniform labels."""

    def make(random: np.random.Generator) -> Data:
        labels = random.integers(0, classes, count)
        return Data({"logits": random.normal(size=(count, classes))}, {"labels": labels})

    return make


def cross_entropy(
    ops: Any, v: Mapping[str, Any], _: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """The mean of -log softmax at the labels."""
    return ops.cross_entropy(v["logits"], v["labels"]), {}


def normal_rows(count: int, width: int) -> Make:
    """Normal rows, gains round 1, small biases, and what the result is multiplied by."""

    def make(random: np.random.Generator) -> Data:
        return Data({
            "x": random.normal(size=(count, width)),
            "gain": random.normal(1.0, 0.1, width),
            "bias": random.normal(0.0, 0.1, width),
        }, {"along": random.normal(size=(count, width))})  # fmt: skip

    return make


def layer_norm(ops: Any, v: Mapping[str, Any], _: Mapping[str, int]) -> tuple[Any, dict[str, Any]]:
    """mean(layer_norm(x) * along); the normalised rows are a result too."""
    out = ops.layer_norm(v["x"], v["gain"], v["bias"])
    return ops.mean(out * v["along"]), {"out": out}


def queries(batch: int, heads: int, time: int, size: int) -> Make:
    """Normal queries, keys and values, and what the result is multiplied by."""

    def make(random: np.random.Generator) -> Data:
        shape = (batch, heads, time, size)
        variables = {name: random.normal(size=shape) for name in ("q", "k", "v")}
        feeds = {"along": random.normal(size=shape)}
        return Data(variables, feeds, sizes={"time": time, "size": size})

    return make


def attention(
    ops: Any, v: Mapping[str, Any], sizes: Mapping[str, int]
) -> tuple[Any, dict[str, Any]]:
    """mean(causal attention * along); what attention gives is a result too."""
    out = ops.causal_attention(v["q"], v["k"], v["v"], sizes["time"], sizes["size"])
    return ops.mean(out * v["along"]), {"out": out}


WORKLOADS = (
    Workload(
        "crossentropy", "gradient", cross_entropy, logits(4096, 1000), logits(3, 5), 2e-5,
        "cross entropy and its gradient at 4096x1000",
    ),
    Workload(
        "layernorm", "gradient", layer_norm, normal_rows(4096, 1024), normal_rows(3, 5), 2e-5,
        "layer norm forward and backward at 4096x1024",
    ),
    Workload(
        "attention", "gradient", attention, queries(8, 4, 256, 32), queries(1, 2, 4, 3), 2e-5,
        "causal attention forward and backward, 32 heads of 32, context 256",
    ),
)  # fmt: skip

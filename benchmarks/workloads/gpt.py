"""A small GPT (Radford et al. 2019: pre-LN blocks, GELU), one SGD step on random tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make, Workload, open_axes


def transformer(layers: int, width: int, context: int, batch: int, vocabulary: int) -> Make:
    """Four heads; normal weights of deviation 0.02 as in GPT-2, biases 0, gains 1."""

    def make(random: np.random.Generator) -> Data:
        def weight(*shape: int) -> Any:
            return random.normal(size=shape) * 0.02

        variables = {"token": weight(vocabulary, width), "place": weight(context, width)}
        for i in range(layers):
            for name, rows, columns in (
                ("qkv", width, 3 * width), ("out", width, width),
                ("up", width, 4 * width), ("down", 4 * width, width),
            ):  # fmt: skip
                variables[f"{name}{i}"] = weight(rows, columns)
                variables[f"{name}_bias{i}"] = np.zeros(columns)
            for name in ("before", "between"):
                variables[f"{name}_gain{i}"] = np.ones(width)
                variables[f"{name}_bias{i}"] = np.zeros(width)
        variables |= {"last_gain": np.ones(width), "last_bias": np.zeros(width)}
        variables["head"] = weight(width, vocabulary)
        tokens = random.integers(0, vocabulary, (batch, context + 1))
        feeds = {"x": tokens[:, :-1], "y": tokens[:, 1:]}
        sizes = {"layers": layers, "width": width, "context": context, "vocabulary": vocabulary}
        return Data(variables, feeds, batch=open_axes(batch, x=0, y=0), sizes=sizes)

    return make


_HEADS = 4


def loss(
    ops: Any,
    v: Mapping[str, Any],
    sizes: Mapping[str, int],
    marked: Callable[[Callable[[Any], Any]], Callable[[Any], Any]] = lambda block: block,
) -> tuple[Any, dict[str, Any]]:
    """Cross entropy of the next token, over all places; each block as ``marked`` makes it."""
    h = ops.embedding(v["x"], v["token"]) + v["place"]
    for i in range(sizes["layers"]):
        h = marked(partial(_block, ops, v, i, sizes))(h)
    logits = ops.layer_norm(h, v["last_gain"], v["last_bias"]) @ v["head"]
    rows = ops.reshape(logits, (-1, sizes["vocabulary"]))
    return ops.cross_entropy(rows, ops.reshape(v["y"], (-1,))), {}


def _block(ops: Any, v: Mapping[str, Any], i: int, sizes: Mapping[str, int], h: Any) -> Any:
    h = h + _attend(ops, v, i, sizes, _normal(ops, v, "before", i, h))
    raised = ops.linear(_normal(ops, v, "between", i, h), v[f"up{i}"], v[f"up_bias{i}"])
    return h + ops.linear(ops.gelu(raised), v[f"down{i}"], v[f"down_bias{i}"])


def _normal(ops: Any, v: Mapping[str, Any], name: str, i: int, h: Any) -> Any:
    return ops.layer_norm(h, v[f"{name}_gain{i}"], v[f"{name}_bias{i}"])


def _attend(ops: Any, v: Mapping[str, Any], i: int, sizes: Mapping[str, int], h: Any) -> Any:
    width, context = sizes["width"], sizes["context"]
    size = width // _HEADS
    qkv = ops.linear(h, v[f"qkv{i}"], v[f"qkv_bias{i}"])

    def heads(k: int) -> Any:
        part = qkv[:, :, k * width : (k + 1) * width]
        return ops.transpose(ops.reshape(part, (-1, context, _HEADS, size)), (0, 2, 1, 3))

    mixed = ops.causal_attention(heads(0), heads(1), heads(2), context, size)
    joined = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, context, width))
    return ops.linear(joined, v[f"out{i}"], v[f"out_bias{i}"])


def _workload(name: str, batch: int) -> Workload:
    return Workload(
        name, "sgd", loss, transformer(2, 128, 64, batch, 65), transformer(1, 8, 4, 2, 5), 1e-4,
        f"GPT, 2 layers of 128, 4 heads, context 64, batch {batch}, SGD step",
    )  # fmt: skip


WORKLOADS = (_workload("gpt", 8), _workload("gpt_b1", 1))

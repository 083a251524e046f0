"""Transformers of texts: encoders, decoders, both; four ways of saying where a token is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.harness.layers import Layers
from benchmarks.harness.workload import Arrays
from benchmarks.peers.families import Values, model


def texts(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return ids [n, time], and the ids that are to be predicted."""
    shape = sizes["batch"], sizes["time"]
    return {name: random.integers(0, sizes["words"], shape) for name in ("ids", "y")}


def draw_classes(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return ids [n, time], and a class of each text."""
    ids = texts(random, sizes)["ids"]
    return {"ids": ids, "y": random.integers(0, 2, len(ids))}


def pairs(random: np.random.Generator, sizes: Mapping[str, Any]) -> Arrays:
    """Return texts, and the ids before each predicted one."""
    arrays = texts(random, sizes)
    return {**arrays, "past": np.roll(arrays["y"], 1, axis=1)}


def bert(net: Layers, v: Values) -> Any:
    """Devlin et al., arXiv 1810.04805: a class of each text."""
    sizes, width = net.sizes, net.sizes["width"]
    places = net.table("places", sizes["most"], width)[: sizes["time"]]
    h = net.ops.embedding(v["ids"], net.table("table", sizes["words"], width))
    h = net.layer_norm("ln", h + places + net.table("kinds", 2, width)[0], 1e-12)
    for k in range(sizes["layers"]):
        h = _post_norm(net, f"{k}", h)
    pooled = net.ops.tanh(net.dense("pool", h[:, 0], width))
    return net.cross_entropy(net.dense("head", pooled, 2), v["y"])


def _post_norm(net: Layers, name: str, h: Any) -> Any:
    heads, hidden = net.sizes["heads"], net.sizes["hidden"]
    h = net.layer_norm(f"{name}.ln1", h + net.attend(name, h, heads), 1e-12)
    return net.layer_norm(f"{name}.ln2", h + net.mlp(f"{name}.mlp", h, hidden, net.ops.gelu), 1e-12)


def albert(net: Layers, v: Values) -> Any:
    """Lan et al., arXiv 1909.11942: one layer many times, masked words by a tied table."""
    sizes, narrow = net.sizes, net.sizes["narrow"]
    table = net.table("table", sizes["words"], narrow)
    h = net.ops.embedding(v["ids"], table) + net.table("places", 512, narrow)[: sizes["time"]]
    h = net.dense("wide", net.layer_norm("ln", h, 1e-12), sizes["width"])
    for _ in range(sizes["layers"]):
        h = _post_norm(net, "each", h)
    inner = net.layer_norm("head.ln", net.ops.gelu(net.dense("head", h, narrow)), 1e-12)
    logits = inner @ net.ops.transpose(table, (1, 0))
    return net.cross_entropy(logits + net.parameter("out", (sizes["words"],)), v["y"])


def _distances(queries: int, keys: int, both_ways: bool) -> Any:
    """Return T5's bucket of each pair: exact to 8 or 16, then by the logarithm up to 128."""
    away = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    buckets, first = (16, (away > 0) * 16) if both_ways else (32, np.zeros_like(away))
    away = np.abs(away) if both_ways else np.maximum(-away, 0)
    exact = buckets // 2
    with np.errstate(divide="ignore"):
        far = exact + np.log(away / exact) / np.log(128 / exact) * (buckets - exact)
    far = np.minimum(np.where(away < exact, 0, far).astype("int64"), buckets - 1)
    return (first + np.where(away < exact, away, far)).reshape(-1)


def t5(net: Layers, v: Values) -> Any:
    """Raffel et al., arXiv 1910.10683: relative places, norms without means, a tied table."""
    ops, sizes, heads, time = net.ops, net.sizes, net.sizes["heads"], net.sizes["time"]
    table = net.table("table", sizes["words"], sizes["width"], 1.0)

    def places(name: str, both_ways: bool) -> Any:
        rows = ops.take(net.table(name, 32, heads, 0.1), _distances(time, time, both_ways), 0)
        bias = ops.transpose(ops.reshape(rows, (time, time, heads)), (2, 0, 1))
        return ops.reshape(bias, (1, heads, time, time))

    def attend(name: str, h: Any, past: Any, bias: Any) -> Any:
        inner = net.rms_norm(f"{name}.ln", h, 1e-6)
        return h + net.attend(name, inner, heads, past=past, bias=bias, biased=False)

    def feed_forward(name: str, h: Any) -> Any:
        inner = net.dense(f"{name}.wi", net.rms_norm(f"{name}.ln", h, 1e-6), sizes["hidden"], False)
        return h + net.dense(f"{name}.wo", ops.relu(inner), sizes["width"], False)

    h, bias = ops.embedding(v["ids"], table), places("enc.places", True)
    for k in range(sizes["layers"]):
        h = feed_forward(f"enc{k}.mlp", attend(f"enc{k}", h, None, bias))
    encoded = net.rms_norm("enc.ln", h, 1e-6)
    h, bias = ops.embedding(v["past"], table), places("dec.places", False)
    bias = bias + ops.constant(np.triu(np.full((time, time), -1e9, "float32"), 1))
    for k in range(sizes["layers"]):
        h = attend(f"dec{k}", h, None, bias)
        h = feed_forward(f"dec{k}.mlp", attend(f"dec{k}.cross", h, encoded, None))
    h = net.rms_norm("dec.ln", h, 1e-6) * sizes["width"] ** -0.5
    return net.cross_entropy(h @ ops.transpose(table, (1, 0)), v["y"])


def llama(net: Layers, v: Values) -> Any:
    """Touvron et al., arXiv 2302.13971, keys shared by groups of heads (arXiv 2305.13245)."""
    ops, sizes = net.ops, net.sizes
    heads, few, time, width = sizes["heads"], sizes["keys"], sizes["time"], sizes["width"]
    n, size, half = v["ids"].shape[0], width // heads, width // heads // 2
    angles = np.arange(time)[:, None] * 10_000.0 ** (-np.arange(half) / half)
    cosine, sine = (ops.constant(f(angles).astype("float32")) for f in (np.cos, np.sin))

    def rotate(x: Any) -> Any:
        first, second = x[:, :, :, :half], x[:, :, :, half:]
        turned = [first * cosine - second * sine, second * cosine + first * sine]
        return ops.concatenate(turned, axis=3)

    def spread(x: Any) -> Any:
        wide = ops.broadcast_to(x[:, :, None], (n, few, heads // few, time, size))
        return ops.reshape(wide, (n, heads, time, size))

    table = net.table("table", sizes["words"], width)
    h = ops.embedding(v["ids"], table)
    for k in range(sizes["layers"]):
        inner = net.rms_norm(f"{k}.ln1", h)
        q = net.split_heads(net.dense(f"{k}.q", inner, width, False), heads)
        key, value = (
            net.split_heads(net.dense(f"{k}.{letter}", inner, few * size, False), few)
            for letter in "kv"
        )
        mixed = net.mix(rotate(q), spread(rotate(key)), spread(value), causal=True)
        h = h + net.dense(f"{k}.o", net.join_heads(mixed), width, False)
        inner = net.rms_norm(f"{k}.ln2", h)
        gate, up = (
            net.dense(f"{k}.{letter}", inner, sizes["hidden"], False) for letter in ("g", "u")
        )
        h = h + net.dense(f"{k}.d", ops.silu(gate) * up, width, False)
    return net.cross_entropy(net.rms_norm("ln", h) @ ops.transpose(table, (1, 0)), v["y"])


def bloom(net: Layers, v: Values) -> Any:
    """BigScience, arXiv 2211.05100: attention with linear biases (arXiv 2108.12409)."""
    ops, sizes, heads, time = net.ops, net.sizes, net.sizes["heads"], net.sizes["time"]
    table = net.table("table", sizes["words"], sizes["width"])
    slopes = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
    away = np.arange(time)[None, :] - np.arange(time)[:, None]
    bias = np.where(away > 0, -1e9, slopes[:, None, None] * away)
    bias = ops.constant(bias[None].astype("float32"))
    h = net.layer_norm("ln0", ops.embedding(v["ids"], table))
    for k in range(sizes["layers"]):
        h = h + net.attend(f"{k}", net.layer_norm(f"{k}.ln1", h), heads, bias=bias)
        inner = net.layer_norm(f"{k}.ln2", h)
        h = h + net.mlp(f"{k}.mlp", inner, 4 * sizes["width"], ops.gelu)
    return net.cross_entropy(net.layer_norm("ln", h) @ ops.transpose(table, (1, 0)), v["y"])


_SMALL = {"batch": 2, "time": 5, "words": 7, "layers": 1, "width": 8, "heads": 2, "hidden": 6}
WORKLOADS = (
    model("bert_base", "BERT-base, 4 layers of 12, 2 texts of 128 tokens", bert, draw_classes,
          {"batch": 2, "time": 128, "words": 30_522, "most": 512, "layers": 4, "width": 768,
           "heads": 12, "hidden": 3072}, _SMALL | {"most": 6}),
    model("albert_base", "ALBERT-base, 1 text of 128 tokens", albert, texts,
          {"batch": 1, "time": 128, "words": 30_000, "layers": 12, "width": 768, "narrow": 128,
           "heads": 12, "hidden": 3072}, _SMALL | {"narrow": 4, "layers": 2}),
    model("t5_small", "T5-small, 2 layers of 6 on both sides, 2 texts of 64 tokens", t5, pairs,
          {"batch": 2, "time": 64, "words": 32_128, "layers": 2, "width": 512, "heads": 8,
           "hidden": 2048}, _SMALL),
    model("smollm", "SmolLM-135M, 4 layers of 30, 1 text of 128 tokens", llama, texts,
          {"batch": 1, "time": 128, "words": 49_152, "layers": 4, "width": 576, "heads": 9,
           "keys": 3, "hidden": 1536}, _SMALL | {"heads": 4, "keys": 2, "width": 16}),
    model("bloom", "BLOOM-560M, 2 layers of 24, 8,192 words of 250,880, 1 text of 128 tokens",
          bloom, texts,
          {"batch": 1, "time": 128, "words": 8192, "layers": 2, "width": 1024, "heads": 16},
          _SMALL),
)  # fmt: skip

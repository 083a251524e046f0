"""Networks and their layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.harness.workload import Data, Make
from benchmarks.peers.kinds import Values, normal, program


def layers(sizes: tuple[int, ...], batch: int) -> Make:
    """Weights of dense layers, a batch and its labels."""

    def make(random: np.random.Generator) -> Data:
        variables = {}
        for number, (m, n) in enumerate(pairwise(sizes)):
            variables[f"w{number}"] = random.normal(size=(m, n)) * np.sqrt(2 / m)
            variables[f"b{number}"] = np.zeros(n)
        labels = random.integers(0, sizes[-1], batch)
        return Data(variables, {"x": random.normal(size=(batch, sizes[0])), "y": labels})

    return make


def mlp(ops: Any, v: Values) -> Any:
    """Cross entropy of dense layers with relu between them."""
    h, count = v["x"], sum(name.startswith("w") for name in v)
    for number in range(count):
        h = ops.linear(h, v[f"w{number}"], v[f"b{number}"])
        h = ops.relu(h) if number < count - 1 else h
    return ops.cross_entropy(h, v["y"])


def ffn(ops: Any, v: Values) -> Any:
    """x + gelu(x @ w + b) @ u + c, the second half of a transformer's block."""
    hidden = ops.gelu(ops.linear(v["x"], v["w"], v["b"]))
    return ops.mean((v["x"] + ops.linear(hidden, v["u"], v["c"])) ** 2)


def causal(ops: Any, v: Values) -> Any:
    """Causal attention."""
    _, _, time, size = v["q"].shape
    return ops.mean(ops.causal_attention(v["q"], v["k"], v["v"], time, size) * v["g"])


def attention(ops: Any, v: Values) -> Any:
    """Attention of all to all."""
    return ops.mean(ops.attention(v["q"], v["k"], v["v"], v["q"].shape[-1]) * v["g"])


def layer_norm(ops: Any, v: Values) -> Any:
    """Layer norm of rows."""
    return ops.mean(ops.layer_norm(v["x"], v["gain"], v["bias"]) * v["g"])


def rms_norm(ops: Any, v: Values) -> Any:
    """Rows over their root mean square, then a layer with silu."""
    x = v["x"]
    scaled = x / ops.sqrt(ops.mean(x * x, axis=-1, keepdims=True) + 1e-5) * v["gain"]
    h = scaled @ v["w"]
    return ops.mean(h * ops.sigmoid(h) * v["g"])


def batch_norm(ops: Any, v: Values) -> Any:
    """Batch norm of images, and relu."""
    n, _, *image = v["x"].shape
    count = n * int(np.prod(image))
    return ops.mean(ops.relu(ops.batch_norm(v["x"], v["gain"], v["bias"], count)) * v["g"])


def embedding(ops: Any, v: Values) -> Any:
    """The mean of a sentence's embeddings, and a layer."""
    rows = ops.embedding(v["ids"], v["table"])
    return ops.cross_entropy(ops.mean(rows, axis=1) @ v["w"], v["y"])


def sentences(random: np.random.Generator) -> Data:
    """Ids of 256 sentences of 32 words, and classes."""
    variables = {"table": random.normal(size=(20_000, 64)), "w": random.normal(size=(64, 10)) / 8}
    ids = random.integers(0, 20_000, (256, 32))
    return Data(variables, {"ids": ids, "y": random.integers(0, 10, 256)})


def classes(random: np.random.Generator) -> Data:
    """The last layer of a language model: 256 tokens, 8,000 words."""
    variables = {"h": random.normal(size=(256, 128)), "w": random.normal(size=(128, 8000)) / 11}
    return Data(variables, {"y": random.integers(0, 8000, 256)})


def vocabulary(ops: Any, v: Values) -> Any:
    """Cross entropy over many classes."""
    return ops.cross_entropy(v["h"] @ v["w"], v["y"])


def cell(gates: int) -> Make:
    """A cell's weights and 50 inputs of 32 sequences."""
    shapes = {"w": (64, gates * 128), "u": (128, gates * 128), "b": (gates * 128,)}
    return normal(shapes, {"x": (50, 32, 64)}, scale=0.1)


def lstm(ops: Any, v: Values) -> Any:
    """The last state of an LSTM."""
    return ops.mean(ops.recurrent("lstm", v["x"], [(v["w"], v["u"], v["b"])], 50, 128) ** 2)


def gru(ops: Any, v: Values) -> Any:
    """The last state of a GRU."""
    return ops.mean(ops.recurrent("gru", v["x"], [(v["w"], v["u"], v["b"])], 50, 128) ** 2)


def rnn(ops: Any, v: Values) -> Any:
    """All states of a plain recurrent cell."""

    def iteration(h: Any, at: Any) -> Any:
        h = ops.tanh(at @ v["w"] + h @ v["u"] + v["b"])
        return h, h

    _, states = ops.scan(iteration, v["h"], v["x"])
    return ops.mean(states**2)


def edges(random: np.random.Generator) -> Data:
    """A graph of 5,000 nodes with 40,000 edges, and two layers."""
    ends = {"from": random.integers(0, 5000, 40_000), "to": random.integers(0, 5000, 40_000)}
    weights = {name: random.normal(size=(32, 32)) / 6 for name in ("w", "u", "s", "t")}
    return Data(weights, {"x": random.normal(size=(5000, 32)), **ends})


def graph_network(ops: Any, v: Values) -> Any:
    """Two rounds of messages along edges, summed per node."""
    h = v["x"]
    for of_node, of_messages in (("w", "u"), ("s", "t")):
        messages = ops.segment_sum(ops.take(h, v["from"], 0), v["to"], 5000)
        h = ops.tanh(h @ v[of_node] + messages @ v[of_messages] * 0.125)
    return ops.mean(h * h)


def experts(ops: Any, v: Values) -> Any:
    """Eight networks, weighted by a softmax of each sample."""
    gates = ops.softmax(v["x"] @ v["g"])
    hidden = ops.relu(ops.einsum("nd,edh->enh", v["x"], v["w"]))
    out = ops.einsum("enh,ehd->end", hidden, v["u"])
    return ops.mean(ops.einsum("ne,end->nd", gates, out) ** 2)


def unet(ops: Any, v: Values) -> Any:
    """One level: convolution, pool, convolution, up, join, convolution."""

    def layer(name: str, x: Any, channels: tuple[int, int], side: int) -> Any:
        return ops.relu(ops.conv2d(x, v[name], v[f"b{name}"], channels, side))

    down = layer("w", v["x"], (16, 16), 32)
    inner = layer("u", ops.max_pool(down, 16, 32), (16, 32), 16)
    joined = ops.concatenate([down, ops.double_image(inner, 32, 16)], 1)
    return ops.mean(layer("t", joined, (48, 16), 32) ** 2)


def vae(ops: Any, v: Values) -> Any:
    """Bernoulli likelihood of a decoded sample, and the divergence of its code."""
    h = ops.relu(v["x"] @ v["w0"])
    mean, log_variance = h @ v["w1"], h @ v["w2"]
    z = mean + ops.exp(0.5 * log_variance) * v["noise"]
    logits = ops.relu(z @ v["w3"]) @ v["w4"]
    likelihood = ops.sum(ops.softplus(logits) - v["x"] * logits)
    divergence = 0.5 * ops.sum(ops.exp(log_variance) + mean * mean - 1.0 - log_variance)
    return (likelihood + divergence) / 128


def draw_autoencoder(random: np.random.Generator) -> Data:
    """Weights of an encoder and a decoder, 128 images of 784 pixels, noise."""
    shapes = [(784, 256), (256, 20), (256, 20), (20, 256), (256, 784)]
    weights = {f"w{i}": random.normal(size=s) / np.sqrt(s[0]) for i, s in enumerate(shapes)}
    return Data(weights, {"x": random.uniform(size=(128, 784)),
                          "noise": random.normal(size=(128, 20))})  # fmt: skip


def contrast(ops: Any, v: Values) -> Any:
    """InfoNCE of two views: each row's partner against all others."""
    first, second = (h / ops.sqrt(ops.sum(h * h, axis=-1, keepdims=True)) for h in
                (v["x"] @ v["w"], v["y"] @ v["w"]))  # fmt: skip
    return ops.cross_entropy(10.0 * (first @ second.T), v["labels"])


def views(random: np.random.Generator) -> Data:
    """Two views of 512 samples."""
    feeds = {"x": random.normal(size=(512, 128)), "y": random.normal(size=(512, 128))}
    return Data({"w": random.normal(size=(128, 64)) / 11}, {**feeds, "labels": np.arange(512)})


def block(ops: Any, v: Values) -> Any:
    """A transformer's block of four heads: attention and a network, each after a norm."""
    n, time, width = v["x"].shape
    size = width // 4

    def heads(h: Any) -> Any:
        return ops.transpose(ops.reshape(h, (n, time, 4, size)), (0, 2, 1, 3))

    h = ops.layer_norm(v["x"], v["gain"], v["bias"])
    q, k, value = (heads(ops.matmul(h, v[name])) for name in ("wq", "wk", "wv"))
    mixed = ops.transpose(ops.causal_attention(q, k, value, time, size), (0, 2, 1, 3))
    x = v["x"] + ops.matmul(ops.reshape(mixed, (n, time, width)), v["wo"])
    h = ops.layer_norm(x, v["gain"], v["bias"])
    x = x + ops.matmul(ops.gelu(ops.matmul(h, v["w"])), v["u"])
    return ops.mean(x * v["g"])


_QUERIES = normal(dict.fromkeys("qkv", (4, 8, 256, 32)), {"g": (4, 8, 256, 32)})
_RNN = {"w": (32, 64), "u": (64, 64), "b": (64,)}
_FFN = {"x": (512, 128), "w": (128, 512), "b": (512,), "u": (512, 128), "c": (128,)}
_BLOCK = {**dict.fromkeys(("wq", "wk", "wv", "wo"), (128, 128)), "w": (128, 512),
          "u": (512, 128), "gain": (128,), "bias": (128,)}  # fmt: skip
_UNET = {"w": (16, 16, 3, 3), "bw": (16,), "u": (32, 16, 3, 3), "bu": (32,),
         "t": (16, 48, 3, 3), "bt": (16,)}  # fmt: skip
WORKLOADS = (
    program("mlp", "784, 256, 128, 10, batch 128", mlp, layers((784, 256, 128, 10), 128)),
    program("mlp_update", "the same, and a step of SGD", mlp, layers((784, 256, 128, 10), 128),
            kind="sgd"),
    program("deep_narrow", "40 layers of 32, batch 64", mlp, layers((32,) * 40 + (10,), 64)),
    program("ffn_block", "gelu between 128 and 512, 512 rows", ffn, normal(_FFN, scale=0.1)),
    program("attention", "4 x 8 heads, 256 x 32", attention, _QUERIES),
    program("attention_causal", "4 x 8 heads, 256 x 32", causal, _QUERIES),
    program("transformer_block", "8 x 64 tokens of 128", block,
            normal(_BLOCK, {"x": (8, 64, 128), "g": (8, 64, 128)}, 0.1)),
    program("layer_norm", "4,096 rows of 256", layer_norm,
            normal({"x": (4096, 256), "gain": (256,), "bias": (256,)}, {"g": (4096, 256)})),
    program("rms_norm", "1,024 rows of 256, a layer, silu", rms_norm,
            normal({"x": (1024, 256), "gain": (256,), "w": (256, 256)}, {"g": (1024, 256)}, 0.2)),
    program("batch_norm", "16 x 32 channels at 32 x 32, relu", batch_norm,
            normal({"x": (16, 32, 32, 32), "gain": (32,), "bias": (32,)}, {"g": (16, 32, 32, 32)})),
    program("embedding", "256 x 32 rows of 20,000 x 64", embedding, sentences),
    program("cross_entropy", "256 tokens, 8,000 words", vocabulary, classes),
    program("lstm", "50 steps of 32 x 128", lstm, cell(4)),
    program("gru", "50 steps of 32 x 128", gru, cell(3)),
    program("rnn", "200 steps of 16 x 64, all states", rnn,
            normal(_RNN, {"x": (200, 16, 32), "h": (16, 64)}, 0.1)),
    program("graph_network", "5,000 nodes, 40,000 edges, width 32", graph_network, edges),
    program("experts", "8 networks, 512 samples of 64", experts,
            normal({"g": (64, 8), "w": (8, 64, 128), "u": (8, 128, 64)}, {"x": (512, 64)}, 0.1)),
    program("unet_block", "8 images of 16 channels at 32 x 32", unet,
            normal(_UNET, {"x": (8, 16, 32, 32)}, 0.1)),
    program("vae", "784, 256, 20, batch 128", vae, draw_autoencoder),
    program("contrast", "512 pairs of 128", contrast, views),
)  # fmt: skip

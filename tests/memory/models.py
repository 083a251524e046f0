"""Fourteen small models of many kinds, for what must hold of the memory of every training step.

Each gives a loss, its parameters, further outputs, and feeds for a batch of 40; sizes are small, so
that hundreds of steps run in seconds, and the arena of each is much larger than its largest value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import staticgrad as sg

BATCH = 40


@dataclass
class Model:
    """A loss that may be trained, and the feeds of one run."""

    loss: Any
    params: list[Any]
    feeds: dict[str, np.ndarray]
    outputs: dict[str, Any] = field(default_factory=dict)


class _Maker:
    """Makes parameters and inputs, with numbers that are the same in every run."""

    def __init__(self, seed):
        self.numbers = np.random.default_rng(seed)
        self.params = []
        self.feeds = {}

    def weight(self, *shape):
        start = self.numbers.standard_normal(shape) / np.sqrt(shape[0])
        self.params.append(sg.parameter(f"w{len(self.params)}", start.astype("float32")))
        return self.params[-1]

    def constant(self, value, *shape):
        self.params.append(sg.parameter(f"b{len(self.params)}", np.full(shape, value, "float32")))
        return self.params[-1]

    def x(self, *shape, name="x"):
        self.feeds[name] = self.numbers.standard_normal((BATCH, *shape)).astype("float32")
        return sg.input(name, ("batch", *shape), "float32")

    def labels(self, classes, *shape, name="labels"):
        self.feeds[name] = self.numbers.integers(0, classes, (BATCH, *shape))
        return sg.input(name, ("batch", *shape), "int64")

    def done(self, loss, **outputs):
        return Model(loss, self.params, self.feeds, outputs)


def mlp():
    """ReLU layers and cross entropy."""
    m = _Maker(1)
    h = m.x(10)
    for width in (16, 16, 16, 16):
        h = sg.nn.relu(h @ m.weight(h.shape[1], width) + m.constant(0.0, width))
    return m.done(sg.nn.cross_entropy(h @ m.weight(16, 5), m.labels(5)))


def chain():
    """Twelve tanh layers."""
    m = _Maker(2)
    h = m.x(16)
    for _ in range(12):
        h = sg.tanh(h @ m.weight(16, 16))
    return m.done((h * h).mean())


def widths():
    """A chain of layers of very different widths."""
    m = _Maker(3)
    h = m.x(8)
    for width in (48, 8, 32, 4, 64, 16, 8):
        h = sg.nn.silu(h @ m.weight(h.shape[1], width))
    return m.done(sg.square(h).mean())


def norm_blocks():
    """Residual blocks with layer norm."""
    m = _Maker(4)
    h = m.x(16)
    for _ in range(4):
        normed = sg.nn.layer_norm(h, m.constant(1.0, 16), m.constant(0.0, 16))
        h = h + sg.nn.gelu(normed @ m.weight(16, 32)) @ m.weight(32, 16)
    return m.done(sg.square(h).mean())


def u_shaped():
    """Down and up again, with skips between equal widths."""
    m = _Maker(5)
    h, skips = m.x(32), []
    for width in (16, 8, 4):
        skips.append(h)
        h = sg.tanh(h @ m.weight(h.shape[1], width))
    for skip in reversed(skips):
        width = skip.shape[1]
        h = sg.concat([h @ m.weight(h.shape[1], width), skip], 1)
        h = sg.tanh(h @ m.weight(2 * width, width))
    return m.done(sg.nn.mse(h, m.x(32, name="target")))


def second_order():
    """A penalty on the slope of the loss by its input."""
    m = _Maker(6)
    x = h = m.x(12)
    for _ in range(4):
        h = sg.tanh(h @ m.weight(12, 12))
    loss = sg.square(h).mean()
    return m.done(loss + sg.square(sg.grad(loss, x)).sum())


def hessian_vector():
    """A product with the Hessian by one of the weights, as an output beside the step."""
    m = _Maker(7)
    h = m.x(12)
    for _ in range(4):
        h = sg.tanh(h @ m.weight(12, 12))
    loss = sg.square(h).mean()
    direction = sg.constant(np.linspace(-1, 1, 144, dtype="float32").reshape(12, 12))
    return m.done(loss, product=sg.hvp(loss, m.params[0], direction))


def transformer():
    """Blocks of attention and a feed-forward layer."""
    m = _Maker(8)
    h = m.x(5, 8)
    for _ in range(2):
        normed = sg.nn.layer_norm(h, m.constant(1.0, 8), m.constant(0.0, 8))
        query, key, value = (normed @ m.weight(8, 8) for _ in range(3))
        h = h + sg.nn.attention(query, key, value, causal=True) @ m.weight(8, 8)
        h = h + sg.nn.gelu(h @ m.weight(8, 16)) @ m.weight(16, 8)
    return m.done(sg.square(h).mean())


def gpt():
    """Tokens through an embedding and a causal block to the next tokens."""
    m = _Maker(9)
    table = m.weight(11, 8)
    h = sg.take(table, m.labels(11, 6, name="tokens"), axis=0) + m.weight(6, 8)
    query, key, value = (h @ m.weight(8, 8) for _ in range(3))
    h = h + sg.nn.attention(query, key, value, causal=True)
    h = h + sg.nn.gelu(h @ m.weight(8, 24)) @ m.weight(24, 8)
    logits = (h @ table.T).reshape((6 * h.shape[0], 11))
    return m.done(sg.nn.cross_entropy(logits, sg.ravel(m.labels(11, 6, name="next"))))


def recurrent():
    """One matrix through eight points in time."""
    m = _Maker(10)
    x, w, u = m.x(8, 6), m.weight(16, 16), m.weight(6, 16)
    h = sg.tanh(x[:, 0] @ u)
    for t in range(1, 8):
        h = sg.tanh(h @ w + x[:, t] @ u)
    return m.done(sg.square(h).mean())


def lstm():
    """Gates through five points in time."""
    m = _Maker(11)
    x, w, u, b = m.x(5, 6), m.weight(8, 32), m.weight(6, 32), m.constant(0.1, 32)
    h = c = x[:, 0, :1] * sg.constant(np.zeros(8, "float32"))
    for t in range(5):
        gates = h @ w + x[:, t] @ u + b
        keep, new, out, what = (gates[:, 8 * k : 8 * k + 8] for k in range(4))
        c = sg.sigmoid(keep) * c + sg.sigmoid(new) * sg.tanh(what)
        h = sg.sigmoid(out) * sg.tanh(c)
    return m.done(sg.square(h - 0.5).mean())


def big_logits():
    """A classifier whose logits are larger than all else."""
    m = _Maker(12)
    h = sg.tanh(m.x(6) @ m.weight(6, 8))
    return m.done(sg.nn.cross_entropy(h @ m.weight(8, 200) + m.constant(0.0, 200), m.labels(200)))


def parts():
    """The largest elements, values put together from regions, and sums into places."""
    m = _Maker(13)
    h = m.x(16)
    rows = sg.constant(np.arange(16)[::-1].copy())
    for _ in range(4):
        padded = sg.pad(h * h, ((0, 0), (1, 1)))[:, 1:17]
        transposed = sg.scatter_add(padded, rows, axis=1, size=16)
        h = sg.sin(sg.concat([transposed[:, :8], padded[:, 8:]], 1) @ m.weight(16, 16))
    best, _ = sg.topk(h, 3, 1)
    return m.done(sg.square(h).mean() + best.sum())


def dropped_out():
    """Dropout in every layer, by the counter of a generator."""
    m = _Maker(14)
    draws, h = sg.random.Generator(3), m.x(16)
    for _ in range(6):
        h = draws.dropout(sg.nn.relu(h @ m.weight(16, 16)), 0.25)
    return m.done(sg.square(h).mean())


MODELS = {
    f.__name__: f
    for f in (
        mlp, chain, widths, norm_blocks, u_shaped, second_order, hessian_vector, transformer, gpt,
        recurrent, lstm, big_logits, parts, dropped_out,
    )
}  # fmt: skip

"""The models that come with the package: written once, over any kind of value.

All data comes with Python or is drawn from a seed; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np

import staticgrad as sg
from staticgrad.building import count_as_user
from staticgrad.comparison.model import Array, Model, Values
from staticgrad.optional import sklearn

count_as_user(__file__)


def linear(depth: None = None) -> Model:
    """Linear regression from 64 numbers to one."""
    random = np.random.default_rng(0)
    truth = random.normal(size=(64, 1)).astype("float32")

    def batch(size: int, draw: np.random.Generator) -> Mapping[str, Array]:
        x = draw.normal(size=(size, 64)).astype("float32")
        noise = draw.normal(0.0, 0.1, (size, 1)).astype("float32")
        return {"x": x, "y": x @ truth + noise}

    def loss(p: Values, b: Values) -> Any:
        return sg.nn.mse(b["x"] @ p["w"] + p["b"], b["y"])

    start = {"w": np.zeros((64, 1), "float32"), "b": np.zeros(1, "float32")}
    return Model("linear layer", start, loss, batch, note="drawn from a seed")


def mlp(depth: int = 3) -> Model:
    """A perceptron with ReLU that reads scikit-learn's digits."""

    def batch(size: int, draw: np.random.Generator) -> Mapping[str, Array]:
        images, classes = _digits()
        chosen = draw.integers(0, len(images), size)
        return {"images": images[chosen], "classes": classes[chosen]}

    widths = (64, *(256, 128, *(128,) * max(depth - 3, 0))[: depth - 1], 10)
    loss = _perceptron(depth, "images", sg.nn.relu)
    return Model(
        f"digits MLP, {depth} layers", _layers(widths), loss, batch, depth=depth,
        note="1,797 images of 8x8 pixels that come with scikit-learn",
    )  # fmt: skip


def deep(depth: int = 20) -> Model:
    """A deep, narrow perceptron with tanh: where the memory of the backward pass counts."""

    def batch(size: int, draw: np.random.Generator) -> Mapping[str, Array]:
        x = draw.normal(size=(size, 64)).astype("float32")
        return {"x": x, "classes": (np.abs(x[:, :10]).argmax(1)).astype("int64")}

    return Model(
        f"deep MLP, {depth} layers", _layers((64, *(128,) * (depth - 1), 10)),
        _perceptron(depth, "x", sg.tanh), batch, batch_size=256, depth=depth,
        note="drawn from a seed",
    )  # fmt: skip


def _perceptron(depth: int, name: str, activation: Callable[[Any], Any]) -> Callable[..., Any]:
    def loss(p: Values, b: Values) -> Any:
        hidden = b[name]
        for layer in range(1, depth + 1):
            hidden = hidden @ p[f"w{layer}"] + p[f"b{layer}"]
            hidden = activation(hidden) if layer < depth else hidden
        return sg.nn.cross_entropy(hidden, b["classes"])

    return loss


#: Of the character model: what one position is, how far it looks back, and how many look at once.
WIDTH: Final = 64
CONTEXT: Final = 32
HEADS: Final = 4


def chars(depth: int = 2) -> Model:
    """A small transformer that continues Python's own documentation, character by character.

    Pre-norm decoder blocks, Radford et al., "Language models are unsupervised multitask learners"
    (2019), at a size that a laptop trains in a minute.
    """
    text, vocabulary = _documentation()
    start = _transformer(len(vocabulary), depth)

    def batch(size: int, draw: np.random.Generator) -> Mapping[str, Array]:
        begins = draw.integers(0, len(text) - CONTEXT - 1, size)
        windows = text[begins[:, None] + np.arange(CONTEXT + 1)]
        return {"before": windows[:, :-1].copy(), "after": windows[:, 1:].copy()}

    def loss(p: Values, b: Values) -> Any:
        hidden = sg.nn.embedding(b["before"], p["tokens"]) + p["places"]
        for layer in range(depth):
            hidden = _block(hidden, p, f"{layer}.")
        logits = sg.nn.layer_norm(hidden, p["gain"], p["bias"]) @ p["out"]
        flat = sg.reshape(logits, (-1, len(vocabulary)))
        return sg.nn.cross_entropy(flat, sg.reshape(b["after"], (-1,)))

    return Model(
        f"character transformer, {depth} blocks", start, loss, batch, batch_size=16,
        depth=depth, note=f"{len(text):,} characters of pydoc_data.topics, {len(vocabulary)} kinds",
    )  # fmt: skip


def _block(x: Any, p: Values, at: str) -> Any:
    """Attention, then a two-layer perceptron, each around a residual connection."""
    normal = sg.nn.layer_norm(x, p[at + "gain1"], p[at + "bias1"])
    query, key, value = (_heads(normal @ p[at + name]) for name in ("query", "key", "value"))
    mixed = sg.nn.attention(query, key, value, causal=True)
    joined = sg.reshape(sg.moveaxis(mixed, 1, 2), (-1, CONTEXT, WIDTH))
    x = x + joined @ p[at + "mix"]
    normal = sg.nn.layer_norm(x, p[at + "gain2"], p[at + "bias2"])
    return x + sg.nn.gelu(normal @ p[at + "up"] + p[at + "up_bias"]) @ p[at + "down"]


def _heads(x: Any) -> Any:
    """[batch, context, width] as [batch, heads, context, width of a head]."""
    return sg.moveaxis(sg.reshape(x, (-1, CONTEXT, HEADS, WIDTH // HEADS)), 2, 1)


def _transformer(vocabulary: int, depth: int) -> dict[str, Array]:
    random = np.random.default_rng(0)

    def drawn(*shape: int) -> Array:
        return random.normal(0.0, shape[0] ** -0.5, shape).astype("float32")

    start = {"tokens": drawn(vocabulary, WIDTH), "places": drawn(CONTEXT, WIDTH)}
    ones, zeros = np.ones(WIDTH, "float32"), np.zeros(WIDTH, "float32")
    for layer in range(depth):
        at = f"{layer}."
        for name in ("query", "key", "value", "mix"):
            start[at + name] = drawn(WIDTH, WIDTH)
        start |= {at + "up": drawn(WIDTH, 4 * WIDTH), at + "down": drawn(4 * WIDTH, WIDTH)}
        start[at + "up_bias"] = np.zeros(4 * WIDTH, "float32")
        for number in ("1", "2"):
            start |= {at + "gain" + number: ones.copy(), at + "bias" + number: zeros.copy()}
    return start | {"gain": ones, "bias": zeros, "out": drawn(WIDTH, vocabulary)}


def _layers(widths: tuple[int, ...]) -> dict[str, Array]:
    """Weights drawn as by He et al. (ICCV 2015), biases 0."""
    random = np.random.default_rng(0)
    start: dict[str, Array] = {}
    for layer, (width, after) in enumerate(pairwise(widths), 1):
        drawn = random.normal(0.0, np.sqrt(2.0 / width), (width, after))
        start[f"w{layer}"] = drawn.astype("float32")
        start[f"b{layer}"] = np.zeros(after, "float32")
    return start


@cache
def _digits() -> tuple[Array, Array]:
    images, classes = sklearn("datasets").load_digits(return_X_y=True)
    return (images / 16.0).astype("float32"), classes.astype("int64")


@cache
def _documentation() -> tuple[Array, str]:
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    vocabulary = "".join(sorted(set(text)))
    number = {character: k for k, character in enumerate(vocabulary)}
    return np.array([number[c] for c in text], "int64"), vocabulary


MODELS: Final[Mapping[str, Callable[..., Model]]] = {
    made.__name__: made for made in (linear, mlp, deep, chars)
}

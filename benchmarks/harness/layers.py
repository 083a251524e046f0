"""Layers over the operations of any library, whose parameters are found by building the model once.

A model is a function of ``Layers`` and its feeds. ``declare`` calls it on symbolic values, which
have shapes and no elements, and collects the shape and first values of each parameter that it asks
for; in a run the parameters come from the arrays that were drawn so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any

import numpy as np

from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Declared:
    """A parameter: normal numbers of this mean and standard deviation."""

    shape: tuple[int, ...]
    deviation: float
    mean: float

    def draw(self, random: np.random.Generator) -> Any:
        """Return its first values."""
        return self.mean + self.deviation * random.normal(size=self.shape)


class Layers:
    """Layers of a model; each is called with the name of its parameters.

    Biases and gains are off 0 and 1 by a tenth: at exact ones some gradients are those of rounding.
    """

    def __init__(self, ops: Any, values: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
        self.ops, self.values, self.sizes = ops, values, sizes
        self.declared: dict[str, Declared] | None = None

    def parameter(
        self, name: str, shape: tuple[int, ...], deviation: float = 0.1, mean: float = 0.0
    ) -> Any:
        """Return a parameter by name."""
        if self.declared is None or name in self.declared:
            return self.values[name]
        self.declared[name] = Declared(shape, deviation, mean)
        return self.create(name, shape)

    def create(self, name: str, shape: tuple[int, ...]) -> Any:
        """Return a symbolic parameter, the same for each call."""
        import staticgrad as sg

        self.values = {**self.values, name: sg.input(name, shape, "float32")}
        return self.values[name]

    def conv(self, name: str, x: Any, outputs: int, taps: int = 3, stride: int = 1, *,
             padding: int | None = None, groups: int = 1, bias: bool = False) -> Any:  # fmt: skip
        """Convolve [n, c, image...] with as many taps along each axis; the padding keeps sizes."""
        channels, *image = x.shape[1:]
        shape = outputs, channels // groups, *(taps for _ in image)
        w = self.parameter(f"{name}.w", shape, sqrt(2 / prod(shape[1:])))
        b = self.parameter(f"{name}.b", (outputs,)) if bias else None
        sizes = {"image": image, "taps": shape[2:], "channels": (channels, outputs)}
        return self.ops.conv(x, w, sizes, groups, stride, padding=padding, bias=b)

    def batch_norm(self, name: str, x: Any) -> Any:
        """Normalize channels of [n, c, image...] by their statistics in the batch."""
        gain, bias = self.gain_and_bias(name, x.shape[1])
        return self.ops.batch_norm(x, gain, bias, prod(x.shape) // x.shape[1])

    def layer_norm(self, name: str, x: Any, eps: float = 1e-5) -> Any:
        """Normalize the last axis."""
        gain, bias = self.gain_and_bias(name, x.shape[-1])
        return self.ops.layer_norm(x, gain, bias, eps)

    def rms_norm(self, name: str, x: Any, eps: float = 1e-5) -> Any:
        """Divide by the root of the mean square of the last axis."""
        gain = self.parameter(f"{name}.gain", (x.shape[-1],), mean=1.0)
        return self.ops.rms_norm(x, gain, eps)

    def gain_and_bias(self, name: str, channels: int) -> tuple[Any, Any]:
        """Return the parameters of a norm."""
        gain = self.parameter(f"{name}.gain", (channels,), mean=1.0)
        return gain, self.parameter(f"{name}.bias", (channels,))

    def dense(self, name: str, x: Any, outputs: int, bias: bool = True, gain: float = 1.0) -> Any:
        """Multiply the last axis by a matrix."""
        inputs = x.shape[-1]
        w = self.parameter(f"{name}.w", (inputs, outputs), sqrt(gain / inputs))
        return self.ops.linear(x, w, self.parameter(f"{name}.b", (outputs,))) if bias else x @ w

    def table(self, name: str, rows: int, width: int, deviation: float = 0.02) -> Any:
        """Return a table of embeddings."""
        return self.parameter(name, (rows, width), deviation)

    def split_heads(self, x: Any, heads: int) -> Any:
        """[n, time, heads * size] as [n, heads, time, size]."""
        n, time, width = x.shape
        cut = self.ops.reshape(x, (n, time, heads, width // heads))
        return self.ops.transpose(cut, (0, 2, 1, 3))

    def join_heads(self, x: Any) -> Any:
        """[n, heads, time, size] as [n, time, heads * size]."""
        n, heads, time, size = x.shape
        return self.ops.reshape(self.ops.transpose(x, (0, 2, 1, 3)), (n, time, heads * size))

    def attend(self, name: str, x: Any, heads: int, *, past: Any = None, bias: Any = None,
               causal: bool = False, biased: bool = True) -> Any:  # fmt: skip
        """Attention of ``x`` to ``past`` or itself; ``bias`` is added to the scores."""
        source, width = x if past is None else past, x.shape[-1]
        q = self.split_heads(self.dense(f"{name}.q", x, width, biased), heads)
        k = self.split_heads(self.dense(f"{name}.k", source, width, biased), heads)
        v = self.split_heads(self.dense(f"{name}.v", source, width, biased), heads)
        mixed = self.mix(q, k, v, bias, causal)
        return self.dense(f"{name}.o", self.join_heads(mixed), width, biased)

    def mix(self, q: Any, k: Any, v: Any, bias: Any = None, causal: bool = False) -> Any:
        """Attention of [n, heads, time, size]."""
        time, size = q.shape[2:]
        if bias is not None:
            return self.ops.biased_attention(q, k, v, bias, size**-0.5)
        if causal:
            return self.ops.causal_attention(q, k, v, time, size)
        return self.ops.attention(q, k, v, size)

    def mlp(self, name: str, x: Any, hidden: int, act: Callable[[Any], Any]) -> Any:
        """Two dense layers."""
        return self.dense(f"{name}.2", act(self.dense(f"{name}.1", x, hidden)), x.shape[-1])

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean over all positions; logits [..., classes], labels [...]."""
        if len(logits.shape) > 2:
            logits = self.ops.reshape(logits, (-1, logits.shape[-1]))
            labels = self.ops.reshape(labels, (-1,))
        return self.ops.cross_entropy(logits, labels)


Model = Callable[[Layers, Mapping[str, Any]], Any]


def declare(
    model: Model, feeds: Mapping[str, Any], sizes: Mapping[str, Any]
) -> dict[str, Declared]:
    """Return the parameters that a model asks for."""
    import staticgrad as sg
    from benchmarks.implementations.with_staticgrad import Staticgrad

    values = {
        name: sg.input(name, a.shape, "float32" if a.dtype.kind == "f" else a.dtype.name)
        for name, a in feeds.items()
    }
    layers = Layers(Staticgrad(), values, sizes)
    layers.declared = {}
    model(layers, values)
    return layers.declared

"""The vocabulary that workloads are written in, over any namespace that spells like NumPy.

Each implementation subclasses ``Operations``: plain names (``exp``, ``sum``, ``concatenate``) come
from its namespace, and composites here are replaced by whatever its own documentation recommends
(a fused cross entropy, a scan, a convolution). Nothing here knows which library runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import prod, sqrt
from typing import Any, Final

import numpy as np

#: Gates of a recurrent cell, side by side in its weights.
GATES: Final = {"lstm": 4, "gru": 3}


def borders_of(
    taps: Sequence[int], dilation: int, padding: int | None
) -> tuple[tuple[int, int], ...]:
    """Return the zeros on both sides of each axis of an image; None keeps sizes of odd taps."""
    widths = (dilation * (k // 2) if padding is None else padding for k in taps)
    return tuple((width, width) for width in widths)


class NotYetError(Exception):
    """The implementation has no such operation; the row says so and shows no time."""


class Operations:
    """NumPy's names from ``namespace``, and composites in terms of them."""

    def __init__(self, namespace: Any) -> None:
        self.namespace = namespace

    def __getattr__(self, name: str) -> Any:
        return getattr(self.namespace, name)

    def replace(self, source: Any, *names: str) -> None:
        """Take composites from ``source``, which spells them alike."""
        for name in names:
            setattr(self, name, getattr(source, name))

    # -- data -------------------------------------------------------------------------------------

    def constant(self, array: Any) -> Any:
        """An array of the program, as the library wants it."""
        return array

    def take(self, x: Any, indices: Any, axis: int) -> Any:
        """Rows of ``x`` along ``axis`` by an integer array."""
        return x[(slice(None),) * axis + (self.constant(indices),)]

    def embedding(self, ids: Any, table: Any) -> Any:
        """Rows of a table [n, d] by ids [...]."""
        return table[ids]

    def segment_sum(self, x: Any, ids: Any, count: int) -> Any:
        """Sums [count, ...] of the rows of ``x`` with the same id."""
        out = np.zeros((count, *x.shape[1:]), x.dtype)
        np.add.at(out, ids, x)
        return out

    def top_k(self, x: Any, count: int) -> Any:
        """The ``count`` largest elements of each row, in descending order."""
        return -self.sort(-x, -1)[..., :count]

    def pick(self, x: Any, labels: Any) -> Any:
        """x[i, labels[i]] of a matrix."""
        return x[np.arange(x.shape[0]), labels]

    # -- composites -------------------------------------------------------------------------------

    def linear(self, x: Any, w: Any, b: Any) -> Any:
        """A dense layer: x @ w + b."""
        return x @ w + b

    def relu(self, x: Any) -> Any:
        """max(x, 0), with derivative 0 at 0."""
        return self.maximum(x, 0.0)

    def relu6(self, x: Any) -> Any:
        """min(max(x, 0), 6)."""
        return self.clip(x, 0.0, 6.0)

    def silu(self, x: Any) -> Any:
        """x / (1 + exp(-x))."""
        return x * self.sigmoid(x)

    def sigmoid(self, x: Any) -> Any:
        """1 / (1 + exp(-x))."""
        return 0.5 * self.tanh(0.5 * x) + 0.5

    def softplus(self, x: Any) -> Any:
        """log(1 + exp(x)), without overflow."""
        return self.logaddexp(x, 0.0)

    def gelu(self, x: Any) -> Any:
        """x * Phi(x), by erf."""
        return 0.5 * x * (1.0 + self.erf(x * (1.0 / sqrt(2.0))))

    def logsumexp(self, x: Any, axis: int) -> Any:
        """log(sum(exp(x))) along one axis, without overflow."""
        top = self.max(x, axis=axis, keepdims=True)
        total = self.log(self.sum(self.exp(x - top), axis=axis, keepdims=True)) + top
        return self.sum(total, axis=axis)

    def softmax(self, x: Any) -> Any:
        """exp(x) over its sum, along the last axis."""
        raised = self.exp(x - self.max(x, axis=-1, keepdims=True))
        return raised / self.sum(raised, axis=-1, keepdims=True)

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """The mean of -log softmax at the label: logits [n, classes], labels [n]."""
        return self.mean(self.logsumexp(logits, axis=-1) - self.pick(logits, labels))

    def layer_norm(self, x: Any, gain: Any, bias: Any, eps: float = 1e-5) -> Any:
        """Over the last axis; the variance is the mean square."""
        away = x - self.mean(x, axis=-1, keepdims=True)
        variance = self.mean(away * away, axis=-1, keepdims=True)
        return away / self.sqrt(variance + eps) * gain + bias

    def rms_norm(self, x: Any, gain: Any, eps: float) -> Any:
        """x over the root of its mean square along the last axis."""
        return x / self.sqrt(self.mean(x * x, axis=-1, keepdims=True) + eps) * gain

    def biased_attention(self, q: Any, k: Any, v: Any, bias: Any, scale: float) -> Any:
        """softmax(q @ k^T * scale + bias) @ v for [batch, heads, time, size]."""
        scores = self.matmul(q, self.transpose(k, (0, 1, 3, 2))) * scale
        return self.matmul(self.softmax(scores + bias), v)

    def attention(self, q: Any, k: Any, v: Any, size: int) -> Any:
        """softmax(q @ k^T / sqrt(size)) @ v for [batch, heads, time, size]."""
        scores = self.matmul(q, self.transpose(k, (0, 1, 3, 2))) * (1.0 / sqrt(size))
        return self.matmul(self.softmax(scores), v)

    def causal_attention(self, q: Any, k: Any, v: Any, time: int, size: int) -> Any:
        """softmax(q @ k^T / sqrt(size) + mask) @ v for [batch, heads, time, size]."""
        hidden = np.triu(np.full((time, time), -1e30, "float32"), 1)
        scale = 1.0 / sqrt(size)
        scores = self.matmul(q, self.transpose(k, (0, 1, 3, 2))) * scale
        return self.matmul(self.softmax(scores + self.constant(hidden)), v)

    def conv2d(self, x: Any, w: Any, b: Any, channels: tuple[int, int], side: int) -> Any:
        """3x3, padding 1: [n, c, side, side] and [o, c, 3, 3] -> [n, o, side, side].

        ``channels`` is (c, o). Here as one matrix product over nine shifted copies of the image.
        """
        inputs, outputs = channels
        n = x.shape[0]
        padded = self.frame_image(x)
        shifted = [padded[:, :, i : i + side, j : j + side] for i in range(3) for j in range(3)]
        columns = self.reshape(self.stack(shifted, axis=2), (n, inputs * 9, side * side))
        product = self.matmul(self.reshape(w, (outputs, inputs * 9)), columns)
        out = self.reshape(product, (n, outputs, side, side))
        return out + self.reshape(b, (outputs, 1, 1))

    def frame_image(self, x: Any) -> Any:
        """[n, c, h, w] with one row or column of zeros on each side of the image."""
        return self.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="constant")

    def max_pool(self, x: Any, channels: int, side: int) -> Any:
        """2x2 with stride 2: [n, c, side, side] -> [n, c, side / 2, side / 2]."""
        half = side // 2
        blocks = self.reshape(x, (x.shape[0], channels, half, 2, half, 2))
        return self.max(self.max(blocks, axis=5), axis=3)

    def conv(self, x: Any, w: Any, sizes: Mapping[str, Sequence[int]], groups: int = 1,
             stride: int = 1, dilation: int = 1, padding: int | None = None,
             bias: Any = None) -> Any:  # fmt: skip
        """A convolution of [n, c, ...] with [o, c / groups, ...].

        By default it keeps the image's size if the taps are odd, but for the stride. ``sizes`` has
        the image, the taps and the channels (c, o). Here as one product for each tap.
        """
        image, taps, (inputs, outputs) = sizes["image"], sizes["taps"], sizes["channels"]
        border = [borders[0] for borders in borders_of(taps, dilation, padding)]
        padded = self.pad_border(x, ((0, 0), (0, 0), *((n, n) for n in border)))
        total = None
        smaller = [
            (n + 2 * edge - dilation * (k - 1) - 1) // stride + 1
            for n, edge, k in zip(image, border, taps, strict=True)
        ]
        for tap in product(*map(range, taps)):
            cut = tuple(
                slice(dilation * k, dilation * k + (n - 1) * stride + 1, stride)
                for k, n in zip(tap, smaller, strict=True)
            )
            seen = padded[(slice(None), slice(None), *cut)]
            weight = w[(slice(None), slice(None), *tap)]
            if groups == inputs == outputs:
                term = seen * self.reshape(weight, (outputs, *(1 for _ in image)))
            elif groups == 1:
                flat = self.reshape(seen, (x.shape[0], inputs, prod(smaller)))
                term = self.reshape(self.matmul(weight, flat), (x.shape[0], outputs, *smaller))
            else:
                flat = self.reshape(seen, (x.shape[0], groups, inputs // groups, prod(smaller)))
                apart = self.reshape(weight, (groups, outputs // groups, inputs // groups))
                term = self.reshape(self.matmul(apart, flat), (x.shape[0], outputs, *smaller))
            total = term if total is None else total + term
        return total if bias is None else total + self.reshape(bias, (-1, *(1 for _ in image)))

    def max_pool_of(self, x: Any, taps: int, stride: int, padding: int) -> Any:
        """The largest of each window of ``taps`` by ``taps`` of [n, c, h, w]."""
        pad, border = self.namespace.pad, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2)
        padded, best = pad(x, border, mode="constant", constant_values=-np.inf), None
        height, width = ((n + 2 * padding - taps) // stride + 1 for n in x.shape[2:])
        for i, j in product(range(taps), range(taps)):
            rows = slice(i, i + (height - 1) * stride + 1, stride)
            seen = padded[:, :, rows, j : j + (width - 1) * stride + 1 : stride]
            best = seen if best is None else self.maximum(best, seen)
        return best

    def mean_pool(self, x: Any) -> Any:
        """The mean of each 2 x 2 window of [n, c, h, w], which do not overlap."""
        n, channels, height, width = x.shape
        cut = self.reshape(x, (n, channels, height // 2, 2, width // 2, 2))
        return self.mean(self.mean(cut, axis=5), axis=3)

    def double_image(self, x: Any, channels: int, side: int) -> Any:
        """Each pixel of [n, c, side, side] four times: an image of twice the side."""
        twice = self.stack([x, x], axis=3)
        twice = self.reshape(twice, (-1, channels, 2 * side, side))
        twice = self.stack([twice, twice], axis=4)
        return self.reshape(twice, (-1, channels, 2 * side, 2 * side))

    def pad_border(self, x: Any, width: Any) -> Any:
        """x with zeros around it."""
        return self.pad(x, width, mode="constant")

    def batch_norm(self, x: Any, gain: Any, bias: Any, count: int) -> Any:
        """(x - mean) / sqrt(variance + 1e-5) of each channel of [n, c, ...], times gain plus bias.

        ``count`` elements of each are there.
        """
        image = len(x.shape) - 2
        axes = 0, *range(2, 2 + image)
        centred = x - self.sum(x, axis=axes, keepdims=True) / count
        variance = self.sum(centred * centred, axis=axes, keepdims=True) / count
        scaled, shape = centred / self.sqrt(variance + 1e-5), (-1, *(1 for _ in range(image)))
        return scaled * self.reshape(gain, shape) + self.reshape(bias, shape)

    # -- matrices ---------------------------------------------------------------------------------

    def identity(self, size: int) -> Any:
        """The identity matrix, of float64."""
        return self.constant(np.eye(size))

    def cholesky(self, x: Any) -> Any:
        """The lower triangular factor of a matrix."""
        return self.namespace.linalg.cholesky(x)

    def solve_lower(self, factor: Any, y: Any) -> Any:
        """The solution for a lower triangular matrix and a vector."""
        return self.namespace.linalg.solve(factor, y)

    # -- loops ------------------------------------------------------------------------------------

    def repeat(self, body: Callable[[Any, Sequence[Any]], Any], start: Any, times: int,
               constants: Sequence[Any]) -> Any:  # fmt: skip
        """start, then ``times`` times body(value, constants); the last value. Unrolled here."""
        value = start
        for _ in range(times):
            value = body(value, constants)
        return value

    def loop(self, body: Callable[[Any, Sequence[Any]], Any], start: Any, times: int,
             constants: Sequence[Any]) -> Any:  # fmt: skip
        """Like ``repeat``, for more iterations than anyone would write out who has a loop."""
        return self.repeat(body, start, times, constants)

    def scan(self, body: Callable[[Any, Any], Any], start: Any, x: Any) -> Any:
        """The last state and the stacked results of ``body(state, element)`` along axis 0.

        ``x`` is an array or a tuple of arrays of one length. Unrolled here.
        """
        arrays, state, results = x if isinstance(x, tuple) else (x,), start, []
        for t in range(arrays[0].shape[0]):
            state, result = body(state, tuple(a[t] for a in x) if isinstance(x, tuple) else x[t])
            results.append(result)
        return state, None if results[0] is None else self.stack(results)

    def lstm(self, x: Any, wx: Any, wh: Any, b: Any, time: int, hidden: int) -> Any:
        """The last hidden state over x [time, batch, inputs]; gates i, f, g, o. Unrolled here."""
        h = c = None
        for t in range(time):
            h, c = self.lstm_cell(x[t], h, c, (wx, wh, b), hidden)
        return h

    def lstm_cell(self, x: Any, h: Any, c: Any, weights: Any, hidden: int) -> tuple[Any, Any]:
        """One step (Hochreiter and Schmidhuber 1997, with forget gates); None is a zero state."""
        wx, wh, b = weights
        z = x @ wx + b if h is None else x @ wx + h @ wh + b
        i, f, g, o = (z[:, k * hidden : (k + 1) * hidden] for k in range(4))
        fresh = self.sigmoid(i) * self.tanh(g)
        c = fresh if c is None else self.sigmoid(f) * c + fresh
        return self.sigmoid(o) * self.tanh(c), c

    def recurrent(self, kind: str, x: Any, weights: Any, time: int, hidden: int,
                  every: bool = False) -> Any:  # fmt: skip
        """The last state over x [time, batch, inputs] of "lstm" or "gru" layers, one upon another.

        ``weights`` are (w, u, b) of each, from the right; ``every`` asks for all states of the last
        layer [time, batch, hidden]. Unrolled here.
        """
        cell, below = self.recurrent_cell(kind, hidden), [x[t] for t in range(time)]
        for w, u, b in weights:
            state = (self.zero_state(x, hidden),) * (GATES[kind] - 2)
            outputs = []
            for at in below:
                state = cell(at @ w + b, state, u)
                outputs.append(state[0])
            below = outputs
        return self.stack(below) if every else below[-1]

    def zero_state(self, x: Any, hidden: int) -> Any:
        """Zeros [batch, hidden], in the dtype of x [time, batch, inputs]."""
        return self.zeros((x.shape[1], hidden), x.dtype)

    def recurrent_cell(self, kind: str, hidden: int) -> Callable[[Any, Any, Any], Any]:
        """From the inputs' part of the gates, the state (a tuple) and u to the next state."""

        def gates(z: Any) -> list[Any]:
            return [z[:, k * hidden : (k + 1) * hidden] for k in range(GATES[kind])]

        def lstm(part: Any, state: Any, u: Any) -> Any:
            h, c = state
            i, f, g, o = gates(part + h @ u)
            c = self.sigmoid(f) * c + self.sigmoid(i) * self.tanh(g)
            return self.sigmoid(o) * self.tanh(c), c

        def gru(part: Any, state: Any, u: Any) -> Any:
            (h,) = state
            (r, z, n), (hr, hz, hn) = gates(part), gates(h @ u)
            z = self.sigmoid(z + hz)
            return ((1.0 - z) * self.tanh(n + self.sigmoid(r + hr) * hn) + z * h,)

        return {"lstm": lstm, "gru": gru}[kind]

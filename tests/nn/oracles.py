"""The results of modules, in NumPy's float64, by hand: from their state and arrays."""

from itertools import product
from math import erf, sqrt

import numpy as np


def part(state, name):
    """The state of the module at a path."""
    cut = f"{name}."
    return {key.removeprefix(cut): array for key, array in state.items() if key.startswith(cut)}


def linear(s, x):
    return x @ s["weight"] + s.get("bias", 0.0)


def layer_norm(s, x, eps=1e-5):
    away = x - x.mean(-1, keepdims=True)
    out = away / np.sqrt((away**2).mean(-1, keepdims=True) + eps)
    return out * s.get("weight", 1.0) + s.get("bias", 0.0)


def rms_norm(s, x, eps=1e-5):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * s["weight"]


def group_norm(s, x, groups):
    out = np.empty_like(x)
    size = x.shape[1] // groups
    for n, g in product(range(len(x)), range(groups)):
        group = x[n, g * size : (g + 1) * size]
        out[n, g * size : (g + 1) * size] = (group - group.mean()) / np.sqrt(group.var() + 1e-5)
    shape = (-1, *(1,) * (x.ndim - 2))
    if "weight" not in s:
        return out
    return out * s["weight"].reshape(shape) + s["bias"].reshape(shape)


def batch_norm(s, x, training):
    over = tuple(k for k in range(x.ndim) if k != 1)
    mean, var = (x.mean(over), x.var(over)) if training else (s["running_mean"], s["running_var"])
    shape = (-1, *(1,) * (x.ndim - 2))
    out = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    return out * s["weight"].reshape(shape) + s["bias"].reshape(shape)


def conv(s, x, stride=1, padding=0, groups=1):
    w = s["weight"]
    places, taps = x.ndim - 2, w.shape[2:]
    x = np.pad(x, [(0, 0), (0, 0), *[(padding, padding)] * places])
    sizes = [(n - k) // stride + 1 for n, k in zip(x.shape[2:], taps, strict=True)]
    out = np.zeros((len(x), len(w), *sizes))
    depth, filters = w.shape[1], len(w) // groups
    for o, at in product(range(len(w)), product(*map(range, sizes))):
        first = (o // filters) * depth
        window = tuple(slice(a * stride, a * stride + k) for a, k in zip(at, taps, strict=True))
        seen = x[(slice(None), slice(first, first + depth), *window)]
        out[(slice(None), o, *at)] = (seen * w[o]).reshape(len(x), -1).sum(1)
    return out + s["bias"].reshape(-1, *(1,) * places)


def conv_transpose(s, x, stride=1, padding=0):
    w = s["weight"]
    taps, places = w.shape[2:], x.ndim - 2
    sizes = [(n - 1) * stride + k for n, k in zip(x.shape[2:], taps, strict=True)]
    out = np.zeros((len(x), w.shape[1], *sizes))
    for at in product(*map(range, x.shape[2:])):
        window = tuple(slice(a * stride, a * stride + k) for a, k in zip(at, taps, strict=True))
        out[(slice(None), slice(None), *window)] += np.tensordot(
            x[(slice(None), slice(None), *at)], w, axes=(1, 0)
        )
    inner = [slice(padding, n - padding) for n in sizes]
    return out[(slice(None), slice(None), *inner)] + s["bias"].reshape(-1, *(1,) * places)


def pool(x, size, stride, padding, how):
    places = x.ndim - 2
    fill = -np.inf if how == "max" else 0.0
    x = np.pad(x, [(0, 0), (0, 0), *[(padding, padding)] * places], constant_values=fill)
    sizes = [(n - size) // stride + 1 for n in x.shape[2:]]
    out = np.zeros((*x.shape[:2], *sizes))
    over = tuple(range(2, x.ndim))
    for at in product(*map(range, sizes)):
        window = x[(slice(None), slice(None), *(slice(a * stride, a * stride + size) for a in at))]
        out[(slice(None), slice(None), *at)] = getattr(window, how)(over)
    return out


def adaptive(x, parts, how):
    for axis in range(2, x.ndim):
        n = x.shape[axis]
        x = np.stack(
            [
                getattr(x.take(range(i * n // parts, -(-(i + 1) * n // parts)), axis), how)(axis)
                for i in range(parts)
            ],
            axis,
        )
    return x


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def cell(state, x, kind, h=None):
    """The next state of one time, of an LSTM a pair."""
    w, u, b = state["weight"], state["recurrent"], state.get("bias", 0.0)
    c = np.zeros((len(x), len(u)))
    return cell_step(state, kind, x @ w + b, c if h is None else h, c, u)[: 1 + (kind == "lstm")]


def cell_step(state, kind, projected, h, c, u):
    """(h, c) behind the inputs' part of the gates."""
    if kind == "rnn":
        return np.tanh(projected + h @ u), c
    if kind == "lstm":
        i, f, g, o = np.split(projected + h @ u, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (r, z, n), (hr, hz, hn) = (np.split(y, 3, -1) for y in (projected, h @ u))
    z = sigmoid(z + hz)
    return (1 - z) * np.tanh(n + sigmoid(r + hr) * (hn + state["bias_new"])) + z * h, c


def recurrent(s, x, kind, layers=1, ways=1):
    """Outputs and last states."""
    lasts = []
    for layer in range(layers):
        outs = []
        for way in range(ways):
            state = part(s, f"directions.{layer * ways + way}")
            w, u, b = state["weight"], state["recurrent"], state.get("bias", 0.0)
            h = c = np.zeros((x.shape[1], len(u)))
            rows = []
            for inputs in x[::-1] if way else x:
                h, c = cell_step(state, kind, inputs @ w + b, h, c, u)
                rows.append(h)
            outs.append(np.stack(rows[::-1] if way else rows))
            lasts.append((h, c))
        x = np.concatenate(outs, -1)
    hs = np.stack([h for h, _ in lasts])
    return [x, hs, np.stack([c for _, c in lasts])] if kind == "lstm" else [x, hs]


def rotate_positions(x, start=0):
    """Rotary positions, as complex numbers."""
    half = x.shape[-1] // 2
    angles = np.arange(start, start + x.shape[-2])[:, None] * 10000.0 ** (-np.arange(half) / half)
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([z.real, z.imag], -1)


def attention(s, x, heads, causal, rotary, context=None):
    return attention_and_weights(s, x, heads, causal, rotary, context)[0]


def attention_and_weights(s, x, heads, causal, rotary, context=None):
    """The result, and the mean of the weights of all heads."""
    seen = x if context is None else context
    q, k, v = (linear(part(s, n), y) for n, y in (("query", x), ("key", seen), ("value", seen)))
    size, outs, weights = q.shape[-1] // heads, [], []
    for head in range(heads):
        a, b, c = (y[..., head * size : (head + 1) * size] for y in (q, k, v))
        a, b = (rotate_positions(a), rotate_positions(b)) if rotary else (a, b)
        scores = a @ b.swapaxes(-1, -2) / sqrt(size)
        if causal:
            scores = np.where(np.tri(scores.shape[-2], scores.shape[-1]) > 0, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        weights.append(shares / shares.sum(-1, keepdims=True))
        outs.append(weights[-1] @ c)
    return linear(part(s, "out"), np.concatenate(outs, -1)), np.mean(weights, axis=0)


def gelu(x):
    return x * 0.5 * (1.0 + np.vectorize(erf)(x / sqrt(2.0)))


def block(s, x, heads, norm_first):
    def mlp(y):
        return linear(part(s, "down"), gelu(linear(part(s, "up"), y)))

    def attend(y):
        return attention(part(s, "attention"), y, heads, True, False)

    norm_attention, norm_mlp = part(s, "norm_attention"), part(s, "norm_mlp")
    if norm_first:
        x = x + attend(layer_norm(norm_attention, x))
        return x + mlp(layer_norm(norm_mlp, x))
    x = layer_norm(norm_attention, x + attend(x))
    return layer_norm(norm_mlp, x + mlp(x))


def local_response_norm(s, x, size=3, alpha=0.5, beta=0.6, k=2.0):
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        first = c - size // 2
        near = x[:, max(first, 0) : first + size]
        out[:, c] = x[:, c] / (k + alpha * (near**2).sum(1) / size) ** beta
    return out


def _rows(x):
    return np.sqrt((x**2).sum(-1))


def _cosine(x, y):
    return (x * y).sum(-1) / (_rows(x) * _rows(y))


def _log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _entropy(x, labels, weight, smoothing=0.0):
    logs = _log_softmax(x) * weight
    rows = (1 - smoothing) * logs[range(len(labels)), labels] + smoothing * logs.mean(-1)
    return -rows.sum() / weight[labels].sum()


_LABELS = np.array([0, 3, 1])
_WEIGHT = np.array([0.5, 2.0, 1.0, 0.25], np.float32)  # a weight of float64 makes its loss so
_BITS = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
_SIGNS, _ROW_SIGNS = 2.0 * _BITS - 1.0, np.array([1.0, -1.0, 1.0])
_PARTS = np.random.default_rng(11).uniform(0.1, 0.9, (3, 4))
_X, _TWO = (3, 4), ((3, 4), (3, 4))


def _huber(r, d):
    return np.where(abs(r) <= d, r**2 / 2, d * (abs(r) - d / 2))


def _alignment(logs, labels):
    """-log of the probability of one label in two times, of blank 0: all three alignments."""
    (label,) = labels[0]
    p = np.exp(logs[:, 0])
    total = p[0, label] * p[1, label] + p[0, 0] * p[1, label] + p[0, label] * p[1, 0]
    return -np.log(total)


#: Class of a loss -> its options, its operands, and its value.
LOSSES = (
    ("MSELoss", {}, _TWO, lambda x, y: ((x - y) ** 2).mean()),
    ("L1Loss", {"reduction": "sum"}, _TWO, lambda x, y: abs(x - y).sum()),
    ("SmoothL1Loss", {"beta": 0.5}, _TWO, lambda x, y: (_huber(x - y, 0.5) / 0.5).mean()),
    ("HuberLoss", {"delta": 0.5}, _TWO, lambda x, y: _huber(x - y, 0.5).mean()),
    (
        "CrossEntropyLoss",
        {"weight": _WEIGHT, "label_smoothing": 0.2},
        (_X, _LABELS),
        lambda x, i: _entropy(x, i, _WEIGHT, 0.2),
    ),
    (
        "NLLLoss",
        {"reduction": "none"},
        (_X, _LABELS),
        lambda x, i: -x[range(3), i],
    ),
    (
        "BCELoss",
        {},
        (_PARTS, _BITS),
        lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(),
    ),
    (
        "BCEWithLogitsLoss",
        {"pos_weight": _WEIGHT},
        (_X, _BITS),
        lambda x, t: (_WEIGHT * t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))).mean(),
    ),
    (
        "KLDivLoss",
        {"reduction": "batchmean"},
        (_X, _PARTS),
        lambda x, t: (t * (np.log(t) - x)).sum() / 3,
    ),
    ("PoissonNLLLoss", {}, _TWO, lambda x, y: (np.exp(x) - y * x).mean()),
    (
        "HingeEmbeddingLoss",
        {"margin": 0.5},
        (_X, _SIGNS),
        lambda x, y: np.where(y > 0, x, np.maximum(0.5 - x, 0)).mean(),
    ),
    ("SoftMarginLoss", {}, (_X, _SIGNS), lambda x, y: np.log1p(np.exp(-y * x)).mean()),
    (
        "MultiLabelSoftMarginLoss",
        {},
        (_X, _BITS),
        lambda x, y: (y * np.log1p(np.exp(-x)) + (1 - y) * np.log1p(np.exp(x))).mean(),
    ),
    (
        "MultiMarginLoss",
        {"p": 2, "margin": 0.5},
        (_X, _LABELS),
        lambda x, y: (
            sum(
                max(0, 0.5 - x[n, y[n]] + x[n, c]) ** 2 / 4
                for n in range(3)
                for c in range(4)
                if c != y[n]
            )
            / 3
        ),
    ),
    (
        "GaussianNLLLoss",
        {},
        (_X, _PARTS + 1.0, _PARTS),
        lambda x, y, v: (np.log(v) + (x - y) ** 2 / v).mean() / 2,
    ),
    (
        "MarginRankingLoss",
        {"margin": 0.5},
        (_X, _PARTS, _SIGNS),
        lambda x, y, s: np.maximum(0.5 - s * (x - y), 0).mean(),
    ),
    (
        "CosineEmbeddingLoss",
        {"margin": 0.1},
        (_X, _PARTS, _ROW_SIGNS),
        lambda x, y, s: np.where(
            s > 0, 1 - _cosine(x, y), np.maximum(_cosine(x, y) - 0.1, 0)
        ).mean(),
    ),
    (
        "TripletMarginLoss",
        {"margin": 0.5},
        (_X, _X, _X),
        lambda a, p, n: np.maximum(_rows(a - p + 1e-6) - _rows(a - n + 1e-6) + 0.5, 0).mean(),
    ),
    (
        "CTCLoss",
        {"reduction": "sum"},
        (np.log(np.array([[[0.2, 0.5, 0.3]], [[0.6, 0.3, 0.1]]])), np.array([[1]])),
        _alignment,
    ),
    ("CosineSimilarity", {}, _TWO, _cosine),
    (
        "PairwiseDistance",
        {"p": 3.0, "keepdims": True},
        _TWO,
        lambda x, y: (abs(x - y + 1e-6) ** 3).sum(-1, keepdims=True) ** (1 / 3),
    ),
)

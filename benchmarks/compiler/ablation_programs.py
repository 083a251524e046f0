# ruff: noqa: E501
"""Small programs of the ablation's corpus: what the suite, convolutions and products do not reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, Final

import numpy as np

import staticgrad as sg

Made = tuple[sg.Graph, dict[str, Any]]


def _drawn(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    random = np.random.default_rng(len(shape) + sum(shape))
    if dtype.startswith("int"):
        return random.integers(0, 8, shape).astype(dtype)
    return random.uniform(0.1, 1.0, shape).astype(dtype)


def _of(make: Callable[..., Any], shapes: dict[str, tuple[int, ...]], dtype: str = "float32",
        slopes: str = "") -> Made:  # fmt: skip
    """A program of operands of these shapes, and of its gradients by some of them."""
    values = {n: sg.input(n, s, "int64" if n == "at" else dtype) for n, s in shapes.items()}
    results = make(**values)
    outputs = results if isinstance(results, dict) else {"y": results}
    if slopes:
        loss = sum(sg.astype(v, "float64").sum() for v in outputs.values())
        operands = [values[name] for name in slopes.split()]
        for name, slope in zip(slopes.split(), sg.grad(loss, operands), strict=True):
            outputs[f"d{name}"] = slope
    feeds = {n: _drawn(s, "int64" if n == "at" else dtype) for n, s in shapes.items()}
    return sg.Graph(outputs), feeds


def _long_chain(links: int, a: Any, b: Any) -> Any:
    y = a
    for k in range(links):
        y = y * (0.5 + 0.001 * k) + b / (1.0 + y * y)
    return y


def _share_tanh(base: Any, x: Any) -> Any:
    return x * (sg.tanh(base) + 1.0) * sg.exp(-(sg.tanh(base) * sg.tanh(base)))


def _nearest_centroid(x: Any, c: Any) -> Any:
    """Return the squared distance of each row of ``x`` to the nearest row of ``c``."""
    return ((x * x).sum(1)[:, None] + (c * c).sum(1) - 2.0 * x @ c.T).min(1)


def _read_entries(x: Any) -> Any:
    """Read one entry of a carry in each iteration."""
    return sg.fori_loop(0, 200, lambda i, c: (c[0], c[1] + sg.sin(c[0][i])), (x, x[0]))[1]


def _wide_logits(h: Any, w: Any) -> Any:
    """Return the entropy of a softmax of many columns, for each row."""
    return -(sg.nn.softmax(s := h @ w.T) * sg.nn.log_softmax(s)).sum(1)


def _padded_stencil(x: Any) -> Any:
    p = sg.pad(x, 1)
    return p[2:, 1:-1] + p[:-2, 1:-1] + p[1:-1, 2:] + p[1:-1, :-2] - 4.0 * x


def _stages_of_a_stencil(x: Any) -> Any:
    """A step of the classical Runge-Kutta method for y' = x * (1, y[:-1])."""

    def slope(y: Any) -> Any:
        return x * sg.concatenate([np.ones(1, "float32"), y[:-1]])

    first = slope(x)
    second = slope(x + 0.005 * first)
    third = slope(x + 0.005 * second)
    return x + 0.01 / 6 * (first + 2.0 * second + 2.0 * third + slope(x + 0.01 * third))


def _late_elements(x: Any, base: Any) -> Any:
    return _share_tanh(base, sg.cumsum(x, axis=1).transpose((0, 2, 1)))


def _late_product(x: Any, base: Any, w: Any) -> Any:
    return _share_tanh(base, sg.sin(x) @ w)


def _turn_vectors(x: Any, axis: Any) -> Any:
    """Vectors turned by a right angle around the direction of others."""
    unit = axis / sg.sqrt((axis * axis).sum(-1, keepdims=True) + 1.0)
    return sg.cross(unit, x) + unit * (unit * x).sum(-1, keepdims=True)


def _batch_norm(x: Any, gain: Any, bias: Any) -> Any:
    return sg.nn.batch_norm(x, weight=gain, bias=bias)


def _scan_product(x: Any, z: Any, u: Any) -> dict[str, Any]:
    def iteration(c: Any, row_and_offset: Any) -> tuple[Any, Any]:
        row, offset = row_and_offset
        return c + 1.0, sg.tanh(row @ u + offset)

    last, every = sg.scan(iteration, sg.zeros((), x.dtype), (x, z))
    return {"last": last, "every": every}


def _matvec_loop(x: Any, w: Any) -> Any:
    return sg.fori_loop(0, 200, lambda _, h: sg.tanh(w @ h), x)


def _cell_loop(x: Any, w: Any, v: Any) -> Any:
    return sg.fori_loop(0, 100, lambda _, h: sg.tanh(w @ h) + 0.1 * sg.nn.softmax(v @ h), x)


def _newton(x: Any) -> Any:
    return sg.while_loop(
        lambda y: sg.max(abs(y * y - x)) > 1e-6, lambda y: 0.5 * (y + x / y), sg.ones_like(x)
    )


def _attention(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    return sg.nn.attention(q, k, v, causal=causal)


def _narrow_product(a: Any, b: Any) -> Any:
    return sg.tanh(sg.astype(a, "float32") @ sg.astype(b, "float32"))


def _convolve_broadcast(x: Any, w: Any) -> Any:
    return sg.nn.conv(sg.broadcast_to(x, (4, 8, 32, 32)), w, padding=1)


def _stencil(x: Any) -> Any:
    inside = x[1:-1, 1:-1]
    return 0.2 * (inside + x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])


def _parts(x: Any) -> Any:
    cells = [x[..., k] for k in range(3)]
    return sg.stack([cells[1] * cells[2], cells[2] - cells[0], cells[0] + cells[1]], axis=-1)


def _tangents(edges: Any, x: Any) -> Any:
    places = sg.searchsorted(sg.sort(edges), x).astype("float32")
    return reduce(lambda a, b: a + b, [sg.tanh(k * places) for k in range(1, 7)]).sum()


def _copies(x: Any, gain: Any, bias: Any) -> dict[str, Any]:
    value = x * gain + bias
    return {"sum": value.sum((1, 2, 3)), "max": value.max((1, 2, 3))}


def _update(rows: int) -> Made:
    """A step of a layer by a batch whose size is open."""
    x, y = (sg.input(name, ("n", width), "float32") for name, width in (("x", 512), ("y", 256)))
    w = sg.parameter("w", _drawn((512, 256)))
    feeds = {"x": _drawn((rows, 512)), "y": _drawn((rows, 256))}
    return sg.Graph({"loss": (x * x).sum()}, updates={w: w - 0.01 * (x.T @ y)}), feeds


def _step_rectified() -> Made:
    """A step with momentum and decay, whose rate depends on a counter and on a condition."""
    w, x = sg.parameter("w", _drawn((1 << 20,))), sg.input("x", (1 << 20,), "float32")
    loss = (w * x).sum()
    count = sg.parameter("count", np.array(0.0))
    first, second = (sg.parameter(name, np.zeros(1 << 20, "float32")) for name in ("m", "v"))
    gradient = sg.grad(loss, w) + 0.1 * w
    m, v = (0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient * gradient)
    freedom = 1999.0 - 2.0 * (count + 1.0) * 0.999**count
    scale = sg.where(freedom > 5.0, sg.sqrt(sg.maximum(freedom, 1.0)), 1.0).astype("float32")
    step = 0.01 * scale * m / (sg.sqrt(v) + 1e-8)
    updates = {w: w - step, first: m, second: v, count: count + 1.0}
    return sg.Graph({"loss": loss}, updates=updates), {"x": _drawn((1 << 20,))}


def _adams(**values: Any) -> dict[str, Any]:
    return {name: value - 0.1 * value / (sg.sqrt(value) + 1e-8) for name, value in values.items()}


def _rosenbrock(x: Any) -> Any:
    return 100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2


def _transposed_weights(x: Any, w: Any) -> Any:
    def iteration(h: Any, row: Any) -> tuple[Any, Any]:
        h = sg.tanh(row @ w.T + h)
        return h, h

    return sg.scan(iteration, x[0] * 0.0, x)[0]


def _endless(x: Any) -> Any:
    def iteration(carry: Any) -> Any:
        return carry[0] * 0.999 + 0.1, carry[1] + 1

    return sg.while_loop(lambda carry: carry[1] < 20000, iteration, (x, sg.constant(0)))[0]


def _branches(x: Any) -> Any:
    def iteration(h: Any, row: Any) -> tuple[Any, Any]:
        h = sg.cond(row.sum() > 0.0, lambda h: sg.tanh(h) * 0.5, lambda h: h + 1.0, h)
        return h, h

    return sg.scan(iteration, x[0] * 0.0, x)[1]


_F = _of
OTHERS: Final[dict[str, Callable[[], Made]]] = {
    # elements
    "long chain": partial(_F, partial(_long_chain, 100), {"a": (1 << 18,), "b": (1 << 18,)}),
    "longer chain": partial(_F, partial(_long_chain, 400), {"a": (1 << 16,), "b": (1 << 16,)}),
    "many chains": partial(_F, lambda a, b: sum(sg.exp(a * k) / (1 + sg.log(b + k)) for k in range(12)),
                           {"a": (1 << 18,), "b": (1 << 18,)}),
    "gelu": partial(_F, lambda x: sg.nn.gelu(x), {"x": (1 << 20,)}),
    "gelu f64 gradient": partial(_F, lambda x: sg.nn.gelu(x), {"x": (1 << 18,)}, "float64", "x"),
    "erf inverse": partial(_F, lambda x: sg.erf(x) * sg.log1p(x), {"x": (1 << 18,)}),
    "lgamma": partial(_F, lambda x: sg.special.gammaln(x + 1.0), {"x": (1 << 17,)}),
    "powers": partial(_F, lambda x, y: x**y + sg.sqrt(x) / y, {"x": (1 << 18,), "y": (1 << 18,)}),
    "where": partial(_F, lambda x, y: sg.where(x > y, sg.sin(x), y * y), {"x": (1 << 18,), "y": (1 << 18,)}),
    "divisions": partial(_F, lambda x, y: x / y + y / x + x / (x + y), {"x": (1 << 18,), "y": (1 << 18,)}),
    "integers": partial(_F, lambda at: (at * 3 + 1) // 5 % 7, {"at": (1 << 18,)}),
    "streamed": partial(_F, lambda x, y: x + y, {"x": (1 << 23,), "y": (1 << 23,)}),
    "streamed rows": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (8192, 1024)}),
    "shared late elements": partial(_F, _late_elements, {"x": (512, 64, 32), "base": (512, 32, 64)}),
    "shared late product": partial(_F, _late_product, {"x": (512, 64), "base": (512, 64), "w": (64, 64)}),
    # short rows and parts
    "rows of 3": partial(_F, lambda x, y: x * y[:, None], {"x": (1 << 16, 3), "y": (1 << 16,)}),
    "rows of 5 by elements": partial(_F, lambda x, y: x * y + 1.0, {"x": (1 << 15, 5), "y": (5,)}),
    "cross": partial(_F, _parts, {"x": (1 << 16, 3)}),
    "cross gradient": partial(_F, lambda x: _parts(x) ** 2, {"x": (1 << 16, 3)}, "float32", "x"),
    "softmax of 3": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (1 << 16, 3)}),
    "softmax of 8": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (1 << 15, 8)}),
    "softmax of 24": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (1 << 14, 24)}),
    "norms of 2": partial(_F, lambda x: sg.sqrt((x * x).sum(1)), {"x": (1 << 17, 2)}),
    "argmax of 6": partial(_F, lambda x: sg.argmax(x, axis=1), {"x": (1 << 15, 6)}),
    "complex product": partial(_F, lambda x, y: sg.stack(
        [x[:, 0] * y[:, 0] - x[:, 1] * y[:, 1], x[:, 0] * y[:, 1] + x[:, 1] * y[:, 0]], axis=1),
        {"x": (1 << 17, 2), "y": (1 << 17, 2)}),
    "concatenated": partial(_F, lambda x, y: sg.concatenate([x * 2, y + 1], axis=1),
                            {"x": (4096, 40), "y": (4096, 24)}),
    "strided": partial(_F, lambda x: x[:, ::2] * x[:, 1::2], {"x": (2048, 512)}),
    "small axes": partial(_F, lambda x, y: x * y[:, None, None], {"x": (1 << 13, 4, 5), "y": (1 << 13,)}),
    "small blocks": partial(_F, lambda x: sg.transpose(x, (0, 2, 1)) * 2.0, {"x": (1 << 13, 4, 5)}),
    "concatenation": partial(_F, lambda **parts: sg.concat([*parts.values()], axis=1), dict.fromkeys("abcd", (1 << 16, 32))),
    "channels last": partial(_F, lambda x: sg.transpose(sg.nn.relu(x), (0, 2, 3, 1)), {"x": (8, 64, 28, 28)}),
    "channels": partial(_F, lambda x: sg.transpose(x, (0, 3, 1, 2)), {"x": (8, 224, 224, 3)}),
    "transposed operands": partial(_F, lambda x, y, z: x.T + y.T + z.T, dict.fromkeys("xyz", (256, 256))),
    "pairs": partial(_F, lambda x: x[:, 0] * x[:, 1], {"x": (1 << 16, 2)}),
    "rotation gradient": partial(_F, lambda x: sg.tanh(x[:, ::2]) * x[:, 1::2], {"x": (4096, 256)}, "float32", "x"),
    "normals gradient": partial(_F, lambda a, b: _turn_vectors(a, sg.cross(a, b)) * b, dict.fromkeys("ab", (1 << 15, 3)), "float32", "a b"),
    "pixel shuffle": partial(_F, lambda x: x.reshape((8, 2, 2, 16, 32, 32)).transpose((0, 3, 4, 1, 5, 2)).reshape(
        (8, 16, 64, 64)), {"x": (8, 64, 32, 32)}),
    "depth first": partial(_F, lambda x: (x * 2.0).transpose((0, 2, 3, 1)).sum(axis=(1, 2)), {"x": (8, 32, 28, 28)}),
    # rows
    "softmax 4096x1024": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (4096, 1024)}),
    "softmax 8192x64": partial(_F, lambda x: sg.nn.softmax(x, axis=1), {"x": (8192, 64)}),
    "layer norm 4096x1024": partial(_F, lambda x, g, b: sg.nn.layer_norm(x, g, b),
                                    {"x": (4096, 1024), "g": (1024,), "b": (1024,)}),
    "layer norm 8192x64": partial(_F, lambda x, g, b: sg.nn.layer_norm(x, g, b),
                                  {"x": (8192, 64), "g": (64,), "b": (64,)}),
    "layer norm 512x256": partial(_F, lambda x, g, b: sg.nn.layer_norm(x, g, b),
                                  {"x": (512, 256), "g": (256,), "b": (256,)}),
    "layer norm gradient": partial(_F, lambda x, g, b: sg.nn.layer_norm(x, g, b) ** 2,
                                   {"x": (4096, 512), "g": (512,), "b": (512,)}, "float32", "x g b"),
    "row sums": partial(_F, lambda x: x.sum(1), {"x": (4096, 256)}),
    "row sums f64": partial(_F, lambda x: x.sum(1), {"x": (4096, 256)}, "float64"),
    "row extremes": partial(_F, lambda x: {"a": x.max(1), "b": x.min(1), "c": x.sum(1)}, {"x": (2048, 512)}),
    "row sums across": partial(_F, lambda x: sg.transpose(x).sum(1), {"x": (512, 2048)}),
    "row argmax": partial(_F, lambda x: sg.argmax(x, axis=1), {"x": (1024, 1000)}),
    "logsumexp": partial(_F, lambda x: sg.nn.logsumexp(x, axis=1), {"x": (2048, 1000)}),
    "cross entropy rows": partial(_F, lambda x, at: sg.nn.cross_entropy(x, at), {"x": (512, 1000), "at": (512,)}, "float32", "x"),
    "long sum": partial(_F, lambda x: x.sum(), {"x": (1 << 22,)}),
    "long dot": partial(_F, lambda x, y: (x * y).sum(), {"x": (1 << 20,), "y": (1 << 20,)}),
    "long tangents": partial(_F, lambda x: sg.tanh(x).sum(), {"x": (1 << 20,)}),
    "long searches": partial(_F, _tangents, {"edges": (9,), "x": (1 << 18,)}),
    "copies of rows": partial(_F, _copies, {"x": (64, 5, 70, 90), "gain": (5, 1, 1), "bias": (70, 90)}),
    "cumulative sum": partial(_F, lambda x: sg.cumsum(x, axis=1), {"x": (512, 1024)}),
    "cumulative columns": partial(_F, lambda x: sg.cumsum(x, axis=0), {"x": (1024, 512)}),
    "sorted rows": partial(_F, lambda x: sg.sort(x, axis=1), {"x": (256, 512)}),
    # columns
    "column sums": partial(_F, lambda x: x.sum(0), {"x": (4096, 256)}),
    "column sums wide": partial(_F, lambda x: x.sum(0), {"x": (512, 4096)}),
    "column sums narrow": partial(_F, lambda x: x.sum(0), {"x": (1 << 16, 10)}),
    "column extremes": partial(_F, lambda x: {"a": x.max(0), "b": x.min(0)}, {"x": (4096, 256)}),
    "column extremes transposed": partial(_F, lambda x: sg.transpose(x, (1, 0, 2)).max((0, 1)), {"x": (64, 64, 256)}),
    "column extremes along": partial(_F, lambda x: sg.transpose(x, (0, 2, 1)).max((0, 1)), {"x": (8, 300, 64)}),
    "column moments": partial(_F, lambda x: {"m": x.mean(0), "v": (x * x).mean(0), "t": (x - 1).sum(0)}, {"x": (8192, 64)}),
    "batch norm": partial(_F, _batch_norm, {"x": (4096, 256), "gain": (256,), "bias": (256,)}),
    "batch norm gradient": partial(_F, lambda x, gain, bias: _batch_norm(x, gain, bias) ** 2,
                                   {"x": (4096, 256), "gain": (256,), "bias": (256,)}, "float32", "x gain bias"),
    "middle sums": partial(_F, lambda x: x.sum(1), {"x": (64, 100, 48)}),
    # look-ups
    "take rows": partial(_F, lambda x, at: x[at], {"x": (4096, 64), "at": (8192,)}),
    "take rows of 3": partial(_F, lambda x, at: x[at] * 2.0, {"x": (4096, 3), "at": (16384,)}),
    "take columns": partial(_F, lambda x, at: sg.take(x, at, 1) * 2.0, {"x": (2048, 64), "at": (64,)}),
    "take columns f64": partial(_F, lambda x, at: sg.take(x, at, 1) * 2.0, {"x": (2048, 64), "at": (64,)}, "float64"),
    "scatter rows": partial(_F, lambda x, at: x[at] ** 2, {"x": (64, 50), "at": (8192,)}, "float32", "x"),
    "scatter narrow rows": partial(_F, lambda x, at: x[at] ** 2, {"x": (64, 4), "at": (8192,)}, "float32", "x"),
    "step of a table": partial(_F, lambda x, g, at: x - 0.1 * sg.scatter_add(g, at, 20_000),
                               {"x": (20_000, 256), "g": (512, 256), "at": (512,)}),
    "segment sums": partial(_F, lambda x, at: sg.zeros((2000, 33), "float32").at[at].add(x), {"x": (8192, 33), "at": (8192,)}),
    # windows and stencils
    "stencil": partial(_F, _stencil, {"x": (1024, 1024)}),
    "stencil gradient": partial(_F, lambda x: _stencil(x) ** 2, {"x": (512, 512)}, "float32", "x"),
    "rows of a product": partial(_F, lambda a, b: (sg.tanh(a @ b) * 2.0)[:1200] ** 2, {"a": (10000, 88), "b": (88, 24)}, "float32", "b"),
    "thin batch": partial(_F, lambda a, b: sg.tanh(a @ b), {"a": (1000, 88), "b": (28, 88, 3)}, "float64", "a b"),
    "nearest centroid": partial(_F, _nearest_centroid, {"x": (4096, 16), "c": (100, 16)}, "float32", "c"),
    "padded stencil": partial(_F, _padded_stencil, {"x": (1024, 1024)}),
    "padded stencil gradient": partial(_F, lambda x: sg.tanh(_padded_stencil(x)), {"x": (512, 512)}, "float32", "x"),
    "stencil stages": partial(_F, _stages_of_a_stencil, {"x": (1 << 17,)}),
    "stencil stages gradient": partial(_F, _stages_of_a_stencil, {"x": (1 << 17,)}, "float32", "x"),
    "rosenbrock 64k": partial(_F, _rosenbrock, {"x": (1 << 16,)}, "float32", "x"),
    "rosenbrock 4k f64": partial(_F, _rosenbrock, {"x": (1 << 12,)}, "float64", "x"),
    "shifted rows": partial(_F, lambda x: sg.pad(x[:, 1:], ((0, 0), (0, 1))) - sg.pad(x[:, :-1], ((0, 0), (1, 0))), {"x": (1024, 1000)}),
    "max pool": partial(_F, lambda x: sg.nn.max_pool(x, 2), {"x": (8, 32, 56, 56)}, "float32", "x"),
    "average pool": partial(_F, lambda x: sg.nn.avg_pool(x, 3), {"x": (8, 32, 54, 54)}),
    "pooled convolution": partial(_F, lambda x, w: sg.nn.max_pool(sg.nn.relu(sg.nn.conv(x, w, padding=1)), 2),
                                  {"x": (8, 16, 32, 32), "w": (32, 16, 3, 3)}),
    "filters of a small image": partial(_F, lambda x, w: sg.nn.conv(x, w, padding=1),
                                        {"x": (1, 512, 4, 4), "w": (512, 512, 3, 3)}),
    "constant filters": partial(_F, lambda x: sg.nn.conv(x, sg.constant(_drawn((128, 128, 3, 3))), padding=1),
                                {"x": (1, 128, 14, 14)}),
    "patches": partial(_F, lambda x, w: sg.nn.conv(x, w, stride=8), {"x": (8, 3, 64, 64), "w": (96, 3, 8, 8)}),
    "deep convolution": partial(_F, lambda x, w: sg.nn.conv(x, w, padding=1) ** 2,
                                {"x": (8, 256, 2, 2), "w": (256, 256, 3, 3)}, "float32", "x w"),
    "taps in the border": partial(_F, lambda x, w: sg.nn.conv(x, w, padding=1),
                                  {"x": (8, 128, 1, 1), "w": (128, 128, 3, 3)}),
    "stretched windows": partial(_F, _convolve_broadcast, {"x": (4, 8, 1, 1), "w": (16, 8, 3, 3)}),
    "dilated gradient": partial(_F, lambda x, w: sg.nn.conv(x, w, dilation=2) ** 2,
                                {"x": (4, 16, 24, 24), "w": (16, 16, 3, 3)}, "float32", "x w"),
    # products
    "linear 64": partial(_F, lambda x, w, b: sg.nn.relu(x @ w + b), {"x": (64, 256), "w": (256, 128), "b": (128,)}),
    "reshaped product": partial(_F, lambda x, w, r: sg.tanh((x @ w).reshape(256, 16, 16) * r + r),
                                {"x": (256, 128), "w": (128, 256), "r": (256, 16, 16)}),
    "batched 16": partial(_F, lambda x, y: x @ y, {"x": (256, 16, 16), "y": (256, 16, 16)}),
    "batched 3": partial(_F, lambda x, y: x @ y, {"x": (4096, 3, 3), "y": (4096, 3, 3)}),
    "batched 4 by vectors": partial(_F, lambda x, y: x @ y, {"x": (4096, 4, 4), "y": (4096, 4, 1)}),
    "batched 24": partial(_F, lambda x, y: x @ y, {"x": (24, 64, 32), "y": (24, 32, 64)}),
    "colliding rows": partial(_F, lambda x, y: x @ y, {"x": (256, 4096), "y": (4096, 256)}),
    "long products": partial(_F, lambda x, y: x.T @ y, {"x": (16384, 20), "y": (16384, 12)}),
    "deep products": partial(_F, lambda x, y: x @ y, {"x": (64, 10000), "y": (10000, 128)}),
    "double product": partial(_F, lambda x, y: x @ y, {"x": (256, 256), "y": (256, 256)}, "float64"),
    "product and sums": partial(_F, lambda x, w: {"y": (y := x @ w), "s": (y * y).sum()}, {"x": (256, 128), "w": (128, 64)}),
    "narrow product": partial(_F, _narrow_product, {"a": (256, 256), "b": (256, 256)}, "float16"),
    "narrow weights": partial(_F, _narrow_product, {"a": (8, 2048), "b": (2048, 2048)}, "float16"),
    "narrow transposed product": partial(_F, lambda a, b: sg.astype(sg.transpose(a), "float32") @ b.astype("float32"),
                                     {"a": (256, 96), "b": (256, 96)}, "float16"),
    "update of 1 row": partial(_update, 1),
    "update of 3 rows": partial(_update, 3),
    "two sums": partial(_F, lambda x, w, v: {"a": x @ w, "b": x @ v}, {"x": (512, 512), "w": (512,), "v": (512,)}),
    "batches of 2 rows": partial(_F, lambda x, w: x @ w, {"x": (512, 2, 128), "w": (128, 128)}),
    "matrix vector": partial(_F, lambda x, w: w @ x, {"x": (1024,), "w": (1024, 1024)}),
    "vector matrix": partial(_F, lambda x, w: x @ w, {"x": (1024,), "w": (1024, 1024)}),
    "outer": partial(_F, lambda x, y: x[:, None] * y, {"x": (1024,), "y": (1024,)}),
    "pairwise": partial(_F, lambda x, y: ((x[:, None] - y) ** 2).sum(2), {"x": (256, 3), "y": (256, 3)}),
    "pairwise 16": partial(_F, lambda x, y: sg.exp(-((x[:, None] - y) ** 2).sum(2)), {"x": (256, 16), "y": (256, 16)}, "float64", "x"),
    "attention 64": partial(_F, _attention, {"q": (8, 64, 32), "k": (8, 64, 32), "v": (8, 64, 32)}),
    "attention 512": partial(_F, _attention, {"q": (4, 512, 64), "k": (4, 512, 64), "v": (4, 512, 64)}),
    "attention causal": partial(_F, partial(_attention, causal=True),
                                {"q": (4, 512, 64), "k": (4, 512, 64), "v": (4, 512, 64)}, "float32", "q k v"),
    "einsum": partial(_F, lambda x, y: sg.einsum("bij,jkb->ik", x, y), {"x": (16, 32, 48), "y": (48, 24, 16)}),
    # loops
    "product in a scan": partial(_F, _scan_product, {"x": (50, 16, 31), "z": (50, 16, 1024), "u": (31, 1024)}),
    "product in a short scan": partial(_F, _scan_product, {"x": (50, 32, 63), "z": (50, 32, 256), "u": (63, 256)}),
    "product of many rows in a scan": partial(_F, _scan_product, {"x": (50, 128, 31), "z": (50, 128, 1024), "u": (31, 1024)}),
    "matrix vector loop": partial(_F, _matvec_loop, {"x": (32,), "w": (32, 32)}),
    "cell loop": partial(_F, _cell_loop, {"x": (24,), "w": (24, 24), "v": (24, 24)}),
    "matrix loop": partial(_F, _matvec_loop, {"x": (16, 8), "w": (16, 16)}),
    "transposed weights": partial(_F, _transposed_weights, {"x": (64, 4, 128), "w": (128, 128)}),
    "transposed weights of many rows": partial(_F, _transposed_weights, {"x": (64, 128, 128), "w": (128, 128)}),
    "endless loop": partial(_F, _endless, {"x": ()}),
    "branch of rows": partial(_F, _branches, {"x": (200, 64)}),
    "newton": partial(_F, _newton, {"x": (64,)}),
    "newton of one": partial(_F, _newton, {"x": ()}, "float64"),
    "elements in a loop": partial(_F, lambda x: sg.fori_loop(0, 100, lambda _, h: sg.sin(h) + 0.1 * h, x), {"x": (4096,)}),
    "loop gradient": partial(_F, lambda x: sg.fori_loop(0, 50, lambda _, h: h + 0.01 * sg.tanh(h), x), {"x": (512,)}, "float32", "x"),
    # entries and parts
    "few of a sort": partial(_F, lambda x: sg.sort(x, axis=1)[:, :5], {"x": (256, 4096)}),
    "two entries": partial(_F, lambda x: sg.fori_loop(0, 200, lambda i, h: h.at[i].set(h[i] * 0.5).at[i + 1].set(1.0), x), {"x": (4096,)}),
    "short entries": partial(_F, lambda x: sg.fori_loop(0, 200, lambda i, h: sg.sin(h).at[i % 8].set(1.0), x), {"x": (8,)}),
    "entries gradient": partial(_F, _read_entries, {"x": (4096,)}, "float32", "x"),
    "frames gradient": partial(_F, lambda x: sg.stack([x[k : k + 256] for k in range(0, 8192, 64)]) ** 2,
                               {"x": (8448,)}, "float32", "x"),
    "wide logits": partial(_F, _wide_logits, {"h": (2048, 64), "w": (32000, 64)}, "float32", "h w"),
    "long log-sums": partial(_F, lambda x: sg.nn.logsumexp(x, 1), {"x": (8, 1 << 18)}),
    "products of bytes": partial(_F, lambda x, w: x.astype("int32") @ w.astype("int32"),
                                 {"x": (128, 512), "w": (512, 256)}, "int8"),
    # several results
    "rectified update": _step_rectified,
    "three optimizers": partial(_F, _adams, {"a": (512, 512), "b": (512,), "c": (100, 100)}),
    "least squares": partial(_F, lambda x, w, y: (x @ w - y) ** 2, {"x": (4096, 32), "w": (32,), "y": (4096,)}, "float32", "w"),
    "logistic": partial(_F, lambda x, w, y: sg.nn.softplus(-(y - 0.5) * (x @ w)), {"x": (8192, 128), "w": (128,), "y": (8192,)}, "float32", "w"),
}  # fmt: skip

"""Programs for runs between fences: each with feeds at sizes where loops have odd ends."""

import numpy as np

import staticgrad as sg
from tests.random_programs import random_graph

PROGRAMS = {}


def program(make):
    PROGRAMS[make.__name__.replace("_", " ")] = make
    return make


def numbers(*shape, dtype=np.float32):
    rng = np.random.default_rng(sum(shape))
    return np.asarray(rng.integers(-3, 4, shape)).astype(dtype)


@program
def elementwise_at_any_size():
    x, t = sg.input("x", ("n",), "float32"), sg.input("t", ("n",), "bool")
    d, i = sg.input("d", ("n",), "float64"), sg.input("i", ("n",), "int8")
    outputs = {
        "a": sg.tanh(x) * 2 + x, "b": sg.where(t, d, 1.0), "c": x > 0, "e": i + 1, "f": ~t,
        "g": x.sum(), "h": d.sum(), "k": sg.cumsum(x, 0),
        "l": x.astype("int64"), "m": i.astype("float64"), "o": sg.exp(d)[::-1],
    }  # fmt: skip
    sizes = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 257)
    return sg.Graph(outputs), [
        {
            "x": numbers(n), "t": numbers(n) > 0, "d": numbers(n, dtype="f8"),
            "i": numbers(n, dtype="i1"),
        }
        for n in sizes
    ]  # fmt: skip


@program
def products_at_tile_tails():
    outputs = {}
    for dtype in ("float32", "float64"):
        a = sg.input(f"a {dtype}", ("m", "k"), dtype)
        b = sg.input(f"b {dtype}", ("k", "n"), dtype)
        c = sg.input(f"c {dtype}", ("n",), dtype)
        outputs[f"plain {dtype}"] = a @ b
        outputs[f"epilogue {dtype}"] = sg.nn.relu(a @ b + c) * 2
        if dtype == "float64":
            continue
        outputs[f"transposed {dtype}"] = b.T @ a.T
        outputs[f"gram {dtype}"] = a.T @ a
        outputs[f"vector {dtype}"] = (a @ b) @ c
        outputs[f"rows {dtype}"] = c @ (b.T @ a.T)
    shapes = [
        (1, 1, 1), (7, 3, 15), (8, 1, 16), (9, 5, 17), (8, 8, 32), (15, 16, 31), (17, 33, 33),
        (95, 2, 1), (97, 17, 65), (1, 64, 7), (64, 1, 64), (0, 3, 5), (3, 0, 5), (3, 5, 0),
        (2, 4097, 9),
    ]  # fmt: skip
    return sg.Graph(outputs), [
        {
            f"{name} {dtype}": numbers(*shape, dtype=dtype)
            for dtype in ("float32", "float64")
            for name, shape in (("a", (m, k)), ("b", (k, n)), ("c", (n,)))
        }
        for m, k, n in shapes
    ]


@program
def lookups_at_both_ends():
    table, rows = sg.input("table", ("v", "w"), "float32"), sg.input("rows", ("n",), "int64")
    new = sg.input("new", ("n", "w"), "float32")
    taken = sg.take(table, rows, 0)
    outputs = {
        "rows": taken, "columns": sg.take(table.T, rows, 1), "sum": taken.sum(1),
        "words": sg.take(table[:, 0], rows), "subscript": table[rows] * 2,
        "gradient": sg.grad((taken * taken).sum(), table),
        "added": table.at[rows].add(new), "set": table.at[rows].set(new),
        "along": sg.take_along_axis(table, sg.argmax(table, 1, keepdims=True), 1),
    }  # fmt: skip
    shapes = [(1, 1, 1), (5, 3, 16), (6, 17, 33), (2, 1, 40), (33, 16, 1), (4, 5, 0), (7, 31, 15)]
    return sg.Graph(outputs), [
        {
            "table": numbers(v, w),
            "rows": np.resize(np.array([v - 1, 0, -v, -1]), n),
            "new": numbers(n, w),
        }
        for v, w, n in shapes
    ]


@program
def a_training_step():
    rng = np.random.default_rng(0)
    x, y = sg.input("x", ("b", 13), "float32"), sg.input("y", ("b",), "int64")
    w = sg.parameter("w", rng.normal(size=(13, 17)).astype("f4"))
    c = sg.parameter("c", rng.normal(size=17).astype("f4"))
    v = sg.parameter("v", rng.normal(size=(17, 5)).astype("f4"))
    loss = sg.nn.cross_entropy(sg.nn.gelu(sg.nn.layer_norm(x @ w) + c) @ v, y)
    updates = {p: p - 0.1 * g for p, g in zip((w, c, v), sg.grad(loss, [w, c, v]), strict=True)}
    return sg.Graph({"loss": loss}, updates), [
        {"x": rng.normal(size=(b, 13)).astype("f4"), "y": np.resize([4, 0], b)}
        for b in (1, 7, 16, 33, 97)
    ]


@program
def attention():
    q, k, v = (sg.input(name, (2, "t", 9), "float32") for name in "qkv")
    y = sg.nn.attention(q, k, v)
    outputs = {
        "y": y,
        **{f"d{n}": g for n, g in zip("qkv", sg.grad(y.sum(), [q, k, v]), strict=True)},
    }
    return sg.Graph(outputs), [{n: numbers(2, t, 9) for n in "qkv"} for t in (1, 3, 8, 17)]


@program
def movement():
    x = sg.input("x", ("m", "n"), "float32")
    outputs = {
        "joined": sg.concat([x, x[::-1], x[:, ::-1]], 1), "padded": sg.pad(x, [(1, 0), (2, 3)]),
        "stacked": sg.stack([x, x + 1]), "copy": x.T, "columns": x.sum(0), "rows": x.max(1),
        "flat": x.reshape((x.size,)) + 1, "scan": sg.cumsum(x, 0), "triangle": sg.tril(x),
        "rolled": sg.roll(x, 1, 1),
    }  # fmt: skip
    shapes = [(1, 1), (3, 17), (16, 16), (33, 5), (2, 64), (65, 2)]
    return sg.Graph(outputs), [{"x": numbers(m, n)} for m, n in shapes]


def random_program(seed):
    graph, feeds = random_graph(np.random.default_rng(seed), min_ops=10, max_ops=40, empty=True)
    return graph, [feeds]


for _seed in range(4):
    PROGRAMS[f"random {_seed}"] = lambda seed=_seed: random_program(seed)

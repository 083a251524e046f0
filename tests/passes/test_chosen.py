"""Rows are chosen before they are computed: values, gradients, errors, and what stays."""

import numpy as np
import pytest

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.errors import IndexOutOfRange
from staticgrad.language.ops.contract import MatMul
from staticgrad.support.building import within

N, K, C = 40, 6, 5
RANDOM = np.random.default_rng(0)
A = RANDOM.normal(size=(N, K))
B = RANDOM.normal(size=(K, C))
H = RANDOM.normal(size=(3, N, K))
INDICES = np.array([3, 39, 3, -1, 0, 17, -40])
PAIR = np.array([[1, -2], [30, 1]])

#: Programs over arrays, of NumPy's functions; the rows that are computed are fewer than N.
PROGRAMS = {
    "rows of a product": lambda np: np.take(A @ np.B, INDICES, axis=0),
    "rows of a product, two axes": lambda np: np.take(A @ np.B, PAIR, axis=0),
    "one row": lambda np: (A @ np.B)[7],
    "first rows": lambda np: (A @ np.B)[:9],
    "every third row, from behind": lambda np: (A @ np.B)[::-3],
    "columns": lambda np: (np.B.T @ A.T)[:, 4:9],
    "columns by index": lambda np: np.take(np.B.T @ A.T, INDICES, axis=1),
    "rows and columns": lambda np: (A @ np.B)[2:11, 1:3],
    "a matrix of a batch": lambda np: (H @ np.B)[1:2, 5:9],
    "last tokens": lambda np: (np.tanh(H @ np.B) @ np.B.T)[:, -1],
    "last tokens of rows": lambda np: ((H.reshape(-1, K) @ np.B).reshape(3, N, C) * 2.0)[:, -1],
    "elements": lambda np: np.take(np.exp((A @ np.B) * 0.1) * 2.0, INDICES, axis=0),
    "elements with a row": lambda np: np.take(A * np.B[:, 0] + 1.0, INDICES, axis=0),
    "elements with a column": lambda np: ((A @ np.B) - (A @ np.B[:, :1]))[30:],
    "row sums": lambda np: np.take((A * np.B[:, 1]).sum(axis=1), INDICES),
    "row maxima": lambda np: (A @ np.B).max(axis=1)[:5],
    "column sums": lambda np: (A @ np.B).sum(axis=0)[1:3],
    "joined": lambda np: np.concatenate([A @ np.B, np.sin(A @ np.B)], axis=1)[3:8],
    "transposed": lambda np: np.transpose(np.exp(A @ np.B))[:, 2:6],
    "observed cells": lambda np: (np.exp(A @ np.B) + A[:, :5])[[1, 30, 1], [0, 4, 2]],
    "flat cells": lambda np: np.sin(A @ np.B).reshape(-1)[[0, 199, 7]],
    "residual": lambda np: (A @ np.B @ np.B.T + np.tanh(A @ np.B) @ np.B.T)[-2:],
    "shifted in blocks": lambda np: (A @ np.B).reshape(8, 5, C)[:, 2],
}  # fmt: skip


class Over:
    """NumPy's functions, or ours, with the matrix B as one of their names."""

    def __init__(self, functions, matrix):
        self._functions, self.B = functions, matrix

    def __getattr__(self, name):
        return getattr(self._functions, name)


def by_numpy(program, matrix):
    return program(Over(np, matrix))


def differences(loss, point, direction):
    h = 1e-5
    return (loss(point + h * direction) - loss(point - h * direction)) / (2 * h)


def late(graph):
    return pipeline("chosen-first")(graph)


def rows_of(graph):
    """The largest axis of what a graph computes."""
    computed = [n for n in graph.nodes if not n.is_leaf and n.op.name not in {"pad", "scatter_add"}]
    return max(size for n in computed for t in n.types for size in t.shape)


@pytest.mark.thinned(4, budgeted=True)  # 2 s together
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_two_derivatives(name):
    program = PROGRAMS[name]
    b, v = sg.input("b", (K, C), "float64"), RANDOM.normal(size=(K, C))
    y = program(Over(sg, b))
    loss = (sg.sin(y) * y).sum()
    slope = sg.grad(loss, b)
    graph = sg.Graph({"y": y, "slope": slope, "curve": sg.grad((slope * v).sum(), b)})
    compiled = sg.compile(graph)
    assert "chosen-first" in {r.name for r in compiled.explanation().late if r.changed}
    results = compiled.run({"b": B})
    np.testing.assert_allclose(results["y"], by_numpy(program, B), rtol=1e-12, atol=1e-13)

    def loss_by_numpy(matrix):
        value = by_numpy(program, matrix)
        return (np.sin(value) * value).sum()

    expected = differences(loss_by_numpy, B, v)
    np.testing.assert_allclose((results["slope"] * v).sum(), expected, rtol=1e-6, atol=1e-7)
    only_slope = sg.compile(sg.Graph({"slope": slope}))
    curve = differences(lambda m: only_slope.run({"b": m})["slope"], B, v)
    np.testing.assert_allclose(results["curve"], curve, rtol=1e-5, atol=1e-6)


SELECTING = [
    lambda a, b, i: sg.take(a @ b, i, axis=0),
    lambda a, b, i: (a @ b)[:7],
    lambda a, b, i: sg.take(sg.exp(a), i, axis=0),
    lambda a, b, i: sg.take(a.sum(axis=1), i),
    lambda a, b, i: sg.grad(sg.sin(sg.take(a @ b, i, axis=0)).sum(), b),
    lambda a, b, i: sg.grad(sg.sin((sg.tanh(a) @ b)[:7]).sum(), b),
]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("sides", [{}, {"prepend": 2.0}, {"prepend": 2.0, "append": 1.0}])
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 3), (3, 1), (2, 3)])
def test_no_row_is_chosen_of_one(shape, sides, order):
    x, array = sg.input("x", shape, "float64"), RANDOM.normal(size=shape)
    for axis in range(len(shape)):
        result = sg.compile(sg.diff(x, n=order, axis=axis, **sides)).run({"x": array})
        expected = np.diff(array, n=order, axis=axis, **sides)
        np.testing.assert_allclose(result, expected, atol=1e-15)


@pytest.mark.parametrize("program", SELECTING)
def test_what_is_not_read_is_not_computed(program):
    a, b = sg.input("a", (N, K), "float64"), sg.input("b", (K, C), "float64")
    i = sg.input("i", (7,), "int64")
    assert rows_of(late(sg.compile(program(a, b, i)).graph)) == 7


@pytest.mark.parametrize("program", SELECTING)
@pytest.mark.parametrize("n", [9, 40, 1])
def test_named_sizes(program, n):
    rows = sg.dim("n", hint=1000)
    a, b = sg.input("a", (rows, K), "float64"), sg.input("b", (K, C), "float64")
    i = sg.input("i", ("m",), "int64")
    compiled = sg.compile(program(a, b, i))
    feeds = {"a": A[:n], "b": B, "i": np.array([0, -1, n - 1])}
    feeds = {name: feeds[name] for name in compiled.graph.input_types}
    plain = sg.compile(program(a, b, i), disable=["chosen-first"])
    np.testing.assert_allclose(compiled.run(feeds), plain.run(feeds), rtol=1e-13)


@pytest.mark.parametrize("program", SELECTING)
@pytest.mark.parametrize("wrong", [N, -N - 1])
def test_indices_outside_are_errors(program, wrong):
    a, b = sg.input("a", (N, K), "float64"), sg.input("b", (K, C), "float64")
    i = sg.input("i", (3,), "int64")
    compiled = sg.compile(program(a, b, i))
    feeds = {"a": A, "b": B, "i": np.array([0, wrong, 1])}
    feeds = {name: feeds[name] for name in compiled.graph.input_types}
    if "i" in feeds:
        with pytest.raises(IndexOutOfRange, match=str(wrong)):
            compiled.run(feeds)


def test_rows_and_elements_have_the_same_bits():
    a, b = sg.input("a", (600, 88), "float32"), sg.input("b", (88, 24), "float32")
    feeds = {"a": RANDOM.normal(size=a.shape), "b": RANDOM.normal(size=b.shape)}
    feeds = {name: array.astype("float32") for name, array in feeds.items()}
    outputs = {"few": (a @ b)[5:14], "taken": sg.take(sg.exp(a) @ b, INDICES, axis=0),
               "sums": sg.exp(a).sum(axis=1)[7:90]}  # fmt: skip
    chosen = sg.compile(sg.Graph(outputs)).run(feeds)
    computed = sg.compile(sg.Graph(outputs), disable=["chosen-first"]).run(feeds)
    for name in outputs:
        np.testing.assert_array_equal(chosen[name], computed[name])


STAYING = {
    "another reader": lambda a, b: {"y": (a @ b)[:5], "s": (a @ b).sum()},
    "an output": lambda a, b: {"y": (a @ b)[:5], "p": a @ b},
    "second rows of one product": lambda a, b: {"y": (a @ b)[:5], "z": (a @ b)[5:12]},
    "gates": lambda a, b: {"y": sg.exp((a @ b)[:, :2]) * (a @ b)[:, 2:4]},
    "all rows": lambda a, b: {"y": (a @ b)[::-1]},
    "as many rows": lambda a, b: {"y": sg.take(a @ b, np.arange(N)[::-1], axis=0)},
    "elements of long rows": lambda a, b: {"y": sg.take(a.sum(axis=0), [1, 2])},
    "all but the border": lambda a, b: {"y": sg.exp(a)[1:-1] * 2.0, "g": sg.pad(b, 1) * 3.0},
    "an input": lambda a, b: {"y": a[:5] + 1.0, "b": sg.exp(b)},
}


@pytest.mark.parametrize("name", STAYING)
def test_what_others_read_stays(name):
    a, b = sg.input("a", (N, K), "float64"), sg.input("b", (K, C), "float64")
    outputs = sg.compile(sg.Graph(STAYING[name](a, b))).graph
    assert late(outputs) is outputs


def test_rows_that_are_not_chosen_may_be_infinite():
    a = sg.input("a", (N, K), "float64")
    array = np.where(np.arange(N)[:, None] == 4, 0.0, abs(A))
    slope = sg.grad(sg.take(sg.log(a), [0, 9, 9], axis=0).sum(), a)
    expected = np.zeros((N, K))
    expected[0], expected[9] = 1 / array[0], 2 / array[9]
    np.testing.assert_allclose(sg.compile(slope).run({"a": array}), expected, rtol=1e-15)

    """0 * inf is NaN: only in a derivative a zero says that nothing depends on an element."""
    """Of a gradient they say that nothing depends on an element; 0 * inf is NaN elsewhere."""
    a, b = sg.input("a", (N, K), "float64"), sg.input("b", (3, K), "float64")
    padded = sg.pad(b, [(4, N - 7), (0, 0)])
    outputs = {"times": padded * a, "over": padded / a, "minus": -padded, "product": padded @ a.T}
    array, rows = np.where(np.arange(N)[:, None] % 2, np.inf, -(A**2)), B.T[:3]
    got = sg.compile(outputs).run({"a": array, "b": rows})
    with np.errstate(all="ignore"):
        zeros = np.pad(rows, [(4, N - 7), (0, 0)])
        expected = {"times": zeros * array, "over": zeros / array, "minus": -zeros}
        np.testing.assert_allclose(got["product"], zeros @ array.T, rtol=1e-13)
    for name, numbers in expected.items():
        numbered = ~np.isnan(numbers)
        np.testing.assert_array_equal(got[name], numbers)
        np.testing.assert_array_equal(
            np.signbit(got[name])[numbered], np.signbit(numbers)[numbered]
        )


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_products_with_zeros(transposed, side, axis):
    """Some rows of a factor are there, of any axis of it: as many are multiplied."""
    shapes = [(4, 6, 8), (4, 8, 10)]
    shapes = [
        (n, k, m) if t else (n, m, k) for (n, m, k), t in zip(shapes, transposed, strict=True)
    ]
    factors = [RANDOM.normal(size=shape) for shape in shapes]
    size = shapes[side][axis]
    count, where = size // 2 - 1, np.array([size - 1, 0, 2, 1])[: size // 2 - 1]
    rows = np.take(factors[side], range(count), axis)
    x = sg.input("x", rows.shape, "float64")
    second = sg.input("second", shapes[1 - side], "float64")
    padded = sg.pad(x, [(1, size - count - 1) if k == axis else (0, 0) for k in range(3)])
    scattered = sg.scatter_add(x, where, size, axis)
    for name, zeros in {"padded": padded, "scattered": scattered}.items():
        pair = (zeros, second) if side == 0 else (second, zeros)
        a, b = (sg.matrix_transpose(f) if t else f for f, t in zip(pair, transposed, strict=True))
        full = np.zeros(shapes[side])
        places = range(1, count + 1) if name == "padded" else where
        np.moveaxis(full, axis, 0)[list(places)] = np.moveaxis(rows, axis, 0)
        operands = (full, factors[1]) if side == 0 else (factors[0], full)
        left, right = (np.swapaxes(f, 1, 2) if t else f
                       for f, t in zip(operands, transposed, strict=True))  # fmt: skip
        with within(a.node.origin, 1):  # as the gradient of a selection has them
            product = a @ b
        graph = sg.compile(sg.Graph({"y": product})).graph
        rewritten = late(graph)
        (product,) = [n for n in rewritten.nodes if isinstance(n.op, MatMul)]
        assert count in {size for arg in product.args for size in arg.shape}
        result = sg.compile(graph).run({"x": rows, "second": factors[1 - side]})["y"]
        np.testing.assert_allclose(result, left @ right, rtol=1e-13, atol=1e-13)

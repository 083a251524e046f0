"""Sizes on both sides of those that kernels know; programs whose axes are of one length.

Where queries, keys and values, rows and columns, results and slopes are equally long, a compiler
that goes by shapes takes one for the other. Slices, reductions over some axes, products of what was
reduced with what was not, and convolutions whose cotangents repeat are drawn together, with any of
the results and slopes as outputs. Those of exact operations, sums among them, have the evaluator's
bytes.

A few in the ordinary suite; six hundred with ``-m exhaustive``.
"""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.language.ir.summation import tree_sum
from tests.compiled.agreement import assert_same, differing
from tests.compiled.ways import assert_true
from tests.helpers.limits import finfo

ROWS = (0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 4095, 4096, 4097, 3 * 4096 + 5)
COLUMNS = (0, 1, 31, 32, 33, 1023, 1024, 1025, 1056, 2081)
FLOATS = ("float32", "float64")


def uneven_numbers(rng, shape, dtype):
    """Numbers of many magnitudes, so that another order of addition gives other bits."""
    return (rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, shape)).astype(dtype)


def sums(dtype):
    """A program that sums one matrix in many ways, and what each is of that matrix."""
    x = sg.input("x", ("m", "n"), dtype)
    cube = sg.expand_dims(x, 1) * np.asarray([[1.0], [-2.0], [0.5]], dtype)
    ways = {
        "rows": (x.sum(1), lambda a, c: tree_sum(a, (1,))),
        "columns": (x.sum(0), lambda a, c: tree_sum(a, (0,))),
        "all": (x.sum(), lambda a, c: tree_sum(a, (0, 1))),
        "rows of a transpose": (x.T.sum(1), lambda a, c: tree_sum(a.T, (1,))),
        "columns of a transpose": (x.T.sum(0), lambda a, c: tree_sum(a.T, (0,))),
        "all of a transpose": (x.T.sum(), lambda a, c: tree_sum(a.T, (0, 1))),
        "reversed rows": (x[::-1, ::-1].sum(1), lambda a, c: tree_sum(a[::-1, ::-1], (1,))),
        "reversed columns": (x[::-1, ::-1].sum(0), lambda a, c: tree_sum(a[::-1, ::-1], (0,))),
        "rows of a square": ((x * x).sum(1), lambda a, c: tree_sum(a * a, (1,))),
        "columns of a square": ((x * x).sum(0), lambda a, c: tree_sum(a * a, (0,))),
        "two trailing axes": (cube.sum((1, 2)), lambda a, c: tree_sum(c, (1, 2))),
        "first and last axis": (cube.sum((0, 2)), lambda a, c: tree_sum(c, (0, 2))),
        "two leading axes": (cube.sum((0, 1)), lambda a, c: tree_sum(c, (0, 1))),
        "the middle axis": (cube.sum(1), lambda a, c: tree_sum(c, (1,))),
        "all three axes": (cube.sum(), lambda a, c: tree_sum(c, (0, 1, 2))),
    }
    graph = sg.Graph({name: value for name, (value, _) in ways.items()})
    return graph, {name: oracle for name, (_, oracle) in ways.items()}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_follow_the_tree_at_every_size(dtype, rng):
    graph, oracles = sums(dtype)
    fused, unfused = sg.compile(graph), sg.compile(graph, fuse=False)
    shapes = [(3, n) for n in ROWS] + [(m, n) for m in COLUMNS for n in (0, 1, 17)] + [(40, 33)]
    for m, n in shapes:
        data = uneven_numbers(rng, (m, n), dtype)
        cube = data[:, None, :] * np.asarray([[1.0], [-2.0], [0.5]], dtype)
        expected = {name: np.asarray(oracle(data, cube)) for name, oracle in oracles.items()}
        assert_same(fused.run({"x": data}), expected, (m, n))
        assert_same(unfused.run({"x": data}), expected, (m, n))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_are_near_the_true_sum(dtype, rng):
    x = sg.input("x", ("m", "n"), dtype)
    f = sg.compile({"rows": x.sum(1), "columns": x.sum(0), "all": x.sum()})
    for shape in ((2, 100_003), (100_003, 2), (1000, 1000)):
        data = uneven_numbers(rng, shape, dtype)
        actual = f.run({"x": data})
        for name, axes in (("rows", 1), ("columns", 0), ("all", None)):
            wide = data.astype(np.longdouble)
            terms = data.size // max(actual[name].size, 1)
            bound = 4 * finfo(dtype).eps * np.log2(terms) * np.abs(wide).sum(axes)
            assert np.all(np.abs(actual[name] - wide.sum(axes)) <= bound), (name, shape)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "uint64", "bool"])
def test_extremes_at_every_size(dtype, rng):
    """NaN wins, -0 < +0; elements round the identity of the reduction."""
    x = sg.input("x", ("m", "n"), dtype)
    reduced = {
        f"{name} {axes}": getattr(sg, name)(x, axes)
        for name, axes in product(("max", "min"), (0, 1, (0, 1)))
    }
    graph = sg.Graph(reduced)
    f = sg.compile(graph)
    if np.dtype(dtype).kind == "f":
        plain = np.array([0.0, -0.0, -1.0, 1e-45, np.inf, -np.inf], dtype)
        pools = [plain, plain[:2], plain[4:], np.append(plain, np.nan).astype(dtype)]
    elif dtype == "bool":
        pools = [np.array([True]), np.array([False]), np.array([True, False])]
    else:
        info = np.iinfo(dtype)
        pools = [np.array([info.min, info.max, 0, 1], dtype), np.array([info.min], dtype)]
    for shape in ((1, 1), (3, 15), (2, 16), (2, 17), (33, 5), (1, 4097), (1025, 3)):
        for pool in pools:
            data = rng.choice(pool, shape)
            assert_same(f.run({"x": data}), sg.evaluate(graph, {"x": data}), shape)


# -- matrix products ------------------------------------------------------------------------------

SMALL = (0, 1, 2, 7, 8, 9)
LARGE = (31, 32, 33, 95, 96, 97)


def products(dtype):
    """Every transposition, one with an epilogue."""
    a, b = sg.input("a", ("m", "k"), dtype), sg.input("b", ("k", "n"), dtype)
    a_t, b_t = sg.input("at", ("k", "m"), dtype), sg.input("bt", ("n", "k"), dtype)
    bias = sg.input("bias", ("n",), dtype)
    return sg.Graph(
        {
            "plain": a @ b,
            "left": a_t.T @ b,
            "right": a @ b_t.T,
            "both": a_t.T @ b_t.T,
            "epilogue": sg.maximum(a @ b + bias, 1) * 2,
        }
    )


def operands(rng, m, n, k, dtype, integers):
    """a, b, their transposes, and a bias."""
    draw = (
        (lambda *shape: rng.integers(-3, 4, shape).astype(dtype))
        if integers
        else (lambda *shape: rng.normal(size=shape).astype(dtype))
    )
    a, b = draw(m, k), draw(k, n)
    return {"a": a, "b": b, "at": a.T.copy(), "bt": b.T.copy(), "bias": draw(n)}


def shapes(rng):
    """All small M, N, K; each pair of large ones with a third; long K."""
    large = [
        tuple(int(x) for x in rng.permutation([first, second, rng.choice(SMALL[1:] + LARGE)]))
        for first, second in product(LARGE, LARGE)
    ]
    return [*product(SMALL, SMALL, SMALL), *large, (9, 33, 4096), (2, 17, 4097), (1, 1, 8193)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [*FLOATS, "int32"])
def test_products_of_whole_numbers_are_exact(dtype, rng):
    """Whole numbers leave no rounding: every element must be in its place, at every size."""
    f = sg.compile(products(dtype))
    for m, n, k in shapes(rng):
        feeds = operands(rng, m, n, k, dtype, integers=True)
        want = np.matmul(feeds["a"].astype("float64"), feeds["b"].astype("float64"))
        actual = f.run(feeds)
        for name in ("plain", "left", "right", "both"):
            got = actual[name]
            assert np.array_equal(got, want), f"{name} {m, n, k}: {differing(got, want)}"
        activated = np.maximum(want + feeds["bias"], 1) * 2
        assert np.array_equal(actual["epilogue"], activated), (m, n, k)


@pytest.mark.thinned(2)
@pytest.mark.parametrize("dtype", FLOATS)
def test_products_are_near_the_true_product(dtype, rng):
    f = sg.compile(products(dtype))
    for m, n, k in ((9, 33, 100), (97, 31, 96), (3, 5, 4096), (8, 16, 4097), (1, 1, 20_000)):
        feeds = operands(rng, m, n, k, dtype, integers=False)
        a, b = feeds["a"].astype(np.longdouble), feeds["b"].astype(np.longdouble)
        bound = 4 * finfo(dtype).eps * np.log2(k) * (np.abs(a) @ np.abs(b))
        actual = f.run(feeds)
        for name in ("plain", "left", "right", "both"):
            assert np.all(np.abs(actual[name] - a @ b) <= bound), (name, m, n, k)


def chain(a, b):
    """Fused multiply-adds in ascending k, 4,096 at a time, rounded from exact rationals."""
    total = None
    for start in range(0, len(a), 4096):
        part = 0.0
        for x, y in zip(a[start : start + 4096], b[start : start + 4096], strict=True):
            part = float(Fraction(float(x)) * Fraction(float(y)) + Fraction(part))
        total = part if total is None else total + part
    return total if total is not None else 0.0


@pytest.mark.slow
def test_an_element_of_a_product_is_one_chain_of_fused_multiply_adds(rng):
    f = sg.compile(products("float64"))
    for m, n, k in ((9, 17, 3), (3, 2, 40), (2, 2, 4099)):
        feeds = operands(rng, m, n, k, "float64", integers=False)
        want = np.array([[chain(row, column) for column in feeds["bt"]] for row in feeds["a"]])
        actual = f.run(feeds)
        for name in ("plain", "left", "right", "both"):
            assert same_bytes(actual[name], want), (name, m, n, k)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nothing_of_a_padded_tile_gets_into_a_product(dtype):
    """NaN and infinity in one row or column stay there, at ragged edges too."""
    f = sg.compile(products(dtype))
    rng = np.random.default_rng(4)
    for m, n, k in ((9, 33, 8), (95, 31, 5), (1, 1, 1), (2, 47, 3)):
        feeds = operands(rng, m, n, k, dtype, integers=True)
        feeds["a"][m - 1], feeds["b"][:, n - 1] = np.nan, np.inf
        feeds |= {"at": feeds["a"].T.copy(), "bt": feeds["b"].T.copy()}
        with np.errstate(invalid="ignore"):
            want = np.matmul(feeds["a"].astype("float64"), feeds["b"].astype("float64"))
        actual = f.run(feeds)
        for name in ("plain", "left", "right", "both"):
            assert np.array_equal(actual[name], want, equal_nan=True), (name, m, n, k)


@pytest.mark.parametrize("shape", [(8, 0, 0), (8, 5, 0, 0), (8, 0, 0, 1), (0, 0), (3, 0, 2, 0)])
def test_reductions_over_several_axes_of_no_size_are_written(shape):
    """The row is one axis of no size, not loops around it that never reach the store."""
    x = sg.input("x", shape, "float32")
    y = sg.input("y", (shape[0], *[1] * (len(shape) - 1)), "float32")
    axes = tuple(range(1, len(shape)))
    outputs = {"sum": x.sum(axes), "product": (x + y).prod(axes), "all": x.sum()}
    graph = sg.Graph(outputs | {"any": (x > y).any(axes)})
    feeds = {"x": np.ones(shape, "f4"), "y": np.ones((shape[0], *[1] * (len(shape) - 1)), "f4")}
    assert_same(sg.compile(graph).run(feeds), sg.evaluate(graph, feeds))


EMPTY_ROWS = {
    "running totals": lambda x: sg.cumsum(x, 1),
    "running totals of columns": lambda x: sg.cumsum(x, 0),
    "softmax": lambda x: sg.nn.softmax(x, 1),
    "sorted": lambda x: sg.sort(x, 1),
    "joined": lambda x: sg.concatenate([x, x], 1),
    "reversed": lambda x: x[::-1, ::-1] + x,
    "slope": lambda x: sg.grad((sg.exp(x) ** 2).sum(1).sum(), x),
}


@pytest.mark.parametrize("name", EMPTY_ROWS)
@pytest.mark.parametrize("shape", [("m", "n"), (2**40, 0)])
def test_rows_that_store_no_element_are_not_walked(name, shape):
    """A walk of 2**40 of them would take an hour."""
    x = sg.input("x", shape, "float32")
    f = sg.compile({"y": EMPTY_ROWS[name](x)})
    plan = f.plan(m=2**40, n=0) if "m" in shape else f.plan()
    assert all(planned.total == 0 for planned in plan.steps)
    assert f.run({"x": np.zeros((2**40, 0), "float32")})["y"].shape == (2**40, 0)


LENGTHS = (3, 8, 17, 64)

#: What is read of three axes.
READ = {
    "all": lambda x: x,
    "every second row": lambda x: x[:, ::2, :-1],
    "neighbours": lambda x: x[..., 1:] - x[..., :-1],
}
#: What is computed of each element.
EACH = {
    "itself": lambda x: x,
    "tanh": lambda x: sg.tanh(x) if x.dtype.is_float else x,
    "square": lambda x: x**2,
    "by its row": lambda x: x * x.sum(-1, keepdims=True).astype(x.dtype),
}
#: What that goes through, beside a value and filters of the same lengths.
THEN = {
    "nothing": lambda y, v, w: y,
    "a product": lambda y, v, w: y @ v[:, : y.shape[2]],
    "weights": lambda y, v, w: sg.nn.softmax(y) @ v[:, : y.shape[2]] if y.dtype.is_float else y,
    "itself transposed": lambda y, v, w: sg.swapaxes(y, 1, 2) @ y,
    "windows": lambda y, v, w: sg.nn.conv(y, w[:, : y.shape[1]]),
}
AXES = ((0, 1, 2), (1, 2), (1,), (2,))
SOURCES = ("x", "v", "w")


@st.composite
def programs(draw):
    """Outputs, the inputs that they may read, and how long axes are."""
    kind = draw(st.sampled_from(("float64", "float64", "float64", "float32", "int8")))
    size = draw(st.sampled_from(LENGTHS))
    n = "n" if draw(st.booleans()) else size
    x, v, w = (
        sg.input("x", (3, n, n), kind),
        sg.input("v", (3, n, n), kind),
        sg.input("w", (17, size, 2), kind),
    )
    read, middle, then = (draw(st.sampled_from(sorted(table))) for table in (READ, EACH, THEN))
    if then == "windows":  # channels have a size known at build
        x = sg.input("x", (3, size, size), kind)
    y = THEN[then](EACH[middle](READ[read](x)), v, w)
    total = y.sum(draw(st.sampled_from(AXES)))
    outputs = {"y": y, "total": total}
    if y.dtype.is_float:
        loss = (total * total).sum() if draw(st.booleans()) else total.sum()
        slopes = sg.grad(loss, [x, v, w], allow_disconnected=True)
        outputs |= {f"by {name}": slope for name, slope in zip(SOURCES, slopes, strict=True)}
    left_out = draw(st.sampled_from(("y", "y", "y", *sorted(outputs))))
    selected = {name: value for name, value in outputs.items() if name != left_out}
    return selected, [x, v, w], size


def check(outputs, inputs, size):
    """Compile, run and compare."""
    graph = sg.Graph(outputs, inputs=inputs)
    rng = np.random.default_rng(size)
    feeds = {}
    for name, value in zip(SOURCES, inputs, strict=True):
        shape = [side if isinstance(side, int) else size for side in value.shape]
        feeds[name] = (rng.normal(size=shape) * 3.0).astype(value.dtype.numpy)
    assert_true(graph, sg.compile(graph).run(feeds), feeds)


@pytest.mark.slow
@pytest.mark.parametrize("most", [12, pytest.param(600, marks=pytest.mark.exhaustive)])
def test_programs_of_equal_lengths(most):
    run = given(programs())(lambda program: check(*program))
    settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=most < 100,
        suppress_health_check=list(HealthCheck),
    )(run)()

"""Statistics of a softmax in parts of long rows, and elements selected from long rows."""

import numpy as np
import pytest

import staticgrad as sg
from passes.late.exponentials import sum_in_parts
from passes.late.indices import select_before_arithmetic
from passes.pipelines import pipeline
from tests.compiled.agreement import assert_same
from tests.compiled.ways import numbers

WAYS = ({"threads": 1}, {"threads": 2}, {"fuse": False}, {"backend": "numba"})
#: Of the largest logarithm, or of a probability.
NEAR = {"float32": 3e-6, "float64": 1e-13, "float16": 2e-3}


def rows(shape, dtype):
    """Rows with a part of -inf, with -inf alone, +inf, NaN, numbers far from 0, and plain ones."""
    array = np.random.default_rng(0).normal(size=shape) * 5
    strange = array.reshape(-1, shape[-1])
    if len(strange) >= 8:
        strange[0] = -np.inf
        strange[1, 5] = np.inf
        strange[2, -1] = np.nan
        strange[3, :5000] = -np.inf
        strange[4] -= 1000
        strange[5, :5000] = -np.inf
        strange[5, 5000:] -= 1000
        strange[6] += 1000
    return array.astype(dtype)


def log_sum_exp(x):
    """Compute it in float64; +inf and -inf as the maximum."""
    largest = x.max(-1, keepdims=True)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(all="ignore"):
        return (np.log(np.exp(x - shift).sum(-1, keepdims=True)) + shift)[..., 0]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((20, 16384), "float32"),
        ((9, 30001), "float64"),
        ((2, 4, 50257), "float16"),
        ((300007,), "float32"),
    ],
)
def test_a_sum_in_parts_has_the_value_of_the_whole_sum(shape, dtype):
    array = rows(shape, dtype)
    x = sg.input("x", shape, dtype)
    graph = pipeline("O1")(sg.Graph({"y": sg.nn.logsumexp(x)}))
    in_parts = sum_in_parts(graph)
    assert in_parts is not graph
    expected = log_sum_exp(array.astype("float64"))
    near = NEAR[dtype] * np.abs(expected[np.isfinite(expected)]).max()
    for actual in (
        sg.evaluate(in_parts, {"x": array}),
        sg.compile(graph).run({"x": array}),
    ):
        np.testing.assert_allclose(actual["y"].astype("float64"), expected, rtol=0, atol=near)


@pytest.mark.slow
def test_every_way_has_the_same_bits():
    """Also of the last rows of a softmax and its gradient, whose rows are read again."""
    array = rows((2, 1 << 20), "float32")
    x = sg.input("x", array.shape, "float32")
    y = sg.nn.softmax(x)
    graph = sg.Graph({"y": y, "slope": sg.grad((y * y).sum(), x)})
    assert sum_in_parts(pipeline("O1")(graph)) is not graph
    expected = sg.compile(graph).run({"x": array})
    wide = array.astype("float64")
    true = np.exp(wide - log_sum_exp(wide)[:, None])
    np.testing.assert_allclose(expected["y"], true, rtol=3e-5, atol=0)
    for way in WAYS:
        assert_same(sg.compile(graph, **way).run({"x": array}), expected, str(way))


@pytest.mark.parametrize(
    "value",
    [
        lambda x, w: sg.nn.logsumexp(x[:8]),
        lambda x, w: sg.nn.logsumexp(x[:, :9000]),
        lambda x, w: sg.nn.softmax(x),
        lambda x, w: sg.nn.logsumexp(w @ x),
        lambda x, w: sg.exp(x - 1.0).sum(1) + x.max(1),
        lambda x, w: sg.nn.logsumexp(x, axis=0),
    ],
)
def test_other_sums_stay_whole(value):
    x, w = sg.input("x", (20, 16384), "float32"), sg.input("w", (20, 20), "float32")
    graph = pipeline("O1")(sg.Graph(value(x, w)))
    assert sum_in_parts(graph) is graph


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32"])
def test_one_element_of_a_long_row_is_selected_before_arithmetic(axis, dtype):
    shape = (3, 20000) if axis == 1 else (20000, 3)
    column = tuple(1 if k == axis else size for k, size in enumerate(shape))
    x, c = sg.input("x", shape, dtype), sg.input("c", column, dtype)
    index = sg.input("i", column, "int64")
    graph = sg.Graph({"y": sg.take_along_axis((x - c) * 2 + x, index, axis)})
    assert select_before_arithmetic(graph) is not graph
    feeds = {
        "x": sg.evaluate(sg.astype(sg.constant(numbers(shape, "float32").clip(-99, 99)), dtype)),
        "c": sg.evaluate(sg.astype(sg.constant(numbers(column, "float32").clip(-99, 99)), dtype)),
        "i": np.array([5, -1, 19999]).reshape(column),
    }
    with np.errstate(all="ignore"):
        expected = sg.evaluate(graph, feeds)
    program = sg.compile(graph)
    assert program.plan().peak_bytes < 4096
    assert_same(program.run(feeds), expected)
    with pytest.raises(sg.errors.IndexOutOfRange):
        program.run(feeds | {"i": np.full(column, 20000)})


def test_the_maximum_and_the_sum_of_long_rows_share_the_maxima_of_their_parts():
    x = sg.input("x", (3, 200_000), "float32")
    graph = sum_in_parts(sg.Graph({"y": sg.nn.logsumexp(x, -1)}))
    operands = [node.args[0] for node in graph.nodes if type(node.op).__name__ in ("Max", "Exp")]
    parts = [int(np.prod(operand.shape)) for operand in operands if operand.ndim == 3]
    assert sum(parts) == 2 * 3 * 200_000  # each element is compared once, and raised once

"""``sg.quantize``: products of integers, by integers of NumPy and by floats in their place."""

from itertools import pairwise

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, FeedError

RANDOM = np.random.default_rng(0)


def multiplies_words(f):
    return any("dot4_u8_i8" in kernel.source for kernel in f.kernels)


def quantize_columns(weights, axes):
    """Signed integers and the scale of each column, by its largest number."""
    scales = (np.abs(weights).max(axes, keepdims=True) / np.float32(127)).astype("f4")
    return np.rint(weights / scales).astype("i8"), scales


def quantize_range(x, least, most):
    """Unsigned integers less their zero point, and the scale, of numbers of a range."""
    least, most = min(np.float32(least), np.float32(0)), max(np.float32(most), np.float32(0))
    scale = (most - least) / np.float32(255)
    zero = np.rint(np.clip(-least / scale, 0, 255))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype("i8") - int(zero), scale


def dense(sizes=(48, 40, 24)):
    """Two layers with biases; inputs, parameters and a function of NumPy by exact integers."""
    x = sg.input("x", ("n", sizes[0]), "float32")
    weights = [(RANDOM.normal(size=pair) / 5).astype("f4") for pair in pairwise(sizes)]
    biases = [RANDOM.normal(size=n).astype("f4") for n in sizes[1:]]
    h = x
    for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
        h = sg.nn.relu(h @ sg.parameter(f"w{k}", w) + sg.parameter(f"b{k}", b))

    def compute(array, ranges=None):
        h = array
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            ends = (h.min(), h.max()) if ranges is None else ranges[k]
            integers, scale = quantize_range(h, *ends)
            matrix, scales = quantize_columns(w, 0)
            total = (integers @ matrix).astype("f4")
            h = np.maximum(total * (scale * scales) + b, 0)
        return h

    return {"y": h}, compute, weights, biases


def test_ranges_of_each_run():
    program, compute, *_ = dense()
    graph = sg.quantize(program)
    f = sg.compile(graph)
    assert multiplies_words(f)
    for rows in (1, 9):
        x = RANDOM.normal(size=(rows, 48)).astype("f4")
        y = f.run({"x": x})["y"]
        np.testing.assert_allclose(y, compute(x), rtol=0, atol=2e-6 * np.abs(y).max())
        exact = sg.compile(program).run({"x": x})["y"]
        assert 0 < np.abs(y - exact).max() < 0.03 * np.abs(exact).max()
    assert {parameter.name for parameter in graph.parameters} == {"b0", "b1"}


def test_ranges_of_samples():
    """The ranges of all samples together, also for numbers beyond them."""
    program, compute, weights, biases = dense()
    samples = [{"x": RANDOM.normal(size=(5, 48)).astype("f4")} for _ in range(3)]
    f = sg.compile(sg.quantize(program, samples))
    stacked = np.concatenate([feeds["x"] for feeds in samples])
    hidden = np.maximum(stacked @ weights[0] + biases[0], 0)
    ranges = [(stacked.min(), stacked.max()), (hidden.min(), hidden.max())]
    x = 2 * RANDOM.normal(size=(7, 48)).astype("f4")
    y = f.run({"x": x})["y"]
    np.testing.assert_allclose(y, compute(x, ranges), rtol=0, atol=2e-3 * np.abs(y).max())
    assert not any("= min " in step.kernel.text for step in f.schedule.steps)
    by_first = sg.compile(sg.quantize(program, samples[0])).run({"x": x})["y"]
    assert np.abs(by_first - y).max() > 0


@pytest.mark.parametrize("samples", [False, True])
@pytest.mark.parametrize("options", [{"padding": 1}, {"stride": 2}])
def test_convolutions(options, samples):
    """Against the convolution in float64 of what the integers mean; zeros around the image."""
    shape, filters = (2, 8, 9, 9), (RANDOM.normal(size=(12, 8, 3, 3)) / 9).astype("f4")
    array = (RANDOM.normal(size=shape) + 0.7).astype("f4")
    x, w = sg.input("x", shape, "float32"), sg.parameter("w", filters)
    program = {"y": sg.nn.conv(x, w, **options)}
    f = sg.compile(sg.quantize(program, {"x": array} if samples else None))
    assert multiplies_words(f)
    integers, scale = quantize_range(array, array.min(), array.max())
    rounded, scales = quantize_columns(filters, (1, 2, 3))
    exact = sg.nn.conv(integers * float(scale), rounded * scales.astype("f8"), **options)
    y = f.run({"x": array})["y"]
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-5 * np.abs(exact).max())


def test_what_is_no_product_by_a_parameter_stays():
    """Products of two computed matrices, of groups, and of a vector."""
    x = sg.input("x", (2, 6, 8, 8), "float32")
    w = sg.parameter("w", np.ones((6, 1, 3, 3), "f4"))
    v = sg.parameter("v", np.ones(8, "f4"))
    rows = x.reshape(96, 8)
    program = {"a": rows @ rows.T, "b": sg.nn.conv(x, w, groups=6), "c": rows * v}
    assert str(sg.quantize(program)) == str(sg.Graph(program))


def test_later_parameters_do_not_count():
    w = sg.parameter("w", np.eye(8, dtype="f4"))
    x = sg.input("x", (3, 8), "float32")
    f = sg.compile(sg.quantize({"y": x @ w}))
    w.value = np.zeros((8, 8), "f4")
    y = f.run({"x": np.ones((3, 8), "f4")})["y"]
    np.testing.assert_allclose(y, 1, atol=0.01)


def test_a_column_of_zeros_and_an_input_of_zeros():
    weights = np.eye(8, dtype="f4")
    weights[:, 3] = 0
    x, w = sg.input("x", (3, 8), "float32"), sg.parameter("w", weights)
    f = sg.compile(sg.quantize({"y": x @ w}))
    assert not f.run({"x": np.zeros((3, 8), "f4")})["y"].any()
    y = f.run({"x": np.ones((3, 8), "f4")})["y"]
    np.testing.assert_allclose(y, np.ones((3, 8)) @ weights, atol=0.01)


def test_mistakes():
    program, *_ = dense()
    w = sg.parameter("w", np.eye(8, dtype="f4"))
    step = sg.Graph({"y": sg.sum(w)}, updates={w: w * 2})
    for arguments, error, message in (
        ((step,), ArgumentError, "quantize takes a program without updates"),
        ((program, []), ArgumentError, "there are no feeds in samples"),
        ((program, {"z": np.ones(3)}), FeedError, "no input 'z'"),
    ):
        with pytest.raises(error, match=message):
            sg.quantize(*arguments)


def test_ranges_contain_zero():
    """Numbers from 5 to 6 are integers from 213 to 255; a border of zeros has one, too."""
    array = RANDOM.uniform(5, 6, (4, 16)).astype("f4")
    x, w = sg.input("x", (4, 16), "float32"), sg.parameter("w", np.eye(16, dtype="f4"))
    for samples in (None, {"x": array}):
        y = sg.compile(sg.quantize({"y": x @ w}, samples)).run({"x": array})["y"]
        np.testing.assert_allclose(y, array, rtol=0, atol=0.02)

"""Short rows of a fixed length, and few columns: code has their numbers, and no bit changes."""

import numpy as np
import pytest

import staticgrad as sg

#: Less than a vector, vectors with and without a rest, the most that code is written for, and more.
WIDTHS = (3, 8, 17, 20, 30, 33, 64, 65)


def _program(rows, width, dtype, long):
    """Row sums, numbers of each row, and two sums of columns; the body of one may be long."""
    x, w = sg.input("x", (rows, width), dtype), sg.input("w", (width,), dtype)
    dot = (x * w).sum(axis=1)
    row_scale = (dot * dot + 1.0) / (sg.abs(dot) + 2.0)
    power = x
    for _ in range(40 if long else 1):
        power = power * x + 1.0
    sums = {
        "a": (x * row_scale[:, None]).sum(axis=0),
        "b": (power * row_scale[:, None]).sum(axis=0),
    }
    return sg.Graph({"dot": dot, "largest": x.max(axis=1), **sums})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("rows", "long"), [(500, False), (77, True), (31, False)])
def test_sums_of_short_rows_and_columns_have_the_bits_of_the_evaluator(rows, width, dtype, long):
    random = np.random.default_rng(width)
    feeds = {"x": random.normal(size=(rows, width)), "w": random.normal(size=width)}
    feeds = {name: value.astype(dtype) for name, value in feeds.items()}
    feeds["x"][rows // 2, width // 2] = -0.0
    graph = _program(rows, width, dtype, long)
    actual, expected = sg.compile(graph).run(feeds), sg.evaluate(graph, feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name].view("u1"), value.view("u1"), err_msg=name)


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_of_few_columns_have_the_bits_of_the_evaluator(width):
    x, r = sg.input("x", (1000, width), "float64"), sg.input("r", (1000,), "float64")
    graph = sg.Graph({"g": (x * r[:, None]).sum(axis=0)})
    random = np.random.default_rng(width)
    feeds = {"x": random.normal(size=(1000, width)), "r": random.normal(size=1000)}
    actual, expected = sg.compile(graph).run(feeds)["g"], sg.evaluate(graph, feeds)["g"]
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_allclose(actual, feeds["r"] @ feeds["x"], rtol=1e-9, atol=1e-9)

"""pad in every mode at named sizes, and the gradients of what is repeated; values against NumPy."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.messages import assert_refused

CALLS = [
    {"mode": "constant", "constant_values": ((1.0, 2.0), (3.0, 4.0))},
    {"mode": "edge"},
    {"mode": "reflect"},
    {"mode": "symmetric"},
    {"mode": "wrap"},
    {"mode": "linear_ramp", "end_values": (2.0, -3.0)},
    {"mode": "maximum"},
    {"mode": "mean", "stat_length": 2},
    {"mode": "median"},
    {"mode": "minimum", "stat_length": ((1, 9), (2, 1))},
]
WIDTHS = [((2, 3), (0, 1)), ((0, 7), (1, 0)), 1]


@pytest.mark.parametrize("options", CALLS, ids=lambda options: options["mode"])
def test_named_sizes(options):
    x = sg.input("x", ("n", "m"), "float64")
    out = {str(k): np.pad(x, width, **options) for k, width in enumerate(WIDTHS)}
    f = sg.compile(sg.Graph(out))
    for shape in ((4, 3), (1, 2), (2, 1)):
        array = np.random.default_rng(1).normal(size=shape)
        found = f.run({"x": array})
        for k, width in enumerate(WIDTHS):
            wanted = np.pad(array, width, **options)
            np.testing.assert_allclose(found[str(k)], wanted, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_gradients_add_up_where_elements_are_repeated(mode):
    x = sg.input("x", ("n",), "float64")
    weights = np.arange(1.0, 12.0)
    total = (np.pad(x, (4, 3), mode=mode) * weights).sum()
    slopes = sg.Graph({"slope": sg.grad(total, x)}, inputs=[x])
    found = sg.compile(slopes).run({"x": np.zeros(4)})["slope"]
    places = np.pad(np.arange(4), (4, 3), mode=mode)
    np.testing.assert_array_equal(found, np.bincount(places, weights))


def test_widths_may_be_named():
    x, n = sg.input("x", ("n",), "float64"), sg.dim("n")
    array = np.array([1.0, 2.0, 3.0])
    for mode in ("edge", "wrap"):
        found = sg.compile(sg.pad(x, (n, 1), mode=mode)).run({"x": array})
        np.testing.assert_array_equal(found, np.pad(array, (3, 1), mode=mode))


def test_refusals():
    x = sg.input("x", (3, 4))
    with assert_refused(ArgumentError, "mode='empty'", line="sg.pad"):
        sg.pad(x, 1, "empty")
    with assert_refused(ArgumentError, "end_values=2.0 says nothing", "linear_ramp", line="sg.pad"):
        sg.pad(x, 1, "edge", end_values=2.0)
    with assert_refused(ArgumentError, "reflect_type='odd'", line="sg.pad"):
        sg.pad(x, 1, "reflect", reflect_type="odd")
    with assert_refused(ShapeError, "no elements to repeat", line="sg.pad"):
        sg.pad(np.zeros((0, 2)), 1, "edge")
    with assert_refused(DTypeError, "int64", "float64", line="sg.pad"):
        sg.pad([1, 2], 1, "mean")
    with assert_refused(ArgumentError, "constant_values", line="sg.pad"):
        sg.pad(x, 1, constant_values=[1.0, 2.0, 3.0])

"""pad in every mode at named sizes, and the gradients of what is repeated; values against NumPy."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import eager
from staticgrad.errors import ArgumentError, DTypeError, ShapeError
from tests.ops.messages import assert_each_refused

CALLS = [
    {"mode": "constant", "constant_values": ((1.0, 2.0), (3.0, 4.0))},
    {"mode": "edge"},
    {"mode": "reflect"},
    {"mode": "symmetric"},
    {"mode": "reflect", "reflect_type": "odd"},
    {"mode": "symmetric", "reflect_type": "odd"},
    {"mode": "wrap"},
    {"mode": "linear_ramp", "end_values": (2.0, -3.0)},
    {"mode": "maximum"},
    {"mode": "mean", "stat_length": 2},
    {"mode": "median"},
    {"mode": "minimum", "stat_length": ((1, 9), (2, 1))},
]
WIDTHS = [((2, 3), (0, 1)), ((0, 7), (1, 0)), 1]


@pytest.mark.thinned(4)
@pytest.mark.parametrize(
    "options", CALLS, ids=lambda options: options["mode"] + options.get("reflect_type", "")
)
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


@pytest.mark.parametrize("number", [0, 0.0, -0.0, np.float32(-0.0)])
def test_zeros_around_an_array_have_the_sign_that_was_given(number):
    wanted = np.pad(np.ones((2, 3)), 1, constant_values=number)
    for found in (
        sg.evaluate(sg.pad(np.ones((2, 3)), 1, constant_values=number)),
        sg.function(lambda x: sg.pad(x, 1, constant_values=number))(np.ones((2, 3))),
    ):
        np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_gradients_add_up_where_elements_are_repeated(mode):
    x = sg.input("x", ("n",), "float64")
    weights = np.arange(1.0, 12.0)
    total = (np.pad(x, (4, 3), mode=mode) * weights).sum()
    slopes = sg.Graph({"slope": sg.grad(total, x)}, inputs=[x])
    found = sg.compile(slopes).run({"x": np.zeros(4)})["slope"]
    places = np.pad(np.arange(4), (4, 3), mode=mode)
    np.testing.assert_array_equal(found, np.bincount(places, weights))


@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_odd_reflections_go_on_beyond_a_period(mode, size):
    """Beside NumPy, and the gradient of what is linear: the adjoint."""
    random = np.random.default_rng(size)
    array, along = random.normal(size=(2, 3, size))
    x, width = sg.input("x", (3, size), "float64"), ((0, 0), (7, 12))
    odd = {"mode": mode, "reflect_type": "odd"}
    out = sg.pad(x, width, **odd)
    wanted, moved = (np.pad(a, width, **odd) for a in (array, along))
    np.testing.assert_allclose(sg.compile(out).run({"x": array}), wanted, rtol=1e-13, atol=1e-13)
    factors = random.normal(size=wanted.shape)
    slopes = sg.Graph({"slope": sg.grad((out * factors).sum(), x)}, inputs=[x])
    found = sg.evaluate(slopes, {"x": array})["slope"]
    assert np.sum(found * along) == pytest.approx(np.sum(moved * factors))
    tensor = sg.pad(eager.Tensor(array, dtype="float64"), width, **odd)
    np.testing.assert_allclose(np.asarray(tensor), wanted, rtol=1e-13, atol=1e-13)
    whole = np.arange(4)  # mirrored once, no element is rounded
    np.testing.assert_array_equal(
        sg.evaluate(sg.pad(whole, 3, **odd)), np.pad(whole, 3, **odd), strict=True
    )


def test_widths_may_be_named():
    x, n = sg.input("x", ("n",), "float64"), sg.dim("n")
    array = np.array([1.0, 2.0, 3.0])
    for mode in ("edge", "wrap"):
        found = sg.compile(sg.pad(x, (n, 1), mode=mode)).run({"x": array})
        np.testing.assert_array_equal(found, np.pad(array, (3, 1), mode=mode))


def test_refusals():
    x = sg.input("x", (3, 4))
    assert_each_refused(
        (ArgumentError, "mode='empty'", lambda: sg.pad(x, 1, "empty")),
        (ArgumentError, "end_values=2.0 says nothing", "linear_ramp",
         lambda: sg.pad(x, 1, "edge", end_values=2.0)),
        (ArgumentError, "reflect_type='odd' says nothing",
         lambda: sg.pad(x, 1, "edge", reflect_type="odd")),
        (ArgumentError, "neither 'even' nor 'odd'",
         lambda: sg.pad(x, 1, "reflect", reflect_type="both")),
        (DTypeError, "bools", lambda: sg.pad([True, False], 1, "reflect", reflect_type="odd")),
        (ShapeError, "no elements to repeat", lambda: sg.pad(np.zeros((0, 2)), 1, "edge")),
        (DTypeError, "int64", "float64", lambda: sg.pad([1, 2], 1, "mean")),
        (ArgumentError, "constant_values", lambda: sg.pad(x, 1, constant_values=[1.0, 2.0, 3.0])),
    )  # fmt: skip

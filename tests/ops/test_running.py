"""Running maxima, minima and logarithms of sums beside NumPy's ufuncs, which accumulate."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import AxisError
from tests.diagonals import diagonals
from tests.ops.messages import assert_refused

UFUNCS = {"cummax": np.maximum, "cummin": np.minimum, "cumlogsumexp": np.logaddexp}
X = np.array([[0.5, -1.0, np.inf], [2.0, -3.0, 1.0], [-np.inf, 4.0, 2.0], [2.0, 4.0, -1.0]])


def running(name, x, axis, reverse):
    place = 0 if axis is None else axis
    values = np.ravel(x) if axis is None else x
    values = np.flip(values, place) if reverse else values
    found = UFUNCS[name].accumulate(values, axis=place)
    return np.flip(found, place) if reverse else found


@diagonals(2, ("name", UFUNCS), ("axis", [None, 0, 1]), ("reverse", [False, True]))
def test_of_every_size_along_every_axis(name, axis, reverse):
    x = sg.input("x", ("n", 3), "float64")
    f = sg.compile(getattr(sg, name)(x, axis, reverse))
    for rows in (4, 1, 0):
        found = f.run({"x": X[:rows]})
        np.testing.assert_allclose(found, running(name, X[:rows], axis, reverse), rtol=1e-14)


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_the_element_types_stay(name):
    for kind in ("bool", "int8", "uint64", "float16"):
        x = np.array([3, 1, 5, 0]).astype(kind)
        found = sg.evaluate(getattr(sg, name)(x))
        assert found.dtype == kind
        np.testing.assert_array_equal(found, UFUNCS[name].accumulate(x))
    nan = sg.evaluate(getattr(sg, name)([1.0, np.nan, 2.0]))
    np.testing.assert_array_equal(nan, [1.0, np.nan, np.nan])


def test_gradients_go_to_the_elements_that_are_given():
    """Of [1, 3, 2, 5] the first is given once, the second twice, the last once."""
    x = sg.input("x", (4,), "float64")
    slopes = sg.grad((sg.cummax(x) * [1.0, 10.0, 100.0, 1000.0]).sum(), x)
    at = {"x": np.array([1.0, 3.0, 2.0, 5.0])}
    np.testing.assert_array_equal(sg.evaluate(slopes, at), [1.0, 110.0, 0.0, 1000.0])
    lowest = {"x": np.array([-np.inf, 3.0, 2.0, 5.0])}
    np.testing.assert_array_equal(sg.evaluate(slopes, lowest), [1.0, 110.0, 0.0, 1000.0])
    sg.testing.check_gradients(sg.cumlogsumexp, [np.array([0.3, -1.0, 2.0, 0.5])])


@pytest.mark.parametrize("run", [sg.evaluate, lambda g, feeds: sg.compile(g).run(feeds)])
def test_what_has_no_weight_gets_no_slope(run):
    """Behind two elements of -inf slopes are those of a softmax, and two equal infinities share."""
    x = sg.input("x", (4,), "float64")
    whole = sg.cumlogsumexp(x)[3]
    at = {"x": np.array([-np.inf, -np.inf, 0.0, np.log(3.0)])}
    np.testing.assert_allclose(run(sg.grad(whole, x), at), [0.0, 0.0, 0.25, 0.75], rtol=1e-15)
    second = sg.grad((sg.grad(whole, x) * [0.0, 0.0, 0.0, 1.0]).sum(), x)
    np.testing.assert_allclose(run(second, at), [0.0, 0.0, -0.1875, 0.1875], rtol=1e-14)
    for both in (-np.inf, np.inf):
        met = sg.grad(sg.logaddexp(x[:2], x[2:]).sum(), x)
        feeds = {"x": np.array([both, 1.0, both, 1.0])}
        np.testing.assert_array_equal(run(met, feeds), [0.5, 0.5, 0.5, 0.5])
    curved = sg.grad(sg.grad(sg.logaddexp(x[0], x[1]), x)[0], x)
    slopes = run(curved, {"x": np.array([2.0, 2.0, 0.0, 0.0])})
    np.testing.assert_array_equal(slopes, [0.25, -0.25, 0.0, 0.0])


def test_no_such_axis():
    with assert_refused(AxisError, "cummax: no axis 1", line="sg.cummax"):
        sg.cummax(np.ones(3), axis=1)

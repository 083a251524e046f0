"""Stages of stencils that are computed again at neighbouring indices: the same bits, one kernel."""

import numpy as np
import pytest

import staticgrad as sg

NAME = "recomputed-stages"
H = 0.125


def runge_kutta(slope, y):
    """The classical method, for staticgrad and NumPy."""
    first = slope(y)
    second = slope(y + H / 2 * first)
    third = slope(y + H / 2 * second)
    return y + H / 6 * (first + 2.0 * second + 2.0 * third + slope(y + H * third))


def upwind(of, x):
    return runge_kutta(lambda y: x * of.concatenate([np.ones(1), y[:-1]]), 0.5 * x)


def downwind(of, x):
    return runge_kutta(lambda y: x * of.concatenate([y[1:], np.full(1, -0.0)]), 0.5 * x)


def heat(of, x):
    def slope(y):
        inner = y[2:] - 2.0 * y[1:-1] + y[:-2]
        return of.pad(inner, 1)

    return runge_kutta(slope, x)


def periodic(of, x):
    def slope(y):
        return of.concatenate([y[-1:], y[:-1]]) - y

    half = x + H / 2 * slope(x)
    return x + H * slope(half)


def quotients(of, x):
    """Beyond the ends, where arrays are read as zeros, these are 0 / 0 and 1 / 0."""

    def ratio(y):
        return 1.0 / of.pad(y[1:] / y[:-1], (0, 1), constant_values=1.0)

    return ratio(ratio(ratio(x) + x) + x)


def filters(of, x):
    for _ in range(3):
        x = 0.25 * of.pad(x[:-1], (1, 0)) + 0.5 * x + 0.25 * of.pad(x[1:], (0, 1))
    return x


def masks(of, x):
    below = of.concatenate([x[1:] > x[:-1], np.ones(1, bool)])
    for _ in range(2):
        below = of.concatenate([np.zeros(1, bool), (below & (x > 0.25))[:-1]])
    return of.where(below, x, -x)


PROGRAMS = {f.__name__: f for f in (upwind, downwind, heat, periodic, quotients, filters, masks)}
#: The least size of an axis.
LEAST = {"heat": 2}


def numbers(size, dtype="float64"):
    return np.random.default_rng(7).uniform(0.1, 1.0, size).astype(dtype)


def built(program, shape, dtype="float64", slopes=False):
    x = sg.input("x", shape, dtype)
    y = program(sg, x)
    return sg.Graph({"y": y, **({"dx": sg.grad((y * y).sum(), x)} if slopes else {})})


def is_taken(program):
    return any(r.name == NAME and r.changed for r in program.explanation().late)


def check(graph, feeds, name, x, tolerance=1e-13):
    """Compare the bits with and without the pass, and values with NumPy's; was it taken?"""
    program, plain = sg.compile(graph, disable=["prices"]), sg.compile(graph, disable=[NAME])
    for key, array in plain.run(feeds).items():
        np.testing.assert_array_equal(program.run(feeds)[key], array, err_msg=key)
    expected = PROGRAMS[name](np, x.astype("float64"))
    scale = np.abs(expected).max(initial=1.0)
    np.testing.assert_allclose(
        program.run(feeds)["y"], expected, rtol=tolerance, atol=tolerance * scale
    )
    return is_taken(program)


@pytest.mark.parametrize("slopes", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_stages_have_the_same_bits_as_stored_ones(name, slopes):
    x = numbers(23)
    assert check(built(PROGRAMS[name], x.shape, slopes=slopes), {"x": x}, name, x)


@pytest.mark.parametrize("name", PROGRAMS)
def test_arrays_that_are_shorter_than_the_stencil_of_all_stages(name):
    for size in range(LEAST.get(name, 1), 7):
        x = numbers(size)
        check(built(PROGRAMS[name], x.shape), {"x": x}, name, x)


@pytest.mark.parametrize("slopes", [False, True], ids=["value", "gradient"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_named_sizes_down_to_the_least(name, slopes):
    least = LEAST.get(name, 1)
    graph = built(PROGRAMS[name], ("n",), slopes=slopes)
    decisions = set()
    for size in (least, least + 1, least + 2, 5, 40):
        x = numbers(size)
        decisions.add(check(graph, {"x": x}, name, x))
    assert decisions == {True}


@pytest.mark.parametrize("name", ["upwind", "heat"])
def test_other_dtypes(name):
    x = numbers(23, dtype="float32")
    assert check(built(PROGRAMS[name], x.shape, "float32"), {"x": x}, name, x, 2e-6)


@pytest.mark.parametrize("name", ["upwind", "downwind"])
def test_the_body_of_a_loop_of_stages_is_one_kernel(name):
    """A time step of Runge-Kutta: four kernels, each behind the stage before, without the pass."""
    x = sg.input("x", (20_000,), "float64")
    graph = sg.Graph({"y": sg.fori_loop(0, 3, lambda _, y: PROGRAMS[name](sg, y), x)})
    program, plain = sg.compile(graph), sg.compile(graph, disable=[NAME])
    assert "kept: predicted" in program.explain()
    assert len(program.kernels) < len(plain.kernels)
    array = numbers(20_000)
    actual, expected = program.run({"x": array})["y"], array
    np.testing.assert_array_equal(actual, plain.run({"x": array})["y"])
    for _ in range(3):
        expected = PROGRAMS[name](np, expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_long_chains_are_cut_where_their_formulas_take_too_many_operations():
    x = sg.input("x", (500,), "float64")
    y, expected = x, numbers(500) * 0.1
    feed = {"x": expected}
    for _ in range(40):
        y = 0.5 * sg.pad((y * y)[:-1], (1, 0)) + 0.25 * y
        expected = 0.5 * np.pad((expected * expected)[:-1], (1, 0)) + 0.25 * expected
    graph = sg.Graph({"y": y})
    program = sg.compile(graph, disable=["prices"])
    assert is_taken(program)
    assert 1 < len(program.kernels) < 40
    np.testing.assert_array_equal(
        program.run(feed)["y"], sg.compile(graph, disable=[NAME]).run(feed)["y"]
    )
    np.testing.assert_allclose(program.run(feed)["y"], expected, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_stages_that_are_shifted_along_one_axis_of_matrices_are_computed_again(axis):
    def shift(of, y):
        rows = (slice(None),) * axis
        border, inner = y[(*rows, slice(0, 1))], y[(*rows, slice(None, -1))]
        return of.concatenate([0.5 * border, inner], axis)

    feed = {"x": np.random.default_rng(0).normal(size=(33, 40))}
    x = sg.input("x", (33, 40), "float64")
    graph = sg.Graph({"y": runge_kutta(lambda y: y - shift(sg, y), x)})
    program = sg.compile(graph)
    assert is_taken(program)
    assert len(program.kernels) == 1
    expected = runge_kutta(lambda y: y - shift(np, y), feed["x"])
    np.testing.assert_allclose(program.run(feed)["y"], expected, rtol=1e-12, atol=1e-14)
    stored = sg.compile(graph, disable=[NAME]).run(feed)["y"]
    np.testing.assert_array_equal(program.run(feed)["y"], stored)


def test_stages_that_are_shifted_along_two_axes_of_matrices_are_stored():
    def slope(y):
        return sg.pad(y[2:, 1:-1] + y[1:-1, 2:] - 2.0 * y[1:-1, 1:-1], 1)

    x = sg.input("x", (40, 40), "float64")
    y = x + H * slope(x + H / 2 * slope(x))
    assert not is_taken(sg.compile(y, disable=["prices"]))


def test_formulas_that_cost_more_than_a_stored_stage_are_stored():
    x = sg.input("x", (500,), "float64")
    y = sg.pad(sg.erf(sg.sin(x))[:-1], (1, 0)) + x
    assert not is_taken(sg.compile(y, disable=["prices"]))


def test_integers_are_stored():
    """An integer divided by a zero beyond the end of an array has no value."""
    x = sg.input("x", (50,), "int64")
    y = sg.pad((7 // x)[:-1], (1, 0)) + x
    assert not is_taken(sg.compile(y, disable=["prices"]))

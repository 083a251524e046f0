"""Filters, windows and interpolation against NumPy; and their gradients."""

import itertools

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, RankError, ShapeError, SizeGuardError
from staticgrad.testing import check_gradients
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(3)
LINE = RNG.normal(size=9)
PLACES = np.array([0.0, 0.5, 2.0, 2.25, 5.0])
HEIGHTS = np.array([1.0, -1.0, 3.0, 0.5, 2.0])
AT = np.array([[-1.0, 0.0, 0.2], [0.5, 1.9, 4.0], [5.0, 7.0, np.nan]])


@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_filters_as_numpy(name):
    function = getattr(np, name)
    outputs, references, feeds = {}, {}, {"x": LINE}
    x = sg.input("x", (9,), "float64")
    for size, mode in itertools.product((1, 2, 3, 8, 9, 10, 14), ("full", "same", "valid")):
        taps = RNG.normal(size=size)
        label = f"{size}_{mode}"
        outputs |= {label: function(x, taps, mode), f"{label}_back": function(taps, x, mode)}
        references[label], references[f"{label}_back"] = (
            function(LINE, taps, mode),
            function(taps, LINE, mode),
        )
    actual = sg.evaluate(outputs, feeds)
    for label, array in references.items():
        np.testing.assert_allclose(actual[label], array, rtol=1e-12, atol=1e-14, err_msg=label)
    named = sg.input("x", ("n",), "float64")
    for mode in ("full", "same", "valid"):
        f = sg.compile(function(named, [1.0, 2.0, -0.5, 3.0], mode))
        for n in (4, 9):
            expected = function(LINE[:n], [1.0, 2.0, -0.5, 3.0], mode)
            np.testing.assert_allclose(f.run({"x": LINE[:n]}), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_filters_of_two_named_sizes(name, mode):
    """Whichever is longer in the run; gradients by the linearity in each vector."""
    function = getattr(np, name)
    x, taps = sg.input("x", ("n",), "float64"), sg.input("v", ("m",), "float64")
    y = function(x, taps, mode)
    by_x, by_v = sg.grad((sg.sin(sg.arange(y.shape[0]) * 1.0) * y).sum(), [x, taps])
    f = sg.compile({"y": y, "x": by_x, "v": by_v})
    same = sg.compile(function(x, x * 2.0, mode))  # of one named size
    for n, m in [(9, 4), (4, 9), (5, 5), (8, 3), (3, 8), (2, 7), (1, 6), (6, 1), (1, 1)]:
        a, v = RNG.normal(size=n), RNG.normal(size=m)
        actual, expected = f.run({"x": a, "v": v}), function(a, v, mode)
        np.testing.assert_allclose(actual["y"], expected, rtol=1e-12, atol=1e-13)
        weights = np.sin(np.arange(len(expected)))
        slopes = [(weights * function(row, v, mode)).sum() for row in np.eye(n)]
        np.testing.assert_allclose(actual["x"], slopes, rtol=1e-12, atol=1e-13)
        slopes = [(weights * function(a, row, mode)).sum() for row in np.eye(m)]
        np.testing.assert_allclose(actual["v"], slopes, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(same.run({"x": a}), function(a, 2 * a, mode), rtol=1e-12)
    with assert_refused(SizeGuardError, "n = 0 in this run"):
        f.run({"x": np.zeros(0), "v": np.ones(3)})


CASES = {
    "convolve": lambda x: sg.convolve(x, x[:3], "same"),
    "correlate": lambda x: sg.correlate(x[:2], x),
    "interp x": lambda x: sg.interp(x * 2.0 + 1.01, PLACES, HEIGHTS),
    "interp points": lambda x: sg.interp(np.array([0.3, 1.0, 4.4]), sg.cumsum(x**2), x),
    "polyval": lambda x: sg.polyval(x[:4], x),
}


@pytest.mark.parametrize("name", CASES)
def test_two_derivatives(name):
    x = sg.input("x", (9,), "float64")
    check_gradients((sg.sin(CASES[name](sg.tanh(x))) ** 2).sum(), {"x": LINE})


def test_interp_of_one_point_and_its_slopes():
    actual = run(sg.interp(AT, [1.0], [3.0], left=0.0))
    np.testing.assert_array_equal(actual, np.interp(AT, [1.0], [3.0], left=0.0))
    x, xp, fp = (
        sg.input(name, (size,), "float64") for name, size in (("x", 4), ("p", 1), ("f", 1))
    )
    slopes = sg.grad(sg.interp(x, xp, fp, right=7.0).sum(), [x, xp, fp])
    feeds = {"x": np.array([np.nan, 0.0, 1.0, np.inf]), "p": np.ones(1), "f": np.full(1, 3.0)}
    graph = sg.Graph(dict(zip("xpf", slopes, strict=True)), inputs=[x, xp, fp])
    actual = sg.evaluate(graph, feeds)
    assert [actual[name].tolist() for name in "xpf"] == [[0.0] * 4, [0.0], [3.0]]


@pytest.mark.thinned(3)
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("taps", [1, 2, 4, 5])
def test_a_named_size_is_the_longer_one_or_an_error(mode, taps):
    """NumPy exchanges vectors by their lengths, which here only a run knows."""
    x, v = sg.input("x", ("n",), "float64"), np.arange(1.0, taps + 1.0)
    calls = [
        lambda m, a: m.convolve(a, v, mode),
        lambda m, a: m.correlate(a, v, mode),
        lambda m, a: m.correlate(v, a, mode),
    ]
    for call in calls:
        f, least = sg.compile(call(sg, x)), 1 if mode == "full" else taps
        for size in (0, 1, taps - 1, taps, taps + 1, 9):
            a = RNG.normal(size=size)
            exchanged = mode == "same" and call is calls[2] and size == taps
            if size < least or exchanged:
                with assert_refused(SizeGuardError, f"n = {size} in this run"):
                    f.run({"x": a})
            else:
                np.testing.assert_allclose(f.run({"x": a}), call(np, a), rtol=1e-12, atol=1e-12)


def test_refusals():
    x = sg.input("x", (9,), "float64")
    cases = [
        (ArgumentError, "'wide' is not one of", lambda: sg.convolve(x, x, "wide")),
        (RankError, "is not a vector", lambda: sg.correlate(x, np.ones((2, 2)))),
        (ShapeError, "no elements", lambda: sg.convolve(x, np.ones(0))),
        (ShapeError, "2 places for 3", lambda: sg.interp(x, [0.0, 1.0], [1.0, 2.0, 3.0])),
        (RankError, "is not a vector", lambda: sg.polyval(np.ones((2, 2)), x)),
    ]  # fmt: skip
    for error, words, call in cases:
        with assert_refused(error, words):
            call()

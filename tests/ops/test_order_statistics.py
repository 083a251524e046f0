"""Medians, quantiles, bins and membership: against NumPy, also over named sizes, and derived."""

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, strategies as st

import staticgrad as sg
from staticgrad.errors import ArgumentError, AxisError, EmptyReductionError, RankError
from staticgrad.testing import check_gradients
from tests.compiled.agreement import assert_same
from tests.ops.graphs import run
from tests.ops.messages import assert_refused


def matrix(rng, shape, kind):
    x = rng.normal(size=shape)
    if kind == "nan":
        return np.where(rng.random(shape) < 0.3, np.nan, x)
    return np.round(x) if kind == "ties" else x


def test_special_values_and_dtypes():
    x = sg.input("x", (4,), "float32")
    thirds = sg.quantile(x, [0.0, 1 / 3, 1.0])
    actual = run(thirds, {"x": np.float32([np.inf, 1, 2, np.inf])})
    np.testing.assert_array_equal(actual, np.float32([1, 2, np.inf]))
    assert actual.dtype == np.float32
    assert np.isnan(run(sg.median(x), {"x": np.float32([1, np.nan, 2, 3])}))
    assert run(sg.median(x), {"x": np.float32([np.inf] * 4)}) == np.inf
    x = sg.input("x", (2, 3), "int32")
    feeds = {"x": np.array([[3, 1, 2], [7, 5, 4]], "int32")}
    for name in ("percentile", "nanpercentile"):
        actual = run(getattr(np, name)(x, [0, 50, 80], axis=1), feeds)
        np.testing.assert_allclose(actual, np.percentile(feeds["x"], [0, 50, 80], axis=1))
    assert run(np.median(x), feeds) == 3.5
    assert run(sg.median(x > 2, 1), feeds).tolist() == [0.0, 1.0]
    assert run(sg.quantile(x, []), feeds).shape == (0,)
    x = sg.input("x", (3,), "int8")
    assert run(np.isin(x, [2, 300]), {"x": np.int8([1, 2, 44])}).tolist() == [False, True, False]
    assert run(sg.isin([True, False], [True])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda x: sg.quantile(x, 1.5), ArgumentError, ["reaches outside [0, 1]"]),
        (lambda x: sg.percentile(x, [50, 101]), ArgumentError, ["reaches outside [0, 100]"]),
        (lambda x: sg.quantile(x, np.nan), ArgumentError, ["nan"]),
        (lambda x: sg.quantile(x, x), ArgumentError, ["known when the graph is built"]),
        (lambda x: sg.quantile(x, "a"), ArgumentError, ["known when the graph is built"]),
        (lambda x: sg.quantile(x, 0.5, method="hazen"), ArgumentError, ["'hazen'", "'midpoint'"]),
        (lambda x: sg.median(x, 2), AxisError, ["no axis 2"]),
        (lambda x: sg.quantile(x[:0], 0.5, 0), EmptyReductionError, ["no elements"]),
        (lambda x: sg.histogram(x, 0), ArgumentError, ["0 bins"]),
        (lambda x: sg.histogram(x, 3, (1, 0)), ArgumentError, ["does not ascend"]),
        (lambda x: sg.histogram(x, x), RankError, ["are not a vector"]),
    ],
)
def test_what_is_refused(make, kind, words):
    x = sg.input("x", (2, 3), "float32")
    with assert_refused(kind, *words):
        make(x)


def test_gradients_go_to_the_elements_between():
    rng = np.random.default_rng(4)
    x = rng.permutation(20).reshape(4, 5) * 0.2

    def curve(x):
        median = sg.median(x, 0) ** 2
        return median.sum() + (sg.quantile(x, [0.3, 0.95]) ** 3).sum() + sg.nanmedian(x * x)

    check_gradients(curve, [x], order=2)
    named = sg.input("x", ("n",), "float64")
    slope = sg.grad(sg.quantile(named, 0.25), named)
    actual = run(slope, {"x": np.array([4.0, 1.0, 3.0])})
    np.testing.assert_array_equal(actual, [0.0, 0.5, 0.5])


def test_compiled_statistics_of_any_size():
    x = sg.input("x", ("m", "n"), "float32")
    outputs = {
        "median": sg.median(x, 1), "all": sg.median(x), "quantile": sg.quantile(x, [0.1, 0.9], 0),
        "nan": sg.nanquantile(x, 0.7, 1), "counts": sg.histogram(x, 5, (-1, 1))[0],
    }  # fmt: skip
    graph = sg.Graph(outputs)
    f = sg.compile(graph)
    for shape in ((1, 1), (3, 10), (20, 7)):
        for kind in ("plain", "nan"):
            feeds = {"x": matrix(np.random.default_rng(5), shape, kind).astype("float32")}
            assert_same(f.run(feeds), sg.evaluate(graph, feeds), str(shape))


@given(
    numbers=st.lists(st.integers(-8, 8), max_size=12),
    bins=st.integers(1, 6) | st.just([-3.0, 0.0, 0.5, 4.0]),
    span=st.sampled_from([None, (-2.0, 3.0), (1, 1)]),
    density=st.booleans(),
)
def test_histograms_as_numpy(numbers, bins, span, density):
    x = np.array(numbers, float) / 2
    if isinstance(bins, list) and density:
        x = np.append(x, 0.0)  # a density of nothing is NaN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.histogram(x, bins, span, density)
    results = sg.histogram(x, bins, span, density)
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_allclose(run(got), want, rtol=1e-12)
        assert run(got).dtype == want.dtype
    np.testing.assert_array_equal(
        run(sg.histogram_bin_edges(x, bins, span)), np.histogram_bin_edges(x, bins, span)
    )


def test_weights_of_a_histogram_carry_a_gradient():
    x, w = np.array([0.5, 1.5, 0.7, 9.0, np.nan]), sg.input("w", (5,), "float64")
    counts, _ = sg.histogram(x, [0.0, 1.0, 2.0], weights=w)
    np.testing.assert_array_equal(run(counts, {"w": np.arange(1.0, 6.0)}), [4.0, 2.0])
    slope = sg.grad((counts * np.array([10.0, 20.0])).sum(), w)
    np.testing.assert_array_equal(run(slope), [10, 20, 10, 0, 0])
    named = sg.input("x", ("n",), "float32")
    counts, edges = np.histogram(named, bins=3)
    feeds = {"x": np.float32([4, 4, 4])}
    assert run(counts, feeds).tolist() == [0, 3, 0]
    np.testing.assert_allclose(run(edges, feeds), np.histogram(feeds["x"], 3)[1])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 3), (1, 1), (3, 1), (2, 3)])
def test_covariances_of_few_rows(shape):
    """One row is one observation of each column, not a variable: NumPy's rule since 2.0."""
    a = np.random.default_rng(1).normal(size=shape)
    for name, options in product(
        ("cov", "corrcoef"), ({}, {"rowvar": False}, {"rowvar": False, "ddof": 0})
    ):
        if name == "corrcoef" and "ddof" in options:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = getattr(np, name)(a, **options)
        for sizes in (shape, ("n", "m")):
            actual = run(getattr(sg, name)(sg.input("x", sizes, "float64"), **options), {"x": a})
            assert sizes == ("n", "m") or actual.shape == expected.shape
            np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_medians_of_few_elements(size):
    """NaN if there are none, for literal and named sizes; its slope has no elements either."""
    a = np.random.default_rng(2).normal(size=(size, 2))
    for sizes, name in product(((size, 2), ("n", 2)), ("median", "nanmedian")):
        x = sg.input("x", sizes, "float64")
        function = getattr(sg, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [getattr(np, name)(a, 0), getattr(np, name)(a)]
        actual = sg.evaluate([function(x, 0), function(x), sg.grad(function(x), x)], {"x": a})
        for array, reference in zip(actual, expected, strict=False):
            np.testing.assert_allclose(array, reference, rtol=1e-15)
        assert actual[2].shape == a.shape
        assert not size or actual[2].sum() == pytest.approx(1.0)


#: Rows for a selection that takes a sample of every 8th or 16th element and of no others.
ROWS = {
    "equal": lambda rng, n: np.full(n, 3.0),
    "few": lambda rng, n: np.floor(rng.normal(size=n)),
    "ascending": lambda rng, n: np.arange(float(n)),
    "organ pipe": lambda rng, n: np.abs(np.arange(n) - n / 2),
    "misleading": lambda rng, n: np.where(np.arange(n) % 8 == 0, 1e9, rng.normal(size=n)),
    "tight": lambda rng, n: 1.0 + np.finfo("float32").eps * rng.integers(0, 9, n),
    "special": lambda rng, n: rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], n),
    "random": lambda rng, n: rng.normal(size=n),
}
SELECTED = {}


def selection_program(dtype):
    """Medians and quantiles of rows of named sizes along both axes, with gradients."""
    if dtype not in SELECTED:
        x = sg.input("x", ("m", "n"), dtype)
        outputs = {f"nanmedian{axis}": sg.nanmedian(x, axis) for axis in (0, 1)}
        outputs["quantiles"] = sg.quantile(x, [0.0, 0.25, 1.0], 1, method="lower")
        outputs["slope"] = sg.grad((sg.median(x, 1) * [[1.0], [2.0]]).sum(), x)
        graph = sg.Graph(outputs)
        SELECTED[dtype] = graph, sg.compile(graph)
    return SELECTED[dtype]


@given(st.sampled_from(sorted(ROWS)), st.integers(1, 3000), st.sampled_from(["float32", "float64"]))
def test_selection_is_sorting(kind, n, dtype):
    rng = np.random.default_rng(n)
    x = np.stack([ROWS[kind](rng, n), rng.permutation(ROWS[kind](rng, n))]).astype(dtype)
    graph, f = selection_program(dtype)
    actual = f.run({"x": x})
    assert_same(actual, sg.evaluate(graph, {"x": x}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        np.testing.assert_array_equal(actual["nanmedian1"], np.nanmedian(x, 1))
    ordered = np.sort(x, 1)
    places = np.floor(np.array([0.0, 0.25, 1.0]) * (n - 1)).astype(int)
    expected = np.where(np.isnan(x).any(1), np.nan, ordered[:, places].T)
    np.testing.assert_array_equal(actual["quantiles"], expected)


@pytest.mark.parametrize("n", [1, 255, 257, 2000])
def test_selection_in_every_mode(n):
    x = sg.input("x", (2, n), "float32")
    graph = sg.Graph({"q": sg.quantile(x, [0.1, 0.5], 1), "dx": sg.grad(sg.median(x), x)})
    feeds = {"x": np.random.default_rng(n).normal(size=(2, n)).round(2).astype("float32")}
    expected = sg.evaluate(graph, feeds)
    assert_same(sg.compile(graph, threads=2).run(feeds), expected)
    assert_same(sg.compile(graph, backend="numba").run(feeds), expected)
    with sg.options(jit=False):
        assert_same(sg.compile(graph).run(feeds), expected)


def test_many_quantiles_are_sorted_once():
    x = sg.input("x", (50, 3), "float64")
    q = np.linspace(0, 1, 40)
    feeds = {"x": np.random.default_rng(0).normal(size=(50, 3))}
    actual = sg.compile(sg.quantile(x, q, 0)).run(feeds)
    np.testing.assert_allclose(actual, np.quantile(feeds["x"], q, axis=0), rtol=1e-15)


@pytest.mark.parametrize("size", [3, 40])
def test_a_quantile_that_is_an_element_is_that_beside_infinities(size):
    """By hand: NumPy gives NaN where it subtracts infinities of the same sign."""
    x = sg.input("x", (size,), "float64")
    array = np.arange(float(size))
    array[0], array[-1] = -np.inf, np.inf
    f = sg.compile({name: sg.quantile(x, q) for name, q in (("low", 0.0), ("high", 1.0))})
    assert f.run({"x": array}) == {"low": -np.inf, "high": np.inf}
    middle = sg.compile(sg.median(x)).run({"x": array})
    assert middle == (size - 1) / 2

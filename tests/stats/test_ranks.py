"""``sg.stats.rankdata`` beside SciPy's."""

import numpy as np
import pytest
from scipy import stats

import staticgrad as sg
from staticgrad.eager import Tensor

DATA = np.random.default_rng(0).integers(0, 5, (4, 9))
METHODS = ["average", "min", "max", "dense", "ordinal"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_ranks_are_those_of_scipy(method, dtype, axis):
    data = DATA.astype(dtype)
    expected = stats.rankdata(data, method, axis=axis)
    actual = sg.stats.rankdata(data, method, axis=axis)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    x = sg.input("x", ("rows", 9), dtype)
    ranks = sg.stats.rankdata(x, method, axis=-1)
    compiled = sg.compile(ranks).run({"x": data})
    np.testing.assert_array_equal(compiled, stats.rankdata(data, method, axis=-1))


@pytest.mark.parametrize("method", METHODS)
def test_ranks_of_nan_and_of_few_numbers(method):
    data = np.array([[3.0, np.nan, 1.0], [2.0, 2.0, np.inf]])
    expected = stats.rankdata(data, method, axis=1)
    actual = sg.stats.rankdata(data, method, axis=1)
    np.testing.assert_array_equal(actual[1], expected[1])
    assert np.isnan(actual[0]).all() if method == "average" else actual[0].tolist() == [2, 3, 1]
    for few in ([], [2.0], 2.0):
        np.testing.assert_array_equal(
            sg.stats.rankdata(np.array(few), method), stats.rankdata(few, method)
        )


def test_ranks_of_lanes_and_of_tensors():
    np.testing.assert_array_equal(sg.vmap(sg.stats.rankdata)(DATA), stats.rankdata(DATA, axis=1))
    np.testing.assert_array_equal(
        sg.stats.rankdata(Tensor(DATA[0])).numpy(), stats.rankdata(DATA[0])
    )


def test_spearmans_correlation_is_that_of_ranks():
    x, y = np.random.default_rng(1).normal(size=(2, 20)).round(1)
    correlation = sg.corrcoef(sg.stats.rankdata(x), sg.stats.rankdata(y))[0, 1]
    np.testing.assert_allclose(correlation, stats.spearmanr(x, y).statistic, rtol=1e-12)

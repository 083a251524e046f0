"""Covariance, correlation and choices by conditions, against NumPy; and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.testing import check_gradients
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

A = np.array([[1.5, -2.0, 0.5, 3.0, 7.0], [0.25, 1.0, -1.0, 2.0, 9.0], [2.0, 0.0, 1.0, -0.5, 4.0]])
SPECIAL = np.array([[1.0, np.nan, np.inf], [-np.inf, 0.0, -2.0]])

CASES = {
    "cov": lambda m, x: m.cov(x),
    "cov bias": lambda m, x: m.cov(x, bias=True),
    "cov ddof": lambda m, x: m.cov(x, rowvar=False, ddof=0),
    "cov more": lambda m, x: m.cov(x, x[:2] * 2.0 + 1.0),
    "cov vector": lambda m, x: m.cov(x[0]),
    "corrcoef": lambda m, x: m.corrcoef(x),
    "corrcoef columns": lambda m, x: m.corrcoef(x[:, :2], rowvar=False),
    "select": lambda m, x: m.select([x > 3.0, x < 0.0], [x * 2.0, -x], default=1.0),
    "logaddexp2": lambda m, x: m.logaddexp2(x, x[::-1] * 0.5),
}
OF_SPECIALS = {
    "isposinf": lambda m, x: m.isposinf(x),
    "isneginf": lambda m, x: m.isneginf(x),
    "isclose": lambda m, x: m.isclose(x, x + np.array([0.0, 1e-9, 1e-3])),
    "isclose NaN": lambda m, x: m.isclose(x, x, equal_nan=True),
    "array_equal": lambda m, x: m.array_equal(x, x),
    "array_equal NaN": lambda m, x: m.array_equal(x, x, equal_nan=True),
    "array_equal shapes": lambda m, x: m.array_equal(x, x[:1]),
}


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    expected = np.asarray(CASES[name](np, A))
    x = sg.input("x", A.shape, "float64")
    for module in (sg, np):
        found = run(CASES[name](module, x), {"x": A})
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", OF_SPECIALS)
def test_of_special_values_as_numpy(name):
    with np.errstate(invalid="ignore"):
        expected = np.asarray(OF_SPECIALS[name](np, SPECIAL))
    x = sg.input("x", SPECIAL.shape, "float64")
    found = run(OF_SPECIALS[name](sg, x), {"x": SPECIAL})
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_two_derivatives(name):
    x = sg.input("x", A.shape, "float64")
    check_gradients((sg.sin(CASES[name](sg, x)) ** 2).sum(), {"x": A + 0.1})


def test_integers_have_no_infinity():
    assert not run(sg.isposinf(np.arange(3))).any()
    assert run(sg.array_equal(np.arange(3), np.arange(3)))


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (RankError, "at most two axes", lambda x: sg.cov(x[None])),
        (ShapeError, "", lambda x: sg.cov(x, x[:, 1:])),
        (ArgumentError, "1 conditions, 2 choices", lambda x: sg.select([x > 0], [x, x])),
    ],
)
def test_refused(error, words, wrong):
    x = sg.input("x", A.shape, "float64")
    with assert_refused(error, words, line="lambda x: sg."):
        wrong(x)

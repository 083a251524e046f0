"""Differences, slopes and integrals of sampled curves, against NumPy; and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, AxisError, RankError, ShapeError
from staticgrad.testing import check_gradients
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

A = np.array([[1.5, -2.0, 0.5, 3.0, 7.0], [0.25, 1.0, -1.0, 2.0, 9.0], [2.0, 0.0, 1.0, -0.5, 4.0]])
PLACES = np.array([0.0, 0.5, 2.0, 2.25, 5.0])

CASES = {
    "diff": lambda m, x: m.diff(x),
    "diff twice": lambda m, x: m.diff(x, 2, axis=0),
    "trapezoid": lambda m, x: m.trapezoid(x),
    "trapezoid dx": lambda m, x: m.trapezoid(x, dx=0.25, axis=0),
    "trapezoid x": lambda m, x: m.trapezoid(x, PLACES),
    "trapezoid full x": lambda m, x: m.trapezoid(x, np.cumsum(np.abs(A), 0), axis=0),
    "gradient axis": lambda m, x: m.gradient(x, axis=1),
    "gradient step": lambda m, x: m.gradient(x, 0.5, axis=-1, edge_order=2),
    "gradient places": lambda m, x: m.gradient(x, PLACES, axis=1),
    "gradient places 2": lambda m, x: m.gradient(x, PLACES, axis=1, edge_order=2),
    "unwrap": lambda m, x: m.unwrap(x * 2.5),
    "unwrap axis": lambda m, x: m.unwrap(x * 2.5, discont=4.0, axis=0),
    "cumulative_sum": lambda m, x: m.cumulative_sum(x, axis=1),
    "cumulative_sum from 0": lambda m, x: m.cumulative_sum(x, axis=0, include_initial=True),
    "cumulative_prod": lambda m, x: m.cumulative_prod(x, axis=1, include_initial=True),
}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    expected = CASES[name](np, A)
    for shape in (A.shape, ("rows", "columns")):
        x = sg.input("x", shape, "float64")
        for module in (sg, np):
            found = run(CASES[name](module, x), {"x": A})
            assert (found.shape, found.dtype) == (np.shape(expected), np.asarray(expected).dtype)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.thinned(7)
@pytest.mark.parametrize("name", CASES)
def test_two_derivatives(name):
    x = sg.input("x", A.shape, "float64")
    check_gradients((sg.sin(CASES[name](sg, sg.tanh(x))) ** 2).sum(), {"x": A / 4.0})


@pytest.mark.parametrize("size", [5, "n"])
def test_slopes_of_equidistant_samples_do_not_read_the_one_between(size):
    """NaN, infinities and numbers of other orders change the slopes beside them, not their own."""
    x = sg.input("x", (size,), "float64")
    for middle in (np.nan, np.inf, 1e17):
        samples = np.array([1.0, 2.0, middle, 5.0, 7.0])
        np.testing.assert_array_equal(
            run(sg.gradient(x, 0.5), {"x": samples}), np.gradient(samples, 0.5)
        )


def test_all_axes_give_a_slope_each():
    x = sg.input("x", ("rows", "columns"), "float64")
    for spacing in ((), (0.5,), (np.array([0.0, 1.0, 4.0]), 2.0)):
        expected = np.gradient(A, *spacing)
        for found, wanted in zip(sg.gradient(x, *spacing), expected, strict=True):
            np.testing.assert_allclose(run(found, {"x": A}), wanted, rtol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_angles_of_any_number_are_unwrapped(size):
    x = sg.input("x", ("n", 2), "float64")
    angles = np.arange(2.0 * size).reshape(size, 2) * 4.0
    found = sg.unwrap(x, axis=0)
    assert found.shape == x.shape
    np.testing.assert_allclose(run(found, {"x": angles}), np.unwrap(angles, axis=0))


def test_an_integral_has_gradients_by_its_places():
    x = sg.input("x", (5,), "float64")
    check_gradients(sg.trapezoid(sg.sin(x), x), {"x": PLACES})


@pytest.mark.parametrize(
    ("error", "words", "wrong"),
    [
        (ArgumentError, "3 spacings for 2 axes", lambda x: sg.gradient(x, 1.0, 2.0, 3.0)),
        (ArgumentError, "1 or 2, not 3", lambda x: sg.gradient(x, edge_order=3)),
        (RankError, "places of f64[3, 5]", lambda x: sg.gradient(x, A, axis=0)),
        (ShapeError, "1 samples, 2 are needed", lambda x: sg.gradient(x[:1], axis=0)),
        (ShapeError, "3 are needed", lambda x: sg.gradient(x[:2], axis=0, edge_order=2)),
        (AxisError, "no axis 2", lambda x: sg.trapezoid(x, axis=2)),
        (RankError, "for samples of", lambda x: sg.trapezoid(x, A[None])),
        (ShapeError, "4", lambda x: sg.trapezoid(x, PLACES[1:])),
        (ArgumentError, "which axis", lambda x: sg.cumulative_sum(x)),
        (AxisError, "no axis 4", lambda x: sg.unwrap(x, axis=4)),
        (ArgumentError, "-1 times", lambda x: sg.diff(x, -1)),
    ],
)
def test_refused(error, words, wrong):
    x = sg.input("x", A.shape, "float64")
    with assert_refused(error, words, line="lambda x: sg."):
        wrong(x)

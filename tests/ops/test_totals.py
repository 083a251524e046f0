"""Products, norms, means and running totals against NumPy; gradients at zeros."""

from __future__ import annotations

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.autodiff.reverse import grad
from staticgrad.errors import ArgumentError, AxisError, DTypeError, RankError, ShapeError
from tests.ops.graphs import op_names, run
from tests.ops.messages import assert_refused

A = np.array([[[1.5, -2.0, 0.5, 3.0], [0.25, 1.0, -1.0, 2.0], [2.0, 0.0, 1.0, -0.5]]] * 2)
A[1] += 0.25
WITH_NAN = np.where(np.arange(24).reshape(A.shape) % 5 == 0, np.nan, A)

CASES = {
    "prod": (lambda m, x: m.prod(x), A),
    "prod axis": (lambda m, x: m.prod(x, 1), A),
    "prod axes": (lambda m, x: m.prod(x, (0, 2), keepdims=True), A),
    "prod none": (lambda m, x: m.prod(x, ()), A),
    "cumsum": (lambda m, x: m.cumsum(x), A),
    "cumsum axis": (lambda m, x: m.cumsum(x, 1), A),
    "cumprod": (lambda m, x: m.cumprod(x, axis=-1), A),
    "average": (lambda m, x: m.average(x, 1), A),
    "average weighted": (lambda m, x: m.average(x, 1, weights=np.array([1.0, 2.0, 0.5])), A),
    "average all weighted": (lambda m, x: m.average(x, weights=np.abs(A)), A),
    "ptp": (lambda m, x: m.ptp(x, 1), A),
    "nansum": (lambda m, x: m.nansum(x, 1), WITH_NAN),
    "nanmean": (lambda m, x: m.nanmean(x, 2), WITH_NAN),
    "nanmax": (lambda m, x: m.nanmax(x, 0), WITH_NAN),
    "nanprod": (lambda m, x: m.nanprod(x, 1), WITH_NAN),
    "nancumsum": (lambda m, x: m.nancumsum(x, 1), WITH_NAN),
    "nancumprod": (lambda m, x: m.nancumprod(x), WITH_NAN),
    "nanvar": (lambda m, x: m.nanvar(x, 1), WITH_NAN),
    "nanstd": (lambda m, x: m.nanstd(x, (1, 2), ddof=1, keepdims=True), WITH_NAN),
    "nanmin": (lambda m, x: m.nanmin(x), WITH_NAN),
    "count_nonzero": (lambda m, x: m.count_nonzero(x, 0), A),
}
ORDERS = [None, 1, 2, 3, 0.5, 0, np.inf, -np.inf]


@pytest.mark.parametrize("name", CASES)
def test_as_numpy(name):
    function, array = CASES[name]
    expected = function(np, array)
    for shape in (A.shape, ("a", "b", "c")):
        x = sg.input("x", shape, "float64")
        for module in (sg, np):
            found = run(function(module, x), {"x": array})
            assert (found.shape, found.dtype) == (np.shape(expected), np.asarray(expected).dtype)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["nanvar", "nanstd"])
def test_infinities_are_not_missing(name):
    """Their distance from a mean that is infinite is NaN, which counts; of x = NaN it does not."""
    x = sg.input("x", (4, 2), "float64")
    rows = np.array([[1.0, np.inf], [np.inf, np.nan], [np.nan, 2.0], [np.nan, np.nan]])
    found = run(getattr(sg, name)(x, 1), {"x": rows})
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0.0, np.nan])
    given = run(getattr(sg, name)(x, 1, mean=np.zeros((4, 1))), {"x": rows})
    np.testing.assert_array_equal(given, [np.inf, np.inf, {"nanvar": 4.0}.get(name, 2.0), np.nan])


@pytest.mark.parametrize("name", [n for n in CASES if n != "count_nonzero" and "ptp" not in n])
@pytest.mark.parametrize("shape", [A.shape, ("a", "b", "c")])
def test_two_derivatives(name, shape, rng):
    """Of the function after a smooth one, along a direction, against central differences."""
    function, array = CASES[name]
    x = sg.input("x", shape, "float64")
    t = sg.input("t", (), "float64")
    direction = rng.normal(size=A.shape)
    moved = x + t * direction
    total = function(sg, sg.sin(moved)).sum()
    first = grad(total, t)
    second = grad(first, t)
    step = 1e-4
    feeds = {"x": array, "t": 0.0}

    def at(value, place):
        return run(value, {**feeds, "t": place})

    for value, slope in ((total, first), (first, second)):
        expected = (at(value, step) - at(value, -step)) / (2 * step)
        assert at(slope, 0.0) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_gradient_of_products_is_right_at_zeros():
    for zeros in ([1], [1, 3], []):
        array = np.array([2.0, 3.0, -1.0, 0.5])
        array[zeros] = 0.0
        others = np.array([np.prod(np.delete(array, k)) for k in range(4)])
        for size in (4, "n"):
            x = sg.input("x", (size,), "float64")
            np.testing.assert_allclose(run(grad(sg.prod(x), x), {"x": array}), others)
            last = grad(sg.cumprod(x)[-1], x)
            np.testing.assert_allclose(run(last, {"x": array}), others)
            hessian_row = run(grad(last[0], x), {"x": array})
            pairs = [0.0 if k == 0 else np.prod(np.delete(array, [0, k])) for k in range(4)]
            np.testing.assert_allclose(hessian_row, pairs)


def test_products_of_nothing_and_of_much():
    for shape in ((0,), ("n",)):
        assert run(sg.prod(sg.input("x", shape)), {"x": np.zeros(0)}) == 1
    long = np.full(70_001, 1.0 + 1e-6)
    assert run(sg.prod(long)) == pytest.approx(np.prod(long), rel=1e-9)
    assert op_names(sg.prod(sg.input("x", (8,)))).count("mul") == 3


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
def test_dtypes_as_numpy(dtype):
    array = np.array([[1, 0, 3], [2, 5, 100]]).astype(dtype)
    for name in ("prod", "cumsum", "cumprod"):
        expected = getattr(np, name)(array, axis=1)
        found = run(getattr(sg, name)(array, axis=1))
        assert found.dtype == expected.dtype, name
        np.testing.assert_array_equal(found, expected)
    assert run(sg.cumsum(array, dtype="float64")).dtype == np.float64


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("axis", [0, -1])
def test_norms_of_vectors(order, axis):
    array = A[0]
    x = sg.input("x", array.shape, "float64")
    for found in (sg.norm(x, order, axis), np.linalg.norm(x, order, axis)):
        np.testing.assert_allclose(run(found, {"x": array}), np.linalg.norm(array, order, axis))
    kept = sg.norm(x, order, axis, keepdims=True)
    assert kept.shape == np.linalg.norm(array, order, axis, keepdims=True).shape


def test_norms_of_matrices_and_of_everything():
    assert run(sg.norm(A[0])) == pytest.approx(np.linalg.norm(A[0]))
    np.testing.assert_allclose(run(sg.norm(A, "fro", (0, 2))), np.linalg.norm(A, "fro", (0, 2)))
    assert run(sg.norm(np.array([3, 4]))) == 5.0
    with assert_refused(ArgumentError, "no norm 3 of matrices", line="sg.norm"):
        sg.norm(A[0], 3)
    with assert_refused(ArgumentError, "no norm 'nuc' over 3 axes", line="sg.norm"):
        sg.norm(A[None], "nuc", (0, 1, 2))


def test_the_gradient_of_the_norm_of_nothing_is_zero():
    x = sg.input("x", (2, 3), "float64")
    feeds = {"x": np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]])}
    first = grad(sg.norm(x, axis=1).sum(), x)
    np.testing.assert_allclose(run(first, feeds), [[0, 0, 0], [0.6, 0, 0.8]])
    assert np.isfinite(run(grad(first.sum(), x), feeds)).all()


def test_linear_scan(rng):
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    expected = np.zeros((4, 3))
    state = np.zeros(3)
    for k in range(4):
        state = a[k] * state + b[k]
        expected[k] = state
    np.testing.assert_allclose(run(sg.linear_scan(a, b, 0)), expected)
    decay = run(sg.linear_scan(0.5, b, 0))
    np.testing.assert_allclose(decay[1], 0.5 * b[0] + b[1])


def test_sums_run_in_order():
    array = np.array([1e8, 1.0, -1e8, 1.0], np.float32)
    np.testing.assert_array_equal(run(sg.cumsum(array)), np.cumsum(array))


def test_refusals():
    x = sg.input("x", (2, 3))
    with assert_refused(AxisError, "no axis 2", line="sg.cumsum"):
        sg.cumsum(x, 2)
    from staticgrad.ops.scans import CumSum, LinearScan

    with assert_refused(DTypeError, "numbers of one dtype"):
        CumSum(0)(np.array([True]))
    with assert_refused(RankError, "shapes"):
        LinearScan(0)(np.ones(3), np.ones((3, 1)))
    with assert_refused(ShapeError, "shapes"):
        LinearScan(0)(np.ones(3), np.ones(4))

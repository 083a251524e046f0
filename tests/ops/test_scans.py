"""Scans in each layout: short rows in lanes, interleaved rows, rows side by side; beside NumPy."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.language.ops.scans import LinearScan

#: Shapes with the scanned axis: a row in each lane, long rows, an outer axis, a vector.
LAYOUTS = {
    "lanes": ((40, 6), 1),
    "interleaved": ((5, 300), 1),
    "across": ((7, 64), 0),
    "across, between axes": ((3, 5, 4, 20), 1),
    "vector": ((9,), 0),
}


def along(array, axis):
    return np.moveaxis(array, axis, 0)


@pytest.mark.parametrize("first", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_factor_of_a_recurrence_is_not_read(layout, first):
    shape, axis = LAYOUTS[layout]
    random = np.random.default_rng(0)
    factors, terms = random.normal(size=shape) / 2, random.normal(size=shape)
    expected = terms.copy()
    for k in range(1, shape[axis]):
        along(expected, axis)[k] += along(factors, axis)[k] * along(expected, axis)[k - 1]
    along(factors, axis)[0] = first
    a, b = sg.input("a", shape, "float64"), sg.input("b", shape, "float64")
    result = sg.compile(LinearScan(axis)(a, b)).run({"a": factors, "b": terms})
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_running_sums_and_products_keep_the_signs_of_zeros(layout, dtype):
    shape, axis = LAYOUTS[layout]
    zeros = np.where(np.random.default_rng(1).random(shape) < 0.7, -0.0, 0.0).astype(dtype)
    along(zeros, axis)[:3] = -0.0
    x = sg.input("x", shape, dtype)
    programs = {"cumsum": sg.cumsum(x, axis), "cumprod": sg.cumprod(x, axis)}
    results = sg.compile(programs).run({"x": zeros})
    for name, result in results.items():
        expected = getattr(np, name)(zeros, axis)
        np.testing.assert_array_equal(np.signbit(result), np.signbit(expected), err_msg=name)
        assert not result.any()

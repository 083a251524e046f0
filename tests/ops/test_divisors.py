"""Divisors of integers at their ends; positions that pass over NaN."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DTypeError

X = np.random.default_rng(0).normal(size=(3, 4))


def test_positions_pass_over_nan_and_divisors_are_integers():
    with pytest.raises(DTypeError, match="takes integers"):
        sg.gcd(1.5, 2)
    x = np.where(X > 0.5, np.nan, X)
    x[:, 0] = 0.0
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(sg.evaluate(sg.nanargmax(x, axis)), np.nanargmax(x, axis))
        np.testing.assert_array_equal(sg.evaluate(sg.nanargmin(x, axis)), np.nanargmin(x, axis))
    assert sg.evaluate(sg.nanargmax([np.nan, np.nan])) == 0
    np.testing.assert_array_equal(sg.evaluate(sg.diagflat(X, -1)), np.diagflat(X, -1))


def test_divisors_and_multiples_are_those_of_numpy():
    random = np.random.default_rng(0)
    for dtype in ("int8", "uint16", "int64"):
        low = 0 if dtype.startswith("u") else -90
        a, b = (random.integers(low, 90, shape).astype(dtype) for shape in ((7, 5), (5,)))
        np.testing.assert_array_equal(sg.evaluate(sg.gcd(a, b)), np.gcd(a, b), strict=True)
    ends = np.array([0, 1, -1, 2**62, -(2**63) + 1, 7540113804746346429, 4660046610375530309])
    x, y = sg.input("x", (7, 1), "int64"), sg.input("y", (7,), "int64")
    found = sg.compile({"gcd": sg.gcd(x, y), "lcm": sg.lcm(x, y)}).run(
        {"x": ends[:, None], "y": ends}
    )
    np.testing.assert_array_equal(found["gcd"], np.gcd(ends[:, None], ends))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found["lcm"], np.lcm(ends[:, None], ends))
    mapped = sg.vmap(sg.gcd)(ends, ends[::-1])
    np.testing.assert_array_equal(mapped, np.gcd(ends, ends[::-1]))

"""Integers, exponents, neighbours of floats, index arrays and polynomials beside NumPy's."""

import numpy as np
import pytest

import staticgrad as sg

FLOATS = [
    0.0, -0.0, 1.0, -1.5, 1e-310, -5e-324, np.inf, -np.inf, np.nan, 1e308, 2.0**-1022, 7.3, -0.5,
    2.0**52, 0.1, 0.25, -(2.0**-1022), 1.7976931348623157e308,
]  # fmt: skip


def check(name, *args, rtol=0.0, **kwargs):
    """Compare results, types and signs with NumPy's, for arrays and for values."""
    expected = getattr(np, name)(*args, **kwargs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    values = [sg.constant(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
    of_values = getattr(sg, name)(*values, **kwargs)
    of_arrays = getattr(sg, name)(*args, **kwargs)
    of_arrays = of_arrays if isinstance(of_arrays, tuple) else (of_arrays,)
    results = of_values if isinstance(of_values, tuple) else (of_values,)
    for ours, of_value, theirs in zip(of_arrays, results, expected, strict=True):
        for result in (ours, sg.evaluate(of_value) if isinstance(of_value, sg.Value) else of_value):
            assert np.asarray(result).dtype == theirs.dtype
            np.testing.assert_allclose(result, theirs, rtol=rtol, atol=rtol)
            if theirs.dtype.kind == "f":
                numbers = ~np.isnan(theirs)
                np.testing.assert_array_equal(
                    np.signbit(result)[numbers], np.signbit(theirs)[numbers]
                )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_parts_and_neighbours_of_floats_are_those_of_numpy(dtype):
    with np.errstate(all="ignore"):
        x = np.array(FLOATS).astype(dtype)
        for name in ("frexp", "modf", "spacing"):
            check(name, x)
        for powers in (7 * np.arange(x.size) - 40, np.full(x.size, 1500), np.full(x.size, -1060)):
            check("ldexp", x, powers)
        for goal in (0.0, -1.0, np.inf, -np.inf, np.nan):
            check("nextafter", x, np.full(x.size, goal, dtype))
        check("nextafter", x, x[::-1].copy())


def test_powers_out_of_range_are_applied_in_parts():
    with np.errstate(all="ignore"):
        check("ldexp", np.array([1.9 * 2.0**1023, 5e-324]), np.array([-2090, 2097]))


def test_the_slope_of_a_scaled_number_is_the_power():
    slope = sg.grad(lambda x: sg.ldexp(x, np.array([3, -2])).sum())(np.array([1.5, 2.0]))
    np.testing.assert_array_equal(slope, [8.0, 0.25])
    slope = sg.grad(lambda x: (sg.frexp(x)[0] + sg.modf(x)[0]).sum())(np.array([6.0, -0.75]))
    np.testing.assert_array_equal(slope, [1.125, 2.0])


def test_divisors_and_bits_of_integers():
    rng = np.random.default_rng(0)
    x, y = rng.integers(-50, 50, (4, 5)), rng.integers(-20, 20, 5)
    check("gcd", x, y)
    check("lcm", x, y)
    for integers in (x, x.astype("int8"), np.array([2**64 - 1, 5], "uint64"), np.array([-(2**63)])):
        check("bitwise_count", integers)
    with pytest.raises(sg.errors.DTypeError, match="takes integers"):
        sg.gcd(1.5, 2)


def test_indices_of_elements():
    check("unravel_index", np.array([[3, 7], [0, 11]]), (3, 4))
    check("unravel_index", np.array([3, 7]), (3, 4), "F")
    check("ravel_multi_index", (np.array([0, 5]), np.array([-1, 1])), (3, 4), ("wrap", "clip"), "F")
    x = sg.input("x", (2,), "int64")
    with pytest.raises(sg.errors.IndexOutOfRange, match="index 12 is out of range"):
        sg.evaluate(sg.unravel_index(x, (3, 4))[0], {"x": [0, 12]})
    with pytest.raises(sg.errors.ArgumentError, match="a mask has as many indices"):
        sg.ix_(sg.input("m", (3,), "bool"))
    check("ix_", np.array([True, False, True])[:0].astype(int), np.array([1, 0]))


def test_polynomials():
    rng = np.random.default_rng(1)
    p, q, x, y = (rng.normal(size=size) for size in (4, 3, 20, 20))
    for name in ("polyadd", "polysub", "polymul"):
        check(name, p, q, rtol=1e-12)
        check(name, q, p, rtol=1e-12)
    check("roots", np.array([1.0 + 1j, -3.0, 2.0]), rtol=1e-10)
    spaced = np.array([0.0, 1.0, -3.0, 2.0, 0.0])
    np.testing.assert_allclose(sorted(sg.roots(spaced)), sorted(np.roots(spaced)))
    check("polyfit", x, np.stack([y, x**3], 1), 2, w=abs(y) + 0.1, rtol=1e-9)
    check("polyfit", x, y, 2, cov=True, rtol=1e-9)
    np.testing.assert_allclose(sg.poly(np.array([1.0, 2.0, 3.0])), [1.0, -6.0, 11.0, -6.0])


def test_sets_have_a_size_that_the_caller_gives():
    a, b = np.array([3.0, 1.0, 2.0, 3.0, 5.0]), np.array([2.0, 5.0, 7.0, 7.0])
    for name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
        expected = getattr(np, name)(a, b)
        np.testing.assert_array_equal(getattr(sg, name)(a, b), expected)
        actual = sg.evaluate(
            getattr(sg, name)(sg.constant(a), b, size=len(expected) + 2, fill_value=9)
        )
        np.testing.assert_array_equal(actual, [*expected, 9.0, 9.0])
        with pytest.raises(sg.errors.ArgumentError, match="only known in a run"):
            getattr(sg, name)(sg.input("a", (3,)), b)


def test_entries_are_left_out():
    m = np.arange(12.0).reshape(3, 4)
    for obj, axis in ((1, 1), ([0, 2], 0), (slice(None, None, 2), None), (-1, 0)):
        check("delete", m, obj, axis)
    with pytest.raises(sg.errors.ArgumentError, match="delete: obj must be known"):
        sg.delete(m, sg.input("i", (), "int64"))


def test_functions_along_axes():
    x = np.random.default_rng(2).normal(size=(2, 3, 4))
    for axis in (0, 1, -1):

        def pairs(row):
            return row[:2][:, None] * row[:2]

        check("apply_along_axis", pairs, axis, x)
    slope = sg.grad(lambda x: sg.apply_along_axis(lambda row: row @ row, 1, x).sum())(x)
    np.testing.assert_allclose(slope, 2.0 * x)


def test_points_in_a_grid():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 30))
    check("histogram2d", x, y, [3, 4], density=True, rtol=1e-12)
    check("histogram2d", x, y, [np.array([-1.0, 0.0, 1.0]), 5], weights=y, rtol=1e-12)
    check("histogram2d", x, y, 4, [[-1, 1], [-2, 0.5]])
    counts, edges = sg.histogramdd(np.stack([x, y], 1), [3, 5])
    expected, ends = np.histogramdd(np.stack([x, y], 1), [3, 5])
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_allclose(edges[1], ends[1])


def test_windows():
    for size in (0, 1, 2, 9):
        for name in ("bartlett", "blackman", "hamming", "hanning"):
            check(name, size, rtol=1e-15)  # the cosine has no last bits of its own
        check("kaiser", size, 2.5, rtol=1e-13)
    slope = sg.grad(lambda beta: sg.kaiser(5, beta).sum())(2.5)
    change = (np.kaiser(5, 2.5 + 1e-6) - np.kaiser(5, 2.5 - 1e-6)).sum() / 2e-6
    np.testing.assert_allclose(slope, change, rtol=1e-8)

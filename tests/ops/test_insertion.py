"""``insert`` where NumPy takes it, and what it refuses; divisors of integers at their ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, ShapeError

X = np.random.default_rng(0).normal(size=(3, 4))
WIDE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
CASES: list[tuple[Any, Any, int | None]] = [
    (1, 9, 0), (1, [1, 2, 3, 4], 0), (-1, [1, 2, 3], 1), (0, [[1], [2], [3]], 1),
    ([0, 2], WIDE, 1), ([2, 0], 7, 1), ([1], [[1, 2, 3, 4], [5, 6, 7, 8]], 0),
    (slice(0, 3, 2), 5, 0), (slice(None), 5, None), (12, 3, None), ([-1, -1], [5, 6], None),
    (3, 0, 0), ([], [], None), (np.array([True, False, True]), 8, 0),
    (2, [[1, 2, 3], [4, 5, 6]], 1),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(CASES)))
def test_entries_stand_where_numpy_puts_them(case: int) -> None:
    obj, values, axis = CASES[case]
    wanted = np.insert(X, obj, values, axis)
    np.testing.assert_array_equal(sg.evaluate(sg.insert(X, obj, values, axis)), wanted)


def test_named_sizes_take_one_position_and_gradients_go_to_both() -> None:
    x, row = sg.input("x", ("n", 4), "float64"), sg.input("row", (4,), "float64")
    y = sg.insert(x, 2, row * row, 0)
    feeds = {"x": X, "row": X[0]}
    f = sg.compile({"y": y, "slopes": sg.grad((y * y).sum(), [x, row])[1]})
    found = f.run(feeds)
    np.testing.assert_array_equal(found["y"], np.insert(X, 2, X[0] ** 2, 0))
    np.testing.assert_allclose(found["slopes"], 4 * X[0] ** 3)
    mapped = sg.vmap(lambda a, b: sg.insert(a, [0, 3], b))(X, X[:, :2])
    np.testing.assert_array_equal(
        mapped, np.stack([np.insert(a, [0, 3], b) for a, b in zip(X, X[:, :2], strict=True)])
    )


def test_what_is_no_position_is_refused() -> None:
    n = sg.input("x", ("n", 4))
    for build, error, says in (
        (lambda: sg.insert(X, 5, 1, 0), IndexError, "out of bounds"),
        (lambda: sg.insert(n, [1, 2], 1, 0), ArgumentError, "named size n"),
        (lambda: sg.insert(X, sg.constant([1]), 1, 0), ArgumentError, "is a value"),
        (lambda: sg.insert(X, 1.5, 1, 0), ArgumentError, "not an integer"),
        (lambda: sg.insert(X, [0.5], 1, 0), ArgumentError, "no list of positions"),
        (lambda: sg.insert(X, 1, [1, 2], 0), ShapeError, "does not fit"),
        (lambda: sg.gcd(1.5, 2), DTypeError, "takes integers"),
    ):
        with pytest.raises(error, match=says):
            build()  # type: ignore[no-untyped-call]


def test_divisors_and_multiples_are_those_of_numpy() -> None:
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


def test_positions_pass_over_nan() -> None:
    x = np.where(X > 0.5, np.nan, X)
    x[:, 0] = 0.0
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(sg.evaluate(sg.nanargmax(x, axis)), np.nanargmax(x, axis))
        np.testing.assert_array_equal(sg.evaluate(sg.nanargmin(x, axis)), np.nanargmin(x, axis))
    assert sg.evaluate(sg.nanargmax([np.nan, np.nan])) == 0
    np.testing.assert_array_equal(sg.evaluate(sg.diagflat(X, -1)), np.diagflat(X, -1))

"""A first axis of literal size answers what a sequence answers; a named one refuses with a code."""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import RankError, SymbolicValueError
from tests.ops.graphs import run
from tests.ops.messages import assert_refused

A = np.arange(12.0).reshape(3, 4)


def test_length_iteration_and_unpacking():
    x = sg.input("x", A.shape, "float64")
    assert len(x) == 3
    assert [row.shape for row in x] == [(4,)] * 3
    first, *others = x
    feeds = {"x": A}
    np.testing.assert_array_equal(run(first, feeds), A[0])
    assert len(others) == 2
    np.testing.assert_array_equal(run(sum(x), feeds), A.sum(0))
    np.testing.assert_array_equal(run(sg.stack(list(reversed(list(x)))), feeds), A[::-1])
    pairs = [a * b for a, b in zip(x, A, strict=True)]
    np.testing.assert_array_equal(run(sg.stack(pairs), feeds), A * A)
    assert list(sg.input("none", (0, 2))) == []
    with pytest.raises(ValueError, match="too many values"):
        _, _ = x


def test_a_loop_over_rows_has_their_gradient():
    x = sg.input("x", A.shape, "float64")
    total = 0.0
    for k, row in enumerate(x):
        total = total + (k + 1.0) * (row**2).sum()
    found = sg.compile(sg.grad(total, x)).run({"x": A})
    np.testing.assert_allclose(found, 2 * A * np.array([[1.0], [2.0], [3.0]]))


JOINS = ["vstack", "hstack", "dstack", "column_stack", "concatenate", "stack"]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name", JOINS)
def test_joining_the_rows_of_one_array_as_numpy(name, rank):
    array = np.arange(24.0).reshape(2, 3, 4)[(0,) * (3 - rank)]
    if name == "concatenate" and rank == 1:
        return  # of numbers: NumPy refuses, too
    expected = getattr(np, name)(array)
    x = sg.input("x", array.shape, "float64")
    for join in (getattr(sg, name), getattr(np, name)):
        np.testing.assert_array_equal(sg.compile(join(x)).run({"x": array}), expected)
    np.testing.assert_array_equal(getattr(sg, name)(Tensor(array)).data, expected)


@pytest.mark.parametrize("use", [len, iter, list, np.vstack, sg.stack, sg.concatenate, sg.hstack])
def test_a_named_first_axis_refuses(use):
    x = sg.input("x", ("n", 2))
    with assert_refused(
        SymbolicValueError, "the size n of its first axis", "literal size", line="use(x)"
    ):
        use(x)


def test_a_number_has_no_rows():
    with assert_refused(RankError, "no axes", line="list(sg.input"):
        list(sg.input("x", ()))
    with assert_refused(RankError, "no axes"):
        len(sg.input("x", ()))


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)), ((4,), (2, 4, 5)),
     ((2, 3, 4), (4,)), ((2, 3, 4), ()), ((), (2, 3, 4)), ((2, 2, 3, 4), (3, 2, 4, 2))],
)  # fmt: skip
def test_dot_beyond_two_axes_as_numpy(a, b, rng):
    left, right = rng.normal(size=a), rng.normal(size=b)
    x, y = sg.input("x", a, "float64"), sg.input("y", b, "float64")
    for found in (sg.dot(x, y), np.dot(x, y), x.dot(y)):
        result = sg.compile(found).run({"x": left, "y": right})
        assert result.shape == np.dot(left, right).shape
        np.testing.assert_allclose(result, np.dot(left, right), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (4,)), ((4,), (2, 3)), ((2,), (2, 1, 3)), ((), (2, 2)), ((2, 2), ())]
)
def test_kron_of_unequal_ranks_as_numpy(a, b, rng):
    left, right = rng.normal(size=a), rng.normal(size=b)
    x, y = sg.input("x", a, "float64"), sg.input("y", b, "float64")
    result = sg.compile(sg.kron(x, y)).run({"x": left, "y": right})
    assert result.shape == np.kron(left, right).shape
    np.testing.assert_array_equal(result, np.kron(left, right))
    named = sg.input("x", tuple(f"n{k}" for k in range(len(a))), "float64")
    np.testing.assert_array_equal(run(sg.kron(named, y), {"x": left, "y": right}), result)

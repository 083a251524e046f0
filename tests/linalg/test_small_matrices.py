"""Loops over small matrices, beside LAPACK, their text run as Python, and each matrix alone."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import LinearAlgebraError
from staticgrad.native.libraries.recipes import LANES, SMALL, SMALL_PIVOTED
from staticgrad.ops.linalg import LU, Cholesky, LUSolve, TriangularSolve

MANY = 2 * max(LANES.values()) + 3
FLAGS = [
    TriangularSolve(lower, transposed, unit)
    for lower in (False, True)
    for transposed in (False, True)
    for unit in (False, True)
]


def operands(n, k, dtype):
    """Matrices, definite ones, right-hand sides and permutations, of which one is none."""
    random = np.random.default_rng(n + k)
    x = random.normal(size=(MANY, n, n)) + 3.0 * np.eye(n)
    permutation = random.permuted(np.tile(np.arange(n), (MANY, 1)), axis=1)
    permutation[2] = n + 7
    arrays = {"x": x, "p": x @ x.swapaxes(1, 2), "b": random.normal(size=(MANY, n, k))}
    return {**{name: array.astype(dtype) for name, array in arrays.items()}, "q": permutation}


def found(size, n, k, dtype, errors="nan"):
    """What each op makes of a batch of so many."""
    x, p = (sg.input(name, (size, n, n), dtype) for name in "xp")
    b, q = sg.input("b", (size, n, k), dtype), sg.input("q", (size, n), "int64")
    results = {f"lu{i}": each for i, each in enumerate(LU()(x))}
    results |= {f"s{t}": LUSolve(t, errors)(x, q, b) for t in (False, True)}
    results |= {f"t{i}": op(x, b) for i, op in enumerate(FLAGS)}
    return {**results, "c": Cholesky(errors=errors)(p)}


@pytest.mark.thinned
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (5, 1)])
def test_many_interleaved_have_the_bytes_of_each_alone(n, k, dtype):
    feeds = operands(n, k, dtype)
    feeds["p"][5, -1, -1] = -1.0  # has no factor: those beside it are computed again
    together = sg.compile(found("m", n, k, dtype), threads=3)
    results = together.run(feeds)
    assert np.isnan(results["c"][5]).all()
    for i in range(MANY):
        alone = together.run({name: array[i : i + 1] for name, array in feeds.items()})
        for name, array in alone.items():
            assert same_bytes(array[0], results[name][i]), (name, i)
    with sg.options(jit=False):
        plain = sg.compile(found("m", n, k, dtype)).run(feeds)
    for name, array in plain.items():
        assert same_bytes(array, results[name]), name


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, SMALL_PIVOTED + 1),
    st.integers(1, SMALL_PIVOTED + 1),
    st.booleans(),
    st.integers(0, 99),
)
def test_pivots_are_those_of_lapack(m, n, has_ties, seed):
    """x[:, permutation] = L @ U is the factorization of x.T. Up to 3 rows, ties are exact."""
    random = np.random.default_rng(seed)
    m, n = (m % 3 + 1, n % 3 + 1) if has_ties else (m, n)
    x = random.integers(-1, 2, (3, m, n)) * 1.0 if has_ties else random.normal(size=(3, m, n))
    for array, *factors in zip(x, *sg.evaluate(list(LU()(sg.constant(x)))), strict=True):
        packed, permutation, swaps = factors
        wanted, pivots, _ = scipy.linalg.lapack.dgetrf(array.T)
        order = np.arange(n)
        for j, other in enumerate(pivots):
            order[[j, other]] = order[[other, j]]
        np.testing.assert_array_equal(permutation, order)
        assert swaps == np.count_nonzero(pivots != np.arange(len(pivots)))
        np.testing.assert_allclose(packed, wanted.T, rtol=1e-9, atol=1e-11)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("n", [SMALL_PIVOTED, SMALL_PIVOTED + 1, SMALL, SMALL + 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_on_both_sides_of_where_lapack_takes_over(n, dtype):
    feeds = {name: array for name, array in operands(n, n, dtype).items() if name != "q"}
    x, p, b = (sg.input(name, ("m", n, n), dtype) for name in "xpb")
    solved = sg.linalg.solve(x, b)
    lower = sg.linalg.solve_triangular(x, b, lower=True)
    outs = {"x": solved, "by_b": sg.grad(solved.sum(), b), "lower": lower}
    results = sg.compile({**outs, "c": sg.linalg.cholesky(p)}).run(feeds)
    wide = {name: array.astype(np.float64) for name, array in feeds.items()}
    wanted = {
        "x": np.linalg.solve(wide["x"], wide["b"]),
        "by_b": np.linalg.solve(wide["x"].swapaxes(1, 2), np.ones_like(wide["b"])),
        "lower": np.linalg.solve(np.tril(wide["x"]), wide["b"]),
        "c": np.linalg.cholesky(wide["p"]),
    }
    for name, array in wanted.items():
        near = 1e4 * np.finfo(dtype).eps * abs(array).max()
        np.testing.assert_allclose(results[name], array, atol=near, err_msg=name)


def test_pivots_whose_inverses_overflow_divide():
    x = np.array([[3e-310, 1e-310], [1.0, 0.5]])
    lu, permutation, _ = sg.evaluate(list(LU()(sg.constant(x))))
    np.testing.assert_array_equal(permutation, [0, 1])
    np.testing.assert_allclose(lu[0], [3e-310, 1 / 3], rtol=1e-13)
    np.testing.assert_allclose(lu[1], [1.0, 0.5 - 1 / 3], rtol=1e-13)


def test_an_error_names_the_first_of_several_that_fail():
    x = np.tile(np.eye(3), (MANY, 1, 1))
    x[[MANY - 1, 11, 13], 1, 1] = 0.0
    value = sg.input("x", x.shape, "float64")
    solved = sg.linalg.solve_triangular(value, np.ones((3, 1)))
    for call, how in ((sg.linalg.cholesky(value), "order 2"), (solved, "number 2")):
        for threads in (1, 3):
            with pytest.raises(LinearAlgebraError, match=f"matrix 11 .*{how}"):
                sg.compile({"y": call}, threads=threads).run({"x": x})

"""LU factors and solutions beyond small matrices: errors beside LAPACK's, pivots, and bits."""

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg
from staticgrad.errors import LinearAlgebraError
from staticgrad.language.ops.linalg import LU, LUSolve, TriangularSolve
from staticgrad.native.libraries.recipes import SMALL, WHOLE

RNG = np.random.default_rng(11)


def growing(n):
    """The elements of L or U grow by powers of two, by rows and by columns."""
    half = np.eye(n // 2) - np.tril(np.ones((n // 2, n // 2)), -1)
    half[:, -1] = 1.0
    return scipy.linalg.block_diag(half, half.T)


def shifted(n):
    """All leading minors but the last are 0."""
    return np.roll(np.diag(np.arange(1.0, n + 1)), 1, 0)


def hilbert(n):
    return scipy.linalg.hilbert(n)


def permuted(n):
    return np.eye(n)[np.random.default_rng(n).permutation(n)]


def normal(n):
    return np.random.default_rng(n).normal(size=(n, n))


def scaled(n):
    return normal(n) * 10.0 ** np.linspace(-30, 30, n)


HARD = (growing, shifted, hilbert, permuted, normal, scaled)


def backward_error(a, x, b):
    """The largest residual beside the terms of its row."""
    wide = np.asarray(a, float)
    residual = abs(wide @ x - b).max(0)
    return (residual / (abs(wide) @ abs(x) + abs(b)).max(0)).max()


@pytest.mark.parametrize("matrix", HARD)
@pytest.mark.parametrize("n", [26, 60, 101])
def test_solutions_are_as_close_as_lapacks(matrix, n):
    b = np.random.default_rng(0).normal(size=(n, 11))
    # Products of the scaled elements overflow in float32.
    for dtype in ("float64", "float32") if matrix is not scaled else ("float64",):
        a = matrix(n).astype(dtype)
        right = b[: len(a)].astype(dtype)
        x = sg.linalg.solve(a, right, errors="nan").astype(float)
        factors = scipy.linalg.lu_factor(a.T)  # rows in C order are columns to LAPACK
        usual = scipy.linalg.lu_solve(factors, right, trans=1).astype(float)
        least = np.finfo(dtype).eps * 4
        assert backward_error(a, x, right) <= 8 * backward_error(a, usual, right) + least


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(25, 25), (40, 70), (70, 40), (101, 25), (7, 130), (130, 7)])
def test_factors_multiply_to_the_matrix(shape, dtype):
    m, n = shape
    x = RNG.normal(size=(2, m, n)).astype(dtype)
    packed, permutation, swaps = LU().reference(x)
    for k in range(2):
        lower = np.tril(packed[k].astype(float))[:, : min(m, n)]
        upper = (np.triu(packed[k].astype(float), 1) + np.eye(m, n))[: min(m, n)]
        assert sorted(permutation[k]) == [*range(n)]
        sign = round(np.linalg.det(np.eye(n)[permutation[k]]))
        assert sign == (-1) ** (swaps[k] % 2)
        assert abs(upper).max() <= 1.0  # the largest element is the pivot
        error = abs(lower @ upper - x[k][:, permutation[k]]).max()
        assert error <= 4 * max(m, n) ** 0.5 * np.finfo(dtype).eps * abs(x).max()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_column_of_a_solution_does_not_depend_on_the_others(transposed, dtype):
    a, b = (RNG.normal(size=(75, k)).astype(dtype) for k in (75, 37))
    lu, permutation, _ = LU().reference(a)
    triangular = np.tril(a) + 75 * np.eye(75, dtype=dtype)
    for op, operands in (
        (LUSolve(transposed), (lu, permutation)),
        (TriangularSolve(transposed=transposed), (triangular,)),
    ):
        expected = op.reference(*operands, b)
        for some in (slice(0, 2), slice(3, 20), slice(35, 37)):
            np.testing.assert_array_equal(op.reference(*operands, b[:, some]), expected[:, some])


def test_named_sizes_and_threads_keep_the_bits():
    n, k = sg.dim("n"), sg.dim("k")
    named = sg.input("a", (n, n), "float64"), sg.input("b", (n, k), "float64")
    a, b = RNG.normal(size=(90, 90)), RNG.normal(size=(90, 21))
    plain = sg.input("a", (90, 90), "float64"), sg.input("b", (90, 21), "float64")
    actual = []
    for x, y in (named, plain):
        loss = sg.sum(sg.linalg.solve(x, y) ** 2)
        graph = sg.Graph({"loss": loss, "a": sg.grad(loss, x), "b": sg.grad(loss, y)})
        for threads in (1, 2):
            with sg.options(threads=threads):
                run = sg.compile(graph).run({"a": a, "b": b})
                actual.append([run[name].tobytes() for name in ("a", "b")])
    assert all(bits == actual[0] for bits in actual)


@pytest.mark.parametrize("n", [SMALL + 2, 64])
def test_singular_matrices_and_nan(n):
    a = RNG.normal(size=(2, n, n))
    a[1, :, 5] = a[1, :, 3] = 0.0
    b = np.ones((2, n, 3))
    with pytest.raises(LinearAlgebraError, match="matrix 1 is singular"):
        sg.linalg.solve(a, b)
    actual = sg.linalg.solve(a, b, errors="nan")
    assert np.isfinite(actual[0]).all()
    assert not np.isfinite(actual[1]).all()
    sign, logarithm = sg.linalg.slogdet(a)
    assert sign[1] == 0.0
    assert logarithm[1] == -np.inf
    a[0, 4, 9] = np.nan
    packed, permutation, _ = LU().reference(a)
    assert sorted(permutation[0]) == [*range(n)]
    assert np.isnan(packed[0]).any()
    assert np.isnan(sg.linalg.det(a)[0])


@pytest.mark.slow
@pytest.mark.parametrize("n", [WHOLE, WHOLE + 1])
def test_the_largest_whole_matrices_and_those_in_blocks(n):
    a, b = RNG.normal(size=(n, n)), RNG.normal(size=(n, 19))
    for matrix in (a, a.T):
        x, usual = sg.linalg.solve(matrix, b), scipy.linalg.solve(matrix, b)
        assert backward_error(matrix, x, b) <= 4 * backward_error(matrix, usual, b)
    inverse = sg.linalg.inv(a)
    assert abs(inverse @ a - np.eye(n)).max() <= 8 * abs(np.linalg.inv(a) @ a - np.eye(n)).max()


def test_the_gradient_of_a_larger_system_is_the_adjoint_solution():
    a, b = RNG.normal(size=(40, 40)), RNG.normal(size=(40, 5))
    x, y = sg.input("x", (40, 40), "float64"), sg.input("y", (40, 5), "float64")
    loss = sg.sum(sg.linalg.solve(x, y) ** 2)
    actual = sg.compile(sg.Graph({"x": sg.grad(loss, x), "y": sg.grad(loss, y)})).run(
        {"x": a, "y": b}
    )
    solution = np.linalg.solve(a, b)
    adjoint = np.linalg.solve(a.T, 2 * solution)
    np.testing.assert_allclose(actual["y"], adjoint, rtol=1e-9, atol=1e-9 * abs(adjoint).max())
    expected = -adjoint @ solution.T
    np.testing.assert_allclose(actual["x"], expected, rtol=1e-9, atol=1e-9 * abs(expected).max())

"""Failures of factors, small matrices beside LAPACK, and threads, forks and loading of LAPACK."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings, strategies as st

import staticgrad as sg
from staticgrad.analysis.evaluate import same_bytes
from staticgrad.errors import DTypeError, LinearAlgebraError, ShapeError
from staticgrad.language.ops.linalg import LU, Cholesky, LUSolve, TriangularSolve
from staticgrad.native.libraries import scipy_library
from staticgrad.native.libraries.recipes import LANES, SMALL, SMALL_PIVOTED
from staticgrad.support import forks

GOOD = np.stack([np.eye(3) * k for k in (1.0, 2.0, 3.0)])
SINGULAR, NEGATIVE, STRANGE = GOOD.copy(), GOOD.copy(), GOOD.copy()
SINGULAR[1, 2, 2], NEGATIVE[2, 1, 1], STRANGE[0, 0, 0] = 0.0, -1.0, np.nan
ENDLESS = GOOD.copy()
ENDLESS[2, 1, 0] = np.inf
L = sg.linalg
#: A function, what it cannot do, which of three matrices it fails for, what the error says.
FAILING = {
    "cholesky": (L.cholesky, NEGATIVE, 2, "leading minor of order 2"),
    "inv": (L.inv, SINGULAR, 1, "is singular"),
    "solve": (lambda x, **how: L.solve(x, np.ones((3, 1)), **how), SINGULAR, 1, "is singular"),
    "solve_triangular": (
        lambda x, **how: L.solve_triangular(x, np.ones((3, 1)), **how), SINGULAR, 1, "number 3",
    ),
    "solve_tridiagonal": (
        lambda x, **how: L.solve_tridiagonal(
            np.zeros((3, 2)), L.diagonal(x), np.zeros((3, 2)), np.ones((3, 3, 1)), **how
        ),
        SINGULAR, 1, "is singular",
    ),
    "svdvals": (L.svdvals, STRANGE, 0, "holds NaN"),
    "svd": (lambda x, **how: L.svd(x, **how)[0], ENDLESS, 2, "holds NaN or infinities"),
    "pinv": (L.pinv, ENDLESS, 2, "holds NaN or infinities"),
    "eig": (lambda x, **how: abs(L.eig(x, **how)[1]), ENDLESS, 2, "holds NaN or infinities"),
    "eigvals": (lambda x, **how: abs(L.eigvals(x, **how)), STRANGE, 0, "holds NaN or infinities"),
    "eigh": (lambda x, **how: L.eigh(x, **how)[1], ENDLESS, 2, "holds NaN or infinities"),
    "eigvalsh": (  # of two rows LAPACK finds -1.4 and 1.4
        lambda x, **how: L.eigvalsh(x[:, :2, :2], **how), STRANGE, 0, "holds NaN or infinities",
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [3, 5, SMALL + 6])
def test_an_error_names_the_first_pivot_and_the_first_minor_that_fail(size):
    """Two of many matrices fail, small ones in lanes, each at two places and more."""
    x = sg.input("x", (20, size, size), "float64")
    matrices = np.stack([np.eye(size)] * 20)
    for number in (9, 17):
        matrices[number, [1, 2], [1, 2]] = 0.0
    b = np.ones((20, size, 2))
    programs = {
        "matrix 9 is singular: a pivot is 0, number 2 ": L.solve_triangular(x, b, lower=False),
        "matrix 9 is not positive definite: its leading minor of order 2 ": L.cholesky(x),
    }
    for text, value in programs.items():
        with pytest.raises(LinearAlgebraError) as caught:
            sg.compile(value).run({"x": matrices})
        assert caught.value.headline.startswith(text)
        nothing = sg.compile(L.cholesky(x, errors="nan")).run({"x": matrices})
        assert np.isnan(nothing[[9, 17]]).any((1, 2)).all()
        np.testing.assert_array_equal(nothing[[0, 8, 10, 19]], matrices[[0, 8, 10, 19]])


@pytest.mark.parametrize("size", [2, 3])
def test_of_equal_pivots_the_first_row_is_taken_as_in_lapack(size):
    random = np.random.default_rng(size)
    matrices = random.choice([-1.0, 1.0], (20, size, size))
    x = sg.input("x", matrices.shape, "float64")
    actual = sg.compile(dict(zip("plu", L.lu(x), strict=True))).run({"x": matrices})
    for number, matrix in enumerate(matrices):
        for name, expected in zip("plu", scipy.linalg.lu(matrix), strict=True):
            np.testing.assert_allclose(actual[name][number], expected, atol=1e-12)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", FAILING)
def test_an_error_names_the_matrix_and_the_line_and_changes_nothing(name):
    function, wrong, matrix, text = FAILING[name]
    x, w = sg.input("x", (3, 3, 3), "float64"), sg.parameter("w", np.zeros(()))
    value = function(x)
    f = sg.compile(sg.Graph({"y": value}, updates={w: w + value.sum()}))
    first = f.run({"x": GOOD})["y"].copy()
    initial = w.value
    for run in (lambda: f.run({"x": wrong}), lambda: sg.evaluate(value, {"x": wrong})):
        with pytest.raises(LinearAlgebraError, match=f"matrix {matrix} .*{text}|{text}") as caught:
            run()
        assert f"matrix {matrix} " in str(caught.value)
        assert caught.value.at.resolve().file == __file__
    np.testing.assert_array_equal(w.value, initial)
    np.testing.assert_array_equal(f.run({"x": GOOD})["y"], first)


@pytest.mark.parametrize("name", FAILING)
def test_nan_stands_where_it_is_asked_for(name):
    function, wrong, matrix, _ = FAILING[name]
    x = sg.input("x", (3, 3, 3), "float64")
    graph = sg.Graph(function(x, errors="nan"))
    for results in (sg.compile(graph).run({"x": wrong}), sg.evaluate(graph, {"x": wrong})):
        finite = np.isfinite(results["output"]).reshape(3, -1)
        assert [bool(row.all()) for row in finite] == [k != matrix for k in range(3)]


def test_what_lapack_does_not_take_is_refused_where_it_is_written():
    for dtype in ("float16", "bfloat16"):
        with pytest.raises(DTypeError, match="takes float32 and float64"):
            L.cholesky(sg.input("x", (2, 2), dtype))
    for function in (L.inv, L.det, L.cholesky, L.eigh, L.expm):
        with pytest.raises(ShapeError, match=r"\[2, 3\] is not square"):
            function(sg.input("x", (2, 3), "float64"))
    assert L.inv(sg.input("x", (2, 2), "int64")).dtype == "float64"


def test_bytes_do_not_depend_on_the_threads_of_the_library():
    """It works on one while a step calls it, and has its own number again afterwards."""
    accessors = scipy_library._threads()
    if accessors is None:
        pytest.skip("SciPy has another BLAS than OpenBLAS")
    get, put = accessors
    n, count = 300, get()
    x = sg.input("x", (n, n), "float64")
    array = np.random.default_rng(0).normal(size=(n, n))
    array = array @ array.T + n * np.eye(n)
    f = sg.compile({"l": L.cholesky(x), "i": L.inv(x)}, threads=2)
    try:
        results = []
        for threads in (1, 2):
            put(threads)
            results.append({k: v.copy() for k, v in f.run({"x": array}).items()})
            assert get() == threads
    finally:
        put(count)
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("jit", [True, False])
def test_a_child_that_is_forked_during_a_call_finds_the_library_free(jit):
    n, library = (400, 60)[not jit], scipy_library._threads()
    x = sg.input("x", (n, n), "float64")
    with sg.options(jit=jit):
        f = sg.compile(L.inv(x) + 1.0)
        feed = {"x": np.random.default_rng(0).normal(size=(n, n)) + n * np.eye(n)}
        expected, count = f.run(feed).tobytes(), library and library[0]()
        ended = threading.Event()

        def work():
            with sg.options(jit=jit):
                while not ended.is_set():
                    f.run(feed)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(6):
                child = os.fork()
                if not child:
                    signal.alarm(20)
                    busy = any(member.is_busy() for member in forks.members())
                    threads = library and library[0]()
                    right = f.run(feed).tobytes() == expected
                    os._exit(4 * busy + 2 * (threads != count) + (not right))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            ended.set()
            thread.join()


_LOADED = """
import sys
from staticgrad.native.libraries import scipy_library
where = scipy_library.address("dpotrf")
assert "scipy.linalg" not in sys.modules
import subprocess
import sys

import numpy as np
import scipy.linalg, scipy.linalg.cython_blas
from scipy.linalg import cython_lapack
assert scipy.linalg.cython_lapack is cython_lapack is scipy_library._load_module("cython_lapack")
assert scipy_library._pointer_of(cython_lapack.__pyx_capi__["dpotrf"]) == where
assert scipy.linalg.cython_blas.__pyx_capi__.keys() >= {"dgemm"}
np.testing.assert_allclose(scipy.linalg.inv(2 * np.eye(2)), np.eye(2) / 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("preamble", ["", "import scipy.linalg.cython_blas"])
def test_lapack_comes_without_the_package_which_may_be_imported_later(preamble):
    program = (
        _LOADED if not preamble else preamble + _LOADED.replace('assert "scipy.linalg"', '"s"')
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


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


def apply_ops(size, n, k, dtype, errors="nan"):
    """Return the results of each op on a batch of ``size`` matrices."""
    x, p = (sg.input(name, (size, n, n), dtype) for name in "xp")
    b, q = sg.input("b", (size, n, k), dtype), sg.input("q", (size, n), "int64")
    results = {f"lu{i}": factor for i, factor in enumerate(LU()(x))}
    results |= {f"s{t}": LUSolve(t, errors)(x, q, b) for t in (False, True)}
    results |= {f"t{i}": op(x, b) for i, op in enumerate(FLAGS)}
    return {**results, "c": Cholesky(errors=errors)(p)}


@pytest.mark.thinned
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (5, 1)])
def test_many_interleaved_have_the_bytes_of_each_alone(n, k, dtype):
    feeds = operands(n, k, dtype)
    feeds["p"][5, -1, -1] = -1.0  # has no factor: those beside it are computed again
    together = sg.compile(apply_ops("m", n, k, dtype), threads=3)
    results = together.run(feeds)
    assert np.isnan(results["c"][5]).all()
    for i in range(MANY):
        alone = together.run({name: array[i : i + 1] for name, array in feeds.items()})
        for name, array in alone.items():
            assert same_bytes(array[0], results[name][i]), (name, i)
    with sg.options(jit=False):
        plain = sg.compile(apply_ops("m", n, k, dtype)).run(feeds)
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
        expected, pivots, _ = scipy.linalg.lapack.dgetrf(array.T)
        order = np.arange(n)
        for j, pivot in enumerate(pivots):
            order[[j, pivot]] = order[[pivot, j]]
        np.testing.assert_array_equal(permutation, order)
        assert swaps == np.count_nonzero(pivots != np.arange(len(pivots)))
        np.testing.assert_allclose(packed, expected.T, rtol=1e-9, atol=1e-11)


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
    expected = {
        "x": np.linalg.solve(wide["x"], wide["b"]),
        "by_b": np.linalg.solve(wide["x"].swapaxes(1, 2), np.ones_like(wide["b"])),
        "lower": np.linalg.solve(np.tril(wide["x"]), wide["b"]),
        "c": np.linalg.cholesky(wide["p"]),
    }
    for name, array in expected.items():
        near = 1e4 * np.finfo(dtype).eps * abs(array).max()
        np.testing.assert_allclose(results[name], array, atol=near, err_msg=name)

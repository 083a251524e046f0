"""Matrices without a factor: an error at the line, or NaN; and LAPACK on one thread."""

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import staticgrad as sg
from staticgrad import forks
from staticgrad.errors import DTypeError, LinearAlgebraError, ShapeError
from staticgrad.native.libraries import scipy_library

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
    "eigh": (lambda x, **how: L.eigh(x, **how)[1], ENDLESS, 2, "holds NaN or infinities"),
    "eigvalsh": (  # of two rows LAPACK finds -1.4 and 1.4
        lambda x, **how: L.eigvalsh(x[:, :2, :2], **how), STRANGE, 0, "holds NaN or infinities",
    ),
}  # fmt: skip


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", FAILING)
def test_an_error_names_the_matrix_and_the_line_and_changes_nothing(name):
    function, wrong, matrix, text = FAILING[name]
    x, w = sg.input("x", (3, 3, 3), "float64"), sg.parameter("w", np.zeros(()))
    value = function(x)
    f = sg.compile(sg.Graph({"y": value}, updates={w: w + value.sum()}))
    first = f.run({"x": GOOD})["y"].copy()
    before = w.value
    for run in (lambda: f.run({"x": wrong}), lambda: sg.evaluate(value, {"x": wrong})):
        with pytest.raises(LinearAlgebraError, match=f"matrix {matrix} .*{text}|{text}") as caught:
            run()
        assert f"matrix {matrix} " in str(caught.value)
        assert caught.value.at.resolve().file == __file__
    np.testing.assert_array_equal(w.value, before)
    np.testing.assert_array_equal(f.run({"x": GOOD})["y"], first)


@pytest.mark.parametrize("name", FAILING)
def test_nan_stands_where_it_is_asked_for(name):
    function, wrong, matrix, _ = FAILING[name]
    x = sg.input("x", (3, 3, 3), "float64")
    graph = sg.Graph(function(x, errors="nan"))
    for found in (sg.compile(graph).run({"x": wrong}), sg.evaluate(graph, {"x": wrong})):
        finite = np.isfinite(found["output"]).reshape(3, -1)
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
    found = scipy_library._threads()
    if found is None:
        pytest.skip("SciPy has another BLAS than OpenBLAS")
    get, put = found
    n, before = 300, get()
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
        put(before)
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
        wanted, before = f.run(feed).tobytes(), library and library[0]()
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
                    right = f.run(feed).tobytes() == wanted
                    os._exit(4 * busy + 2 * (threads != before) + (not right))
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
assert scipy.linalg.cython_lapack is cython_lapack is scipy_library._module("cython_lapack")
assert scipy_library._pointer_of(cython_lapack.__pyx_capi__["dpotrf"]) == where
assert scipy.linalg.cython_blas.__pyx_capi__.keys() >= {"dgemm"}
np.testing.assert_allclose(scipy.linalg.inv(2 * np.eye(2)), np.eye(2) / 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import scipy.linalg.cython_blas"])
def test_lapack_comes_without_the_package_which_may_be_imported_later(before):
    program = _LOADED if not before else before + _LOADED.replace('assert "scipy.linalg"', '"s"')
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""Factors and solutions without LAPACK: residuals beside LAPACK's, failures, settings, bits."""

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg
from staticgrad.errors import LinearAlgebraError
from staticgrad.language.ir.routines import choose_routine
from staticgrad.language.ops.linalg import QR, SVD, Eigh, EigvalsH, SVDVals
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dtype import F64
from staticgrad.native.libraries import lapack
from staticgrad.native.libraries.recipes import NAMES, SMALL, WHOLE, recipe_of
from staticgrad.testing.bits import routines_of

PORTABLE = sorted(name for name in NAMES if recipe_of(name).loops)
L = sg.linalg


def adjoint(x):
    return np.swapaxes(np.conj(x), -1, -2)


def norm(x):
    """Return the 1-norm, the largest of a batch."""
    return abs(x).sum(-2).max(initial=0.0)


def graded(n):
    scale = 10.0 ** np.linspace(0, -4, n)
    return positive(n) * scale * scale[:, None]


def positive(n):
    x = np.random.default_rng(n).normal(size=(n, n))
    return x @ x.T / n + np.eye(n)


def ill_conditioned(n):
    q, _ = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))
    return (q * np.logspace(0, -4, n)) @ q.T


def scaled_residual(residual, matrix, dtype):
    return norm(residual) / (norm(matrix) * len(matrix) * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [SMALL + 1, 47, 96, 130])
@pytest.mark.parametrize("matrix", [positive, graded, ill_conditioned])
def test_cholesky_factors_multiply_to_the_matrix(matrix, n, dtype):
    for scale in (1.0, 1e20, 1e-20):
        a = (matrix(n) * scale).astype(dtype)
        a = np.tril(a) + np.tril(a, -1).T
        with sg.options(linalg="portable"):
            actual = L.cholesky(np.tril(a) + np.triu(np.full_like(a, np.nan), 1)).astype(float)
        assert (np.triu(actual, 1) == 0).all()
        wide = a.astype(float)
        residual = scaled_residual(actual @ actual.T - wide, wide, dtype)
        usual = np.linalg.cholesky(a).astype(float)
        assert residual <= 8 * scaled_residual(usual @ usual.T - wide, wide, dtype) + 0.01


def symmetric(kind, n, dtype):
    """Return matrices that are random, with equal or tiny eigenvalues, huge, tiny, or zero."""
    x = np.random.default_rng(n).normal(size=(19, n, n))
    x = x + adjoint(x)
    if kind == "equal":
        q = np.linalg.qr(x)[0]
        x = (q * np.where(np.arange(n) % 3, 1.0, -2.0)) @ adjoint(q)
        x = (x + adjoint(x)) / 2
    limit = np.finfo(dtype)
    if kind == "graded":
        scale = float(limit.eps) ** np.linspace(0, 1, n)
        x = x * scale * scale[:, None]
    scale = {
        "huge": float(limit.max) / 100,
        "tiny": 1e4 * float(limit.smallest_subnormal),
        "zero": 0.0,
    }
    return (x * scale.get(kind, 1.0)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["random", "equal", "graded", "huge", "tiny", "zero"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 21, 40])
def test_eigenvalues_of_symmetric_matrices(n, kind, dtype):
    x = symmetric(kind, n, dtype)
    with sg.options(linalg="portable"):
        w, v = L.eigh(x)
        for number in (0, 17, 18):  # a lane, and what is left of a batch
            single = L.eigh(x[number])
            np.testing.assert_array_equal(single[0], w[number])
            np.testing.assert_array_equal(single[1], v[number])
        np.testing.assert_array_equal(L.eigvalsh(x), w)
    assert (np.diff(w) >= 0).all()
    largest = abs(x).max((1, 2), keepdims=True).astype(float)
    largest = np.where(largest, largest, 1.0)
    v, w, x = v.astype(float), w / largest[:, 0], x / largest
    slack = 4 * n * np.finfo(dtype).eps
    assert abs(adjoint(v) @ v - np.eye(n)).max() <= slack
    slack = 0.001 * n if kind == "tiny" else 2 * slack  # elements have few bits
    assert abs((v * w[:, None]) @ adjoint(v) - x).max() <= slack
    assert abs(w - np.linalg.eigvalsh(x)).max() <= slack


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [12, 32, 48])
def test_eigenvalues_as_small_as_the_rows_allow(n, dtype):
    """The least one is minus a sum over a row: shifted by that sum, a matrix is singular."""
    ones, unit = np.ones((n, n), dtype), np.eye(n, dtype=dtype)
    for x, values in (
        (-unit, -np.ones(n)),
        (-ones, np.r_[-float(n), np.zeros(n - 1)]),
        (-2 * unit - ones, np.r_[-2.0 - n, np.full(n - 1, -2.0)]),
    ):
        with sg.options(linalg="portable"):
            w, v = L.eigh(x)
        slack = 8 * n * np.finfo(dtype).eps
        assert abs(w - values).max() <= slack * abs(values).max()
        assert abs(v.T @ v - np.eye(n)).max() <= slack
        assert abs((v * w) @ v.T - x).max() <= slack * abs(values).max()


@pytest.mark.parametrize("n", [3, 12, 30])
def test_symmetric_matrices_that_are_not_finite_are_named(n):
    x = symmetric("random", n, "float64")
    x[4, -1, 0] = np.inf
    x[18, 0, 0] = np.nan
    with sg.options(linalg="portable"):
        with pytest.raises(LinearAlgebraError, match=r"matrix 4 .*holds NaN or infinities"):
            L.eigh(x)
        w, v = L.eigh(x, errors="nan")
    is_unfit = np.isin(np.arange(19), (4, 18))
    np.testing.assert_array_equal(np.isnan(w).all(1), is_unfit)
    np.testing.assert_array_equal(np.isnan(v).all((1, 2)), is_unfit)
    assert np.isfinite(w[~is_unfit]).all()
    np.testing.assert_array_equal(w[3], L.eigh(x[3:4].repeat(16, 0))[0][0] if n < 24 else w[3])


def draw(rng, shape, dtype):
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if dtype[0] == "c" else x).astype(dtype)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("n", [1, 2, 5, 13, 40, 75])
def test_complex_factors_and_solutions(n, dtype):
    rng = np.random.default_rng(n)
    x, b = draw(rng, (n, n), dtype), draw(rng, (n, 5), dtype)
    a = (x @ adjoint(x) / n + np.eye(n)).astype(dtype)
    slack = 20 * n * np.finfo(dtype).eps
    with sg.options(linalg="portable"):
        lower = L.cholesky(np.tril(a))
        assert norm(lower @ adjoint(lower) - a) <= slack * norm(a)
        assert (np.diagonal(lower).imag == 0).all()
        y = L.solve(x, b)
        assert norm(x @ y - b) <= slack * norm(x) * norm(y)
        q, r = L.qr(x)
        assert norm(q @ r - x) <= slack * norm(x)
        assert norm(adjoint(q) @ q - np.eye(n)) <= slack
        assert (np.diagonal(r).imag == 0).all()
        assert (np.tril(r, -1) == 0).all()
        triangle = x + 2 * n * np.eye(n, dtype=dtype)
        for is_lower in (True, False):
            read = np.tril(triangle) if is_lower else np.triu(triangle)
            for trans, matrix in enumerate((read, read.T, adjoint(read))):
                y = L.solve_triangular(triangle, b, trans=trans, lower=is_lower)
                assert norm(matrix @ y - b) <= slack * norm(matrix) * norm(y)


def test_pivots_of_complex_matrices_are_lapacks():
    x = draw(np.random.default_rng(1), (31, 31), "complex128")
    with sg.options(linalg="portable"):
        permutation, lower, upper = L.lu(x)
    expected = scipy.linalg.lu(x)
    np.testing.assert_array_equal(permutation, expected[0])
    np.testing.assert_allclose(lower, expected[1], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(upper, expected[2], rtol=1e-11, atol=1e-12)


def test_singular_and_indefinite_complex_matrices_are_errors():
    x = draw(np.random.default_rng(1), (3, 30, 30), "complex128")
    a = x @ adjoint(x)
    x[1, :, 4], a[2, 8, 8] = 0.0, -1.0
    with sg.options(linalg="portable"):
        with pytest.raises(LinearAlgebraError, match="matrix 1 is singular"):
            L.solve(x, x)
        with pytest.raises(LinearAlgebraError, match=r"matrix 2 .*leading minor of order 9 "):
            L.cholesky(a)
        actual = L.cholesky(a, errors="nan")
    assert [np.isnan(matrix).all() for matrix in actual] == [False, False, True]
    assert np.isfinite(actual[:2]).all()


RECTANGLES = [
    (1, 1),
    (4, 4),
    (9, 3),
    (3, 9),
    (20, 20),
    (33, 70),
    (90, 20),
    (101, 101),
    (0, 3),
    (3, 0),
]


def rectangle(kind, m, n, dtype):
    """Return a matrix that is random, graded by columns, of low rank, huge, tiny or zero."""
    x = np.random.default_rng(m + n).normal(size=(m, n))
    limit = np.finfo(dtype)
    if kind == "graded":
        x = x * float(limit.tiny) ** np.linspace(0.4, -0.4, n)
    if kind == "low rank" and n > 1:
        x[:, -1] = x[:, 0]
    scale = {"huge": float(limit.max) / 100, "tiny": 1e3 * float(limit.smallest_subnormal)}
    return (x * {"zero": 0.0, **scale}.get(kind, 1.0)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["random", "graded", "low rank", "huge", "tiny", "zero"])
def test_qr_factors_are_lapacks(kind, dtype):
    for m, n in RECTANGLES:
        x = rectangle(kind, m, n, dtype)
        for mode in ("reduced", "complete"):
            with sg.options(linalg="portable"):
                q, r = L.qr(x, mode)
            eps = np.finfo(dtype).eps
            assert (np.tril(r, -1) == 0).all()
            departure = np.float64(q).T @ np.float64(q) - np.eye(q.shape[-1])
            assert not q.size or norm(departure) <= 3 * max(m, 4) * eps
            largest = abs(x).max(0, initial=0.0).astype(float)  # of each column
            residual = np.float64(q) @ (r / np.float64(np.where(largest, largest, 1.0)))
            residual = residual - x / np.where(largest, largest, 1.0)
            slack = 0.01 if kind == "tiny" else 0.0  # elements have few bits
            assert (abs(residual) <= 3 * max(m, n) * eps + slack).all()
            if kind == "random" and m * n:  # signs, too
                usual = np.linalg.qr(x.astype(float), mode)[1]
                np.testing.assert_allclose(r, usual, rtol=0, atol=100 * max(m, n) * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["random", "graded", "low rank", "huge", "tiny", "zero"])
def test_singular_values_and_vectors(kind, dtype):
    for m, n in [*RECTANGLES[:-4], (40, 33), (0, 3), (3, 0)]:
        x = rectangle(kind, m, n, dtype)
        largest = float(abs(x).max(initial=0.0)) or 1.0
        wide = x / largest
        slack = 4 * max(m, n) * np.finfo(dtype).eps * max(norm(wide), 1.0)
        if kind == "tiny":
            slack = 0.01  # elements have few bits
        for full in (False, True):
            with sg.options(linalg="portable"):
                u, s, v = map(np.float64, L.svd(x, full_matrices=full))
                np.testing.assert_array_equal(L.svdvals(x), s.astype(dtype))
            assert (np.diff(s) <= 0).all()
            assert (s >= 0).all()
            unit = 4 * max(m, n, 4) * np.finfo(dtype).eps
            for basis in (u, v.T):
                assert abs(basis.T @ basis - np.eye(basis.shape[1])).max(initial=0.0) <= unit
            k = min(m, n)
            product = (u[:, :k] * (s / largest)) @ v[:k]
            assert abs(product - wide).max(initial=0.0) <= slack
            usual = np.linalg.svd(wide.astype(float), compute_uv=False)
            assert abs(s / largest - usual).max(initial=0.0) <= slack


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_singular_values_of_what_is_not_finite(value):
    x = np.stack([rectangle("random", 9, 7, "float64")] * 3)
    x[1, 3, 6] = value
    with sg.options(linalg="portable"):
        with pytest.raises(LinearAlgebraError, match=r"matrix 1 .*holds NaN or infinities"):
            L.svd(x)
        parts = L.svd(x, errors="nan")
    for part in parts:
        is_nan = np.isnan(part).reshape(3, -1).all(1)
        assert [*is_nan] == [False, True, False]


@pytest.mark.parametrize("n", [SMALL + 1, 64])
@pytest.mark.parametrize("order", [1, 7, 25])
def test_a_matrix_that_is_not_positive_definite_is_named(n, order):
    a = np.stack([positive(n)] * 3)
    a[1, order - 1, order - 1] = -1.0
    expected = np.linalg.cholesky(a[0])
    with sg.options(linalg="portable"):
        with pytest.raises(LinearAlgebraError, match=f"matrix 1 .*leading minor of order {order} "):
            L.cholesky(a)
        actual = L.cholesky(a, errors="nan")
    assert np.isnan(actual[1]).all()
    np.testing.assert_allclose(actual[[0, 2]], [expected] * 2, rtol=1e-12, atol=1e-12)


def test_cholesky_of_nan_fails_where_it_stands():
    a = positive(40)
    a[20, 20] = np.nan
    with sg.options(linalg="portable"), pytest.raises(LinearAlgebraError, match="order 21 "):
        L.cholesky(a)


@pytest.mark.parametrize("name", PORTABLE)
@pytest.mark.parametrize("element", ["f32", "f64"])
def test_portable_routines_call_no_function(name, element):
    text, functions = lapack.source(name, element, checks=False, portable=True)
    assert functions == ()
    assert "call(" not in text.replace("outlined_", "")


SHAPES = [(1, 1), (5, 5), (8, 30), (60, 8), (9, 9), (40, 25), (25, 40), (470, 8), (120, 120)]


def scratch_of(form, values):
    """Return a routine of a call and the elements of its scratch, at sizes by name."""
    routine, scratch = choose_routine(form)
    return routine, [(dtype.numpy, dims.evaluate(size, values)) for dtype, size in scratch]


@pytest.mark.parametrize("setting", ["fast", "portable"])
@pytest.mark.parametrize("named", [False, True], ids=["literal sizes", "named sizes"])
@pytest.mark.parametrize(
    "op", [SVD(), SVD(full=True), SVDVals(), Eigh(), EigvalsH(), QR()], ids=str
)
def test_routines_stay_within_the_memory_that_their_forms_ask_for(op, named, setting):
    margin, mark = 4096, 123
    for m, n in SHAPES:
        if op.name.startswith("eig"):
            n = m
        sides = (sg.dim("m"), sg.dim("m" if m == n else "n")) if named else (m, n)
        kind, values = TensorType(F64, sides), {"m": m, "n": n}
        outs = op.infer(kind)
        outs = outs if isinstance(outs, tuple) else (outs,)
        form = op.form(*outs, kind)
        x = np.random.default_rng(0).normal(size=(m, n))
        with sg.options(linalg=setting):
            routine, scratch = scratch_of(form, values)
        arrays = [np.full(size + margin, mark, dtype) for dtype, size in scratch]
        shapes = [[dims.evaluate(size, values) for size in out.shape] for out in outs]
        results = [np.zeros(shape) for shape in shapes]
        sizes = [dims.evaluate(size, values) for size in form.sizes]
        lapack.run(routine, [x, *results], sizes, arrays, 1)
        for array, (_, size) in zip(arrays, scratch, strict=True):
            assert (array[size:] == mark).all(), (m, n)


def test_the_default_does_not_ask_for_the_memory_of_the_portable_variant():
    x = sg.input("x", (400, 400), "float64")
    graph = sg.Graph(dict(zip("usv", L.svd(x), strict=True)))
    peaks = [
        sg.compile(graph, linalg=linalg).plan().peak_bytes
        for linalg in ("fast", "portable", "fast")
    ]
    assert peaks[0] == peaks[2] < 0.7 * peaks[1]


@pytest.mark.parametrize("where", ["argument", "block", "arrays"])
def test_the_setting_chooses_the_routine(where, monkeypatch):
    n = WHOLE + 5
    a = positive(n)
    x = sg.input("x", (n, n), "float64")
    if where == "arrays":
        with sg.options(linalg="portable"):
            actual = L.cholesky(a)
    elif where == "argument":
        program = sg.compile(L.cholesky(x), linalg="portable")
        actual = program.run({"x": a})
        assert not routines_of(program)
    else:
        with sg.options(linalg="portable"):
            actual = sg.compile(L.cholesky(x)).run({"x": a})
    expected = sg.compile(L.cholesky(x))
    assert routines_of(expected)
    expected = expected.run({"x": a})
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
    assert actual.tobytes() != expected.tobytes()  # of so many sums a few round otherwise


def test_a_wrong_value_of_the_setting_is_an_error():
    with pytest.raises(sg.errors.ConfigError, match="one of fast, portable"):
        sg.options(linalg="lapack")


def test_gradients_are_portable_too():
    n = 30
    x = sg.input("x", (n, n), "float64")
    loss = (L.cholesky(x) ** 3).sum() + (L.inv(x) ** 2).sum()
    program = sg.compile(sg.grad(loss, x), linalg="portable", threads=2)
    assert any(hasattr(step, "routine") for step in program.schedule.steps)
    assert not routines_of(program)
    a = positive(n)
    actual = program.run({"x": a})
    expected = sg.compile(sg.grad(loss, x)).run({"x": a})
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())


FUNCTIONS = {
    "cholesky": (26, lambda x: L.cholesky(x @ x.T + 26 * np.eye(26))),
    "solve": (26, lambda x: L.solve(x, x[:, :3])),
    "triangular": (26, lambda x: L.solve_triangular(x + 26 * np.eye(26), x[:, :2], lower=True)),
    "qr": (11, lambda x: L.qr(x)[0]),
    "eigh": (7, lambda x: L.eigh(x + x.T)[1]),
    "eigh of more rows": (25, lambda x: L.eigh(x + x.T)[1]),
    "svd": (7, lambda x: L.svd(x)[2]),
    "complex solve": (9, lambda x: sg.real(L.solve(x + 1j * x.T, x))),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name.endswith("more rows") else name
        for name in FUNCTIONS
    ],
)
def test_plain_python_computes_the_same_bits(name):
    n, function = FUNCTIONS[name]
    x = sg.input("x", (n, n), "float64")
    array = np.random.default_rng(n).integers(-99, 99, (n, n)) / 64
    results = []
    for jit in (True, False):
        with sg.options(jit=jit, linalg="portable"):
            results.append(sg.compile(function(x)).run({"x": array}))
    np.testing.assert_array_equal(*results)


def test_other_processors_compute_the_same_bits():
    x = sg.input("x", (30, 30), "float32")
    array = (np.random.default_rng(0).integers(-99, 99, (30, 30)) / 64).astype("float32")
    outputs = {"q": L.qr(x)[0], "v": L.eigh(x + x.T)[1], "u": L.svd(x)[0], "x": L.inv(x)}
    results = []
    for target in ("host", "x86-64-v3"):
        with sg.options(target=target, linalg="portable"):
            results.append(sg.compile(sg.Graph(outputs)).run({"x": array}))
    for key in outputs:
        np.testing.assert_array_equal(results[0][key], results[1][key])

"""Direct solutions of sparse systems: beside SciPy's, with the derivatives of dense systems."""

import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as scipy_linalg

import staticgrad as sg
from staticgrad.errors import LinearAlgebraError, StaticgradError
from staticgrad.native.libraries import sparse_solvers

RNG = np.random.default_rng(5)
N = 8
#: Relative tolerances beside other ways of solving.
NEAR = {"float32": 2e-4, "float64": 1e-11, "complex64": 2e-4, "complex128": 1e-11}


def system(dtype, n=N, columns=()):
    """A sparse matrix of SciPy and right-hand sides."""
    a = (sp.random_array((n, n), density=0.3, rng=RNG) + 3 * sp.eye_array(n)).tocsr()
    b = RNG.normal(size=(n, *columns))
    if np.dtype(dtype).kind == "c":
        a = a.astype(dtype)
        a.data = a.data * np.exp(1j * RNG.normal(size=a.nnz))
        b = b + 1j * RNG.normal(size=b.shape)
    return a.astype(dtype), b.astype(dtype)


def with_computed_data(a):
    """The matrix with elements that are an input."""
    data = sg.input("data", (a.nnz,), a.dtype)
    return data, sg.sparse.csr(data, a.indices, a.indptr, a.shape)


@pytest.mark.parametrize("columns", [(), (3,)])
@pytest.mark.parametrize("dtype", NEAR)
def test_plain_systems_are_solved_at_once(dtype, columns):
    a, b = system(dtype, columns=columns)
    rtol = NEAR[dtype]
    expected = scipy_linalg.spsolve(a.tocsc(), b)
    for matrix in (a, a.tocsc(), sp.csr_matrix(a), sg.sparse.csr(a)):
        actual = sg.sparse.spsolve(matrix, b)
        assert isinstance(actual, np.ndarray)
        assert actual.dtype == dtype
        np.testing.assert_allclose(actual, expected, rtol=rtol, atol=rtol)
    theirs, ours = scipy_linalg.splu(a.tocsc()), sg.sparse.splu(a)
    for trans in "NTH":
        expected = theirs.solve(b, trans)
        np.testing.assert_allclose(ours.solve(b, trans), expected, rtol=rtol, atol=rtol)
    for permc_spec in ("NATURAL", "MMD_ATA", "MMD_AT_PLUS_A"):
        actual = sg.sparse.spsolve(a, b, permc_spec)
        np.testing.assert_allclose(a @ actual, b, rtol=10 * rtol, atol=10 * rtol)


def losses(x):
    return (sg.abs(x) ** 2).sum() + (x.real**3).sum()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", NEAR)
def test_derivatives_are_those_of_dense_systems(dtype, transposed):
    a, b = system(dtype, columns=(2,))
    data, matrix = with_computed_data(a)
    right = sg.input("b", b.shape, dtype)
    matrix = matrix.T if transposed else matrix
    dense = sg.zeros(a.shape, dtype).at[matrix.places()].add(data)
    tangents = [np.ones(a.nnz, dtype), (b * 0.5).astype(dtype)]
    outs = {}
    for name, x in (
        ("sparse", sg.sparse.spsolve(matrix, right)),
        ("dense", sg.linalg.solve(dense, right)),
    ):
        loss = losses(x)
        slopes = sg.grad(loss, [data, right])
        seconds = sg.grad(sum((sg.abs(slope) ** 2).sum() for slope in slopes), [data, right])
        forward = sg.jvp(loss, [data, right], tangents)
        for key, value in zip("xabcdf", (x, *slopes, *seconds, forward), strict=True):
            outs[f"{name} {key}"] = value
    feeds = {"data": a.data, "b": b}
    actual, again = sg.compile(outs).run(feeds), sg.evaluate(outs, feeds)
    for name in outs:
        if name.startswith("sparse"):
            expected = actual[name.replace("sparse", "dense")]
            rtol = 100 * NEAR[dtype]
            scale = rtol * np.abs(expected).max()
            np.testing.assert_allclose(actual[name], expected, rtol, scale, err_msg=name)
            np.testing.assert_allclose(again[name], expected, rtol, scale, err_msg=name)


def test_slopes_and_tangents_of_one_complex_system():
    """Beside the dense system: the adjoint is solved, and what a matrix moves is subtracted."""
    a, b = system("complex128", 4)
    data, matrix = with_computed_data(a)
    right, ways = sg.input("b", (4,), "complex128"), [np.ones(a.nnz) * 1j, b * 0.5]
    dense = sg.zeros(a.shape, "complex128").at[matrix.places()].add(data)
    results = []
    for x in (sg.sparse.spsolve(matrix, right), sg.linalg.solve(dense, right)):
        loss = losses(x)
        values = [*sg.grad(loss, [data, right]), sg.jvp(loss, [data, right], ways)]
        results.append(sg.evaluate(values, {"data": a.data, "b": b}))
    for of_sparse, of_dense in zip(*results, strict=True):
        np.testing.assert_allclose(
            of_sparse, of_dense, rtol=1e-10, atol=1e-10 * np.abs(of_dense).max()
        )


def test_a_factorization_serves_the_system_and_its_transpose(monkeypatch):
    counted = []
    splu = scipy_linalg.splu
    monkeypatch.setattr(scipy_linalg, "splu", lambda *a, **k: counted.append(1) or splu(*a, **k))
    a, b = system("float64")
    data, matrix = with_computed_data(a)
    right = sg.input("b", b.shape, "float64")
    x = sg.sparse.spsolve(matrix, right)
    f = sg.compile(dict(zip("xab", (x, *sg.grad((x * x).sum(), [data, right])), strict=True)))
    feeds = {"data": a.data, "b": b}
    f.run(feeds)
    f.run({**feeds, "b": b + 1.0})
    assert len(counted) == 1
    f.run({**feeds, "data": a.data * 1.5})
    assert len(counted) == 2
    swapped = a.data.copy()
    another = np.flatnonzero(swapped != swapped[0])[0]
    swapped[[0, another]] = swapped[[another, 0]]
    actual = f.run({**feeds, "data": swapped})["x"]
    assert len(counted) == 3
    np.testing.assert_allclose(sp.csr_array((swapped, a.indices, a.indptr)) @ actual, b)


def test_factors_of_one_checksum_are_not_taken_for_each_other(monkeypatch):
    monkeypatch.setattr(sparse_solvers.zlib, "crc32", lambda data: 7)
    a, b = system("float64")
    for factor in (1.0, 2.0, 1.0, -3.0):
        actual = sg.sparse.spsolve(a * factor, b)
        np.testing.assert_allclose((a * factor) @ actual, b, rtol=1e-10)


def test_other_threads_solve_without_the_factors_of_this_one():
    a, b = system("float64")
    expected, actual = sg.sparse.spsolve(a, b), []
    thread = threading.Thread(target=lambda: actual.append(sg.sparse.spsolve(a, b)))
    count = len(sparse_solvers._factors)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(actual[0], expected)
    assert len(sparse_solvers._factors) == count


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_are_bitwise_those_of_the_evaluator(threads):
    a, b = system("float64", 200, (5,))
    data, matrix = with_computed_data(a)
    x = sg.sparse.spsolve(matrix, b)
    outs = {"x": x, "slope": sg.grad(sg.sin(x).sum(), data)}
    expected = sg.evaluate(outs["x"], {"data": a.data})
    actual = sg.compile(outs, threads=threads).run({"data": a.data})
    assert actual["x"].tobytes() == expected.tobytes()
    np.testing.assert_allclose(a @ actual["x"], b, rtol=1e-9, atol=1e-9)


def test_vmap_over_right_hand_sides_and_matrices():
    a, b = system("float64", columns=(3,))
    matrix = sg.sparse.csr(a)
    x = sg.input("x", b.shape, "float64")
    expected = np.linalg.solve(a.toarray(), b)
    columns = sg.vmap(lambda v: sg.sparse.spsolve(matrix, v), 1, 1)(x)
    text = str(sg.Graph(columns))
    assert text.count("sparse_solve") == 1
    np.testing.assert_allclose(sg.evaluate(columns, {"x": b}), expected, rtol=1e-11)
    data = sg.input("data", (4, a.nnz), "float64")
    batched = sg.vmap(lambda d: sg.sparse.spsolve(matrix.with_data(d), x[:, 0]))(data)
    scales = np.array([1.0, 2.0, -1.0, 0.5])
    feeds = {"data": scales[:, None] * a.data, "x": b}
    actual = sg.compile(batched).run(feeds)
    np.testing.assert_allclose(actual, expected[:, 0] / scales[:, None], rtol=1e-11)
    slopes = sg.vmap(sg.grad(lambda d: sg.sparse.spsolve(matrix.with_data(d), x[:, 0]).sum()))(data)
    single = sg.grad(sg.sparse.spsolve(matrix.with_data(data[1]), x[:, 0]).sum(), data)[1]
    actual = sg.evaluate({"all": slopes, "one": single}, feeds)
    np.testing.assert_allclose(actual["all"][1], actual["one"], rtol=1e-10)
    batch = sg.sparse.spsolve(matrix, np.stack([b, 2 * b]))
    np.testing.assert_allclose(batch, np.stack([expected, 2 * expected]), rtol=1e-11)


def test_complex_batches():
    a, b = system("complex128", columns=(3,))
    matrix = sg.sparse.csr(a)
    x = sg.input("x", b.shape, "complex128")
    actual = sg.vmap(lambda v: sg.sparse.spsolve(matrix, v), 1, 1)(x)
    expected = np.linalg.solve(a.toarray(), b)
    np.testing.assert_allclose(sg.evaluate(actual, {"x": b}), expected, rtol=1e-11)
    real = sg.sparse.spsolve(a, b.real)
    np.testing.assert_allclose(real, np.linalg.solve(a.toarray(), b.real), rtol=1e-11)
    real = sg.sparse.spsolve(a.real, b)
    np.testing.assert_allclose(real, np.linalg.solve(a.real.toarray(), b), rtol=1e-11)


def test_tensors_and_functions():
    a, b = system("float64")
    data = sg.eager.Tensor(a.data, requires_grad=True)
    right = sg.eager.Tensor(b, requires_grad=True)
    matrix = sg.sparse.csr(a).with_data(data)
    x = sg.sparse.spsolve(matrix, right)
    (x * x).sum().backward()
    inner = np.linalg.solve(a.toarray(), b)
    y = np.linalg.solve(a.toarray().T, 2 * inner)
    np.testing.assert_allclose(right.grad, y, rtol=1e-11)
    np.testing.assert_allclose(data.grad, -np.outer(y, inner)[a.nonzero()], rtol=1e-10)
    solve = sg.function(sg.sparse.spsolve)
    np.testing.assert_allclose(solve(sg.sparse.csr(a), b), inner, rtol=1e-11)
    slope = sg.grad(lambda A: (sg.sparse.spsolve(A, b) ** 2).sum())(sg.sparse.csr(a))
    np.testing.assert_allclose(slope.data, data.grad, rtol=1e-10)


def test_graphs_and_factorizations_travel():
    a, b = system("float64")
    _, matrix = with_computed_data(a)
    graph = sg.Graph({"x": sg.sparse.spsolve(matrix, b)})
    text = str(graph)
    assert str(sg.parse(text, constants=graph.constants)) == text
    again = pickle.loads(pickle.dumps(graph))
    np.testing.assert_array_equal(
        sg.evaluate(again, {"data": a.data})["x"], sg.sparse.spsolve(a, b)
    )
    solve = pickle.loads(pickle.dumps(sg.sparse.factorized(a)))
    np.testing.assert_array_equal(solve(b), sg.sparse.spsolve(a, b))
    assert solve.shape == a.shape
    assert "Factorized(Sparse(8 x 8" in repr(solve)


@pytest.mark.parametrize("door", [".py", ".so", "onnx"])
def test_files_and_other_libraries_refuse_solutions(door, tmp_path):
    a, b = system("float64")
    _, matrix = with_computed_data(a)
    graph = sg.Graph({"x": sg.sparse.spsolve(matrix, b)})
    if door == "onnx":
        pytest.importorskip(door)
    calls = {"onnx": lambda: sg.onnx.export(graph, tmp_path / "x.onnx")}
    with pytest.raises(sg.errors.ExportError, match="sparse_solve"):
        calls.get(door, lambda: sg.compile(graph).export(tmp_path / f"x{door}"))()


def test_jax_calls_superlu():
    pytest.importorskip("jax")
    a, b = system("float64")
    _, matrix = with_computed_data(a)
    lowered = sg.jax.lower(sg.Graph({"x": sg.sparse.spsolve(matrix, b)}))
    actual = np.asarray(lowered({"data": a.data})["x"])
    np.testing.assert_allclose(actual, sg.sparse.spsolve(a, b), rtol=1e-5)


SINGULAR = {
    "a zero": sp.csr_array(np.diag([1.0, 0.0, 2.0])),
    "an empty column": sp.csr_array(([1.0, 1.0, 2.0], ([0, 1, 2], [0, 0, 2])), shape=(3, 3)),
    "equal rows": sp.csr_array(np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])),
    "nothing": sp.csr_array((3, 3)),
    "nan": sp.csr_array(np.diag([1.0, np.nan, 2.0])),
}


@pytest.mark.parametrize("case", SINGULAR)
def test_singular_matrices(case):
    a, b = SINGULAR[case], np.ones(3)
    data, matrix = with_computed_data(a)
    f = sg.compile(sg.sparse.spsolve(matrix, b))
    for call in (lambda: f.run({"data": a.data}), lambda: sg.sparse.spsolve(a, b)):
        with pytest.raises(LinearAlgebraError, match="matrix 0 is singular") as caught:
            call()
        assert caught.value.code == "SG415"
    x = sg.sparse.spsolve(matrix, b, errors="nan")
    outs = {"x": x, "slope": sg.grad(x.sum(), data)}
    actual = sg.compile(outs).run({"data": a.data})
    assert np.isnan(actual["x"]).all()
    assert np.isnan(actual["slope"]).all()


def test_systems_without_unknowns_or_columns():
    assert sg.sparse.spsolve(sp.csr_array((0, 0)), np.zeros(0)).shape == (0,)
    assert sg.sparse.spsolve(sp.eye_array(3, format="csr"), np.zeros((3, 0))).shape == (3, 0)


A = sg.sparse.csr(system("float64")[0])
MISUSE = {
    "dense": (lambda: sg.sparse.spsolve(np.eye(3), np.ones(3)), "sg.linalg.solve(A, b)"),
    "not square": (lambda: sg.sparse.spsolve(A[1:], np.ones(7)), "[7, 8] is not square"),
    "sparse right side": (lambda: sg.sparse.spsolve(A, A), "b.toarray()"),
    "scalar": (lambda: sg.sparse.spsolve(A, 1.0), "b is a scalar"),
    "size": (lambda: sg.sparse.spsolve(A, np.ones(7)), "A is [8, 8], and b has 7 rows"),
    "half": (lambda: sg.sparse.spsolve(A.astype("float16"), np.ones(8, "float16")), "float32"),
    "ordering": (lambda: sg.sparse.spsolve(A, np.ones(8), "AMD"), "permc_spec='AMD' is not one"),
    "trans": (lambda: sg.sparse.splu(A).solve(np.ones(8), "C"), "trans='C' is not one of"),
    "errors": (lambda: sg.sparse.spsolve(A, np.ones(8), errors="no"), "errors='no' is not one of"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_error_at_the_line(case):
    build, words = MISUSE[case]
    with pytest.raises(StaticgradError) as caught:
        build()
    assert words in str(caught.value)
    assert "test_solving.py" in str(caught.value)


def test_equal_data_at_other_places_are_another_matrix():
    """Factors of the matrix before are used again for the same matrix alone."""
    data, b, rows = np.array([2.0, 3.0, 4.0, 5.0]), RNG.normal(size=4), np.arange(4)
    for columns in ([0, 1, 2, 3], [1, 0, 3, 2], [3, 2, 1, 0], [1, 0, 3, 2]):
        a = sp.coo_array((data, (rows, columns)), shape=(4, 4)).tocsr()
        expected = np.linalg.solve(a.toarray(), b)
        np.testing.assert_allclose(sg.sparse.spsolve(a, b), expected, rtol=1e-14)

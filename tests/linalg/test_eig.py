"""Eigenvalues and eigenvectors of real matrices without symmetry, beside NumPy's and differences.

Complex matrices are in ``tests/complex_numbers/test_linalg.py``.
"""

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import DTypeError, ShapeError
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(5)
A = RNG.normal(size=(3, 5, 5))
P = RNG.normal(size=(5, 5)) + 1j * RNG.normal(size=(5, 5))
#: By eigenvalues: two pairs of conjugates, one pair among real ones, real ones alone.
TURN = np.array([[0.0, 2.0], [-2.0, 0.0]])
KNOWN = {
    "pairs": (np.kron(np.diag([1.0, 3.0]), TURN), [2j, -2j, 6j, -6j]),
    "a pair behind a real one": (
        np.block([[np.eye(1) * 5.0, np.ones((1, 2))], [np.zeros((2, 1)), TURN]]),
        [5.0, 2j, -2j],
    ),
    "real": (np.array([[2.0, 1.0], [0.0, 3.0]]), [2.0, 3.0]),
    "empty": (np.zeros((0, 0)), []),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_eigenvalues(name):
    a, expected = KNOWN[name]
    values, vectors = sg.evaluate([*sg.linalg.eig(a)])
    assert values.dtype == vectors.dtype == np.complex128
    np.testing.assert_allclose(values, expected, atol=1e-14)
    np.testing.assert_allclose(sg.evaluate(sg.linalg.eigvals(a)), expected, atol=1e-14)
    np.testing.assert_allclose(a @ vectors, vectors * values, atol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), np.ones(len(a)), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_those_of_numpy_on_every_way(dtype):
    a = A.astype(dtype)
    x = sg.input("x", a.shape, dtype)
    values, vectors = np.linalg.eig(x)
    outs = {"w": values, "v": vectors, "alone": np.linalg.eigvals(x)}
    expected, columns = np.linalg.eig(a)
    close = {"rtol": 1e-4 if dtype == "float32" else 1e-10}
    for actual in (sg.evaluate(outs, {"x": a}), sg.compile(outs).run({"x": a})):
        assert actual["w"].dtype == expected.dtype
        np.testing.assert_allclose(actual["w"], expected, **close)
        np.testing.assert_allclose(actual["alone"], expected, **close)
        np.testing.assert_allclose(abs(actual["v"]), abs(columns), **close)
        scaled = actual["v"] * actual["w"][:, None, :]
        np.testing.assert_allclose(a @ actual["v"], scaled, atol=1e-5)


def function_of(a):
    """V exp(w) V^-1 and magnitudes of vectors: the same for every phase of vectors."""
    w, v = sg.linalg.eig(a)
    exponential = (v * sg.exp(w)[..., None, :]) @ sg.linalg.inv(v)
    return sg.abs_square(exponential - P).sum() + (abs(P @ v) * abs(w)[..., None, :]).sum()


LOSSES = {
    "values": lambda a: sg.abs_square(sg.linalg.eigvals(a) - P[0]).sum(),
    "values beside vectors": lambda a: sg.abs_square(sg.linalg.eig(a)[0] - P[0]).sum(),
    "vectors": lambda a: (sg.abs_square(P @ sg.linalg.eig(a)[1]) * abs(P)).sum(),
    "both": function_of,
}


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_are_finite_differences(name):
    loss, way, step = LOSSES[name], RNG.normal(size=A.shape), 1e-6
    compiled = sg.function(loss)
    expected = (compiled(A + step * way) - compiled(A - step * way)) / (2 * step)
    slope = sg.grad(loss)(A)
    assert slope.dtype == A.dtype
    assert np.sum(slope * way) == pytest.approx(expected, rel=1e-6)
    assert sg.jvp(loss, A, way)[1] == pytest.approx(expected, rel=1e-6)


def test_a_second_derivative_is_a_difference_of_first_ones():
    loss, way, step = LOSSES["values"], RNG.normal(size=(5, 5)), 1e-6
    first = sg.grad(loss)
    actual = sg.grad(lambda a: (sg.grad(loss)(a) * way).sum())(A[0])
    expected = (first(A[0] + step * way) - first(A[0] - step * way)) / (2 * step)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_values_alone_take_no_vectors_until_they_are_differentiated():
    a = sg.input("a", (4, 4), "float64")
    values = sg.linalg.eigvals(a)
    names = {node.op.name for node in sg.Graph({"w": abs(values).sum()}).nodes}
    assert "eigvals" in names
    assert "eig" not in names
    slope = sg.grad(abs(values).sum(), a)
    assert "eig" in {node.op.name for node in sg.Graph({"g": slope}).nodes}


def test_gradients_of_large_matrices_whose_values_are_in_another_order():
    """With 200 rows LAPACK orders eigenvalues in another way if it computes vectors."""
    a = np.random.default_rng(1).normal(size=(200, 200))
    weights = np.random.default_rng(2).normal(size=200)
    of_values = sg.grad(lambda x: (sg.linalg.eigvals(x).real * weights).sum())(a)
    values, vectors = np.linalg.eig(a)
    alone = sg.function(sg.linalg.eigvals)(a)
    places = abs(values[:, None] - alone).argmin(1)
    assert (places != np.arange(200)).any()
    left = np.linalg.inv(vectors)
    expected = ((vectors * weights[places]) @ left).T.real
    np.testing.assert_allclose(of_values, expected, rtol=1e-6, atol=1e-8)


def test_what_is_refused():
    with assert_refused(ShapeError, "is not square", line="eigvals"):
        sg.linalg.eigvals(sg.input("x", (2, 3)))
    with assert_refused(DTypeError, "float32 and float64", line="eig("):
        sg.linalg.eig(sg.input("x", (2, 2), "float16"))

"""Matrix equations, functions of matrices and structured matrices, beside SciPy's.

Derivatives, ``vmap`` and eager mode of each are in ``tests/laws/recipes.py``.
"""

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg
from staticgrad.errors import ArgumentError, DTypeError, LinearAlgebraError
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(3)
A = RNG.normal(size=(4, 4))
B = RNG.normal(size=(4, 2))
SYMMETRIC = A @ A.T + np.eye(4)
STABLE = np.abs(A) + 3.0 * np.eye(4)
V, W = RNG.normal(size=4), RNG.normal(size=3)
Q, R = np.eye(4) + 0.1 * SYMMETRIC, 2.0 * np.eye(2)
STIFF = np.diag([-1e3, -1.0, -1e-3, 2.0]) + 0.01 * A
#: Function, operands.
CALLS = {
    "circulant": (V,),
    "companion": (V,),
    "cosm": (A,),
    "expm_frechet": (A, SYMMETRIC),
    "hadamard": (8,),
    "hankel": (V, W),
    "hankel of a column": (V,),
    "hilbert": (4,),
    "khatri_rao": (A, SYMMETRIC),
    "logm": (STABLE,),
    "lu_factor": (A,),
    "orthogonal_procrustes": (A, SYMMETRIC),
    "polar": (B,),
    "polar of the left": (B.T, "left"),
    "signm": (A,),
    "sinm": (A,),
    "solve_banded": ((1, 2), np.vstack([A[:3], STABLE[:1]]) + 3.0, V),
    "solve_banded by three": ((1, 1), A[:3] + np.array([[0.0], [5.0], [0.0]]), B),
    "solve_continuous_are": (A, B, Q, R),
    "solve_continuous_are stiff": (STIFF, B, Q, R),
    "solve_continuous_lyapunov": (STABLE, SYMMETRIC),
    "solve_discrete_are": (A, B, Q, R),
    "solve_discrete_lyapunov": (A * 0.3, SYMMETRIC),
    "solve_sylvester": (A, STABLE[:3, :3], A[:, :3]),
    "solve_toeplitz": (V + np.array([5.0, 2.0, 1.0, 0.0]), B),
    "solveh_banded": (np.array([A[0] * 0.1, STABLE[0] + 9.0]), V),
    "sqrtm": (STABLE,),
    "sqrtm far from 1": (STABLE * 1e-12,),
    "subspace_angles": (B, A[:, :2]),
    "tanm": (A * 0.2,),
    "toeplitz": (V, W),
    "toeplitz of a column": (V,),
}


@pytest.mark.parametrize("key", CALLS)
def test_values_are_those_of_scipy(key):
    name, operands = key.split()[0], CALLS[key]
    named = [
        sg.input(f"x{k}", each.shape, "float64") if isinstance(each, np.ndarray) else each
        for k, each in enumerate(operands)
    ]
    feeds = {f"x{k}": each for k, each in enumerate(operands) if isinstance(each, np.ndarray)}
    ours, theirs = (
        found if isinstance(found, tuple) else (found,)
        for found in (
            getattr(sg.linalg, name)(*named),
            getattr(scipy.linalg, name)(*operands),
        )
    )
    for found, wanted in zip(sg.evaluate([*ours], feeds), theirs, strict=True):
        assert found.shape == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12 * np.max(np.abs(wanted)))


def test_factors_solve_systems_as_scipys_do():
    factors = scipy.linalg.lu_factor(A)
    for trans in (0, 1):
        found = sg.evaluate(sg.linalg.lu_solve(factors, B, trans))
        np.testing.assert_allclose(found, scipy.linalg.lu_solve(factors, B, trans), rtol=1e-12)
    r, q = sg.evaluate([*sg.linalg.rq(A[:3])])
    np.testing.assert_allclose(r @ q, A[:3], atol=1e-14)
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-14)
    np.testing.assert_array_equal(np.tril(r[:, 1:], -1), 0.0)


def test_chains_and_tensors_are_those_of_numpy():
    x = sg.input("x", (4, 4), "float64")
    chain = np.linalg.multi_dot([x, B, R, W[:2]])
    np.testing.assert_allclose(sg.evaluate(chain, {"x": A}), A @ B @ R @ W[:2], rtol=1e-13)
    tensor = RNG.normal(size=(2, 3, 6))
    found = sg.evaluate(sg.linalg.tensorinv(tensor))
    np.testing.assert_allclose(found, np.linalg.tensorinv(tensor), rtol=1e-10)
    right = RNG.normal(size=(2, 3))
    found = sg.evaluate(sg.linalg.tensorsolve(tensor, right))
    np.testing.assert_allclose(found, np.linalg.tensorsolve(tensor, right), rtol=1e-10)


def test_a_compiled_equation_is_the_evaluated_one():
    a = sg.input("a", (2, 4, 4), "float64")
    x = sg.linalg.solve_sylvester(a, STABLE, SYMMETRIC)
    outs = {"x": x, "g": sg.grad(x.sum(), a)}
    feeds = {"a": np.stack([A, STABLE])}
    found, wanted = sg.compile(outs).run(feeds), sg.evaluate(outs, feeds)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14)


def test_what_has_no_result():
    with pytest.raises(LinearAlgebraError, match="an eigenvalue of a is one of -b"):
        sg.evaluate(sg.linalg.solve_sylvester(np.eye(2), -np.eye(2), np.ones((2, 2))))
    nothing = sg.linalg.solve_sylvester(np.eye(2), -np.eye(2), np.ones((2, 2)), errors="nan")
    assert np.isnan(sg.evaluate(nothing)).all()
    for function in (sg.linalg.sqrtm, sg.linalg.logm):
        assert np.isnan(sg.evaluate(function(np.diag([1.0, -2.0])))).all()
    with assert_refused(DTypeError, "takes real matrices", line="sqrtm"):
        sg.linalg.sqrtm(np.eye(2) * 1j)
    with assert_refused(ArgumentError, "not a power of two", line="hadamard"):
        sg.linalg.hadamard(3)
    with assert_refused(ArgumentError, "takes the pair", line="lu_solve"):
        sg.linalg.lu_solve(np.eye(2), np.ones(2))

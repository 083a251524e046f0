"""Matrix equations, functions of matrices and structured matrices, beside SciPy's.

Derivatives, ``vmap`` and eager mode of each are in ``tests/laws/recipes.py``.
"""

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg
from staticgrad.errors import ArgumentError, LinearAlgebraError, ShapeError
from tests.ops.messages import assert_refused

RNG = np.random.default_rng(3)
A = RNG.normal(size=(4, 4))
B = RNG.normal(size=(4, 2))
SYMMETRIC = A @ A.T + np.eye(4)
STABLE = np.abs(A) + 3.0 * np.eye(4)
V, W = RNG.normal(size=4), RNG.normal(size=3)
Q, R = np.eye(4) + 0.1 * SYMMETRIC, 2.0 * np.eye(2)
STIFF = np.diag([-1e3, -1.0, -1e-3, 2.0]) + 0.01 * A
Z = A + 1j * RNG.normal(size=(4, 4))
HERMITIAN = Z @ np.conj(Z).T + np.eye(4)
INDEFINITE = A + A.T - np.diag(np.diag(A + A.T))
NEAR = 0.2 * Z + 3.0 * np.eye(4)
BAND = np.array([[0.0, 0.1, 0.2, 0.3], [4.0, 5.0, 6.0, 7.0]])
#: Function, operands.
CALLS = {
    "cho_solve_banded": ((scipy.linalg.cholesky_banded(BAND), False), V),
    "cholesky_banded": (BAND,),
    "cholesky_banded of complex numbers": (BAND + 1j * (BAND < 1.0) * BAND,),
    "convolution_matrix": (V, 3),
    "convolution_matrix, same": (W, 6, "same"),
    "convolution_matrix, valid": (V, 2, "valid"),
    "coshm": (Z,),
    "cosm of complex numbers": (Z,),
    "dft": (5, "sqrtn"),
    "diagsvd": (V, 4, 6),
    "eig_banded, numbers": (BAND, False, True),
    "eigh_tridiagonal": (V, W),
    "eigvals_banded": (BAND[::-1, ::-1], True),
    "eigvalsh_tridiagonal": (V, W),
    "expm_cond": (A,),
    "expm_frechet of complex numbers": (Z, HERMITIAN),
    "fiedler": (V,),
    "fiedler_companion": (np.arange(1.0, 8.0),),
    "fractional_matrix_power": (STABLE, 0.3),
    "fractional_matrix_power of complex numbers": (NEAR, -1.7),
    "helmert": (4, True),
    "hessenberg": (A, True),
    "hessenberg of complex numbers": (Z, True),
    "invhilbert": (4,),
    "invpascal": (4, "lower"),
    "ldl": (INDEFINITE,),
    "ldl of upper triangles": (INDEFINITE, False),
    "ldl of complex numbers": (HERMITIAN - 9.0 * np.eye(4), False),
    "leslie": (V, W),
    "logm of complex numbers": (NEAR,),
    "matmul_toeplitz": ((V, V[::-1]), B),
    "pascal": (5, "upper"),
    "pinvh": (HERMITIAN,),
    "polar of complex numbers": (Z,),
    "schur": (A,),
    "schur of complex numbers": (Z,),
    "signm of complex numbers": (Z,),
    "sinhm": (A,),
    "solve_circulant": (V, B),
    "solve_continuous_are of complex numbers": (Z, B + 0.5j * B[::-1], HERMITIAN, 2.0 * np.eye(2)),
    "solve_continuous_lyapunov of complex numbers": (NEAR, HERMITIAN),
    "solve_discrete_are of complex numbers": (Z, B + 0.5j * B[::-1], HERMITIAN, 2.0 * np.eye(2)),
    "solve_discrete_lyapunov of complex numbers": (0.1 * Z, HERMITIAN),
    "solve_sylvester of complex numbers": (Z, NEAR[:3, :3], Z[:, :3]),
    "sqrtm of complex numbers": (NEAR,),
    "subspace_angles of complex numbers": (Z[:, :2], HERMITIAN[:, :2]),
    "tanhm": (A * 0.2,),
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
#: Functions whose columns are eigenvectors, which have any sign each.
UP_TO_SIGNS = {"eigh_tridiagonal"}


@pytest.mark.parametrize("key", CALLS)
def test_values_are_those_of_scipy(key):
    name, operands = key.split()[0].strip(","), CALLS[key]
    named = [
        sg.input(f"x{k}", operand.shape, operand.dtype)
        if isinstance(operand, np.ndarray)
        else operand
        for k, operand in enumerate(operands)
    ]
    feeds = {
        f"x{k}": operand for k, operand in enumerate(operands) if isinstance(operand, np.ndarray)
    }
    ours, theirs = (
        result if isinstance(result, tuple) else (result,)
        for result in (
            getattr(sg.linalg, name)(*named),
            getattr(scipy.linalg, name)(*operands),
        )
    )
    for actual, expected in zip(sg.evaluate([*ours], feeds), theirs, strict=True):
        assert actual.shape == np.shape(expected)
        if key in UP_TO_SIGNS and actual.ndim == 2:
            actual = actual * np.sign(np.sum(actual * expected, axis=0))
        np.testing.assert_allclose(
            actual, expected, rtol=1e-9, atol=1e-11 * np.max(np.abs(expected))
        )


#: Matrices that are not symmetric, and losses of single elements: transposes matter.
UNSYMMETRIC = {
    "solve_continuous_are": (A, B, Q, R),
    "solve_discrete_are": (A, B, Q, R),
    "solve_sylvester": (A, STABLE[:3, :3], A[:, :3]),
    "sqrtm": (STABLE,),
    "signm": (np.diag([3.0, -2.0, 1.0, -4.0]) + 0.3 * A,),
}


def test_gradients_of_losses_that_are_not_symmetric():
    """X of a Riccati equation is symmetric, and its cotangent is not."""
    for name, operands in UNSYMMETRIC.items():
        theirs, draw = getattr(scipy.linalg, name), np.random.default_rng(1).normal
        named = [sg.input(f"x{k}", operand.shape, "float64") for k, operand in enumerate(operands)]
        loss = getattr(sg.linalg, name)(*named)
        loss = loss[0, 2] + 3.0 * loss[3, 1]
        feeds = {f"x{k}": operand for k, operand in enumerate(operands)}
        for place, slope in enumerate(sg.evaluate(sg.grad(loss, named), feeds)):
            way = 1e-6 * draw(size=slope.shape)
            if name.endswith("are") and place > 1:  # q and r stay symmetric
                way = way + way.T
            ends = []
            for change in (way, -way):
                x = theirs(*[e + change if k == place else e for k, e in enumerate(operands)])
                ends.append(x[0, 2] + 3.0 * x[3, 1])
            difference = (ends[0] - ends[1]).real / 2
            np.testing.assert_allclose((slope * way).sum(), difference, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("matrix", [A, Z], ids=["real", "complex"])
@pytest.mark.parametrize("sort", ["lhp", "rhp", "iuc", "ouc"])
def test_eigenvalues_of_a_schur_form_in_an_order(matrix, sort):
    x = sg.input("x", (4, 4), matrix.dtype)
    actual = sg.evaluate([*sg.linalg.schur(x, sort=sort)], {"x": matrix})
    for ours, theirs in zip(actual, scipy.linalg.schur(matrix, sort=sort), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_derivative_of_a_real_schur_form_with_pairs_of_eigenvalues():
    """It is right for all elements: a real form with blocks is unique but for signs."""
    x, weights = sg.input("x", (4, 4), "float64"), RNG.normal(size=(2, 4, 4))
    rotated = np.array([[0.0, 2.0, 0.3, 0.1], [-1.0, 0.5, 0.2, 0.4], [0.1, 0.0, 3.0, 0.2],
                        [0.0, 0.2, 0.1, -2.0]])  # fmt: skip
    assert np.iscomplex(np.linalg.eigvals(rotated)).sum() == 2
    t, z = sg.linalg.schur(x)
    loss = (t * weights[0]).sum() + (z * weights[1]).sum()
    slope = sg.evaluate(sg.grad(loss, x), {"x": rotated})
    for place in np.ndindex(4, 4):
        step = np.zeros((4, 4))
        step[place] = 1e-6
        up, down = (sg.evaluate(loss, {"x": rotated + way * step}) for way in (1, -1))
        np.testing.assert_allclose(slope[place], (up - down) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("pair", [(INDEFINITE, SYMMETRIC), (Z + np.conj(Z).T, HERMITIAN)])
def test_generalized_eigenvalues_are_those_of_scipy(kind, pair):
    actual = sg.linalg.eigh(*pair, type=kind)
    w, v = scipy.linalg.eigh(*pair, type=kind)
    np.testing.assert_allclose(actual.eigenvalues, w, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(abs(actual.eigenvectors), abs(v), rtol=1e-8, atol=1e-10)
    only = sg.linalg.eigvalsh(pair[0], b=pair[1], type=kind)
    np.testing.assert_allclose(only, w, rtol=1e-10, atol=1e-12)


def test_functions_of_matrices_by_eigenvectors():
    for matrix, function in ((SYMMETRIC, np.exp), (A * 0.1, np.sin), (NEAR, np.cos)):
        expected = scipy.linalg.funm(matrix, function)
        np.testing.assert_allclose(
            sg.linalg.funm(matrix, function), expected, rtol=1e-9, atol=1e-11
        )
    assert np.isnan(sg.linalg.funm(np.diag([-1.0, 2.0]), np.sqrt)).all()
    t, z = sg.linalg.rsf2csf(*scipy.linalg.schur(A))
    np.testing.assert_allclose(z @ t @ np.conj(z).T, A, atol=1e-12)
    np.testing.assert_array_equal(np.tril(t, -1), 0.0)


def test_numbers_of_eigenvalues_select_them():
    w, v = sg.linalg.eigh_tridiagonal(V, W, select="i", select_range=(1, 2))
    expected = scipy.linalg.eigh_tridiagonal(V, W, select="i", select_range=(1, 2))
    np.testing.assert_allclose(w, expected[0], rtol=1e-12)
    np.testing.assert_allclose(abs(v), abs(expected[1]), rtol=1e-10)
    with assert_refused(ArgumentError, "select='v'", line="tridiagonal"):
        sg.linalg.eigh_tridiagonal(V, W, select="v", select_range=(0.0, 1.0))


def test_what_forms_are_not_of():
    with assert_refused(ArgumentError, "not one of 'lhp'", line="schur"):
        sg.linalg.schur(A, sort=lambda w: w > 0)
    with assert_refused(ArgumentError, "complex symmetric", line="ldl"):
        sg.linalg.ldl(Z, hermitian=False)
    with pytest.raises(LinearAlgebraError, match="holds NaN"):
        sg.evaluate(sg.linalg.schur(np.full((2, 2), np.nan))[0])
    assert np.isnan(sg.linalg.schur(np.full((2, 2), np.nan), errors="nan")[0]).all()


def test_factors_solve_systems_as_scipys_do():
    for factors in map(scipy.linalg.lu_factor, (A, Z)):
        for trans in (0, 1, 2):
            actual = sg.evaluate(sg.linalg.lu_solve(factors, B, trans))
            np.testing.assert_allclose(actual, scipy.linalg.lu_solve(factors, B, trans), rtol=1e-12)
    r, q = sg.evaluate([*sg.linalg.rq(A[:3])])
    np.testing.assert_allclose(r @ q, A[:3], atol=1e-14)
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-14)
    np.testing.assert_array_equal(np.tril(r[:, 1:], -1), 0.0)


SOLVED_BY = {
    "solve": sg.linalg.solve,
    "lu_solve": lambda a, b: sg.linalg.lu_solve(sg.linalg.lu_factor(a), b),
    "cho_solve": lambda a, b: sg.linalg.cho_solve((sg.linalg.cholesky(a), True), b),
    "cho_solve, upper": lambda a, b: sg.linalg.cho_solve(sg.linalg.cho_factor(a), b),
    "lstsq": lambda a, b: sg.linalg.lstsq(a, b)[0],
}


@pytest.mark.parametrize("name", SOLVED_BY)
@pytest.mark.parametrize("number", ["float64", "complex128"])
def test_batches_of_matrices_and_right_hand_sides_broadcast(name, number):
    """A batch may be as long as a matrix: a vector stays one for each of them."""
    for batch, right in (
        ((), (4,)), ((), (3, 4, 2)), ((3,), (4,)), ((4,), (4,)), ((4,), (4, 4)),
        ((2, 1), (3, 4, 2)), ((0,), (4,)),
    ):  # fmt: skip
        a = (HERMITIAN if number == "complex128" else SYMMETRIC) + RNG.random((*batch, 1, 1))
        b = RNG.normal(size=right)
        expected = np.linalg.inv(a) @ (b[:, None] if b.ndim == 1 else b)
        actual = sg.evaluate(SOLVED_BY[name](sg.constant(a), b))
        expected = expected[..., 0] if b.ndim == 1 else expected
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12, err_msg=str(batch))


def test_chains_and_tensors_are_those_of_numpy():
    x = sg.input("x", (4, 4), "float64")
    chain = np.linalg.multi_dot([x, B, R, W[:2]])
    np.testing.assert_allclose(sg.evaluate(chain, {"x": A}), A @ B @ R @ W[:2], rtol=1e-13)
    tensor = RNG.normal(size=(2, 3, 6))
    actual = sg.evaluate(sg.linalg.tensorinv(tensor))
    np.testing.assert_allclose(actual, np.linalg.tensorinv(tensor), rtol=1e-10)
    right = RNG.normal(size=(2, 3))
    actual = sg.evaluate(sg.linalg.tensorsolve(tensor, right))
    np.testing.assert_allclose(actual, np.linalg.tensorsolve(tensor, right), rtol=1e-10)


def test_a_compiled_equation_is_the_evaluated_one():
    a = sg.input("a", (2, 4, 4), "float64")
    x = sg.linalg.solve_sylvester(a, STABLE, SYMMETRIC)
    outs = {"x": x, "g": sg.grad(x.sum(), a)}
    feeds = {"a": np.stack([A, STABLE])}
    actual, expected = sg.compile(outs).run(feeds), sg.evaluate(outs, feeds)
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-12, atol=1e-14)


def test_what_has_no_result():
    with pytest.raises(LinearAlgebraError, match="an eigenvalue of a is one of -b"):
        sg.evaluate(sg.linalg.solve_sylvester(np.eye(2), -np.eye(2), np.ones((2, 2))))
    nothing = sg.linalg.solve_sylvester(np.eye(2), -np.eye(2), np.ones((2, 2)), errors="nan")
    assert np.isnan(sg.evaluate(nothing)).all()
    for function in (sg.linalg.sqrtm, sg.linalg.logm):
        assert np.isnan(sg.evaluate(function(np.diag([1.0, -2.0])))).all()
    with assert_refused(ArgumentError, "not a power of two", line="hadamard"):
        sg.linalg.hadamard(3)
    with assert_refused(ArgumentError, "takes the pair", line="lu_solve"):
        sg.linalg.lu_solve(np.eye(2), np.ones(2))
    factors = sg.linalg.lu_factor(np.eye(2))
    with assert_refused(ShapeError, "permutation is [3, 2], not [2]", line="lu_solve"):
        sg.linalg.lu_solve((np.eye(2), np.zeros((3, 2), int)), np.ones(2))
    with assert_refused(ArgumentError, "trans=3 is not one of 0, 1, 2", line="lu_solve"):
        sg.linalg.lu_solve(factors, np.ones(2), 3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("power", [-60, -36, 0, 36, 60])
def test_functions_of_matrices_of_extraordinary_size(dtype, power):
    size = 2.0 ** (power * (2 if dtype == "float32" else 16))
    a = np.array([[4.0, 1.0], [0.5, 3.0]]).astype(dtype)
    values, vectors = np.linalg.eig(a.astype("complex128"))

    def apply_function(f):
        return (vectors * f(values)) @ np.linalg.inv(vectors)

    tolerance = {"rtol": 1e-4 if dtype == "float32" else 1e-10}
    scaled = a * np.asarray(size, dtype)
    root, logarithm, sign = (f(scaled) for f in (sg.linalg.sqrtm, sg.linalg.logm, sg.linalg.signm))
    np.testing.assert_allclose(root / np.sqrt(size), apply_function(np.sqrt), **tolerance)
    with_log = apply_function(np.log) + np.log(size) * np.eye(2)
    np.testing.assert_allclose(logarithm, with_log, atol=tolerance["rtol"] * 10)
    np.testing.assert_allclose(sign, np.eye(2), atol=tolerance["rtol"])


def matrices_of_eigenvalues(values, dtype):
    """Return a full matrix for each row of eigenvalues, and its eigenvectors: orthonormal ones."""
    vectors = RNG.normal(size=(*values.shape, values.shape[-1])).astype(dtype)
    if vectors.dtype.kind == "c":
        vectors = vectors + 1j * RNG.normal(size=vectors.shape)
    vectors = np.linalg.qr(vectors.astype(np.promote_types(dtype, "float64")))[0]
    return of_eigenvalues(vectors, values).astype(dtype), vectors


def of_eigenvalues(vectors, values):
    return vectors * values[..., None, :] @ np.conj(np.swapaxes(vectors, -1, -2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_logarithms_of_matrices_with_eigenvalues_far_from_each_other(dtype):
    ratios = np.array([1.5, 1e2, 1e4] + [1e6, 1e8] * (dtype != "float32"))[:, None, None]
    sizes = np.array([0.01, 1.0, 1e5])[:, None]
    values = sizes * ratios ** np.linspace(0.0, 1.0, 4)
    a, vectors = matrices_of_eigenvalues(values, dtype)
    difference = np.abs(sg.linalg.logm(a) - of_eigenvalues(vectors, np.log(values)))
    assert (difference <= 200.0 * ratios[..., None] * np.finfo(dtype).eps).all()


def test_derivatives_of_a_logarithm_are_linear_in_the_direction():
    ratios = np.array([1.5, 1e2, 1e5])[:, None, None]
    sizes = np.array([1e-250, 1e-8, 1.0, 1e8, 1e250])[:, None]
    values = ratios ** np.linspace(0.0, 1.0, 4) + 0.0 * sizes
    a, vectors = matrices_of_eigenvalues(values, "float64")
    direction = A * sizes[..., None]
    # Divided differences of the logarithm (Higham, Functions of Matrices, 2008, theorem 3.11).
    row, column = values[..., :, None], values[..., None, :]
    slopes = (np.log(row) - np.log(column) + np.eye(4)) / (row - column + row * np.eye(4))
    transposed = np.swapaxes(vectors, -1, -2)
    expected = vectors @ (slopes * (transposed @ A @ vectors)) @ transposed
    gradient = sg.grad(lambda x: (sg.linalg.logm(x) * direction).sum())(a) / sizes[..., None]
    assert (np.abs(gradient - expected) <= 1e-14 * ratios[..., None]).all()


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-8, 1e8, 1e300])
def test_the_derivative_of_an_exponential_is_linear_in_the_direction(size):
    for a in (A, 0.0 * A):
        expected = scipy.linalg.expm_frechet(a, SYMMETRIC, compute_expm=False)
        actual = sg.linalg.expm_frechet(a, SYMMETRIC * size, compute_expm=False)
        scale = np.abs(expected).max() * size
        np.testing.assert_allclose(actual, expected * size, rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize("x", [1e-200, 1e-300, 3.0, 1e200])
def test_derivatives_of_functions_of_a_tiny_or_huge_number(x):
    for function, slope in (
        (sg.linalg.sqrtm, 0.5 / np.sqrt(x)),
        (sg.linalg.logm, 1.0 / x),
        (sg.linalg.signm, 0.0),
    ):
        gradient = sg.grad(lambda a, function=function: function(a).sum())(np.array([[x]]))
        np.testing.assert_allclose(gradient, [[slope]], rtol=1e-9, atol=1e-12 / x)


@pytest.mark.parametrize("shapes", [((1, 1), (1, 1)), ((2, 2), (2, 2)), ((3, 3), (3, 1))])
def test_angles_to_all_of_the_space_are_zero_to_second_order(shapes):
    random = np.random.default_rng(0)
    a, b = (random.normal(size=shape) for shape in shapes)
    for first, second in ((a, b), (b, a)):
        assert np.array_equal(sg.linalg.subspace_angles(first, second), np.zeros(b.shape[1]))

        def angles(x, second=second):
            return sg.linalg.subspace_angles(x, second).sum()

        assert np.array_equal(sg.grad(angles)(first), np.zeros(first.shape))
        assert not np.any(sg.hessian(angles)(first))

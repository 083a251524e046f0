"""Complex matrices against NumPy: equations, factors, eigenvalues, determinants, derivatives."""

import numpy as np
import pytest
import scipy.linalg

import staticgrad as sg

RNG = np.random.default_rng(11)


def numbers(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


A, B = numbers(3, 5, 5), numbers(3, 5, 2)
H = A @ A.conj().swapaxes(-1, -2) + np.eye(5)
T = np.triu(A) + 3 * np.eye(5)
TALL, WIDE = numbers(2, 5, 3), numbers(2, 3, 5)
LOW, DIAGONAL, UP = numbers(4), numbers(5) + 4, numbers(4)
BANDS = np.diag(LOW, -1) + np.diag(DIAGONAL) + np.diag(UP, 1)


def adjoint(x):
    return x.conj().swapaxes(-1, -2)


def product_of_lu(a):
    p, lower, upper = sg.linalg.lu(a)
    ones = sg.sum(abs(sg.linalg.diagonal(lower) - 1))
    outside = sg.sum(abs(sg.tril(upper, -1))) + sg.sum(abs(sg.triu(lower, 1)))
    return p @ lower @ upper + ones + outside


def diagonal_of_svd(a):
    u, _, v = sg.linalg.svd(a)
    return abs(adjoint(u) @ a @ adjoint(v)) + 1


def of_solution(trans, unit=False):
    def solve_dense(t, b):
        t = t - np.eye(5) * (np.diagonal(t, 0, -2, -1)[..., None] - 1) if unit else t
        return np.linalg.solve({0: t, 1: t.swapaxes(-1, -2), 2: adjoint(t)}[trans], b)

    return (
        lambda t, b: sg.linalg.solve_triangular(t, b, trans, unit_diagonal=unit),
        solve_dense,
        (T, B),
    )


CASES = {
    "solve": (sg.linalg.solve, np.linalg.solve, (A, B)),
    "solve of a real matrix": (sg.linalg.solve, np.linalg.solve, (A.real, B)),
    "solve of a real side": (sg.linalg.solve, np.linalg.solve, (A, B.real)),
    "solve of a vector": (lambda a, b: sg.linalg.solve(a[0], b[0, :, 0]),
                          lambda a, b: np.linalg.solve(a[0], b[0, :, 0]), (A, B)),
    "inv": (sg.linalg.inv, np.linalg.inv, (A,)),
    "det": (sg.linalg.det, np.linalg.det, (A,)),
    "slogdet": (sg.linalg.slogdet, np.linalg.slogdet, (A,)),
    "cholesky": (sg.linalg.cholesky, np.linalg.cholesky, (H,)),
    "upper factor": (lambda h: sg.linalg.cholesky(h, upper=True),
                     lambda h: adjoint(np.linalg.cholesky(h)), (H,)),
    "cho_solve": (lambda h, b: sg.linalg.cho_solve(sg.linalg.cho_factor(h), b),
                  np.linalg.solve, (H, B)),
    "eigvals": (sg.linalg.eigvals, np.linalg.eigvals, (A,)),
    "eig": (lambda a: abs(sg.linalg.eig(a)[1]), lambda a: abs(np.linalg.eig(a)[1]), (A,)),
    "eigvalsh": (sg.linalg.eigvalsh, np.linalg.eigvalsh, (H,)),
    "upper": (lambda h: sg.linalg.eigvalsh(h, "U"), np.linalg.eigvalsh, (H,)),
    "matrix_power": (lambda a: sg.linalg.matrix_power(a, 3),
                     lambda a: np.linalg.matrix_power(a, 3), (A,)),
    "norm": (lambda a: sg.norm(a, axis=(1, 2)), lambda a: np.linalg.norm(a, axis=(1, 2)), (A,)),
    "nuclear norm": (lambda a: sg.norm(a, "nuc", (1, 2)),
                     lambda a: np.linalg.norm(a, "nuc", (1, 2)), (A,)),
    "spectral norm": (lambda a: sg.linalg.matrix_norm(a, ord=2),
                      lambda a: np.linalg.norm(a, 2, (1, 2)), (A,)),
    "triangular": of_solution(0),
    "transposed triangular": of_solution(1),
    "adjoint triangular": of_solution(2),
    "unit triangular": of_solution(2, True),
    "tridiagonal": (sg.linalg.solve_tridiagonal, lambda *_: np.linalg.solve(BANDS, B[0]),
                    (LOW, DIAGONAL, UP, B[0])),
    "q": (lambda a: sg.linalg.qr(a).Q, lambda a: np.linalg.qr(a).Q, (TALL,)),
    "r": (lambda a: sg.linalg.qr(a, "r"), lambda a: np.linalg.qr(a, "r"), (WIDE,)),
    "complete q": (lambda a: sg.linalg.qr(a, "complete").Q,
                   lambda a: np.linalg.qr(a, "complete").Q, (TALL,)),
    "svdvals": (sg.linalg.svdvals, lambda a: np.linalg.svd(a, compute_uv=False), (TALL,)),
    "svd": (lambda a: (lambda u, s, v: (u * s[:, None]) @ v)(*sg.linalg.svd(a, False)),
            lambda a: a, (WIDE,)),
    "full svd": (diagonal_of_svd,
                 lambda a: np.array([np.diag(s) @ np.eye(3, 5) + 1 for s in
                                     np.linalg.svd(a, compute_uv=False)]), (WIDE,)),
    "lu": (product_of_lu, lambda a: a, (TALL,)),
    "wide lu": (product_of_lu, lambda a: a, (WIDE,)),
    "pinv": (sg.linalg.pinv, np.linalg.pinv, (TALL,)),
    "pinv of Hermitian": (lambda h: sg.linalg.pinv(h, hermitian=True), np.linalg.pinv, (H,)),
    "lstsq": (lambda a, b: sg.linalg.lstsq(a[0], b[0, :, 0]).x,
              lambda a, b: np.linalg.lstsq(a[0], b[0, :, 0])[0], (TALL, B)),
    "residuals": (lambda a, b: sg.linalg.lstsq(a[0], b[0]).residuals,
                  lambda a, b: np.linalg.lstsq(a[0], b[0])[1], (TALL, B)),
    "cond": (sg.linalg.cond, np.linalg.cond, (A,)),
    "expm": (sg.linalg.expm, lambda a: np.array([scipy.linalg.expm(x) for x in a]), (A,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("single", [False, True])
def test_values_are_those_of_numpy(name, single):
    function, expected, operands = CASES[name]
    references = expected(*operands)
    if single:
        operands = [x.astype("complex64" if x.dtype.kind == "c" else "float32") for x in operands]
    result = sg.function(function)(*operands)
    for actual, reference in zip(
        result if name == "slogdet" else [result],
        references if name == "slogdet" else [references],
        strict=True,
    ):
        assert actual.dtype.itemsize == reference.dtype.itemsize // (1 + single)
        np.testing.assert_allclose(actual, reference, rtol=2e-3 if single else 1e-10)


def test_eigenvectors():
    values, vectors = sg.function(sg.linalg.eigh)(H)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(H))
    np.testing.assert_allclose(H @ vectors, vectors * values[..., None, :], atol=1e-11)
    unit = vectors.conj().swapaxes(-1, -2) @ vectors
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(5), unit.shape), atol=1e-12)


def test_ranks_and_permutations():
    assert (sg.evaluate(sg.linalg.matrix_rank(A)) == 5).all()
    assert sg.evaluate(sg.linalg.matrix_rank(np.outer(LOW, UP))) == 1
    factors = sg.linalg.lu(sg.constant(TALL), p_indices=True)
    p, lower, upper = sg.evaluate(factors)
    np.testing.assert_allclose(np.take_along_axis(lower @ upper, p[..., None], 1), TALL)


P = numbers(5, 5)
SMOOTH = {
    "solve": (lambda a: sg.linalg.solve(a, B[0]), A[0]),
    "right side": (lambda b: sg.linalg.solve(A[0], b), B[0, :, 0]),
    "inv": (sg.linalg.inv, A[0]),
    "det": (sg.linalg.det, A[0]),
    "logabsdet": (lambda a: sg.linalg.slogdet(a)[1], A[0]),
    "sign": (lambda a: sg.linalg.slogdet(a)[0] + 0.3, A[0]),
    "eigvalsh": (sg.linalg.eigvalsh, H[0]),
    "cholesky": (sg.linalg.cholesky, H[0]),
    "upper factor": (lambda a: sg.linalg.cholesky(a, upper=True), H[0]),
    "triangular": (lambda t: sg.linalg.solve_triangular(t, B[0]), T[0]),
    "transposed triangular": (lambda t: sg.linalg.solve_triangular(t, B[0], 1), T[0]),
    "adjoint triangular": (lambda t: sg.linalg.solve_triangular(t, B[0], 2), T[0]),
    "triangular side": (lambda b: sg.linalg.solve_triangular(T[0], b, 2), B[0]),
    "lower diagonal": (lambda x: sg.linalg.solve_tridiagonal(x, DIAGONAL, UP, B[0]), LOW),
    "diagonal": (lambda x: sg.linalg.solve_tridiagonal(LOW, x, UP, B[0, :, 0]), DIAGONAL),
    "upper diagonal": (lambda x: sg.linalg.solve_tridiagonal(LOW, DIAGONAL, x, B[0]), UP),
    "q": (lambda a: sg.linalg.qr(a).Q + 0.3, TALL[0]),
    "r": (lambda a: sg.linalg.qr(a).R + 0.3, TALL[0]),
    "wide qr": (lambda a: sg.concatenate(sg.linalg.qr(a), 1) + 0.3, WIDE[0]),
    "r of a complete qr": (lambda a: sg.linalg.qr(a, "complete").R + 0.3, TALL[0]),
    "svdvals": (sg.linalg.svdvals, TALL[0]),
    "singular values": (lambda a: sg.linalg.svd(a, False).S, WIDE[0]),
    "left vectors": (lambda a: abs(sg.linalg.svd(a, False).U.T.conj() @ P), A[0]),
    "left vectors of a tall one": (lambda a: abs(sg.linalg.svd(a, False).U.T.conj() @ P), TALL[0]),
    "right vectors": (lambda a: abs(sg.linalg.svd(a, False).Vh @ P), WIDE[0]),
    "both vectors": (lambda a: (lambda u, s, v: (u * s**2) @ v)(*sg.linalg.svd(a)), A[0]),
    "lu": (lambda a: sg.stack(sg.linalg.lu(a)[1:]) + 0.3, A[0]),
    "tall lu": (lambda a: sg.concatenate(sg.linalg.lu(a)[1:]) + 0.3, TALL[0]),
    "wide lu": (lambda a: sg.concatenate(sg.linalg.lu(a)[1:], 1) + 0.3, WIDE[0]),
    "pinv": (sg.linalg.pinv, TALL[0]),
    "lstsq": (lambda a: sg.linalg.lstsq(a, B[0]).x, TALL[0]),
    "nuclear norm": (lambda a: sg.norm(a, "nuc"), TALL[0]),
    "spectral norm": (lambda a: sg.norm(a, 2), WIDE[0]),
    "cond": (sg.linalg.cond, A[0]),
    "expm": (sg.linalg.expm, A[0] / 3),
    "eigh": (lambda a: abs(sg.linalg.eigh(a)[1].T.conj() @ P), H[0]),
    "eigvals": (sg.linalg.eigvals, A[0]),
    "eig": (lambda a: (lambda w, v: w * abs(P @ v))(*sg.linalg.eig(a)), A[0]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_finite_differences(name):
    function, x = SMOOTH[name]
    way = numbers(*x.shape)
    weights = RNG.normal(size=np.shape(sg.function(function)(x)))

    def loss(a):
        return sg.sum(sg.abs_square(function(a)) * weights)

    value_of, step = sg.function(loss), 1e-6
    expected = (value_of(x + step * way) - value_of(x - step * way)) / (2 * step)
    slope = sg.grad(loss)(x)
    assert np.sum(slope * way).real == pytest.approx(expected, rel=1e-6)
    assert sg.jvp(loss, x, way)[1] == pytest.approx(expected, rel=1e-6)
    tensor = sg.eager.Tensor(x, requires_grad=True)
    loss(tensor).backward()
    np.testing.assert_allclose(tensor.grad, slope, rtol=1e-8, atol=1e-9)


def test_batches_by_vmap():
    of = sg.linalg
    factors = of.cholesky, of.qr, of.svd, of.lu
    for function in (of.inv, of.det, of.eigvals, of.eigvalsh, of.svdvals, *factors):
        single = [sg.function(function)(h) for h in H]
        many = sg.vmap(function)(H)
        for number in range(len(many) if isinstance(many, tuple) else 1):
            batched, expected_rows = (many[number], [x[number] for x in single]) if isinstance(
                many, tuple) else (many, single)  # fmt: skip
            np.testing.assert_allclose(batched, expected_rows, rtol=1e-10)
    for sides in (0, None):
        expected = np.array([np.linalg.solve(H[0], b) for b in B])
        actual = sg.vmap(lambda b: of.solve(H[0], b), 0, sides or 0)(B)
        np.testing.assert_allclose(actual, expected, rtol=1e-10)
    triangular = sg.vmap(of.solve_triangular, (None, 0))(T[0], B)
    np.testing.assert_allclose(triangular, [np.linalg.solve(T[0], b) for b in B])


def test_singular_and_indefinite_matrices():
    zeros = np.zeros((3, 3), complex)
    assert sg.function(sg.linalg.det)(zeros) == 0
    sign, log = sg.function(sg.linalg.slogdet)(zeros)
    assert (sign, log) == (0, -np.inf)
    with pytest.raises(sg.errors.LinearAlgebraError, match="singular"):
        sg.function(sg.linalg.inv)(zeros)
    with pytest.raises(sg.errors.LinearAlgebraError, match="not positive definite"):
        sg.function(sg.linalg.cholesky)(-H[0])
    bad = sg.function(lambda a: sg.linalg.cholesky(a, errors="nan"))(-H[0])
    assert np.isnan(bad).all()
    not_finite = sg.function(lambda a: sg.linalg.eigvalsh(a, errors="nan"))(H[0] * np.nan)
    assert np.isnan(not_finite).all()


@pytest.mark.parametrize("name", ["solve", "det", "cholesky", "triangular", "r", "svdvals", "lu"])
def test_second_derivatives_are_finite_differences(name):
    function, x = SMOOTH[name]
    way = numbers(*x.shape)

    def loss(a):
        return sg.sum(sg.abs_square(function(a)) ** 2)

    slope, step = sg.grad(loss), 1e-5
    expected = (slope(x + step * way) - slope(x - step * way)) / (2 * step)
    actual = sg.jvp(slope, x, way)[1]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * np.max(abs(expected)))


def test_rules_of_users_have_cotangents_of_jax():
    @sg.custom_vjp(name="tests.complex_square")
    def square(z, x):
        return z * z * x

    @square.rule
    def _(ct, out, z, x):
        return 2 * ct * z * x, sg.sum(ct * z * z)

    @sg.custom_jvp(name="tests.complex_cube")
    def cube(z):
        return z**3

    @cube.rule
    def _(tangents, out, z):
        return 3 * z * z * tangents[0]

    x = np.float64(1.5)
    plain = sg.grad(lambda z, x: sg.sum(sg.abs_square(z * z * x + z**3)), argnums=(0, 1))(A[0], x)
    ruled = sg.grad(lambda z, x: sg.sum(sg.abs_square(square(z, x) + cube(z))), argnums=(0, 1))
    for actual, expected in zip(ruled(A[0], x), plain, strict=True):
        np.testing.assert_allclose(actual, expected)
    np.testing.assert_allclose(sg.jvp(square, (A[0], x), (B[0, 0, 0] * A[1], 0.0 * x))[1],
                               2 * x * A[0] * B[0, 0, 0] * A[1])  # fmt: skip
    slopes = sg.vmap(sg.grad(lambda z: sg.sum(sg.abs_square(square(z, x)))))(A[0])
    np.testing.assert_allclose(slopes, 4 * x * x * A[0] * abs(A[0]) ** 2 * A[0].conj() / A[0])
    tensor = sg.eager.Tensor(A[0], requires_grad=True)
    sg.sum(sg.abs_square(square(tensor, x) + cube(tensor))).backward()
    np.testing.assert_allclose(tensor.grad, plain[0])

"""Complex matrices against NumPy: equations, factors, eigenvalues, determinants, derivatives."""

import numpy as np
import pytest

import staticgrad as sg

RNG = np.random.default_rng(11)


def numbers(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


A, B = numbers(3, 5, 5), numbers(3, 5, 2)
H = A @ A.conj().swapaxes(-1, -2) + np.eye(5)
CASES = {
    "solve": (sg.linalg.solve, np.linalg.solve, (A, B)),
    "solve of a real matrix": (sg.linalg.solve, np.linalg.solve, (A.real, B)),
    "inv": (sg.linalg.inv, np.linalg.inv, (A,)),
    "det": (sg.linalg.det, np.linalg.det, (A,)),
    "slogdet": (sg.linalg.slogdet, np.linalg.slogdet, (A,)),
    "cholesky": (sg.linalg.cholesky, np.linalg.cholesky, (H,)),
    "eigvalsh": (sg.linalg.eigvalsh, np.linalg.eigvalsh, (H,)),
    "upper": (lambda h: sg.linalg.eigvalsh(h, "U"), np.linalg.eigvalsh, (H,)),
    "matrix_power": (lambda a: sg.linalg.matrix_power(a, 3),
                     lambda a: np.linalg.matrix_power(a, 3), (A,)),
    "norm": (lambda a: sg.norm(a, axis=(1, 2)), lambda a: np.linalg.norm(a, axis=(1, 2)), (A,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("single", [False, True])
def test_values_are_those_of_numpy(name, single):
    function, expected, operands = CASES[name]
    wanted = expected(*operands)
    if single:
        operands = [x.astype("complex64" if x.dtype.kind == "c" else "float32") for x in operands]
    found = sg.function(function)(*operands)
    for one, other in zip(
        found if name == "slogdet" else [found],
        wanted if name == "slogdet" else [wanted],
        strict=True,
    ):
        assert one.dtype.itemsize == other.dtype.itemsize // (1 + single)
        np.testing.assert_allclose(one, other, rtol=2e-3 if single else 1e-10)


def test_eigenvectors():
    values, vectors = sg.function(sg.linalg.eigh)(H)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(H))
    np.testing.assert_allclose(H @ vectors, vectors * values[..., None, :], atol=1e-11)
    unit = vectors.conj().swapaxes(-1, -2) @ vectors
    np.testing.assert_allclose(unit, np.broadcast_to(np.eye(5), unit.shape), atol=1e-12)


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
    "eigh": (lambda a: abs(sg.linalg.eigh(a)[1].T.conj() @ P), H[0]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_are_finite_differences(name):
    function, x = SMOOTH[name]
    way = numbers(*x.shape)
    weights = RNG.normal(size=np.shape(sg.function(function)(x)))

    def loss(a):
        return sg.sum(sg.abs_square(function(a)) * weights)

    whole, step = sg.function(loss), 1e-6
    wanted = (whole(x + step * way) - whole(x - step * way)) / (2 * step)
    slope = sg.grad(loss)(x)
    assert np.sum(slope * way).real == pytest.approx(wanted, rel=1e-6)
    assert sg.jvp(loss, x, way)[1] == pytest.approx(wanted, rel=1e-6)
    tensor = sg.eager.Tensor(x, requires_grad=True)
    loss(tensor).backward()
    np.testing.assert_allclose(tensor.grad, slope, rtol=1e-8, atol=1e-9)


def test_batches_by_vmap():
    for function in (sg.linalg.inv, sg.linalg.det, sg.linalg.eigvalsh, sg.linalg.cholesky):
        single = [sg.function(function)(h) for h in H]
        np.testing.assert_allclose(sg.vmap(function)(H), single, rtol=1e-10)


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
    none = sg.function(lambda a: sg.linalg.eigvalsh(a, errors="nan"))(H[0] * np.nan)
    assert np.isnan(none).all()


@pytest.mark.parametrize("name", ["qr", "svd", "svdvals", "lu", "pinv"])
def test_what_is_missing_is_one_error(name):
    z = sg.input("z", (3, 3), "complex128")
    with pytest.raises(sg.errors.DTypeError, match="takes real values, got complex128"):
        getattr(sg.linalg, name)(z)

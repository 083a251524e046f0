"""Two derivatives of every spectral formula of matrices without rows and of one row.

Differences are the oracle. A matrix of two rows stands beside them, with a gap between eigenvalues.
"""

import numpy as np
import pytest

import staticgrad as sg

L = sg.linalg


def symmetric(x):
    return (x + sg.matrix_transpose(x)) / 2


def of_eigh(x):
    values, vectors = L.eigh(symmetric(x))
    return (vectors * sg.exp(values)[..., None, :]) @ sg.matrix_transpose(vectors)


def of_eig(x):
    values, vectors = L.eig(x)
    return sg.real((vectors * values[..., None, :]) @ L.inv(vectors))


def of_svd(x):
    u, s, v = L.svd(x)
    return (u * sg.exp(s)[..., None, :]) @ v


def of_schur(x):
    form, turn = L.schur(x)
    return turn @ form @ form @ sg.matrix_transpose(turn)


def ones(x):
    return np.ones((x.shape[-1], 1))


def unit(x):
    return np.eye(x.shape[-1])


FORMULAS = {
    "eigh": of_eigh, "eigh vectors": lambda x: L.eigh(symmetric(x))[1] ** 2,
    "eigvalsh": lambda x: L.eigvalsh(symmetric(x)), "eigvals": lambda x: abs(L.eigvals(x)),
    "generalized eigh": lambda x: L.eigh(symmetric(x), unit(x))[0],
    "eig": of_eig, "svd": of_svd, "svdvals": L.svdvals, "schur": of_schur,
    "expm": L.expm, "logm": L.logm, "sqrtm": L.sqrtm, "signm": L.signm, "cosm": L.cosm,
    "sinm": L.sinm, "tanm": L.tanm, "coshm": L.coshm, "sinhm": L.sinhm, "tanhm": L.tanhm,
    "power": lambda x: L.fractional_matrix_power(x, 0.3),
    "whole power": lambda x: L.matrix_power(x, -2), "funm": lambda x: L.funm(x, sg.exp),
    "expm_frechet": lambda x: L.expm_frechet(x, x)[1],
    "polar": lambda x: L.polar(x)[1], "rotation": lambda x: L.polar(x)[0],
    "procrustes": lambda x: L.orthogonal_procrustes(x, x @ x)[0],
    "q": lambda x: L.qr(x)[0], "r": lambda x: L.qr(x)[1], "rq": lambda x: L.rq(x)[0],
    "lu": lambda x: L.lu(x)[1] + L.lu(x)[2], "cholesky": lambda x: L.cholesky(symmetric(x)),
    "ldl": lambda x: L.ldl(symmetric(x))[1], "hessenberg": L.hessenberg,
    "pinv": L.pinv, "pinvh": lambda x: L.pinvh(symmetric(x)), "inv": L.inv, "det": L.det,
    "slogdet": lambda x: L.slogdet(x)[1], "lstsq": lambda x: L.lstsq(x, ones(x))[0],
    "solve": lambda x: L.solve(x, ones(x)),
    "sylvester": lambda x: L.solve_sylvester(x, x, unit(x)),
    "lyapunov": lambda x: L.solve_continuous_lyapunov(x, unit(x)),
    "discrete lyapunov": lambda x: L.solve_discrete_lyapunov(0.3 * x, unit(x)),
    "riccati": lambda x: L.solve_continuous_are(x, unit(x), unit(x), unit(x)),
    "discrete riccati": lambda x: L.solve_discrete_are(x, unit(x), unit(x), unit(x)),
    "nuclear": lambda x: L.matrix_norm(x, ord="nuc"), "frobenius": L.matrix_norm,
}  # fmt: skip
#: Formulas with a number of each matrix that is computed from its values.
NUMBERS = {
    "scaled eigh": lambda x: of_eigh(x) * sg.sum(L.eigvalsh(symmetric(x)), -1)[..., None, None],
    "power of nuclear": lambda x: L.matrix_norm(x, ord="nuc") ** 3,
    "power of largest": lambda x: L.matrix_norm(x, ord=2) ** 3,
    "power of values": lambda x: sg.sum(L.svdvals(x), -1) ** 2 + sg.sum(x, (-2, -1)),
}
#: What takes one matrix alone.
ALONE = {
    "schur", "generalized eigh", "expm_frechet", "procrustes", "lyapunov", "discrete lyapunov",
    "riccati", "discrete riccati", "sylvester",
}  # fmt: skip
BATCHED = {name: f for name, f in {**FORMULAS, **NUMBERS}.items() if name not in ALONE}
MATRICES = {0: np.zeros((0, 0)), 1: np.array([[1.3]]), 2: np.array([[1.1, 0.2], [0.2, 2.3]])}


@pytest.mark.thinned(3)
@pytest.mark.parametrize("n", MATRICES)
@pytest.mark.parametrize("name", FORMULAS)
def test_two_derivatives_are_those_of_differences(name, n):
    x = sg.input("x", (n, n), "float64")
    y = FORMULAS[name](x)
    weights = np.cos(np.arange(int(np.prod(y.shape))) + 1.0).reshape(y.shape)
    along = np.sin(np.arange(n * n) + 1.0).reshape(n, n)
    loss = (y * weights).sum() + (y**2).sum()  # the square, too: it reads the result twice
    slope = sg.grad(loss, x, allow_disconnected=True)
    turn = sg.grad((slope * along).sum(), x, allow_disconnected=True)
    f = sg.compile(sg.Graph({"loss": loss, "slope": slope, "turn": turn}))

    def at(a):
        return {key: np.array(value) for key, value in f.run({"x": a}).items()}

    actual = at(MATRICES[n])
    assert np.isfinite(actual["loss"])
    step = 1e-6
    for place in np.ndindex(n, n):
        shift = np.zeros((n, n))
        shift[place] = step
        ahead, back = at(MATRICES[n] + shift), at(MATRICES[n] - shift)
        expected = {
            "slope": (ahead["loss"] - back["loss"]) / (2 * step),
            "turn": ((ahead["slope"] - back["slope"]) * along).sum() / (2 * step),
        }
        for key, value in expected.items():
            np.testing.assert_allclose(actual[key][place], value, rtol=1e-4, atol=1e-4, err_msg=key)
    assert actual["slope"].shape == actual["turn"].shape == (n, n)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("batch", [(3,), (2, 1)], ids=str)
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", BATCHED)
def test_two_derivatives_of_a_batch_are_those_of_each_matrix(name, n, batch):
    scales = 1.0 + 0.25 * np.arange(np.prod(batch)).reshape(batch)
    matrices = MATRICES[n] * scales[..., None, None]
    along = np.sin(np.arange(n * n) + 1.0).reshape(n, n)

    def derivatives(array):
        x = sg.input("x", array.shape, "float64")
        y = BATCHED[name](x)
        loss = (y * (1.0 + 0.5 * sg.sin(y))).sum()
        slope = sg.grad(loss, x, allow_disconnected=True)
        turn = sg.grad((slope * along).sum(), x, allow_disconnected=True)
        return sg.evaluate(sg.Graph({"slope": slope, "turn": turn}), {"x": array})

    actual = {key: np.array(value) for key, value in derivatives(matrices).items()}
    for place in np.ndindex(*batch):
        for key, value in derivatives(matrices[place]).items():
            np.testing.assert_allclose(actual[key][place], value, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("size", [0, "n"], ids=["literal", "named"])
def test_a_batch_without_matrices_has_no_results(size, recwarn):
    """A named size of 0 is known in the run alone."""
    x = sg.input("x", (size, 2, 2), "float64")
    y = L.expm(x)
    f = sg.compile({"y": y, "slope": sg.grad((y**2).sum(), x)})
    assert [value.shape for value in f.run({"x": np.zeros((0, 2, 2))}).values()] == [(0, 2, 2)] * 2
    assert not recwarn.list


@pytest.mark.parametrize("order", [1, 2, np.inf, "nuc", "fro"])
@pytest.mark.parametrize("shape", [(0, 0), (3, 0, 0), (0, 2), (2, 0)], ids=str)
def test_norms_of_matrices_without_elements_are_0(order, shape):
    """NumPy has them since 2.3."""
    norms = sg.evaluate(sg.linalg.norm(sg.constant(np.zeros(shape)), order, axis=(-2, -1)))
    np.testing.assert_array_equal(norms, np.zeros(shape[:-2]))
    if order in (1, 2, np.inf) and shape == (0, 0):
        with pytest.raises(sg.errors.EmptyReductionError):
            sg.linalg.norm(sg.constant(np.zeros(shape)), -order)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("sort", [None, "lhp"])
def test_schur_forms_of_no_rows_are_empty(dtype, sort, capfd):
    actual = L.schur(np.zeros((0, 0), dtype), sort=sort)
    assert [np.shape(form) for form in actual[:2]] == [(0, 0), (0, 0)]
    assert capfd.readouterr() == ("", "")  # LAPACK prints what it refuses


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_determinants_of_singular_matrices_are_0_where_other_pivots_overflow(dtype):
    """NumPy's is 0 there, too: it adds logarithms."""
    n, scale = 130, {"float32": 1.0, "float64": 1e4}[dtype]
    matrix = (np.random.default_rng(0).normal(size=(n, n)) * scale).astype(dtype)
    matrix[n // 2] = 0.0
    x = sg.input("x", (n, n), dtype)
    actual = sg.compile({"det": L.det(x), "slope": sg.grad(L.det(x), x)}).run({"x": matrix})
    assert actual["det"] == np.linalg.det(matrix) == 0.0
    assert not np.isnan(actual["slope"]).any()  # cofactors that overflow are infinite

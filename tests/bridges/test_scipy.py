"""SciPy's solvers over trees, beside SciPy's own on vectors and NumPy's formulas."""

import numpy as np
import pytest
from scipy import optimize
from scipy.sparse.linalg import LinearOperator, cg

import staticgrad as sg
from staticgrad.errors import ArgumentError, TracingWarning

START = {"a": np.array([-1.2, 1.0]), "b": [np.array([[0.5]]), 2.0]}


def rosenbrock(p, scale):
    """Return Rosenbrock's function of all numbers of ``START`` in one vector."""
    x = np.concatenate([p["a"], p["b"][0].ravel(), p["b"][1].reshape(1)])
    return (scale * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


METHODS = [
    *(None, "CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG", "trust-ncg"),
    *("trust-krylov", "trust-exact", "trust-constr", "Nelder-Mead", "Powell"),
]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum_in_the_containers_of_the_start(method):
    options = {"maxiter": 3000} if method in ("Nelder-Mead", "TNC") else {}
    if method == "TNC":
        options = {"maxfun": 3000}
    actual = sg.scipy.minimize(rosenbrock, START, (10.0,), method=method, options=options)
    assert actual.x["a"].shape == (2,)
    assert actual.x["b"][0].shape == (1, 1)
    for leaf in sg.tree.leaves(actual.x):
        np.testing.assert_allclose(leaf, 1.0, atol=2e-3)
    if method not in ("Nelder-Mead", "Powell", "trust-constr"):
        assert actual.jac["b"][0].shape == (1, 1)


GOAL = {"z": np.array([1.0 - 2.0j, 0.5j]), "w": 3.0}
BEGIN = {"z": np.array([0.1 + 0.0j, 1.0 - 1.0j]), "w": 1.0}


def complex_bowl(p):
    return (np.abs(p["z"] - GOAL["z"]) ** 2).sum() + ((p["w"] - 3.0) ** 2) + np.abs(p["z"][0]) ** 4


@pytest.mark.parametrize("method", [None, "L-BFGS-B", "Newton-CG", "trust-exact", "Nelder-Mead"])
def test_complex_numbers_are_two_real_ones(method):
    def of_vector(v):
        z = v[:4:2] + 1j * v[1:4:2]
        bowl = (np.abs(z - GOAL["z"]) ** 2).sum() + (v[4] - 3.0) ** 2
        return bowl + np.abs(z[0]) ** 4

    vector, unravel = sg.scipy.ravel(BEGIN)
    np.testing.assert_array_equal(vector, [0.1, 0.0, 1.0, -1.0, 1.0])
    np.testing.assert_array_equal(unravel(vector)["z"], BEGIN["z"])
    expected = unravel(optimize.minimize(of_vector, vector, method="BFGS", tol=1e-9).x)
    actual = sg.scipy.minimize(complex_bowl, BEGIN, method=method, tol=1e-9)
    assert actual.x["z"].dtype == np.complex128
    np.testing.assert_allclose(actual.x["z"], expected["z"], atol=1e-4)
    np.testing.assert_allclose(actual.x["w"], 3.0, atol=1e-4)


def test_the_gradient_of_complex_numbers_is_by_their_parts():
    z = np.array([0.3 - 0.4j, 2.0 + 1.0j])
    result = sg.scipy.minimize(
        lambda z: (np.abs(z) ** 2 * np.array([1.0, 3.0])).sum(), z, options={"maxiter": 0}
    )
    np.testing.assert_allclose(result.jac, 2.0 * z * [1.0, 3.0], rtol=1e-14)


def test_complex_equations_and_residuals_are_two_real_ones():
    zero = sg.scipy.root(lambda z: z**2 - (3.0 + 4.0j), np.array([1.0 + 0.5j]))
    np.testing.assert_allclose(zero.x, [2.0 + 1.0j], atol=1e-9)
    t, truth = np.linspace(0.0, 1.0, 9), 1.5 - 0.5j
    seen = np.exp(-truth * t)
    for jac in ("dense", "sparse", "products"):
        fit = sg.scipy.least_squares(
            lambda p: np.exp(-(p["decay"] + 1j * p["turn"]) * t) - seen,
            {"decay": 1.0, "turn": 0.0}, jac=jac,
        )  # fmt: skip
        np.testing.assert_allclose([fit.x["decay"], fit.x["turn"]], [1.5, -0.5], atol=1e-6)
    with pytest.raises(ArgumentError, match="f gives 4 real numbers, and x has 2"):
        sg.scipy.root(lambda x: x * 1j, np.ones(2))


def test_bounds_and_float32_are_passed_on():
    start = {"x": np.ones(3, "float32")}
    seen = []

    def f(p):
        seen.append(p["x"].dtype)
        return ((p["x"] + 1.0) ** 2).sum()

    with pytest.warns(TracingWarning, match="changes 'seen'"):
        actual = sg.scipy.minimize(f, start, bounds=[(0.5, None)] * 3)
    assert actual.x["x"].dtype == np.float32
    np.testing.assert_array_equal(actual.x["x"], 0.5)
    assert {str(dtype) for dtype in seen} == {"float32"}


def test_a_function_is_traced_once_for_several_solves():
    traced = []

    def f(x, shift):
        traced.append(1)
        return ((x - shift) ** 2).sum()

    targets = [np.array([shift, 0.0]) for shift in (1.0, 2.0, 3.0)]
    with pytest.warns(TracingWarning, match="changes 'traced'"):
        solutions = [sg.scipy.minimize(f, np.zeros(2), (target,)).x for target in targets]
    np.testing.assert_allclose(solutions, targets, atol=1e-6)
    assert len(traced) == 1


def system(x):
    return {"p": x["u"] + 0.5 * (x["u"] - x["v"]) ** 3 - 1.0, "q": x["v"] + x["u"] ** 3 / 4}


@pytest.mark.parametrize("method", ["hybr", "lm", "krylov", "broyden1"])
def test_roots(method):
    start = {"u": np.array([0.1, 0.2]), "v": np.array([0.3, 0.1])}
    actual = sg.scipy.root(system, start, method=method)
    assert actual.success
    for leaf in sg.tree.leaves(sg.function(system)(actual.x)):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-5)


TIMES = np.linspace(0.0, 1.0, 8)


def residuals(p, seen):
    return [p["a"] * np.exp(p["rate"] * TIMES) - seen]


@pytest.mark.parametrize("jac", ["dense", "sparse", "products"])
def test_least_squares(jac):
    seen = 2.0 * np.exp(-TIMES) + 0.01 * np.cos(40 * TIMES)
    actual = sg.scipy.least_squares(residuals, {"a": 1.0, "rate": 0.0}, (seen,), jac=jac)
    expected = optimize.least_squares(
        lambda x: x[0] * np.exp(x[1] * TIMES) - seen, [1.0, 0.0], xtol=1e-12
    )
    np.testing.assert_allclose([actual.x["a"], actual.x["rate"]], expected.x, rtol=1e-6)
    assert actual.nfev < 20


def test_operators_are_their_matrices():
    random = np.random.default_rng(0)
    w = random.normal(size=(5, 3))
    x = {"a": random.normal(size=3), "unused": np.ones(2)}
    jacobian = sg.scipy.jacobian_operator(lambda p, w: {"y": np.tanh(w @ p["a"])}, x, w)
    expected = np.zeros((5, 5))
    expected[:, :3] = (1 - np.tanh(w @ x["a"]) ** 2)[:, None] * w
    assert isinstance(jacobian, LinearOperator)
    np.testing.assert_allclose(jacobian @ np.eye(5), expected, atol=1e-14)
    np.testing.assert_allclose(jacobian.T @ np.eye(5), expected.T, atol=1e-14)

    hessian = sg.scipy.hessian_operator(lambda x, w: ((w @ x) ** 2).sum(), x["a"], w)
    np.testing.assert_allclose(hessian @ np.eye(3), 2 * w.T @ w, rtol=1e-12)
    step, status = cg(hessian, np.ones(3), rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(step, np.linalg.solve(2 * w.T @ w, np.ones(3)), rtol=1e-8)


def test_ravel_is_undone():
    vector, unravel = sg.scipy.ravel(START)
    np.testing.assert_array_equal(vector, [-1.2, 1.0, 0.5, 2.0])
    again = unravel(vector)
    assert sg.tree.flatten(again)[1] == sg.tree.flatten(START)[1]
    x = sg.input("x", (4,), "float64")
    assert unravel(x)["b"][0].shape == (1, 1)


def test_what_is_refused():
    with pytest.raises(ArgumentError, match="not a function"):
        sg.scipy.minimize(3.0, np.zeros(2))
    with pytest.raises(ArgumentError, match="no numbers"):
        sg.scipy.minimize(lambda x: x, {})
    with pytest.raises(ArgumentError, match=r"x\['a'\] is <U1"):
        sg.scipy.ravel({"a": "b"})
    with pytest.raises(ArgumentError, match="jac='full' is not one of"):
        sg.scipy.least_squares(lambda x: x, np.zeros(2), jac="full")


def test_one_function_is_minimized_from_starts_of_other_shapes_and_dtypes():
    """Use what was compiled for one start again for starts of the same kind alone."""

    def distance(p):
        return (abs(p["a"] - 1.0) ** 2).sum()

    for start in (np.zeros(4), np.zeros(3), np.zeros((2, 2)), np.zeros(2, complex), np.zeros(4)):
        x = sg.scipy.minimize(distance, {"a": start}).x["a"]
        assert (x.shape, x.dtype) == (start.shape, start.dtype)
        np.testing.assert_allclose(x, 1.0, atol=1e-6)


def test_minimize_takes_a_function_as_method():
    """SciPy calls it with the function, the vector and its gradient, in vectors."""

    def descend(fun, x0, args, jac, rate, **options):
        x = x0
        for _ in range(100):
            x = x - rate * jac(x, *args)
        return optimize.OptimizeResult(x=x, fun=fun(x, *args), success=True)

    target = np.array([1.0, -2.0])
    result = sg.scipy.minimize(
        lambda p, shift: ((p["a"] - target - shift) ** 2).sum(),
        {"a": np.zeros(2)},
        (0.5,),
        method=descend,
        options={"rate": 0.25},
    )
    np.testing.assert_allclose(result.x["a"], target + 0.5, rtol=1e-12)
    assert result.fun < 1e-20

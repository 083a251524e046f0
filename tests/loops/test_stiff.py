"""``sg.ode.solve`` by an implicit method, on stiff equations: beside SciPy's LSODA and Radau."""

import numpy as np
import pytest
from scipy.integrate import odeint, solve_ivp

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.ode import METHODS
from tests.ops.messages import assert_refused

RATES = np.array([0.04, 1e4, 3e7])
FIRST = np.array([1.0, 0.0, 0.0])
TIMES = np.array([0.0, 1.0, 40.0])
STIFF = {"method": "rosenbrock", "rtol": 1e-7, "atol": 1e-12, "max_steps": 200}


def robertson(t, y, k, like=sg):
    slow, fast = k[1] * y[1] * y[2] - k[0] * y[0], k[2] * y[1] * y[1]
    return like.stack([slow, -slow - fast, fast])


def reference(rates, times=TIMES):
    solution = solve_ivp(
        lambda t, y: robertson(t, y, rates, np),
        times[[0, -1]], FIRST, "LSODA", times, rtol=1e-11, atol=1e-15,
    )  # fmt: skip
    return solution.y.T


def test_the_table_is_of_fourth_order():
    """The order conditions of a method with the Jacobian, in its untransformed coefficients."""
    actual = METHODS["rosenbrock"]
    n = len(actual.nodes)
    a, c = np.zeros((n, n)), np.zeros((n, n))
    for row in range(n):
        a[row, : len(actual.stages[row])] = actual.stages[row]
        c[row, : len(actual.couplings[row])] = actual.couplings[row]
    gammas = np.linalg.inv(np.eye(n) / actual.gamma - c)
    b, alpha = np.array(actual.stages[-1]) @ gammas, a @ gammas
    beta = alpha + gammas
    nodes, slopes = alpha.sum(1), beta.sum(1)
    np.testing.assert_allclose(nodes, actual.nodes, atol=1e-12)
    np.testing.assert_allclose(gammas.sum(1), actual.by_time, atol=1e-12)
    for weights, expected in (
        (np.ones(n), 1.0), (slopes, 1 / 2), (nodes**2, 1 / 3), (beta @ slopes, 1 / 6),
        (nodes**3, 1 / 4), (nodes * (alpha @ slopes), 1 / 8), (beta @ nodes**2, 1 / 12),
        (beta @ beta @ slopes, 1 / 24),
    ):  # fmt: skip
        np.testing.assert_allclose(b @ weights, expected, atol=1e-12)


def test_a_stiff_equation_and_its_gradient_are_those_of_scipy():
    y, k = sg.input("y", (3,), "float64"), sg.input("k", (3,), "float64")
    states = sg.ode.solve(robertson, y, TIMES, (k,), **STIFF)
    loss = states[-1, 0] + states[1, 2]
    program = sg.compile({"ys": states, "by_k": sg.grad(loss, k)})
    outs = program.run({"y": FIRST, "k": RATES})
    np.testing.assert_allclose(outs["ys"], reference(RATES), rtol=1e-6)
    for place, slope in enumerate(outs["by_k"]):
        varied_rates = [RATES * (1.0 + way * 1e-4 * np.eye(3)[place]) for way in (1, -1)]
        ahead, back = (ys[-1, 0] + ys[1, 2] for ys in map(reference, varied_rates))
        np.testing.assert_allclose(slope, (ahead - back) / (2e-4 * RATES[place]), rtol=1e-4)


def test_events_and_dense_output_of_a_stiff_oscillator():
    def oscillator(t, y, like=sg):
        return like.stack([y[1], 100.0 * (1.0 - y[0] ** 2) * y[1] - y[0]])

    def crossing(t, y):
        return y[0]

    crossing.terminal = True
    exact = solve_ivp(
        lambda t, y: oscillator(t, y, np), (0.0, 200.0), [2.0, 0.0], "LSODA",
        rtol=1e-10, atol=1e-12, events=crossing, dense_output=True,
    )  # fmt: skip
    first = sg.input("y", (2,), "float64")
    options = {"method": "rodas4", "rtol": 1e-8, "atol": 1e-9, "max_steps": 900}
    solution = sg.ode.solve(oscillator, first, [0.0, 200.0], events=crossing, **options)
    run = sg.compile({"t": solution.t, "at": solution(np.array([1.0, 40.0]))}).run
    actual = run({"y": np.array([2.0, 0.0])})
    np.testing.assert_allclose(actual["t"], exact.t_events[0][0], rtol=1e-5)
    np.testing.assert_allclose(actual["at"], exact.sol([1.0, 40.0]).T, rtol=1e-5)


def test_trees_times_in_the_equation_and_tensors():
    def slope(t, y):
        return {"a": -50.0 * (y["a"] - sg.cos(t)), "b": y["a"].sum()}

    first = {"a": np.array([0.0, 1.0]), "b": np.float64(0.0)}
    times = np.array([0.0, 0.5, 0.5, 1.0])
    options = {"method": "rosenbrock", "rtol": 1e-6, "max_steps": 200}
    states = sg.ode.solve(slope, first, times, **options)
    exact = solve_ivp(
        lambda t, y: [*(-50.0 * (y[:2] - np.cos(t))), y[0] + y[1]],
        (0.0, 1.0), [0.0, 1.0, 0.0], "Radau", times[[0, 1, 3]], rtol=1e-9, atol=1e-11,
    )  # fmt: skip
    ours = np.column_stack([*sg.evaluate([states["a"], states["b"]])])
    np.testing.assert_allclose(ours, exact.y.T[[0, 1, 1, 2]], atol=1e-5)


def test_what_the_implicit_method_does_not_take():
    start = sg.constant(1.0)
    with assert_refused(
        ArgumentError, "method='Radau' is not one of", 'method="rosenbrock"', line="Radau"
    ):
        sg.ode.solve(lambda t, y: -y, start, [0.0, 1.0], method="Radau")
    with assert_refused(ArgumentError, "adjoint=True of 'rosenbrock'", line="adjoint"):
        sg.ode.solve(lambda t, y: -y, start, [0.0, 1.0], method="rosenbrock", adjoint=True)
    with assert_refused(ArgumentError, "not tensors", line="Tensor"):
        sg.ode.solve(lambda t, y: -y, Tensor(1.0), [0.0, 1.0], method="rosenbrock")
    mixed = {"a": np.float32(1.0), "b": np.float64(1.0)}
    with assert_refused(DTypeError, "float32 and float64", line="mixed"):
        sg.ode.solve(lambda t, y: y, mixed, [0.0, 1.0], method="rosenbrock")


def test_a_complex_state_whose_slope_has_its_conjugate():
    def slope(t, y, like=sg):
        return -20.0 * (y - 0.5j * like.conj(y)) + like.cos(t)

    expected = solve_ivp(
        lambda t, y: slope(t, y, np), (0.0, 1.0), [1.0 + 2.0j], rtol=1e-10, atol=1e-11
    )
    actual = sg.ode.solve(slope, np.array([1.0 + 2.0j]), [0.0, 1.0], method="rosenbrock", rtol=1e-8)
    np.testing.assert_allclose(sg.evaluate(actual)[-1], expected.y[:, -1], rtol=1e-6)


@pytest.mark.parametrize("tfirst", [False, True])
def test_odeint_is_that_of_scipy(tfirst):
    def slope(y, t, rate):
        return -rate * y * t + t  # another one where y and t are exchanged

    def time_first(t, y, rate):
        return slope(y, t, rate)

    times, first = np.array([0.0, 0.5, 2.0]), np.array([1.0, -2.0])
    f = time_first if tfirst else slope
    expected = odeint(f, first, times, (0.7,), tfirst=tfirst)
    actual = sg.evaluate(sg.ode.odeint(f, first, times, (0.7,), tfirst=tfirst))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["RK45", "RK23", "Radau", "BDF", "LSODA", "tsit5"])
@pytest.mark.parametrize("first", [0.25, 0.0], ids=["later", "from the start"])
def test_solve_ivp_is_that_of_scipy(method, first):
    def slope(t, y, rate):
        return [-rate * y[0] * t + y[1], -y[1]]

    t = np.array([first, 1.0, 2.0])
    tolerances = {"rtol": 1e-9, "atol": 1e-9}
    expected = solve_ivp(slope, (0.0, 2.0), [1.0, -2.0], t_eval=t, args=(0.7,), **tolerances)
    options = {"t_eval": t, "args": (0.7,), "max_steps": 9000, "rtol": 1e-7, "atol": 1e-9}
    for start in ([1.0, -2.0], np.array([1.0, -2.0])):
        actual = sg.ode.solve_ivp(slope, (0.0, 2.0), start, method, **options)
        np.testing.assert_array_equal(sg.evaluate(actual.t), expected.t)
        np.testing.assert_allclose(sg.evaluate(actual.y), expected.y, rtol=1e-5)


def test_solve_ivp_of_containers_has_times_last_and_a_gradient():
    def end(rate):
        start = {"x": np.ones((2, 3)), "v": np.float64(2.0)}
        result = sg.ode.solve_ivp(
            lambda t, y: {"x": -rate * y["x"], "v": -y["v"]}, [0.0, 1.0], start,
            t_eval=[0.0, 1.0], rtol=1e-9, atol=1e-12,
        )  # fmt: skip
        assert result.y["x"].shape == (2, 3, 2)
        return result.y["x"][0, 0, -1]

    np.testing.assert_allclose(sg.function(sg.grad(end))(0.5), -np.exp(-0.5), rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "t_eval= is missing"),
        ({"t_span": 2.0, "t_eval": [1.0]}, "t_span=2.0 is not a pair"),
        ({"t_eval": [1.0], "events": lambda t, y: y}, r"sg.ode.solve\(f, y, times, events=g\)"),
        ({"t_eval": [1.0], "method": "DOP853"}, "method='DOP853'"),
    ],
)
def test_what_solve_ivp_does_not_take_is_said(options, says):
    arguments = {"t_span": (0.0, 1.0), **options}
    with pytest.raises(sg.StaticgradError, match=says):
        sg.ode.solve_ivp(lambda t, y: -y, y0=1.0, **arguments)

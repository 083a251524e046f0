"""Loops that use up their steps: an error at run time in each way to run, or NaN if asked for."""

import re
import runpy
import shutil

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import CallError, ConvergenceError
from tests.exporting.libraries import module_of
from tests.ops.graphs import variable

TIMES = np.array([0.0, 0.5, 2.0])


def growth(t, y, k):
    """1 / (1 / y0 - k t): it exists up to the time 1 / (k y0)."""
    return k * y * y


def solution(k, **options):
    return sg.ode.solve(growth, 1.0 + 0.0 * k, TIMES, (k,), max_steps=50, **options)


def assert_ends_at(error, time):
    assert error.code == "SG417"
    assert isinstance(error, CallError)
    actual = re.search(r"reached time (\S+), not the end", error.headline)
    assert abs(float(actual[1]) - time) < 0.05


#: A program of k, and where its derivative by k is known: y(2) = 1 / (1 - 2 k).
PROGRAMS = {
    "value": lambda k: solution(k)[-1],
    "slope": lambda k: sg.grad(solution(k)[-1], k),
    "adjoint": lambda k: sg.grad(solution(k, adjoint=True)[-1], k),
    "dense": lambda k: solution(k, dense=True).y,
    "between": lambda k: solution(k, dense=True)(1.9),
    "steps": lambda k: 0.0 * solution(k, dense=True).steps + 1.0,
    "end": lambda k: sg.ode.rk45(growth, 1.0 + 0.0 * k, 0.0, 2.0, args=(k,), max_steps=50),
    "odeint": lambda k: sg.ode.odeint(
        lambda y, t, k: growth(t, y, k), 1.0 + 0.0 * k, TIMES, (k,), mxstep=50
    )[-1],
    "ivp": lambda k: sg.ode.solve_ivp(
        growth, (1.0, 2.0), 1.0 / (1.0 - k), t_eval=[2.0], args=(k,), rtol=1e-6, max_steps=50
    ).y[-1],
    "events": lambda k: solution(k, events=lambda t, y, k: y - 1e9).t,
    "rosenbrock": lambda k: solution(k, method="rosenbrock")[-1],
    "vmap": lambda k: sg.vmap(lambda k: solution(k)[-1])(sg.stack([0.1, k])).sum(),
    "scan": lambda k: sg.scan(lambda c, _: (c + solution(k)[-1], None), 0.0, length=2)[0],
}
EXACT = {
    "value": 1.25, "slope": 2 / 0.64, "adjoint": 2 / 0.64, "dense": 1.25, "between": 1 / 0.81,
    "steps": 1.0, "end": 1.25, "odeint": 1.25, "ivp": 1.25,
    "events": 2.0, "rosenbrock": 1.25, "vmap": 2.5,
    "scan": 2.5,
}  # fmt: skip


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_solution_that_needs_more_steps_ends_the_run(name):
    k, w = variable("k"), sg.parameter("w", 0.0)
    y = PROGRAMS[name](k)
    f = sg.compile(sg.Graph({"y": y}, updates={w: w + y}))
    np.testing.assert_allclose(f.run({"k": 0.1})["y"], EXACT[name], rtol=1e-4)
    value_before = w.value
    with pytest.raises(ConvergenceError) as caught:
        f.run({"k": 1.0})
    assert_ends_at(caught.value, 1.0)
    assert caught.value.at.resolve().file == __file__
    np.testing.assert_array_equal(w.value, value_before)
    np.testing.assert_allclose(f.run({"k": 0.1})["y"], EXACT[name], rtol=1e-4)


@pytest.mark.parametrize("way", ["function", "numba", "python", "eager", "evaluate"])
def test_each_way_to_run_raises(way):
    def few(k):
        return sg.ode.rk45(growth, 1.0 + 0.0 * k, 0.0, 2.0, args=(k,), max_steps=12, rtol=1e-4)

    k = variable("k")
    options = {"backend": "numba"} if way == "numba" else {}
    runs = {
        "eager": lambda at: few(Tensor(at)).numpy(),
        "evaluate": lambda at: sg.evaluate(few(k), {"k": at}),
    }
    run = runs.get(way) or sg.function(few, **options)
    with sg.options(jit=way != "python"):
        np.testing.assert_allclose(run(np.array(0.1)), 1.25, rtol=1e-3)
        with pytest.raises(ConvergenceError, match="reached time"):
            run(np.array(1.0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["value", "slope", "dense", "scan"])
def test_an_exported_file_raises(tmp_path, name):
    k = variable("k")
    f = sg.compile(sg.Graph({"y": PROGRAMS[name](k)}))
    f.export(tmp_path / "limit.py")
    program = runpy.run_path(str(tmp_path / "limit.py"))
    assert program["run"]({"k": np.array(0.1)})["y"].tobytes() == f.run({"k": 0.1})["y"].tobytes()
    with pytest.raises(RuntimeError, match=r"50 steps of method 'rk45' reached time 0\.9.*\.py:"):
        program["run"]({"k": np.array(1.0)})


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_for_c_raises(tmp_path):
    k = variable("k")
    f = sg.compile(sg.Graph({"y": solution(k)[-1]}))
    program = module_of(f, tmp_path, "limit").Program()
    assert program.run({"k": np.array(0.1)})["y"].tobytes() == f.run({"k": 0.1})["y"].tobytes()
    with pytest.raises(RuntimeError, match="a solver used up its steps: reached_end: test_limits"):
        program.run({"k": np.array(1.0)})


def test_nan_stands_where_it_is_asked_for():
    k = variable("k")
    y = solution(k, on_failure="nan")
    end = sg.ode.rk45(growth, 1.0 + 0.0 * k, 0.0, 2.0, args=(k,), max_steps=9, on_failure="nan")
    dense = solution(k, dense=True, on_failure="nan")
    actual = sg.evaluate([y, end, dense.ys, dense(0.9), sg.grad(y[1], k)], {"k": 1.0})
    np.testing.assert_allclose(actual[0], [1.0, 2.0, np.nan], rtol=1e-5)
    assert np.isnan(actual[1])
    np.testing.assert_allclose(actual[2], [1.0, 2.0, np.nan], rtol=1e-5)
    np.testing.assert_allclose([actual[3], actual[4]], [10.0, 2.0], rtol=1e-4)


def test_the_hint_solves_a_stiff_equation():
    """Van der Pol's: explicit steps are used up, the named method arrives; SciPy's Radau beside."""
    first, times = np.array([2.0, 0.0]), np.linspace(0.0, 500.0, 3)

    def slope(t, y, mu):
        return sg.stack([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])

    def solve_with(**options):
        return sg.function(lambda mu: sg.ode.solve(slope, first, times, (mu,), **options))

    with pytest.raises(ConvergenceError, match="1000 steps") as caught:
        solve_with()(np.array(1000.0))
    assert 'method="rosenbrock"' in caught.value.hint
    actual = solve_with(method="rosenbrock")(np.array(1000.0))
    exact = scipy.integrate.solve_ivp(
        lambda t, y: [y[1], 1000.0 * (1 - y[0] ** 2) * y[1] - y[0]], (0.0, 500.0), first,
        t_eval=times, method="Radau", rtol=1e-8, atol=1e-10,
    ).y.T  # fmt: skip
    np.testing.assert_allclose(actual, exact, rtol=1e-4)


# -- equations ------------------------------------------------------------------------------------

#: Of a number a: a solver, and its solution; there is none at a = -1.
SOLVERS = {
    "root": (lambda a, **how: sg.implicit.root(lambda x, a: x * x - a, 0.7, a, **how), 2.0**0.5),
    "fixed_point": (
        lambda a, **how: sg.implicit.fixed_point(lambda x, a: (x + a / x) / 2, 0.7, a, **how),
        2.0**0.5,
    ),
}


@pytest.mark.parametrize("name", ["root", "fixed_point"])
@pytest.mark.parametrize("eager", [False, True])
def test_steps_that_do_not_arrive_are_an_error(name, eager):
    solve, exact = SOLVERS[name]
    run = (lambda a, **how: solve(Tensor(a), **how).numpy()) if eager else (
        lambda a, **how: sg.function(lambda a: solve(a, **how))(a)
    )  # fmt: skip
    np.testing.assert_allclose(run(np.array(2.0)), exact, rtol=1e-9)
    for steps in (30, 7):
        with pytest.raises(ConvergenceError, match=f"{name}: {steps} steps left a residual of"):
            run(np.array(-1.0), max_steps=steps)
    assert np.isnan(run(np.array(-1.0), max_steps=30, on_failure="nan"))
    assert np.isfinite(run(np.array(-1.0), max_steps=30, on_failure="last"))


def test_a_minimum_that_is_not_reached_is_an_error():
    def lowest(a, **how):
        return sg.implicit.argmin(lambda x, a: a * x * x - x, np.array(0.1), a, **how)

    a = variable("a")
    x, slope = sg.evaluate([lowest(a), sg.grad(lowest(a), a)], {"a": 2.0})
    np.testing.assert_allclose([x, slope], [0.25, -0.125], rtol=1e-8)
    for value in (lowest(a), sg.grad(lowest(a), a)):
        with pytest.raises(ConvergenceError, match="argmin: 100 steps"):
            sg.evaluate(value, {"a": -2.0})
    assert np.isnan(sg.evaluate(lowest(a, on_failure="nan"), {"a": -2.0}))


@pytest.mark.parametrize("way", ["value", "slope", "evaluate"])
def test_a_loop_of_more_iterations_than_its_bound_is_an_error(way):
    """``range(0, n)`` is what the user asked for: fewer iterations would be another result."""
    n, x = variable("n", sg.int64), variable("x")
    y = sg.fori_loop(0, n, lambda i, y: y * 2.0, x, max_steps=5)
    y = sg.grad(y, x) if way == "slope" else y
    run = (lambda at: sg.evaluate(y, at)) if way == "evaluate" else sg.compile(y).run
    for count in (-3, 0, 3, 5):
        assert run({"n": count, "x": 1.0}) == 2.0 ** max(count, 0)
    with pytest.raises(ConvergenceError, match="6 iterations lie between the bounds"):
        run({"n": 6, "x": 1.0})


# -- matrices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_an_exponential_of_a_large_matrix_is_an_error(dtype):
    large = np.diag([-1e6, 0.0]).astype(dtype)
    with pytest.raises(ConvergenceError, match=r"expm: a matrix of 1-norm 1e\+06"):
        sg.linalg.expm(large)
    assert np.isnan(sg.linalg.expm(large, errors="nan")).any()
    actual = sg.linalg.expm(large, max_squarings=40)
    np.testing.assert_allclose(actual, [[0.0, 0.0], [0.0, 1.0]], atol=1e-12)
    assert np.isnan(
        sg.linalg.expm(np.full_like(large, np.inf))
    ).any()  # no limit of steps: not an error


#: a, b, q, r of equations that have no stabilizing solution, and of one that has.
UNSOLVABLE = [(1.0, 0.0, 1.0, 1.0), (2.0, 0.0, 1.0, 1.0), (2.0, 1.0, 0.0, 1.0)]


@pytest.mark.parametrize("name", ["solve_continuous_are", "solve_discrete_are"])
def test_a_riccati_equation_whose_doubling_does_not_arrive_is_an_error(name):
    solve, exact = getattr(sg.linalg, name), getattr(scipy.linalg, name)
    for values in UNSOLVABLE:
        matrices = [np.array([[value]]) for value in values]
        with pytest.raises(ConvergenceError, match=f"{name}: 40 doublings do not arrive"):
            solve(*matrices)
        assert np.isnan(solve(*matrices, errors="nan")).all()
    matrices = [np.array([[value]]) for value in (1.0, 1.0, 1.0, 1.0)]
    np.testing.assert_allclose(solve(*matrices), exact(*matrices), rtol=1e-12)
    matrices[0] = matrices[0] * np.nan
    assert np.isnan(solve(*matrices)).all()

"""``sg.ode.solve``: its methods, what is between their steps, and events, beside SciPy's."""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, DTypeError, RankError
from staticgrad.ode import METHODS
from staticgrad.ode.solutions import OdeSolution
from tests.ops.graphs import variable
from tests.ops.messages import assert_each_raises

FIRST = np.array([1.0, 0.5])
TIMES = np.linspace(0.0, 3.0, 4)
ALL = ["rk45", "dopri5", "rk23", "bosh3", "tsit5", "rk4", "rosenbrock"]
EXACT = {"rtol": 1e-12, "atol": 1e-13, "method": "DOP853"}


def pendulum(t, y, drag=0.1, like=sg):
    return like.stack([y[1], -like.sin(y[0]) - drag * y[1]])


def reference(end=3.0, **options):
    return solve_ivp(
        lambda t, y: pendulum(t, y, like=np),
        (0.0, end),
        FIRST,
        **EXACT,
        dense_output=True,
        **options,
    )


def options(method, tolerance=1e-8):
    if method == "rk4":
        return {"method": method, "steps": round(3 * tolerance**-0.25)}
    return {"method": method, "rtol": tolerance, "atol": tolerance / 10, "max_steps": 2000}


@pytest.mark.parametrize("method", ["rk45", "rk23", "tsit5"])
def test_the_tables_are_of_their_orders(method):
    """The order conditions of Butcher, of the solution, of its error, and between the steps."""
    actual = METHODS[method]
    a = np.zeros((len(actual.nodes),) * 2)
    for row, stage in enumerate(actual.stages):
        a[row, : len(stage)] = stage
    c, b = np.array(actual.nodes), a[-1]
    np.testing.assert_allclose(a.sum(1), c, atol=1e-14)
    conditions = [
        [(1.0, np.ones_like(c))],
        [(1 / 2, c)],
        [(1 / 3, c**2), (1 / 6, a @ c)],
        [(1 / 4, c**3), (1 / 8, c * (a @ c)), (1 / 12, a @ c**2), (1 / 24, a @ a @ c)],
        [(1 / 5, c**4), (1 / 10, c**2 * (a @ c)), (1 / 20, (a @ c) ** 2), (1 / 15, c * (a @ c**2)),
         (1 / 30, c * (a @ a @ c)), (1 / 20, a @ c**3), (1 / 40, a @ (c * (a @ c))),
         (1 / 60, a @ a @ c**2), (1 / 120, a @ a @ a @ c)],
    ]  # fmt: skip
    order = 3 if method == "rk23" else 5
    for expected, weights in itertools.chain(*conditions[:order]):
        np.testing.assert_allclose(b @ weights, expected, atol=1e-13)
    for _, weights in itertools.chain(*conditions[: order - 1]):
        assert abs(np.array(actual.error) @ weights) < 1e-13
    assert round(-1 / actual.power) == order
    if actual.powers:
        for part in (0.3, 0.8, 1.0):
            between = np.array(actual.powers) @ part ** np.arange(1, 5)
            for degree, group in enumerate(conditions[:4], 1):
                for expected, weights in group:
                    np.testing.assert_allclose(
                        between @ weights, expected * part**degree, atol=1e-12
                    )


@pytest.mark.thinned
@pytest.mark.parametrize("method", ALL)
def test_states_at_times_and_between_them_are_those_of_scipy(method):
    exact = reference()
    y = sg.ode.solve(pendulum, FIRST, TIMES, **options(method))
    np.testing.assert_allclose(sg.evaluate(y), exact.sol(TIMES).T, atol=3e-7)
    solution = sg.ode.solve(pendulum, FIRST, TIMES, dense=True, **options(method))
    at = np.linspace(0.0, 3.0, 40)
    actual = sg.evaluate([solution(at), solution(1.7), solution.ys, solution.y, solution.t])
    np.testing.assert_allclose(actual[0], exact.sol(at).T, atol=3e-7)
    np.testing.assert_allclose(actual[1], exact.sol(1.7), atol=3e-7)
    np.testing.assert_allclose(actual[2], exact.sol(TIMES).T, atol=3e-7)
    np.testing.assert_array_equal(actual[2][0], FIRST)
    np.testing.assert_allclose(actual[3], exact.sol(3.0), atol=3e-7)
    assert actual[4] == 3.0


@pytest.mark.parametrize(
    ("method", "order"), [("rk45", 4), ("tsit5", 4), ("rk4", 3), ("rosenbrock", 3)]
)
def test_the_error_between_steps_falls_with_its_order(method, order):
    """For one step and for half of it, a polynomial of order p has an error of order p + 1."""
    exact, errors = reference(), []
    for end in (0.4, 0.2):
        solver_options = {"method": method, "dense": True}
        if method != "rk4":
            solver_options |= {"first": end, "rtol": 1e-2, "max_steps": 3}
        solution = sg.ode.solve(pendulum, FIRST, [0.0, end], **solver_options)
        at = end * np.array([0.3, 0.7])
        errors.append(np.abs(sg.evaluate(solution(at)) - exact.sol(at).T).max())
        assert sg.evaluate(solution.steps) == 1
    assert errors[0] / errors[1] > 2 ** (order + 0.4)


def evaluate_tree(tree):
    leaves, shape = sg.tree.flatten(tree)
    return sg.tree.unflatten(shape, sg.evaluate(leaves))


def decay(t, y, rate):
    return {"a": -rate * y["a"], "b": y["a"].sum() + 0.0 * y["b"] + t}


def closed_form(t, a, rate):
    """The solution of ``decay`` from a and 0."""
    left = np.exp(-rate * t)
    return {"a": a * left, "b": a.sum() * (1 - left) / rate + t**2 / 2}


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_trees_and_times_that_descend(way):
    a, times = np.array([1.0, 2.0]), way * np.array([0.0, 0.5, 0.5, 2.0])
    first = {"a": a, "b": np.float64(0.0)}
    solution = sg.ode.solve(decay, first, times, (0.7,), rtol=1e-9, dense=True, max_steps=90)
    plain = sg.ode.solve(decay, first, times, (0.7,), rtol=1e-9, max_steps=60)
    at = way * np.array([-0.1, 0.3, 1.9, 2.1])
    actual, ys, states = map(evaluate_tree, (solution(at), solution.ys, plain))
    for k, t in enumerate(times):
        for name, value in closed_form(t, a, 0.7).items():
            np.testing.assert_allclose(ys[name][k], value, rtol=1e-7, atol=1e-9)
            np.testing.assert_allclose(states[name][k], value, rtol=1e-7, atol=1e-9)
    for k in (1, 2):
        for name, value in closed_form(at[k], a, 0.7).items():
            np.testing.assert_allclose(actual[name][k], value, rtol=1e-6)
    assert np.isnan([*actual["a"][0], *actual["a"][3], actual["b"][0], actual["b"][3]]).all()


def test_the_adaptive_method_takes_times_as_the_fixed_one():
    """By place, by name; of two times it is the state at the end, and each time costs a step."""
    by_place = sg.ode.rk45(pendulum, FIRST, TIMES, args=(0.1,), rtol=1e-9)
    by_name = sg.ode.rk45(pendulum, FIRST, times=TIMES, rtol=1e-9)
    ends = sg.ode.rk45(pendulum, FIRST, TIMES[:2], rtol=1e-9)
    end = sg.ode.rk45(pendulum, FIRST, 0.0, 1.0, rtol=1e-9)
    actual = sg.evaluate([by_place, by_name, ends, end])
    np.testing.assert_array_equal(actual[0], actual[1])
    np.testing.assert_allclose(actual[0], reference().sol(TIMES).T, atol=1e-7)
    np.testing.assert_allclose(actual[2][1], actual[3], rtol=1e-14)
    few = sg.ode.solve(
        pendulum, FIRST, np.linspace(0.0, 3.0, 50), first=0.1, max_steps=1, rtol=1e-4
    )
    assert np.isfinite(sg.evaluate(few)).all()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "dense", "adjoint"])
@pytest.mark.parametrize("method", ["rk45", "rk23", "tsit5", "rk4"])
def test_gradients_by_state_args_and_times_are_those_of_the_closed_form(method, how):
    def loss(a, rate, end):
        first = {"a": sg.stack([a, 2.0 * a]), "b": 0.0 * a}
        times = np.linspace(0.0, 1.0, 4) * end
        solver_options = {
            **options(method, 1e-10),
            "adjoint": how == "adjoint",
            "dense": how == "dense",
        }
        solution = sg.ode.solve(decay, first, times, (rate,), **solver_options)
        if how == "dense":
            return solution(0.6 * end)["b"] + solution.ys["a"][2, 1] + solution.y["a"][0]
        return solution["b"][1] + solution["a"][2, 1] + solution["a"][3, 0]

    def exact(a, rate, end):
        a = np.array([a, 2 * a])
        early = 0.6 * end if how == "dense" else end / 3
        parts = [closed_form(t, a, rate) for t in (early, 2 * end / 3, end)]
        return parts[0]["b"] + parts[1]["a"][1] + parts[2]["a"][0]

    at = (0.8, 0.6, 1.5)
    actual = sg.function(sg.grad(loss, (0, 1, 2)))(*map(np.float64, at))
    for k in range(3):
        step = np.eye(3)[k] * 1e-5
        slope = (exact(*(at + step)) - exact(*(at - step))) / 2e-5
        np.testing.assert_allclose(actual[k], slope, rtol=1e-6)


def fall(t, y, g):
    return sg.stack([y[1], -g + 0.0 * y[1]])


def height_above_ground(t, y, g):
    return y[0]


def landing(height, g=9.81):
    first = sg.stack([height, 0.0 * height])
    return sg.ode.solve(
        fall, first, [0.0, 1.0, 5.0], (g,), events=height_above_ground, max_steps=50
    )


def test_an_event_ends_the_solution_at_its_zero():
    """A ball that falls lands after sqrt(2 h / g)."""
    actual = evaluate_tree(landing(sg.constant(10.0, "float64")))
    assert isinstance(actual, OdeSolution)
    np.testing.assert_allclose(actual.t, np.sqrt(20 / 9.81), rtol=1e-13)
    np.testing.assert_allclose(actual.y, [0.0, -np.sqrt(20 * 9.81)], atol=1e-12)
    assert actual.event == 0
    np.testing.assert_allclose(actual.ys[1], [10 - 9.81 / 2, -9.81])
    assert np.isnan(actual.ys[2]).all()
    assert np.isnan(sg.evaluate(actual(actual.t + 1e-6))).all()
    never = sg.ode.solve(
        fall, np.array([10.0, 0.0]), [0.0, 1.0], (9.81,), events=height_above_ground
    )
    assert sg.evaluate([never.event, never.t]) == [-1, 1.0]


@pytest.mark.thinned
@pytest.mark.parametrize("method", ["rk45", "tsit5", "rk23", "rk4"])
def test_the_first_of_several_events_counts_and_directions_choose(method):
    def up(t, y):
        return y[0]

    def falling_height(t, y):
        return y[0]

    def late(t, y):
        return t - 100.0

    up.direction, falling_height.direction = 1, -1
    ends = {"method": method, "rtol": 1e-7, "atol": 1e-9} if method != "rk4" else {
        "method": method, "steps": 200}  # fmt: skip
    zeros = reference(8.0, events=lambda t, y: y[0]).t_events[0]
    for events, number, zero in (
        ([late, up], 1, 1), ([up, falling_height], 1, 0), (falling_height, 0, 0), ([up, up], 0, 1)
    ):  # fmt: skip
        solution = sg.ode.solve(pendulum, FIRST, [0.0, 8.0], events=events, **ends)
        t, event = sg.evaluate([solution.t, solution.event])
        assert event == number
        np.testing.assert_allclose(t, zeros[zero], atol=1e-5)


def parabola(t, y):
    """The slope of y = t * (2 - t), which all methods solve exactly."""
    return 2.0 - 2.0 * t + 0.0 * y


def crossing(level, direction=0, sign=1.0):
    def event(t, y):
        return sign * (y - level)

    event.direction = direction
    return event


#: Fixed steps, and adaptive ones of the same lengths: each ends at one of the times.
FIXED = {"method": "rk4"}
ADAPTIVE = {"method": "rk45", "first": 2.0, "rtol": 1.0, "atol": 1.0, "max_steps": 9}


def test_events_of_a_parabola():
    """It crosses 0.5 upwards at 1 - root, downwards at 1 + root, and has its top at t = 1."""
    root = np.sqrt(0.5)
    up, down, low = crossing(0.5, 1), crossing(0.5, -1), crossing(0.25)
    steps = [0.0, 0.5, 1.0, 1.5, 2.0]
    cases = [
        # of several in one step the first; a number counts the list
        ([crossing(0.7), crossing(0.5)], [0.0, 1.0], 1 - root, 1, 0.5),
        ([low, crossing(0.5)], [0.0, 1.0], 1 - np.sqrt(0.75), 0, 0.25),
        # a value that is 0 where a step ends, rising and falling
        (crossing(0.75, 1), [0.0, 0.5, 1.0], 0.5, 0, 0.75),
        (crossing(0.75, -1, -1.0), [0.0, 0.5, 1.0], 0.5, 0, 0.75),
        # upwards, downwards, in a later step, in the first of two
        (up, [0.0, 1.0, 2.0], 1 - root, 0, 0.5),
        (down, steps, 1 + root, 0, 0.5),
        ([down, up], steps, 1 - root, 1, 0.5),
        (crossing(0.5, 1, -1.0), [0.0, 1.0, 2.0], 1 + root, 0, 0.5),
    ]
    for number, (events, times, t, event, y) in enumerate(cases):
        for how in [FIXED, ADAPTIVE] if number in (0, 3, 5) else [FIXED]:
            solution = sg.ode.solve(parabola, np.float64(0.0), times, events=events, **how)
            actual = sg.evaluate([solution.t, solution.event, solution.y, solution.ys])
            np.testing.assert_allclose(actual[0], t, rtol=1e-12, err_msg=f"{number} {how}")
            assert actual[1] == event, number
            np.testing.assert_allclose(actual[2], y, rtol=1e-12, err_msg=str(number))
            exact = np.array(times) * (2 - np.array(times))
            exact[np.array(times) > t] = np.nan
            np.testing.assert_allclose(actual[3], exact, atol=1e-13, err_msg=str(number))


def test_a_solution_back_in_time_is_read_between_its_steps():
    solution = sg.ode.solve(parabola, np.float64(0.0), [2.0, 1.0, 0.0], dense=True, method="rk4")
    actual = sg.evaluate(solution(np.array([2.1, 1.75, 1.5, 0.5, -0.1])))
    np.testing.assert_allclose(actual, [np.nan, 0.4375, 0.75, 0.75, np.nan], atol=1e-13)


def test_a_time_that_cuts_a_step_does_not_shorten_the_next_one():
    """It would grow again fivefold a step: 1e-9, 5e-9 and so on."""
    counts = []
    for times in ([0.0, 2.0], [0.0, 1e-9, 2.0]):
        solution = sg.ode.solve(
            pendulum, FIRST, times, first=0.5, rtol=1e-4, dense=True, max_steps=30
        )
        counts.append(int(sg.evaluate(solution.steps)))
    assert counts[1] <= counts[0] + 2


def test_gradients_by_the_adjoint_equation_are_those_of_a_closed_form():
    """y' = -k y^2: y = 1 / (1 / y0 + k (t - start)), by everything, weighted at each time."""
    k, y0, times = variable("k"), variable("y"), variable("t", sg.float64, (3,))
    states = sg.ode.solve(
        lambda t, y, k: -k * y * y, y0, times, (k,), method="rk4", steps=20, adjoint=True
    )
    at = {"k": 0.8, "y": 1.5, "t": np.array([0.5, 1.0, 2.0])}
    weights = np.array([3.0, -2.0, 5.0])
    slopes = sg.evaluate(sg.grad((states * weights).sum(), [k, y0, times]), at)
    elapsed = at["t"] - 0.5
    y = 1 / (1 / 1.5 + 0.8 * elapsed)
    by_time = 0.8 * y**2 * weights
    expected = [-(weights * elapsed * y**2).sum(), (weights * y**2).sum() / 1.5**2,
              [by_time[1:].sum(), *-by_time[1:]]]  # fmt: skip
    for actual, reference in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(actual, reference, rtol=1e-5)


def test_an_implicit_step_has_its_order_where_the_slope_depends_on_the_time():
    """Steps of a length and of half of it, which no error estimate shortens."""
    errors = []
    for end in (0.4, 0.2):
        y = sg.ode.solve(
            lambda t, y: -3.0 * (y - sg.sin(5.0 * t)), np.float64(1.0), [0.0, end],
            method="rosenbrock", first=end, rtol=1e9, max_steps=1,
        )  # fmt: skip
        exact = solve_ivp(lambda t, y: -3.0 * (y - np.sin(5.0 * t)), (0.0, end), [1.0], **EXACT)
        errors.append(abs(sg.evaluate(y)[-1] - exact.y[0, -1]))
    assert errors[0] / errors[1] > 2**4.4


def test_gradients_of_the_place_of_an_event():
    """First and second, in a graph; the first on the tape."""
    height, g = variable("height"), variable("g")
    time = landing(height, g).t
    slopes = sg.grad(time, [height, g])
    actual = sg.evaluate([*slopes, sg.grad(slopes[0], height)], {"height": 10.0, "g": 9.81})
    exact = [np.sqrt(1 / (2 * 98.1)), -np.sqrt(5 / 9.81**3), -0.25 * np.sqrt(2 / 9.81) * 10**-1.5]
    np.testing.assert_allclose(actual, exact, rtol=1e-9)
    height = Tensor(np.float64(10.0), requires_grad=True)
    landing(height).t.backward()
    np.testing.assert_allclose(height.grad, exact[0], rtol=1e-12)


@pytest.mark.slow
def test_a_function_returns_a_solution_of_arrays_that_is_called():
    actual = sg.function(landing)(np.float64(10.0))
    assert isinstance(actual, OdeSolution)
    assert isinstance(actual.t, np.float64)
    np.testing.assert_allclose(actual.t, np.sqrt(20 / 9.81), rtol=1e-13)
    np.testing.assert_allclose(sg.evaluate(actual(0.5)), [10 - 9.81 / 8, -9.81 / 2])
    slope = sg.function(sg.grad(lambda height: landing(height).t))(10.0)
    np.testing.assert_allclose(slope, np.sqrt(1 / (2 * 98.1)), rtol=1e-9)


def test_a_function_behind_the_event_is_not_called():
    """The square root of a negative level is NaN, and would be in the gradient, too."""
    level = variable("y")
    emptied = sg.ode.solve(
        lambda t, y: -sg.sqrt(y), level, [0.0, 9.0], events=lambda t, y: y - 0.25, max_steps=60
    )
    time, slope = sg.evaluate([emptied.t, sg.grad(emptied.t, level)], {"y": 1.0})
    np.testing.assert_allclose([time, slope], [1.0, 1.0], rtol=1e-5)


def test_a_solution_without_enough_steps_is_nan_behind_them():
    few = {"first": 0.1, "max_steps": 2, "on_failure": "nan"}
    solution = sg.ode.solve(pendulum, FIRST, TIMES, dense=True, **few)
    ys, end, steps, inside = sg.evaluate([solution.ys, solution.t, solution.steps, solution(0.05)])
    assert np.isnan(ys[1:]).all()
    assert np.isfinite([*ys[0], *inside]).all()
    assert 0.0 < end < 1.0
    assert steps <= 2
    plain = sg.ode.solve(pendulum, FIRST, TIMES, **few)
    assert np.isnan(sg.evaluate(plain)[1:]).all()


@pytest.mark.parametrize("method", ["rk45", "rk4"])
def test_one_time_and_a_number_of_times_that_a_run_knows(method):
    single = sg.ode.solve(pendulum, FIRST, [2.0], method=method, events=lambda t, y: y[0] - 9.0)
    times = sg.input("times", ("n",), "float64")
    many = sg.ode.solve(lambda t, y: 2 * t + 0 * y, 1.0, times, method=method, dense=True)
    ys, end, inside = sg.evaluate([many.ys, many.t, many(1.5)], {"times": [1.0, 2.0, 3.0]})
    np.testing.assert_allclose([*ys, end, inside], [1.0, 4.0, 9.0, 3.0, 2.25], rtol=1e-12)
    np.testing.assert_array_equal(sg.evaluate(single.ys), [FIRST])
    assert sg.evaluate([single.t, single.event, *single.y]) == [2.0, -1, *FIRST]


def test_what_is_refused():
    half = np.ones(2, "float16")
    wrong = lambda t, y: y  # noqa: E731
    wrong.direction = 2
    solve, y = sg.ode.solve, FIRST
    assert_each_raises(
        (ArgumentError, "method='euler'", lambda: solve(pendulum, y, TIMES, method="euler")),
        (ArgumentError, "steps=3 is of method='rk4'", lambda: solve(pendulum, y, TIMES, steps=3)),
        (ArgumentError, "gives no OdeSolution",
         lambda: solve(pendulum, y, TIMES, dense=True, adjoint=True)),
        (ArgumentError, "an event is a float", lambda: solve(pendulum, y, TIMES, events=1.0)),
        (ArgumentError, "direction of an event is 2",
         lambda: solve(pendulum, y, TIMES, events=wrong)),
        (ArgumentError, "gives f64.2., not one number",
         lambda: solve(pendulum, y, TIMES, events=lambda t, y: y)),
        (ArgumentError, "args is a float, not a tuple", lambda: solve(pendulum, y, TIMES, 1.0)),
        (ArgumentError, "solve: max_steps must be >= 0",
         lambda: solve(pendulum, y, TIMES, dense=True, max_steps=-1)),
        (DTypeError, "solve: the state is f16", lambda: solve(pendulum, half, TIMES)),
        (RankError, "solve: times is f64.., not a vector", lambda: solve(pendulum, y, 3.0)),
        (RankError, "takes a time or a vector",
         lambda: solve(pendulum, y, TIMES, dense=True)(np.ones((2, 2)))),
        (ArgumentError, r"start is .* beside an end(.|\n)*args=\(a,\)",
         lambda: sg.ode.rk45(pendulum, y, TIMES, 0.3)),
        (ArgumentError, "neither an end nor times", lambda: sg.ode.rk45(pendulum, y)),
        (ArgumentError, "start and times are two",
         lambda: sg.ode.rk45(pendulum, y, TIMES, times=TIMES)),
    )  # fmt: skip

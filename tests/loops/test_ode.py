"""Solutions of differential equations beside closed forms and SciPy's."""

import numpy as np
import pytest
from scipy.integrate import RK45, solve_ivp

import staticgrad as sg
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError, CarryError, DTypeError, RankError
from tests.ops.graphs import variable
from tests.ops.messages import assert_each_raises


def decay(t, y):
    return {"fast": -2.0 * y["fast"], "slow": -y["slow"] * sg.cos(t)}


def test_the_fixed_method_is_of_fourth_order():
    first = {"fast": sg.constant([1.0, 2.0]), "slow": sg.constant(3.0)}
    errors = []
    for count in (11, 21):
        times = np.linspace(0.0, 2.0, count)
        actual = sg.evaluate(list(sg.ode.rk4(decay, first, times).values()))
        assert actual[0].shape == (count, 2)
        expected = [1.0 * np.exp(-2 * times), 3.0 * np.exp(-np.sin(times))]
        errors.append(
            max(np.abs(actual[0][:, 0] - expected[0]).max(), np.abs(actual[1] - expected[1]).max())
        )
    assert 12 < errors[0] / errors[1] < 22
    finer = sg.evaluate(sg.ode.rk4(decay, first, np.linspace(0.0, 2.0, 11), steps=2)["slow"])
    same = sg.evaluate(sg.ode.rk4(decay, first, np.linspace(0.0, 2.0, 21))["slow"])
    np.testing.assert_allclose(finer, same[::2], rtol=1e-13)


def pendulum(t, y):
    return sg.stack([y[1], -sg.sin(y[0]) - 0.1 * y[1]])


@pytest.mark.parametrize("end", [4.0, -2.0])
def test_the_adaptive_method_holds_its_error(end):
    y = variable("y", sg.float64, (2,))
    last = sg.ode.rk45(pendulum, y, 0.0, end, rtol=1e-9, atol=1e-12, max_steps=2000)
    expected = solve_ivp(
        lambda t, y: [y[1], -np.sin(y[0]) - 0.1 * y[1]],
        (0.0, end), [1.0, 0.5], rtol=1e-11, atol=1e-13,
    ).y[:, -1]  # fmt: skip
    np.testing.assert_allclose(sg.evaluate(last, {"y": [1.0, 0.5]}), expected, rtol=1e-7)


def trials(f, y, end, rtol, atol):
    """Count the steps that the documented method tries, by SciPy's table of Dormand and Prince."""
    t, h, count = 0.0, 0.01 * end, 0
    while t < end:
        h = min(h, end - t)
        slopes = np.zeros((7, y.size))
        slopes[0] = f(t, y)
        for stage in range(1, 6):
            at = y + h * (RK45.A[stage, :stage] @ slopes[:stage])
            slopes[stage] = f(t + RK45.C[stage] * h, at)
        new = y + h * (RK45.B @ slopes[:6])
        slopes[6] = f(t + h, new)
        scale = atol + rtol * np.maximum(np.abs(y), np.abs(new))
        error = np.sqrt(np.mean((h * (RK45.E @ slopes) / scale) ** 2))
        if error <= 1:
            t, y = t + h, new
        h *= min(max(0.9 * max(error, 1e-10) ** -0.2, 0.2), 5.0)
        count += 1
    return count


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_the_adaptive_method_tries_as_many_steps_as_documented(rtol):
    """The error is a root mean square: components at rest allow longer steps."""
    y = np.array([1.0, 0.5, *[0.0] * 14])

    def slope(t, y, stack, zeros):
        return stack([y[1], -y[0], *[zeros] * 14])

    count = trials(lambda t, y: slope(t, y, np.array, 0.0), y, 6.0, rtol, 1e-12)
    for most in (count - 1, count):
        last = sg.ode.rk45(
            lambda t, y: slope(t, y, sg.stack, y[2] * 0.0),
            sg.constant(y), 0.0, 6.0, rtol=rtol, atol=1e-12, max_steps=most, on_failure="nan",
        )  # fmt: skip
        assert bool(np.isfinite(sg.evaluate(last)).all()) == (most == count)


def test_a_step_that_fails_is_made_again():
    """The first one to try is the whole way, which is too long."""
    last = sg.ode.rk45(pendulum, np.array([1.0, 0.5]), 0.0, 2.0, first=2.0, rtol=1e-7, max_steps=60)
    expected = solve_ivp(
        lambda t, y: [y[1], -np.sin(y[0]) - 0.1 * y[1]], (0.0, 2.0), [1.0, 0.5], rtol=1e-10
    ).y[:, -1]
    np.testing.assert_allclose(sg.evaluate(last), expected, rtol=1e-5)


@pytest.mark.slow
def test_gradients_go_through_the_steps():
    k, start = variable("k"), variable("y")
    for method in ("rk4", "rk45"):
        if method == "rk4":
            y = sg.ode.rk4(lambda t, y: -k * y * y, start, np.linspace(0.0, 3.0, 61))[-1]
        else:
            y = sg.ode.rk45(lambda t, y: -k * y * y, start, 0.0, 3.0, rtol=1e-8, max_steps=60)
        slopes = sg.grad(y, [k, start])
        bend = sg.grad(slopes[0], k)
        at = {"k": 1.0, "y": 1.0}
        actual = [float(value) for value in sg.evaluate([y, *slopes, bend], at)]
        np.testing.assert_allclose(actual, [0.25, -3 / 16, 1 / 16, 18 / 64], rtol=1e-5)


def by_adjoint(method, f, y, start, end, count=61):
    if method == "rk45":
        return sg.ode.rk45(f, y, start, end, rtol=1e-9, atol=1e-12, max_steps=400, adjoint=True)
    times = start + (end - start) * np.linspace(0.0, 1.0, count)
    return sg.ode.rk4(f, y, times, adjoint=True)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rk4", "rk45"])
def test_gradients_by_the_adjoint_method_are_those_of_the_closed_form(method):
    """y' = -k y^2, y = 1 / (1 / y0 + k (end - start)), by k, y0 and both times; twice by k."""
    k, y0, start, end = (variable(name) for name in ("k", "y", "start", "end"))
    y = by_adjoint(method, lambda t, y: -k * y * y, y0, start, end)
    slopes = sg.grad(y, [k, y0, start, end])
    bend = sg.grad(slopes[0], k)
    at = {"k": 1.0, "y": 1.0, "start": 0.5, "end": 3.5}
    values = {str(place): value for place, value in enumerate([y, *slopes, bend])}
    actual = [float(value) for value in sg.compile(values).run(at).values()]
    np.testing.assert_allclose(actual, [0.25, -3 / 16, 1 / 16, 1 / 16, -1 / 16, 18 / 64], rtol=2e-6)


@pytest.mark.slow
def test_the_adjoint_of_a_tree_is_near_the_gradient_through_the_steps():
    first = variable("first", sg.float64, (2, 3))
    w, scale = variable("w", sg.float64, (3, 3)), variable("scale")

    def f(t, y):
        return {"a": sg.tanh(y["a"] @ (scale * w)) * sg.cos(t), "b": y["a"].sum() - y["b"]}

    def gradients(adjoint, count):
        times = np.linspace(0.0, 1.0, count)
        states = sg.ode.rk4(f, {"a": first, "b": scale * 1.0}, times, adjoint=adjoint)
        middle = states["a"][(count - 1) // 2]
        far = (middle**2).sum() + states["a"][-1].sum() + states["b"].mean()
        values = sg.grad(far, [first, w, scale])
        draw = np.random.default_rng(0).normal
        return sg.evaluate(
            values, {"first": draw(size=(2, 3)), "w": draw(size=(3, 3)), "scale": 0.7}
        )

    errors = []
    for count in (11, 21):
        pairs = zip(gradients(True, count), gradients(False, count), strict=True)
        errors.append(
            max(
                float(np.abs(by_adjoint - through_steps).max())
                for by_adjoint, through_steps in pairs
            )
        )
    assert errors[0] < 1e-4
    assert 10 < errors[0] / errors[1] < 40  # of fourth order


@pytest.mark.slow
def test_the_adjoint_keeps_nothing_of_the_steps():
    y0, k = variable("y0", sg.float64, (1000,)), variable("k")

    def peak(adjoint):
        y = sg.ode.rk45(lambda t, y: -k * sg.sin(y), y0, 0.0, 3.0, max_steps=200, adjoint=adjoint)
        return sg.compile({"dk": sg.grad(y.sum(), k)}).plan().peak_bytes

    assert peak(True) * 5 < peak(False)


def test_mistakes_are_told_in_the_words_of_the_call():
    y = {"fast": sg.constant([1.0, 2.0]), "slow": sg.constant(1.0, "float16")}
    with pytest.raises(DTypeError, match="one floating dtype"):
        sg.ode.rk4(decay, y, [0.0, 1.0], adjoint=True)
    with pytest.raises(ArgumentError, match="not for tensors"):
        sg.ode.rk45(pendulum, Tensor(np.ones(2)), 0.0, 1.0, adjoint=True)
    y, times = sg.constant([1.0, 2.0], "float32"), [0.0, 1.0]
    doubles = sg.constant([1.0, 2.0], "float64")
    for adjoint in (False, True):
        with pytest.raises(CarryError, match=r"rk4: the derivative is .*f64\[2\]>, of a state f32"):
            sg.ode.rk4(lambda t, y: doubles, y, times, adjoint=adjoint)
        with pytest.raises(
            CarryError, match=r"rk45: the function returned \[\?, \?\], expected \(\?, \?\)"
        ):
            sg.ode.rk45(lambda t, y: [y[1], y[0]], (y, y), 0.0, 1.0, adjoint=adjoint)
        for steps, says in ((0, "steps must be >= 1, got 0"), (2.5, "steps 2.5 is not an integer")):
            with pytest.raises(ArgumentError, match=says):
                sg.ode.rk4(decay, y, times, steps, adjoint=adjoint)
    assert_each_raises(
        (RankError, r"times is f64\[\], not a vector", lambda: sg.ode.rk4(decay, y, 1.0)),
        (ArgumentError, "times is empty", lambda: sg.ode.rk4(decay, y, [])),
        (ArgumentError, "f is a value, not a function", lambda: sg.ode.rk4(y, decay, times)),
        (ArgumentError, "rtol=-1", lambda: sg.ode.rk45(decay, y, 0.0, 1.0, rtol=-1)),
        (ArgumentError, "max_steps must be >= 0, got -1",
         lambda: sg.while_loop(lambda y: y.sum() < 9, lambda y: y * 2, y, max_steps=-1)),
        (ArgumentError, r"takes .*, and is called with \(t, y, arg0\)",
         lambda: sg.ode.rk4(decay, y, times, args=(1.0,))),
        (ArgumentError, r"args is a float, not a tuple(.|\n)*args=\(a,\)",
         lambda: sg.ode.rk45(decay, y, 0.0, 1.0, args=1.0)),
    )  # fmt: skip


@pytest.mark.thinned
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("method", ["rk4", "rk45"])
def test_args_are_passed_on_and_have_gradients(method, adjoint):
    """Parameters are passed as in SciPy and JAX: f(t, y, *args)."""

    def f(t, y, rate, more):
        return -rate * y + more["shift"]

    def end(rate, shift):
        y, args = sg.constant(np.float64(3.0)), (rate, {"shift": shift})
        if method == "rk4":
            return sg.ode.rk4(f, y, np.linspace(0, 1, 33), args=args, adjoint=adjoint)[-1]
        return sg.ode.rk45(f, y, 0.0, 1.0, args=args, adjoint=adjoint, max_steps=200)

    def exact(rate, shift):
        return (3.0 - shift / rate) * sg.exp(-rate) + shift / rate

    actual = sg.value_and_grad(end, (0, 1))(0.7, 0.2)
    expected = sg.value_and_grad(exact, (0, 1))(0.7, 0.2)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-5)


def test_integers_become_floats_and_derivatives_take_the_shape_of_the_state():
    state = {"n": np.arange(3), "x": np.float32([1.0, 2.0, 3.0])}
    fall = {"n": sg.constant(-0.5, "float64"), "x": sg.constant([1.0], "float32")}
    for y in (
        sg.ode.rk4(lambda t, y: fall, state, [0.0, 1.0, 2.0])["n"][-1],
        sg.ode.rk45(lambda t, y: fall, state, 0.0, 2.0)["n"],
        sg.ode.rk4(lambda t, y: fall["n"], np.arange(3), [0.0, 2.0], adjoint=True)[-1],
    ):
        np.testing.assert_allclose(sg.evaluate(y), np.arange(3) - 1.0, atol=1e-12)

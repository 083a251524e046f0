"""Draws outside of a function, as in JAX: warnings where nothing ever runs them."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.errors import UnrunDrawWarning

X, Y = np.arange(6.0, dtype="float32").reshape(3, 2), np.ones((3, 1), "float32")


def make_update():
    @sg.function
    def update(params, x, y):
        loss, slopes = sg.value_and_grad(
            lambda params: ((x @ params["w"] + params["b"] - y) ** 2).mean()
        )(params)
        return loss, sg.tree.map(lambda param, slope: param - 0.01 * slope, params, slopes)

    return update


def draw_params(rng):
    return {"w": rng.normal(shape=(2, 1)), "b": sg.zeros((1,))}


def step_by_hand(w, b):
    residual = X @ w + b - Y
    slope = 2.0 * residual / residual.size
    return (residual**2).mean(), w - 0.01 * X.T @ slope, b - 0.01 * slope.sum(0)


def step_five_times(update, params):
    for _ in range(5):
        loss, params = update(params, X, Y)
    return loss


def test_steps_of_drawn_values_are_warned_of_and_the_cures_run():
    rng, update = sg.random.Generator(3), make_update()
    with pytest.warns(UnrunDrawWarning, match=r"SG912.*update computes nothing") as caught:
        loss = step_five_times(update, draw_params(rng))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert isinstance(loss, sg.Value)
    for cure in (
        lambda: sg.function(lambda: draw_params(sg.random.Generator(3)))(),
        lambda: sg.tree.map(sg.evaluate, draw_params(sg.random.Generator(3))),
    ):
        params = cure()
        w, b = params["w"].astype("float64"), params["b"].astype("float64")
        assert w.std() > 0
        for _ in range(3):
            loss, params = update(params, X, Y)
            expected, w, b = step_by_hand(w, b)
            np.testing.assert_allclose(loss, expected, rtol=1e-5)
        np.testing.assert_allclose(params["w"], w, rtol=1e-5)


def test_many_steps_without_data_are_warned_of():
    rng = sg.random.Generator(0)

    @sg.function
    def walk(state):
        return state + 0.1 * rng.normal(shape=(2,))

    def walk_far(state, steps):
        for _ in range(steps):
            state = walk(state)
        return state

    with pytest.warns(UnrunDrawWarning, match="walk computes nothing here"):
        walk_far(rng.normal(shape=(2,)), 20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        end = walk_far(sg.evaluate(sg.random.Generator(1).normal(shape=(2,))), 20)
    assert caught == []
    assert isinstance(end, np.ndarray)


def call_with_inputs(update, rng):
    params = {"w": rng.normal(shape=(2, 1)) * sg.input("scale", (), "float32"), "b": sg.zeros((1,))}
    for _ in range(3):
        _, params = update(params, X, Y)


def call_with_draws_of_a_graph(update, rng):
    params = draw_params(rng)
    sg.compile(params["w"])
    for _ in range(3):
        _, params = update(params, X, Y)


def call_without_data(update, rng):
    cell = sg.function(lambda state: sg.tanh(state * 2.0))
    state = rng.normal(shape=(3,))
    for _ in range(3):
        state = cell(state)


def call_once(update, rng):
    update(draw_params(rng), X, Y)


@pytest.mark.parametrize(
    "call", [call_with_inputs, call_with_draws_of_a_graph, call_without_data, call_once]
)
def test_parts_of_programs_are_not_warned_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(make_update(), sg.random.Generator(0))
    assert caught == []


PROGRAM = """
import numpy as np
import staticgrad as sg
rng = sg.random.Generator(0)
noise = rng.normal(shape=(3,))
for _ in range(3):
    noise = noise - 0.1 * sg.grad(lambda x: (x * x).sum())(noise)
{end}
"""


@pytest.mark.parametrize(
    ("end", "warned"),
    [("print(noise)", True), ("print(sg.evaluate(noise))", False),
     ("print(sg.Graph({'y': noise}))", False), ("sg.function(lambda: noise * 2.0)()", False)],
)  # fmt: skip
def test_draws_that_nothing_ran_are_named_at_the_end(tmp_path, end, warned):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(end=end))
    run = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, check=True, timeout=120
    )
    expected = f"{program}:5: UnrunDrawWarning: [SG912] nothing has run what was drawn here"
    assert (expected in run.stderr) is warned, run.stderr

"""Modules and functions as they are: what is run, what is compared, what is said of mistakes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison.acts import _error_text
from staticgrad.comparison.loading import subject
from staticgrad.comparison.page import _lines_of
from staticgrad.comparison.programs import ComparedProgram, program
from staticgrad.comparison.ways import DefineByRun, DefineThenRun, agreement
from staticgrad.errors import ArgumentError, ProgramError, StaticgradError

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(8, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


def agree(compared: ComparedProgram) -> None:
    steps_compared = agreement(compared, DefineThenRun(compared))
    assert not steps_compared.problem
    compared.restore()


def test_a_module_with_everything_trains_alike() -> None:
    """Running statistics, dropout's generator and Adam's state, all as the module has them."""
    net = sg.nn.Sequential(
        sg.nn.Linear(4, 6), sg.nn.BatchNorm1d(6), sg.nn.gelu, sg.nn.Dropout(0.3), sg.nn.Linear(6, 1)
    )
    state_before = net.state_dict()
    compared = program(net, (X, Y), optimizer=sg.optim.Adam(1e-2))
    agree(compared)
    assert compared.rule == "Adam"
    assert "batch" in compared.graph.sizes
    state_after = net.state_dict()
    assert all(np.array_equal(state_before[name], state_after[name]) for name in state_before)
    scopes = {node.origin.resolve().scope for node in compared.graph.nodes}
    assert {"layers.0 Linear", "layers.1 BatchNorm1d", "layers.3 Dropout"} <= scopes


def test_parameters_are_counted_without_state_statistics_and_generators() -> None:
    """By hand: 4 * 6 + 6 of the first layer, 2 * 6 of the normalization, 6 + 1 of the last."""
    net = sg.nn.Sequential(
        sg.nn.Linear(4, 6), sg.nn.BatchNorm1d(6), sg.nn.gelu, sg.nn.Dropout(0.3), sg.nn.Linear(6, 1)
    )
    adam = sg.optim.Adam(1e-2)

    def step(x, y):
        loss_value = ((net(x) - y) ** 2).mean()
        adam.minimize(loss_value)
        return loss_value

    for compared in (program(net, (X, Y), optimizer=sg.optim.Adam(1e-2)), program(step, (X, Y))):
        assert compared.size == 30 + 12 + 7
        assert sum(array.size for array in compared.parameters.values()) > 3 * compared.size


def test_state_that_a_second_update_reads_is_not_counted() -> None:
    """The last loss depends on the averages of Adam's first step."""
    w, adam = sg.parameter("w_of_two_steps", np.zeros((4, 1), "float32")), sg.optim.Adam(0.1)

    def step(x, y):
        for _ in range(2):
            loss_value = ((x @ w - y) ** 2).mean()
            adam.minimize(loss_value)
        return loss_value

    assert program(step, (X, Y)).size == 4


def test_lines_of_the_training_step_are_not_shown_as_the_users() -> None:
    """A Sequential has no line of its own in a step."""
    compared = program(sg.nn.Sequential(sg.nn.Linear(4, 1)), (X, Y))
    assert [*_lines_of(compared.graph)] == []
    wide = np.ones((8, 5), "float32")
    function = compared.new_function()
    for run in (function.graph, function.eagerly):
        message = _error_text(partial(run, wide, Y))
        assert message
        assert "training.py" not in message


W = sg.parameter("w", np.zeros((4, 1), "float32"))
OPTIMIZER = sg.optim.SGD(0.1, momentum=0.9)


def loss(x, y):
    return ((x @ W - y) ** 2).mean()


def step(x, y):
    value = loss(x, y)
    OPTIMIZER.minimize(value)
    return {"loss": value, "size": value * 2}


@pytest.mark.parametrize(
    ("function", "arrays", "rule", "orders"),
    [
        (loss, (X, Y), "plain gradient descent, learning rate 0.05", True),
        (sg.function(loss), (X, Y), "plain gradient descent, learning rate 0.05", True),
        (step, (X, Y), "as the function does it", True),
        (sg.function(step), (X, Y), "as the function does it", True),
        (lambda x: (100 * (x[1:] - x[:-1] ** 2) ** 2).sum(), (np.linspace(-1, 1, 9),),
         "nothing: the value and its gradient are compared", True),
        (lambda x, y: (sg.tanh(x), x * y), (X, Y), "nothing: results alone are compared", False),
        (lambda batch: loss(batch["x"], batch["y"]), ({"x": X, "y": Y},),
         "plain gradient descent, learning rate 0.05", True),
        (lambda pair, batch, scale: (pair[0] * batch["a"]["b"] * pair[1] * scale).sum(),
         ([X, Y], {"a": {"b": X}}, [1.0, 2.0, 3.0, 4.0]),
         "nothing: the value and its gradient are compared", True),
    ],
)  # fmt: skip
def test_functions(function, arrays, rule: str, orders: bool) -> None:
    compared = program(function, arrays)
    assert compared.rule == rule
    assert any(node.order for node in compared.graph.nodes) == orders
    agree(compared)
    batch = compared.draw(5, np.random.default_rng(1))
    ways = DefineByRun(compared), DefineThenRun(compared)
    by_run, then_run = (way.step(batch) for way in ways)
    compared.restore()
    assert by_run == pytest.approx(then_run, rel=1e-5)


def test_a_frozen_number_is_a_problem() -> None:
    compared = program(lambda x: (x * np.random.rand()).sum(), (X,))
    steps_compared = agreement(compared, DefineThenRun(compared))
    assert "differs from time to time" in steps_compared.problem


FILE = """
import numpy as np
import staticgrad as sg

x = np.ones((4, 3), "float32")
y = np.array([0, 1, 0, 1])
net = sg.nn.Linear(3, 2)

def pair():
    return net, x, y
"""


def test_a_file_with_a_module_and_arrays(tmp_path: Path) -> None:
    """A file as people write it: no tuple, no function."""
    path = tmp_path / "bare_module.py"
    text = FILE.partition("def pair")[0]
    try:
        for spec in (str(path), f"{path}:net"):
            path.write_text(text)
            actual = subject(spec)
            assert actual.name == "Linear"
            assert actual.batch_size == 4
            path.write_text(text + "x_test = x[:2]\n")
            with pytest.raises(ArgumentError, match="the module 'net' and x") as caught:
                subject(spec)
            assert "example = net, x, y" in str(caught.value)
            assert "x_test [2, 3]" in str(caught.value)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("bare_module", None)


MISTAKES: list = [
    (lambda: subject(sg.nn.Linear(4, 1)), ArgumentError, "needs arrays"),
    (lambda: subject(sg.function(loss)), ArgumentError, "needs arrays"),
    (lambda: subject(loss), ArgumentError, "needs some"),
    (lambda: subject(sg.nn.Linear, (X, Y)), ArgumentError, "an object of a class"),
    (lambda: subject(3, (X,)), ArgumentError, "compare takes"),
    (lambda: subject(sg.nn.Linear(4, 1), (X,)), ArgumentError, "0 are left for the loss"),
    (lambda: subject(sg.nn.Linear(4, 1), (X, Y, Y)), ArgumentError, "2 are left"),
    (lambda: subject(sg.nn.Linear(3, 1), (X, Y)), StaticgradError, "inner sizes differ"),
    (lambda: subject(sg.nn.Linear(4, 1), (X, Y[:3])), StaticgradError, "mse"),
    (lambda: subject(sg.nn.Linear(4, 1), (X, Y), lambda _, y: y), StaticgradError, "no parameter"),
    (lambda: subject(sg.nn.Linear(4, 1), (X, Y), lambda out, _: out), StaticgradError, "seed"),
    (lambda: subject(sg.nn.Linear(4, 1), (X, Y), lambda *_: 3.0), StaticgradError, "not 3.0"),
    (lambda: subject(loss, (X,)), ArgumentError, "given 1 arrays"),
    (lambda: subject(loss, (X, Y), lambda out: out), ArgumentError, "loss= is for modules"),
    (lambda: subject(loss, (X, Y), optimizer="adam"), ArgumentError, "not one of sg.optim"),
    (lambda: subject("mlp", optimizer=sg.optim.SGD(0.1)), ArgumentError, "optimizer= are of"),
    (lambda: subject(lambda x: 1 / 0, (X,)), ProgramError, "ZeroDivisionError"),
    (lambda: subject(lambda x: 3.0, (X,)), StaticgradError, "nothing to compute"),
]


@pytest.mark.parametrize(("attempt", "error", "says"), MISTAKES)
def test_mistakes_are_one_clear_error(attempt, error: type, says: str) -> None:
    with pytest.raises(error) as caught:
        attempt()
    assert says in str(caught.value)
    assert "staticgrad/" not in str(caught.value).partition("\n  hint")[0]  # a line of the user's


def test_a_loss_with_a_branch_of_python_is_trained():
    """There is no graph of it, but its parameters are counted, and stepped at each call."""
    w = sg.parameter("w", np.zeros(3))
    x = np.random.default_rng(0).normal(size=(8, 3))

    def loss(x, y):
        error = x @ w - y
        if abs(error).max() > 3.0:
            return abs(error).mean()
        return (error * error).mean()

    compared = program(loss, (x, x @ np.array([1.0, 2.0, 3.0])), optimizer=sg.optim.Adam(0.1))
    assert (compared.graph, compared.size, compared.rule) == (None, 3, "Adam")
    assert "if abs(error).max() > 3.0:" in compared.refusal.text
    batch = compared.draw(8, np.random.default_rng(0))
    first, later = (float(compared.at_once(batch)) for _ in range(2))
    assert later < first
    compared.restore()
    np.testing.assert_array_equal(w.value, np.zeros(3))


def test_a_loop_until_a_loss_is_measured_on_the_tape_and_refused_at_the_loop():
    w, opt = sg.parameter("w", np.zeros(3)), sg.optim.Adam(0.1)
    x = np.random.default_rng(0).normal(size=(8, 3))

    def step(x, y):
        loss = ((x @ w - y) ** 2).mean()
        while loss > 0.5:
            opt.minimize(loss)
            loss = ((x @ w - y) ** 2).mean()
        return loss

    compared = program(step, (x, x @ np.array([1.0, 2.0, 3.0])))
    assert (compared.graph, compared.size, compared.rule) == (None, 3, "as the function does it")
    assert compared.refusal.text == "while loss > 0.5:"
    np.testing.assert_array_equal(w.value, np.zeros(3))  # looking at it has changed nothing
    assert not any(np.any(array) for array in opt.state_dict().values())
    assert float(compared.at_once(compared.draw(8, np.random.default_rng(0)))) <= 0.5
    assert np.any(w.value)

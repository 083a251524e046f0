"""Mistakes that are planted in a program, and found each way; the places are known by hand."""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.comparison import find_mistakes
from staticgrad.comparison.mistakes import Debugging, Hunt
from staticgrad.eager import Tensor
from staticgrad.errors import ArgumentError
from staticgrad.language.ir.nodes import Symbolic
from staticgrad.tools.commands.cli import main

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(8, 3)), DRAW.normal(size=(8, 2))
W = [sg.parameter(f"w{k}", DRAW.normal(size=s) / 2) for k, s in enumerate([(3, 4), (4, 4), (4, 2)])]


def loss(x: Any, y: Any) -> Any:
    h = sg.tanh(x @ W[0])
    h = sg.tanh(h @ W[1])  # the middle
    e = h @ W[2] - y  # it fails here
    return (e * e).mean()


def line_of(words: str, function: Any = loss) -> str:
    lines, start = inspect.getsourcelines(function)
    return f"{Path(__file__).name}:{start + next(k for k, t in enumerate(lines) if words in t)}"


@pytest.fixture(scope="module")
def debugging() -> Debugging:
    return find_mistakes(loss, X, Y)


def hunt(debugging: Debugging, what: str) -> Hunt:
    return next(candidate for candidate in debugging.hunts if candidate.what == what)


def test_all_is_planted_in_the_middle_and_found(debugging: Debugging) -> None:
    assert [hunt.what for hunt in debugging.hunts] == [
        "a NaN", "a wrong shape", "a dead gradient", "the value and the gradient",
    ]  # fmt: skip
    middle = line_of("# the middle")
    assert {hunt.line.split()[0] for hunt in debugging.hunts} == {middle}
    assert debugging.holds


def test_a_nan_is_named_at_its_line(debugging: Debugging) -> None:
    nan_hunt = hunt(debugging, "a NaN")
    for search in (nan_hunt.by_run, nan_hunt.then_run):
        first, last = search.actions
        assert first.shown == "loss nan"
        assert "log makes NaN out of finite numbers" in last.shown
        assert line_of("# the middle") in last.shown
        assert search.seconds == first.seconds + last.seconds > 0


def test_a_wrong_shape_is_named_where_it_fails_and_by_a_graph_where_it_was_made(
    debugging: Debugging,
) -> None:
    shape_hunt = hunt(debugging, "a wrong shape")
    (error, shapes), (built,) = shape_hunt.by_run.actions, shape_hunt.then_run.actions
    for shown in (error.shown, built.shown):
        assert "matmul: inner sizes differ, 5 != 4" in shown
        assert line_of("# it fails here") in shown
    middle = line_of("# the middle")
    assert middle not in error.shown
    assert middle in built.shown
    assert shapes.shown.splitlines()[-1].startswith(f"{middle} ")
    assert "f64[8, 5]" in shapes.shown


def test_the_parameters_ahead_of_a_dead_gradient_are_named(debugging: Debugging) -> None:
    """w0 lies ahead of the planted place, w1 too if the place is behind the product."""
    gradient_hunt = hunt(debugging, "a dead gradient")
    dead = "w0, w1" if gradient_hunt.line.endswith(("tanh", "matmul")) else "w0"
    assert (
        gradient_hunt.by_run.actions[0].shown.startswith("loss 0.")
        or "loss" in gradient_hunt.by_run.actions[0].shown
    )
    assert (
        gradient_hunt.by_run.actions[-1].shown == gradient_hunt.then_run.actions[-1].shown == dead
    )


def test_the_value_and_the_gradient_are_those_by_hand(debugging: Debugging) -> None:
    value_hunt = hunt(debugging, "the value and the gradient")
    assert value_hunt.line.endswith("tanh")
    w0, w1, w2 = (p.value for p in W)
    value = np.tanh(np.tanh(X @ w0) @ w1)
    gradient = 2 * (value @ w2 - Y) @ w2.T / Y.size
    value_norm, gradient_norm = np.linalg.norm(value), np.linalg.norm(gradient)
    expected = f"norm of the value {value_norm:.3g}, of the gradient {gradient_norm:.3g}"
    assert value_hunt.by_run.actions[0].shown == value_hunt.then_run.actions[0].shown == expected


def test_nothing_stays_planted(debugging: Debugging) -> None:
    for kind in (Tensor, Symbolic):
        assert kind.bind.__func__.__qualname__ == f"{kind.__name__}.bind"
    values_before = [p.value.copy() for p in W]
    with pytest.raises(ArgumentError, match="one way only"):
        find_mistakes(while_large, X, Y)
    for p, value in zip(W, values_before, strict=True):
        np.testing.assert_array_equal(p.value, value)


def while_large(x: Any, y: Any) -> Any:
    error = loss(x, y)
    while error > 0.01:
        error = error * 0.5
    return error


def test_a_gradient_that_has_another_way_is_not_dead() -> None:
    """Both parameters are read behind every place, so no place stops all of a gradient."""
    a = sg.parameter("a", np.full(3, 0.5))

    def sums(x: Any) -> Any:
        return (x * a).sum() + (a * a).sum()

    assert "a dead gradient" not in [entry.what for entry in find_mistakes(sums, X).hunts]


RANDOM = np.random.default_rng(1)
READ = sg.parameter("read", RANDOM.normal(size=(3, 4)) / 2)
CARRIED = sg.parameter("carried", RANDOM.normal(size=(4, 4)) / 2)
SEQUENCE = RANDOM.normal(size=(5, 8, 3))
KINDS = ["a NaN", "a wrong shape", "a dead gradient", "the value and the gradient"]


def unroll(x: Any) -> Any:
    h = x[0] @ READ
    for t in range(1, 5):
        h = sg.tanh(x[t] @ READ + h @ CARRIED)  # each time
    return (h * h).mean()


def scan_rows(x: Any) -> Any:
    def cell(h: Any, row: Any) -> Any:
        h = sg.tanh(row + h @ CARRIED)  # in the body
        return h, h

    _, hs = sg.scan(cell, np.zeros((8, 4)), x @ READ)
    return (hs * hs).mean()  # behind the loop


def halves(x: Any, y: Any) -> Any:
    h = sg.tanh(x.astype("float16") @ W[0].astype("float16"))
    return (((h @ W[2].astype("float16")).astype("float64") - y) ** 2).mean()


@cache
def searched_in(program: Any) -> Debugging:
    return find_mistakes(program, *((X, Y) if program is halves else (SEQUENCE,)))


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(unroll, id="unrolled"),
        pytest.param(scan_rows, id="scanned"),
        halves,
    ],
)
def test_each_kind_is_found_in_loops_and_in_half_precision(program: Any) -> None:
    searched = searched_in(program)
    assert [entry.what for entry in searched.hunts] == KINDS
    assert searched.holds, str(searched)


def test_a_product_of_a_loop_is_stopped_each_time_it_runs() -> None:
    """Each step reads both parameters: only all products with one of them leave it dead."""
    dead = hunt(searched_in(unroll), "a dead gradient")
    assert dead.line == f"{line_of('# each time', unroll)} matmul"
    assert dead.by_run.actions[-1].shown in ("read", "carried")


def test_a_value_behind_a_loop_is_the_same_one_both_ways() -> None:
    """The tape runs the body five times, the graph has it once: numbers differ ahead of it."""
    looked = hunt(searched_in(scan_rows), "the value and the gradient")
    h, hs = np.zeros((8, 4)), []
    for row in SEQUENCE @ READ.value:
        h = np.tanh(row + h @ CARRIED.value)
        hs.append(h)
    values = (SEQUENCE, SEQUENCE @ READ.value, hs, np.square(hs))  # reshaped or not
    shown = [f"norm of the value {np.linalg.norm(value):.3g}, of the" for value in values]
    assert looked.then_run.actions[0].shown.startswith(tuple(shown))


def test_a_nan_is_planted_where_the_loss_needs_the_number() -> None:
    """Behind a comparison a NaN is no NaN of the loss: such a place has nothing to find."""
    compared = lambda x: sg.where(x @ W[0] > 0.0, 1.0, 0.0).sum() + (x @ W[0]).sum()  # noqa: E731
    nan_hunt = hunt(find_mistakes(compared, X), "a NaN")
    for search in (nan_hunt.by_run, nan_hunt.then_run):
        assert search.actions[0].shown == "loss nan"
        assert search.found


def test_gradients_that_are_accumulated_are_compared_after_an_update() -> None:
    net = sg.nn.Sequential(sg.nn.Linear(3, 4, seed=0), sg.nn.Tanh(), sg.nn.Linear(4, 2, seed=1))
    rule = sg.optim.SGD(0.1, accumulate=2)

    def step(x: Any, y: Any) -> Any:
        error = ((net(x) - y) ** 2).mean()
        rule.minimize(error)
        return error

    dead = hunt(find_mistakes(step, X, Y), "a dead gradient")
    assert "2 steps, which are one update" in dead.by_run.actions[-1].what
    assert dead.by_run.found
    assert dead.then_run.found


def test_without_a_gradient_the_value_is_looked_at() -> None:
    """Centres that are updated without a derivative: nothing is minimized."""
    centres = sg.parameter("centres", X[:2].copy())

    def step(x: Any) -> Any:
        distances = ((x[:, None] - centres) ** 2).sum(2)
        near = (distances <= distances.min(1, keepdims=True)).astype("float64")
        centres.update((near.T @ x) / near.sum(0)[:, None])
        return distances.min(1).mean()

    searched = find_mistakes(step, X)
    assert [entry.what for entry in searched.hunts] == ["a NaN", "a wrong shape", "the value"]
    assert searched.holds


def test_a_program_of_one_parameter_says_that_nothing_is_trained() -> None:
    a = sg.parameter("a", np.full(3, 0.5))
    dead = hunt(find_mistakes(lambda x: (sg.tanh(x * a) ** 2).mean(), X), "a dead gradient")
    for search in (dead.by_run, dead.then_run):
        assert "the loss depends on no parameter" in search.actions[0].shown
        assert search.found


def test_a_program_of_numbers_alone_has_no_place() -> None:
    with pytest.raises(ArgumentError, match="no line"):
        find_mistakes(lambda x: x, np.float64(2.0))


def test_a_report_prints_and_is_data_and_a_page(debugging: Debugging) -> None:
    lines = str(debugging).splitlines()
    assert len(lines) == 2 + 2 * len(debugging.hunts)
    assert lines[2].split()[-1]
    html = debugging._repr_html_()
    assert html.count("<details") == 2 * len(debugging.hunts)
    assert "inner sizes differ, 5 != 4" in html
    read = json.loads(json.dumps(debugging.as_json()))
    assert read["hunts"][0]["by_run"]["actions"][0]["shown"] == "loss nan"


@pytest.mark.slow
def test_the_command_searches_a_model_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = CliRunner().invoke(
        main, ["compare", "--model", "mlp", "--mistakes", "--html", str(page)]
    )
    assert result.exit_code == 0, result.output
    assert "a wrong shape" in result.stdout
    assert "define then run" in page.read_text("utf-8")


def test_a_line_in_a_loop_that_computes_numbers_too_is_found():
    """The steps of a differential equation are one line, of numbers (times) and of arrays."""
    rate = sg.parameter("rate", np.array(0.5))

    def solve(first: Any) -> Any:
        states = sg.ode.rk4(lambda t, y: -rate * y, first, np.linspace(0.0, 1.0, 5))
        return (states**2).mean()

    actual = find_mistakes(solve, np.ones(3))
    assert actual.holds
    assert "a NaN" in [hunt.what for hunt in actual.hunts]

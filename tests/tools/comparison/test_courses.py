"""Consecutive steps: sizes that change, sums of seconds by hand, loops that do not end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.comparison import compare, courses, limits, table
from staticgrad.comparison.page import page
from staticgrad.comparison.programs import program
from staticgrad.comparison.report import (
    EMPTY,
    TAPE,
    Changes,
    Comparison,
    Course,
    Interval,
    Pair,
    TapeAlone,
    Timing,
)
from staticgrad.errors import ProgramError

W = sg.parameter("w", np.full(3, 0.3, "float32"))
SGD = sg.optim.SGD(0.05)


def recurrent(x: Any) -> Any:
    """A loop of Python over the first axis."""
    h = x[0]
    for t in range(1, x.shape[0]):
        h = sg.tanh(h * W + x[t])
    loss = (h * h).mean()
    SGD.minimize(loss)
    return loss


def sequences(random: Any) -> Any:
    return random.normal(size=(int(random.integers(2, 5)), 100, 3)).astype("float32")


def course(build: float, steps: list[float], cpu: float = 1.0) -> Course:
    return Course(0.5, build, 0.0, steps[0], cpu, tuple(steps))


def make_comparison(
    tape: list[Course], compiled: list[Course], ratios: tuple[float, float], *, changing: bool
) -> Comparison:
    comparison = object.__new__(Comparison)
    changes = Changes({"x.shape[0]": (2, 4)}, 3, 2, 2, 2, 1.0, 2.0, None, {})
    pair = Pair(8, Timing(3.0, 1.0), Timing(1.0, 1.0), ratios)
    vars(comparison).update(
        courses={TAPE: tuple(tape), EMPTY: tuple(compiled)}, batches=(pair,), batch_size=8,
        changes=changes if changing else None, peers=(),
    )  # fmt: skip
    return comparison


def test_sums_of_a_course_by_hand() -> None:
    """By hand: 3 steps take 3 s on the tape; compiled 1.5 + 2 + 0.5 = 4 s."""
    tape, compiled = course(0.0, [1.0, 1.0, 1.0, 9.0]), course(1.0, [0.5, 2.0, 0.5])
    assert compiled.ends() == (2.0, 4.0, 4.5)
    actual = make_comparison([tape], [compiled], (3.0, 3.0), changing=True)
    assert actual.course_steps == 3
    assert (actual.spent(TAPE), actual.spent(EMPTY)) == (3.0, 4.0)
    time, what = table.headline(actual)
    assert time == "0.75x"
    assert "3.00 s and 4.00 s" in what
    assert table.paid(actual, EMPTY) == "not in 3 steps"
    assert "3 steps with 2 different shapes take 4.00 s compiled" in " ".join(actual._of_sizes)


def test_the_compiled_way_is_ahead_from_a_step_on() -> None:
    tape = course(0.0, [1.0] * 6)
    actual = make_comparison([tape], [course(1.5, [0.5] * 6)], (3.0, 3.0), changing=True)
    assert actual.break_even[EMPTY] == Interval(3.0, 3.0)  # 1.5 + 3 * 0.5 = 3 * 1
    late = course(1.5, [0.5] * 3 + [9.0] * 3)
    actual = make_comparison([tape], [course(1.5, [0.5] * 6), late], (3.0, 3.0), changing=True)
    assert actual.break_even[EMPTY] == Interval(3.0, None)
    assert table.paid(actual, EMPTY) == "3 or later"


def test_break_even_is_an_interval() -> None:
    """By hand: 8.5 or 18.5 s later after two steps, and 1 to 4 s gained by each further one."""
    tape = [course(0.0, [1.0, 1.0])]
    compiled = [course(9.0, [1.0, 0.5]), course(19.0, [1.0, 0.5])]
    actual = make_comparison(tape, compiled, (2.0, 5.0), changing=False)
    assert actual.break_even[EMPTY] == Interval(2 + 3, 2 + 19)
    assert table.paid(actual, EMPTY) == "5 to 21"
    actual = make_comparison(tape, compiled, (0.9, 5.0), changing=False)
    assert actual.break_even[EMPTY] == Interval(5.0, None)
    never = make_comparison(tape, compiled, (0.8, 0.9), changing=False)
    assert never.break_even[EMPTY] == Interval(None, None)
    assert table.paid(never, EMPTY) == "never"
    at_once = make_comparison(tape, [course(0.0, [0.5, 0.5])], (2.0, 2.0), changing=False)
    assert table.paid(at_once, EMPTY) == "at once"


def test_break_even_is_where_the_lines_of_the_clock_cross() -> None:
    """Seconds are added up step by step: imports, the steps that were run, then later ones."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        count, waiting = int(draw.integers(2, 9)), float(draw.uniform(1, 3))
        imports, builds = draw.uniform(0, 4, 2), draw.uniform(0, 9, 2)
        steps = [draw.uniform(0, 2, count) * slow for slow in (1.0, 0.7)]
        ways = [
            Course(imports[k], builds[k] * k, 0.0, steps[k][0], 1.0, tuple(steps[k].tolist()))
            for k in (0, 1)
        ]
        actual = make_comparison(*[[way] for way in ways], (3.0, 3.0), changing=False)
        usual = Pair(8, Timing(3.0, waiting), Timing(1.0, waiting), (3.0, 3.0))
        vars(actual).update(batches=(usual,))
        later = [3.0 * waiting, 1.0 * waiting]
        spent, ahead = [imports[k] + builds[k] * k for k in (0, 1)], []
        for n in range(100):
            spent = [t + (steps[k][n] if n < count else later[k]) for k, t in enumerate(spent)]
            ahead.append(spent[1] <= spent[0])
        crossing = max([n for n, is_ahead in enumerate(ahead, 1) if not is_ahead], default=0) + 1
        assert actual.break_even[EMPTY] == Interval(crossing, crossing)


def test_steps_of_a_course_draw_new_batches_and_one_of_another_size() -> None:
    x = np.arange(24.0).reshape(8, 3).astype("float32")
    chosen = program(lambda x: (x @ W).mean(), (x,))
    plan = courses.CoursePlan(8, 16)
    steps = [*courses.steps(chosen, plan)]
    assert [len(step.batch["x"]) for step in steps[:6]] == [8, 8, 8, 8, 16, 8]
    assert [step.event for step in steps if step.event] == ["16 examples", "an edit"]
    assert not np.array_equal(steps[0].batch["x"], steps[1].batch["x"])
    again = [*courses.steps(chosen, plan)]
    assert np.array_equal(steps[4].batch["x"], again[4].batch["x"])
    batches, numbers = courses.distinct(chosen, plan, 6)
    assert (len(batches), numbers) == (2, [0, 0, 0, 0, 1, 0])


#: The comparison counts these programs, and the function warns as it does where it is called.
warns_of_sizes = pytest.mark.filterwarnings("ignore:.SG900. recurrent compiles for each size")


@warns_of_sizes
def test_a_course_goes_on_training() -> None:
    value_before = W.value.copy()
    chosen = program(recurrent, (sequences,))
    with_graph = courses.run(chosen, "compiled", courses.CoursePlan(1, edited=False))
    assert with_graph.graphs == 3  # sequences of 2, 3 and 4
    assert len(with_graph.steps) >= 24
    np.testing.assert_array_equal(W.value, value_before)


def test_the_refusal_of_a_growing_loop_is_at_the_loop() -> None:
    chosen = program(recurrent, (sequences,))
    assert chosen.retraces
    assert chosen.refusal is not None
    assert chosen.refusal.text == "for t in range(1, x.shape[0]):"
    assert "a whole number is needed" in chosen.refusal.message


@warns_of_sizes
@pytest.mark.slow
def test_sequences_that_grow() -> None:
    actual = compare(recurrent, sequences, seconds=0.0)
    assert isinstance(actual, Comparison)
    assert actual.changes is not None
    assert (actual.changes.graphs, actual.changes.shapes) == (3, 3)
    tape, compiled = actual.held[TAPE], actual.held["compiled"]
    assert len({*compiled}) == len({*tape}) == 3
    assert actual.spent("compiled, kernels in memory") > 0
    json.dumps(actual.as_json(), allow_nan=False)
    assert f"the time of {actual.course_steps} steps" in page(actual)


def test_a_loop_that_does_not_end_is_stopped_at_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LIMIT", 0.3)
    value_before = W.value.copy()

    def step(x: Any) -> Any:
        loss = ((x * W) ** 2).mean()
        while loss > -1.0:
            SGD.minimize(loss)
            loss = ((x * W) ** 2).mean()
        return loss

    with pytest.raises(ProgramError, match=r"has not ended in 0\.3 s on the tape") as caught:
        program(step, (np.ones((4, 3), "float32"),))
    assert "while loss > -1.0:" in str(caught.value)
    assert "for _ in range(1000)" in str(caught.value)
    np.testing.assert_array_equal(W.value, value_before)


def test_steps_without_a_graph_go_on_training() -> None:
    """The first step runs its loop more often than later ones: other graphs."""
    w, sgd = sg.parameter("v", np.zeros(3)), sg.optim.SGD(0.1)
    x = np.random.default_rng(0).normal(size=(32, 3))

    def step(x: Any, y: Any) -> Any:
        loss = ((x @ w - y) ** 2).mean()
        while loss > 0.5:
            sgd.minimize(loss)
            loss = ((x @ w - y) ** 2).mean()
        return loss

    actual = compare(step, x, x @ np.array([1.0, 2.0, 3.0]), seconds=0.0)
    assert isinstance(actual, TapeAlone)
    assert actual.operations[0] > 3 * min(actual.operations)
    assert actual.batch_axes.startswith("axis 0 of x, y")  # with other numbers it does not end
    np.testing.assert_array_equal(w.value, np.zeros(3))
    assert str(Path(__file__).name) in actual.refusal.line

"""A step whose lookups cannot but fail has no iterations, and the plan says so."""

from dataclasses import replace

import numpy as np
import pytest

import staticgrad as sg
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import IndexOutOfRange, VerifyError
from staticgrad.ir.schedule_text import parse_plan
from staticgrad.native import ROW_WORDS, Row
from staticgrad.runtime.step import Table
from tests.diagonals import diagonals
from tests.safety.empty_axes import LOOKUPS


@diagonals(2, ("name", LOOKUPS), ("debug", [False, True]))
def test_the_plan_is_what_runs(name, debug):
    table, rows = sg.input("table", ("n", 40)), sg.input("rows", (5,), "int64")
    new = sg.input("new", (5, 40))
    outputs = {"y": LOOKUPS[name](table, rows, new)}
    f = sg.compile(sg.Graph(outputs, inputs=[table, rows, new]), debug=debug)
    for n in (0, 3):
        plan = f.plan(n=n)
        verify_plan(plan)
        failing = [planned for planned in plan.steps if planned.fails]
        assert bool(failing) == (n == 0)
        assert all(planned.total == 0 for planned in failing)
        assert parse_plan(str(plan)) == plan
        assert (" fails " in str(plan)) == (n == 0)
        words = Table(f._executor.program, plan)._words.array
        rows = words[: ROW_WORDS * len(plan.steps)].reshape(-1, ROW_WORDS)
        assert [Row(*row).total for row in rows] == [planned.total for planned in plan.steps]
    feeds = {"table": np.ones((0, 40), "f4"), "rows": np.zeros(5, "i8")}
    with pytest.raises(IndexOutOfRange, match="axis"):
        f.run({**feeds, "new": np.ones((5, 40), "f4")})


def test_a_plan_that_runs_such_a_step_is_refused():
    table, rows = sg.input("table", ("n", 40)), sg.input("rows", (5,), "int64")
    plan = sg.compile(sg.take(table, rows, 0)).plan(n=0)
    (step,) = plan.steps
    assert step.fails
    for wrong in (
        replace(step, fails=()),
        replace(step, total=200),
        replace(step, total=200, fails=()),
        replace(step, grain=step.grain + 1),
    ):
        with pytest.raises(VerifyError, match="the numbers of step 0"):
            verify_plan(replace(plan, steps=(wrong,)))


def test_a_lookup_outside_of_an_empty_loop_fails_too():
    """As NumPy's: rows of no columns are not in a table without rows."""
    table, rows = sg.input("table", ("n", "m")), sg.input("rows", (5,), "int64")
    f = sg.compile(sg.take(table, rows, 0))
    for columns in (0, 3):
        assert [step.fails != () for step in f.plan(n=0, m=columns).steps] == [True]
        with pytest.raises(IndexOutOfRange, match="axis"):
            f.run({"table": np.ones((0, columns), "f4"), "rows": np.zeros(5, "i8")})

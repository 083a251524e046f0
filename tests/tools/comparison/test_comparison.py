"""One model both ways: what is measured, what the page shows, and a user's own model."""

from __future__ import annotations

import json
from itertools import pairwise
from time import process_time

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.comparison import Comparison, compare
from staticgrad.comparison.loading import subject
from staticgrad.comparison.measure import work
from staticgrad.comparison.memory import budgets
from staticgrad.comparison.models import MODELS
from staticgrad.comparison.report import EMPTY, TAPE, WARM, Bytes, Course, Pair, Timing
from staticgrad.comparison.timing import Race
from staticgrad.comparison.ways import DefineThenRun, agreement
from staticgrad.errors import ArgumentError, BudgetInfeasible, UnknownNameError
from staticgrad.tools.commands.cli import main

OWN = """
import numpy as np
import staticgrad as sg

def cubic():
    a, c = (sg.parameter(name, np.zeros((), "float32")) for name in "ac")
    x = np.random.default_rng(0).normal(size=8).astype("float32")
    return lambda x, y: ((a * x ** 3 + c - y) ** 2).mean(), x, 2.0 * x**3 + 1.0

def number():
    return 3
"""


@pytest.fixture(scope="module")
def own_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own_model.py"
    path.write_text(OWN)
    return f"{path}:cubic"


@pytest.fixture(scope="module")
def actual(own_model):
    return compare(own_model, batches=[2], seconds=0.0)


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", MODELS)
def test_both_ways_train_alike(name):
    """Relative difference of the losses of 20 steps."""
    chosen = subject(name)
    steps_compared = agreement(chosen, DefineThenRun(chosen))
    chosen.restore()
    assert not steps_compared.problem
    assert steps_compared.losses < 1e-5
    assert steps_compared.by_run[-1] < steps_compared.by_run[0]


@pytest.mark.slow
def test_every_figure_is_there(actual):
    assert [pair.at for pair in actual.batches] == [2, 8]
    assert set(actual.first) == {TAPE, EMPTY, WARM}
    for pair in (*actual.batches, actual.forward):
        for timing in (pair.by_run, pair.then_run):
            assert timing.cpu > 0
            assert timing.waiting > 0.5
        low, high = pair.ratios
        assert 0 < low <= high
    assert actual.threads == 1
    assert actual.first[TAPE].compile == 0
    assert actual.first[EMPTY].compile > 0
    assert [memory.at for memory in actual.memories] == [2, 8]
    assert all(memory.tape > 0 for memory in actual.memories)
    assert actual.holds
    assert max(actual.agreement.losses, actual.agreement.parameters) < 1e-5
    counts = [work.operations for work in actual.work]
    assert counts[0] > counts[-1]
    data = json.loads(json.dumps(actual.as_json(), allow_nan=False))
    assert (data["schema"], data["holds"], data["threads"]) == (9, True, 1)
    assert data["program"].startswith("staticgrad-ir")


def test_what_comes_before_does_not_count():
    """Restoring takes 20 ms of processor time, the run nothing; each run is restored."""
    done: list[str] = []

    def restore():
        end = process_time() + 0.02
        while process_time() < end:
            pass
        done.append("restored")

    race = Race(1, lambda: done.append("ran"), reset=restore)
    race.run(0.0)
    assert race.timings()[0].cpu < 0.01
    assert done == ["restored", "ran"] * (len(done) // 2)


def test_a_first_result_that_comes_earlier_is_no_disadvantage():
    pair = Pair(8, Timing(2.0, 1.0), Timing(1.0, 1.0), (2.0, 2.0))
    arena_bytes = Bytes(8, 100, {"store_all": 50}, {"store_all": 1.0})
    comparison = object.__new__(Comparison)
    vars(comparison).update(
        batch_size=8, batches=(pair,), memories=(arena_bytes,), peers=(), changes=None
    )
    seconds = {TAPE: 1.0, EMPTY: 1.5, WARM: 0.86}
    courses = {state: (Course(0.5, 0.2, 0.0, t - 0.7, 0.0),) for state, t in seconds.items()}
    vars(comparison)["courses"] = courses
    assert comparison.against == (
        "The first result, compiled, empty cache, comes 0.50 s later than on the tape.",
    )
    vars(comparison)["courses"] = {**courses, EMPTY: courses[WARM]}
    assert comparison.against == ()


def test_a_plan_of_a_tradeoff_runs_without_another_search():
    """The results and new values are bitwise those of the plan that keeps all."""
    chosen = subject("deep")
    ways = DefineThenRun(chosen), DefineThenRun(chosen)
    plan = sg.tradeoff(ways[0].compiled, {"batch": 8}).smallest.plan
    assert plan.peak_bytes < ways[0].plan(8).peak_bytes
    batch = chosen.draw(8, np.random.default_rng(0))
    executor = ways[0].compiled._executor.with_plan(plan)
    for _ in range(2):
        actual, expected = executor.run(batch), ways[1].call(batch)
        np.testing.assert_array_equal(actual["loss"], expected["loss"])
    assert executor.latest is plan
    assert executor.run(chosen.draw(4, np.random.default_rng(0))).keys() == {"loss"}  # its plan
    assert executor.latest is not plan
    assert ways[0].call_with_plan(plan)(batch).keys() == {"loss"}


@pytest.mark.slow
def test_budgets_go_down_to_the_smallest_plan():
    way = DefineThenRun(subject("deep"))
    full_peak = way.plan(64).peak_bytes
    shown = [budgeted for budgeted, _ in budgets(way, 64)]
    assert shown[-1].name == "smallest budget"
    assert len(shown) >= 3
    for larger, smaller in pairwise(shown):
        assert larger.peak > smaller.peak
        assert larger.time <= smaller.time
    for budgeted in shown[:-1]:
        assert budgeted.peak <= full_peak * int(budgeted.name.strip("budget %")) / 100
    assert way.plan(64).peak_bytes == full_peak  # asking has changed nothing
    limited = sg.compile(way.graph, memory_budget=shown[-1].peak)
    assert limited.plan(batch=64).peak_bytes <= shown[-1].peak
    with pytest.raises(BudgetInfeasible):
        sg.compile(way.graph, memory_budget=shown[-1].peak - 1).plan(batch=64)


def test_what_a_matrix_product_costs():
    rows = work(DefineThenRun(subject("linear")), 64)
    first = next(row for row in rows if row.name.startswith("written out"))
    # One product forward, one for the weights: 2 * 64 examples * 64 inputs * 1 output each.
    products = 2 * (2 * 64 * 64)
    assert products < first.flops < products + 64 * 64


def test_a_model_that_is_none(own_model):
    path = own_model.rpartition(":")[0]
    for spec, error in [
        ("resnet", UnknownNameError),
        ("nowhere.py:f", UnknownNameError),
        (f"{path}:missing", UnknownNameError),
        (f"{path}:number", ArgumentError),
    ]:
        with pytest.raises(error):
            subject(spec)


@pytest.mark.slow
def test_the_command(own_model, tmp_path):
    target = tmp_path / "out.html"
    arguments = ["compare", "--model", own_model, "--seconds", "0", "--html", str(target)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, (done.output, done.exc_info)
    assert "memory of a step" in done.output
    assert target.read_text().startswith("<!doctype html>")
    wrong = CliRunner().invoke(main, ["compare", "--model", "resnet"])
    assert wrong.exit_code == 1
    assert "no model is named 'resnet'" in wrong.output

"""Runs in processes of their own: what goes wrong there becomes a row that says so."""

import time

import numpy as np
import pytest

from benchmarks.harness import machine
from benchmarks.harness.certificate import UncertifiedError, certify, truth_of
from benchmarks.harness.gate import judge, judge_second
from benchmarks.harness.measure import SHORTEST, steady
from benchmarks.harness.schema import Limits, dump, load
from benchmarks.harness.truth import Truth
from benchmarks.implementations.with_staticgrad import StaticgradImplementation
from benchmarks.suite import runner
from benchmarks.suite.runner import Run, execute
from benchmarks.suite.worker import Job
from benchmarks.workloads import all_workloads
from tests.benchmarks import made_up

ROSENBROCK = all_workloads()["rosenbrock_200"]


@pytest.fixture(scope="module")
def rows():
    """One run with everything that can happen."""
    implementations = (
        StaticgradImplementation,
        made_up.Wrong,
        made_up.Crashing,
        made_up.Raising,
        made_up.Declining,
    )
    lines = []
    run = Run((ROSENBROCK,), implementations, (1,), 2, 0.01, timeout=120.0, small=True)
    report = execute(run, lines.append)
    assert load(dump(report)) == report
    assert report.limits[0].gemm32 > 0
    assert len(lines) == 1 + 1 + (5 + 1) + 1  # what failed once is not run again
    return {row.implementation: row for row in report.rows}


@pytest.mark.slow
def test_a_row_that_passes_has_every_figure(rows):
    row = rows["staticgrad"]
    assert row.status == "ok", row.detail
    assert len(row.rounds) == 2
    assert row.error is not None
    assert row.error <= ROSENBROCK.tolerance
    assert row.memory is not None
    assert row.memory.planned is not None
    assert row.memory.peak > row.memory.before > 0
    assert row.overhead is not None
    assert all(r.phases.total > r.phases.imports and r.kept.samples >= 3 for r in row.rounds)
    assert row.flops is not None
    assert row.flops > 0


@pytest.mark.slow  # with the processes of the fixture
@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("wrong", "wrong", "gradient:x is off by 1.0e-03, tolerance 1e-05"),
        ("crashing", "crashed", "exit status 3"),
        ("raising", "crashed", "RuntimeError: no such thing"),
        ("declining", "unsupported", "double backward"),
    ],
)
def test_what_goes_wrong_is_said_and_shows_no_time(rows, name, status, detail):
    row = rows[name]
    assert (row.status, row.detail) == (status, detail)
    assert row.rounds == ()


@pytest.mark.slow
def test_a_process_that_hangs_is_ended(tmp_path):
    place = f"{made_up.Hanging.__module__}:{made_up.Hanging.__name__}"
    job = Job(str(tmp_path / "result"), str(tmp_path), 1, ROSENBROCK.name, place)
    start = time.monotonic()
    assert runner.launch(job, {}, 1.0) == (None, "no result within 1 s", "timeout")
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_an_interrupted_run_reports_what_it_measured(monkeypatch):
    class Interrupted(made_up.Raising):
        name = "interrupted"

    real = runner.launch
    limits = Limits(threads=1, gemm32=1e9, gemm64=1e9, copy=1e9)
    monkeypatch.setattr(runner, "_limits", lambda *_: ((limits,), machine.describe()))

    def launch(job, extra, timeout):
        if job.implementation.endswith(":Interrupted"):
            raise KeyboardInterrupt
        return real(job, extra, timeout)

    monkeypatch.setattr(runner, "launch", launch)
    lines = []
    run = Run((ROSENBROCK,), (made_up.Declining, Interrupted), (1,), 3, 0.01, seed=0, small=True)
    report = execute(run, lines.append)
    assert [row.implementation for row in report.rows] == ["declining"]
    assert report.notes[-1] == "The run was stopped before its end."
    assert "stopped: 1 of 2 rows have results" in lines


# -- gate ------------------------------------------------------------------------------------------


WORKLOADS = all_workloads()


def right(name):
    """A workload, its arrays, the truth, and a right answer in its dtype."""
    workload = WORKLOADS[name]
    data, truth = workload.make(small=True), truth_of(workload, small=True)
    training = workload.trains
    results, updated = {}, {}
    for key, value in truth.results.items():
        variable = key.removeprefix("gradient:")
        if training and key != variable:
            stepped = data.variables[variable] - workload.rate * value
            updated[variable] = stepped.astype(workload.dtype)
        else:
            results[key] = np.asarray(value, workload.dtype)
    return workload, data, truth, results, updated


@pytest.mark.parametrize("name", ["mlp", "mlp_f64", "gmm", "logreg", "adam"])
def test_the_truth_rounded_passes(name):
    verdict = judge(*right(name))
    assert verdict.is_correct
    assert verdict.error < 1e-6


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, 1.01])
def test_a_wrong_update_is_refused(factor):
    workload, data, truth, results, updated = right("mlp")
    weight = data.variables["w1"]
    updated["w1"] = (weight + factor * (updated["w1"].astype("float64") - weight)).astype("float32")
    verdict = judge(workload, data, truth, results, updated)
    assert not verdict.is_correct
    assert verdict.worst == "gradient:w1"


@pytest.mark.parametrize("what", ["loss", "gradient:mu", "gradient:l"])
def test_one_wrong_element_is_refused(what):
    workload, data, truth, results, updated = right("gmm")
    array = np.array(results[what])
    array.flat[-1] += 5e-4 * np.max(np.abs(array))
    verdict = judge(workload, data, truth, {**results, what: array}, updated)
    assert verdict.worst == what
    assert "tolerance 1e-04" in verdict.reason


def test_missing_misshapen_and_nan_are_refused():
    workload, data, truth, results, updated = right("gmm")
    without = {name: a for name, a in results.items() if name != "gradient:q"}
    assert "gradient:q is missing" in judge(workload, data, truth, without, updated).reason
    flat = {**results, "gradient:q": results["gradient:q"].ravel()}
    assert "has shape" in judge(workload, data, truth, flat, updated).reason
    bad = {**results, "loss": np.float32("nan")}
    assert "NaN" in judge(workload, data, truth, bad, updated).reason


def test_a_second_step_that_forgot_the_first_is_refused():
    workload, data, truth, results, updated = right("mlp")
    verdict = judge(workload, data, truth, results, updated)
    assert truth.second_loss is not None
    assert judge_second(workload, truth, verdict, truth.second_loss).is_correct
    assert not judge_second(workload, truth, verdict, float(truth.results["loss"])).is_correct


def test_a_truth_reads_back(tmp_path):
    truth = truth_of(WORKLOADS["tiny"], small=True)
    truth.save(tmp_path / "truth.npz")
    actual = Truth.load(tmp_path / "truth.npz")
    assert actual.second_loss == truth.second_loss
    assert (actual.flops, actual.product_flops, actual.nbytes) == (
        truth.flops,
        truth.product_flops,
        truth.nbytes,
    )
    assert actual.results.keys() == truth.results.keys()
    assert all(np.array_equal(actual.results[k], v) for k, v in truth.results.items())


@pytest.mark.parametrize(("name", "what"), [("gmm", "gradient:mu"), ("logreg", "hvp:w")])
def test_a_wrong_gradient_is_not_certified(name, what):
    workload = WORKLOADS[name]
    data = workload.make(small=True).astype("float64")
    results = dict(truth_of(workload, small=True).results)
    certify(workload, data, results)
    wrong = results[what].copy()
    wrong.flat[0] += 0.01 * np.max(np.abs(wrong))
    with pytest.raises(UncertifiedError):
        certify(workload, data, {**results, what: wrong})


# -- measure ---------------------------------------------------------------------------------------


class Program:
    """Takes these times, one after the other and over again; counts its results alive."""

    def __init__(self, *costs):
        self.costs, self.now, self.calls, self.alive = costs, 0.0, 0, []

    def __call__(self):
        self.now += self.costs[self.calls % len(self.costs)]
        self.calls += 1
        return np.zeros(1)

    def clock(self):
        return self.now


@pytest.mark.parametrize("cost", [1e-7, 3e-5, 1e-3, 7.0])
def test_the_median_is_the_cost(cost):
    program = Program(cost)
    actual = steady(program, 0.05, program.clock)
    assert actual.median == pytest.approx(cost, rel=1e-6)
    assert actual.samples >= 3


def test_quick_calls_are_timed_many_at_a_time():
    program = Program(1e-7)
    actual = steady(program, 0.05, program.clock)
    assert program.calls / actual.samples == pytest.approx(SHORTEST / 1e-7, rel=0.3)
    program = Program(1.0, 2.0, 3.0, 4.0, 5.0)
    actual = steady(program, 1000.0, program.clock)
    assert (actual.low, actual.median, actual.high) == pytest.approx((2, 3, 4), abs=0.01)
    assert actual.late == pytest.approx(5, abs=0.01)

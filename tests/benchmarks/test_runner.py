"""Runs in processes of their own: what goes wrong there becomes a row that says so."""

import time

import pytest

from benchmarks import machine, runner
from benchmarks.implementations.with_staticgrad import StaticgradImplementation
from benchmarks.runner import Run, execute
from benchmarks.schema import Limits, dump, load
from benchmarks.worker import Job
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

"""Runs in processes of their own: what goes wrong there becomes a row that says so."""

import os
import time

import pytest

from benchmarks import machine, runner
from benchmarks.implementations.with_staticgrad import StaticgradImplementation
from benchmarks.runner import Run, environment, execute, pairs_of
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


def test_no_inherited_variable_pins_a_library(monkeypatch):
    pinned = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "STATICGRAD_JIT", "XLA_FLAGS")
    for name in pinned:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT_AS_IT_IS", "1")
    found = environment(3, {"XLA_FLAGS": "ours"})
    assert found["KEPT_AS_IT_IS"] == "1"
    assert found["OPENBLAS_NUM_THREADS"] == found["OMP_NUM_THREADS"] == "3"
    assert found["XLA_FLAGS"] == "ours"
    assert not found.keys() & set(pinned[:3])
    assert found["PYTHONPATH"].startswith(str(runner.ROOT))


def test_one_threaded_implementations_run_once():
    class OnOneThread(StaticgradImplementation):
        threads = 1

    run = Run((ROSENBROCK,), (OnOneThread,), (1, 2, 8))
    assert [pair.threads for pair in pairs_of(run)] == [1]
    run = Run((ROSENBROCK,), (StaticgradImplementation,), (1, 2, 8))
    assert [pair.threads for pair in pairs_of(run)] == [1, 2, 8]


def test_a_quick_run_leaves_out_what_takes_long_to_compile(monkeypatch):
    monkeypatch.setattr(made_up.Wrong, "quick", frozenset({"tiny"}))
    monkeypatch.setattr(made_up.Crashing, "quick", False)
    found = {}
    for quick in (False, True):
        workloads = tuple(all_workloads()[name] for name in ("tiny", "mlp"))
        every = (StaticgradImplementation, made_up.Wrong, made_up.Crashing)
        run = Run(workloads, every, (1,), quick=quick)
        found[quick] = [(p.workload.name, p.implementation.name) for p in pairs_of(run)]
    left_out = {("mlp", made_up.Wrong.name)}
    left_out |= {(name, made_up.Crashing.name) for name in ("tiny", "mlp")}
    assert set(found[False]) - set(found[True]) == left_out
    assert len(found[False]) == 6


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinities here")
def test_a_core_can_be_held_by_another_process():
    """While the block runs, and no longer."""

    def others():
        return sum(os.times()[2:4])

    before = others()
    with runner._occupied(True):
        time.sleep(0.3)
    assert others() > before
    before = others()
    with runner._occupied(False):
        time.sleep(0.1)
    assert others() == before


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

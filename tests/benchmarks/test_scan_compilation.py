"""Compile time of a scan beside one step of it: both are the same program, and its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import scan_compilation
from benchmarks.implementation import Settings
from benchmarks.implementations.with_staticgrad import StaticgradImplementation


def test_a_scan_of_one_step_is_the_step(tmp_path: Path) -> None:
    settings = Settings(1, str(tmp_path))
    found = []
    for program in scan_compilation.PROGRAMS:
        workload = scan_compilation.workload_of(program, trips=1)
        work = StaticgradImplementation().program(workload, workload.make(), settings)
        work.build()
        work.compile()
        found.append(work.results(work.step()))
    step, scan = found
    assert {*step} == {"loss", *(f"gradient:{name}" for name in ("w", "u", "b", "h", "c"))}
    for name, array in step.items():
        np.testing.assert_allclose(scan[name], array, rtol=1e-5, atol=1e-7)


def test_least_times_make_the_ratio() -> None:
    rows = {"step": [(2.0, 0.5), (1.0, 0.25)], "scan": [(1.5, 3.0), (2.0, 4.0)]}
    programs = scan_compilation.summary(rows)
    assert programs["step"] == {
        "compile_min_s": 1.0,
        "compile_median_s": 1.5,
        "call_min_s": 0.25,
    }
    assert scan_compilation.ratio(programs) == 1.5

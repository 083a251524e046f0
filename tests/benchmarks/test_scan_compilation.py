"""Compile time of a scan beside one step of it: both are the same program, and its figures."""

import numpy as np
import pytest

from benchmarks import scan_compilation
from benchmarks.implementation import Settings
from benchmarks.implementations.with_staticgrad import StaticgradImplementation


@pytest.mark.thinned(3)
@pytest.mark.parametrize("cell", scan_compilation.CELLS)
def test_a_scan_of_one_step_is_the_step(tmp_path, cell):
    settings = Settings(1, str(tmp_path))
    found = {}
    for program in scan_compilation.PROGRAMS:
        workload = scan_compilation.workload_of(cell, program, iterations=1, hidden=8)
        work = StaticgradImplementation().program(workload, workload.make(), settings)
        work.build()
        work.compile()
        found[program] = work.results(work.step())
    step, alone = found["step"], found[scan_compilation.ALONE]
    weights = {"loss", *(f"gradient:{name}" for name in ("w", "u", "b"))}
    states = {"gradient:h", "gradient:c"} if cell == "lstm" else {"gradient:h"}
    assert {*step} == weights | states
    assert {*alone} == weights
    for name, array in step.items():
        np.testing.assert_allclose(found["scan"][name], array, rtol=1e-5, atol=1e-7)
    assert all(np.isfinite(array).all() for array in alone.values())


def test_least_times_make_the_ratio():
    alone = scan_compilation.ALONE
    rows = {"step": [(2.0, 0.5), (1.0, 0.25)], "scan": [(1.5, 3.0), (2.0, 4.0)]}
    rows[alone] = [(0.75, 0.5), (0.8, 0.5)]
    programs = scan_compilation.summary(rows)
    assert programs["step"] == {
        "compile_min_s": 1.0,
        "compile_median_s": 1.5,
        "call_min_s": 0.25,
    }
    assert scan_compilation.ratios(programs) == {"step": 1.5, alone: 2.0}

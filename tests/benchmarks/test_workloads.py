"""Every workload: staticgrad and its twin pass the gate at small sizes; names and data hold."""

import numpy as np
import pytest

from benchmarks.harness.certificate import truth_of
from benchmarks.harness.gate import judge, judge_second
from benchmarks.harness.implementation import Settings
from benchmarks.implementations.with_eager import EagerProgram
from benchmarks.implementations.with_staticgrad import StaticgradProgram
from benchmarks.workloads import all_workloads
from tests.helpers.diagonals import every_nth

WORKLOADS = all_workloads("")
SETTINGS = Settings(1, "")


def check(kind, name):
    workload = WORKLOADS[name]
    data, truth = workload.make(small=True), truth_of(workload, small=True)
    program = kind(workload, data, SETTINGS)
    program.build()
    program.compile()
    results = {k: np.array(v) for k, v in program.results(program.step()).items()}
    verdict = judge(workload, data, truth, results, program.parameters())
    if workload.trains:
        second = float(program.results(program.step())["loss"])
        verdict = judge_second(workload, truth, verdict, second)
    assert verdict.is_correct, verdict.reason


@pytest.mark.thinned(6)
@every_nth(2, "name", sorted(WORKLOADS))  # each run of the benchmarks asks the gate for all
def test_staticgrad_passes_the_gate(name):
    check(StaticgradProgram, name)


@pytest.mark.thinned(5)
@pytest.mark.parametrize("name", sorted(WORKLOADS.keys() - {"adam"}))  # it starts from moments of 0
def test_the_twin_passes_the_gate(name):
    check(EagerProgram, name)


def test_the_counted_work_is_that_of_the_products():
    """Two products of a layer's size forward and backward, three where a gradient flows on."""
    truth, data = truth_of(WORKLOADS["tiny"]), WORKLOADS["tiny"].make()
    layers = [a.size for name, a in data.variables.items() if name.startswith("w")]
    batch = len(data.feeds["x"])
    assert truth.product_flops == 2 * batch * (3 * sum(layers) - layers[0])
    assert truth.flops > truth.product_flops
    arrays = sum(a.nbytes for a in (*data.variables.values(), *data.feeds.values()))
    updated = sum(a.nbytes for a in data.variables.values())
    assert truth.nbytes == arrays + updated + 4  # and the loss

"""The gate lets right results through and refuses what is wrong, missing, misshapen or NaN."""

import numpy as np
import pytest

from benchmarks.certificate import UncertifiedError, certify, truth_of
from benchmarks.gate import judge, judge_second
from benchmarks.truth import Truth
from benchmarks.workloads import all_workloads

WORKLOADS = all_workloads()


def right(name):
    """A workload, its arrays, the truth, and a right answer in its dtype."""
    workload = WORKLOADS[name]
    data, truth = workload.make(small=True), truth_of(workload, small=True)
    training = workload.trains
    results, after = {}, {}
    for key, value in truth.results.items():
        variable = key.removeprefix("gradient:")
        if training and key != variable:
            moved = data.variables[variable] - workload.rate * value
            after[variable] = moved.astype(workload.dtype)
        else:
            results[key] = np.asarray(value, workload.dtype)
    return workload, data, truth, results, after


@pytest.mark.parametrize("name", ["mlp", "mlp_f64", "gmm", "logreg", "adam"])
def test_the_truth_rounded_passes(name):
    verdict = judge(*right(name))
    assert verdict.passed
    assert verdict.error < 1e-6


@pytest.mark.parametrize("factor", [0.0, 0.5, -1.0, 1.01])
def test_a_wrong_update_is_refused(factor):
    workload, data, truth, results, after = right("mlp")
    before = data.variables["w1"]
    after["w1"] = (before + factor * (after["w1"].astype("float64") - before)).astype("float32")
    verdict = judge(workload, data, truth, results, after)
    assert not verdict.passed
    assert verdict.worst == "gradient:w1"


@pytest.mark.parametrize("what", ["loss", "gradient:mu", "gradient:l"])
def test_one_wrong_element_is_refused(what):
    workload, data, truth, results, after = right("gmm")
    array = np.array(results[what])
    array.flat[-1] += 5e-4 * np.max(np.abs(array))
    verdict = judge(workload, data, truth, {**results, what: array}, after)
    assert verdict.worst == what
    assert "tolerance 1e-04" in verdict.reason


def test_missing_misshapen_and_nan_are_refused():
    workload, data, truth, results, after = right("gmm")
    without = {name: a for name, a in results.items() if name != "gradient:q"}
    assert "gradient:q is missing" in judge(workload, data, truth, without, after).reason
    flat = {**results, "gradient:q": results["gradient:q"].ravel()}
    assert "has shape" in judge(workload, data, truth, flat, after).reason
    bad = {**results, "loss": np.float32("nan")}
    assert "NaN" in judge(workload, data, truth, bad, after).reason


def test_a_second_step_that_forgot_the_first_is_refused():
    workload, data, truth, results, after = right("mlp")
    verdict = judge(workload, data, truth, results, after)
    assert truth.second_loss is not None
    assert judge_second(workload, truth, verdict, truth.second_loss).passed
    assert not judge_second(workload, truth, verdict, float(truth.results["loss"])).passed


def test_a_truth_reads_back(tmp_path):
    truth = truth_of(WORKLOADS["tiny"], small=True)
    truth.save(tmp_path / "truth.npz")
    found = Truth.load(tmp_path / "truth.npz")
    assert found.second_loss == truth.second_loss
    assert (found.flops, found.product_flops, found.nbytes) == (
        truth.flops,
        truth.product_flops,
        truth.nbytes,
    )
    assert found.results.keys() == truth.results.keys()
    assert all(np.array_equal(found.results[k], v) for k, v in truth.results.items())


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

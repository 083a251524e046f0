"""Programs of many kinds: they agree with the evaluator, and the page says what was found."""

import numpy as np
import pytest

import staticgrad as sg
from benchmarks.__main__ import main
from benchmarks.harness.gate import judge
from benchmarks.harness.truth import Truth
from benchmarks.implementations.with_staticgrad import (
    Staticgrad,
    StaticgradImplementation,
    feeds_of,
    graph_of,
)
from benchmarks.peers import programs as command
from benchmarks.peers.kinds import normal, program, programs
from benchmarks.peers.programs import (
    DifferentError,
    check_program,
    lesser,
    page,
    ratio,
    start_program,
    summary,
)

PROGRAMS = programs()
#: Those that take little time at their own sizes.
QUICK = ("rosenbrock", "curve_fit", "tiny_mlp", "kalman_filter", "hidden_markov", "garch", "svd")


def truth_of(workload, data):
    """By the evaluator, in float64."""
    wide = command.replace(workload, dtype="float64", kind="gradient")
    graph = graph_of(wide, data.astype("float64"), Staticgrad())
    results = sg.evaluate(graph, feeds_of(wide, data.astype("float64")))
    return Truth(dict(results), None, 0.0, 0.0, 0.0)


def own(workload, data):
    return start_program(StaticgradImplementation(), workload, data, 1)


@pytest.mark.thinned(3)
@pytest.mark.parametrize("name", QUICK)
def test_programs_pass_the_gate(name):
    workload = PROGRAMS[name]
    data = workload.make()
    step = check_program(own(workload, data), truth_of(workload, data))
    assert np.isfinite(step()["loss"])


def test_a_wrong_result_has_no_time():
    workload = PROGRAMS["rosenbrock"]
    data = workload.make()
    truth = truth_of(workload, data)
    truth.results["gradient:x"][3] += 1e-3 * np.abs(truth.results["gradient:x"]).max()
    with pytest.raises(DifferentError, match="gradient:x is off by"):
        check_program(own(workload, data), truth)


def test_a_program_is_its_loss_and_its_gradient():
    """d/dx of sum(x y^2) is y^2."""
    workload = program("p", "", lambda ops, v: ops.sum(v["x"] * v["y"] ** 2), normal(
        {"x": (3,)}, {"y": (3,)}, scale=2.0), "float64")  # fmt: skip
    data = workload.make()
    work = own(workload, data)
    actual, y = work.results(work.step()), data.feeds["y"]
    np.testing.assert_allclose(actual["gradient:x"], y**2)
    results = {"loss": np.sum(data.variables["x"] * y**2), "gradient:x": y**2}
    assert judge(workload, data, Truth(results, None, 0.0, 0.0, 0.0), actual, {}).is_correct


def test_names_and_numbers_of_programs():
    assert len(PROGRAMS) > 60
    assert all(workload.group == "programs" and workload.about for workload in PROGRAMS.values())


def test_lesser_times_stay_and_failures_replace_times():
    earlier = {"staticgrad": 2.0, "jax": 3.0, "torch": "no"}
    assert lesser(earlier, {"staticgrad": 1.0, "jax": 4.0, "torch": 5.0}) == {
        "staticgrad": 1.0, "jax": 3.0, "torch": 5.0,
    }  # fmt: skip
    assert lesser(earlier, {"jax": "no"})["jax"] == "no"


def test_the_page_has_ratios_to_the_fastest_peer():
    actual = {
        "gram": {"staticgrad": 2.0, "jax": 3.0, "torch": 8.0},
        "svd": {"staticgrad": 2.0, "jax": 1.0, "torch": "Error: no"},
        "qr": {"staticgrad": 1.0, "jax": 4.0},
        "eigh": {"staticgrad": 1.0},
    }
    assert [ratio(times) for times in actual.values()] == [1.5, 0.5, 4.0, None]
    lines = [*summary(actual)]
    assert lines[0] == "3 programs, geometric mean 1.44, behind a peer: 1."  # the root of 1.5 * 2
    assert lines[1] == "Below 1.3: svd 0.50."
    assert lines[2] == "Without a time: svd (torch: Error: no)."


def test_lines_of_the_table():
    lines = [*command.table({"gram": {"staticgrad": 2.0, "jax": 3.0}}, command.USUAL)]
    assert lines[2:] == [
        "| gram | the Gram matrix of 100,000 x 24, float32 | 2 | 3 | - | 1.50 |",
    ]


def test_the_page_is_whole():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    text = page({"gram": {"staticgrad": 2.0, "jax": 3.0}}, command.USUAL, 2)
    assert text.startswith("# Programs of many kinds\n")
    assert "| gram |" in text
    assert "threads: 2" in text


def test_options_select_programs(capsys):
    assert {"gram", "svd"} <= PROGRAMS.keys()
    with pytest.raises(SystemExit, match="2"):
        main(["programs", "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err

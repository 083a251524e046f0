"""The benchmark of training steps: what each library computes, and its table."""

import pytest

from benchmarks.peers import training


def measure_error(library, precision, name):
    """Return the error of a small network's first step."""
    workload = training.networks()[name]
    *_, error = training.build(library, precision, workload, workload.make(small=True))
    return error


@pytest.mark.parametrize("precision", [*training.PRECISIONS])
@pytest.mark.parametrize("name", [*training.networks()])
def test_steps_are_near_those_of_torch_in_float64(name, precision):
    pytest.importorskip("torch")
    assert measure_error("staticgrad", precision, name) < training.PRECISIONS[precision]


@pytest.mark.parametrize("precision", [*training.PRECISIONS])
@pytest.mark.parametrize("name", ["convnet", "block", "bert_base"])
def test_torch_computes_the_same(name, precision):
    pytest.importorskip("torch")
    assert measure_error("torch", precision, name) < training.PRECISIONS[precision]


def test_a_wrong_gradient_is_an_error():
    pytest.importorskip("torch")
    workload = training.networks()["mlp"]
    data = workload.make(small=True)
    (form,) = training.programs("staticgrad", "float32")
    program = form(workload, data, training.Settings(1, ""))
    program.build()
    program.compile()
    program.step()
    truth = training.gradients(workload, data)
    assert training.error_of_step(program, truth) < 1e-3
    assert training.error_of_step(program, truth | {"w0": -truth["w0"]}) > 0.1


def test_rows_have_times_bytes_and_what_failed():
    figures = {"seconds": 2e-3, "peak": 5e6, "planned": 2e6, "error": 0.0}
    sides = dict.fromkeys(training.SIDES, figures)
    sides["ours, bfloat16"] = figures | {"seconds": 1e-3, "planned": 1e6}
    sides["torch, autocast"] = "wrong by 3e-01"
    row = training.write_row("mlp", sides)
    cells = ["mlp", "2", "1", "2", "wrong by 3e-01", "2", "2.0 -> 1.0", "2.00", "2.00", "-", "2.00"]
    assert row == f"| {' | '.join(cells)} |"

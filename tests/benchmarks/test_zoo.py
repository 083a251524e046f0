"""Whole models of published families: gradients by differences, the gate, sizes, the page."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.harness.certificate import NumPy, certify
from benchmarks.harness.gate import judge
from benchmarks.harness.implementation import Settings
from benchmarks.harness.truth import Truth
from benchmarks.implementations.with_staticgrad import StaticgradProgram
from benchmarks.peers.families import zoo
from benchmarks.peers.programs import page, summary
from benchmarks.peers.zoo import ZOO

MODELS = zoo()
SETTINGS = Settings(1, "")
#: Parameters in millions, as published or, where layers or rows are fewer, by hand.
MILLIONS = {
    "resnet50": 25.56, "mobilenet_v2": 3.50, "efficientnet_b0": 5.29, "densenet121": 7.98,
    "squeezenet": 1.24, "shufflenet_v2": 2.28, "convnext_tiny": 28.59, "regnet_y_400mf": 4.34,
    "swin_t": 28.29, "albert_base": 11.22,
}  # fmt: skip


def start(workload, data):
    program = StaticgradProgram(workload, data, SETTINGS)
    program.build()
    program.compile()
    return program


def step_of(program):
    results = {k: np.array(v) for k, v in program.results(program.step()).items()}
    return results, program.parameters(), program.moments()


def test_there_are_twenty_models():
    assert len(MODELS) >= 20
    assert all(workload.group == "zoo" and workload.about for workload in MODELS.values())


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_gradients_are_those_of_differences_and_the_step_passes_the_gate(name):
    """In float64, beside the same loss in plain NumPy; then a step in float32."""
    wide = replace(MODELS[name], kind="gradient", dtype="float64")
    data = wide.make(small=True)
    program = start(wide, data)
    truth = {k: np.array(v) for k, v in program.results(program.step()).items()}
    certify(wide, data, truth)
    workload = MODELS[name]
    narrow = workload.make(small=True)
    verdict = judge(
        workload, narrow, Truth(truth, None, 0, 0, 0), *step_of(start(workload, narrow))
    )
    assert verdict.is_correct, verdict.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MILLIONS))
def test_models_have_the_published_number_of_parameters(name):
    data = MODELS[name].make()
    count = sum(array.size for array in data.variables.values())
    assert count / 1e6 == pytest.approx(MILLIONS[name], abs=0.006)


@pytest.mark.parametrize("kind", ["adamw", "momentum"])
def test_a_wrong_step_has_no_time(kind):
    """The gate refuses parameters that stay or move too far, and wrong or missing moments."""
    workload = replace(MODELS["squeezenet"], kind=kind)
    data = workload.make(small=True)
    results, updated, moments = step_of(start(workload, data))
    scale = 0.1 if kind == "adamw" else 1.0
    truth = {name: moment[0] / scale for name, moment in moments.items()}
    truth = {f"gradient:{name}": array for name, array in truth.items()} | results

    def verdict(updated=updated, moments=moments):
        return judge(workload, data, Truth(truth, None, 0, 0, 0), results, updated, moments)

    assert verdict().is_correct
    (name, old), *_ = data.variables.items()
    assert "off" in verdict(updated | {name: old}).reason
    twice = 2 * updated[name] - old
    assert "off" in verdict(updated | {name: twice}).reason
    wrong = tuple(2 * moment for moment in moments[name])
    assert not verdict(moments=moments | {name: wrong}).is_correct
    assert "is missing" in verdict(moments={}).reason


def test_the_page_says_which_state_is_copied():
    times = {"staticgrad": 2.0, "torch": 5.0, "copies": 0}
    assert [*summary({"resnet50": times})][-1] == "Copies of state in a step: none."
    lines = [*summary({"resnet50": times, "vgg11": times | {"copies": 3}})]
    assert lines[-1] == "Copies of state in a step: vgg11 3."
    assert lines[0].startswith("2 programs, geometric mean 2.50")


def test_the_page_is_that_of_the_collection():
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    text = page({"resnet50": {"staticgrad": 2.0, "torch": 5.0}}, ("staticgrad", "torch"), 2, of=ZOO)
    assert text.startswith("# Whole models of published families\n")
    assert "| resnet50 | ResNet-50, 2 images of 64 x 64, float32 | 2 | 5 | 2.50 |" in text


def test_options_select_models(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["zoo", "--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_convolutions_in_groups_of_numpy_are_sums_of_their_groups():
    ops, random = NumPy(), np.random.default_rng(0)
    x, w = random.normal(size=(2, 6, 5, 4)), random.normal(size=(4, 3, 2, 2))
    sizes = {"image": (5, 4), "taps": (2, 2), "channels": (6, 4)}
    actual = ops.conv(x, w, sizes, 2, 2, padding=1, bias=np.arange(4.0))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    assert actual.shape == (2, 4, 3, 3)
    window = padded[1, 3:6, 2:4, 4:6]  # the second group, at row 1 and column 2
    assert actual[1, 3, 1, 2] == pytest.approx((window * w[3]).sum() + 3.0)

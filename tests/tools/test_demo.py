"""The demo: the facts it reports, the accuracy it reaches, and the two ways it prints."""

import json
import statistics
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.tools.commands import cli, demo


@pytest.fixture(scope="module", autouse=True)
def _the_data():
    pytest.importorskip("sklearn")  # here: a worker that runs none of these tests does not load it


@pytest.fixture(scope="module")
def report():
    return demo.run(seed=0, epochs=2)


def test_a_step_is_the_oracle_s_step():
    network = demo.build(np.random.default_rng(3))
    digits = demo.load_digits()
    feeds = {"images": digits.train_images[:29], "classes": digits.train_classes[:29]}
    expected, updated = sg.evaluate(network.step, feeds, dtype="float64", updates=True)
    actual = sg.compile(network.step).run(feeds)
    np.testing.assert_allclose(actual["loss"], expected["loss"], rtol=1e-5)
    for weight in network.weights:
        # Adam's first step is the learning rate times the gradient's sign: where a gradient is
        # near zero, float32 may take the other sign.
        away = np.abs(weight.value - updated[weight.name])
        assert np.quantile(away, 0.99) < 1e-5
        assert away.max() <= 2.1 * demo.LEARNING_RATE


def test_the_peak_is_that_of_the_plan_and_of_the_run(report):
    step = sg.compile(demo.build(np.random.default_rng(0)).step)
    digits = demo.load_digits()
    for size, peak in report.peak_bytes.items():
        feeds = {"images": digits.train_images[:size], "classes": digits.train_classes[:size]}
        step.run(feeds)
        assert step.peak_bytes == peak
    assert list(report.peak_bytes) == [64, 29]
    assert report.peak_bytes[29] < report.peak_bytes[64]


def test_json_is_all_that_is_printed():
    result = CliRunner().invoke(cli.main, ["demo", "--epochs", "1", "--seed", "7", "--json"])
    assert result.exit_code == 0
    assert result.stderr == ""
    actual = json.loads(result.stdout)
    assert set(actual) == set(demo.DemoReport.__dataclass_fields__)
    assert (actual["seed"], actual["epochs"], actual["steps"]) == (7, 1, 23)
    assert set(actual["peak_bytes"]) == {"64", "29"}
    assert actual["kernels_compiled_after_first_step"] == 0


def test_the_table_and_the_lines_of_progress():
    result = CliRunner().invoke(cli.main, ["demo", "--epochs", "2"])
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == "compiling"
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1/2", "epoch 2/2"]
    for row in (
        "parameters", "50,826", "nodes after build", "nodes after fixpoint", "kernels",
        "compiled after the first step", "64, 29, 360", "peak bytes, batch 64",
        "peak bytes, batch 29", "step (median)", "µs", "test accuracy", "%",
    ):  # fmt: skip
        assert row in result.stdout, row
    assert "\x1b" not in result.stdout, "no escape codes where there is no terminal"


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    result = CliRunner().invoke(cli.main, ["demo"])
    assert result.exit_code == 1
    assert result.stdout == ""
    line = result.stderr.splitlines()[0]
    assert line.startswith("error: [SG506] ")
    assert "scikit-learn" in line
    assert 'hint: pip install "staticgrad[demo]"' in result.stderr


@pytest.mark.slow
def test_the_promised_accuracy():
    reached = [demo.run(seed).test_accuracy for seed in range(3)]
    assert statistics.median(reached) >= 0.97
    assert min(reached) >= 0.96

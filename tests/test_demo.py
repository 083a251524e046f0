"""The demo: the facts it reports, the accuracy it reaches, and the two ways it prints."""

import json
import statistics
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.commands import cli, demo


@pytest.fixture(scope="module", autouse=True)
def _the_data():
    pytest.importorskip("sklearn")  # here: a worker that runs none of these tests does not load it


@pytest.fixture(scope="module")
def report():
    return demo.run(seed=0, epochs=2)


def test_the_split_is_stratified_and_scaled():
    digits = demo.load_digits()
    assert digits.train_images.shape == (1437, 64)
    assert digits.test_images.shape == (360, 64)
    assert digits.train_images.dtype == np.float32
    assert digits.train_classes.dtype == np.int64
    assert (digits.train_images.min(), digits.train_images.max()) == (0.0, 1.0)
    in_test = np.bincount(digits.test_classes)
    everywhere = in_test + np.bincount(digits.train_classes)
    assert np.all(np.abs(in_test - 0.2 * everywhere) <= 1)


def test_a_prediction_is_the_perceptron_s_by_hand():
    network = demo.build(np.random.default_rng(3))
    images = demo.load_digits().test_images
    hidden = images.astype(np.float64)
    for w, b in zip(network.weights[::2], network.weights[1::2], strict=True):
        b.value = np.linspace(-0.1, 0.1, b.value.size, dtype=np.float32)
        hidden = hidden @ w.value + b.value
        hidden = np.maximum(hidden, 0.0) if w.name != "w3" else hidden
    found = sg.compile(network.predict).run({"images": images})["logits"]
    np.testing.assert_allclose(found, hidden, rtol=1e-4, atol=1e-4)


def test_a_step_is_the_oracle_s_step():
    network = demo.build(np.random.default_rng(3))
    digits = demo.load_digits()
    feeds = {"images": digits.train_images[:29], "classes": digits.train_classes[:29]}
    wanted, updated = sg.evaluate(network.step, feeds, dtype="float64", updates=True)
    found = sg.compile(network.step).run(feeds)
    np.testing.assert_allclose(found["loss"], wanted["loss"], rtol=1e-5)
    for weight in network.weights:
        # Adam's first step is the learning rate times the gradient's sign: where a gradient is
        # near zero, float32 may take the other sign.
        away = np.abs(weight.value - updated[weight.name])
        assert np.quantile(away, 0.99) < 1e-5
        assert away.max() <= 2.1 * demo.LEARNING_RATE


def test_the_facts_of_a_run(report):
    assert report.layers == (64, 256, 128, 10)
    assert report.parameters == 64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10
    assert report.batch_sizes == (64, 1437 % 64, 360)
    assert report.steps == 2 * (1437 // 64 + 1)
    assert report.step_microseconds > 0
    assert report.final_loss < 0.5
    assert report.test_accuracy > 0.8
    counts = [count.nodes for count in report.nodes]
    assert report.nodes[0].after == "build"
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < counts[0]
    assert report.kernels_compiled_after_first_step == 0
    assert report.kernels_compiled + report.kernels_from_disk <= report.kernels


def test_the_peak_is_that_of_the_plan_and_of_the_run(report):
    step = sg.compile(demo.build(np.random.default_rng(0)).step)
    digits = demo.load_digits()
    for size, peak in report.peak_bytes.items():
        feeds = {"images": digits.train_images[:size], "classes": digits.train_classes[:size]}
        step.run(feeds)
        assert step.peak_bytes == peak
    assert list(report.peak_bytes) == [64, 29]
    assert report.peak_bytes[29] < report.peak_bytes[64]


def test_a_seed_gives_the_same_bits_again(report):
    again = demo.run(seed=0, epochs=2)
    assert (again.final_loss, again.test_accuracy) == (report.final_loss, report.test_accuracy)
    other = demo.run(seed=1, epochs=2)
    assert other.final_loss != report.final_loss


def test_progress_counts_up_from_compiling():
    seen = []
    report = demo.run(seed=0, epochs=2, watch=seen.append)
    assert [(progress.epoch, progress.epochs) for progress in seen] == [(0, 2), (1, 2), (2, 2)]
    assert seen[0].loss is None
    assert seen[2].loss == report.final_loss < seen[1].loss


def test_json_is_all_that_is_printed():
    result = CliRunner().invoke(cli.main, ["demo", "--epochs", "1", "--seed", "7", "--json"])
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert set(found) == set(demo.DemoReport.__dataclass_fields__)
    assert (found["seed"], found["epochs"], found["steps"]) == (7, 1, 23)
    assert set(found["peak_bytes"]) == {"64", "29"}
    assert found["kernels_compiled_after_first_step"] == 0


def test_the_table_and_the_lines_of_progress():
    result = CliRunner().invoke(cli.main, ["demo", "--epochs", "2"])
    assert result.exit_code == 0
    said = result.stderr.splitlines()
    assert said[0] == "compiling"
    assert [line.split("  ")[0] for line in said[1:]] == ["epoch 1/2", "epoch 2/2"]
    for row in (
        "parameters", "50,826", "nodes after build", "nodes after fixpoint", "kernels",
        "compiled after the first step", "64, 29, 360", "peak bytes, batch 64",
        "peak bytes, batch 29", "step (median)", "µs", "test accuracy", "%",
    ):  # fmt: skip
        assert row in result.stdout, row
    assert "\x1b" not in result.stdout, "no escape codes where there is no terminal"


def test_without_scikit_learn_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = CliRunner().invoke(cli.main, ["demo"])
    assert result.exit_code == 1
    assert result.stdout == ""
    line = result.stderr.splitlines()[0]  # behind it stands the line that raised it
    assert line.startswith("error: [SG506] ")
    assert "scikit-learn" in line
    assert 'pip install "staticgrad[demo]"' in line


@pytest.mark.slow
def test_the_promised_accuracy():
    reached = [demo.run(seed).test_accuracy for seed in range(3)]
    assert statistics.median(reached) >= 0.97
    assert min(reached) >= 0.96

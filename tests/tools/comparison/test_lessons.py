"""Programs that a graph refuses, or serves for fewer sizes: what is measured, and what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.comparison import compare
from staticgrad.comparison.page import page
from staticgrad.comparison.report import Comparison, TapeAlone
from staticgrad.tools.commands.cli import main

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(24, 3)).astype("float32")
Y = X.sum(1)
W = sg.parameter("w", np.full(3, 0.3, "float32"))


def halved_while_large(x: Any, y: Any) -> Any:
    loss = ((x @ W - y) ** 2).mean()
    while loss > 0.01:
        loss = loss * 0.5
    return loss


@pytest.mark.slow
def test_a_while_on_a_value_is_measured_on_the_tape() -> None:
    """Each step records as many operations as its numbers lead to."""
    value_before = W.value.copy()
    actual = compare(halved_while_large, X, Y, seconds=0.0)
    assert isinstance(actual, TapeAlone)
    assert "bool() needs a number" in actual.refusal.message
    assert actual.refusal.text == "while loss > 0.01:"
    assert actual.refusal.line.startswith("test_lessons.py:")
    assert "sg.while_loop" in actual.refusal.cure
    first = float(((X @ value_before - Y) ** 2).mean())
    halvings = int(np.ceil(np.log2(first / 0.01)))
    assert actual.losses[0] == pytest.approx(first * 0.5**halvings, rel=1e-5)
    assert actual.nbytes > 0
    assert actual.tape.cpu > 0
    np.testing.assert_array_equal(W.value, value_before)
    assert json.loads(json.dumps(actual.as_json()))["refusal"]["text"] == "while loss > 0.01:"
    assert "while loss &gt; 0.01:" in page(actual)


@pytest.mark.slow
def test_graphs_of_n_nodes_and_e_edges() -> None:
    """Two sizes that change from step to step: one graph, a plan for each pair."""
    w = sg.parameter("w", np.eye(3, dtype="float32"))

    def loss(nodes: Any, source: Any, target: Any) -> Any:
        rows = sg.take(nodes @ w, source, 0)
        return (sg.scatter_add(rows, target, nodes.shape[0]) ** 2).mean()

    def draw(random: Any) -> Any:
        n, e = int(random.integers(4, 9)), int(random.integers(5, 12))
        nodes = random.normal(size=(n, 3)).astype("float32")
        return nodes, random.integers(0, n, e), random.integers(0, n, e)

    actual = compare(loss, draw, seconds=0.0)
    assert isinstance(actual, Comparison)
    assert actual.holds, actual.agreement.problem
    assert actual.changes is not None
    assert {*actual.changes.sizes} == {"nodes.shape[0]", "source.shape[0]", "target.shape[0]"}
    assert actual.changes.graphs == 2  # that of the first call, then one with named sizes
    assert actual.changes.plans == actual.changes.shapes > 1


FILE = """
import numpy as np
import staticgrad as sg

w = sg.parameter("w", np.ones(3, "float32"))

def step(x):
    h = x * w
    return h.mean() if h.sum() > 0.0 else -h.mean()

example = step, np.ones((4, 3), "float32")
"""


@pytest.mark.slow
def test_the_command_shows_the_lesson_in_80_columns(tmp_path: Path) -> None:
    path, target = tmp_path / "choosing.py", tmp_path / "out.html"
    path.write_text(FILE)
    spec = ["--model", f"{path}:example", "--seconds", "0", "--html", str(target)]
    done = CliRunner().invoke(main, ["compare", *spec])
    assert done.exit_code == 0, done.output
    assert "choosing.py:9: return h.mean() if h.sum() > 0.0" in done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "only the tape is measured" in target.read_text()

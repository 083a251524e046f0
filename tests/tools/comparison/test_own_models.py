"""Files of a user: how they are run, what is taken from them, what is said of mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from staticgrad.comparison.loading import subject
from staticgrad.comparison.ways import DefineThenRun, agreement
from staticgrad.errors import ArgumentError
from staticgrad.tools.commands.cli import main

FILE = """
from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np

import staticgrad as sg
from beside_the_program import SCALE


@dataclass
class Settings:
    width: int = 4
    other: Settings | None = None


def graph_network():
    settings = pickle.loads(pickle.dumps(Settings()))
    w = sg.parameter("w", np.full((2, settings.width), 0.1, "float32"))
    adjacency = np.eye(3, dtype="float32")[::-1].copy()

    def loss(x, y, adjacency, scale, unread):
        import later_beside

        hidden = adjacency @ (x @ w) * scale
        return later_beside.mean_square(hidden.sum((1, 2)) - y)

    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    return loss, x, x.sum((1, 2)), adjacency, np.float32(SCALE), np.zeros(3)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_graph.py").write_text(FILE)
    (tmp_path / "beside_the_program.py").write_text("SCALE = 0.5\n")
    (tmp_path / "later_beside.py").write_text("def mean_square(x):\n    return (x * x).mean()\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_graph", "beside_the_program", "later_beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return f"{tmp_path / 'own_graph.py'}:graph_network"


def test_a_file_is_run_as_python_runs_it(file: str) -> None:
    """Dataclasses with deferred annotations, pickles, modules beside it, arrays without a batch."""
    chosen = subject(file)
    shapes = {v.node.op.label: tuple(map(str, v.shape)) for v in chosen.graph.inputs}
    assert shapes == {
        "x": ("batch", "3", "2"), "y": ("batch",), "adjacency": ("3", "3"), "scale": (),
        "unread": ("3",),
    }  # fmt: skip
    assert not agreement(chosen, DefineThenRun(chosen)).problem
    assert sys.modules["own_graph"].__file__ == file.rpartition(":")[0]
    assert subject(file).plain is not chosen.plain  # an edited file is run again


def test_what_is_no_program() -> None:
    wrong: list = [3, None, ["mlp"]]
    for not_a_model in wrong:
        with pytest.raises(ArgumentError, match="a model is a name"):
            subject(not_a_model)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lambda x: 1 / 0", ["SG508", "ZeroDivisionError"]),
        ("lambda x: x @ x", ["SG101", "inner sizes differ"]),
        ("lambda x, y: x", ["SG108", "given 1 arrays"]),
    ],
)
def test_the_command_shows_the_users_line_and_no_traceback(tmp_path, line, says) -> None:
    file = tmp_path / "mistaken.py"
    file.write_text(f"import numpy as np\nexample = {line}, np.ones((3, 2))\n")
    done = CliRunner().invoke(main, ["compare", "--model", f"{file}:example", "--seconds", "0"])
    assert done.exit_code == 1
    for what in (*says, "mistaken.py:2", line):
        assert what in done.output
    assert "Traceback" not in done.output
    assert "click" not in done.output
    assert len(done.output.splitlines()) < 15

"""Programs of a user's own: files, functions, objects, shapes, and what is said of mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.commands.cli import main
from staticgrad.comparison import Model, model
from staticgrad.comparison.programs import of_model
from staticgrad.comparison.ways import DefineByRun, DefineThenRun
from staticgrad.errors import (
    ArgumentError,
    GradientError,
    ProgramError,
    StaticgradError,
)

FILE = """
from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np

import staticgrad as sg
from beside_the_model import SCALE
from staticgrad.comparison import Model


@dataclass
class Settings:
    width: int = 4
    other: Settings | None = None


def graph_network():
    settings = pickle.loads(pickle.dumps(Settings()))
    adjacency = np.eye(3, dtype="float32")[::-1].copy()

    def loss(p, b):
        import later_beside

        hidden = b["adjacency"] @ (b["x"] @ p["w"]) * b["scale"]
        return later_beside.mean_square(hidden.sum((1, 2)) - b["y"])

    def batch(size, draw):
        x = draw.normal(size=(size, 3, 2)).astype("float32")
        return {
            "x": x, "y": x.sum((1, 2)), "adjacency": adjacency, "scale": np.float32(SCALE),
            "unread": np.zeros(3),
        }

    return Model("graph", {"w": np.full((2, settings.width), 0.1, "float32")}, loss, batch, 3)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_graph.py").write_text(FILE)
    (tmp_path / "beside_the_model.py").write_text("SCALE = 0.5\n")
    (tmp_path / "later_beside.py").write_text("def mean_square(x):\n    return (x * x).mean()\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_graph", "beside_the_model", "later_beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return f"{tmp_path / 'own_graph.py'}:graph_network"


def trained_alike(chosen: Model, size: int | None = None) -> None:
    ways = DefineByRun(chosen), DefineThenRun(of_model(chosen))
    data = chosen.draw(size or chosen.batch_size, np.random.default_rng(0))
    for _ in range(3):
        one, two = (way.step(data) for way in ways)
        assert one == pytest.approx(two, rel=1e-5)


def test_a_file_is_run_as_python_runs_it(file: str) -> None:
    """Dataclasses with deferred annotations, pickles, modules beside it, feeds without a batch."""
    chosen = model(file)
    graph = of_model(chosen).graph
    shapes = {v.node.op.label: v.shape for v in graph.inputs}
    assert {name: tuple(map(str, shape)) for name, shape in shapes.items()} == {
        "x": ("batch", "3", "2"), "y": ("batch",), "adjacency": ("3", "3"), "scale": (),
        "unread": ("3",),
    }  # fmt: skip
    trained_alike(chosen)
    trained_alike(chosen, 5)
    assert sys.modules["own_graph"].__file__ == file.rpartition(":")[0]
    again = model(file)
    assert again.loss is not chosen.loss  # an edited file is run again


def start():
    return {"w": np.full((2, 1), 0.5, "float32")}


def batch(size, draw):
    x = draw.normal(size=(size, 2)).astype("float32")
    return {"x": x, "y": x.sum(1, keepdims=True)}


def loss(p, b):
    return ((b["x"] @ p["w"] - b["y"]) ** 2).mean()


def test_models_and_functions_are_taken_as_they_are() -> None:
    made = Model("own", start(), loss, batch)
    assert model(made) is made
    assert model(lambda: made) is made
    wrong: list = [3, None, ["mlp"]]
    for other in wrong:
        with pytest.raises(ArgumentError, match="a model is a name"):
            model(other)

    def deep(depth: int = 2) -> Model:
        return Model("own", start(), loss, batch, depth=depth)

    assert model(deep, 5).depth == 5


def fails(p, b):
    return 1 / 0


MISTAKES: list = [
    (Model("m", start(), lambda p: p["w"].sum(), batch), ArgumentError, "takes (p)"),
    (Model("m", start(), loss, lambda: {}), ArgumentError, "the batch of 'm' takes ()"),
    (Model("m", {}, loss, batch), ArgumentError, "no parameters"),
    (Model("m", {"w": np.zeros(2, int)}, loss, batch), ArgumentError, "not floating"),
    (Model("m", start(), loss, batch, 0), ArgumentError, ">= 1, got 0"),
    (Model("m", start(), loss, batch, optimizer="adam"), ArgumentError, "not one of sg.optim"),
    (Model("m", start() | {"b": np.zeros(1, "f4")}, loss, batch), GradientError, "parameter 'b'"),
    (Model("m", start(), fails, batch), ProgramError, "ZeroDivisionError"),
    (Model("m", start(), lambda p, b: 3.0, batch), ArgumentError, "gives float"),
    (Model("m", start(), lambda p, b: b["z"], batch), ProgramError, "KeyError: 'z'"),
    (Model("m", start(), lambda p, b: b["x"] @ p["w"], batch), GradientError, "one element"),
    (Model("m", start(), lambda p, b: b["x"] @ b["y"], batch), StaticgradError, "inner sizes"),
    (Model("m", start(), loss, lambda size, draw: [1]), ArgumentError, "batch gives list"),
    (
        Model("m", start(), lambda p, b: loss({"w": sg.stop_gradient(p["w"])}, b), batch),
        GradientError, "no gradient of the result",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("made", "error", "says"), MISTAKES)
def test_mistakes_are_said_at_the_users_line(made: Model, error: type, says: str) -> None:
    with pytest.raises(error) as caught:
        of_model(model(made))
    assert says in str(caught.value)
    assert "test_own_models.py" in str(caught.value)
    with pytest.raises(StaticgradError):
        DefineByRun(model(made)).step(made.draw(2, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lambda p: p['w'].sum()", ["SG108", "takes (p)", "loss(parameters, batch)"]),
        ("lambda p, b: 1 / 0", ["SG508", "ZeroDivisionError"]),
        ("lambda p, b: b['x'] @ p['w']", ["SG301", "needs a seed"]),
    ],
)
def test_the_command_shows_the_users_line_and_no_traceback(tmp_path, line, says) -> None:
    file = tmp_path / "mistaken.py"
    file.write_text(
        "from staticgrad.comparison import Model\n"
        "from tests.comparison.test_own_models import start, batch\n"
        "def own():\n"
        f"    return Model('m', start(), {line}, batch)\n"
    )
    done = CliRunner().invoke(main, ["compare", "--model", f"{file}:own", "--seconds", "0"])
    assert done.exit_code == 1
    for what in (*says, "mistaken.py:4", line):
        assert what in done.output
    assert "Traceback" not in done.output
    assert "click" not in done.output
    assert len(done.output.splitlines()) < 15

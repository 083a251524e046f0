"""The suite of comparisons: a folder of programs as a table, a page and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from staticgrad.errors import UnknownNameError
from staticgrad.tools.commands.cli import main
from staticgrad.tools.comparison import peers, suite
from staticgrad.tools.comparison.loading import beside, subject
from staticgrad.tools.comparison.ways import DefineThenRun, agreement

PROGRAMS = sorted(suite.FOLDER.glob("*.py"))
GOOD = """
import numpy as np
import staticgrad as sg

w = sg.parameter("w", np.ones((3, 200), "float32"))

def by_run(x):
    hidden = sg.tanh(x @ w)
    return (hidden * hidden).mean()

def step(x):
    hidden = sg.tanh(x @ w)
    wide = sg.exp(hidden)
    return (wide * hidden).mean() - (wide * hidden).mean() + (hidden * hidden).mean()

example = step, np.ones((16, 3), "float32")
"""
BROKEN = """
import numpy as np
example = (lambda x: x.sum() if x.sum() > 0 else x.no_such), np.ones(3, "float32")
"""


MAKER = """
import numpy as np
import staticgrad as sg

w = sg.parameter("w", np.random.default_rng().normal(size=(3, 1)))

def loss(x):
    return ((x @ w) ** 2).mean()

def torch():
    import torch
    other = torch.tensor(w.value, requires_grad=True)
    return lambda x: ((x @ other) ** 2).mean()

example = loss, np.ones((4, 3))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good_of_suite.py").write_text(GOOD)
    (tmp_path / "broken_of_suite.py").write_text(BROKEN)
    return tmp_path


def test_a_folder_of_programs(folder: Path) -> None:
    found = suite.run(folder, seconds=0.0, first=False)
    broken, good = found.rows
    assert (broken.name, good.name) == ("broken_of_suite", "good_of_suite")
    assert broken.problem
    assert broken.pair is None
    assert not good.problem
    assert not found.holds
    assert good.pair is not None
    assert good.pair.by_run.cpu > 0
    assert good.tape > 4 * 16 * 200  # the activation, at least
    assert 0 < good.budget <= good.arena
    assert good.predicted >= 1.0
    assert good.measured > 0
    assert good.lines == 2  # wide, and the sum that reads it
    data = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (data["schema"], data["holds"], len(data["rows"])) == (1, False, 2)
    text = found.html()
    assert "good_of_suite" in text
    assert broken.problem[:20] in text
    heads = found.table().heads
    assert all(len(row) == len(heads) + 1 for row in found.table().rows)


def test_a_name_that_is_none(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="no program 'missing'"):
        suite.run(folder, names=["missing"])
    with pytest.raises(UnknownNameError, match="has no programs"):
        suite.run(folder / "empty")


def test_there_are_twenty_programs() -> None:
    assert len(PROGRAMS) >= 20


@pytest.mark.thinned(6)
@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_both_ways_agree(file: Path) -> None:
    chosen = subject(f"{file}:example")
    both = agreement(chosen, DefineThenRun(chosen))
    chosen.restore()
    assert not both.problem
    assert both.losses < 1e-4


@pytest.mark.slow
def test_the_command(folder: Path) -> None:
    (folder / "broken_of_suite.py").unlink()
    page = folder / "page.html"
    arguments = ["compare", "--suite", str(folder), "--seconds", "0", "--html", str(page), "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_every_program_is_the_same_in_other_libraries(
    file: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pytest.importorskip(library)
    if library == "torch":
        monkeypatch.setattr(found, "compile", lambda function: function)
    spec = f"{file}:example"
    chosen = subject(spec)
    try:
        other = beside(spec, library)
    except UnknownNameError:
        other = True  # a module, which is translated
    given = {"torch": False, "jax": None} | {library: other}
    (row, *_) = peers.measured(chosen, 0.0, **given)
    assert not row.reason
    assert row.pair is not None


def test_a_maker_imports_its_library_and_reads_start_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file runs once, so that both programs have the same random start values."""
    library = pytest.importorskip("torch")
    monkeypatch.setattr(library, "compile", lambda function: function)
    file = tmp_path / "maker_of_suite.py"
    file.write_text(MAKER)
    spec = f"{file}:example"
    chosen = subject(spec)
    (row,) = (p for p in peers.measured(chosen, 0.0, beside(spec, "torch")) if p.name == "PyTorch")
    assert not row.reason
    with pytest.raises(UnknownNameError, match="has no 'jax'"):
        beside(spec, "jax")

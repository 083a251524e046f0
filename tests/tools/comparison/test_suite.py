"""The suite of comparisons: a folder of programs as a table, a page and JSON."""

from __future__ import annotations

import json
from html import escape
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from staticgrad.comparison import peers, suite
from staticgrad.comparison.loading import load_peer, subject
from staticgrad.comparison.table import FigureTable
from staticgrad.comparison.ways import DefineThenRun, agreement
from staticgrad.errors import UnknownNameError
from staticgrad.tools.commands.cli import main

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
example = (lambda x: x.no_such()), np.ones(3, "float32")
"""


#: A program that somebody adds: its axis is the second one, and there is no graph.
ADDED = """
import numpy as np
import staticgrad as sg

w = sg.parameter("w", np.zeros(3))
opt = sg.optim.SGD(0.1)

def step(x, y):
    loss = ((x.T @ w - y) ** 2).mean()
    while loss > 0.5:
        opt.minimize(loss)
        loss = ((x.T @ w - y) ** 2).mean()
    return loss

x = np.random.default_rng(0).normal(size=(3, 20))
example = step, x, x.sum(0)
"""
ADDED_IN_TORCH = """
def torch():
    import torch
    other = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.SGD([other], 0.1)

    def step(x, y):
        loss = ((x.T @ other - y) ** 2).mean()
        while loss > 0.5:
            rule.zero_grad()
            loss.backward()
            rule.step()
            loss = ((x.T @ other - y) ** 2).mean()
        return loss

    return step
"""
#: The fields of the JSON document; where one changes its meaning or goes, SCHEMA counts up.
FIELDS = {"schema", "holds", "version", "machine", "rows"}
ROW = {
    "name", "pair", "tape", "arena", "budget", "predicted", "measured", "lines", "first", "peers",
    "problem", "alone", "refusal", "batch_size", "batch_axes",
}  # fmt: skip

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
    actual = suite.run(folder, seconds=0.0, first=False)
    broken, good = actual.rows
    assert (broken.name, good.name) == ("broken_of_suite", "good_of_suite")
    assert broken.problem
    assert broken.pair is None
    assert not good.problem
    assert not actual.holds
    assert good.pair is not None
    assert good.pair.by_run.cpu > 0
    assert good.tape > 4 * 16 * 200  # the activation, at least
    assert 0 < good.budget <= good.arena
    assert good.predicted >= 1.0
    assert good.measured > 0
    assert good.lines == 2  # wide, and the sum that reads it
    data = json.loads(json.dumps(actual.as_json(), allow_nan=False))
    assert (data["holds"], len(data["rows"])) == (False, 2)
    text = actual.html()
    assert "good_of_suite" in text
    assert escape(broken.problem) in text
    for table in actual.tables():
        assert all(len(row) == len(table.heads) + 1 for row in table.rows)


def test_a_program_is_added_by_one_file(folder: Path) -> None:
    """One without a graph has the figures of the tape, and nothing disagrees."""
    (folder / "added_of_suite.py").write_text(ADDED)
    actual = suite.run(folder, names=["added_of_suite"], small=True)
    (row,) = actual.rows
    assert actual.holds
    assert (row.batch_size, row.problem) == (20, "")
    assert row.batch_axes.startswith("axis 1 of x, axis 0 of y")
    assert "bool() needs a number" in row.refusal
    assert row.alone is not None
    assert row.alone.cpu > 0
    assert row.tape > 2 * 8 * 20
    assert [table.title for table in actual.tables()] == ["time of a step", "bytes of a step"]
    assert [*actual.tables()[0].heads] == ["tape"]
    assert any(row.refusal in text for text in actual.reasons)


def test_a_program_without_a_graph_has_the_bytes_of_pytorch(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "beside_of_suite.py").write_text(ADDED + ADDED_IN_TORCH)
    (row,) = suite.run(tmp_path, seconds=0.0, first=False).rows
    (peer,) = row.peers
    assert (peer.reason, peer.pair) == ("", None)
    assert peer.tape > 2 * 8 * 20  # errors, and what they are the difference of
    (_, sizes) = suite.Suite("", "", (row,)).tables()
    assert sizes.heads == ["tape", "PyTorch"]
    assert "-" not in sizes.rows[0]


def test_the_small_suite_is_data_of_a_schema(folder: Path) -> None:
    """The command itself; .ci/run measures the programs of the package."""
    chosen = ["--small", "--only", "good_of_suite", "--json"]
    arguments = ["compare", "--suite", str(folder), *chosen]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert (data["schema"], {*data}) == (2, FIELDS)
    assert [row["name"] for row in data["rows"]] == ["good_of_suite"]
    for row in data["rows"]:
        assert {*row} == ROW
        assert (row["problem"], row["peers"], row["first"]) == ("", [], [])
        assert row["pair"]["by_run"]["cpu"] > row["pair"]["then_run"]["cpu"] > 0
    assert {*suite.SMALL} <= {file.stem for file in PROGRAMS}
    for wrong in (["--small"], ["--only", "hmc"]):
        assert CliRunner().invoke(main, ["compare", *wrong]).exit_code == 2


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_wide_table_goes_on_below(width: int) -> None:
    """Each figure is there whole, whatever the width of the terminal is."""
    heads = [f"column {k}" for k in range(12)]
    rows = [(f"program {n}", *(f"{n}{k:02}.5 ms" for k in range(12))) for n in range(3)]
    console = Console(width=width, file=StringIO(), legacy_windows=False)
    console.print(FigureTable("a step", heads, rows).text())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    words = " ".join(lines)
    assert "…" not in words
    assert all(text in words for row in (heads, *rows) for text in row)
    assert words.count("program 0") == (1 if width == 200 else words.count("a step")) > 0


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
    steps_compared = agreement(chosen, DefineThenRun(chosen))
    chosen.restore()
    assert not steps_compared.problem
    assert steps_compared.losses < 1e-4


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
    imported = pytest.importorskip(library)
    if library == "torch":
        monkeypatch.setattr(imported, "compile", lambda function: function)
    spec = f"{file}:example"
    chosen = subject(spec)
    try:
        peer = load_peer(spec, library)
    except UnknownNameError:
        peer = True  # a module, which is translated
    programs = {"torch": False, "jax": None} | {library: peer}
    (row, *_) = peers.measure_peers(chosen, 0.0, **programs)
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
    (row,) = (
        p for p in peers.measure_peers(chosen, 0.0, load_peer(spec, "torch")) if p.name == "PyTorch"
    )
    assert not row.reason
    with pytest.raises(UnknownNameError, match="has no 'jax'"):
        load_peer(spec, "jax")

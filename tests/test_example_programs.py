"""Twelve programs, each written once: line by line, traced and as graphs they give the same."""

import ast
import importlib.util
import inspect
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "programs"
PROGRAMS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "ways")


@pytest.fixture
def load(monkeypatch):
    """A program, or what they share, as a module of its own."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def loaded(path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return loaded


#: Programs that take many seconds of processor time, and half a minute or more.
LONG, LONGEST = ("cnn", "hmc", "maml", "vae"), ("gan", "gpt", "lstm", "neural_ode")


def marks(path):
    """The marks of a program that trains for long."""
    slow, exhaustive = path.stem in LONG, path.stem in LONGEST
    return [pytest.mark.slow] * slow + [pytest.mark.exhaustive] * exhaustive


@pytest.mark.thinned(6)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_is_one_in_three_ways(path, load):
    pytest.importorskip("sklearn")
    load(FOLDER / "ways.py")
    program = load(path)
    few = {"steps": 3} if "steps" in inspect.signature(program.run).parameters else {}
    program.main(**few)


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(p, marks=marks(p), id=p.stem) for p in PROGRAMS])
def test_a_script_runs_to_its_end(path, load, capsys):
    pytest.importorskip("sklearn")
    load(FOLDER / "ways.py")
    load(path).main()
    assert "the same bits traced and by hand" in capsys.readouterr().out


def test_all_are_there_and_short():
    assert [path.stem for path in PROGRAMS] == [
        "bundle", "cnn", "gan", "gpt", "hmc", "logistic", "lstm", "maml", "mixture", "mlp",
        "neural_ode", "vae",
    ]  # fmt: skip
    for path in (*PROGRAMS, FOLDER / "ways.py"):
        text = path.read_text("utf-8")
        assert len(text.splitlines()) < 120, path
        assert ast.get_docstring(ast.parse(text)), path

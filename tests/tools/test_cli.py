"""The command line: what each command prints, as text and as JSON, and how it exits."""

import json
import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from passes.pipelines import pipeline
from staticgrad.native import loader
from staticgrad.testing import bits
from staticgrad.tools.commands import cli
from tests.helpers.processes import python

ROOT = Path(__file__).parents[2]

TWICE = """\
staticgrad-ir 1
graph twice(%x: f32[n]) {
  %0: f32[n] = tanh(%x)
  %1: f32[n] = tanh(%x)
  %2: f32[n] = exp(%x)
  %3: f32[n] = add(%0, %1)
  return y = %3
}
"""
ONCE = """\
staticgrad-ir 1
graph twice(%x: f32[n]) {
  %0: f32[n] = tanh(%x)
  %1: f32[n] = add(%0, %0)
  return y = %1
}
"""


def invoke(*arguments, text=None):
    """A command's result; an error that staticgrad did not report itself is raised here."""
    return CliRunner().invoke(cli.main, arguments, input=text, catch_exceptions=False)


def answer(*arguments, text=None):
    """Return what a successful command prints with --json: one document, and nothing else."""
    result = invoke(*arguments, "--json", text=text)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A kernel cache for one test."""
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


# The command as a whole


def test_the_version_and_the_commands_are_listed():
    assert invoke("--version").stdout == f"staticgrad, version {sg.__version__}\n"
    listed = invoke("--help").stdout
    for command in ("cache", "demo", "doctor", "explain", "lint", "opt"):
        assert f"\n  {command} " in listed
    assert "..." not in listed.split("Commands:")[1], "a summary that does not fit its line"


@pytest.mark.parametrize(
    "arguments",
    [
        ["dmeo"],
        ["cache", "list"],
        ["opt", "no-such-file.sg"],
        ["demo", "--epochs", "0"],
        ["demo", "--seed", "-1"],
        ["explain", "-", "--size", "batch"],
        ["explain", "-", "--size", "batch=-1"],
    ],
)
def test_a_misspelt_command_exits_with_2(arguments):
    result = invoke(*arguments, text=TWICE)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Usage: ")


@pytest.mark.slow
def test_help_loads_no_compiler():
    program = """
import sys
from staticgrad.tools.commands.cli import main
try: main(["demo", "--help"])
except SystemExit: pass
print(*{"numba", "llvmlite", "scipy", "sklearn", "rich"} & set(sys.modules), sep=",")
"""
    run = python("-c", program, cwd=ROOT)
    assert run.stderr == ""
    assert run.stdout.splitlines()[-1] == ""


def test_a_wrong_setting_is_reported_without_a_traceback(monkeypatch):
    monkeypatch.setenv("STATICGRAD_DEBUG", "loud")
    result = invoke("cache", "dir")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: [SG601] environment STATICGRAD_DEBUG: 'loud' is not ")


@pytest.mark.slow
def test_what_the_system_refuses_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = invoke("docs", "--write", str(tmp_path / "file" / "folder"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: [Errno ")
    assert result.stderr.count("\n") == 1


# cache


def test_the_cache_is_counted_and_cleared(own_cache):
    assert invoke("cache", "dir").stdout == f"{own_cache}\n"
    empty = {"directory": str(own_cache), "kernels": 0, "bytes": 0, "other_installations": 0}
    filled = {**empty, "limit": 512 * 2**20, "refusal": ""}
    assert answer("cache", "info") == filled
    (own_cache / "one.kernel").write_bytes(b"12345")
    (own_cache / "two.kernel").write_bytes(b"123")
    assert answer("cache", "info") == {**filled, "kernels": 2, "bytes": 8, "other_installations": 2}
    text = invoke("cache", "info").stdout
    assert text == f"{own_cache}: 2 kernels, 8 of 536870912 bytes; 2 of other installations\n"
    assert answer("cache", "clear") == {"removed": 2}
    assert list(own_cache.glob("*.kernel")) == []
    assert invoke("cache", "clear").stdout == "0 kernels removed\n"


def test_without_a_cache_dir_says_so(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").write_text("a file in the way")
    monkeypatch.setenv("STATICGRAD_CACHE_DIR", str(tmp_path / "cache"))
    assert invoke("cache", "dir").exit_code == 1
    assert json.loads(invoke("cache", "dir", "--json").stdout) == {"directory": None}
    text = invoke("cache", "info").stdout
    assert text.startswith("no directory that is safe to write: ")
    assert "kernels is not a folder" in text


# opt


@pytest.mark.parametrize("options", [["--pipeline", "dce,cse"], ["-p", "O1"], []])
def test_opt_runs_passes_over_standard_input(options):
    result = invoke("opt", *options, text=TWICE)
    assert (result.exit_code, result.stdout, result.stderr) == (0, ONCE, "")


def test_opt_gives_what_the_pipeline_gives(tmp_path):
    x, w = sg.input("x", ("rows", 3), "float32"), sg.parameter("w", np.ones((3, 2), "float32"))
    loss = (sg.tanh(x @ w) * sg.tanh(x @ w)).mean()
    graph = sg.Graph({"loss": loss}, updates={w: w - 0.1 * sg.grad(loss, w)}, name="step")
    source, target = tmp_path / "in.sg", tmp_path / "out.sg"
    source.write_text(str(graph))
    result = invoke("opt", str(source), "-o", str(target))
    assert (result.exit_code, result.output) == (0, "")
    expected = pipeline("O1")(graph)
    assert sg.same_graph(sg.parse(target.read_text()), expected)
    assert len(expected.nodes) < len(graph.nodes)
    source.write_text(TWICE)  # it may write over its input
    assert invoke("opt", str(source), "-o", str(source)).exit_code == 0
    assert source.read_text() == ONCE


def test_a_mistake_in_a_graph_is_shown_where_it_stands(tmp_path):
    path = tmp_path / "wrong.sg"
    path.write_text(TWICE.replace("exp(%x)", "exq(%x)"))
    result = invoke("opt", str(path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "error: [SG202]" in result.stderr
    assert "wrong.sg:5" in result.stderr
    assert "exq(%x)" in result.stderr
    assert "^^^" in result.stderr
    assert "Traceback" not in result.stderr
    path.write_bytes(b"staticgrad-ir 1\n\xff\xfe")
    result = invoke("opt", str(path))
    assert result.exit_code == 1
    assert "[SG202]" in result.stderr
    result = invoke("opt", "--pipeline", "dce,csse", "--json", text=TWICE)
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "SG202"
    assert "'csse'" in error["message"]


# explain


def test_explain_needs_sizes_for_the_memory():
    actual = invoke("explain", text=TWICE)
    assert actual.exit_code == 0
    assert "twice: 1 steps, 1 kernels" in actual.stdout
    assert "arena: depends on n" in actual.stdout
    assert answer("explain", text=TWICE)["peak_bytes"] is None
    result = invoke("explain", "--size", "m=3", text=TWICE)
    assert result.exit_code == 1
    assert "[SG106]" in result.stderr
    assert "def kernel(" not in invoke("explain", text=TWICE).stdout
    assert "def kernel(" in invoke("explain", "--source", text=TWICE).stdout
    assert answer("explain", "--source", text=TWICE)["source"].count("def kernel(") == 1


# doctor


@pytest.mark.slow
def test_the_doctor_finds_this_installation_well():
    actual = answer("doctor")
    assert actual["holds"] is True
    checks = {check["check"]: check for check in actual["checks"]}
    assert checks["staticgrad"]["found"] == sg.__version__
    assert checks["numpy"]["found"] == np.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    required = {
        re.split(r"[<>=]", requirement)[0] for requirement in project["project"]["dependencies"]
    }
    assert required | {"processor", "self-test", "compiled gradient"} <= set(checks)
    assert "writable" in checks["kernel cache"]["found"]
    shown = invoke("doctor")
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) == len(checks)
    assert "FAIL" not in shown.stdout


def test_the_doctor_compares_bits_with_those_of_other_machines(monkeypatch):
    chosen = {name: bits.PROGRAMS[name] for name in ("arithmetic", "product", "Adam")}
    monkeypatch.setattr(bits, "PROGRAMS", chosen)
    actual = answer("doctor", "--bits")
    assert actual["holds"] is True
    assert [row["program"] for row in actual["programs"]] == [*chosen]
    assert all(
        row["digest"] == row["expected"] == bits.read()[row["program"]]
        for row in actual["programs"]
    )
    assert actual["machine"]["machine"] == platform.machine()
    assert actual["machine"]["llvmlite"] == metadata.version("llvmlite")
    monkeypatch.setattr(bits, "read", lambda: {"arithmetic": "0 0"})
    shown = invoke("doctor", "--bits")
    assert shown.exit_code == 1
    assert len([line for line in shown.stdout.splitlines() if line.startswith("FAIL")]) == 3
    assert "0 of 3 programs" in shown.stdout


def test_the_doctor_reports_a_program_that_does_not_run(monkeypatch):
    def build():
        raise sg.errors.ShapeError("no program")

    monkeypatch.setattr(bits, "PROGRAMS", {"arithmetic": build})
    (row,) = json.loads(invoke("doctor", "--bits", "--json").stdout)["programs"]
    assert row["holds"] is False
    assert row["digest"].endswith("no program")


@pytest.mark.slow
def test_wrong_code_is_what_the_doctor_is_for(monkeypatch):
    monkeypatch.setattr(loader, "is_sound", lambda target: False)
    result = invoke("doctor")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert "self-test" in line
    assert "staticgrad cache clear" in line
    assert json.loads(invoke("doctor", "--json").stdout)["holds"] is False

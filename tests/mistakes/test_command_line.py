"""Mistakes on the command line: one short message, what was meant, and an exit code."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from staticgrad.tools.commands import cli

GRAPH = """\
staticgrad-ir 1
graph g(%x: f32[batch, 3]) {
  %0: f32[batch, 3] = tanh(%x)
  return y = %0
}
"""
#: arguments -> words of the message; ``g.sg`` is the graph, ``wrong.sg`` has a misspelt op.
MISTAKES = {
    ("optt", "g.sg"): ("No such command 'optt'",),
    ("opt", "missing.sg"): ("'missing.sg'", "No such file"),
    ("opt", "."): ("Is a directory",),
    ("opt", "wrong.sg"): ("[SG202]", "wrong.sg:3", "tnah(%x)", "did you mean tanh?"),
    ("opt", "binary.sg"): ("[SG202]", "binary.sg:1"),
    ("opt", "g.sg", "--pipeline", "dce,sec"): (
        "[SG202] no pass is named 'sec'",
        "dce,sec",
        "'cse'",
    ),
    ("opt", "g.sg", "--pipeline", "cse{bordr=True}"): ("[SG202] no option 'bordr'", "border"),
    ("opt", "g.sg", "--disable", "sec"): ("[SG205] no pass 'sec' to disable",),
    ("opt", "g.sg", "--pipelin", "dce"): ("No such option", "--pipeline"),
    ("explain", "g.sg", "--size", "bacth=3"): ("[SG106]", "no size 'bacth'", "'batch'"),
    ("explain", "g.sg", "--size", "batch"): ("'batch' is not NAME=N",),
    ("explain", "g.sg", "--size", "batch=-1"): ("'batch=-1' is not NAME=N",),
    ("cache", "lst"): ("No such command 'lst'",),
    ("demo", "--epochs", "0"): ("0 is not in the range",),
    ("doctor", "--jsn"): ("No such option",),
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_explained(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("g.sg").write_text(GRAPH)
    Path("wrong.sg").write_text(GRAPH.replace("tanh", "tnah"))
    Path("binary.sg").write_bytes(b"\xff\xfe\x00\x01")
    result = CliRunner().invoke(cli.main, arguments, catch_exceptions=False)
    assert result.exit_code in (1, 2)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) <= 12
    assert [word for word in MISTAKES[arguments] if word not in result.stderr] == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("BACKEND", "llvm", "[SG601]"), ("BAKEND", "numba", "[SG602]"), ("DEBUG", "7", "[SG601]")],
)
def test_a_mistake_in_the_environment_is_named(name, value, word, monkeypatch):
    monkeypatch.setenv(f"STATICGRAD_{name}", value)
    result = CliRunner().invoke(cli.main, ["opt"], input=GRAPH, catch_exceptions=False)
    assert result.exit_code == 1
    assert f"{word} environment STATICGRAD_{name}" in result.stderr

"""``staticgrad lint``: what it prints, as text and as JSON, and its exit codes."""

import json

import pytest
from click.testing import CliRunner

from staticgrad.commands import cli

HAZARD = """\
staticgrad-ir 1
graph g(%x: f32[n], %y: f32[n]) {
  %0: f32[n] = abs(%x)   # train.py:7
  %1: f32[n] = log(%0)   # train.py:8
  %2: f32[n] = acos(%y)   # train.py:9
  %3: f32[n] = add(%1, %2)   # train.py:9
  return y = %3
}
"""
CLEAN = HAZARD.replace("log(", "exp(")


def run(*arguments, text=HAZARD):
    return CliRunner().invoke(cli.main, ["lint", *arguments], input=text, catch_exceptions=False)


def test_hazards_are_printed_and_the_exit_code_is_one():
    result = run()
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "[log-at-zero] log: the operand can be 0, where the logarithm is -inf",
        "  train.py:8",
        "  hint: sg.log(x + 1e-12); of counts sg.log1p(x); p log p is sg.xlogy(p, p)",
    ]


def test_a_graph_without_any_exits_with_zero(tmp_path):
    (tmp_path / "g.sg").write_text(CLEAN)
    result = run(str(tmp_path / "g.sg"))
    assert (result.exit_code, result.stdout) == (0, "no hazards found\n")


def test_notes_and_exceptions_are_options():
    assert "[arc-at-one]" in run("--notes", text=CLEAN).stdout
    assert run("--without", "log-at-zero").exit_code == 0


@pytest.mark.parametrize(("text", "rules"), [(HAZARD, ["log-at-zero"]), (CLEAN, [])])
def test_findings_as_json(text, rules):
    result = run("--json", text=text)
    data = json.loads(result.stdout)
    assert [each["rule"] for each in data["findings"]] == rules
    assert data["holds"] is (not rules)
    assert result.exit_code == len(rules)
    assert all(each["file"] == "train.py" and each["line"] == 8 for each in data["findings"])


def test_an_unknown_lint_is_explained():
    result = run("--without", "log-at-zer")
    assert result.exit_code == 1
    assert "did you mean 'log-at-zero'" in result.stderr

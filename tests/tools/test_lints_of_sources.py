"""Lints of programs in Python: each on its own examples, which run, and on programs without."""

import dataclasses
import sys
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

import staticgrad as sg
from staticgrad.compiler.compiling.compiler import Compiled
from staticgrad.errors import ArgumentError, OpDefinitionError
from staticgrad.programs.traced import Tracer
from staticgrad.tools.commands import cli
from staticgrad.tools.lints import SOURCE_LINTS
from staticgrad.tools.lints.retraces import SourceLint
from staticgrad.tools.lints.sources import LintedSource

PAIRS = [
    pytest.param(rule, bad, good, id=f"{name}-{k}")
    for name, rule in SOURCE_LINTS.items()
    for k, (bad, good) in enumerate(zip(rule.bad, rule.good, strict=True))
]


def names_of(text):
    """The lints that report something of a program."""
    source = LintedSource(text, "train.py")
    return [f.rule for rule in SOURCE_LINTS.values() for f in rule.findings(source)]


def run(text, monkeypatch):
    """Run a program: its results, and how often it traced a function or compiled a graph."""
    traced = []
    trace, start = Tracer.trace, Compiled.__init__
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", sg.StaticgradWarning)
        patch.setattr(Tracer, "trace", lambda *args: (traced.append("trace"), trace(*args))[1])
        patch.setattr(
            Compiled,
            "__init__",
            lambda *args, **kw: (traced.append("program"), start(*args, **kw))[1],
        )
        space = {}
        exec(compile(text, "train.py", "exec"), space)
    return space["results"], max(traced.count("trace"), traced.count("program"))


@pytest.mark.parametrize(("rule", "bad", "good"), PAIRS)
def test_a_program_compiles_anew_and_its_cure_does_not(rule, bad, good, monkeypatch):
    """The oracle of both is a run, of five iterations: its traces, and its results."""
    assert names_of(bad) == [rule.name]
    assert names_of(good) == []
    actual, traces = run(bad, monkeypatch)
    cured, fewer = run(good, monkeypatch)
    assert traces >= 5
    assert fewer <= 2
    assert len(actual) == len(cured) == 5
    for first, second in zip(actual, cured, strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-12)


START = """
import math
import numpy as np
import staticgrad as sg
from staticgrad import function
x = np.arange(6.0)
"""
#: Programs that trace once or twice, or of which the text does not say more.
RIGHT = {
    "arithmetic of a rate": """
@sg.function
def step(x, rate):
    return x * rate * 0.9**rate
for k in range(5):
    step(x, 0.1 * 0.9**k)
""",
    "static on purpose": """
@function(static="n")
def step(x, n):
    return x[:n].sum()
for n in range(1, 6):
    step(x, n)
""",
    "an array's comparison": """
@sg.function
def step(x, limit):
    return sg.where(x > limit, x, 0.0).sum()
for k in range(5):
    step(x, 0.5 * k)
""",
    "numbers of NumPy": """
@sg.function
def step(x, rate):
    return sg.where(rate > 0.5, x, -x)
for rate in np.linspace(0, 1, 5):
    step(x, rate)
""",
    "a list that is cleared": """
@sg.function
def step(parts):
    return sum(parts)
for _ in range(5):
    parts = []
    for _ in range(3):
        parts.append(x)
    step(parts)
""",
    "a window of a list": """
@sg.function
def step(parts):
    return sum(parts)
parts = [x, x, x]
for _ in range(5):
    parts.append(x)
    parts.pop(0)
    step(parts)
""",
    "compiled once, called in a loop within a loop": """
for width in (4, 8):
    step = sg.function(lambda x: x.sum())
    for _ in range(100):
        step(x)
""",
    "another function of the same name": """
def first():
    @sg.function
    def step(x, n):
        return x[:n]
    return step

def second(step):
    for n in range(5):
        step(x, n)
""",
    "a None that is tested": """
@sg.function
def step(x, state):
    return x if state is None else x + state
state = None
for _ in range(5):
    state = step(x, state)
""",
    "a counter that the function does not read": """
@sg.function
def step(x):
    return 2 * x
count = 0
for _ in range(5):
    count += 1
    step(x)
""",
    "batches and their mean": """
@sg.function
def step(x, y):
    return ((x - y) ** 2).mean()
losses = []
for batch in np.split(x, 3):
    losses.append(step(batch, batch.mean()))
""",
}


@pytest.mark.parametrize("name", RIGHT)
def test_programs_that_compile_once_are_not_reported(name):
    assert names_of(START + RIGHT[name]) == []


def test_a_finding_has_the_line_of_the_file(tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SOURCE_LINTS["list-per-iteration"].bad[0])
    (finding,) = sg.lint(file)
    assert (finding.at.file, finding.at.text.strip()) == (
        str(file), "results.append(total(history))"
    )  # fmt: skip
    _, place, text, carets, fix = str(finding).splitlines()
    assert "train.py:15" in place
    assert text.find("history") == carets.find("^")
    assert fix.startswith("  hint: one array, np.stack(history)")
    assert sg.lint(str(file), without=["list-per-iteration"]) == ()
    result = CliRunner().invoke(cli.main, ["lint", str(file)])
    assert (result.exit_code, result.stdout) == (1, f"{finding}\n")


def test_modules_and_functions_are_read_by_their_file():
    actual = sg.lint(sys.modules[__name__])
    assert actual == sg.lint(names_of) == sg.lint(sg.function(run)) == ()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("missing.py", "cannot be read"),
        (eval("lambda: 0"), "no file has its text"),
        (__file__.replace(".py", ".txt"), "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_an_error(program, words):
    with pytest.raises(ArgumentError, match=words):
        sg.lint(program)


def test_text_that_is_not_python_is_an_error(tmp_path):
    (tmp_path / "train.py").write_text("for\n")
    with pytest.raises(ArgumentError, match="is not Python"):
        sg.lint(tmp_path / "train.py")
    with pytest.raises(ArgumentError, match="there is no lint 'list-per-iterations'"):
        sg.lint(tmp_path / "train.py", without=["list-per-iterations"])


def test_a_row_needs_examples_of_both_kinds():
    rule = SOURCE_LINTS["list-per-iteration"]
    with pytest.raises(OpDefinitionError):
        dataclasses.replace(rule, good=())
    with pytest.raises(OpDefinitionError):
        SourceLint("name", "about", rule.check, (), ())

"""The examples run, print what they are about, and stay short enough to read at one sitting."""

import ast
from pathlib import Path

import pytest

from tests.beside import python

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

#: Example -> what its output must hold, besides what the example asserts by itself.
SAID = {
    "01_hello_gradient": ["z        10", "dz/dx    7", "d2z/dxdy 1", "[SG302]", "hint:"],
    "02_linear_regression": ["step  300", "least squares", "plans 1 -> 2"],
    "03_digits": ["arena at batch 64", "epoch 30", "test accuracy 9"],
    "10_fit_an_ode": ["step 400", "adaptive [2.85", "fixed [2.85"],
    "11_hidden_markov": ["6 symbols: log p = -6.94", "729 paths", "2 plans, compiled once"],
    "13_char_gpt": ["3 layers,", "step 200", "it writes: 'The following statements"],
    "14_per_sample_gradients": ["clipped 56 of 64", "as a loop"],
    "15_many_solves": ["2,000 systems", "ensemble of 16"],
    "16_functions_of_arrays": ["accuracy", "attacked", "traced 2 times"],
    "05_hessian_vector": ["relative error", "iteration 0"],
    "06_read_the_kernel": ["== schedule", "def kernel(t, own, begin, end):", "== result"],
    "08_gaussian_process": ["step 200  loss  -98.585", "[SG415] matrix 0 is not positive definite"],
}


def test_every_example_is_expected():
    assert {path.stem for path in EXAMPLES} == set(SAID)


def each_example():
    """One parameter per example; the one that trains for thirty epochs is slow."""
    for path in EXAMPLES:
        marks = [pytest.mark.slow] if path.stem == "03_digits" else []
        yield pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.thinned(11)
@pytest.mark.parametrize("path", list(each_example()))
def test_an_example_runs_says_what_it_is_about_and_has_no_hazard(path, tmp_path):
    """Every graph that it compiles is linted where it is compiled."""
    if "digits" in path.stem:
        pytest.importorskip("sklearn")
    command = ("-W", "error", "-m", "tests.linted", path)
    run = python(*command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, timeout=120)
    assert run.stderr == ""
    assert [words for words in SAID[path.stem] if words not in run.stdout] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_says_why_and_checks_what_it_claims(path):
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) < 120
    assert ast.get_docstring(tree)
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))

"""Examples and programs of README and ARCHITECTURE run, print what stands there, stay short."""

import ast
import importlib.util
import inspect
import re
import sys
import tomllib
from pathlib import Path

import pytest

import staticgrad.errors
from staticgrad.tools.commands.cli import main
from tests.helpers.processes import python
from tests.page_programs import blocks, outputs, programs

ROOT = Path(__file__).parents[3]
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
    "17_graph_network": ["step 59: loss 0.", "accuracy of the other nodes 0.8"],
    "19_sampler_in_numba": ["accepted 9", "mu 4.", "tau 3."],
    "18_eight_schools": ["mu 4.", "4.40 exactly", "3.60 exactly"],
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
    command = ("-W", "error", "-m", "tests.tools.documentation.linted", path)
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


FOLDER = Path(__file__).parents[3] / "examples" / "programs"
PROGRAMS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "ways")


@pytest.fixture
def load(monkeypatch):
    """A program, or what they share, as a module of its own."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load_file(path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load_file


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


PAGES = ("README.md", "ARCHITECTURE.md")
TEXTS = (*PAGES, "docs/decisions.md")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("page", PAGES)
def test_programs_print_what_the_page_says(page):
    actual = programs(ROOT / page)
    assert actual
    printed = outputs([source for source, _ in actual])
    assert [text.rstrip() for text in printed] == [text.rstrip() for _, text in actual]


@pytest.mark.parametrize("page", PAGES)  # a log of decisions names files of its time
def test_paths_that_a_page_names_exist(page):
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:staticgrad|passes|examples|tests|benchmarks)/[\w./*]*)`", text))
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    folder = (ROOT / page).parent
    named |= {str((folder / link).resolve().relative_to(ROOT)) for link in links}
    assert named
    assert sorted(path for path in named if not list(ROOT.glob(path.rstrip("/")))) == []


@pytest.mark.parametrize("page", TEXTS)
def test_public_names_and_codes_of_a_page_exist(page):
    text = (ROOT / page).read_text("utf-8")
    for name in re.findall(r"\bsg\.(\w+(?:\.\w+)?)", text):
        value = staticgrad
        for part in name.split("."):
            value = getattr(value, part)
    assert set(re.findall(r"\bSG\d{3}\b", text)) <= set(staticgrad.errors.CODES)


def test_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    shown = re.findall(r"(?:`|python -m )staticgrad (\w+)", text)
    assert set(shown) == set(main.commands)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(re.findall(r'pip install -e "\.\[(\w+)\]"', text)) <= set(extras)


def test_the_picture_of_the_readme_is_that_of_its_first_program():
    first, _ = programs(ROOT / "README.md")[0]
    program, _, _ = first.partition("\nf = sg.compile")
    (svg,) = outputs([program + "\nprint(step.svg())\n"])
    assert (ROOT / "docs/step.svg").read_text("utf-8") == svg.removesuffix("\n")


def test_the_program_in_pytorch_has_the_losses_of_ours():
    pytest.importorskip("torch")
    _, ours = programs(ROOT / "README.md")[0]
    theirs = next(text for kind, text in blocks(ROOT / "README.md") if kind == "py")
    (printed,) = outputs([theirs])
    losses = [line for line in ours.splitlines() if "loss" in line]
    assert printed.splitlines() == losses
    assert len(losses) == 4


def test_the_two_commands_stand_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    assert 'python -m pip install -e ".[demo]" && python -m staticgrad demo\n' in text
    assert 'python -m pip install -e ".[test]" && python -m pytest\n' in text
    text = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith(("#", "https://"))] == ["docs/step.svg"]
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    anchors = {"#" + title.lower().replace(" ", "-") for title in titles}
    assert {link for link in links if link.startswith("#")} <= anchors
    first, output = programs(ROOT / "README.md")[0]
    assert len(first.splitlines()) <= 25
    assert output

"""The course: its notebooks are those of its pages, run, and print what stands there."""

import re
import sys

import pytest

from staticgrad import documentation
from staticgrad.documentation.site import GUIDE
from tests.page_programs import COURSE, NOTEBOOKS, notebook, outputs, programs


def test_the_course_has_notebooks_words_and_an_engine():
    assert documentation.CONTENTS["Learn"][1:] == COURSE
    assert sorted(path.name for path in NOTEBOOKS.iterdir()) == sorted(f"{n}.ipynb" for n in COURSE)
    text = "".join(page.read_text("utf-8") for page in GUIDE.glob("*.md"))
    for word in ("register_hook", "retain_graph", "gradcheck", "detect_mutation",
                 "clip_grad_norm", "GradientTape", "create_graph", "saved_tensors"):  # fmt: skip
        assert word in text, word
    steps = [source for source, _ in programs(GUIDE / "an-engine.md")][:4]
    lines = [line for source in steps for line in source.splitlines() if line.strip()]
    assert 70 < len(lines) <= 100


@pytest.mark.parametrize("name", COURSE)
def test_a_notebook_is_that_of_its_page(name):
    """``python -m tests.page_programs PAGE`` writes it."""
    assert (NOTEBOOKS / f"{name}.ipynb").read_text("utf-8") == notebook(GUIDE / f"{name}.md")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter's packages are not of the notebook
@pytest.mark.parametrize("name", COURSE)
def test_a_notebook_prints_what_it_says(name):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    read = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(read)
    said = [printed(cell) for cell in read.cells if cell.cell_type == "code"]
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(read, timeout=600, kernel_name="python3", resources=folder).execute()
    assert [printed(cell) for cell in read.cells if cell.cell_type == "code"] == said


def printed(cell):
    """The lines of a cell on either stream: a warning is one, too."""
    text = "".join(each.get("text", "") for each in cell.outputs)
    return [line.rstrip() for line in text.rstrip().splitlines()]


@pytest.mark.parametrize("name", COURSE)
def test_a_page_of_the_course_names_the_claims_that_it_tests(name):
    """Of each of PyTorch, JAX and TensorFlow, or of a paper or course."""
    text = (GUIDE / f"{name}.md").read_text("utf-8")
    table = text[text.index("| claim |") :].partition("\n\n")[0]
    links = re.findall(r"\]\((https://[^)]+)\)", table)
    for of in ("pytorch.org", "jax.dev", "tensorflow.org"):
        assert any(of in link for link in links), of
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    named = [h for h in re.findall(r'"([^"]+)"', table) if h[0].isupper() and " page" not in h]
    theirs = "In-place correctness checks"
    assert [heading for heading in named if heading not in (*headings, theirs)] == []


@pytest.mark.slow
def test_wrong_answers_are_not_right(capsys):
    """Each checker of the exercises is given what a student may hand in."""
    sources = [source for source, _ in programs(GUIDE / "exercises.md")]
    outputs([*sources, "import sys; sys.modules['course'] = sys.modules['train']\n"])
    page = vars(sys.modules.pop("course"))
    sg = page["sg"]

    def forgets_to_divide(w, x, y):
        for begin in range(0, len(x), 2):
            error = page["Tensor"](x[begin : begin + 2]) @ w - page["Tensor"](y[begin : begin + 2])
            (error * error).mean().backward()

    page["check_accumulated"](forgets_to_divide)
    page["check_softplus"](lambda x: sg.log(1.0 + sg.exp(sg.clip(x, -100.0, 100.0))))
    page["check_hvp"](lambda f, x, v: sg.grad(f)(x) * v)
    page["check_binary"](lambda x: 1.0 * x)
    page["check_collatz"](lambda n: n)
    page["check"]("hand", (2, 7))
    page["check"]("saved", 512 * 768)
    assert capsys.readouterr().out.split("\n") == ["not yet"] * 7 + [""]

"""The course: its notebooks have what its pages have, run, and print what stands there."""

import json
import re
import sys

import pytest

from staticgrad.tools import documentation
from staticgrad.tools.documentation.site import GUIDE
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


def read_by_lines(page):
    """Programs with outputs, and the other lines, of a page: read line by line, without patterns.

    Returns the programs as [source, output, whether a solution] and the lines of words.
    """
    found, words = [], []
    language = folded = None
    for line in page.read_text("utf-8").splitlines():
        if language is not None:
            if line == "```":
                language = None
            elif language == "python":
                found[-1][0].append(line)
            elif language == "text" and found:
                found[-1][1].append(line)
        elif line.startswith("```"):
            language = line[3:]
            if language == "python":
                found.append([[], [], folded is not None])
        elif line.startswith("<details"):
            folded = line
        elif line == "</details>":
            folded = None
        else:
            words.append(line)
    assert language is folded is None, "each is closed"
    return found, words


def cells(name, kind):
    """The sources of a notebook's cells of one kind, as lists of lines, with the cells."""
    read = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))["cells"]
    return [("".join(cell["source"]).splitlines(), cell) for cell in read
            if cell["cell_type"] == kind]  # fmt: skip


ANSWER = ["# your answer"]


@pytest.mark.parametrize("name", COURSE)
def test_a_notebook_has_all_programs_outputs_and_words_of_its_page(name):
    programs, words = read_by_lines(GUIDE / f"{name}.md")
    shown = [(lines, cell) for lines, cell in cells(name, "code") if lines != ANSWER]
    assert [lines for lines, _ in shown] == [source for source, *_ in programs]
    assert [printed(cell) for _, cell in shown] == [output for _, output, _ in programs]
    assert [bool(cell["metadata"]) for _, cell in shown] == [folded for *_, folded in programs]
    added = ("<details><summary>In words", "</details>", "**Solution**, folded:")
    lines = [
        line for found, _ in cells(name, "markdown") for line in found
        if not line.startswith(added)
    ]  # fmt: skip
    assert labels_alone(lines) == labels_alone(words)


def labels_alone(lines):
    """All words, without the addresses of links."""
    return re.sub(r"\]\([^)]*\)", "]", " ".join(lines)).replace("[", "").replace("]", "").split()


@pytest.mark.parametrize("name", COURSE)
def test_links_of_a_notebook_lead_to_files(name):
    text = "\n".join(line for lines, _ in cells(name, "markdown") for line in lines)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (NOTEBOOKS / link).is_file()] == []


def test_each_exercise_has_a_question_a_cell_for_the_answer_and_a_folded_solution():
    read = json.loads((NOTEBOOKS / "exercises.ipynb").read_text("utf-8"))["cells"]
    exercises, own = {}, []
    for cell in read:
        text = "".join(cell["source"])
        if text.startswith("## "):
            own = exercises.setdefault(text.partition("\n")[0], [])
        own.append((text, cell))
    page = (GUIDE / "exercises.md").read_text("utf-8").splitlines()
    assert [*exercises] == [line for line in page if line.startswith("## ")]
    assert [int(heading.split(".")[0].removeprefix("## ")) for heading in exercises] == [
        *range(1, 13)
    ]
    for heading, found in exercises.items():
        codes = [(text, cell) for text, cell in found if cell["cell_type"] == "code"]
        answers = [k for k, (text, _) in enumerate(codes) if [text] == ANSWER]
        folds = [k for k, (_, cell) in enumerate(codes)
                 if cell["metadata"].get("jupyter", {}).get("source_hidden")]  # fmt: skip
        assert len(answers) == len(folds) == 1, heading
        assert answers[0] < folds[0] == len(codes) - 1, heading
        (_, question), (solution, cell) = found[0], codes[-1]
        assert question["cell_type"] == "markdown"
        (checker,) = re.findall(r"^(check\w*)\(", solution, re.MULTILINE)
        start = "\n".join(text for text, _ in found[: found.index(codes[answers[0]])])
        asked = f"def {checker}(function)" if checker != "check" else "check("
        assert asked in start, f"{heading}: what checks the answer stands ahead of it"
        assert printed(cell)[0] == "right", heading


@pytest.mark.slow
def test_the_cells_of_the_exercises_run_one_after_the_other():
    found = cells("exercises", "code")
    said = outputs(["\n".join(lines) + "\n" for lines, _ in found])
    shown = [[line.rstrip() for line in text.rstrip().splitlines()] for text in said]
    assert shown == [printed(cell) for _, cell in found]
    assert "".join(said).split("\n").count("right") == 12


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
    text = "".join("".join(each.get("text", "")) for each in cell["outputs"])
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

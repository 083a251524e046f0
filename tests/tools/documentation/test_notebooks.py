"""Notebooks have what their pages have, run, and print what stands there; the course."""

import json
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from staticgrad.tools import documentation
from staticgrad.tools.documentation.site import GUIDE
from tests.page_programs import (
    ANSWER,
    COURSE,
    FURTHER,
    NEEDS,
    NOTEBOOKS,
    WITH_NOTEBOOKS,
    notebook,
    notebook_file,
    outputs,
    programs,
)
from tests.tools.documentation.pages_by_lines import (
    cells,
    is_folded,
    pictures_of,
    printed_lines,
    read_by_lines,
)


def test_the_course_has_notebooks_and_words():
    learn = documentation.CONTENTS["Learn"]
    assert [name for name in COURSE if name in learn] == [n for n in learn if n in COURSE]
    names = [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    course = [f"{k:02}-{name}.ipynb" for k, name in enumerate(COURSE)]
    assert names == course + [f"{name}.ipynb" for name in FURTHER]
    text = "".join(page.read_text("utf-8") for page in GUIDE.glob("*.md"))
    for word in ("register_hook", "retain_graph", "gradcheck", "detect_mutation",
                 "clip_grad_norm", "GradientTape", "create_graph", "saved_tensors"):  # fmt: skip
        assert word in text, word


@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_a_notebook_is_that_of_its_page(name):
    """``python -m tests.page_programs PAGE`` writes it."""
    assert notebook_file(name).read_text("utf-8") == notebook(GUIDE / f"{name}.md")


#: A line of a program, as a page and a notebook show it.
LINE = re.compile(r"(train\.py|<cell>):\d+")


@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_a_notebook_has_all_programs_outputs_and_words_of_its_page(name):
    programs, words = read_by_lines(GUIDE / f"{name}.md")
    shown = [(lines, cell) for lines, cell in cells(name, "code") if lines != [ANSWER]]
    assert [lines for lines, _ in shown] == [source for source, *_ in programs]
    outputs_shown = [[LINE.sub("LINE", line) for line in printed_lines(cell)] for _, cell in shown]
    assert outputs_shown == [
        [LINE.sub("LINE", line) for line in output] for _, output, *_ in programs
    ]
    assert [is_folded(cell) for _, cell in shown] == [folded for _, _, folded, _ in programs]
    added = ("<details><summary>In words", "</details>", "**Solution**, folded:")
    lines = [
        line for cell_lines, _ in cells(name, "markdown") for line in cell_lines
        if not line.startswith(added)
    ]  # fmt: skip
    assert labels_alone(lines) == labels_alone(words)


def labels_alone(lines):
    """All words, without the addresses of links."""
    return re.sub(r"\]\([^)]*\)", "]", " ".join(lines)).replace("[", "").replace("]", "").split()


@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_links_of_a_notebook_lead_to_files(name):
    text = "\n".join(line for lines, _ in cells(name, "markdown") for line in lines)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (NOTEBOOKS / link).is_file()] == []


@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_a_notebook_has_the_pictures_of_its_page(name):
    """Each is a picture that has a title and shapes, and belongs to one program."""
    programs, _ = read_by_lines(GUIDE / f"{name}.md")
    shown = [pictures_of(cell) for lines, cell in cells(name, "code") if lines != [ANSWER]]
    files = [(GUIDE / picture).read_text("utf-8") if picture else "" for *_, picture in programs]
    assert [text for texts in shown for text in texts] == [text for text in files if text]
    assert [len(texts) for texts in shown] == [bool(text) for text in files]
    assert name == "exercises" or any(files), "a page with a notebook shows something"
    for text in filter(None, files):
        root = ElementTree.fromstring(text)
        tags = [element.tag.rpartition("}")[2] for element in root.iter()]
        assert root.tag.endswith("}svg")
        assert tags.count("rect") + tags.count("polyline") > 1
        assert root.find("{*}title").text.strip()


def test_every_picture_is_of_one_page():
    used = [picture for page in GUIDE.glob("*.md") for *_, picture in read_by_lines(page)[0]]
    files = [f"pictures/{path.name}" for path in (GUIDE / "pictures").iterdir()]
    assert sorted(filter(None, used)) == sorted(files)


def is_exercise(name, text):
    """Return whether a text begins as an exercise does; those of the last page have numbers."""
    return re.match(r"## \d+\. " if name == "exercises" else "## Exercise: ", text) is not None


@pytest.mark.parametrize("name", COURSE)
def test_each_exercise_has_a_question_a_cell_for_the_answer_and_a_folded_solution(name):
    """Those of a notebook, counted against the lines of its page."""
    read = json.loads(notebook_file(name).read_text("utf-8"))["cells"]
    exercises, section = {}, []
    for cell in read:
        text = "".join(cell["source"])
        if text.startswith("## "):
            section = []
            if is_exercise(name, text):
                exercises[text.partition("\n")[0]] = section
        section.append((text, cell))
    page = (GUIDE / f"{name}.md").read_text("utf-8").splitlines()
    assert [*exercises] == [line for line in page if is_exercise(name, line)]
    assert len(exercises) == sum(line.startswith("<details") for line in page)
    assert len(exercises) == sum("".join(cell["source"]) == ANSWER for cell in read)
    for heading, section_cells in exercises.items():
        codes = [(text, cell) for text, cell in section_cells if cell["cell_type"] == "code"]
        answers = [k for k, (text, _) in enumerate(codes) if text == ANSWER]
        folds = [k for k, (_, cell) in enumerate(codes) if is_folded(cell)]
        assert len(answers) == len(folds) == 1, heading
        assert answers[0] < folds[0] == len(codes) - 1, heading
        (_, question), (solution, cell) = section_cells[0], codes[-1]
        assert question["cell_type"] == "markdown"
        (checker,) = re.findall(r"^(check\w*)\(", solution, re.MULTILINE)
        start = "\n".join(
            text for text, _ in section_cells[: section_cells.index(codes[answers[0]])]
        )
        asked = f"def {checker}(" if checker != "check" else "check("
        assert asked in start, f"{heading}: what checks the answer stands ahead of it"
        assert printed_lines(cell)[0] == "right", heading


def test_the_exercises_are_as_many_as_the_index_says():
    counts = {}
    for name in COURSE:
        _, words = read_by_lines(GUIDE / f"{name}.md")
        counts[name] = sum(is_exercise(name, line) for line in words)
    assert counts["exercises"] == 12
    index = (GUIDE / "index.md").read_text("utf-8")
    assert f"{len(COURSE)} notebooks" in index
    assert f"{sum(counts.values())} exercises" in index


@pytest.mark.parametrize("name", COURSE)
def test_a_page_says_how_long_it_takes(name):
    text = (GUIDE / f"{name}.md").read_text("utf-8").splitlines()[2]
    assert re.match(r"\*About \d+ minutes\.", text)


@pytest.mark.slow
def test_the_cells_of_the_exercises_run_one_after_the_other():
    actual = cells("exercises", "code")
    texts = outputs(["\n".join(lines) + "\n" for lines, _ in actual])
    shown = [[line.rstrip() for line in text.rstrip().splitlines()] for text in texts]
    assert shown == [printed_lines(cell) for _, cell in actual]
    assert "".join(texts).split("\n").count("right") == 12


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter's packages are not of the notebook
@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_a_notebook_prints_what_it_says(name):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip(NEEDS.get(name, "numpy"))
    read = nbformat.read(notebook_file(name), as_version=4)
    nbformat.validate(read)
    codes = [cell for cell in read.cells if cell.cell_type == "code"]
    lines_before, shown = (
        [printed_lines(cell) for cell in codes],
        [len(pictures_of(cell)) for cell in codes],
    )
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(read, timeout=600, kernel_name="python3", resources=folder).execute()
    codes = [cell for cell in read.cells if cell.cell_type == "code"]
    assert [printed_lines(cell) for cell in codes] == lines_before
    assert [len(pictures_of(cell)) for cell in codes] == shown


class Sections(HTMLParser):
    """The depth of each ``section`` of slides, their text, and their SVG pictures."""

    def __init__(self, html):
        super().__init__()
        self.depth, self.depths, self.text, self.pictures = 0, [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self.depth += 1
            self.depths.append(self.depth)
        source = dict(attrs).get("src") or ""
        self.pictures += tag == "img" and source.startswith("data:image/svg+xml;")

    def handle_endtag(self, tag):
        self.depth -= tag == "section"

    def handle_data(self, data):
        self.text += [data] if self.depth else []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", WITH_NOTEBOOKS)
def test_slides_have_what_the_page_has(name):
    """A column for each heading, a slide below for each program; no cell for answers."""
    nbconvert = pytest.importorskip("nbconvert")
    from traitlets.config.loader import PyFileConfigLoader

    config = PyFileConfigLoader("slides.py", str(NOTEBOOKS)).load_config()
    assert config.NbConvertApp.notebooks == sorted(map(str, NOTEBOOKS.glob("*.ipynb")))
    exporter = nbconvert.SlidesExporter(config=config)
    html, _ = exporter.from_filename(str(notebook_file(name)))
    programs, words = read_by_lines(GUIDE / f"{name}.md")
    actual = Sections(html)
    assert actual.depths.count(1) == sum(line.startswith(("# ", "## ")) for line in words)
    text = " ".join("".join(actual.text).split())
    for source, *_ in programs:
        for line in source:
            assert " ".join(line.split()) in text
    assert ANSWER not in text
    pictures = [picture for *_, picture in programs if picture]
    assert actual.pictures == len(pictures)


@pytest.mark.parametrize("name", COURSE)
def test_a_page_of_the_course_names_the_claims_that_it_tests(name):
    """Name claims of PyTorch, JAX and TensorFlow each, or of a paper or course."""
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

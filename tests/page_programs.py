"""Programs on pages of Markdown, what they print and draw, and notebooks of the pages.

``python -m tests.page_programs PAGE...`` writes what the programs print into the pages, the
pictures that they draw into files beside the pages, and the notebook of each page that has one.
A picture is drawn by a program whose last line is an object that draws itself, as a graph, where
the page has an image behind the program.

    ![the words of the picture](pictures/the-tape-1.svg)

Slides are made of the notebooks: ``jupyter nbconvert --to slides``. Each heading begins a slide.
"""

import ast
import contextlib
import io
import json
import linecache
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from staticgrad.nn import module as naming
from staticgrad.support.pictures.shown import standalone
from staticgrad.tools.documentation.site import GUIDE

FILE = "train.py"  # what the pages' programs are called
NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
#: The course, in its order.
COURSE = (
    "first-gradient",
    "an-engine",
    "a-compiler",
    "run-or-define",
    "compare",
    "the-tape",
    "forward-and-reverse",
    "vanishing-gradients",
    "where-memory-goes",
    "fit-into-memory",
    "policies",
    "dead-nodes",
    "loops-and-branches",
    "mixed-precision",
    "write-a-pass",
    "read-a-kernel",
    "debugging",
    "exercises",
)
#: Further pages that have notebooks.
FURTHER = ("from-numba", "log-density")
WITH_NOTEBOOKS = (*COURSE, *FURTHER)
#: Pages whose programs need a package that not everyone has.
NEEDS = {"onnx": "onnx", "pymc": "pymc", "log-density": "pymc"}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """(language, text) of every fenced block."""
    return _BLOCK.findall(page.read_text("utf-8"))


def programs(page):
    """Python blocks with the output that follows: the text of the next block, if that is text."""
    fenced = blocks(page)
    next_blocks = [*fenced, ("", "")][1:]
    return [
        (source, output if kind == "text" else "")
        for (language, source), (kind, output) in zip(fenced, next_blocks, strict=True)
        if language == "python"
    ]


def notebook_file(name):
    """The path of a page's notebook: a number in front is its place in the course."""
    number = f"{COURSE.index(name):02}-" if name in COURSE else ""
    return NOTEBOOKS / f"{number}{name}.ipynb"


@contextlib.contextmanager
def names_of_a_new_process():
    """Parameters get the names that they have where no module was made before."""
    with contextlib.ExitStack() as stack:
        for table in (naming._of_layers._numbers, naming._of_attributes._numbers, naming._paths):
            stack.enter_context(patch.dict(table, clear=True))
        yield


@names_of_a_new_process()
def outputs(sources, drawn=None):
    """Return what each source prints. All are one program, as for a reader who types along.

    ``drawn`` is a list that gets the HTML that the last line of each source shows, or None.
    """
    text = "".join(sources)
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    module = sys.modules[Path(FILE).stem] = ModuleType(Path(FILE).stem)  # classes pickle by it
    printed, line = [], 0
    try:
        for source in sources:
            stdout = io.StringIO()
            with contextlib.redirect_stdout(stdout):
                shown = run_cell("\n" * line + source, vars(module))
            printed.append(stdout.getvalue())
            if drawn is not None:
                draw = getattr(shown, "_repr_html_", None)
                drawn.append(None if draw is None else draw())
            line += len(source.splitlines())
    finally:
        del sys.modules[module.__name__]
    return printed


def run_cell(source, names):
    """Run a program as a cell of a notebook: return the value of its last line, if it is one."""
    tree = ast.parse(source, FILE)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, FILE, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), FILE, "eval"), names)


def pictures(page):
    """The path of the picture behind each program of a page, or None."""
    return [
        GUIDE / part["picture"] if part["picture"] else None
        for part in _PART.finditer(page.read_text("utf-8"))
        if part["source"] is not None
    ]


def renew(page):
    """Write what the programs print behind each of them that has such a block, and pictures."""
    drawn = []
    printed_texts = iter(outputs([source for source, _ in programs(page)], drawn))
    for path, html in zip(pictures(page), drawn, strict=True):
        if path is not None:
            path.parent.mkdir(exist_ok=True)
            svg = re.search(r"<svg.*?</svg>", html, re.DOTALL)[0]
            path.write_text(standalone(svg), "utf-8")
    text = page.read_text("utf-8")
    program_and_output = re.compile(
        r"^```python\n(.*?)^```$(\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL
    )

    def renew_output(match):
        printed = next(printed_texts).rstrip()
        printed = "\n".join(line.rstrip() for line in printed.splitlines())
        block = f"```python\n{match[1]}```"
        return f"{block}\n\n```text\n{printed}\n```" if match[2] else block

    page.write_text(program_and_output.sub(renew_output, text), "utf-8")


_PART = re.compile(
    r"^```python\n(?P<source>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?"
    r"(?:\n!\[(?P<words>[^\]]*)\]\((?P<picture>pictures/[^)]+)\)\n)?"
    r"|^(?P<fold><details[^\n]*)\n|^(?P<unfold></details>)\n",
    re.MULTILINE | re.DOTALL,
)
#: The empty cell of an exercise.
ANSWER = "# your answer"
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


def notebook(page):
    """The notebook of a page as text: programs are cells, and have the outputs of the page.

    A program inside of ``<details>`` is a cell whose source is folded. Each heading begins a slide,
    a program is below it; empty cells for answers are on no slide.
    """
    text = page.read_text("utf-8")
    cells = []

    def add(kind, source, slide="-", **fields):
        parts = re.split(r"^(?=##)", source, flags=re.MULTILINE) if kind == "markdown" else [source]
        for cell_text in filter(str.strip, parts):
            begins = kind == "markdown" and (cell_text.lstrip().startswith("#") or not cells)
            metadata = {"slideshow": {"slide_type": "slide" if begins else slide}}
            cell = {"cell_type": kind, "id": f"cell-{len(cells)}", **fields}
            cell["metadata"] = metadata | fields.get("metadata", {})
            cells.append({**cell, "source": _lines(cell_text.strip("\n"))})

    end, folded, starts = 0, False, [0]  # in how many lines of programs each one begins
    for part in _PART.finditer(text):
        words = _LINK.sub(_relink, text[end : part.start()]).strip("\n")
        if folded and words:
            words = f"<details><summary>In words</summary>\n\n{words}\n\n</details>"
        add("markdown", words, metadata={"tags": ["solution"]} if folded else {})
        end = part.end()
        if part["source"] is not None:
            shown = []
            starts.append(starts[-1] + len(part["source"].splitlines()))
            if part["output"]:
                shown_text = _LINE.sub(partial(_in_its_cell, starts), part["output"])
                shown.append(
                    {"name": "stdout", "output_type": "stream", "text": _lines(shown_text)}
                )
            if part["picture"]:
                data = {
                    "image/svg+xml": _lines((GUIDE / part["picture"]).read_text("utf-8")),
                    "text/plain": [part["words"]],
                }
                shown.append({"data": data, "metadata": {}, "output_type": "display_data"})
            hidden = {"jupyter": {"source_hidden": True, "outputs_hidden": True}}
            folds = {**hidden, "tags": ["solution"]} if folded else {}
            add("code", part["source"], "subslide", execution_count=None, metadata=folds,
                outputs=shown)  # fmt: skip
        elif part["fold"] is not None:
            folded = True
            add("code", f"{ANSWER}\n", "skip", execution_count=None, outputs=[])
            says = "**Solution**, folded: the three dots open it."
            add("markdown", says, "skip", metadata={"tags": ["solution"]})
        else:
            folded = False
    add("markdown", _LINK.sub(_relink, text[end:]))
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": spec, "language_info": {"name": "python"}}
    contents = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(contents, indent=1, ensure_ascii=False) + "\n"


#: A line of a page's program, as results show it; a notebook counts within its cell.
_LINE = re.compile(rf"\b{re.escape(FILE)}:(\d+)")


def _in_its_cell(starts, place):
    line = int(place[1])
    return f"<cell>:{line - max(start for start in starts if start < line)}"


def _lines(text):
    return (text or "").splitlines(keepends=True)


def _relink(link):
    """A link from a notebook to a page that is a file; of other pages the words alone."""
    label, address, anchor = link.groups()
    if Path(address).stem in WITH_NOTEBOOKS and "/" not in address:
        return f"[{label}]({notebook_file(Path(address).stem).name})"
    if not (GUIDE / address).is_file():
        return label
    return f"[{label}](../../staticgrad/tools/documentation/guide/{address}{anchor or ''})"


if __name__ == "__main__":
    for name in map(Path, sys.argv[1:]):
        renew(name)
        if name.stem in WITH_NOTEBOOKS:
            notebook_file(name.stem).write_text(notebook(name), "utf-8")

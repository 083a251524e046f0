"""Programs on pages of Markdown, what they print, and notebooks of the pages.

``python -m tests.page_programs PAGE...`` writes what the programs print into the pages, and the
notebook of each page that has one.
"""

import contextlib
import gc
import io
import json
import linecache
import re
import sys
from pathlib import Path
from types import ModuleType

from staticgrad.tools.documentation.site import GUIDE

FILE = "train.py"  # what the pages' programs are called
NOTEBOOKS = Path(__file__).parents[1] / "examples" / "notebooks"
#: The course. The outputs of these pages contain no file names or line numbers.
COURSE = (
    "the-tape",
    "forward-and-reverse",
    "vanishing-gradients",
    "where-memory-goes",
    "fit-into-memory",
    "loops-and-branches",
    "mixed-precision",
    "write-a-pass",
    "an-engine",
    "exercises",
)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """(language, text) of every fenced block."""
    return _BLOCK.findall(page.read_text("utf-8"))


def programs(page):
    """Python blocks with the output that follows: the text of the next block, if that is text."""
    found = blocks(page)
    after = [*found, ("", "")][1:]
    return [
        (source, output if kind == "text" else "")
        for (language, source), (kind, output) in zip(found, after, strict=True)
        if language == "python"
    ]


def outputs(sources):
    """What each source prints. All are one program, as for a reader who types along."""
    gc.collect()  # modules of pages before keep their names as long as they are there
    text = "".join(sources)
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    module = sys.modules[Path(FILE).stem] = ModuleType(Path(FILE).stem)  # classes pickle by it
    printed, line = [], 0
    try:
        for source in sources:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile("\n" * line + source, FILE, "exec"), vars(module))
            printed.append(said.getvalue())
            line += len(source.splitlines())
    finally:
        del sys.modules[module.__name__]
    return printed


def renew(page):
    """Write what the programs print behind each of them that has such a block."""
    said = iter(outputs([source for source, _ in programs(page)]))
    text = page.read_text("utf-8")
    both = re.compile(r"^```python\n(.*?)^```$(\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)

    def renewed(match):
        printed = next(said).rstrip()
        printed = "\n".join(line.rstrip() for line in printed.splitlines())
        block = f"```python\n{match[1]}```"
        return f"{block}\n\n```text\n{printed}\n```" if match[2] else block

    page.write_text(both.sub(renewed, text), "utf-8")


_PART = re.compile(
    r"^```python\n(?P<source>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?"
    r"|^(?P<fold><details[^\n]*)\n|^(?P<unfold></details>)\n",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


def notebook(page):
    """The notebook of a page as text: programs are cells, and have the outputs of the page.

    A program inside of ``<details>`` is a cell whose source is folded.
    """
    text = page.read_text("utf-8")
    cells = []

    def add(kind, source, **rest):
        if source.strip():
            cell = {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}, **rest}
            cells.append({**cell, "source": _lines(source.strip("\n"))})

    end, folded = 0, False
    for part in _PART.finditer(text):
        words = _LINK.sub(_relinked, text[end : part.start()]).strip("\n")
        if folded and words:
            words = f"<details><summary>In words</summary>\n\n{words}\n\n</details>"
        add("markdown", words)
        end = part.end()
        if part["source"] is not None:
            output = {"name": "stdout", "output_type": "stream", "text": _lines(part["output"])}
            folds = {"jupyter": {"source_hidden": True, "outputs_hidden": True}} if folded else {}
            add("code", part["source"], execution_count=None, metadata=folds,
                outputs=[output] if part["output"] else [])  # fmt: skip
        elif part["fold"] is not None:
            folded = True
            add("code", "# your answer\n", execution_count=None, outputs=[])
            add("markdown", "**Solution**, folded: the three dots open it.")
        else:
            folded = False
    add("markdown", _LINK.sub(_relinked, text[end:]))
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": spec, "language_info": {"name": "python"}},
             "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _lines(text):
    return (text or "").splitlines(keepends=True)


def _relinked(link):
    """A link from a notebook to a page that is a file; of other pages the words alone."""
    label, address, anchor = link.groups()
    if Path(address).stem in COURSE and "/" not in address:
        return f"[{label}]({Path(address).stem}.ipynb)"
    if not (GUIDE / address).is_file():
        return label
    return f"[{label}](../../staticgrad/tools/documentation/guide/{address}{anchor or ''})"


if __name__ == "__main__":
    for name in map(Path, sys.argv[1:]):
        renew(name)
        if name.stem in COURSE:
            (NOTEBOOKS / f"{name.stem}.ipynb").write_text(notebook(name), "utf-8")

"""Another reader of pages and notebooks: line by line, without the patterns of the generator."""

import json

from tests.page_programs import notebook_file


def read_by_lines(page):
    """Programs with outputs, and the other lines, of a page; text in other languages is of these.

    Returns the programs as [source, output, whether a solution, picture] and the lines of words.
    """
    actual, words = [], []
    language = folded = None
    for line in page.read_text("utf-8").splitlines():
        if language is not None:
            if language not in ("python", "text"):
                words.append(line)
            if line == "```":
                language = None
            elif language == "python":
                actual[-1][0].append(line)
            elif language == "text" and actual:
                actual[-1][1].append(line)
        elif line.startswith("```"):
            language = line[3:]
            if language == "python":
                actual.append([[], [], folded is not None, ""])
            elif language != "text":
                words.append(line)
        elif line.startswith("!["):
            assert not actual[-1][3], "a program draws one picture"
            actual[-1][3] = line.rpartition("(")[2].removesuffix(")")
        elif line.startswith("<details"):
            folded = line
        elif line == "</details>":
            folded = None
        else:
            words.append(line)
    assert language is folded is None, "each is closed"
    return actual, words


def cells(name, kind):
    """The sources of a notebook's cells of one kind, as lists of lines, with the cells."""
    read = json.loads(notebook_file(name).read_text("utf-8"))["cells"]
    return [("".join(cell["source"]).splitlines(), cell) for cell in read
            if cell["cell_type"] == kind]  # fmt: skip


def printed_lines(cell):
    """The lines of a cell on either stream: a warning is one, too."""
    text = "".join("".join(output.get("text", "")) for output in cell["outputs"])
    return [line.rstrip() for line in text.rstrip().splitlines()]


def pictures_of(cell):
    """The SVG pictures of a cell's outputs, in a file or within HTML."""
    pictures = []
    for output in cell["outputs"]:
        data = output.get("data", {})
        text = "".join(data.get("image/svg+xml", "")) or "".join(data.get("text/html", ""))
        pictures += [text] if "<svg" in text else []
    return pictures


def is_folded(cell):
    """Return whether a reader has to open a cell to see it."""
    return bool(cell["metadata"].get("jupyter", {}).get("source_hidden"))

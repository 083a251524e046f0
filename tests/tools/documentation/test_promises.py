"""The page of promises: its tests exist and run, and each strong sentence belongs to a row."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from staticgrad.tools.documentation import reference
from staticgrad.tools.documentation.site import GUIDE
from tests.tools.documentation.strong_sentences import NO_PROMISE, PROMISED

ROOT = Path(__file__).parents[3]
#: Words that promise. Names of operations (bitwise and) are none.
STRONG = re.compile(
    r"\b(never|always|identical(ly)?|bitwise(?! (and|or|exclusive))|(same|equal) (bits|bytes)"
    r"|exactly|no other|no silent|last bit|same as one process|every (byte|bit))\b|check_estimator",
    re.IGNORECASE,
)
MARKS = {"skip", "xfail"}


class Row(NamedTuple):
    """A promise of the page: its name, where it is said, the tests that hold it, what is left."""

    name: str
    places: set[str]
    tests: list[str]
    exceptions: str


def read_rows():
    lines = (GUIDE / "promises.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:2] == "| "]
    return [
        Row(name, set(read_places(places)), re.findall(r"`([^`]+)`", tests), exceptions)
        for name, _, places, tests, exceptions in cells
        if name != "promise"
    ]


def read_places(text):
    """README, the addresses of pages, the names of docstrings."""
    yield from re.findall(r"README|ARCHITECTURE", text)
    yield from re.findall(r"\]\(([\w-]+)\.md\)", text)
    yield from re.findall(r"`(sg\.[\w.]+)`", text)


ROWS = read_rows()
NAMES = [row.name for row in ROWS]


@cache
def read_tests(path):
    """The tests of a file by name, and whether the file marks any as expected to fail."""
    text = (ROOT / path).read_text("utf-8")
    module = ast.parse(text)
    tests = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    return tests, "xfail" in text, [n for n in module.body if isinstance(n, ast.Assign)]


def find_marks(node):
    """Names of the marks of a test's decorators or of an assigned ``pytestmark``."""
    roots = getattr(node, "decorator_list", [node])
    parts = [part for root in roots for part in ast.walk(root)]
    return {part.attr for part in parts if isinstance(part, ast.Attribute)}


def find_test(address):
    """The definition of a test, which has its decorators."""
    path, _, name = address.partition("::")
    return read_tests(path)[0][name]


def test_promises_have_a_name_a_place_and_tests():
    assert len(ROWS) > 40
    assert len(set(NAMES)) == len(NAMES)
    assert [row.name for row in ROWS if not row.places or not row.tests] == []


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_tests_of_a_promise_exist_and_run(row):
    for address in row.tests:
        path, _, name = address.partition("::")
        tests, fails, assigned = read_tests(path)
        assert name in tests, address
        assert name.startswith("test_"), address
        assert not find_marks(find_test(address)) & MARKS, f"{address} is not run or may fail"
        for node in assigned:
            if "pytestmark" in [getattr(target, "id", "") for target in node.targets]:
                assert not find_marks(node) & MARKS, f"{address}: its file is not run or may fail"
        assert row.exceptions or not fails, f"{address} expects failures, which the row leaves out"
    marks = [find_marks(node) for node in map(find_test, row.tests)]
    assert [m for m in marks if "exhaustive" not in m], "one of them runs with the others"


# -- sentences -------------------------------------------------------------------------------------


def read_sentences(text):
    """Sentences of Markdown without programs; each cell of a table is one."""
    text = re.sub(r"```.*?```|<!--.*?-->", "", text, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*[-|#])", text):
        words = " ".join(block.split())
        for cell in words.split(" | ") if words.startswith("|") else [words]:
            yield from re.split(r"(?<=[.:;?!])\s+(?=[A-Z*`\[(])", cell.strip("| "))


def read_texts():
    """Yield the place of a text and the text: pages, then docstrings of public names."""
    for page in ("README", "ARCHITECTURE"):
        yield page, (ROOT / f"{page}.md").read_text("utf-8")
    for path in sorted(GUIDE.glob("*.md")):
        if path.stem != "promises":
            yield path.stem, path.read_text("utf-8")
    for _, path, names in reference.rooms().values():
        for name in names:
            yield f"{path}.{name}", read_docstrings(getattr(reference.owner(path), name))


def read_docstrings(value):
    """The docstrings of a public value and of its public methods, as Markdown."""
    values = [value]
    if isinstance(value, type):
        public = [part for name, part in vars(value).items() if name[0] != "_"]
        values += [getattr(part, "__func__", part) for part in public]  # of class methods
    documented = [v for v in values if callable(v) or isinstance(v, property)]
    return "\n\n".join(reference.markdown(inspect.getdoc(v) or "") for v in documented)


@cache
def find_strong_sentences():
    """Each strong sentence of a place, once; a docstring that two names share is the first's."""
    places = {}
    for place, text in read_texts():
        for sentence in filter(STRONG.search, read_sentences(text)):
            if place[:3] != "sg." or sentence not in places:
                places.setdefault(sentence, {})[place] = None
    return [(place, sentence) for sentence in places for place in places[sentence]]


def read_fragments(table):
    """Row or reason -> where sentences stand, and parts of them: ``README: part of a sentence``."""
    for key, lines in table.items():
        for line in lines.strip().splitlines():
            place, _, fragment = line.strip().partition(": ")
            yield key, place, fragment


def test_each_strong_sentence_belongs_to_a_row_or_is_no_promise():
    fragments = [(p, f) for _, p, f in (*read_fragments(PROMISED), *read_fragments(NO_PROMISE))]
    left = [
        f"{place}: {sentence}"
        for place, sentence in find_strong_sentences()
        if not any(place == p and fragment in sentence for p, fragment in fragments)
    ]
    assert left == [], "a row of the page promises with a test, or plainer words"


def test_the_table_of_sentences_has_no_others():
    sentences = find_strong_sentences()
    for _, place, fragment in (*read_fragments(PROMISED), *read_fragments(NO_PROMISE)):
        count = sum(place == p and fragment in sentence for p, sentence in sentences)
        assert count >= 1, f"{place}: {fragment}"
    assert sum(1 for _ in read_fragments(NO_PROMISE)) <= 60, "reword a sentence"


def test_the_page_says_where_the_sentences_of_a_row_stand():
    places = {row.name: row.places for row in ROWS}
    assert PROMISED.keys() <= places.keys()
    missing = [(row, place) for row, place, _ in read_fragments(PROMISED)
               if place not in places[row]]  # fmt: skip
    assert missing == []


def test_a_strong_sentence_is_found_in_text_lists_and_tables():
    text = """# A page

It is quick. Results never differ, `x` and y
alike. A `bitwise and` of sg.bitwise_and is none.

- exactly this
- not that

| always | a | the same bits |
|---|---|---|

```python
never()
```
"""
    strong = [sentence for sentence in read_sentences(text) if STRONG.search(sentence)]
    assert strong == ["Results never differ, `x` and y alike.", "- exactly this", "always",
                      "the same bits"]  # fmt: skip

"""README and ARCHITECTURE: their programs run, print what stands there, and their paths exist."""

import contextlib
import io
import linecache
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

import staticgrad.errors
from staticgrad.cli import main

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "docs/policies.md")
TEXTS = (*PAGES, "docs/decisions.md")
FILE = "train.py"  # what the pages' programs are called
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return _BLOCK.findall((ROOT / page).read_text("utf-8"))


def programs(page: str) -> list[tuple[str, str]]:
    """Python blocks with the output that follows: the text of the next block, if that is text."""
    found = blocks(page)
    after = [*found[1:], ("", "")]
    return [
        (source, output if kind == "text" else "")
        for (language, source), (kind, output) in zip(found, after, strict=True)
        if language == "python"
    ]


def outputs(sources: Sequence[str]) -> list[str]:
    """What each source prints. All are one program, as for a reader who types along."""
    text = "".join(sources)
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    names: dict[str, object] = {"__name__": "__main__"}
    printed, line = [], 0
    for source in sources:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile("\n" * line + source, FILE, "exec"), names)
        printed.append(said.getvalue())
        line += len(source.splitlines())
    return printed


@pytest.mark.parametrize("page", PAGES)
def test_programs_print_what_the_page_says(page):
    found = programs(page)
    assert found
    printed = outputs([source for source, _ in found])
    assert [text.rstrip() for text in printed] == [text.rstrip() for _, text in found]


def test_the_first_example_is_short():
    first, output = programs("README.md")[0]
    assert len(first.splitlines()) <= 25
    assert output


@pytest.mark.parametrize("page", TEXTS)
def test_paths_that_a_page_names_exist(page):
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:staticgrad|passes|examples|tests|benchmarks)/[\w./*]*)`", text))
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    folder = (ROOT / page).parent
    named |= {str((folder / link).resolve().relative_to(ROOT)) for link in links}
    assert len(named) > (10 if page in PAGES[:2] else 2)
    assert sorted(path for path in named if not list(ROOT.glob(path.rstrip("/")))) == []


def test_decisions_stand_in_one_log_and_are_numbered_in_a_row():
    numbers = {
        page: [
            int(n) for n in re.findall(r"^\*\*D(\d+)\. ", (ROOT / page).read_text(), re.MULTILINE)
        ]
        for page in TEXTS
    }
    log = numbers.pop("docs/decisions.md")
    assert log == [*range(1, len(log) + 1)]
    assert {page: found for page, found in numbers.items() if found} == {}


@pytest.mark.parametrize("page", TEXTS)
def test_public_names_and_codes_of_a_page_exist(page):
    text = (ROOT / page).read_text("utf-8")
    for name in re.findall(r"\bsg\.(\w+(?:\.\w+)?)", text):
        value: object = staticgrad
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


def test_the_two_commands_stand_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    assert 'python -m pip install -e ".[demo]" && python -m staticgrad demo\n' in text
    assert 'python -m pip install -e ".[test]" && python -m pytest\n' in text

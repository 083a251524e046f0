"""README and ARCHITECTURE: their programs run, print what stands there, and their paths exist."""

import re
import tomllib
from pathlib import Path

import pytest

import staticgrad.errors
from staticgrad.commands.cli import main
from tests.page_programs import outputs, programs

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md")
TEXTS = (*PAGES, "docs/decisions.md")


@pytest.mark.thinned(2)
@pytest.mark.parametrize("page", PAGES)
def test_programs_print_what_the_page_says(page):
    found = programs(ROOT / page)
    assert found
    printed = outputs([source for source, _ in found])
    assert [text.rstrip() for text in printed] == [text.rstrip() for _, text in found]


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


def test_the_two_commands_stand_in_the_readme():
    text = (ROOT / "README.md").read_text("utf-8")
    assert 'python -m pip install -e ".[demo]" && python -m staticgrad demo\n' in text
    assert 'python -m pip install -e ".[test]" && python -m pytest\n' in text
    text = (ROOT / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert [link for link in links if not link.startswith(("#", "https://"))] == []
    first, output = programs(ROOT / "README.md")[0]
    assert len(first.splitlines()) <= 25
    assert output

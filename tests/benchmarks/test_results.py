"""Stored results: each file stands in the table of its folder, which stays small."""

import re
from pathlib import Path

from benchmarks.__main__ import BENCHMARKS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
PAGES = sorted(RESULTS.glob("*.md"))


def test_each_file_stands_in_the_table():
    page = (RESULTS / "README.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w.-]+)`", page, re.MULTILINE))
    assert named == {path.name for path in RESULTS.iterdir()} - {"README.md"}


def test_the_folder_stays_below_two_megabytes():
    assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 2e6


def test_benchmarks_that_the_pages_name_exist():
    texts = "".join(path.read_text("utf-8") for path in [*PAGES, RESULTS.parent / "README.md"])
    named = set(re.findall(r"python -m benchmarks (\w+)", texts))
    assert len(named) > 8
    assert named - {"NAME"} <= BENCHMARKS.keys()

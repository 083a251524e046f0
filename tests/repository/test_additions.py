"""Additions from outside, as ARCHITECTURE has them: ``tests/repository/outside.py`` makes each."""

import re
from pathlib import Path

import pytest

from tests.helpers.processes import python

ROOT = Path(__file__).parents[2]
PARTS = [
    *("op", "function", "rewrite_rule", "graph_pass", "policy", "optimizer"),
    *("kind_of_reduction", "backend", "distribution"),
]
TABLE = re.compile(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def run_of_additions():
    return python("-m", "tests.repository.outside", cwd=ROOT, check=False)


@pytest.mark.parametrize("part", PARTS)
def test_it_is_added_without_a_change_of_the_packages(run_of_additions, part):
    assert part in run_of_additions.stdout.splitlines(), run_of_additions.stderr


def test_architecture_names_what_each_addition_touches():
    """At most four files each, all of which exist."""
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    rows = TABLE.findall(page[page.index("## How to add") : page.index("## What comes next")])
    additions = {what: re.findall(r"`([\w/.<>*]+)`", files) for what, files, _ in rows[1:]}
    assert len(additions) >= 10
    for what, files in additions.items():
        touched = [name for name in files if "/" in name]
        assert 1 <= len(touched) <= 4, (what, touched)
        assert all([*ROOT.glob(name.replace("<family>", "*"))] for name in touched), what

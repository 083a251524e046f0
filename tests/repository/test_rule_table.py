"""The page about passes: its table says what the rules are, and its programs run."""

import re

import pytest

from passes.rules.tables import RULES
from tests import rule_table

BLOCKS = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


def test_the_page_is_up_to_date():
    assert rule_table.PAGE.read_text("utf-8") == rule_table.page()


def test_every_rule_stands_in_the_table_once():
    text = rule_table.generated_part()
    for name, rule in RULES.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}` "))
        assert f"| {rule.kind} |" in row
        assert row.endswith(f"| {rule.error or '-'} |")
        assert len(re.findall(r"(?<!\\)\|", row)) == 6


@pytest.mark.slow
def test_the_programs_of_the_page_run_and_print_what_it_says(capsys):
    namespace = {"__name__": "page"}
    count = 0
    for kind, text in BLOCKS.findall(rule_table.PAGE.read_text("utf-8")):
        if kind == "python":
            exec(compile(text, "passes.md", "exec"), namespace)
            count += 1
        else:
            assert capsys.readouterr().out == text
    assert count == 8

"""The tables of passes, rewrite rules and lints in the guide's page ``passes.md``.

``python -m tests.rule_table`` writes them; a test compares the page with the code.
"""

from dataclasses import fields
from types import ModuleType

from passes import rules as rule_tables
from passes.pipelines import LEVELS, PASSES
from passes.rewrite import Rewrite
from passes.rewrite.rule import Term
from passes.rules.tables import TABLES
from staticgrad.tools.documentation.site import GUIDE
from staticgrad.tools.lints import LINTS, SOURCE_LINTS
from tests.passes.golden_models import hits_table

PAGE = GUIDE / "passes.md"
BEGIN, END = "<!-- written by python -m tests.rule_table -->", "<!-- end of what is written -->"


def replacement(rule):
    """The right side: a term, a number, or what the function that makes it says of itself."""
    right = rule.replacement
    if isinstance(right, Term | float | int):
        return f"`{right!r}`"
    lines = (right.__doc__ or "").strip().splitlines()
    name = right.__name__.strip("_").replace("_", " ")
    return lines[0] if lines else "computed" if name == "<lambda>" else f"computed: {name}"


def rows(rules):
    """One line of the table per rule."""
    head = ["| rule | class | pattern | becomes | error |", "|---|---|---|---|---|"]
    return head + [
        f"| `{rule.name}` | {rule.kind} | `{_escape_bars(repr(rule.pattern))}`"
        f" | {_escape_bars(replacement(rule))} | {rule.error or '-'} |"
        for rule in rules
    ]


def _escape_bars(text):
    return text.replace("|", "\\|")


def passes():
    """The built-in passes, what they keep, and the levels."""
    lines = ["| pass | options | rules | keeps |", "|---|---|---|---|"]
    for pass_type in PASSES:
        count = len(pass_type.rules) if issubclass(pass_type, Rewrite) else 0
        names = [field.name for field in fields(pass_type)]
        options = ", ".join(f"`{name}`" for name in names) or "-"
        lines.append(f"| `{pass_type.name}` | {options} | {count or '-'} | {pass_type.keeps} |")
    lines += ["", "| level | pipeline |", "|---|---|"]
    return lines + [f"| `{name}` | `{text}` |" for name, text in LEVELS.items()]


def lints():
    """Table of the lints of ``sg.lint``."""
    lines = ["| lint | sees |", "|---|---|"]
    return lines + [
        f"| `{lint.name}` | {_escape_bars(lint.about)} |"
        for lint in [*LINTS.values(), *SOURCE_LINTS.values()]
    ]


def _file(rules):
    """The file in which a table stands."""
    modules = [module for module in vars(rule_tables).values() if isinstance(module, ModuleType)]
    (module,) = (
        module for module in modules if any(rules is value for value in vars(module).values())
    )
    return f"{module.__name__.replace('.', '/')}.py"


def generated_part():
    """All that stands between the two marks of the page."""
    total = sum(map(len, TABLES.values()))
    lines = [BEGIN, "", *passes(), "", f"There are {total} rules.", ""]
    for name, rules in TABLES.items():
        lines += [f"### {name.capitalize()} (`{_file(rules)}`)", "", *rows(rules), ""]
    lines += ["### Hazards that no rule mends (`staticgrad/tools/lints/`)", "", *lints(), ""]
    lines += ["### What O1 does in four training steps (`tests/passes/golden_models.py`)", ""]
    return "\n".join([*lines, *hits_table(), "", END])


def page():
    """``staticgrad/tools/documentation/guide/passes.md`` with its generated part renewed."""
    text = PAGE.read_text("utf-8")
    head, _, tail = text.partition(BEGIN)
    return head + generated_part() + tail.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

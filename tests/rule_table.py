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
from staticgrad.tools.lints import LINTS
from tests.passes.golden_models import hits_table

PAGE = GUIDE / "passes.md"
BEGIN, END = "<!-- written by python -m tests.rule_table -->", "<!-- end of what is written -->"


def replacement(rule):
    """The right side: a term, a number, or what the function that makes it says of itself."""
    right = rule.replacement
    if isinstance(right, Term | float | int):
        return f"`{right!r}`"
    said = (right.__doc__ or "").strip().splitlines()
    name = right.__name__.strip("_").replace("_", " ")
    return said[0] if said else "computed" if name == "<lambda>" else f"computed: {name}"


def rows(rules):
    """One line of the table per rule."""
    head = ["| rule | class | pattern | becomes | error |", "|---|---|---|---|---|"]
    return head + [
        f"| `{each.name}` | {each.kind} | `{_escaped(repr(each.pattern))}`"
        f" | {_escaped(replacement(each))} | {each.error or '-'} |"
        for each in rules
    ]


def _escaped(text):
    return text.replace("|", "\\|")


def passes():
    """The built-in passes, what they keep, and the levels."""
    lines = ["| pass | options | rules | keeps |", "|---|---|---|---|"]
    for each in PASSES:
        count = len(each.rules) if issubclass(each, Rewrite) else 0
        names = [field.name for field in fields(each)]
        options = ", ".join(f"`{name}`" for name in names) or "-"
        lines.append(f"| `{each.name}` | {options} | {count or '-'} | {each.keeps} |")
    lines += ["", "| level | pipeline |", "|---|---|"]
    return lines + [f"| `{name}` | `{text}` |" for name, text in LEVELS.items()]


def lints():
    """What ``sg.lint`` looks for."""
    lines = ["| lint | sees |", "|---|---|"]
    return lines + [f"| `{each.name}` | {_escaped(each.about)} |" for each in LINTS.values()]


def _file(rules):
    """The file in which a table stands."""
    modules = [each for each in vars(rule_tables).values() if isinstance(each, ModuleType)]
    (module,) = (each for each in modules if any(rules is value for value in vars(each).values()))
    return f"{module.__name__.replace('.', '/')}.py"


def generated():
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
    before, _, rest = text.partition(BEGIN)
    return before + generated() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")

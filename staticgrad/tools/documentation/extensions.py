"""The page of all names of ``staticgrad.extend``, with what each is."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from types import ModuleType
from typing import Any, Final

#: Module of ``staticgrad.extend`` -> the heading of its names.
MODULES: Final = {
    "": "The module itself",
    "ops": "Functions of one op",
    "functions": "Functions composed of ops",
    "windows": "Windows over images",
    "loops": "Loops and branches",
    "derivatives": "Functions with derivatives that you write",
    "sizes": "Sizes of axes",
    "dtypes": "Element types",
    "parameters": "Parameters and complex values",
    "trees": "Values in containers",
    "building": "While a program is built",
    "gradients": "Differentiation of values",
    "linear_systems": "Linear systems",
    "tensors": "Eager mode",
    "tapes": "Tapes of eager mode",
    "entries": "Machine code for foreign callers",
    "programs": "Traced and compiled functions",
    "reports": "Analyses and reports",
    "distributions": "Distributions",
    "hints": "Names that do not exist",
    "pages": "Parts of a page",
    "optional": "Packages that may be missing",
    "ranks": "Several processes",
}
#: Modules whose names say it, or have their pages in the reference.
_WITHOUT_TABLE: Final = frozenset(
    {"activations", "dtypes", "functions", "loops", "ops", "optional"}
)
_INTRODUCTION: Final = """
# All names for extensions

[Names for extensions](extend.md) shows how they are used. What users write is not listed: it is
in the reference of `sg`.
""".strip()
_IMPORT: Final = re.compile(r"^from ([\w.]+) import (\([^)]*\)|.*)$", re.MULTILINE)


def page() -> str:
    """Return the page as Markdown: a section for each module, a row for each name."""
    return "\n\n".join([_INTRODUCTION, *map(_section, MODULES)]) + "\n"


def _section(name: str) -> str:
    """Write the documentation's section of one module of ``staticgrad.extend``."""
    path = f"staticgrad.extend.{name}".rstrip(".")
    module = import_module(path)
    head = f"## {MODULES[name]}\n\n`{path}`"
    if name in _WITHOUT_TABLE:
        return f"{head}: " + ", ".join(f"`{public}`" for public in module.__all__) + "."
    tables = [
        "\n".join([f"| {subject} | |", "|---|---|", *(_row(module, public) for public in names)])
        for subject, names in subjects(module).items()
    ]
    return "\n\n".join([head, *tables])


def _row(module: ModuleType, name: str) -> str:
    return f"| `{name}` | " + describe(module, name).replace("|", r"\|") + " |"


def subjects(module: ModuleType) -> dict[str, list[str]]:
    """Return the names of ``__all__`` by the comment above them."""
    by_subject: dict[str, list[str]] = {}
    subject = ""
    for line in inspect.getsource(module).partition("__all__ = [")[2].splitlines():
        if line.lstrip().startswith("#"):
            subject = line.strip("# ")
        names = re.findall(r'"(\w+)"', line)
        if names:
            by_subject.setdefault(subject, []).extend(names)
    return by_subject


def describe(module: ModuleType, name: str) -> str:
    """Return the first paragraph of a docstring, or of the ``#:`` comment at the definition."""
    value: Any = getattr(module, name)
    text = inspect.getdoc(value) if inspect.isroutine(value) or inspect.isclass(value) else ""
    if not text:
        (home,) = [
            home
            for home, names in _IMPORT.findall(inspect.getsource(module))
            if re.search(rf"\b{name}\b", names)
        ]
        comment = rf"((?:^ *#:.*\n)+) *{name}\b.*="
        match = re.search(comment, inspect.getsource(import_module(home)), re.MULTILINE)
        text = re.sub(r"^ *#: ?", "", match[1], flags=re.MULTILINE) if match else ""
    return text.partition("\n\n")[0].strip().replace("\n", " ").replace("``", "`")

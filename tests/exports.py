"""What is derived from the tables of public names, ``staticgrad/exports.py``.

``python -m tests.exports`` writes the stubs that type checkers read, and ``docs/reference.md``; a
test compares them.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import staticgrad as sg
from staticgrad.documentation.reference import called, first_sentence
from staticgrad.exports import FUNCTIONS, MODULES, OTHERS, homes

ROOT = Path(__file__).parents[1]
WRITTEN = "Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."


def facade() -> str:
    """``staticgrad/__init__.pyi``."""
    modules = {home: name for name, home in MODULES.items()}
    return stub({**FUNCTIONS, **OTHERS}, modules, "__version__: str\n")


def functions() -> str:
    """``staticgrad/functions/__init__.pyi``."""
    rooms = ("linalg", "nn", "random", "special")
    modules = {f"staticgrad.functions.{name}": name for name in rooms}
    return stub(FUNCTIONS, modules)


def stub(table: dict[str, str], modules: dict[str, str], rest: str = "") -> str:
    """The text of a stub: imports, which lead to the definitions, and the names that are public."""
    lines = [f'"""{WRITTEN}"""', ""]
    lines += [f"import {home} as {name}" for home, name in sorted(modules.items())]
    public = list(modules.values())
    for module, entries in sorted(table.items()):
        pairs = [(e.partition("=")[0], e.rpartition("=")[2]) for e in entries.split()]
        public += [name for name, _ in pairs]
        clauses = [name if name == there else f"{there} as {name}" for name, there in pairs]
        lines += wrapped(f"from {module} import (", ", ".join(clauses), ")")
    names = ", ".join(f'"{name}"' for name in sorted(public))
    lines += ["", *wrapped("__all__ = [", names, "]")]
    return "\n".join([*lines, rest]).rstrip() + "\n"


def wrapped(start: str, text: str, end: str) -> list[str]:
    """A bracket and its contents in lines of at most 100 characters."""
    return [start, *textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    "), end]


def reference() -> str:
    """``docs/reference.md``: every public name, how it is called, and what it does in a line."""
    lines = [
        "# Reference",
        "",
        "Every public name, how it is called, and its first line; `help(sg.exp)` has the rest:",
        "what it takes, and what it raises. Where a function has NumPy's name it takes NumPy's",
        f"arguments ([numpy.md](numpy.md)). {WRITTEN.replace('``', '`')}",
    ]
    for module, entries in sorted({**FUNCTIONS, **OTHERS}.items()):
        names = homes({module: entries})
        lines += ["", f"## `{module}`", "", *listed(names, sg)]
    for name, home in [*MODULES.items(), ("eager", "staticgrad.eager")]:
        module = importlib.import_module(home)
        if name != "passes":  # guide/passes.md lists them
            shown = f"sg.{name}" if name in MODULES else home
            lines += ["", f"## `{shown}`", "", *listed(module.__all__, module)]
    return "\n".join(lines) + "\n"


def listed(names: Iterable[str], module: Any) -> Iterator[str]:
    """A line of a Markdown list for each name."""
    for name in sorted(names):
        value = getattr(module, name)
        yield f"- `{name}{called(value)}`: {first_sentence(value)}".rstrip(": ")


STUBS = {
    ROOT / "docs" / "reference.md": reference,
    ROOT / "staticgrad" / "__init__.pyi": facade,
    ROOT / "staticgrad" / "functions" / "__init__.pyi": functions,
}

if __name__ == "__main__":
    for path, text in STUBS.items():
        path.write_text(text(), "utf-8")

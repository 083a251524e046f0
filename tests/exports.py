"""What is derived from the tables of public names, ``staticgrad/exports.py``.

``python -m tests.exports`` writes the stubs that type checkers read; a test compares them.
"""

import textwrap
from pathlib import Path

from staticgrad.exports import FUNCTIONS, LAYERS, MODULES, OTHERS

ROOT = Path(__file__).parents[1]
WRITTEN = "Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."


def facade():
    """``staticgrad/__init__.pyi``."""
    modules = {home: name for name, home in MODULES.items()}
    return stub({**FUNCTIONS, **OTHERS}, modules, "__version__: str\n")


def functions():
    """``staticgrad/functions/__init__.pyi``."""
    rooms = ("fft", "linalg", "nn", "random", "sparse", "special")
    modules = {f"staticgrad.functions.{name}": name for name in rooms}
    return stub(FUNCTIONS, modules)


def layers():
    """``staticgrad/nn/__init__.pyi``."""
    return stub(LAYERS, {})


def stub(table, modules, rest=""):
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


def wrapped(start, text, end):
    """A bracket and its contents in lines of at most 100 characters."""
    return [start, *textwrap.wrap(text, 96, initial_indent="    ", subsequent_indent="    "), end]


STUBS = {
    ROOT / "staticgrad" / "__init__.pyi": facade,
    ROOT / "staticgrad" / "functions" / "__init__.pyi": functions,
    ROOT / "staticgrad" / "nn" / "__init__.pyi": layers,
}

if __name__ == "__main__":
    for path, text in STUBS.items():
        path.write_text(text(), "utf-8")

"""The helper functions that exported files define before their kernels, if they need them.

Their source is in modules of this package (``helpers.py`` and ``matrices.py``),
which are read as text, so that writing a file does not import Numba.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from staticgrad.support.traversal import reach

_FOLDER: Final = Path(__file__).parent


def _texts(module: str) -> tuple[str, dict[str, str]]:
    """Return the source of a module's head and of each later definition, by name.

    The head begins with the imports and ends at the first ruler (``# --``). A definition includes
    the comment above it.
    """
    source = (_FOLDER / module).read_text("utf-8")
    lines, texts = source.splitlines(), dict[str, str]()
    body = ast.parse(source).body[1:]  # without the docstring
    ruler = next((n for n, line in enumerate(lines) if line.startswith("# -- ")), 0)
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                first = (
                    min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
                )
            case ast.Assign(targets=[ast.Name(id=name)]):
                first = node.lineno - 1
            case _:
                continue
        if first > ruler:
            while lines[first - 1].startswith("#"):
                first -= 1
            texts[name] = "\n".join(lines[first : node.end_lineno])
    return "\n".join(lines[body[0].lineno - 1 : ruler]).strip("\n"), texts


#: The imports and common definitions of exported files.
IMPORTS, _KERNELS = _texts("helpers.py")
_, _MATRICES = _texts("matrices.py")
#: The text of each function by name, callees first.
PRELUDE: Final = _KERNELS | _MATRICES


def prelude_of(names: Collection[str]) -> list[str]:
    """Return the source of helper functions for an exported file, and of those they call."""

    def find_called(name: str) -> list[str]:
        return [o for o in PRELUDE if o != name and re.search(rf"\b{o}\b", PRELUDE[name])]

    needed = {*reach(names, find_called)}
    return [text for name, text in PRELUDE.items() if name in needed]

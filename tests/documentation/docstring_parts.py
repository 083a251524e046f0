"""Which parts the docstrings of public names lack.

``python -m tests.documentation.docstring_parts`` writes ``lacking.txt``, which a test compares: the
list may only shrink.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from staticgrad.documentation import docstrings, reference

LIST = Path(__file__).with_name("lacking.txt")


def public() -> dict[str, Any]:
    """Every public name that is called, aliases and errors left out."""
    found: dict[int, tuple[str, Any]] = {}
    for _, path, names in reference.rooms().values():
        owner = reference.owner(path)
        for name in names:
            value = getattr(owner, name)
            if callable(value) and not (isinstance(value, type) and issubclass(value, Exception)):
                found.setdefault(id(inspect.unwrap(value)), (f"{path}.{name}", value))
    return dict(sorted(found.values()))


def lacking(value: Any) -> list[str]:
    """The parts that a docstring should have and has not."""
    doc = docstrings.read(value)
    function = value.__init__ if isinstance(value, type) else inspect.unwrap(value)
    known = inspect.signature(function).parameters
    takes = [name for name in known if name not in ("self", "args", "kwargs")]
    result = str(getattr(function, "__annotations__", {}).get("return", ""))
    gives = not isinstance(value, type) and result != "None"
    wanted = ["Args"] if takes else []
    wanted += ["Returns"] if gives and takes else []
    one = len(takes) == 1 and "Operand" in str(known[takes[0]].annotation)
    wanted += ["Raises"] if gives and takes and not one else []  # of one operand all types will do
    parts = [part for part in wanted if part not in doc.sections]
    return parts + ([] if doc.examples else ["example"])


def page() -> str:
    """The list: a name and what it lacks in each line."""
    found = {name: lacking(value) for name, value in public().items()}
    return "".join(f"{name}: {', '.join(parts)}\n" for name, parts in found.items() if parts)


if __name__ == "__main__":
    LIST.write_text(page(), "utf-8")

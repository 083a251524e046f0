"""Docstrings in parts: what a page shows of a public name, and what a test asks of it.

The parts are those that the docstrings of this package have: a summary, paragraphs, sections
(``Args:``, ``Returns:``, ``Raises:``, ``Attributes:``) and examples that start with ``>>>``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

from staticgrad.records import dataclass

#: The sections, in the order in which a page shows them.
SECTIONS: Final = ("Args", "Attributes", "Returns", "Raises")
_HEAD: Final = re.compile(rf"^({'|'.join(SECTIONS)}):(.*)$")
_ENTRY: Final = re.compile(r"^(\*{0,2}[\w.]+(?:(?:, | and )\*{0,2}[\w.]+)*(?: \([^)]*\))?): ?(.*)$")


@dataclass(frozen=True)
class Docstring:
    """``paragraphs`` in order, examples among them; ``sections`` by name, each as its lines."""

    paragraphs: tuple[str, ...]
    sections: dict[str, tuple[str, ...]]

    @property
    def examples(self) -> list[str]:
        """The paragraphs that can be executed."""
        return [each for each in self.paragraphs if each.startswith(">>>")]

    def markdown(self) -> str:
        """The docstring as Markdown, sections before examples."""
        words = [each for each in self.paragraphs if not each.startswith(">>>")]
        parts = [listed(each) for each in words]
        for name in SECTIONS:
            if name in self.sections:
                parts += [f"**{name}**", entries(self.sections[name])]
        parts += [f"```python\n{with_imports(each)}\n```" for each in self.examples]
        return "\n\n".join(parts)


def with_imports(example: str) -> str:
    """Return the example under the imports that it leaves out: of ``sg`` and ``np``."""
    names = {"np": "import numpy as np", "sg": "import staticgrad as sg"}
    missing = [
        f">>> {line}\n"
        for name, line in names.items()
        if line not in example and re.search(rf"\b{name}\.", example)
    ]
    return "".join(missing) + example


def read(value: Any) -> Docstring:
    """The docstring of a function, or of a class together with that of its ``__init__``."""
    text = inspect.getdoc(value) or ""
    if isinstance(value, type) and "__init__" in vars(value):
        made = inspect.cleandoc(value.__init__.__doc__ or "")  # type: ignore[misc]
        text += f"\n\n{made}"
    return parsed(text)


def parsed(text: str) -> Docstring:
    """A docstring without its indentation, in parts."""
    paragraphs: list[str] = []
    sections: dict[str, tuple[str, ...]] = {}
    for block in blocks(text):
        head = _HEAD.match(block[0])
        if head is None:
            paragraphs.append("\n".join(block))
            continue
        rest = [head[2].strip()] if head[2].strip() else []
        sections[head[1]] = (*sections.get(head[1], ()), *rest, *block[1:])
    return Docstring(tuple(paragraphs), sections)


def blocks(text: str) -> Iterator[list[str]]:
    """Runs of lines: a paragraph, an example, or a section with all that is indented under it."""
    found: list[str] = []
    for line in text.splitlines():
        within = bool(found) and _HEAD.match(found[0]) is not None and line.startswith(" ")
        starts = line.startswith(">>>") and not (found and found[0].startswith(">>>"))
        if found and not within and (not line.strip() or starts or _HEAD.match(line)):
            yield found
            found = []
        if line.strip():
            found.append(line)
    if found:
        yield found


def entries(lines: tuple[str, ...]) -> str:
    """A section as Markdown: a list of what has a name, else the text."""
    shortest = min((len(line) - len(line.lstrip()) for line in lines if line[:1] == " "), default=0)
    found: list[str] = []
    for line in lines:
        own = line[shortest:] if line[:1] == " " else line
        entry = _ENTRY.match(own)
        if entry is not None:
            found.append(f"- `{entry[1]}`: {entry[2]}")
        elif found:
            found[-1] += f" {own.strip()}"
        else:
            found.append(own)
    return code("\n".join(found))


def listed(paragraph: str) -> str:
    """A paragraph as Markdown; lines that are indented are code."""
    lines = paragraph.splitlines()
    if all(line.startswith("    ") for line in lines):
        return "```text\n" + inspect.cleandoc("\n".join(lines)) + "\n```"
    return code("\n".join(line.strip() if line[:1] == " " else line for line in lines))


def code(text: str) -> str:
    """Two backquotes as Markdown's one; stars outside of code stay stars."""
    parts = text.replace("``", "`").split("`")
    return "`".join(
        part if k % 2 else part.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")
        for k, part in enumerate(parts)
    )

"""Programs on pages of Markdown, and what they print.

``python -m tests.page_programs PAGE...`` writes what the programs print into the pages.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

FILE = "train.py"  # what the pages' programs are called
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return _BLOCK.findall(page.read_text("utf-8"))


def programs(page: Path) -> list[tuple[str, str]]:
    """Python blocks with the output that follows: the text of the next block, if that is text."""
    found = blocks(page)
    after = [*found, ("", "")][1:]
    return [
        (source, output if kind == "text" else "")
        for (language, source), (kind, output) in zip(found, after, strict=True)
        if language == "python"
    ]


def outputs(sources: Sequence[str]) -> list[str]:
    """What each source prints. All are one program, as for a reader who types along."""
    text = "".join(sources)
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    module = sys.modules[Path(FILE).stem] = ModuleType(Path(FILE).stem)  # classes pickle by it
    printed, line = [], 0
    try:
        for source in sources:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(compile("\n" * line + source, FILE, "exec"), vars(module))
            printed.append(said.getvalue())
            line += len(source.splitlines())
    finally:
        del sys.modules[module.__name__]
    return printed


def renew(page: Path) -> None:
    """Write what the programs print behind each of them that has such a block."""
    said = iter(outputs([source for source, _ in programs(page)]))
    text = page.read_text("utf-8")
    both = re.compile(r"^```python\n(.*?)^```$(\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)

    def renewed(match: re.Match[str]) -> str:
        printed = next(said).rstrip()
        printed = "\n".join(line.rstrip() for line in printed.splitlines())
        block = f"```python\n{match[1]}```"
        return f"{block}\n\n```text\n{printed}\n```" if match[2] else block

    page.write_text(both.sub(renewed, text), "utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        renew(Path(name))

"""Where reports are written."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from staticgrad.errors import ArgumentError
from staticgrad.errors.wording import kind_of


def written(path: str | PathLike[str], text: str) -> Path:
    """Write a report's text.

    Raises:
        ArgumentError: ``path`` is no path. OSError: the file cannot be written.
    """
    if not isinstance(path, str | PathLike):
        raise ArgumentError(f"the path of a file comes first, got {kind_of(path)}")
    found = Path(path)
    found.write_text(text, "utf-8")
    return found

"""Texts that methods return, and that notebooks and IPython show as they read."""

from __future__ import annotations

from typing import Any


class PrintedText(str):
    """A text of several lines, which a notebook and IPython show as ``print`` does."""

    __slots__ = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))


class PictureFile(str):
    """The text of a self-contained SVG file, which a notebook shows as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

"""A program drawn beside its own lines: a band for each line, forward left, backward right.

What runs forward goes down the first column, its derivative comes up the second one beside the
lines that it belongs to, and updates end in the third. So a picture has as many bands as the
program has lines, however many operations these are: equal ones of a band are one box with their
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final, Literal

from staticgrad.support.records import dataclass

#: ``k``: kernels and others; ``q``: what is computed again.
Column = Literal["f", "b", "u", "k", "q"]
COLUMNS: Final[dict[Column, str]] = {"f": "forward", "b": "backward", "u": "update"}
_CODE, _CELL, _CHIPS, _GAP = 380, 350, 170, 14
_ROW, _PILL, _PAD, _TOP = 44, 34, 8, 30
_LETTER, _SMALL = 7.0, 6.6  # about the width of a letter
_MOST_CODE: Final = 50  # characters of a line that are shown
_MOST_EDGES: Final = 900
_FAR: Final = 260  # from here on an edge is faint


@dataclass(frozen=True)
class Band:
    """A line: a ``token`` for links, its ``label`` (``train.py:8``) and its ``text``."""

    token: str
    label: str
    text: str


@dataclass(frozen=True)
class Box:
    """Operations of one kind: in which band and column, what they are called, and how many."""

    band: int
    column: Column
    name: str
    note: str
    count: int = 1
    is_leaf: bool = False
    title: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chip:
    """A kernel of a band: its name, and the token by which it is linked."""

    band: int
    token: str
    name: str
    title: str = ""


@dataclass(frozen=True)
class _Place:
    x: float
    y: float
    width: float

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def ladder(
    bands: Sequence[Band],
    boxes: Sequence[Box],
    edges: Sequence[tuple[int, int]],
    chips: Sequence[Chip] = (),
    title: str = "the graph",
) -> str:
    """Draw a program beside its source lines as SVG: bands, boxes, edges, kernels."""
    used = [column for column in COLUMNS if any(box.column == column for box in boxes)] or ["f"]
    left = {column: _CODE + k * (_CELL + _GAP) for k, column in enumerate(used)}
    right = _CODE + len(used) * (_CELL + _GAP)
    width = right + (_CHIPS if chips else 0)
    places: dict[int, _Place] = {}
    parts: list[str] = []
    y = float(_TOP)
    for number, band in enumerate(bands):
        rows = 1
        for column in used:
            numbers = [
                k for k, box in enumerate(boxes) if (box.band, box.column) == (number, column)
            ]
            widths = [_width(boxes[k]) for k in numbers]
            for k, wide, (x, row) in zip(numbers, widths, _flow(widths, _CELL, 10), strict=True):
                top = y + _PAD / 2 + row * _ROW + (_ROW - _PILL) / 2
                places[k] = _Place(left[column] + x, top, wide)
                rows = max(rows, row + 1)
        drawn, chip_rows = _draw_chips([c for c in chips if c.band == number], right, y)
        height = max(rows, chip_rows) * _ROW + _PAD
        parts.append(_draw_band(number, band, y, width, height) + drawn)
        y += height
    heads = "".join(
        f'<text class="axis" x="{left[c]}" y="18">{COLUMNS[c]}</text>' for c in used
    ) + (f'<text class="axis" x="{right}" y="18">kernels</text>' if chips else "")
    lines = "".join(
        _draw_edge(
            f"n{a} n{b}", places[a], places[b], (boxes[a].column, boxes[b].column) == ("f", "b")
        )
        for a, b in edges[:_MOST_EDGES]
        if a != b
    )
    pills = "".join(_draw_box(k, box, places[k]) for k, box in enumerate(boxes))
    return (
        f'<svg class="ladder" viewBox="0 0 {width:.0f} {y:.0f}" width="{width:.0f}" role="img"'
        f' aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f'<text class="axis" x="8" y="18">your line</text>{heads}{"".join(parts)}{lines}{pills}'
        "</svg>"
    )


def _flow(widths: Sequence[float], room: float, gap: float) -> list[tuple[float, int]]:
    """Lay out boxes of these widths row by row; return an offset and row for each."""
    x, row, offsets = 0.0, 0, []
    for width in widths:
        if x > 0 and x + width > room:
            x, row = 0.0, row + 1
        offsets.append((x, row))
        x += width + gap
    return offsets


def _width(box: Box) -> float:
    return min(max(_LETTER * len(_name(box)), _SMALL * len(box.note)) + 16, _CELL)


def _name(box: Box) -> str:
    return f"{box.name} ×{box.count}" if box.count > 1 else box.name


def _draw_band(number: int, band: Band, y: float, width: float, height: float) -> str:
    """Draw a source line's band of a program picture as SVG."""
    text, label = (
        _cut_middle(band.text, _MOST_CODE),
        _cut_middle(band.label, int((_CODE - 16) / _SMALL)),
    )
    even = f'<rect class="even" x="0" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}"/>'
    return (
        f'<g class="line" data-id="{band.token}">{even if number % 2 else ""}'
        f'<text class="code" x="8" y="{y + 20:.0f}">{escape(text)}</text>'
        f'<text class="small" x="8" y="{y + 35:.0f}">{escape(label)}</text></g>'
    )


def _cut_middle(text: str, most: int) -> str:
    """Return a text without its middle: equal beginnings are common, of lines as of paths."""
    half = most // 2
    return text if len(text) <= most else f"{text[: half - 1]}…{text[-half:]}"


def _draw_box(number: int, box: Box, at: _Place) -> str:
    """Draw a node's box of a program picture as SVG."""
    kind = f"pill {box.column}{' leaf' if box.is_leaf else ''}"
    return (
        f'<g class="{kind}" data-id="n{number}" data-to="{escape(" ".join(box.links))}">'
        f"<title>{escape(box.title or box.name)}</title>"
        f'<rect x="{at.x:.0f}" y="{at.y:.0f}" width="{at.width:.0f}" height="{_PILL}" rx="7"/>'
        f'<text x="{at.x + 8:.0f}" y="{at.y + 15:.0f}">{escape(_name(box))}</text>'
        f'<text class="small" x="{at.x + 8:.0f}" y="{at.y + 28:.0f}">{escape(box.note)}</text></g>'
    )


def _draw_chips(chips: Sequence[Chip], left: float, top: float) -> tuple[str, int]:
    """Draw the kernel labels of a band; return SVG and the rows they take."""
    parts, row = [], -1
    widths = [_LETTER * len(chip.name) + 14 for chip in chips]
    for chip, wide, (offset, row) in zip(chips, widths, _flow(widths, _CHIPS, 6), strict=True):
        x, y = left + offset, top + _PAD / 2 + row * 26 + 5
        parts.append(
            f'<g class="pill k" data-id="{chip.token}"><title>{escape(chip.title)}</title>'
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="20" rx="10"/>'
            f'<text x="{x + 7:.0f}" y="{y + 14:.0f}">{escape(chip.name)}</text></g>'
        )
    return "".join(parts), -(-(row + 1) * 26 // _ROW)


def _draw_edge(tokens: str, source: _Place, target: _Place, is_residual: bool) -> str:
    """Draw a curve from a producer's box to a consumer's; a residual is marked."""
    sideways = is_residual or abs(source.y - target.y) < 1
    if sideways:
        forth = target.x >= source.x
        x1, x2 = (
            (source.x + source.width, target.x) if forth else (source.x, target.x + target.width)
        )
        y1, y2 = source.y + _PILL / 2, target.y + _PILL / 2
        bend = (x2 - x1) / 2
        ends = x1, y1, x1 + bend, y1, x2 - bend, y2, x2, y2
    else:
        y1, y2 = (
            (source.y + _PILL, target.y) if target.y > source.y else (source.y, target.y + _PILL)
        )
        bend = (y2 - y1) / 2
        ends = (
            source.middle,
            y1,
            source.middle,
            y1 + bend,
            target.middle,
            y2 - bend,
            target.middle,
            y2,
        )
    path = "M{:.0f},{:.0f}C{:.0f},{:.0f} {:.0f},{:.0f} {:.0f},{:.0f}".format(*ends)
    far = abs(source.y - target.y) > _FAR
    return (
        f'<path class="edge{" kept" * is_residual}{" far" * far}" data-to="{tokens}" d="{path}"/>'
    )

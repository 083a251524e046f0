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

from staticgrad.support.pictures.markup import flow
from staticgrad.support.records import dataclass

#: ``k``: kernels and others; ``q``: what is computed again.
Column = Literal["f", "b", "u", "k", "q"]
COLUMNS: Final[dict[Column, str]] = {"f": "forward", "b": "backward", "u": "update"}
WIDTH: Final = 1120  # pixels of a picture, at most
_CODE, _CELL, _CHIPS, _GAP = 380, 350, 170, 14  # the most of each column
_ROW, _PILL, _PAD, _TOP = 44, 34, 8, 30
_LEAST_CELL: Final = 120  # of columns beside each other: narrower ones are below each other
_LETTER, _SMALL, _MONO = 7.0, 6.6, 7.3  # about the width of a letter, also of code
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
    width: int = WIDTH,
) -> str:
    """Draw a program beside its source lines as SVG: bands, boxes, edges, kernels.

    ``width`` in pixels is a bound; where columns do not fit into it beside each other, each band
    has its line above, and its columns and kernels below each other.
    """
    used = [column for column in COLUMNS if any(box.column == column for box in boxes)] or ["f"]
    layout = _Layout(bands, boxes, chips, used, width)
    places: dict[int, _Place] = {}
    parts: list[str] = []
    y = float(layout.top)
    for number, band in enumerate(bands):
        rows = 1
        for column in used:
            numbers = [
                k for k, box in enumerate(boxes) if (box.band, box.column) == (number, column)
            ]
            widths = [min(_width(boxes[k]), layout.cell[column]) for k in numbers]
            first = rows if layout.is_stacked else 0
            cells = flow(widths, layout.cell[column], 10)
            for k, wide, (x, row) in zip(numbers, widths, cells, strict=True):
                top = y + _PAD / 2 + (first + row) * _ROW + (_ROW - _PILL) / 2
                places[k] = _Place(layout.left[column] + x, top, wide)
                rows = max(rows, first + row + 1)
        first = rows if layout.is_stacked else 0
        drawn, chip_rows = _draw_chips(
            [c for c in chips if c.band == number], layout.right, y + first * _ROW, layout.chips
        )
        height = max(rows, first + chip_rows) * _ROW + _PAD
        parts.append(_draw_band(number, band, y, layout.width, layout.code, height) + drawn)
        y += height
    heads = ""
    if not layout.is_stacked:
        texts = {8.0: "your line", **{layout.left[c]: COLUMNS[c] for c in used}}
        texts |= {layout.right: "kernels"} if chips else {}
        heads = "".join(
            f'<text class="axis" x="{x:.0f}" y="18">{text}</text>' for x, text in texts.items()
        )
    lines = "".join(
        _draw_edge(
            f"n{a} n{b}", places[a], places[b], (boxes[a].column, boxes[b].column) == ("f", "b")
        )
        for a, b in edges[:_MOST_EDGES]
        if a != b
    )
    pills = "".join(_draw_box(k, box, places[k]) for k, box in enumerate(boxes))
    return (
        f'<svg class="ladder" viewBox="0 0 {layout.width:.0f} {y:.0f}" width="{layout.width:.0f}"'
        f' role="img" aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f"{heads}{''.join(parts)}{lines}{pills}</svg>"
    )


class _Layout:
    """Positions and widths of the columns of a picture of at most ``width`` pixels.

    Columns that need less than their most get what they need. Where what is left for columns of
    boxes is too narrow, the picture is stacked: all columns are as wide as it.
    """

    def __init__(
        self, bands: Sequence[Band], boxes: Sequence[Box], chips: Sequence[Chip],
        used: Sequence[Column], width: int,
    ) -> None:  # fmt: skip
        texts = [_MONO * len(b.text) for b in bands] + [_SMALL * len(b.label) for b in bands]
        self.code = min(_CODE, 16 + max(texts, default=0))
        self.chips = _CHIPS if chips else 0
        rows: dict[tuple[int, Column], float] = {}
        for box in boxes:
            key = box.band, box.column
            rows[key] = rows.get(key, -10) + _width(box) + 10
        needed = {
            c: min(max((w for (_, column), w in rows.items() if column == c), default=_CELL), _CELL)
            for c in used
        }
        free = width - self.code - self.chips - len(used) * _GAP
        # columns that need less than an equal part leave the rest to the others
        self.cell: dict[Column, float] = {}
        for k, c in enumerate(sorted(needed, key=needed.__getitem__)):
            self.cell[c] = min(needed[c], free / (len(needed) - k))
            free -= self.cell[c]
        self.is_stacked = any(self.cell[c] < min(_LEAST_CELL, needed[c]) for c in used)
        if self.is_stacked:
            self.code, self.width = float(width), float(width)
            self.cell = dict.fromkeys(used, width - 16.0)
            self.left = dict.fromkeys(used, 8.0)
            self.right, self.chips, self.top = 8.0, width - 16, 0
            return
        self.left, x = {}, self.code
        for c in used:
            self.left[c] = x
            x += self.cell[c] + _GAP
        self.right, self.width, self.top = x, x + self.chips, _TOP


def _width(box: Box) -> float:
    return min(max(_LETTER * len(_name(box)), _SMALL * len(box.note)) + 16, _CELL)


def _name(box: Box) -> str:
    return f"{box.name} ×{box.count}" if box.count > 1 else box.name


def _draw_band(number: int, band: Band, y: float, width: float, code: float, height: float) -> str:
    """Draw a source line's band of a program picture as SVG; ``code``: width of its column."""
    text = _cut_middle(band.text, int((code - 16) / _MONO))
    label = _cut_middle(band.label, int((code - 16) / _SMALL))
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
    name = _cut_middle(_name(box), int((at.width - 14) / _LETTER))
    note = _cut_middle(box.note, int((at.width - 14) / _SMALL))
    return (
        f'<g class="{kind}" data-id="n{number}" data-to="{escape(" ".join(box.links))}">'
        f"<title>{escape(box.title or box.name)}</title>"
        f'<rect x="{at.x:.0f}" y="{at.y:.0f}" width="{at.width:.0f}" height="{_PILL}" rx="7"/>'
        f'<text x="{at.x + 8:.0f}" y="{at.y + 15:.0f}">{escape(name)}</text>'
        f'<text class="small" x="{at.x + 8:.0f}" y="{at.y + 28:.0f}">{escape(note)}</text></g>'
    )


def _draw_chips(chips: Sequence[Chip], left: float, top: float, room: float) -> tuple[str, int]:
    """Draw the kernel labels of a band; return SVG and the rows they take."""
    parts, row = [], -1
    widths = [_LETTER * len(chip.name) + 14 for chip in chips]
    for chip, wide, (offset, row) in zip(chips, widths, flow(widths, room, 6), strict=True):
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

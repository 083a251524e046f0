"""The memory of a step drawn as it lies: positions to the right, addresses upwards, a box each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from staticgrad.pictures.ladder import Column
from staticgrad.pictures.markup import nbytes
from staticgrad.records import dataclass

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 300, 74, 34, 14
#: Pixels from the bottom of the arena to its top.
_ROWS: Final = _HEIGHT - _BOTTOM - _TOP
#: From so many boxes on those that are less high than a pixel are drawn together.
_MANY: Final = 400


@dataclass(frozen=True)
class Held:
    """Bytes from ``offset`` on that hold ``name`` from position ``first`` to ``last``."""

    name: str
    offset: int
    nbytes: int
    first: int
    last: int
    column: Column


def arena(held: Sequence[Held], positions: int, peak: int, columns: Sequence[Column]) -> str:
    """Return the picture as SVG text; ``columns`` has the label of each position.

    Of many boxes those below a pixel are drawn by rows of that height: those of a row that follow
    each other without a gap as one.
    """
    across = (_WIDTH - _LEFT - 10) / max(positions, 1)
    up = _ROWS / max(peak, 1)
    shown = list(held) if len(held) < _MANY else _by_rows(held, peak)
    boxes = "".join(
        f'<g class="pill {each.column}" data-to=""><title>{escape(each.name)}: '
        f"{nbytes(each.nbytes)}, positions {each.first} to {each.last}</title>"
        f'<rect x="{_LEFT + each.first * across:.1f}"'
        f' y="{_TOP + (peak - each.offset - each.nbytes) * up:.1f}"'
        f' width="{(each.last - each.first + 1) * across:.1f}"'
        f' height="{max(each.nbytes * up, 0.6):.1f}"/></g>'
        for each in shown
    )
    base = _HEIGHT - _BOTTOM
    marks = "".join(
        f'<g class="pill {column}"><rect x="{_LEFT + k * across:.1f}" y="{base + 3}" height="5"'
        f' width="{max(across - 0.5, 0.5):.1f}"/></g>'
        for k, column in enumerate(columns)
    )
    title = f"what the arena of {nbytes(peak)} holds at each of {positions} positions"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img"'
        f' aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{base}" y2="{base}"/>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{_TOP}" y2="{_TOP}"/>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{_TOP + 4}">{nbytes(peak)}</text>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{base + 4}">0 B</text>{boxes}{marks}'
        f'<text class="axis" x="{_LEFT}" y="{_HEIGHT - 6}">{positions}'
        f" kernel{'s' * (positions != 1)}, one after the other</text></svg>"
    )


def _by_rows(held: Sequence[Held], peak: int) -> list[Held]:
    """The boxes that are as high as a row, and one for smaller ones of a row without a gap."""
    high = -(-peak // _ROWS)
    rows: dict[tuple[int, Column], list[list[int]]] = {}
    for each in sorted(held, key=lambda box: box.first):
        if each.nbytes >= high:
            continue
        row = (each.offset + each.nbytes // 2) // high
        spans = rows.setdefault((row, each.column), [])
        if spans and each.first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], each.last)
            spans[-1][2] += 1
        else:
            spans.append([each.first, each.last, 1])
    merged = [
        Held(f"{count} small ones of one row", row * high, high, first, last, column)
        for (row, column), spans in rows.items()
        for first, last, count in spans
    ]
    return [*(each for each in held if each.nbytes >= high), *merged]

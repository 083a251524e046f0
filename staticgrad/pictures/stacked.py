"""Memory over time as a stacked chart: a band for each part, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from staticgrad.pictures.ladder import Column
from staticgrad.pictures.markup import nbytes
from staticgrad.records import dataclass

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 260, 74, 34, 14
#: Columns that are drawn; of more positions each is the fullest of some.
_MOST: Final = 380
#: Hues of the bands; what is left over is grey.
_HUES: Final = (212, 28, 145, 268, 345, 180, 48, 310)
#: Bands that have a name of their own.
MOST_BANDS: Final = len(_HUES)


@dataclass(frozen=True)
class HeldBand:
    """A part, and its bytes at each position."""

    name: str
    held: Sequence[int]


def stacked(bands: Sequence[HeldBand], columns: Sequence[Column], top: int, title: str) -> str:
    """The picture and its legend; ``top`` is where the axis ends, in bytes.

    Bands lie in their order, those beyond the first ones as one. ``columns`` says of each position
    what it belongs to.
    """
    shown = _first_ones(bands)
    count = len(columns)
    chosen = _fullest(shown, count)
    across = (_WIDTH - _LEFT - 10) / max(len(chosen), 1)
    base, up = _HEIGHT - _BOTTOM, (_HEIGHT - _BOTTOM - _TOP) / max(top, 1)
    below, areas = [0] * len(chosen), []
    for number, band in enumerate(shown):
        above = [low + band.held[p] for low, p in zip(below, chosen, strict=True)]
        outline = [*_steps(above, across, base, up), *reversed(_steps(below, across, base, up))]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        said = f"{band.name}: {nbytes(max(band.held, default=0))} at most"
        areas.append(
            f'<polygon points="{points}" fill="{_colour(number)}"><title>{escape(said)}</title>'
            "</polygon>"
        )
        below = above
    marks = "".join(
        f'<g class="pill {columns[p]}"><rect x="{_LEFT + k * across:.1f}" y="{base + 3}"'
        f' height="5" width="{max(across - 0.3, 0.3):.1f}"/></g>'
        for k, p in enumerate(chosen)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img"'
        f' aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{base}" y2="{base}"/>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{_TOP}" y2="{_TOP}"/>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{_TOP + 4}">{nbytes(top)}</text>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{base + 4}">0 B</text>{"".join(areas)}{marks}'
        f'<text class="axis" x="{_LEFT}" y="{_HEIGHT - 6}">'
        f"{'1 kernel' if count == 1 else f'{count} kernels, one after the other'}"
        f"</text></svg>{_legend(shown)}"
    )


def _first_ones(bands: Sequence[HeldBand]) -> list[HeldBand]:
    """The bands that have a colour of their own, and the others as one."""
    rest = bands[MOST_BANDS:]
    if not rest:
        return [*bands]
    together = [sum(each) for each in zip(*(band.held for band in rest), strict=True)]
    return [*bands[:MOST_BANDS], HeldBand(f"{len(rest)} other{'s' * (len(rest) != 1)}", together)]


def _fullest(bands: Sequence[HeldBand], count: int) -> list[int]:
    """The positions that are drawn: all, or the fullest of every few."""
    each = max(-(-count // _MOST), 1)
    totals = [sum(band.held[p] for band in bands) for p in range(count)]
    return [
        max(range(first, min(first + each, count)), key=totals.__getitem__)
        for first in range(0, count, each)
    ]


def _steps(
    heights: Sequence[int], across: float, base: float, up: float
) -> list[tuple[float, float]]:
    found = []
    for k, height in enumerate(heights):
        y = base - height * up
        found += [(_LEFT + k * across, y), (_LEFT + (k + 1) * across, y)]
    return found


def _colour(number: int) -> str:
    return f"hsl({_HUES[number]} 52% 56%)" if number < MOST_BANDS else "hsl(220 6% 55%)"


def _legend(bands: Sequence[HeldBand]) -> str:
    entries = "".join(
        f'<li><i style="background:{_colour(number)}"></i>{escape(band.name)}'
        f' <span class="soft">{nbytes(max(band.held, default=0))}</span></li>'
        for number, band in enumerate(bands)
    )
    return f'<ul class="bands">{entries}</ul>'

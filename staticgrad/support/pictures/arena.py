"""The memory of a step as SVG text: over its kernels, boxes at their addresses or stacked bands."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from staticgrad.support.pictures.ladder import Column
from staticgrad.support.pictures.markup import nbytes
from staticgrad.support.records import dataclass

WIDTH: Final = 760  # pixels
_LEFT, _RIGHT, _BOTTOM, _TOP = 74, 10, 34, 14
_ARENA_HEIGHT, _BANDS_HEIGHT = 300, 260
#: Pixels from the bottom of the arena to its top.
_ROWS: Final = _ARENA_HEIGHT - _BOTTOM - _TOP
#: Number of boxes from which on those that are less high than a pixel are drawn together.
_MANY: Final = 400
#: Positions of bands that are drawn; of more each is the fullest of some.
_MOST: Final = 380
#: Pixels of a letter and of a line in a box.
_LETTER, _LINE = 6.2, 12
#: Hues of the bands that have a name of their own; what is left over is grey.
_HUES: Final = (212, 28, 145, 268, 345, 180, 48, 310)


@dataclass(frozen=True)
class Allocation:
    """Bytes from ``offset`` on that hold ``name`` from position ``first`` to ``last``."""

    name: str
    offset: int
    nbytes: int
    first: int
    last: int
    column: Column


@dataclass(frozen=True)
class HeldBand:
    """A part, and its bytes at each position."""

    name: str
    sizes: Sequence[int]


def arena(
    buffers: Sequence[Allocation], positions: int, peak: int, columns: Sequence[Column],
    width: int = WIDTH,
) -> str:  # fmt: skip
    """Draw buffers as boxes in SVG, offset over time; ``columns`` labels each position.

    Of many boxes those below a pixel are drawn by rows of that height: those of a row that follow
    each other without a gap as one.
    """
    across = (width - _LEFT - _RIGHT) / max(positions, 1)
    up = _ROWS / max(peak, 1)
    shown = list(buffers) if len(buffers) < _MANY else _merge_small_boxes(buffers, peak)
    boxes = "".join(
        f'<g class="pill {buffer.column}" data-to=""><title>{escape(buffer.name)}: '
        f"{nbytes(buffer.nbytes)}, positions {buffer.first} to {buffer.last}</title>"
        f'<rect x="{_LEFT + buffer.first * across:.1f}"'
        f' y="{_TOP + (peak - buffer.offset - buffer.nbytes) * up:.1f}"'
        f' width="{(buffer.last - buffer.first + 1) * across:.1f}"'
        f' height="{max(buffer.nbytes * up, 0.6):.1f}"/>{_label(buffer, peak, across, up)}</g>'
        for buffer in shown
    )
    title = f"what the arena of {nbytes(peak)} holds at each of {positions} positions"
    return _draw_frame(title, _ARENA_HEIGHT, peak, positions, boxes, columns, width)


def _label(box: Allocation, peak: int, across: float, up: float) -> str:
    """Return a box's name as SVG text inside it, as far as it fits; else empty."""
    width, height = (box.last - box.first + 1) * across, box.nbytes * up
    letters = int((width - 6) / _LETTER)
    if height < _LINE or letters < 3:
        return ""
    name = box.name if len(box.name) <= letters else f"{box.name[: letters - 1]}\u2026"
    middle = _TOP + (peak - box.offset - box.nbytes / 2) * up
    return (
        f'<text class="inbox" x="{_LEFT + box.first * across + 3:.1f}" y="{middle + 4:.1f}">'
        f"{escape(name)}</text>"
    )


def _merge_small_boxes(buffers: Sequence[Allocation], peak: int) -> list[Allocation]:
    """Merge small neighbouring boxes of the memory picture that are less than a row high."""
    high = -(-peak // _ROWS)
    rows: dict[tuple[int, Column], list[list[int]]] = {}
    for buffer in sorted(buffers, key=lambda box: box.first):
        if buffer.nbytes >= high:
            continue
        row = (buffer.offset + buffer.nbytes // 2) // high
        spans = rows.setdefault((row, buffer.column), [])
        if spans and buffer.first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], buffer.last)
            spans[-1][2] += 1
        else:
            spans.append([buffer.first, buffer.last, 1])
    merged = [
        Allocation(f"{count} small ones of one row", row * high, high, first, last, column)
        for (row, column), spans in rows.items()
        for first, last, count in spans
    ]
    return [*(buffer for buffer in buffers if buffer.nbytes >= high), *merged]


def stack_bands(
    bands: Sequence[HeldBand], columns: Sequence[Column], top: int, title: str, width: int = WIDTH
) -> str:
    """Draw stacked bands of bytes over time as SVG, with a legend; ``top`` in bytes.

    Bands lie in their order, those beyond the first ones as one. ``columns`` has the label of each
    position.
    """
    shown, further = [*bands[: len(_HUES)]], bands[len(_HUES) :]
    if further:
        together = [sum(sizes) for sizes in zip(*(band.sizes for band in further), strict=True)]
        shown.append(HeldBand(f"{len(further)} other{'s' * (len(further) != 1)}", together))
    colours = [*(f"hsl({hue} 52% 56%)" for hue in _HUES), "hsl(220 6% 55%)"]
    count = len(columns)
    stride = max(-(-count // _MOST), 1)
    totals = [sum(band.sizes[p] for band in shown) for p in range(count)]
    chosen = [
        max(range(first, min(first + stride, count)), key=totals.__getitem__)
        for first in range(0, count, stride)
    ]
    across = (width - _LEFT - _RIGHT) / max(len(chosen), 1)
    base, up = _BANDS_HEIGHT - _BOTTOM, (_BANDS_HEIGHT - _BOTTOM - _TOP) / max(top, 1)

    def steps(heights: Sequence[int]) -> list[str]:
        return [
            f"{_LEFT + (k + end) * across:.1f},{base - height * up:.1f}"
            for k, height in enumerate(heights)
            for end in (0, 1)
        ]

    below, areas, entries = [0] * len(chosen), [], []
    for band, colour in zip(shown, colours, strict=False):
        above = [low + band.sizes[p] for low, p in zip(below, chosen, strict=True)]
        points = " ".join([*steps(above), *reversed(steps(below))])
        name, most = escape(band.name), nbytes(max(band.sizes, default=0))
        areas.append(
            f'<polygon points="{points}" fill="{colour}"><title>{name}: {most} at most</title>'
            "</polygon>"
        )
        entries.append(
            f'<li><i style="background:{colour}"></i>{name} <span class="soft">{most}</span></li>'
        )
        below = above
    marks = [columns[p] for p in chosen]
    picture = _draw_frame(title, _BANDS_HEIGHT, top, count, "".join(areas), marks, width)
    return f'{picture}<ul class="bands">{"".join(entries)}</ul>'


def _draw_frame(
    title: str, height: int, top: int, positions: int, drawn: str, columns: Sequence[Column],
    width: int,
) -> str:  # fmt: skip
    """Draw a chart's title, axes and position marks around what is drawn."""
    base, title = height - _BOTTOM, escape(title)
    across = (width - _LEFT - _RIGHT) / max(len(columns), 1)
    marks = "".join(
        f'<g class="pill {column}"><rect x="{_LEFT + k * across:.1f}" y="{base + 3}" height="5"'
        f' width="{max(0.9 * across, 0.3):.1f}"/></g>'
        for k, column in enumerate(columns)
    )
    kernels = "1 kernel" if positions == 1 else f"{positions} kernels, one after the other"
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{base}" y2="{base}"/>'
        f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{_TOP}" y2="{_TOP}"/>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{_TOP + 4}">{nbytes(top)}</text>'
        f'<text class="axis end" x="{_LEFT - 8}" y="{base + 4}">0 B</text>{drawn}{marks}'
        f'<text class="axis" x="{_LEFT}" y="{height - 6}">{kernels}</text></svg>'
    )

"""Small charts as SVG text, readable on light and dark pages, drawn from numbers alone.

A page is written on a plain installation, so nothing is needed to draw it. Colours and sizes of
text come from the page's style sheet (classes ``a`` to ``d``, ``axis``, ``grid``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Final

import numpy as np

from staticgrad.support.pictures.markup import CHART, flow, nbytes
from staticgrad.support.records import dataclass

_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 130, 28, 46
_NAME_HEIGHT: Final = 14  # of the names of lines, and the width of a letter of theirs
_LETTER: Final = 7
_ROW: Final = 16  # height of a row of a legend
_LEAST_BAR: Final = 160  # width of the longest bar, at least: else its name is above it
_CLASSES: Final = "aecd"
Format = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """A named series of points; without a name there is no label at its end.

    ``kind``: its classes, by default one of the chart's; ``dashes``: as SVG has them.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = ""
    dashes: str = ""


@dataclass(frozen=True)
class _Scale:
    """Numbers to pixels, linear or logarithmic, and where the ticks stand."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    binary: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round tick values of a chart's axis, linear or logarithmic."""
        if not self.log:
            size = (self.high - self.low) / 4
            step = _round_step(size, self.binary)
            first = math.ceil(self.low / step)
            return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        if self.binary:
            octaves = range(math.ceil(math.log2(self.low)), math.floor(math.log2(self.high)) + 1)
            return [2.0**octave for octave in octaves if octave % (len(octaves) // 6 + 1) == 0]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        many_decades = len(decades) > 3
        decades = decades[:: len(decades) // 9 + 1]
        marks = [m * 10.0**d for d in decades for m in ((1,) if many_decades else (1, 2, 5))]
        return [mark for mark in marks if self.low * 0.999 <= mark <= self.high * 1.001]


def lines(
    series: Sequence[Line],
    x: str,
    y: str,
    show_x: Format = "{:g}".format,
    show_y: Format = "{:g}".format,
    log_x: bool = True,
    log_y: bool = True,
    from_zero: bool = True,
    class_of: str = _CLASSES,
    ticks: Mapping[float, str] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    spans: Sequence[tuple[float, float, str]] = (),
    width: int = CHART,
) -> str:
    """Draw a line chart as SVG; ``x`` and ``y`` name the axes, ``show_x``, ``show_y`` write ticks.

    A linear axis of y begins at 0, unless ``from_zero`` is off. ``class_of``: of each line without
    a class. Ticks that are written as bytes stand at round numbers of KiB or MiB. ``ticks``: those
    of x, with their texts. ``marks``: vertical lines with a text; ``spans``: shaded ranges of x.
    ``width``: in pixels, names at the ends of lines included; they are a legend above the chart
    where they would take more than a third of it.
    """
    xs = [a for line in series for a, _ in line.points]
    ys = [b for line in series for _, b in line.points]
    kinds = iter(class_of)
    series = [replace(line, kind=line.kind or next(kinds, _CLASSES[-1])) for line in series]
    right = max(_RIGHT, 16 + _LETTER * max((len(line.name) for line in series), default=0))
    legend, top = "", _TOP
    if 3 * right > width:
        legend, rows = _draw_legend([line for line in series if line.name], width)
        right, top = 24, _TOP + rows * _ROW
    base = top + _HEIGHT - _TOP - _BOTTOM
    across = _scale(xs, _LEFT, width - right, log_x, 0.0)
    across = replace(across, binary=show_x is nbytes)
    up = _scale(ys, base, top, log_y, 0.06, from_zero)
    up = replace(up, binary=show_y is nbytes)
    at = dict.fromkeys(sorted(set(xs)) if log_x else across.ticks())
    shown = ticks if ticks is not None else {value: show_x(value) for value in at}
    grid, height = _draw_grid(across, up, x, y, shown, show_y)
    parts = [legend, grid]
    for begin, end, text in spans:
        begin_x, end_x = across(max(begin, across.low)), across(min(end, across.high))
        parts.append(
            f'<rect class="span" x="{begin_x:.1f}" y="{top}" width="{max(end_x - begin_x, 2):.1f}"'
            f' height="{base - top}"><title>{escape(text)}</title></rect>'
        )
    for k, (where, text) in enumerate(marks):
        left, level = across(where), top + 13 * (k % 3)
        is_inside = left + 3 + _LETTER * len(text) < width
        kind, side = ("axis", left + 3) if is_inside else ("axis end", left - 3)
        parts.append(
            f'<line class="mark" x1="{left:.1f}" x2="{left:.1f}" y1="{level}"'
            f' y2="{base}" stroke-dasharray="2 3"/>'
            f'<text class="{kind}" x="{side:.1f}" y="{level + 10}">{escape(text)}</text>'
        )
    drawn = [[(across(a), up(b)) for a, b in line.points] for line in series]
    names: list[Pixels] = []
    for line, pixels in zip(series, drawn, strict=True):
        parts.append(_draw_series(line.kind, line, across, up))
        if not line.name or legend:
            continue
        name = _place_name(line.name, pixels[-1], [*names, *drawn])
        names.append(name)
        left, middle = name[0]
        parts.append(
            f'<text class="{line.kind}" x="{left:.1f}" y="{middle + 4:.1f}">{escape(line.name)}'
            "</text>"
        )
    return _svg(f"{y} against {x}", height, parts, width)


def _draw_legend(series: Sequence[Line], width: int) -> tuple[str, int]:
    """Draw the names of lines with a piece of each, in rows; return SVG and the rows."""
    parts, row = [], -1
    widths = [40 + _LETTER * len(line.name) for line in series]
    for line, (offset, row) in zip(series, flow(widths, width - 8, 0), strict=True):
        x, y, kind = 4 + offset, _TOP - 8 + row * _ROW, line.kind
        dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
        parts.append(
            f'<polyline class="{kind}"{dashes} points="{x:.0f},{y + 4} {x + 26:.0f},{y + 4}"/>'
            f'<text class="{kind}" x="{x + 31:.0f}" y="{y + 8}">{escape(line.name)}</text>'
        )
    return "".join(parts), row + 1


Pixels = Sequence[tuple[float, float]]  # the corners of a line, from left to right


def _place_name(name: str, end: tuple[float, float], occupied: Sequence[Pixels]) -> Pixels:
    """Place a line's name at its end, moved up or down where other names or lines are."""
    left, level = end[0] + 8, end[1]
    right = left + _LETTER * len(name)

    def is_near(line: Pixels, middle: float) -> bool:
        xs, ys = zip(*line, strict=True)
        heights = [y for x, y in line if left <= x <= right]
        heights += [float(np.interp(x, xs, ys)) for x in (left, right) if xs[0] <= x <= xs[-1]]
        room = _NAME_HEIGHT  # between what the line covers here and the middle of the letters
        return bool(heights) and min(heights) - room < middle < max(heights) + room

    for away in range(0, _HEIGHT, 2):
        for middle in (level + away, level - away):
            inside = 0 < middle <= _HEIGHT - _BOTTOM
            if inside and not any(is_near(line, middle) for line in occupied):
                return [(left, middle), (right, middle)]
    return [(left, level), (right, level)]


def _draw_series(kind: str, line: Line, across: _Scale, up: _Scale) -> str:
    """Draw one line of a chart as an SVG polyline, with dots if it has few points."""
    path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in line.points)
    dots = "".join(
        f'<circle class="{kind}" cx="{across(a):.1f}" cy="{up(b):.1f}" r="3"/>'
        for a, b in (line.points if len(line.points) < 20 else ())
    )
    dashes = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
    return f'<polyline class="{kind}"{dashes} points="{path}"/>{dots}'


def bars(
    values: Sequence[tuple[str, float]], show: Format, title: str,
    classes: Sequence[str] = _CLASSES, width: int = CHART,
) -> str:  # fmt: skip
    """Draw horizontal bars as SVG, one per name, with its number; ``width`` in pixels."""
    top = max((value for _, value in values), default=1.0) or 1.0
    rows = _BarRows([name for name, _ in values], 8, width)
    parts = []
    for row, (name, value) in enumerate(values):
        y = rows.level(row)
        length = max(value / top * rows.room, 1.0)
        kind = classes[min(row, len(classes) - 1)]
        parts.append(
            f"{rows.draw_name(row, name)}"
            f'<rect class="{kind}" x="{rows.left}" y="{y}" width="{length:.1f}" height="20"'
            f' rx="2"/><text class="axis" x="{rows.left + length + 6:.1f}" y="{y + 15}">'
            f"{escape(show(value))}</text>"
        )
    return _svg(title, rows.height, parts, width)


def stack_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], show: Format, title: str,
    classes: Sequence[str] = _CLASSES, width: int = CHART,
) -> str:  # fmt: skip
    """Draw horizontal stacked bars as SVG, one colour per part; the legend is above."""
    top = max((sum(sizes) for _, sizes in rows), default=1.0) or 1.0
    drawn, legend_row = [], 0
    widths = [32 + _LETTER * len(name) for name in parts]
    for kind, name, (offset, legend_row) in zip(
        classes, parts, flow(widths, width - 8, 0), strict=False
    ):
        x, y = 8 + offset, 4 + legend_row * _ROW
        drawn.append(
            f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="12" height="12" rx="2"/>'
            f'<text class="axis" x="{x + 17:.0f}" y="{y + 10}">{escape(name)}</text>'
        )
    bar_rows = _BarRows([name for name, _ in rows], 30 + legend_row * _ROW, width)
    for row, (name, sizes) in enumerate(rows):
        y, x = bar_rows.level(row), float(bar_rows.left)
        drawn.append(bar_rows.draw_name(row, name))
        for kind, size in zip(classes, sizes, strict=False):
            length = size / top * bar_rows.room
            drawn.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{length:.1f}" height="20"/>'
            )
            x += length
        text = escape(show(sum(sizes)))
        drawn.append(f'<text class="axis" x="{x + 6:.1f}" y="{y + 15}">{text}</text>')
    return _svg(title, bar_rows.height, drawn, width)


class _BarRows:
    """The rows of horizontal bars: where each is, and its name before it or above it."""

    def __init__(self, names: Sequence[str], top: int, width: int) -> None:
        beside = min(16 + _LETTER * max(map(len, names), default=0), 250)
        self._above = width - beside - 100 < _LEAST_BAR
        self.left = 8 if self._above else beside
        self.room = width - self.left - 100
        self._top, self._step = (top + 16, 46) if self._above else (top, 30)
        self.height = self.level(len(names) - 1) + 38

    def level(self, row: int) -> int:
        """Return the upper edge of a bar."""
        return self._top + row * self._step

    def draw_name(self, row: int, name: str) -> str:
        """Draw the name of a bar as SVG."""
        y = self.level(row)
        if self._above:
            return f'<text x="{self.left}" y="{y - 4}">{escape(name)}</text>'
        return f'<text class="label" x="{self.left - 8}" y="{y + 15}">{escape(name)}</text>'


def _draw_grid(
    across: _Scale, up: _Scale, x: str, y: str, ticks: Mapping[float, str], show_y: Format
) -> tuple[str, int]:  # fmt: skip
    """Draw the grid, ticks and axis names of a chart; return SVG and the height of the chart.

    Ticks of x whose texts would overlap stand in two rows, or have no text.
    """
    parts: list[str] = []
    for value in up.ticks():
        at = up(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{across.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text class="axis end" x="{_LEFT - 8}" y="{at + 4:.1f}">'
            f"{escape(show_y(value))}</text>"
        )
    ends = [-math.inf]  # of the texts of each row
    for value, text in ticks.items():
        half, at = _LETTER * len(text) / 2, across(value)
        row = next((k for k, end in enumerate(ends) if at - half > end), len(ends))
        if row > 1:
            continue
        ends[row : row + 1] = [at + half]
        parts.append(
            f'<text class="axis middle" x="{at:.1f}" y="{up.start + 18 + 13 * row:g}">'
            f"{escape(text)}</text>"
        )
    height = int(up.start) + _BOTTOM + 13 * (len(ends) - 1)
    middle = (_LEFT + across.end) / 2
    parts.append(f'<text class="axis middle" x="{middle}" y="{height - 8}">{escape(x)}</text>')
    parts.append(f'<text class="axis" x="4" y="12">{escape(y)}</text>')
    return "".join(parts), height


def _scale(
    values: Sequence[float], start: float, end: float, log: bool, margin: float, zero: bool = True
) -> _Scale:
    """Return a chart axis' scale from its values, with margins, linear or logarithmic."""
    low, high = min(values), max(values)
    if log:
        room = (high / low) ** margin if high > low else 1.5
        return _Scale(low / room, high * room, start, end, True)
    if zero:
        return _Scale(min(low, 0.0), high or 1.0, start, end, False)
    room = 0.06 * (high - low) or 0.5 * abs(low) or 1.0
    return _Scale(low - room, high + room, start, end, False)


def _round_step(size: float, binary: bool) -> float:
    if size <= 0:
        return 1.0
    if binary:
        return 2.0 ** math.ceil(math.log2(size * 0.999))
    unit = 10.0 ** math.floor(math.log10(size))
    return next(m * unit for m in (1, 2, 5, 10) if m * unit >= size * 0.999)


def _svg(title: str, height: int, parts: Sequence[str], width: int = CHART) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )

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

from staticgrad.support.pictures.markup import nbytes
from staticgrad.support.records import dataclass

_WIDTH: Final = 560
_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 130, 28, 46
_NAME_HEIGHT: Final = 14  # of the names of lines, and the width of a letter of theirs
_LETTER: Final = 7
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
    width: int = _WIDTH,
) -> str:
    """Draw a line chart as SVG; ``x`` and ``y`` name the axes, ``show_x``, ``show_y`` write ticks.

    A linear axis of y begins at 0, unless ``from_zero`` is off. ``class_of``: of each line without
    a class. Ticks that are written as bytes stand at round numbers of KiB or MiB. ``ticks``: those
    of x, with their texts. ``marks``: vertical lines with a text; ``spans``: shaded ranges of x.
    ``width``: in pixels, names at the ends of lines included.
    """
    xs = [a for line in series for a, _ in line.points]
    ys = [b for line in series for _, b in line.points]
    right = max(_RIGHT, 16 + _LETTER * max((len(line.name) for line in series), default=0))
    across = _scale(xs, _LEFT, width - right, log_x, 0.0)
    across = replace(across, binary=show_x is nbytes)
    up = _scale(ys, _HEIGHT - _BOTTOM, _TOP, log_y, 0.06, from_zero)
    up = replace(up, binary=show_y is nbytes)
    at = dict.fromkeys(sorted(set(xs)) if log_x else across.ticks())
    shown = ticks if ticks is not None else {value: show_x(value) for value in at}
    parts = [_draw_grid(across, up, x, y, shown, show_y)]
    for begin, end, text in spans:
        begin_x, end_x = across(max(begin, across.low)), across(min(end, across.high))
        parts.append(
            f'<rect class="span" x="{begin_x:.1f}" y="{_TOP}" width="{max(end_x - begin_x, 2):.1f}"'
            f' height="{_HEIGHT - _BOTTOM - _TOP}"><title>{escape(text)}</title></rect>'
        )
    for k, (where, text) in enumerate(marks):
        left = across(where)
        parts.append(
            f'<line class="mark" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP + 13 * (k % 3)}"'
            f' y2="{_HEIGHT - _BOTTOM}" stroke-dasharray="2 3"/>'
            f'<text class="axis" x="{left + 3:.1f}" y="{_TOP + 10 + 13 * (k % 3)}">{escape(text)}'
            "</text>"
        )
    drawn = [[(across(a), up(b)) for a, b in line.points] for line in series]
    names: list[Pixels] = []
    kinds = iter(class_of)
    for line, pixels in zip(series, drawn, strict=True):
        kind = line.kind or next(kinds, _CLASSES[-1])
        parts.append(_draw_series(kind, line, across, up))
        if not line.name:
            continue
        name = _place_name(line.name, pixels[-1], [*names, *drawn])
        names.append(name)
        left, middle = name[0]
        parts.append(
            f'<text class="{kind}" x="{left:.1f}" y="{middle + 4:.1f}">{escape(line.name)}</text>'
        )
    return _svg(f"{y} against {x}", _HEIGHT, parts, width)


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
    classes: Sequence[str] = _CLASSES,
) -> str:  # fmt: skip
    """Draw horizontal bars as SVG, one per name, with its number."""
    top = max((value for _, value in values), default=1.0) or 1.0
    widest = max((len(name) for name, _ in values), default=0)
    left = min(16 + 7 * widest, 250)
    room = _WIDTH - left - 100
    parts = []
    for row, (name, value) in enumerate(values):
        y = 8 + row * 30
        width = max(value / top * room, 1.0)
        kind = classes[min(row, len(classes) - 1)]
        parts.append(
            f'<text class="label" x="{left - 8}" y="{y + 15}">{escape(name)}</text>'
            f'<rect class="{kind}" x="{left}" y="{y}" width="{width:.1f}" height="20" rx="2"/>'
            f'<text class="axis" x="{left + width + 6:.1f}" y="{y + 15}">'
            f"{escape(show(value))}</text>"
        )
    return _svg(title, 16 + 30 * len(values), parts)


def stack_bars(
    rows: Sequence[tuple[str, Sequence[float]]], parts: Sequence[str], show: Format, title: str,
    classes: Sequence[str] = _CLASSES,
) -> str:  # fmt: skip
    """Draw horizontal stacked bars as SVG, one colour per part; the legend is above."""
    top = max((sum(sizes) for _, sizes in rows), default=1.0) or 1.0
    left = min(16 + _LETTER * max((len(name) for name, _ in rows), default=0), 250)
    room, drawn, across = _WIDTH - left - 100, [], 8.0
    for kind, name in zip(classes, parts, strict=False):
        drawn.append(
            f'<rect class="{kind}" x="{across:.0f}" y="4" width="12" height="12" rx="2"/>'
            f'<text class="axis" x="{across + 17:.0f}" y="14">{escape(name)}</text>'
        )
        across += 32 + _LETTER * len(name)
    for row, (name, sizes) in enumerate(rows):
        y, x = 30 + row * 30, float(left)
        drawn.append(f'<text class="label" x="{left - 8}" y="{y + 15}">{escape(name)}</text>')
        for kind, size in zip(classes, sizes, strict=False):
            width = size / top * room
            drawn.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="20"/>'
            )
            x += width
        text = escape(show(sum(sizes)))
        drawn.append(f'<text class="axis" x="{x + 6:.1f}" y="{y + 15}">{text}</text>')
    return _svg(title, 38 + 30 * len(rows), drawn)


def _draw_grid(
    across: _Scale, up: _Scale, x: str, y: str, ticks: Mapping[float, str], show_y: Format
) -> str:  # fmt: skip
    """Draw the grid, ticks and axis names of a chart as SVG."""
    parts = []
    for value in up.ticks():
        at = up(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{across.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(
            f'<text class="axis end" x="{_LEFT - 8}" y="{at + 4:.1f}">'
            f"{escape(show_y(value))}</text>"
        )
    parts += [
        f'<text class="axis middle" x="{across(value):.1f}" y="{_HEIGHT - _BOTTOM + 18}">'
        f"{escape(text)}</text>"
        for value, text in ticks.items()
    ]
    middle = (_LEFT + across.end) / 2
    parts.append(f'<text class="axis middle" x="{middle}" y="{_HEIGHT - 8}">{escape(x)}</text>')
    parts.append(f'<text class="axis" x="4" y="12">{escape(y)}</text>')
    return "".join(parts)


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


def _svg(title: str, height: int, parts: Sequence[str], width: int = _WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )

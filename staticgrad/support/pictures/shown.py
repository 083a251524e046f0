"""Pictures that notebooks show: SVG text with its style, and a network of boxes and arrows.

A `Picture` is what a program of one's own returns to be seen. ``network`` draws whatever has
operands: the tape of a value, a graph of nodes, a class of a course.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from html import escape
from typing import Any, Final

from staticgrad.support.pictures.arena import Allocation, arena
from staticgrad.support.pictures.ladder import Column
from staticgrad.support.pictures.markup import STYLE, fragment
from staticgrad.support.pictures.texts import PictureFile
from staticgrad.support.traversal import operands_first

#: A variable of the style with its value; a theme's own one, with what else holds; a rule.
_VARIABLE: Final = re.compile(r"(--\w+): ([^;]+);")
_THEME: Final = re.compile(r"var\([\w-]+, (.*)\)")
_RULE: Final = re.compile(r"\s*([^{}]+?)\s*\{([^{}]*)\}")
_LETTER, _ROW, _GAP, _HEIGHT, _MARGIN = 7, 46, 34, 26, 8  # pixels
_MOST_BOXES: Final = 400


class Picture(str):
    """The text of an SVG picture, which a notebook shows as a picture.

    >>> Picture("<svg></svg>").file()[:11]
    '<svg xmlns='
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return fragment(f'<div class="scroll chart">{self}</div>')

    def file(self) -> str:
        """Return the text of an SVG file of its own, with the colours of a light page."""
        return standalone(self)


def standalone(picture: str) -> PictureFile:
    """Return an SVG picture as a self-contained file, in the colours of a light page."""
    colours = dict(_VARIABLE.findall(STYLE.partition("@media")[0]))
    colours = {name: _THEME.sub(r"\1", colour) for name, colour in colours.items()}
    rules = [(names.replace(".sg .chart", ".sg svg"), body) for names, body in _RULE.findall(STYLE)]
    style = "".join(
        f"{names.replace('.sg svg svg', 'svg').replace('.sg svg', 'svg')} {{{body}}}\n"
        for names, body in rules
        if names.startswith(".sg svg") and names != ".sg svg svg"
    )
    style = re.sub(r"var\((--\w+)\)", lambda match: colours[match[1]], style)
    head, _, inner = picture.partition(">")
    named = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return PictureFile(f"{named}><style>\n{style}svg {{background: #fff}}\n</style>{inner}\n")


def network(
    last: Any | Iterable[Any],
    operands: Callable[[Any], Iterable[Any]],
    label: Callable[[Any], str],
    column: Callable[[Any], Column] = lambda node: "f",
    title: str = "a network of operations",
) -> Picture:
    """Draw a graph of operations as SVG: everything that ``last`` depends on, operands above.

    Args:
        last: the result, or a list or tuple of results.
        operands: gives what a node was made of.
        label: gives the text of a box.
        column: gives the colour of a box: ``"f"`` forward, ``"b"`` backward, ``"u"`` update,
            ``"k"`` other.
        title: the name of the picture, for who cannot see it.

    Raises:
        ValueError: more than 400 boxes.
    """
    nodes = _order_nodes(last if isinstance(last, list | tuple) else [last], operands)
    if len(nodes) > _MOST_BOXES:
        raise ValueError(f"network draws at most {_MOST_BOXES} boxes, got {len(nodes)}")
    row: dict[Hashable, int] = {}
    for node in nodes:
        row[id(node)] = 1 + max((row[id(operand)] for operand in operands(node)), default=-1)
    rows: dict[int, list[Any]] = {}
    for node in nodes:
        rows.setdefault(row[id(node)], []).append(node)
    widths = {id(node): 16 + _LETTER * len(label(node)) for node in nodes}
    wide = [sum(widths[id(node)] + _GAP for node in rows[k]) - _GAP for k in sorted(rows)]
    width = max([*wide, 160]) + 2 * _MARGIN
    places: dict[Hashable, tuple[float, float]] = {}  # of the middle of each box
    parts: list[str] = []
    for k, row_width in zip(sorted(rows), wide, strict=True):
        left = (width - row_width) / 2

        def above(node: Any) -> float:
            """Return the middle of its operands; leaves keep their order."""
            xs = [places[id(operand)][0] for operand in operands(node)]
            return sum(xs) / len(xs) if xs else 0.0

        for node in sorted(rows[k], key=above):
            box = widths[id(node)]
            places[id(node)] = left + box / 2, _MARGIN + k * _ROW + _HEIGHT / 2
            left += box + _GAP
    for node in nodes:
        x, y = places[id(node)]
        for operand in operands(node):
            a, b = places[id(operand)]
            end, begin = y - _HEIGHT / 2, b + _HEIGHT / 2
            middle = (begin + end) / 2
            parts.append(
                f'<path class="edge" d="M{a:.0f} {begin:.0f}C{a:.0f} {middle:.0f} {x:.0f}'
                f' {middle:.0f} {x:.0f} {end:.0f}"/>'
            )
    for node in nodes:
        (x, y), box = places[id(node)], widths[id(node)]
        leaf = "" if any(True for _ in operands(node)) else " leaf"
        parts.append(
            f'<g class="pill {column(node)}{leaf}"><rect x="{x - box / 2:.0f}"'
            f' y="{y - _HEIGHT / 2:.0f}" width="{box}" height="{_HEIGHT}" rx="6"/>'
            f'<text class="code middle" x="{x:.0f}" y="{y + 4:.0f}">{escape(label(node))}'
            "</text></g>"
        )
    height = 2 * _MARGIN + (len(rows) - 1) * _ROW + _HEIGHT
    return Picture(
        f'<svg viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" role="img"'
        f' aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def boxes(buffers: Sequence[tuple[str, int, int, int, int]], peak: int) -> Picture:
    """Draw a plan of memory: rows of (name, offset, bytes, first step, last step)."""
    steps = 1 + max((row[4] for row in buffers), default=0)
    return Picture(arena([Allocation(*row, "f") for row in buffers], steps, peak, ["f"] * steps))


def _order_nodes(last: Iterable[Any], operands: Callable[[Any], Iterable[Any]]) -> list[Any]:
    """Return the nodes that ``last`` depends on in topological order."""
    return [*operands_first([*last][::-1], lambda node: [*operands(node)][::-1])]

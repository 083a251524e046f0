"""One self-contained HTML page of a report: ratios, roofline, time to the first result, all rows.

Drawings are SVG inside the page, with text as text; nothing is loaded from elsewhere. Needs
Matplotlib and Jinja2 (the ``bench`` extra), both imported when a page is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from benchmarks import figures
from benchmarks.report import COLUMNS, cells, machine_text, quietness
from benchmarks.schema import Report, Row

_OWN = "#b3261e"
_COLOURS = ("#1f5fa8", "#e08a00", "#2e7d4f", "#6b4fa0", "#6d6d6d", "#0097a7", "#8d5a2b")
_MARKS = ("s", "^", "v", "P", "X", "*", "p")
#: How many points above its point a label may stand, the nearest first.
_HEIGHTS = (4, -4, 12, -12, 20, -20, 28, -28, 36, -36, 44, -44)
_LAST = (-7, _HEIGHTS[-1])
_TO_LABEL = {"arrowstyle": "-", "color": "#aaa", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
Point = tuple[float, float]
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>staticgrad benchmarks</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem;
       padding: 0 1rem; color: #1b1b1b; background: #fff }
svg { max-width: 100%; min-width: 44rem; height: auto }
h2 { margin: 2.5rem 0 .3rem } p { max-width: 60rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 12.5px }
td, th { padding: .15rem .6rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
td:first-child, th:first-child, td:nth-child(2) { text-align: left }
tr.own td { font-weight: 600; color: {{ own }} }
.warning { border-left: 4px solid {{ own }}; padding-left: .8rem }
</style></head><body>
<h1>staticgrad benchmarks</h1>
<p>{{ machine }}.</p>
{% for limit in limits %}<p>Limits at {{ limit.threads }} thread(s), measured in this run:
{{ "%.0f" | format(limit.gemm32 / 1e9) }} GFLOP/s float32,
{{ "%.0f" | format(limit.gemm64 / 1e9) }} float64,
copy {{ "%.1f" | format(limit.copy / 1e9) }} GB/s.</p>{% endfor %}
{% for line in warnings %}<p class="warning">{{ line }}</p>{% endfor %}
{% for drawing in drawings %}
<h2>{{ drawing.title }}</h2><p>{{ drawing.text }}</p>
<div class="wide">{{ drawing.svg | safe }}</div>
{% endfor %}
<h2>All rows</h2>
<div class="wide"><table><tr><th>workload</th>
{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in rows %}<tr{% if row.own %} class="own"{% endif %}><td>{{ row.workload }}</td>
{% for cell in row.cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
</body></html>
"""


def page(report: Report) -> str:
    """The page as text."""
    environment = import_module("jinja2").Environment(autoescape=True)
    threads = sorted({row.threads for row in figures.measured(report)})
    drawings = [
        {
            "title": f"Time per call, {count} thread{'s' if count > 1 else ''}",
            "text": "Over the time of the best peer, logarithmic: left of the line is faster."
            " The bar is the noise of the row."
            + (" Hollow: on fewer threads." if count > threads[0] else ""),
            "svg": _drawn(report, lambda axes, count=count: _ratios(axes, report, count)),
        }
        for count in threads
    ]
    drawings.append({
        "title": "Roofline",
        "text": "Operations per byte that must move, and operations per second, under the limits"
        " that were measured at one thread. Filled: staticgrad; hollow: the best peer.",
        "svg": _drawn(report, lambda axes: _roofline(axes, report)),
    })  # fmt: skip
    drawings.append({
        "title": "Time to the first result",
        "text": "Build, compile and first call. Filled: with empty caches; hollow: in a second"
        " process, with the caches that the first one left.",
        "svg": _drawn(report, lambda axes: _first_results(axes, report)),
    })  # fmt: skip
    rows = [
        {
            "workload": row.workload,
            "own": row.implementation == figures.OWN,
            "cells": cells(report, row),
        }
        for row in sorted(
            report.rows,
            key=lambda row: (row.workload, row.implementation != figures.OWN, row.threads),
        )
    ]
    text = environment.from_string(_PAGE).render(
        machine=machine_text(report.machine), limits=report.limits, drawings=drawings, rows=rows,
        warnings=list(quietness(report)), columns=COLUMNS, own=_OWN,
    )  # fmt: skip
    return str(text)


def _drawn(report: Report, draw: Callable[..., None]) -> str:
    """An SVG of axes that ``draw`` fills, as tall as there are workloads."""
    matplotlib = import_module("matplotlib")
    figure_module = import_module("matplotlib.figure")
    settings = {"svg.fonttype": "none", "svg.hashsalt": "staticgrad", "font.size": 10}
    with matplotlib.rc_context(settings):
        height = 1.6 + 0.34 * len(_workloads(report.rows))
        figure = figure_module.Figure(figsize=(10, max(height, 4)), layout="constrained")
        axes = figure.subplots()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        draw(axes)
        target = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(target, format="svg", metadata=nothing)
    text = target.getvalue()
    return text[text.index("<svg") :]


def _workloads(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.workload for row in rows))


def _style(report: Report, name: str) -> dict[str, Any]:
    """Colour and mark of an implementation; ours stands out."""
    peers = sorted({row.implementation for row in report.rows} - {figures.OWN})
    if name == figures.OWN:
        return {"color": _OWN, "marker": "o", "markersize": 8, "zorder": 3}
    i = peers.index(name) % len(_COLOURS)
    return {"color": _COLOURS[i], "marker": _MARKS[i], "markersize": 6, "zorder": 2}


def _ratios(axes: Any, report: Report, threads: int) -> None:
    rows = [row for row in figures.measured(report) if row.threads <= threads]
    names = _workloads(rows)
    shown: set[str] = set()
    for row in rows:
        best = figures.best_peer(rows, row.workload, threads)
        if best is None:
            continue
        ratio, name = figures.seconds(row) / figures.seconds(best), row.implementation
        style, fewer = _style(report, name), row.threads < threads
        axes.errorbar(
            ratio, names.index(row.workload), xerr=_whisker(ratio, row), linestyle="",
            elinewidth=1, markerfacecolor="white" if fewer else style["color"],
            label=None if fewer or name in shown else name, **style,
        )  # fmt: skip
        if not fewer:
            shown.add(name)
    axes.axvline(1.0, color="#888", linewidth=1)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_xlabel("time / best peer")
    _workload_axis(axes, names)


def _whisker(ratio: float, row: Row) -> list[list[float]]:
    """The noise of a ratio, to the left and right; a logarithmic axis has no room below 0."""
    noise = figures.noise(row)
    return [[ratio * min(noise, 0.9)], [ratio * noise]]


def _plain_numbers(axis: Any) -> None:
    """Ticks as 0.5, 20: without powers of ten."""
    ticker = import_module("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _roofline(axes: Any, report: Report) -> None:
    limits = figures.limits_of(report, 1)
    intensity = [2.0**k for k in range(-2, 15)]
    for peak, name in ((limits.gemm32, "float32"), (limits.gemm64, "float64")):
        roof = [min(peak, limits.copy * x) / 1e9 for x in intensity]
        axes.plot(intensity, roof, color="#888", linewidth=1)
        axes.annotate(name, (intensity[-1], peak / 1e9), ha="right", va="bottom", color="#555")
    rows = [r for r in figures.measured(report) if r.threads == 1 and r.flops and r.nbytes]
    points, labels = [], []
    for workload in _workloads(rows):
        own = next(
            (r for r in rows if r.workload == workload and r.implementation == figures.OWN), None
        )
        best = figures.best_peer(rows, workload, 1)
        for row, face in ((own, None), (best, "white")):
            if row is None or not row.flops or not row.nbytes:
                continue
            style = _style(report, row.implementation)
            at = (row.flops / row.nbytes, figures.flops(row) / 1e9)
            axes.plot(*at, linestyle="", markerfacecolor=face or style["color"], **style)
            points.append(at)
            if row is (own or best):
                labels.append((workload, at))
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.set_xlabel("operations per byte")
    axes.set_ylabel("GFLOP/s")
    label(axes, labels, points)


def label(axes: Any, labels: list[tuple[str, Point]], points: list[Point]) -> None:
    """Texts beside their points, each at the nearest of some places that is free."""
    axes.figure.draw_without_rendering()  # from here on the layout stands
    box_of = import_module("matplotlib.transforms").Bbox.from_bounds
    at_pixels = axes.transData.transform(points)
    taken = [box_of(x - 4, y - 4, 8, 8) for x, y in at_pixels]
    for text, at in sorted(labels, key=lambda label: -label[1][1]):
        for place in ((x, y) for y in _HEIGHTS for x in (7, -7)):
            side = "left" if place[0] > 0 else "right"
            offset = {"xy": at, "xytext": place, "textcoords": "offset points"}
            note = axes.annotate(text, **offset, fontsize=8, va="center", ha=side)
            box = note.get_window_extent()
            if place == _LAST or not any(box.overlaps(each) for each in taken):
                axes.annotate("", **offset, arrowprops=_TO_LABEL)
                taken.append(box)
                break
            note.remove()


def _first_results(axes: Any, report: Report) -> None:
    rows = figures.measured(report)
    names = _workloads(rows)
    shown: set[str] = set()
    for row in rows:
        style = _style(report, row.implementation)
        for cold, face in ((False, "white"), (True, style["color"])):
            ready = figures.started(row, cold)
            if ready is None:
                continue
            label = row.implementation if cold and row.implementation not in shown else None
            axes.plot(
                ready, names.index(row.workload), linestyle="", markerfacecolor=face, label=label,
                **style,
            )  # fmt: skip
            if cold:
                shown.add(row.implementation)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    axes.set_xlabel("seconds")
    _workload_axis(axes, names)


def _workload_axis(axes: Any, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="both", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

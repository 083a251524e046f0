"""Results as a table of ratios, and as a picture: our time over that of the fastest peer."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.every_op.libraries import AGAIN, IN_ORDER, UNORDERED

OWN: Final = "staticgrad"
#: A ratio from which on a cell counts as slower, beyond the noise of a shared machine.
SLOWER: Final = 1.25


@dataclass(frozen=True)
class Cell:
    """A measured point: the ratio to the fastest peer, who that is, and our seconds.

    ``in_order``: the ratio to the fastest of those whose results lie in C order, as ours do.
    ``again``: the ratio of calls that follow others of the same library; 0: not measured.
    """

    ratio: float
    peer: str
    seconds: float
    label: str
    dtype: str
    layout: str
    size: int
    backward: bool
    in_order: float = 0.0
    again: float = 0.0

    @property
    def column(self) -> tuple[bool, str, int]:
        """The key of its column in the table."""
        return self.backward, self.layout, self.size


def read(path: Path) -> list[Cell]:
    """The cells of a file of results, of each point the one that was measured last."""
    by_point: dict[tuple[Any, ...], Cell] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        seconds = dict(entry["seconds"])
        ours = seconds.pop(OWN)
        after_others = {name: seconds.pop(name) for name in [*seconds] if name.endswith(AGAIN)}
        ordered = {name: seconds.pop(name) for name in [*seconds] if name.endswith(IN_ORDER)}
        unordered = UNORDERED if ordered else ()
        if seconds and not entry["wrong"]:
            peer = min(seconds, key=seconds.__getitem__)
            same = [s for name, s in seconds.items() if name not in unordered]
            in_order = ours / min([*same, *ordered.values()])
            last = after_others.pop(f"{OWN}{AGAIN}", 0.0)
            again = last / min(after_others.values()) if after_others else 0.0
            ratio, point = ours / seconds[peer], entry["point"]
            cell = Cell(ratio, peer, ours, **point, in_order=in_order, again=again)
            by_point[tuple(entry["point"].values())] = cell
    return [*by_point.values()]


def to_markdown(cells: Sequence[Cell]) -> str:
    """A row for each case and dtype, a column for each layout and size."""
    columns = sorted({cell.column for cell in cells}, key=_order)
    rows = dict.fromkeys((cell.label, cell.dtype) for cell in cells)
    at = {(cell.label, cell.dtype, cell.column): cell for cell in cells}
    heads = [f"{'back ' * back}{layout[:5]} {_count(size)}" for back, layout, size in columns]
    lines = [f"| op | dtype | {' | '.join(heads)} |", f"|---|---|{'--:|' * len(heads)}"]
    for label, dtype in rows:
        texts = [_text(at.get((label, dtype, column))) for column in columns]
        lines.append(f"| {label} | {dtype} | {' | '.join(texts)} |")
    return "\n".join([*lines, ""])


def summary(cells: Sequence[Cell]) -> str:
    """Count the cells that are slower than, as fast as, or faster than the fastest peer."""
    slower = sum(cell.ratio > SLOWER for cell in cells)
    faster = sum(cell.ratio < 1 / SLOWER for cell in cells)
    return (
        f"{len(cells)} points: {faster} faster than the fastest peer, {slower} slower, beyond a "
        f"factor of {SLOWER}. A cell is our time over the least of NumPy, JAX and PyTorch."
    )


def drawing(cells: Sequence[Cell]) -> str:
    """An SVG: a colour for each ratio, ops downwards."""
    figure_module = import_module("matplotlib.figure")
    colors = import_module("matplotlib.colors")
    columns = sorted({cell.column for cell in cells}, key=_order)
    rows = [*dict.fromkeys((cell.label, cell.dtype) for cell in cells)]
    at = {(cell.label, cell.dtype, cell.column): cell.ratio for cell in cells}
    table = [[at.get((*row, column), float("nan")) for column in columns] for row in rows]
    figure = figure_module.Figure(figsize=(0.35 * len(columns) + 3, 0.14 * len(rows) + 1.5))
    axes = figure.add_subplot()
    norm = colors.LogNorm(0.1, 10)
    image = axes.imshow(table, aspect="auto", cmap="RdYlGn_r", norm=norm, interpolation="none")
    axes.set_yticks(range(len(rows)), [f"{label} {dtype}" for label, dtype in rows], fontsize=5)
    heads = [f"{'back ' * back}{layout} {_count(size)}" for back, layout, size in columns]
    axes.set_xticks(range(len(columns)), heads, fontsize=6, rotation=90)
    axes.xaxis.tick_top()
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=30, anchor=(0, 1))
    bar.set_label("time / fastest of NumPy, JAX, PyTorch", fontsize=7)
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return out.getvalue()


def _text(cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = f"{cell.ratio:.2f}"
    return f"**{text}** {cell.peer}" if cell.ratio > SLOWER else text


def _count(size: int) -> str:
    return f"{size:.0e}".replace("e+0", "e")


def _order(column: tuple[bool, str, int]) -> tuple[bool, bool, str, int]:
    backward, layout, size = column
    return backward, layout != "contiguous", layout, size


def worst(cells: Iterable[Cell], count: int) -> list[Cell]:
    """The cells with the largest ratios."""
    return sorted(cells, key=lambda cell: -cell.ratio)[:count]

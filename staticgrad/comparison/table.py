"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from staticgrad.comparison.report import TAPE, Comparison
from staticgrad.comparison.wording import nbytes, number, ratio, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType


def tables(found: Comparison) -> RenderableType:
    """Time, first result, memory, work: one table each, under each other."""
    from rich.console import Group

    title = (
        f"{found.model} ({found.parameters:,} parameters, batch size {found.batch_size}); losses"
        f" agree to {found.agreement.largest_difference:.0e} over"
        f" {len(found.agreement.by_run)} steps"
    )
    return Group(title, "", _times(found), _firsts(found), _memory(found), _work(found))


def _times(found: Comparison) -> RenderableType:
    rows = [
        (f"{what} {p.at}", seconds(p.by_run.median), seconds(p.then_run.median), ratio(p.ratio))
        for what, pairs in (("batch size", found.batches), ("layers", found.depths))
        for p in pairs
    ]
    return _table("a step", ("define by run", "define then run", "ratio"), rows)


def _firsts(found: Comparison) -> RenderableType:
    rows = []
    for state, first in found.first.items():
        even = "" if state == TAPE else _step(found.break_even[state])
        parts = (first.imports, first.build, first.compile, first.step, first.total)
        rows.append((state, *map(seconds, parts), even))
    heads = ("import", "build", "compile", "first step", "in all", "paid for at step")
    return _table("first result", heads, rows)


def _step(step: float | None) -> str:
    if step is None:
        return "never"
    return f"{step:,.0f}" if step >= 0.5 else "at once"


def _memory(found: Comparison) -> RenderableType:
    arenas = found.memory.arena.items()
    rows = [
        ("tape, measured", nbytes(found.memory.tape), ""),
        *((f"{n}, planned", nbytes(size), ratio(found.memory.times[n])) for n, size in arenas),
    ]
    return _table("memory of a step", ("bytes", "predicted time"), rows)


def _work(found: Comparison) -> RenderableType:
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return _table("what a step executes", ("operations", "results written", "FLOPs"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    from rich.table import Table

    table = Table(title, *heads, title_justify="left", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table

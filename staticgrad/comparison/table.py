"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from staticgrad.comparison.report import (
    TAPE,
    Comparison,
    Pair,
    Timing,
)
from staticgrad.pictures.numbers import nbytes, number, ratio, seconds, span

if TYPE_CHECKING:
    from rich.console import RenderableType


#: Parameters that lie farther apart than this need a word.
_NOISE: Final = 1e-3


def tables(found: Comparison) -> RenderableType:
    """Time, first result, memory, work: one table each, under each other."""
    from rich.console import Group

    title = (
        f"{found.model} ({found.parameters:,} parameters, batch size {found.batch_size};"
        f" {found.rule})"
    )
    threads = f"on {found.threads} thread{'s' * (found.threads > 1)}"
    times = (
        f"Times of a step, each way {threads}: the least processor time, the quartiles of wall"
        " time; ratios of processor time, with their range among parts of the measurement"
    )
    notes = [verdict(found), times, *found.warnings]
    parts = [_times(found), _memory(found), _work(found)]
    if found.first:
        parts.insert(1, _firsts(found))
    return Group(title, *notes, "", *parts)


def verdict(found: Comparison) -> str:
    """Whether both ways agree, and how far, or why not."""
    both = found.agreement
    if not both.holds:
        return f"PROBLEM: {both.problem}"
    figures = [f"losses of {len(both.by_run)} steps to {both.losses:.0e}"]
    if both.gradients is not None:
        figures.append(f"gradients to {both.gradients:.0e}")
    if both.parameters is not None:
        figures.append(f"parameters afterwards to {both.parameters:.0e}")
    noise = (
        "; where losses agree and a parameter does not, its gradient is rounding alone, as that of"
        " a bias in front of a normalization"
    )
    known = both.gradients is not None or (both.parameters or 0.0) < _NOISE
    return f"Both ways agree: relatively, {', '.join(figures)}{'' if known else noise}"


def rows_of_times(found: Comparison) -> list[tuple[str, Pair]]:
    """What was timed, in words, with its figures."""
    return [
        *((f"batch size {pair.at}", pair) for pair in found.batches),
        *([("  its forward pass", found.forward)] if found.forward else []),
        *((f"{pair.at} layers", pair) for pair in found.depths),
    ]


def _times(found: Comparison) -> RenderableType:
    rows = [
        (what, *timing(p.by_run), *timing(p.then_run), ratio(p.ratio), between(p))
        for what, p in rows_of_times(found)
    ]
    heads = ("tape: CPU", "wall", "compiled: CPU", "wall", "ratio", "range")
    return _table("a step", heads, rows)


def timing(found: Timing) -> tuple[str, str]:
    """The least processor time; the quartiles of wall time."""
    return seconds(found.cpu), span(found.lower, found.upper)


def between(pair: Pair) -> str:
    """The range of the ratio."""
    low, high = (ratio(value).removesuffix("x") for value in pair.ratios)
    return f"{low}-{high}"


def _firsts(found: Comparison) -> RenderableType:
    rows = []
    for state, first in found.first.items():
        even = "" if state == TAPE else _step(found.break_even[state])
        parts = (first.imports, first.build, first.compile, first.step, first.total, first.cpu)
        rows.append((state, *map(seconds, parts), even))
    heads = ("import", "build", "compile", "first step", "in all", "CPU", "paid for at step")
    return _table("first result", heads, rows)


def _step(step: float | None) -> str:
    if step is None:
        return "never"
    return f"{step:,.0f}" if step >= 0.5 else "at once"


def _memory(found: Comparison) -> RenderableType:
    heads = [f"batch {each.at}" for each in found.memories]
    return _table("memory of a step", (*heads, "predicted time"), memory_rows(found))


def memory_rows(found: Comparison) -> list[tuple[str, ...]]:
    """The peaks of the tape, of each policy and within each budget, by batch size."""
    rows = [("tape, measured", *(nbytes(each.tape) for each in found.memories), "")]
    for policy in found.memory.arena:
        sizes = (nbytes(each.arena[policy]) for each in found.memories)
        rows.append((f"{policy}, planned", *sizes, ratio(found.memory.times[policy])))
    for each in found.budgets:
        at = [nbytes(each.peak) if m.at == found.batch_size else "" for m in found.memories]
        rows.append((each.name, *at, ratio(each.time)))
    return rows


def _work(found: Comparison) -> RenderableType:
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return _table("what a step executes", ("operations", "results written", "FLOPs"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(title, *heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table

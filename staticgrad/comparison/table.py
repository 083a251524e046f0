"""A comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from staticgrad.comparison.report import (
    TAPE,
    Changes,
    Comparison,
    Pair,
    Refusal,
    TapeAlone,
    Timing,
)
from staticgrad.pictures.markup import nbytes, number, ratio, seconds, span

if TYPE_CHECKING:
    from rich.console import RenderableType


#: The parts of the tape's peak, and what stands beside it, in words.
PARTS: Final = {
    "activations": "  activations",
    "gradients": "  gradients",
    "updates": "  updates",
    "objects": "  beside it: Python objects",
    "state": "  both ways: optimizer state",
}
#: Parameters that lie farther apart than this need a word.
_NOISE: Final = 1e-3


def tables(found: Comparison | TapeAlone) -> RenderableType:
    """Time, first result, memory, work: one table each, under each other."""
    from rich.console import Group

    if isinstance(found, TapeAlone):
        return _of_the_tape(found)

    title = (
        f"{found.model} ({found.parameters:,} parameters, batch size {found.batch_size};"
        f" {found.rule})"
    )
    threads = f"on {found.threads} thread{'s' * (found.threads > 1)}"
    times = (
        f"Times of a step, each way {threads}: the least processor time; ratios of them, with their"
        " range among parts of the measurement"
    )
    notes = [verdict(found), times, found.about_the_tape, *found.warnings]
    if found.refusal is not None:
        notes[1:1] = lines_of(found.refusal)
    parts = [_times(found), _memory(found), _work(found)]
    if found.changes is not None:
        parts.append(_table("sizes that change", ("",), changes_rows(found.changes)))
    if found.first:
        parts.insert(1, _firsts(found))
    if found.peers:
        parts.insert(1, _table("a step in PyTorch", PEER_HEADS, peer_rows(found)))
    against = ["", "Where define-then-run loses:", *(f"- {text}" for text in found.against)]
    return Group(title, *notes, "", *parts, *(against if found.against else []))


#: Of ``peer_rows``, but for the names.
PEER_HEADS: Final = ("time", "/ compiled", "its range", "peak", "losses")


def peer_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return a row of time and memory for each other library, or why it has no figures."""
    return [
        (peer.name.replace("PyTorch, ", ""), seconds(peer.pair.by_run.cpu), ratio(peer.pair.ratio),
         between(peer.pair), nbytes(peer.tape or 0), f"to {peer.losses or 0.0:.0e}")
        if peer.pair is not None
        else (f"{peer.name}: {peer.reason}", *[""] * len(PEER_HEADS))
        for peer in found.peers
    ]  # fmt: skip


def _of_the_tape(found: TapeAlone) -> RenderableType:
    from rich.console import Group

    low, high = min(found.operations), max(found.operations)
    rows = [
        ("processor time", seconds(found.tape.cpu)),
        ("memory, measured", nbytes(found.nbytes)),
        (f"operations in each of {len(found.operations)} steps", f"{low:,} to {high:,}"),
    ]
    title = f"{found.model} ({found.parameters:,} parameters; {found.rule})"
    said = "There is no graph of this program: only the tape is measured."
    refused = lines_of(found.refusal)
    return Group(title, said, *refused, "", _table("a step of the tape", ("",), rows))


def lines_of(refusal: Refusal) -> list[str]:
    """A refusal in lines: what, where, and what to write."""
    where = [f"  {refusal.line}: {refusal.text}"] if refusal.line else []
    first, *others = refusal.cure.splitlines()
    cure = [f"  write: {first}", *(f"         {line}" for line in others)]
    return [f"REFUSED: {refusal.message}", *where, *cure]


def changes_rows(found: Changes) -> list[tuple[str, str]]:
    """Return the cost of steps of other sizes."""
    rows = [(name, f"{low:,} to {high:,}") for name, (low, high) in found.sizes.items()]
    graphs = f"{found.graphs} graphs" if found.graphs != 1 else "1 graph"
    rows += [
        (f"{found.shapes} different shapes in {found.steps} steps",
         f"{graphs}, {found.plans} plans"),
        ("a step of the tape", seconds(found.tape)),
        ("a compiled step with new sizes", seconds(found.new)),
        ("the same step again", seconds(found.again)),
    ]  # fmt: skip
    rows += [
        (f"bytes at half, usual, twice {name}", ", ".join(map(nbytes, sizes)))
        for name, sizes in found.planned.items()
    ]
    return rows


def verdict(found: Comparison) -> str:
    """Return whether both ways agree, and how far, or why not."""
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
    """Return a description and the figures of everything that was timed."""
    return [
        *((f"batch size {pair.at}", pair) for pair in found.batches),
        *([("  its forward pass", found.forward)] if found.forward else []),
        *((f"{pair.at} layers", pair) for pair in found.depths),
    ]


def _times(found: Comparison) -> RenderableType:
    rows = [
        (what, seconds(p.by_run.cpu), seconds(p.then_run.cpu), ratio(p.ratio), between(p))
        for what, p in rows_of_times(found)
    ]
    return _table("a step", ("tape", "compiled", "ratio", "its range"), rows)


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
        made = first.build + first.compile
        parts = (first.imports, made, first.step, first.total, first.cpu)
        rows.append((state.removeprefix("compiled, "), *map(seconds, parts), even))
    heads = ("import", "compile", "step", "in all", "CPU", "pays at step")
    return _table("first result", heads, rows)


def _step(step: float | None) -> str:
    if step is None:
        return "never"
    return f"{step:,.0f}" if step >= 0.5 else "at once"


def _memory(found: Comparison) -> RenderableType:
    heads = [f"batch {each.at}" for each in found.memories]
    return _table("memory of a step", (*heads, "time"), memory_rows(found))


def memory_rows(found: Comparison) -> list[tuple[str, ...]]:
    """The peaks of the tape, of each policy and within each budget, by batch size."""
    rows = [("tape, measured", *(nbytes(each.tape) for each in found.memories), "")]
    for part, words in PARTS.items():
        if any(each.parts[part] for each in found.memories):
            rows.append((words, *(nbytes(each.parts[part]) for each in found.memories), ""))
    if found.checkpointed is not None:
        kept = nbytes(found.checkpointed.nbytes)
        at = [kept if m.at == found.batch_size else "" for m in found.memories]
        rows.append(("tape, layers checkpointed", *at, f"{ratio(found.checkpointed.time)} of tape"))
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
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    return table

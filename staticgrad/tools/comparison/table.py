"""The tables of a comparison, for a terminal and for its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from staticgrad.support.pictures import markup
from staticgrad.support.pictures.markup import nbytes, number, ratio, seconds
from staticgrad.support.records import NamedTuple
from staticgrad.tools.comparison.report import (
    EMPTY,
    GRADIENTS,
    KEPT,
    TAPE,
    TEMPORARY,
    TORCH,
    UPDATES,
    Comparison,
    Pair,
    Peer,
    Refusal,
    TapeAlone,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

_CAUSES: Final = (KEPT, GRADIENTS, UPDATES, TEMPORARY)
#: Parameters with a larger difference need an explanation.
_NOISE: Final = 1e-3


class FigureTable(NamedTuple):
    """Rows of a name and figures."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """Return the table for a page."""
        return markup.table(("", *self.heads), self.rows, numbers=range(1, 1 + len(self.heads)))

    def text(self) -> RenderableType:
        """Return the table for a terminal; one that is too wide goes on in further tables."""
        return _Folded(self)

    def columns(self, first: int, last: int) -> Table:
        """Return the names of rows and some of the columns of figures."""
        from rich import box
        from rich.table import Table

        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for k, head in enumerate((self.title, *self.heads[first:last])):
            shown.add_column(head, no_wrap=True, justify="right" if k else "left")
        for name, *figures in self.rows:
            shown.add_row(name, *figures[first:last])
        return shown


class _Folded:
    """A table whose columns are divided so that each part fits the width of a terminal."""

    def __init__(self, table: FigureTable) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        first, count = 0, len(self._table.heads)
        while first < count:
            last = first + 1
            while last < count and self._fits(first, last + 1, console, options):
                last += 1
            yield self._table.columns(first, last)
            first = last

    def _fits(self, first: int, last: int, console: Console, options: ConsoleOptions) -> bool:
        width = options.max_width
        wide = options.update(max_width=10_000)
        return console.measure(self._table.columns(first, last), options=wide).maximum <= width


def tables(found: Comparison | TapeAlone) -> RenderableType:
    """Return the report for a terminal: time, first result, memory, work under each other."""
    from rich.console import Group

    title = f"{found.model} ({found.parameters:,} parameters"
    refused = [] if found.refusal is None else lines_of(found.refusal)
    if isinstance(found, TapeAlone):
        low, high = min(found.operations), max(found.operations)
        rows = [
            ("processor time", seconds(found.tape.cpu)),
            ("memory, measured", nbytes(found.nbytes)),
            (f"operations in each of {len(found.operations)} steps", f"{low:,} to {high:,}"),
        ]
        said = "There is no graph of this program: only the tape is measured."
        lone = [FigureTable("a step of the tape", ("",), rows), peers(found)]
        texts = [each.text() for each in lone if each.rows]
        return Group(f"{title}; {found.rule})", said, *refused, "", *texts, *reasons(found))
    threads = f"on {found.threads} thread{'s' * (found.threads > 1)}"
    measured = (
        f"Times of a step, each way {threads}: the least processor time; ratios of them, with their"
        " range among parts of the measurement"
    )
    parts = [
        times(found),
        peers(found),
        first_results(found),
        memory(found),
        causes(found),
        work(found),
    ]
    time, what = headline(found)
    first = [f"{time}: {what}."] if found.changes else [found.about_the_tape]
    parts.insert(0, changes(found))
    against = ["", "Where define-then-run loses:", *(f"- {text}" for text in found.against)]
    return Group(
        f"{title}, {found.about_batch}; {found.rule})",
        *(verdict(found), *refused, *first, measured, *found.warnings, ""),
        *(table.text() for table in parts if table.rows),
        *found.about_memory,
        *found.about_tape_memory,
        *found.about_compiled_memory,
        *reasons(found),
        *(against if found.against else ()),
    )


def lines_of(refusal: Refusal) -> list[str]:
    """Return a refusal in lines: what, where, and what to write."""
    where = [f"  {refusal.line}: {refusal.text}"] if refusal.line else []
    first, *others = refusal.cure.splitlines()
    cure = [f"  write: {first}", *(f"         {line}" for line in others)]
    return [f"REFUSED: {refusal.message}", *where, *cure]


def verdict(found: Comparison) -> str:
    """Return whether both ways agree, and how far, or why not."""
    both = found.agreement
    if both.problem:
        return f"PROBLEM: {both.problem}"
    figures = [f"losses of {len(both.by_run)} steps to {both.losses:.0e}"]
    if both.parameters is not None:
        figures.append(f"parameters afterwards to {both.parameters:.0e}")
    noise = (
        "; where losses agree and a parameter does not, its gradient is rounding alone, as that of"
        " a bias in front of a normalization"
    )
    known = (both.parameters or 0.0) < _NOISE
    return f"Both ways agree: relatively, {', '.join(figures)}{'' if known else noise}"


def times(found: Comparison) -> FigureTable:
    """Return a row for everything that was timed."""
    pairs = [
        (f"batch size {pair.at}" if found.changes is None else "sizes of the first step", pair)
        for pair in found.batches
    ]
    pairs += [("  its forward pass", found.forward)] if found.forward else []
    rows = [
        (what, seconds(p.by_run.cpu), seconds(p.then_run.cpu), ratio(p.ratio), between(p))
        for what, p in pairs
    ]
    return FigureTable("a step", ("tape", "compiled", "ratio", "its range"), rows)


def between(pair: Pair) -> str:
    """Return the range of the ratio."""
    return "-".join(ratio(value).removesuffix("x") for value in pair.ratios)


def peers(found: Comparison | TapeAlone) -> FigureTable:
    """Return time, memory, first result and recomputation by run and then run, in each library."""
    if isinstance(found, TapeAlone):
        return _peers_of_the_tape(found)
    heads = ("time", "/ compiled", "bytes", "first", "recompute", "losses")
    if not found.peers:
        return FigureTable("a step", heads, [])
    usual, held = found.usual, found.memory
    first = {name: seconds(each.total - each.imports) for name, each in found.first.items()}
    cost = ""
    if found.budgets:
        last = found.budgets[-1]
        cost = f"{nbytes(last.peak)} at {ratio(last.time)}"
    rows = [
        ("by run: staticgrad's tape", seconds(usual.by_run.cpu), ratio(usual.ratio),
         nbytes(held.tape), first.get(TAPE, ""), "", "these"),
        *(_row(each, "by run: ") for each in found.peers if each.name == TORCH),
        ("then run: staticgrad", seconds(usual.then_run.cpu), "1x",
         nbytes(next(iter(held.arena.values()))), first.get(EMPTY, ""), cost,
         f"to {found.agreement.losses:.0e}"),
        *(_row(each, "then run: ") for each in found.peers if each.name != TORCH),
    ]  # fmt: skip
    return FigureTable("the same step", heads, rows)


def _peers_of_the_tape(found: TapeAlone) -> FigureTable:
    """Return time, memory and first result of a program that only the tape of ours runs."""
    heads = ("time", "/ tape", "bytes", "first", "losses")
    if not any(each.pair for each in found.peers):
        return FigureTable("the same step", heads, [])
    tape = ("by run: staticgrad's tape", seconds(found.tape.cpu), "1x", nbytes(found.nbytes), "")
    rows: list[tuple[str, ...]] = [(*tape, "these")]
    for each in found.peers:
        name, *figures = _row(each, "by run: " if each.name == TORCH else "then run: ")
        rows.append((name, *(figure for k, figure in enumerate(figures) if k != 4)))  # recompute
    return FigureTable("the same step", heads, rows)


def reasons(found: Comparison | TapeAlone) -> list[str]:
    """Return why libraries have no figures."""
    return [f"{each.name}: {each.reason}" for each in found.peers if each.reason]


def _row(each: Peer, kind: str) -> tuple[str, ...]:
    if each.pair is None:
        return (f"{kind}{each.name}", *["-"] * 6)
    cost = "" if each.recompute is None else _recomputed(*each.recompute)
    time = f"{ratio(each.pair.ratio)} ({between(each.pair)})"
    return (
        f"{kind}{each.name}", seconds(each.pair.by_run.cpu), time, nbytes(each.tape),
        seconds(each.first), cost, f"to {each.losses:.0e}",
    )  # fmt: skip


def _recomputed(size: int, longer: float) -> str:
    return f"{nbytes(size)} at {ratio(longer)}"


def first_results(found: Comparison) -> FigureTable:
    """Return the parts of the time to the first loss, by state of the kernel cache."""
    rows = []
    for state, first in found.first.items():
        parts = (first.imports, first.build + first.compile, first.step, first.total, first.cpu)
        even = "" if state == TAPE else paid(found, state)
        rows.append((state.removeprefix("compiled, "), *map(seconds, parts), even))
    heads = ("import", "compile", "step", "in all", "CPU", "pays at step")
    return FigureTable("first result", heads, rows)


def paid(found: Comparison, state: str) -> str:
    """Return the step by which compiling has paid for itself, with its range among repeats."""
    both = found.break_even[state]
    if both.low is None:
        return "never" if found.changes is None else f"not in {found.course_steps} steps"
    low, high = (step if step is None or step >= 0.5 else 0.0 for step in (both.low, both.high))
    first = f"{low:,.0f}" if low else "at once"
    if high is None:
        return f"{first} or later"
    last = f"{high:,.0f}" if high else "at once"
    return first if first == last else f"{first} to {last}" if low else f"{last} or earlier"


def memory(found: Comparison) -> FigureTable:
    """Return the peaks of the tape, of each policy and within each budget, by batch size."""
    memories = found.memories

    def row(name: str, sizes: Sequence[float], time: str = "") -> tuple[str, ...]:
        return (name, *map(nbytes, sizes), time)

    def usual(name: str, size: float, time: str) -> tuple[str, ...]:
        return (name, *(nbytes(size) if m.at == found.batch_size else "" for m in memories), time)

    rows = [row("tape, measured", [each.tape for each in memories])]
    for policy, time_of in found.memory.times.items():
        sizes = [each.arena[policy] for each in memories]
        rows.append(row(f"{policy}, planned", sizes, ratio(time_of)))
    if found.checkpointed is not None:
        rows.insert(1, usual("checkpointed tape", found.checkpointed.peak, ""))
    rows += [usual(each.name, each.peak, ratio(each.time)) for each in found.budgets]
    measured = {b.name: ratio(b.measured) for b in found.budgets if b.measured is not None}
    if found.checkpointed is not None:
        measured["checkpointed tape"] = ratio(found.checkpointed.time)
    rows = [(*each, measured.get(each[0], "")) for each in rows]
    heads = [f"batch {each.at}" if found.changes is None else "first sizes" for each in memories]
    return FigureTable("memory of a step", (*heads, "predicted", "measured"), rows)


def causes(found: Comparison) -> FigureTable:
    """Return the bytes at the peak by cause."""
    rows = [(c.name, *map(nbytes, c.parts.values()), nbytes(c.total)) for c in found.by_cause]
    return FigureTable("bytes at the peak", ("kept", *_CAUSES[1:], "in all"), rows)


def work(found: Comparison) -> FigureTable:
    """Return the operations of a step, as written and after each pass."""
    rows = [(w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in found.work]
    return FigureTable("what a step executes", ("operations", "results written", "FLOPs"), rows)


def changes(found: Comparison) -> FigureTable:
    """Return what steps with other sizes took: all of them, and one of each kind."""
    both = found.changes
    if both is None:
        return FigureTable("sizes that change", ("",), [])
    graphs = f"{both.graphs} graph{'s' * (both.graphs != 1)}"
    rows = [(name, f"{low:,} to {high:,}") for name, (low, high) in both.sizes.items()]
    rows.append(
        (f"{both.shapes} different shapes in {both.steps} steps", f"{graphs}, {both.plans} plans")
    )
    rows += [(f"all {both.steps} steps: {s}", seconds(found.spent(s))) for s in found.courses]
    rows.append(("a step of the tape, median", seconds(both.tape)))
    kinds = (("new sizes", both.new), ("sizes that it had before", both.again))
    rows += [
        (f"a compiled step with {kind}, median", seconds(time)) for kind, time in kinds
        if time is not None
    ]  # fmt: skip
    rows += [
        (f"bytes at half, usual, twice {name}", ", ".join(map(nbytes, sizes)))
        for name, sizes in both.planned.items()
    ]
    return FigureTable("sizes that change", ("by the clock",), rows)


def headline(found: Comparison) -> tuple[str, str]:
    """Return the figure of time and what it is: of changing sizes that of all steps together."""
    usual, both = found.usual, found.changes
    step = (
        f"the processor time per step on the tape, relative to the compiled step ({between(usual)}"
        f" among parts of the measurement). {found.about_the_tape}"
    )
    if both is None:
        return ratio(usual.ratio), step
    one, two = found.spent(TAPE), found.spent(found.state)
    return ratio(one / two), (
        f"the time of {both.steps} steps on the tape, relative to the compiled ones with all that"
        f" is compiled for their {both.shapes} shapes, by the clock: {seconds(one)} and"
        f" {seconds(two)} ({found.state}). Once all sizes have been seen a step takes"
        f" {ratio(1 / usual.ratio)} the time of the tape's"
    )

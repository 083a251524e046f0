"""The tables of a comparison, for a terminal and for its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from staticgrad.comparison.report import (
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
from staticgrad.extend import NamedTuple, pages
from staticgrad.extend.pages import nbytes, number, ratio, seconds

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
        return pages.table(("", *self.heads), self.rows, numbers=range(1, 1 + len(self.heads)))

    def text(self) -> RenderableType:
        """Return the table for a terminal; one that is too wide goes on in further tables."""
        return _Folded(self)

    def columns(self, first: int, last: int) -> Table:
        """Select columns of a comparison's table from ``first`` to ``last``."""
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


def tables(comparison: Comparison | TapeAlone) -> RenderableType:
    """Return the comparison's tables for a terminal: time, first result, memory, work."""
    from rich.console import Group

    title = f"{comparison.model} ({comparison.parameters:,} parameters"
    refused = [] if comparison.refusal is None else lines_of(comparison.refusal)
    if isinstance(comparison, TapeAlone):
        low, high = min(comparison.operations), max(comparison.operations)
        rows = [
            ("processor time", seconds(comparison.tape.cpu)),
            ("memory, measured", nbytes(comparison.nbytes)),
            (f"operations in each of {len(comparison.operations)} steps", f"{low:,} to {high:,}"),
        ]
        explanation = "There is no graph of this program: only the tape is measured."
        lone = [FigureTable("a step of the tape", ("",), rows), peers(comparison)]
        texts = [table.text() for table in lone if table.rows]
        return Group(
            f"{title}; {comparison.rule})", explanation, *refused, "", *texts, *reasons(comparison)
        )
    threads = f"on {comparison.threads} thread{'s' * (comparison.threads > 1)}"
    measured = (
        f"Times of a step, each way {threads}: the least processor time; ratios of them, with their"
        " range among parts of the measurement"
    )
    parts = [
        times(comparison),
        peers(comparison),
        first_results(comparison),
        memory(comparison),
        causes(comparison),
        work(comparison),
    ]
    time, what = headline(comparison)
    first = [f"{time}: {what}."] if comparison.changes else [comparison.about_the_tape]
    parts.insert(0, changes(comparison))
    against = ["", "Where define-then-run loses:", *(f"- {text}" for text in comparison.against)]
    return Group(
        f"{title}, {comparison.about_batch}; {comparison.rule})",
        *(verdict(comparison), *refused, *first, measured, *comparison.warnings, ""),
        *(table.text() for table in parts if table.rows),
        *comparison.about_memory,
        *comparison.about_tape_memory,
        *comparison.about_compiled_memory,
        *reasons(comparison),
        *(against if comparison.against else ()),
    )


def lines_of(refusal: Refusal) -> list[str]:
    """Return a refusal in lines: what, where, and what to write."""
    where = [f"  {refusal.line}: {refusal.text}"] if refusal.line else []
    first, *others = refusal.cure.splitlines()
    cure = [f"  write: {first}", *(f"         {line}" for line in others)]
    return [f"REFUSED: {refusal.message}", *where, *cure]


def verdict(comparison: Comparison) -> str:
    """Say whether tape and compiled program agree in losses, and how closely."""
    agreement = comparison.agreement
    if agreement.problem:
        return f"PROBLEM: {agreement.problem}"
    figures = [f"losses of {len(agreement.by_run)} steps to {agreement.losses:.0e}"]
    if agreement.parameters is not None:
        figures.append(f"parameters afterwards to {agreement.parameters:.0e}")
    noise = (
        "; where losses agree and a parameter does not, its gradient is rounding alone, as that of"
        " a bias in front of a normalization"
    )
    is_close = (agreement.parameters or 0.0) < _NOISE
    return f"Both ways agree: relatively, {', '.join(figures)}{'' if is_close else noise}"


def times(comparison: Comparison) -> FigureTable:
    """Return the table of times: a row for everything that was timed."""
    pairs = [
        (f"batch size {pair.at}" if comparison.changes is None else "sizes of the first step", pair)
        for pair in comparison.batches
    ]
    pairs += [("  its forward pass", comparison.forward)] if comparison.forward else []
    rows = [
        (what, seconds(p.by_run.cpu), seconds(p.then_run.cpu), ratio(p.ratio), format_range(p))
        for what, p in pairs
    ]
    return FigureTable("a step", ("tape", "compiled", "ratio", "its range"), rows)


def format_range(pair: Pair) -> str:
    """Return the range of the ratio."""
    return "-".join(ratio(value).removesuffix("x") for value in pair.ratios)


def peers(comparison: Comparison | TapeAlone) -> FigureTable:
    """Return the table of other libraries: time, memory, first result, recomputation."""
    if isinstance(comparison, TapeAlone):
        return _peers_of_the_tape(comparison)
    heads = ("time", "/ compiled", "bytes", "first", "recompute", "losses")
    if not comparison.peers:
        return FigureTable("a step", heads, [])
    usual, memory_report = comparison.usual, comparison.memory
    first = {name: seconds(start.total - start.imports) for name, start in comparison.first.items()}
    cost = ""
    if comparison.budgets:
        last = comparison.budgets[-1]
        cost = f"{nbytes(last.peak)} at {ratio(last.time)}"
    rows = [
        ("by run: staticgrad's tape", seconds(usual.by_run.cpu), ratio(usual.ratio),
         nbytes(memory_report.tape), first.get(TAPE, ""), "", "these"),
        *(_row(peer, "by run: ") for peer in comparison.peers if peer.name == TORCH),
        ("then run: staticgrad", seconds(usual.then_run.cpu), "1x",
         nbytes(next(iter(memory_report.arena.values()))), first.get(EMPTY, ""), cost,
         f"to {comparison.agreement.losses:.0e}"),
        *(_row(peer, "then run: ") for peer in comparison.peers if peer.name != TORCH),
    ]  # fmt: skip
    return FigureTable("the same step", heads, rows)


def _peers_of_the_tape(report: TapeAlone) -> FigureTable:
    """Return the table of other libraries for a program that only the tape runs."""
    heads = ("time", "/ tape", "bytes", "first", "losses")
    if not any(peer.pair for peer in report.peers):
        return FigureTable("the same step", heads, [])
    tape = ("by run: staticgrad's tape", seconds(report.tape.cpu), "1x", nbytes(report.nbytes), "")
    rows: list[tuple[str, ...]] = [(*tape, "these")]
    for peer in report.peers:
        name, *figures = _row(peer, "by run: " if peer.name == TORCH else "then run: ")
        rows.append((name, *(figure for k, figure in enumerate(figures) if k != 4)))  # recompute
    return FigureTable("the same step", heads, rows)


def reasons(comparison: Comparison | TapeAlone) -> list[str]:
    """Return why libraries have no figures."""
    return [f"{peer.name}: {peer.reason}" for peer in comparison.peers if peer.reason]


def _row(peer: Peer, kind: str) -> tuple[str, ...]:
    """Format the figures of another library as a table row."""
    if peer.pair is None:
        return (f"{kind}{peer.name}", *["-"] * 6)
    cost = "" if peer.recompute is None else _format_recomputation(*peer.recompute)
    time = f"{ratio(peer.pair.ratio)} ({format_range(peer.pair)})"
    return (
        f"{kind}{peer.name}", seconds(peer.pair.by_run.cpu), time, nbytes(peer.tape),
        seconds(peer.first), cost, f"to {peer.losses:.0e}",
    )  # fmt: skip


def _format_recomputation(size: int, longer: float) -> str:
    return f"{nbytes(size)} at {ratio(longer)}"


def first_results(comparison: Comparison) -> FigureTable:
    """Return the table of the time to the first loss, by state of the kernel cache."""
    rows = []
    for state, first in comparison.first.items():
        parts = (first.imports, first.build + first.compile, first.step, first.total, first.cpu)
        even = "" if state == TAPE else paid(comparison, state)
        rows.append((state.removeprefix("compiled, "), *map(seconds, parts), even))
    heads = ("import", "compile", "step", "in all", "CPU", "pays at step")
    return FigureTable("first result", heads, rows)


def paid(comparison: Comparison, state: str) -> str:
    """Format the step by which compiling has paid for itself, with its range."""
    break_even = comparison.break_even[state]
    if break_even.low is None:
        return "never" if comparison.changes is None else f"not in {comparison.course_steps} steps"
    low, high = break_even.low, break_even.high
    first = f"{low:,.0f}" if low > 1 else "at once"
    if high is None:
        return f"{first} or later"
    last = f"{high:,.0f}" if high > 1 else "at once"
    return first if first == last else f"{first} to {last}" if low > 1 else f"{last} or earlier"


def memory(comparison: Comparison) -> FigureTable:
    """Return the table of memory peaks by batch size: tape, policies, budgets."""
    memories = comparison.memories

    def row(name: str, sizes: Sequence[float], time: str = "") -> tuple[str, ...]:
        return (name, *map(nbytes, sizes), time)

    def usual(name: str, size: float, time: str) -> tuple[str, ...]:
        return (
            name,
            *(nbytes(size) if m.at == comparison.batch_size else "" for m in memories),
            time,
        )

    rows = [row("tape, measured", [batch_memory.tape for batch_memory in memories])]
    for policy, time_of in comparison.memory.times.items():
        sizes = [batch_memory.arena[policy] for batch_memory in memories]
        rows.append(row(f"{policy}, planned", sizes, ratio(time_of)))
    if comparison.checkpointed is not None:
        rows.insert(1, usual("checkpointed tape", comparison.checkpointed.peak, ""))
    rows += [usual(budget.name, budget.peak, ratio(budget.time)) for budget in comparison.budgets]
    measured = {b.name: ratio(b.measured) for b in comparison.budgets if b.measured is not None}
    if comparison.checkpointed is not None:
        measured["checkpointed tape"] = ratio(comparison.checkpointed.time)
    rows = [(*figures, measured.get(figures[0], "")) for figures in rows]
    heads = [
        f"batch {batch_memory.at}" if comparison.changes is None else "first sizes"
        for batch_memory in memories
    ]
    return FigureTable("memory of a step", (*heads, "predicted", "measured"), rows)


def causes(comparison: Comparison) -> FigureTable:
    """Return the bytes at the peak by cause."""
    rows = [(c.name, *map(nbytes, c.parts.values()), nbytes(c.total)) for c in comparison.by_cause]
    return FigureTable("bytes at the peak", ("kept", *_CAUSES[1:], "in all"), rows)


def work(comparison: Comparison) -> FigureTable:
    """Return the operations of a step, as written and after each pass."""
    rows = [
        (w.name, f"{w.operations:,}", nbytes(w.nbytes), number(w.flops)) for w in comparison.work
    ]
    return FigureTable("what a step executes", ("operations", "results written", "FLOPs"), rows)


def changes(comparison: Comparison) -> FigureTable:
    """Return the table of steps with new sizes: all of them, and one of each kind."""
    size_changes = comparison.changes
    if size_changes is None:
        return FigureTable("sizes that change", ("",), [])
    graphs = f"{size_changes.graphs} graph{'s' * (size_changes.graphs != 1)}"
    rows = [(name, f"{low:,} to {high:,}") for name, (low, high) in size_changes.sizes.items()]
    rows.append(
        (
            f"{size_changes.shapes} different shapes in {size_changes.steps} steps",
            f"{graphs}, {size_changes.plans} plans",
        )
    )
    rows += [
        (f"all {size_changes.steps} steps: {s}", seconds(comparison.spent(s)))
        for s in comparison.courses
    ]
    rows.append(("a step of the tape, median", seconds(size_changes.tape)))
    kinds = (("new sizes", size_changes.new), ("sizes that it had before", size_changes.again))
    rows += [
        (f"a compiled step with {kind}, median", seconds(time)) for kind, time in kinds
        if time is not None
    ]  # fmt: skip
    rows += [
        (f"bytes at half, usual, twice {name}", ", ".join(map(nbytes, sizes)))
        for name, sizes in size_changes.planned.items()
    ]
    return FigureTable("sizes that change", ("by the clock",), rows)


def headline(comparison: Comparison) -> tuple[str, str]:
    """Format the headline ratio of times, of all steps if sizes change."""
    usual, size_changes = comparison.usual, comparison.changes
    step = (
        f"the processor time per step on the tape, relative to the compiled step"
        f" ({format_range(usual)} among parts of the measurement). {comparison.about_the_tape}"
    )
    if size_changes is None:
        return ratio(usual.ratio), step
    tape_seconds, compiled_seconds = comparison.spent(TAPE), comparison.spent(comparison.state)
    return ratio(tape_seconds / compiled_seconds), (
        f"the time of {size_changes.steps} steps on the tape, relative to the compiled ones with"
        f" all that is compiled for their {size_changes.shapes} shapes, by the clock:"
        f" {seconds(tape_seconds)} and {seconds(compiled_seconds)} ({comparison.state})."
        f" Once all sizes have been seen a step takes"
        f" {ratio(1 / usual.ratio)} the time of the tape's"
    )

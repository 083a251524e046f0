"""The report as text: tables for a terminal, and Markdown for the README, losses included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.harness import figures
from benchmarks.harness.schema import Machine, Report, Row

COLUMNS = (
    "implementation", "threads", "median", "quartiles", "90 %", "noise", "CPU", "kept",
    "x best peer", "tiny call", "GFLOP/s", "GB/s", "first cold", "first warm", "of it import",
    "peak RSS", "planned", "error",
)  # fmt: skip


def show(report: Report, console: Console) -> None:
    """Print everything: the machine, a table per workload, and what did not pass."""
    console.print(machine_text(report.machine))
    for limits in report.limits:
        console.print(
            f"limits at {limits.threads} threads: {limits.gemm32 / 1e9:.0f} GFLOP/s float32,"
            f" {limits.gemm64 / 1e9:.0f} float64, copy {limits.copy / 1e9:.1f} GB/s"
        )
    for note in (*report.notes, *quietness(report), *threads_text(report)):
        console.print(note)
    for name in dict.fromkeys(row.workload for row in report.rows):
        rows = [row for row in report.rows if row.workload == name]
        table = Table(title=f"{name} ({rows[0].dtype})", title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "implementation" else "right")
        for row in sorted(rows, key=_order):
            table.add_row(*cells(report, row))
        console.print(table)


def quietness(report: Report) -> Iterator[str]:
    """A warning where other programs held the cores during the run."""
    rows = figures.disturbed_rows(report)
    if rows:
        least = min(figures.share_of_cores(row) for row in rows)
        yield (
            f"The machine was not quiet: {len(rows)} of {len(figures.timed_rows(report))} rows got"
            f" less than 90 % of their cores, the least {least:.0%}; their times are too long."
        )


def threads_text(report: Report) -> Iterator[str]:
    """A warning where rows on one thread used more than one processor."""
    rows = [row for row in figures.timed_rows(report) if figures.exceeds_its_threads(row)]
    if rows:
        names = ", ".join(dict.fromkeys(row.implementation for row in rows))
        yield (
            f"{len(rows)} rows on one thread used more than 1.1 processors ({names}):"
            " compare their CPU, not their time."
        )


def machine_text(machine: Machine) -> str:
    """One line about the machine."""
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB,"
        f" {machine.system}, Python {machine.python}, NumPy {machine.numpy} with {machine.blas}"
    )


def cells(report: Report, row: Row) -> list[str]:
    """The texts of a row, as ``COLUMNS``."""
    more = row.status == "ok" and figures.exceeds_its_threads(row)
    head = [row.implementation, f"{row.threads}{'+' if more else ''}"]
    if row.status != "ok":
        what = f"{row.status}: {row.detail}" if row.detail else row.status
        return [*head, what[:60], *[""] * (len(COLUMNS) - 3)]
    low, high = figures.quartiles(row)
    ratio, memory = figures.ratio(report, row), row.memory
    limits = figures.limits_of(report, row.threads)
    peak = limits.gemm32 if row.dtype == "float32" else limits.gemm64
    return [
        *head,
        figures.duration(figures.seconds(row)),
        f"{figures.duration(low)} .. {figures.duration(high)}",
        figures.duration(figures.late(row)),
        f"{figures.noise(row):.0%}",
        figures.duration(figures.cpu(row)),
        figures.duration(figures.seconds(row, keep=True)),
        "-" if ratio is None else f"{ratio:.2f}",
        figures.duration(row.overhead),
        f"{figures.flops(row) / 1e9:.3g} ({figures.flops(row) / peak:.0%})",
        f"{figures.bandwidth(row) / 1e9:.3g} ({figures.bandwidth(row) / limits.copy:.0%})",
        figures.duration(figures.start_seconds(row, cold=True)),
        figures.duration(figures.start_seconds(row, cold=False)),
        figures.duration(figures.imports(row)),
        "-" if memory is None else figures.size(memory.peak),
        "-" if memory is None else figures.size(memory.planned),
        "-" if row.error is None else f"{row.error:.0e}",
    ]


def _order(row: Row) -> tuple[bool, float]:
    return row.status != "ok", figures.seconds(row) if row.status == "ok" else 0.0


def to_markdown(report: Report) -> str:
    """Time per call of every implementation, and staticgrad's ratio to the best peer."""
    most = max((row.threads for row in report.rows), default=1)
    threads = f"one thread or {most}, whichever is faster" if most > 1 else "one thread"
    names = list(dict.fromkeys(row.implementation for row in report.rows))
    names.sort(key=lambda name: name != figures.OWN)
    lines = [
        f"Measured on {machine_text(report.machine)}: median time per call over {report.rounds}"
        " processes each, results checked against a float64 truth first. Times are those of"
        f" {threads}; 'one thread' is staticgrad's. Below a ratio of 1 staticgrad is faster than"
        " the best peer; 'kept' is the ratio for a caller that holds the latest eight results."
        " 'of limit': what staticgrad reaches of this machine's rate of products"
        " or copies, the larger share.",
        *report.notes,
        *quietness(report),
        *threads_text(report),
        "",
        "| workload | one thread | " + " | ".join(names) + " | ratio | kept | of limit |",
        "|---|" + "--:|" * (len(names) + 4),
    ]
    lines += [_markdown_line(report, name, names, most) for name in _workloads(report)]
    lines += ["", *_first_results(report, names)]
    return "\n".join(lines) + "\n"


def _workloads(report: Report) -> list[str]:
    return list(dict.fromkeys(row.workload for row in report.rows))


def _markdown_line(report: Report, workload: str, names: list[str], most: int) -> str:
    rows = [row for row in report.rows if row.workload == workload]
    texts = []
    for name in names:
        candidates = [row for row in rows if row.implementation == name]
        passed = [row for row in candidates if row.status == "ok"]
        if passed:
            texts.append(figures.duration(min(map(figures.seconds, passed))))
        else:
            texts.append(candidates[0].status if candidates else "-")
    ours = [r for r in rows if r.implementation == figures.OWN and r.status == "ok"]
    alone = figures.duration(next((figures.seconds(r) for r in ours if r.threads == 1), None))
    share = "-"
    if ours:
        share = f"{figures.share(report, min(ours, key=figures.seconds)):.0%}"
    ratios = [_ratio(report, ours, most, keep) for keep in (False, True)]
    texts = [workload, alone, *texts, *ratios, share]
    return f"| {' | '.join(texts)} |"


def _ratio(report: Report, ours: list[Row], threads: int, keep: bool) -> str:
    """Our fastest row's ratio to the best peer at up to these threads."""
    fastest = min(ours, key=lambda row: figures.seconds(row, keep), default=None)
    ratio = None if fastest is None else figures.ratio(report, fastest, threads, keep)
    return "-" if ratio is None else f"{ratio:.2f}"


def _soonest(rows: list[Row], cold: bool) -> float | None:
    """The shortest time from the import to the first result over numbers of threads."""
    starts = [start for row in rows if (start := figures.start_seconds(row, cold)) is not None]
    return min(starts, default=None)


def _peak(rows: list[Row]) -> float | None:
    """The least peak of a process over numbers of threads."""
    return min((row.memory.peak for row in rows if row.memory is not None), default=None)


def _starts_of(
    report: Report, workload: str, names: list[str]
) -> list[tuple[float | None, float | None, float | None]]:
    """Return first results with empty and filled caches, and the peak, of each implementation."""
    rows = [row for row in figures.timed_rows(report) if row.workload == workload]
    by_name = [[row for row in rows if row.implementation == name] for name in names]
    return [(_soonest(group, True), _soonest(group, False), _peak(group)) for group in by_name]


def starts(report: Report, names: list[str]) -> dict[str, list[list[float]]]:
    """Return the same by implementation as three lists, of workloads that all have."""
    lists: dict[str, list[list[float]]] = {name: [[], [], []] for name in names}
    for workload in _workloads(report):
        by_name = _starts_of(report, workload, names)
        if all(value is not None for values in by_name for value in values):
            for name, values in zip(names, by_name, strict=True):
                for column, value in zip(lists[name], values, strict=True):
                    column.append(value or 0.0)
    return lists


def _first_results(report: Report, names: list[str]) -> Iterator[str]:
    """A table of starts and peaks by workload, and one over those that all implementations ran."""
    by_workload = []
    for workload in _workloads(report):
        texts = [
            f"{figures.duration(cold)} / {figures.duration(filled)}, {figures.size(peak)}"
            for cold, filled, peak in _starts_of(report, workload, names)
        ]
        by_workload.append(f"| {workload} | {' | '.join(texts)} |")
    common = starts(report, names)
    yield "From the import to the first result (NumPy is there before), and the process's peak of"
    yield "resident bytes: median (least to most) over the workloads that all have."
    yield ""
    yield "| | " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * len(names)
    kinds = ("first result, caches empty", "first result, caches filled", "peak of the process")
    for number, kind in enumerate(kinds):
        text = figures.size if number == 2 else figures.duration
        texts = [_spread(common[name][number], text) for name in names]
        yield f"| {kind} | {' | '.join(texts)} |"
    yield ""
    yield "By workload, caches empty / filled:"
    yield ""
    yield "| workload | " + " | ".join(names) + " |"
    yield "|---|" + "--:|" * len(names)
    yield from by_workload


def _spread(values: list[float], text: Callable[[float], str]) -> str:
    """Median, least and most."""
    if not values:
        return "-"
    return f"{text(median(values))} ({text(min(values))} to {text(max(values))})"

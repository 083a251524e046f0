"""Figures derived from rows: medians over rounds, spread, rates, the best peer, ratios.

Pure functions of a report; tables and comparisons all read them here.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Final

from benchmarks.harness.schema import Limits, Report, Row

OWN: Final = "staticgrad"


def seconds(row: Row, keep: bool = False) -> float:
    """Seconds per call: the median over rounds of the medians within them."""
    return median((r.kept if keep else r.dropped).median for r in row.rounds)


def quartiles(row: Row) -> tuple[float, float]:
    """The lower and upper quartile, each the median over rounds."""
    return median(r.dropped.low for r in row.rounds), median(r.dropped.high for r in row.rounds)


def late(row: Row) -> float | None:
    """Seconds that nine of ten calls stay below: the median over rounds."""
    values = [r.dropped.late for r in row.rounds if r.dropped.late is not None]
    return median(values) if values else None


def noise(row: Row) -> float:
    """Half the width that the time may have by chance, relative to it.

    The larger of half the range of the medians over rounds, and half the quartile distance.
    """
    middles = [r.dropped.median for r in row.rounds]
    low, high = quartiles(row)
    return max(max(middles) - min(middles), high - low) / 2 / seconds(row)


def share_of_cores(row: Row) -> float:
    """The share of its cores that a row got: 1 where no other program was running."""
    return median(r.busy if row.threads == 1 else r.together for r in row.rounds)


def is_disturbed(row: Row) -> bool:
    """Return whether a row got less than nine tenths of its cores: others were running."""
    return share_of_cores(row) < 0.9


def disturbed_rows(report: Report) -> list[Row]:
    """The rows for which ``is_disturbed`` holds."""
    return [row for row in timed_rows(report) if is_disturbed(row)]


def is_noisy(report: Report) -> bool:
    """Return whether more than a tenth of the rows were disturbed."""
    return len(disturbed_rows(report)) > len(timed_rows(report)) / 10


def cpu(row: Row) -> float | None:
    """Processor seconds per call, all threads of the process: the median of the rounds' means."""
    processor_seconds = [r.busy * r.dropped.mean for r in row.rounds if r.dropped.mean is not None]
    return median(processor_seconds) if processor_seconds else None


def exceeds_its_threads(row: Row) -> bool:
    """Return whether a row on one thread used clearly more than one processor."""
    return row.threads == 1 and median(r.busy for r in row.rounds) > 1.1


def start_seconds(row: Row, cold: bool) -> float | None:
    """Seconds from the import to the first result, caches empty or filled (median)."""
    totals = [r.phases.total for r in row.rounds if r.cold == cold]
    return median(totals) if totals else None


def imports(row: Row) -> float:
    """Seconds of the import, median over rounds."""
    return median(r.phases.imports for r in row.rounds)


def flops(row: Row) -> float:
    """Operations per second, by the count of staticgrad's schedule for every implementation."""
    return (row.flops or 0.0) / seconds(row)


def bandwidth(row: Row) -> float:
    """Bytes per second: those that must move at least, over the time."""
    return (row.nbytes or 0.0) / seconds(row)


def share(report: Report, row: Row) -> float:
    """The share of the machine's product or copy rate that a row reaches, the larger of both."""
    limits = limits_of(report, row.threads)
    peak = limits.gemm32 if row.dtype == "float32" else limits.gemm64
    return max(flops(row) / peak, bandwidth(row) / limits.copy)


def limits_of(report: Report, threads: int) -> Limits:
    """The limits at these threads, or those nearest."""
    return min(report.limits, key=lambda limits: abs(limits.threads - threads))


def timed_rows(report: Report) -> list[Row]:
    """The rows with times."""
    return [row for row in report.rows if row.status == "ok"]


def best_peer(rows: Iterable[Row], workload: str, threads: int, keep: bool = False) -> Row | None:
    """The fastest peer at up to these threads that passed its gate."""
    candidates = [
        row
        for row in rows
        if row.status == "ok" and row.peer and row.workload == workload and row.threads <= threads
    ]
    return min(candidates, key=lambda row: seconds(row, keep), default=None)


def ratio(report: Report, row: Row, threads: int | None = None, keep: bool = False) -> float | None:
    """Seconds over those of the best peer at up to these threads (the row's by default).

    With ``keep`` both are times of a caller that holds results.

    The divisor is the same for all rows of a workload and number of threads, so a column of ratios
    can be compared; the best peer itself has 1.
    """
    best = best_peer(report.rows, row.workload, threads or row.threads, keep)
    return None if best is None else seconds(row, keep) / seconds(best, keep)


def duration(value: float | None) -> str:
    """Seconds as text with three digits and a unit."""
    if value is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 0.9995 or unit == "us":
            return f"{value * factor:.3g} {unit}"
    return "-"


def size(value: float | None) -> str:
    """Bytes as text."""
    if value is None:
        return "-"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"

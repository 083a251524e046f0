"""Figures that got worse between two reports, beyond noise.

A time got worse when it grew by more than ``FLOOR`` and by more than the noise of both runs
together: half the range over rounds, or half the quartile distance, whichever is larger
(``figures.noise``). Planned bytes are exact: any growth counts. So does a row that no longer
passes. Times until the first result are single measurements and need ``FIRST`` more.

A time is unsure, neither worse nor better, if one of the two measurements was disturbed: the row
got less than nine tenths of its cores, or more than a tenth of the rows of its run did, or the
machine's own matrix product changed its rate, or the processors differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.harness import figures
from benchmarks.harness.schema import Report, Row

FLOOR: Final = 0.05
FIRST: Final = 0.3
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Change:
    """One figure of one row in both reports; ``allowed`` is the growth that noise explains.

    ``unsure`` if one of the two measurements was disturbed.
    """

    key: Key
    what: str
    old: float
    new: float
    allowed: float
    unsure: bool = False

    @property
    def growth(self) -> float:
        """Relative: 0.1 is a tenth more."""
        return self.new / self.old - 1.0

    @property
    def is_significant(self) -> bool:
        """Changed by more than noise explains."""
        smaller = self.old / self.new - 1.0 if self.new else math.inf
        return max(self.growth, smaller) > self.allowed

    @property
    def worse(self) -> bool:
        """Grew beyond noise, and both measurements were undisturbed."""
        return self.is_significant and self.growth > 0 and not self.unsure


@dataclass(frozen=True)
class Comparison:
    """All changes, and the rows that are lost: they passed, and do not any more."""

    changes: tuple[Change, ...]
    lost: tuple[tuple[Key, str], ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Return whether any figure got worse."""
        return bool(self.lost) or any(change.worse for change in self.changes)


def compare(old: Report, new: Report) -> Comparison:
    """Every row of both reports; rows of only one are left out."""
    new_rows = {_key(row): row for row in new.rows}
    shifted = _shifted_rates(old, new)
    noisy = _differ(old, new) or figures.is_noisy(old) or figures.is_noisy(new)
    changes: list[Change] = []
    lost = []
    for old_row in figures.timed_rows(old):
        now = new_rows.get(_key(old_row))
        if now is None:
            continue
        if now.status != "ok":
            lost.append((_key(old_row), f"{now.status}: {now.detail}"))
        else:
            disturbed = figures.is_disturbed(old_row) or figures.is_disturbed(now)
            changes += _changes(old_row, now, noisy or disturbed or now.threads in shifted)
    return Comparison(tuple(changes), tuple(lost), tuple(_notes(old, new)))


def _changes(old: Row, new: Row, unsure: bool) -> Iterator[Change]:
    allowed = max(FLOOR, figures.noise(old) + figures.noise(new))
    key = _key(old)
    yield Change(key, "time per call", figures.seconds(old), figures.seconds(new), allowed, unsure)
    for cold, name in ((True, "first result, cold"), (False, "first result, warm")):
        first, second = figures.start_seconds(old, cold), figures.start_seconds(new, cold)
        if first is not None and second is not None:
            yield Change(key, name, first, second, allowed + FIRST, unsure)
    planned = [row.memory.planned if row.memory else None for row in (old, new)]
    if planned[0] and planned[1] is not None:
        yield Change(key, "planned bytes", float(planned[0]), float(planned[1]), 0.0)


def _differ(old: Report, new: Report) -> bool:
    return old.machine.processor != new.machine.processor


def _shifted_rates(old: Report, new: Report) -> dict[int, tuple[float, float]]:
    """Rates of the machine's matrix product before and after, where they differ by over 10 %."""
    old_rates = {limits.threads: limits.gemm32 for limits in old.limits}
    return {
        limits.threads: (old_rates[limits.threads], limits.gemm32)
        for limits in new.limits
        if limits.threads in old_rates and abs(limits.gemm32 / old_rates[limits.threads] - 1) > 0.1
    }


def _notes(old: Report, new: Report) -> Iterator[str]:
    if _differ(old, new):
        yield "different processors: times say little"
    for name, report in (("old", old), ("new", new)):
        if figures.disturbed_rows(report):
            yield f"the machine was not quiet during the {name} run: times are too long"
    for threads, (old_rate, new_rate) in _shifted_rates(old, new).items():
        yield (
            f"the machine's own matrix product at {threads} threads went from"
            f" {old_rate / 1e9:.0f} to {new_rate / 1e9:.0f} GFLOP/s"
        )


def _key(row: Row) -> Key:
    return row.workload, row.implementation, row.threads


def text(comparison: Comparison) -> str:
    """Return the changes, worst first; one line each."""
    lines = list(comparison.notes)
    lines += [f"LOST    {' '.join(map(str, key))}: {why}" for key, why in comparison.lost]
    significant = [change for change in comparison.changes if change.is_significant]
    for change in sorted(significant, key=lambda c: (c.unsure, -c.growth)):
        name = " ".join(map(str, change.key))
        show = figures.size if change.what == "planned bytes" else figures.duration
        word = "unsure" if change.unsure else "WORSE " if change.worse else "better"
        lines.append(
            f"{word}  {name}: {change.what}"
            f" {show(change.old)} -> {show(change.new)}"
            f" ({change.growth:+.0%}, noise {change.allowed:.0%})"
        )
    unsure = sum(change.unsure for change in significant)
    if unsure:
        lines.append(f"{unsure} differences are unsure: measure both again on a quiet machine")
    same = len(comparison.changes) - len(significant)
    return "\n".join([*lines, f"{same} figures unchanged within noise"])

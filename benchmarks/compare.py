"""What got worse between two reports, beyond noise.

A time got worse when it grew by more than ``FLOOR`` and by more than the noise of both runs
together: half the range over rounds, or half the quartile distance, whichever is larger
(``figures.noise``). Planned bytes are exact: any growth counts. So does a row that no longer
passes. Times until the first result are single measurements and need ``FIRST`` more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks import figures
from benchmarks.schema import Report, Row

FLOOR: Final = 0.05
FIRST: Final = 0.3
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Change:
    """One figure of one row in both reports; ``allowed`` is the growth that noise explains."""

    key: Key
    what: str
    old: float
    new: float
    allowed: float

    @property
    def growth(self) -> float:
        """Relative: 0.1 is a tenth more."""
        return self.new / self.old - 1.0

    @property
    def worse(self) -> bool:
        """Beyond what noise explains."""
        return self.growth > self.allowed

    @property
    def better(self) -> bool:
        """Smaller by as much."""
        return self.old / self.new - 1.0 > self.allowed if self.new else True


@dataclass(frozen=True)
class Comparison:
    """All changes, and the rows that are lost: they passed, and do not any more."""

    changes: tuple[Change, ...]
    lost: tuple[tuple[Key, str], ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether anything got worse."""
        return bool(self.lost) or any(change.worse for change in self.changes)


def compare(old: Report, new: Report) -> Comparison:
    """Every row of both reports; rows of only one are left out."""
    after = {_key(row): row for row in new.rows}
    changes: list[Change] = []
    lost = []
    for before in figures.measured(old):
        now = after.get(_key(before))
        if now is None:
            continue
        if now.status != "ok":
            lost.append((_key(before), f"{now.status}: {now.detail}"))
        else:
            changes += _changes(before, now)
    return Comparison(tuple(changes), tuple(lost), tuple(_notes(old, new)))


def _changes(old: Row, new: Row) -> Iterator[Change]:
    allowed = max(FLOOR, figures.noise(old) + figures.noise(new))
    key = _key(old)
    yield Change(key, "time per call", figures.seconds(old), figures.seconds(new), allowed)
    for cold, name in ((True, "first result, cold"), (False, "first result, warm")):
        first, second = figures.ready(old, cold), figures.ready(new, cold)
        if first is not None and second is not None:
            yield Change(key, name, first, second, allowed + FIRST)
    planned = [row.memory.planned if row.memory else None for row in (old, new)]
    if planned[0] and planned[1] is not None:
        yield Change(key, "planned bytes", float(planned[0]), float(planned[1]), 0.0)


def _notes(old: Report, new: Report) -> Iterator[str]:
    if old.machine.processor != new.machine.processor:
        yield "different processors: times say little"
    for name, report in (("old", old), ("new", new)):
        if figures.disturbed(report):
            yield f"the machine was not quiet during the {name} run: times are too long"
    for before in old.limits:
        for after in new.limits:
            moved = after.gemm32 / before.gemm32
            if after.threads == before.threads and abs(moved - 1) > 0.1:
                yield (
                    f"the machine's own matrix product at {after.threads} threads went from"
                    f" {before.gemm32 / 1e9:.0f} to {after.gemm32 / 1e9:.0f} GFLOP/s"
                )


def _key(row: Row) -> Key:
    return row.workload, row.implementation, row.threads


def text(found: Comparison) -> str:
    """What changed, worst first; one line each."""
    lines = list(found.notes)
    lines += [f"LOST    {' '.join(map(str, key))}: {why}" for key, why in found.lost]
    moved = [change for change in found.changes if change.worse or change.better]
    for change in sorted(moved, key=lambda c: -c.growth):
        name = " ".join(map(str, change.key))
        show = figures.size if change.what == "planned bytes" else figures.duration
        lines.append(
            f"{'WORSE ' if change.worse else 'better'}  {name}: {change.what}"
            f" {show(change.old)} -> {show(change.new)}"
            f" ({change.growth:+.0%}, noise {change.allowed:.0%})"
        )
    same = len(found.changes) - len(moved)
    return "\n".join([*lines, f"{same} figures unchanged within noise"])

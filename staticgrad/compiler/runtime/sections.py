"""The rows of a table that workers share, and their groups: decided by predicted seconds.

The rows between two barriers may run at the same time. Where they take long enough they are a
section, and the driver shares it; all other rows run on the caller, without any exchange between
processors. Groups are whole multiples of those that the plan cuts by shape, so no byte of a result
depends on where the cut is, nor on who runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from staticgrad.native import Row
from staticgrad.native.table import pool_code
from staticgrad.support.config import limits
from staticgrad.support.limits import CompilerLimits
from staticgrad.support.records import NamedTuple

#: Groups of a row for each worker, at most: who is late loses a part of one.
MOST_GROUPS: Final = 16
#: Groups of a product for each worker, at least, where their number divides by that of workers.
FEW_OF_PRODUCT: Final = 4


class SoloReason(Enum):
    """The reason why the caller runs a row alone."""

    ONE_WORKER = "there is one thread"
    BODIES = "they run steps of their own"
    CALL = "they call code that has its own threads, or Python"
    SHORT = (
        "they are predicted to take less than"
        f" {1e6 * CompilerLimits.section_seconds:.0f} us between waits"
    )
    WHOLE = "they are a single group of iterations"


class PlannedRow(NamedTuple):
    """A row as it is written: ``waits`` where every earlier row must be finished before it begins.

    ``seconds`` is what one processor is predicted to take at its best (``cost.FASTEST``).
    ``alone``: why who calls the driver runs it, while no other row runs. It runs about so many
    ``times``. ``keeps``: what it touches is in the caches of the workers that have its groups, so
    that others wait for these. ``packs``: each group packs what it reads, so that few are better.
    """

    row: Row
    waits: bool
    seconds: float = 0.0
    alone: SoloReason | None = None
    times: int = 1
    keeps: bool = False
    packs: bool = False


def divide_into_sections(rows: Sequence[PlannedRow], workers: int) -> list[PlannedRow]:
    """Divide a table's rows into sections that workers share; ``alone``: why others are not."""
    if workers == 1 or not rows:
        return [row._replace(alone=SoloReason.ONE_WORKER) for row in rows]
    spans = list[Sequence[PlannedRow]]()
    starts = [
        at for at, row in enumerate(rows) if at == 0 or row.waits or row.alone or rows[at - 1].alone
    ]
    remaining = 0.0
    for first, last in reversed([*zip(starts, [*starts[1:], len(rows)], strict=True)]):
        span, section = rows[first:last], None
        seconds, why = sum(row.seconds for row in span), span[0].alone
        if why is None and seconds < limits().section_seconds and not span[0].keeps:
            why = SoloReason.SHORT
        if why is None:
            remaining += seconds * span[0].times
            section = _make_section(span, workers, remaining >= limits().waking_seconds)
            why = SoloReason.WHOLE
        spans.append(section or [row._replace(alone=why) for row in span])
    return [row for span in reversed(spans) for row in span]


def _make_section(span: Sequence[PlannedRow], workers: int, wakes: bool) -> list[PlannedRow] | None:
    """Return the rows of a section that workers share; None if it is a single group."""
    rows, first_group = [], 0
    flags = wakes * pool_code.WAKES
    if span[0].keeps:
        flags |= pool_code.KEEPS
    for number, planned in enumerate(span):
        row, section = planned.row, len(span) - number
        grain = _choose_grain(planned, workers)
        row = row._replace(grain=grain, section=section, first=first_group, flags=flags)
        rows.append(planned._replace(row=row))
        first_group += -(-row.total // grain) if grain else 1
    return rows if first_group > 1 else None


def _choose_grain(planned: PlannedRow, workers: int) -> int:
    """Return how many iterations a worker takes at once: a multiple of the grain; 0: all."""
    row = planned.row
    if row.grain == 0:
        return 0
    groups = -(-row.total // row.grain)
    wanted_groups = min(
        max(1, int(planned.seconds / limits().group_seconds)), MOST_GROUPS * workers
    )
    if wanted_groups == 1 or groups <= 1:
        return 0
    least = -(-groups // wanted_groups)
    longest = groups // (FEW_OF_PRODUCT * workers) if planned.packs else 0
    even = (count for count in range(longest, least, -1) if groups % (count * workers) == 0)
    return row.grain * next(even, least)

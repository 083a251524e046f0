"""The rows of a table that workers share, and their groups: decided by predicted seconds.

The rows between two barriers may run at the same time. Where they take long enough they are a
section, and the driver shares it; all other rows run on the caller, without any exchange between
processors. Groups are whole multiples of those that the plan cuts by shape, so no byte of a result
depends on where the cut is, nor on who runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from staticgrad.analysis.cost import FASTEST, all_seconds
from staticgrad.ir.plan import Plan
from staticgrad.native import Row
from staticgrad.native.table import pool_code
from staticgrad.records import NamedTuple
from staticgrad.runtime.cuts import TOGETHER, cuts

#: Predicted seconds of rows that are worth sharing: handing over takes a third of a microsecond,
#: and on processors that are slow at it some two.
LEAST_SECTION: Final = 3e-6
#: Predicted seconds of a group: a claim takes a fiftieth of it.
LEAST_GROUP: Final = 1e-6
#: Groups of a row for each worker, at most: who is late loses a part of one.
MOST_GROUPS: Final = 16
#: Predicted seconds that are worth waking workers which sleep, at once: that takes some fifty
#: microseconds. In sections that follow each other within ``SPIN`` they are awake all the time.
LEAST_AWAKE: Final = 45e-6


class Alone(Enum):
    """The reason why the caller runs a row alone."""

    ONE_WORKER = "there is one thread"
    BODIES = "they run steps of their own"
    SHORT = f"they are predicted to take less than {1e6 * LEAST_SECTION:.0f} us between waits"
    WHOLE = "they are a single group of iterations"


class PlannedRow(NamedTuple):
    """A row as it is written: ``waits`` where every earlier row must be finished before it begins.

    ``seconds`` is what one processor is predicted to take at its best (``cost.FASTEST``).
    ``alone``: who calls the driver runs it, while no other row runs. It runs about so many
    ``times``. ``keeps``: what it touches is in the caches of the workers that have its groups, so
    that others wait for these.
    """

    row: Row
    waits: bool
    seconds: float
    alone: bool = False
    times: int = 1
    keeps: bool = False


class SharedSteps(NamedTuple):
    """The numbers of the steps that workers share, ascending; among them those whose inner indices
    are cut into parts, and those that each runs through for rows of its own, chain by chain
    (``cuts``). ``alone``: the others by the reason why the caller runs them.
    """

    steps: tuple[int, ...]
    in_parts: tuple[int, ...]
    chains: tuple[tuple[int, ...], ...]
    alone: Mapping[str, tuple[int, ...]]


class SharedRow(NamedTuple):
    """A row as it is written; ``alone``: why the caller runs it, None where it is in a section."""

    row: Row
    alone: Alone | None


def shared(drafts: Sequence[PlannedRow], workers: int) -> list[SharedRow]:
    """The rows in sections for so many workers."""
    if workers == 1:
        return [SharedRow(draft.row, Alone.ONE_WORKER) for draft in drafts]
    spans = list[list[SharedRow]]()
    starts = [
        at
        for at, draft in enumerate(drafts)
        if at == 0 or draft.waits or draft.alone or drafts[at - 1].alone
    ]
    remaining = 0.0
    for first, last in reversed([*zip(starts, [*starts[1:], len(drafts)], strict=True)]):
        span = drafts[first:last]
        seconds = sum(draft.seconds for draft in span)
        why = Alone.BODIES if span[0].alone else None
        if why is None and seconds < LEAST_SECTION and not span[0].keeps:
            why = Alone.SHORT
        found = [draft.row for draft in span]
        if why is None:
            remaining += seconds * span[0].times
            section = _section(span, workers, remaining >= LEAST_AWAKE)
            found, why = (found, Alone.WHOLE) if section is None else (section, None)
        spans.append([SharedRow(row, why) for row in found])
    return [row for span in reversed(spans) for row in span]


def sharing_of(plan: Plan) -> SharedSteps:
    """Return the steps of a plan that workers share, and how, except those with bodies."""
    steps = [plan.schedule.steps[planned.step] for planned in plan.steps]
    seconds = all_seconds(steps, [planned.arguments for planned in plan.steps], FASTEST)
    drafts, numbers = list[PlannedRow](), list[int]()
    together: list[tuple[int, ...]] = []
    in_parts: list[int] = []
    for at, cut in cuts(plan, TOGETHER).items():
        planned = plan.steps[at]
        if cut.ranges:
            together.append(tuple(plan.steps[each].step for each in range(at, cut.behind)))
        elif cut.stages:
            in_parts.append(planned.step)
        else:
            row, alone = Row(0, 0, 0, planned.total, planned.grain), bool(planned.bodies)
            drafts.append(PlannedRow(row, cut.waits, seconds[at], alone, keeps=cut.keeps))
            numbers.append(planned.step)
    reasons = dict[Alone | None, list[int]]()
    for each, number in zip(shared(drafts, plan.workers), numbers, strict=True):
        reasons.setdefault(each.alone, []).append(number)
    every = {*reasons.pop(None, ())}.union(in_parts, *together)
    by_reason = {why.value: tuple(sorted(reasons[why])) for why in Alone if why in reasons}
    return SharedSteps(tuple(sorted(every)), tuple(in_parts), tuple(together), by_reason)


def _section(span: Sequence[PlannedRow], workers: int, wakes: bool) -> list[Row] | None:
    """The rows of a section; None where they are a single group."""
    rows, before = [], 0
    flags = wakes * pool_code.WAKES
    if span[0].keeps:
        flags |= pool_code.KEEPS
    for number, draft in enumerate(span):
        row = draft.row
        grain = _grain(row, draft.seconds, workers)
        section = len(span) - number
        rows.append(row._replace(grain=grain, section=section, first=before, flags=flags))
        before += -(-row.total // grain) if grain else 1
    return rows if before > 1 else None


def _grain(row: Row, seconds: float, workers: int) -> int:
    """Iterations of a group of a row: a multiple of its grain, 0 for all in one."""
    if row.grain == 0:
        return 0
    groups = -(-row.total // row.grain)
    wanted = min(max(1, int(seconds / LEAST_GROUP)), MOST_GROUPS * workers)
    if wanted == 1 or groups <= 1:
        return 0
    return row.grain * -(-groups // wanted)

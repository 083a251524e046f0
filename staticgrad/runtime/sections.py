"""The rows of a table that workers share, and their groups: decided by predicted seconds.

The rows between two barriers may run at the same time. Where they take long enough they are a
section, and the driver shares it; all other rows run on the caller, without any exchange between
processors. Groups are whole multiples of those that the plan cuts by shape, so no byte of a result
depends on where the cut is, nor on who runs it.

The division of a plan's steps among workers: sequential or concurrent steps.

A step has rows of a table of its own, whose groups workers share if they take long enough
(``sections``), or it is part of a chain (``row_chains``) or of a wave (``waves``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal

from staticgrad.analysis.barriers import barriers
from staticgrad.analysis.cost import FASTEST, all_seconds
from staticgrad.ir.plan import Plan
from staticgrad.native import Row
from staticgrad.native.table import pool_code
from staticgrad.records import NamedTuple
from staticgrad.runtime.row_chains import Chain, chains
from staticgrad.runtime.waves import Wave, waves

#: What rows of a table have: steps ``together`` where that is faster, all that workers do of each
#: step ``apart`` from the others, or each step as a ``single`` row.
Rows = Literal["together", "apart", "single"]
TOGETHER: Final[Rows] = "together"


class DividedPlan(NamedTuple):
    """The chains and waves of a plan by their first positions; ``kept``: where workers keep to
    their parts; ``waits``: positions before which every earlier step must be finished."""

    chains: dict[int, Chain]
    waves: dict[int, Wave]
    kept: frozenset[int]
    waits: frozenset[int]

    def at(self, position: int) -> Chain | Wave | None:
        """Return the chain or wave that begins at a position, or None for a single step."""
        return self.chains.get(position) or self.waves.get(position)


def divided(plan: Plan, rows: Rows) -> DividedPlan:
    """Return how the workers of a plan divide its steps, except those of bodies."""
    if plan.workers == 1:  # one waits for nobody
        return DividedPlan({}, {}, frozenset(), frozenset())
    waits = {*barriers(plan)}
    if rows == "single":
        return DividedPlan({}, {}, frozenset(), frozenset(waits))
    found = chains(plan) if rows == TOGETHER else {}
    taken = {at for chain in found.values() for at in range(chain.first, chain.behind)}
    rising, kept = waves(plan, rows == TOGETHER)
    rising = tuple(wave for wave in rising if taken.isdisjoint(wave.positions))
    waits |= {position + more for position in kept for more in (0, 1)}
    waits |= {chain.behind for chain in found.values()}
    return DividedPlan(found, {wave.first: wave for wave in rising}, kept, frozenset(waits))


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
    ``times``. ``packs``: groups of it that run in one call may spare work. ``keeps``: what it
    touches is in the caches of the workers that have its groups, so that others wait for these.
    """

    row: Row
    waits: bool
    seconds: float
    alone: bool = False
    times: int = 1
    packs: bool = False
    keeps: bool = False


class SharedSteps(NamedTuple):
    """The numbers of the steps that workers share, ascending; among them those whose inner indices
    are cut into parts (``waves``), and those that each runs through for rows of its own
    (``row_chains``), chain by chain. ``alone``: the others by the reason why the caller runs them.
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
    division = divided(plan, TOGETHER)
    drafts, numbers = list[PlannedRow](), list[int]()
    together: list[tuple[int, ...]] = []
    in_parts: list[int] = []
    behind = 0
    for at, planned in enumerate(plan.steps):
        found = division.at(at)
        if found is not None:
            behind = found.behind
            members = tuple(plan.steps[each].step for each in range(at, behind))
            if isinstance(found, Wave):
                in_parts += members
            else:
                together.append(members)
        if at >= behind:
            row = Row(0, 0, 0, planned.total, planned.grain)
            waits, keeps = at in division.waits, at in division.kept
            drafts.append(PlannedRow(row, waits, seconds[at], bool(planned.bodies), keeps=keeps))
            numbers.append(planned.step)
    reasons = dict[Alone | None, list[int]]()
    for each, number in zip(shared(drafts, plan.workers), numbers, strict=True):
        reasons.setdefault(each.alone, []).append(number)
    every = {*reasons.pop(None, ())}.union(in_parts, *together)
    alone = {why.value: tuple(sorted(reasons[why])) for why in Alone if why in reasons}
    return SharedSteps(tuple(sorted(every)), tuple(in_parts), tuple(together), alone)


def _section(span: Sequence[PlannedRow], workers: int, wakes: bool) -> list[Row] | None:
    """The rows of a section; None where they are a single group."""
    rows, before = [], 0
    flags = wakes * pool_code.WAKES
    if any(draft.packs for draft in span):
        flags |= pool_code.EIGHTHS if len(span) == 1 else pool_code.HALVES
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

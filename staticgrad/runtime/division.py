"""How workers divide the steps of a plan: which run one by one, and which together.

A step has rows of a table of its own, whose groups workers share if they take long enough
(``sections``), or it is part of a chain (``row_chains``) or of a wave (``waves``).
"""

from __future__ import annotations

from typing import Final, Literal

from staticgrad.analysis.barriers import barriers
from staticgrad.ir.plan import Plan
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
        """What begins at a position, if it is no single step."""
        return self.chains.get(position) or self.waves.get(position)


def divided(plan: Plan, rows: Rows) -> DividedPlan:
    """How the workers of a plan divide its steps, those of bodies aside."""
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

"""The plans of one compiled program, made once per sizes and copied feeds, and kept.

The caller hands in the function that makes a plan. The first plan is checked by code that shares
nothing with the planner; with the setting ``check``, each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from staticgrad import config
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.ir.plan import Plan
from staticgrad.kept import Kept, collection_paused
from staticgrad.native.lock import ProcessLock
from staticgrad.stats import Counts

_LIMIT: Final = 32 << 20  # bytes of plans that are kept


class Make(Protocol):
    """Makes a plan of sizes and the buffer names of inputs whose feeds are copied."""

    def __call__(self, sizes: Mapping[str, int], *, staged: frozenset[str]) -> Plan: ...


class Plans:
    """Plans by sizes and copied feeds; safe from several threads."""

    def __init__(self, make: Make, counts: Counts) -> None:
        self._make, self._counts = make, counts
        self._lock = ProcessLock()
        self._kept: Kept[object, Plan] = Kept(_LIMIT)
        self._verified = False

    @collection_paused()
    def plan(self, sizes: Mapping[str, int], staged: frozenset[str]) -> Plan:
        """The plan at these sizes, in which the feeds of the ``staged`` buffers are copied first.

        Raises:
            BudgetInfeasible: there is none within the budget.
            VerifyError: the plan breaks a promise of plans.
        """
        key = (tuple(sorted(sizes.items())), staged)
        with self._lock.taken:
            found = self._kept.get(key)
            if found is None:
                found = self._make(sizes, staged=staged)
                if not self._verified or config.current().check:
                    verify_plan(found)
                    self._verified = True
                self._counts.add_plan(found)
                self._kept.put(key, found, found.held_bytes)
        return found

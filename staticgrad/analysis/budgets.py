"""Budgets that depend on sizes: a share of what storing everything needs, or all that fits.

``compile`` reads them, and a planner asks what they are at the sizes of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from staticgrad.ir.plan import Plan
from staticgrad.records import dataclass


@dataclass(frozen=True)
class BudgetShare:
    """A part of the arena that storing everything needs, above 0 and at most 1."""

    part: float

    def of(self, everything: Plan) -> int:
        """Bytes of the arena, given the plan that stores everything."""
        return int(everything.peak_bytes * self.part)

    def words(self, everything: Plan) -> str:
        """What its bytes follow from."""
        return (
            f"the budget is {self.part:.6g} of {everything.peak_bytes}, where everything is stored"
        )


@dataclass(frozen=True)
class BudgetFit:
    """What memory has room for beside feeds, parameters, constants and results.

    ``room`` is what the process may have; None: that of whoever compiles.
    """

    room: int | None = None

    def of(self, everything: Plan) -> int:
        """Bytes of the arena, given the plan that stores everything."""
        assert self.room is not None
        return max(0, self.room - _outside(everything))

    def words(self, everything: Plan) -> str:
        """What its bytes follow from."""
        beside = f"{_outside(everything)} of feeds, parameters and results"
        return f"the budget is what {self.room} bytes of memory leave beside {beside}"


def _outside(plan: Plan) -> int:
    """Bytes of the buffers that are not in the arena."""
    placed = {placement.buffer for placement in plan.placements}
    return sum(nbytes for name, nbytes in plan.buffer_bytes if name not in placed)


class Limit(Protocol):
    """A number of bytes at each set of sizes."""

    def at(self, sizes: Mapping[str, int]) -> int: ...

    def words(self, sizes: Mapping[str, int]) -> str:
        """What makes the number what it is."""
        ...


class AtSizes:
    """A budget by the plans that store everything; ``everything`` makes the one of some sizes."""

    def __init__(
        self, budget: BudgetShare | BudgetFit, everything: Callable[[Mapping[str, int]], Plan]
    ) -> None:
        self._budget, self._everything = budget, everything

    def at(self, sizes: Mapping[str, int]) -> int:
        """The bytes at these sizes."""
        return self._budget.of(self._everything(sizes))

    def words(self, sizes: Mapping[str, int]) -> str:
        """What makes the number what it is."""
        return self._budget.words(self._everything(sizes))

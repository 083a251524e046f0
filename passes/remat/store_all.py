"""store_all: every value is kept until its last use; only the order is chosen."""

from __future__ import annotations

from collections.abc import Iterable

from passes.remat.base import Policy, Problem, Steps


class StoreAll(Policy, name="store_all"):
    """Each step runs once."""

    def sequences(self, problem: Problem) -> Iterable[Steps]:
        """The orders without repetition."""
        return problem.orders

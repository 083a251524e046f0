"""store_all: every value is kept until its last use; only the order is chosen.

sqrt: forward steps in about the root of their number of segments (Chen et al., 2016).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isqrt

from passes.remat.base import Policy, Problem, Steps
from passes.remat.segments import Forward


class StoreAll(Policy, name="store_all"):
    """Each step runs once."""

    def sequences(self, problem: Problem) -> Iterable[Steps]:
        """Return the orders without repetition."""
        return problem.orders


class Sqrt(Policy, name="sqrt"):
    """Cut the forward steps into ``segments`` (0: the root of their number) of equal bytes.

    What crosses a border is kept; the rest of a segment is computed again when the backward steps
    reach it. The last segment is kept, so that no step runs more than twice on a chain. A border
    lies where the fewest bytes cross, within half a segment.
    """

    segments: int = 0

    def sequences(self, problem: Problem) -> Iterable[Steps]:
        """One sequence per order; and the best order as it is, where updates allow no other."""
        for order in problem.orders:
            forward = Forward.of(problem, order)
            found = forward.sequence(self.borders(forward))
            if found is not None:
                yield found
        yield problem.order

    def borders(self, forward: Forward) -> list[int]:
        """Return the last place of every segment but the last one."""
        crossing = forward.bytes_crossing()
        total, count = sum(crossing), sum(size > 0 for size in crossing)
        segments = self.segments or isqrt(count)
        across = forward.bytes_at_borders()
        borders: list[int] = []
        filled = start = 0
        for place, size in enumerate(crossing):
            filled += size
            if len(borders) + 1 < segments and filled * segments >= total * (len(borders) + 1):
                middle = (start + place + 1) // 2
                at = min(range(middle, place + 1), key=lambda p: (across[p], -p))
                borders.append(at)
                start = place + 1
        return borders

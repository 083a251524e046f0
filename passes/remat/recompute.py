"""The policies that keep all values, or recompute forward steps in segments.

store_all: every value is kept until its last use; only the order is chosen.

sqrt: forward steps in about the root of their number of segments (Chen et al., 2016).

recompute: the lowest peak of many ways to cut the forward steps into segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isqrt
from typing import Final

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
        """Yield a sequence recomputed in segments for each order, and the best order unchanged."""
        for order in problem.orders:
            forward = Forward.of(problem, order)
            sequence = forward.sequence(self.borders(forward))
            if sequence is not None:
                yield sequence
        yield problem.order

    def borders(self, forward: Forward) -> list[int]:
        """Return the forward steps after which segments end, equal in stored bytes."""
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


_FINEST: Final = 64  # the smallest bound tried is this fraction of what store_all keeps
#: Positions of all sequences of a problem, after which no further order is tried.
MOST_POSITIONS: Final = 120_000


class Recompute(Policy, name="recompute"):
    """Segments that shrink towards the end, so that each meets the same number of bytes.

    While a segment runs backward, what is kept of earlier segments lies beside it, but nothing of
    later ones: the first segment may be the longest. For a bound P on kept plus recomputed bytes
    the borders follow from one walk; ``tries`` bounds, evenly spaced by ratio, are laid out and the
    lowest peak wins. On a chain of n equal steps that needs about sqrt(2n) of them at once, where
    equal segments need 2 sqrt(n). What ``sqrt`` proposes is tried as well, so that ``sqrt``
    never needs fewer bytes; so is keeping just what the user marked (``sg.checkpoint``).
    """

    tries: int = 24

    def sequences(self, problem: Problem) -> Iterable[Steps]:
        """Yield sequences recomputed in segments: those of ``sqrt``, then one for each bound.

        Over the best order, and, as long as schedules are not too long for that, over the others.
        An order that mixes steps of the backward pass with those of the forward pass may be the
        best where nothing runs again, and of no use here.
        """
        yield from Sqrt().sequences(problem)
        positions = 0
        for order in dict.fromkeys((tuple(problem.order), *map(tuple, problem.orders))):
            for sequence in self._over(Forward.of(problem, order)):
                positions += len(sequence)
                yield sequence
            if positions > MOST_POSITIONS:
                break

    def _over(self, forward: Forward) -> Iterator[Steps]:
        """Yield the sequences of an order for marked values and for each bound of segments."""
        stored = forward.problem.retained
        marked = [forward.first[b] for b in stored if b in forward.first]
        by_marks = forward.keeping((), max(marked)) if marked else None
        if by_marks is not None:
            yield by_marks
        seen: set[tuple[int, ...]] = set()
        for bound in self._bounds(forward):
            borders = tuple(self.borders(forward, bound))
            sequence = None if borders in seen else forward.sequence(borders)
            seen.add(borders)
            if sequence is not None:
                yield sequence

    def _bounds(self, forward: Forward) -> Iterator[int]:
        total = sum(forward.bytes_crossing())
        for step in range(self.tries):
            yield int(total / _FINEST ** (step / max(self.tries - 1, 1)))

    def borders(self, forward: Forward, bound: int) -> list[int]:
        """Choose segment borders so that each segment's and all stored bytes fit ``bound``."""
        crossing, across = forward.bytes_crossing(), forward.bytes_at_borders()
        borders: list[int] = []
        stored = filled = start = 0
        for place, size in enumerate(crossing):
            filled += size
            if filled + stored > bound and place > start:
                middle = (start + place) // 2
                at = min(range(middle, place), key=lambda p: (across[p], -p))
                borders.append(at)
                stored += across[at]
                filled = sum(crossing[at + 1 : place + 1])
                start = at + 1
        return borders

"""The front: plans of one schedule and one set of sizes, from the cheapest to the smallest.

A budget takes the cheapest plan of the front that meets it, so that predicted cost never grows with
the budget. The front depends on the schedule and the sizes alone: policies and greedy descents fill
it, with an effort that is counted, and what is both dearer and larger than another is left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from passes.remat.base import Policy, Problem, Steps
from passes.remat.greedy import Descent
from passes.remat.proposals import proposed
from passes.remat.recompute import Recompute
from passes.remat.sqrt import Sqrt
from passes.remat.store_all import StoreAll
from passes.timeline import Placed
from staticgrad.records import dataclass

_LEVELS: Final = 16  # targets of a descent
_POLICIES: Final[tuple[Policy, ...]] = (StoreAll(), Sqrt(), Recompute())
#: Policies whose plans descents start from, with the positions that each may lay out: a second or
#: two for some hundred steps.
_STARTS: Final[tuple[tuple[Policy, int], ...]] = ((StoreAll(), 110_000), (Recompute(), 30_000))


@dataclass(frozen=True)
class Point:
    """A plan of the front: a sequence, where its lives are, its arena and its predicted seconds.

    Nothing else of the search is kept: a program has a front for each set of sizes. ``offsets`` has
    the offset of each life of ``Flow.lives``, in that order.
    """

    sequence: array[int]
    offsets: array[int]
    height: int
    seconds: float

    @classmethod
    def of(cls, placed: Placed, seconds: float) -> Point:
        """The point of a layout."""
        sequence, offsets = placed.layout.timeline.sequence, placed.offsets
        by_life = [offsets[block] for block in placed.layout.blocks]
        return cls(array("i", sequence), array("q", by_life), placed.height, seconds)

    @property
    def held_bytes(self) -> int:
        """About how many bytes the point takes."""
        return 350 + 4 * len(self.sequence) + 8 * len(self.offsets)


def lowest(problem: Problem, policy: Policy) -> Point:
    """Of what a policy proposes, the sequence of the lowest arena; of equals the cheapest, then the
    first.

    Raises:
        PolicyError: it proposes no valid sequence.
    """
    best: Point | None = None
    layouts = [problem.layout(sequence) for sequence in proposed(policy, problem)]
    for layout in sorted(layouts, key=lambda candidate: candidate.load):
        if best is not None and layout.load > best.height:
            break
        found = Point.of(layout.placed(), problem.cost(layout.timeline.sequence))
        if best is None or (found.height, found.seconds) < (best.height, best.seconds):
            best = found
    assert best is not None
    return best


def front(problem: Problem, bound: int) -> tuple[Point, ...]:
    """Plans by falling arena and rising cost.

    Args:
        problem: the schedule at concrete sizes.
        bound: bytes that no plan can do without; descents aim no lower.
    """
    found = {policy: lowest(problem, policy) for policy in _POLICIES}
    points = list(found.values())
    for policy, effort in _STARTS:
        start = tuple(found[policy].sequence)
        points += _descend(problem, start, bound, problem.effort + effort)
    return _undominated(points)


def _descend(problem: Problem, start: Steps, bound: int, limit: int) -> list[Point]:
    """A point for each target that a descent reaches, and where it ends."""
    descent = Descent(problem, start, limit)
    top = descent.layout.load
    found = []
    for level in range(1, _LEVELS + 1):
        target = int(top * (bound / top) ** (level / _LEVELS)) if top else 0
        if descent.layout.load <= target:
            continue
        reached = descent.to(target)
        sequence = descent.sequence
        if not problem.repeats.is_valid(sequence):
            break
        found.append(Point.of(descent.layout.placed(), problem.cost(sequence)))
        if not reached:
            break
    return found


def _undominated(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other beats or equals in both arena and cost."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.height)):
        if not kept or point.height < kept[-1].height:
            kept.append(point)
    return tuple(kept)

"""Forward steps in segments: values kept at the borders, and recomputation of the rest.

Shared by the policies that store the values that cross borders between segments and recompute each
segment when the backward steps reach it (Chen et al., arXiv 1604.06174). Borders may be anywhere:
all values that later forward steps read cross a border, one or several. The policies choose the
borders.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection
from itertools import accumulate

from passes.remat.base import Problem, Steps
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Forward:
    """The forward steps that segments recompute, by place 0, 1, ... among themselves.

    Attributes:
        problem, order: the arguments it was made from.
        crossing: droppable buffers that backward steps read, each with the place that computes it.
        last_read: temporary buffer -> the last place that reads or writes it.
        first: temporary buffer -> the place that begins it.
    """

    problem: Problem
    order: Steps
    crossing: dict[int, int]
    first: dict[int, int]
    last_read: dict[int, int]
    places: int

    @classmethod
    def of(cls, problem: Problem, order: Steps) -> Forward:
        """Return the forward steps of ``order``: those before the last derivative phase."""
        steps, flow = problem.flow.schedule.steps, problem.flow
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        crossing: dict[int, int] = {}
        place = 0
        for step in order:
            if steps[step].phase == problem.last_phase:
                for buffer in flow.reads[step]:
                    if buffer in first and problem.droppable(buffer):
                        crossing[buffer] = first[buffer]
                continue
            for buffer in flow.touches[step]:
                if buffer in problem.repeats.writer:
                    first.setdefault(buffer, place)
                    last[buffer] = place
            place += 1
        return cls(problem, order, crossing, first, last, place)

    def bytes_at_borders(self) -> list[int]:
        """Return by forward step the bytes that a segment border behind it would store.

        They are computed there or before, and a later place reads them.
        """
        change = [0] * (self.places + 1)
        for buffer, begin in self.first.items():
            size = self.problem.numbers.arena_bytes(buffer)
            change[begin] += size
            change[self.last_read[buffer]] -= size
        return list(accumulate(change))[: self.places]

    def bytes_crossing(self) -> list[int]:
        """Bytes of the ``crossing`` buffers that each place computes."""
        sizes = [0] * self.places
        for buffer, place in self.crossing.items():
            sizes[place] += self.problem.numbers.arena_bytes(buffer)
        return sizes

    def sequence(self, borders: Collection[int]) -> Steps | None:
        """Return the order with values recomputed by segments; None if updates forbid it.

        Values that cross no border are dropped; what comes after the last border is kept.
        """
        if not borders:
            return self.order
        places = sorted(borders)
        stored = set()
        for buffer, begin in self.first.items():
            at = bisect_left(places, begin)
            if at < len(places) and places[at] < self.last_read[buffer]:
                stored.add(buffer)
        return self.keeping(stored, places[-1])

    def keeping(self, stored: Collection[int], until: int) -> Steps | None:
        """Return the order with all values up to ``until`` recomputed but the ``stored`` ones.

        Those that the user keeps are stored, too.
        """
        dropped = {
            b
            for b, place in self.first.items()
            if place <= until and b not in stored and self.problem.droppable(b)
        }
        return self.problem.repeats.delay_updates(self._recompute_dropped(dropped))

    def _recompute_dropped(self, dropped: Collection[int]) -> list[int]:
        """Return the steps with dropped values recomputed before each reader."""
        flow, repeats = self.problem.flow, self.problem.repeats
        steps = flow.schedule.steps
        present: set[int] = set()
        done: list[int] = []
        place = 0
        for step in self.order:
            for buffer in flow.reads[step]:
                if buffer in dropped and buffer not in present:
                    for again in repeats.closure(buffer, present) or ():
                        done.append(again)
                        present.update(flow.writes[again])
            done.append(step)
            present.update(flow.writes[step])
            if steps[step].phase < self.problem.last_phase:
                present -= {
                    b for b in flow.touches[step] if b in dropped and self.last_read[b] == place
                }
                place += 1
        return done

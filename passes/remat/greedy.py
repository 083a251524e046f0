"""Greedy descent: drop a value across a gap between two uses, compute it again before the next.

Of all gaps, the one with the most (bytes x positions over the target) per second of its closure;
then lives and loads are derived anew from the sequence, in-place results included. A descent stops
where nothing lowers the bytes over the target, or its effort is spent. It never looks at a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import accumulate
from typing import Final

from passes.remat.base import Problem, Steps
from staticgrad.analysis.liveness import Life
from staticgrad.analysis.timeline import ArenaLayout
from staticgrad.records import dataclass

_TRIES: Final = 12  # gaps tried in vain before a descent gives up
_LEAST: Final = 1e-12  # seconds; a step that costs nothing is the first to run again


@dataclass(frozen=True)
class _Gap:
    """Between two uses of a life: the value need not be there from ``begin`` to ``end``."""

    life: Life
    begin: int
    end: int
    gain: float  # bytes x positions over the target
    bound: float  # no closure gives more gain per second


@dataclass
class Descent:
    """A sequence on its way down. ``sequence`` and ``layout`` are the current ones."""

    problem: Problem
    sequence: Steps
    limit: int
    layout: ArenaLayout = field(init=False)

    def __post_init__(self) -> None:
        """Lay out where it starts."""
        self.layout = self.problem.layout(self.sequence)

    def to(self, target: int) -> bool:
        """Go down until no position needs more than ``target`` bytes, then undo what is not needed
        for that; whether it was reached."""
        vain: set[tuple[int, int, int]] = set()
        while self.layout.load > target and self.problem.effort < self.limit:
            if not self._step(target, vain):
                break
        self._trim(max(target, self.layout.load))
        return self.layout.load <= target

    # -- one step ---------------------------------------------------------------------------------

    def _step(self, target: int, vain: set[tuple[int, int, int]]) -> bool:
        """Take the best gap that lowers the bytes over the target."""
        view = _View(self.problem, self.layout, target)
        before = _excess(self.layout, target)
        for tried, (gap, closure) in enumerate(view.best_first(vain), 1):
            found = self._with(gap, closure, view)
            if found is not None:
                layout = self.problem.layout(found)
                if _excess(layout, target) < before:
                    self.sequence, self.layout = found, layout
                    return True
            vain.add((gap.life.buffer, self.sequence[gap.end], gap.end))
            if tried >= _TRIES or self.problem.effort >= self.limit:
                break
        return False

    def _with(self, gap: _Gap, closure: Sequence[int], view: _View) -> Steps | None:
        """The sequence with ``closure`` before the end of the gap; later runs of its steps go where
        their results can wait for their readers."""
        again = {view.later[step, gap.end] for step in closure if view.can_wait(step, gap.end)}
        tail = [s for at, s in enumerate(self.sequence[gap.end :], gap.end) if at not in again]
        found = [*self.sequence[: gap.end], *closure, *tail]
        return self.problem.repeats.settled(_without_idle(self.problem, found))

    # -- what turned out to be unnecessary --------------------------------------------------------

    def _trim(self, target: int) -> None:
        """Drop runs whose results can wait from the run before without passing the target."""
        vain: set[tuple[int, int]] = set()
        while self.problem.effort < self.limit:
            view = _View(self.problem, self.layout, target)
            for at in view.repeated():
                key = (self.sequence[at], len(self.sequence) - at)  # what comes after stays
                if key not in vain and view.can_hold(at):
                    found = [*self.sequence[:at], *self.sequence[at + 1 :]]
                    found = _without_idle(self.problem, found)
                    layout = self.problem.layout(found)
                    if layout.load <= target:
                        self.sequence, self.layout = found, layout
                        break
                    vain.add(key)
            else:
                return


def _excess(layout: ArenaLayout, target: int) -> int:
    return sum(load - target for load in layout.loads if load > target)


def _without_idle(problem: Problem, sequence: Sequence[int]) -> list[int]:
    """The sequence without repeated runs whose results nobody reads."""
    flow, unit = problem.flow, problem.repeats.unit
    first = {step: at for at, step in reversed(list(enumerate(sequence)))}
    repeated = [first[step] < at for at, step in enumerate(sequence)]
    wanted: set[int] = set()
    kept = []
    for step, again in zip(reversed(sequence), reversed(repeated), strict=True):
        if again and len(unit[step]) == 1 and wanted.isdisjoint(flow.writes[step]):
            continue
        kept.append(step)
        wanted.difference_update(flow.begins[step])
        wanted.update(flow.reads[step])
    kept.reverse()
    return kept


class _View:
    """A layout from the point of view of a target: gaps, and what may be moved or held."""

    def __init__(self, problem: Problem, layout: ArenaLayout, target: int) -> None:
        self.problem, self.layout, self.target = problem, layout, target
        self.sequence = layout.timeline.sequence
        self.over = [0, *accumulate(int(load > target) for load in layout.loads)]
        self.uses: dict[int, list[int]] = {}
        self.runs: dict[int, list[int]] = {}
        for at, step in enumerate(self.sequence):
            self.runs.setdefault(step, []).append(at)
            for buffer in problem.dropping[step]:
                self.uses.setdefault(buffer, []).append(at)
        self.lives: dict[int, list[Life]] = {}
        self.firsts: dict[int, list[int]] = {}
        for life in layout.timeline.lives:
            self.lives.setdefault(life.buffer, []).append(life)
            self.firsts.setdefault(life.buffer, []).append(life.first)
        self.later = _Later(self.runs)

    # -- gaps -------------------------------------------------------------------------------------

    def best_first(self, vain: set[tuple[int, int, int]]) -> Iterator[tuple[_Gap, Sequence[int]]]:
        """Gaps with the closure that each takes, by falling gain per second."""
        gaps = sorted(self._gaps(vain), key=lambda gap: (-gap.bound, gap.end, gap.life.buffer))
        ready: list[tuple[float, int, int, _Gap, Sequence[int]]] = []
        for gap in gaps:
            while ready and ready[0][0] <= -gap.bound:
                yield ready[0][3], ready.pop(0)[4]
            closure = self.problem.repeats.closure(gap.life.buffer, _Present(self, gap))
            if closure is not None:
                ready.append(
                    (-gap.gain / self._price(closure, gap), gap.end, gap.life.buffer, gap, closure)
                )
                ready.sort(key=lambda entry: entry[:3])
        for entry in ready:
            yield entry[3], entry[4]

    def _gaps(self, vain: set[tuple[int, int, int]]) -> Iterator[_Gap]:
        problem = self.problem
        for life in self.layout.timeline.lives:
            size = problem.numbers.aligned(life.buffer)
            if not size or not problem.droppable(life.buffer):
                continue
            if self.over[life.last] == self.over[life.first]:
                continue
            unit = problem.repeats.unit[problem.repeats.writer[life.buffer]]
            own = max(sum(problem.seconds[step] for step in unit), _LEAST)
            for begin, end in self._between(life):
                positions = self.over[end] - self.over[begin + 1]
                step = self.sequence[end]
                if positions and step not in unit and (life.buffer, step, end) not in vain:
                    gain = float(size * positions)
                    yield _Gap(life, begin, end, gain, gain / own)

    def _between(self, life: Life) -> Iterator[tuple[int, int]]:
        """Positions of neighbouring uses of a life."""
        uses = self.uses[life.buffer]
        low, high = bisect_left(uses, life.first), bisect_right(uses, life.last)
        return zip(uses[low : high - 1], uses[low + 1 : high], strict=True)

    def _price(self, closure: Sequence[int], gap: _Gap) -> float:
        """Seconds that a closure adds: later runs that it spares count against it."""
        own = self.problem.seconds
        added = sum(own[step] for step in closure)
        spared = sum(own[step] for step in closure if self.can_wait(step, gap.end))
        return max(added - spared, min(own[step] for step in closure) * 0.5, _LEAST)

    # -- moving and holding -----------------------------------------------------------------------

    def can_wait(self, step: int, since: int) -> bool:
        """Whether a run of ``step`` at ``since`` would make its next one unnecessary."""
        at = self.later[step, since]
        return at >= 0 and len(self.problem.repeats.unit[step]) == 1 and self._fits(step, since, at)

    def repeated(self) -> list[int]:
        """Positions of repeated runs, the most expensive first."""
        found = [at for runs in self.runs.values() for at in runs[1:]]
        return sorted(found, key=lambda at: (-self.problem.seconds[self.sequence[at]], at))

    def can_hold(self, at: int) -> bool:
        """Whether the results of a repeated run could wait from the run before."""
        step = self.sequence[at]
        if len(self.problem.repeats.unit[step]) > 1:
            return False
        before = self.runs[step][bisect_left(self.runs[step], at) - 1]
        return self._fits(step, before, at)

    def _fits(self, step: int, since: int, at: int) -> bool:
        """Whether what readers want of ``step`` at ``at`` can lie there from ``since`` on."""
        extra, begin = 0, at
        for buffer in self.problem.flow.begins[step]:
            place = bisect_left(self.firsts[buffer], at)
            lives = self.lives[buffer]
            if lives[place].last > at and place:
                extra += self.problem.numbers.aligned(buffer)
                begin = min(begin, max(lives[place - 1].last + 1, since))
        return max(self.layout.loads[begin:at], default=0) + extra <= self.target


class _Later:
    """(step, position) -> the position of the next run of the step after it, else -1."""

    def __init__(self, runs: dict[int, list[int]]) -> None:
        self._runs = runs

    def __getitem__(self, key: tuple[int, int]) -> int:
        step, at = key
        runs = self._runs.get(step, [])
        following = bisect_right(runs, at)
        return runs[following] if following < len(runs) else -1


class _Present:
    """Which buffers are there at the end of a gap, besides the one that the gap drops."""

    def __init__(self, view: _View, gap: _Gap) -> None:
        self._view, self._gap = view, gap

    def __contains__(self, buffer: object) -> bool:
        if buffer == self._gap.life.buffer or not isinstance(buffer, int):
            return False
        place = bisect_left(self._view.firsts.get(buffer, ()), self._gap.end) - 1
        return place >= 0 and self._view.lives[buffer][place].last >= self._gap.end

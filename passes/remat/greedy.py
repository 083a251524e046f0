"""Greedy descent: drop a value across a gap between two uses, recompute it before the next.

The chosen gap has the most (bytes x positions over the target) per second of its closure. Then
lives and loads are derived again from the sequence, in-place results included. A descent stops if
nothing lowers the bytes over the target, or if its effort is used up. It does not depend on time.

``Cheapest`` is a Pareto front of sequences: none has both a higher load and a higher cost.

The proposals of a policy are checked: sequences of step numbers, at least one of them valid. A
policy may be a user's code and return anything; an error names the policy and the rule that it
broke.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import accumulate, pairwise
from operator import index
from typing import Final

from passes.remat.base import Policy, Problem, Steps
from staticgrad.analysis.liveness import Life
from staticgrad.analysis.plan_report import ArenaLayout
from staticgrad.errors import PolicyError
from staticgrad.errors.wording import kind_of, shown
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
    """Return the sequence without repeated runs whose results nobody reads."""
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
        """Return whether a run of ``step`` at ``since`` would make its next run unnecessary."""
        at = self.later[step, since]
        return at >= 0 and len(self.problem.repeats.unit[step]) == 1 and self._fits(step, since, at)

    def repeated(self) -> list[int]:
        """Positions of repeated runs, the most expensive first."""
        found = [at for runs in self.runs.values() for at in runs[1:]]
        return sorted(found, key=lambda at: (-self.problem.seconds[self.sequence[at]], at))

    def can_hold(self, at: int) -> bool:
        """Return whether the results of a repeated run could be kept from the run before."""
        step = self.sequence[at]
        if len(self.problem.repeats.unit[step]) > 1:
            return False
        before = self.runs[step][bisect_left(self.runs[step], at) - 1]
        return self._fits(step, before, at)

    def _fits(self, step: int, since: int, at: int) -> bool:
        """Return whether the results of ``step`` read at ``at`` can be stored from ``since`` on."""
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
    """The buffers that are alive at the end of a gap, except the one that the gap drops."""

    def __init__(self, view: _View, gap: _Gap) -> None:
        self._view, self._gap = view, gap

    def __contains__(self, buffer: object) -> bool:
        if buffer == self._gap.life.buffer or not isinstance(buffer, int):
            return False
        place = bisect_left(self._view.firsts.get(buffer, ()), self._gap.end) - 1
        return place >= 0 and self._view.lives[buffer][place].last >= self._gap.end


_BELOW: Final = 8  # sequences of fewer bytes that are looked at for one budget


@dataclass(frozen=True)
class Found:
    """A sequence of ops with its load and its cost."""

    load: int
    cost: float
    ops: tuple[int, ...]


#: A sequence, and the load that it is brought to.
Place = tuple[tuple[int, ...], int]


class Cheapest:
    """A Pareto front of sequences by load and cost."""

    def __init__(self) -> None:
        self.found: list[Found] = []  # by rising load and falling cost

    def add(self, new: Found) -> None:
        """Add a sequence unless one with at most its load and cost is present."""
        at = bisect_right(self.found, new.load, key=lambda each: each.load)
        if at and self.found[at - 1].cost <= new.cost:
            return
        left = [each for each in self.found if each.load < new.load or each.cost < new.cost]
        insort(left, new, key=lambda each: each.load)
        self.found = left

    def within(self, load: int) -> Found | None:
        """Return the cheapest sequence with at most this load, or None."""
        at = bisect_right(self.found, load, key=lambda each: each.load)
        return self.found[at - 1] if at else None

    def widest(self, tried: Mapping[Place, int], most: int) -> Place | None:
        """Return the place (sequence and goal) at the largest cost difference of two neighbours.

        Goals: the load of the dearer one, for both; just below the load of the other, for the
        dearer one and some of fewer bytes. The difference is divided by 1 + the number of tries of
        the place. None if all places were tried ``most`` times."""
        best: Place | None = None
        highest = 0.0
        for at, (lower, upper) in enumerate(pairwise(self.found)):
            difference = lower.cost - upper.cost
            if difference <= highest:
                continue
            for place in self._around(at):
                times = tried.get(place, 0)
                if difference / (1 + times) > highest and times < most:
                    best, highest = place, difference / (1 + times)
        return best

    def _around(self, at: int) -> Iterator[Place]:
        """Yield the places of a sequence and the next cheaper one."""
        lower, upper = self.found[at : at + 2]
        yield lower.ops, lower.load
        yield upper.ops, lower.load
        for each in self.found[max(0, at + 1 - _BELOW) : at + 1][::-1]:
            yield each.ops, upper.load - 1


_HINT = "each step must run, after what it reads; see passes.remat.base.Policy"


def proposed(policy: Policy, problem: Problem) -> list[Steps]:
    """Return the valid ones of the sequences that a policy proposes.

    Raises:
        PolicyError: they are no sequences of step numbers, or none of them is valid.
    """
    found: list[Steps] = []
    broken = ""
    for number, given in enumerate(_given(policy, problem)):
        sequence = _steps(policy, problem, number, given)
        fault = problem.repeats.fault(sequence)
        if fault is None:
            found.append(sequence)
        elif not broken:
            broken = f"sequence {number}: {fault}"
    if not found:
        raise PolicyError(
            f"policy {policy!r} proposed no valid sequence",
            details=[broken or "it proposed no sequence at all"],
            hint=_HINT,
        )
    return found


def _given(policy: Policy, problem: Problem) -> list[object]:
    try:
        given: object = policy.sequences(problem)
        if isinstance(given, Iterable) and not isinstance(given, str | bytes):
            return list(given)
    except Exception as error:
        error.add_note(f"policy {policy!r} was proposing sequences")
        raise
    raise PolicyError(
        f"policy {policy!r} returned {kind_of(given)} instead of sequences of steps",
        hint="sequences(problem) returns, or yields, orders like problem.order",
    )


def _steps(policy: Policy, problem: Problem, number: int, given: object) -> Steps:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise PolicyError(
            f"policy {policy!r}: sequence {number} is {kind_of(given)}, no sequence of steps",
            hint="sequences(problem) returns a list of sequences, also where it is one",
        )
    steps: list[int] = []
    count = len(problem.flow.schedule.steps)
    for at, step in enumerate(given):
        if isinstance(step, bool) or not hasattr(step, "__index__"):
            wrong = f"{kind_of(step)} {shown(step)}, not the number of a step"
        elif not 0 <= index(step) < count:
            wrong = f"{index(step)}, and the steps are 0 to {count - 1}"
        else:
            steps.append(index(step))
            continue
        raise PolicyError(f"policy {policy!r}: sequence {number} has at position {at} {wrong}")
    return tuple(steps)

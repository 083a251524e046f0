"""Decide which updates write their parameter in place, and which by a copy at the end.

While groups are lowered, the new value of a parameter has a buffer of its own. Here it is decided
whether that buffer is the parameter's (then whoever else reads the old value must run before), or a
temporary that a copy writes to the parameter once nobody needs the old value. It is decided once,
for all updates together, from what the lowered kernels read and write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from staticgrad.analysis.liveness import OldValues, TakingOver
from staticgrad.compiler.fusion.groups import Key
from staticgrad.language.ir.schedule import BoundStep
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Update:
    """The new value ``key`` of a parameter whose old value is ``old``, and their two buffers."""

    key: Key
    old: Key
    buffer: str
    parameter: str


@dataclass(frozen=True)
class PendingStep:
    """The lowered step of a group on its way to a place in the order, with the values it reads.

    ``position`` is where its nodes stand in the graph; of two works that write one value the one
    of the lower ``level`` comes first. ``checked``: its checks pass wherever those of earlier works
    did.
    """

    group: int
    step: BoundStep
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]
    position: int
    level: int
    checked: bool = False

    @property
    def checks(self) -> bool:
        """True if the step checks indices."""
        return bool(self.step.checks())

    @property
    def checks_first(self) -> bool:
        """True if its checks come before parameters are written."""
        return self.checks and not self.checked


def _writers(works: Sequence[PendingStep]) -> dict[Key, list[int]]:
    """The works, by number, that write each value, in the order in which they must run."""
    found: dict[Key, list[int]] = {}
    for number, work in enumerate(works):
        for key in work.writes:
            found.setdefault(key, []).append(number)
    for several in found.values():
        several.sort(key=lambda number: works[number].level)
    return found


def copied_updates(works: Sequence[PendingStep], updates: Sequence[Update]) -> list[Update]:
    """The updates that must go through a copy; the others write in place.

    Those are enough that, without them, every reader of an old value can run in time.
    """
    if not updates:
        return []
    writers = _writers(works)
    taking_over = cache(lambda number: TakingOver(works[number].step))

    def may_overwrite(update: Update) -> bool:
        # Its kernels check no index, and read the old value only where they write.
        several = writers[update.key]
        for number in several:
            work = works[number]
            if work.checks or (len(several) > 1 and update.old in work.reads):
                return False
            if not taking_over(number).may_update(update.buffer, update.parameter):
                return False
        return True

    copied = {u.buffer for u in updates if not may_overwrite(u)}
    ordering = _Ordering(works, writers, [u for u in updates if u.buffer not in copied])
    ordering.run()
    while not ordering.is_complete and (update := ordering.give_way()) is not None:
        copied.add(update.buffer)
        ordering.run()
    return [u for u in updates if u.buffer in copied]


def in_order(works: Sequence[PendingStep], in_place: Sequence[Update]) -> list[PendingStep] | None:
    """Return the works in a valid order; those that overwrite a parameter come early.

    None if there is no such order.
    """
    ordered = _Ordering(works, _writers(works), in_place)
    ordered.run()
    return [works[number] for number in ordered.done] if ordered.is_complete else None


class _Ordering:
    """Kahn's algorithm over works, which stops where updates in place wait for each other.

    Besides the works there are vertices that stand for a moment: all checks are made; the old value
    of the parameter of update 0, 1, ... is needed no more. Works that overwrite it wait for that.
    """

    def __init__(
        self,
        works: Sequence[PendingStep],
        writers: Mapping[Key, Sequence[int]],
        in_place: Sequence[Update],
    ) -> None:
        self.works, self.writers = works, writers
        self.done: list[int] = []
        self._in_place = in_place
        self._checked = len(works)
        count = self._checked + 1 + len(in_place)
        self._after: list[list[int]] = [[] for _ in range(count)]
        self._waits = [0] * count
        self._passed: set[int] = set()
        self._writers = {u.old: set(writers[u.key]) for u in in_place}
        self._old_reads = self._reads_of_old_values()
        self._old = OldValues(self._old_reads.items(), self._writers)
        self._vertex: dict[Key, int] = {}  # old value -> the moment at which it is needed no more
        self._overwrites: dict[int, list[int]] = {}  # work -> vertices of what it overwrites
        self._wait_for_values()
        self._wait_to_overwrite()
        self._ready = [self._priority(n) for n in range(count) if not self._waits[n]]
        heapify(self._ready)
        self._blocked: list[tuple[int, int]] = []  # works that wait for old values alone
        for number in self._overwrites:
            self._note_blocked(number)

    @property
    def is_complete(self) -> bool:
        return len(self.done) == len(self.works)

    def run(self) -> None:
        while self._ready:
            *_, number = heappop(self._ready)
            if number < self._checked:
                self.done.append(number)
            self._pass(number)

    def give_way(self) -> Update | None:
        """Let an update that waits for nothing but old values write elsewhere; which one."""
        while self._blocked:
            _, number = heappop(self._blocked)
            for vertex in self._overwrites[number]:
                if vertex not in self._passed:
                    self._pass(vertex)
                    self._note_blocked(number)
                    return self._in_place[vertex - self._checked - 1]
        return None

    def _wait_for_values(self) -> None:
        for number, work in enumerate(self.works):
            before = {w for key in work.reads for w in self.writers.get(key, ())}
            before.discard(number)
            for earlier in before:
                self._edge(earlier, number)
        for several in self.writers.values():
            if len(several) > 1:
                for earlier, later in pairwise(several):
                    self._edge(earlier, later)

    def _wait_to_overwrite(self) -> None:
        if not self._in_place:
            return
        for number, work in enumerate(self.works):
            if work.checks_first:
                self._edge(number, self._checked)
        for vertex, update in enumerate(self._in_place, self._checked + 1):
            self._edge(self._checked, vertex)
            self._vertex[update.old] = vertex
            self._waits[vertex] += self._old.is_needed(update.old)
            for number in self.writers[update.key]:
                self._overwrites.setdefault(number, []).append(vertex)
                self._edge(vertex, number)

    def _edge(self, earlier: int, later: int) -> None:
        self._after[earlier].append(later)
        self._waits[later] += 1

    def _priority(self, number: int) -> tuple[bool, int, int]:
        if number >= self._checked:
            return False, -1, number
        return number not in self._overwrites, self.works[number].position, number

    def _note_blocked(self, number: int) -> None:
        waiting = sum(vertex not in self._passed for vertex in self._overwrites[number])
        if waiting and waiting == self._waits[number]:
            heappush(self._blocked, (self.works[number].position, number))

    def _pass(self, number: int) -> None:
        if number in self._passed:
            return
        self._passed.add(number)
        for later in self._after[number]:
            self._release(later)
        if number in self._old_reads:
            for value in self._old.ran(number, self._old_reads[number]):
                self._release(self._vertex[value])

    def _release(self, later: int) -> None:
        """One of the things that a vertex waits for has come."""
        self._waits[later] -= 1
        if not self._waits[later]:
            heappush(self._ready, self._priority(later))
        elif later in self._overwrites:
            self._note_blocked(later)

    def _reads_of_old_values(self) -> dict[int, list[Key]]:
        # Works that read none are left out.
        if not self._writers:
            return {}
        old = {
            number: [key for key in dict.fromkeys(work.reads) if key in self._writers]
            for number, work in enumerate(self.works)
        }
        return {number: values for number, values in old.items() if values}

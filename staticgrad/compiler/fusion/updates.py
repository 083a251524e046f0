"""Decide which updates write their parameter in place, and which by a copy at the end.

While groups are lowered, the new value of a parameter has a buffer of its own. This module decides
whether it is the buffer of the parameter (then all other readers of the old value must run before),
or a temporary that is copied to the parameter after the last read of the old value. It decides once
for all updates together, from the reads and writes of the lowered kernels.

Each of two updates reads the parameter that the other one writes; one goes through a copy::

    updates {a: b * 2, b: a * 2}     ->     temporary = b * 2; b = a * 2; a = temporary

An update that is fused with a value which has to exist before the parameter may be written would be
such a copy, too: the running variance of a batch, with its variance, before the labels are checked.
``separate_updates`` keeps such updates apart from these values before anything is fused. Those of
counters, which read parameters alone, stay with the draws that read them.

A run may be cancelled until the first parameter is written, and a loop takes long. So a new value
that a loop depends on, or computes, is a temporary: the loop can run before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from staticgrad.analysis.liveness import OldValues, TakingOver, ValueKey
from staticgrad.compiler.fusion.groups import Key
from staticgrad.compiler.fusion.reasons import Reason, ReasonKind
from staticgrad.language.ir.forms import INDEXED, BodyForm, CallForm
from staticgrad.language.ir.graph import Graph, Node
from staticgrad.language.ir.schedule import BoundStep
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import reach


@dataclass(frozen=True)
class Update:
    """The new value ``key`` of a parameter whose old value is ``old``, and their two buffers.

    ``label``: the name of the parameter.
    """

    key: Key
    old: Key
    buffer: str
    parameter: str
    label: str


@dataclass(frozen=True)
class PendingStep:
    """The lowered step of a group that has no index in the order yet, with the values it reads.

    ``position``: the index of its nodes in the graph. Of two steps that write one value, the one of
    the lower ``level`` comes first. ``checked``: its checks pass wherever those of earlier steps
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


def separate_updates(
    graph: Graph, phases: Mapping[Node, int], users: Mapping[ValueKey, Sequence[Node]]
) -> Mapping[Node, int]:
    """Return phases in which some updates of earlier phases have one of their own, the last.

    Groups are of one phase. These updates, with the nodes that nothing else reads, read a value on
    which a check, a loop, or a reader of an old value depends, so that one kernel for both could
    not write the parameter: all of these come first.
    """
    last = max(phases.values(), default=0)
    new_values = {value.key for _, value in graph.updates}
    if not last or all(phases[value.node] == last for _, value in graph.updates):
        return phases
    outputs = {value.key for value in graph.outputs.values()}
    readers: dict[Node, Collection[Node]] = {
        node: users[node, 0]
        if len(node.types) == 1
        else {user for number in range(len(node.types)) for user in users[node, number]}
        for node in graph.nodes
    }
    updating = {node for node, _ in new_values}
    returned = {node for node, _ in outputs}
    early: dict[Node, None] = {}  # what leads to updates of earlier phases alone, readers first
    for node in reversed(graph.nodes):
        is_early = phases[node] < last and node not in returned
        if (
            is_early
            and (readers[node] or node in updating)
            and all(reader in early for reader in readers[node])
        ):
            early[node] = None
    if not any(arg.node.args for node in early for arg in node.args):
        return phases  # a counter's operands are leaves: nothing has to come before it
    only_updates: set[Node] = set()
    for node in reversed(graph.nodes):
        is_read = bool(readers[node]) or node in updating
        if is_read and node not in returned and only_updates.issuperset(readers[node]):
            only_updates.add(node)
    parameters = {parameter.node for parameter, _ in graph.updates}
    needed: set[Node] = set()  # before parameters are written
    for node in reversed(graph.nodes):
        reads_old = any(arg.node in parameters for arg in node.args)
        if (
            not needed.isdisjoint(readers[node])
            or _fails_or_loops(node)
            or (reads_old and node not in only_updates)
        ):
            needed.add(node)
    early_updates: set[Node] = set()
    for node in early:
        if node not in needed and early_updates.issuperset(readers[node]):
            early_updates.add(node)
    late: set[Node] = set()
    for node in reversed(early):
        computed = [arg.node for arg in node.args if arg.node.args]  # a counter's is a parameter
        if node in early_updates and any(arg in needed or arg in late for arg in computed):
            late.add(node)
    for node in early:  # and what these alone read
        if node in early_updates and node.args and readers[node] and late.issuperset(readers[node]):
            late.add(node)
    return {node: last + 1 if node in late else phase for node, phase in phases.items()}


def _fails_or_loops(node: Node) -> bool:
    """Return whether a node checks indices, may fail, or loops."""
    form = node.form
    return isinstance(form, INDEXED | BodyForm) or (isinstance(form, CallForm) and form.checks)


def _find_writers(steps: Sequence[PendingStep]) -> dict[Key, list[int]]:
    """Return the steps, by number, that write each new parameter value, in their order."""
    writers: dict[Key, list[int]] = {}
    for number, pending in enumerate(steps):
        for key in pending.writes:
            writers.setdefault(key, []).append(number)
    for numbers in writers.values():
        numbers.sort(key=lambda number: steps[number].level)
    return writers


def find_copied_updates(
    steps: Sequence[PendingStep], updates: Sequence[Update]
) -> dict[Update, Reason]:
    """Return the parameter updates that need a copy at the end, with why; the others are in place.

    With these copies every reader of an old value can run before it is overwritten, and every loop
    before anything is.
    """
    if not updates:
        return {}
    writers = _find_writers(steps)
    # What loops, and the steps that they depend on, compute: it runs before the first write of a
    # parameter, as long as a run can be cancelled.
    loops = [number for number, pending in enumerate(steps) if pending.step.runs_loop]
    earlier = reach(loops, lambda n: [w for key in steps[n].reads for w in writers.get(key, ())])
    before_loops = {key for number in earlier for key in steps[number].writes}
    taking_over = cache(lambda number: TakingOver(steps[number].step))

    def find_conflict(update: Update) -> Reason | None:
        """Return why an update's steps may not overwrite their parameter in place, or None."""
        # Its kernels check no index, and read the old value only where they write.
        if update.key in before_loops:
            return ReasonKind.UpdateBeforeLoop(update.label)
        writing = writers[update.key]
        for number in writing:
            pending = steps[number]
            if pending.checks:
                return ReasonKind.UpdateChecks(update.label)
            if len(writing) > 1 and update.old in pending.reads:
                return ReasonKind.UpdateInParts(update.label, len(writing))
            if not taking_over(number).may_update(update.buffer, update.parameter):
                return ReasonKind.UpdateElsewhere(update.label)
        return None

    conflicts = {update: find_conflict(update) for update in updates}
    copied = {update: reason for update, reason in conflicts.items() if reason is not None}
    # Updates in place whose steps block each other in a cycle: one after the other gets a copy,
    # until an order exists.
    ordering = _Ordering(steps, writers, [u for u in updates if u not in copied])
    ordering.run()
    while not ordering.is_complete and (broken := ordering.break_cycle()) is not None:
        update, earlier_step = broken
        copied[update] = ReasonKind.UpdateHeldBack(update.label, steps[earlier_step].step.label)
        ordering.run()
    return {update: copied[update] for update in updates if update in copied}


def order_steps(
    steps: Sequence[PendingStep], in_place: Sequence[Update]
) -> list[PendingStep] | None:
    """Sort steps topologically; those that overwrite a parameter follow its last read.

    None if there is no such order.
    """
    ordering = _Ordering(steps, _find_writers(steps), in_place)
    ordering.run()
    return [steps[number] for number in ordering.done] if ordering.is_complete else None


class _Ordering:
    """Kahn's algorithm over steps, which stops if updates in place block each other in a cycle.

    Besides the steps there are vertices for events: all checks are done; the old value of the
    parameter of update 0, 1, ... has been read for the last time. Steps that overwrite it depend on
    this event.
    """

    def __init__(
        self,
        steps: Sequence[PendingStep],
        writers: Mapping[Key, Sequence[int]],
        in_place: Sequence[Update],
    ) -> None:
        self.steps, self.writers = steps, writers
        self.done: list[int] = []
        self._in_place = in_place
        self._checked = len(steps)
        count = self._checked + 1 + len(in_place)
        self._successors: list[list[int]] = [[] for _ in range(count)]
        self._open_dependencies = [0] * count
        self._finished: set[int] = set()
        self._writers = {u.old: set(writers[u.key]) for u in in_place}
        # Steps without reads of old values have no entry.
        if not self._writers:
            self._old_reads = {}
        else:
            old = {
                number: [key for key in dict.fromkeys(pending.reads) if key in self._writers]
                for number, pending in enumerate(self.steps)
            }
            self._old_reads = {number: values for number, values in old.items() if values}
        self._old = OldValues(self._old_reads.items(), self._writers)
        self._event: dict[Key, int] = {}  # old value -> the event of its last read
        self._overwrites: dict[int, list[int]] = {}  # step -> events of what it overwrites
        for number, pending in enumerate(self.steps):
            predecessors = {w for key in pending.reads for w in self.writers.get(key, ())}
            predecessors.discard(number)
            for earlier in predecessors:
                self._add_edge(earlier, number)
        for writing in self.writers.values():
            if len(writing) > 1:
                for earlier, later in pairwise(writing):
                    self._add_edge(earlier, later)
        self._add_overwrite_edges()
        self._ready = [self._priority(n) for n in range(count) if not self._open_dependencies[n]]
        heapify(self._ready)
        self._blocked: list[tuple[int, int]] = []  # steps blocked by old values only
        for number in self._overwrites:
            self._note_blocked(number)

    @property
    def is_complete(self) -> bool:
        return len(self.done) == len(self.steps)

    def run(self) -> None:
        while self._ready:
            *_, number = heappop(self._ready)
            if number < self._checked:
                self.done.append(number)
            self._finish_vertex(number)

    def break_cycle(self) -> tuple[Update, int] | None:
        """Choose an update to store by a copy, if all others wait for reads of old parameters.

        It is that of the first blocked step on which its own event depends: other blocked steps
        run later. With it comes the step, by number, that depends on it and has to run before it.
        """
        for entry in sorted(set(self._blocked)):
            _, number = entry
            earlier_step = self._find_cycle(number)
            if earlier_step is None:
                continue
            self._blocked = [blocked for blocked in self._blocked if blocked != entry]
            heapify(self._blocked)
            for vertex in self._overwrites[number]:
                if vertex not in self._finished:
                    self._finish_vertex(vertex)
                    self._note_blocked(number)
                    return self._in_place[vertex - self._checked - 1], earlier_step
        return None

    def _find_cycle(self, number: int) -> int | None:
        """Find a path of vertices that have not run from a step back to it.

        Return the last step on it, which an event of the path waits for; None without a path.
        """
        came_from: dict[int, int] = {number: number}
        waiting = [number]
        while waiting:
            vertex = waiting.pop()
            read = [v for v in self._old_reads.get(vertex, ()) if vertex not in self._writers[v]]
            for later in (*self._successors[vertex], *(self._event[value] for value in read)):
                if later == number:
                    while vertex >= self._checked:
                        vertex = came_from[vertex]
                    return vertex
                if later not in came_from and later not in self._finished:
                    came_from[later] = vertex
                    waiting.append(later)
        return None

    def _add_overwrite_edges(self) -> None:
        """Add the dependences of in-place updates on reads of the old parameters."""
        if not self._in_place:
            return
        for number, pending in enumerate(self.steps):
            if pending.checks_first:
                self._add_edge(number, self._checked)
        for vertex, update in enumerate(self._in_place, self._checked + 1):
            self._add_edge(self._checked, vertex)
            self._event[update.old] = vertex
            self._open_dependencies[vertex] += self._old.is_needed(update.old)
            for number in self.writers[update.key]:
                self._overwrites.setdefault(number, []).append(vertex)
                self._add_edge(vertex, number)

    def _add_edge(self, earlier: int, later: int) -> None:
        self._successors[earlier].append(later)
        self._open_dependencies[later] += 1

    def _priority(self, number: int) -> tuple[bool, int, int]:
        if number >= self._checked:
            return False, -1, number
        return number not in self._overwrites, self.steps[number].position, number

    def _note_blocked(self, number: int) -> None:
        waiting = sum(vertex not in self._finished for vertex in self._overwrites[number])
        if waiting and waiting == self._open_dependencies[number]:
            heappush(self._blocked, (self.steps[number].position, number))

    def _finish_vertex(self, number: int) -> None:
        """Record that a step has run, and release the steps and updates that waited for it."""
        if number in self._finished:
            return
        self._finished.add(number)
        for later in self._successors[number]:
            self._release(later)
        if number in self._old_reads:
            for value in self._old.ran(number, self._old_reads[number]):
                self._release(self._event[value])

    def _release(self, later: int) -> None:
        """Count down the open dependencies of a vertex, which is ready when none is left."""
        self._open_dependencies[later] -= 1
        if not self._open_dependencies[later]:
            heappush(self._ready, self._priority(later))
        elif later in self._overwrites:
            self._note_blocked(later)

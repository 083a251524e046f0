"""Units, closures and valid sequences for recomputing steps of a schedule.

A *unit* is what can only run again as a whole: the steps that write one buffer bit by bit (a fill
and copies into regions, a scatter), else a single step. A *closure* is the steps that bring values
back from what is still there. Policies choose among the sequences by bytes and costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence

from staticgrad.analysis.liveness import Flow, OldValues

Version = tuple[int, int]  # (buffer, number of its writers that have run)


class Repeats:
    """Units and versions of a schedule, by step and buffer numbers.

    Attributes:
        unit: per step, the steps of its unit in listed order.
        repeatable: per step, whether its unit may run more than once: it writes no parameter, no
            other process takes part, and nobody reads what it has half written.
        writer: a temporary buffer -> a step of the unit that computes it.
        needs: per step, the temporary buffers that its unit reads from elsewhere.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        roles = [b.role for b in flow.schedule.buffers]
        self._temp = {i for i, role in enumerate(roles) if role == "temp"}
        versioned = {i for i, role in enumerate(roles) if role in ("temp", "output", "parameter")}
        writers: dict[int, list[int]] = {}
        for step, written in enumerate(flow.writes):
            for buffer in written:
                if buffer in versioned:
                    writers.setdefault(buffer, []).append(step)
        count = dict.fromkeys(writers, 0)
        reads, writes = [], []
        for read, written in zip(flow.reads, flow.writes, strict=True):
            reads.append(tuple((b, count[b]) for b in read if b in count))
            writes.append(tuple((b, count[b]) for b in written if b in count))
            for buffer, version in writes[-1]:
                count[buffer] = version + 1
        self._reads, self._writes = tuple(reads), tuple(writes)
        parameters = {i for i, role in enumerate(roles) if role == "parameter"}
        self._overwriting = {
            version: (step,)
            for step, written in enumerate(self._writes)
            for version in written
            if version[0] in parameters
        }
        self._lost = self._overwriting.keys()
        #: Per step, the versions of parameters that it reads and another, or itself, writes over,
        #: and those that it writes over.
        self._old = [tuple(filter(self._lost.__contains__, versions)) for versions in self._reads]
        self._overwrites = [
            tuple(filter(self._lost.__contains__, versions)) for versions in self._writes
        ]
        self._concerns_updates = [*map(any, zip(self._old, self._overwrites, strict=True))]
        self.unit = _steps_recomputed_together(len(flow.writes), writers)
        self.writer = {b: steps[0] for b, steps in writers.items() if b in self._temp}
        # No update, collective or partial write is run twice.
        fixed = {*self.flow.commits, *self.flow.collectives}
        for step, versions in enumerate(self._reads):
            for buffer, version in versions:
                inside = version > 0 and self.unit[writers[buffer][0]] is self.unit[step]
                if version < len(writers[buffer]) and not inside:
                    fixed.add(writers[buffer][0])
        units = {self.unit[step] for step in fixed}
        self.repeatable = tuple(unit not in units for unit in self.unit)
        self.needs = tuple(map(self._needs, range(len(flow.writes))))

    def closure(self, buffer: int, present: Container[int]) -> tuple[int, ...] | None:
        """Return the steps, in listed order, that recompute a buffer from those ``present``.

        None where something that it needs cannot be computed twice.
        """
        steps: set[int] = set()
        stack = [buffer]
        while stack:
            step = self.writer.get(stack.pop())
            if step is None or not self.repeatable[step]:
                return None
            if step not in steps:
                steps.update(self.unit[step])
                stack.extend(b for b in self.needs[step] if b not in present)
        return tuple(sorted(steps))

    def is_valid(self, sequence: Sequence[int]) -> bool:
        """Return whether every run finds the versions it reads in this order, every step runs,
        updates run once, steps of all ranks once and in the listed order, and every index is
        checked before the first update."""
        return self.fault(sequence) is None

    def fault(self, sequence: Sequence[int]) -> str | None:
        """Return the first rule of recomputation that a sequence of steps breaks; None if none."""
        state: dict[int, int] = {}
        for at, step in enumerate(sequence):
            for buffer, version in self._reads[step]:
                if state.get(buffer, 0) != version:
                    return f"at position {at}, {self._misread(step, buffer, version, state)}"
            for buffer, version in self._writes[step]:
                if version and state.get(buffer, 0) != version:
                    wrong = f"writes a part of {self.flow.names[buffer]!r} out of turn"
                    return f"at position {at}, {self._name_step(step)} {wrong}"
                state[buffer] = version + 1
        return self._fault_of_runs(sequence)

    def _misread(self, step: int, buffer: int, version: int, state: Mapping[int, int]) -> str:
        """Describe a step that reads a wrong version of a buffer."""
        reads, ran = (
            f"{self._name_step(step)} reads {self.flow.names[buffer]!r}",
            state.get(buffer, 0),
        )
        if (buffer, version) in self._lost and ran > version:
            return f"{reads}, a parameter, after it was written"
        if not ran:
            return f"{reads}, which no step has written yet"
        return f"{reads} after {ran} of the steps that write it, not after {version}"

    def _fault_of_runs(self, sequence: Sequence[int]) -> str | None:
        """Return why steps run too often, too late or not at all in a sequence, or None."""
        runs = Counter(sequence)
        missing = next((s for s in range(len(self._reads)) if s not in runs), None)
        if missing is not None:
            return f"{self._name_step(missing)} does not run"
        again = next((step for step in self.flow.commits if runs[step] > 1), None)
        if again is not None:
            return f"{self._name_step(again)} writes a parameter and runs {runs[again]} times"
        together = tuple(filter(set(self.flow.collectives).__contains__, sequence))
        if together != self.flow.collectives:
            pairs = zip(together, self.flow.collectives, strict=False)
            wrong = next((run for run, listed in pairs if run != listed), together[-1])
            return f"{self._name_step(wrong)} is one of all ranks and runs again or out of turn"
        late = set(self.flow.checks).difference(sequence[: self.flow.commit(sequence)])
        if late:
            return (
                f"{self._name_step(min(late))} first checks an index after a parameter was written"
            )
        return None

    def _name_step(self, step: int) -> str:
        return f"step {step} ({self.flow.schedule.steps[step].label})"

    def delay_updates(self, sequence: Sequence[int]) -> Sequence[int] | None:
        """Move each parameter update behind the last read of the old value.

        The rest of the sequence must be valid. Steps that depend on a delayed update wait with it.
        None where that cannot be.
        """
        if self._updates_wait(sequence):
            return sequence
        old = OldValues(((step, self._old[step]) for step in sequence), self._overwriting)
        done: list[int] = []
        waiting: list[int] = []

        def is_blocked(step: int, delayed_steps: Container[int]) -> bool:
            return any(map(old.is_needed, self._overwrites[step])) or any(
                earlier in delayed_steps for earlier in self.flow.earlier_steps[step]
            )

        def run(step: int) -> None:
            done.append(step)
            old.ran(step, self._old[step])

        for step in sequence:
            if is_blocked(step, waiting):
                waiting.append(step)
                continue
            run(step)
            still_waiting: list[int] = []
            for delayed in waiting:
                if is_blocked(delayed, still_waiting):
                    still_waiting.append(delayed)
                else:
                    run(delayed)
            waiting = still_waiting
        return done if not waiting and self.is_valid(done) else None

    def _updates_wait(self, sequence: Sequence[int]) -> bool:
        """Return True if no step reads a parameter that an update has overwritten."""
        gone: set[Version] = set()
        for step in filter(self._concerns_updates.__getitem__, sequence):
            if not gone.isdisjoint(self._old[step]):
                return False
            gone.update(self._overwrites[step])
        return True

    def _needs(self, step: int) -> tuple[int, ...]:
        written = {b for s in self.unit[step] for b in self.flow.writes[s]}
        read = dict.fromkeys(b for s in self.unit[step] for b in self.flow.reads[s])
        return tuple(b for b in read if b in self._temp and b not in written)


def _steps_recomputed_together(
    steps: int, writers: Mapping[int, Sequence[int]]
) -> tuple[tuple[int, ...], ...]:
    """Return by step the steps that must be recomputed with it: they write one buffer in parts."""
    leader = list(range(steps))

    def find(step: int) -> int:
        while leader[step] != step:
            leader[step] = leader[leader[step]]
            step = leader[step]
        return step

    for steps_of_buffer in writers.values():
        for further_step in steps_of_buffer[1:]:
            leader_kept, leader_joined = sorted((find(steps_of_buffer[0]), find(further_step)))
            leader[leader_joined] = leader_kept
    members: dict[int, list[int]] = {}
    for step in range(steps):
        members.setdefault(find(step), []).append(step)
    units = {first: tuple(unit) for first, unit in members.items()}
    return tuple(units[find(step)] for step in range(steps))

"""Translate a schedule at concrete sizes to ``staticgrad.analysis.planning``, and sequences back.

The values of that problem are contents of buffers in the arena, one for each step that writes a
buffer; it takes over the bytes of the one before. Values outside of the arena have 0 bytes and only
order the steps. Words of checks are left out; the layout of a sequence has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from passes.remat.base import Problem, Steps
from staticgrad.analysis.planning.problem import (
    Identifier,
    MemoryOp,
    MemoryProblem,
    MemoryValue,
    Net,
    Pair,
)
from staticgrad.support.records import dataclass
from staticgrad.support.source import lines_of

_STAGED: Final = "staged"  # the op that copies feeds
_LOOKED: Final = "looked"  # the op, and its result, that updates depend on: indices were checked


@dataclass(frozen=True)
class Abstract:
    """A recomputation problem without graphs; ``step_of`` is the step of each op, or -1."""

    net: Net
    step_of: tuple[int, ...]

    def steps(self, ops: Iterable[int]) -> Steps:
        """Return the steps of a sequence of ops."""
        return tuple(step for op in ops if (step := self.step_of[op]) >= 0)

    def ops(self, sequence: Steps) -> list[int]:
        """Translate a sequence of steps to ops of the abstract recomputation problem.

        Ops without a step run as early as possible.
        """
        op_of = {step: op for op, step in enumerate(self.step_of)}
        waiting = {op: {*self.net.reads[op]} for op, step in enumerate(self.step_of) if step < 0}
        ops = [op for op, values in waiting.items() if not values]
        for step in sequence:
            ops.append(op_of[step])
            for op, values in waiting.items():
                if values:
                    values.difference_update(self.net.makes[ops[-1]])
                    ops += [op] if not values else []
        return ops


def translate_problem(problem: Problem) -> Abstract:
    """Return the schedule as a problem of the planner."""
    return _Translation(problem).result()


def export_problem(problem: Problem) -> MemoryProblem:
    """Return a schedule as an abstract memory problem, whose ops name the user's lines."""
    abstract = translate_problem(problem)
    steps = problem.flow.schedule.steps
    ops = (
        replace(op, line=lines_of(steps[step].origins)) if step >= 0 else op
        for op, step in zip(abstract.net.problem.ops, abstract.step_of, strict=True)
    )
    return replace(abstract.net.problem, ops=tuple(ops))


class _Translation:
    """One walk over a schedule's steps; ``current`` has the value that a buffer holds so far."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.flow = problem, problem.flow
        self.roles = [buffer.role for buffer in problem.flow.schedule.buffers]
        self.inside = [buffer.in_arena for buffer in problem.flow.schedule.buffers]
        self.values: list[MemoryValue] = []
        self.current: dict[int, Identifier] = {}
        self.ops: list[MemoryOp] = []
        self.step_of: list[int] = []
        self.versions: dict[int, list[Identifier]] = {}  # values of each buffer, one after another

    def result(self) -> Abstract:
        """Translate the schedule to an abstract memory problem of values and ops."""
        flow = self.flow
        updated = {b for s in flow.commits for b in flow.writes[s] if self.roles[b] == "parameter"}
        resident = [self._value(flow.names[buffer], 0, buffer) for buffer in sorted(updated)]
        read = {b for reads in flow.reads for b in reads}  # nobody copies what no step reads
        staged = [
            self._value(flow.names[b], self.problem.numbers.arena_bytes(b), b)
            for b in sorted(self.problem.staged & read)
        ]
        if staged:
            self._add(MemoryOp(_STAGED, _STAGED, (), tuple(staged), max_runs=1))
        checked = ""
        for step in range(len(flow.writes)):
            if flow.checks and not checked and step in flow.commits:
                checked = _LOOKED
                looks = tuple(map(_look, flow.checks))
                outputs = (self._value(checked, 0),)
                self._add(MemoryOp(_LOOKED, _LOOKED, looks, outputs, max_runs=1))
            self._add(self._translate_step(step, checked), step)
        problem = MemoryProblem(
            values=tuple(self.values),
            ops=tuple(self.ops),
            resident=frozenset(resident),
            outputs=tuple(v for b, v in self.current.items() if self.roles[b] == "output"),
            name=flow.schedule.name,
        )
        net = Net.of(problem)
        numbers = {b: [net.numbers[v] for v in values] for b, values in self.versions.items()}
        ends = []
        for op, step in enumerate(self.step_of):
            written = self.flow.writes[step] if step >= 0 else ()
            versions = (v for b in written if len(numbers.get(b, ())) > 1 for v in numbers[b])
            ends.append(tuple(v for v in versions if v not in net.makes[op]))
        return Abstract(replace(net, ends=tuple(ends)), tuple(self.step_of))

    def _add(self, op: MemoryOp, step: int = -1) -> None:
        self.ops.append(op)
        self.step_of.append(step)

    def _value(self, name: Identifier, size: int, buffer: int | None = None) -> Identifier:
        self.values.append(MemoryValue(name, size))
        if buffer is not None:
            self.current[buffer] = name
        return name

    def _translate_step(self, step: int, checked: str) -> MemoryOp:
        """Translate a step to a recomputable op: inputs, outputs, in-place pairs, allowed runs."""
        flow, problem = self.flow, self.problem
        pairs = self._in_place(step)
        inputs = [self.current[b] for b in flow.reads[step] if b in self.current]
        outputs: list[Identifier] = []
        mutates: list[Identifier] = []
        for buffer in flow.writes[step]:
            previous = self.current.get(buffer)
            if self.roles[buffer] == "parameter":
                mutates.append(flow.names[buffer])
            elif self.roles[buffer] not in ("temp", "output"):
                continue
            name: Identifier = self.flow.names[buffer]
            size = self.problem.numbers.arena_bytes(buffer) if self.inside[buffer] else 0
            if buffer in self.current:
                name = f"{name} by {step}"
            self.versions.setdefault(buffer, []).append(name)
            outputs.append(self._value(name, size, buffer))
            if previous is not None and self.roles[buffer] != "parameter":
                inputs.append(previous)
                pairs.append((previous, outputs[-1]))
        if step in flow.checks:
            outputs.append(self._value(_look(step), 0))
        if mutates and checked:
            inputs.append(checked)
        if step in flow.collectives:
            outputs.append(self._value(_exchange(step), 0))
            inputs += map(
                _exchange, [earlier for earlier in flow.collectives if earlier < step][-1:]
            )
        unit = problem.repeats.unit[step]
        written = {b for member in unit for b in flow.writes[member]}
        again = problem.repeats.repeatable[step] and problem.retained.isdisjoint(written)
        scratch = (b for b in flow.writes[step] if self.roles[b] == "scratch")
        return MemoryOp(
            id=step,
            name=flow.schedule.steps[step].label,
            inputs=tuple(dict.fromkeys(inputs)),
            outputs=tuple(outputs),
            cost=problem.seconds[step],
            workspace=sum(map(problem.numbers.arena_bytes, scratch)),
            inplace=tuple(pairs),
            mutates=tuple(mutates),
            max_runs=None if again else 1,
        )

    def _in_place(self, step: int) -> list[Pair]:
        """Return the (operand, result) pairs of a step that may share bytes at these sizes."""
        offsets = self.problem.numbers.offsets[step]
        return [
            (self.current[pair.into], self.flow.names[pair.out])
            for pair in self.flow.in_place[step]
            if offsets[pair.out_operand] == offsets[pair.into_operand]
            and pair.out not in self.current
            and pair.into in self.current
        ]


def _look(step: int) -> str:
    return f"checks of {step}"


def _exchange(step: int) -> str:
    """Return a value of 0 bytes by which recomputation keeps the order of what all ranks do."""
    return f"exchange of {step}"

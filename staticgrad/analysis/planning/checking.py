"""A check that a plan of a problem is valid: its steps are carried out in order, as written.

It shares no code with searches and layouts, so that it finds their mistakes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from staticgrad.analysis.planning.problem import Identifier, MemoryOp, MemoryProblem
from staticgrad.errors import VerifyError
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class CheckedPlan:
    """The cost and the bytes of a plan: ``load`` is the most bytes alive at once, ``height`` the
    end of the highest allocation, 0 without offsets."""

    cost: float
    load: int
    height: int
    runs: int


def check_plan(
    problem: MemoryProblem,
    document: Mapping[str, Any],
    *,
    align: int = 1,
    budget: int | None = None,
    offsets: bool = True,
) -> CheckedPlan:
    """Execute a plan of an abstract problem step by step; return its cost and bytes."""
    state = _State(problem, align, document.get("arena"), offsets)
    steps = document.get("steps") or steps_of_order(problem, document.get("op_order", ()))
    for number, step in enumerate(steps):
        state.where = f"step {number}"
        if step[0] == "c":
            state.run(step[1], step[2] if len(step) > 2 else {})
        elif step[0] == "f":
            state.free(step[1])
        else:
            state.wrong(f"unknown kind {step[0]!r}")
    state.end()
    if budget is not None and max(state.peak, state.height) > budget:
        state.wrong(f"{max(state.peak, state.height)} bytes are more than the budget, {budget}")
    cost = sum(op.cost * state.runs[op.id] for op in problem.ops)
    return CheckedPlan(cost, state.peak, state.height, sum(state.runs.values()))


class _State:
    """The state while a plan is carried out."""

    def __init__(self, problem: MemoryProblem, align: int, arena: int | None, all_: bool) -> None:
        self.problem = problem
        self.align = align
        self.arena = arena
        self.must_place = all_
        self.present: set[Identifier] = set(problem.resident)
        self.updated: set[Identifier] = set()
        self.places: dict[Identifier, tuple[int, int]] = {}
        self.runs: Counter[Identifier] = Counter()
        self.bytes = self.peak = self.height = 0
        self.where = "the beginning"

    def wrong(self, text: str) -> NoReturn:
        raise VerifyError(f"memory plan of {self.problem.name!r}, {self.where}: {text}")

    def _up(self, size: int) -> int:
        return -(-size // self.align) * self.align

    def size(self, name: Identifier) -> int:
        """Bytes that a value owns."""
        return self._up(self.problem.bytes_owned(name))

    def free(self, name: Identifier) -> None:
        """Free the bytes of a value and of its views in the checked arena."""
        if name not in self.present:
            self.wrong(f"frees {name!r}, which is not there")
        if name in self.problem.resident and name not in self.problem.donated:
            self.wrong(f"frees {name!r}, which is resident and not donated")
        self.present.discard(name)
        if self.problem.by_id[name].alias_of is None:
            self.present -= {v for v in self.present if self.problem.bases[v] == name}
            self.bytes -= self.size(name)
            self.places.pop(name, None)

    def run(self, name: Identifier, options: Mapping[str, Any]) -> None:
        """Execute an op of a checked plan: its inputs must be present."""
        op = self.problem.op_by_id.get(name)
        if op is None:
            self.wrong(f"there is no op {name!r}")
        self.runs[name] += 1
        if op.max_runs is not None and self.runs[name] > op.max_runs:
            self.wrong(f"op {name!r} runs more often than {op.max_runs} times")
        self._read(op)
        offset_by_value = {str(key): at for key, at in options.get("offsets", {}).items()}
        over = {new: old for old, new in options.get("inplace", ())}
        for new, old in over.items():
            viewed = any(self.problem.bases[v] == old for v in self.present if v != old)
            owned = old in self.present and old not in self.problem.resident
            owned = owned and self.problem.by_id[old].alias_of is None
            fits = owned and self.size(old) >= self.size(new)
            if (old, new) not in op.inplace or viewed or not fits or new in self.present:
                self.wrong(f"op {op.id!r} cannot write {new!r} over {old!r}")
        new_bytes = 0
        for value in op.outputs:
            base = self.problem.bases[value]
            if base != value and base not in self.present and base not in op.outputs:
                self.wrong(f"op {name!r} makes {value!r}, a view of {base!r}, which is not there")
            if base == value and value not in over and value not in self.present:
                new_bytes += self.size(value)
                self._allocate(value, offset_by_value.get(str(value)), self.size(value))
        if op.workspace:
            self._allocate("workspace", offset_by_value.get("workspace"), self._up(op.workspace))
        self.bytes += new_bytes
        self.peak = max(self.peak, self.bytes + self._up(op.workspace))
        self.places.pop("workspace", None)
        for new, old in over.items():
            if old not in self.present:
                self.wrong(f"{old!r} is overwritten twice")
            self.present.discard(old)
            self.bytes += self.size(new) - self.size(old)
            if old in self.places:
                self.places[new] = (self.places.pop(old)[0], self.size(new))
        self.present.update(op.outputs)
        self.updated.update(op.mutates)

    def _read(self, op: MemoryOp) -> None:
        for value in op.inputs:
            if value not in self.present:
                self.wrong(f"op {op.id!r} reads {value!r}, which is not there")
            if self.problem.bases[value] in self.updated and value not in op.reads_updated:
                self.wrong(f"op {op.id!r} reads {value!r} after it was updated")

    def _allocate(self, name: Identifier, offset: int | None, size: int) -> None:
        """Allocate bytes inside of the checked arena where no other value is."""
        if offset is None:
            if self.must_place and size:
                self.wrong(f"{name!r} has no offset")
            return
        end = offset + size
        if offset < 0 or offset % self.align or (self.arena is not None and end > self.arena):
            self.wrong(f"{name!r} at [{offset}, {end}) is not within the arena, or not aligned")
        for neighbour, (begin, length) in self.places.items():
            if size and length and offset < begin + length and begin < end:
                self.wrong(f"{name!r} at [{offset}, {end}) overlaps {neighbour!r} at {begin}")
        self.places[name] = (offset, size)
        self.height = max(self.height, end)

    def end(self) -> None:
        """Check the conditions after all steps of a plan: outputs present, each op run."""
        self.where = "the end"
        for value in self.problem.outputs:
            if value not in self.present:
                self.wrong(f"output {value!r} is not there")
        for op in self.problem.ops:
            if op.mutates and self.runs[op.id] != 1:
                self.wrong(f"op {op.id!r} updates and ran {self.runs[op.id]} times")


def steps_of_order(problem: MemoryProblem, order: Sequence[Identifier]) -> list[list[Any]]:
    """Return the steps of a plan that runs ops in an order, without offsets.

    The order may repeat some; each value is freed after its last use.
    """
    needed = {problem.bases[name] for name in problem.outputs}
    steps: list[list[Any]] = []
    for name in reversed(order):
        op = problem.op_by_id[name]
        values_made = [v for v in op.outputs if problem.by_id[v].alias_of is None]
        used = dict.fromkeys(problem.bases[v] for v in op.inputs)
        used |= dict.fromkeys(problem.bases[v] for v in op.outputs if v not in values_made)
        ended = [v for v in (*values_made, *used) if v not in needed and v not in problem.resident]
        steps += [["f", v] for v in dict.fromkeys(ended)][::-1]
        steps.append(["c", name])
        needed = (needed - {*values_made}) | {*used} - {*values_made}
    return steps[::-1]

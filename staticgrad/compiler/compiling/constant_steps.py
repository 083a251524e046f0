"""The steps of a schedule that read constants alone: they run once, not in each run.

``constant_part`` computes what users write of constants. What the late passes and fusion make of
constants for kernels (filters of Winograd tiles, transposed and packed matrices, copies) exists in
the schedule alone. Its steps are run by whoever compiles, and their results are constants of
the rest, of the same kernels: all bits stay. Nothing is compiled or run here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from staticgrad.compiler.runtime.arena import Arena, address_of
from staticgrad.compiler.runtime.step import Program, Table
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import Buffer, Schedule, Step
from staticgrad.language.types.arrays import ArrayData
from staticgrad.support.records import dataclass, replace

#: Bytes of results that are held beyond those of the constants (of steps: ``GROWTH`` times those),
#: and bytes in which these are computed once whatever the budget of the program's runs is.
ROOM: Final = 1 << 20
#: Filters of Winograd tiles take 16 / 9 times the bytes of the filters: all fit.
GROWTH: Final = 2


@dataclass(frozen=True, eq=False)
class ConstantSteps:
    """The steps of a schedule that run once, by number; the others read ``results`` of them."""

    schedule: Schedule
    steps: frozenset[int]
    results: tuple[str, ...]

    @property
    def once(self) -> Schedule:
        """The constant steps as a schedule; its outputs are what the others read."""
        results = {*self.results}
        steps = [s for number, s in enumerate(self.schedule.steps) if number in self.steps]
        touched = {access.buffer for step in steps for access in step.accesses()}
        buffers = [
            replace(b, role="output", label=b.name, retained=False) if b.name in results else b
            for b in self.schedule.buffers
            if b.name in touched
        ]
        outputs = tuple((name, name) for name in self.results)
        return Schedule(f"{self.schedule.name} once", tuple(buffers), tuple(steps), outputs)

    @property
    def places(self) -> list[int]:
        """The numbers of the other steps."""
        return [number for number in range(len(self.schedule.steps)) if number not in self.steps]

    def fill_zeros(self) -> Schedule:
        """Return the rest with zeros in place of the results, for planning only."""
        buffers = [self.schedule.buffer(name) for name in self.results]
        return self.substitute_results({b.name: np.zeros(_size(b), b.dtype.numpy) for b in buffers})

    def substitute_results(self, arrays: Mapping[str, Any]) -> Schedule:
        """Return the other steps, with the results of the constant ones as constants."""
        steps = [self.schedule.steps[number] for number in self.places]
        touched = {access.buffer for step in steps for access in step.accesses()}
        touched |= {name for _, name in self.schedule.outputs}
        buffers = []
        for buffer in self.schedule.buffers:
            if buffer.name in arrays:
                data = ArrayData(arrays[buffer.name], buffer.dtype)
                buffer = replace(buffer, role="constant", data=data, retained=False)
            if buffer.name in touched or buffer.role not in ("constant", "temp", "scratch"):
                buffers.append(buffer)
        return replace(self.schedule, buffers=tuple(buffers), steps=tuple(steps))


def constant_steps(schedule: Schedule) -> ConstantSteps | None:
    """Return the steps that read constants alone and write temporaries; None if there are none.

    A step that may fail, or reads nothing, is left out. Results that others read take at most
    ``GROWTH`` times the bytes of the constants, and ``ROOM``: the largest are left out first.
    """
    constants = [buffer for buffer in schedule.buffers if buffer.role == "constant"]
    if not constants:
        return None
    room = ROOM + GROWTH * sum(map(_nbytes, constants))
    nbytes = {b.name: _nbytes(b) for b in schedule.buffers if isinstance(b.size, int)}
    writers = Counter(name for step in schedule.steps for name in step.writes())
    left_out: set[int] = set()
    while steps := _find_constant_steps(schedule, left_out):
        written = Counter(name for n in steps for name in schedule.steps[n].writes())
        others = [step for number, step in enumerate(schedule.steps) if number not in steps]
        read = {name for step in others for name in step.reads()}
        results = [name for name in written if name in read]
        refused = {name for name, count in written.items() if count < writers[name]}
        if not refused and sum(nbytes[name] for name in results) > room:
            refused = {max(results, key=lambda name: nbytes[name])}
        if not refused:
            return ConstantSteps(schedule, frozenset(steps), tuple(results))
        left_out |= {n for n in steps if not refused.isdisjoint(schedule.steps[n].writes())}
    return None


def run_steps(
    part: ConstantSteps, program: Program, plan: Plan, make_table: Callable[[Program, Plan], Table]
) -> dict[str, Any]:
    """Run the constant steps by a plan of them; return the results that other steps read."""
    table, arena = make_table(program, plan), Arena()
    arena.reserve(plan.peak_bytes)
    table.bind_arena(arena)
    arrays = {}
    for name in part.results:
        buffer = part.schedule.buffer(name)
        arrays[name] = np.empty(_size(buffer), buffer.dtype.numpy)
        table.bind(name, address_of(arrays[name]))
    table.run(arena)
    return arrays


def _find_constant_steps(schedule: Schedule, left_out: set[int]) -> list[int]:
    """Return the numbers of the steps that read constants, or what such steps write."""
    constants = {buffer.name for buffer in schedule.buffers if buffer.role == "constant"}
    temporaries = {
        buffer.name
        for buffer in schedule.buffers
        if buffer.role in ("temp", "scratch") and isinstance(buffer.size, int)
    }
    steps = []
    for number, step in enumerate(schedule.steps):
        read, modes = {*step.reads()}, {access.mode for access in step.accesses()}
        if number in left_out or not read or not read <= constants or not modes <= _MODES:
            continue
        written = {*step.writes()}
        if _is_literal(step) and written <= temporaries:
            constants |= written
            steps.append(number)
    return steps


#: What a step does to buffers that runs once: no index can fail, nothing is written over.
_MODES: Final = frozenset({"in", "out", "scratch"})


def _is_literal(step: Step) -> bool:
    return all(isinstance(size, int) for size in (*step.arguments, step.total))


def _size(buffer: Buffer) -> int:
    assert isinstance(buffer.size, int)  # that of a step without named sizes
    return buffer.size


def _nbytes(buffer: Buffer) -> int:
    return _size(buffer) * buffer.dtype.itemsize

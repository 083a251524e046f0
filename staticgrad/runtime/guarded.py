"""``debug=True``: a table whose plan runs step by step, in a guarded copy of all it may touch.

It hands the guard what it knows of a row: the buffers that its record points into, and the one
kernel to run. What is looked for, and what poison is, is said in ``runtime.guard``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from staticgrad.analysis.plan_check import verify_plan
from staticgrad.errors import KernelAccessError
from staticgrad.ir.call_step import CallStep
from staticgrad.ir.plan import Plan
from staticgrad.runtime.arena import Arena
from staticgrad.runtime.guard import ByteSpan, GuardedCopy, Touched, WatchedRun
from staticgrad.runtime.places import BufferPlaces, Moved
from staticgrad.runtime.step import Program, Table, fixed_addresses, nothing
from staticgrad.source import lines_of


class GuardedTable(Table):
    """A table whose every run is watched. Results and parameters have the bytes of a plain run.

    The caller's arrays and the parameters are written when all steps have passed, so that an error
    leaves them as they were. Costs a copy of all that the step touches, and about ten passes over
    it per step.
    """

    rows_of_steps = "single"

    def __init__(self, program: Program, plan: Plan) -> None:
        """Check the plan too, which the guard believes: who may touch what, and for how long.

        Raises:
            VerifyError: the plan breaks a promise of plans.
        """
        verify_plan(plan)
        super().__init__(program, plan)
        self._program = program
        self._nbytes = dict(plan.buffer_bytes)
        self._guard: WatchedRun | None = None
        self._copy: GuardedCopy | None = None
        self._places = BufferPlaces(plan, {})

    def _fixed_addresses(self, program: Program) -> Mapping[str, int]:
        """None: parameters and constants are reached through their guarded copies."""
        return {}

    def _pool_address(self) -> int:
        """None: in which worker's scratch a group works would differ from run to run."""
        return 0

    def _make_shadows(self, program: Program) -> None:
        """None: all is copied anyway."""

    def bind(self, buffer: str, address: int) -> None:
        """Note where a feed or output really is."""
        self._bound[self._outside[buffer]] = address

    def bind_arena(self, arena: Arena) -> None:
        """Nothing: the records point into the guarded copy."""

    def run(self, arena: Arena, begin_writing: Callable[[], object] = nothing) -> None:
        """As ``Table.run``, one row at a time.

        Raises:
            KernelAccessError: a kernel touched what it may not; nothing was written outside the
                guarded copy.
        """
        fixed = fixed_addresses(self._program)
        steps = {row.step: self._schedule.steps[row.step] for row in self.plan.steps if row.bodies}
        held = [access.buffer for step in steps.values() for access in step.accesses()]
        staged = {place.buffer for place in self.plan.placements}  # feeds copied into the arena
        outside = [n for n in held if n in fixed or (n in self._outside and n not in staged)]
        names = dict.fromkeys([*self._slots, *outside])  # bodies of no iterations leave no slot
        real = {n: fixed[n] if n in fixed else self._bound[self._outside[n]] for n in names}
        copy = self._copy = GuardedCopy(self.plan, real)
        self._point(copy)
        guard = self._guard = WatchedRun(self, arena, copy)
        try:
            super().run(copy.arena)
            guard.check_written()
            begin_writing()
            guard.publish()
        finally:
            self._guard = self._copy = None
        self.highest_touched = guard.highest

    def _call(self, first: int, last: int) -> None:
        if self._guard is not None:
            self._guard.run(first, last)

    def _point(self, copy: GuardedCopy) -> None:
        """Let the records point into a copy."""
        self._words.array[self._words.arena_words] = self._words.arena_offsets + copy.arena.base
        for buffer, span in copy.outside.items():
            for word, inside in self._slots.get(buffer, ()):
                self._words.array[word] = copy.base + span.begin + inside

    # -- what the guard asks ----------------------------------------------------------------------

    def run_row(self, row: int) -> None:
        """One step, on what the records point to."""
        super()._call(row, row + 1)

    def is_skipped(self, row: int) -> bool:
        """Whether a row has no iterations because an index of it cannot but fail."""
        return bool(self.plan.steps[row].fails)

    def touched(self, row: int, base: int) -> list[Touched]:
        """The buffers that a row's record points into, in bytes from ``base``."""
        planned = self.plan.steps[row]
        step = self._schedule.steps[planned.step]
        found = []
        for begin, access in zip(self._begins(row, base), step.accesses(), strict=True):
            span = ByteSpan(begin, begin + self._nbytes[access.buffer])
            found.append(Touched(access.buffer, span, access.mode))
        return found

    def _begins(self, row: int, base: int) -> Sequence[int]:
        """Where the buffer of each access begins: as the record says, or for bodies the plan."""
        planned = self.plan.steps[row]
        accesses = self._schedule.steps[planned.step].accesses()
        if planned.bodies and self._copy is not None:
            places = [self._places.find(access.buffer, row) for access in accesses]
            return [self._copy.begin(*p) for p in places if not isinstance(p, Moved)]
        words = self._words.of_row(self._words.first_rows[row], accesses)
        found = (int(self._words.array[word]) - base for word in words)
        return [begin - inside for begin, inside in zip(found, planned.offsets, strict=True)]

    def error(self, row: int, what: str, details: list[str]) -> KernelAccessError:
        """A fault of the kernel at a row, with the lines that it computes."""
        number = self.plan.steps[row].step
        step = self._schedule.steps[number]
        names = self._program.names
        name = ", ".join(names.get(kernel, "its kernel") for kernel in step.kernels())
        name = step.routine.name if isinstance(step, CallStep) else name
        return KernelAccessError(
            f"step {number}, {name} ({step.label}), {what}",
            details=[*details, f"it computes {lines_of(step.origins) or 'no line of yours'}"],
            hint="staticgrad, or an op or pass that you added, is wrong here, not your program",
            at=step.origins[0] if step.origins else None,
        )

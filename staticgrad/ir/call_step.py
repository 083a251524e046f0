"""A step that calls a routine: code of a library, or of a user, over operands and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field

from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_reach import Reach
from staticgrad.ir.routine import Routine
from staticgrad.ir.schedule import (
    Binding,
    Call,
    CheckWord,
    Control,
    Schedule,
    Scratch,
    StepBody,
    Touch,
)
from staticgrad.kept import cached_property
from staticgrad.records import dataclass
from staticgrad.source import Location
from staticgrad.types.dim import Size


@dataclass(frozen=True)
class CallStep:
    """One use of a routine: operands bound to buffers, arguments to sizes. See ``Step``.

    ``sizes`` are handed to the routine; ``operations`` is what one iteration is estimated to take.
    """

    routine: Routine
    operands: tuple[Binding, ...]
    sizes: tuple[Size, ...]
    total: Size = 1
    operations: Size = 0
    phase: int = 0
    label: str = field(default="", compare=False)
    origins: tuple[Location, ...] = field(default=(), compare=False)

    @property
    def arguments(self) -> tuple[Size, ...]:
        """The sizes, then the iterations and the operations of one."""
        return (*self.sizes, self.total, self.operations)

    @property
    def grain(self) -> int:
        """One iteration; all of a routine that runs alone."""
        return 0 if self.routine.alone else 1

    @cached_property
    def _accesses(self) -> tuple[Touch, ...]:
        return tuple(
            Touch(f"p{n}", b.buffer, dtype, b.offset * dtype.itemsize, mode, b.updated)
            for n, ((mode, dtype), b) in enumerate(
                zip(self.routine.operands, self.operands, strict=True)
            )
        )

    def accesses(self) -> tuple[Touch, ...]:
        """One for each operand, in their order."""
        return self._accesses

    def reaches(self, arguments: tuple[int, ...]) -> tuple[Reach, ...]:
        """Any byte of every buffer: nobody knows what the routine does."""
        return (None,) * len(self.operands)

    def in_place(self) -> tuple[tuple[int, int], ...]:
        """None."""
        return ()

    def scratch(self) -> tuple[Scratch, ...]:
        """The scratch operands."""
        return tuple(Scratch(a.buffer, "worker") for a in self._accesses if a.mode == "scratch")

    def checks(self) -> tuple[CheckWord, ...]:
        """The check operands: in which iteration the routine failed, and how."""
        return tuple(
            CheckWord(number, access.name, access.buffer)
            for number, access in enumerate(self._accesses)
            if access.mode == "check"
        )

    def kernels(self) -> tuple[Kernel, ...]:
        """None."""
        return ()

    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        """Its routine, once."""
        *sizes, total, operations = arguments
        return (Call(self.routine, tuple(sizes), 1, float(total * operations)),)

    def bodies(self) -> tuple[StepBody, ...]:
        """None."""
        return ()

    @property
    def control(self) -> Control:
        """That of no bodies."""
        return Control()

    def reads(self) -> Iterator[str]:
        """Buffers read, in operand order."""
        return (a.buffer for a in self._accesses if a.mode in ("in", "inout"))

    def writes(self) -> Iterator[str]:
        """Buffers written, in operand order."""
        return (a.buffer for a in self._accesses if a.mode != "in")


def routines(schedule: Schedule) -> tuple[Routine, ...]:
    """The distinct routines that a schedule calls, those of bodies too."""
    found: dict[Routine, None] = {}
    waiting = [schedule]
    while waiting:
        for step in waiting.pop().steps:
            if isinstance(step, CallStep):
                found[step.routine] = None
            waiting += [body.schedule for body in step.bodies()]
    return tuple(found)

"""A step that calls a routine: code of a library, or of a user, over operands and sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from staticgrad.ir.kernels.stages import Mode
from staticgrad.ir.routine import Routine
from staticgrad.ir.schedule import Binding, BoundOperands, Call, Schedule
from staticgrad.records import dataclass
from staticgrad.source import Location
from staticgrad.types.dim import Size
from staticgrad.types.dtype import DType


@dataclass(frozen=True)
class CallStep(BoundOperands):
    """One use of a routine: operands bound to buffers, arguments to sizes. See ``Step``. Nobody
    knows which bytes of its operands it touches.

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

    def operand_types(self) -> Iterable[tuple[str, Mode, DType]]:
        """Those of the routine, by number. A check tells in which iteration it failed, and how."""
        return ((f"p{n}", mode, dtype) for n, (mode, dtype) in enumerate(self.routine.operands))

    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        """Its routine, once."""
        *sizes, total, operations = arguments
        return (Call(self.routine, tuple(sizes), 1, float(total * operations)),)


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

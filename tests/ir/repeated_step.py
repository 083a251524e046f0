"""A step of the tests' own class: two bodies that take turns, as often as it has iterations."""

from dataclasses import dataclass, field

from staticgrad.language.ir.schedule import Schedule, Scratch, Step, StepBody, Touch
from staticgrad.language.ir.schedule_text import register_form
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import F32
from staticgrad.language.types.lexis import name_text
from staticgrad.support.source import Location


@dataclass(frozen=True)
class Repeated(Step):
    """``carry`` -> ``next_carry`` by the first body, back by the second, and again.

    Each body reads its input "a" and writes its output "b"; both are f32, as the step's buffers.
    """

    carry: str
    next_carry: str
    room: str
    total: Size
    first: Schedule
    second: Schedule
    phase: int = 0
    label: str = field(default="", compare=False)
    origins: tuple[Location, ...] = field(default=(), compare=False)
    grain: int = 0

    @property
    def arguments(self):
        """The number of iterations, then the arguments of all steps of both bodies."""
        inner = (a for b in (self.first, self.second) for step in b.steps for a in step.arguments)
        return (self.total, *inner)

    def accesses(self):
        return (
            Touch("here", self.carry, F32, 0, "inout", False),
            Touch("there", self.next_carry, F32, 0, "out", False),
            Touch("room", self.room, F32, 0, "scratch", False),
        )

    def text(self, names):
        places = ", ".join(map(name_text, (self.carry, self.next_carry, self.room)))
        return f"repeat ({places}) total {self.total}"

    def scratch(self):
        return (Scratch(self.room, "bodies"),)

    def kernels(self):
        return tuple(dict.fromkeys((*self.first.kernels, *self.second.kernels)))

    def calls(self, arguments):
        calls = []
        at = 1
        for step in (*self.first.steps, *self.second.steps):
            end = at + len(step.arguments)
            calls += step.calls(arguments[at:end])
            at = end
        return tuple(call._replace(times=call.times * arguments[0]) for call in calls)

    def bodies(self):
        return StepBody(self.first, (("a", 0), ("b", 1))), StepBody(
            self.second, (("a", 1), ("b", 0))
        )

    def reads(self):
        yield self.carry

    def writes(self):
        yield from (self.carry, self.next_carry, self.room)


def _read(reader):
    reader.expect("(")
    names = [reader.buffer_name()]
    while reader.accept(","):
        names.append(reader.buffer_name())
    reader.expect(")")
    reader.expect("total")
    carry, next_carry, room = names
    total, end = reader.size(), reader.step_end()
    return Repeated(carry, next_carry, room, total, reader.body(), reader.body(), *end)


register_form("repeat", _read)

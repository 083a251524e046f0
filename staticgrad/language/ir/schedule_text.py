"""Schedules and plans read back from text; ``schedule`` and ``plan`` have the forms.

Whether the numbers of a plan are right is for the check of plans, not for this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final, get_args

import numpy.typing as npt

from staticgrad.language.ir.bodies import USES, BodyOperand, BodyStep, Kind
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.parser import KernelReader
from staticgrad.language.ir.kernels.stages import Mode
from staticgrad.language.ir.plan import Placement, Plan, PlannedStep
from staticgrad.language.ir.routines import Routine
from staticgrad.language.ir.schedule import Binding, Buffer, CallStep, KernelStep, Schedule, Step
from staticgrad.language.ir.text import bound_constants
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.language.types.lexis import Tokens, name_text
from staticgrad.support.source import Location

_ROLES: Final = ("input", "parameter", "constant", "temp", "output", "scratch", "check")


# -- reading --------------------------------------------------------------------------------------


def parse_schedule(
    text: str, *, constants: Mapping[str, npt.ArrayLike] | None = None, file: str = "<text>"
) -> Schedule:
    """Parse the text of a schedule."""
    reader = ScheduleReader(Tokens(text, file), bound_constants(constants))
    reader.header("schedule", "schedule")
    reader.size_declarations()
    schedule = reader.schedule()
    reader.expect_end("schedule")
    return schedule


class ScheduleReader(KernelReader):
    """Reads one schedule; ``kernels`` are by the names that the text gives them."""

    def __init__(self, tokens: Tokens, constants: dict[str, ArrayData] | None = None) -> None:
        super().__init__(tokens, constants)
        self.kernels: dict[str, Kernel] = {}
        self._buffers: dict[str, Buffer] = {}
        self._names_in: dict[int, tuple[dict[str, Kernel], dict[str, Buffer]]] = {}
        self._idle: dict[str, int] = {}  # kernels without a step, with the token that names them

    def schedule(self) -> Schedule:
        """Parse ``schedule step { buffers, kernels and steps; return }`` of a printed schedule."""
        self.expect("schedule")
        name = self.name("the schedule's name")
        self.expect("{", "the schedule's name")
        steps: list[Step] = []
        while not self.accept("}") and not self.accept("return"):
            word = self.texts[self.at] if self.kinds[self.at] == "name" else ""
            if word in _FORMS:
                self.at += 1
                steps.append(_FORMS[word](self))
            elif word in ("kernel", "serial"):
                self._kernel()
            elif self.accept("buffer"):
                self._buffer()
            else:
                self.fail(
                    f"expected a buffer, kernel, step, 'return' or '}}', found {self.token_text}"
                )
        outputs: dict[str, str] = {}

        def parse_output() -> None:
            name = self._new(self.name("the name of an output"), outputs, "output")
            self.expect("=", "the name of the output")
            outputs[name] = self.buffer_name()

        if self.texts[self.at - 1] == "return":
            self.comma_list(parse_output)
            if not self.accept("}"):
                self.fail(f"expected ',' or '}}', found {self.token_text}")
        for kernel, at in self._idle.items():
            self.fail(f"no step uses the kernel {name_text(kernel)}", at)
        return Schedule(name, tuple(self._buffers.values()), tuple(steps), tuple(outputs.items()))

    def _buffer(self) -> None:
        """Parse a buffer of a printed schedule: its type, role, label and constant data."""
        at = self.at
        name = self._new(self.name("the name of a buffer"), self._buffers, "buffer")
        self.expect(":", "the buffer")
        declared = self.type()
        if declared.rank != 1:
            self.fail("a buffer has one size, in elements", at)
        role = self._word(_ROLES, "the role of a buffer")
        retained = self.accept("kept")
        over = self.name("an input") if self.accept("over") else ""
        label = self.name("a label") if self.kinds[self.at] == "string" else ""
        data = None
        if self.accept("="):
            at = self.at
            data = self.value()
            if not isinstance(data, ArrayData):
                self.fail("expected an array: f32[2] [1.0, 0.5], or f32[99] and its digest", at)
        dtype, size = declared.dtype, declared.shape[0]
        line = self.named_line()
        self._buffers[name] = Buffer(name, role, dtype, size, label, data, line, retained, over)  # type: ignore[arg-type]

    def _kernel(self) -> None:
        """Parse a kernel that a printed schedule defines, by its name."""
        serial = self.texts[self.at] == "serial"
        at = self.at + 1 + serial
        name, kernel = self.kernel(named=True)
        if name in self.kernels:
            self.fail(f"the kernel {name_text(name)} is defined twice", at)
        self.kernels[name] = kernel
        self._idle[name] = at

    def kernel_step(self) -> KernelStep:
        """Parse a step of a printed schedule: a kernel run, library call, loop or branch."""
        at = self.at
        name = self._declared_name(self.kernels, "a kernel defined before this line")
        kernel = self.kernels[name]
        self._idle.pop(name, None)
        operands, arguments = self.two_lists(
            self.binding, self.size, f"the kernel {name_text(name)}"
        )
        for what, bound, declared in (
            ("operands", operands, kernel.operands),
            ("arguments", arguments, kernel.arguments),
        ):
            if len(bound) != len(declared):
                self.fail(
                    f"{name_text(name)} has {len(declared)} {what}, {len(bound)} are given", at
                )
        self.expect("total", "the operands")
        total = self.size()
        self.expect("grain", "the number of iterations")
        grain = self.integer("the iterations of a group")
        return KernelStep(kernel, tuple(operands), tuple(arguments), total, grain, *self.step_end())

    def step_end(self) -> tuple[int, str, tuple[Location, ...]]:
        """The phase, the label and the lines behind a step."""
        phase = self.integer("the phase") if self.accept("^") else 0
        label = self.name("a label") if self.kinds[self.at] == "string" else ""
        origin = self.named_line()
        return phase, label, () if origin is None else origin.places

    def body(self) -> Schedule:
        """Parse the body of a loop or branch in a printed schedule: a schedule of its own."""
        outside = (self.kernels, self._buffers, self._idle)
        self.kernels, self._buffers, self._idle = {}, {}, {}
        schedule = self.schedule()
        self._names_in[id(schedule)] = self.kernels, self._buffers
        self.kernels, self._buffers, self._idle = outside
        return schedule

    @contextmanager
    def inside(self, body: Schedule) -> Iterator[None]:
        """While names are those of a body that was read before."""
        outside = (self.kernels, self._buffers)
        self.kernels, self._buffers = self._names_in[id(body)]
        yield
        self.kernels, self._buffers = outside

    def binding(self) -> Binding:
        """A buffer, and the element from which on it is bound."""
        name = self.buffer_name()
        offset = self.size(0) if self.texts[self.at] in ("+", "-") else 0
        return Binding(name, offset, self.accept("updated"))

    def operand(self) -> tuple[Mode, DType, Binding]:
        """Parse an operand: its mode, element type and binding."""
        mode = self._word(("in", "out", "inout", "scratch", "check"), "a mode")
        binding = self.binding()
        return mode, self._buffers[binding.buffer].dtype, binding  # type: ignore[return-value]

    def body_operand(self) -> tuple[BodyOperand, Binding]:
        """Parse an operand of a printed loop or branch step: its use and its buffer."""
        use = self._word(USES, "what an operand is for")
        binding = self.binding()
        number = self.integer("a number") if self.accept("of") else 0
        named = self.kinds[self.at] in ("name", "string")
        name = self.name("a buffer of the body") if named else ""
        dtype = self._buffers[binding.buffer].dtype
        return BodyOperand(use, dtype, number, name), binding

    def bodies(self) -> Iterator[Schedule]:
        """The schedules that follow."""
        while self.texts[self.at] == "schedule":
            yield self.body()

    def buffer_name(self) -> str:
        """The name of a buffer declared before."""
        return self._declared_name(self._buffers, "a buffer of the schedule")


# -- kinds of steps -------------------------------------------------------------------------------

#: Reads what stands behind a keyword, with the step's label (``step_end``) and the bodies
#: (``body``) that are printed behind it.
ReadStep = Callable[[ScheduleReader], Step]
_FORMS: Final[dict[str, ReadStep]] = {}


def register_form(keyword: str, read: ReadStep) -> None:
    """Let schedules have steps of one more class in their text, which begins with a keyword."""
    _FORMS[keyword] = read


# -- calls ----------------------------------------------------------------------------------------


def _read_call_step(reader: ScheduleReader) -> CallStep:
    """Parse a step of a printed schedule that calls a library routine."""
    name = reader.name("the name of a routine")
    operands, sizes = reader.two_lists(
        reader.operand, reader.size, f"the routine {name_text(name)}"
    )
    reader.expect("total", "the operands")
    total = reader.size()
    reader.expect("operations", "the number of iterations")
    operations = reader.size()
    modes = tuple((mode, dtype) for mode, dtype, _ in operands)
    routine = Routine(name, modes, reader.accept("alone"))
    bound = tuple(binding for *_, binding in operands)
    return CallStep(routine, bound, tuple(sizes), total, operations, *reader.step_end())


# -- steps with bodies ----------------------------------------------------------------------------


def _read_body_step(reader: ScheduleReader, kind: Kind) -> BodyStep:
    """Parse a loop or branch step of a printed schedule, with its bodies."""
    reader.expect("(")
    read = reader.sequence(reader.body_operand, ")")
    iterations: Size = 1
    carries = slices = 0
    backwards, logged = False, tuple[int, ...]()
    if kind != "branch":
        reader.expect("iterations", "the operands")
        iterations = reader.size()
        reader.expect("carries", "the iterations")
        carries = reader.integer("the number of carried values")
        reader.expect("slices", "the carried values")
        slices = reader.integer("the number of arrays")
        backwards = reader.accept("backwards")
        while reader.accept("logged"):
            logged = (*logged, reader.integer("the number of a carried value"))
    end = reader.step_end()
    count = {"loop": 1, "while": 2}.get(kind, 0)
    schedules = [reader.body() for _ in range(count)] or [*reader.bodies()]
    types, operands = (
        tuple(operand_type for operand_type, _ in read),
        tuple(bound for _, bound in read),
    )
    counts = (iterations, carries, slices, backwards, logged)
    return BodyStep(kind, types, operands, tuple(schedules), *counts, *end)


register_form("step", ScheduleReader.kernel_step)
register_form("call", _read_call_step)
for _kind in get_args(Kind):
    register_form(_kind, partial(_read_body_step, kind=_kind))


# -- plans ----------------------------------------------------------------------------------------


def parse_plan(
    text: str, *, constants: Mapping[str, npt.ArrayLike] | None = None, file: str = "<text>"
) -> Plan:
    """Parse the text of a memory plan, with its schedule; see ``parse_schedule``."""
    reader = _PlanReader(Tokens(text, file), bound_constants(constants))
    reader.header("plan", "plan")
    reader.size_declarations()
    plan = reader.plan(reader.schedule())
    reader.expect_end("plan")
    return plan


class _PlanReader(ScheduleReader):
    """Reads one plan behind its schedule."""

    def plan(self, schedule: Schedule) -> Plan:
        """Parse a printed memory plan: sizes, arena, placements of buffers, planned steps."""
        self.expect("plan")
        self.expect("(", "plan")
        sizes: dict[str, int] = {}

        def size_value() -> None:
            quoted = self.kinds[self.at] == "size"
            token = self.take("size" if quoted else "name", "the name of a size")
            name = self._new(self.unquote(token[1:]) if quoted else token, sizes, "size")
            self.expect("=", "the name of the size")
            sizes[name] = self.integer("the value of the size")

        self.sequence(size_value, ")")
        self.expect("{", "the sizes")
        self.expect("arena")
        peak = self.integer("the bytes of the arena")
        self.expect("commit", "the bytes of the arena")
        commit = self.integer("the first step that writes a parameter")
        workers = self.integer("the number of workers") if self.accept("workers") else 1
        placements: list[Placement] = []
        while self.accept("place"):
            placements.append(self._placement())
        steps: list[PlannedStep] = []
        while self.accept("run"):
            steps.append(self._planned_step(schedule))
        nbytes: dict[str, int] = {}
        while self.accept("bytes"):
            at = self.at
            buffer = self.buffer_name()
            if buffer in nbytes:
                self.fail(f"the bytes of {name_text(buffer)} are given twice", at)
            nbytes[buffer] = self.integer("a number of bytes")
        if not self.accept("}"):
            self.fail(
                f"expected place, run, bytes (in that order) or '}}', found {self.token_text}"
            )
        return Plan(
            schedule=schedule,
            sizes=tuple(sizes.items()),
            steps=tuple(steps),
            placements=tuple(placements),
            peak_bytes=peak,
            commit=commit,
            buffer_bytes=tuple(nbytes.items()),
            workers=workers,
        )

    def _placement(self) -> Placement:
        """Parse the placement of a buffer in a printed plan: offset, bytes, live range."""
        buffer = self.buffer_name()
        self.expect("at", "the buffer")
        offset = self.integer("an offset in bytes")
        self.expect("bytes", "the offset")
        nbytes = self.integer("a number of bytes")
        self.expect("live", "the bytes")
        first = self.integer("the first step")
        self.expect("..", "the first step")
        return Placement(buffer, offset, nbytes, first, self.integer("the last step"))

    def _planned_step(self, schedule: Schedule) -> PlannedStep:
        """Parse a planned step of a printed plan, and check it against the schedule's step."""
        at = self.at
        number = self.integer("the number of a step")
        if number >= len(schedule.steps):
            self.fail(f"the schedule has {len(schedule.steps)} steps, counted from 0", at)
        step = schedule.steps[number]
        self.expect(":", "the number of the step")
        at = self.at
        bodies = step.bodies()
        name = self.name("the name of a kernel")
        kernels = step.kernels() if not bodies else ()
        names = {"bodies"} if bodies else {"call"}
        called = (self.kernels.get(name),) == kernels if kernels else name in names
        operands, arguments = self.two_lists(
            self._operand_and_offset, self._signed_integer, "the kernel"
        )
        bound = [access.buffer for access in step.accesses()]
        if (
            not called
            or [buffer for buffer, _ in operands] != bound
            or len(arguments) != len(step.arguments)
        ):
            self.fail(f"step {number} of the schedule is another kernel, or over other buffers", at)
        self.expect("total", "the operands")
        total = self.integer("the number of iterations")
        self.expect("grain", "the number of iterations")
        grain = self.integer("the iterations of a group")
        fails: list[str] = []
        if self.accept("fails"):
            fails = self.comma_list(lambda: self.name("the name of an operand"))
        offsets = tuple(offset for _, offset in operands)
        plans = []
        for body in bodies:
            with self.inside(body.schedule):
                plans.append(self.plan(body.schedule))
        counts = (total, grain, tuple(fails), tuple(plans))
        return PlannedStep(number, tuple(arguments), offsets, *counts)

    def _operand_and_offset(self) -> tuple[str, int]:
        buffer = self.buffer_name()
        return buffer, self._signed_integer() if self.accept("at") else 0

    def _signed_integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        return sign * self.integer("a number")

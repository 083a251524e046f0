"""Schedules as text, and read back.

::

    staticgrad-schedule 1
    size batch {min=1, hint=64}
    schedule step {
      buffer in.x: f32[10*batch] input "x"           # train.py:3
      buffer c1: f32[2] constant = f32[2] [1.0, 0.5]
      buffer t2: f32[10*batch] temp                  # train.py:8 [head]
      kernel k0(p0: in f32, p1: out f32; n0) {
        ...
      }
      step k0(in.x, t2 + 8*batch; 10*batch) total 10*batch grain 16384 ^1 "mul, add"  # train.py:8
      return z = out.z
    }

Buffers come first, with their size in elements; a constant of more than 16 elements is named by its
digest and bound from outside. A kernel stands before the first step that uses it. ``step`` binds
the kernel's operands, then its arguments; ``updated`` stands behind a parameter whose new value is
read; ``^k`` is the phase, the string the label, a comment the user's lines. ``kernels/text.py`` has
the form of kernels. ``call lapack.potrf(in t1, out t2, check k3; n) total 1 operations n**3`` calls
a routine; ``alone`` may stand behind it. Another kind of steps has a keyword of its own
(``StepForm``); schedules that it runs stand behind it.

Plans as text, and read back: the schedule, then the numbers for one set of sizes.

::

    staticgrad-plan 1
    size batch {min=1}
    schedule step {
      ...
    }
    plan(batch=64) {
      arena 8192 commit 2
      place t2 at 0 bytes 2560 live 0..1
      run 0: k0(in.x, t2 at 512; 640, -1) total 640 grain 16384   # mul, add
      bytes in.x 2560
    }

``arena`` is the peak in bytes, with ``workers 2`` behind it where there are several; ``place`` an
arena buffer's bytes and the positions of the first and last step that it lives for; ``run`` a step
of the schedule by number, in the order of the plan, with the byte offsets of its operands inside
their buffers, and behind ``fails`` its check operands that must fail, as there is an axis of size
0; ``bytes`` the size of every buffer. Behind a step of ``bodies`` stand their plans.
Whether the numbers are right is for the check of plans, not for this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, get_args

import numpy.typing as npt

from staticgrad.language.ir.bodies import USES, BodyOperand, BodyStep, Kind
from staticgrad.language.ir.calls import Routine
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.parser import KernelReader
from staticgrad.language.ir.kernels.stages import Mode
from staticgrad.language.ir.kernels.text import INDENT, kernel_lines
from staticgrad.language.ir.plan import Placement, Plan, PlannedStep
from staticgrad.language.ir.printer import (
    bound_constants,
    comment,
    distinct_sizes,
    header_line,
    size_lines,
)
from staticgrad.language.ir.schedule import Binding, Buffer, CallStep, KernelStep, Schedule, Step
from staticgrad.language.ir.text import INLINE_ELEMENTS, value_text
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dim import Named, Size
from staticgrad.language.types.dtype import DType
from staticgrad.language.types.lexis import Tokens, name_text, quoted
from staticgrad.support.records import NamedTuple
from staticgrad.support.source import Location

_ROLES: Final = ("input", "parameter", "constant", "temp", "output", "scratch", "check")


# -- writing --------------------------------------------------------------------------------------


def print_schedule(schedule: Schedule, *, comments: bool = True) -> str:
    """The canonical text; without ``comments`` nothing in it names the user's files."""
    lines = [header_line("schedule"), *size_lines(distinct_sizes(schedule.sizes()))]
    return "\n".join([*lines, *schedule_lines(schedule, comments)]) + "\n"


def kernel_names(schedule: Schedule) -> dict[Kernel, str]:
    """The name of every kernel in the text: ``k0``, ``k1``, in order of first use."""
    own = (kernel for step in schedule.steps for kernel in _own_kernels(step))
    return {kernel: f"k{number}" for number, kernel in enumerate(dict.fromkeys(own))}


def _own_kernels(step: Step) -> tuple[Kernel, ...]:
    """The kernels of a step that stand before it; those of bodies stand in them."""
    return () if step.bodies() else step.kernels()


def schedule_lines(schedule: Schedule, comments: bool = True) -> Iterator[str]:
    """``schedule step { ... }``, line by line."""
    yield f"schedule {name_text(schedule.name)} {{"
    for buffer in schedule.buffers:
        origins = () if buffer.origin is None or not comments else (buffer.origin,)
        yield INDENT + buffer_text(buffer) + comment(origins)
    names = kernel_names(schedule)
    written: set[str] = set()
    for step in schedule.steps:
        for kernel in _own_kernels(step):
            name = names[kernel]
            if name not in written:
                written.add(name)
                for line in kernel_lines(kernel, name):
                    yield INDENT + line
        yield INDENT + step_text(step, names) + comment(step.origins if comments else ())
        for body in step.bodies():
            for line in schedule_lines(body.schedule, comments):
                yield INDENT + INDENT + line
    returned = ", ".join(f"{name_text(n)} = {name_text(buffer)}" for n, buffer in schedule.outputs)
    if returned:
        yield f"{INDENT}return {returned}"
    yield "}"


def buffer_text(buffer: Buffer) -> str:
    """``buffer in.x: f32[784*batch] input "x"``."""
    label = f" {quoted(buffer.label)}" if buffer.label else ""
    data = "" if buffer.data is None else f" = {value_text(buffer.data)}"
    head = f"buffer {name_text(buffer.name)}: {buffer.dtype.code}[{buffer.size}]"
    return f"{head} {buffer.role}{' kept' if buffer.kept else ''}{label}{data}"


def step_text(step: Step, names: Mapping[Kernel, str]) -> str:
    """``step k0(in.x, t2 + 8; batch) total batch grain 16384 ^1 "mul"``."""
    form = _FORMS.get(getattr(step, "kind", "")) or next(
        form for form in _FORMS.values() if type(step) is form.kind
    )
    phase = f" ^{step.phase}" if step.phase else ""
    label = f" {quoted(step.label)}" if step.label else ""
    return f"{form.keyword} {form.write(step, names)}{phase}{label}"


def _kernel_step_text(step: Any, names: Mapping[Kernel, str]) -> str:
    operands = ", ".join(map(binding_text, step.operands))
    arguments = f"; {', '.join(map(str, step.arguments))}" if step.arguments else ""
    cut = f"total {step.total} grain {step.grain}"
    return f"{name_text(names[step.kernel])}({operands}{arguments}) {cut}"


def binding_text(binding: Binding) -> str:
    """A buffer, and the element from which on it is bound: ``t2 + 8*batch``."""
    name = name_text(binding.buffer)
    offset = str(binding.offset)
    if binding.offset != 0:
        name += f" - {offset[1:]}" if offset[0] == "-" else f" + {offset}"
    return f"{name} updated" if binding.updated else name


def schedule_constants(schedule: Schedule) -> dict[str, npt.NDArray[Any]]:
    """The arrays that the text names by digest: ``parse_schedule(text, constants=...)``."""
    data = (buffer.data for buffer in schedule.buffers)
    return {d.digest: d.array for d in data if d is not None and d.array.size > INLINE_ELEMENTS}


# -- reading --------------------------------------------------------------------------------------


def parse_schedule(
    text: str, *, constants: Mapping[str, npt.ArrayLike] | None = None, file: str = "<text>"
) -> Schedule:
    """Return the schedule that ``text`` describes."""
    reader = ScheduleReader(Tokens(text, file), bound_constants(constants))
    reader.header("schedule", "schedule")
    reader.size_declarations()
    schedule = reader.schedule()
    reader.finished("schedule")
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
        """``schedule step { buffers, kernels and steps; return }``."""
        self.expect("schedule")
        name = self.name("the schedule's name")
        self.expect("{", "the schedule's name")
        steps: list[Step] = []
        while not self.accept("}") and not self.accept("return"):
            word = self.texts[self.at] if self.kinds[self.at] == "name" else ""
            if word in _FORMS:
                self.at += 1
                steps.append(_FORMS[word].read(self))
            elif word in ("kernel", "serial"):
                self._kernel()
            elif self.accept("buffer"):
                self._buffer()
            else:
                self.fail(f"expected a buffer, kernel, step, 'return' or '}}', found {self.found}")
        outputs: dict[str, str] = {}

        def output() -> None:
            name = self._new(self.name("the name of an output"), outputs, "output")
            self.expect("=", "the name of the output")
            outputs[name] = self.buffer_name()

        if self.texts[self.at - 1] == "return":
            self.separated(output)
            if not self.accept("}"):
                self.fail(f"expected ',' or '}}', found {self.found}")
        for kernel, at in self._idle.items():
            self.fail(f"no step uses the kernel {name_text(kernel)}", at)
        return Schedule(name, tuple(self._buffers.values()), tuple(steps), tuple(outputs.items()))

    def _buffer(self) -> None:
        at = self.at
        name = self._new(self.name("the name of a buffer"), self._buffers, "buffer")
        self.expect(":", "the buffer")
        declared = self.type()
        if declared.rank != 1:
            self.fail("a buffer has one size, in elements", at)
        role = self._word(_ROLES, "the role of a buffer")
        kept = self.accept("kept")
        label = self.name("a label") if self.kinds[self.at] == "string" else ""
        data = None
        if self.accept("="):
            at = self.at
            data = self.value()
            if not isinstance(data, ArrayData):
                self.fail("expected an array: f32[2] [1.0, 0.5], or f32[99] and its digest", at)
        dtype, size = declared.dtype, declared.shape[0]
        line = self.named_line()
        self._buffers[name] = Buffer(name, role, dtype, size, label, data, line, kept)  # type: ignore[arg-type]

    def _kernel(self) -> None:
        serial = self.texts[self.at] == "serial"
        at = self.at + 1 + serial
        name, kernel = self.kernel(named=True)
        if name in self.kernels:
            self.fail(f"the kernel {name_text(name)} is defined twice", at)
        self.kernels[name] = kernel
        self._idle[name] = at

    def kernel_step(self) -> KernelStep:
        """Parse what follows ``step``."""
        at = self.at
        name = self._declared(self.kernels, "a kernel defined before this line")
        kernel = self.kernels[name]
        self._idle.pop(name, None)
        operands, arguments = self.listed(self.binding, self.size, f"the kernel {name_text(name)}")
        for what, given, own in (
            ("operands", operands, kernel.operands),
            ("arguments", arguments, kernel.arguments),
        ):
            if len(given) != len(own):
                self.fail(f"{name_text(name)} has {len(own)} {what}, {len(given)} are given", at)
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
        """A schedule inside of a step, with buffers and kernels of its own."""
        outside = (self.kernels, self._buffers, self._idle)
        self.kernels, self._buffers, self._idle = {}, {}, {}
        found = self.schedule()
        self._names_in[id(found)] = self.kernels, self._buffers
        self.kernels, self._buffers, self._idle = outside
        return found

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
        """Parse an operand of a step with bodies: its use and its binding."""
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
        return self._declared(self._buffers, "a buffer of the schedule")


# -- kinds of steps -------------------------------------------------------------------------------


class StepForm(NamedTuple):
    """The text form of a class of steps, after its keyword.

    ``write`` gives what stands between the keyword and the phase, with the names of kernels;
    ``read`` begins behind the keyword and ends behind the step, its label (``step_end``) and its
    bodies (``body``), which are printed behind it.
    """

    keyword: str
    kind: type
    write: Callable[[Any, Mapping[Kernel, str]], str]
    read: Callable[[ScheduleReader], Step]


_FORMS: Final[dict[str, StepForm]] = {}


def register_form(form: StepForm) -> None:
    """Let schedules have steps of one more class in their text."""
    _FORMS[form.keyword] = form


# -- calls ----------------------------------------------------------------------------------------


def _call_step_text(step: Any, _: Mapping[Kernel, str]) -> str:
    operands = ", ".join(
        f"{mode} {binding_text(binding)}"
        for (mode, _), binding in zip(step.routine.operands, step.operands, strict=True)
    )
    sizes = f"; {', '.join(map(str, step.sizes))}" if step.sizes else ""
    alone = " alone" if step.routine.alone else ""
    cut = f"total {step.total} operations {step.operations}{alone}"
    return f"{name_text(step.routine.name)}({operands}{sizes}) {cut}"


def _read_call_step(reader: ScheduleReader) -> CallStep:
    name = reader.name("the name of a routine")
    operands, sizes = reader.listed(reader.operand, reader.size, f"the routine {name_text(name)}")
    reader.expect("total", "the operands")
    total = reader.size()
    reader.expect("operations", "the number of iterations")
    operations = reader.size()
    modes = tuple((mode, dtype) for mode, dtype, _ in operands)
    routine = Routine(name, modes, reader.accept("alone"))
    bound = tuple(binding for *_, binding in operands)
    return CallStep(routine, bound, tuple(sizes), total, operations, *reader.step_end())


# -- steps with bodies ----------------------------------------------------------------------------


def _body_step_text(step: BodyStep, _: Mapping[Kernel, str]) -> str:
    operands = ", ".join(
        f"{operand.use} {binding_text(binding)}"
        + (f" of {operand.number}" if operand.use in ("turn", "check") else "")
        + (f" {name_text(operand.name)}" if operand.name else "")
        for operand, binding in zip(step.types, step.operands, strict=True)
    )
    if step.kind == "branch":
        return f"({operands})"
    way = " backwards" if step.backwards else ""
    way += "".join(f" logged {number}" for number in step.logged)
    counts = f"iterations {step.iterations} carries {step.carries} slices {step.slices}"
    return f"({operands}) {counts}{way}"


def _read_body_step(reader: ScheduleReader, kind: Kind) -> BodyStep:
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
    types, operands = tuple(each for each, _ in read), tuple(bound for _, bound in read)
    counts = (iterations, carries, slices, backwards, logged)
    return BodyStep(kind, types, operands, tuple(schedules), *counts, *end)


register_form(StepForm("step", KernelStep, _kernel_step_text, ScheduleReader.kernel_step))
register_form(StepForm("call", CallStep, _call_step_text, _read_call_step))
for _kind in get_args(Kind):
    register_form(StepForm(_kind, BodyStep, _body_step_text, partial(_read_body_step, kind=_kind)))


# -- plans ----------------------------------------------------------------------------------------


def print_plan(plan: Plan, *, comments: bool = True) -> str:
    """The canonical text; without ``comments`` nothing in it names the user's files."""
    lines = [header_line("plan"), *size_lines(distinct_sizes(plan.schedule.sizes()))]
    lines += schedule_lines(plan.schedule, comments)
    return "\n".join([*lines, *_plan_lines(plan)]) + "\n"


def _plan_lines(plan: Plan) -> Iterator[str]:
    sizes = ", ".join(f"{Named(name)}={value}" for name, value in plan.sizes)
    yield f"plan({sizes}) {{"
    workers = f" workers {plan.workers}" if plan.workers != 1 else ""
    yield f"{INDENT}arena {plan.peak_bytes} commit {plan.commit}{workers}"
    for place in plan.placements:
        where = f"at {place.offset} bytes {place.nbytes} live {place.first}..{place.last}"
        yield f"{INDENT}place {name_text(place.buffer)} {where}"
    names = kernel_names(plan.schedule)
    for planned in plan.steps:
        step = plan.schedule.steps[planned.step]
        comment = f"   # {' '.join(step.label.split())}" if step.label else ""
        yield INDENT + planned_text(planned, step, names) + comment
        for body in planned.bodies:
            for line in _plan_lines(body):
                yield INDENT + INDENT + line
    for buffer, nbytes in plan.buffer_bytes:
        yield f"{INDENT}bytes {name_text(buffer)} {nbytes}"
    yield "}"


def planned_text(planned: PlannedStep, step: Step, names: Mapping[Kernel, str]) -> str:
    """``run 0: k0(in.x, t2 at 512; 640) total 640 grain 16384``."""
    kernels = () if planned.bodies else step.kernels()
    operands = ", ".join(
        name_text(access.buffer) + (f" at {offset}" if offset else "")
        for access, offset in zip(step.accesses(), planned.offsets, strict=True)
    )
    arguments = f"; {', '.join(map(str, planned.arguments))}" if planned.arguments else ""
    cut = f"total {planned.total} grain {planned.grain}"
    cut += f" fails {', '.join(planned.fails)}" if planned.fails else ""
    name = ", ".join(name_text(names[kernel]) for kernel in kernels)
    name = name or ("bodies" if planned.bodies else "call")
    return f"run {planned.step}: {name}({operands}{arguments}) {cut}"


def parse_plan(
    text: str, *, constants: Mapping[str, npt.ArrayLike] | None = None, file: str = "<text>"
) -> Plan:
    """Return the plan that ``text`` describes, with its schedule; see ``parse_schedule``."""
    reader = _PlanReader(Tokens(text, file), bound_constants(constants))
    reader.header("plan", "plan")
    reader.size_declarations()
    plan = reader.plan(reader.schedule())
    reader.finished("plan")
    return plan


class _PlanReader(ScheduleReader):
    """Reads one plan behind its schedule."""

    def plan(self, schedule: Schedule) -> Plan:
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
            steps.append(self._planned(schedule))
        nbytes: dict[str, int] = {}
        while self.accept("bytes"):
            at = self.at
            buffer = self.buffer_name()
            if buffer in nbytes:
                self.fail(f"the bytes of {name_text(buffer)} are given twice", at)
            nbytes[buffer] = self.integer("a number of bytes")
        if not self.accept("}"):
            self.fail(f"expected place, run, bytes (in that order) or '}}', found {self.found}")
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
        buffer = self.buffer_name()
        self.expect("at", "the buffer")
        offset = self.integer("an offset in bytes")
        self.expect("bytes", "the offset")
        nbytes = self.integer("a number of bytes")
        self.expect("live", "the bytes")
        first = self.integer("the first step")
        self.expect("..", "the first step")
        return Placement(buffer, offset, nbytes, first, self.integer("the last step"))

    def _planned(self, schedule: Schedule) -> PlannedStep:
        at = self.at
        number = self.integer("the number of a step")
        if number >= len(schedule.steps):
            self.fail(f"the schedule has {len(schedule.steps)} steps, counted from 0", at)
        step = schedule.steps[number]
        self.expect(":", "the number of the step")
        at = self.at
        bodies = step.bodies()
        name = self.name("the name of a kernel")
        known = step.kernels() if not bodies else ()
        wanted = {"bodies"} if bodies else {"call"}
        called = (self.kernels.get(name),) == known if known else name in wanted
        operands, arguments = self.listed(self._placed, self._signed, "the kernel")
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
            fails = self.separated(lambda: self.name("the name of an operand"))
        offsets = tuple(offset for _, offset in operands)
        found = []
        for body in bodies:
            with self.inside(body.schedule):
                found.append(self.plan(body.schedule))
        counts = (total, grain, tuple(fails), tuple(found))
        return PlannedStep(number, tuple(arguments), offsets, *counts)

    def _placed(self) -> tuple[str, int]:
        buffer = self.buffer_name()
        return buffer, self._signed() if self.accept("at") else 0

    def _signed(self) -> int:
        sign = -1 if self.accept("-") else 1
        return sign * self.integer("a number")

"""Schedules: kernels and routines as steps over named sizes and buffers that have no place yet.

The listed order of steps is one valid order; what must stay in order follows from the buffers that
they read and write. Sizes stay symbolic: one Schedule serves every batch size. A ``CallStep`` calls
a routine, code of a library or of a user, over operands and sizes.

The text of a schedule, which ``schedule_text`` reads back:

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
(``Step.text``); schedules that it runs stand behind it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

import numpy.typing as npt

from staticgrad.language.ir.kernels.bodies import Reach, reaches
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Mode, is_own
from staticgrad.language.ir.kernels.text import INDENT, kernel_lines
from staticgrad.language.ir.routines import Routine
from staticgrad.language.ir.text import (
    INLINE_ELEMENTS,
    comment,
    distinct_sizes,
    header_line,
    size_lines,
    value_text,
)
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import DType
from staticgrad.language.types.lexis import name_text, quote
from staticgrad.support.caches import cached_property
from staticgrad.support.deprecations import deprecated_attribute
from staticgrad.support.records import NamedTuple, dataclass, fields_alone
from staticgrad.support.source import Location

Role = Literal["input", "parameter", "constant", "temp", "output", "scratch", "check"]


@dataclass(frozen=True)
class Buffer:
    """A contiguous span of ``size`` elements. temp, scratch and check buffers live in the arena.

    ``name``: unique in the schedule; for inputs, parameters and outputs the user's name follows in
    ``label``. ``origin`` is the line whose value it holds. ``retained``: the user wants to keep
    the value until its last use, whatever else is computed twice. ``over``: the input in whose
    place the next value of a carry is written; every read of that one comes first.
    """

    name: str
    role: Role
    dtype: DType
    size: Size
    label: str = ""
    data: ArrayData | None = field(default=None, compare=False)
    origin: Location | None = field(default=None, compare=False)
    retained: bool = False
    over: str = ""

    kept = deprecated_attribute("0.2", "retained")

    @property
    def nbytes(self) -> Size:
        return self.size * self.dtype.itemsize

    @property
    def in_arena(self) -> bool:
        return self.role in ("temp", "scratch", "check")


@dataclass(frozen=True)
class Binding:
    """The buffer that a kernel operand is bound to in one step, from element ``offset`` on.

    ``updated``: it reads a parameter's new value, which steps before it have written. Every other
    read of a parameter is one of its old value.
    """

    buffer: str
    offset: Size = 0
    updated: bool = False


class Touch(NamedTuple):
    """Bytes of ``buffer`` that a step touches, counted from ``begin``: ``Step.reaches`` says which.

    It reads or writes elements of ``dtype``. ``mode`` is that of a kernel's operand; ``updated``
    that of a ``Binding``; ``name`` is what messages call the access.
    """

    name: str
    buffer: str
    dtype: DType
    begin: Size
    mode: Mode
    updated: bool

    @property
    def is_own(self) -> bool:
        """True if each worker has its own bytes for it."""
        return is_own(self.mode)


class Scratch(NamedTuple):
    """A scratch buffer of a step: one for all of it, or one for each worker that runs it.

    That of ``bodies`` holds their arenas, of which one is in use at a time. Its size in the
    schedule is 0: the plan contains their number of bytes.
    """

    buffer: str
    per: Literal["step", "worker", "bodies"]


class OperandPlace(NamedTuple):
    """The location of a call's operand: a buffer, and the number of consecutive parts in it.

    ``buffer`` is of the schedule that has the step, or "" if a body of the step has it.
    """

    buffer: str
    parts: int = 1


class Call(NamedTuple):
    """Runs of a kernel or routine in one run of a step, with the values of its integer arguments.

    ``operations``: what one run of a routine is estimated to take; a kernel's follow from it.
    ``places``: of a call from a body, where each operand lies; of other calls, nothing.
    """

    kernel: Kernel | Routine
    arguments: tuple[int, ...]
    times: int = 1
    operations: float = 0.0
    places: tuple[OperandPlace, ...] = ()


class StepBody(NamedTuple):
    """A schedule that a step runs in an arena of its own.

    ``outside`` names its inputs, outputs and check words, each with the number of the step's access
    whose bytes it is. It writes no parameter. What is named in ``rows`` is in each iteration
    another part of those bytes, one behind the other; in ``carried``, a carried value by its number
    in ``Control.carries``, which one iteration writes and the next one reads: its bytes are those
    of ``outside`` in the first iteration where it is read, and in the last one where it is written.
    ``number`` is the input that holds the number of the iteration.
    """

    schedule: Schedule
    outside: tuple[tuple[str, int], ...]
    rows: frozenset[str] = frozenset()
    carried: tuple[tuple[str, int], ...] = ()
    number: str = ""


class Control(NamedTuple):
    """The bodies that a step runs, and their order.

    A ``loop`` runs all of them, in order, as often as the first of the step's arguments says. A
    ``while`` does, too, at most that often, but ends where a byte of access ``decides`` is 0 after
    its first body, the test. A ``branch`` runs the one whose number access ``decides`` holds.

    ``backwards``: the number of the iteration, and the rows that it takes, begin with the last.
    ``carries``: for each carried value the accesses of its first place, of its last one, and of
    the one with which that takes turns (the same where one is enough). ``done``: the access that
    gets how many iterations were made, or -1. ``logged``: the carried values whose last place has a
    row for what each iteration begins with, and one for what the last one ends with.
    """

    kind: Literal["loop", "while", "branch"] = "loop"
    decides: int = -1
    backwards: bool = False
    carries: tuple[tuple[int, int, int], ...] = ()
    done: int = -1
    logged: tuple[int, ...] = ()


class CheckWord(NamedTuple):
    """The two words in which a step notes an index that is out of range.

    ``access`` is their number among the step's accesses, ``name`` the name of that access.
    """

    access: int
    name: str
    buffer: str


class Step(ABC):
    """A step as all stages after lowering use it: the bytes that it touches, and its partition.

    ``total`` outer iterations in groups of ``grain`` (0: all are one group), which are independent:
    workers run them at the same time, each with scratch and check words of its own. ``arguments``
    are the sizes whose values it is given. ``phase``: the highest derivative order that it depends
    on (0 forward, 1 gradient, ...). ``origins`` are the user's lines it computes, ``label`` the
    ops, for people.

    A step runs one kernel over its iterations, or bodies, as its ``control`` says. How a class of
    steps is read from text is registered (``schedule_text.register_form``). What follows from the
    accesses is here; steps that touch parts of buffers, write over an operand, or have kernels or
    bodies override it.
    """

    if TYPE_CHECKING:  # fields of some classes, properties of others

        @property
        def arguments(self) -> tuple[Size, ...]: ...
        @property
        def total(self) -> Size: ...
        @property
        def grain(self) -> int: ...
        @property
        def phase(self) -> int: ...
        @property
        def label(self) -> str: ...
        @property
        def origins(self) -> tuple[Location, ...]: ...

    __getstate__ = fields_alone

    @abstractmethod
    def accesses(self) -> tuple[Touch, ...]:
        """Return what it touches, in an order that plans keep; a buffer may occur several times."""

    @abstractmethod
    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        """The kernels that one run of it calls, where its arguments have these values."""

    @abstractmethod
    def text(self, names: Mapping[Kernel, str]) -> str:
        """``step k0(in.x, t2 + 8; batch) total batch grain 16384``: a keyword, and what it runs.

        The names are those of kernels; the phase, the label and the bodies follow.
        """

    def reaches(self, arguments: tuple[int, ...]) -> tuple[Reach, ...]:
        """The bytes that each access touches where its arguments have these values.

        They are counted from the access's ``begin``; None: any of the buffer.
        """
        return (None,) * len(self.accesses())

    def in_place(self) -> tuple[tuple[int, int], ...]:
        """Pairs of accesses by number, (written, read), that may share bytes.

        Each element is read only where, and before, it is written.
        """
        return ()

    def scratch(self) -> tuple[Scratch, ...]:
        """The buffers that hold nothing before and after it."""
        return tuple(Scratch(a.buffer, "worker") for a in self.accesses() if a.mode == "scratch")

    @cached_property
    def _checks(self) -> tuple[CheckWord, ...]:
        return tuple(
            CheckWord(number, access.name, access.buffer)
            for number, access in enumerate(self.accesses())
            if access.mode == "check"
        )

    def checks(self) -> tuple[CheckWord, ...]:
        """Return the places where it notes indices that are out of range."""
        return self._checks

    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels that it runs, each once, those of bodies too."""
        return ()

    def bodies(self) -> tuple[StepBody, ...]:
        """The schedules that it runs; of a step that calls a kernel itself, none."""
        return ()

    @property
    def runs_loop(self) -> bool:
        """True if the step is a loop, or a branch with a loop in one of its cases."""
        bodies = self.bodies()
        if bodies and self.control.kind == "branch":
            return any(step.runs_loop for body in bodies for step in body.schedule.steps)
        return bool(bodies)

    @property
    def control(self) -> Control:
        """The way in which the step runs its bodies, if it has any."""
        return Control()

    def reads(self) -> Iterator[str]:
        """Buffers read, in the order of the accesses."""
        return (a.buffer for a in self.accesses() if a.mode in ("in", "inout"))

    def writes(self) -> Iterator[str]:
        """Buffers written, scratch and check words too, in the order of the accesses."""
        return (a.buffer for a in self.accesses() if a.mode != "in")


#: Makes a touch of its fields: a call of the class takes twice as long, for each of many.
_touch: Final = tuple.__new__


class BoundStep(Step):
    """A step whose operands are bound to buffers, one for each access, in their order."""

    operands: tuple[Binding, ...]

    def with_operands(self, operands: tuple[Binding, ...]) -> Self:
        """Return the same step with these operands."""
        step = cast(Any, self)  # each kind of step is a dataclass; this base has no fields
        return cast(Self, replace(step, operands=operands))

    @abstractmethod
    def operand_types(self) -> Iterable[tuple[str, Mode, DType]]:
        """Name, mode and element type of each operand."""

    @cached_property
    def _accesses(self) -> tuple[Touch, ...]:
        bound = zip(self.operand_types(), self.operands, strict=True)
        touched = [
            _touch(Touch, (name, b.buffer, dtype, b.offset * dtype.itemsize, mode, b.updated))
            for (name, mode, dtype), b in bound
        ]
        return tuple(touched)

    def accesses(self) -> tuple[Touch, ...]:
        return self._accesses


@dataclass(frozen=True)
class KernelStep(BoundStep):
    """One use of a kernel: operands bound to buffers, arguments to sizes. See ``Step``.

    ``total`` and ``grain`` follow from the kernel and the arguments, as in ``of``; they are fields
    because the text has them, and ``verify_schedule`` compares.
    """

    kernel: Kernel
    operands: tuple[Binding, ...]
    arguments: tuple[Size, ...]
    total: Size
    grain: int
    phase: int = 0
    label: str = field(default="", compare=False)
    origins: tuple[Location, ...] = field(default=(), compare=False)

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        operands: Sequence[Binding],
        arguments: Sequence[Size],
        phase: int = 0,
        label: str = "",
        origins: tuple[Location, ...] = (),
    ) -> KernelStep:
        """Make a schedule step that runs a kernel over bound operands, with its iterations and
        grain.
        """
        total, grain = kernel.iterations(arguments), kernel.grain(arguments)
        return cls(kernel, tuple(operands), tuple(arguments), total, grain, phase, label, origins)

    def operand_types(self) -> Iterable[tuple[str, Mode, DType]]:
        return ((o.name, o.mode, o.dtype) for o in self.kernel.operands)

    def text(self, names: Mapping[Kernel, str]) -> str:
        operands = ", ".join(map(binding_text, self.operands))
        arguments = f"; {', '.join(map(str, self.arguments))}" if self.arguments else ""
        cut = f"total {self.total} grain {self.grain}"
        return f"step {name_text(names[self.kernel])}({operands}{arguments}) {cut}"

    def reaches(self, arguments: tuple[int, ...]) -> tuple[Reach, ...]:
        return reaches(self.kernel, arguments)

    @cached_property
    def _in_place(self) -> tuple[tuple[int, int], ...]:
        number = {operand.name: i for i, operand in enumerate(self.kernel.operands)}
        return tuple((number[out], number[read]) for out, read in sorted(self.kernel.in_place))

    def in_place(self) -> tuple[tuple[int, int], ...]:
        return self._in_place

    def kernels(self) -> tuple[Kernel, ...]:
        return (self.kernel,)

    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        return (Call(self.kernel, arguments),)


@dataclass(frozen=True, repr=False)
class Schedule:
    """Steps and the buffers between them.

    ``outputs`` maps output names to buffers of role output. Parameter buffers are written in place.
    """

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, str], ...]

    __getstate__ = fields_alone

    def __str__(self) -> str:
        return print_schedule(self)

    def __repr__(self) -> str:
        return f"<schedule of {self.name}: {len(self.steps)} steps, {len(self.buffers)} buffers>"

    def buffer(self, name: str) -> Buffer:
        """The buffer called ``name``."""
        return self.by_name[name]

    @cached_property
    def by_name(self) -> dict[str, Buffer]:
        return {b.name: b for b in self.buffers}

    def sizes(self) -> Iterator[Size]:
        """Yield every symbolic size of the schedule's steps, in the order of its text."""
        for buffer in self.buffers:
            yield buffer.size
        for step in self.steps:
            for access in step.accesses():
                yield access.begin
            yield from step.arguments
            yield step.total
            for body in step.bodies():
                yield from body.schedule.sizes()

    @property
    def constants(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that the text names by digest: ``sg.parse(text, constants=...)``."""
        data = (buffer.data for buffer in self.buffers)
        return {d.digest: d.array for d in data if d is not None and d.array.size > INLINE_ELEMENTS}

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Distinct kernels in order of first use."""
        return tuple(dict.fromkeys(kernel for step in self.steps for kernel in step.kernels()))


@dataclass(frozen=True)
class CallStep(BoundStep):
    """One use of a routine: operands bound to buffers, arguments to sizes. See ``Step``. The bytes
    of its operands that it touches are unknown.

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
        return (*self.sizes, self.total, self.operations)

    @property
    def grain(self) -> int:
        return 0 if self.routine.alone else 1

    def operand_types(self) -> Iterable[tuple[str, Mode, DType]]:
        return ((f"p{n}", mode, dtype) for n, (mode, dtype) in enumerate(self.routine.operands))

    def text(self, names: Mapping[Kernel, str]) -> str:
        """Print a schedule's step that calls a library routine: operands, sizes, iterations."""
        operands = ", ".join(
            f"{mode} {binding_text(binding)}"
            for (mode, _), binding in zip(self.routine.operands, self.operands, strict=True)
        )
        sizes = f"; {', '.join(map(str, self.sizes))}" if self.sizes else ""
        alone = " alone" if self.routine.alone else ""
        cut = f"total {self.total} operations {self.operations}{alone}"
        return f"call {name_text(self.routine.name)}({operands}{sizes}) {cut}"

    def calls(self, arguments: tuple[int, ...]) -> tuple[Call, ...]:
        *sizes, total, operations = arguments
        return (Call(self.routine, tuple(sizes), 1, float(total * operations)),)


def steps_of(schedule: Schedule) -> Iterator[Step]:
    """Yield the steps of a schedule, and after each those of the bodies that it runs."""
    for step in schedule.steps:
        yield step
        for body in step.bodies():
            yield from steps_of(body.schedule)


def routines(schedule: Schedule) -> tuple[Routine, ...]:
    """Return the distinct library routines that a schedule calls, those of bodies too."""
    calls = [step for step in steps_of(schedule) if isinstance(step, CallStep)]
    return tuple(dict.fromkeys(step.routine for step in calls))


# -- text -----------------------------------------------------------------------------------------


def print_schedule(schedule: Schedule, *, comments: bool = True) -> str:
    """The canonical text; without ``comments`` nothing in it names the user's files."""
    lines = [header_line("schedule"), *size_lines(distinct_sizes(schedule.sizes()))]
    return "\n".join([*lines, *schedule_lines(schedule, comments)]) + "\n"


def kernel_names(schedule: Schedule) -> dict[Kernel, str]:
    """The name of every kernel in the text: ``k0``, ``k1``, in order of first use."""
    kernels = (kernel for step in schedule.steps for kernel in _own_kernels(step))
    return {kernel: f"k{number}" for number, kernel in enumerate(dict.fromkeys(kernels))}


def _own_kernels(step: Step) -> tuple[Kernel, ...]:
    """The kernels of a step that stand before it; those of bodies stand in them."""
    return () if step.bodies() else step.kernels()


def schedule_lines(schedule: Schedule, comments: bool = True) -> Iterator[str]:
    """Yield the printed lines of a schedule: ``schedule step { ... }``."""
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
    label = f" {quote(buffer.label)}" if buffer.label else ""
    data = "" if buffer.data is None else f" = {value_text(buffer.data)}"
    head = f"buffer {name_text(buffer.name)}: {buffer.dtype.code}[{buffer.size}]"
    marks = " kept" if buffer.retained else ""
    marks += f" over {name_text(buffer.over)}" if buffer.over else ""
    return f"{head} {buffer.role}{marks}{label}{data}"


def step_text(step: Step, names: Mapping[Kernel, str]) -> str:
    """``step k0(in.x, t2 + 8; batch) total batch grain 16384 ^1 "mul"``."""
    phase = f" ^{step.phase}" if step.phase else ""
    label = f" {quote(step.label)}" if step.label else ""
    return f"{step.text(names)}{phase}{label}"


def binding_text(binding: Binding) -> str:
    """A buffer, and the element from which on it is bound: ``t2 + 8*batch``."""
    name = name_text(binding.buffer)
    offset = str(binding.offset)
    if binding.offset != 0:
        name += f" - {offset[1:]}" if offset[0] == "-" else f" + {offset}"
    return f"{name} updated" if binding.updated else name

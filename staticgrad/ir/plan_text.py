"""Plans as text, and read back: the schedule, then the numbers for one set of sizes.

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

from collections.abc import Iterator, Mapping

import numpy.typing as npt

from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.text import INDENT
from staticgrad.ir.plan import Placement, Plan, PlannedStep
from staticgrad.ir.printer import bound_constants, distinct_sizes, header_line, size_lines
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.ir.schedule_text import ScheduleReader, kernel_names, schedule_lines
from staticgrad.types.dim import Named
from staticgrad.types.lexis import Tokens, name_text

# -- writing --------------------------------------------------------------------------------------


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


# -- reading --------------------------------------------------------------------------------------


def parse_plan(
    text: str, *, constants: Mapping[str, npt.ArrayLike] | None = None, file: str = "<text>"
) -> Plan:
    """Return the plan that ``text`` describes, with its schedule; see ``parse_schedule``.

    Raises:
        ParseError: the text is not a plan; with the line, the column and the reason.
        ArgumentError: an array whose content is not that of its digest.
    """
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

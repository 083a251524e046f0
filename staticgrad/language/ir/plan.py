"""Plan: in which order, into which bytes. A Schedule at concrete sizes, placed in one arena.

The text of a plan, which ``schedule_text`` reads back: the schedule, then the numbers for one set
of sizes.

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
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.text import INDENT
from staticgrad.language.ir.schedule import (
    Buffer,
    Role,
    Schedule,
    Step,
    kernel_names,
    schedule_lines,
)
from staticgrad.language.ir.text import distinct_sizes, header_line, size_lines
from staticgrad.language.types.arrays import ALIGNMENT
from staticgrad.language.types.dim import Named
from staticgrad.language.types.lexis import name_text
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.support.pictures.ladder import Column


def own_stride(role: Role, nbytes: int) -> int:
    """Bytes from one worker's part of a buffer that each has for itself to the next one's.

    Check words lie one behind the other: they are written only where an index fails. Scratch begins
    on a border of 64 bytes.
    """
    return nbytes if role == "check" else -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Placement:
    """The bytes of an arena buffer: [offset, offset + nbytes) at positions [first, last].

    A buffer that is computed again has several, one after the other. Scratch and check words have
    a part for each worker in there, ``own_stride`` apart.
    """

    buffer: str
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One row of the driver's table: which step of the schedule, with every number filled in.

    ``fails``: the check operands whose indices look into an axis of size 0. Such a step has no
    iterations, and the run ends at its checks. ``grain``: the iterations of a group, 0 for all.
    ``bodies`` are the plans of the step's bodies: their arenas begin where its scratch for bodies
    has its place.
    """

    step: int
    arguments: tuple[int, ...]
    offsets: tuple[int, ...]  # per operand: byte offset of the binding inside its buffer
    total: int
    grain: int
    fails: tuple[str, ...] = ()
    bodies: tuple[Plan, ...] = ()


@dataclass(frozen=True, repr=False)
class Plan:
    """Order, placements and numbers for one set of sizes. A step may run several times.

    ``peak_bytes`` is the size of the arena: the step uses exactly it and allocates nothing else.
    ``commit`` is the index (into ``steps``) of the first step that writes a parameter: every
    run-time check has been made before it. ``workers`` may run it at the same time, each with its
    own scratch and check words, which ``peak_bytes`` and ``buffer_bytes`` count. ``remark`` tells
    how the plan was chosen; the text of a plan does not contain it.
    """

    schedule: Schedule
    sizes: tuple[tuple[str, int], ...]
    steps: tuple[PlannedStep, ...]
    placements: tuple[Placement, ...]
    peak_bytes: int
    commit: int
    buffer_bytes: tuple[tuple[str, int], ...] = ()  # every buffer, also those outside the arena
    remark: str = field(default="", compare=False)
    workers: int = 1

    def __str__(self) -> str:
        return print_plan(self)

    def __repr__(self) -> str:
        at = ", ".join(f"{name}={size}" for name, size in self.sizes) or "literal sizes"
        return (
            f"<plan of {self.schedule.name} at {at}: {len(self.steps)} runs of kernels,"
            f" an arena of {self.peak_bytes} bytes>"
        )

    def _repr_html_(self) -> str:
        return plan_html(self)

    @property
    def held_bytes(self) -> int:
        """Estimate the bytes that the plan's Python objects take, without its schedule.

        Counted as CPython lays them out: objects and tuples with their slots, integers beyond the
        small ones.
        """
        numbers = sum(len(step.arguments) + len(step.offsets) for step in self.steps)
        return (
            500
            + sum(body.held_bytes for step in self.steps for body in step.bodies)
            + 200 * len(self.steps)
            + 8 * numbers
            + 108 * len(self.placements)
            + 64 * len(self.buffer_bytes)
        )

    @property
    def constants(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays that the text names by digest: ``sg.parse(text, constants=...)``."""
        return self.schedule.constants

    def placement(self, buffer: str) -> Placement:
        """The first placement of an arena buffer."""
        return next(p for p in self.placements if p.buffer == buffer)


# -- text -----------------------------------------------------------------------------------------


def print_plan(plan: Plan, *, comments: bool = True) -> str:
    """The canonical text; without ``comments`` nothing in it names the user's files."""
    lines = [header_line("plan"), *size_lines(distinct_sizes(plan.schedule.sizes()))]
    lines += schedule_lines(plan.schedule, comments)
    return "\n".join([*lines, *_plan_lines(plan)]) + "\n"


def _plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the printed lines of a memory plan: arena, placements and planned steps."""
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
    """Print a planned step: ``run 0: k0(in.x, t2 at 512; 640) total 640 grain 16384``."""
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


# -- the picture: its arena over time -------------------------------------------------------------


def plan_picture(plan: Plan) -> str:
    """Draw the arena of a memory plan as HTML, for wide screens and phones."""
    from staticgrad.support.pictures.arena import WIDTH
    from staticgrad.support.pictures.markup import on_screens

    return f'<div class="scroll">{on_screens(lambda width: plan_svg(plan, width), WIDTH)}</div>'


def plan_svg(plan: Plan, width: int = 760) -> str:
    """Draw the arena of a memory plan as SVG: offsets over time, coloured by the writing step."""
    from staticgrad.support.pictures.arena import Allocation, arena

    by_name, columns = plan.schedule.by_name, columns_with_repeats(plan)
    boxes = [
        Allocation(
            _display_name(by_name[p.buffer]), p.offset, p.nbytes, p.first, p.last,
            columns[min(p.first, len(columns) - 1)] if columns else "f",
        )
        for p in plan.placements
        if p.nbytes
    ]  # fmt: skip
    return arena(boxes, len(plan.steps), plan.peak_bytes, columns, width)


def columns_of_steps(plan: Plan) -> list[Column]:
    """Return the column of each planned step in pictures: forward, backward, or an update."""
    roles = {buffer.name: buffer.role for buffer in plan.schedule.buffers}
    columns: list[Column] = []
    for planned in plan.steps:
        step = plan.schedule.steps[planned.step]
        updates = any(roles[name] == "parameter" for name in step.writes())
        columns.append("u" if updates else "b" if step.phase else "f")
    return columns


def columns_with_repeats(plan: Plan) -> list[Column]:
    """Return the columns of planned steps, with a column of their own for recomputed steps."""
    columns, ran = columns_of_steps(plan), set[int]()
    for position, planned in enumerate(plan.steps):
        if planned.step in ran:
            columns[position] = "q"
        ran.add(planned.step)
    return columns


def plan_html(plan: Plan) -> str:
    """Render a memory plan as HTML for a notebook."""
    from staticgrad.support.pictures.markup import details, fragment, paragraph, text_block

    drawn = plan_picture(plan) if plan.placements else ""
    return fragment(
        paragraph(repr(plan).strip("<>")), drawn, details("text", text_block(str(plan)))
    )


def _display_name(buffer: Buffer) -> str:
    name = buffer.label or buffer.name
    return f"{name} ({buffer.origin.resolve().label})" if buffer.origin else name

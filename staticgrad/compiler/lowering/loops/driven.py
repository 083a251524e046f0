"""The steps of loops and branches: the buffers bound to their operands, and their schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.analysis.liveness import TakingOver
from staticgrad.compiler.fusion.groups import Group, GroupValues, Key, ResultBuffer
from staticgrad.language.ir.bodies import BodyBuffer, BodyOperand, body_buffers
from staticgrad.language.ir.forms import BodyForm
from staticgrad.language.ir.schedule import Buffer, Schedule
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass

#: Iterations of a loop that only its test ends.
ENDLESS: Final = 2**62


@dataclass(frozen=True)
class LoweredBodies:
    """A loop or branch; ``operands``: its first operands, each a value and the first element.

    ``extra_operands``: the operands after those, with their additional buffers. ``stored``: the
    results that are read.
    """

    form: BodyForm
    types: tuple[BodyOperand, ...]
    operands: tuple[tuple[Key, Size], ...]
    extra_operands: tuple[tuple[BodyOperand, Buffer], ...]
    schedules: tuple[Schedule, ...]
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]
    stored: tuple[Key, ...]

    @property
    def inputs(self) -> int:
        """The number of operands that are inputs."""
        return sum(operand.use == "in" for operand in self.types)

    @cached_property
    def outer_operands(self) -> dict[BodyBuffer, int]:
        """The operand of each buffer of the bodies that comes from outside."""
        form, inputs = self.form, self.inputs
        input_operands, results = range(inputs), range(inputs, len(self.operands))
        return body_buffers(form.kind, form.carries, form.slices, input_operands, results)

    @property
    def iterations(self) -> Size:
        """The maximum number of iterations of a loop."""
        return ENDLESS if self.form.iterations is None else self.form.iterations


def lower_bodies(
    groups: GroupValues, group: Group, schedules: Sequence[Schedule], iterations: Size | None = None
) -> LoweredBodies:
    """Bind a loop's or branch's operands to buffers, given the schedules of its bodies.

    ``iterations`` replaces the loop's number if one iteration of these bodies runs several.
    """
    (node,) = group.nodes
    form = node.form
    assert isinstance(form, BodyForm)
    form = form if iterations is None else replace(form, iterations=iterations)
    read = groups.operand_locations(group)
    results = [ResultBuffer(node, number) for number in range(len(node.types))]
    types = [BodyOperand("in", arg.type.dtype) for arg in node.args]
    types += [BodyOperand("out", result_type.dtype) for result_type in node.types]
    extra_operands = []
    for number, carry_type in enumerate(node.types[: form.carries]):
        if number in form.logged or _is_updated_in_place(schedules[-1], number):
            continue
        double_buffer = Buffer(
            "s", "scratch", carry_type.dtype, carry_type.size, origin=node.origin
        )
        extra_operands.append((BodyOperand("turn", carry_type.dtype, number), double_buffer))
    if form.kind == "while":
        extra_operands.append((BodyOperand("test", BOOL), Buffer("s", "scratch", BOOL, 1)))
    for number, schedule in enumerate(schedules):
        for buffer in schedule.buffers:
            if buffer.role == "check":
                check = Buffer("k", "check", I64, 2, origin=buffer.origin)
                extra_operands.append((BodyOperand("check", I64, number, buffer.name), check))
    extra_operands.append((BodyOperand("room", I64), Buffer("s", "scratch", I64, 0)))
    return LoweredBodies(
        form,
        tuple(types),
        (*read, *((key, 0) for key in results)),
        tuple(extra_operands),
        tuple(schedules),
        tuple(dict.fromkeys(key for key, _ in read)),
        tuple(results),
        group.stored,
    )


def _is_updated_in_place(body: Schedule, number: int) -> bool:
    """Return whether an iteration may write a carry over its old value: then one place is enough.

    It may if the step that writes it, and no other one, reads the old value, where it writes.
    """
    old, new = f"in.c{number}", f"out.c{number}"
    readers = [step for step in body.steps if old in step.reads()]
    writers = [step for step in body.steps if new in step.writes()]
    if not readers:
        return True
    return readers == writers and len(readers) == 1 and TakingOver(readers[0]).may_update(new, old)

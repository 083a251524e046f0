"""The steps of loops and branches: the buffers bound to their operands, and their schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.compiler.fusion.groups import Group, GroupValues, Home, Key
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
    """A loop or branch; ``operands`` are its first operands: values from an element on.

    ``rest``: the operands after those, with the additional buffers that they need. ``stored``: the
    results that are read.
    """

    form: BodyForm
    types: tuple[BodyOperand, ...]
    operands: tuple[tuple[Key, Size], ...]
    rest: tuple[tuple[BodyOperand, Buffer], ...]
    schedules: tuple[Schedule, ...]
    reads: tuple[Key, ...]
    writes: tuple[Key, ...]
    stored: tuple[Key, ...]

    @property
    def inputs(self) -> int:
        """The number of operands that are inputs."""
        return sum(each.use == "in" for each in self.types)

    @cached_property
    def outside(self) -> dict[BodyBuffer, int]:
        """The operand of each buffer of the bodies that is outside of them."""
        form, inputs = self.form, self.inputs
        given, results = range(inputs), range(inputs, len(self.operands))
        return body_buffers(form.kind, form.carries, form.slices, given, results)

    @property
    def iterations(self) -> Size:
        """The maximum number of iterations of a loop."""
        return ENDLESS if self.form.iterations is None else self.form.iterations


def lower_bodies(
    groups: GroupValues, group: Group, schedules: Sequence[Schedule], iterations: Size | None = None
) -> LoweredBodies:
    """Return the loop or branch of a group, given the schedules of its bodies; ``iterations``
    replaces the loop's number if an iteration of these bodies runs several of the loop's."""
    (node,) = group.nodes
    form = node.form
    assert isinstance(form, BodyForm)
    form = form if iterations is None else replace(form, iterations=iterations)
    read = groups.places_of_operands(group)
    results = [Home(node, number) for number in range(len(node.types))]
    types = [BodyOperand("in", arg.type.dtype) for arg in node.args]
    types += [BodyOperand("out", each.dtype) for each in node.types]
    rest = []
    for number, each in enumerate(node.types[: form.carries]):
        if number in form.logged:
            continue
        turn = Buffer("s", "scratch", each.dtype, each.size, origin=node.origin)
        rest.append((BodyOperand("turn", each.dtype, number), turn))
    if form.kind == "while":
        rest.append((BodyOperand("test", BOOL), Buffer("s", "scratch", BOOL, 1)))
    for number, schedule in enumerate(schedules):
        for buffer in schedule.buffers:
            if buffer.role == "check":
                check = Buffer("k", "check", I64, 2, origin=buffer.origin)
                rest.append((BodyOperand("check", I64, number, buffer.name), check))
    rest.append((BodyOperand("room", I64), Buffer("s", "scratch", I64, 0)))
    return LoweredBodies(
        form,
        tuple(types),
        (*read, *((key, 0) for key in results)),
        tuple(rest),
        tuple(schedules),
        tuple(dict.fromkeys(key for key, _ in read)),
        tuple(results),
        group.stored,
    )

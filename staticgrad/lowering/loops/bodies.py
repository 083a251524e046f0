"""The steps of loops and branches: what their operands are bound to, and the schedules they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Home, Key
from staticgrad.ir.body_step import BodyOperand
from staticgrad.ir.forms import BodyForm
from staticgrad.ir.schedule import Buffer, Schedule
from staticgrad.records import dataclass
from staticgrad.types.dim import Size
from staticgrad.types.dtype import BOOL, I64

#: Iterations of a loop that only its test ends.
ENDLESS: Final = 2**62


@dataclass(frozen=True)
class LoweredBodies:
    """A loop or branch, and what its first operands stand for: values from an element on.

    ``rest``: the operands behind those, with the buffers that they need besides. ``stored``: the
    results that somebody reads.
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
    def iterations(self) -> Size:
        """How often the body of a loop runs, at most."""
        return ENDLESS if self.form.iterations is None else self.form.iterations


def lower_bodies(
    groups: Groups, group: Group, schedules: Sequence[Schedule], iterations: Size | None = None
) -> LoweredBodies:
    """The loop or branch of a group, given the schedules of its bodies; ``iterations`` are others
    than the loop's where an iteration of these bodies makes several of it."""
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

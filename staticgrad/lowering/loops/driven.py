"""Loops that the driver surely runs, decided without importing the modules that fuse loops.

The steps of loops and branches: the buffers bound to their operands, and their schedules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from staticgrad.fusion.groups import Group, GroupValues, Home, Key
from staticgrad.ir.bodies import BodyOperand
from staticgrad.ir.forms import BodyForm
from staticgrad.ir.kernels.stages import loops_of, nested
from staticgrad.ir.schedule import Buffer, Schedule, Step
from staticgrad.records import dataclass
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size, divide_exactly
from staticgrad.types.dtype import BOOL, I64

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


#: Most expressions, and statements run, that are worth writing out; most places of one loop.
MOST: Final = 6000
LONGEST: Final = 512
#: Numbers of rows that are tried, at most.
_TRIED: Final = 3


def readings(steps: Iterable[Step]) -> Iterator[tuple[Size | None, bool]]:
    """Yield candidates for the rows of a body, the largest first; None means a single row."""
    found: dict[Size, None] = {}
    for step in steps:
        if step.bodies() or len(step.kernels()) != 1:
            return
        (kernel,) = step.kernels()
        sizes = dict(zip(kernel.arguments, step.arguments, strict=True))
        stages = [stage for stage, _ in nested(kernel.stages)]
        for axis in (*kernel.axes, *(axis for stage in stages for axis in loops_of(stage))):
            extent = axis.extent if isinstance(axis.extent, int) else sizes[axis.extent]
            if not isinstance(extent, int) or extent > 1:
                found[extent] = None
    for rows in sorted(found, key=hint_value, reverse=True)[:_TRIED]:
        yield rows, True
        yield rows, False
    yield None, True


def places_of(extent: Size, rows: Size | None) -> tuple[int, bool] | None:
    """Return how many places of a loop are written out if there are ``rows`` rows, and whether
    they are those of one row; None if the loop cannot be written out."""
    if rows is not None:
        count = divide_exactly(extent, rows)
        if isinstance(count, int) and 1 <= count <= LONGEST:
            return count, True
    return (extent, False) if isinstance(extent, int) and extent <= LONGEST else None

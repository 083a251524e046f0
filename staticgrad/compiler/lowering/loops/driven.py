"""The steps of loops and branches: the buffers bound to their operands, and their schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from staticgrad.analysis.liveness import Flow, TakingOver
from staticgrad.compiler.fusion.groups import Group, GroupValues, Key, ResultBuffer
from staticgrad.language.ir.bodies import BodyBuffer, BodyOperand, body_buffers
from staticgrad.language.ir.forms import BodyForm
from staticgrad.language.ir.schedule import BoundStep, Buffer, KernelStep, Schedule, Step
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import BOOL, I64
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import sort_topologically

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
    *tests, body = schedules
    for number in range(form.carries):
        if number not in form.logged:
            body = _write_in_place(body, number)
    schedules = [*tests, body]
    for number, carry_type in enumerate(node.types[: form.carries]):
        if number in form.logged or has_one_place(schedules[-1], number):
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


def _write_in_place(body: Schedule, number: int) -> Schedule:
    """Let the steps of an iteration write a carry's next value over the present one, if they may.

    They may if the first of them reads what it writes over only where it writes, and an order
    exists in which all other steps that read it come first. What they go on from is written there
    too, so that no copy is left of steps that write some entries each. ::

        t1 = in.c0 with an entry; t2 = t1[j]; out.c0 = t1 with t2     ->     no t1: it is out.c0
    """
    old, new = f"in.c{number}", f"out.c{number}"
    while (ordered_base := _find_base(body, new)) is not None:
        body, base = ordered_base
        steps = tuple(_rename_buffer(step, base, new) for step in body.steps)
        body = replace(body, steps=steps, buffers=tuple(b for b in body.buffers if b.name != base))
    if old not in body.by_name:
        return body
    writers = [n for n, step in enumerate(body.steps) if new in step.writes()]
    first = writers[0]
    if not all(new in body.steps[n].reads() for n in writers[1:]):
        return body
    if not TakingOver(body.steps[first]).may_update(new, old):
        return body
    ordered = _listed_after_reads(body, first, old)
    if ordered is None:
        return body
    buffers = (replace(b, over=old) if b.name == new else b for b in ordered.buffers)
    return replace(ordered, buffers=tuple(buffers))


def _rename_buffer(step: Step, old: str, new: str) -> Step:
    """Return a step with one buffer in place of another one."""
    if not isinstance(step, BoundStep) or not any(b.buffer == old for b in step.operands):
        return step
    renamed = (replace(b, buffer=new) if b.buffer == old else b for b in step.operands)
    return step.with_operands(tuple(renamed))


def _find_base(body: Schedule, new: str) -> tuple[Schedule, str] | None:
    """Find the value that the first step which writes a buffer copies to write entries into it.

    Return the body with that step after all others that read the value, and its name; None if
    there is none, or no such order.
    """
    first = next(n for n, step in enumerate(body.steps) if new in step.writes())
    step = body.steps[first]
    if not isinstance(step, KernelStep):
        return None
    operands = zip(step.kernel.operands, step.operands, strict=True)
    bound = {operand.name: binding.buffer for operand, binding in operands}
    pairs = (step.kernel.copied_pair(stage) for stage in step.kernel.stages)
    target = body.by_name[new]
    for out, into in (pair for pair in pairs if pair is not None):
        base = body.by_name[bound[into]]
        alike = (base.role, base.dtype, base.size) == ("temp", target.dtype, target.size)
        if bound[out] == new and alike and TakingOver(step).may_update(new, base.name):
            ordered = _listed_after_reads(body, first, base.name)
            return None if ordered is None else (ordered, base.name)
    return None


def _listed_after_reads(body: Schedule, last: int, name: str) -> Schedule | None:
    """Return a body with all steps that read a buffer before one of them; None if none is valid."""
    readers = {n for n, step in enumerate(body.steps) if name in step.reads()} - {last}
    if max(readers, default=-1) < last:
        return body
    earlier = [*Flow(body).earlier_steps]
    earlier[last] = (*earlier[last], *readers)
    order = sort_topologically(earlier)
    if len(order) < len(body.steps):
        return None
    return replace(body, steps=tuple(body.steps[n] for n in order))


def has_one_place(body: Schedule, number: int) -> bool:
    """Return whether the next value of a carry needs no place of its own."""
    target = body.by_name[f"out.c{number}"]
    return bool(target.over) or f"in.c{number}" not in body.by_name

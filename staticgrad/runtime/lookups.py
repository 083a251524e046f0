"""Lookups by index in a planned step: which are sure to fail, and what an index that failed was.

A kernel moves an index that is out of range to position 0, notes it and reads on. An empty axis has
no position 0, so such a kernel must not run: it would read, or scatter, outside its operand.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from staticgrad.errors import IndexOutOfRange
from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernel import Check, Kernel, Map, statements
from staticgrad.ir.plan import PlannedStep
from staticgrad.ir.schedule import Schedule
from staticgrad.message import Related
from staticgrad.ops.indexing import out_of_range
from staticgrad.source import Location, capture


def failing_checks(kernel: Kernel, planned: PlannedStep) -> frozenset[str]:
    """The check operands that some index of the step is sure to fail.

    Where none is, no gather or scatter of the step meets an empty axis: the loops inside which it
    would look one up have no iterations.
    """
    if planned.total == 0 or all(operand.mode != "check" for operand in kernel.operands):
        return frozenset()
    numbers = dict(zip(kernel.arguments, planned.arguments, strict=True))
    failing: set[str] = set()
    for stage in kernel.stages:
        axis = stage.axis if isinstance(stage, Map) else None
        empty = axis is not None and numbers.get(str(axis.extent), axis.extent) == 0
        inside: set[str] = set()  # checked indices that vary along the stage's axis
        for check in statements(stage):
            if not isinstance(check, Check):
                continue
            if axis is not None and _varies(check.index, axis.name, inside):
                inside.add(check.name)
            unseen = empty and check.name in inside
            if numbers.get(str(check.extent), check.extent) == 0 and not unseen:
                failing.add(check.operand)
    return frozenset(failing)


def _varies(value: Expr, axis: str, inside: AbstractSet[str]) -> bool:
    """Whether a value is another one from iteration to iteration of the loop ``axis``."""
    return any(
        (part.op == "index" and part.attribute == axis)
        or (part.op == "ref" and part.attribute in inside)
        or (isinstance(part.attribute, Access) and part.attribute.stride(axis) != 0)
        for part in postorder((value,))
    )


def index_failure(
    schedule: Schedule,
    planned: PlannedStep,
    operand: str,
    position: int,
    found: int,
    at: Location | None,
) -> IndexOutOfRange:
    """The error about the index ``found``, which a step noted in its check operand.

    Several checks of a kernel may share the operand; the error is about the first that the index
    fails. It names the feeds that the index was read from, and the line of the run.
    """
    step = schedule.steps[planned.step]
    numbers = dict(zip(step.kernel.arguments, planned.arguments, strict=True))
    checks = [
        (check, int(numbers.get(str(check.extent), check.extent)))
        for stage in step.kernel.stages
        for check in statements(stage)
        if isinstance(check, Check) and check.operand == operand
    ]
    failed = [(c, e) for c, e in checks if not (-e if c.wrap else 0) <= found < e]
    check, extent = (failed or checks)[0]
    bound = {o.name: b.buffer for o, b in zip(step.kernel.operands, step.operands, strict=True)}
    read = dict.fromkeys(
        bound[part.attribute.operand]
        for part in postorder((check.index,))
        if isinstance(part.attribute, Access)
    )
    buffers = [buffer for name in read if (buffer := schedule.buffer(name)).role == "input"]
    related: list[Related] = [(f"feed {b.label!r}", b.dtype.name, b.origin) for b in buffers]
    related.append(("run", "", capture()))
    return out_of_range(found, extent, position, check.wrap, at, related)

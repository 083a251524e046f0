"""Lookups by index in a planned step: what an index that failed was, in the user's words."""

from __future__ import annotations

from staticgrad.building import capture
from staticgrad.errors import IndexOutOfRange
from staticgrad.errors.wording import Related
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.kernel_stages import Check, nested, statements
from staticgrad.ir.plan import PlannedStep
from staticgrad.ir.schedule import Call, Schedule
from staticgrad.ops.indexing import out_of_range
from staticgrad.source import Location


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
    checks = [
        (check, _extent(check, call))
        for call in step.calls(planned.arguments)
        for stage, _ in nested(call.kernel.stages)
        for check in statements(stage)
        if isinstance(check, Check) and check.operand == operand
    ]
    failed = [(c, e) for c, e in checks if not (-e if c.wrap else 0) <= found < e]
    check, extent = (failed or checks)[0]
    bound = {access.name: access.buffer for access in step.accesses()}
    read = dict.fromkeys(
        bound[part.attribute.operand]
        for part in postorder((check.index,))
        if isinstance(part.attribute, Access)
    )
    buffers = [buffer for name in read if (buffer := schedule.buffer(name)).role == "input"]
    related: list[Related] = [(f"feed {b.label!r}", b.dtype.name, b.origin) for b in buffers]
    related.append(("run", "", capture()))
    return out_of_range(found, extent, position, check.wrap, at, related)


def _extent(check: Check, call: Call) -> int:
    """The extent that a check compares with, as a number."""
    if isinstance(check.extent, int):
        return check.extent
    return call.arguments[call.kernel.arguments.index(check.extent)]

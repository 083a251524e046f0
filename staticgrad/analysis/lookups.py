"""Lookups by index that fail: which are sure to, and what an index was that failed in a run.

A kernel moves an index that is out of range to position 0, notes it and reads on; the error about
it is in the user's words. An empty axis has no position 0, so a kernel whose lookup there is sure
to fail must not run: it would read, or scatter, outside its operand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set as AbstractSet

from staticgrad.errors import IndexOutOfRange
from staticgrad.errors.wording import Related
from staticgrad.language.ir.bodies import role_of
from staticgrad.language.ir.expr import Access, Expr, postorder
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Check, Map, nested_stages, statements
from staticgrad.language.ir.plan import PlannedStep
from staticgrad.language.ir.schedule import Call, Schedule, Step
from staticgrad.language.ops.indexing import out_of_range
from staticgrad.support.building import capture
from staticgrad.support.records import NamedTuple
from staticgrad.support.source import Location


def failing_checks(step: Step, arguments: Sequence[int], total: int) -> tuple[str, ...]:
    """Return the names of a step's index checks that certainly fail: their axis is empty.

    Where none is, no gather or scatter of the step meets an empty axis: the loops inside which it
    would look one up have no iterations.
    """
    checks = step.checks()
    if total == 0 or not checks:
        return ()
    failing = {name for call in step.calls(tuple(arguments)) for name in _failing_operands(call)}
    return tuple(check.name for check in checks if check.name in failing)


def _failing_operands(call: Call) -> Iterator[str]:
    """Yield the check operands of a kernel that certainly fail: they index an empty axis."""
    if not isinstance(call.kernel, Kernel):
        return
    numbers = dict(zip(call.kernel.arguments, call.arguments, strict=True))
    for lookup in lookups_of(call.kernel):
        extents = [numbers.get(str(extent), extent) for extent in lookup.around]
        if numbers.get(str(lookup.extent), lookup.extent) == 0 and 0 not in extents:
            yield lookup.operand


class CheckedIndex(NamedTuple):
    """A checked index of a kernel: it is sure to fail where the ``extent`` of its axis is 0 and
    that of no axis ``around`` it. Extents are numbers, or arguments of the kernel by name."""

    operand: str
    extent: object
    around: tuple[object, ...]


def lookups_of(kernel: Kernel) -> Iterator[CheckedIndex]:
    """Yield the index checks of a kernel with the extents of the loops around them."""
    for stage, around in nested_stages(kernel.stages):
        outer = [axis.extent for axis in around]
        loops = stage.loops if isinstance(stage, Map) else ()
        inside: set[str] = set()  # checked indices that vary along the stage's loops
        for check in statements(stage):
            if not isinstance(check, Check):
                continue
            if any(_varies(check.index, axis.name, inside) for axis in loops):
                inside.add(check.name)
            seen = [axis.extent for axis in loops] if check.name in inside else []
            yield CheckedIndex(check.operand, check.extent, (*outer, *seen))


def _varies(value: Expr, axis: str, inside: AbstractSet[str]) -> bool:
    """Return True if a checked index varies over the iterations of the loop ``axis``."""
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
    index: int,
    at: Location | None,
    in_body: bool = False,
) -> IndexOutOfRange:
    """Return the error about an out-of-bounds index that a step noted in its check words.

    Several checks of a kernel may share the operand; the error is about the first that the index
    fails. It names the feeds that the index was read from, ``in_body`` what the body was given, and
    the line of the run.
    """
    step = schedule.steps[planned.step]
    checks = [
        (check, _extent(check, call.kernel, call.arguments))
        for call in step.calls(planned.arguments)
        if isinstance(call.kernel, Kernel)
        for stage, _ in nested_stages(call.kernel.stages)
        for check in statements(stage)
        if isinstance(check, Check) and check.operand == operand
    ]
    failed = [(c, e) for c, e in checks if not (-e if c.wrap else 0) <= index < e]
    check, extent = (failed or checks)[0]
    bound = {access.name: access.buffer for access in step.accesses()}
    read = dict.fromkeys(
        bound[part.attribute.operand]
        for part in postorder((check.index,))
        if isinstance(part.attribute, Access)
    )
    buffers = [buffer for name in read if (buffer := schedule.buffer(name)).role == "input"]
    related: list[Related] = [
        (role_of(b.label) if in_body else f"feed {b.label!r}", b.dtype.name, b.origin)
        for b in buffers
    ]
    related.append(("run", "", capture()))
    return out_of_range(index, extent, position, check.wrap, at, related)


def _extent(check: Check, kernel: Kernel, arguments: Sequence[int]) -> int:
    """The extent that a check compares with, as a number."""
    if isinstance(check.extent, int):
        return check.extent
    return arguments[kernel.arguments.index(check.extent)]

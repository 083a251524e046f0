"""Which lookups by index are sure to fail, whatever the operands hold.

A kernel moves an index that is out of range to position 0, notes it and reads on. An empty axis has
no position 0, so such a kernel must not run: it would read, or scatter, outside its operand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set as AbstractSet

from staticgrad.ir.expr import Access, Expr, postorder
from staticgrad.ir.kernel_stages import Check, Map, nested, statements
from staticgrad.ir.schedule import Call, Step


def failing_checks(step: Step, arguments: Sequence[int], total: int) -> tuple[str, ...]:
    """The names of the checks that some index is sure to fail, in the order of the step's.

    Where none is, no gather or scatter of the step meets an empty axis: the loops inside which it
    would look one up have no iterations.

    Args:
        step: what would run.
        arguments: the values of its arguments.
        total: its outer iterations.
    """
    checks = step.checks()
    if total == 0 or not checks:
        return ()
    failing = {name for call in step.calls(tuple(arguments)) for name in _failing(call)}
    return tuple(check.name for check in checks if check.name in failing)


def _failing(call: Call) -> Iterator[str]:
    """The check operands of a kernel that some index is sure to fail."""
    kernel = call.kernel
    numbers = dict(zip(kernel.arguments, call.arguments, strict=True))
    for stage, around in nested(kernel.stages):
        if any(numbers.get(str(axis.extent), axis.extent) == 0 for axis in around):
            continue
        loops = stage.loops if isinstance(stage, Map) else ()
        empty = any(numbers.get(str(axis.extent), axis.extent) == 0 for axis in loops)
        inside: set[str] = set()  # checked indices that vary along the stage's loops
        for check in statements(stage):
            if not isinstance(check, Check):
                continue
            if any(_varies(check.index, axis.name, inside) for axis in loops):
                inside.add(check.name)
            unseen = empty and check.name in inside
            if numbers.get(str(check.extent), check.extent) == 0 and not unseen:
                yield check.operand


def _varies(value: Expr, axis: str, inside: AbstractSet[str]) -> bool:
    """Whether a value is another one from iteration to iteration of the loop ``axis``."""
    return any(
        (part.op == "index" and part.attribute == axis)
        or (part.op == "ref" and part.attribute in inside)
        or (isinstance(part.attribute, Access) and part.attribute.stride(axis) != 0)
        for part in postorder((value,))
    )

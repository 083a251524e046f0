"""Branches written out: what all cases leave, and a choice of it.

A case of a few numbers costs less than to leave a kernel for it. All are computed, and ``select``
takes the elements of one: the bits are those of that case, and nothing of the others is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from staticgrad.ir.body_step import BodyStep
from staticgrad.ir.expr import Expr
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.lowering.loops.written_out import (
    Found,
    NotWrittenOutError,
    RowPlace,
    WrittenOut,
    bound_places,
)
from staticgrad.types.dim import Size
from staticgrad.types.dtype import BOOL, I64, DType

#: Runs the steps of a case.
Run = Callable[[WrittenOut, Schedule], None]


def branch_of(step: Step) -> BodyStep | None:
    """A step that takes one of several cases, if it is one."""
    return step if isinstance(step, BodyStep) and step.kind == "branch" else None


def write_branch(elements: WrittenOut, step: BodyStep, run: Run) -> None:
    """Let the buffers of a branch's results hold what the case of its index leaves there.

    Raises:
        NotWrittenOutError: a case that cannot be told row by row; one that checks an index, which
            must not fail where it is not taken; cases that leave other elements.
    """
    bound = [*bound_places(step).values()]
    index, *given = (bound[number] for number in step.numbers("in"))
    cases = [_case(elements, schedule, given, run) for schedule in step.schedules]
    taken = elements.load(index[0], RowPlace(0, index[1]), I64)
    for number, result in enumerate(step.numbers("out")):
        buffer, begin = bound[result]
        each = [case.memory.get(f"out.y{number}", {}) for case in cases]
        if any(held.keys() != each[0].keys() for held in each):
            raise NotWrittenOutError
        for place in each[0]:
            value = _chosen(elements, taken, [held[place] for held in each])
            elements.store(buffer, place._replace(at=place.at + begin), value)


def _case(
    elements: WrittenOut, schedule: Schedule, given: Sequence[tuple[str, Size]], run: Run
) -> WrittenOut:
    """The elements of one case, whose inputs are the branch's operands."""

    def source(name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
        buffer, begin = given[int(name.removeprefix("in.p"))]
        return elements.load(buffer, place._replace(at=place.at + begin), dtype, indices)

    case = elements.within(schedule, source)
    run(case, schedule)
    if case.lookups:
        raise NotWrittenOutError
    return case


def _chosen(elements: WrittenOut, index: Expr, values: list[Expr]) -> Expr:
    """The value of the case that an index names; the first and the last hold it."""
    chosen = values[-1]
    for number in reversed(range(len(values) - 1)):
        if values[number] is not chosen:
            below = elements.made("le", BOOL, (index, elements.literal(number, I64)))
            chosen = elements.made("select", chosen.dtype, (below, values[number], chosen))
    return chosen

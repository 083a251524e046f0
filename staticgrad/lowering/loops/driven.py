"""Which loops are plainly the driver's, told without the modules that make kernels of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from staticgrad.ir.body_step import BodyStep
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Gemm, loops_of, nested, statements
from staticgrad.ir.schedule import Step
from staticgrad.lowering.loops.bodies import LoweredBodies
from staticgrad.types.dim import Size, divide_exactly
from staticgrad.types.tensor import hint_value

#: Expressions, and statements run, of what is worth writing out, at most; places of one loop.
MOST: Final = 6000
LONGEST: Final = 512
#: Numbers of rows that are tried, at most.
_TRIED: Final = 3


def is_plainly_driven(bodies: LoweredBodies) -> bool:
    """Whether a loop of so many iterations has a product of matrices, which is no stage of joined
    iterations, and takes too many expressions to be written out, whatever its rows are."""
    if bodies.form.kind != "loop":
        return False
    steps = [*with_cases(bodies.schedules[0].steps)]
    stages = [
        stage for step in steps for each in step.kernels() for stage, _ in nested(each.stages)
    ]
    if not any(isinstance(stage, Gemm) for stage in stages):
        return False
    return all(_expressions(steps, rows) > MOST for rows, _ in readings(steps))


def readings(steps: Iterable[Step]) -> Iterator[tuple[Size | None, bool]]:
    """What may be the rows of a body, the most of them first; None: there is but one."""
    found: dict[Size, None] = {}
    for step in with_cases(steps):
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


def with_cases(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps, and those of cases in the place of a branch."""
    for step in steps:
        if isinstance(step, BodyStep) and step.kind == "branch":
            for case in step.schedules:
                yield from with_cases(case.steps)
        else:
            yield step


def places_of(extent: Size, rows: Size | None) -> tuple[int, bool] | None:
    """How many places of a loop are written out where rows are so many, and whether they are those
    of one row; None: it cannot be."""
    if rows is not None:
        count = divide_exactly(extent, rows)
        if isinstance(count, int) and 1 <= count <= LONGEST:
            return count, True
    return (extent, False) if isinstance(extent, int) and extent <= LONGEST else None


def _expressions(steps: Iterable[Step], rows: Size | None) -> float:
    """How many expressions steps take, at least: a statement has one, and is counted itself."""
    total = 0.0
    for step in steps:
        (kernel,) = step.kernels()
        total += _of_kernel(kernel, dict(zip(kernel.arguments, step.arguments, strict=True)), rows)
    return total


def _of_kernel(kernel: Kernel, sizes: dict[str, Size], rows: Size | None) -> float:
    total = 0.0
    for stage, around in nested(kernel.stages):
        combined = stage.k if isinstance(stage, Gemm) else ()
        each: float = 2 * len(statements(stage))
        for axis in (*kernel.axes, *around, *loops_of(stage)):
            extent = axis.extent if isinstance(axis.extent, int) else sizes[axis.extent]
            places = places_of(extent, rows)
            if places is None or (places[1] and axis in combined):
                return inf  # there is no row whose places are so many, or it would combine rows
            each *= places[0]
        total += each
    return total

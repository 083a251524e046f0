"""Which rows of a step a worker keeps where it runs several steps alone, and how rows are cut."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import LANES, Gemm, Map
from staticgrad.ir.plan import PlannedStep
from staticgrad.ir.schedule import Call, Step
from staticgrad.records import NamedTuple
from staticgrad.runtime.shares import ROWS, rows_of, shares

#: Predicted seconds of what returns at its end alone: signals wait for that.
LONGEST: Final = 0.01


class RowRange(NamedTuple):
    """Rows from ``first`` to ``behind``, of ``rows``: the part of this ``number``, of ``parts``."""

    number: int
    parts: int
    first: int
    behind: int
    rows: int

    def iterations(self, total: int) -> tuple[int, int]:
        """Those of a map over all rows, of so many iterations."""
        return self.first * total // self.rows, self.behind * total // self.rows


def call_of(step: Step, planned: PlannedStep) -> Call | None:
    """The kernel of a step, if it is one that notes nothing."""
    if planned.bodies or planned.fails or step.checks():
        return None
    (call,) = step.calls(planned.arguments)
    return call if isinstance(call.kernel, Kernel) else None


def ranges_of(kernel: Kernel, arguments: tuple[int, ...], parts: int) -> tuple[RowRange, ...]:
    """The rows of each part of a product, cut as ``shares`` are; none where it has no shares."""
    number, first, ranges = rows_of(kernel), 0, list[RowRange]()
    for part in shares(kernel, arguments, parts):
        assert number is not None
        behind = first + part.arguments[number]
        ranges.append(RowRange(len(ranges), parts, first, behind, arguments[number]))
        first = behind
    return tuple(ranges)


@lru_cache(maxsize=1024)
def row_loop(kernel: Kernel) -> tuple[str | None, int | str]:
    """The loop whose positions are rows, and its extent: of a product that over rows, else the
    outermost one, or all elements of a map as one run; None where rows cannot be cut apart."""
    if kernel.serial or kernel.grouped or kernel.listed is not None or kernel.in_lanes:
        return None, 0
    if kernel.outer == "tiles":
        (stage,) = kernel.stages
        assert isinstance(stage, Gemm)
        return ROWS, stage.i[0].extent
    if kernel.outer == "lanes":
        stage = kernel.stages[0]
        return (LANES, stage.axis.extent) if isinstance(stage, Map) else (None, 0)
    if kernel.in_tiles or not kernel.axes:
        return None, 0
    return kernel.axes[0].name, kernel.axes[0].extent

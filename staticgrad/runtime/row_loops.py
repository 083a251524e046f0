"""Which loops a worker may run through alone, for rows of its own: without a wait in any iteration.

Where the rows of a recurrence have nothing to do with each other, in no step of an iteration and in
none of what they carry, the only thing that workers wait for is the end of the loop. Handing over
takes some microseconds on processors that share no cache, twice or more in each iteration.

A loop is proved to be one, or left to workers that share each step: every buffer that iterations
write is as many runs of bytes as there are rows, every step touches for a row that row's run alone,
and buffers of a body that share bytes have the same runs. What no iteration writes may be read
anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.analysis.cost import FASTEST, call_seconds
from staticgrad.ir.expr import Access
from staticgrad.ir.kernels.bodies import accesses
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.reach import elements
from staticgrad.ir.kernels.stages import LANES, Axis
from staticgrad.ir.plan import Plan
from staticgrad.ir.schedule import Call, Control, StepBody, Touch
from staticgrad.kept import cached_property
from staticgrad.records import dataclass
from staticgrad.runtime.row_ranges import LONGEST, RowRange, call_of, ranges_of, row_loop


def row_ranges(
    plan: Plan, body: StepBody, control: Control, iterations: int, workers: int
) -> tuple[tuple[RowRange, ...], float]:
    """The rows of each worker, and what the loop is predicted to take; none where it is no such
    loop."""
    calls, seconds = [], 0.0
    for planned in plan.steps:
        call = call_of(plan.schedule.steps[planned.step], planned)
        if call is None:
            return (), 0.0
        calls.append(call)
        seconds += iterations * call_seconds(call, FASTEST)
    if workers == 1 or control.kind != "loop" or seconds > LONGEST:
        return (), 0.0
    found = {
        ranges_of(kernel, arguments, workers)
        for kernel, arguments, *_ in calls
        if isinstance(kernel, Kernel) and kernel.outer == "tiles"
    }
    ranges = found.pop() if len(found) == 1 else ()
    if not ranges or not _BuffersOfIterations(plan, body, ranges[0].rows).are_apart(calls):
        return (), 0.0
    return ranges, seconds


@dataclass(frozen=True)
class _BuffersOfIterations:
    """What is asked of the buffers of a body whose products have so many rows."""

    plan: Plan
    body: StepBody
    rows: int

    @cached_property
    def sizes(self) -> dict[str, int]:
        """The bytes of each buffer; of rows and carried values, those of an iteration."""
        return dict(self.plan.buffer_bytes)

    def are_apart(self, calls: Sequence[Call]) -> bool:
        """Whether no row touches what another one writes."""
        steps = [(self.plan.schedule.steps[p.step], p) for p in self.plan.steps]
        written = {name for name, _ in self.body.carried}
        written.update(name for step, _ in steps for name in step.writes())
        if not self._placements_agree():
            return False
        return all(
            access.is_own or access.buffer not in written or self._is_of_rows(call, n, access, at)
            for call, (step, planned) in zip(calls, steps, strict=True)
            for n, (access, at) in enumerate(zip(step.accesses(), planned.offsets, strict=True))
        )

    def _placements_agree(self) -> bool:
        """Whether buffers that share bytes of the arena are the same runs of them."""
        own = {scratch.buffer for step in self.plan.schedule.steps for scratch in step.scratch()}
        places = sorted(self.plan.placements, key=lambda place: place.offset)
        for number, one in enumerate(places):
            for other in places[number + 1 :]:
                if other.offset >= one.offset + one.nbytes:
                    break
                same = (
                    one.offset == other.offset
                    and self.sizes[one.buffer] == self.sizes[other.buffer]
                )
                if not same or one.buffer in own or other.buffer in own:
                    return False
        return True

    def _is_of_rows(self, call: Call, operand: int, access: Touch, begin: int) -> bool:
        """Whether a call touches for each row that row's run of a buffer, and nothing else."""
        size, kernel = self.sizes[access.buffer], call.kernel
        assert isinstance(kernel, Kernel)
        values = dict(zip(kernel.arguments, call.arguments, strict=True))
        name, width = kernel.operands[operand].name, size // self.rows
        row, extent = row_loop(kernel)
        if size % self.rows or row is None:
            return False
        total = extent if isinstance(extent, int) else values[extent]
        if total != self.rows:  # all elements of a map as one run
            lies = all(a.strides == ((LANES, 1),) and not a.positions for a, _ in _of(kernel, name))
            whole = begin == 0 and total * access.dtype.itemsize == size
            return row == LANES and lies and whole and total % self.rows == 0
        for each, loops in _of(kernel, name):
            step = each.stride(row)
            moved = (step if isinstance(step, int) else values[step]) * access.dtype.itemsize
            if moved != width or any(place.step(row) != 0 for place in each.positions):
                return False
            inside = [Axis(a.name, 1) if a.name == row else a for a in loops]
            ends = elements(each, inside, values)
            if ends is None or each.gather:
                return False
            first, last = (begin + end * access.dtype.itemsize for end in ends)
            if first < 0 or last + access.dtype.itemsize > width:
                return False
        return True


def _of(kernel: Kernel, operand: str) -> list[tuple[Access, tuple[Axis, ...]]]:
    """The accesses to an operand, with the loops around each."""
    return [pair for pair in accesses(kernel) if pair[0].operand == operand]

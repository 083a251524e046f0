"""Loops as one kernel: rows outside, iterations inside, carried values in registers.

A body whose rows have nothing to do with each other, or that is about a handful of numbers, needs
no kernels of its own. Written out (``lowering.elements``) it is scalar arithmetic, and the loop a
``Loop`` around it: its carries are the kernel's, slices are read and stacks written where they lie.
Rows are the lanes of vectors, and are shared among workers. All operations are those of the body's
kernels, so that the bits are the same either way.

A kernel does not return before its last iteration, and signals wait for that. So a loop that is
long, or whose iterations are a named size, is two: the driver's, over *stretches* of iterations,
and the kernel's over the iterations of one. What is carried goes through memory between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.analysis.cost import FASTEST, ROWS, Rates, all_seconds, step_seconds
from staticgrad.ir.schedule import Step
from staticgrad.lowering.loops.bodies import ENDLESS, LoweredBodies
from staticgrad.lowering.loops.driven import readings
from staticgrad.lowering.loops.joined_iterations import JoinedIterations
from staticgrad.lowering.loops.tested_loops import TestedLoop
from staticgrad.lowering.loops.written_cases import branch_of
from staticgrad.lowering.loops.written_loops import NoFirstRowError, Reading, Stretch, WrittenLoop
from staticgrad.lowering.loops.written_out import NotWrittenOutError
from staticgrad.lowering.operands import LoweredStep
from staticgrad.types.dim import Size
from staticgrad.types.tensor import hint_value

#: Predicted seconds of a kernel without stretches, at most.
_LONGEST: Final = 0.02
#: A processor that computes with numbers, not with vectors, and has them at hand.
_ONE_LANE: Final = Rates(map_flops=1e10, bandwidth=1e12, launch=0.0)
#: What the driver's kernels of few elements take: one waits for what the one before has stored.
_WAITING: Final = Rates(launch=1.5e-8)
#: A processor whose rows lie in its first cache, of a kernel with the loop inside; the driver's.
_NEAR: Final = Rates(bandwidth=2e11, launch=0.0)
_NEAR_WAITING: Final = Rates(bandwidth=2e11, launch=1.5e-8)
#: What each stage of an iteration waits for the one before, where rows lie in memory.
_STAGE: Final = 2.5e-9
#: What of the driver's time stages in one kernel take, at most: with no more to gain than that, the
#: same stages took up to a twentieth longer there.
_GAIN: Final = 0.975
#: Predicted seconds of a step from which on workers share it (``runtime/sections.py``).
_SHARED: Final = 3e-6
#: Iterations of a stretch, at least, so that it pays to keep what is carried; and at most.
_SHORTEST: Final = 8
_MOST_ITERATIONS: Final = 1 << 20
#: Bytes of slices and stacks from which on each iteration has a page of its own; and of all
#: iterations, from which on these are more pages than processors keep the addresses of (2,048):
#: such loops took 1.3 to 2.6 times as long. With fewer pages two workers lose as much by the
#: stretches as they gain.
_PAGE: Final = 4 << 10
_FAR: Final = 8 << 20


def lower_time_loop(lowered: LoweredBodies) -> LoweredStep | Stretch | None:
    """The kernel of a loop, or of stretches of it; None where a body of other steps, or rows that
    read each other, has none."""
    if lowered.form.kind == "while":
        return _tested_loop(lowered)
    if lowered.form.kind != "loop" or lowered.form.logged:
        return None
    (schedule,) = lowered.schedules
    joined = _joined(lowered)
    for rows, inner in readings(schedule.steps):
        for ends in (False, True):
            reading = Reading(rows, inner, ends)
            try:
                whole = WrittenLoop(lowered, schedule, reading)
                whole.write()
                if _is_slower_than_driven(lowered, whole, reading):
                    break
                if joined and rows is None and joined[0] < _one_lane_seconds(whole):
                    break
                far = rows is not None and _is_far(lowered)
                length = _SHORTEST if far else _stretch(lowered.iterations, _seconds(whole))
                if not length:
                    return whole.step()
                part = WrittenLoop(lowered, schedule, reading, length)
                part.write()
                return part.stretch()
            except NoFirstRowError:
                continue
            except NotWrittenOutError:
                break
    return joined[1].step() if joined else None


def _is_far(lowered: LoweredBodies) -> bool:
    """Whether what a vector of rows reads and writes of all iterations lies in more pages of memory
    than a processor has at hand, where a few iterations of all rows lie in a few."""
    body = lowered.schedules[-1]
    moved = [each for each in body.buffers if each.name.startswith(("in.x", "out.y"))]
    iteration = sum(hint_value(each.size) * each.dtype.itemsize for each in moved)
    return iteration >= _PAGE and iteration * hint_value(lowered.iterations) >= _FAR


def _joined(lowered: LoweredBodies) -> tuple[float, JoinedIterations] | None:
    """The kernel of a short loop of the bodies' stages, if it is quicker than the driver; with what
    it is predicted to take."""
    steps = [step for schedule in lowered.schedules for step in schedule.steps]
    iterations = max(1, hint_value(lowered.iterations))
    if not isinstance(lowered.iterations, int) or _is_worth_sharing(steps):
        return None
    loop = JoinedIterations(lowered)
    try:
        loop.write()
    except NotWrittenOutError:
        return None
    alone = _seconds(loop)
    sizes = [hint_value(size) for size in loop.arguments]
    seconds = (
        step_seconds(loop.kernel, sizes, _NEAR) + iterations * loop.stages_of_iteration * _STAGE
    )
    driven = iterations * _driven_seconds(steps, _NEAR_WAITING)
    if seconds > _GAIN * driven or _stretch(lowered.iterations, alone):
        return None
    return seconds, loop


def _tested_loop(lowered: LoweredBodies) -> LoweredStep | None:
    """The kernel of a loop that ends by a test, if it is short whatever the test says."""
    if not isinstance(lowered.iterations, int) or lowered.iterations >= ENDLESS:
        return None
    joined, whole = _joined(lowered), TestedLoop(lowered)
    try:
        whole.write()
        slow = _is_slower_than_driven(lowered, whole, Reading(None, True, False))
        slow |= joined is not None and joined[0] < _one_lane_seconds(whole)
        if not slow and not _stretch(lowered.iterations, _seconds(whole)):
            return whole.step()
    except NotWrittenOutError:
        pass
    return joined[1].step() if joined else None


def _is_worth_sharing(steps: Sequence[Step]) -> bool:
    """Whether workers would share one of these steps."""
    kernels = [step for step in steps if not step.bodies()]
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    return max(all_seconds(kernels, arguments, FASTEST), default=0.0) >= _SHARED


def _one_lane_seconds(loop: WrittenLoop) -> float:
    """What a kernel of numbers is predicted to take."""
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], _ONE_LANE)


def _seconds(loop: WrittenLoop | JoinedIterations) -> float:
    """What a kernel is predicted to take."""
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], ROWS)


def _is_slower_than_driven(lowered: LoweredBodies, loop: WrittenLoop, reading: Reading) -> bool:
    """Whether iterations of the only row, or of rows for which all cases of a branch are computed,
    are predicted to take longer than the driver's."""
    steps = [step for schedule in lowered.schedules for step in schedule.steps]
    if reading.rows is None:
        whole = _one_lane_seconds(loop)
    elif any(map(branch_of, steps)):
        whole = _seconds(loop)
    else:
        return False
    return whole > _driven_seconds(steps) * max(1, hint_value(lowered.iterations))


def _driven_seconds(steps: Sequence[Step], machine: Rates = _WAITING) -> float:
    """What the driver is predicted to take for an iteration, in which the longest case is taken."""
    branches = [branch for step in steps if (branch := branch_of(step))]
    others = [step for step in steps if not branch_of(step)]
    arguments = [tuple(hint_value(size) for size in step.arguments) for step in others]
    total = sum(all_seconds(others, arguments, machine))
    for branch in branches:
        longest = max(_driven_seconds(case.steps, machine) for case in branch.schedules)
        total += machine.launch + longest
    return total


def _stretch(iterations: Size, seconds: float) -> int:
    """The iterations of a stretch, if all of them are predicted to take so long; 0 for no
    stretches."""
    if isinstance(iterations, int) and seconds <= _LONGEST:
        return 0
    each = seconds / max(1, hint_value(iterations))
    return max(_SHORTEST, min(int(_LONGEST / 4 / each), _MOST_ITERATIONS))

"""Loops as one kernel: rows outside, iterations inside, carried values in registers.

A body with independent rows, or with only a few numbers, needs no separate kernels. Written out
(``written_out``) it is scalar arithmetic inside of a ``Loop``. Its carries are those of the
kernel; slices and stacks are accessed in place. Rows are vector lanes, and are shared among
workers. All operations are those of the body's kernels, so results are bitwise identical.

A kernel returns only after its last iteration, and signals are delayed until then. So a loop that
is long, or whose number of iterations is a named size, is two loops: the driver's over *stretches*
of iterations, and the kernel's over the iterations of a stretch. Carries pass between stretches
through memory.

A loop that ends by a test is written out in the same way. The test runs before the first iteration
and after each one. Its result is carried, and the loop runs while it is true. There is one row,
because a test depends on all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from staticgrad.analysis.cost import FASTEST, ROWS, Rates, all_seconds, step_seconds
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.kernels.stages import Carry, Check, Keep, Loop, Scalar, Stage, Store
from staticgrad.ir.schedule import Step
from staticgrad.lowering.loops.driven import ENDLESS, LoweredBodies, readings
from staticgrad.lowering.loops.joined import ITERATIONS, JoinedIterations, Steady
from staticgrad.lowering.loops.written_loops import (
    NoFirstRowError,
    Reading,
    Stretch,
    WrittenLoop,
    kept,
)
from staticgrad.lowering.loops.written_out import (
    Found,
    NotWrittenOutError,
    RowPlace,
    branch_of,
    write_out,
)
from staticgrad.lowering.operands import LoweredStep
from staticgrad.types.arrays import hint_value
from staticgrad.types.dim import Size
from staticgrad.types.dtype import BOOL, I64, DType

#: Returns an element of a carry that a test reads.
Given = Callable[[int, RowPlace], Expr]
_ONE: RowPlace = RowPlace(0, 0)


class TestedLoop(WrittenLoop):
    """The kernel of a ``while``; its body checks indices, its test does not."""

    def __init__(self, bodies: LoweredBodies) -> None:
        self._test, body = bodies.schedules
        super().__init__(bodies, body, Reading(None, True, False))

    def _stages(self) -> tuple[Stage, ...]:
        nexts = self._nexts()
        carries, made = self._bodies.form.carries, self._elements.made
        first = self._goes(
            self._elements.literal(0, I64), lambda n, at: self._load(n, at, f"out.c{n}")
        )
        done = made("add", I64, (ex.index(ITERATIONS), self._elements.literal(1, I64)))
        goes = self._goes(done, lambda n, at: nexts[n, at])
        lookups = self._elements.lookups
        checked = [expr for each in lookups for expr in (each.place, each.position)]
        steady = Steady([*nexts.values(), goes, done, *checked])
        body: list[Keep | Store | Check] = [self._check(each, steady) for each in lookups]
        begin, following = [*self._first(nexts)], []
        for each, value in nexts.items():
            following.append(Carry(str(self._carry(*each).attribute), kept(steady, body, value)))
        last = self._last(nexts)
        if self._bodies.writes[carries] in self._bodies.stored:
            count = self._state(I64)
            begin.append(Carry(str(count.attribute), self._elements.literal(0, I64)))
            following.append(Carry(str(count.attribute), kept(steady, body, done)))
            operand = self._names.operand(self._bodies.inputs + carries, I64, "out")
            last.append(Store(Access(operand, ()), count))
        going = str(self._state(BOOL).attribute)
        begin.append(Carry(going, first))
        following.append(Carry(going, kept(steady, body, goes)))
        if not body:
            raise NotWrittenOutError
        stages = (Scalar(tuple(body)),)
        iterations = Loop(self._loop(steady), tuple(begin), stages, tuple(following), going=going)
        return self._with_results(steady, iterations, last)

    def _state(self, dtype: DType) -> Expr:
        self._states += 1
        return ex.ref(f"s{len(self._carried) + self._states - 1}", dtype)

    _states = 0

    def _goes(self, number: Expr, given: Given) -> Expr:
        carries = self._bodies.form.carries

        def source(name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
            if name == "in.i":
                return number
            if name[3] == "p":
                return self._load_of(carries + int(name[4:]), dtype, place, 0, indices)
            if indices:
                raise NotWrittenOutError
            return given(int(name[4:]), place)

        test = self._elements.within(self._test, source)
        write_out(test, self._test.steps)
        held = test.memory.get("out.go", {})
        if test.lookups or held.keys() != {_ONE}:
            raise NotWrittenOutError  # checks of indices are not supported in a test
        return held[_ONE]


#: Predicted seconds of a kernel without stretches, at most.
_LONGEST: Final = 0.02
#: Rates of scalar arithmetic with all numbers in registers.
_ONE_LANE: Final = Rates(map_flops=1e10, bandwidth=1e12, launch=0.0)
#: Rates of the driver's small kernels: each depends on the stores of the one before.
_WAITING: Final = Rates(launch=1.5e-8)
#: Rates with rows in L1: for a kernel that contains the loop, and for the driver's kernels.
_NEAR: Final = Rates(bandwidth=2e11, launch=0.0)
_NEAR_WAITING: Final = Rates(bandwidth=2e11, launch=1.5e-8)
#: Seconds that each stage of an iteration waits for the one before, if rows are in memory.
_STAGE: Final = 2.5e-9
#: Largest ratio of the time in one kernel to the driver's time: with a smaller gain predicted, the
#: same stages took up to a twentieth longer in one kernel.
_GAIN: Final = 0.975
#: Predicted seconds of a step from which on workers share it (``runtime/sections.py``).
_SHARED: Final = 3e-6
#: Fewest iterations of a stretch, so that carries in registers pay; and the most.
_SHORTEST: Final = 8
_MOST_ITERATIONS: Final = 1 << 20
#: Bytes of slices and stacks from which each iteration has its own page; and bytes of all
#: iterations from which there are more pages than a TLB has entries (2,048): such loops took 1.3
#: to 2.6 times as long. With fewer pages two workers lose as much by stretches as they gain.
_PAGE: Final = 4 << 10
_FAR: Final = 8 << 20


def lower_time_loop(lowered: LoweredBodies) -> LoweredStep | Stretch | None:
    """Return the kernel of a loop, or of its stretches; None if the body has unsupported steps or
    its rows read each other."""
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
    """Return whether a vector of rows accesses more pages in all iterations than the TLB holds,
    while a few iterations of all rows access few pages."""
    body = lowered.schedules[-1]
    moved = [each for each in body.buffers if each.name.startswith(("in.x", "out.y"))]
    iteration = sum(hint_value(each.size) * each.dtype.itemsize for each in moved)
    return iteration >= _PAGE and iteration * hint_value(lowered.iterations) >= _FAR


def _joined(lowered: LoweredBodies) -> tuple[float, JoinedIterations] | None:
    """Return the predicted seconds and the kernel of a short loop of the bodies' stages; None if
    it is not quicker than the driver."""
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
    kernels = [step for step in steps if not step.bodies()]
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    return max(all_seconds(kernels, arguments, FASTEST), default=0.0) >= _SHARED


def _one_lane_seconds(loop: WrittenLoop) -> float:
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], _ONE_LANE)


def _seconds(loop: WrittenLoop | JoinedIterations) -> float:
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], ROWS)


def _is_slower_than_driven(lowered: LoweredBodies, loop: WrittenLoop, reading: Reading) -> bool:
    """Return whether iterations of a single row, or of rows that compute all cases of a branch,
    are predicted to be slower than the driver's."""
    steps = [step for schedule in lowered.schedules for step in schedule.steps]
    if reading.rows is None:
        whole = _one_lane_seconds(loop)
    elif any(map(branch_of, steps)):
        whole = _seconds(loop)
    else:
        return False
    return whole > _driven_seconds(steps) * max(1, hint_value(lowered.iterations))


def _driven_seconds(steps: Sequence[Step], machine: Rates = _WAITING) -> float:
    branches = [branch for step in steps if (branch := branch_of(step))]
    others = [step for step in steps if not branch_of(step)]
    arguments = [tuple(hint_value(size) for size in step.arguments) for step in others]
    total = sum(all_seconds(others, arguments, machine))
    for branch in branches:
        longest = max(_driven_seconds(case.steps, machine) for case in branch.schedules)
        total += machine.launch + longest
    return total


def _stretch(iterations: Size, seconds: float) -> int:
    """Return the iterations of a stretch if all iterations take ``seconds``; 0 if stretches are
    not needed."""
    if isinstance(iterations, int) and seconds <= _LONGEST:
        return 0
    each = seconds / max(1, hint_value(iterations))
    return max(_SHORTEST, min(int(_LONGEST / 4 / each), _MOST_ITERATIONS))

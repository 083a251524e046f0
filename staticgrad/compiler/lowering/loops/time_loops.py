"""Lower a loop to one kernel: rows outside, iterations inside, carried values in registers.

A body with independent rows, or with only a few numbers, needs no separate kernels. Unrolled
(``written_out``) it is scalar arithmetic inside a ``Loop``. Its carries are carries of the
kernel; slices and stacks are accessed in place. Rows are vector lanes, and are divided among
workers. All operations are those of the body's kernels, so results are bitwise identical.

::

    for t in steps:                              for each row i:                  # a lane each
        for each row i:             ->               c = c0[i]                    # a register
            c[i] = f(c[i], x[t, i])                  for t in steps:
                                                         c = f(c, x[t, i])

A kernel returns only after its last iteration, and signals are delayed until then. So a loop that
is long, or whose number of iterations is a named size, is split into two loops: the driver's over
*stretches* (chunks) of iterations, and the kernel's over the iterations of a stretch. Carries pass
between stretches through memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from staticgrad.analysis.cost import FASTEST, ROWS, Rates, all_seconds, step_seconds
from staticgrad.compiler.lowering.loops.driven import ENDLESS, LoweredBodies
from staticgrad.compiler.lowering.loops.joined import (
    ITERATIONS,
    JoinedIterations,
    JoinedMemory,
    LoopBuilder,
)
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal, LoopRefusedError
from staticgrad.compiler.lowering.loops.written_out import (
    ROW,
    DynamicIndices,
    Lookup,
    RowPlace,
    UnrolledSchedule,
    readings,
    unroll_steps,
)
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.bodies import NUMBER, BodyBuffer
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Carry,
    Check,
    Extent,
    Keep,
    Loop,
    Scalar,
    Stage,
    Store,
)
from staticgrad.language.ir.kernels.width import SHORT_STRIDE
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Role, Schedule, Step
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, bounds, maximum
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support.records import NamedTuple
from staticgrad.support.source import Location

#: The number of the additional operand that holds the number of the stretch.
_NUMBER: Final = -1


class Reading(NamedTuple):
    """An interpretation of a body: its rows (None: a single one) and their layout.

    ``inner``: the elements of a row are adjacent. ``ends``: the kernel runs at least one row; with
    0 rows it neither reads nor stores elements of rows.
    """

    rows: Size | None
    inner: bool
    ends: bool


#: The phase of a step, its label, and its lines.
StepInfo = tuple[int, str, tuple[Location, ...]]
#: A carried element: the number of the carry, and the index in it.
Carried = tuple[int, RowPlace]


#: The body of a loop over stretches, and their number.
Stretches = tuple[Schedule, Size]


class NoFirstRowError(LoopRefusedError):
    """Raised if there may be no row, and results that all rows share would not be stored."""


class WrittenLoop(LoopBuilder):
    """A builder of the kernel of a loop: its operands, arguments, and carried elements.

    ``length``: iterations of the stretch that the kernel runs; 0: all iterations.
    """

    def __init__(self, bodies: LoweredBodies, reading: Reading, length: int = 0) -> None:
        super().__init__(bodies)
        self._length = length
        self._rows, inner, self._ends = reading
        self._iterations = length or bodies.iterations
        self._elements = UnrolledSchedule(
            self._body, self._rows, inner, self._source, self._names.size
        )
        self._carried: dict[Carried, Expr] = {}
        self._accessed: set[tuple[str, RowPlace]] = set()

    def write(self) -> None:
        """Make the kernel of the loop: rows outside, time steps inside."""
        unroll_steps(self._elements, self._body.steps)
        stages = self._stages()
        axes: tuple[Axis, ...] = ()
        if self._rows is not None:
            rows = maximum(self._rows, 1) if self._ends else self._rows
            axes = (Axis(ROW, self._names.argument(rows)),)
        self._finish(axes, stages)

    def stretches(self, about: StepInfo) -> Stretches:
        """Return the schedule that runs the loop's kernel in chunks, and the number of chunks."""
        count = self._bodies.iterations
        buffers = tuple(map(self._buffer, self._used))
        bound = [Binding(buffer.name) for buffer in buffers]
        step = KernelStep.of(self.kernel, bound, self.arguments, *about)
        outputs = tuple((b.label, b.name) for b in buffers if b.role == "output")
        return Schedule("stretch", buffers, (step,), outputs), -(-count // self._length)

    def _buffer(self, number: int | str) -> Buffer:
        """Return the buffer of an operand of the time loop's kernel."""
        if isinstance(number, str):
            return self._body.by_name[number]
        if number == _NUMBER:
            return Buffer(NUMBER.name, "input", I64, 1, label=NUMBER.label)
        (outer,) = (
            outer for outer, operand in self._bodies.outer_operands.items() if operand == number
        )
        buffer = self._body_buffer(outer)
        size = buffer.size * self._length if outer.has_rows else buffer.size
        role: Role = "input" if outer.is_input else "output"
        return Buffer(outer.name, role, buffer.dtype, size, label=outer.label)

    def _body_buffer(self, outer: BodyBuffer) -> Buffer:
        """Return the buffer of the body; for a carry, which may be unread, its next value's."""
        read = BodyBuffer("next", outer.number) if outer.role == "carry" else outer
        return self._body.by_name[read.name]

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        """Return the loop over time steps, whose carries are registers, in stages of the kernel."""
        nexts = {
            (n, place): value
            for n in range(self._bodies.form.carries)
            for place, value in self._results(BodyBuffer("next", n)).items()
        }
        if not self._carried.keys() <= nexts.keys():
            raise LoopRefusedError(LoopRefusal.OtherRow)
        for carried in nexts:
            self._carry(*carried)
        carries = self._bodies.form.carries
        stacked = [
            Store(self._result(BodyBuffer("result", n), place), value)
            for n in range(len(self._body.outputs) - carries)
            if self._bodies.writes[carries + n] in self._bodies.stored
            for place, value in self._results(BodyBuffer("result", n)).items()
        ]
        body: list[Keep | Store | Check] = [*map(self._check, self._elements.lookups)]
        following = []
        for carried, value in nexts.items():
            if value.op not in ("ref", "literal"):
                name = self._names.new_ref("r", value.dtype)
                body.append(Keep(str(name.attribute), value))
                value = name
            following.append(Carry(str(self._carry(*carried).attribute), value))
        body += stacked
        if not body:
            raise LoopRefusedError(LoopRefusal.Nothing)
        first = [
            Carry(
                str(self._carry(n, place).attribute),
                self._load(BodyBuffer("carry", n), place),
            )
            for n, place in nexts
        ]
        limit, axis = self._loop()
        iterations = Loop(axis, tuple(first), (Scalar(tuple(body)),), tuple(following))
        last = [
            Store(self._result(BodyBuffer("next", n), place), self._carry(n, place))
            for n, place in nexts
            if self._length or self._bodies.writes[n] in self._bodies.stored
        ]
        return (*limit, iterations, *([Scalar(tuple(last))] if last else []))

    def _check(self, lookup: Lookup) -> Check:
        operand = self._names.operand(lookup.words, I64, "check")
        extent = self._names.argument(lookup.extent)
        return Check(lookup.name, lookup.raw_index, extent, lookup.position, operand, lookup.wrap)

    def _loop(self) -> tuple[Sequence[Scalar], Axis]:
        """Return a kernel's loop over time steps, after a stage that stores the end of a chunk."""
        extent = self._names.argument(self._iterations)
        if not self._length:
            return (), Axis(ITERATIONS, extent)
        total, apply = self._names.size(self._bodies.iterations), self._elements.apply
        count = apply("minimum", I64, (ex.size(extent), apply("sub", I64, (total, self._begin()))))
        name = str(self._names.new_ref("r", I64).attribute)
        if not self._bodies.form.reverse:
            return [Scalar((Keep(name, count),))], Axis(ITERATIONS, extent, past=name)
        skipped = apply("sub", I64, (ex.size(extent), count))
        return [Scalar((Keep(name, skipped),))], Axis(ITERATIONS, extent, first=name)

    def _begin(self) -> Expr:
        number = ex.load(Access(self._names.operand(_NUMBER, I64, "in")), I64)
        return self._elements.apply("mul", I64, (number, self._names.size(self._length)))

    def _results(self, outer: BodyBuffer) -> Mapping[RowPlace, Expr]:
        """Return the symbolic elements of a body's result, all of which must be present."""
        elements = self._elements.memory.get(outer.name, {})
        count: Size = len(elements)
        if any(place.row != 0 for place in elements):
            assert self._rows is not None
            count = len(elements) * self._rows
        if not elements or count != self._body_buffer(outer).size:
            # also if it is empty, because then no store would contain it
            raise LoopRefusedError(LoopRefusal.Partial)
        return elements

    def _carry(self, number: int, place: RowPlace) -> Expr:
        if (number, place) not in self._carried:
            dtype = self._body_buffer(BodyBuffer("carry", number)).dtype
            self._carried[number, place] = ex.ref(f"s{len(self._carried)}", dtype)
        return self._carried[number, place]

    # -- operands and arguments -------------------------------------------------------------------

    def _extent(self, value: Size) -> Extent:
        if isinstance(value, int) and abs(value) <= SHORT_STRIDE:
            return value
        return self._names.argument(value)

    def _source(self, name: str, dtype: DType, place: RowPlace, indices: DynamicIndices) -> Expr:
        """Return an element of a body's input: the iteration's number, a register or a load."""
        outer = self._outer_buffers[name]
        if outer.role == "number":
            return self._number()
        if outer.role != "carry":
            return self._load(outer, place, indices)
        if indices:
            raise LoopRefusedError(LoopRefusal.Lookup)  # carries are not in memory
        return self._carry(outer.number, place)

    def _number(self) -> Expr:
        within = super()._number()
        return ex.apply("add", self._begin(), within) if self._length else within

    def _load(self, outer: BodyBuffer, place: RowPlace, indices: DynamicIndices = ()) -> Expr:
        """Return an element of an operand of the loop, or of the iteration's slice of it."""
        buffer = self._body_buffer(outer)
        access = self._access(self._operand(outer, buffer), place)
        strides = tuple(self._extent(stride) for _, stride in indices)
        at = tuple(index for index, _ in indices)
        return ex.load(replace(access, gather=strides), buffer.dtype, *at)

    def _result(self, outer: BodyBuffer, place: RowPlace) -> Access:
        """Return the access that stores a loop's result; one shared by all rows is stored once."""
        access = self._access(self._operand(outer, self._body_buffer(outer)), place)
        if self._rows is None or place.row != 0:
            return access
        if (bounds(self._rows)[0] or 0) < 1 and not self._ends:
            raise NoFirstRowError(LoopRefusal.Partial)
        first = Position(((ROW, 1),), 0, 0, 1)
        return replace(access, positions=(*access.positions, first))

    def _access(self, memory: JoinedMemory, place: RowPlace) -> Access:
        """Return the access to an element at a row and offset of an operand of the time loop."""
        strides, positions = [*memory.strides], [*memory.positions]
        if place.row != 0:
            self._accessed.add((memory.operand, place))
            if len(self._accessed) > MOST_ACCESSED:
                raise LoopRefusedError(LoopRefusal.Wide)
        if place.row != 0 and self._ends:
            assert self._rows is not None
            past = self._names.argument(self._rows)
            positions.append(Position(((ROW, 1),), 0, self._extent(place.row), past))
        elif place.row != 0:
            strides.append((ROW, self._extent(place.row)))
        if place.at != 0:
            start = place.at if isinstance(place.at, int) else self._names.argument(place.at)
            positions.append(Position((), start))
        return Access(memory.operand, tuple(strides), (), tuple(positions))


#: Elements that each row loads and stores before, in and after all iterations, at most. LLVM's
#: compile time grows with the pairs of them: 40 elements of float64 took about 0.4 s, 80 took 0.9
#: to 2 s, 160 took 3 to 11 s; float32 about twice as long. The kernel is 4 to 5 times as fast as
#: the driver with 40 elements, 1.5 to 2.4 times with 60 to 100; with more it may be slower.
#: Operations alone are cheap: with two numbers in a row, 2,400 expressions took half a second.
MOST_ACCESSED: Final = 64
#: Predicted seconds of a kernel without stretches, at most.
_MOST_SECONDS: Final = 0.02
#: Rates of scalar arithmetic with all numbers in registers.
_ONE_LANE: Final = replace(
    ROWS, map_flops=1e10, serial_flops=1e10, bandwidths=(1e12,) * 3, launch=0.0, near_launch=0.0
)
#: Rates of the driver's small kernels: each depends on the stores of the previous one.
_WAITING: Final = replace(ROWS, launch=1.5e-8, near_launch=1.5e-8)
#: Rates with rows in L1: for a kernel that contains the loop, and for the driver's kernels.
_NEAR: Final = replace(ROWS, bandwidths=(2e11,) * 3, launch=0.0, near_launch=0.0)
_NEAR_WAITING: Final = replace(_NEAR, launch=1.5e-8, near_launch=1.5e-8)
#: Seconds that each stage of an iteration waits for the previous one, if rows are in memory.
_STAGE_SECONDS: Final = 2.5e-9
#: Largest ratio of the time in one kernel to the driver's time: with a smaller gain predicted, the
#: same stages took up to a twentieth longer in one kernel.
_MOST_RATIO: Final = 0.975
#: Predicted seconds of a step from which on workers share it (``runtime/sections.py``).
_SHARED_SECONDS: Final = 3e-6
#: Fewest iterations of a stretch, so that carries in registers pay.
_FEWEST_ITERATIONS: Final = 8
#: Bytes of slices and stacks from which each iteration has its own page; and bytes of all
#: iterations from which there are more pages than a TLB has entries (2,048): such loops took 1.3
#: to 2.6 times as long. With fewer pages two workers lose as much by stretches as they gain.
_PAGE_BYTES: Final = 4 << 10
_TLB_BYTES: Final = 8 << 20


def lower_time_loop(
    lowered: LoweredBodies, about: StepInfo
) -> LoweredStep | Stretches | LoopRefusal:
    """Lower a loop to one kernel with carries in registers, or chunks of it, or a reason not to.

    ``about``: the phase, the label and the lines of the loop.
    """
    tested = lowered.form.kind == "while"
    if tested and not isinstance(lowered.iterations, int):
        return LoopRefusal.SizedTest
    if tested and lowered.iterations >= ENDLESS:
        return LoopRefusal.Endless
    if lowered.form.logged:
        return LoopRefusal.Logged
    steps = lowered.schedules[-1].steps
    joined = _join_bodies(lowered)
    refusal = joined if isinstance(joined, LoopRefusal) else LoopRefusal.Slower
    wide = False
    for rows, inner in () if tested else readings(steps):
        for ends in (False, True):
            reading = Reading(rows, inner, ends)
            try:
                loop = WrittenLoop(lowered, reading)
                loop.write()
                if rows is None:
                    driven = max(1, hint_value(lowered.iterations)) * _driven_seconds(steps)
                    fastest = driven if isinstance(joined, LoopRefusal) else min(driven, joined[0])
                    if _seconds(loop, _ONE_LANE) > fastest:
                        break
                far = rows is not None and _is_far(lowered)
                length = (
                    _FEWEST_ITERATIONS
                    if far
                    else _chunk_length(lowered.iterations, _seconds(loop, ROWS))
                )
                if not length:
                    return loop.step()
                part = WrittenLoop(lowered, reading, length)
                part.write()
                return part.stretches(about)
            except NoFirstRowError:
                continue
            except LoopRefusedError as refused:
                refusal = refused.reason if refusal is LoopRefusal.SizedLoop else refusal
                wide = refused.reason is LoopRefusal.Wide
                break
        if wide:  # fewer rows have more elements each
            break
    return refusal if isinstance(joined, LoopRefusal) else joined[1].step()


def _is_far(lowered: LoweredBodies) -> bool:
    """Return True if a loop's vector of rows accesses more pages than the TLB holds.

    A few iterations of all rows access few pages, so that stretches pay.
    """
    body = lowered.schedules[-1].by_name
    row_buffers = [
        body[outer.name]
        for outer in lowered.outer_operands
        if outer.has_rows and outer.name in body
    ]
    iteration = sum(hint_value(buffer.size) * buffer.dtype.itemsize for buffer in row_buffers)
    return iteration >= _PAGE_BYTES and iteration * hint_value(lowered.iterations) >= _TLB_BYTES


def _join_bodies(lowered: LoweredBodies) -> tuple[float, JoinedIterations] | LoopRefusal:
    """Join a short loop's kernels to one, with predicted seconds, or return a reason not to.

    The driver may be as fast, or workers may share the steps.
    """
    steps = [step for schedule in lowered.schedules for step in schedule.steps]
    kernels = [step for step in steps if not step.bodies()]
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    if not isinstance(lowered.iterations, int):
        return LoopRefusal.SizedLoop
    if max(all_seconds(kernels, arguments, FASTEST, True), default=0.0) >= _SHARED_SECONDS:
        return LoopRefusal.Shared
    loop = JoinedIterations(lowered)
    try:
        loop.write()
    except LoopRefusedError as refused:
        return refused.reason
    iterations = max(1, lowered.iterations)
    seconds = _seconds(loop, _NEAR) + iterations * loop.stages_of_iteration * _STAGE_SECONDS
    slow = seconds > _MOST_RATIO * iterations * _driven_seconds(steps, _NEAR_WAITING)
    if slow or _chunk_length(iterations, _seconds(loop, ROWS)):
        return LoopRefusal.Slower
    return seconds, loop


def _seconds(loop: LoopBuilder, machine: Rates) -> float:
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], machine)


def _driven_seconds(steps: Sequence[Step], machine: Rates = _WAITING) -> float:
    arguments = [tuple(hint_value(size) for size in step.arguments) for step in steps]
    return sum(all_seconds(steps, arguments, machine, in_place=True))


def _chunk_length(iterations: Size, seconds: float) -> int:
    """Return how many iterations of a loop a chunk runs if all take ``seconds``; 0: no chunks."""
    if isinstance(iterations, int) and seconds <= _MOST_SECONDS:
        return 0
    iteration_seconds = seconds / max(1, hint_value(iterations))
    return max(_FEWEST_ITERATIONS, int(_MOST_SECONDS / 4 / iteration_seconds))

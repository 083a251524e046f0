"""Loops as one kernel: rows outside, iterations inside, carried values in registers.

A body with independent rows, or with only a few numbers, needs no separate kernels. Written out
(``written_out``) it is scalar arithmetic inside of a ``Loop``. Its carries are those of the
kernel; slices and stacks are accessed in place. Rows are vector lanes, and are shared among
workers. All operations are those of the body's kernels, so results are bitwise identical.

A kernel returns only after its last iteration, and signals are delayed until then. So a loop that
is long, or whose number of iterations is a named size, is two loops: the driver's over *stretches*
of iterations, and the kernel's over the iterations of a stretch. Carries pass between stretches
through memory.
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
from staticgrad.compiler.lowering.loops.refusals import NotWrittenOutError, WhyDriven
from staticgrad.compiler.lowering.loops.written_out import (
    ROW,
    Found,
    Lookup,
    RowPlace,
    WrittenOut,
    readings,
    write_out,
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
    """An interpretation of a body: its rows (None: a single one), and whether the elements of a
    row are adjacent (``inner``). ``ends``: the kernel runs at least one row; with 0 rows it neither
    reads nor stores elements of rows."""

    rows: Size | None
    inner: bool
    ends: bool


#: The phase of a step, its label, and its lines.
About = tuple[int, str, tuple[Location, ...]]
#: A carried element: the number of the carry, and the place in it.
Carried = tuple[int, RowPlace]


#: The body of a loop over stretches, and their number.
Stretches = tuple[Schedule, Size]


class NoFirstRowError(NotWrittenOutError):
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
        self._elements = WrittenOut(self._body, self._rows, inner, self._source, self._names.size)
        self._carried: dict[Carried, Expr] = {}
        self._accessed: set[tuple[str, RowPlace]] = set()

    def write(self) -> None:
        """Make the kernel."""
        write_out(self._elements, self._body.steps)
        stages = self._stages()
        axes: tuple[Axis, ...] = ()
        if self._rows is not None:
            rows = maximum(self._rows, 1) if self._ends else self._rows
            axes = (Axis(ROW, self._names.argument(rows)),)
        self._finish(axes, stages)

    def stretches(self, about: About) -> Stretches:
        """Return the schedule that runs the kernel, and how often it runs."""
        count = self._bodies.iterations
        buffers = tuple(map(self._buffer, self._used))
        bound = [Binding(buffer.name) for buffer in buffers]
        step = KernelStep.of(self.kernel, bound, self.arguments, *about)
        outputs = tuple((b.label, b.name) for b in buffers if b.role == "output")
        return Schedule("stretch", buffers, (step,), outputs), -(-count // self._length)

    def _buffer(self, number: int | str) -> Buffer:
        if isinstance(number, str):
            return self._body.by_name[number]
        if number == _NUMBER:
            return Buffer(NUMBER.name, "input", I64, 1, label=NUMBER.label)
        (each,) = (each for each, operand in self._bodies.outside.items() if operand == number)
        found = self._body_buffer(each)
        size = found.size * self._length if each.has_rows else found.size
        role: Role = "input" if each.is_input else "output"
        return Buffer(each.name, role, found.dtype, size, label=each.label)

    def _body_buffer(self, each: BodyBuffer) -> Buffer:
        """The buffer of the body; of a carry, which the body may not read, its new value's."""
        read = BodyBuffer("next", each.number) if each.role == "carry" else each
        return self._body.by_name[read.name]

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        nexts = self._nexts()
        carries = self._bodies.form.carries
        stacked = [
            Store(self._result(BodyBuffer("result", n), place), value)
            for n in range(len(self._body.outputs) - carries)
            if self._bodies.writes[carries + n] in self._bodies.stored
            for place, value in self._results(BodyBuffer("result", n)).items()
        ]
        body: list[Keep | Store | Check] = [*map(self._check, self._elements.lookups)]
        following = []
        for each, value in nexts.items():
            if value.op not in ("ref", "literal"):
                name = self._names.fresh("r", value.dtype)
                body.append(Keep(str(name.attribute), value))
                value = name
            following.append(Carry(str(self._carry(*each).attribute), value))
        body += stacked
        if not body:
            raise NotWrittenOutError(WhyDriven.Nothing)
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

    def _nexts(self) -> dict[Carried, Expr]:
        nexts = {
            (n, place): value
            for n in range(self._bodies.form.carries)
            for place, value in self._results(BodyBuffer("next", n)).items()
        }
        if not self._carried.keys() <= nexts.keys():
            raise NotWrittenOutError(WhyDriven.OtherRow)
        for each in nexts:
            self._carry(*each)
        return nexts

    def _check(self, each: Lookup) -> Check:
        operand = self._names.operand(each.words, I64, "check")
        extent = self._names.argument(each.extent)
        return Check(each.name, each.place, extent, each.position, operand, each.wrap)

    def _loop(self) -> tuple[Sequence[Scalar], Axis]:
        """Return the loop over iterations, behind a stage that stores where a stretch ends."""
        extent = self._names.argument(self._iterations)
        if not self._length:
            return (), Axis(ITERATIONS, extent)
        total, made = self._names.size(self._bodies.iterations), self._elements.made
        count = made("minimum", I64, (ex.size(extent), made("sub", I64, (total, self._begin()))))
        name = str(self._names.fresh("r", I64).attribute)
        if not self._bodies.form.reverse:
            return [Scalar((Keep(name, count),))], Axis(ITERATIONS, extent, past=name)
        skipped = made("sub", I64, (ex.size(extent), count))
        return [Scalar((Keep(name, skipped),))], Axis(ITERATIONS, extent, first=name)

    def _begin(self) -> Expr:
        number = ex.load(Access(self._names.operand(_NUMBER, I64, "in")), I64)
        return self._elements.made("mul", I64, (number, self._names.size(self._length)))

    def _results(self, each: BodyBuffer) -> Mapping[RowPlace, Expr]:
        """Return the elements of a result of the body, all of which must be present."""
        held = self._elements.memory.get(each.name, {})
        count: Size = len(held)
        if any(place.row != 0 for place in held):
            assert self._rows is not None
            count = len(held) * self._rows
        if not held or count != self._body_buffer(each).size:
            # also where it has no elements: no store would name it
            raise NotWrittenOutError(WhyDriven.Partial)
        return held

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

    def _source(self, name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
        each = self._outside[name]
        if each.role == "number":
            return self._number()
        if each.role != "carry":
            return self._load(each, place, indices)
        if indices:
            raise NotWrittenOutError(WhyDriven.Lookup)  # carries are not in memory
        return self._carry(each.number, place)

    def _number(self) -> Expr:
        within = super()._number()
        return ex.apply("add", self._begin(), within) if self._length else within

    def _load(self, each: BodyBuffer, place: RowPlace, indices: Found = ()) -> Expr:
        """Return an element of an operand of the loop, or of the iteration's slice of it."""
        buffer = self._body_buffer(each)
        access = self._access(self._operand(each, buffer), place)
        strides = tuple(self._extent(stride) for _, stride in indices)
        at = tuple(index for index, _ in indices)
        return ex.load(replace(access, gather=strides), buffer.dtype, *at)

    def _result(self, each: BodyBuffer, place: RowPlace) -> Access:
        access = self._access(self._operand(each, self._body_buffer(each)), place)
        if self._rows is None or place.row != 0:
            return access
        if (bounds(self._rows)[0] or 0) < 1 and not self._ends:
            raise NoFirstRowError(WhyDriven.Partial)
        first = Position(((ROW, 1),), 0, 0, 1)
        return replace(access, positions=(*access.positions, first))

    def _access(self, memory: JoinedMemory, place: RowPlace) -> Access:
        strides, positions = [*memory.strides], [*memory.positions]
        if place.row != 0:
            self._accessed.add((memory.operand, place))
            if len(self._accessed) > MOST_ACCESSED:
                raise NotWrittenOutError(WhyDriven.Wide)
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


#: Elements that each row loads and stores before, in and after all iterations, at most. LLVM takes
#: time for every pair of them: for 40 elements of float64 about 0.4 s, for 80 of them 0.9 to 2 s,
#: for 160 of them 3 to 11 s; about twice as long for float32. The one kernel is 4 to 5 times as
#: quick as the driver with 40 of them, 1.5 to 2.4 times with 60 to 100; with more it may be slower.
#: Operations alone are cheap: with two numbers in a row, 2,400 expressions took half a second.
MOST_ACCESSED: Final = 64
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


def lower_time_loop(lowered: LoweredBodies, about: About) -> LoweredStep | Stretches | WhyDriven:
    """Return the kernel of a loop, or its stretches, or why it has none.

    ``about``: the phase, the label and the lines of the loop.
    """
    tested = lowered.form.kind == "while"
    if tested and not isinstance(lowered.iterations, int):
        return WhyDriven.SizedTest
    if tested and lowered.iterations >= ENDLESS:
        return WhyDriven.Endless
    if lowered.form.logged:
        return WhyDriven.Logged
    steps = lowered.schedules[-1].steps
    joined = _joined(lowered)
    why = joined if isinstance(joined, WhyDriven) else WhyDriven.Slower
    wide = False
    for rows, inner in () if tested else readings(steps):
        for ends in (False, True):
            reading = Reading(rows, inner, ends)
            try:
                whole = WrittenLoop(lowered, reading)
                whole.write()
                if rows is None:
                    driven = max(1, hint_value(lowered.iterations)) * _driven_seconds(steps)
                    least = driven if isinstance(joined, WhyDriven) else min(driven, joined[0])
                    if _seconds(whole, _ONE_LANE) > least:
                        break
                far = rows is not None and _is_far(lowered)
                length = _SHORTEST if far else _stretch(lowered.iterations, _seconds(whole, ROWS))
                if not length:
                    return whole.step()
                part = WrittenLoop(lowered, reading, length)
                part.write()
                return part.stretches(about)
            except NoFirstRowError:
                continue
            except NotWrittenOutError as refused:
                why = refused.why if why is WhyDriven.SizedLoop else why
                wide = refused.why is WhyDriven.Wide
                break
        if wide:  # fewer rows have more elements each
            break
    return why if isinstance(joined, WhyDriven) else joined[1].step()


def _is_far(lowered: LoweredBodies) -> bool:
    """Return whether a vector of rows accesses more pages in all iterations than the TLB holds,
    while a few iterations of all rows access few pages."""
    body = lowered.schedules[-1].by_name
    moved = [body[each.name] for each in lowered.outside if each.has_rows and each.name in body]
    iteration = sum(hint_value(each.size) * each.dtype.itemsize for each in moved)
    return iteration >= _PAGE and iteration * hint_value(lowered.iterations) >= _FAR


def _joined(lowered: LoweredBodies) -> tuple[float, JoinedIterations] | WhyDriven:
    """Return the predicted seconds and the kernel of a short loop of the bodies' stages, or why it
    has none: the driver is as quick, or workers share its steps."""
    steps = [step for schedule in lowered.schedules for step in schedule.steps]
    kernels = [step for step in steps if not step.bodies()]
    arguments = [tuple(map(hint_value, step.arguments)) for step in kernels]
    if not isinstance(lowered.iterations, int):
        return WhyDriven.SizedLoop
    if max(all_seconds(kernels, arguments, FASTEST), default=0.0) >= _SHARED:
        return WhyDriven.Shared
    loop = JoinedIterations(lowered)
    try:
        loop.write()
    except NotWrittenOutError as refused:
        return refused.why
    iterations = max(1, lowered.iterations)
    seconds = _seconds(loop, _NEAR) + iterations * loop.stages_of_iteration * _STAGE
    slow = seconds > _GAIN * iterations * _driven_seconds(steps, _NEAR_WAITING)
    if slow or _stretch(iterations, _seconds(loop, ROWS)):
        return WhyDriven.Slower
    return seconds, loop


def _seconds(loop: LoopBuilder, machine: Rates) -> float:
    return step_seconds(loop.kernel, [hint_value(size) for size in loop.arguments], machine)


def _driven_seconds(steps: Sequence[Step], machine: Rates = _WAITING) -> float:
    arguments = [tuple(hint_value(size) for size in step.arguments) for step in steps]
    return sum(all_seconds(steps, arguments, machine))


def _stretch(iterations: Size, seconds: float) -> int:
    """Return the iterations of a stretch if all iterations take ``seconds``; 0 if stretches are
    not needed."""
    if isinstance(iterations, int) and seconds <= _LONGEST:
        return 0
    each = seconds / max(1, hint_value(iterations))
    return max(_SHORTEST, min(int(_LONGEST / 4 / each), _MOST_ITERATIONS))

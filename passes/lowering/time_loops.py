"""Loops as one kernel: rows outside, trips inside, carried values in registers.

A body whose rows have nothing to do with each other, or that is about a handful of numbers, needs
no kernels of its own. Written out (``lowering.elements``) it is scalar arithmetic, and the loop a
``Loop`` around it: its carries are the kernel's, slices are read and stacks written where they lie.
Rows are the lanes of vectors, and are shared among workers. All operations are those of the body's
kernels, so that the bits are the same either way.

A kernel does not return before its last trip, and signals wait for that. So a loop that is long, or
whose trips are a named size, is two: the driver's, over *stretches* of trips, and the kernel's over
the trips of one. What is carried goes through memory between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from passes.fusion.groups import CheckBuffer, Key
from passes.lowering.bodies import LoweredBodies
from passes.lowering.elements import write_out
from passes.lowering.operands import LoweredStep
from passes.lowering.steady import TRIPS, Steady
from passes.lowering.written_cases import branch_of
from passes.lowering.written_out import (
    ROW,
    Found,
    Lookup,
    NotWrittenOutError,
    RowPlace,
    WrittenOut,
)
from staticgrad.analysis.cost import ROWS, Machine, all_seconds, step_seconds
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import (
    Axis,
    Carry,
    Check,
    Extent,
    Keep,
    Loop,
    Mode,
    Operand,
    Scalar,
    Stage,
    Store,
    loops_of,
    nested,
    operands_read,
)
from staticgrad.ir.kernel_turned import SHORT_STRIDE
from staticgrad.ir.schedule import Buffer, Role, Schedule, Step
from staticgrad.types.dim import Size, bounds, maximum
from staticgrad.types.dtype import I64, DType
from staticgrad.types.tensor import hint_value

#: Numbers of rows that are tried, at most.
_TRIED: Final = 3
#: The number of an operand that is none of the loop's: that of the stretch.
_NUMBER: Final = -1
#: Predicted seconds of a kernel without stretches, at most.
_LONGEST: Final = 0.02
#: A processor that computes with numbers, not with vectors, and has them at hand.
_ONE_LANE: Final = Machine(map_flops=1e10, bandwidth=1e12, launch=0.0)
#: What the driver's kernels of few elements take: one waits for what the one before has stored.
_WAITING: Final = Machine(launch=1.5e-8)
#: Trips of a stretch, at least, so that it pays to keep what is carried; and at most.
_SHORTEST: Final = 8
_MOST_TRIPS: Final = 1 << 20


class Reading(NamedTuple):
    """How a body is read: what its rows are (None: there is but one), and whether the elements of a
    row lie next to each other. ``ends``: the kernel has a row also where there are none, which
    reads and stores no element of a row."""

    rows: Size | None
    inner: bool
    ends: bool


#: A carried element: the number of the value, and where it lies in that.
Carried = tuple[int, RowPlace]


class Stretch(NamedTuple):
    """The body of a loop over stretches: a kernel, the buffers that it is bound to in their order,
    the results; and how many stretches there are."""

    kernel: Kernel
    arguments: tuple[Size, ...]
    buffers: tuple[Buffer, ...]
    stretches: Size

    @property
    def outputs(self) -> tuple[tuple[str, str], ...]:
        """The names of the results, with their buffers."""
        return tuple((b.label, b.name) for b in self.buffers if b.role == "output")


def lower_time_loop(lowered: LoweredBodies) -> LoweredStep | Stretch | None:
    """The kernel of a loop, or of stretches of it; None where a body of other steps, or rows that
    read each other, has none."""
    if lowered.form.kind != "loop":
        return None
    (schedule,) = lowered.schedules
    for rows, inner in _readings(schedule.steps):
        for ends in (False, True):
            reading = Reading(rows, inner, ends)
            try:
                whole = _TimeLoop(lowered, schedule, reading)
                whole.write()
                if whole.is_slower_than_driven:
                    break
                length = _stretch(lowered.trips, whole.seconds)
                if not length:
                    return whole.step()
                part = _TimeLoop(lowered, schedule, reading, length)
                part.write()
                return part.stretch()
            except _NoFirstRowError:
                continue
            except NotWrittenOutError:
                break
    return None


def _driven_seconds(steps: Sequence[Step]) -> float:
    """What the driver is predicted to take for a trip, in which the longest case is taken."""
    branches = [branch for step in steps if (branch := branch_of(step))]
    others = [step for step in steps if not branch_of(step)]
    arguments = [tuple(hint_value(size) for size in step.arguments) for step in others]
    total = sum(all_seconds(others, arguments, _WAITING))
    for branch in branches:
        longest = max(_driven_seconds(case.steps) for case in branch.schedules)
        total += _WAITING.launch + longest
    return total


def _stretch(trips: Size, seconds: float) -> int:
    """The trips of a stretch, if all of them are predicted to take so long; 0 for no stretches."""
    if isinstance(trips, int) and seconds <= _LONGEST:
        return 0
    each = seconds / max(1, hint_value(trips))
    return max(_SHORTEST, min(int(_LONGEST / 4 / each), _MOST_TRIPS))


def _readings(steps: Iterable[Step]) -> Iterator[tuple[Size | None, bool]]:
    """What may be the rows of a body, the most of them first; None: there is but one."""
    found: dict[Size, None] = {}
    for step in _with_cases(steps):
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


def _with_cases(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps, and those of cases in the place of a branch."""
    for step in steps:
        branch = branch_of(step)
        if branch is None:
            yield step
        else:
            for case in branch.schedules:
                yield from _with_cases(case.steps)


class _NoFirstRowError(NotWrittenOutError):
    """There may be no row that stores what is the same in all of them."""


class _TimeLoop:
    """The kernel of a loop as it is made: its operands, arguments, and carried elements.

    ``length``: of the stretches that it runs one of; 0: all trips.
    """

    kernel: Kernel

    def __init__(
        self, bodies: LoweredBodies, schedule: Schedule, reading: Reading, length: int = 0
    ) -> None:
        self._bodies, self._schedule, self._length = bodies, schedule, length
        self._rows, inner, self._ends = reading
        self._trips = length or bodies.trips
        self._elements = WrittenOut(schedule, self._rows, inner, self._source, self._size)
        self._operands: dict[int | str, Operand] = {}  # by number in the loop, or words of a check
        self._sizes: dict[Size, str] = {}
        self._carried: dict[Carried, Expr] = {}

    def write(self) -> None:
        """Make the kernel.

        Raises:
            NotWrittenOutError: there is none.
        """
        write_out(self._elements, self._schedule.steps)
        stages = self._stages()
        read = operands_read(stages)
        self._operands = {
            n: o for n, o in self._operands.items() if o.mode != "in" or o.name in read
        }
        axes: tuple[Axis, ...] = ()
        if self._rows is not None:
            rows = maximum(self._rows, 1) if self._ends else self._rows
            axes = (Axis(ROW, self._argument(rows)),)
        names = tuple(self._sizes.values())
        self.kernel = Kernel(tuple(self._operands.values()), names, axes, stages)

    @property
    def seconds(self) -> float:
        """What the kernel is predicted to take."""
        return step_seconds(self.kernel, [hint_value(size) for size in self._sizes], ROWS)

    @property
    def is_slower_than_driven(self) -> bool:
        """Whether trips of the only row, or of rows for which all cases of a branch are computed,
        are predicted to take longer than the driver's."""
        steps, sizes = self._schedule.steps, [hint_value(size) for size in self._sizes]
        if self._rows is None:
            whole = step_seconds(self.kernel, sizes, _ONE_LANE)
        elif any(map(branch_of, steps)):
            whole = self.seconds
        else:
            return False
        return whole > _driven_seconds(steps) * max(1, hint_value(self._trips))

    def stretch(self) -> Stretch:
        """The kernel of a stretch."""
        count = self._bodies.trips
        buffers = tuple(self._buffer(number) for number in self._operands)
        return Stretch(
            self.kernel, tuple(self._sizes), buffers, (count + (self._length - 1)) // self._length
        )

    def _buffer(self, number: int | str) -> Buffer:
        """The buffer of an operand in the body of a loop over stretches."""
        if isinstance(number, str):
            return self._schedule.by_name[number]
        if number == _NUMBER:
            return Buffer("in.i", "input", I64, 1, label="i")
        form, given = self._bodies.form, self._given
        ends = form.carries, form.carries + form.slices, given, given + form.carries
        kind = next((n for n, end in enumerate(ends) if number < end), len(ends))
        name = ("in.c", "in.x", "in.p", "out.c", "out.y")[kind] + str(number - (0, *ends)[kind])
        found = self._schedule.by_name[name.replace("in.c", "out.c")]
        size = found.size * self._length if kind in (1, 4) else found.size
        role: Role = "input" if kind < 3 else "output"
        return Buffer(name, role, found.dtype, size, label=name.split(".")[1])

    @property
    def _given(self) -> int:
        """How many operands of the loop are values that go in."""
        return sum(each.use == "in" for each in self._bodies.types)

    def step(self) -> LoweredStep:
        """The step that runs the loop."""
        sizes, used = tuple(self._sizes), self._operands
        bound = [self._bound(number) for number in used]
        keys = [(key, used[n].mode) for n, (key, _) in zip(used, bound, strict=True)]
        return LoweredStep(
            self.kernel,
            tuple(bound),
            sizes,
            self.kernel.iterations(sizes),
            self.kernel.grain(sizes),
            touched=tuple(dict.fromkeys(key for key, _ in keys)),
            reads=tuple(dict.fromkeys(key for key, mode in keys if mode == "in")),
            writes=tuple(dict.fromkeys(key for key, mode in keys if mode == "out")),
        )

    def _bound(self, number: int | str) -> tuple[Key, Size]:
        """What an operand of the loop stands for."""
        if not isinstance(number, str):
            return self._bodies.operands[number]
        node, origin = self._bodies.writes[0].node, self._schedule.by_name[number].origin
        return CheckBuffer(node, number, origin), 0

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        """What stays the same in all trips, the loop, and the stores of what is carried last."""
        form, outputs = self._bodies.form, len(self._schedule.outputs)
        nexts = {
            (n, place): value
            for n in range(form.carries)
            for place, value in self._results(f"out.c{n}").items()
        }
        if not self._carried.keys() <= nexts.keys():
            raise NotWrittenOutError  # a row reads what another one carries
        stacked = [
            (n, place, value)
            for n in range(outputs - form.carries)
            if self._bodies.writes[form.carries + n] in self._bodies.stored
            for place, value in self._results(f"out.y{n}").items()
        ]
        carries = {each: self._carry(*each) for each in nexts}
        lookups = self._elements.lookups
        checked = [expr for each in lookups for expr in (each.place, each.position)]
        steady = Steady([*nexts.values(), *(value for _, _, value in stacked), *checked])
        body: list[Keep | Store | Check] = [self._check(each, steady) for each in lookups]
        following = []
        for each, value in nexts.items():
            after = steady.inside(value)
            if after.op not in ("ref", "literal"):
                kept = steady.name(after.dtype)
                body.append(Keep(str(kept.attribute), after))
                after = kept
            following.append(Carry(str(carries[each].attribute), after))
        for n, place, value in stacked:
            number = form.carries + n
            body.append(Store(self._result(number, place, True), steady.inside(value)))
        if not body:
            raise NotWrittenOutError
        first = [
            Carry(str(carries[n, place].attribute), self._load(n, place, f"out.c{n}"))
            for n, place in nexts
        ]
        trips = self._loop(steady)
        stages: list[Stage] = [Loop(trips, tuple(first), (Scalar(tuple(body)),), tuple(following))]
        if steady.kept:
            stages.insert(0, Scalar(tuple(steady.kept)))
        last = [
            Store(self._result(n, at, False), carries[n, at])
            for n, at in nexts
            if self._length or self._bodies.writes[n] in self._bodies.stored
        ]
        if last:
            stages.append(Scalar(tuple(last)))
        return tuple(stages)

    def _check(self, each: Lookup, steady: Steady) -> Check:
        operand, extent = self._operand(each.words, I64, "check"), self._argument(each.extent)
        index, position = steady.inside(each.place), steady.inside(each.position)
        return Check(each.name, index, extent, position, operand, each.wrap)

    def _loop(self, steady: Steady) -> Axis:
        """The loop over trips; that of the last stretch ends early, or begins late."""
        extent = self._argument(self._trips)
        if not self._length:
            return Axis(TRIPS, extent)
        total, made = ex.size(self._argument(self._bodies.trips)), self._elements.made
        count = made("minimum", I64, (ex.size(extent), made("sub", I64, (total, self._begin()))))
        limit = steady.name(I64)
        name = str(limit.attribute)
        if not self._bodies.form.reverse:
            steady.kept.append(Keep(name, count))
            return Axis(TRIPS, extent, past=name)
        steady.kept.append(Keep(name, made("sub", I64, (ex.size(extent), count))))
        return Axis(TRIPS, extent, first=name)

    def _begin(self) -> Expr:
        """The number of the first trip of a stretch."""
        number = ex.load(Access(self._operand(_NUMBER, I64, "in")), I64)
        return self._elements.made("mul", I64, (number, ex.size(self._argument(self._length))))

    def _results(self, name: str) -> Mapping[RowPlace, Expr]:
        """The elements of a result of the body, of which there is each."""
        held = self._elements.memory.get(name, {})
        count: Size = len(held)
        if any(place.row != 0 for place in held):
            assert self._rows is not None
            count = len(held) * self._rows
        if not held or count != self._schedule.by_name[name].size:
            raise NotWrittenOutError  # also where it has no elements: no store would name it
        return held

    def _carry(self, number: int, place: RowPlace) -> Expr:
        """An element that is carried."""
        if (number, place) not in self._carried:
            dtype = self._schedule.by_name[f"out.c{number}"].dtype
            self._carried[number, place] = ex.ref(f"s{len(self._carried)}", dtype)
        return self._carried[number, place]

    # -- operands and arguments -------------------------------------------------------------------

    def _argument(self, value: Size) -> str:
        return self._sizes.setdefault(value, f"n{len(self._sizes)}")

    def _extent(self, value: Size) -> Extent:
        """An argument; small numbers stay literal."""
        if isinstance(value, int) and abs(value) <= SHORT_STRIDE:
            return value
        return self._argument(value)

    def _size(self, value: Size) -> Expr:
        return ex.size(self._argument(value))

    def _operand(self, number: int | str, dtype: DType, mode: Mode) -> str:
        if number not in self._operands:
            self._operands[number] = Operand(f"p{len(self._operands)}", dtype, mode)
        return self._operands[number].name

    def _source(self, name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
        """An element of an input of the body."""
        form = self._bodies.form
        if name == "in.i":
            return self._number()
        kind, number = name[3], int(name[4:])
        if kind == "c":
            if indices:
                raise NotWrittenOutError  # what is carried lies in no memory
            return self._carry(number, place)
        skipped = {"x": form.carries, "p": form.carries + form.slices}[kind]
        return self._load(skipped + number, place, name, kind == "x", indices)

    def _number(self) -> Expr:
        """The number of the trip."""
        trip = ex.index(TRIPS)
        if self._bodies.form.reverse:
            trip = ex.apply("sub", ex.size(self._argument(self._trips - 1)), trip)
        return ex.apply("add", self._begin(), trip) if self._length else trip

    def _load(
        self, number: int, place: RowPlace, name: str, sliced: bool = False, indices: Found = ()
    ) -> Expr:
        """An element of an operand of the loop; ``name``: of its buffer in the body."""
        buffer = self._schedule.by_name[name]
        operand = self._operand(number, buffer.dtype, "in")
        access = self._access(operand, place, buffer.size if sliced else 0)
        strides = tuple(self._extent(stride) for _, stride in indices)
        at = tuple(index for index, _ in indices)
        return ex.load(replace(access, gather=strides), buffer.dtype, *at)

    def _result(self, number: int, place: RowPlace, stacked: bool) -> Access:
        """Where an element of a result of the loop is stored."""
        form = self._bodies.form
        name = f"out.y{number - form.carries}" if stacked else f"out.c{number}"
        buffer = self._schedule.by_name[name]
        operand = self._operand(self._given + number, buffer.dtype, "out")
        access = self._access(operand, place, buffer.size if stacked else 0)
        if self._rows is None or place.row != 0:
            return access
        if (bounds(self._rows)[0] or 0) < 1 and not self._ends:
            raise _NoFirstRowError
        first = Position(((ROW, 1),), 0, 0, 1)
        return Access(operand, access.strides, (), (*access.positions, first))

    def _access(self, operand: str, place: RowPlace, slice_size: Size) -> Access:
        """An element of a row; of the trip's slice, where slices have a size."""
        strides: list[tuple[str, Extent]] = []
        positions = []
        if slice_size != 0 and self._bodies.form.reverse:
            last = self._argument(self._trips - 1)
            positions.append(Position(((TRIPS, -1),), last, self._argument(slice_size)))
        elif slice_size != 0:
            strides.append((TRIPS, self._argument(slice_size)))
        if place.row != 0 and self._ends:
            assert self._rows is not None
            past = self._argument(self._rows)
            positions.append(Position(((ROW, 1),), 0, self._extent(place.row), past))
        elif place.row != 0:
            strides.append((ROW, self._extent(place.row)))
        if place.at != 0:
            start: Extent = place.at if isinstance(place.at, int) else self._argument(place.at)
            positions.append(Position((), start))
        return Access(operand, tuple(strides), (), tuple(positions))

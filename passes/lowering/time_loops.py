"""Loops as one kernel: rows outside, trips inside, carried values in registers.

A body whose rows have nothing to do with each other, or that is about a handful of numbers, needs
no kernels of its own. Written out (``lowering.elements``) it is scalar arithmetic, and the loop a
``Loop`` around it: its carries are the kernel's, slices are read and stacks written where they lie.
Rows are the lanes of vectors, and are shared among workers. All operations are those of the body's
kernels, so that the bits are the same either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from passes.lowering.bodies import LoweredBodies
from passes.lowering.elements import ROW, NotWrittenOutError, RowPlace, WrittenOut
from passes.lowering.operands import LoweredStep
from staticgrad.analysis.cost import ROWS, step_seconds
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import (
    Axis,
    Carry,
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
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.types.dim import Size, bounds, maximum
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import hint_value

#: The loop over trips.
_TRIPS: Final = "i0"
#: Numbers of rows that are tried, at most.
_TRIED: Final = 3
#: Predicted seconds of a kernel, at most: signals are seen between the trips of the driver's loops.
_LONGEST: Final = 0.02
#: What needs no register to be there again.
_AT_HAND: Final = ("literal", "index", "size")

#: A carried element: the number of the value, and where it lies in that.
Carried = tuple[int, RowPlace]


def lower_time_loop(lowered: LoweredBodies) -> LoweredStep | None:
    """The kernel of a loop; None where its body has other steps, or rows that read each other."""
    if lowered.form.kind != "loop":
        return None
    (schedule,) = lowered.schedules
    for rows, inner in _readings(schedule.steps):
        for ends in (False, True):
            try:
                return _TimeLoop(lowered, schedule, rows, inner, ends).lowered()
            except _NoFirstRowError:
                continue
            except NotWrittenOutError:
                break
    return None


def _readings(steps: Iterable[Step]) -> Iterator[tuple[Size | None, bool]]:
    """What may be the rows of a body, the most of them first; None: there is but one."""
    found: dict[Size, None] = {}
    for step in steps:
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


class _NoFirstRowError(NotWrittenOutError):
    """There may be no row that stores what is the same in all of them."""


class _TimeLoop:
    """The kernel of a loop as it is made: its operands, arguments, and carried elements.

    ``ends``: it has a row also where there are none, which reads and stores no element of a row.
    """

    def __init__(
        self,
        bodies: LoweredBodies,
        schedule: Schedule,
        rows: Size | None,
        inner: bool,
        ends: bool,
    ) -> None:
        self._bodies, self._schedule, self._rows, self._ends = bodies, schedule, rows, ends
        self._elements = WrittenOut(schedule, rows, inner, self._source, self._size)
        self._operands: dict[int, Operand] = {}
        self._sizes: dict[Size, str] = {}
        self._carried: dict[Carried, Expr] = {}

    def lowered(self) -> LoweredStep:
        """The step that runs the loop.

        Raises:
            NotWrittenOutError: there is none.
        """
        for step in self._schedule.steps:
            self._elements.run(step)
        stages = self._stages()
        read = operands_read(stages)
        used = {n: o for n, o in self._operands.items() if o.mode == "out" or o.name in read}
        axes: tuple[Axis, ...] = ()
        if self._rows is not None:
            rows = maximum(self._rows, 1) if self._ends else self._rows
            axes = (Axis(ROW, self._argument(rows)),)
        names, sizes = tuple(self._sizes.values()), tuple(self._sizes)
        kernel = Kernel(tuple(used.values()), names, axes, stages)
        if step_seconds(kernel, [hint_value(size) for size in sizes], ROWS) > _LONGEST:
            raise NotWrittenOutError
        bound = [self._bodies.operands[number] for number in used]
        keys = [(key, used[n].mode) for n, (key, _) in zip(used, bound, strict=True)]
        return LoweredStep(
            kernel,
            tuple(bound),
            sizes,
            kernel.iterations(sizes),
            kernel.grain(sizes),
            touched=tuple(dict.fromkeys(key for key, _ in keys)),
            reads=tuple(dict.fromkeys(key for key, mode in keys if mode == "in")),
            writes=tuple(dict.fromkeys(key for key, mode in keys if mode == "out")),
        )

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
        steady = _Steady([*nexts.values(), *(value for _, _, value in stacked)])
        body: list[Keep | Store] = []
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
        trips = Axis(_TRIPS, self._argument(self._bodies.trips))
        stages: list[Stage] = [Loop(trips, tuple(first), (Scalar(tuple(body)),), tuple(following))]
        if steady.kept:
            stages.insert(0, Scalar(tuple(steady.kept)))
        last = [
            Store(self._result(n, at, False), carries[n, at])
            for n, at in nexts
            if self._bodies.writes[n] in self._bodies.stored
        ]
        if last:
            stages.append(Scalar(tuple(last)))
        return tuple(stages)

    def _results(self, name: str) -> Mapping[RowPlace, Expr]:
        """The elements of a result of the body, of which there is each."""
        held = self._elements.memory.get(name, {})
        count: Size = len(held)
        if any(place.row != 0 for place in held):
            assert self._rows is not None
            count = len(held) * self._rows
        if count != self._schedule.by_name[name].size:
            raise NotWrittenOutError
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

    def _operand(self, number: int, dtype: DType, mode: Mode) -> str:
        if number not in self._operands:
            self._operands[number] = Operand(f"p{len(self._operands)}", dtype, mode)
        return self._operands[number].name

    def _source(self, name: str, dtype: DType, place: RowPlace) -> Expr:
        """An element of an input of the body."""
        form = self._bodies.form
        if name == "in.i":
            return self._number()
        kind, number = name[3], int(name[4:])
        if kind == "c":
            return self._carry(number, place)
        skipped = {"x": form.carries, "p": form.carries + form.slices}[kind]
        return self._load(skipped + number, place, name, sliced=kind == "x")

    def _number(self) -> Expr:
        """The number of the trip."""
        trip = ex.index(_TRIPS)
        if not self._bodies.form.reverse:
            return trip
        return ex.apply("sub", self._elements.size(self._bodies.trips - 1), trip)

    def _load(self, number: int, place: RowPlace, name: str, sliced: bool = False) -> Expr:
        """An element of an operand of the loop; ``name``: of its buffer in the body."""
        buffer = self._schedule.by_name[name]
        operand = self._operand(number, buffer.dtype, "in")
        return ex.load(self._access(operand, place, buffer.size if sliced else 0), buffer.dtype)

    def _result(self, number: int, place: RowPlace, stacked: bool) -> Access:
        """Where an element of a result of the loop is stored."""
        form = self._bodies.form
        name = f"out.y{number - form.carries}" if stacked else f"out.c{number}"
        buffer = self._schedule.by_name[name]
        given = sum(each.use == "in" for each in self._bodies.types)
        operand = self._operand(given + number, buffer.dtype, "out")
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
            last = self._extent(self._bodies.trips - 1)
            positions.append(Position(((_TRIPS, -1),), last, self._extent(slice_size)))
        elif slice_size != 0:
            strides.append((_TRIPS, self._extent(slice_size)))
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


class _Steady:
    """Expressions of a trip, of which those that no trip changes are computed before the loop.

    ``kept`` are these, as far as a trip needs them.
    """

    def __init__(self, roots: Sequence[Expr]) -> None:
        self.kept: list[Keep] = []
        self._names = 0
        self._inside: dict[int, Expr] = {}
        self._steady: dict[int, bool] = {}
        order = [*postorder(roots)]
        for node in order:
            self._steady[id(node)] = not _changes(node) and all(
                self._steady[id(arg)] for arg in node.args
            )
        for node in order:
            if not self._steady[id(node)]:
                args = tuple(self.inside(arg) for arg in node.args)
                same = all(a is b for a, b in zip(args, node.args, strict=True))
                made = node if same else Expr(node.op, node.dtype, args, node.attribute)
                self._inside[id(node)] = made

    def inside(self, expr: Expr) -> Expr:
        """An expression as a trip has it."""
        if id(expr) not in self._inside:
            self._inside[id(expr)] = expr
            if expr.op not in _AT_HAND:
                self._inside[id(expr)] = name = self.name(expr.dtype)
                self.kept.append(Keep(str(name.attribute), expr))
        return self._inside[id(expr)]

    def name(self, dtype: DType) -> Expr:
        """A name for a number that is kept, as what reads it has it."""
        self._names += 1
        return ex.ref(f"r{self._names - 1}", dtype)


def _changes(expr: Expr) -> bool:
    """Whether an expression differs from trip to trip, whatever its arguments do."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(_TRIPS) != 0
    return expr.op == "ref" or (expr.op == "index" and expr.attribute == _TRIPS)

"""The kernel of a loop, made of the stages of its bodies' kernels.

What is carried lies in rows of scratch, and each iteration runs the stages of all kernels of the
body and of the test over them, one behind the other. So rows that read each other stay vectors,
however long they are, where ``written_loops`` and ``tested_loops`` write out every number; and no
iteration goes back to the driver. Slices are read and stacks written where they lie. A carry has
one place where the kernel that writes it may write over what it reads, and nobody reads the old one
behind it; else the next one has a place of its own, and is copied at the end of an iteration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.fusion.groups import Key, ScratchBuffer
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    LANES,
    Axis,
    Carry,
    Keep,
    Loop,
    Map,
    Operand,
    Scalar,
    Stage,
    Store,
    nested,
    operands_read,
)
from staticgrad.ir.schedule import Buffer, Schedule
from staticgrad.lowering.loops.bodies import LoweredBodies
from staticgrad.lowering.loops.joined_stages import JoinedMemory, JoinedNames, JoinedStages
from staticgrad.lowering.loops.steady import ITERATIONS
from staticgrad.lowering.loops.written_out import NotWrittenOutError, bound_places
from staticgrad.lowering.operands import LoweredStep
from staticgrad.types.dim import Size, is_at_least
from staticgrad.types.dtype import BOOL, I64

#: Scratch besides rows: the number of the iteration, and what the test has found.
_NUMBER: Final = "number"
_GOES: Final = "goes"


class JoinedIterations:
    """The kernel of a loop as it is made, of one that ends by a test or of so many iterations."""

    kernel: Kernel
    #: How many stages an iteration has, each of which waits for the one before.
    stages_of_iteration: int

    def __init__(self, bodies: LoweredBodies) -> None:
        """``bodies``: those of a loop without a log."""
        self._bodies, self._names = bodies, JoinedNames()
        self._body = bodies.schedules[-1]
        self._is_tested = bodies.form.kind == "while"
        self._node = bodies.writes[0].node
        self._carries = [self._body.by_name[f"out.c{n}"] for n in range(bodies.form.carries)]
        self._moved = [n for n in range(bodies.form.carries) if not self._has_one_place(n)]

    def write(self) -> None:
        """Make the kernel.

        Raises:
            NotWrittenOutError: a body has steps of another kind, or it cannot be shown that what
                they lay in scratch has room there.
        """
        stages = self._stages()
        read = operands_read(stages)
        self._used: dict[int | str, Operand] = {
            n: o for n, o in self._names.operands.items() if o.mode != "in" or o.name in read
        }
        names = tuple(self._names.sizes.values())
        self.kernel = Kernel(tuple(self._used.values()), names, (), stages)
        needed = self.kernel.room(self.arguments)
        for name, (_, size) in self._names.rooms.items():
            if not is_at_least(size, needed.get(self._names.operands[name].name, 0)):
                raise NotWrittenOutError

    @property
    def iterations(self) -> Size:
        """How many iterations it makes at most."""
        return self._bodies.iterations

    @property
    def arguments(self) -> tuple[Size, ...]:
        """The integer arguments of the kernel."""
        return tuple(self._names.sizes)

    def step(self) -> LoweredStep:
        """The step that runs the loop."""
        rooms = self._names.rooms
        scratch = {name: ScratchBuffer(self._node, n) for n, name in enumerate(rooms)}
        bound: list[tuple[Key, Size]] = [
            (scratch[n], 0) if isinstance(n, str) else self._bodies.operands[n] for n in self._used
        ]
        return LoweredStep.of_loop(
            self.kernel,
            tuple(bound),
            self.arguments,
            tuple((scratch[name], *room) for name, room in rooms.items()),
        )

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        """Rows come in, iterations are made, rows go out."""
        begin = [
            self._copied(self._row(n), self._names.operand(n, each.dtype, "in"), each)
            for n, each in enumerate(self._carries)
        ]
        last = [
            self._copied(self._out(n, each), self._row(n), each)
            for n, each in enumerate(self._carries)
            if self._bodies.writes[n] in self._bodies.stored
        ]
        if self._is_tested:
            return (*begin, *self._tested_iterations(), *last)
        iteration = [*self._numbered(self._number()), *self._iteration()]
        self.stages_of_iteration = len(list(nested(iteration)))
        return (*begin, Loop(self._axis, (), tuple(iteration), ()), *last)

    @property
    def _axis(self) -> Axis:
        return Axis(ITERATIONS, self._names.argument(self._bodies.iterations))

    def _number(self) -> Expr:
        """The number of the iteration of a loop that does not end by a test."""
        if not self._bodies.form.reverse:
            return ex.index(ITERATIONS)
        last = ex.size(self._names.argument(self._bodies.iterations - 1))
        return ex.apply("sub", last, ex.index(ITERATIONS))

    def _iteration(self) -> list[Stage]:
        """The stages of an iteration."""
        moved = [self._copied(self._row(n), self._next(n), self._carries[n]) for n in self._moved]
        return [*self._joined(self._body), *moved]

    def _tested_iterations(self) -> Sequence[Stage]:
        """What the test finds first, the iterations, and how many were made."""
        names, carries = self._names, self._bodies.form.carries
        begin, goes = self._tested(ex.literal(0, I64))
        done = ex.apply("add", ex.index(ITERATIONS), ex.literal(1, I64))
        again, goes_on = self._tested(done)
        iteration = [*self._iteration(), *again]
        going, count, made = names.state(BOOL), names.state(I64), names.result(I64)
        iteration.append(Scalar((Keep(str(made.attribute), done),)))
        last = []
        if self._bodies.writes[carries] in self._bodies.stored:
            to = names.operand(self._given + carries, I64, "out")
            last.append(Scalar((Store(Access(to), count),)))
        self.stages_of_iteration = len(list(nested(iteration)))
        state, total = str(going.attribute), str(count.attribute)
        iterations = Loop(
            self._axis,
            (Carry(state, goes), Carry(total, ex.literal(0, I64))),
            tuple(iteration),
            (Carry(state, goes_on), Carry(total, made)),
            going=state,
        )
        return (*begin, iterations, *last)

    def _tested(self, number: Expr) -> tuple[list[Stage], Expr]:
        """The stages of the test before the iteration of a number, and what it finds."""
        stages = [*self._numbered(number), *self._joined(self._bodies.schedules[0])]
        found = self._names.result(BOOL)
        goes = ex.load(Access(self._names.scratch(_GOES, BOOL, 1)), BOOL)
        return [*stages, Scalar((Keep(str(found.attribute), goes),))], found

    def _numbered(self, number: Expr) -> Iterator[Stage]:
        """The number of an iteration goes where kernels read it."""
        steps = [step for each in self._bodies.schedules for step in each.steps]
        if any("in.i" in step.reads() for step in steps):
            place = self._names.scratch(_NUMBER, I64, 1)
            yield Scalar((Store(Access(place), number),))

    def _joined(self, schedule: Schedule) -> list[Stage]:
        """The stages of all kernels of a body."""

        def memory(buffer: Buffer) -> JoinedMemory:
            return self._memory(buffer, schedule)

        steps = schedule.steps
        joined = (JoinedStages(self._names, each, schedule, memory) for each in steps)
        return [stage for each in joined for stage in each.stages()]

    def _copied(self, to: str, source: str, each: Buffer) -> Stage:
        """A row that is copied."""
        if each.size == 1:
            return Scalar((Store(Access(to), ex.load(Access(source), each.dtype)),))
        along = ((LANES, 1),)
        value = ex.load(Access(source, along), each.dtype)
        axis = Axis(LANES, self._names.argument(each.size))
        return Map(axis, (Store(Access(to, along), value),))

    # -- where rows are ---------------------------------------------------------------------------

    @property
    def _given(self) -> int:
        """How many operands of the loop are values that go in."""
        return sum(each.use == "in" for each in self._bodies.types)

    def _has_one_place(self, number: int) -> bool:
        """Whether an iteration may write a carry over what it was."""
        old, new = f"in.c{number}", f"out.c{number}"
        steps = self._body.steps
        writers = [n for n, step in enumerate(steps) if new in step.writes()]
        readers = [n for n, step in enumerate(steps) if old in step.reads()]
        if len(writers) != 1 or any(n > writers[0] for n in readers):
            return False
        kernels = steps[writers[0]].kernels()
        if writers[0] not in readers:
            return True
        places = bound_places(steps[writers[0]])
        results = [name for name, place in places.items() if place[0] == new]
        return len(kernels) == 1 and all(
            place == (old, 0) and all((out, name) in kernels[0].in_place for out in results)
            for name, place in places.items()
            if place[0] == old
        )

    def _row(self, number: int) -> str:
        """Where a carry is."""
        each = self._carries[number]
        return self._names.scratch(f"c{number}", each.dtype, each.size)

    def _next(self, number: int) -> str:
        """Where an iteration writes a carry."""
        each = self._carries[number]
        if number not in self._moved:
            return self._row(number)
        return self._names.scratch(f"next c{number}", each.dtype, each.size)

    def _out(self, number: int, each: Buffer) -> str:
        return self._names.operand(self._given + number, each.dtype, "out")

    def _memory(self, buffer: Buffer, schedule: Schedule) -> JoinedMemory:
        """Where a buffer of a body is.

        Raises:
            NotWrittenOutError: nowhere.
        """
        form, name, dtype = self._bodies.form, buffer.name, buffer.dtype
        if buffer.role in ("temp", "scratch"):
            own = "body" if schedule is self._body else "test"
            return JoinedMemory(self._names.scratch(f"{own} {name}", dtype, buffer.size))
        if name == "in.i":
            return JoinedMemory(self._names.scratch(_NUMBER, I64, 1))
        if name == "out.go":
            return JoinedMemory(self._names.scratch(_GOES, BOOL, 1))
        kind = name.rstrip("0123456789")
        number = int(name.removeprefix(kind) or 0)
        match kind:
            case "in.c":
                return JoinedMemory(self._row(number))
            case "out.c":
                return JoinedMemory(self._next(number))
            case "in.p":
                skipped = form.carries + form.slices
                return JoinedMemory(self._names.operand(skipped + number, dtype, "in"))
            case "in.x":
                given = self._names.operand(form.carries + number, dtype, "in")
                return self._by_iterations(given, buffer.size)
            case "out.y":
                stack = self._names.operand(self._given + form.carries + number, dtype, "out")
                return self._by_iterations(stack, buffer.size)
        raise NotWrittenOutError

    def _by_iterations(self, operand: str, size: Size) -> JoinedMemory:
        """Memory of so many elements for each iteration."""
        stride = self._names.argument(size)
        if not self._bodies.form.reverse:
            return JoinedMemory(operand, ((ITERATIONS, stride),))
        last = self._names.argument(self._bodies.iterations - 1)
        return JoinedMemory(operand, (), (Position(((ITERATIONS, -1),), last, stride),))

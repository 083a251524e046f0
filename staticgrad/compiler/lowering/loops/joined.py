"""Join the kernels of a loop's bodies into one kernel that contains the loop.

Carries are rows of scratch, and each iteration runs the stages of all kernels of the body and of
the test over them, one after the other. So dependent rows stay vectors of any length, while
``time_loops`` unrolls every element; and no iteration returns to the driver. Slices and stacks are
accessed in place. A carry has one buffer if the kernel that writes it may run in place, and the old
value is not read later. Else it is double buffered: the next value has a separate buffer, and is
copied at the end of an iteration.

``JoinedStages`` converts the stages of a step's kernel to those of the joined kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import Any, ClassVar, Final

from staticgrad.compiler.fusion.groups import CheckBuffer, Key, ScratchBuffer
from staticgrad.compiler.lowering.loops.driven import LoweredBodies, has_one_place
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal, LoopRefusedError
from staticgrad.compiler.lowering.loops.written_out import StepKernel, bound_places
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.bodies import GOING, NUMBER, BodyBuffer
from staticgrad.language.ir.expr import Access, Expr, Position, postorder
from staticgrad.language.ir.kernels.bodies import accesses
from staticgrad.language.ir.kernels.directives import (
    Directive,
    Interleave,
    Prefetch,
    StageDirective,
    Stream,
    Strips,
    of_stages,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import legal_ones
from staticgrad.language.ir.kernels.stages import (
    LANES,
    MOST_NESTED,
    Accumulate,
    Axis,
    Carry,
    Check,
    Columns,
    Extent,
    Keep,
    Loop,
    Map,
    Mode,
    Operand,
    Scalar,
    Stage,
    Statement,
    Store,
    nested_stages,
    operands_read,
)
from staticgrad.language.ir.schedule import Buffer, Schedule, Step
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.language.types.dtype import BOOL, I64, DType
from staticgrad.support.records import NamedTuple

#: The loop over iterations.
ITERATIONS: Final = "i0"


class JoinedNames:
    """The operands, integer arguments and results of the joined kernel.

    ``operands``: by number, or by name for scratch; ``scratch_types``: the dtypes of scratch;
    ``streamed``: operands of streaming stores; ``directives``: directives of stages.
    """

    def __init__(self) -> None:
        self.operands: dict[int | str, Operand] = {}
        self.scratch_types: dict[str, DType] = {}
        self.sizes: dict[Size, str] = {}
        self.streamed: set[str] = set()
        self.directives: list[StageDirective] = []
        self._counts: dict[str, int] = {}

    def operand(self, number: int | str, dtype: DType, mode: Mode) -> str:
        """Return the operand of a number, or of a name for scratch."""
        if number not in self.operands:
            self.operands[number] = Operand(f"p{len(self.operands)}", dtype, mode)
        return self.operands[number].name

    def scratch(self, name: str, dtype: DType) -> str:
        """Return the operand for scratch, whose size follows from the kernel's accesses."""
        self.scratch_types.setdefault(name, dtype)
        return self.operand(name, dtype, "scratch")

    def argument(self, value: Size) -> str:
        """Return the argument that holds a size."""
        return self.sizes.setdefault(value, f"n{len(self.sizes)}")

    def extent(self, value: Size) -> Extent:
        """Return a size as the extent of a loop or a stride."""
        return self.argument(value)

    def size(self, value: Size) -> Expr:
        """Return a size as an expression."""
        return ex.size(self.argument(value))

    def new_ref(self, letter: str, dtype: DType) -> Expr:
        """Return a reference to a new result (r), carry of a loop (s) or checked index (c)."""
        self._counts[letter] = number = self._counts.get(letter, -1) + 1
        return ex.ref(f"{letter}{number}", dtype)


class JoinedMemory(NamedTuple):
    """The location of a buffer: an operand, and its strides by iteration.

    ``is_filled``: all elements are there, whatever an iteration stores, and may be looked up.
    """

    operand: str
    strides: tuple[tuple[str, Extent], ...] = ()
    positions: tuple[Position, ...] = ()
    is_filled: bool = True


class JoinedStages(StepKernel):
    """One step whose stages become those of another kernel."""

    #: Loops of the joined kernel around the stages.
    outer_loops: ClassVar[int] = 1

    def __init__(
        self,
        names: JoinedNames,
        step: Step,
        schedule: Schedule,
        memory: Callable[[Buffer], JoinedMemory],
    ) -> None:
        """``memory`` returns the location of a buffer of the step's schedule."""
        super().__init__(step)
        kernel = self.kernel
        if kernel.outer in ("groups", "squares") or Strips() in kernel.directives:
            raise LoopRefusedError(LoopRefusal.Grouped)
        deepest = max(len(outer) for _, outer in nested_stages(kernel.stages))
        if self.outer_loops + len(kernel.axes) + deepest >= MOST_NESTED:
            raise LoopRefusedError(LoopRefusal.Deep)
        #: The loop over rows; a loop over lanes becomes an ordinary loop.
        self._lanes = f"i{MOST_NESTED}" if kernel.outer == "lanes" else LANES
        self._names, self._memory, self._schedule = names, memory, schedule
        self._refs: dict[str, Expr] = {}
        self._unit_loop = ""  # the stage's loop of extent 1, which is dropped
        self._converted: dict[int, Expr] = {}

    def stages(self) -> Sequence[Stage]:
        """Return a body's stages for the joined kernel, in loops over the rows of the kernel."""
        stages = tuple(self._convert_stages(self.kernel.stages))
        # Interleaved rows have scratch of their own each; iterations of a loop share theirs.
        has_scratch = any(operand.mode == "scratch" for operand in self.kernel.operands)
        is_interleaved = self.kernel.interleaved_rows > 1 and not has_scratch
        for axis in reversed(self.kernel.axes if stages else ()):
            stages = (Loop(self._axis(axis), (), stages, ()),)
            if axis is self.kernel.axes[-1] and is_interleaved:
                rows = Interleave(self._rename_loop(axis.name), self.kernel.interleaved_rows)
                self._names.directives.append((stages[0], rows))
        for directive in self.kernel.directives:
            if isinstance(directive, Stream):
                buffer = self._schedule.by_name[self.bound[directive.operand][0]]
                self._names.streamed.add(self._memory(buffer).operand)
        return stages

    def _convert_stages(self, stages: Sequence[Stage]) -> Iterator[Stage]:
        """Yield the stages of a body's kernel, renamed for the kernel of the whole loop."""
        for stage in stages:
            if self._keeps_place(stage):
                continue
            self._converted, self._unit_loop = {}, ""
            part: Stage = stage
            if isinstance(stage, Map) and not stage.rows and self.number(stage.axis.extent) == 1:
                combines = any(isinstance(statement, Accumulate) for statement in stage.body)
                self._unit_loop = "" if combines else stage.axis.name
                part = stage if combines else Scalar(stage.body)
            if isinstance(part, Map):
                checks = tuple(statement for statement in part.body if isinstance(statement, Check))
                if checks:
                    if not self._checks_are_uniform(part, checks):
                        raise LoopRefusedError(LoopRefusal.Lookups)
                    yield self._convert(Scalar(checks))
                    others = tuple(
                        statement for statement in part.body if not isinstance(statement, Check)
                    )
                    part = replace(part, body=others)
            converted = self._convert(part)
            if isinstance(converted, Map):
                for directive in self._directives_of(stage):
                    if isinstance(directive, Prefetch):
                        ahead = directive._replace(axis=self._rename_loop(directive.axis))
                        self._names.directives.append((converted, ahead))
            yield converted

    def _keeps_place(self, stage: Stage) -> bool:
        """Return whether a stage copies the elements of a carry to where they are.

        A step writes over a value only from the same element on (``TakingOver``).
        """
        pair = self.kernel.copied_pair(stage)
        if pair is None:
            return False
        out, base = (self._schedule.by_name[self.bound[name][0]] for name in pair)
        return self._memory(out) == self._memory(base)

    def _directives_of(self, stage: Stage) -> Iterator[Directive]:
        for number, (nested_stage, _) in enumerate(nested_stages(self.kernel.stages)):
            if nested_stage is stage:
                yield from (d for d in self.kernel.directives if getattr(d, "stage", -1) == number)

    def _checks_are_uniform(self, stage: Map, checks: Sequence[Check]) -> bool:
        """Return True if all elements of a stage check the same indices (one check suffices)."""
        axis = stage.axis
        if stage.rows or axis.limits or not is_at_least(self.number(axis.extent), 1):
            return False

        def varies(part: Expr) -> bool:
            if isinstance(part.attribute, Access):
                return any(name == axis.name for name, _ in part.attribute.moves)
            return part.op == "ref" or (part.op == "index" and part.attribute == axis.name)

        parts = postorder([part for check in checks for part in (check.index, check.position)])
        return not any(map(varies, parts))

    def _convert(self, part: Any) -> Any:
        """Return a part of a stage for the joined kernel."""
        make = _CONVERTERS.get(type(part))
        if make is None:
            raise LoopRefusedError(LoopRefusal.Stage)
        return make(self, part)

    def _convert_fields(self, record: Any) -> Any:
        return replace(
            record, **{name: self._convert(field) for name, field in vars(record).items()}
        )

    def _loop(self, loop: Loop) -> Loop:
        if loop.going or any(isinstance(d, Interleave) for d in self._directives_of(loop)):
            raise LoopRefusedError(LoopRefusal.InnerEnd)
        first = self._carries(loop.first)
        inner = tuple(self._convert_stages(loop.stages))
        self._converted = {}
        return Loop(self._convert(loop.axis), first, inner, self._carries(loop.following))

    def _carries(self, carries: Sequence[Carry]) -> tuple[Carry, ...]:
        """Return a loop's carries under the names of the joined kernel."""
        for carry in carries:
            if carry.name not in self._refs:
                self._refs[carry.name] = self._names.new_ref("s", carry.value.dtype)
        return tuple(
            Carry(str(self._refs[carry.name].attribute), self._value(carry.value))
            for carry in carries
        )

    def _result(self, statement: Accumulate | Keep) -> Statement:
        value = self._value(statement.value)
        self._refs[statement.name] = name = self._names.new_ref("r", value.dtype)
        return replace(statement, name=str(name.attribute), value=value)

    def _check(self, check: Check) -> Check:
        words = self._schedule.by_name[self.bound[check.operand][0]]
        index, position = self._value(check.index), self._value(check.position)
        self._refs[check.name] = name = self._names.new_ref("c", I64)
        operand, extent = self._memory(words).operand, self._extent(check.extent)
        return Check(str(name.attribute), index, extent, position, operand, check.wrap)

    # -- expressions ------------------------------------------------------------------------------

    def _value(self, root: Expr) -> Expr:
        converted = self._converted
        for node in postorder([root], converted):
            converted[id(node)] = self._node(node, tuple(converted[id(arg)] for arg in node.args))
        return converted[id(root)]

    def _node(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        """Rewrite one node of an expression with the joined kernel's loops, sizes and loads."""
        match node.op:
            case "literal":
                return node
            case "index" if node.attribute == self._unit_loop:
                return ex.literal(0, I64)
            case "index":
                return ex.index(self._rename_loop(str(node.attribute)))
            case "size":
                return self._names.size(self.sizes[str(node.attribute)])
            case "ref":
                return self._refs[str(node.attribute)]
            case "load":
                assert isinstance(node.attribute, Access)
                return self._load(node.attribute, node.dtype, args)
        return Expr(node.op, node.dtype, args, node.attribute)

    def _load(self, access: Access, dtype: DType, args: tuple[Expr, ...]) -> Expr:
        """Return a load in the joined kernel; a constant with one element becomes a literal."""
        data = self._schedule.by_name[self.bound[access.operand][0]].data
        if data is None:
            return Expr("load", dtype, args, self._access(access))
        value = data.array.reshape(-1)[0].item() if data.array.size == 1 else None
        if value is None or access.bounded_positions or (isinstance(value, float) and isnan(value)):
            raise LoopRefusedError(LoopRefusal.Constant)
        return ex.literal(value, dtype)

    def _access(self, access: Access) -> Access:
        """Return an access with the loops, sizes and memory of the joined kernel."""
        name, begin = self.bound[access.operand]
        strides = [
            (self._rename_loop(a), self._extent(s))
            for a, s in access.strides
            if a != self._unit_loop
        ]
        positions = [
            replace(
                position,
                terms=tuple(
                    (self._rename_loop(a), self._extent(step))
                    for a, step in position.terms
                    if a != self._unit_loop
                ),
                start=self._extent(position.start),
                stride=self._extent(position.stride),
                extent=None if position.extent is None else self._extent(position.extent),
            )
            for position in access.positions
        ]
        if begin != 0:
            start = begin if isinstance(begin, int) else self._names.extent(begin)
            positions.append(Position((), start))
        memory = self._memory(self._schedule.by_name[name])
        strides = [*memory.strides, *strides]
        gather = tuple(map(self._extent, access.gather))
        if gather and not memory.is_filled:
            raise LoopRefusedError(LoopRefusal.Lookup)
        return Access(memory.operand, tuple(strides), gather, (*memory.positions, *positions))

    # -- loops and sizes --------------------------------------------------------------------------

    def _axis(self, axis: Axis) -> Axis:
        if axis.limits:
            raise LoopRefusedError(LoopRefusal.Limits)
        return Axis(self._rename_loop(axis.name), self._extent(axis.extent))

    def _rename_loop(self, name: str) -> str:
        return self._lanes if name == LANES else f"{name[0]}{int(name[1:]) + self.outer_loops}"

    def _extent(self, value: Extent) -> Extent:
        return value if isinstance(value, int) else self._names.extent(self.sizes[value])


_CONVERTERS: Final[dict[type, Callable[[JoinedStages, Any], Any]]] = {
    **dict.fromkeys((Map, Scalar, Columns, Store), JoinedStages._convert_fields),
    **dict.fromkeys((Accumulate, Keep), JoinedStages._result),
    **dict.fromkeys((str, bool), lambda _, value: value),
    Check: JoinedStages._check,
    Loop: JoinedStages._loop,
    Axis: JoinedStages._axis,
    Access: JoinedStages._access,
    Expr: JoinedStages._value,
    tuple: lambda self, parts: tuple([self._convert(part) for part in parts]),
}


#: Scratch besides rows: the number of the iteration, and the result of the test.
_NUMBER: Final = "number"
_GOES: Final = "goes"


class LoopBuilder:
    """A builder of the kernel of a loop: its operands, its arguments and finally the kernel."""

    kernel: Kernel

    def __init__(self, bodies: LoweredBodies) -> None:
        self._bodies, self._names = bodies, JoinedNames()
        self._body, self._node = bodies.schedules[-1], bodies.writes[0].node
        self._iterations: Size = bodies.iterations
        self._outer_buffers = {
            buffer.name: buffer for buffer in (*bodies.outer_operands, NUMBER, GOING)
        }
        self._used: dict[int | str, Operand] = {}

    @property
    def arguments(self) -> tuple[Size, ...]:
        """The integer arguments of the kernel."""
        return tuple(self._names.sizes)

    def step(self) -> LoweredStep:
        """Return the kernel step that runs the whole loop, with its buffers."""
        types = self._names.scratch_types
        scratch = {name: ScratchBuffer(self._node, n) for n, name in enumerate(types)}
        bound: list[tuple[Key, Size]] = []
        for number in self._used:
            if not isinstance(number, str):
                bound.append(self._bodies.operands[number])
            elif number in scratch:
                bound.append((scratch[number], 0))
            else:
                origin = self._body.by_name[number].origin
                bound.append((CheckBuffer(self._node, number, origin), 0))
        modes = (operand.mode for operand in self.kernel.operands)
        touched = tuple((key, mode) for (key, _), mode in zip(bound, modes, strict=True))
        room = self.kernel.room(self.arguments)
        scratch_operands = tuple(
            (scratch[n], types[n], room[self._names.operands[n].name]) for n in types
        )
        return LoweredStep(self.kernel, tuple(bound), self.arguments, touched, scratch_operands)

    def _finish(self, axes: tuple[Axis, ...], stages: tuple[Stage, ...]) -> None:
        """Make the joined kernel from its stages: operands, directives, streaming stores."""
        read, operands = operands_read(stages), self._names.operands
        self._used = {n: o for n, o in operands.items() if o.mode != "in" or o.name in read}
        names = tuple(self._names.sizes.values())
        directives = of_stages(stages, self._names.directives)
        self.kernel = Kernel(tuple(self._used.values()), names, axes, stages, directives=directives)
        streams = legal_ones(self.kernel, map(Stream, sorted(self._names.streamed)))
        self.kernel = replace(self.kernel, directives=(*directives, *streams))

    def _number(self) -> Expr:
        """Return the number of the iteration."""
        if not self._bodies.form.reverse:
            return ex.index(ITERATIONS)
        last = self._names.size(self._iterations - 1)
        return ex.apply("sub", last, ex.index(ITERATIONS))

    def _operand(self, outer: BodyBuffer, buffer: Buffer) -> JoinedMemory:
        """Return where the joined kernel has a body's buffer that is an operand of the loop."""
        mode: Mode = "in" if outer.is_input else "out"
        operand = self._names.operand(self._bodies.outer_operands[outer], buffer.dtype, mode)
        if not outer.has_rows:
            return JoinedMemory(operand)
        stride = self._names.argument(buffer.size)
        if not self._bodies.form.reverse:
            return JoinedMemory(operand, ((ITERATIONS, stride),))
        last = self._names.argument(self._iterations - 1)
        return JoinedMemory(operand, (), (Position(((ITERATIONS, -1),), last, stride),))


class JoinedIterations(LoopBuilder):
    """A builder of the kernel of a loop with a test or with a number of iterations."""

    #: The number of stages of an iteration; each depends on the previous one.
    stages_of_iteration: int

    def __init__(self, bodies: LoweredBodies) -> None:
        """``bodies`` are those of a loop without a log."""
        super().__init__(bodies)
        self._is_tested = bodies.form.kind == "while"
        carries = range(bodies.form.carries)
        self._carries = [self._body.by_name[BodyBuffer("next", n).name] for n in carries]
        self._double_buffered = [n for n in carries if not has_one_place(self._body, n)]
        #: Carries of which an iteration looks up elements: they lie in the loop's result.
        self._looked_up = {
            n for n in carries if n not in self._double_buffered and self._is_looked_up(n)
        }

    def write(self) -> None:
        """Make the kernel."""
        self._finish((), self._stages())

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self) -> tuple[Stage, ...]:
        """Return the kernel's stages: copy carries in, loop over iterations, copy results out."""
        begin = [
            self._copy_stage(
                self._row(n), self._operand(BodyBuffer("carry", n), buffer).operand, buffer
            )
            for n, buffer in enumerate(self._carries)
        ]
        last = [
            self._copy_stage(
                self._operand(BodyBuffer("next", n), buffer).operand, self._row(n), buffer
            )
            for n, buffer in enumerate(self._carries)
            if self._bodies.writes[n] in self._bodies.stored and n not in self._looked_up
        ]
        if self._is_tested:
            return (*begin, *self._tested_iterations(), *last)
        iteration = [*self._store_number(self._number()), *self._iteration()]
        self.stages_of_iteration = len(list(nested_stages(iteration)))
        loops = [Loop(self._axis, (), tuple(iteration), ())] if iteration else []
        return (*begin, *loops, *last)

    @property
    def _axis(self) -> Axis:
        return Axis(ITERATIONS, self._names.argument(self._bodies.iterations))

    def _iteration(self) -> list[Stage]:
        copies = [
            self._copy_stage(self._row(n), self._next(n), self._carries[n])
            for n in self._double_buffered
        ]
        return [*self._join_steps(self._body), *copies]

    def _tested_iterations(self) -> Sequence[Stage]:
        """Return the stages of a while loop: a test before each iteration, and their count."""
        names, carries = self._names, self._bodies.form.carries
        begin, goes = self._test_stages(ex.literal(0, I64))
        done = ex.apply("add", ex.index(ITERATIONS), ex.literal(1, I64))
        tests, goes_on = self._test_stages(done)
        iteration = [*self._iteration(), *tests]
        going, count, next_count = (
            names.new_ref("s", BOOL),
            names.new_ref("s", I64),
            names.new_ref("r", I64),
        )
        iteration.append(Scalar((Keep(str(next_count.attribute), done),)))
        last = []
        if self._bodies.writes[carries] in self._bodies.stored:
            to = names.operand(self._bodies.inputs + carries, I64, "out")
            last.append(Scalar((Store(Access(to), count),)))
        self.stages_of_iteration = len(list(nested_stages(iteration)))
        state, total = str(going.attribute), str(count.attribute)
        iterations = Loop(
            self._axis,
            (Carry(state, goes), Carry(total, ex.literal(0, I64))),
            tuple(iteration),
            (Carry(state, goes_on), Carry(total, next_count)),
            going=state,
        )
        return (*begin, iterations, *last)

    def _test_stages(self, number: Expr) -> tuple[list[Stage], Expr]:
        stages = [*self._store_number(number), *self._join_steps(self._bodies.schedules[0])]
        is_going = self._names.new_ref("r", BOOL)
        goes = ex.load(Access(self._names.scratch(_GOES, BOOL)), BOOL)
        return [*stages, Scalar((Keep(str(is_going.attribute), goes),))], is_going

    def _store_number(self, number: Expr) -> Iterator[Stage]:
        steps = [step for schedule in self._bodies.schedules for step in schedule.steps]
        if any(NUMBER.name in step.reads() for step in steps):
            scratch = self._names.scratch(_NUMBER, I64)
            yield Scalar((Store(Access(scratch), number),))

    def _join_steps(self, schedule: Schedule) -> list[Stage]:
        def memory(buffer: Buffer) -> JoinedMemory:
            return self._memory(buffer, schedule)

        steps = schedule.steps
        converters = (JoinedStages(self._names, step, schedule, memory) for step in steps)
        return [stage for converter in converters for stage in converter.stages()]

    def _copy_stage(self, to: str, source: str, buffer: Buffer) -> Stage:
        if buffer.size == 1:
            return Scalar((Store(Access(to), ex.load(Access(source), buffer.dtype)),))
        along = ((LANES, 1),)
        value = ex.load(Access(source, along), buffer.dtype)
        axis = Axis(LANES, self._names.argument(buffer.size))
        return Map(axis, (Store(Access(to, along), value),))

    # -- buffers of rows --------------------------------------------------------------------------

    def _is_looked_up(self, number: int) -> bool:
        """Return whether a body reads or writes a carry at computed indices."""
        names = {BodyBuffer("carry", number).name, BodyBuffer("next", number).name}
        for step in (step for schedule in self._bodies.schedules for step in schedule.steps):
            bound = bound_places(step)
            for kernel in step.kernels():
                gathered = {access.operand for access, _ in accesses(kernel) if access.gather}
                if any(bound[name][0] in names for name in gathered if name in bound):
                    return self._bodies.writes[number] in self._bodies.stored
        return False

    def _row(self, number: int) -> str:
        carry = self._carries[number]
        if number in self._looked_up:
            return self._operand(BodyBuffer("next", number), carry).operand
        return self._names.scratch(f"c{number}", carry.dtype)

    def _next(self, number: int) -> str:
        carry = self._carries[number]
        if number not in self._double_buffered:
            return self._row(number)
        return self._names.scratch(f"next c{number}", carry.dtype)

    def _memory(self, buffer: Buffer, schedule: Schedule) -> JoinedMemory:
        """Return where the joined kernel has a body's buffer: operand, carry or scratch."""
        name, dtype = buffer.name, buffer.dtype
        if buffer.role == "check" and schedule is self._body:
            return JoinedMemory(self._names.operand(name, I64, "check"))
        if buffer.role in ("temp", "scratch"):
            prefix = "body" if schedule is self._body else "test"
            operand = self._names.scratch(f"{prefix} {name}", dtype)
            return JoinedMemory(operand, is_filled=False)
        outer = self._outer_buffers.get(name)
        if outer is None:
            raise LoopRefusedError(LoopRefusal.Lookup)
        if outer.role == "number":
            operand = self._names.scratch(_NUMBER, I64)
        elif outer.role == "going":
            operand = self._names.scratch(_GOES, BOOL)
        elif outer.role == "carry":
            return JoinedMemory(self._row(outer.number), is_filled=outer.number in self._looked_up)
        elif outer.role == "next":
            is_filled = outer.number in self._looked_up
            return JoinedMemory(self._next(outer.number), is_filled=is_filled)
        else:
            return self._operand(outer, buffer)
        return JoinedMemory(operand, is_filled=False)

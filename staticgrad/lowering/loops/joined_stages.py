"""The stages of a step's kernel as those of another kernel, which runs several steps in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import Final

from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernels.stages import (
    LANES,
    MOST_NESTED,
    Accumulate,
    Ahead,
    Axis,
    Carry,
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
    nested,
)
from staticgrad.ir.schedule import Buffer, Schedule, Step
from staticgrad.lowering.loops.written_out import NotWrittenOutError, bound_places
from staticgrad.records import NamedTuple
from staticgrad.types.dim import Size
from staticgrad.types.dtype import I64, DType

#: Loops of a joined kernel around the stages of the others.
_AROUND: Final = 1


class JoinedNames:
    """The operands, integer arguments and results of the kernel that is made.

    ``operands``: by their number, or the name of what is scratch; ``rooms`` of that.
    """

    def __init__(self) -> None:
        self.operands: dict[int | str, Operand] = {}
        self.rooms: dict[str, tuple[DType, Size]] = {}
        self.sizes: dict[Size, str] = {}
        self._results = self._states = 0

    def operand(self, number: int | str, dtype: DType, mode: Mode) -> str:
        """The operand of a number, or for scratch."""
        if number not in self.operands:
            self.operands[number] = Operand(f"p{len(self.operands)}", dtype, mode)
        return self.operands[number].name

    def scratch(self, name: str, dtype: DType, size: Size) -> str:
        """The operand for scratch of so many elements."""
        self.rooms.setdefault(name, (dtype, size))
        return self.operand(name, dtype, "scratch")

    def argument(self, value: Size) -> str:
        """The argument that holds a size."""
        return self.sizes.setdefault(value, f"n{len(self.sizes)}")

    def result(self, dtype: DType) -> Expr:
        """A new number of the row."""
        self._results += 1
        return ex.ref(f"r{self._results - 1}", dtype)

    def state(self, dtype: DType) -> Expr:
        """Something new that a loop carries."""
        self._states += 1
        return ex.ref(f"s{self._states - 1}", dtype)


class JoinedMemory(NamedTuple):
    """Where a buffer is: an operand, and how an iteration moves in it."""

    operand: str
    strides: tuple[tuple[str, str], ...] = ()
    positions: tuple[Position, ...] = ()


class JoinedStages:
    """One step whose stages become those of another kernel."""

    def __init__(
        self,
        names: JoinedNames,
        step: Step,
        schedule: Schedule,
        memory: Callable[[Buffer], JoinedMemory],
    ) -> None:
        """``memory``: where a buffer of the schedule that has the step is.

        Raises:
            NotWrittenOutError: the step is no kernel, or its rows are taken together.
        """
        if step.bodies() or len(step.kernels()) != 1:
            raise NotWrittenOutError
        (self._kernel,) = step.kernels()
        kernel = self._kernel
        together = kernel.grouped or kernel.in_strips or kernel.in_lanes or kernel.in_tiles
        if together or kernel.listed is not None:
            raise NotWrittenOutError
        deepest = max(len(around) for _, around in nested(kernel.stages))
        if _AROUND + len(kernel.axes) + deepest >= MOST_NESTED:
            raise NotWrittenOutError
        self._names, self._memory, self._schedule = names, memory, schedule
        self._sizes = dict(zip(kernel.arguments, step.arguments, strict=True))
        self._bound = bound_places(step)
        self._refs: dict[str, Expr] = {}
        self._alone = ""  # the loop of one place that a stage is no more
        self._known: dict[int, Expr] = {}

    def stages(self) -> Sequence[Stage]:
        """The stages, in loops over the rows of the kernel.

        Raises:
            NotWrittenOutError: one is of another kind.
        """
        stages = tuple(self._each(self._kernel.stages))
        jammed = self._kernel.jammed
        for axis in reversed(self._kernel.axes):
            stages = (Loop(self._axis(axis), (), stages, (), jammed),)
            jammed = 1
        return stages

    def _each(self, stages: Sequence[Stage]) -> Iterator[Stage]:
        for stage in stages:
            self._known, self._alone = {}, ""
            match stage:
                case Map(axis=axis, body=body, rows=rows, ahead=ahead):
                    yield self._map(axis, body, rows, ahead)
                case Scalar(body=body):
                    yield Scalar(self._statements(body))
                case Columns():
                    yield self._columns(stage)
                case Loop(going="", jammed=1):
                    first = self._carries(stage.first)
                    inner = tuple(self._each(stage.stages))
                    self._known = {}
                    yield Loop(self._axis(stage.axis), first, inner, self._carries(stage.following))
                case _:
                    raise NotWrittenOutError

    def _map(
        self, axis: Axis, body: Sequence[Statement], rows: Sequence[Axis], ahead: Ahead | None
    ) -> Stage:
        """A loop over elements; over one, no loop."""
        combines = any(isinstance(each, Accumulate) for each in body)
        if not rows and not combines and self._number(axis.extent) == 1:
            self._alone = axis.name
            return Scalar(self._statements(body))
        near = ahead and Ahead(_loop(ahead.axis), ahead.distance)
        return Map(self._axis(axis), self._statements(body), tuple(map(self._axis, rows)), near)

    def _columns(self, stage: Columns) -> Stage:
        body, stores = self._statements(stage.body), self._statements(stage.stores)
        return Columns(
            self._axis(stage.axis),
            tuple(map(self._axis, stage.rows)),
            tuple(each for each in body if isinstance(each, Accumulate)),
            tuple(each for each in stores if isinstance(each, Store)),
            stage.in_lanes,
        )

    def _carries(self, carries: Sequence[Carry]) -> tuple[Carry, ...]:
        for each in carries:
            if each.name not in self._refs:
                self._refs[each.name] = self._names.state(each.value.dtype)
        return tuple(
            Carry(str(self._refs[each.name].attribute), self._value(each.value)) for each in carries
        )

    def _statements(self, body: Sequence[Statement]) -> tuple[Statement, ...]:
        return tuple([self._statement(each) for each in body])

    def _statement(self, statement: Statement) -> Statement:
        match statement:
            case Store(access=access, value=value, indices=indices, combine=kind):
                at = tuple(map(self._value, indices))
                return Store(self._access(access), self._value(value), at, kind)
            case Accumulate(name=name, value=value) | Keep(name=name, value=value):
                after = self._value(value)
                self._refs[name] = self._names.result(value.dtype)
                return replace(statement, name=str(self._refs[name].attribute), value=after)
        raise NotWrittenOutError

    # -- expressions ------------------------------------------------------------------------------

    def _value(self, root: Expr) -> Expr:
        known = self._known
        for node in postorder([root], known):
            known[id(node)] = self._node(node, tuple(known[id(arg)] for arg in node.args))
        return known[id(root)]

    def _node(self, node: Expr, args: tuple[Expr, ...]) -> Expr:
        match node.op:
            case "literal":
                return node
            case "index" if node.attribute == self._alone:
                return ex.literal(0, I64)
            case "index":
                return ex.index(_loop(str(node.attribute)))
            case "size":
                return ex.size(self._names.argument(self._sizes[str(node.attribute)]))
            case "ref":
                return self._refs[str(node.attribute)]
            case "load":
                assert isinstance(node.attribute, Access)
                return self._load(node.attribute, node.dtype, args)
        return Expr(node.op, node.dtype, args, node.attribute)

    def _load(self, access: Access, dtype: DType, args: tuple[Expr, ...]) -> Expr:
        """An element of memory; of a constant of one element, the number."""
        data = self._schedule.by_name[self._bound[access.operand][0]].data
        if data is None:
            return Expr("load", dtype, args, self._access(access))
        value = data.array.reshape(-1)[0].item() if data.array.size == 1 else None
        if value is None or access.bounded or (isinstance(value, float) and isnan(value)):
            raise NotWrittenOutError
        return ex.literal(value, dtype)

    def _access(self, access: Access) -> Access:
        name, begin = self._bound[access.operand]
        strides = [(_loop(a), self._extent(s)) for a, s in access.strides if a != self._alone]
        positions = [
            replace(
                each,
                terms=tuple(
                    (_loop(a), self._extent(step)) for a, step in each.terms if a != self._alone
                ),
                start=self._extent(each.start),
                stride=self._extent(each.stride),
                extent=None if each.extent is None else self._extent(each.extent),
            )
            for each in access.positions
        ]
        if begin != 0:
            start = begin if isinstance(begin, int) else self._names.argument(begin)
            positions.append(Position((), start))
        memory = self._memory(self._schedule.by_name[name])
        strides = [*memory.strides, *strides]
        gather = tuple(map(self._extent, access.gather))
        return Access(memory.operand, tuple(strides), gather, (*memory.positions, *positions))

    # -- loops and sizes --------------------------------------------------------------------------

    def _axis(self, axis: Axis) -> Axis:
        if axis.limits:
            raise NotWrittenOutError
        return Axis(_loop(axis.name), self._extent(axis.extent))

    def _extent(self, value: Extent) -> Extent:
        return value if isinstance(value, int) else self._names.argument(self._sizes[value])

    def _number(self, extent: Extent) -> Size:
        return extent if isinstance(extent, int) else self._sizes[extent]


def _loop(name: str) -> str:
    """The name of a loop inside of one over iterations."""
    return name if name == LANES else f"{name[0]}{int(name[1:]) + _AROUND}"

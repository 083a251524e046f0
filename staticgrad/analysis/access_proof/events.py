"""The reads and writes of a kernel, one after the other: what its records say, and nothing else.

A kernel is walked as its text reads, at concrete sizes. Each access is one ``AccessEvent`` over all
positions of the loops around it at once: the elements that it touches, the row that touches them,
and when. This walk calls no function by which lowering or the verifier of kernels computes places
or sizes.

*Rows* are what workers may run at the same time, so that two rows have no order. Within a row the
*time* of an access is a list of digits, compared one after the other: the stage's number, the
iteration of a loop of stages, the number of a stage within, the lane, the statement.

A loop that ends early by a number that only a run knows is walked twice: as if it made all
iterations, and as if it made the fewest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from staticgrad.analysis.access_proof.ranges import (
    IntegerRange,
    exact,
    range_of,
)
from staticgrad.language.ir.expr import Access, Expr, Position, postorder, unvisited_postorder
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Order,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
)
from staticgrad.language.ir.kernels.text import KernelParts, access_text
from staticgrad.language.ir.summation import GROUPS, SHORTEST_GROUP

Array = NDArray[Any]
#: A digit of a time: a number for each position of the loops around an access, or one for all.
Digit = Array | int
#: Which iterations a loop makes whose number only a run knows.
Scenario = Literal["all iterations", "fewest iterations"]


#: Positions at the ends of a long loop.
_ENDS: Final = np.array([0, 1, -2, -1], np.int64)


class TooManyPositionsError(Exception):
    """A kernel has more positions of its loops than are walked."""


@dataclass(frozen=True)
class Frame:
    """Loops around an access, outermost first, and which positions of them are made.

    ``mask`` is None if all are. ``prefix`` are the digits of the time of what stands in the loops.
    ``positions`` are those of each loop that are walked: all, or a few at its ends.
    """

    names: tuple[str, ...] = ()
    extents: tuple[int, ...] = ()
    positions: tuple[Array, ...] = ()
    mask: Array | None = None
    prefix: tuple[Digit, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of positions of each loop that are walked."""
        return tuple([positions.size for positions in self.positions])

    @property
    def rank(self) -> int:
        """The number of loops."""
        return len(self.names)

    def index(self, name: str) -> Array:
        """Return the positions along a loop, for the axis of that loop."""
        place = self.rank - 1 - self.names[::-1].index(name)
        shape = [1] * self.rank
        shape[place] = -1
        return self.positions[place].reshape(shape)

    def flat(self, names: Sequence[str]) -> Digit:
        """Return the number of a position of several loops, the last of which moves fastest."""
        number: Digit = 0
        for name in names:
            extent = self.extents[self.rank - 1 - self.names[::-1].index(name)]
            number = number * extent + self.index(name)
        return number

    def at(self, *digits: Digit) -> Frame:
        """Return the same loops at a later time."""
        return replace(self, prefix=(*self.prefix, *digits))


def pad(values: Array, rank: int) -> Array:
    """Return values for the outer ones of ``rank`` loops, with axes for the inner ones."""
    return values.reshape(values.shape + (1,) * (rank - values.ndim)) if values.ndim else values


@dataclass(frozen=True)
class AccessEvent:
    """One access, at all positions of the loops around it.

    ``elements`` are those of the operand. ``lane`` is the position in the loop whose positions run
    at the same time, as lanes of vectors do, where the digits of ``unit`` are equal; None: there
    is no such loop, or the access comes before all of it. ``stage`` tells the stages apart.
    ``is_selected``: what is read is one side of selections alone, which may leave it out.
    """

    operand: str
    is_write: bool
    elements: IntegerRange
    mask: Array | None
    shape: tuple[int, ...]
    time: tuple[Digit, ...]
    row: Digit
    lane: Digit | None
    unit: tuple[Digit, ...]
    stage: int
    combine: str
    text: str
    is_selected: bool = False


@dataclass
class KernelWalk:
    """The events of a kernel at the values of its integer arguments.

    ``offsets`` are the elements of buffers at which operands begin; elements are counted from the
    begin of the buffer.
    ``constants`` are the contents of integer operands that are known. ``ends_only``: of long loops
    only a few positions at both ends are walked, which is enough to see how far accesses reach.
    ``is_exact`` is False where the number of iterations of some loop is not known. ``faults`` are
    positions outside of the ends that they never leave.
    """

    kernel: KernelParts
    sizes: Mapping[str, int]
    offsets: Mapping[str, int]
    constants: Mapping[str, Array]
    scenario: Scenario
    most_positions: int
    ends_only: bool = False
    events: list[AccessEvent] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    is_exact: bool = True
    _frame: Frame = field(default_factory=Frame)
    _results: dict[str, IntegerRange | None] = field(default_factory=dict)
    _ranges: dict[int, IntegerRange | None] = field(default_factory=dict)
    _row: Digit = 0
    _lane: Digit | None = None
    _unit: tuple[Digit, ...] = ()
    _stages: int = 0

    def run(self) -> None:
        """Collect the events of all rows."""
        kernel = self.kernel
        frame = self._add_loops(Frame(), kernel.axes)
        names = [axis.name for axis in kernel.axes]
        cut = len(names) - kernel.grouped
        if kernel.grouped:
            rows = prod(frame.extents[cut:])
            length = group_length(rows)
            number = frame.flat(names[cut:])
            groups = -(-rows // length)
            self._row = frame.flat(names[:cut]) * groups + number // length
            frame = frame.at(number % length)
        else:
            self._row = frame.flat(names)
            frame = frame.at(self._row) if kernel.serial else frame
        self._run_stages(kernel.stages, frame)

    # -- what expressions read --------------------------------------------------------------------

    def index(self, axis: str) -> Array:
        return self._frame.index(axis)

    def size(self, argument: str) -> int:
        return self.sizes[argument]

    def result(self, name: str) -> IntegerRange | None:
        stored = self._results.get(name)
        if stored is None:
            return None
        low = pad(stored.low, self._frame.rank)
        return IntegerRange(low, low if stored.is_exact else pad(stored.high, self._frame.rank))

    def load(self, expr: Expr) -> IntegerRange | None:
        """Return the elements of a constant that a load reads, or all values of its type."""
        access = expr.attribute
        assert isinstance(access, Access)
        content = self.constants.get(access.operand)
        if content is None or content.size == 0:
            return None
        elements, mask = self._find_elements(access, expr.args)
        if not elements.is_exact or mask is not None:
            values = content.min(), content.max()
            if mask is not None:
                fill = expr.args[-1].attribute if len(expr.args) > len(access.gather) else 0
                values = min(values[0], int(fill)), max(values[1], int(fill))  # type: ignore[arg-type]
            return IntegerRange(np.asarray(values[0], np.int64), np.asarray(values[1], np.int64))
        return exact(content[np.clip(elements.low, 0, content.size - 1)])

    def _range(self, expr: Expr) -> IntegerRange:
        return range_of(expr, self, self._ranges)

    # -- loops ------------------------------------------------------------------------------------

    def _number(self, extent: str | int | tuple[str | int, ...]) -> int:
        """Return the value of an extent, a stride or a start."""
        if isinstance(extent, tuple):
            return prod(self._number(factor) for factor in extent)
        return self.sizes[extent] if isinstance(extent, str) else extent

    def _add_loops(self, frame: Frame, axes: Sequence[Axis]) -> Frame:
        """Return a frame with more loops inside, without the positions that limits leave out."""
        for axis in axes:
            extent = max(0, self._number(axis.extent))
            is_cut = self.ends_only and extent > _ENDS.size
            count = _ENDS.size if is_cut else extent
            if prod(max(1, n) for n in (*frame.shape, count)) > self.most_positions:
                raise TooManyPositionsError
            positions = _ENDS % extent if is_cut else np.arange(extent, dtype=np.int64)
            frame = Frame(
                (*frame.names, axis.name), (*frame.extents, extent), (*frame.positions, positions),
                None if frame.mask is None else pad(frame.mask, frame.rank + 1), frame.prefix,
            )  # fmt: skip
            mask = frame.mask
            index = frame.index(axis.name)
            for name, is_first in ((axis.first, True), (axis.past, False)):
                if name:
                    limit = self._limit(name, frame.rank, is_first)
                    is_inside = index >= limit if is_first else index < limit
                    mask = is_inside if mask is None else mask & is_inside
            frame = replace(frame, mask=mask)
        return frame

    def _limit(self, name: str, rank: int, is_first: bool) -> Array:
        """Return where a loop begins or ends, by the scenario if only a run knows it."""
        limit = self._results.get(name) or unknown_index()
        self.is_exact &= limit.is_exact
        is_all = self.scenario == "all iterations"
        return pad(limit.low if is_first == is_all else limit.high, rank)

    # -- stages -----------------------------------------------------------------------------------

    def _run_stages(self, stages: Sequence[Stage], frame: Frame) -> None:
        for number, stage in enumerate(stages, 1):
            self._stages += 1
            place = frame.at(number)
            self._unit, self._lane = place.prefix, None
            match stage:
                case Map():
                    self._run_map(stage, place)
                case Scalar(body=body):
                    self._run_body(body, place.at(0), is_kept=True)
                case Columns():
                    self._run_columns(stage, place)
                case Gemm():
                    self._run_product(stage, place)
                case Sort():
                    self._run_sort(stage, place)
                case Loop():
                    self._run_loop(stage, place)

    def _run_map(self, stage: Map, frame: Frame) -> None:
        inner = self._add_loops(frame, stage.loops)
        inner = inner.at(inner.flat([axis.name for axis in stage.rows]))
        self._unit, self._lane = inner.prefix, inner.index(stage.axis.name)
        outer_row = self._row
        if find_cut_axis(self.kernel) is stage.axis:
            self._row = self._lane
        self._run_body(stage.body, inner, is_kept=False)
        self._row = outer_row

    def _is_single(self, stage: Stage) -> bool:
        return len(self.kernel.stages) == 1 and self.kernel.stages[0] is stage

    def _run_columns(self, stage: Columns, frame: Frame) -> None:
        around = self._add_loops(frame, [stage.axis])
        self._lane = around.index(stage.axis.name)
        outer_row = self._row
        if find_cut_axis(self.kernel) is stage.axis:
            self._row = self._lane
        results = dict(self._results)
        self._run_body(stage.body, self._add_loops(around, stage.rows).at(0), is_kept=False)
        self._run_body(stage.stores, around.at(1), is_kept=False)
        self._row, self._results = outer_row, results

    def _run_product(self, stage: Gemm, frame: Frame) -> None:
        """Read the factors at each k, behind what feeds them; then store at each (i, j)."""
        iteration = 1
        if stage.fed:
            inside = self._add_loops(frame, stage.k[:1])
            unit, results_before = self._unit, dict(self._results)
            self._run_stages(stage.fed, inside.at(inside.index(stage.k[0].name)))
            self._unit, self._lane, self._results = unit, None, results_before
        for access, loops in ((stage.a, (*stage.i, *stage.k)), (stage.b, (*stage.k, *stage.j))):
            inner = self._add_loops(frame, loops)
            digit: Digit = inner.index(stage.k[0].name) if stage.fed else 0
            iteration = max(iteration, inner.extents[inner.names.index(stage.k[0].name)])
            self._add(inner.at(digit, len(stage.fed) + 1), access, ())
        results = self._add_loops(frame, (*stage.i, *stage.j))
        if stage.onto is not None:
            self._add(results.at(0, 0), stage.onto, ())
        self._lane = results.flat([axis.name for axis in (*stage.i, *stage.j)])
        outer_row = self._row
        if self._is_single(stage) and not (stage.fed or self.kernel.serial):
            count = prod(results.extents[frame.rank :])
            self._row = pad(np.asarray(outer_row), results.rank) * count + self._lane
        self._run_body(stage.stores, results.at(iteration, 0), is_kept=False)
        self._row = outer_row

    def _run_sort(self, stage: Sort, frame: Frame) -> None:
        keys = self._add_loops(frame, [stage.axis])
        self._run_body((stage.order,), keys.at(0), is_kept=True)
        last = keys.extents[-1] - 1
        self._results[stage.order.name] = IntegerRange(np.asarray(0), np.asarray(max(last, 0)))
        picks = self._add_loops(frame, [stage.sorted_axis])
        self._run_body(stage.picks, picks.at(1), is_kept=False)
        self._lane = picks.index(stage.sorted_axis.name)
        self._run_body(stage.stores, picks.at(2), is_kept=False)

    def _run_loop(self, stage: Loop, frame: Frame) -> None:
        """Run the stages of a loop at all its iterations, one after the other."""
        self._run_body(stage.first, frame.at(0), is_kept=True)
        results = dict(self._results)
        inside = self._add_loops(frame, [stage.axis])
        if stage.going:
            self.is_exact = False
            if self.scenario != "all iterations":
                inside = replace(inside, mask=np.zeros((1,) * inside.rank, bool))
        iteration = inside.index(stage.axis.name) + 1
        for carry in stage.first:  # its values in later iterations are not followed
            self._results[carry.name] = None
        results |= {carry.name: None for carry in stage.first}
        self._run_stages(stage.stages, inside.at(iteration))
        end = len(stage.stages) + 1
        self._unit, self._lane = (), None
        self._run_body(stage.following, inside.at(iteration, end), is_kept=True)
        self._results = results

    # -- statements -------------------------------------------------------------------------------

    def _run_body(self, body: Sequence[Statement], frame: Frame, *, is_kept: bool) -> None:
        """Add the events of statements in their order; ``is_kept``: later stages see results."""
        outer, self._frame, self._ranges = dict(self._results), frame, {}
        visited: set[int] = set()
        used = find_used_values(body)
        for number, statement in enumerate(body):
            for expr in unvisited_postorder(roots_of(statement), visited):
                if isinstance(expr.attribute, Access):
                    count = len(expr.attribute.gather)
                    indices, is_selected = expr.args[:count], id(expr) not in used
                    place = frame.at(2 * number)
                    self._add(place, expr.attribute, indices, is_selected=is_selected)
            self._run_statement(statement, frame.at(2 * number + 1))
        results, self._results = self._results, outer
        if is_kept:
            self._results = results
        for statement in body:
            if isinstance(statement, Accumulate):
                self._results[statement.name] = None

    def _run_statement(self, statement: Statement, frame: Frame) -> None:
        self._frame = frame
        match statement:
            case Store(access=access, indices=indices, combine=combine):
                if combine:
                    self._add(frame, access, indices)
                self._add(frame, access, indices, is_write=True, combine=combine)
            case Keep(name=name, value=value) | Carry(name=name, value=value):
                is_number = value.dtype.is_bool or value.dtype.kind in "iu"
                self._results[name] = self._range(value) if is_number else None
            case Check(name=name):
                self._results[name] = self._check(statement)
            case Search(name=name, operand=operand, stride=stride, extent=extent):
                count = max(0, self._number(extent))
                self._results[name] = IntegerRange(np.asarray(0), np.asarray(count))
                end = (count - 1) * self._number(stride)
                if count:
                    offset = self.offsets[operand]
                    ends = offset + min(0, end), offset + max(0, end)
                    everything = IntegerRange(np.asarray(ends[0]), np.asarray(ends[1]))
                    self._emit(frame, operand, everything, None, f"search {operand}")
            case ColumnAccumulate(partials=partials):
                row = pad(np.asarray(self._row), frame.rank)
                columns = frame.extents[-1]
                first = self.offsets[partials] + row * columns
                elements = exact(first + frame.index(frame.names[-1]))
                self._emit(frame, partials, elements, None, f"{partials}[...]", True, "groups")

    def _check(self, check: Check) -> IntegerRange:
        """Return the range of an index that is checked: inside its extent."""
        last = max(self._number(check.extent) - 1, 0)
        index = self._range(check.index)
        if check.wrap:
            negative = index.low < 0 if index.is_exact else None
            if negative is None:
                return IntegerRange(np.asarray(0), np.asarray(last))
            index = exact(np.where(negative, index.low + last + 1, index.low))
        low = np.where((index.low < 0) | (index.low > last), 0, index.low)
        if index.is_exact:
            return exact(low)
        return IntegerRange(np.zeros_like(low), np.clip(index.high, 0, last))

    def _add(
        self,
        frame: Frame,
        access: Access,
        indices: Sequence[Expr],
        is_write: bool = False,
        combine: str = "",
        is_selected: bool = False,
    ) -> None:
        self._frame = frame
        elements, mask = self._find_elements(access, indices)
        text = access_text(access)
        self._emit(frame, access.operand, elements, mask, text, is_write, combine, is_selected)

    def _emit(
        self,
        frame: Frame,
        operand: str,
        elements: IntegerRange,
        mask: Array | None,
        text: str,
        is_write: bool = False,
        combine: str = "",
        is_selected: bool = False,
    ) -> None:
        if frame.mask is not None:
            loop_mask = pad(frame.mask, frame.rank)
            mask = loop_mask if mask is None else mask & loop_mask
        event = AccessEvent(
            operand, is_write, elements, mask, frame.shape, frame.prefix, self._row, self._lane,
            self._unit, self._stages, combine, text, is_selected,
        )  # fmt: skip
        self.events.append(event)

    # -- elements ---------------------------------------------------------------------------------

    def _find_elements(
        self, access: Access, indices: Sequence[Expr]
    ) -> tuple[IntegerRange, Array | None]:
        """Return the elements of an access, and where all its positions are inside their ends."""
        frame = self._frame
        low: Array = np.asarray(self.offsets[access.operand], np.int64)
        for name, stride in access.strides:
            low = low + frame.index(name) * self._number(stride)
        mask: Array | None = None
        for position in access.positions:
            place = self._find_place(position)
            if self.ends_only and position.extent is not None:  # no more is reached
                place = np.clip(place, 0, max(0, self._number(position.extent) - 1))
            low = low + place * self._number(position.stride)
            if position.extent is None:
                continue
            inside = (place >= 0) & (place < self._number(position.extent))
            if self.ends_only:
                continue
            if position.has_ends:
                mask = inside if mask is None else mask & inside
            elif not self._holds(inside):
                self.faults.append(f"{access_text(access)} leaves its ends")
        high = low
        for index, stride in zip(indices, access.gather, strict=False):
            values, factor = self._range(index), self._number(stride)
            ends = values.low * factor, values.high * factor
            is_exact = values.is_exact and high is low
            low, high = low + np.minimum(*ends), high + np.maximum(*ends)
            high = low if is_exact else high
        return IntegerRange(low, high), mask

    def _find_place(self, position: Position) -> Array:
        place: Array = np.asarray(self._number(position.start), np.int64)
        for name, step in position.terms:
            place = place + self._frame.index(name) * self._number(step)
        return place

    def _holds(self, condition: Array) -> bool:
        """Return whether a condition holds at all positions that are made."""
        mask = self._frame.mask
        if mask is not None:
            condition = condition | ~pad(mask, self._frame.rank)
        shape = np.broadcast_shapes(condition.shape, self._frame.shape)
        return bool(condition.all()) or prod(shape) == 0


def unknown_index() -> IntegerRange:
    """Return the range of an index of which nothing is known."""
    return IntegerRange(np.asarray(0), np.asarray(1 << 31))


def find_cut_axis(kernel: KernelParts) -> Axis | None:
    """Return the loop of a kernel without outer loops whose positions are its rows; None: others.

    It is the loop over the lanes of its only stage, unless the stage combines its positions.
    """
    stage = kernel.stages[0]
    if kernel.axes or kernel.serial or len(kernel.stages) > 1:
        return None
    if isinstance(stage, Map):
        combines = any(isinstance(statement, Accumulate) for statement in stage.body)
        return None if stage.rows or combines else stage.axis
    return stage.axis if isinstance(stage, Columns) else None


def group_length(rows: int) -> int:
    """Return the rows of a group, by the column rule of ``ir/summation.py``."""
    return max(SHORTEST_GROUP, -(-rows // GROUPS))


def roots_of(statement: Statement) -> tuple[Expr, ...]:
    """Return the expressions that a statement evaluates, in its order."""
    match statement:
        case Store(value=value, indices=indices):
            return (*indices, value)
        case Check(index=index, position=position):
            return (index, position)
        case Order(key=key):
            return (key,)
        case _:
            return (statement.place,) if hasattr(statement, "place") else (statement.value,)


def find_used_values(body: Sequence[Statement]) -> set[int]:
    """Return the expressions of statements whose value is used, and not one side of selections."""
    roots = [root for statement in body for root in roots_of(statement)]
    used = set(map(id, roots))
    for expr in postorder(roots):
        sides = expr.args[1:] if expr.op in ("select", "rarely") else ()
        used.update(id(arg) for arg in expr.args if not any(arg is side for side in sides))
    return used


def every_stage(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Yield all stages of a kernel, those of loops and products too."""
    for stage in stages:
        yield stage
        if isinstance(stage, Loop):
            yield from every_stage(stage.stages)
        elif isinstance(stage, Gemm):
            yield from stage.fed

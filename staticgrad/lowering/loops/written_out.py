"""The elements of buffers as expressions, after kernels that are written out have run.

Each expression is made once, and constants are folded. An element is identified by its place in a
row: its stride from row to row, and its offset. A stored value is found at exactly its place, so
that a row that reads an element of another row is refused.

A branch is written out as a selection between the results of all cases. A case of a few numbers
costs less than leaving the kernel for it. All cases are computed, and ``select`` takes the elements
of one: results are bitwise those of that case, and the other cases have no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import reduce
from itertools import count
from math import isnan
from typing import Any, Final

from staticgrad.analysis.interpret import interpret
from staticgrad.ir import expr as ex
from staticgrad.ir.bodies import BodyStep
from staticgrad.ir.expr import BLOCKS, Expr
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, in_lanes, lanes
from staticgrad.lowering.loops.driven import MOST
from staticgrad.records import NamedTuple
from staticgrad.types.dim import Size
from staticgrad.types.dtype import BOOL, I64, DType

#: Most runs of rows, one after the other, in a buffer.
_RUNS: Final = 64


class NotWrittenOutError(Exception):
    """Raised for a schedule that cannot be written out, or would be too long."""


class RowPlace(NamedTuple):
    """Element ``row * r + at`` of a buffer, for row number r."""

    row: Size
    at: Size


class Lookup(NamedTuple):
    """An index to check, as in a ``Check``; the result is written to the buffer ``words``."""

    name: str
    words: str
    place: Expr
    extent: Size
    position: Expr
    wrap: bool


#: The indices of a load that are computed in the run, with their strides.
Found = tuple[tuple[Expr, Size], ...]
#: Returns an element of an input of a schedule, by the name of its buffer.
Source = Callable[[str, DType, RowPlace, Found], Expr]


def bound_places(step: Step) -> dict[str, tuple[str, Size]]:
    """Return the buffer of each operand of a step, and the first element that is bound."""
    return {
        access.name: (access.buffer, access.begin // access.dtype.itemsize)
        for access in step.accesses()
    }


class WrittenOut:
    """The elements of a schedule's buffers as its steps are run, in one row out of ``rows``.

    Args:
        schedule: the schedule that is run; it has the constants.
        rows: the number of rows; None: everything is one row.
        inner: the meaning of a loop over ``m * rows`` places. True: the m elements of each row are
            adjacent; False: there are m runs of rows.
        source: returns an element of an input, by its buffer and the indices computed in the run.
        size: returns a size as an expression.
    """

    def __init__(
        self,
        schedule: Schedule,
        rows: Size | None,
        inner: bool,
        source: Source,
        size: Callable[[Size], Expr],
    ) -> None:
        self.schedule, self.rows, self.inner = schedule, rows, inner
        self._source, self._size = source, size
        self._spent = count()
        self._made: dict[object, Expr] = {}
        self.memory: dict[str, dict[RowPlace, Expr]] = {}
        self.lookups: list[Lookup] = []

    def within(self, schedule: Schedule, source: Source) -> WrittenOut:
        """Return the elements of a schedule that a step of this one runs, with the inputs of
        ``source``; both share their expressions."""
        inner = copy(self)
        inner.schedule, inner._source, inner.memory, inner.lookups = schedule, source, {}, []
        return inner

    def spend(self) -> None:
        """Count an expression that is written out; raise if there are too many."""
        if next(self._spent) >= MOST:
            raise NotWrittenOutError

    # -- expressions, each made once --------------------------------------------------------------

    def literal(self, value: bool | int | float, dtype: DType) -> Expr:
        """Return a number as an expression."""
        exact = repr(float(value) if dtype.is_float else int(value))
        return self._kept(("literal", dtype, exact), lambda: ex.literal(value, dtype))

    def size(self, value: Size) -> Expr:
        """Return a size as an expression."""
        return self.literal(value, I64) if isinstance(value, int) else self._size(value)

    def position(self, place: RowPlace) -> Expr:
        """Return the position of a place, as an expression of the row's number."""
        if place.row == 0:
            return self.size(place.at)
        moved = self.made("mul", I64, (self.row, self.size(place.row)))
        return moved if place.at == 0 else self.made("add", I64, (moved, self.size(place.at)))

    @property
    def row(self) -> Expr:
        """The number of the row."""
        return self._kept("row", lambda: ex.index(ROW))

    def made(
        self, op: str, dtype: DType, args: tuple[Expr, ...], attribute: ex.Attribute = None
    ) -> Expr:
        """Return a primitive over expressions; constants are folded."""
        if op == "select" and args[0].op == "literal":
            return args[1] if args[0].attribute else args[2]
        key = (op, dtype, tuple(map(id, args)), attribute)
        return self._kept(key, lambda: self._folded(Expr(op, dtype, args, attribute)))

    def _folded(self, expr: Expr) -> Expr:
        if expr.op in BLOCKS or any(arg.op != "literal" for arg in expr.args):
            return expr
        if any(each.dtype.is_storage for each in (expr, *expr.args)):
            return expr
        value = interpret([expr], _no_leaf)[0][()].item()
        return expr if isnan(value) else self.literal(value, expr.dtype)

    def _kept(self, key: object, make: Callable[[], Expr]) -> Expr:
        if key not in self._made:
            self.spend()
            self._made[key] = make()
        return self._made[key]

    # -- memory -----------------------------------------------------------------------------------

    def load(self, buffer: str, place: RowPlace, dtype: DType, indices: Found = ()) -> Expr:
        """Return the element of a buffer."""
        found = self.schedule.by_name[buffer]
        if found.role == "input":
            at = tuple((id(i), stride) for i, stride in indices)
            key = ("source", self, buffer, place, at)
            return self._kept(key, lambda: self._source(buffer, dtype, place, indices))
        if indices:
            raise NotWrittenOutError
        if found.data is not None:
            return self._constant(found.data.array.reshape(-1), place, dtype)
        known = self.memory.get(buffer, {})
        if place not in known:
            raise NotWrittenOutError
        return known[place]

    def _constant(self, array: object, place: RowPlace, dtype: DType) -> Expr:
        if place.row != 0 or not isinstance(place.at, int):
            raise NotWrittenOutError
        value = array[place.at].item()  # type: ignore[index]
        if isinstance(value, float) and isnan(value):
            raise NotWrittenOutError
        return self.literal(value, dtype)

    def store(self, buffer: str, place: RowPlace, value: Expr) -> None:
        """Store an element of a buffer at a place that overlaps no other place."""
        held = self.memory.setdefault(buffer, {})
        if any(other.row != place.row for other in held) or not self._stands_apart(place):
            raise NotWrittenOutError
        held[place] = value

    def _stands_apart(self, place: RowPlace) -> bool:
        """Return whether the place belongs to one row: adjacent elements of a row, or an element of
        one of the runs of rows."""
        if place.row == 0:
            return isinstance(place.at, int)
        if not isinstance(place.row, int) or place.row < 0 or self.rows is None:
            return False
        ends = (place.at - run * (self.rows * place.row) for run in range(_RUNS))
        return any(isinstance(end, int) and 0 <= end < place.row for end in ends)

    # -- sums -------------------------------------------------------------------------------------

    def combined(self, kind: str, terms: Sequence[Expr], dtype: DType, by_lanes: bool) -> Expr:
        """Return the reduction of terms, in the order of ``ir/summation.py``."""
        combiner = COMBINERS[kind]
        if not terms:
            return self.literal(combiner.empty(dtype), dtype)

        def joined(a: Expr, b: Expr) -> Expr:
            return self.made(combiner.combine, dtype, (a, b))

        if not combiner.is_ordered(dtype):
            return reduce(joined, terms)
        if len(terms) > (BLOCK if by_lanes else COLUMN_BLOCK):
            raise NotWrittenOutError
        if not by_lanes:
            return reduce(joined, terms)
        return in_lanes(terms, lanes(dtype), joined)


#: The loop over rows.
ROW: Final = "j"


def _no_leaf(*_: object) -> Any:
    raise NotWrittenOutError


#: Runs the steps of a case.
Run = Callable[[WrittenOut, Schedule], None]


def branch_of(step: Step) -> BodyStep | None:
    """Return the step if it is a branch, else None."""
    return step if isinstance(step, BodyStep) and step.kind == "branch" else None


def write_branch(elements: WrittenOut, step: BodyStep, run: Run) -> None:
    """Store the results of the case at a branch's index to the buffers of its results.

    Raises:
        NotWrittenOutError: a case cannot be written out; a case checks an index, which must not
            fail if the case is not taken; or cases store different elements.
    """
    bound = [*bound_places(step).values()]
    index, *given = (bound[number] for number in step.numbers("in"))
    cases = [_case(elements, schedule, given, run) for schedule in step.schedules]
    taken = elements.load(index[0], RowPlace(0, index[1]), I64)
    for number, result in enumerate(step.numbers("out")):
        buffer, begin = bound[result]
        each = [case.memory.get(f"out.y{number}", {}) for case in cases]
        if any(held.keys() != each[0].keys() for held in each):
            raise NotWrittenOutError
        for place in each[0]:
            value = _chosen(elements, taken, [held[place] for held in each])
            elements.store(buffer, place._replace(at=place.at + begin), value)


def _case(
    elements: WrittenOut, schedule: Schedule, given: Sequence[tuple[str, Size]], run: Run
) -> WrittenOut:
    def source(name: str, dtype: DType, place: RowPlace, indices: Found) -> Expr:
        buffer, begin = given[int(name.removeprefix("in.p"))]
        return elements.load(buffer, place._replace(at=place.at + begin), dtype, indices)

    case = elements.within(schedule, source)
    run(case, schedule)
    if case.lookups:
        raise NotWrittenOutError
    return case


def _chosen(elements: WrittenOut, index: Expr, values: list[Expr]) -> Expr:
    chosen = values[-1]
    for number in reversed(range(len(values) - 1)):
        if values[number] is not chosen:
            below = elements.made("le", BOOL, (index, elements.literal(number, I64)))
            chosen = elements.made("select", chosen.dtype, (below, values[number], chosen))
    return chosen

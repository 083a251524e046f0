"""Schedules written out: each element that a step stores, as an expression of the inputs.

The kernels of a schedule are run once, with expressions in the place of numbers. Loops over a few
places are unrolled, and one row stands for all rows of a loop over independent rows. The result is
straight-line scalar arithmetic with the operations of the kernels, in their order and with the
trees of their sums, so that results are bitwise identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

from staticgrad.ir import expr as ex
from staticgrad.ir.bodies import BodyStep
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    Columns,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Scalar,
    Stage,
    Statement,
    Store,
    loops_of,
    nested,
    roots,
    statements,
)
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.lowering.loops.driven import MOST, places_of
from staticgrad.lowering.loops.written_out import (
    Found,
    Lookup,
    NotWrittenOutError,
    RowPlace,
    WrittenOut,
    bound_places,
    branch_of,
    write_branch,
)
from staticgrad.types.dim import Size, bounds
from staticgrad.types.dtype import I64, DType


def write_out(elements: WrittenOut, steps: Sequence[Step]) -> None:
    """Run steps with expressions; run no step if it is clear in advance that one cannot be run.

    Raises:
        NotWrittenOutError: a step cannot be run row by row, or takes too many expressions.
    """
    runs = _runs(elements, steps)
    if sum(run.expected() for run in runs) > MOST:
        raise NotWrittenOutError
    for run in runs:
        run.run()


def _runs(elements: WrittenOut, steps: Sequence[Step]) -> list[_StepRun | _BranchRun]:
    return [
        _StepRun(elements, step) if branch is None else _BranchRun(elements, branch)
        for step, branch in ((step, branch_of(step)) for step in steps)
    ]


class _BranchRun:
    """The run of one branch: all of its cases."""

    def __init__(self, elements: WrittenOut, branch: BodyStep) -> None:
        self._elements, self._branch = elements, branch

    def expected(self) -> int:
        cases = [case.steps for case in self._branch.schedules]
        return sum(run.expected() for steps in cases for run in _runs(self._elements, steps))

    def run(self) -> None:
        write_branch(self._elements, self._branch, _write_case)


def _write_case(elements: WrittenOut, schedule: Schedule) -> None:
    write_out(elements, schedule.steps)


class _StepRun:
    """The run of one step: loop indices and the results of its stages."""

    def __init__(self, elements: WrittenOut, step: Step) -> None:
        if step.bodies() or len(step.kernels()) != 1:
            raise NotWrittenOutError
        self.elements = elements
        (self.kernel,) = step.kernels()
        self._sizes = dict(zip(self.kernel.arguments, step.arguments, strict=True))
        self._bound = bound_places(step)
        self._results: dict[str, Expr] = {}
        self._orders: dict[Expr, list[Expr]] = {}

    def run(self) -> None:
        if self.kernel.listed is not None:
            raise NotWrittenOutError
        for at in self._places(self.kernel.axes):
            if self.kernel.serial and _in_rows(at):
                raise NotWrittenOutError
            self._stages(self.kernel.stages, at)

    # -- loops ------------------------------------------------------------------------------------

    def expected(self) -> int:
        """About how many expressions it takes.

        Raises:
            NotWrittenOutError: a stage combines rows, or is of another kind.
        """
        count = 0
        for stage, around in nested(self.kernel.stages):
            self._refuse(stage)
            exprs = postorder(root for s in statements(stage) for root in roots(s))
            each = sum(1 for _ in exprs) + len(statements(stage))
            for axis in (*self.kernel.axes, *around, *loops_of(stage)):
                each *= len(self._along(axis))
            count += each
        return count

    def _refuse(self, stage: Stage) -> None:
        """Stop where a stage cannot be written out, before anything is."""
        axes: Sequence[Axis] = ()
        match stage:
            case Map(body=body, loops=loops) if any(isinstance(s, Accumulate) for s in body):
                axes = loops
            case Map() | Scalar():
                pass
            case Columns(rows=rows):
                axes = rows
            case Gemm(k=axes):
                is_narrow = self.kernel.operand(stage.a.operand).dtype.is_storage
                is_narrow |= self.kernel.operand(stage.b.operand).dtype.is_storage
                if is_narrow or prod(len(self._along(axis)) for axis in axes) > GEMM_BLOCK:
                    raise NotWrittenOutError
            case Loop(axis=axis):
                axes = [axis]
                if stage.going:
                    raise NotWrittenOutError  # which iterations are made, a run finds
            case _:
                raise NotWrittenOutError
        if any(place.row != 0 for axis in axes for place in self._along(axis)):
            raise NotWrittenOutError  # it would combine rows

    def _number(self, extent: Extent) -> Size:
        return extent if isinstance(extent, int) else self._sizes[extent]

    def _places(self, axes: Sequence[Axis]) -> Iterator[dict[str, RowPlace]]:
        for places in product(*map(self._along, axes)):
            self.elements.spend()
            yield {axis.name: place for axis, place in zip(axes, places, strict=True)}

    def _along(self, axis: Axis) -> Sequence[RowPlace]:
        extent, rows = self._number(axis.extent), self.elements.rows
        if axis.limits:
            raise NotWrittenOutError
        places = places_of(extent, rows)
        if places is None:
            raise NotWrittenOutError
        count, of_row = places
        if rows is None or not of_row:
            return [RowPlace(0, n) for n in range(count)]
        row, step = (count, 1) if self.elements.inner else (1, rows)
        return [RowPlace(row, n * step) for n in range(count)]

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self, stages: Sequence[Stage], at: Mapping[str, RowPlace]) -> None:
        for stage in stages:
            match stage:
                case Map(body=body, loops=loops):
                    self._map(body, loops, at)
                case Scalar(body=body):
                    self._statements(body, at, {})
                case Columns():
                    self._columns(stage, at)
                case Gemm():
                    self._gemm(stage, at)
                case Loop():
                    self._loop(stage, at)
                case _:
                    raise NotWrittenOutError

    def _map(
        self, body: Sequence[Statement], loops: Sequence[Axis], at: Mapping[str, RowPlace]
    ) -> None:
        terms: dict[str, list[Expr]] = {s.name: [] for s in body if isinstance(s, Accumulate)}
        for inner in self._places(loops):
            self._statements(body, {**at, **inner}, terms)
        for s in body:
            if isinstance(s, Accumulate):
                if s.blocks:
                    raise NotWrittenOutError
                self._results[s.name] = self.elements.combined(
                    s.kind, terms[s.name], s.value.dtype, by_lanes=True
                )

    def _statements(
        self,
        body: Sequence[Statement],
        at: Mapping[str, RowPlace],
        terms: Mapping[str, list[Expr]],
    ) -> None:
        known: dict[int, Expr] = {}
        for statement in body:
            self.elements.spend()
            match statement:
                case Store():
                    self._store(statement, at, known)
                case Accumulate(name=name, value=value):
                    terms[name].append(self._value(value, at, known))
                case Keep(name=name, value=value):
                    self._results[name] = self._value(value, at, known)
                case Check():
                    self._check(statement, at, known)
                case _:
                    raise NotWrittenOutError

    def _columns(self, stage: Columns, at: Mapping[str, RowPlace]) -> None:
        for inner in self._places([stage.axis]):
            here, terms = {**at, **inner}, {s.name: list[Expr]() for s in stage.body}
            for row in self._places(stage.rows):
                self._statements(stage.body, {**here, **row}, terms)
            for s in stage.body:
                self._results[s.name] = self.elements.combined(
                    s.kind, terms[s.name], s.value.dtype, stage.in_lanes
                )
            self._statements(stage.stores, here, {})

    def _gemm(self, stage: Gemm, at: Mapping[str, RowPlace]) -> None:
        elements, dtype = self.elements, self.kernel.operand(stage.a.operand).dtype
        chain = [*self._places(stage.k)]
        for outer in self._places((*stage.i, *stage.j)):
            total = elements.literal(0, dtype)
            for inner in chain:
                here = {**at, **outer, **inner}
                a, b = (self._load(each, (), dtype, here) for each in (stage.a, stage.b))
                if dtype.is_float:
                    total = elements.made("fma", dtype, (a, b, total))
                else:
                    product_ = elements.made("mul", dtype, (a, b))
                    total = elements.made("add", dtype, (total, product_))
            self._results["acc"] = total
            self._statements(stage.stores, {**at, **outer}, {})

    def _loop(self, stage: Loop, at: Mapping[str, RowPlace]) -> None:
        self._carry(stage.first, at)
        for iteration in self._places([stage.axis]):
            self._stages(stage.stages, {**at, **iteration})
            self._carry(stage.following, {**at, **iteration})

    def _carry(self, carries: Sequence[Carry], at: Mapping[str, RowPlace]) -> None:
        known: dict[int, Expr] = {}
        self._results |= {c.name: self._value(c.value, at, known) for c in carries}

    # -- statements and expressions ---------------------------------------------------------------

    def _store(self, store: Store, at: Mapping[str, RowPlace], known: dict[int, Expr]) -> None:
        indices = [self._value(index, at, known) for index in store.indices]
        value = self._value(store.value, at, known)
        place, found = self._place(store.access, indices, at)
        if place is None:
            return
        if found:
            raise NotWrittenOutError
        if _in_rows(at) and place.row == 0:
            raise NotWrittenOutError  # all rows store there
        buffer, _ = self._bound[store.access.operand]
        if store.combine:
            old = self.elements.load(buffer, place, value.dtype)
            value = self.elements.combined(store.combine, (old, value), value.dtype, False)
        self.elements.store(buffer, place, value)

    def _check(self, check: Check, at: Mapping[str, RowPlace], known: dict[int, Expr]) -> None:
        index, extent = self._value(check.index, at, known), self._number(check.extent)
        if index.op == "literal" and isinstance(extent, int):
            place = int(index.attribute)  # type: ignore[arg-type]
            if place < 0 and check.wrap:
                place += extent
            if 0 <= place < extent:
                self._results[check.name] = self.elements.literal(place, I64)
                return
        if _least(extent) < 1:
            raise NotWrittenOutError  # an iteration that is not made must not fail
        lookups = self.elements.lookups
        name, words = f"c{len(lookups)}", self._bound[check.operand][0]
        position = self._value(check.position, at, known)
        lookups.append(Lookup(name, words, index, extent, position, check.wrap))
        self._results[check.name] = ex.ref(name, I64)

    def _value(self, root: Expr, at: Mapping[str, RowPlace], known: dict[int, Expr]) -> Expr:
        if root not in self._orders:  # each iteration asks again
            self._orders[root] = [*postorder([root])]
        for node in self._orders[root]:
            if id(node) not in known:
                args = tuple([known[id(arg)] for arg in node.args])
                known[id(node)] = self._node(node, args, at)
        return known[id(root)]

    def _node(self, node: Expr, args: tuple[Expr, ...], at: Mapping[str, RowPlace]) -> Expr:
        match node.op:
            case "literal":
                return self.elements.literal(node.attribute, node.dtype)  # type: ignore[arg-type]
            case "index":
                return self.elements.position(at[str(node.attribute)])
            case "size":
                return self.elements.size(self._sizes[str(node.attribute)])
            case "ref":
                return self._results[str(node.attribute)]
            case "load":
                assert isinstance(node.attribute, Access)
                return self._load(node.attribute, args, node.dtype, at)
        return self.elements.made(node.op, node.dtype, args, node.attribute)

    def _load(
        self, access: Access, args: tuple[Expr, ...], dtype: DType, at: Mapping[str, RowPlace]
    ) -> Expr:
        count = len(access.gather)
        place, found = self._place(access, args[:count], at)
        if place is None:
            return args[count] if len(args) > count else self.elements.literal(0, dtype)
        return self.elements.load(self._bound[access.operand][0], place, dtype, found)

    def _place(
        self, access: Access, indices: Sequence[Expr], at: Mapping[str, RowPlace]
    ) -> tuple[RowPlace | None, Found]:
        """Return the place of an access in its buffer (None: out of bounds), and the indices with
        their strides that are not literals."""
        row: Size = 0
        element = self._bound[access.operand][1]
        for axis, stride in access.strides:
            step = self._number(stride)
            row, element = row + at[axis].row * step, element + at[axis].at * step
        found = []
        for index, stride in zip(indices, access.gather, strict=True):
            step = self._number(stride)
            if index.op == "literal":
                element = element + int(index.attribute) * step  # type: ignore[arg-type]
            else:
                found.append((index, step))
        for position in access.positions:
            here = self._position(position, at)
            if position.has_ends and not self._is_inside(here, position):
                return None, ()
            step = self._number(position.stride)
            row, element = row + here.row * step, element + here.at * step
        return RowPlace(row, element), tuple(found)

    def _position(self, position: Position, at: Mapping[str, RowPlace]) -> RowPlace:
        row: Size = 0
        place = self._number(position.start)
        for axis, step in position.terms:
            by = self._number(step)
            row, place = row + at[axis].row * by, place + at[axis].at * by
        return RowPlace(row, place)

    def _is_inside(self, here: RowPlace, position: Position) -> bool:
        """Return True if all rows are within bounds, False if none is; raise otherwise."""
        assert position.extent is not None
        extent = self._number(position.extent)
        ends = [here.at]
        if here.row != 0:
            assert self.elements.rows is not None
            ends.append(here.at + here.row * (self.elements.rows - 1))
        if all(_least(end) >= 0 and _least(extent - 1 - end) >= 0 for end in ends):
            return True
        if all(_least(end - extent) >= 0 for end in ends) or all(
            _least(-1 - end) >= 0 for end in ends
        ):
            return False
        raise NotWrittenOutError


def _in_rows(at: Mapping[str, RowPlace]) -> bool:
    return any(place.row != 0 for place in at.values())


def _least(size: Size) -> float:
    """Return the least value that a size may have."""
    if isinstance(size, int):
        return size
    low = bounds(size)[0]
    return float("-inf") if low is None else low

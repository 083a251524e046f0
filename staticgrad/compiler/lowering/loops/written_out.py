"""Unroll schedules: express each element that their steps store by the inputs.

Equal expressions are one object, and constants are folded. An element is identified by its place in
a row: its stride from row to row, and its offset. A load must match the place of a store exactly,
so that a row that reads an element of another row is refused.

The kernels of a schedule are interpreted once, with expressions instead of numbers. Loops with few
iterations are unrolled, and one row represents all rows of a loop over independent rows. The result
is straight-line scalar arithmetic with the operations of the kernels, in their order and with the
trees of their sums, so that results are bitwise identical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import count, product
from math import isnan
from typing import Any, Final

from staticgrad.analysis.interpret import interpret
from staticgrad.compiler.lowering.loops.refusals import LoopRefusal, LoopRefusedError
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import BLOCKS, Access, Expr, Position, postorder
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.stages import (
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
    nested_stages,
    roots,
    statements,
)
from staticgrad.language.ir.schedule import Schedule, Step
from staticgrad.language.ir.summation import BLOCK, COLUMN_BLOCK, in_lanes, lanes
from staticgrad.language.types.arrays import hint_value
from staticgrad.language.types.dim import Size, bounds, divide_exactly
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support import fuses
from staticgrad.support.records import NamedTuple

#: Expressions and statements, at most, that are unrolled; iterations of one loop, at most.
MOST: Final = 6000
LONGEST: Final = 512


class RowPlace(NamedTuple):
    """Element ``row * r + at`` of a buffer, for row number r."""

    row: Size
    at: Size


class Lookup(NamedTuple):
    """An index to check, like in a ``Check``; the result is written to the buffer ``words``."""

    name: str
    words: str
    raw_index: Expr
    extent: Size
    position: Expr
    wrap: bool


#: The indices of a load that are computed at run time, with their strides.
DynamicIndices = tuple[tuple[Expr, Size], ...]
#: Returns an element of an input of a schedule, by the name of its buffer.
Source = Callable[[str, DType, RowPlace, DynamicIndices], Expr]


def readings(steps: Iterable[Step]) -> Iterator[tuple[Size | None, bool]]:
    """Yield axis sizes that may be the rows of a loop body, the largest first; None: one row."""
    extents: dict[Size, None] = {}
    for step in steps:
        if step.bodies() or len(step.kernels()) != 1:
            return
        (kernel,) = step.kernels()
        sizes = dict(zip(kernel.arguments, step.arguments, strict=True))
        stages = [stage for stage, _ in nested_stages(kernel.stages)]
        for axis in (*kernel.axes, *(axis for stage in stages for axis in loops_of(stage))):
            extent = axis.extent if isinstance(axis.extent, int) else sizes[axis.extent]
            if not isinstance(extent, int) or extent > 1:
                extents[extent] = None
    for rows in sorted(extents, key=hint_value, reverse=True)[: fuses.ROW_CANDIDATES]:
        yield rows, True
        yield rows, False
    yield None, True


class StepKernel:
    """The only kernel of a step, the values of its arguments, and the buffers of its operands."""

    def __init__(self, step: Step) -> None:
        if step.bodies() or len(step.kernels()) != 1:
            raise LoopRefusedError(LoopRefusal.Steps)
        (self.kernel,) = step.kernels()
        self.sizes = dict(zip(self.kernel.arguments, step.arguments, strict=True))
        self.bound = bound_places(step)

    def number(self, extent: Extent) -> Size:
        """Return the number of iterations of a loop, or the elements of a stride."""
        return extent if isinstance(extent, int) else self.sizes[extent]


def bound_places(step: Step) -> dict[str, tuple[str, Size]]:
    """Return the buffer of each operand of a step, and the first bound element."""
    return {
        access.name: (access.buffer, access.begin // access.dtype.itemsize)
        for access in step.accesses()
    }


class UnrolledSchedule:
    """The elements of a schedule's buffers as its steps are run, in one row out of ``rows``.

    ``rows`` None: everything is one row. ``inner``: in a loop over ``m * rows`` iterations the m
    elements of each row are adjacent; else there are m runs of rows.
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
        self._expression_count = count()
        self._expressions: dict[object, Expr] = {}
        self.memory: dict[str, dict[RowPlace, Expr]] = {}
        self.lookups: list[Lookup] = []

    def spend(self) -> None:
        """Count an unrolled expression; raise if there are too many."""
        if next(self._expression_count) >= MOST:
            raise LoopRefusedError(LoopRefusal.TooLong)

    # -- expressions, equal ones are one object ---------------------------------------------------

    def literal(self, value: bool | int | float, dtype: DType) -> Expr:
        """Return a number as an expression."""
        exact = repr(float(value) if dtype.is_float else int(value))
        return self._get_or_make(("literal", dtype, exact), lambda: ex.literal(value, dtype))

    def size(self, value: Size) -> Expr:
        """Return a size as an expression."""
        return self.literal(value, I64) if isinstance(value, int) else self._size(value)

    def position(self, place: RowPlace) -> Expr:
        """Return the index of an unrolled element as an expression of the row's number."""
        if place.row == 0:
            return self.size(place.at)
        row = self._get_or_make("row", lambda: ex.index(ROW))
        row_offset = self.apply("mul", I64, (row, self.size(place.row)))
        return (
            row_offset
            if place.at == 0
            else self.apply("add", I64, (row_offset, self.size(place.at)))
        )

    def apply(
        self, op: str, dtype: DType, args: tuple[Expr, ...], attribute: ex.Attribute = None
    ) -> Expr:
        """Apply a primitive to symbolic elements; constants are folded."""
        if op == "select" and args[0].op == "literal":
            return args[1] if args[0].attribute else args[2]
        key = (op, dtype, tuple(map(id, args)), attribute)
        return self._get_or_make(
            key, lambda: self._fold_constants(Expr(op, dtype, args, attribute))
        )

    def _fold_constants(self, expr: Expr) -> Expr:
        if expr.op in BLOCKS or any(arg.op != "literal" for arg in expr.args):
            return expr
        if any(operand.dtype.is_storage for operand in (expr, *expr.args)):
            return expr
        value = interpret([expr], _no_leaf)[0][()].item()
        return expr if isnan(value) else self.literal(value, expr.dtype)

    def _get_or_make(self, key: object, make: Callable[[], Expr]) -> Expr:
        if key not in self._expressions:
            self.spend()
            self._expressions[key] = make()
        return self._expressions[key]

    # -- memory -----------------------------------------------------------------------------------

    def load(
        self, buffer: str, place: RowPlace, dtype: DType, indices: DynamicIndices = ()
    ) -> Expr:
        """Return the symbolic element of a buffer at a place, stored before or an input's."""
        declared = self.schedule.by_name[buffer]
        if declared.role == "input":
            at = tuple((id(i), stride) for i, stride in indices)
            key = ("source", self, buffer, place, at)
            return self._get_or_make(key, lambda: self._source(buffer, dtype, place, indices))
        if indices:
            raise LoopRefusedError(LoopRefusal.Lookup)
        if declared.data is not None:
            if place.row != 0 or not isinstance(place.at, int):
                raise LoopRefusedError(LoopRefusal.Constant)
            value = declared.data.array.reshape(-1)[place.at].item()
            if isinstance(value, float) and isnan(value):
                raise LoopRefusedError(LoopRefusal.Constant)
            return self.literal(value, dtype)
        elements = self.memory.get(buffer, {})
        if place not in elements:
            raise LoopRefusedError(LoopRefusal.OtherRow)
        return elements[place]

    def store(self, buffer: str, place: RowPlace, value: Expr) -> None:
        """Store a symbolic element of a buffer at a place that overlaps no other place."""
        elements = self.memory.setdefault(buffer, {})
        if any(
            stored_place.row != place.row for stored_place in elements
        ) or not self._belongs_to_one_row(place):
            raise LoopRefusedError(LoopRefusal.SharedElement)
        elements[place] = value

    def _belongs_to_one_row(self, place: RowPlace) -> bool:
        """Return True if an element of an unrolled body belongs to one row (in one of its runs)."""
        if place.row == 0:
            return isinstance(place.at, int)
        if not isinstance(place.row, int) or place.row < 0 or self.rows is None:
            return False
        ends = (place.at - run * (self.rows * place.row) for run in range(fuses.ROW_RUNS))
        return any(isinstance(end, int) and 0 <= end < place.row for end in ends)

    # -- sums -------------------------------------------------------------------------------------

    def reduce_terms(self, kind: str, terms: Sequence[Expr], dtype: DType, by_lanes: bool) -> Expr:
        """Combine the symbolic terms of a reduction in the order of ``ir/summation.py``."""
        combiner = COMBINERS[kind]
        if not terms:
            return self.literal(combiner.empty(dtype), dtype)

        def combine(a: Expr, b: Expr) -> Expr:
            return self.apply(combiner.combine, dtype, (a, b))

        if combiner.is_ordered(dtype):
            if len(terms) > (BLOCK if by_lanes else COLUMN_BLOCK):
                raise LoopRefusedError(LoopRefusal.LongSum)
            if by_lanes:
                return in_lanes(terms, lanes(dtype), combine)
        return reduce(combine, terms)


#: The loop over rows.
ROW: Final = "j"


def _no_leaf(*_: object) -> Any:
    raise LoopRefusedError(LoopRefusal.Lookup)


def unroll_steps(elements: UnrolledSchedule, steps: Sequence[Step]) -> None:
    """Run steps with expressions; raise before the first one if there are too many expressions."""
    runs = [_StepRun(elements, step) for step in steps]
    if sum(run.estimate_expressions() for run in runs) > MOST:
        raise LoopRefusedError(LoopRefusal.TooLong)
    for run in runs:
        run.run()


class _StepRun(StepKernel):
    """The run of one step: loop indices and the results of its stages."""

    def __init__(self, elements: UnrolledSchedule, step: Step) -> None:
        super().__init__(step)
        self.elements = elements
        self._results: dict[str, Expr] = {}
        self._orders: dict[Expr, list[Expr]] = {}

    def run(self) -> None:
        for at in self._iterate(self.kernel.axes):
            if self.kernel.serial and _in_rows(at):
                raise LoopRefusedError(LoopRefusal.Serial)
            self._unroll_stages(self.kernel.stages, at)

    # -- loops ------------------------------------------------------------------------------------

    def estimate_expressions(self) -> int:
        """Estimate the number of expressions that unrolling a schedule would make."""
        count = 0
        for stage, outer in nested_stages(self.kernel.stages):
            exprs = postorder(root for s in statements(stage) for root in roots(s))
            stage_count = sum(1 for _ in exprs) + len(statements(stage))
            for axis in (*self.kernel.axes, *outer, *loops_of(stage)):
                stage_count *= len(self._iterations(axis))
            count += stage_count
        return count

    def _iterate(
        self, axes: Sequence[Axis], reduces: bool = False
    ) -> Iterator[dict[str, RowPlace]]:
        """Yield the iterations of loops to unroll; with ``reduces`` refuse a loop over rows."""
        for places in product(*map(self._iterations, axes)):
            if reduces and any(place.row != 0 for place in places):
                raise LoopRefusedError(LoopRefusal.AcrossRows)
            self.elements.spend()
            yield {axis.name: place for axis, place in zip(axes, places, strict=True)}

    def _iterations(self, axis: Axis) -> Sequence[RowPlace]:
        """Return the place of each iteration of a kernel's loop to unroll, or refuse the loop."""
        extent, rows = self.number(axis.extent), self.elements.rows
        if axis.limits:
            raise LoopRefusedError(LoopRefusal.Limits)
        count = None if rows is None else divide_exactly(extent, rows)
        if rows is not None and isinstance(count, int) and 1 <= count <= LONGEST:
            row, step = (count, 1) if self.elements.inner else (1, rows)
            return [RowPlace(row, n * step) for n in range(count)]
        if not isinstance(extent, int) or extent > LONGEST:
            raise LoopRefusedError(LoopRefusal.TooLong)
        return [RowPlace(0, n) for n in range(extent)]

    # -- stages -----------------------------------------------------------------------------------

    def _unroll_stages(self, stages: Sequence[Stage], at: Mapping[str, RowPlace]) -> None:
        """Unroll the stages of a kernel, each by its kind."""
        for stage in stages:
            match stage:
                case Map(body=body, loops=loops):
                    self._unroll_map(body, loops, at)
                case Scalar(body=body):
                    self._execute_statements(body, at, {})
                case Columns():
                    self._unroll_columns(stage, at)
                case Gemm():
                    self._unroll_gemm(stage, at)
                case Loop():
                    self._unroll_loop(stage, at)
                case _:
                    raise LoopRefusedError(LoopRefusal.Stage)

    def _unroll_map(
        self, body: Sequence[Statement], loops: Sequence[Axis], at: Mapping[str, RowPlace]
    ) -> None:
        """Unroll a map: execute its statements for each index of its loops, then its reductions."""
        terms: dict[str, list[Expr]] = {s.name: [] for s in body if isinstance(s, Accumulate)}
        for inner in self._iterate(loops, reduces=bool(terms)):
            self._execute_statements(body, {**at, **inner}, terms)
        for s in body:
            if isinstance(s, Accumulate):
                if s.blocks:
                    raise LoopRefusedError(LoopRefusal.LongSum)
                self._results[s.name] = self.elements.reduce_terms(
                    s.kind, terms[s.name], s.value.dtype, by_lanes=True
                )

    def _execute_statements(
        self,
        body: Sequence[Statement],
        at: Mapping[str, RowPlace],
        terms: Mapping[str, list[Expr]],
    ) -> None:
        """Execute the statements of one unrolled iteration on symbolic values."""
        values: dict[int, Expr] = {}
        for statement in body:
            self.elements.spend()
            match statement:
                case Store():
                    self._store(statement, at, values)
                case Accumulate(name=name, value=value):
                    terms[name].append(self._value(value, at, values))
                case Keep(name=name, value=value):
                    self._results[name] = self._value(value, at, values)
                case Check():
                    self._check(statement, at, values)
                case _:
                    raise LoopRefusedError(LoopRefusal.Stage)

    def _unroll_columns(self, stage: Columns, at: Mapping[str, RowPlace]) -> None:
        """Unroll a reduction across rows: the terms of each column, then its stores."""
        for inner in self._iterate([stage.axis]):
            column_at, terms = {**at, **inner}, {s.name: list[Expr]() for s in stage.body}
            for row in self._iterate(stage.rows, reduces=True):
                self._execute_statements(stage.body, {**column_at, **row}, terms)
            for s in stage.body:
                self._results[s.name] = self.elements.reduce_terms(
                    s.kind, terms[s.name], s.value.dtype, stage.in_lanes
                )
            self._execute_statements(stage.stores, column_at, {})

    def _unroll_gemm(self, stage: Gemm, at: Mapping[str, RowPlace]) -> None:
        """Unroll a matrix product: a chain of fused multiply-adds for each element."""
        elements, dtype = self.elements, self.kernel.operand(stage.a.operand).dtype
        chain = [*self._iterate(stage.k, reduces=True)]
        is_narrow = dtype.is_storage or self.kernel.operand(stage.b.operand).dtype.is_storage
        if is_narrow or stage.factors is not None:
            raise LoopRefusedError(LoopRefusal.NarrowProduct)
        if len(chain) > GEMM_BLOCK:
            raise LoopRefusedError(LoopRefusal.LongSum)
        for outer in self._iterate((*stage.i, *stage.j)):
            total = elements.literal(0, dtype)
            if stage.onto is not None:
                total = self._load(stage.onto, (), dtype, {**at, **outer})
            for inner in chain:
                inner_at = {**at, **outer, **inner}
                a, b = (self._load(access, (), dtype, inner_at) for access in (stage.a, stage.b))
                if dtype.is_float:
                    total = elements.apply("fma", dtype, (a, b, total))
                else:
                    product_ = elements.apply("mul", dtype, (a, b))
                    total = elements.apply("add", dtype, (total, product_))
            self._results["acc"] = total
            self._execute_statements(stage.stores, {**at, **outer}, {})

    def _unroll_loop(self, stage: Loop, at: Mapping[str, RowPlace]) -> None:
        if stage.going:
            raise LoopRefusedError(LoopRefusal.InnerEnd)
        self._carry(stage.first, at)
        for iteration in self._iterate([stage.axis], reduces=True):
            self._unroll_stages(stage.stages, {**at, **iteration})
            self._carry(stage.following, {**at, **iteration})

    def _carry(self, carries: Sequence[Carry], at: Mapping[str, RowPlace]) -> None:
        values: dict[int, Expr] = {}
        self._results |= {c.name: self._value(c.value, at, values) for c in carries}

    # -- statements and expressions ---------------------------------------------------------------

    def _store(self, store: Store, at: Mapping[str, RowPlace], values: dict[int, Expr]) -> None:
        """Store a symbolic value at the place of an unrolled iteration; refuse dynamic indices."""
        indices = [self._value(index, at, values) for index in store.indices]
        value = self._value(store.value, at, values)
        place, dynamic = self._locate(store.access, indices, at)
        if place is None:
            return
        if dynamic:
            raise LoopRefusedError(LoopRefusal.Scatter)
        if _in_rows(at) and place.row == 0:
            raise LoopRefusedError(LoopRefusal.SharedElement)
        buffer, _ = self.bound[store.access.operand]
        if store.combine:
            old = self.elements.load(buffer, place, value.dtype)
            value = self.elements.reduce_terms(store.combine, (old, value), value.dtype, False)
        self.elements.store(buffer, place, value)

    def _check(self, check: Check, at: Mapping[str, RowPlace], values: dict[int, Expr]) -> None:
        """Return a checked index of an unrolled iteration: a literal, or a lookup at run time."""
        index, extent = self._value(check.index, at, values), self.number(check.extent)
        if index.op == "literal" and isinstance(extent, int):
            index_value = int(index.attribute)  # type: ignore[arg-type]
            if index_value < 0 and check.wrap:
                index_value += extent
            if 0 <= index_value < extent:
                self._results[check.name] = self.elements.literal(index_value, I64)
                return
        if _minimum(extent) < 1:
            # an iteration of an empty loop must not fail
            raise LoopRefusedError(LoopRefusal.EmptyLookup)
        lookups = self.elements.lookups
        name, words = f"c{len(lookups)}", self.bound[check.operand][0]
        position = self._value(check.position, at, values)
        lookups.append(Lookup(name, words, index, extent, position, check.wrap))
        self._results[check.name] = ex.ref(name, I64)

    def _value(self, root: Expr, at: Mapping[str, RowPlace], values: dict[int, Expr]) -> Expr:
        """Return an expression's symbolic value in one unrolled iteration, memoized by node."""
        if root not in self._orders:  # the order is the same in each iteration
            self._orders[root] = [*postorder([root])]
        for node in self._orders[root]:
            if id(node) not in values:
                args = tuple([values[id(arg)] for arg in node.args])
                values[id(node)] = self._node(node, args, at)
        return values[id(root)]

    def _node(self, node: Expr, args: tuple[Expr, ...], at: Mapping[str, RowPlace]) -> Expr:
        """Return one node of an expression in an unrolled iteration, given its arguments."""
        match node.op:
            case "literal":
                return self.elements.literal(node.attribute, node.dtype)  # type: ignore[arg-type]
            case "index":
                return self.elements.position(at[str(node.attribute)])
            case "size":
                return self.elements.size(self.sizes[str(node.attribute)])
            case "ref":
                return self._results[str(node.attribute)]
            case "load":
                assert isinstance(node.attribute, Access)
                return self._load(node.attribute, args, node.dtype, at)
        return self.elements.apply(node.op, node.dtype, args, node.attribute)

    def _load(
        self, access: Access, args: tuple[Expr, ...], dtype: DType, at: Mapping[str, RowPlace]
    ) -> Expr:
        """Return the symbolic element that an access reads in an unrolled iteration."""
        count = len(access.gather)
        place, dynamic = self._locate(access, args[:count], at)
        if place is None:
            return args[count] if len(args) > count else self.elements.literal(0, dtype)
        return self.elements.load(self.bound[access.operand][0], place, dtype, dynamic)

    def _locate(
        self, access: Access, indices: Sequence[Expr], at: Mapping[str, RowPlace]
    ) -> tuple[RowPlace | None, DynamicIndices]:
        """Return the place in its buffer that an unrolled access reads, and its dynamic indices.

        The place is None if the access is out of bounds.
        """
        row, element = self._sum_terms(self.bound[access.operand][1], access.strides, at)
        dynamic = []
        for index, stride in zip(indices, access.gather, strict=True):
            step = self.number(stride)
            if index.op == "literal":
                element = element + int(index.attribute) * step  # type: ignore[arg-type]
            else:
                dynamic.append((index, step))
        for position in access.positions:
            offset = self._sum_terms(self.number(position.start), position.terms, at)
            if position.has_ends and not self._is_inside(offset, position):
                return None, ()
            step = self.number(position.stride)
            row, element = row + offset.row * step, element + offset.at * step
        return RowPlace(row, element), tuple(dynamic)

    def _sum_terms(
        self, start: Size, terms: Iterable[tuple[str, Extent]], at: Mapping[str, RowPlace]
    ) -> RowPlace:
        """Return the row and offset of an affine index in an unrolled iteration."""
        row: Size = 0
        for axis, step in terms:
            by = self.number(step)
            row, start = row + at[axis].row * by, start + at[axis].at * by
        return RowPlace(row, start)

    def _is_inside(self, offset: RowPlace, position: Position) -> bool:
        """Return True if an unrolled access is in bounds for all rows, False for none."""
        assert position.extent is not None
        extent = self.number(position.extent)
        ends = [offset.at]
        if offset.row != 0:
            assert self.elements.rows is not None
            ends.append(offset.at + offset.row * (self.elements.rows - 1))
        if all(_minimum(end) >= 0 and _minimum(extent - 1 - end) >= 0 for end in ends):
            return True
        if all(_minimum(end - extent) >= 0 for end in ends) or all(
            _minimum(-1 - end) >= 0 for end in ends
        ):
            return False
        raise LoopRefusedError(LoopRefusal.Border)


def _in_rows(at: Mapping[str, RowPlace]) -> bool:
    return any(place.row != 0 for place in at.values())


def _minimum(size: Size) -> float:
    """Return the minimum value of a size."""
    if isinstance(size, int):
        return size
    low = bounds(size)[0]
    return float("-inf") if low is None else low

"""The invariants of a kernel, one small function each; linear in its text.

A kernel that keeps them can be rendered: every name is declared once and where it is used, every
expression is typed, nothing is read before it is written. A broken invariant is a VerifyError that
shows the place as text. What operands are bound to is ``verify_schedule``'s to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from keyword import iskeyword
from typing import Final

from staticgrad.ir.execution import BOUND, LARGEST
from staticgrad.ir.expr import Access, mistyped, mistyped_indices
from staticgrad.ir.forms import COMBINERS, Combiner
from staticgrad.ir.kernels.bodies import accesses, bodies, broken, refuse, shown
from staticgrad.ir.kernels.kernel import MOST_JAMMED, Kernel
from staticgrad.ir.kernels.lanes import (
    iterations_store_apart,
    lanes_read_apart,
    lanes_store_apart,
    rows_fill_lanes,
    rows_stand_apart,
)
from staticgrad.ir.kernels.order import columns_stand_alone, modes_are_kept, results_come_first
from staticgrad.ir.kernels.stages import (
    FARTHEST,
    HALF_LINE,
    MOST_NESTED,
    Accumulate,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Order,
    Scalar,
    Search,
    Sort,
    Statement,
    Store,
    nested,
    small,
    statements,
)
from staticgrad.ir.kernels.text import PRODUCT, access_text, misnamed
from staticgrad.ir.kernels.width import may_take_strips
from staticgrad.types.dtype import BOOL, I32, I64, DType


def verify_kernel(kernel: Kernel) -> None:
    """Check every invariant."""
    for check in CHECKS:
        check(kernel)


# -- names ----------------------------------------------------------------------------------------


def stages_fit_together(kernel: Kernel) -> None:
    """There is a stage; a Gemm or Sort stands alone; only what has a rule for rows across memory
    follows it; rows that are grouped are outer loops of an ordinary kernel."""
    if not kernel.stages:
        broken(kernel, "there is no stage")
    if not 0 <= kernel.grouped <= len(kernel.axes):
        broken(kernel, f"{kernel.grouped} of {len(kernel.axes)} outer loops are grouped")
    if kernel.grouped and kernel.serial:
        broken(kernel, "iterations that run in order are not grouped")
    if not 1 <= kernel.jammed <= MOST_JAMMED:
        broken(kernel, f"{kernel.jammed} rows stand side by side")
    every = list(nested(kernel.stages))
    for stage, around in every:
        alone = isinstance(stage, Sort) and len(every) > 1
        if alone or (kernel.grouped and isinstance(stage, Gemm | Sort | Loop)):
            shared = "other stages" if len(every) > 1 else "groups of rows"
            broken(kernel, f"a {type(stage).__name__.lower()} shares the kernel with {shared}")
        if isinstance(stage, Loop):
            if not stage.stages:
                broken(kernel, f"the loop {stage.axis.name} does nothing")
            if len(around) >= MOST_NESTED:
                broken(kernel, f"loops of stages nest {MOST_NESTED} deep at most")
            first, following = (
                [(carry.name, carry.value.dtype) for carry in carries]
                for carries in (stage.first, stage.following)
            )
            if first != following:
                broken(
                    kernel,
                    f"the loop {stage.axis.name} begins with other carries than it goes on with",
                )
            if stage.going and (stage.going, BOOL) not in first:
                broken(
                    kernel,
                    f"the loop {stage.axis.name} goes on by what is not a truth that it carries",
                )
        if isinstance(stage, Gemm) and stage.fed:
            _check_fed(kernel, stage)
        if isinstance(stage, Columns) and stage.in_lanes:
            rules = {COMBINERS[s.kind].rule for s in stage.body if s.kind in COMBINERS}
            if rules - {"tree"}:
                broken(kernel, "only sums have a rule of lanes")


def strips_leave_numbers(kernel: Kernel) -> None:
    """Rows in strips are those of one loop, and leave nothing but numbers to later stages."""
    if kernel.in_strips and not may_take_strips(kernel):
        broken(kernel, "these rows cannot be taken in strips")


def _check_fed(kernel: Kernel, stage: Gemm) -> None:
    """Check that fused producers of a product only store, one per loop of k but the innermost."""
    if len(stage.k) < 2 or small(stage.i):
        broken(kernel, "a product of so few loops, or rows, is not fed")
    every = [each for fed in stage.fed for each in (fed, *fed.body)]
    if not all(isinstance(each, Map | Store) for each in every):
        broken(kernel, "a product is fed by what only stores")


def lists_have_tables(kernel: Kernel) -> None:
    """Check that listed operands are declared, listed once, no loop's number of iterations and not
    private to a worker; the table is an i64 input that nothing else reads."""
    if kernel.listed is None:
        return
    if kernel.outer != "axes" or not kernel.axes or kernel.jammed > 1:
        broken(kernel, "only rows one by one have operands from a table")
    table, names = kernel.listed.table, kernel.listed.names
    shared = {operand.name for operand in kernel.operands if not operand.is_own}
    known = (shared | {*kernel.arguments}) - {table, *(axis.extent for axis in kernel.axes)}
    if not names or len({*names}) != len(names) or not known.issuperset(names):
        broken(kernel, f"a table cannot list {', '.join(names) or 'nothing'}")
    tables = [o for o in kernel.operands if o.name == table]
    if [(o.dtype, o.mode) for o in tables] != [(I64, "in")]:
        broken(kernel, f"{table} is not a table: an i64 input is")
    if table in {access.operand for access, _ in accesses(kernel)}:
        broken(kernel, f"the table {table} is read by a stage")
    if any(isinstance(stage, Gemm) for stage, _ in nested(kernel.stages)):
        broken(kernel, "a product takes no sizes from a table")


def statements_fit_stages(kernel: Kernel) -> None:
    """Accumulations stand where a loop runs over them, an order where its keys are; no stage does
    nothing."""
    allowed: dict[type, tuple[type[Statement], ...]]
    allowed = {Map: (Store, Accumulate, Check, Search), Scalar: (Store, Keep, Check)}
    if kernel.grouped:
        allowed[Map] += (ColumnAccumulate,)
    for body in bodies(kernel):
        inner = isinstance(body.stage, Columns) and body.statements is body.stage.body
        kinds = (Accumulate,) if inner else allowed.get(type(body.stage), (Store,))
        if isinstance(body.stage, Sort) and body.statements is not body.stage.stores:
            kinds = (Order,)
        if isinstance(body.stage, Map) and body.stage.rows:
            kinds = (Store, Check, Search)  # an accumulation runs over one loop
        if isinstance(body.stage, Loop):
            kinds = (Carry,)
        where = type(body.stage).__name__.lower()
        for statement in body.statements:
            counted = isinstance(statement, Accumulate) and statement.blocks
            if not isinstance(statement, kinds) or (inner and counted):
                place = "the rows" if inner else f"a {where} stage"
                broken(kernel, f"this statement has no place in {place}", shown(statement))
        if inner and not body.statements:
            broken(kernel, "a columns stage accumulates nothing")
        if isinstance(body.stage, Map | Scalar) and not body.statements:
            broken(kernel, f"a {where} stage does nothing")


def names_are_distinct(kernel: Kernel) -> None:
    """Operands, arguments, outer loops and results have identifiers of their own; so do the loops
    around each body."""
    results = [
        statement.name
        for body in bodies(kernel)
        for statement in body.statements
        if isinstance(statement, Accumulate | Keep | Check | Search | Order)
    ]
    stages = [stage for stage, _ in nested(kernel.stages)]
    results += [carry.name for s in stages if isinstance(s, Loop) for carry in s.first]
    if any(isinstance(stage, Gemm) for stage in stages):
        results.append(PRODUCT)
    outer = [axis.name for axis in kernel.axes]
    fixed = [*(o.name for o in kernel.operands), *kernel.arguments, *outer, *results]
    for loops in [(), *dict.fromkeys(_loops(kernel))]:
        seen: set[str] = set()
        for name in (*fixed, *loops):
            if not name.isidentifier() or iskeyword(name):
                broken(kernel, f"{name!r} is not an identifier")
            if name in seen:
                broken(kernel, f"two things are called {name}")
            seen.add(name)


def names_fit(kernel: Kernel) -> None:
    """Every name is one of its role, so that renderers can derive others from it."""
    wrong = misnamed(kernel)
    if wrong:
        broken(kernel, wrong)


def _loops(kernel: Kernel) -> Iterator[tuple[str, ...]]:
    """The names of the loops of each stage, the outer ones aside."""
    for stage, around in nested(kernel.stages):
        outer = tuple(axis.name for axis in around)
        match stage:
            case Map(axis=axis, rows=rows) | Columns(axis=axis, rows=rows):
                yield (*outer, axis.name, *(row.name for row in rows))
            case Gemm(loops=loops):
                yield (*outer, *(loop.name for loop in loops))
            case Loop(axis=axis):
                yield (*outer, axis.name)
            case Sort(axis=axis, kept=kept):
                yield (axis.name,)
                yield (kept.name,)


def extents_are_arguments(kernel: Kernel) -> None:
    """Extents, strides and sizes are declared arguments or literals; no extent is negative."""
    declared = frozenset(kernel.arguments)
    for axis in kernel.axes:
        if axis.limits:
            broken(kernel, f"the outer loop {axis.name} has no limits")
    for axis in dict.fromkeys(_axes(kernel)):
        _check_extent(kernel, declared, axis.extent, f"the extent of {axis.name}")
    for body in bodies(kernel):
        for statement in body.statements:
            if isinstance(statement, Check | Search):
                what = f"the extent of a {type(statement).__name__.lower()}"
                _check_extent(kernel, declared, statement.extent, what)
        for expr in body.expressions:
            if expr.op == "size" and expr.attribute not in declared:
                broken(kernel, f"the size {expr.attribute} is not an argument")


def arguments_are_known(kernel: Kernel) -> None:
    """Check that known facts are about arguments shared by all iterations, in their order, once."""
    listed = kernel.listed.names if kernel.listed else ()
    names = [known.name for known in kernel.known]
    if names != [name for name in kernel.arguments if name in names and name not in listed]:
        broken(kernel, "what is known of arguments is not in their order")
    for known in kernel.known:
        wrong = known.multiple < 1 or LARGEST % known.multiple or not 0 <= known.most <= BOUND
        if known.is_nothing or wrong:
            broken(kernel, f"what is known of {known.name} is nothing")


def accesses_take_arguments(kernel: Kernel) -> None:
    """Check that strides, steps and ends of accesses are arguments or literals."""
    declared = frozenset(kernel.arguments)
    for access, _ in accesses(kernel):
        for number in _numbers(access):
            if isinstance(number, str) and number not in declared:
                broken(kernel, f"the stride {number} is not an argument", access_text(access))
        for position in access.bounded:
            _check_extent(kernel, declared, position.extent or 0, "the extent of a position")


def _numbers(access: Access) -> Iterator[Extent]:
    """Yield the strides, steps and starts of an access."""
    yield from (stride for _, stride in access.strides)
    yield from access.gather
    for position in access.positions:
        yield from (position.start, position.stride, *(step for _, step in position.terms))


def _axes(kernel: Kernel) -> Iterator[Axis]:
    yield from kernel.axes
    for stage, _ in nested(kernel.stages):
        if isinstance(stage, Gemm):
            yield from stage.loops
    for body in bodies(kernel):
        yield from body.loops[len(kernel.axes) :]


def _check_extent(kernel: Kernel, declared: frozenset[str], extent: Extent, what: str) -> None:
    if isinstance(extent, str):
        if extent not in declared:
            broken(kernel, f"{what} is {extent}, which is not an argument")
    elif extent < 0:
        broken(kernel, f"{what} is {extent}")


def accesses_move_along_loops(kernel: Kernel) -> None:
    """Every access names a declared operand and strides along loops around it, each once; a
    scratch, whose size follows from that, has no other places."""
    declared = {operand.name for operand in kernel.operands}
    passing = {operand.name for operand in kernel.operands if operand.mode == "scratch"}
    for access, loops in accesses(kernel):
        if access.operand not in declared:
            broken(kernel, f"{access.operand} is not an operand", access_text(access))
        if access.operand in passing and access.gather:
            broken(kernel, "a scratch is not gathered", access_text(access))
        around = {axis.name for axis in loops}
        for axis, _ in access.moves:
            if axis not in around:
                broken(kernel, f"no loop {axis} runs around this access", access_text(access))
            around.remove(axis)


def memory_is_brought_near_in_time(kernel: Kernel) -> None:
    """Check that a map prefetches along a loop around its statements."""
    for stage, loops in nested(kernel.stages):
        if isinstance(stage, Map) and stage.ahead is not None:
            around = {axis.name for axis in (*kernel.axes, *loops, *stage.loops)}
            if stage.ahead.axis not in around:
                broken(kernel, f"no loop {stage.ahead.axis} runs around what it brings near")
            if not 0 < stage.ahead.distance <= FARTHEST:
                broken(kernel, f"memory is brought near {stage.ahead.distance} ahead")


def whole_vectors_are_streamed(kernel: Kernel) -> None:
    """Check that streaming stores write whole vectors of a map, contiguously, of half a cache
    line at least, to operands that the kernel only stores to."""
    outs = {operand.name for operand in kernel.operands if operand.mode == "out"}
    for stage, _ in nested(kernel.stages):
        for s in statements(stage):
            if not isinstance(s, Store) or not s.streamed:
                continue
            behind = isinstance(stage, Map) and s.access.stride(stage.axis.name) == 1
            wide = kernel.lanes * s.value.dtype.itemsize >= HALF_LINE
            alone = not (s.combine or s.access.gather or s.access.bounded)
            fits = behind and wide and alone and s.access.operand in outs
            refuse(kernel, not fits, "only whole vectors of results are streamed", s)


def positions_name_loops(kernel: Kernel) -> None:
    """Check that every position in an expression is that of a loop around it."""
    for body in bodies(kernel):
        around = {axis.name for axis in body.loops}
        for expr in body.expressions:
            if expr.op == "index" and expr.attribute not in around:
                broken(kernel, f"no loop {expr.attribute} runs around its position")


# -- types ----------------------------------------------------------------------------------------


def expressions_are_typed(kernel: Kernel) -> None:
    """Every primitive takes the dtypes of its operands and gives its own."""
    for body in bodies(kernel):
        for expr in body.expressions:
            wrong = mistyped(expr)
            if wrong:
                broken(kernel, wrong, repr(expr))


def memory_is_typed(kernel: Kernel) -> None:
    """Loads, stores and products have the dtypes of their operands; indices are i64."""
    dtypes = {operand.name: operand.dtype for operand in kernel.operands}
    for body in bodies(kernel):
        for expr in body.expressions:
            if isinstance(expr.attribute, Access):
                _check_dtype(kernel, dtypes, expr.attribute, expr.dtype, "load")
        for statement in body.statements:
            _check_statement(kernel, dtypes, statement)
    for stage, _ in nested(kernel.stages):
        if isinstance(stage, Gemm):
            # Factors of one dtype, whichever of both is stored in a narrower one.
            dtype, other = dtypes[stage.a.operand], dtypes[stage.b.operand]
            for access in (stage.a, stage.b):
                if access.gather:
                    broken(kernel, "a factor of a product is not gathered", access_text(access))
            if dtype.compute is not other.compute:
                _check_dtype(kernel, dtypes, stage.b, dtype, "product")
            if dtype.is_bool:
                broken(kernel, "there is no product of bools", access_text(stage.a))


def _check_kind(
    kernel: Kernel, kind: str, statement: Store | Accumulate | ColumnAccumulate
) -> Combiner:
    combiner, dtype = COMBINERS.get(kind), statement.value.dtype
    if combiner is None:
        broken(kernel, f"{kind!r} is not a kind of accumulation", shown(statement))
    refused = dtype.kind not in combiner.kinds or dtype.is_storage
    refuse(kernel, refused, f"there is no {kind} of {dtype.code}", statement)
    return combiner


def _check_statement(kernel: Kernel, dtypes: dict[str, DType], statement: Statement) -> None:
    match statement:
        case Store(access=access, value=value, indices=indices):
            _check_dtype(kernel, dtypes, access, value.dtype, "store")
            wrong = mistyped_indices(access, indices)
            if wrong:
                broken(kernel, wrong, access_text(access))
            if statement.combine:
                _check_kind(kernel, statement.combine, statement)
        case Accumulate(kind=kind) | ColumnAccumulate(kind=kind):
            combiner, dtype = _check_kind(kernel, kind, statement), statement.value.dtype
            counted = isinstance(statement, Accumulate) and statement.blocks
            ordered = combiner.is_ordered(dtype)
            refuse(kernel, counted and not ordered, "no order of blocks matters", statement)
            if isinstance(statement, ColumnAccumulate):
                own = {dtypes.get(statement.partials), dtypes.get(statement.scratch)}
                refuse(kernel, own != {dtype}, f"a column is not all {dtype.code}", statement)
        case Search(access=access, value=value):
            _check_dtype(kernel, dtypes, access, value.dtype, "search")
            refuse(kernel, value.dtype.is_bool, "a search takes numbers only", statement)
        case Order(key=key, scratch=scratch):
            wrong_order = key.dtype not in (I32, I64) or dtypes.get(scratch) is not I64
            refuse(kernel, wrong_order, "keys are i32 or i64, their scratch is i64", statement)
        case Check(index=index, position=position, operand=operand):
            if (index.dtype, position.dtype, dtypes.get(operand)) != (I64, I64, I64):
                broken(kernel, "a check takes and notes i64 only", shown(statement))


def _check_dtype(
    kernel: Kernel, dtypes: dict[str, DType], access: Access, dtype: DType, what: str
) -> None:
    own = dtypes[access.operand]
    if own is not dtype:
        broken(
            kernel, f"{access.operand} is {own.code}, the {what} {dtype.code}", access_text(access)
        )


#: Every invariant, in an order in which each may rely on those before it.
CHECKS: Final[tuple[Callable[[Kernel], None], ...]] = (
    stages_fit_together,
    lists_have_tables,
    statements_fit_stages,
    names_are_distinct,
    names_fit,
    extents_are_arguments,
    arguments_are_known,
    accesses_take_arguments,
    accesses_move_along_loops,
    memory_is_brought_near_in_time,
    whole_vectors_are_streamed,
    positions_name_loops,
    expressions_are_typed,
    memory_is_typed,
    results_come_first,
    lanes_store_apart,
    rows_stand_apart,
    rows_fill_lanes,
    iterations_store_apart,
    strips_leave_numbers,
    columns_stand_alone,
    modes_are_kept,
    lanes_read_apart,
)

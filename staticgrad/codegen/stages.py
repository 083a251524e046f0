"""Map and Scalar stages to source: loops, sums by their tree, stores.

Sums follow ``ir/summation.py`` to the bit: lanes inside a block, blocks combined by a binary
counter. This module knows the loops; expressions are written by ``codegen.expressions``.

Strips of rows to source: a vector of rows runs each stage before the next one.

Stages over a row are written for some rows side by side, one turn after the other; a stage of
scalars in between is written once, each lane of its vectors a row. Numbers that later stages read
lie in local memory meanwhile, an element for each row of the strip.

Rows as the lanes of vectors to source: stages of scalars and of loops, for several vectors.

What a row of a scalar stage keeps, or carries from iteration to iteration of a loop, each lane
does, so that all names stand for vectors. Iterations wait for each other, vectors do not: some
stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import groupby
from typing import Final

from staticgrad.codegen.expressions import (
    VECTOR,
    Lines,
    Scope,
    Unit,
    adds_rows,
    element,
    halves,
    position_source,
    scaled,
    total,
)
from staticgrad.codegen.extremes import from_key
from staticgrad.codegen.interleaved import Interleaved, interleaved
from staticgrad.codegen.jammed import (
    Rows,
    emit_alike,
    emit_jammed,
    of_row,
    renamed,
    scopes_jammed,
)
from staticgrad.codegen.lane_steps import (
    LEVELS,
    accumulator,
    combine,
    counter_of,
    horizontal,
    in_blocks,
    needed,
    nothing_added,
    write_fold,
    write_lane_step,
    write_push,
)
from staticgrad.codegen.lookups import write_lookup, write_uniform_check
from staticgrad.codegen.prefetching import WAITING, write_touches
from staticgrad.codegen.vectors import (
    MASKED,
    SHORT,
    Bodies,
    is_crossed,
    mask_name,
    masks_made_before,
    may_be_jammed,
    pays_to_peel,
    vectors_jammed,
    whole_vectors_of,
    work,
    write_vector_loop,
)
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import LANE_VECTORS, Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Extent,
    Keep,
    Loop,
    Map,
    Scalar,
    Search,
    Stage,
    Statement,
    Store,
    is_first,
    may_leave,
    nested,
    roots,
    statements,
)
from staticgrad.ir.kernels.together import whole_vectors
from staticgrad.ir.kernels.width import half_registers
from staticgrad.ir.summation import BLOCK
from staticgrad.records import dataclass


@dataclass(frozen=True)
class Span:
    """The vector loop of a stage: variable from ``start`` to ``stop`` (source text).

    ``most``: what ``stop`` is at most, if that is an argument.
    """

    start: str
    stop: str
    most: str = ""


def base_text(access: Access, skip: frozenset[str] = frozenset({VECTOR})) -> str:
    """The element offset of an access from the loops around the vector axis."""
    strides = (scaled(axis, s) for axis, s in access.strides if axis not in skip)
    return total(*strides, *(_moved(position, skip) for position in access.positions))


def _moved(position: Position, skip: frozenset[str]) -> str:
    """The elements that a position moves an access by."""
    place = position_source(position, skip)
    alone = place.isidentifier() or place.isdecimal() or position.stride in (0, 1)
    return "0" if place == "0" else scaled(place if alone else f"({place})", position.stride)


def scope_for(
    kernel: Kernel,
    inner: Sequence[str],
    before: Lines,
    body: Lines,
    unit: Unit,
    lanes: int,
    mask: str = "m",
) -> Scope:
    """A scope over the loop axes ``inner``, positions named after their axes."""
    return Scope(
        lanes=lanes,
        inner=frozenset(inner),
        before=before,
        body=body,
        base=base_text,
        position=lambda axis: axis,
        unit=unit,
        mask=mask,
    )


# -- Map ------------------------------------------------------------------------------------------


def write_map(kernel: Kernel, stage: Map, out: Lines, loop: Span, unit: Unit, jammed: Rows) -> None:
    """The vector loop of a Map; its accumulations become one-lane variables of their names."""
    added = [s for s in stage.body if isinstance(s, Accumulate)]
    sums = [renamed(s, row) for s in added for row in range(jammed.count)]
    lanes = _lanes(kernel, stage, loop, unit)
    bodies = _bodies(kernel, stage, out, unit, jammed, loop, lanes)
    if stage.rows:
        rows = Lines()
        _write_vectors(rows, loop, lanes, bodies, unit)
        if _is_single(loop, lanes, unit):
            known = [*kernel.arguments, *(axis.name for axis in kernel.axes)]
            rows = masks_made_before(out, rows, known, unit)
        write_loops(out, stage.rows, rows)
        return
    first = [f"{s.name}_d" for s in sums if is_first(s)]
    for name in first:
        out.add(f"{name} = 0")
    if may_leave(stage):
        bodies = replace(bodies, left=f"{' + '.join(first)} == {len(first)}")
    _write_row(out, loop, lanes, bodies, sums, unit)


def _lanes(kernel: Kernel, stage: Map, loop: Span, unit: Unit) -> int:
    """The lanes of a Map's vectors: half of the kernel's where a row is known to fill no more."""
    half = half_registers(stage, kernel.operands, kernel.lanes)
    return half if half and _is_single(loop, half, unit) else kernel.lanes


def _bodies(
    kernel: Kernel,
    stage: Map,
    before: Lines,
    unit: Unit,
    jammed: Rows,
    loop: Span,
    lanes: int,
) -> Bodies:
    """The body of a Map's loop; what does not move along the loop goes to ``before``."""
    inner, runs = [axis.name for axis in stage.loops], interleaved(stage)
    ends, mask = (loop.start, loop.stop), mask_name(lanes, kernel.lanes)

    def first() -> Scope:
        scope = scope_for(kernel, inner, before, Lines(), unit, lanes, mask)
        scope.expect(root for statement in stage.body for root in roots(statement))
        scope.loads_alike = jammed.loads_alike
        return scope

    scopes = scopes_jammed(jammed, first())
    masked = _body(scopes, stage, runs, ends, jammed.switched)
    lines, crossed = work(masked, unit), is_crossed(scopes[0].windows.found)
    windows = scopes[0].windows.found if crossed else {}
    windows = windows if pays_to_peel(masked, unit, windows) else {}
    if any(isinstance(s, Accumulate) and s.blocks for s in stage.body):  # they are few
        return Bodies(masked, masked, 0, windows)
    if adds_rows(kernel, stage, scopes[0]):
        return Bodies(masked, masked, 1, windows, narrower=_narrower(scopes[0], stage, unit))
    if windows or (lines <= SHORT and not jammed.left):
        masked.lines[:0] = write_touches(kernel, stage, scopes, kernel.streams).lines
        return Bodies(masked, masked, 1, windows, mask=mask)
    if _is_single(loop, lanes, unit):
        masked.lines[:0] = write_touches(kernel, stage, scopes, True).lines
        return Bodies(masked, masked, 0, windows, mask=mask)
    mixed = jammed.count == 1 and may_be_jammed(kernel, stage, runs)
    count = 0 if jammed.left else whole_vectors(lines, 1)
    if mixed and not jammed.left:
        count = whole_vectors_of(masked, lines, unit)
    elif unit.has_masks and (crossed or lines > MASKED):
        count = 0
    masked.lines[:0] = write_touches(kernel, stage, scopes, True).lines
    if not count:
        return Bodies(masked, masked, 0, windows)
    scopes = vectors_jammed(first(), count) if count > 1 else scopes_jammed(jammed, first())
    whole = _body(scopes, stage, runs, ends, jammed.switched)
    whole.lines[:0] = write_touches(kernel, stage, scopes, lines > WAITING).lines
    return Bodies(masked, whole, count, windows)


def _narrower(first: Scope, stage: Map, unit: Unit) -> dict[int, Lines]:
    """The stores of a Map in vectors of fewer lanes, given the scope of whole ones."""
    found = halves(first, unit.told(stage.axis.extent).multiple)
    for scope in found.values():
        for statement in stage.body:
            if isinstance(statement, Store):
                write_store(scope, statement)
    return {lanes: scope.body for lanes, scope in found.items()}


def _body(
    scopes: Sequence[Scope],
    stage: Map,
    runs: Interleaved,
    ends: tuple[str, str],
    switched: bool = False,
) -> Lines:
    """The statements of a Map for rows, or vectors, side by side."""
    for own in scopes:
        own.runs = runs.loads
    if len(scopes) == 1:
        emit_alike(scopes[0], stage)
    for statement in stage.body:
        if isinstance(statement, ColumnAccumulate):
            _write_column_step(scopes, statement, switched)
            continue
        if len(scopes) > 1:
            emit_jammed(scopes, needed(statement))
        for own in scopes:
            if id(statement) in runs.waiting:
                own.emit(roots(statement))
                runs.last.get(id(statement), _nothing)(own)
            else:
                _write_statement(own, statement, ends)
    return scopes[0].body


def _nothing(scope: Scope) -> None:
    """Stores that are written together wait for the last one."""


def _write_statement(scope: Scope, statement: Statement, ends: tuple[str, str]) -> None:
    """A statement for the row of a scope, among those side by side; ``ends``: of its loop."""
    row = scope.row
    match statement:
        case Store():
            write_store(scope, statement)
        case Accumulate():
            write_lane_step(scope, renamed(statement, row), ends)
        case Check():
            name = scope.result(statement.name)
            if row == 0 or name != statement.name:  # else the first row's is that of all
                write_lookup(scope, renamed(statement, row))
        case Search():
            write_lookup(scope, renamed(statement, row))


def _write_row(
    out: Lines, loop: Span, lanes: int, bodies: Bodies, sums: Sequence[Accumulate], unit: Unit
) -> None:
    """Write the vector loop and its accumulators."""
    counted = [s for s in sums if s.blocks]
    sums = [s for s in sums if not s.blocks]
    for s in counted:
        code = element(s.value.dtype)
        out.add(f"{s.name}_s = local_{code}({LEVELS})")
        out.add(f"{s.name}_l = local_{code}({lanes})")
        out.add(f"{s.name}_n = 0")
    for s in sums:
        out.add(f"{s.name}_a = {accumulator(s, lanes)}")
    told, at_most = unit.told(loop.stop), unit.told(loop.most or loop.stop)
    one_block = loop.start == "0" and at_most.short
    if any(in_blocks(s) for s in sums) and not one_block:
        _write_blocked_loop(out, loop, lanes, bodies, sums, unit)
    else:
        _write_vectors(out, loop, lanes, bodies, unit)
    for s in sums:
        if in_blocks(s) and one_block:
            out.add(f"{s.name} = {horizontal(s)}")
            if not told.short:  # a row that ends early may have no element
                out.add(f"if {loop.stop} <= 0:")
                out.add(f"    {s.name} = {nothing_added(s)}")
        elif not in_blocks(s):
            out.add(f"{s.name}_h = {horizontal(s)}")
            out.add(f"{s.name} = {from_key(s, f'{s.name}_h')}")
    for s in counted:
        out.add(f"{s.name} = {nothing_added(s)}")
        write_fold(out, {s.name: counter_of(s)})


def _write_vectors(out: Lines, loop: Span, lanes: int, bodies: Bodies, unit: Unit) -> None:
    """Write the loop over vectors, using the known facts about its extent."""
    multiple = unit.told(loop.stop).multiple if loop.start == "0" else 1
    single = _is_single(loop, lanes, unit)
    write_vector_loop(out, loop.start, loop.stop, lanes, bodies, multiple, single)


def _is_single(loop: Span, lanes: int, unit: Unit) -> bool:
    """Return whether a row is known to be one vector."""
    told = unit.told(loop.stop)
    return loop.start == "0" and told.short and 0 < told.most <= lanes


def _write_column_step(
    scopes: Sequence[Scope], statement: ColumnAccumulate, switched: bool
) -> None:
    """Fold one vector of each row into the accumulators of its columns, which scratch holds."""
    emit_jammed(scopes, roots(statement))
    name, lanes, body = f"{statement.partials}_a", scopes[0].lanes, scopes[0].body
    body.add(f"{name} = load{lanes}({statement.scratch}, {VECTOR})")
    for scope in scopes:
        grown = combine(COMBINERS[statement.kind], name, scope.vector(statement.value))
        if switched and scope.row:
            grown = f"select_mask({of_row('on', scope.row)}, {grown}, {name})"
        body.add(f"{name} = {grown}")
    body.add(f"store{lanes}({statement.scratch}, {VECTOR}, {name})")


def _write_blocked_loop(
    out: Lines, loop: Span, lanes: int, bodies: Bodies, sums: Sequence[Accumulate], unit: Unit
) -> None:
    """Rows in blocks; sums of several in a binary counter, which the last one empties."""
    added = [s for s in sums if in_blocks(s)]
    several = _several_blocks(loop, unit)
    for s in added:
        if several:
            out.add(f"{s.name}_s = local_{element(s.value.dtype)}({LEVELS})")
        out.add(f"{s.name} = {nothing_added(s)}")
    if several:
        out.add("blocks = 0")
    out.add(f"for block in range({loop.start}, {loop.stop}, {BLOCK}):")
    inner, rest = Lines(), Lines()
    inner.add(f"stop = block + {BLOCK}")
    inner.add(f"if stop > {loop.stop}:")
    inner.add(f"    stop = {loop.stop}")
    for s in added:
        inner.add(f"{s.name}_a = {accumulator(s, lanes)}")
    multiple = unit.told(loop.stop).multiple if loop.start == "0" else 1
    write_vector_loop(inner, "block", "stop", lanes, bodies, multiple)
    for s in added:
        inner.add(f"{s.name} = {horizontal(s)}")
    if several:
        inner.add(several)
        rest.add(f"final = 1 if stop == {loop.stop} else 0")
        write_push(rest, {s.name: counter_of(s) for s in added}, "final")
        rest.add("blocks = blocks + 1")
        inner.extend(rest, 1)
    out.extend(inner, 1)


def _several_blocks(loop: Span, unit: Unit) -> str:
    """The test whether a row has several blocks; empty where it is known to have one at most.

    The sum of a block alone is that of the row, and short rows are many.
    """
    if loop.start == "0" and unit.told(loop.most or loop.stop).short:
        return ""
    length = loop.stop if loop.start == "0" else f"{loop.stop} - {loop.start}"
    return f"if {length} > {BLOCK}:"


def limit(out: Lines, unit: Unit, axis: Axis, name: str) -> str:
    """Return the source of a loop limit; a limit that was stored is clamped to the extent."""
    if not name:
        return str(axis.extent)
    place = unit.fresh("e")
    out.add(f"{place} = word({name})")
    out.add(f"if {place} > {axis.extent}:")
    out.add(f"    {place} = {axis.extent}")
    return place


def loop_limits(out: Lines, unit: Unit, axis: Axis) -> tuple[str, Extent]:
    """Return the first iteration of a loop of stages and its end, as source."""
    start, stop = "0", axis.extent
    if axis.past:
        stop = limit(out, unit, axis, axis.past)
    if axis.first:
        start, stop = limit(out, unit, axis, axis.first), str(stop)
        out.add(f"if {start} < 0:")
        out.add(f"    {start} = 0")
    return start, stop


def write_loops(out: Lines, axes: Sequence[Axis], body: Lines) -> None:
    """``body`` at every position of loops around it."""
    for deeper, axis in enumerate(axes):
        out.add("    " * deeper + f"for {axis.name} in range(0, {axis.extent}):")
    out.extend(body, len(axes))


# -- stores ---------------------------------------------------------------------------------------


def write_store(scope: Scope, statement: Store) -> None:
    """Write a vector store: contiguous, strided or scattered, or combined with memory.

    Whole vectors that are streamed pass the caches where they lie in halves of lines.
    """
    scope.emit(roots(statement))
    access = scope.access(statement.access)
    value = scope.vector(statement.value)
    kind, lanes_at = scope.addressing(access, statement.indices)
    where = scope.place(access, statement.indices, vector=True)
    if kind == "lanes":
        target, verb, extra = total(lanes_at, scope.base(access)), "_at", ""
    elif kind == "strided" and access.stride(VECTOR) != 0:
        target, verb, extra = where, "_strided", f"{access.stride(VECTOR)}, "
    else:
        target, verb, extra = where, "", ""
    mask = scope.guard(access, True, scope.body)
    if statement.combine:
        there = f"load{verb}({access.operand}, {target}, {extra}{mask})"
        value = combine(COMBINERS[statement.combine], there, value)
    stored = f"store{verb}({access.operand}, {target}, {extra}{value}, {mask})"
    if statement.streamed:
        scope.body.add(f"if fits({access.operand}, {target}, {mask}):")
        scope.body.add(f"    stream({access.operand}, {target}, {value})")
        scope.body.add("else:")
        stored = f"    {stored}"
    scope.body.add(stored)


# -- Scalar ---------------------------------------------------------------------------------------


def write_scalar(kernel: Kernel, stage: Scalar, out: Lines, unit: Unit, jammed: Rows) -> None:
    """Statements once per row, on one lane."""
    scopes = scopes_jammed(jammed, scope_for(kernel, [], out, out, unit, 1))
    for statement in stage.body:
        if len(scopes) > 1:
            emit_jammed(scopes, roots(statement))
        for row, scope in enumerate(scopes):
            scope.emit(roots(statement))
            match statement:
                case Store():
                    _write_one(scope, statement)
                case Keep(value=kept):
                    out.add(f"{renamed(statement, row).name} = {scope.one(kept)}")
                case Check():
                    write_uniform_check(scope, renamed(statement, row))


def write_carries(
    kernel: Kernel, carries: Sequence[Carry], out: Lines, unit: Unit, jammed: Rows
) -> None:
    """Carries given anew, all at once, on one lane for each row."""
    scopes = scopes_jammed(jammed, scope_for(kernel, [], out, out, unit, 1))
    given = [(carry, row) for carry in carries for row in range(jammed.count)]
    for carry, row in given:
        scopes[row].emit([carry.value])
        out.add(f"{renamed(carry, row).name}_n = {scopes[row].one(carry.value)}")
    for carry, row in given:
        name = renamed(carry, row).name
        out.add(f"{name} = {name}_n")


def _write_one(scope: Scope, statement: Store) -> None:
    """A store of one lane."""
    access, out = scope.access(statement.access), scope.body
    where, value = scope.place(access, statement.indices, False), scope.one(statement.value)
    mask = f", {scope.guard(access, False, out)}" if access.bounded else ""
    verb = "" if mask else "1"
    if statement.combine:
        there = f"load{verb}({access.operand}, {where}{mask})"
        value = combine(COMBINERS[statement.combine], there, value)
    out.add(f"store{verb}({access.operand}, {where}, {value}{mask})")


#: Writes some stages for the rows from one number to another; lines of each turn of rows side by
#: side stand before them and behind them.
WriteRows = Callable[
    [Lines, str, str, Sequence[Stage], Callable[[Rows], Lines], Callable[[Rows], Lines]], None
]


def write_strips(
    kernel: Kernel, unit: Unit, at: str, out: Lines, start: str, stop: str, rows: WriteRows
) -> None:
    """Every stage for the rows from ``start`` to ``stop``, strip by strip.

    ``at``: the variable of a row's number, as ``rows`` names it.
    """
    left = _left(kernel)
    for name, value in left.items():
        out.add(f"{name}_t = local_{element(value.dtype)}({kernel.lanes})")
    out.add(f"for strip in range({start}, {stop}, {kernel.lanes}):")
    strip = Lines()
    strip.add(f"past_strip = strip + {kernel.lanes}")
    strip.add(f"if past_strip > {stop}:")
    strip.add(f"    past_strip = {stop}")
    for stages in _runs(kernel):
        if isinstance(stages[0], Scalar):
            _write_vector(kernel, stages, strip, unit, left)
            continue
        given = [name for name in left if name in _given(stages)]
        read = [name for name in left if name in _read(stages) and name not in given]

        def before(jammed: Rows, names: Sequence[str] = read) -> Lines:
            lines = Lines()
            for name in names:
                for row in range(jammed.count):
                    lines.add(f"{of_row(name, row)} = load1({name}_t, {of_row(at, row)} - strip)")
            return lines

        def behind(jammed: Rows, names: Sequence[str] = given) -> Lines:
            lines = Lines()
            for name in names:
                for row in range(jammed.count):
                    lines.add(f"store1({name}_t, {of_row(at, row)} - strip, {of_row(name, row)})")
            return lines

        rows(strip, "strip", "past_strip", stages, before, behind)
    out.extend(strip, 1)


def _runs(kernel: Kernel) -> Iterator[Sequence[Stage]]:
    """Yield runs of consecutive stages of the same kind."""
    for _, run in groupby(kernel.stages, key=lambda stage: isinstance(stage, Scalar)):
        yield [*run]


def _given(stages: Sequence[Stage]) -> dict[str, Expr]:
    """Return the value of each name that these stages define."""
    every = (s for stage in stages for s in statements(stage))
    return {s.name: s.value for s in every if isinstance(s, Accumulate | Keep)}


def _read(stages: Sequence[Stage]) -> set[str]:
    """The names that stages read."""
    every = postorder(root for stage in stages for s in statements(stage) for root in roots(s))
    return {str(expr.attribute) for expr in every if expr.op == "ref"}


def _left(kernel: Kernel) -> dict[str, Expr]:
    """The numbers that some run of stages leaves for a later one."""
    found: dict[str, Expr] = {}
    given: dict[str, Expr] = {}
    for stages in _runs(kernel):
        found |= {name: given[name] for name in sorted(_read(stages)) if name in given}
        given |= _given(stages)
    return found


# -- a vector of rows -----------------------------------------------------------------------------


def _write_vector(
    kernel: Kernel, stages: Sequence[Stage], out: Lines, unit: Unit, left: dict[str, Expr]
) -> None:
    """Stages of scalars, each lane a row of the strip."""
    row, given = kernel.axes[-1].name, _given(stages)
    out.add(f"{VECTOR} = strip")
    out.add(f"m = mask{kernel.lanes}(past_strip - strip)")
    read = [name for name in left if name in _read(stages) and name not in given]
    for name in read:
        out.add(f"{name}_w = load{kernel.lanes}({name}_t, 0)")
    scope = Scope(
        lanes=kernel.lanes,
        inner=frozenset({VECTOR}),
        before=out,
        body=out,
        base=base_text,
        position=lambda axis: axis,
        unit=unit,
        result=lambda name: f"{name}_w",
        vector_refs=frozenset(f"{name}_w" for name in (*read, *given)),
    )
    known: dict[Expr, Expr] = {}
    for statement in (s for stage in stages for s in statements(stage)):
        if isinstance(statement, Store):
            indices = tuple(_along(index, row, known) for index in statement.indices)
            access, value = _transposed(statement.access, row), _along(statement.value, row, known)
            write_store(scope, replace(statement, access=access, value=value, indices=indices))
        elif isinstance(statement, Keep):
            value = _along(statement.value, row, known)
            scope.emit([value])
            out.add(f"{statement.name}_w = {scope.vector(value)}")
            if statement.name in left:
                out.add(f"store{kernel.lanes}({statement.name}_t, 0, {statement.name}_w)")


def _along(root: Expr, row: str, known: dict[Expr, Expr]) -> Expr:
    """An expression of a row as one of a vector that runs along the rows."""
    for expr in postorder([root]):
        if expr in known:
            continue
        args, attribute = tuple([known[arg] for arg in expr.args]), expr.attribute
        if isinstance(attribute, Access):
            attribute = _transposed(attribute, row)
        elif expr.op == "index" and attribute == row:
            attribute = VECTOR
        same = attribute == expr.attribute and args == expr.args
        known[expr] = expr if same else Expr(expr.op, expr.dtype, args, attribute)
    return known[root]


def _transposed(access: Access, row: str) -> Access:
    """An access that vectors along the rows make."""
    strides = tuple([(VECTOR if axis == row else axis, step) for axis, step in access.strides])
    positions = tuple(
        replace(p, terms=tuple([(VECTOR if a == row else a, step) for a, step in p.terms]))
        for p in access.positions
    )
    return replace(access, strides=strides, positions=positions)


#: Lines of the body for vectors side by side, at most.
_ROOM: Final = 500


def write_rows_in_lanes(kernel: Kernel, out: Lines, unit: Unit) -> None:
    """The vectors of rows from ``begin`` to ``end``."""
    masked = _row_lanes_body(kernel, unit, 1)
    count = whole_vectors(work(masked, unit), LANE_VECTORS, _ROOM)
    whole = _row_lanes_body(kernel, unit, count) if count > 1 else masked
    write_vector_loop(out, "begin", "end", kernel.lanes, Bodies(masked, whole, count, {}))


def _row_lanes_body(kernel: Kernel, unit: Unit, count: int) -> Lines:
    lines = Lines()
    _write_stages(kernel, kernel.stages, lines, unit, count)
    return lines


def _write_stages(
    kernel: Kernel, stages: Sequence[Stage], out: Lines, unit: Unit, count: int
) -> None:
    for stage in stages:
        if isinstance(stage, Scalar):
            _write_scalar(stage, _scopes(kernel, out, unit, count), _limits(kernel))
        elif isinstance(stage, Loop):
            _write_carries(stage.first, _scopes(kernel, out, unit, count))
            start, stop = loop_limits(out, unit, stage.axis)
            out.add(f"for {stage.axis.name} in range({start}, {stop}):")
            iteration = Lines()
            _write_stages(kernel, stage.stages, iteration, unit, count)
            _write_carries(stage.following, _scopes(kernel, iteration, unit, count))
            out.extend(iteration, 1)


def _write_scalar(stage: Scalar, scopes: Sequence[Scope], limits: Set[str]) -> None:
    for statement in stage.body:
        emit_jammed(scopes, roots(statement))
        if isinstance(statement, Keep) and statement.name in limits:
            scopes[0].body.add(f"{statement.name} = {scopes[0].one(statement.value)}")
            continue
        for scope in scopes:
            if isinstance(statement, Store):
                write_store(scope, statement)
            elif isinstance(statement, Keep):
                name = of_row(statement.name, scope.row)
                scope.body.add(f"{name} = {scope.vector(statement.value)}")
            elif isinstance(statement, Check):
                write_lookup(scope, renamed(statement, scope.row))


def _write_carries(carries: Sequence[Carry], scopes: Sequence[Scope]) -> None:
    """Carries given anew, all at once."""
    lines = scopes[0].body
    emit_jammed(scopes, [carry.value for carry in carries])
    names = [(of_row(c.name, s.row), c, s) for c in carries for s in scopes]
    for name, carry, scope in names:
        lines.add(f"{name}_n = {scope.vector(carry.value)}")
    for name, _, _ in names:
        lines.add(f"{name} = {name}_n")


def _scopes(kernel: Kernel, lines: Lines, unit: Unit, count: int) -> list[Scope]:
    """A scope for each of several vectors, one behind the other."""
    first = _scope(kernel, lines, unit, 0, None)
    return [first, *(_scope(kernel, lines, unit, number, first) for number in range(1, count))]


def _scope(kernel: Kernel, lines: Lines, unit: Unit, number: int, first: Scope | None) -> Scope:
    return Scope(
        lanes=kernel.lanes,
        inner=frozenset({VECTOR}),
        before=lines,
        body=lines,
        base=base_text,
        position=lambda axis: of_row(axis, number) if axis == VECTOR else axis,
        unit=unit,
        result=lambda name: of_row(name, number),
        apart=_differs,
        first=first,
        row=number,
        vector_refs=frozenset(of_row(name, number) for name in _results(kernel)),
    )


def _results(kernel: Kernel) -> list[str]:
    """Return the names of kept and carried values."""
    every = (s for stage, _ in nested(kernel.stages) for s in statements(stage))
    names = [s.name for s in every if isinstance(s, Keep | Carry)]
    return [name for name in names if name not in _limits(kernel)]


def _limits(kernel: Kernel) -> Set[str]:
    """The names of the numbers at which loops begin and end, which are those of all rows."""
    loops = (stage.axis for stage, _ in nested(kernel.stages) if isinstance(stage, Loop))
    return {name for axis in loops for name in axis.limits}


def _differs(expr: Expr) -> bool:
    """Return whether an expression itself differs between vectors, regardless of its arguments."""
    if isinstance(expr.attribute, Access):
        return expr.attribute.stride(VECTOR) != 0
    return expr.op == "ref" or (expr.op == "index" and expr.attribute == VECTOR)

"""Map and Scalar stages to source: loops, sums by their tree, stores.

Sums follow ``ir/summation.py`` to the bit: lanes inside a block, blocks combined by a binary
counter. This module knows the loops; expressions are written by ``codegen.expressions``.

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    Keep,
    Map,
    Scalar,
    Search,
    Statement,
    Store,
    is_first,
    may_leave,
    roots,
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
    masked = _body(scopes, stage, runs, ends)
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
    whole = _body(scopes, stage, runs, ends)
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
) -> Lines:
    """The statements of a Map for rows, or vectors, side by side."""
    for own in scopes:
        own.runs = runs.loads
    if len(scopes) == 1:
        emit_alike(scopes[0], stage)
    for statement in stage.body:
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

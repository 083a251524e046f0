"""The Columns stage to source: many reductions at a time, a vector of columns with each load.

Sums follow the rules of ``codegen.column_rules``. Some vectors of columns are taken side by side,
so that memory is read in runs, and sums of one rule together; what is left open meanwhile lies in
local memory. The loops are known here; expressions are written by ``codegen.expressions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, TypeVar

from staticgrad.codegen.column_rules import (
    OF_A_LANE,
    ROWS_TOGETHER,
    SIDE_BY_SIDE,
    ByGroups,
    ByLanes,
    ColumnRule,
    Running,
    Several,
    Unrolled,
    through_groups,
    through_lanes,
)
from staticgrad.codegen.expressions import VECTOR, Lines, Unit, total
from staticgrad.codegen.jammed import Rows, emit_jammed, scopes_jammed
from staticgrad.codegen.prefetching import large
from staticgrad.codegen.stages import Span, base_text, scope_for, write_store
from staticgrad.codegen.transposed import TransposedTiles
from staticgrad.codegen.vectors import may_be_mixed, vectors_jammed, work
from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.expr import BLOCKS, Access, Expr, postorder
from staticgrad.ir.kernels.kernel import RUN, Kernel
from staticgrad.ir.kernels.stages import Accumulate, Columns, nested, roots, small
from staticgrad.ir.kernels.together import whole_vectors
from staticgrad.ir.kernels.transposed import loads_across
from staticgrad.ir.summation import COLUMN_BLOCK, lanes as sum_lanes

#: Vectors of columns whose sums are in registers at a time: as many as there are, then as fit.
ACROSS: Final = (8, 2)
#: Vectors of all sums that go through the rows together, at most, in registers of 512 bits.
HELD: Final = 24
#: Lines of what is summed, helpers included, beyond which loads of a few vectors a row start late.
WAITING: Final = 16
#: Reductions of a kernel that read so, at most.
MOST_WHOLE: Final = 2
#: Operations of what is reduced, loads included, of which rows side by side fit in registers: those
#: of a comparison that finds positions, too.
FEW: Final = 10
_Down = TypeVar("_Down", Unrolled, Running, ByGroups)


def write_columns(kernel: Kernel, stage: Columns, out: Lines, loop: Span, unit: Unit) -> None:
    """For each few vectors of columns: all rows, in the order of the rule; then the stores."""
    before, chunk, final = Lines(), Lines(), Lines()
    large = _large_from(kernel, stage, unit)
    width = "width" if large else str(_across(kernel, stage, unit) * kernel.lanes)
    chunk.add(f"past = chunk + {width}")
    chunk.add(f"if past > {loop.stop}:")
    chunk.add(f"    past = {loop.stop}")
    rules: list[ColumnRule] = []
    for sums in _passes(stage, unit):
        rules += _written(kernel, stage, sums, before, chunk, unit)
    for rule in rules:
        rule.finish(final)
    out.extend(before)
    out.add(f"rows = {' * '.join(str(a.extent) for a in stage.rows) or '1'}")
    if large:
        out.add(f"width = {SIDE_BY_SIDE * kernel.lanes}")
        out.add(f"if {large}:")
        out.add(f"    width = {RUN * kernel.lanes}")
    for rule in rules:
        rule.declare(out)
    out.add(f"for chunk in range({loop.start}, {loop.stop}, {width}):")
    stores = scope_for(kernel, [VECTOR], final, final, unit, kernel.lanes)
    stores.vector_refs = frozenset(s.name for s in stage.body)
    for store in stage.stores:
        write_store(stores, store)
    rules[0].for_each_vector(chunk, final)
    out.extend(chunk, 1)


def _passes(stage: Columns, unit: Unit) -> list[tuple[Accumulate, ...]]:
    """The sums that go through the rows together: of one rule, as many as registers hold."""
    found: list[tuple[Accumulate, ...]] = []
    groups: list[Accumulate] = []
    lanes: dict[int, list[Accumulate]] = {}
    for s in stage.body:
        kind = _rule_of(stage, s)
        if kind is ByLanes:
            lanes.setdefault(sum_lanes(s.value.dtype), []).append(s)
        elif kind is ByGroups and not _transposed(stage, s):
            groups.append(s)
        else:
            found.append((s,))
    most = HELD * unit.vector_bits // (2 * 512)  # two vectors of each
    passes = -(-len(groups) // most)
    found += [tuple(groups[n::passes]) for n in range(passes)]
    return found + [tuple(lanes[count]) for count in sorted(lanes)]


def _written(
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    chunk: Lines,
    unit: Unit,
) -> Sequence[ColumnRule]:
    """Sums that go through the rows together, with the lines of a chunk of columns."""
    kind = _rule_of(stage, sums[0])
    if kind is ByLanes:
        in_lanes = _in_lanes(kernel, stage, sums, before, unit)
        through_lanes(in_lanes, chunk)
        return in_lanes
    if kind is ByGroups:
        groups = _down_rows(ByGroups, kernel, stage, sums, before, unit)
        through_groups(groups, chunk)
        return groups
    if kind is Running:
        (running,) = _down_rows(Running, kernel, stage, sums, before, unit)
        running.accumulate(chunk)
        return [running]
    return _down_rows(Unrolled, kernel, stage, sums, before, unit)


def _down_rows(
    kind: type[_Down],
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    unit: Unit,
) -> list[_Down]:
    """Sums of a rule; the first has the lines that compute a row's vectors, of all of them."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    scope = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    is_down = _rule_of(stage, sums[0]) is not Unrolled
    loads = _transposed(stage, sums[0]) if is_down else ()
    transposed = TransposedTiles.of(loads, unit, kernel.lanes, COLUMN_BLOCK) if loads else None
    rows = Lines()
    if transposed is not None:
        transposed.read(scope, "(row - block)")
    scope.emit([root for s in sums for root in roots(s)])
    values, lines = [scope.vector(s.value) for s in sums], work(scope.body, unit)
    mixed = transposed is None and is_down and may_be_mixed(sums)
    whole = _together(kernel, stage, sums[0], before, unit) if _are_whole(kernel, stage) else None
    mixed &= whole is None
    several = _several(kernel, stage, sums, before, unit, lines) if mixed else [()] * len(sums)
    if transposed is not None:
        transposed.declare(before)
        around = frozenset({VECTOR, stage.rows[0].name})
        place = partial(_first_of_block, around)
        transposed.write(rows, unit, place, f"past - {VECTOR}", "stop - block")
    return [
        kind(
            stage,
            s,
            kernel.lanes,
            scope.body,
            value,
            each,
            rows,
            _across(kernel, stage, unit),
            whole,
        )
        for s, value, each in zip(sums, values, several, strict=True)
    ]


def _across(kernel: Kernel, stage: Columns, unit: Unit) -> int:
    """Vectors of columns side by side, at most: where rows are read whole, 4 KiB of each."""
    wide = _are_whole(kernel, stage) or _large_from(kernel, stage, unit)
    return RUN if wide else SIDE_BY_SIDE


def _large_from(kernel: Kernel, stage: Columns, unit: Unit) -> str:
    """When rows of lanes are read whole, too, as a test: where a second cache does not hold them.

    The accumulators of a column are as many as there are lanes, so that those of whole rows leave
    the nearest cache.
    """
    if not (stage.in_lanes and stage.rows and _is_simple(kernel, stage)):
        return ""
    if _rule_of(stage, stage.body[0]) is not ByLanes:
        return ""
    along = stage.rows[-1].name
    moves = [a.stride(along) for a in _loads(stage.body[0]) if a.stride(VECTOR) == 1]
    longest = next((move for move in moves if move != 0), 0)
    return f"rows * {longest} > {large(unit) * kernel.lanes}" if longest != 0 else ""


def _are_whole(kernel: Kernel, stage: Columns) -> bool:
    """Whether rows are always read whole, of a simple reduction."""
    if not _is_simple(kernel, stage):
        return False
    s = stage.body[0]
    down = _rule_of(stage, s) in (ByGroups, Running) and not _transposed(stage, s)
    lying = all(access.stride(VECTOR) == 1 for access in _loads(s))
    return down and lying and may_be_mixed([s])


def _is_simple(kernel: Kernel, stage: Columns) -> bool:
    """Whether it is one reduction of what is loaded, with few operations.

    And of few in a kernel, since each takes up to 224 KiB of the stack.
    """
    several = sum(isinstance(each, Columns) for each, _ in nested(kernel.stages))
    if len(stage.body) > 1 or several > MOST_WHOLE:
        return False
    (s,) = stage.body
    exprs = [*postorder(roots(s))]
    short = len(exprs) <= FEW and not any(e.op in BLOCKS for e in exprs)
    return short and all(map(_is_plain, _loads(s))) and len(_loads(s)) > 0


def _loads(s: Accumulate) -> list[Access]:
    """What a reduction reads."""
    return [e.attribute for e in postorder(roots(s)) if isinstance(e.attribute, Access)]


def _is_plain(access: Access) -> bool:
    """Whether vectors of an access lie along memory, inside its ends, or repeat one element."""
    return access.stride(VECTOR) in (0, 1) and not access.gather and not access.bounded


def _transposed(stage: Columns, s: Accumulate) -> Sequence[Expr]:
    """Loads of what lies along memory from row to row: it is transposed, a block of rows at a
    time."""
    return tuple(loads_across(roots(s), stage.rows[0].name, VECTOR)) if len(stage.rows) == 1 else ()


def _first_of_block(around: frozenset[str], access: Access) -> str:
    """Where the rows of a block begin, of an access along them."""
    return total(base_text(access, around), "block")


def _several(
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    unit: Unit,
    lines: int,
) -> list[tuple[Several, ...]]:
    """For each sum what a row gives for several vectors of columns at a time, the most first."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    wanted = [root for s in sums for root in roots(s)]
    found: list[list[Several]] = [[] for _ in sums]
    for most in ACROSS:
        held = len(sums) == 1 or most * len(sums) * 512 <= HELD * unit.vector_bits
        if not held or whole_vectors(2 * lines, most) != most:
            continue
        first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
        scopes = vectors_jammed(first, most)
        emit_jammed(scopes, wanted)
        values = [tuple(scope.vector(s.value) for scope in scopes) for s in sums]  # may write, too
        for each, own in zip(found, values, strict=True):
            each.append(Several(first.body, own))
    return [tuple(each) for each in found]


def _together(kernel: Kernel, stage: Columns, s: Accumulate, before: Lines, unit: Unit) -> Several:
    """What rows side by side give for one vector of columns."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    scopes = scopes_jammed(Rows(stage.rows, (), (), ROWS_TOGETHER, left=False), first)
    emit_jammed(scopes, roots(s))
    return Several(first.body, tuple([scope.vector(s.value) for scope in scopes]))


def _in_lanes(
    kernel: Kernel, stage: Columns, sums: Sequence[Accumulate], before: Lines, unit: Unit
) -> list[ByLanes]:
    """Sums by the lane rule, of as many lanes each, which go through the rows together.

    The first has the lines that compute a row's vectors, of all of them.
    """
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    wanted = [root for s in sums for root in roots(s)]
    scope = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    scope.emit(wanted)
    values = [scope.vector(s.value) for s in sums]
    first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    several: list[Several] = [Several(Lines(), ())] * len(sums)
    if stage.rows and work(scope.body, unit) <= WAITING:
        scopes = scopes_jammed(Rows(stage.rows, (), (), OF_A_LANE, left=False), first)
        emit_jammed(scopes, wanted)
        found = [tuple([each.vector(s.value) for each in scopes]) for s in sums]
        several = [Several(first.body, each) for each in found]
    across = _across(kernel, stage, unit)
    return [
        ByLanes(stage, s, kernel.lanes, scope.body, value, (each,), Lines(), across)
        for s, value, each in zip(sums, values, several, strict=True)
    ]


def _rule_of(stage: Columns, s: Accumulate) -> type[ColumnRule]:
    if stage.rows and not stage.in_lanes and small(stage.rows):
        return Unrolled
    if COMBINERS[s.kind].rule == "any":
        return Running
    return ByLanes if stage.in_lanes else ByGroups

"""The Columns stage to source: many sums at a time, a vector of columns with each load.

Sums follow ``ir/summation.py`` to the bit: the column rule (groups and blocks of rows), or, for a
row of the operand's logical shape that lies across memory, the lane rule. The loops are known here;
expressions are written by ``codegen.expressions``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Helpers, Lines, element, number, total
from staticgrad.codegen.stages import (
    LEVELS,
    Counter,
    Loop,
    combine,
    identity,
    scope_for,
    write_decode,
    write_fold,
    write_push,
    write_store,
)
from staticgrad.ir.kernel import Accumulate, Axis, Columns, Kernel, roots
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, GROUPS, SHORTEST_GROUP, lanes as sum_lanes

#: Vectors of columns that the lane rule adds up side by side: as much of each row is read at once
#: as keeps memory streaming, while their accumulators (16 KiB of floats) stay in cache.
SIDE_BY_SIDE: Final = 16


def write_columns(kernel: Kernel, stage: Columns, out: Lines, loop: Loop, helpers: Helpers) -> None:
    """For each vector of columns: all rows, in the order of the rule; then the stores."""
    if stage.in_lanes:
        _write_columns_in_lanes(kernel, stage, out, loop, helpers)
    else:
        _write_columns_in_groups(kernel, stage, out, loop, helpers)


def _write_columns_in_groups(
    kernel: Kernel, stage: Columns, out: Lines, loop: Loop, helpers: Helpers
) -> None:
    lanes = kernel.lanes
    rows = [a.name for a in stage.rows]
    inside = Lines()
    scope = scope_for(kernel, [VECTOR, *rows], Lines(), inside, helpers, lanes)
    for s in stage.body:
        scope.emit(roots(s))
        inside.add(f"{s.name} = {combine(s.kind, s.name, scope.vector(s.value))}")
    out.extend(scope.before)
    out.add(f"rows = {' * '.join(str(a.extent) for a in stage.rows) or '1'}")
    out.add(f"for {VECTOR} in range({loop.start}, {loop.stop}, {lanes}):")
    column = Lines(out.indent + 1)
    column.add(f"m = mask{lanes}({loop.stop} - {VECTOR})")
    (s,) = stage.body
    if s.kind == "sum":
        _write_grouped_rows(column, stage.rows, s, inside, lanes)
    else:
        neutral = number(identity(s.kind, s.value.dtype))
        column.add(f"{s.name} = {element(s.value.dtype)}x{lanes}({neutral})")
        _write_rows(column, stage.rows, "0", "rows", inside)
    final = Lines()
    stores = scope_for(kernel, [VECTOR], final, final, helpers, lanes)
    stores.vector_refs = frozenset({s.name})
    stores.counter = scope.counter
    for store in stage.stores:
        write_store(stores, store)
    column.extend(final)
    out.lines += column.lines


def _write_rows(out: Lines, rows: Sequence[Axis], start: str, stop: str, body: Lines) -> None:
    """for every row of the flattened row axes: body."""
    single = rows[0].name if len(rows) == 1 else "row"
    out.add(f"for {single} in range({start}, {stop}):")
    inner = Lines(out.indent + 1)
    if len(rows) > 1:
        write_decode(inner, "row", rows)
    inner.extend(body)
    out.lines += inner.lines


def _write_grouped_rows(
    out: Lines, rows: Sequence[Axis], s: Accumulate, body: Lines, lanes: int
) -> None:
    """The column tree: groups in order, blocks inside a group by the binary counter."""
    vector = f"{element(s.value.dtype)}x{lanes}"
    zero = number(0.0 if s.value.dtype.is_float else 0)
    counter = Counter(f"{s.name}_s", "blocks", lanes, lanes)
    out.add(f"{s.name}_s = local_{element(s.value.dtype)}({LEVELS * lanes})")
    out.add(f"{s.name}_t = {vector}({zero})")
    out.add(f"group = (rows + {GROUPS - 1}) // {GROUPS}")
    out.add(f"if group < {SHORTEST_GROUP}:")
    out.add(f"    group = {SHORTEST_GROUP}")
    out.add("for first in range(0, rows, group):")
    inner = Lines(out.indent + 1)
    inner.add("last = first + group")
    inner.add("if last > rows:")
    inner.add("    last = rows")
    inner.add("blocks = 0")
    inner.add(f"for block in range(first, last, {COLUMN_BLOCK}):")
    block = Lines(inner.indent + 1)
    block.add(f"stop = block + {COLUMN_BLOCK}")
    block.add("if stop > last:")
    block.add("    stop = last")
    block.add(f"{s.name} = {vector}({number(identity('sum', s.value.dtype))})")
    _write_rows(block, rows, "block", "stop", body)
    write_push(block, counter, s.name)
    block.add("blocks = blocks + 1")
    inner.lines += block.lines
    write_fold(inner, counter, s.name, f"{vector}({zero})")
    inner.add("if first == 0:")
    inner.add(f"    {s.name}_t = {s.name}")
    inner.add("else:")
    inner.add(f"    {s.name}_t = {s.name}_t + {s.name}")
    out.lines += inner.lines
    out.add(f"{s.name} = {s.name}_t")


def _write_columns_in_lanes(
    kernel: Kernel, stage: Columns, out: Lines, loop: Loop, helpers: Helpers
) -> None:
    """The lane rule down the rows: row r of a block goes to accumulator r modulo their number.

    Some vectors of columns are taken side by side, a row at a time; accumulators and counters of
    each lie in local memory.
    """
    lanes = kernel.lanes
    (s,) = stage.body
    kind, parts, width = element(s.value.dtype), sum_lanes(s.value.dtype), SIDE_BY_SIDE * lanes
    inside = Lines()
    rows = [axis.name for axis in stage.rows]
    scope = scope_for(kernel, [VECTOR, *rows], Lines(), inside, helpers, lanes)
    scope.emit(roots(s))
    value = scope.vector(s.value)
    inside.add(f"at = ({VECTOR} - chunk) * {parts} + lane")
    inside.add(f"store{lanes}({s.name}_a, at, load{lanes}({s.name}_a, at) + {value})")
    out.extend(scope.before)
    out.add(f"rows = {' * '.join(str(a.extent) for a in stage.rows) or '1'}")
    out.add(f"{s.name}_a = local_{kind}({parts * width})")
    out.add(f"{s.name}_s = local_{kind}({LEVELS * width})")
    out.add(f"for chunk in range({loop.start}, {loop.stop}, {width}):")
    chunk = Lines(out.indent + 1)
    chunk.add(f"past = chunk + {width}")
    chunk.add(f"if past > {loop.stop}:")
    chunk.add(f"    past = {loop.stop}")
    counter = Counter(f"{s.name}_s", "blocks", lanes, width, f"({VECTOR} - chunk)")
    _write_lane_blocks(chunk, stage, s, inside, counter)
    chunk.add(f"for {VECTOR} in range(chunk, past, {lanes}):")
    final = Lines(chunk.indent + 1)
    final.add(f"m = mask{lanes}(past - {VECTOR})")
    write_fold(final, counter, s.name, f"{kind}x{lanes}({number(0.0)})")
    stores = scope_for(kernel, [VECTOR], final, final, helpers, lanes)
    stores.vector_refs = frozenset({s.name})
    stores.counter = scope.counter
    for store in stage.stores:
        write_store(stores, store)
    out.lines += [*chunk.lines, *final.lines]


def _write_lane_blocks(
    out: Lines, stage: Columns, s: Accumulate, inside: Lines, counter: Counter
) -> None:
    """Blocks of rows into accumulators, halved to one and pushed to the counter of each vector."""
    lanes, parts, sums = counter.lanes, sum_lanes(s.value.dtype), f"{s.name}_a"
    out.add("blocks = 0")
    out.add(f"for block in range(0, rows, {BLOCK}):")
    block = Lines(out.indent + 1)
    block.add(f"stop = block + {BLOCK}")
    block.add("if stop > rows:")
    block.add("    stop = rows")
    block.add(
        f"for at in range(0, (past - chunk + {lanes - 1}) // {lanes} * {lanes * parts}, {lanes}):"
    )
    neutral = number(identity("sum", s.value.dtype))
    block.add(f"    store{lanes}({sums}, at, {element(s.value.dtype)}x{lanes}({neutral}))")
    each_row = Lines()
    each_row.add(f"lane = (row - block) % {parts} * {lanes}")
    write_decode(each_row, "row", stage.rows)
    each_row.add(f"for {VECTOR} in range(chunk, past, {lanes}):")
    each_row.add(f"    m = mask{lanes}(past - {VECTOR})")
    each_row.extend(inside, 1)
    block.add("for row in range(block, stop):")
    block.extend(each_row, 1)
    block.add(f"for {VECTOR} in range(chunk, past, {lanes}):")
    each = Lines()
    each.add(f"first = ({VECTOR} - chunk) * {parts}")
    for lane in range(parts):
        each.add(f"a{lane} = load{lanes}({sums}, {total('first', str(lane * lanes))})")
    half = parts // 2
    while half:
        for lane in range(half):
            each.add(f"a{lane} = a{lane} + a{lane + half}")
        half //= 2
    write_push(each, counter, "a0")
    block.extend(each, 1)
    block.add("blocks = blocks + 1")
    out.lines += block.lines

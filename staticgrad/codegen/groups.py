"""Rows in groups to source: what is summed over them is added up a block of rows at a time.

A kernel whose rows are grouped runs all stages for one row after the other. Meanwhile each of its
column accumulations has a row of accumulators in scratch, and behind it a row for each level of a
binary counter of blocks: the column rule of ``ir/summation.py``, of which one outer iteration is
one group. The loops over rows are known here, the stages elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from staticgrad.codegen.expressions import VECTOR, Lines, element, number
from staticgrad.codegen.jammed import write_decode
from staticgrad.codegen.lane_steps import Counter, write_push
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import ColumnAccumulate, Extent, Map
from staticgrad.ir.summation import COLUMN_BLOCK, GROUPS, SHORTEST_GROUP


def write_group_length(kernel: Kernel, out: Lines) -> None:
    """Lines before all iterations: how many rows there are, and how many to a group."""
    rows = kernel.axes[len(kernel.axes) - kernel.grouped :]
    out.add(f"all_rows = {' * '.join(str(axis.extent) for axis in rows)}")
    out.add(f"height = (all_rows + {GROUPS - 1}) // {GROUPS}")
    out.add(f"if height < {SHORTEST_GROUP}:")
    out.add(f"    height = {SHORTEST_GROUP}")
    if kernel.grouped < len(kernel.axes):
        out.add("groups = (all_rows + height - 1) // height")
    for column, extent in _columns(kernel):
        lanes = kernel.lanes
        width = f"({extent} + {lanes - 1}) // {lanes} * {lanes}"
        out.add(f"{column.scratch}_n = {width}")


def write_group(kernel: Kernel, out: Lines, write_rows: Callable[[Lines, str, str], None]) -> None:
    """One outer iteration ``o``; ``write_rows`` writes the rows from a number to another.

    There are rows in each: a kernel over none has no iterations.
    """
    apart = kernel.axes[: len(kernel.axes) - kernel.grouped]
    out.add(f"first_row = o{' % groups' if apart else ''} * height")
    if apart:
        out.add("rest = o // groups")
        write_decode(out, "rest", apart)
    out.add("last_row = first_row + height")
    out.add("if last_row > all_rows:")
    out.add("    last_row = all_rows")
    out.add("pushed = 0")
    out.add(f"for row_block in range(first_row, last_row, {COLUMN_BLOCK}):")
    block = Lines()
    block.add(f"past_row = row_block + {COLUMN_BLOCK}")
    block.add("if past_row > last_row:")
    block.add("    past_row = last_row")
    alike = _alike(kernel)
    for extent, columns in alike.items():
        _each_vector(kernel, block, extent, [_clear(kernel, column) for column in columns])
    write_rows(block, "row_block", "past_row")
    if alike:
        block.add("final = 1 if past_row == last_row else 0")
    for extent, columns in alike.items():
        pushed = Lines()
        for column in columns:
            pushed.add(f"{_name(column)} = {_load(kernel, column)}")
        write_push(pushed, {_name(c): _counter(kernel, c) for c in columns}, "final")
        pushed.add("if final == 1:")
        pushed.add(f"    m = mask{kernel.lanes}({extent} - {VECTOR})")
        for column in columns:
            place = f"o * {extent} + {VECTOR}"
            pushed.add(f"    store({column.partials}, {place}, {_name(column)}, m)")
        _each_vector(kernel, block, extent, pushed.lines)
    block.add("pushed = pushed + 1")
    out.extend(block, 1)


def _alike(kernel: Kernel) -> dict[Extent, list[ColumnAccumulate]]:
    """The column accumulations by the extent of their columns."""
    found: dict[Extent, list[ColumnAccumulate]] = {}
    for column, extent in _columns(kernel):
        found.setdefault(extent, []).append(column)
    return found


def _columns(kernel: Kernel) -> Iterator[tuple[ColumnAccumulate, Extent]]:
    """Every column accumulation with the extent of its columns."""
    for stage in kernel.stages:
        if isinstance(stage, Map):
            for statement in stage.body:
                if isinstance(statement, ColumnAccumulate):
                    yield statement, stage.axis.extent


def _name(column: ColumnAccumulate) -> str:
    """The variable that a vector of the accumulators goes through."""
    return f"{column.partials}_a"


def _full(kernel: Kernel, column: ColumnAccumulate, value: bool | int | float) -> str:
    return f"{element(column.value.dtype)}x{kernel.lanes}({number(value)})"


def _clear(kernel: Kernel, column: ColumnAccumulate) -> str:
    neutral = _full(kernel, column, COMBINERS[column.kind].identity(column.value.dtype))
    return f"store{kernel.lanes}({column.scratch}, {VECTOR}, {neutral})"


def _load(kernel: Kernel, column: ColumnAccumulate) -> str:
    return f"load{kernel.lanes}({column.scratch}, {VECTOR})"


def _counter(kernel: Kernel, column: ColumnAccumulate) -> Counter:
    """The counter of a group's blocks, behind the accumulators."""
    width = f"{column.scratch}_n"
    combiner, first = COMBINERS[column.kind], f"{width} + {VECTOR}"
    return Counter(combiner, column.scratch, "pushed", kernel.lanes, width, first)


def _each_vector(kernel: Kernel, out: Lines, extent: Extent, body: list[str]) -> None:
    out.add(f"for {VECTOR} in range(0, {extent}, {kernel.lanes}):")
    for line in body:
        out.add(f"    {line}")

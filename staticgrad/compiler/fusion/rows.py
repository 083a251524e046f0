"""Merge groups that read each other's results row by row into one that processes a row at a time.

A reduction along a row is complete at the end of the row, and what reads it for the same row does
not depend on other rows. So a softmax, a norm, or their gradients are one kernel: it reads a row
from memory once, and finds it in the cache in every later stage. Two groups become one of kind
``rows`` if each reads only its own row of the other, if together they are convex (no path leaves
them and comes back), and if a row fits into the cache (``legality.RowRules``).

A running sum or product along the row is such a group, too. Its operands are in memory, and the
kernel writes it before all other stages, to scratch of a row where nothing else reads it. So the
powers of a polynomial, ``cumprod`` of a column, are stored nowhere::

    p = cumprod(x, axis=1)               for each row i of x:
    y = p @ c                      ->        row = running products of x[i]
                                             y[i] = sum(row * c)
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import partial
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.compiler.fusion.engine import Engine, Move
from staticgrad.compiler.fusion.groups import (
    Group,
    GroupReduction,
    Key,
    PartialBuffer,
    ResultBuffer,
    Source,
    split_results,
)
from staticgrad.language.ir.kernels.stages import group_rows
from staticgrad.language.types.arrays import Shape, TensorType, product
from staticgrad.support.records import replace


def _join_predecessor(engine: Engine, group: Group, across: bool) -> tuple[int, ...]:
    """Fuse a group with the latest of its predecessors that it may share rows with."""
    if not engine.rules.can_join_rows(group):
        return ()
    predecessors = sorted(
        engine.order.predecessors(group.number), key=engine.order.index_of, reverse=True
    )
    for number in predecessors:
        earlier = engine.groups[number]
        if engine.rules.can_join_rows(earlier) and _may_join(engine, earlier, group, across):
            return _join_rows(engine, earlier, group)
    return ()


def _join_sibling(engine: Engine, group: Group, across: bool) -> tuple[int, ...]:
    """Fuse a group with one that reads the same array row by row (horizontal fusion)."""
    if not (group.row or group.kind == "columns"):
        return ()
    arrays = [(across, key, group.domain) for key in _full_operands(engine, group)]
    for candidate in engine.find_visited(group, arrays):
        if _may_join(engine, candidate, group, across):
            pair = (group, candidate) if candidate.kind == "columns" else (candidate, group)
            return _join_rows(engine, *pair)
    return ()


def _full_operands(engine: Engine, group: Group) -> list[Key]:
    bases = dict.fromkeys([read.source.base for read in engine.state.reads(group)])
    homes = [base for base in bases if base not in engine.types]
    return [base for base in homes if engine.state.value_type(base).shape == group.domain]


def _may_join(engine: Engine, first: Group, second: Group, across: bool) -> bool:
    """Return True if two groups may be fused into one that is computed row by row."""
    rules = engine.rules
    if first.phase != second.phase and not across:
        return False
    if rules.find_size_conflict(first, second) is not None:
        return False  # ``find_conflict`` would find it, too, but after all reads of both
    shared = rules.find_shared_rows(first, second)
    if shared is None:
        return False
    spared, added = engine.compare_storage(first, second) if first.phase != second.phase else (1, 1)
    if not 0 < spared >= added:
        return False
    in_rows = first.row or second.row or "scan" in (first.kind, second.kind)
    if not (in_rows or (across and _only_feeds(engine, first, second))):
        return False
    between = [*engine.reads_between(first, second), *engine.reads_between(second, first)]
    sums = {key for group in (first, second) if group.kind == "columns" for key in group.reductions}
    if any(read.source.base in sums for read in between):
        return False  # column sums are over all rows, also if their shape is that of a row
    if not all(rules.reads_own_row(read, *shared) for read in between):
        return False
    all_reads = [*engine.state.reads(first), *engine.state.reads(second)]
    conflict = rules.find_conflict(first, second, all_reads, *shared)
    return conflict is None and engine.order.may_merge(first.number, second.number)


def _only_feeds(engine: Engine, producer: Group, consumer: Group) -> bool:
    """Return whether a group computes only cheap values that another group reads."""
    if any(map(engine.rules.is_expensive, producer.nodes)):
        return False
    return not any(engine.is_needed(key, (consumer.number,)) for key in producer.stored)


def _join_rows(engine: Engine, first: Group, second: Group) -> tuple[int, ...]:
    """Fuse two groups into one that is computed row by row."""
    shared = engine.rules.find_shared_rows(first, second)
    assert shared is not None
    domain, row = shared
    part, new = second, []
    if second.kind == "columns":
        part, combined = _split_column_sums(engine, second, row)
        new = [combined]
        engine.order.move_predecessors(first.number, second.number)
    else:
        engine.order.merge(first.number, second.number)
    parts = [*engine.parts.pop(first.number, [first]), *engine.parts.pop(second.number, [part])]
    merged = _combine_rows(engine, [first, part], {first.number, second.number}, domain, row)
    engine.parts[first.number] = parts
    return engine.change([first, second], [merged, *new], ordered=True)


def _combine_rows(
    engine: Engine, parts: Sequence[Group], inside: Set[int], domain: Shape, row: int
) -> Group:
    summed = next((part.summed for part in parts if part.summed), ())
    changes = {"kind": "rows", "domain": domain, "row": row, "summed": summed}
    return engine.combine_groups(parts, inside, **changes)


def _split_column_sums(engine: Engine, group: Group, row: int) -> tuple[Group, Group]:
    """Split sums over rows into partial sums in a row group, and a group that adds these."""
    ((key, reduction),) = group.reductions.items()
    kind, partial = reduction.source.type, PartialBuffer(key.node)
    rows = product(tuple([group.domain[axis] for axis in group.summed]))
    length = group_rows(rows)
    kept_extents = [n for axis, n in enumerate(group.domain) if axis not in group.summed]
    split = len(group.domain) - row - len(group.summed)
    shape = (*kept_extents[:split], (rows + (length - 1)) // length, *kept_extents[split:])
    engine.types[partial] = TensorType(kind.dtype.compute, shape)
    source = Source(partial, engine.types[partial], Strided.contiguous(shape))
    combined = split_results(
        group,
        domain=shape,
        summed=(split,),
        reductions={key: GroupReduction(source, reduction.kind)},
        indexed=False,
    )
    stored = tuple([stored_key for stored_key in group.stored if stored_key != key])
    columns: dict[Key, GroupReduction] = {partial: reduction}
    part = replace(group, number=engine.new_number(), kind="rows", reductions={}, columns=columns)
    return replace(part, stored=stored), combined


def _split_once_per_row(engine: Engine, group: Group) -> tuple[int, ...]:
    """Split parts off a row group that are computed once per row but not read in the row."""
    parts = [*engine.parts.pop(group.number, ())]
    out = []
    for part in parts[:0:-1]:
        if engine.rules.is_faster_alone(part, group) and not _is_read_by_others(
            engine, part, parts
        ):
            parts.remove(part)
            out.append(part)
    if not out:
        return ()
    changed = engine.change([group], [*parts, *out])
    if len(parts) > 1:
        inside = {part.number for part in parts}
        engine.change(parts, [_combine_rows(engine, parts, inside, group.domain, group.row)])
    return tuple(number for number in changed if number in engine.groups)


def _is_read_by_others(engine: Engine, part: Group, parts: Sequence[Group]) -> bool:
    homes = {ResultBuffer(node) for node in part.nodes}
    others = [other_part for other_part in parts if other_part is not part]
    reads = [read for other_part in others for read in engine.state.reads(other_part)]
    return any(read.source.base in homes for read in reads)


#: Moves that merge groups of one phase.
ROWS: Final[tuple[Move, ...]] = (
    partial(_join_predecessor, across=False),
    partial(_join_sibling, across=False),
    _split_once_per_row,
)
#: Moves that also merge groups of two phases, where that spares more bytes than it adds.
ROWS_ACROSS: Final[tuple[Move, ...]] = (
    partial(_join_predecessor, across=True),
    partial(_join_sibling, across=True),
    _split_once_per_row,
)

"""Groups that read each other's results row by row, as one group that takes a row at a time.

A reduction along a row is known at the end of the row, and what reads it for the same row need not
wait for other rows. So a softmax, a norm, or their gradients are one kernel: it reads a row from
memory once, and finds it in the cache for every further stage. Two groups become one of kind
``rows`` if all that one reads of the other lies in its own row, if no path leads from one out and
back, and if a row fits into the cache (``legality.RowRules``).
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
    Home,
    Key,
    Partial,
    Read,
    Source,
    results_apart,
)
from staticgrad.language.ir.kernels.stages import group_rows
from staticgrad.language.types.arrays import Shape, TensorType, product
from staticgrad.support.records import replace


def _join_earlier(engine: Engine, group: Group, across: bool) -> tuple[int, ...]:
    """Join a group to the latest one that it depends on and may share rows with."""
    if not engine.rules.fits(group):
        return ()
    before = sorted(engine.order.before(group.number), key=engine.order.place, reverse=True)
    for each in before:
        earlier = engine.groups[each]
        if engine.rules.fits(earlier) and _may_join(engine, earlier, group, across):
            return _join(engine, earlier, group)
    return ()


def _join_beside(engine: Engine, group: Group, across: bool) -> tuple[int, ...]:
    """Join a group to one that reads the same array of the shape of its domain."""
    if not (group.row or group.kind == "columns"):
        return ()
    arrays = [(across, key, group.domain) for key in _whole_reads(engine, group)]
    for other in engine.beside(group, arrays):
        if _may_join(engine, other, group, across):
            pair = (group, other) if other.kind == "columns" else (other, group)
            return _join(engine, *pair)
    return ()


def _whole_reads(engine: Engine, group: Group) -> list[Key]:
    bases = dict.fromkeys([read.source.base for read in engine.now.reads(group)])
    homes = [base for base in bases if base not in engine.types]
    return [base for base in homes if engine.now.value_type(base).shape == group.domain]


def _may_join(engine: Engine, one: Group, other: Group, across: bool) -> bool:
    rules = engine.rules
    if (one.phase != other.phase and not across) or rules.too_large(one, other) is not None:
        return False  # too large: as ``apart`` would find after all that both read
    shared = rules.shared(one, other)
    if shared is None:
        return False
    spared, added = engine.weighed(one, other) if one.phase != other.phase else (1, 1)
    if not 0 < spared >= added:
        return False
    if not (one.row or other.row or (across and _serves(engine, one, other))):
        return False
    between = [*_read_of(engine, one, other), *_read_of(engine, other, one)]
    sums = {key for each in (one, other) if each.kind == "columns" for key in each.reductions}
    if any(read.source.base in sums for read in between):
        return False  # they are of all rows, also where there are as many columns
    if not all(rules.in_row(read, *shared) for read in between):
        return False
    every = [*engine.now.reads(one), *engine.now.reads(other)]
    apart = rules.apart(one, other, every, *shared)
    return apart is None and engine.order.may_merge(one.number, other.number)


def _read_of(engine: Engine, writer: Group, reader: Group) -> list[Read]:
    if writer.number not in engine.order.before(reader.number):
        return []
    reads = engine.now.reads(reader)
    return [each for each in reads if engine.owners.get(each.source.base) == writer.number]


def _serves(engine: Engine, one: Group, other: Group) -> bool:
    """Return whether a group computes only cheap values that another group reads."""
    if any(map(engine.rules.takes_long, one.nodes)):
        return False
    return not any(engine.is_needed(key, (other.number,)) for key in one.stored)


def _join(engine: Engine, one: Group, other: Group) -> tuple[int, ...]:
    shared = engine.rules.shared(one, other)
    assert shared is not None
    domain, row = shared
    part, new = other, []
    if other.kind == "columns":
        part, combined = _partial_sums(engine, other, row)
        new = [combined]
        engine.order.hand_over(one.number, other.number)
    else:
        engine.order.merge(one.number, other.number)
    parts = [*engine.parts.pop(one.number, [one]), *engine.parts.pop(other.number, [part])]
    whole = _of_rows(engine, [one, part], {one.number, other.number}, domain, row)
    engine.parts[one.number] = parts
    return engine.change([one, other], [whole, *new], ordered=True)


def _of_rows(
    engine: Engine, parts: Sequence[Group], inside: Set[int], domain: Shape, row: int
) -> Group:
    summed = next((part.summed for part in parts if part.summed), ())
    changes = {"kind": "rows", "domain": domain, "row": row, "summed": summed}
    return engine.in_one(parts, inside, **changes)


def _partial_sums(engine: Engine, group: Group, row: int) -> tuple[Group, Group]:
    """Return a part of a group of rows that sums columns of some rows, and what adds those up."""
    ((key, reduction),) = group.reductions.items()
    kind, partial = reduction.source.type, Partial(key.node)
    rows = product(tuple([group.domain[axis] for axis in group.summed]))
    length = group_rows(rows)
    kept = [n for axis, n in enumerate(group.domain) if axis not in group.summed]
    split = len(group.domain) - row - len(group.summed)
    shape = (*kept[:split], (rows + (length - 1)) // length, *kept[split:])
    engine.types[partial] = TensorType(kind.dtype.compute, shape)
    source = Source(partial, engine.types[partial], Strided.contiguous(shape))
    combined = results_apart(
        group,
        domain=shape,
        summed=(split,),
        reductions={key: GroupReduction(source, reduction.kind)},
        indexed=False,
    )
    stored = tuple([each for each in group.stored if each != key])
    columns: dict[Key, GroupReduction] = {partial: reduction}
    part = replace(group, number=engine.number(), kind="rows", reductions={}, columns=columns)
    return replace(part, stored=stored), combined


def _once_per_row(engine: Engine, group: Group) -> tuple[int, ...]:
    """Remove parts that are computed once per row but are not read in the row."""
    parts = [*engine.parts.pop(group.number, ())]
    out = []
    for part in parts[:0:-1]:
        if engine.rules.takes_vector(part, group) and not _is_read_by_others(engine, part, parts):
            parts.remove(part)
            out.append(part)
    if not out:
        return ()
    changed = engine.change([group], [*parts, *out])
    if len(parts) > 1:
        inside = {part.number for part in parts}
        engine.change(parts, [_of_rows(engine, parts, inside, group.domain, group.row)])
    return tuple(number for number in changed if number in engine.groups)


def _is_read_by_others(engine: Engine, part: Group, parts: Sequence[Group]) -> bool:
    homes = {Home(node) for node in part.nodes}
    others = [each for each in parts if each is not part]
    reads = [read for each in others for read in engine.now.reads(each)]
    return any(read.source.base in homes for read in reads)


#: Of one phase.
ROWS: Final[tuple[Move, ...]] = (
    partial(_join_earlier, across=False),
    partial(_join_beside, across=False),
    _once_per_row,
)
#: Of two phases too, where that stores less than it saves.
ROWS_ACROSS: Final[tuple[Move, ...]] = (
    partial(_join_earlier, across=True),
    partial(_join_beside, across=True),
    _once_per_row,
)

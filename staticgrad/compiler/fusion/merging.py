"""Groups merged across phases, reductions in pieces, and totals of numbers per row.

No kernel straddles the border between forward and backward, for what a policy runs again should be
the forward part alone. But where a backward group reads nothing but what a forward group computes
element by element (as behind a loss that is a sum of elements), one kernel of both stores fewer
bytes, reads fewer, and leaves no value for which a step would run again.

**Pieces.** A kernel that reduces rows has an iteration for each of them, which one worker runs: of
one row the others would have nothing to do. So one kernel reduces pieces of the row, with all that
it computes beside, and another one combines what they come to. A piece is a power of two of the
blocks in which sums are taken (``staticgrad.language.ir.summation``), so that the tree of a sum is
the same.

**Totals.** A loss is a sum over rows, and what its gradient multiplies each row by is computed
beside it: of a product of the row, ``x @ w``, for a sum across rows, ``x.T @ r``. The total of all
rows is known at the end of all rows, so a group that has it cannot be a part of one that takes a
row at a time. Without it that group reads ``x`` once, where two kernels would each read it from
memory; what the total adds up is stored, one number per row.
"""

from __future__ import annotations

from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.compiler.fusion import grouping
from staticgrad.compiler.fusion.blocks import blocked
from staticgrad.compiler.fusion.cutting import cut
from staticgrad.compiler.fusion.engine import Engine, Move
from staticgrad.compiler.fusion.groups import (
    Group,
    GroupReduction,
    Groups,
    Key,
    Partial,
    Parts,
    Pieces,
    Source,
    results_apart,
)
from staticgrad.compiler.fusion.legality import elements_apart, kept_apart
from staticgrad.compiler.fusion.pools import with_pools
from staticgrad.compiler.fusion.rows import ROWS, ROWS_ACROSS
from staticgrad.compiler.fusion.sinking import is_large, read_together, sunk
from staticgrad.compiler.fusion.walks import has_short_rows, is_per_row, sums_across
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.arrays import TensorType, hint_product, hint_value
from staticgrad.support.records import replace

#: Elements of a piece.
PIECE: Final = 4 * BLOCK
#: Elements of a row from which on pieces are worth a second kernel.
LONG_ROW: Final = 1 << 17
#: Rows that are few: of more of them each worker has some.
_FEW_ROWS: Final = 8


def has_long_row(group: Group) -> bool:
    """Return whether a group reduces few and long rows."""
    if group.kind != "map" or group.row != 1 or not group.reductions:
        return False
    rows = hint_product(group.domain[:-1])
    return rows < _FEW_ROWS and hint_value(group.domain[-1]) >= LONG_ROW


def in_pieces(engine: Engine, group: Group) -> tuple[int, ...]:
    """Reduce few long rows in pieces, and what they come to by another group."""
    if not has_long_row(group) or group.checked or group.regions or group.pieces:
        return ()
    *outer, length = group.domain
    shape = (*outer, (length + (PIECE - 1)) // PIECE)
    pieces: dict[Key, GroupReduction] = {}
    combined: dict[Key, GroupReduction] = {}
    for key, each in group.reductions.items():
        piece = Pieces(key.node, isinstance(key, Partial))
        kind = engine.types[piece] = TensorType(each.source.type.dtype.compute, shape)
        source = Source(piece, kind, Strided.contiguous(shape))
        pieces[piece], combined[key] = each, GroupReduction(source, each.kind)
    parts = Parts(group.whole, 0, 0, long_row=hint_value(length))
    stored = (*(key for key in group.stored if key not in combined), *pieces)
    first = replace(group, reductions=pieces, stored=stored, pieces=PIECE, parts=parts)
    last = results_apart(
        group, number=engine.number(), domain=shape, reductions=combined, parts=parts
    )
    return engine.change([group], [first, last])


#: Elements of a row, at least: of fewer, a number per row is no small part.
_LEAST_ROW: Final = 32


def totals_apart(engine: Engine, rows: Group) -> tuple[int, ...]:
    """Give the totals of numbers per row groups of their own, so that rows are read once.

    What could read such rows once comes as early as it may: no kernel of several phases is made
    where values have other readers.
    """
    groups = engine.now
    if not _reduces_rows(groups, rows):
        return ()
    large = _whole(groups, rows)
    readers = {engine.groups[number] for key in large for number in engine.readers[key]}
    columns = [each for each in readers if each.kind == "columns" and each.domain == rows.domain]
    near = [each for each in columns if large & _whole(groups, each)]
    if not near:
        return ()
    found = _between(groups, rows, near)
    for number in sorted(found):
        group = engine.groups[number]
        if group.kind == "map" and group.reductions and group.nodes:
            terms = [each.source.base for each in group.reductions.values()]
            own = [base for base in terms if engine.owners.get(base) == number]
            stored = [key for key in (*group.stored, *own) if key not in group.reductions]
            rest = replace(group, row=0, reductions={}, stored=tuple(dict.fromkeys(stored)))
            engine.change([group], [rest, results_apart(group, number=engine.number())])
    for number in sorted(found, key=engine.order.place):
        before = engine.order.before(number)
        phase = max([engine.groups[each].phase for each in before], default=0)
        if phase != engine.groups[number].phase:
            group = engine.groups[number]
            engine.change([group], [replace(group, phase=phase)], ordered=True)
    return tuple(found)


def _reduces_rows(groups: Groups, group: Group) -> bool:
    if group.kind != "map" or group.row != 1 or not group.reductions or len(group.domain) < 2:
        return False
    if hint_value(group.domain[-1]) < _LEAST_ROW or not is_large(group.domain):
        return False
    return not (sums_across(groups, group) or has_short_rows(groups, group) or group.keeps_axes)


def _whole(groups: Groups, group: Group) -> set[Key]:
    size = hint_product(group.domain)
    bases = {read.source.base for read in groups.reads(group)}
    return {
        base
        for base in bases
        if groups.owners.get(base) != group.number
        and hint_product(groups.value_type(base).shape) >= size
    }


def _between(groups: Groups, rows: Group, columns: list[Group]) -> set[int]:
    chain = {rows.number}
    for group in groups.all:
        if group is rows or not _is_number_per_row(group, rows):
            continue
        homes = {groups.owners.get(read.source.base) for read in groups.reads(group)}
        if homes & chain:
            chain.add(group.number)
    last = {
        each.number
        for each in columns
        if any(groups.owners.get(read.source.base) in chain for read in groups.reads(each))
    }
    return chain - {rows.number} | last if last else set()


def _is_number_per_row(group: Group, rows: Group) -> bool:
    plain = not (group.keeps_axes or group.checked or group.regions or group.parts)
    if group.kind != "map" or not plain or group.row not in (0, len(group.domain)):
        return False
    return is_per_row(group.domain, rows.domain, rows.row)


#: The name under which a graph has its groups.
_NOTE: Final = "groups"


def merged(engine: Engine, later: Group) -> tuple[int, ...]:
    """Merge a group into one of an earlier phase whose elements it reads, if that stores less."""
    if not later.phase or later.kind != "map" or not engine.updated.isdisjoint(later.nodes):
        return ()
    before = sorted(engine.order.before(later.number), key=engine.order.place, reverse=True)
    for earlier in map(engine.groups.__getitem__, before):
        if earlier.kind == "map" and earlier.phase < later.phase:
            reads = engine.now.reads(later)
            own = [r for r in reads if engine.owners.get(r.source.base) == earlier.number]
            if elements_apart(earlier, later, own) is None and kept_apart(earlier, later) is None:
                spared, added = engine.weighed(earlier, later)
                if 0 < spared >= added and engine.order.may_merge(earlier.number, later.number):
                    pair = (earlier, later)
                    return engine.merge(pair, engine.in_one(pair))
    return ()


#: What changes groups, in the order in which it is tried.
MOVES: Final[tuple[Move, ...]] = (
    read_together,
    totals_apart,
    *ROWS,
    merged,
    blocked,
    *ROWS_ACROSS,
    sunk,
    cut,
    in_pieces,
    with_pools,
)


def fused(graph: Graph, merge: bool = True) -> Groups:
    """The groups of a graph in the end; with ``merge`` off one for every node that computes."""
    groups = grouping.group(graph, merge)
    return Engine(groups).run(MOVES) if merge else groups


def attach_groups(graph: Graph, groups: Groups) -> None:
    """Store the groups of a graph with it, for the next call of ``groups_of``.

    They refer to the graph in turn, so that both live until that call or a collection.
    """
    graph.found[_NOTE] = groups


def groups_of(graph: Graph, merge: bool = True) -> Groups:
    """Return the groups of a graph: those attached to it, which it drops, or else new ones."""
    found = graph.found.pop(_NOTE, None)
    return found if merge and isinstance(found, Groups) else fused(graph, merge)

"""Groups of two phases as one, where what crosses the border between them then needs no memory.

No kernel straddles the border between forward and backward, for what a policy runs again should be
the forward part alone. But where a backward group reads nothing but what a forward group computes
element by element (as behind a loss that is a sum of elements), one kernel of both stores fewer
bytes, reads fewer, and leaves no value for which a step would run again.

Reductions of one long row, or of a few, in pieces that several workers take.

A kernel that reduces rows has an iteration for each of them, which one worker runs: of one row the
others would have nothing to do. So one kernel reduces pieces of the row, with all that it computes
beside, and another one combines what they come to. A piece is a power of two of the blocks in which
sums are taken (``staticgrad.ir.summation``), so that the tree of a sum is the same.

Totals of one number per row, apart from the groups that compute those numbers.

A loss is a sum over rows, and what its gradient multiplies each row by is computed beside it: of a
product of the row, ``x @ w``, for a sum across rows, ``x.T @ r``. The total of all rows is known at
the end of all rows, so a group that has it cannot be a part of one that takes a row at a time.
Without it that group reads ``x`` once, where two kernels would each read it from memory; what the
total adds up is stored, one number per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.fusion import grouping
from staticgrad.fusion.blocks import blocked
from staticgrad.fusion.cutting import cut
from staticgrad.fusion.groups import (
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
from staticgrad.fusion.legality import elements_apart, kept_apart
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.rows import joined
from staticgrad.fusion.sinking import is_large, read_together, sunk
from staticgrad.fusion.walks import has_short_rows, is_per_row, sums_across
from staticgrad.fusion.windows import with_pools
from staticgrad.ir.graph import Graph
from staticgrad.ir.summation import BLOCK
from staticgrad.records import replace
from staticgrad.types.arrays import TensorType, hint_product, hint_value

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


def in_pieces(groups: Groups) -> Groups:
    """The groups, those with few long rows to reduce as two each."""
    found = [g for g in groups.all if has_long_row(g) and not (g.checked or g.regions)]
    if not found:
        return groups
    by_number, owners, types = dict(groups.by_number), dict(groups.owners), dict(groups.types)
    free = max(by_number) + 1
    for number, group in enumerate(found, free):
        *outer, length = group.domain
        shape = (*outer, (length + (PIECE - 1)) // PIECE)
        pieces: dict[Key, GroupReduction] = {}
        combined: dict[Key, GroupReduction] = {}
        for key, each in group.reductions.items():
            piece = Pieces(key.node, isinstance(key, Partial))
            types[piece] = TensorType(each.source.type.dtype.compute, shape)
            source = Source(piece, types[piece], Strided.contiguous(shape))
            pieces[piece], combined[key] = each, GroupReduction(source, each.kind)
            owners[piece], owners[key] = group.number, number
        parts = Parts(group.whole, 0, 0, long_row=hint_value(length))
        stored = [key for key in group.stored if key not in combined]
        by_number[group.number] = replace(
            group, reductions=pieces, stored=(*stored, *pieces), pieces=PIECE, parts=parts
        )
        by_number[number] = results_apart(
            group, number=number, domain=shape, reductions=combined, parts=parts
        )
    return replace(groups, by_number=by_number, owners=owners, types=types)


#: Elements of a row, at least: of fewer, a number per row is no small part.
_LEAST_ROW: Final = 32


def with_totals_apart(groups: Groups) -> Groups:
    """The groups, such totals in groups of their own, and what could read such rows once as early
    as it may be: no kernel of several phases is made where values have other readers."""
    found = {*_found(groups)} if groups.fused else set()
    return _Splitting(groups).result(found) if found else groups


def _found(groups: Groups) -> Iterator[int]:
    """The numbers of the groups that could take such rows one at a time, but for totals."""
    columns = [each for each in groups.all if each.kind == "columns"]
    if not columns:
        return
    across: dict[int, set[Key]] = {}
    for rows in groups.all:
        if not _reduces_rows(groups, rows):
            continue
        large = _whole(groups, rows)
        readers = [each for each in columns if each.domain == rows.domain]
        for each in readers:
            if each.number not in across:
                across[each.number] = _whole(groups, each)
        near = [each for each in readers if large & across[each.number]]
        if near:
            yield from _between(groups, rows, near)


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
        and hint_value(groups.value_type(base).size) >= size
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


class _Splitting(Regrouping):
    def result(self, found: set[int]) -> Groups:
        every = [self._groups[number] for number in sorted(found)]
        totals = [each for each in every if each.kind == "map" and each.reductions and each.nodes]
        for number, group in enumerate(totals, max(self._groups) + 1):
            terms = [each.source.base for each in group.reductions.values()]
            own = [base for base in terms if self._owners.get(base) == group.number]
            stored = [key for key in group.stored if key not in group.reductions]
            self._groups[group.number] = replace(
                group, row=0, reductions={}, stored=tuple(dict.fromkeys([*stored, *own]))
            )
            self._groups[number] = results_apart(group, number=number)
            self._owners |= dict.fromkeys(group.reductions, number)
        whole = replace(self._before, by_number=self._groups, owners=self._owners)
        self._reads |= {each.number: whole.reads(each) for each in whole.all}

        def early(group: Group, before: Sequence[Group]) -> int:
            """As early as it may be, for those that were found."""
            if group.number not in found:
                return group.phase
            return max([each.phase for each in before], default=0)

        return replace(whole, by_number=self._with_levels(early))


#: The name under which a graph has its groups.
_NOTE: Final = "groups"


def fused(graph: Graph, merge: bool = True) -> Groups:
    """The groups of a graph in the end; with ``merge`` off one for every node that computes."""
    found = with_totals_apart(read_together(grouping.group(graph, merge)))
    if not merge:
        return found
    whole = cut(sunk(joined(blocked(merged(joined(found))), across=True)))
    return with_pools(in_pieces(whole))


def leave(graph: Graph, groups: Groups) -> None:
    """Keep the groups of a graph with it, for whoever takes them.

    They hold the graph in turn, so that the two live until they are taken or collected.
    """
    graph.found[_NOTE] = groups


def taken(graph: Graph, merge: bool = True) -> Groups:
    """The groups of a graph: those that were left with it, if any. They are not kept."""
    found = graph.found.pop(_NOTE, None)
    return found if merge and isinstance(found, Groups) else fused(graph, merge)


def merged(groups: Groups) -> Groups:
    """The groups, later ones in earlier ones where that stores less."""
    if all(each.phase == 0 for each in groups.all):
        return groups
    return _Merging(groups).result()


class _Merging(Regrouping):
    def result(self) -> Groups:
        updated = {value.node for _, value in self._before.graph.updates}
        for number in self._before.by_number:
            later = self._groups[number]
            if not later.phase or later.kind != "map" or not updated.isdisjoint(later.nodes):
                continue
            near = [self._groups[each] for each in self._order.before(number)]
            able = [each for each in near if self._may_take(each, later)]
            if able:
                earlier = max(able, key=lambda each: self._order.place(each.number))
                self._merge(earlier.number, number, level=later.level)
        return self._result(by_number=self._with_levels()) if self._into else self._before

    def _may_take(self, earlier: Group, later: Group) -> bool:
        if earlier.kind != "map" or earlier.phase >= later.phase:
            return False
        reads = self._before.reads(later)
        own = [each for each in reads if self._owner(each.source.base) == earlier.number]
        if elements_apart(earlier, later, own) is not None:
            return False
        spared, added = self._weighed(earlier, later)
        fits = 0 < spared >= added and kept_apart(earlier, later) is None
        return fits and self._order.may_merge(earlier.number, later.number)

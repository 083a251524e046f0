"""Totals of one number per row, apart from the groups that compute those numbers.

A loss is a sum over rows, and what its gradient multiplies each row by is computed beside it: of a
product of the row, ``x @ w``, for a sum across rows, ``x.T @ r``. The total of all rows is known at
the end of all rows, so a group that has it cannot be a part of one that takes a row at a time.
Without it that group reads ``x`` once, where two kernels would each read it from memory; what the
total adds up is stored, one number per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Key
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.row_values import is_per_row
from staticgrad.fusion.siblings import is_large
from staticgrad.fusion.walks import has_short_rows, sums_across
from staticgrad.records import replace
from staticgrad.types.tensor import hint_product, hint_value

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
    """Whether a group reduces long rows of a large domain, along memory."""
    if group.kind != "map" or group.row != 1 or not group.reductions or len(group.domain) < 2:
        return False
    if hint_value(group.domain[-1]) < _LEAST_ROW or not is_large(group.domain):
        return False
    return not (sums_across(groups, group) or has_short_rows(groups, group) or group.keeps_axes)


def _whole(groups: Groups, group: Group) -> set[Key]:
    """The large arrays in memory that a group reads."""
    size = hint_product(group.domain)
    bases = {read.source.base for read in groups.reads(group)}
    return {
        base
        for base in bases
        if groups.owners.get(base) != group.number
        and hint_value(groups.value_type(base).size) >= size
    }


def _between(groups: Groups, rows: Group, columns: list[Group]) -> set[int]:
    """The groups on the way from the reductions of rows to the sums across them, and those sums."""
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
    """Whether a group computes one number for each row."""
    plain = not (group.keeps_axes or group.checked or group.regions or group.parts)
    if group.kind != "map" or not plain or group.row not in (0, len(group.domain)):
        return False
    return is_per_row(group.domain, rows.domain, rows.row)


class _Splitting(Regrouping):
    """Groups while totals leave some of them."""

    def result(self, found: set[int]) -> Groups:
        """The groups after that."""
        every = [self._groups[number] for number in sorted(found)]
        totals = [each for each in every if each.kind == "map" and each.reductions and each.nodes]
        for number, group in enumerate(totals, max(self._groups) + 1):
            terms = [each.source.base for each in group.reductions.values()]
            own = [base for base in terms if self._owners.get(base) == group.number]
            stored = [key for key in group.stored if key not in group.reductions]
            self._groups[group.number] = replace(
                group, row=0, reductions={}, stored=tuple(dict.fromkeys([*stored, *own]))
            )
            self._groups[number] = replace(
                group,
                number=number,
                nodes=(),
                stored=tuple([key for key in group.stored if key in group.reductions]),
                instructions=1,
            )
            self._owners |= dict.fromkeys(group.reductions, number)
        whole = replace(self._before, by_number=self._groups, owners=self._owners)
        reads = {each.number: whole.reads(each) for each in whole.all}

        def early(group: Group, before: Sequence[Group]) -> int:
            """As early as it may be, for those that were found."""
            if group.number not in found:
                return group.phase
            return max([each.phase for each in before], default=0)

        return replace(whole, by_number=self._with_levels(reads, early))

"""Groups that read each other's results row by row, as one group that takes a row at a time.

What a reduction along a row gives is known at the end of the row, and what reads it for the same
row need not wait for other rows. So a softmax, a norm, or their gradients are one kernel: it reads
a row from memory once, and finds it in the cache for every further stage. Two groups become one of
kind
``rows`` if all that one reads of the other lies in its own row, if no path leads from one out and
back, and if what a row takes fits into the cache (``RowRules``).

Which groups may be one group of rows, by what they read of each other, and by what it costs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.fusion.groups import (
    Group,
    GroupReduction,
    Groups,
    Home,
    Key,
    Partial,
    Read,
    Source,
    results_apart,
)
from staticgrad.fusion.legality import RowRules
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.ir.kernels.stages import group_rows
from staticgrad.records import replace
from staticgrad.types.arrays import Shape, TensorType, product

#: Groups over one domain that are looked at as neighbours of one, at most.
_NEAREST: Final = 8


def joined(groups: Groups, across: bool = False) -> Groups:
    """The groups, those of one phase that share rows as one.

    With ``across`` those of two phases too, where that stores less than it spares.
    """
    if not groups.fused or not any(each.row for each in groups.all):
        return groups
    if across and len({each.phase for each in groups.all}) == 1:
        return groups
    return _Joining(groups, across).result()


class _Joining(Regrouping):
    def __init__(self, groups: Groups, across: bool) -> None:
        super().__init__(groups)
        self._across = across
        self._rules = RowRules(groups)
        self._types = dict(groups.types)
        self._parts: dict[int, list[Group]] = {each.number: [each] for each in groups.all}
        self._whole: dict[int, dict[Shape, Set[Key]]] = {}

    def result(self) -> Groups:
        """The groups after all have joined that may."""
        for number in self._order.as_given:
            last: int | None = number
            while last is not None and self._rules.fits(self._groups[last]):
                number, last = last, self._forerunner(last)
                if last is not None:
                    self._join(last, number)
        self._join_neighbours()
        if not self._into:
            return self._before
        for number in [*self._groups]:
            self._take_out(number)
        return self._result(by_number=self._with_levels(), types=self._types)

    # -- joining ----------------------------------------------------------------------------------

    def _forerunner(self, number: int) -> int | None:
        """The latest group that a group waits for and may join."""
        group, fits = self._groups[number], self._rules.fits
        near = [each for each in self._order.before(number) if fits(self._groups[each])]
        near.sort(key=self._order.place, reverse=True)
        return next((each for each in near if self._may_join(self._groups[each], group)), None)

    def _join_neighbours(self) -> None:
        over: dict[Shape, list[int]] = {}
        for number in self._order.all():
            group = self._groups[number]
            if group.row or group.kind == "columns":
                over.setdefault(group.domain, []).append(number)
        for numbers in over.values():
            for place, number in enumerate(numbers):
                for other in numbers[max(0, place - _NEAREST) : place][::-1]:
                    if number in self._groups and other in self._groups:
                        self._join_if_near(other, number)

    def _join_if_near(self, one: int, other: int) -> None:
        groups = self._groups[one], self._groups[other]
        domain = groups[0].domain
        if self._whole_reads(one, domain).isdisjoint(self._whole_reads(other, domain)):
            return
        if self._may_join(*groups):
            if groups[0].kind == "columns":
                one, other = other, one
            self._join(one, other)

    def _whole_reads(self, number: int, domain: Shape) -> Set[Key]:
        known = self._whole.setdefault(number, {})
        found = known.get(domain)
        if found is None:
            bases = {read.source.base for read in self._all_reads(number)}
            found = known[domain] = {
                base
                for base in bases
                if base not in self._types and self._before.value_type(base).shape == domain
            }
        return found

    def _all_reads(self, number: int) -> list[Read]:
        return [read for part in self._parts[number] for read in self._reads[part.number]]

    def _may_join(self, one: Group, other: Group) -> bool:
        if self._rules.too_large(one, other) is not None:
            return False  # as ``apart`` would find after all that both read
        shared = self._rules.shared(one, other)
        if shared is None or (one.phase != other.phase and not self._across):
            return False
        spared, added = self._weighed(one, other) if one.phase != other.phase else (1, 1)
        if not 0 < spared >= added:
            return False
        if not (one.row or other.row or self._serves(one, other)):
            return False
        ones, others = self._all_reads(one.number), self._all_reads(other.number)
        between = [*self._read_of(one, others, other), *self._read_of(other, ones, one)]
        sums = {key for each in (one, other) if each.kind == "columns" for key in each.reductions}
        if any(read.source.base in sums for read in between):
            return False  # they are of all rows, also where there are as many columns
        if not all(self._rules.in_row(read, *shared) for read in between):
            return False
        apart = self._rules.apart(one, other, [*ones, *others], *shared)
        return apart is None and self._order.may_merge(one.number, other.number)

    def _read_of(self, writer: Group, reads: Sequence[Read], reader: Group) -> list[Read]:
        if writer.number not in self._order.before(reader.number):
            return []
        return [each for each in reads if self._owner(each.source.base) == writer.number]

    def _serves(self, one: Group, other: Group) -> bool:
        """Return whether a group computes only cheap values that another group reads."""
        if not self._across or any(self._rules.takes_long(node) for node in one.nodes):
            return False
        return not any(self._is_needed(key, (other.number,)) for key in one.stored)

    def _join(self, one: int, other: int) -> None:
        first, second = self._groups[one], self._groups[other]
        for number in (one, other):
            self._whole.pop(number, None)
        shared = self._rules.shared(first, second)
        assert shared is not None
        if second.kind == "columns":
            self._order.hand_over(one, other)
            self._parts[one].append(self._partial_sums(second, shared[1]))
            self._into[self._parts[one][-1].number] = one
        else:
            self._order.merge(one, other)
            self._parts[one] += self._parts.pop(other)
            self._put(other, one)
        self._groups[one] = self._of_rows(self._parts[one], *shared)

    def _partial_sums(self, group: Group, row: int) -> Group:
        ((key, reduction),) = group.reductions.items()
        kind, partial = reduction.source.type, Partial(key.node)
        rows = product(tuple([group.domain[axis] for axis in group.summed]))
        length = group_rows(rows)
        kept = [n for axis, n in enumerate(group.domain) if axis not in group.summed]
        split = len(group.domain) - row - len(group.summed)
        shape = (*kept[:split], (rows + (length - 1)) // length, *kept[split:])
        self._types[partial] = TensorType(kind.dtype.compute, shape)
        source = Source(partial, self._types[partial], Strided.contiguous(shape))
        combined = results_apart(
            group,
            domain=shape,
            summed=(split,),
            reductions={key: GroupReduction(source, reduction.kind)},
            indexed=False,
        )
        part = replace(
            group,
            number=len(self._reads) + max(self._before.by_number) + 1,
            kind="rows",
            reductions={},
            columns={partial: reduction},
            stored=tuple([each for each in group.stored if each != key]),
        )
        self._reads[part.number] = self._reads[group.number]
        self._reads[group.number] = [Read(key.node, source, True)]
        for read in self._reads[part.number]:
            self._readers[read.source.base].discard(group.number)
        for number in (part.number, group.number):
            for read in self._reads[number]:
                self._readers.setdefault(read.source.base, set()).add(number)
        self._owners |= dict.fromkeys([partial, *map(Home, group.nodes)], part.number)
        self._groups[group.number], self._parts[group.number] = combined, [combined]
        return part

    def _of_rows(self, parts: Sequence[Group], domain: Shape, row: int) -> Group:
        stored = dict.fromkeys([key for part in parts for key in part.stored])
        inside = (parts[0].number,)
        return self._in_one(
            parts[0],
            parts,
            kind="rows",
            domain=domain,
            row=row,
            level=max([part.level for part in parts]),
            phase=min([part.phase for part in parts]),
            summed=next((part.summed for part in parts if part.summed), ()),
            stored=tuple([key for key in stored if self._is_needed(key, inside)]),
        )

    # -- what had better stay apart ---------------------------------------------------------------

    def _take_out(self, number: int) -> None:
        """Remove parts that are computed once per row but are not read in the row."""
        group, parts = self._groups[number], self._parts[number]
        out = []
        for part in reversed(parts[1:]):
            if self._rules.takes_vector(part, group) and not self._is_read_by_others(part, parts):
                parts.remove(part)
                out.append(part)
        for part in out:
            self._parts[part.number], self._groups[part.number] = [part], part
            del self._into[part.number]
        if out:
            # Some of those that stay were joined to one that does not.
            self._into |= {part.number: number for part in parts if part.number != number}
            several = len(parts) > 1
            self._groups[number] = (
                self._of_rows(parts, group.domain, group.row) if several else parts[0]
            )

    def _is_read_by_others(self, part: Group, parts: Sequence[Group]) -> bool:
        homes = {Home(node) for node in part.nodes}
        others = [each for each in parts if each is not part]
        return any(
            read.source.base in homes for each in others for read in self._reads[each.number]
        )

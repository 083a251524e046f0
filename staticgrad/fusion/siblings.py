"""Groups that read the same large arrays in the same order, as one group that reads them once.

A product with a vector, ``x @ w``, takes as long as its matrix comes from memory. Where another
one, ``x @ v``, neither reads the first nor is read by it, one kernel computes both while it reads
the matrix once: a loss and a Hessian-vector product, or the transposed products of both. They need
not be of one phase: what they store is small beside what they read.

Maps that read the same arrays, as both parts of a complex product or of a rotation do, are one
kernel where what they store lives at the same time anyway: where both are results, parts of one
array, or somebody reads both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Home, Key, Walk
from staticgrad.fusion.precedence import Precedence
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.sharing import kept_apart
from staticgrad.fusion.walks import MOST_ACROSS, has_short_rows, operand_walks, sums_across
from staticgrad.records import replace
from staticgrad.types.tensor import Shape, hint_product, product

#: Elements of an array from which on reading it is what a reduction takes its time for.
LARGE: Final = 1 << 16
#: Elements that are read for each that is stored, at least: what lies longer in memory is small.
_READ_PER_STORED: Final = 16
#: Instructions of both, at most: of more, reading is a small part.
_MOST_INSTRUCTIONS: Final = 48
#: Groups that read one array in the same order and are looked at, at most.
_NEAREST: Final = 8


#: Large arrays that maps read, all of both, from which on they are one.
_SHARED: Final = 2


def read_together(groups: Groups) -> Groups:
    """The groups, those that reduce one large array row by row, or map the same ones, as one."""
    found: dict[tuple[object, ...], list[int]] = {}
    for group in groups.all if groups.fused else ():
        if _may_share(groups, group):
            across = sums_across(groups, group)
            for walk in dict.fromkeys(operand_walks(groups, group)):
                if _is_whole(walk, group.domain):
                    found.setdefault((group.domain, group.row, across, walk), []).append(
                        group.number
                    )
        elif walks := _mapped(groups, group):
            found.setdefault((group.domain, group.phase, walks), []).append(group.number)
    alike = [numbers for numbers in found.values() if len(numbers) > 1]
    return _Siblings(groups).result(alike) if alike else groups


def _may_share(groups: Groups, group: Group) -> bool:
    """Whether a group does nothing but reduce rows of a large domain to few elements."""
    if group.kind != "map" or not group.reductions:
        return False
    if group.keeps_axes or group.checked or group.regions or group.parts is not None:
        return False
    row = hint_product(group.domain[len(group.domain) - group.row :])
    if not is_large(group.domain) or row < _READ_PER_STORED or has_short_rows(groups, group):
        return False
    inner = {Home(node) for node in group.nodes}
    return inner.isdisjoint(group.stored) and groups.roots.isdisjoint(inner)


def _mapped(groups: Groups, group: Group) -> frozenset[Walk]:
    """What a group reads that does nothing but map several large arrays; else nothing."""
    if group.kind != "map" or group.reductions or group.parts is not None:
        return frozenset()
    if group.keeps_axes or group.checked or not is_large(group.domain):
        return frozenset()
    walks = frozenset(operand_walks(groups, group))
    large = sum(_is_whole(walk, group.domain) for walk in walks)
    return walks if large >= _SHARED else frozenset()


def is_large(domain: Shape, least: int = LARGE) -> bool:
    """Whether a domain has many elements; one of open sizes may have."""
    elements = product(domain)
    return not isinstance(elements, int) or elements >= least


def _is_whole(walk: Walk, domain: Shape) -> bool:
    """Whether a walk meets as many elements as the domain has."""
    moves = zip(walk.strides, domain, strict=True)
    return all(stride != 0 or extent == 1 for stride, extent in moves)


class _Siblings(Regrouping):
    """Groups while some of them are merged."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        self._reads = {each.number: groups.reads(each) for each in groups.all}
        self._readers: dict[Key, set[int]] = {}
        for number, reads in self._reads.items():
            for base in {read.source.base for read in reads}:
                self._readers.setdefault(base, set()).add(number)
        self._order = Precedence(self._groups, self._edges(self._reads), self._place)

    def result(self, alike: Sequence[Sequence[int]]) -> Groups:
        """The groups, those of each sequence as one where no path leads from one to another."""
        for numbers in alike:
            for one, other in combinations(numbers[:_NEAREST], 2):
                self._merge_if_free(self._final(one), self._final(other))
        if not self._into:
            return self._before
        owners = {key: self._final(number) for key, number in self._owners.items()}
        by_number = self._with_levels(self._reads, _latest_phase)
        return replace(self._before, by_number=by_number, owners=owners)

    def _merge_if_free(self, one: int, other: int) -> None:
        if one == other:
            return
        first, second = self._groups[one], self._groups[other]
        if len(first.reductions) + len(second.reductions) > MOST_ACROSS:
            return
        if first.instructions + second.instructions > _MOST_INSTRUCTIONS:
            return
        if kept_apart(first, second) is not None:
            return
        if not self._may_be_one(first, second):
            return
        if self._ends(second):
            one, other, first, second = other, one, second, first
        if not self._order.may_merge(one, other):
            return
        self._order.merge(one, other)
        self._into[other] = one
        nodes = sorted([*first.nodes, *second.nodes], key=self._position.__getitem__)
        self._groups[one] = replace(
            first,
            nodes=tuple(nodes),
            reductions={**first.reductions, **second.reductions},
            stored=(*first.stored, *second.stored),
            regions={**first.regions, **second.regions},
            instructions=first.instructions + second.instructions,
            phase=min(first.phase, second.phase),
        )
        del self._groups[other]

    def _may_be_one(self, first: Group, second: Group) -> bool:
        if first.reductions:
            # Rows are read once more where what one needs is not known before their end.
            near = self._order.before(first.number), self._order.before(second.number)
            return second.number not in near[0] and first.number not in near[1]
        both_end = self._ends(first) and self._ends(second)
        return not both_end and self._live_together(first, second)

    def _ends(self, group: Group) -> bool:
        """Whether readers of an array wait for the group by its number: it writes the last part."""
        return any(self._owner(key) == group.number for key in group.targets)

    def _live_together(self, one: Group, other: Group) -> bool:
        """Whether what both store lies in memory at the same time, whoever computes it."""
        if not set(one.targets).isdisjoint(other.targets):
            return True
        if {*one.stored, *other.stored} <= self._before.roots:
            return True
        readers = [
            {number for key in each.stored for number in self._readers.get(key, ())}
            for each in (one, other)
        ]
        return not readers[0].isdisjoint(readers[1])


def _latest_phase(group: Group, before: Sequence[Group]) -> int:
    """The phase of a group that waits for others: of a later phase than some of what it computes,
    where it was merged. So then are those that read that."""
    return max([group.phase, *[each.phase for each in before]])

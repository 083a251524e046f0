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

from collections.abc import Iterable, Sequence, Set
from typing import Final

from staticgrad.analysis.cost import instructions
from staticgrad.analysis.layout import Strided, is_one_run
from staticgrad.fusion import reasons
from staticgrad.fusion.groups import (
    Group,
    GroupReduction,
    Groups,
    Home,
    Key,
    Partial,
    Read,
    Source,
    Walk,
    meets_elements,
    results_apart,
)
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.walks import (
    MOST_WRITTEN_OUT,
    fewest_lanes,
    has_short_rows,
    is_per_row,
    may_be_short,
    may_compute_again,
    meets_rows,
    outer_shape,
    picks_of_row,
    row_walk,
    sums_across,
)
from staticgrad.ir.forms import INDEXED, GatherAlong, Pointwise, ScatterAlong, SearchForm
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.stages import group_rows
from staticgrad.records import replace
from staticgrad.types.arrays import Shape, TensorType, c_strides, hint_product, product
from staticgrad.types.dtype import ALL_DTYPES

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


#: Instructions of a group of rows, at most: its stages are written for several rows side by side.
LARGEST_ROWS: Final = 640
#: Bytes that one row of all operands takes, at most, so that later stages find it in the cache.
LONGEST_ROW: Final = 1 << 19
#: Bytes of the widest element.
_WIDEST: Final = max(dtype.itemsize for dtype in ALL_DTYPES)
#: Rows from here on are enough to share them out; of fewer, only few elements are worth it.
FEWEST_ROWS: Final = 16
FEW_ELEMENTS: Final = 1 << 15
#: Rows and elements from which on partial sums of columns cost less than reading everything again.
FEWEST_TERMS: Final = 64
FEWEST_SUMMED: Final = 4096
#: Operations of an op that takes long for a single element, and elements of a row beside which
#: that does not matter.
LONG_OPERATION: Final = 16
LONG_ENOUGH: Final = 512


def combines(group: Group) -> bool:
    """Whether all that a group does is to combine partial results."""
    return any(isinstance(each.source.base, Partial) for each in group.reductions.values())


def _stays_in_row(node: Node) -> bool:
    looks_up = isinstance(node.form, INDEXED | SearchForm)
    return not looks_up or isinstance(node.form, ScatterAlong) or picks_of_row(node)


def _without_reductions(one: Group, other: Group) -> tuple[Shape, int] | None:
    if "columns" in (one.kind, other.kind):
        return None
    if one.domain == other.domain:
        return (one.domain, 1) if one.checked != other.checked and one.domain else None
    for domain, shape in ((one.domain, other.domain), (other.domain, one.domain)):
        for row in range(1, len(domain) + 1):
            if is_per_row(shape, domain, row):
                return domain, row
    return None


def _keeps_out_of_lanes(group: Group) -> bool:
    """Whether a group has what lanes of rows cannot: sums of columns."""
    return group.kind == "columns" or bool(group.columns)


class RowRules:
    """What holds for groups of one graph; a group is looked at once."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._updated = {value.node for _, value in groups.graph.updates}
        self._fits: dict[Group, bool] = {}
        self._short: dict[Group, bool] = {}

    def shared(self, one: Group, other: Group) -> tuple[Shape, int] | None:
        """The domain and the number of row axes that two groups could share as one of rows."""
        if not (self.fits(one) and self.fits(other)):
            return None
        reducing = next((each for each in (one, other) if each.row), None)
        if reducing is None:
            form = _without_reductions(one, other)
        else:
            form = reducing.domain, reducing.row
        if form is None:
            return None
        domain, row = form
        if all(extent == 1 for extent in domain[len(domain) - row :]):
            return None
        for group in (one, other):
            elements = group.domain == domain and group.row in (0, row)
            per_row = not group.row and is_per_row(group.domain, domain, row)
            if not elements and (group.summed or not per_row):  # sums over rows are of elements
                return None
            if group.checked and len(group.domain) != len(domain):  # picks along an axis around
                return None
        if row > 1 and (one.checked or other.checked):
            return None
        summed = {each.summed for each in (one, other) if each.summed}
        if len(summed) > 1 or any(axis >= len(domain) - row for axes in summed for axis in axes):
            return None
        return domain, row

    def fits(self, group: Group) -> bool:
        """Whether a group could be a part of one of rows, by its form alone."""
        found = self._fits.get(group)
        if found is None:
            found = self._fits[group] = self._asked(group)
        return found

    def has_short_rows(self, group: Group) -> bool:
        """Whether a row of it lies in each lane of vectors."""
        found = self._short.get(group)
        if found is None:
            found = self._short[group] = has_short_rows(self._groups, group)
        return found

    def _asked(self, group: Group) -> bool:
        if group.kind not in ("map", "rows", "columns"):
            return False
        if group.checked and not all(map(_stays_in_row, group.nodes)):
            return False
        if group.windowed or group.copied or (group.kind == "columns" and combines(group)):
            return False
        if group.regions:
            return False
        across = bool(group.row and group.reductions) and sums_across(self._groups, group)
        across = across and not self.has_short_rows(group)
        return not across and self._updated.isdisjoint(group.nodes)

    def in_row(self, read: Read, domain: Shape, row: int) -> bool:
        """Whether what a group reads there of another is of the row that it is in."""
        source, reader = read.source, read.reader
        if isinstance(reader.form, GatherAlong) and not source.inline:
            if source.base == self._groups.source(reader.args[0]).base:
                again = may_compute_again(reader.args[0], domain)
                return again and meets_elements(source, domain)
            return meets_rows(row_walk(source, reader.types[0].shape, domain, row), domain, row)
        scattered = isinstance(reader.form, ScatterAlong)
        if source.inline or not (read.elementwise or scattered):
            return False
        shape = read.reader.types[0].shape if isinstance(read.reader.form, Pointwise) else domain
        if self._groups.value_type(source.base).shape == domain:
            return shape == domain and meets_elements(source, domain)
        walk = row_walk(source, shape, domain, row)
        return meets_rows(walk, domain, row)

    @staticmethod
    def too_large(one: Group, other: Group) -> reasons.TooLarge | None:
        """Why two groups are too long for one, if they are."""
        size = one.instructions + other.instructions
        return reasons.TooLarge(size, LARGEST_ROWS) if size > LARGEST_ROWS else None

    def apart(
        self, one: Group, other: Group, reads: Sequence[Read], domain: Shape, row: int
    ) -> reasons.Reason | None:
        """Why two groups that could share rows do not; ``reads``: what both read."""
        several = row > 1 and (one.indexed or other.indexed)
        if several or any(g.domain != domain and self._asks(g) for g in (one, other)):
            return reasons.PositionsInRow(row)
        if large := self.too_large(one, other):
            return large
        in_lanes = self.has_short_rows(one) or self.has_short_rows(other)
        if in_lanes and not self._leave_lanes(one, other, domain, row):
            # Rows lie in lanes: both together must be written out.
            reductions = [*one.reductions.values(), *other.reductions.values()]
            work = sum(map(instructions, (*one.nodes, *other.nodes)))
            length = hint_product(domain[len(domain) - row :])
            if _keeps_out_of_lanes(one) or _keeps_out_of_lanes(other):
                return reasons.RowsInLanes(length)
            if may_be_short(domain, row, reductions, work):
                return None
            return reasons.TooLarge(length * work, MOST_WRITTEN_OUT)
        of_row = domain[len(domain) - row :]
        rows, length = map(hint_product, (outer_shape(domain, row), of_row))
        few = all(isinstance(size, int) for size in of_row) and rows * length <= FEW_ELEMENTS
        if rows < FEWEST_ROWS and not few and one.domain == other.domain:
            return reasons.FewRows(rows, of_row)
        sums = {one.kind, other.kind} & {"columns"}
        terms = hint_product([domain[a] for a in (*one.summed, *other.summed)])
        if sums and (terms < FEWEST_TERMS or rows * length < FEWEST_SUMMED):
            return reasons.FewTerms(terms, rows * length)
        stored = (*one.stored, *other.stored)
        most = _WIDEST * (len({read.source.base for read in reads}) + len(stored))
        if row == 1 and most * length <= LONGEST_ROW:
            return None
        moving = self._moving(stored, reads, domain, row)
        if row > 1 and not all(is_one_run(walk.strides, domain, row) for walk in moving):
            return reasons.BrokenRow(row)
        bases = dict.fromkeys([walk.base for walk in moving])
        width = sum(self._groups.value_type(base).dtype.itemsize for base in bases)
        if width * length > LONGEST_ROW:
            return reasons.LongRow(width * length, LONGEST_ROW)
        return None

    @staticmethod
    def _leave_lanes(one: Group, other: Group, domain: Shape, row: int) -> bool:
        """Whether rows of which one is in lanes fill vectors, where both together cannot be."""
        if not _keeps_out_of_lanes(one) and not _keeps_out_of_lanes(other):
            return False
        reductions = [*one.reductions.values(), *other.reductions.values()]
        return hint_product(domain[len(domain) - row :]) >= fewest_lanes(reductions)

    def _asks(self, group: Group) -> bool:
        for node in group.nodes if group.indexed else ():
            form = node.form
            if isinstance(form, Pointwise) and form.indexed:
                return True
            sources = map(self._groups.source, node.args)
            if any(source.inline and not source.uniform for source in sources):
                return True
        return False

    def takes_vector(self, part: Group, group: Group) -> bool:
        """Whether part of a group of short rows is quicker by itself, a vector of rows at a time.

        That has one element per row, and long operations for it.
        """
        length = hint_product(group.domain[len(group.domain) - group.row :])
        if part.domain == group.domain or length >= LONG_ENOUGH or self.has_short_rows(group):
            return False
        return any(map(self.takes_long, part.nodes))

    @staticmethod
    def takes_long(node: Node) -> bool:
        """Whether a node takes long for a single element."""
        return node.op.flops >= LONG_OPERATION

    def _moving(
        self, stored: Iterable[Key], reads: Iterable[Read], domain: Shape, row: int
    ) -> list[Walk]:
        walks: dict[Walk, None] = {}
        for read in reads:
            pointwise = isinstance(read.reader.form, Pointwise)
            shape = read.reader.types[0].shape if pointwise else domain
            if len(read.source.type.shape) <= len(shape):
                walks[row_walk(read.source, shape, domain, row)] = None
        first = len(domain) - row
        found = [walk for walk in walks if any(step != 0 for step in walk.strides[first:])]
        whole = [key for key in stored if self._groups.value_type(key).shape == domain]
        return [*found, *(Walk(key, 0, c_strides(domain)) for key in whole)]

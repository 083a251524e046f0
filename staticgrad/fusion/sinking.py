"""Values that one other group alone reads, computed there, where that moves fewer bytes.

A node joins the group of its operands, which then stores the value for whoever reads it. Where that
is one product, which reads the same elements behind its sums, or one reduction across rows, the
reader may compute the value itself, of what lies in memory: nothing is stored for it, and what it
alone was computed of is not read twice. (``x - mean`` squared, for a variance: the sum reads the
difference, and no array of squares is stored.)

Two nodes of a later group that share what they are made of (the factors of a derivative, both
functions of one stored value) were each somebody else's reader while groups grew. Where now nobody
else reads a group of elements, the later one computes all of it.

Groups that read the same large arrays in the same order, as one group that reads them once.

A product with a vector, ``x @ w``, takes as long as its matrix comes from memory. Where another
one, ``x @ v``, neither reads the first nor is read by it, one kernel computes both while it reads
the matrix once: a loss and a Hessian-vector product, or the transposed products of both. They need
not be of one phase: what they store is small beside what they read.

Maps that read the same arrays, as both parts of a complex product or of a rotation do, are one
kernel where what they store lives at the same time anyway: where both are results, parts of one
array, or somebody reads both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from itertools import combinations
from typing import Final

from staticgrad.analysis.cost import instructions
from staticgrad.fusion.groups import (
    ANCHORED,
    Group,
    Groups,
    Home,
    Key,
    Walk,
    meets_elements,
    most_instructions,
)
from staticgrad.fusion.legality import kept_apart
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.walks import MOST_ACROSS, has_short_rows, operand_walks, sums_across
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
from staticgrad.records import replace
from staticgrad.types.arrays import Shape, hint_product, hint_value, product

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
    """Return the groups; those that reduce or map the same large arrays are merged."""
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
    """Return whether a group only reduces rows of a large domain to few elements."""
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
    """Return the walks of a group that only maps several large arrays; else the empty set."""
    if group.kind != "map" or group.reductions or group.parts is not None:
        return frozenset()
    if group.keeps_axes or group.checked or not is_large(group.domain):
        return frozenset()
    walks = frozenset(operand_walks(groups, group))
    large = sum(_is_whole(walk, group.domain) for walk in walks)
    return walks if large >= _SHARED else frozenset()


def is_large(domain: Shape, least: int = LARGE) -> bool:
    """Return whether a domain has many elements; True if its size is not known."""
    elements = product(domain)
    return not isinstance(elements, int) or elements >= least


def _is_whole(walk: Walk, domain: Shape) -> bool:
    moves = zip(walk.strides, domain, strict=True)
    return all(stride != 0 or extent == 1 for stride, extent in moves)


class _Siblings(Regrouping):
    def result(self, alike: Sequence[Sequence[int]]) -> Groups:
        for numbers in alike:
            for one, other in combinations(numbers[:_NEAREST], 2):
                self._merge_if_free(self._final(one), self._final(other))
        return (
            self._result(by_number=self._with_levels(_latest_phase)) if self._into else self._before
        )

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
        self._merge(one, other, phase=min(first.phase, second.phase))

    def _may_be_one(self, first: Group, second: Group) -> bool:
        if first.reductions:
            # Rows are read once more where what one needs is not known before their end.
            near = self._order.before(first.number), self._order.before(second.number)
            return second.number not in near[0] and first.number not in near[1]
        both_end = self._ends(first) and self._ends(second)
        return not both_end and self._live_together(first, second)

    def _ends(self, group: Group) -> bool:
        return any(self._owner(key) == group.number for key in group.targets)

    def _live_together(self, one: Group, other: Group) -> bool:
        """Return whether the results of both groups are alive at the same time anyway."""
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


#: Groups that a value may leave, and those that may compute it instead.
_FROM: Final = ("map", "gemm")
_INTO: Final = ("columns", "gemm")
#: Groups that compute elements, which take over all of a group, whatever its size.
_ELEMENTS: Final = ("map", *ANCHORED)
#: Where the values of products go besides: a tile has the product itself in registers, but who
#: reads that in memory anyway reads no more.
_INTO_OF: Final = {"map": (*_INTO, *_ELEMENTS), "gemm": (*_INTO, "rows")}
#: Instructions that a reader takes over, at most: it computes them among its own.
_MOST_MOVED: Final = 12
#: Bytes that this spares, at least, and elements of an array: of less no run takes notice.
_LEAST_SPARED: Final = 1 << 15
_LEAST_ELEMENTS: Final = 1 << 15


def sunk(groups: Groups) -> Groups:
    """The groups, values that are computed better where they are read in the groups that do."""
    return _Sinking(groups).result() if groups.fused else groups


class _Sinking(Regrouping):
    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        #: Parameters, and the level at which each is written.
        self._updated = {
            parameter.node: 0 if home is None else home.level
            for parameter, value in groups.graph.updates
            for home in [groups.home(groups.source(value).base)]
        }
        self._sizes: dict[Key, tuple[int, int]] = {}  # elements of a buffer, and bytes of one
        #: The groups that have each node; of those that move, one.
        self._homes: dict[Node, list[int]] = {}
        for group in groups.all:
            for node in (*group.nodes, *_reduced(group)):
                self._homes.setdefault(node, []).append(group.number)

    def result(self) -> Groups:
        for number in self._before.by_number:
            for reader, nodes in self._cones(self._groups[number]).items():
                self._move_if_spared(number, reader, nodes)
        if self._owners == self._before.owners:
            return self._before
        return replace(self._before, by_number=self._groups, owners=self._owners)

    def _cones(self, group: Group) -> Mapping[int, Sequence[Node]]:
        """Return the nodes that are computed for one reader only, by reader, readers first."""
        plain = not (group.keeps_axes or group.checked or group.regions or group.columns)
        if group.kind not in _FROM or not plain or group.parts is not None:
            return {}
        found: dict[int, list[Node]] = {}
        chosen: dict[Node, int] = {}
        for node in reversed(group.nodes):
            reader = self._only_reader(group, node, chosen) if self._may_move(node) else None
            if reader is not None:
                chosen[node] = reader
                found.setdefault(reader, []).append(node)
        return found

    def _may_move(self, node: Node) -> bool:
        """Return whether a node may be computed in another group."""
        groups, key = self._before, Home(node)
        if not isinstance(node.form, Pointwise) or node.form.indexed or len(node.types) > 1:
            return False
        if key in groups.roots or key in groups.kept or len(self._homes[node]) > 1:
            return False
        sources = [groups.source(arg) for arg in node.args]
        return all(each.uniform for each in sources if each.inline)

    def _only_reader(self, group: Group, node: Node, chosen: Mapping[Node, int]) -> int | None:
        found: set[int | None] = set()
        for user in self._before.users[node, 0]:
            if user in chosen:
                found.add(chosen[user])
                continue
            homes = self._homes.get(user, [])
            reader = self._groups[homes[0]] if len(homes) == 1 else group
            moves = self._may_take(group, reader, node, user) and self._may_read(reader, node)
            found.add(reader.number if moves else None)
        return found.pop() if len(found) == 1 else None

    def _may_take(self, group: Group, reader: Group, node: Node, user: Node) -> bool:
        if reader is group or reader.kind not in _INTO_OF[group.kind]:
            return False
        if (
            reader.phase != group.phase
            or reader.parts is not None
            or reader.domain != group.domain
            or reader.copied
        ):
            return False
        key = Home(node)
        reductions = [r.source for k, r in reader.reductions.items() if k.node is user]
        args = reductions or [self._before.source(arg) for arg in user.args]
        own = [each for each in args if each.base == key]
        element = bool(reductions) or isinstance(user.form, Pointwise)
        return element and all(meets_elements(each, reader.domain) for each in own)

    def _may_read(self, reader: Group, node: Node) -> bool:
        # One of a lower level might come before. Of products, one of no lower level comes later.
        sources = [self._before.source(arg) for arg in node.args]
        written = [self._updated[s.base.node] for s in sources if s.base.node in self._updated]
        return not written or (reader.kind not in _INTO and min(written) >= reader.level)

    # -- what a move costs -------------------------------------------------------------------------

    def _move_if_spared(self, number: int, reader: int, nodes: Sequence[Node]) -> None:
        group, other = self._groups[number], self._groups[reader]
        best = self._best(group, other, nodes)
        if best:
            moved = nodes[:best]
            self._groups[number], self._groups[reader] = self._moved(group, other, moved)
            self._owners |= {Home(node): reader for node in moved}
            self._homes |= {node: [reader] for node in moved}
            if not self._groups[number].members:
                del self._groups[number]

    def _best(self, group: Group, other: Group, nodes: Sequence[Node]) -> int:
        """Return how many of the nodes the other group had better compute."""
        whole = group.kind == "map" and len(nodes) == len(group.nodes) and not group.reductions
        whole = whole and other.kind in _ELEMENTS and other.level > group.level
        if whole and kept_apart(group, other) is None:
            return len(nodes)
        if other.kind not in (*_INTO, "rows") or not is_large(group.domain, _LEAST_ELEMENTS):
            return 0
        before = self._traffic(group) + self._traffic(other)
        best, fewest = 0, before - _LEAST_SPARED
        room = min(_MOST_MOVED, most_instructions(other) - other.instructions)
        for count in range(1, len(nodes) + 1):
            room -= instructions(nodes[count - 1])
            if room < 0:
                break
            after = sum(self._traffic(each) for each in self._moved(group, other, nodes[:count]))
            if after < fewest:
                best, fewest = count, after
        return best

    def _moved(self, group: Group, reader: Group, nodes: Sequence[Node]) -> tuple[Group, Group]:
        gone = {*nodes}
        work = sum(map(instructions, nodes))
        left = tuple([node for node in group.nodes if node not in gone])
        rest = {Home(node) for node in left}
        read = [self._before.source(arg).base for node in nodes for arg in node.args]
        kept = [key for key in group.stored if key.node not in gone or key in group.reductions]
        stored = dict.fromkeys([*kept, *(base for base in read if base in rest)])
        taken = self._in_order([*reader.nodes, *nodes])
        return (
            replace(
                group,
                nodes=left,
                stored=tuple(stored),
                instructions=group.instructions - work,
            ),
            replace(reader, nodes=taken, instructions=reader.instructions + work),
        )

    def _traffic(self, group: Group) -> int:
        # What is stored is brought near first, so it counts twice.
        groups = self._before
        inside: AbstractSet[Key] = {Home(node) for node in group.nodes} | group.reductions.keys()
        read = [each.source.base for each in groups.reads(group)]
        elements = hint_product(group.domain)
        touched = dict.fromkeys([base for base in read if base not in inside])
        stored = dict.fromkeys([*group.stored, *(key for key in inside if key in groups.roots)])
        return sum(self._nbytes((*touched, *stored, *stored), elements))

    def _nbytes(self, keys: Iterable[Key], elements: int) -> Iterator[int]:
        for key in keys:
            found = self._sizes.get(key)
            if found is None:
                kind = self._before.value_type(key)
                found = self._sizes[key] = hint_value(kind.size), kind.dtype.itemsize
            yield min(found[0], elements) * found[1]


def _reduced(group: Group) -> Iterator[Node]:
    yield from (key.node for key in (*group.reductions, *group.columns))

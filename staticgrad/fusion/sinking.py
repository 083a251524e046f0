"""Values that one other group alone reads, computed there, where that moves fewer bytes.

A node joins the group of its operands, which then stores the value for whoever reads it. Where that
is one product, which reads the same elements behind its sums, or one reduction across rows, the
reader may compute the value itself, of what lies in memory: nothing is stored for it, and what it
alone was computed of is not read twice. (``x - mean`` squared, for a variance: the sum reads the
difference, and no array of squares is stored.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from typing import Final

from staticgrad.analysis.kernel_costs import instructions
from staticgrad.fusion.groups import Group, Groups, Home, Key, meets_elements
from staticgrad.fusion.sharing import most_instructions
from staticgrad.fusion.siblings import is_large
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Node
from staticgrad.records import replace
from staticgrad.types.tensor import hint_product, hint_value

#: Groups that a value may leave, and those that may compute it instead.
_FROM: Final = ("map", "gemm")
_INTO: Final = ("columns", "gemm")
#: Where the values of products go besides: a tile has the product itself in registers, but who
#: reads that in memory anyway reads no more.
_INTO_OF: Final = {"map": _INTO, "gemm": (*_INTO, "rows")}
#: Instructions that a reader takes over, at most: it computes them among its own.
_MOST_MOVED: Final = 12
#: Bytes that this spares, at least, and elements of an array: of less no run takes notice.
_LEAST_SPARED: Final = 1 << 15
_LEAST_ELEMENTS: Final = 1 << 15


def sunk(groups: Groups) -> Groups:
    """The groups, values that are computed better where they are read in the groups that do."""
    return _Sinking(groups).result() if groups.fused else groups


class _Sinking:
    """Groups while values move from one to another; each to a later one."""

    def __init__(self, groups: Groups) -> None:
        self._before = groups
        self._groups = dict(groups.by_number)
        self._owners = dict(groups.owners)
        self._position = {node: k for k, node in enumerate(groups.graph.nodes)}
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
        """The groups after all moves."""
        for number in self._before.by_number:
            for reader, nodes in self._cones(self._groups[number]).items():
                self._move_if_spared(number, reader, nodes)
        if self._owners == self._before.owners:
            return self._before
        return replace(self._before, by_number=self._groups, owners=self._owners)

    def _cones(self, group: Group) -> Mapping[int, Sequence[Node]]:
        """By reader, the nodes that are computed for it alone, each behind those that read it."""
        plain = not (group.keeps_axes or group.checked or group.regions or group.columns)
        if group.kind not in _FROM or not plain or group.parts is not None:
            return {}
        if not is_large(group.domain, _LEAST_ELEMENTS):
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
        """Whether a node may be computed elsewhere, whoever reads it."""
        groups, key = self._before, Home(node)
        if not isinstance(node.form, Pointwise) or node.form.indexed or len(node.types) > 1:
            return False
        if key in groups.roots or key in groups.kept or len(self._homes[node]) > 1:
            return False
        sources = [groups.source(arg) for arg in node.args]
        return all(each.uniform for each in sources if each.inline)

    def _only_reader(self, group: Group, node: Node, chosen: Mapping[Node, int]) -> int | None:
        """The one other group that reads a node's values, element by element."""
        found: set[int | None] = set()
        for user in self._before.users[node, 0]:
            if user in chosen:
                found.add(chosen[user])
                continue
            homes = self._homes.get(user, [])
            reader = self._groups[homes[0]] if len(homes) == 1 else group
            moves = self._reads(group, reader, node, user) and self._may_read(reader, node)
            found.add(reader.number if moves else None)
        return found.pop() if len(found) == 1 else None

    def _reads(self, group: Group, reader: Group, node: Node, user: Node) -> bool:
        """Whether a group reads a value of another one by elements, and might compute it."""
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
        """Whether nobody who writes a parameter that ``node`` reads waits for one more reader.

        One of a lower level might come before. Of products, one of no lower level comes later.
        """
        sources = [self._before.source(arg) for arg in node.args]
        written = [self._updated[s.base.node] for s in sources if s.base.node in self._updated]
        return not written or (reader.kind not in _INTO and min(written) >= reader.level)

    # -- what a move costs -------------------------------------------------------------------------

    def _move_if_spared(self, number: int, reader: int, nodes: Sequence[Node]) -> None:
        """Move those of the nodes, from the last one on, with which the fewest bytes are moved."""
        group, other = self._groups[number], self._groups[reader]
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
        if best:
            moved = nodes[:best]
            self._groups[number], self._groups[reader] = self._moved(group, other, moved)
            self._owners |= {Home(node): reader for node in moved}
            self._homes |= {node: [reader] for node in moved}
            if not self._groups[number].members:
                del self._groups[number]

    def _moved(self, group: Group, reader: Group, nodes: Sequence[Node]) -> tuple[Group, Group]:
        """The two groups after a move."""
        gone = {*nodes}
        work = sum(map(instructions, nodes))
        left = tuple([node for node in group.nodes if node not in gone])
        rest = {Home(node) for node in left}
        read = [self._before.source(arg).base for node in nodes for arg in node.args]
        kept = [key for key in group.stored if key.node not in gone or key in group.reductions]
        stored = dict.fromkeys([*kept, *(base for base in read if base in rest)])
        taken = sorted([*reader.nodes, *nodes], key=self._position.__getitem__)
        return (
            replace(
                group,
                nodes=left,
                stored=tuple(stored),
                instructions=group.instructions - work,
            ),
            replace(reader, nodes=tuple(taken), instructions=reader.instructions + work),
        )

    def _traffic(self, group: Group) -> int:
        """Bytes that a group moves: of each buffer at most an element per position.

        What is stored is brought near first, so it counts twice.
        """
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

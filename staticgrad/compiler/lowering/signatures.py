"""Groups with numbers in the place of values: those that are equal then are lowered once.

A group is renumbered first. Its nodes, and the values that it reads, become nodes of their own,
numbered in the order of their first use, and offsets into a value become distances from the first
one. Equal nodes are one object, so the renumbered group is a key. ``lower_group`` gets the
renumbered group and its values alone: what the key does not have, lowering cannot read. So the
layers of a network and the steps of a recurrence are lowered once. Sizes are not numbered: whether
two axes are collapsed depends on products of sizes.
(Equal kernels of other sizes become one object after they were lowered.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from staticgrad.analysis.layout import Strided
from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.fusion.groups import (
    Copied,
    Group,
    GroupReduction,
    GroupValues,
    Home,
    Key,
    Partial,
    Pieces,
    Roles,
    RowStage,
    Slot,
    Source,
    TargetRegion,
    Transfer,
    Walk,
)
from staticgrad.compiler.lowering.operands import LoweredStep
from staticgrad.compiler.lowering.stages import lower_group
from staticgrad.language.ir.graph import Constant, Node, Symbolic
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.op import Op
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import Size
from staticgrad.support.records import replace
from staticgrad.support.source import Location


class Lowerings:
    """Lowers groups, those that are equal but for their values once."""

    def __init__(self) -> None:
        self._found: dict[Hashable, LoweredStep] = {}
        self._kernels: dict[Kernel, Kernel] = {}
        self._nodes = _Nodes()

    def lower(self, values: GroupValues, group: Group) -> LoweredStep:
        """Return the result of ``lower_group`` for a group; equal kernels are one object."""
        renumbered = Renumbered(values, group, self._nodes)
        lowered = self._found.get(renumbered.key)
        if lowered is None:
            lowered = lower_group(renumbered.values, renumbered.group)
            kernel = self._kernels.setdefault(lowered.kernel, lowered.kernel)
            lowered = self._found[renumbered.key] = replace(lowered, kernel=kernel)
        return renumbered.placed(lowered)


class _Given(Op):
    """What a group reads, or what a buffer belongs to: nothing but its type is known."""


_GIVEN: Final = _Given()


class _Nodes:
    """Renumbered nodes; equal ones are one object."""

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Node] = {}
        self._numbers: dict[Hashable, int] = {}
        self._by_id: dict[int, int] = {}
        self._met: list[object] = []  # keeps them alive, and so their ids

    def node(
        self,
        name: Hashable,
        types: tuple[TensorType, ...],
        origin: Location,
        op: Op = _GIVEN,
        args: tuple[Symbolic, ...] = (),
    ) -> Node:
        number = self.number
        key = (name, number(op), *map(number, types), *[arg.key for arg in args])
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = Node(op, args, types, origin)
        return found

    def number(self, value: object) -> int:
        """Return the number of equal values. An object that was met before is not compared."""
        number = self._by_id.get(id(value))
        if number is None:
            equal: Hashable = value
            if isinstance(value, Constant):
                array = value.data.array
                equal = (str(array.dtype), array.shape, array.tobytes())
            number = self._numbers.setdefault(equal, len(self._numbers))
            self._by_id[id(value)] = number
            self._met.append(value)
        return number


class Renumbered:
    """A group in numbers of its own, the values that it reads, and the key that both are."""

    def __init__(self, values: GroupValues, group: Group, nodes: _Nodes) -> None:
        self._before, self._of, self._shared = values, group, nodes
        self._own = {*group.nodes, *(() if group.image is None else group.image.nodes)}
        self._nodes: dict[Node, Node] = {}
        self._keys: dict[Key, Key] = {}
        self._first: dict[Key, Size] = {}  # the first offset met into each value
        self._owners: dict[Key, int] = {}
        self._sources: dict[ValueKey, Source] = {}
        self._types: dict[Key, TensorType] = {}
        results = (*group.stored, *group.reductions, *group.columns, *group.copied.values())
        self._first |= dict.fromkeys(results, 0)
        if len(group.transfers) > 1:  # one operand, from which the kernel itself counts
            self._first[group.transfers[0].target] = 0
        self.group: Group = self._group(group)
        self.values = GroupValues(self._owners, self._sources, self._types)
        self.key = (_frozen(self.group), tuple(self._owners), tuple(self._types.items()))

    def placed(self, lowered: LoweredStep) -> LoweredStep:
        """Return a step of the renumbered group as one of the group that it was made of."""
        keys = {number: key for key, number in self._keys.items()}
        nodes = {number: node for node, number in self._nodes.items()}

        def key(each: Any) -> Any:  # scratch and checks belong to a node
            return keys[each] if each in keys else replace(each, node=nodes[each.node])

        def operand(each: Key, offset: Size) -> tuple[Key, Size]:
            found = key(each)
            return found, offset + self._first.get(found, 0)

        return replace(
            lowered,
            operands=tuple([operand(*each) for each in lowered.operands]),
            touched=tuple([(key(each), mode) for each, mode in lowered.touched]),
            scratch=tuple([(key(each), dtype, size) for each, dtype, size in lowered.scratch]),
        )

    # -- nodes and values --------------------------------------------------------------------------

    def _node(self, node: Node) -> Node:
        found = self._nodes.get(node)
        if found is not None:
            return found
        sources = self._before.sources
        first = sources[node, 0]
        if node not in self._own and not first.inline:
            found = self._shared.node(len(self._nodes), node.types, node.origin)
            self._nodes[node] = found
            return found
        args = tuple([self._value(arg) for arg in node.args])
        read = (len(self._nodes), node in self._own, first.direct, first.depth, first.uniform)
        found = self._shared.node(read, node.types, node.origin, node.op, args)
        self._nodes[node] = found
        for index in range(len(node.types)):
            self._sources[found, index] = self._source(sources[node, index])
        return found

    def _value(self, value: Symbolic) -> Symbolic:
        source = self._before.source(value)
        made = self._source(source)
        if source.direct and isinstance(made.base, Home) and made.base in self._sources:
            return Symbolic(*made.base)
        base, kind, layout, *others = made
        name = (base, layout.offset, self._shared.number(layout.strides), *others)
        node = self._shared.node(name, (kind,), value.node.origin)
        self._sources[node, 0] = made
        return Symbolic(node)

    def _source(self, source: Source) -> Source:
        base, kind, layout, direct, depth, uniform = source
        placed = self._layout(base, layout)
        return Source(self._key(base), kind, placed, direct, depth, uniform)

    def _layout(self, base: Key, layout: Strided) -> Strided:
        first = self._first.setdefault(base, layout.offset)
        return layout if first == 0 else Strided(layout.offset - first, layout.strides)

    def _key(self, key: Key) -> Key:
        found = self._keys.get(key)
        if found is None:
            node = self._node(key.node)
            if isinstance(key, Home):
                found = Home(node, key.result)
            elif isinstance(key, Copied):
                found = Copied(node, len(self._keys))
            else:
                found = replace(key, node=node)
            self._keys[key] = found
            if not isinstance(key, Home):
                self._types[found] = self._before.value_type(key)
            if self._before.computes(self._of, key):
                self._owners[found] = 0
        return found

    # -- groups ------------------------------------------------------------------------------------

    def _made(self, value: Any) -> Any:
        """Return anything that a group has with the renumbered values in it."""
        make = _MADE.get(type(value))
        return value if make is None else make(self, value)

    def _fields(self, record: Any) -> Any:
        made = {name: each and self._made(each) for name, each in vars(record).items()}
        return replace(record, **made)

    def _group(self, group: Group) -> Group:
        found: Group = self._fields(replace(group, number=0, level=0, phase=0, parts=None))
        return found

    def _walk(self, walk: Walk) -> Walk:
        layout = self._layout(walk.base, Strided(walk.offset, walk.strides))
        return Walk(self._key(walk.base), layout.offset, layout.strides)

    def _region(self, region: TargetRegion) -> TargetRegion:
        return TargetRegion(self._key(region.target), self._layout(*region))

    def _transfer(self, transfer: Transfer) -> Transfer:
        layout = self._layout(transfer.target, transfer.layout)
        source = None if transfer.source is None else self._source(transfer.source)
        return replace(transfer, target=self._key(transfer.target), layout=layout, source=source)


_Make = Callable[[Renumbered, Any], Any]
_MADE: Final[dict[type, _Make]] = {
    Node: Renumbered._node,
    Source: Renumbered._source,
    Walk: Renumbered._walk,
    TargetRegion: Renumbered._region,
    Transfer: Renumbered._transfer,
    Group: Renumbered._group,
    **dict.fromkeys((Home, Partial, Pieces, Copied), Renumbered._key),
    **dict.fromkeys((GroupReduction, Roles), Renumbered._fields),
    **dict.fromkeys((RowStage, Slot), lambda self, each: type(each)(*map(self._made, each))),
    **dict.fromkeys((tuple, frozenset), lambda self, each: type(each)(map(self._made, each))),
    dict: lambda self, each: {self._made(key): self._made(value) for key, value in each.items()},
}


def _frozen(value: Any) -> Hashable:
    """Return a value that is hashed and compared with all that is in it; 0.0 is not -0.0."""
    kind = type(value)
    if kind in (Group, Roles, Transfer):
        return tuple([_frozen(each) for each in vars(value).values()])
    if kind is tuple and value and type(value[0]) is Transfer:
        return tuple(map(_frozen, value))
    if kind is dict:
        return tuple([(key, _frozen(each)) for key, each in value.items()])
    return repr(value) if kind is float else value

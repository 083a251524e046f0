"""Lower groups that are equal after renumbering their values only once.

A group is renumbered first. Its nodes, and the values that it reads, become new nodes, numbered in
the order of their first use, and offsets into a value become distances from the first one. Equal
nodes are one object, so the renumbered group is a cache key. ``lower_group`` gets only the
renumbered group and its values, so that lowering cannot read what the key does not contain. Thus
the layers of a network and the steps of a recurrence are lowered once. Sizes are not numbered,
because collapsing two axes depends on products of sizes.

::

    h1 = relu(x @ w1 + b1)
    h2 = relu(h1 @ w2 + b2)     ->     relu(v0 @ v1 + v2), lowered once if the sizes are equal
(Equal kernels of different sizes become one object after lowering.)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from staticgrad.analysis.layout import Strided
from staticgrad.analysis.liveness import ValueKey
from staticgrad.compiler.fusion.groups import (
    ChunkBuffer,
    CopyBuffer,
    Group,
    GroupReduction,
    GroupValues,
    Key,
    PartialBuffer,
    ResultBuffer,
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
    """A cache of lowered groups, by their renumbered form."""

    def __init__(self) -> None:
        self._lowered: dict[Hashable, LoweredStep] = {}
        self._kernels: dict[Kernel, Kernel] = {}
        self._nodes = _Nodes()

    def lower(self, values: GroupValues, group: Group) -> LoweredStep:
        """Lower a group once for all groups that are equal after renumbering; share the kernel."""
        renumbered = Renumbered(values, group, self._nodes)
        lowered = self._lowered.get(renumbered.key)
        if lowered is None:
            lowered = lower_group(renumbered.values, renumbered.group)
            kernel = self._kernels.setdefault(lowered.kernel, lowered.kernel)
            lowered = self._lowered[renumbered.key] = replace(lowered, kernel=kernel)
        return renumbered.restore(lowered)


class _OpaqueOp(Op):
    """The op of a value that a group reads, or of a buffer's node: only its type is known."""


_OPAQUE: Final = _OpaqueOp()


class _Nodes:
    """Renumbered nodes; equal ones are one object."""

    def __init__(self) -> None:
        self._nodes: dict[Hashable, Node] = {}
        self._numbers: dict[Hashable, int] = {}
        self._by_id: dict[int, int] = {}
        self._referenced: list[object] = []  # keeps them alive, and so their ids

    def node(
        self,
        name: Hashable,
        types: tuple[TensorType, ...],
        origin: Location,
        op: Op = _OPAQUE,
        args: tuple[Symbolic, ...] = (),
    ) -> Node:
        """Return the interned node of a renumbered group with these operands, types and op."""
        number = self.number
        key = (name, number(op), *map(number, types), *[arg.key for arg in args])
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(op, args, types, origin)
        return node

    def number(self, value: object) -> int:
        """Return the number by which equal ops, types and attributes are compared in signatures.

        An object that has a number already is not compared again.
        """
        number = self._by_id.get(id(value))
        if number is None:
            equal: Hashable = value
            if isinstance(value, Constant):
                array = value.data.array
                equal = (str(array.dtype), array.shape, array.tobytes())
            number = self._numbers.setdefault(equal, len(self._numbers))
            self._by_id[id(value)] = number
            self._referenced.append(value)
        return number


class Renumbered:
    """A renumbered group, the values that it reads, and the cache key of both."""

    def __init__(self, values: GroupValues, group: Group, nodes: _Nodes) -> None:
        self._original_values, self._original_group, self._shared = values, group, nodes
        self._computed_nodes = {*group.nodes, *(() if group.image is None else group.image.nodes)}
        self._nodes: dict[Node, Node] = {}
        self._keys: dict[Key, Key] = {}
        self._first_offset: dict[Key, Size] = {}  # the first offset met into each value
        self._owners: dict[Key, int] = {}
        self._sources: dict[ValueKey, Source] = {}
        self._types: dict[Key, TensorType] = {}
        results = (*group.stored, *group.reductions, *group.columns, *group.copied.values())
        self._first_offset |= dict.fromkeys(results, 0)
        if len(group.transfers) > 1:  # one operand, from which the kernel itself counts
            self._first_offset[group.transfers[0].target] = 0
        self.group: Group = self._group(group)
        self.values = GroupValues(self._owners, self._sources, self._types)
        self.key = (_freeze_fields(self.group), tuple(self._owners), tuple(self._types.items()))

    def restore(self, lowered: LoweredStep) -> LoweredStep:
        """Bind a step that was lowered for the renumbered group to the original group's values."""
        keys = {renumbered: key for key, renumbered in self._keys.items()}
        nodes = {renumbered: node for node, renumbered in self._nodes.items()}

        def restore_key(key: Any) -> Any:  # scratch and checks belong to a node
            return keys[key] if key in keys else replace(key, node=nodes[key.node])

        def restore_operand(key: Key, offset: Size) -> tuple[Key, Size]:
            original = restore_key(key)
            return original, offset + self._first_offset.get(original, 0)

        return replace(
            lowered,
            operands=tuple([restore_operand(*operand) for operand in lowered.operands]),
            touched=tuple([(restore_key(key), mode) for key, mode in lowered.touched]),
            scratch=tuple(
                [(restore_key(key), dtype, size) for key, dtype, size in lowered.scratch]
            ),
        )

    # -- nodes and values --------------------------------------------------------------------------

    def _node(self, node: Node) -> Node:
        """Renumber a node of a group: computed inside, or an opaque operand."""
        renumbered = self._nodes.get(node)
        if renumbered is not None:
            return renumbered
        sources = self._original_values.sources
        first = sources[node, 0]
        if node not in self._computed_nodes and not first.inline:
            renumbered = self._shared.node(len(self._nodes), node.types, node.origin)
            self._nodes[node] = renumbered
            return renumbered
        args = tuple([self._value(arg) for arg in node.args])
        read = (
            len(self._nodes),
            node in self._computed_nodes,
            first.direct,
            first.depth,
            first.uniform,
        )
        renumbered = self._shared.node(read, node.types, node.origin, node.op, args)
        self._nodes[node] = renumbered
        for index in range(len(node.types)):
            self._sources[renumbered, index] = self._source(sources[node, index])
        return renumbered

    def _value(self, value: Symbolic) -> Symbolic:
        """Renumber an operand: how it is read, with its layout's strides and offset."""
        source = self._original_values.source(value)
        renumbered = self._source(source)
        if (
            source.direct
            and isinstance(renumbered.base, ResultBuffer)
            and renumbered.base in self._sources
        ):
            return Symbolic(*renumbered.base)
        base, kind, layout, *others = renumbered
        name = (base, layout.offset, self._shared.number(layout.strides), *others)
        node = self._shared.node(name, (kind,), value.node.origin)
        self._sources[node, 0] = renumbered
        return Symbolic(node)

    def _source(self, source: Source) -> Source:
        base, kind, layout, direct, depth, uniform = source
        relative = self._relative_layout(base, layout)
        return Source(self._key(base), kind, relative, direct, depth, uniform)

    def _relative_layout(self, base: Key, layout: Strided) -> Strided:
        first = self._first_offset.setdefault(base, layout.offset)
        return layout if first == 0 else Strided(layout.offset - first, layout.strides)

    def _key(self, key: Key) -> Key:
        """Renumber the key of a buffer that a group reads or stores."""
        renumbered = self._keys.get(key)
        if renumbered is None:
            node = self._node(key.node)
            if isinstance(key, ResultBuffer):
                renumbered = ResultBuffer(node, key.result)
            elif isinstance(key, CopyBuffer):
                renumbered = CopyBuffer(node, len(self._keys))
            else:
                renumbered = replace(key, node=node)
            self._keys[key] = renumbered
            if not isinstance(key, ResultBuffer):
                self._types[renumbered] = self._original_values.value_type(key)
            if self._original_values.computes(self._original_group, key):
                self._owners[renumbered] = 0
        return renumbered

    # -- groups ------------------------------------------------------------------------------------

    def _renumber(self, value: Any) -> Any:
        """Return a part of a group with renumbered values."""
        make = _RENUMBER.get(type(value))
        return value if make is None else make(self, value)

    def _members(self, members: Any) -> Any:
        rules = [(member, _RENUMBER.get(type(member))) for member in members]
        return type(members)([m if make is None else make(self, m) for m, make in rules])

    def _fields(self, record: Any, **changes: Any) -> Any:
        """Return a record with renumbered fields, except for those of ``changes``."""
        fields = [(name, field) for name, field in vars(record).items() if field]
        renumbered = {n: self._renumber(field) for n, field in fields if n not in changes}
        return replace(record, **renumbered, **changes)

    def _group(self, group: Group) -> Group:
        renumbered: Group = self._fields(group, number=0, level=0, phase=0, cut=None)
        return renumbered

    def _walk(self, walk: Walk) -> Walk:
        layout = self._relative_layout(walk.base, Strided(walk.offset, walk.strides))
        return Walk(self._key(walk.base), layout.offset, layout.strides)

    def _region(self, region: TargetRegion) -> TargetRegion:
        return TargetRegion(self._key(region.target), self._relative_layout(*region))

    def _transfer(self, transfer: Transfer) -> Transfer:
        layout = self._relative_layout(transfer.target, transfer.layout)
        source = None if transfer.source is None else self._source(transfer.source)
        return replace(transfer, target=self._key(transfer.target), layout=layout, source=source)


_Make = Callable[[Renumbered, Any], Any]
_RENUMBER: Final[dict[type, _Make]] = {
    Node: Renumbered._node,
    Source: Renumbered._source,
    Walk: Renumbered._walk,
    TargetRegion: Renumbered._region,
    Transfer: Renumbered._transfer,
    Group: Renumbered._group,
    **dict.fromkeys((ResultBuffer, PartialBuffer, ChunkBuffer, CopyBuffer), Renumbered._key),
    **dict.fromkeys((GroupReduction, Roles), Renumbered._fields),
    **dict.fromkeys(
        (RowStage, Slot), lambda self, record: type(record)(*map(self._renumber, record))
    ),
    **dict.fromkeys((tuple, frozenset), Renumbered._members),
    dict: lambda self, mapping: {
        self._renumber(key): self._renumber(value) for key, value in mapping.items()
    },
}


def _freeze_fields(value: Any) -> Hashable:
    """Return a hashable form that compares all fields of a value; 0.0 differs from -0.0."""
    kind = type(value)
    if kind in (Group, Roles, Transfer):
        return tuple([_freeze_fields(field) for field in vars(value).values()])
    if kind is tuple and value and type(value[0]) is Transfer:
        return tuple(map(_freeze_fields, value))
    if kind is dict:
        return tuple([(key, _freeze_fields(entry)) for key, entry in value.items()])
    return repr(value) if kind is float else value

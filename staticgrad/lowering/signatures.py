"""Signatures of groups, everything that lowering reads: groups with equal ones are lowered once.

A signature holds the forms and types of a group's nodes, the layouts of their operands, and which
operands are the same. Values and offsets are numbered in the order of their first use. For offsets
into one value it holds the distances, since adjacent loads share an operand. So the layers of a
network and the steps of a recurrence have equal signatures, and a kernel's operands differ only by
these numbers. Sizes are not numbered: whether two axes are collapsed depends on products of sizes.
(Equal kernels of other sizes become one object after they were lowered.)
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from staticgrad.analysis.layout import Strided
from staticgrad.fusion.groups import (
    Group,
    Groups,
    Home,
    Key,
    Pieces,
    Source,
    Transfer,
    Walk,
)
from staticgrad.fusion.walks import computes
from staticgrad.ir.forms import Pointwise
from staticgrad.ir.graph import Constant, Node
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.lowering.operands import LoweredStep
from staticgrad.lowering.stages import lies_in_place, lower_group, may_fold
from staticgrad.records import dataclass, replace
from staticgrad.types.dim import Size

#: Codes in a signature in the place of a value's number.
_NOTHING, _LITERAL, _KNOWN, _INLINE, _COPIED = range(-5, 0)


@dataclass(frozen=True)
class Signature:
    """Everything that lowering reads of a group; the values and offsets behind its numbers."""

    text: Hashable
    keys: tuple[Key, ...]
    offsets: tuple[Size, ...]


def signature_of(groups: Groups, group: Group) -> Signature:
    """Return the signature of one of these groups, with numbers that are valid only in it."""
    return _Reader(groups, group, _Codes()).signature()


class Lowerings:
    """Lowers groups, those of equal signature once."""

    def __init__(self) -> None:
        #: With the numbers of signatures in the place of values and offsets.
        self._found: dict[Hashable, LoweredStep] = {}
        self._kernels: dict[Kernel, Kernel] = {}
        self._codes = _Codes()

    def lower(self, groups: Groups, group: Group) -> LoweredStep:
        """Return the result of ``lower_group`` for a group; equal kernels are one object."""
        signature = _Reader(groups, group, self._codes).signature()
        lowered = self._found.get(signature.text)
        if lowered is None:
            lowered = lower_group(groups, group)
            kernel = self._kernels.setdefault(lowered.kernel, lowered.kernel)
            keys = {key: number for number, key in enumerate(signature.keys)}
            offsets = {offset: number for number, offset in enumerate(signature.offsets)}
            nodes = {key.node: number for key, number in keys.items()}

            def code(key: Key) -> object:  # scratch and checks belong to a node
                return keys[key] if key in keys else (nodes[key.node], key)

            lowered = replace(lowered, kernel=kernel).renamed(code, offsets.__getitem__)
            self._found[signature.text] = lowered

        def key(code: Any) -> Key:
            if isinstance(code, int):
                return signature.keys[code]
            number, beside = code
            found: Key = replace(beside, node=signature.keys[number].node)
            return found

        return lowered.renamed(key, signature.offsets.__getitem__)


class _Codes:
    """Numbers for equal objects. An object that was met before is not compared again."""

    def __init__(self) -> None:
        self._by_value: dict[Hashable, int] = {}
        self._by_id: dict[int, int] = {}
        self._met: list[object] = []  # keeps them alive, and so their ids

    def of(self, value: Hashable) -> int:
        return self._by_value.setdefault(value, len(self._by_value))

    def of_shared(self, value: Hashable) -> int:
        number = self._by_id.get(id(value))
        if number is None:
            number = self._by_id[id(value)] = self.of(value)
            self._met.append(value)
        return number


class _Reader:
    def __init__(self, groups: Groups, group: Group, codes: _Codes) -> None:
        self._groups, self._group, self._codes = groups, group, codes
        self._keys: dict[Key, int] = {}
        self._offsets: dict[Size, int] = {0: 0}  # where results lie
        self._first: dict[Key, Size] = {}  # the first offset met into each value
        self._inline: dict[Node, int] = {}
        self._text: list[Hashable] = []

    def signature(self) -> Signature:
        group, text = self._group, self._text
        counts = (len(group.nodes), len(group.reductions), len(group.columns), len(group.stored))
        domain = self._codes.of_shared(group.domain)
        text += (
            group.kind,
            domain,
            group.row,
            group.summed,
            group.indexed,
            group.windowed,
            group.pieces,
            group.instructions,
            *counts,
        )
        if group.image is not None:
            self._add_image(group)
        for node in group.nodes:
            self._add_node(node)
        if group.kind == "map" and may_fold(group):
            text.append(lies_in_place(self._groups, group))
        for key, reduction in group.reductions.items():
            result = self._groups.value_type(key).dtype  # of a partial result not that of the whole
            in_pieces = isinstance(reduction.source.base, Pieces)
            text += (self._number(key), reduction.kind, self._codes.of_shared(result), in_pieces)
            self._add(reduction.source)
        for key, reduction in group.columns.items():
            text += (self._number(key), reduction.kind)
            self._add(reduction.source)
        text += [self._number(key) for key in group.stored]
        text += [("streamed", self._number(key)) for key in group.streamed]
        text += [("trimmed", self._number(key)) for key in group.stored if key in group.trimmed]
        for key, regions in group.regions.items():
            text += (self._number(key), len(regions))
            for target, layout in regions:
                text += (*self._place(target, layout.offset), layout.strides)
        for each in group.transfers:
            self._add_transfer(each)
        return Signature(tuple(text), tuple(self._keys), tuple(self._offsets))

    def _add_image(self, group: Group) -> None:
        groups = self._groups
        self._groups = groups.of_image(group)
        self._group = image = self._groups.by_number[group.number]
        self._text += (image.kind, self._codes.of_shared(image.domain), len(image.nodes))
        for node in image.nodes:
            self._add_node(node)
        self._groups, self._group = groups, group

    def _number(self, key: Key) -> int:
        return self._keys.setdefault(key, len(self._keys))

    def _add_node(self, node: Node) -> None:
        for index in range(len(node.types)):
            self._number(Home(node, index))
        self._add_operation(node)
        if not isinstance(
            node.form, Pointwise
        ):  # it may read from memory values that are inline elsewhere
            for source in map(self._groups.source, node.args):
                if source.inline:
                    self._add_read(source)

    def _add_operation(self, node: Node) -> None:
        codes = self._codes
        self._text += (codes.of(node.op), len(node.args), *map(codes.of_shared, node.types))
        for arg in node.args:
            self._add(self._groups.source(arg))

    def _add(self, source: Source) -> None:
        if source.inline:
            self._add_inline(source.base.node, self._codes.of_shared(source.type))
        else:
            self._add_read(source)

    def _add_read(self, source: Source) -> None:
        base, layout, codes = source.base, source.layout, self._codes
        self._text += (
            *self._place(base, layout.offset),
            codes.of_shared(layout.strides),
            codes.of_shared(source.type),
            computes(self._groups, self._group, source),
        )
        copied = self._group.copied
        if copied and source.type.rank <= len(self._group.domain):
            strides = layout.broadcast(source.type.shape, self._group.domain)
            copy = copied.get(Walk(base, layout.offset, strides))
            if copy is not None:
                self._text += (_COPIED, self._number(copy))

    def _place(self, base: Key, offset: Size) -> tuple[Hashable, ...]:
        distance = offset - self._first.setdefault(base, offset)
        return self._number(base), self._offsets.setdefault(offset, len(self._offsets)), distance

    def _add_inline(self, node: Node, code: int) -> None:
        if isinstance(node.op, Constant):
            data = node.op.data
            self._text += (_LITERAL, code, data.array.tobytes())
        elif node in self._inline:  # lowering computes it once
            self._text += (_KNOWN, code, self._inline[node])
        else:
            self._inline[node] = len(self._inline)
            self._text += (_INLINE, code)
            self._add_operation(node)

    def _add_transfer(self, copy: Transfer) -> None:
        kind = self._codes.of_shared(copy.target_type)
        self._text += (self._number(copy.target), kind, type(copy.fill).__name__, repr(copy.fill))
        if copy.region is not None:
            layout = Strided.contiguous(copy.target_type.shape).region(copy.region)
            if self._group.beside:  # one operand, from which the kernel itself counts
                self._text += (layout.offset, layout.strides)
            else:
                offset = self._offsets.setdefault(layout.offset, len(self._offsets))
                self._text += (offset, layout.strides)
        if copy.source is None:
            self._text.append(_NOTHING)
        else:
            self._add(copy.source)

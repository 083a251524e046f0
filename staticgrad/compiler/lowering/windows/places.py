"""Build the accesses of kernels that read windows: several loops move an index along one axis.

Each axis of an operand, and of the group's results, has an ``AffineIndex``: the loops that
move the index, its start, and its bounds if a loop may leave them. Indices and strides make an
access.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import Final

from staticgrad.analysis.layout import collapse
from staticgrad.compiler.fusion.groups import ResultBuffer, ScratchBuffer, Source, Walk
from staticgrad.compiler.fusion.walks import operand_walks
from staticgrad.compiler.lowering.operands import VECTOR, Lowering
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, Position
from staticgrad.language.ir.forms import WINDOWED, WindowAxis
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.stages import Axis, Extent, Map, Mode, Store
from staticgrad.language.types.arrays import Shape
from staticgrad.language.types.dim import Size, is_at_least
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import dataclass

#: Extents of windows and strides that are literals, at most: each value has its own kernel.
MOST_LITERAL: Final = 16
#: Larger than any index: an index moved by this is outside of every axis.
_OUTSIDE: Final = 1 << 40
#: A loop that moves an index, or a fixed iteration of it. None: an axis of size 1 without a loop.
Loop = Axis | int | None


@dataclass(frozen=True)
class AffineIndex:
    """The index along an axis: start + the sum of step * loop over ``terms``.

    With an ``extent`` it may leave [0, extent), unless ``within``: then its loops end before that.
    """

    terms: tuple[tuple[str, Size], ...]
    start: Size = 0
    extent: Size | None = None
    within: bool = False


@dataclass(frozen=True)
class Taps:
    """Taps along an axis: ``first`` + ``step`` * t of the filter, t below ``count``.

    They read the strip, or a copy of it, at ``start`` + ``read_step`` * t.
    """

    count: Size
    first: int
    step: int
    start: Size
    read_step: int


@dataclass(frozen=True)
class StripAxis:
    """An axis along which a strip is read, and results are computed.

    Results are at ``phase`` + ``step`` * q below ``result_extent``, for q below ``result_count``
    and each phase below ``step``. The strip is read from ``start`` on, ``reach`` elements more than
    results, from an axis of ``source_extent``. There may be ``copies`` of it, at offsets
    ``copy_step``, with elements at ``stride``.
    """

    axis: WindowAxis
    over_windows: bool

    @property
    def step(self) -> int:
        return 1 if self.over_windows else self.axis.step

    @property
    def result_extent(self) -> Size:
        return self.axis.windows if self.over_windows else self.axis.image

    @property
    def source_extent(self) -> Size:
        return self.axis.image if self.over_windows else self.axis.windows

    @property
    def result_count(self) -> Size:
        return -(-self.result_extent // self.step)

    @property
    def start(self) -> Size:
        axis = self.axis
        return -axis.before if self.over_windows else window_over(axis, axis.taps - 1)

    @property
    def reach(self) -> Size:
        return self.axis.reach if self.over_windows else window_over(self.axis, 0) - self.start

    @property
    def copies(self) -> Size:
        return self.axis.taps if self.over_windows else self.reach + 1

    @property
    def copy_step(self) -> int:
        return self.axis.dilation if self.over_windows else 1

    @property
    def stride(self) -> int:
        return self.axis.step if self.over_windows else 1

    @property
    def phase(self) -> Size:
        """The results of the first phase of a dilated or strided axis, which has the most."""
        return -(-self.result_extent // (self.axis.dilation * self.step))

    def taps(self, phase: int, copied: bool) -> Taps:
        """Return the filter taps of an image gradient's elements at a phase of the stride."""
        axis, step = self.axis, self.axis.step
        if self.over_windows:
            return Taps(axis.taps, 0, 1, 0, 1 if copied else axis.dilation)
        windows = ((k, window_over(axis, k)) for k in range(step))
        first, window = next(
            (k, y) for k, y in windows if step * y + axis.dilation * k - axis.before == phase
        )
        return Taps(
            -(-(axis.taps - first) // step), first, step, window - self.start, -axis.dilation
        )


def window_over(axis: WindowAxis, tap: Size, offset: int = 0) -> Size:
    """Return the window whose tap is at one of the first ``step`` elements of an image.

    ``offset``: the tap is this many elements before one.
    """
    return (axis.before - axis.dilation * tap - offset + axis.step - 1) // axis.step


def loop_indices(*loops: Axis | None) -> tuple[AffineIndex, ...]:
    """Return the index along each axis, moved by one loop each."""
    return tuple(AffineIndex(((loop.name, 1),) if loop else ()) for loop in loops)


def map_over(loops: Sequence[Axis | None], stores: Sequence[Store]) -> Map:
    """Return the map over the loops that are not None; the last one runs along vectors."""
    *rows, last = (loop for loop in loops if loop)
    return Map(last, tuple(stores), tuple(rows))


@dataclass
class WindowLowering(Lowering):
    """The state of lowering a group with windows.

    ``domain_index``: the current index along each axis of the domain. ``literal_ends``: bounds of
    indices are literals if they are small, like extents of taps.
    """

    domain_index: tuple[AffineIndex, ...] = ()
    literal_ends: bool = False
    merged: dict[Shape, Shape] = field(default_factory=dict)  # strides over collapsed axes
    loaded: dict[tuple[Access, object], Expr] = field(default_factory=dict)
    outer: list[Axis] = field(default_factory=list)
    sizes_of: dict[str, Size] = field(default_factory=dict)  # of loops, by name

    @property
    def anchor(self) -> Node:
        """The node whose windows are read."""
        return next(node for node in self.group.nodes if isinstance(node.form, WINDOWED))

    @cached_property
    def first(self) -> Source:
        """The image, or the windows of the gradient."""
        return self.groups.source(self.anchor.args[0])

    @cached_property
    def second(self) -> Source:
        """The filter, the windows of its gradient, or the indices of the largest elements."""
        return self.groups.source(self.anchor.args[1])

    def number(self, value: Size, most: int = MOST_LITERAL) -> Extent:
        """Return a step, a start, or a stride between taps; a literal if it is small."""
        if isinstance(value, int) and abs(value) <= most:
            return value
        return self.argument(value)

    def _end(self, value: Size | None) -> Extent | None:
        if value is None:
            return None
        return self._count(value) if self.literal_ends else self.extent(value)

    def _count(self, value: Size) -> Extent:
        return value if isinstance(value, int) and value <= MOST_LITERAL else self.extent(value)

    # -- loops and indices ------------------------------------------------------------------------

    def loop(self, extent: Size, name: str = "", taps: bool = False, past: str = "") -> Axis:
        """Return a loop of the kernel; small extents of ``taps`` are literals."""
        name = name or f"i{len(self.sizes_of)}"
        self.sizes_of[name] = extent
        return Axis(name, self._count(extent) if taps else self.extent(extent), past)

    def outer_loop(self, extent: Size, taps: bool = False) -> Axis:
        """Return a new loop around the stages."""
        self.outer.append(self.loop(extent, taps=taps))
        return self.outer[-1]

    def nest(self, *extents: Size) -> list[Axis]:
        """Return loops, the last one along vectors."""
        return [*map(self.loop, extents[:-1]), self.loop(extents[-1], VECTOR)]

    def affine_index(
        self,
        *terms: tuple[Loop, Size],
        start: Size = 0,
        extent: Size | None = None,
        within: bool = False,
    ) -> AffineIndex:
        """Return an image's index, start + sum of step * loop, bounded if it may leave it."""
        loop_terms = []
        for loop, step in terms:
            if isinstance(loop, int):
                start = start + step * loop
            elif loop:
                loop_terms.append((loop.name, step))
        low = high = start
        for name, step in loop_terms:
            by = step * (self.sizes_of[name] - 1)
            if isinstance(step, int) and step < 0:
                low = low + by
            else:
                high = high + by
        if extent is not None and is_at_least(low, 0) and is_at_least(extent, high + 1):
            extent = extent if within else None
        return AffineIndex(tuple(loop_terms), start, extent, within)

    def read_index(self, axis: WindowAxis, window: Loop, tap: Loop) -> AffineIndex:
        """Return the index in the image of a tap of a window."""
        terms = (window, axis.step), (tap, axis.dilation)
        return self.affine_index(*terms, start=-axis.before, extent=axis.image)

    def image_index(self, axis: WindowAxis, q: Loop, u: Loop, gap: Loop) -> AffineIndex:
        """Return the index of an image's element that the taps u + residues * t of windows read.

        Elements with ``gap`` > 0 have no taps.
        """
        terms = (q, axis.step), (u, axis.dilation), (gap, 1)
        start = axis.step * _first_window(axis) - axis.before
        return self.affine_index(*terms, start=start, extent=axis.image)

    def window_index(self, axis: WindowAxis, q: Loop, t: Loop, gap: Loop = None) -> AffineIndex:
        """Return the window whose tap u + residues * t reads element q."""
        terms = (q, 1), (t, -axis.dilation // axis.common_step), (gap, -_OUTSIDE)
        return self.affine_index(*terms, start=_first_window(axis), extent=axis.windows)

    # -- accesses ---------------------------------------------------------------------------------

    def access_at(
        self,
        source: Walk,
        indices: Sequence[AffineIndex],
        dtype: DType,
        mode: Mode = "in",
        most: int = 1,
    ) -> Access:
        """Return the access to an image, filter or result at these indices.

        A broadcast axis has no bounds. Strides up to ``most`` are literals.
        """
        name = self.operand(source.base, source.offset, dtype, mode)
        strides: list[tuple[str, Extent]] = []
        positions = []
        for stride, original in zip(source.strides, indices, strict=True):
            repeats = stride == 0 and original.extent != 1
            index = replace(original, extent=None) if repeats else original
            single = len(index.terms) == 1 and index.start == 0
            if stride == 0 and index.extent is None:
                continue
            if index.extent is None and (single or not index.terms) and index.start == 0:
                limit = MOST_LITERAL if stride == 1 else most
                strides += [(n, self.number(step * stride, limit)) for n, step in index.terms]
                continue
            terms = tuple((loop, self.number(step)) for loop, step in index.terms)
            extent = self._end(index.extent)
            element_stride = 1 if stride == 0 else stride  # of a single element
            positions.append(
                Position(
                    terms,
                    self.number(index.start),
                    self.number(element_stride, most),
                    extent,
                    index.within,
                )
            )
        return Access(name, tuple(strides), (), tuple(positions))

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """Return an access over the domain."""
        strides = self.merged.get(walk.strides, walk.strides)
        return self.access_at(Walk(walk.base, walk.offset, strides), self.domain_index, dtype, mode)

    def load_key(self, walk: Walk) -> tuple[Walk, tuple[int, ...]]:
        """Return the walk itself; loads are cleared when ``domain_index`` changes."""
        return walk, ()

    def move_to(self, indices: Iterable[AffineIndex]) -> None:
        """Set ``domain_index`` and clear the memo of evaluated values."""
        self.domain_index = tuple(indices)
        self.memo, self.loads = {}, {}

    def value(self, source: Source) -> Expr:
        """Return the element of a source at ``domain_index``; equal loads are one object."""
        element = super().value(source)
        if element.op == "load":
            assert isinstance(element.attribute, Access)
            return self.loaded.setdefault((element.attribute, None), element)
        return element

    def element(
        self, source: Source, indices: Sequence[AffineIndex], fill: bool | int | float = 0
    ) -> Expr:
        """Load an image's or filter's element at these indices; ``fill`` outside."""
        dtype = source.type.dtype
        access = self.access_at(
            Walk(source.base, source.layout.offset, source.layout.strides), indices, dtype
        )
        filled = ex.literal(fill, dtype) if access.bounded_positions and fill != 0 else None
        key = (access, fill if access.bounded_positions else None)
        if key not in self.loaded:
            self.loaded[key] = ex.load(access, dtype, fill=filled)
        return self.widen_value(self.loaded[key])

    def scratch_access(
        self,
        number: int,
        moves: Iterable[tuple[Axis | None, Size]],
        start: Size = 0,
        *more: Position,
        dtype: DType | None = None,
    ) -> Access:
        """Return an access to a scratch buffer of a convolution, by default of its dtype."""
        key = ScratchBuffer(self.anchor, number)
        dtype = self.anchor.types[0].dtype if dtype is None else dtype
        self.scratch[key] = self.operand(key, 0, dtype, "scratch")
        strides = [(loop.name, self.stride(loop.name, step)) for loop, step in moves if loop]
        indices = () if start == 0 else (Position((), self.argument(start)),)
        return Access(self.scratch[key], tuple(strides), (), (*more, *indices))

    def evaluate(self, anchor: Expr | None) -> None:
        """Evaluate the nodes at ``domain_index``, given the anchor's element there."""
        for node in self.group.nodes:
            value = anchor if isinstance(node.form, WINDOWED) else None
            self.memo[ResultBuffer(node)] = self.scalar(node) if value is None else value

    def stores(self, anchor: Expr) -> list[Store]:
        """Return the stores at ``domain_index``, given the anchor's element there."""
        self.evaluate(anchor)
        return [self.store_value(key, walk) for key, walk in self.whole_walks(self.group.stored)]

    def merge_last(self, count: int, others: Sequence[Shape]) -> tuple[Shape, list[Shape]]:
        """Collapse the last axes of a convolution's domain if all walks allow it.

        ``others``: strides of operands over the same axes; they are returned collapsed.
        """
        domain = self.group.domain
        walks = [
            *operand_walks(self.groups, self.group),
            *(w for _, w in self.whole_walks(self.group.stored)),
        ]
        strides = list(dict.fromkeys(walk.strides for walk in walks))
        first = len(domain) - count
        moves = [walk_strides[first:] for walk_strides in strides] + [*others]
        extents, collapsed = collapse(domain[first:], moves)
        for original, merged in zip(strides, collapsed, strict=False):
            self.merged[original] = (*original[:first], *merged)
        return tuple(extents), [tuple(merged) for merged in collapsed[len(strides) :]]


def _first_window(axis: WindowAxis) -> Size:
    return window_over(axis, axis.residues - 1, axis.common_step - 1)


def residue_elements(axis: WindowAxis) -> Size:
    """Return the maximum number of elements of an image at one remainder of the stride."""
    return (axis.image - 1 + axis.before) // axis.step - _first_window(axis) + 1
